"""
Which loss for what?
====================

The losses of SoftmaxClassifier differ in what a sample costs, and in how strongly it acts on the
fit, depending on how right the model is about it. Both are drawn against the margin: the logit of
the true class less that of the other class, for two classes. A margin of 0 means undecided, and a
negative one wrong. The right panels have the derivative of the loss with its sign changed, which is
the force with which a sample pulls at its margin. Plain cross-entropy is grey in all pictures.
"""

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, save_and_show

from xentlearn.losses import (
    AsymmetricBinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    PolyCrossentropy,
    SymmetricCrossentropy,
)

MARGIN = np.linspace(-6, 6, 601)


def against_margin(loss, label=None):
    """(loss, pull) at each margin: of two logits, or of the logit of a binary label."""
    if label is None:
        logits = np.stack([MARGIN, np.zeros_like(MARGIN)], axis=1)
        value, gradient = loss.loss_gradient(np.zeros(len(MARGIN), dtype=int), logits)
        return value, -gradient[:, 0]
    sign = 1 if label == 1 else -1
    value, gradient = loss.loss_gradient(np.full(len(MARGIN), label), sign * MARGIN)
    return value, -sign * gradient


def draw(title, curves):
    """Loss and pull, side by side; prints them for three samples: wrong, undecided, and right."""
    print(f"{'loss (pull) at a margin of':32}{'-5':>16}{'0':>16}{'5':>16}")
    figure = new_figure(8, 2.7)
    left, right = figure.subplots(1, 2)
    for (name, (value, pull)), color in zip(curves.items(), (NEUTRAL, OURS, THEIRS), strict=False):
        cells = (f"{value[i]:.3f} ({pull[i]:.3f})" for i in (50, 300, 550))
        print(f"{name:32}" + "".join(f"{cell:>16}" for cell in cells))
        left.plot(MARGIN, value, color=color, label=name)
        right.plot(MARGIN, pull, color=color)
    for ax in (left, right):
        ax.axvline(0, color=NEUTRAL, linestyle=":", linewidth=1)
        ax.set(xlabel="margin of the true class", xticks=range(-6, 7, 3))
    left.set(title=title, ylabel="loss", ylim=(-0.2, 6))
    right.set(title="The derivative, with its sign changed", ylabel="pull")
    figure.legend(loc="outside right center")
    return figure


CROSSENTROPY = {"cross-entropy": against_margin(CategoricalCrossentropy())}

# %%
# Label smoothing keeps probabilities from being too sure: beyond some margin a sample is pulled
# back.

smoothed = {
    "smoothing 0.1": against_margin(CategoricalCrossentropy(label_smoothing=0.1)),
    "smoothing 0.3": against_margin(CategoricalCrossentropy(label_smoothing=0.3)),
}
figure = draw("Label smoothing", CROSSENTROPY | smoothed)
save_and_show(figure, "choose_a_loss_smoothing.png")

# %%
# Focal loss takes weight from samples that are right already: for data in which many easy samples
# outweigh the few hard ones.

focal = {
    "gamma = 0.5": against_margin(CategoricalFocalCrossentropy(gamma=0.5)),
    "gamma = 2": against_margin(CategoricalFocalCrossentropy(gamma=2.0)),
}
figure = draw("Focal loss", CROSSENTROPY | focal)
save_and_show(figure, "choose_a_loss_focal.png")

# %%
# Poly-1 adds epsilon (1 - p) to cross-entropy, p being the probability of the true class: one
# parameter that raises or lowers the pull of samples that are not yet right.

poly = {
    "epsilon = 1": against_margin(PolyCrossentropy(1.0)),
    "epsilon = -1": against_margin(PolyCrossentropy(-1.0)),
}
figure = draw("Poly-1", CROSSENTROPY | poly)
save_and_show(figure, "choose_a_loss_poly.png")

# %%
# The robust losses are for data in which some labels are wrong: a sample that contradicts the model
# by far pulls less, or not at all.

robust = {
    "generalised, q = 0.7": against_margin(GeneralizedCrossentropy(q=0.7)),
    "symmetric, alpha = 0.1": against_margin(SymmetricCrossentropy(alpha=0.1)),
}
figure = draw("Robust losses", CROSSENTROPY | robust)
save_and_show(figure, "choose_a_loss_robust.png")

# %%
# The asymmetric loss is for many labels of which each sample has few: labels that are absent, which
# are most of them, lose weight as soon as they are about right. The loss of labels that are present
# is plain binary cross-entropy by default.

asymmetric = {
    "label present": against_margin(AsymmetricBinaryCrossentropy(), label=1),
    "label absent": against_margin(AsymmetricBinaryCrossentropy(), label=0),
}
figure = draw("Asymmetric binary loss", asymmetric)
save_and_show(figure, "choose_a_loss_asymmetric.png")
