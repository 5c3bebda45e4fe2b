"""The contract between an objective and a solver.

A solver is a function
``solver(objective, start, *, tol, max_iter, polish, callback, resume) -> Result``
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
least_curvature(direction) -> float, optional
    What ``direction . hessian_product(vector, direction)`` must exceed to be more than rounding; 0
    if it is not there.
precondition(gradient) -> ndarray
    An approximate inverse Hessian, positive definite and linear, times ``gradient``.
follow_curvature(vector), optional
    Lets ``precondition`` follow the curvature at ``vector``, as far as a fraction of an evaluation
    allows; asked for every few steps.
precondition_at(vector, thorough) -> bool, optional
    Makes ``precondition`` use the curvature at ``vector``, where it can; asked for by a solver that
    polishes, or that finds the problem hard; to the last digit if ``thorough``. Whether it is the
    whole Hessian.
exact_hessian : bool, optional
    Whether it is the Hessian (True if it is not there), or stands for the one of a function that
    need not be convex: a step by it is then no Newton step.
hessian_at(vector)
    Makes ``precondition`` the inverse Hessian at ``vector``; a ValueError if it is too large.
stiffen() -> bool, optional
    Believe less in Hessians to come, which rounding has spoilt: asked for where nothing decreased
    along a direction. Whether that changes anything.
clip(direction) -> ndarray, optional
    A direction kept within where the curvature that the objective knows of is valid.
certified_gap(vector, value, gradient, wanted) -> float, optional
    Upper bound of value - minimum, or inf; asked for where it may be at most ``wanted``.
dual_point(vector), dual_sweep(point, lots), dual_look(point)
    For ``dual_ascent`` alone: the value at a vector with the point of the dual that predicts the
    same; a sweep that changes the point, and what it rose by; and (vector, value, certified bounds
    of value - minimum), see ``LinearObjective``.
n_threads : int, optional
    Threads that the solver may use for long vectors; 1 if it is not there.
state(), restore(state), optional
    What has changed since the objective was made, and to put it back: asked for by a snapshot.
path(value), relax(strength), extra_penalty(vector), optional
    Falling strengths of an extra penalty, for a problem that is found hard; put one in force, 0 to
    end it; and what it adds to the value at ``vector``.
"""

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Result:
    """What every solver returns.

    Attributes
    ----------
    vector : ndarray of shape (size,)
        The best point found.
    objective : float
        Value there.
    gradient_norm : float
        Largest absolute entry of the gradient there.
    gap : float
        The solver's estimate of (objective - minimum) / max(objective, value_scale).
    bound : float
        A certified upper bound of objective - minimum, where the solver knows one; else inf.
    n_iter : int
        Iterations done.
    converged : bool
        Whether ``gap`` reached ``tol``, or rounding left nothing to gain.
    message : str
        Why the solver stopped.
    stopped_by : BaseException or None
        What broke it off: a KeyboardInterrupt, or an error of the objective or the callback once
        there was a point to keep; ``vector`` is then the best point so far.
    history : dict
        Lists "objective", "gap" and "seconds", one entry per iteration, the start included.
    snapshot : callable
        Bytes from which the solver goes on (``resume``) as if it had not stopped; for callbacks
        alone, None afterwards.
    """

    vector: np.ndarray
    objective: float
    gradient_norm: float = np.inf
    gap: float = np.inf
    bound: float = np.inf
    n_iter: int = 0
    converged: bool = False
    message: str = ""
    stopped_by: BaseException | None = None
    history: dict = field(default_factory=lambda: {"objective": [], "gap": [], "seconds": []})
    snapshot: object = None

    def __getstate__(self):
        return {**self.__dict__, "snapshot": None}


def require(objective, solver, names):
    """Raise a TypeError that names what ``objective`` lacks for ``solver``."""
    missing = [name for name in names if not hasattr(objective, name)]
    if missing:
        raise TypeError(
            f"Solver {solver!r} needs an objective with {', '.join(names)}; "
            f"{type(objective).__name__} lacks {', '.join(missing)}."
        )
