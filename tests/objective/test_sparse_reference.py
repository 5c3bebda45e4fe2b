"""The oracle of penalties, ``sparse_reference.py``: closed forms, scikit-learn's saga, SciPy."""

import numpy as np
import pytest
from scipy import optimize
from scipy.special import logit
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import cells
from small_problems import binary_data, multiclass_data, one_hot, positive_weights
from sparse_reference import (
    SparseObjective,
    binary_rows,
    least_norm_shift,
    rows_by_complex_steps,
    softmax_rows,
    sparse_minimum,
)
from xentlearn.losses import BinaryCrossentropy, CategoricalCrossentropy

PENALTIES = {
    "l2": {},
    "l1": {"l1_ratio": 1.0},
    "elastic net": {"l1_ratio": 0.5},
    "factors": {"l1_ratio": 1.0, "penalty_factor": [0.5, 2.0, np.inf, 1.0]},
    "unpenalised": {"l1_ratio": 0.5, "penalty_factor": [0.5, 0.0, np.inf, 1.0]},
    "bounds": {"l1_ratio": 0.5, "coef_bounds": (-0.2, [0.1, np.inf, 0.5, 0.0])},
    "bounds, l2": {"coef_bounds": (0.0, np.inf)},
    "grouped": {"l1_ratio": 1.0, "grouped": True},
    "grouped elastic net": {"l1_ratio": 0.5, "grouped": True},
    "grouped bounds": {"l1_ratio": 1.0, "grouped": True, "coef_bounds": (-0.2, 0.3)},
    "grouped signs": {"l1_ratio": 0.5, "grouped": True, "coef_bounds": (0.0, np.inf)},
}
each_penalty = pytest.mark.parametrize("name", PENALTIES)


def problem(name, binary=False, C=0.2, **changes):
    """(SparseObjective of 150 weighted rows, targets)."""
    X, y = binary_data() if binary else multiclass_data()
    targets = y[:, np.newaxis].astype(float) if binary else one_hot(y)
    loss = (binary_rows if binary else softmax_rows)(targets)
    options = {**PENALTIES[name], "weight": positive_weights(len(X)), **changes}
    return SparseObjective(X, loss, targets.shape[1], C, **options), targets


@pytest.mark.parametrize("q", [0.2, 0.45, 0.7, 0.9])
@pytest.mark.parametrize(("lower", "upper"), [(-np.inf, np.inf), (-0.5, 0.6), (0.0, np.inf)])
def test_one_feature_of_signs(q, lower, upper):
    """The slope of the loss in w is expit(w) - q, so that expit(w) = q -+ l1."""
    n, l1 = 100, 0.15
    X, y = np.ones((n, 1)), 1.0 * (np.arange(n) < q * n)
    X[::2], y[::2] = -X[::2], 1 - y[::2]
    objective = SparseObjective(
        X,
        binary_rows(y[:, np.newaxis]),
        1,
        1 / (l1 * n),
        l1_ratio=1.0,
        fit_intercept=False,
        coef_bounds=(lower, upper),
    )
    at = 0.5 + np.sign(q - 0.5) * max(abs(q - 0.5) - l1, 0)
    found = sparse_minimum(objective, violation=1e-12)
    assert found.coef[0, 0] == pytest.approx(np.clip(logit(at), lower, upper), abs=1e-11)


def test_a_group_of_outputs_that_are_alike():
    """K equal coefficients have the norm sqrt(K) |w|, and so a K-th of the slope sqrt(K) l1."""
    n, K, q, l1 = 100, 4, 0.8, 0.3
    y = np.tile(1.0 * (np.arange(n) < q * n)[:, np.newaxis], K)
    objective = SparseObjective(
        np.ones((n, 1)),
        binary_rows(y),
        K,
        1 / (l1 * n),
        l1_ratio=1.0,
        grouped=True,
        fit_intercept=False,
    )
    found = sparse_minimum(objective, violation=1e-12)
    np.testing.assert_allclose(found.coef, logit(q - l1 / np.sqrt(K)), atol=1e-11)


