"""Binary loss functions on predictions, named and ordered as in Keras."""

import numpy as np

from .._utils.arguments import advised
from .._utils.threads import effective_n_threads
from .._utils.validation import as_floating, as_numpy, check_weights
from . import _proba_loss
from .reduction import ADVICE, check_axis, reduce_rows, require_order, weigh
from .sigmoid import BinaryCrossentropy, BinaryFocalCrossentropy
from .validation import check_binary_targets


@advised(ADVICE)
def binary_crossentropy(
    y_true,
    y_pred,
    *,
    from_logits=False,
    label_smoothing=0.0,
    pos_weight=None,
    sample_weight=None,
    axis=-1,
    reduction="none",
    n_threads=None,
):
    """Compute binary cross-entropy, ``-(w y log p + (1 - y) log(1 - p))``, averaged over labels.

    w is ``pos_weight``. Label smoothing e replaces y by ``(1 - e) y + e / 2``. A target of nan is
    missing: the mean of a row is over its other entries.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (..., n_labels)
        Targets in [0, 1], nan where missing, of the shape of ``y_pred``.
    y_pred : array-like of shape (n,) or (..., n_labels)
        Probabilities of the positive outcome, or logits with ``from_logits=True``. An array of
        one dimension has n rows of one label each.
    from_logits : bool, default=False
        Whether ``y_pred`` holds logits (any real numbers) rather than probabilities.
    label_smoothing : float, default=0.0
        In [0, 1].
    pos_weight : float, sequence of n_labels floats or None, default=None
        Weights of the positives, each 0 or from 1e-15 to 1e15; None means 1.
    sample_weight : array-like of shape (...), or of the shape of ``y_pred``, or None, default=None
        Weights >= 0 of rows or of entries.
    axis : int, default=-1
        The axis that holds the labels, if there are at least 2 dimensions.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default="none"
        "none" returns the weighted loss of each row. "mean" divides their sum by the number of rows
        in which some target is not missing, "weighted_mean" by the sum of the weights of these
        rows. With weights of entries, "weighted_mean" divides the sum of all weighted entries by
        the sum of the weights of those whose target is not missing.
    n_threads : int or None, default=None
        Number of OpenMP threads; None means as many as OpenMP allows. The result does not depend
        on it.

    Returns
    -------
    ndarray of the shape of ``y_pred`` less ``axis`` ((n,) for (n,)), or a number unless "none"
        Of the floating dtype of ``y_pred``; float32 for float16, float64 for integers.

    Raises
    ------
    ValueError
        If a target or a probability is outside [0, 1], or if a shape or parameter is invalid.

    Warns
    -----
    RuntimeWarning
        If ``reduction`` is a mean and no row counts; the result is nan.

    Notes
    -----
    Probabilities are not clipped: the loss of a positive with probability 0 is inf. Keras clips
    probabilities to 1e-7, and PyTorch clamps their logarithms at -100.

    Examples
    --------
    >>> from xentlearn.losses import binary_crossentropy
    >>> binary_crossentropy([1, 0], [0.9, 0.2]).round(3)
    array([0.105, 0.223])

    A row with six labels, three of which are positive:

    >>> binary_crossentropy([[0, 1, 0, 1, 0, 1]], [[0.1, 0.9, 0.2, 0.8, 0.1, 0.7]]).round(3)
    array([0.187])
    """
    loss = BinaryCrossentropy(label_smoothing, pos_weight)
    return _binary(y_true, y_pred, loss, from_logits, sample_weight, axis, reduction, n_threads)


