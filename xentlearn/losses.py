"""Cross-entropy losses: functions on predictions, and settings that train on logits.

Functions (``sparse_categorical_crossentropy`` and its kin) judge predictions that exist, named and
ordered as in Keras. Settings (``SparseCategoricalCrossentropy`` and its kin) are training
objectives on logits with parameters: for ``SoftmaxClassifier(loss=...)``, for grid searches, or
for a solver of your own.
"""

import warnings

import numpy as np
from sklearn.base import BaseEstimator

from . import _proba_loss
from ._loss import EncodedTarget, proba
from ._threads import effective_n_threads
from ._validation import (
    as_floating,
    check_binary_targets,
    check_class_weight,
    check_label_smoothing,
    check_labels,
    check_logits,
    check_out,
    check_positive_weight,
    check_soft_rows,
    check_weights,
    require_distributions,
)

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
]

_REDUCTIONS = ("none", "sum", "mean", "weighted_mean")


# ---- Functions on predictions ----------------------------------------------------------------


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
    """Cross-entropy of integer labels: ``-log(probability of the true class)`` per row.

    With label smoothing e, the target of class k is ``t_k = (1 - e) [k is the label] + e / K`` and
    the loss ``-sum_k t_k log p_k``. Labels are never expanded to one-hot rows.

    Parameters
    ----------
    y_true : array-like of int of shape (...) or (..., 1)
        Class indices in [0, n_classes), one per row of ``y_pred``; whole floats are taken.
    y_pred : array-like of shape (..., n_classes)
        Probabilities, or logits with ``from_logits=True``; at least 2 dimensions.
    from_logits : bool, default=False
        Whether ``y_pred`` holds logits (any real numbers) rather than probabilities.
    ignore_class : int or None, default=None
        Rows with this label cost 0 and do not count; the label may be out of range.
    label_smoothing : float, default=0.0
        In [0, 1].
    class_weight : sequence of n_classes floats, dict or None, default=None
        Weights >= 0 by class index; a dict gives 1 to classes it does not name. Weighs whole rows,
        smoothed part included.
    sample_weight : array-like of shape (...) or None, default=None
        Weights >= 0 of the rows.
    axis : int, default=-1
        The axis of ``y_pred`` that holds the classes.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default="none"
        "none" gives weighted rows. "mean" divides their sum by the number of rows that count,
        "weighted_mean" by the sum of the weights of these rows.
    n_threads : int or None, default=None
        OpenMP threads; None takes as many as OpenMP allows. The result does not depend on it.

    Returns
    -------
    ndarray of the shape of ``y_pred`` less ``axis``, or a number unless ``reduction="none"``
        In the floating dtype of ``y_pred`` (float16 gives float32, integers float64).

    Raises
    ------
    ValueError
        If a label is out of range, a row of ``y_pred`` is no distribution (an entry outside [0, 1]
        or a sum further than 1e-4 from 1; float16: 5e-3), or a shape or parameter does not fit.

    Warns
    -----
    RuntimeWarning
        If a mean is asked for and no row counts; it is nan.

    Notes
    -----
    Probabilities are neither clipped nor rescaled: a true class of probability 0 costs inf. Keras
    clips to 1e-7 and rescales; PyTorch works on logits and weighs smoothed terms one by one.

    From logits, every value is within 8 eps (relative) of the exact one for logits up to 1e4.

    Examples
    --------
    >>> from xentlearn.losses import sparse_categorical_crossentropy
    >>> good = [0.01, 0.02, 0.85, 0.02, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01]
    >>> bad = [0.01, 0.02, 0.05, 0.80, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02]
    >>> sparse_categorical_crossentropy([2, 2], [good, bad]).round(2)
    array([0.16, 3.  ])

    The cost of giving the true class 100 %, 50 %, 10 % and 1 %:

    >>> p = [[1.0, 0.0], [0.5, 0.5], [0.1, 0.9], [0.01, 0.99]]
    >>> sparse_categorical_crossentropy([0, 0, 0, 0], p).round(2)
    array([0.  , 0.69, 2.3 , 4.61])

    From logits, nothing is lost where the answer is all but certain:

    >>> sparse_categorical_crossentropy([0], [[40.0, 0.0]], from_logits=True)
    array([4.24835426e-18])
    """
    rows, tolerance, shape = _prediction_rows(y_pred, axis)
    n_threads = effective_n_threads(n_threads)
    labels = check_labels(y_true, shape[:-1], shape[-1], ignore_class).reshape(-1)
    smoothing = check_label_smoothing(label_smoothing)
    weight = _row_weights(sample_weight, shape[:-1])
    class_weight = check_class_weight(class_weight, shape[-1])
    if class_weight is not None:
        weight = _times(weight, class_weight[np.maximum(labels, 0)])

    loss = np.empty(len(rows), dtype=rows.dtype)
    if from_logits:
        target = EncodedTarget(
            "sparse_categorical", *rows.shape, rows.dtype, labels=labels, label_smoothing=smoothing
        )
        target.loss_gradient(rows, loss, None, n_threads)
    else:
        require_distributions(rows, labels, "y_pred", tolerance, shape, n_threads)
        _proba_loss.sparse_categorical(rows, labels, smoothing, loss, n_threads)
    return _reduce(loss, weight, labels >= 0, reduction, shape[:-1])


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
    """Cross-entropy of one-hot or soft rows: ``-sum_k t_k log p_k`` per row.

    With label smoothing e, ``t_k`` becomes ``(1 - e) t_k + e / K``.

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
        Weights >= 0 by class index. A row weighs ``sum_k t_k w_k``, with t before smoothing.
    sample_weight : array-like of shape (...) or None, default=None
        Weights >= 0 of the rows.
    axis : int, default=-1
        The axis of ``y_true`` and ``y_pred`` that holds the classes.
    reduction : {"none", "sum", "mean", "weighted_mean"}, default="none"
        "none" gives weighted rows. "mean" divides their sum by the number of rows,
        "weighted_mean" by the sum of their weights.
    n_threads : int or None, default=None
        OpenMP threads; None takes as many as OpenMP allows. The result does not depend on it.

    Returns
    -------
    ndarray of the shape of ``y_pred`` less ``axis``, or a number unless ``reduction="none"``
        In the floating dtype of ``y_pred`` (float16 gives float32, integers float64).

    Raises
    ------
    ValueError
        If a row of ``y_true`` or ``y_pred`` is no distribution (an entry outside [0, 1] or a sum
        further than 1e-4 from 1; float16: 5e-3), or a shape or parameter does not fit.

    Warns
    -----
    RuntimeWarning
        If a mean is asked for and no row counts; it is nan.

    Notes
    -----
    Probabilities are neither clipped nor rescaled: a target above 0 under a probability of 0 costs
    inf, a target of 0 costs 0 whatever the prediction (a logit of -inf included).

    Examples
    --------
    The label 5 and its one-hot row cost the same:

    >>> from xentlearn.losses import categorical_crossentropy, sparse_categorical_crossentropy
    >>> p = [[0.05, 0.05, 0.05, 0.05, 0.05, 0.6, 0.05, 0.05, 0.025, 0.025]]
    >>> categorical_crossentropy([[0, 0, 0, 0, 0, 1, 0, 0, 0, 0]], p)
    array([0.51082562])
    >>> sparse_categorical_crossentropy([5], p)
    array([0.51082562])
    """
    rows, tolerance, shape = _prediction_rows(y_pred, axis, least_ndim=1)
    n_threads = effective_n_threads(n_threads)
    values, _ = as_floating(y_true, "y_true")
    if values.ndim == len(shape):
        values = np.moveaxis(np.asarray(y_true), axis, -1)
    values = check_soft_rows(values, "y_true", shape, rows.dtype, n_threads).reshape(rows.shape)
    smoothing = check_label_smoothing(label_smoothing)
    weight = _row_weights(sample_weight, shape[:-1])
    class_weight = check_class_weight(class_weight, shape[-1])
    if class_weight is not None:
        weight = _times(weight, values @ class_weight)

    loss = np.empty(len(rows), dtype=rows.dtype)
    if from_logits:
        target = EncodedTarget(
            "categorical", *rows.shape, rows.dtype, values=values, label_smoothing=smoothing
        )
        target.loss_gradient(rows, loss, None, n_threads)
    else:
        require_distributions(rows, None, "y_pred", tolerance, shape, n_threads)
        _proba_loss.categorical(rows, values, smoothing, loss, n_threads)
    return _reduce(loss, weight, np.ones(len(rows), dtype=bool), reduction, shape[:-1])


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
    """Binary cross-entropy ``-(w y log p + (1 - y) log(1 - p))``, averaged over the last axis.

    w is ``pos_weight``; label smoothing e makes y into ``(1 - e) y + e / 2``. Targets of nan are
    missing: a row's mean is over the entries that are there.

    Parameters
    ----------
    y_true : array-like of shape (n,) or (..., n_labels)
        Targets in [0, 1], nan where missing, shaped as ``y_pred``.
    y_pred : array-like of shape (n,) or (..., n_labels)
        Probabilities of the positive outcome, or logits with ``from_logits=True``. One dimension
        means n rows of one output each.
    from_logits : bool, default=False
        Whether ``y_pred`` holds logits (any real numbers) rather than probabilities.
    label_smoothing : float, default=0.0
        In [0, 1].
    pos_weight : float, sequence of n_labels floats or None, default=None
        Weights >= 0 of the positives.
    sample_weight : array-like of shape (...), or of the shape of ``y_pred``, or None, default=None
        Weights >= 0 of rows or of entries.
    axis : int, default=-1
        The axis that holds the labels (2 dimensions and up).
    reduction : {"none", "sum", "mean", "weighted_mean"}, default="none"
        "none" gives weighted rows. "mean" divides their sum by the number of rows with an entry
        that is there. "weighted_mean" divides by the sum of the weights of these rows; with
        weights of entries, the sum of all weighted entries by the sum of the weights of those
        that are there.
    n_threads : int or None, default=None
        OpenMP threads; None takes as many as OpenMP allows. The result does not depend on it.

    Returns
    -------
    ndarray of the shape of ``y_pred`` less ``axis`` ((n,) for (n,)), or a number unless "none"
        In the floating dtype of ``y_pred`` (float16 gives float32, integers float64).

    Raises
    ------
    ValueError
        If a target or a probability is outside [0, 1], or a shape or parameter does not fit.

    Warns
    -----
    RuntimeWarning
        If a mean is asked for and no row counts; it is nan.

    Notes
    -----
    Probabilities are not clipped: a positive with probability 0 costs inf, where Keras clips to
    1e-7 and PyTorch clamps the logarithm at -100.

    Examples
    --------
    >>> from xentlearn.losses import binary_crossentropy
    >>> binary_crossentropy([1, 0], [0.9, 0.2]).round(3)
    array([0.105, 0.223])

    A row with several labels, three of them set:

    >>> binary_crossentropy([[0, 1, 0, 1, 0, 1]], [[0.1, 0.9, 0.2, 0.8, 0.1, 0.7]]).round(3)
    array([0.187])
    """
    predictions, _ = as_floating(y_pred, "y_pred")
    n_threads = effective_n_threads(n_threads)
    if predictions.ndim > 1:
        axis = _check_axis(axis, predictions.ndim)
        predictions = np.moveaxis(predictions, axis, -1)
        y_true, _ = as_floating(y_true, "y_true")
        if y_true.ndim == predictions.ndim:
            y_true = np.moveaxis(y_true, axis, -1)
        row_shape = predictions.shape[:-1]
        n_labels = predictions.shape[-1]
    else:
        row_shape, n_labels = predictions.shape, 1
    if n_labels == 0:
        raise ValueError(f"'y_pred' must have at least 1 label, got shape {predictions.shape}.")
    values = check_binary_targets(y_true, predictions.shape, predictions.dtype)
    smoothing = check_label_smoothing(label_smoothing)
    positive = check_positive_weight(pos_weight, n_labels, predictions.dtype)
    if sample_weight is not None and predictions.ndim > 1:
        sample_weight = np.asarray(sample_weight)
        if sample_weight.ndim == predictions.ndim:
            sample_weight = np.moveaxis(sample_weight, axis, -1)
    weight = check_weights(
        sample_weight, "sample_weight", *dict.fromkeys((row_shape, predictions.shape))
    )

    rows, values = predictions.reshape(-1, n_labels), values.reshape(-1, n_labels)
    present = ~np.isnan(values)
    entries = np.empty(rows.shape, dtype=rows.dtype)
    if from_logits:
        target = EncodedTarget(
            "binary",
            *rows.shape,
            rows.dtype,
            values=values,
            positive=positive,
            label_smoothing=smoothing,
        )
        target.entry_loss(rows, entries, n_threads)
    else:
        bad = present & ~((rows >= 0) & (rows <= 1))
        if bad.any():
            row, label = np.unravel_index(np.argmax(bad), bad.shape)
            raise ValueError(
                f"'y_pred' must hold probabilities in [0, 1]; row {row} holds "
                f"{rows[row, label]}; pass logits with from_logits=True."
            )
        ones = np.ones(n_labels) if positive is None else positive.astype(np.float64)
        _proba_loss.binary(rows, values, ones, smoothing, entries, n_threads)

    if weight is not None and weight.shape != row_shape:
        entry_weight = weight.reshape(rows.shape)
        weighted = _weigh(entries, entry_weight)
        if reduction == "weighted_mean":
            return _reduce(entries.ravel(), entry_weight.ravel(), present.ravel(), reduction, None)
        entries, weight = weighted, None
    n_present = present.sum(axis=1)
    loss = entries.sum(axis=1, dtype=np.float64) / np.maximum(n_present, 1)
    weight = None if weight is None else weight.reshape(-1)
    return _reduce(loss.astype(rows.dtype), weight, n_present > 0, reduction, row_shape)


