"""``coef_``, ``intercept_`` and ``classes_`` set by hand: predictions as of LogisticRegression."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from xentlearn import SoftmaxClassifier
from xentlearn.losses import make_loss_scorer

METHODS = ["decision_function", "predict", "predict_proba", "predict_log_proba"]


def by_hand(estimator, coef, intercept, classes):
    estimator.coef_, estimator.intercept_, estimator.classes_ = coef, intercept, classes
    return estimator


def model(n_outputs, seed=0):
    """(X, coef, intercept, classes)."""
    rng = np.random.default_rng(seed)
    classes = np.array([f"class {k}" for k in range(max(2, n_outputs))])
    return (
        rng.normal(size=(20, 4)),
        rng.normal(size=(n_outputs, 4)),
        rng.normal(size=n_outputs),
        classes,
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_outputs", [1, 3, 7])
def test_of_an_estimator_that_was_never_fitted(n_outputs, method):
    X, *attributes = model(n_outputs)
    got = getattr(by_hand(SoftmaxClassifier(), *attributes), method)(X)
    want = getattr(by_hand(LogisticRegression(), *attributes), method)(X)
    assert got.shape == want.shape
    if method == "predict":
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fitted_classes", [2, 3])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_in_place_of_what_a_fit_found(n_outputs, fitted_classes, method):
    X, *attributes = model(n_outputs)
    y = np.arange(20) % fitted_classes
    got = getattr(by_hand(SoftmaxClassifier().fit(X, y), *attributes), method)(X)
    want = getattr(by_hand(LogisticRegression().fit(X, y), *attributes), method)(X)
    if method == "predict":
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [list, np.float32, np.float16, np.int64, "F", "read-only"])
def test_any_kind_of_numbers(kind):
    X, coef, intercept, classes = model(3)
    coef, intercept = np.rint(4 * coef), np.rint(4 * intercept)
    want = by_hand(LogisticRegression(), coef, intercept, classes).predict_proba(X)
    if kind is list:
        coef, intercept, classes = coef.tolist(), intercept.tolist(), classes.tolist()
    elif kind == "F":
        coef = np.asfortranarray(coef)
    elif kind == "read-only":
        coef.flags.writeable = intercept.flags.writeable = False
    else:
        coef, intercept = coef.astype(kind), intercept.astype(kind)
    clf = by_hand(SoftmaxClassifier(), coef, intercept, classes)
    np.testing.assert_allclose(clf.predict_proba(X), want, rtol=1e-5)
    assert clf.predict(X)[0] in classes


@pytest.mark.parametrize("intercept", [0.0, [0.5]])
def test_one_intercept_for_all_outputs(intercept):
    X, coef, _, classes = model(3)
    clf = by_hand(SoftmaxClassifier(), coef, intercept, classes)
    want = by_hand(LogisticRegression(), coef, np.ravel(intercept), classes)
    np.testing.assert_allclose(clf.predict_proba(X), want.predict_proba(X))


def test_scores_and_scorers():
    X, coef, intercept, classes = model(3)
    clf = by_hand(SoftmaxClassifier(), coef, intercept, classes)
    y = clf.predict(X)
    assert clf.score(X, y) == 1.0
    p = clf.predict_proba(X)
    y = classes[np.arange(20) % 3]
    loss = -np.log(p[np.arange(20), np.arange(20) % 3]).mean()
    assert make_loss_scorer()(clf, X, y) == pytest.approx(-loss)


def test_to_go_on_from():
    X, coef, intercept, classes = model(3)
    y = classes[np.arange(20) % 3]
    clf = by_hand(SoftmaxClassifier(random_state=0), coef.copy(), intercept, classes)
    assert clf.partial_fit(X, y).coef_.shape == (3, 4)
    warm = by_hand(SoftmaxClassifier(warm_start=True, max_iter=0), coef, intercept, classes)
    with pytest.warns(Warning, match="stopped after 0 iterations"):
        warm.fit(X, y)
    shift = coef.mean(axis=0)
    np.testing.assert_allclose(warm.coef_, coef - shift, rtol=1e-10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coef_": np.zeros(4)}, "'coef_' must have shape"),
        ({"coef_": np.zeros((3, 5))}, "'X' must have the 5 features of 'coef_', got 4"),
        ({"intercept_": np.zeros(2)}, "'intercept_'"),
        ({"classes_": np.arange(4)}, "'classes_' must have 3 labels"),
        ({"coef_": np.full((3, 4), "a")}, "'coef_' must hold real numbers"),
    ],
)
def test_what_does_not_fit_is_an_error(change, words):
    X, *attributes = model(3)
    clf = by_hand(SoftmaxClassifier(), *attributes)
    vars(clf).update(change)
    for method in METHODS:
        with pytest.raises(ValueError, match=words):
            getattr(clf, method)(X)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array])
def test_sparse_coefficients(make, n_outputs, method):
    """What ``LogisticRegression.sparsify`` makes."""
    X, coef, intercept, classes = model(n_outputs)
    coef[np.abs(coef) < 0.5] = 0.0
    want = getattr(by_hand(SoftmaxClassifier(), coef, intercept, classes), method)(X)
    clf = by_hand(SoftmaxClassifier(warm_start=True), make(coef), intercept, classes)
    got = getattr(clf, method)(X)
    if method == "predict":
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-13)
    y = classes[np.arange(len(X)) % len(classes)]
    assert clf.score(X, y) == by_hand(SoftmaxClassifier(), coef, intercept, classes).score(X, y)
    assert isinstance(clf.fit(X, y).coef_, np.ndarray)


def test_sparse_coefficients_are_looked_at():
    X, coef, intercept, classes = model(3)
    unsound = sparse.csr_array(coef)
    unsound.indices[0] = 1000
    with pytest.raises(ValueError, match="'coef_' must be a sparse matrix whose indices are"):
        by_hand(SoftmaxClassifier(), unsound, intercept, classes).predict(X)
    with pytest.raises(ValueError, match="'coef_' must have shape"):
        by_hand(SoftmaxClassifier(), coef[0], intercept, classes).predict(X)
