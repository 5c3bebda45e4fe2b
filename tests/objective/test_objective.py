"""The training objective and its preconditioner against plain NumPy, differences and SciPy."""

import warnings
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import optimize, sparse
from scipy.special import softmax

from reference import training_objective
from xentlearn import losses
from xentlearn._data.dataset import MemoryData
from xentlearn._data.statistics import covariance, moments_of
from xentlearn._data.targets import encode_y
from xentlearn._objective.certificate import Certificate
from xentlearn._objective.hessian_blocks import HessianBlocks
from xentlearn._objective.linear import LinearObjective
from xentlearn._objective.preconditioners import FeaturePreconditioner
from xentlearn._plan import settings
from xentlearn._plan.plan import RULES
from xentlearn._utils.threads import PRODUCT_ROWS

N_SAMPLES, N_FEATURES, N_OUTPUTS = 60, 4, 3


# --- Problems, and the formula --------------------------------------------------------------------


@dataclass
class Case:
    """Data of one kind, and its targets in full: (n, K) numbers, nan where missing."""

    X: np.ndarray
    y: np.ndarray
    loss: object
    targets: np.ndarray
    sample_weight: np.ndarray | None = None
    smoothing: float = 0.0
    pos_weight: object = 1.0

    @property
    def binary(self):
        return isinstance(self.loss, losses.BinaryCrossentropy)

    def objective(self, *, X=None, C=1.0, fit_intercept=True, n_threads=1, **preconditioning):
        """The objective as `SoftmaxClassifier.fit` builds it."""
        X = self.X if X is None else X
        y = encode_y(self.y, X.shape[0], self.loss, None, self.sample_weight)
        assert y.n_outputs == self.targets.shape[1]
        data = MemoryData(X)
        preconditioning.setdefault("local", None if data.is_sparse else "whole")
        return LinearObjective(
            data.rows(y, np.arange(y.n_outputs)),
            1 / (C * y.total_weight),
            fit_intercept,
            n_threads,
            settings.Preconditioning(**preconditioning),
        )

    def weights(self):
        """(weights of entries, S)."""
        weight = np.ones(len(self.y)) if self.sample_weight is None else self.sample_weight
        if weight.ndim == 2:
            return weight, weight.mean(axis=1).sum()
        counted = ~np.isnan(self.targets).all(axis=1) | self.binary
        return weight[:, np.newaxis], weight[counted].sum()

    def value(self, coef, intercept, C=1.0):
        """The formula, for coef of shape (n_outputs, n_features)."""
        logits = self.X.astype(np.float64) @ coef.T + intercept
        weight, total = self.weights()
        if self.binary:
            t = (1 - self.smoothing) * self.targets + self.smoothing / 2
            rows = self.pos_weight * t * np.logaddexp(0, -logits)
            rows = rows + (1 - t) * np.logaddexp(0, logits)
        else:
            t = (1 - self.smoothing) * self.targets + self.smoothing / self.targets.shape[1]
            largest = logits.max(axis=1, keepdims=True)
            log_sum = largest + np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
            rows = t * (log_sum - logits)
        rows = np.nansum(weight * rows, axis=1)
        return training_objective(rows, coef, C, total=total)


def make_case(name, rng, dtype=np.float64):
    """One of CASES; features have offsets and different scales."""
    n, k = N_SAMPLES, N_OUTPUTS
    X = rng.normal(size=(n, N_FEATURES)) * [1.0, 3.0, 0.2, 1.0] + [0.0, 5.0, -1.0, 0.3]
    X = X.astype(dtype)
    scores = (X - X.mean(axis=0)) @ rng.normal(size=(N_FEATURES, k)) + rng.gumbel(size=(n, k))
    labels = scores.argmax(axis=1)
    ones = (scores > 0).astype(np.float64)
    eye = np.eye(k)
    soft = rng.dirichlet(np.ones(k), size=n)
    missing = np.where(rng.random((n, k)) < 0.3, np.nan, ones)
    missing[5] = np.nan
    weight = np.where(np.arange(n) % 7 == 3, 0.0, rng.uniform(0.3, 3, n))
    of_entries = rng.uniform(0.3, 3, (n, k))
    of_entries[rng.random((n, k)) < 0.1] = 0
    positive = np.array([0.5, 2.0, 7.0])
    sparse_categorical = losses.SparseCategoricalCrossentropy
    binary = losses.BinaryCrossentropy
    ignored = np.where((np.arange(n) % 5 == 2)[:, np.newaxis], np.nan, eye[labels])
    return {
        "softmax": lambda: Case(X, labels, sparse_categorical(), eye[labels]),
        "softmax, weights and smoothing": lambda: Case(
            X, labels, sparse_categorical(0.2), eye[labels], weight, 0.2
        ),
        "softmax, ignored rows": lambda: Case(
            X,
            np.where(np.arange(n) % 5 == 2, 99, labels),
            sparse_categorical(ignore_class=99),
            ignored,
            weight,
        ),
        "two logits": lambda: Case(
            X, labels > 0, sparse_categorical(), np.eye(2)[(labels > 0).astype(int)]
        ),
        "soft": lambda: Case(X, soft, losses.CategoricalCrossentropy(), soft),
        "soft, weights and smoothing": lambda: Case(
            X, soft, losses.CategoricalCrossentropy(0.1), soft, weight, 0.1
        ),
        "binary": lambda: Case(X, ones[:, 0], binary(), ones[:, :1]),
        "binary, weights and pos_weight": lambda: Case(
            X, ones[:, 0], binary(0.1, pos_weight=4.0), ones[:, :1], weight, 0.1, 4.0
        ),
        "one-vs-rest": lambda: Case(X, labels, binary(), eye[labels]),
        "multilabel": lambda: Case(X, ones, binary(), ones),
        "multilabel, missing": lambda: Case(X, missing, binary(), missing),
        "multilabel, missing and pos_weight": lambda: Case(
            X, missing, binary(pos_weight=positive), missing, weight, 0.0, positive
        ),
        "multilabel, entry weights": lambda: Case(X, ones, binary(), ones, of_entries),
        "multilabel, everything": lambda: Case(
            X,
            missing,
            binary(0.1, pos_weight=positive),
            missing,
            of_entries,
            0.1,
            positive,
        ),
    }[name]()


