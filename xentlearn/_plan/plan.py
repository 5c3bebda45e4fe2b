"""The rules of "auto", all of them: presolve, groups of outputs, solvers, preconditioners.

A plan depends on the sizes of a problem and on statistics of X and y, never on a clock, the number
of threads or free memory: the same problem is solved with the same bits everywhere. Costs are
counted in multiply-adds, numbers and passes over X, and each limit says which measurement it comes
from.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np

from .._utils.numerics import EPS
from .._utils.threads import effective_n_threads
from .path_settings import AlongC
from .rules import Rules
from .settings import LBFGS, STOCHASTIC, Certificate, Preconditioning

RULES = Rules()


@dataclass(frozen=True)
class Presolve:
    """The presolve steps to apply to X; their inverses are applied to the coefficients.

    Attributes
    ----------
    unit : float
        Power of 2 that X is divided by; 1 unless X is tiny or huge.
    kept : ndarray of int or None
        The features to keep, which are not constant; None keeps all.
    centre : bool
        Whether X is copied to float64 and centred.
    rotate : bool, default=True
        Whether a centred X is also rotated into its row space if it has more features than rows, or
        given other features where some are nearly dependent. A penalty that knows features does not
        allow it.
    """

    unit: float = 1.0
    kept: np.ndarray | None = None
    centre: bool = False
    rotate: bool = True


@dataclass(frozen=True)
class Group:
    """Outputs that are fitted together, with their solver.

    Attributes
    ----------
    outputs : ndarray of int
        Indices of the outputs.
    solver : str
        Name of the solver, as in ``_solvers/registry.py``.
    preconditioning : Preconditioning
        How the solver's objective is preconditioned.
    history_size : int or None, default=None
        Differences in the L-BFGS history of a large problem; None leaves the default.
    small_binary : bool, default=False
        Whether the sums over the rows are computed by ``_data/_small_binary.pyx``.
    hessian_at_start : bool, default=False
        Whether the solver is preconditioned by the Hessian at the start, which is near the minimum.
    """

    outputs: np.ndarray
    solver: str
    preconditioning: Preconditioning
    history_size: int | None = None
    small_binary: bool = False
    hessian_at_start: bool = False


@dataclass(frozen=True)
class Plan:
    """How a problem is to be solved.

    Attributes
    ----------
    presolve : Presolve
        What is done to X first.
    polish : float
        Gap to which the solver continues beyond ``tol``; 0 if it does not.
    groups : tuple of Group
        The groups in the order in which they are fitted; empty if no output has anything to fit.
    work : int
        Multiply-adds of a pass over X as it was given.
    one_thread : bool
        Whether a pass takes so little that one thread does it all.
    """

    presolve: Presolve
    polish: float
    groups: tuple
    work: int
    one_thread: bool


def make_plan(problem):
    """Plan how to solve a problem.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    Plan
    """
    data, y, solver = problem.data, problem.y, problem.solver
    n_rows, n_features = data.shape
    work = n_rows * n_features * y.n_outputs
    one_thread = work <= RULES.polished_work
    if solver in STOCHASTIC:
        outputs = problem.outputs
        groups = [Group(outputs, solver, Preconditioning())] if len(outputs) else []
        return Plan(Presolve(data.unit), 0.0, tuple(groups), work, one_thread)
    composite = problem.penalty.is_composite
    presolve = _presolve(data, problem.fit_intercept, work, not composite)
    strength = problem.penalty.strength(y.total_weight, y.weight_exponent, presolve.unit)
    polish = 0.0
    if one_thread and not problem.early_stopping:
        polish = RULES.polished
        if problem.only_predicts:
            polish = max(polish, min(RULES.polished_to_predict, problem.tol * strength))
    if presolve.kept is not None:
        n_features = len(presolve.kept)
    if presolve.centre and presolve.rotate:
        n_features = min(n_features, n_rows)
    is_sparse = data.is_sparse and not presolve.centre
    alone = data.in_memory and not (y.loss._couples or problem.early_stopping)
    alone &= not (composite and problem.penalty.grouped)
    sums = y.fitted_weight_sums()
    if composite:
        groups = separate_groups(n_features, problem.outputs, alone, sums, is_sparse)
        return _composite_plan(presolve, polish, groups, work, one_thread, y.loss._couples)
    groups = output_groups((n_rows, n_features), problem.outputs, alone, sums, is_sparse)
    alone &= is_sparse
    size = _Size(n_rows, data.n_sampled, n_features, problem.fit_intercept, is_sparse)
    if len(groups) > 1 and not is_sparse:
        blocks = _preconditioning(size, len(groups[0]), y.loss._couples, strength)
        if blocks.refresh_after >= LBFGS.first_refresh:  # most fits end before these pay off
            groups = [problem.outputs]
    planned = []
    for outputs in groups:
        preconditioning = _preconditioning(size, len(outputs), y.loss._couples, strength)
        chosen = solver
        if solver == "newton-cholesky":
            _require_small(size.n_coefficients(len(outputs)), problem.settings)
        if solver == "auto":
            chosen = "lbfgs"
            if alone and not polish and _suits_dual(problem, outputs, strength):
                chosen = "dual-ascent"
            elif (
                is_sparse
                and not (polish or preconditioning.covariance)
                and _suits_softmax_dual(problem, outputs, strength)
            ):
                chosen = "dual-ascent"
            elif y.loss._plain and size.hessian_work(n_rows, len(outputs), y.loss._couples) <= (
                RULES.tiny_hessian
            ):
                chosen = "newton-cholesky"
        many = y.loss._couples and not is_sparse and len(outputs) >= RULES.many_classes
        many &= size.n_coefficients(len(outputs)) >= RULES.many_coefficients
        history_size = RULES.short_history if many and chosen == "lbfgs" else None
        # a single thread computes all, and the means of the features are 0 or taken as 0
        small_binary = one_thread and presolve.centre and len(outputs) == 1 and not y.loss._couples
        at_start = chosen == "lbfgs" and preconditioning.local is not None
        at_start &= problem.n_iter_before > AlongC.few_iterations
        options = history_size, small_binary, at_start
        planned.append(Group(outputs, chosen, preconditioning, *options))
    return Plan(presolve, polish, tuple(planned), work, one_thread)


def _composite_plan(presolve, polish, groups, work, one_thread, coupled):
    """Return the plan for a penalty that is not smooth, or with bounds: proximal Newton."""
    planned = []
    for outputs in groups:
        small_binary = one_thread and presolve.centre and len(outputs) == 1 and not coupled
        group = Group(outputs, "proximal-newton", Preconditioning(), small_binary=small_binary)
        planned.append(group)
    return Plan(presolve, polish, tuple(planned), work, one_thread)


def _presolve(data, fit_intercept, work, rotate):
    """Choose the presolve steps; X in shards has none."""
    if not data.in_memory:
        return Presolve()
    n_rows, n_features = data.shape
    kept = None
    if data.is_sparse or 0 < n_rows * n_features <= RULES.most_copied:
        most = int((1 - RULES.least_constant) * n_features)
        kept = data.varying_features(fit_intercept, most)
    n_kept = n_features if kept is None else len(kept)
    wide = (
        n_kept > n_rows
        and not data.is_sparse
        and n_rows * n_kept <= RULES.most_rotated
        and n_rows**2 * n_kept <= RULES.most_rotation
    )
    return Presolve(data.unit, kept, (wide and rotate) or work <= RULES.small_work, rotate)


def output_groups(shape, outputs, alone, sums, is_sparse=True):
    """Divide outputs into groups that are fitted together.

    Over a sparse X, vectors of a group stay in the cache. Over a dense X, a group is as large as
    the diagonal blocks of its Hessian may be.

    Parameters
    ----------
    shape : (int, int)
        Shape of X.
    outputs : ndarray of int
        Indices of the outputs.
    alone : bool
        Whether outputs are independent of each other, and rows of X in memory.
    sums : ndarray of shape (n_outputs, 2)
        Class weight sums of all outputs: of the 0s and of the 1s. Groups are formed in the order of
        the latter, as outputs with similar sums take about the same number of iterations.
    is_sparse : bool, default=True

    Returns
    -------
    list of ndarray
        The indices of the outputs of each group.
    """
    n_rows, n_features = shape
    of_row, n_rows = max(1, n_features), max(1, n_rows)
    if is_sparse:
        size = min(RULES.group_numbers // of_row, RULES.grouped_rows // n_rows)
        few = len(outputs) * n_features <= RULES.grouped
        few &= len(outputs) * n_rows <= RULES.grouped_rows
    else:
        size = min(RULES.most_block_numbers // of_row**2, RULES.most_logits // n_rows)
        few = size < RULES.group_step or len(outputs) <= size
    if not alone or few:
        return [outputs] if len(outputs) else []
    size = max(1, size // RULES.group_step) * RULES.group_step
    outputs = outputs[np.argsort(sums[outputs, 1], kind="stable")]
    steps = np.array_split(np.arange(0, len(outputs), RULES.group_step), -(-len(outputs) // size))
    return np.split(outputs, [step[0] for step in steps[1:]])


def separate_groups(n_features, outputs, alone, sums, is_sparse):
    """Divide outputs into groups of proximal Newton; parameters and result as of `output_groups`.

    Outputs with similar sums also use about the same number of coefficients.
    """
    size = RULES.separate
    if not is_sparse:
        size = max(1, min(size, RULES.separate_numbers // max(1, n_features)))
    if not alone or len(outputs) <= size:
        return [outputs] if len(outputs) else []
    outputs = outputs[np.argsort(sums[outputs, 1], kind="stable")]
    return np.array_split(outputs, -(-len(outputs) // size))


@dataclass(frozen=True)
class _Size:
    """Size of the problem that a solver sees, after presolve.

    Attributes
    ----------
    n_rows, n_features : int
    n_sampled : int
        Rows of the sample that preconditioners may be made from.
    fit_intercept, is_sparse : bool
    """

    n_rows: int
    n_sampled: int
    n_features: int
    fit_intercept: bool
    is_sparse: bool

    def n_coefficients(self, n_outputs):
        """Return the length of a solver's vector."""
        return (self.n_features + self.fit_intercept) * n_outputs

    def hessian_work(self, n_rows, n_outputs, coupled):
        """Return the multiply-adds of the whole Hessian from ``n_rows`` rows; inf if too large."""
        per_output = self.n_features + self.fit_intercept
        if per_output * n_outputs > RULES.most_coefficients:
            return np.inf
        blocks = n_outputs * (n_outputs - 1) / 2 if coupled else n_outputs
        return n_rows * per_output**2 / 2 * blocks + (per_output * n_outputs) ** 3 / 6


