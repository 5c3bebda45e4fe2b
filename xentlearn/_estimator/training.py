"""From a problem and its plan to coefficients: presolve, solve, certify, undo, group by group."""

import math
from dataclasses import dataclass, field

import numpy as np

from .._data.presolve import ScaledX
from .._data.statistics import Moments
from .._objective.linear import LinearObjective
from .._plan.plan import RULES, STOCHASTIC
from .._solvers.contract import Result, State, StopReason, worst
from .._solvers.registry import SOLVERS, solver_settings
from .._utils.archive import AnotherFit
from .._utils.numerics import (
    EPS,
    EXPECTED,
    SMALL_TERMS,
    STORED_FLOOR,
    STORED_SAFETY,
    STRENGTHS,
)
from .._utils.threads import effective_n_threads, sequential_blas


@dataclass
class Solved:
    """What was found for a group of outputs.

    Attributes
    ----------
    result : Result
        Of the solver.
    solver : str
    objective, bound : float
        At the stored coefficients, and of the objective less the minimum there.
    separable : bool
        Whether nothing is penalised and the objective goes to 0.
    lost : float
        Relative change of the objective by storing the coefficients; 0 within 'tol'.
    """

    result: Result
    solver: str
    objective: float
    bound: float
    separable: bool
    lost: float

    def dump(self):
        """All of it, as a tree."""
        ended = {"reason": self.result.reason.value, "message": self.result.message}
        kept = ("solver", "objective", "bound", "separable", "lost")
        return {
            "result": self.result.dump(),
            "ended": {**ended, "converged": self.result.converged},
            **{name: getattr(self, name) for name in kept},
        }

    @classmethod
    def load(cls, tree):
        """The object of a ``dump``."""
        result, ended = Result.load(tree["result"]), tree["ended"]
        result.stop(StopReason(ended["reason"]), ended["converged"], ended["message"])
        rest = {name: value for name, value in tree.items() if name not in ("result", "ended")}
        return cls(result, **rest)


@dataclass
class FitState:
    """Everything that changes during a fit; a dump of it goes on with the same bits.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
        In the dtype that they are stored in.
    solved : list of Solved
        The groups that are done.
    solver : State
        Of the group at work.
    stopping : EarlyStopping or None
    saved : tree or None
        A ``dump`` to go on from.
    """

    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None
    solved: list = field(default_factory=list)
    solver: State = field(default_factory=State)
    stopping: object = None
    saved: dict | None = None

    def dump(self, problem):
        """All of it, and of which fit it is, as a tree."""
        return {
            "of": _identity(problem, self.stopping),
            "coef": self.coef,
            "intercept": self.intercept,
            "solved": [solved.dump() for solved in self.solved],
            "stopping": None if self.stopping is None else self.stopping.dump(),
            "solver": self.solver.dump(),
        }

    def load(self, problem):
        """Put what was saved in force.

        Raises
        ------
        AnotherFit
            If it is of another problem.
        """
        tree, mine = self.saved, _identity(problem, self.stopping)
        try:
            for name, value in mine.items():
                if tree["of"][name] != value:
                    raise AnotherFit(
                        f"its {name} is {tree['of'][name]!r}, and that of this fit is {value!r}"
                    )
            self.coef, self.intercept = tree["coef"], tree["intercept"]
            self.solved = [Solved.load(solved) for solved in tree["solved"]]
            if self.stopping is not None:
                self.stopping.load(tree["stopping"])
            self.solver.saved = tree["solver"]
        except (LookupError, TypeError, AttributeError) as error:
            raise AnotherFit("what it holds is not what this fit would write") from error


def _identity(problem, stopping):
    """What must be the same when a fit goes on."""
    y, data = problem.y, problem.data
    of_y, moments = y.fingerprint(), data.moments(y)
    return {
        "C": float(problem.penalty.C),
        "fit_intercept": problem.fit_intercept,
        "solver": problem.solver if problem.settings is None else repr(problem.settings),
        "shape of coefficients": (y.n_outputs, data.shape[1]),
        "loss": of_y[0],
        "checksum of y and weights": of_y[1],
        "checksum of X": float(moments.mean @ moments.mean_squares()),
        "checksum of the rows to stop early by": None if stopping is None else stopping.checksum,
    }


