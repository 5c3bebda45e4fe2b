"""
Can a forest teach a linear model?
==================================

A random forest learns all training digits of scikit-learn's 8 x 8 ones and gives each a row of
probabilities from the trees that have not seen it (out of bag). SoftmaxClassifier then learns a few
of the digits from their labels, from these probabilities, or from the mean of both. Probabilities
help as long as there are few digits; with more, the labels alone give better probabilities.
"""

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, label_lines, new_figure, save_and_show
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from xentlearn import SoftmaxClassifier

SIZES = [50, 100, 200, 400, 800, 1297]  # digits that the linear model learns from
TARGETS = {  # share of the forest's probabilities in the target; the rest is the label
    "labels": (0.0, THEIRS),
    "mean of both": (0.5, NEUTRAL),
    "probabilities": (1.0, OURS),
}

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X / 16, y, test_size=500, stratify=y, random_state=0)
forest = RandomForestClassifier(300, oob_score=True, random_state=0, n_jobs=-1).fit(X, y)
probabilities = forest.oob_decision_function_

# %%
# "categorical_crossentropy" takes a row of probabilities as the target of each sample.

accuracy, loss = (
    {name: np.empty((len(SIZES), 5)) for name in TARGETS} for _ in ("accuracy", "log loss")
)
for repeat in range(5):
    order = np.random.default_rng(repeat).permutation(len(y))
    for i, size in enumerate(SIZES):
        rows = order[:size]
        for name, (share, _) in TARGETS.items():
            target = share * probabilities[rows] + (1 - share) * np.eye(10)[y[rows]]
            clf = SoftmaxClassifier("categorical_crossentropy", C=3.0).fit(X[rows], target)
            accuracy[name][i, repeat] = clf.score(X_test, y_test)
            loss[name][i, repeat] = log_loss(y_test, clf.predict_proba(X_test))

of_forest = forest.score(X_test, y_test), log_loss(y_test, forest.predict_proba(X_test))
print("accuracy (log loss)")
print(f"{'digits':>8}" + "".join(f"{name:>20}" for name in TARGETS))
for i, size in enumerate(SIZES):
    cells = (f"{accuracy[name][i].mean():.3f} ({loss[name][i].mean():.3f})" for name in TARGETS)
    print(f"{size:>8}" + "".join(f"{cell:>20}" for cell in cells))
print(f"\nThe forest itself: accuracy {of_forest[0]:.3f}, log loss {of_forest[1]:.3f}.")

# %%
# Lines are means, and the bands show one standard deviation over five draws of the digits.

figure = new_figure(8, 3.6)
for ax, what, scores, level in zip(
    figure.subplots(1, 2), ("Accuracy", "Log loss"), (accuracy, loss), of_forest, strict=True
):
    for name, (_, color) in TARGETS.items():
        mean, spread = scores[name].mean(axis=1), scores[name].std(axis=1)
        ax.plot(SIZES, mean, "o-", markersize=4, color=color, label=name)
        ax.fill_between(SIZES, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)
    ax.axhline(level, color="black", linestyle=":")
    ax.annotate("the forest", (SIZES[0], level), (0, 3), textcoords="offset points")
    ax.set(
        title=f"{what} on 500 new digits",
        xlabel="digits that the linear model learns from",
        ylabel=what.lower(),
        xscale="log",
    )
    ax.set_xticks(SIZES, SIZES)
    ax.minorticks_off()
label_lines(ax)
save_and_show(figure, "distill_soft_labels.png")
