"""Behaviour of SoftmaxClassifier, tested from the outside: data in, attributes and answers out.

The oracles are plain NumPy formulas and scikit-learn's LogisticRegression, which minimises
C * sum_i s_i loss_i + ||W||^2 / 2: the same minimiser as ours, C S times our objective.
"""

import contextlib
import functools
import pickle
import re
import tracemalloc
import warnings

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit, log_softmax, logsumexp, softmax
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import get_tags
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier
from xentlearn._objective.linear import LinearObjective
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)

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


# --------------------------------------------------------------------------------------
# Data
# --------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------
# Fits, comparisons and oracles
# --------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------
# Shapes, kinds of X, kinds of y
# --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("kind", X_KINDS)
def test_kinds_of_X_give_one_answer(kind):
    X, y = counts_data(largest=1 if "bool" in kind else 3)
    X_kind = X_KINDS[kind](X)
    expected = fit(X.astype(np.float64), y, tol=1e-8)
    clf = fit(X_kind, y, tol=1e-8)

    assert clf.n_features_in_ == 5
    dtype = np.asarray(X_kind).dtype if not sp.issparse(X_kind) else X_kind.dtype
    double = dtype not in (np.float32, np.float16, np.uint8, np.int8)
    assert clf.coef_.dtype == (np.float64 if double else np.float32)
    atol = 1e-6 if double else 1e-3
    np.testing.assert_allclose(
        clf.predict_proba(X_kind), expected.predict_proba(X.astype(np.float64)), atol=atol
    )
    np.testing.assert_array_equal(clf.predict(X_kind), clf.predict(X.astype(np.float64)))


@pytest.mark.parametrize("kind", ["float32", "uint8", "F-order", "list", "csr", "csr float32"])
def test_kinds_of_X_in_prediction(kind):
    X, y = counts_data(largest=3)
    clf = fit(X.astype(np.float64), y)
    expected = logits_of(clf, X)
    np.testing.assert_allclose(clf.decision_function(X_KINDS[kind](X)), expected, atol=1e-4)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_shapes_and_values_multiclass(container):
    X, y = multiclass_data(n_classes=4)
    clf = fit_default(container(X), y)
    n_samples, n_features = X.shape

    assert clf.coef_.shape == (4, n_features)
    assert clf.intercept_.shape == (4,)
    logits = clf.decision_function(container(X))
    assert logits.shape == (n_samples, 4)
    np.testing.assert_allclose(logits, logits_of(clf, X), atol=1e-12)
    proba = clf.predict_proba(container(X))
    np.testing.assert_allclose(proba, softmax(logits, axis=1), rtol=1e-10)
    np.testing.assert_allclose(
        clf.predict_log_proba(container(X)), log_softmax(logits, axis=1), rtol=1e-10
    )
    predicted = clf.predict(container(X))
    np.testing.assert_array_equal(predicted, np.argmax(logits, axis=1))
    assert clf.score(container(X), y) == pytest.approx(np.mean(predicted == y))


@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_shapes_and_values_binary(container):
    X, y = binary_data()
    clf = fit_default(container(X), y)
    n_samples, n_features = X.shape

    assert clf.coef_.shape == (1, n_features)
    assert clf.intercept_.shape == (1,)
    logits = clf.decision_function(container(X))
    assert logits.shape == (n_samples,)
    np.testing.assert_allclose(logits, logits_of(clf, X)[:, 0], atol=1e-12)
    proba = clf.predict_proba(container(X))
    expected = np.column_stack([expit(-logits), expit(logits)])
    np.testing.assert_allclose(proba, expected, rtol=1e-10)
    np.testing.assert_allclose(clf.predict_log_proba(container(X)), np.log(expected), rtol=1e-9)
    np.testing.assert_array_equal(clf.predict(container(X)), logits > 0)
    assert clf.score(container(X), y) == pytest.approx(np.mean((logits > 0) == y))


def test_score_is_weighted():
    X, y = multiclass_data()
    weights = positive_weights(len(y))
    clf = fit_default(X, y)
    expected = np.average(clf.predict(X) == y, weights=weights)
    assert clf.score(X, y, sample_weight=weights) == pytest.approx(expected)
    assert clf.score(X, y) != pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("data", [binary_data, multiclass_data])
def test_log_proba_of_far_away_points_is_finite(loss, data):
    X, y = data()
    clf = fit_default(X, y, loss=loss)
    with no_warning():
        log_proba = clf.predict_log_proba(1e4 * X)
        proba = clf.predict_proba(1e4 * X)
    assert np.all(np.isfinite(log_proba))
    assert np.all(log_proba <= 0)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-10)


LABELS = {
    "integers": np.array([7, -3, 40]),
    "strings": np.array(["pear", "apple", "fig"]),
    "objects": np.array(["pear", "apple", "fig"], dtype=object),
    "whole floats": np.array([2.0, 0.0, 5.0]),
    "small unsigned": np.array([200, 3, 90], dtype=np.uint8),
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize("loss", ["auto", *LOSS_NAMES])
def test_labels_of_every_kind(kind, n_classes, loss):
    X, codes = multiclass_data(n_classes=n_classes)
    names = np.sort(LABELS[kind][:n_classes])
    clf = fit_default(X, names[codes], loss=loss)
    plain = fit_default(X, codes, loss=loss)

    np.testing.assert_array_equal(clf.classes_, names)
    np.testing.assert_array_equal(clf.coef_, plain.coef_)
    np.testing.assert_array_equal(clf.predict(X), names[plain.predict(X)])
    assert clf.score(X, names[codes]) == plain.score(X, codes)


@pytest.mark.parametrize("loss", ["auto", *LOSS_NAMES])
def test_boolean_labels(loss):
    X, y = binary_data()
    clf = fit_default(X, y.astype(bool), loss=loss)
    assert clf.classes_.dtype == bool
    assert clf.predict(X).dtype == bool
    np.testing.assert_array_equal(clf.predict(X), fit_default(X, y, loss=loss).predict(X) == 1)


def test_lists_are_accepted():
    X, y = multiclass_data()
    names = np.array(["a", "b", "c"])[y]
    clf = fit_default(X.tolist(), names.tolist())
    assert_same_bits(clf, fit_default(X, names))
    np.testing.assert_array_equal(clf.predict(X.tolist()), clf.predict(X))


# --------------------------------------------------------------------------------------
# Which loss fits which y
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["auto", "log_loss"])
@pytest.mark.parametrize(
    ("data", "expected", "n_logits"),
    [
        (binary_data, BinaryCrossentropy, 1),
        (multiclass_data, SparseCategoricalCrossentropy, 3),
        (multilabel_data, BinaryCrossentropy, 3),
        (multilabel_data_with_missing, BinaryCrossentropy, 3),
        (soft_data, CategoricalCrossentropy, 3),
    ],
)
def test_auto_takes_the_loss_from_y(loss, data, expected, n_logits):
    X, y = data()
    with no_warning():
        clf = fit_default(X, y, loss=loss)
    assert type(clf.loss_) is expected
    assert clf.coef_.shape == (n_logits, X.shape[1])
    assert clf.intercept_.shape == (n_logits,)
    assert clf.predict_proba(X).shape == (len(X), max(n_logits, 2))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("sparse_categorical_crossentropy", SparseCategoricalCrossentropy),
        ("categorical_crossentropy", CategoricalCrossentropy),
        ("binary_crossentropy", BinaryCrossentropy),
    ],
)
def test_loss_names_are_settings_with_default_values(name, setting):
    X, y = multiclass_data()
    by_name, by_setting = fit_default(X, y, loss=name), fit_default(X, y, loss=setting())
    assert type(by_name.loss_) is setting
    assert by_name.loss_.get_params() == setting().get_params()
    assert_same_bits(by_name, by_setting)


def test_two_classes_with_a_categorical_loss_are_two_logits():
    X, y = binary_data()
    clf = fit(X, y, loss="categorical_crossentropy", C=1.0)
    assert clf.coef_.shape == (2, X.shape[1])
    assert clf.intercept_.shape == (2,)
    logits = logits_of(clf, X)
    difference = clf.decision_function(X)
    assert difference.shape == (len(X),)
    np.testing.assert_allclose(difference, logits[:, 1] - logits[:, 0], atol=1e-10)
    np.testing.assert_allclose(clf.predict_proba(X), softmax(logits, axis=1), rtol=1e-9)
    np.testing.assert_array_equal(clf.predict(X), difference > 0)

    # At the optimum w_0 = -w_1, so ||W||^2 is half of ||w_1 - w_0||^2: one logit with 2 C.
    assert_close(difference, fit(X, y, C=2.0).decision_function(X))


def test_two_classes_with_a_sparse_categorical_loss():
    X, y = binary_data()
    clf = fit(X, y, loss="sparse_categorical_crossentropy")
    assert clf.decision_function(X).shape == (len(X),)
    expected = fit(X, y, loss="categorical_crossentropy")
    assert_close(clf.predict_proba(X), expected.predict_proba(X))


def test_binary_loss_with_several_classes_is_one_vs_rest():
    X, y = multiclass_data(n_classes=4)
    clf = fit(X, y, loss="binary_crossentropy")
    assert clf.coef_.shape == (4, X.shape[1])
    for k in range(4):
        one = logistic_regression(X, y == k)
        assert_close(parameters(clf)[[k]], parameters(one))

    logits = clf.decision_function(X)
    assert logits.shape == (len(X), 4)
    proba = clf.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    unnormalised = expit(logits)
    np.testing.assert_allclose(
        proba, unnormalised / unnormalised.sum(axis=1, keepdims=True), rtol=1e-9
    )
    np.testing.assert_allclose(clf.predict_log_proba(X), np.log(proba), atol=1e-9)
    np.testing.assert_array_equal(clf.predict(X), np.argmax(logits, axis=1))
    assert clf.score(X, y) == pytest.approx(np.mean(np.argmax(logits, axis=1) == y))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float64, np.float32])
