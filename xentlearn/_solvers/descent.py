"""Descent by line searches along the directions of a rule, which differs between solvers.

The following was tried without success on MNIST (784 features, 10 classes): Newton's method by
conjugate gradients far from the minimum of raw pixels, which overshoots; blocks of the Hessian from
rows that are sampled by curvature alone (``_objective/hessian_blocks.py``); one curvature per class
instead of blocks; and stopping by the Newton decrement in the metric of L-BFGS, which is up to 10
times too small. For X with more features than rows, continuation costs more than it saves, as it
does whenever the rows are nearly separated.
"""

import time

import numpy as np

from .._plan import settings as defaults
from .._utils._sweeps import give_back_memory
from .._utils.state import Stateful
from .contract import State, StopReason
from .stopping import Result, Stopping

LINE_SEARCH, REFRESH = defaults.LineSearch(), defaults.Refresh()
CONTINUATION, STOPPING = defaults.Continuation(), defaults.Stopping()
REQUIRED = ("size", "value_scale", "rounding", "value_gradient", "precondition")


class Descent(Stateful):
    """Minimises an objective along the directions of a rule; ``result`` has the best point so far.

    All that the next iteration depends on is in this object, in the rule and in the objective: a
    descent that is resumed from a dump of them continues with the same bits.

    Parameters
    ----------
    objective : object
        See ``contract.py``.
    rule : object
        Chooses the directions. Its members are ``direction(point, gradient)``, the direction as a
        vector; ``add(x, x_new, gradient, gradient_new)``, called after each step; ``clear()``,
        which makes the next direction depend on the present point and gradient alone;
        ``metric(point, vector)``, an approximate inverse Hessian, positive definite and linear,
        times a vector;
        ``learnt()`` and ``begin_with(learnt)``, which carry what it knows over to a rule of the
        same objective with another penalty;
        ``lengthen()``, which makes the rule remember more steps of a slow descent; ``n_added``, the
        number of steps that it remembers; ``settings``, with ``first_refresh``, ``patience`` and
        ``slope_left``; ``exact``, whether directions are Newton directions; ``lean``, whether
        vectors are so large that only what is needed is kept, if possible in float32; ``dump()``
        and ``load(tree)``.
    start : ndarray of shape (size,)
    polish : float
        Gap to which to continue beyond ``tol``; 0 means no further.
    """

    CHANGES = ("x", "value", "gradient", "direction", "slope", "scale", "gap")
    PARTS = ("objective", "rule", "schedule", "stopping")

    def __init__(self, objective, rule, start, polish):
        self.objective, self.rule = objective, rule
        self.offers = getattr(objective, "OFFERS", ())
        self.result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
        self.schedule = _Schedule(objective, rule, polish)
        self.stopping = Stopping(objective, polish, rule.exact, rule.lean, STOPPING)
        self.x = None

    def dump(self):
        """Return all that the next iteration depends on, as a tree."""
        parts = {name: getattr(self, name).dump() for name in self.PARTS}
        return {**super().dump(), **parts, "result": self.result.dump()}

    def load(self, tree):
        """Restore what ``dump`` returned; the objective must be of the same problem."""
        super().load(tree)
        for name in self.PARTS:
            getattr(self, name).load(tree[name])
        self.result = Result.load(tree["result"])

    def run(self, tol, max_iter, callback):
        """Iterate from the start, or from a dump, which is made during a call of the callback."""
        seconds = self.result.seconds
        began = time.perf_counter() - (seconds[-1] if seconds else 0.0)
        is_judged = self.x is not None
        if not is_judged:
            self.x = self.result.vector
            self.value, self.gradient = self.objective.value_gradient(self.x)
            if not (np.isfinite(self.value) and np.isfinite(self.gradient).all()):
                self.result.objective = self.value
                self.result.stop(StopReason.DIVERGED, False)
                return
            self.take_direction()
        while True:
            if not is_judged:
                self._judge(time.perf_counter() - began)
                if callback is not None and callback(self.result):
                    self.result.stop(StopReason.CALLBACK, True)
                    return
            is_judged = False
            if self.stopping.reason(self, tol, max_iter) is not None or not self._move(tol):
                return

    def take_direction(self):
        """Set the next direction and the slope along it, within the step bound if there is one."""
        self.direction = None  # its memory is used again
        self.direction = self.rule.direction(self.x, self.gradient)
        self.slope = self.gradient @ self.direction
        if "bound_step" in self.offers:
            bounded = self.objective.bound_step(self.direction)
            if bounded is not self.direction:
                slope = self.gradient @ bounded
                if slope < LINE_SEARCH.least_slope * self.slope:
                    self.direction, self.slope = bounded, slope

    def _judge(self, seconds):
        """Estimate the gap at the present point, and record the point in the result."""
        result, gradient = self.result, self.gradient
        self.scale = max(abs(self.value), self.objective.value_scale)
        self.gap = self.stopping.estimate(self.value, self.slope, result.n_iter)
        if self.direction is None:  # the certificate is known, and no direction is needed
            self.gap = self.stopping.bound / self.scale
        result.vector, result.objective, result.gap = self.x, self.value, self.gap
        if self.schedule.continued:
            extra = self.objective.continuation_penalty(self.x)
            result.objective, result.gap = self.value - extra, self.gap + extra / self.scale
        result.gradient_norm = max(gradient.max(initial=0.0), -gradient.min(initial=0.0))
        result.record(seconds)

    def _move(self, tol):
        """Take a step; return False, with the reason in the result, if there is none to take."""
        objective, rule, result, schedule = self.objective, self.rule, self.result, self.schedule
        search = lean_search if rule.lean else line_search
        if schedule.next_stage(self, tol):
            if schedule.penalty_changed:  # otherwise what the rule has learnt remains valid
                rule.clear()
                self.value, self.gradient = objective.value_gradient(self.x)
                self.stopping.begin_again(self.value)
            elif schedule.n_made == 1:  # progress before it does not predict progress after it
                self.stopping.values = [self.value]
            self.take_direction()

        step = search(self, rule.settings.slope_left)
        if step is None and rule.n_added:  # the history may be at fault: try again without it
            rule.clear()
            self.take_direction()
            step = search(self, rule.settings.slope_left)
        if step is None and schedule.continued:  # no further progress with this extra penalty
            schedule.ended = True
            result.n_iter += 1
            return True
        while step is None:
            least = max(tol, STOPPING.rounding * objective.rounding)
            if -0.5 * self.slope <= least * self.scale:
                self.stopping.end_in_rounding(self, tol)
                return False
            if not ("regularise" in self.offers and objective.regularise()):
                result.stop(StopReason.LINE_SEARCH, False)
                return False
            if schedule.refreshes:
                objective.precondition_at(self.x, thorough=True)
            rule.clear()
            self.take_direction()
            step = search(self, rule.settings.slope_left)

        x_new, value_new, gradient_new = step
        rule.add(self.x, x_new, self.gradient, gradient_new)
        self.x, self.value, self.gradient = x_new, value_new, gradient_new
        if rule.lean:
            self._forget_last_point()
        result.n_iter += 1
        if rule.exact and self.stopping.is_certified(self, tol, judged=False):
            self.direction, self.slope = None, 0.0  # the next Hessian would be in vain
            return True
        self.take_direction()
        if not self.slope < 0:  # rounding errors have made the matrix indefinite
            rule.clear()
            self.take_direction()
        return True

    def _forget_last_point(self):
        """Give back the memory of the point before the present one."""
        if not self.schedule.continued:  # the value would have the extra penalty in it
            self.result.vector, self.result.objective = self.x, self.value
        self.stopping.forget_best(self.value)
        give_back_memory()


