"""What do calls with few rows cost beside scikit-learn's?

    python benchmarks/estimators/small_calls.py           # one table, a minute
    python benchmarks/estimators/small_calls.py --rows 1

Each line compares one call of SoftmaxClassifier with the same call of LogisticRegression, for
multi-label y inside of OneVsRestClassifier, in microseconds: the two take turns, and the medians of
many calls are printed, with their ratio. The data are scikit-learn's digits and iris.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from xentlearn import SoftmaxClassifier

METHODS = ("predict_proba", "predict", "decision_function", "predict_log_proba")


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
    """Yield (name, X, y, function that makes the X of a call from rows)."""
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[1, 10, 100, 1000])
    parser.add_argument("--calls", type=int, default=200)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # LogisticRegression does not converge in its 100 iterations
    print(f"{'data':<22}{'call':<20}{'rows':>6}{'xentlearn':>12}{'scikit-learn':>14}{'ratio':>8}")

    def compare(name, call, n_rows, ours, theirs, n_calls):
        ours, theirs = medians([ours, theirs], n_calls)
        print(f"{name:<22}{call:<20}{n_rows:>6}{ours:>12.0f}{theirs:>14.0f}{ours / theirs:>8.2f}")

    for name, X, y, rows_of in problems():
        logistic = LogisticRegression()
        models = SoftmaxClassifier(), logistic if y.ndim == 1 else OneVsRestClassifier(logistic)
        for model in models:
            model.fit(X, y)
        dense = X.toarray() if sparse.issparse(X) else np.asarray(X)
        for n_rows in args.rows:
            few = rows_of(np.tile(dense, (-(-n_rows // len(dense)), 1))[:n_rows])
            for method in METHODS:
                if hasattr(models[1], method):
                    ours, theirs = (
                        lambda call=getattr(model, method), few=few: call(few) for model in models
                    )
                    compare(name, method, n_rows, ours, theirs, args.calls)
            if n_rows == 1 and y.ndim == 1:
                ours, theirs = (
                    lambda model=model, few=few, y=y[:1]: model.score(few, y) for model in models
                )
                compare(name, "score", 1, ours, theirs, args.calls)
    for name, load in (("iris", load_iris), ("wine", load_wine)):
        X, y = load(return_X_y=True)
        ours, theirs = (
            lambda model=model, X=X, y=y: model.fit(X, y)
            for model in (SoftmaxClassifier(), LogisticRegression())
        )
        compare(name, "fit", len(y), ours, theirs, args.calls // 4)


if __name__ == "__main__":
    main()
