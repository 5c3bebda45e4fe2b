"""The dual problem of binary outputs over sparse X, and the coefficients of a dual point.

For each output k, the primal problem is

    minimise (1/S) sum_i A_ik loss(t_ik, w_k . (x_i - mean) + c_k) + (l2_reg / 2) ||w_k||^2

with A the weights, S the sum of the weights of the rows, t the targets and c the intercepts. A
point of the dual problem is a prediction p_ik for every row i. With the residuals
alpha = A (p - t), its coefficients are w_k = -sum_i alpha_ik (x_i - mean) / (S l2_reg). A sweep
over the rows (``_dual.pyx``) changes one p after the other, and updates w at once. The intercept c
is is not penalised, so at the minimum the alphas of an output sum to 0; sweeps only come close to
that.
"""

import time
from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from .._plan.settings import Sweeps
from .._utils.numerics import LEAST_CURVATURE
from ._dual import OUTPUTS, DualKernel, DualRows, constant_predictions, weights
from ._softmax_dual import aligned, order_of, zeros
from .certificate import constant_shares

SETTINGS = Sweeps()
MOST_LOGIT = SETTINGS.most_log


class Dual:
    """The dual problem of an objective with plain binary cross-entropy over sparse X.

    Parameters
    ----------
    objective : LinearObjective

    Attributes
    ----------
    scale : float
        1 / (S l2_reg).
    mean_square : float
        Weighted mean of ||x - mean||^2.
    pull : float
        Mean of scale s ||x - mean||^2, s the weights of the rows, of how hard rows pull at each
        other.
    ones : ndarray of shape (n_lots, n_features, OUTPUTS)
        scale sum A t x: the ``coef`` of predictions that are all 0.
    shift_of_ones : ndarray of shape (n_lots, OUTPUTS)
        scale sum A t.
    """

    def __init__(self, objective):
        self.objective, rows = objective, objective.rows
        self.scale = 1 / (objective.total_weight * objective.l2_reg)
        if "dual" not in rows.shared:
            by_output = rows.y.rows_of_ones() if rows.y.weighs_rows else None
            rows.shared["dual"] = DualRows(rows.X, objective.mean, rows.dtype), by_output
        self.rows, self._by_output = rows.shared["dual"]
        of_all = float(rows.weight @ self.rows.square)
        self.mean_square = of_all / objective.total_weight
        self.pull = self.scale * of_all / max(1, rows.n_rows)
        weight = rows.entry_weight(objective.n_threads).astype(np.float64, copy=False)
        self.weight = weight[np.newaxis, :, np.newaxis] if weight.ndim == 1 else _lots(weight)
        of_ones = objective.sums[:, 1] * (self.scale * objective.total_weight)
        self.shift_of_ones = _of_lots(of_ones)
        self.ones = self._sums_of_ones()

    def _sums_of_ones(self):
        """Compute ``ones``."""
        objective, rows = self.objective, self.objective.rows
        n_lots, n_features = len(self.shift_of_ones), objective.n_features
        if self._by_output is not None:
            smoothing = rows.y.loss._label_smoothing
            of_zeros = np.full(self.shift_of_ones.shape, -0.5 * smoothing)
            coef = zeros((n_lots, n_features, OUTPUTS), np.float64)
            constant_predictions(
                self.rows,
                rows.weight,
                *self._by_output,
                np.asarray(rows.outputs, dtype=np.int64),
                self.scale * (1 - smoothing),
                of_zeros * (self.scale * objective.total_weight),
                objective.moments.mean,
                coef,
                objective.n_threads,
            )
            return coef
        # the gradient at 0, where all predictions are 1/2, without their part
        gradient = objective.value_gradient(np.zeros(objective.size))[1].reshape(objective.shape)
        coef = _lots(gradient[:n_features] / -objective.l2_reg)
        logits = np.broadcast_to(0.0, (rows.n_rows, objective.n_outputs))
        halves = self._new_point(logits, logits[0])
        of_rows = zeros(coef.shape, np.float64)
        shift = self.shift_of_ones - self.scale * self._kernel(halves).remake(
            of_rows, objective.n_threads
        )
        coef -= of_rows
        coef += objective.mean[:, np.newaxis] * shift[:, np.newaxis]
        return coef

    def point(self, vector):
        """Return (value at a vector, a ``DualPoint`` that is close to it).

        Its predictions are those of the vector. Without coefficients, they are a mixture of these
        with the targets: where rows pull hard, the residuals at the minimum are small.
        """
        objective, rows = self.objective, self.objective.rows
        matrix, n_features = vector.reshape(objective.shape), objective.n_features
        c = matrix[-1] if objective.fit_intercept else np.zeros(objective.n_outputs)
        if self._by_output is None or matrix[:n_features].any():
            value = objective.value(vector)
            logits = rows.scores("logits", *objective.at(vector), objective.n_threads)
            point = self._new_point(logits, c)
            self._remake(point)
            return value, point
        sums = objective.sums
        value = float(np.logaddexp(0, c) @ sums[:, 0] + np.logaddexp(0, -c) @ sums[:, 1])
        return value, self._mixed_point(c)

    def _mixed_point(self, c):
        """Return the point whose predictions are mixtures of targets with sigmoid(c)."""
        objective, rows, p = self.objective, self.objective.rows, 1 / (1 + np.exp(-c))
        share, smoothing = 1 / max(1.0, self.pull), rows.y.loss._label_smoothing
        of_zeros = (1 - share) * 0.5 * smoothing + share * p
        of_ones = logit(of_zeros + (1 - share) * (1 - smoothing))
        logits = np.broadcast_to(logit(of_zeros), (rows.n_rows, len(c)))
        point = self._new_point(logits, c)
        indptr, indices = self._by_output
        for place, output in enumerate(rows.outputs):
            lot, k = divmod(place, OUTPUTS)
            ones = indices[indptr[output] : indptr[output + 1]]
            point.logits[lot, ones, k] = np.clip(of_ones[place], -MOST_LOGIT, MOST_LOGIT)
        total = self.scale * objective.total_weight * _of_lots(p)
        for lot, coef in enumerate(point.coef):
            exact = self.ones[lot] - np.outer(objective.moments.mean, total[lot])
            exact *= share
            coef[...], point.along[lot] = exact, objective.mean @ exact
        point.shift[...] = share * (self.shift_of_ones - total)
        return point

    def _new_point(self, logits, c):
        """Return a point with these logits of predictions and intercepts; coefficients are 0."""
        objective = self.objective
        response = objective.total_weight * _of_lots(objective.curvatures_at_shares)
        return DualPoint.at(logits, c, response, objective.n_features, objective.rows.dtype)

    def load_point(self, tree):
        """Return the point that ``DualPoint.dump`` returned as a tree."""
        return DualPoint.load(tree)

    def _kernel(self, point):
        return DualKernel(
            self.rows,
            self.scale,
            self.weight,
            point.logits,
            point.coef,
            point.shift,
            point.along,
            point.intercept,
            point.feedback,
        )

    def _remake(self, point):
        """Compute the coefficients of a point anew from its predictions; return them in float64."""
        objective = self.objective
        exact = zeros(self.ones.shape, np.float64)
        exact[...] = self.ones
        total = self._kernel(point).remake(exact, objective.n_threads)
        point.shift[...] = self.shift_of_ones - self.scale * total
        point.along[...] = objective.mean @ exact
        point.coef[...] = exact
        return exact

    def sweep(self, point, lots):
        """Sweep over all rows in a new random order, for the chosen lots of outputs.

        Returns
        -------
        ndarray of shape (len(lots),)
            The mean gap that the rows had when they were reached, by lot.
        """
        objective = self.objective
        n_rows, lots = self.objective.rows.n_rows, np.asarray(lots, dtype=np.int64)
        least = np.full(len(lots), -1.0)
        if point.n_sweeps:
            least = SETTINGS.negligible * point.met[lots] / n_rows
        if objective.fit_intercept:
            point.intercept[lots] += point.feedback[lots] * point.shift[lots]
            response = np.maximum(point.response[lots], LEAST_CURVATURE)
            feedback = SETTINGS.feedback / (self.scale * response)
            point.feedback[lots] = np.minimum(feedback, self.mean_square)
        met, response = self._kernel(point).sweep(
            lots, order_of(n_rows, point.n_sweeps), least, objective.n_threads
        )
        point.met[lots], point.response[lots] = met, response
        point.n_sweeps += 1
        return met / objective.total_weight

    def left(self, met, rate):
        """Estimate the gap after a sweep from the mean gap ``met`` that rows had in it.

        ``met`` is the mean over the sweep of a gap that falls by ``rate`` in it, exponentially.
        """
        return met * rate * np.log(1 / rate) / (1 - rate)

    def expected_value(self, point, value):
        """Return the value at the coefficients of a point, if ``value`` is the last one known."""
        return value

    def aimed_at(self, settings):
        """Return the share of the gap wanted at which an estimate of it ends sweeps."""
        return settings.aimed_at

    def most_sweeps(self, settings):
        """Return the number of sweeps beyond which L-BFGS is expected to take less time.

        It grows as that of a softmax does (``SoftmaxDual.most_sweeps``).
        """
        return settings.most_sweeps * np.sqrt(1.0 + self.pull)

    def look(self, point):
        """Return (vector, value there, certified bounds of value - minimum by output) of a point.

        The vector has the coefficients W of the dual point, which are computed anew: in float32,
        those of the sweeps drift from them. The difference between its value and the dual objective
        is the mean Kullback-Leibler divergence of the point's predictions p from the predictions of
        W, plus c times the mean of alpha. If the alphas of an output do not sum to 0, p is mixed
        with a constant prediction as in ``certificate.py``. As the entropy of the mixture is
        computed itself instead of being bounded by convexity, the bound is of second order in the
        sum of the alphas. All of it is computed in float64.
        """
        objective, certificate = self.objective, self.objective.certificate
        n_features, l2_reg, began = objective.n_features, objective.l2_reg, time.perf_counter()
        point.intercept += point.feedback * point.shift
        point.feedback[:] = 0.0
        exact = self._remake(point)
        c = point.by_output(point.intercept)
        mean_alpha = -point.by_output(point.shift) / (self.scale * objective.total_weight)
        epsilon = constant = np.zeros(objective.n_outputs)
        # w of constant predictions; any that X with equal weights of a row's entries has
        mixed, mixed_shift = self.ones, self.shift_of_ones
        if objective.fit_intercept:
            epsilon, r = constant_shares(objective.sums, mean_alpha)
            constant = r[:, 1]
            if self._by_output is None:
                of_r = certificate.constant_gradient(objective, r) / -l2_reg
                mixed, mixed_shift = _lots(of_r), np.zeros_like(self.shift_of_ones)
        vector, sums = np.empty(objective.shape), np.empty((3, objective.n_outputs))
        weights(
            *(exact, point.shift, objective.mean, mixed, mixed_shift),
            *(vector[:n_features], sums, objective.n_threads),
        )
        square, along, of_change = sums
        entropy, distance = (
            point.by_output(part) / objective.total_weight
            for part in self._kernel(point).look(
                exact, _of_lots(epsilon), _of_lots(constant), objective.n_threads
            )
        )
        if objective.fit_intercept:
            distance = distance + c * mean_alpha
            vector[-1] = c
        gaps = distance + l2_reg * epsilon * (along + 0.5 * epsilon * of_change)
        values = entropy + distance - 0.5 * l2_reg * square
        gaps = np.maximum(gaps, 0.0) + objective.rounding * values * (1.0 + np.abs(c))
        value = float(values.sum())
        certificate.least = max(certificate.least, value - float(gaps.sum()))
        objective.pass_seconds = min(objective.pass_seconds, time.perf_counter() - began)
        return vector.ravel(), value, gaps


