"""
How well, and how fast, does a softmax classifier learn to read digits?
=======================================================================

SoftmaxClassifier and scikit-learn's LogisticRegression, both with default settings, are fitted to
MNIST digits, each in a process of its own. The table compares them; the picture has what
SoftmaxClassifier has learned. ``--full`` takes all 70,000 digits in place of 5,000.
"""

import sys
from pathlib import Path

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
from _measured_fit import measured
from _mnist_data import SIDE, DataError, load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from xentlearn import SoftmaxClassifier
from xentlearn.display import CoefficientDisplay, LossCurveDisplay
from xentlearn.losses import SparseCategoricalCrossentropy

REFERENCE_TOL = 1e-8


# ---- How good a fit is ---------------------------------------------------------------------------


def objective(estimator, digits):
    """Mean cross-entropy plus ||W||^2 / (2 C n), in float64: what both estimators minimise."""
    X, y = digits.X_train.astype(np.float64), digits.y_train
    coef, intercept = (a.astype(np.float64) for a in (estimator.coef_, estimator.intercept_))
    penalty = np.vdot(coef, coef) / (2 * estimator.C * len(y))
    return SparseCategoricalCrossentropy()(y, X @ coef.T + intercept) + penalty


def least_objective(digits):
    """A number that the objective cannot fall below, certified by a very exact fit in float64."""
    exact = SoftmaxClassifier(tol=REFERENCE_TOL, max_iter=10_000)
    exact.fit(digits.X_train.astype(np.float64), digits.y_train)
    return exact.objective_ / (1 + exact.optimality_gap_)


def print_table(fits, least, digits):
    estimators = [fit.estimator for fit in fits]
    values = [objective(estimator, digits) for estimator in estimators]
    scores = [estimator.score(digits.X_test, digits.y_test) for estimator in estimators]
    rows = {
        "": [type(estimator).__name__ for estimator in estimators],
        "test accuracy": [f"{score:.4f}" for score in scores],
        "objective": [f"{value:.8f}" for value in values],
        "  above the minimum by at most *": [f"{value / least - 1:.1e}" for value in values],
        "fit time": [f"{fit.seconds:.2f} s" for fit in fits],
        "peak memory of the fit, beside X": [megabytes(fit.extra_memory) for fit in fits],
        "iterations": [str(estimator.n_iter_[0]) for estimator in estimators],
        "warnings": [", ".join(fit.warned) or "none" for fit in fits],
    }
    print(
        f"\nTrained on {len(digits.y_train):,} digits, tested on {len(digits.y_test):,}; "
        f"X takes {megabytes(digits.X_train.nbytes)}\n"
    )
    for name, cells in rows.items():
        print(f"{name:34}" + "".join(f"{cell:>22}" for cell in cells))
    print(
        f"\n* relative to {least:.8f}; a fit in float64 with tol={REFERENCE_TOL:g} certifies\n"
        f"  that the minimum is no less. SoftmaxClassifier itself certifies "
        f"{estimators[0].optimality_gap_:.1e}."
    )


def megabytes(n_bytes):
    return "n/a" if n_bytes is None else f"{n_bytes / 1e6:.1f} MB"


# ---- The picture ---------------------------------------------------------------------------------


def draw(fits, least, digits):
    """The four panels."""
    ours = fits[0].estimator
    proba = ours.predict_proba(digits.X_test)
    figure = new_figure(8, 6.6)
    panels = figure.subfigures(2, 2, width_ratios=[1.4, 1], wspace=0.04, hspace=0.04)
    draw_weights(panels[0, 0], ours)
    draw_curve(panels[0, 1], fits, least, digits)
    draw_wrong(panels[1, 0], digits, proba)
    draw_mistakes(panels[1, 1], digits.y_test, proba.argmax(axis=1))
    return figure


def draw_weights(panel, clf):
    """Each class's weights as an image."""
    panel.suptitle("Weights that speak for (red) and against (blue) a digit", fontsize="medium")
    limit = np.percentile(np.abs(clf.coef_), 99.5)  # a few extreme pixels would pale all others
    axes = panel.subplots(2, 5)
    CoefficientDisplay.from_estimator(
        clf, image_shape=(SIDE, SIDE), ax=axes, im_kw={"vmin": -limit, "vmax": limit}
    )
    for ax in axes.flat:
        ax.set_axis_off()


def draw_curve(panel, fits, least, digits):
    """How far above the minimum the objective is, against the iteration."""
    panel.suptitle("(objective - minimum) / minimum", fontsize="medium")
    ours, theirs = (fit.estimator for fit in fits)
    ax = panel.subplots()
    ax.plot(ours.history_["objective"] / least - 1, color=OURS, label="SoftmaxClassifier")
    style = {"color": OURS, "linestyle": "--", "alpha": 0.5, "marker": ""}
    display = LossCurveDisplay.from_estimator(ours, quantity="gap", ax=ax, line_kw=style)
    display.certificate_.set_label("its estimate, and certificate")
    end = theirs.n_iter_[0], objective(theirs, digits) / least - 1
    ax.plot(*end, "o", color=THEIRS, label="LogisticRegression")
    ax.axhline(ours.tol, color=NEUTRAL, linestyle=":", label="tol")
    ax.set_ylabel("")
    ax.legend()


def draw_wrong(panel, digits, proba):
    """The wrong predictions with the highest probabilities."""
    panel.suptitle("Most confidently wrong: label, prediction, its probability", fontsize="medium")
    predicted, confidence = proba.argmax(axis=1), proba.max(axis=1)
    wrong = np.flatnonzero(predicted != digits.y_test)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    axes = panel.subplots(2, 5)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, row in zip(axes.flat, wrong, strict=False):
        ax.imshow(digits.X_test[row].reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(
            f"{digits.y_test[row]} → {predicted[row]}\n{confidence[row]:.2%}", fontsize="small"
        )


def draw_mistakes(panel, y, predicted):
    """Who is taken for whom."""
    counts = confusion_matrix(y, predicted)
    np.fill_diagonal(counts, 0)
    panel.suptitle(f"{counts.sum():,} of {len(y):,} test digits are read wrong", fontsize="medium")
    shown = ConfusionMatrixDisplay(counts).plot(
        ax=panel.subplots(), cmap="Oranges", colorbar=False, text_kw={"fontsize": "small"}
    )
    for text in shown.text_.flat:
        if text.get_text() == "0":
            text.set_visible(False)
    shown.ax_.set(xlabel="prediction", ylabel="label")


# ---- The command ---------------------------------------------------------------------------------


def main():
    parser = parser_with_output(__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--full",
        action="store_true",
        help="all 70,000 digits, downloaded from openml.org once, rather than 5,000",
    )
    source.add_argument(
        "--data", metavar="DIR", type=Path, help="read MNIST's four IDX files, gzipped or not"
    )
    arguments = parser.parse_args()
    try:
        digits = load_digits(arguments.data, arguments.full)
    except DataError as error:
        sys.exit(f"{parser.prog}: " + " ".join(str(error).split()))

    estimators = [SoftmaxClassifier(verbose=1), LogisticRegression()]
    fits = [measured(estimator, digits.X_train, digits.y_train) for estimator in estimators]
    least = least_objective(digits)
    print_table(fits, least, digits)
    save_and_show(draw(fits, least, digits), "mnist.png", arguments.output)


if __name__ == "__main__":
    main()
