"""
What if most of the labels are missing?
=======================================

Each of scikit-learn's digits of 8 x 8 pixels comes with four yes-or-no labels: is it even, is it at
least 5, is it a prime, has it a closed loop? Labels are removed at random. SoftmaxClassifier takes
nan for a missing label and learns from the others. Two common workarounds are compared with that:
to take a missing label for a no, and to drop the rows that miss a label.
"""

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, label_lines, new_figure, save_and_show
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from xentlearn import SoftmaxClassifier

MISSING = [0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95]  # shares of the labels
WAYS = {"nan: missing": OURS, "0: taken for a no": THEIRS, "row dropped": NEUTRAL}

X, digits = load_digits(return_X_y=True)
Y = np.column_stack(
    [digits % 2 == 0, digits >= 5, np.isin(digits, [2, 3, 5, 7]), np.isin(digits, [0, 6, 8, 9])]
).astype(float)
X, X_test, Y, Y_test = train_test_split(X, Y, test_size=500, random_state=0)

# %%
# Labels are removed five times for each share. All rows may be dropped where many labels are
# missing; nothing is fitted then.


def training_data(way, X, Y):
    """X and Y as one of the WAYS sees them; None where a label has no yes or no no left."""
    if way == "nan: missing":
        return X, Y
    if way == "0: taken for a no":
        return X, np.nan_to_num(Y)
    complete = ~np.isnan(Y).any(axis=1)
    varied = complete.any() and (np.ptp(Y[complete], axis=0) > 0).all()
    return (X[complete], Y[complete]) if varied else None


accuracy = {way: np.full((len(MISSING), 5), np.nan) for way in WAYS}
for repeat in range(5):
    order = np.random.default_rng(repeat).random(Y.shape)
    for i, share in enumerate(MISSING):
        Y_holes = np.where(order < share, np.nan, Y)
        for way in WAYS:
            data = training_data(way, X, Y_holes)
            if data is not None:
                clf = SoftmaxClassifier(C=0.01).fit(*data)
                accuracy[way][i, repeat] = (clf.predict(X_test) == Y_test).mean()

print(f"{'labels missing':>16}" + "".join(f"{way:>20}" for way in WAYS))
for i, share in enumerate(MISSING):
    means = (values[i].mean() for values in accuracy.values())
    cells = ("too few rows" if np.isnan(mean) else f"{mean:.3f}" for mean in means)
    print(f"{share:>16.0%}" + "".join(f"{cell:>20}" for cell in cells))

# %%
# Lines are means, and the bands show one standard deviation over the five draws.

figure = new_figure(8, 3.6)
ax = figure.subplots()
for way, color in WAYS.items():
    mean, spread = accuracy[way].mean(axis=1), accuracy[way].std(axis=1)
    ax.plot(MISSING, mean, "o-", markersize=4, color=color, label=way)
    ax.fill_between(MISSING, mean - spread, mean + spread, color=color, alpha=0.12, linewidth=0)
ax.set(
    title="Accuracy on the labels of 500 new digits, four each",
    xlabel="share of the training labels that are missing",
    ylabel="share of labels predicted right",
)
ax.xaxis.set_major_formatter("{x:.0%}")
label_lines(ax)
save_and_show(figure, "multilabel_missing.png")