def test_one_hot_rows_are_classes(dtype):
    X, y = multiclass_data()
    with no_warning():
        clf = fit(X, one_hot(y).astype(dtype), loss="categorical_crossentropy")
    np.testing.assert_array_equal(clf.classes_, [0, 1, 2])
    assert_same_fit(clf, fit(X, y))
    predicted = clf.predict(X)
    assert predicted.shape == y.shape
    np.testing.assert_array_equal(predicted, np.argmax(logits_of(clf, X), axis=1))
    assert clf.score(X, one_hot(y).astype(dtype)) == pytest.approx(np.mean(predicted == y))


@pytest.mark.parametrize("loss", ["auto", "categorical_crossentropy", CategoricalCrossentropy()])
def test_soft_rows(loss):
    X, T = soft_data()
    clf = fit(X, T, loss=loss)
    np.testing.assert_array_equal(clf.classes_, [0, 1, 2])
    reference = soft_logistic_regression(X, T)
    assert_close(centred(clf), centred(reference))
    predicted = clf.predict(X)
    np.testing.assert_array_equal(predicted, reference.predict(X))
    accuracy = np.mean(predicted == np.argmax(T, axis=1))
    assert 0.4 < accuracy < 1
    assert clf.score(X, T) == pytest.approx(accuracy)


def test_soft_rows_with_some_certain_ones():
    X, T = soft_data()
    T[::3] = one_hot(np.argmax(T, axis=1))[::3]
    clf = fit(X, T)
    assert type(clf.loss_) is CategoricalCrossentropy
    assert_close(centred(clf), centred(soft_logistic_regression(X, T)))


@pytest.mark.parametrize("dtype", [np.int64, np.int8, bool, np.float64, np.float32])
def test_multilabel_is_separate_binary_fits(dtype):
    X, Y = multilabel_data()
    with no_warning():
        clf = fit(X, Y.astype(dtype))
    np.testing.assert_array_equal(clf.classes_, [0, 1, 2])
    for label in range(3):
        assert_close(parameters(clf)[[label]], parameters(logistic_regression(X, Y[:, label])))

    logits = clf.decision_function(X)
    assert logits.shape == Y.shape
    np.testing.assert_allclose(logits, logits_of(clf, X), atol=1e-12)
    np.testing.assert_allclose(clf.predict_proba(X), expit(logits), rtol=1e-10)
    np.testing.assert_allclose(clf.predict_log_proba(X), np.log(expit(logits)), rtol=1e-9)
    predicted = clf.predict(X)
    np.testing.assert_array_equal(predicted, logits > 0)
    exact = np.mean(np.all(predicted == Y, axis=1))
    assert 0 < exact < 1
    assert clf.score(X, Y.astype(dtype)) == pytest.approx(exact)


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csr_array, sp.csc_matrix])
@pytest.mark.parametrize("dtype", [np.int64, np.float64, bool])
def test_multilabel_sparse_y(container, dtype):
    X, Y = multilabel_data()
    clf = fit(X, container(Y.astype(dtype)))
    expected = fit(X, Y)
    assert_same_fit(clf, expected, rtol=1e-10)
    predicted = clf.predict(X)
    predicted = predicted.toarray() if sp.issparse(predicted) else predicted
    np.testing.assert_array_equal(predicted, expected.predict(X))
    assert clf.score(X, container(Y.astype(dtype))) == pytest.approx(expected.score(X, Y))


def test_multilabel_by_name_equals_auto():
    X, Y = multilabel_data()
    assert_same_bits(fit(X, Y), fit(X, Y, loss="binary_crossentropy"))


def test_two_labels_are_not_two_classes():
    X, Y = multilabel_data(n_labels=2)
    clf = fit(X, Y)
    assert clf.decision_function(X).shape == (len(X), 2)
    assert clf.predict_proba(X).shape == (len(X), 2)
    assert clf.predict(X).shape == (len(X), 2)


def test_missing_labels_equal_dropped_rows():
    X, Y = multilabel_data_with_missing()
    assert 0.1 < np.mean(np.isnan(Y)) < 0.3
    clf = fit(X, Y)
    for label in range(Y.shape[1]):
        seen = ~np.isnan(Y[:, label])
        one = logistic_regression(X[seen], Y[seen, label])
        assert_close(parameters(clf)[[label]], parameters(one))

    right = (clf.predict(X) == Y) | np.isnan(Y)
    assert clf.score(X, Y) == pytest.approx(np.mean(np.all(right, axis=1)))


def test_a_row_without_any_label_changes_nothing():
    X, Y = multilabel_data_with_missing()
    clf = fit_default(X, Y)
    X_more = np.vstack([X, [[50.0, -50.0, 50.0, -50.0]]])
    Y_more = np.vstack([Y, np.full((1, Y.shape[1]), np.nan)])
    assert_same_fit(fit_default(X_more, Y_more), clf, rtol=1e-7)


@pytest.mark.parametrize("constant", [0, 1])
@pytest.mark.parametrize("missing", [False, True])
def test_a_label_that_never_varies_is_predicted_with_a_warning(constant, missing):
    X, Y = multilabel_data()
    others = fit(X, Y[:, [0, 2]])
    Y = Y.astype(float)
    Y[:, 1] = constant
    if missing:
        Y[::5, 1] = np.nan
    with pytest.warns(UserWarning, match=r"(?i)label.*\b1\b") as record:
        clf = fit(X, Y)
    assert not any(issubclass(w.category, ConvergenceWarning) for w in record)
    np.testing.assert_array_equal(clf.predict(X)[:, 1], constant)
    np.testing.assert_array_equal(clf.predict(1e6 * X)[:, 1], constant)
    np.testing.assert_allclose(clf.predict_proba(X)[:, 1], constant, atol=1e-12)
    assert np.isfinite(clf.objective_)
    np.testing.assert_allclose(clf.predict_proba(X)[:, [0, 2]], others.predict_proba(X), atol=SAME)


def test_a_label_that_is_never_seen_is_predicted_with_a_warning():
    X, Y = multilabel_data()
    others = fit(X, Y[:, [0, 2]])
    Y = Y.astype(float)
    Y[:, 1] = np.nan
    with pytest.warns(UserWarning, match=r"(?i)label.*\b1\b"):
        clf = fit(X, Y)
    assert clf.predict(X).shape == Y.shape
    assert len(np.unique(clf.predict(X)[:, 1])) == 1
    proba = clf.predict_proba(X)
    assert np.all(np.isfinite(proba))
    assert len(np.unique(proba[:, 1])) == 1
    assert np.isfinite(clf.objective_)
    np.testing.assert_allclose(proba[:, [0, 2]], others.predict_proba(X), atol=SAME)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_rows_with_exactly_one_label_warn_and_stay_multilabel(container, dtype):
    X, y = multiclass_data()
    with pytest.warns(UserWarning, match="categorical_crossentropy"):
        clf = fit(X, container(one_hot(y).astype(dtype)))
    assert type(clf.loss_) is BinaryCrossentropy
    assert clf.predict(X).shape == (len(X), 3)
    assert_close(parameters(clf)[[1]], parameters(logistic_regression(X, y == 1)))


@pytest.mark.parametrize("data", [binary_data, multiclass_data])
def test_a_column_is_taken_as_a_vector_with_a_warning(data):
    X, y = data()
    with pytest.warns(DataConversionWarning):
        clf = fit_default(X, y[:, None])
    assert clf.predict(X).shape == y.shape
    assert_same_bits(clf, fit_default(X, y))


# --------------------------------------------------------------------------------------
# Agreement with LogisticRegression, and the objective
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["auto", "lbfgs"])
@pytest.mark.parametrize("standardised", [False, True], ids=["raw", "standardised"])
@pytest.mark.parametrize("name", LOADERS)
def test_agrees_with_logistic_regression(name, standardised, solver):
    X, y = real_data(name, standardised)
    reference = real_reference(name, standardised)
    clf = fit(X, y, solver=solver)

    assert clf.coef_.shape == reference.coef_.shape
    assert clf.intercept_.shape == reference.intercept_.shape
    assert_close(clf.coef_, reference.coef_, rtol=1e-4)
    assert_close(
        clf.intercept_ - np.mean(clf.intercept_) * (len(clf.coef_) > 1),
        reference.intercept_ - np.mean(reference.intercept_) * (len(clf.coef_) > 1),
        rtol=1e-4,
    )
    np.testing.assert_allclose(clf.predict_proba(X), reference.predict_proba(X), atol=1e-4)
    assert clf.score(X, y) == reference.score(X, y)


