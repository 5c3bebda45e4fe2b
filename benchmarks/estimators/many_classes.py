"""What do 100,000 classes of a softmax take: time of a pass, time until the first line, memory?

Random features and labels. The time of a pass (value and gradient) is the shortest of three, and of
each fit, which stops after a few iterations. Memory is the peak of resident memory of a process of
its own, less what it has just before the fit, with X and y. Its unit is a vector of coefficients,
(n_features + 1) x n_classes float64; beside it is the prediction of ``plan_``. The first line is
that of the first iteration with ``verbose=1``.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xentlearn import SoftmaxClassifier
from xentlearn._data._design_matrix import DesignMatrix
from xentlearn.losses import SparseCategoricalCrossentropy

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about


def make(n_rows, n_features, n_classes, dtype):
    """(X, labels), in which each class has a row."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, n_features)).astype(dtype)
    return X, rng.permutation(np.arange(n_rows) % n_classes).astype(np.int32)


def seconds_of_pass(X, y, n_classes, n_threads):
    """Shortest of three."""
    rng = np.random.default_rng(0)
    coef, intercept = 0.1 * rng.standard_normal((X.shape[1], n_classes)), np.zeros(n_classes)
    setting, design, times = SparseCategoricalCrossentropy(), DesignMatrix(X), []
    target = setting._kernel_target((len(X), n_classes), design.dtype, labels=y)
    for _ in range(3):
        began = time.perf_counter()
        design.loss_gradient(target, coef, intercept, n_threads)
        times.append(time.perf_counter() - began)
    return min(times)


def resident_bytes():
    """Resident memory of this process (Linux)."""
    with open("/proc/self/statm") as file:
        return resource.getpagesize() * int(file.read().split()[1])


def peak_bytes():
    """Peak of the resident memory of this process."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class FirstLine:
    """Standard output that remembers when the first iteration was written."""

    def __init__(self):
        self.began, self.seconds = time.perf_counter(), None

    def write(self, text):
        if self.seconds is None and "iteration" in text:
            self.seconds = time.perf_counter() - self.began

    def flush(self):
        pass


def print_fit(n_rows, n_features, n_classes, dtype, max_iter):
    """One line of the second table, of this process."""
    X, y = make(n_rows, n_features, n_classes, dtype)
    SoftmaxClassifier(max_iter=1).fit(X[:100], y[:100] % 5)  # what is imported by the first fit
    before, shown, sys.stdout = resident_bytes(), sys.stdout, FirstLine()
    clf = SoftmaxClassifier(max_iter=max_iter, verbose=1).fit(X, y)
    seconds, sys.stdout = sys.stdout.seconds, shown
    taken, vector = peak_bytes() - before, 8 * (n_features + 1) * n_classes
    one = clf.plan_.pass_seconds
    print(
        f"| {n_rows:,} x {n_features}, {n_classes:,}, {dtype} | {one:.2f} | {seconds / one:.2f} | "
        f"{taken / vector:.1f} | {clf.plan_.memory_bytes / vector:.1f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1000, help="of the first table")
    parser.add_argument("--fit", help="n_rows,n_features,n_classes,dtype,max_iter of one fit alone")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    if args.fit:
        *sizes, dtype, max_iter = args.fit.split(",")
        return print_fit(*map(int, sizes), dtype, int(max_iter))
    print_about(n_threads=args.threads)
    print(f"One evaluation of value and gradient, {args.rows:,} rows:\n")
    print(
        "| features, classes, dtype | seconds | ns per row, feature and class |\n|---|---|---|",
        flush=True,
    )
    for dtype in ("float32", "float64"):
        for n_features in (5, 20, 100, 500):
            for n_classes in (2000, 4096, 20_000, 100_000):
                X, y = make(args.rows, n_features, n_classes, dtype)
                seconds = seconds_of_pass(X, y, n_classes, args.threads)
                each = 1e9 * seconds / (X.size * n_classes)
                print(f"| {n_features}, {n_classes:,}, {dtype} | {seconds:.3f} | {each:.3f} |")
    print(
        "\nWhole fits. The unit of memory is a vector of coefficients in float64.\n\n"
        "| rows x features, classes, dtype | one evaluation, s | first iteration after so many "
        "evaluations | memory beside X and y, vectors | predicted by `plan_` |\n"
        "|---|---|---|---|---|",
        flush=True,
    )
    for fit in ("20000,20,20000,float32,5", "200000,20,100000,float32,3"):
        subprocess.run([sys.executable, __file__, "--fit", fit], check=True)


if __name__ == "__main__":
    main()
