"""Approximate inverses of the Hessian: from the features alone, or at a point that was reached.

The Hessian of softmax cross-entropy in the coefficients of class k is close to a multiple of the
weighted covariance of X: the multiple is the mean of p_k (1 - p_k). Dividing by

    curvature * (X - mean)^T S (X - mean) / sum(S) + l2_reg I

takes out what the features alone decide (scales, offsets, correlations). The diagonal serves where
X is too wide for a matrix of n_features squared. The multiples of the outputs change on the way.
"""

import contextlib

import numpy as np
from scipy import sparse
from scipy.linalg import blas, lapack

from .._data._design_matrix import computing_dtype
from .._data._factors import solve_factors, weighted_factors
from .._data.statistics import PARTED_WORK, row_blocks, row_parts, rows_by_weight
from .._utils._sweeps import divide

# Most multiply-adds for which the Hessian itself is made: a tenth of a second.
HESSIAN_WORK = 1.5e9
MOST_HESSIAN_ROWS = 6000  # 288 MB
LEAST_CURVATURE = 1e-100  # whose inverse can still be squared
# Most numbers in the matrices of all outputs together: 64 MB in float32.
MOST_BLOCK_NUMBERS = 16_000_000
# Widest X for which the full matrix is made: 32 MB, and a factorisation well below a second.
MOST_FEATURES = 2000
# Rows that are used, per feature: the matrix is needed to a few percent, not exactly.
ROWS_PER_FEATURE = 10
LEAST_ROWS = 5_000
# Rows that are drawn for the matrix of one output: so many per feature, at most this share of all.
LEAST_DRAWN = 500
DRAWN_PER_FEATURE = 4
DRAWN_OF_ROWS = 5
SKETCH = 16  # random projections that leverages are estimated from
SHARE = 0.02  # of an output's curvature that all rows get alike; 0.002 and 0.3 were slower
MOST_LOGITS = 50_000_000  # of all rows together, for the curvature at a point
LEAST_RELATIVE = 1e-6  # curvature, to the mean of the first: no step need be longer
BLOCK_ROWS = 2048  # of X at a time for a product with itself


def computable(X, rows):
    """(matrix in C order and in what is computed in, where the chosen rows of X are in it)."""
    dtype = computing_dtype(X)
    if X.dtype == dtype and X.flags.c_contiguous:
        return X, rows
    used, at = np.unique(rows, return_inverse=True)
    return np.ascontiguousarray(X[used], dtype=dtype), at


def rounding_slack(n, dtype):
    """What keeps a matrix of n rows, with a diagonal of 1, positive definite in spite of rounding.

    Duplicated or constant features must not break its factorisation.
    """
    return 8 * n * np.finfo(dtype).eps


def covariance(X, weight, mean, n_threads=1):
    """Weighted covariance of X about ``mean``, from a subset of rows if there are many.

    The subset takes rows at equal distances of cumulated weight, so that a weight counts like as
    many repeated rows.
    """
    n_samples, n_features = X.shape
    n_used = max(LEAST_ROWS, ROWS_PER_FEATURE * n_features)
    if n_samples > 2 * n_used:
        chosen, counts = rows_by_weight(weight, weight.sum() / n_used)
        weight = counts.astype(np.float64)
    else:
        chosen = np.arange(n_samples)
    if sparse.issparse(X):
        rows = X[chosen].astype(np.float64)
        products = (rows.multiply(weight[:, np.newaxis]).T @ rows).toarray() / weight.sum()
        # about the mean of all rows, also where these are only some
        own = weight @ rows / weight.sum()
        products -= np.outer(own, mean) + np.outer(mean, own) - np.outer(mean, mean)
        return products
    parts = row_parts(len(chosen), n_threads, len(chosen) * n_features**2 >= PARTED_WORK)
    total = parts.sum(lambda part: centred_products(X, chosen[part], weight[part], mean))
    return total / weight.sum()