class _Schedule(Stateful):
    """Decides when the objective makes a new preconditioner, or takes the next extra penalty.

    Attributes
    ----------
    n_made : int
        Number of preconditioners made at a point so far.
    strengths : list of float or None
        Strengths of the extra penalties to come; None before the objective was asked for them.
    continued : bool
        Whether the objective has an extra penalty at present.
    penalty_changed : bool
        Whether the last stage changed the extra penalty.
    ended : bool
        Whether the present extra penalty has served its purpose.
    began : int
        Iteration at which the present extra penalty was taken.
    settled_from : float
        Iteration from which estimates of the gap count; inf during continuation.
    due : int
        Iteration of the next preconditioner.
    patience : int
        Number of iterations between two preconditioners.
    """

    CHANGES = (
        *("n_made", "strengths", "continued", "penalty_changed", "ended"),
        *("began", "settled_from", "due", "patience"),
    )

    def __init__(self, objective, rule, polish):
        self.objective, self.rule, self.polish = objective, rule, polish
        offers = getattr(objective, "OFFERS", ())
        self.refreshes, self.continues = "precondition_at" in offers, "continuation" in offers
        self.n_made = 0
        self.strengths = None
        self.continued = self.penalty_changed = self.ended = False
        self.began = 0
        self.settled_from = 0
        often = getattr(objective, "refresh_after", np.inf)
        self.due = REFRESH.polished if polish else min(rule.settings.first_refresh, often)
        self.patience = min(rule.settings.patience, often)

    def next_stage(self, descent, tol):
        """Begin the next stage if it is due; return whether the preconditioner has changed."""
        n_iter, gap = descent.result.n_iter, descent.gap
        if self.continued:
            settled = n_iter >= self.began + STOPPING.settled and gap <= CONTINUATION.tol
            self.ended |= settled or n_iter >= self.began + CONTINUATION.iterations
        if not (self.refreshes and (self.ended or n_iter >= self.due)):
            return False
        if not (self.polish or self.continued):  # the descent may be about to end
            near = gap <= REFRESH.nearly * tol
            if near or _n_left(descent.result.gaps, tol) <= REFRESH.soon:
                return False
        self.penalty_changed = False
        if self.strengths is None and n_iter >= self.rule.settings.first_refresh:
            self.strengths = []
            if self.continues:
                self.strengths = self.objective.continuation_strengths(descent.value)
            self.ended = bool(self.strengths)
        if self.ended:
            extra = self.strengths.pop(0) if self.strengths else 0.0
            self.objective.continue_at(extra)
            self.continued, self.penalty_changed = extra > 0, True
            self.began, self.ended = n_iter, False
            self.settled_from = np.inf if self.continued else n_iter + STOPPING.settled
        thorough = self.polish or n_iter >= STOPPING.slow
        whole = self.objective.precondition_at(descent.x, thorough)
        self.n_made += 1
        if thorough and not (whole or self.polish):
            self.rule.lengthen()
        if (self.polish or (thorough and whole)) and not self.continued:
            often = n_iter >= REFRESH.often_after
            self.due = n_iter + (REFRESH.often if often else REFRESH.polished)
        else:
            self.due = n_iter + self.patience
            if not self.continued:
                self.patience += self.patience // 2
        return True


