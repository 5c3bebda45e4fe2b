"""The classifier on a Dask cluster: the answer of one machine, whatever happens to workers."""

import importlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.metrics import log_loss

pytest.importorskip("distributed", reason='needs pip install "xentlearn[dask]"')
pytest.importorskip("pandas")
import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
from distributed import Client, KilledWorker, LocalCluster

import test_docstrings as docstrings
import xentlearn
from xentlearn._data import distributed as dask_rows
from xentlearn._estimator import progress
from xentlearn.callbacks import ProgressBar
from xentlearn.dask import SoftmaxClassifier
from xentlearn.losses import (
    CategoricalCrossentropy,
    GeneralizedCrossentropy,
    SparseCategoricalCrossentropy,
    make_loss_scorer,
)

pytestmark = pytest.mark.slow
N, N_FEATURES, N_CLASSES = 1200, 6, 4
stopped_early = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # what is compared needs no minimum
)
METHODS = ["decision_function", "predict", "predict_proba", "predict_log_proba"]


def start_cluster(n_workers):
    return LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0"
    )


@pytest.fixture(scope="module")
def client():
    """Two processes of one thread each."""
    with start_cluster(2) as cluster, Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def one_worker():
    """A cluster beside it, which is not the current one."""
    with start_cluster(1) as cluster, Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture(autouse=True)
def all_workers(client):
    """Both workers are there, also after one was killed."""
    client.wait_for_workers(2, timeout=60)


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, N_FEATURES)) * [1, 100, 1, 0.01, 1, 1] + [0, 0, 5, 0, 0, 0]


@pytest.fixture
def logits(X, rng):
    return (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(N_FEATURES, N_CLASSES))