@advised(ADVICE)
def binary_focal_crossentropy(
    y_true,
    y_pred,
    *,
    gamma=2.0,
    alpha=None,
    from_logits=False,
    label_smoothing=0.0,
    sample_weight=None,
    axis=-1,
    reduction="none",
    n_threads=None,
):
    """Compute binary focal loss, ``-a (1 - p_t)^gamma (y log p + (1 - y) log(1 - p))``.

    Here ``p_t = y p + (1 - y) (1 - p)`` and ``a = alpha y + (1 - alpha) (1 - y)`` (or 1). The loss
    of a row is the mean over its labels. Label smoothing e replaces y by ``(1 - e) y + e / 2``. A
    target of nan is missing: the mean of a row is over its other entries. See arXiv 1708.02002,
    equation 5; the definition for targets between 0 and 1 is that of Keras.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (..., n_labels)
        Targets in [0, 1], nan where missing, of the shape of ``y_pred``.
    y_pred : array-like of shape (n,) or (..., n_labels)
        Probabilities of the positive outcome, or logits with ``from_logits=True``. An array of
        one dimension has n rows of one label each.
    gamma : float, default=2.0
        In [0, 100]: the larger, the less well predicted labels count; 0 is plain cross-entropy.
    alpha : float or None, default=None
        In [0, 1]: weight of the positives; that of the negatives is 1 - alpha. None gives both a
        weight of 1. The divisor of a mean does not depend on it.
    from_logits : bool, default=False
        Whether ``y_pred`` holds logits (any real numbers) rather than probabilities.
    label_smoothing : float, default=0.0
        In [0, 1].
    sample_weight : array-like of shape (...), or of the shape of ``y_pred``, or None, default=None
        Weights >= 0 of rows or of entries.
    axis : int, default=-1
        The axis that holds the labels, if there are at least 2 dimensions.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default="none"
        As in ``binary_crossentropy``.
    n_threads : int or None, default=None
        Number of OpenMP threads; None means as many as OpenMP allows. The result does not depend
        on it.

    Returns
    -------
    ndarray of the shape of ``y_pred`` less ``axis`` ((n,) for (n,)), or a number unless "none"
        Of the floating dtype of ``y_pred``; float32 for float16, float64 for integers.

    Raises
    ------
    ValueError
        If a target or a probability is outside [0, 1], or if a shape or parameter is invalid.

    Warns
    -----
    RuntimeWarning
        If ``reduction`` is a mean and no row counts; the result is nan.

    Notes
    -----
    Keras uses ``alpha`` only with ``apply_class_balancing=True``, and clips probabilities to 1e-7.
    ``torchvision.ops.sigmoid_focal_loss`` takes logits and has ``alpha=0.25`` by default; a
    negative value there means None here.

    Examples
    --------
    >>> from xentlearn.losses import binary_focal_crossentropy
    >>> binary_focal_crossentropy([1, 1], [0.7, 0.1]).round(3)
    array([0.032, 1.865])
    """
    loss = BinaryFocalCrossentropy(gamma, alpha, label_smoothing)
    return _binary(y_true, y_pred, loss, from_logits, sample_weight, axis, reduction, n_threads)


def _binary(y_true, y_pred, setting, from_logits, sample_weight, axis, reduction, n_threads):
    """Compute the loss of a binary setting on predictions."""
    setting._check_parameters()
    y_true, y_pred = as_numpy(y_true, "y_true"), as_numpy(y_pred, "y_pred")
    require_order(y_true, y_pred, from_logits)
    predictions, _ = as_floating(y_pred, "y_pred")
    n_threads = effective_n_threads(n_threads)
    shape_as_given = predictions.shape
    if predictions.ndim > 1:
        axis = check_axis(axis, predictions.ndim)
        predictions = np.moveaxis(predictions, axis, -1)
        y_true = np.asarray(y_true)
        if y_true.ndim == predictions.ndim:
            y_true = np.moveaxis(y_true, axis, -1)
    shape = predictions.shape if predictions.ndim > 1 else (len(predictions), 1)
    row_shape, n_labels = shape[:-1], shape[-1]
    if n_labels == 0:
        raise ValueError(f"'y_pred' must have at least 1 label, got shape {predictions.shape}.")
    values = check_binary_targets(y_true, predictions.shape, predictions.dtype)
    shapes = dict.fromkeys((row_shape, shape_as_given))
    weight = check_weights(sample_weight, "sample_weight", *shapes)
    if weight is not None and weight.ndim == predictions.ndim > 1:
        weight = np.moveaxis(weight, axis, -1)

    rows, values = predictions.reshape(-1, n_labels), values.reshape(-1, n_labels)
    present = ~np.isnan(values)
    entries = np.empty(rows.shape, dtype=rows.dtype)
    target = setting._kernel_target(rows.shape, rows.dtype, values=values, once=True)
    if from_logits:
        target.entry_loss(rows, entries, n_threads)
    else:
        bad = present & ~((rows >= 0) & (rows <= 1))
        if bad.any():
            row, label = np.unravel_index(np.argmax(bad), bad.shape)
            raise ValueError(
                f"'y_pred' must hold probabilities in [0, 1]; row {row} holds "
                f"{rows[row, label]}; pass logits with from_logits=True."
            )
        positive = setting._output_weight(n_labels, np.float64)
        positive = np.ones(n_labels) if positive is None else positive
        _proba_loss.binary(
            rows,
            values,
            positive,
            setting._label_smoothing,
            setting._gamma,
            *setting._alphas(),
            entries,
            n_threads,
        )

    if weight is not None and weight.shape != row_shape:
        if reduction == "weighted_mean":
            return reduce_rows(entries.ravel(), (weight,), present.ravel(), reduction, None)
        entries, weight = weigh(entries, weight.reshape(rows.shape)), None
    n_present = present.sum(axis=1)
    loss = entries.sum(axis=1, dtype=np.float64) / np.maximum(n_present, 1)
    return reduce_rows(loss.astype(rows.dtype), (weight,), n_present > 0, reduction, row_shape)