@pytest.mark.parametrize("params", [{"C": 0.01}, {"C": 30.0}, {"fit_intercept": False}], ids=str)
@pytest.mark.parametrize("name", ["wine", "breast_cancer"])
def test_agrees_with_logistic_regression_for_other_settings(name, params):
    X, y = real_data(name, True)
    clf, reference = fit(X, y, **params), logistic_regression(X, y, **params)
    assert_close(clf.coef_, reference.coef_, rtol=1e-4)
    np.testing.assert_allclose(clf.predict_proba(X), reference.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("name", LOADERS)
def test_agrees_with_weighted_logistic_regression(name):
    X, y = real_data(name, True)
    weights = positive_weights(len(y))
    class_weight = {k: 0.5 + k for k in np.unique(y)}
    clf = fit(X, y, sample_weight=weights, class_weight=class_weight)
    reference = logistic_regression(X, y, sample_weight=weights, class_weight=class_weight)
    assert_close(clf.coef_, reference.coef_, rtol=1e-4)
    unweighted = real_reference(name, True).coef_
    assert np.max(np.abs(clf.coef_ - unweighted)) > 0.01 * np.max(np.abs(unweighted))


@pytest.mark.parametrize("name", LOADERS)
def test_agrees_with_balanced_logistic_regression(name):
    X, y = real_data(name, True)
    # Every class equally often would make "balanced" do nothing.
    keep = np.flatnonzero((y != 0) | (np.arange(len(y)) % 4 == 0))
    clf = fit(X[keep], y[keep], class_weight="balanced")
    reference = logistic_regression(X[keep], y[keep], class_weight="balanced")
    assert_close(clf.coef_, reference.coef_, rtol=1e-4)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
def test_float32_agrees_with_logistic_regression(container):
    X, y, reference = digits_in_float32()
    clf = fit(container(X), y, tol=1e-7)
    assert clf.coef_.dtype == np.float32
    assert clf.intercept_.dtype == np.float32
    assert_close(clf.coef_, reference.coef_, rtol=1e-2)


@pytest.mark.parametrize("loss", ["auto", *LOSS_NAMES])
@pytest.mark.parametrize("name", LOADERS)
def test_default_fit_on_raw_features_does_not_warn(name, loss):
    X, y = real_data(name, False)
    with no_warning():
        clf = fit_default(X, y, loss=loss)
    assert np.all(np.isfinite(clf.predict_log_proba(X)))
    assert clf.n_iter_[0] < clf.max_iter


@pytest.mark.parametrize("name", LOADERS)
def test_default_fit_on_raw_features_is_near_the_minimum(name):
    clf = fit_default(*real_data(name, False))
    minimum = real_objective(real_reference(name, False), name, False)
    # The tolerance is on the solver's own estimate of the gap: an order of magnitude for it.
    assert real_objective(clf, name, False) <= (1 + 10 * clf.tol) * minimum


def test_unpenalised_binary():
    X, y = binary_data()
    clf = fit(X, y, C=np.inf)
    assert_close(clf.coef_, logistic_regression(X, y, C=np.inf).coef_)
    gradient = (expit(clf.decision_function(X)) - y) @ X / len(y)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert clf.optimality_gap_ == np.inf


def test_unpenalised_multiclass():
    X, y = multiclass_data()
    clf = fit(X, y, C=np.inf)
    reference = logistic_regression(X, y, C=np.inf)
    assert_close(centred(clf), centred(reference), rtol=1e-4)
    gradient = (clf.predict_proba(X) - one_hot(y)).T @ X / len(y)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
    assert clf.optimality_gap_ == np.inf


def test_unpenalised_separable_classes_stop_with_a_warning():
    X = np.linspace(-2, 2, 20)[:, None]
    y = (X[:, 0] > 0).astype(int)
    with pytest.warns(ConvergenceWarning, match="(?i)separ"):
        clf = fit_default(X, y, C=np.inf)
    assert np.all(np.isfinite(clf.coef_))
    assert clf.score(X, y) == 1
    assert 0 < clf.objective_ < 1e-3


def test_without_intercept():
    X, y = multiclass_data()
    clf = fit(X + 1, y, fit_intercept=False)
    np.testing.assert_array_equal(clf.intercept_, np.zeros(3))
    assert_close(clf.coef_, logistic_regression(X + 1, y, fit_intercept=False).coef_)
    X, y = binary_data()
    clf = fit(X + 1, y, fit_intercept=False)
    np.testing.assert_array_equal(clf.intercept_, np.zeros(1))
    assert_close(clf.coef_, logistic_regression(X + 1, y, fit_intercept=False).coef_)


@pytest.mark.parametrize("C", [0.01, 1.0, np.inf])
@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_softmax_intercepts_sum_to_zero(loss, n_classes, C):
    X, y = multiclass_data(n_classes=n_classes)
    clf = fit_default(X + 3, y, loss=loss, C=C)
    largest = np.max(np.abs(clf.intercept_))
    assert largest > 1e-3
    assert abs(np.sum(clf.intercept_)) <= 1e-12 * n_classes * largest


def objective_cases():
    """name -> (loss, C, X, y, row weights, function from logits to rows of loss)."""
    X, y = multiclass_data()
    Xb, yb = binary_data()
    Xs, T = soft_data()
    Xm, Y = multilabel_data()
    weights, ones = positive_weights(len(y)), np.ones(len(y))
    smooth = 0.8 * one_hot(y) + 0.2 / 3
    return {
        "binary": ("auto", 1.0, Xb, yb, ones, lambda z: binary_rows(z, yb)),
        "binary, weights": ("auto", 0.1, Xb, yb, weights, lambda z: binary_rows(z, yb)),
        "binary, pos_weight": (
            BinaryCrossentropy(pos_weight=3.0),
            1.0,
            Xb,
            yb,
            weights,
            lambda z: binary_rows(z, yb, pos_weight=3.0),
        ),
        "binary, smoothing": (
            BinaryCrossentropy(label_smoothing=0.2),
            1.0,
            Xb,
            yb,
            weights,
            lambda z: binary_rows(z, 0.8 * yb + 0.1),
        ),
        "classes": ("auto", 1.0, X, y, ones, lambda z: softmax_rows(z, one_hot(y))),
        "classes, weights": ("auto", 7.0, X, y, weights, lambda z: softmax_rows(z, one_hot(y))),
        "classes, smoothing": (
            SparseCategoricalCrossentropy(label_smoothing=0.2),
            1.0,
            X,
            y,
            weights,
            lambda z: softmax_rows(z, smooth),
        ),
        "classes, unpenalised": (
            "auto",
            np.inf,
            X,
            y,
            weights,
            lambda z: softmax_rows(z, one_hot(y)),
        ),
        "one-vs-rest": (
            "binary_crossentropy",
            1.0,
            X,
            y,
            weights,
            lambda z: binary_rows(z, one_hot(y)),
        ),
        "soft": ("auto", 1.0, Xs, T, weights, lambda z: softmax_rows(z, T)),
        "multi-label": ("auto", 1.0, Xm, Y, weights, lambda z: binary_rows(z, Y)),
    }


@pytest.mark.parametrize("max_iter", [2, 10_000])
@pytest.mark.parametrize("case", objective_cases())
def test_objective_is_that_of_the_stored_coefficients(case, max_iter):
    loss, C, X, y, weights, rows = objective_cases()[case]
    with ignoring(ConvergenceWarning):
        clf = fit_default(X, y, sample_weight=weights, loss=loss, C=C, max_iter=max_iter)
    expected = objective(rows(logits_of(clf, X)), clf.coef_, C, weights)
    assert clf.objective_ == pytest.approx(expected, rel=1e-10)


def test_objective_is_that_of_the_stored_float32_coefficients():
    X, y = multiclass_data()
    X = X.astype(np.float32)
    clf = fit_default(X, y)
    expected = objective(softmax_rows(logits_of(clf, X), one_hot(y)), clf.coef_)
    assert clf.objective_ == pytest.approx(expected, rel=1e-6)


def test_objective_with_class_weight_divides_by_the_weights_in_use():
    X, y = multiclass_data()
    clf = fit_default(X, y, class_weight={0: 1.0, 1: 2.0, 2: 5.0}, C=0.5)
    weights = np.array([1.0, 2.0, 5.0])[y]
    expected = objective(softmax_rows(logits_of(clf, X), one_hot(y)), clf.coef_, 0.5, weights)
    assert clf.objective_ == pytest.approx(expected, rel=1e-10)


GAP_MAX_ITER = [1, 2, 5, 15, 1000]


def assert_bounds_the_gap(clf, evaluate, reference):
    """The certified gap is at least the true one, and is a number."""
    minimum = min(evaluate(reference), evaluate(clf))
    true_gap = (evaluate(clf) - minimum) / minimum
    assert np.isfinite(clf.optimality_gap_)
    assert clf.optimality_gap_ >= 0
    # 1e-11: rounding in the two evaluations.
    assert clf.optimality_gap_ >= true_gap - 1e-11
    return true_gap


@pytest.mark.parametrize("max_iter", GAP_MAX_ITER)
@pytest.mark.parametrize(
    ("name", "standardised"),
    [
        ("wine", False),
        ("wine", True),
        ("breast_cancer", False),
        ("breast_cancer", True),
        ("digits", True),
    ],
)
def test_optimality_gap_is_a_bound(name, standardised, max_iter):
    X, y = real_data(name, standardised)
    with ignoring(ConvergenceWarning):
        clf = fit_default(X, y, max_iter=max_iter, tol=1e-3)
    true_gap = assert_bounds_the_gap(
        clf,
        lambda fitted: real_objective(fitted, name, standardised),
        real_reference(name, standardised),
    )
    if max_iter == 1:
        assert true_gap > 1e-4  # else this test could not fail


@pytest.mark.parametrize("max_iter", GAP_MAX_ITER)
def test_optimality_gap_is_a_bound_for_float32(max_iter):
    X, y, reference = digits_in_float32()
    with ignoring(ConvergenceWarning):
        clf = fit_default(X, y, max_iter=max_iter)

    def evaluate(fitted):
        return objective(softmax_rows(logits_of(fitted, X), one_hot(y)), fitted.coef_)

    assert_bounds_the_gap(clf, evaluate, reference)


@pytest.mark.parametrize("max_iter", GAP_MAX_ITER)
@pytest.mark.parametrize("C", [0.1, 100.0])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_optimality_gap_is_a_bound_for_soft_rows(max_iter, C, fit_intercept):
    X, T = soft_data()
    X = X * [1.0, 10.0, 100.0, 1000.0] + 5
    weights = positive_weights(len(X))
    settings = {"C": C, "fit_intercept": fit_intercept}
    with ignoring(ConvergenceWarning):
        clf = fit_default(X, T, sample_weight=weights, max_iter=max_iter, **settings)

    def evaluate(fitted):
        return objective(softmax_rows(logits_of(fitted, X), T), fitted.coef_, C, weights)

    assert_bounds_the_gap(clf, evaluate, soft_logistic_regression(X, T, weights, **settings))


@pytest.mark.parametrize("max_iter", GAP_MAX_ITER)
def test_optimality_gap_is_a_bound_for_multilabel(max_iter):
    X, Y = multilabel_data()
    X = X * [1.0, 10.0, 100.0, 1000.0] + 5
    with ignoring(ConvergenceWarning):
        clf = fit_default(X, Y, max_iter=max_iter)
    minimum = 0.0
    for y in Y.T:
        one = logistic_regression(X, y)
        minimum += objective(binary_rows(logits_of(one, X), y), one.coef_)
    true_gap = (objective(binary_rows(logits_of(clf, X), Y), clf.coef_) - minimum) / minimum
    assert np.isfinite(clf.optimality_gap_)
    assert clf.optimality_gap_ >= true_gap - 1e-11


@pytest.mark.parametrize("name", LOADERS)
def test_optimality_gap_is_small_after_a_tight_fit(name):
    clf = fit(*real_data(name, True))
    assert 0 <= clf.optimality_gap_ < 1e-6


# --------------------------------------------------------------------------------------
# Weights, smoothing, ignored classes
# --------------------------------------------------------------------------------------

EVERY_Y = pytest.mark.parametrize(
    ("data", "loss"),
    [
        (binary_data, "auto"),
        (binary_data, "categorical_crossentropy"),
        (binary_data, "sparse_categorical_crossentropy"),
        (multiclass_data, "auto"),
        (multiclass_data, "categorical_crossentropy"),
        (multiclass_data, "binary_crossentropy"),
        (soft_data, "auto"),
        (multilabel_data, "auto"),
        (multilabel_data_with_missing, "auto"),
    ],
)
DENSE_AND_CSR = pytest.mark.parametrize(
    "container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"]
)


