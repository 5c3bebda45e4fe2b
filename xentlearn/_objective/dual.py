"""The dual problem of binary outputs over sparse X, and the coefficients of a dual point.

For each output k, the primal problem is

    minimise (1/S) sum_i A_ik loss(t_ik, w_k . (x_i - mean) + c_k) + (l2_reg / 2) ||w_k||^2

with A the weights, S the sum of the weights of the rows, t the targets and c the intercepts. A
point of the dual problem is a prediction p_ik for every row i. With the residuals
alpha = A (p - t), its coefficients are w_k = -sum_i alpha_ik (x_i - mean) / (S l2_reg). A sweep
over the rows (``_dual.pyx``) changes one p after the other, and updates w at once. The intercept c
is not penalised, so at the minimum the alphas of an output sum to 0; c takes a Newton step towards
that after each sweep.
"""

import time
from dataclasses import asdict, dataclass

import numpy as np

from .._plan.settings import DualAscent
from ._dual import OUTPUTS, DualRows, constant_predictions, fill_rows, run, weights
from .certificate import constant_shares

SETTINGS = DualAscent()


class Dual:
    """The dual problem of an objective with plain binary cross-entropy over sparse X.

    Parameters
    ----------
    objective : LinearObjective
    """

    def __init__(self, objective):
        self.objective, shared = objective, objective.rows.shared
        self.scale = 1 / (objective.total_weight * objective.l2_reg)
        if "dual" not in shared:
            rows = DualRows(objective.rows.X, objective.mean)
            weighs_rows = objective.rows.y.weighs_rows
            shared["dual"] = rows, objective.rows.y.rows_of_ones() if weighs_rows else None
        self.rows, self._ones = shared["dual"]
        self._at_start = None

    def point(self, vector):
        """Return (value at a vector, the ``DualPoint`` with the predictions of the vector)."""
        objective = self.objective
        matrix, n_features = vector.reshape(objective.shape), objective.n_features
        if self._ones is not None and not matrix[:n_features].any():
            return self._constant_point(matrix[-1] if objective.fit_intercept else None)
        value, gradient = objective.value_gradient(vector)
        gradient, l2_reg = gradient.reshape(objective.shape), objective.l2_reg
        W, intercept = matrix[:n_features], np.zeros(objective.n_outputs)
        sum_alpha, stands_for = np.zeros(objective.n_outputs), gradient[:n_features] / -l2_reg
        if objective.fit_intercept:
            intercept, sum_alpha = matrix[-1], gradient[-1] * objective.total_weight
        if W.any():
            p = objective.rows.scores("sigmoid", *objective.at(vector), objective.n_threads)
            stands_for += W
        else:
            p = 1 / (1 + np.exp(-intercept[np.newaxis]))
        return value, DualPoint.at(
            p,
            objective.rows.entry_weight(objective.n_threads),
            stands_for,
            intercept,
            sum_alpha,
            objective.mean,
            self.scale,
        )

    def _constant_point(self, intercept):
        """Return the result of ``point`` for W = 0 and an intercept, None for 0 in its place.

        As all rows have the same predictions, the sums over rows follow from the class weight sums,
        the means of the features, and sums over the rows in which an output is 1.
        """
        objective, n_outputs = self.objective, self.objective.n_outputs
        sum_alpha = np.zeros(n_outputs)
        b = sum_alpha if intercept is None else intercept
        p, sums = 1 / (1 + np.exp(-b)), objective.sums
        if intercept is not None:
            sum_alpha = (p * sums.sum(axis=1) - sums[:, 1]) * objective.total_weight
        coef = self._constant_coef(p)
        of_rows = np.empty((len(coef), objective.rows.n_rows, OUTPUTS))
        fill_rows(_lots(p[np.newaxis])[:, 0], of_rows, objective.n_threads)
        value = np.logaddexp(0, b) @ sums[:, 0] + np.logaddexp(0, -b) @ sums[:, 1]
        return float(value), DualPoint(
            n_outputs,
            self.scale,
            objective.rows.weight[np.newaxis, :, np.newaxis],
            of_rows,
            coef,
            _lots(-self.scale * sum_alpha[np.newaxis])[:, 0],
            objective.mean @ coef,
            _lots(b[np.newaxis])[:, 0],
        )

    def _constant_coef(self, p):
        """Return the ``coef`` of the ``DualPoint`` in which all rows have the predictions ``p``."""
        objective = self.objective
        smoothing = objective.rows.y.loss._label_smoothing
        each = (p - smoothing / 2) * (self.scale * objective.total_weight)
        coef = np.empty((-(-len(p) // OUTPUTS), objective.n_features, OUTPUTS))
        constant_predictions(
            self.rows,
            objective.rows.weight,
            *self._ones,
            np.asarray(objective.rows.outputs, dtype=np.int64),
            self.scale * (1 - smoothing),
            _lots(each[np.newaxis])[:, 0],
            objective.moments.mean,
            coef,
            objective.n_threads,
        )
        return coef

    def load_point(self, tree):
        """Return the point that ``DualPoint.dump`` returned as a tree."""
        return DualPoint(**tree)

    def sweep(self, point, lots):
        """Sweep over all rows for the chosen lots of outputs.

        Returns
        -------
        ndarray of shape (len(lots),)
            Estimates of the increase of the dual objective, by lot.
        """
        objective = self.objective
        rise = point.sweep(self.rows, lots, objective.fit_intercept, objective.n_threads)
        return rise / objective.total_weight

    def left(self, rise, rate):
        """Estimate the gap after a sweep from the increase by it and the rate of sweeps."""
        return rise * rate / (1 - rate)

    def expected_value(self, point, value):
        """Return the value at the coefficients of a point, if ``value`` is the last one known."""
        return value

    def aimed_at(self, settings):
        """Return the share of the gap wanted at which an estimate of it ends sweeps."""
        return settings.aimed_at

    def most_sweeps(self, settings):
        """Return the number of sweeps beyond which L-BFGS is expected to take less time."""
        return settings.most_sweeps

    def look(self, point):
        """Return (vector, value there, certified bounds of value - minimum by output) of a point.

        The vector has the coefficients W of the dual point. The difference between its value and
        the dual objective is the mean Kullback-Leibler divergence of the point's predictions p from
        the predictions of W, plus c times the mean of alpha. If the alphas of an output do not sum
        to 0, p is mixed with a constant prediction as in ``certificate.py``. As the entropy of the
        mixture is computed itself instead of being bounded by convexity, the bound is of second
        order in the sum of the alphas.
        """
        objective, certificate = self.objective, self.objective.certificate
        n_features, l2_reg, began = objective.n_features, objective.l2_reg, time.perf_counter()
        c = point.by_output(point.intercept)
        mean_alpha = -point.by_output(point.shift) / (point.scale * objective.total_weight)
        if objective.fit_intercept:
            epsilon, r = constant_shares(objective.sums, mean_alpha)
            mixed, constant = self._constant_gradient(r), r[:, 1]
        else:
            epsilon = constant = np.zeros(objective.n_outputs)
            mixed = np.zeros((n_features, objective.n_outputs))
        vector = np.empty(objective.shape)
        square, along, of_change = point.weights(
            objective.mean, mixed, -1 / l2_reg, vector[:n_features], objective.n_threads
        )
        entropy, distance = (
            part / objective.total_weight
            for part in point.look(self.rows, epsilon, constant, objective.n_threads)
        )
        if objective.fit_intercept:
            distance += c * mean_alpha
            vector[-1] = c
        gaps = distance + l2_reg * epsilon * (along + 0.5 * epsilon * of_change)
        values = entropy + distance - 0.5 * l2_reg * square
        gaps = np.maximum(gaps, 0.0) + objective.rounding * values * (1.0 + np.abs(c))
        value = float(values.sum())
        certificate.least = max(certificate.least, value - float(gaps.sum()))
        objective.pass_seconds = min(objective.pass_seconds, time.perf_counter() - began)
        return vector.ravel(), value, gaps

    def _constant_gradient(self, r):
        """Return the gradient in W of the mean loss if every row is predicted as ``r``."""
        objective = self.objective
        if self._ones is None:
            return objective.certificate.constant_gradient(objective, r)
        if self._at_start is None:  # it does not depend on r: X is centred
            coef = self._constant_coef(objective.sums[:, 1] / objective.sums.sum(axis=1))
            W = np.zeros((objective.n_features, objective.n_outputs))
            shift, sums = np.zeros((len(coef), OUTPUTS)), np.empty((3, objective.n_outputs))
            weights(coef, shift, objective.mean, W, 0.0, W, sums, objective.n_threads)
            self._at_start = np.multiply(-objective.l2_reg, W, out=W)
        return self._at_start


@dataclass
class DualPoint:
    """A point of the dual problem, as arrays of lots of OUTPUTS outputs.

    The last lot is padded with outputs that are all 0.

    Attributes
    ----------
    n_outputs : int
    scale : float
        1 / (S l2_reg).
    weight : ndarray of shape (n_lots, n_rows, OUTPUTS), or (1, n_rows, 1)
        The weights A; of the second shape if all entries of a row have the same weight.
    p : ndarray of shape (n_lots, n_rows, OUTPUTS)
        Predicted probabilities of 1.
    coef : ndarray of shape (n_lots, n_features, OUTPUTS)
        w + shift mean. When the p of a row changes, this changes only where the row has entries,
        while w would change everywhere.
    shift : ndarray of shape (n_lots, OUTPUTS)
        -scale times the sum of the alphas.
    along : ndarray of shape (n_lots, OUTPUTS)
        coef . mean.
    intercept : ndarray of shape (n_lots, OUTPUTS)
        The intercepts c.
    """

    n_outputs: int
    scale: float
    weight: np.ndarray
    p: np.ndarray
    coef: np.ndarray
    shift: np.ndarray
    along: np.ndarray
    intercept: np.ndarray

    @classmethod
    def at(cls, p, weight, coef, intercept, sum_alpha, mean, scale):
        """Make the point with predictions ``p``.

        Parameters
        ----------
        p : ndarray of shape (n_rows, n_outputs), or (1, n_outputs) if all rows have the same
        weight : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        coef : ndarray of shape (n_features, n_outputs)
            The coefficients w that follow from p.
        intercept, sum_alpha : ndarray of shape (n_outputs,)
            The intercepts c, and the sums of the alphas.
        mean : ndarray of shape (n_features,)
        scale : float
            1 / (S l2_reg).
        """
        shift = -scale * sum_alpha
        if shift.any():
            coef = coef + np.outer(mean, shift)
        of_rows = np.broadcast_to(p, (len(weight), p.shape[1]))
        return cls(
            p.shape[1],
            scale,
            weight[np.newaxis, :, np.newaxis] if weight.ndim == 1 else _lots(weight),
            _lots(of_rows),
            _lots(coef),
            _lots(shift[np.newaxis])[:, 0],
            _lots((mean @ coef)[np.newaxis])[:, 0],
            _lots(intercept[np.newaxis])[:, 0],
        )

    def dump(self):
        """Return all attributes as a tree (``_utils/archive.py``)."""
        return asdict(self)

    @property
    def n_lots(self):
        return len(self.p)

    def sweep(self, rows, lots, moves_intercept, n_threads):
        """Sweep over all rows, then take a Newton step of the intercepts.

        Parameters
        ----------
        rows : DualRows
        lots : ndarray of int64
            Indices of the lots to sweep.
        moves_intercept : bool
            Whether there is an intercept to move.
        n_threads : int

        Returns
        -------
        ndarray of shape (len(lots),)
            Estimates of the increase of the dual objective times S, by lot, including what the new
            intercepts are expected to add.
        """
        nothing = np.zeros_like(self.shift)
        gain, curvature = self._run("sweep", rows, lots, nothing, nothing, n_threads)[:2]
        gain = gain[lots].sum(axis=1)
        if moves_intercept:
            sum_alpha = -self.shift[lots] / self.scale
            step = sum_alpha / np.maximum(curvature[lots], np.finfo(float).tiny)
            step = np.clip(step, -SETTINGS.most_step, SETTINGS.most_step)
            self.intercept[lots] -= step
            gain += 0.5 * np.abs(step * sum_alpha).sum(axis=1)
        return gain

    def look(self, rows, share, constant, n_threads):
        """Compare the predictions p with those of the coefficients, in one pass over the rows.

        Parameters
        ----------
        rows : DualRows
        share, constant : ndarray of shape (n_outputs,)
            They define the mixture q = (1 - share) p + share constant.
        n_threads : int

        Returns
        -------
        entropy : ndarray of shape (n_outputs,)
            Sum over the rows of A H(q), with H(q) = -q log q - (1 - q) log(1 - q).
        distance : ndarray of shape (n_outputs,)
            Sum over the rows of A (log(1 + exp(z)) - p z - H(q)), with z the logit. If q = p, this
            is the sum of A KL(p, sigmoid(z)).
        """
        mixed = (_lots(values[np.newaxis])[:, 0] for values in (share, constant))
        results = self._run("look", rows, np.arange(self.n_lots), *mixed, n_threads)
        return tuple(self.by_output(result) for result in results[2:])

    def _run(self, what, rows, lots, share, constant, n_threads):
        """Call ``_dual.run``; return the arrays that it fills: gain, curvature, entropy, distance.

        Each has shape (n_lots, OUTPUTS).
        """
        gain, curvature, entropy, distance = np.zeros((4, *self.shift.shape))
        run(
            what,
            rows,
            np.asarray(lots, dtype=np.int64),
            self.scale,
            self.weight,
            self.p,
            self.coef,
            self.shift,
            self.along,
            self.intercept,
            gain,
            curvature,
            share,
            constant,
            entropy,
            distance,
            n_threads,
        )
        return gain, curvature, entropy, distance

    def by_output(self, values):
        """Return values of shape (n_outputs,) from those of shape (n_lots, OUTPUTS)."""
        return values.reshape(-1)[: self.n_outputs]

    def by_lot(self, values):
        """Return sums by lot, of shape (n_lots,), of values of shape (n_outputs,)."""
        return np.add.reduceat(values, np.arange(0, self.n_outputs, OUTPUTS))

    def weights(self, mean, other, factor, w, n_threads):
        """Compute the coefficients w, and products of w and of change = factor other - w.

        Parameters
        ----------
        mean : ndarray of shape (n_features,)
        other : ndarray of shape (n_features, n_outputs)
        factor : float
        w : ndarray of shape (n_features, n_outputs)
            Overwritten with the coefficients.
        n_threads : int

        Returns
        -------
        ndarray of shape (3, n_outputs)
            w . w, w . change and change . change of each output.
        """
        sums = np.empty((3, self.n_outputs))
        weights(self.coef, self.shift, mean, other, factor, w, sums, n_threads)
        return sums


def _lots(matrix):
    """Rearrange an (n, n_outputs) matrix as (n_lots, n, OUTPUTS), padded with zeros."""
    n, n_outputs = matrix.shape
    lots = np.zeros((-(-n_outputs // OUTPUTS), n, OUTPUTS))
    for lot, into in enumerate(lots):
        part = matrix[:, lot * OUTPUTS : (lot + 1) * OUTPUTS]
        into[:, : part.shape[1]] = part
    return lots
