"""The objective of a linear classifier with a penalty that is not smooth, or with bounds.

    (1/S) sum_i s_i loss(y_i, W x_i + b)  +  penalty(W),

where the penalty is a sum over features (``penalties.py``). Values are those of the whole
objective, gradients and Hessians those of the mean loss alone.
"""

from dataclasses import dataclass

import numpy as np

from .._plan.composite_settings import ProximalNewton
from .._utils.numerics import LEAST_REACH
from .certificate import Certificate
from .continuation import Continuation
from .groups_model import GroupsModel
from .linear import LinearObjective
from .matrix_model import MatrixModel
from .rows_model import RowsModel


class CompositeObjective(LinearObjective):
    """The objective for proximal Newton; the vector is that of ``LinearObjective``.

    Parameters
    ----------
    rows : MemoryRows or ShardedRows
    terms : FeatureTerms
        The penalty in the units of X.
    fit_intercept : bool
    n_threads : int, default=1
    small_binary : bool, default=False
        As in ``LinearObjective``.

    Attributes
    ----------
    certifiable : bool
        Whether there are lower bounds of the minimum: the loss is plain cross-entropy, and each
        feature has a penalty.
    """

    OFFERS = ("certified_gap", "dump")

    def __init__(self, rows, terms, fit_intercept, n_threads=1, small_binary=False):
        super().__init__(rows, 0.0, fit_intercept, n_threads, small_binary=small_binary)
        self.terms = terms
        self.certifiable = rows.y.loss._certifiable and terms.bounds_all
        self.certificate = SparseCertificate()
        self._columns = self._inverse_reach = self.kept_hessian = None

    def coefficients(self, vector):
        """Return W^T, of shape (n_features, n_outputs), a view of the vector."""
        return vector.reshape(self.shape)[: self.n_features]

    def penalty(self, vector):
        """Return the penalty at a vector."""
        return self.terms.value(self.coefficients(vector))

    def value_gradient(self, vector):
        """Return the value of the objective and the gradient of its mean loss."""
        loss, gradient = self.loss_gradient(vector)
        return loss + self.penalty(vector), gradient

    def loss_gradient(self, vector):
        """Return the mean loss and its gradient."""
        return super().value_gradient(vector)

    def value(self, vector):
        """Return the value of the objective of rows in memory."""
        return super().value(vector) + self.penalty(vector)

    def violation(self, vector, gradient):
        """Return how much single coefficients could gain: 0 at the minimum."""
        W, G = self.coefficients(vector), gradient.reshape(self.shape)
        squares = np.square(self.terms.residual(W, G[: self.n_features]))
        curvature = self.variance * self.curvatures_at_shares.mean() + self.terms.l2
        squares = squares.sum(axis=1) / np.where(curvature > 0, curvature, np.inf)
        return float(squares.sum() + np.square(G[self.n_features :]).sum())

    def feasible(self, vector):
        """Return a copy of a vector with its coefficients within the bounds."""
        result, terms = np.array(vector, dtype=np.float64), self.terms
        W = self.coefficients(result)
        np.clip(W, terms.lower[:, np.newaxis], terms.upper[:, np.newaxis], out=W)
        return result

    def shifted(self, vector):
        """Return a vector with the same predictions and the least penalty, in a new array."""
        if not self.shift_invariant:
            return vector
        result = vector.copy()
        self.terms.shift(self.coefficients(result))
        return result

    @property
    def inverse_reach(self):
        """Reciprocal of the largest distance of each feature, and the intercept, from its mean."""
        if self._inverse_reach is None:
            if self.continuation is None:
                self.continuation = Continuation()
            self.continuation.find_reach(self)
            reach = np.append(self.continuation.reach, 0.0)
            self._inverse_reach = 1.0 / np.maximum(reach, LEAST_REACH)
        return self._inverse_reach

    def most_gained(self, gradient):
        """As in ``LinearObjective``; features without an L2 penalty do not count."""
        excess = np.maximum(self.terms.excess(gradient.reshape(self.shape)[: self.n_features]), 0.0)
        squares = np.square(excess) if self.terms.grouped else np.square(excess).sum(axis=1)
        has_l2 = self.terms.l2 > 0
        return 0.5 * float((squares[has_l2] / self.terms.l2[has_l2]).sum())

    def is_unbounded(self, vector, value):
        """As in ``LinearObjective``: some free coefficient is not 0, and penalties are negligible.

        Where penalised features separate the rows, there is a minimum near 0. At it, the penalty
        w^2 / 2 of a coefficient is w x / 2 times the loss of a row with a logit of w x >> 1. On the
        way to 0, penalties fall with the square of the loss.
        """
        return self.terms.grows(self.coefficients(vector)) and 2.0 * self.penalty(vector) <= value

    def strongest(self, gradient):
        """Return how many times as strong an L1 penalty would have to be to keep all W at 0."""
        G = gradient.reshape(self.shape)[: self.n_features]
        has_l1 = np.flatnonzero(self.terms.l1 > 0)
        terms = self.terms.taken(has_l1)
        sizes = terms.times(0.0).excess(G[has_l1])
        sizes = sizes if terms.grouped else sizes.max(axis=1)
        return float((sizes / terms.l1).max(initial=0.0))

    def active(self, vector, gradient, terms, settings):
        """Return the coefficients that a step may change, and whether the gradient moves others.

        The former as a mask of the shape of the vector's matrix.

        Those in use, and of those that the gradient moves away from 0 as many as are in use, the
        steepest ones, or ``least_new`` if that is more: a matrix costs the square of their number,
        and in the first steps most of them would come back to 0. Groups are also at most as many
        as a matrix can have, if that leaves room for some. The columns of a sparse X cost less than
        a pass in any case, so that all of them may change.
        """
        W, G = self.coefficients(vector), gradient.reshape(self.shape)[: self.n_features]
        used = W.any(axis=1) if terms.grouped else W != 0
        new = terms.above(G) & ~used
        new[terms.is_out] = False
        n_used = np.count_nonzero(used)
        most = max(settings.least_new, n_used)
        if terms.grouped:
            room = settings.most_coefficients // self.n_outputs - self.fit_intercept - n_used
            most = min(most, room) if room > 0 else most
        is_partial = not self.moments.is_sparse and np.count_nonzero(new) > most
        if is_partial:
            excess = terms.excess(G)
            steepness = excess[new]
            new &= excess >= np.partition(steepness, len(steepness) - most)[len(steepness) - most]
        active = np.ones(self.shape, dtype=bool)
        active[: self.n_features] = (used | new)[:, np.newaxis] if terms.grouped else used | new
        return active, is_partial

    def newton_model(self, vector, gradient, strengthened, settings, state):
        """Return the quadratic model of the mean loss at a vector, plus the penalty.

        Parameters
        ----------
        vector, gradient : ndarray of shape (size,)
        strengthened : float
            Number by which the L1 penalty is multiplied for now.
        settings : composite_settings.ProximalNewton
        state : dict
            What the model remembers from one step to the next; it may change.

        Returns
        -------
        MatrixModel, RowsModel, GroupsModel or None
            None if no coefficient may change.
        """
        terms = self.terms.times(strengthened)
        active, state["partial"] = self.active(vector, gradient, terms, settings)
        n = int(np.count_nonzero(active))
        if n == 0:
            return None
        kind = GroupsModel if terms.grouped else RowsModel
        if not self.moments.is_sparse and n <= settings.most_coefficients:
            kind = MatrixModel
        return kind(self, vector, gradient, terms, active, settings, state)


