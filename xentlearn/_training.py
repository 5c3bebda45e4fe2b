"""From encoded targets to coefficients: objectives, solvers, and outputs fitted group by group."""

from dataclasses import dataclass, field

import numpy as np

from ._objective import LinearObjective
from ._solvers import SOLVERS
from ._threads import effective_n_threads, sequential_blas

# A fit of at most so many is over in milliseconds whatever is asked for: it is polished until
# rounding stops it, so that results do not depend on how a problem is put (a weight of 2, or the
# row twice). With the 8 x 8 digits, 1.2 million, polishing takes three times as long as the fit.
POLISHED_WORK = 300_000
# Multiply-adds up to which a Hessian costs about as much as what Python does around a pass. Then
# newton-cholesky takes 10 iterations in place of the 25 of lbfgs: iris, wine, breast cancer are
# fitted in half the time; the digits, 400 million, take it four times as long.
TINY_HESSIAN = 20_000_000
# Binary outputs do not see each other. Over sparse X, where little is shared but X itself, so many
# coefficients (GROUPED) are fitted in groups of outputs whose vectors have GROUP_NUMBERS numbers
# and stay near the processor: 600 labels of 45,000 features took five times as long at once, and
# 4 GB.
GROUPED = 6_000_000
GROUP_NUMBERS = 1_500_000
GROUP_STEP = 16  # outputs that fill whole vectors


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
        Lists by iteration, the start included; of groups as if they had been fitted side by side.
    failed : list of Result
        Of solvers that stopped early.
    separable : bool
        Whether some objective without a penalty goes to 0.
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
    stopped_by: BaseException | None = None


