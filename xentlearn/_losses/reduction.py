"""What the loss functions on predictions share: order of arguments, axis, weights, reductions."""

import math

import numpy as np
from scipy import sparse

from .._utils.arguments import advice_table
from .._utils.numerics import in_unit
from .base import mean_of

_REDUCTIONS = ("none", "sum", "mean", "weighted_mean")

# Names that users of PyTorch, Keras and scikit-learn try.
ADVICE = advice_table(
    (
        "ignore_index",
        "It is called 'ignore_class' here, a parameter of sparse_categorical_crossentropy, and "
        "None by default.",
    ),
    (
        "ignore_class",
        "It is a parameter of sparse_categorical_crossentropy; other rows are left out by a "
        "'sample_weight' of 0, and binary targets may be nan.",
    ),
    (
        "weight weights class_weight class_weights",
        "Categorical functions weigh classes by 'class_weight', binary_crossentropy the positives "
        "by 'pos_weight', and all of them rows by 'sample_weight'.",
    ),
    (
        "pos_weight",
        "It is a parameter of binary_crossentropy; categorical functions have 'class_weight', "
        "focal ones 'alpha'.",
    ),
    ("sample_weights", "It is called 'sample_weight' here."),
    (
        "size_average reduce normalize",
        "reduction='none' (the default) gives the loss of each row, 'mean' and 'sum' reduce them.",
    ),
    ("target targets labels y", "It is called 'y_true' here, and comes first."),
    (
        "input inputs output logits preds y_score y_prob y_proba",
        "It is called 'y_pred' here, and comes second; logits need from_logits=True.",
    ),
    ("dim", "It is called 'axis' here."),
    ("smoothing", "It is called 'label_smoothing' here."),
    ("gamma alpha", "It is a parameter of the focal functions."),
    ("apply_class_balancing", "Classes are balanced exactly if 'alpha' is not None."),
    ("n_jobs num_threads", "It is called 'n_threads' here."),
    ("eps epsilon", "Probabilities are not clipped: a target of probability 0 costs inf."),
)


def require_order(y_true, y_pred, from_logits):
    """Raise the ValueError of sparse matrices, and of predictions that come before their targets.

    Integers are valid probabilities, too. But beside fractional targets of the same shape each of
    them would cost inf, or it was meant as a label.
    """
    for name, array in (("y_true", y_true), ("y_pred", y_pred)):
        if sparse.issparse(array):
            raise ValueError(
                f"'{name}' must be an array, got a sparse matrix; pass {name}.toarray()."
            )
    y_pred = np.asarray(y_pred)
    if y_pred.dtype.kind not in "iub":
        return
    y_true = np.asarray(y_true)
    if y_true.dtype.kind != "f" or (y_true.shape == y_pred.shape and from_logits):
        return
    fractional = np.isfinite(y_true) & (y_true % 1 != 0)  # nan is a missing label
    if y_true.ndim > y_pred.ndim or fractional.any():
        raise ValueError(
            "The order is (y_true, y_pred), as in Keras, and not that of PyTorch; got "
            f"{y_true.dtype} of shape {y_true.shape} first and {y_pred.dtype} of shape "
            f"{y_pred.shape} second. Swap them, or convert integer predictions to float."
        )


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
        raise ValueError(
            f"'reduction' must be one of {list(_REDUCTIONS)}, got {reduction!r}; 'none' gives the "
            "loss of each row, and 'mean' is the default of PyTorch."
        )
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
