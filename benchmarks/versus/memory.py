"""How much memory does a fit take beside X? One solver, in a fresh process; Linux alone tells.

Prints how many bytes the peak of resident memory during ``fit`` lies above what was held before.
"""

import argparse
import warnings
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from xentlearn import SoftmaxClassifier

# a few iterations of LogisticRegression allocate what many do
ESTIMATORS = {
    "xentlearn": SoftmaxClassifier(),
    "scikit-learn lbfgs": LogisticRegression(max_iter=3),
    "xentlearn, l1_ratio=1": SoftmaxClassifier(l1_ratio=1.0),
    "scikit-learn saga, l1_ratio=1": LogisticRegression(solver="saga", l1_ratio=1.0, max_iter=3),
}


def resident_bytes(field):
    """VmRSS, held now, or VmHWM, its peak.

    Not from getrusage: on Linux its peak includes that of the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("estimator", choices=ESTIMATORS)
    parser.add_argument("X", help="NPY file")
    parser.add_argument("y", help="NPY file")
    args = parser.parse_args()
    X, y = np.load(args.X), np.load(args.y)
    estimator = ESTIMATORS[args.estimator]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(X[:1000], y[:1000])  # imports, thread pools
        before = resident_bytes("VmRSS")
        estimator.fit(X, y)
    print(resident_bytes("VmHWM") - before)


if __name__ == "__main__":
    main()
