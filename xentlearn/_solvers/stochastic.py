"""Stochastic descent on batches of rows: Adam, and SGD with momentum.

Steps are taken in units in which features have mean 0 and spread 1 (``_steps.pyx``), so that a
learning rate suits any scales. What is returned is an average of the points: that of step t has
weight t, which forgets the start and has no window to choose (Lacoste-Julien, Schmidt and Bach,
arXiv:1212.2002, 2012). After one epoch of MNIST, at a learning rate of 0.01, the average has 92.3 %
of the test digits right and the last point 90.5 %.
"""

import math
import time

import numpy as np

from ._steps import step
from .contract import Result, require
from .snapshot import carry_out, restored

REQUIRES = ("batches", "by_output", "rows", "mean", "inverse_spread", "l2_reg", "pack", "unpack")

# One thread or all of them for a step: so many are tried each way, and again after so many. Two
# halve a step of 200 rows of MNIST, 160 us; on cores that are busy otherwise they take 10 ms.
TRIED, TRIED_AGAIN = 3, 2000
LEAST_RATE = 1e-6  # at which "adaptive" ends, as scikit-learn's MLPClassifier has it
SLOWER = 5  # and what it divides a rate by


class ThreadChoice:
    """One thread or all of them for many short steps: the faster, when they were last tried.

    The bits are the same.
    """

    def __init__(self, n_threads):
        self.choices = [1] if n_threads == 1 else [1, n_threads]
        self.best, self._times = None, []

    def timed(self, step, n_rows):
        """What ``step(n_threads)`` returns, for a step on ``n_rows`` rows."""
        at = len(self._times) // TRIED
        n_threads = self.choices[at] if at < len(self.choices) else self.best
        began = time.perf_counter()
        result = step(n_threads)
        self._times.append((time.perf_counter() - began) / n_rows)
        if len(self._times) == TRIED * len(self.choices):
            least = [min(self._times[i : i + TRIED]) for i in range(0, len(self._times), TRIED)]
            self.best = self.choices[int(np.argmin(least))]
        if len(self._times) >= TRIED_AGAIN:
            self._times = []
        return result


class StochasticDescent:
    """Coefficients on their way, with all that the next step needs: it can be pickled.

    Parameters
    ----------
    rule : {"adam", "sgd"}
    by_output : bool
        Whether coefficients are kept as (n_outputs, n_features), not (n_features, n_outputs).
    coef : ndarray of shape (n_outputs, n_features)
        Where to begin.
    intercept : ndarray of shape (n_outputs,)
    dtype : dtype
        Of what the rule remembers.
    options : dict
        "learning_rate", "learning_rate_init", "power_t", "momentum", "nesterovs_momentum",
        "beta_1", "beta_2", "epsilon", "average", as in ``SoftmaxClassifier``.
    least_share : float, default=0.0
        What a point has at least in the average: 0.02 is a memory of some 100 steps.
    """

    def __init__(self, rule, by_output, coef, intercept, dtype, options, least_share=0.0):
        self.least_share, self._threads = least_share, None
        self.rule, self.by_output, self.options = rule, by_output, options
        self.point = self._own_order(coef), np.array(intercept, dtype=np.float64)
        self.average = self.point[0].copy(), self.point[1].copy()
        self.first = np.zeros_like(self.point[0], dtype), np.zeros(len(intercept), dtype)
        self.second = (
            self.first
            if rule == "sgd"
            else (np.zeros_like(self.first[0]), np.zeros_like(self.first[1]))
        )
        self.n_steps, self.divisor = 0, 1.0

    def _own_order(self, coef):
        return np.array(coef if self.by_output else coef.T, dtype=np.float64, order="C")

    def found(self):
        """(coef (n_outputs, n_features), intercept): the average, or the point."""
        coef, intercept = self.average if self.options["average"] else self.point
        # not copy(), which keeps the subclass of a memory map
        return np.array(coef if self.by_output else coef.T, order="C"), np.array(intercept)

    def epoch(self, batches, l2_reg, mean, inverse_spread, fit_intercept, n_threads):
        """A step for each batch.

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
            Mean over the batches of the objective, each before its step: nan if none has weight,
            inf once a loss is not finite.
        """
        if self._threads is None or self._threads.choices[-1] != n_threads:
            self._threads = ThreadChoice(n_threads)
        coef, intercept = self.point
        if not fit_intercept:  # of a fit before, that had one
            intercept[:] = self.average[1][:] = 0.0
        # from b to the logits at the mean, and back: see LinearObjective
        intercept += self._shift(coef, mean)
        self.average[1][:] += self._shift(self.average[0], mean)
        fixed = l2_reg, mean, inverse_spread, fit_intercept
        total_loss = total_weight = 0.0
        for i in range(len(batches)):
            weight = batches.weight(i)
            if not weight > 0:
                continue
            self.n_steps += 1
            loss = self._threads.timed(
                lambda n, i=i, weight=weight: self._step(batches, i, weight, *fixed, n),
                batches.size,
            )
            if not math.isfinite(loss):
                return np.inf
            total_loss, total_weight = total_loss + loss, total_weight + weight
        intercept -= self._shift(coef, mean)
        self.average[1][:] -= self._shift(self.average[0], mean)
        if total_weight == 0:
            return np.nan
        return total_loss / total_weight + 0.5 * l2_reg * float(np.vdot(coef, coef))

    def _step(self, batches, i, weight, l2_reg, mean, inverse_spread, fit_intercept, n_threads):
        """A step for batch ``i``; its loss before that."""
        coef, intercept = self.point
        loss, coef_total, intercept_total = batches.loss_gradient(
            i, coef, intercept - self._shift(coef, mean), n_threads
        )
        step(
            self.rule,
            self.by_output,
            self._parameters(1.0 / weight, l2_reg),
            coef_total,
            intercept_total,
            mean,
            inverse_spread,
            self.first[0],
            self.second[0],
            coef,
            self.average[0],
            self.first[1],
            self.second[1],
            intercept,
            self.average[1],
            fit_intercept,
            n_threads,
        )
        return loss

    def _shift(self, coef, mean):
        return coef @ mean if self.by_output else mean @ coef

    def _parameters(self, inverse_weight, l2_reg):
        """Of the kernel (``_kernels/steps.h``), for step ``n_steps``."""
        options, t = self.options, self.n_steps
        result = {
            "inverse_weight": inverse_weight,
            "l2_reg": l2_reg,
            "rate": options["learning_rate_init"] / self.divisor,
            "beta_1": options["beta_1"],
            "beta_2": options["beta_2"],
            "epsilon": options["epsilon"],
            "nesterov": options["nesterovs_momentum"],
            "share": max(2.0 / (t + 1), self.least_share),
        }
        if self.rule == "adam":
            # both corrections of Adam's means, taken out of the loop
            root = math.sqrt(1 - options["beta_2"] ** t)
            result["rate"] *= root / (1 - options["beta_1"] ** t)
            result["epsilon"] *= root
            return result
        if options["learning_rate"] == "invscaling":
            result["rate"] /= t ** options["power_t"]
        result["beta_1"] = options["momentum"]
        return result

    def slow_down(self):
        """Whether "adaptive" has a smaller rate to go on with."""
        if self.options["learning_rate"] != "adaptive" or self.rule == "adam":
            return False
        self.divisor *= SLOWER
        return self.options["learning_rate_init"] / self.divisor > LEAST_RATE