CASES = [
    "softmax",
    "softmax, weights and smoothing",
    "softmax, ignored rows",
    "two logits",
    "soft",
    "soft, weights and smoothing",
    "binary",
    "binary, weights and pos_weight",
    "one-vs-rest",
    "multilabel",
    "multilabel, missing",
    "multilabel, missing and pos_weight",
    "multilabel, entry weights",
    "multilabel, everything",
]
each_case = pytest.mark.parametrize("name", CASES)
each_intercept = pytest.mark.parametrize("fit_intercept", [True, False])
each_container = pytest.mark.parametrize("container", ["dense", "csr"])


def contained(X, container):
    return sparse.csr_matrix(X) if container == "csr" else X


def differences(function, x, step):
    """Fourth-order central difference quotients of a function along every axis of x."""
    return np.array(
        [
            (8 * (function(x + h) - function(x - h)) - (function(x + 2 * h) - function(x - 2 * h)))
            / (12 * step)
            for h in step * np.eye(len(x))
        ]
    )


# --- Value, gradient, Hessian product -------------------------------------------------------------


@each_case
@each_intercept
@each_container
def test_value_is_the_formula(name, fit_intercept, container, rng):
    case = make_case(name, rng)
    objective = case.objective(X=contained(case.X, container), C=0.7, fit_intercept=fit_intercept)
    for scale in (0.0, 0.1, 1.0, 20.0):
        vector = scale * rng.normal(size=objective.size)
        coef, intercept = objective.unpack(vector)
        value, _ = objective.value_gradient(vector)
        np.testing.assert_allclose(value, case.value(coef, intercept, C=0.7), rtol=1e-12)


@each_case
def test_value_of_float32_is_the_formula(name, rng):
    case = make_case(name, rng, dtype=np.float32)
    objective = case.objective()
    vector = rng.normal(size=objective.size)
    value, gradient = objective.value_gradient(vector)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(value, case.value(*objective.unpack(vector)), rtol=1e-6)


@each_case
@each_intercept
@each_container
def test_gradient_by_differences(name, fit_intercept, container, rng):
    case = make_case(name, rng)
    objective = case.objective(X=contained(case.X, container), C=0.7, fit_intercept=fit_intercept)
    vector = rng.normal(size=objective.size)
    _, gradient = objective.value_gradient(vector)
    assert gradient.shape == (objective.size,)

    def value(x):
        return case.value(*objective.unpack(x), C=0.7)

    want = differences(value, vector, 1e-3)
    np.testing.assert_allclose(gradient, want, rtol=1e-7, atol=1e-9 * np.abs(want).max())


@each_case
@each_intercept
@each_container
def test_hessian_product_by_differences(name, fit_intercept, container, rng):
    case = make_case(name, rng)
    objective = case.objective(X=contained(case.X, container), C=0.7, fit_intercept=fit_intercept)
    vector = rng.normal(size=objective.size)
    hessian = differences(lambda x: objective.value_gradient(x)[1], vector, 1e-3)
    scale = np.abs(hessian).max()
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-8 * scale)
    for _ in range(3):
        direction = rng.normal(size=objective.size)
        product = objective.hessian_product(vector, direction)
        np.testing.assert_allclose(product, hessian @ direction, rtol=1e-6, atol=1e-8 * scale)


@each_case
def test_evaluations_leave_their_arguments_alone(name, rng):
    objective = make_case(name, rng).objective()
    vector, direction = rng.normal(size=(2, objective.size))
    copies = vector.copy(), direction.copy()
    first = objective.value_gradient(vector)
    objective.hessian_product(vector, direction)
    objective.precondition(direction)
    objective.optimality_gap(vector)
    again = objective.value_gradient(vector)
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1], again[1])
    np.testing.assert_array_equal(vector, copies[0])
    np.testing.assert_array_equal(direction, copies[1])


@each_case
@each_intercept
def test_without_a_penalty(name, fit_intercept, rng):
    case = make_case(name, rng)
    objective = case.objective(C=np.inf, fit_intercept=fit_intercept)
    vector = rng.normal(size=objective.size)
    value, _ = objective.value_gradient(vector)
    want = case.value(*objective.unpack(vector), C=np.inf)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    assert objective.optimality_gap(vector) == (value, np.inf)


# --- One vector and its parts ---------------------------------------------------------------------


@each_case
@each_intercept
@each_container
def test_pack_and_unpack(name, fit_intercept, container, rng):
    case = make_case(name, rng)
    objective = case.objective(X=contained(case.X, container), fit_intercept=fit_intercept)
    n_outputs = case.targets.shape[1]
    assert objective.size == (N_FEATURES + fit_intercept) * n_outputs
    coef = rng.normal(size=(n_outputs, N_FEATURES))
    intercept = fit_intercept * rng.normal(size=n_outputs)
    vector = objective.pack(coef, intercept)
    assert vector.shape == (objective.size,)
    got_coef, got_intercept = objective.unpack(vector)
    np.testing.assert_array_equal(got_coef, coef)
    np.testing.assert_allclose(got_intercept, intercept, rtol=0, atol=1e-14 * 10)
    np.testing.assert_allclose(objective.pack(got_coef, got_intercept), vector, atol=1e-13)
    got_coef[:] = got_intercept[:] = np.nan  # they are copies
    np.testing.assert_array_equal(vector, objective.pack(coef, intercept))
    if fit_intercept:  # the last row are the logits at the mean of X, by the weights of the rows
        weight = case.weights()[0].mean(axis=1)
        weight = np.where(np.isnan(case.targets).all(axis=1) & ~np.array(case.binary), 0, weight)
        mean = weight @ case.X / weight.sum()
        np.testing.assert_allclose(vector[-n_outputs:], coef @ mean + intercept, rtol=1e-12)


