"""How many default fits of real tables are certified, and do any end further above the minimum?

    python benchmarks/versus/tables.py          # fetches the tables, once: see there
    python benchmarks/estimators/certified.py   # minutes

The tables are those of ``benchmarks/versus/tables.py``, as they come and scaled, each with
C = 0.01, 1 and 100. Every fit is ``SoftmaxClassifier(C=C)`` with default settings. Its objective at
the stored coefficients is computed here, in float64, and so is that of a second fit with a ``tol``
1e5 times smaller. The lower of the two stands for the minimum if the certificate of either says
that it is within a tenth of ``tol`` of it, else Newton's method of ``tests/reference.py`` looks for
the minimum. What remains possible is the "doubt": so much larger a true gap may be than it is said
to be. Tables of more than ``--most`` numbers (rows x features x outputs) are left out.
"""

import argparse
import itertools
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xentlearn import SoftmaxClassifier

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "versus"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from machine import print_about
from measure import objective
from problems import Problem
from tables import FAMILIES, tables

import reference as ref

STRENGTHS = (0.01, 1.0, 100.0)
FORMS = ("raw", "scaled")
TIGHTER = 1e5
TOL = SoftmaxClassifier().tol
QUANTILES = {"median": 0.5, "90 %": 0.9, "99 %": 0.99, "largest": 1.0}


@dataclass
class Fit:
    """One default fit, and how good it is."""

    family: str
    half: str
    name: str
    form: str
    C: float
    shape: str
    seconds: float
    reason: str
    warned: bool
    certified_gap: float
    true_gap: float  # above the lowest objective that was found
    doubt: float  # a bound of how far that one is above the minimum

    @property
    def kind(self):
        """What is done to the table, and C."""
        return f"{self.form}, C={self.C:g}"

    @property
    def certified(self):
        """Whether the bound that the fit gives is within ``tol``, whatever ended it."""
        return self.certified_gap <= TOL

    @property
    def above(self):
        """Whether it ends too far above the minimum."""
        return self.true_gap > TOL


def half_of(table):
    """Its name."""
    return "held-out" if table.held_out else "tuning"


def scaled(X):
    """Columns of mean 0 and variance 1; constant ones become 0."""
    deviation = X.std(axis=0)
    deviation[deviation <= 1e-12 * np.abs(X).max(axis=0)] = 1.0
    return (X - X.mean(axis=0)) / deviation


def fit_of(table, form, C):
    """Fit and judge; a ValueError means that the fit is refused."""
    X = table.X if form == "raw" else scaled(table.X)
    problem = Problem(table.name, X, table.y, C)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        began = time.perf_counter()
        clf = SoftmaxClassifier(C=C).fit(X, table.y)
        seconds = time.perf_counter() - began
    warned = any(issubclass(one.category, ConvergenceWarning) for one in caught)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        best = SoftmaxClassifier(C=C, tol=TOL / TIGHTER).fit(X, table.y)
    value = objective(clf.coef_, clf.intercept_, problem)
    least = min(value, objective(best.coef_, best.intercept_, problem))
    doubt = min(float(best.optimality_gap_), float(clf.optimality_gap_))
    if doubt > TOL / 10:
        targets = np.eye(table.y.max() + 1)[table.y]
        binary = targets.shape[1] == 2
        training = ref.TrainingObjective(X, targets[:, binary:], C, binary=binary)
        minimum = ref.minimum(training, start=(best.coef_, best.intercept_))
        least = min(least, float(minimum.value))
        doubt = min(doubt, float(minimum.bound / minimum.value))
    rows, columns = X.shape
    return Fit(
        family=table.family,
        half=half_of(table),
        name=table.name,
        form=form,
        C=C,
        shape=f"{rows:,} x {columns:,}, {table.y.max() + 1}",
        seconds=seconds,
        reason=clf.stop_reason_,
        warned=warned,
        certified_gap=float(clf.optimality_gap_),
        true_gap=value / least - 1,
        doubt=doubt,
    )


def chosen(args):
    """The tables that are not too large."""
    for i, table in enumerate(tables(*args.families.split(","))):
        if args.half not in ("both", half_of(table)):
            continue
        work = table.X.size * Problem(table.name, table.X, table.y).n_outputs
        if work <= args.most and not (args.quick and i % 10):
            yield table


# ---- Markdown ------------------------------------------------------------------------------------


