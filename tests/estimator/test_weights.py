"""Weights of samples, labels and classes; smoothing; ignored classes."""

import numpy as np
import pytest
from sklearn.base import clone

from small_problems import (
    DENSE_AND_CSR,
    LOSS_NAMES,
    assert_close,
    assert_same_fit,
    binary_data,
    centred,
    fit,
    fit_default,
    logistic_regression,
    multiclass_data,
    multilabel_data,
    multilabel_data_with_missing,
    one_hot,
    parameters,
    positive_weights,
    soft_data,
    soft_logistic_regression,
)
from xentlearn import SoftmaxClassifier
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)

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


def test_ignoring_all_but_one_class():
    X, y = binary_data()
    with pytest.raises(ValueError, match="(?i)class"):
        fit_default(X, y, loss=SparseCategoricalCrossentropy(ignore_class=0))


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
