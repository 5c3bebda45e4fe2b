"""How long does one value-and-gradient take, beside scikit-learn's and NumPy's two products?

Medians over several rounds in one process; within a round each runs by itself, after a pause,
since the thread pools of BLAS and OpenMP would slow each other down. "sum" is NumPy's sum of X, one
thread reading it once: a pass cannot be faster than memory allows.
"""

import argparse
import gzip
import statistics
import time
from pathlib import Path

import numpy as np
from sklearn._loss.loss import HalfMultinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss

import xentlearn
from xentlearn import _loss
from xentlearn._linear import DesignMatrix
from xentlearn.losses import SparseCategoricalCrossentropy

ROUNDS = 3


def idx_items(path, header, shape):
    """Items of a gzipped IDX file."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header).reshape(-1, *shape)


def digits(folder):
    """(X in [0, 1], y) of the MNIST training files in a folder; without one, numbers like them."""
    if folder is None:
        rng = np.random.default_rng(0)
        X = rng.random((60_000, 784), dtype=np.float32)
        return X, rng.integers(10, size=len(X)).astype(np.int32)
    X = idx_items(Path(folder, "train-images-idx3-ubyte.gz"), 16, (784,))
    y = idx_items(Path(folder, "train-labels-idx1-ubyte.gz"), 8, ())
    return X.astype(np.float32) / 255, y.astype(np.int32)


def contenders(X, y, n_threads):
    """{name: one evaluation}."""
    n_classes = int(y.max()) + 1
    rng = np.random.default_rng(0)
    coef = 0.01 * rng.standard_normal((X.shape[1], n_classes))
    intercept = np.zeros(n_classes)
    shape = (len(X), n_classes)
    design = DesignMatrix(X)
    target = SparseCategoricalCrossentropy().kernel_target(shape, X.dtype, labels=y)

    theirs = LinearModelLoss(HalfMultinomialLoss(n_classes=n_classes), fit_intercept=True)
    their_coef = np.asfortranarray(np.c_[coef.T, intercept].astype(X.dtype))
    their_y = y.astype(X.dtype)

    narrow = np.ascontiguousarray(coef.T.astype(X.dtype))
    residual = np.ascontiguousarray(rng.standard_normal(shape).astype(X.dtype))

    def two_products():
        _ = X @ narrow.T
        _ = residual.T @ X

    return {
        "xentlearn": lambda: design.loss_gradient(target, coef, intercept, n_threads),
        "xentlearn, one thread": lambda: design.loss_gradient(target, coef, intercept, 1),
        "scikit-learn LinearModelLoss": lambda: theirs.loss_gradient(
            their_coef, X, their_y, n_threads=n_threads
        ),
        "NumPy, the two products alone": two_products,
        "sum of X, one thread": X.sum,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with the MNIST training files, gzipped")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="in each of three rounds")
    args = parser.parse_args()
    functions = contenders(*digits(args.data), args.threads)
    times = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            time.sleep(0.3)  # the threads of the last one stop spinning
            function()
            for _ in range(args.repeats):
                begin = time.perf_counter()
                function()
                times[name].append(1e3 * (time.perf_counter() - begin))
    ours = statistics.median(times["xentlearn"])
    print(
        f"xentlearn {xentlearn.__version__}, target {_loss.current_target()}, float32, "
        f"{args.threads} threads\n\n| one evaluation | ms, median | least | x |\n|---|---|---|---|"
    )
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.1f} | {min(values):.1f} | {median / ours:.1f} |")


if __name__ == "__main__":
    main()
