"""Searches by leave-one-out: a fit to all rows for each setting, and no folds."""

import numpy as np

from .._estimator.fit_state import FitState
from .._estimator.path import Path
from .._estimator.training import Fit
from .._objective.leave_one_out import leave_one_out
from .._plan.settings import STOCHASTIC
from .._solvers.settings import resolve_solver
from .._utils.messages import warn
from .search import FoldFit, Search, shortfall_of


class LeaveOneOutSearch(Search):
    """The fits of a search by leave-one-out, as if all rows were a single fold.

    The score of a setting is minus the mean loss of all rows, each predicted by the model that is
    fitted to the other rows, and its standard error that of the mean over the rows. Losses are
    computed from the fit to all rows (``_objective/leave_one_out.py``). If the time does not allow
    their mean to be accurate, that is a warning; the score of the chosen setting is computed again
    without such a limit.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.folds, self.keeps = [None], True
        self._found, self._sure, self._unsure = {}, set(), {}

    def fits(self, fold):
        """Yield the ``FoldFit`` of each setting, those of a path in the order of C."""
        for loss, y in enumerate(self.encoded):
            data, of_rows = self.rows.taken(y)
            for l1 in range(len(self.l1_ratios)):
                path = Path(self.classifier(loss, l1), data, of_rows)
                for i in np.argsort(self.Cs, kind="stable"):
                    at = loss, l1, int(i)
                    training = path.fit(float(self.Cs[i]))
                    score, error = self._scored(path, training, at, False)
                    model = training.coef, training.intercept
                    shortfall = shortfall_of(training, self.epochs_asked)
                    fit = FoldFit(fold, at, score, *model, shortfall, error)
                    self._found[at] = fit
                    yield fit

    def errors(self, scores):
        """Return the standard errors of the scores of all settings; nan where there is none."""
        result = np.full(self.shape, np.nan)
        for at, fit in self._found.items():
            result[at] = fit.error
        return result

    def confirmed(self, at):
        """Return the ``FoldFit`` of a setting with a score that is sure; None if it was that."""
        if at in self._sure:
            self._warn_of_unsure(at)
            return None
        self._sure.add(at)
        fit, (loss, l1, i) = self._found[at], at
        path = Path(self.classifier(loss, l1), *self.rows.taken(self.encoded[loss]))
        training = path.fit(float(self.Cs[i]), (fit.coef, fit.intercept))
        fit.score, fit.error = self._scored(path, training, at, True)
        return fit

    def _warn_of_unsure(self, chosen):
        """Warn once of the scores that are approximate."""
        unsure = {at: n for at, n in self._unsure.items() if n}
        if not unsure:
            return
        most = max(unsure, key=unsure.get)
        of_chosen = "the chosen setting included" if chosen in unsure else "not the chosen one"
        warn(
            f"The leave-one-out scores of {len(unsure)} of {len(self._found)} settings are "
            f"approximate, {of_chosen}: at C={self.Cs[most[2]]:.3g}, the losses of {unsure[most]} "
            "rows depend on these rows so much that they would have to be left out one by one. Use "
            "folds, such as cv=5, if the choice depends on it.",
            UserWarning,
        )

    def _scored(self, path, training, at, thorough):
        """Return the score of a fit and its standard error."""
        losses, unsure = left_out_losses(path, training, thorough)
        weight, alone = path.y.weight, ~np.isfinite(losses)
        if alone.any():
            if not self._found:
                warn(
                    f"{np.count_nonzero(alone)} rows are the only ones of their class, or of one "
                    "of the two values of a label: no other row says that there is such a class, "
                    "and they do not count in the leave-one-out score.",
                    UserWarning,
                )
            losses, weight = losses[~alone], weight[~alone]
        self._unsure[at] = unsure
        total = weight.sum()
        if not total > 0:
            raise ValueError(
                "cv='loo' needs at least two rows of a class with a weight, got none; use more "
                "rows."
            )
        mean = weight @ losses / total
        return -float(mean), float(np.linalg.norm(weight * (losses - mean)) / total)


def left_out_losses(path, training, thorough):
    """Return the leave-one-out losses of all rows, and how many of them are unsure.

    Parameters
    ----------
    path : Path
    training : Training
        Of its last fit.
    thorough : bool
        Whether the time is not limited.

    Returns
    -------
    losses : ndarray of shape (n_rows,)
    unsure : int
    """
    problem, plan = path.last
    fit, losses, unsure = Fit(problem, plan, FitState(), None), 0.0, 0
    for group in plan.groups:
        objective = fit.objective_of(problem.y, group)
        model = training.coef[group.outputs], training.intercept[group.outputs]
        vector = objective.pack(*fit.data.apply(*(part.astype(np.float64) for part in model)))
        found = leave_one_out(objective, vector, thorough=thorough)
        losses, unsure = losses + found.losses, max(unsure, found.unsure)
    return np.broadcast_to(losses, len(problem.y.weight)), unsure


def require_possible(estimator, rows, encoded):
    """Raise the ValueError of a SoftmaxClassifierCV that leave-one-out cannot serve."""
    way_out = "Use folds, such as cv=5."
    if estimator.scoring is not None or estimator.losses is not None:
        name = "scoring" if estimator.losses is None else "losses"
        raise ValueError(
            f"'{name}' must be None with cv='loo', which scores by the loss of the fits. {way_out}"
        )
    if not rows.in_memory:
        raise ValueError(f"X must be in memory with cv='loo', got row blocks. {way_out}")
    for name, asked in (
        ("grouped", estimator.grouped),
        ("early_stopping", estimator.early_stopping),
        ("store_probabilities", estimator.store_probabilities),
    ):
        if asked:
            raise ValueError(f"{name!r} must be False with cv='loo', got {asked!r}. {way_out}")
    solver = resolve_solver(estimator.solver)
    if solver is not None and solver.name in STOCHASTIC:
        raise ValueError(
            f"'solver' must not be a stochastic one with cv='loo', got {estimator.solver!r}: "
            f"models without a row are those near a minimum. {way_out}"
        )
    if not encoded[0].loss._convex:
        raise ValueError(
            f"cv='loo' needs a convex loss, got {encoded[0].loss!r}: another minimum may be near. "
            f"{way_out}"
        )
