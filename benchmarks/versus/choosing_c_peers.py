"""Whoever chooses C by cross-validation, each as one function; this script times one of them.

All get the same folds and the same values of C, and score by the mean log loss. Nobody is helped:
the tolerances and the numbers of iterations are those that come by default, except for "sklearn
converging", which has enough iterations for its tolerance, and "sklearn exact", whose tolerance is
1e-8. On the digits that one ends 0.2 % above the minimum, and "sklearn converging" at 28 times the
minimum. scikit-learn's are tried with two processes, with the threads of BLAS as
they are, and with one thread of BLAS (see `measure.fastest_blas_threads`); the benchmark takes the
best.

cv.glmnet runs in R, in a process of its own, and is timed there with the data loaded. Its lambda is
1 / (C n) for the n rows that all folds but one have.

``choosing_c.py`` writes the data into a folder, calls this once for every measurement, in a fresh
process, and reads the result from that folder::

    python benchmarks/versus/choosing_c_peers.py FOLDER CANDIDATE VARIANT LIMIT

A first fit of a few rows, which is not counted, imports what is imported late and starts threads
and processes. A fit that takes more than LIMIT seconds ends the process by SIGALRM.
"""

import json
import math
import re
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import QUICK, REPEATS, blas_threads, objective
from memory import resident_bytes
from problems import Problem
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV
from sparse_peers import RSCRIPT, columns

from xentlearn import SoftmaxClassifier, SoftmaxClassifierCV

SCORING = "neg_log_loss"
ENOUGH_ITERATIONS = 10_000
EXACT_TOL, SKLEARN_EXACT_TOL = 1e-7, 1e-8
LOG, RESULT = "stderr.txt", "result.json"
SHARES_OF_PATH = (0.25, 0.5, 0.75, 1.0)  # where the objective along C is looked at


@dataclass
class Search:
    """Data, values of C in ascending order, and the fold in which each row is tested."""

    X: object
    y: np.ndarray
    Cs: np.ndarray
    fold_of: np.ndarray
    l1_ratio: float = 0.0

    @property
    def folds(self):
        """List of (train, test), as scikit-learn's ``cv`` takes them."""
        tested = (self.fold_of == fold for fold in range(self.fold_of.max() + 1))
        return [(np.flatnonzero(~test), np.flatnonzero(test)) for test in tested]

    @property
    def looked_at(self):
        """Indices of the values of C for which the objective in the first fold is computed."""
        last = len(self.Cs) - 1
        return [round(share * last) for share in SHARES_OF_PATH]

    def first_problem(self, i):
        """Training rows of the first fold, with the i-th value of C."""
        train = self.fold_of != 0
        X, y = self.X[train], self.y[train]
        return Problem("first fold", X, y, self.Cs[i], l1_ratio=self.l1_ratio)

    def save(self, folder):
        """Write it for `load_search`."""
        if sparse.issparse(self.X):
            sparse.save_npz(folder / "X.npz", sparse.csr_matrix(self.X), compressed=False)
        else:
            np.save(folder / "X.npy", self.X)
        rest = {"y": self.y, "Cs": self.Cs, "fold_of": self.fold_of, "l1_ratio": self.l1_ratio}
        np.savez(folder / "search.npz", **rest)


def load_search(folder):
    """What `Search.save` has written."""
    is_sparse = (folder / "X.npz").exists()
    X = sparse.load_npz(folder / "X.npz") if is_sparse else np.load(folder / "X.npy")
    with np.load(folder / "search.npz") as rest:
        return Search(X, rest["y"], rest["Cs"], rest["fold_of"], float(rest["l1_ratio"]))


