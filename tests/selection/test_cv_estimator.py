"""SoftmaxClassifierCV as an estimator: scikit-learn's checks, choices, state, callbacks, errors."""

import copy
import pickle
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from sklearn import config_context
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold, cross_val_score
from sklearn.utils.estimator_checks import estimator_checks_generator

import xentlearn
from small_problems import assert_same_bits, ignoring, multiclass_data, no_warning
from xentlearn import SoftmaxClassifier, SoftmaxClassifierCV, l1_min_C
from xentlearn._selection.choice import choose, standard_errors
from xentlearn.losses import CategoricalFocalCrossentropy, SparseCategoricalCrossentropy
from xentlearn.solvers import Adam

PACKAGE = str(Path(xentlearn.__file__).parent)
pytestmark = pytest.mark.filterwarnings("ignore:The best C")

X, y = multiclass_data()
CS = [0.01, 0.1, 1.0]


def fitted(X=X, y=y, **params):
    return SoftmaxClassifierCV(**{"Cs": CS, "cv": 3, **params}).fit(X, y)


# --- scikit-learn's checks ------------------------------------------------------------------------


# scikit-learn gives its own classes of this kind cv=3, too: rows of some checks are few.
SETTINGS = [
    {"cv": 3, "Cs": 3},
    {"cv": 3, "Cs": [0.1, 1.0], "loss": "binary_crossentropy", "scoring": "accuracy"},
    {"cv": 3, "Cs": [0.1], "losses": ["sparse_categorical_crossentropy"], "l1_ratios": [0.0, 1.0]},
]


def every_check():
    for setting in SETTINGS:
        for estimator, check in estimator_checks_generator(SoftmaxClassifierCV(**setting)):
            function = getattr(check, "func", check)
            keywords = [f"{key}={value}" for key, value in getattr(check, "keywords", {}).items()]
            name = "-".join([str(len(setting)), function.__name__, *keywords])
            yield pytest.param(estimator, check, id=name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), list(every_check()))
def test_sklearn_check(estimator, check):
    check(estimator)


def test_tags():
    assert is_classifier(SoftmaxClassifierCV())
    for losses, multilabel in [(None, True), (["auto"], True), (["binary_crossentropy"], True)]:
        tags = SoftmaxClassifierCV(losses=losses).__sklearn_tags__()
        assert tags.classifier_tags.multi_label is multilabel
    losses = ["auto", "sparse_categorical_crossentropy"]
    assert not SoftmaxClassifierCV(losses=losses).__sklearn_tags__().classifier_tags.multi_label
    assert not SoftmaxClassifierCV("wrong").__sklearn_tags__().classifier_tags.multi_label


# --- The choice -----------------------------------------------------------------------------------


def chosen_by_hand(scores, Cs, select):
    """Index (loss, l1_ratio, C) by loops, as the docstrings say."""
    n_folds, *shape = scores.shape
    best, at = -np.inf, None
    for index in np.ndindex(*shape):
        mean = sum(scores[(i, *index)] for i in range(n_folds)) / n_folds
        tied = mean == best and index[:2] == at[:2] and Cs[index[2]] < Cs[at[2]]
        if mean > best or tied:
            best, at = mean, index
    if select == "best":
        return at
    of_best = [scores[(i, *at)] for i in range(n_folds)]
    error = (sum((s - best) ** 2 for s in of_best) / (n_folds - 1) / n_folds) ** 0.5
    means = [
        sum(scores[(i, *at[:2], c)] for i in range(n_folds)) / n_folds for c in range(shape[2])
    ]
    good = [c for c in range(shape[2]) if means[c] >= best - error]
    return (*at[:2], min(good, key=lambda c: Cs[c]))


@pytest.mark.parametrize("select", ["best", "1se"])
def test_choice(select, rng):
    for _ in range(200):
        shape = 4, rng.integers(1, 3), rng.integers(1, 3), rng.integers(1, 6)
        scores = rng.integers(0, 4, size=shape) / 4 + 0.0  # sums are exact, and many are equal
        Cs = rng.permutation(np.geomspace(0.01, 100, shape[-1]))
        found = choose(scores.mean(axis=0), standard_errors(scores), Cs, select)
        assert found == chosen_by_hand(scores, Cs, select)


