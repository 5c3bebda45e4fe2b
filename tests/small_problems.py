"""Small problems with every kind of y, fits to them, comparisons, and oracles.

The oracles are plain NumPy formulas and scikit-learn's LogisticRegression, which minimises
C * sum_i s_i loss_i + ||W||^2 / 2: the same minimiser as ours, C S times our objective.
"""

import contextlib
import functools
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit, logsumexp, softmax
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier

LOSS_NAMES = [
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
]
LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "breast_cancer": load_breast_cancer,
    "digits": load_digits,
}
# A relative gap of 1e-12 leaves the coefficients of these small problems right to about
# sqrt(1e-12 * n), so two such fits are compared to SAME, and only polished ones to 1e-7.
TIGHT = {"tol": 1e-12, "max_iter": 10_000}
SAME = 1e-5


def multiclass_data(n_samples=150, n_features=4, n_classes=3, seed=0):
    """Overlapping classes drawn from a softmax model; every class occurs."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    logits = X @ rng.normal(size=(n_features, n_classes)) + rng.normal(size=n_classes)
    y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y


def binary_data(n_samples=150, n_features=4, seed=0):
    return multiclass_data(n_samples, n_features, n_classes=2, seed=seed)


def soft_data(n_samples=150, n_features=4, n_classes=3, seed=0):
    """Rows of probabilities that sum to 1."""
    X, _ = multiclass_data(n_samples, n_features, n_classes, seed)
    rng = np.random.default_rng(seed + 1)
    logits = X @ rng.normal(size=(n_features, n_classes)) + rng.normal(size=(n_samples, n_classes))
    return X, softmax(logits, axis=1)


def multilabel_data(n_samples=150, n_features=4, n_labels=3, seed=0):
    """0/1 labels; each label varies and some rows have no 1 or several."""
    X, _ = multiclass_data(n_samples, n_features, 2, seed)
    rng = np.random.default_rng(seed + 1)
    logits = X @ rng.normal(size=(n_features, n_labels))
    Y = (rng.uniform(size=logits.shape) < expit(logits)).astype(int)
    Y[0], Y[1] = 0, 1
    return X, Y


def multilabel_data_with_missing(seed=0, **kwargs):
    X, Y = multilabel_data(seed=seed, **kwargs)
    Y = Y.astype(float)
    Y[2:][np.random.default_rng(seed + 2).uniform(size=Y[2:].shape) < 0.2] = np.nan
    return X, Y


def positive_weights(n_samples, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 3.0, size=n_samples)


@functools.lru_cache
def real_data(name, standardised):
    X, y = LOADERS[name](return_X_y=True)
    if standardised:
        X = StandardScaler().fit_transform(X)
    return X, y


def fit(X, y, sample_weight=None, **params):
    return SoftmaxClassifier(**{**TIGHT, **params}).fit(X, y, sample_weight=sample_weight)


def fit_default(X, y, sample_weight=None, **params):
    return SoftmaxClassifier(**params).fit(X, y, sample_weight=sample_weight)


@contextlib.contextmanager
def ignoring(category):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


@contextlib.contextmanager
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def assert_close(actual, expected, rtol=SAME):
    """Relative to the largest entry, as an error in a vector is."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.all(np.isfinite(actual))
    scale = np.max(np.abs(expected), initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * scale)


def assert_same_fit(a, b, rtol=SAME):
    assert a.coef_.shape == b.coef_.shape
    assert a.intercept_.shape == b.intercept_.shape
    assert_close(parameters(a), parameters(b), rtol)


