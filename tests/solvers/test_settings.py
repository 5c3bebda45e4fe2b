"""Settings of the solvers: values with parameters, and what a classifier does with them."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from rows import three_classes
from xentlearn import SoftmaxClassifier, solvers
from xentlearn._data.dataset import MemoryData
from xentlearn._data.targets import encode_y
from xentlearn._objective.linear import LinearObjective
from xentlearn._solvers.lbfgs import History
from xentlearn._solvers.newton import ConjugateGradients
from xentlearn._solvers.registry import SETTINGS as DEFAULTS
from xentlearn._solvers.settings import SETTINGS
from xentlearn.solvers import LBFGS, SGD, Adam, NewtonCG, NewtonCholesky

OTHERS = [
    Adam(learning_rate=0.1),
    SGD(schedule="adaptive"),
    LBFGS(history_size=5),
    NewtonCG(max_cg_iter=10),
    NewtonCholesky(max_coefficients=100),
]


# A preconditioner that knows the variances of the features alone.
DIAGONAL = {"polished_work": 0, "small_work": 0, "hessian_work": 0, "most_covariance": 0}


def ill_conditioned(rng):
    """X whose features depend on each other so much that descents take a while, and y."""
    mixed = rng.normal(size=(300, 15)) @ (rng.normal(size=(15, 15)) * np.geomspace(1e-2, 10, 15))
    return mixed, (mixed[:, :3] / 10 + rng.gumbel(size=(300, 3))).argmax(axis=1)


def test_all_are_public():
    assert sorted(setting.__name__ for setting in SETTINGS.values()) == solvers.__all__
    for setting in SETTINGS.values():
        assert setting.__module__ == "xentlearn.solvers"


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_equality(other):
    default = type(other)()
    assert default == type(other)()
    assert default != other
    assert hash(default) == hash(other)  # parameters may change
    assert all(default != type(another)() for another in OTHERS if another is not other)
    for copy in (clone(other), pickle.loads(pickle.dumps(other))):
        assert copy == other
        assert copy is not other
    assert clone(other).set_params(**default.get_params()) == default


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SETTINGS)
def test_a_name_is_the_setting_with_default_values(name, rng):
    X, y = three_classes(rng)
    parameters = {"max_iter": 20, "random_state": 0, "tol": 0.01}
    by_name = SoftmaxClassifier(solver=name, **parameters).fit(X, y)
    by_setting = SoftmaxClassifier(solver=SETTINGS[name](), **parameters).fit(X, y)
    assert by_name.solver_ == by_setting.solver_ == name
    np.testing.assert_array_equal(by_name.coef_, by_setting.coef_)


def test_partial_fit_takes_adam_unless_it_is_sgd(rng):
    X, y = three_classes(rng)

    def found(solver):
        clf = SoftmaxClassifier(solver=solver, random_state=0)
        return clf.partial_fit(X, y, classes=range(3))

    for solver in ("auto", "lbfgs", "adam", LBFGS(), NewtonCG()):
        clf = found(solver)
        assert clf.solver_ == "adam"
        np.testing.assert_array_equal(clf.coef_, found(Adam()).coef_)
    assert found("sgd").solver_ == found(SGD()).solver_ == "sgd"
    np.testing.assert_array_equal(found("sgd").coef_, found(SGD()).coef_)


def test_parameters_of_the_setting_are_parameters_of_the_classifier(rng):
    clf = SoftmaxClassifier(solver=Adam(learning_rate=0.1), tol=0.01, random_state=0)
    assert clf.get_params()["solver__learning_rate"] == 0.1
    assert "solver__learning_rate" not in clf.get_params(deep=False)
    assert clf.set_params(solver__learning_rate=0.5).solver == Adam(learning_rate=0.5)
    copy = clone(clf).set_params(solver__learning_rate=0.2)
    assert clf.solver.learning_rate == 0.5
    assert copy.set_params(solver=SGD(), solver__momentum=0.5).solver == SGD(momentum=0.5)
    assert "solver=Adam(learning_rate=0.5)" in repr(clf)
    X, y = three_classes(rng)
    grid = {"solver__learning_rate": [1e-6, 0.1]}
    search = GridSearchCV(clf, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_ == {"solver__learning_rate": 0.1}


def test_fit_leaves_the_setting_alone(rng):
    X, y = three_classes(rng)
    setting = SGD(learning_rate=0.5, schedule="adaptive")
    clf = SoftmaxClassifier(solver=setting, tol=0.1, n_iter_no_change=1).fit(X, y)
    clf.partial_fit(X, y)
    assert clf.solver is setting
    assert setting == SGD(learning_rate=0.5, schedule="adaptive")


def test_parameter_of_a_solver_that_is_a_string_is_an_error_with_the_remedy(rng):
    message = (
        r"'solver__learning_rate' needs a solver setting, but 'solver' is the string 'adam'; pass "
        r"a setting object, for example solver=Adam\(\)\."
    )
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(solver="adam").set_params(solver__learning_rate=0.1)
    X, y = three_classes(rng)
    search = GridSearchCV(SoftmaxClassifier(), {"solver__momentum": [0.5]}, error_score="raise")
    with pytest.raises(ValueError, match="'solver' is the string 'auto'"):
        search.fit(X, y)
    with pytest.raises(ValueError, match=r"Invalid parameter 'momentum' for estimator Adam\(\)"):
        SoftmaxClassifier(solver=Adam()).set_params(solver__momentum=0.5)


# --- What the parameters do -----------------------------------------------------------------------


def n_iter_of(solver, X, y):
    """Iterations to a minimum that is the same for every setting."""
    clf = SoftmaxClassifier(solver=solver, tol=1e-10, max_iter=10_000).fit(X, y)
    assert clf.optimality_gap_ < 1e-6
    return clf.n_iter_[0]


def test_history_size(rng, set_rules):
    """With fewer differences L-BFGS takes more iterations; of a fit they are kept."""
    set_rules(**DIAGONAL)
    X, y = ill_conditioned(rng)
    default = n_iter_of("lbfgs", X, y)
    assert n_iter_of(LBFGS(history_size=20), X, y) == default
    assert n_iter_of(LBFGS(history_size=1), X, y) > 1.2 * default


def objective_of(X, y):
    encoded = encode_y(y, len(X), "auto")
    return LinearObjective(MemoryData(X).rows(encoded, np.arange(3), 1), 0.1, True, 1)


def test_history_size_is_what_is_kept(rng):
    objective = objective_of(*three_classes(rng))
    for size in (1, 7):
        rule = History(objective, LBFGS(history_size=size)._applied(DEFAULTS["lbfgs"]))
        assert rule.s.shape == rule.y.shape == (size, objective.size)


def test_max_cg_iter(rng, set_rules):
    """Truncated after one product, Newton steps are preconditioned gradient steps."""
    set_rules(**DIAGONAL)
    X, y = ill_conditioned(rng)
    default = n_iter_of("newton-cg", X, y)
    assert n_iter_of(NewtonCG(max_cg_iter=100), X, y) == default
    assert n_iter_of(NewtonCG(max_cg_iter=1), X, y) > 2 * default


def test_max_cg_iter_is_the_most_products(rng, monkeypatch):
    objective, product, n_products = objective_of(*ill_conditioned(rng)), None, 0

    def counted(vector, direction):
        nonlocal n_products
        n_products += 1
        return product(vector, direction)

    product = objective.hessian_product
    monkeypatch.setattr(objective, "hessian_product", counted)
    start = rng.normal(size=objective.size)
    gradient = objective.value_gradient(start)[1]
    for most in (1, 2, 3):
        n_products = 0
        rule = ConjugateGradients(
            objective, NewtonCG(max_cg_iter=most)._applied(DEFAULTS["newton-cg"])
        )
        rule.direction(start, gradient)
        assert n_products == most


def test_max_coefficients(rng, set_rules):
    X, y = three_classes(rng)
    n_coefficients = (X.shape[1] + 1) * 3
    message = (
        r"solver='newton-cholesky' forms the whole Hessian, for at most 10 coefficients; "
        rf"this fit has {n_coefficients}\. Use solver='auto'\."
    )
    clf = SoftmaxClassifier(solver=NewtonCholesky(max_coefficients=10))
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    clf.set_params(solver__max_coefficients=n_coefficients - 1)
    with pytest.raises(ValueError, match=f"at most {n_coefficients - 1} coefficients"):
        clf.fit(X, y)
    clf.set_params(solver__max_coefficients=n_coefficients).fit(X, y)
    default = SoftmaxClassifier(solver="newton-cholesky").fit(X, y)
    np.testing.assert_array_equal(clf.coef_, default.coef_)


def test_max_coefficients_may_be_more_than_the_default(rng):
    X, y = rng.normal(size=(100, 80)), rng.permuted(np.arange(100) % 80)
    with pytest.raises(ValueError, match="for at most 6000 coefficients; this fit has 6480"):
        SoftmaxClassifier(solver="newton-cholesky").fit(X, y)
    setting = NewtonCholesky(max_coefficients=6480)
    clf = SoftmaxClassifier(solver=setting, max_iter=1, tol=0.9).fit(X, y)
    assert clf.solver_ == "newton-cholesky"


# --- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["Adam", Adam, None, 3, np.array(["adam"]), ["adam"]], ids=str)
def test_what_is_no_solver(solver, rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier(solver=solver)
    message = "'solver' must be one of .*'auto'.*'sgd'.* or a setting from xentlearn.solvers, such"
    for method in (clf.fit, clf.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(X, y)


@pytest.mark.parametrize(
    "setting",
    [
        LBFGS(history_size=0),
        LBFGS(history_size=2.5),
        NewtonCG(max_cg_iter=0),
        NewtonCG(max_cg_iter=True),
        NewtonCholesky(max_coefficients=0),
        NewtonCholesky(max_coefficients="6000"),
    ],
    ids=str,
)
def test_parameters_out_of_range(setting, rng):
    X, y = three_classes(rng)
    ((name, value),) = setting.get_params().items()
    message = f"'{name}' must be (None or )?an integer >= 1, got {value!r}."
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(solver=setting).fit(X, y)


def test_positional_and_unknown_parameters():
    with pytest.raises(TypeError, match="by position"):
        Adam(0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentum'"):
        Adam(momentum=0.9)
    with pytest.raises(TypeError, match="unexpected keyword argument 'learning_rate'"):
        SoftmaxClassifier(learning_rate=0.1)
