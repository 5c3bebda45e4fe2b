"""Sums over the rows of a small binary problem, beside those of the general pass and NumPy's."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from xentlearn import SoftmaxClassifier
from xentlearn._data._factors import factorise_scaled, solve_scaled
from xentlearn._data._small_binary import SmallBinary
from xentlearn._data.dataset import MemoryRows
from xentlearn._data.statistics import moments_of
from xentlearn._data.targets import encode_y
from xentlearn._estimator import classifier
from xentlearn._objective.linear import LinearObjective
from xentlearn._utils._sweeps import bound_sums
from xentlearn.losses import BinaryCrossentropy, BinaryFocalCrossentropy

LOSSES = {
    "plain": "auto",
    "smoothed": BinaryCrossentropy(label_smoothing=0.1),
    "weighted positives": BinaryCrossentropy(pos_weight=3.0),
    "focal": BinaryFocalCrossentropy(),
}


def objectives(n_rows, n_features, fit_intercept=True, loss="auto", weight=None):
    """The same objective with sums from ``SmallBinary``, and from the general pass."""
    rng = np.random.default_rng(n_rows)
    X = rng.normal(size=(n_rows, n_features)) * np.logspace(-2, 2, n_features)
    y = np.arange(n_rows) % 3 % 2
    encoded = encode_y(y, n_rows, loss, None, weight)
    if fit_intercept:
        X -= encoded.weight @ X / encoded.weight.sum()
    moments = moments_of(X, encoded.weight, centred=fit_intercept)
    rows = MemoryRows(X, encoded, np.arange(1), moments=moments)
    make = [LinearObjective(rows, 0.01, fit_intercept, small_binary=each) for each in (True, False)]
    assert isinstance(make[0].small, SmallBinary)
    assert make[1].small is None
    return make


@pytest.mark.parametrize("n_rows", [2, 7, 8, 9, 255, 256, 257, 700])
@pytest.mark.parametrize("n_features", [1, 7, 8, 60])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_value_gradient_and_hessian(n_rows, n_features, fit_intercept):
    small, general = objectives(n_rows, n_features, fit_intercept)
    for vector in (small.start(), np.linspace(-0.3, 0.2, small.size), np.zeros(small.size)):
        (value, gradient), want = small.value_gradient(vector), general.value_gradient(vector)
        np.testing.assert_allclose(value, want[0], rtol=1e-14)
        size = np.abs(want[1]).max()
        np.testing.assert_allclose(gradient, want[1], rtol=1e-12, atol=1e-13 * size)
        known = np.triu(small.small.hessian(vector))
        small.value_gradient(vector + 1.0)
        np.testing.assert_array_equal(np.triu(small.small.hessian(vector)), known)
        mean = general.mean if fit_intercept else None
        found = general.rows.hessian(*general.at(vector), mean, np.float64, 0.0, 1)
        wanted = np.triu(found) / general.total_weight
        scale = 1 / np.sqrt(wanted.diagonal())
        scale = np.outer(scale, scale)
        np.testing.assert_allclose(known * scale, wanted * scale, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_weights(loss):
    rng = np.random.default_rng(0)
    small, general = objectives(300, 5, True, LOSSES[loss], rng.uniform(0.5, 2.0, 300))
    vector = rng.normal(size=small.size)
    np.testing.assert_allclose(
        small.value_gradient(vector)[0], general.value_gradient(vector)[0], rtol=1e-14
    )
    np.testing.assert_allclose(
        small.value_gradient(vector)[1], general.value_gradient(vector)[1], rtol=1e-12
    )
    small.hessian_at(vector)
    general.hessian_at(vector)
    np.testing.assert_allclose(small.precondition(vector), general.precondition(vector), rtol=1e-9)


def test_plain_oracle():
    """Beside a few lines of NumPy."""
    small, _ = objectives(50, 4)
    Z = np.column_stack([small.rows.X, np.ones(50)])
    vector = np.linspace(-0.1, 0.1, 5)
    logits, y = Z @ vector, small.rows.y.values[:, 0]
    p = 1 / (1 + np.exp(-logits))
    penalised = vector * [1, 1, 1, 1, 0]
    value, gradient = small.value_gradient(vector)
    loss = np.mean(np.log1p(np.exp(logits)) - y * logits)
    np.testing.assert_allclose(value, loss + 0.005 * penalised @ penalised)
    np.testing.assert_allclose(gradient, (p - y) @ Z / 50 + 0.01 * penalised)
    hessian = (Z * (p * (1 - p))[:, np.newaxis]).T @ Z / 50
    np.testing.assert_allclose(np.triu(small.small.hessian(vector)), np.triu(hessian))


def fitted(X, y, small, monkeypatch, **options):
    """A fit, with the plan's choice of the sums replaced; None leaves it."""
    chosen = []

    def make_plan(problem):
        plan = original(problem)
        if small is not None:
            groups = tuple(replace(group, small_binary=small) for group in plan.groups)
            plan = replace(plan, groups=groups)
        chosen.extend(group.small_binary for group in plan.groups)
        return plan

    original = classifier.make_plan
    with monkeypatch.context() as patch:
        patch.setattr(classifier, "make_plan", make_plan)
        return SoftmaxClassifier(**options).fit(X, y), chosen