@pytest.mark.parametrize("select", ["best", "1se"])
def test_chosen_attributes(select):
    losses = ["auto", SparseCategoricalCrossentropy(label_smoothing=0.1)]
    clf = fitted(losses=losses, l1_ratios=[0.0, 0.9], select=select, Cs=[1.0, 0.01, 100.0, 0.1])
    loss, l1, c = chosen_by_hand(clf.scores_, clf.Cs_, select)
    assert (clf.C_, clf.l1_ratio_) == ([1.0, 0.01, 100.0, 0.1][c], [0.0, 0.9][l1])
    one = SoftmaxClassifier(losses[loss], C=clf.C_, l1_ratio=clf.l1_ratio_).fit(X, y)
    assert clf.loss_ == one.loss_
    assert type(clf.C_) is type(clf.l1_ratio_) is float
    np.testing.assert_allclose(clf.coef_, one.coef_, atol=1e-4)
    assert clf.optimality_gap_ <= clf.tol
    assert clf.solver_ == one.solver_


def test_the_order_of_Cs_does_not_matter():
    one, other = fitted(Cs=[0.01, 0.1, 1.0]), fitted(Cs=[1.0, 0.01, 0.1])
    np.testing.assert_array_equal(one.scores_, other.scores_[..., [1, 2, 0]])
    assert one.C_ == other.C_
    np.testing.assert_array_equal(one.coef_, other.coef_)


@pytest.mark.parametrize("flip", [False, True])
def test_warning_at_the_edge(flip):
    Cs = [1e-5, 1e-4, 1e-3]
    with pytest.warns(UserWarning, match=r"largest .* Cs=np.geomspace\(1e-05, 0.1, 7\)"):
        fitted(Cs=Cs[::-1] if flip else Cs)
    rng = np.random.default_rng(0)
    with pytest.warns(UserWarning, match=r"smallest .* Cs=np.geomspace\(0.01, 100, 7\)"):
        fitted(X=rng.normal(size=(60, 3)), y=np.arange(60) % 3, Cs=[1.0, np.inf, 100.0])


def test_no_warning_where_the_edge_means_nothing():
    with no_warning():
        fitted(Cs=[1.0])
        fitted(Cs=[1e-5, np.inf])  # nothing is beyond
        fitted(Cs=[1e-3, 1.0, 1e3], scoring=lambda clf, X, y: -abs(np.log(clf.C)))
        fitted(Cs=[1e-12, 1e-11, 1e-10], scoring="accuracy")  # all are the same


def test_no_penalty_among_the_values():
    clf = fitted(Cs=[np.inf, 1e-5], store_paths=True)
    assert clf.C_ == np.inf
    train, _ = next(StratifiedKFold(3).split(X, y))
    alone = SoftmaxClassifier(C=np.inf).fit(X[train], y[train])
    np.testing.assert_allclose(clf.coefs_paths_[0, 0, 0, 0, :, :-1], alone.coef_, rtol=1e-3)


def test_separable_rows_without_a_penalty():
    with pytest.warns(ConvergenceWarning, match="of 8 fits .* fold 1 at C=inf: .*separable"):
        fitted(*load_wine(return_X_y=True), Cs=[1.0, np.inf], cv=4)


@pytest.mark.parametrize("l1_ratios", [(0.0,), (0.5, 1.0)])
def test_automatic_Cs(l1_ratios):
    clf = fitted(Cs=7, l1_ratios=l1_ratios)
    assert clf.Cs_.shape == (7,)
    np.testing.assert_allclose(np.diff(np.log(clf.Cs_)), np.log(clf.Cs_[1] / clf.Cs_[0]))
    first = [SoftmaxClassifier(C=clf.Cs_[0], l1_ratio=r).fit(X, y) for r in l1_ratios]
    shares = np.bincount(y) / len(y)
    entropy = -(shares * np.log(shares)).sum()
    for one, l1_ratio in zip(first, l1_ratios, strict=True):
        if l1_ratio:
            assert not one.coef_.any()
        else:
            assert 0 < 1 - one.objective_ / entropy < 0.011
    losses = []
    for C in (clf.Cs_[-1], 10 * clf.Cs_[-1]):
        proba = SoftmaxClassifier(C=C).fit(X, y).predict_proba(X)
        losses.append(-np.log(proba[np.arange(len(y)), y]).mean())
    assert losses[0] - losses[1] < 0.011 * entropy
    one = fitted(Cs=1, l1_ratios=l1_ratios)
    assert clf.Cs_[0] < one.Cs_[0] < clf.Cs_[-1]


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.parametrize(("of_weight", "of_X"), [(990, 0), (-990, 0), (0, 300), (-600, 300)])
def test_automatic_Cs_in_units_of_any_size(of_weight, of_X, l1_ratio):
    """C is in units of one over those of the weights and of X, with an L2 penalty of X squared."""
    expected = fitted(Cs=4, l1_ratios=(l1_ratio,)).Cs_
    weight, squared = np.full(len(y), 2.0**of_weight), l1_ratio == 0
    clf = SoftmaxClassifierCV(cv=3, Cs=4, l1_ratios=(l1_ratio,))
    clf.fit(X * 2.0**of_X, y, sample_weight=weight)
    Cs = np.ldexp(clf.Cs_, of_weight + of_X * (2 if squared else 1))
    np.testing.assert_allclose(Cs, expected, rtol=1e-6)


