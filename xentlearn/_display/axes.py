"""What the displays share: the axes that they draw on, and the styles of their artists."""

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