@pytest.mark.parametrize("C", [0.01, 100.0, np.inf])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_fits_are_the_same(C, fit_intercept, order, monkeypatch):
    rng = np.random.default_rng(0)
    X = np.asarray(rng.normal(5.0, 1.0, (200, 6)) * [1, 10, 100, 0.1, 1, 1], order=order)
    y = np.where(X[:, 0] + rng.normal(size=200) > 5, "yes", "no")
    options = {"C": C, "fit_intercept": fit_intercept}
    one, chosen = fitted(X, y, None, monkeypatch, **options)
    other, _ = fitted(X, y, False, monkeypatch, **options)
    assert chosen == [True]
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-6)
    np.testing.assert_allclose(one.objective_, other.objective_, rtol=1e-12)
    assert one.stop_reason_ == other.stop_reason_


def test_only_small_dense_binary_problems_take_it(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 5)), np.arange(100) % 2
    cases = [
        (X, y, [True]),
        (sparse.csr_array(X), y, [True]),  # a small X is copied and centred
        (X, np.arange(100) % 3, [False]),
        (X, np.column_stack([y, np.arange(100) % 3 == 0]), [False]),
        (np.tile(X, (700, 1)), np.tile(y, 700), [False]),  # work of 350,000
    ]
    for X, y, wanted in cases:
        assert fitted(X, y, None, monkeypatch)[1] == wanted


# ---- What else a small fit takes -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 30])
def test_scaled_factor(n, dtype):
    rng = np.random.default_rng(n)
    A, scale, right = rng.normal(size=(n, n)), rng.uniform(0.5, 2.0, n), rng.normal(size=n)
    matrix = A @ A.T + np.eye(n)
    wanted = scale[:, np.newaxis] * matrix * scale + 0.25 * np.eye(n)
    factor = np.array(np.triu(matrix) + np.tril(np.full((n, n), np.nan), -1), dtype=dtype)
    assert factorise_scaled(factor, scale, 0.25) == 0
    rtol = 1e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(factor.T @ factor, wanted, rtol=rtol, atol=rtol)
    solved = solve_scaled(factor, scale, right)
    assert solved.dtype == np.float64
    np.testing.assert_allclose(solved, scale * np.linalg.solve(wanted, scale * right), rtol=rtol)


def test_scaled_factor_of_an_indefinite_matrix():
    assert factorise_scaled(np.diag([1.0, 1.0, -1.0, 1.0]), np.ones(4), 0.0) == 3


@pytest.mark.parametrize("shape", [(0, 3), (5, 1), (3000, 4), (2, 9000)])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_bound_sums(shape, n_threads):
    rng = np.random.default_rng(0)
    W, dW, of_constant = rng.normal(size=(3, *shape))
    for constant, epsilon in ((None, 0.0), (of_constant, 0.3)):
        g = dW - 0.1 * W
        shift = 0.0 * g if constant is None else epsilon * (constant - g)
        rest = dW + shift - 0.1 * W
        wanted = [(W * W), (g * W), (shift * W), (dW + shift) ** 2, rest**2]
        found = bound_sums(W, dW, constant, 0.1, epsilon, n_threads)
        np.testing.assert_allclose(found, [each.sum() for each in wanted], rtol=1e-10)


def test_moments_of_a_centred_X():
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(500, 4)) * [1e-3, 1, 0, 1e5], rng.uniform(0.0, 2.0, 500)
    X -= weight @ X / weight.sum()
    found, wanted = moments_of(X, weight, centred=True), moments_of(X, weight)
    np.testing.assert_array_equal(found.mean, 0.0)
    np.testing.assert_allclose(found.variance, wanted.variance, rtol=1e-12)
    for bad in (1e200, 1e-200):
        with pytest.raises(ValueError, match="squares of 'X'"):
            moments_of(X * bad, weight, centred=True)