def classes_by_one_feature(n=500):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 5))
    return X, (X[:, 0] + 0.3 * rng.logistic(size=n) > 0).astype(int)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.5, 1.0])
def test_automatic_Cs_beside_features_with_large_values(l1_ratio):
    X, y = classes_by_one_feature()
    options = {"Cs": 7, "l1_ratios": (l1_ratio,)}
    expected = fitted(X, y, **options)
    large = 1e6 * np.random.default_rng(1).normal(size=len(y))
    clf = fitted(np.column_stack([large, X]), y, **options)
    assert clf.scores_.mean(axis=0).max() > expected.scores_.mean(axis=0).max() - 0.01
    assert clf.Cs_[-1] / clf.Cs_[0] < 1000 * expected.Cs_[-1] / expected.Cs_[0]
    factor = np.append(np.inf, np.ones(5))
    left_out = fitted(np.column_stack([large, X]), y, penalty_factor=factor, **options)
    np.testing.assert_allclose(left_out.Cs_, expected.Cs_, rtol=1e-6)


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_automatic_Cs_and_factors(l1_ratio):
    """A penalty of X in other units, and the same with factors."""
    X, y = classes_by_one_feature()
    unit = np.array([1e3, 1e-4, 10.0, 1e-2, 1e5])
    factor = unit if l1_ratio else unit**2
    expected = fitted(X, y, Cs=5, l1_ratios=(l1_ratio,))
    clf = fitted(X * unit, y, Cs=5, l1_ratios=(l1_ratio,), penalty_factor=factor)
    np.testing.assert_allclose(clf.Cs_, expected.Cs_, rtol=1e-6)
    np.testing.assert_allclose(clf.scores_, expected.scores_, rtol=1e-3)


def test_automatic_Cs_beside_a_feature_without_a_penalty():
    X, y = classes_by_one_feature()
    X = np.column_stack([X[:, 0], 1000 * X[:, 0], X])
    factor = np.append(0.0, np.ones(6))
    clf = fitted(X, y, Cs=5, l1_ratios=(1.0,), penalty_factor=factor)
    assert clf.Cs_[0] == pytest.approx(l1_min_C(X, y, penalty_factor=factor), rel=1e-6)


def test_automatic_Cs_of_an_elastic_net_and_tiny_values():
    X, y = classes_by_one_feature()
    clf, tiny = (fitted(unit * X, y, Cs=7, l1_ratios=(0.5,)) for unit in (1.0, 1e-6))
    assert tiny.scores_.mean(axis=0).max() > clf.scores_.mean(axis=0).max() - 0.01


@pytest.mark.parametrize(
    "parameters",
    [{}, {"l1_ratios": (1.0,)}, {"l1_ratios": (0.5,)}, {"coef_bounds": (0, np.inf)}],
    ids=str,
)
@pytest.mark.parametrize("extra", ["nothing", "constant", "twin"])
def test_automatic_Cs_where_little_can_be_learnt(extra, parameters):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 6))
    y = X[:, 0] + 10 * rng.logistic(size=5000) > 0
    if extra != "nothing":
        X = np.column_stack([X, np.ones(5000) if extra == "constant" else X[:, 0]])
    clf = fitted(X, y, Cs=5, **parameters)
    assert clf.Cs_[-1] / clf.Cs_[0] < 1e4


def test_automatic_Cs_where_nothing_can_be_learnt():
    clf = fitted(X=np.ones((30, 2)), y=np.arange(30) % 3, Cs=4)
    assert np.isfinite(clf.Cs_).all()
    assert not clf.coef_.any()


# --- State ----------------------------------------------------------------------------------------


def attributes(clf):
    return {name for name in vars(clf) if name.endswith("_") and not name.startswith("_")}