@DENSE_AND_CSR
@EVERY_Y
def test_weights_equal_repeated_rows(data, loss, container):
    X, y = data()
    counts = np.random.default_rng(3).integers(1, 4, size=len(X))
    weighted = fit_default(container(X), y, sample_weight=counts, loss=loss)
    repeated = fit_default(
        container(np.repeat(X, counts, axis=0)), np.repeat(y, counts, axis=0), loss=loss
    )
    assert_same_fit(weighted, repeated, rtol=1e-7)
    assert weighted.objective_ == pytest.approx(repeated.objective_, rel=1e-7)
    plain = fit_default(X, y, loss=loss)
    assert np.max(np.abs(weighted.coef_ - plain.coef_)) > 1e-3


@DENSE_AND_CSR
@EVERY_Y
def test_zero_weights_equal_dropped_rows(data, loss, container):
    X, y = data()
    X = X.copy()
    weights = np.where(np.arange(len(X)) % 4 == 3, 0.0, 1.0)
    X[weights == 0] *= 1000  # nothing may look at these rows, scaling included
    keep = weights > 0
    weighted = fit_default(container(X), y, sample_weight=weights, loss=loss)
    dropped = fit_default(container(X[keep]), y[keep], loss=loss)
    assert_same_fit(weighted, dropped, rtol=1e-7)
    assert weighted.objective_ == pytest.approx(dropped.objective_, rel=1e-7)


def test_scaling_all_weights_only_scales_C():
    X, y = multiclass_data()
    weights = positive_weights(len(y))
    a = fit(X, y, sample_weight=10 * weights, C=0.1)
    b = fit(X, y, sample_weight=weights, C=1.0)
    assert_same_fit(a, b)
    assert a.objective_ == pytest.approx(b.objective_)


def test_a_scalar_weight_is_that_of_every_row():
    X, y = multiclass_data()
    a = fit_default(X, y, sample_weight=2.0)
    assert_same_fit(a, fit_default(X, y, sample_weight=np.full(len(y), 2.0)), rtol=1e-10)


@pytest.mark.parametrize("loss", ["auto", BinaryCrossentropy(pos_weight=2.0)], ids=str)
def test_weights_of_single_labels(loss):
    X, Y = multilabel_data_with_missing()
    weights = np.random.default_rng(5).uniform(0.2, 3.0, size=Y.shape)
    clf = fit(X, Y, sample_weight=weights, loss=loss)
    for label in range(Y.shape[1]):
        seen = ~np.isnan(Y[:, label])
        w = weights[seen, label]
        if loss != "auto":
            w = np.where(Y[seen, label] == 1, 2.0 * w, w)
        one = logistic_regression(X[seen], Y[seen, label], sample_weight=w)
        assert_close(parameters(clf)[[label]], parameters(one))


def test_label_weight_of_zero_equals_a_missing_label():
    X, Y = multilabel_data()
    hidden = np.random.default_rng(6).uniform(size=Y.shape) < 0.3
    hidden[:2] = False
    weighted = fit(X, Y, sample_weight=(~hidden).astype(float))
    missing = fit(X, np.where(hidden, np.nan, Y))
    assert_same_fit(weighted, missing)


@pytest.mark.parametrize("loss", ["auto", *LOSS_NAMES])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_class_weight_equals_sample_weight(n_classes, loss):
    X, codes = multiclass_data(n_classes=n_classes)
    y = np.array(["a", "b", "c"])[codes]
    weights = positive_weights(len(y))
    by_class = {"a": 0.5, "b": 3.0, "c": 1.5}
    class_weight = {name: by_class[name] for name in np.unique(y)}
    clf = fit(X, y, sample_weight=weights, class_weight=class_weight, loss=loss)
    expected = fit(X, y, sample_weight=weights * [by_class[name] for name in y], loss=loss)
    assert_same_fit(clf, expected)
    assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-8)


def test_class_weight_may_leave_classes_out():
    X, y = multiclass_data()
    clf = fit(X, y, class_weight={1: 4.0})
    assert_same_fit(clf, fit(X, y, sample_weight=np.where(y == 1, 4.0, 1.0)))


@pytest.mark.parametrize("loss", ["auto", *LOSS_NAMES])
def test_balanced_counts_weights(loss):
    X, y = multiclass_data()
    weights = positive_weights(len(y)) * (1 + 3 * (y == 0))
    mass = np.array([weights[y == k].sum() for k in range(3)])
    balanced = weights * (weights.sum() / (3 * mass))[y]
    clf = fit(X, y, sample_weight=weights, class_weight="balanced", loss=loss)
    assert_same_fit(clf, fit(X, y, sample_weight=balanced, loss=loss))
    plain = fit(X, y, sample_weight=weights, loss=loss)
    assert np.max(np.abs(clf.coef_ - plain.coef_)) > 1e-3


def test_balanced_equals_repeated_rows():
    X, y = multiclass_data()
    counts = np.random.default_rng(3).integers(0, 4, size=len(y))
    weighted = fit_default(X, y, sample_weight=counts, class_weight="balanced")
    repeated = fit_default(
        np.repeat(X, counts, axis=0), np.repeat(y, counts), class_weight="balanced"
    )
    assert_same_fit(weighted, repeated, rtol=1e-7)


def test_class_weight_of_soft_rows_is_by_mass():
    X, T = soft_data()
    class_weight = np.array([0.5, 3.0, 1.5])
    clf = fit(X, T, class_weight=dict(enumerate(class_weight)))
    assert_same_fit(clf, fit(X, T, sample_weight=T @ class_weight))


def test_balanced_soft_rows_are_by_mass():
    X, T = soft_data()
    weights = positive_weights(len(X))
    class_weight = weights.sum() / (3 * (weights @ T))
    clf = fit(X, T, sample_weight=weights, class_weight="balanced")
    assert_same_fit(clf, fit(X, T, sample_weight=weights * (T @ class_weight)))


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 2.0}], ids=str)
def test_class_weight_of_labels_is_an_error_that_names_pos_weight(class_weight):
    X, Y = multilabel_data()
    with pytest.raises(ValueError, match="pos_weight"):
        fit_default(X, Y, class_weight=class_weight)


@pytest.mark.parametrize("class_weight", [None, "balanced", {"b": 2.0}], ids=str)
@pytest.mark.parametrize("ignored", ["a", "c", "d"])
def test_ignored_class_equals_dropped_rows(ignored, class_weight):
    X, codes = multiclass_data(n_classes=4)
    y = np.array(["a", "b", "c", "d"])[codes]
    weights = positive_weights(len(y))
    keep = y != ignored
    setting = SparseCategoricalCrossentropy(ignore_class=ignored)
    clf = fit_default(X, y, sample_weight=weights, class_weight=class_weight, loss=setting)
    expected = fit_default(
        X[keep],
        y[keep],
        sample_weight=weights[keep],
        class_weight=class_weight,
        loss=SparseCategoricalCrossentropy(),
    )
    assert clf.coef_.shape == (3, X.shape[1])
    np.testing.assert_array_equal(clf.classes_, expected.classes_)
    assert ignored not in clf.classes_
    assert ignored not in clf.predict(X)
    assert clf.predict_proba(X).shape == (len(X), 3)
    assert_same_fit(clf, expected, rtol=1e-7)
    assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-8)


