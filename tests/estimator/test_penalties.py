"""What ``l1_ratio``, ``penalty_factor``, ``grouped`` and ``coef_bounds`` mean, and with what."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from small_problems import (
    DENSE_AND_CSR,
    assert_close,
    assert_same_bits,
    assert_same_fit,
    binary_data,
    multiclass_data,
    multilabel_data,
    no_warning,
    positive_weights,
    real_data,
)
from xentlearn import SoftmaxClassifier

DATA = {"binary": binary_data, "classes": multiclass_data, "labels": multilabel_data}
each_data = pytest.mark.parametrize("data", DATA)
each_ratio = pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
each_grouping = pytest.mark.parametrize("grouped", [False, True])
PENALTIES = {
    "l1": {"l1_ratio": 1.0},
    "elastic net": {"l1_ratio": 0.5},
    "factors": {"penalty_factor": [1.0, 2.0, 0.5, 0.1]},
    "grouped": {"l1_ratio": 1.0, "grouped": True},
    "bounds": {"coef_bounds": (-0.3, 0.5)},
}
each_penalty = pytest.mark.parametrize("penalty", PENALTIES)
TIGHT = {"tol": 1e-12}
FACTOR = np.array([0.5, 3.0, 1.0, 0.2])


def fit(X, y, sample_weight=None, **parameters):
    with no_warning():
        return SoftmaxClassifier(**{**TIGHT, **parameters}).fit(X, y, sample_weight)


# --- Two ways to ask for the same -----------------------------------------------------------------


@each_data
@each_grouping
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@DENSE_AND_CSR
def test_factors_are_features_in_other_units(container, l1_ratio, grouped, data):
    """v |w| is |v w|, and v w^2 is (sqrt(v) w)^2."""
    X, y = DATA[data]()
    unit = FACTOR if l1_ratio == 1 else np.sqrt(FACTOR)
    options = {"l1_ratio": l1_ratio, "grouped": grouped, "C": 0.3}
    clf = fit(container(X), y, penalty_factor=FACTOR, **options)
    other = fit(container(X / unit), y, **options)
    assert_close(clf.coef_ * unit, other.coef_)
    assert_close(clf.intercept_, other.intercept_)
    assert clf.objective_ == pytest.approx(other.objective_, rel=1e-11)
    np.testing.assert_array_equal(clf.coef_ == 0, other.coef_ == 0)


@each_data
@each_grouping
def test_a_factor_of_an_elastic_net_is_another_ratio_in_other_units(grouped, data):
    X, y = DATA[data]()
    C, ratio, factor, unit = 0.3, 0.5, 2.0, 3.0
    l1, l2 = factor * ratio * unit / C, factor * (1 - ratio) * unit**2 / C
    clf = fit(X, y, C=C, l1_ratio=ratio, penalty_factor=np.full(4, factor), grouped=grouped)
    other = fit(X * unit, y, C=1 / (l1 + l2), l1_ratio=l1 / (l1 + l2), grouped=grouped)
    assert_close(clf.coef_, other.coef_ * unit)
    assert clf.objective_ == pytest.approx(other.objective_, rel=1e-11)


@each_data
@each_ratio
def test_one_factor_for_all_is_another_C(l1_ratio, data):
    X, y = DATA[data]()
    clf = fit(X, y, C=1.0, l1_ratio=l1_ratio, penalty_factor=np.full(4, 4.0))
    assert_same_fit(clf, fit(X, y, C=0.25, l1_ratio=l1_ratio))
    assert clf.solver_ == "proximal-newton"
    ones = fit(X, y, C=0.25, l1_ratio=l1_ratio, penalty_factor=np.ones(4))
    assert_same_fit(ones, fit(X, y, C=0.25, l1_ratio=l1_ratio))


@each_data
@each_ratio
@each_grouping
@DENSE_AND_CSR
def test_inf_leaves_a_feature_out(container, grouped, l1_ratio, data):
    X, y = DATA[data]()
    options = {"l1_ratio": l1_ratio, "grouped": grouped, "C": 0.5}
    factor = np.array([1.0, np.inf, 2.0, 1.0])
    clf = fit(container(X), y, penalty_factor=factor, **options)
    rest = [0, 2, 3]
    other = fit(container(X[:, rest]), y, penalty_factor=factor[rest], **options)
    assert (clf.coef_[:, 1] == 0).all()
    assert_close(clf.coef_[:, rest], other.coef_)
    assert_close(clf.intercept_, other.intercept_)
    assert clf.objective_ == pytest.approx(other.objective_, rel=1e-11)
    # its numbers do not matter at all
    wild = X.copy()
    wild[:, 1] *= 1e8
    again = fit(container(wild), y, penalty_factor=factor, **options)
    assert_same_fit(again, clf)


@each_data
@each_ratio
def test_0_is_no_penalty(l1_ratio, data):
    X, y = DATA[data]()
    clf = fit(X, y, l1_ratio=l1_ratio, penalty_factor=np.zeros(4))
    other = fit(X, y, C=np.inf)
    assert clf.objective_ == pytest.approx(other.objective_, rel=1e-10)
    centre = len(clf.coef_) > 1 and data == "classes"
    assert_close(clf.coef_ - centre * clf.coef_.mean(axis=0), other.coef_)
    if centre:  # of all minima that of least norm
        np.testing.assert_allclose(clf.coef_.mean(axis=0), 0, atol=1e-10)


@each_data
def test_all_features_left_out(data):
    X, y = DATA[data]()
    clf = fit(X, y, penalty_factor=np.full(4, np.inf))
    assert not clf.coef_.any()
    assert_close(clf.intercept_, fit(X, y, C=1e-9).intercept_)


@each_data
def test_a_very_small_C_leaves_all_out(data):
    X, y = DATA[data]()
    clf = fit(X, y, C=1e-6, l1_ratio=1.0)
    assert not clf.coef_.any()
    assert (fit(X, y, C=1.0, l1_ratio=1.0).coef_ != 0).any()


def test_without_any_penalty():
    X, y = multiclass_data()
    clf = fit(X, y, C=np.inf, l1_ratio=1.0)
    assert clf.objective_ == pytest.approx(fit(X, y, C=np.inf).objective_, rel=1e-10)


@each_data
@each_ratio
@each_grouping
def test_bounds_that_nothing_meets_change_nothing(grouped, l1_ratio, data):
    X, y = DATA[data]()
    options = {"l1_ratio": l1_ratio, "grouped": grouped}
    clf = fit(X, y, coef_bounds=(-1e3, np.full(4, 1e3)), **options)
    assert_same_fit(clf, fit(X, y, **options))
    assert clf.solver_ == "proximal-newton"


@each_data
@each_ratio
@each_grouping
def test_bounds_are_kept(grouped, l1_ratio, data):
    X, y = DATA[data]()
    lower, upper = np.array([-0.1, 0.0, -np.inf, -0.2]), np.array([np.inf, 0.3, 0.05, 0.0])
    options = {"l1_ratio": l1_ratio, "grouped": grouped, "C": 1.0}
    clf = fit(X, y, coef_bounds=(lower, upper), **options)
    assert ((lower <= clf.coef_) & (clf.coef_ <= upper)).all()
    assert ((clf.coef_ == lower) | (clf.coef_ == upper)).any()
    assert clf.objective_ > fit(X, y, **options).objective_ * (1 + 1e-6)
    lists = fit(X, y, coef_bounds=[list(lower), list(upper)], **options)
    assert_same_bits(lists, clf)


@pytest.mark.parametrize("bounds", [(-0.1, 0.1), (-0.3, [0.1, 0.7, 0.1, np.inf])])
def test_float32_coefficients_are_within_bounds_as_given(bounds):
    X, y = multiclass_data()
    clf = SoftmaxClassifier(C=100, coef_bounds=bounds).fit(X.astype(np.float32), y)
    lower, upper = (np.broadcast_to(bound, 4) for bound in bounds)
    coef = clf.coef_.astype(float)
    assert clf.coef_.dtype == np.float32
    assert ((lower <= coef) & (coef <= upper)).all()
    near = np.isclose(coef, lower, rtol=1e-6) | np.isclose(coef, upper, rtol=1e-6)
    assert near.any()


# --- Features without a penalty -------------------------------------------------------------------


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_features_without_a_penalty_that_separate_the_classes(l1_ratio):
    """There is no minimum, as without any penalty."""
    X, y = binary_data()
    X = np.column_stack([X, 2.0 * y - 1.0])
    factor = [*np.ones(X.shape[1] - 1), 0.0]
    clf = SoftmaxClassifier(l1_ratio=l1_ratio, penalty_factor=factor)
    with pytest.warns(ConvergenceWarning, match="separable by features that are not penalised"):
        clf.fit(X, y)
    assert clf.stop_reason_ == "separable"
    with no_warning():
        clf.set_params(coef_bounds=(-5, 5)).fit(X, y)
    assert clf.stop_reason_ in ("estimated", "rounding")
    assert clf.coef_[0, -1] == 5


@pytest.mark.parametrize("C", [1.0, 1e10])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_features_with_a_penalty_that_separate_the_classes(l1_ratio, C, rng):
    """The minimum is near 0, but there is one."""
    x = np.concatenate([rng.normal(-1e6, 10, 100), rng.normal(1e6, 10, 100)])
    X, y = np.column_stack([np.ones(200), x]), x > 0
    clf = SoftmaxClassifier(C=C, l1_ratio=l1_ratio, penalty_factor=[0, 1], fit_intercept=False)
    with no_warning():
        clf.fit(X, y)
    assert 0 < clf.objective_ < 1e-6
    assert clf.stop_reason_ in ("estimated", "rounding")


def test_bounds_that_hold_back_what_separates_the_classes():
    X = np.array([[-1.0], [1.0]])
    clf = SoftmaxClassifier(C=np.inf, coef_bounds=(-50, np.inf))
    with no_warning():
        clf.fit(X, [1, 0])
    assert clf.coef_[0, 0] == -50
    with pytest.warns(ConvergenceWarning, match="separable"):
        clf.fit(X, [0, 1])
    clf.set_params(warm_start=True).coef_[:] = 1e4  # the loss is 0 there
    with pytest.warns(ConvergenceWarning, match="separable"):
        clf.fit(X, [0, 1])


def test_coefficients_beyond_the_steepest_ones():
    """A step changes 200 coefficients at first; an estimate must not rest on these alone."""
    rng = np.random.default_rng(0)
    n = 5000
    large, small = rng.normal(size=(2, n))
    y = small + 0.3 * rng.logistic(size=n) > 0
    X = np.column_stack([large[:, np.newaxis] * (1000 + np.arange(1000)), 1e-3 * small])
    clf = SoftmaxClassifier(penalty_factor=np.append(np.ones(1000), 0.0), tol=1e-3).fit(X, y)
    expected = SoftmaxClassifier(C=np.inf).fit(1e-3 * small[:, np.newaxis], y)
    assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-3)
    assert clf.stop_reason_ == "estimated"
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        clf.set_params(max_iter=2).fit(X, y)


@pytest.mark.parametrize("bound", [5.0, 50.0])
def test_no_penalty_but_bounds(bound):
    """The minimum of separable classes is at the bound."""
    clf = SoftmaxClassifier(C=np.inf, coef_bounds=(-bound, bound))
    with no_warning():
        clf.fit([[-1.0], [1.0]], [0, 1])
    assert clf.stop_reason_ != "separable"
    assert clf.coef_[0, 0] == bound


@each_data
@each_penalty
@DENSE_AND_CSR
def test_integer_weights_are_repeated_rows(container, penalty, data):
    X, y = DATA[data]()
    weight = np.random.default_rng(0).integers(0, 4, len(X))
    weight[:3] = 1
    rows = np.repeat(np.arange(len(X)), weight)
    clf = fit(container(X), y, weight, **PENALTIES[penalty])
    assert_same_fit(clf, fit(container(X[rows]), y[rows], **PENALTIES[penalty]))


@each_penalty
def test_class_weights_are_row_weights(penalty):
    X, y = multiclass_data()
    by_class = np.array([1.0, 2.0, 5.0])
    clf = fit(X, y, class_weight=dict(enumerate(by_class)), **PENALTIES[penalty])
    assert_same_fit(clf, fit(X, y, by_class[y], **PENALTIES[penalty]))


@each_penalty
def test_grouping_of_one_output_is_no_grouping(penalty):
    X, y = binary_data()
    options = {key: value for key, value in PENALTIES[penalty].items() if key != "grouped"}
    assert_same_fit(fit(X, y, **options), fit(X, y, **options, grouped=True))


def test_grouping_without_l1_is_l2():
    X, y = multiclass_data()
    assert_same_fit(fit(X, y, grouped=True), fit(X, y))


@pytest.mark.parametrize("penalty", sorted(set(PENALTIES) - {"grouped"}))
def test_labels_apart_are_labels_together(penalty):
    """Only a group is a matter of all labels."""
    X, Y = multilabel_data()
    clf = fit(X, Y, **PENALTIES[penalty])
    for k in range(Y.shape[1]):
        one = fit(X, Y[:, k], **PENALTIES[penalty])
        assert_close(clf.coef_[k], one.coef_[0])


def test_a_constant_feature_is_out():
    X, y = multiclass_data()
    X = np.column_stack([X, np.full(len(X), 3.0)])
    clf = fit(X, y, l1_ratio=1.0)
    assert (clf.coef_[:, -1] == 0).all()
    assert_close(clf.coef_[:, :-1], fit(X[:, :-1], y, l1_ratio=1.0).coef_)


# --- Warm starts, early stopping ------------------------------------------------------------------


@each_penalty
def test_warm_start(penalty):
    X, y = real_data("digits", True)
    clf = SoftmaxClassifier(**PENALTIES[penalty] if penalty != "factors" else {"l1_ratio": 0.2})
    clf.set_params(warm_start=True, C=0.05)
    cold = clone(clf).set_params(C=0.1).fit(X, y)
    clf.fit(X, y)
    first = clf.n_iter_[0]
    clf.fit(X, y)
    assert clf.n_iter_[0] <= min(3, first)
    clf.set_params(C=0.1).fit(X, y)
    assert clf.optimality_gap_ <= clf.tol
    assert clf.objective_ == pytest.approx(cold.objective_, rel=1e-4)


def test_warm_start_from_outside_of_the_bounds():
    X, y = multiclass_data()
    clf = SoftmaxClassifier(warm_start=True, tol=1e-12).fit(X, y)
    assert clf.coef_.min() < -0.2
    clf.set_params(coef_bounds=(-0.2, 0.2), penalty_factor=[1, np.inf, 1, 1]).fit(X, y)
    cold = clone(clf).fit(X, y)
    assert_same_fit(clf, cold)


@each_penalty
def test_early_stopping(penalty):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4))
    y = (X[:, :3] + 2 * rng.gumbel(size=(400, 3))).argmax(axis=1)
    clf = SoftmaxClassifier(**PENALTIES[penalty], early_stopping=True, random_state=0, C=100.0)
    clf.fit(X, y)
    assert len(clf.history_["validation_loss"]) == len(clf.history_["objective"])
    clf.fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    judged = clf.history_["validation_loss"]
    loss = -clf.predict_log_proba(X[300:])[np.arange(100), y[300:]].mean()
    assert loss == pytest.approx(judged.min(), rel=1e-9)


# --- In scikit-learn ------------------------------------------------------------------------------


@each_penalty
def test_clone_pickle_and_parameters(penalty):
    X, y = multiclass_data()
    clf = SoftmaxClassifier(**PENALTIES[penalty])
    copy = clone(clf)
    for name, value in PENALTIES[penalty].items():
        np.testing.assert_equal(copy.get_params()[name], value)
    assert next(iter(PENALTIES[penalty])) in repr(clf)
    clf.fit(X, y)
    again = pickle.loads(pickle.dumps(clf))
    assert_same_bits(again, clf)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))


def test_parameters_are_left_as_they_are():
    X, y = multiclass_data()
    factor, lower = np.array([1.0, np.inf, 0.5, 0.0]), np.full(4, -0.1)
    bounds = (lower, 1)
    clf = SoftmaxClassifier(l1_ratio=0.5, penalty_factor=factor, coef_bounds=bounds).fit(X, y)
    assert clf.penalty_factor is factor
    assert clf.coef_bounds is bounds
    np.testing.assert_array_equal(factor, [1.0, np.inf, 0.5, 0.0])
    np.testing.assert_array_equal(lower, -0.1)


def test_grid_search():
    X, y = real_data("wine", True)
    grid = {"l1_ratio": [0.0, 0.5, 1.0], "C": [0.1, 1.0], "grouped": [False, True]}
    search = GridSearchCV(SoftmaxClassifier(), grid, cv=3, scoring="neg_log_loss").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert len(set(scores.round(6))) >= 10  # l1_ratio=0 does not ask for groups
    assert search.best_score_ > -0.2


def test_search_over_factors_and_bounds():
    X, y = multiclass_data()
    grid = {"penalty_factor": [None, [1, 1, np.inf, 1]], "coef_bounds": [None, (0, np.inf)]}
    search = GridSearchCV(SoftmaxClassifier(), grid, cv=3).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_rfe():
    X, y = real_data("wine", True)
    rfe = RFE(SoftmaxClassifier(l1_ratio=0.5, C=0.1), n_features_to_select=5).fit(X, y)
    assert rfe.support_.sum() == 5
    assert rfe.score(X, y) > 0.9


@each_grouping
def test_select_from_model(grouped):
    X, y = real_data("breast_cancer" if not grouped else "wine", True)
    model = SoftmaxClassifier(l1_ratio=1.0, C=0.05, grouped=grouped)
    selector = SelectFromModel(model, threshold=1e-10).fit(X, y)
    used = (selector.estimator_.coef_ != 0).any(axis=0)
    np.testing.assert_array_equal(selector.get_support(), used)
    assert 0 < used.sum() < X.shape[1]
    pipeline = make_pipeline(StandardScaler(), selector, SoftmaxClassifier()).fit(X, y)
    assert pipeline.score(X, y) > 0.9


def test_default_threshold_of_select_from_model():
    """scikit-learn knows L1 models by name; the docstring says what ours gets, and what to pass."""
    X, y = real_data("wine", False)
    selector = SelectFromModel(SoftmaxClassifier(l1_ratio=1.0)).fit(X, y)
    importances = np.abs(selector.estimator_.coef_).sum(axis=0)
    assert selector.threshold_ == pytest.approx(importances.mean())
    assert 0 < selector.get_support().sum() < np.count_nonzero(importances)
    selector = SelectFromModel(selector.estimator, threshold=np.finfo(float).tiny).fit(X, y)
    np.testing.assert_array_equal(selector.get_support(), importances > 0)


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"penalty_factor": [1.0, 1.0]}, r"'penalty_factor' must .*4.*got .*2"),
        ({"penalty_factor": 2}, r"'penalty_factor' must .*4.*got 2; .*lower 'C'"),
        ({"penalty_factor": np.ones((4, 1))}, r"'penalty_factor' must .*4.*got .*\(4, 1\)"),
        ({"penalty_factor": [1.0, -0.5, 1.0, 1.0]}, r"'penalty_factor' must .*>= 0.*got .*-0\.5"),
        ({"penalty_factor": [1.0, np.nan, 1.0, 1.0]}, r"'penalty_factor' must .*got .*nan"),
        ({"penalty_factor": ["a", "b", "c", "d"]}, r"'penalty_factor' must .*got "),
        ({"coef_bounds": (0.1, 1.0)}, r"'coef_bounds' must .*got .*0\.1"),
        ({"coef_bounds": (-1.0, -0.5)}, r"'coef_bounds' must .*got .*-0\.5"),
        ({"coef_bounds": (1.0, -1.0)}, r"'coef_bounds' must .*got "),
        ({"coef_bounds": (0.0, [1.0, 1.0, -2.0, 1.0])}, r"'coef_bounds' must .*got .*-2"),
        ({"coef_bounds": ([0.0, 0.0], np.inf)}, r"'coef_bounds' must .*4.*got .*2"),
        ({"coef_bounds": (np.nan, 1.0)}, r"'coef_bounds' must .*got .*nan"),
        ({"coef_bounds": (0, None)}, r"'coef_bounds' must .*got \(0, None\).*inf for no bound"),
        ({"coef_bounds": 1.0}, r"'coef_bounds' must .*pair.*got 1\.0"),
        ({"coef_bounds": (0.0, 1.0, 2.0)}, r"'coef_bounds' must .*pair.*got "),
        ({"l1_ratio": 1.5}, r"'l1_ratio' must .*\[0, 1\].*got 1\.5"),
        ({"l1_ratio": -0.1}, r"'l1_ratio' must .*\[0, 1\].*got -0\.1"),
        ({"l1_ratio": np.nan}, r"'l1_ratio' must .*got nan"),
        ({"grouped": "yes"}, r"'grouped' must .*got 'yes'"),
    ],
)
@DENSE_AND_CSR
def test_bad_parameters(container, parameters, words):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match=f"(?s){words}"):
        SoftmaxClassifier(**parameters).fit(container(X), y)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd"])
@each_penalty
def test_other_solvers_refuse(penalty, solver):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match=solver):
        SoftmaxClassifier(**PENALTIES[penalty], solver=solver).fit(X, y)


@each_penalty
@pytest.mark.parametrize("solver", ["auto", "adam"])
def test_partial_fit_refuses(penalty, solver):
    X, y = multiclass_data()
    clf = SoftmaxClassifier(**PENALTIES[penalty], solver=solver)
    assert not hasattr(clf, "partial_fit")
    with pytest.raises(AttributeError) as raised:
        clf.partial_fit(X, y, classes=[0, 1, 2])
    assert next(iter(PENALTIES[penalty])) in str(raised.value.__cause__)


def test_other_solvers_take_the_plain_penalty():
    """What these parameters say by default, said aloud, is L2."""
    X, y = multiclass_data()
    clf = SoftmaxClassifier(
        l1_ratio=0, penalty_factor=None, coef_bounds=None, grouped=True, solver="lbfgs"
    ).fit(X, y)
    assert clf.solver_ == "lbfgs"


@each_penalty
def test_sparse_and_dense_are_one_fit(penalty):
    X, y = multiclass_data()
    X = np.where(np.abs(X) > 0.5, X, 0)
    weight = positive_weights(len(X))
    dense = fit(X, y, weight, **PENALTIES[penalty])
    assert_same_fit(fit(sparse.csr_matrix(X), y, weight, **PENALTIES[penalty]), dense)
