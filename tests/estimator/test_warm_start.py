"""Fits that start from the coefficients of the last one."""

import pytest

from small_problems import (
    assert_close,
    assert_same_bits,
    assert_same_fit,
    fit,
    fit_default,
    multiclass_data,
    parameters,
    real_data,
)


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
