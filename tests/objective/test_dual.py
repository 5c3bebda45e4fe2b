"""Dual coordinate ascent: sweeps and looks against NumPy, bounds that hold, fits that end right."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import brentq
from scipy.special import expit, log1p, logit, xlog1py, xlogy
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryData
from xentlearn._data.targets import encode_y
from xentlearn._objective._dual import OUTPUTS, DualKernel, DualRows
from xentlearn._objective.dual import DualPoint, _lots, _of_lots
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


class Case:
    """A point with coefficients that belong to its predictions, and its problem in NumPy."""

    def __init__(self, X, rng, by_row, scale, p=None, rare=False, dtype=np.float64):
        weight = rng.uniform(0, 2, N if by_row else (N, N_OUTPUTS))
        weight[3] = 0.0
        self.scale, self.mean = scale, X.mean(axis=0) + 0.1 * rng.normal(size=N_FEATURES)
        p = rng.uniform(0.01, 0.99, (N, N_OUTPUTS)) if p is None else p
        targets = rng.integers(2, size=(N, N_OUTPUTS))
        self.targets = rng.random((N, N_OUTPUTS)) < 0.02 if rare else targets
        self.weight = np.broadcast_to(weight[:, np.newaxis] if by_row else weight, p.shape)
        c = rng.normal(size=N_OUTPUTS) - 6.0 * rare
        with np.errstate(divide="ignore"):
            self.point = DualPoint.at(logit(p), c, np.ones((2, OUTPUTS)), N_FEATURES, dtype)
        self.rows, self.Z = DualRows(X, self.mean, dtype), X.toarray() - self.mean
        self.of_kernel = weight[np.newaxis, :, np.newaxis] if by_row else _lots(weight)
        self.ones = _lots(scale * (X.astype(float).T @ (self.weight * self.targets)))
        self.exact = self.remade()

    @property
    def kernel(self):
        point = self.point
        arrays = point.logits, point.coef, point.shift, point.along, point.intercept, point.feedback
        return DualKernel(self.rows, self.scale, self.of_kernel, *arrays)

    def remade(self):
        """Compute coefficients anew, as ``Dual`` does; return them in float64."""
        point, exact = self.point, self.ones.copy()
        total = self.kernel.remake(exact, 2)
        of_ones = self.scale * (self.weight * self.targets).sum(axis=0)
        point.shift[...] = -self.scale * total
        point.shift.reshape(-1)[:N_OUTPUTS] += of_ones
        point.along[...], point.coef[...] = self.mean @ exact, exact
        return exact

    def sweep(self, least=-1.0, order=None, lots=(0, 1), n_threads=2):
        order = np.arange(N, dtype=np.int32) if order is None else order
        lots = np.array(lots)
        return self.kernel.sweep(lots, order, np.full(len(lots), least), n_threads)

    @property
    def p(self):
        return expit(unlotted(self.point.logits).astype(float))

    @property
    def intercept(self):
        return self.point.by_output(self.point.intercept)

    def W(self):
        return -self.scale * self.Z.T @ (self.weight * (self.p - self.targets))

    def swept_W(self):
        """The coefficients as sweeps have updated them."""
        shift = self.point.by_output(self.point.shift)
        return unlotted(self.point.coef) - np.outer(self.mean, shift)

    def logits(self):
        return self.Z @ self.W() + self.intercept


def unlotted(lots):
    return np.concatenate(list(lots), axis=1)[:, :N_OUTPUTS]


def best(z, pull, p):
    """The p that solves the equation of a row (``_kernels/dual_body.h``)."""

    def residual(v):
        return v - z + pull * (expit(v) - p)

    return expit(brentq(residual, z - pull - 1, z + pull + 1))


def divergence(p, z):
    cross = np.maximum(z, 0) + log1p(np.exp(-np.abs(z))) - p * z
    return cross + xlogy(p, p) + xlog1py(1 - p, -p)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_remake(target, by_row, dtype, X, rng):
    p = rng.uniform(size=(N, N_OUTPUTS))
    p[0], p[1], p[2] = 0.0, 1.0, 1e-30
    case = Case(X.astype(dtype), rng, by_row, 0.3, p, dtype=dtype)
    np.testing.assert_allclose(case.p, p, atol=1e-6 if dtype == np.float32 else 1e-14)
    np.testing.assert_allclose(
        unlotted(case.exact) - np.outer(case.mean, case.point.by_output(case.point.shift)),
        case.W(),
        atol=1e-12,
    )
    alpha = case.weight * (case.p - case.targets)
    shift = case.point.by_output(case.point.shift)
    np.testing.assert_allclose(shift, -0.3 * alpha.sum(axis=0), atol=1e-12)
    assert np.abs(unlotted(case.point.coef) - unlotted(case.exact)).max() < 1e-5


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("feedback", [0.0, 0.7])
@pytest.mark.parametrize("scale", [0.01, 0.3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sweep(target, dtype, by_row, feedback, scale, X, rng):
    """Row after row as written down; and the coefficients still belong to the p."""
    case = Case(X.astype(dtype), rng, by_row, scale, dtype=dtype)
    case.point.feedback[:] = feedback
    p, weight, targets, Z = case.p, case.weight, case.targets, case.Z
    order = rng.permutation(N).astype(np.int32)
    met = slopes = 0.0
    for i in order:
        alpha = weight * (p - targets)
        z = Z[i] @ (-scale * Z.T @ alpha) + case.intercept - feedback * scale * alpha.sum(axis=0)
        off = z - logit(p[i])
        pull = scale * weight[i] * (Z[i] @ Z[i] + feedback)
        now = np.array([best(*each) for each in zip(z, pull, p[i], strict=True)])
        slope = np.maximum(now * (1 - now), p[i] * (1 - p[i]))
        met += 0.5 * weight[i] @ (off**2 * slope)
        p[i] = now
        slope = weight[i] * now * (1 - now)
        slopes += slope / (1 + scale * (Z[i] @ Z[i]) * slope)
    found, response = case.sweep(order=order)
    # one step of Newton's method leaves something to later sweeps
    assert np.abs(case.p - p).max() < {0.01: 1e-4, 0.3: 0.05}[scale]
    assert found.sum() == pytest.approx(met, rel=0.1)
    np.testing.assert_allclose(response.reshape(-1)[:N_OUTPUTS], slopes, rtol=0.05)
    alpha = case.weight * (case.p - targets)
    digits = 2e-5 if dtype == np.float32 else 1e-11
    shift = case.point.by_output(case.point.shift)
    np.testing.assert_allclose(shift, -scale * alpha.sum(axis=0), atol=digits * N * scale)
    np.testing.assert_allclose(case.swept_W(), case.W(), atol=digits * N * scale)


def test_sweep_of_rare_labels(target, X, rng):
    """One step is enough where p is small, though rows pull hard: each p within some percent."""
    case = Case(X, rng, True, 2.0, rng.uniform(1e-3, 4e-3, (N, N_OUTPUTS)), rare=True)
    p, weight, Z = case.p, case.weight, case.Z
    for i in range(N):
        z = Z[i] @ (-2.0 * Z.T @ (weight * (p - case.targets))) + case.intercept
        pull = 2.0 * weight[i] * (Z[i] @ Z[i])
        p[i] = [best(*each) for each in zip(z, pull, p[i], strict=True)]
    assert (2.0 * weight * (Z**2).sum(axis=1, keepdims=True)).max() > 10
    case.sweep()
    np.testing.assert_allclose(case.p, p, rtol=0.05)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rows_with_a_small_gap_stay(target, dtype, X, rng):
    """The gap is known within a factor of a few; all rows, or none, at the extremes."""
    case = Case(X.astype(dtype), rng, True, 1e-6, dtype=dtype)
    before, gaps = case.p, (case.weight * divergence(case.p, case.logits())).reshape(N, -1)
    lot = gaps[:, :OUTPUTS].sum(axis=1)
    least = np.median(lot)
    met = case.sweep(least)[0]
    moved = (np.abs(case.p - before)[:, :OUTPUTS] > 1e-6).any(axis=1)
    assert moved[lot > least].all()
    assert not moved[lot < least / 8].any()
    assert 5 < moved.sum() < N
    assert gaps.sum() / 2 < met.sum() < 4 * gaps.sum()
    before = case.point.logits.copy()
    case.sweep(np.inf)
    np.testing.assert_array_equal(case.point.logits, before)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize(
    ("scale", "rare"),
    [(1e-3, False), (1.0, False), (50.0, False), (1e4, False), (1.0, True), (50.0, True)],
)
def test_sweeps_rise(target, by_row, rare, scale, X, rng):
    """The dual's value with the intercept held, however hard rows pull."""
    p = rng.uniform(1e-4, 1e-2, (N, N_OUTPUTS)) if rare else None
    case = Case(X, rng, by_row, scale, p, rare)

    def value():
        alpha = case.weight * (case.p - case.targets)
        entropy = -xlogy(case.p, case.p) - xlog1py(1 - case.p, -case.p)
        W = case.Z.T @ alpha
        linear = case.intercept * alpha.sum(axis=0)
        return (case.weight * entropy).sum(axis=0) + linear - 0.5 * scale * (W**2).sum(axis=0)

    before = value()
    for _ in range(20):
        met, _ = case.sweep()
        after = value()
        assert np.isfinite(met).all()
        assert (after >= before - 1e-9 * np.abs(before)).all()
        before = after


