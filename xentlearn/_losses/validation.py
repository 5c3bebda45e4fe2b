"""Checks of what losses take: logits, labels, rows of probabilities, and parameters.

Each function returns its argument in the form that kernels need, or raises an error that states the
rule, what was passed, and a way out.
"""

import numbers

import numpy as np
from scipy import sparse

from .._utils.arrays import kernel_array
from .._utils.csr import as_csr
from .._utils.numerics import OUTPUT_WEIGHTS
from .._utils.validation import (
    as_floating,
    check_number,
    check_weight,
    check_weights,
    missing_among,
    shown_index,
)
from . import _proba_loss


def check_logits(logits, binary=False):
    """Logits of shape (n_samples, n_outputs) in float32 or float64; binary: also (n_samples,)."""
    logits, _ = as_floating(logits, "logits")
    if logits.ndim != 2 and not (binary and logits.ndim == 1):
        shapes = "(n_samples, n_outputs)" + (" or (n_samples,)" if binary else "")
        raise ValueError(f"'logits' must have shape {shapes}, got {logits.shape}.")
    if 0 in logits.shape[1:]:
        raise ValueError(f"'logits' must have at least 1 output, got shape {logits.shape}.")
    return logits


def as_integers(y, name="y_true"):
    """Integer array; floats are taken if they are whole numbers."""
    y = np.asarray(y)
    if y.ndim == 0:
        raise ValueError(
            f"'{name}' must have at least 1 dimension, got the single label {y}; "
            "put it into a list."
        )
    if y.dtype.kind in "iub":
        return y
    if y.dtype.kind != "f":
        if y.size == 0:
            return y.astype(np.int64)
        missing = missing_among(y)
        if missing is not None:
            at = np.unravel_index(np.argmax(missing), y.shape)
            raise ValueError(
                f"'{name}' must hold integer class indices, got {y[at]} at index "
                f"{shown_index(at)}; drop these rows, or give them an integer of their own and "
                "name it by 'ignore_class'."
            )
        raise ValueError(
            f"'{name}' must hold integer class indices, got dtype {y.dtype}; encode labels "
            "first, for example with sklearn.preprocessing.LabelEncoder."
        )
    fractional = ~(y == np.floor(y)) | np.isinf(y)
    if fractional.any():
        at = np.unravel_index(np.argmax(fractional), y.shape)
        raise ValueError(
            f"'{name}' must hold integer class indices, got {y[at]} at index {shown_index(at)}; "
            "for soft targets use a categorical loss, with one column per class."
        )
    return y.astype(np.int64) if y.size == 0 or np.abs(y).max() < 2**62 else y


def check_labels(y_true, shape, n_classes, ignore_class=None):
    """Class indices as int32 of shape ``shape``; -1 stands for an ignored row."""
    y = as_integers(y_true)
    if y.shape == (*shape, 1):
        y = y.reshape(shape)
    if y.shape != shape:
        raise ValueError(
            f"'y_true' must have one integer label per row, shape {shape}, got {y.shape}."
            + (
                " One-hot or soft rows belong to the categorical loss."
                if y.shape == (*shape, n_classes)
                else ""
            )
        )
    ignored = None
    if ignore_class is not None:
        check_integer(ignore_class, "ignore_class")
        ignored = y == ignore_class
    bad = (y < 0) | (y >= n_classes)
    if ignored is not None:
        bad &= ~ignored
    if bad.any():
        at = np.unravel_index(np.argmax(bad), y.shape)
        raise ValueError(
            f"'y_true' must hold labels from 0 to {n_classes - 1} (there are {n_classes} classes), "
            f"got {y[at]} at index {shown_index(at)}; rows to leave out can be named by "
            "'ignore_class'."
        )
    labels = kernel_array(y, np.int32)
    if ignored is not None:
        labels = np.where(ignored, np.int32(-1), labels)
    return labels


def check_soft_rows(values, name, shape, dtype, n_threads=1):
    """Rows of probabilities, one per row of the logits, in ``dtype``; C order or CSR."""
    is_sparse = sparse.issparse(values)
    values, tolerance = as_csr(values, name) if is_sparse else as_floating(values, name)
    if values.shape != shape:
        raise ValueError(
            f"'{name}' must have the shape of the predictions, {shape}, got {values.shape}."
            + (
                " Integer labels belong to the sparse categorical loss."
                if values.shape == shape[:-1]
                else ""
            )
        )
    if is_sparse:
        _require_sparse_distributions(values, name, tolerance)
        return values.astype(dtype, copy=False)
    values = kernel_array(values, dtype)
    require_distributions(values.reshape(-1, shape[-1]), None, name, tolerance, shape, n_threads)
    return values


def _require_sparse_distributions(values, name, tolerance):
    """``require_distributions`` of CSR: the first bad row is looked at as an array."""
    sums = np.asarray(values.sum(axis=1, dtype=np.float64)).ravel()
    bad = ~(np.abs(sums - 1) <= tolerance)
    outside = ~((values.data >= 0) & (values.data <= 1))
    if outside.any():
        bad[np.searchsorted(values.indptr, np.flatnonzero(outside), side="right") - 1] = True
    if bad.any():
        row = int(np.argmax(bad))
        dense = values[[row]].toarray()
        require_distributions(dense, None, name, tolerance, dense.shape, 1, first=row)


