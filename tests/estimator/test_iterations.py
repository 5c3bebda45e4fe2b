"""Attributes of a fit, its iterations, warnings, and the same bits on every run."""

import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from small_problems import (
    LOSS_NAMES,
    X_KINDS,
    assert_same_bits,
    binary_data,
    counts_data,
    fit_default,
    ignoring,
    logits_of,
    multiclass_data,
    multilabel_data,
    objective,
    one_hot,
    real_data,
    soft_data,
    softmax_rows,
)
from xentlearn import SoftmaxClassifier
from xentlearn._objective.linear import LinearObjective


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
