"""Results of solvers, and for descents the estimate of the optimality gap and stopping criteria."""

import functools
from dataclasses import dataclass, field

import numpy as np

from .._utils.state import Stateful
from .conjugate_gradients import newton_direction
from .contract import MESSAGES, StopReason


@dataclass
class Result:
    """The result of a solver.

    Attributes
    ----------
    vector : ndarray of shape (size,)
        The best point found.
    objective : float
        Value at ``vector``.
    gradient_norm : float
        Largest absolute entry of the gradient at ``vector``.
    gap : float
        The solver's estimate of (objective - minimum) / max(objective, value_scale).
    bound : float
        A certified upper bound of objective - minimum; inf if the solver has none.
    n_iter : int
        Number of iterations.
    converged : bool
        Whether ``gap`` reached ``tol``, or no further progress is possible at floating-point
        precision.
    reason : StopReason or None
        Why the solver stopped; None while it runs.
    message : str
        The reason in words.
    stopped_by : BaseException or None
        The exception that interrupted the solver: a KeyboardInterrupt, or an error of the objective
        or the callback after the start was evaluated. ``vector`` is then the best point so far.
    objectives, gaps, seconds : list of float
        Value, gap and time since the start; one entry for the start and one per iteration.
    rates : list of float
        Learning rates, one for each of these entries; empty if the solver has none.
    """

    vector: np.ndarray
    objective: float
    gradient_norm: float = np.inf
    gap: float = np.inf
    bound: float = np.inf
    n_iter: int = 0
    converged: bool = False
    reason: StopReason | None = None
    message: str = ""
    stopped_by: BaseException | None = None
    objectives: list = field(default_factory=list)
    gaps: list = field(default_factory=list)
    seconds: list = field(default_factory=list)
    rates: list = field(default_factory=list)

    @property
    def history(self):
        """The lists of values, gaps, times and, if there are any, learning rates, by name."""
        history = {"objective": self.objectives, "gap": self.gaps, "seconds": self.seconds}
        return {**history, "learning_rate": self.rates} if self.rates else history

    def stop(self, reason, converged, message=None):
        """Record why the solver stopped; ``message`` replaces the one of MESSAGES."""
        self.reason, self.converged = reason, bool(converged)
        self.message = MESSAGES[reason] if message is None else message

    def record(self, seconds):
        """Append the present objective, gap and time to the history."""
        self.objectives.append(self.objective)
        self.gaps.append(self.gap)
        self.seconds.append(seconds)

    def dump(self):
        """Return all attributes but ``stopped_by``, as a tree."""
        reason = None if self.reason is None else int(self.reason)
        return {**vars(self), "reason": reason, "stopped_by": None}

    @classmethod
    def load(cls, tree):
        """Return the result that ``dump`` returned as a tree."""
        reason = tree["reason"]
        return cls(**{**tree, "reason": None if reason is None else StopReason(reason)})


