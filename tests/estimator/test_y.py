"""y of every kind, and the loss that belongs to it."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit, softmax
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

from small_problems import (
    SAME,
    assert_close,
    assert_same_bits,
    assert_same_fit,
    binary_data,
    centred,
    fit,
    fit_default,
    logistic_regression,
    logits_of,
    multiclass_data,
    multilabel_data,
    multilabel_data_with_missing,
    no_warning,
    one_hot,
    parameters,
    soft_data,
    soft_logistic_regression,
)
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)


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
