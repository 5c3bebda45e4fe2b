"""Descent by line searches, which most solvers share; the direction is each solver's own.

Tried and lost, on MNIST (784 features, 10 classes): Newton's method by conjugate gradients far from
the minimum of raw pixels, which overshoots; blocks of the Hessian from rows that are drawn by
curvature alone (``_objective/hessian_blocks.py``); one curvature per class in place of blocks;
stopping by the Newton decrement in the metric of L-BFGS, which is up to 10 times too small. On X
with more features than rows continuation costs more than it saves, as wherever rows are all but
separated.
"""

import time

import numpy as np

from .._plan import settings as defaults
from .._utils.state import Stateful
from .contract import State, StopReason
from .stopping import Result, Stopping

LINE_SEARCH, REFRESH = defaults.LineSearch(), defaults.Refresh()
CONTINUATION, STOPPING = defaults.Continuation(), defaults.Stopping()
REQUIRED = ("size", "value_scale", "rounding", "value_gradient", "precondition")


class Descent(Stateful):
    """Descent along the directions of a rule; ``result`` holds the best point at every moment.

    All that the next iteration depends on is here, in the rule and in the objective: a dump of the
    three goes on with the same bits.

    Parameters
    ----------
    objective : object
        See ``contract.py``.
    rule : object
        With ``direction(point, gradient)``; ``add(x, x_new, gradient, gradient_new)``, told of each
        step; ``clear()``, for directions from the present point and gradient alone; ``lengthen()``,
        to remember more of a slow descent; ``n_added``, whether there is something to clear;
        ``settings``, with ``first_refresh``, ``patience`` and ``slope_left``; ``exact``, whether
        directions are Newton's; ``dump()`` and ``load(tree)``.
    start : ndarray of shape (size,)
    polish : bool
        Whether to go on until rounding leaves no further progress.
    """

    CHANGES = ("x", "value", "gradient", "direction", "slope", "scale", "gap")
    PARTS = ("objective", "rule", "schedule", "stopping")

    def __init__(self, objective, rule, start, polish):
        self.objective, self.rule = objective, rule
        self.offers = getattr(objective, "OFFERS", ())
        self.result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
        self.schedule = _Schedule(objective, rule, polish)
        self.stopping = Stopping(objective, polish, rule.exact, STOPPING)
        self.x = None

    def dump(self):
        """All that the next iteration depends on, as a tree."""
        parts = {name: getattr(self, name).dump() for name in self.PARTS}
        return {**super().dump(), **parts, "result": self.result.dump()}

    def load(self, tree):
        """Put a ``dump`` back, on an objective like the one it was of."""
        super().load(tree)
        for name in self.PARTS:
            getattr(self, name).load(tree[name])
        self.result = Result.load(tree["result"])

    def run(self, tol, max_iter, callback):
        """Iterate, from the start or from where a dump was made: after the callback."""
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
            if self.stopping.reason(self, tol, max_iter) or not self._move(tol):
                return

    def take_direction(self):
        """The next direction, and the slope along it."""
        self.direction = self.rule.direction(self.x, self.gradient)
        self.slope = self.gradient @ self.direction
        if "bound_step" in self.offers:
            bounded = self.objective.bound_step(self.direction)
            if bounded is not self.direction:
                slope = self.gradient @ bounded
                if slope < LINE_SEARCH.least_slope * self.slope:
                    self.direction, self.slope = bounded, slope

    def _judge(self, seconds):
        """How far the minimum may be, for the result and its history."""
        result, gradient = self.result, self.gradient
        self.scale = max(abs(self.value), self.objective.value_scale)
        self.gap = self.stopping.estimate(self.value, self.slope, result.n_iter)
        result.vector, result.objective, result.gap = self.x, self.value, self.gap
        if self.schedule.continued:
            extra = self.objective.continuation_penalty(self.x)
            result.objective, result.gap = self.value - extra, self.gap + extra / self.scale
        result.gradient_norm = max(gradient.max(initial=0.0), -gradient.min(initial=0.0))
        result.record(seconds)

    def _move(self, tol):
        """Whether there was a step to take."""
        objective, rule, result, schedule = self.objective, self.rule, self.result, self.schedule
        if schedule.next_stage(self, tol):
            if schedule.penalty_changed:  # else what the rule learnt still holds
                rule.clear()
                self.value, self.gradient = objective.value_gradient(self.x)
                self.stopping.begin_again(self.value)
            elif schedule.n_made == 1:  # steps before it say nothing of how fast it goes on
                self.stopping.values = [self.value]
            self.take_direction()

        step = line_search(self, rule.settings.slope_left)
        if step is None and rule.n_added:  # they may be at fault: once more from H0 alone
            rule.clear()
            self.take_direction()
            step = line_search(self, rule.settings.slope_left)
        if step is None and schedule.continued:  # this penalty has no more to give
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
            step = line_search(self, rule.settings.slope_left)

        x_new, value_new, gradient_new = step
        rule.add(self.x, x_new, self.gradient, gradient_new)
        self.x, self.value, self.gradient = x_new, value_new, gradient_new
        self.take_direction()
        if not self.slope < 0:  # rounding has made the matrix indefinite
            rule.clear()
            self.take_direction()
        result.n_iter += 1
        return True