class Stopping(Stateful):
    """Estimates the gap of a descent, and decides when it stops.

    Parameters
    ----------
    objective : object
        See ``contract.py``.
    polish : float
        Gap to which to continue beyond ``tol``; 0 means no further.
    exact, lean : bool
        Whether directions are Newton directions, and whether vectors are too large for more.
    settings : settings.Stopping

    Attributes
    ----------
    values : list of float
        Values of the objective by iteration, since the last change of the extra penalty and since
        the first preconditioner that was made at a point.
    last_slope, last_gap : float
        -slope and estimated gap of the iteration before.
    best : tuple or None
        (vector, value, gap, gradient norm) of the point with the smallest slope so far; None if
        its value is too large for a result.
    best_slope, since_best : float, int
        -slope there; the number of iterations since a slope was clearly smaller than any before.
    approach_from : int
        Iteration from which the objective may be asked to approach a certificate.
    reached_at : int
        Iteration at which the estimate was first within the tolerance; -1 before.
    excesses : list of float
        Logarithms of how many times the certificates were above the wanted ones, by iteration.
    check_from : int
        Iteration from which an estimate may be confirmed.
    agreed : tuple or None
        (value, decrease by the quadratic model) of the point before the present one, if Newton's
        decrement agreed with the estimate there.
    was_known : bool
        Whether the last attempt to confirm an estimate has found Newton's decrement.
    looked_at, bound : int, float
        The iteration for which a certificate was last looked for, and its bound of the gap; inf if
        that was not within the tolerance.
    """

    CHANGES = (
        *("values", "last_slope", "last_gap", "best_slope", "since_best", "best"),
        *("approach_from", "reached_at", "excesses", "check_from", "agreed", "was_known"),
        *("looked_at", "bound"),
    )

    def __init__(self, objective, polish, exact, lean, settings):
        self.objective, self.polish, self.exact, self.settings = objective, polish, exact, settings
        offers = getattr(objective, "OFFERS", ())
        self.certifies = "certified_gap" in offers and objective.certifiable and not polish
        self.estimates_alone = getattr(objective, "exact_hessian", True)
        self.values = []
        self.last_slope = self.last_gap = 0.0
        self.best_slope, self.since_best, self.best = np.inf, 0, None
        # the estimates of Newton directions need no confirmation
        self.doubts = "precondition_at" in offers and not (exact or polish or lean)
        self.reached_at, self.excesses, self.agreed = -1, [], None
        self.check_from, self.approach_from, self.was_known = 0, 0, True
        self.looked_at, self.bound = -1, np.inf

    def begin_again(self, value):
        """Forget the progress so far, which was made on another function than the present one."""
        self.values, self.looked_at = [value], -1
        self.best_slope, self.last_slope, self.last_gap = np.inf, 0.0, 0.0

    def forget_best(self, value):
        """Forget the best point if its value is so far above the present one that it stays there.

        A step adds at most a rounding error to the value, and the descent ends if ``flat`` steps
        do not take as many rounding errors off it.
        """
        scale = max(abs(value), self.objective.value_scale)
        above = 3 * self.settings.flat * self.objective.rounding * scale
        if self.best is not None and self.best[1] - value > above:
            self.best = None

    # ---- Estimates -----------------------------------------------------------------------------

    def estimate(self, value, slope, n_iter):
        """Estimate the relative gap of a new point, (value - minimum) / max(value, value_scale).

        Parameters
        ----------
        value : float
            Value at the point.
        slope : float
            Slope along the next direction, which is minus the squared Newton decrement in the
            metric of the rule.
        n_iter : int
            Number of iterations so far.

        Returns
        -------
        float
        """
        settings, values = self.settings, self.values
        scale = max(abs(value), self.objective.value_scale)
        values.append(value)
        quadratic = max(settings.quadratic * self.last_slope, settings.minute * scale)
        if self.exact and -slope <= quadratic:
            gap = -slope / scale  # quadratic convergence: twice the estimate by Newton's decrement
        else:
            # a fast descent is one that both its progress and its Newton decrement show to be fast
            trusting = gap_by_progress(values, settings, trusted=settings.trusted)
            fast = max(-0.5 * settings.metric * slope, trusting)
            gap = max(-0.5 * slope, min(fast, gap_by_progress(values, settings))) / scale
            if not self.estimates_alone and len(values) <= 2 * settings.window:
                gap = np.inf  # near the start, the minimum of another loss, it looks too flat
            gap = gap if slope < 0 else 0.0
            polishing = self.polish and n_iter < settings.polish_iterations
            if n_iter >= settings.slow and not polishing:
                # one slow window between two bursts of progress must not end the descent
                window = len(values) // settings.share_of_slow
                long_run = gap_by_progress(values, settings, window, least_rate=0.0)
                gap = max(gap, settings.most_fall * self.last_gap)
                gap = max(gap, settings.caution * long_run / scale)
        self.last_slope, self.last_gap = -slope, gap
        return gap

    # ---- Criteria ------------------------------------------------------------------------------

    def reason(self, descent, tol, max_iter):
        """Return the reason of the first criterion that is met, or None; the result records it."""
        for criterion in (self.reached, self.flat):
            found = criterion(descent, tol)
            if found is not None:
                return found
        if descent.result.n_iter >= max_iter:
            descent.result.stop(StopReason.MAX_ITER, descent.result.gap <= tol)
            return StopReason.MAX_ITER
        return None

    def reached(self, descent, tol):
        """Stop if the gap is within the tolerance: by a certificate, or else by the estimate.

        Returns
        -------
        StopReason or None
        """
        result, settings, n_iter = descent.result, self.settings, descent.result.n_iter
        polishing = self.polish and n_iter < settings.polish_iterations
        wanted = min(tol, self.polish) if polishing else tol
        if n_iter < descent.schedule.settled_from:
            return None
        if self.is_certified(descent, tol):
            return StopReason.CERTIFIED
        # Newton's decrement is too small in the metric of L-BFGS, but the minimum is not far away
        near = self.certifies and -0.5 * descent.slope <= tol * descent.scale
        if near and n_iter >= self.approach_from:
            if self.objective.approach_certificate(descent.x):
                self.approach_from = n_iter + settings.approach
                descent.schedule.due = n_iter + descent.schedule.patience
                descent.rule.clear()  # the steps so far know less about the curvature
                descent.take_direction()
        if not (descent.gap <= wanted or self.agreed is not None):
            return None
        if self.certifies and self.agreed is None and self._is_worth_more(n_iter):
            return None
        if self.doubts and not self._confirmed(descent, tol):
            return None
        result.stop(StopReason.ESTIMATED, True)
        return StopReason.ESTIMATED

    def _is_worth_more(self, n_iter):
        """Return whether the descent should go on for its certificate, from an estimate in ``tol``.

        It does if, at the rate of the last iterations, the certificate is not far away.
        """
        settings, excesses = self.settings, self.excesses
        if self.reached_at < 0:
            self.reached_at = n_iter
        left = self.reached_at - n_iter
        left += max(settings.least_certifying, settings.certifying * self.reached_at)
        last = min(settings.window, len(excesses) - 1)
        then, now = excesses[-1 - last], excesses[-1]
        near = left > 0 and then < np.inf and now * last <= left * (then - now)
        return near or n_iter < self.approach_from

    def is_certified(self, descent, tol, judged=True):
        """Return whether a certificate shows that the gap is within the tolerance.

        The gap of a fit is relative to the lower bound of the minimum. A point that is not judged
        yet has no direction, which takes a Hessian and is in vain if this is true.
        """
        result, n_iter = descent.result, descent.result.n_iter
        if not self.certifies or n_iter < descent.schedule.settled_from:
            return False
        if self.looked_at != n_iter:
            scale = max(abs(descent.value), self.objective.value_scale)
            point, wanted = (descent.x, descent.value, descent.gradient), tol / (1.0 + tol) * scale
            self.looked_at, self.bound = n_iter, self.objective.certified_gap(*point, wanted)
        bound = self.bound
        if not judged:
            return bound < np.inf
        if bound == np.inf:
            self.excesses.append(np.log(self.objective.certificate_excess))
            return False
        result.bound = bound
        descent.gap = result.gap = result.gaps[-1] = bound / descent.scale
        result.stop(StopReason.CERTIFIED, True)
        return True

    def _confirmed(self, descent, tol):
        """Return whether Newton's decrement confirms the estimated gap.

        It is solved for by conjugate gradients, preconditioned by the L-BFGS matrix, in whose own
        metric it was up to 15 times too small on MNIST. It grows with every product, as flat
        directions come last. What is left after the step along the direction that was solved for is
        taken to be at most twice the decrement so far and, for each iteration of the descent, what
        the last product has added. With 3 products that was too little on a survey with 30 classes
        and 1,298 rows, where each of them added as much as the one before; not with 8.

        The step is taken, and must not bring more than the quadratic model predicts. Where few rows
        have curvature left, it changes which rows these are, and the first decrement was 28 times
        too small.

        A slow descent gets a new Hessian before, and is confirmed by the decrements of two
        iterations in a row. Progress alone does not show a direction that it has not found yet: for
        the features of breast cancer to the third power, a descent stayed at a gap of 4e-4 for
        several iterations.

        Where rounding errors hide the curvature, the estimate is believed if it stays within the
        tolerance until the next attempt.
        """
        result, n_iter, settings = descent.result, descent.result.n_iter, self.settings
        scale, slow, before = descent.scale, n_iter >= settings.slow, self.agreed
        self.agreed, as_predicted = None, False
        if before is not None:
            value, decrease = before
            noise = settings.flat * self.objective.rounding * scale
            as_predicted = value - descent.value <= settings.surprise * decrease + noise
            if as_predicted and not slow:
                result.gap = result.gaps[-1] = min(descent.gap, tol)
                return True
        if n_iter < self.check_from:
            return False
        if slow:
            self.objective.precondition_at(descent.x, thorough=True)
            descent.schedule.due = n_iter + descent.schedule.patience

        direction, decrease, gap = self._solved(descent, descent.x, descent.gradient, tol)
        is_known = gap < np.inf
        if (gap <= tol and as_predicted) or not (is_known or self.was_known):
            result.gap = result.gaps[-1] = gap if is_known else descent.gap
            return True
        self.was_known = is_known
        if gap <= tol:
            self.agreed = descent.value, decrease
        else:
            self.check_from = n_iter + settings.recheck
        if is_known:
            result.gap = result.gaps[-1] = max(descent.gap, gap)
        if direction.any():
            descent.direction, descent.slope = direction, descent.gradient @ direction
        return False

    def _solved(self, descent, point, gradient, tol):
        """Solve for the Newton direction at a point, as far as ``tol`` needs it.

        Returns
        -------
        direction : ndarray of shape (size,)
        decrease : float
            What the quadratic model predicts for the direction.
        gap : float
            The gap that ``_confirmed`` takes the point to have; inf if rounding errors hide it.
        """
        settings, n_iter, scale = self.settings, descent.result.n_iter, descent.scale

        def left(n, decrease, last):
            return (2 * decrease + max(n, n_iter) * max(last, 0.0)) / scale

        def enough(n, decrease, last):
            return n >= settings.fewest_products and left(n, decrease, last) <= tol

        metric = functools.partial(descent.rule.metric, point)
        direction, *found = newton_direction(
            *(self.objective, point, gradient, metric, enough, settings.most_products)
        )
        return direction, found[1], left(*found)

    def flat(self, descent, tol):
        """Stop if the values have not fallen by more than their rounding errors for a while.

        Returns
        -------
        StopReason or None
        """
        slope, scale, n = descent.slope, descent.scale, self.settings.flat
        if -slope < 0.5 * self.best_slope:
            self.best_slope, self.since_best = -slope, 0
            norm = descent.result.gradient_norm
            self.best = descent.x, descent.value, -0.5 * slope / scale, norm
        else:
            self.since_best += 1
        if self.since_best < n or len(self.values) <= n or descent.schedule.continued:
            return None
        if self.values[-1 - n] - descent.value > n * self.objective.rounding * scale:
            return None
        return self.end_in_rounding(descent, tol)

    def end_in_rounding(self, descent, tol):
        """Stop for lack of further progress at floating-point precision.

        The result is the point with the smallest slope, if its value differs from the present one
        by no more than a rounding error. It counts as converged unless the estimated gap is larger
        than rounding errors of values could hide: if features are nearly dependent, a descent may
        stall because of the rounding errors of its directions.

        Estimates are as noisy as the values and the L-BFGS matrix: in float32, for counts of words
        and C=100, they were up to 50 times too small and 200 times too large. Newton's decrement is
        solved for instead, as in ``_confirmed``, since gradients are more accurate than that.

        Returns
        -------
        StopReason
        """
        result, rounding = descent.result, self.objective.rounding
        if self.best is not None and self.best[1] - descent.value <= rounding * descent.scale:
            result.vector, result.objective, result.gap, result.gradient_norm = self.best
            result.objectives[-1] = result.objective
            result.gaps[-1] = result.gap
        least = max(tol, self.settings.rounding * rounding)
        if self.doubts and tol > 0:
            point, gradient = result.vector, descent.gradient
            if point is not descent.x:
                gradient = self.objective.value_gradient(point)[1]
            _, _, gap = self._solved(descent, point, gradient, tol)
            if gap < np.inf:
                result.gap = result.gaps[-1] = gap
                least = max(tol, rounding)
        # tol=0 asks for the best that floating point allows
        result.stop(StopReason.ROUNDING, tol == 0 or result.gap <= least)
        return StopReason.ROUNDING


