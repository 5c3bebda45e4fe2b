"""What the examples share: the --output option, a look, and how a figure reaches its reader."""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

OURS, THEIRS, NEUTRAL = "#1f5f99", "#d1662b", "#808080"

plt.rcParams.update(
    {
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": "medium",
        "font.size": 9,
        "legend.frameon": False,
        "savefig.dpi": 150,
    }
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
        default="output",
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


def new_figure(width, height):
    """An empty figure of so many inches, also where the backend asked for finds no display."""
    try:
        return plt.figure(figsize=(width, height), layout="constrained")
    except ImportError:
        plt.switch_backend("agg")
        return plt.figure(figsize=(width, height), layout="constrained")


def save_and_show(figure, path):
    """Write the figure as a PNG; show it too where there is a screen."""
    figure.savefig(path)
    print(f"\nPicture: {path}", flush=True)
    if figure.canvas.required_interactive_framework is not None:
        plt.show()
