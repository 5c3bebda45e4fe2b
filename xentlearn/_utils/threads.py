"""How many threads to use, BLAS with one of them, and loops over blocks with several."""

import functools
import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
from threadpoolctl import ThreadpoolController

from . import _openmp

# GNU's OpenMP runtime cannot start threads in a process that was forked after threads had run in
# the parent: the child would wait for ever. Forked children therefore use one thread; joblib's
# default workers are not forked and use as many as they are given.
_forked = False

# Sizes of what is worked on at a time, so that caches hold it and threads have enough to do.
TASKS_PER_THREAD = 4  # handing a block over takes 25 microseconds, of 80 blocks 2 ms
VECTOR_BLOCK = 32_768  # numbers of a vector: 256 KB
FLOAT32_BLOCK = 65_536  # the same where sums are in float32, which so stay short
X_BLOCK = 100_000  # numbers of X: a second-level cache holds them
PRODUCT_ROWS = 2048  # rows of X for a product with itself
SPARSE_ROWS = 65_536  # rows of a sparse X
ROW_BLOCKS = 8  # of all rows, where several threads sum over them
THREADED_WORK = 1e8  # multiply-adds of a sum over rows from which it is worth it
LOGIT_BLOCK = 1_000_000  # logits of some rows
CHECKED_ENTRIES = 1_000_000  # entries of sparse X, which two threads check in half the time
# Numbers of a block of X and its logits that a Hessian uses at a time: copies in float64 of 32 MB.
HESSIAN_NUMBERS = 4_000_000
FAN_IN = 8  # results that one task of Dask adds: 100 partitions take three levels


def _after_fork():
    global _forked
    _forked = True
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)  # a child has no threads but its own


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


@functools.cache
def _pool(n_threads):
    """Threads that wait for work: starting two anew takes as long as a pass over small data."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="xentlearn")


class ParallelLoop:
    """A loop over blocks of ``range(size)``, by several threads.

    The blocks go by the size alone: sums over them have the same bits for any number of threads.
    What is called for a block should spend its time in NumPy, which lets other threads go on.

    Parameters
    ----------
    size, width : int
        At least 0 and 1. Each block but the last has ``width``.
    n_threads : int

    Attributes
    ----------
    blocks : list of slice
    """

    def __init__(self, size, width, n_threads):
        self.blocks = []
        for at in range(0, size, width):
            self.blocks.append(slice(at, min(at + width, size)))
        self._n_threads = min(n_threads, len(self.blocks))

    def _map(self, function):
        """``function`` of every block, in their order."""
        if self._n_threads <= 1:
            return map(function, self.blocks)
        n_each = -(-len(self.blocks) // (TASKS_PER_THREAD * self._n_threads))
        tasks = [self.blocks[i : i + n_each] for i in range(0, len(self.blocks), n_each)]
        results = _pool(self._n_threads).map(lambda task: [*map(function, task)], tasks)
        return itertools.chain.from_iterable(results)

    def each(self, function):
        """Call ``function(block)`` for every block."""
        for _ in self._map(function):
            pass

    def sum(self, function, start=0):
        """``start`` plus the sum of ``function(block)``, in the order of the blocks."""
        return sum(self._map(function), start)


# Steps that are timed with each number of threads, and steps after which they are timed again. Two
# threads halve a step on 200 rows of MNIST (160 us), but where other processes keep the cores busy
# such a step takes 10 ms.
TRIED, TRIED_AGAIN = 3, 2000


class ThreadChoice:
    """One thread or all threads for many short steps: whichever was faster when last timed.

    The results have the same bits for any number of threads, so a clock may decide.
    """

    def __init__(self, n_threads):
        self.choices = [1] if n_threads == 1 else [1, n_threads]
        self.best, self._times = None, []

    def timed(self, step, n_rows):
        """Call ``step(n_threads)``, a step on ``n_rows`` rows, and return its result."""
        at = len(self._times) // TRIED
        n_threads = self.choices[at] if at < len(self.choices) else self.best
        began = time.perf_counter()
        result = step(n_threads)
        self._times.append((time.perf_counter() - began) / n_rows)
        if len(self._times) == TRIED * len(self.choices):
            least = [min(self._times[i : i + TRIED]) for i in range(0, len(self._times), TRIED)]
            self.best = self.choices[int(np.argmin(least))]
        if len(self._times) >= TRIED_AGAIN:
            self._times = []
        return result
