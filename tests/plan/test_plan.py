"""What "auto" chooses, for problems of typical sizes, without fitting any of them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from xentlearn._losses.sigmoid import BinaryCrossentropy
from xentlearn._losses.softmax import SparseCategoricalCrossentropy
from xentlearn._objective.linear import L2
from xentlearn._objective.penalties import FeaturePenalty
from xentlearn._objective.problem import Problem
from xentlearn._plan.plan import RULES, make_plan
from xentlearn._plan.settings import LBFGS
from xentlearn.losses import (
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
)
from xentlearn.solvers import NewtonCholesky

SOFTMAX, SIGMOID = SparseCategoricalCrossentropy(), BinaryCrossentropy()


@dataclass
class Data:
    """X as a plan sees it: sizes, and what a look at it finds."""

    shape: tuple
    is_sparse: bool = False
    in_memory: bool = True
    unit: float = 1.0
    n_sampled: int | None = None
    n_varying: int | None = None  # all features vary
    mean_square: float = 1.0  # of a feature

    def __post_init__(self):
        self.n_sampled = self.n_sampled or self.shape[0]

    def varying_features(self, fit_intercept, most):
        if self.n_varying is None or self.n_varying > most:
            return None
        return np.arange(self.n_varying)

    fit_dtype = np.float32

    def moments(self, y, n_threads=1):
        return self

    def mean_squares(self):
        return np.full(self.shape[1], self.mean_square)


@dataclass
class Targets:
    """y as a plan sees it; of binary outputs a share of 1s."""

    n_rows: int
    n_outputs: int
    loss: object = SOFTMAX
    share: float = 0.5
    weight_exponent: int = 0

    @property
    def total_weight(self):
        return float(self.n_rows)

    def fitted_weight_sums(self):
        if self.loss._couples:
            return np.full(self.n_outputs, self.n_rows / self.n_outputs)
        shares = np.array([1 - self.share, self.share])
        return np.tile(self.n_rows * shares, (self.n_outputs, 1))


def plan_of(data, n_outputs, loss=SOFTMAX, C=1.0, solver="auto", share=0.5, **changes):
    y = Targets(data.shape[0], n_outputs, loss, share)
    problem = Problem(
        data,
        y,
        np.arange(n_outputs),
        np.zeros(n_outputs),
        L2(C),
        True,
        solver,
        None,
        1e-4,
        3000,
        np.dtype(np.float64),
    )
    return make_plan(replace(problem, **changes))


def dense(*shape, **parameters):
    return Data(shape, **parameters)


def words(*shape, **parameters):
    """Sparse X: a hundred words of a text."""
    return Data(shape, is_sparse=True, mean_square=100 / shape[1], **parameters)


# fmt: off
TYPICAL = [
    # data, outputs, loss: centred, polished, solver, covariance, local Hessian
    # iris, breast cancer: over in milliseconds, to the last digit
    (dense(150, 4), 3, SOFTMAX, True, True, "newton-cholesky", True, "whole"),
    (dense(569, 30), 1, SIGMOID, True, True, "newton-cholesky", True, "whole"),
    # the 8 x 8 digits: a Hessian takes longer than the passes of L-BFGS, and may still help it
    (dense(1797, 64), 10, SOFTMAX, True, False, "lbfgs", True, "whole"),
    # 20,000 x 100 with ten classes: the Hessian is made of all rows only where that is fast
    (dense(20_000, 100), 10, SOFTMAX, False, False, "lbfgs", True, "blocks"),
    # cover types; few coefficients of many rows
    (dense(581_012, 54), 7, SOFTMAX, False, False, "lbfgs", True, "sample"),
    (dense(581_012, 10), 1, SIGMOID, False, False, "lbfgs", True, "whole"),
    (dense(100_000, 5), 1, SIGMOID, True, False, "newton-cholesky", True, "whole"),
    # MNIST: blocks of the Hessian
    (dense(60_000, 784), 10, SOFTMAX, False, False, "lbfgs", True, "blocks"),
    # 500 classes: diagonal blocks are too large
    (dense(50_000, 512), 500, SOFTMAX, False, False, "lbfgs", True, None),
    # more features than a covariance may have
    (dense(50_000, 4000), 10, SOFTMAX, False, False, "lbfgs", False, None),
    # more features than rows: rotated into the space of the rows
    (dense(60, 5000), 3, SOFTMAX, True, False, "newton-cholesky", True, "whole"),
    (dense(800, 20_000), 3, SOFTMAX, True, False, "lbfgs", True, "blocks"),
    # wide, and too large to be copied
    (dense(5000, 20_000), 3, SOFTMAX, False, False, "lbfgs", False, None),
    # labels of dense X
    (dense(5000, 300), 20, SIGMOID, False, False, "lbfgs", True, "blocks"),
    # texts of twenty topics, and small ones
    (words(11_000, 40_000), 20, SOFTMAX, False, False, "dual-ascent", False, None),
    (words(500, 40), 2, SOFTMAX, True, True, "newton-cholesky", True, "whole"),
]
# fmt: on


@pytest.mark.parametrize(
    ("data", "n_outputs", "loss", "centre", "polish", "solver", "covariance", "local"), TYPICAL
)
def test_typical_problems(data, n_outputs, loss, centre, polish, solver, covariance, local):
    plan = plan_of(data, n_outputs, loss)
    assert plan.work == data.shape[0] * data.shape[1] * n_outputs
    assert (plan.polish > 0) == polish
    assert (plan.presolve.unit, plan.presolve.kept, plan.presolve.centre) == (1.0, None, centre)
    (group,) = plan.groups
    np.testing.assert_array_equal(group.outputs, np.arange(n_outputs))
    assert group.solver == solver
    assert group.preconditioning.covariance == covariance
    assert group.preconditioning.local == local


def test_constant_features_are_dropped():
    """If they are a tenth of all or more; the choices are those of the features that are left."""
    plan = plan_of(dense(3000, 784, n_varying=600), 10)
    np.testing.assert_array_equal(plan.presolve.kept, np.arange(600))
    assert plan.work == 3000 * 784 * 10
    assert plan_of(dense(3000, 784, n_varying=750), 10).presolve.kept is None
    few = plan_of(dense(500, 1000, n_varying=10), 3)
    assert few.presolve.kept.size == 10
    assert few.groups[0].solver == "newton-cholesky"
    # a dense X that is too large is not copied, a sparse one is
    assert plan_of(dense(60_000, 784, n_varying=600), 10).presolve.kept is None
    assert plan_of(words(60_000, 784, n_varying=600), 10).presolve.kept.size == 600


def test_units():
    plan = plan_of(dense(150, 4, unit=2.0**100), 3)
    assert plan.presolve.unit == 2.0**100


def test_shards():
    """X in shards stays as it is; Hessians are made from the rows that stand for all."""
    data = dense(1_000_000, 28, in_memory=False, n_sampled=100_000)
    plan = plan_of(data, 1, SIGMOID)
    assert not plan.presolve.centre
    (group,) = plan.groups
    assert (group.solver, group.preconditioning.local) == ("lbfgs", "whole")
    (group,) = plan_of(data, 5).groups
    assert group.preconditioning.local == "sample"
    small = plan_of(dense(150, 4, in_memory=False, n_varying=2, unit=4.0), 3)
    presolve = small.presolve
    assert (presolve.unit, presolve.kept, presolve.centre) == (1.0, None, False)
    assert small.polish
    # not even many labels of sparse X are fitted in groups, each of which would read X again
    assert len(plan_of(words(45_000, 45_000, in_memory=False), 600, SIGMOID).groups) == 1


def test_groups_of_labels_of_sparse_X():
    plan = plan_of(words(50_000, 45_000), 600, SIGMOID)
    sizes = [len(group.outputs) for group in plan.groups]
    assert sizes == [32] * 18 + [24]  # 1.5 million coefficients, in multiples of 16
    np.testing.assert_array_equal(
        np.sort(np.concatenate([group.outputs for group in plan.groups])), np.arange(600)
    )
    # softmax couples its outputs, and dense X is shared work
    assert len(plan_of(words(50_000, 45_000), 600).groups) == 1
    assert len(plan_of(dense(50_000, 4500), 600, SIGMOID).groups) == 1
    assert len(plan_of(words(50_000, 45_000), 600, SIGMOID, early_stopping=True).groups) == 1


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "adam"])
def test_nothing_to_fit(solver):
    plan = plan_of(dense(150, 4), 3, SIGMOID, solver=solver, outputs=np.arange(0))
    assert plan.groups == ()


def test_outputs_with_something_to_fit():
    plan = plan_of(dense(150, 4), 3, SIGMOID, outputs=np.array([0, 2]))
    np.testing.assert_array_equal(plan.groups[0].outputs, [0, 2])


@pytest.mark.parametrize(
    ("n_outputs", "loss", "parameters", "solver"),
    [
        (50, SIGMOID, {"C": 0.1}, "dual-ascent"),
        (RULES.fewest_ascended, SIGMOID, {"C": 0.1}, "dual-ascent"),
        (RULES.fewest_ascended - 1, SIGMOID, {"C": 0.1}, "lbfgs"),
        (50, SIGMOID, {"C": 100.0}, "dual-ascent"),
        (50, SIGMOID, {"C": 1e4}, "lbfgs"),  # rows pull too much at each other
        (50, SIGMOID, {"C": np.inf}, "lbfgs"),
        (50, SOFTMAX, {"C": 0.1}, "dual-ascent"),
        (3, SOFTMAX, {"C": 100.0}, "dual-ascent"),
        (50, SOFTMAX, {"C": 1e4}, "lbfgs"),  # rows pull too much at each other
        (50, SOFTMAX, {"C": np.inf}, "lbfgs"),
        (3000, SOFTMAX, {"C": 0.1}, "lbfgs"),  # pairs of classes are too many
        (50, CategoricalCrossentropy(logit_adjustment=1.0), {"C": 0.1}, "lbfgs"),
        (50, CategoricalFocalCrossentropy(), {"C": 0.1}, "lbfgs"),
        (50, SOFTMAX, {"C": 0.1, "early_stopping": True}, "lbfgs"),
        (50, SOFTMAX, {"C": 0.1, "tol": 1e-14}, "lbfgs"),  # too many digits
        (50, BinaryFocalCrossentropy(), {"C": 0.1}, "lbfgs"),
        (50, SIGMOID, {"C": 0.1, "early_stopping": True}, "lbfgs"),
        (50, SIGMOID, {"C": 0.1, "solver": "lbfgs"}, "lbfgs"),
    ],
    ids=str,
)
def test_dual_ascent(n_outputs, loss, parameters, solver):
    data = replace(words(8000, 5000), mean_square=1 / 5000)  # rows of length 1
    (group,) = plan_of(data, n_outputs, loss, **parameters).groups
    assert group.solver == solver


def test_dual_ascent_needs_sparse_rows_in_memory():
    for data in (dense(20_000, 500), words(20_000, 5000, in_memory=False), words(500, 40)):
        for loss in (SIGMOID, SOFTMAX):
            (group,) = plan_of(data, 50, loss, C=1e-3).groups
            assert group.solver == "lbfgs"
    # a softmax of few features is preconditioned by their covariance
    (group,) = plan_of(words(3000, RULES.most_covariance), 50, SOFTMAX, C=1e-3).groups
    assert group.solver == "lbfgs"
    # it keeps as much by row as a vector of coefficients, in float32, and no more
    for n_rows, solver in ((10_000, "dual-ascent"), (10_001, "lbfgs")):
        (group,) = plan_of(words(n_rows, 5000), 50, SOFTMAX, C=1e-3).groups
        assert group.solver == solver


def test_losses_without_an_exact_hessian_take_lbfgs():
    (group,) = plan_of(dense(150, 4), 3, GeneralizedCrossentropy()).groups
    assert group.solver == "lbfgs"


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
def test_a_solver_that_is_asked_for(solver):
    """Presolve and preconditioning are those of "auto"."""
    for data in (dense(150, 4), dense(20_000, 100), words(11_000, 40)):
        asked, auto = plan_of(data, 10, solver=solver), plan_of(data, 10)
        assert asked.groups[0].solver == solver
        assert (asked.presolve, asked.polish) == (auto.presolve, auto.polish)
        assert asked.groups[0].preconditioning == auto.groups[0].preconditioning


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("data", [dense(150, 4, unit=4.0, n_varying=2), words(11_000, 40_000)])
def test_stochastic_solvers_take_X_as_it_is(solver, data):
    plan = plan_of(data, 3, solver=solver)
    presolve = plan.presolve
    assert (presolve.unit, presolve.kept, presolve.centre) == (data.unit, None, False)
    assert not plan.polish
    (group,) = plan.groups
    assert group.solver == solver


def test_early_stopping_is_not_polished():
    assert plan_of(dense(150, 4), 3).polish
    assert not plan_of(dense(150, 4), 3, early_stopping=True).polish


def test_a_penalty_beyond_float32():
    for C, local in ((1.0, "whole"), (1e-40, None)):
        (group,) = plan_of(dense(2000, 100), 3, C=C).groups
        assert group.preconditioning.local == local


@pytest.mark.parametrize("rotated", [False, True])
def test_a_hessian_that_is_too_large(rotated):
    """Coefficients are counted in the space of the rows where there are fewer rows."""
    shape = (60, 5000) if rotated else (20_000, 60)
    for most in (6000, 10, 6160):
        setting = NewtonCholesky(max_coefficients=most)
        with pytest.raises(ValueError, match=f"at most {most} coefficients; this fit has 6161"):
            plan_of(dense(*shape), 101, solver="newton-cholesky", settings=setting)
    with pytest.raises(ValueError, match="at most 6000 coefficients; this fit has 6161"):
        plan_of(dense(*shape), 101, solver="newton-cholesky")
    setting = NewtonCholesky(max_coefficients=6161)
    plan = plan_of(dense(*shape), 101, solver="newton-cholesky", settings=setting)
    assert plan.groups[0].solver == "newton-cholesky"


def test_many_classes_and_coefficients_have_a_short_history():
    for data, n_outputs, loss, wanted in [
        (dense(200_000, 20), 100_000, SOFTMAX, 1),
        (dense(200_000, 250), 4096, SOFTMAX, 1),
        (dense(200_000, 250), 4095, SOFTMAX, None),
        (dense(200_000, 20), 4096, SOFTMAX, None),  # the vectors are small
        (words(200_000, 20), 100_000, SOFTMAX, None),
        (dense(200_000, 20), 100_000, SIGMOID, None),
    ]:
        groups = plan_of(data, n_outputs, loss).groups
        assert {group.history_size for group in groups} == {wanted}


def test_diagonal_blocks_are_made_by_what_they_cost():
    """Soon where rows are many; for MNIST they cost seven passes, and come when a solver asks."""
    soon = plan_of(dense(100_000, 384), 45, SOFTMAX).groups[0].preconditioning
    assert soon.local == "blocks"
    assert soon.refresh_after == RULES.least_refresh
    late = plan_of(dense(60_000, 784), 10, SOFTMAX).groups[0].preconditioning
    assert late.local == "blocks"
    assert late.refresh_after > LBFGS().first_refresh
    other = plan_of(dense(20_000, 384), 500, SOFTMAX).groups[0].preconditioning
    assert other.local is None
    assert other.refresh_after == np.inf


def test_labels_of_dense_X_are_in_groups_with_blocks():
    groups = plan_of(dense(80_000, 384), 1000, SIGMOID).groups
    assert len(groups) > 1
    assert {group.preconditioning.local for group in groups} == {"blocks"}
    outputs = np.sort(np.concatenate([group.outputs for group in groups]))
    np.testing.assert_array_equal(outputs, np.arange(1000))
    assert len(plan_of(dense(80_000, 384), 96, SIGMOID).groups) == 1
    # so many features that no group would have blocks
    assert len(plan_of(dense(20_000, 1500), 100, SIGMOID).groups) == 1


PENALTIES = {
    "l1": FeaturePenalty(1.0, l1_ratio=1.0),
    "factors": FeaturePenalty(1.0, factor=np.ones(4)),
    "bounds": FeaturePenalty(1.0, lower=np.zeros(4), upper=np.full(4, np.inf)),
}


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
@pytest.mark.parametrize(
    ("data", "n_outputs", "loss", "centred", "polished"),
    [
        (dense(150, 4), 3, SOFTMAX, True, True),
        (dense(150, 4), 1, SIGMOID, True, True),
        (dense(1797, 64), 10, SOFTMAX, True, False),
        (dense(60_000, 784), 10, SOFTMAX, False, False),
        (words(100_000, 50_000), 20, SOFTMAX, False, False),
        (words(100_000, 50_000), 20, SIGMOID, False, False),
    ],
)
def test_penalties_by_feature(data, n_outputs, loss, centred, polished, penalty):
    plan = plan_of(data, n_outputs, loss, penalty=penalty)
    assert {group.solver for group in plan.groups} == {"proximal-newton"}
    assert sum(len(group.outputs) for group in plan.groups) == n_outputs
    assert plan.presolve.centre == centred
    assert (plan.polish > 0) == polished
    of_l2 = plan_of(data, n_outputs, loss)
    assert plan.work == of_l2.work
    assert "proximal-newton" not in {group.solver for group in of_l2.groups}


def test_a_penalty_by_feature_leaves_the_features_as_they_are():
    """A rotation mixes them; dropping constant ones does not."""
    data = dense(50, 300, n_varying=200)
    plan = plan_of(data, 3, penalty=PENALTIES["l1"])
    assert plan.presolve.centre
    assert not plan.presolve.rotate
    assert len(plan.presolve.kept) == 200
    assert plan_of(data, 3).presolve.rotate