@each_case
def test_start_is_the_best_constant(name, rng):
    case = make_case(name, rng)
    objective = case.objective()
    start = objective.start()
    coef, _ = objective.unpack(start)
    np.testing.assert_array_equal(coef, 0.0)
    _, gradient = objective.value_gradient(start)
    np.testing.assert_allclose(gradient[-case.targets.shape[1] :], 0.0, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(case.objective(fit_intercept=False).start(), 0.0)


@each_case
@each_intercept
def test_value_scale_is_a_millionth_of_the_value_at_zero(name, fit_intercept, rng):
    objective = make_case(name, rng).objective(fit_intercept=fit_intercept)
    value, _ = objective.value_gradient(np.zeros(objective.size))
    np.testing.assert_allclose(objective.value_scale, 1e-6 * value, rtol=1e-12)


def test_rounding_covers_the_noise_of_float32(rng):
    """Values of float32 data, moved by less than float32 resolves, scatter as `rounding` says."""
    case = make_case("softmax", rng, dtype=np.float32)
    objective = case.objective()
    vector = rng.normal(size=objective.size)
    exact = [case.value(*objective.unpack(vector * (1 + 1e-5 * shift))) for shift in range(-20, 20)]
    values = [objective.value_gradient(vector * (1 + 1e-5 * shift))[0] for shift in range(-20, 20)]
    noise = np.std(np.array(values) - exact) / values[0]
    assert noise / 10 < objective.rounding
    assert objective.rounding < 100 * noise
    assert case.objective(X=case.X.astype(np.float64)).rounding < 1e-14


# --- Weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["softmax", "two logits", "soft", "binary", "one-vs-rest", "multilabel", "multilabel, missing"],
)
@each_intercept
@each_container
def test_weights_equal_repeated_rows(name, fit_intercept, container, rng):
    case = make_case(name, rng)
    counts = rng.integers(0, 4, size=N_SAMPLES)
    order = np.repeat(np.arange(N_SAMPLES), counts)
    weighted = Case(case.X, case.y, case.loss, case.targets, counts.astype(np.float64))
    repeated = Case(case.X[order], case.y[order], case.loss, case.targets[order])
    a = weighted.objective(X=contained(weighted.X, container), fit_intercept=fit_intercept)
    b = repeated.objective(X=contained(repeated.X, container), fit_intercept=fit_intercept)
    assert a.l2_reg == b.l2_reg
    vector, direction = rng.normal(size=(2, a.size))
    np.testing.assert_allclose(a.value_scale, b.value_scale, rtol=1e-13)
    np.testing.assert_allclose(a.start(), b.start(), rtol=1e-12, atol=1e-14)
    for evaluate in (
        lambda objective: objective.value_gradient(vector)[0],
        lambda objective: objective.value_gradient(vector)[1],
        lambda objective: objective.hessian_product(vector, direction),
        lambda objective: objective.precondition(direction),
        lambda objective: objective.optimality_gap(vector),
    ):
        want = evaluate(b)
        scale = np.abs(want).max()
        np.testing.assert_allclose(evaluate(a), want, rtol=1e-10, atol=1e-11 * scale)


def many_rows(n, dtype, rng):
    X = rng.normal(size=(n, 3)) @ [[1.0, 0.4, 0.0], [0.0, 1.0, -2.0], [0.0, 0.0, 0.3]]
    X += [100.0, -3.0, 0.0]
    weight = rng.integers(0, 4, n).astype(np.float64)
    weight[::500] = 300  # weights of a few rows that matter
    return X.astype(dtype), weight


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 50, PRODUCT_ROWS, 2 * PRODUCT_ROWS + 1])
def test_weighted_moments(n, dtype, rng):
    X, weight = many_rows(n, dtype, rng)
    weight[0] = 2.0
    moments = moments_of(X, weight)
    mean, variance = moments.mean, moments.variance
    X64 = X.astype(np.float64)
    want = np.average(X64, axis=0, weights=weight)
    # any centre will do, if all agree on it: blocks are summed in the dtype of X
    np.testing.assert_allclose(mean, want, rtol=1e-12 if dtype is np.float64 else 1e-5)
    want = mean
    want_variance = np.average((X64 - want) ** 2, axis=0, weights=weight)
    eps = np.finfo(dtype).eps
    # the mean is rounded to the dtype before X is centred: a square of that remains
    np.testing.assert_allclose(
        variance, want_variance, rtol=32 * eps, atol=2 * (eps * np.abs(want).max()) ** 2
    )
    moments = moments_of(sparse.csr_matrix(X), weight)
    mean, square = moments.mean, moments.variance
    want = np.average(X64, axis=0, weights=weight)
    rtol = 1e-12 if dtype is np.float64 else 1e-6
    np.testing.assert_allclose(mean, want, rtol=rtol)
    np.testing.assert_allclose(square, np.average(X64**2, axis=0, weights=weight), rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 50, 2 * PRODUCT_ROWS + 1])
def test_covariance(n, dtype, rng):
    X, weight = many_rows(n, dtype, rng)
    weight[0] = 2.0
    moments = moments_of(X, weight)
    mean, variance = moments.mean, moments.variance
    centred = X.astype(np.float64) - mean
    want = (centred.T * weight) @ centred / weight.sum()
    got = covariance(X, weight, mean, settings.Preconditioning())
    np.testing.assert_array_equal(got, got.T)
    scale = np.sqrt(np.outer(want.diagonal(), want.diagonal()))
    # offsets cost digits where X is centred in its own dtype
    tolerance = 1e-12 if dtype is np.float64 else 1e-4
    assert (np.abs(got - want) <= tolerance * scale + 1e-300).all()
    np.testing.assert_allclose(got.diagonal(), variance, rtol=tolerance)


def test_covariance_of_a_subset(rng):
    n = 2 * settings.Preconditioning().least_rows + 10_000
    X, weight = many_rows(n, np.float64, rng)
    mean = moments_of(X, weight).mean
    centred = X - mean
    want = (centred.T * weight) @ centred / weight.sum()
    got = covariance(X, weight, mean, settings.Preconditioning())
    scale = np.sqrt(np.outer(want.diagonal(), want.diagonal()))
    assert np.abs((got - want) / scale).max() < 0.05
    assert (got != want).any()
    order = np.repeat(np.arange(n), weight.astype(int))
    repeated = covariance(X[order], np.ones(len(order)), mean, settings.Preconditioning())
    np.testing.assert_allclose(got, repeated, rtol=1e-9, atol=1e-12)
    X[weight == 0] = 1e9  # rows without weight are not looked at
    np.testing.assert_array_equal(covariance(X, weight, mean, settings.Preconditioning()), got)


# --- Preconditioner -------------------------------------------------------------------------------