def test_a_penalty_that_leaves_the_intercept_alone():
    objective, targets = problem("l1", C=1e-4)
    found = sparse_minimum(objective, violation=1e-12)
    assert not found.coef.any()
    shares = objective.share @ targets
    np.testing.assert_allclose(
        np.exp(found.intercept) / np.exp(found.intercept).sum(), shares, atol=1e-12
    )


@pytest.mark.parametrize("l1_ratio", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_saga(l1_ratio, fit_intercept, n_classes):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X[y < n_classes][::2])
    y = y[y < n_classes][::2]
    saga = LogisticRegression(
        l1_ratio=l1_ratio,
        C=0.3,
        solver="saga",
        tol=1e-12,
        max_iter=20_000,
        fit_intercept=fit_intercept,
        random_state=0,
    ).fit(X, y)
    targets = y[:, np.newaxis] if n_classes == 2 else one_hot(y)
    loss = (binary_rows if n_classes == 2 else softmax_rows)(targets)
    objective = SparseObjective(
        X, loss, targets.shape[1], 0.3, l1_ratio=l1_ratio, fit_intercept=fit_intercept
    )
    found = sparse_minimum(objective)
    np.testing.assert_allclose(found.coef, saga.coef_, atol=1e-6)
    np.testing.assert_allclose(
        found.intercept - found.intercept.mean() * (n_classes == 3),
        saga.intercept_ - saga.intercept_.mean() * (n_classes == 3),
        atol=1e-6,
    )
    assert objective.violation(saga.coef_, saga.intercept_) < 1e-6


@pytest.mark.parametrize("name", ["l1", "elastic net", "factors", "bounds", "bounds, l2"])
def test_scipy_with_bounds(name):
    """Coefficients are differences of numbers >= 0, whose sum is the L1 norm: L-BFGS-B's case."""
    objective, _ = problem(name)
    shape = 3, 4

    def split(vector):
        positive, negative = vector[:24].reshape(2, *shape)
        return positive, negative, vector[24:]

    def value_gradient(vector):
        positive, negative, intercept = split(vector)
        coef = positive - negative
        value, of_coef, of_intercept = objective.smooth(coef, intercept)
        of_coef = of_coef + objective.l2 * coef
        value += objective.l2 @ (coef**2).sum(axis=0) / 2
        value += objective.l1 @ (positive + negative).sum(axis=0)
        gradient = [of_coef + objective.l1, objective.l1 - of_coef, of_intercept]
        return value, np.concatenate([part.ravel() for part in gradient])

    most = [(0, u) for u in [*objective.upper] * 3] + [(0, -v) for v in [*objective.lower] * 3]
    least = optimize.minimize(
        value_gradient,
        np.zeros(27),
        jac=True,
        method="L-BFGS-B",
        bounds=[*most, *[(None, None)] * 3],
        options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 100_000, "maxfun": 100_000},
    )
    positive, negative, _ = split(least.x)
    found = sparse_minimum(objective)
    assert found.value == pytest.approx(least.fun, rel=1e-10)
    np.testing.assert_allclose(found.coef, positive - negative, atol=2e-4)


@pytest.mark.parametrize("bounds", [(-np.inf, np.inf), (-0.3, 0.4), (0.0, np.inf), (0.0, 0.2)])
def test_proximal_step_of_a_group(bounds, rng):
    """Against SLSQP."""
    objective, _ = problem("grouped elastic net", coef_bounds=bounds, C=0.01)
    for scale in (0.05, 0.3, 1.0):
        coef, step = scale * rng.normal(size=(3, 4)), rng.uniform(0.5, 2, 4)
        found = objective.proximal(coef, step)

        def cost(w, j, coef=coef, step=step):
            near = ((w - coef[:, j]) ** 2).sum() / (2 * step[j])
            size = np.sqrt((w**2).sum())
            return near + objective.l1[j] * size + objective.l2[j] * size**2 / 2

        for j in range(4):
            start = np.clip(coef[:, j], *bounds)
            least = optimize.minimize(
                cost, start, args=(j,), method="SLSQP", bounds=[bounds] * 3, tol=1e-14
            )
            assert cost(found[:, j], j) <= min(least.fun, cost(np.zeros(3), j)) + 1e-12
            np.testing.assert_allclose(np.clip(found[:, j], *bounds), found[:, j])


