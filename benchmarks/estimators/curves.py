"""Does the cost of a pass grow as the work does: in rows, features, classes, entries, threads?

One evaluation of value and gradient (float32), one size varied at a time, as a table and, with
--output, as a picture on log axes. Straight lines of slope 1 mean that small problems have no
overhead and that large ones do not run out of a cache. Medians, in one run.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from scipy import sparse

from xentlearn._data._design_matrix import DesignMatrix
from xentlearn.losses import SparseCategoricalCrossentropy

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

THREADS = (1, 2)
N, D, K, PER_ROW = 50_000, 256, 10, 16
WIDE = 20_000  # features of sparse X
CURVES = {
    "rows": [(n, D, K, None) for n in (1_000, 4_000, 16_000, 64_000, 256_000)],
    "features": [(N, d, K, None) for d in (16, 64, 256, 1024)],
    "classes": [(N, D, k, None) for k in (1, 3, 10, 30, 100, 300)],
    "entries per row (CSR)": [(N, WIDE, K, nnz) for nnz in (4, 16, 64, 256)],
}


def make_X(n, d, per_row, rng):
    """Dense normal numbers, or CSR with ``per_row`` entries in each row."""
    if per_row is None:
        return rng.standard_normal((n, d), dtype=np.float32)
    columns = rng.integers(d, size=n * per_row).astype(np.int32)
    data = rng.standard_normal(n * per_row, dtype=np.float32)
    return sparse.csr_array((data, columns, np.arange(0, n * per_row + 1, per_row)), shape=(n, d))


def milliseconds(n, d, k, per_row, repeats):
    """Median time of one evaluation for each number of threads."""
    rng = np.random.default_rng(0)
    design = DesignMatrix(make_X(n, d, per_row, rng))
    labels = rng.integers(k, size=n).astype(np.int32)
    target = SparseCategoricalCrossentropy()._kernel_target((n, k), design.dtype, labels=labels)
    coef, intercept = 0.01 * rng.standard_normal((d, k)), np.zeros(k)
    medians = []
    for n_threads in THREADS:  # one after the other: a thread that sleeps takes its time to wake up
        times = []
        for _ in range(repeats + 2):
            begin = time.perf_counter()
            design.loss_gradient(target, coef, intercept, n_threads)
            times.append(1e3 * (time.perf_counter() - begin))
        medians.append(statistics.median(times[2:]))  # the first ones warm up
    return medians


def work(n, d, k, per_row):
    """Multiply-adds of both products."""
    return 2 * n * (d if per_row is None else per_row) * k


def draw(curves, path):
    """Time against work, one line per curve and number of threads."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
    for color, (name, points) in enumerate(curves.items()):
        for j, n_threads in enumerate(THREADS):
            ax.loglog(
                [1e-6 * work(*case) for case, _ in points],
                [times[j] for _, times in points],
                f"C{color}{'o--' if n_threads == 1 else 'o-'}",
                label=f"{name}, {n_threads} thread{'s' * (n_threads > 1)}",
            )
    ax.set(xlabel="multiply-adds, millions", ylabel="one evaluation, ms")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", help="PNG to write")
    args = parser.parse_args()
    print_about()
    print("One evaluation of value and gradient, float32, one size varied at a time:\n")
    print(
        "| varied | rows x features, classes | 1 thread, ms | 2 threads, ms "
        "| 1 thread, as a multiple of 2 | ns per 1,000 multiply-adds (2 threads) |"
    )
    print("|---|---|---|---|---|---|")
    curves = {name: [] for name in CURVES}
    for name, cases in CURVES.items():
        for case in cases:
            n, d, k, per_row = case
            one, two = times = milliseconds(*case, args.repeats)
            curves[name].append((case, times))
            shape = f"{n:,} x {d:,}, {k}" + (
                "" if per_row is None else f"; {per_row} entries per row"
            )
            rate = 1e9 * two / work(*case)
            print(f"| {name} | {shape} | {one:.2f} | {two:.2f} | {one / two:.2f} | {rate:.1f} |")
    if args.output:
        draw(curves, args.output)


if __name__ == "__main__":
    main()
