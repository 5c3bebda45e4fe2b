"""Can a forest teach a linear model? Soft labels in place of hard ones.

A random forest sees all of scikit-learn's 8 x 8 digits for training and gives each a row of
probabilities, out of bag: those of the trees that have not learnt it. SoftmaxClassifier then learns
a few of the digits from their labels, from these rows, and from a mixture of both. With up to some
hundred digits the teacher helps; with more the labels alone do as well, and their probabilities are
sharper than a forest's.
"""

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from xentlearn import SoftmaxClassifier

SIZES = [50, 100, 200, 400, 800, 1297]  # digits that the linear model learns from
REPEATS = 5
STRENGTH = 3.0  # C
PUPILS = {  # share of the teacher's row in the target: the rest is the label
    "labels alone": (0.0, THEIRS),
    "half and half": (0.5, NEUTRAL),
    "the forest's probabilities": (1.0, OURS),
}


def teach(X, y):
    """Out-of-bag probabilities of a random forest."""
    forest = RandomForestClassifier(300, oob_score=True, random_state=0, n_jobs=-1).fit(X, y)
    return forest, forest.oob_decision_function_


def scores(X, X_test, y, y_test, teacher):
    """{pupil: (accuracies, log losses)}, each of shape (len(SIZES), REPEATS)."""
    found = {name: np.empty((2, len(SIZES), REPEATS)) for name in PUPILS}
    for repeat in range(REPEATS):
        order = np.random.default_rng(repeat).permutation(len(y))
        for i, size in enumerate(SIZES):
            chosen = order[:size]
            for name, (share, _) in PUPILS.items():
                target = share * teacher[chosen] + (1 - share) * np.eye(10)[y[chosen]]
                clf = SoftmaxClassifier("categorical_crossentropy", C=STRENGTH)
                clf.fit(X[chosen], target)
                found[name][0, i, repeat] = clf.score(X_test, y_test)
                found[name][1, i, repeat] = log_loss(y_test, clf.predict_proba(X_test))
    return found


def print_table(found):
    """Means by size and pupil."""
    print(f"{'digits':>8}" + "".join(f"{name:>30}" for name in PUPILS))
    for i, size in enumerate(SIZES):
        cells = (
            f"{accuracy[i].mean():.3f} (log loss {cost[i].mean():.3f})"
            for accuracy, cost in found.values()
        )
        print(f"{size:>8}" + "".join(f"{cell:>30}" for cell in cells))


def draw(found, forest_scores):
    """Accuracy and log loss against the number of digits; the forest as a line."""
    figure = new_figure(10, 4.3)
    axes = figure.subplots(1, 2)
    for which, (ax, what) in enumerate(zip(axes, ("accuracy", "log loss"), strict=True)):
        for name, (_, color) in PUPILS.items():
            mean, spread = found[name][which].mean(axis=1), found[name][which].std(axis=1)
            ax.plot(SIZES, mean, "o-", color=color, label=name)
            ax.fill_between(
                SIZES, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0
            )
        ax.axhline(forest_scores[which], color="black", linestyle=":", label="the forest itself")
        ax.set(title=f"{what.capitalize()} on new digits", xscale="log")
        ax.set_xlabel("digits that the linear model learns from")
        ax.set_xticks(SIZES, [str(size) for size in SIZES])
        ax.minorticks_off()
    axes[0].legend()
    return figure


def main(argv=None):
    arguments = parser_with_output(__doc__).parse_args(argv)
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=500, stratify=y, random_state=0)
    forest, teacher = teach(X, y)
    of_forest = forest.score(X_test, y_test), log_loss(y_test, forest.predict_proba(X_test))
    found = scores(X, X_test, y, y_test, teacher)
    print_table(found)
    print(f"\nThe forest itself: accuracy {of_forest[0]:.3f}, log loss {of_forest[1]:.3f}.")
    save_and_show(draw(found, of_forest), arguments.output / "distill_soft_labels.png")


if __name__ == "__main__":
    main()
