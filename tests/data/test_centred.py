"""X centred, and rotated into the space of its rows where it has more features than rows."""

import numpy as np
import pytest
from scipy import sparse

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryData
from xentlearn._data.presolve import CentredX
from xentlearn._data.targets import encode_y
from xentlearn._objective.linear import L2
from xentlearn._objective.problem import Problem
from xentlearn._plan.plan import make_plan
from xentlearn._utils import numerics

SHAPES = [(30, 4), (12, 12), (8, 50)]


def make(shape, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=shape) * 10.0 ** rng.uniform(-3, 3, shape[1]) + rng.normal(size=shape[1])
    return X, rng.uniform(0.5, 2, shape[0]), rng.normal(size=(3, shape[1])), rng.normal(size=3)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("pivoting", [True, False])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_logits_and_norms_are_kept(shape, fit_intercept, pivoting, container, monkeypatch):
    if not pivoting:
        monkeypatch.setattr(numerics, "PIVOTED_ROTATION", 0)
    X, weight, coef, intercept = make(shape)
    centred = CentredX(container(X), weight, fit_intercept, np.inf)
    # of more features than rows, one direction less: that in which rows about their mean add to 0
    rank = min(shape) - (fit_intercept and shape[1] > shape[0])
    assert centred.X.shape == (shape[0], rank)
    if fit_intercept:
        np.testing.assert_allclose(weight @ centred.X, 0, atol=1e-12 * np.abs(X).sum())
    there = centred.apply(coef, intercept)
    want = X @ coef.T + intercept
    np.testing.assert_allclose(centred.X @ there[0].T + there[1], want, rtol=1e-9, atol=1e-9)
    back = centred.undo(*there)
    np.testing.assert_allclose(X @ back[0].T + back[1], want, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(back[0]), np.linalg.norm(there[0]), rtol=1e-12)
    # what is not in the space of the rows is gone, and only that
    assert np.linalg.norm(back[0]) <= np.linalg.norm(coef) * (1 + 1e-12)


@pytest.mark.parametrize("pivoting", [True, False])
def test_repeated_rows_have_no_directions_of_rounding(pivoting, monkeypatch):
    if not pivoting:
        monkeypatch.setattr(numerics, "PIVOTED_ROTATION", 0)
    X, weight, coef, intercept = make((8, 50))
    X, weight = np.concatenate([X, X]), np.concatenate([weight, weight])
    centred = CentredX(X, weight, True, np.inf)
    if pivoting:
        assert centred.X.shape[1] == 7
    back = centred.undo(*centred.apply(coef, intercept))
    np.testing.assert_allclose(X @ back[0].T + back[1], X @ coef.T + intercept, rtol=1e-9)


def test_huge_offsets_keep_their_digits():
    values = np.random.default_rng(0).integers(0, 1000, size=(40, 3)) / 1024
    X = values + 2.0**33  # exact in float64
    centred = CentredX(X, np.ones(40), True, np.inf)
    np.testing.assert_allclose(centred.X, values - values.mean(axis=0), rtol=0, atol=1e-15)


def presolve_of(X, y):
    y = encode_y(y, X.shape[0], "auto")
    outputs, constant = np.arange(y.n_outputs), np.zeros(y.n_outputs)
    problem = (outputs, constant, L2(1.0), True, "auto", None, 1e-4, 100, np.dtype(float))
    return make_plan(Problem(MemoryData(X), y, *problem)).presolve


def test_what_is_rotated(set_rules):
    set_rules(small_work=0)
    y = np.arange(5) % 2
    X = np.random.default_rng(0).normal(size=(5, 6))
    assert presolve_of(X, y).centre
    assert not presolve_of(X[:, :5], y).centre
    assert not presolve_of(sparse.csr_array(X), y).centre
    large = np.broadcast_to(np.float32(1), (3000, 100_000))  # 2.4 GB in float64
    assert not presolve_of(large, np.arange(3000) % 2).centre


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_wide_and_too_large_to_be_polished(dtype, fit_intercept, set_rules):
    """The rotated problem has the minimum of the problem itself."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 400)).astype(dtype) + 3
    y = rng.integers(3, size=60)
    set_rules(small_work=0)
    rotated = SoftmaxClassifier(tol=1e-9, fit_intercept=fit_intercept).fit(X, y)
    set_rules(most_rotated=0)
    plain = SoftmaxClassifier(tol=1e-9, fit_intercept=fit_intercept, solver="lbfgs")
    plain.fit(X.astype(np.float64), y)
    rtol = 1e-5 if dtype == np.float32 else 1e-7
    np.testing.assert_allclose(rotated.objective_, plain.objective_, rtol=rtol)
    np.testing.assert_allclose(rotated.coef_, plain.coef_, rtol=0, atol=1e-4)
    if dtype is np.float64:  # float32 coefficients are not so near the minimum
        again = SoftmaxClassifier(tol=1e-9, warm_start=True, fit_intercept=fit_intercept)
        again.fit(X, y).fit(X, y)
        assert again.n_iter_[0] <= 3


def test_rows_without_weight_are_left_out():
    X, _, _, _ = make((40, 5))
    y = np.arange(40) % 3
    weight = (np.arange(40) % 4 > 0).astype(float)
    one = SoftmaxClassifier().fit(X, y, sample_weight=weight)
    spoiled = np.where(weight[:, np.newaxis] > 0, X, 1e150)
    two = SoftmaxClassifier().fit(spoiled, y, sample_weight=weight)
    np.testing.assert_array_equal(one.coef_, two.coef_)
    np.testing.assert_array_equal(one.intercept_, two.intercept_)
