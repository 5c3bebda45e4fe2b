"""What the loss functions on predictions share: their axis, weights and reductions."""

import math

import numpy as np

from .._utils.numerics import in_unit
from .base import mean_of

_REDUCTIONS = ("none", "sum", "mean", "weighted_mean")


def check_axis(axis, ndim):
    """Return ``axis`` as an int if it is an axis of predictions with ``ndim`` dimensions."""
    if isinstance(axis, bool) or not hasattr(axis, "__index__") or not -ndim <= axis < ndim:
        raise ValueError(f"'axis' must be an axis of 'y_pred' (it has {ndim}), got {axis!r}.")
    return int(axis)


def weigh(loss, weight):
    """Multiply losses by weights; a weight of 0 makes 0, even of inf."""
    return np.where(weight == 0, 0, loss * np.where(weight == 0, 1, weight)).astype(loss.dtype)


def reduce_rows(loss, weights, counts, reduction, shape):
    """Multiply the losses of rows by weights, and reduce them.

    Parameters
    ----------
    loss : ndarray of shape (n_rows,)
    weights : tuple of ndarrays of n_rows weights, or None
        A row is multiplied by the product of those that are not None. A weighted mean is computed
        in units of the weights in which this product is within range.
    counts : ndarray of shape (n_rows,), bool
        Which rows a mean is over.
    reduction : {"none", "sum", "mean", "weighted_mean"}
    shape : tuple or None
        Shape of the result if ``reduction`` is "none".

    Returns
    -------
    ndarray or scalar of the dtype of ``loss``
    """
    if reduction not in _REDUCTIONS:
        raise ValueError(f"'reduction' must be one of {list(_REDUCTIONS)}, got {reduction!r}.")
    weights = [weight.reshape(-1) for weight in weights if weight is not None]
    if reduction == "weighted_mean":
        weights = [in_unit(np.where(counts, weight, 0.0))[0] for weight in weights]
    weight = math.prod(weights) if weights else None
    if reduction == "weighted_mean":
        weight, _ = in_unit(weight)
    if weight is not None:
        loss = weigh(loss, weight)
    if reduction == "none":
        return loss.reshape(shape)
    if reduction == "sum":
        return loss.dtype.type(loss.sum(dtype=np.float64))
    by_weight = reduction == "weighted_mean" and weight is not None
    divisor = weight[counts].sum() if by_weight else np.count_nonzero(counts)
    return loss.dtype.type(mean_of(loss, divisor))
