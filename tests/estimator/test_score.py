"""``score``: the accuracy of the rows that have a label."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn.blocks import RowBlocks
from xentlearn.losses import BinaryCrossentropy, HybridLoss, SparseCategoricalCrossentropy

NAMES = np.array(["setosa", "versicolor", "virginica"])


class InBlocks(RowBlocks):
    """Rows of an array, 40 at a time."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.lengths = [len(array[i : i + 40]) for i in range(0, len(array), 40)]

    def read(self, i):
        return self.array[40 * i : 40 * (i + 1)]


def ignoring(label, hybrid=False):
    loss = SparseCategoricalCrossentropy(ignore_class=label)
    return HybridLoss([("softmax", loss), ("ovr", BinaryCrossentropy())]) if hybrid else loss


@pytest.fixture
def iris():
    return load_iris(return_X_y=True)


def unlabelled(y, label):
    """Labels of which a random 60 % are replaced, and which are left."""
    kept = np.random.default_rng(0).random(len(y)) < 0.4
    y = y.astype(object) if isinstance(label, str) and y.dtype.kind == "U" else y.copy()
    y[~kept] = label
    return y, kept


def test_unlabelled_digits():
    X, y = load_digits(return_X_y=True)
    labels, kept = unlabelled(y, -1)
    clf = SoftmaxClassifier(ignoring(-1)).fit(X, labels)
    want = np.mean(clf.predict(X[kept]) == y[kept])
    assert want > 0.95
    assert clf.score(X, labels) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("names", "label"),
    [
        (np.arange(3), -1),
        (np.arange(3.0), -1.0),
        (np.array([1, 2, 7]), 9),
        (NAMES, "unknown"),
        (NAMES.astype(object), ""),
    ],
)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array, InBlocks])
def test_ignored_rows_are_not_judged(container, names, label, classes, hybrid, iris, rng):
    X, y = iris
    X, y = X[y < classes], names[y[y < classes]]
    X = X + rng.normal(size=X.shape)
    labels, kept = unlabelled(y, label)
    weight = rng.uniform(size=len(y))
    clf = SoftmaxClassifier(ignoring(label, hybrid)).fit(X, labels)
    right = clf.predict(X) == y
    assert right[kept].mean() != right.mean()
    X = container(X)
    assert clf.score(X, labels) == pytest.approx(right[kept].mean(), rel=1e-12)
    got = clf.score(X, labels, sample_weight=weight)
    assert got == pytest.approx(np.average(right[kept], weights=weight[kept]), rel=1e-12)


def test_an_ignored_row_with_all_the_weight(iris):
    X, y = iris
    clf = SoftmaxClassifier(ignoring(2)).fit(X, y)
    weight = np.where(np.arange(len(y)) == 149, 1e6, 1.0)
    assert clf.score(X, y, weight) == clf.score(X[:100], y[:100])


@pytest.mark.parametrize("label", ["setosa", -1, None])
def test_a_label_of_another_type_ignores_nothing(label, iris):
    X, y = iris
    y = y if label == "setosa" else NAMES[y]
    clf = SoftmaxClassifier(ignoring(label)).fit(X, y)
    assert clf.score(X, y) == SoftmaxClassifier().fit(X, y).score(X, y) > 0.9


def test_nothing_to_judge(iris):
    X, y = iris
    clf = SoftmaxClassifier(ignoring("unknown")).fit(X, NAMES[y])
    with pytest.warns(RuntimeWarning, match="mean of no rows") as record:
        assert np.isnan(clf.score(X, np.full(len(y), "unknown")))
    assert record[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="mean of no rows"):
        assert np.isnan(clf.score(X, NAMES[y], np.zeros(len(y))))
    with pytest.warns(RuntimeWarning, match="mean of no rows"):
        assert np.isnan(clf.score(X, NAMES[y], (np.arange(len(y)) < 0) * 1.0))


