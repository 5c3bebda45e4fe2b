"""Make ``reference.npz`` beside this file: coefficients of R's glmnet, with the data of its own.

Run ``PYTHONPATH=tests python tests/glmnet/make_reference.py``; it needs R with glmnet, which the
tests do not. ``glmnet_cases.py`` says what is fitted, ``fit.R`` has the exact call. Names of data
sets as arguments: these alone are fitted again.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from glmnet_cases import CASES, FILE, data_of


def main(names):
    cases = [case for case in CASES if not names or case.data in names]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        lines = ["name data alpha lambda grouped lower intercept"]
        for case in cases:
            if not case.data.endswith("_example"):  # these come from R
                X, y = data_of(case.data)
                X.astype(float).ravel(order="F").tofile(folder / f"{case.data}_X.bin")
                y.astype(float).tofile(folder / f"{case.data}_y.bin")
                n_rows = len(y)
            else:
                n_rows = {"multinomial_example": 500, "binomial_example": 100}[case.data]
            factor = case.factor
            factor.tofile(folder / f"{case.name}_factor.bin")
            # glmnet scales factors to a mean of 1, where it counts those of inf as 1
            mean = np.where(np.isinf(factor), 1, factor).mean()
            strength = mean / (case.C * n_rows)
            lines.append(
                f"{case.name} {case.data} {case.l1_ratio} {float(strength)!r} "
                f"{str(case.grouped).upper()} "
                f"{str(case.lower).replace('inf', 'Inf')} {str(case.fit_intercept).upper()}"
            )
        (folder / "cases.tsv").write_text("\n".join(lines))
        subprocess.run(["Rscript", FILE.parent / "fit.R", folder], check=True)
        found = dict(np.load(FILE)) if names else {}
        found |= {"about": np.array((folder / "versions.txt").read_text().splitlines())}
        for name in ("multinomial_example", "binomial_example"):
            y = np.fromfile(folder / f"{name}_y.bin")
            X = np.fromfile(folder / f"{name}_X.bin").reshape(-1, len(y)).T
            found |= {f"{name}_X": X, f"{name}_y": y.astype(np.int8)}
        for case, thresh in zip(cases, np.fromfile(folder / "thresh.bin"), strict=True):
            found[f"thresh {case.name}"] = thresh
            flat = np.fromfile(folder / f"{case.name}_coef.bin")
            found[case.name] = flat.reshape(-1, len(case.factor) + 1)
        np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main(sys.argv[1:])
