"""``regularization_path``: fitted classifiers, each as good as one that is fitted alone."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from small_problems import (
    assert_same_bits,
    binary_data,
    ignoring,
    multiclass_data,
    multilabel_data_with_missing,
    no_warning,
    positive_weights,
    soft_data,
)
from xentlearn import SoftmaxClassifier, SoftmaxClassifierCV, regularization_path
from xentlearn.blocks import NpyBlocks

CS = [3.0, 0.01, 0.2]
X, y = multiclass_data()


def csr_rows():
    return sparse.csr_matrix(np.where(X > 0.5, X, 0)), y


def wide():
    return np.hstack([X[:50], np.random.default_rng(0).normal(size=(50, 100))]), y[:50]


CASES = {
    "softmax": ((X, y), {}),
    "binary": (binary_data(), {}),
    "one-vs-rest": ((X, y), {"loss": "binary_crossentropy"}),
    "missing labels": (multilabel_data_with_missing(), {}),
    "soft": (soft_data(), {}),
    "L1": ((X, y), {"l1_ratio": 1.0}),
    "groups": ((X, y), {"l1_ratio": 0.5, "grouped": True}),
    "bounds": ((X, y), {"coef_bounds": (-0.1, 0.2)}),
    "CSR": (csr_rows(), {}),
    "wide": (wide(), {}),
    "float32": ((X.astype(np.float32), y), {}),
    "balanced": ((X, y), {"class_weight": "balanced"}),
    "not convex": ((X, y), {"loss": "generalized_crossentropy"}),
}


@pytest.mark.parametrize("large", [False, True], ids=["small", "as if large"])
@pytest.mark.parametrize("name", CASES)
def test_each_fit(name, large, set_rules):
    """Fits of small problems end at machine precision; the others, weighted, at their tolerance."""
    (X, y), params = CASES[name]
    weight = None
    if large:
        set_rules(polished_work=0, small_work=0)
        weight = positive_weights(X.shape[0])
    estimator = SoftmaxClassifier(**params, C=17.0)
    before = dict(vars(estimator))
    path = regularization_path(X, y, CS, estimator=estimator, sample_weight=weight)
    assert vars(estimator) == before
    assert [clf.C for clf in path] == CS
    for clf in path:
        exact = clone(clf).set_params(tol=1e-10).fit(X, y, weight)
        alone = clone(clf).fit(X, y, weight)
        assert vars(clf).keys() == vars(alone).keys()
        if name != "not convex":
            assert clf.objective_ <= exact.objective_ * (1 + clf.tol)
        assert clf.optimality_gap_ <= clf.tol or alone.optimality_gap_ > clf.tol
        assert clf.coef_.dtype == alone.coef_.dtype
        np.testing.assert_allclose(clf.predict_proba(X), alone.predict_proba(X), atol=0.01)


def test_coefficients_are_those_of_logistic_regression():
    for clf in regularization_path(X, y, CS, estimator=SoftmaxClassifier(tol=1e-12)):
        peer = LogisticRegression(C=clf.C, tol=1e-10, solver="newton-cholesky").fit(X, y)
        np.testing.assert_allclose(clf.coef_, peer.coef_, atol=1e-6)


def test_the_default_estimator_and_the_order():
    path = regularization_path(X, y, CS)
    flipped = regularization_path(X, y, np.array(CS)[::-1])
    for one, other in zip(path, flipped[::-1], strict=True):
        assert one.get_params() == other.get_params()
        assert_same_bits(one, other)


@pytest.mark.parametrize("params", [{"solver": "adam", "max_iter": 3}, {"early_stopping": True}])
def test_what_depends_on_the_start_is_that_of_a_single_fit(params):
    with no_warning():
        path = regularization_path(X, y, CS, estimator=SoftmaxClassifier(random_state=0, **params))
    for clf in path:
        assert_same_bits(clf, clone(clf).fit(X, y))


def test_names_are_shared():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    path = regularization_path(frame, np.array(["c", "a", "b"])[y], CS)
    assert all(list(clf.feature_names_in_) == list("abcd") for clf in path)
    assert all(clf.classes_ is path[0].classes_ for clf in path)
    assert path[0].predict(frame)[0] in ("a", "b", "c")
    again = pickle.loads(pickle.dumps(path[1]))
    np.testing.assert_array_equal(again.predict_proba(frame), path[1].predict_proba(frame))


def test_row_blocks(tmp_path):
    np.save(tmp_path / "0.npy", X[:80])
    np.save(tmp_path / "1.npy", X[80:])
    in_memory = regularization_path(X, y, CS)
    for one, other in zip(regularization_path(NpyBlocks(tmp_path), y, CS), in_memory, strict=True):
        assert one.objective_ <= other.objective_ * (1 + one.tol)
        assert one.optimality_gap_ <= one.tol


def test_an_estimator_that_was_fitted_before():
    """Nothing of it is left; with warm_start its coefficients are where the first fit starts."""
    estimator = SoftmaxClassifier().fit(X[:, :2], y > 0)
    plain, later = regularization_path(X, y, CS), regularization_path(X, y, CS, estimator=estimator)
    for one, other in zip(plain, later, strict=True):
        assert_same_bits(one, other)
        assert vars(one).keys() == vars(other).keys()
    warm = SoftmaxClassifier(warm_start=True, C=0.01).fit(X, y)
    path = regularization_path(X, y, [0.01], estimator=warm)
    assert path[0].n_iter_[0] <= 1


def test_warnings_of_each_fit():
    estimator = SoftmaxClassifier(solver="lbfgs", max_iter=1, tol=1e-9)
    with pytest.warns(ConvergenceWarning) as record:
        regularization_path(X, y, CS, estimator=estimator)
    texts = [str(w.message) for w in record]
    assert sum(text.startswith("lbfgs stopped after 1 iterations") for text in texts) == 3
    with ignoring(ConvergenceWarning):
        path = regularization_path(X, y, [1.0, np.inf], estimator=estimator)
    assert path[1].C == np.inf


@pytest.mark.parametrize(
    "Cs", [10, 1.0, [], [0.0], [1.0, 1.0], [np.nan], "abc", None, {1.0, 2.0}, [[1.0]]], ids=str
)
def test_bad_values(Cs):
    with pytest.raises(ValueError, match="'Cs'"):
        regularization_path(X, y, Cs)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), SoftmaxClassifierCV(), SoftmaxClassifier, 3], ids=str
)
def test_other_estimators(estimator):
    with pytest.raises(TypeError, match="'estimator' must be a SoftmaxClassifier or None, got"):
        regularization_path(X, y, CS, estimator=estimator)


def test_bad_parameters_and_data():
    with pytest.raises(ValueError, match="'tol'"):
        regularization_path(X, y, CS, estimator=SoftmaxClassifier(tol=-1))
    with pytest.raises(ValueError, match="NaN"):
        regularization_path(np.full_like(X, np.nan), y, CS)
    with pytest.raises(ValueError, match="'sample_weight'"):
        regularization_path(X, y, CS, sample_weight=[1.0])


@pytest.mark.parametrize("solver", ["lbfgs", "auto"])
def test_a_penalty_so_weak_that_features_are_replaced(solver):
    """What fits carry over to the next one is of the features that their solver saw."""
    rng = np.random.default_rng(0)
    dependent = np.hstack([X, X[:, :2] + 1e-7 * rng.normal(size=(len(X), 2))])
    estimator, Cs = SoftmaxClassifier(solver=solver), [1.0, 1e4, 1e13, 1e15, np.inf]
    with ignoring(ConvergenceWarning):
        path = regularization_path(dependent, y, Cs, estimator=estimator)
        alone = [clone(estimator).set_params(C=C).fit(dependent, y) for C in Cs]
    for found, single in zip(path, alone, strict=True):
        assert found.objective_ == pytest.approx(single.objective_, rel=1e-4)


def test_many_classes_in_little_memory(set_rules):
    """The history of a single step is not carried over, nor is a preconditioner given back."""
    set_rules(many_classes=3, many_coefficients=0, polished_work=0, tiny_hessian=0)
    Cs = [0.1, 1.0, 10.0]
    path = regularization_path(X.astype(np.float32), y, Cs)
    for found, C in zip(path, Cs, strict=True):
        alone = SoftmaxClassifier(C=C).fit(X.astype(np.float32), y)
        assert found.solver_ == alone.solver_ == "lbfgs"
        assert found.objective_ == pytest.approx(alone.objective_, rel=1e-4)
