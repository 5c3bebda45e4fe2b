"""Dual coordinate ascent: sweeps and looks against NumPy, bounds that hold, fits that end right."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import brentq
from scipy.special import expit, log1p, xlog1py, xlogy
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryData
from xentlearn._data.targets import encode_y
from xentlearn._objective._dual import DualRows
from xentlearn._objective.dual import DualPoint
from xentlearn._objective.linear import LinearObjective
from xentlearn._solvers.lbfgs import lbfgs
from xentlearn._solvers.registry import SETTINGS
from xentlearn.callbacks import Checkpoint
from xentlearn.losses import BinaryCrossentropy

N, N_FEATURES, N_OUTPUTS = 60, 25, 19  # the last lot is not full


@pytest.fixture
def X(rng):
    X = sparse.random(N, N_FEATURES, density=0.2, format="csr", rng=rng)
    X.data += 0.5
    return sparse.csr_array(X)


def point_of(X, rng, by_row, scale, p=None, rare=False):
    """(rows, mean, weight of entries, point) with coefficients that belong to the p."""
    weight = rng.uniform(0, 2, N if by_row else (N, N_OUTPUTS))
    weight[3] = 0.0
    mean = X.mean(axis=0) + 0.1 * rng.normal(size=N_FEATURES)
    p = rng.uniform(0.01, 0.99, (N, N_OUTPUTS)) if p is None else p
    targets = rng.integers(2, size=(N, N_OUTPUTS))
    if rare:
        targets = rng.random((N, N_OUTPUTS)) < 0.02
    alpha = (weight[:, np.newaxis] if by_row else weight) * (p - targets)
    W = -scale * (X.toarray() - mean).T @ alpha
    c = rng.normal(size=N_OUTPUTS) - 6.0 * rare
    point = DualPoint.at(p, weight, W, c, alpha.sum(axis=0), mean, scale)
    of_entries = np.broadcast_to(weight[:, np.newaxis] if by_row else weight, p.shape)
    return DualRows(X, mean), mean, of_entries, targets, point


def unlotted(lots):
    return np.concatenate(list(lots), axis=1)[:, :N_OUTPUTS]


def logits(X, mean, point):
    W = unlotted(point.coef) - np.outer(mean, point.by_output(point.shift))
    return (X.toarray() - mean) @ W + point.by_output(point.intercept)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("scale", [0.01, 0.3])
def test_sweep(target, by_row, scale, X, rng):
    """Row after row as written down; and the coefficients still belong to the p."""
    data, mean, weight, targets, point = point_of(X, rng, by_row, scale)
    p = unlotted(point.p)
    Z = X.toarray() - mean
    for i in range(N):
        W = -scale * Z.T @ (weight * (p - targets))
        z = Z[i] @ W + point.by_output(point.intercept)
        for k in range(N_OUTPUTS):
            pull = scale * weight[i, k] * (Z[i] @ Z[i])

            def residual(v, z=z[k], pull=pull, p=p[i, k]):
                return v - z + pull * (expit(v) - p)

            p[i, k] = expit(brentq(residual, z[k] - pull - 1, z[k] + pull + 1))
    point.sweep(data, np.arange(point.n_lots), False, 2)
    # one step of Newton's method leaves something to later sweeps
    assert np.abs(unlotted(point.p) - p).max() < {0.01: 1e-4, 0.3: 0.05}[scale]
    alpha = weight * (unlotted(point.p) - targets)
    np.testing.assert_allclose(
        point.by_output(point.shift), -scale * alpha.sum(axis=0), atol=1e-12 * N * scale
    )
    W = unlotted(point.coef) - np.outer(mean, point.by_output(point.shift))
    np.testing.assert_allclose(W, -scale * Z.T @ alpha, atol=1e-11 * N * scale)


def test_sweep_of_rare_labels(target, X, rng):
    """One step is enough where p is small, though rows pull hard: each p within some percent."""
    p = rng.uniform(1e-3, 4e-3, (N, N_OUTPUTS))
    data, mean, weight, targets, point = point_of(X, rng, True, 2.0, p, rare=True)
    Z, p = X.toarray() - mean, p.copy()
    for i in range(N):
        z = Z[i] @ (-2.0 * Z.T @ (weight * (p - targets))) + point.by_output(point.intercept)
        pull = 2.0 * weight[i] * (Z[i] @ Z[i])
        for k in range(N_OUTPUTS):

            def residual(v, z=z[k], pull=pull[k], p=p[i, k]):
                return v - z + pull * (expit(v) - p)

            p[i, k] = expit(brentq(residual, z[k] - pull[k] - 1, z[k] + pull[k] + 1))
    assert (2.0 * weight * (Z**2).sum(axis=1, keepdims=True)).max() > 10
    point.sweep(data, np.arange(point.n_lots), False, 2)
    np.testing.assert_allclose(unlotted(point.p), p, rtol=0.05)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize(
    ("scale", "rare"),
    [(1e-3, False), (1.0, False), (50.0, False), (1e4, False), (1.0, True), (50.0, True)],
)
def test_sweeps_rise(target, by_row, rare, scale, X, rng):
    """The dual's value with the intercept held, however hard rows pull."""
    p = rng.uniform(1e-4, 1e-2, (N, N_OUTPUTS)) if rare else None
    data, mean, weight, targets, point = point_of(X, rng, by_row, scale, p, rare)
    Z = X.toarray() - mean

    def value():
        p = unlotted(point.p)
        alpha = weight * (p - targets)
        entropy = -xlogy(p, p) - xlog1py(1 - p, -p)
        W = Z.T @ alpha
        linear = point.by_output(point.intercept) * alpha.sum(axis=0)
        return (weight * entropy).sum(axis=0) + linear - 0.5 * scale * (W**2).sum(axis=0)

    before = value()
    for _ in range(20):
        rise = point.sweep(data, np.arange(point.n_lots), False, 2)
        after = value()
        assert np.isfinite(rise).all()
        assert (after >= before - 1e-9 * np.abs(before)).all()
        before = after


