"""Which loss for what: every form of loss, and its pull, against how right the model is.

The margin is the logit of the true class less that of the other one, for two classes; of a binary
loss it is the logit towards the true outcome. The upper row is what a sample costs, the lower row
how hard it pulls: minus the derivative. Plain cross-entropy (grey) is drawn for comparison.
"""

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show

from xentlearn.losses import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    PolyCrossentropy,
    SymmetricCrossentropy,
)

MARGIN = np.linspace(-6, 6, 601)
# title: (when to use it, {label: loss, or (loss, y) for binary ones})
FAMILIES = {
    "Label smoothing": (
        "probabilities that should not be too sure",
        {
            "0.1": CategoricalCrossentropy(label_smoothing=0.1),
            "0.3": CategoricalCrossentropy(label_smoothing=0.3),
        },
    ),
    "Focal": (
        "many easy samples drown the hard ones",
        {
            "gamma = 2": CategoricalFocalCrossentropy(gamma=2.0),
            "gamma = 0.5": CategoricalFocalCrossentropy(gamma=0.5),
        },
    ),
    "Poly-1": (
        "one number tunes the start",
        {"epsilon = 1": PolyCrossentropy(1.0), "epsilon = -1": PolyCrossentropy(-1.0)},
    ),
    "Robust": (
        "some labels are wrong",
        {
            "generalised, q = 0.7": GeneralizedCrossentropy(0.7),
            "symmetric, alpha = 0.1": SymmetricCrossentropy(alpha=0.1),
        },
    ),
    "Asymmetric binary": (
        "many labels of which few are set",
        {
            "a 0 (gamma 4, clip 0.05)": (AsymmetricBinaryCrossentropy(), 0),
            "a 1 (gamma 0)": (AsymmetricBinaryCrossentropy(), 1),
        },
    ),
}


def against_margin(loss, y=None):
    """(loss, pull) at each margin: of two logits, or of one logit and the target y."""
    if y is None:
        logits = np.stack([MARGIN, np.zeros_like(MARGIN)], axis=1)
        value, gradient = loss.loss_gradient(np.zeros(len(MARGIN), dtype=int), logits)
        return value, -gradient[:, 0]
    sign = 1 if y == 1 else -1
    value, gradient = loss.loss_gradient(np.full(len(MARGIN), y), sign * MARGIN)
    return value, -sign * gradient


def draw(curves):
    """Two rows of pictures, a column per family."""
    figure = new_figure(15, 5.6)
    axes = figure.subplots(2, len(FAMILIES), sharex=True, sharey="row")
    for column, (title, (when, _)) in zip(axes.T, FAMILIES.items(), strict=True):
        for (label, both), color in zip(
            curves[title].items(), (NEUTRAL, OURS, THEIRS), strict=True
        ):
            for ax, values in zip(column, both, strict=True):
                ax.plot(MARGIN, values, color=color, label=label)
        column[0].set_title(f"{title}:\n{when}")
        column[0].set(ylim=(-0.2, 6))
        column[1].set(xlabel="margin of the true class")
        column[0].legend(loc="upper right")
        for ax in column:
            ax.axvline(0, color="black", linewidth=0.5)
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("pull: minus the derivative")
    return figure


def print_table(curves):
    """Costs and pulls of a sample that is far off, undecided, and right."""
    places = [int(np.argmin(np.abs(MARGIN - margin))) for margin in (-5, 0, 5)]
    print(f"{'loss (pull) at margin':>45}" + "".join(f"{MARGIN[i]:>16.0f}" for i in places))
    for title, family in curves.items():
        for label, (value, pull) in family.items():
            cells = "".join(f"{f'{value[i]:.3f} ({pull[i]:.3f})':>16}" for i in places)
            print(f"{title + ': ' + label:>45}{cells}")


def main(argv=None):
    arguments = parser_with_output(__doc__).parse_args(argv)
    curves = {}
    for title, (_, family) in FAMILIES.items():
        binary = isinstance(next(iter(family.values())), tuple)
        plain = (BinaryCrossentropy(), 1) if binary else CategoricalCrossentropy()
        curves[title] = {
            label: against_margin(*(loss if isinstance(loss, tuple) else (loss,)))
            for label, loss in {"cross-entropy": plain, **family}.items()
        }
    print_table(curves)
    save_and_show(draw(curves), arguments.output / "choose_a_loss.png")


if __name__ == "__main__":
    main()
