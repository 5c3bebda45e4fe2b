"""X in units in which its squares, and their products with curvatures, are neither 0 nor infinite."""

from dataclasses import replace

import numpy as np
from scipy import sparse

# Largest values of X that are left as they are: in other units nothing is gained. Far smaller or
# larger ones would be lost in sums of squares, of which curvatures are a fraction of 1e-20 and less.
LEAST_SIZE, MOST_SIZE = 1e-20, 1e20


def size_of(X):
    """Largest absolute value of X; 0 where there is none."""
    values = X.data if sparse.issparse(X) else X
    if values.size == 0:
        return 0.0
    return max(abs(float(values.max())), abs(float(values.min())))


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
    size = size_of(X)
    if size == 0 or LEAST_SIZE <= size <= MOST_SIZE:
        return 1.0
    return float(np.ldexp(1.0, np.frexp(size)[1] - 1))


class XInUnits:
    """X / unit, and coefficients from and to the features of X.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        float32 or float64.
    unit : float
        A power of 2, as ``unit_of`` returns it.

    Attributes
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    """

    def __init__(self, X, unit):
        self.unit = unit
        if sparse.issparse(X):
            self.X = X.copy()
            self.X.data = X.data / X.dtype.type(unit)
        else:
            self.X = X / X.dtype.type(unit)

    def to_fit(self, coef, intercept):
        """(coef, intercept) for ``X``, from those for the features of the original."""
        return coef * self.unit, intercept

    def from_fit(self, coef, intercept):
        """(coef, intercept) for the features of the original, from those for ``X``."""
        with np.errstate(over="ignore", under="ignore"):
            return coef / self.unit, intercept

    def moments(self, moments):
        """Moments of the features of the original, from those of ``X``; squares may overflow."""
        with np.errstate(over="ignore", under="ignore"):
            return replace(
                moments,
                mean=moments.mean * self.unit,
                variance=moments.variance * self.unit * self.unit,
            )
