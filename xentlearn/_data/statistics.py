"""Weighted statistics of the features: moments, extremes, covariance, and which are constant."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .._utils import numerics, threads
from ._design_matrix import computing_dtype


@dataclass
class Moments:
    """Weighted moments of the features; the sum of two is that of the rows of both.

    Attributes
    ----------
    weight : float
        Sum of the weights.
    mean, variance : ndarray of shape (n_features,)
        For sparse X the second is the mean square: it is never centred.
    is_sparse : bool
    dtype : dtype
        That the features are computed in: float64, or float32 for all narrower ones.
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
        """As those of sparse X."""
        return replace(self, variance=self.mean_squares(), is_sparse=True)

    def mean_squares(self):
        """Mean square of each feature."""
        with np.errstate(over="ignore"):
            return self.variance if self.is_sparse else self.variance + self.mean**2

    def require_comparable(self, dtype):
        """Raise ValueError if features are so small, beside others, that their squares are lost.

        ``dtype`` is what is computed in.
        """
        square, limit = self.mean_squares(), numerics.COMPARABLE[np.dtype(dtype)]
        if square.min(initial=np.inf) * limit**2 >= square.max(initial=0.0):
            return
        size = np.maximum(np.sqrt(square), np.abs(self.mean))  # where the square is lost
        seen = np.flatnonzero(size)
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
        """What a fit computes in: float64 where float32 logits would lose what a feature says.

        They lose it to an offset beyond MOST_OFFSET.
        """
        if self.dtype == np.float64:
            return self.dtype
        variance = self.variance - self.mean**2 if self.is_sparse else self.variance
        spread, offset = np.sqrt(np.maximum(variance, 0.0)), np.abs(self.mean)
        varies = spread > self.rounding_of_means(np.float64) * offset
        lost = (varies & (offset > numerics.MOST_OFFSET * spread)).any()
        return np.dtype(np.float64) if lost else self.dtype

    def rounding_of_means(self, dtype):
        """Spread over mean below which a feature is constant, where ``dtype`` is computed in.

        Numbers of float32 that are computed with in float64 differ where they differ by a digit.
        """
        digits = numerics.CONSTANT if dtype == self.dtype else numerics.LEAST_DIGIT
        return numerics.EPS[self.dtype] * digits

    def inverse_spread(self, fit_intercept, l2_reg, dtype):
        """1 / standard deviation of each feature; 0 of those that are constant, but for rounding.

        Those would be moved by nothing but the rounding of their gradient. Without an intercept,
        where features cannot be centred, it is 1 / root mean square. Of features that hardly vary
        it is less: there the penalty is most of the curvature, and it must not be more in such
        units than the loss is in those of the others. On MNIST / 255 sgd would diverge.
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
    """Largest and smallest value of each feature; the sum of two is that of the rows of both.

    Attributes
    ----------
    most, least : ndarray of shape (n_features,)
    """

    most: np.ndarray
    least: np.ndarray

    def __add__(self, other):
        return Extremes(np.maximum(self.most, other.most), np.minimum(self.least, other.least))


def moments_of(X, weight, n_threads=1):
    """``Moments`` of rows of X with their weights, in float64; zeros where there is no weight.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
    n_threads : int, default=1

    Raises
    ------
    ValueError
        If a square overflows, or all of them vanish.
    """
    is_sparse, dtype, total = sparse.issparse(X), np.dtype(computing_dtype(X)), float(weight.sum())
    if not total > 0:
        return Moments(total, *np.zeros((2, X.shape[1])), is_sparse, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        find = _sparse_moments if is_sparse else _dense_moments
        mean, variance = find(X, weight, total, n_threads)
    if not np.isfinite(variance).all():
        raise ValueError(
            f"The squares of 'X' must be finite in {dtype}; those of feature "
            f"{np.argmin(np.isfinite(variance))} are not. Divide it by its largest value."
        )
    if not variance.max(initial=0.0) > np.finfo(variance.dtype).tiny:
        # it may still vary, in numbers whose squares are 0
        if np.abs(mean).max(initial=0.0) < np.sqrt(np.finfo(dtype).tiny) and size_of(X) > 0:
            raise ValueError(
                f"The squares of 'X' must be larger than 0 in {dtype}; those of its largest "
                f"value, {size_of(X):.3g}, are not. Multiply it by a power of 10."
            )
    moments = Moments(total, mean, variance, is_sparse, dtype)
    if not is_sparse:  # a constant feature has none, whatever rounding says
        variance[variance <= (moments.rounding_of_means(np.float64) * mean) ** 2] = 0.0
    return moments


def _sparse_moments(X, weight, total, n_threads):
    """Mean and mean square."""
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
    """Mean and variance; sums over a block in the dtype that X is computed in, then in float64."""
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

    # of a mean beside which the spread is small, float32 has left no digits
    rest, square = loop.sum(weighted_squares) / total
    return centre + rest, np.maximum(square - rest**2, 0.0)


def row_loop(n_rows, n_threads, threaded=True):
    """A loop over the rows; a single block where several threads are not worth it.

    BLAS itself has one thread during a fit.
    """
    width = -(-n_rows // threads.ROW_BLOCKS) if threaded else n_rows
    return threads.ParallelLoop(n_rows, max(1, width), n_threads)


def row_blocks(X, part=slice(None)):
    """Slices of (part of) the rows of a dense X: a second-level cache holds each."""
    n_rows = max(1, threads.X_BLOCK // max(1, X.shape[1]))
    begin, end, _ = part.indices(len(X))
    for at in range(begin, end, n_rows):
        yield slice(at, min(at + n_rows, end))


def covariance(X, weight, mean, settings, n_threads=1):
    """Weighted covariance of X about ``mean``, from a subset of rows if there are many.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
    mean : ndarray of shape (n_features,)
    settings : Preconditioning
        With the number of rows.
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
        # about the mean of all rows, also where these are only some
        own = weight @ rows / weight.sum()
        return products - (np.outer(own, mean) + np.outer(mean, own) - np.outer(mean, mean))
    dtype = computing_dtype(X)
    mean, root = mean.astype(dtype), np.sqrt(weight).astype(dtype)[:, np.newaxis]

    def products_of(part):
        # In the dtype that X is computed in, sums over blocks in float64. By NumPy, which lets
        # other threads go on; scipy.linalg.blas.syrk does not.
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
    """(rows at equal distances of cumulated weight, how often each is met).

    A weight then counts like as many repeated rows. ``before`` is the weight of rows that came
    earlier; the first row met is half a ``spacing`` from where that is 0.
    """
    cumulated = before + np.cumsum(weight)
    first = np.ceil(before / spacing - 0.5)
    last = np.ceil((cumulated[-1] if len(cumulated) else before) / spacing - 0.5)
    at = (np.arange(first, last) + 0.5) * spacing
    met = np.minimum(np.searchsorted(cumulated, at), len(weight) - 1)
    return np.unique(met, return_counts=True)


