"""Proximal Newton: for penalties that are not smooth, and for bounds.

Each step minimises the quadratic model of the mean loss plus the penalty itself, over the
coefficients that are not 0 or that the gradient would move away from 0; see Lee, Sun and Saunders,
"Proximal Newton-type methods for minimizing composite functions", SIAM J. Optim. 24 (2014), and
Yuan, Ho and Lin, "An improved GLMNET for L1-regularized logistic regression", JMLR 13 (2012). With
exact Hessians it converges quadratically, and so does the certificate of the gap, which for an L1
penalty falls with the largest violation of an optimality condition, not with its square.

From W = 0 the first steps are taken with an L1 penalty that keeps all but a few coefficients at 0,
and that falls by a constant factor from step to step. So the number of coefficients in use grows
towards that of the minimum instead of falling from all of them.
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
    *("size", "value_scale", "rounding", "value_gradient", "penalty", "shifted", "strongest"),
    *("feasible", "newton_model", "terms", "violation"),
)


def proximal_newton(objective, start, *, polish=False, settings=DEFAULTS, **options):
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
    agreed : bool
        Whether the step before has confirmed such a prediction.
    """

    CHANGES = ("x", "value", "gradient", "strengthened", "state", "predicted", "agreed")

    def __init__(self, objective, start, settings, polish):
        self.objective, self.settings, self.polish = objective, settings, polish
        self.x = objective.feasible(start)
        self.result = Result(vector=self.x, objective=np.inf)
        self.strengthened, self.predicted, self.agreed = None, np.inf, False
        self.state = {"bound": settings.bound, "moved": None, "raised": 1.0, "far": True}
        self.state["hessian_at"] = None
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
            self._record(time.perf_counter() - began, tol)
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
            self._record(time.perf_counter() - began, tol)

    def _begin(self):
        """Choose the first strength of the penalty."""
        objective, self.strengthened = self.objective, 1.0
        if not objective.coefficients(self.x).any():
            strongest = objective.strongest(self.gradient)
            self.strengthened = max(1.0, strongest * self.settings.path)

    @property
    def scale(self):
        """What gaps are relative to."""
        return max(abs(self.value), self.objective.value_scale)

    def _record(self, seconds, tol):
        """Note the present point, with the gap as it is known or estimated."""
        result, objective = self.result, self.objective
        result.vector, result.objective = self.x, self.value
        result.gap, result.bound = self.predicted, np.inf
        if objective.certifiable:
            wanted = tol / (1.0 + tol) * self.scale
            bound = objective.certified_gap(self.x, self.value, self.gradient, wanted)
            result.gap = objective.certificate_excess * wanted / self.scale
            if bound < np.inf:
                result.bound, result.gap = bound, bound / self.scale
        result.gradient_norm = max(self.gradient.max(initial=0.0), -self.gradient.min(initial=0.0))
        result.record(seconds)

    def _reason(self, tol, max_iter):
        """Return the reason to stop here, or None; the result records it."""
        result, objective = self.result, self.objective
        at_work = self.strengthened > 1.0
        polished = self.predicted <= STOPPING.polished or not self.polish
        if objective.certifiable and result.bound < np.inf and not at_work and polished:
            result.stop(StopReason.CERTIFIED, True)
            return result.reason
        if not objective.certifiable and not at_work and polished and self.predicted <= tol:
            if self.agreed:
                result.stop(StopReason.ESTIMATED, True)
                return result.reason
            self.agreed = True
        else:
            self.agreed = False
        if result.n_iter >= max_iter:
            result.stop(StopReason.MAX_ITER, result.gap <= tol and not at_work)
            return result.reason
        return None

    def _step(self, tol):
        """Take a step; return False, with the reason in the result, if there is none to take."""
        objective, settings, x = self.objective, self.settings, self.x
        loss = self.value - objective.penalty(x)
        terms = objective.terms.times(self.strengthened)

        def penalty(vector):
            return terms.value(objective.coefficients(vector))

        value = loss + penalty(x)
        model = objective.newton_model(x, self.gradient, self.strengthened, settings, self.state)
        accuracy = settings.first_accuracy if self.state["far"] else settings.accuracy
        if model is None:  # all coefficients stay at 0, and there is nothing else
            self.predicted, self.strengthened = 0.0, self._next_strength()
            self.result.n_iter += 1
            return True
        predicted = model.minimise(accuracy)
        point = model.point()
        direction, step = point - x, 1.0
        slope = self.gradient @ direction + penalty(point) - penalty(x)
        noise, found = objective.rounding * self.scale, None
        # rounding errors hide the decrease of the value, but not that of the gradient
        unseen = STOPPING.rounding if objective.exact_hessian else 1.0
        hidden = -slope <= unseen * noise and self.strengthened == 1.0
        noise *= unseen if hidden else 1.0
        if np.isfinite(slope) and slope <= noise:
            for _ in range(1 if hidden else settings.most_trials):
                new = point if step == 1.0 else x + step * direction
                new_value, gradient = objective.value_gradient(new)
                now = new_value - objective.penalty(new) + penalty(new)
                if now <= value + settings.sufficient_decrease * step * min(slope, 0.0) + noise:
                    found = new, new_value, gradient
                    break
                guess = 0.5
                if np.isfinite(now):  # the minimum of a parabola through both values
                    guess = -0.5 * step * slope / (now - value - step * slope)
                step *= min(max(guess, 0.1), 0.5)
        if found is not None and hidden:
            before = objective.violation(x, self.gradient)
            after = objective.violation(objective.shifted(found[0]), found[2])
            if not after < settings.left * before:
                found = None
        at_work, self.strengthened = self.strengthened > 1.0, self._next_strength()
        if found is None:
            if at_work:
                self.result.n_iter += 1
                return True
            self._end_in_rounding(tol, predicted)
            return False
        model.remember(step)
        state = self.state
        if step < 1.0:
            state["bound"], state["raised"] = float(step * state["bound"]), 1.0
        elif value - now >= settings.as_predicted * predicted:
            state["raised"] *= 0.5
            if not at_work:
                state["bound"] = min(2.0 * state["bound"], settings.most_bound)
        elif objective.terms.grouped:
            state["raised"] = min(2.0 * state["raised"], 1.0)
        self.x, self.value, self.gradient = found
        shifted = objective.shifted(self.x)
        self.value += objective.penalty(shifted) - objective.penalty(self.x)
        self.x = shifted
        self.predicted = np.inf if at_work else max(0.0, predicted) / self.scale
        self.state["far"] = self.strengthened > 1.0 or self.predicted > settings.near
        self.result.n_iter += 1
        return True

    def _next_strength(self):
        return max(1.0, self.strengthened * self.settings.path)

    def _end_in_rounding(self, tol, predicted):
        """Stop for lack of further progress at floating-point precision."""
        result, rounding = self.result, self.objective.rounding
        gap = max(0.0, predicted) / self.scale if np.isfinite(predicted) else np.inf
        least = max(tol, STOPPING.rounding * rounding)
        if not self.objective.certifiable:
            result.gap = result.gaps[-1] = gap
        result.stop(StopReason.ROUNDING, tol == 0 or gap <= least)