def centred_products(X, chosen, weight, mean):
    """Sum of weight (x - mean) (x - mean)^T over the chosen rows.

    Products are in the dtype that X is computed in, sums over blocks of them in float64. By NumPy,
    which lets other threads go on; scipy.linalg.blas.syrk does not.
    """
    n_features, dtype = X.shape[1], computing_dtype(X)
    matrix, mean = np.zeros((n_features, n_features)), mean.astype(dtype)
    root = np.sqrt(weight).astype(dtype)[:, np.newaxis]
    for begin in range(0, len(chosen), BLOCK_ROWS):
        rows = slice(begin, begin + BLOCK_ROWS)
        centred = X[chosen[rows]].astype(dtype, copy=False) - mean
        centred *= root[rows]
        matrix += centred.T @ centred
    return matrix


def cholesky_factor(matrix, scale, slack=None, dtype=None):
    """L of ``L L^T = scale matrix scale``, in Fortran order.

    The matrix, in C order, is overwritten; only its upper triangle is looked at. ``scale`` makes
    the diagonal about 1, so that the factorisation does not see units of features. The diagonal
    gets the ``rounding_slack`` of ``slack`` rows in ``dtype``, by default its own.
    """
    slack = len(matrix) if slack is None else slack
    dtype = matrix.dtype if dtype is None else dtype
    scale = scale.astype(matrix.dtype, copy=False)
    matrix *= scale[:, np.newaxis]
    matrix *= scale
    matrix.flat[:: len(matrix) + 1] += rounding_slack(slack, dtype)
    # LAPACK itself: for a matrix of forty rows scipy.linalg.cholesky takes five times as long, and
    # for one of 784 in float32 numpy.linalg.cholesky three times
    factorise = lapack.dpotrf if matrix.dtype == np.float64 else lapack.spotrf
    factor, info = factorise(matrix.T, lower=True, overwrite_a=True)
    if info != 0:
        raise np.linalg.LinAlgError(f"The leading minor of order {info} is not positive definite.")
    return factor


def solve(factor, scale, right):
    """``scale * (L L^T)^-1 (scale * right)`` for a vector, in the dtype of the factor."""
    substitute = blas.dtrsv if factor.dtype == np.float64 else blas.strsv
    solved = substitute(factor, (scale * right).astype(factor.dtype, copy=False), lower=True)
    return scale * substitute(factor, solved, lower=True, trans=True, overwrite_x=True)


