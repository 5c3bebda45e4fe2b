"""Proximal Newton: for penalties that are not smooth, and for bounds.

Each step minimises the quadratic model of the mean loss plus the penalty itself, over the
coefficients that are not 0 or that the gradient would move away from 0; see Lee, Sun and Saunders,
"Proximal Newton-type methods for minimizing composite functions", SIAM J. Optim. 24 (2014), and
Yuan, Ho and Lin, "An improved GLMNET for L1-regularized logistic regression", JMLR 13 (2012). With
exact Hessians it converges quadratically, and so does the certificate of the gap, which for an L1
penalty falls with the largest violation of an optimality condition, not with its square.

If there are many coefficients, the first steps from W = 0 are taken with an L1 penalty that keeps
all but a few of them at 0, and that falls by a constant factor from step to step. So the number of
coefficients in use grows towards that of the minimum instead of falling from all of them.
"""

import time

import numpy as np

from .._plan.composite_settings import ProximalNewton
from .._plan.settings import Stopping
from .._utils.state import Stateful
from .contract import StopReason
from .descent import carry_out, require
from .stopping import Result

STOPPING, DEFAULTS = Stopping(), ProximalNewton()
REQUIRES = (
    *("size", "value_scale", "rounding", "value_gradient", "loss_gradient", "penalty", "shifted"),
    *("feasible", "newton_model", "strongest", "violation"),
)


def proximal_newton(objective, start, *, polish=0.0, settings=DEFAULTS, **options):
    """Minimise an objective by proximal Newton; parameters and result as in ``descend``."""
    require(objective, "proximal-newton", REQUIRES)
    return carry_out(_ProximalNewton(objective, start, settings, polish), **options)


