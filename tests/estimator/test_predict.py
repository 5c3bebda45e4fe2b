"""Predictions: shapes, labels, probabilities, accuracy, and what they refuse."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit, log_softmax, softmax
from sklearn.exceptions import NotFittedError

from small_problems import (
    DENSE_AND_CSR,
    LOSS_NAMES,
    assert_same_bits,
    binary_data,
    fit_default,
    logits_of,
    multiclass_data,
    no_warning,
    positive_weights,
)
from xentlearn import SoftmaxClassifier


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