class Preconditioner:
    """(c_k M + l2_reg I)^-1 for output k, about, and 1 / c_k for its intercept.

    M is the covariance of X (at most MOST_FEATURES features) or its diagonal. The curvatures c_k
    may change: a class that is a thousand times as rare has a thousandth of the curvature, and all
    fall as rows are predicted better. With 500 unbalanced classes a fit takes 16 evaluations where
    one curvature for all takes 26.

    For the mean c of the first curvatures L L^T = c M + l2_reg I is factorised, and for another

        c_k M + l2_reg I = L (I + (c_k - c) S) L^T,    S = L^-1 M L^-T = (I - l2_reg L^-1 L^-T) / c,

    of which the diagonal of S is kept: all that matters where the penalty is weak or strong, and
    the eigenvectors of S save no iteration.

    For a softmax see ``on_balanced``.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
        Weights of rows, >= 0.
    mean, variance : ndarray of shape (n_features,)
        Of the features, weighted; for a sparse X zero and the mean square.
    curvatures : ndarray of shape (n_outputs,)
        Typical second derivatives of the loss in the logits.
    l2_reg : float
        Weight of ||W||^2 / 2.
    shift_invariant : bool
        Whether the same change of all logits of a row changes nothing.
    n_threads : int
    """

    def __init__(
        self, X, weight, mean, variance, curvatures, l2_reg, shift_invariant=False, n_threads=1
    ):
        self.shift_invariant = shift_invariant
        self.curvature = curvature = curvatures.mean()
        diagonal = curvature * variance + l2_reg
        # a constant feature without a penalty has no curvature at all: leave its scale alone
        diagonal[diagonal == 0] = 1.0
        self.scale = 1.0 / np.sqrt(diagonal)
        self.inverse_factor = self.covariance = None
        penalty_share = l2_reg * self.scale**2
        if X.shape[1] <= MOST_FEATURES:
            self.covariance = covariance(X, weight, mean, n_threads)
            factor = self._factor(curvature, l2_reg, computing_dtype(X))
            # two products with L^-1 are positive definite whatever the rounding
            self.inverse_factor = lapack.dtrtri(factor, lower=True, overwrite_c=True)[0]
            squares = np.tril(self.inverse_factor) ** 2
            penalty_share = squares @ penalty_share
        self.loss_share = np.clip(1.0 - penalty_share, 0.0, 1.0)
        # the inverse for the mean of the curvatures, in the factor's coordinates if there is one
        self.for_mean = self.scale**2 if self.inverse_factor is None else np.ones(len(diagonal))
        self.inverse = np.empty((len(diagonal), len(curvatures)))  # of sparse text 21 MB: reused
        self.follow(curvatures)

    def _factor(self, curvature, l2_reg, dtype):
        """L of curvature * covariance + l2_reg I.

        The covariance of sparse X is a difference of sums over all rows: where features are
        constant, more may be left of it than the rounding of a matrix.
        """
        for more in (1, 1e3, 1e6):
            matrix = curvature * self.covariance
            matrix.flat[:: len(matrix) + 1] += l2_reg
            with contextlib.suppress(np.linalg.LinAlgError):
                return cholesky_factor(matrix, self.scale, more * len(matrix), dtype)
        return np.asfortranarray(np.eye(len(self.scale)))  # of the diagonal alone

    def follow(self, curvatures):
        """Take other curvatures of the outputs, shape (n_outputs,)."""
        relative = np.maximum(curvatures / self.curvature, LEAST_RELATIVE)
        np.multiply.outer(self.loss_share, relative - 1.0, out=self.inverse)
        self.inverse += 1.0
        np.divide(self.for_mean[:, np.newaxis], self.inverse, out=self.inverse)
        self.intercept_inverse = 1.0 / (self.curvature * relative[np.newaxis])

    def whiten(self, right, transposed=False):
        """L^-1 right, or its transpose times that; by one thread, as OpenMP's may be waiting."""
        right = np.asfortranarray(right)
        return blas.dtrmm(1.0, self.inverse_factor, right, lower=True, trans_a=transposed)

    def apply(self, gradient, has_intercept, n_threads=1):
        """Times a gradient of shape (n_features [+ 1], n_outputs)."""
        result = np.empty_like(gradient)
        n_features, scale = len(self.scale), self.scale[:, np.newaxis]
        of_coef = result[:n_features]
        if self.inverse_factor is None:
            self._divide(gradient[:n_features], self.inverse, self.for_mean, of_coef, n_threads)
        else:
            half = np.ascontiguousarray(self.whiten(gradient[:n_features] * scale))
            self._divide(half, self.inverse, self.for_mean, half, n_threads)
            np.multiply(self.whiten(half, transposed=True), scale, out=of_coef)
        if has_intercept:
            for_mean = np.array([1.0 / self.curvature])
            last = slice(n_features, None)
            self._divide(gradient[last], self.intercept_inverse, for_mean, result[last], n_threads)
        return result

    def _divide(self, gradient, inverse, for_mean, out, n_threads):
        """Rows of a gradient times an inverse diagonal; what is common to all by itself."""
        divide(gradient, inverse, for_mean, self.shift_invariant, out, n_threads)


def on_balanced(solve, gradient, for_mean):
    """``solve`` of what sums to 0 over the outputs, of which it takes the same; the mean by itself.

    A softmax does not see the same change of all logits of a row, which the penalty alone keeps at
    0. Outputs with preconditioners of their own bring it in, and as no gradient of the loss leads
    out, it takes long to get rid of: on 3,000 rows of 4 classes 15 iterations stood still at 2e-6,
    raw MNIST took 1,670 iterations in place of 1,030.

    Parameters
    ----------
    solve : callable
        A symmetric positive matrix times an array like ``gradient``.
    gradient : ndarray of shape (n_rows, n_outputs)
    for_mean : ndarray of shape (n_rows, 1) or float
        What the mean over the outputs is multiplied by, > 0.
    """
    averages = np.full(gradient.shape[1], 1.0 / gradient.shape[1])
    mean = (gradient @ averages)[:, np.newaxis]
    result = solve(gradient - mean)
    result -= (result @ averages)[:, np.newaxis]
    result += for_mean * mean
    return result


