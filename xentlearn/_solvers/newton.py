"""Newton's method, with the whole Hessian or with Hessian products alone.

``newton_cholesky`` factorises the Hessian at every point. It needs few iterations to reach full
precision, if n_features * n_outputs is at most a few thousand. ``newton_cg`` solves for the step by
conjugate gradients, with the objective's preconditioner and one pass over X per product. It stops
when another product would add little to the decrease that the quadratic model predicts (Nash and
Sofer, Operations Research Letters 9, 1990).
"""

import functools

from .._plan.settings import NewtonCG, NewtonCholesky
from .._utils.state import Stateful
from .conjugate_gradients import newton_direction
from .descent import REQUIRED, descend


class _Forgetful(Stateful):
    """A rule without a history: its directions do not depend on the steps before.

    Parameters
    ----------
    objective : object
        See ``contract.py``.
    settings : settings.NewtonCholesky or settings.NewtonCG
    """

    n_added = 0
    lean = False

    def __init__(self, objective, settings):
        self.objective, self.settings = objective, settings
        self.clear()

    def add(self, x, x_new, gradient, gradient_new):
        """Do nothing, as there is no history to add the step to."""

    def learnt(self):
        """Return None, as there is no history."""

    def begin_with(self, learnt):
        """Do nothing, as there is no history to begin with."""

    def lengthen(self):
        """Do nothing, as there is no history to extend."""

    def metric(self, point, vector):
        """Return the objective's preconditioner times a vector."""
        return self.objective.precondition(vector)

    def clear(self):
        """Do nothing, as there is no history to empty."""


class WholeHessian(_Forgetful):
    """The rule of ``newton_cholesky``: the inverse of the whole Hessian.

    Attributes
    ----------
    decrement : float
        Squared Newton decrement at the last point; 0 if the next direction needs a new Hessian.
    n_added : int
        Number of steps since the Hessian was computed.
    """

    name = "newton-cholesky"
    requires = (*REQUIRED, "hessian_at")
    defaults = NewtonCholesky()
    CHANGES = ("decrement", "n_added")

    @property
    def exact(self):
        """Whether directions are Newton directions."""
        return getattr(self.objective, "exact_hessian", True)

    def add(self, x, x_new, gradient, gradient_new):
        """Count a step."""
        self.n_added += 1

    def clear(self):
        """Compute a new Hessian for the next direction in any case."""
        self.decrement, self.n_added = 0.0, 0

    def direction(self, point, gradient):
        """Return -H^-1 gradient.

        H is the Hessian at the point, or the one before if the squared Newton decrement has become
        so small that a new one would not pay off.
        """
        if self.decrement > 0:
            direction = -self.objective.precondition(gradient)
            decrement = -(gradient @ direction)
            if decrement <= self.settings.hardly_changed * self.decrement:
                self.decrement = decrement
                return direction
        self.objective.hessian_at(point)
        self.n_added = 0
        direction = -self.objective.precondition(gradient)
        self.decrement = -(gradient @ direction)
        return direction


class ConjugateGradients(_Forgetful):
    """The rule of ``newton_cg``: preconditioned conjugate gradients."""

    name = "newton-cg"
    requires = (*REQUIRED, "hessian_product")
    defaults = NewtonCG()
    exact = False

    def direction(self, point, gradient):
        """Return an approximate solution of H direction = -gradient."""
        settings, precondition = self.settings, self.objective.precondition
        if "follow_curvature" in getattr(self.objective, "OFFERS", ()):
            self.objective.follow_curvature(point)

        def enough(n, decrease, last):
            return n >= settings.least_products and n * last <= settings.little * decrease

        direction, *_ = newton_direction(
            self.objective, point, gradient, precondition, enough, settings.max_cg_iter
        )
        return direction if direction.any() else precondition(-gradient)


newton_cholesky = functools.partial(descend, WholeHessian)
newton_cg = functools.partial(descend, ConjugateGradients)
