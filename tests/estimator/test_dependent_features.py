"""Features that depend on each other exactly: their minimum, with coefficients of moderate size.

What rounding leaves of a dependency looks like a little curvature; a step by it is up to 1e16 times
too long, and probabilities with it.
"""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array as csr

from xentlearn import SoftmaxClassifier

SOLVERS = ["auto", "lbfgs", "newton-cg", "newton-cholesky"]


def dummies(rng, n):
    """All indicators of two factors, which add up to the same column twice, and two numbers."""
    first, second = rng.integers(0, 5, n), rng.integers(0, 3, n)
    return np.hstack([np.eye(5)[first], np.eye(3)[second], rng.normal(size=(n, 2))])


def sums(rng, n):
    """Columns, and sums of them with numbers that rounding does not like."""
    X = rng.normal(size=(n, 4))
    return np.hstack([X, X @ rng.normal(size=(4, 3)) / 3])


def copies(rng, n):
    """Copies in other units and with offsets."""
    X = rng.normal(size=(n, 3))
    return np.hstack([X, 1e6 * X + 0.1, -1e-7 * X])


def constants(rng, n):
    """Constant columns, none of which is exact in binary, beside others."""
    return np.hstack([np.tile([0.1, -1e5 / 3, 0.0, 1e-7], (n, 1)), rng.normal(size=(n, 3))])


def basis(X):
    """Columns of unit length that do not depend on each other, from which X - mean is made."""
    centred = X - X.mean(axis=0)
    size = np.abs(centred).max(axis=0)
    varies = size > 1e-12 * np.abs(X).max(axis=0)
    U, singular, _ = np.linalg.svd(centred[:, varies] / size[varies], full_matrices=False)
    return np.sqrt(len(X)) * U[:, singular > 1e-7 * singular[0]]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("make", "container"),
    [(make, kind) for make in (dummies, sums, copies, constants) for kind in (np.asarray, csr)]
    + [(dummies, np.float32)],  # which is exact in float32
)
@pytest.mark.slow
def test_the_minimum_without_a_penalty(make, container, n_classes, solver):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = make(rng, 2000)
        Z = basis(X)
        scores = Z @ rng.normal(size=(Z.shape[1], n_classes))
        y = (scores + rng.gumbel(size=(2000, n_classes))).argmax(axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clf = SoftmaxClassifier(C=np.inf, solver=solver).fit(container(X), y)
        best = SoftmaxClassifier(C=np.inf, tol=1e-12).fit(Z, y)
        p = clf.predict_proba(container(X)).astype(np.float64)[np.arange(2000), y]
        value = -np.log(p).mean()
        assert value == pytest.approx(best.objective_, rel=1.1e-4)
        assert clf.objective_ == pytest.approx(value, rel=1e-4)
        # copies in other units are not exact: 0.1 is added, and rounded off
        spread = np.abs(X - X.mean(axis=0)).max(axis=0)
        assert np.abs(clf.coef_ * spread).max() < (1e5 if make is copies else 1e3)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("part", [1e-6, 1e-9, 1e-11, 1e-12])
@pytest.mark.parametrize("n_rows", [200, 40])
def test_what_nearly_equal_features_differ_by(n_rows, part, solver):
    """It is a feature of its own, whose scale does not matter where nothing is penalised."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        first, other = rng.normal(size=(2, 200))
        other[n_rows:] = 0.0
        scores = first + other + rng.normal(size=(2, 200))
        y = (scores[0] > 0).astype(int) + (scores[1] > 1)
        X = np.column_stack([first, first + part * other])
        Z = np.column_stack([first, (X[:, 1] - first) / part])
        best = SoftmaxClassifier(C=np.inf, tol=1e-10).fit(Z, y).objective_
        for C in (np.inf, 1e40):
            clf = SoftmaxClassifier(C=C, solver=solver).fit(X, y)
            assert clf.objective_ == pytest.approx(best, rel=1.1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_level_that_is_separable(solver):
    """Its coefficient goes as far as it takes: no other feature is mixed with it."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(300, 2)), np.eye(4)[rng.integers(0, 4, 300)]])
    y = (X[:, 0] + rng.logistic(size=300) > 0) | (X[:, 3] == 1)
    best = SoftmaxClassifier(C=np.inf, tol=1e-10).fit(X[:, [0, 1, 3, 4, 5]], y).objective_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = SoftmaxClassifier(C=np.inf, solver=solver).fit(X, y)
    assert clf.objective_ == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_weighted_dummies_beside_a_column_of_ones(n_classes, solver):
    """The weighted mean of ones is 1 but for rounding."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        D, numbers = np.eye(5)[rng.integers(0, 5, 500)], rng.normal(size=(500, 2))
        X = np.column_stack([numbers, np.cumsum(D, axis=1), D])
        scores = numbers @ rng.normal(size=(2, n_classes)) + D @ rng.normal(size=(5, n_classes))
        y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
        weight = rng.exponential(size=500)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            clf = SoftmaxClassifier(C=np.inf, solver=solver).fit(X, y, weight)
        best = SoftmaxClassifier(C=np.inf, tol=1e-12).fit(X[:, [0, 1, 2, 3, 4, 5]], y, weight)
        assert clf.objective_ == pytest.approx(best.objective_, rel=1e-6)
        assert np.abs(clf.coef_).max() < 100
