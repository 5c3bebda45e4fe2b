"""Newton's method: with the whole Hessian, or with its products alone.

``newton_cholesky`` factorises the Hessian at every point: a few iterations to the last digit, where
n_features * n_outputs is at most some thousands. ``newton_cg`` solves for the step by conjugate
gradients, each a pass over X, in the metric of the objective's preconditioner, and only as exactly
as pays: until another product adds little to the decrease that the quadratic model promises (Nash
and Sofer, Operations Research Letters 9, 1990).
"""

import functools

import numpy as np

from .._plan.settings import NewtonCG, NewtonCholesky
from .._utils.state import Stateful
from .descent import REQUIRED, descend


class _Forgetful(Stateful):
    """A rule that learns nothing from steps."""

    n_added = 0

    def __init__(self, objective, settings):
        self.objective, self.settings = objective, settings
        self.clear()

    def add(self, x, x_new, gradient, gradient_new):
        """Nothing to learn."""

    def lengthen(self):
        """Nothing to remember."""

    def clear(self):
        """Nothing to forget."""


class WholeHessian(_Forgetful):
    """The rule of ``newton_cholesky``."""

    name = "newton-cholesky"
    requires = (*REQUIRED, "hessian_at")
    defaults = NewtonCholesky()
    CHANGES = ("decrement",)

    @property
    def exact(self):
        """Whether directions are Newton's."""
        return getattr(self.objective, "exact_hessian", True)

    def clear(self):
        """Make the next Hessian in any case."""
        self.decrement = 0.0

    def direction(self, point, gradient):
        """-H^-1 gradient; after a step that left little to do, with the Hessian before it."""
        if self.decrement > 0:
            direction = -self.objective.precondition(gradient)
            decrement = -(gradient @ direction)
            if decrement <= self.settings.hardly_changed * self.decrement:
                self.decrement = decrement
                return direction
        self.objective.hessian_at(point)
        direction = -self.objective.precondition(gradient)
        self.decrement = -(gradient @ direction)
        return direction


class ConjugateGradients(_Forgetful):
    """The rule of ``newton_cg``."""

    name = "newton-cg"
    requires = (*REQUIRED, "hessian_product")
    defaults = NewtonCG()
    exact = False

    def direction(self, point, gradient):
        """An approximate solution of H direction = -gradient."""
        precondition, product = self.objective.precondition, self.objective.hessian_product
        offers, settings, least = getattr(self.objective, "OFFERS", ()), self.settings, 0.0
        if "follow_curvature" in offers:
            self.objective.follow_curvature(point)
        residual = -gradient
        preconditioned = precondition(residual)
        conjugate, size = preconditioned.copy(), residual @ preconditioned
        direction, gain = np.zeros_like(gradient), 0.0
        for n in range(1, settings.max_cg_iter + 1):
            image = product(point, conjugate)
            curvature = conjugate @ image
            # Curvature that is only rounding is none: where features depend on each other, a step
            # by it can be 1e16 times too long. Nor is there any where the function is not convex.
            if "least_curvature" in offers:
                least = self.objective.least_curvature(conjugate)
            if not curvature > least:
                break
            step = size / curvature
            direction += step * conjugate
            residual -= step * image
            gain_before, gain = gain, 0.5 * (direction @ (residual - gradient))
            if n >= settings.least_products and n * (gain - gain_before) <= settings.little * gain:
                break
            preconditioned = precondition(residual)
            size_before, size = size, residual @ preconditioned
            if not size > 0:
                break
            conjugate = preconditioned + (size / size_before) * conjugate
        return direction if direction.any() else precondition(-gradient)


newton_cholesky = functools.partial(descend, WholeHessian)
newton_cg = functools.partial(descend, ConjugateGradients)
