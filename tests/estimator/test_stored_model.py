"""The stored model, as ``predict_proba`` computes it, is what the solver reached.

For every dtype of X: within ``tol``, or a ConvergenceWarning says what was lost. Objectives are
computed here from the probabilities that a user gets.
"""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reference import training_objective
from xentlearn import SoftmaxClassifier
from xentlearn.blocks import RowBlocks

NARROW = [np.float32, np.float16, np.uint8, np.int8]
WIDE = [np.float64, np.int16, np.uint16, np.int32, np.int64, np.uint64, bool]


def fitted(X, y, **params):
    """(classifier, its ConvergenceWarnings)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf = SoftmaxClassifier(**params).fit(X, y)
    return clf, [w for w in caught if issubclass(w.category, ConvergenceWarning)]


def predicted_objective(clf, X, y):
    """The objective of what a user gets, in float64."""
    p = clf.predict_proba(X).astype(np.float64)
    with np.errstate(divide="ignore"):
        losses = -np.log(p[np.arange(len(y)), np.searchsorted(clf.classes_, y)])
    return training_objective(losses, clf.coef_, clf.C)


def labels_of(Z, rng, n_classes=2):
    """Classes that a linear model of ``Z`` predicts fairly well."""
    scores = 1.5 * Z @ rng.normal(size=(Z.shape[1], n_classes)) / np.sqrt(Z.shape[1])
    return (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)


@pytest.mark.parametrize("dtype", [*NARROW, *WIDE])
def test_the_dtype_of_coefficients(dtype):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2 if dtype is bool else 100, size=(60, 3)).astype(dtype)
    clf, found = fitted(X, rng.integers(0, 2, 60))
    wanted = np.float32 if dtype in NARROW else np.float64
    assert clf.coef_.dtype == clf.intercept_.dtype == wanted
    assert not found


def test_unix_times_as_integers():
    """Seconds within ten minutes: in float32 they are all the same."""
    rng = np.random.default_rng(0)
    seconds = rng.integers(0, 600, size=(500, 1))
    y = (seconds[:, 0] + 20 * rng.normal(size=500) > 300).astype(int)
    X = 1_700_000_000 + seconds
    clf, found = fitted(X, y)
    assert not found
    best = predicted_objective(SoftmaxClassifier(tol=1e-10).fit(seconds, y), seconds, y)
    assert predicted_objective(clf, X, y) == pytest.approx(best, rel=1e-4)
    assert clf.objective_ == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("n_samples", [500, 60_000], ids=["copied in float64", "used as it lies"])
@pytest.mark.parametrize("container", ["array", "csr", "blocks"])
def test_float32_with_an_offset_that_swamps_it(container, n_samples, n_classes):
    rng = np.random.default_rng(1)
    Z = rng.normal(size=(n_samples, 4)) * rng.uniform(1, 30, 4)
    X = (Z + 3e6).astype(np.float32)
    Z = X.astype(np.float64) - 3e6
    y = labels_of(Z / Z.std(axis=0), rng, n_classes)
    best = SoftmaxClassifier(tol=1e-10).fit(Z, y).objective_
    kinds = {"array": X, "csr": sparse.csr_array(X), "blocks": InBlocks(X)}
    clf, found = fitted(kinds[container], y)
    assert not found
    assert predicted_objective(clf, X, y) <= best * (1 + 1e-4)
    assert clf.objective_ == pytest.approx(predicted_objective(clf, X, y), rel=1e-4)


class InBlocks(RowBlocks):
    """An array as row blocks."""

    def __init__(self, X, n_blocks=4):
        lengths = [len(part) for part in np.array_split(X, n_blocks)]
        super().__init__(X.shape, X.dtype, lengths)
        self.X, self.ends = X, np.cumsum([0, *lengths])

    def read(self, i):
        return self.X[self.ends[i] : self.ends[i + 1]]


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton-cg", "newton-cholesky"])
@pytest.mark.parametrize("n_samples", [300, 20_000])
@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e6, 1e8])
def test_float32_with_offsets(offset, n_samples, solver):
    """Whatever the offset: what predictions are like is what the fit says, or it warns."""
    rng = np.random.default_rng(int(offset) % 97)
    X = (rng.normal(size=(n_samples, 6)) * 10 + offset).astype(np.float32)
    Z = X.astype(np.float64) - offset
    y = labels_of(Z, rng, 3)
    clf, found = fitted(X, y, solver=solver)
    best = SoftmaxClassifier(tol=1e-10).fit(Z, y).objective_
    if not found:
        assert predicted_objective(clf, X, y) <= best * (1 + 1.1e-4)
    assert clf.objective_ == pytest.approx(predicted_objective(clf, X, y), rel=1e-4)
    assert not found


def test_float64_that_cannot_hold_the_model_warns():
    """Spreads of 1e-3 beside 1e13, of which float64 has half a digit."""
    rng = np.random.default_rng(3)
    X = 1e13 + np.round(rng.normal(size=(400, 3)) * 512) / 512
    y = labels_of(X - 1e13, rng)
    clf, found = fitted(X, y, C=1e6)
    value = predicted_objective(clf, X, y)
    best = SoftmaxClassifier(C=1e6, tol=1e-10).fit(X - 1e13, y).objective_
    assert value <= best * (1 + 1e-4) or found
    if found:
        assert "Subtract their means" in str(found[0].message)
        assert clf.objective_ == pytest.approx(value, rel=1e-3)
        assert clf.optimality_gap_ >= value / best - 1 - 1e-3


def test_no_warning_after_the_way_out():
    rng = np.random.default_rng(3)
    X = 1e13 + np.round(rng.normal(size=(400, 3)) * 512) / 512
    y = labels_of(X - 1e13, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_pipeline(StandardScaler(), SoftmaxClassifier(C=1e6)).fit(X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8, np.int8])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_a_model_of_float64_predicts_narrower_X_with_all_of_its_digits(dtype, container):
    rng = np.random.default_rng(4)
    X = rng.integers(0, 100, size=(50, 5))
    clf = SoftmaxClassifier().fit(X.astype(np.float64), X[:, 0] % 3)
    # coefficients in millions that all but cancel
    clf.coef_ = clf.coef_ + 1e9 * np.array([1, -1, 0, 0, 0])
    X[:, 1] = X[:, 0]
    if dtype == np.float16 and container is not np.asarray:
        pytest.skip("scipy has no float16 CSR")
    narrow = container(X.astype(dtype))
    for method in ("decision_function", "predict_proba", "predict_log_proba", "predict"):
        want = getattr(clf, method)(container(X.astype(np.float64)))
        np.testing.assert_array_equal(getattr(clf, method)(narrow), want)


def test_more_features_than_rows_and_next_to_no_penalty():
    """Rows about their mean add up to 0: that direction has no coefficient, whatever its size."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(30, 100)), rng.integers(0, 3, 30)
    for C in (1e20, 1e42, np.inf):
        for solver in ("auto", "lbfgs", "newton-cg", "newton-cholesky"):
            clf, _ = fitted(X, y, C=C, solver=solver)
            assert np.abs(clf.coef_).max() < 1e3
            assert clf.score(X.astype(np.float32), y) == 1.0
            assert predicted_objective(clf, X, y) <= 1e-5


