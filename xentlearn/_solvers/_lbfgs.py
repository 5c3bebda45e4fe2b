"""L-BFGS with a preconditioner in place of the initial scaling.

Plain L-BFGS starts its two-loop recursion from a multiple of the identity. Here it starts from the
objective's own approximate inverse Hessian H0, scaled by s.y / y.H0 y: the method is then blind to
the units of the features. See Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4.
"""

import numpy as np
from scipy.linalg.lapack import dtrtrs as solve_upper  # without checks, a tenth of the time

from ._base import require
from ._descent import descend

REQUIRES = ("size", "value_scale", "rounding", "value_gradient", "precondition")

RESCALE = 4  # pairs after which the scale of H0 is made anew: it takes a product with H0
MEMORY = 20  # pairs kept; 10 takes a third more evaluations on MNIST, 50 saves a few at most
LARGE = 100_000  # numbers in a vector whose pairs are kept in float32: half the time and memory
CHUNK = 65_536  # of them that are multiplied at a time, so that sums in float32 stay short


def lbfgs(objective, start, *, tol, max_iter, polish=False, callback=None):
    """Minimise an objective; see ``_base.py`` for the contract.

    Parameters
    ----------
    objective : object
        With the members in ``REQUIRES``.
    start : ndarray of shape (size,)
        Where to begin.
    tol : float
        Stop when the estimated relative gap is at most this.
    max_iter : int
        Most iterations.
    polish : bool, default=False
        Whether to go on beyond ``tol`` until rounding leaves nothing to gain, up to
        POLISH_ITERATIONS in all.
    callback : callable or None, default=None
        Called with the ``Result`` so far at the start and after each iteration; what it returns
        says whether to stop.

    Returns
    -------
    Result
    """
    require(objective, "lbfgs", REQUIRES)
    return descend(objective, Pairs(objective), start, tol, max_iter, polish, callback)


class Pairs:
    """The rule of L-BFGS: the last MEMORY differences s of points and y of gradients, in rows.

    The two loops of the recursion are triangular systems in R, R_ij = s_i.y_j for i not younger
    than j: with products of whole matrices they take a fraction of the time.
    """

    hard = 25
    patience = 25
    exact = False

    def __init__(self, objective):
        size = objective.size
        self.objective = objective
        dtype = np.float32 if size >= LARGE else np.float64
        self.s, self.y = np.empty((2, MEMORY, size), dtype=dtype)  # memory is taken when touched
        self.products = np.zeros((MEMORY, MEMORY))
        self.clear()

    def add(self, difference, change):
        """One more pair, unless the function is not convex along it."""
        if not difference @ change > 0:
            return
        at = self.n_added % MEMORY
        self.s[at], self.y[at] = difference, change
        self.n_added += 1
        n = min(self.n_added, MEMORY)
        self.products[:n, at] = _rows_times(self.s[:n], self.y[at])
        if not self.products[at, at] > 0:  # rounding to float32 has the last word
            self.clear()

    def clear(self):
        self.n_added, self.scale = 0, None

    def direction(self, point, gradient):
        """-H gradient, from H0 = scale * preconditioner."""
        precondition, n = self.objective.precondition, min(self.n_added, MEMORY)
        if n == 0:
            return -precondition(gradient)
        order = np.arange(self.n_added - n, self.n_added) % MEMORY
        R = self.products[order][:, order]  # the upper triangle of it
        curvature = R.diagonal()
        s, y, newest = self.s[:n], self.y[:n], order[-1]

        alpha = solve_upper(R, _rows_times(s, gradient)[order])[0]
        weights = np.empty(n)
        weights[order] = alpha
        q = gradient - _combination(weights, y)
        r = precondition(q)
        if self.scale is None or self.n_added % RESCALE == 0:
            change = y[newest].astype(np.float64)
            self.scale = curvature[-1] / (change @ precondition(change))
        r *= self.scale
        right = curvature * alpha - _rows_times(y, r)[order]
        weights[order] = solve_upper(R, right, trans=1)[0]
        r += _combination(weights, s)
        return np.negative(r, out=r)


def _rows_times(rows, vector):
    """rows @ vector, in float64."""
    if rows.dtype == np.float64:
        return rows @ vector
    result = np.zeros(len(rows))
    for begin in range(0, len(vector), CHUNK):
        part = slice(begin, begin + CHUNK)
        result += rows[:, part] @ vector[part].astype(np.float32)
    return result


def _combination(weights, rows):
    """weights @ rows, in float64."""
    return weights.astype(rows.dtype) @ rows
