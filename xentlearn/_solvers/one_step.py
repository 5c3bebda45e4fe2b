"""L-BFGS with a history of one step, in little memory, for vectors that are larger than X.

With 100,000 classes and 20 features a vector takes 17 MB, twice as much as X with as many rows. A
line search keeps two points and the gradient at the second one; the direction and the gradient at
the first one, of which only the next difference of gradients is made, are in float32.
"""

import functools

import numpy as np

from .._plan.settings import LBFGS
from .._utils._sweeps import difference
from .._utils.state import Stateful
from .._utils.threads import FLOAT32_BLOCK, ParallelLoop
from .descent import REQUIRED, descend


class OneStep(Stateful):
    """The rule of L-BFGS with a history of one step (see ``lbfgs.History`` for longer ones).

    Two vectors in float32 are all that it keeps. Between a step and the next direction they are the
    differences s of points and y of gradients, and then that direction and the gradient at its
    point. Another direction from there, as after a new preconditioner, is that of the
    preconditioner alone.

    Parameters
    ----------
    objective : object
        See ``contract.py``; its ``precondition`` has the optional parameter ``overwrite``.
    settings : settings.LBFGS

    Attributes
    ----------
    first, second : ndarray of shape (size,), float32
        The two vectors.
    curvature : float
        s . y if they are differences; otherwise 0.
    n_added : int
        Number of steps since the history was cleared.
    scale : float or None
        Factor of the preconditioner in the initial matrix; None before the first step.
    """

    name = "lbfgs"
    requires = REQUIRED
    defaults = LBFGS()
    exact = False
    lean = True
    CHANGES = ("n_added", "scale")  # a dump is made when there is a direction

    def __init__(self, objective, settings):
        self.objective, self.settings = objective, settings
        self.n_threads = getattr(objective, "n_threads", 1)
        self.first, self.second = np.empty((2, objective.size), dtype=np.float32)
        self.loop = ParallelLoop(objective.size, FLOAT32_BLOCK, self.n_threads)
        self.clear()

    def learnt(self):
        """Return None: two vectors are little, and half of the memory of a fit."""

    def begin_with(self, learnt):
        """Do nothing, as nothing was learnt."""

    def kept(self, gradient):
        """Return a gradient in float32, for ``add``."""
        self.second[:] = gradient
        return self.second

    def add(self, x, x_new, gradient, gradient_new):
        """Add the differences of a step; ``gradient`` is what ``kept`` returned."""

        def subtract(part):
            self.second[part] = gradient_new[part] - gradient[part]

        difference(x_new, x, self.first, self.n_threads)
        self.loop.each(subtract)
        self.curvature = self._dot(self.first, self.second)
        self.n_added += 1
        if not self.curvature > 0:  # the line search ensures s.y > 0 up to rounding errors
            self.clear()

    def clear(self):
        """Empty the history."""
        self.curvature, self.n_added, self.scale = 0.0, 0, None

    def lengthen(self):
        """Do nothing: there is no memory for more steps."""

    def direction(self, point, gradient):
        """Return -H gradient in float32, with H the L-BFGS matrix and scale * preconditioner as H0.

        The history is empty afterwards.
        """
        precondition = functools.partial(self.objective.precondition, overwrite=True)
        curvature, s, y = self.curvature, self.first, self.second
        anew = self.scale is None or self.n_added % self.settings.rescale == 1
        if anew and "follow_curvature" in getattr(self.objective, "OFFERS", ()):
            self.objective.follow_curvature(point)
        if curvature == 0:
            r = self.objective.precondition(gradient)
            return np.negative(r, out=self.first, casting="same_kind")
        if anew:
            r = precondition(y.astype(np.float64))
            self.scale = curvature / self._dot(y, r)
            del r  # its memory is used again
        alpha = self._dot(s, gradient) / curvature
        r = np.empty_like(gradient)

        def remove_y(part):
            np.subtract(gradient[part], alpha * y[part], out=r[part])

        def add_s(part):
            s[part] = -self.scale * r[part] - beta * s[part]

        self.loop.each(remove_y)
        r = precondition(r)
        beta = alpha - self.scale * self._dot(y, r) / curvature
        self.loop.each(add_s)
        self.curvature = 0.0
        return self.first

    def _dot(self, difference, vector):
        """Return the inner product of a vector in float32 and one in either dtype, in float64."""
        return float(self.loop.sum(lambda part: difference[part].astype(float) @ vector[part]))


lbfgs_of_one_step = functools.partial(descend, OneStep)
