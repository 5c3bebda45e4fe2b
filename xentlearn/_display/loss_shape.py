"""LossShapeDisplay: what a row costs, against how right its prediction is."""

import numbers

import numpy as np
from scipy.special import expit

from .._losses.base import LossSetting
from .._losses.registry import known_names
from .._utils.parameters import Rule
from .axes import add_legend, axes_for_curves, line_style, require_matplotlib

X_LABELS = {
    "margin": "margin of the true class",
    "proba": "probability of the true class",
}
Y_LABELS = {"loss": "loss", "gradient": "derivative of the loss"}
QUANTITY = Rule("'loss' or 'gradient'", names=tuple(Y_LABELS))
AGAINST = Rule("'margin' or 'proba'", names=tuple(X_LABELS))
OUTCOME = Rule("0 or 1, one of two classes", numbers.Integral, ends=(0, 1), above=0, below=1)


class LossShapeDisplay:
    """Losses as curves: what a row costs, against how right its prediction is.

    ``from_losses`` is the usual way to make one. The row has one of two classes. Its margin is the
    logit of the true class minus that of the other one; for a binary loss, which has a single
    logit z, it is z if the target is 1 and -z if it is 0. The prediction is wrong where the margin
    is negative, or where the probability of the true class, sigmoid(margin), is below 1/2.

    Parameters
    ----------
    margin : ndarray of shape (n_points,)
        Margins, in ascending order.
    loss : ndarray of shape (n_losses, n_points)
        Each loss at each margin.
    gradient : ndarray of shape (n_losses, n_points) or None, default=None
        Derivatives of the losses with respect to the margin.
    names : list of n_losses str or None, default=None
        Names for the legend; None means that there is no legend.

    Attributes
    ----------
    lines_ : list of matplotlib.lines.Line2D
        The curves, in the order of the losses.
    ax_ : matplotlib.axes.Axes
        The axes with the curves.
    figure_ : matplotlib.figure.Figure
        The figure that contains the axes.

    See Also
    --------
    LossCurveDisplay : The objective of a fit, iteration by iteration.

    Notes
    -----
    A ``logit_adjustment`` shifts logits by class shares, which a single row does not have; it is
    left out, as in predictions.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from xentlearn.display import LossShapeDisplay
    >>> from xentlearn.losses import BinaryFocalCrossentropy
    >>> losses = ["binary_crossentropy", ("focal, gamma = 2", BinaryFocalCrossentropy(gamma=2.0))]
    >>> display = LossShapeDisplay.from_losses(losses)
    >>> display.names
    ['binary_crossentropy', 'focal, gamma = 2']
    >>> _, (upper, lower) = plt.subplots(2)  # losses above their derivatives
    >>> display.plot(ax=upper)
    <...>
    >>> display.plot(ax=lower, quantity="gradient")
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, margin, loss, *, gradient=None, names=None):
        self.margin = margin
        self.loss = loss
        self.gradient = gradient
        self.names = names

    def plot(self, ax=None, *, quantity="loss", x="margin", line_kw=None):
        """Draw a curve per loss.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            The axes to draw on; new ones in a new figure if None.
        quantity : {"loss", "gradient"}, default="loss"
            What to draw. The gradient is the derivative with respect to the margin, whatever ``x``
            is; its absolute value is how hard the row pulls at the logit.
        x : {"margin", "proba"}, default="margin"
            What to draw it against: the margin, or the probability of the true class.
        line_kw : dict, list of n_losses dicts or None, default=None
            Keyword arguments of ``Axes.plot``, for all curves or for each of them.

        Returns
        -------
        display : LossShapeDisplay
            This display, with the attributes ``lines_``, ``ax_`` and ``figure_``.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        QUANTITY.check("quantity", quantity)
        AGAINST.check("x", x)
        values = getattr(self, quantity)
        if values is None:
            raise ValueError(
                "'quantity' must be 'loss' for a display without gradients, got 'gradient'; make "
                "it by LossShapeDisplay.from_losses, or pass 'gradient' to LossShapeDisplay."
            )
        styles = line_kw if isinstance(line_kw, list) else [line_kw] * len(values)
        if len(styles) != len(values):
            raise ValueError(
                f"'line_kw' must be a dict or a list of one dict per loss, {len(values)}, got a "
                f"list of {len(styles)}."
            )
        names = [None] * len(values) if self.names is None else self.names
        at = self.margin if x == "margin" else expit(self.margin)
        self.ax_ = axes_for_curves(ax)
        self.figure_ = self.ax_.figure
        self.lines_ = []
        for name, curve, style in zip(names, values, styles, strict=True):
            self.lines_ += self.ax_.plot(at, curve, **line_style({"label": name}, style))
        self.ax_.set(xlabel=X_LABELS[x], ylabel=Y_LABELS[quantity])
        add_legend(self.ax_)
        return self

    @classmethod
    def from_losses(
        cls,
        losses,
        *,
        y_true=1,
        margin=None,
        ax=None,
        quantity="loss",
        x="margin",
        line_kw=None,
    ):
        """Evaluate losses at margins and draw them.

        Parameters
        ----------
        losses : list of str, loss settings and (str, loss) pairs
            Keras names ("binary_crossentropy") and settings from ``xentlearn.losses``; in a pair
            the string is the name for the legend. One loss alone needs no list.
        y_true : {0, 1}, default=1
            The true class: it makes a difference to losses that have other parameters for 0 than
            for 1, such as ``AsymmetricBinaryCrossentropy``. A second call with the ``ax_`` of the
            first adds the curves of the other class.
        margin : array-like of shape (n_points,) or None, default=None
            Margins at which the losses are evaluated; None means 601 from -6 to 6.
        ax : matplotlib.axes.Axes or None, default=None
            The axes to draw on; new ones in a new figure if None.
        quantity : {"loss", "gradient"}, default="loss"
            What to draw, as in ``plot``.
        x : {"margin", "proba"}, default="margin"
            What to draw it against, as in ``plot``.
        line_kw : dict, list of n_losses dicts or None, default=None
            Keyword arguments of ``Axes.plot``, for all curves or for each of them.

        Returns
        -------
        display : LossShapeDisplay
            A display with the losses and their gradients.
        """
        require_matplotlib(f"{cls.__name__}.from_losses")
        OUTCOME.check("y_true", y_true)
        margin = np.linspace(-6, 6, 601) if margin is None else np.asarray(margin, dtype=float)
        if margin.ndim != 1:
            raise ValueError(
                f"'margin' must have shape (n_points,), got {margin.shape}; the default is "
                "np.linspace(-6, 6, 601)."
            )
        named = [_named(item) for item in (losses if isinstance(losses, list) else [losses])]
        evaluated = [_loss_gradient(setting, y_true, margin) for _, setting in named]
        display = cls(
            margin,
            np.array([loss for loss, _ in evaluated]),
            gradient=np.array([gradient for _, gradient in evaluated]),
            names=[name for name, _ in named],
        )
        return display.plot(ax, quantity=quantity, x=x, line_kw=line_kw)


