"""What the examples share: colours, direct labels, and where their pictures go.

Readers who confuse red and green can tell the colours apart. Figures are at most eight inches wide,
so that their text can be read on a page 800 pixels wide.
"""

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.isotonic import isotonic_regression

# of Okabe and Ito, as in xentlearn.display
OURS, THEIRS, THIRD, FOURTH = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
NEUTRAL = "#6b6b6b"
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "legend.frameon": False,
    "savefig.dpi": 150,
}


def new_figure(width=8, height=3.6):
    """An empty figure of so many inches, also where the backend asked for finds no display."""
    # not once at import: sphinx-gallery resets the style before each example
    plt.rcParams.update(STYLE)
    try:
        return plt.figure(figsize=(width, height))
    except ImportError:
        plt.switch_backend("agg")
        return plt.figure(figsize=(width, height))


def label_lines(ax, spacing=0.07):
    """Write each line's label at its right end, which is easier to read than a legend.

    Labels lie at least ``spacing`` apart, as a share of the height of the axes.
    """
    ax.autoscale_view()
    to_axes = ax.transScale + ax.transLimits
    lines = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
    ends = []
    for line in lines:
        x, y = np.asarray(line.get_xydata()).T
        last = np.flatnonzero(np.isfinite(y))[-1]
        ends.append(to_axes.transform((x[last], y[last])))
    ends = np.array(ends)
    order = np.argsort(ends[:, 1])
    # the heights closest to the ends of the lines that keep their distance
    steps = spacing * np.arange(len(lines))
    heights = isotonic_regression(ends[order, 1] - steps) + steps
    for i, height in zip(order, heights, strict=True):
        ax.annotate(
            lines[i].get_label(),
            (ends[i, 0], height),
            xytext=(6, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=lines[i].get_color(),
            va="center",
        )


def parser_with_output(description):
    """Argument parser of an example; the option --output is there already."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        type=_folder,
        default=Path("output"),
        help="where to write the picture (default: %(default)s)",
    )
    return parser


def _folder(text):
    """The folder, made now: better to fail before the work than after it."""
    try:
        Path(text).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be made ({error.strerror})") from error
    return Path(text)


def save_and_show(figure, name, folder=Path("output")):
    """Write the figure as a PNG into the folder; show it too where there is a screen."""
    if "sphinx_gallery" in sys.modules:
        return  # it takes the figures that are open at the end
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name)
    print(f"\nPicture: {folder / name}", flush=True)
    if figure.canvas.required_interactive_framework is not None:
        plt.show()
