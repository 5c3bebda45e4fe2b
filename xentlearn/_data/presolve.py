"""Presolve steps: transformations of X before a solver sees it, each with its inverse.

A step has the transformed ``X``; ``apply`` and ``undo``, which transform coefficients and
intercepts to the features of this X and back; and ``undo_moments``. The plan decides which steps
are taken (``_plan/plan.py``).

A small X is centred in float64, so that logits keep their digits in spite of offsets. For example,
products of W with times in seconds since 1970 that differ by minutes lose eight digits.

If there are more features than rows, the minimum of a loss with an L2 penalty is a linear
combination of the rows of X. With the QR decomposition X^T = Q R, each such W is V Q^T, so that
W X^T = V R and ||W|| = ||V||: this is the same problem with as many features as rows. See Hastie
and Tibshirani, "Efficient quadratic regularization for expression arrays", Biostatistics 5 (2004).
Inner products of rows instead of a QR decomposition were tried. They are faster, but they square
the condition number, and if the sizes of the features span 1e-5 to 1e5, the small ones are lost.

If there is next to no penalty, features of a small X that are nearly linear combinations of others
are replaced by their difference from the combination, whose scale does not matter then. A Hessian
in the original features has the square of this difference, which rounding errors hide if the
difference is 1e-8 or less. Features that are linear combinations of others at floating-point
precision are left out, as nothing would keep their coefficients from growing. All other features
stay as they are: if rows differ in a single feature, it must remain able to separate them, however
large its coefficient has to become.
"""

from dataclasses import replace

import numpy as np
from scipy import linalg, sparse

from .._utils import numerics
from .statistics import clear_constants, moments_of


def presolved(X, plan, weight, fit_intercept, l2_reg):
    """Apply the presolve steps of a plan to X, one after the other.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    plan : Presolve
    weight : ndarray of shape (n_samples,)
        Weights of the rows.
    fit_intercept : bool
    l2_reg : float
        Strength of the penalty on the coefficients of X / ``plan.unit``.

    Returns
    -------
    list of ScaledX, VaryingX and CentredX
        The steps taken, in this order.
    """
    steps = []
    if plan.unit != 1.0:
        steps.append(ScaledX(X, plan.unit))
    if plan.kept is not None:
        steps.append(VaryingX(steps[-1].X if steps else X, plan.kept))
    if plan.centre:
        options = fit_intercept, l2_reg, plan.rotate
        steps.append(CentredX(steps[-1].X if steps else X, weight, *options))
    return steps


class ScaledX:
    """Divides X by a unit.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        float32 or float64.
    unit : float
        A power of 2, so that the division is exact.

    Attributes
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    """

    def __init__(self, X, unit):
        self.unit = unit
        if sparse.issparse(X):
            self.X = X.copy()
            self.X.data /= X.dtype.type(unit)
        else:
            self.X = X / X.dtype.type(unit)

    def apply(self, coef, intercept):
        """Return (coef, intercept) for ``X`` from those for the original features."""
        return coef * self.unit, intercept

    def undo(self, coef, intercept):
        """Return (coef, intercept) for the original features from those for ``X``."""
        with np.errstate(over="ignore", under="ignore"):
            return coef / self.unit, intercept

    def undo_moments(self, moments):
        """Return the moments of the original features from those of ``X``; they may overflow."""
        with np.errstate(over="ignore", under="ignore"):
            variance = moments.variance * self.unit * self.unit
            return replace(moments, mean=moments.mean * self.unit, variance=variance)


