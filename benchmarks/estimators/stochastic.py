"""How long does an epoch take, and where does it lead?

One epoch on MNIST (pixels / 255, float32), in the same batches and the same order for all: Adam and
SGD of SoftmaxClassifier, torch's Adam and SGD (a linear layer, plain and fused), and
SGDClassifier's one-vs-rest passes. Times are of the epoch alone, the median of several side by side
in one run. Then what the first epochs of a fit give: the test accuracy, and the objective.
"""

import argparse
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from one_pass import digits, idx_items
from sklearn.linear_model import SGDClassifier

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryData
from xentlearn._data.targets import encode_y
from xentlearn._objective.linear import LinearObjective
from xentlearn._solvers.batch_descent import BatchDescent, Terms
from xentlearn._utils.threads import effective_n_threads
from xentlearn.solvers import SGD, Adam

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

N_CLASSES = 10


def load(folder):
    """(X / 255, y) to train on and to test by."""
    X, y = digits(folder)
    X_test = idx_items(Path(folder, "t10k-images-idx3-ubyte.gz"), 16, (784,))
    y_test = idx_items(Path(folder, "t10k-labels-idx1-ubyte.gz"), 8, ())
    X, X_test = (pixels.astype(np.float32) / 255 for pixels in (X, X_test))
    return X, y.astype(np.int64), X_test, y_test


def seconds(call):
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def our_epoch(X, y, rule, batch_size):
    """A function that goes through one epoch, given the order of the rows."""
    encoded = encode_y(y, len(y), "auto")
    rows = MemoryData(X).rows(encoded, np.arange(N_CLASSES))
    n_threads = effective_n_threads()
    objective = LinearObjective(rows, 1 / len(y), True, n_threads)
    setting = Adam() if rule == "adam" else SGD()
    start = np.zeros((N_CLASSES, X.shape[1])), np.zeros(N_CLASSES)
    descent = BatchDescent(setting, True, *start, rows.dtype)
    terms = Terms(objective.l2_reg, objective.mean, objective.inverse_spread, True)
    return lambda order: descent.epoch(objective.batches(order, batch_size), terms, n_threads)


def torch_epoch(torch, X, y, rule, batch_size, fused):
    layer = torch.nn.Linear(X.shape[1], N_CLASSES)
    make = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[rule]
    momentum = {} if rule == "adam" else {"momentum": 0.9, "nesterov": True}
    optimizer = make(layer.parameters(), lr=0.01, fused=fused, **momentum)
    loss, X, y = torch.nn.CrossEntropyLoss(), torch.from_numpy(X), torch.from_numpy(y)

    def epoch(order):
        order = torch.from_numpy(order)
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            optimizer.zero_grad()
            loss(layer(X[rows]), y[rows]).backward()
            optimizer.step()

    return epoch


def one_vs_rest_epoch(X, y):
    estimator = SGDClassifier(loss="log_loss", max_iter=1, tol=None)

    def epoch(order):
        estimator.fit(X, y)

    return epoch


def times(X, y, repeats):
    try:
        import torch
    except ImportError:
        torch = None
    rng = np.random.default_rng(0)
    one_vs_rest = one_vs_rest_epoch(X, y)
    print(
        "Milliseconds of one epoch of MNIST, in brackets as a multiple of xentlearn's; torch with "
        f"its optimiser as it comes and with `fused=True`. Medians of {repeats}.\n"
    )
    print("| rule | rows in a batch | xentlearn | torch | torch, fused | SGDClassifier |")
    print("|---|---|---|---|---|---|")
    for rule in ("adam", "sgd"):
        for batch_size in (32, 100, 200, 1000):
            epochs = {"ours": our_epoch(X, y, rule, batch_size)}
            if torch is not None:
                for fused in (False, True):
                    epochs[fused] = torch_epoch(torch, X, y, rule, batch_size, fused)
            if rule == "sgd":
                epochs["ovr"] = one_vs_rest
            took = {name: [] for name in epochs}
            for _ in range(repeats):
                order = rng.permutation(len(y))
                for name, epoch in epochs.items():
                    took[name].append(seconds(lambda epoch=epoch, order=order: epoch(order)))
            median = {name: statistics.median(values) for name, values in took.items()}
            cells = [
                f"{1e3 * median[name]:.0f} ({median[name] / median['ours']:.1f})"
                if name in median
                else ""
                for name in (False, True, "ovr")
            ]
            cells = " | ".join([f"{1e3 * median['ours']:.0f}", *cells])
            print(f"| {rule} | {batch_size:,} | {cells} |", flush=True)


def quality(X, y, X_test, y_test):
    print("\nWhole fits of MNIST:\n")
    print("| solver | epochs | test accuracy | objective | seconds |")
    print("|---|---|---|---|---|")
    for solver in ("adam", "sgd"):
        for n_epochs in (1, 2, 5, 20):
            clf = SoftmaxClassifier(solver=solver, max_iter=n_epochs, tol=0, random_state=0)
            took = seconds(lambda clf=clf: clf.fit(X, y))
            print(
                f"| {solver} | {n_epochs} | {100 * clf.score(X_test, y_test):.2f} % | "
                f"{clf.objective_:.4f} | {took:.2f} |"
            )
    clf = SoftmaxClassifier()
    took = seconds(lambda: clf.fit(X, y))
    score = 100 * clf.score(X_test, y_test)
    print(f"| lbfgs | until `tol` | {score:.2f} % | {clf.objective_:.4f} | {took:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", metavar="DIR", required=True, help="MNIST's four gzipped files")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    print_about("torch")
    X, y, X_test, y_test = load(arguments.data)
    times(X, y, arguments.repeats)
    quality(X, y, X_test, y_test)


if __name__ == "__main__":
    main()
