"""Descent by line searches: what all solvers share. The direction is each solver's own.

Data that can nearly be separated, with hardly a penalty, are approached along a path of falling
extra penalties (``objective.path``): without it a few rows are overshot early, their losses grow
long straight tails without curvature, and steps stay short for hundreds of iterations.

Tried and lost, on MNIST (784 features, 10 classes): Newton's method by conjugate gradients far from
the minimum of raw pixels, which overshoots; blocks of the Hessian from rows that are drawn by
curvature alone (``_preconditioner.BlocksAt``); one curvature per class in place of blocks; stopping
by the Newton decrement in the metric of L-BFGS, which is up to 10 times too small. On X with more
features than rows a path costs more than it saves, as wherever rows are all but separated.
"""

import time

import numpy as np

from .contract import Result
from .snapshot import carry_out, restored

SUFFICIENT_DECREASE = 1e-4  # of the line search
LEAST_SHARE = 0.1  # of the slope that a clipped direction must keep
MOST_TRIALS = 30  # per line search; a healthy one needs one or two
POLISHED = 1e-18  # a relative gap at which coefficients are right to about 9 digits
POLISH_ITERATIONS = 200
REFRESH = 20  # iterations after which a polished problem gets the Hessian, and gets it anew
OFTEN_AFTER, OFTEN = 60, 4  # one that three Hessians have not finished gets them more often
NEARLY = 5  # times 'tol': so near the end a new preconditioner comes too late,
SOON, SEEN = 10, 10  # or where so many iterations are left, if it goes on as in the last SEEN
PATH_TOL = 3e-3  # relative gap at which the next penalty of the path is taken,
PATH_ITERATIONS = 50  # or after so many iterations
SETTLED = 5  # iterations with one penalty before its estimated gap is believed
IN_ROUNDING = 100  # times the rounding of a value: less of a decrease cannot be found for sure
FLAT = 10  # iterations over which values that do not fall any more are noticed
QUADRATIC = 0.1  # share of the last slope that a Newton step leaves near the minimum
MINUTE = 1e-12  # a relative gap by which its convergence is quadratic in any case
WINDOW = 5  # iterations over which progress is judged
# Of the estimate of a slow descent. Its progress comes in bursts, and dies away more slowly than at
# any fixed rate: windows of 5 iterations promised 1e-4 on raw MNIST where 1.5e-3 was left.
SLOW, MOST_FALL = 100, 0.7  # from one iteration to the next
SHARE_OF_SLOW, CAUTION = 5, 2.5  # of all iterations in a window; how much less is promised
RECHECK = 10  # iterations after which a slow descent that was not at its end is looked at again
# Of a fast descent, with 500 classes say, the bound below promises a hundredth of what it should.
# A third of the decrease in logarithms is believed, and the decrement in the metric of L-BFGS,
# which on MNIST is up to METRIC times too small.
TRUSTED, METRIC = 1 / 3, 10.0
LEAST_RATE, MOST_RATE = 0.96, 0.998  # of convergence per iteration that an estimate may assume


def descend(objective, rule, start, tol, max_iter, polish, callback, resume=None):
    """Minimise an objective by line searches along the directions of ``rule``.

    Parameters
    ----------
    objective : object
        See ``_base.py``.
    rule : object
        With ``direction(point, gradient)``; ``add(x, x_new, gradient, gradient_new)``, told of each
        step; ``clear()``, for directions from the present point and gradient alone; ``lengthen()``,
        to remember more of a slow descent; ``n_added``, whether there is something to clear; and
        the numbers ``hard`` and ``patience``: a problem that takes ``hard`` iterations gets a new
        preconditioner, and a path if it has one; ``patience`` iterations later the next;
        ``curvature``: share of the slope that may be left after a step. ``exact``: directions are
        Newton's. It can be pickled.
    start, tol, max_iter, polish, callback, resume
        As in the solvers.

    Returns
    -------
    Result
    """
    if resume is None:
        descent = Descent(objective, rule, start, polish)
    else:
        descent = restored(resume, objective)
    return carry_out(descent, objective, tol, max_iter, callback)


