"""What is measured: races to a gap, fits of small data, grid searches, memory.

Every task returns plain numbers, which ``report`` and ``picture`` turn into tables and curves.
"""

import functools
import itertools
import math
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from measure import PAUSE, attempt, climb, fastest_blas_threads, interleaved, objective
from peers import installed_peers
from problems import Problem, embeddings, labelled, race_problem, searched, small
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from xentlearn import SoftmaxClassifier

OWN_RUNS, LONG = 3, 20.0  # a fit of so many seconds is not repeated
SAMPLED_LABELS = 12
SMALL_ROUNDS, SEARCH_ROUNDS = 30, 3
FEW_PRODUCTS = 1e9  # so many multiply-adds a pass, and a very long run in float64 takes minutes
ENOUGH_ITERATIONS = 10_000
UNKNOWN = {"objective": math.inf, "tol": math.nan, "dtype": "none", "certified": math.inf}


def progress(text):
    """A line that is not part of the table."""
    print(text, file=sys.stderr, flush=True)


# ---- Races ---------------------------------------------------------------------------------------


def race(name, args, own, peers):
    """The race of a task by its name."""
    return race_of(race_problem(name, args.data), args, own, peers)


def race_of(problem, args, own, peers, traced=True):
    """Time to each gap of one data set for each solver; ``traced`` for a picture of the way there.

    Without solvers of our own, peers run until the limit, and the minimum is the lowest that one
    of them has reached.
    """
    if args.rows:
        problem = problem.first_rows(args.rows)
    progress(f"{problem.name}: {problem.shape}")
    trace, reference = long_runs(problem, traced) if own else (None, UNKNOWN)
    minimum = reference["objective"] if own else -math.inf
    progress(f"  reference: {reference}")
    own_runs = {solver.name: [] for solver in own}
    peer_runs = {}

    def tell(peer, run):
        progress(
            f"  {peer.name}, {run.setting:g}, {run.dtype}: {run.seconds:.2f} s, "
            + (f"gap {run.objective / minimum - 1:.1e}" if own else f"{run.objective:.9f}")
            + f" {run.how}"
        )

    def run_own():
        for solver, gap in itertools.product(own, problem.gaps):
            own_runs[solver.name].append(attempt(solver, problem, problem.X, gap))
            tell(solver, own_runs[solver.name][-1])

    rivals = [peer for peer in peers if peer.takes(problem)]
    for turn, peer in itertools.zip_longest(range(OWN_RUNS), rivals):
        if turn == 0 or (turn is not None and all(is_short(runs) for runs in own_runs.values())):
            run_own()
        if peer is not None:
            runs = climb(peer, problem, minimum, args.limit, lambda run, peer=peer: tell(peer, run))
            peer_runs[peer.name] = runs
            if own:
                minimum = min([minimum, *(run.objective for run in runs)])
    as_numbers = {
        solver: [asdict(run) for run in runs] for solver, runs in (own_runs | peer_runs).items()
    }
    return {
        "kind": "race",
        "task": problem.name,
        "shape": problem.shape,
        "gaps": problem.gaps,
        "reference": reference,
        "trace": trace,
        "own": list(own_runs),
        "runs": as_numbers,
    }


def is_short(runs):
    """Whether fits are so quick that they are repeated."""
    return max(run.seconds for run in runs) < LONG


def long_runs(problem, traced=False):
    """The curve of a fit with a small ``tol``, if ``traced``; the best that xentlearn can do."""
    trace = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if traced:
            # with a much smaller tol, "auto" takes another solver for sparse float32 X
            model = SoftmaxClassifier(C=problem.C, tol=min(problem.gaps) / 5, **problem.penalty)
            model.fit(problem.X, problem.y)
            trace = {key: model.history_[key].tolist() for key in ("seconds", "objective")}
        tol, X = 1e-7, problem.X
        if problem.n_products <= FEW_PRODUCTS:
            tol, X = 1e-9, X.astype(np.float64)
        model = SoftmaxClassifier(
            C=problem.C, tol=tol, max_iter=ENOUGH_ITERATIONS, **problem.penalty
        )
        model.fit(X, problem.y)
    reference = {
        "objective": objective(model.coef_, model.intercept_, problem),
        "tol": tol,
        "certified": float(model.optimality_gap_),
        "dtype": str(model.coef_.dtype),
    }
    return trace, reference


# ---- Labels --------------------------------------------------------------------------------------


def labels(args):
    """The smooth penalty, beside scikit-learn's lbfgs."""
    name, X, Y, C = labelled()
    peer = next(peer for peer in installed_peers() if peer.name == "scikit-learn lbfgs")
    return race_of_labels(Problem(name, X, Y, C), peer, args)