def test_documented_attributes_are_those_of_a_fit():
    pd = pytest.importorskip("pandas")
    clf = fitted(pd.DataFrame(X, columns=list("abcd")), store_paths=True, store_probabilities=True)
    section = SoftmaxClassifierCV.__doc__.split("Attributes\n")[1].split("Raises\n")[0]
    documented = re.findall(r"^    (\w+_) : ", section, re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == attributes(clf)
    assert clf.coefs_paths_.shape == (3, 1, 1, 3, 3, 5)
    assert clf.out_of_fold_proba_.shape == (150, 3)
    assert list(clf.feature_names_in_) == list("abcd")


@pytest.mark.parametrize(
    ("later", "left"),
    [
        ({}, {"coef_", "C_"}),
        ({"refit": False}, {"C_", "l1_ratio_", "loss_"}),
        ({"scoring": ["accuracy", "neg_log_loss"], "refit": False}, set()),
    ],
)
def test_attributes_of_an_earlier_fit_are_gone(later, left):
    clf = fitted(store_paths=True, store_probabilities=True)
    clf.set_params(store_paths=False, store_probabilities=False, **later).fit(X[:, :2], y)
    gone = {"coefs_paths_", "out_of_fold_proba_"}
    assert not gone & attributes(clf)
    assert attributes(clf) == attributes(SoftmaxClassifierCV(**clf.get_params()).fit(X[:, :2], y))
    assert left <= attributes(clf)
    assert clf.n_features_in_ == 2
    if later:
        with pytest.raises(NotFittedError, match="refit=True"):
            clf.predict(X[:, :2])


def test_a_fit_that_fails_changes_nothing():
    clf = fitted()
    before = dict(vars(clf))
    for bad, words in ((X[:-1], "rows|samples"), (np.full_like(X, np.nan), "NaN")):
        with pytest.raises(ValueError, match=words):
            clf.fit(bad, y)
    assert vars(clf) == before


def failing_scorer(clf, X, y):
    raise RuntimeError("no score")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"penalty_factor": [1.0]}, "'penalty_factor'"),
        ({"solver": "lbfgs", "l1_ratios": [0.0, 0.5]}, "'solver' must be 'auto'"),
        ({"scoring": failing_scorer}, "no score"),
        (
            {
                "scoring": lambda clf, X, y: {"a": 0.5, "b": 1.0},
                "refit": False,
                "store_probabilities": True,
            },
            "'store_probabilities' needs a choice",
        ),
    ],
)
def test_a_search_that_fails_at_its_beginning_changes_nothing(parameters, words):
    clf = fitted().set_params(**parameters)
    before = dict(vars(clf))
    with pytest.raises((ValueError, RuntimeError), match=words):
        clf.fit(X[:, :2], y)
    assert vars(clf) == before


def test_losses_that_take_y_in_different_ways():
    Y = np.eye(3)[y]
    with pytest.raises(ValueError, match="All 'losses' must take y in the same way"):
        fitted(y=Y, losses=["categorical_crossentropy", "binary_crossentropy"])


@pytest.mark.parametrize("kind", ["labels", "multilabel"])
def test_a_fold_without_weight_in_training(kind):
    weight = np.where(np.arange(len(X)) < 50, 1.0, 0.0)
    folds = [(np.arange(50), np.arange(50)), (np.arange(50, len(X)), np.arange(50))]
    Y = y if kind == "labels" else np.eye(3)[y]
    clf = SoftmaxClassifierCV("auto" if kind == "labels" else "binary_crossentropy", cv=folds)
    with pytest.raises(ValueError, match="those of fold 2 have none"):
        clf.fit(X, Y, weight)


def test_a_warm_start_of_losses_of_several_sizes():
    two = (y == 1).astype(int)
    losses = ["binary_crossentropy", "sparse_categorical_crossentropy"]
    first = fitted(y=two, losses=losses, tol=1e-8)
    again = fitted(y=two, losses=losses, tol=1e-8, warm_start=True).fit(X, two)
    np.testing.assert_allclose(again.scores_, first.scores_, rtol=1e-4)


def test_the_values_of_C_do_not_depend_on_tol():
    np.testing.assert_array_equal(fitted(Cs=4, tol=1e-8).Cs_, fitted(Cs=4, tol=1e-2).Cs_)


def test_a_backend_without_generators():
    with parallel_config("multiprocessing"):
        found = fitted(n_jobs=2).scores_
    np.testing.assert_array_equal(found, fitted().scores_)


