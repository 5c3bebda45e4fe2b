"""LossCurveDisplay: what a fit has recorded, iteration by iteration."""

from itertools import cycle

import numpy as np

from .._plan.settings import STOCHASTIC
from .._utils.parameters import Rule
from .axes import add_legend, axes_for_curves, label_axes, line_style, require_matplotlib
from .estimators import fitted_classifier

AGAINST = Rule("'iterations' or 'seconds'", names=("iterations", "seconds"))
Y_LABELS = {
    "objective": "objective (mean loss + penalty)",
    "gap": "estimated gap: (objective - minimum) / minimum",
}  # others are their names in words
LINE_STYLES = ("-", "--", ":", "-.")  # of the quantities of a fit, which share a colour


class LossCurveDisplay:
    """What a fit has recorded in ``history_``: its objective, gap or validation loss.

    ``from_estimator`` is the usual way to make one. To compare fits, draw each of them on the
    ``ax_`` of the first.

    Parameters
    ----------
    history : dict of ndarray of shape (n_entries,)
        Arrays by name, such as ``history_`` of a ``SoftmaxClassifier``; "seconds" is needed only to
        draw against it.
    optimality_gap : float or None, default=None
        Certified bound of the gap where the fit ended, to be drawn with the estimated gap; None, or
        inf, if there is none.
    unit : str, default="iteration"
        What an entry is: "iteration", "epoch", or what the label of the axis shall say.
    first : int, default=0
        Number of the first entry.
    name : str or None, default=None
        Name of the fit for the legend; None means none.

    Attributes
    ----------
    lines_ : list of matplotlib.lines.Line2D
        The curves, in the order of the quantities.
    certificate_ : matplotlib.lines.Line2D or None
        The mark of the certified gap at the last entry, if it was drawn.
    ax_ : matplotlib.axes.Axes
        The axes with the curves.
    figure_ : matplotlib.figure.Figure
        The figure that contains the axes.

    See Also
    --------
    LossShapeDisplay : Losses as curves, without a fit.
    sklearn.model_selection.LearningCurveDisplay : Scores against the number of rows.

    Notes
    -----
    The gap is drawn on a logarithmic axis. Entries that are inf (no estimate) or nan are left out;
    a gap of 0 is below the axis.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.display import LossCurveDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> fit = SoftmaxClassifier(solver="lbfgs").fit(X, y)
    >>> adam = SoftmaxClassifier(solver="adam", tol=1e-2, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(fit)
    >>> LossCurveDisplay.from_estimator(adam, ax=display.ax_)
    <...>
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['lbfgs', 'adam']
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, history, *, optimality_gap=None, unit="iteration", first=0, name=None):
        self.history = history
        self.optimality_gap = optimality_gap
        self.unit = unit
        self.first = first
        self.name = name

    def plot(self, ax=None, *, quantity="objective", x="iterations", name=None, line_kw=None):
        """Draw a curve per quantity.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            The axes to draw on; new ones in a new figure if None. Axes that have curves already get
            these as well, in the next colour, and a legend of them all.
        quantity : str or list of str, default="objective"
            "objective", "gap" (the solver's estimate), "validation_loss" (if it was recorded), or
            another name in ``history``. Those of a list share a colour.
        x : {"iterations", "seconds"}, default="iterations"
            What to draw them against: the number of the entry, or the time since the fit began.
        name : str or None, default=None
            Name of the fit for the legend; that of the display if None.
        line_kw : dict or None, default=None
            Keyword arguments of ``Axes.plot``.

        Returns
        -------
        display : LossCurveDisplay
            This display, with the attributes ``lines_``, ``certificate_``, ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If a quantity was not recorded, or has no finite value.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        from matplotlib.ticker import MaxNLocator

        AGAINST.check("x", x)
        is_list = np.iterable(quantity) and not isinstance(quantity, str)
        quantities = list(quantity) if is_list else [quantity]
        if not quantities:
            raise ValueError(
                f"'quantity' must name at least one of {sorted(self.history)}, got {quantity!r}."
            )
        certified = self._certified() if "gap" in quantities else None
        curves = [self._curve(quantity, certified) for quantity in quantities]
        if x == "seconds":
            at, x_label = self._recorded("x", x), "seconds"
        else:
            at, x_label = self.first + np.arange(len(curves[0])), self.unit

        self.ax_ = ax = axes_for_curves(ax)
        self.figure_ = ax.figure
        self.lines_, self.certificate_ = [], None
        name, color = self.name if name is None else name, {}
        marker = "." if len(at) <= 100 else ""  # single iterations are seen while there is room
        for linestyle, quantity, curve in zip(cycle(LINE_STYLES), quantities, curves, strict=False):
            words = quantity.replace("_", " ")
            label = ", ".join(filter(None, [name, words])) if len(quantities) > 1 else name
            default = {"label": label, "linestyle": linestyle, "marker": marker, **color}
            label_axes(ax, x_label, Y_LABELS.get(quantity, words))
            (line,) = ax.plot(at, curve, **line_style(default, line_kw))
            color, marker = {"color": line.get_color()}, ""
            self.lines_.append(line)
            if quantity == "gap":
                if certified is not None:
                    self.certificate_ = _certificate(ax, line, certified)
                if certified is not None or (curve > 0).any():
                    ax.set_yscale("log")
        if x == "iterations" and isinstance(ax.xaxis.get_major_locator(), MaxNLocator):
            ax.locator_params(axis="x", integer=True)
        add_legend(ax)
        return self

    def _certified(self):
        """Return the certified gap, None if there is none that a logarithmic axis can show."""
        gap = self.optimality_gap
        return gap if gap is not None and 0 < gap < np.inf else None

    def _curve(self, quantity, certified):
        """Return what was recorded of a quantity, with nan for what cannot be drawn."""
        curve = self._recorded("quantity", quantity)
        curve = np.where(np.isfinite(curve), curve, np.nan)
        if np.isnan(curve).all() and not (quantity == "gap" and certified):
            if quantity == "gap":
                reason = "'adam', 'sgd' and partial_fit do not estimate it; pass 'objective'"
            else:
                reason = "the fit diverged in its first step"
            raise ValueError(
                "'quantity' must be one of which the fit has recorded a finite value, got "
                f"{quantity!r}: {reason}."
            )
        return curve

    def _recorded(self, parameter, name):
        """Return the array of that name, which came as ``parameter``."""
        if name not in self.history:
            advice = "; pass X_val and y_val to fit to record it" * (name == "validation_loss")
            raise ValueError(
                f"'{parameter}' must be among what the fit has recorded, {sorted(self.history)}, "
                f"got {name!r}{advice}."
            )
        return np.asarray(self.history[name], dtype=float)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        quantity="objective",
        x="iterations",
        name=None,
        ax=None,
        line_kw=None,
    ):
        """Draw what a fitted classifier has recorded in ``history_``.

        The end of a fit is marked with a star at ``optimality_gap_``, the certified gap, where the
        estimated gap is drawn; not with early stopping, which goes back to an earlier iteration. Of
        a fit by "adam" or "sgd", which estimate no gap, it is all that is drawn.

        Parameters
        ----------
        estimator : estimator
            A fitted ``SoftmaxClassifier`` (that of ``xentlearn.dask`` too), a pipeline that ends in
            one, or a search (``GridSearchCV``) whose best estimator is one.
        quantity : str or list of str, default="objective"
            What to draw, as in ``plot``.
        x : {"iterations", "seconds"}, default="iterations"
            What to draw it against, as in ``plot``. Iterations of "adam" and "sgd" are epochs.
        name : str or None, default=None
            Name of the fit for the legend; None means that of the solver.
        ax : matplotlib.axes.Axes or None, default=None
            The axes to draw on; new ones in a new figure if None.
        line_kw : dict or None, default=None
            Keyword arguments of ``Axes.plot``.

        Returns
        -------
        display : LossCurveDisplay
            A display with the history.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it records no history, or not that quantity.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        advice = "a SoftmaxClassifier records one"
        classifier, _ = fitted_classifier(estimator, "history_", advice)
        if not hasattr(classifier, "stop_reason_"):
            unit = "call of partial_fit"
        else:
            unit = "epoch" if classifier.solver_ in STOCHASTIC else "iteration"
        n_entries = len(classifier.history_["objective"])
        display = cls(
            classifier.history_,
            optimality_gap=None if classifier.early_stopping else classifier.optimality_gap_,
            unit=unit,
            first=max(0, int(classifier.n_iter_[0]) + 1 - n_entries),  # not all have a start
            name=classifier.solver_ if name is None else name,
        )
        return display.plot(ax, quantity=quantity, x=x, line_kw=line_kw)


def _certificate(ax, line, certified):
    """Mark the certified gap at the end of a curve, whose place in the legend the mark takes."""
    style = {"color": line.get_color(), "linestyle": line.get_linestyle()}
    (mark,) = ax.plot(line.get_xdata()[-1:], [certified], marker="*", markersize=11, **style)
    if line.get_label()[:1] != "_":  # it has a name
        mark.set_label(f"{line.get_label()} (certified gap = {certified:.2g})")
        line.set_label("_curve")
    return mark