def assert_same_bits(a, b):
    for name in ("coef_", "intercept_"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
    assert a.objective_ == b.objective_
    np.testing.assert_array_equal(a.n_iter_, b.n_iter_)


def parameters(clf):
    return np.column_stack([clf.coef_, clf.intercept_])


def centred(clf):
    """The coefficients without the shift that a softmax cannot see."""
    theta = parameters(clf)
    return theta - theta.mean(axis=0) if len(theta) > 1 else theta


def logits_of(clf, X):
    theta = parameters(clf).astype(np.float64)
    return np.asarray(X, dtype=np.float64) @ theta[:, :-1].T + theta[:, -1]


def one_hot(y):
    return (np.asarray(y)[:, None] == np.unique(y)).astype(float)


def softmax_rows(logits, targets):
    return logsumexp(logits, axis=1) - np.sum(targets * logits, axis=1)


def binary_rows(logits, targets, pos_weight=1.0):
    """The sum over labels; missing ones (nan) cost nothing."""
    targets = np.reshape(targets, (len(targets), -1)).astype(float)
    loss = pos_weight * targets * np.logaddexp(0, -logits)
    loss = loss + (1 - targets) * np.logaddexp(0, logits)
    return np.nansum(loss, axis=1)


def objective(loss_rows, coef, C=1.0, weights=None):
    """The design's objective: weighted mean of the rows plus ||W||^2 / (2 C S)."""
    weights = np.ones(len(loss_rows)) if weights is None else weights
    total = np.sum(weights)
    return weights @ loss_rows / total + np.sum(coef.astype(np.float64) ** 2) / (2 * C * total)


def logistic_regression(X, y, sample_weight=None, **params):
    """LogisticRegression solved to (nearly) machine precision, or an error."""
    error = None
    for solver, tol in [("newton-cholesky", 1e-12), ("newton-cg", 1e-10), ("newton-cg", 1e-8)]:
        clf = LogisticRegression(solver=solver, tol=tol, max_iter=10_000, **params)
        try:
            with no_warning():
                return clf.fit(X, y, sample_weight=sample_weight)
        except Warning as warning:  # did not converge: rounding stopped its line search
            error = warning
    raise error


def soft_logistic_regression(X, T, sample_weight=None, **params):
    """LogisticRegression on soft rows: row i once per class k, with weight s_i t_ik."""
    n_samples, n_classes = T.shape
    weights = T if sample_weight is None else T * sample_weight[:, None]
    return logistic_regression(
        np.repeat(X, n_classes, axis=0),
        np.tile(np.arange(n_classes), n_samples),
        sample_weight=weights.ravel(),
        **params,
    )


@functools.lru_cache
def real_reference(name, standardised):
    return logistic_regression(*real_data(name, standardised))


@functools.lru_cache
def digits_in_float32():
    X, y = real_data("digits", False)
    X = (X / 16).astype(np.float32)  # exact: the pixels are 0 to 16
    return X, y, logistic_regression(X.astype(np.float64), y)


def real_objective(clf, name, standardised):
    X, y = real_data(name, standardised)
    logits = logits_of(clf, X)
    if logits.shape[1] == 1:
        return objective(binary_rows(logits, y), clf.coef_)
    return objective(softmax_rows(logits, one_hot(y)), clf.coef_)


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def csr(X, index_dtype=np.int32, writeable=True):
    X = sp.csr_matrix(X)
    X.indices = X.indices.astype(index_dtype)
    X.indptr = X.indptr.astype(index_dtype)
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = writeable
    return X


X_KINDS = {
    "float64": lambda X: X.astype(np.float64),
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "int64": lambda X: X.astype(np.int64),
    "int32": lambda X: X.astype(np.int32),
    "uint8": lambda X: X.astype(np.uint8),
    "bool": lambda X: X.astype(bool),
    "F-order": lambda X: np.asfortranarray(X, dtype=np.float64),
    "F-order float32": lambda X: np.asfortranarray(X, dtype=np.float32),
    "strided": lambda X: np.repeat(X.astype(np.float64), 2, axis=1)[:, ::2],
    "reversed": lambda X: X.astype(np.float64)[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": lambda X: read_only(X.astype(np.float64)),
    "read-only float32": lambda X: read_only(X.astype(np.float32)),
    "list": lambda X: X.astype(np.float64).tolist(),
    "csr": lambda X: csr(X.astype(np.float64)),
    "csr float32": lambda X: csr(X.astype(np.float32)),
    "csr int": lambda X: csr(X.astype(np.int64)),
    "csr bool": lambda X: csr(X.astype(bool)),
    "csr 64-bit indices": lambda X: csr(X.astype(np.float64), index_dtype=np.int64),
    "csr read-only": lambda X: csr(X.astype(np.float64), writeable=False),
    "csr_array": lambda X: sp.csr_array(X.astype(np.float64)),
    "csc": lambda X: sp.csc_matrix(X.astype(np.float64)),
}


def counts_data(largest, seed=0):
    """Small integers, which every dtype holds exactly, and overlapping classes."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, largest + 1, size=(150, 5))
    logits = X @ rng.normal(size=(5, 3))
    return X, np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)


DENSE_AND_CSR = pytest.mark.parametrize(
    "container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"]
)
