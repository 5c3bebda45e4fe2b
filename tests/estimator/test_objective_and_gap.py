"""objective_ and optimality_gap_ are what they say."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from small_problems import (
    LOADERS,
    binary_data,
    binary_rows,
    digits_in_float32,
    fit,
    fit_default,
    ignoring,
    logistic_regression,
    logits_of,
    multiclass_data,
    multilabel_data,
    objective,
    one_hot,
    positive_weights,
    real_data,
    real_objective,
    real_reference,
    soft_data,
    soft_logistic_regression,
    softmax_rows,
)
from xentlearn import SoftmaxClassifier
from xentlearn.losses import BinaryCrossentropy, SparseCategoricalCrossentropy


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


@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy"])
def test_float32_rows_that_are_alike(loss, set_rules):
    """Their rounding errors are the same, so that no mean makes them smaller."""
    set_rules(small_work=0, polished_work=0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(2000, 3))
        y = np.where(rng.random(2000) < 0.01 * (1 + seed), rng.integers(1, 10, 2000), 0)
        clf = SoftmaxClassifier(loss, C=1e-8, tol=1e-7).fit(X.astype(np.float32), y)
        best = SoftmaxClassifier(loss, C=1e-8, tol=1e-11).fit(X.astype(np.float32).astype(float), y)
        assert best.optimality_gap_ < 1e-11
        assert clf.objective_ / (1 + clf.optimality_gap_) <= best.objective_
        assert clf.optimality_gap_ < 2e-6