def _named(item):
    """Return (name, setting) of an item of ``losses``."""
    name, loss = None, item
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
        name, loss = item
    if isinstance(loss, str) and loss in known_names():
        return name or loss, known_names()[loss]()
    if isinstance(loss, LossSetting):
        return name or repr(loss), loss
    raise ValueError(
        f"'losses' must be a list of names from {list(known_names())}, settings from "
        "xentlearn.losses, such as BinaryCrossentropy(label_smoothing=0.1), and pairs of a name "
        f"for the legend and one of these; got {item!r}."
    )


def _loss_gradient(setting, y_true, margin):
    """Return a loss and its derivative with respect to the margin, at each margin."""
    setting = setting._for_evaluation()  # its rows have no class shares, and none is ignored
    sign = 1.0 if y_true == 1 else -1.0  # of the derivative of logit 1 in the margin
    if setting._proba_kind == "sigmoid":
        logits, slope = sign * margin[:, np.newaxis], np.array([sign])
        targets = np.full(logits.shape, y_true)
    else:  # the mean of the logits matters only to losses that are no pure softmax
        slope = sign * np.array([-0.5, 0.5])
        logits, targets = margin[:, np.newaxis] * slope, np.full(len(margin), y_true)
    loss, gradient = setting.loss_gradient(targets, logits)
    return loss, gradient @ slope
