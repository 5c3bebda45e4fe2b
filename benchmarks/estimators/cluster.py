"""What does a cluster cost: rounds, bytes per round, time beside a fit of the same data in memory?

On a LocalCluster of two processes with a thread each, beside the local estimator with one and two
threads. Data are drawn on the workers, float32. Rounds are the evaluations that go out to the
workers, those of the certificate included; seconds are of a second fit, with the data in memory on
both sides.

Bytes by the formula: coefficients, with 8 bytes each, go to the scheduler and from there (or from
each other) to every worker; one sum per partition goes up the tree, and the last to the client.
Sums of partitions of one worker do not move, so it is an upper bound. Bytes measured: what the
loopback interface counted during rounds, Dask's own messages included; nothing else should use it
meanwhile. Bytes before the first round come from reading, encoding and the survey, mostly from the
sample of rows.
"""

import argparse
import sys
import time
from pathlib import Path

import dask.array as da
import numpy as np
import psutil
from distributed import Client, LocalCluster, wait
from threadpoolctl import threadpool_limits

from xentlearn._data import distributed as dask_rows
from xentlearn.dask import SoftmaxClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

N_WORKERS = 2
SHAPES = [(200_000, 100, 10), (100_000, 500, 10), (20_000, 200, 100)]  # rows, features, classes
N_PARTITIONS = 4


def drawn(n_rows, n_features, n_classes, part, block_id):
    """Rows whose logits are known, or their labels."""
    truth = np.random.default_rng(0).normal(size=(n_features, n_classes)).astype(np.float32)
    rng = np.random.default_rng([1, block_id[0]])
    X = rng.normal(size=(n_rows, n_features)).astype(np.float32) * np.geomspace(
        0.1, 10, n_features, dtype=np.float32
    )
    if part == "X":
        return X
    logits = X @ truth / np.sqrt(np.float32(n_features))
    return (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def data(n_rows, n_features, n_classes):
    """X and y on the workers."""
    size = n_rows // N_PARTITIONS
    shape, chunks = (size, n_features, n_classes), (size,) * N_PARTITIONS
    X = np.empty((0, n_features), dtype=np.float32)
    X = da.map_blocks(drawn, *shape, "X", chunks=(chunks, (n_features,)), meta=X).persist()
    y = np.empty(0, dtype=np.int64)
    y = da.map_blocks(drawn, *shape, "y", chunks=(chunks,), meta=y).persist()
    wait([X, y])
    return X, y


class Rounds:
    """Counts rounds while it is entered, and bytes on the loopback interface in and before them."""

    def __enter__(self):
        self.n, self.bytes, self._total = 0, 0, dask_rows.DaskRows.total
        began = sent()

        def counted(rows, method, *arguments):
            before = sent()
            if self.n == 0:
                self.bytes_before = before - began
            result = self._total(rows, method, *arguments)
            self.n += 1
            self.bytes += sent() - before
            return result

        dask_rows.DaskRows.total = counted
        return self

    def __exit__(self, *exception):
        dask_rows.DaskRows.total = self._total


def sent():
    """Bytes that the loopback interface has carried."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_sent


def timed(clf, X, y):
    """Seconds of the second of two fits."""
    clf.fit(X, y)
    begin = time.perf_counter()
    clf.fit(X, y)
    return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="times as many rows")
    scale = parser.parse_args().scale
    print_about("dask", "distributed")
    print(
        f"A cluster of {N_WORKERS} processes with one thread each, {N_PARTITIONS} partitions, "
        "float32; a round is one evaluation of loss and gradient on all workers.\n\n"
        "| rows x features, classes | rounds | iterations | MB per round by the formula "
        "| MB per round measured | MB before the first round | fit on the cluster, s "
        "| fit in memory, 1 thread, s | fit in memory, 2 threads, s |\n" + "|---" * 9 + "|"
    )
    with (
        LocalCluster(
            n_workers=N_WORKERS, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster),
    ):
        for n_rows, n_features, n_classes in SHAPES:
            n_rows = int(n_rows * scale)
            X, y = data(n_rows, n_features, n_classes)
            clf = SoftmaxClassifier(solver="lbfgs").fit(X, y)
            begin = time.perf_counter()
            with Rounds() as rounds:
                clf.fit(X, y)
            seconds = time.perf_counter() - begin
            X_here, y_here = X.compute(), y.compute()
            local = clf.to_local()
            with threadpool_limits(1, "openmp"):
                one = timed(local, X_here, y_here)
            with threadpool_limits(2, "openmp"):
                two = timed(local, X_here, y_here)
            by_shape = 8 * (n_features + 1) * n_classes * (1 + N_WORKERS + N_PARTITIONS)
            print(
                f"| {n_rows:,} x {n_features}, {n_classes} | {rounds.n} | {clf.n_iter_[0]} "
                f"| {by_shape / 1e6:.2f} | {rounds.bytes / rounds.n / 1e6:.2f} "
                f"| {rounds.bytes_before / 1e6:.0f} "
                f"| {seconds:.2f} | {one:.2f} | {two:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
