"""Leave-one-out losses of all rows from a single fit."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .._losses.hybrid import HybridLoss
from .._plan.leave_one_out_settings import LeavingOut
from .._utils.threads import ParallelLoop, sequential_blas
from .composite import CompositeObjective
from .left_out_blocks import steps_by_blocks
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


def leave_one_out(objective, vector, *, thorough, settings=None):
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
    settings : LeavingOut or None, default=None

    Returns
    -------
    LeaveOneOut

    Raises
    ------
    ValueError
        If the loss is not convex.
    """
    settings = LeavingOut() if settings is None else settings
    rows, y = objective.rows, objective.rows.y
    n = rows.n_rows
    if not y.loss._convex:
        raise ValueError(
            "Leave-one-out losses from a single fit need a convex loss, whose minimum follows the "
            f"rows continuously; got {y.loss!r}. Use cross-validation with folds."
        )
    share = left_out_shares(y, rows.outputs)
    alone = np.zeros(n, dtype=bool)
    if objective.fit_intercept:
        alone = rows_alone(y, rows.outputs) & (share == 1.0).all(axis=1)
        share = share * ~alone[:, np.newaxis]  # nothing has to be found for these
    with sequential_blas:
        if is_small(objective, vector, settings):
            logits, found, unsure = by_models(objective, vector, share, thorough, settings)
        else:
            logits, found, unsure = by_blocks(objective, vector, share, settings)
    logits -= left_out_offsets(objective, share)
    losses = evaluated(y, rows.outputs, logits)
    losses[alone] = np.inf
    return LeaveOneOut(losses, np.count_nonzero(found), np.count_nonzero(unsure))


def is_small(objective, vector, settings):
    """Return whether inverse Hessians in all coefficients that the loss couples can be computed."""
    n, (size, n_outputs) = objective.rows.n_rows, objective.shape
    coupled, n_active = objective.rows.y.loss._couples, size * n_outputs
    if isinstance(objective, CompositeObjective):
        n_active = np.count_nonzero(vector)
    n_together = n_active if coupled else n_active / n_outputs
    work = (n + n_together) * n_together * n_active
    n_curvatures = n * n_outputs * (n_outputs if coupled else 1)
    return (
        work <= settings.most_whole_work
        and n_curvatures <= settings.most_curvatures
        and n * size <= settings.most_dense
    )


def by_models(objective, vector, share, thorough, settings):
    """Return logits of rows by models without them, by Newton steps with whole Hessians.

    The results are those of ``left_out_logits``, for all outputs.
    """
    rows, y, coupled = objective.rows, objective.rows.y, objective.rows.y.loss._couples
    n, n_outputs = rows.n_rows, objective.n_outputs
    mean = objective.mean if objective.fit_intercept else None
    X, W = rows._centred_X(mean, np.dtype(float)), vector.reshape(objective.shape)
    penalty, logits = penalty_of_sum(objective), np.empty((n, n_outputs))
    found, unsure = np.zeros((2, n), dtype=bool)
    for outputs in [np.arange(n_outputs)] if coupled else np.arange(n_outputs)[:, np.newaxis]:
        of_outputs = share[:, outputs[0]] if share.shape[1] > 1 else share[:, 0]
        models = LeftOutModels(
            X,
            y.kernel_target(np.float64, rows.outputs[outputs]),
            np.ascontiguousarray(W[:, outputs].T),
            penalty,
            of_outputs,
            objective.offset[outputs],
            objective.exact_hessian,
            objective.shift_invariant,
            objective.n_threads,
            settings,
        )
        logits[:, outputs], of_set, doubtful = left_out_logits(models, thorough, settings)
        found, unsure = found | of_set, unsure | doubtful
    return logits, found, unsure


def by_blocks(objective, vector, share, settings):
    """Return the same by blocks of the Hessian; rows that matter are unsure."""
    rows = objective.rows
    logits, change = steps_by_blocks(objective, vector, share, settings)
    target = rows.y.kernel_target(np.float64, rows.outputs)
    before, after = np.empty((2, rows.n_rows))
    target.loss_gradient(logits, before, None, objective.n_threads)
    logits += change
    target.loss_gradient(logits, after, None, objective.n_threads)
    error = settings.block_error * np.abs(after - before)
    order = np.argsort(-error, kind="stable")
    rest = np.cumsum(error[order][::-1])[::-1]
    unsure = np.zeros(rows.n_rows, dtype=bool)
    unsure[order[rest > settings.accuracy * after.sum()]] = True
    return logits, np.zeros(rows.n_rows, dtype=bool), unsure


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


