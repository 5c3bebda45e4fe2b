"""Logits adjusted by the log of the class shares in training, and in training alone."""

import numpy as np
import pytest
from scipy import optimize
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from reference import training_objective
from xentlearn import SoftmaxClassifier
from xentlearn.losses import CategoricalCrossentropy, SparseCategoricalCrossentropy

TIGHT = {"tol": 1e-12, "max_iter": 5000}
each_setting = pytest.mark.parametrize(
    "setting", [SparseCategoricalCrossentropy, CategoricalCrossentropy]
)


@pytest.fixture
def long_tail(rng):
    """Three classes of 70, 25 and 5 %."""
    y = rng.choice(3, size=200, p=[0.7, 0.25, 0.05])
    X = rng.normal(size=(200, 4)) + 0.7 * rng.normal(size=(3, 4))[y]
    return X, y


@each_setting
@pytest.mark.parametrize("weighted", [False, True])
def test_setting_adds_to_the_logits(setting, weighted, long_tail, rng):
    _, y = long_tail
    logits = rng.normal(size=(200, 3))
    weight = rng.uniform(0, 2, 200) if weighted else None
    shares = np.bincount(y, weight, 3)
    shifted = logits + 0.7 * np.log(shares / shares.sum())
    plain, adjusted = setting(label_smoothing=0.1), setting(0.1, logit_adjustment=0.7)
    for method in ("loss", "gradient", "hessian_diagonal"):
        want = getattr(plain, method)(y, shifted, sample_weight=weight)
        got = getattr(adjusted, method)(y, logits, sample_weight=weight)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(adjusted.predict_proba(logits), plain.predict_proba(logits))


def test_soft_rows_have_their_own_shares(rng):
    T, logits = rng.dirichlet(np.ones(3), size=50), rng.normal(size=(50, 3))
    got = CategoricalCrossentropy(logit_adjustment=1.0).loss(T, logits)
    want = CategoricalCrossentropy().loss(T, logits + np.log(T.mean(axis=0)))
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_ignored_rows_have_no_share(rng):
    logits = rng.normal(size=(4, 3)).astype(np.float32)
    got = SparseCategoricalCrossentropy(ignore_class=-1, logit_adjustment=1.0).loss(
        [0, 1, 2, -1], logits
    )
    want = SparseCategoricalCrossentropy(ignore_class=-1).loss([0, 1, 2, -1], logits)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5)  # equal shares change nothing


def test_a_class_without_rows_costs_nothing(rng):
    logits = rng.normal(size=(4, 3))
    got = SparseCategoricalCrossentropy(logit_adjustment=1.0).loss([0, 1, 1, 0], logits)
    want = SparseCategoricalCrossentropy().loss([0, 1, 1, 0], logits[:, :2])
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("kind", ["labels", "soft rows", "two classes"])
@pytest.mark.parametrize("class_weight", [None, {0: 1.0, 1: 2.0}])
def test_an_intercept_takes_it_up(kind, class_weight, long_tail, rng):
    """The same coefficients, and an intercept that is lower by as much as was added."""
    X, y = long_tail
    loss, weight = SparseCategoricalCrossentropy(), np.ones(len(y))
    if kind == "soft rows":
        loss, y = CategoricalCrossentropy(), rng.dirichlet(np.ones(3), size=len(X))
        shares = y.sum(axis=0)
        class_weight = None
    else:
        y = np.minimum(y, 1) if kind == "two classes" else y
        weight = np.array([(class_weight or {}).get(label, 1.0) for label in y])
        shares = np.bincount(y, weight)
    plain = SoftmaxClassifier(loss, class_weight=class_weight, **TIGHT).fit(X, y)
    adjusted = clone(plain).set_params(loss__logit_adjustment=1.5).fit(X, y)
    np.testing.assert_allclose(adjusted.coef_, plain.coef_, rtol=1e-6, atol=1e-8)
    want = plain.intercept_ - 1.5 * np.log(shares / shares.sum())
    np.testing.assert_allclose(adjusted.intercept_, want - want.mean(), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(adjusted.objective_, plain.objective_, rtol=1e-10)
    assert adjusted.optimality_gap_ < 1e-8


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
@pytest.mark.parametrize("C", [0.1, 10.0])
def test_without_an_intercept(C, solver, long_tail):
    """Against SciPy on the written objective; the certificate is one."""
    X, y = long_tail
    shares = np.log(np.bincount(y) / len(y))

    def objective(flat):
        W = flat.reshape(3, 4)
        logits = X @ W.T + shares
        rows = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]
        return training_objective(rows, W, C)

    least = optimize.minimize(objective, np.zeros(12), method="BFGS", options={"gtol": 1e-9}).fun
    settings = {"C": C, "fit_intercept": False, "solver": solver}
    loss = SparseCategoricalCrossentropy(logit_adjustment=1.0)
    clf = SoftmaxClassifier(loss, **settings).fit(X, y)
    assert (clf.intercept_ == 0).all()
    np.testing.assert_allclose(clf.objective_, objective(clf.coef_.ravel()), rtol=1e-12)
    assert clf.objective_ / least - 1 < 1e-7
    rough = SoftmaxClassifier(loss, max_iter=1, **settings)
    with pytest.warns(Warning, match="stopped after 1 iteration"):
        rough.fit(X, y)
    assert rough.objective_ / least - 1 <= rough.optimality_gap_ < np.inf
    assert clf.optimality_gap_ < 1e-8


def test_it_helps_the_rare_class(long_tail):
    X, y = long_tail
    loss = SparseCategoricalCrossentropy()
    recall = [
        (SoftmaxClassifier(loss.set_params(logit_adjustment=tau)).fit(X, y).predict(X) == y)[
            y == 2
        ].mean()
        for tau in (0.0, 1.0)
    ]
    assert recall[1] > recall[0]


@each_setting
@pytest.mark.parametrize("bad", [-0.1, np.inf, np.nan, "1", None, True])
def test_bad_values_are_named(setting, bad, long_tail):
    X, y = long_tail
    with pytest.raises(ValueError, match="'logit_adjustment' must be a finite number >= 0"):
        setting(logit_adjustment=bad).loss(y, np.zeros((200, 3)))
    with pytest.raises(ValueError, match="'logit_adjustment' must be a finite number >= 0"):
        SoftmaxClassifier(setting(logit_adjustment=bad)).fit(X, y)


def test_a_grid_over_it(long_tail):
    X, y = long_tail
    search = GridSearchCV(
        SoftmaxClassifier(SparseCategoricalCrossentropy()),
        {"loss__logit_adjustment": [0.0, 1.0]},
        scoring="balanced_accuracy",
        cv=3,
    ).fit(X, y)
    assert search.best_params_ == {"loss__logit_adjustment": 1.0}