class _ProximalNewton(Stateful):
    """Takes the steps; ``result`` has the best point so far.

    Attributes
    ----------
    x, gradient : ndarray of shape (size,)
        The present point, and the gradient of the mean loss there.
    value : float
        The objective there.
    strengthened : float or None
        Number by which the L1 penalty is multiplied for now; None before the start.
    state : dict
        What models remember from step to step.
    predicted : float
        Decrease that the last model has predicted, over the scale of the objective; inf if it was
        one with a stronger penalty.
    remaining : float
        Estimate of ``predicted`` for the next step, from the rate of the last two and from what the
        last model has left.
    agreed : bool
        Whether the step before has confirmed such a prediction.
    """

    CHANGES = ("x", "value", "gradient", "strengthened", "state", "predicted")
    CHANGES += ("remaining", "agreed")

    def __init__(self, objective, start, settings, polish):
        self.objective, self.settings, self.polish = objective, settings, polish
        self.x = objective.feasible(start)
        self.result = Result(vector=self.x, objective=np.inf)
        self.strengthened, self.agreed = None, False
        self.predicted = self.remaining = np.inf
        self.state = {"bound": settings.bound, "far": True, "raised": 1.0}
        self.state.update(moved=None, hessian_at=None, partial=False)
        self.value = self.gradient = None

    def dump(self):
        """Return all that the next step depends on, as a tree."""
        dumps = {"result": self.result.dump(), "objective": self.objective.dump()}
        return {**super().dump(), **dumps}

    def load(self, tree):
        """Restore what ``dump`` returned; the objective must be of the same problem."""
        super().load(tree)
        self.result = Result.load(tree["result"])
        self.objective.load(tree["objective"])

    def run(self, tol, max_iter, callback):
        """Iterate from the start, or from a dump, which is made during a call of the callback."""
        result, seconds = self.result, self.result.seconds
        began = time.perf_counter() - (seconds[-1] if seconds else 0.0)
        resumed = self.strengthened is not None
        if not resumed:
            self.value, self.gradient = self.objective.value_gradient(self.x)
        if not (np.isfinite(self.value) and np.isfinite(self.gradient.sum())):
            result.objective = self.value
            result.stop(StopReason.DIVERGED, False)
            return
        if not resumed:
            self._begin()
            # from coefficients of another fit, at least a step is needed in most cases
            certify = max_iter == 0 or not self.objective.coefficients(self.x).any()
            self._record(time.perf_counter() - began, tol, certify)
        while True:
            if not resumed and callback is not None and callback(result):
                result.stop(StopReason.CALLBACK, True)
                return
            resumed = False
            reason = self._reason(tol, max_iter)
            if reason is not None:
                return
            if not self._step(tol):
                return
            near = self.remaining <= tol or result.n_iter >= max_iter
            self._record(time.perf_counter() - began, tol, near)

    def _begin(self):
        """Choose the first strength of the penalty."""
        objective, self.strengthened = self.objective, 1.0
        is_large = objective.size > self.settings.least_new  # else a step may use all of them
        if is_large and not objective.coefficients(self.x).any():
            strongest = objective.strongest(self.gradient)
            self.strengthened = max(1.0, strongest * self.settings.path)

    @property
    def scale(self):
        """What gaps are relative to."""
        return max(abs(self.value), self.objective.value_scale)

    def _record(self, seconds, tol, certify):
        """Note the present point, with the gap as it is known or estimated.

        Without ``certify`` it is known from lower bounds of the minimum of earlier points: a new
        one takes as long as some of the other parts of a step.
        """
        result, objective = self.result, self.objective
        result.vector, result.objective = self.x, self.value
        result.gap, result.bound = self.predicted, np.inf
        if objective.certifiable:
            if certify:
                self._certify(tol)
            result.gap = self._known_gap
        result.gradient_norm = max(self.gradient.max(initial=0.0), -self.gradient.min(initial=0.0))
        result.record(seconds)

    def _certify(self, tol):
        """Look for a lower bound of the minimum that is near enough."""
        wanted = tol / (1.0 + tol) * self.scale
        point = self.x, self.value, self.gradient
        self.result.bound = self.objective.certified_gap(*point, wanted)

    @property
    def _known_gap(self):
        """Relative distance from the best lower bound of the minimum so far."""
        return max(self.value - self.objective.certificate.least, 0.0) / self.scale

    def _reason(self, tol, max_iter):
        """Return the reason to stop here, or None; the result records it."""
        result, objective = self.result, self.objective
        at_work = self.strengthened > 1.0
        polished = self.remaining <= self.polish or not self.polish
        if objective.certifiable and result.bound < np.inf and not at_work and polished:
            result.stop(StopReason.CERTIFIED, True)
            return result.reason
        is_certain = not (at_work or self._is_partial)
        if not objective.certifiable and is_certain and polished and self.predicted <= tol:
            if self.agreed:
                result.stop(StopReason.ESTIMATED, True)
                return result.reason
            self.agreed = True
        else:
            self.agreed = False
        if result.n_iter >= max_iter:
            result.stop(StopReason.MAX_ITER, result.gap <= tol and is_certain)
            return result.reason
        return None

    @property
    def _is_partial(self):
        """Whether the estimate of the gap leaves out coefficients that the gradient would move."""
        return self.state["partial"] and not self.objective.certifiable

    def _step(self, tol):
        """Take a step; return False, with the reason in the result, if there is none to take."""
        objective, settings, x = self.objective, self.settings, self.x
        at_work = self.strengthened > 1.0
        model = objective.newton_model(x, self.gradient, self.strengthened, settings, self.state)
        # the step before has changed nothing: the fit ends if this one does not, either
        has_ended = self.predicted == 0.0 and not at_work
        if model is None:  # all coefficients stay at 0, and there is nothing else
            if has_ended:
                self._end_in_rounding(tol, 0.0)
                return False
            self.predicted = self.remaining = np.inf if at_work else 0.0
            self.strengthened = self._next_strength()
            self.result.n_iter += 1
            return True
        loss = self.value - objective.penalty(x)
        predicted, left = model.minimise(model.accuracy(self.predicted))
        point, slope, step = model.point(), model.slope_of_step(), 1.0
        noise, found = objective.rounding * self.scale, None
        # rounding errors hide the decrease of the value, but not that of the gradient
        unseen = STOPPING.rounding if objective.exact_hessian else 1.0
        hidden = -slope <= unseen * noise and not at_work
        noise *= unseen if hidden else 1.0
        if np.isfinite(slope) and slope <= noise:
            for _ in range(1 if hidden else settings.most_trials):
                new = point if step == 1.0 else x + step * (point - x)
                new_loss, gradient = objective.loss_gradient(new)
                change = new_loss - loss + model.penalty_to(step)
                if change <= settings.sufficient_decrease * step * min(slope, 0.0) + noise:
                    found = new, new_loss, gradient
                    break
                guess = 0.5
                if np.isfinite(change):  # the minimum of a parabola through both values
                    guess = -0.5 * step * slope / (change - step * slope)
                step *= min(max(guess, 0.1), 0.5)
        if found is not None and step == 1.0 and model.is_newton and not hidden:
            # the slope at the end, as the penalty changes along the step at about the same rate
            rest = slope + (found[2] - self.gradient) @ (point - x)
            if rest < settings.steep * slope:
                step, change, found = self._lengthened(point - x, slope, change, found)
        if found is not None and hidden:
            before = objective.violation(x, self.gradient)
            after = objective.violation(objective.shifted(found[0]), found[2])
            if not after < settings.left * before:
                found = None
        self.strengthened = self._next_strength()
        if found is None:
            if at_work or model.renew():
                self.result.n_iter += 1
                return True
            self._end_in_rounding(tol, predicted)
            return False
        model.remember(step)
        state = self.state
        if step < 1.0:
            state["bound"], state["raised"] = float(step * state["bound"]), 1.0
        # models of other losses may never predict the decrease well, however short the step
        elif objective.certifiable and -change < settings.hardly * predicted:
            state["bound"], state["raised"] = 0.5 * state["bound"], 1.0
        elif -change >= settings.as_predicted * predicted:
            state["raised"] *= 0.5
            if not at_work:
                state["bound"] = min(2.0 * state["bound"], settings.most_bound)
        elif objective.terms.grouped:
            state["raised"] = min(2.0 * state["raised"], 1.0)
        point, new_loss, self.gradient = found
        self.x = objective.shifted(point)
        self.value = new_loss + objective.penalty(self.x)
        if has_ended and np.array_equal(self.x, x):
            self._end_in_rounding(tol, 0.0)
            return False
        before, self.predicted = self.predicted, max(0.0, predicted) / self.scale
        if at_work:
            self.predicted = np.inf
        quicker = min(self.predicted / before, 1.0) if 0.0 < before < np.inf else 1.0
        self.remaining = self.predicted * (max(quicker, left) if step == 1.0 else 1.0)
        self.state["far"] = self.strengthened > 1.0 or self.predicted > settings.near
        if quicker > settings.slow:
            model.renew()
        self.result.n_iter += 1
        return True

    def _lengthened(self, direction, slope, change, found):
        """Double a whole step as long as that lowers the objective.

        Where most rows are predicted well already, their curvature falls along a step, and the
        model does not know. Coefficients that the step takes to 0 stay there.

        Parameters
        ----------
        direction : ndarray of shape (size,)
        slope, change : float
            Of the objective with the penalty for now, at the start and by the step.
        found : (ndarray of shape (size,), float, ndarray of shape (size,))
            Point, mean loss and its gradient at the end of the step.

        Returns
        -------
        step, change, found
        """
        objective, settings, step = self.objective, self.settings, 1.0
        terms, start = objective.terms.times(self.strengthened), found[0] - direction
        penalty = terms.value(objective.coefficients(found[0]))
        zeros = objective.coefficients(found[0]) == 0
        while step < settings.most_step:
            new = start + 2.0 * step * direction
            objective.coefficients(new)[zeros] = 0.0
            new = objective.feasible(new)
            more = terms.value(objective.coefficients(new)) - penalty
            if not found[2] @ (new - found[0]) + more < settings.steep * step * slope:
                break
            loss, gradient = objective.loss_gradient(new)
            gained = loss - found[1] + more
            if not gained < 0:
                break
            step, change, penalty = 2.0 * step, change + gained, penalty + more
            found = new, loss, gradient
        return step, change, found

    def _next_strength(self):
        return max(1.0, self.strengthened * self.settings.path)

    def _end_in_rounding(self, tol, predicted):
        """Stop for lack of further progress at floating-point precision."""
        result, rounding = self.result, self.objective.rounding
        is_known = np.isfinite(predicted) and not self._is_partial
        gap = max(0.0, predicted) / self.scale if is_known else np.inf
        least = max(tol, STOPPING.rounding * rounding)
        if self.objective.certifiable:
            self._certify(tol)
            gap = self._known_gap
        result.gap = result.gaps[-1] = gap
        if result.bound < np.inf:
            result.stop(StopReason.CERTIFIED, True)
            return
        result.stop(StopReason.ROUNDING, (tol == 0 and not self._is_partial) or gap <= least)
