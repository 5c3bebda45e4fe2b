"""The problem that a fit has to solve, as one immutable object."""

import math
from dataclasses import dataclass

import numpy as np

from .linear import L2


@dataclass(frozen=True)
class Problem:
    """Data, targets with loss and weights, penalty, and the tolerance of the solution.

    Attributes
    ----------
    data : MemoryData or ShardedData
        The feature matrix X.
    y : EncodedY
        The targets of the same rows, with the loss and the weights.
    outputs : ndarray of int
        Indices of the outputs that have to be fitted.
    constant : ndarray of shape (n_outputs,)
        Intercepts of the outputs that are constant in training; only their entries are used.
    penalty : L2
    fit_intercept : bool
    solver : str
        "auto" or the name of a solver.
    settings : object or None
        The user's settings of that solver (``xentlearn.solvers``); None means the defaults.
    tol : float
        Relative optimality gap at which to stop.
    max_iter : int
        Largest number of iterations, or of epochs of a stochastic solver.
    dtype : dtype
        Dtype in which to store the coefficients, unless that loses too many digits.
    start : (coef, intercept) or None
        Coefficients to start from, in the units of X.
    n_iter_before : float
        Iterations that the last fit along C took; 0 if there is none, inf if that is unknown.
    only_predicts : bool
        Whether only predictions are made of the result, as for the score of a fold. A fit that has
        converged then gets no certificate beyond what its solver has found.
    early_stopping : bool
        Whether the loss of rows that are not trained on may end the fit.
    n_iter_no_change : int
        For stochastic solvers: number of epochs without progress after which to stop.
    random_state : RandomState instance or None
        For stochastic solvers: source of the order of the rows.
    """

    data: object
    y: object
    outputs: np.ndarray
    constant: np.ndarray
    penalty: L2
    fit_intercept: bool
    solver: str
    settings: object
    tol: float
    max_iter: int
    dtype: np.dtype
    start: tuple | None = None
    n_iter_before: float = 0
    only_predicts: bool = False
    early_stopping: bool = False
    n_iter_no_change: int = 10
    random_state: object = None

    @property
    def reference_C(self):
        """A power of 2 at which the strength of an L1 penalty is about 1, and not clipped."""
        y = self.y
        exponent = y.weight_exponent + math.frexp(y.total_weight)[1] + math.frexp(self.data.unit)[1]
        return math.ldexp(1.0, max(-1000, min(-exponent, 1000)))
