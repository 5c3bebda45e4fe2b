"""What the displays share: the axes that they draw on, and the styles of their artists."""

import numpy as np

# The colours of Okabe and Ito, which colour-blind people can tell apart, but for the yellow, which
# is too pale for a line on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def require_matplotlib(caller):
    """Raise an ImportError that says how to install matplotlib if it cannot be imported."""
    try:
        import matplotlib.pyplot  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which could not be imported ({error}). Install it with: "
            "pip install matplotlib"
        ) from error


def axes_for_curves(ax):
    """Return the axes to draw curves on: those given, or new ones if that is None.

    The first curve on axes starts the colours above, unless a style sheet or ``rcParams`` have
    chosen others.
    """
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    if ax is None:
        _, ax = plt.subplots(layout="constrained")
    cycle = "axes.prop_cycle"
    if not ax.has_data() and mpl.rcParams[cycle] == mpl.rcParamsDefault[cycle]:
        ax.set_prop_cycle(color=COLORS)
    return ax


def line_style(default, given):
    """Return the keywords of a line: those given, which may be short ("c"), go first."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return {**default, **normalize_kwargs(given or {}, Line2D)}


def label_axes(ax, x_label, y_label):
    """Label the axes for one more curve: "iteration or epoch" if another one is there already."""
    for axis, label in ((ax.xaxis, x_label), (ax.yaxis, y_label)):
        present = axis.get_label_text() if ax.has_data() else ""
        if not present:
            axis.set_label_text(label)
        elif label not in present.split(" or "):
            axis.set_label_text(f"{present} or {label}")


def add_legend(ax):
    """Add a legend of what has a name; if no place is free of lines, make one above them."""
    if not ax.get_legend_handles_labels()[1]:
        return
    box = _extent(ax.legend())
    paths = [line.get_transform().transform_path(line.get_path()) for line in ax.lines]
    if any(path.intersects_bbox(box, filled=False) for path in paths):
        share = min(1.1 * box.height / ax.bbox.height, 0.6)  # of the axes, for the legend
        _, top = ax.transData.inverted().transform(ax.transAxes.transform((0, 1 / (1 - share))))
        ax.set_ylim(top=top, auto=True)  # the next curve scales the axes anew
        ax.legend(loc="upper right")


def _extent(legend):
    """Return the place of a legend in a drawing, in pixels."""
    legend.figure.canvas.figure.draw_without_rendering()
    return legend.get_window_extent()


def axes_for_panels(ax, n_panels, size):
    """Return an array of ``n_panels`` axes: those given, or of a new figure if that is None.

    Parameters
    ----------
    ax : matplotlib.axes.Axes, array-like of them, or None
    n_panels : int
    size : tuple (width, height)
        Size of a panel of a new figure, in inches. Rows of panels are equally long, and no wider
        than 9 inches.

    Returns
    -------
    ndarray of shape (n_panels,) of matplotlib.axes.Axes
    """
    import matplotlib.pyplot as plt

    if ax is not None:
        axes = np.ravel(ax)
        if len(axes) != n_panels:
            raise ValueError(
                "'ax' must be None or as many axes as there are panels to draw, "
                f"{n_panels}, got {len(axes)}; make them with "
                f"matplotlib.pyplot.subplots(ncols={n_panels})[1]."
            )
        return axes
    n_rows = -(-n_panels // max(1, min(5, int(9 / size[0]))))
    n_columns = -(-n_panels // n_rows)
    width, height = max(size[0] * n_columns, 4.0), max(size[1] * n_rows, 2.0)  # room for labels
    figure = plt.figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for empty in axes.ravel()[n_panels:]:
        empty.remove()
    return axes.ravel()[:n_panels]
