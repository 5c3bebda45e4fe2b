"""What do calls with few rows cost beside scikit-learn's?

    python benchmarks/estimators/small_calls.py --rows 1    # half a minute
    python benchmarks/estimators/small_calls.py             # 1, 10, 100 and 1000 rows: minutes

Each line compares one call of SoftmaxClassifier with the same call of LogisticRegression, inside
OneVsRestClassifier for multi-label y: the two take turns, and the medians of many calls are
printed, with their ratio. The data are scikit-learn's digits and iris; models with more features
have coefficients drawn at random.
"""

import argparse
import functools
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from xentlearn import SoftmaxClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

METHODS = ("predict_proba", "predict", "decision_function", "predict_log_proba")
WIDE = (
    *((384, 500, np.float32), (768, 1000, np.float32), (784, 10, np.float32)),
    *((5000, 100, np.float64), (10_000, 58, np.float64)),
)


def medians(calls, n_calls):
    """Median time of each call in microseconds; they take turns."""
    times = [[] for _ in calls]
    for _ in range(n_calls):
        for call, found in zip(calls, times, strict=True):
            began = time.perf_counter()
            call()
            found.append(time.perf_counter() - began)
    return [1e6 * statistics.median(found) for found in times]


def problems():
    """Yield (name, X, y, function that makes the X of a call from dense rows)."""
    X, y = load_digits(return_X_y=True)
    names = [f"pixel {i}" for i in range(X.shape[1])]
    yield "digits", X, y, np.ascontiguousarray
    yield "digits, F order", X, y, np.asfortranarray
    yield "digits, float32", X.astype(np.float32), y, np.ascontiguousarray
    yield "digits, lists", X, y, np.ndarray.tolist
    yield "digits, CSR", sparse.csr_array(X), y, sparse.csr_array
    frame = pd.DataFrame(X, columns=names)
    yield "digits, DataFrame", frame, y, lambda rows: pd.DataFrame(rows, columns=names)
    yield "digits, two classes", X[y < 2], y[y < 2], np.ascontiguousarray
    yield "digits, multi-label", X, np.stack([y % 2, y > 4], axis=1).astype(int), np.asarray
    yield "iris", *load_iris(return_X_y=True), np.ascontiguousarray


def fitted_models():
    """Yield (name, models, y or None, function that makes X with a number of rows)."""
    for name, X, y, rows_of in problems():
        logistic = LogisticRegression()
        models = SoftmaxClassifier(), logistic if y.ndim == 1 else OneVsRestClassifier(logistic)
        for model in models:
            model.fit(X, y)
        dense = X.toarray() if sparse.issparse(X) else np.asarray(X)
        yield (
            name,
            models,
            y if y.ndim == 1 else None,
            lambda n, X=dense, rows_of=rows_of: rows_of(np.resize(X, (n, X.shape[1]))),
        )


def wide_models():
    """The same of models with many coefficients, for sparse X of 20 entries a row and dense X."""
    rng = np.random.default_rng(0)
    for n_features, n_classes, dtype in WIDE:
        models = SoftmaxClassifier(), LogisticRegression()
        for model in models:
            model.coef_ = rng.standard_normal((n_classes, n_features)).astype(dtype)
            model.intercept_ = np.zeros(n_classes, dtype)
            model.classes_, model.n_features_in_ = np.arange(n_classes), n_features
        size = f"{n_features:,} x {n_classes:,}"
        yield (
            f"{size}, CSR",
            models,
            None,
            lambda n, p=n_features, dtype=dtype: sparse.random_array(
                (n, p), density=20 / p, format="csr", dtype=dtype, rng=rng
            ),
        )
        yield (
            f"{size}, dense",
            models,
            None,
            lambda n, p=n_features, dtype=dtype: rng.standard_normal((n, p)).astype(dtype),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 10, 100, 1000])
    parser.add_argument("--calls", type=int, default=100)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # LogisticRegression does not converge in its 100 iterations
    print_about("pandas")
    print(
        "Median microseconds of one call; the ratio is xentlearn's time over scikit-learn's. Sizes "
        "are features x classes of the model.\n"
    )
    print("| data | call | rows | xentlearn | scikit-learn | ratio |\n|---|---|---|---|---|---|")

    def compare(name, call, n_rows, calls, n_calls):
        ours, theirs = medians(calls, n_calls)
        cells = f"{n_rows:,} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f}"
        print(f"| {name} | `{call}` | {cells} |", flush=True)

    for maker in (fitted_models, wide_models):
        for name, models, y, make_rows in maker():
            for n_rows in args.rows:
                X = make_rows(n_rows)
                for method in METHODS:
                    if hasattr(models[1], method):
                        calls = [functools.partial(getattr(m, method), X) for m in models]
                        compare(name, method, n_rows, calls, args.calls)
                if y is not None:
                    y_true = np.resize(y, n_rows)
                    calls = [functools.partial(model.score, X, y_true) for model in models]
                    compare(name, "score", n_rows, calls, args.calls)
    for name, load in (("iris", load_iris), ("wine", load_wine)):
        X, y = load(return_X_y=True)
        models = SoftmaxClassifier(), LogisticRegression()
        calls = [functools.partial(model.fit, X, y) for model in models]
        compare(name, "fit", len(y), calls, args.calls // 2)


if __name__ == "__main__":
    main()