def extremes_of(X, weight, mean, n_threads=1):
    """``Extremes`` of the features among the rows with weight, ``mean`` included."""
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
    """Which features are not the same in all rows, in order; None where more than ``most`` vary.

    Coefficients of the others are 0 at the minimum (one of them, where nothing is penalised), so
    all work on them is for nothing: border pixels of images, words that no text of a training fold
    has. Without an intercept only features that are 0 in all rows count as constant.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    fit_intercept : bool
    most : int

    Returns
    -------
    ndarray of int or None
        None as well where no feature varies.
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
    """Set to 0, in place, what rounding has left of constant features about their means."""
    size = np.maximum(centred.max(axis=0, initial=0.0), -centred.min(axis=0, initial=0.0))
    centred[:, size <= numerics.CONSTANT * numerics.EPS[centred.dtype] * np.abs(mean)] = 0.0


def size_of(X):
    """Largest absolute value of X; 0 where there is none."""
    values = X.data if sparse.issparse(X) else X
    return max(float(values.max(initial=0)), -float(values.min(initial=0)))


def unit_of(X):
    """What X is to be divided by: 1 for numbers of usual size, else a power of 2.

    Quotients by a power of 2 are exact.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        Finite.

    Returns
    -------
    float
    """
    if X.dtype.itemsize < 4:  # float16, uint8 and int8 hold no others
        return 1.0
    size = size_of(X)
    if size == 0 or numerics.LEAST_SIZE <= size <= numerics.MOST_SIZE:
        return 1.0
    return float(np.ldexp(1.0, np.frexp(size)[1] - 1))
