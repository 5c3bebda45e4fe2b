"""Fits with L1, factors by feature, groups or bounds are at the minimum, for every loss.

Oracles are in ``sparse_reference.py``: the KKT conditions, which prove a minimum of a convex loss,
a slow minimiser, and a bound from the dual problem.
"""

import copy
import functools
from itertools import product

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

import cells
from raw_data import SETS
from small_problems import (
    binary_data,
    ignoring,
    multiclass_data,
    multilabel_data,
    no_warning,
    one_hot,
    positive_weights,
    real_data,
    soft_data,
)
from sparse_reference import (
    SparseObjective,
    binary_rows,
    least_norm_shift,
    rows_by_complex_steps,
    softmax_rows,
    sparse_minimum,
)
from xentlearn import SoftmaxClassifier

# Of three features and any number of outputs
PENALTIES = {
    "l1": {"l1_ratio": 1.0},
    "elastic net": {"l1_ratio": 0.5},
    "factors": {"l1_ratio": 1.0, "penalty_factor": [0.5, 2.0, np.inf]},
    "factors, l2": {"penalty_factor": [2.0, np.inf, 0.5]},
    "unpenalised": {"l1_ratio": 0.5, "penalty_factor": [0.5, 0.0, 1.0]},
    "bounds": {"l1_ratio": 0.5, "coef_bounds": (-0.2, [0.1, np.inf, 0.0])},
    "bounds, l2": {"coef_bounds": (0.0, np.inf)},
    "grouped": {"l1_ratio": 1.0, "grouped": True},
    "grouped elastic net": {"l1_ratio": 0.5, "grouped": True, "penalty_factor": [0.5, 1.0, 2.0]},
    "grouped bounds": {"l1_ratio": 1.0, "grouped": True, "coef_bounds": (-0.2, 0.3)},
    "grouped signs": {"l1_ratio": 0.5, "grouped": True, "coef_bounds": (0.0, np.inf)},
}
each_penalty = pytest.mark.parametrize("penalty", PENALTIES)
# the data, and whether each output has a loss of its own
DATA = {
    "binary": (binary_data, True),
    "classes": (multiclass_data, False),
    "soft": (soft_data, False),
    "labels": (multilabel_data, True),
}
KKT = 1e-8


def objective_of(X, y, binary, **options):
    """(SparseObjective of a plain cross-entropy, targets)."""
    targets = np.asarray(y, dtype=float)
    if targets.ndim == 1:
        targets = targets[:, np.newaxis] if binary else one_hot(y)
    loss = (binary_rows if binary else softmax_rows)(targets)
    return SparseObjective(X, loss, targets.shape[1], **options), targets


def three_features(data, **options):
    """(X, y, weights, objective, targets) of 150 rows."""
    make, binary = DATA[data]
    X, y = make(n_features=3)
    weight = positive_weights(len(X))
    return X, y, weight, *objective_of(X, y, binary, weight=weight, **options)


def assert_minimum(clf, objective, violation=KKT):
    """The KKT conditions hold at the stored coefficients, whose objective is the stored one."""
    assert clf.solver_ == "proximal-newton"
    assert objective.violation(clf.coef_, clf.intercept_) <= violation
    assert clf.objective_ == pytest.approx(
        objective.value(clf.coef_, clf.intercept_), rel=1e-12, abs=1e-300
    )


# --- Every loss, every kind of y, every penalty ---------------------------------------------------


def cell(loss, target, **options):
    """(X, arguments of fit, loss setting, SparseObjective, that of the convex start or None)."""
    rng = np.random.default_rng([list(cells.LOSSES).index(loss), list(cells.TARGETS).index(target)])
    X = rng.normal(size=(cells.N, cells.N_FEATURES))
    kind, setting = cells.TARGETS[target], cells.LOSSES[loss]
    arguments = kind.make(rng, X)
    classes = np.unique(arguments["y"]) if not hasattr(arguments["y"], "toarray") else None

    def objective(setting):
        losses, weight, total, n_outputs = cells.rows_of_losses(
            setting,
            cells.taken(loss, target),
            X,
            classes=classes,
            **arguments,
            **kind.parameters,
        )
        rows = rows_by_complex_steps(losses)
        return SparseObjective(X, rows, n_outputs, weight=weight, total=total, **options)

    convex = None if setting._convex else objective(setting._convex_start())
    return X, arguments, setting, objective(setting), convex


TAKEN = [
    (loss, target) for loss in cells.LOSSES for target in cells.TARGETS if cells.taken(loss, target)
]