def _check_axis(axis, ndim):
    if isinstance(axis, bool) or not hasattr(axis, "__index__") or not -ndim <= axis < ndim:
        raise ValueError(f"'axis' must be an axis of 'y_pred' (it has {ndim}), got {axis!r}.")
    return int(axis)


def _prediction_rows(y_pred, axis, least_ndim=2):
    """(rows of shape (n, n_classes), tolerance of their sums, shape with the classes last)."""
    predictions, tolerance = as_floating(y_pred, "y_pred")
    if predictions.ndim < least_ndim:
        raise ValueError(
            "'y_pred' must have rows and classes, at least 2 dimensions, got shape "
            f"{predictions.shape}; for a single row pass [y_pred] and [y_true]."
        )
    predictions = np.moveaxis(predictions, _check_axis(axis, predictions.ndim), -1)
    if predictions.shape[-1] == 0:
        raise ValueError(f"'y_pred' must have at least 1 class, got shape {predictions.shape}.")
    return predictions.reshape(-1, predictions.shape[-1]), tolerance, predictions.shape


def _row_weights(sample_weight, shape):
    weight = check_weights(sample_weight, "sample_weight", shape)
    return None if weight is None else weight.reshape(-1)


def _times(weight, other):
    return other if weight is None else weight * other


def _weigh(loss, weight):
    """Weighted losses; a weight of 0 leaves nothing, also of inf."""
    return np.where(weight == 0, 0, loss * np.where(weight == 0, 1, weight)).astype(loss.dtype)