@pytest.mark.parametrize("by_row", [True, False])
def test_many_sweeps_solve(target, by_row, X, rng):
    """Every p is what the coefficients predict."""
    data, mean, _, _, point = point_of(X, rng, by_row, 0.3)
    for _ in range(300):
        point.sweep(data, np.arange(point.n_lots), False, 1)
    np.testing.assert_allclose(unlotted(point.p), expit(logits(X, mean, point)), atol=1e-12)


@pytest.mark.parametrize("by_row", [True, False])
def test_look(target, by_row, X, rng):
    p = rng.uniform(size=(N, N_OUTPUTS))
    p[0], p[1], p[2] = 0.0, 1.0, 1e-300
    data, mean, weight, _, point = point_of(X, rng, by_row, 2.0, p)
    share, constant = rng.uniform(0, 0.5, N_OUTPUTS), rng.uniform(size=N_OUTPUTS)
    share[:5] = 0.0
    entropy, distance = point.look(data, share, constant, 2)
    q = (1 - share) * p + share * constant
    of_q = -xlogy(q, q) - xlog1py(1 - q, -q)
    z = logits(X, mean, point)
    cross = np.maximum(z, 0) + log1p(np.exp(-np.abs(z))) - p * z
    np.testing.assert_allclose(entropy, (weight * of_q).sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(distance, (weight * (cross - of_q)).sum(axis=0), rtol=1e-11)


def test_unchosen_lots_stay(X, rng):
    data, _, _, _, point = point_of(X, rng, True, 1.0)
    before = point.p.copy(), point.coef.copy(), point.intercept.copy()
    point.sweep(data, [1], True, 1)
    for old, new in zip(before, (point.p, point.coef, point.intercept), strict=True):
        np.testing.assert_array_equal(old[0], new[0])
        assert (old[1] != new[1]).any()


# ---- Bounds --------------------------------------------------------------------------------------


def texts(rng, n=400, n_features=150, n_outputs=21):
    X = sparse.random(n, n_features, density=0.05, format="csr", rng=rng)
    z = 4 * (X @ rng.normal(size=(n_features, n_outputs))) + rng.logistic(size=(n, n_outputs))
    return X, (z > np.linspace(0, 4, n_outputs)).astype(float)


def variants(rng, Y):
    """(loss, y, sample_weight) of everything whose plain binary loss sweeps can take."""
    missing = np.where(rng.random(Y.shape) < 0.2, np.nan, Y)
    by_row, by_entry = rng.uniform(0.2, 3, len(Y)), rng.uniform(0, 3, Y.shape)
    return {
        "plain": (BinaryCrossentropy(), Y, None),
        "sparse": (BinaryCrossentropy(), sparse.csr_array(Y), None),
        "weights": (BinaryCrossentropy(), Y, by_row),
        "weights of entries": (BinaryCrossentropy(), Y, by_entry),
        "missing": (BinaryCrossentropy(), missing, None),
        "smoothed": (BinaryCrossentropy(label_smoothing=0.2), Y, None),
        "pos_weight": (BinaryCrossentropy(pos_weight=3.0), Y, by_row),
        "one label per row": (BinaryCrossentropy(), Y.argmax(axis=1), None),
    }


@pytest.fixture
def whatever_the_pull(set_rules):
    """Sweeps also where L-BFGS takes less time."""
    set_rules(most_pull=np.inf)


@pytest.fixture
def set_sweeps(monkeypatch):
    """Function that changes settings of the solver."""

    def set_sweeps(**changes):
        name = "dual-ascent"
        monkeypatch.setitem(SETTINGS, name, replace(SETTINGS[name], **changes))

    return set_sweeps


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", list(variants(np.random.default_rng(0), np.zeros((2, 2)))))
def test_bounds_hold(name, dtype, fit_intercept, rng):
    """From the first sweep on, by output; values are those of the objective."""
    X, Y = texts(rng)
    loss, y, weight = variants(rng, Y)[name]
    encoded = encode_y(y, len(Y), loss, None, weight)
    outputs = np.arange(encoded.n_outputs)
    data = MemoryData(sparse.csr_array(X, dtype=dtype))
    l2_reg = 1 / encoded.total_weight

    def objective():
        return LinearObjective(data.rows(encoded, outputs), l2_reg, fit_intercept, 2)

    best = lbfgs(objective(), objective().start(), tol=1e-13, max_iter=500, polish=True)
    swept = objective()
    dual = swept.dual
    start, point = dual.point(swept.start())
    eps = float(np.finfo(dtype).eps)
    assert start >= best.objective * (1 - 10 * eps)
    for sweep in range(25):
        dual.sweep(point, np.arange(point.n_lots))
        vector, value, gaps = dual.look(point)
        assert value == pytest.approx(objective().value_gradient(vector)[0], rel=10 * eps)
        assert gaps.shape == (len(outputs),)
        assert (gaps >= 0).all()
        assert value - gaps.sum() <= best.objective * (1 + 2 * eps)
        if sweep == 1:
            early = gaps.sum()
    assert gaps.sum() < 1e-3 * early
    assert gaps.sum() < 1e-5 * value


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize(
    "name", ["zeros", "all groups", "weights", "smoothed", "one label per row"]
)
def test_constant_predictions(name, fit_intercept, rng):
    """W = 0 against sums over all rows as they are written down in ``dual.py``."""
    X, Y = texts(rng)
    loss, y, weight = variants(rng, Y).get(name, (BinaryCrossentropy(), Y, None))
    if name == "zeros":  # stored ones
        y = sparse.csr_array((Y.ravel(), np.tile(np.arange(Y.shape[1]), len(Y)),
                              np.arange(0, Y.size + 1, Y.shape[1])), shape=Y.shape)  # fmt: skip
    encoded = encode_y(y, len(Y), loss, None, weight)
    outputs = rng.permutation(encoded.n_outputs)[: 19 if name != "all groups" else None]
    data = MemoryData(sparse.csr_array(X, dtype=np.float32))
    of_rows = np.ones(len(Y)) if weight is None else weight
    S, dense = of_rows.sum(), data.X.toarray().astype(float)
    l2_reg = 0.3 / S
    targets = Y if name != "one label per row" else y[:, np.newaxis] == np.unique(y)
    targets = targets[:, outputs] * (1 - loss.label_smoothing) + loss.label_smoothing / 2
    mean = of_rows @ dense / S if fit_intercept else np.zeros(dense.shape[1])

    for _ in range(2):  # what the rows share is used by the second objective
        objective = LinearObjective(data.rows(encoded, outputs), l2_reg, fit_intercept, 2)
        b = rng.normal(size=len(outputs)) if fit_intercept else np.zeros(len(outputs))
        vector = np.zeros(objective.shape)
        if fit_intercept:
            vector[-1] = b
        dual = objective.dual
        value, point = dual.point(vector.ravel())
        alpha = of_rows[:, np.newaxis] * (expit(b) - targets)
        W = -(dense - mean).T @ alpha / (S * l2_reg)
        losses = of_rows[:, np.newaxis] * (np.logaddexp(0, b) - targets * b)
        shift = -alpha.sum(axis=0) / (S * l2_reg) if fit_intercept else np.zeros(len(b))
        assert value == pytest.approx(losses.sum() / S, rel=1e-12)
        p = np.concatenate(list(point.p), axis=1)[:, : len(outputs)]
        np.testing.assert_allclose(p, np.broadcast_to(expit(b), targets.shape), rtol=1e-14)
        of_features = np.concatenate(list(point.coef), axis=1)[:, : len(outputs)]
        scale = np.abs(W).max()
        found = of_features - np.outer(mean, point.by_output(point.shift))
        np.testing.assert_allclose(found, W, atol=1e-6 * scale)  # means of float32 X
        np.testing.assert_allclose(point.by_output(point.shift), shift, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            point.by_output(point.along), mean @ of_features, rtol=1e-6, atol=1e-6 * scale
        )
        np.testing.assert_array_equal(point.by_output(point.intercept), b)
        if fit_intercept:
            shares = targets.T @ of_rows / S
            gradient = dense.T @ (of_rows[:, np.newaxis] * (shares - targets)) / S
            found = dual._constant_gradient(np.stack([1 - shares, shares], axis=1))
            np.testing.assert_allclose(found, gradient, atol=1e-6 * np.abs(gradient).max())


def test_value(rng):
    """The value without its gradient."""
    X, Y = texts(rng)
    for name, (loss, y, weight) in variants(rng, Y).items():
        encoded = encode_y(y, len(Y), loss, None, weight)
        rows = MemoryData(X).rows(encoded, np.arange(encoded.n_outputs))
        objective = LinearObjective(rows, 0.1, True, 2)
        vector = rng.normal(size=objective.size)
        want = objective.value_gradient(vector)[0]
        assert objective.value(vector) == pytest.approx(want, rel=1e-12), name


# ---- Fits ----------------------------------------------------------------------------------------


@pytest.fixture
def stays_sparse(set_rules, whatever_the_pull):
    set_rules(small_work=0, polished_work=0)


@pytest.mark.parametrize("tol", [1e-4, 1e-8])
@pytest.mark.parametrize("name", list(variants(np.random.default_rng(0), np.zeros((2, 2)))))
def test_fits(name, tol, rng, stays_sparse):
    X, Y = texts(rng)
    loss, y, weight = variants(rng, Y)[name]
    auto = SoftmaxClassifier(loss, tol=tol).fit(X, y, weight)
    assert auto.solver_ == "dual-ascent"
    other = SoftmaxClassifier(loss, tol=1e-11, solver="lbfgs").fit(X, y, weight)
    assert auto.objective_ <= other.objective_ * (1 + tol)
    assert auto.objective_ * (1 - auto.optimality_gap_) <= other.objective_ * (1 + 1e-11)
    assert auto.optimality_gap_ <= tol
    assert auto.history_["objective"][-1] == pytest.approx(auto.objective_, rel=1e-12)
    assert auto.history_["gap"][-1] <= tol


@pytest.mark.parametrize("C", [1e-3, 1.0, 5.0, 1e4, np.inf])
def test_any_strength(C, rng, stays_sparse):
    """Where sweeps are slow L-BFGS goes on."""
    X, Y = texts(rng)
    auto = SoftmaxClassifier(C=C, max_iter=3000).fit(X, Y)
    other = SoftmaxClassifier(C=C, max_iter=3000, solver="lbfgs").fit(X, Y)
    assert auto.objective_ <= other.objective_ * (1 + 1e-4) + 1e-6
    assert auto.solver_ == ("lbfgs" if C == np.inf else "dual-ascent")


def test_which_problems_are_swept(rng, set_rules):
    set_rules(small_work=0, polished_work=0)
    X, Y = texts(rng)

    def solver_of(X, y, **parameters):
        return SoftmaxClassifier(**parameters).fit(X, y).solver_

    assert solver_of(X, Y, C=0.1) == "dual-ascent"
    assert solver_of(X, Y.argmax(axis=1), C=0.1, loss="binary_crossentropy") == "dual-ascent"
    assert solver_of(X, Y, C=10) == "lbfgs"
    assert solver_of(X, Y[:, :9], C=0.1) != "dual-ascent"
    assert solver_of(X, Y.argmax(axis=1), C=0.1) != "dual-ascent"
    assert solver_of(X.toarray(), Y, C=0.1) != "dual-ascent"
    assert solver_of(X, Y, C=0.1, solver="newton-cg") == "newton-cg"


def test_goes_on_by_lbfgs(rng, stays_sparse, set_sweeps):
    """One history of both, and any number of iterations."""
    set_sweeps(most_sweeps=3, sweeps=3)
    X, Y = texts(rng)
    clf = SoftmaxClassifier(C=5, tol=1e-8).fit(X, Y)
    assert clf.solver_ == "dual-ascent"
    best = SoftmaxClassifier(C=5, tol=1e-11, solver="lbfgs").fit(X, Y)
    assert clf.objective_ <= best.objective_ * (1 + 1e-8)
    assert clf.optimality_gap_ < 1e-7
    assert {len(values) for values in clf.history_.values()} == {clf.n_iter_[0] + 1}
    assert (np.diff(clf.history_["objective"]) <= 1e-12).all()
    assert (np.diff(clf.history_["seconds"]) >= 0).all()


@pytest.mark.parametrize("most", [3, 60])
@pytest.mark.parametrize("stop", [1, 2, 4])
def test_checkpoints(most, stop, rng, stays_sparse, set_sweeps, tmp_path):
    """Broken off among the sweeps or after them, a fit goes on with the same bits."""
    set_sweeps(most_sweeps=most, sweeps=3)
    X, Y = texts(rng)

    class StopAt(Checkpoint):
        seen = 0

        def on_fit_task_end(self, estimator, context):
            super().on_fit_task_end(estimator, context)
            self.seen += 1
            if self.seen == stop:
                raise KeyboardInterrupt

    whole = SoftmaxClassifier(C=5, tol=1e-8).fit(X, Y)
    path = tmp_path / "file"
    clf = SoftmaxClassifier(C=5, tol=1e-8).set_callbacks(StopAt(path, seconds=0))
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    clf.set_callbacks(Checkpoint(path)).fit(X, Y)
    np.testing.assert_array_equal(clf.coef_, whole.coef_)
    np.testing.assert_array_equal(clf.intercept_, whole.intercept_)
    np.testing.assert_array_equal(clf.history_["objective"], whole.history_["objective"])
    assert clf.n_iter_ == whole.n_iter_


def test_warm_start_and_threads(rng, stays_sparse):
    X, Y = texts(rng)
    clf = SoftmaxClassifier(warm_start=True, tol=1e-6).fit(X, Y)
    first = clf.objective_
    clf.fit(X, Y)
    assert clf.n_iter_[0] <= 1
    assert clf.objective_ <= first * (1 + 1e-9)
    with threadpool_limits(1):
        one = SoftmaxClassifier(tol=1e-6).fit(X, Y)
    two = SoftmaxClassifier(tol=1e-6).fit(X, Y)
    np.testing.assert_array_equal(one.coef_, two.coef_)


@pytest.mark.filterwarnings("error")
def test_no_tolerance(rng, stays_sparse):
    """Sweeps end where nothing rises any more, without a word."""
    X, Y = texts(rng)
    clf = SoftmaxClassifier(tol=0).fit(X, Y)
    assert clf.optimality_gap_ < 1e-13
    assert clf.n_iter_[0] < 100


def test_no_entries(rng, stays_sparse):
    _, Y = texts(rng)
    clf = SoftmaxClassifier().fit(sparse.csr_array((len(Y), 10)), Y)
    assert not clf.coef_.any()
    np.testing.assert_allclose(clf.predict_proba(sparse.csr_array((1, 10)))[0], Y.mean(axis=0))


def test_float32(rng, stays_sparse):
    X, Y = texts(rng)
    clf = SoftmaxClassifier().fit(X.astype(np.float32), Y)
    assert clf.coef_.dtype == np.float32
    assert clf.solver_ == "dual-ascent"
    best = SoftmaxClassifier(tol=1e-11, solver="lbfgs").fit(X, Y)
    assert clf.objective_ <= best.objective_ * (1 + 1e-4)
    assert clf.optimality_gap_ <= 1.1e-4
