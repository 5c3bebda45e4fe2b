"""What users of Keras and PyTorch try with the loss functions, and the answers that they get."""

import inspect

import numpy as np
import pytest
from scipy import sparse

from xentlearn import losses
from xentlearn._losses.reduction import ADVICE
from xentlearn.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    sparse_categorical_crossentropy,
)

FUNCTIONS = [
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    sparse_categorical_crossentropy,
]
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
RNG = np.random.default_rng(0)
PROBA = RNG.dirichlet(np.ones(4), size=6)
LABELS = RNG.integers(4, size=6)
ONE_HOT = np.eye(4)[LABELS]

# ---- Names of arguments --------------------------------------------------------------------------


@each_function
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("ignore_index", "'ignore_class'"),
        ("weight", "'sample_weight'"),
        ("size_average", "reduction='none'"),
        ("target", "'y_true' here, and comes first"),
        ("input", "'y_pred' here, and comes second"),
        ("from_logit", "Did you mean 'from_logits'"),
        ("dim", "'axis'"),
    ],
)
def test_names(function, name, answer):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'. .*{answer}"):
        function([[0.0, 1.0]], [[0.5, 0.5]], **{name: 1})


@each_function
def test_advice_is_not_on_parameters(function):
    for name in ADVICE.keys() - inspect.signature(function).parameters.keys():
        with pytest.raises(TypeError, match=f"'{name}'"):
            function([[0.0, 1.0]], [[0.5, 0.5]], **{name: 1})


@each_function
def test_positions(function):
    with pytest.raises(TypeError, match=r"takes \['y_true', 'y_pred'\] by position, got 3"):
        function([[0.0, 1.0]], [[0.5, 0.5]], True)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y_pred'"):
        function([[0.0, 1.0]])


@each_function
def test_signatures_stay(function):
    assert list(inspect.signature(function).parameters)[:2] == ["y_true", "y_pred"]
    assert function is getattr(losses, function.__name__)
    assert function.__module__ == "xentlearn.losses"


@each_function
def test_reduction_of_none(function):
    with pytest.raises(ValueError, match="'none', .*got None; 'none' gives the loss of each row"):
        function(
            [[0.0, 1.0]] if "sparse" not in function.__name__ else [1], [[0.5, 0.5]], reduction=None
        )


# ---- The order -----------------------------------------------------------------------------------

ORDER = r"The order is \(y_true, y_pred\), as in Keras.*Swap them"


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, np.newaxis]])
@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize("function", FUNCTIONS[2:], ids=lambda f: f.__name__)
def test_labels_second(function, from_logits, labels):
    with pytest.raises(ValueError, match=ORDER):
        function(PROBA, labels, from_logits=from_logits)


@pytest.mark.parametrize("function", FUNCTIONS[:4], ids=lambda f: f.__name__)
def test_indicators_second(function):
    with pytest.raises(ValueError, match=ORDER):
        function(PROBA, ONE_HOT.astype(int))
    with pytest.raises(ValueError, match="predictions come second"):
        function(np.log(PROBA), ONE_HOT, from_logits=True)


def test_binary_labels_second():
    with pytest.raises(ValueError, match=ORDER):
        binary_crossentropy([0.3, 0.7], [0, 1])


def test_integers_are_predictions():
    assert binary_crossentropy([0, 1], [0, 1]).tolist() == [0, 0]
    assert binary_crossentropy([0.5], [0], from_logits=True) == np.log(2)
    assert categorical_crossentropy([[1.0, 0.0]], [[1, 0]]) == 0
    assert categorical_crossentropy([[0.5, 0.5]], [[0, 0]], from_logits=True) == np.log(2)
    assert sparse_categorical_crossentropy([1.0], [[0, 1]]) == 0
    assert binary_crossentropy([[0.0, np.nan]], [[0, 1]]).tolist() == [0]  # one is missing


# ---- Labels of the focal loss --------------------------------------------------------------------


@pytest.mark.parametrize("from_logits", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gamma": 0.0},
        {"gamma": 0.5, "label_smoothing": 0.1},
        {"alpha": [0.1, 0.5, 2.0, 1.0], "label_smoothing": 0.3},
        {"class_weight": [1.0, 2.0, 0.0, 1.0], "reduction": "weighted_mean"},
        {"class_weight": {2: 5.0}, "reduction": "mean", "sample_weight": [1, 2, 3, 0, 1, 1]},
    ],
)
def test_labels_cost_the_same_as_one_hot_rows(options, from_logits):
    y_pred = np.log(PROBA) if from_logits else PROBA
    want = categorical_focal_crossentropy(ONE_HOT, y_pred, from_logits=from_logits, **options)
    for labels in (LABELS, LABELS[:, np.newaxis], LABELS.astype(float), LABELS.tolist()):
        got = categorical_focal_crossentropy(labels, y_pred, from_logits=from_logits, **options)
        np.testing.assert_allclose(got, want, rtol=1e-14)


def test_labels_with_other_axes():
    y_pred = np.stack([PROBA, PROBA[::-1]])  # (2, 6, 4)
    labels = np.stack([LABELS, LABELS])
    want = categorical_focal_crossentropy(labels, y_pred)
    got = categorical_focal_crossentropy(labels, np.moveaxis(y_pred, -1, 1), axis=1)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(want, categorical_focal_crossentropy(np.eye(4)[labels], y_pred))


def test_bad_labels():
    with pytest.raises(ValueError, match="labels from 0 to 3"):
        categorical_focal_crossentropy(LABELS + 1, PROBA)
    with pytest.raises(ValueError, match=r"must hold integer class indices, got \d.5"):
        categorical_focal_crossentropy(LABELS + 0.5, PROBA)
    with pytest.raises(ValueError, match="'y_true' must have the shape of the predictions"):
        categorical_focal_crossentropy(LABELS[:3], PROBA)
    # one class: rows, as before
    assert categorical_focal_crossentropy([[1.0]], [[1.0]]) == 0


def test_plain_labels_belong_to_the_sparse_function():
    with pytest.raises(ValueError, match="sparse categorical loss"):
        categorical_crossentropy(LABELS, PROBA)


@pytest.mark.parametrize("function", FUNCTIONS[:4], ids=lambda f: f.__name__)
def test_sparse_targets(function):
    with pytest.raises(ValueError, match=r"'y_true' must be an array, .*y_true\.toarray\(\)"):
        function(sparse.csr_array(ONE_HOT), PROBA)
