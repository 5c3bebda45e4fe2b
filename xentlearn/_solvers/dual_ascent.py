"""Dual coordinate ascent: sweeps that maximise the dual objective over one row after the other.

See Shalev-Shwartz and Zhang, JMLR 14 (2013), and Yu, Huang and Lin, Machine Learning 85 (2011). For
rare labels over sparse X, the rows are hardly coupled: the dual Hessian has entries x_i . x_j, plus
1 / (p (1 - p)) on its diagonal, and the diagonal is hundreds of times larger than the rest. A sweep
then reduces the gap to a tenth. A sweep takes less time than a gradient, and needs no history, no
directions and no line searches. For common labels and for a softmax over text, a few sweeps are
enough unless C is large, if each goes through the rows in a random order of its own.

If sweeps converge slowly, as for a very large C, L-BFGS continues from their result.
"""

import time

import numpy as np

from .._plan.settings import DualAscent
from .._utils.state import Stateful
from .contract import StopReason
from .descent import REQUIRED, Descent, carry_out, require
from .lbfgs import History
from .stopping import Result

REQUIRES = (*REQUIRED, "dual")


def dual_ascent(objective, start, *, polish=0.0, settings=DualAscent(), **options):
    """Minimise an objective by dual ascent; parameters and result as in ``descend``.

    An iteration consists of as many sweeps as should be needed to reach ``tol``, up to a limit, and
    one pass that computes the value and a certified bound of its gap. ``polish`` is ignored.
    """
    require(objective, "dual-ascent", REQUIRES)
    return carry_out(_Ascent(objective, start, settings), **options)