def _reduce(loss, weight, counts, reduction, shape):
    """Weigh rows and reduce them; ``counts`` says which rows count."""
    if reduction not in _REDUCTIONS:
        raise ValueError(f"'reduction' must be one of {list(_REDUCTIONS)}, got {reduction!r}.")
    if weight is not None:
        loss = _weigh(loss, weight)
    if reduction == "none":
        return loss.reshape(shape)
    total = loss.sum(dtype=np.float64)
    if reduction != "sum":
        if reduction == "mean" or weight is None:
            divisor = np.count_nonzero(counts)
        else:
            divisor = weight[counts].sum()
        if divisor == 0:
            warnings.warn(
                f"reduction={reduction!r} of no rows: none counts, or all weights are 0; "
                "the result is nan.",
                RuntimeWarning,
                stacklevel=3,
            )
            total = np.nan
        else:
            total = total / divisor
    return loss.dtype.type(total)


# ---- Loss settings ---------------------------------------------------------------------------


class LossSetting(BaseEstimator):
    """What all settings share: products on logits, with outputs made or filled.

    A setting checks its targets (``_encode``), names its kernel (``_kind``) and its probabilities
    (``proba_kind``); the products are then the same for all.
    """

    proba_kind = "softmax"

    def _refuse(self, unknown):
        """Parameters are named one by one in __init__; anything else comes here."""
        if "from_logits" in unknown:
            raise TypeError(
                f"{type(self).__name__} always acts on logits and has no 'from_logits'; for "
                "probabilities use the function "
                f"xentlearn.losses.{self.keras_name}(..., from_logits=False)."
            )
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no parameter {next(iter(unknown))!r}; it has "
                f"{sorted(self.get_params())}."
            )

    def kernel_target(
        self,
        shape,
        dtype,
        *,
        labels=None,
        values=None,
        weight=None,
        entry_weight=None,
        outputs=None,
        n_outputs=None,
    ):
        """Checked targets, handed to the kernels with the parameters of the loss.

        Parameters
        ----------
        shape : tuple (n_samples, n_outputs)
            Shape of the logits.
        dtype : dtype
            Dtype of the logits, float32 or float64.
        labels : ndarray of shape (n_samples,), int32, or None, default=None
            Class indices, -1 where ignored.
        values : ndarray of shape (n_samples, n_outputs) or None, default=None
            Soft rows or binary entries, in ``dtype``.
        weight : ndarray of shape (n_samples,), float64, or None, default=None
            Weights of rows.
        entry_weight : ndarray of shape (n_samples, n_outputs) or None, default=None
            Weights of binary entries, in ``dtype``.
        outputs : ndarray of int or None, default=None
            Which of the ``n_outputs`` outputs the logits are, for parameters by output; None: all.
        n_outputs : int or None, default=None
            Outputs that the parameters are for; None: as many as there are logits.

        Returns
        -------
        EncodedTarget
        """
        return EncodedTarget(
            self._kind(labels),
            *shape,
            dtype,
            labels=labels,
            values=values,
            weight=weight,
            entry_weight=entry_weight,
            label_smoothing=check_label_smoothing(self.label_smoothing),
        )

    def _prepare(self, y_true, logits, sample_weight):
        logits = check_logits(logits, binary=self.proba_kind == "sigmoid")
        matrix = logits[:, np.newaxis] if logits.ndim == 1 else logits
        return logits, matrix, self._encode(y_true, matrix.shape, logits.dtype, sample_weight)

    def loss(self, y_true, logits, *, sample_weight=None, loss_out=None, n_threads=1):
        """Weighted loss of each row.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        loss_out : ndarray of shape (n_samples,) or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        loss : ndarray of shape (n_samples,)
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight)
        loss_out = check_out(loss_out, "loss_out", (len(matrix),), matrix.dtype)
        target.loss_gradient(matrix, loss_out, None, effective_n_threads(n_threads))
        return loss_out

    def gradient(self, y_true, logits, *, sample_weight=None, gradient_out=None, n_threads=1):
        """Gradient of each row's weighted loss with respect to its logits.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        gradient_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        gradient : ndarray of the shape of the logits
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight)
        gradient_out = check_out(gradient_out, "gradient_out", logits.shape, logits.dtype)
        target.loss_gradient(
            matrix, None, gradient_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return gradient_out

    def loss_gradient(
        self, y_true, logits, *, sample_weight=None, loss_out=None, gradient_out=None, n_threads=1
    ):
        """Both in one pass: the same numbers as ``loss`` and ``gradient``.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        loss_out : ndarray of shape (n_samples,) or None, default=None
            Filled and returned if given; of the dtype of the logits.
        gradient_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        loss : ndarray of shape (n_samples,)
        gradient : ndarray of the shape of the logits
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight)
        loss_out = check_out(loss_out, "loss_out", (len(matrix),), matrix.dtype)
        gradient_out = check_out(gradient_out, "gradient_out", logits.shape, logits.dtype)
        target.loss_gradient(
            matrix, loss_out, gradient_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return loss_out, gradient_out

    def hessian_product(
        self, y_true, logits, direction, *, sample_weight=None, product_out=None, n_threads=1
    ):
        """Hessian of each row's weighted loss times that row of ``direction``.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        direction : array-like of the shape of the logits
            What each Hessian is multiplied by.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        product_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        product : ndarray of the shape of the logits
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight)
        direction, _ = as_floating(direction, "direction")
        if direction.shape != logits.shape:
            raise ValueError(
                f"'direction' must have the shape of the logits, {logits.shape}, got "
                f"{direction.shape}."
            )
        direction = direction.astype(logits.dtype, copy=False).reshape(matrix.shape)
        product_out = check_out(product_out, "product_out", logits.shape, logits.dtype)
        target.hessian_product(
            matrix, direction, product_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return product_out

    def hessian_diagonal(
        self, y_true, logits, *, sample_weight=None, diagonal_out=None, n_threads=1
    ):
        """Diagonal of the Hessian of each row's weighted loss.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        diagonal_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        diagonal : ndarray of the shape of the logits
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight)
        diagonal_out = check_out(diagonal_out, "diagonal_out", logits.shape, logits.dtype)
        target.hessian_diagonal(
            matrix, diagonal_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return diagonal_out

    def predict_proba(self, logits, *, proba_out=None, n_threads=1):
        """Probabilities that belong to logits: softmax of the rows, or sigmoid of the entries.

        Parameters
        ----------
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        proba_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        proba : ndarray of the shape of the logits
        """
        return self._proba(logits, proba_out, "proba_out", False, n_threads)

    def predict_log_proba(self, logits, *, log_proba_out=None, n_threads=1):
        """Logarithms of the probabilities, exact also where a probability underflows.

        Parameters
        ----------
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        log_proba_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        log_proba : ndarray of the shape of the logits
        """
        return self._proba(logits, log_proba_out, "log_proba_out", True, n_threads)

    def _proba(self, logits, out, name, logarithm, n_threads):
        logits = check_logits(logits, binary=self.proba_kind == "sigmoid")
        out = check_out(out, name, logits.shape, logits.dtype)
        matrix, filled = logits, out
        if logits.ndim == 1:
            matrix, filled = logits[:, np.newaxis], out[:, np.newaxis]
        proba(self.proba_kind, matrix, filled, logarithm, effective_n_threads(n_threads))
        return out

    def _total_weight(self, y_true, n_samples, sample_weight):
        """Sum of the weights of the rows that count."""
        return n_samples if sample_weight is None else np.sum(sample_weight)

    def __call__(self, y_true, logits, sample_weight=None):
        """Sum of the weighted losses of the rows over the sum of their weights.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.

        Returns
        -------
        float
            nan, with a RuntimeWarning, where no row counts.
        """
        loss = self.loss(y_true, logits, sample_weight=sample_weight)
        divisor = self._total_weight(y_true, len(loss), sample_weight)
        if divisor == 0:
            warnings.warn(
                "The mean of no rows (none counts, or all weights are 0) is nan.",
                RuntimeWarning,
                stacklevel=2,
            )
            return np.nan
        return float(loss.sum(dtype=np.float64) / divisor)


class SparseCategoricalCrossentropy(LossSetting):
    """Training objective on logits: softmax cross-entropy of integer labels.

    For logits z and label y, ``loss = log(sum_k exp(z_k)) - sum_k t_k z_k`` with
    ``t_k = (1 - label_smoothing) [k = y] + label_smoothing / K``; its gradient is ``p_k - t_k``
    with p the softmax of z.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1]: the share of the target that is spread evenly.
    ignore_class : label or None, default=None
        Rows with this label have no loss and no weight. In ``SoftmaxClassifier`` an original
        label, which then gets no logit; here a class index, which may be out of range.

    Raises
    ------
    TypeError
        For a parameter it does not have; ``from_logits`` is told what to use instead.

    Notes
    -----
    ``y_true`` of the methods: class indices of shape (n_samples,).

    Examples
    --------
    >>> import numpy as np
    >>> from xentlearn.losses import SparseCategoricalCrossentropy
    >>> loss = SparseCategoricalCrossentropy()
    >>> loss.loss([0], np.array([[20.0, 0.0]], dtype=np.float32))
    array([2.0611537e-09], dtype=float32)
    >>> loss.gradient([0], np.array([[20.0, 0.0]], dtype=np.float32))
    array([[-2.0611537e-09,  2.0611537e-09]], dtype=float32)
    """

    keras_name = "sparse_categorical_crossentropy"

    def __init__(self, label_smoothing=0.0, ignore_class=None, **unknown):
        self.label_smoothing = label_smoothing
        self.ignore_class = ignore_class
        self._refuse(unknown)

    def _kind(self, labels):
        return "sparse_categorical"

    def _encode(self, y_true, shape, dtype, sample_weight):
        labels = check_labels(y_true, shape[:1], shape[1], self.ignore_class)
        weight = check_weights(sample_weight, "sample_weight", shape[:1])
        return self.kernel_target(shape, dtype, labels=labels, weight=weight)

    def _total_weight(self, y_true, n_samples, sample_weight):
        weight = np.ones(n_samples) if sample_weight is None else np.asarray(sample_weight)
        if self.ignore_class is None:
            return weight.sum()
        return weight[np.asarray(y_true).reshape(-1) != self.ignore_class].sum()


class CategoricalCrossentropy(LossSetting):
    """Training objective on logits: softmax cross-entropy of one-hot or soft rows.

    For logits z and target row t, ``loss = sum_k t_k (log(sum_j exp(z_j)) - z_k)`` with t smoothed
    to ``(1 - label_smoothing) t_k + label_smoothing / K``; its gradient is ``p_k sum_j t_j - t_k``.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1]: the share of the target that is spread evenly.

    Raises
    ------
    TypeError
        For a parameter it does not have; ``from_logits`` is told what to use instead.

    Notes
    -----
    ``y_true`` of the methods: rows of shape (n_samples, n_outputs) that sum to 1, or class indices
    of shape (n_samples,), which cost the same as their one-hot rows.

    Examples
    --------
    >>> from xentlearn.losses import CategoricalCrossentropy
    >>> CategoricalCrossentropy().loss([[0.25, 0.75]], [[0.0, 1.0]]).round(4)
    array([0.5633])
    """

    keras_name = "categorical_crossentropy"

    def __init__(self, label_smoothing=0.0, **unknown):
        self.label_smoothing = label_smoothing
        self._refuse(unknown)

    def _kind(self, labels):
        return "categorical" if labels is None else "sparse_categorical"

    def _encode(self, y_true, shape, dtype, sample_weight):
        weight = check_weights(sample_weight, "sample_weight", shape[:1])
        y_true = np.asarray(y_true)
        if y_true.ndim == 1:
            labels = check_labels(y_true, shape[:1], shape[1])
            return self.kernel_target(shape, dtype, labels=labels, weight=weight)
        values = check_soft_rows(y_true, "y_true", shape, dtype)
        return self.kernel_target(shape, dtype, values=values, weight=weight)


class BinaryCrossentropy(LossSetting):
    """Training objective on logits: binary cross-entropy, added over the labels of a row.

    For a logit z and target y, ``loss = w y log(1 + exp(-z)) + (1 - y) log(1 + exp(z))`` with w the
    ``pos_weight`` and y smoothed to ``(1 - label_smoothing) y + label_smoothing / 2``; its gradient
    is ``(1 - y) sigmoid(z) - w y sigmoid(-z)``. A missing target (nan) has neither.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1]: the share of the target that is spread evenly.
    pos_weight : float, sequence of n_outputs floats or None, default=None
        Weights >= 0 of the positives.

    Raises
    ------
    TypeError
        For a parameter it does not have; ``from_logits`` is told what to use instead.

    Notes
    -----
    ``y_true`` of the methods: targets in [0, 1] or nan, of the shape of the logits, (n_samples,) or
    (n_samples, n_outputs). ``sample_weight`` may have either shape too. The L losses of a row are
    *added*: a fit with L labels is L separate fits.

    Examples
    --------
    >>> from xentlearn.losses import BinaryCrossentropy
    >>> BinaryCrossentropy().loss([1, 0], [40.0, 0.0])
    array([4.24835426e-18, 6.93147181e-01])
    """

    keras_name = "binary_crossentropy"
    proba_kind = "sigmoid"

    def __init__(self, label_smoothing=0.0, pos_weight=None, **unknown):
        self.label_smoothing = label_smoothing
        self.pos_weight = pos_weight
        self._refuse(unknown)

    def kernel_target(
        self,
        shape,
        dtype,
        *,
        labels=None,
        values=None,
        weight=None,
        entry_weight=None,
        outputs=None,
        n_outputs=None,
    ):
        positive = check_positive_weight(self.pos_weight, n_outputs or shape[1], dtype)
        if positive is not None and outputs is not None:
            positive = np.ascontiguousarray(positive[outputs])
        return EncodedTarget(
            "binary",
            *shape,
            dtype,
            labels=labels,
            values=values,
            weight=weight,
            entry_weight=entry_weight,
            positive=positive,
            label_smoothing=check_label_smoothing(self.label_smoothing),
        )

    def _encode(self, y_true, shape, dtype, sample_weight):
        y_true = np.asarray(y_true)
        if y_true.ndim == 1 and shape[1] == 1:
            y_true = y_true[:, np.newaxis]
        values = check_binary_targets(y_true, shape, dtype)
        weight = check_weights(sample_weight, "sample_weight", shape[:1], shape)
        if weight is not None and weight.ndim == 2:
            return self.kernel_target(
                shape, dtype, values=values, entry_weight=weight.astype(dtype)
            )
        return self.kernel_target(shape, dtype, values=values, weight=weight)

    def _total_weight(self, y_true, n_samples, sample_weight):
        if sample_weight is None:
            return n_samples
        sample_weight = np.asarray(sample_weight)
        return sample_weight.reshape(n_samples, -1).mean(axis=1).sum() if n_samples else 0


_SETTINGS = (SparseCategoricalCrossentropy, CategoricalCrossentropy, BinaryCrossentropy)


def known_names():
    """Settings by Keras name: what ``SoftmaxClassifier(loss=...)`` takes as a string."""
    return {setting.keras_name: setting for setting in _SETTINGS}