@pytest.mark.parametrize("by_row", [True, False])
def test_many_sweeps_solve(target, by_row, X, rng):
    """Every p is what the coefficients predict."""
    case = Case(X, rng, by_row, 0.3)
    for _ in range(300):
        case.sweep(n_threads=1)
    np.testing.assert_allclose(case.p, expit(case.logits()), atol=1e-12)


@pytest.mark.parametrize("by_row", [True, False])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_look(target, dtype, by_row, X, rng):
    p = rng.uniform(size=(N, N_OUTPUTS))
    p[0], p[1], p[2] = 0.0, 1.0, 1e-30
    case = Case(X.astype(dtype), rng, by_row, 2.0, p, dtype=dtype)
    share, constant = rng.uniform(0, 0.5, N_OUTPUTS), rng.uniform(size=N_OUTPUTS)
    share[:5] = 0.0
    found = case.kernel.look(case.exact, _of_lots(share), _of_lots(constant), 2)
    entropy, distance = (case.point.by_output(part) for part in found)
    p, weight = case.p, case.weight
    q = (1 - share) * p + share * constant
    of_q = -xlogy(q, q) - xlog1py(1 - q, -q)
    cross = divergence(p, case.logits()) - xlogy(p, p) - xlog1py(1 - p, -p)
    np.testing.assert_allclose(entropy, (weight * of_q).sum(axis=0), rtol=1e-11)
    np.testing.assert_allclose(distance, (weight * (cross - of_q)).sum(axis=0), rtol=1e-9)