def test_ignored_class_with_smoothing():
    X, y = multiclass_data(n_classes=4)
    keep = y != 1
    setting = SparseCategoricalCrossentropy(label_smoothing=0.2, ignore_class=1)
    expected = fit_default(
        X[keep], y[keep], loss=SparseCategoricalCrossentropy(label_smoothing=0.2)
    )
    assert_same_fit(fit_default(X, y, loss=setting), expected, rtol=1e-7)


def test_ignored_rows_of_any_size_are_not_looked_at():
    X, y = multiclass_data(n_classes=4)
    keep = y != 1
    X[~keep] *= 1000
    clf = fit_default(X, y, loss=SparseCategoricalCrossentropy(ignore_class=1))
    assert_same_fit(clf, fit_default(X[keep], y[keep]), rtol=1e-7)


@pytest.mark.parametrize("label", [-1, 0, 255])
def test_ignored_class_is_an_original_label(label):
    X, codes = multiclass_data(n_classes=4)
    y = np.sort([label, 5, 9, 13])[codes]
    keep = y != label
    clf = fit_default(X, y, loss=SparseCategoricalCrossentropy(ignore_class=label))
    expected = fit_default(X[keep], y[keep])
    np.testing.assert_array_equal(clf.classes_, [5, 9, 13])
    assert_same_fit(clf, expected, rtol=1e-7)


def test_pos_weight_equals_weights_of_positives():
    X, y = binary_data()
    weights = positive_weights(len(y))
    clf = fit(X, y, sample_weight=weights, loss=BinaryCrossentropy(pos_weight=2.5))
    assert_same_fit(clf, fit(X, y, sample_weight=np.where(y == 1, 2.5 * weights, weights)))


def test_pos_weight_per_label():
    X, Y = multilabel_data()
    pos_weight = [0.5, 1.0, 4.0]
    clf = fit(X, Y, loss=BinaryCrossentropy(pos_weight=pos_weight))
    for label, value in enumerate(pos_weight):
        weights = np.where(Y[:, label] == 1, value, 1.0)
        one = logistic_regression(X, Y[:, label], sample_weight=weights)
        assert_close(parameters(clf)[[label]], parameters(one))


@pytest.mark.parametrize("setting", [SparseCategoricalCrossentropy, CategoricalCrossentropy])
def test_label_smoothing_equals_soft_rows(setting):
    X, y = multiclass_data()
    weights = positive_weights(len(y))
    clf = fit(X, y, sample_weight=weights, loss=setting(label_smoothing=0.3))
    T = 0.7 * one_hot(y) + 0.1
    assert_same_fit(clf, fit(X, T, sample_weight=weights))
    assert_close(centred(clf), centred(soft_logistic_regression(X, T, weights)))


def test_label_smoothing_of_soft_rows():
    X, T = soft_data()
    clf = fit(X, T, loss=CategoricalCrossentropy(label_smoothing=0.3))
    assert_same_fit(clf, fit(X, 0.7 * T + 0.1))


def test_label_smoothing_of_binary_labels():
    X, y = binary_data()
    clf = fit(X, y, loss=BinaryCrossentropy(label_smoothing=0.2))
    # Target 0.9 or 0.1: 0.9 of a row with the label and 0.1 of a row with the other.
    both = logistic_regression(
        np.vstack([X, X]),
        np.concatenate([y, 1 - y]),
        sample_weight=np.repeat([0.9, 0.1], len(y)),
    )
    assert_same_fit(clf, both)


# --------------------------------------------------------------------------------------
# Iterations, warm start, determinism, interrupts
# --------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [binary_data, multiclass_data, soft_data, multilabel_data])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_fitted_attributes(data, dtype):
    X, y = data()
    clf = fit_default(X.astype(dtype), y)
    assert clf.n_features_in_ == X.shape[1]
    assert not hasattr(clf, "feature_names_in_")
    assert clf.coef_.dtype == clf.intercept_.dtype == dtype
    assert clf.n_iter_.shape == (1,)
    assert np.issubdtype(clf.n_iter_.dtype, np.integer)
    assert 1 <= clf.n_iter_[0] <= clf.max_iter
    assert isinstance(clf.solver_, str)
    assert clf.solver_ != "auto"
    assert np.ndim(clf.objective_) == np.ndim(clf.optimality_gap_) == 0
    assert 0 < clf.objective_ < 3
    assert 0 <= clf.optimality_gap_ < np.inf


def test_solver_is_stored():
    X, y = multiclass_data()
    assert fit_default(X, y, solver="lbfgs").solver_ == "lbfgs"


@pytest.mark.parametrize("data", [binary_data, multiclass_data, multilabel_data])
def test_history(data):
    X, y = data()
    clf = fit_default(X, y)
    history = clf.history_
    assert isinstance(history, dict)
    assert {"objective", "gap", "seconds"} <= set(history)
    columns = [np.asarray(values) for values in history.values()]
    assert all(column.shape == columns[0].shape == (len(columns[0]),) for column in columns)
    assert len(columns[0]) >= 1
    assert np.all(np.isfinite(history["objective"]))
    assert history["objective"][-1] <= history["objective"][0]
    assert history["objective"][-1] == pytest.approx(clf.objective_, rel=1e-3)
    assert np.all(np.asarray(history["gap"]) >= 0)
    assert np.all(np.diff(history["seconds"]) >= 0)
    assert history["seconds"][0] >= 0


def numbers_in(text):
    return [float(x) for x in re.findall(r"\d+(?:\.\d+)?(?:e[-+]?\d+)?", text)]


def test_too_few_iterations_warn():
    X, y = real_data("wine", False)
    with pytest.warns(ConvergenceWarning) as record:
        clf = fit_default(X, y, max_iter=1, tol=3e-7)
    message = str(record[0].message)
    assert clf.n_iter_[0] == 1
    assert "max_iter" in message  # the remedy
    numbers = numbers_in(message)
    assert any(np.isclose(x, 3e-7, rtol=1e-2, atol=0) for x in numbers)  # wanted
    # Reached: something else than the number of iterations and what was wanted.
    assert any(x not in (0.0, 1.0) and not np.isclose(x, 3e-7, atol=0) for x in numbers)
    assert clf.objective_ < np.log(3)


def test_max_iter_limits_the_iterations():
    X, y = real_data("digits", False)
    objectives = []
    for max_iter in (1, 3, 9):
        with pytest.warns(ConvergenceWarning):
            clf = fit_default(X, y, max_iter=max_iter, tol=1e-10)
        assert clf.n_iter_[0] <= max_iter
        objectives.append(clf.objective_)
    assert objectives == sorted(objectives, reverse=True)
    assert objectives[0] < np.log(10)


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_warm_start_takes_fewer_iterations_to_the_same_answer(name):
    X, y = real_data(name, False)
    clf = fit(X, y, tol=1e-8, warm_start=True)
    cold = clf.n_iter_[0]
    assert cold > 2
    first = parameters(clf)
    clf.fit(X, y)
    assert clf.n_iter_[0] <= cold // 2
    assert_close(parameters(clf), first, rtol=1e-3)


def test_warm_start_with_another_C_finds_the_new_minimum():
    X, y = multiclass_data()
    clf = fit(X, y, warm_start=True)
    clf.set_params(C=0.01).fit(X, y)
    assert_same_fit(clf, fit(X, y, C=0.01))


def test_cold_start_forgets_the_last_fit():
    X, y = multiclass_data()
    clf = fit_default(X, y, C=100.0)
    clf.set_params(C=0.01).fit(X, y)
    assert_same_bits(clf, fit_default(X, y, C=0.01))


@pytest.mark.parametrize("loss", ["auto", *LOSS_NAMES])
@pytest.mark.parametrize("kind", ["float64", "float32", "csr"])
def test_two_fits_give_the_same_bits(loss, kind):
    X, y = counts_data(largest=3)
    X = X_KINDS[kind](X)
    a, b = fit_default(X, y, loss=loss), fit_default(X, y, loss=loss)
    assert_same_bits(a, b)
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))


@pytest.mark.parametrize("kind", ["float64", "float32", "F-order", "csr"])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_any_number_of_threads_gives_the_same_bits(kind, n_classes):
    X, y = multiclass_data(n_samples=20_000, n_features=20, n_classes=n_classes)
    X = X_KINDS[kind](X)
    fits = []
    for n_threads in (1, 2, 3):
        with threadpool_limits(limits=n_threads), ignoring(ConvergenceWarning):
            clf = fit_default(X, y, max_iter=15)
            fits.append((clf, clf.predict_proba(X)))
    for clf, proba in fits[1:]:
        assert_same_bits(clf, fits[0][0])
        np.testing.assert_array_equal(proba, fits[0][1])


def test_verbose(capfd):
    X, y = multiclass_data()
    fit_default(X, y)
    assert "".join(capfd.readouterr()) == ""
    fit_default(X, y, verbose=1)
    assert len("".join(capfd.readouterr()).splitlines()) >= 1


