"""Every choice of "auto", made here and nowhere else: presolve, groups, solvers, preconditioners.

A plan follows from the sizes of a problem and from what a look at X and y shows, never from a
clock, the number of threads or free memory: the same problem is solved with the same bits
everywhere. Costs are counted in multiply-adds, numbers and passes over X, and each limit says which
measurement it comes from.
"""

from dataclasses import dataclass, replace

import numpy as np

from .settings import Preconditioning

STOCHASTIC = ("adam", "sgd")


@dataclass(frozen=True)
class Rules:
    """Limits at which choices change.

    Attributes
    ----------
    polished_work : int
        Multiply-adds of a pass up to which a fit is polished until rounding stops it: it is over in
        milliseconds whatever is asked for, and results do not depend on how a problem is put (a
        weight of 2, or the row twice). With the 8 x 8 digits, 1.2 million, polishing takes three
        times as long as the fit.
    small_work : int
        Multiply-adds of a pass up to which X is copied to float64 and centred.
    least_constant : float
        Share of constant features from which they are dropped: fewer are not worth a copy.
    most_copied : int
        Numbers of a dense X that is copied without its constant features: 16 MB in float32.
    most_rotated, most_rotation : float
        Numbers of a wide X that is copied to be rotated, 400 MB in float64, and
        n_samples^2 n_features: a second or two, and most often much less than a fit.
    tiny_hessian : float
        Multiply-adds up to which a Hessian costs about as much as what Python does around a pass.
        Then newton-cholesky takes 10 iterations in place of the 25 of lbfgs: iris, wine and breast
        cancer are fitted in half the time; the digits, 200 million, take six times as long.
    hessian_work : float
        Multiply-adds up to which the Hessian itself preconditions: a tenth of a second.
    most_coefficients : int
        Of a whole Hessian: 288 MB.
    most_covariance : int
        Features up to which their covariance preconditions: 32 MB, and a factorisation well below a
        second.
    most_block_numbers, most_logits : int
        Of the diagonal blocks of a Hessian, all outputs together (64 MB in float32), and of the
        rows that they are made from.
    most_penalty : float
        Strength up to which matrices of float32 hold it.
    grouped, group_numbers, grouped_rows, group_step : int
        Binary outputs do not see each other. Over sparse X, where little is shared but X itself, so
        many coefficients (or so many predictions of rows, which dual ascent keeps: 160 MB) are
        fitted in groups of outputs, multiples of ``group_step`` that fill vectors, whose vectors
        have ``group_numbers`` numbers and stay near the processor: 600 labels of 45,000 features
        took five times as long at once, and 4 GB.
    most_pull : float
        Mean of C ||x||^2 p (1 - p), by which rows pull at each other, at the class shares: above it
        sweeps of dual ascent gain too little. Below it they take a quarter to a half of the time of
        L-BFGS.
    fewest_ascended : int
        Outputs of dual ascent: of 4, sweeps use one core and a quarter of its vectors.
    """

    polished_work: int = 300_000
    small_work: int = 4_000_000
    least_constant: float = 0.1
    most_copied: int = 4_000_000
    most_rotated: int = 50_000_000
    most_rotation: float = 5e10
    tiny_hessian: float = 10_000_000
    hessian_work: float = 1.5e9
    most_coefficients: int = 6000
    most_covariance: int = 2000
    most_block_numbers: int = 16_000_000
    most_logits: int = 50_000_000
    most_penalty: float = 1e30
    grouped: int = 6_000_000
    group_numbers: int = 1_500_000
    grouped_rows: int = 20_000_000
    group_step: int = 16
    most_pull: float = 0.15
    fewest_ascended: int = 10


RULES = Rules()


@dataclass(frozen=True)
class Presolve:
    """What is done to X before a solver sees it, and undone to the coefficients afterwards.

    Attributes
    ----------
    unit : float
        Power of 2 that X is divided by; 1 for numbers of usual size.
    kept : ndarray of int or None
        Features that are not constant, where the others are dropped.
    centre : bool
        Whether X is copied to float64 and centred; if it has more features than rows, it is rotated
        into the space of its rows.
    """

    unit: float = 1.0
    kept: np.ndarray | None = None
    centre: bool = False


@dataclass(frozen=True)
class Group:
    """Outputs that are fitted together, and how.

    Attributes
    ----------
    outputs : ndarray of int
    solver : str
    preconditioning : Preconditioning
    """

    outputs: np.ndarray
    solver: str
    preconditioning: Preconditioning


@dataclass(frozen=True)
class Plan:
    """How a problem is solved.

    Attributes
    ----------
    presolve : Presolve
    polish : bool
        Whether the solver goes on until rounding stops it.
    groups : tuple of Group
        In the order in which they are fitted; none where no output has anything to fit.
    work : int
        Multiply-adds of a pass over X as it was given.
    """

    presolve: Presolve
    polish: bool
    groups: tuple
    work: int


