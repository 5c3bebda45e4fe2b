"""The values of C that a search tries, found from the data."""

import copy
import sys

import numpy as np

from .._estimator.l1_min_c import at_0, least_C
from .._estimator.path import Path
from .._plan.path_settings import Range

RANGE = Range()
ANY = np.array([1e-4, 1e4])  # where there is nothing to learn


def automatic_Cs(n, classifiers, data, y):
    """Return ``n`` values of C in equal steps of log C that cover all that can be learnt.

    With L(C) the mean loss at the minimum for C, and L(0) that without all that has a penalty:

    - The first value is where next to nothing is learnt. With an L1 penalty it is the largest C
      that keeps all coefficients at 0 (``l1_min_C``). Otherwise, with G the gradient of the mean
      loss at W = 0 and v_j the factors of the features, a step along G lowers the objective by at
      most ``C S sum_j ||G_j||^2 / (2 v_j)``; the first value makes that the share
      ``Range.least_learnt`` of L(0).
    - The last value is where the loss is near its unpenalised minimum: larger ones lower L by less
      than the share ``Range.little_left`` of L(0). If rows can be separated, L falls to 0, and the
      range ends there, too.

    The values are found by fits for one C after the other, each 10 times the one before, until that
    changes L no more. If features from which next to nothing can be learnt have large values, L
    hardly changes near the first value, either. Therefore the search for the last one goes on until
    L has fallen by the share ``Range.least_learnt``, or no coefficient grows any more. If the range
    begins with decades that bring less than that share of all that is learnt, they are left out.

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
    at_start, least = _at_0(path.problem(1.0)[0])
    if least is None:
        return ANY
    with np.errstate(over="ignore"):
        Cs = np.minimum(least * 10.0 ** np.arange(RANGE.most_decades), sys.float_info.max)
    losses, sizes = [], []
    for decade, C in enumerate(Cs):
        training = path.fit(C)
        losses.append(path.mean_loss(training))
        sizes.append(np.abs(training.coef).max(axis=0))
        # an L1 penalty keeps everything at 0 at the first value
        if decade > 1 and losses[-2] - losses[-1] < RANGE.little_left * at_start:
            has_learnt = at_start - losses[-1] >= RANGE.least_learnt * at_start
            if has_learnt or not _may_grow(path, training, *sizes[-2:]):
                break
    losses = np.array(losses)
    learnt, to_learn = at_start - losses, losses - losses[-1]
    first = max(0, int(np.argmax(learnt >= RANGE.least_learnt * learnt[-1])) - 1)
    last = int(np.argmax(to_learn < RANGE.little_left * at_start))
    return Cs[first], Cs[max(last, first + 1)]


def _at_0(problem):
    """Return L(0) and the first C; None for the latter if no C learns anything."""
    C, loss, least = problem.reference_C, 0.0, np.inf
    for objective, value, gradient in at_0(problem, C):
        loss += value
        if problem.penalty.is_composite and problem.penalty.l1_ratio > 0:
            least = min(least, least_C(C, objective, gradient))
            continue
        most_gained = objective.most_gained(gradient)
        if most_gained > 0:
            least = min(least, RANGE.least_learnt * value * C / most_gained)
    return loss, least if np.isfinite(least) else None


def _may_grow(path, training, before, after):
    """Return whether a larger C may make a coefficient much larger than the last one did.

    ``before`` and ``after`` are the sizes of the coefficients of each feature. Those that are 0 are
    yet to be selected, or too small for the tolerance of the fit, unless they are constant, left
    out, or kept at 0 by a bound, as it seems.
    """
    penalty, waits = path.last[0].penalty, after == 0
    if training.moments is not None:
        waits &= training.moments.variance > 0
    if penalty.is_composite:
        waits &= np.less(penalty.factor, np.inf)
        waits &= np.not_equal(penalty.lower, 0) & np.not_equal(penalty.upper, 0)
    return bool((waits | (after > RANGE.growing * before)).any())
