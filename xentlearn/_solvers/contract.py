"""The contract between an objective and a solver.

A solver is a function
``solver(objective, start, *, tol, max_iter, polish, callback, state, settings) -> Result``
that minimises a smooth function of one flat float64 vector, convex near its minimum. It sees no
data, no loss and no penalty, only these members of the objective (a solver names those it needs in
``REQUIRES``):

size : int
    Length of the vector.
value_scale : float
    What a tolerance is relative to, where the value itself is smaller: for data that can be
    separated without a penalty the minimum is 0.
rounding : float
    Relative rounding error of a value.
value_gradient(vector) -> (float, ndarray)
    Value and gradient.
hessian_product(vector, direction) -> ndarray
    Hessian at ``vector`` times ``direction``.
hessian_at(vector)
    Makes ``precondition`` the inverse Hessian at ``vector``.
precondition(gradient) -> ndarray
    An approximate inverse Hessian, positive definite and linear, times ``gradient``.
dual
    For ``dual_ascent`` alone: ``point(vector)``, the value at a vector with the point of the dual
    that predicts the same; ``sweep(point, lots)``, which changes the point and says what it rose
    by; ``look(point)``, (vector, value, certified bounds of value - minimum).

What else an objective has it declares in ``OFFERS``, a collection of these names:

least_curvature(direction) -> float
    What ``direction . hessian_product(vector, direction)`` must exceed to be more than rounding.
follow_curvature(vector)
    Lets ``precondition`` follow the curvature at ``vector``, as far as a fraction of an evaluation
    allows; asked for every few steps.
precondition_at(vector, thorough) -> bool
    Makes ``precondition`` use the curvature at ``vector``, where it can; asked for by a solver that
    polishes, or that finds the problem hard; to the last digit if ``thorough``. Whether it is the
    whole Hessian.
regularise() -> bool
    Regularises subsequent Hessians, which rounding has spoilt: asked for where nothing decreased
    along a direction. Whether that changes anything.
bound_step(direction) -> ndarray
    A direction kept within where the curvature that the objective knows of is valid.
certified_gap(vector, value, gradient, wanted) -> float
    Upper bound of value - minimum, or inf; asked for where it may be at most ``wanted``.
continuation_strengths(value), continue_at(strength), continuation_penalty(vector) : "continuation"
    Falling strengths of an extra penalty, for a problem that is found hard; put one in force, 0 to
    end it; and what it adds to the value at ``vector``.
dump() -> tree, load(tree) : "dump"
    What has changed since the objective was made, and to put it back (``_utils/archive.py`` says
    what a tree is).

Two plain attributes may be there as well: ``n_threads``, for long vectors (1 if it is not), and
``exact_hessian``, whether the Hessian is the Hessian (True if it is not there), or stands for the
one of a function that need not be convex: a step by it is then no Newton step.
"""

import enum
from dataclasses import dataclass


class StopReason(enum.IntEnum):
    """Why a solver stopped, from the best reason to the worst."""

    CONSTANT = 0
    CERTIFIED = 1
    ESTIMATED = 2
    ROUNDING = 3
    EARLY_STOPPING = 4
    CALLBACK = 5
    SEPARABLE = 6
    MAX_ITER = 7
    LINE_SEARCH = 8
    DIVERGED = 9
    INTERRUPTED = 10


MESSAGES = {
    StopReason.CERTIFIED: "the gap reached 'tol'",
    StopReason.ESTIMATED: "the gap reached 'tol'",
    StopReason.ROUNDING: "no further progress at floating-point precision",
    StopReason.CALLBACK: "stopped by a callback",
    StopReason.MAX_ITER: "reached 'max_iter'",
    StopReason.LINE_SEARCH: "the line search found no decrease",
    StopReason.DIVERGED: "the objective is not finite at the start",
}


@dataclass
class State:
    """What changes during a solve: the solver at work, and what it goes on from.

    Attributes
    ----------
    solver : object or None
        With ``dump()``, a tree; put here by the solver when it begins.
    saved : tree or None
        Of an earlier solve, to go on from in place of the start.
    """

    solver: object = None
    saved: dict | None = None

    def dump(self):
        """The solver's, as a tree."""
        return self.solver.dump()
