"""How many threads to use, and BLAS with one of them."""

import os
import threading

import joblib
from threadpoolctl import ThreadpoolController

from . import _openmp

# GNU's OpenMP runtime cannot start threads in a process that was forked after threads had run in
# the parent: the child would wait for ever. Forked children therefore use one thread; joblib's
# default workers are not forked and use as many as they are given.
_forked = False

CHECKED_ENTRIES = 1_000_000  # entries of sparse X, which two threads check in half the time
# Numbers of a block of X and its logits that a Hessian uses at a time: copies in float64 of 32 MB.
HESSIAN_NUMBERS = 4_000_000
FAN_IN = 8  # results that one task of Dask adds: 100 partitions take three levels


def _after_fork():
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def effective_n_threads(n_threads=None):
    """Number of OpenMP threads for a call.

    Parameters
    ----------
    n_threads : int or None, default=None
        A positive number is taken as it is. None means as many as ``OMP_NUM_THREADS`` or
        threadpoolctl allow; without ``OMP_NUM_THREADS``, no more than there are physical cores, or
        than joblib leaves to each of its workers.

    Returns
    -------
    int
        At least 1; always 1 in a build without OpenMP and in a forked process.

    Raises
    ------
    ValueError
        If ``n_threads`` is not a positive integer.
    """
    if n_threads is not None:
        if isinstance(n_threads, bool) or not hasattr(n_threads, "__index__") or n_threads < 1:
            raise ValueError(
                f"'n_threads' must be a positive integer or None, got {n_threads!r}; "
                "None takes as many threads as OpenMP allows."
            )
    if _forked or _openmp.version() == 0:
        return 1
    if n_threads is not None:
        return int(n_threads)
    allowed = _openmp.max_threads()
    if os.environ.get("OMP_NUM_THREADS"):
        return allowed
    return max(1, min(allowed, joblib.cpu_count(only_physical_cores=True)))


class _SequentialBlas:
    """Context in which BLAS uses one thread, for matrix work beside the fused pass.

    How BLAS splits a product depends on its number of threads, and with it the last bits of the
    result; and its threads would keep spinning into the next pass and take the cores from OpenMP's.
    The setting is one for the whole process, so the first context in changes it and the last one
    out restores it, whatever other threads do in between.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._depth = 0
        self._controller = self._limiter = None

    def __enter__(self):
        with self._lock:
            if self._depth == 0:
                # finding the libraries takes milliseconds, setting a number microseconds
                self._controller = self._controller or ThreadpoolController()
                self._limiter = self._controller.limit(limits=1, user_api="blas")
                self._limiter.__enter__()
            self._depth += 1

    def __exit__(self, *exception):
        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                self._limiter.__exit__(*exception)


sequential_blas = _SequentialBlas()
