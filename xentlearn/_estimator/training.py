"""From encoded targets to coefficients: objectives, solvers, and outputs fitted group by group."""

import math
import pickle
from dataclasses import dataclass, field

import numpy as np

from .._data.statistics import Moments
from .._objective.linear import LinearObjective
from .._solvers import AUTO_SOLVERS, STOCHASTIC_SOLVERS
from .._utils.threads import effective_n_threads, sequential_blas
from .._utils.units import STRENGTHS, l2_strength

# A fit of at most so many is over in milliseconds whatever is asked for: it is polished until
# rounding stops it, so that results do not depend on how a problem is put (a weight of 2, or the
# row twice). With the 8 x 8 digits, 1.2 million, polishing takes three times as long as the fit.
POLISHED_WORK = 300_000
# Multiply-adds up to which a Hessian costs about as much as what Python does around a pass. Then
# newton-cholesky takes 10 iterations in place of the 25 of lbfgs: iris, wine, breast cancer are
# fitted in half the time; the digits, 200 million, take it six times as long.
TINY_HESSIAN = 10_000_000
# Binary outputs do not see each other. Over sparse X, where little is shared but X itself, so many
# coefficients (GROUPED) are fitted in groups of outputs whose vectors have GROUP_NUMBERS numbers
# and stay near the processor: 600 labels of 45,000 features took five times as long at once, and
# 4 GB.
GROUPED = 6_000_000
GROUP_NUMBERS = 1_500_000
GROUPED_ROWS = 20_000_000  # predictions of rows, which dual ascent keeps: 160 MB
GROUP_STEP = 16  # outputs that fill whole vectors
# The change that rounding is expected to make is an upper estimate, most often ten times too
# large. Where it exceeds what is allowed by no more than a factor of EXPECTED, the change is
# measured on the rows of the fit, and has to be SAFETY times less than allowed: other rows have
# errors of their own.
EXPECTED, SAFETY = 30.0, 3.0
SMALL_TERMS = 1e4  # squared: logits of so many units are right to 1e-5 in float32
# Relative changes of the objective by storing coefficients that are rounding, whatever 'tol' is.
STORED_FLOOR = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-10}
EPS = {dtype: float(np.finfo(dtype).eps) for dtype in STORED_FLOOR}


@dataclass
class Training:
    """What a fit has found, and how.

    Attributes
    ----------
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
        In the dtype that they are stored in.
    solver : str
        The one that was used.
    objective, gap : float
        The objective at the stored coefficients, and a certified bound of its relative gap.
    n_iter : int
        Iterations; of groups the most.
    history : dict
        Lists by iteration; of groups as if they had been fitted side by side.
    failed : list of Result
        Of solvers that stopped early.
    separable : bool
        Whether some objective without a penalty goes to 0.
    lost : float
        How much the objective, as predictions compute it from the stored coefficients, differs from
        what the solver reached, relative to it, where that is more than 'tol'; of groups the most.
    moments : Moments or None
        Of the features; None where nothing was fitted.
    stopped_by : BaseException or None
        What broke the fit off; what was found until then is there.
    """

    coef: np.ndarray
    intercept: np.ndarray
    solver: str
    objective: float = 0.0
    gap: float = 0.0
    n_iter: int = 0
    history: dict = field(default_factory=lambda: {"objective": [], "gap": [], "seconds": []})
    failed: list = field(default_factory=list)
    separable: bool = False
    lost: float = 0.0
    moments: Moments | None = None
    stopped_by: BaseException | None = None


