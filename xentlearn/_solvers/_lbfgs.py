"""L-BFGS with a preconditioner in place of the initial scaling.

Plain L-BFGS starts its two-loop recursion from a multiple of the identity. Here it starts from the
objective's own approximate inverse Hessian H0, scaled by s.y / y.H0 y: the method is then blind to
the units of the features. See Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4.
"""

import time
from collections import deque

import numpy as np

from ._base import Result, require

REQUIRES = ("size", "value_scale", "rounding", "value_gradient", "precondition")

MEMORY = 20  # pairs kept; 10 takes a third more evaluations on MNIST, 50 saves a few at most
SUFFICIENT_DECREASE = 1e-4  # of the line search: Nocedal and Wright's usual constants
CURVATURE = 0.9
MOST_TRIALS = 30  # per line search; a healthy one needs one or two
POLISHED = 1e-20  # a relative gap at which coefficients are right to about 10 digits
POLISH_ITERATIONS = 200
REFRESH = 10  # a polished problem gets the Hessian at iterations 10, 20, 40, 80, ...
HARD = 150  # and a hard one at 150, 300, 600, ...: by then it is worth the time of many passes
WINDOW = 10  # iterations over which progress is judged
LEAST_RATE, MOST_RATE = 2 / 3, 0.95  # of convergence per window that an estimate may assume


def lbfgs(objective, start, *, tol, max_iter, polish=False, callback=None):
    """Minimise an objective; see ``_base.py`` for the contract.

    Parameters
    ----------
    objective : object
        With the members in ``REQUIRES``.
    start : ndarray of shape (size,)
        Where to begin.
    tol : float
        Stop when the estimated relative gap is at most this.
    max_iter : int
        Most iterations.
    polish : bool, default=False
        Whether to go on beyond ``tol`` until rounding leaves nothing to gain, up to
        POLISH_ITERATIONS in all.
    callback : callable or None, default=None
        Called as ``callback(n_iter, objective, gap)`` at the start and after each iteration.

    Returns
    -------
    Result
    """
    require(objective, "lbfgs", REQUIRES)
    began = time.perf_counter()
    result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
    try:
        _minimise(objective, result, tol, max_iter, polish, callback, began)
    except KeyboardInterrupt:
        result.interrupted = True
        result.message = "interrupted"
    return result


def _minimise(objective, result, tol, max_iter, polish, callback, began):
    """The iteration; ``result`` holds the best point at every moment."""
    x = result.vector
    value, gradient = objective.value_gradient(x)
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        result.objective, result.message = value, "the objective is not finite at the start"
        return
    pairs = deque(maxlen=MEMORY)
    direction = -objective.precondition(gradient)
    slope = gradient @ direction
    values = result.history["objective"]
    best_slope, since_best = np.inf, 0
    refresh = REFRESH if polish else HARD

    while True:
        scale = max(abs(value), objective.value_scale)
        values.append(value)
        gap = max(-0.5 * slope, _gap_by_progress(values)) / scale
        result.vector, result.objective, result.gap = x, value, gap
        result.gradient_norm = float(np.abs(gradient).max(initial=0.0))
        result.history["gap"].append(gap)
        result.history["seconds"].append(time.perf_counter() - began)
        if callback is not None:
            callback(result.n_iter, value, gap)

        wanted = min(tol, POLISHED) if polish and result.n_iter < POLISH_ITERATIONS else tol
        if gap <= wanted:
            result.converged, result.message = True, "the gap reached 'tol'"
            return
        if -slope < 0.5 * best_slope:
            best_slope, since_best = -slope, 0
            best = x, value, -0.5 * slope / scale, result.gradient_norm
        else:
            since_best += 1
        flat = len(values) > WINDOW and (
            values[-1 - WINDOW] - value <= WINDOW * objective.rounding * scale
        )
        if flat and since_best >= WINDOW:
            _end_in_rounding(result, best)
            return
        if result.n_iter >= max_iter:
            result.converged, result.message = gap <= tol, "reached 'max_iter'"
            return

        if result.n_iter == refresh and hasattr(objective, "precondition_at"):
            refresh *= 2
            objective.precondition_at(x)
            pairs.clear()  # what they know of the Hessian, it knows better
            direction = -objective.precondition(gradient)
            slope = gradient @ direction

        step = _line_search(objective, x, value, slope, direction)
        if step is None and pairs:  # the memory may be at fault: once more from H0 alone
            pairs.clear()
            direction = -objective.precondition(gradient)
            slope = gradient @ direction
            step = _line_search(objective, x, value, slope, direction)
        if step is None:
            if gap <= tol or -0.5 * slope <= objective.rounding * scale:
                _end_in_rounding(result, best)
            else:
                result.message = "the line search found no decrease"
            return

        x_new, value_new, gradient_new = step
        difference, change = x_new - x, gradient_new - gradient
        curvature = difference @ change
        if curvature > 0:
            pairs.append((difference, change, curvature))
        x, value, gradient = x_new, value_new, gradient_new
        direction = _direction(objective, gradient, pairs)
        slope = gradient @ direction
        if not slope < 0:  # rounding has made the matrix indefinite
            pairs.clear()
            direction = -objective.precondition(gradient)
            slope = gradient @ direction
        result.n_iter += 1


