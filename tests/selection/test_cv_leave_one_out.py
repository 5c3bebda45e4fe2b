"""SoftmaxClassifierCV(cv="loo") beside folds of a single row."""

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.model_selection import LeaveOneOut

from xentlearn import SoftmaxClassifier, SoftmaxClassifierCV
from xentlearn.losses import BinaryCrossentropy, GeneralizedCrossentropy

CS = [0.01, 1, 100, 1e4]


@pytest.fixture(scope="module")
def iris():
    return load_iris(return_X_y=True)


def one_by_one(X, y, **parameters):
    """The same search with a fold for each row."""
    return SoftmaxClassifierCV(cv=LeaveOneOut(), **parameters).fit(X, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"l1_ratios": (0.0, 1.0)},
        {"loss": "binary_crossentropy"},
        {"fit_intercept": False, "select": "1se"},
    ],
    ids=str,
)
def test_iris(parameters, iris):
    # with an L1 penalty that weak, models without a row are too far from the one with it
    Cs = CS[:3] if "l1_ratios" in parameters else CS
    found = SoftmaxClassifierCV(Cs=Cs, cv="loo", **parameters).fit(*iris)
    expected = one_by_one(*iris, Cs=Cs, **parameters)
    assert (found.C_, found.l1_ratio_) == (expected.C_, expected.l1_ratio_)
    assert found.scores_.shape == (1, *expected.scores_.shape[1:])
    np.testing.assert_allclose(found.scores_[0], expected.scores_.mean(axis=0), rtol=0.01)
    n = len(iris[1])
    errors = expected.standard_errors_ * np.sqrt((n - 1) / n)  # of n rows, not n - 1
    np.testing.assert_allclose(found.standard_errors_, errors, rtol=0.05)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_two_classes_of_wine():
    X, y = load_wine(return_X_y=True)
    X, y = X[y < 2], y[y < 2]
    found = SoftmaxClassifierCV(Cs=CS, cv="loo").fit(X, y)
    expected = one_by_one(X, y, Cs=CS)
    assert found.C_ == expected.C_
    np.testing.assert_allclose(found.scores_[0], expected.scores_.mean(axis=0), rtol=0.01)


def test_weights_repeat_rows(iris):
    X, y = iris[0][::3], iris[1][::3]
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    found = SoftmaxClassifierCV(Cs=CS, cv="loo").fit(X, y, weight)
    rows = np.repeat(np.arange(len(y)), weight)
    expected = SoftmaxClassifierCV(Cs=CS, cv="loo").fit(X[rows], y[rows])
    np.testing.assert_allclose(found.scores_, expected.scores_, rtol=0.005)
    assert found.C_ == expected.C_


def test_several_labels(iris):
    X, y = iris
    Y = np.stack([y == 1, X[:, 1] > 3.0], axis=1).astype(float)
    found = SoftmaxClassifierCV(Cs=[0.1, 1], cv="loo").fit(X, Y)
    expected = one_by_one(X, Y, Cs=[0.1, 1])
    np.testing.assert_allclose(found.scores_[0], expected.scores_.mean(axis=0), rtol=0.01)


def test_a_row_alone_in_its_class(iris):
    X, y = iris[0][:101], iris[1][:101]
    with pytest.warns(UserWarning, match=r"1 rows are the only ones of their class"):
        found = SoftmaxClassifierCV(Cs=CS, cv="loo").fit(X, y)
    assert np.isfinite(found.scores_).all()
    assert list(found.classes_) == [0, 1, 2]


def test_the_refit_is_a_single_fit(iris):
    found = SoftmaxClassifierCV(Cs=CS, cv="loo", store_paths=True).fit(*iris)
    expected = SoftmaxClassifier(C=found.C_).fit(*iris)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=0, atol=1e-6)
    path = found.coefs_paths_[0, 0, 0, CS.index(found.C_)]
    np.testing.assert_allclose(path[:, :-1], expected.coef_, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"scoring": "accuracy"}, "'scoring' must be None with cv='loo'"),
        ({"losses": [BinaryCrossentropy()]}, "'losses' must be None with cv='loo'"),
        ({"grouped": True}, "'grouped' must be False with cv='loo', got True"),
        ({"early_stopping": True}, "'early_stopping' must be False"),
        ({"store_probabilities": True}, "'store_probabilities' must be False"),
        ({"solver": "adam"}, "'solver' must not be a stochastic one with cv='loo', got 'adam'"),
        ({"loss": GeneralizedCrossentropy()}, "needs a convex loss, got Generalized"),
        ({"cv": "LOO"}, "'cv' must be None, a number of folds, 'loo', .* got 'LOO'"),
    ],
)
def test_what_it_does_not_take(parameters, match, iris):
    with pytest.raises(ValueError, match=match):
        SoftmaxClassifierCV(**{"Cs": CS, "cv": "loo", **parameters}).fit(*iris)
