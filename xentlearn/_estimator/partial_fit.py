"""What ``partial_fit`` remembers from one batch of data to the next."""

import copy
import time

import numpy as np
from scipy import sparse

from .._data.dataset import MemoryRows
from .._data.statistics import fit_dtype, moments_of
from .._solvers import StochasticDescent
from .._utils.units import l2_strength

# In the average of the points: a stream may change, and the average must not take as long to follow
# as the stream has lasted. Where it does not change, 0.05 costs half a percent of MNIST's digits.
LEAST_SHARE = 0.02


class Stream:
    """A fit to data that come batch by batch; it can be pickled.

    Parameters
    ----------
    known : EncodedY
        Kind, loss, classes and class weights of all y to come.
    coef : ndarray of shape (n_outputs, n_features)
        Where to begin.
    intercept : ndarray of shape (n_outputs,)
    random_state : RandomState instance
    moments : Moments or None, default=None
        Of the rows that were seen before.

    Attributes
    ----------
    history : dict
        Lists "objective", "gap" and "seconds", one entry per call of ``update``.
    dtype : dtype
        What the last call computed in: float64 where float32 X would lose its features.
    """

    def __init__(self, known, coef, intercept, random_state, moments=None):
        self.known, self.random_state, self.dtype = known, random_state, np.dtype(np.float32)
        self.history = {"objective": [], "gap": [], "seconds": []}
        self._start, self._descent = (coef, intercept), None
        self._moments, self._class_mass, self._seconds = moments, 1.0, 0.0

    def update(self, X, y, rule, options, C, fit_intercept, batch_size, shuffle, n_threads):
        """One epoch on more rows.

        Features are scaled, and the penalty is weighed, by all rows that have been seen.

        Parameters
        ----------
        X : ndarray or CSR of shape (n_samples, n_features)
        y : EncodedY
            Like ``known``.
        rule : {"adam", "sgd"}
        options : dict
            See ``StochasticDescent``; they may differ from call to call. Another rule begins where
            the last one ended.
        C : float
        fit_intercept : bool
        batch_size : int
        shuffle : bool
        n_threads : int

        Returns
        -------
        bool
            Whether it went well; if the coefficients have become infinite they are as before.
        """
        began = time.perf_counter()
        if self._descent is None or self._descent.rule != rule:
            by_output = not sparse.issparse(X)
            dtype = np.float64 if X.dtype == np.float64 else np.float32
            self._descent = StochasticDescent(
                rule, by_output, *self.found(), dtype, options, LEAST_SHARE
            )
        elif self._descent.by_output == sparse.issparse(X):  # as the first ones were
            X = sparse.csr_array(X) if isinstance(X, np.ndarray) else X.toarray()
        moments = moments_of(X, y.row_weight, n_threads)
        self._moments = moments if self._moments is None else self._moments + moments
        offset = np.zeros(y.n_outputs)
        if y.loss.proba_kind == "softmax":
            # each class counts once more, so that one that is still to come has a share
            self._class_mass = self._class_mass + y.class_mass()
            adjustment = y.loss.logit_offset(self._class_mass)
            offset = offset if adjustment is None else adjustment
        value, before, went_well = np.nan, self._descent, True
        # steps change arrays in place, and those of a stream that joblib has mapped are read-only
        self._descent = copy.deepcopy(before)
        self._descent.options = options
        if moments.weight > 0:
            self.dtype = fit_dtype(X, self._moments)
            rows = MemoryRows(X, y, np.arange(y.n_outputs), dtype=self.dtype)
            order = self.random_state.permutation(rows.n_rows) if shuffle else None
            mean = self._moments.mean
            l2_reg = l2_strength(C, self._moments.weight, y.weight_exponent)
            with np.errstate(over="ignore", invalid="ignore"):  # of a rate that is too large
                value = self._descent.epoch(
                    rows.batches(order, batch_size, offset),
                    l2_reg,
                    mean if fit_intercept else np.zeros_like(mean),
                    self._moments.inverse_spread(fit_intercept, l2_reg, rows.dtype),
                    fit_intercept,
                    n_threads,
                )
            went_well = np.isfinite(value) and all(np.isfinite(x).all() for x in self.found())
            if not went_well:
                self._descent = before
        self._seconds += time.perf_counter() - began
        for name, number in (("objective", value), ("gap", np.inf), ("seconds", self._seconds)):
            self.history[name].append(number)
        return went_well

    def found(self):
        """(coef (n_outputs, n_features), intercept (n_outputs,)), float64."""
        return self._start if self._descent is None else self._descent.found()
