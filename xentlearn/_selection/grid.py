"""The values of C that a search tries, found from the data."""

import copy
from dataclasses import replace

import numpy as np

from .._estimator.fit_state import FitState
from .._estimator.path import Path
from .._estimator.training import Fit
from .._plan.path_settings import Range
from .._plan.plan import make_plan
from .._utils.threads import sequential_blas

RANGE = Range()
ANY = np.array([1e-4, 1e4])  # where there is nothing to learn


def automatic_Cs(n, classifiers, data, y):
    """Return ``n`` values of C in equal steps of log C that cover all that can be learnt.

    With L(C) the mean loss at the minimum for C, and L(0) that of the class shares:

    - The first value is where next to nothing is learnt. With an L1 penalty it is the largest C
      that keeps all coefficients at 0 (``l1_min_C``). Otherwise, with G the gradient of the mean
      loss at W = 0, a step along G lowers the objective by at most ``C S ||G||^2 / 2``; the first
      value makes that the share ``Range.least_learnt`` of L(0).
    - The last value is where the loss is near its unpenalised minimum: 10 times that C lowers L by
      less than the share ``Range.little_left`` of L(0). If rows can be separated, L falls to 0, and
      the range ends there, too.

    Parameters
    ----------
    n : int
    classifiers : list of SoftmaxClassifier
        Those of the search, one for each l1_ratio; the range covers what all of them need.
    data : MemoryData or ShardedData
    y : EncodedY
        All rows.

    Returns
    -------
    ndarray of shape (n,)
    """
    ranges = np.array([_range_of(classifier, data, y) for classifier in classifiers])
    least, most = ranges[:, 0].min(), ranges[:, 1].max()
    return np.geomspace(least, most, n) if n > 1 else np.array([np.sqrt(least * most)])


def _range_of(classifier, data, y):
    """Return the first and the last C for a classifier."""
    classifier = copy.copy(classifier)
    classifier.tol = RANGE.tol
    path = Path(classifier, data, y)
    before, least = _at_0(path)
    if least is None:
        return ANY
    scale, C = before, least
    for decade in range(RANGE.most_decades):
        loss = path.mean_loss(path.fit(C))
        # an L1 penalty keeps everything at 0 at the first value
        if decade > 1 and before - loss < RANGE.little_left * scale:
            break
        before, C = loss, 10.0 * C
    return least, max(C / 10.0, 10.0 * least)


def _at_0(path):
    """Return L(0) and the first C; None for the latter if no C learns anything."""
    problem, _ = path.problem(1.0)
    C = problem.reference_C
    problem = replace(problem, penalty=replace(problem.penalty, C=C))
    plan, y, loss, least = make_plan(problem), problem.y, 0.0, np.inf
    strength = problem.penalty.strength(y.total_weight, y.weight_exponent, plan.presolve.unit)
    with sequential_blas:
        fit = Fit(problem, plan, FitState(), None)
        for group in plan.groups:
            objective = fit.objective_of(y, group)
            value, gradient = objective.value_gradient(objective.start())
            loss += value
            if problem.penalty.is_composite and problem.penalty.l1_ratio > 0:
                strongest = objective.strongest(gradient)
                least = min(least, C / strongest if strongest > 0 else np.inf)
                continue
            G = gradient.reshape(objective.shape)[: objective.n_features]
            square = float(np.vdot(G, G))
            if square > 0:
                least = min(least, 2.0 * RANGE.least_learnt * value * C * strength / square)
    return loss, least if np.isfinite(least) else None