def stochastic(rule):
    """The solver of a rule: see ``_base.py``, but for its options.

    The objective has ``batches(order, size)``, the batches of an epoch (``_rows.py``), and tells
    what ``StochasticDescent`` asks for.
    """

    def solve(objective, start, *, tol, max_iter, callback=None, resume=None, **options):
        """Minimise an objective batch by batch.

        Parameters
        ----------
        objective : object
        start : ndarray of shape (size,)
        tol : float
            Stop when ``n_iter_no_change`` epochs in a row have not lowered the objective by this
            share.
        max_iter : int
            Most epochs.
        callback, resume
            As in other solvers; the callback after each epoch.
        **options : dict
            As of ``StochasticDescent``, and "batch_size", "shuffle", "random_state",
            "n_iter_no_change".

        Returns
        -------
        Result
            Whose objective and history are those of the epochs, each batch before its step; ``gap``
            is inf: there is no estimate.
        """
        require(objective, rule, REQUIRES)
        if resume is None:
            epochs = _Epochs(rule, objective, start, options)
        else:
            epochs = restored(resume, objective)
        return carry_out(epochs, objective, tol, max_iter, callback)

    return solve


class _Epochs:
    """The iteration over epochs: all that the next one depends on but the data."""

    def __init__(self, rule, objective, start, options):
        self.objective, self.options = objective, options
        self.descent = StochasticDescent(
            rule, objective.by_output, *objective.unpack(start), objective.rows.dtype, options
        )
        self.result = Result(vector=np.array(start, dtype=np.float64), objective=np.inf)
        self.best, self.unchanged = np.inf, 0

    def run(self, tol, max_iter, callback):
        result = self.result
        result.converged, result.message = False, ""
        seconds = result.history["seconds"]
        began = time.perf_counter() - (seconds[-1] if seconds else 0.0)
        while not self._ended() and result.n_iter < max_iter:
            value = self._epoch()
            result.n_iter += 1
            if not np.isfinite(value):
                result.message = "the objective is not finite: 'learning_rate_init' is too large"
                return
            result.vector = self.objective.pack(*self.descent.found())
            result.objective = value
            for name, number in (("objective", value), ("gap", np.inf)):
                result.history[name].append(number)
            seconds.append(time.perf_counter() - began)
            scale = max(abs(self.best), self.objective.value_scale)
            lower = np.isinf(self.best) or value <= self.best - tol * scale
            self.unchanged = 0 if lower else self.unchanged + 1
            self.best = min(self.best, value)
            if callback is not None and callback(result):
                result.converged, result.message = True, "stopped by a callback"
                return
        if not result.converged:
            result.message = "reached 'max_iter'"

    def _epoch(self):
        objective, options = self.objective, self.options
        order = None
        if options["shuffle"]:
            order = options["random_state"].permutation(objective.rows.n_rows)
        with np.errstate(over="ignore", invalid="ignore"):  # of a rate that is too large
            return self.descent.epoch(
                objective.batches(order, options["batch_size"]),
                objective.l2_reg,
                objective.mean,
                objective.inverse_spread,
                objective.fit_intercept,
                objective.n_threads,
            )

    def _ended(self):
        """Whether the objective has stopped falling, and no slower rate is left to try."""
        if self.unchanged < self.options["n_iter_no_change"]:
            return False
        if self.descent.slow_down():
            self.unchanged = 0
            return False
        self.result.converged, self.result.message = True, "the objective stopped falling"
        return True