def print_table(head, rows):
    print(f"| {' | '.join(head)} |")
    print("|" + "---|" * len(head))
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def share(fits, is_counted):
    """In per cent, of one digit after the point."""
    return f"{100 * statistics.fmean(map(is_counted, fits)):.1f} %"


def quantiles(gaps):
    """Of numbers that may be inf."""
    gaps = np.sort(gaps)
    found = [gaps[int(np.ceil(q * len(gaps))) - 1] for q in QUANTILES.values()]
    return [f"{gap:.0e}" if gap else "0" for gap in found]


def by(fits, *names):
    """{values of these attributes: fits}: the first by appearance, then sorted by the others."""
    found = {}
    for fit in fits:
        found.setdefault(tuple(getattr(fit, name) for name in names), []).append(fit)
    firsts = list(dict.fromkeys(key[0] for key in found))
    return dict(sorted(found.items(), key=lambda item: (firsts.index(item[0][0]), item[0][1:])))


def shares(fits):
    """Columns on how fits ended."""
    return [
        f"{len(fits):,}",
        share(fits, lambda fit: fit.certified),
        share(fits, lambda fit: not fit.certified and fit.reason == "estimated"),
        share(fits, lambda fit: not fit.certified and fit.reason != "estimated"),
        share(fits, lambda fit: fit.warned),
    ]


def counts(fits):
    """Columns on fits that end too high, or whose minimum is not known well."""
    silent = [fit for fit in fits if fit.above and not fit.warned]
    doubtful = [fit for fit in fits if fit.doubt > TOL / 10]
    return [str(sum(fit.above for fit in fits)), str(len(silent)), str(len(doubtful))]


SHARES = ["fits", "certified", "estimated", "other", "warned"]
COUNTS = ["above tol", "silent", "in doubt"]


def report(fits):
    print(
        f'"Certified" are fits with `optimality_gap_ <= {TOL:g}`, the default `tol`; "estimated" '
        'and "other" are the rest by `stop_reason_`. "Warned" means a ConvergenceWarning, whatever '
        "the reason.\n"
    )
    for name, head in [("family", "tables"), ("kind", "form")]:
        rows = ([*key, *shares(of)] for key, of in by(fits, name, "half").items())
        print_table([head, "half", *SHARES], rows)
    groups = by(fits, "family", "half")
    for kind in ("certified", "true"):
        print(f"Quantiles of the {kind} gaps:\n")
        rows = (
            [*key, *quantiles([getattr(fit, f"{kind}_gap") for fit in of])]
            for key, of in groups.items()
        )
        print_table(["tables", "half", *QUANTILES], rows)
    print(
        f'"Above tol" counts the fits whose true gap is above {TOL:g}, "silent" those of them '
        'without a warning, and "in doubt" all fits whose minimum is not certified to '
        f"{TOL / 10:g}.\n"
    )
    print_table(["tables", "half", *COUNTS], ([*key, *counts(of)] for key, of in groups.items()))
    named = [fit for fit in fits if fit.above or not fit.certified]
    print(f"Single fits that are not certified or end above tol, {len(named)}:\n")
    head = ["table", "half", "form", "C", "rows x features, classes", "reason", "warned"]
    head += ["certified gap", "true gap", "doubt", "time"]
    print_table(
        head,
        (
            [
                f"{fit.family}: {fit.name}",
                fit.half,
                fit.form,
                f"{fit.C:g}",
                fit.shape,
                fit.reason,
                "yes" if fit.warned else "",
                f"{fit.certified_gap:.1e}",
                f"{fit.true_gap:.1e}" + " (!)" * fit.above,
                f"{fit.doubt:.0e}",
                f"{1e3 * fit.seconds:.0f} ms",
            ]
            for fit in named
        ),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--half", choices=("both", "tuning", "held-out"), default="both")
    parser.add_argument("--most", type=float, default=1e7, help="rows x features x outputs")
    parser.add_argument("--quick", action="store_true", help="every tenth table")
    args = parser.parse_args()
    print_about()
    fits, refused = [], []
    for table in chosen(args):
        for form, C in itertools.product(FORMS, STRENGTHS):
            try:
                fits.append(fit_of(table, form, C))
            except ValueError as error:
                refused.append(f"- {table.family}: {table.name}, {form}, C={C:g}: {error}")
    report(fits)
    if refused:
        print(f"The {len(refused)} fits that are refused:\n", *refused, sep="\n")


if __name__ == "__main__":
    main()
