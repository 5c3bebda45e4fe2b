"""What does a stream cost, call by call, and how soon does a model follow a change?

Four tables, beside SGDClassifier(loss="log_loss") on the same data in one run: calls of
partial_fit with one row of the 8 x 8 digits, and the size of the pickle; calls with 4,000 sparse
rows of 20 classes and 2**20 features, 30 entries each, where some features are frequent and where
all are alike; and MNIST in batches of 200 rows, whose labels are permuted, or whose images are
rotated by 90 degrees, halfway through the stream.
"""

import argparse
import pickle
import resource
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from stochastic import load

from xentlearn import SoftmaxClassifier
from xentlearn.solvers import SGD, Adam

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

BATCH = 200


def seconds(estimator, X, y, classes):
    begin = time.perf_counter()
    estimator.partial_fit(X, y, classes=classes)
    return time.perf_counter() - begin


def pair():
    return SoftmaxClassifier(random_state=0), SGDClassifier(loss="log_loss", random_state=0)


def single_rows(n_calls):
    X, y = load_digits(return_X_y=True)
    took = [], []
    estimators = pair()
    print("Calls of `partial_fit` with one row of the 8 x 8 digits, medians:\n")
    print(
        "| after so many calls | xentlearn, per call | SGDClassifier, per call "
        "| size of xentlearn's pickle |\n|---|---|---|---|"
    )
    for i in range(n_calls):
        row = slice(i % len(y), i % len(y) + 1)
        for estimator, times in zip(estimators, took, strict=True):
            times.append(seconds(estimator, X[row], y[row], range(10)))
        if (i + 1) % (n_calls // 4) == 0:
            ours, theirs = (1e3 * statistics.median(times[-n_calls // 4 :]) for times in took)
            size = len(pickle.dumps(estimators[0])) / 1e3
            print(f"| {i + 1} | {ours:.2f} ms | {theirs:.2f} ms | {size:.1f} kB |")


def wide_batches(n_calls, power, n_rows=4000, n_features=2**20, n_classes=20, n_entries=30):
    rng = np.random.default_rng(0)
    estimators = pair()
    print(
        f"\nCalls of `partial_fit` with {n_rows:,} sparse rows of {n_entries} entries, "
        f"{n_features:,} features, {n_classes} classes; {'some' if power > 1 else 'no'} features "
        "are more frequent than others:\n\n"
        "| call | xentlearn | SGDClassifier | ratio |\n|---|---|---|---|"
    )
    for i in range(n_calls):
        indices = (n_features * rng.random((n_rows, n_entries)) ** power).astype(np.int32)
        indptr = np.arange(0, n_rows * n_entries + 1, n_entries, dtype=np.int32)
        data = np.ones(n_rows * n_entries, dtype=np.float32)
        X = sparse.csr_array((data, indices.ravel(), indptr), shape=(n_rows, n_features))
        X.sum_duplicates()
        y = rng.integers(n_classes, size=n_rows)
        ours, theirs = (seconds(estimator, X, y, range(n_classes)) for estimator in estimators)
        print(f"| {i + 1} | {ours:.3f} s | {theirs:.3f} s | {ours / theirs:.1f} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\nPeak memory of the process so far: {peak:.2f} GB")


def rotated(X):
    return np.rot90(X.reshape(-1, 28, 28), axes=(1, 2)).reshape(-1, 784).copy()


def changes(folder):
    X, y, X_test, y_test = load(folder)
    order = np.random.default_rng(0).permutation(len(y))
    names = np.random.default_rng(5).permutation(10)
    rules = (
        Adam(),
        Adam(average=False),
        Adam(learning_rate=0.05),
        SGD(),
        SGD(average=False),
    )
    estimators = {f"`{rule}`": SoftmaxClassifier(solver=rule, random_state=0) for rule in rules}
    estimators["`SGDClassifier`"] = pair()[1]
    at = 0, 5, 10, 20, 50, 100
    print(
        f"\nMNIST in {len(y) // BATCH} batches of {BATCH} rows; halfway, the labels are permuted "
        "or the images rotated by 90 degrees. Test accuracy in percent, for the new labels or "
        "images, so many batches after the change. The third column is the accuracy at the end of "
        "a stream without a change.\n"
    )
    print("| `solver` | change | none | " + " | ".join(f"{n} batches" for n in at) + " |")
    print("|---|---|---|" + "---|" * len(at))
    for name, estimator in estimators.items():
        for kind in ("permuted labels", "rotated images"):
            clf = pickle.loads(pickle.dumps(estimator))
            scores = []
            for i, begin in enumerate(range(0, len(y), BATCH)):
                rows = order[begin : begin + BATCH]
                after = i - len(y) // BATCH // 2
                part = X[rows], y[rows], X_test, y_test
                if after >= 0:
                    if kind == "permuted labels":
                        part = part[0], names[part[1]], X_test, names[y_test]
                    else:
                        part = rotated(part[0]), part[1], rotated(X_test), y_test
                    if after in at:
                        scores.append(clf.score(*part[2:]))
                clf.partial_fit(*part[:2], classes=range(10))
            if kind == "permuted labels":
                stays = pickle.loads(pickle.dumps(estimator))
                for begin in range(0, len(y), BATCH):
                    rows = order[begin : begin + BATCH]
                    stays.partial_fit(X[rows], y[rows], classes=range(10))
                calm = stays.score(X_test, y_test)
            cells = " | ".join(f"{100 * score:.1f}" for score in (calm, *scores))
            print(f"| {name} | {kind} | {cells} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", metavar="DIR", help="MNIST's four gzipped files (last table)")
    parser.add_argument("--rows", type=int, default=4000, help="calls with one row (%(default)s)")
    parser.add_argument("--calls", type=int, default=6, help="of sparse batches (%(default)s)")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print_about()
    single_rows(arguments.rows)
    for power in (3, 1):  # few features are frequent, as among hashed words; or all alike
        wide_batches(arguments.calls, power)
    if arguments.data:
        changes(arguments.data)


if __name__ == "__main__":
    main()