def _end_in_rounding(result, best):
    """Return to the point with the smallest slope: values no longer tell points apart."""
    result.vector, result.objective, result.gap, result.gradient_norm = best
    result.history["objective"][-1] = result.objective
    result.history["gap"][-1] = result.gap
    result.converged, result.message = True, "rounding leaves nothing to gain"


def _gap_by_progress(values):
    """What is still to come, if the decrease goes on as it did over the last two windows.

    Half the squared Newton decrement in the metric of the L-BFGS matrix, the usual estimate, is 8
    to 10 times too small on MNIST: the matrix does not know the slow directions. Progress does: for
    linear convergence with rate r per window, the rest is r / (1 - r) times the last window's
    decrease. r is taken in [2/3, 0.95], so that one good or bad window does not decide: with 1/2
    as the least, the true gap of a default fit of MNIST was 1.2e-4 where 1e-4 was asked for.
    """
    if len(values) < 3:
        return 0.0
    last = min(WINDOW, (len(values) - 1) // 2)
    decrease = values[-1 - last] - values[-1]
    before = values[-1 - 2 * last] - values[-1 - last]
    rate = min(max(decrease / before, LEAST_RATE), MOST_RATE) if before > 0 else LEAST_RATE
    return max(0.0, decrease) * rate / (1 - rate)


def _direction(objective, gradient, pairs):
    """-H gradient by the two-loop recursion, from H0 = scale * preconditioner."""
    q = gradient.copy()
    alphas = []
    for difference, change, curvature in reversed(pairs):
        alpha = (difference @ q) / curvature
        q -= alpha * change
        alphas.append(alpha)
    q = objective.precondition(q)
    if pairs:
        _, change, curvature = pairs[-1]
        q *= curvature / (change @ objective.precondition(change))
    for (difference, change, curvature), alpha in zip(pairs, reversed(alphas), strict=True):
        q += (alpha - (change @ q) / curvature) * difference
    return -q


def _line_search(objective, x, value, slope, direction):
    """A step along ``direction`` that satisfies the weak Wolfe conditions.

    Returns (point, value, gradient), or None where no such step is found. Near the minimum the
    decrease drowns in rounding; a step is then judged by its slope alone (the approximate Wolfe
    conditions of Hager and Zhang, SIAM J. Optim. 16, 2005), which keeps its digits.
    """
    noise = objective.rounding * max(abs(value), objective.value_scale)
    low, high = 0.0, np.inf
    low_value, low_slope = value, slope
    step = 1.0
    for _ in range(MOST_TRIALS):
        point = x + step * direction
        new_value, new_gradient = objective.value_gradient(point)
        new_slope = new_gradient @ direction
        finite = np.isfinite(new_value) and np.isfinite(new_slope)
        decreased = finite and (
            new_value <= value + SUFFICIENT_DECREASE * step * slope
            or (new_value <= value + noise and new_slope <= (2 * SUFFICIENT_DECREASE - 1) * slope)
        )
        if decreased and new_slope >= CURVATURE * slope:
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
