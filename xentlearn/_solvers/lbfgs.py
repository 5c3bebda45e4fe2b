"""L-BFGS with a preconditioner in place of the initial scaling.

Plain L-BFGS starts its two-loop recursion from a multiple of the identity. Here it starts from the
objective's own approximate inverse Hessian H0, scaled by s.y / y.H0 y: the method is then blind to
the units of the features. See Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4.
"""

import numpy as np
from scipy.linalg.lapack import dtrtrs as solve_upper  # without checks, a tenth of the time

from .._utils._sweeps import difference
from .._utils.parallel import Parts
from .contract import require
from .descent import descend

REQUIRES = ("size", "value_scale", "rounding", "value_gradient", "precondition")

# Pairs after which H0 follows the curvature, and its scale is made anew by a product with it.
RESCALE = 4
MEMORY = 20  # pairs kept; 10 takes a third more evaluations on MNIST, 50 saves a few at most
# Of a descent that has been slow: a third fewer iterations of raw MNIST. From the start so many
# cost more than they save: on the 8 x 8 digits old pairs mislead. At most LONG_NUMBERS numbers.
LONG_MEMORY, LONG_NUMBERS = 200, 4_000_000
# Numbers in a vector whose pairs are kept in float32, half the time and memory, and fewer of them:
# 20 save no iteration on sparse text or with 500 classes, and take a third of the time.
LARGE, FEWER = 100_000, 5
CHUNK = 65_536  # of them in a part, so that sums in float32 stay short


def lbfgs(objective, start, *, tol, max_iter, polish=False, callback=None, resume=None):
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
    resume : bytes or None, default=None
        ``Result.snapshot()`` of an earlier call, to go on from in place of ``start``.

    Returns
    -------
    Result
    """
    require(objective, "lbfgs", REQUIRES)
    return descend(objective, Pairs(objective), start, tol, max_iter, polish, callback, resume)


class Pairs:
    """The rule of L-BFGS: the last differences s of points and y of gradients, in rows.

    The two loops of the recursion are triangular systems in R, R_ij = s_i.y_j for i not younger
    than j: with products of whole matrices they take a fraction of the time. Long vectors are
    worked on in parts, by several threads: products with the pairs read all of their memory. The
    parts are the same for any number of threads, and so are the sums.
    """

    hard = 25
    patience = 25
    curvature = 0.9
    exact = False

    def __init__(self, objective):
        size = objective.size
        self.objective = objective
        large = size >= LARGE
        dtype = np.float32 if large else np.float64
        self.memory = FEWER if large else MEMORY
        self.s, self.y = np.empty((2, self.memory, size), dtype=dtype)  # taken when touched
        self.products = np.zeros((self.memory, self.memory))
        self.n_threads = getattr(objective, "n_threads", 1)
        self.parts = Parts(size, CHUNK if large else max(size, 1), self.n_threads)
        self.clear()

    def add(self, x, x_new, gradient, gradient_new):
        """One more pair."""
        at = self.n_added % self.memory
        difference(x_new, x, self.s[at], self.n_threads)
        difference(gradient_new, gradient, self.y[at], self.n_threads)
        self.n_added += 1
        n = min(self.n_added, self.memory)
        self.products[:n, at] = self._times(self.s[:n], self.y[at])
        if not self.products[at, at] > 0:  # by the line search it is, but for rounding
            self.clear()

    def clear(self):
        self.n_added, self.scale = 0, None

    def lengthen(self):
        """Keep more pairs from now on."""
        memory, size = min(LONG_MEMORY, LONG_NUMBERS // max(1, self.s.shape[1])), self.s.shape[1]
        if memory <= self.memory:
            return
        order = self._order()
        for name in ("s", "y"):
            longer = np.empty((memory, size), dtype=self.s.dtype)
            longer[: len(order)] = getattr(self, name)[order]
            setattr(self, name, longer)
        products = np.zeros((memory, memory))
        products[: len(order), : len(order)] = self.products[order][:, order]
        self.products, self.memory, self.n_added = products, memory, len(order)

    def _order(self):
        """Where the pairs are, from the oldest to the newest."""
        n = min(self.n_added, self.memory)
        return np.arange(self.n_added - n, self.n_added) % self.memory

    def direction(self, point, gradient):
        """-H gradient, from H0 = scale * preconditioner."""
        precondition, order = self.objective.precondition, self._order()
        n = len(order)
        anew = self.scale is None or self.n_added % RESCALE == 1
        if anew and hasattr(self.objective, "follow_curvature"):
            self.objective.follow_curvature(point)
        if n == 0:
            direction = precondition(gradient)
            return np.negative(direction, out=direction)
        R = self.products[order][:, order]  # the upper triangle of it
        curvature = R.diagonal()
        s, y, newest = self.s[:n], self.y[:n], order[-1]

        alpha = solve_upper(R, self._times(s, gradient)[order])[0]
        r = precondition(self._minus(gradient, 1.0, _ordered(alpha, order), y))
        if anew:
            change = y[newest].astype(np.float64)
            self.scale = curvature[-1] / (change @ precondition(change))
        right = curvature * alpha - self.scale * self._times(y, r)[order]
        beta = solve_upper(R, right, trans=1)[0]
        return self._minus(r, -self.scale, _ordered(beta, order), s, out=r)

    def _times(self, rows, vector):
        """rows @ vector, in float64."""

        def times(part):
            return rows[:, part] @ vector[part].astype(rows.dtype, copy=False)

        return self.parts.sum(times, start=np.zeros(len(rows)))

    def _minus(self, vector, factor, weights, rows, out=None):
        """factor * vector - weights @ rows, in float64."""
        result = np.empty_like(vector) if out is None else out
        weights = weights.astype(rows.dtype)

        def minus(part):
            scaled = np.multiply(vector[part], factor, out=result[part])
            scaled -= weights @ rows[:, part]

        self.parts.each(minus)
        return result


def _ordered(values, order):
    """Values of the pairs from the oldest to the newest, by where the pairs are."""
    result = np.empty(len(values))
    result[order] = values
    return result
