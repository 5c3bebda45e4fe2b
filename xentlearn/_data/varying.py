"""X without the features that are the same in all of its rows.

Their coefficients are 0 at the minimum (one of them, where nothing is penalised), so all work on
them is for nothing: border pixels of images, words that no text of a training fold has. The work of
blocks of the Hessian goes by the square of the number of features and more.
"""

from dataclasses import replace

import numpy as np
from scipy import sparse

from .statistics import row_blocks

LEAST_SHARE = 0.1  # of the features: fewer are not worth a copy
MOST_NUMBERS = 4_000_000  # of a dense X that is copied: 16 MB in float32
FIRST_ROWS = 100  # that are looked at before all others: most features vary among them


def varying_features(X, fit_intercept):
    """Which features to keep, in order; None where nearly all vary or X is large.

    Without an intercept only features that are 0 in all rows can go.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    fit_intercept : bool

    Returns
    -------
    ndarray of int or None
    """
    n_features = X.shape[1]
    if sparse.issparse(X):
        kept = np.bincount(X.indices, minlength=n_features) > 0
    elif X.size > MOST_NUMBERS or X.size == 0:
        return None
    else:
        value = X[0] if fit_intercept else np.zeros_like(X[0])
        same = np.arange(n_features)
        for rows in (slice(FIRST_ROWS), *row_blocks(X)):
            same = same[(X[rows][:, same] == value[same]).all(axis=0)]
            if len(same) < LEAST_SHARE * n_features:
                return None
        kept = np.ones(n_features, dtype=bool)
        kept[same] = False
    n_kept = np.count_nonzero(kept)
    return np.flatnonzero(kept) if 0 < n_kept <= (1 - LEAST_SHARE) * n_features else None


class VaryingX:
    """The chosen features of X, and coefficients from and to all features.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    kept : ndarray of int
        As ``varying_features`` returns it.

    Attributes
    ----------
    X : ndarray or CSR of shape (n_samples, n_kept)
    """

    def __init__(self, X, kept):
        self.kept = kept
        if sparse.issparse(X):
            at = np.zeros(X.shape[1], dtype=X.indices.dtype)
            at[kept] = np.arange(len(kept))
            self._constant = np.zeros(X.shape[1])
            parts = X.data, at[X.indices], X.indptr
            self.X = sparse.csr_array(parts, shape=(X.shape[0], len(kept)))
        else:
            self._constant = X[0].astype(np.float64)
            self._constant[kept] = 0.0
            self.X = np.take(X, kept, axis=1)

    def to_fit(self, coef, intercept):
        """(coef, intercept) for ``X``, from those for the features of the original."""
        return np.ascontiguousarray(coef[:, self.kept]), intercept + coef @ self._constant

    def from_fit(self, coef, intercept):
        """(coef, intercept) for the features of the original, from those for ``X``."""
        of_all = np.zeros((len(coef), len(self._constant)))
        of_all[:, self.kept] = coef
        return of_all, intercept

    def moments(self, moments):
        """Moments of the features of the original, from those of ``X``."""
        mean, variance = self._constant.copy(), np.zeros(len(self._constant))
        mean[self.kept], variance[self.kept] = moments.mean, moments.variance
        return replace(moments, mean=mean, variance=variance)
