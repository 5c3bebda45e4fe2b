"""The penalised training objective of a linear classifier.

    (1/S) sum_i s_i loss(y_i, W x_i + b)  +  (l2_reg / 2) ||W||^2,        l2_reg = 1 / (C S)

with s_i the weights of the rows and S their sum; the intercept b is not penalised.
"""

import math
from dataclasses import dataclass

import numpy as np

from .._plan.settings import Preconditioning
from .._utils._sweeps import centre
from .._utils.numerics import EPS, SLACK, STRENGTHS
from .certificate import Certificate
from .continuation import Continuation
from .dual import Dual
from .preconditioners import Preconditioners


@dataclass(frozen=True)
class L2:
    """The penalty ``||W||^2 / (2 C S)``.

    Attributes
    ----------
    C : float
        inf: no penalty.
    """

    C: float

    def strength(self, total_weight, exponent=0, unit=1.0):
        """1 / (C S) where X and weights are in units of their own.

        Parameters
        ----------
        total_weight : float
            S, over 2 ** ``exponent``.
        exponent : int, default=0
            Of the power of 2 that weights have been divided by.
        unit : float, default=1.0
            What X has been divided by; coefficients are multiplied by it.

        Returns
        -------
        float
            0 without a penalty; otherwise within STRENGTHS: what is stronger leaves coefficients of
            0, what is weaker is no penalty, as far as objectives tell.
        """
        if self.C == np.inf:
            return 0.0
        # Factors of the result may be out of range where it is not: exponents are added up.
        mantissa, power = 1.0, -exponent
        for factor in (self.C, total_weight, unit, unit):
            part, of_part = math.frexp(factor)
            mantissa, power = mantissa / part, power - of_part
        strength = math.ldexp(mantissa, max(-1000, min(power, 1000)))
        return max(STRENGTHS[0], min(strength, STRENGTHS[1]))