@pytest.mark.parametrize(("loss", "target"), TAKEN)
def test_every_loss_and_kind_of_y(loss, target):
    """Penalties take turns, so that each of them meets each loss or nearly so."""
    turn = TAKEN.index((loss, target)) * 7
    options = list(PENALTIES.values())[turn % len(PENALTIES)]
    X, arguments, setting, objective, _ = cell(loss, target, **options)
    parameters = cells.TARGETS[target].parameters
    with no_warning():
        clf = SoftmaxClassifier(clone(setting), tol=1e-12, **options, **parameters)
        clf.fit(X, **arguments)
    assert_minimum(clf, objective, KKT if setting._convex else 1e-6)
    assert clf.optimality_gap_ == np.inf or setting._certifiable


@pytest.mark.parametrize("loss", cells.LOSSES)
@pytest.mark.parametrize("turn", range(3))
def test_slow_minimiser_of_every_loss(loss, turn):
    """Also of losses that are not convex, from the minimum of their convex relative."""
    number = (3 * list(cells.LOSSES).index(loss) + turn) % len(PENALTIES)
    options = list(PENALTIES.values())[number]
    target = [name for of_loss, name in TAKEN if of_loss == loss][turn]
    X, arguments, setting, objective, convex = cell(loss, target, **options)
    parameters = cells.TARGETS[target].parameters
    clf = SoftmaxClassifier(clone(setting), tol=1e-12, **options, **parameters)
    clf.fit(X, **arguments)
    start = None
    if convex is not None:
        found = sparse_minimum(convex, violation=1e-6)
        start = found.coef, found.intercept
    least = sparse_minimum(objective, start, violation=1e-7, momentum=convex is None)
    assert clf.objective_ == pytest.approx(least.value, rel=1e-10 if convex is None else 1e-6)
    if convex is None and len(least.coef) == 1:
        np.testing.assert_allclose(clf.coef_, least.coef, atol=1e-6)


@each_penalty
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("C", [0.02, 1.0, 50.0])
def test_kkt_conditions(penalty, data, C):
    options = {**PENALTIES[penalty], "C": C}
    X, y, weight, objective, _ = three_features(data, **options)
    with no_warning():
        clf = SoftmaxClassifier(**options, tol=1e-12).fit(X, y, weight)
    assert_minimum(clf, objective, KKT * max(1.0, C))


@each_penalty
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_coefficients(penalty, data, fit_intercept):
    options = {**PENALTIES[penalty], "C": 0.1, "fit_intercept": fit_intercept}
    X, y, weight, objective, _ = three_features(data, **options)
    clf = SoftmaxClassifier(**options, tol=1e-12).fit(X, y, weight)
    least = sparse_minimum(objective, violation=1e-10)
    coef, intercept = least.coef, least.intercept
    if not DATA[data][1] and fit_intercept:
        assert abs(clf.intercept_.sum()) < 1e-12
        intercept = intercept - intercept.mean()
    if not DATA[data][1] and penalty == "unpenalised":
        coef[:, 1] -= coef[:, 1].mean()
    np.testing.assert_allclose(clf.coef_, coef, atol=1e-8)
    np.testing.assert_allclose(clf.intercept_, intercept, atol=1e-8)
    out = np.abs(coef) < 1e-12
    np.testing.assert_array_equal(clf.coef_ == 0, out)


def test_these_problems_have_coefficients_of_each_kind():
    """In, out, and at a bound other than 0; else the tests above would show little."""
    kinds = {"in": 0, "out": 0, "at a bound": 0}
    for options in PENALTIES.values():
        for data in DATA:
            *_, objective, _ = three_features(data, **options, C=0.1)
            coef = sparse_minimum(objective, violation=1e-6).coef
            at_bound = (coef != 0) & ((coef == objective.lower) | (coef == objective.upper))
            kinds["at a bound"] += at_bound.sum()
            kinds["out"] += ((coef == 0) & (objective.l1 > 0)).sum()
            kinds["in"] += ((coef != 0) & ~at_bound).sum()
    assert min(kinds.values()) >= 5


