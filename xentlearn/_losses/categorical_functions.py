"""Categorical loss functions on predictions, named and ordered as in Keras."""

import numpy as np

from .._utils.arguments import advised
from .._utils.threads import effective_n_threads
from .._utils.validation import as_floating, as_numpy, check_weights
from . import _proba_loss
from .reduction import ADVICE, check_axis, reduce_rows, require_order
from .softmax import (
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    SparseCategoricalCrossentropy,
)
from .validation import (
    check_class_weight,
    check_labels,
    check_soft_rows,
    require_distributions,
)


@advised(ADVICE)
def sparse_categorical_crossentropy(
    y_true,
    y_pred,
    *,
    from_logits=False,
    ignore_class=None,
    label_smoothing=0.0,
    class_weight=None,
    sample_weight=None,
    axis=-1,
    reduction="none",
    n_threads=None,
):
    """Compute the cross-entropy of integer labels: ``-log(probability of the true class)`` per row.

    With label smoothing e, the target of class k is ``t_k = (1 - e) [k is the label] + e / K`` and
    the loss is ``-sum_k t_k log p_k``. Labels are never expanded to one-hot rows.

    Parameters
    ----------
    y_true : array-like of int of shape (...) or (..., 1)
        Class indices in [0, n_classes), one per row of ``y_pred``; floats that are whole numbers
        are accepted.
    y_pred : array-like of shape (..., n_classes)
        Probabilities, or logits with ``from_logits=True``; at least 2 dimensions.
    from_logits : bool, default=False
        Whether ``y_pred`` holds logits (any real numbers) rather than probabilities.
    ignore_class : int or None, default=None
        Rows with this label have a loss of 0 and are left out of means; it may be out of range.
    label_smoothing : float, default=0.0
        In [0, 1].
    class_weight : sequence of n_classes floats, dict or None, default=None
        Weights >= 0 by class index; classes that a dict does not name have a weight of 1. A row is
        multiplied by the weight of its label, including the part that comes from smoothing.
    sample_weight : array-like of shape (...) or None, default=None
        Weights >= 0 of the rows.
    axis : int, default=-1
        The axis of ``y_pred`` that holds the classes.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default="none"
        "none" returns the weighted loss of each row. "mean" divides their sum by the number of rows
        that are not ignored, "weighted_mean" by the sum of the weights of these rows.
    n_threads : int or None, default=None
        Number of OpenMP threads; None means as many as OpenMP allows. The result does not depend
        on it.

    Returns
    -------
    ndarray of the shape of ``y_pred`` less ``axis``, or a number unless ``reduction="none"``
        Of the floating dtype of ``y_pred``; float32 for float16, float64 for integers.

    Raises
    ------
    ValueError
        If a label is out of range, if a row of ``y_pred`` is not a probability distribution (an
        entry is outside [0, 1], or the sum differs from 1 by more than 1e-4, for float16 by more
        than 5e-3), or if a shape or parameter is invalid.

    Warns
    -----
    RuntimeWarning
        If ``reduction`` is a mean and no row counts; the result is nan.

    Notes
    -----
    Probabilities are neither clipped nor rescaled: the loss is inf where the true class has a
    probability of 0. Keras clips probabilities to 1e-7 and rescales rows; PyTorch works on logits
    and multiplies each smoothed term by the weight of its own class.

    From logits, each value is within 8 eps (relative) of the exact one for logits up to 1e4.

    Examples
    --------
    >>> from xentlearn.losses import sparse_categorical_crossentropy
    >>> good = [0.01, 0.02, 0.85, 0.02, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01]
    >>> bad = [0.01, 0.02, 0.05, 0.80, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02]
    >>> sparse_categorical_crossentropy([2, 2], [good, bad]).round(2)
    array([0.16, 3.  ])

    The loss where the true class has a probability of 100 %, 50 %, 10 % and 1 %:

    >>> p = [[1.0, 0.0], [0.5, 0.5], [0.1, 0.9], [0.01, 0.99]]
    >>> sparse_categorical_crossentropy([0, 0, 0, 0], p).round(2)
    array([0.  , 0.69, 2.3 , 4.61])

    Logits keep full relative precision where the prediction is almost certain:

    >>> sparse_categorical_crossentropy([0], [[40.0, 0.0]], from_logits=True)
    array([4.24835426e-18])
    """
    loss = SparseCategoricalCrossentropy(label_smoothing, ignore_class)
    return _categorical(
        y_true, y_pred, loss, from_logits, class_weight, sample_weight, axis, reduction, n_threads
    )


