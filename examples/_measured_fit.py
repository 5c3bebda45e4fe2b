"""Time and memory of a fit, measured in a process of its own.

This is a module beside the example because the new process has to import the function that it runs,
and cannot import an example that sphinx-gallery runs.
"""

import multiprocessing
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Fit(NamedTuple):
    """A fitted estimator and what it cost."""

    estimator: object
    seconds: float
    extra_memory: int | None  # bytes; None where the system does not tell
    warned: list  # names of the warnings


def measured(estimator, X, y):
    """Fit in a process of its own, so that what was done before leaves no trace in the numbers."""
    print(f"\n{estimator}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # the child reads its only copy; sent through a pipe, X would be there twice for a moment
        path = Path(folder, "X.npy")
        np.save(path, X)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            fit = executor.submit(fit_here, estimator, path, y).result()
    print(f"fitted in {fit.seconds:.2f} s", flush=True)
    return fit


def fit_here(estimator, path, y):
    """What runs in the child."""
    X = np.load(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = memory(reset_peak=True)
        start = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - start
        after = memory()
    extra = None if before is None else max(0, after.peak - before.current)
    warned = sorted({warning.category.__name__ for warning in caught})
    return Fit(estimator, seconds, extra, warned)


class Memory(NamedTuple):
    """Physical memory of a process in bytes."""

    current: int
    peak: int


def memory(reset_peak=False):
    """What this process holds now and has held at most; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would do, but on Linux its peak includes that of the process that started us
        if reset_peak:
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                pass  # the peak is then that of the import, if the fit stays below
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return Memory(*(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")))
    try:
        import resource
    except ImportError:
        return None
    # the peak so far stands in for what is held now: before the fit, that is X and the imports
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    return Memory(peak, peak)
