"""A problem and its plan in numbers, from which ``report.PlanReport`` makes its text."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class OutlinedGroup:
    """A group of outputs (``plan.Group``), without their numbers.

    Attributes
    ----------
    n_outputs : int
    solver : str
    covariance : bool
    local : {"whole", "sample", "blocks"} or None
        Which preconditioners: see ``settings.Preconditioning``.
    local_rows : float
        Most rows that the Hessian of a sample is made from.
    history_size : int or None, default=None
    """

    n_outputs: int
    solver: str
    covariance: bool
    local: str | None
    local_rows: float
    history_size: int | None = None


@dataclass(frozen=True)
class Outline:
    """A problem and its plan in numbers: no array and no row of X or y is kept.

    Attributes
    ----------
    n_rows, n_features, n_outputs, n_entries, n_sampled : int
        Of X and y as they were given; stored numbers of X; rows of the sample.
    dtype : dtype
        Of X, as it is read.
    is_sparse, in_memory : bool
    labelled : bool
        Whether y has labels, one per row, rather than values.
    n_copied, y_bytes : int
        Bytes of what of X was copied to be read, and of the encoded y.
    solver : str
        As it was asked for.
    coupled, convex, certifiable, fit_intercept, early_stopping : bool
    C, tol, weakness : float
        The last one is the strength of the penalty, 1 / (C S), over the mean variance of a feature.
    max_iter, work : int
        ``work`` is the number of multiply-adds of a pass over X as it was given.
    history_size : int or None
        Length of the L-BFGS history, where it was set.
    unit : float
    n_kept : int or None
        Features that are not constant, where the others are dropped.
    centre, rotate, polish : bool
    groups : tuple of OutlinedGroup
    l1_ratio : float, default=0.0
        Of the penalty, as the following.
    grouped, has_factors, has_bounds : bool, default=False
    begins_at_0 : bool, default=True
        Whether there are no coefficients to start from.
    """

    n_rows: int
    n_features: int
    n_outputs: int
    n_entries: int
    n_sampled: int
    dtype: np.dtype
    is_sparse: bool
    in_memory: bool
    labelled: bool
    n_copied: int
    y_bytes: int
    solver: str
    coupled: bool
    convex: bool
    certifiable: bool
    fit_intercept: bool
    early_stopping: bool
    C: float
    tol: float
    weakness: float
    max_iter: int
    history_size: int | None
    work: int
    unit: float
    n_kept: int | None
    centre: bool
    rotate: bool
    polish: bool
    groups: tuple
    l1_ratio: float = 0.0
    grouped: bool = False
    has_factors: bool = False
    has_bounds: bool = False
    begins_at_0: bool = True

    @property
    def itemsize(self):
        """Bytes of a number of X."""
        return self.dtype.itemsize

    @property
    def is_composite(self):
        """Whether the penalty is not smooth, or differs by feature, or there are bounds."""
        return self.l1_ratio > 0 or self.has_factors or self.has_bounds

    @property
    def n_solved(self):
        """Features that the solver sees."""
        n_features = self.n_features if self.n_kept is None else self.n_kept
        return min(n_features, self.n_rows) if self.centre and self.rotate else n_features

    @property
    def dense(self):
        """Whether the X that the solver sees is dense."""
        return self.centre or not self.is_sparse

    @property
    def computed(self):
        """Bytes of a number of what is computed in."""
        return 8 if self.centre or self.itemsize == 8 else 4

    @property
    def rotated(self):
        """Whether X is rotated into the space of its rows."""
        return self.centre and self.rotate and (self.n_kept or self.n_features) > self.n_rows


def outlined(problem, plan, X, n_held_out, moments):
    """Return the problem and its plan in numbers.

    Parameters
    ----------
    problem : Problem
    plan : Plan
    X : object
        X as passed to ``fit``.
    n_held_out : int
        Number of the rows that early stopping holds out of X.
    moments : Moments or None
        Moments of the features of X; None if nothing is fitted.

    Returns
    -------
    Outline
    """
    data, y, presolve, n_copied = problem.data, problem.y, plan.presolve, 0
    penalty, certifiable, of_penalty = problem.penalty, y.loss._certifiable, {}
    stored = data.X if data.in_memory else data.survey.sample[0][0]
    share = data.shape[0] / max(1, stored.shape[0])
    if data.is_sparse:
        stored, X = stored.data, getattr(X, "data", None)
    if data.in_memory and not (isinstance(X, np.ndarray) and np.may_share_memory(X, stored)):
        width = stored.itemsize + (4 if data.is_sparse else 0)
        n_copied = int(stored.size * width * (1 + n_held_out / max(1, data.shape[0])))
    y_bytes, groups, weakness, history_size = 0, [], 1.0, None
    if problem.settings is not None and problem.solver == "lbfgs":
        history_size = problem.settings.history_size
    if moments is not None:
        strength = penalty.strength(y.total_weight, y.weight_exponent)
        with np.errstate(over="ignore"):
            square = max(np.add.reduce(moments.variance), 1e-300)
            weakness = np.float64(strength) * len(moments.variance) / square
    for array in (y.labels, y.values, y.weight, y.entry_weight):
        if array is not None:
            y_bytes += array.nbytes if isinstance(array, np.ndarray) else 12 * array.nnz
    for group in plan.groups:
        chosen = group.preconditioning
        kinds = chosen.covariance, chosen.local, chosen.local_rows, group.history_size
        groups.append(OutlinedGroup(len(group.outputs), group.solver, *kinds))
    if penalty.is_composite:
        of_penalty = {
            "l1_ratio": penalty.l1_ratio,
            "grouped": penalty.grouped,
            "has_factors": isinstance(penalty.factor, np.ndarray),
            "has_bounds": isinstance(penalty.lower, np.ndarray),
            "begins_at_0": problem.start is None,
        }
        certifiable = certifiable and bool(np.all(penalty.factor))
    return Outline(
        n_rows=data.shape[0],
        n_features=data.shape[1],
        n_outputs=y.n_outputs,
        n_entries=int(stored.size * share),
        n_sampled=data.n_sampled,
        dtype=stored.dtype,
        is_sparse=data.is_sparse,
        in_memory=data.in_memory,
        labelled=y.labels is not None,
        n_copied=n_copied,
        y_bytes=y_bytes,
        solver=problem.solver,
        coupled=y.loss._couples,
        convex=y.loss._convex,
        certifiable=certifiable and penalty.C < np.inf,
        fit_intercept=problem.fit_intercept,
        early_stopping=problem.early_stopping,
        C=float(penalty.C),
        tol=float(problem.tol),
        weakness=weakness,
        max_iter=int(problem.max_iter),
        history_size=history_size,
        work=plan.work,
        unit=presolve.unit,
        n_kept=None if presolve.kept is None else len(presolve.kept),
        centre=presolve.centre,
        rotate=presolve.rotate,
        polish=plan.polish > 0,
        groups=tuple(groups),
        **of_penalty,
    )