@each_penalty
@pytest.mark.parametrize("binary", [False, True])
def test_nothing_near_a_minimum_is_lower(name, binary, rng):
    objective, _ = problem(name, binary)
    found = sparse_minimum(objective)
    assert found.violation <= 1e-9
    assert objective.value(found.coef, found.intercept) == found.value
    for size in 10 ** rng.uniform(-5, 0, 200):
        # all coefficients, and those alone that are not 0
        step = size * rng.normal(size=found.coef.shape)
        step *= (found.coef != 0) if rng.random() < 0.5 else 1
        coef = np.clip(found.coef + step, objective.lower, objective.upper)
        intercept = found.intercept + size * rng.normal(size=found.intercept.shape)
        assert objective.value(coef, intercept) >= found.value * (1 - 1e-14)


@each_penalty
def test_a_violation_is_found(name):
    objective, _ = problem(name)
    found = sparse_minimum(objective)
    free = objective.lower < objective.upper
    for k in range(3):
        assert objective.violation(found.coef, found.intercept + 1e-4 * (np.arange(3) == k)) > 1e-6
        for j in range(4):
            coef = found.coef.copy()
            coef[k, j] += -1e-4 if coef[k, j] == objective.upper[j] else 1e-4
            assert objective.violation(coef, found.intercept) > (1e-6 if free[j] else 1e300)
    outside = found.coef.copy()
    outside[0] = 10.0
    if np.isfinite(objective.upper).any():
        assert objective.violation(outside, found.intercept) == np.inf
        assert objective.value(outside, found.intercept) == np.inf


@pytest.mark.parametrize("name", sorted(set(PENALTIES) - {"unpenalised", "grouped bounds"}))
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_dual_bound(name, binary, fit_intercept):
    objective, targets = problem(name, binary, fit_intercept=fit_intercept)
    found = sparse_minimum(objective)
    bound = objective.dual_bound(found.coef, found.intercept, targets, binary)
    assert found.value * (1 - 1e-8) < bound <= found.value * (1 + 1e-14)
    rough = objective.dual_bound(0.9 * found.coef, found.intercept, targets, binary)
    assert 0 <= rough < bound


@pytest.mark.parametrize("setting", [CategoricalCrossentropy(), BinaryCrossentropy()])
def test_losses_by_complex_steps(setting, rng):
    z = rng.normal(size=(20, 3))
    targets = one_hot(np.arange(20) % 3)
    rows = softmax_rows(targets) if setting._proba_kind == "softmax" else binary_rows(targets)
    losses = rows_by_complex_steps(lambda z: cells.softmax_losses(setting, z, targets))
    for found, expected in zip(losses(z), rows(z), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)


def test_shift_of_least_norm(rng):
    coef = rng.normal(size=(4, 6)).round(1)
    shifts = np.linspace(-4, 4, 801)[:, np.newaxis, np.newaxis]
    norms = np.abs(coef + shifts).sum(axis=1)
    candidates = np.where(
        norms <= norms.min(axis=0) + 1e-12, ((coef + shifts) ** 2).sum(axis=1), np.inf
    )
    best = coef + shifts[candidates.argmin(axis=0), 0, 0]
    np.testing.assert_allclose(least_norm_shift(coef), best, atol=0.011)
    np.testing.assert_allclose(least_norm_shift(coef, 0.0).sum(axis=0), 0, atol=1e-14)
    bounded = least_norm_shift(np.abs(coef), coef_bounds=(0.0, np.inf))
    np.testing.assert_allclose(bounded.min(axis=0), 0, atol=1e-15)