def hessian_work(n_samples, n_rows, n_outputs, coupled):
    """Multiply-adds of ``HessianAt`` for a vector of (n_rows, n_outputs), inf if too large."""
    if n_rows * n_outputs > MOST_HESSIAN_ROWS:
        return np.inf
    blocks = n_outputs * (n_outputs - 1) / 2 if coupled else n_outputs
    return n_samples * n_rows**2 / 2 * blocks + (n_rows * n_outputs) ** 3 / 6


class HessianAt:
    """Inverse of the Hessian at one point, for problems so small that it costs next to nothing.

    Parameters
    ----------
    matrix : ndarray of shape (n_outputs n_rows, n_outputs n_rows)
        ``_factors.hessian_sum`` over the sum of the weights; overwritten.
    n_outputs : int
    penalty : ndarray of shape (n_features,)
        Second derivative of the penalty in the first rows of the vector.
    shift_invariant : bool
        Whether the same change of all logits of a row changes nothing.
    slack : float, default=1
        Of ``cholesky_factor``, in float64, if the matrix is definite with it.
    """

    def __init__(self, matrix, n_outputs, penalty, shift_invariant, slack=1.0):
        n_rows, dtype = len(matrix) // n_outputs, matrix.dtype
        diagonal = matrix.reshape(-1)[:: len(matrix) + 1].reshape(n_outputs, n_rows)  # a view
        diagonal[:, : len(penalty)] += penalty.astype(dtype)
        diagonal = diagonal.ravel().astype(np.float64)
        # where every row is certain there is no curvature whose inverse could be written down
        diagonal[~(diagonal > LEAST_CURVATURE)] = 1.0
        if n_outputs > 1 and shift_invariant:
            # The same change of all logits costs nothing without a penalty, and no gradient points
            # there: a curvature like that of the outputs leaves all other directions as they are.
            sums = np.add.reduce(diagonal.reshape(n_outputs, n_rows))
            penalised = np.zeros(n_rows, dtype=bool)
            # a penalty that is rounding beside the loss holds nothing
            rounding = rounding_slack(len(matrix), np.float64) / n_outputs * sums
            penalised[: len(penalty)] = penalty > rounding[: len(penalty)]
            free = np.flatnonzero(~penalised)
            like = sums[free] / n_outputs**2
            of_rows = matrix.reshape(n_outputs, n_rows, n_outputs, n_rows)
            of_rows[:, free, :, free] += like.astype(dtype)[:, np.newaxis, np.newaxis]
            diagonal.reshape(n_outputs, n_rows)[:, free] += like
        self.scale = 1.0 / np.sqrt(diagonal)
        if dtype == np.float64:  # flat directions need every digit that there is
            with contextlib.suppress(np.linalg.LinAlgError):
                self.factor = cholesky_factor(matrix.copy(), self.scale, slack)
                return
        self.factor = cholesky_factor(matrix, self.scale)

    def apply(self, gradient, has_intercept, n_threads=1):
        """Times a gradient of shape (n_rows, n_outputs)."""
        solved = solve(self.factor, self.scale, gradient.T.ravel())
        return np.ascontiguousarray(solved.reshape(gradient.shape[::-1]).T)


def leverages(X, mean, preconditioner, n_threads=1):
    """How much of the covariance each row makes up, roughly: x^T covariance^-1 x about the mean.

    From SKETCH random projections, right to a third: rows are drawn by it, with weights that make
    up for the odds. Features that few rows have show here as rows of large leverage.
    """
    n_features, dtype = X.shape[1], computing_dtype(X)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(n_features, SKETCH))
    projections = preconditioner.whiten(signs, transposed=True)
    projections *= preconditioner.scale[:, np.newaxis]
    projections, mean = projections.astype(dtype, order="C"), mean.astype(dtype)
    result = np.empty(len(X))

    def project(rows):
        projected = (X[rows].astype(dtype, copy=False) - mean) @ projections
        result[rows] = np.einsum("ij,ij->i", projected, projected)

    row_parts(len(X), n_threads).each(lambda part: [project(rows) for rows in row_blocks(X, part)])
    return result / SKETCH


