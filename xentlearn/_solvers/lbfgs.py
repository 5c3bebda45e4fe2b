"""L-BFGS with a preconditioner in place of the initial scaling.

Plain L-BFGS starts its two-loop recursion from a multiple of the identity. Here it starts from the
objective's own approximate inverse Hessian H0, scaled by s.y / y.H0 y: the method is then blind to
the units of the features. See Nocedal and Wright, Numerical Optimization (2006), algorithm 7.4.
"""

import functools

import numpy as np
from scipy.linalg.lapack import dtrtrs as solve_upper  # without checks, a tenth of the time

from .._plan.settings import LBFGS
from .._utils._sweeps import difference
from .._utils.threads import FLOAT32_BLOCK, ParallelLoop
from .descent import REQUIRED, descend


class History:
    """The rule of L-BFGS: the last differences s of points and y of gradients, in rows.

    The two loops of the recursion are triangular systems in R, R_ij = s_i.y_j for i not younger
    than j: with products of whole matrices they take a fraction of the time. Long vectors are
    worked on in blocks, by several threads: products with the history read all of its memory. The
    blocks are the same for any number of threads, and so are the sums.
    """

    name = "lbfgs"
    requires = REQUIRED
    defaults = LBFGS()
    exact = False

    def __init__(self, objective, settings=LBFGS()):
        size = objective.size
        self.objective, self.settings = objective, settings
        large = size >= settings.large
        dtype = np.float32 if large else np.float64
        self.length = (
            min(settings.history_size, settings.large_history) if large else settings.history_size
        )
        self.s, self.y = np.empty((2, self.length, size), dtype=dtype)  # taken when touched
        self.products = np.zeros((self.length, self.length))
        self.n_threads = getattr(objective, "n_threads", 1)
        self.loop = ParallelLoop(size, FLOAT32_BLOCK if large else max(size, 1), self.n_threads)
        self.clear()

    def dump(self):
        """What is kept, as a tree."""
        n = min(self.n_added, self.length)
        kept = {"s": self.s[:n], "y": self.y[:n], "products": self.products}
        return {**kept, "n_added": self.n_added, "scale": self.scale}

    def load(self, tree):
        """Put a ``dump`` back."""
        self.products, self.n_added, self.scale = tree["products"], tree["n_added"], tree["scale"]
        self.length = len(self.products)
        for name in ("s", "y"):
            kept = tree[name]
            room = np.empty((self.length, kept.shape[1]), kept.dtype)
            room[: len(kept)] = kept
            setattr(self, name, room)

    def add(self, x, x_new, gradient, gradient_new):
        """One more difference of each."""
        at = self.n_added % self.length
        difference(x_new, x, self.s[at], self.n_threads)
        difference(gradient_new, gradient, self.y[at], self.n_threads)
        self.n_added += 1
        n = min(self.n_added, self.length)
        self.products[:n, at] = self._times(self.s[:n], self.y[at])
        if not self.products[at, at] > 0:  # by the line search it is, but for rounding
            self.clear()

    def clear(self):
        """Forget all of it."""
        self.n_added, self.scale = 0, None

    def lengthen(self):
        """Keep more from now on."""
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
        """Where the differences are, from the oldest to the newest."""
        n = min(self.n_added, self.length)
        return np.arange(self.n_added - n, self.n_added) % self.length

    def direction(self, point, gradient):
        """-H gradient, from H0 = scale * preconditioner."""
        precondition, order = self.objective.precondition, self._order()
        n = len(order)
        anew = self.scale is None or self.n_added % self.settings.rescale == 1
        if anew and "follow_curvature" in getattr(self.objective, "OFFERS", ()):
            self.objective.follow_curvature(point)
        if n == 0:
            direction = precondition(gradient)
            return np.negative(direction, out=direction)
        R = self.products[order][:, order]  # the upper triangle of it
        curvature = R.diagonal()
        s, y, newest = self.s[:n], self.y[:n], order[-1]

        alpha = solve_upper(R, self._times(s, gradient)[order])[0]
        by_place = np.empty(n)
        by_place[order] = alpha
        r = precondition(self._minus(gradient, 1.0, by_place, y))
        if anew:
            change = y[newest].astype(np.float64)
            self.scale = curvature[-1] / (change @ precondition(change))
        right = curvature * alpha - self.scale * self._times(y, r)[order]
        by_place[order] = solve_upper(R, right, trans=1)[0]
        return self._minus(r, -self.scale, by_place, s, out=r)

    def _times(self, rows, vector):
        """rows @ vector, in float64."""
        if len(self.loop.blocks) <= 1:
            return rows @ vector

        def times(part):
            return rows[:, part] @ vector[part].astype(rows.dtype, copy=False)

        return self.loop.sum(times, start=np.zeros(len(rows)))

    def _minus(self, vector, factor, weights, rows, out=None):
        """factor * vector - weights @ rows, in float64."""
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