def few_rows(search):
    """A small search of the same kind, to warm up."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)).astype(search.X.dtype), np.arange(60) % 3
    X = sparse.csr_matrix(X) if sparse.issparse(search.X) else X
    return replace(search, X=X, y=y, Cs=np.array([0.1, 1.0]), fold_of=np.arange(60) // 3 % 2)


# ---- Candidates ----------------------------------------------------------------------------------


class Found(NamedTuple):
    """What came out of a search."""

    C: float = math.nan
    solutions: Callable | None = None  # () -> (coef, intercept) of the first fold, by `looked_at`
    seconds: float | None = None  # of those with a clock of their own
    n_warnings: int = 0  # of those in other processes


def ours(search, n_jobs=None):
    """`SoftmaxClassifierCV`; its solutions are those of a second fit, of the first fold alone."""
    model = SoftmaxClassifierCV(Cs=search.Cs, l1_ratios=(search.l1_ratio,), cv=search.folds)
    model.set_params(n_jobs=n_jobs)
    model.fit(search.X, search.y)

    def solutions():
        again = clone(model).set_params(cv=search.folds[:1], store_paths=True)
        again.fit(search.X, search.y)
        for i in search.looked_at:
            coef = again.coefs_paths_[0, 0, 0, i]
            yield coef[:, :-1], coef[:, -1]

    return Found(float(model.C_), solutions)


def grid(search, **parameters):
    """GridSearchCV of `SoftmaxClassifier`."""
    estimator = SoftmaxClassifier(l1_ratio=search.l1_ratio, **parameters)
    model = GridSearchCV(estimator, {"C": search.Cs}, cv=search.folds, scoring=SCORING)
    model.fit(search.X, search.y)

    def solutions():
        for i in search.looked_at:
            problem = search.first_problem(i)
            fitted = estimator.set_params(C=problem.C).fit(problem.X, problem.y)
            yield fitted.coef_, fitted.intercept_

    return Found(float(model.best_params_["C"]), solutions)


def one_fit(search):
    """A single fit of all rows, by whose time and memory those of a search are judged."""
    middle = float(search.Cs[len(search.Cs) // 2])
    SoftmaxClassifier(C=middle, l1_ratio=search.l1_ratio).fit(search.X, search.y)
    return Found()


def single_fits(search):
    """A fit of all rows for each C, by whose time leave-one-out is judged."""
    for C in search.Cs:
        SoftmaxClassifier(C=float(C), l1_ratio=search.l1_ratio).fit(search.X, search.y)
    return Found()


def leave_one_out(search):
    """`SoftmaxClassifierCV` with cv="loo"."""
    model = SoftmaxClassifierCV(Cs=search.Cs, l1_ratios=(search.l1_ratio,), cv="loo", refit=False)
    model.fit(search.X, search.y)
    return Found(float(model.C_))


def exact(search):
    """The minima, whatever they cost: what the others' choice is judged by."""
    X = search.X if search.X.dtype == np.float64 else search.X.astype(np.float32)
    return grid(replace(search, X=X), tol=EXACT_TOL, max_iter=ENOUGH_ITERATIONS)


def logistic_cv(search, **parameters):
    """LogisticRegressionCV."""
    model = LogisticRegressionCV(
        Cs=search.Cs,
        l1_ratios=(search.l1_ratio,),
        cv=search.folds,
        scoring=SCORING,
        use_legacy_attributes=False,
        **parameters,
    )
    model.fit(search.X, search.y)

    def solutions():
        for i in search.looked_at:
            coef = np.atleast_2d(model.coefs_paths_[0, 0, i])
            yield coef[:, :-1], coef[:, -1]

    return Found(float(model.C_), solutions)


def cv_glmnet(search, folder):
    """R's cv.glmnet."""
    n, d = search.X.shape
    n_train = round(n * (1 - 1 / (search.fold_of.max() + 1)))
    columns(search.X).ravel(order="K").tofile(folder / "data")
    search.y.astype(np.int32).tofile(folder / "labels")
    (search.fold_of + 1).astype(np.int32).tofile(folder / "folds")
    (1 / (search.Cs * n_train)).tofile(folder / "lambda")
    task = {
        "n": f"{n}L",
        "d": f"{d}L",
        "n_lambdas": f"{len(search.Cs)}L",
        "alpha": repr(search.l1_ratio),
        "looked_at": f"c({', '.join(str(i + 1) for i in search.looked_at)})",
        "repeats": f"{REPEATS}L",
        "quick": repr(QUICK),
    }
    (folder / "task.R").write_text("".join(f"{name} <- {value}\n" for name, value in task.items()))
    command = [RSCRIPT, Path(__file__).with_name("choosing_c.R"), folder]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, n_warnings, chosen = map(float, ran.stdout.split())
    coefs = np.fromfile(folder / "coef").reshape(len(search.looked_at), -1, d + 1)
    return Found(
        search.Cs[int(chosen) - 1],
        lambda: [(coef[:, 1:], coef[:, 0]) for coef in coefs],
        seconds,
        int(n_warnings),
    )


