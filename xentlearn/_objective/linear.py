"""The penalised training objective of a linear classifier.

    (1/S) sum_i s_i loss(y_i, W x_i + b)  +  (l2_reg / 2) ||W||^2,        l2_reg = 1 / (C S)

with s_i the weights of the rows and S their sum; the intercept b is not penalised.
"""

import contextlib
import functools

import numpy as np

from .._utils._sweeps import centre
from .._utils.parallel import Parts
from .dual import DualPoint
from .preconditioners import (
    HESSIAN_WORK,
    LEAST_CURVATURE,
    MOST_HESSIAN_ROWS,
    BlocksAt,
    HessianAt,
    Preconditioner,
    blocks_fit,
    cholesky_factor,
    hessian_work,
    leverages,
    rounding_slack,
    solve,
)

EPS = float(np.finfo(np.float64).eps)
# Strengths of the path to a hard minimum, times the sum of the weights, and their ratio.
PATH_BEGIN = 0.03
PATH_STEP = 0.1
MOST_PATH = 5
FEW_SEEN = 5  # rows' worth of p (1 - p): of what fewer show little is believed
PART_NUMBERS = 32_768  # of a vector at a time: 256 KB
TINY_GAP = 1e-9  # relative: below it a certificate is good enough as it is
ENOUGH = 4  # times the bound without an intercept: so tight a certificate is not made again
MOST_PENALTY = 1e30  # in matrices of float32
MOST_COUPLED = 2000  # classes, for a Newton step of the intercept
SEPARATED = 0.03  # of the objective at zero coefficients: below it there is no path
MOST_PATH_BEGIN = 1e-4  # where weights are tiny
MOST_MOVE = 3.0  # of a row's logit by one feature and step, once a problem is found hard
# Mean of C ||x||^2 p (1 - p), by which rows pull at each other, at the class shares: above it
# sweeps gain too little. Below it they take a quarter to a half of the time of L-BFGS.
MOST_PULL = 0.15
FEWEST_ASCENDED = 10  # outputs: of 4, sweeps use one core and a quarter of its vectors
MORE_SLACK, MOST_SLACK = 1e3, 1e9  # times the rounding of a number, on the diagonal of a Hessian
PATH_END = 3.0  # times the penalty that was asked for, at a typical feature: there it may end


