"""Declarations of what other models use."""

from libc.math cimport fmax, fmin


cdef inline double best_value(
    double z, double h, double l1, double l2, double lower, double upper,
) noexcept nogil:
    """Minimise h w^2 / 2 - z w + l1 |w| + l2 w^2 / 2 over lower <= w <= upper."""
    cdef double w = 0.0
    if z > l1:
        w = (z - l1) / (h + l2)
    elif z < -l1:
        w = (z + l1) / (h + l2)
    return fmin(fmax(w, lower), upper)


cdef double share_of_step(
    Py_ssize_t n_groups, const Py_ssize_t* groups, const double* w, const double* d,
    const double* l1, double slope, double curvature, double most,
) noexcept nogil
