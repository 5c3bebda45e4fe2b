"""The state of a fit: everything that changes during it, with the tree to resume it from."""

from dataclasses import dataclass, field

import numpy as np

from .._data.targets import checksum
from .._solvers.contract import State
from .._solvers.stopping import Result
from .._utils.archive import AnotherFit


@dataclass
class Solved:
    """The solution of a group of outputs.

    Attributes
    ----------
    result : Result
        Result of the solver, without its vector, of which the state has the coefficients.
    solver : str
    objective, bound : float
        Objective at the stored coefficients, and an upper bound of objective - minimum.
    separable : bool
        Whether there is no penalty and the objective goes to 0.
    lost : float
        Relative change of the objective by storing the coefficients; 0 if it is within 'tol'.
    """

    result: Result
    solver: str
    objective: float
    bound: float
    separable: bool
    lost: float

    def dump(self):
        """Return all attributes as a tree (``_utils/archive.py``)."""
        return {**vars(self), "result": self.result.dump()}

    @classmethod
    def load(cls, tree):
        """Return the object that ``dump`` returned as a tree."""
        return cls(**{**tree, "result": Result.load(tree["result"])})


@dataclass
class FitState:
    """Everything that changes during a fit; resumed from a dump, it continues with the same bits.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
        Coefficients and intercepts, in the dtype in which they are stored.
    solved : list of Solved
        The groups that are finished.
    solver : State
        State of the solver of the present group.
    preconditioner : object or None
        Along C, that of the last fit, which its solver had from the Hessian at a point.
    data : MemoryData, ShardedData or None
        X after presolve, in whose features it is, and what the solver has learnt.
    validation : Validation or None
        Of the validation rows; an ``EarlyStopping`` if they may end the fit.
    saved : tree or None
        A ``dump`` to resume from.
    identity : dict or None
        What must be the same when the fit is resumed; computed when it is first needed.
    """

    coef: np.ndarray | None = None
    intercept: np.ndarray | None = None
    solved: list = field(default_factory=list)
    solver: State = field(default_factory=State)
    preconditioner: object = None
    data: object = None
    validation: object = None
    saved: dict | None = None
    identity: dict | None = None

    def enter(self, data):
        """Begin a fit to X after presolve; forget what was learnt about other features.

        The same X has other features if a penalty so weak that features had to be replaced comes
        after a stronger one.
        """
        if self.data is not data:
            self.data, self.preconditioner, self.solver.learnt = data, None, None

    def keep(self, objective):
        """Keep the preconditioner of a fit that has ended for the next one, if there will be one.

        Large models have given its memory back.
        """
        known = objective.preconditioners
        if self.solver.learns:
            self.preconditioner = None if known is None else known.local

    def dump(self, problem):
        """Return all attributes, and the identity of the fit, as a tree."""
        if self.identity is None:
            self.identity = _identity(problem, self.validation)
        return {
            "of": self.identity,
            "coef": self.coef,
            "intercept": self.intercept,
            "solved": [solved.dump() for solved in self.solved],
            "validation": None if self.validation is None else self.validation.dump(),
            "solver": self.solver.dump(),
        }

    def load(self, problem):
        """Restore the state from ``saved``; raise AnotherFit if it belongs to another problem."""
        tree, self.identity = self.saved, _identity(problem, self.validation)
        try:
            for name, value in self.identity.items():
                if tree["of"][name] != value:
                    raise AnotherFit(
                        f"its {name} is {tree['of'][name]!r}, and that of this fit is {value!r}"
                    )
            self.coef, self.intercept = tree["coef"], tree["intercept"]
            self.solved = [Solved.load(solved) for solved in tree["solved"]]
            if self.validation is not None:
                self.validation.load(tree["validation"])
            self.solver.saved = tree["solver"]
        except (LookupError, TypeError, AttributeError) as error:
            raise AnotherFit("its contents are not those that this fit would write") from error


def _identity(problem, validation):
    """Return what must be the same when a fit is resumed, by the name that a message gives it."""
    y, data, penalty = problem.y, problem.data, problem.penalty
    of_y = y.fingerprint()
    of_rows = None if validation is None else validation.checksum
    return {
        "C": float(penalty.C),
        **_of_features(penalty),
        "fit_intercept": problem.fit_intercept,
        "solver": problem.solver if problem.settings is None else repr(problem.settings),
        "n_iter_no_change": problem.n_iter_no_change,
        "shape of coefficients": (y.n_outputs, data.shape[1]),
        "loss": of_y[0],
        "checksum of y and weights": of_y[1],
        "checksum of X": data.checksum(),
        "early_stopping": problem.early_stopping,
        "checksum of the validation rows": of_rows,
    }


def _of_features(penalty):
    """Return what of a penalty only ``FeaturePenalty`` knows; of L2 what it would say there."""
    found = {"l1_ratio": 0.0, "grouped": False}
    factor = bounds = None
    if penalty.is_composite:
        found = {"l1_ratio": penalty.l1_ratio, "grouped": penalty.grouped}
        if isinstance(penalty.factor, np.ndarray):
            factor = checksum(penalty.factor)
        if isinstance(penalty.lower, np.ndarray):
            bounds = checksum(penalty.lower, penalty.upper)
    return {**found, "checksum of penalty_factor": factor, "checksum of coef_bounds": bounds}
