"""Units of X and of the weights in which squares, sums and products neither underflow nor overflow.

X of 1e-300, or weights of 1e300, define the same problem as moderate ones, with coefficients in
other units and another strength of the penalty.
"""

import numpy as np

from .numerics import LEAST_WEIGHT, MOST_WEIGHT


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
