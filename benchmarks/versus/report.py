"""Tables, in Markdown, of what was measured."""

import math
import statistics
from typing import NamedTuple

ALLOWED_COEFS, ALLOWED_BYTES = 20, 64e6  # of memory: coefficients of float32, and a fixed part


def print_report(results):
    """A table for every kind of task that was run."""
    by_kind = {
        "race": print_races,
        "labels": print_labels,
        "small": print_small,
        "gridsearch": print_searches,
        "memory": print_memory,
    }
    for kind, print_kind in by_kind.items():
        chosen = [result for result in results if result["kind"] == kind]
        if chosen:
            print_kind(chosen)


def print_table(title, header, rows):
    """A Markdown table, its columns aligned."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    print(f"\n### {title}\n")
    for line in lines:
        print(
            "| " + " | ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)) + " |"
        )


def number(value):
    """Three digits, without powers of ten where that is readable."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


# ---- Races ---------------------------------------------------------------------------------------


class Finish(NamedTuple):
    """How one solver did in a race to one gap."""

    solver: str
    seconds: float  # if not reached, of the longest run
    reached: bool
    gap: float
    how: str
    gave_up: bool = False  # it stopped by itself, in float64 too: more time would not help

    def time(self):
        return ("" if self.reached else "> ") + number(self.seconds)


def least_objective(race):
    """The lowest objective of any run: the minimum, as far as it is known."""
    runs = [run["objective"] for runs in race["runs"].values() for run in runs]
    return min(race["reference"]["objective"], *runs)


def own_finish(solver, runs, gap, minimum):
    """Of xentlearn: the median of the fits with this ``tol``, whatever gap they have reached."""
    runs = [run for run in runs if run["setting"] == gap]
    seconds = statistics.median(run["seconds"] for run in runs)
    reached = runs[0]["objective"] / minimum - 1
    warned = ", ".join(runs[0]["warnings"])
    how = f"tol={gap:g}, {runs[0]['n_iter']} iterations" + (f", {warned}" if warned else "")
    return Finish(solver, seconds, True, reached, how)


def peer_finish(solver, runs, gap, minimum):
    """Of a peer: the quickest run that has reached the gap, or the one that came closest."""
    gaps = [run["objective"] / minimum - 1 for run in runs]
    # the minimum is a little lower than it was known to be when the peer was stopped
    there = [i for i in range(len(runs)) if gaps[i] <= 1.01 * gap]
    if there:
        best = min(there, key=lambda i: runs[i]["seconds"])
        seconds = runs[best]["seconds"]
    else:
        best = min(range(len(runs)), key=gaps.__getitem__)
        seconds = max(run["seconds"] for run in runs)
    gave_up = not there and runs[-1]["n_iter"] < runs[-1]["setting"]
    how = runs[best].get("how") or f"{runs[best]['n_iter']} iterations"
    how += f", {runs[best]['dtype']}"
    if runs[best]["blas_threads"] is not None:
        how += f", BLAS with {runs[best]['blas_threads']} thread"
    how += ", stopped by itself" if gave_up else ""
    return Finish(solver, seconds, bool(there), gaps[best], how, gave_up)


def finishes(race, gap):
    """Everybody's, the quickest first."""
    minimum = least_objective(race)
    found = []
    for solver, runs in race["runs"].items():
        judge = own_finish if solver in race["own"] else peer_finish
        found.append(judge(solver, runs, gap, minimum))
    return sorted(found, key=lambda finish: (not finish.reached, finish.seconds))


def print_races(races):
    """Time to each gap, then the summary against the fastest peer."""
    print_finishes(races)
    summary = []
    for race in races:
        for gap in race["gaps"]:
            order = finishes(race, gap)
            summary.append(summary_row(race, gap, own_first(race, order), order))
    header = ["data, wanted distance", "xentlearn, s", "distance", "fastest peer", "its s", "ratio"]
    print_table("xentlearn and the fastest peer", header, summary)
    print_minima(races)


def own_first(race, order):
    """The finish of the first of our solvers."""
    return next(finish for finish in order if finish.solver == race["own"][0])


def print_finishes(races):
    """Time of every solver to each gap."""
    rows = []
    for race in races:
        for gap in race["gaps"]:
            order = finishes(race, gap)
            ours = own_first(race, order) if race["own"] else order[0]
            for finish in order:
                missed = " **too high**" if finish.reached and finish.gap > 1.01 * gap else ""
                rows.append(
                    [
                        f"{race['task']}, {gap:g}",
                        finish.solver,
                        finish.time(),
                        ("" if finish.reached else "> ") + number(finish.seconds / ours.seconds),
                        f"{finish.gap:.1e}{missed}",
                        finish.how,
                    ]
                )
    header = ["data, wanted distance", "solver", "seconds", "times xentlearn's", "distance", "with"]
    print_table("Time to a distance from the minimum", header, rows)


