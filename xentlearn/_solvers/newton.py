"""Newton's method: with the whole Hessian, or with its products alone.

``newton_cholesky`` factorises the Hessian at every point: a few iterations to the last digit, where
n_features * n_outputs is at most some thousands. ``newton_cg`` solves for the step by conjugate
gradients, each a pass over X, in the metric of the objective's preconditioner, and only as exactly
as pays: until another product adds little to the decrease that the quadratic model promises (Nash
and Sofer, Operations Research Letters 9, 1990).
"""

import numpy as np

from .contract import require
from .descent import descend

REQUIRES = ("size", "value_scale", "rounding", "value_gradient", "precondition")
HARDLY_CHANGED = 1e-3  # left of the slope by one step: the Hessian there is still good enough
LITTLE = 0.3  # of the mean gain per product so far: there the products end
LEAST_PRODUCTS = 3
MOST_PRODUCTS = 100


def newton_cholesky(objective, start, *, tol, max_iter, polish=False, callback=None, resume=None):
    """Minimise an objective; parameters and result as in ``lbfgs``.

    Raises
    ------
    ValueError
        If the Hessian is too large.
    """
    require(objective, "newton-cholesky", (*REQUIRES, "hessian_at"))
    rule = WholeHessian(objective)
    return descend(objective, rule, start, tol, max_iter, polish, callback, resume)


def newton_cg(objective, start, *, tol, max_iter, polish=False, callback=None, resume=None):
    """Minimise an objective; parameters and result as in ``lbfgs``."""
    require(objective, "newton-cg", (*REQUIRES, "hessian_product"))
    rule = ConjugateGradients(objective)
    return descend(objective, rule, start, tol, max_iter, polish, callback, resume)


class WholeHessian:
    """The rule of ``newton_cholesky``."""

    hard = 15
    patience = 15
    curvature = 0.2  # a Hessian takes as long as some trials: 0.9 needs one or two more of them
    n_added = 0

    def __init__(self, objective):
        self.objective = objective
        self.exact = getattr(objective, "exact_hessian", True)
        self.clear()

    def add(self, x, x_new, gradient, gradient_new):
        """Nothing is learnt from steps."""

    def lengthen(self):
        """There is no memory."""

    def clear(self):
        """Make the next Hessian in any case."""
        self.decrement = 0.0

    def direction(self, point, gradient):
        """-H^-1 gradient; after a step that left little to do, with the Hessian before it."""
        if self.decrement > 0:
            direction = -self.objective.precondition(gradient)
            decrement = -(gradient @ direction)
            if decrement <= HARDLY_CHANGED * self.decrement:
                self.decrement = decrement
                return direction
        self.objective.hessian_at(point)
        direction = -self.objective.precondition(gradient)
        self.decrement = -(gradient @ direction)
        return direction


class ConjugateGradients:
    """The rule of ``newton_cg``."""

    hard = 8
    patience = 4
    curvature = 0.9
    n_added = 0
    exact = False

    def __init__(self, objective):
        self.objective = objective

    def add(self, x, x_new, gradient, gradient_new):
        """Nothing is learnt from steps."""

    def lengthen(self):
        """There is no memory."""

    def clear(self):
        """Nor is there anything to forget."""

    def direction(self, point, gradient):
        """An approximate solution of H direction = -gradient."""
        precondition, product = self.objective.precondition, self.objective.hessian_product
        least_curvature = getattr(self.objective, "least_curvature", lambda direction: 0.0)
        if hasattr(self.objective, "follow_curvature"):
            self.objective.follow_curvature(point)
        residual = -gradient
        preconditioned = precondition(residual)
        conjugate, size = preconditioned.copy(), residual @ preconditioned
        direction, gain = np.zeros_like(gradient), 0.0
        for n in range(1, MOST_PRODUCTS + 1):
            image = product(point, conjugate)
            curvature = conjugate @ image
            # Curvature that is only rounding is none: where features depend on each other, a step
            # by it can be 1e16 times too long. Nor is there any where the function is not convex.
            if not curvature > least_curvature(conjugate):
                break
            step = size / curvature
            direction += step * conjugate
            residual -= step * image
            gain_before, gain = gain, 0.5 * (direction @ (residual - gradient))
            if n >= LEAST_PRODUCTS and n * (gain - gain_before) <= LITTLE * gain:
                break
            preconditioned = precondition(residual)
            size_before, size = size, residual @ preconditioned
            if not size > 0:
                break
            conjugate = preconditioned + (size / size_before) * conjugate
        return direction if direction.any() else precondition(-gradient)
