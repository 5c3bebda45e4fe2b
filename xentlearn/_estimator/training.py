"""Fits a problem by its plan: presolve; then solve, undo and certify for each group of outputs."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from .._data.presolve import ScaledX
from .._data.statistics import Moments
from .._objective.composite import CompositeObjective
from .._objective.linear import LinearObjective
from .._plan.settings import STOCHASTIC
from .._solvers.contract import StopReason
from .._solvers.one_step import lbfgs_of_one_step
from .._solvers.registry import SETTINGS, SOLVERS
from .._utils._sweeps import give_back_memory
from .._utils.numerics import (
    EPS,
    EXPECTED,
    STORED_FLOOR,
    STORED_SAFETY,
    STRENGTHS,
)
from .._utils.threads import effective_n_threads, sequential_blas
from .fit_state import Solved
from .start import finite_intercept


@dataclass
class Training:
    """The result of a fit.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
        Coefficients and intercepts, in the dtype in which they are stored.
    solver : str
        The solver that was used; the last one if there are several groups.
    reason : StopReason
        Why the solver stopped; the worst reason of all groups.
    objective, gap : float
        The objective at the stored coefficients, and a certified bound of its relative gap.
    n_iter : int
        Number of iterations; the largest of all groups.
    history : dict
        Arrays with one entry per iteration; groups are combined as if they were fitted in parallel.
    failed : list of Result
        Results of the solvers that stopped before they converged.
    separable : bool
        Whether the objective of a group without a penalty goes to 0.
    lost : float
        Relative difference between the objective that predictions by the stored coefficients have
        and the one that the solver reached; 0 if it is within 'tol'. The largest of all groups.
    moments : Moments or None
        Moments of the features; None if nothing was fitted.
    stopped_by : BaseException or None
        The exception that interrupted the fit. The attributes are those of the best point so far,
        as the solver knew them, without a pass over X: ``gap`` is inf. Groups that were not reached
        have the coefficients of their start, and do not count in the other attributes.
    pass_seconds : float
        Shortest time of a pass over X; the sum over all groups.
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
    pass_seconds: float = 0.0


def train(problem, plan, state, monitor=None):
    """Fit the outputs that are not constant in training.

    Parameters
    ----------
    problem : Problem
    plan : Plan
    state : FitState
        A new one, or one with a dump to resume from.
    monitor : callable or None, default=None
        Called as ``monitor(result, fit)`` at the start and after each iteration; the fit stops if
        it returns a true value. ``fit.model()`` returns the present (coef, intercept), and
        ``fit.dump()`` a tree to resume from.

    Returns
    -------
    Training

    Raises
    ------
    KeyboardInterrupt
        If the fit was interrupted before anything was found.
    """
    with sequential_blas:
        fit = Fit(problem, plan, state, monitor)
        try:
            for group in plan.groups[len(state.solved) :]:
                fit.solve(group)
                if fit.stopped_by is not None:
                    break
        except KeyboardInterrupt as error:  # between two solvers
            fit.stopped_by = error
        if fit.stopped_by is not None:
            fit.break_off()
        return fit.training()


