"""The penalised training objective of a linear classifier.

    (1/S) sum_i s_i loss(y_i, W x_i + b)  +  (l2_reg / 2) ||W||^2,        l2_reg = 1 / (C S)

where s_i are the weights of the rows and S is their sum. The intercept b is not penalised.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from .._plan.settings import Preconditioning
from .._utils._sweeps import centre
from .._utils.arrays import untouched_zeros
from .._utils.numerics import EPS, SLACK, STRENGTHS
from .._utils.threads import ThreadChoice
from .certificate import Certificate
from .continuation import Continuation
from .dual import Dual
from .preconditioners import Preconditioners
from .softmax_dual import SoftmaxDual


@dataclass(frozen=True)
class L2:
    """The penalty ``||W||^2 / (2 C S)``.

    Attributes
    ----------
    C : float
        Inverse strength of the penalty, > 0; inf means no penalty.
    """

    C: float
    is_composite = False  # whether it takes solvers for sums with a term that is not smooth

    def strength(self, total_weight, exponent=0, unit=1.0, degree=2):
        """Return 1 / (C S) for the units that X and the weights are in: l2_reg by default.

        Parameters
        ----------
        total_weight : float
            The sum S of the weights, divided by 2 ** ``exponent``.
        exponent : int, default=0
            Exponent of the power of 2 that the weights have been divided by.
        unit : float, default=1.0
            Number that X has been divided by; coefficients are multiplied by it.
        degree : int, default=2
            Power of the coefficients that the penalty is of.

        Returns
        -------
        float
            0 without a penalty. Otherwise clipped to STRENGTHS: a stronger penalty makes all
            coefficients 0, and a weaker one does not change a value of the objective.
        """
        if self.C == np.inf:
            return 0.0
        # The result may be in range though products of the factors are not: exponents are added.
        mantissa, power = 1.0, -exponent
        for factor in (self.C, total_weight, *[unit] * degree):
            part, of_part = math.frexp(factor)
            mantissa, power = mantissa / part, power - of_part
        strength = math.ldexp(mantissa, max(-1000, min(power, 1000)))
        return max(STRENGTHS[0], min(strength, STRENGTHS[1]))


class LinearObjective:
    """The objective as a function of one flat vector, for solvers (``_solvers/contract.py``).

    The vector is an (n_features + fit_intercept, n_outputs) matrix in C order, always float64. Its
    first n_features rows are W^T, in the units of X. With an intercept, its last row is b + W mean,
    the logits at the mean of X, instead of b: this has the effect of centring X without changing
    it, so that offsets of features do not couple W with the intercept, and the penalty on W is the
    original one.

    Parameters
    ----------
    rows : MemoryRows or ShardedRows
        The rows of X with their targets (``_data/dataset.py``, ``_data/shards.py``).
    l2_reg : float
        Strength of the penalty, at least 0.
    fit_intercept : bool
    n_threads : int, default=1
    preconditioning : Preconditioning, default=Preconditioning()
    small_binary : bool, default=False
        Whether values, gradients and whole Hessians are those of ``rows.small_binary()``.

    Attributes
    ----------
    sums : ndarray of shape (n_outputs,) or (n_outputs, 2)
        Class weight sums over the sum of the weights: sums of weights times targets by class; for
        binary outputs, of the 0s and of the 1s.
    certifiable : bool
        Whether the dual problem gives lower bounds of the minimum: the loss is plain cross-entropy,
        and there is a penalty.
    exact_hessian : bool
        Whether Hessians are those of the loss, not positive definite approximations of them.
    threads : ThreadChoice
        Chooses ``n_threads``, the number of threads of sums over all rows.
    refresh_after : float
        Iterations after which a new preconditioner pays off, by the plan.
    pass_seconds : float
        Shortest time of a sum over all rows so far, for reports alone; inf before the first.
    """

    OFFERS = (
        "bound_step",
        "certified_gap",
        "continuation",
        "dump",
        "follow_curvature",
        "least_curvature",
        "penalty_product",
        "precondition_at",
        "regularise",
    )

    def __init__(
        self,
        rows,
        l2_reg,
        fit_intercept,
        n_threads=1,
        preconditioning=Preconditioning(),
        small_binary=False,
    ):
        y, outputs = rows.y, rows.outputs
        self.rows, self.l2_reg, self.fit_intercept = rows, l2_reg, fit_intercept
        self.n_features, self.n_outputs = rows.n_features, len(outputs)
        # waiting for a file or a cluster looks like waiting for a core
        self.threads = ThreadChoice(n_threads, fixed=rows.sample is not rows)
        self.n_threads = self.threads.n_threads
        self.shape = (self.n_features + fit_intercept, self.n_outputs)
        self.size = self.shape[0] * self.shape[1]
        self.total_weight = y.total_weight
        self.sums = y.fitted_weight_sums()[outputs] / self.total_weight
        self.is_binary = self.sums.ndim == 2
        self.exact_hessian, self.shift_invariant = y.loss._plain, y.loss._shift_invariant
        self.certifiable = y.loss._certifiable and l2_reg > 0
        offset = y.logit_offset(outputs)
        self.offset = np.zeros(self.n_outputs) if offset is None else offset
        # The losses of float32 rows are rounded one by one: the mean of n rounding errors of random
        # sign is about eps / sqrt(n).
        eps = EPS[np.dtype(rows.dtype)]
        self.rounding = max(8 * EPS[np.dtype(float)], eps / np.sqrt(max(1, rows.n_rows)))
        # 1e-6 of the objective at zero coefficients, which is log K per row, or log 2 per entry
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

        self.small = rows.small_binary(fit_intercept) if small_binary else None

        # what changes during a solve
        self.penalty_curvature = np.full(self.n_features, l2_reg)  # second derivative by feature
        self.preconditioners = Preconditioners(preconditioning)
        self.certificate, self.continuation = Certificate(), None
        self._is_evaluated, self.pass_seconds = False, np.inf
        self._approached_at = np.inf  # excess of the certificate when it was last approached
        self.refresh_after = preconditioning.refresh_after
        self.few = None  # a small sample of the rows, once it is needed

    # ---- The vector and its parts ------------------------------------------------------------

    def pack(self, coef, intercept):
        """Return the vector of coef (n_outputs, n_features) and intercept (n_outputs,)."""
        matrix = np.empty(self.shape)
        matrix[: self.n_features] = coef.T
        if self.fit_intercept:
            matrix[-1] = intercept + coef @ self.mean
        return matrix.ravel()

    def unpack(self, vector):
        """Return copies of coef (n_outputs, n_features) and intercept (n_outputs,) of a vector."""
        coef, intercept = self.split(vector)
        return coef.T.copy(), intercept

    def at(self, vector):
        """Return (W^T, intercept + offset) at a vector: logits are X W^T plus the latter."""
        coef, intercept = self.split(vector)
        return coef, intercept + self.offset

    def split(self, vector):
        """Return W^T (n_features, n_outputs), a view of the vector, and b (n_outputs,)."""
        matrix = vector.reshape(self.shape)
        if not self.fit_intercept:
            return matrix, np.zeros(self.n_outputs)
        return matrix[:-1], matrix[-1] - self.mean @ matrix[:-1]

    def start(self):
        """Return the default start: W = 0 and the best intercept for it.

        That is the logits of the class shares less the offset.
        """
        very_many = self.n_outputs > self.certificate.settings.most_kept and self.size > 0
        matrix = untouched_zeros(self.shape) if very_many else np.zeros(self.shape)
        if self.fit_intercept:
            logs = np.log(self.sums)
            logits = logs[:, 1] - logs[:, 0] if self.is_binary else logs - logs.mean()
            matrix[-1] = logits - self.offset
        return matrix.ravel()

    # ---- Value, gradient and Hessian ---------------------------------------------------------

    def value_gradient(self, vector):
        """Return value (float) and gradient (ndarray of shape (size,)) at a vector."""
        began = time.perf_counter(), time.thread_time()
        if self.small is None:
            (coef, intercept), gradient = self.at(vector), np.empty(self.shape)
            loss, coef_sum, intercept_sum = self.rows.loss_gradient(
                coef, intercept, self.n_threads, out=gradient[: self.n_features]
            )
            self.n_threads = self.threads.after(began)
            penalty = self._centre(gradient, coef_sum, intercept_sum, coef)
            value, gradient = float(loss / self.total_weight + penalty), gradient.ravel()
        else:
            value, gradient = self.small.value_gradient(vector, self.penalty_curvature)
            self.threads.after(began)
        self.pass_seconds = min(self.pass_seconds, self.threads.seconds)
        if not self._is_evaluated:  # most often at the start; a certificate needs its gradient
            self._is_evaluated, derived = True, self.rows.derived
            kept = self.is_binary or self.n_outputs <= self.certificate.settings.most_kept
            if self.certifiable and kept and "start_gradient" not in derived:
                if np.array_equal(vector, self.start()):
                    derived["start_gradient"] = gradient.reshape(self.shape)
        return value, gradient

    def value(self, vector):
        """Return the value at a vector of rows in memory, in about half the time of a gradient."""
        W = vector.reshape(self.shape)[: self.n_features]
        loss = self.rows.loss(*self.at(vector), self.n_threads)
        return float(loss / self.total_weight + 0.5 * self.l2_reg * np.vdot(W, W))

    def most_gained(self, gradient):
        """Return a bound of the decrease of the objective from W = 0, where it has this gradient.

        It is that of the gradient alone, without curvature; the intercept does not count.
        """
        G = gradient.reshape(self.shape)[: self.n_features]
        return 0.5 * float(np.vdot(G, G)) / self.l2_reg

    def is_unbounded(self, vector, value):
        """Return whether a value near 0 tends to 0 as coefficients that have no penalty grow."""
        return self.l2_reg == 0

    def penalty_product(self, directions):
        """Return the Hessian of the penalty times each row of ``directions``, in their dtype."""
        result = np.zeros_like(directions)
        of_coef = slice(self.n_features * self.n_outputs)
        result[:, of_coef] = directions[:, of_coef] * directions.dtype.type(self.l2_reg)
        return result

    def hessian_product(self, vector, direction):
        """Return the Hessian at ``vector`` times ``direction``."""
        direction, product = self.split(direction), np.empty(self.shape)
        began = time.perf_counter(), time.thread_time()
        coef_sum, intercept_sum = self.rows.hessian_product(
            *self.at(vector), direction, self.n_threads, out=product[: self.n_features]
        )
        # three products with X, where an evaluation takes two
        self.n_threads = self.threads.after(began, work=1.5)
        self._centre(product, coef_sum, intercept_sum, direction[0])
        return product.ravel()

    def _centre(self, gradient, coef_sum, intercept_sum, coef):
        """Fill ``gradient`` from sums over the rows, and return the value of the penalty.

        The sums are gradients with respect to W and b; those with respect to the vector follow from
        b = (last row) - W mean.
        """
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
        """Return an upper bound of the rounding error of the curvature along ``direction``.

        As in ``cholesky_factor``, it is a multiple of the curvature that the direction would have
        if the features were uncorrelated. For float32 rows, the curvature is made of squares of
        logits that have rounding errors of their own.
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
        """The preconditioner in use."""
        return self.preconditioners.local or self.preconditioners.of_features(self)

    def precondition(self, gradient, overwrite=False):
        """Return the approximate inverse Hessian times a gradient, which may be overwritten."""
        matrix = gradient.reshape(self.shape)
        options = self.fit_intercept, self.n_threads, overwrite
        return self.preconditioner.apply(matrix, *options).ravel()

    def follow_curvature(self, vector):
        """Adapt the preconditioner to the mean curvatures of the outputs at ``vector``."""
        self.preconditioners.follow(self, vector)

    def precondition_at(self, vector, thorough=False):
        """Precondition by the Hessian at ``vector`` from now on, in the form that the plan chose.

        Parameters
        ----------
        vector : ndarray of shape (size,)
        thorough : bool, default=False
            Whether to compute a whole Hessian in float64, which takes longer, instead of float32.

        Returns
        -------
        bool
            Whether the plan chose the whole Hessian, from all rows.
        """
        self.preconditioners.make_local(self, vector, thorough)
        return self.preconditioners.settings.local == "whole"

    def hessian_at(self, vector):
        """Precondition by the whole Hessian at ``vector``, in float64, from now on."""
        self.preconditioners.make_hessian(self, self.rows, vector, np.float64)

    def regularise(self):
        """Regularise subsequent Hessians; return whether that changes anything."""
        return self.preconditioners.regularise()

    # ---- Continuation ------------------------------------------------------------------------

    def continuation_strengths(self, value):
        """Return decreasing strengths of an extra penalty; ``value`` is at the present point."""
        if self.continuation is None:
            self.continuation = Continuation()
        return self.continuation.strengths(self, value)

    def continue_at(self, strength):
        """Add the extra penalty of this strength to the objective; 0 removes it."""
        self.penalty_curvature = self.l2_reg + self.continuation.extra(strength, self.n_features)

    def continuation_penalty(self, vector):
        """Return what the extra penalty adds to the value at ``vector``."""
        W = vector.reshape(self.shape)[: self.n_features]
        extra = (self.penalty_curvature - self.l2_reg)[:, np.newaxis]
        return 0.5 * float(np.sum(extra * W**2))

    def bound_step(self, direction):
        """Return the direction, clipped to the step bound if the problem has been found hard."""
        if self.continuation is None or self.continuation.reach is None:
            return direction
        return self.continuation.bounded(direction, self.shape)

    # ---- Optimality gap ----------------------------------------------------------------------

    def optimality_gap(self, vector, evaluated=None):
        """Return the objective at a vector and a certified upper bound of its relative gap.

        Parameters
        ----------
        vector : ndarray of shape (size,)
        evaluated : (float, ndarray of shape (size,)) or None, default=None
            What ``value_gradient`` returns for it, if that is known.

        Returns
        -------
        objective : float
        gap : float
            Upper bound of (objective - minimum) / minimum; inf without a penalty, or if the lower
            bound of the minimum is not positive.
        """
        value, gradient = self.value_gradient(vector) if evaluated is None else evaluated
        gap = self.certificate.gap(self, vector, value, gradient)
        return value, float(gap / (value - gap)) if gap < value else np.inf

    def certified_gap(self, vector, value, gradient, wanted):
        """Return an upper bound of value - minimum at ``vector``; inf if it is above ``wanted``."""
        return self.certificate.gap_if_at_most(self, vector, value, gradient, wanted)

    @property
    def certificate_excess(self):
        """Bound of the gap over the one wanted, as far as the last ``certified_gap`` knows."""
        return self.certificate.excess

    def approach_certificate(self, vector):
        """Precondition by the Hessian at ``vector``, if that is the shorter way to a certificate.

        An iteration of L-BFGS halves the squared norm of the gradient, with which the bound falls.
        The Hessian pays off if it costs fewer passes than the iterations that it saves: it must not
        take more than there are left, and the last one must have saved as many.

        Returns
        -------
        bool
            Whether the preconditioner has changed.
        """
        excess = self.certificate.excess
        of_cost = np.exp2(-self.preconditioners.settings.local_passes)
        if not 1 <= of_cost * excess < np.inf or excess > of_cost * self._approached_at:
            return False
        self._approached_at = excess
        self.preconditioners.make_local(self, vector, thorough=True)
        return True

    @property
    def dual(self):
        """The dual problem, for dual ascent (``dual.py``, ``softmax_dual.py``)."""
        return Dual(self) if self.is_binary else SoftmaxDual(self)

    # ---- Batches of rows, for stochastic solvers ---------------------------------------------

    @property
    def by_output(self):
        """Whether batches take coefficients of shape (n_outputs, n_features), not its transpose."""
        return not self.moments.is_sparse

    @property
    def inverse_spread(self):
        """Reciprocal of the standard deviation of each feature, approximately; 0 if constant.

        See ``Moments.inverse_spread``.
        """
        return self.moments.inverse_spread(self.fit_intercept, self.l2_reg, self.rows.dtype)

    def batches(self, order, size):
        """Return the rows in the given order, in batches (``Batches`` of ``_data/dataset.py``)."""
        return self.rows.batches(order, size, self.offset)

    # ---- State -------------------------------------------------------------------------------

    def dump(self):
        """Return what has changed since construction, as a tree (``_utils/archive.py``)."""
        return {
            "penalty": self.penalty_curvature,
            "hard": self.continuation is not None and self.continuation.reach is not None,
            "certificate": self.certificate.dump(),
            "approached": self._approached_at,
            "preconditioners": self.preconditioners.dump(),
        }

    def load(self, tree):
        """Restore what ``dump`` returned."""
        self.penalty_curvature = tree["penalty"]
        if tree["hard"]:
            self.continuation = Continuation()
            self.continuation.find_reach(self)
        self.certificate.load(tree["certificate"])
        self._approached_at = tree["approached"]
        self.preconditioners.load(self, tree["preconditioners"])
