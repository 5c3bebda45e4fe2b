"""From a problem and its plan to coefficients: presolve, solve, certify, undo, group by group."""

import math
from dataclasses import dataclass, field

import numpy as np

from .._data.presolve import ScaledX
from .._data.statistics import Moments
from .._objective.linear import LinearObjective
from .._plan.plan import RULES, STOCHASTIC
from .._solvers.contract import State, StopReason
from .._solvers.registry import SETTINGS, SOLVERS
from .._solvers.stopping import Result
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
        return {**vars(self), "result": self.result.dump()}

    @classmethod
    def load(cls, tree):
        """The object of a ``dump``."""
        return cls(**{**tree, "result": Result.load(tree["result"])})


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
    identity : dict or None
        What must be the same when the fit goes on; found when it is asked for.
    """

    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None
    solved: list = field(default_factory=list)
    solver: State = field(default_factory=State)
    stopping: object = None
    saved: dict | None = None
    identity: dict | None = None

    def dump(self, problem):
        """All of it, and of which fit it is, as a tree."""
        if self.identity is None:
            self.identity = _identity(problem, self.stopping)
        return {
            "of": self.identity,
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
        tree, self.identity = self.saved, _identity(problem, self.stopping)
        try:
            for name, value in self.identity.items():
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
    of_y = y.fingerprint()
    return {
        "C": float(problem.penalty.C),
        "fit_intercept": problem.fit_intercept,
        "solver": problem.solver if problem.settings is None else repr(problem.settings),
        "n_iter_no_change": problem.n_iter_no_change,
        "shape of coefficients": (y.n_outputs, data.shape[1]),
        "loss": of_y[0],
        "checksum of y and weights": of_y[1],
        "checksum of X": data.checksum(),
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
    separable : bool
        Whether some objective without a penalty goes to 0.
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
    separable: bool = False
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
        self.l2_reg = problem.penalty.strength(
            y.total_weight, y.weight_exponent, plan.presolve.unit
        )
        # asking how many takes as long as some passes over so little
        self.n_threads = 1 if plan.work <= RULES.polished_work else effective_n_threads()
        # noise leads away from bad starts as well
        self.convex_y = None if self.stochastic or y.loss.convex else y.convex_start()
        self.options = {"tol": problem.tol, "max_iter": problem.max_iter}
        if self.stochastic:
            self.options["n_iter_no_change"] = problem.n_iter_no_change
            self.options["random_state"] = problem.random_state
        else:
            self.options["polish"] = plan.polish
        self.data, self.stopped_by, self.moments = problem.data, None, None
        self.group = self.objective = self.vector = None  # at work
        if plan.groups:
            self.data = problem.data.presolved(
                plan.presolve, y.weight, problem.fit_intercept, self.l2_reg
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
        settings, solve = SETTINGS[group.solver], SOLVERS[group.solver]
        if self.problem.settings is not None:
            settings = self.problem.settings._applied(settings)
        options = {**self.options, "settings": settings}
        first, convex, resumed = objective.start(), None, state.solver.saved is not None
        if resumed:
            pass
        elif self.problem.start is not None:
            coef, intercept = self.problem.start
            known = np.nan_to_num(intercept[group.outputs], posinf=0.0, neginf=0.0)
            first = objective.pack(*self.data.apply(coef[group.outputs], known))
        elif self.convex_y is not None:
            relative = self._objective(self.convex_y, group)
            convex = solve(relative, relative.start(), **options)
            first = convex.vector
        result = convex
        if convex is None or convex.stopped_by is None:
            ended = resumed and state.stopping is not None and state.stopping.has_ended
            if ended:
                options["max_iter"] = 0
            try:
                result = solve(objective, first, callback=self, state=state.solver, **options)
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

    def __call__(self, result):
        """The solver's callback: whether to stop here."""
        self.vector, stop, stopping = result.vector, False, self.state.stopping
        if stopping is not None:
            coef, intercept = self.coefficients(self.group, self.objective, result.vector)
            stop = stopping.stop(self.group.outputs, coef, intercept, self.n_threads)
        return (self.monitor is not None and self.monitor(result, self)) or stop

    def model(self):
        """(coef, intercept) so far, as a fit that ended here would store them."""
        self._place(self.group, *self.coefficients(self.group, self.objective, self.vector))
        return self.state.coef.copy(), self.state.intercept.copy()

    def dump(self):
        """A tree to go on from."""
        return self.state.dump(self.problem)

    # ---- Undo ----------------------------------------------------------------------------------

    def coefficients(self, group, objective, vector):
        """(coef, intercept) in the units of X, float64, of a solver's vector."""
        W, intercept = objective.split(vector)
        coef, intercept = self.data.undo(W.T, intercept)
        if objective.shift_invariant:
            intercept = intercept - np.add.reduce(intercept) / len(intercept)
        if not self.stochastic:  # else the points of their rules, not the minimum
            if objective.shift_invariant:
                # The same change of all logits changes no loss: of all that predict the same these
                # are the least, so no penalty is higher. A solver gets there itself only where the
                # penalty is more than rounding.
                coef = coef - np.add.reduce(coef) / len(coef)
            if objective.l2_reg == STRENGTHS[1]:  # or more: what is left is not of this penalty
                coef = np.zeros_like(coef)
        return coef, intercept if self.problem.fit_intercept else np.zeros(len(coef))

    def _place(self, group, coef, intercept):
        """Put coefficients of a group among those of all."""
        with np.errstate(over="ignore"):  # beyond float32: `_stored` sees to that
            self.state.coef[group.outputs] = coef
            self.state.intercept[group.outputs] = intercept

    # ---- Certify, as stored --------------------------------------------------------------------

    def _keep(self, result):
        """The coefficients of a result, and how good they are as they are stored."""
        group, objective, stopping = self.group, self.objective, self.state.stopping
        coef, intercept = self.coefficients(group, objective, result.vector)
        value, bound, lost = result.objective, result.bound, 0.0
        known = not self.stochastic
        if stopping is not None and stopping.best is not None:
            coef, intercept = stopping.best
            known = False  # value and bound are of another point
        if not isinstance(result.stopped_by, Exception):  # else the data may be at fault
            try:
                if not known:
                    vector = objective.pack(*self.data.apply(coef, intercept))
                    value, bound = objective.value_gradient(vector)[0], np.inf
                value, bound, lost = self._stored(coef, intercept, value, bound)
            except Exception as error:
                result.stopped_by = error
        self._place(group, coef, intercept)
        separable = self.problem.penalty.C == np.inf and result.objective < objective.value_scale
        if separable and result.reason in (StopReason.ESTIMATED, StopReason.ROUNDING):
            result.reason = StopReason.SEPARABLE
        if stopping is not None and stopping.has_ended:
            result.reason = StopReason.EARLY_STOPPING
        solved = Solved(result, group.solver, value, min(bound, value), separable, lost)
        self.state.solved.append(solved)
        self.moments = self.data.undo_moments(objective.moments)
        self.stopped_by = result.stopped_by

    def _stored(self, coef, intercept, reached, bound):
        """How good coefficients are as they are stored, and as predictions use them.

        The stored dtype may lack digits; and where logits are small sums of huge terms, predictions
        lose digits that the fit had, to which X is centred or rotated. Where float32 loses too
        much, all coefficients are stored in float64 from now on, and predictions computed in it.

        Parameters
        ----------
        coef, intercept : ndarray
            float64, in the units of X.
        reached, bound : float
            Their objective, and a bound of it less the minimum, as the fit computes them.

        Returns
        -------
        value, bound : float
            The same of the stored coefficients.
        lost : float
            How much ``value`` differs from ``reached``, relative to it; 0 where that is within
            what is allowed.
        """
        state, objective = self.state, self.objective
        dtype, exact = state.coef.dtype, (coef, intercept)
        if dtype == np.float32:
            with np.errstate(over="ignore", invalid="ignore"):
                coef = coef.astype(dtype).astype(np.float64)
                intercept = intercept.astype(dtype).astype(np.float64)
            if not np.isfinite(coef.sum() + intercept.sum()):
                return self._stored_in_float64(*exact, reached, bound)
        scale = max(abs(reached), objective.value_scale)
        allowed = max(self.problem.tol, STORED_FLOOR[dtype]) * scale
        # Rounding moves the logits of each row by about `error`, one way or the other. Squares of
        # residuals, and curvatures, are at most about as large as losses: the mean loss changes by
        # the mean of residuals times errors, and by curvatures times their squares.
        unit = self.plan.presolve.unit
        in_unit = coef if unit == 1.0 else coef * unit
        error = EPS[dtype] * math.sqrt(_squares_of_terms(in_unit, intercept, self.in_unit))
        expected = (error * math.sqrt(scale / objective.rows.n_rows) + error**2 * scale) / allowed
        if dtype == np.float32 and expected > EXPECTED:
            return self._stored_in_float64(*exact, reached, bound)
        value, of_value = reached, bound
        if dtype == np.float32 or bound == np.inf:
            value, gap = objective.optimality_gap(objective.pack(*self.data.apply(coef, intercept)))
            of_value = np.inf if gap == np.inf else gap * value / (1.0 + gap)
        predicted, factor = value, 1.0
        if expected > 1:
            loss = self._predicted_loss(coef, intercept)
            if loss is not None:
                penalty = 0.5 * objective.l2_reg * float(np.vdot(in_unit, in_unit))
                predicted = loss / objective.total_weight + penalty
            # float64 is the last resort
            factor = STORED_SAFETY if dtype == np.float32 else 1.0
        lost = max(factor * abs(predicted - value), abs(value - reached))
        if lost <= allowed:
            return value, of_value, 0.0
        if dtype == np.float32:
            return self._stored_in_float64(*exact, reached, bound)
        return predicted, max(of_value + predicted - value, 0.0), lost / scale

    def _stored_in_float64(self, coef, intercept, reached, bound):
        """``_stored``, where float32 loses too much."""
        self.state.coef = self.state.coef.astype(np.float64)
        self.state.intercept = self.state.intercept.astype(np.float64)
        return self._stored(coef, intercept, reached, bound)

    def _predicted_loss(self, coef, intercept):
        """Sum of the losses as predictions compute them; None where the fit computes the same.

        inf where it would take passes over shards.
        """
        data, dtype, objective = self.data, self.state.coef.dtype, self.objective
        if not data.steps and dtype in (np.float64, objective.rows.dtype):
            return None
        if not data.in_memory:
            return np.inf
        outputs, intercept = self.group.outputs, intercept + objective.offset
        return data.predicted_loss(self.problem.y, outputs, coef, intercept, dtype, self.n_threads)

    # ---- Report --------------------------------------------------------------------------------

    def training(self):
        """What has been found, summed over the groups."""
        state = self.state
        solver = "lbfgs" if self.problem.solver == "auto" else self.problem.solver
        found = Training(state.coef, state.intercept, solver)
        found.moments, found.stopped_by = self.moments, self.stopped_by
        bounds, bounded, length = 0.0, True, 0 if state.solved else 1
        for solved in state.solved:
            result, found.solver = solved.result, solved.solver
            found.objective += solved.objective
            bounds, bounded = bounds + solved.bound, bounded and solved.bound < solved.objective
            found.n_iter = max(found.n_iter, result.n_iter)
            found.reason = max(found.reason, result.reason)
            found.lost = max(found.lost, solved.lost)
            found.separable |= solved.separable
            if not result.converged:
                found.failed.append(result)
            length = max(length, len(result.objectives))
        if state.solved:
            rest = found.objective - bounds
            found.gap = float(bounds / rest) if rest > 0 and bounded else np.inf
        columns = np.zeros((3, length))  # objectives, these times gaps, seconds
        for solved in state.solved:
            result = solved.result
            history = np.array([result.objectives, result.gaps, result.seconds])
            history[1] *= history[0] if len(state.solved) > 1 else 1.0
            n_done = history.shape[1]
            columns[:, :n_done] += history
            if n_done < length:  # one that has ended stays at its last value
                columns[:, n_done:] += history[:, -1:]
        if len(state.solved) > 1:
            columns[1] /= columns[0]
        found.history = dict(zip(("objective", "gap", "seconds"), columns, strict=True))
        if state.stopping is not None:  # without anything to fit, nothing was judged
            found.history["validation_loss"] = np.array(state.stopping.losses or [0.0])
        return found


def _squares_of_terms(coef, intercept, moments):
    """Mean over the rows of the sum of the squares of the terms of a logit; the largest output's.

    Or a bound of it that takes less time, where it is small.
    """
    mean_square = moments.mean_squares()
    of_intercept = float(np.vdot(intercept, intercept))
    most = float(np.vdot(coef, coef)) * mean_square.max(initial=0.0)
    if most <= SMALL_TERMS:
        return most + of_intercept
    return np.einsum("kj,kj,j->k", coef, coef, mean_square).max(initial=0.0) + of_intercept