def test_params_clone_and_pickle():
    clf = SoftmaxClassifierCV(CategoricalFocalCrossentropy(gamma=1.0), Cs=CS, cv=KFold(3))
    clf.set_params(loss__gamma=0.5, solver=Adam(), select="1se")
    clf.set_params(solver__learning_rate=0.1)
    other = clone(clf)
    assert other.loss.gamma == 0.5
    assert other.solver.learning_rate == 0.1
    assert other.get_params()["loss__gamma"] == 0.5
    with pytest.raises(ValueError, match="needs a loss setting"):
        SoftmaxClassifierCV().set_params(loss__gamma=1.0)
    with pytest.raises(ValueError, match="'C_'"):
        clf.set_params(C=1.0)
    clf = fitted(store_paths=True)
    again = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.coefs_paths_, clf.coefs_paths_)
    assert clone(again).get_params() == clf.get_params()


def test_frames_and_names():
    pd = pytest.importorskip("pandas")
    names = np.array(["c", "a", "b"])[y]
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(len(X))[::-1])
    for params in ({}, {"scoring": "accuracy"}, {"store_probabilities": True}):
        plain = fitted(X, names, **params)
        clf = fitted(frame, pd.Series(names, index=frame.index), **params)
        np.testing.assert_array_equal(clf.scores_, plain.scores_)
        assert_same_bits(clf, plain)
        assert list(clf.predict(frame)) == list(plain.predict(X))
        assert list(clf.classes_) == ["a", "b", "c"]
    lists = fitted(X.tolist(), names.tolist(), scoring="accuracy", store_probabilities=True)
    assert lists.C_ == fitted(X, names, scoring="accuracy").C_


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"scoring": "accuracy", "l1_ratios": [0.0, 1.0], "store_paths": True},
        {"solver": "adam", "max_iter": 3, "random_state": np.random.RandomState(0)},
        {"early_stopping": True, "random_state": 0},
    ],
    ids=["default", "scorer", "adam", "early stopping"],
)
def test_processes_and_threads_give_the_same_bits(params):
    def fit(**more):  # a copy, as a fit changes a RandomState
        return clone(SoftmaxClassifierCV(Cs=CS, cv=3, **params, **more)).fit(X, y)

    alone = fit()
    for others in (fit(n_jobs=2), _in_threads(fit)):
        np.testing.assert_array_equal(others.scores_, alone.scores_)
        assert_same_bits(others, alone)
        if "store_paths" in params:
            np.testing.assert_array_equal(others.coefs_paths_, alone.coefs_paths_)


def _in_threads(fit):
    with parallel_config("threading", n_jobs=2):
        return fit(n_jobs=2)


def test_nested():
    scores = cross_val_score(SoftmaxClassifierCV(Cs=CS, cv=3), *load_iris(return_X_y=True), cv=3)
    assert (scores > 0.9).all()


# --- Solvers whose results depend on where they begin ---------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"solver": "adam", "max_iter": 4, "random_state": 3},
        {"solver": "sgd", "max_iter": 4, "random_state": 3},
        {"early_stopping": True, "random_state": 3},
        {"loss": "generalized_crossentropy"},
    ],
    ids=["adam", "sgd", "early stopping", "not convex"],
)
def test_fits_that_depend_on_their_start_are_those_of_single_fits(params):
    folds = list(StratifiedKFold(2).split(X, y))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        clf = fitted(cv=folds, store_paths=True, Cs=[0.1, 1.0, 0.01], **params)
    for i, (train, _) in enumerate(folds):
        for j, C in enumerate(clf.Cs_):
            alone = SoftmaxClassifier(C=C, **params).fit(X[train], y[train])
            found = clf.coefs_paths_[i, 0, 0, j]
            np.testing.assert_array_equal(found[:, :-1], alone.coef_)


def test_random_state():
    params = {"solver": "adam", "max_iter": 3}
    one, other = (fitted(random_state=np.random.RandomState(1), **params) for _ in range(2))
    np.testing.assert_array_equal(one.coef_, other.coef_)
    assert (fitted(random_state=2, **params).coef_ != one.coef_).any()


def test_warm_start():
    clf = SoftmaxClassifierCV(Cs=CS, warm_start=True, max_iter=1, tol=1e-3)
    with ignoring(ConvergenceWarning):
        first = clf.fit(X, y).objective_
        for _ in range(3):
            clf.fit(X, y)
    assert clf.objective_ <= first


