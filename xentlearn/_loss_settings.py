"""The loss settings: training objectives on logits, with parameters."""

import warnings

import numpy as np
from sklearn.base import BaseEstimator

from ._loss import EncodedTarget, proba
from ._threads import effective_n_threads
from ._validation import (
    apart,
    as_floating,
    check_binary_targets,
    check_label_smoothing,
    check_labels,
    check_logit_adjustment,
    check_logits,
    check_out,
    check_positive_weight,
    check_soft_rows,
    check_weights,
)


class LossSetting(BaseEstimator):
    """What all settings share: products on logits, with outputs made or filled.

    A setting checks its targets (``_encode``, which gives the mass of each class too where logits
    are adjusted by it), names its kernel (``_kind``) and its probabilities (``proba_kind``); the
    products are then the same for all.
    """

    proba_kind = "softmax"

    def __eq__(self, other):
        """Whether the other is a setting of the same kind with equal parameters."""
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = self.get_params(), other.get_params()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self):
        return hash(type(self))  # parameters may change

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

    def _prepare(self, y_true, logits, sample_weight, *outs):
        """(logits, logits as a matrix, encoded targets), none of them under an output."""
        logits = apart(check_logits(logits, binary=self.proba_kind == "sigmoid"), *outs)
        matrix = logits[:, np.newaxis] if logits.ndim == 1 else logits
        y_true = apart(np.asarray(y_true), *outs)
        target, class_mass = self._encode(y_true, matrix.shape, logits.dtype, sample_weight)
        offset = None if class_mass is None else self.logit_offset(class_mass)
        if offset is not None:
            matrix = matrix + offset.astype(matrix.dtype)
        return logits, matrix, target

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
        logits, matrix, target = self._prepare(y_true, logits, sample_weight, loss_out)
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
        logits, matrix, target = self._prepare(y_true, logits, sample_weight, gradient_out)
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
        logits, matrix, target = self._prepare(
            y_true, logits, sample_weight, loss_out, gradient_out
        )
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
        logits, matrix, target = self._prepare(y_true, logits, sample_weight, product_out)
        direction, _ = as_floating(direction, "direction")
        if direction.shape != logits.shape:
            raise ValueError(
                f"'direction' must have the shape of the logits, {logits.shape}, got "
                f"{direction.shape}."
            )
        direction = apart(direction.astype(logits.dtype, copy=False), product_out)
        direction = direction.reshape(matrix.shape)
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
        logits, matrix, target = self._prepare(y_true, logits, sample_weight, diagonal_out)
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
        logits = apart(check_logits(logits, binary=self.proba_kind == "sigmoid"), out)
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


class CategoricalSetting(LossSetting):
    """What the categorical settings share: class shares, and logits adjusted by them."""

    def logit_offset(self, class_mass):
        """What ``logit_adjustment`` adds to training logits: tau times the log of the class shares.

        Parameters
        ----------
        class_mass : ndarray of shape (n_outputs,)
            Sum of the weights of each class in the training data.

        Returns
        -------
        ndarray of shape (n_outputs,) or None
            -inf for a class without mass; None where there is no adjustment.
        """
        tau = check_logit_adjustment(self.logit_adjustment)
        if tau == 0 or not np.any(class_mass):
            return None
        with np.errstate(divide="ignore"):
            return tau * np.log(class_mass / np.sum(class_mass))

    def _encode_labels(self, labels, shape, dtype, weight):
        """(encoded targets, mass of each class if it is needed) of indices, -1 where ignored."""
        target = self.kernel_target(shape, dtype, labels=labels, weight=weight)
        if check_logit_adjustment(self.logit_adjustment) == 0:
            return target, None  # counting takes as long as the losses of a few classes
        counted = labels >= 0
        weight = None if weight is None else weight[counted]
        return target, np.bincount(labels[counted], weight, minlength=shape[1])


class SparseCategoricalCrossentropy(CategoricalSetting):
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
    logit_adjustment : float, default=0.0
        For long tails, >= 0: that many times the log of the class's weighted share of the training
        data is added to its training logit, and to none of a prediction (arXiv 2007.07314). 1 makes
        predictions as if all classes were equally frequent.

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

    def __init__(self, label_smoothing=0.0, ignore_class=None, logit_adjustment=0.0, **unknown):
        self.label_smoothing = label_smoothing
        self.ignore_class = ignore_class
        self.logit_adjustment = logit_adjustment
        self._refuse(unknown)

    def _kind(self, labels):
        return "sparse_categorical"

    def _encode(self, y_true, shape, dtype, sample_weight):
        labels = check_labels(y_true, shape[:1], shape[1], self.ignore_class)
        weight = check_weights(sample_weight, "sample_weight", shape[:1])
        return self._encode_labels(labels, shape, dtype, weight)

    def _total_weight(self, y_true, n_samples, sample_weight):
        weight = np.ones(n_samples) if sample_weight is None else np.asarray(sample_weight)
        if self.ignore_class is None:
            return weight.sum()
        return weight[np.asarray(y_true).reshape(-1) != self.ignore_class].sum()


class CategoricalCrossentropy(CategoricalSetting):
    """Training objective on logits: softmax cross-entropy of one-hot or soft rows.

    For logits z and target row t, ``loss = sum_k t_k (log(sum_j exp(z_j)) - z_k)`` with t smoothed
    to ``(1 - label_smoothing) t_k + label_smoothing / K``; its gradient is ``p_k sum_j t_j - t_k``.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1]: the share of the target that is spread evenly.
    logit_adjustment : float, default=0.0
        As in ``SparseCategoricalCrossentropy``; the share of a class is its share of all rows.

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

    def __init__(self, label_smoothing=0.0, logit_adjustment=0.0, **unknown):
        self.label_smoothing = label_smoothing
        self.logit_adjustment = logit_adjustment
        self._refuse(unknown)

    def _kind(self, labels):
        return "categorical" if labels is None else "sparse_categorical"

    def _encode(self, y_true, shape, dtype, sample_weight):
        weight = check_weights(sample_weight, "sample_weight", shape[:1])
        y_true = np.asarray(y_true)
        if y_true.ndim == 1:
            labels = check_labels(y_true, shape[:1], shape[1])
            return self._encode_labels(labels, shape, dtype, weight)
        values = check_soft_rows(y_true, "y_true", shape, dtype)
        target = self.kernel_target(shape, dtype, values=values, weight=weight)
        if check_logit_adjustment(self.logit_adjustment) == 0:
            return target, None
        mass = values.sum(axis=0, dtype=np.float64) if weight is None else weight @ values
        return target, mass


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
            weight = weight.astype(dtype)
            return self.kernel_target(shape, dtype, values=values, entry_weight=weight), None
        return self.kernel_target(shape, dtype, values=values, weight=weight), None

    def _total_weight(self, y_true, n_samples, sample_weight):
        if sample_weight is None:
            return n_samples
        sample_weight = np.asarray(sample_weight)
        return sample_weight.reshape(n_samples, -1).mean(axis=1).sum() if n_samples else 0


_SETTINGS = (SparseCategoricalCrossentropy, CategoricalCrossentropy, BinaryCrossentropy)


def known_names():
    """Settings by Keras name: what ``SoftmaxClassifier(loss=...)`` takes as a string."""
    return {setting.keras_name: setting for setting in _SETTINGS}