@pytest.mark.parametrize("n_classes", [3, 4])
@pytest.mark.parametrize("bounds", [None, (0.0, np.inf), (-0.5, 0.3)])
def test_of_all_minima_that_of_least_norm(n_classes, bounds):
    """A softmax does not see a shift of a feature; with four classes nor may the L1 norm."""
    X, y = multiclass_data(n_classes=n_classes, n_features=6)
    clf = SoftmaxClassifier(C=0.3, l1_ratio=1.0, coef_bounds=bounds, tol=1e-12).fit(X, y)
    np.testing.assert_allclose(
        clf.coef_, least_norm_shift(clf.coef_, coef_bounds=bounds), atol=1e-10
    )
    assert (clf.coef_ == 0).any()


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("shape", [(60, 200, 3), (400, 40, 6), (300, 30, 2)])
def test_more_features(grouped, l1_ratio, container, shape):
    """Many of which are out; also more than there are rows."""
    n, d, n_classes = shape
    X, y = multiclass_data(n, d, n_classes)
    X = X * (np.random.default_rng(1).random(X.shape) < 0.3)
    options = {
        "C": {60: 0.12, 400: 0.04, 300: 0.12}[n] if grouped else 0.3,
        "l1_ratio": l1_ratio,
        "grouped": grouped,
    }
    with no_warning():
        clf = SoftmaxClassifier(**options, tol=1e-10).fit(container(X), y)
    objective, targets = objective_of(X, y, n_classes == 2, **options)
    value = objective.value(clf.coef_, clf.intercept_)
    bound = objective.dual_bound(clf.coef_, clf.intercept_, targets, n_classes == 2)
    assert clf.objective_ == pytest.approx(value, rel=1e-12)
    assert 0 <= clf.optimality_gap_ <= 1e-10
    assert clf.stop_reason_ in ("certified", "rounding")
    assert (value - bound) / value < 1e-4  # a rough bound, but no word of the library in it
    assert objective.violation(clf.coef_, clf.intercept_) < 1e-3
    assert 0.2 < (clf.coef_ == 0).mean() < 1
    if grouped:
        out = clf.coef_ == 0
        np.testing.assert_array_equal(out.all(axis=0), out.any(axis=0))


# --- What is certified ----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(21))
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_tiny_hard_problems(seed, l1_ratio):
    """As many features as rows, and three classes: coordinate descent walks there for long."""
    X, y = make_classification(
        n_samples=20,
        n_features=20,
        n_informative=10,
        n_redundant=0,
        n_classes=3,
        random_state=seed,
    )
    with no_warning():
        clf = SoftmaxClassifier(C=1.0, l1_ratio=l1_ratio, tol=1e-8).fit(X, y)
    assert 0 <= clf.optimality_gap_ <= 1e-8
    objective, targets = objective_of(X, y, False, C=1.0, l1_ratio=l1_ratio)
    value = objective.value(clf.coef_, clf.intercept_)
    least = sparse_minimum(objective, (clf.coef_, clf.intercept_), violation=1e-9)
    bound = objective.dual_bound(least.coef, least.intercept, targets, False)
    assert value == pytest.approx(clf.objective_, rel=1e-12)
    assert value <= bound * (1 + 1e-8) + 1e-9 * least.value


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("penalty", ["l1", "elastic net", "factors", "bounds", "grouped"])
@pytest.mark.parametrize("max_iter", [0, 1, 2, 3, 5])
def test_certified_gap_is_a_bound_on_the_way(data, penalty, max_iter):
    X, y, weight, objective, _ = three_features(data, **PENALTIES[penalty], C=1.0)
    clf = SoftmaxClassifier(**PENALTIES[penalty], tol=0, max_iter=max_iter)
    with ignoring(ConvergenceWarning):
        clf.fit(X, y, weight)
    least = sparse_minimum(objective)
    true = objective.value(clf.coef_, clf.intercept_) / least.value - 1
    assert np.isfinite(clf.optimality_gap_)
    assert clf.optimality_gap_ >= true - 1e-11
    if max_iter == 0:
        assert true > 1e-3  # else this test could not fail


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize(
    ("loss", "target"), [case for case in TAKEN if cells.LOSSES[case[0]]._certifiable]
)
def test_groups_within_bounds_are_certified(loss, target, l1_ratio):
    options = {"l1_ratio": l1_ratio, "grouped": True, "coef_bounds": (-0.2, 0.3)}
    X, arguments, setting, objective, _ = cell(loss, target, **options)
    parameters = cells.TARGETS[target].parameters
    with no_warning():
        clf = SoftmaxClassifier(clone(setting), tol=1e-8, **options, **parameters)
        clf.fit(X, **arguments)
    assert 0 <= clf.optimality_gap_ <= 1e-8
    if l1_ratio == 1.0:
        assert_minimum(clf, objective, 1e-2)


