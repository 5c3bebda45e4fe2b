"""Parallel loops: every index once, in order, whatever the number of threads."""

import threading

import numpy as np
import pytest

from xentlearn._utils.threads import ParallelLoop


@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize(("size", "width"), [(0, 3), (1, 3), (3, 3), (7, 3), (10, 1), (4, 100)])
def test_every_index_once(size, width, n_threads):
    parts = ParallelLoop(size, width, n_threads)
    seen = np.zeros(size, dtype=int)

    def count(part):
        assert part.stop - part.start <= width
        seen[part] += 1

    parts.each(count)
    assert (seen == 1).all()
    assert parts.sum(lambda part: part.stop - part.start) == size


def test_sum_has_the_same_bits_for_any_number_of_threads(rng):
    values = rng.normal(size=100_003) * 10.0 ** rng.integers(-8, 8, size=100_003)
    sums = [
        ParallelLoop(len(values), 1000, n).sum(lambda part: values[part].sum()) for n in (1, 2, 3)
    ]
    assert sums[0] == sums[1] == sums[2]


def test_sum_begins_at_start():
    assert ParallelLoop(5, 2, 2).sum(lambda part: [part.start], start=["a"]) == ["a", 0, 2, 4]
    assert ParallelLoop(0, 2, 2).sum(lambda part: 1, start=3.5) == 3.5


def test_several_threads_work():
    both = threading.Barrier(2, timeout=30)  # passed only by two threads at a time
    ParallelLoop(2, 1, 2).each(lambda part: both.wait())


@pytest.mark.parametrize("n_threads", [1, 2])
def test_errors_pass_through(n_threads):
    def fail(part):
        raise ZeroDivisionError(part.start)

    with pytest.raises(ZeroDivisionError, match="0"):
        ParallelLoop(4, 1, n_threads).each(fail)
