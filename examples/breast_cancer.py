"""When should a tumour be reported as malignant, if a missed cancer costs ten false alarms?

Fits binary cross-entropy to the 30 features of scikit-learn's breast cancer data, as they are, and
sets the threshold on the predicted probability by what mistakes cost. Beside it, the same with
LogisticRegression. All probabilities are of rows that were not trained on.
"""

import warnings
from typing import NamedTuple

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from xentlearn import SoftmaxClassifier
from xentlearn.losses import BinaryCrossentropy, binary_crossentropy

COST_OF_MISS = 10  # in false alarms
# Reporting costs 1 - p on average, not reporting COST_OF_MISS * p: equal at this probability.
BEST_THRESHOLD = 1 / (1 + COST_OF_MISS)
FOLDS = StratifiedKFold(10, shuffle=True, random_state=0)
BINS = np.linspace(0, 1, 6)


class Trial(NamedTuple):
    """What an estimator made of the data."""

    estimator: object  # fitted to all rows
    proba: np.ndarray  # of malignant, for each row from a fit without its fold
    n_warned: int  # of all these fits, those that warned that they had not converged

    @property
    def name(self):
        return type(self.estimator).__name__


def load():
    """(X, y) with y = 1 for malignant."""
    X, y = load_breast_cancer(return_X_y=True)
    return X, (y == 0).astype(int)