def test_fits_that_have_not_converged_are_one_warning():
    with pytest.warns(ConvergenceWarning) as record:
        fitted(max_iter=1, solver="lbfgs", tol=1e-9)
    texts = [str(w.message) for w in record if w.category is ConvergenceWarning]
    of_folds = r"\d of 9 fits stopped before tol=1e-09 was reached, .* of fold \d at C="
    assert sum(bool(re.match(of_folds, text)) for text in texts) == 1
    assert any(text.startswith("lbfgs stopped after 1 iterations") for text in texts)


# --- Interrupts, callbacks, verbose ---------------------------------------------------------------


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("at", [0, 4])
def test_interrupt(at, refit):
    calls = []

    def scoring(clf, X, y):
        calls.append(clf.C)
        if len(calls) == at + 1:
            raise KeyboardInterrupt
        return float(len(calls))

    clf = fitted(store_probabilities=True)
    clf.set_params(scoring=scoring, store_paths=True, refit=refit)
    before = dict(vars(clf))
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X[:, :2], y)
    if at == 0:  # nothing was found
        assert vars(clf) == before
        return
    done = [*range(1, at + 1), *[np.nan] * (9 - at)]
    np.testing.assert_array_equal(clf.scores_.ravel(), done)
    known = {"Cs_", "l1_ratios_", "losses_", "scores_", "standard_errors_", "n_features_in_"}
    assert attributes(clf) == known | {"coefs_paths_"}
    assert np.isfinite(clf.coefs_paths_).all(axis=(-1, -2)).sum() == at
    with pytest.raises(NotFittedError, match="interrupted"):
        clf.predict(X[:, :2])


class At:
    """Raises KeyboardInterrupt at a line of the package that a fit runs; None: counts lines."""

    def __init__(self, line=None):
        self.line, self.n_lines = line, 0

    def __call__(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.n_lines += 1
            if self.n_lines == self.line:
                raise KeyboardInterrupt
        return self

    def fit(self, clf, X, y):
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return clf.fit(X, y)
        except KeyboardInterrupt:
            return clf
        finally:
            sys.settrace(before)


def test_interrupted_anywhere():
    """All is as it was, or nothing of an earlier fit is left."""
    params = {"Cs": CS, "cv": 2, "store_paths": True, "store_probabilities": True}
    counter = At()
    whole = counter.fit(SoftmaxClassifierCV(**params), X[:, 1:], y)
    earlier = SoftmaxClassifierCV(**params).fit(X, y)
    kept = set()
    for line in np.linspace(1, counter.n_lines, 40).astype(int):
        clf = copy.copy(earlier)
        At(line).fit(clf, X[:, 1:], y)
        if vars(clf).keys() == vars(earlier).keys() and clf.scores_ is earlier.scores_:
            assert all(vars(clf)[name] is value for name, value in vars(earlier).items())
            kept.add("all")
            continue
        assert attributes(clf) <= attributes(whole)
        for name in attributes(clf) - {"n_features_in_", "classes_"}:
            assert getattr(clf, name) is not getattr(earlier, name)
        if "coef_" in attributes(clf):
            np.testing.assert_array_equal(clf.coef_, whole.coef_)
        elif "scores_" in attributes(clf):
            done = np.isfinite(clf.scores_)
            np.testing.assert_array_equal(clf.scores_[done], whole.scores_[done])
            kept.add(int(done.sum()))
    assert kept >= {"all", 1, 4, 6}


def test_interrupt_before_the_search(monkeypatch):
    clf = fitted()
    before = dict(vars(clf))

    class Splitter(KFold):
        def split(self, X, y=None, groups=None):
            raise KeyboardInterrupt

    clf.cv = before["cv"] = Splitter()
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X[:, :2], y)
    assert vars(clf) == before


