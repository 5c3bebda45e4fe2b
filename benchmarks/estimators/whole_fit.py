"""How much memory does a whole fit take beside X, and do parallel fits slow each other down?

Memory: the growth of a fresh process's peak resident memory during ``fit`` of uint8 images, X and y
being there already. Parallel fits: GridSearchCV with n_jobs = 1 and 2, and how many threads each
worker uses: joblib leaves a worker its share of the cores, and a fit takes no more than that.
"""

import argparse
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from one_pass import digits
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from xentlearn import SoftmaxClassifier
from xentlearn._utils.threads import effective_n_threads

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about


class Reporting(SoftmaxClassifier):
    """Writes down how many threads a fit finds."""

    def fit(self, X, y):
        super().fit(X, y)
        self.threads_ = effective_n_threads()
        return self


def threads_score(model, X, y):
    """The number of threads as a score, so that it comes back from the worker."""
    return {"accuracy": model.score(X, y), "threads": model.threads_}


def peak_megabytes():
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_memory(data):
    """In this process: what ``fit`` adds."""
    X, y = digits(data)
    few = [int(np.flatnonzero(y == k)[0]) for k in range(10)]
    SoftmaxClassifier(max_iter=1, tol=1e300).fit(X[few], y[few])  # imports, thread pools
    before = peak_megabytes()
    model = SoftmaxClassifier().fit(X, y)
    print(f"{peak_megabytes() - before:.0f} MB, {model.n_iter_[0]} iterations")


def print_jobs():
    """One grid search with one worker and with two."""
    X, y = load_digits(return_X_y=True)
    X /= 16
    grid = {"C": np.logspace(-2, 1, 4)}
    print("| `n_jobs` | seconds | threads per fit |\n|---|---|---|")
    for n_jobs in (1, 2):
        search = GridSearchCV(
            Reporting(), grid, cv=3, n_jobs=n_jobs, scoring=threads_score, refit=False
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search.fit(X, y)  # starts the workers
            begin = time.perf_counter()
            search.fit(X, y)
        seconds = time.perf_counter() - begin
        used = search.cv_results_["mean_test_threads"]
        print(f"| {n_jobs} | {seconds:.2f} | {used.min():.0f} to {used.max():.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with the MNIST training files, gzipped")
    parser.add_argument("--only-memory", action="store_true", help="what the fresh process runs")
    args = parser.parse_args()
    if args.only_memory:
        print_memory(args.data)
        return
    print_about()
    command = [sys.executable, __file__, "--only-memory"]
    command += ["--data", args.data] if args.data else []
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    print(
        "Peak memory of a whole fit of MNIST in uint8, beside X and y: "
        f"{result.stdout.strip()}.\n\n"
        "`GridSearchCV` of 12 fits of the 8 x 8 digits:\n"
    )
    print_jobs()


if __name__ == "__main__":
    main()
