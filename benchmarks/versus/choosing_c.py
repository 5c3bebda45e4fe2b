"""How long does it take to choose C? xentlearn beside LogisticRegressionCV, saga and cv.glmnet.

Each candidate gets the same folds and the same values of C, and two threads, in a fresh process
each time; quick ones take turns in several rounds. Printed are the seconds of the whole choice, the
last fit of all rows included, the best of a candidate's variants (``choosing_c_peers.py`` says how
they are called), its warnings, and what it has chosen beside what exact fits choose: those of
GridSearchCV(SoftmaxClassifier(tol=1e-7)). For a few values of C in the first fold, the objective is
computed outside of all of them, and its largest relative distance from the lowest is printed. A
candidate that needs more than --limit seconds is stopped.

Besides, xentlearn alone: seven values of C of a large made probe on disk, by
``regularization_path``, beside one fit with the one in the middle.

    PATH=/usr/bin:$PATH python benchmarks/versus/choosing_c.py --data DIR    # needs Rscript
    python benchmarks/versus/choosing_c.py --tasks digits --candidates xentlearn,sklearn

With --json and --from tasks can be run one by one.
"""

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import wordnet
from choosing_c_peers import AS_IT_IS, CANDIDATES, LOG, ONE, RESULT, Search
from problems import SMALL, Problem, embeddings, five_thousand, pixels, small
from report import number, print_table
from run import load, names_of
from sklearn.model_selection import StratifiedKFold
from sparse_peers import RSCRIPT, largest_lambda
from tasks import progress

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import about

QUICK = 20.0  # seconds: what takes fewer is measured in several rounds
SLACK, MORE_SLACK = 1.1, 2.0  # a variant may take so many times, and seconds, more than the best
CLOSE = 1e-4  # relative distance from the minimum that xentlearn's default ``tol`` promises
ASKED_OF_PATH = 3.0  # times the seconds of one fit, at most
MOST_MEMORY = 1.3  # times what one fit takes, at most
LEAST_MEMORY = 1e6  # bytes that one fit takes, below which memory is not reported
FEW = 1_000  # coefficients
# times what single fits of the same values of C take, at most: up to FEW coefficients, and beyond
ASKED_OF_LEAVE_ONE_OUT = 5.0, 1.0
ALONE = "one fit", "single fits"  # candidates that choose nothing
OURS = "xentlearn", "xentlearn n_jobs=2"
OF_SKLEARN = "sklearn", "sklearn converging", "sklearn exact"
N_IMAGENET = 1_281_167
DISK_SHAPE, DISK_CLASSES, DISK_CS = (200_000, 512), 1_000, np.logspace(-3, 3, 7)


# ---- Tasks ---------------------------------------------------------------------------------------


class Task(NamedTuple):
    """Data, folds, values of C, and how many times as long peers should take."""

    make: Callable  # folder of MNIST -> (X, y)
    asked: dict
    n_Cs: int = 12
    n_folds: int = 5
    exponents: tuple = (-4, 4)  # of the least and the largest C
    candidates: tuple = ("exact", *OURS, "grid", *OF_SKLEARN, *ALONE, "leave-one-out")
    lambda_ratio: float | None = None  # of an L1 path: of its least penalty to its largest

    def search(self, folder, n_rows):
        """The task with its folds."""
        X, y = self.make(folder)
        if n_rows:
            X, y = X[:n_rows], np.unique(y[:n_rows], return_inverse=True)[1]
        fold_of = np.empty(len(y), int)
        folds = StratifiedKFold(self.n_folds, shuffle=True, random_state=0)
        for fold, (_, test) in enumerate(folds.split(np.zeros(len(y)), y)):
            fold_of[test] = fold
        if self.lambda_ratio is None:
            return Search(X, y, np.logspace(*self.exponents, self.n_Cs), fold_of)
        largest = largest_lambda(X, Problem("path", X, y, l1_ratio=1.0))
        n_train = len(y) * (1 - 1 / self.n_folds)
        lambdas = np.geomspace(largest, self.lambda_ratio * largest, self.n_Cs)
        return Search(X, y, 1 / (lambdas * n_train), fold_of, l1_ratio=1.0)