class LinearObjective:
    """Rows, loss, penalty and scaling as one function of one vector (``_solvers/contract.py``).

    The vector is an (n_features + fit_intercept, n_outputs) matrix in C order, always float64. Its
    first rows are W^T in the units of X. With an intercept its last row is b + W mean, the logits
    at the mean of X, rather than b: X is thereby centred without being touched, offsets of features
    do not couple W with the intercept, and the penalty on W is the original one.

    Parameters
    ----------
    rows : MemoryRows or ShardedRows
        X and its targets (``_data/dataset.py``).
    l2_reg : float
        Strength of the penalty, at least 0.
    fit_intercept : bool
    n_threads : int, default=1
    preconditioning : Preconditioning, default=Preconditioning()

    Attributes
    ----------
    sums : ndarray of shape (n_outputs,) or (n_outputs, 2)
        Sums of weights times targets by class, over the sum of the weights; for binary outputs of
        the 0s and of the 1s.
    certifiable : bool
        Whether the loss is plain cross-entropy with a penalty, whose dual gives bounds of the
        minimum.
    exact_hessian : bool
        Whether the Hessian of the loss is the Hessian, and not what stands for it.
    """

    OFFERS = (
        "bound_step",
        "certified_gap",
        "continuation",
        "dump",
        "follow_curvature",
        "least_curvature",
        "precondition_at",
        "regularise",
    )

    def __init__(self, rows, l2_reg, fit_intercept, n_threads=1, preconditioning=Preconditioning()):
        y, outputs = rows.y, rows.outputs
        self.rows, self.l2_reg, self.fit_intercept = rows, l2_reg, fit_intercept
        self.n_threads, self.n_features, self.n_outputs = n_threads, rows.n_features, len(outputs)
        self.shape = (self.n_features + fit_intercept, self.n_outputs)
        self.size = self.shape[0] * self.shape[1]
        self.total_weight = y.total_weight
        self.sums = y.fitted_weight_sums()[outputs] / self.total_weight
        self.is_binary = self.sums.ndim == 2
        self.exact_hessian, self.shift_invariant = y.loss.plain, y.loss.shift_invariant
        self.certifiable = y.loss.certifiable and l2_reg > 0
        offset = y.logit_offset(outputs)
        self.offset = np.zeros(self.n_outputs) if offset is None else offset
        # a sum of n rounding errors of random sign; float32 rows are rounded one by one
        eps = EPS[np.dtype(rows.dtype)]
        self.rounding = max(8 * EPS[np.dtype(float)], eps / np.sqrt(max(1, rows.n_rows)))
        # objective at zero coefficients: log K per row, or log 2 per entry
        n_alternatives = 2 if self.is_binary else self.n_outputs
        self.value_scale = 1e-6 * self.sums.sum() * np.log(n_alternatives)

        self.moments = moments = rows.moments(n_threads)
        self.mean = moments.mean if fit_intercept else np.zeros(self.n_features)
        self.variance = moments.variance if fit_intercept else moments.mean_squares()
        if self.is_binary:
            of_entries = np.maximum(self.sums.sum(axis=1), np.finfo(float).tiny)
            self.curvatures_at_shares = self.sums.prod(axis=1) / of_entries
        else:
            share = self.sums / self.sums.sum()
            self.curvatures_at_shares = self.sums.sum() * share * (1 - share)

        # what changes on the way
        self.penalty_curvature = np.full(self.n_features, l2_reg)  # by feature
        self.preconditioners = Preconditioners(preconditioning)
        self.certificate, self.continuation = Certificate(), None
        self._is_evaluated = False
        self.few = None  # some rows that stand for all, once they are asked for

    # ---- One vector and its parts ------------------------------------------------------------

    def pack(self, coef, intercept):
        """Vector from coef (n_outputs, n_features) and intercept (n_outputs,)."""
        matrix = np.empty(self.shape)
        matrix[: self.n_features] = coef.T
        if self.fit_intercept:
            matrix[-1] = intercept + coef @ self.mean
        return matrix.ravel()

    def unpack(self, vector):
        """(coef (n_outputs, n_features), intercept (n_outputs,)) of a vector, copied."""
        coef, intercept = self.split(vector)
        return coef.T.copy(), intercept

    def at(self, vector):
        """(W^T, what is added to the logits) at a vector."""
        coef, intercept = self.split(vector)
        return coef, intercept + self.offset

    def split(self, vector):
        """(W^T (n_features, n_outputs), a view of the vector; b)."""
        matrix = vector.reshape(self.shape)
        if not self.fit_intercept:
            return matrix, np.zeros(self.n_outputs)
        return matrix[:-1], matrix[-1] - self.mean @ matrix[:-1]

    def start(self):
        """W = 0 and the best intercept for it: the logs of the class shares, less the offset."""
        matrix = np.zeros(self.shape)
        if self.fit_intercept:
            logs = np.log(self.sums)
            matrix[-1] = logs[:, 1] - logs[:, 0] if self.is_binary else logs - logs.mean()
            matrix[-1] -= self.offset
        return matrix.ravel()

    # ---- What solvers use --------------------------------------------------------------------

    def value_gradient(self, vector):
        """Value and gradient at a vector."""
        coef, intercept = self.at(vector)
        gradient = np.empty(self.shape)
        loss, coef_sum, intercept_sum = self.rows.loss_gradient(
            coef, intercept, self.n_threads, gradient[: self.n_features]
        )
        penalty = self._centre(gradient, coef_sum, intercept_sum, coef)
        if not self._is_evaluated:  # mostly the start, whose gradient certificates will ask for
            self._is_evaluated = True
            if self.certifiable and not coef.any() and np.array_equal(vector, self.start()):
                self.certificate.start_gradient = gradient
        return float(loss / self.total_weight + penalty), gradient.ravel()

    def hessian_product(self, vector, direction):
        """Hessian at ``vector`` times ``direction``."""
        coef_direction, intercept_direction = self.split(direction)
        product = np.empty(self.shape)
        coef_sum, intercept_sum = self.rows.hessian_product(
            *self.at(vector),
            coef_direction,
            intercept_direction,
            self.n_threads,
            product[: self.n_features],
        )
        self._centre(product, coef_sum, intercept_sum, coef_direction)
        return product.ravel()

    def _centre(self, gradient, coef_sum, intercept_sum, coef):
        """Fill a gradient from the sums over rows, where b = last row - W mean; the penalty."""
        intercept_gradient = intercept_sum / self.total_weight
        if self.fit_intercept:
            gradient[-1] = intercept_gradient
        return centre(
            coef_sum,
            self.total_weight,
            intercept_gradient,
            self.mean,
            self.penalty_curvature,
            coef,
            gradient[: self.n_features],
            self.n_threads,
        )

    def least_curvature(self, direction):
        """What is at most rounding of the curvature along ``direction``.

        Relative to what its coefficients would have if no two features were correlated, as
        ``cholesky_factor`` has it. The products of float32 rows are squares of sums with errors of
        their own.
        """
        matrix = direction.reshape(self.shape)
        squares = np.einsum("jk,jk->j", matrix, matrix)
        typical = self.curvatures_at_shares.mean()
        apart = (typical * self.variance + self.l2_reg) @ squares[: self.n_features]
        if self.fit_intercept:
            apart += typical * squares[-1]
        of_rows, float64 = EPS[np.dtype(self.rows.dtype)], np.dtype(float)
        return SLACK[float64] * len(matrix) * apart * max(1.0, of_rows**2 / EPS[float64])

    # ---- Preconditioning ---------------------------------------------------------------------

    @property
    def preconditioner(self):
        """The one in force."""
        return self.preconditioners.local or self.preconditioners.of_features(self)

    def precondition(self, gradient):
        """Approximate inverse Hessian times a gradient."""
        matrix = gradient.reshape(self.shape)
        return self.preconditioner.apply(matrix, self.fit_intercept, self.n_threads).ravel()

    def follow_curvature(self, vector):
        """Precondition by the mean curvatures of the outputs at ``vector``."""
        self.preconditioners.follow(self, vector)

    def precondition_at(self, vector, thorough=False):
        """Use the Hessian at ``vector`` from now on, or what of it the plan has chosen.

        A ``thorough`` one is made in float64, whatever the time.

        Returns
        -------
        bool
            Whether it is the whole Hessian.
        """
        self.preconditioners.make_local(self, vector, thorough)
        return self.preconditioners.settings.local == "whole"

    def hessian_at(self, vector):
        """Use the whole Hessian at ``vector`` from now on."""
        self.preconditioners.make_hessian(self, self.rows, vector, np.float64)

    def regularise(self):
        """Put more on the diagonal of Hessians to come; whether that changes anything."""
        return self.preconditioners.regularise()

    # ---- Hard minima -------------------------------------------------------------------------

    def continuation_strengths(self, value):
        """Falling strengths of an extra penalty; ``value`` is that of the present point."""
        if self.continuation is None:
            self.continuation = Continuation()
        return self.continuation.strengths(self, value)

    def continue_at(self, strength):
        """Put the extra penalty of a strength in force; 0 ends it."""
        self.penalty_curvature = self.l2_reg + self.continuation.extra(strength, self.n_features)

    def continuation_penalty(self, vector):
        """What the extra penalty adds to the value at ``vector``."""
        W = vector.reshape(self.shape)[: self.n_features]
        extra = (self.penalty_curvature - self.l2_reg)[:, np.newaxis]
        return 0.5 * float(np.sum(extra * W**2))

    def bound_step(self, direction):
        """A direction within where the model of the curvature is valid, once a problem is hard."""
        if self.continuation is None or self.continuation.reach is None:
            return direction
        return self.continuation.bounded(direction, self.shape)

    # ---- How far from the optimum ------------------------------------------------------------

    def optimality_gap(self, vector):
        """Certified upper bound of (objective - minimum) / minimum at a vector, with its objective.

        Returns
        -------
        objective, gap : float
            The gap is inf without a penalty, or where the bound says nothing.
        """
        value, gradient = self.value_gradient(vector)
        gap = self.certificate.gap(self, vector, value, gradient)
        return value, float(gap / (value - gap)) if gap < value else np.inf

    def certified_gap(self, vector, value, gradient, wanted):
        """Upper bound of value - minimum at ``vector``; inf if it is above ``wanted``."""
        return self.certificate.gap_if_at_most(self, vector, value, gradient, wanted)

    @property
    def dual(self):
        """The dual problem, for sweeps over its rows (``dual.py``)."""
        return Dual(self)

    # ---- Batch by batch ----------------------------------------------------------------------

    @property
    def by_output(self):
        """Whether coefficients of batches are (n_outputs, n_features)."""
        return not self.moments.is_sparse

    @property
    def inverse_spread(self):
        """1 / standard deviation of each feature, about; 0 of constant ones."""
        return self.moments.inverse_spread(self.fit_intercept, self.l2_reg, self.rows.dtype)

    def batches(self, order, size):
        """The rows in the given order, in batches (``_data/dataset.py``)."""
        return self.rows.batches(order, size, self.offset)

    # ---- What is learnt on the way -----------------------------------------------------------

    def dump(self):
        """All that changes after the objective has been made, as a tree."""
        return {
            "penalty": self.penalty_curvature,
            "hard": self.continuation is not None and self.continuation.reach is not None,
            "certificate": self.certificate.dump(),
            "preconditioners": self.preconditioners.dump(),
        }

    def load(self, tree):
        """Put a ``dump`` back."""
        self.penalty_curvature = tree["penalty"]
        if tree["hard"]:
            self.continuation = Continuation()
            self.continuation.find_reach(self)
        self.certificate.load(tree["certificate"])
        self.preconditioners.load(self, tree["preconditioners"])