def difficult_X(rng, n=200, dtype=np.float64):
    """Columns from 1e-5 to 1e5, some constant, zero, duplicated or offset."""
    scales = 10.0 ** rng.uniform(-5, 5, 8)
    X = rng.normal(size=(n, 8)) * scales
    constant = np.column_stack([np.ones(n), np.full(n, 1e5), np.zeros(n), np.full(n, 1e-5)])
    duplicated = np.column_stack([X[:, 0], X[:, 0], 1e3 * X[:, 1], X[:, 2] + X[:, 3]])
    offset = X[:, 4:5] + 1e3 * scales[4]
    return np.column_stack([X, constant, duplicated, offset]).astype(dtype)


def dense_preconditioner(objective):
    """The matrix that `precondition` multiplies by."""
    return np.column_stack([objective.precondition(unit) for unit in np.eye(objective.size)])


def objective_of_difficult_X(name, dtype, container, fit_intercept, C, rng):
    X = difficult_X(rng, dtype=dtype)
    y = rng.integers(3, size=len(X))
    if name == "binary":
        y = y > 0
    case = Case(X, y, "auto", np.zeros((len(X), 1 if name == "binary" else 3)))
    return case.objective(X=contained(X, container), C=C, fit_intercept=fit_intercept)


def test_stiffer_hessians(rng):
    """Only what rounding has left of an eigenvalue gives way, and not for ever."""
    Z = rng.normal(size=(200, 3))
    X = np.column_stack([Z, Z[:, 0] + 1e-9 * rng.normal(size=200)])
    y = rng.integers(0, 2, 200)
    objective = Case(X, y, "auto", np.zeros((200, 1))).objective(C=np.inf)
    vector = np.zeros(objective.size)
    assert not objective.regularise()  # there is no Hessian yet
    objective.hessian_at(vector)
    other, flat = np.array([0.0, 1, 1, 0, 0]), np.array([1.0, 0, 0, -1, 0])
    before = objective.precondition(other)
    lengths = [np.linalg.norm(objective.precondition(flat))]
    while objective.regularise():
        objective.hessian_at(vector)
        lengths.append(np.linalg.norm(objective.precondition(flat)))
        np.testing.assert_allclose(objective.precondition(other) @ other, before @ other, rtol=1e-2)
    assert len(lengths) == 4
    assert lengths[0] > 100 * lengths[1] > 100 * 100 * lengths[-1]