def test_keyboard_interrupt_keeps_the_best_point_so_far(monkeypatch):
    rng = np.random.default_rng(0)
    n_features, n_classes = 80, 20
    # Many correlated features of very different size: far from done in a few iterations.
    mixing = rng.normal(size=(n_features, n_features)) * np.logspace(-3, 0, n_features)
    X = (rng.normal(size=(60_000, n_features)) * np.logspace(-2, 2, n_features)) @ mixing
    logits = StandardScaler().fit_transform(X) @ rng.normal(size=(n_features, n_classes))
    y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)

    with ignoring(ConvergenceWarning):
        after_one = fit_default(X, y, max_iter=1, tol=1e-15)

    passes = []
    whole_pass = LinearObjective.value_gradient

    def interrupted_at_the_fifth(self, vector):
        passes.append(vector)
        if len(passes) == 5:  # as Ctrl-C would
            raise KeyboardInterrupt
        return whole_pass(self, vector)

    monkeypatch.setattr(LinearObjective, "value_gradient", interrupted_at_the_fifth)
    clf = SoftmaxClassifier(max_iter=100_000, tol=1e-15)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)

    assert 1 <= clf.n_iter_[0] < 100_000
    assert clf.predict(X).shape == y.shape
    assert np.all(np.isfinite(clf.coef_))
    assert clf.objective_ < np.log(n_classes)
    assert clf.objective_ <= (1 + 1e-6) * after_one.objective_
    expected = objective(softmax_rows(logits_of(clf, X), one_hot(y)), clf.coef_)
    assert clf.objective_ == pytest.approx(expected, rel=1e-9)
    # A later fit is not disturbed.
    X, y = multiclass_data()
    assert_same_bits(
        clone(clf).set_params(tol=1e-4).fit(X, y), SoftmaxClassifier(max_iter=100_000).fit(X, y)
    )


# --------------------------------------------------------------------------------------
# Inside scikit-learn
# --------------------------------------------------------------------------------------


def test_parameters_of_the_loss_are_parameters_of_the_classifier():
    clf = SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.1), C=2.0)
    params = clf.get_params()
    assert params["C"] == 2.0
    assert params["loss__label_smoothing"] == 0.1
    assert params["loss__ignore_class"] is None
    assert "loss__label_smoothing" not in clf.get_params(deep=False)
    clf.set_params(loss__label_smoothing=0.25, C=3.0)
    assert clf.loss.label_smoothing == 0.25
    assert clf.C == 3.0


def test_set_params_changes_the_fit():
    X, y = multiclass_data()
    clf = fit(X, y, loss=SparseCategoricalCrossentropy())
    clf.set_params(loss__label_smoothing=0.3).fit(X, y)
    assert clf.loss_.label_smoothing == 0.3
    assert_same_fit(clf, fit(X, 0.7 * one_hot(y) + 0.1))


def test_fit_leaves_the_parameters_alone():
    X, y = multiclass_data()
    setting = SparseCategoricalCrossentropy(label_smoothing=0.1)
    clf = SoftmaxClassifier(setting, class_weight={0: 2.0})
    before = repr(clf.get_params())
    clf.fit(X, y)
    assert clf.loss is setting
    assert repr(clf.get_params()) == before


def test_parameter_of_a_loss_that_is_a_string_is_an_error_with_the_remedy():
    with pytest.raises((ValueError, TypeError), match=r"(?i)setting|Crossentropy\("):
        SoftmaxClassifier("categorical_crossentropy").set_params(loss__gamma=2.0)
    X, y = multiclass_data()
    with pytest.raises((ValueError, TypeError), match=r"(?i)setting|Crossentropy\("):
        GridSearchCV(SoftmaxClassifier(), {"loss__gamma": [1.0]}, error_score="raise").fit(X, y)


def test_unknown_parameter():
    with pytest.raises(ValueError, match="penalty"):
        SoftmaxClassifier().set_params(penalty="l2")
    with pytest.raises(ValueError, match="gamma"):
        SoftmaxClassifier(BinaryCrossentropy()).set_params(loss__gamma=2.0)


@pytest.mark.parametrize(
    "name", ["penalty", "n_jobs", "dual", "intercept_scaling", "multi_class", "from_logits"]
)
def test_parameters_that_do_not_exist(name):
    with pytest.raises(TypeError, match=name):
        SoftmaxClassifier(**{name: None})


def test_clone():
    clf = SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.1), C=2.0)
    copy = clone(clf)
    assert copy.loss is not clf.loss
    assert repr(copy) == repr(clf)
    copy.set_params(loss__label_smoothing=0.5)
    assert clf.loss.label_smoothing == 0.1
    X, y = multiclass_data()
    fitted = fit_default(X, y)
    assert not hasattr(clone(fitted), "coef_")


def test_repr_is_readable():
    text = repr(SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.1), C=2.0))
    assert text.startswith("SoftmaxClassifier(")
    assert "SparseCategoricalCrossentropy(label_smoothing=0.1)" in text
    assert "C=2.0" in text


def pickled(clf, path):
    return pickle.loads(pickle.dumps(clf))


def dumped(clf, path):
    joblib.dump(clf, path / "clf.joblib")
    return joblib.load(path / "clf.joblib")


def memory_mapped(clf, path):
    joblib.dump(clf, path / "clf.joblib")
    return joblib.load(path / "clf.joblib", mmap_mode="r")


@pytest.mark.parametrize("copy", [pickled, dumped, memory_mapped])
@pytest.mark.parametrize("data", [binary_data, multiclass_data, soft_data, multilabel_data])
def test_persistence(copy, data, tmp_path):
    X, y = data()
    clf = fit_default(X, y)
    again = copy(clf, tmp_path)
    assert_same_bits(again, clf)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    assert type(again.loss_) is type(clf.loss_)
    assert again.loss_.get_params() == clf.loss_.get_params()


def test_pipeline():
    X, y = real_data("wine", False)
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(**TIGHT)).fit(X, y)
    assert_close(pipeline[-1].coef_, real_reference("wine", True).coef_, rtol=1e-4)
    assert pipeline.score(X, y) == pytest.approx(1.0)
    pipeline.set_params(softmaxclassifier__C=0.1)
    assert pipeline[-1].C == 0.1


def test_cross_val_score():
    X, y = real_data("wine", True)
    scores = cross_val_score(SoftmaxClassifier(), X, y, cv=3)
    expected = cross_val_score(LogisticRegression(max_iter=1000), X, y, cv=3)
    np.testing.assert_allclose(scores, expected, atol=0.02)


def test_cross_val_score_of_probabilities():
    X, y = real_data("iris", True)
    scores = cross_val_score(SoftmaxClassifier(**TIGHT), X, y, cv=3, scoring="neg_log_loss")
    reference = LogisticRegression(solver="newton-cholesky", tol=1e-12)
    expected = cross_val_score(reference, X, y, cv=3, scoring="neg_log_loss")
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_grid_search_over_losses():
    X, y = real_data("iris", True)
    setting = SparseCategoricalCrossentropy()
    grid = [
        {"loss": [setting], "loss__label_smoothing": [0.0, 0.2], "C": [0.1, 10.0]},
        {"loss": [BinaryCrossentropy(), CategoricalCrossentropy(label_smoothing=0.1)]},
        {"loss": ["auto"], "class_weight": [None, "balanced"]},
    ]
    search = GridSearchCV(
        SoftmaxClassifier(**TIGHT), grid, scoring="neg_log_loss", cv=3, error_score="raise"
    ).fit(X, y)

    results = search.cv_results_
    scores = dict(zip(map(repr, results["params"]), results["mean_test_score"], strict=True))
    assert len(scores) == 8
    assert np.all(np.isfinite(results["mean_test_score"]))
    assert setting.label_smoothing == 0.0  # the grid's own setting is left alone
    texts = [repr(params) for params in results["params"]] + list(map(str, results["param_loss"]))
    assert not any(" object at 0x" in text for text in texts)
    assert "CategoricalCrossentropy(label_smoothing=0.1)" in list(map(repr, results["param_loss"]))

    # The grid's settings reach the fit: the score of one candidate, computed by hand.
    candidate = {"C": 10.0, "loss": setting, "loss__label_smoothing": 0.2}
    by_hand = cross_val_score(
        SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.2), C=10.0, **TIGHT),
        X,
        y,
        scoring="neg_log_loss",
        cv=3,
    )
    assert scores[repr(candidate)] == pytest.approx(by_hand.mean(), rel=1e-10)
    assert search.best_estimator_.score(X, y) > 0.9


def test_grid_search_over_a_setting_in_the_estimator():
    X, y = real_data("iris", True)
    clf = SoftmaxClassifier(SparseCategoricalCrossentropy())
    search = GridSearchCV(clf, {"loss__label_smoothing": [0.0, 0.5]}, scoring="neg_log_loss", cv=3)
    search.fit(X, y)
    assert search.best_params_ == {"loss__label_smoothing": 0.0}
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.1


def test_calibration():
    X, y = real_data("wine", True)
    calibrated = CalibratedClassifierCV(SoftmaxClassifier(), cv=3)
    calibrated.fit(X, y, sample_weight=positive_weights(len(y)))
    proba = calibrated.predict_proba(X)
    assert proba.shape == (len(y), 3)
    assert calibrated.score(X, y) > 0.95


def test_voting():
    X, y = real_data("wine", True)
    members = [("weak", SoftmaxClassifier(C=0.01)), ("strong", SoftmaxClassifier(C=10.0))]
    voting = VotingClassifier(members, voting="soft").fit(X, y)
    expected = np.mean([clf.fit(X, y).predict_proba(X) for _, clf in members], axis=0)
    np.testing.assert_allclose(voting.predict_proba(X), expected)
    assert VotingClassifier(members, voting="hard").fit(X, y).score(X, y) > 0.95


def test_sample_weight_is_routed_to_fit_and_score():
    X, y = multiclass_data()
    weights = np.where(y == 0, 20.0, 1.0)
    cv = KFold(3, shuffle=True, random_state=0)
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifier().set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=True)
        result = cross_validate(
            clf, X, y, cv=cv, params={"sample_weight": weights}, return_estimator=True
        )
    for fold, (train, test) in enumerate(cv.split(X)):
        by_hand = fit_default(X[train], y[train], weights[train])
        assert_same_bits(result["estimator"][fold], by_hand)
        score = by_hand.score(X[test], y[test], sample_weight=weights[test])
        assert result["test_score"][fold] == pytest.approx(score)


