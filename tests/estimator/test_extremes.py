"""Parameters, weights and X at the ends of their ranges."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import soak
from xentlearn import SoftmaxClassifier
from xentlearn.blocks import RowBlocks
from xentlearn.losses import BinaryCrossentropy, CategoricalFocalCrossentropy
from xentlearn.solvers import Adam

SOLVERS = ["auto", "lbfgs", "newton-cg", "newton-cholesky"]


def data(n_classes=3, n=200, d=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    scores = X @ rng.normal(size=(d, n_classes)) + rng.gumbel(size=(n, n_classes))
    return X, scores.argmax(axis=1), rng.uniform(0.5, 2, n)


def fit(X, y, sample_weight=None, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return SoftmaxClassifier(**params).fit(X, y, sample_weight=sample_weight)


@pytest.mark.parametrize("number", range(0, 400, 4))
@pytest.mark.slow
def test_soak(number):
    """A few of the fits of ``soak.py``, which is run as a whole before a release."""
    for outcome in map(soak.soak, range(number, number + 4)):
        assert outcome.ended in ("passed", "refused"), f"{outcome.number}: {outcome.why}"


# --- Weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**-300, 2.0**300, 2.0**990])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multi-label", "entries", "balanced"])
def test_weights_of_any_size(kind, dtype, unit):
    """Weights and 1 / C in other units are the same problem."""
    X, y, weight = data(2 if kind == "binary" else 3)
    X, params = X.astype(dtype), {"tol": 1e-6}
    if kind in ("multi-label", "entries"):
        y = np.eye(3)[y] + np.eye(3)[(y * 2) % 3] > 0
    if kind == "entries":
        weight = weight[:, np.newaxis] * [1.0, 2.0, 0.5]
    if kind == "balanced":
        params["class_weight"] = "balanced"
    for C in (1.0, np.inf):
        expected = fit(X, y, weight, C=C, **params)
        clf = fit(X, y, unit * weight, C=C / unit, **params)
        np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-4, atol=1e-6)
        assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-6)


@pytest.mark.parametrize("weight", [1e-310, 1e308])
def test_weights_at_the_ends(weight):
    X, y, _ = data()
    clf = fit(X, y, np.full(200, weight), C=np.inf)
    expected = fit(X, y, C=np.inf)
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-6)


def test_class_weights_of_any_size():
    X, y, _ = data()
    expected = fit(X, y, C=np.inf, class_weight={0: 1.0, 1: 2.0, 2: 3.0})
    for unit in (1e-300, 1e300):
        weights = {k: unit * (k + 1) for k in range(3)}
        clf = fit(X, y, C=np.inf, class_weight=weights)
        np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-6)


def test_tiny_weights_in_blocks():
    X, y, weight = data()

    class Blocks(RowBlocks):
        def read(self, i):
            return X[50 * i : 50 * i + 50]

    blocks = Blocks(X.shape, X.dtype, [50] * 4)
    clf = fit(blocks, y, 2.0**-900 * weight, C=2.0**900)
    np.testing.assert_allclose(clf.coef_, fit(blocks, y, weight).coef_, rtol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("unit", [2.0**-1000, 2.0**1000])
def test_weights_of_any_size_in_batches(unit, solver):
    X, y, weight = data()
    models = []
    for factor in (1.0, unit):
        clf = SoftmaxClassifier(solver=solver, C=1 / factor, random_state=0)
        for rows in (slice(100), slice(100, 200)):
            clf.partial_fit(
                X[rows], y[rows], classes=[0, 1, 2], sample_weight=factor * weight[rows]
            )
        models.append(clf)
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-9)


def test_later_weights_that_exceed_all_others():
    X, y, _ = data()
    clf = SoftmaxClassifier().partial_fit(X, y, [0, 1, 2], sample_weight=np.full(200, 1e-300))
    with pytest.raises(ValueError, match="'sample_weight' must have a size that can be added"):
        clf.partial_fit(X, y, sample_weight=np.full(200, 1e200))


# --- X --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batches_whose_squares_vanish(dtype):
    X, y, _ = data()
    tiny = (1e-30 if dtype == np.float32 else 1e-200) * X
    with pytest.raises(ValueError, match="squares of 'X' must be larger than 0"):
        SoftmaxClassifier().partial_fit(tiny.astype(dtype), y, [0, 1, 2])


def test_coefficients_that_overflow_float32():
    """They are stored in float64, and nothing warns of arithmetic."""
    X, y, _ = data()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        clf = SoftmaxClassifier(C=np.inf).fit((1e-41 * X).astype(np.float32), y)
    assert clf.coef_.dtype == np.float64
    assert np.abs(clf.coef_).max() > np.finfo(np.float32).max


@pytest.mark.parametrize("solver", [*SOLVERS, "adam"])
@pytest.mark.parametrize("exponent", [-200, -60, 50, 150])
def test_features_whose_squares_are_lost_beside_others(exponent, solver):
    X, y, _ = data()
    X[:, 1] *= 10.0**exponent
    for C in (1.0, np.inf)[exponent < 0 :]:
        with pytest.raises(ValueError, match="within a factor of 1e\\+30, got .* of feature"):
            SoftmaxClassifier(C=C, solver=solver).fit(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_features_that_the_penalty_keeps_out(dtype, solver):
    """Some encoders have outputs of 1e-33 in every row beside others of 0.1."""
    X, y, _ = data()
    X[:, 1] *= 1e-33 if dtype == np.float32 else 1e-150
    clf = fit(X.astype(dtype), y, solver=solver)
    others = fit(np.delete(X, 1, axis=1).astype(dtype), y, solver=solver)
    assert clf.stop_reason_ == "certified"
    assert clf.objective_ == pytest.approx(others.objective_, rel=1e-6)
    np.testing.assert_allclose(clf.coef_[:, 1], 0, atol=1e-20)
    np.testing.assert_allclose(np.delete(clf.coef_, 1, axis=1), others.coef_, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("exponent", [-25, -8, 8, 25])
def test_features_of_different_sizes(exponent, solver):
    X, y, _ = data()
    scale = np.array([1.0, 2.0**exponent, 1.0, 1.0])
    expected = fit(X, y, C=np.inf)
    clf = fit(X * scale, y, C=np.inf, solver=solver)
    assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-6)
    np.testing.assert_allclose(clf.coef_ * scale, expected.coef_, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("weight", [1e-16, 1e16, 1e25, 1e308])
def test_output_weights_out_of_range(weight):
    X, y, _ = data(2)
    with pytest.raises(ValueError, match="'pos_weight' must be 0 or from 1e-15 to 1e\\+15"):
        SoftmaxClassifier(BinaryCrossentropy(pos_weight=weight)).fit(X, y)


# --- C --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e13, 1e20, 1e40])
def test_softmax_coefficients_sum_to_0(C, solver):
    """Any penalty wants that; none of the loss does."""
    X, y, _ = data(seed=1)
    starts = SoftmaxClassifier(solver=solver, C=C, max_iter=200, warm_start=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        starts.fit(X, y)
        for shift in (0.0, 5.0):
            starts.coef_ = starts.coef_ + shift
            starts.fit(X, y)
            scale = np.abs(starts.coef_).max()
            np.testing.assert_allclose(starts.coef_.sum(axis=0), 0, atol=1e-12 * scale)
            np.testing.assert_allclose(starts.intercept_.sum(), 0, atol=1e-12 * scale)


def test_softmax_coefficients_sum_to_0_for_weights_of_two_sizes():
    X, y, _ = data(seed=2)
    weight = np.where(np.arange(200) % 3 == 0, 1e12, 1.0)
    for dtype in (np.float64, np.float32):
        for loss in ("auto", CategoricalFocalCrossentropy()):
            coef = fit(X.astype(dtype), y, weight, loss=loss).coef_
            eps = np.finfo(dtype).eps
            np.testing.assert_allclose(coef.sum(axis=0), 0, atol=8 * eps * np.abs(coef).max())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("C", [5e-324, 1e-300, 1e-200])
def test_a_penalty_beyond_measure_leaves_the_class_shares(C, solver):
    X, y, _ = data()
    clf = fit(X, y, C=C, solver=solver)
    shares = np.bincount(y) / len(y)
    np.testing.assert_allclose(clf.predict_proba(X), np.tile(shares, (200, 1)), rtol=1e-6)
    assert clf.objective_ == pytest.approx(-np.sum(shares * np.log(shares)), rel=1e-9)


# --- Other parameters -----------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [*SOLVERS, "adam", "sgd"])
@pytest.mark.parametrize("loss", ["auto", BinaryCrossentropy(), CategoricalFocalCrossentropy()])
def test_no_iteration_returns_the_start(loss, solver):
    X, y, _ = data()
    clf = SoftmaxClassifier(loss, solver=solver, max_iter=0)
    with pytest.warns(ConvergenceWarning, match="stopped after 0"):
        clf.fit(X, y)
    assert clf.n_iter_[0] == 0
    assert not clf.coef_.any()
    assert np.isfinite(clf.objective_)
    shares = np.bincount(y) / len(y)
    if loss == "auto":
        np.testing.assert_allclose(clf.predict_proba(X[:1])[0], shares, rtol=1e-12)


@pytest.mark.parametrize("solver", [*SOLVERS, "adam"])
def test_no_iteration_returns_the_last_fit_where_it_is_the_start(solver):
    X, y, _ = data()
    clf = fit(X, y, solver=solver, max_iter=2, warm_start=True, random_state=0)
    before = clf.coef_, clf.intercept_
    clf.max_iter = 0
    with pytest.warns(ConvergenceWarning, match="stopped after 0"):
        clf.fit(X, y)
    for now, then in zip((clf.coef_, clf.intercept_), before, strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("epsilon", [1e-31, 1e-300, 0.0, 1e31, np.inf, np.nan, True])
def test_epsilon_out_of_range(epsilon):
    X, y, _ = data()
    with pytest.raises(ValueError, match=r"'epsilon' must be a number in \[1e-30, 1e30\]"):
        SoftmaxClassifier(solver=Adam(epsilon=epsilon)).fit(X, y)


@pytest.mark.parametrize("epsilon", [1e-30, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_epsilon_at_the_ends_of_its_range(dtype, epsilon):
    X, y, _ = data()
    X[:, 0] = 0.0  # whose gradient is 0 in every batch
    clf = fit(X.astype(dtype), y, solver=Adam(epsilon=epsilon, beta_2=1 - 1e-16), max_iter=3)
    assert np.isfinite(clf.coef_).all()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.slow
def test_a_hard_problem_that_is_not_small(solver):
    """Its preconditioner changes on the way, from that of all outputs to one of a point."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((10_000, 100)) ** 3 * 30
    y = (X @ rng.normal(size=(100, 10)) / 100 + rng.gumbel(size=(10_000, 10))).argmax(axis=1)
    clf = fit(X, y, solver=solver, C=1e4, max_iter=40)
    assert clf.n_iter_[0] > 15 or clf.history_["gap"][-1] <= 1e-4