TWO, AS_IT_IS, ONE = "n_jobs=2", "n_jobs=None", "n_jobs=None, BLAS with 1 thread"
SCIKIT_LEARN = {TWO: {"n_jobs": 2}, AS_IT_IS: {}, ONE: {}}
CANDIDATES = {  # name: (function, {variant: parameters})
    "xentlearn": (ours, {"": {}}),
    "xentlearn n_jobs=2": (ours, {TWO: {"n_jobs": 2}}),
    "one fit": (one_fit, {"": {}}),
    "single fits": (single_fits, {"": {}}),
    "leave-one-out": (leave_one_out, {"": {}}),
    "grid": (grid, {"": {}}),
    "exact": (exact, {"": {}}),
    "sklearn": (logistic_cv, SCIKIT_LEARN),
    "sklearn converging": (partial(logistic_cv, max_iter=ENOUGH_ITERATIONS), SCIKIT_LEARN),
    "sklearn exact": (
        partial(logistic_cv, tol=SKLEARN_EXACT_TOL, max_iter=100 * ENOUGH_ITERATIONS),
        SCIKIT_LEARN,
    ),
    "saga": (
        partial(logistic_cv, solver="saga", random_state=0),
        {TWO: {"n_jobs": 2}, AS_IT_IS: {}},
    ),
    "cv.glmnet": (cv_glmnet, {"": {}}),
}


# ---- Command -------------------------------------------------------------------------------------


def timed(function, search, limit, log):
    """(seconds, number of warnings, Found, bytes) of a fit; of several, the median, if it is quick.

    Warnings of other processes are counted in ``log``, the file of the standard error stream.
    Bytes: how far the peak of resident memory of this process lies above what it held before.
    """
    seconds, before = [], resident_bytes("VmRSS")
    while not seconds or (len(seconds) < REPEATS and sum(seconds) < QUICK):
        logged = log.stat().st_size
        signal.setitimer(signal.ITIMER_REAL, limit)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            begin = time.perf_counter()
            found = function(search)
            seconds.append(time.perf_counter() - begin)
        signal.setitimer(signal.ITIMER_REAL, 0)
    n_warnings = len(caught) + found.n_warnings
    n_warnings += len(re.findall(r": \w*Warning: ", log.read_bytes()[logged:].decode()))
    taken = statistics.median(seconds) if found.seconds is None else found.seconds
    return taken, n_warnings, found, resident_bytes("VmHWM") - before


def main():
    folder, name, variant, limit = sys.argv[1:]
    folder, limit = Path(folder), float(limit)
    search = load_search(folder)
    function, variants = CANDIDATES[name]
    function = partial(function, **variants[variant])
    in_another_process = name == "cv.glmnet"
    if in_another_process:
        function = partial(function, folder=folder)
    with blas_threads(1 if variant == ONE else None):
        if not in_another_process:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                function(few_rows(search))
        seconds, n_warnings, found, extra = timed(function, search, limit, folder / LOG)
    result = {
        "seconds": seconds,
        "warnings": n_warnings,
        "extra_bytes": None if in_another_process or variant == TWO else extra,
        "variant": variant,
    }
    if not math.isnan(found.C):
        result["C"] = found.C
    if found.solutions is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result["objectives"] = [
                objective(coef, intercept, search.first_problem(i))
                for i, (coef, intercept) in zip(search.looked_at, found.solutions(), strict=True)
            ]
    (folder / RESULT).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
