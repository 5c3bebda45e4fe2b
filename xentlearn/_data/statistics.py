"""Weighted statistics of the features: moments, extremes, covariance, and which are constant."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .._utils import numerics, threads
from ._design_matrix import computing_dtype


@dataclass
class Moments:
    """Weighted moments of the features.

    The sum of two objects has the moments of the rows of both.

    Attributes
    ----------
    weight : float
        Sum of the weights.
    mean, variance : ndarray of shape (n_features,)
        Weighted mean and variance; for a sparse X, which is never centred, the latter is the mean
        square.
    is_sparse : bool
    dtype : dtype
        Dtype that the features are computed in: float64 for float64, float32 for narrower ones.
    """

    weight: float
    mean: np.ndarray
    variance: np.ndarray
    is_sparse: bool
    dtype: np.dtype

    def __add__(self, other):
        if self.is_sparse != other.is_sparse:
            return self._squared() + other._squared()
        # Chan, Golub and LeVeque, The American Statistician 37 (1983)
        weight = self.weight + other.weight
        share = other.weight / weight if weight > 0 else 0.0
        change = other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance
        if not self.is_sparse:
            variance = variance + share * (1 - share) * change**2
        return replace(self, weight=weight, mean=self.mean + share * change, variance=variance)

    def _squared(self):
        """Return the same moments in the form for a sparse X, with mean squares."""
        return replace(self, variance=self.mean_squares(), is_sparse=True)

    def taken(self, features):
        """Return the moments of some features."""
        return replace(self, mean=self.mean[features], variance=self.variance[features])

    def spread(self, features, n_features):
        """Return the moments of ``n_features`` features; all but ``features`` have no entries."""
        mean, variance = np.zeros((2, n_features))
        mean[features], variance[features] = self.mean, self.variance
        return replace(self, mean=mean, variance=variance)

    def mean_squares(self):
        """Return the mean square of each feature."""
        with np.errstate(over="ignore"):
            return self.variance if self.is_sparse else self.variance + self.mean**2

    def squares_of_terms(self, coef, intercept):
        """Return the mean over the rows of the sum of the squares of a logit's terms.

        It is that of the output in which it is largest; if small, it may be an upper bound.
        """
        mean_square, of_intercept = self.mean_squares(), float(np.vdot(intercept, intercept))
        most = np.einsum("kj,kj->", coef, coef) * mean_square.max(initial=0.0)
        if most <= numerics.SMALL_TERMS:
            return most + of_intercept
        return np.einsum("kj,kj,j->k", coef, coef, mean_square).max(initial=0.0) + of_intercept

    def require_comparable(self, dtype, l2_reg):
        """Raise ValueError if the sizes of features differ so much that squares lose their digits.

        A feature that is so small that the penalty keeps its effect below rounding errors does not
        count: half its mean square over ``l2_reg`` is the most that it can take off the objective.

        Parameters
        ----------
        dtype : dtype
            Dtype of computations.
        l2_reg : float
            Strength of the penalty.
        """
        square, limit = self.mean_squares(), numerics.COMPARABLE[np.dtype(dtype)]
        if square.min(initial=np.inf) * limit**2 >= square.max(initial=0.0):
            return
        size = np.maximum(np.sqrt(square), np.abs(self.mean))  # squares may have underflowed
        is_known = l2_reg > numerics.STRENGTHS[0]  # otherwise it may have been raised to that
        seen = np.flatnonzero(size > numerics.NEGLIGIBLE * np.sqrt(l2_reg) * is_known)
        if len(seen) == 0:
            return
        least, most = seen[np.argmin(size[seen])], np.argmax(size)
        if size[most] > limit * size[least]:
            raise ValueError(
                f"Features of 'X' must be of sizes within a factor of {limit:.0e}, got "
                f"{size[least]:.1e} (root mean square) of feature {least} and {size[most]:.1e} of "
                f"feature {most}. Divide each by its spread (sklearn.preprocessing.StandardScaler)"
                + (", or pass X as float64." if dtype == np.float32 else ".")
            )

    @property
    def fit_dtype(self):
        """Dtype to fit in: float64 if float32 logits would lose the variation of a feature.

        That is so if the mean of a feature is more than MOST_OFFSET times its standard deviation.
        """
        if self.dtype == np.float64:
            return self.dtype
        variance = self.variance - self.mean**2 if self.is_sparse else self.variance
        spread, offset = np.sqrt(np.maximum(variance, 0.0)), np.abs(self.mean)
        varies = spread > self.rounding_of_means(np.float64) * offset
        lost = (varies & (offset > numerics.MOST_OFFSET * spread)).any()
        return np.dtype(np.float64) if lost else self.dtype

    def rounding_of_means(self, dtype):
        """Return the ratio of standard deviation to mean up to which a feature is constant.

        ``dtype`` is the dtype of computations. Numbers of float32 that are computed with in float64
        have no rounding errors of their own: they vary if they differ in their last digit.
        """
        digits = numerics.CONSTANT if dtype == self.dtype else numerics.LEAST_DIGIT
        return numerics.EPS[self.dtype] * digits

    def inverse_spread(self, fit_intercept, l2_reg, dtype):
        """Return 1 / standard deviation of each feature, in whose units stochastic solvers work.

        It is 0 for features that are constant up to rounding errors: only the rounding error of
        their gradient would change their coefficients. Without an intercept, where features cannot
        be centred, the root mean square takes the place of the standard deviation. The result is
        smaller for features that hardly vary: most of their curvature is that of the penalty, which
        in such units must not exceed that of the loss for the other features. Otherwise sgd would
        diverge on MNIST / 255.

        Parameters
        ----------
        fit_intercept : bool
        l2_reg : float
            Strength of the penalty.
        dtype : dtype
            Dtype of computations.

        Returns
        -------
        ndarray of shape (n_features,)
        """
        square = self.variance if fit_intercept else self.mean_squares()
        if fit_intercept and self.is_sparse:
            square = np.maximum(square - self.mean**2, 0.0)
        spread = np.sqrt(square)
        varies = spread > self.rounding_of_means(dtype) * np.abs(self.mean)
        most = np.sqrt(square + l2_reg / numerics.MOST_CURVATURE)
        return np.where(varies, 1.0 / np.where(varies, most, 1.0), 0.0)


@dataclass
class Extremes:
    """Largest and smallest value of each feature.

    The sum of two objects has the extremes of the rows of both.

    Attributes
    ----------
    most, least : ndarray of shape (n_features,)
    """

    most: np.ndarray
    least: np.ndarray

    def __add__(self, other):
        return Extremes(np.maximum(self.most, other.most), np.minimum(self.least, other.least))


def moments_of(X, weight, n_threads=1, centred=False):
    """Compute the ``Moments`` of weighted rows of X, in float64; zeros if all weights are 0.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
    n_threads : int, default=1
    centred : bool, default=False
        Whether the mean of X, dense, is known to be 0 up to rounding errors.

    Returns
    -------
    Moments

    Raises
    ------
    ValueError
        If the square of a value overflows, or if X is not 0 but all squares underflow to 0.
    """
    is_sparse, dtype, total = sparse.issparse(X), np.dtype(computing_dtype(X)), float(weight.sum())
    if not total > 0:
        return Moments(total, *np.zeros((2, X.shape[1])), is_sparse, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        if centred:
            mean, variance = np.zeros(X.shape[1]), _mean_squares(X, weight, total)
        else:
            find = _sparse_moments if is_sparse else _dense_moments
            mean, variance = find(X, weight, total, n_threads)
    if not np.isfinite(variance).all():
        raise ValueError(
            f"The squares of 'X' must be finite in {dtype}; those of feature "
            f"{np.argmin(np.isfinite(variance))} are not. Divide it by its largest value."
        )
    if not variance.max(initial=0.0) > np.finfo(variance.dtype).tiny:
        # X may still vary, in numbers whose squares underflow
        if np.abs(mean).max(initial=0.0) < np.sqrt(np.finfo(dtype).tiny) and size_of(X) > 0:
            raise ValueError(
                f"The squares of 'X' must be larger than 0 in {dtype}; those of its largest "
                f"value, {size_of(X):.3g}, are not. Multiply it by a power of 10."
            )
    moments = Moments(total, mean, variance, is_sparse, dtype)
    if not is_sparse:  # a constant feature has variance 0, without rounding errors
        variance[variance <= (moments.rounding_of_means(np.float64) * mean) ** 2] = 0.0
    return moments


def _sparse_moments(X, weight, total, n_threads):
    """Return the mean and the mean square of each feature."""
    n_features = X.shape[1]
    mean, square = np.zeros(n_features), np.zeros(n_features)
    for begin in range(0, X.shape[0], threads.SPARSE_ROWS):
        rows = X[begin : begin + threads.SPARSE_ROWS]
        data = rows.data.astype(np.float64)
        weights = np.repeat(weight[begin : begin + threads.SPARSE_ROWS], np.diff(rows.indptr))
        mean += np.bincount(rows.indices, weights * data, n_features)
        square += np.bincount(rows.indices, weights * data * data, n_features)
    square[square > np.finfo(computing_dtype(X)).max] = np.inf
    return mean / total, square / total


def _dense_moments(X, weight, total, n_threads):
    """Return the mean and the variance of each feature.

    Sums over a block are in the dtype that X is computed in, sums of these in float64.
    """
    dtype = computing_dtype(X)
    weight = weight.astype(dtype)
    loop = row_loop(len(X), n_threads, X.size >= threads.THREADED_WORK / 10)

    def weighted_sum(part):
        result = np.zeros(X.shape[1])
        for rows in row_blocks(X, part):
            result += weight[rows] @ X[rows].astype(dtype, copy=False)
        return result

    centre = (loop.sum(weighted_sum) / total).astype(dtype)

    def weighted_squares(part):
        result = np.zeros((2, X.shape[1]))
        for rows in row_blocks(X, part):
            centred = X[rows].astype(dtype, copy=False) - centre
            result[0] += weight[rows] @ centred
            centred *= centred
            result[1] += weight[rows] @ centred
        return result

    # The first mean may have lost digits in float32, and so may lack accuracy compared with the
    # standard deviation: the rest corrects mean and variance.
    rest, square = loop.sum(weighted_squares) / total
    return centre + rest, np.maximum(square - rest**2, 0.0)


def _mean_squares(X, weight, total):
    """Return the mean square of each feature of a dense X in float64."""
    result = np.zeros(X.shape[1])
    for rows in row_blocks(X):
        result += weight[rows] @ np.square(X[rows])
    return result / total


def row_loop(n_rows, n_threads, threaded=True):
    """Return a parallel loop over the rows; one block if not ``threaded``.

    The loop has its own threads, as BLAS uses a single one during a fit.
    """
    width = -(-n_rows // threads.ROW_BLOCKS) if threaded else n_rows
    return threads.ParallelLoop(n_rows, max(1, width), n_threads)


def row_blocks(X, part=slice(None)):
    """Yield slices of (part of) the rows of a dense X that fit in a second-level cache each."""
    n_rows = max(1, threads.X_BLOCK // max(1, X.shape[1]))
    begin, end, _ = part.indices(len(X))
    for at in range(begin, end, n_rows):
        yield slice(at, min(at + n_rows, end))


def covariance(X, weight, mean, settings, n_threads=1):
    """Compute the weighted covariance of X about ``mean``, from a sample of rows if there are many.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
    mean : ndarray of shape (n_features,)
    settings : Preconditioning
        ``least_rows`` and ``rows_per_feature`` determine the number of rows to use.
    n_threads : int, default=1

    Returns
    -------
    ndarray of shape (n_features, n_features), float64
    """
    n_samples, n_features = X.shape
    n_used = max(settings.least_rows, settings.rows_per_feature * n_features)
    chosen = np.arange(n_samples)
    if n_samples > 2 * n_used:
        chosen, counts = rows_by_weight(weight, weight.sum() / n_used)
        weight = counts.astype(np.float64)
    if sparse.issparse(X):
        rows = X[chosen].astype(np.float64)
        products = (rows.multiply(weight[:, np.newaxis]).T @ rows).toarray() / weight.sum()
        # about the mean of all rows, even if only some of them are used
        own = weight @ rows / weight.sum()
        return products - (np.outer(own, mean) + np.outer(mean, own) - np.outer(mean, mean))
    dtype = computing_dtype(X)
    mean, root = mean.astype(dtype), np.sqrt(weight).astype(dtype)[:, np.newaxis]

    def products_of(part):
        # Products are in the dtype that X is computed in, sums over blocks in float64. NumPy
        # releases the GIL during a product; scipy.linalg.blas.syrk does not.
        matrix = np.zeros((n_features, n_features))
        for begin in range(part.start, part.stop, threads.PRODUCT_ROWS):
            rows = slice(begin, min(begin + threads.PRODUCT_ROWS, part.stop))
            centred = X[chosen[rows]].astype(dtype, copy=False) - mean
            centred *= root[rows]
            matrix += centred.T @ centred
        return matrix

    loop = row_loop(len(chosen), n_threads, len(chosen) * n_features**2 >= threads.THREADED_WORK)
    return loop.sum(products_of) / weight.sum()


def rows_by_weight(weight, spacing, before=0.0):
    """Sample rows systematically, in proportion to their weights.

    The cumulative sum of the weights is sampled at (k + 1/2) * spacing for k = 0, 1, ...; each
    point falls into the weight of a row. A row of weight w is therefore sampled as often as w
    copies of it with weight 1.

    Parameters
    ----------
    weight : ndarray of shape (n_samples,)
    spacing : float
        Distance between two points of the cumulative sum, > 0.
    before : float, default=0.0
        Sum of the weights of the rows before these, in earlier shards.

    Returns
    -------
    rows : ndarray of int
        Indices of the sampled rows, without repetitions.
    counts : ndarray of int
        How often each of them was sampled.
    """
    cumulated = before + np.cumsum(weight)
    first = np.ceil(before / spacing - 0.5)
    last = np.ceil((cumulated[-1] if len(cumulated) else before) / spacing - 0.5)
    at = (np.arange(first, last) + 0.5) * spacing
    met = np.minimum(np.searchsorted(cumulated, at), len(weight) - 1)
    return np.unique(met, return_counts=True)


def extremes_of(X, weight, mean, n_threads=1):
    """Return the ``Extremes`` of the features over ``mean`` and the rows with weight."""
    kept = weight > 0
    everything = kept.all()
    of_mean = Extremes(mean, mean)
    if sparse.issparse(X):
        rows = X if everything else X[kept]
        most, least = rows.max(axis=0).toarray().ravel(), rows.min(axis=0).toarray().ravel()
        return of_mean + Extremes(most, least)

    def look(part):
        found = of_mean
        for block in row_blocks(X, part):
            rows = X[block] if everything else X[block][kept[block]]
            if len(rows):
                found += Extremes(rows.max(axis=0), rows.min(axis=0))
        return found

    loop = row_loop(len(X), n_threads, X.size >= threads.THREADED_WORK / 10)
    return loop.sum(look, start=of_mean)


def varying_features(X, fit_intercept, most):
    """Return the features that are not constant, in order; None if more than ``most`` vary.

    The coefficients of constant features are 0 at the minimum (or, without a penalty, at one of the
    minima), so that work on them is wasted. Examples are border pixels of images, and words that
    occur in no text of a training fold. Without an intercept, only features that are 0 in all rows
    count as constant; in a sparse X, only features without entries do.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    fit_intercept : bool
    most : int

    Returns
    -------
    ndarray of int or None
        None as well if no feature varies.
    """
    if sparse.issparse(X):
        varying = np.flatnonzero(np.bincount(X.indices))
    else:
        value = X[0] if fit_intercept else np.zeros_like(X[0])
        same = np.flatnonzero((X[:100] == value).all(axis=0))
        if X.shape[1] - len(same) > most:  # of most X, most features vary among the first rows
            return None
        for rows in row_blocks(X):
            same = same[(X[rows][:, same] == value[same]).all(axis=0)]
        varying = np.delete(np.arange(X.shape[1]), same)
    return varying if 0 < len(varying) <= most else None


def clear_constants(centred, mean):
    """Set constant features of a centred X to 0, in place, where only rounding errors are left."""
    size = np.maximum(centred.max(axis=0, initial=0.0), -centred.min(axis=0, initial=0.0))
    centred[:, size <= numerics.CONSTANT * numerics.EPS[centred.dtype] * np.abs(mean)] = 0.0


def is_filled(X, finite=True):
    """Whether X of two dimensions has rows and features, and if ``finite``, no nan and no inf.

    It is False in a few more cases: a sum that overflows is a doubt, too.
    """
    if 0 in X.shape:
        return False
    if not (finite and X.dtype.kind == "f"):
        return True
    with np.errstate(all="ignore"):
        total = (X.data if sparse.issparse(X) else X).sum()
    return math.isfinite(total)


def size_of(X):
    """Return the largest absolute value of X; 0 if X has no entries."""
    values = X.data if sparse.issparse(X) else X
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def unit_of(X):
    """Return the number to divide X by: 1, or a power of 2 if X is tiny or huge.

    Division by a power of 2 is exact.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        Finite.

    Returns
    -------
    float
    """
    if X.dtype.itemsize < 4:  # float16, uint8 and int8 cannot hold tiny or huge numbers
        return 1.0
    size = size_of(X)
    if size == 0 or numerics.LEAST_SIZE <= size <= numerics.MOST_SIZE:
        return 1.0
    return float(np.ldexp(1.0, np.frexp(size)[1] - 1))