@pytest.fixture
def y(logits, rng):
    return (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def lazy(array, n_rows=250):
    """A dask array of it, chunked along columns too."""
    return da.from_array(array, chunks=(n_rows, 4)[: array.ndim])


def unknown(array):
    """A dask array of all its rows, in chunks of sizes that are not known."""
    array = lazy(array)
    return array[da.ones(len(array), chunks=250, dtype=bool)]


def assert_same_fit(got, wanted):
    np.testing.assert_allclose(got.coef_, wanted.coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(got.intercept_, wanted.intercept_, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(got.classes_, wanted.classes_)
    assert got.solver_ == wanted.solver_
    assert got.objective_ == pytest.approx(wanted.objective_, rel=1e-10)
    assert got.coef_.dtype == wanted.coef_.dtype
    assert got.n_features_in_ == wanted.n_features_in_


def assert_same_bits(one, two):
    assert one.coef_.tobytes() == two.coef_.tobytes()
    assert one.intercept_.tobytes() == two.intercept_.tobytes()
    assert one.objective_ == two.objective_


# ---- The same answer as on one machine -----------------------------------------------------------


def softmax(logits):
    p = np.exp(logits)
    return p / p.sum(axis=1, keepdims=True)


TARGETS = {
    "softmax": lambda y, logits: y,
    "binary": lambda y, logits: y > 1,
    "strings": lambda y, logits: np.array(["one", "two", "three", "four"])[y],
    "multi-label": lambda y, logits: (logits + np.sin(1e4 * logits) > 0).astype(float),
    "missing": lambda y, logits: np.where(logits > 1.5, np.nan, np.sin(1e4 * logits) > 0),
    "soft": lambda y, logits: softmax(logits),
}


@pytest.mark.parametrize(
    ("kind", "parameters", "weighted"),
    [
        ("softmax", {}, False),
        ("softmax", {"solver": "lbfgs"}, True),
        ("softmax", {"solver": "newton-cg", "fit_intercept": False}, False),
        ("softmax", {"loss": CategoricalCrossentropy(logit_adjustment=1.0)}, True),
        ("softmax", {"loss": "binary_crossentropy"}, True),
        ("binary", {"class_weight": "balanced", "solver": "lbfgs"}, True),
        ("strings", {"loss": GeneralizedCrossentropy()}, False),
        ("multi-label", {"solver": "lbfgs"}, False),
        ("missing", {}, True),
        ("soft", {}, False),
        ("softmax", {"l1_ratio": 1.0, "C": 0.1}, True),
        ("softmax", {"l1_ratio": 0.5, "grouped": True, "C": 0.1}, False),
        ("binary", {"penalty_factor": [1, 2, np.inf, 1, 0.5, 1], "l1_ratio": 0.5}, True),
        ("multi-label", {"coef_bounds": (0.0, np.inf)}, False),
        ("strings", {"l1_ratio": 1.0, "loss": GeneralizedCrossentropy()}, False),
    ],
)
def test_fit_is_that_of_one_machine(kind, parameters, weighted, X, y, logits, rng):
    y = TARGETS[kind](y, logits)
    weight = rng.integers(3, size=N) * 0.7 if weighted else None
    local = xentlearn.SoftmaxClassifier(tol=1e-12, **parameters).fit(X, y, weight)
    clf = SoftmaxClassifier(tol=1e-12, **parameters)
    clf.fit(lazy(X), lazy(y, 300), None if weight is None else lazy(weight, 170))
    assert_same_fit(clf, local)
    if clf.loss_._certifiable:
        assert 0 <= clf.optimality_gap_ < 1e-9
    assert clf.score(lazy(X), lazy(y)) == pytest.approx(local.score(X, y), abs=1e-12)


@pytest.mark.parametrize("parameters", [{}, {"solver": "lbfgs"}], ids=str)
def test_sample_of_rows(parameters, X, y, rng, set_rules):
    """The preconditioner is made of a tenth of the rows; the minimum stays where it is."""
    set_rules(sample_rows=N // 10)
    weight = rng.random(N)
    local = xentlearn.SoftmaxClassifier(tol=1e-12, **parameters).fit(X, y, weight)
    clf = SoftmaxClassifier(tol=1e-12, **parameters).fit(lazy(X), lazy(y), lazy(weight))
    assert_same_fit(clf, local)


def test_weights_of_labels(X, logits, rng):
    y, weight = TARGETS["missing"](None, logits), rng.random(logits.shape)
    local = xentlearn.SoftmaxClassifier(tol=1e-12).fit(X, y, weight)
    clf = SoftmaxClassifier(tol=1e-12).fit(lazy(X), lazy(y), lazy(weight))
    assert_same_fit(clf, local)


def test_one_weight_for_all_rows(X, y):
    local = xentlearn.SoftmaxClassifier(tol=1e-12).fit(X, y, 0.1)
    assert_same_fit(SoftmaxClassifier(tol=1e-12).fit(lazy(X), lazy(y), 0.1), local)


def test_csr(X, y):
    X[np.abs(X) < np.abs(X).mean(axis=0)] = 0
    local = xentlearn.SoftmaxClassifier(tol=1e-12).fit(sparse.csr_array(X), y)
    blocks = lazy(X).rechunk({1: -1}).map_blocks(sparse.csr_matrix)
    clf = SoftmaxClassifier(tol=1e-12).fit(blocks, lazy(y))
    assert_same_fit(clf, local)
    for method in METHODS:
        found = getattr(clf, method)(blocks)
        np.testing.assert_allclose(found.compute(), getattr(local, method)(X), atol=1e-6)


def test_sparse_coefficients(X, y):
    clf = SoftmaxClassifier().fit(lazy(X), lazy(y))
    clf.coef_[np.abs(clf.coef_) < np.median(np.abs(clf.coef_))] = 0.0
    dense = clf.to_local()
    assert clf.sparsify() is clf
    assert sparse.issparse(clf.coef_)
    assert sparse.issparse(clf.to_local().coef_)
    for method in METHODS:
        found = getattr(clf, method)(lazy(X)).compute()
        np.testing.assert_allclose(found, getattr(dense, method)(X), rtol=1e-10, atol=1e-12)
    assert clf.score(lazy(X), lazy(y)) == dense.score(X, y)
    np.testing.assert_array_equal(clf.densify().coef_, dense.coef_)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_dtypes(dtype, X, y):
    X = (X * [40, 0.4, 40, 4000, 40, 40] + 100).clip(0, 255).astype(dtype)
    local = xentlearn.SoftmaxClassifier(tol=1e-12).fit(X, y)
    with warnings.catch_warnings():
        # small X in memory is fitted in float64; these rows are rounded to their own dtype
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = SoftmaxClassifier(max_iter=8).fit(lazy(X), lazy(y))
    assert clf.coef_.dtype == local.coef_.dtype
    assert clf.objective_ == pytest.approx(local.objective_, rel=1e-6)
    np.testing.assert_allclose(clf.predict_proba(X), local.predict_proba(X), atol=1e-4)
    for method in METHODS:
        found, wanted = getattr(clf, method)(lazy(X)), getattr(local, method)(X)
        assert found.dtype == found.compute().dtype == wanted.dtype


@pytest.mark.parametrize("labels", [["one", "two", "three", "four"], [7, 8, 9, 10]], ids=str)
def test_dataframe(labels, X, y):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame["label"] = np.array(labels)[y]
    X, y = frame[list("abcdef")], frame["label"]
    lazy_frame = dd.from_pandas(frame, npartitions=5)
    lazy_X, lazy_y = lazy_frame[list("abcdef")], lazy_frame["label"]
    local = xentlearn.SoftmaxClassifier(tol=1e-12).fit(X, y)
    clf = SoftmaxClassifier(tol=1e-12).fit(lazy_X, lazy_y)
    assert_same_fit(clf, local)
    assert clf.feature_names_in_.tolist() == list("abcdef")
    for method in METHODS:
        found, wanted = getattr(clf, method)(lazy_X), getattr(local, method)(X)
        assert isinstance(found, da.Array)
        assert (found.dtype, found.ndim, found.numblocks[0]) == (wanted.dtype, wanted.ndim, 5)
        if method == "predict":
            assert found.compute().tolist() == wanted.tolist()
        else:
            np.testing.assert_allclose(found.compute(), wanted, atol=1e-6)
    assert clf.score(lazy_X, lazy_y) == pytest.approx(local.score(X, y))
    # names are forgotten where X has none
    clf.fit(lazy_X.to_dask_array(), lazy_y.to_dask_array())
    assert not hasattr(clf, "feature_names_in_")
    assert_same_fit(clf, local)


def test_chunks_of_unknown_size(X, y):
    local = xentlearn.SoftmaxClassifier(tol=1e-12).fit(X, y)
    clf = SoftmaxClassifier(tol=1e-12).fit(unknown(X), unknown(y))
    assert_same_fit(clf, local)
    found = clf.predict_proba(unknown(X))
    assert np.isnan(found.shape[0])
    np.testing.assert_allclose(found.compute(), local.predict_proba(X), atol=1e-6)


def test_empty_partitions_and_rows_that_do_not_count(X, y):
    """Partitions without rows, or with rows of weight 0 alone, or with a single class."""
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    keep = np.ones(N, dtype=bool)
    keep[250:500] = False
    weight = np.ones(N)
    weight[750:1000] = 0.0
    local = xentlearn.SoftmaxClassifier(tol=1e-12).fit(X[keep], y[keep], weight[keep])
    lazy_keep = lazy(keep)
    parts = lazy(X)[lazy_keep], lazy(y)[lazy_keep], lazy(weight)[lazy_keep]
    clf = SoftmaxClassifier(tol=1e-12).fit(*parts)
    assert_same_fit(clf, local)
    found = clf.predict(parts[0]).compute()
    np.testing.assert_array_equal(found, local.predict(X[keep]))
    wanted = local.score(X[keep], y[keep], weight[keep])
    assert clf.score(*parts) == pytest.approx(wanted)


def test_warm_start_and_column_of_labels(X, y):
    clf = SoftmaxClassifier(solver="lbfgs", warm_start=True)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        clf.fit(lazy(X), lazy(y[:, np.newaxis]))
    frame = dd.from_dask_array(lazy(y[:, np.newaxis]), columns=["label"])
    with pytest.warns(DataConversionWarning, match="column-vector"):
        clf.fit(lazy(X), frame)
    assert clf.n_iter_[0] <= 2


@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy"])
def test_a_class_that_alone_has_weight(loss, X, y):
    with pytest.warns(UserWarning, match="Class 2 alone has weight") as record:
        clf = SoftmaxClassifier(loss).fit(lazy(X), lazy(y), lazy((y == 2) * 1.0))
    assert record[0].filename == __file__
    np.testing.assert_array_equal(
        clf.predict_proba(lazy(X)).compute(), np.tile(np.eye(N_CLASSES)[2], (N, 1))
    )
    assert np.isfinite(clf.decision_function(lazy(X)).compute()).all()
    assert (clf.objective_, clf.optimality_gap_, clf.n_iter_[0]) == (0, 0, 0)
    with pytest.raises(ValueError, match="positive weight"):
        SoftmaxClassifier(class_weight=dict.fromkeys(range(4), 0)).fit(lazy(X), lazy(y))


@pytest.mark.parametrize("container", ["array", "frame"])
def test_missing_and_unanswered_labels(container, X, y, rng):
    Y = np.where(rng.random((N, 3)) < 0.2, np.nan, y[:, np.newaxis] == np.arange(3))
    Y[:, 1] = np.nan
    parts = lazy(X), lazy(Y)
    if container == "frame":
        frame = pd.DataFrame(Y, columns=list("abc")).astype("Int64")
        parts = tuple(dd.from_pandas(f, npartitions=4) for f in (pd.DataFrame(X), frame))
    with pytest.warns(UserWarning, match=r"Labels \[1\] have no answers"):
        local = xentlearn.SoftmaxClassifier(tol=1e-12).fit(X, Y)
    with pytest.warns(UserWarning, match=r"Labels \[1\] have no answers"):
        clf = SoftmaxClassifier(tol=1e-12).fit(*parts)
    np.testing.assert_allclose(clf.coef_, local.coef_, rtol=1e-5, atol=1e-6)
    assert (clf.to_local().predict_proba(X)[:, 1] == 0.5).all()


def test_soft_rows_of_float16(X, rng):
    P = rng.dirichlet(np.ones(40), size=N).astype(np.float16)
    clf = SoftmaxClassifier(max_iter=20).fit(lazy(X), lazy(P))
    assert clf.coef_.shape == (40, N_FEATURES)
    P[700] *= np.float16(0.9)
    with pytest.raises(ValueError, match=r"sums to (0.9|0.89)"):
        SoftmaxClassifier().fit(lazy(X), lazy(P))


def test_large_coefficients_are_no_reason_to_warn(X, y):
    """Dask would advise to scatter them."""
    wide = (
        lazy(X[:100], 50).rechunk({1: -1}).map_blocks(np.tile, (1, 2000), chunks=((50, 50), 12000))
    )
    threshold = {"distributed.admin.large-graph-warning-threshold": "200 kiB"}
    with warnings.catch_warnings(), dask.config.set(threshold):
        warnings.filterwarnings("error", message="Sending large graph")
        SoftmaxClassifier(tol=0.5).fit(wide, lazy(y[:100], 50))


def test_labels_seen_in_one_partition_alone(X, y):
    """24 classes, each in one place: scikit-learn must not take them for a regression."""
    y = np.array([f"class {k:02d}" for k in range(24)])[np.arange(N) // 50]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = SoftmaxClassifier().fit(lazy(X), lazy(y))
    assert len(clf.classes_) == 24


@stopped_early
def test_progress_and_validation_rows(X, y, monkeypatch):
    """Partitions are counted as they are read; nothing else changes."""
    pytest.importorskip("rich")
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")
    read, counts = progress._Drawing.read, []

    def note(self, n_done, n_all):
        counts.append((n_done, n_all))
        read(self, n_done, n_all)

    monkeypatch.setattr(progress._Drawing, "read", note)
    X_lazy, y_lazy = da.from_array(X, chunks=(240, -1)), da.from_array(y, chunks=240)
    plain = SoftmaxClassifier(max_iter=5).fit(X_lazy, y_lazy)
    clf = SoftmaxClassifier(max_iter=5).set_callbacks(ProgressBar())
    clf.fit(X_lazy, y_lazy, X_val=X[:100], y_val=y[:100])
    assert counts == [(n, 5) for n in range(1, 6)]
    np.testing.assert_array_equal(clf.coef_, plain.coef_)
    loss = log_loss(y[:100], clf.predict_proba(X[:100]))
    assert clf.history_["validation_loss"][-1] == pytest.approx(loss, rel=1e-6)


# ---- Bits, laziness, clients ---------------------------------------------------------------------


@stopped_early
def test_same_bits_with_any_number_of_workers(X, y, one_worker):
    """Ten partitions: two levels of the tree."""
    data = lazy(X, 120), lazy(y, 120)
    clf = SoftmaxClassifier(solver="lbfgs", max_iter=4)
    first = clone(clf).fit(*data)
    assert_same_bits(first, clone(clf).fit(*data))
    clf.client = one_worker
    assert_same_bits(first, clf.fit(*data))


@stopped_early
def test_same_bits_with_any_number_of_threads(X, y, one_worker):
    """A single partition: on two workers two threads evaluate it."""
    data = lazy(X, N), lazy(y, N)
    clf = SoftmaxClassifier(solver="lbfgs", max_iter=4).fit(*data)
    assert_same_bits(clf, clone(clf).set_params(client=one_worker).fit(*data))


def write_down(block, folder):
    """A chunk, unchanged; each computation of it leaves a file."""
    for i in range(1000):
        try:
            with open(folder / f"{os.getpid()}-{i}", "x"):
                return block
        except FileExistsError:
            pass
    raise AssertionError


def test_fit_reads_its_input_once(X, y, client, tmp_path, monkeypatch):
    """X and y come from one source, and partitions stay where they are."""
    both = da.from_array(np.column_stack([X, y]), chunks=(300, -1))
    both = both.map_blocks(write_down, tmp_path, meta=np.empty((0, 0)))
    places, total = [], dask_rows.DaskRows.total

    def watched(self, method, *arguments):
        places.append(client.who_has(self._cluster.futures))
        return total(self, method, *arguments)

    monkeypatch.setattr(dask_rows.DaskRows, "total", watched)
    SoftmaxClassifier(solver="lbfgs").fit(both[:, :-1], both[:, -1])
    assert len(list(tmp_path.iterdir())) == 4
    assert len(places) > 5
    assert all(place == places[0] for place in places)
    assert all(len(holders) == 1 for holders in places[0].values())


def test_predictions_are_lazy(X, y, logits, tmp_path):
    clf = SoftmaxClassifier().fit(lazy(X), lazy(y))
    source = lazy(X).rechunk({1: -1}).map_blocks(write_down, tmp_path, meta=np.empty((0, 0)))
    for method in METHODS:
        found, wanted = getattr(clf, method)(source), getattr(clf, method)(X)
        assert isinstance(found, da.Array)
        assert isinstance(wanted, np.ndarray)
        assert found.shape == wanted.shape
        assert found.dtype == wanted.dtype
        assert found.chunks[0] == source.chunks[0]
        models = [layer for layer in found.dask.layers if layer.startswith("SoftmaxClassifier")]
        assert len(models) == 1
        assert not list(tmp_path.iterdir())
        np.testing.assert_array_equal(found.compute(), wanted)
        for path in tmp_path.iterdir():
            path.unlink()
    clf.fit(lazy(X), lazy((logits > 0).astype(int)))
    assert clf.predict(lazy(X)).shape == (N, N_CLASSES)
    np.testing.assert_array_equal(clf.predict(lazy(X)).compute(), clf.predict(X))
    assert clf.score(X, logits > 0) == pytest.approx(clf.score(lazy(X), lazy(logits > 0)))


def test_ignored_rows_are_not_judged(client, X, y, rng):
    """Whole partitions of them, too; and by a loss."""
    y = np.where(rng.random(N) < 0.5, y, -1)
    y[:250] = -1
    loss, weight = SparseCategoricalCrossentropy(ignore_class=-1), rng.random(N)
    clf = SoftmaxClassifier(loss, client=client).fit(lazy(X), lazy(y))
    local, kept = clf.to_local(), y >= 0
    wanted = np.average(local.predict(X)[kept] == y[kept], weights=weight[kept])
    assert clf.score(lazy(X), lazy(y), lazy(weight)) == pytest.approx(wanted, rel=1e-12)
    for unit in (1e-300, 5e306):  # sums of weights may be out of range
        got = clf.score(lazy(X), lazy(y), lazy(weight * unit))
        assert got == pytest.approx(wanted, rel=1e-12)
    assert local.score(X, y, weight) == pytest.approx(wanted, rel=1e-12)
    wanted = make_loss_scorer()(local, X, y, weight)
    for rows in (lazy(X), unknown(X)):
        got = make_loss_scorer()(clf, rows, lazy(y), lazy(weight))
        assert got == pytest.approx(wanted, rel=1e-12)
    with pytest.warns(RuntimeWarning, match="mean of no rows"):
        assert np.isnan(clf.score(lazy(X[:250]), lazy(y[:250])))


def test_to_local(X, y):
    clf = SoftmaxClassifier(C=3.0, verbose=0)
    assert clf.to_local().get_params() == xentlearn.SoftmaxClassifier(C=3.0).get_params()
    clf.fit(lazy(X), lazy(y))
    local = clf.to_local()
    assert type(local) is xentlearn.SoftmaxClassifier
    assert not hasattr(local, "client")
    again = pickle.loads(pickle.dumps(local))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    assert again.n_iter_ == clf.n_iter_
    local.fit(X, y)


def test_client_is_settable(X, y, client, one_worker, monkeypatch):
    used, get = [], Client.get

    def watched(self, *arguments, **options):
        used.append(self)
        return get(self, *arguments, **options)

    monkeypatch.setattr(Client, "get", watched)
    clf = SoftmaxClassifier()
    clf.fit(lazy(X), lazy(y))
    assert set(used) == {client}
    used.clear()
    clf.client = one_worker
    clf.fit(lazy(X), lazy(y))
    assert set(used) == {one_worker}
    assert clone(clf).client is one_worker
    assert clf.client is one_worker
    assert clf.set_params(client=client).client is client
    copied = pickle.loads(pickle.dumps(clf))
    assert copied.client is None
    np.testing.assert_array_equal(copied.coef_, clf.coef_)


# ---- Workers that die ----------------------------------------------------------------------------


def kill_in_round(wanted, monkeypatch, delay=0.0):
    """SIGKILL for a worker in these rounds: just before one is sent, or ``delay`` seconds later.

    Nobody tells the scheduler. Returns a function that tells how many rounds there were.
    """
    total, n_rounds = dask_rows.DaskRows.total, 0

    def disturbed(self, method, *arguments):
        nonlocal n_rounds
        n_rounds += 1
        if n_rounds in wanted:
            pid = min(self._cluster.client.run(os.getpid).values())
            killer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
            killer.start()
            if delay == 0:
                killer.join()
        return total(self, method, *arguments)

    monkeypatch.setattr(dask_rows.DaskRows, "total", disturbed)
    return lambda: n_rounds


@stopped_early
@pytest.mark.parametrize("delay", [0.0, 0.01])
def test_worker_killed(delay, X, y, monkeypatch):
    data = lazy(X, 120), lazy(y, 120)
    undisturbed = SoftmaxClassifier(solver="lbfgs", max_iter=8).fit(*data)
    n_rounds = kill_in_round({4}, monkeypatch, delay)
    clf = SoftmaxClassifier(solver="lbfgs", max_iter=8).fit(*data)
    assert n_rounds() > 8
    assert_same_bits(clf, undisturbed)


def test_all_workers_killed(X, y, one_worker, monkeypatch):
    """The coefficients of a round are lost, and the partitions: all begins anew."""
    undisturbed = SoftmaxClassifier(client=one_worker).fit(lazy(X), lazy(y))
    n_rounds = kill_in_round({2}, monkeypatch)
    clf = SoftmaxClassifier(client=one_worker).fit(lazy(X), lazy(y))
    assert n_rounds() > 2
    assert_same_bits(clf, undisturbed)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), KilledWorker("a task", None, 3)], ids=repr)
def test_broken_off(error, X, y, monkeypatch):
    """The best point so far is there, as after a fit on one machine that was broken off."""
    total, n_rounds = dask_rows.DaskRows.total, 0

    def broken(self, method, *arguments):
        nonlocal n_rounds
        n_rounds += 1
        if n_rounds == 5:
            raise error
        return total(self, method, *arguments)

    monkeypatch.setattr(dask_rows.DaskRows, "total", broken)
    clf = SoftmaxClassifier(solver="lbfgs")
    with pytest.raises(type(error)):
        clf.fit(lazy(X), lazy(y))
    assert clf.coef_.any()
    assert clf.score(lazy(X), lazy(y)) > 0.4


# ---- Errors --------------------------------------------------------------------------------------


def test_no_client(X, y, monkeypatch):
    def nobody():
        raise ValueError("No clients found")

    monkeypatch.setattr("distributed.default_client", nobody)
    with pytest.raises(ValueError, match=r"there is none. Start one first: client = dask.distr"):
        SoftmaxClassifier().fit(lazy(X), lazy(y))


def test_not_fitted(X, y):
    for method in METHODS:
        with pytest.raises(NotFittedError):
            getattr(SoftmaxClassifier(), method)(lazy(X))
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().score(lazy(X), lazy(y))


@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_data_in_memory(name, X, y):
    data = {"X": lazy(X), "y": lazy(y), "sample_weight": lazy(np.ones(N))}
    data[name] = data[name].compute()
    with pytest.raises(TypeError, match=rf"'{name}' must be a dask .* got ndarray; wrap it"):
        SoftmaxClassifier().fit(**data)


def test_number_of_rows(X, y):
    with pytest.raises(ValueError, match=rf"'X' and 'y' must have the same .* {N} and {N - 1}"):
        SoftmaxClassifier().fit(lazy(X), lazy(y[1:]))
    with pytest.raises(ValueError, match=r"correspond one to one; got 5 and 4, .*chunk_sizes"):
        SoftmaxClassifier().fit(unknown(X), lazy(y, 300))
    with pytest.raises(ValueError, match=r"In partition 4: .*inconsistent numbers of samples"):
        SoftmaxClassifier().fit(unknown(X), lazy(y[1:]))
    with pytest.raises(ValueError, match=r"'X' must have shape \(n_samples, n_features\)"):
        SoftmaxClassifier().fit(lazy(y), lazy(y))
    with pytest.raises(ValueError, match="at least one row"):
        SoftmaxClassifier().fit(lazy(X)[lazy(y) < 0], lazy(y)[lazy(y) < 0])


def test_values_of_a_partition(X, y):
    X[700, 3] = np.nan
    with pytest.raises(ValueError, match="In partition 2: Input X contains NaN"):
        SoftmaxClassifier().fit(lazy(X), lazy(y))
    X[700, 3] = 1e300
    with pytest.raises(ValueError, match=r"In partition 2: The squares of 'X' must be finite"):
        SoftmaxClassifier().fit(lazy(X), lazy(y))
    weight = np.ones(N)
    weight[300] = -1
    with pytest.raises(ValueError, match=r"In partition 1: .*'sample_weight'"):
        SoftmaxClassifier().fit(lazy(X), lazy(y), lazy(weight))
    with pytest.raises(ValueError, match="at least 2 classes"):
        SoftmaxClassifier().fit(lazy(X), lazy(np.zeros(N)))
    with pytest.raises(ValueError, match="Unknown label type"):
        SoftmaxClassifier().fit(lazy(X), lazy(X[:, 0]))


def test_partitions_that_differ(X, y):
    blocks = lazy(X).rechunk({1: -1})
    mixed = blocks.map_blocks(
        lambda block, block_info: (
            sparse.csr_matrix(block) if block_info[0]["chunk-location"][0] == 2 else block
        ),
        meta=np.empty((0, 0)),
    )
    with pytest.raises(ValueError, match="is_sparse is True in partition 2, False in partition 0"):
        SoftmaxClassifier().fit(mixed, lazy(y))


# ---- The module ----------------------------------------------------------------------------------


def test_docstrings():
    assert xentlearn.dask.__all__ == ["SoftmaxClassifier"]
    docstring = docstrings.read(SoftmaxClassifier)
    parameters = docstrings.parameters_of(SoftmaxClassifier.__init__)
    assert sorted(parameters) == SoftmaxClassifier._get_param_names()
    with pytest.raises(TypeError, match="unexpected keyword argument 'batch_size'"):
        SoftmaxClassifier(batch_size=10)
    docstrings.test_classes(SoftmaxClassifier)
    of_local = docstrings.read(xentlearn.SoftmaxClassifier).entries("Attributes")
    attributes = docstring.entries("Attributes")
    assert [entry.name for entry in attributes] == [entry.name for entry in of_local]
    for name in [*METHODS, "fit", "score", "to_local"]:
        method = getattr(SoftmaxClassifier, name)
        parameters = docstrings.parameters_of(method)
        docstrings.assert_documents(docstrings.read(method).entries("Parameters"), parameters)


def test_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "xentlearn.dask")
    with pytest.raises(ImportError, match=r'pip install "xentlearn\[dask\]"'):
        importlib.import_module("xentlearn.dask")


def test_dask_is_imported_only_when_it_is_asked_for():
    code = "import sys, xentlearn; assert not {'dask', 'distributed'} & set(sys.modules)"
    path = str(Path(xentlearn.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_plan_is_that_of_the_fit(client):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, N_FEATURES))
    y = (X @ rng.standard_normal((N_FEATURES, 3)) + rng.gumbel(size=(N, 3))).argmax(axis=1)
    X, y = da.from_array(X, chunks=(400, N_FEATURES)), da.from_array(y, chunks=400)
    clf = SoftmaxClassifier(client=client)
    before = clf.plan(X, y)
    assert clf.client is client
    assert not hasattr(clf, "n_features_in_")
    after = clf.fit(X, y).plan_
    assert before.solver == after.solver == clf.solver_
    assert before.steps == after.steps
    assert before.memory_bytes == after.memory_bytes
    assert "reading it included" in str(before)
