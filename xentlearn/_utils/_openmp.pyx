"""What OpenMP runtime this build has, if any."""

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    static int xent_openmp_version(void) { return _OPENMP; }
    static int xent_max_threads(void) { return omp_get_max_threads(); }
    #else
    static int xent_openmp_version(void) { return 0; }
    static int xent_max_threads(void) { return 1; }
    #endif
    """
    int xent_openmp_version()
    int xent_max_threads()


def version():
    """Date of the OpenMP specification (yyyymm), 0 if built without OpenMP."""
    return xent_openmp_version()


def max_threads():
    """Threads that OpenMP would start: OMP_NUM_THREADS or what threadpoolctl has set since."""
    return xent_max_threads()
