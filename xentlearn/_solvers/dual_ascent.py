"""Dual coordinate ascent: sweeps over rows, each of which gets the prediction that is best for it.

Shalev-Shwartz and Zhang, JMLR 14 (2013); Yu, Huang and Lin, Machine Learning 85 (2011). For rare
labels over sparse X the rows hardly know of each other: of their dual Hessian, x_i . x_j plus
1 / (p (1 - p)) on the diagonal, the diagonal is hundreds of times the rest, and a sweep leaves a
tenth of the gap. A sweep takes less time than a gradient, and needs no pairs, directions or line
searches.

Where it is slow, large C and common labels, L-BFGS goes on from where it ended.
"""

import time

import numpy as np

from .contract import Result, require
from .descent import Descent
from .lbfgs import Pairs
from .snapshot import carry_out, restored

REQUIRES = ("dual_point", "dual_sweep", "dual_look", "value_gradient", "precondition", "rounding")

SWEEPS = 12  # at most in an iteration
LEAST_SWEEPS = 2  # before their rate is known
LEAST_RATE, MOST_RATE = 0.02, 0.98  # of convergence that is believed
SAFETY = 0.3  # share of the gap wanted that is aimed at
MOST_SWEEPS = 30  # in all: L-BFGS takes less time than more of them


def dual_ascent(objective, start, *, tol, max_iter, polish=False, callback=None, resume=None):
    """Minimise an objective; parameters and result as in ``lbfgs``.

    An iteration is as many sweeps as should reach ``tol``, at most SWEEPS, and a look at how far
    the minimum is, which is certified, not estimated. ``polish`` is of no use.
    """
    require(objective, "dual-ascent", REQUIRES)
    ascent = _Ascent(objective, start) if resume is None else restored(resume, objective)
    return carry_out(ascent, objective, tol, max_iter, callback)


class _Ascent:
    """The iteration; ``result`` holds the best point at every moment. It can be pickled."""

    def __init__(self, objective, start):
        self.objective = objective
        self.result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
        self.point = self.descent = None
        self.n_sweeps, self.told = 0, False

    def run(self, tol, max_iter, callback):
        """Iterate, from the start or from where a snapshot was taken."""
        result = self.result
        result.converged, result.message = False, ""
        seconds = result.history["seconds"]
        self.began = time.perf_counter() - (seconds[-1] if seconds else 0.0)
        if self.point is None and self.descent is None and not self._begin():
            return
        while self.descent is None:
            if not self.told:
                self.told = True
                if callback is not None and callback(result):
                    result.converged, result.message = True, "stopped by a callback"
                    return
            if result.gap <= tol:
                result.converged, result.message = True, "certified"
                return
            if result.n_iter >= max_iter:
                result.message = "reached 'max_iter'"
                return
            if not self._iterate(tol):
                self.descent = Descent(
                    self.objective, Pairs(self.objective), result.vector, polish=False
                )
                self.point, self.before = None, result.n_iter
        self._descend(tol, max_iter, callback)

    def _begin(self):
        """Whether there is a point to begin at."""
        value, self.point = self.objective.dual_point(self.result.vector)
        finite = np.isfinite(value) and np.isfinite(self.point.coef).all()
        self.result.objective = value
        if not finite:
            self.result.message = "the objective is not finite at the start"
            return False
        self.rise = np.full(self.point.n_lots, np.inf)  # of each lot by the last sweep,
        self.left = np.full(self.point.n_lots, np.inf)  # what is expected to be left then,
        self.factor = np.ones(self.point.n_lots)  # and how much more it has been
        self.least, self.needed = -np.inf, 0  # lower bound; sweeps still needed
        self._record()
        return True

    def _iterate(self, tol):
        """Sweep and look; False where it would take too long."""
        if self.n_sweeps + self.needed > MOST_SWEEPS:
            return False
        point, objective = self.point, self.objective
        wanted = tol * self.result.objective / point.n_lots
        lots = np.flatnonzero(self.left > SAFETY * wanted)
        rises = np.full((SWEEPS, point.n_lots), np.nan)
        for n_done in range(SWEEPS):
            rises[n_done, lots] = rise = objective.dual_sweep(point, lots)
            self.n_sweeps += 1
            with np.errstate(invalid="ignore"):
                rate = np.clip(rise / self.rise[lots], LEAST_RATE, MOST_RATE)
            self.rise[lots] = rise
            self.left[lots] = self.factor[lots] * rise * rate / (1 - rate)
            if n_done + 1 >= LEAST_SWEEPS:
                lots = lots[self.left[lots] > SAFETY * wanted]
            if not len(lots):
                break
        vector, value, gaps = objective.dual_look(point)
        if not np.isfinite(value):
            return False
        gaps = point.by_lot(gaps)
        self.factor *= np.clip(gaps / np.maximum(self.left, np.finfo(float).tiny), 1.0, 10.0)
        self.left = gaps
        self.needed = _sweeps_needed(rises[: n_done + 1], gaps, wanted)
        result = self.result
        self.least = max(self.least, value - gaps.sum())
        result.n_iter += 1
        if value <= result.objective:
            result.vector, result.objective = vector, value
        result.bound = max(0.0, result.objective - self.least)
        result.gap = result.bound / max(abs(result.objective), objective.value_scale)
        self._record()
        return True

    def _record(self):
        result = self.result
        result.history["objective"].append(result.objective)
        result.history["gap"].append(result.gap)
        result.history["seconds"].append(time.perf_counter() - self.began)
        self.told = False

    def _descend(self, tol, max_iter, callback):
        """Go on by L-BFGS."""
        descent = self.descent

        def follow(found):
            self._take(found)
            return callback is not None and callback(self.result)

        descent.run(tol, max_iter - self.before, follow)
        self._take(descent.result)

    def _take(self, found):
        """Put the result so far of the descent behind that of the sweeps."""
        result, before = self.result, self.before
        for name in ("vector", "objective", "gap", "gradient_norm", "converged", "message"):
            setattr(result, name, getattr(found, name))
        result.n_iter, result.bound = before + found.n_iter, np.inf
        for name, values in result.history.items():
            new = found.history[name][1:]  # its start is the last point of the sweeps
            if name == "seconds" and new:
                new = [values[before] + seconds for seconds in new]
            values[before + 1 :] = new


def _sweeps_needed(rises, gaps, wanted):
    """How many more sweeps take the gap of every lot to ``wanted``, at the rate of these.

    Parameters
    ----------
    rises : ndarray of shape (n_sweeps, n_lots)
        Nan where a lot took no part.
    gaps : ndarray of shape (n_lots,)
    wanted : float
    """
    most = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):  # where nothing rises any more
        for of_lot, excess in zip(rises.T, gaps / wanted, strict=True):
            of_lot = of_lot[~np.isnan(of_lot)][LEAST_SWEEPS - 1 :]
            if excess > 1 and len(of_lot) > 1:
                decay = np.log(of_lot[0] / of_lot[-1]) / (len(of_lot) - 1)
                most = max(most, np.log(excess) / decay if decay > 0 else np.inf)
    return most