class LinearObjective:
    """Rows, loss, penalty and scaling as one function of one vector (``_solvers/_base.py``).

    The vector is an (n_features + fit_intercept, n_outputs) matrix in C order, always float64. Its
    first rows are W^T in the units of X. With an intercept its last row is b + W mean, the logits
    at the mean of X, rather than b: X is thereby centred without being touched, offsets of features
    do not couple W with the intercept, and the penalty on W is the original one.

    Parameters
    ----------
    rows : MemoryRows or ShardedRows
        X and its targets (``_rows.py``).
    mass : ndarray of shape (n_outputs,) or (n_outputs, 2)
        Sum of weights times targets by class; for binary outputs of the 0s and of the 1s.
    total_weight : float
        S above.
    l2_reg : float
        At least 0.
    fit_intercept : bool
    n_threads : int
    offset : ndarray of shape (n_outputs,) or None, default=None
        Added to the logits of every row; no part of the intercept. Categorical losses only.
    exact_hessian : bool, default=True
        Whether the Hessian of the loss is the Hessian, and not what stands for it.
    certifiable : bool, default=True
        Whether the loss is plain cross-entropy, whose dual gives bounds of the minimum.
    """

    def __init__(
        self,
        rows,
        mass,
        total_weight,
        l2_reg,
        fit_intercept,
        n_threads,
        offset=None,
        exact_hessian=True,
        certifiable=True,
    ):
        self.rows = rows
        self.target = rows.sample.target
        self.mass = mass / total_weight
        self.total_weight = total_weight
        self.l2_reg = l2_reg
        self.exact_hessian = exact_hessian
        self.certifiable = certifiable and l2_reg > 0
        self.extra = np.zeros((rows.n_features, 1))  # on top of it, by feature: see `relax`
        self.fit_intercept = fit_intercept
        self.n_threads = n_threads
        self.n_features = rows.n_features
        self.n_outputs = self.target.n_outputs
        self.offset = np.zeros(self.n_outputs) if offset is None else offset
        self.shape = (self.n_features + fit_intercept, self.n_outputs)
        self.size = self.shape[0] * self.shape[1]
        # made when they are asked for
        self._reach = self._leverage = None
        self._preconditioner_at = None  # of a point, once one is asked for
        self._slack = 1.0  # of Hessians in float64
        self._looseness = 2.0  # of the bound in `certified_gap`
        self._first_evaluation, self._start_gradient = True, None
        self._least = -np.inf  # certified lower bound of the minimum
        n_abreast = max(1, PART_NUMBERS // max(1, self.n_outputs))
        self._feature_parts = Parts(self.n_features, n_abreast, n_threads)
        # a sum of n rounding errors of random sign; float32 rows are rounded one by one
        eps = np.finfo(rows.dtype).eps
        self.rounding = max(8 * EPS, eps / np.sqrt(max(1, rows.n_rows)))
        # objective at zero coefficients: log K per row, or log 2 per entry
        n_alternatives = 2 if mass.ndim == 2 else self.n_outputs
        self.value_scale = 1e-6 * self.mass.sum() * np.log(n_alternatives)

        self.moments = moments = rows.moments(n_threads)
        self._is_sparse = moments.is_sparse
        self.mean = moments.mean if fit_intercept else np.zeros(self.n_features)
        self._variance = moments.variance  # of sparse X the mean square
        if not fit_intercept and not self._is_sparse:
            self._variance = self._variance + moments.mean**2

    @property
    def preconditioner(self):
        """The one in force: of the last point that it was asked for, else of the features alone."""
        return self._preconditioner_at or self._preconditioner_of_features

    @functools.cached_property
    def _preconditioner_of_features(self):
        """Made when it is asked for: newton-cholesky never does."""
        return Preconditioner(
            self.rows.sample.X,
            self.rows.sample.weight,
            self.mean,
            self._variance,
            self._curvatures_at_shares(),
            self.l2_reg,
            self._is_shift_invariant,
            self.n_threads,
        )

    @property
    def _is_shift_invariant(self):
        """Whether the same change of all logits of a row changes no loss."""
        return all(part.couples for _, part in self.target.parts)

    def _curvatures_at_shares(self):
        """Mean of p (1 - p) by output, were every row predicted by the class shares."""
        if self.mass.ndim == 2:
            total = self.mass.sum(axis=1)
            return self.mass.prod(axis=1) / np.maximum(total, np.finfo(float).tiny)
        share = self.mass / self.mass.sum()
        return self.mass.sum() * share * (1 - share)

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
        coef, intercept = self.look_into(vector)
        return coef.copy(), intercept

    def look_into(self, vector):
        """As ``unpack``, but coef is a view of the vector."""
        coef, intercept = self._packed(vector)
        return coef.T, intercept

    def _at(self, vector):
        """(W^T, what is added to the logits) at a vector."""
        coef, intercept = self._packed(vector)
        return coef, intercept + self.offset

    def _packed(self, vector):
        """(W^T (n_features, n_outputs), b) of a vector."""
        matrix = vector.reshape(self.shape)
        if not self.fit_intercept:
            return matrix, np.zeros(self.n_outputs)
        return matrix[:-1], matrix[-1] - self.mean @ matrix[:-1]

    def start(self):
        """W = 0 and the best intercept for it: the logs of the class shares, less the offset."""
        matrix = np.zeros(self.shape)
        if self.fit_intercept:
            logs = np.log(self.mass)
            matrix[-1] = logs[:, 1] - logs[:, 0] if self.mass.ndim == 2 else logs - logs.mean()
            matrix[-1] -= self.offset
        return matrix.ravel()

    # ---- What solvers use --------------------------------------------------------------------

    def value_gradient(self, vector):
        """Value and gradient at a vector."""
        coef, intercept = self._at(vector)
        gradient = np.empty(self.shape)
        loss, *sums = self.rows.loss_gradient(
            coef, intercept, self.n_threads, gradient[: self.n_features]
        )
        penalty = self._centre(gradient, *sums, coef)
        if self._first_evaluation:  # mostly of the start, whose gradient certificates will ask for
            self._first_evaluation = False
            n_coef = self.n_features * self.n_outputs  # all 0 there
            at_start = np.array_equal(vector[n_coef:], self.start()[n_coef:])
            if self.certifiable and at_start and not coef.any():
                self._start_gradient = gradient
        return float(loss / self.total_weight + penalty), gradient.ravel()

    def hessian_product(self, vector, direction):
        """Hessian at ``vector`` times ``direction``."""
        coef_direction, intercept_direction = self._packed(direction)
        product = np.empty(self.shape)
        sums = self.rows.hessian_product(
            *self._at(vector),
            coef_direction,
            intercept_direction,
            self.n_threads,
            product[: self.n_features],
        )
        self._centre(product, *sums, coef_direction)
        return product.ravel()

    def least_curvature(self, direction):
        """What is at most rounding of the curvature along ``direction``.

        Relative to what its coefficients would have if no two features were correlated, as
        ``cholesky_factor`` has it. The products of float32 rows are squares of sums with errors of
        their own.
        """
        matrix = direction.reshape(self.shape)
        squares = np.einsum("jk,jk->j", matrix, matrix)
        typical = self._curvatures_at_shares().mean()
        apart = (typical * self._variance + self.l2_reg) @ squares[: self.n_features]
        if self.fit_intercept:
            apart += typical * squares[-1]
        eps = float(np.finfo(self.rows.dtype).eps)
        return rounding_slack(len(matrix), np.float64) * apart * max(1.0, eps**2 / EPS)

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
            self.l2_reg + self.extra[:, 0],
            coef,
            gradient[: self.n_features],
            self.n_threads,
        )

    def precondition(self, gradient):
        """Approximate inverse Hessian times a gradient."""
        matrix = gradient.reshape(self.shape)
        return self.preconditioner.apply(matrix, self.fit_intercept, self.n_threads).ravel()

    def follow_curvature(self, vector):
        """Precondition by the mean curvatures of the outputs at ``vector``.

        From some rows. Outputs of which these show next to nothing are taken to have lost as much
        of their curvature as the others. Nothing changes for a single output, whose scale solvers
        find themselves, nor once there is the Hessian of a point.
        """
        if self.n_outputs == 1 or self._preconditioner_at is not None:
            return
        known = self._curvatures_at_shares()
        seen, n_rows = self.rows.sample.mean_curvature(*self._at(vector), self.n_threads)
        left = seen.sum() / known.sum()
        with np.errstate(divide="ignore"):
            unseen = FEW_SEEN / known
        self._preconditioner_of_features.follow(
            (n_rows * seen + FEW_SEEN * left) / (n_rows + unseen)
        )

    def precondition_at(self, vector, thorough=False):
        """Use the Hessian at ``vector`` from now on, or its diagonal blocks if it is large.

        A ``thorough`` one is made in float64, whatever the time. Nothing changes for sparse X,
        where even the blocks take too much memory, or where the penalty is beyond float32.

        Returns
        -------
        bool
            Whether it is the whole Hessian.
        """
        if self._is_sparse or self.l2_reg > MOST_PENALTY:
            return False
        sample = self.rows.sample
        whole = self.hessian_work() <= HESSIAN_WORK
        if whole or self.hessian_work(sample) <= HESSIAN_WORK:
            rows = self.rows if whole else sample
            self._use_hessian(rows, vector, np.float64 if thorough else np.float32)
        elif blocks_fit(sample.n_rows, self.n_features, self.n_outputs):
            of_features = self._preconditioner_of_features
            if self._leverage is None:
                self._leverage = leverages(sample.X, self.mean, of_features, self.n_threads)
            curvature = sample.curvature(*self._at(vector), self.n_threads)
            curvature /= self.total_weight
            with contextlib.suppress(np.linalg.LinAlgError):
                self._preconditioner_at = BlocksAt(
                    sample.X,
                    curvature,
                    self.mean,
                    self.l2_reg + self.extra[:, 0],
                    self._leverage,
                    of_features.covariance,
                    self._is_shift_invariant,
                    self.n_threads,
                )
        return whole

    def hessian_work(self, rows=None):
        """Multiply-adds that ``hessian_at`` takes; inf if the Hessian is too large for it."""
        n_rows = (self.rows if rows is None else rows).n_rows
        return hessian_work(n_rows, *self.shape, self.target.couples)

    def hessian_at(self, vector):
        """Use the Hessian at ``vector`` from now on."""
        if self.size > MOST_HESSIAN_ROWS:
            raise ValueError(
                "solver='newton-cholesky' makes the whole Hessian, for at most "
                f"{MOST_HESSIAN_ROWS} coefficients; here are {self.size}. Use solver='auto'."
            )
        self._use_hessian(self.rows, vector, np.float64)

    def stiffen(self):
        """Put more on the diagonal of Hessians to come; whether there are any, and more helps.

        Where a feature is all but a sum of others, the least eigenvalues of a Hessian are what
        rounding has left of them, and a step along their axes can be a million times too long.
        """
        if not isinstance(self._preconditioner_at, HessianAt) or self._slack >= MOST_SLACK:
            return False
        self._slack *= MORE_SLACK
        return True

    def _use_hessian(self, rows, vector, dtype):
        mean = self.mean if self.fit_intercept else None
        if dtype == np.float32:
            # The one before goes first, and its memory is used again: to touch new memory takes a
            # third of the time. Should this one fail, that of the features is in force again.
            self._preconditioner_at = None
        matrix = rows.hessian(*self._at(vector), mean, dtype, self.n_threads)
        matrix /= self.total_weight
        # where it fails, the point is so flat that rounding has the last word
        with contextlib.suppress(np.linalg.LinAlgError):
            self._preconditioner_at = HessianAt(
                matrix,
                self.n_outputs,
                self.l2_reg + self.extra[:, 0],
                self._is_shift_invariant,
                self._slack,
            )

    # ---- Batch by batch ----------------------------------------------------------------------

    @property
    def by_output(self):
        """Whether coefficients of batches are (n_outputs, n_features)."""
        return not self._is_sparse

    @functools.cached_property
    def inverse_spread(self):
        """1 / standard deviation of each feature, about; 0 of constant ones."""
        return self.moments.inverse_spread(self.fit_intercept, self.l2_reg, self.rows.dtype)

    def batches(self, order, size):
        """The rows in the given order, in batches (``_rows.py``)."""
        return self.rows.batches(order, size, self.offset)

    # ---- Row by row, in the dual -------------------------------------------------------------

    @property
    def suits_dual(self):
        """Whether sweeps over the rows of the dual problem find the minimum, most often sooner."""
        if not (self._is_sparse and self.certifiable and self.mass.ndim == 2):
            return False
        square = self._variance.sum()  # of sparse X these are mean squares
        pull = square * self._curvatures_at_shares().mean() / (self.rows.n_rows * self.l2_reg)
        return (
            pull <= MOST_PULL
            and self.n_outputs >= FEWEST_ASCENDED
            and self.rows.sample is self.rows
        )

    def dual_point(self, vector):
        """(value at a vector, the point of the dual that predicts what the vector predicts)."""
        value, gradient = self.value_gradient(vector)
        matrix, gradient = vector.reshape(self.shape), gradient.reshape(self.shape)
        W, intercept = matrix[: self.n_features], np.zeros(self.n_outputs)
        sum_alpha, stands_for = np.zeros(self.n_outputs), gradient[: self.n_features] / -self.l2_reg
        if self.fit_intercept:
            intercept, sum_alpha = matrix[-1], gradient[-1] * self.total_weight
        if W.any():
            p = self.rows.proba(*self._at(vector), self.n_threads)
            stands_for += W
        else:
            p = 1 / (1 + np.exp(-intercept[np.newaxis]))
        return value, DualPoint.at(
            p,
            self.rows.entry_weight(self.n_threads),
            stands_for,
            intercept,
            sum_alpha,
            self.mean,
            1 / (self.total_weight * self.l2_reg),
        )

    def dual_sweep(self, point, lots):
        """Sweep over all rows for some lots of outputs; about what each lot's dual has risen by."""
        rise = point.sweep(self.rows.dual_rows(self.mean), lots, self.fit_intercept, self.n_threads)
        return rise / self.total_weight

    def dual_look(self, point):
        """(vector, value there, certified bounds of value - minimum by output) of a dual point.

        With W as the point has it, the value less that of the dual is the mean distance of the
        predictions from those of W, plus c times mean alpha. Where alphas do not sum to 0 the
        dual's value is that of p mixed with a constant prediction, as in ``_duality_gap``, but with
        the entropy of the mixture itself: the bound is second order in the sum.
        """
        c = point.by_output(point.intercept)
        mean_alpha = -point.by_output(point.shift) / (point.scale * self.total_weight)
        if self.fit_intercept:
            epsilon, r = self._constant_shares(mean_alpha)
            mixed, constant = self._constant_gradient(r), r[:, 1]
        else:
            epsilon = constant = np.zeros(self.n_outputs)
            mixed = np.zeros((self.n_features, self.n_outputs))
        vector = np.empty(self.shape)
        square, along, of_change = point.weights(
            self.mean, mixed, -1 / self.l2_reg, vector[: self.n_features], self.n_threads
        )
        entropy, distance = (
            part / self.total_weight
            for part in point.look(
                self.rows.dual_rows(self.mean), epsilon, constant, self.n_threads
            )
        )
        if self.fit_intercept:
            distance += c * mean_alpha
            vector[-1] = c
        gaps = distance + self.l2_reg * epsilon * (along + 0.5 * epsilon * of_change)
        values = entropy + distance - 0.5 * self.l2_reg * square
        gaps = np.maximum(gaps, 0.0) + self.rounding * values * (1.0 + np.abs(c))
        value = float(values.sum())
        self._least = max(self._least, value - float(gaps.sum()))
        return vector.ravel(), value, gaps

    # ---- What is learnt on the way -----------------------------------------------------------

    def state(self):
        """All that changes after the objective has been made, to ``restore`` it."""
        names = ("extra", "_slack", "_looseness", "_least", "_first_evaluation", "_start_gradient")
        made = ("_reach", "_leverage", "_preconditioner_at", "_preconditioner_of_features")
        made = (*made, "_constant_gradients")
        known = {name: self.__dict__[name] for name in (*names, *made) if name in self.__dict__}
        return {"of": self._identity, "known": known}

    def restore(self, state):
        """Put a ``state`` back.

        Raises
        ------
        ValueError
            If it is of other data, or of another problem.
        """
        of = zip(self._identity, state["of"], strict=True)
        if not all(np.array_equal(mine, other) for mine, other in of):
            raise ValueError(
                "The checkpoint is of another fit: X, y and the weights must be those of the fit "
                "that wrote it; use another file, or delete it to start anew."
            )
        self.__dict__.update(state["known"])

    @functools.cached_property
    def _identity(self):
        """By which another objective is told from this one."""
        of_y = self.rows.sample.y.fingerprint()
        return (self.mass, self.mean, self._variance, self.l2_reg, *of_y)

    # ---- A path to hard minima ---------------------------------------------------------------

    def path(self, value):
        """Falling strengths for ``relax``, from one that keeps most logits of rows moderate.

        ``value`` is that of the point where they are asked for. None where the penalty asked for is
        as strong already, or where the rows are all but separated: their losses then fall together,
        and a path only costs time. At a strength of 1 / S it costs half a row's share of the
        objective to move the logit of a single row by 1.
        """
        if value < SEPARATED * 1e6 * self.value_scale:
            return []
        if self._reach is None:
            found = self.rows.extremes(self.mean, self.n_threads)
            self._reach = np.maximum(found.most - self.mean, self.mean - found.least)
        at = min(PATH_BEGIN / self.total_weight, MOST_PATH_BEGIN)
        typical = np.median(self._reach[self._reach > 0] ** 2) if self._reach.any() else 0.0
        strengths = []
        while at * typical > PATH_END * self.l2_reg and len(strengths) < MOST_PATH:
            strengths.append(at)
            at *= PATH_STEP
        return strengths

    def clip(self, direction):
        """A direction of which no feature alone moves a row's logit by more than MOST_MOVE.

        Once ``path`` has found a hard problem. There the model of the curvature is valid for a few
        units of a logit only: without this, whole steps shrink to a tenth or less because of
        features that few rows have.
        """
        if self._reach is None:
            return direction
        most = MOST_MOVE / np.maximum(self._reach, np.finfo(float).tiny)[:, np.newaxis]
        clipped = direction.copy()
        W = clipped.reshape(self.shape)[: self.n_features]
        np.clip(W, -most, most, out=W)
        return clipped

    def relax(self, strength):
        """Add strength / 2 * sum_j (r_j ||W_j||)^2, with r_j the reach of feature j; 0 ends it.

        The reach is the largest distance of a value from the mean: unlike the variance it is as
        large for a feature that few rows have, and those are what a hard problem overshoots.
        """
        self.extra = strength * self._reach[:, np.newaxis] ** 2 if strength else 0 * self.extra

    def extra_penalty(self, vector):
        """What ``relax`` adds to the value at ``vector``."""
        W = vector.reshape(self.shape)[: self.n_features]
        return 0.5 * float(np.sum(self.extra * W**2))

    # ---- How far from the optimum ------------------------------------------------------------

    def optimality_gap(self, vector):
        """Certified upper bound of (objective - minimum) / minimum at a vector, with its objective.

        Returns
        -------
        objective, gap : float
            The gap is inf without a penalty, or where the bound says nothing.
        """
        value, gradient = self.value_gradient(vector)
        if not self.certifiable:
            return value, np.inf
        gap = max(value - self._least, 0.0)  # values of one point differ by their rounding
        if not gap <= ENOUGH * self._natural_gap(gradient):  # what is known can hardly be improved
            gap = min(gap, self._certified(vector, value, gradient))
        return value, float(gap / (value - gap)) if gap < value else np.inf

    def certified_gap(self, vector, value, gradient, wanted):
        """Upper bound of the value at ``vector`` less the minimum; inf if it is above ``wanted``.

        That it must be above is mostly seen from the gradient alone, with what the bound was in
        units of |gradient|^2 the last time; otherwise it takes two passes.
        """
        if not self.certifiable:
            return np.inf
        natural = self._natural_gap(gradient)
        if self.extra.any() or not natural * self._looseness <= wanted:
            return np.inf
        gap = self._certified(vector, value, gradient)
        self._looseness = max(1.0, gap / max(natural, np.finfo(float).tiny))
        return gap if gap <= wanted else np.inf

    def _natural_gap(self, gradient):
        """What the bound would be without an intercept: |gradient|^2 / (2 l2_reg)."""
        of_coef = gradient[: self.n_features * self.n_outputs]
        return np.vdot(of_coef, of_coef) / (2 * self.l2_reg)

    def _certified(self, vector, value, gradient):
        """Upper bound of the value at ``vector`` less the minimum; inf where there is none.

        From the vector itself, or from where a Newton step of its intercept alone leads to: the
        bound is first order in the gradient of the intercept, which no penalty forgives. On MNIST
        the step takes the bound after a default fit from 0.15 to 0.005, on sparse text from 0.006
        to 0.00002.
        """
        if not np.isfinite(value):
            return np.inf
        gap, at = self._duality_gap(vector, value, gradient), vector
        if self.fit_intercept and gap > TINY_GAP * value:
            at = vector.copy()
            at[-self.n_outputs :] -= self._intercept_step(vector, gradient[-self.n_outputs :])
            value_at, gradient_at = self.value_gradient(at)
            if value_at <= value:  # else the step was too long
                gap = min(gap, value - value_at + self._duality_gap(at, value_at, gradient_at))
        # what rounding may have taken away: residuals are as large as the loss, times b
        b = at[self.n_features * self.n_outputs :]
        gap = max(0.0, gap) + self.rounding * value * (1.0 + np.abs(b).max(initial=0.0))
        self._least = max(self._least, value - gap)
        return gap

    def _intercept_step(self, vector, gradient):
        """Newton step of the intercept for fixed W, with the Hessian of some rows if all are many.

        0 where there are too many classes.
        """
        n_outputs, coupled = self.n_outputs, self.mass.ndim == 1
        if coupled and n_outputs > MOST_COUPLED:
            return np.zeros(n_outputs)
        hessian, total = self.rows.sample.intercept_hessian(
            *self._at(vector), coupled, self.n_threads
        )
        hessian *= (self.mass.sum() if coupled else self.mass.sum(axis=1)) / total
        if not coupled:
            return gradient / np.maximum(hessian, LEAST_CURVATURE)
        # no gradient points to the same change of all logits, which has no curvature of its own
        hessian += hessian.diagonal().mean() / n_outputs
        scale = 1 / np.sqrt(np.maximum(hessian.diagonal(), LEAST_CURVATURE))
        try:
            return solve(cholesky_factor(hessian, scale), scale, gradient)
        except np.linalg.LinAlgError:
            return np.zeros(n_outputs)

    def _duality_gap(self, vector, value, gradient):
        """Upper bound of the value at ``vector`` less the minimum, but for rounding.

        The minimum is at least the value of the dual problem at any of its points (Shalev-Shwartz
        and Zhang, JMLR 14, 2013). With a free intercept, alpha_i = q_i - t_i is such a point if its
        weighted sum is 0; the dual's value is -mean(sum_k q_k log q_k) - ||mean(alpha x)||^2 /
        (2 l2_reg). Here

            q = (1 - tau) t + tau ((1 - epsilon) p + epsilon r)

        mixes three predictions: p itself; one constant distribution r, with epsilon just large
        enough for the sum to become 0; and t, which shortens alpha. Negative entropies of mixtures
        are bounded by convexity, that of t by 0. Near the optimum tau is 1; further away a smaller
        one keeps the bound useful. inf where the sum cannot be made 0.
        """
        matrix, gradient = vector.reshape(self.shape), gradient.reshape(self.shape)
        W, dW = matrix[: self.n_features], gradient[: self.n_features]
        b, g_b = matrix[self.n_features :], gradient[self.n_features :]
        # mean alpha times what is added to all logits; in the dual it stays as a linear term unless
        # an intercept makes mean alpha 0
        constant, linear = np.vdot(g_b, b + self.offset), 0.0
        if not self.fit_intercept and self.offset.any():
            _, _, sums = self.rows.loss_gradient(*self._at(vector), self.n_threads)
            linear = sums @ self.offset / self.total_weight

        epsilon, r = 0.0, None
        if self.fit_intercept:
            epsilon, r = self._constant_share(g_b[0])
            if r is None:
                return np.inf
        of_constant = self._constant_gradient(r) if epsilon > 0 else None

        def squares(rows):
            g = dW[rows] - self.l2_reg * W[rows]  # gradient of the mean loss alone
            change, along = dW[rows], 0.0
            if epsilon > 0:
                shift = epsilon * (of_constant[rows] - g)
                change, along = change + shift, np.vdot(W[rows], shift)
            rest = change - self.l2_reg * W[rows]
            with_W = np.vdot(W[rows], W[rows]), np.vdot(g, W[rows]), along
            return np.array([*with_W, np.vdot(change, change), np.vdot(rest, rest)])

        square, along_g, along_shift, of_change, of_rest = self._feature_parts.sum(
            squares, np.zeros(5)
        )
        mean_loss = value - 0.5 * self.l2_reg * square
        # mean of sum_k p_k log p_k: the loss is -sum_k t_k log p_k
        negative_entropy = along_g + constant + linear - mean_loss
        excess = 0.0
        if epsilon > 0:
            with np.errstate(divide="ignore", invalid="ignore"):
                terms = np.where(r > 0, r * np.log(r), 0.0).sum(axis=1)
            excess = epsilon * (np.sum(self.mass.sum(axis=-1) * terms) - negative_entropy)

        # tau = 1, written so that only terms are left which vanish at the optimum
        gap = constant + excess + of_change / (2 * self.l2_reg) - along_shift
        # the best tau; -tau entropy - tau^2 of_rest / (2 l2_reg) is the dual's value
        entropy = negative_entropy + excess - linear
        of_rest /= 2 * self.l2_reg
        if of_rest > 0 and -entropy < 2 * of_rest:
            gap = min(gap, value - max(0.0, -entropy) ** 2 / (4 * of_rest))
        return gap

    def _constant_share(self, g_b):
        """(epsilon, r) with (1 - epsilon) mean(p) + epsilon r = mean(t), epsilon the smallest.

        ``g_b`` is the gradient in the intercept, mean(p) - mean(t). r has one row per
        distribution: one for the softmax, one per output (0 or 1) if binary. (None, None) where
        there is no such r.
        """
        epsilons, rs = self._constant_shares(g_b)
        epsilon = float(epsilons.max())
        if not epsilon < 1:  # nan too
            return None, None
        return epsilon, rs if len(rs) == 1 else self._constant_shares(g_b, epsilon)[1]

    def _constant_shares(self, g_b, least=0.0):
        """``_constant_share`` of each distribution by itself: (n,) shares, none below ``least``."""
        if self.mass.ndim == 2:
            total = self.mass.sum(axis=1, keepdims=True)
            wanted = self.mass / total
            predicted = wanted + np.stack([-g_b, g_b], axis=1) / total
        else:
            wanted = self.mass[np.newaxis] / self.mass.sum()
            predicted = wanted + g_b / self.mass.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            epsilon = np.fmax(least, np.fmax.reduce(1 - wanted / predicted, axis=1))
            r = (wanted - (1 - epsilon[:, np.newaxis]) * predicted) / epsilon[:, np.newaxis]
        return epsilon, np.where(epsilon[:, np.newaxis] > 0, np.clip(r, 0.0, 1.0), wanted)

    def _constant_gradient(self, r):
        """Gradient in W of the mean loss where every row is predicted by the shares ``r``.

        It is linear in r; about the mean of X and with equal weights it does not depend on r at
        all, but weights that differ between outputs have means of their own.
        """
        shares, at_shares, slope = self._constant_gradients
        return at_shares if slope is None else at_shares + slope * (r[:, 1] - shares)

    @functools.cached_property
    def _constant_gradients(self):
        """(shares of the 1s, gradient in W there, its slope in the shares) of a binary loss.

        (None, gradient in W at the shares of the classes, None) for the softmax, and where all
        entries of a row have one weight.
        """
        if self._start_gradient is None:
            self._start_gradient = self.value_gradient(self.start())[1].reshape(self.shape)
        matrix = self.start().reshape(self.shape)
        at_shares = self._start_gradient[:-1]
        if self.mass.ndim == 1:
            return None, at_shares, None
        shares = self.mass[:, 1] / self.mass.sum(axis=1)
        if self.rows.sample.y.weighs_rows:  # all outputs have the mean that X is centred by
            return None, at_shares, None
        # any other shares give the slope; near 0 and 1 those of the next logit may be the same
        matrix[-1] = np.where(np.abs(matrix[-1]) > 1.0, 0.0, matrix[-1] + 1.0)
        shifted = 1 / (1 + np.exp(-matrix[-1]))
        slope = (self.value_gradient(matrix.ravel())[1].reshape(self.shape)[:-1] - at_shares) / (
            shifted - shares
        )
        return shares, at_shares, slope
