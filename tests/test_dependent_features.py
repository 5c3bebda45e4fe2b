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
