"""
When should a tumour be reported, if a missed cancer costs ten false alarms?
============================================================================

SoftmaxClassifier with binary cross-entropy learns the 30 features of scikit-learn's breast cancer
data as they are, unscaled. The threshold on the predicted probability follows from the costs of
both mistakes. LogisticRegression, also with its default settings, is compared with it. All
probabilities are cross-validated: they are of rows that the fit has not seen.
"""

import warnings

import numpy as np
from _figures import OURS, THEIRS, new_figure, save_and_show
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from xentlearn import SoftmaxClassifier
from xentlearn.losses import binary_crossentropy

X, y = load_breast_cancer(return_X_y=True)
y = 1 - y  # 1 for malignant

proba, n_warned = {}, {}
for estimator in (SoftmaxClassifier("binary_crossentropy"), LogisticRegression()):
    name = type(estimator).__name__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        folds = StratifiedKFold(10, shuffle=True, random_state=0)
        proba[name] = cross_val_predict(estimator, X, y, cv=folds, method="predict_proba")[:, 1]
    n_warned[name] = len(caught)

# %%
# If a tumour is malignant with probability p, reporting it costs 1 - p on average, and not
# reporting it costs 10 p. Both are equal at p = 1/11: report above it.

COST_OF_MISS = 10  # in false alarms
BEST_THRESHOLD = 1 / (1 + COST_OF_MISS)


def mistakes(p, threshold):
    """(missed cancers, false alarms) if all tumours above the threshold are reported."""
    (_, false_alarms), (missed, _) = confusion_matrix(y, p > threshold)
    return missed, false_alarms


def cost(p, threshold):
    """In false alarms per 100 patients."""
    return 100 * np.dot(mistakes(p, threshold), [COST_OF_MISS, 1]) / len(y)


def print_row(title, value):
    print(f"{title:36}" + "".join(f"{value(name):>20}" for name in proba))


print_row("", str)
print_row("binary cross-entropy", lambda name: f"{binary_crossentropy(y, proba[name]).mean():.4f}")
for threshold in (0.5, BEST_THRESHOLD):
    print(f"reported above {threshold:.3f}")
    print_row("  missed cancers", lambda name, at=threshold: mistakes(proba[name], at)[0])
    print_row("  false alarms", lambda name, at=threshold: mistakes(proba[name], at)[1])
    print_row("  cost per 100 patients", lambda name, at=threshold: f"{cost(proba[name], at):.1f}")
print_row("fits that did not converge", lambda name: f"{n_warned[name]} of 10")

# %%
# The lower panels compare predicted probabilities with what happened. Each point is a fifth of the
# interval from 0 to 1; few tumours lie in the middle, so that the points there are uncertain.

figure = new_figure(8, 6.8)
(histogram, costs), calibration = figure.subplots(2, 2)

ours = proba["SoftmaxClassifier"]
bins = np.linspace(0, 1, 12)  # the first edge is the threshold
histogram.hist(
    [ours[y == 0], ours[y == 1]],
    bins,
    label=["benign", "malignant"],
    color=["silver", "black"],
)
histogram.set(
    title="Probabilities by SoftmaxClassifier",
    xlabel="predicted probability of malignant",
    ylabel="tumours",
    yscale="log",
)
histogram.yaxis.set_major_formatter("{x:g}")
histogram.legend(loc="upper center")

thresholds = np.geomspace(1e-3, 0.999, 400)
for (name, p), color in zip(proba.items(), (OURS, THEIRS), strict=True):
    costs.plot(thresholds, [cost(p, t) for t in thresholds], color=color, label=name)
costs.axvline(BEST_THRESHOLD, color="black", linestyle=":")
costs.annotate(
    "1/11",
    (BEST_THRESHOLD, 1),
    (3, 0),
    textcoords="offset points",
    va="top",
    xycoords=costs.get_xaxis_transform(),
)
costs.set(
    title="Cost, where a missed cancer costs 10 false alarms",
    xlabel="report above this probability",
    ylabel="cost per 100 patients, in false alarms",
    xscale="log",
    ylim=(0, None),
)
costs.xaxis.set_major_formatter("{x:g}")
costs.legend()

for ax, (name, p), color in zip(calibration, proba.items(), (OURS, THEIRS), strict=True):
    CalibrationDisplay.from_predictions(y, p, n_bins=5, ax=ax, color=color)
    ax.set(
        title=f"Calibration of {name}",
        xlabel="mean predicted probability of malignant",
        ylabel="share of malignant",
    )
    ax.get_legend().remove()
save_and_show(figure, "breast_cancer.png")
