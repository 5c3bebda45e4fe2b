"""``SoftmaxClassifier.plan``: how a fit would go, before it is made."""

import copy

from sklearn.utils import check_random_state

from .._data.presolve import ScaledX
from .._plan.plan import make_plan, outlined
from .._plan.report import PlanReport
from .._utils.threads import sequential_blas
from .training import Fit, FitState


class PlanningMixin:
    """The plan of a fit that has not been made."""

    def plan(self, X, y, sample_weight=None):
        """Tell how ``fit`` with the same arguments would go, and what it would take.

        X is read as by ``fit``, and its loss is summed twice at the point where a fit begins, to
        tell the time of a pass. Nothing is fitted, and this estimator stays as it is.

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
            Its text is for ``print``. Its attributes are ``solver``, a name; ``steps`` and
            ``reasons``, a phrase each for what is done and why; ``memory_bytes``, the most that the
            fit will hold beside X and y; ``pass_seconds``, the time of a pass over X on this
            machine; and ``passes``, (least, most) of nine of ten such fits.

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
    """The objective of a group, evaluated at the start; what a fit refuses is refused."""
    objective = fit.objective_of(fit.problem.y, group)
    in_unit = fit.data.undo_moments(objective.moments, but_for=(ScaledX,))
    in_unit.require_comparable(objective.rows.dtype)
    start = objective.start()
    for _ in range(2):  # the first time touches new memory
        objective.value_gradient(start)
    return objective
