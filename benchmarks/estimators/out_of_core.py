"""What does it cost to fit X on disk, block by block, rather than in memory?

The same fit of X in memory, of a memory-mapped file, of .npy shards and of a Parquet file, all in
the page cache: medians of whole fits and of single passes, taken in turn in one process.

--big fits 8 GB of float32 in a process that may use 1 GB of anonymous memory (RLIMIT_DATA, which
counts what a program allocates and not the files that it maps; Linux), and removes them again.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryData
from xentlearn._data.out_of_core import BlockData
from xentlearn._data.targets import encode_y
from xentlearn._utils.threads import effective_n_threads, sequential_blas
from xentlearn.blocks import NpyBlocks, ParquetBlocks

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

N_CLASSES = 10
N_SHARDS = 8
PIECE = 100_000  # rows that are made at a time
ROUNDS = 3
PARQUET = "`ParquetBlocks`"


# ---- Data ----------------------------------------------------------------------------------------


def make_rows(n_rows, n_features):
    """X in pieces with labels: correlated features of different scales, noisy classes."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((n_features, n_features), dtype=np.float32) / n_features**0.5
    mixing *= rng.uniform(0.3, 3, n_features).astype(np.float32)
    W = 2 * rng.standard_normal((n_features, N_CLASSES), dtype=np.float32) / n_features**0.5
    for begin in range(0, n_rows, PIECE):
        n = min(PIECE, n_rows - begin)
        X = rng.standard_normal((n, n_features), dtype=np.float32) @ mixing
        y = (X @ W + rng.gumbel(size=(n, N_CLASSES))).argmax(axis=1)
        yield slice(begin, begin + n), X, y.astype(np.int8)


def write(folder, n_rows, n_features):
    """Write X to folder/X.npy and return y."""
    shape = n_rows, n_features
    X, y = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, shape), []
    for rows, X_piece, y_piece in make_rows(n_rows, n_features):
        X[rows] = X_piece
        y.append(y_piece)
    X.flush()
    return np.concatenate(y)


def write_others(folder):
    """Write the same X as several files and as Parquet; return its sources by name."""
    X = np.load(folder / "X.npy")
    (folder / "shards").mkdir()
    for i, part in enumerate(np.array_split(X, N_SHARDS)):
        np.save(folder / "shards" / f"{i:03}.npy", part)
    sources = {
        "in memory": X,
        "`numpy.memmap`": np.load(folder / "X.npy", mmap_mode="r"),
        "`NpyBlocks`, one file": NpyBlocks(folder / "X.npy"),
        f"`NpyBlocks`, {N_SHARDS} files": NpyBlocks(folder / "shards"),
    }
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return sources
    table = pa.table({f"x{j}": X[:, j] for j in range(X.shape[1])})
    parquet.write_table(table, folder / "X.parquet", row_group_size=PIECE)
    return {**sources, PARQUET: ParquetBlocks(folder / "X.parquet")}


# ---- Measuring -----------------------------------------------------------------------------------


def rows_of(source, y):
    """What an objective of a source sums over."""
    if isinstance(source, np.ndarray):
        if isinstance(source, np.memmap):
            return None  # as NpyBlocks
        return MemoryData(source).rows(y, np.arange(N_CLASSES))
    return BlockData(source, y, lambda X, finite: X).rows(y, np.arange(N_CLASSES))


def seconds(function):
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def print_ratios(folder, n_rows, n_features):
    """One table: fits and passes of all sources, beside those in memory."""
    y = write(folder, n_rows, n_features)
    sources = write_others(folder)
    encoded = encode_y(y, n_rows, "auto")
    rows = {name: rows_of(source, encoded) for name, source in sources.items()}
    at = np.zeros((n_features, N_CLASSES)), np.zeros(N_CLASSES), effective_n_threads()
    fits, passes = ({name: [] for name in sources} for _ in range(2))
    models = {}
    for _ in range(ROUNDS):
        for name, source in sources.items():
            if name == PARQUET and fits[name]:
                continue  # decoding takes half a minute a fit, once is enough
            models[name] = SoftmaxClassifier()
            fits[name].append(seconds(lambda m=models[name], X=source: m.fit(X, y)))
            if rows[name] is not None:
                with sequential_blas:
                    passes[name] += [
                        seconds(lambda r=rows[name]: r.loss_gradient(*at)) for _ in range(5)
                    ]
    size = n_rows * n_features * 4 / 1e9
    print(
        f"{n_rows:,} x {n_features} float32 ({size:.1f} GB), {N_CLASSES} classes, in the page "
        "cache. A pass is one evaluation of loss and gradient.\n\n"
        "| X | fit, s | as a multiple of the fit in memory | iterations | pass, ms "
        "| as a multiple of the pass in memory | accuracy |\n"
        "|---|---|---|---|---|---|---|"
    )
    fit_in_memory, pass_in_memory = (statistics.median(t["in memory"]) for t in (fits, passes))
    for name, source in sources.items():
        fit, model = statistics.median(fits[name]), models[name]
        cells = " | |"
        if passes[name]:
            one = statistics.median(passes[name])
            cells = f"{1e3 * one:.0f} | {one / pass_in_memory:.2f} |"
        print(
            f"| {name} | {fit:.2f} | {fit / fit_in_memory:.2f} | {model.n_iter_[0]} | "
            f"{cells} {model.score(source, y):.4f} |",
            flush=True,
        )


# ---- Much more than memory -----------------------------------------------------------------------


def vm_kilobytes(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def print_limited(folder, limit):
    """In this process: one fit under the limit."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    X, y = NpyBlocks(folder / "X.npy"), np.load(folder / "y.npy")
    model = SoftmaxClassifier()
    took = seconds(lambda: model.fit(X, y))
    held, resident = vm_kilobytes("VmData") / 1e6, vm_kilobytes("RssAnon") / 1e6
    print(
        "| X on disk | may allocate | fit | iterations | accuracy | estimated gap "
        "| allocated at the end | of which resident |\n|---|---|---|---|---|---|---|---|\n"
        f"| {X.shape[0]:,} x {X.shape[1]}, {4 * X.shape[0] * X.shape[1] / 1e9:.1f} GB | "
        f"{limit / 1e9:.1f} GB | {took:.0f} s | {model.n_iter_[0]} | {model.score(X, y):.4f} | "
        f"{model.history_['gap'][-1]:.1e} | {held:.2f} GB | {resident:.2f} GB |"
    )


def print_big(folder, gigabytes, limit, n_features):
    """Write X, and fit it in a process with a limit."""
    n_rows = int(gigabytes * 1e9 / 4 / n_features)
    took = seconds(lambda: np.save(folder / "y.npy", write(folder, n_rows, n_features)))
    print(f"{gigabytes:g} GB written in {took:.0f} s\n", flush=True)
    command = [sys.executable, __file__, "--limited", str(folder), "--limit", str(limit)]
    subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=200)
    parser.add_argument("--folder", help="where the files go (default: the system's for such)")
    parser.add_argument("--big", action="store_true", help="8 GB under a limit of 1 GB instead")
    parser.add_argument("--gigabytes", type=float, default=8.0, help="of --big")
    parser.add_argument("--limit", type=int, default=1_000_000_000, help="bytes, of --big")
    parser.add_argument("--limited", metavar="DIR", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.limited:
        print_limited(args.limited, args.limit)
        return
    print_about("pyarrow")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        if args.big:
            print_big(Path(name), args.gigabytes, args.limit, args.features)
        else:
            print_ratios(Path(name), args.rows, args.features)


if __name__ == "__main__":
    main()
