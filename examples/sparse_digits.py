"""
Which pixels does a model need to read a digit?
===============================================

With an L1 penalty, a softmax model of handwritten digits keeps the coefficients that pay, and the
others are exactly 0. The smaller C, the fewer it keeps; ``l1_min_C`` computes where it keeps none.
"""

import numpy as np
from _figures import new_figure, save_and_show
from _mnist_data import N_CLASSES, SIDE, load_digits
from matplotlib import colormaps
from matplotlib.colors import ListedColormap

from xentlearn import SoftmaxClassifier, l1_min_C

digits = load_digits()
least = l1_min_C(digits.X_train, digits.y_train)
print(f"All coefficients are 0 up to C = {least:.2g}.\n")
print(f"{'C / l1_min_C':>12}{'coefficients':>14}{'pixels':>8}{'accuracy':>10}{'gap':>9}")

models = {}
for factor in (1000, 100, 10, 2):
    clf = SoftmaxClassifier(C=factor * least, l1_ratio=1)
    clf.fit(digits.X_train, digits.y_train)
    n_coefficients = np.count_nonzero(clf.coef_)
    n_pixels = np.count_nonzero(clf.coef_.any(axis=0))
    accuracy = clf.score(digits.X_test, digits.y_test)
    print(f"{factor:12,}{n_coefficients:14,}{n_pixels:8}{accuracy:10.3f}{clf.optimality_gap_:9.0e}")
    title = f"C = {clf.C:.2g}\n{n_coefficients:,} of {clf.coef_.size:,}\naccuracy {accuracy:.1%}"
    models[title] = clf.coef_

# %%
# There is a row for each C, and a column for each class. Pixels without a coefficient are white.
# Ink on a red pixel speaks for the digit, ink on a blue one against it.

# Red and blue without the palest colours, which would look white.
diverging = colormaps["RdBu_r"]
shades = np.concatenate([np.linspace(0, 0.38, 128), np.linspace(0.62, 1, 128)])
colors = ListedColormap(diverging(shades)).with_extremes(bad="white")

figure = new_figure(8, 3.5)
figure.suptitle(
    "Coefficients that speak for (red) and against (blue) a digit; white ones are 0",
    fontsize="medium",
)
axes = figure.subplots(len(models), N_CLASSES)
for row, (title, coef) in zip(axes, models.items(), strict=True):
    limit = np.percentile(np.abs(coef[coef != 0]), 95)  # a few large ones would pale all others
    for ax, weights in zip(row, coef, strict=True):
        image = np.ma.masked_equal(weights, 0).reshape(SIDE, SIDE)
        ax.imshow(image, cmap=colors, vmin=-limit, vmax=limit, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color="silver")
    row[0].set_ylabel(title, rotation=0, ha="right", va="center", labelpad=8)
for digit, ax in enumerate(axes[0]):
    ax.set_title(digit, loc="center")
save_and_show(figure, "sparse_digits.png")
