"""Default fits end by a certificate that is true: on tables as they come, and on tall columns."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn._objective.linear import LinearObjective

TABLES = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
}


def tall(n, rng):
    """Columns of very different sizes, and four classes."""
    Z = rng.standard_normal((n, 50))
    scores = Z @ rng.standard_normal((50, 4)) / 7 + 0.5 * rng.gumbel(size=(n, 4))
    return Z * (1 + np.arange(50)), scores.argmax(axis=1)


def fit(X, y, **parameters):
    """A fit that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return SoftmaxClassifier(**parameters).fit(X, y)


def objective(clf, X, y):
    """That of the stored model, from what it predicts."""
    loss = -clf.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(clf.classes_, y)].mean()
    return loss + np.sum(clf.coef_.astype(float) ** 2) / (2 * clf.C * len(y))


def assert_certified(clf, X, y):
    """The certificate is within tol, and the true gap within the certificate."""
    assert clf.stop_reason_ == "certified"
    assert 0 <= clf.optimality_gap_ <= clf.tol
    best = SoftmaxClassifier(C=clf.C, tol=1e-9).fit(X.astype(np.float64), y)
    assert best.optimality_gap_ <= 0.1 * clf.tol
    gap = objective(clf, X, y) / objective(best, X, y) - 1
    assert gap <= clf.optimality_gap_ + 1e-6


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_tables(table, standardised, C):
    X, y = TABLES[table](return_X_y=True)
    X = StandardScaler().fit_transform(X) if standardised else X
    assert_certified(fit(X, y, C=C), X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [5_000, 60_000])
def test_tall_raw_columns(n, dtype, rng, set_rules):
    """By the Hessian of all rows, and of a sample of them."""
    X, y = tall(n, rng)
    if n > 10_000:
        set_rules(hessian_work=2e8)
    assert_certified(fit(X.astype(dtype), y), X.astype(dtype), y)


def test_the_hessian_pays_off(rng, set_rules):
    X, y = tall(20_000, rng)
    with_it = fit(X, y)
    set_rules(hessian_speed=1e-9)
    without = fit(X, y, tol=with_it.tol)
    assert with_it.stop_reason_ == "certified"
    assert with_it.n_iter_ < without.n_iter_


def test_without_a_penalty_no_time_is_spent_on_certificates(rng, monkeypatch):
    def fail(*args):
        raise AssertionError("asked for a certificate")

    monkeypatch.setattr(LinearObjective, "certified_gap", fail)
    monkeypatch.setattr(LinearObjective, "approach_certificate", fail)
    X, y = tall(5_000, rng)
    clf = fit(X, y, C=np.inf)
    assert clf.stop_reason_ == "estimated"
    assert clf.optimality_gap_ == np.inf