def gap_by_progress(values, settings, window=None, least_rate=None, trusted=0.0):
    """Estimate value - minimum from the decrease of the values over the last two windows.

    The usual estimate, half the squared Newton decrement in the metric of the L-BFGS matrix, is up
    to 10 times too small on MNIST, as the matrix does not know the slow directions. Progress shows
    them: if the convergence is linear with rate r per window, the remaining decrease is r / (1 - r)
    times the decrease of the last window. r is the ratio of the decreases of the last two windows,
    within bounds, so that a single good or bad window has little effect.

    Parameters
    ----------
    values : list of float
        Values of the objective by iteration.
    settings : settings.Stopping
    window : int or None, default=None
        Number of iterations of a window, if that is more than ``settings.window``.
    least_rate : float or None, default=None
        Lower bound of the rate per iteration; None means ``settings.least_rate``.
    trusted : float, default=0.0
        If > 0, the lower bound of r is at most the observed ratio to this power.

    Returns
    -------
    float
        0 if there are fewer than three values.
    """
    if len(values) < 3:
        return 0.0
    least_rate = settings.least_rate if least_rate is None else least_rate
    last = min(max(window or 0, settings.window), (len(values) - 1) // 2)
    decrease = values[-1 - last] - values[-1]
    before = values[-1 - 2 * last] - values[-1 - last]
    least, most = least_rate**last, settings.most_rate**last
    rate = least
    if before > 0:
        seen = max(0.0, decrease / before)
        rate = min(max(seen, min(least, seen**trusted)), most)
    return max(0.0, decrease) * rate / (1 - rate)
