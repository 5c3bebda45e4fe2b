"""What floating point allows: roundings, and ranges in which nothing overflows or is lost."""

import numpy as np

# Largest absolute values of X that are left as they are: in other units nothing is gained. Smaller
# or larger ones could be lost in sums of squares, of which curvatures are a fraction of 1e-20.
LEAST_SIZE, MOST_SIZE = 1e-20, 1e20
# Strengths of an L2 penalty: squares and quotients of what is between them are finite.
STRENGTHS = 1e-150, 1e150
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