def _n_left(gaps, tol):
    """Predict the number of iterations left until the gap is ``tol``; inf if unknown.

    The rate is that of the last iterations. As estimates of the gap fluctuate, the smallest ones of
    two windows are compared.
    """
    window, seen = STOPPING.window, REFRESH.seen
    now, before = min(gaps[-window:]), min(gaps[-window - seen : -seen], default=0.0)
    if not 0 < now < before < np.inf or not tol > 0:
        return np.inf
    return seen * np.log(now / tol) / np.log(before / now)


def line_search(descent, slope_left):
    """Search for a step along a direction that satisfies the weak Wolfe conditions.

    Near the minimum, the decrease of the value is less than its rounding error. A step is then
    judged by its slope alone, which is more accurate (the approximate Wolfe conditions of Hager and
    Zhang, SIAM J. Optim. 16, 2005).

    Parameters
    ----------
    descent : object
        It has the ``objective``, the ``rule``, the point ``x``, its ``value``, the ``direction``
        and the ``slope`` along it.
    slope_left : float
        Largest share of the slope that a step may leave; at least twice the constant of the
        sufficient decrease.

    Returns
    -------
    (point, value, gradient) or None
        None if no such step is found.
    """
    objective, x, direction = descent.objective, descent.x, descent.direction
    value, slope = descent.value, descent.slope
    sufficient, single = LINE_SEARCH.sufficient_decrease, direction.dtype == np.float32
    noise = objective.rounding * max(abs(value), objective.value_scale)
    # a Newton step whose decrease rounding errors hide; two of them are in a difference of values
    is_hidden = descent.rule.exact and -0.5 * slope <= noise
    noise *= 2.0 if is_hidden else 1.0
    low, high = 0.0, np.inf
    low_value, low_slope = value, slope
    # No loss is negative: the first step is at most the one at which a quadratic with this value
    # and slope has a minimum of 0.
    step = -2 * value / slope if 0 < 2 * value < -slope else 1.0
    for _ in range(LINE_SEARCH.most_trials):
        point = new_gradient = None  # their memory is used again
        point = x + (direction if step == 1.0 else step * direction)  # saves a pass if step is 1
        new_value, new_gradient = objective.value_gradient(point)
        new_slope = _slope(new_gradient, direction) if single else new_gradient @ direction
        finite = np.isfinite(new_value) and np.isfinite(new_slope)
        decreased = finite and (
            new_value <= value + sufficient * step * slope
            or (new_value <= value + noise and new_slope <= (2 * sufficient - 1) * slope)
        )
        if decreased and new_slope >= slope_left * slope:
            return point, new_value, new_gradient
        if is_hidden:  # no other step could be seen to gain more
            return None
        guess = np.nan
        if finite:
            guess = _cubic_minimum(low, low_value, low_slope, step, new_value, new_slope)
        if not decreased:
            high = step
        else:  # the slope is still steep: the step has to be longer
            low, low_value, low_slope = step, new_value, new_slope
        step = _safeguard(guess, low, high)
        if step is None:
            return None
    return None