class VaryingX:
    """Drops constant features of X.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    kept : ndarray of int
        The features to keep, as ``statistics.varying_features`` returns them.

    Attributes
    ----------
    X : ndarray or CSR of shape (n_samples, n_kept)
    """

    def __init__(self, X, kept):
        self.kept, self._constant = kept, np.zeros(X.shape[1])
        if sparse.issparse(X):
            at = np.zeros(X.shape[1], dtype=X.indices.dtype)
            at[kept] = np.arange(len(kept))
            parts = X.data, at[X.indices], X.indptr  # shares the values, which indexing would copy
            self.X = sparse.csr_array(parts, shape=(X.shape[0], len(kept)))
        else:
            self._constant[:] = X[0]
            self._constant[kept] = 0.0
            self.X = np.take(X, kept, axis=1)

    def apply(self, coef, intercept):
        """Return (coef, intercept) for ``X`` from those for the original features."""
        return np.ascontiguousarray(coef[:, self.kept]), intercept + coef @ self._constant

    def undo(self, coef, intercept):
        """Return (coef, intercept) for the original features from those for ``X``."""
        of_all = np.zeros((len(self._constant), len(coef)))  # the order of solvers' vectors
        of_all[self.kept] = coef.T
        return of_all.T, intercept

    def undo_moments(self, moments):
        """Return the moments of the original features from those of ``X``."""
        mean, variance = self._constant.copy(), np.zeros(len(self._constant))
        mean[self.kept], variance[self.kept] = moments.mean, moments.variance
        return replace(moments, mean=mean, variance=variance)