def require_distributions(rows, labels, name, tolerance, shape, n_threads, first=0):
    """Raise if a row has an entry outside [0, 1] or does not sum to 1 within ``tolerance``.

    ``first`` is the number of the first row, for the message.
    """
    bad = _proba_loss.first_bad_row(rows, labels, tolerance, n_threads)
    if bad >= 0:
        row = rows[bad]
        at = shown_index(np.unravel_index(bad, shape[:-1])) if len(shape) > 2 else first + bad
        what = (
            f"sums to {row.sum(dtype=np.float64):.6g}"
            if ((row >= 0) & (row <= 1)).all()
            else f"holds {row[~((row >= 0) & (row <= 1))][0]}"
        )
        remedy = "divide each row by its sum"
        if name == "y_pred":
            remedy = "pass logits with from_logits=True, or " + remedy
        raise ValueError(
            f"Rows of '{name}' must be probabilities: entries in [0, 1] and a sum of 1 "
            f"(within {tolerance:g}); row {at} {what}; {remedy}."
        )


def check_binary_targets(y_true, shape, dtype):
    """Entries in [0, 1] or nan (missing), in ``dtype``; C order or CSR."""
    is_sparse = sparse.issparse(y_true)
    y, _ = as_csr(y_true, "y_true") if is_sparse else as_floating(y_true, "y_true")
    if y.shape != shape:
        raise ValueError(
            f"'y_true' must have the shape of the predictions, {shape}, got {y.shape}; "
            "reshape one of them."
        )
    entries = y.data if is_sparse else y
    bad = (entries < 0) | (entries > 1)
    if bad.any():
        if is_sparse:
            at = y.tocoo().row[bad][0], y.tocoo().col[bad][0]
        else:
            at = np.unravel_index(np.argmax(bad), y.shape)
        raise ValueError(
            "'y_true' must hold binary targets in [0, 1], or nan where missing, got "
            f"{entries[bad][0]} at index {shown_index(at)}; labels of -1 and 1 become (y + 1) / 2."
        )
    return y.astype(dtype, copy=False) if is_sparse else kernel_array(y, dtype)


def check_class_weight(class_weight, n_classes):
    """Weights of the classes 0..n_classes-1 from a sequence, or a dict by class index."""
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        raise ValueError(
            "'class_weight' must be a sequence of weights or a dict by class index, got "
            f"{class_weight!r}; sklearn.utils.class_weight.compute_class_weight gives such weights."
        )
    if isinstance(class_weight, dict):
        weights = np.ones(n_classes)
        for label, weight in class_weight.items():
            if not (isinstance(label, numbers.Integral) and 0 <= label < n_classes):
                raise ValueError(
                    f"Keys of 'class_weight' must be class indices from 0 to {n_classes - 1}, "
                    f"got {label!r}."
                )
            weights[label] = check_weight(weight, f"class_weight[{label!r}]")
        class_weight = weights
    return check_weights(class_weight, "class_weight", (n_classes,))


def check_output_weight(weight, name, n_outputs, dtype):
    """Weights by output, shape (n_outputs,), from a number or a sequence; None stays None.

    0, or in OUTPUT_WEIGHTS.
    """
    if weight is None:
        return None
    weight = np.asarray(weight)
    if weight.ndim == 0:
        weight = np.full(n_outputs, weight)
    weight = check_weights(weight, name, (n_outputs,))
    least, most = OUTPUT_WEIGHTS
    bad = (weight != 0) & ((weight < least) | (weight > most))
    if bad.any():
        raise ValueError(
            f"'{name}' must be 0 or from {least:.0e} to {most:.0e}, beyond which the digits of "
            f"what weighs 1 are lost; got {weight[bad][0]:.3g}."
        )
    return weight.astype(dtype)


def check_label_smoothing(label_smoothing):
    """A number in [0, 1]."""
    return check_number(
        label_smoothing,
        "label_smoothing",
        lambda value: 0 <= value <= 1,
        "a number in [0, 1], the share of the target that is spread evenly",
    )


def check_logit_adjustment(logit_adjustment):
    """A finite number >= 0."""
    return check_number(
        logit_adjustment,
        "logit_adjustment",
        lambda value: 0 <= value < np.inf,
        "a finite number >= 0, which times the log of the class shares is added to the training "
        "logits (0: nothing)",
    )


def check_focusing(gamma, name="gamma"):
    """A number in [0, 100]: the power of the miss 1 - p by which an entry's loss is multiplied."""
    return check_number(
        gamma, name, lambda value: 0 <= value <= 100, "a number in [0, 100] (0: no focus)"
    )


def check_integer(value, name):
    if not isinstance(value, numbers.Integral) or isinstance(value, (bool, np.bool_)):
        raise ValueError(f"'{name}' must be an integer class index or None, got {value!r}.")
    return int(value)
