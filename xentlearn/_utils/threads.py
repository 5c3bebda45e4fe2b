"""Number of threads, single-threaded BLAS, and parallel loops over blocks."""

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

# GNU's OpenMP runtime cannot start threads in a process that was forked from one in which threads
# had run: the child would hang. Forked children therefore use one thread. joblib's default workers
# are not forked, and use as many threads as they are given.
_forked = False

# Sizes of blocks, chosen so that they fit in a cache and give threads enough work.
TASKS_PER_THREAD = 4  # per loop: handing over a task takes 25 us, so that 80 would take 2 ms
VECTOR_BLOCK = 32_768  # numbers of a vector: 256 KB
FLOAT32_BLOCK = 65_536  # numbers of a vector in float32, so few that sums of them are accurate
X_BLOCK = 100_000  # numbers of a dense X, which fit in a second-level cache
PRODUCT_ROWS = 2048  # rows of X for a product of X with itself
SPARSE_ROWS = 65_536  # rows of a sparse X
ROW_BLOCKS = 8  # blocks of rows, if several threads sum over them
THREADED_WORK = 1e8  # multiply-adds of a sum over rows, from which on several threads are used
LOGIT_BLOCK = 1_000_000  # logits of a block of rows
CHECKED_ENTRIES = 1_000_000  # entries of a sparse X, which two threads check in half the time
# Numbers of a block of X and its logits from which a Hessian is computed: 32 MB in float64.
HESSIAN_NUMBERS = 4_000_000
FAN_IN = 8  # results that one Dask task adds up: 100 partitions take three levels
# Default size of a block of X that is read from a file. Starting a pass over a block and the next
# read takes 0.4 ms, a tenth of the pass over 64 MB at the speed of memory; with half the size, a
# pass took a fifth longer than over X in one piece. Mapped blocks take no memory of the process,
# and are twice as large.
BLOCK_BYTES = 64 * 2**20
MAPPED_BYTES = 2 * BLOCK_BYTES


def _after_fork():
    global _forked
    _forked = True
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)  # a child does not inherit threads


def effective_n_threads(n_threads=None):
    """Return the number of OpenMP threads for a call.

    Parameters
    ----------
    n_threads : int or None, default=None
        A positive number is used as it is. None means as many threads as ``OMP_NUM_THREADS`` or
        threadpoolctl allow; without ``OMP_NUM_THREADS``, at most the number of physical cores, or
        what joblib leaves to each of its workers.

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
                "None uses as many threads as OpenMP allows."
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
    """Context in which BLAS uses one thread.

    The last bits of a product depend on how BLAS splits it, and so on its number of threads.
    Besides, threads of BLAS would still be busy waiting in the next pass over X, and would occupy
    the cores that OpenMP's threads need. As the setting holds for the whole process, the first
    context that is entered changes it, and the last one that is left restores it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._depth = 0
        self._controller = self._limiter = None

    def __enter__(self):
        with self._lock:
            if self._depth == 0:
                # finding the libraries takes milliseconds, setting the number microseconds
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
    """Return a pool of threads; starting new ones would take as long as a pass over small data."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="xentlearn")


class ParallelLoop:
    """A parallel loop over blocks of ``range(size)``.

    The blocks do not depend on the number of threads, so that sums over them have the same bits for
    any number. The functions called should spend their time in NumPy, which releases the GIL.

    Parameters
    ----------
    size : int
        Length of the range, at least 0.
    width : int
        Length of each block but the last, at least 1.
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
        """Return an iterator over the results of ``function`` for the blocks, in their order."""
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
        """Return ``start`` plus the sum of ``function(block)``, in the order of the blocks."""
        return sum(self._map(function), start)


# Number of steps that are timed with each number of threads, and number of steps after which they
# are timed again. Two threads halve a step on 200 rows of MNIST (160 us), but if other processes
# keep the cores busy, such a step takes 10 ms.
TRIED, TRIED_AGAIN = 3, 2000


class ThreadChoice:
    """Runs many short steps with one thread or with all threads, whichever was faster.

    Timing may decide, as the results have the same bits for any number of threads.

    Parameters
    ----------
    n_threads : int
        Number of all threads.

    Attributes
    ----------
    choices : list of int
        The numbers of threads to choose from.
    best : int or None
        The one that was fastest when last timed.
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
