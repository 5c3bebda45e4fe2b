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

from .._plan.settings import DualAscent
from .._utils.state import Stateful
from .contract import StopReason
from .descent import Descent, carry_out, require
from .lbfgs import History
from .stopping import Result

REQUIRES = ("dual", "value_gradient", "precondition", "rounding")


def dual_ascent(objective, start, *, polish=False, settings=DualAscent(), **options):
    """Minimise an objective; parameters and result as in ``descend``.

    An iteration is as many sweeps as should reach ``tol``, up to a limit, and a look at how far the
    minimum is, which is certified, not estimated. ``polish`` is of no use.
    """
    require(objective, "dual-ascent", REQUIRES)
    return carry_out(_Ascent(objective, start, settings), **options)


class _Ascent(Stateful):
    """The iteration; ``result`` holds the best point at every moment."""

    CHANGES = ("rise", "left", "factor", "least", "needed", "n_sweeps", "before")

    def __init__(self, objective, start, settings):
        self.objective, self.dual, self.settings = objective, objective.dual, settings
        self.result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
        self.point = self.descent = self.before = self.rise = self.left = self.factor = None
        self.n_sweeps, self.needed = 0, 0  # done, and still needed
        self.least = -np.inf  # lower bound of the minimum

    def dump(self):
        """All that the next iteration depends on, as a tree."""
        tree = {**super().dump(), "result": self.result.dump()}
        if self.descent is not None:
            return {**tree, "descent": self.descent.dump()}
        return {**tree, "point": self.point.dump(), "objective": self.objective.dump()}

    def load(self, tree):
        """Put a ``dump`` back, on an objective like the one it was of."""
        super().load(tree)
        self.result = Result.load(tree["result"])
        if "descent" in tree:
            self.descent = self._make_descent()
            self.descent.load(tree["descent"])
        else:
            self.objective.load(tree["objective"])
            self.point = self.dual.load_point(tree["point"])

    def _make_descent(self):
        return Descent(self.objective, History(self.objective), self.result.vector, polish=False)

    def run(self, tol, max_iter, callback):
        """Iterate, from the start or from where a dump was made: after the callback."""
        result, seconds = self.result, self.result.seconds
        self.began = time.perf_counter() - (seconds[-1] if seconds else 0.0)
        is_told = self.point is not None
        if self.point is None and self.descent is None and not self._begin():
            return
        while self.descent is None:
            if not is_told and callback is not None and callback(result):
                result.stop(StopReason.CALLBACK, True)
                return
            is_told = False
            if result.gap <= tol:
                result.stop(StopReason.CERTIFIED, True)
                return
            if result.n_iter >= max_iter:
                result.stop(StopReason.MAX_ITER, False)
                return
            if not self._iterate(tol):
                self.descent, self.point, self.before = self._make_descent(), None, result.n_iter
        self._descend(tol, max_iter, callback)

    def _begin(self):
        """Whether there is a point to begin at."""
        value, self.point = self.dual.point(self.result.vector)
        finite = np.isfinite(value) and np.isfinite(self.point.coef).all()
        self.result.objective = value
        if not finite:
            self.result.stop(StopReason.DIVERGED, False)
            return False
        self.rise = np.full(self.point.n_lots, np.inf)  # of each lot by the last sweep,
        self.left = np.full(self.point.n_lots, np.inf)  # what is expected to be left then,
        self.factor = np.ones(self.point.n_lots)  # and how much more it has been
        self.result.record(time.perf_counter() - self.began)
        return True

    def _iterate(self, tol):
        """Sweep and look; False where it would take too long."""
        point, objective, settings = self.point, self.objective, self.settings
        if self.n_sweeps + self.needed > settings.most_sweeps:
            return False
        wanted = tol * self.result.objective / point.n_lots
        lots = np.flatnonzero(self.left > settings.aimed_at * wanted)
        rises = np.full((settings.sweeps, point.n_lots), np.nan)
        for n_done in range(settings.sweeps):
            rises[n_done, lots] = rise = self.dual.sweep(point, lots)
            self.n_sweeps += 1
            with np.errstate(invalid="ignore"):
                rate = np.clip(rise / self.rise[lots], settings.least_rate, settings.most_rate)
            self.rise[lots] = rise
            self.left[lots] = self.factor[lots] * rise * rate / (1 - rate)
            if n_done + 1 >= settings.least_sweeps:
                lots = lots[self.left[lots] > settings.aimed_at * wanted]
            if not len(lots):
                break
        vector, value, gaps = self.dual.look(point)
        if not np.isfinite(value):
            return False
        gaps = point.by_lot(gaps)
        self.factor *= np.clip(gaps / np.maximum(self.left, np.finfo(float).tiny), 1.0, 10.0)
        self.left = gaps
        self.needed = _sweeps_needed(rises[settings.least_sweeps - 1 : n_done + 1], gaps, wanted)
        result = self.result
        self.least = max(self.least, value - gaps.sum())
        result.n_iter += 1
        if value <= result.objective:
            result.vector, result.objective = vector, value
        result.bound = max(0.0, result.objective - self.least)
        result.gap = result.bound / max(abs(result.objective), objective.value_scale)
        result.record(time.perf_counter() - self.began)
        return True

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
        for name in (
            "vector",
            "objective",
            "gap",
            "gradient_norm",
            "converged",
            "reason",
            "message",
        ):
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
            of_lot = of_lot[~np.isnan(of_lot)]
            if excess > 1 and len(of_lot) > 1:
                decay = np.log(of_lot[0] / of_lot[-1]) / (len(of_lot) - 1)
                most = max(most, np.log(excess) / decay if decay > 0 else np.inf)
    return most
