"""The relative gap of the objective against time, one panel per race."""

import matplotlib.pyplot as plt
import numpy as np
from report import least_objective, own_finish

# one hue per package, xentlearn's darker and thicker
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
NEUTRAL = "#808080"
LEAST = 1e-7  # gaps below are of no interest, and the minimum is hardly known better
COLUMNS = 3
STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "font.size": 9,
    "legend.frameon": False,
}


def save_picture(races, path):
    """Draw all races and write them to a file."""
    with plt.rc_context(STYLE):
        n_columns = min(COLUMNS, len(races))
        n_rows = -(-len(races) // n_columns)
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(max(4.2 * n_columns, 7), 3.2 * n_rows + 1),
            layout="constrained",
            squeeze=False,
        )
        for ax in axes.flat[len(races) :]:
            ax.set_axis_off()
        for ax, race in zip(axes.flat, races, strict=False):
            draw_race(ax, race)
        for row in axes:
            row[0].set_ylabel("(objective - minimum) / minimum")
        add_legend(figure, axes)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def draw_race(ax, race):
    """Runs of each peer as points; xentlearn's iterations as a line, its default fit as a star."""
    minimum = least_objective(race)
    for gap in race["gaps"]:
        ax.axhline(gap, color=NEUTRAL, linestyle=":", linewidth=1)
    for solver, runs in race["runs"].items():
        if solver not in race["own"]:
            draw_runs(ax, solver, runs, minimum)
    ours = race["own"][0]
    seconds, gaps = (
        np.array(race["trace"]["seconds"]),
        relative(race["trace"]["objective"], minimum),
    )
    ax.plot(seconds[1:], gaps[1:], color=COLORS["xentlearn"], linewidth=2.2, label="xentlearn")
    for gap in race["gaps"]:
        finish = own_finish(ours, race["runs"][ours], gap, minimum)
        ax.plot(
            finish.seconds,
            max(finish.gap, LEAST),
            "*",
            color=COLORS["xentlearn"],
            markeredgecolor="white",
            markersize=14,
            label="xentlearn, whole fit with tol = the dotted line",
            linestyle="none",
        )
    ax.set(xscale="log", yscale="log", ylim=(LEAST / 2, 20))
    ax.set_title(f"{race['task']}\n{race['shape']}")
    ax.set_xlabel("seconds")


def draw_runs(ax, solver, runs, minimum):
    """A line through the runs of each dtype, in the order of their iterations."""
    for dtype in dict.fromkeys(run["dtype"] for run in runs):
        chosen = sorted((r for r in runs if r["dtype"] == dtype), key=lambda r: r["setting"])
        ax.plot(
            [run["seconds"] for run in chosen],
            relative([run["objective"] for run in chosen], minimum),
            "o-",
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
    figure.legend([handles[name] for name in names], names, loc="outside lower center", ncols=4)
