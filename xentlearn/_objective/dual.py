"""A point of the dual problem of binary outputs over sparse X, and the coefficients it stands for.

    minimise (1/S) sum_i A_ik loss(t_ik, w_k . (x_i - mean) + c_k) + (l2_reg / 2) ||w_k||^2

for each output k. A point of its dual is a prediction p_ik of every row: with residuals
alpha = A (p - t) it stands for w_k = -sum_i alpha_ik (x_i - mean) / (S l2_reg). Sweeps over the
rows (``_dual.pyx``) change one p after the other, and w with it. The free c is met from outside: it
is right where the alphas of an output sum to 0.
"""

from dataclasses import asdict, dataclass

import numpy as np

from ._dual import OUTPUTS, DualRows, run, weights
from .certificate import constant_shares

MOST_STEP = 2.0  # of an intercept per sweep: where p is all but 0 or 1 its curvature says nothing


class Dual:
    """The dual problem of an objective of plain binary outputs over sparse X.

    Parameters
    ----------
    objective : LinearObjective
    """

    def __init__(self, objective):
        self.objective = objective
        self.rows = DualRows(objective.rows.X, objective.mean)

    def point(self, vector):
        """(value at a vector, the ``DualPoint`` that predicts what the vector predicts)."""
        objective = self.objective
        value, gradient = objective.value_gradient(vector)
        matrix, gradient = vector.reshape(objective.shape), gradient.reshape(objective.shape)
        n_features, l2_reg = objective.n_features, objective.l2_reg
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
            1 / (objective.total_weight * l2_reg),
        )

    def load_point(self, tree):
        """The point of a ``DualPoint.dump``."""
        return DualPoint(**tree)

    def sweep(self, point, lots):
        """Sweep over all rows for some lots of outputs; about what each lot's dual has risen by."""
        objective = self.objective
        rise = point.sweep(self.rows, lots, objective.fit_intercept, objective.n_threads)
        return rise / objective.total_weight

    def look(self, point):
        """(vector, value there, certified bounds of value - minimum by output) of a dual point.

        With W as the point has it, the value less that of the dual is the mean distance of the
        predictions from those of W, plus c times mean alpha. Where alphas do not sum to 0 the
        dual's value is that of p mixed with a constant prediction, as in ``certificate.py``, but
        with the entropy of the mixture itself: the bound is second order in the sum.
        """
        objective, certificate = self.objective, self.objective.certificate
        n_features, l2_reg = objective.n_features, objective.l2_reg
        c = point.by_output(point.intercept)
        mean_alpha = -point.by_output(point.shift) / (point.scale * objective.total_weight)
        if objective.fit_intercept:
            epsilon, r = constant_shares(objective.sums, mean_alpha)
            mixed, constant = certificate.constant_gradient(objective, r), r[:, 1]
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
        return vector.ravel(), value, gaps


@dataclass
class DualPoint:
    """Arrays of lots of OUTPUTS outputs; the last lot is filled up.

    Attributes
    ----------
    n_outputs : int
    scale : float
        1 / (S l2_reg).
    weight : ndarray of shape (n_lots, n_rows, OUTPUTS), or (1, n_rows, 1)
        A above; of rows alone.
    p : ndarray of shape (n_lots, n_rows, OUTPUTS)
    coef : ndarray of shape (n_lots, n_features, OUTPUTS)
        w + shift mean: what a row adds to it lies where the row has entries.
    shift, along, intercept : ndarray of shape (n_lots, OUTPUTS)
        -scale times the sum of the alphas, coef . mean, and c.
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
        """The point that predicts ``p``.

        Parameters
        ----------
        p : ndarray of shape (n_rows, n_outputs), or (1, n_outputs) for all rows
        weight : ndarray of shape (n_rows,) or (n_rows, n_outputs)
        coef : ndarray of shape (n_features, n_outputs)
            What p stands for, w.
        intercept, sum_alpha : ndarray of shape (n_outputs,)
            c, and the sums of the alphas.
        mean : ndarray of shape (n_features,)
        scale : float
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
        """All of it, as a tree."""
        return asdict(self)

    @property
    def n_lots(self):
        return len(self.p)

    def sweep(self, rows, lots, moves_intercept, n_threads):
        """Sweep over all rows, and move the intercepts.

        Parameters
        ----------
        rows : DualRows
        lots : ndarray of int64
            Which.
        moves_intercept : bool
        n_threads : int

        Returns
        -------
        ndarray of shape (len(lots),)
            What the dual's value has risen by, about, and what the better c is expected to add.
        """
        nothing = np.zeros_like(self.shift)
        gain, curvature = self._run("sweep", rows, lots, nothing, nothing, n_threads)[:2]
        gain = gain[lots].sum(axis=1)
        if moves_intercept:
            sum_alpha = -self.shift[lots] / self.scale
            step = sum_alpha / np.maximum(curvature[lots], np.finfo(float).tiny)
            step = np.clip(step, -MOST_STEP, MOST_STEP)
            self.intercept[lots] -= step
            gain += 0.5 * np.abs(step * sum_alpha).sum(axis=1)
        return gain

    def look(self, rows, share, constant, n_threads):
        """How far predictions are from those of the coefficients.

        Parameters
        ----------
        rows : DualRows
        share, constant : ndarray of shape (n_outputs,)
            q = (1 - share) p + share constant.
        n_threads : int

        Returns
        -------
        entropy, distance : ndarray of shape (n_outputs,)
            Sums over the rows of A H(q), and of A (log(1 + exp(z)) - p z - H(q)) for logits z,
            which is A KL(p, sigmoid(z)) where q is p.
        """
        mixed = (_lots(values[np.newaxis])[:, 0] for values in (share, constant))
        results = self._run("look", rows, np.arange(self.n_lots), *mixed, n_threads)
        return tuple(self.by_output(result) for result in results[2:])

    def _run(self, what, rows, lots, share, constant, n_threads):
        """gain, curvature, entropy and distance, as ``_dual.run`` fills them."""
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
        """Of shape (n_outputs,), from (n_lots, OUTPUTS)."""
        return values.reshape(-1)[: self.n_outputs]

    def by_lot(self, values):
        """Sums of shape (n_lots,), from (n_outputs,)."""
        return np.add.reduceat(values, np.arange(0, self.n_outputs, OUTPUTS))

    def weights(self, mean, other, factor, w, n_threads):
        """Fill w; w . w, w . change and change . change per output, change = factor other - w.

        Parameters
        ----------
        mean : ndarray of shape (n_features,)
        other : ndarray of shape (n_features, n_outputs)
        factor : float
        w : ndarray of shape (n_features, n_outputs), changed
        n_threads : int

        Returns
        -------
        ndarray of shape (3, n_outputs)
        """
        sums = np.empty((3, self.n_outputs))
        weights(self.coef, self.shift, mean, other, factor, w, sums, n_threads)
        return sums


def _lots(matrix):
    """(n_lots, n, OUTPUTS) of an (n, n_outputs) matrix, filled up by 0."""
    n, n_outputs = matrix.shape
    lots = np.zeros((-(-n_outputs // OUTPUTS), n, OUTPUTS))
    for lot, into in enumerate(lots):
        part = matrix[:, lot * OUTPUTS : (lot + 1) * OUTPUTS]
        into[:, : part.shape[1]] = part
    return lots