def _require_small(n_coefficients, setting):
    """Raise ValueError if the whole Hessian is too large for newton-cholesky."""
    most = RULES.most_coefficients if setting is None else setting.max_coefficients
    if n_coefficients > most:
        raise ValueError(
            f"solver='newton-cholesky' forms the whole Hessian, for at most {most} coefficients; "
            f"this fit has {n_coefficients}. Use solver='auto'."
        )


def _preconditioning(size, n_outputs, coupled, strength):
    """Choose the approximate inverse Hessians that a solver is given.

    No Hessian at a point is used for sparse X, where even its diagonal blocks would take too much
    memory, nor where the strength of the penalty is out of the range of float32.
    """
    chosen = Preconditioning(size.n_features <= RULES.most_covariance, None)
    if size.is_sparse or strength > RULES.most_penalty:
        return chosen
    work = functools.partial(size.hessian_work, n_outputs=n_outputs, coupled=coupled)
    n_coefficients = size.n_coefficients(n_outputs)
    of_pass, n_sampled = 2 * size.n_rows * n_coefficients, RULES.sampled_rows * n_coefficients
    local, n_rows, of_hessian = None, np.inf, np.inf
    if work(size.n_rows) <= RULES.hessian_work:
        local, of_hessian = "whole", work(size.n_rows) / RULES.hessian_speed
    elif work(size.n_sampled) <= RULES.hessian_work:
        local, of_hessian = "sample", work(size.n_sampled) / RULES.hessian_speed
    elif n_sampled < size.n_sampled and work(n_sampled) <= RULES.hessian_work:
        local, n_rows = "sample", n_sampled
        of_copy = RULES.copied * n_sampled * size.n_features
        of_hessian = of_copy + work(n_sampled) / RULES.hessian_speed
    elif (
        size.n_features <= RULES.most_covariance
        and n_outputs * size.n_features**2 <= RULES.most_block_numbers
        and size.n_sampled * n_outputs <= RULES.most_logits
    ):
        most = size.n_sampled // chosen.drawn_of_rows
        n_drawn = max(chosen.least_drawn, min(chosen.drawn_per_feature * size.n_features, most))
        of_block = n_drawn * size.n_features**2 / 2 + size.n_features**3 / 6
        of_drawing = RULES.drawn * size.n_sampled * n_outputs
        # and a pass for the curvatures of the rows
        of_blocks = 1 + (of_drawing + n_outputs * of_block / RULES.hessian_speed) / of_pass
        # `local_passes` stays inf: without the coupling of outputs, blocks lead to no certificate
        refresh_after = max(RULES.least_refresh, int(np.ceil(RULES.passes_per_block * of_blocks)))
        return replace(chosen, local="blocks", refresh_after=refresh_after)
    return replace(chosen, local=local, local_rows=n_rows, local_passes=of_hessian / of_pass)


