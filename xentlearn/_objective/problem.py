"""What is asked of a fit."""

from dataclasses import dataclass

import numpy as np

from .linear import L2


@dataclass(frozen=True)
class Problem:
    """Data, targets, loss and penalty, and how well the minimum is wanted.

    Attributes
    ----------
    data : MemoryData or ShardedData
        X.
    y : EncodedY
        Of the same rows; it has the loss and the weights.
    outputs : ndarray of int
        The ones that have something to fit.
    constant : ndarray of shape (n_outputs,)
        Intercepts of the others.
    penalty : L2
    fit_intercept : bool
    solver : str
        "auto" or a name.
    settings : object or None
        The user's settings of that solver (``xentlearn.solvers``); None for the defaults.
    tol : float
    max_iter : int
    dtype : dtype
        In which coefficients are stored, if that is enough.
    start : (coef, intercept) or None
        Where to begin, in the units of X.
    early_stopping : bool
        Whether the loss of other rows may end the fit.
    n_iter_no_change : int
        Of stochastic solvers.
    random_state : RandomState instance or None
        Of stochastic solvers.
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
    early_stopping: bool = False
    n_iter_no_change: int = 10
    random_state: object = None
