"""Dual ascent of a softmax: kernels against NumPy, bounds that hold, fits that end right."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from scipy.special import log_softmax, logsumexp, softmax, xlogy
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryData
from xentlearn._data.targets import encode_y
from xentlearn._objective._softmax_dual import SoftmaxKernel, SoftmaxRows, order_of, zeros
from xentlearn._objective.linear import LinearObjective
from xentlearn._objective.softmax_dual import LOW, batch_size, width_of
from xentlearn._solvers.lbfgs import lbfgs
from xentlearn._solvers.registry import SETTINGS
from xentlearn.callbacks import Checkpoint
from xentlearn.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy

N, N_FEATURES = 60, 25
WIDTHS = [2, 3, 7, 8, 9, 16, 17, 45, 100]
DTYPES = [np.float32, np.float64]


@pytest.fixture
def X(rng):
    X = sparse.random(N, N_FEATURES, density=0.2, format="csr", rng=rng)
    X.data += 0.5
    of_rows = np.ones(N)
    of_rows[5] = 0.0  # an empty row
    X = sparse.csr_array(sparse.diags_array(of_rows) @ X)
    X.eliminate_zeros()
    return X


class Point:
    """A point as the kernels hold it, and the same in NumPy, in float64."""

    def __init__(self, X, rng, K, dtype, scale, soft=False, smoothing=0.1):
        self.mean = X.mean(axis=0) + 0.1 * rng.normal(size=N_FEATURES)
        X = sparse.csr_array(X, dtype=dtype)
        self.rows, self.K, self.scale, self.dtype = (
            SoftmaxRows(X, self.mean, dtype),
            K,
            scale,
            dtype,
        )
        self.Z = X.toarray().astype(float) - self.mean
        self.weight = rng.uniform(0, 2, N)
        self.weight[3] = 0.0
        self.labels = labels = rng.integers(K, size=N, dtype=np.int32)
        base, share = smoothing / K, 1 - smoothing
        self.t = base + share * (labels[:, np.newaxis] == np.arange(K))
        width = width_of(K, dtype)
        self.width, self.order = width, order_of(N, 7)
        self.logs, self.coef = zeros((N, width), dtype), zeros((N_FEATURES, width), dtype)
        self.top, self.others = np.full(N, -1, np.int32), zeros(N, dtype)
        self.logs[:] = LOW
        self.logs[:, :K] = log_softmax(rng.normal(size=(N, K)), axis=1)
        self.shift, self.along, self.intercept, self.feedback = np.zeros((4, width), dtype)
        self.intercept[:] = LOW
        self.intercept[:K], self.feedback[:K] = rng.normal(size=K), rng.uniform(0, 2, K)
        values = None
        if soft:
            values = zeros((N, width), dtype)
            values[:, :K] = self.t
        self.kernel = SoftmaxKernel(
            *(self.rows, K, scale, self.weight, None if soft else labels, base, share, values),
            *(self.logs, self.top, self.others, self.coef, self.shift, self.along),
            self.intercept,
            self.feedback,
        )
        self.remake()

    def remake(self, constant=None):
        shift = np.zeros(self.width)
        shift[: self.K] = -self.scale * self.alpha.sum(axis=0)
        W = np.zeros((N_FEATURES, self.K))
        along, squares = self.kernel.remake(shift, W, constant, 2)
        self.shift[:], self.along[:] = shift, along
        return W, along, squares

    @property
    def q(self):
        return np.exp(self.logs[:, : self.K].astype(float))

    @property
    def alpha(self):
        return self.weight[:, np.newaxis] * (self.q - self.t)

    def W(self, q):
        return -self.scale * self.Z.T @ (self.weight[:, np.newaxis] * (q - self.t))

    def c(self, q):
        K, shift = self.K, -self.scale * (self.weight[:, np.newaxis] * (q - self.t)).sum(axis=0)
        return self.intercept[:K] + self.feedback[:K] * shift

    def value(self):
        """The dual objective, with the coefficient of a constant feature as the intercept."""
        q = self.q
        sums = self.alpha.sum(axis=0)
        entropy = -(self.weight[:, np.newaxis] * xlogy(q, q)).sum()
        of_constant = 0.5 * self.scale * (self.feedback[: self.K] * sums**2).sum()
        pull = 0.5 * self.scale * ((self.Z.T @ self.alpha) ** 2).sum()
        return entropy + self.intercept[: self.K] @ sums - pull - of_constant


def swept(point, batch):
    """The q after a sweep as written down in the kernel; what it meets; responses of classes."""
    q, u, met = point.q, point.logs[:, : point.K].astype(float), np.zeros(3)
    response = np.zeros(point.K)
    for t, i in enumerate(point.order):
        if t % batch == 0:
            W, c = point.W(q), point.c(q)
        z = log_softmax(point.Z[i] @ W + c)
        q0, weight = q[i].copy(), point.weight[i]
        met += weight * np.array([q0 @ (u[i] - z), -q0 @ u[i], -point.t[i] @ z])
        pull = point.scale * weight * (point.Z[i] @ point.Z[i] + point.feedback[: point.K])
        v = u[i].copy()
        for _ in range(2):
            now = np.exp(v)
            r, w = v + pull * (now - q0) - z, now / (1 + pull * now)
            nu = (now.sum() - 1 - w @ r) / w.sum()
            v = v - np.clip((r + nu) / (1 + pull * now), -4, 4)
        response += weight * (w - w**2 / w.sum())
        u[i] = np.maximum(log_softmax(v), -80)
        q[i] = np.exp(u[i])
    return q, met, response


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", WIDTHS)
@pytest.mark.parametrize("batch", [1, 7, 50])
def test_sweep(target, K, dtype, batch, X, rng):
    """Batch after batch as written down; and the coefficients still belong to the q."""
    point = Point(X, rng, K, dtype, 0.05)
    want, of_rows, of_classes = swept(point, batch)
    met, response = point.kernel.sweep(point.order, batch, n_threads=2)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(point.q, want, rtol=2000 * eps, atol=50 * eps)
    np.testing.assert_allclose(met, of_rows, rtol=2000 * eps)
    np.testing.assert_allclose(response[:K], of_classes, rtol=2000 * eps)
    size = np.abs(point.W(point.q)).max()
    shift = -point.scale * point.alpha.sum(axis=0)
    np.testing.assert_allclose(point.shift[:K], shift, atol=100 * eps * size)
    found = point.coef[:, :K] - np.outer(point.mean, shift)
    np.testing.assert_allclose(found, point.W(point.q), atol=200 * eps * size)
    np.testing.assert_allclose(point.along, point.mean @ point.coef, atol=200 * eps * size)
    assert not point.coef[:, K:].any() or np.abs(point.coef[:, K:]).max() < 1e-30


def test_rows_that_stay(target, X, rng):
    """Those with a small gap."""
    point = Point(X, rng, 9, np.float64, 0.05)
    before = point.logs.copy()
    z = log_softmax(point.Z @ point.W(point.q) + point.c(point.q), axis=1)
    gaps = (point.q * (before[:, :9] - z)).sum(axis=1)
    met, _ = point.kernel.sweep(point.order, 1, 2 * gaps.max())
    np.testing.assert_array_equal(point.logs, before)
    assert met[0] == pytest.approx(point.weight @ gaps)
    point.kernel.sweep(point.order, 1, np.median(gaps))
    stay = (point.logs == before).all(axis=1)
    assert 0.2 < stay.mean() < 0.8
    assert gaps[stay].mean() < gaps[~stay].mean()


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0, 1e4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sweeps_rise(target, dtype, scale, X, rng):
    """However hard rows pull, from the targets and from far away."""
    for far in (False, True):
        point = Point(X, rng, 5, dtype, scale)
        if far:
            point.logs[:, :5] = log_softmax(20 * rng.normal(size=(N, 5)), axis=1)
            point.remake()
        before, first = point.value(), None
        for number in range(30):
            point.kernel.sweep(order_of(N, number), 1)
            assert np.isfinite(point.logs).all()
            after = point.value()
            assert after >= before - (1e-9 if dtype == np.float64 else 1e-4) * abs(before)
            before, first = after, after if first is None else first
            point.remake()
        assert after > first


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [0.3, 20.0])
def test_many_sweeps_solve(target, scale, dtype, X, rng):
    """Every q is what the coefficients predict."""
    point = Point(X, rng, 9, dtype, scale)
    for number in range(400):
        point.kernel.sweep(order_of(N, number), 1)
    point.remake()
    q = softmax(point.Z @ point.W(point.q) + point.c(point.q), axis=1)
    least = 3000 * np.finfo(dtype).eps
    np.testing.assert_allclose(point.q, q, atol=least if scale < 1 else max(10 * least, 1e-7))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", WIDTHS)
def test_remake_and_look(target, K, dtype, soft, X, rng):
    point = Point(X, rng, K, dtype, 2.0, soft)
    W, along, squares = point.remake()
    want, eps = point.W(point.q), float(np.finfo(dtype).eps)
    size = np.abs(want).max()
    np.testing.assert_allclose(W, want, atol=20 * eps * size)
    np.testing.assert_allclose(
        point.coef[:, :K] - np.outer(point.mean, point.shift[:K]), want, atol=20 * eps * size
    )
    np.testing.assert_allclose(along, point.mean @ point.coef, atol=100 * eps * size)
    np.testing.assert_allclose(squares[:K], (want**2).sum(axis=0), rtol=200 * eps)

    q, z = point.q, log_softmax(point.Z @ want + point.c(point.q), axis=1)
    entropy, distance = point.kernel.look(2)
    assert entropy == pytest.approx(-point.weight @ xlogy(q, q).sum(axis=1), rel=20 * eps)
    of_rows = (q * (np.log(q) - z)).sum(axis=1)
    assert distance == pytest.approx(point.weight @ of_rows, rel=300 * eps)

    constant = np.zeros(point.width)
    constant[:K] = softmax(rng.normal(size=K))
    W, _, _ = point.remake(constant)
    q = np.broadcast_to(constant[:K], q.shape)
    shift = point.shift[:K].astype(float)  # that of the q before
    raw = -point.scale * (point.Z + point.mean).T @ (point.weight[:, np.newaxis] * (q - point.t))
    np.testing.assert_allclose(W, raw - np.outer(point.mean, shift), atol=100 * eps * size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", WIDTHS)
def test_tilt(target, K, dtype, X, rng):
    point = Point(X, rng, K, dtype, 2.0)
    delta, before = np.zeros(point.width), point.logs.copy()
    delta[:K] = rng.normal(size=K)
    want = softmax(before[:, :K].astype(float) + delta[:K], axis=1)
    sums = point.kernel.tilt(delta, False, 2)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(sums[:K], point.weight @ want, rtol=100 * eps)
    np.testing.assert_array_equal(point.logs, before)
    found = point.kernel.tilt(delta, True, 1)
    np.testing.assert_allclose(found[:K], sums[:K], rtol=20 * eps)
    np.testing.assert_allclose(point.weight @ point.q, found[:K], rtol=20 * eps)
    np.testing.assert_allclose(point.q, want, rtol=100 * eps)


@pytest.mark.parametrize("K", WIDTHS)
def test_certain_rows(target, K, X, rng):
    """Residuals of rows that are all but certain have digits that their q has not."""
    point = Point(X, rng, K, np.float32, 2.0, smoothing=0.0)
    point.logs[:, :K] = rng.uniform(-20, -14, (N, K))
    point.logs[np.arange(N), point.labels] = 0.0
    point.logs[3, :K] = 0.0  # this one is not, and has no weight
    nothing = np.zeros(point.width)
    sums = point.kernel.tilt(nothing, True, 2)[:K]
    alpha = point.q
    alpha[np.arange(N), point.labels] = 0.0
    alpha[np.arange(N), point.labels] = -alpha.sum(axis=1)
    alpha *= point.weight[:, np.newaxis]
    assert np.abs(alpha).sum() < 0.01
    atol = 1e-5 * np.abs(alpha).sum()
    np.testing.assert_allclose(sums - point.weight @ point.t, alpha.sum(axis=0), atol=atol)
    sums = point.kernel.tilt(nothing, False, 2)[:K]
    np.testing.assert_allclose(sums - point.weight @ point.t, alpha.sum(axis=0), atol=atol)
    W = np.zeros((N_FEATURES, K))
    point.kernel.remake(nothing, W, None, 2)
    want = -point.scale * (point.Z + point.mean).T @ alpha
    np.testing.assert_allclose(W, want, atol=2 * point.scale * atol)


def test_orders():
    """Permutations, all different, the same in each call."""
    orders = [order_of(50, seed) for seed in range(20)]
    assert len({tuple(order) for order in orders}) == 20
    for seed, order in enumerate(orders):
        np.testing.assert_array_equal(np.sort(order), np.arange(50))
        np.testing.assert_array_equal(order, order_of(50, seed))
    assert order_of(0, 1).size == 0
    places = np.array([order_of(5, seed) for seed in range(5000)])
    counts = (places[:, :, np.newaxis] == np.arange(5)).sum(axis=0)
    assert np.abs(counts - 1000).max() < 150  # five standard deviations


# ---- Bounds --------------------------------------------------------------------------------------


def texts(rng, n=400, n_features=150, K=9):
    X = sparse.random(n, n_features, density=0.05, format="csr", rng=rng)
    z = 4 * (X @ rng.normal(size=(n_features, K))) + rng.gumbel(size=(n, K))
    return sparse.csr_array(X), (z - np.linspace(0, 3, K)).argmax(axis=1)


def variants(rng, y):
    """(loss, y, sample_weight) of everything whose plain softmax loss sweeps can take."""
    soft = rng.dirichlet(np.full(9, 0.2), size=len(y))
    ignored = np.where(rng.random(len(y)) < 0.2, 99, y)
    weight = rng.uniform(0, 3, len(y)) * (rng.random(len(y)) < 0.8)
    sparse_y = sparse.csr_array(np.eye(9)[y])
    return {
        "plain": (SparseCategoricalCrossentropy(), y, None),
        "weights": (SparseCategoricalCrossentropy(), y, weight),
        "ignored": (SparseCategoricalCrossentropy(ignore_class=99), ignored, None),
        "smoothed": (SparseCategoricalCrossentropy(label_smoothing=0.2), y, weight),
        "soft": (CategoricalCrossentropy(), soft, None),
        "soft and smoothed": (CategoricalCrossentropy(label_smoothing=0.1), soft, weight),
        "one-hot": (CategoricalCrossentropy(), np.eye(9)[y], weight),
        "sparse": (CategoricalCrossentropy(), sparse_y, None),
        "two classes": (SparseCategoricalCrossentropy(), (y > 2).astype(int), None),
    }


NAMES = list(variants(np.random.default_rng(0), np.zeros(2, dtype=int)))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("C", [1.0, 30.0])
@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold(name, C, dtype, fit_intercept, rng):
    """From the first sweep on; values are those of the objective."""
    X, y = texts(rng)
    loss, y, weight = variants(rng, y)[name]
    encoded = encode_y(y, X.shape[0], loss, None, weight)
    kept, encoded = encoded.with_weight()
    outputs = np.arange(encoded.n_outputs)
    data = MemoryData(sparse.csr_array(X[kept], dtype=dtype))
    l2_reg = 1 / (C * encoded.total_weight)

    def objective():
        return LinearObjective(data.rows(encoded, outputs), l2_reg, fit_intercept, 2)

    best = lbfgs(objective(), objective().start(), tol=1e-13, max_iter=1500, polish=1e-18)
    of_sweeps = objective()
    dual = of_sweeps.dual
    start, point = dual.point(of_sweeps.start())
    eps = float(np.finfo(dtype).eps)
    assert start == pytest.approx(objective().value_gradient(objective().start())[0], rel=10 * eps)
    for sweep in range(40):
        dual.sweep(point, np.arange(1))
        vector, value, gaps = dual.look(point)
        assert value == pytest.approx(objective().value_gradient(vector)[0], rel=10 * eps)
        assert gaps.shape == (1,)
        assert gaps >= 0
        assert value - gaps.sum() <= best.objective * (1 + 2 * eps)
        assert value >= best.objective * (1 - 10 * eps)
        if sweep == 1:
            early = gaps.sum()
    assert gaps.sum() < 1e-2 * early
    assert gaps.sum() < {1.0: 1e-5, 30.0: 2e-2}[C] * value


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("share", [1e-3, 1e-5])
def test_values_far_below_1(share, one_hot, rng):
    """In float32, where rows are so certain that an eps of 1 is a large part of their losses."""
    X, y = texts(rng, K=3)
    loss = CategoricalCrossentropy() if one_hot else SparseCategoricalCrossentropy()
    weight = np.where(y == 0, 1.0, share)
    encoded = encode_y(np.eye(3)[y] if one_hot else y, len(y), loss, None, weight)
    l2_reg = 1e-2 / encoded.total_weight

    def objective(dtype):
        rows = MemoryData(X.astype(np.float32).astype(dtype)).rows(encoded, np.arange(3))
        return LinearObjective(rows, l2_reg, True, 2)

    exact, of_sweeps = objective(np.float64), objective(np.float32)
    best = lbfgs(objective(np.float64), exact.start(), tol=1e-12, max_iter=1500, polish=1e-18)
    dual = of_sweeps.dual
    _, point = dual.point(of_sweeps.start())
    for _ in range(40):
        dual.sweep(point, None)
        vector, value, gaps = dual.look(point)
        assert value == pytest.approx(exact.value(vector), rel=1e-6)
        assert value - gaps.sum() <= best.objective
    assert gaps.sum() < 1e-4 * value


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", ["plain", "smoothed", "soft", "soft and smoothed"])
def test_points(name, fit_intercept, rng):
    """The coefficients of points, from a start without coefficients and from another one."""
    X, y = texts(rng)
    loss, y, weight = variants(rng, y)[name]
    encoded = encode_y(y, X.shape[0], loss, None, weight)
    kept, encoded = encoded.with_weight()
    rows = MemoryData(X[kept]).rows(encoded, np.arange(9))
    objective = LinearObjective(rows, 0.1 / encoded.total_weight, fit_intercept, 2)
    t = np.eye(9)[encoded.labels] if encoded.labels is not None else encoded.values
    t = (1 - loss.label_smoothing) * t + loss.label_smoothing / 9
    of_rows, dense = encoded.weight, X[kept].toarray()
    mean = of_rows @ dense / of_rows.sum() if fit_intercept else np.zeros(dense.shape[1])
    for vector in (objective.start(), rng.normal(size=objective.size)):
        dual = objective.dual
        value, point = dual.point(vector)
        assert value == pytest.approx(objective.value_gradient(vector)[0], rel=1e-12)
        q = np.exp(point.logs[:, :9])
        W, b = objective.split(vector)
        p = softmax(dense @ W + b, axis=1)
        tau = ((q - t) * (p - t)).sum() / ((p - t) ** 2).sum()
        assert tau == pytest.approx(1.0) if W.any() else 0 < tau <= 0.5
        np.testing.assert_allclose(q, (1 - tau) * t + tau * p, atol=1e-12)
        alpha = of_rows[:, np.newaxis] * (q - t)
        want = -dual.scale * (dense - mean).T @ alpha
        found = point.coef[:, :9] - np.outer(mean, point.shift[:9])
        np.testing.assert_allclose(found, want, atol=1e-9 * np.abs(want).max())
        assert logsumexp(point.logs, axis=1) == pytest.approx(0, abs=1e-12)


# ---- Fits ----------------------------------------------------------------------------------------


@pytest.fixture
def stays_sparse(set_rules):
    set_rules(small_work=0, polished_work=0, most_covariance=0, most_pull=np.inf)
    set_rules(most_row_state=np.inf)


@pytest.fixture
def set_sweeps(monkeypatch):
    """Function that changes settings of the solver."""

    def set_sweeps(**changes):
        name = "dual-ascent"
        monkeypatch.setitem(SETTINGS, name, replace(SETTINGS[name], **changes))

    return set_sweeps


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("tol", [1e-4, 1e-8])
@pytest.mark.parametrize("name", NAMES)
def test_fits(name, tol, fit_intercept, rng, stays_sparse):
    X, y = texts(rng)
    loss, y, weight = variants(rng, y)[name]
    auto = SoftmaxClassifier(loss, tol=tol, fit_intercept=fit_intercept).fit(X, y, weight)
    assert (auto.solver_, auto.stop_reason_) == ("dual-ascent", "certified")
    other = SoftmaxClassifier(loss, tol=1e-11, solver="lbfgs", fit_intercept=fit_intercept)
    other.fit(X, y, weight)
    assert auto.objective_ <= other.objective_ * (1 + tol)
    assert auto.objective_ * (1 - auto.optimality_gap_) <= other.objective_ * (1 + 1e-11)
    assert auto.optimality_gap_ <= tol
    assert auto.history_["objective"][-1] == pytest.approx(auto.objective_, rel=1e-12)
    assert auto.history_["gap"][-1] <= tol
    if not fit_intercept:
        assert not auto.intercept_.any()


@pytest.mark.parametrize("C", [1e-6, 1e-3, 1.0, 100.0, 1e4, 1e6, np.inf])
def test_any_strength(C, rng, stays_sparse):
    """Where sweeps are slow L-BFGS goes on."""
    X, y = texts(rng)
    auto = SoftmaxClassifier(C=C, max_iter=3000).fit(X, y)
    other = SoftmaxClassifier(C=C, max_iter=3000, solver="lbfgs").fit(X, y)
    assert auto.objective_ <= other.objective_ * (1 + 1e-4) + 1e-6
    assert auto.solver_ == ("lbfgs" if C == np.inf else "dual-ascent")


def test_in_any_units(rng, stays_sparse):
    """Units of X and of weights, offsets of features, and classes of any frequency."""
    X, y = texts(rng, K=4)
    X, y = X[:, :50], np.where(rng.random(len(y)) < 0.02, 1, 0) + 2 * (y == 3)
    weight = rng.uniform(0.5, 2, len(y))
    auto = SoftmaxClassifier().fit(X, y, weight)
    for factor, of_weights in ((1e3, 1.0), (1.0, 1e-5), (1e-3, 1e4)):
        C = 1 / (factor**2 * of_weights)
        other = SoftmaxClassifier(C=C).fit(factor * X, y, of_weights * weight)
        assert other.solver_ == "dual-ascent"
        assert other.objective_ == pytest.approx(auto.objective_, rel=2e-4)
    moved = X.toarray()
    moved[:, :3] += 10.0
    moved = sparse.csr_array(moved)
    clf = SoftmaxClassifier(tol=1e-6).fit(moved, y, weight)
    assert (clf.solver_, clf.stop_reason_) == ("dual-ascent", "certified")
    best = SoftmaxClassifier(tol=1e-10, solver="lbfgs").fit(moved, y, weight)
    assert clf.objective_ == pytest.approx(best.objective_, rel=1e-6)


def test_weights_are_repeated_rows(rng, stays_sparse):
    X, y = texts(rng)
    times = rng.integers(0, 4, len(y))
    weighted = SoftmaxClassifier(tol=1e-9).fit(X, y, times)
    repeated = SoftmaxClassifier(tol=1e-9).fit(X[np.repeat(np.arange(len(y)), times)],
                                               np.repeat(y, times))  # fmt: skip
    assert weighted.solver_ == repeated.solver_ == "dual-ascent"
    assert weighted.objective_ == pytest.approx(repeated.objective_, rel=2e-9)
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-3)


def test_goes_on_by_lbfgs(rng, stays_sparse, set_sweeps):
    """One history of both, and any number of iterations."""
    set_sweeps(most_sweeps=0.1, sweeps=3)
    X, y = texts(rng)
    clf = SoftmaxClassifier(C=50, tol=1e-8).fit(X, y)
    assert clf.solver_ == "dual-ascent"
    assert clf.n_iter_[0] > 10
    best = SoftmaxClassifier(C=50, tol=1e-11, solver="lbfgs").fit(X, y)
    assert clf.objective_ <= best.objective_ * (1 + 1e-8)
    assert {len(values) for values in clf.history_.values()} == {clf.n_iter_[0] + 1}
    assert (np.diff(clf.history_["objective"]) <= 1e-12).all()
    assert (np.diff(clf.history_["seconds"]) >= 0).all()


@pytest.mark.parametrize("seed", [9, 13, 15, 20, 23, 28, 29, 37])
def test_ends_within_tol(seed, stays_sparse):
    """Also after the sweeps: the first estimates of these fits are too low."""
    rng = np.random.default_rng(seed)
    X = sparse.random(150, 10, density=0.5, format="csr", rng=rng)
    X = sparse.csr_array(X @ sparse.diags_array(10.0 ** rng.uniform(-2, 2, 10)))
    square = X.power(2).sum(axis=1).mean()
    z = X @ rng.normal(size=(10, 7)) * 5 / np.sqrt(square)
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    best = SoftmaxClassifier(C=1000 / square, tol=1e-10, solver="lbfgs").fit(X, y)
    clf = SoftmaxClassifier(C=1000 / square).fit(X, y)
    assert clf.solver_ == "dual-ascent"
    assert clf.objective_ <= best.objective_ * (1 + 1e-4)
    assert clf.history_["gap"][-1] <= 1e-4
    assert (clf.stop_reason_ == "certified") == (clf.optimality_gap_ <= 1e-4)


@pytest.mark.parametrize("most", [1.0, 60.0])
@pytest.mark.parametrize("stop", [1, 2, 4])
def test_checkpoints(most, stop, rng, stays_sparse, set_sweeps, tmp_path):
    """Broken off among the sweeps or after them, a fit goes on with the same bits."""
    set_sweeps(most_sweeps=most, sweeps=3)
    X, y = texts(rng)

    class StopAt(Checkpoint):
        seen = 0

        def on_fit_task_end(self, estimator, context):
            super().on_fit_task_end(estimator, context)
            self.seen += 1
            if self.seen == stop:
                raise KeyboardInterrupt

    whole = SoftmaxClassifier(C=20, tol=1e-8).fit(X, y)
    path = tmp_path / "file"
    clf = SoftmaxClassifier(C=20, tol=1e-8).set_callbacks(StopAt(path, seconds=0))
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    assert np.isfinite(clf.coef_).all()  # what was found is kept
    clf.set_callbacks(Checkpoint(path)).fit(X, y)
    np.testing.assert_array_equal(clf.coef_, whole.coef_)
    np.testing.assert_array_equal(clf.intercept_, whole.intercept_)
    np.testing.assert_array_equal(clf.history_["objective"], whole.history_["objective"])
    assert clf.n_iter_ == whole.n_iter_


def test_warm_start_and_threads(rng, stays_sparse):
    X, y = texts(rng)
    clf = SoftmaxClassifier(warm_start=True, tol=1e-6).fit(X, y)
    first = clf.objective_
    clf.fit(X, y)
    assert clf.n_iter_[0] <= 1
    assert clf.objective_ <= first * (1 + 1e-9)
    clf.set_params(C=10.0).fit(X, y)
    other = SoftmaxClassifier(C=10.0, tol=1e-10, solver="lbfgs").fit(X, y)
    assert clf.objective_ == pytest.approx(other.objective_, rel=1e-6)
    for dtype in DTYPES:
        X = X.astype(dtype)
        with threadpool_limits(1):
            one = SoftmaxClassifier().fit(X, y)
        for _ in range(2):
            two = SoftmaxClassifier().fit(X, y)
            np.testing.assert_array_equal(one.coef_, two.coef_)
            np.testing.assert_array_equal(one.intercept_, two.intercept_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("max_iter", [0, 1, 2])
def test_max_iter(max_iter, rng, stays_sparse, set_sweeps):
    set_sweeps(sweeps=2)
    X, y = texts(rng)
    clf = SoftmaxClassifier(C=50, tol=1e-8, max_iter=max_iter).fit(X, y)
    assert clf.n_iter_[0] == max_iter
    assert clf.stop_reason_ == "max_iter"
    best = SoftmaxClassifier(C=50, tol=1e-10, solver="lbfgs").fit(X, y)
    assert clf.objective_ * (1 - clf.optimality_gap_) <= best.objective_ or clf.optimality_gap_ > 1


@pytest.mark.filterwarnings("error")
def test_no_tolerance(rng, stays_sparse):
    """L-BFGS is asked, for sweeps cannot certify that."""
    X, y = texts(rng)
    clf = SoftmaxClassifier(tol=0).fit(X, y)
    assert clf.solver_ == "lbfgs"
    assert clf.optimality_gap_ < 1e-12


def test_no_entries(rng, stays_sparse):
    _, y = texts(rng)
    clf = SoftmaxClassifier().fit(sparse.csr_array((len(y), 10)), y)
    assert not clf.coef_.any()
    shares = np.bincount(y) / len(y)
    np.testing.assert_allclose(clf.predict_proba(sparse.csr_array((1, 10)))[0], shares)


@pytest.mark.parametrize("C", [0.1, 1.0, 10.0, 100.0])
def test_float32(C, rng, stays_sparse):
    X, y = texts(rng, n=1500)
    clf = SoftmaxClassifier(C=C).fit(X.astype(np.float32), y)
    assert clf.coef_.dtype == np.float32
    assert (clf.solver_, clf.stop_reason_) == ("dual-ascent", "certified")
    best = SoftmaxClassifier(C=C, tol=1e-11, solver="lbfgs").fit(X, y)
    assert clf.objective_ <= best.objective_ * (1 + 1e-4)
    assert clf.objective_ * (1 - clf.optimality_gap_) <= best.objective_
    assert clf.optimality_gap_ <= 1.1e-4


def test_which_problems_are_swept(rng, set_rules):
    set_rules(small_work=0, polished_work=0, most_covariance=100, most_row_state=10.0)
    X, y = texts(rng)

    def solver_of(X, y, **parameters):
        return SoftmaxClassifier(**parameters).fit(X, y).solver_

    assert solver_of(X, y) == "dual-ascent"
    assert solver_of(X, y, loss=SparseCategoricalCrossentropy(logit_adjustment=1.0)) == "lbfgs"
    assert solver_of(X, y, loss="poly_crossentropy") == "lbfgs"
    assert solver_of(X, y, C=1e5) == "lbfgs"
    assert solver_of(X, y, C=np.inf) == "lbfgs"
    assert solver_of(X, y, early_stopping=True) == "lbfgs"
    assert solver_of(X.toarray(), y) != "dual-ascent"
    assert solver_of(sparse.vstack([X] * 4, format="csr"), np.tile(y, 4)) == "lbfgs"  # many rows
    assert solver_of(X[:, :100], y) != "dual-ascent"  # their covariance tells L-BFGS more
    assert solver_of(X.astype(np.float32), y, tol=1e-6) == "lbfgs"
    assert solver_of(X, y, solver="newton-cg") == "newton-cg"


# ---- Batches -------------------------------------------------------------------------------------


def test_batch_size(rng):
    """Large where rows are nearly orthogonal, small where many are the same."""
    n = 20_000
    X = sparse.csr_array(sparse.random(n, 5000, density=0.002, format="csr", rng=rng))
    mean = X.mean(axis=0)
    assert batch_size(X, mean, np.ones(n)) == 256
    copies = np.where(rng.random(n) < 0.05, 7, np.arange(n))
    few = batch_size(X[copies], X[copies].mean(axis=0), np.ones(n))
    assert 5 <= few <= 20  # half a copy of a row in each, on average
    # as many copies as one row of that weight
    heavy = np.where(np.arange(n) == 7, 1e-9, np.where(copies == 7, 1e-9, 1.0))
    assert batch_size(X[copies], mean, heavy) == 256
    assert batch_size(X[:40], mean, np.ones(40)) == 2  # as the intercepts follow
    assert batch_size(X[:1], mean, np.ones(1)) == 1
    assert batch_size(0 * X, 0 * mean, np.ones(n)) == 256


@pytest.mark.parametrize("share", [0.01, 0.1])
def test_copies_of_a_row(share, rng):
    """However many there are, batches take hardly more sweeps than one row after the other."""
    X, y = texts(rng, n=6000)
    X = X[np.where(rng.random(6000) < share, 7, np.arange(6000))]
    encoded = encode_y(y, 6000, SparseCategoricalCrossentropy(), None, None)
    n_sweeps = []
    for one_by_one in (True, False):
        rows = MemoryData(X).rows(encoded, np.arange(9))
        objective = LinearObjective(rows, 1 / (30 * encoded.total_weight), True, 2)
        dual = objective.dual
        if one_by_one:
            dual.batch = 1
        point, gap, value = dual.point(objective.start())[1], np.inf, 1.0
        while gap > 1e-3 * value and point.n_sweeps < 200:
            dual.sweep(point, np.arange(1))
            _, value, gap = dual.look(point)
        n_sweeps.append(point.n_sweeps)
    assert n_sweeps[1] <= 1.2 * n_sweeps[0] < 200
