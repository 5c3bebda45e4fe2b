"""``SoftmaxClassifier.plan``: what a fit would do and cost, without fitting."""

import copy

from sklearn.utils import check_random_state

from .._data.presolve import ScaledX
from .._plan.outline import outlined
from .._plan.plan import make_plan
from .._plan.report import PlanReport
from .._utils.threads import sequential_blas
from .fit_state import FitState
from .training import Fit


class PlanningMixin:
    """Mixin with ``plan``."""

    def plan(self, X, y, sample_weight=None):
        """Describe what ``fit`` with the same arguments would do, and what it would cost.

        X is read as ``fit`` reads it, and the loss and its gradient are evaluated twice at the
        point where a fit starts, which gives the time of a pass. The estimator does not change.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Training data, as ``fit`` takes it.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Targets, as ``fit`` takes them.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Weights of the rows or of single labels, as ``fit`` takes them.

        Returns
        -------
        PlanReport
            Print it to read the plan. Attributes: ``solver``, its name; ``steps`` and ``reasons``,
            what would be done and why; ``memory_bytes``, the peak of the memory beside X and y, of
            "proximal-newton" an upper estimate, as nobody knows how many coefficients will be 0;
            ``pass_seconds``, the time of a pass over X on this machine; ``passes``, the range
            (least, most) of the number of passes in nine of ten fits.

        Raises
        ------
        ValueError
            As in ``fit``.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from xentlearn import SoftmaxClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> plan = SoftmaxClassifier().plan(X, y)
        >>> plan.solver
        'newton-cholesky'
        """
        planner = copy.copy(self).set_params(**self.get_params(deep=False))
        random_state = copy.deepcopy(check_random_state(self.random_state))
        setting = planner._check_parameters()
        data, encoded = planner._read(X, y, sample_weight)
        problem, _, n_held_out = planner._pose(setting, data, encoded, None, None, random_state)
        plan, seconds, moments = make_plan(problem), 0.0, None
        with sequential_blas:
            fit = Fit(problem, plan, FitState(), None)
            for group in plan.groups:
                objective = _evaluated(fit, group)
                seconds += objective.pass_seconds
                moments = fit.data.undo_moments(objective.moments)
        return PlanReport(outlined(problem, plan, X, n_held_out, moments), seconds)


def _evaluated(fit, group):
    """Return the objective of a group, evaluated at the start; raise the errors of a fit."""
    objective = fit.objective_of(fit.problem.y, group)
    in_unit = fit.data.undo_moments(objective.moments, but_for=(ScaledX,))
    in_unit.require_comparable(objective.rows.dtype, fit.l2_reg)
    start = objective.start()
    for _ in range(2):  # the first time touches new memory
        objective.value_gradient(start)
    return objective