@advised(ADVICE)
def categorical_crossentropy(
    y_true,
    y_pred,
    *,
    from_logits=False,
    label_smoothing=0.0,
    class_weight=None,
    sample_weight=None,
    axis=-1,
    reduction="none",
    n_threads=None,
):
    """Compute the cross-entropy of one-hot or soft rows: ``-sum_k t_k log p_k`` per row.

    Label smoothing e replaces ``t_k`` by ``(1 - e) t_k + e / K``.

    Parameters
    ----------
    y_true : array-like of shape (..., n_classes)
        Probabilities of the classes (one-hot rows included), shaped as ``y_pred``.
    y_pred : array-like of shape (..., n_classes)
        Probabilities, or logits with ``from_logits=True``.
    from_logits : bool, default=False
        Whether ``y_pred`` holds logits (any real numbers) rather than probabilities.
    label_smoothing : float, default=0.0
        In [0, 1].
    class_weight : sequence of n_classes floats, dict or None, default=None
        Weights >= 0 by class index. A row is multiplied by ``sum_k t_k w_k``, where t is not
        smoothed.
    sample_weight : array-like of shape (...) or None, default=None
        Weights >= 0 of the rows.
    axis : int, default=-1
        The axis of ``y_true`` and ``y_pred`` that holds the classes.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default="none"
        "none" returns the weighted loss of each row. "mean" divides their sum by the number of
        rows, "weighted_mean" by the sum of their weights.
    n_threads : int or None, default=None
        Number of OpenMP threads; None means as many as OpenMP allows. The result does not depend
        on it.

    Returns
    -------
    ndarray of the shape of ``y_pred`` less ``axis``, or a number unless ``reduction="none"``
        Of the floating dtype of ``y_pred``; float32 for float16, float64 for integers.

    Raises
    ------
    ValueError
        If a row of ``y_true`` or ``y_pred`` is not a probability distribution (an entry is outside
        [0, 1], or the sum differs from 1 by more than 1e-4, for float16 by more than 5e-3), or if a
        shape or parameter is invalid.

    Warns
    -----
    RuntimeWarning
        If ``reduction`` is a mean and no row counts; the result is nan.

    Notes
    -----
    Probabilities are neither clipped nor rescaled: a target above 0 contributes inf where the
    probability is 0; a target of 0 contributes 0 whatever the prediction, also for a logit of -inf.

    Examples
    --------
    The label 5 and its one-hot row have the same loss:

    >>> from xentlearn.losses import categorical_crossentropy, sparse_categorical_crossentropy
    >>> p = [[0.05, 0.05, 0.05, 0.05, 0.05, 0.6, 0.05, 0.05, 0.025, 0.025]]
    >>> categorical_crossentropy([[0, 0, 0, 0, 0, 1, 0, 0, 0, 0]], p)
    array([0.51082562])
    >>> sparse_categorical_crossentropy([5], p)
    array([0.51082562])
    """
    loss = CategoricalCrossentropy(label_smoothing)
    return _categorical(
        y_true, y_pred, loss, from_logits, class_weight, sample_weight, axis, reduction, n_threads
    )


@advised(ADVICE)
def categorical_focal_crossentropy(
    y_true,
    y_pred,
    *,
    gamma=2.0,
    alpha=None,
    from_logits=False,
    label_smoothing=0.0,
    class_weight=None,
    sample_weight=None,
    axis=-1,
    reduction="none",
    n_threads=None,
):
    """Compute the focal loss of rows: ``-sum_k a_k t_k (1 - p_k)^gamma log p_k`` for each.

    a is ``alpha`` (or 1). Label smoothing e replaces ``t_k`` by ``(1 - e) t_k + e / K``. See arXiv
    1708.02002, equation 5; the definition for soft rows is that of Keras.

    Parameters
    ----------
    y_true : array-like of shape (..., n_classes), or of int of shape (...) or (..., 1)
        Probabilities of the classes (one-hot rows included), shaped as ``y_pred``; or class
        indices in [0, n_classes), one per row, which cost the same as their one-hot rows.
    y_pred : array-like of shape (..., n_classes)
        Probabilities, or logits with ``from_logits=True``.
    gamma : float, default=2.0
        In [0, 100]: the larger, the less well predicted classes count; 0 is plain cross-entropy.
    alpha : float, sequence of n_classes floats or None, default=None
        Weights of the classes, each 0 or from 1e-15 to 1e15; None means 1. The divisor of a mean
        does not depend on them.
    from_logits : bool, default=False
        Whether ``y_pred`` holds logits (any real numbers) rather than probabilities.
    label_smoothing : float, default=0.0
        In [0, 1].
    class_weight : sequence of n_classes floats, dict or None, default=None
        Weights >= 0 by class index. A row is multiplied by ``sum_k t_k w_k``, where t is not
        smoothed.
    sample_weight : array-like of shape (...) or None, default=None
        Weights >= 0 of the rows.
    axis : int, default=-1
        The axis of ``y_true`` and ``y_pred`` that holds the classes.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default="none"
        "none" returns the weighted loss of each row. "mean" divides their sum by the number of
        rows, "weighted_mean" by the sum of their weights.
    n_threads : int or None, default=None
        Number of OpenMP threads; None means as many as OpenMP allows. The result does not depend
        on it.

    Returns
    -------
    ndarray of the shape of ``y_pred`` less ``axis``, or a number unless ``reduction="none"``
        Of the floating dtype of ``y_pred``; float32 for float16, float64 for integers.

    Raises
    ------
    ValueError
        If a label is out of range, if a row of ``y_true`` or ``y_pred`` is not a probability
        distribution (an entry is outside [0, 1], or the sum differs from 1 by more than 1e-4, for
        float16 by more than 5e-3), or if a shape or parameter is invalid.

    Warns
    -----
    RuntimeWarning
        If ``reduction`` is a mean and no row counts; the result is nan.

    Notes
    -----
    Keras has ``alpha=0.25`` by default, clips probabilities to 1e-7 and rescales rows, none of
    which is done here. PyTorch has no such loss.

    Examples
    --------
    >>> from xentlearn.losses import categorical_focal_crossentropy
    >>> categorical_focal_crossentropy([[0, 1], [0, 1]], [[0.3, 0.7], [0.9, 0.1]]).round(3)
    array([0.032, 1.865])
    >>> categorical_focal_crossentropy([1, 1], [[0.3, 0.7], [0.9, 0.1]]).round(3)
    array([0.032, 1.865])
    """
    loss = CategoricalFocalCrossentropy(gamma, alpha, label_smoothing)
    return _categorical(
        y_true, y_pred, loss, from_logits, class_weight, sample_weight, axis, reduction, n_threads
    )


