"""Units of X and of the weights in which squares, sums and products are neither 0 nor infinite.

X of 1e-300, or weights of 1e300, make the same problem as moderate ones, with coefficients in other
units and another strength of the penalty.
"""

import math
from dataclasses import replace

import numpy as np
from scipy import sparse

from .numerics import LEAST_SIZE, LEAST_WEIGHT, MOST_SIZE, MOST_WEIGHT, STRENGTHS


def weight_exponent(weight):
    """The power of 2 that weights are divided by: 0 where the largest is of usual size.

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

    Means are the same, since such quotients are exact.

    Parameters
    ----------
    weight : ndarray or None
        Weights >= 0.

    Returns
    -------
    weight : ndarray or None
        As given where the largest is of usual size.
    exponent : int
        They have been divided by 2 ** ``exponent``.
    """
    exponent = weight_exponent(weight)
    if exponent == 0:
        return weight, 0
    divided = np.ldexp(weight, -exponent)
    lost = (divided == 0) & (weight > 0)  # the row still counts: its loss may be inf
    divided[lost] = np.nextafter(0.0, 1.0)
    return divided, exponent


def l2_strength(C, total_weight, exponent=0, unit=1.0):
    """1 / (C S) of the objective, where X and weights are in units of their own.

    Parameters
    ----------
    C : float
        inf: no penalty.
    total_weight : float
        S, over 2 ** ``exponent``.
    exponent : int, default=0
        As ``weight_exponent`` returns it.
    unit : float, default=1.0
        What X has been divided by; coefficients are multiplied by it.

    Returns
    -------
    float
        0 without a penalty; otherwise within STRENGTHS: what is stronger leaves coefficients of 0,
        what is weaker is no penalty, as far as objectives tell.
    """
    if C == np.inf:
        return 0.0
    # Factors of the result may be out of range where it is not: exponents are added up.
    mantissa, power = 1.0, -exponent
    for factor in (C, total_weight, unit, unit):
        part, of_part = math.frexp(factor)
        mantissa, power = mantissa / part, power - of_part
    strength = math.ldexp(mantissa, max(-1000, min(power, 1000)))
    return max(STRENGTHS[0], min(strength, STRENGTHS[1]))


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
    if X.dtype.itemsize < 4:  # float16, uint8 and int8 hold no others
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
