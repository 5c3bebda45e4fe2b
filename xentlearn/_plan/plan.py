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
from .settings import LBFGS, STOCHASTIC, Certificate, NewtonCholesky, Preconditioning


@dataclass(frozen=True)
class Rules:
    """Thresholds at which the choices of "auto" change.

    Attributes
    ----------
    polished_work : int
        Largest work of a pass over X, in multiply-adds, at which a fit is polished: its solver
        continues until no further progress is possible at floating-point precision. Such a fit
        takes milliseconds in any case, and its result then does not depend on how the problem is
        stated (a row with a weight of 2, or the same row twice). For the 8 x 8 digits, with 1.2
        million multiply-adds, polishing takes three times as long as the fit.
    small_work : int
        Largest work of a pass, in multiply-adds, at which X is copied to float64 and centred.
    least_constant : float
        Share of constant features from which on they are dropped; fewer are not worth a copy of X.
    most_copied : int
        Largest size of a dense X that is copied without its constant features: 16 MB in float32.
    most_rotated, most_rotation : float
        A wide X is rotated into its row space if it has at most ``most_rotated`` numbers (400 MB in
        float64) and n_samples^2 n_features is at most ``most_rotation``: this takes a second or
        two, mostly much less than the fit.
    tiny_hessian : float
        Largest work of a whole Hessian, in multiply-adds, at which newton-cholesky is chosen: the
        Hessian then costs about as much as the Python code around a pass. It takes 10 iterations
        instead of the 25 of lbfgs: iris, wine and breast cancer are fitted in half the time, while
        the digits, with 200 million multiply-adds, take six times as long.
    hessian_work : float
        Largest work of a Hessian, in multiply-adds, at which the whole Hessian is used as a
        preconditioner: a tenth of a second.
    hessian_speed : float
        Multiply-adds of a Hessian in float64, a product of matrices, in the time of one of a pass.
        Of 18 tables the costs that follow from it are within a factor of 1.7 of the measured ones
        in 15; with 26 and 36 classes of few features a Hessian takes three times as long, and with
        a single output of 119 features less than half.
    sampled_rows : int
        Rows per coefficient of a sample that the Hessian is made from, if it cannot be made from
        all of them. Its relative error is about the root of its reciprocal, and that is the factor
        by which a step reduces the gradient.
    copied : float
        Multiply-adds of a pass in the time in which a number of X is copied into such a sample and
        centred: 13 ns.
    drawn : float
        Multiply-adds of a pass in the time in which it is decided whether a row is drawn for the
        diagonal block of an output: 8 ns.
    most_coefficients : int
        Largest number of coefficients for which the whole Hessian is formed: 288 MB.
    most_covariance : int
        Largest number of features whose covariance is used as a preconditioner: 32 MB, and its
        factorisation takes well below a second.
    most_block_numbers, most_logits : int
        Largest size of the diagonal blocks of a Hessian, all outputs together (64 MB in float32),
        and largest number of logits of the rows that they are computed from.
    passes_per_block : float
        Diagonal blocks are made after this many times the passes that they cost, if that is earlier
        than the solver's settings say: they then take at most a fifth of the time of a fit.
    least_refresh : int
        Fewest iterations before them. Made embeddings of 45 classes take 14, 18 and 21 iterations
        for C = 1, 10 and 100 with 12; with 8 it is 12, 17 and 25, and with 16 it is 15, 20 and 24.
    most_penalty : float
        Largest strength of a penalty that float32 matrices can hold.
    grouped, grouped_rows : int
        Binary outputs are independent of each other, and over sparse X they share little work. They
        are fitted in groups if there are more than ``grouped`` coefficients, or more than
        ``grouped_rows`` predictions of rows, which dual ascent keeps (160 MB).
    group_numbers, group_step : int
        A group has at most ``group_numbers`` coefficients, so that vectors of them stay in the
        cache, and a multiple of ``group_step`` outputs, which fill whole SIMD vectors. 600 labels
        with 45,000 features took five times as long, and 4 GB, in a single group. Over a dense X a
        group is as large as the diagonal blocks of its Hessian may be, with ``group_step`` outputs
        at least: 964 labels with 384 features take 38 iterations instead of 71. That is not done
        where blocks cost as much as 25 iterations are worth: with 100 labels of 20,000 rows and 500
        features, it took 34 iterations instead of 29.
    separate, separate_numbers : int
        Independent outputs in a group of proximal Newton, at most, and coefficients over a dense X.
        The model of a step ends with its slowest output, so that the others wait; its matrix has
        the blocks between outputs, which are 0, but small models take most of their time in Python.
        48 labels of WordNet's ancestors took 4.6 s in groups of 4, 3.8 s of 8, 4.5 s of 16 and
        8.5 s in one; 40 made labels of 100 dense features 0.6 s in groups of 2 and 6.1 s in one.
    most_pull : float
        Largest mean of C ||x||^2 at which dual ascent is chosen. Sweeps are about as many as it
        says for a softmax (WordNet's glosses: 95 at 100, 270 at 300 and 1040 at 1000; lemmas: 120
        and 390 at the first two), and fewer for labels, while L-BFGS takes about 15 times its root
        iterations, each in the time of 2.5 to 5 sweeps: both take as long at about 1000, if not
        above.
    most_row_state : float
        Largest size, in vectors of coefficients, of the predictions of all rows that it keeps.
    least_tol : float
        Least ``tol``, in rounding errors of X, at which it is: its sums over classes, and with them
        what it certifies, have rounding errors of their own.
    fewest_ascended : int
        Fewest outputs for which dual ascent is chosen: with 4, its sweeps use one core and a
        quarter of the vectors that it works on.
    many_classes, many_coefficients, short_history : int
        With at least ``many_classes`` classes of a softmax over a dense X, a pass works on tiles of
        the classes, and vectors may be larger than X: from ``many_coefficients`` coefficients on,
        the L-BFGS history has ``short_history`` differences (with one, see
        ``_solvers/one_step.py``). Clusters in 20, 30 and 64 dimensions,
        one for each of 4,200 to 5,000 classes, take 80, 192 and 88 iterations with 5 differences,
        77, 199 and 112 with 2, and 71, 218 and 94 with 1.
    sample_rows, sample_numbers : int
        Limits of the sample of rows that preconditioners are made from, if X is in shards: rows,
        and numbers (128 MB in float32). From 30,000 of its 60,000 rows, MNIST takes as many
        iterations as from all of them.
    """

    polished_work: int = 300_000
    small_work: int = 4_000_000
    least_constant: float = 0.1
    most_copied: int = 4_000_000
    most_rotated: int = 50_000_000
    most_rotation: float = 5e10
    tiny_hessian: float = 10_000_000
    hessian_work: float = 1.5e9
    hessian_speed: float = 2.0
    sampled_rows: int = 100
    copied: float = 150.0
    drawn: float = 800.0
    most_coefficients: int = NewtonCholesky.max_coefficients
    most_covariance: int = 2000
    most_block_numbers: int = 16_000_000
    passes_per_block: float = 4.0
    least_refresh: int = 12
    most_logits: int = 50_000_000
    most_penalty: float = 1e30
    grouped: int = 6_000_000
    group_numbers: int = 1_500_000
    grouped_rows: int = 20_000_000
    group_step: int = 16
    separate: int = 8
    separate_numbers: int = 200
    most_pull: float = 1000.0
    most_row_state: float = 1.0
    least_tol: float = 100.0
    fewest_ascended: int = 10
    many_classes: int = 4096
    many_coefficients: int = 1_000_000
    short_history: int = 1
    sample_rows: int = 100_000
    sample_numbers: int = 32_000_000


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
    """

    outputs: np.ndarray
    solver: str
    preconditioning: Preconditioning
    history_size: int | None = None
    small_binary: bool = False


@dataclass(frozen=True)
class Plan:
    """How a problem is to be solved.

    Attributes
    ----------
    presolve : Presolve
        What is done to X first.
    polish : bool
        Whether the solver continues beyond ``tol`` until no further progress is possible at
        floating-point precision.
    groups : tuple of Group
        The groups in the order in which they are fitted; empty if no output has anything to fit.
    work : int
        Multiply-adds of a pass over X as it was given.
    one_thread : bool
        Whether a pass takes so little that one thread does it all.
    """

    presolve: Presolve
    polish: bool
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
        return Plan(Presolve(data.unit), False, tuple(groups), work, one_thread)
    composite = problem.penalty.is_composite
    presolve = _presolve(data, problem.fit_intercept, work, not composite)
    polish = one_thread and not problem.early_stopping
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
    strength = problem.penalty.strength(y.total_weight, y.weight_exponent, presolve.unit)
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
        planned.append(Group(outputs, chosen, preconditioning, history_size, small_binary))
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