@dataclass
class SparseCertificate(Certificate):
    """Lower bounds of the minimum of a ``CompositeObjective``.

    With the dual point alpha of ``Certificate``, scaled by tau, and Z = -mean(alpha x), the dual
    objective is -tau mean(sum_k q_k log q_k) - conjugate(tau Z), with the conjugate of the penalty:
    see Ndiaye, Fercoq, Gramfort and Salmon, "Gap Safe screening rules for sparsity enforcing
    penalties", JMLR 18 (2017), for L1 penalties. It is concave in tau, and its maximum is found by
    bisection.
    """

    bisections: int = ProximalNewton.bisections

    def gap(self, objective, vector, value, gradient):
        """As in ``Certificate``."""
        if not objective.certifiable:
            return np.inf
        known = max(value - self.least, 0.0)
        return min(known, self._certified(objective, vector, value, gradient, known))

    def gap_if_at_most(self, objective, vector, value, gradient, wanted):
        """As in ``Certificate``; passes over X are made only if the bound is near."""
        if not objective.certifiable:
            return np.inf
        gap = self._duality_gap(objective, vector, value, gradient)
        gap = max(0.0, gap) + self._rounding(objective, value, vector)
        self.least, self.excess = max(self.least, value - gap), gap / max(wanted, 1e-300)
        gap = min(gap, value - self.least)
        return gap if gap <= wanted else np.inf

    def _duality_gap(self, objective, vector, value, gradient):
        """As in ``Certificate``."""
        n_features = objective.n_features
        W, Z = (a.reshape(objective.shape)[:n_features] for a in (vector, gradient))
        constant, linear, epsilon, r = self._balance(objective, vector, gradient)
        if not epsilon < 1:  # this includes nan
            return np.inf
        mean_loss = value - objective.penalty(vector)
        negative_entropy = np.vdot(W, Z) + constant + linear - mean_loss
        excess = self._entropy_excess(objective, epsilon, r, negative_entropy)
        if epsilon > 0:
            Z = (1.0 - epsilon) * Z + epsilon * self.constant_gradient(objective, r)
        entropy = negative_entropy + excess - linear
        conjugate, high = objective.terms.conjugate(-Z)
        at_high, slope = conjugate(high)
        if -entropy - slope >= 0:  # with tau = 1 each term but the excess vanishes at the minimum
            return value + high * entropy + at_high
        low = 0.0
        for _ in range(self.bisections):
            middle = 0.5 * (low + high)
            if -entropy - conjugate(middle)[1] > 0:
                low = middle
            else:
                high = middle
        return value + low * entropy + conjugate(low)[0]
