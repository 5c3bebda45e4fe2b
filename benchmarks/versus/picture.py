"""The relative gap of the objective against the time of a whole fit, one panel per race."""

import statistics

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter
from report import least_objective, own_finish

# one hue and one marker per package; xentlearn's line is darker and thicker
COLORS = {
    "xentlearn": "#123f6d",
    "scikit-learn lbfgs": "#e6701e",
    "scikit-learn newton-cg": "#f2a93b",
    "scikit-learn newton-cholesky": "#b5462a",
    "scikit-learn saga": "#8a6d5b",
    "scikit-learn liblinear": "#c9b458",
    "scikit-learn SGD": "#d98ca8",
    "scikit-learn-intelex lbfgs": "#2e9e6b",
    "scikit-learn-intelex newton-cg": "#8cc7a1",
    "torch LBFGS": "#8a4fbf",
}
MARKERS = {"scikit-learn": "o", "scikit-learn-intelex": "s", "torch": "^"}
TITLES = {
    "mnist": "MNIST, pixels from 0 to 1",
    "mnist-raw": "MNIST, pixels from 0 to 255",
    "mnist-uint8": "MNIST, pixels as bytes",
    "mnist-even": "MNIST, even or odd",
    "embeddings": "Embeddings",
    "embeddings16": "Embeddings in half precision",
    "embedded-glosses": "WordNet: embeddings of glosses",
    **dict.fromkeys(("glosses", "glosses-c10", "glosses-c100"), "WordNet: glosses"),
    **dict.fromkeys(("lemmas", "lemmas-c10", "lemmas-c100"), "WordNet: words by their letters"),
    "text": "Short texts",
    "wide": "More features than rows",
    "breast-cancer": "Breast cancer, unscaled",
    "digits-products": "Digits, products of pixels",
}
NEUTRAL = "#6b6b6b"
LEAST = 1e-7  # gaps below are of no interest, and the minimum is hardly known better
WIDTH = 8  # inches, so that the text can be read where the picture is 800 pixels wide
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    "font.size": 9,
    "legend.frameon": False,
}


def save_picture(races, path):
    """Draw all races and write them to a file."""
    with plt.rc_context(STYLE):
        # three columns, or two where that leaves fewer panels blank
        n_columns = min(len(races), min((3, 2), key=lambda n: -len(races) % n))
        n_rows = -(-len(races) // n_columns)
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(WIDTH, 2.9 * n_rows + 0.9),
            layout="constrained",
            squeeze=False,
            sharey=True,
        )
        for ax, race in zip(axes.flat, races, strict=False):
            draw_race(ax, race)
        for ax in axes.flat[len(races) :]:
            ax.set_axis_off()
        for ax in axes[-1]:
            ax.set_xlabel("seconds of a whole fit")
        figure.supylabel("(objective - minimum) / minimum", fontsize="medium")
        add_legend(figure, axes)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def draw_race(ax, race):
    """Whole fits of each peer as points; of xentlearn a line, and its default fit as a star."""
    minimum = least_objective(race)
    for gap in race["gaps"]:
        ax.axhline(gap, color=NEUTRAL, linestyle=":", linewidth=1)
    for solver, runs in race["runs"].items():
        if solver not in race["own"]:
            draw_runs(ax, solver, runs, minimum)
    finishes = [
        own_finish(race["own"][0], race["runs"][race["own"][0]], gap, minimum)
        for gap in race["gaps"]
    ]
    ax.plot(
        *own_curve(race["trace"], finishes, minimum),
        color=COLORS["xentlearn"],
        linewidth=2.2,
        label="xentlearn",
    )
    ax.plot(
        [finish.seconds for finish in finishes],
        [max(finish.gap, LEAST) for finish in finishes],
        "*",
        color=COLORS["xentlearn"],
        markeredgecolor="white",
        markersize=14,
        label="xentlearn, tol = dotted line",
    )
    ax.set(xscale="log", yscale="log", ylim=(LEAST / 2, 20))
    left, right = ax.get_xlim()
    if right < 30 * left:  # too short for powers of ten alone
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    size, kind = race["shape"].split(" classes, ")
    ax.set_title(f"{TITLES[race['task']]}\n{size} classes\n{kind}")


def own_curve(trace, finishes, minimum):
    """(seconds, gaps) of xentlearn, where the seconds are those of whole fits that end there.

    The trace counts from the first evaluation of one long fit. What the whole fits that were
    measured took longer than the trace at their gap, for the preparation before and the certificate
    after it, is added to all of its points.
    """
    seconds, gaps = np.array(trace["seconds"]), relative(trace["objective"], minimum)
    extra = statistics.median(
        finish.seconds - np.interp(-np.log(max(finish.gap, LEAST)), -np.log(gaps), seconds)
        for finish in finishes
    )
    return seconds + max(extra, 0.0), gaps


def draw_runs(ax, solver, runs, minimum):
    """A line through the runs of each dtype, in the order of their iterations."""
    for dtype in dict.fromkeys(run["dtype"] for run in runs):
        chosen = sorted((r for r in runs if r["dtype"] == dtype), key=lambda r: r["setting"])
        ax.plot(
            [run["seconds"] for run in chosen],
            relative([run["objective"] for run in chosen], minimum),
            MARKERS[solver.split()[0]] + "-",
            color=COLORS[solver],
            markersize=3.5,
            linewidth=1.2,
            label=solver,
        )


def relative(objectives, minimum):
    """Gaps, kept above what can be shown."""
    return np.maximum(np.array(objectives) / minimum - 1, LEAST)


def add_legend(figure, axes):
    """One legend for all panels."""
    handles = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    names = sorted(handles, key=lambda name: not name.startswith("xentlearn"))
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=3)
