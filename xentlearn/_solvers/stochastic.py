"""The solver "adam" and "sgd": epochs of stochastic descent on batches of rows."""

import time

import numpy as np

from .._utils.state import Stateful
from .batch_descent import BatchDescent, Terms
from .contract import StopReason
from .descent import carry_out, require
from .stopping import Result

REQUIRES = (
    *("batches", "by_output", "rows", "mean", "inverse_spread", "l2_reg", "pack", "unpack"),
    *("value_scale", "fit_intercept", "n_threads", "value"),
)


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
        The first entry of its history is that of the start. Its objective and the other entries are
        means over the batches of an epoch, each before its step; ``gap`` is inf, as there is no
        estimate. A learning rate is that of the last step of an epoch.
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
        self.descent = BatchDescent(
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
        if not seconds:
            self.objective.batches(None, self.objective.rows.n_rows)  # refused if X is in shards
            with np.errstate(over="ignore", invalid="ignore"):
                result.objective = self.objective.value(result.vector)
            self._record(time.perf_counter() - began)
            if callback is not None and callback(result):
                result.stop(StopReason.CALLBACK, True)
                return
        while not self._ended() and result.n_iter < max_iter:
            value = self._epoch()
            result.n_iter += 1
            if not np.isfinite(value):
                message = "the objective is not finite: 'learning_rate' is too large"
                result.stop(StopReason.DIVERGED, False, message)
                return
            result.vector = self.objective.pack(*self.descent.found())
            result.objective = value
            self._record(time.perf_counter() - began)
            scale = max(abs(self.best), self.objective.value_scale)
            lower = np.isinf(self.best) or value <= self.best - tol * scale
            self.unchanged = 0 if lower else self.unchanged + 1
            self.best = min(self.best, value)
            if callback is not None and callback(result):
                result.stop(StopReason.CALLBACK, True)
                return
        if result.reason is None:
            result.stop(StopReason.MAX_ITER, False)

    def _record(self, seconds):
        self.result.rates.append(self.descent.learning_rate)
        self.result.record(seconds)

    def _epoch(self):
        objective, n_rows = self.objective, self.objective.rows.n_rows
        order = self.random_state.permutation(n_rows) if self.setting.shuffle else None
        of_features = objective.mean, objective.inverse_spread
        terms = Terms(objective.l2_reg, *of_features, objective.fit_intercept)
        batches = objective.batches(order, self.setting._rows_per_batch(n_rows))
        with np.errstate(over="ignore", invalid="ignore"):  # if the rate is too large
            return self.descent.epoch(batches, terms, objective.n_threads)

    def _ended(self):
        """Whether the objective has stopped falling, and no lower rate is left to try."""
        if self.unchanged < self.n_iter_no_change:
            return False
        if self.descent.slow_down():
            self.unchanged = 0
            return False
        self.result.stop(StopReason.ESTIMATED, True, "the objective stopped falling")
        return True
