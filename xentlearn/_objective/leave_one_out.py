"""Leave-one-out losses of all rows from a single fit."""

from dataclasses import dataclass, replace

import numpy as np

from .._plan.leave_one_out_settings import LeavingOut
from .._utils.threads import ParallelLoop, sequential_blas
from .composite import CompositeObjective
from .left_out_models import LeftOutModels


@dataclass(frozen=True)
class LeaveOneOut:
    """Leave-one-out losses.

    Attributes
    ----------
    losses : ndarray of shape (n_rows,)
        Loss of each row, without its weight and summed over its labels, predicted by the model that
        is fitted to all other rows with the same C. It is inf where the row is the only one of its
        class, or of one of the two values of a label, and an intercept is fitted: no other row says
        that there is such a class.
    n_found : int
        Number of rows whose models have been found by more than a single Newton step.
    unsure : int
        Number of rows whose losses may be wrong by so much that their mean may be wrong by more
        than ``accuracy`` of ``LeavingOut``; 0 if the work was not limited.
    """

    losses: np.ndarray
    n_found: int
    unsure: int


def leave_one_out(objective, vector, *, thorough, settings=LeavingOut()):
    """Compute the leave-one-out losses of all rows from the minimum for all of them.

    The penalty of a model without a row is the same in absolute terms: the models without a row
    minimise the objective times the sum S of the weights, less the loss of the row.

    A row of weight w counts as w equal rows, of which one is left out: the share min(1, w) of its
    weight. Repeated rows and integer weights thus have the same losses. Class weights multiply
    these weights, and belong to the row: with it goes all of its class weight, so that a row of a
    class with weight 10 and of weight 1 is left out as a whole. Weights of entries count likewise,
    each for its own label.

    Parameters
    ----------
    objective : LinearObjective or CompositeObjective
        Of rows in memory.
    vector : ndarray of shape (size,)
        Its minimum, as a solver has found it.
    thorough : bool
        Whether to find as many models without a row as the accuracy needs, whatever the time.

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    ValueError
        If the loss is not convex.
    """
    rows, y = objective.rows, objective.rows.y
    if not y.loss._convex:
        raise ValueError(
            "Leave-one-out losses from a single fit need a convex loss, whose minimum follows the "
            f"rows continuously; got {y.loss!r}. Use cross-validation with folds."
        )
    n, n_outputs = rows.n_rows, objective.n_outputs
    share = left_out_shares(y, rows.outputs)
    alone = rows_alone(y, rows.outputs, share) if objective.fit_intercept else np.zeros(n, bool)
    mean = objective.mean if objective.fit_intercept else None
    X, W = rows._centred_X(mean, np.dtype(float)), vector.reshape(objective.shape)
    penalty, logits = penalty_of_sum(objective), np.empty((n, n_outputs))
    coupled = y.loss._couples
    sets = [np.arange(n_outputs)] if coupled else np.arange(n_outputs)[:, np.newaxis]
    n_found = np.zeros(n, bool)
    unsure = np.zeros(n, bool)
    with sequential_blas:
        for outputs in sets:
            models = LeftOutModels(
                X,
                y.kernel_target(np.float64, rows.outputs[outputs]),
                np.ascontiguousarray(W[:, outputs].T),
                penalty,
                share[:, 0] if coupled else share[:, outputs[0] if share.shape[1] > 1 else 0],
                objective.offset[outputs],
                objective.exact_hessian,
                objective.shift_invariant,
                objective.n_threads,
                settings,
            )
            logits[:, outputs], found, doubtful = left_out_logits(models, alone, thorough, settings)
            n_found |= found
            unsure |= doubtful
    losses = evaluated(y, rows.outputs, logits - objective.offset)
    losses[alone] = np.inf
    return LeaveOneOut(losses, np.count_nonzero(n_found), np.count_nonzero(unsure))


def penalty_of_sum(objective):
    """Return (l1, l2, lower, upper) of the sum of the losses, with an entry for the intercept."""
    total, size = objective.total_weight, objective.shape[0]
    if isinstance(objective, CompositeObjective):
        n_features, terms = objective.n_features, objective.terms
        l1, l2, lower, upper = (
            a if objective.fit_intercept else a[:n_features] for a in terms.with_intercept
        )
        return l1 * total, l2 * total, lower, upper
    l2 = np.zeros(size)
    l2[: objective.n_features] = objective.l2_reg * total
    return np.zeros(size), l2, np.full(size, -np.inf), np.full(size, np.inf)


def left_out_shares(y, outputs):
    """Return the share of each row, or of each of its entries, that is left out.

    Returns
    -------
    ndarray of shape (n, 1) or (n, n_outputs)
        min(1, w) / w, with w the weight in the units of the user, without class weights.
    """
    weight = y.weight[:, np.newaxis] if y.entry_weight is None else y.entry_weight[:, outputs]
    if y.class_weight is not None:
        if y.labels is not None:
            of_class = y.class_weight[y.labels]
        elif y.kind == "binary":
            of_class = y.class_weight[y.values[:, 0].astype(np.intp)]
        else:
            of_class = y.values @ y.class_weight
        weight = weight / of_class[:, np.newaxis]
    with np.errstate(over="ignore"):
        return 1.0 / np.maximum(1.0, np.ldexp(weight, y.weight_exponent))


def evaluated(y, outputs, logits):
    """Return the losses of rows at some logits, as they are scored, without their weights."""
    target = replace(y, loss=y.loss._for_evaluation()).kernel_target(np.float64, outputs)
    losses = np.empty(len(logits))
    target.loss_gradient(np.ascontiguousarray(logits), losses, None, 1)
    return losses / y.weight


def rows_alone(y, outputs, share):
    """Return which rows are the only ones of a class, or of one of the two values of a label."""
    alone = np.zeros(len(y.weight), dtype=bool)
    if y.loss._label_smoothing > 0:
        return alone
    return alone


def left_out_logits(models, alone, thorough, settings):
    n = len(models.X)
    change = models.single_steps()
    logits = models.logits + change
    estimate = np.empty(n)
    models.target.loss_gradient(logits, estimate, None, 1)
    gain = np.abs(estimate - models.losses)
    score = gain * np.abs(change).max(axis=1)
    score[alone] = 0.0
    order = np.argsort(-score, kind="stable")
    estimate[alone] = 0.0
    models.typical_loss = estimate.mean()
    # errors of single steps in the order of the scores, as far as they may still be there
    rest = np.append(np.cumsum(score[order][::-1])[::-1], 0.0)
    at, ratio, size = 0, settings.first_ratio, settings.first_models
    at_once = max(1, settings.stack_numbers // logits.size)
    while ratio * rest[at] > settings.accuracy * estimate.sum():
        needed = np.count_nonzero(ratio * rest[:-1] > settings.accuracy * estimate.sum())
        size = min(max(needed - at, settings.first_models), size)
        chosen = order[at : at + size]
        loop = ParallelLoop(len(chosen), at_once, models.n_threads)

        def find(part, chosen=chosen):
            logits[chosen[part]] = models.found(chosen[part])

        loop.each(find)
        losses = np.empty(n)
        models.target.loss_gradient(logits, losses, None, 1)
        errors = np.abs(losses - estimate)[chosen]
        ratio = settings.safety * errors.sum() / score[chosen].sum()
        estimate[chosen] = losses[chosen]
        at += len(chosen)
        size = 2 * at
    found, unsure = np.zeros(n, bool), np.zeros(n, bool)
    found[order[:at]] = True
    return logits, found, unsure