def print_minima(races):
    """What the distances are measured from."""
    rows = [
        [
            race["task"],
            race["shape"],
            f"{least_objective(race):.9g}",
            f"tol={race['reference']['tol']:g}, {race['reference']['dtype']}",
            f"{race['reference']['objective'] / least_objective(race) - 1:.1e}",
            f"{race['reference']['certified']:.1e}",
        ]
        for race in races
    ]
    header = ["task", "data", "minimum", "reference run", "above the minimum", "certified distance"]
    print_table("The minimum: the lowest objective of any run", header, rows)


def summary_row(race, gap, ours, order):
    """Against the fastest peer; where none arrived, against the least time that none needs less."""
    peers = [finish for finish in order if finish.solver not in race["own"]]
    rivals = [f for f in peers if f.reached] or [f for f in peers if not f.gave_up]
    row = [f"{race['task']}, {gap:g}", number(ours.seconds), f"{ours.gap:.1e}"]
    if not rivals:
        return [*row, "none gets there", "", ""]
    best = min(rivals, key=lambda finish: finish.seconds)
    ratio = ("" if best.reached else "> ") + number(best.seconds / ours.seconds)
    return [*row, best.solver if best.reached else "none within the limit", best.time(), ratio]


# ---- The other tasks -----------------------------------------------------------------------------


def print_labels(results):
    """One fit of all labels beside one per label, extrapolated from those that were fitted."""
    rows = []
    for result in results:
        own, sampled, n_labels = result["own"], result["sampled"], result["n_labels"]
        seconds = [run["seconds"] for run in sampled]
        per_label = statistics.mean(seconds)
        error = statistics.stdev(seconds) / math.sqrt(len(seconds)) / per_label
        iterations = [run["n_iter"] for run in sampled]
        more = "" if all(run["reached"] for run in sampled) else "> "
        rows.append(
            [
                result["task"],
                number(own["seconds"]),
                f"{own['certified']:.1e}",
                f"{result['peer']}: {number(per_label)} +- {error:.0%}, {len(sampled)} labels",
                f"{min(iterations)} to {max(iterations)}",
                more + number(per_label * n_labels),
                more + number(per_label * n_labels / own["seconds"]),
            ]
        )
    header = ["data", "xentlearn, s", "certified distance", "a fit per label, s", "iterations"]
    header += ["all labels, extrapolated, s", "ratio"]
    print_table("Many labels, to a distance of 1e-4", header, rows)


def print_small(results):
    """Whole fits with default settings."""
    rows = []
    for result in results:
        ours, theirs = result["fits"]["xentlearn"], result["fits"]["scikit-learn"]
        least = min(ours["objective"], theirs["objective"])
        rows.append(
            [
                result["task"],
                number(1e3 * ours["seconds"]),
                number(1e3 * theirs["seconds"]),
                number(theirs["seconds"] / ours["seconds"]),
                f"{ours['objective'] / least - 1:.1e}",
                f"{theirs['objective'] / least - 1:.1e}",
                "yes" if ours["warned"] else "no",
                "yes" if theirs["warned"] else "no",
            ]
        )
    header = [
        "data",
        "xentlearn, ms",
        "LogisticRegression, ms",
        "ratio",
        "distance",
        "its distance",
    ]
    print_table("Small data, default settings", [*header, "warning", "its warning"], rows)
    ratios = [
        r["fits"]["scikit-learn"]["seconds"] / r["fits"]["xentlearn"]["seconds"] for r in results
    ]
    print(f"\nRatio, geometric mean: {math.exp(statistics.fmean(map(math.log, ratios))):.2f}")


def print_searches(results):
    """Whole grid searches."""
    rows = [
        [
            result["task"],
            name,
            number(found["seconds"]),
            number(found["seconds"] / result["searches"]["xentlearn"]["seconds"]),
            f"{found['score']:.4f}",
            f"{found['C']:.3g}",
            str(found["warnings"]),
        ]
        for result in results
        for name, found in result["searches"].items()
    ]
    header = [
        "data",
        "estimator",
        "seconds",
        "times xentlearn's",
        "best accuracy",
        "best C",
        "warnings",
    ]
    print_table("GridSearchCV, 12 values of C, five folds", header, rows)


def print_memory(results):
    """Peak of resident memory during a fit."""
    rows = []
    for result in results:
        allowed = ALLOWED_COEFS * result["coef_bytes"] + ALLOWED_BYTES
        for name, extra in result["extra"].items():
            row = [result["task"], name, number(extra / 1e6), number(allowed / 1e6)]
            rows.append([*row, "yes" if extra <= allowed else "no"])
    header = ["data", "solver", "extra MB", f"{ALLOWED_COEFS} x coefficients + 64 MB", "within"]
    print_table("Peak memory of a fit beside X", header, rows)
