"""What floating point allows: roundings, and ranges in which nothing overflows or is lost."""

import numpy as np

EPS = {np.dtype(dtype): float(np.finfo(dtype).eps) for dtype in (np.float32, np.float64)}
# What keeps a matrix with a diagonal of 1 positive definite in spite of rounding, for each of its
# rows: duplicated or constant features must not break its factorisation.
SLACK = {dtype: 8 * eps for dtype, eps in EPS.items()}
# Roundings of its mean: a feature with no more spread is constant.
CONSTANT = 8
# Of what float32 numbers are apart where they differ at all: the same in float64 arithmetic.
LEAST_DIGIT = 0.02
# Mean of a feature over its spread, up to which float32 logits are good enough. A coefficient that
# matters moves a logit by a few units per spread, so its product with the mean is a few times this,
# of which float32 rounds off 6e-8: a few thousandths of a unit.
MOST_OFFSET = 1e4
# Sizes of features, the largest over the smallest, whose squares and curvatures are all numbers.
COMPARABLE = {np.dtype(np.float32): 1e15, np.dtype(np.float64): 1e30}
# A curvature whose inverse can still be squared.
LEAST_CURVATURE = 1e-100
# Largest second derivative of a row's loss in a logit.
MOST_CURVATURE = 0.25
# Largest absolute values of X that are left as they are: in other units nothing is gained. Smaller
# or larger ones could be lost in sums of squares, of which curvatures are a fraction of 1e-20.
LEAST_SIZE, MOST_SIZE = 1e-20, 1e20
# Strengths of an L2 penalty: squares and quotients of what is between them are finite.
STRENGTHS = 1e-150, 1e150
# Share of the mean of ||x||^2 up to which a penalty is next to none: less than a Hessian can hide.
NEXT_TO_NONE = 1e-13
# Spread of a feature that is left beside others, over its own: its square is seen by a Hessian.
NEARLY_DEPENDENT = 1e-5
# Sizes of features, the largest over the smallest, for which singular vectors keep all digits.
MOST_SPAN = 1e4
# n_samples n_features^2, to look for nearly dependent features: half a second.
MOST_REPLACED = 2e8
# n_samples^2 n_features of a QR with pivoting, which is accurate for features of any scale.
PIVOTED_ROTATION = 3e8
# Relative changes of the objective by storing coefficients that are rounding, whatever 'tol' is.
STORED_FLOOR = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-10}
# The change that rounding is expected to make is an upper estimate, most often ten times too large.
# Where it exceeds what is allowed by no more than a factor of EXPECTED, the change is measured on
# the rows of the fit, and has to be STORED_SAFETY times less than allowed: other rows have errors
# of their own.
EXPECTED, STORED_SAFETY = 30.0, 3.0
# Squares of logits that float32 has to 1e-5.
SMALL_TERMS = 1e4
# Largest weights that are left as they are; rows in float32 are multiplied by them.
LEAST_WEIGHT, MOST_WEIGHT = 1e-10, 1e10
# Weights of an output or a class relative to another, apart from 0.
OUTPUT_WEIGHTS = 1e-15, 1e15
# How far the sum of a row of probabilities may be from 1, by the dtype that it was given in.
SUM_TOLERANCE = {np.dtype(np.float16): 5e-3}
DEFAULT_SUM_TOLERANCE = 1e-4
# ``decision_function`` returns this value where the logit is infinite, for a label or class that
# is constant in training: scikit-learn's metrics accept only finite scores. Logits of data are far
# smaller, and sums of its squares over 1e8 rows are finite in float32 as well, which calibrators
# and stacked models need.
CERTAIN = 1e15


def weight_exponent(weight):
    """The power of 2 that weights are divided by: 0 where the largest weight is in usual range.

    Weights of 1e300 define the same problem as moderate ones, with another strength of the penalty.

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
