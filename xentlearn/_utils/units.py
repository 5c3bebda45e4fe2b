"""Units of X and of the weights in which squares, sums and products neither underflow nor overflow.

X of 1e-300, or weights of 1e300, define the same problem as moderate ones, with coefficients in
other units and another strength of the penalty.
"""

import math
from dataclasses import replace

import numpy as np
from scipy import sparse

from .numerics import LEAST_SIZE, LEAST_WEIGHT, MOST_SIZE, MOST_WEIGHT, STRENGTHS


def weight_exponent(weight):
    """The power of 2 that weights are divided by: 0 where the largest weight is in usual range.

    Parameters
    ----------
    weight : ndarray or None
        Weights >= 0.

    Returns
    -------
    int
    """
    most = 0.0 if weight is None else weight.max(initial=0.0)
    if most == 0 or LEAST_WEIGHT <= most <= MOST_WEIGHT:
        return 0
    return int(np.frexp(most)[1])


def in_unit(weight):
    """Weights whose sums and products are in range, and the power of 2 they are divided by.

    Weighted means do not change, since division by a power of 2 is exact.

    Parameters
    ----------
    weight : ndarray or None
        Weights >= 0.

    Returns
    -------
    weight : ndarray or None
        The same object where the largest weight is in usual range.
    exponent : int
        The weights have been divided by 2 ** ``exponent``.
    """
    exponent = weight_exponent(weight)
    if exponent == 0:
        return weight, 0
    divided = np.ldexp(weight, -exponent)
    lost = (divided == 0) & (weight > 0)  # such a row still counts, since its loss may be inf
    divided[lost] = np.nextafter(0.0, 1.0)
    return divided, exponent


def l2_strength(C, total_weight, exponent=0, unit=1.0):
    """1 / (C S) of the objective, where X and weights are in units of their own.

    Parameters
    ----------
    C : float
        Inverse strength of the penalty; inf means no penalty.
    total_weight : float
        S divided by 2 ** ``exponent``.
    exponent : int, default=0
        The exponent that ``weight_exponent`` returned.
    unit : float, default=1.0
        X has been divided by this number, and coefficients multiplied by it.

    Returns
    -------
    float
        0 without a penalty, otherwise a number within STRENGTHS. Stronger penalties leave only
        coefficients of 0, and weaker ones do not change any objective.
    """
    if C == np.inf:
        return 0.0
    # Products of some factors may be out of range although the result is not, so exponents are
    # added up separately.
    mantissa, power = 1.0, -exponent
    for factor in (C, total_weight, unit, unit):
        part, of_part = math.frexp(factor)
        mantissa, power = mantissa / part, power - of_part
    strength = math.ldexp(mantissa, max(-1000, min(power, 1000)))
    return max(STRENGTHS[0], min(strength, STRENGTHS[1]))


def size_of(X):
    """Largest absolute value of X; 0 if X stores no values."""
    values = X.data if sparse.issparse(X) else X
    if values.size == 0:
        return 0.0
    return max(abs(float(values.max())), abs(float(values.min())))


def unit_of(X):
    """The number to divide X by: 1 for values in usual range, otherwise a power of 2.

    Division by a power of 2 is exact.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        Its values must be finite.

    Returns
    -------
    float
    """
    if X.dtype.itemsize < 4:  # values of float16, uint8 and int8 are always in usual range
        return 1.0
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