def small_table(name):
    """X and y of one of scikit-learn's tables, raw or scaled."""
    problem = next(problem for problem in small() if problem.name == name)
    return problem.X, problem.y


def twenty_thousand(folder):
    """Every third digit."""
    X, y = pixels(folder)
    return X[::3], y[::3]


EXPORT = """
data(MultinomialExample, package = "glmnet")
labels <- as.integer(factor(MultinomialExample$y)) - 1L
cat(dim(MultinomialExample$x), labels, MultinomialExample$x)
"""


def multinomial_example():
    """The example of glmnet's vignette, from R: 500 x 30, three classes."""
    command = [RSCRIPT, "-e", f"options(digits = 17); {EXPORT}"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    n, d, *values = ran.stdout.split()
    n, d = int(n), int(d)
    X = np.array(values[n:], float).reshape(d, n).T
    return np.ascontiguousarray(X), np.array(values[:n], int)


def sparse_truth():
    """500 x 20,000, five classes, which a softmax model of 25 of the features has drawn."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 20_000))
    logits = X[:, :25] @ rng.standard_normal((25, 5))
    return X, np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)


L1 = {
    "asked": {"cv.glmnet": 1},
    "n_Cs": 50,
    "candidates": ("exact", *OURS, "grid", "cv.glmnet"),
}
TASKS = {
    "digits": Task(lambda _: small_table("digits, raw"), {"sklearn": 6, "sklearn converging": 10}),
    "mnist-5000": Task(five_thousand, {"sklearn converging": 10}),
    "mnist-20000": Task(twenty_thousand, {"sklearn": 20}, 5, 3),
    "mnist": Task(pixels, {"sklearn": 20}, 10),
    "probe": Task(
        lambda _: embeddings(np.float16, n_classes=100), {"sklearn": 20}, 10, exponents=(-3, 3)
    ),
    "glosses": Task(
        lambda _: wordnet.glosses(),
        {"saga": 5},
        5,
        3,
        exponents=(-2, 2),  # at 1,000 dual ascent takes minutes for each fold
        candidates=("exact", *OURS, "grid", "sklearn", "saga"),
    ),
    "multinomial": Task(lambda _: multinomial_example(), lambda_ratio=1e-4, **L1),
    "sparse-truth": Task(lambda _: sparse_truth(), lambda_ratio=1e-2, **L1),
}
for _name in (f"{name}, {form}" for name in SMALL for form in ("raw", "scaled")):
    if not _name.startswith("digits"):
        TASKS[_name.replace(", ", "-").replace(" ", "-")] = Task(
            lambda _, name=_name: small_table(name), {"sklearn": 5 if "raw" in _name else 1}
        )


# ---- Measuring -----------------------------------------------------------------------------------


def in_fresh_process(script, folder, *arguments, limit=math.inf):
    """What a script of this folder wrote to ``folder``; {"stopped": limit} or {"failed": why}.

    Whatever it has started ends with it: workers of joblib would go on for minutes.
    """
    command = [sys.executable, Path(__file__).with_name(script), folder, *map(str, arguments)]
    log, result = folder / LOG, folder / RESULT
    with log.open("wb") as errors:
        child = subprocess.Popen(command, stderr=errors, start_new_session=True)
        try:
            child.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    if child.returncode == -signal.SIGALRM:
        return {"stopped": limit}
    if child.returncode:
        lines = log.read_text().splitlines() or [f"exit status {child.returncode}"]
        return {"failed": lines[-1]}
    return json.loads(result.read_text())


def measure(name, args):
    """Every candidate's best variant, in turns."""
    task = TASKS[name]
    search = task.search(args.data, args.rows)
    n, d = search.X.shape
    shape = f"{n:,} x {d:,}, {search.y.max() + 1} classes, {search.X.dtype}"
    progress(f"{name}: {shape}, {len(search.Cs)} Cs x {task.n_folds} folds")
    chosen = [each for each in task.candidates if each in args.candidates]
    runs = {candidate: [] for candidate in chosen}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        search.save(folder)
        for turn in range(args.rounds):
            for candidate in chosen:
                if turn == 0:
                    runs[candidate].append(best_variant(folder, candidate, args.limit))
                elif candidate != "exact" and runs[candidate][0].get("seconds", QUICK) < QUICK:
                    variant = runs[candidate][0]["variant"]
                    runs[candidate].append(run_once(folder, candidate, variant, args.limit))
    n_classes = int(search.y.max()) + 1
    return {
        "kind": "choice",
        "task": name,
        "n_coefficients": (d + 1) * (1 if n_classes == 2 else n_classes),
        "shape": f"{shape}, {len(search.Cs)} Cs x {task.n_folds} folds",
        "Cs": search.Cs.tolist(),
        "candidates": {
            candidate: found[0] | median_seconds(found) for candidate, found in runs.items()
        },
    }


def best_variant(folder, candidate, limit):
    """The quickest; a variant is stopped when it is slower than one before it.

    With one thread BLAS is tried only for those that OpenBLAS's threads have slowed down, which are
    short: elsewhere two processes, which have one each, have shown as much.
    """
    best = {"stopped": limit}
    for variant in CANDIDATES[candidate][1]:
        if variant == ONE and best.get("seconds", QUICK) >= QUICK:
            continue
        allowed = min(limit, SLACK * best.get("seconds", limit) + MORE_SLACK)
        found = run_once(folder, candidate, variant, allowed)
        if found.get("seconds", math.inf) < best.get("seconds", math.inf):
            best = found
        elif "failed" in found and "seconds" not in best:
            best = found
    return best


def run_once(folder, candidate, variant, limit):
    """One measurement, and a line of progress."""
    found = in_fresh_process("choosing_c_peers.py", folder, candidate, variant, limit, limit=limit)
    told = {key: found[key] for key in ("seconds", "warnings", "C") if key in found} or found
    progress(f"  {candidate}{', ' if variant else ''}{variant}: {told}")
    return found


def median_seconds(runs):
    """{"seconds": of all rounds}, if there are any."""
    seconds = [run["seconds"] for run in runs if "seconds" in run]
    return {"seconds": statistics.median(seconds), "rounds": seconds} if seconds else {}


def measure_disk(args):
    """One fit and a whole path of X on disk; of fewer rows, also the fits one by one."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        X, y = embeddings(np.float16, *DISK_SHAPE, DISK_CLASSES)
        n = args.rows or len(X)
        written = np.lib.format.open_memmap(folder / "X.npy", "w+", X.dtype, (n, X.shape[1]))
        written[:] = X[:n]
        written.flush()
        del X, written
        np.savez(folder / "rest.npz", y=y[:n], Cs=DISK_CS)
        found = {}
        # all fits one by one take hours for all rows
        for what in ("fit", "path", "alone") if args.rows else ("fit", "path"):
            found[what] = in_fresh_process("choosing_c_disk.py", folder, what)
            progress(f"disk, {what}: {found[what]}")
    shape = f"{n:,} x {DISK_SHAPE[1]}, {DISK_CLASSES:,} classes, float16 on disk"
    return {"kind": "disk", "task": f"disk, {n:,} rows", "shape": shape, "n": n, **found}


# ---- Report --------------------------------------------------------------------------------------


def print_report(results):
    """What was asked beside what was measured, then every candidate."""
    choices = [result for result in results if result["kind"] == "choice"]
    asked = [row for choice in choices for row in asked_rows(choice)]
    if asked:
        header = ["task", "xentlearn, s", "beside", "its s", "times", "asked", "reached"]
        print_table("What was asked, and what was measured", header, asked)
    if choices:
        header = ["task", "candidate", "seconds", "times xentlearn's", "warnings", "C chosen"]
        header += ["steps from the exact choice", "distance from the minimum", "extra MB", "with"]
        rows = [row for choice in choices for row in candidate_rows(choice)]
        print_table("Choosing C", header, rows)
        print_table("Tasks", ["task", "data"], [[each["task"], each["shape"]] for each in choices])
    print_memory(choices)
    print_leave_one_out(choices)
    disk = [result for result in results if result["kind"] == "disk"]
    if disk:
        print_disk(disk)


def time_of(found):
    """Seconds, or the limit."""
    if "seconds" in found:
        return number(found["seconds"])
    return f"> {number(found['stopped'])}" if "stopped" in found else "failed"


def least_seconds(found):
    """That it takes at least; nan where it failed."""
    return found.get("seconds", found.get("stopped", math.nan))


def asked_rows(choice):
    """A row for each peer that something was asked beside; ours is the best variant, too."""
    ours = [choice["candidates"].get(name, {}) for name in OURS]
    ours = min((each for each in ours if "seconds" in each), key=least_seconds, default=None)
    if ours is None:
        return
    for peer, asked in TASKS[choice["task"]].asked.items():
        theirs = choice["candidates"].get(peer)
        if theirs is None or "failed" in theirs:
            continue
        times = least_seconds(theirs) / ours["seconds"]
        verdict = "yes" if times >= asked else "no" if "seconds" in theirs else "not known"
        steps, distance = steps_from_exact(choice, ours), distance_of(choice, ours)
        if steps:
            verdict = f"no: C is {steps} steps from that of exact fits"
        elif not distance <= CLOSE:
            verdict = f"no: distance {distance:.1e}"
        above = "" if "seconds" in theirs else "> "
        with_jobs = f" ({ours['variant']})" if ours["variant"] else ""
        row = [choice["task"], time_of(ours) + with_jobs]
        row += [peer, time_of(theirs), above + number(times)]
        yield [*row, f"at least {asked}", verdict]


def steps_from_exact(choice, found):
    """Along the grid of C; None if exact fits are not there."""
    exact = choice["candidates"].get("exact", {})
    if "C" not in exact or "C" not in found:
        return None
    places = [
        int(np.argmin(np.abs(np.log(choice["Cs"]) - np.log(each["C"])))) for each in (exact, found)
    ]
    return abs(places[0] - places[1])


def distance_of(choice, found):
    """Largest relative distance of the objectives that were looked at from the lowest ones."""
    if "objectives" not in found:
        return math.nan
    every = [each["objectives"] for each in choice["candidates"].values() if "objectives" in each]
    return float(np.max(np.array(found["objectives"]) / np.min(every, axis=0) - 1))


def candidate_rows(choice):
    """A row for each candidate, the quickest first."""
    every = choice["candidates"]
    ours = every.get("xentlearn", {})
    for name, found in sorted(every.items(), key=lambda item: least_seconds(item[1])):
        if name in ALONE:
            continue
        times = least_seconds(found) / ours.get("seconds", math.nan)
        above = "" if "seconds" in found else "> "
        row = [choice["task"], name, time_of(found)]
        row.append("" if math.isnan(times) else above + number(times))
        if "seconds" not in found:
            yield [*row, *[""] * 5, found.get("failed", "")]
            continue
        # leave-one-out has scores of its own, of which another C may be the best one
        steps = steps_from_exact(choice, found) if "objectives" in found else None
        distance = distance_of(choice, found)
        yield [
            *row,
            str(found["warnings"]),
            f"{found['C']:.3g}",
            "" if steps is None else str(steps),
            "" if math.isnan(distance) else f"{distance:.1e}",
            "" if found["extra_bytes"] is None else number(found["extra_bytes"] / 1e6),
            "" if found["variant"] == AS_IT_IS else found["variant"],
        ]


def print_memory(choices):
    """What choosing C takes of memory beside X, and one fit, where that is worth a word."""
    rows = []
    for choice in choices:
        fit, ours = (choice["candidates"].get(name, {}) for name in ("one fit", "xentlearn"))
        if fit.get("extra_bytes", 0) > LEAST_MEMORY and "extra_bytes" in ours:
            times = ours["extra_bytes"] / fit["extra_bytes"]
            row = [choice["task"], *(number(each["extra_bytes"] / 1e6) for each in (fit, ours))]
            rows.append([*row, number(times), "yes" if times <= MOST_MEMORY else "no"])
    if rows:
        header = ["task", "one fit, MB", "choosing C, MB", "times", f"at most {MOST_MEMORY:g}"]
        print_table("Memory", header, rows)


def print_leave_one_out(choices):
    """What leave-one-out takes beside single fits for the same values of C."""
    rows = []
    for choice in choices:
        fits, ours = (
            choice["candidates"].get(name, {}) for name in ("single fits", "leave-one-out")
        )
        if "seconds" in fits and "seconds" in ours:
            times = ours["seconds"] / fits["seconds"]
            asked = ASKED_OF_LEAVE_ONE_OUT[choice["n_coefficients"] > FEW]
            row = [choice["task"], f"{choice['n_coefficients']:,}", number(fits["seconds"])]
            row += [number(ours["seconds"]), str(ours["warnings"]), number(times)]
            rows.append([*row, f"at most {asked:g}", "yes" if times <= asked else "no"])
    if rows:
        header = ["task", "coefficients", "single fits, s", "leave-one-out, s", "warnings"]
        header += ["times", "asked", "reached"]
        print_table("Leave-one-out", header, rows)


def print_disk(results):
    """One fit beside the path, and what ImageNet's rows would take."""
    rows = []
    for result in results:
        fit, path = result["fit"], result["path"]
        if "failed" in fit or "failed" in path:
            rows.append([result["shape"], *[str(each.get("failed", "")) for each in (fit, path)]])
            rows[-1] += [""] * 8
            continue
        times = path["seconds"] / fit["seconds"]
        scale = N_IMAGENET / result["n"] / 60
        row = [result["shape"], number(fit["seconds"]), number(path["seconds"]), number(times)]
        row.append("yes" if times <= ASKED_OF_PATH else "no")
        row.append(number(result["alone"]["seconds"]) if "alone" in result else "")
        row.append(f"{max(path['gaps']):.1e}")
        row += [", ".join(map(str, each.get("n_iter", []))) for each in (fit, path)]
        rows.append([*row, *(number(scale * each["seconds"]) for each in (fit, path))])
    header = ["data", "one fit, s", f"path of {len(DISK_CS)} values of C, s", "times"]
    header += [f"at most {ASKED_OF_PATH:g}", "fits one by one, s", "largest certified distance"]
    header += ["iterations of the fit", "by C, without steps between"]
    header += [f"fit of {N_IMAGENET:,} rows, extrapolated, minutes", "path, minutes"]
    print_table("A path of X on disk", header, rows)


# ---- Command -------------------------------------------------------------------------------------


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every, candidates = [*TASKS, "disk"], list(CANDIDATES)
    parser.add_argument("--data", metavar="DIR", help="the MNIST training files, gzipped")
    parser.add_argument(
        "--tasks", type=names_of(every), default=every, help=f"of {', '.join(every)}"
    )
    parser.add_argument(
        "--candidates",
        type=names_of(candidates),
        default=candidates,
        help=f"of {', '.join(candidates)}",
    )
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds that a candidate may take for a task"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of quick candidates")
    parser.add_argument("--rows", type=int, help="only the first rows of the data, to try it out")
    parser.add_argument("--json", metavar="FILE", help="where to save what was measured")
    parser.add_argument(
        "--from", dest="saved", metavar="FILE", nargs="+", help="show saved results; run nothing"
    )
    return parser.parse_args()


def run_tasks(args):
    """(about, results); saved after every task."""
    results = []
    for name in args.tasks:
        results.append(measure_disk(args) if name == "disk" else measure(name, args))
        if args.json:
            saved = {"about": about(), "results": results}
            Path(args.json).write_text(json.dumps(saved, indent=1))
    return [about()], results


def main():
    args = parse_arguments()
    abouts, results = load(args.saved) if args.saved else run_tasks(args)
    for line in dict.fromkeys(line for lines in abouts for line in lines):
        print(line)
    print_report(results)


if __name__ == "__main__":
    main()
