"""Weighted statistics of the features: moments, extremes, and rows drawn by their weights."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .._utils.parallel import Parts
from .._utils.units import size_of
from ._design_matrix import computing_dtype

PARTED_WORK = 1e8  # multiply-adds from which the covariance is made by several threads
BLOCK_NUMBERS = 100_000  # of X at a time
N_PARTS = 8  # of rows that are summed by several threads
SPARSE_BLOCK_ROWS = 65_536
CONSTANT = 8  # roundings of its mean: a spread of no more is that of a constant feature
MOST_CURVATURE = 0.25  # of a row's loss in a logit
# Sizes of features, the largest over the smallest, whose squares and curvatures are all numbers.
COMPARABLE = {np.dtype(np.float32): 1e15, np.dtype(np.float64): 1e30}
LEAST_DIGIT = 0.02  # of them: what the moments of a feature that is constant may be off by
# Of a feature, its mean over its spread, up to which float32 logits are good enough. A coefficient
# that matters moves a logit by a few units per spread, so its product with the mean is a few times
# this, of which float32 rounds off 6e-8: a few thousandths of a unit.
MOST_OFFSET = 1e4


@dataclass
class Moments:
    """Weighted moments of the features; the sum of two is that of the rows of both.

    Attributes
    ----------
    weight : float
        Sum of the weights.
    mean, variance : ndarray of shape (n_features,)
        For sparse X the second is the mean square.
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
        square = self.variance if self.is_sparse else self.variance + self.mean**2
        return replace(self, variance=square, is_sparse=True)

    def mean_squares(self):
        """Mean square of each feature."""
        with np.errstate(over="ignore"):
            return self.variance if self.is_sparse else self.variance + self.mean**2

    def require_comparable(self, dtype):
        """Raise ValueError if features are so small, beside others, that their squares are lost.

        ``dtype`` is what is computed in.
        """
        square, limit = self.mean_squares(), COMPARABLE[np.dtype(dtype)]
        if square.min(initial=np.inf) * limit**2 >= square.max(initial=0.0):
            return
        size = np.maximum(np.sqrt(square), np.abs(self.mean))  # where the square is lost
        seen = np.flatnonzero(size)
        if not len(seen):
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
    def swamps_float32(self):
        """Whether float32 logits lose what a feature says to its offset: see MOST_OFFSET."""
        variance = self.variance - self.mean**2 if self.is_sparse else self.variance
        spread, offset = np.sqrt(np.maximum(variance, 0.0)), np.abs(self.mean)
        varies = spread > self.rounding_of_means(np.float64) * offset
        return bool((varies & (offset > MOST_OFFSET * spread)).any())

    def rounding_of_means(self, dtype):
        """Spread over mean below which a feature is constant, where ``dtype`` is computed in.

        Numbers of float32 that are computed with in float64 differ where they differ by a digit.
        """
        eps = np.finfo(self.dtype).eps
        return float(eps) * (CONSTANT if dtype == self.dtype else LEAST_DIGIT)

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
        most = np.sqrt(square + l2_reg / MOST_CURVATURE)
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
    """``Moments`` of rows of X with their weights; zeros where there is no weight."""
    total, is_sparse = weight.sum(), sparse.issparse(X)
    if total > 0:
        mean, variance = weighted_moments(X, weight, n_threads)
    else:
        mean, variance = np.zeros((2, X.shape[1]))
    moments = Moments(float(total), mean, variance, is_sparse, computing_dtype(X))
    if not is_sparse:  # a constant feature has none, whatever rounding says
        variance[variance <= (moments.rounding_of_means(np.float64) * mean) ** 2] = 0.0
    return moments


def fit_dtype(X, moments):
    """What a fit to X computes in: float64 where ``computing_dtype`` would lose its features."""
    dtype = computing_dtype(X)
    return np.dtype(np.float64) if dtype == np.float32 and moments.swamps_float32 else dtype


