"""Data that fit refuses, with the rule and a way out."""

import numpy as np
import pytest
import scipy.sparse as sp

from small_problems import (
    DENSE_AND_CSR,
    LOSS_NAMES,
    assert_same_bits,
    binary_data,
    fit_default,
    multiclass_data,
    multilabel_data,
    multilabel_data_with_missing,
    soft_data,
)
from xentlearn import SoftmaxClassifier


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


@pytest.mark.parametrize("change", [{"C": -1.0}, {"loss": "hinge"}])
def test_a_failed_fit_says_so_and_the_next_one_works(change):
    X, y = multiclass_data()
    clf = SoftmaxClassifier(**change)
    with pytest.raises(ValueError, match=next(iter(change))):
        clf.fit(X, y)
    clf.set_params(C=1.0, loss="auto").fit(X, y)
    assert_same_bits(clf, fit_default(X, y))