def _suits_dual(problem, outputs, strength):
    """Return whether dual ascent is likely to reach the minimum sooner than L-BFGS."""
    y, data = problem.y, problem.data
    if len(outputs) < RULES.fewest_ascended or not (y.loss._certifiable and strength > 0):
        return False
    square = data.moments(y).mean_squares().sum() / data.unit**2
    return square <= RULES.most_pull * data.shape[0] * strength


def _suits_softmax_dual(problem, outputs, strength):
    """Return whether dual ascent is likely to reach the minimum of a softmax sooner than L-BFGS.

    It does not know of covariances, and is not asked where L-BFGS does.
    """
    y, data = problem.y, problem.data
    if not (data.in_memory and y.loss._couples and y.loss._plain and y.loss._certifiable):
        return False
    if problem.early_stopping or y.loss.logit_adjustment or not strength > 0:
        return False
    moments = data.moments(y, effective_n_threads())
    dtype, (n_rows, n_features) = np.dtype(moments.fit_dtype), data.shape
    of_rows = n_rows * dtype.itemsize / (8 * n_features)
    if problem.tol < RULES.least_tol * EPS[dtype] or of_rows > RULES.most_row_state:
        return False
    square = moments.mean_squares().sum() / data.unit**2
    few = len(outputs) <= Certificate.most_coupled
    return few and square <= RULES.most_pull * n_rows * strength