class Fit:
    """A call of ``train``, with its parameters; ``data`` is X after presolve."""

    def __init__(self, problem, plan, state, monitor):
        self.problem, self.plan, self.state, self.monitor = problem, plan, state, monitor
        y = problem.y
        if state.saved is None:
            state.coef = np.zeros((y.n_outputs, problem.data.shape[1]), dtype=problem.dtype)
            state.intercept = problem.constant.astype(problem.dtype)
        else:
            state.load(problem)
        self.stochastic = problem.solver in STOCHASTIC
        units = y.total_weight, y.weight_exponent, plan.presolve.unit
        self.l2_reg = problem.penalty.strength(*units)
        self.terms = None
        if problem.penalty.is_composite:
            self.terms = problem.penalty.terms(problem.data.shape[1], *units)
        # for small X, finding the number of threads would take as long as several passes
        self.n_threads = 1 if plan.one_thread else effective_n_threads()
        # stochastic solvers need no convex start: their noise leads away from a bad one
        self.convex_y = None if self.stochastic or y.loss._convex else y.convex_start()
        self.options = {"tol": problem.tol, "max_iter": problem.max_iter}
        if self.stochastic:
            self.options["n_iter_no_change"] = problem.n_iter_no_change
            self.options["random_state"] = problem.random_state
        else:
            self.options["polish"] = plan.polish
        self.data, self.stopped_by, self.moments, self.pass_seconds = problem.data, None, None, 0.0
        self.group = self.objective = self.result = None  # the present ones
        self.exact = None  # (coef, intercept) of the present group in float64, as they were found
        self.separable = False  # whether its objective tends to 0
        self.found = None  # (result, whether its value is known) of the present group, see `_keep`
        if plan.groups:
            self.data = problem.data.presolved(
                plan.presolve, y.weight, problem.fit_intercept, self.l2_reg
            )
        state.enter(self.data)

    def solve(self, group):
        """Fit a group from the best start that is known, and store its coefficients."""
        objective, state = self.objective_of(self.problem.y, group), self.state
        objective.preconditioners.local = state.preconditioner
        self.in_unit = self.data.undo_moments(objective.moments, but_for=(ScaledX,))
        self.in_unit.require_comparable(objective.rows.dtype, self.l2_reg)
        self.group, self.objective, self.found = group, objective, None
        settings, solve = SETTINGS[group.solver], SOLVERS[group.solver]
        if group.history_size is not None:
            settings = replace(settings, large_history=group.history_size)
        if self.problem.settings is not None:
            settings = self.problem.settings._applied(settings)
        if group.history_size is not None and settings.large_history == 1:
            solve = lbfgs_of_one_step
        options = {**self.options, "settings": settings}
        first, convex, resumed = objective.start(), None, state.solver.saved is not None
        if resumed:
            pass
        elif self.problem.start is not None:
            coef, intercept = self.problem.start
            known = coef[group.outputs], finite_intercept(intercept[group.outputs])
            first = objective.pack(*self.data.apply(*known))
            if group.hessian_at_start:
                objective.precondition_at(first)
        elif self.convex_y is not None:
            relative = self.objective_of(self.convex_y, group)
            convex = solve(relative, relative.start(), **options)
            first, self.found, self.stopped_by = convex.vector, (convex, False), convex.stopped_by
        if convex is None or convex.stopped_by is None:
            ended = resumed and state.validation is not None and state.validation.has_ended
            if ended:
                options["max_iter"] = 0
            try:
                result = solve(objective, first, callback=self, state=state.solver, **options)
                result.converged |= ended
                self.stopped_by = result.stopped_by
                if convex is None or result.objectives:
                    self.found = result, not self.stochastic
            except Exception as error:
                if convex is None:
                    raise
                self.stopped_by = error  # the minimum of the convex loss is the result
        if self.stopped_by is None or self.found[0].objectives:
            self._keep(*self.found)
            self.objective = None

    def objective_of(self, y, group):
        # float32 would hide the last digits of gradients, which an L1 penalty shows
        dtype, problem = None if self.terms is None else np.float64, self.problem
        rows = self.data.rows(y, group.outputs, self.n_threads, dtype)
        if self.terms is not None:
            kept, terms = self.plan.presolve.kept, self.terms
            terms = terms if kept is None else terms.taken(kept)
            options = problem.fit_intercept, self.n_threads, group.small_binary
            return CompositeObjective(rows, terms, *options)
        options = problem.fit_intercept, self.n_threads, group.preconditioning, group.small_binary
        return LinearObjective(rows, self.l2_reg, *options)

    def __call__(self, result):
        """Return whether the solver should stop here; this is its callback."""
        self.result, stop, validation = result, False, self.state.validation
        if validation is not None:
            coef, intercept = self.coefficients(self.group, self.objective, result.vector)
            stop = validation.stop(self.group.outputs, coef, intercept, self.objective.n_threads)
        return (self.monitor is not None and self.monitor(result, self)) or stop

    def model(self):
        """Return (coef, intercept) as a fit that stopped now would store them."""
        vector = self.result.vector
        self._place(self.group, *self.coefficients(self.group, self.objective, vector))
        return self.state.coef.copy(), self.state.intercept.copy()

    def dump(self):
        """Return the state of the fit as a tree to resume from."""
        return self.state.dump(self.problem)

    # ---- Undo ----------------------------------------------------------------------------------

    def coefficients(self, group, objective, vector):
        """Return (coef, intercept) of a solver's vector, in the units of X and in float64."""
        W, intercept = objective.split(vector)
        coef, intercept = self.data.undo(W.T, intercept)
        if objective.shift_invariant:
            intercept = intercept - np.add.reduce(intercept) / len(intercept)
        # a stochastic solver's is the point of an update rule, not a minimum; penalties by feature
        # have been dealt with by their solver
        if not (self.stochastic or self.terms is not None):
            if objective.shift_invariant:
                # The same change of all logits does not change the loss. Of all coefficients with
                # the same predictions, these have the least norm, and so the least penalty. A
                # solver finds them itself only if the penalty exceeds rounding errors.
                coef = coef - np.add.reduce(coef) / len(coef)
            if objective.l2_reg == STRENGTHS[1]:  # the strength was clipped: the minimum is at 0
                coef = np.zeros_like(coef)
        return coef, intercept if self.problem.fit_intercept else np.zeros(len(coef))

    def _place(self, group, coef, intercept):
        """Store the coefficients of a group among those of all groups."""
        with np.errstate(over="ignore"):  # `_stored` deals with overflow in float32
            self.state.coef[group.outputs] = coef
            self.state.intercept[group.outputs] = intercept
            if self.terms is not None:
                stored = self.problem.penalty.allowed(self.state.coef[group.outputs])
                self.state.coef[group.outputs] = stored

    def break_off(self):
        """Keep what is known of the groups that are not finished; raise if that is nothing."""
        y, start, solved = self.problem.y, self.problem.start, self.state.solved
        rest = self.plan.groups[len(solved) :]
        if rest and rest[0] is self.group and self.found is not None and self.found[0].objectives:
            self._keep(*self.found)
        if not solved:
            raise self.stopped_by
        for group in self.plan.groups[len(solved) :]:
            coef, intercept = 0.0, 0.0
            if start is not None:
                coef = start[0][group.outputs]
                intercept = finite_intercept(start[1][group.outputs])
            elif self.problem.fit_intercept:  # several groups are of binary outputs
                logs = np.log(y.fitted_weight_sums()[group.outputs])
                intercept = logs[:, 1] - logs[:, 0]
            if start is not None or group is self.group:
                self._place(group, coef, intercept)
            else:  # zeros that nobody has written take no memory yet, and no time
                self.state.intercept[group.outputs] = intercept

    # ---- Certify the stored coefficients -------------------------------------------------------

    def _keep(self, result, known):
        """Store the coefficients of a result, and record how good they are as stored.

        ``known`` says whether the result's value is that of the objective at its vector.
        """
        group, objective, validation = self.group, self.objective, self.state.validation
        if result.vector is not None:  # otherwise an interrupt has ended an earlier call
            self.exact = self.coefficients(group, objective, result.vector)
            near_0 = result.objective < objective.value_scale
            self.separable = near_0 and objective.is_unbounded(result.vector, result.objective)
        result.vector = None  # as large as the coefficients, in float64
        value, bound, lost = result.objective, result.bound, 0.0
        if validation is not None and validation.best is not None:
            self.exact = validation.best
            known = False  # value and bound are those of another point
        try:
            if not (known or isinstance(self.stopped_by, Exception)):  # X may be unreadable then
                vector = objective.pack(*self.data.apply(*self.exact))
                value, bound = objective.value_gradient(vector)[0], np.inf
                del vector
            value, bound, lost = self._stored(value, bound)
        except (KeyboardInterrupt, Exception) as error:
            self.stopped_by, bound = self.stopped_by or error, np.inf
        self._place(group, *self.exact)
        if self.separable and result.reason in (StopReason.ESTIMATED, StopReason.ROUNDING):
            result.reason = StopReason.SEPARABLE
        if validation is not None and validation.has_ended:
            result.reason = StopReason.EARLY_STOPPING
        solved = Solved(result, group.solver, value, min(bound, value), self.separable, lost)
        self.moments = self.data.undo_moments(objective.moments)
        self.state.solved.append(solved)
        self.state.keep(objective)
        self.result = self.exact = None
        self.pass_seconds += objective.pass_seconds

    def _stored(self, reached, bound):
        """Compute the objective and its bound at the coefficients as they are stored.

        ``self.exact`` has them in float64 and in the units of X. Once it is known that float32 has
        enough digits, it has them in float32, in half the memory.

        The dtype in which they are stored may have too few digits. Besides, if logits are small
        sums of huge terms, predictions lose digits that a fit on centred or rotated X keeps. If
        float32 loses too many digits, all coefficients are stored in float64 from now on, and
        predictions are computed in float64.

        Parameters
        ----------
        reached, bound : float
            Their objective, and an upper bound of objective - minimum, as the fit computes them.

        Returns
        -------
        value, bound : float
            The same two for the stored coefficients; (reached, inf) if the fit was interrupted.
        lost : float
            Relative difference between ``value`` and ``reached``; 0 if it is within the tolerance.
        """
        state, objective = self.state, self.objective
        dtype, (coef, intercept) = state.coef.dtype, self.exact
        if dtype == np.float32:
            with np.errstate(over="ignore", invalid="ignore"):
                rounded = coef.astype(dtype), intercept.astype(dtype)
                if self.terms is not None:
                    rounded = self.problem.penalty.allowed(rounded[0]), rounded[1]
                coef, intercept = rounded[0].astype(np.float64), rounded[1].astype(np.float64)
                overflows = not np.isfinite(coef.sum() + intercept.sum())
            if overflows:
                return self._stored_in_float64(reached, bound)
        scale = max(abs(reached), objective.value_scale)
        allowed = max(self.problem.tol, STORED_FLOOR[dtype]) * scale
        # Rounding changes the logits of each row by about `error`, with random signs. Its mean loss
        # changes by the mean of residuals times errors, and of curvatures times squared errors;
        # squares of residuals, and curvatures, are at most about as large as losses.
        unit = self.plan.presolve.unit
        in_unit = coef if unit == 1.0 else coef * unit
        error = EPS[dtype] * math.sqrt(self.in_unit.squares_of_terms(in_unit, intercept))
        expected = (error * math.sqrt(scale / objective.rows.n_rows) + error**2 * scale) / allowed
        if dtype == np.float32 and expected > EXPECTED:
            return self._stored_in_float64(reached, bound)
        if self.stopped_by is not None:
            return reached, np.inf, 0.0
        value, of_value, evaluated = reached, bound, None
        # of a fit that has not converged a certificate may still show that it is near the minimum
        is_enough = bound < np.inf or (self.problem.only_predicts and self.found[0].converged)
        if dtype == np.float32 or not is_enough:
            vector = objective.pack(*self.data.apply(coef, intercept))
            if not expected > 1:
                coef = in_unit = None  # their memory is used again
            if self.group.history_size is not None:  # vectors are large
                objective.few = objective.preconditioners = None  # the solver has ended
                give_back_memory()
            if is_enough and objective.rows.sample is objective.rows:
                value = objective.value(vector)
                of_value = max(bound + value - reached, 0.0)
            else:
                evaluated = objective.value_gradient(vector)
                value = evaluated[0]
        predicted, factor = value, 1.0
        if expected > 1:
            loss = self._predicted_loss(coef, intercept)
            if loss is not None:
                penalty = 0.5 * objective.l2_reg * np.einsum("kj,kj->", in_unit, in_unit)
                if self.terms is not None:
                    penalty = self.terms.value(in_unit.T)
                predicted = loss / objective.total_weight + penalty
            # no safety factor in float64, as there is no wider dtype to fall back to
            factor = STORED_SAFETY if dtype == np.float32 else 1.0
        lost = max(factor * abs(predicted - value), abs(value - reached))
        if dtype == np.float32 and lost <= allowed:
            self.exact = rounded
        if self.group.history_size is not None:
            give_back_memory()
        if evaluated is not None:
            gap = objective.optimality_gap(vector, evaluated)[1]
            of_value = np.inf if gap == np.inf else gap * value / (1.0 + gap)
        if lost <= allowed:
            return value, of_value, 0.0
        if dtype == np.float32:
            return self._stored_in_float64(reached, bound)
        return predicted, max(of_value + predicted - value, 0.0), lost / scale

    def _stored_in_float64(self, reached, bound):
        """Return the result of ``_stored`` after a change to float64."""
        self.state.coef = self.state.coef.astype(np.float64)
        self.state.intercept = self.state.intercept.astype(np.float64)
        return self._stored(reached, bound)

    def _predicted_loss(self, coef, intercept):
        """Return the sum of the losses of predictions by stored coefficients.

        None means that predictions are computed as in the fit; inf that the sum is unknown, because
        it would take a pass over shards.
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
        """Return the result of the fit, combined from those of the groups."""
        state = self.state
        solver = self.problem.solver
        if solver == "auto":
            solver = "proximal-newton" if self.problem.penalty.is_composite else "lbfgs"
        found = Training(state.coef, state.intercept, solver)
        found.moments, found.stopped_by = self.moments, self.stopped_by
        found.pass_seconds = self.pass_seconds
        bounds, bounded, length = 0.0, self.stopped_by is None, 0 if state.solved else 1
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
        if self.stopped_by is not None:
            found.reason = StopReason.INTERRUPTED
        if state.solved:
            rest = found.objective - bounds
            found.gap = float(bounds / rest) if rest > 0 and bounded else np.inf
        # of all groups together, and as stored: a solver may have ended by its estimate
        if found.reason in (StopReason.CERTIFIED, StopReason.ESTIMATED, StopReason.ROUNDING):
            if found.gap <= self.problem.tol:
                found.reason = StopReason.CERTIFIED
                found.failed = []  # whatever the solver's estimate was
            elif found.reason == StopReason.CERTIFIED:
                found.reason = StopReason.ESTIMATED
        columns = np.zeros((3, length))  # objectives, these times gaps, seconds
        for solved in state.solved:
            result = solved.result
            history = np.array([result.objectives, result.gaps, result.seconds])
            history[1] *= history[0] if len(state.solved) > 1 else 1.0
            n_done = history.shape[1]
            columns[:, :n_done] += history
            if n_done < length:  # a finished group keeps its last values
                columns[:, n_done:] += history[:, -1:]
        if len(state.solved) > 1:
            columns[1] /= columns[0]
        found.history = dict(zip(("objective", "gap", "seconds"), columns, strict=True))
        if state.validation is not None:
            found.history["validation_loss"] = self._validation_losses(length)
        if self.stochastic:  # in one group, if any
            rates = [] if not state.solved else state.solved[0].result.rates
            found.history["learning_rate"] = np.array(rates or [0.0])
        return found

    def _validation_losses(self, length):
        """Return the validation losses of all groups, combined as the objectives are."""
        total, rest = np.zeros(length), self.state.validation.losses
        for solved in self.state.solved:
            n_done = len(solved.result.objectives)
            # an interrupt may come after an objective was recorded, and before the loss
            losses = np.full(n_done, np.nan)
            losses[: len(rest)] = rest[:n_done]
            total[:n_done] += losses
            total[n_done:] += losses[-1]
            rest = rest[n_done:]
        return total
