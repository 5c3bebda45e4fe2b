"""L-BFGS with a preconditioner as its initial matrix.

Plain L-BFGS starts its two-loop recursion from a multiple of the identity. Here it starts from the
objective's own approximate inverse Hessian H0, scaled by s.y / y.H0 y, which makes the method
independent of the units of the features. See Nocedal and Wright, Numerical Optimization (2006),
algorithm 7.4.
"""

import functools

import numpy as np
from scipy.linalg.lapack import dtrtrs as solve_upper  # no checks: a tenth of the time

from .._plan.settings import LBFGS
from .._utils._sweeps import difference
from .._utils.threads import FLOAT32_BLOCK, ParallelLoop
from .descent import REQUIRED, descend


class History:
    """The L-BFGS history, and the directions that follow from it.

    The history holds the last differences s of points and y of gradients, one per row of a matrix.
    The two loops of the recursion are equivalent to two triangular systems with the matrix R, where
    R_ij = s_i . y_j if s_i is not newer than y_j. Solving them, with products of whole matrices,
    takes a fraction of the time of the loops. Products with the history read all of its memory, so
    long vectors are processed in blocks by several threads. The blocks do not depend on the number
    of threads, and neither do the bits of the sums.

    Parameters
    ----------
    objective : object
        See ``contract.py``.
    settings : settings.LBFGS, default=LBFGS()

    Attributes
    ----------
    length : int
        Largest number of differences in the history.
    n_added : int
        Number of differences added since the history was empty.
    s, y : ndarray of shape (length, size), float32 or float64
        The differences, in a ring: the newest one overwrites the oldest one.
    products : ndarray of shape (length, length)
        s_i . y_j at [i, j], if s_i is not newer than y_j.
    scale : float or None
        Factor of the preconditioner in the initial matrix; None before the first difference.
    """

    name = "lbfgs"
    requires = REQUIRED
    defaults = LBFGS()
    exact = lean = False

    def __init__(self, objective, settings=LBFGS()):
        size = objective.size
        self.objective, self.settings = objective, settings
        large = size >= settings.large
        dtype = np.float32 if large else np.float64
        self.length = settings.large_history if large else settings.history_size
        # the system provides the memory when it is first written to
        self.s, self.y = np.empty((2, self.length, size), dtype=dtype)
        self.products = np.zeros((self.length, self.length))
        self.n_threads = getattr(objective, "n_threads", 1)
        self.loop = ParallelLoop(size, FLOAT32_BLOCK if large else max(size, 1), self.n_threads)
        self.clear()

    def dump(self):
        """Return the history and the scale, as a tree."""
        n = min(self.n_added, self.length)
        kept = {"s": self.s[:n], "y": self.y[:n], "products": self.products}
        return {**kept, "n_added": self.n_added, "scale": self.scale}

    def load(self, tree):
        """Restore what ``dump`` returned."""
        self.products, self.n_added, self.scale = tree["products"], tree["n_added"], tree["scale"]
        self.length = len(self.products)
        for name in ("s", "y"):
            kept = tree[name]
            room = np.empty((self.length, kept.shape[1]), kept.dtype)
            room[: len(kept)] = kept
            setattr(self, name, room)

    def add(self, x, x_new, gradient, gradient_new):
        """Add the differences of a step to the history."""
        at = self.n_added % self.length
        difference(x_new, x, self.s[at], self.n_threads)
        difference(gradient_new, gradient, self.y[at], self.n_threads)
        self.n_added += 1
        n = min(self.n_added, self.length)
        self.products[:n, at] = self._times(self.s[:n], self.y[at])
        if not self.products[at, at] > 0:  # the line search ensures s.y > 0 up to rounding errors
            self.clear()

    def clear(self):
        """Empty the history."""
        self.n_added, self.scale = 0, None

    def learnt(self):
        """Return the differences (s, y), with the penalty's share taken off y."""
        order = self._order()
        s, y = self.s[order], self.y[order]
        y -= self.objective.penalty_product(s)
        return s, y

    def begin_with(self, learnt):
        """Fill the history with what ``learnt`` returned for another penalty.

        Differences of gradients follow the penalty up to rounding errors. Differences that have no
        curvature left, because of these, are left out.
        """
        s, y = (rows[-self.length :].astype(self.s.dtype, copy=False) for rows in learnt)
        y = y + self.objective.penalty_product(s)
        curved = np.einsum("ij,ij->i", s, y) > 0
        n = int(np.count_nonzero(curved))
        self.s[:n], self.y[:n], self.n_added = s[curved], y[curved], n
        for at in range(n):
            self.products[: at + 1, at] = self._times(self.s[: at + 1], self.y[at])

    def lengthen(self):
        """Extend the history to the length for slow descents, if that is larger."""
        size = self.s.shape[1]
        length = min(self.settings.long_history, self.settings.long_numbers // max(1, size))
        if length <= self.length:
            return
        order = self._order()
        for name in ("s", "y"):
            longer = np.empty((length, size), dtype=self.s.dtype)
            longer[: len(order)] = getattr(self, name)[order]
            setattr(self, name, longer)
        products = np.zeros((length, length))
        products[: len(order), : len(order)] = self.products[order][:, order]
        self.products, self.length, self.n_added = products, length, len(order)

    def _order(self):
        """Return the positions of the differences in s and y, from the oldest to the newest."""
        n = min(self.n_added, self.length)
        return np.arange(self.n_added - n, self.n_added) % self.length

    def metric(self, point, vector):
        """Return the L-BFGS matrix H times a vector."""
        return -self.direction(point, vector)

    def direction(self, point, gradient):
        """Return -H gradient, with H the L-BFGS matrix and scale * preconditioner as H0."""
        precondition, order = self.objective.precondition, self._order()
        n = len(order)
        anew = self.scale is None or self.n_added % self.settings.rescale == 1
        if anew and "follow_curvature" in getattr(self.objective, "OFFERS", ()):
            self.objective.follow_curvature(point)
        if n == 0:
            direction = precondition(gradient)
            return np.negative(direction, out=direction)
        R = self.products[order][:, order]  # only its upper triangle is valid
        curvature = R.diagonal()
        s, y, newest = self.s[:n], self.y[:n], order[-1]

        alpha = solve_upper(R, self._times(s, gradient)[order])[0]
        by_place = np.empty(n)
        by_place[order] = alpha
        if anew:
            change = y[newest].astype(np.float64)
            self.scale = curvature[-1] / (change @ precondition(change))
            del change
        r = precondition(self._minus(gradient, 1.0, by_place, y))
        right = curvature * alpha - self.scale * self._times(y, r)[order]
        by_place[order] = solve_upper(R, right, trans=1)[0]
        return self._minus(r, -self.scale, by_place, s, out=r)

    def _times(self, rows, vector):
        """Return rows @ vector, in float64."""
        if len(self.loop.blocks) <= 1:
            return rows @ vector

        def times(part):
            return rows[:, part] @ vector[part].astype(rows.dtype, copy=False)

        return self.loop.sum(times, start=np.zeros(len(rows)))

    def _minus(self, vector, factor, weights, rows, out=None):
        """Return factor * vector - weights @ rows, in float64."""
        result = np.empty_like(vector) if out is None else out
        if len(self.loop.blocks) <= 1:
            np.multiply(vector, factor, out=result)
            result -= weights @ rows
            return result
        weights = weights.astype(rows.dtype)

        def minus(part):
            scaled = np.multiply(vector[part], factor, out=result[part])
            scaled -= weights @ rows[:, part]

        self.loop.each(minus)
        return result


lbfgs = functools.partial(descend, History)
