"""Number of threads, single-threaded BLAS, and parallel loops over blocks."""

import functools
import itertools
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np

from . import _openmp
from ._blas import SequentialBlas

# GNU's OpenMP runtime cannot start threads in a process that was forked from one in which threads
# had run: the child would hang. Forked children therefore use one thread. joblib's default workers
# are not forked, and use as many threads as they are given.
_forked = False

# Whether the user chose the number of OpenMP's threads. Its runtime reads the variable once, when
# it is loaded; what a running program sets later does not count.
_is_chosen = bool(os.environ.get("OMP_NUM_THREADS"))

# Sizes of blocks, chosen so that they fit in a cache and give threads enough work.
TASKS_PER_THREAD = 4  # per loop: handing over a task takes 25 us, so that 80 would take 2 ms
VECTOR_BLOCK = 32_768  # numbers of a vector: 256 KB
OUTPUT_BLOCK = 4096  # outputs of a softmax that are preconditioned at a time
FLOAT32_BLOCK = 65_536  # numbers of a vector in float32, so few that sums of them are accurate
X_BLOCK = 100_000  # numbers of a dense X, which fit in a second-level cache
PRODUCT_ROWS = 2048  # rows of X for a product of X with itself
SPARSE_ROWS = 65_536  # rows of a sparse X
ROW_BLOCKS = 8  # blocks of rows, if several threads sum over them
THREADED_WORK = 1e8  # multiply-adds of a sum over rows, from which on several threads are used
LOGIT_BLOCK = 1_000_000  # logits of a block of rows
# Probabilities that one thread computes from logits in 40 to 150 us; finding the number of threads
# takes 24 us, and starting them has to pay as well.
FEW_PROBABILITIES = 100_000
# Numbers of a batch and its coefficients, times outputs, that one thread works on in that time.
FEW_PRODUCTS = 50_000
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
    if _is_chosen:
        return allowed
    affinity = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return max(1, min(allowed, _physical_cores(os.environ.get("LOKY_MAX_CPU_COUNT"), affinity)))


@functools.cache
def _physical_cores(asked, affinity):
    """Return the number of physical cores; counting them takes as long as a small fit.

    The parameters are what may change that number while a program runs.
    """
    return joblib.cpu_count(only_physical_cores=True)


sequential_blas = SequentialBlas()


def _after_fork_in_child():
    global _forked
    _forked = True
    _pool.cache_clear()  # a child does not inherit threads
    sequential_blas.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=sequential_blas.before_fork,
        after_in_parent=sequential_blas.after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )


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


# All threads are judged by calls that take so many seconds together.
TRIED_SECONDS = 0.005
# The calling thread has a core to itself if it runs for this share of the time; two processes that
# share one have half of it each. Calls have slowed down if they take so many times as long as once.
FREE_SHARE, SLOWED_DOWN = 0.75, 1.5
# All threads are tried again once so many seconds have shown that the core is free (processes take
# turns of about 10 milliseconds), and later each time that this fails: up to so many times as long
# as the last trial took.
SEEN_SECONDS, TRIED_AGAIN = 0.05, 10


def _is_crowded():
    """Whether more threads want to run than there are cores, where the kernel tells (Linux)."""
    try:
        with open("/proc/loadavg") as file:
            return int(file.read().split()[3].split("/")[0]) > os.cpu_count()
    except (OSError, ValueError, IndexError):
        return False


class ThreadChoice:
    """Chooses between all threads and one for calls of one kind, by how long they take.

    OpenMP's threads wait for each other at the end of each loop. If other processes keep the cores
    busy, one of the threads may wait for its core for many milliseconds, and the others wait with
    it: with one such process per core, a pass over sparse text that takes 2 ms took 10 to 180 ms
    with two threads, and 10 to 30 ms with one. So one thread is used where the calling thread does
    not have its core to itself, or where it has been faster. Timing may decide, as results have the
    same bits for any number of threads.

    Parameters
    ----------
    most : int
        Number of all threads.
    fixed : bool, default=False
        Whether to use all of them in any case.

    Attributes
    ----------
    n_threads : int
        Number to use for the next call: ``most`` or 1.
    seconds : float
        Time of the last call.
    """

    def __init__(self, most, fixed=False):
        self.most, self._fixed = most, fixed or most == 1
        self.n_threads = most if self._fixed or not _is_crowded() else 1
        self.seconds, self._window = 0.0, np.zeros(3)  # seconds, own seconds, work
        # Seconds per unit of work: with all threads at best and when last tried, and with one.
        self._least = self._all = self._one = math.inf
        # Seconds with one thread: before the next trial, and those so far, in all and of its own.
        self._wait, self._since, self._own = SEEN_SECONDS, 0.0, 0.0

    def after(self, began, work=1.0):
        """Take the time of a call into account.

        Parameters
        ----------
        began : (float, float)
            ``time.perf_counter()`` and ``time.thread_time()`` before the call.
        work : float, default=1.0
            How much was done, in any unit.

        Returns
        -------
        int
            ``n_threads``, for the next call.
        """
        self.seconds = time.perf_counter() - began[0]
        if self._fixed:
            return self.n_threads
        self._window += self.seconds, time.thread_time() - began[1], work
        if self._window[0] < TRIED_SECONDS:
            return self.n_threads
        seconds, own_seconds, work = self._window.tolist()
        self._window[:] = 0.0
        rate = seconds / work
        if self.n_threads > 1:
            self._all, self._least = rate, min(self._least, rate)
            is_slow = rate > min(SLOWED_DOWN * self._least, self._one)
            if is_slow or own_seconds < FREE_SHARE * seconds:
                self.n_threads, self._since, self._own = 1, 0.0, 0.0
                self._wait = max(SEEN_SECONDS, min(2 * self._wait, TRIED_AGAIN * seconds))
            else:
                self._wait = SEEN_SECONDS / 2
        else:
            self._one, self._since, self._own = rate, self._since + seconds, self._own + own_seconds
            is_due = self._since >= self._wait
            if (is_due or rate > self._all) and self._own >= FREE_SHARE * self._since:
                self.n_threads = self.most
            elif is_due:  # the share of later calls counts more
                self._since, self._own = self._since / 2, self._own / 2
        return self.n_threads
