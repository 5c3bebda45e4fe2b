"""
Which loss survives wrong labels?
=================================

In scikit-learn's digits of 8 x 8 pixels, a share of the training labels is replaced by another
digit, drawn at random, while the labels of the test digits stay right. Cross-entropy grows without
bound where a label contradicts the model, so that a few wrong labels have a large influence. The
generalised loss is bounded, and the symmetric loss nearly so. Focal loss gives the most weight to
the samples that are predicted worst, and here many of these have a wrong label.
"""

import numpy as np
from _figures import FOURTH, NEUTRAL, OURS, THEIRS, THIRD, label_lines, new_figure, save_and_show
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from xentlearn import SoftmaxClassifier
from xentlearn.losses import (
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    SymmetricCrossentropy,
)

NOISE = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
LOSSES = {
    "generalised, q = 0.7": (GeneralizedCrossentropy(q=0.7), OURS),
    "symmetric, alpha = 0.1": (SymmetricCrossentropy(alpha=0.1), THIRD),
    "label smoothing, 0.2": (CategoricalCrossentropy(label_smoothing=0.2), FOURTH),
    "cross-entropy": (CategoricalCrossentropy(), NEUTRAL),
    "focal, gamma = 2": (CategoricalFocalCrossentropy(gamma=2.0), THEIRS),
}

# %%
# Every loss is fitted to the same wrong labels, which are drawn five times for each share.


def with_wrong_labels(y, share, rng):
    """The labels, of which a share (on average) is replaced by another digit."""
    wrong = rng.random(len(y)) < share
    return np.where(wrong, (y + rng.integers(1, 10, size=len(y))) % 10, y)


X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, test_size=500, stratify=y, random_state=0)
accuracy = {name: np.empty((len(NOISE), 5)) for name in LOSSES}
for i, share in enumerate(NOISE):
    for repeat in range(5):
        y_noisy = with_wrong_labels(y, share, np.random.default_rng(repeat))
        for name, (loss, _) in LOSSES.items():
            clf = SoftmaxClassifier(loss, C=3.0).fit(X, y_noisy)
            accuracy[name][i, repeat] = clf.score(X_test, y_test)

print(f"{'wrong labels':>22}" + "".join(f"{share:>7.0%}" for share in NOISE))
for name, values in accuracy.items():
    print(f"{name:>22}" + "".join(f"{mean:>7.3f}" for mean in values.mean(axis=1)))

# %%
# Lines are means, and the bands show one standard deviation over the five draws.

figure = new_figure(8, 4)
ax = figure.subplots()
for name, (_, color) in LOSSES.items():
    mean, spread = accuracy[name].mean(axis=1), accuracy[name].std(axis=1)
    ax.plot(NOISE, mean, "o-", markersize=4, color=color, label=name)
    ax.fill_between(NOISE, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)
ax.set(
    title="Accuracy on 500 digits with right labels",
    xlabel="share of the training labels that are wrong",
    ylabel="accuracy",
    ylim=(None, 1.0),
)
ax.xaxis.set_major_formatter("{x:.0%}")
label_lines(ax)
save_and_show(figure, "noisy_labels.png")