def race_of_labels(problem, peer, args):
    """One fit of all labels, beside one fit of a peer for each label of a random sample.

    A peer has its best number of iterations for each label, and each label the wanted gap.
    """
    name, X, C = problem.name, problem.X, problem.C
    Y = problem.y.toarray()
    if args.rows:
        X, Y = X[: args.rows], Y[: args.rows]
    some = np.flatnonzero(Y.any(axis=0) & ~Y.all(axis=0))
    Y = np.ascontiguousarray(Y[:, some])
    shape = f"{X.shape[0]:,} x {X.shape[1]:,}, {Y.shape[1]} labels, {X.dtype}, {problem.strength}"
    progress(f"{name}: {shape}")
    own = []
    for _ in range(OWN_RUNS):
        time.sleep(PAUSE)
        begin = time.perf_counter()
        model = SoftmaxClassifier(C=C, **problem.penalty).fit(X, Y)
        own.append(time.perf_counter() - begin)
        progress(f"  xentlearn: {own[-1]:.1f} s, certified {model.optimality_gap_:.1e}")
        if own[-1] > LONG:
            break
    sampled = []
    for label in np.random.default_rng(0).choice(Y.shape[1], SAMPLED_LABELS, replace=False):
        one = replace(problem, name=f"label {label}", X=X, y=Y[:, label].astype(np.int64))
        minimum = long_runs(one)[1]["objective"]
        runs = climb(peer, one, minimum, args.limit, lambda run: None)
        gap = one.gaps[0]
        enough = [run for run in runs if run.objective <= minimum * (1 + gap)]
        # the longest is too short if none of them is enough
        best = min(enough, key=lambda run: run.seconds) if enough else runs[-1]
        progress(f"  {one.name}, {one.y.sum()} ones: {best.seconds:.2f} s, {best.n_iter}")
        sampled.append(asdict(best) | {"reached": bool(enough)})
    return {
        "kind": "labels",
        "task": f"{name} ({shape})",
        "n_labels": Y.shape[1],
        "peer": peer.name,
        "own": {
            "seconds": statistics.median(own),
            "certified": float(model.optimality_gap_),
            "n_iter": int(np.max(model.n_iter_)),
        },
        "sampled": sampled,
    }


# ---- Small data ----------------------------------------------------------------------------------


def small_fits(args):
    """Whole fits of small data with default settings: time, objective, warnings."""
    for problem in small():
        progress(f"small: {problem.name}")
        estimators = {"xentlearn": SoftmaxClassifier, "scikit-learn": LogisticRegression}
        functions = {
            name: functools.partial(fit_default, estimator, problem)
            for name, estimator in estimators.items()
        }
        threads = {"scikit-learn": fastest_blas_threads(functions["scikit-learn"])}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            measured = interleaved(functions, SMALL_ROUNDS, args.limit, threads)
        yield {
            "kind": "small",
            "task": problem.name,
            "fits": {
                name: {
                    "seconds": seconds,
                    "objective": objective(model.coef_, model.intercept_, problem),
                    "warned": warned(estimators[name](), problem.X, problem.y) > 0,
                }
                for name, (seconds, model) in measured.items()
            },
        }


def fit_default(estimator, problem):
    """A fit with default settings."""
    return estimator().fit(problem.X, problem.y)


def warned(estimator, X, y):
    """How many warnings a fit gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, y)
    return len(caught)


# ---- Grid searches -------------------------------------------------------------------------------

SEARCHED = {
    "xentlearn": SoftmaxClassifier(),
    "scikit-learn": LogisticRegression(),
    f"scikit-learn, max_iter={ENOUGH_ITERATIONS:,}": LogisticRegression(max_iter=ENOUGH_ITERATIONS),
}


def searches(args):
    """Whole grid searches: 12 values of C, five folds."""
    for problem in searched(args.data):
        if args.rows:
            problem = problem.first_rows(args.rows)
        progress(f"gridsearch: {problem.name}")
        fit_rival = functools.partial(fit_default, LogisticRegression, problem)
        n_threads = fastest_blas_threads(fit_rival)
        functions = {
            name: functools.partial(search, estimator, problem)
            for name, estimator in SEARCHED.items()
        }
        threads = {name: n_threads for name in SEARCHED if name != "xentlearn"}
        measured = interleaved(functions, SEARCH_ROUNDS, args.limit, threads)
        yield {
            "kind": "gridsearch",
            "task": f"{problem.name} ({problem.shape.rsplit(',', 1)[0]})",
            "searches": {
                name: {"seconds": seconds, **found} for name, (seconds, found) in measured.items()
            },
        }


def search(estimator, problem):
    """One search; what it found and how often it warned."""
    grid = GridSearchCV(estimator, {"C": np.logspace(-4, 2, 12)}, cv=5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        grid.fit(problem.X, problem.y)
    return {
        "C": float(grid.best_params_["C"]),
        "score": float(grid.best_score_),
        "warnings": len(caught),
    }


# ---- Memory --------------------------------------------------------------------------------------


def memory(args):
    """Of fits with the smooth penalty."""
    problem = Problem("embeddings", *embeddings(np.float32))
    return memory_of(problem, ["xentlearn", "scikit-learn lbfgs"], args)


def memory_of(problem, estimators, args):
    """What fits add to resident memory, each in a fresh process."""
    if args.rows:
        problem = problem.first_rows(args.rows)
    progress(f"memory: {problem.shape}")
    extra = {}
    with tempfile.TemporaryDirectory() as folder:
        # the child reads its only copy; made there, X would leave room behind for the fit to use
        np.save(Path(folder, "X.npy"), problem.X)
        np.save(Path(folder, "y.npy"), problem.y)
        for name in estimators:
            command = [sys.executable, Path(__file__).with_name("memory.py"), name]
            command += [Path(folder, "X.npy"), Path(folder, "y.npy")]
            result = subprocess.run(command, check=True, capture_output=True, text=True)
            extra[name] = int(result.stdout)
    return {
        "kind": "memory",
        "task": f"{problem.name} ({problem.shape})",
        "coef_bytes": 4 * problem.n_outputs * problem.X.shape[1],
        "extra": extra,
    }
