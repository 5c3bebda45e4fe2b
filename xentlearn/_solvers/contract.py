"""The contract between an objective and a solver.

A solver is a function
``solver(objective, start, *, tol, max_iter, polish, callback, state, settings) -> Result``
that minimises a smooth function of one flat float64 vector, convex near its minimum. It knows
nothing of data, loss or penalty; it uses only the following members of the objective. Each solver
declares which of them it requires.

size : int
    Length of the vector.
value_scale : float
    Gaps are relative to the larger of the value and this: for data that are separable without a
    penalty, the minimum is 0.
rounding : float
    Relative rounding error of a value.
value_gradient(vector) -> (float, ndarray)
    Returns value and gradient.
hessian_product(vector, direction) -> ndarray
    Returns the Hessian at ``vector`` times ``direction``.
hessian_at(vector)
    Makes ``precondition`` use the inverse of the Hessian at ``vector``.
precondition(gradient) -> ndarray
    Returns an approximate inverse Hessian, positive definite and linear, times ``gradient``. For
    ``one_step`` it has a parameter ``overwrite``, whether the result may be in ``gradient``.
dual
    For ``dual_ascent`` alone. ``point(vector)`` returns the value at a vector and a dual point
    close to it; ``sweep(point, lots)`` changes the point and returns the progress by lot, of which
    ``left(progress, rate)`` makes estimates of the gaps; ``expected_value(point, value)`` estimates
    the value there; ``look(point)`` returns (vector, value, certified bounds of value - minimum by
    output); ``aimed_at(settings)`` and ``most_sweeps(settings)`` say when to look and when to give
    up; ``load_point(tree)`` restores the ``dump()`` of a point.

An objective may have further members, which it declares in ``OFFERS``, a collection of names:

least_curvature(direction) -> float
    Returns an upper bound of the rounding error of
    ``direction . hessian_product(vector, direction)``.
follow_curvature(vector)
    Adapts ``precondition`` to the curvature at ``vector`` for a fraction of the cost of an
    evaluation. Solvers call it every few steps.
precondition_at(vector, thorough) -> bool
    Makes ``precondition`` use the Hessian at ``vector``, as far as that is feasible, and in full
    precision if ``thorough``; returns whether that is the whole Hessian. Solvers call it when they
    polish, or when a problem turns out to be hard, or after ``refresh_after`` iterations, if the
    objective has that attribute. An objective that offers it has ``hessian_product`` as well, by
    which descents confirm their estimates.
regularise() -> bool
    Regularises subsequent Hessians; returns whether that changes anything. Solvers call it when
    rounding errors have spoilt a Hessian, so that nothing decreases along a direction.
bound_step(direction) -> ndarray
    Returns a direction clipped to the region in which the objective's model of the curvature holds.
certifiable, certified_gap(vector, value, gradient, wanted), certificate_excess,\
approach_certificate(vector) : "certified_gap"
    The first says whether there are bounds of the gap, without which the others are not used. The
    second returns an upper bound of value - minimum, or inf if it is above ``wanted``; the third
    is about how many times the bound was above it; the last adapts ``precondition`` to the Hessian
    at ``vector`` if that is the shorter way to such a bound, and returns whether it did.
continuation_strengths(value), continue_at(strength), continuation_penalty(vector) : "continuation"
    The first returns decreasing strengths of an extra penalty for a hard problem; the second adds
    the extra penalty of a strength to the objective, and removes it if that is 0; the third returns
    what it adds to the value at ``vector``.
penalty_product(directions) -> ndarray : "penalty_product"
    Returns the Hessian of the penalty times each row of an array. Solvers use it to carry what they
    have learnt about the curvature over to an objective with another penalty.
dump() -> tree, load(tree) : "dump"
    Return what has changed since the objective was made, and restore it (``_utils/archive.py``
    defines trees).

Two attributes are optional: ``n_threads``, for work on long vectors (default 1), and
``exact_hessian`` (default True). The latter is False if Hessians are positive definite
approximations, as for a function that is not convex: a step by them is then not a Newton step.
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
    """The state of a solve: the running solver, or a dump to resume from.

    Attributes
    ----------
    solver : object or None
        The running solver, whose ``dump()`` returns a tree; the solver puts itself here.
    saved : tree or None
        A dump of an earlier solve, to resume from instead of beginning at the start.
    learns : bool
        Whether to keep what the solver has learnt about the curvature of the objective.
    learnt : object or None
        What a solve of the same objective with another penalty has learnt; the solver begins with
        it, and replaces it at the end.
    """

    solver: object = None
    saved: dict | None = None
    learns: bool = False
    learnt: object = None

    def dump(self):
        """Return the state of the running solver, as a tree."""
        return self.solver.dump()
