"""Limits of floating-point arithmetic: rounding errors, and ranges without over- or underflow."""

import numpy as np

EPS = {np.dtype(dtype): float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64)}
# Added to the diagonal of a matrix with a diagonal of 1, times its number of rows, to keep it
# positive definite in spite of rounding errors: duplicated or constant features must not make its
# factorisation fail.
SLACK = {dtype: 8 * eps for dtype, eps in EPS.items()}
# Multiples of it for matrices that may be nearly singular; they include those of float32.
SLACK_MULTIPLES = (1.0, 1e3, 1e6, 1e9)
# A feature is constant if its standard deviation is at most this many rounding errors of its mean.
CONSTANT = 8
# The same limit for float32 numbers in float64 arithmetic, which has no rounding errors of this
# size: a fraction of the difference between neighbouring float32 numbers.
LEAST_DIGIT = 0.02
# Largest ratio of the mean of a feature to its standard deviation at which float32 logits are
# accurate enough. A coefficient that matters changes a logit by a few units per standard deviation,
# so its product with the mean is a few times this number. The rounding error of that in float32 is
# 6e-8 of it, a few thousandths of a unit.
MOST_OFFSET = 1e4
# Largest ratio of the sizes of two features at which squares and curvatures of both are in range.
COMPARABLE = {np.dtype(np.float32): 1e15, np.dtype(np.float64): 1e30}
# Root mean square of a feature, over the root of the strength of the penalty, up to which the
# feature changes no digit of the objective.
NEGLIGIBLE = 1e-9
# Smallest curvature whose inverse can be squared without overflow (with a margin).
LEAST_CURVATURE = 1e-100
# Smallest distance of a feature from its mean whose inverse can be multiplied without overflow.
LEAST_REACH = 1e-200
# Largest second derivative of the loss of a row with respect to a logit.
MOST_CURVATURE = 0.25
# X is left as it is if its largest absolute value is in this range: other units would not help. If
# it is smaller or larger, sums of squares, of which curvatures may be a fraction of 1e-20, could
# under- or overflow.
LEAST_SIZE, MOST_SIZE = 1e-20, 1e20
# Range of the strength of an L2 penalty: squares and quotients of such numbers are finite.
STRENGTHS = 1e-150, 1e150
# There is next to no penalty if its strength is at most this share of the mean of ||x||^2: the
# rounding errors of a Hessian exceed it.
NEXT_TO_NONE = 1e-13
# A feature is nearly dependent if, after a projection onto the other features, less than this share
# of its norm is left. A Hessian shows the square of a larger share accurately.
NEARLY_DEPENDENT = 1e-5
# Largest ratio of the norms of two features at which singular vectors keep all digits of both.
MOST_SPAN = 1e4
# Largest n_samples n_features^2 at which nearly dependent features are searched for: half a second.
MOST_REPLACED = 2e8
# Largest n_samples^2 n_features at which QR has pivoting, and so is accurate for features of any
# scale.
PIVOTED_ROTATION = 3e8
# Relative changes of the objective by storing coefficients that are allowed whatever 'tol' is, as
# they are rounding errors.
STORED_FLOOR = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-10}
# The expected change by rounding is an upper estimate, mostly ten times too large. If it exceeds
# the allowed change by at most a factor of EXPECTED, the change is measured on the rows of the fit,
# and has to be STORED_SAFETY times smaller than allowed, as other rows have other rounding errors.
EXPECTED, STORED_SAFETY = 30.0, 3.0
# Sum of the squares of a logit's terms up to which the logit is accurate to 1e-5 in float32.
SMALL_TERMS = 1e4
# Weights are left as they are if the largest one is in this range; rows in float32 are multiplied
# by them.
LEAST_WEIGHT, MOST_WEIGHT = 1e-10, 1e10
# Range of the ratio of the weights of two outputs or classes, unless one of them is 0.
OUTPUT_WEIGHTS = 1e-15, 1e15
# How far the sum of a row of probabilities may be from 1, by the dtype in which it was given.
SUM_TOLERANCE = {np.dtype(np.float16): 5e-3}
DEFAULT_SUM_TOLERANCE = 1e-4
# 1 - exp(-FORGOTTEN) is 1 in float64, and no larger number is needed for that.
FORGOTTEN = 40.0
# ``decision_function`` returns this value where the logit is infinite, for a label or class that
# is constant in training, since scikit-learn's metrics accept only finite scores. Logits of data
# are far smaller. The sum of its squares over 1e8 rows is finite in float32 too, which calibrators
# and stacked models need.
CERTAIN = 1e15


def weight_exponent(weight):
    """Return the exponent of the power of 2 to divide weights by.

    It is 0 if the largest weight is between LEAST_WEIGHT and MOST_WEIGHT. Weights of 1e300 define
    the same problem as moderate ones, with another strength of the penalty.

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
    """Divide weights by a power of 2 so that their sums and products are in range.

    Weighted means do not change, since division by a power of 2 is exact.

    Parameters
    ----------
    weight : ndarray or None
        Weights >= 0.

    Returns
    -------
    weight : ndarray or None
        The divided weights; the same object if ``exponent`` is 0.
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
