"""What a solver found and why it stopped; for descents an estimate of the gap, and criteria."""

from dataclasses import dataclass, field

import numpy as np

from .._utils.state import Stateful
from .contract import MESSAGES, StopReason


@dataclass
class Result:
    """What every solver returns.

    Attributes
    ----------
    vector : ndarray of shape (size,)
        The best point found.
    objective : float
        Value there.
    gradient_norm : float
        Largest absolute entry of the gradient there.
    gap : float
        The solver's estimate of (objective - minimum) / max(objective, value_scale).
    bound : float
        A certified upper bound of objective - minimum, where the solver knows one; else inf.
    n_iter : int
        Iterations done.
    converged : bool
        Whether ``gap`` reached ``tol``, or no further progress is possible.
    reason : StopReason or None
        Why the solver stopped; None while it runs.
    message : str
        The same in words.
    stopped_by : BaseException or None
        What interrupted it: a KeyboardInterrupt, or an error of the objective or the callback once
        there was a point to keep; ``vector`` is then the best point so far.
    objectives, gaps, seconds : list of float
        One entry per iteration, the start included.
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

    @property
    def history(self):
        """The lists by name."""
        return {"objective": self.objectives, "gap": self.gaps, "seconds": self.seconds}

    def stop(self, reason, converged, message=None):
        """Say why it stopped, in the words of MESSAGES unless there is another ``message``."""
        self.reason, self.converged = reason, bool(converged)
        self.message = MESSAGES[reason] if message is None else message

    def record(self, seconds):
        """One more entry of the history."""
        self.objectives.append(self.objective)
        self.gaps.append(self.gap)
        self.seconds.append(seconds)

    def dump(self):
        """All but what interrupted it, as a tree."""
        reason = None if self.reason is None else int(self.reason)
        return {**vars(self), "reason": reason, "stopped_by": None}

    @classmethod
    def load(cls, tree):
        """The result of a ``dump``."""
        reason = tree["reason"]
        return cls(**{**tree, "reason": None if reason is None else StopReason(reason)})


class Stopping(Stateful):
    """The estimates of a descent so far, and the criteria by which it stops.

    Parameters
    ----------
    objective : object
        See ``contract.py``.
    polish : bool
        Whether to go on until rounding leaves no further progress.
    exact : bool
        Whether directions are Newton's.
    settings : settings.Stopping

    Attributes
    ----------
    values : list of float
        With the present penalty, and since the first preconditioner at a point.
    """

    CHANGES = (
        *("values", "last_slope", "last_gap", "best_slope", "since_best", "best"),
        *("doubtful_from", "agreed_at"),
    )

    def __init__(self, objective, polish, exact, settings):
        self.objective, self.polish, self.exact, self.settings = objective, polish, exact, settings
        offers = getattr(objective, "OFFERS", ())
        self.certifies = "certified_gap" in offers and not polish
        self.estimates_alone = getattr(objective, "exact_hessian", True)
        self.values = []
        self.last_slope = self.last_gap = 0.0
        self.best_slope, self.since_best, self.best = np.inf, 0, None
        # directions of Newton's method need no second opinion
        doubts = "precondition_at" in offers and not (exact or polish)
        self.doubtful_from = settings.slow if doubts else np.inf
        self.agreed_at = -1  # iteration of the last second opinion like the estimate

    def begin_again(self, value):
        """Another function is minimised from now on: what was seen says nothing of it."""
        self.values = [value]
        self.best_slope, self.last_slope, self.last_gap = np.inf, 0.0, 0.0

    # ---- Estimates -----------------------------------------------------------------------------

    def estimate(self, value, slope, n_iter):
        """Relative gap of a new point, (value - minimum) over the larger of value and its scale."""
        settings, values = self.settings, self.values
        scale = max(abs(value), self.objective.value_scale)
        values.append(value)
        quadratic = max(settings.quadratic * self.last_slope, settings.minute * scale)
        if self.exact and -slope <= quadratic:
            gap = -slope / scale  # twice Newton's estimate, where the method converges as it should
        else:
            # where the descent is fast and its metric good both of these show it
            trusting = gap_by_progress(values, settings, trusted=settings.trusted)
            fast = max(-0.5 * settings.metric * slope, trusting)
            gap = max(-0.5 * slope, min(fast, gap_by_progress(values, settings))) / scale
            if not self.estimates_alone and len(values) <= 2 * settings.window:
                gap = np.inf  # the start, a minimum of something else, looks flatter than it is
            gap = gap if slope < 0 else 0.0
            polishing = self.polish and n_iter < settings.polish_iterations
            if n_iter >= settings.slow and not polishing:
                # one lucky window must not end it
                window = len(values) // settings.share_of_slow
                long_run = gap_by_progress(values, settings, window, least_rate=0.0)
                gap = max(gap, settings.most_fall * self.last_gap)
                gap = max(gap, settings.caution * long_run / scale)
        self.last_slope, self.last_gap = -slope, gap
        return gap

    # ---- Criteria ------------------------------------------------------------------------------

    def reason(self, descent, tol, max_iter):
        """The first of the criteria that is met, or None."""
        for criterion in (self.reached, self.flat):
            found = criterion(descent, tol)
            if found is not None:
                return found
        if descent.result.n_iter >= max_iter:
            descent.result.stop(StopReason.MAX_ITER, descent.result.gap <= tol)
            return StopReason.MAX_ITER
        return None

    def reached(self, descent, tol):
        """Whether the gap is within the tolerance, by a certificate or by the estimate."""
        result, settings, n_iter = descent.result, self.settings, descent.result.n_iter
        scale, gap = descent.scale, descent.gap
        polishing = self.polish and n_iter < settings.polish_iterations
        wanted = min(tol, settings.polished) if polishing else tol
        # progress is a cautious witness; at a start that is another's minimum there is none yet
        doubtful = gap > wanted >= -0.5 * descent.slope / scale
        bound = np.inf
        if self.certifies and (doubtful or (len(self.values) < 3 and gap <= wanted)):
            bound = self.objective.certified_gap(
                descent.x, descent.value, descent.gradient, tol * scale
            )
            gap = min(gap, bound / scale) if doubtful else max(gap, bound / scale)
            descent.gap = result.gap = result.gaps[-1] = gap
        if not (gap <= wanted and n_iter >= descent.schedule.settled_from):
            return None
        if n_iter >= self.doubtful_from and not self._confirmed(descent, tol):
            return None
        reason = StopReason.CERTIFIED if bound <= wanted * scale else StopReason.ESTIMATED
        result.stop(reason, True)
        result.bound = bound
        return reason

    def _confirmed(self, descent, tol):
        """Whether gradient . H^-1 gradient, with H anew, agrees with a slow descent's estimate.

        It is twice the gap where the objective is quadratic. Progress says nothing of a valley that
        has not been entered yet: of breast cancer's features to the third power a descent stood
        still at 4e-4 for some iterations. And where few rows have any curvature left, the step
        shows others: there the decrement was 28 times too small, and has to be as wanted once more
        after a step with that H.
        """
        n_iter, scale = descent.result.n_iter, descent.scale
        self.objective.precondition_at(descent.x, thorough=True)
        decrement = descent.gradient @ self.objective.precondition(descent.gradient)
        agreed = decrement <= tol * scale
        confirmed = agreed and self.agreed_at == n_iter - 1
        self.agreed_at = n_iter if agreed else -1
        descent.schedule.due = n_iter + descent.schedule.patience
        self.doubtful_from = n_iter + (1 if agreed else self.settings.recheck)
        if not confirmed:
            descent.result.gap = max(descent.gap, decrement / scale)
            descent.result.gaps[-1] = descent.result.gap
            descent.take_direction()
        return confirmed

    def flat(self, descent, tol):
        """Whether values have not fallen for a while by more than their rounding."""
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
        """Return to the point with the smallest slope, if values do not tell it from this one.

        It is the minimum as far as values tell, unless the estimated gap is more than they could
        hide: along features that nearly depend on each other, rounding may have the last word.
        """
        result, rounding = descent.result, self.objective.rounding
        if self.best[1] - descent.value <= rounding * descent.scale:
            result.vector, result.objective, result.gap, result.gradient_norm = self.best
            result.objectives[-1] = result.objective
            result.gaps[-1] = result.gap
        # tol=0 asks for as much as there is
        least = max(tol, self.settings.rounding * rounding)
        result.stop(StopReason.ROUNDING, tol == 0 or result.gap <= least)
        return StopReason.ROUNDING


def gap_by_progress(values, settings, window=None, least_rate=None, trusted=0.0):
    """What is still to come, if the decrease goes on as it did over the last two windows.

    Half the squared Newton decrement in the metric of the L-BFGS matrix, the usual estimate, is up
    to 10 times too small on MNIST: the matrix does not know the slow directions. Progress does: for
    linear convergence with rate r per window, the rest is r / (1 - r) times the last window's
    decrease. r is bounded below and above, so that one good or bad window does not decide.

    Parameters
    ----------
    values : list of float
    settings : settings.Stopping
    window : int or None, default=None
        At least that of the settings.
    least_rate : float or None, default=None
        None: that of the settings.
    trusted : float, default=0.0
        Share of a faster decrease, in logarithms, that is believed.

    Returns
    -------
    float
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
