"""Sums of losses in fits and in scorers: what the parts share, and what they decide together."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from reference import training_objective
from xentlearn import SoftmaxClassifier
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    HybridLoss,
    PolyCrossentropy,
    SparseCategoricalCrossentropy,
    make_loss_scorer,
)


@pytest.fixture
def data(rng):
    X = rng.normal(size=(80, 4))
    return X, (X[:, :3] + rng.normal(size=(80, 3))).argmax(axis=1)


def softmax_and_binary():
    return HybridLoss([("s", SparseCategoricalCrossentropy()), ("b", BinaryCrossentropy())])


def formula(clf, X, y):
    """The objective at the coefficients, by the setting itself."""
    z = X @ clf.coef_.T + clf.intercept_
    return training_objective(clf.loss_.loss(y, z), clf.coef_)


@pytest.mark.parametrize(
    "parts",
    [
        [CategoricalFocalCrossentropy(gamma=0, alpha=[0, 1, 1]), SparseCategoricalCrossentropy()],
        [BinaryCrossentropy(pos_weight=[0, 1, 1]), BinaryCrossentropy()],
    ],
    ids=["softmax", "binary"],
)
def test_a_class_that_one_part_does_not_see(parts, data):
    """It is fitted for the others' sake, whatever the order."""
    X, y = data
    objectives = []
    for order in (parts, parts[::-1]):
        loss = HybridLoss([(f"part{i}", part) for i, part in enumerate(order)])
        clf = SoftmaxClassifier(loss).fit(X, y)
        assert np.isfinite(clf.intercept_).all()
        objectives.append(clf.objective_)
    assert objectives[0] == pytest.approx(objectives[1], rel=1e-9)


def test_smoothing_in_one_part_keeps_a_class_without_weight(data):
    X, y = data
    weight = (y != 0).astype(float)
    loss = HybridLoss(
        [
            ("plain", SparseCategoricalCrossentropy()),
            ("smoothed", SparseCategoricalCrossentropy(label_smoothing=0.3)),
        ]
    )
    clf = SoftmaxClassifier(loss).fit(X, y, weight)
    assert np.isfinite(clf.intercept_).all()
    assert np.isfinite(make_loss_scorer()(clf, X, y))


def test_a_class_of_no_positive_weight_in_a_binary_first_part(data):
    X, y = data
    loss = HybridLoss(
        [("b", BinaryCrossentropy(pos_weight=[0, 1, 1])), ("s", SparseCategoricalCrossentropy())]
    )
    clf = SoftmaxClassifier(loss).fit(X, y)
    z = X @ clf.coef_.T + clf.intercept_
    rows = loss.losses[0][1].loss(np.eye(3)[y], z) + loss.losses[1][1].loss(y, z)
    assert clf.objective_ == pytest.approx(training_objective(rows, clf.coef_), rel=1e-12)


@pytest.mark.parametrize("gamma", [0, 2])
def test_a_class_of_no_weight_has_smoothed_targets(gamma, data):
    X, y = data
    loss = CategoricalFocalCrossentropy(gamma=gamma, alpha=[0, 1, 1], label_smoothing=0.1)
    clf = SoftmaxClassifier(loss).fit(X, y)
    assert clf.objective_ == pytest.approx(formula(clf, X, y), rel=1e-12)
    assert clf.intercept_[0] < clf.intercept_[1:].min() - 10


def test_two_classes_are_judged_by_both_logits(data):
    X, y = data
    y = y > 0
    clf = SoftmaxClassifier(softmax_and_binary()).fit(X, y)
    z = X @ clf.coef_.T + clf.intercept_
    assert make_loss_scorer()(clf, X, y) == pytest.approx(-clf.loss_(y * 1, z), rel=1e-12)
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(softmax_and_binary())).fit(X, y)
    z = pipeline[0].transform(X) @ pipeline[1].coef_.T + pipeline[1].intercept_
    want = -pipeline[1].loss_(y * 1, z)
    assert make_loss_scorer()(pipeline, X, y) == pytest.approx(want, rel=1e-12)


def test_ignored_rows_are_not_judged(data):
    X, y = data
    loss = softmax_and_binary().set_params(s__ignore_class=2)
    clf = SoftmaxClassifier(loss).fit(X, y)
    kept = y != 2
    z = X[kept] @ clf.coef_.T + clf.intercept_
    want = -softmax_and_binary()(y[kept], z)
    # two classes are left: both logits
    assert make_loss_scorer()(clf, X, y) == pytest.approx(want, rel=1e-12)
    assert loss.losses[0][1].ignore_class == 2


def test_grid_over_parts(data):
    X, y = data
    grid = {
        "loss__s__label_smoothing": [0.0, 0.1],
        "loss__b": [BinaryCrossentropy(), BinaryCrossentropy(pos_weight=2.0)],
        "loss__weights": [None, [1.0, 0.1]],
    }
    search = GridSearchCV(
        SoftmaxClassifier(softmax_and_binary()), grid, scoring=make_loss_scorer(), cv=3
    ).fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize(
    ("loss", "y", "weight", "message"),
    [
        (
            HybridLoss([("b", BinaryCrossentropy()), ("s", CategoricalCrossentropy())]),
            "one-hot",
            "entries",
            r"'sample_weight' must have shape \(80,\) for a loss with a softmax part",
        ),
        (
            HybridLoss(
                [
                    ("c", CategoricalCrossentropy()),
                    ("s", SparseCategoricalCrossentropy(ignore_class=0)),
                ]
            ),
            "labels",
            None,
            "'ignore_class' belongs to the first part",
        ),
        (
            HybridLoss([("b", BinaryCrossentropy(label_smoothing=np.nan))]),
            "labels",
            None,
            r"'label_smoothing' must be a number in \[0, 1\]",
        ),
        (softmax_and_binary(), "one-hot", None, "takes a 1-D y"),
        (
            HybridLoss([("c", CategoricalCrossentropy()), ("s", SparseCategoricalCrossentropy())]),
            "one-hot",
            None,
            "takes a 1-D y",
        ),
        (
            HybridLoss([("b", BinaryCrossentropy()), ("s", CategoricalCrossentropy())]),
            "two classes",
            None,
            "needs a logit per class; with two classes put a categorical loss first",
        ),
        (
            HybridLoss([("b", BinaryCrossentropy()), ("s", CategoricalCrossentropy())]),
            "indicator",
            None,
            "takes rows that sum to 1",
        ),
        (PolyCrossentropy(epsilon="a"), "labels", None, "'epsilon' must be a finite number"),
    ],
)
def test_bad_fits(loss, y, weight, message, data, rng):
    X, labels = data
    y = {
        "labels": labels,
        "one-hot": np.eye(3)[labels],
        "two classes": labels > 0,
        "indicator": rng.integers(2, size=(80, 3)),
    }[y]
    weight = None if weight is None else rng.random((80, 3))
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(loss).fit(X, y, weight)


def test_what_is_no_list_of_parts_can_be_looked_at():
    for losses in ([("a", CategoricalCrossentropy)], {"a": CategoricalCrossentropy()}, None):
        loss = HybridLoss(losses)
        assert loss.get_params()["losses"] is losses
        assert repr(loss).startswith("HybridLoss(")
        with pytest.raises(ValueError, match="HybridLoss must be a setting|must be a list of"):
            loss.loss([0], [[1.0, 2.0]])