def draw_rows(score, n_wanted):
    """(rows, odds): about ``n_wanted`` rows, each with odds min(1, score / threshold).

    Not at random: at equal distances of cumulated odds.
    """
    positive = np.count_nonzero(score > 0)
    if positive <= n_wanted:
        chosen = np.flatnonzero(score > 0)
        return chosen, np.ones(len(chosen))
    threshold = score.sum() / n_wanted
    while True:  # those above the threshold are taken whatever their score: lower it for the rest
        above = score >= threshold
        lower = score[~above].sum() / (n_wanted - np.count_nonzero(above))
        if not lower < 0.999 * threshold:
            break
        threshold = lower
    odds = np.minimum(1.0, score / threshold)
    counted = np.floor(np.cumsum(odds) + 0.5)
    chosen = np.flatnonzero(np.diff(counted, prepend=0.0) > 0)
    return chosen, odds[chosen]


def blocks_fit(n_samples, n_features, n_outputs):
    """Whether ``BlocksAt`` stays within its memory."""
    return (
        n_features <= MOST_FEATURES
        and n_outputs * n_features**2 <= MOST_BLOCK_NUMBERS
        and n_samples * n_outputs <= MOST_LOGITS
    )


class BlocksAt:
    """Inverses of the Hessian's diagonal blocks at one point, one for each output.

    What separates it from ``Preconditioner`` is that each row weighs by its own curvature
    w p (1 - p) in the output: near the optimum of separable or hardly penalised problems few rows
    have any, and directions that X alone makes look steep are flat.

    For each output rows are drawn by curvature times leverage. By curvature alone, 20,000 of the
    60,000 rows of MNIST are worse than 5,000 by both: features that few rows have are missed, and
    their coefficients then move without restraint. A little of the covariance of all rows (SHARE of
    the curvature) is the rest of the restraint.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    curvature : ndarray of shape (n_samples, n_outputs)
        w p (1 - p) over the sum of the weights.
    mean : ndarray of shape (n_features,)
    penalty : ndarray of shape (n_features,)
        Second derivative of the penalty.
    leverage : ndarray of shape (n_samples,)
    covariance : ndarray of shape (n_features, n_features)
    shift_invariant : bool
        As in ``Preconditioner``.
    n_threads : int
    """

    def __init__(
        self,
        X,
        curvature,
        mean,
        penalty,
        leverage,
        covariance,
        shift_invariant=False,
        n_threads=1,
    ):
        self.shift_invariant = shift_invariant
        total = curvature.sum(axis=0, dtype=np.float64)
        self.intercept_scale = 1.0 / np.maximum(total, LEAST_CURVATURE)
        n_wanted = max(LEAST_DRAWN, min(DRAWN_PER_FEATURE * X.shape[1], len(X) // DRAWN_OF_ROWS))
        share = leverage + leverage.mean()
        rows, weight = [], []
        for of_output in curvature.T:  # one by one: in float64 all of them may be large
            of_rows = of_output.astype(np.float64)
            chosen, odds = draw_rows(of_rows * share, n_wanted)
            rows.append(chosen)
            weight.append(of_rows[chosen] / odds)
        # all in the dtype of X: the slack covers its rounding, and float32 takes half the time
        X, at = computable(X, np.concatenate(rows))
        self.factors, self.scale = weighted_factors(
            X,
            mean.astype(X.dtype),
            at,
            np.concatenate(weight),
            np.cumsum([0, *map(len, rows)], dtype=np.intp),
            covariance.astype(X.dtype, copy=False),
            SHARE * total,
            penalty,
            LEAST_CURVATURE,
            rounding_slack(X.shape[1], X.dtype),
            n_threads,
        )

    def apply(self, gradient, has_intercept, n_threads=1):
        """Times a gradient of shape (n_features [+ 1], n_outputs)."""
        if not self.shift_invariant:
            return self._solved(gradient, has_intercept, n_threads)
        for_mean = (self.scale.astype(np.float64) ** 2).mean(axis=0)
        if has_intercept:
            for_mean = np.append(for_mean, self.intercept_scale.mean())
        return on_balanced(
            lambda balanced: self._solved(balanced, has_intercept, n_threads),
            gradient,
            for_mean[:, np.newaxis],
        )

    def _solved(self, gradient, has_intercept, n_threads):
        """The blocks' inverses times a gradient."""
        result = np.empty_like(gradient)
        n_features = len(gradient) - has_intercept
        solve_factors(
            self.factors, self.scale, gradient[:n_features], result[:n_features], n_threads
        )
        if has_intercept:
            result[n_features] = gradient[n_features] * self.intercept_scale
        return result