def _categorical(
    y_true, y_pred, setting, from_logits, class_weight, sample_weight, axis, reduction, n_threads
):
    """Compute the loss of a categorical setting on predictions."""
    setting._check_parameters()
    y_true, y_pred = as_numpy(y_true, "y_true"), as_numpy(y_pred, "y_pred")
    require_order(y_true, y_pred, from_logits)
    predictions, tolerance = as_floating(y_pred, "y_pred")
    if predictions.ndim < 2 and not setting._takes_rows:
        raise ValueError(
            "'y_pred' must have rows and classes, at least 2 dimensions, got shape "
            f"{predictions.shape}; for a single row pass [y_pred] and [y_true]."
        )
    axis = check_axis(axis, predictions.ndim)
    predictions = np.moveaxis(predictions, axis, -1)
    shape, n_classes = predictions.shape, predictions.shape[-1]
    if n_classes == 0:
        raise ValueError(f"'y_pred' must have at least 1 class, got shape {shape}.")
    rows = predictions.reshape(-1, n_classes)
    n_threads = effective_n_threads(n_threads)
    weight = check_weights(sample_weight, "sample_weight", shape[:-1])
    of_rows = class_weight = check_class_weight(class_weight, n_classes)
    labels = None
    counts = np.ones(len(rows), dtype=bool)
    values = np.asarray(y_true)
    labelled = not setting._takes_rows
    if isinstance(setting, CategoricalFocalCrossentropy):  # of which Keras has no sparse version
        labelled = values.shape in (shape[:-1], (*shape[:-1], 1)) and values.shape != shape
    if not labelled:
        if values.ndim == len(shape):
            values = np.moveaxis(values, axis, -1)
        values = check_soft_rows(values, "y_true", shape, rows.dtype, n_threads).reshape(rows.shape)
        if class_weight is not None:
            of_rows = values @ class_weight
    else:
        labels = check_labels(values, shape[:-1], n_classes, setting._ignore_class).reshape(-1)
        values = None
        counts = labels >= 0
        if class_weight is not None:
            of_rows = class_weight[np.maximum(labels, 0)]

    loss = np.empty(len(rows), dtype=rows.dtype)
    smoothing = setting._label_smoothing
    if from_logits:
        given = {"labels": labels, "values": values, "once": True}
        target = setting._kernel_target(rows.shape, rows.dtype, **given)
        target.loss_gradient(rows, loss, None, n_threads)
    else:
        require_distributions(rows, labels, "y_pred", tolerance, shape, n_threads)
        alpha = setting._output_weight(n_classes, np.float64)
        alpha = np.ones(n_classes) if alpha is None else alpha
        form = smoothing, setting._gamma, alpha
        if labels is not None:
            _proba_loss.sparse_categorical(rows, labels, *form, loss, n_threads)
        else:
            _proba_loss.categorical(rows, values, *form, loss, n_threads)
    return reduce_rows(loss, (weight, of_rows), counts, reduction, shape[:-1])