def test_verbose(capsys):
    fitted(verbose=1, l1_ratios=[0.0, 0.5])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 * 6 + 1
    number = r"\d+\.\d+"
    assert re.fullmatch(
        rf"fit 1 of 19: fold 1, l1_ratio=0, C=0.01, score -{number}   {number} s, about \d+ s left",
        lines[0],
    )
    assert re.fullmatch(rf"fit 19 of 19: all rows, C=.*   {number} s, about 0 s left", lines[-1])
    with parallel_config("threading"):
        fitted(verbose=1, scoring=["accuracy", "neg_log_loss"], refit="accuracy", n_jobs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert "accuracy 0." in lines[0]


class Recorder:
    def __init__(self, stop_at=None):
        self.stop_at, self.events = stop_at, []

    def setup(self, estimator, context):
        self.most = context.max_subtasks

    def on_fit_task_begin(self, estimator, context, *, X, y):
        assert len(X) == len(y) == 150

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.events.append((context.parent is None, context.task_id, fitted_estimator is not None))
        return context.parent is not None and context.task_id == self.stop_at

    def teardown(self, estimator, context):
        self.events.append("teardown")


@pytest.fixture
def callback():
    return pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")


def test_callbacks_see_each_fit(callback):
    recorder = Recorder()
    clf = SoftmaxClassifierCV(Cs=CS, cv=3).set_callbacks(recorder).fit(X, y)
    assert recorder.most == 10
    assert recorder.events == [
        *[(False, i, False) for i in range(10)],
        (True, 0, True),
        "teardown",
    ]
    assert_same_bits(clf, fitted())


@pytest.mark.parametrize("stop_at", [0, 4])
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_callback_ends_the_search(callback, stop_at, n_jobs):
    """What was fitted in most folds is chosen from, and fitted to all rows."""
    recorder = Recorder(stop_at)
    clf = SoftmaxClassifierCV(Cs=CS, cv=3, n_jobs=n_jobs).set_callbacks(recorder)
    with parallel_config("threading"), ignoring(UserWarning):  # joblib's, of tasks that are ended
        clf.fit(X, y)
    assert np.isfinite(clf.scores_).sum() == stop_at + 1
    assert clf.C_ == (0.01 if stop_at == 0 else 0.1)
    assert clf.predict(X).shape == y.shape


def test_callbacks_of_scikit_learn(callback, capfd):
    pytest.importorskip("rich")
    bar = callback.ProgressBar()
    fitted_clf = SoftmaxClassifierCV(Cs=CS, cv=3).set_callbacks(bar).fit(X, y)
    assert "SoftmaxClassifierCV - fit" in capfd.readouterr().out
    monitor = callback.ScoringMonitor(scoring="accuracy")
    clf = SoftmaxClassifierCV(Cs=CS, cv=3).set_callbacks(monitor).fit(X, y)
    logs = monitor.get_logs().data_as_pandas
    assert len(logs) == 1
    assert logs["accuracy" if "accuracy" in logs else "score"].iloc[0] == clf.score(X, y)
    assert_same_bits(clf, fitted_clf)


def test_progress_bar(callback, monkeypatch):
    pytest.importorskip("rich")
    from xentlearn._estimator import progress
    from xentlearn.callbacks import ProgressBar

    shown = []
    monkeypatch.setattr(progress._Drawing, "show", lambda self, *args: shown.append(args))
    SoftmaxClassifierCV(Cs=CS, cv=3).set_callbacks(ProgressBar()).fit(X, y)
    assert shown[0] == ("fit 1 of 10", 0.1)
    assert shown[-1] == ("10 fits", 1.0)
    assert len(shown) == 11


@pytest.mark.parametrize("name", ["Checkpoint", "ValidationMonitor"])
def test_callbacks_of_single_fits(callback, name, tmp_path):
    from xentlearn import callbacks

    kind = getattr(callbacks, name)
    one = kind(tmp_path / "file") if name == "Checkpoint" else kind(scoring="accuracy")
    clf = SoftmaxClassifierCV().set_callbacks(one)
    with pytest.raises(TypeError, match=f"{name} must be set on a SoftmaxClassifier"):
        clf.fit(X, y)


# --- Errors ---------------------------------------------------------------------------------------


BAD = {
    "Cs": [0, -3, 2.5, True, None, "10", [], [0.0], [-1.0], [1.0, np.nan], [1.0, 1.0], [[1.0]],
           {1, 2}, (c for c in [1.0]), ["a"], [1j], [[1.0], [1.0, 2.0]]],
    "l1_ratios": [None, 0.5, [], [1.5], [-0.1], [np.nan], ["a"], [0.5, 0.5]],
    "losses": ["auto", [], 3, ["wrong"], [None], SparseCategoricalCrossentropy(), {"auto"}],
    "loss": ["wrong", None],
    "cv": ["LOO", "kfold", [], [([0, 1], [])], [([], [1])], [([0, 500], [1])], [([0, -1], [1])], 1,
           2.5],
    "scoring": ["wrong", 3, [], ["accuracy", "wrong"], {}],
    "select": ["worst", None, 1],
    "refit": ["accuracy", None, 1],
    "n_jobs": [0, "two", 1.5, True],
    "store_paths": [None, 1, "yes"],
    "store_probabilities": [None, 1, "yes"],
    "grouped": [None],
    "fit_intercept": ["yes"],
    "class_weight": ["wrong"],
    "solver": ["wrong"],
    "max_iter": [-1, 1.5],
    "tol": [-1.0],
    "warm_start": [2],
    "early_stopping": [None],
    "validation_fraction": [1.0],
    "n_iter_no_change": [0],
    "penalty_factor": [[1.0], -np.ones(4)],
    "coef_bounds": [(1, 2), 3],
    "random_state": ["seed"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n in BAD for v in BAD[n]], ids=lambda v: str(v)[:30]
)
def test_bad_parameters(name, value):
    """The message has the name of the parameter and what it must be."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        SoftmaxClassifierCV(**{"Cs": CS, name: value}).fit(X, y)
    assert len(str(caught.value)) < 500
    words = {"cv": "cv|n_splits|k-fold", "class_weight": "class_weight", "random_state": "seed"}
    assert re.search(words.get(name, f"'{name}'"), str(caught.value)), str(caught.value)


def test_every_parameter_is_among_them():
    assert set(BAD) == set(SoftmaxClassifierCV().get_params()) - {"verbose"}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"scoring": ["accuracy"], "refit": True}, "name of the score that chooses"),
        ({"scoring": {"a": "accuracy"}, "refit": "b"}, r"one of \['a'\].*'b'"),
        ({"scoring": "accuracy", "refit": "accuracy"}, "'refit' must be True or False"),
        ({"scoring": lambda c, X, y: 1.0, "refit": "x"}, "'refit' must be True or False"),
        ({"scoring": lambda c, X, y: 1.0, "refit": 3}, "'refit' must be True or False"),
        ({"scoring": "f1_macr"}, "Did you mean 'f1_macro'"),
        ({"select": "1se", "cv": ShuffleSplit(1)}, "at least two folds"),
        (
            {"scoring": ["accuracy"], "refit": False, "store_probabilities": True},
            "needs a choice",
        ),
        ({"Cs": {1.0}}, r"Cs=list\(...\)"),
        ({"Cs": 0.5}, r"Cs=\[0.5\]"),
        ({"Cs": 0}, r"got 0\.$"),  # [0] would not do, either
        ({"Cs": [10**400]}, "'Cs' must be a list"),
        ({"l1_ratios": 0.5}, r"l1_ratios=\[0.5\]"),
        ({"cv": iter([])}, "at least one fold.*list"),
    ],
)
def test_errors_that_say_more(params, words):
    with pytest.raises(ValueError, match=words):
        SoftmaxClassifierCV(**{"Cs": CS, **params}).fit(X, y)


def test_validation_rows_are_no_argument():
    for routing in (False, True):
        with config_context(enable_metadata_routing=routing):
            with pytest.raises(ValueError, match="takes no validation rows.*early_stopping"):
                SoftmaxClassifierCV().fit(X, y, X_val=X, y_val=y)


def test_losses_of_different_sizes_have_no_paths():
    two = (y > 0).astype(int)
    losses = ["binary_crossentropy", "sparse_categorical_crossentropy"]
    assert fitted(y=two, losses=losses).scores_.shape == (3, 2, 1, 3)
    with pytest.raises(ValueError, match=r"'store_paths'.*\[1, 2\]"):
        fitted(y=two, losses=losses, store_paths=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("C", "'Cs'"),
        ("l1_ratio", "'l1_ratios'"),
        ("penalty", "l1_ratio"),
        ("use_legacy_attributes", "use_legacy_attributes=False"),
        ("multi_class", "softmax"),
        ("dual", "nothing to choose"),
        ("param_grid", "'Cs'"),
        ("Css", "'Cs'"),
    ],
)
def test_names_that_do_not_exist(name, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        SoftmaxClassifierCV(**{name: 1})


def test_advice_of_the_classifier():
    for name in ("Cs", "cv", "scoring"):
        with pytest.raises(TypeError, match="SoftmaxClassifierCV"):
            SoftmaxClassifier(**{name: 5})


def test_weights_without_rows():
    weight = (np.arange(150) >= 50).astype(float)
    folds = [(np.arange(50, 150), np.arange(50)), (np.arange(100), np.arange(100, 150))]
    with pytest.raises(ValueError, match="positive weight.*fold 1"):
        SoftmaxClassifierCV(Cs=CS, cv=folds).fit(X, y, sample_weight=weight)
    SoftmaxClassifierCV(Cs=CS, cv=folds[1:]).fit(X, y, sample_weight=weight)
