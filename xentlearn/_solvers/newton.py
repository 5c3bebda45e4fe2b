"""Newton's method: with the whole Hessian, or with its products alone.

``newton_cholesky`` factorises the Hessian at every point: a few iterations to the last digit, where
n_features * n_outputs is at most some thousands. ``newton_cg`` solves for the step by conjugate
gradients, each a pass over X, in the metric of the objective's preconditioner, and only as exactly
as pays: until another product adds little to the decrease that the quadratic model promises (Nash
and Sofer, Operations Research Letters 9, 1990).
"""

import numpy as np

from .._plan import settings as defaults
from .descent import Descent, carry_out, require

REQUIRES = ("size", "value_scale", "rounding", "value_gradient", "precondition")


def newton_cholesky(
    objective,
    start,
    *,
    tol,
    max_iter,
    polish=False,
    callback=None,
    state=None,
    settings=defaults.NewtonCholesky(),
):
    """Minimise an objective; parameters and result as in ``lbfgs``."""
    require(objective, "newton-cholesky", (*REQUIRES, "hessian_at"))
    rule = WholeHessian(objective, settings)
    descent = Descent(objective, rule, start, polish)
    return carry_out(descent, state, tol, max_iter, callback)


def newton_cg(
    objective,
    start,
    *,
    tol,
    max_iter,
    polish=False,
    callback=None,
    state=None,
    settings=defaults.NewtonCG(),
):
    """Minimise an objective; parameters and result as in ``lbfgs``."""
    require(objective, "newton-cg", (*REQUIRES, "hessian_product"))
    rule = ConjugateGradients(objective, settings)
    descent = Descent(objective, rule, start, polish)
    return carry_out(descent, state, tol, max_iter, callback)


class _Forgetful:
    """A rule that learns nothing from steps."""

    n_added = 0

    def add(self, x, x_new, gradient, gradient_new):
        """Nothing to learn."""

    def lengthen(self):
        """Nothing to remember."""

    def clear(self):
        """Nothing to forget."""

    def dump(self):
        """Nothing to keep."""
        return {}

    def load(self, tree):
        """Nothing to put back."""


class WholeHessian(_Forgetful):
    """The rule of ``newton_cholesky``."""

    def __init__(self, objective, settings=defaults.NewtonCholesky()):
        self.objective, self.settings = objective, settings
        self.exact = getattr(objective, "exact_hessian", True)
        self.clear()

    def clear(self):
        """Make the next Hessian in any case."""
        self.decrement = 0.0

    def dump(self):
        """The decrement of the last Hessian's step, as a tree."""
        return {"decrement": self.decrement}

    def load(self, tree):
        """Put a ``dump`` back."""
        self.decrement = tree["decrement"]

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

    exact = False

    def __init__(self, objective, settings=defaults.NewtonCG()):
        self.objective, self.settings = objective, settings

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
        for n in range(1, settings.most_products + 1):
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
