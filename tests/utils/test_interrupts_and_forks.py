"""What interrupts and forks at any moment leave behind: BLAS as it was, and children that fit."""

import os

import pytest

from scripts import run_python
from xentlearn._utils import _blas

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork and signals")

INTERRUPTS = """
import random, signal, time
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from xentlearn import SoftmaxClassifier

def interrupt(number, frame):
    raise KeyboardInterrupt

def numbers():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

rng = np.random.default_rng(0)
X, y = rng.normal(size=(500, 8)), rng.integers(3, size=500)
threadpool_limits(2, user_api="blas")
model = SoftmaxClassifier()
began = time.perf_counter()
model.fit(X, y)
model.fit(X, y)
seconds, before, n_interrupted = (time.perf_counter() - began) / 2, numbers(), 0
assert set(before) == {2}, before
signal.signal(signal.SIGALRM, interrupt)
for i in range(600):
    # most of them at the begin and at the end of a fit, where the number is changed and restored
    at = random.Random(i).choice([0.02, 1.0, 1.0]) * random.Random(-1 - i).random() * seconds
    try:
        signal.setitimer(signal.ITIMER_REAL, max(at, 1e-6))
        model.fit(X, y)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        n_interrupted += 1
    assert numbers() == before, i
assert n_interrupted > 100, n_interrupted
model.fit(X, y)
print("done")
"""


def test_interrupts_leave_the_number_of_blas_threads():
    result = run_python(INTERRUPTS, PYTHONWARNINGS="ignore", OPENBLAS_NUM_THREADS="2")
    assert result.stdout.strip() == "done", result.stderr[-3000:]


FORKS = """
import os, signal, sys, threading, time
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from xentlearn import SoftmaxClassifier

rng = np.random.default_rng(0)
X, y = rng.normal(size=(400, 8)), rng.integers(3, size=400)
threadpool_limits(2, user_api="blas")
want = SoftmaxClassifier().fit(X, y).coef_
stop = threading.Event()

def fit_on():
    # early stopping and checksums reach code that fits without them do not
    model = SoftmaxClassifier(early_stopping=True, random_state=0)
    while not stop.is_set():
        SoftmaxClassifier().fit(X, y)
        model.fit(X, y)

others = [threading.Thread(target=fit_on) for _ in range(2)]
for other in others:
    other.start()
bad, n_forks, end = [], 0, time.monotonic() + 20
while n_forks < 20 or (n_forks < 300 and time.monotonic() < end):
    n_forks += 1
    time.sleep(0.0007 * (n_forks % 7))  # other moments of the fits
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends the child if it waits for ever
        same = np.array_equal(SoftmaxClassifier().fit(X, y).coef_, want)
        blas = {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
        os._exit(0 if same and blas == {2} else 3)
    _, status = os.waitpid(child, 0)
    if status:
        bad.append((n_forks, status))
        if len(bad) > 3:
            break
stop.set()
for other in others:
    other.join()
print(bad)
"""


def test_children_that_are_forked_while_other_threads_fit():
    """No lock is held over a fork; a child's BLAS has as many threads as before the fits."""
    result = run_python(FORKS, PYTHONWARNINGS="ignore", OPENBLAS_NUM_THREADS="2")
    assert result.stdout.strip() == "[]", result.stdout + result.stderr[-3000:]


def test_signals_while_the_number_is_set(monkeypatch):
    """A context is entered in full or not at all, and left in full, whatever is raised then."""

    class Library:
        user_api, n_threads, calls = "blas", 4, 0

        def get_num_threads(self):
            return self.n_threads

        def set_num_threads(self, n_threads):
            self.calls += 1
            self.n_threads = n_threads
            if self.calls == self.raises_in:
                raise KeyboardInterrupt

    for raises_in in (1, 2, None):
        library = Library()
        library.raises_in = raises_in
        monkeypatch.setattr(
            _blas, "ThreadpoolController", lambda library=library: _Controller([library])
        )
        context, entered = _blas.SequentialBlas(), False
        try:
            with context:
                entered = True
                assert library.n_threads == 1
        except KeyboardInterrupt:
            assert raises_in is not None
        assert entered == (raises_in != 1)
        assert library.n_threads == 4
        with context:
            with context:
                assert library.n_threads == 1
            assert library.n_threads == 1
        assert library.n_threads == 4


class _Controller:
    def __init__(self, libraries):
        self.lib_controllers = libraries
