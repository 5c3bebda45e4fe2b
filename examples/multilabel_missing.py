"""Several questions per picture, most of them unanswered: what is left of the accuracy?

scikit-learn's 8 x 8 digits with four questions each: is it even, is it at least 5, is it a prime,
has it a closed loop? Answers are taken away at random. SoftmaxClassifier counts the ones that are
there; beside it what is done otherwise: a missing answer taken for a no, and rows with a missing
answer dropped.
"""

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from xentlearn import SoftmaxClassifier

QUESTIONS = {
    "even": lambda digit: digit % 2 == 0,
    "at least 5": lambda digit: digit >= 5,
    "prime": lambda digit: np.isin(digit, [2, 3, 5, 7]),
    "closed loop": lambda digit: np.isin(digit, [0, 6, 8, 9]),
}
MISSING = [0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95]  # share of the answers
REPEATS = 5
STRENGTH = 0.01  # C: these few pixels would be learnt by heart with less of a penalty
WAYS = {
    "missing is missing (nan)": OURS,
    "missing is taken for no (0)": THEIRS,
    "incomplete rows are dropped": NEUTRAL,
}


def training_data(way, X, Y):
    """X and Y as one of the WAYS sees them; None where nothing is left to learn from."""
    if way.startswith("missing is missing"):
        return X, Y
    if way.startswith("missing is taken"):
        return X, np.nan_to_num(Y)
    complete = ~np.isnan(Y).any(axis=1)
    varied = complete.any() and (np.ptp(Y[complete], axis=0) > 0).all()
    return (X[complete], Y[complete]) if varied else None


def accuracies(X, X_test, Y, Y_test):
    """{way: (len(MISSING), REPEATS) shares of right answers}; nan where there was no fit."""
    found = {way: np.full((len(MISSING), REPEATS), np.nan) for way in WAYS}
    for repeat in range(REPEATS):
        order = np.random.default_rng(repeat).random(Y.shape)
        for i, share in enumerate(MISSING):
            holes = np.where(order < share, np.nan, Y)
            for way in WAYS:
                data = training_data(way, X, holes)
                if data is not None:
                    clf = SoftmaxClassifier(C=STRENGTH).fit(*data)
                    found[way][i, repeat] = (clf.predict(X_test) == Y_test).mean()
    return found


def print_table(found):
    """Mean accuracy by share and way."""
    print(f"{'answers missing':>16}" + "".join(f"{way:>30}" for way in WAYS))
    for i, share in enumerate(MISSING):
        cells = (
            f"{row[i].mean():.3f}" if np.isfinite(row[i]).all() else "too few rows"
            for row in found.values()
        )
        print(f"{share:>16.0%}" + "".join(f"{cell:>30}" for cell in cells))


def draw(found):
    """Accuracy against the share of missing answers."""
    figure = new_figure(6.5, 4.3)
    ax = figure.subplots()
    for way, color in WAYS.items():
        mean, spread = found[way].mean(axis=1), found[way].std(axis=1)
        ax.plot(MISSING, mean, "o-", color=color, label=way)
        ax.fill_between(MISSING, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
    ax.set(
        title="Four yes-or-no questions per digit",
        xlabel="share of the training answers that are missing",
        ylabel="share of right answers to new digits",
    )
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.legend()
    return figure


def main(argv=None):
    arguments = parser_with_output(__doc__).parse_args(argv)
    X, digits = load_digits(return_X_y=True)
    Y = np.column_stack([question(digits) for question in QUESTIONS.values()]).astype(float)
    found = accuracies(*train_test_split(X, Y, test_size=500, random_state=0))
    print_table(found)
    save_and_show(draw(found), arguments.output / "multilabel_missing.png")


if __name__ == "__main__":
    main()