def lean_search(descent, slope_left):
    """Search like ``line_search``, with the gradient at the present point in float32."""
    descent.gradient = descent.rule.kept(descent.gradient)
    step = line_search(descent, slope_left)
    if step is None:
        descent.gradient = descent.objective.value_gradient(descent.x)[1]
    return step


def _slope(gradient, direction):
    """Return the slope along a direction in float32, of which no copy in float64 is made."""
    return np.einsum("i,i", gradient, direction)


def _cubic_minimum(a, value_a, slope_a, b, value_b, slope_b):
    """Return where the cubic with these values and slopes at a and b is least; nan if nowhere."""
    with np.errstate(all="ignore"):
        d = slope_a + slope_b - 3 * (value_a - value_b) / (a - b)
        root = np.sign(b - a) * np.sqrt(d * d - slope_a * slope_b)
        return b - (b - a) * (slope_b + root - d) / (slope_b - slope_a + 2 * root)


def _safeguard(guess, low, high):
    """Return the guess if it is well inside (low, high), else a safe step; None if too narrow."""
    if np.isinf(high):
        if not guess > 2 * low:
            return 4 * low
        return min(guess, 10 * low)
    width = high - low
    if width <= 1e-12 * high:
        return None
    if not low + 0.1 * width <= guess <= high - 0.1 * width:
        return low + 0.5 * width
    return guess


def require(objective, solver, names):
    """Raise a TypeError with the members that ``objective`` lacks for ``solver``, if any."""
    missing = ""
    for name in names:
        if not hasattr(objective, name):
            missing += f", {name}" if missing else name
    if missing:
        raise TypeError(
            f"Solver {solver!r} needs an objective with {', '.join(names)}; "
            f"{type(objective).__name__} lacks {missing}."
        )


def carry_out(solver, *, tol, max_iter, callback=None, state=None):
    """Run a solver, and return its result even if an error or an interrupt ends it.

    Errors before the first iteration is recorded are raised.

    Parameters
    ----------
    solver : object
        It has ``run(tol, max_iter, callback)``, ``result`` with the best point so far, ``dump`` and
        ``load``.
    tol : float
        Stop when the estimated relative gap is at most this.
    max_iter : int
        Largest number of iterations.
    callback : callable or None, default=None
        Called with the ``Result`` so far at the start and after each iteration; the solver stops if
        it returns a true value.
    state : State or None, default=None
        Receives the solver, so that a callback can dump it, and may have a dump to resume from.

    Returns
    -------
    Result
    """
    state = State() if state is None else state
    if state.saved is not None:
        solver.load(state.saved)
    state.solver, state.saved = solver, None
    try:
        solver.run(tol, max_iter, callback)
    except (KeyboardInterrupt, Exception) as error:
        result = solver.result
        if isinstance(error, Exception) and not result.objectives:
            raise  # there is no point to return
        result.stop(StopReason.INTERRUPTED, False, f"interrupted by {type(error).__name__}")
        result.stopped_by = error
        for values in result.history.values():  # an iteration may have been recorded in part
            del values[len(result.seconds) :]
        result.n_iter = max(0, len(result.seconds) - 1)
    finally:
        state.solver = None  # it would keep the objective, and with it X, in memory
    return solver.result


def descend(rule, objective, start, *, polish=0.0, settings=None, **options):
    """Minimise an objective by line searches along the directions of a rule.

    Parameters
    ----------
    rule : type
        Class of the rule (see ``Descent``), with the attributes ``name``, ``requires`` (members of
        the objective) and ``defaults`` (settings).
    objective : object
        See ``contract.py``.
    start : ndarray of shape (size,)
        The vector to start from.
    polish : float, default=0.0
        Gap to which to continue beyond ``tol``, or until no further progress is possible at
        floating-point precision, for a few hundred iterations at most; 0 means no further.
    settings : object or None, default=None
        Settings of the rule (``_plan/settings.py``); None means its defaults.
    **options
        ``tol``, ``max_iter``, ``callback`` and ``state`` as in ``carry_out``.

    Returns
    -------
    Result
    """
    require(objective, rule.name, rule.requires)
    rule = rule(objective, rule.defaults if settings is None else settings)
    state = options.get("state")
    learns = state is not None and state.learns
    if learns and state.learnt is not None:
        rule.begin_with(state.learnt)
        state.learnt = None  # its memory is used again
    result = carry_out(Descent(objective, rule, start, polish), **options)
    if learns:
        state.learnt = rule.learnt()
    return result
