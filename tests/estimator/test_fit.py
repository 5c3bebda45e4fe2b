"""Fits agree with LogisticRegression, and with the formulas that define them."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from small_problems import (
    LOADERS,
    LOSS_NAMES,
    assert_close,
    binary_data,
    centred,
    digits_in_float32,
    fit,
    fit_default,
    logistic_regression,
    multiclass_data,
    no_warning,
    one_hot,
    positive_weights,
    real_data,
    real_objective,
    real_reference,
)
from xentlearn import SoftmaxClassifier


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_very_many_classes_are_fitted_like_the_same_rows_in_csr(dtype, rng, set_rules):
    """Tiles of classes, and a preconditioner in blocks of them, against passes over rows."""
    n_classes, n_features = 4100, 4
    y = rng.permutation(np.arange(n_classes + 300) % n_classes)
    X = (rng.normal(size=(n_classes, n_features))[y] * [1, 3, 1, 0.1]).astype(dtype)
    X[:, 0] += 5
    found = []
    for stored, many in ((X, np.inf), (X, 0), (sp.csr_array(X), 0)):
        set_rules(many_coefficients=many)  # from which on the history has one step
        clf = SoftmaxClassifier(tol=1e-6).fit(stored, y, 1.0 + (y % 3))
        assert clf.stop_reason_ == "estimated"
        found.append(clf.objective_)
    np.testing.assert_allclose(found[:2], found[2], rtol=2e-6)


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("C", [1.0, 1e6])
def test_history_of_one_step(C, local, set_rules):
    """Down to rounding errors, where line searches fail, and with Hessians at a point."""
    X, y = multiclass_data(n_classes=4)
    wanted = SoftmaxClassifier(C=C, tol=1e-12).fit(X, y)
    set_rules(many_classes=2, many_coefficients=0, polished_work=0, small_work=0, tiny_hessian=0)
    if not local:
        set_rules(hessian_work=0)
    clf = SoftmaxClassifier(C=C, tol=0).fit(X, y)
    assert clf.solver_ == "lbfgs"
    assert clf.stop_reason_ == "rounding"
    np.testing.assert_allclose(clf.objective_, wanted.objective_, rtol=1e-8)
    np.testing.assert_allclose(clf.coef_, wanted.coef_, rtol=1e-3, atol=1e-3)
