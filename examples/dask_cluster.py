"""
What if a worker of a cluster dies in the middle of a fit?
==========================================================

The worker processes of a Dask LocalCluster draw the rows of their own partitions. A fit of these
rows is left undisturbed, another one loses a worker halfway: its partitions are drawn again, and
both fits end at the same coefficients, bit by bit. The local estimator fits the same rows in
memory.

On one machine a cluster is no faster than a fit in memory: its processes share the cores, and each
iteration waits for messages. It takes more rows to gain from it::

    python examples/dask_cluster.py --rows 10_000_000 --features 200 --workers 8 --partitions 16
"""

import logging
import os
import signal
import threading
import time

import dask.array as da
import numpy as np
from _figures import (
    NEUTRAL,
    OURS,
    THEIRS,
    new_figure,
    parser_with_output,
    save_and_show,
)
from distributed import Client, LocalCluster, wait
from sklearn.base import clone

from xentlearn.dask import SoftmaxClassifier

N_CLASSES = 10


def drawn(n_rows, n_features, part, block_id):
    """A partition: features of very different scales, or the labels that a softmax draws."""
    truth = np.random.default_rng(0).normal(size=(n_features, N_CLASSES))
    rng = np.random.default_rng([1, block_id[0]])
    scaled = rng.normal(size=(n_rows, n_features)) @ mixing(n_features)
    if part == "X":
        return (scaled * np.geomspace(1e-2, 1e2, n_features)).astype(np.float32)
    return (scaled @ truth / 3 + rng.gumbel(size=(n_rows, N_CLASSES))).argmax(axis=1)


def mixing(n_features):
    """Makes features correlate."""
    return np.eye(n_features) + np.random.default_rng(2).normal(size=(n_features,) * 2) / 5


def data_on_workers(n_rows, n_features, n_partitions):
    """X and y as dask arrays, whose partitions are in the workers' memory."""
    size = n_rows // n_partitions
    chunks = (size,) * n_partitions
    X, y = np.empty((0, n_features), dtype=np.float32), np.empty(0, dtype=np.int64)
    X = da.map_blocks(drawn, size, n_features, "X", chunks=(chunks, (n_features,)), meta=X)
    y = da.map_blocks(drawn, size, n_features, "y", chunks=(chunks,), meta=y)
    X, y = X.persist(), y.persist()
    wait([X, y])
    return X, y


def fitted(clf, X, y):
    """(the fitted estimator, seconds that it took)."""
    begin = time.perf_counter()
    clf.fit(X, y)
    return clf, time.perf_counter() - begin


def fits(client, X, y):
    """{name: (fitted estimator, seconds)}."""
    clf = SoftmaxClassifier(solver="lbfgs", client=client)
    # not measured: in their first fit the workers import modules
    clone(clf).fit(X, y)
    found = {"undisturbed": fitted(clf, X, y)}
    # halfway between the solver's first evaluation and the end
    halfway = found["undisturbed"][1] - clf.history_["seconds"][-1] / 2
    pid = min(client.run(os.getpid).values())
    killer = threading.Timer(halfway, os.kill, (pid, signal.SIGKILL))
    killer.start()
    found["a worker killed"] = fitted(clone(clf), X, y)
    killer.join()
    in_memory = X.compute(), y.compute()
    found["in memory"] = fitted(clone(clf).to_local(), *in_memory)
    return found


def print_table(found):
    """What each fit came to."""
    undisturbed = found["undisturbed"][0]
    print(f"{'':20}{'iterations':>12}{'seconds':>10}{'objective':>14}{'same bits':>12}")
    for name, (clf, seconds) in found.items():
        same = np.array_equal(clf.coef_, undisturbed.coef_)
        print(
            f"{name:20}{clf.n_iter_[0]:>12}{seconds:>10.2f}{clf.objective_:>14.8f}"
            f"{'yes' if same else 'no':>12}"
        )


def draw(found):
    """What is left to the lowest objective, against time; the kill is the longest iteration."""
    figure = new_figure(8, 3.8)
    ax = figure.subplots()
    lowest = min(clf.history_["objective"].min() for clf, _ in found.values())
    for (name, (clf, _)), color in zip(found.items(), [OURS, THEIRS, NEUTRAL], strict=True):
        gap = np.maximum(clf.history_["objective"] / lowest - 1, 1e-6)
        ax.semilogy(clf.history_["seconds"], gap, ".-", color=color, label=name)
    history = found["a worker killed"][0].history_
    killed = np.diff(history["seconds"]).argmax()
    gap = history["objective"][killed] / lowest - 1
    ax.plot(history["seconds"][killed], gap, "X", color=THEIRS, markersize=9)
    ax.annotate(
        "killed here: its rows are drawn again",
        (history["seconds"][killed], gap),
        (10, 10),
        textcoords="offset points",
        color=THEIRS,
    )
    ax.set(
        title="Objective during three fits to the same rows",
        xlabel="seconds since the first evaluation",
        ylabel="(objective - lowest) / lowest",
    )
    ax.legend()
    return figure


def main():
    parser = parser_with_output(__doc__)
    parser.add_argument("--rows", type=int, default=40_000, help="default: %(default)s")
    parser.add_argument("--features", type=int, default=40, help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--partitions", type=int, default=4, help="default: %(default)s")
    arguments = parser.parse_args()
    cluster = LocalCluster(
        n_workers=arguments.workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,  # that a worker died is no news here
    )
    with cluster, Client(cluster) as client:
        X, y = data_on_workers(arguments.rows, arguments.features, arguments.partitions)
        print(f"{arguments.workers} workers, X of shape {X.shape} in {X.npartitions} partitions\n")
        found = fits(client, X, y)
        print_table(found)
        model = found["a worker killed"][0]
        print(f"\naccuracy on the training rows: {model.score(X, y):.3f}")
    save_and_show(draw(found), "dask_cluster.png", arguments.output)


if __name__ == "__main__":  # processes of the cluster import this file, too
    main()