def test_batches_with_an_offset_that_swamps_float32():
    rng = np.random.default_rng(7)
    X = (rng.normal(size=(4000, 3)) + 3e6).astype(np.float32)
    Z = X.astype(np.float64) - 3e6
    y = labels_of(Z, rng)
    models = [SoftmaxClassifier(random_state=0) for _ in range(2)]
    for rows in range(0, 4000, 500):
        for clf, kind in zip(models, (X, Z), strict=True):
            clf.partial_fit(kind[rows : rows + 500], y[rows : rows + 500], classes=[0, 1])
    assert models[0].coef_.dtype == np.float64
    assert models[0].score(X, y) == pytest.approx(models[1].score(Z, y), abs=0.01)


def test_early_stopping_and_adam_tell_of_their_coefficients():
    rng = np.random.default_rng(6)
    X = (rng.normal(size=(1000, 4)) + 3e5).astype(np.float32)
    y = labels_of(X.astype(np.float64) - 3e5, rng)
    for params in ({"early_stopping": True, "random_state": 0}, {"solver": "adam"}):
        clf, _ = fitted(X, y, max_iter=30, **params)
        p = clf.predict_proba(X)[np.arange(1000), y]
        assert clf.score(X, y) > 0.7
        if "solver" in params:
            expected = training_objective(-np.log(p), clf.coef_)
            assert clf.objective_ == pytest.approx(expected, rel=1e-3)
