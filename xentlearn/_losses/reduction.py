"""What the loss functions on predictions share: the axis, weights and reductions of rows."""

import math

import numpy as np

from .._utils.messages import warn
from .._utils.units import in_unit

_REDUCTIONS = ("none", "sum", "mean", "weighted_mean")


def check_axis(axis, ndim):
    if isinstance(axis, bool) or not hasattr(axis, "__index__") or not -ndim <= axis < ndim:
        raise ValueError(f"'axis' must be an axis of 'y_pred' (it has {ndim}), got {axis!r}.")
    return int(axis)


def weigh(loss, weight):
    """Weighted losses; a weight of 0 leaves nothing, also of inf."""
    return np.where(weight == 0, 0, loss * np.where(weight == 0, 1, weight)).astype(loss.dtype)


def reduce_rows(loss, weights, counts, reduction, shape):
    """Weigh rows and reduce them; ``counts`` says which rows count.

    Rows are weighed by the product of ``weights``, of which each is an array or None. A weighted
    mean is made in units of the weights in which nothing is out of range.
    """
    if reduction not in _REDUCTIONS:
        raise ValueError(f"'reduction' must be one of {list(_REDUCTIONS)}, got {reduction!r}.")
    weights = [weight for weight in weights if weight is not None]
    if reduction == "weighted_mean":
        weights = [in_unit(np.where(counts, weight, 0.0))[0] for weight in weights]
    weight = math.prod(weights) if weights else None
    if reduction == "weighted_mean":
        weight, _ = in_unit(weight)
    if weight is not None:
        loss = weigh(loss, weight)
    if reduction == "none":
        return loss.reshape(shape)
    total = loss.sum(dtype=np.float64)
    if reduction != "sum":
        if reduction == "mean" or weight is None:
            divisor = np.count_nonzero(counts)
        else:
            divisor = weight[counts].sum()
        if divisor == 0:
            warn(
                f"reduction={reduction!r} of no rows: none counts, or all weights are 0; "
                "the result is nan.",
                RuntimeWarning,
            )
            total = np.nan
        else:
            total = total / divisor
    return loss.dtype.type(total)