def test_sample_weight_is_routed_through_a_pipeline():
    X, y = multiclass_data()
    weights = np.where(y == 0, 20.0, 1.0)
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifier().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(MinMaxScaler(), clf).fit(X, y, sample_weight=weights)
    by_hand = fit_default(MinMaxScaler().fit_transform(X), y, weights)
    assert_same_bits(pipeline[-1], by_hand)


def test_sample_weight_that_was_not_requested_is_an_error():
    X, y = multiclass_data()
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(MinMaxScaler(), SoftmaxClassifier())
        with pytest.raises(ValueError, match="sample_weight"):
            pipeline.fit(X, y, sample_weight=np.ones(len(y)))


def test_pandas():
    pd = pytest.importorskip("pandas")
    X, y = multiclass_data()
    names = np.array(["a", "b", "c"])[y]
    frame = pd.DataFrame(X, columns=["one", "two", "three", "four"], index=np.arange(len(X)) * 3)
    with no_warning():
        clf = fit_default(frame, pd.Series(names, index=frame.index))
        np.testing.assert_array_equal(clf.feature_names_in_, frame.columns)
        np.testing.assert_array_equal(clf.predict(frame), fit_default(X, names).predict(X))
    np.testing.assert_array_equal(clf.classes_, ["a", "b", "c"])
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[["two", "one", "three", "four"]])
    with pytest.warns(UserWarning, match="feature names"):
        clf.predict(X)


def test_pandas_multilabel_and_weights():
    pd = pytest.importorskip("pandas")
    X, Y = multilabel_data_with_missing()
    weights = positive_weights(len(X))
    clf = fit_default(
        pd.DataFrame(X), pd.DataFrame(Y, columns=["x", "y", "z"]), sample_weight=pd.Series(weights)
    )
    assert_same_fit(clf, fit_default(X, Y, sample_weight=weights), rtol=1e-10)


def test_polars():
    pl = pytest.importorskip("polars")
    X, y = multiclass_data()
    names = np.array(["a", "b", "c"])[y]
    frame = pl.DataFrame({f"f{j}": X[:, j] for j in range(X.shape[1])})
    clf = fit_default(frame, pl.Series(names))
    np.testing.assert_array_equal(clf.predict(frame), fit_default(X, names).predict(X))
    # Old versions of scikit-learn do not read the column names of new versions of polars.
    reference = LogisticRegression().fit(frame, pl.Series(names))
    if hasattr(reference, "feature_names_in_"):
        np.testing.assert_array_equal(clf.feature_names_in_, frame.columns)


@pytest.mark.parametrize(
    ("loss", "multi_label"),
    [
        ("auto", True),
        ("log_loss", True),
        ("binary_crossentropy", True),
        (BinaryCrossentropy(), True),
        ("sparse_categorical_crossentropy", False),
        ("categorical_crossentropy", False),
        (SparseCategoricalCrossentropy(), False),
        (CategoricalCrossentropy(), False),
    ],
    ids=str,
)
def test_tags_follow_the_loss(loss, multi_label):
    tags = get_tags(SoftmaxClassifier(loss))
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_label is multi_label
    assert tags.classifier_tags.multi_class
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.target_tags.required


@pytest.mark.parametrize("loss", ["nonsense", "", None, 3, [], BinaryCrossentropy], ids=str)
def test_tags_never_raise(loss):
    assert get_tags(SoftmaxClassifier(loss)).estimator_type == "classifier"


# --------------------------------------------------------------------------------------
# Bad input: the rule, what came, a way out
# --------------------------------------------------------------------------------------


def with_entry(a, index, value):
    a = np.array(a, dtype=object if value is None else np.result_type(a, type(value)))
    a[index] = value
    return a


@DENSE_AND_CSR
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_X(value, container):
    X, y = multiclass_data()
    bad = container(with_entry(X, (3, 1), value))
    with pytest.raises(ValueError, match="(?i)nan|infinity"):
        fit_default(bad, y)
    clf = fit_default(X, y)
    for method in (clf.predict, clf.predict_proba, clf.predict_log_proba, clf.decision_function):
        with pytest.raises(ValueError, match="(?i)nan|infinity"):
            method(bad)


@pytest.mark.parametrize("loss", ["auto", *LOSS_NAMES])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda y: with_entry(y, 3, np.nan), "(?i)nan"),
        (lambda y: with_entry(y, 3, np.inf), "(?i)inf"),
        (lambda y: with_entry(y, 3, None), "(?i)none|nan|missing|unknown label"),
        (
            lambda y: with_entry(np.array(["a", "b", "c"])[y], 3, None),
            "(?i)none|nan|missing|unknown label",
        ),
        (lambda y: y + 0.5, "Unknown label type"),
        (lambda y: np.random.default_rng(0).normal(size=len(y)), "Unknown label type"),
        (lambda y: np.zeros_like(y), "(?i)class"),
        (lambda y: np.full(len(y), "a"), "(?i)class"),
        (lambda y: None, r"(?i)\by\b"),
        (lambda y: y[:-1], "(?i)inconsistent|length|number"),
        (lambda y: np.tile(y[:, None, None], (1, 2, 2)), r"(?i)\by\b|dim|shape"),
        (lambda y: y[:0], "(?i)inconsistent|length|number|empty|0 sample"),
    ],
    ids=[
        "nan",
        "inf",
        "None",
        "None among strings",
        "halves",
        "continuous",
        "one class",
        "one class, strings",
        "no y",
        "short",
        "3-D",
        "empty",
    ],
)
def test_bad_1d_y(change, match, loss):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match=match):
        fit_default(X, change(y), loss=loss)


@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy"])
@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_minus_one_is_neither_negative_nor_missing(loss, container, dtype):
    X, Y = multilabel_data()
    bad = container(with_entry(Y.astype(dtype), (4, 1), dtype(-1)))
    with pytest.raises(ValueError, match=r"-1"):
        fit_default(X, bad, loss=loss)


@pytest.mark.parametrize("value", [2, -3, 0.5, np.inf])
def test_labels_other_than_zero_and_one(value):
    X, Y = multilabel_data()
    with pytest.raises(ValueError, match=r"(?i)\by\b|sum"):
        fit_default(X, with_entry(Y, (4, 1), value))


@pytest.mark.parametrize("loss", ["auto", "categorical_crossentropy"])
def test_soft_rows_must_sum_to_one(loss):
    X, T = soft_data()
    T[7, 1] += 0.01
    with pytest.raises(ValueError, match=r"(?i)sum.*\b7\b|\b7\b.*sum"):
        fit_default(X, T, loss=loss)


@pytest.mark.parametrize(
    ("data", "loss", "match"),
    [
        (soft_data, "sparse_categorical_crossentropy", "(?i)1-D|one label|categorical_cross"),
        (multilabel_data, "sparse_categorical_crossentropy", "(?i)1-D|one label|binary_cross"),
        (multilabel_data, "categorical_crossentropy", "(?i)sum|binary_cross"),
        (multilabel_data_with_missing, "categorical_crossentropy", "(?i)nan|missing|binary"),
        (multilabel_data_with_missing, "sparse_categorical_crossentropy", r"(?i)\by\b"),
    ],
)
def test_y_that_does_not_fit_the_loss(data, loss, match):
    X, y = data()
    with pytest.raises(ValueError, match=match):
        fit_default(X, y, loss=loss)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X: X[:, 0], "(?i)2D|2-D|1D|1-D|dim|shape"),
        (lambda X: X[:, :, None], "(?i)dim|2D|2-D"),
        (lambda X: X[:0], "(?i)inconsistent|length|0 sample|minimum of 1|empty"),
        (lambda X: X[:, :0], "(?i)0 feature|minimum of 1|empty"),
        (lambda X: X[:-1], "(?i)inconsistent|length|number"),
        (lambda X: X + 1j, "(?i)complex"),
        (lambda X: np.full(X.shape, "a"), "(?i)string|convert|numeric"),
    ],
    ids=["1-D", "3-D", "no rows", "no columns", "short", "complex", "strings"],
)
def test_bad_X(change, match):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match=match):
        fit_default(change(X), y)


def test_empty_data():
    with pytest.raises(ValueError, match="(?i)0 sample|minimum of 1|empty"):
        fit_default(np.empty((0, 3)), np.empty(0, dtype=int))


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (lambda n: -np.ones(n), "(?i)negative|sample_weight"),
        (lambda n: with_entry(np.ones(n), 5, -1e-3), "(?i)negative|sample_weight"),
        (lambda n: np.zeros(n), "(?i)zero|sample_weight|positive"),
        (lambda n: with_entry(np.ones(n), 5, np.nan), "(?i)nan|sample_weight"),
        (lambda n: with_entry(np.ones(n), 5, np.inf), "(?i)inf|sample_weight"),
        (lambda n: np.ones(n - 1), "sample_weight"),
        (lambda n: np.ones((n, 2)), "(?i)sample.?weight"),
        (lambda n: np.ones((n, 3, 1)), "(?i)sample.?weight"),
        (lambda n: np.full(n, "a"), "(?i)sample_weight|string|convert"),
    ],
    ids=["negative", "one negative", "zeros", "nan", "inf", "short", "2-D", "3-D", "strings"],
)
@pytest.mark.parametrize("data", [binary_data, multiclass_data, multilabel_data])
def test_bad_sample_weight(data, weights, match):
    X, y = data()
    with pytest.raises(ValueError, match=match):
        fit_default(X, y, sample_weight=weights(len(X)))


def test_weights_of_labels_need_a_binary_loss():
    X, T = soft_data()
    with pytest.raises(ValueError, match="(?i)sample.?weight"):
        fit_default(X, T, sample_weight=np.ones(T.shape))