def make_plan(problem):
    """The plan of a problem.

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
    if solver in STOCHASTIC:
        outputs = problem.outputs
        groups = [Group(outputs, solver, Preconditioning())] if len(outputs) else []
        return Plan(Presolve(data.unit), False, tuple(groups), work)
    presolve = _presolve(data, problem.fit_intercept, work)
    polish = work <= RULES.polished_work and not problem.early_stopping
    if presolve.kept is not None:
        n_features = len(presolve.kept)
    if presolve.centre:
        n_features = min(n_features, n_rows)
    is_sparse = data.is_sparse and not presolve.centre
    alone = data.in_memory and is_sparse and not (y.loss.couples or problem.early_stopping)
    sums = y.mass()
    groups = output_groups((n_rows, n_features), problem.outputs, alone, sums)
    size = _Size(n_rows, data.n_sampled, n_features, problem.fit_intercept, is_sparse)
    strength = problem.penalty.strength(y.total_weight, y.weight_exponent, presolve.unit)
    planned = []
    for outputs in groups:
        preconditioning = _preconditioning(size, len(outputs), y.loss.couples, strength)
        chosen = solver
        if solver == "newton-cholesky":
            _require_small(size.n_coefficients(len(outputs)), problem.settings)
        if solver == "auto":
            chosen = "lbfgs"
            if alone and not polish and _suits_dual(problem, outputs, sums[outputs], strength):
                chosen = "dual-ascent"
            elif y.loss.plain and size.hessian_work(n_rows, len(outputs), y.loss.couples) <= (
                RULES.tiny_hessian
            ):
                chosen = "newton-cholesky"
        planned.append(Group(outputs, chosen, preconditioning))
    return Plan(presolve, polish, tuple(planned), work)


def _presolve(data, fit_intercept, work):
    """What is done to X; nothing where it is in shards."""
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
    return Presolve(data.unit, kept, wide or work <= RULES.small_work)


def output_groups(shape, outputs, alone, sums):
    """The outputs that are fitted together, in groups.

    Parameters
    ----------
    shape : (int, int)
        Of X.
    outputs : ndarray of int
    alone : bool
        Whether outputs neither see each other nor share much work.
    sums : ndarray of shape (n_outputs, 2)
        Weights of the 0s and of the 1s: outputs with as many 1s take about as many iterations.

    Returns
    -------
    list of ndarray
    """
    n_rows, n_features = shape
    few = n_features * len(outputs) <= RULES.grouped and n_rows * len(outputs) <= RULES.grouped_rows
    if not alone or few:
        return [outputs] if len(outputs) else []
    size = min(RULES.group_numbers // n_features, RULES.grouped_rows // n_rows)
    size = max(1, size // RULES.group_step) * RULES.group_step
    outputs = outputs[np.argsort(sums[outputs, 1], kind="stable")]
    return [outputs[begin : begin + size] for begin in range(0, len(outputs), size)]


@dataclass(frozen=True)
class _Size:
    """Of the problem that a solver sees."""

    n_rows: int
    n_sampled: int
    n_features: int
    fit_intercept: bool
    is_sparse: bool

    def n_coefficients(self, n_outputs):
        """Of a solver's vector."""
        return (self.n_features + self.fit_intercept) * n_outputs

    def hessian_work(self, n_rows, n_outputs, coupled):
        """Multiply-adds of the whole Hessian from ``n_rows`` rows; inf if it is too large."""
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
            f"solver='newton-cholesky' makes the whole Hessian, for at most {most} coefficients; "
            f"here are {n_coefficients}. Use solver='auto'."
        )


def _preconditioning(size, n_outputs, coupled, strength):
    """Which approximate inverse Hessians a solver gets.

    None at a point for sparse X, where even the diagonal blocks take too much memory, nor where the
    penalty is beyond float32.
    """
    chosen = Preconditioning(size.n_features <= RULES.most_covariance, None)
    if size.is_sparse or strength > RULES.most_penalty:
        return chosen
    local = None
    if size.hessian_work(size.n_rows, n_outputs, coupled) <= RULES.hessian_work:
        local = "whole"
    elif size.hessian_work(size.n_sampled, n_outputs, coupled) <= RULES.hessian_work:
        local = "sample"
    elif (
        size.n_features <= RULES.most_covariance
        and n_outputs * size.n_features**2 <= RULES.most_block_numbers
        and size.n_sampled * n_outputs <= RULES.most_logits
    ):
        local = "blocks"
    return replace(chosen, local=local)


def _suits_dual(problem, outputs, sums, strength):
    """Whether sweeps over the rows of the dual problem find the minimum, most often sooner."""
    y, data = problem.y, problem.data
    if len(outputs) < RULES.fewest_ascended or not (y.loss.certifiable and strength > 0):
        return False
    of_entries = sums.sum(axis=1)
    curvature = (sums.prod(axis=1) / np.maximum(of_entries, np.finfo(float).tiny)).mean()
    square = data.moments(y).mean_squares().sum() / data.unit**2
    return square * curvature / y.total_weight <= RULES.most_pull * data.shape[0] * strength