def test_rows_without_any_label(rng):
    X = rng.normal(size=(80, 3))
    Y = (X + rng.normal(size=X.shape) > 0).astype(float)
    clf = SoftmaxClassifier().fit(X, Y)
    want = clf.score(X[::2], Y[::2])
    assert want < 0.7
    Y[1::2] = np.nan
    assert clf.score(X, Y) == pytest.approx(want, rel=1e-12)
    Y[0, 0] = np.nan
    right = ((clf.predict(X) == Y) | np.isnan(Y)).all(axis=1)
    assert clf.score(X, sparse.csr_array(Y)) == pytest.approx(right[::2].mean(), rel=1e-12)
    with pytest.warns(RuntimeWarning, match="mean of no rows"):
        assert np.isnan(clf.score(X, np.full_like(Y, np.nan)))


def test_all_that_calls_score(iris, rng):
    """Cross-validation, searches, pipelines, and scores of single folds."""
    X, y = iris
    labels, kept = unlabelled(NAMES[y], "unknown")
    labels, cv = labels.astype(str), KFold(3, shuffle=True, random_state=0)
    clf = SoftmaxClassifier(ignoring("unknown"))
    want = []
    for train, test in cv.split(X):
        fitted = SoftmaxClassifier().fit(X[train][kept[train]], NAMES[y[train][kept[train]]])
        want.append(np.mean(fitted.predict(X[test]) == NAMES[y[test]], where=kept[test]))
    np.testing.assert_allclose(cross_val_score(clf, X, labels, cv=cv), want)
    search = GridSearchCV(clf, {"C": [1.0]}, cv=cv).fit(X, labels)
    assert search.best_score_ == pytest.approx(np.mean(want))
    assert search.score(X, labels) == search.score(X[kept], labels[kept]) > 0.9
    pipeline = make_pipeline(StandardScaler(), clf)
    got = cross_validate(pipeline, X, labels, cv=cv, return_train_score=True)
    assert (got["test_score"] > 0.7).all()  # of all rows: at most 0.4
    assert (got["train_score"] > 0.7).all()


def test_early_stopping_with_unlabelled_rows(iris):
    X, y = iris
    labels, kept = unlabelled(y, -1)
    clf = SoftmaxClassifier(ignoring(-1), early_stopping=True, random_state=0).fit(X, labels)
    assert clf.score(X, labels) == np.mean(clf.predict(X[kept]) == y[kept]) > 0.9


@pytest.mark.parametrize("loss", ["auto", ignoring("unknown")])
def test_labels_that_were_not_in_training_are_wrong(loss, iris):
    X, y = iris
    clf = SoftmaxClassifier(loss).fit(X[:100], NAMES[y[:100]])
    want = np.mean(clf.predict(X[:100]) == NAMES[y[:100]]) * 2 / 3
    assert clf.score(X, NAMES[y]) == pytest.approx(want, rel=1e-12)


def test_labels_of_another_kind_are_refused(iris):
    X, y = iris
    for labels, others in ((y, NAMES[y]), (NAMES[y], y), (y, y + 0.5)):
        clf = SoftmaxClassifier().fit(X, labels)
        with pytest.raises((ValueError, TypeError), match="(?i)mix"):
            clf.score(X, others)


@pytest.mark.parametrize("loss", ["auto", "categorical_crossentropy"])
def test_y_and_weights_must_fit(loss, iris):
    X, y = iris
    targets = y if loss == "auto" else np.eye(3)[y]
    clf = SoftmaxClassifier(loss).fit(X, targets)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples: \[150, 149\]"):
        clf.score(X, targets[1:])
    for weight, message in ((np.ones(3), r"shape \(150,\)"), (-np.ones(150), "at least 0")):
        with pytest.raises(ValueError, match=f"'sample_weight' must .*{message}"):
            clf.score(X, targets, weight)


def test_no_warning_where_rows_count(iris):
    X, y = iris
    clf = SoftmaxClassifier(ignoring(2)).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(clf.score(X, y), float)


@pytest.mark.parametrize("unit", [1e-310, 1e300, 2e306, 5e306])
def test_weights_have_no_unit(unit, iris, rng):
    X, y = iris
    clf, weight = SoftmaxClassifier().fit(X, y), rng.integers(1, 9, len(X)).astype(float)
    y = (y + (rng.random(len(y)) < 0.3)) % 3
    want = clf.score(X, y, weight)
    assert clf.score(X, y, weight * unit) == pytest.approx(want, rel=1e-6)