@dataclass
class Training:
    """What a fit has found, and how.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
        In the dtype that they are stored in.
    solver : str
        The one that was used; of groups the last one's.
    reason : StopReason
        Why it stopped; of groups the worst.
    objective, gap : float
        The objective at the stored coefficients, and a certified bound of its relative gap.
    n_iter : int
        Iterations; of groups the most.
    history : dict
        Arrays by iteration; of groups as if they had been fitted side by side.
    failed : list of Result
        Of solvers that stopped early.
    lost : float
        How much the objective, as predictions compute it from the stored coefficients, differs from
        what the solver reached, relative to it, where that is more than 'tol'; of groups the most.
    moments : Moments or None
        Of the features; None where nothing was fitted.
    stopped_by : BaseException or None
        What interrupted the fit; what was found until then is there.
    """

    coef: np.ndarray
    intercept: np.ndarray
    solver: str
    reason: StopReason = StopReason.CONSTANT
    objective: float = 0.0
    gap: float = 0.0
    n_iter: int = 0
    history: dict = field(default_factory=dict)
    failed: list = field(default_factory=list)
    lost: float = 0.0
    moments: Moments | None = None
    stopped_by: BaseException | None = None


def train(problem, plan, state, monitor=None):
    """Fit the outputs that have something to fit.

    Parameters
    ----------
    problem : Problem
    plan : Plan
    state : FitState
    monitor : callable or None, default=None
        ``monitor(result, fit)`` at the start and after each iteration, with ``fit.model()`` the
        (coef, intercept) so far and ``fit.dump()`` a tree to go on from; what it returns says
        whether to stop.

    Returns
    -------
    Training
    """
    with sequential_blas:
        fit = Fit(problem, plan, state, monitor)
        for group in plan.groups[len(state.solved) :]:
            fit.solve(group)
        return fit.training()


class Fit:
    """One call of ``train``, whose parameters it has.

    Attributes
    ----------
    data : MemoryData or ShardedData
        After presolve.
    """

    def __init__(self, problem, plan, state, monitor):
        self.problem, self.plan, self.state, self.monitor = problem, plan, state, monitor
        y = problem.y
        if state.saved is None:
            state.coef = np.zeros((y.n_outputs, problem.data.shape[1]), dtype=problem.dtype)
            state.intercept = problem.constant.astype(problem.dtype)
        else:
            state.load(problem)
        self.stochastic = problem.solver in STOCHASTIC
        self.l2_reg = problem.penalty.strength(y, plan.presolve.unit)
        # asking how many takes as long as some passes over so little
        self.n_threads = 1 if plan.work <= RULES.polished_work else effective_n_threads()
        # noise leads away from bad starts as well
        self.convex_y = None if self.stochastic else y.convex_start()
        self.data, self.stopped_by, self.moments = problem.data, None, None
        if plan.groups:
            self.data = problem.data.presolved(
                plan.presolve, y.row_weight, problem.fit_intercept, self.l2_reg
            )

    def solve(self, group):
        """Fit a group, from where there is reason to begin, and keep what is found."""
        objective, state = self._objective(self.problem.y, group), self.state
        self.in_unit = self.data.undo_moments(objective.moments, but_for=(ScaledX,))
        self.in_unit.require_comparable(objective.rows.dtype)
        if self.stopped_by is not None:  # as good a guess as there is
            self._place(group, *self.coefficients(group, objective, objective.start()))
            return
        self.group, self.objective = group, objective
        first, convex, resumed = objective.start(), None, state.solver.saved is not None
        if resumed:
            pass
        elif self.problem.start is not None:
            coef, intercept = self.problem.start
            known = np.nan_to_num(intercept[group.outputs], posinf=0.0, neginf=0.0)
            first = objective.pack(*self.data.apply(coef[group.outputs], known))
        elif self.convex_y is not None:
            relative = self._objective(self.convex_y, group)
            convex = self._solver(group)(relative, relative.start(), **self._options(group))
            first = convex.vector
        result = convex
        if convex is None or convex.stopped_by is None:
            ended = resumed and state.stopping is not None and state.stopping.has_ended
            options = self._options(group)
            if ended:
                options["max_iter"] = 0
            try:
                result = SOLVERS[group.solver](
                    objective, first, callback=self, state=state.solver, **options
                )
                result.converged |= ended
            except Exception as error:
                if convex is None:
                    raise
                convex.stopped_by = error  # and the minimum of the convex loss is kept
        self._keep(result)
        self.objective = None

    def _objective(self, y, group):
        rows = self.data.rows(y, group.outputs, self.n_threads)
        return LinearObjective(
            rows, self.l2_reg, self.problem.fit_intercept, self.n_threads, group.preconditioning
        )
