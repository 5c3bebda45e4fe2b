"""BLAS with one thread, and its number of threads restored whatever interrupts come.

Python runs signal handlers between its own instructions. A context manager that is written in
Python may therefore be left half entered by a KeyboardInterrupt, and BLAS with one thread for the
rest of the process. In compiled code, the exception of a handler can only come out of a call that
runs Python code or waits. There are two of them here: setting a number of threads, which is then
repeated, and waiting for the lock.
"""

from threading import Lock, get_ident

from threadpoolctl import ThreadpoolController


cdef object acquired(lock):
    """Acquire a lock; return the exception that a signal handler raised meanwhile, or None."""
    interrupt = None
    while True:
        try:
            lock.acquire()
            return interrupt
        except BaseException as error:
            interrupt = error


cdef object set_numbers(list numbers):
    """Set (library, number of threads) pairs; return the exception of a signal handler, or None."""
    interrupt = None
    for library, number in numbers:
        for _ in range(2):
            try:
                library.set_num_threads(number)
                break
            except BaseException as error:
                interrupt = error
    return interrupt


cdef class SequentialBlas:
    """Context in which BLAS uses one thread.

    The last bits of a product depend on how BLAS splits it, and so on its number of threads.
    Besides, threads of BLAS would still be busy waiting in the next pass over X, and would occupy
    the cores that OpenMP's threads need. As the setting holds for the whole process, the first
    context that is entered changes it, and the last one that is left restores it.
    """

    cdef object _lock
    cdef list _libraries    # as threadpoolctl controls them; finding them takes milliseconds
    cdef list _before       # (library, number of threads) to restore
    cdef dict _entered      # number of contexts that each thread is in

    def __init__(self):
        self._lock, self._libraries, self._before, self._entered = Lock(), None, [], {}

    def __enter__(self):
        interrupt = acquired(self._lock)
        try:
            if interrupt is None and not self._entered:
                interrupt = self._restrict()
            if interrupt is not None:
                raise interrupt
            thread = get_ident()
            self._entered[thread] = self._entered.get(thread, 0) + 1
        finally:
            self._lock.release()

    def __exit__(self, *exception):
        interrupt, thread = acquired(self._lock), get_ident()
        try:
            self._entered[thread] -= 1
            if not self._entered[thread]:
                del self._entered[thread]
            interrupt = self._restored() or interrupt
        finally:
            self._lock.release()
        if interrupt is not None:
            raise interrupt

    cdef object _restrict(self):
        """Set one thread; if a signal handler raises, undo that and return its exception."""
        if self._libraries is None:
            found = ThreadpoolController().lib_controllers
            self._libraries = [library for library in found if library.user_api == "blas"]
        before = [(library, library.get_num_threads()) for library in self._libraries]
        interrupt = set_numbers([(library, 1) for library in self._libraries])
        if interrupt is None:
            self._before = before
        else:
            set_numbers(before)
        return interrupt

    cdef object _restored(self):
        """Restore the numbers of threads once no thread is in a context."""
        before = [] if self._entered else self._before
        if before:
            self._before = []
        return set_numbers(before)

    # ---- Forks -----------------------------------------------------------------------------------

    def before_fork(self):
        """Take the lock, so that the child does not inherit it from a thread that it lacks."""
        self._lock.acquire()

    def after_fork_in_parent(self):
        """Let others have the lock again."""
        self._lock.release()

    def after_fork_in_child(self):
        """Leave the contexts of all threads but this one, as they do not run in the child."""
        thread = get_ident()
        self._entered = {own: n for own, n in self._entered.items() if own == thread}
        try:
            self._restored()
        finally:
            self._lock.release()