class _Ascent(Stateful):
    """Iterates by sweeps, then by L-BFGS if necessary; ``result`` has the best point so far.

    Attributes
    ----------
    point : DualPoint or None
        The present point; None before the start and once L-BFGS is at work.
    descent : Descent or None
        L-BFGS, once it is at work.
    before : int or None
        Number of iterations before L-BFGS began.
    n_sweeps : int
        Number of sweeps so far.
    needed : float
        Predicted number of sweeps still needed.
    least : float
        The largest lower bound of the minimum so far.
    met : ndarray of shape (n_lots,)
        Mean gap that the rows had in the last sweep of each lot of outputs.
    left : ndarray of shape (n_lots,)
        Estimated gap of each lot, certified after each pass that computes it.
    factor : ndarray of shape (n_lots,)
        Product of the ratios by which certified gaps have exceeded estimates so far, which corrects
        the estimates to come.
    """

    CHANGES = ("met", "left", "factor", "least", "needed", "n_sweeps", "before")

    def __init__(self, objective, start, settings):
        self.objective, self.dual, self.settings = objective, objective.dual, settings
        self.result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
        self.point = self.descent = self.before = self.met = self.left = self.factor = None
        self.n_sweeps, self.needed = 0, 0
        self.least = -np.inf

    def dump(self):
        """Return all that the next iteration depends on, as a tree."""
        tree = {**super().dump(), "result": self.result.dump()}
        if self.descent is not None:
            return {**tree, "descent": self.descent.dump()}
        return {**tree, "point": self.point.dump(), "objective": self.objective.dump()}

    def load(self, tree):
        """Restore what ``dump`` returned; the objective must be of the same problem."""
        super().load(tree)
        self.result = Result.load(tree["result"])
        if "descent" in tree:
            self.descent = self._make_descent()
            self.descent.load(tree["descent"])
        else:
            self.objective.load(tree["objective"])
            self.point = self.dual.load_point(tree["point"])

    def _make_descent(self):
        objective = self.objective
        return Descent(objective, History(objective), self.result.vector, polish=0.0)

    def run(self, tol, max_iter, callback):
        """Iterate from the start, or from a dump, which is made during a call of the callback."""
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
        """Evaluate the start; return False, with the reason in the result, if it is not finite."""
        value, self.point = self.dual.point(self.result.vector)
        finite = np.isfinite(value) and np.isfinite(self.point.coef).all()
        self.result.objective = value
        if not finite:
            self.result.stop(StopReason.DIVERGED, False)
            return False
        self.met = np.full(self.point.n_lots, np.inf)
        self.left = np.full(self.point.n_lots, np.inf)
        self.factor = np.ones(self.point.n_lots)
        self.result.record(time.perf_counter() - self.began)
        return True

    def _iterate(self, tol):
        """Sweep, then compute the value and its gap; return False if it would take too long.

        L-BFGS then continues from the result.
        """
        point, objective, settings = self.point, self.objective, self.settings
        if self.n_sweeps + self.needed > self.dual.most_sweeps(settings):
            return False
        wanted = tol * self.result.objective / point.n_lots
        aimed_at = self.dual.aimed_at(settings)
        lots = np.flatnonzero(self.left > aimed_at * wanted)
        mets = np.full((settings.sweeps, point.n_lots), np.nan)
        for n_done in range(settings.sweeps):
            mets[n_done, lots] = met = self.dual.sweep(point, lots)
            self.n_sweeps += 1
            with np.errstate(invalid="ignore"):
                rate = np.clip(met / self.met[lots], settings.least_rate, settings.most_rate)
            self.met[lots] = met
            self.left[lots] = self.factor[lots] * self.dual.left(met, rate)
            if n_done + 1 >= settings.least_sweeps:
                value = self.dual.expected_value(point, self.result.objective)
                wanted = tol * value / point.n_lots
                lots = lots[self.left[lots] > aimed_at * wanted]
            if not len(lots):
                break
        vector, value, gaps = self.dual.look(point)
        if not np.isfinite(value):
            return False
        gaps = point.by_lot(gaps)
        self.factor *= np.clip(gaps / np.maximum(self.left, np.finfo(float).tiny), 1.0, 10.0)
        self.left = gaps
        wanted = tol * min(value, self.result.objective) / point.n_lots
        self.needed = _sweeps_needed(mets[settings.least_sweeps - 1 : n_done + 1], gaps, wanted)
        result = self.result
        self.least = max(self.least, value - gaps.sum())
        result.n_iter += 1
        if value <= result.objective:
            result.vector, result.objective = vector, value
        result.bound = max(0.0, result.objective - self.least)
        result.gap = result.bound / max(abs(result.objective), objective.value_scale)
        result.record(time.perf_counter() - self.began)
        if point.n_lots == 1 and result.n_iter > 1:  # the record shows the rate over a longer time
            self.needed = _iterations_needed(result.gaps[1:], tol)
            self.needed *= self.n_sweeps / result.n_iter
        return True

    def _descend(self, tol, max_iter, callback):
        """Continue by L-BFGS from the result."""
        descent = self.descent

        def follow(found):
            self._take(found)
            return callback is not None and callback(self.result)

        descent.run(tol, max_iter - self.before, follow)
        self._take(descent.result)

    def _take(self, found):
        """Append the result of the descent so far to that of the sweeps."""
        result, before = self.result, self.before
        for name in (
            "vector",
            "objective",
            "gap",
            "bound",
            "gradient_norm",
            "converged",
            "reason",
            "message",
        ):
            setattr(result, name, getattr(found, name))
        result.n_iter = before + found.n_iter
        for name, values in result.history.items():
            new = found.history[name][1:]  # the first entry is of the last point of the sweeps
            if name == "seconds" and new:
                new = [values[before] + seconds for seconds in new]
            values[before + 1 :] = new


def _iterations_needed(gaps, tol):
    """Predict how many more iterations reduce the gap to ``tol``.

    Progress in a few sweeps is a matter of the order of the rows: the rate is that of the last half
    of the iterations.

    Parameters
    ----------
    gaps : list of float
        Certified gaps of the best point after each iteration, at least two.
    tol : float

    Returns
    -------
    float
        inf if there was no progress.
    """
    now, window = gaps[-1], len(gaps) // 2
    if not now > tol:
        return 0.0
    before = gaps[-1 - window]
    return window * np.log(now / tol) / np.log(before / now) if now < before else np.inf


def _sweeps_needed(mets, gaps, wanted):
    """Predict how many more sweeps reduce the gap of every lot to ``wanted``.

    Parameters
    ----------
    mets : ndarray of shape (n_sweeps, n_lots)
        Mean gap that the rows had in each sweep; nan if it left the lot out.
    gaps : ndarray of shape (n_lots,)
        Certified gaps after these sweeps.
    wanted : float

    Returns
    -------
    float
        inf if a lot whose gap is too large makes no progress.
    """
    most = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):  # gaps may be 0
        for of_lot, excess in zip(mets.T, gaps / wanted, strict=True):
            of_lot = of_lot[~np.isnan(of_lot)]
            if excess > 1 and len(of_lot) > 1:
                decay = np.log(of_lot[0] / of_lot[-1]) / (len(of_lot) - 1)
                most = max(most, np.log(excess) / decay if decay > 0 else np.inf)
    return most