def output_groups(shape, outputs, apart, mass):
    """The outputs that are fitted together, in groups.

    Parameters
    ----------
    shape : (int, int)
        Of X.
    outputs : ndarray of int
    apart : bool
        Whether outputs neither see each other nor share much work.
    mass : ndarray of shape (n_outputs, 2)
        Of the 0s and of the 1s: outputs with as many 1s take about as many iterations.

    Returns
    -------
    list of ndarray
    """
    n_rows, n_features = shape
    few = n_features * len(outputs) <= GROUPED and n_rows * len(outputs) <= GROUPED_ROWS
    if not apart or few:
        return [outputs] if len(outputs) else []
    size = min(GROUP_NUMBERS // n_features, GROUPED_ROWS // n_rows)
    size = max(1, size // GROUP_STEP) * GROUP_STEP
    outputs = outputs[np.argsort(mass[outputs, 1], kind="stable")]
    return [outputs[begin : begin + size] for begin in range(0, len(outputs), size)]


@dataclass
class Group:
    """What was found for a group of outputs.

    Attributes
    ----------
    result : Result
    objective, bound : float
        At the stored coefficients, and of the objective less the minimum there.
    separable : bool
        Whether nothing is penalised and the objective goes to 0.
    lost : float
        Relative change of the objective by storing the coefficients; 0 within 'tol'.
    """

    result: object
    objective: float
    bound: float
    separable: bool
    lost: float


def train(data, y, mass, outputs, parameters, dtype, constant, start, callback, stopping, resume):
    """Fit the outputs that have something to fit.

    Parameters
    ----------
    data : MemoryData
        X, or another that gives rows.
    y : EncodedY
        Of the same rows.
    mass : ndarray of shape (n_outputs,) or (n_outputs, 2)
        ``y.mass()``.
    outputs : ndarray of int
    parameters : dict
        "C", "fit_intercept", "solver", "tol", "max_iter", as in ``SoftmaxClassifier``; and
        "stochastic", the options of stochastic solvers (``_solvers/_stochastic.py``).
    dtype : dtype
        In which coefficients are stored.
    constant : ndarray of shape (n_outputs,)
        Intercepts of the outputs that are not fitted.
    start : (coef, intercept) or None
        Where to begin.
    callback : callable
        ``callback(result, found, snapshot)`` at the start and after each iteration, with
        ``found()`` the (coef, intercept) so far and ``snapshot()`` bytes to ``resume``; what it
        returns says whether to stop.
    stopping : EarlyStopping or None
    resume : bytes or None
        A snapshot of a fit to the same data, to go on from.

    Returns
    -------
    Training
    """
    run = _Run(data, y, mass, outputs, parameters, dtype, constant, start, callback, stopping)
    with sequential_blas:
        return run.all_groups(resume)


class _Run:
    """One call of ``train``, whose parameters it has.

    Attributes
    ----------
    training : Training
    groups : list of Group
        Those that are done.
    """

    def __init__(
        self, data, y, mass, outputs, parameters, dtype, constant, start, callback, stopping
    ):
        self.data, self.y, self.mass, self.outputs = data, y, mass, outputs
        self.parameters = parameters
        self.start, self.callback, self.stopping = start, callback, stopping
        coef = np.zeros((y.n_outputs, data.shape[1]), dtype=dtype)
        self.training = Training(coef, constant.astype(dtype), parameters["solver"])
        self.groups = []
        self.offset = y.logit_offset(outputs)
        self.l2_reg = l2_strength(parameters["C"], y.total_weight, y.weight_exponent, data.unit)
        self.work = data.shape[0] * data.shape[1] * y.n_outputs
        # asking how many takes as long as some passes over so little
        self.n_threads = 1 if self.work <= POLISHED_WORK else effective_n_threads()
        self.options = {"tol": parameters["tol"], "max_iter": parameters["max_iter"]}
        self.stochastic = parameters["solver"] in STOCHASTIC_SOLVERS
        if self.stochastic:
            self.convex_y = None  # noise leads away from bad starts as well
            self.options.update(parameters["stochastic"])
        else:
            self.convex_y = y.convex_start()
            self.convex_mass = None if self.convex_y is None else self.convex_y.mass()
            self.options["polish"] = self.work <= POLISHED_WORK and stopping is None

    def all_groups(self, resume):
        """Fit group after group."""
        training, y = self.training, self.y
        if len(self.outputs) and not self.stochastic:
            self.data.prepare(y, self.parameters["fit_intercept"], self.work, self.l2_reg)
        resumed = None if resume is None else self._restore(resume)
        together = y.loss.couples or self.stochastic or self.stopping is not None
        apart = self.data.in_groups and not together
        groups = output_groups(self.data.shape, self.outputs, apart, self.mass)
        for group in groups[len(self.groups) :]:
            objective = self._objective(y, self.mass, group)
            self.moments = self.data.moments(objective.moments, in_units=True)
            self.moments.require_comparable(objective.rows.dtype)
            if training.stopped_by is not None:  # as good a guess as there is
                self._place(group, *self._coefficients(group, objective, objective.start()))
                continue
            training.solver = self._chosen(objective)
            result = self._solve(objective, group, resumed)
            resumed = None
            self._keep(objective, group, result)
        if self.groups:
            _put_together(training, self.groups)
            if self.stopping is not None:
                training.history["validation_loss"] = self.stopping.losses
        else:  # nothing varies, nothing was solved
            training.solver = "lbfgs" if training.solver == "auto" else training.solver
            names = [*training.history, *(["validation_loss"] if self.stopping is not None else [])]
            training.history = {name: [0.0] for name in names}
        return training

    def _objective(self, y, mass, group):
        return LinearObjective(
            self.data.rows(y, group, self.n_threads),
            mass[group],
            y.total_weight,
            self.l2_reg,
            self.parameters["fit_intercept"],
            self.n_threads,
            self.offset,
            y.loss.plain,
            y.loss.certifiable,
        )

    def _chosen(self, objective):
        """The solver that "auto" takes, or the one that was asked for."""
        if self.parameters["solver"] != "auto":
            return self.parameters["solver"]
        if self.stopping is None and not self.options["polish"] and objective.suits_dual:
            return "dual-ascent"
        tiny = objective.exact_hessian and objective.hessian_work() <= TINY_HESSIAN
        return "newton-cholesky" if tiny else "lbfgs"

    def _solve(self, objective, group, resumed):
        """The result of the solver, from where there is reason to begin."""
        solvers = STOCHASTIC_SOLVERS if self.stochastic else AUTO_SOLVERS
        solve, first, convex = solvers[self.training.solver], objective.start(), None
        if resumed is None and self.start is not None:
            coef, intercept = self.start
            known = np.nan_to_num(intercept[group], posinf=0.0, neginf=0.0)
            first = objective.pack(*self.data.to_fit(coef[group], known))
        elif resumed is None and self.convex_y is not None:
            relative = self._objective(self.convex_y, self.convex_mass, group)
            convex = solve(relative, relative.start(), **self.options)
            first = convex.vector
            if convex.stopped_by is not None:
                return convex

        n_done = len(self.groups)

        def watch(result):
            def found():
                self._place(group, *self._coefficients(group, objective, result.vector))
                return self.training.coef.copy(), self.training.intercept.copy()

            stop = False
            if self.stopping is not None:
                coef, intercept = self._coefficients(group, objective, result.vector)
                stop = self.stopping.stop(group, coef, intercept, self.n_threads)
            return self.callback(result, found, lambda: self._snapshot(result, n_done)) or stop

        options = dict(self.options)
        ended = resumed is not None and self.stopping is not None and self.stopping.has_ended
        if ended:
            options["max_iter"] = 0
        try:
            result = solve(objective, first, callback=watch, resume=resumed, **options)
            result.converged |= ended
            return result
        except Exception as error:
            if convex is None:
                raise
            convex.stopped_by = error  # and the minimum of the convex loss is kept
            return convex

    def _coefficients(self, group, objective, vector):
        """(coef, intercept) in the units of X, float64, of a solver's vector."""
        coef, intercept = self.data.from_fit(*objective.look_into(vector))
        if self.y.loss.shift_invariant:
            intercept = intercept - np.add.reduce(intercept) / len(group)
        if self.stochastic:  # the points of their rules, not the minimum
            return coef, intercept if self.parameters["fit_intercept"] else np.zeros(len(group))
        if self.y.loss.shift_invariant:
            # The same change of all logits changes no loss: of all that predict the same these are
            # the least, so no penalty is higher. A solver gets there itself only where the penalty
            # is more than rounding.
            coef = coef - np.add.reduce(coef) / len(group)
        if objective.l2_reg == STRENGTHS[1]:  # or more: what is left is not of this penalty
            coef = np.zeros_like(coef)
        if not self.parameters["fit_intercept"]:
            intercept = np.zeros(len(group))
        return coef, intercept

    def _place(self, group, coef, intercept):
        """Put coefficients of a group among those of all."""
        with np.errstate(over="ignore"):  # beyond float32: `_stored` sees to that
            self.training.coef[group], self.training.intercept[group] = coef, intercept

    def _keep(self, objective, group, result):
        """The coefficients of a result, and how good they are as they are stored."""
        training = self.training
        coef, intercept = self._coefficients(group, objective, result.vector)
        value, bound, lost = result.objective, result.bound, 0.0
        known = not self.stochastic
        if self.stopping is not None and self.stopping.best is not None:
            coef, intercept = self.stopping.best
            known = False  # value and bound are of another point
        if not isinstance(result.stopped_by, Exception):  # else the data may be at fault
            try:
                if not known:
                    vector = objective.pack(*self.data.to_fit(coef, intercept))
                    value, bound = objective.value_gradient(vector)[0], np.inf
                value, bound, lost = self._stored(objective, group, coef, intercept, value, bound)
            except Exception as error:
                result.stopped_by = error
        self._place(group, coef, intercept)
        separable = self.parameters["C"] == np.inf and result.objective < objective.value_scale
        self.groups.append(Group(result, value, min(bound, value), separable, lost))
        training.moments = self.data.moments(objective.moments)
        training.stopped_by = result.stopped_by

    def _stored(self, objective, group, coef, intercept, reached, bound):
        """How good coefficients are as they are stored, and as predictions use them.

        The stored dtype may lack digits; and where logits are small sums of huge terms, predictions
        lose digits that the fit had, to which X is centred or rotated. Where float32 loses too
        much, all coefficients are stored in float64 from now on, and predictions computed in it.

        Parameters
        ----------
        objective : LinearObjective
        group : ndarray of int
        coef, intercept : ndarray
            float64, in the units of X.
        reached, bound : float
            Their objective, and a bound of it less the minimum, as the fit computes them.

        Returns
        -------
        value, bound : float
            The same of the stored coefficients.
        lost : float
            How much ``value`` differs from ``reached``, relative to it; 0 where that is within
            what is allowed.
        """
        training = self.training
        while True:
            stored = self._as_stored(objective, group, coef, intercept, reached, bound)
            if training.coef.dtype == np.float64 or stored[2] == 0.0:
                return stored
            training.coef = training.coef.astype(np.float64)
            training.intercept = training.intercept.astype(np.float64)

    def _as_stored(self, objective, group, coef, intercept, reached, bound):
        """``_stored``, in the dtype that coefficients have so far."""
        dtype = self.training.coef.dtype
        if dtype == np.float32:
            with np.errstate(over="ignore", invalid="ignore"):
                rounded = [part.astype(dtype) for part in (coef, intercept)]
                finite = all(np.isfinite(part.sum(dtype=np.float64)) for part in rounded)
            if not finite:
                return np.inf, np.inf, np.inf
            coef, intercept = (part.astype(np.float64) for part in rounded)
        scale = max(abs(reached), objective.value_scale)
        allowed = max(self.parameters["tol"], STORED_FLOOR[dtype]) * scale
        # Rounding moves the logits of each row by about `error`, one way or the other. Squares of
        # residuals, and curvatures, are at most about as large as losses: the mean loss changes by
        # the mean of residuals times errors, and by curvatures times their squares.
        in_units = coef if self.data.unit == 1.0 else coef * self.data.unit
        error = EPS[dtype] * math.sqrt(_squares_of_terms(in_units, intercept, self.moments))
        expected = (error * math.sqrt(scale / objective.rows.n_rows) + error**2 * scale) / allowed
        if dtype == np.float32 and expected > EXPECTED:
            return np.inf, np.inf, np.inf
        value, of_value = reached, bound
        if dtype == np.float32 or bound == np.inf:
            value, gap = objective.optimality_gap(
                objective.pack(*self.data.to_fit(coef, intercept))
            )
            of_value = np.inf if gap == np.inf else gap * value / (1.0 + gap)
        predicted, factor = value, 1.0
        if expected > 1:
            loss = self._predicted_loss(objective, group, coef, intercept)
            if loss is not None:
                penalty = 0.5 * objective.l2_reg * float(np.vdot(in_units, in_units))
                predicted = loss / objective.total_weight + penalty
            factor = SAFETY if dtype == np.float32 else 1.0  # float64 is the last resort
        lost = max(factor * abs(predicted - value), abs(value - reached))
        if lost <= allowed:
            return value, of_value, 0.0
        return predicted, max(of_value + predicted - value, 0.0), lost / scale

    def _predicted_loss(self, objective, group, coef, intercept):
        """Sum of the losses as predictions compute them; None where the fit computes the same.

        inf where it would take passes over shards.
        """
        data, dtype = self.data, self.training.coef.dtype
        if not data.is_changed and dtype in (np.float64, objective.rows.dtype):
            return None
        if not hasattr(data, "predicted_loss"):
            return np.inf
        intercept = intercept + objective.offset
        return data.predicted_loss(self.y, group, coef, intercept, dtype, self.n_threads)

    def _snapshot(self, result, n_done):
        """Bytes of all that is known in the middle of a group, before which ``n_done`` are done."""
        return pickle.dumps(
            {
                "parameters": self._lasting(),
                "coef": self.training.coef,
                "intercept": self.training.intercept,
                "groups": self.groups[:n_done],
                "stopping": None if self.stopping is None else self.stopping.state(),
                "solver": result.snapshot(),
            }
        )

    def _lasting(self):
        """What must be the same when a fit goes on."""
        parameters = {**self.parameters, **self.parameters["stochastic"]}
        for name in ("stochastic", "tol", "max_iter", "random_state"):
            del parameters[name]
        return {
            **parameters,
            "shape of coefficients": self.training.coef.shape,
            "rows to stop early by": None if self.stopping is None else self.stopping.fingerprint,
        }

    def _restore(self, resume):
        """Put a snapshot back; what the solver of the present group resumes."""
        saved, mine = pickle.loads(resume), self._lasting()
        differ = [name for name in mine if mine[name] != saved["parameters"].get(name)]
        if differ:
            raise ValueError(
                f"The checkpoint is of another fit: its {differ[0]} is "
                f"{saved['parameters'].get(differ[0])!r}, here it is {mine[differ[0]]!r}; use "
                "another file, or delete it to start anew."
            )
        self.training.coef, self.training.intercept = saved["coef"], saved["intercept"]
        self.groups = saved["groups"]
        if self.stopping is not None:
            self.stopping.restore(saved["stopping"])
        return saved["solver"]


def _squares_of_terms(coef, intercept, moments):
    """Mean over the rows of the sum of the squares of the terms of a logit; the largest output's.

    Or a bound of it that takes less time, where it is small.
    """
    mean_square = moments.mean_squares()
    of_intercept = float(np.vdot(intercept, intercept))
    most = float(np.vdot(coef, coef)) * mean_square.max(initial=0.0)
    if most <= SMALL_TERMS:
        return most + of_intercept
    return np.einsum("kj,kj,j->k", coef, coef, mean_square).max(initial=0.0) + of_intercept


def _put_together(training, groups):
    """Sums over groups, into ``training``."""
    results = [group.result for group in groups]
    values = np.array([group.objective for group in groups])
    bounds = np.array([group.bound for group in groups])
    training.objective = float(values.sum())
    rest = training.objective - bounds.sum()
    bounded = rest > 0 and (bounds < values).all()
    training.gap = float(bounds.sum() / rest) if bounded else np.inf
    training.n_iter = max(result.n_iter for result in results)
    training.failed = [result for result in results if not result.converged]
    training.separable = any(group.separable for group in groups)
    training.lost = max(group.lost for group in groups)
    length = max(len(result.history["objective"]) for result in results)
    columns = {
        name: np.array([_lengthened(result.history[name], length) for result in results])
        for name in training.history
    }
    objectives = columns["objective"].sum(axis=0)
    gaps = columns["gap"][0]
    if len(results) > 1:
        gaps = (columns["gap"] * columns["objective"]).sum(axis=0) / objectives
    training.history = {
        "objective": objectives,
        "gap": gaps,
        "seconds": columns["seconds"].sum(axis=0),
    }


def _lengthened(values, length):
    """A list that stays at its last value."""
    return values + values[-1:] * (length - len(values))