def test_unchosen_lots_stay(X, rng):
    case = Case(X, rng, True, 1.0)
    before = case.point.logits.copy(), case.point.coef.copy()
    case.sweep(lots=[1])
    for old, new in zip(before, (case.point.logits, case.point.coef), strict=True):
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
    X = sparse.csr_array(X, dtype=dtype)
    l2_reg = 1 / encoded.total_weight

    def objective(X=X):
        rows = MemoryData(X).rows(encoded, outputs)
        return LinearObjective(rows, l2_reg, fit_intercept, 2)

    exact = objective(X.astype(np.float64))  # in float32 it would search among rounding errors
    best = lbfgs(exact, exact.start(), tol=1e-13, max_iter=500, polish=1e-18)
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
def test_start(name, fit_intercept, rng):
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
    targets = Y if name != "one label per row" else y[:, np.newaxis] == np.unique(y)
    targets = targets[:, outputs] * (1 - loss.label_smoothing) + loss.label_smoothing / 2
    mean = of_rows @ dense / S if fit_intercept else np.zeros(dense.shape[1])

    for pull in (0.3, 4.0):
        l2_reg = 1 / (S * pull)
        objective = LinearObjective(data.rows(encoded, outputs), l2_reg, fit_intercept, 2)
        b = rng.normal(size=len(outputs)) if fit_intercept else np.zeros(len(outputs))
        vector = np.zeros(objective.shape)
        if fit_intercept:
            vector[-1] = b
        dual = objective.dual
        squares = of_rows * ((dense - mean) ** 2).sum(axis=1)
        assert dual.pull == pytest.approx(squares.sum() * pull / len(Y), rel=1e-5)
        value, point = dual.point(vector.ravel())
        share = 1 / max(1.0, dual.pull)
        p = share * expit(b) + (1 - share) * targets
        alpha = of_rows[:, np.newaxis] * (p - targets)
        losses = of_rows[:, np.newaxis] * (np.logaddexp(0, b) - targets * b)
        assert value == pytest.approx(losses.sum() / S, rel=1e-12)
        found = expit(np.concatenate(list(point.logits), axis=1)[:, : len(outputs)].astype(float))
        np.testing.assert_allclose(found, p, rtol=1e-5)
        W = -(dense - mean).T @ alpha / (S * l2_reg)
        shift = -alpha.sum(axis=0) / (S * l2_reg)
        tolerance = {"rtol": 1e-5, "atol": 1e-5 * np.abs(W).max()}
        for _ in range(2):  # as it is, and computed anew from all rows
            of_features = np.concatenate(list(point.coef), axis=1)[:, : len(outputs)]
            along = point.by_output(point.along)
            np.testing.assert_allclose(along, mean @ of_features, **tolerance)
            if fit_intercept:
                np.testing.assert_allclose(point.by_output(point.shift), shift, **tolerance)
            of_features = of_features - np.outer(mean, point.by_output(point.shift))
            np.testing.assert_allclose(of_features, W, **tolerance)
            dual._remake(point)
        np.testing.assert_array_equal(point.by_output(point.intercept), b)


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
    assert solver_of(X, Y, C=10) == "dual-ascent"
    assert solver_of(X, Y, C=1e4) == "lbfgs"  # rows pull too much at each other
    assert solver_of(X, Y[:, :9], C=0.1) != "dual-ascent"
    assert solver_of(X, Y.argmax(axis=1), C=0.1) != "dual-ascent"
    assert solver_of(X.toarray(), Y, C=0.1) != "dual-ascent"
    assert solver_of(X, Y, C=0.1, solver="newton-cg") == "newton-cg"


def test_goes_on_by_lbfgs(rng, stays_sparse, set_sweeps):
    """One history of both, and any number of iterations."""
    set_sweeps(most_sweeps=0.1, sweeps=3)
    X, Y = texts(rng)
    clf = SoftmaxClassifier(C=5, tol=1e-8).fit(X, Y)
    assert clf.solver_ == "dual-ascent"
    best = SoftmaxClassifier(C=5, tol=1e-11, solver="lbfgs").fit(X, Y)
    assert clf.objective_ <= best.objective_ * (1 + 1e-8)
    assert clf.optimality_gap_ < 1e-7
    assert {len(values) for values in clf.history_.values()} == {clf.n_iter_[0] + 1}
    assert (np.diff(clf.history_["objective"]) <= 1e-12).all()
    assert (np.diff(clf.history_["seconds"]) >= 0).all()


@pytest.mark.parametrize("most", [0.1, 60])
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
