"""How long do fits take while other processes keep the cores busy?

Beside each fit runs one process per core that does nothing but loop. Three settings are compared:
the defaults, one thread, and OpenMP threads that sleep while they wait; and the defaults on an idle
machine. Each fit runs in a process of its own, in turn with the others.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from one_pass import digits as mnist
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from xentlearn import SoftmaxClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

DEFAULT = "defaults"
SETTINGS = {
    DEFAULT: {},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "threads sleep": {"OMP_WAIT_POLICY": "passive"},
}


def text(data):
    """Rows of six words, with labels by chance."""
    rng = np.random.default_rng(0)
    n_rows, n_words, n_each = 48_000, 10_000, 6
    words = (n_words * rng.random(n_rows * n_each) ** 3).astype(np.int32)
    entries = rng.random(len(words), dtype=np.float32), words, np.arange(0, len(words) + 1, n_each)
    X = sparse.csr_array(entries, shape=(n_rows, n_words))
    X.sum_duplicates()
    return SoftmaxClassifier(), X, rng.integers(58, size=n_rows)


def images(data):
    """MNIST in [0, 1]."""
    X, y = mnist(data)
    return SoftmaxClassifier(), X.astype(np.float32) / 255, y


def small(data):
    """The 8 x 8 digits."""
    return SoftmaxClassifier(), *load_digits(return_X_y=True)


def search(data):
    """Eight values of C on the 8 x 8 digits, one fit after the other."""
    model = GridSearchCV(SoftmaxClassifier(), {"C": np.logspace(-3, 1, 8)}, cv=3)
    return model, *load_digits(return_X_y=True)


def glosses(data):
    """Texts of WordNet, from the folder beside MNIST's."""
    sys.path.insert(0, str(Path(data).parent))
    from wordnet import glosses

    return SoftmaxClassifier(), *glosses()


TASKS = {f.__name__: f for f in (text, images, small, search, glosses)}
TITLES = {
    "text": "sparse text, 48,000 x 10,000, 58 classes",
    "images": "MNIST, 60,000 x 784, 10 classes",
    "small": "the 8 x 8 digits",
    "search": "grid search of 24 fits of these digits",
    "glosses": "sparse text of WordNet, 117,659 x 167,975, 45 classes",
}


@contextlib.contextmanager
def busy_cores():
    """Context in which each core has a process that loops."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(os.cpu_count())]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def seconds_of(task, data, env, repeats):
    """Median seconds of a fit in a process of its own, the first one included."""
    command = [sys.executable, __file__, "--fit", task, "--repeats", str(repeats)]
    command += ["--data", data] if data else []
    result = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **env}
    )
    return float(result.stdout)


def print_fit(task, data, repeats):
    """In this process: the median seconds of a fit."""
    model, X, y = TASKS[task](data)
    taken = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(repeats):
            began = time.perf_counter()
            model.fit(X, y)
            taken.append(time.perf_counter() - began)
    print(statistics.median(taken))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with the MNIST training files, gzipped")
    parser.add_argument("--tasks", default="text,images,small,search", help=f"of {list(TASKS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="fits in a process")
    parser.add_argument("--fit", help="what the processes run")
    args = parser.parse_args()
    if args.fit:
        print_fit(args.fit, args.data, args.repeats)
        return
    print_about()
    print(
        "Median seconds of a fit. While it runs, one other process per core is busy, except in the "
        'last column. "One thread" is `OMP_NUM_THREADS=1`, "threads sleep" is '
        "`OMP_WAIT_POLICY=passive`, and the ratio is the time of the defaults over the smaller of "
        "these two.\n"
    )
    print(f"| fits | {' | '.join(SETTINGS)} | ratio | defaults, idle machine |")
    print("|---|---|---|---|---|---|")
    for task in args.tasks.split(","):
        found = {name: [] for name in [*SETTINGS, "free"]}
        for _ in range(args.rounds):
            with busy_cores():
                for name, env in SETTINGS.items():
                    found[name].append(seconds_of(task, args.data, env, args.repeats))
            found["free"].append(seconds_of(task, args.data, {}, args.repeats))
        medians = {name: statistics.median(seconds) for name, seconds in found.items()}
        ratio = medians[DEFAULT] / min(medians[name] for name in SETTINGS if name != DEFAULT)
        columns = " | ".join(f"{medians[name]:.3f}" for name in SETTINGS)
        print(f"| {TITLES[task]} | {columns} | {ratio:.2f} | {medians['free']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