@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_bad_class_weight_value(weight):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match="(?i)weight"):
        fit_default(X, y, class_weight={0: weight, 1: 1.0, 2: 1.0})


@pytest.mark.parametrize("class_weight", [{0: 1.0, 7: 2.0}, {"a": 1.0}, "equal", 3.0], ids=str)
def test_bad_class_weight(class_weight):
    X, y = multiclass_data()
    with pytest.raises((ValueError, TypeError), match="class_weight"):
        fit_default(X, y, class_weight=class_weight)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("C", 0.0),
        ("C", -1.0),
        ("C", np.nan),
        ("C", "1"),
        ("C", None),
        ("max_iter", -1),
        ("max_iter", 1.5),
        ("tol", -1e-4),
        ("tol", np.nan),
        ("tol", "small"),
        ("l1_ratio", 0.5),
        ("l1_ratio", 1.0),
        ("l1_ratio", 2.0),
        ("l1_ratio", -0.1),
        ("solver", "saga"),
        ("solver", "liblinear"),
        ("solver", None),
        ("loss", object()),
        ("loss", None),
        ("loss", BinaryCrossentropy),
        ("loss", LogisticRegression()),
        ("fit_intercept", "yes"),
        ("warm_start", "yes"),
    ],
)
def test_bad_parameters(name, value):
    X, y = multiclass_data()
    clf = SoftmaxClassifier(**{name: value})  # __init__ only stores
    with pytest.raises((ValueError, TypeError), match=name):
        clf.fit(X, y)


@pytest.mark.parametrize("solver", ["saga", "sag", "liblinear", "nonsense"])
def test_unknown_solver_names_auto(solver):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match="auto"):
        fit_default(X, y, solver=solver)


@pytest.mark.parametrize("loss", ["hinge", "crossentropy", "SparseCategoricalCrossentropy"])
def test_unknown_loss_lists_the_known_ones(loss):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match="'loss'") as error:
        fit_default(X, y, loss=loss)
    for text in (loss, "auto", *LOSS_NAMES):
        assert text in str(error.value)


@pytest.mark.parametrize(
    "setting",
    [
        SparseCategoricalCrossentropy(label_smoothing=1.5),
        CategoricalCrossentropy(label_smoothing=-0.1),
        BinaryCrossentropy(label_smoothing=np.nan),
    ],
    ids=str,
)
def test_bad_label_smoothing(setting):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match="label_smoothing"):
        fit_default(X, y, loss=setting)


@pytest.mark.parametrize("pos_weight", [-1.0, np.nan, [1.0, 2.0], [1.0, -1.0, 1.0]], ids=str)
def test_bad_pos_weight(pos_weight):
    X, Y = multilabel_data()
    with pytest.raises(ValueError, match="pos_weight"):
        fit_default(X, Y, loss=BinaryCrossentropy(pos_weight=pos_weight))


def test_ignoring_all_but_one_class():
    X, y = binary_data()
    with pytest.raises(ValueError, match="(?i)class"):
        fit_default(X, y, loss=SparseCategoricalCrossentropy(ignore_class=0))


METHODS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


@pytest.mark.parametrize("method", METHODS)
@DENSE_AND_CSR
def test_prediction_needs_the_features_of_fit(method, container):
    X, y = multiclass_data()
    clf = fit_default(X, y)
    with pytest.raises(ValueError, match="(?i)features"):
        getattr(clf, method)(container(X[:, :-1]))
    with pytest.raises(ValueError, match="(?i)2D|2-D|dim|shape"):
        getattr(clf, method)(X[0])


@pytest.mark.parametrize("method", METHODS)
def test_prediction_needs_a_fit(method):
    X, _ = multiclass_data()
    with pytest.raises(NotFittedError):
        getattr(SoftmaxClassifier(), method)(X)


def test_score_needs_a_fit():
    with pytest.raises(NotFittedError):
        SoftmaxClassifier().score(*multiclass_data())


@pytest.mark.parametrize("change", [{"C": -1.0}, {"loss": "hinge"}])
def test_a_failed_fit_says_so_and_the_next_one_works(change):
    X, y = multiclass_data()
    clf = SoftmaxClassifier(**change)
    with pytest.raises(ValueError, match=next(iter(change))):
        clf.fit(X, y)
    clf.set_params(C=1.0, loss="auto").fit(X, y)
    assert_same_bits(clf, fit_default(X, y))


@pytest.mark.parametrize(
    "settings",
    [
        {"class_weight": {0: 0.0, 1: 1.0}},
        {"loss": BinaryCrossentropy(pos_weight=0.0)},
        {"loss": "categorical_crossentropy", "class_weight": {0: 0.0, 1: 1.0}},
    ],
    ids=str,
)
def test_weights_that_leave_one_class(settings):
    X, y = binary_data()
    y = (y == y[0]).astype(int)
    with pytest.warns(UserWarning, match="alone has weight"):
        clf = SoftmaxClassifier(**settings).fit(X, y)
    assert len(np.unique(clf.predict(X))) == 1
    settings = clone(SoftmaxClassifier(**settings))
    with pytest.raises(ValueError, match="(?i)a class must have a positive weight"):
        settings.fit(X, y, y != clf.predict(X))


@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("unit", [2.0**700, 2.0**-700, 2.0**90, 2.0**-90])
def test_X_whose_squares_overflow_or_vanish(container, unit):
    """In other units it is the same problem: coefficients, and C, change with them."""
    X, y = multiclass_data()
    clf = SoftmaxClassifier(C=np.inf, tol=1e-8).fit(container(unit * X), y)
    expected = SoftmaxClassifier(C=np.inf, tol=1e-8).fit(container(X), y)
    np.testing.assert_allclose(clf.coef_ * unit, expected.coef_, rtol=1e-4, atol=1e-6)
    assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-8)
    if abs(np.log2(unit)) < 500:  # else C itself is out of range
        clf = SoftmaxClassifier(C=2.0 / unit**2, tol=1e-8).fit(container(unit * X), y)
        expected = SoftmaxClassifier(C=2.0, tol=1e-8).fit(container(X), y)
        assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-8)


def test_float64_of_the_other_byte_order():
    X, y = multiclass_data()
    swapped = SoftmaxClassifier().fit(X.astype(X.dtype.newbyteorder()), y)
    assert swapped.coef_.dtype == np.float64
    np.testing.assert_array_equal(swapped.coef_, SoftmaxClassifier().fit(X, y).coef_)


# --- X where it lies ------------------------------------------------------------------------------


def pixels(n_samples=4000, n_features=150, n_classes=8, seed=0):
    """uint8 images, some pixels always 0, too many numbers to be a "small" problem."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 200, size=(n_classes, n_features))
    y = rng.integers(n_classes, size=n_samples)
    X = np.clip(centres[y] + rng.normal(0, 120, size=(n_samples, n_features)), 0, 255)
    X[:, ::10] = 0
    return X.astype(np.uint8), y


@pytest.mark.parametrize("kind", ["uint8", "float16", "memory-mapped", "CSR uint8", "float32"])
def test_X_is_used_where_it_lies(kind, tmp_path):
    X, y = pixels()
    expected = SoftmaxClassifier(tol=1e-8).fit(X.astype(np.float64), y)
    if kind == "memory-mapped":
        np.save(tmp_path / "X.npy", X)
        X_kind = np.load(tmp_path / "X.npy", mmap_mode="r")
    else:
        X_kind = sp.csr_array(X) if "CSR" in kind else X.astype(kind)
    before = X_kind.copy()
    clf = SoftmaxClassifier(tol=1e-5).fit(X_kind, y)
    assert clf.coef_.dtype == np.float32
    assert clf.objective_ <= expected.objective_ * (1 + 2e-5)
    proba = clf.predict_proba(X_kind)
    np.testing.assert_allclose(proba, expected.predict_proba(X.astype(np.float64)), atol=0.01)
    np.testing.assert_array_equal(clf.predict(X_kind), clf.classes_[proba.argmax(axis=1)])
    assert (before != X_kind).sum() == 0


def peak_extra_memory(function):
    """Bytes that ``function`` had allocated at its peak, beyond what there was before."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_predicting_and_fitting_do_not_copy_X():
    X, y = pixels(n_samples=40_000)
    clf = SoftmaxClassifier(max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # as float32, X alone would take 24 MB; labels, weights and blocks of rows are allowed
        assert peak_extra_memory(lambda: clf.fit(X, y)) < 10e6
    assert peak_extra_memory(lambda: clf.predict(X)) < 3e6
    assert peak_extra_memory(lambda: clf.predict_proba(X)) < 4e6


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_an_error_of_every_prediction(bad, dtype, method):
    """Also where its coefficient is 0, and for two classes, whose probabilities would be finite."""
    for n_classes in (2, 3):
        X, y = multiclass_data()
        X, y = X.astype(dtype), np.unique(y, return_inverse=True)[1] % n_classes
        clf = fit_default(X, y)
        clf.coef_[:, 1] = 0
        containers = [np.asarray, np.asfortranarray]
        if dtype != np.float16:
            containers.append(sp.csr_array)
        for container in containers:
            wrong = X.copy()
            wrong[-1, 1] = bad
            with pytest.raises(ValueError, match="NaN|infinity"):
                getattr(clf, method)(container(wrong))
            assert len(getattr(clf, method)(container(X))) == len(X)


def test_logits_may_overflow():
    X, y = multiclass_data()
    clf = fit_default(X.astype(np.float32), y)
    far = np.full((1, X.shape[1]), 3e38, dtype=np.float32)
    clf.coef_[:] = 10.0 * np.sign(clf.coef_)
    assert not np.isfinite(clf.decision_function(far)).all()
