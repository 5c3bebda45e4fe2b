"""Seconds of one fit, of a path, or of its fits one by one, of X on disk.

``choosing_c.py`` calls it in a fresh process::

    python benchmarks/versus/choosing_c_disk.py FOLDER fit
    python benchmarks/versus/choosing_c_disk.py FOLDER path
    python benchmarks/versus/choosing_c_disk.py FOLDER alone
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from choosing_c_peers import RESULT

from xentlearn import SoftmaxClassifier


def fitted(what, X, y, Cs):
    """List of classifiers: one with the C in the middle, or one for each C, along them or alone."""
    if what == "fit":
        return [SoftmaxClassifier(C=Cs[len(Cs) // 2]).fit(X, y)]
    if what == "alone":
        return [SoftmaxClassifier(C=C).fit(X, y) for C in Cs]
    from xentlearn import regularization_path

    return regularization_path(X, y, Cs=Cs)


def main():
    folder, what = Path(sys.argv[1]), sys.argv[2]
    X = np.load(folder / "X.npy", mmap_mode="r")
    with np.load(folder / "rest.npz") as rest:
        y, Cs = rest["y"], rest["Cs"]
    begin = time.perf_counter()
    models = fitted(what, X, y, Cs)
    seconds = time.perf_counter() - begin
    gaps = [float(model.optimality_gap_) for model in models]
    of_models = {
        "Cs": [model.C for model in models],
        "n_iter": [int(np.max(model.n_iter_)) for model in models],
    }
    result = {"seconds": seconds, "gaps": gaps, **of_models}
    (folder / RESULT).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