@pytest.mark.parametrize("penalty", ["l1", "elastic net", "grouped", "bounds, l2"])
def test_default_fit_ends_by_its_certificate(penalty, set_rules):
    set_rules(polished_work=0, small_work=0)
    X, y = real_data("digits", False)
    options = {key: value for key, value in PENALTIES[penalty].items() if key != "penalty_factor"}
    with no_warning():
        clf = SoftmaxClassifier(**options).fit(X / 16, y)
    assert clf.stop_reason_ == "certified"
    assert 0 <= clf.optimality_gap_ <= clf.tol
    assert clf.history_["gap"][-1] <= clf.tol
    lengths = {len(values) for values in clf.history_.values()}
    assert lengths == {clf.n_iter_[0] + 1}
    objective = clf.history_["objective"]
    assert (np.diff(objective) <= 1e-12 * objective[:-1]).all()
    assert objective[-1] == pytest.approx(clf.objective_, rel=1e-10)


def test_too_few_iterations_warn():
    X, y = real_data("digits", False)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        clf = SoftmaxClassifier(l1_ratio=1.0, max_iter=1).fit(X, y)
    assert clf.stop_reason_ == "max_iter"
    assert clf.n_iter_[0] == 1


@pytest.mark.parametrize("polish", [True, False])
@pytest.mark.parametrize(
    "parameters",
    [
        {"penalty_factor": [0.0, 1.0, 1.0]},
        {"loss": "poly_crossentropy"},
        {"loss": "generalized_crossentropy"},
        {"penalty_factor": [0.0, 0.0, 0.0]},
    ],
)
def test_what_has_no_certificate_is_estimated_without_a_warning(parameters, polish, set_rules):
    if not polish:
        set_rules(polished_work=0, small_work=0)
    X, y = multiclass_data(n_features=3)
    with no_warning():
        clf = SoftmaxClassifier(l1_ratio=1.0, **parameters).fit(X, y)
    assert clf.solver_ == "proximal-newton"
    assert clf.stop_reason_ in ("estimated", "rounding")
    assert clf.optimality_gap_ == np.inf
    assert clf.history_["gap"][-1] <= clf.tol


# --- Raw data -------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def raw_data(name):
    return SETS[name]()


# Their Hessians are singular at floating-point precision, and the minimum is far from 0. An L1
# penalty does not allow the rotation that cures this for L2.
UNSOLVED = [*product(["breast_cancer_squared", "breast_cancer_to_the_third_power"], [0.5, 1.0])]


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="singular Hessians")
@pytest.mark.parametrize(("name", "l1_ratio"), UNSOLVED)
def test_unsolved_raw_data(name, l1_ratio):
    data = raw_data(name)
    with ignoring(ConvergenceWarning):
        clf = SoftmaxClassifier(l1_ratio=l1_ratio, max_iter=100).fit(data.X, data.y)
    assert clf.optimality_gap_ <= clf.tol


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "l1_ratio"), [case for case in product(SETS, [0.5, 1.0]) if case not in UNSOLVED]
)
def test_raw_data(name, l1_ratio):
    """Unscaled, with default settings: no warning, and certified; a tighter fit confirms it."""
    data = raw_data(name)
    with no_warning():
        clf = SoftmaxClassifier(l1_ratio=l1_ratio).fit(data.X, data.y, data.sample_weight)
    assert clf.solver_ == "proximal-newton"
    assert 0 <= clf.optimality_gap_ <= clf.tol
    X64 = data.X.astype(np.float64)
    objective, targets = objective_of(
        X64,
        data.targets,
        data.binary,
        C=1.0,
        l1_ratio=l1_ratio,
        weight=data.sample_weight,
    )
    value = objective.value(clf.coef_, clf.intercept_)
    # float32 coefficients, and logits of float32 rows
    assert clf.objective_ == pytest.approx(value, rel=1e-4 if clf.coef_.dtype == "f4" else 1e-9)
    # goes on from there: the bound below is no word of the library
    tight = copy.deepcopy(clf).set_params(tol=1e-7, warm_start=True)
    with ignoring(ConvergenceWarning):
        tight.fit(X64, data.y, data.sample_weight)
    bound = objective.dual_bound(tight.coef_, tight.intercept_, targets, data.binary)
    assert bound >= tight.objective_ * (1 - 1e-3)
    assert value <= tight.objective_ * (1 + clf.tol)
    true = value / tight.objective_ - 1
    assert clf.optimality_gap_ >= true - 1e-7
