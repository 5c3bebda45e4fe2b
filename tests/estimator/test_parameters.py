"""Parameters of the estimator: get, set, clone, tags, and what is out of range."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags

from small_problems import (
    LOSS_NAMES,
    assert_same_fit,
    fit,
    fit_default,
    multiclass_data,
    multilabel_data,
    one_hot,
)
from xentlearn import SoftmaxClassifier
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)


def test_parameters_of_the_loss_are_parameters_of_the_classifier():
    clf = SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.1), C=2.0)
    params = clf.get_params()
    assert params["C"] == 2.0
    assert params["loss__label_smoothing"] == 0.1
    assert params["loss__ignore_class"] is None
    assert "loss__label_smoothing" not in clf.get_params(deep=False)
    clf.set_params(loss__label_smoothing=0.25, C=3.0)
    assert clf.loss.label_smoothing == 0.25
    assert clf.C == 3.0


def test_set_params_changes_the_fit():
    X, y = multiclass_data()
    clf = fit(X, y, loss=SparseCategoricalCrossentropy())
    clf.set_params(loss__label_smoothing=0.3).fit(X, y)
    assert clf.loss_.label_smoothing == 0.3
    assert_same_fit(clf, fit(X, 0.7 * one_hot(y) + 0.1))


def test_fit_leaves_the_parameters_alone():
    X, y = multiclass_data()
    setting = SparseCategoricalCrossentropy(label_smoothing=0.1)
    clf = SoftmaxClassifier(setting, class_weight={0: 2.0})
    before = repr(clf.get_params())
    clf.fit(X, y)
    assert clf.loss is setting
    assert repr(clf.get_params()) == before


def test_parameter_of_a_loss_that_is_a_string_is_an_error_with_the_remedy():
    with pytest.raises((ValueError, TypeError), match=r"(?i)setting|Crossentropy\("):
        SoftmaxClassifier("categorical_crossentropy").set_params(loss__gamma=2.0)
    X, y = multiclass_data()
    with pytest.raises((ValueError, TypeError), match=r"(?i)setting|Crossentropy\("):
        GridSearchCV(SoftmaxClassifier(), {"loss__gamma": [1.0]}, error_score="raise").fit(X, y)


def test_unknown_parameter():
    with pytest.raises(ValueError, match="penalty"):
        SoftmaxClassifier().set_params(penalty="l2")
    with pytest.raises(ValueError, match="gamma"):
        SoftmaxClassifier(BinaryCrossentropy()).set_params(loss__gamma=2.0)


@pytest.mark.parametrize(
    "name", ["penalty", "n_jobs", "dual", "intercept_scaling", "multi_class", "from_logits"]
)
def test_parameters_that_do_not_exist(name):
    with pytest.raises(TypeError, match=name):
        SoftmaxClassifier(**{name: None})


def test_clone():
    clf = SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.1), C=2.0)
    copy = clone(clf)
    assert copy.loss is not clf.loss
    assert repr(copy) == repr(clf)
    copy.set_params(loss__label_smoothing=0.5)
    assert clf.loss.label_smoothing == 0.1
    X, y = multiclass_data()
    fitted = fit_default(X, y)
    assert not hasattr(clone(fitted), "coef_")


def test_repr_is_readable():
    text = repr(SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.1), C=2.0))
    assert text.startswith("SoftmaxClassifier(")
    assert "SparseCategoricalCrossentropy(label_smoothing=0.1)" in text
    assert "C=2.0" in text


@pytest.mark.parametrize(
    ("loss", "multi_label"),
    [
        ("auto", True),
        ("log_loss", True),
        ("binary_crossentropy", True),
        (BinaryCrossentropy(), True),
        ("sparse_categorical_crossentropy", False),
        ("categorical_crossentropy", False),
        (SparseCategoricalCrossentropy(), False),
        (CategoricalCrossentropy(), False),
    ],
    ids=str,
)
def test_tags_follow_the_loss(loss, multi_label):
    tags = get_tags(SoftmaxClassifier(loss))
    assert tags.estimator_type == "classifier"
    assert tags.classifier_tags.multi_label is multi_label
    assert tags.classifier_tags.multi_class
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.target_tags.required


@pytest.mark.parametrize("loss", ["nonsense", "", None, 3, [], BinaryCrossentropy], ids=str)
def test_tags_never_raise(loss):
    assert get_tags(SoftmaxClassifier(loss)).estimator_type == "classifier"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("C", 0.0),
        ("C", -1.0),
        ("C", np.nan),
        ("C", "1"),
        ("C", None),
        ("max_iter", -1),
        ("max_iter", 1.5),
        ("tol", -1e-4),
        ("tol", np.nan),
        ("tol", "small"),
        ("l1_ratio", 2.0),
        ("l1_ratio", -0.1),
        ("solver", "saga"),
        ("solver", "liblinear"),
        ("solver", None),
        ("loss", object()),
        ("loss", None),
        ("loss", BinaryCrossentropy),
        ("loss", LogisticRegression()),
        ("fit_intercept", "yes"),
        ("warm_start", "yes"),
    ],
)
def test_bad_parameters(name, value):
    X, y = multiclass_data()
    clf = SoftmaxClassifier(**{name: value})  # __init__ only stores
    with pytest.raises((ValueError, TypeError), match=name):
        clf.fit(X, y)


@pytest.mark.parametrize("solver", ["saga", "sag", "liblinear", "nonsense"])
def test_unknown_solver_names_auto(solver):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match="auto"):
        fit_default(X, y, solver=solver)


@pytest.mark.parametrize("loss", ["hinge", "crossentropy", "SparseCategoricalCrossentropy"])
def test_unknown_loss_lists_the_known_ones(loss):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match="'loss'") as error:
        fit_default(X, y, loss=loss)
    for text in (loss, "auto", *LOSS_NAMES):
        assert text in str(error.value)


@pytest.mark.parametrize(
    "setting",
    [
        SparseCategoricalCrossentropy(label_smoothing=1.5),
        CategoricalCrossentropy(label_smoothing=-0.1),
        BinaryCrossentropy(label_smoothing=np.nan),
    ],
    ids=str,
)
def test_bad_label_smoothing(setting):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match="label_smoothing"):
        fit_default(X, y, loss=setting)


@pytest.mark.parametrize("pos_weight", [-1.0, np.nan, [1.0, 2.0], [1.0, -1.0, 1.0]], ids=str)
def test_bad_pos_weight(pos_weight):
    X, Y = multilabel_data()
    with pytest.raises(ValueError, match="pos_weight"):
        fit_default(X, Y, loss=BinaryCrossentropy(pos_weight=pos_weight))