@dataclass
class DualPoint:
    """A point of the dual problem, as arrays of lots of OUTPUTS outputs.

    The last lot is padded with outputs whose predictions are next to 0.

    Attributes
    ----------
    n_outputs : int
    logits : ndarray of shape (n_lots, n_rows, OUTPUTS)
        Logits of the predicted probabilities p of 1.
    coef : ndarray of shape (n_lots, n_features, OUTPUTS)
        w + shift mean. When the p of a row changes, this changes only where the row has entries,
        while w would change everywhere.
    shift : ndarray of shape (n_lots, OUTPUTS)
        -scale times the sum of the alphas.
    along : ndarray of shape (n_lots, OUTPUTS)
        coef . mean.
    intercept : ndarray of shape (n_lots, OUTPUTS)
        The intercepts c.
    feedback : ndarray of shape (n_lots, OUTPUTS)
        What ``shift`` is multiplied by for intercepts during sweeps (``_kernels/dual_body.h``).
    response : ndarray of shape (n_lots, OUTPUTS)
        By how much the sums of A p change with the intercepts during a sweep.
    met : ndarray of shape (n_lots,)
        Sum of the gaps of the rows when the last sweep reached them.
    n_sweeps : int
        Number of sweeps so far.
    """

    n_outputs: int
    logits: np.ndarray
    coef: np.ndarray
    shift: np.ndarray
    along: np.ndarray
    intercept: np.ndarray
    feedback: np.ndarray
    response: np.ndarray
    met: np.ndarray
    n_sweeps: int = 0

    @classmethod
    def at(cls, logits, c, response, n_features, dtype):
        """Make the point with predictions of these logits, whose coefficients are still 0.

        Parameters
        ----------
        logits : ndarray of shape (n_rows, n_outputs)
        c : ndarray of shape (n_outputs,)
            The intercepts.
        response : ndarray of shape (n_lots, OUTPUTS)
        n_features : int
        dtype : dtype
            Dtype of logits and coefficients during sweeps.
        """
        n_outputs, intercept = len(c), _of_lots(c, -MOST_LOGIT)
        of_rows = zeros((len(intercept), len(logits), OUTPUTS), dtype)
        of_rows[-1] = -MOST_LOGIT
        for lot, into in enumerate(of_rows):
            part = logits[:, lot * OUTPUTS : (lot + 1) * OUTPUTS]
            into[:, : part.shape[1]] = np.clip(part, -MOST_LOGIT, MOST_LOGIT)
        return cls(
            n_outputs,
            of_rows,
            zeros((len(of_rows), n_features, OUTPUTS), dtype),
            *np.zeros((2, *intercept.shape)),
            intercept,
            np.zeros(intercept.shape),
            response,
            np.zeros(len(of_rows)),
        )

    def dump(self):
        """Return all attributes as a tree (``_utils/archive.py``)."""
        return dict(vars(self))

    @classmethod
    def load(cls, tree):
        """Return the point that ``dump`` returned as a tree."""
        return cls(**{**tree, **{name: aligned(tree[name]) for name in ("logits", "coef")}})

    @property
    def n_lots(self):
        return len(self.logits)

    def by_output(self, values):
        """Return values of shape (n_outputs,) from those of shape (n_lots, OUTPUTS)."""
        return values.reshape(-1)[: self.n_outputs]

    def by_lot(self, values):
        """Return sums by lot, of shape (n_lots,), of values of shape (n_outputs,)."""
        return np.add.reduceat(values, np.arange(0, self.n_outputs, OUTPUTS))


def _of_lots(values, padding=0.0):
    """Rearrange values of shape (n_outputs,) as (n_lots, OUTPUTS)."""
    lots = np.full((-(-len(values) // OUTPUTS), OUTPUTS), padding)
    lots.reshape(-1)[: len(values)] = values
    return lots


def _lots(matrix):
    """Rearrange an (n, n_outputs) matrix as (n_lots, n, OUTPUTS), padded with zeros."""
    n, n_outputs = matrix.shape
    lots = zeros((-(-n_outputs // OUTPUTS), n, OUTPUTS), np.float64)
    for lot, into in enumerate(lots):
        part = matrix[:, lot * OUTPUTS : (lot + 1) * OUTPUTS]
        into[:, : part.shape[1]] = part
    return lots
