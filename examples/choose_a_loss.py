"""
Which loss for what?
====================

The losses of SoftmaxClassifier differ in what a sample costs, and in how strongly it acts on the
fit, depending on how right the model is about it. Both are drawn against the margin: the logit of
the true class minus that of the other, for two classes. A margin of 0 means undecided, and a
negative one wrong. The derivative is the force with which the sample acts on its margin; a fit
raises the margin where it is negative. Plain cross-entropy is grey in all pictures.
"""

from _figures import NEUTRAL, OURS, THEIRS, new_figure, save_and_show

from xentlearn.display import LossShapeDisplay
from xentlearn.losses import (
    AsymmetricBinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    PolyCrossentropy,
    SymmetricCrossentropy,
)


def draw(title, *losses, y_true=1):
    """Losses and derivatives side by side; prints them for samples that are wrong, and right."""
    figure = new_figure(8, 2.7)
    left, right = figure.subplots(1, 2)
    losses = [("cross-entropy", CategoricalCrossentropy()), *losses]
    styles = [{"color": color} for _, color in zip(losses, (NEUTRAL, OURS, THEIRS), strict=False)]
    display = LossShapeDisplay.from_losses(losses, y_true=y_true, ax=left, line_kw=styles)
    display.plot(right, quantity="gradient", line_kw=styles)
    left.set(title=title, ylim=(-0.2, 6))
    right.set(ylabel="derivative in the margin")
    for ax in (left, right):
        ax.axvline(0, color=NEUTRAL, linestyle=":", linewidth=1)
        ax.set(xlabel="margin of the true class", xticks=range(-6, 7, 3))
        ax.get_legend().remove()
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center")

    print(f"{'loss (derivative), margin':28}{'-5':>17}{'0':>17}{'5':>17}")
    for name, loss, gradient in zip(display.names, display.loss, display.gradient, strict=True):
        cells = (f"{loss[i]:.3f} ({gradient[i]:.3f})" for i in (50, 300, 550))
        print(f"{name:28}" + "".join(f"{cell:>17}" for cell in cells))
    return figure


# %%
# Label smoothing keeps probabilities from being too sure: where the derivative is positive, a
# sample lowers its own margin.

figure = draw(
    "Label smoothing",
    ("smoothing 0.1", CategoricalCrossentropy(label_smoothing=0.1)),
    ("smoothing 0.3", CategoricalCrossentropy(label_smoothing=0.3)),
)
save_and_show(figure, "choose_a_loss_smoothing.png")

# %%
# Focal loss takes weight from samples that are right already. It is for data in which many easy
# samples outweigh the few hard ones.

figure = draw(
    "Focal loss",
    ("gamma = 0.5", CategoricalFocalCrossentropy(gamma=0.5)),
    ("gamma = 2", CategoricalFocalCrossentropy(gamma=2.0)),
)
save_and_show(figure, "choose_a_loss_focal.png")

# %%
# Poly-1 adds epsilon (1 - p) to cross-entropy, where p is the probability of the true class. One
# parameter raises or lowers the influence of the samples that are not yet right.

figure = draw(
    "Poly-1",
    ("epsilon = 1", PolyCrossentropy(1.0)),
    ("epsilon = -1", PolyCrossentropy(-1.0)),
)
save_and_show(figure, "choose_a_loss_poly.png")

# %%
# The robust losses are for data in which some labels are wrong: a sample that strongly contradicts
# the model has little influence.

figure = draw(
    "Robust losses",
    ("generalised, q = 0.7", GeneralizedCrossentropy(q=0.7)),
    ("symmetric, alpha = 0.1", SymmetricCrossentropy(alpha=0.1)),
)
save_and_show(figure, "choose_a_loss_robust.png")

# %%
# The asymmetric loss is for many labels of which each sample has few. Labels that are absent, which
# are most of them, lose weight as soon as they are about right. For labels that are present it is
# cross-entropy by default.

figure = draw(
    "Asymmetric loss of an absent label",
    ("gamma_neg = 4, clip = 0.05", AsymmetricBinaryCrossentropy()),
    y_true=0,
)
save_and_show(figure, "choose_a_loss_asymmetric.png")