class CentredX:
    """Copies X to float64 and centres it.

    A wide X is also rotated into its row space, and nearly dependent features are replaced if there
    is next to no penalty.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
        Weights of the rows, for the mean.
    fit_intercept : bool
        Without an intercept, X is not centred: the mean is taken as 0.
    l2_reg : float, default=inf
        Strength of the penalty.
    rotate : bool, default=True
        Whether features may be replaced.

    Attributes
    ----------
    X : ndarray of shape (n_samples, n), float64
        n is n_features, or less if features or rows are linearly dependent.
    is_centred : bool
        Whether its weighted mean is 0 up to rounding errors.
    """

    def __init__(self, X, weight, fit_intercept, l2_reg=np.inf, rotate=True):
        self.is_centred, self._l2_reg = fit_intercept, l2_reg
        self._weak = 0.0  # strength of the penalty up to which features may be replaced
        X = np.array(X.toarray() if sparse.issparse(X) else X, dtype=np.float64, order="C")
        self.mean = np.zeros(X.shape[1])
        if fit_intercept:
            with np.errstate(over="ignore", invalid="ignore"):
                self.mean = weight @ X / weight.sum()
            if not np.isfinite(self.mean).all():
                self.mean[:] = 0.0  # `moments_of` will raise an error about the squares of X
                self.is_centred = False
            X -= self.mean
            # subtract the mean of the result too, which is the rounding error of the first mean
            rest = weight @ X / weight.sum()
            self.mean += rest
            X -= rest
            clear_constants(X, self.mean)
        self.rotation = self._moments = None
        wide = rotate and X.shape[1] > X.shape[0]
        self.replacement = None
        if rotate and not wide:
            self.replacement = self._replacement(X)
        if wide or self.replacement is not None:  # what the features were does not show any more
            self._moments = moments_of(X, weight)
            X = self._rotate(X) if wide else X @ self.replacement[0]
        self.X = X

    def serves(self, l2_reg):
        """Whether X would be the same with a penalty of this strength."""
        before = self._l2_reg
        if self._weak == 0.0:  # no features are replaced, whatever the penalty
            return True
        return (l2_reg <= self._weak, l2_reg > 0) == (before <= self._weak, before > 0)

    def _replacement(self, X):
        """Return (M, inverse), with X M to be fitted instead of X, if features nearly depend.

        Without a penalty, M is the identity, except that nearly dependent features are replaced,
        and that features which are linear combinations of others at floating-point precision are
        left out. With a penalty, the columns of M are the right singular vectors of X, which
        preserve the norms of coefficients.

        Returns
        -------
        (ndarray of shape (n_features, n), ndarray of shape (n, n_features)) or None
            None if no features are nearly dependent, or if the penalty is strong enough.
            Coefficients ``coef`` of X correspond to ``coef @ inverse.T`` of X M.
        """
        n_samples, n_features = X.shape
        if n_features < 2 or n_samples * n_features**2 > numerics.MOST_REPLACED:
            return None
        square, l2_reg = float(np.vdot(X, X)), self._l2_reg
        if np.isfinite(square):
            self._weak = numerics.NEXT_TO_NONE * square / n_samples
        if not l2_reg <= self._weak or not np.isfinite(square):
            return None
        size = np.linalg.norm(X, axis=0)
        size[size == 0] = 1.0
        R, order = linalg.qr(X / size, mode="r", pivoting=True, check_finite=False)
        left = np.abs(R.diagonal())
        n_others = int(np.count_nonzero(left >= numerics.NEARLY_DEPENDENT))  # they come first
        others, rest = order[:n_others], order[n_others:]
        is_left = left[n_others:] > _rounding_of(X)
        if not n_others or not (is_left.any() if l2_reg > 0 else len(rest)):
            return None
        if l2_reg > 0:
            if size.max() > numerics.MOST_SPAN * size.min():
                return None
            axes = np.linalg.svd(X, full_matrices=False)[2]
            return axes.T, axes
        of_others = linalg.solve_triangular(R[:n_others, :n_others], R[:n_others, n_others:])
        of_others *= size[rest] / size[others][:, np.newaxis]
        M, inverse = np.eye(n_features), np.eye(n_features)
        M[np.ix_(others, rest)] = -of_others
        inverse[np.ix_(others, rest)] = of_others
        kept = np.sort(np.concatenate([others, rest[is_left]]))
        return M[:, kept], inverse[kept]

    def _rotate(self, X):
        """Return R^T of X^T = Q R, which replaces X, without directions of rounding errors alone.

        If the features are sorted by decreasing size, Householder QR with pivoting is accurate for
        each feature relative to its own size (Cox and Higham, BIT 38, 1998).
        """
        n_samples, n_features = X.shape
        pivoting = n_samples**2 * n_features <= numerics.PIVOTED_ROTATION
        self.order = np.argsort(-np.abs(X).max(axis=0), kind="stable") if pivoting else slice(None)
        X = X[:, self.order]
        raw = linalg.qr(X.T, mode="raw", pivoting=pivoting, overwrite_a=True, check_finite=False)
        self.rotation = raw[0]
        R = np.triu(raw[1][:n_samples])
        # Centred rows are linearly dependent, and rows may be repeated: directions with nothing but
        # rounding errors are dropped. Without a penalty, nothing else would keep their coefficients
        # from growing without bound.
        size = np.abs(R).max(axis=1)
        kept = np.flatnonzero(size > _rounding_of(X) * size.max(initial=0.0))
        self.kept = kept if len(kept) else np.arange(1)
        result = np.empty((n_samples, len(self.kept)))
        result[raw[2] if pivoting else slice(None)] = R[self.kept].T
        return result

    def apply(self, coef, intercept):
        """Return (coef, intercept) for ``X`` from those for the original features."""
        intercept = intercept + coef @ self.mean
        if self.rotation is not None:
            coef = self._times_q(coef[:, self.order].T, "T")[self.kept].T
        elif self.replacement is not None:
            coef = coef @ self.replacement[1].T
        return coef, intercept

    def undo(self, coef, intercept):
        """Return (coef, intercept) for the original features from those for ``X``."""
        if self.rotation is not None:
            padded = np.zeros((len(self.mean), len(coef)))
            padded[self.kept] = coef.T
            coef = np.empty(padded.shape[::-1])
            coef[:, self.order] = self._times_q(padded, "N").T
        elif self.replacement is not None:
            coef = coef @ self.replacement[0].T
        return coef, intercept - coef @ self.mean

    def undo_moments(self, moments):
        """Return the moments of the original features from those of ``X``."""
        about_mean = self._moments or moments
        return replace(moments, mean=about_mean.mean + self.mean, variance=about_mean.variance)

    def _times_q(self, matrix, transposed):
        """Return Q matrix, or Q^T matrix if ``transposed`` is "T" instead of "N"."""
        reflectors, tau = self.rotation
        multiply = linalg.lapack.dormqr
        matrix = np.asfortranarray(matrix)
        size = multiply("L", transposed, reflectors, tau, matrix, -1)[1][0]
        return multiply("L", transposed, reflectors, tau, matrix, int(size))[0]


def _rounding_of(X):
    """Return the size of rounding errors along a direction of X relative to the largest size."""
    return 4 * np.sqrt(max(X.shape)) * numerics.EPS[np.dtype(np.float64)]
