"""Random fits with parameters, scales, dtypes and layouts as wild as callers can make them.

    python tests/soak.py --fits 20000 --first 0 --processes 2

Each number is a fit that can be repeated alone (``--first N --fits 1``). A fit passes if it is
refused by a ValueError, or if

- its attributes and predictions are finite, and probabilities are probabilities;
- the objective of the stored model, from what ``predict_log_proba`` gives, is ``objective_``, and
  no higher than what the solver reached, each within ``tol``, unless a ConvergenceWarning says so;
- the same fit in moderate units and float64 ends no lower, unless there is a warning;
- nothing warns of arithmetic (overflow, nan, division by 0).

Losses are convex: plain, smoothed, weighted, adjusted and summed cross-entropies.
"""

import argparse
import collections
import concurrent.futures
import re
import traceback
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from xentlearn import SoftmaxClassifier, losses

FLOATS = (np.float64, np.float32, np.float16)
INTEGERS = (np.uint8, np.int8, np.int16, np.int64, np.uint64, bool)


# --- A problem in moderate units ------------------------------------------------------------------


def features(rng, n, d):
    """Numbers of about 1, of one of many kinds."""
    kind = rng.choice(
        ["normal", "lognormal", "integers", "rare", "copies", "nearly copies", "offset", "constant",
         "heavy tails", "scales", "dummies"]
    )  # fmt: skip
    X = rng.normal(size=(n, d))
    if kind == "lognormal":
        X = np.exp(X)
    elif kind == "integers":
        X = rng.integers(-3, 100, (n, d)).astype(float)
    elif kind == "rare":
        X = (rng.random((n, d)) < 0.1) * rng.integers(1, 5, (n, d)).astype(float)
    elif kind == "copies":
        X = X[:, rng.integers(0, max(1, d // 2), d)]
    elif kind == "nearly copies":
        X = X[:, rng.integers(0, max(1, d // 2), d)] + 10.0 ** rng.uniform(-9, -1) * X
    elif kind == "offset":
        X = X + 10.0 ** rng.uniform(0, 9)
    elif kind == "constant":
        X[:, rng.random(d) < 0.5] = rng.normal()
    elif kind == "heavy tails":
        X = rng.standard_cauchy((n, d))
    elif kind == "scales":
        X = X * 10.0 ** rng.uniform(-5, 5, d)
    elif kind == "dummies":
        X = np.eye(d)[rng.integers(0, d, n)]
    return X


@dataclass
class Problem:
    """What is fitted, with a y of any kind and its loss."""

    X: np.ndarray
    y: np.ndarray
    loss: object
    weight: np.ndarray | None
    class_weight: object


def targets(rng, X):
    """(y, loss) of one of many kinds, which X predicts more or less."""
    n = len(X)
    spread = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(spread > 1e-9 * np.abs(X).max(), spread, np.inf)
    n_classes = int(rng.choice([2, 2, 3, 4, 7, 12]))
    logits = rng.choice([0.3, 1.0, 5.0]) * Z @ rng.normal(size=(X.shape[1], n_classes))
    noisy = logits + rng.choice([0.0, 1.0]) * rng.gumbel(size=(n, n_classes))
    labels = noisy.argmax(axis=1)
    labels[: min(n, n_classes)] = np.arange(min(n, n_classes))
    smoothing = float(rng.choice([0.0, 0.0, 0.1, 1.0]))
    adjustment = float(rng.choice([0.0, 0.0, 0.0, 1.0]))
    kind = rng.choice(["labels", "labels", "strings", "multilabel", "missing", "soft", "one-hot",
                       "one-vs-rest", "ignored", "hybrid", "poly"])  # fmt: skip
    if kind == "labels":
        return labels, "auto"
    if kind == "strings":
        return np.array([f"class {k}" for k in labels]), losses.SparseCategoricalCrossentropy(
            smoothing, logit_adjustment=adjustment
        )
    if kind in ("multilabel", "missing"):
        y = (noisy > np.quantile(noisy, rng.uniform(0.1, 0.9))).astype(float)
        if kind == "missing":
            y[rng.random(y.shape) < 0.3] = np.nan
        weight = float(10.0 ** rng.uniform(-3, 3)) if rng.random() < 0.3 else None
        return y, losses.BinaryCrossentropy(smoothing, pos_weight=weight)
    if kind == "soft":
        p = np.exp(noisy - noisy.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True), losses.CategoricalCrossentropy(smoothing)
    if kind == "one-hot":
        return np.eye(n_classes)[labels], losses.CategoricalCrossentropy(smoothing, adjustment)
    if kind == "one-vs-rest":
        return labels, losses.BinaryCrossentropy(smoothing)
    if kind == "ignored":
        labels[rng.random(n) < 0.2] = -1
        return labels, losses.SparseCategoricalCrossentropy(smoothing, ignore_class=-1)
    if kind == "hybrid":
        parts = [
            ("softmax", losses.SparseCategoricalCrossentropy(smoothing)),
            ("ovr", losses.BinaryCrossentropy()),
        ]
        return labels, losses.HybridLoss(parts, weights=[1.0, float(rng.uniform(0, 2))])
    return labels, losses.PolyCrossentropy(float(rng.choice([-1.0, 0.5, 1.0])))


def problem_of(rng):
    """A random problem; now and then one that is too large to be copied to float64."""
    large = rng.random() < 0.01
    n = int(rng.integers(4, 40 if rng.random() < 0.3 else 400)) * (100 if large else 1)
    d = int(rng.integers(1, 60 if rng.random() < 0.2 else 12))
    X = features(rng, n, d)
    y, loss = targets(rng, X)
    weight, class_weight = None, None
    if rng.random() < 0.4:
        weight = rng.uniform(0.1, 3, n)
        if rng.random() < 0.3:
            weight[rng.random(n) < 0.5] = 0.0
        elif rng.random() < 0.2:
            weight *= 10.0 ** rng.uniform(-12, 12, n)
        if y.ndim == 2 and np.isin(y, [0, 1]).all() and rng.random() < 0.3:
            weight = weight[:, np.newaxis] * rng.uniform(0.5, 2, y.shape)
    if y.ndim == 1 and rng.random() < 0.2:
        class_weight = "balanced"
    return Problem(X, y, loss, weight, class_weight)


# --- The same in wild units, dtypes and layouts ---------------------------------------------------


def as_dtype(rng, X):
    """X in a random dtype, as far as it holds the numbers."""
    dtype = FLOATS[int(rng.choice([0, 0, 0, 1, 1, 2]))] if rng.random() < 0.8 else None
    if dtype is None:
        dtype = INTEGERS[rng.integers(len(INTEGERS))]
    if dtype is bool:
        return X > np.median(X)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if np.dtype(dtype).kind in "iu":
            info = np.iinfo(dtype)
            X = np.clip(
                np.rint(np.nan_to_num(X)), max(info.min, -(2.0**53)), min(info.max, 2.0**53)
            )
        return X.astype(dtype)


def as_layout(rng, X):
    """(X as it is passed, its name)."""
    name = rng.choice(
        ["C", "C", "F", "every second", "backwards", "read-only", "csr", "csr 64", "csr twice",
         "csc", "coo", "frame", "swapped"]
    )  # fmt: skip
    if "cs" in name or name == "coo":
        if X.dtype == np.float16:
            X = X.astype(np.float32)
        if name == "csr twice" and X.dtype.kind != "f":
            X = X.astype(np.float64)
        if name == "csr twice" and (X / 2 + X / 2 == X).all():  # not of the smallest numbers
            halves = sparse.coo_array(X / 2)
            both = [np.concatenate([part, part]) for part in (halves.data, *halves.coords)]
            order = np.argsort(both[1], kind="stable")
            row = np.concatenate([[0], np.cumsum(np.bincount(both[1], minlength=len(X)))])
            parts = both[0][order], both[2][order], row
            return sparse.csr_array(parts, shape=X.shape), name
        S = sparse.csr_array(X)
        if name == "csr 64":
            S.indices, S.indptr = S.indices.astype(np.int64), S.indptr.astype(np.int64)
            return S, name
        return S.asformat(name[:3]), name
    if name == "F":
        return np.asfortranarray(X), name
    if name == "every second":
        wide = np.zeros((2 * len(X), 2 * X.shape[1] + 1), X.dtype)
        wide[::2, 1::2] = X
        return wide[::2, 1::2], name
    if name == "backwards":
        return X[::-1, ::-1].copy()[::-1, ::-1], name
    if name == "read-only":
        X = X.copy()
        X.flags.writeable = False
        return X, name
    if name == "frame":
        return pd.DataFrame(X.astype(np.float32) if X.dtype == np.float16 else X).add_prefix(
            "x"
        ), name
    if name == "swapped" and X.dtype.itemsize > 1:
        return X.astype(X.dtype.newbyteorder()), name
    return np.ascontiguousarray(X), name


def exponent_of_10(rng, most):
    """0 mostly, else anything up to ``most`` either way."""
    return 0.0 if rng.random() < 0.6 else rng.uniform(-most, most)


def power_of_2(exponent):
    """The power of 2 nearest to a power of 10: a product with it is exact."""
    return float(2.0 ** np.clip(np.rint(exponent * np.log2(10)), -1022, 1023))


@dataclass
class Outcome:
    """How a fit ended: "passed", "refused" or "failed", and why."""

    number: int
    ended: str
    why: str = ""
    warned: bool = False


def soak(number):
    """Fit number ``number``."""
    rng = np.random.default_rng(number)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            return one_fit(number, rng, caught)
    except Exception:
        return Outcome(number, "failed", traceback.format_exc(limit=-6))


def one_fit(number, rng, caught):
    problem = problem_of(rng)
    unit_of_X, unit_of_weight = (power_of_2(exponent_of_10(rng, 300)) for _ in range(2))
    if rng.random() < 0.3:
        C = np.inf
    else:
        C = 10.0 ** (rng.uniform(-4, 6) if rng.random() < 0.6 else rng.uniform(-300, 300))
    with np.errstate(over="ignore", under="ignore"):
        typed = as_dtype(rng, problem.X * unit_of_X)
        weight = None if problem.weight is None else problem.weight * unit_of_weight
        if problem.weight is None:
            unit_of_weight = 1.0
    params = {
        "C": C,
        "loss": problem.loss,
        "class_weight": problem.class_weight,
        "fit_intercept": bool(rng.random() < 0.8),
        "solver": str(rng.choice(["auto", "auto", "lbfgs", "newton-cg", "newton-cholesky"])),
        "tol": float(rng.choice([1e-4, 1e-4, 1e-2, 1e-8])),
        "max_iter": int(rng.choice([3000, 3000, 3000, 0, 5])),
    }
    X, layout = as_layout(rng, typed)
    what = f"{layout} {typed.dtype} {typed.shape} x{unit_of_X:.0e} w{unit_of_weight:.0e} {params}"
    try:
        clf = SoftmaxClassifier(**params).fit(X, problem.y, sample_weight=weight)
    except np.linalg.LinAlgError:
        raise
    except ValueError as error:
        return Outcome(number, "refused", str(error))
    of_fit = list(caught)
    warned = any(issubclass(w.category, ConvergenceWarning) for w in of_fit)
    why = checked(clf, X, typed, problem, weight, warned)
    if why is None and not warned and clf.n_iter_[0] < clf.max_iter:
        why = beside_moderate_units(clf, typed, problem, unit_of_X, unit_of_weight)
    arithmetic = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(typed.sum()):  # by which scikit-learn looks for nan
            arithmetic = [text for text in arithmetic if "in reduce" not in text]
    if why is None and arithmetic:
        why = f"warns of arithmetic: {arithmetic[0]}"
    if why is not None:
        return Outcome(number, "failed", f"{why}\n    {what}", warned)
    return Outcome(number, "passed", "", warned)


# --- What must hold -------------------------------------------------------------------------------


def checked(clf, X, typed, problem, weight, warned):
    """Why a fit fails by itself, or None."""
    scores, p, logs = clf.decision_function(X), clf.predict_proba(X), clf.predict_log_proba(X)
    for name, values in (
        ("coef_", clf.coef_),
        ("objective_", clf.objective_),
        ("decision_function", scores),
        ("predict_proba", p),
        ("history_", clf.history_["objective"]),
    ):
        if not np.isfinite(values).all():
            return f"{name} is not finite"
    if np.isnan(clf.intercept_).any() or np.isnan(logs).any() or not clf.optimality_gap_ >= 0:
        return "nan in intercept_, predict_log_proba or optimality_gap_"
    if not ((p >= 0).all() and (p <= 1).all()):
        return "probabilities out of [0, 1]"
    if clf._kind != "multilabel" and np.abs(p.sum(axis=1, dtype=float) - 1).max() > 1e-5:
        return "probabilities do not sum to 1"
    clf.predict(X)
    value = objective_of(clf, X, problem, weight)
    if value is None:
        return None
    scale = max(abs(clf.objective_), abs(value), 1e-6)
    allowed = max(clf.tol, 1e-5 if clf.coef_.dtype == np.float32 else 1e-8) * scale
    if abs(value - clf.objective_) > allowed and not warned:
        return f"stored model: objective {value!r}, objective_ {clf.objective_!r}"
    reached = clf.history_["objective"][-1]
    if value > reached + allowed and not warned:
        return f"stored model: objective {value!r}, the solver reached {reached!r}"
    return None


def objective_of(clf, X, problem, weight):
    """The objective from what predictions give, in float64; None where it is not written down."""
    y, loss = problem.y, clf.loss_
    if getattr(loss, "logit_adjustment", 0.0) or clf._kind == "two_logits":
        return None
    weight = np.ones(len(y)) if weight is None else weight
    top = weight.max()
    weight = weight / top  # weights may be such that their sum overflows
    of_row = weight.copy()
    if y.ndim == 1:
        ignored = np.zeros(len(y), bool) if loss._ignore_class is None else y == loss._ignore_class
        at = np.searchsorted(clf.classes_, y).clip(max=len(clf.classes_) - 1)
        of_row[ignored] = 0.0
        if clf.class_weight == "balanced":
            mass = np.bincount(at[~ignored], of_row[~ignored], len(clf.classes_))
            factor = np.divide(
                mass.sum() / np.count_nonzero(mass), mass, where=mass > 0, out=np.ones(len(mass))
            )
            of_row = of_row * factor[at]
        counts = of_row > 0
    else:
        at, counts = y, (weight > 0) if weight.ndim == 1 else (weight > 0).any(axis=1)
    total = of_row.sum() if of_row.ndim == 1 else of_row.mean(axis=1).sum()
    logits = clf._logits(X).astype(np.float64)
    at, of_row, logits = at[counts], of_row[counts], logits[counts]
    if clf._kind == "binary":
        at, logits = at.astype(float), logits[:, 0]
    elif clf._kind == "one_vs_rest" or (isinstance(loss, losses.HybridLoss) and y.ndim == 1):
        return (
            None
            if not hasattr(loss, "pos_weight")
            else sum_of(clf, loss, np.eye(len(clf.classes_))[at], logits, of_row, total, top)
        )
    return sum_of(clf, loss, at, logits, of_row, total, top)


def sum_of(clf, loss, at, logits, of_row, total, top):
    """Mean loss and penalty."""
    if isinstance(loss, losses.SparseCategoricalCrossentropy):
        loss = losses.SparseCategoricalCrossentropy(loss.label_smoothing)
    rows = loss.loss(at, logits, sample_weight=of_row)
    with np.errstate(all="ignore"):
        penalty = np.sum((clf.coef_.astype(np.float64) / np.sqrt(2 * clf.C * top * total)) ** 2)
    return float(rows.sum() / total + penalty)


def beside_moderate_units(clf, typed, problem, unit_of_X, unit_of_weight):
    """Why a fit does not end within its ``tol`` or its certificate of a minimum, or None.

    The minimum is the lowest value of fits to a hundredth of ``tol`` or less, in moderate units and
    float64. That it may be lower still does not excuse a fit that ends above it.
    """
    with np.errstate(over="ignore", under="ignore"):
        C = clf.C * unit_of_X * unit_of_X * unit_of_weight
        X = typed.astype(np.float64) / unit_of_X
    if typed.dtype.kind in "iub":
        X, C = typed.astype(np.float64), clf.C * unit_of_weight
    if not (np.isfinite(X).all() and C > 1e-250 and (clf.C == np.inf or C < 1e250)):
        return None
    lowest = np.inf
    for solver in ("lbfgs", "newton-cholesky"):
        if solver == "newton-cholesky" and clf.coef_.size > 1500:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                other = SoftmaxClassifier(
                    problem.loss,
                    C=C,
                    class_weight=problem.class_weight,
                    fit_intercept=clf.fit_intercept,
                    solver=solver,
                    tol=max(clf.tol / 100, 1e-10),
                    max_iter=3000,
                ).fit(X, problem.y, sample_weight=problem.weight)
            except ValueError:
                return None
        # not ``objective_``, which has the rounding of predictions in it if they lose digits
        lowest = min(lowest, other.history_["objective"][-1])
    at_zero = np.log(max(2, len(clf.classes_)))
    found = clf.objective_
    rounding = (1e-6 if clf.coef_.dtype == np.float32 else 1e-12) * max(found, 1e-6 * at_zero)
    gap = found - lowest - rounding
    relative = gap / max(found, 1e-6 * at_zero)
    if relative > clf.tol:
        return f"{clf.stop_reason_}: in other units {lowest!r}, not {found!r}: gap {relative:.2e}"
    if gap > clf.optimality_gap_ * lowest:
        return f"false certificate {clf.optimality_gap_}: gap {relative:.2e} of {lowest!r}"
    return None


def nearly_dependent(X):
    """Whether features depend on each other but for a part that rounding may hide."""
    centred = X - X.mean(axis=0)
    size = np.abs(centred).max(axis=0)
    varies = size > 1e-9 * np.abs(X).max(axis=0, initial=0.0)
    singular = np.linalg.svd(centred[:, varies] / size[varies], compute_uv=False)
    return bool(((singular > 1e-12 * singular[:1]) & (singular < 1e-5 * singular[:1])).any())


# --- Many of them ---------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fits", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    numbers = range(arguments.first, arguments.first + arguments.fits)
    ended, refusals, failed = collections.Counter(), collections.Counter(), 0
    with concurrent.futures.ProcessPoolExecutor(arguments.processes) as pool:
        for outcome in pool.map(soak, numbers, chunksize=20):
            ended[outcome.ended, outcome.warned] += 1
            if outcome.ended == "refused":
                refusals[re.sub(r"\d[\d.e+-]*", "#", outcome.why)[:100]] += 1
            if outcome.ended == "failed":
                failed += 1
                print(f"{outcome.number}: {outcome.why}", flush=True)
    for message, count in refusals.most_common():
        print(f"{count:6} refused: {message}")
    for (how, warned), count in sorted(ended.items()):
        print(f"{count:6} {how}{' with a ConvergenceWarning' if warned else ''}")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