# Where in an iteration a descent is.
MOVED, JUDGED, GOES_ON = "moved", "judged", "goes on"


class Descent:
    """The iteration; ``result`` holds the best point at every moment.

    All that the next iteration depends on is here, in the rule and in the objective, so that a
    pickle of the three goes on with the same bits.
    """

    def __init__(self, objective, rule, start, polish):
        self.objective, self.rule, self.polish = objective, rule, polish
        self.result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
        self.schedule = _Schedule(objective, rule, polish)
        self.values = []  # with the present penalty, and since the first preconditioner
        self.best_slope, self.since_best, self.best = np.inf, 0, None
        self.last_slope = self.last_gap = 0.0
        self.stage = None  # None, MOVED, JUDGED or GOES_ON

    def run(self, tol, max_iter, callback):
        """Iterate, from the start or from where a snapshot was taken."""
        result = self.result
        result.converged, result.message, result.bound = False, "", np.inf
        seconds = result.history["seconds"]
        self.began = time.perf_counter() - (seconds[-1] if seconds else 0.0)
        if self.stage is None and not self._begin():
            return
        while True:
            if self.stage == MOVED:
                self._judge()
                self.stage = JUDGED
                if callback is not None and callback(result):
                    result.converged, result.message = True, "stopped by a callback"
                    return
            if self.stage == JUDGED:
                if self._ended(tol):
                    return
                self.stage = GOES_ON
            if result.n_iter >= max_iter:
                result.converged, result.message = result.gap <= tol, "reached 'max_iter'"
                return
            if not self._move(tol):
                return
            self.stage = MOVED

    def _begin(self):
        """Whether there is a point to begin at."""
        self.x = self.result.vector
        self.value, self.gradient = self.objective.value_gradient(self.x)
        if not (np.isfinite(self.value) and np.isfinite(self.gradient).all()):
            self.result.objective = self.value
            self.result.message = "the objective is not finite at the start"
            return False
        self._direct()
        self.stage = MOVED
        return True

    def _direct(self):
        """The next direction, and the slope along it."""
        self.direction, self.slope = _direction(self.objective, self.rule, self.x, self.gradient)

    def _judge(self):
        """How far the minimum may be, for the result and its history."""
        objective, result, values = self.objective, self.result, self.values
        value, slope = self.value, self.slope
        scale = self.scale = max(abs(value), objective.value_scale)
        values.append(value)
        polishing = self.polish and result.n_iter < POLISH_ITERATIONS
        if self.rule.exact and -slope <= max(QUADRATIC * self.last_slope, MINUTE * scale):
            gap = -slope / scale  # twice Newton's estimate, where the method converges as it should
        else:
            # where the descent is fast and its metric good both of these show it
            fast = max(-0.5 * METRIC * slope, gap_by_progress(values, trusted=TRUSTED))
            gap = max(-0.5 * slope, min(fast, gap_by_progress(values))) / scale
            if not getattr(objective, "exact_hessian", True) and len(values) <= 2 * WINDOW:
                gap = np.inf  # the start, a minimum of something else, looks flatter than it is
            gap = gap if slope < 0 else 0.0
            if result.n_iter >= SLOW and not polishing:  # one lucky window must not end it
                long_run = gap_by_progress(values, len(values) // SHARE_OF_SLOW, least_rate=0.0)
                gap = max(gap, MOST_FALL * self.last_gap, CAUTION * long_run / scale)
        self.last_slope, self.last_gap, self.gap = -slope, gap, gap
        true_value, true_gap = value, gap
        if self.schedule.relaxed:
            extra = objective.extra_penalty(self.x)
            true_value, true_gap = value - extra, gap + extra / scale
        result.vector, result.objective, result.gap = self.x, true_value, true_gap
        result.gradient_norm = max(self.gradient.max(initial=0.0), -self.gradient.min(initial=0.0))
        result.history["objective"].append(true_value)
        result.history["gap"].append(true_gap)
        result.history["seconds"].append(time.perf_counter() - self.began)

    def _ended(self, tol):
        """Whether this point is good enough, or nothing better can be had."""
        objective, result, schedule = self.objective, self.result, self.schedule
        x, gradient, slope, scale, gap = self.x, self.gradient, self.slope, self.scale, self.gap
        polishing = self.polish and result.n_iter < POLISH_ITERATIONS
        wanted = min(tol, POLISHED) if polishing else tol
        # progress is a cautious witness; at a start that is another's minimum there is none yet
        doubtful = gap > wanted >= -0.5 * slope / scale
        certifies = hasattr(objective, "certified_gap") and not self.polish
        bound = np.inf
        if certifies and (doubtful or (len(self.values) < 3 and gap <= wanted)):
            bound = objective.certified_gap(x, self.value, gradient, tol * scale)
            gap = min(gap, bound / scale) if doubtful else max(gap, bound / scale)
            result.gap = result.history["gap"][-1] = self.gap = gap
        ended = gap <= wanted and schedule.settled(result.n_iter)
        if ended and schedule.doubtful(result.n_iter):
            checked = schedule.newton_decrement(x, gradient, result.n_iter, tol * scale) / scale
            ended = schedule.confirmed
            if not ended:
                result.gap = result.history["gap"][-1] = max(gap, checked)
                self._direct()
        if ended:
            result.converged, result.message = True, "the gap reached 'tol'"
            result.bound = bound
            return True
        slope = self.slope
        if -slope < 0.5 * self.best_slope:
            self.best_slope, self.since_best = -slope, 0
            self.best = x, self.value, -0.5 * slope / scale, result.gradient_norm
        else:
            self.since_best += 1
        flat = len(self.values) > FLAT and (
            self.values[-1 - FLAT] - self.value <= FLAT * objective.rounding * scale
        )
        if flat and self.since_best >= FLAT and not schedule.relaxed:
            self._end_in_rounding(tol)
            return True
        return False

    def _end_in_rounding(self, tol):
        """Return to the point with the smallest slope, if values do not tell it from this one.

        It is the minimum as far as values tell, unless the estimated gap is more than they could
        hide: along features that nearly depend on each other, rounding may have the last word.
        """
        result, (_, value, _, _) = self.result, self.best
        if value - self.value <= self.objective.rounding * self.scale:
            result.vector, result.objective, result.gap, result.gradient_norm = self.best
            result.history["objective"][-1] = result.objective
            result.history["gap"][-1] = result.gap
        # tol=0 asks for as much as there is
        least = max(tol, IN_ROUNDING * self.objective.rounding)
        result.converged = tol == 0 or result.gap <= least
        result.message = "no further progress at floating-point precision"

    def _move(self, tol):
        """Whether there was a step to take."""
        objective, rule, result, schedule = self.objective, self.rule, self.result, self.schedule
        soon = self.gap <= NEARLY * tol or self._n_left(tol) <= SOON
        if schedule.next_stage(result.n_iter, self.x, self.value, self.gap, soon):
            if schedule.penalty_changed:  # else what the rule learnt still holds
                rule.clear()
                self.value, self.gradient = objective.value_gradient(self.x)
                self.values = [self.value]
                self.best_slope, self.last_slope, self.last_gap = np.inf, 0.0, 0.0
            elif schedule.n_made == 1:  # steps before it say nothing of how fast it goes on
                self.values = [self.value]
            self._direct()

        step = self._step()
        if step is None and rule.n_added:  # they may be at fault: once more from H0 alone
            rule.clear()
            self._direct()
            step = self._step()
        if step is None and schedule.relaxed:  # this penalty has no more to give
            schedule.ended = True
            result.n_iter += 1
            return True
        while step is None:
            if -0.5 * self.slope <= max(tol, IN_ROUNDING * objective.rounding) * self.scale:
                self._end_in_rounding(tol)
                return False
            if not (hasattr(objective, "stiffen") and objective.stiffen()):
                result.message = "the line search found no decrease"
                return False
            if schedule.refreshes:
                objective.precondition_at(self.x, thorough=True)
            rule.clear()
            self._direct()
            step = self._step()

        x_new, value_new, gradient_new = step
        rule.add(self.x, x_new, self.gradient, gradient_new)
        self.x, self.value, self.gradient = x_new, value_new, gradient_new
        self._direct()
        if not self.slope < 0:  # rounding has made the matrix indefinite
            rule.clear()
            self._direct()
        result.n_iter += 1
        return True

    def _n_left(self, tol):
        """Iterations to ``tol`` at the rate of the last SEEN; inf where that is not known.

        From the least gap of some iterations: estimates jump up and down.
        """
        gaps = self.result.history["gap"]
        now, before = min(gaps[-WINDOW:]), min(gaps[-WINDOW - SEEN : -SEEN], default=0.0)
        if not 0 < now < before < np.inf or not tol > 0:
            return np.inf
        return SEEN * np.log(now / tol) / np.log(before / now)

    def _step(self):
        """What the line search finds."""
        return line_search(
            self.objective, self.x, self.value, self.slope, self.direction, self.rule.curvature
        )


class _Schedule:
    """When the objective is asked for a new preconditioner, and for the next penalty of its path.

    Attributes
    ----------
    relaxed : bool
        Whether an extra penalty is in force.
    penalty_changed : bool
        Whether the last stage changed it.
    ended : bool
        Whether the present penalty has no more to give.
    n_made : int
        Preconditioners that it has asked for.
    """

    def __init__(self, objective, rule, polish):
        self.objective, self.rule, self.polish = objective, rule, polish
        self.refreshes = hasattr(objective, "precondition_at")
        self.n_made = 0
        self.path = None  # penalties still to come; None: not asked for yet
        self.relaxed = self.penalty_changed = False
        self.began = 0  # iteration at which the present penalty came
        self.due = REFRESH if polish else rule.hard
        self.hard, self.patience = rule.hard, rule.patience
        self.ended = False
        # directions of Newton's method need no second opinion
        self.doubtful_from = np.inf if rule.exact or polish or not self.refreshes else SLOW
        self.agreed_at, self.confirmed = None, False  # iteration of the last second opinion like it

    def settled(self, n_iter):
        """Whether the problem is the one that was asked for, for some iterations."""
        return not self.relaxed and (self.began == 0 or n_iter >= self.began + SETTLED)

    def doubtful(self, n_iter):
        """Whether the estimate alone is not enough to end a descent that has been slow."""
        return n_iter >= self.doubtful_from

    def newton_decrement(self, x, gradient, n_iter, wanted):
        """gradient . H^-1 gradient, twice the gap where the objective is quadratic, with H anew.

        Progress says nothing of a valley that has not been entered yet: of breast cancer's features
        to the third power a descent stood still at 4e-4 for some iterations. And where few rows
        have any curvature left, the step shows others: there the decrement was 28 times too small,
        and has to be as ``wanted`` once more after a step with that H.
        """
        self.objective.precondition_at(x, thorough=True)
        decrement = gradient @ self.objective.precondition(gradient)
        agreed = decrement <= wanted
        self.confirmed = agreed and self.agreed_at == n_iter - 1
        self.agreed_at = n_iter if agreed else None
        self.due, self.doubtful_from = n_iter + self.patience, n_iter + (1 if agreed else RECHECK)
        return decrement

    def next_stage(self, n_iter, x, value, gap, soon):
        """Whether the objective's preconditioner has changed; ``soon``: it is over without."""
        if self.relaxed:
            settled = n_iter >= self.began + SETTLED and gap <= PATH_TOL
            self.ended |= settled or n_iter >= self.began + PATH_ITERATIONS
        if not (self.refreshes and (self.ended or n_iter >= self.due)):
            return False
        if soon and not (self.polish or self.relaxed):
            return False
        self.penalty_changed = False
        if self.path is None and n_iter >= self.hard:
            self.path = list(self.objective.path(value)) if hasattr(self.objective, "path") else []
            self.ended = bool(self.path)
        if self.ended:
            extra = self.path.pop(0) if self.path else 0.0
            self.objective.relax(extra)
            self.relaxed, self.penalty_changed = extra > 0, True
            self.began, self.ended = n_iter, False
        thorough = self.polish or n_iter >= SLOW
        whole = self.objective.precondition_at(x, thorough)
        self.n_made += 1
        if thorough and not (whole or self.polish):
            self.rule.lengthen()
        if (self.polish or (thorough and whole)) and not self.relaxed:
            self.due = n_iter + (REFRESH if n_iter < OFTEN_AFTER else OFTEN)
        else:
            self.due = n_iter + self.patience
            if not self.relaxed:
                self.patience += self.patience // 2
        return True


def gap_by_progress(values, window=WINDOW, least_rate=LEAST_RATE, trusted=0.0):
    """What is still to come, if the decrease goes on as it did over the last two windows.

    Half the squared Newton decrement in the metric of the L-BFGS matrix, the usual estimate, is up
    to 10 times too small on MNIST: the matrix does not know the slow directions. Progress does: for
    linear convergence with rate r per window, the rest is r / (1 - r) times the last window's
    decrease. r is bounded below and above, so that one good or bad window does not decide: with 1/2
    per 10 iterations as the least, the true gap of a default fit of MNIST was 1.2e-4 where 1e-4 was
    asked for. ``trusted`` is the share of a faster decrease, in logarithms, that is believed.
    """
    if len(values) < 3:
        return 0.0
    last = min(max(window, WINDOW), (len(values) - 1) // 2)
    decrease = values[-1 - last] - values[-1]
    before = values[-1 - 2 * last] - values[-1 - last]
    least, most = least_rate**last, MOST_RATE**last
    rate = least
    if before > 0:
        seen = max(0.0, decrease / before)
        rate = min(max(seen, min(least, seen**trusted)), most)
    return max(0.0, decrease) * rate / (1 - rate)


def _direction(objective, rule, x, gradient):
    """A direction and the slope along it."""
    direction = rule.direction(x, gradient)
    slope = gradient @ direction
    if hasattr(objective, "clip"):
        clipped = objective.clip(direction)
        clipped_slope = gradient @ clipped
        if clipped_slope < LEAST_SHARE * slope:
            return clipped, clipped_slope
    return direction, slope


def line_search(objective, x, value, slope, direction, curvature):
    """A step along ``direction`` that satisfies the weak Wolfe conditions.

    ``curvature`` is the share of the slope that may be left, at least 2 * SUFFICIENT_DECREASE.
    Returns (point, value, gradient), or None where no such step is found. Near the minimum the
    decrease drowns in rounding; a step is then judged by its slope alone (the approximate Wolfe
    conditions of Hager and Zhang, SIAM J. Optim. 16, 2005), which keeps its digits.
    """
    noise = objective.rounding * max(abs(value), objective.value_scale)
    low, high = 0.0, np.inf
    low_value, low_slope = value, slope
    # a quadratic through value and slope whose minimum is not below 0, as no loss is
    step = -2 * value / slope if 0 < 2 * value < -slope else 1.0
    for _ in range(MOST_TRIALS):
        point = x + (direction if step == 1.0 else step * direction)  # long vectors: a sweep less
        new_value, new_gradient = objective.value_gradient(point)
        new_slope = new_gradient @ direction
        finite = np.isfinite(new_value) and np.isfinite(new_slope)
        decreased = finite and (
            new_value <= value + SUFFICIENT_DECREASE * step * slope
            or (new_value <= value + noise and new_slope <= (2 * SUFFICIENT_DECREASE - 1) * slope)
        )
        if decreased and new_slope >= curvature * slope:
            return point, new_value, new_gradient
        if not decreased:
            high = step
            if finite:
                guess = _cubic_minimum(low, low_value, low_slope, step, new_value, new_slope)
            else:
                guess = np.nan
        else:  # still going down steeply: further along
            guess = _cubic_minimum(low, low_value, low_slope, step, new_value, new_slope)
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
