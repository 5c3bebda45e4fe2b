"""Which loss survives wrong labels? Accuracy against the share of training labels that are wrong.

scikit-learn's 8 x 8 digits; a share of the training labels is replaced by another digit, drawn
evenly, while the labels of the test digits stay right. Cross-entropy charges without bound for a
label that cannot be true, and bends to it. The generalised loss charges at most a constant, the
symmetric one hardly more. Focal loss, made to look at what is predicted wrong, looks hardest at the
wrong labels.
"""

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
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
REPEATS = 5
STRENGTH = 3.0  # C
LOSSES = {
    "generalised, q = 0.7": (GeneralizedCrossentropy(q=0.7), OURS, "-"),
    "symmetric, alpha = 0.1": (SymmetricCrossentropy(alpha=0.1), OURS, "--"),
    "label smoothing 0.2": (CategoricalCrossentropy(label_smoothing=0.2), NEUTRAL, "--"),
    "cross-entropy": (CategoricalCrossentropy(), NEUTRAL, "-"),
    "focal, gamma = 2": (CategoricalFocalCrossentropy(gamma=2.0), THEIRS, "-"),
}


def flip(y, share, rng):
    """Labels, a share of which (on average) is another digit."""
    flipped = rng.random(len(y)) < share
    return np.where(flipped, (y + rng.integers(1, 10, size=len(y))) % 10, y)


def accuracies(X, X_test, y, y_test):
    """{loss: accuracies of shape (len(NOISE), REPEATS)}."""
    found = {name: np.empty((len(NOISE), REPEATS)) for name in LOSSES}
    for repeat in range(REPEATS):
        for i, share in enumerate(NOISE):
            noisy = flip(y, share, np.random.default_rng(repeat))
            for name, (loss, _, _) in LOSSES.items():
                clf = SoftmaxClassifier(loss, C=STRENGTH).fit(X, noisy)
                found[name][i, repeat] = clf.score(X_test, y_test)
    return found


def print_table(found):
    """Mean accuracies by loss and share of flipped labels."""
    print(f"{'flipped':>24}" + "".join(f"{share:>8.0%}" for share in NOISE))
    for name, values in found.items():
        print(f"{name:>24}" + "".join(f"{mean:>8.3f}" for mean in values.mean(axis=1)))


def draw(found):
    """Accuracy against noise, a line per loss."""
    figure = new_figure(7, 4.5)
    ax = figure.subplots()
    for name, (_, color, style) in LOSSES.items():
        mean, spread = found[name].mean(axis=1), found[name].std(axis=1)
        ax.plot(NOISE, mean, style, marker="o", markersize=4, color=color, label=name)
        ax.fill_between(NOISE, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)
    ax.set(
        title="Accuracy on digits with right labels",
        xlabel="share of training labels that are wrong",
        ylim=(None, 1.0),
    )
    ax.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    ax.legend()
    return figure


def main(argv=None):
    arguments = parser_with_output(__doc__).parse_args(argv)
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X / 16, y, test_size=500, stratify=y, random_state=0)
    found = accuracies(X, X_test, y, y_test)
    print_table(found)
    save_and_show(draw(found), arguments.output / "noisy_labels.png")


if __name__ == "__main__":
    main()
