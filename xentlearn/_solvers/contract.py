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
from dataclasses import dataclass, field

import numpy as np


class StopReason(enum.Enum):
    """Why a solver stopped, from the best reason to the worst."""

    CONSTANT = "constant"
    CERTIFIED = "certified"
    ESTIMATED = "estimated"
    ROUNDING = "rounding"
    EARLY_STOPPING = "early_stopping"
    CALLBACK = "callback"
    SEPARABLE = "separable"
    MAX_ITER = "max_iter"
    LINE_SEARCH = "line_search"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"


MESSAGES = {
    StopReason.CONSTANT: "there was nothing to fit",
    StopReason.CERTIFIED: "the gap reached 'tol'",
    StopReason.ESTIMATED: "the gap reached 'tol'",
    StopReason.ROUNDING: "no further progress at floating-point precision",
    StopReason.EARLY_STOPPING: "the validation loss stopped falling",
    StopReason.CALLBACK: "stopped by a callback",
    StopReason.SEPARABLE: "the classes are separable",
    StopReason.MAX_ITER: "reached 'max_iter'",
    StopReason.LINE_SEARCH: "the line search found no decrease",
    StopReason.DIVERGED: "the objective is not finite at the start",
}


def worst(reasons):
    """The worst of several reasons."""
    return max(reasons, key=list(StopReason).index)


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
        Whether ``gap`` reached ``tol``, or no further progress is possible.
    reason : StopReason or None
        Why the solver stopped; None while it runs.
    message : str
        The same in words.
    stopped_by : BaseException or None
        What interrupted it: a KeyboardInterrupt, or an error of the objective or the callback once
        there was a point to keep; ``vector`` is then the best point so far.
    history : dict
        Lists "objective", "gap" and "seconds", one entry per iteration, the start included.
    """

    vector: np.ndarray
    objective: float
    gradient_norm: float = np.inf
    gap: float = np.inf
    bound: float = np.inf
    n_iter: int = 0
    converged: bool = False
    reason: StopReason | None = None
    message: str = ""
    stopped_by: BaseException | None = None
    history: dict = field(default_factory=lambda: {"objective": [], "gap": [], "seconds": []})

    def stop(self, reason, converged, message=None):
        """Say why it stopped, in the words of MESSAGES unless there is another ``message``."""
        self.reason, self.converged = reason, bool(converged)
        self.message = MESSAGES[reason] if message is None else message

    def record(self, seconds):
        """One more entry of the history."""
        self.history["objective"].append(self.objective)
        self.history["gap"].append(self.gap)
        self.history["seconds"].append(seconds)

    def dump(self):
        """All but how it ended, as a tree."""
        names = ("vector", "objective", "gradient_norm", "gap", "bound", "n_iter")
        history = {name: np.array(values) for name, values in self.history.items()}
        return {"history": history, **{name: getattr(self, name) for name in names}}

    @classmethod
    def load(cls, tree):
        """The result of a ``dump``."""
        history = {name: values.tolist() for name, values in tree["history"].items()}
        return cls(**{**tree, "history": history})


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


def require(objective, solver, names):
    """Raise a TypeError that names what ``objective`` lacks for ``solver``."""
    missing = [name for name in names if not hasattr(objective, name)]
    if missing:
        raise TypeError(
            f"Solver {solver!r} needs an objective with {', '.join(names)}; "
            f"{type(objective).__name__} lacks {', '.join(missing)}."
        )


def carry_out(solver, state, tol, max_iter, callback):
    """The result of ``solver.run(tol, max_iter, callback)``, whatever ends it.

    Parameters
    ----------
    solver : object
        With ``run`` and ``result``, the best point at every moment; ``dump`` and ``load``.
    state : State or None
    tol, max_iter, callback
        As in the solvers.

    Returns
    -------
    Result
    """
    if state is not None:
        if state.saved is not None:
            solver.load(state.saved)
        state.solver, state.saved = solver, None
    result = solver.result
    try:
        solver.run(tol, max_iter, callback)
    except (KeyboardInterrupt, Exception) as error:
        result = solver.result
        if isinstance(error, Exception) and not result.history["objective"]:
            raise  # there is no point to keep
        result.stop(StopReason.INTERRUPTED, False, f"broken off by {type(error).__name__}")
        result.stopped_by = error
    finally:
        if state is not None:
            state.solver = None  # it holds the objective, and with it X
    return solver.result