@pytest.mark.parametrize("name", ["softmax", "binary"])
@pytest.mark.parametrize("C", [np.inf, 1.0, 1e-6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("followed", [False, True])
@each_container
@each_intercept
def test_precondition_is_linear_symmetric_and_positive(
    name, C, dtype, followed, container, fit_intercept, rng
):
    objective = objective_of_difficult_X(name, dtype, container, fit_intercept, C, rng)
    if followed:
        scale = np.sqrt(dense_preconditioner(objective).diagonal())
        objective.follow_curvature(0.1 * scale * rng.normal(size=objective.size))
    matrix = dense_preconditioner(objective)
    assert np.isfinite(matrix).all()
    diagonal = matrix.diagonal()
    assert (diagonal > 0).all()
    scale = np.sqrt(diagonal)
    unit = matrix / np.outer(scale, scale)
    np.testing.assert_allclose(unit, unit.T, rtol=0, atol=1e-12)

    eye = np.eye(objective.size)
    first, second = rng.choice(objective.size, (2, 100))
    sums, random = eye[first] + eye[second], rng.normal(size=(50, objective.size))
    gradients = np.array([*eye, *sums, *(sums - 2 * eye[second]), *random])
    gradients = gradients[gradients.any(axis=1)]
    # gradients of all directions, also in units in which the diagonal is 1
    for g in np.concatenate([gradients / scale, gradients * scale, gradients]):
        product = objective.precondition(g)
        assert g @ product > 0
        bound = 1e-11 * scale * (scale @ np.abs(g))  # |P_ij| is at most scale_i scale_j
        assert (np.abs(product - matrix @ g) <= bound).all()
        np.testing.assert_array_equal(objective.precondition(-4 * g), -4 * product)


def assert_inverts(objective, curvatures, X, weight, rng):
    """Output k gets the inverse of L (I + (c_k - c) diag S) L^T, as its class says.

    With the mean c that the class shares give, L L^T = c M + l2_reg I, and S = L^-1 M L^-T. Without
    a penalty, or if M is diagonal, that is c_k M + l2_reg I itself.
    """
    gradient = rng.normal(size=objective.shape)
    got = objective.precondition(gradient.ravel()).reshape(gradient.shape)
    centred = X - (weight @ X / weight.sum() if objective.fit_intercept else 0)
    covariance = (centred.T * weight) @ centred / weight.sum()
    c, penalty = objective.curvatures_at_shares.mean(), objective.l2_reg * np.eye(X.shape[1])
    L = np.linalg.cholesky(c * covariance + penalty)
    S = np.linalg.solve(L, np.linalg.solve(L, covariance).T)
    want, mean = np.empty_like(gradient), np.zeros(len(gradient))
    if not objective.is_binary:  # common changes of all logits by themselves
        mean = gradient.mean(axis=1)
    for k, curvature in enumerate(curvatures):
        matrix = (L * (1 + (curvature - c) * S.diagonal())) @ L.T
        if not penalty.any():
            np.testing.assert_allclose(matrix, curvature * covariance)
        of_k = gradient[:, k] - mean
        want[: X.shape[1], k] = np.linalg.solve(matrix, of_k[: X.shape[1]])
        want[X.shape[1] :, k] = of_k[X.shape[1] :] / curvature
    if not objective.is_binary:
        want -= want.mean(axis=1, keepdims=True)
        want[: X.shape[1]] += np.linalg.solve(L @ L.T, mean[: X.shape[1]])[:, np.newaxis]
        want[X.shape[1] :] += mean[X.shape[1] :, np.newaxis] / c
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize("C", [np.inf, 10.0])
@each_intercept
def test_precondition_inverts_curvature_times_covariance(C, fit_intercept, rng):
    case = make_case("softmax, weights and smoothing", rng)
    objective = case.objective(C=C, fit_intercept=fit_intercept)
    weight = case.sample_weight / case.sample_weight.sum()
    share = weight @ ((1 - case.smoothing) * case.targets + case.smoothing / N_OUTPUTS)
    assert_inverts(objective, share * (1 - share), case.X, weight, rng)


@pytest.mark.parametrize("C", [np.inf, 10.0])
@each_container
@each_case
def test_follow_curvature(name, container, C, rng):
    """The curvatures are the means of the loss's own second derivatives in the logits."""
    case = make_case(name, rng)
    objective = case.objective(X=contained(case.X, container), C=C, few_seen=0)
    vector = 0.3 * rng.normal(size=objective.size)
    objective.follow_curvature(vector)
    if objective.n_outputs == 1:  # a change of its scale is the solver's
        curvatures = objective.curvatures_at_shares
    else:  # second derivatives in the intercepts: those in the logits, summed over the rows
        units = np.eye(objective.size)[-objective.n_outputs :]
        curvatures = [objective.hessian_product(vector, unit) @ unit for unit in units]
    assert_inverts(objective, curvatures, case.X, objective.rows.weight, rng)


@pytest.mark.parametrize("name", ["softmax", "soft, weights and smoothing", "one-vs-rest"])
@pytest.mark.parametrize("blocks", [False, True])
def test_precondition_brings_nothing_common_into_a_softmax(name, blocks, rng):
    objective = make_case(name, rng).objective(local="blocks")
    vector = 0.5 * rng.normal(size=objective.size)
    if blocks:
        objective.precondition_at(vector)
        assert isinstance(objective.preconditioner, HessianBlocks)
    else:
        objective.follow_curvature(vector)
    gradient = rng.normal(size=objective.shape)
    gradient -= gradient.mean(axis=1, keepdims=True)
    got = objective.precondition(gradient.ravel()).reshape(objective.shape)
    common = np.abs(got.sum(axis=1)) / np.abs(got).sum(axis=1)
    if name == "one-vs-rest":  # there it is no different from other changes
        assert (common > 1e-3).all()
    else:
        assert (common < 1e-12).all()
    matrix = dense_preconditioner(objective)
    scale = np.sqrt(matrix.diagonal())
    unit = matrix / np.outer(scale, scale)
    np.testing.assert_allclose(unit, unit.T, rtol=0, atol=1e-12)
    assert np.linalg.eigvalsh(unit).min() > 1e-3


def test_follow_curvature_keeps_the_hessian_of_a_point(rng):
    objective = make_case("softmax", rng).objective()
    vector, gradient = rng.normal(size=(2, objective.size))
    objective.precondition_at(vector)
    want = objective.precondition(gradient)
    objective.follow_curvature(2 * vector)
    np.testing.assert_array_equal(objective.precondition(gradient), want)


def test_follow_curvature_from_some_rows(rng, monkeypatch):
    """A weight of 2 is like the row twice; outputs that few rows show go the way of the others."""
    n = 10_000
    X, y = rng.normal(size=(n, N_FEATURES)), rng.integers(3, size=n)
    y[y == 2] = rng.integers(2, size=np.sum(y == 2))
    y[17] = 2  # one row, which may not be among those that are looked at
    weight = rng.integers(1, 3, n).astype(float)

    def followed(X, y, weight):
        case = Case(X, y, "auto", np.zeros((len(y), 3)), sample_weight=weight)
        objective = case.objective(C=1.0)
        vector = np.zeros(objective.shape)
        vector[0] = [3, -3, 0]
        vector[-1] = [0, 0, -30]
        objective.follow_curvature(vector.ravel())
        first = objective.curvatures_at_shares
        used = objective.preconditioner
        return used.curvature * used.relative, first, vector

    got, at_shares, vector = followed(X, y, weight)
    logits = X @ vector[:-1] + vector[-1]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    want = np.average(p * (1 - p), axis=0, weights=weight)
    np.testing.assert_allclose(got[:2], want[:2], rtol=0.1)
    left = want[:2].sum() / at_shares[:2].sum()
    np.testing.assert_allclose(got[2], left * at_shares[2], rtol=0.2)
    repeated = np.repeat(np.arange(n), weight.astype(int))
    again, _, _ = followed(X[repeated], y[repeated], np.ones(len(repeated)))
    np.testing.assert_allclose(again, got, rtol=1e-9)
    monkeypatch.setattr("xentlearn._data.dataset.LOGIT_BLOCK", 300)  # 100 rows at a time
    in_pieces, _, _ = followed(X, y, weight)
    np.testing.assert_allclose(in_pieces, got, rtol=1e-12)


@pytest.mark.parametrize("name", ["binary, weights and pos_weight", "multilabel, missing"])
def test_precondition_is_close_to_the_inverse_hessian_at_the_start(name, rng):
    """Within a factor of 4 in every direction, in the metric of the Hessian."""
    objective = make_case(name, rng).objective()
    start = objective.start()
    hessian = np.array([objective.hessian_product(start, unit) for unit in np.eye(objective.size)])
    eigenvalues = np.linalg.eigvals(dense_preconditioner(objective) @ hessian)
    assert np.abs(eigenvalues.imag).max() < 1e-9
    assert eigenvalues.real.min() > 1 / 4
    assert eigenvalues.real.max() < 4


@each_container
def test_precondition_is_blind_to_the_units_of_features(container, rng):
    """Without a penalty: X S has the preconditioner S^-1 P S^-1."""
    case = make_case("softmax", rng)
    scales = 2.0 ** rng.integers(-17, 18, N_FEATURES)  # exact, so nothing else changes
    plain = case.objective(X=contained(case.X, container), C=np.inf)
    scaled = case.objective(X=contained(case.X * scales, container), C=np.inf)
    factors = np.append(scales, 1.0)[:, np.newaxis]
    gradient = rng.normal(size=plain.shape)
    want = plain.precondition(gradient.ravel()).reshape(plain.shape) / factors
    got = scaled.precondition((gradient * factors).ravel()).reshape(plain.shape)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@each_case
@each_intercept
@pytest.mark.parametrize("C", [np.inf, 1.0])
def test_precondition_at_inverts_the_hessian(name, fit_intercept, C, rng):
    objective = make_case(name, rng).objective(fit_intercept=fit_intercept, C=C)
    vector = 0.3 * rng.normal(size=objective.size)
    objective.precondition_at(vector, thorough=True)
    hessian = np.array([objective.hessian_product(vector, unit) for unit in np.eye(objective.size)])
    directions = rng.normal(size=(objective.size, 5))
    gradients = hessian @ directions
    got = np.column_stack([objective.precondition(g) for g in gradients.T])
    # not the directions themselves: a constant for all intercepts of a softmax changes nothing
    np.testing.assert_allclose(hessian @ got, gradients, rtol=1e-7, atol=1e-9)
    matrix = dense_preconditioner(objective)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max())
    for gradient in rng.normal(size=(50, objective.size)):
        assert gradient @ objective.precondition(gradient) > 0


@pytest.mark.parametrize("name", ["softmax", "binary"])
@pytest.mark.parametrize("C", [np.inf, 1.0])
@each_intercept
def test_precondition_at_of_difficult_data_stays_positive(name, C, fit_intercept, rng):
    """Duplicated and constant columns, scales from 1e-5 to 1e5, points without curvature."""
    arguments = np.float64, "dense", fit_intercept, C, rng
    objective = objective_of_difficult_X(name, *arguments)
    scale = np.sqrt(dense_preconditioner(objective).diagonal())
    for size in (0.0, 1e-6, 1e-5, 1e-4):
        objective.precondition_at(size * scale * rng.normal(size=objective.size), thorough=True)
        for g in rng.normal(size=(20, objective.size)):
            product = objective.precondition(g / scale)
            assert np.isfinite(product).all()
            assert (g / scale) @ product > 0
            np.testing.assert_array_equal(objective.precondition(-4 * g / scale), -4 * product)


@pytest.mark.parametrize("name", ["softmax", "binary"])
@pytest.mark.parametrize("C", [np.inf, 1.0])
@pytest.mark.parametrize("logit", [300.0, 700.0, 720.0, 740.0, 800.0])
def test_precondition_at_where_the_curvature_underflows(name, C, logit, rng):
    """All rows are certain: second derivatives in the intercept are tiny, subnormal or 0."""
    objective = make_case(name, rng).objective(C=C)
    matrix = np.zeros(objective.shape)
    matrix[-1, 0] = logit
    objective.precondition_at(matrix.ravel(), thorough=True)
    for gradient in rng.normal(size=(20, objective.size)):
        product = objective.precondition(gradient)
        assert np.isfinite(product).all()
        assert gradient @ product > 0


def test_precondition_at_changes_nothing_for_sparse_X(rng):
    case = make_case("softmax", rng)
    objective = case.objective(X=sparse.csr_matrix(case.X))
    vector, gradient = rng.normal(size=(2, objective.size))
    want = objective.precondition(gradient)
    objective.precondition_at(vector, thorough=True)
    np.testing.assert_array_equal(objective.precondition(gradient), want)


def test_wide_X_gets_the_diagonal(rng):
    n, n_features = 20, RULES.most_covariance + 1
    X, y = rng.normal(size=(n, n_features)), rng.integers(2, size=(n, 2)).astype(float)
    case = Case(X, y, losses.BinaryCrossentropy(), y)
    objective = case.objective(C=1 / (0.1 * n), covariance=False)
    curvatures = np.array([0.2, 0.003])
    objective.preconditioner.follow(curvatures)
    gradient = rng.normal(size=(n_features + 1, 2))
    want = gradient / np.vstack([np.outer(X.var(axis=0), curvatures) + 0.1, curvatures])
    np.testing.assert_allclose(objective.preconditioner.apply(gradient, True), want)
    np.testing.assert_allclose(objective.preconditioner.apply(gradient[:-1], False), want[:-1])


# --- Optimality gap -------------------------------------------------------------------------------


def minimum_of(objective):
    """(vector, value) of the minimum: SciPy's, and Newton steps until rounding stops them."""
    start = np.zeros(objective.size)
    result = optimize.minimize(
        objective.value_gradient,
        start,
        jac=True,
        hessp=objective.hessian_product,
        method="trust-ncg",
        options={"gtol": 1e-6, "maxiter": 500},
    )
    x = result.x
    for _ in range(4):
        hessian = [objective.hessian_product(x, unit) for unit in np.eye(objective.size)]
        # constants added to all intercepts of a softmax change nothing: the smallest step
        x = x - np.linalg.lstsq(hessian, objective.value_gradient(x)[1], rcond=1e-11)[0]
    value, gradient = objective.value_gradient(x)
    _, first = objective.value_gradient(start)
    assert np.abs(gradient).max() <= 1e-12 * np.abs(first).max()
    return x, value


def points_around(minimum, objective, rng):
    """Vectors at all distances from a minimum, up to ones that predict nonsense."""
    yield objective.start()
    yield np.zeros(objective.size)
    for scale in (1e-6, 1e-3, 0.03, 0.3, 3.0, 30.0):
        for _ in range(4):
            step = rng.normal(size=objective.size)
            if np.abs(minimum).max() > 0:
                step *= np.abs(minimum).max()
            yield minimum + scale * step
            yield scale * step
    for share in (-1.0, 0.5, 0.9, 0.99, 1.01, 2.0):
        yield share * minimum + (1 - share) * objective.start()


@each_case
@each_intercept
@each_container
@pytest.mark.parametrize("C", [1e-2, 1.0, 100.0])
def test_optimality_gap_is_a_bound(name, fit_intercept, container, C, rng):
    case = make_case(name, rng)
    X = contained(case.X, container)
    objective = case.objective(X=X, C=C, fit_intercept=fit_intercept)
    minimum, least = minimum_of(objective)
    for vector in points_around(minimum, objective, rng):
        fresh = case.objective(X=X, C=C, fit_intercept=fit_intercept)
        value, gap = fresh.optimality_gap(vector)
        assert value == objective.value_gradient(vector)[0]
        assert gap >= 0
        assert value - least <= gap * least + 1e-12 * value
        # the best bound of all points so far is one, too
        _, remembered = objective.optimality_gap(vector)
        assert remembered >= 0
        assert value - least <= remembered * least + 1e-12 * value


@each_case
def test_optimality_gap_takes_a_step_of_the_intercept(name, rng, monkeypatch):
    """Where there are not too many outputs for it; the bound is one in any case."""
    case = make_case(name, rng)
    objective = case.objective()
    minimum, least = minimum_of(objective)
    vector = minimum.copy()
    vector[-objective.n_outputs :] += 1e-3 * rng.normal(size=objective.n_outputs)
    value, gap = case.objective().optimality_gap(vector)
    monkeypatch.setattr(
        Certificate, "_intercept_step", lambda self, objective, *_: np.zeros(objective.n_outputs)
    )
    _, without = case.objective().optimality_gap(vector)
    # missing labels and weights of the positives are in the curvature on average only
    share = 0.05 if not objective.is_binary else 0.3
    assert (value - least) / least - 1e-14 <= gap < share * without


def test_optimality_gap_takes_the_step_from_some_rows(rng):
    case = make_case("softmax", rng)
    minimum, _ = minimum_of(case.objective())
    vector = minimum.copy()
    vector[-3:] += [1e-3, 0, -1e-3]

    def gap(**certificate):
        objective = case.objective()
        objective.certificate = Certificate(settings.Certificate(**certificate))
        return objective.optimality_gap(vector)[1]

    whole = gap()
    part = gap(step_work=len(case.X) * 9 / 4, step_passes=0)  # every fourth
    none = gap(most_coupled=1)
    assert whole < part < none


@pytest.mark.parametrize("name", ["softmax", "multilabel, missing"])
def test_blocks_of_outputs_are_preconditioned_like_all(name, rng, monkeypatch):
    objective = make_case(name, rng).objective()
    gradient = rng.normal(size=objective.size)
    want = objective.precondition(gradient)
    monkeypatch.setattr("xentlearn._objective.preconditioners.OUTPUT_BLOCK", 2)
    np.testing.assert_allclose(objective.precondition(gradient), want, rtol=1e-12)


@pytest.mark.parametrize("from_start", [False, True])
def test_many_classes_have_the_same_certificate_without_a_gradient_that_is_kept(from_start, rng):
    case = make_case("softmax", rng)
    minimum, _ = minimum_of(case.objective())
    found = []
    for most_kept in (2, 3):
        objective = case.objective()
        objective.certificate = Certificate(settings.Certificate(most_kept=most_kept))
        if from_start:
            objective.value_gradient(objective.start())
        found.append(objective.optimality_gap(minimum + 1e-3))
        derived = objective.rows.derived
        assert ("start_gradient" in derived) == (from_start and most_kept == 3)
        assert ("constant_gradients" in derived) == (most_kept == 3)
    assert found[0] == found[1]


@each_case
@each_intercept
def test_certified_gap(name, fit_intercept, rng):
    """A bound, where it is at most what is wanted; else inf."""
    case = make_case(name, rng)
    objective = case.objective(fit_intercept=fit_intercept)
    minimum, least = minimum_of(objective)
    vector = minimum + 1e-4 * rng.normal(size=objective.size)
    value, gradient = objective.value_gradient(vector)
    true = value - least

    def certified(wanted, **settings):
        fresh = case.objective(fit_intercept=fit_intercept, **settings)
        return fresh.certified_gap(vector, *fresh.value_gradient(vector), wanted)

    bound = certified(np.inf)
    assert true <= bound < np.inf
    assert certified(0.5 * true) == np.inf  # it cannot be below the truth
    assert certified(100 * bound) == bound
    assert certified(np.inf, C=np.inf) == np.inf
    # nor while an extra penalty is in force
    objective.continuation_strengths(value)
    if objective.continuation.reach is not None:
        objective.continue_at(1e-3)
        assert objective.certified_gap(vector, value, gradient, np.inf) == np.inf


def test_step_bound(rng):
    """Once a problem is hard, no feature alone moves a row's logit by more than the bound."""
    case = make_case("softmax", rng)
    objective = case.objective(C=1e6)
    direction = rng.normal(size=objective.size) * 10.0 ** rng.integers(-6, 6, size=objective.size)
    assert objective.bound_step(direction) is direction
    objective.continuation_strengths(objective.value_gradient(np.zeros(objective.size))[0])
    before = direction.copy()
    step_bound = settings.Continuation().step_bound
    clipped = objective.bound_step(direction).reshape(objective.shape)
    np.testing.assert_array_equal(direction, before)
    W, b = before.reshape(objective.shape)[:-1], before.reshape(objective.shape)[-1]
    reach = np.abs(case.X - objective.mean).max(axis=0)[:, np.newaxis]
    np.testing.assert_array_equal(clipped[-1], b)
    allowed = np.abs(W) * reach <= step_bound * (1 - 1e-12)
    assert allowed.any()
    assert not allowed.all()
    np.testing.assert_array_equal(clipped[:-1][allowed], W[allowed])
    limit = np.broadcast_to(step_bound / reach, W.shape)
    np.testing.assert_allclose(clipped[:-1][~allowed], (np.sign(W) * limit)[~allowed])


@each_case
@each_intercept
@each_container
def test_optimality_gap_vanishes_at_the_minimum(name, fit_intercept, container, rng):
    case = make_case(name, rng)
    objective = case.objective(X=contained(case.X, container), fit_intercept=fit_intercept)
    minimum, least = minimum_of(objective)
    value, gap = objective.optimality_gap(minimum)
    assert value == least
    assert gap < 1e-12
    step = rng.normal(size=objective.size)
    _, near = objective.optimality_gap(minimum + 1e-4 * step)
    _, nearer = objective.optimality_gap(minimum + 1e-5 * step)
    assert 0 < nearer < 1e-3
    # like the square of the distance; a gradient in the intercept adds a term of first order
    assert near / nearer > (8 if fit_intercept else 80)


@each_case
@each_intercept
def test_optimality_gap_says_something_at_the_start(name, fit_intercept, rng):
    case = make_case(name, rng)
    for C, limit in [(1e-3, 10), (1.0, 1e5), (100.0, 1e7)]:  # it grows like C
        objective = case.objective(fit_intercept=fit_intercept, C=C)
        _, gap = objective.optimality_gap(objective.start())
        assert gap < limit


@pytest.mark.parametrize("name", ["softmax", "softmax, weights and smoothing", "soft"])
def test_optimality_gap_is_its_formula(name, rng):
    """Without an intercept: that of the dual at q = (1 - tau) t + tau p, for the best tau."""
    case = make_case(name, rng)
    weight, total = case.weights()
    weight = weight / total
    targets = (1 - case.smoothing) * case.targets + case.smoothing / N_OUTPUTS
    n_useful = 0
    for scale in (0.0, 0.01, 0.1, 1.0):
        for _ in range(5):
            objective = case.objective(fit_intercept=False)  # it remembers the best bound
            vector = scale * rng.normal(size=objective.size)
            value, gap = objective.optimality_gap(vector)
            p = softmax(case.X @ objective.unpack(vector)[0].T, axis=1)
            entropy = -(weight * p * np.log(p)).sum()
            residual = case.X.T @ (weight * (p - targets))
            tau = np.geomspace(1e-6, 1, 10_001)
            dual = tau * entropy - tau**2 * (residual**2).sum() / (2 * objective.l2_reg)
            np.testing.assert_allclose(gap, value / dual.max() - 1, rtol=1e-5)
            n_useful += np.argmax(dual) < 10_000
    assert n_useful > 5


@each_case
def test_gradient_where_every_row_is_predicted_by_the_same_shares(name, rng):
    """What the bound uses for intercepts; weights of entries give every output its own mean."""
    objective = make_case(name, rng).objective()
    for _ in range(3):
        matrix = np.zeros(objective.shape)
        if objective.is_binary:
            ones = rng.uniform(0.01, 0.99, objective.n_outputs)
            r = np.column_stack([1 - ones, ones])
            matrix[-1] = np.log(ones / (1 - ones))
        else:
            r = rng.dirichlet(np.ones(objective.n_outputs), size=1)
            matrix[-1] = np.log(r[0])
        _, want = objective.value_gradient(matrix.ravel())
        got = objective.certificate.constant_gradient(objective, r)
        np.testing.assert_allclose(
            got, want.reshape(objective.shape)[:-1], rtol=0, atol=1e-12 * (1 + np.abs(want).max())
        )


@each_case
@each_intercept
def test_optimality_gap_does_not_warn(name, fit_intercept, rng):
    """Also where a class has a probability of 0 in every row."""
    objective = make_case(name, rng).objective(fit_intercept=fit_intercept)
    for scale in (0.0, 1.0, 1e2, 1e4):
        for _ in range(20):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                objective.optimality_gap(scale * rng.normal(size=objective.size))


@each_case
def test_optimality_gap_of_float32(name, rng):
    """The bound is right up to the rounding of float32."""
    case = make_case(name, rng, dtype=np.float32)
    _, least = minimum_of(case.objective(X=case.X.astype(np.float64)))
    objective = case.objective()
    minimum, _ = minimum_of(case.objective(X=case.X.astype(np.float64)))
    for vector in points_around(minimum, objective, rng):
        value, gap = objective.optimality_gap(vector)
        assert value - least <= gap * least + 1e-6 * value
    _, gap = objective.optimality_gap(minimum)
    assert gap < 1e-5


def test_optimality_gap_of_a_value_that_is_not_finite(rng):
    case = make_case("softmax", rng)
    objective = case.objective()
    with np.errstate(all="ignore"):
        value, gap = objective.optimality_gap(np.full(objective.size, 1e308))
    assert not np.isfinite(value)
    assert gap == np.inf


# --- Threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_container
def test_threads_change_no_bit(container, dtype, rng):
    X = rng.normal(size=(50_000, 40)).astype(dtype)  # large enough for threads
    y = rng.integers(5, size=len(X))
    case = Case(X, y, losses.SparseCategoricalCrossentropy(), np.eye(5)[y])
    one, two = (case.objective(X=contained(X, container), n_threads=n) for n in (1, 2))
    vector, direction = rng.normal(size=(2, one.size))
    for method, arguments in [
        ("value_gradient", (vector,)),
        ("hessian_product", (vector, direction)),
        ("precondition", (direction,)),
        ("optimality_gap", (vector,)),
        ("precondition_after", (0.01 * vector, direction)),
    ]:
        if method == "precondition_after":  # the whole Hessian, where X is dense
            for objective in (one, two):
                objective.precondition_at(arguments[0])
            method, arguments = "precondition", arguments[1:]
        a, b = getattr(one, method)(*arguments), getattr(two, method)(*arguments)
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_are_the_diagonal_of_the_hessian(dtype, rng):
    """With the curvature of each output's rows, and l2_reg on the features only."""
    n, n_features, n_outputs = 300, 6, 3
    X = rng.normal(size=(n, n_features)).astype(dtype) * 10.0 ** np.arange(-3, 3)
    X = X.astype(dtype)
    curvature = rng.uniform(0, 1e-3, size=(n, n_outputs))
    mean = X.mean(axis=0, dtype=np.float64)
    gradient = rng.normal(size=(n_features + 1, n_outputs))
    penalty = np.full(n_features, 0.1)
    everything = np.zeros((n_features, n_features))  # nothing of the covariance of all rows
    objective = SimpleNamespace(
        rows=SimpleNamespace(sample=SimpleNamespace(X=X)),
        mean=mean,
        penalty_curvature=penalty,
        shift_invariant=False,
        n_threads=1,
    )
    blocks = HessianBlocks.of(
        objective, curvature, np.ones(n), everything, settings.Preconditioning()
    )
    got = blocks.apply(gradient, True)
    Z = X.astype(np.float64) - mean
    for k in range(n_outputs):
        block = Z.T @ (curvature[:, k, np.newaxis] * Z) + 0.1 * np.eye(n_features)
        want = np.linalg.solve(block, gradient[:-1, k])
        np.testing.assert_allclose(got[:-1, k], want, rtol=2e-3 if dtype == np.float32 else 1e-9)
        np.testing.assert_allclose(got[-1, k], gradient[-1, k] / curvature[:, k].sum())


def test_large_problems_get_blocks(rng):
    case = make_case("softmax", rng)
    objective = case.objective(local="blocks")
    objective.precondition_at(np.zeros(objective.size), thorough=True)
    assert isinstance(objective.preconditioner, HessianBlocks)
    for g in rng.normal(size=(10, objective.size)):
        assert g @ objective.precondition(g) > 0
    objective = case.objective(local=None)
    objective.precondition_at(np.zeros(objective.size), thorough=True)
    assert isinstance(objective.preconditioner, FeaturePreconditioner)