def left_out_offsets(objective, share):
    """Return what ``logit_adjustment`` adds to the logits of a row by the model without it.

    The classes have other shares without the row. An intercept makes up for that, so that the
    logits in training are the same.
    """
    y, outputs = objective.rows.y, objective.rows.outputs
    if not (objective.offset.any() and objective.fit_intercept):
        return objective.offset
    weight = y.weight * share[:, 0]
    if y.labels is None:
        own = weight[:, np.newaxis] * y.values[:, outputs]
    else:
        own = np.where(y.labels[:, np.newaxis] == outputs, weight[:, np.newaxis], 0.0)
    sums = y.class_weight_sums()[outputs] - own
    return y.loss._logit_adjustment * np.log(sums / sums.sum(axis=1, keepdims=True))


def rows_alone(y, outputs):
    """Return which rows are the only ones of a class, or of one of the two values of a label.

    Missing labels, and those of weight 0, do not count. With label smoothing, every row is a bit of
    each class.
    """
    n = len(y.weight)
    if any(loss._label_smoothing > 0 for loss in parts_of(y.loss)):
        return np.zeros(n, dtype=bool)
    if y.labels is not None:
        shape = n, y.n_outputs
        ones = sparse.csr_array((np.ones(n), (np.arange(n), y.labels)), shape)[:, outputs]
    else:
        ones = sparse.csr_array(y.values)[:, outputs]
    if y.loss._proba_kind == "softmax":
        alone = [_of_single(ones > 0)]
    else:
        counts = (
            np.ones((n, len(outputs))) if y.entry_weight is None else y.entry_weight[:, outputs]
        )
        values = np.where(counts > 0, ones.toarray(), np.nan)
        alone = [_of_single(sparse.csr_array(values == value)) for value in (0.0, 1.0)]
    return np.logical_or.reduce(alone)


def parts_of(loss):
    """Return the losses that a hybrid one adds up, or the loss itself."""
    return [part for _, part in loss.losses] if isinstance(loss, HybridLoss) else [loss]


def _of_single(mask):
    """Return which rows hold the only entry of a column of a sparse mask."""
    is_single = np.asarray(mask.sum(axis=0)).ravel() == 1
    return (mask @ is_single.astype(float)) > 0


def left_out_logits(models, thorough, settings):
    """Return the logits of all rows by the models without them.

    Single steps come first. The error of the loss of a row is judged by its score, the change of
    the loss by the single step times the largest change of a logit: the relative change of
    curvatures along the step is of the order of the latter. Where coefficients may become 0 or
    stop being 0, which single steps do not see, it is at least the change of the loss by a second
    step. Models are found for the rows with the
    highest scores, until the scores of all others, times the ratio of errors to scores among the
    last rows, no longer matter.

    Parameters
    ----------
    models : LeftOutModels
    thorough : bool
    settings : LeavingOut

    Returns
    -------
    logits : ndarray of shape (n, n_outputs)
    found, unsure : ndarray of shape (n,), bool
        Rows whose models have been found, and those whose models should have been.
    """
    n = len(models.X)
    change = models.single_steps()
    logits = models.logits + change
    losses = models.losses_at(logits)
    score = np.abs(losses - models.losses) * np.abs(change).max(axis=1)
    models.typical_loss = losses.mean()
    at_once = max(1, settings.stack_numbers // logits.size)
    of_product = float(logits.size) * models.X.shape[1]
    if not models.is_smooth and (thorough or 2 * n * of_product <= settings.most_work):

        def look(part):
            score[part] = np.maximum(score[part], models.second_changes(np.arange(n)[part]))

        ParallelLoop(n, at_once, models.n_threads).each(look)
    order = np.argsort(-score, kind="stable")
    rest = np.cumsum(score[order][::-1])[::-1]  # scores of the row at a place and all that follow
    most = n
    if not thorough:
        of_model = 2 * settings.products_per_model * of_product
        most = min(n, settings.most_models, int(settings.most_work / of_model))
    n_found, ratio, most_next = 0, settings.first_ratio, settings.first_models
    while True:
        wanted = np.count_nonzero(ratio * rest > settings.accuracy * losses.sum())
        if n_found == 0 and not models.is_smooth:
            wanted = max(wanted, 1)  # whether coefficients become 0 does not follow from the score
        if wanted <= n_found or n_found == most:
            break
        end = min(max(wanted, n_found + settings.first_models), n_found + most_next, most, n)
        chosen = order[n_found:end]

        def find(part, chosen=chosen):
            logits[chosen[part]] = models.found(chosen[part])

        ParallelLoop(len(chosen), at_once, models.n_threads).each(find)
        before, losses = losses, models.losses_at(logits)
        errors = np.abs(losses - before)[chosen]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.nan_to_num(settings.safety * errors.sum() / score[chosen].sum())
        if not models.is_smooth:  # steps of the first rows may have been too long, and say nothing
            ratio = max(ratio, settings.first_ratio)
        models.typical_loss = losses.mean()
        n_found, most_next = end, 2 * end
    found, unsure = np.zeros((2, n), dtype=bool)
    found[order[:n_found]] = True
    unsure[order[n_found:wanted]] = True
    return logits, found, unsure | models.unfinished
