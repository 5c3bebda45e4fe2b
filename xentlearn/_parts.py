"""Work on long arrays in parts, by several threads.

The parts go by the size of the array alone: sums over them have the same bits for any number of
threads. What is called for a part should spend its time in NumPy, which lets other threads go on.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor


@functools.cache
def _pool(n_threads):
    """Threads that wait for work: starting two anew takes as long as a pass over small data."""
    return ThreadPoolExecutor(n_threads, thread_name_prefix="xentlearn")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a child has no threads but its own


class Parts:
    """Slices of ``range(size)``, each but the last of ``width``.

    Parameters
    ----------
    size, width : int
        At least 0 and 1.
    n_threads : int
    """

    def __init__(self, size, width, n_threads):
        self._made_of = size, width, n_threads
        self.slices = [slice(at, min(at + width, size)) for at in range(0, size, width)]
        n_threads = min(n_threads, len(self.slices))
        self._map = _pool(n_threads).map if n_threads > 1 else map

    def __reduce__(self):
        return Parts, self._made_of  # threads do not travel

    def each(self, function):
        """Call ``function(part)`` for every part."""
        for _ in self._map(function, self.slices):
            pass

    def sum(self, function, start=0):
        """``start`` plus the sum of ``function(part)``, in the order of the parts."""
        return sum(self._map(function, self.slices), start)
