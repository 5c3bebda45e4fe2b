"""A path: fits of the same rows for one C after the other."""

import copy
from dataclasses import replace

import numpy as np
from sklearn.utils import check_random_state

from .._plan.outline import outlined
from .._plan.path_settings import AlongC
from .._plan.plan import make_plan
from .._plan.report import PlanReport
from .._plan.settings import STOCHASTIC
from .fit_state import FitState
from .training import train


class Path:
    """Fits of a classifier to the same rows for one C after the other.

    They share what depends on the rows alone (``MemoryData`` keeps it): presolve, moments, targets.
    Each begins where the two before it point to. As a function of log C, coefficients are smooth,
    and a straight line through the last two minima ends near the next one: on the 8 x 8 digits,
    with a step of C by a factor of five, the objective there is 1e-4 to 5e-2 above the minimum, and
    at the last minimum itself it is 30 to 50 %. The Hessian there then leads to the minimum in a
    few iterations.

    The minimum of a convex loss does not depend on the start. Fits of other losses, by stochastic
    solvers or with early stopping begin at the start of a single fit, as their results depend on
    it.

    Parameters
    ----------
    classifier : SoftmaxClassifier
        Its parameters are used, apart from ``C``, and what it knows of X. It is not changed.
    data : MemoryData or ShardedData
    y : EncodedY
    only_predicts : bool, default=False
        Whether only predictions are made of the results (``Problem``).

    Attributes
    ----------
    classifier : SoftmaxClassifier
        A copy of it, with the ``C`` of the last fit.
    y : EncodedY
    outputs : ndarray of int
        Indices of the outputs that are fitted.
    last : (Problem, Plan)
        Those of the last fit.
    """

    def __init__(self, classifier, data, y, only_predicts=False):
        self.classifier = copy.copy(classifier)
        self.y, self._data, self._setting = y, data, self.classifier._check_parameters()
        self._posed = self._pose()
        self.outputs = self._posed[0].outputs
        self._is_smooth = (
            self._posed[0].solver not in STOCHASTIC
            and y.loss._convex
            and not self.classifier.early_stopping
        )
        self._only_predicts = only_predicts and self._is_smooth
        self._state, self._n_iter = FitState(), 0  # of the last fit: what its solver has learnt
        self._minima = []  # of the last two fits: (log C, coef, intercept), in float64

    def _pose(self):
        random_state = check_random_state(self.classifier.random_state)
        return self.classifier._pose(self._setting, self._data, self.y, None, None, random_state)

    def problem(self, C):
        """Return (Problem, Validation or None) for a value of C."""
        classifier = self.classifier
        classifier.C = C
        # With early stopping each fit draws its validation rows, and has a state of their loss; and
        # stochastic solvers draw the order of the rows: each fit as a single one does.
        posed, self._posed = self._posed or self._pose(), None
        problem, validation, self._n_held_out = posed
        if not (classifier.early_stopping or problem.solver in STOCHASTIC):
            self._posed = posed
        return replace(
            problem, penalty=replace(problem.penalty, C=C), only_predicts=self._only_predicts
        ), validation

    def fit(self, C, start=None):
        """Fit for a value of C.

        Parameters
        ----------
        C : float
        start : (coef, intercept) or None, default=None
            Coefficients near the minimum, to start from. None means where the last two minima point
            to. Fits that begin as single ones do ignore it.

        Returns
        -------
        Training

        Raises
        ------
        KeyboardInterrupt
            If the fit was interrupted.
        """
        if start is None:
            for between in self._steps_to(C):
                self._solve(between, None, is_step=True)
        return self._solve(C, start)

    def _steps_to(self, C):
        """Return values of C on the way from the last one, if that is far for a descent."""
        if not (self._minima and self._is_smooth and self.last[1].groups):
            return []
        log_C, last, group = np.log(C), self._minima[-1][0], self.last[1].groups[0]
        is_blind = group.preconditioning.local not in ("whole", "sample")
        if not (group.solver == "lbfgs" and is_blind and np.isfinite(log_C - last)):
            return []
        n = max(1, round(abs(log_C - last) / np.log(AlongC.step)))
        return np.exp(np.linspace(last, log_C, n + 1)[1:-1]).tolist()

    def _solve(self, C, start, is_step=False):
        """Fit for a value of C, or only roughly for a step; else as ``fit``."""
        problem, validation = self.problem(C)
        if self._is_smooth:
            n_iter = self._n_iter
            if start is None:
                start = self._start(problem.penalty)
            if start is None:
                start = problem.start  # of `warm_start`
            if start is not None and not self._minima:
                n_iter = np.inf  # unknown; in most cases the Hessian near the minimum pays
            problem = replace(problem, start=start, n_iter_before=n_iter)
        if is_step:
            problem = replace(problem, tol=max(problem.tol, AlongC.step_tol))
        self.last = problem, make_plan(problem)
        # what a solver has learnt about a group of outputs is of no use to the next one
        learns = self._is_smooth and len(self.last[1].groups) == 1
        state = self._state if learns else FitState()
        state.solver.learns, state.solved, state.validation = learns, [], validation
        training = train(*self.last, state)
        if training.stopped_by is not None:
            raise training.stopped_by
        self._n_iter = training.n_iter
        minimum = training.coef.astype(np.float64), training.intercept.astype(np.float64)
        self._minima = [*self._minima[-1:], (np.log(C), *minimum)]
        return training

    def attributes(self, training):
        """Return what the last fit, whose result is given, makes of a classifier, by name."""
        problem, plan = self.last
        X = getattr(problem.data, "X", problem.data)
        outline = outlined(problem, plan, X, self._n_held_out, training.moments)
        report = PlanReport(outline, training.pass_seconds)
        return self.classifier._trained(problem.y, training, report)

    def fitted(self, training):
        """Return a classifier that predicts by the coefficients of a fit of this path."""
        classifier = copy.copy(self.classifier)
        found = classifier._fitted(self.y, training.coef, training.intercept)
        vars(classifier).update(found)
        return classifier

    def mean_loss(self, training):
        """Return the mean loss without the penalty of the last fit, whose result is given."""
        problem, unit = self.last[0], self.last[1].presolve.unit
        # in the unit of X that the solver sees: there, no strength is clipped that matters
        coef = training.coef.T.astype(np.float64) * unit
        penalty, units = problem.penalty, (problem.y.total_weight, problem.y.weight_exponent, unit)
        if penalty.is_composite:
            return training.objective - penalty.terms(len(coef), *units).value(coef)
        return training.objective - 0.5 * penalty.strength(*units) * float(np.vdot(coef, coef))

    def _start(self, penalty):
        """Return (coef, intercept) where the last two minima point to; None if there is none."""
        if not self._minima:
            return None
        (at, *last), log_C = self._minima[-1], np.log(penalty.C)
        before, *first = self._minima[0]
        if not np.isfinite([at, before, log_C]).all() or at == before:
            return last
        factor = (log_C - at) / (at - before)
        coef = last[0] + factor * (last[0] - first[0])
        with np.errstate(invalid="ignore"):  # intercepts of constant outputs are infinite
            change = last[1] - first[1]
            intercept = last[1] + np.where(np.isfinite(change), factor * change, 0.0)
        if penalty.is_composite:  # a coefficient that would change its sign becomes 0
            coef[coef * last[0] <= 0] = 0.0
        return coef, intercept