def row_parts(n_rows, n_threads, parted=True):
    """Parts of rows for several threads; a single one where it is not worth it (not ``parted``).

    BLAS itself has one thread during a fit.
    """
    width = -(-n_rows // N_PARTS) if parted else n_rows
    return Parts(n_rows, max(1, width), n_threads)


def weighted_moments(X, weight, n_threads=1):
    """Weighted mean and variance of each feature, in float64.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
        With a positive sum.
    n_threads : int, default=1

    Returns
    -------
    mean, variance : ndarray of shape (n_features,)
        For a sparse X the second is the mean square: it is never centred.

    Raises
    ------
    ValueError
        If a square overflows, or all of them vanish.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        mean, variance = _moments(X, weight, n_threads)
    if not np.isfinite(variance).all():
        feature = int(np.argmin(np.isfinite(variance)))
        raise ValueError(
            f"The squares of 'X' must be finite in {computing_dtype(X)}; those of feature "
            f"{feature} are not. Divide it by its largest value."
        )
    if not variance.max(initial=0.0) > np.finfo(variance.dtype).tiny and has_lost_squares(X, mean):
        raise ValueError(
            f"The squares of 'X' must be larger than 0 in {computing_dtype(X)}; those of its "
            f"largest value, {size_of(X):.3g}, are not. Multiply it by a power of 10."
        )
    return mean, variance


def has_lost_squares(X, mean):
    """Whether X without variance varies, in numbers whose squares are 0."""
    small = np.sqrt(np.finfo(computing_dtype(X)).tiny)
    return np.abs(mean).max(initial=0.0) < small and size_of(X) > 0


def _moments(X, weight, n_threads):
    total, dtype = weight.sum(), computing_dtype(X)
    n_samples, n_features = X.shape
    mean, variance = np.zeros(n_features), np.zeros(n_features)
    if sparse.issparse(X):
        for begin in range(0, n_samples, SPARSE_BLOCK_ROWS):
            rows = X[begin : begin + SPARSE_BLOCK_ROWS]
            data = rows.data.astype(np.float64)
            weights = np.repeat(weight[begin : begin + SPARSE_BLOCK_ROWS], np.diff(rows.indptr))
            mean += np.bincount(rows.indices, weights * data, n_features)
            variance += np.bincount(rows.indices, weights * data * data, n_features)
        variance[variance > np.finfo(dtype).max] = np.inf
        return mean / total, variance / total
    # sums over a block in the dtype of X, over blocks in float64
    weight = weight.astype(dtype)
    parts = row_parts(n_samples, n_threads, X.size >= PARTED_WORK / 10)

    def weighted_sum(part):
        result = np.zeros(n_features)
        for rows in row_blocks(X, part):
            result += weight[rows] @ X[rows].astype(dtype, copy=False)
        return result

    mean = parts.sum(weighted_sum) / total
    centre = mean.astype(dtype)

    def weighted_squares(part):
        result = np.zeros((2, n_features))
        for rows in row_blocks(X, part):
            centred = X[rows].astype(dtype, copy=False) - centre
            result[0] += weight[rows] @ centred
            centred *= centred
            result[1] += weight[rows] @ centred
        return result

    # of a mean beside which the spread is small, float32 has left no digits
    rest, square = parts.sum(weighted_squares) / total
    return centre + rest, np.maximum(square - rest**2, 0.0)


def clear_constants(centred, mean):
    """Set to 0, in place, what rounding has left of constant features about their means."""
    if not centred.size:
        return
    size = np.maximum(centred.max(axis=0), -centred.min(axis=0))
    centred[:, size <= CONSTANT * np.finfo(centred.dtype).eps * np.abs(mean)] = 0.0


def row_blocks(X, part=slice(None)):
    """Slices of (part of) the rows of a dense X: a second-level cache holds each."""
    n_rows = max(1, BLOCK_NUMBERS // max(1, X.shape[1]))
    begin, end, _ = part.indices(len(X))
    return [slice(at, min(at + n_rows, end)) for at in range(begin, end, n_rows)]


def mean_extremes(X, weight, mean, n_threads=1):
    """Largest and smallest value of each feature among the rows with weight, the mean included."""
    kept = weight > 0
    everything = kept.all()
    if sparse.issparse(X):
        rows = X if everything else X[kept]
        most, least = (np.ravel(rows.max(axis=0).toarray()), np.ravel(rows.min(axis=0).toarray()))
        return np.maximum(most, mean), np.minimum(least, mean)
    found = [(mean, mean)]

    def look(part):
        for block in row_blocks(X, part):
            rows = X[block] if everything else X[block][kept[block]]
            if len(rows):
                found.append((rows.max(axis=0), rows.min(axis=0)))

    row_parts(len(X), n_threads, X.size >= PARTED_WORK / 10).each(look)
    most, least = (np.array(values) for values in zip(*found, strict=True))
    return most.max(axis=0), least.min(axis=0)


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