class _Schedule(Stateful):
    """When the objective is asked for a new preconditioner, and for the next extra penalty.

    Attributes
    ----------
    continued : bool
        Whether an extra penalty is in force.
    penalty_changed : bool
        Whether the last stage changed it.
    ended : bool
        Whether the present penalty has no more to give.
    n_made : int
        Preconditioners that it has asked for.
    due : int
        Iteration of the next one.
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
        self.strengths = None  # of penalties still to come; None: not asked for yet
        self.continued = self.penalty_changed = self.ended = False
        self.began = 0  # iteration at which the present penalty came
        self.settled_from = 0  # from which the problem is the one that was asked for
        self.due = REFRESH.polished if polish else rule.settings.first_refresh
        self.patience = rule.settings.patience

    def next_stage(self, descent, tol):
        """Whether the objective's preconditioner has changed."""
        n_iter, gap = descent.result.n_iter, descent.gap
        if self.continued:
            settled = n_iter >= self.began + STOPPING.settled and gap <= CONTINUATION.tol
            self.ended |= settled or n_iter >= self.began + CONTINUATION.iterations
        if not (self.refreshes and (self.ended or n_iter >= self.due)):
            return False
        if not (self.polish or self.continued):  # it may be over without
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
    """Iterations to ``tol`` at the rate of the last ones; inf where that is not known.

    From the least gap of some iterations: estimates jump up and down.
    """
    window, seen = STOPPING.window, REFRESH.seen
    now, before = min(gaps[-window:]), min(gaps[-window - seen : -seen], default=0.0)
    if not 0 < now < before < np.inf or not tol > 0:
        return np.inf
    return seen * np.log(now / tol) / np.log(before / now)


def line_search(descent, slope_left):
    """A step along a direction that satisfies the weak Wolfe conditions.

    Near the minimum the decrease drowns in rounding; a step is then judged by its slope alone (the
    approximate Wolfe conditions of Hager and Zhang, SIAM J. Optim. 16, 2005), which keeps its
    digits.

    Parameters
    ----------
    descent : object
        With the ``objective``, the point ``x``, its ``value``, the ``direction`` and the ``slope``
        along it.
    slope_left : float
        Share of the slope that may be left, at least twice the sufficient decrease.

    Returns
    -------
    (point, value, gradient), or None where no such step is found
    """
    objective, x, direction = descent.objective, descent.x, descent.direction
    value, slope = descent.value, descent.slope
    sufficient = LINE_SEARCH.sufficient_decrease
    noise = objective.rounding * max(abs(value), objective.value_scale)
    low, high = 0.0, np.inf
    low_value, low_slope = value, slope
    # a quadratic through value and slope whose minimum is not below 0, as no loss is
    step = -2 * value / slope if 0 < 2 * value < -slope else 1.0
    for _ in range(LINE_SEARCH.most_trials):
        point = x + (direction if step == 1.0 else step * direction)  # long vectors: a sweep less
        new_value, new_gradient = objective.value_gradient(point)
        new_slope = new_gradient @ direction
        finite = np.isfinite(new_value) and np.isfinite(new_slope)
        decreased = finite and (
            new_value <= value + sufficient * step * slope
            or (new_value <= value + noise and new_slope <= (2 * sufficient - 1) * slope)
        )
        if decreased and new_slope >= slope_left * slope:
            return point, new_value, new_gradient
        guess = np.nan
        if finite:
            guess = _cubic_minimum(low, low_value, low_slope, step, new_value, new_slope)
        if not decreased:
            high = step
        else:  # still going down steeply: further along
            low, low_value, low_slope = step, new_value, new_slope
        step = _safeguard(guess, low, high)
        if step is None:
            return None
    return None


def _cubic_minimum(a, value_a, slope_a, b, value_b, slope_b):
    """Minimum of the cubic through two values and slopes; nan where it has none."""
    with np.errstate(all="ignore"):
        d = slope_a + slope_b - 3 * (value_a - value_b) / (a - b)
        root = np.sign(b - a) * np.sqrt(d * d - slope_a * slope_b)
        return b - (b - a) * (slope_b + root - d) / (slope_b - slope_a + 2 * root)


def _safeguard(guess, low, high):
    """The guess, kept inside (low, high) and away from its ends; None where nothing is left."""
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
    """Raise a TypeError that names what ``objective`` lacks for ``solver``."""
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
    """The result of ``solver.run(tol, max_iter, callback)``, whatever ends it.

    Parameters
    ----------
    solver : object
        With ``run`` and ``result``, the best point at every moment; ``dump`` and ``load``.
    tol : float
        Stop when the estimated relative gap is at most this.
    max_iter : int
        Most iterations.
    callback : callable or None, default=None
        Called with the ``Result`` so far at the start and after each iteration; what it returns
        says whether to stop.
    state : State or None, default=None
        Gets the solver, whose ``dump`` goes on with the same bits; and has one to go on from.

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
            raise  # there is no point to keep
        result.stop(StopReason.INTERRUPTED, False, f"broken off by {type(error).__name__}")
        result.stopped_by = error
    finally:
        state.solver = None  # it holds the objective, and with it X
    return solver.result


def descend(rule, objective, start, *, polish=False, settings=None, **options):
    """Minimise an objective by line searches along the directions of a rule.

    Parameters
    ----------
    rule : type
        See ``Descent``; with its ``name``, the members of an objective that it ``requires``, and
        ``defaults`` of its settings.
    objective : object
        See ``contract.py``.
    start : ndarray of shape (size,)
        Where to begin.
    polish : bool, default=False
        Whether to go on beyond ``tol`` until rounding leaves no further progress, for some hundred
        iterations in all.
    settings : object or None, default=None
        Of the rule (``_plan/settings.py``).
    **options
        As in ``carry_out``.

    Returns
    -------
    Result
    """
    require(objective, rule.name, rule.requires)
    rule = rule(objective, rule.defaults if settings is None else settings)
    return carry_out(Descent(objective, rule, start, polish), **options)