def output_groups(n_features, outputs, apart, mass):
    """The outputs that are fitted together, in groups.

    Parameters
    ----------
    n_features : int
    outputs : ndarray of int
    apart : bool
        Whether outputs neither see each other nor share much work.
    mass : ndarray of shape (n_outputs, 2)
        Of the 0s and of the 1s: outputs with as many 1s take about as many iterations.

    Returns
    -------
    list of ndarray
    """
    if not apart or n_features * len(outputs) <= GROUPED:
        return [outputs] if len(outputs) else []
    size = max(1, GROUP_NUMBERS // n_features // GROUP_STEP) * GROUP_STEP
    outputs = outputs[np.argsort(mass[outputs, 1], kind="stable")]
    return [outputs[begin : begin + size] for begin in range(0, len(outputs), size)]


def train(data, y, mass, outputs, start, intercept, dtype, parameters, callback):
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
    start : (coef, intercept) or None
        Where to begin.
    intercept : ndarray of shape (n_outputs,)
        Of the outputs that are not fitted.
    dtype : dtype
        In which coefficients are stored.
    parameters : dict
        "C", "fit_intercept", "solver", "tol", "max_iter", as in ``SoftmaxClassifier``.
    callback : callable
        ``callback(result, found)`` at the start and after each iteration, with ``found()`` the
        (coef, intercept) so far; what it returns says whether to stop.

    Returns
    -------
    Training
    """
    n_samples, n_features = data.shape
    coef = np.zeros((y.n_outputs, n_features), dtype=dtype)
    intercept = intercept.astype(dtype)
    training = Training(coef, intercept, parameters["solver"])
    work = n_samples * n_features * y.n_outputs
    polish = work <= POLISHED_WORK
    # asking how many takes as long as some passes over so little
    n_threads = 1 if polish else effective_n_threads()
    convex_y, offset = y.convex_start(), y.logit_offset(outputs)
    convex_mass = None if convex_y is None else convex_y.mass()
    options = {"tol": parameters["tol"], "max_iter": parameters["max_iter"], "polish": polish}
    with sequential_blas:
        if len(outputs):
            data.prepare(y, parameters["fit_intercept"], work)

        def objective_of(y, mass, group):
            return LinearObjective(
                data.rows(y, group),
                mass[group],
                y.total_weight,
                1.0 / (parameters["C"] * y.total_weight),
                parameters["fit_intercept"],
                n_threads,
                offset,
                y.loss.plain,
                y.loss.certifiable,
            )

        results, bounds = [], []
        apart = data.is_sparse and not y.loss.couples
        for group in output_groups(n_features, outputs, apart, mass):
            objective = objective_of(y, mass, group)

            def place(vector, group=group, objective=objective):
                """Put a solver's vector among the coefficients."""
                found = objective.unpack(vector)
                coef[group], b = data.from_fit(*found)
                if not parameters["fit_intercept"]:
                    b = np.zeros(len(group))
                elif y.loss.shift_invariant:
                    b = b - b.mean()
                intercept[group] = b

            if training.stopped_by is not None:  # as good a guess as there is
                place(objective.start())
                continue
            solver = _chosen(parameters["solver"], objective)
            first, result = objective.start(), None
            if start is not None:
                known = np.nan_to_num(start[1][group], posinf=0.0, neginf=0.0)
                first = objective.pack(*data.to_fit(start[0][group], known))
            elif convex_y is not None:
                convex = objective_of(convex_y, convex_mass, group)
                result = SOLVERS[solver](convex, convex.start(), **options)
                first = result.vector
            if result is None or result.stopped_by is None:

                def watch(result, place=place):
                    def found():
                        place(result.vector)
                        return coef.copy(), intercept.copy()

                    return callback(result, found)

                try:
                    result = SOLVERS[solver](objective, first, callback=watch, **options)
                except Exception as error:
                    if result is None:
                        raise
                    result.stopped_by = error  # and the minimum of the convex loss is kept
            place(result.vector)
            value, gap = result.objective, np.inf
            if not isinstance(result.stopped_by, Exception):  # else the data may be at fault
                stored = coef[group].astype(np.float64), intercept[group].astype(np.float64)
                try:
                    value, gap = objective.optimality_gap(objective.pack(*data.to_fit(*stored)))
                except Exception as error:
                    result.stopped_by = error
            results.append(result)
            bounds.append((value, value if gap == np.inf else gap * value / (1.0 + gap)))
            training.solver = solver
            training.stopped_by = result.stopped_by
            training.separable |= (
                parameters["C"] == np.inf and result.objective < objective.value_scale
            )
    if results:
        _put_together(training, results, bounds)
    elif training.solver == "auto":  # nothing varies, nothing was solved
        training.solver = "lbfgs"
    return training


def _chosen(solver, objective):
    """The solver that "auto" takes, or the one that was asked for."""
    if solver != "auto":
        return solver
    tiny = objective.exact_hessian and objective.hessian_work() <= TINY_HESSIAN
    return "newton-cholesky" if tiny else "lbfgs"


def _put_together(training, results, bounds):
    """Sums over groups, into ``training``; ``bounds`` are (objective, absolute gap) of each."""
    values, gaps = np.array(bounds).T
    training.objective = float(values.sum())
    rest = training.objective - gaps.sum()
    bounded = rest > 0 and (gaps < values).all()
    training.gap = float(gaps.sum() / rest) if bounded else np.inf
    training.n_iter = max(result.n_iter for result in results)
    training.failed = [result for result in results if not result.converged]
    length = max(len(result.history["objective"]) for result in results)
    columns = {
        name: np.array([_lengthened(result.history[name], length) for result in results])
        for name in training.history
    }
    objectives = columns["objective"].sum(axis=0)
    weighted = (columns["gap"] * columns["objective"]).sum(axis=0)
    gaps = columns["gap"][0] if len(results) == 1 else weighted / objectives
    training.history = {
        "objective": objectives,
        "gap": gaps,
        "seconds": columns["seconds"].sum(axis=0),
    }


def _lengthened(values, length):
    """A list that stays at its last value."""
    return values + values[-1:] * (length - len(values))
