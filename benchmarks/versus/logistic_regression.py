"""How long does a fit take beside LogisticRegression's, on data as they come?

Three whole fits: SoftmaxClassifier and LogisticRegression with default settings, and
LogisticRegression with so many iterations that it stops by its own tolerance. For each the time,
what it warned of, and how far the objective, computed here in float64, is above the minimum: the
lowest that any fit reached, one of SoftmaxClassifier with tol=1e-7 in float64 included.
LogisticRegression gets the number of BLAS threads, one or all, with which it is faster.

    python benchmarks/versus/logistic_regression.py --data DIR > doc/results/logistic_regression.md

The README has the first table that it prints; a test compares them.
"""

import argparse
import functools
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import fastest_blas_threads, interleaved, objective
from problems import race_problem, small
from sklearn.linear_model import LogisticRegression
from tasks import progress

from xentlearn import SoftmaxClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

ENOUGH = 10_000  # iterations with which LogisticRegression stops by its tolerance
ROUNDS, LIMIT = 20, 20  # fits of each estimator, unless they take more seconds than that
SHOWN = 1e-4  # distances from the minimum below this are not worth a word
ESTIMATORS = {
    "`SoftmaxClassifier()`": SoftmaxClassifier(),
    "`LogisticRegression()`": LogisticRegression(),
    f"`LogisticRegression(max_iter={ENOUGH:_})`": LogisticRegression(max_iter=ENOUGH),
}
OURS = next(iter(ESTIMATORS))


class Fit(NamedTuple):
    """What became of one estimator on one problem."""

    seconds: float
    above: float  # (objective - minimum) / minimum
    warned: bool


def as_they_come(folder):
    """(what it is, Problem)."""
    for problem in small():
        if problem.name.endswith(", raw"):
            n, d = problem.X.shape
            yield f"{problem.name.removesuffix(', raw')}, {n:,} x {d}", problem
    images = race_problem("mnist", folder)
    n, d = images.X.shape
    yield f"MNIST, {n:,} x {d}, pixels / 255", images
    texts = race_problem("glosses", folder)
    n, d = texts.X.shape
    yield f"WordNet's glosses, sparse {n:,} x {d:,}", texts


def scaled(folder):
    """(what it is, Problem): the small ones with features of unit variance."""
    return [(each.name, each) for each in small() if each.name.endswith(", scaled")]


def fit(estimator, problem):
    """(fitted estimator, whether it warned)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return estimator.fit(problem.X, problem.y), len(caught) > 0


def measured(problem):
    """{estimator: Fit}."""
    progress(problem.shape)
    functions = {name: functools.partial(fit, each, problem) for name, each in ESTIMATORS.items()}
    quick = functools.partial(fit, LogisticRegression(max_iter=30), problem)
    n_threads = fastest_blas_threads(quick)
    threads = {name: n_threads for name in functions if name != OURS}
    # Default fits take turns. The long one would leave cores asleep, which single fits of two
    # milliseconds then wait for.
    *default, last = functions
    runs = interleaved({name: functions[name] for name in default}, ROUNDS, LIMIT, threads)
    runs |= interleaved({last: functions[last]}, ROUNDS, LIMIT, threads)
    exact, _ = fit(
        SoftmaxClassifier(tol=1e-7, max_iter=ENOUGH),
        replace(problem, X=problem.X.astype(np.float64)),
    )
    found = {
        name: objective(model.coef_, model.intercept_, problem)
        for name, (_, (model, _)) in runs.items()
    }
    minimum = min(objective(exact.coef_, exact.intercept_, problem), *found.values())
    return {
        name: Fit(seconds, found[name] / minimum - 1, has_warned)
        for name, (seconds, (_, has_warned)) in runs.items()
    }


def time_of(seconds):
    """Three digits, in the unit that suits."""
    if seconds < 0.1:
        return f"{1e3 * seconds:#.3g} ms"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def cell(fit):
    """The time; and what is not as it should be."""
    remarks = []
    if fit.above >= SHOWN:
        remarks.append(f"{100 * fit.above:.2g} % above the minimum")
    if fit.warned:
        remarks.append("with a warning")
    return ", ".join([time_of(fit.seconds), *remarks])


def print_table(problems):
    """A line for each problem, and how many times as long LogisticRegression takes."""
    print("\n| data | " + " | ".join(ESTIMATORS) + " |")
    print("|---" * (1 + len(ESTIMATORS)) + "|")
    for name, problem in problems:
        fits = measured(problem).values()
        print(f"| {name} | " + " | ".join(map(cell, fits)) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", metavar="DIR", help="the MNIST training files, gzipped")
    folder = parser.parse_args().data
    print_about()
    print_table(as_they_come(folder))
    print_table(scaled(folder))


if __name__ == "__main__":
    main()