def examine(estimator, X, y):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        proba = cross_val_predict(estimator, X, y, cv=FOLDS, method="predict_proba")[:, 1]
        fitted = clone(estimator).fit(X, y)
    n_warned = sum(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return Trial(fitted, proba, n_warned)


# ---- Numbers -------------------------------------------------------------------------------------


def mistakes(y, proba, threshold):
    """(missed cancers, false alarms) if all above the threshold are reported."""
    reported = proba > threshold
    return np.sum(~reported & (y == 1)), np.sum(reported & (y == 0))


def cost(y, proba, threshold):
    """In false alarms per 100 patients."""
    missed, false_alarms = mistakes(y, proba, threshold)
    return 100 * (COST_OF_MISS * missed + false_alarms) / len(y)


def objective(estimator, X, y):
    """Mean loss plus ||w||^2 / (2 C n): what both estimators minimise."""
    logits = X @ estimator.coef_[0] + estimator.intercept_[0]
    penalty = np.vdot(estimator.coef_, estimator.coef_) / (2 * estimator.C * len(y))
    return BinaryCrossentropy()(y, logits) + penalty


def reliability(y, proba):
    """Per bin of predicted probability: mean prediction, share of malignant, number of rows."""
    index = np.clip(np.digitize(proba, BINS) - 1, 0, len(BINS) - 2)
    count = np.bincount(index, minlength=len(BINS) - 1)
    used = count > 0
    mean, share = (np.bincount(index, v, len(count))[used] / count[used] for v in (proba, y))
    return mean, share, count[used]


def print_table(trials, X, y):
    ours = trials[0].estimator
    minimum = ours.objective_ / (1 + ours.optimality_gap_)
    n_fits = FOLDS.get_n_splits() + 1

    def row(name, value):
        print(f"{name:42}" + "".join(f"{value(trial):>22}" for trial in trials))

    row("", lambda t: t.name)
    print("rows not trained on")
    row("  binary cross-entropy", lambda t: f"{binary_crossentropy(y, t.proba).mean():.4f}")
    for threshold in (0.5, BEST_THRESHOLD):
        print(f"  reported above {threshold:.3f}")
        for i, what in enumerate(["missed cancers", "false alarms"]):
            row(f"    {what}", lambda t, i=i, at=threshold: mistakes(y, t.proba, at)[i])
        row("    cost per 100 patients *", lambda t, at=threshold: f"{cost(y, t.proba, at):.1f}")
    print("fit to all rows")
    row("  objective", lambda t: f"{objective(t.estimator, X, y):.8f}")
    row(
        "    above the minimum by at most **",
        lambda t: f"{objective(t.estimator, X, y) / minimum - 1:.1e}",
    )
    row("  iterations", lambda t: t.estimator.n_iter_[0])
    row("fits that warned: not converged", lambda t: f"{t.n_warned} of {n_fits}")
    print(
        f"\n*  in false alarms; a missed cancer costs {COST_OF_MISS}"
        "\n** relative; the minimum is bounded by the optimality_gap_ of the SoftmaxClassifier"
    )


# ---- The picture ---------------------------------------------------------------------------------


def draw(trials, y):
    figure = new_figure(13, 4.3)
    axes = figure.subplots(1, 3)
    draw_probabilities(axes[0], trials[0], y)
    draw_cost(axes[1], trials, y)
    draw_reliability(axes[2], trials, y)
    return figure


def draw_probabilities(ax, trial, y):
    """Where the two kinds of tumour lie, and what the thresholds make of them."""
    bins = np.linspace(0, 1, 23)  # both thresholds are edges
    ax.hist(
        [trial.proba[y == 0], trial.proba[y == 1]],
        bins,
        label=["benign", "malignant"],
        color=["#9db7cc", "#7a1f2b"],
    )
    for threshold in (BEST_THRESHOLD, 0.5):
        ax.axvline(threshold, color=NEUTRAL, linestyle=":")
        ax.annotate(
            f"{threshold:.2g}",
            (threshold, 1),
            (3, -3),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            color=NEUTRAL,
        )
    ax.set(
        title=f"Probabilities by {trial.name}",
        xlabel="probability of malignant",
        ylabel="tumours",
        yscale="log",
        xlim=(0, 1),
        ylim=(0.7, None),
    )
    ax.yaxis.set_major_formatter("{x:g}")
    ax.legend(loc="upper right", bbox_to_anchor=(0.95, 1))


def draw_cost(ax, trials, y):
    thresholds = np.geomspace(1e-3, 0.999, 400)
    for trial, colour in zip(trials, (OURS, THEIRS), strict=True):
        ax.plot(
            thresholds,
            [cost(y, trial.proba, t) for t in thresholds],
            color=colour,
            label=trial.name,
        )
    ax.axvline(BEST_THRESHOLD, color=NEUTRAL, linestyle=":")
    ax.axvline(0.5, color=NEUTRAL, linestyle=":")
    ax.set(
        title=f"Cost, where a missed cancer costs {COST_OF_MISS} false alarms",
        xlabel="report above this probability",
        ylabel="cost per 100 patients, in false alarms",
        xscale="log",
        xlim=(thresholds[0], 1),
        ylim=(0, None),
        xticks=[0.001, 0.01, BEST_THRESHOLD, 0.5, 1],
    )
    ax.xaxis.set_major_formatter("{x:.2g}")
    ax.legend()


def draw_reliability(ax, trials, y):
    """Shares with their standard errors, were the probabilities right."""
    ax.plot([0, 1], [0, 1], color=NEUTRAL, linestyle=":")
    for trial, colour, shift in zip(trials, (OURS, THEIRS), (-0.006, 0.006), strict=True):
        mean, share, count = reliability(y, trial.proba)
        error = np.sqrt(mean * (1 - mean) / count)
        ax.errorbar(
            mean + shift,
            share,
            error,
            fmt="o-",
            color=colour,
            markersize=4,
            linewidth=1,
            label=trial.name,
        )
    ax.set(
        title="Are the probabilities right?",
        xlabel="predicted probability",
        ylabel="share of malignant, with standard error",
        xlim=(-0.03, 1.03),
        ylim=(-0.03, 1.03),
        aspect="equal",
    )
    ax.legend(loc="lower right")


# ---- The command ---------------------------------------------------------------------------------


def main(argv=None):
    arguments = parser_with_output(__doc__).parse_args(argv)
    X, y = load()
    estimators = [SoftmaxClassifier("binary_crossentropy"), LogisticRegression()]
    trials = [examine(estimator, X, y) for estimator in estimators]
    print_table(trials, X, y)
    save_and_show(draw(trials, y), arguments.output / "breast_cancer.png")


if __name__ == "__main__":
    main()
