"""How good a fit is, seen from outside of every solver, and how long it took to get there."""

import math
import statistics
import time
import warnings
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from threadpoolctl import ThreadpoolController

BLOCK = 4096  # rows whose logits are held at a time
PAUSE = 0.3  # seconds, for the threads of the last solver to stop spinning
POOLS = ThreadpoolController()
QUICK, REPEATS = 1.0, 3  # fits are repeated while all of them took less than so many seconds
TRIALS = 9  # quick fits by which a number of threads is chosen
FINE = 1.2  # numbers of iterations are told apart up to this factor


def objective(coef, intercept, problem):
    """Mean cross-entropy plus the penalty divided by C n, in float64; inf outside of the bounds."""
    X, y, C = problem.X, problem.y, problem.C
    coef, intercept = coef.astype(np.float64), intercept.astype(np.float64)
    if not (coef >= problem.lower).all():
        return math.inf
    total = 0.0
    for begin in range(0, len(y), BLOCK):
        labels = y[begin : begin + BLOCK]
        logits = X[begin : begin + BLOCK].astype(np.float64) @ coef.T + intercept
        if len(coef) == 1:  # two classes: the logit of the first is 0
            logits = np.hstack([np.zeros_like(logits), logits])
        total += np.sum(logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels])
    return float(total + penalty(coef, problem) / C) / len(y)


def penalty(coef, problem):
    """Elastic net: of the coefficients, or of their norms over the outputs."""
    r = problem.l1_ratio
    sizes = np.linalg.norm(coef, axis=0) if problem.grouped else np.abs(coef)
    return (1 - r) / 2 * np.vdot(coef, coef) + r * np.sum(sizes)


def blas_threads(n_threads):
    """Context in which BLAS has so many threads; None: as many as it likes."""
    return POOLS.limit(limits=n_threads, user_api="blas")


def fastest_blas_threads(fit):
    """None or 1: with how many threads of BLAS ``fit()`` is faster.

    Peers get as many. Where cores are virtual, two threads of OpenBLAS can take twenty times as
    long as one, and a race with default settings would show nothing else.
    """
    seconds = {}
    for n_threads in (None, 1):
        with blas_threads(n_threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit()
            times = []
            while not times or (len(times) < TRIALS and sum(times) < QUICK):
                begin = time.perf_counter()
                fit()
                times.append(time.perf_counter() - begin)
            seconds[n_threads] = statistics.median(times)
    return min(seconds, key=seconds.get)


@dataclass
class Run:
    """One fit from scratch."""

    setting: float
    dtype: str
    seconds: float
    objective: float
    n_iter: int
    warnings: list  # their names
    blas_threads: int | None  # None: as many as BLAS likes
    how: str = ""  # what the setting means, where it is not the number of iterations

    def stopped_early(self):
        """Whether it was not the number of iterations that ended it."""
        return self.n_iter < self.setting


def attempt(peer, problem, X, setting, n_blas_threads=None):
    """Run a whole fit; one that is quick is repeated, for the median."""
    prepared = peer.prepare(X)
    time.sleep(PAUSE)
    seconds = []
    while not seconds or (len(seconds) < REPEATS and sum(seconds) < QUICK):
        with warnings.catch_warnings(record=True) as caught, blas_threads(n_blas_threads):
            warnings.simplefilter("always")
            begin = time.perf_counter()
            found = peer.fit(prepared, problem, setting)
            took = time.perf_counter() - begin
            seconds.append(took if found.seconds is None else found.seconds)
    value = objective(found.coef, found.intercept, problem)
    return Run(
        setting,
        str(X.dtype),
        statistics.median(seconds),
        value if math.isfinite(value) else math.inf,
        found.n_iter,
        sorted(warning.category.__name__ for warning in caught),
        n_blas_threads,
        found.how,
    )


def next_setting(runs, wanted, first, most=math.inf):
    """The number of iterations to try next for an objective of ``wanted``; None: no more.

    Doubled until it is reached, then bisected until the least number that reaches it is known up
    to the factor FINE.
    """
    enough = min((run.setting for run in runs if run.objective <= wanted), default=math.inf)
    too_few = max((run.setting for run in runs if run.setting < enough), default=0)
    if enough == math.inf:
        following = 2 * too_few or first
        stopped = any(run.stopped_early() for run in runs)
        return None if stopped or following > most else following
    if enough - too_few <= 1 or enough <= FINE * too_few:
        return None
    return round(math.sqrt(max(too_few, 1) * enough))


def climb(peer, problem, minimum, limit, report):
    """Runs of a peer until every gap is reached, or ``limit`` seconds are spent on more iterations.

    A peer that stops short of a gap by itself in float32 goes on in float64.
    """
    every_run, n_blas_threads = [], "unknown" if peer.blas else None
    first = peer.first
    for dtype in peer.dtypes_for(problem.X):
        X = problem.X.astype(dtype, copy=False)
        runs = []
        if n_blas_threads == "unknown":
            prepared = peer.prepare(X)
            n_blas_threads = fastest_blas_threads(
                lambda prepared=prepared: peer.fit(prepared, problem, peer.first)
            )
        for gap in sorted(problem.gaps, reverse=True):
            while setting := next_setting(runs, minimum * (1 + gap), first, peer.most):
                spent = sum(run.seconds for run in every_run)
                last = max(runs, key=lambda run: run.setting, default=None)
                if last and setting > last.setting:
                    expected = last.seconds * setting / last.setting
                    if spent + expected > limit:
                        return every_run
                runs.append(attempt(peer, problem, X, setting, n_blas_threads))
                every_run.append(runs[-1])
                report(runs[-1])
        if min(run.objective for run in runs) <= minimum * (1 + min(problem.gaps)):
            break
        first = max(1, max(run.n_iter for run in runs))
    return every_run


def interleaved(functions, rounds, limit, threads):
    """{name: (median seconds, last result)} of functions called in turns, for ``limit`` seconds.

    ``threads`` has the threads of BLAS of those that do not get as many as BLAS likes.
    """
    seconds = {name: [] for name in functions}
    results = {}
    begin = time.perf_counter()
    for done in range(rounds):
        if (time.perf_counter() - begin) * (done + 1) > limit * max(done, 1):
            break
        for name, function in functions.items():
            with blas_threads(threads.get(name)):
                start = time.perf_counter()
                results[name] = function()
                seconds[name].append(time.perf_counter() - start)
    return {name: (statistics.median(seconds[name]), results[name]) for name in functions}
