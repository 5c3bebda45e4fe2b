"""Scorers by loss: the mean loss of a classifier's logits, whatever its labels are called."""

import numpy as np
import pytest
from scipy import sparse
from scipy.special import log_softmax
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    make_loss_scorer,
)

NAMES = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture
def iris():
    return load_iris(return_X_y=True)


def fitted(X, y, **settings):
    return SoftmaxClassifier(**settings).fit(X, y)


def costs(clf, X, indices):
    """Log losses of rows from the probabilities."""
    return -clf.predict_log_proba(X)[np.arange(len(X)), indices]


@pytest.mark.parametrize("labels", [np.arange(3), NAMES, np.array([30, 10, 20])])
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_of_any_kind(labels, weighted, iris, rng):
    X, y = iris
    weight = rng.uniform(0, 2, len(y)) if weighted else None
    clf = fitted(X, labels[y])
    indices = np.searchsorted(clf.classes_, labels[y])
    want = -np.average(costs(clf, X, indices), weights=weight)
    for loss in ("auto", "sparse_categorical_crossentropy", SparseCategoricalCrossentropy()):
        got = make_loss_scorer(loss)(clf, X, labels[y], sample_weight=weight)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        assert isinstance(got, float)


@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy", "categorical_crossentropy"])
def test_two_classes(loss):
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    names = np.array(["no", "yes"])[y]
    clf = fitted(X, names)
    want = -costs(clf, X, y).mean()
    np.testing.assert_allclose(make_loss_scorer(loss)(clf, X, names), want, rtol=1e-9)


def test_one_vs_rest_adds_the_losses_of_a_row(iris):
    X, y = iris
    clf = fitted(X, NAMES[y], loss="binary_crossentropy")
    logits = clf.decision_function(X)
    want = -BinaryCrossentropy()(np.eye(3)[y], logits)
    np.testing.assert_allclose(make_loss_scorer()(clf, X, NAMES[y]), want, rtol=1e-12)


def test_multilabel_with_missing_labels(rng):
    X = rng.normal(size=(60, 4))
    Y = (X[:, :3] + rng.normal(size=(60, 3)) > 0).astype(float)
    clf = fitted(X, Y)
    whole = make_loss_scorer()(clf, X, sparse.csr_array(Y))
    np.testing.assert_allclose(whole, -BinaryCrossentropy()(Y, clf.decision_function(X)))
    Y[rng.random(Y.shape) < 0.3] = np.nan
    got = make_loss_scorer()(clf, X, Y)
    np.testing.assert_allclose(got, -BinaryCrossentropy()(Y, clf.decision_function(X)))
    assert got > whole


def test_soft_rows(iris, rng):
    X, _ = iris
    T = rng.dirichlet(np.ones(3), size=len(X))
    clf = fitted(X, T)
    want = (T * log_softmax(clf.decision_function(X), axis=1)).sum(axis=1).mean()
    np.testing.assert_allclose(make_loss_scorer()(clf, X, T), want)


def test_ignored_rows_do_not_count(iris):
    X, y = iris
    names = NAMES[y].astype(object)
    names[::5] = "unknown"
    loss = SparseCategoricalCrossentropy(ignore_class="unknown")
    clf = fitted(X, names, loss=loss)
    kept = np.arange(len(y)) % 5 != 0
    want = -costs(clf, X, y)[kept].mean()
    for scorer in (make_loss_scorer(), make_loss_scorer(loss)):
        np.testing.assert_allclose(scorer(clf, X, names), want, rtol=1e-12)
    assert loss.ignore_class == "unknown"


def test_smoothing_counts_but_adjustment_does_not(iris):
    X, y = iris
    loss = SparseCategoricalCrossentropy(label_smoothing=0.1, logit_adjustment=1.0)
    clf = fitted(X, y, loss=loss)
    want = -SparseCategoricalCrossentropy(label_smoothing=0.1)(y, clf.decision_function(X))
    np.testing.assert_allclose(make_loss_scorer()(clf, X, y), want)
    assert loss.logit_adjustment == 1.0


def test_other_classifiers_and_pipelines(iris):
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, NAMES[y])
    want = -costs(pipeline, X, y).mean()
    np.testing.assert_allclose(make_loss_scorer()(pipeline, X, NAMES[y]), want, rtol=1e-9)
    pipeline = make_pipeline(
        StandardScaler(), SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.5))
    ).fit(X, NAMES[y])
    want = -SparseCategoricalCrossentropy(label_smoothing=0.5)(y, pipeline.decision_function(X))
    np.testing.assert_allclose(make_loss_scorer()(pipeline, X, NAMES[y]), want, rtol=1e-9)


def test_grid_search(iris):
    X, y = iris
    search = GridSearchCV(
        SoftmaxClassifier(), {"C": [0.01, 1.0, 100.0]}, scoring=make_loss_scorer(), cv=3
    ).fit(X, NAMES[y])
    plain = GridSearchCV(
        SoftmaxClassifier(), {"C": [0.01, 1.0, 100.0]}, scoring="neg_log_loss", cv=3
    ).fit(X, NAMES[y])
    got, want = (s.cv_results_["mean_test_score"] for s in (search, plain))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_grid_search_with_missing_labels(rng):
    X = rng.normal(size=(90, 4))
    Y = (X[:, :3] + rng.normal(size=(90, 3)) > 0).astype(float)
    Y[rng.random(Y.shape) < 0.2] = np.nan
    search = GridSearchCV(
        SoftmaxClassifier(), {"C": [1e-3, 1.0]}, scoring=make_loss_scorer(), cv=KFold(3)
    ).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == {"C": 1.0}


def test_labels_that_were_not_seen_are_named(iris):
    X, y = iris
    clf = fitted(X[:100], NAMES[y[:100]])
    with pytest.raises(ValueError, match="has seen.*'virginica'.*Stratify"):
        make_loss_scorer()(clf, X, NAMES[y])


def test_bad_losses_are_refused_at_once():
    with pytest.raises(ValueError, match="'loss' must be one of"):
        make_loss_scorer("hinge")
    assert repr(make_loss_scorer("log_loss")) == "make_loss_scorer('log_loss')"
    assert "CategoricalCrossentropy()" in repr(make_loss_scorer(CategoricalCrossentropy()))


def test_rows_must_be_as_many(rng):
    X = rng.normal(size=(30, 3))
    y = np.arange(30) % 3
    for loss in ("auto", "binary_crossentropy"):
        clf = SoftmaxClassifier(loss).fit(X, y)
        for rows, labels in ((X, y[:5]), (X[:5], y)):
            with pytest.raises(ValueError, match="same number of rows"):
                make_loss_scorer()(clf, rows, labels)


def test_y_of_another_kind(rng):
    X = rng.normal(size=(30, 3))
    labels = SoftmaxClassifier().fit(X, (X > 0) * 1)
    with pytest.raises(ValueError, match="'y' must have 3 columns, got 1"):
        make_loss_scorer()(labels, X, np.arange(30) % 3)
    two = SoftmaxClassifier().fit(X, X[:, 0] > 0)
    with pytest.raises(ValueError, match=r"'y' must have shape \(30,\) for a classifier of two"):
        make_loss_scorer()(two, X, np.ones((30, 2)))


def test_one_vs_rest_without_weight(rng):
    X, y = rng.normal(size=(30, 3)), np.arange(30) % 3
    clf = SoftmaxClassifier("binary_crossentropy").fit(X, y)
    with pytest.warns(RuntimeWarning, match="mean of no rows"):
        assert np.isnan(make_loss_scorer()(clf, X, y, np.zeros(30)))
