"""Features that are the same in all rows are left out, and nobody can tell."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryData
from xentlearn._data.presolve import VaryingX
from xentlearn._data.statistics import moments_of, varying_features
from xentlearn._data.targets import encode_y
from xentlearn._plan.plan import Presolve


def varying(X, fit_intercept):
    """With a tenth of constant features or more."""
    return varying_features(X, fit_intercept, int(0.9 * X.shape[1]))


def with_constants(X, n_constant=30):
    """(X with constant features between its own, which are its own)."""
    rng = np.random.default_rng(0)
    kept = np.sort(rng.permutation(X.shape[1] + n_constant)[: X.shape[1]])
    wider = np.tile(rng.integers(1, 5, X.shape[1] + n_constant).astype(X.dtype), (len(X), 1))
    wider[:, kept] = X
    return wider, kept


def digits(dtype=np.float64):
    X, y = load_digits(return_X_y=True)
    X = X[:, X.min(axis=0) < X.max(axis=0)]
    return (X if dtype == np.uint8 else X / 16).astype(dtype), y


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8])
def test_found_among_others(dtype):
    X, kept = with_constants(digits(dtype)[0])
    np.testing.assert_array_equal(varying(X, True), kept)
    np.testing.assert_array_equal(varying(np.asfortranarray(X), True), kept)
    # a feature that a single, late row has does vary
    gone = np.setdiff1d(np.arange(X.shape[1]), kept)[0]
    X[-1, gone] += 1
    assert gone in varying(X, True)


def test_without_an_intercept_only_zeros_go():
    X, kept = with_constants(digits()[0])
    assert varying(X, False) is None
    X[:, np.setdiff1d(np.arange(X.shape[1]), kept)] = 0
    np.testing.assert_array_equal(varying(X, False), kept)


def test_little_and_nothing_to_leave_out():
    X, _ = with_constants(digits()[0], n_constant=5)
    assert varying(X, True) is None
    assert varying(np.ones((4, 3)), True) is None  # or no feature would be left
    assert varying(sparse.csr_array((5, 3)), True) is None


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_same_logits_in_both_directions(kind, fit_intercept):
    X, kept = with_constants(digits()[0])
    if kind == "sparse" or not fit_intercept:
        X[:, np.setdiff1d(np.arange(X.shape[1]), kept)] = 0
    X = sparse.csr_array(X) if kind == "sparse" else X
    change = VaryingX(X, varying(X, fit_intercept))
    rng = np.random.default_rng(1)
    coef, intercept = rng.standard_normal((3, X.shape[1])), rng.standard_normal(3)
    of_fit = change.apply(coef, intercept)
    np.testing.assert_allclose(change.X @ of_fit[0].T + of_fit[1], X @ coef.T + intercept)
    back = change.undo(*of_fit)
    np.testing.assert_allclose(X @ back[0].T + back[1], X @ coef.T + intercept)
    assert not back[0][:, np.setdiff1d(np.arange(X.shape[1]), kept)].any()


@pytest.mark.parametrize("n_rows", [1000, 40])  # the second is rotated
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_moments_are_those_of_all_features(n_rows, fit_intercept):
    X, y = digits()
    X, kept = with_constants(X[:n_rows])
    if not fit_intercept:
        X[:, np.setdiff1d(np.arange(X.shape[1]), kept)] = 0
    weight = np.random.default_rng(2).uniform(0.5, 2, n_rows)
    encoded = encode_y(y[:n_rows], n_rows, "auto", sample_weight=weight)
    data = MemoryData(X)
    plan = Presolve(kept=varying(X, fit_intercept), centre=True)
    data = data.presolved(plan, weight, fit_intercept, 1.0)
    rows = data.rows(encoded, np.arange(encoded.n_outputs))
    assert rows.n_features < X.shape[1]
    got, want = data.undo_moments(rows.moments(1)), moments_of(X, weight)
    np.testing.assert_allclose(got.mean, want.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(got.variance, want.variance, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_rows", [1500, 50])
def test_a_fit_is_that_without_them(solver, dtype, n_rows):
    X, y = digits(dtype)
    X, y = X[:n_rows, ::2], y[:n_rows]
    wider, kept = with_constants(X)
    clf = SoftmaxClassifier(C=0.1, solver=solver, tol=1e-8)
    want = clf.fit(X, y)
    want_coef, want_intercept = want.coef_, want.intercept_
    got = clf.fit(wider, y)
    np.testing.assert_allclose(got.coef_[:, kept], want_coef, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(got.intercept_, want_intercept, rtol=1e-5, atol=1e-6)
    assert not np.delete(got.coef_, kept, axis=1).any()


def test_a_warm_start_takes_their_share_of_the_logits_along():
    X, y = digits()
    wider, kept = with_constants(X)
    clf = SoftmaxClassifier(C=0.1, warm_start=True, tol=1e-6).fit(wider, y)
    gone = np.setdiff1d(np.arange(wider.shape[1]), kept)
    # the same logits, written with a coefficient of a constant feature
    clf.coef_[:, gone[0]] += 0.25
    clf.intercept_ -= 0.25 * wider[0, gone[0]]
    clf.fit(wider, y)
    assert clf.n_iter_[0] <= 1
    assert not clf.coef_[:, gone].any()


def test_partial_fit_goes_on_after_a_fit():
    X, y = digits()
    wider, _ = with_constants(X)
    rows = slice(0, 500)
    wider[600:, 0] += 1  # constant at first
    clf = SoftmaxClassifier(C=0.1).fit(wider[rows], y[rows])
    for begin in range(500, len(y), 300):
        clf.partial_fit(wider[begin : begin + 300], y[begin : begin + 300])
    assert clf.score(wider, y) > 0.9


def test_words_that_no_row_has():
    rng = np.random.default_rng(3)
    X = sparse.random_array((300, 2000), density=0.004, rng=rng, format="csr")
    y = rng.integers(0, 3, 300)
    used = np.flatnonzero(np.diff(X.tocsc().indptr))
    assert len(used) < 1900
    clf = SoftmaxClassifier(C=10, tol=1e-8)
    got, want = clf.fit(X, y).coef_, SoftmaxClassifier(C=10, tol=1e-8).fit(X[:, used], y).coef_
    np.testing.assert_allclose(got[:, used], want, rtol=1e-5, atol=1e-7)
    assert not np.delete(got, used, axis=1).any()
