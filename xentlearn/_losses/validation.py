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
from .._utils.parameters import Rule
from .._utils.validation import (
    as_floating,
    as_numpy,
    check_weight,
    check_weights,
    missing_among,
    shown_index,
)
from . import _proba_loss

IGNORED = Rule("an integer class index or None", numbers.Integral, names=(None,))


def check_logits(logits, binary=False):
    """Logits of shape (n_samples, n_outputs) in float32 or float64; binary: also (n_samples,)."""
    logits, _ = as_floating(as_numpy(logits, "logits"), "logits")
    if logits.ndim != 2 and not (binary and logits.ndim == 1):
        shapes = "(n_samples, n_outputs)" + (" or (n_samples,)" if binary else "")
        raise ValueError(f"'logits' must have shape {shapes}, got {logits.shape}.")
    if 0 in logits.shape[1:]:
        raise ValueError(f"'logits' must have at least 1 output, got shape {logits.shape}.")
    return logits


def as_integers(y):
    """Integer array; floats are taken if they are whole numbers."""
    y = np.asarray(y)
    if y.ndim == 0:
        raise ValueError(
            f"'y_true' must have at least 1 dimension, got the label {y}; put it into a list."
        )
    if y.dtype.kind in "iub":
        return y
    if y.size == 0:
        return y.astype(np.int64)
    if y.dtype.kind == "f":
        bad = ~(y == np.floor(y)) | np.isinf(y)
        if not bad.any():
            return y.astype(np.int64) if float(np.abs(y).max()) < 2**62 else y
        remedy = "for soft targets use a categorical loss, with one column per class"
    else:
        bad = missing_among(y)
        remedy = "drop these rows, or give them an integer that 'ignore_class' names"
    if bad is None:
        got = f"dtype {y.dtype}"
        remedy = "encode labels first, for example with sklearn.preprocessing.LabelEncoder"
    else:
        got = _shown_first(y, bad)
    raise ValueError(f"'y_true' must hold integer class indices, got {got}; {remedy}.")


def _shown_first(array, bad):
    """The first entry that is bad, and its index, for a message."""
    at = np.unravel_index(np.argmax(bad), array.shape)
    return f"{array[at]} at index {shown_index(at)}"


def check_labels(y_true, shape, n_classes, ignore_class=None):
    """Class indices as int32 of shape ``shape``; -1 stands for an ignored row."""
    y = as_integers(y_true)
    if y.shape == (*shape, 1):
        y = y.reshape(shape)
    if y.shape != shape:
        one_hot = y.shape == (*shape, n_classes)
        raise ValueError(
            f"'y_true' must have one integer label per row, shape {shape}, got {y.shape}."
            + " One-hot or soft rows belong to the categorical loss." * one_hot
        )
    bad = (y < 0) | (y >= n_classes)
    if ignore_class is not None:
        IGNORED.check("ignore_class", ignore_class)
        bad &= y != ignore_class
    if bad.any():
        raise ValueError(
            f"'y_true' must hold labels from 0 to {n_classes - 1} (there are {n_classes} classes), "
            f"got {_shown_first(y, bad)}; rows to leave out can be named by 'ignore_class'."
        )
    labels = kernel_array(y, np.int32)
    return labels if ignore_class is None else np.where(y == ignore_class, np.int32(-1), labels)


def _of_predictions(values, name, shape, remedy):
    """CSR or an array of floating targets of the shape of predictions, and their tolerance."""
    values, tolerance = (as_csr if sparse.issparse(values) else as_floating)(values, name)
    if values.shape != shape:
        raise ValueError(
            f"'{name}' must have the shape of the predictions, {shape}, got {values.shape}; "
            f"{remedy}."
        )
    return values, tolerance


def check_soft_rows(values, name, shape, dtype, n_threads=1):
    """Rows of probabilities, one per row of the logits, in ``dtype``; C order or CSR."""
    remedy = "reshape one of them, or pass integer labels to the sparse categorical loss"
    values, tolerance = _of_predictions(values, name, shape, remedy)
    rows = values
    if not sparse.issparse(values):
        values = kernel_array(values, dtype)
        rows = values.reshape(-1, shape[-1])
    require_distributions(rows, None, name, tolerance, shape, n_threads)
    return values.astype(dtype, copy=False)


def _first_bad_sparse_row(values, tolerance):
    """``_proba_loss.first_bad_row`` of CSR."""
    bad = ~(np.abs(values.sum(axis=1, dtype=np.float64) - 1) <= tolerance)
    outside = np.flatnonzero(~((values.data >= 0) & (values.data <= 1)))
    bad[np.searchsorted(values.indptr, outside, side="right") - 1] = True
    return int(np.argmax(bad)) if bad.any() else -1


def require_distributions(rows, labels, name, tolerance, shape, n_threads):
    """Raise if a row has an entry outside [0, 1] or does not sum to 1 within ``tolerance``."""
    if sparse.issparse(rows):
        bad = _first_bad_sparse_row(rows, tolerance)
    else:
        bad = _proba_loss.first_bad_row(rows, labels, tolerance, n_threads)
    if bad >= 0:
        row = rows[[bad]].toarray()[0] if sparse.issparse(rows) else rows[bad]
        outside = row[~((row >= 0) & (row <= 1))]
        what = f"holds {outside[0]}" if outside.size else f"sums to {row.sum(dtype=np.float64):.6g}"
        others = {
            "y_pred": "pass logits with from_logits=True, or ",
            "y_true": "predictions come second; ",
        }
        raise ValueError(
            f"Rows of '{name}' must be probabilities: entries in [0, 1] and a sum of 1 (within "
            f"{tolerance:g}); row {shown_index(np.unravel_index(bad, shape[:-1] or (1,)))} {what}; "
            f"{others.get(name, '')}divide each row by its sum."
        )


def check_binary_targets(y_true, shape, dtype):
    """Entries in [0, 1] or nan (missing), in ``dtype``; C order or CSR."""
    y, _ = _of_predictions(y_true, "y_true", shape, "reshape one of them")
    is_sparse = sparse.issparse(y)
    entries = y.data if is_sparse else y
    bad = (entries < 0) | (entries > 1)
    if bad.any():
        at = np.unravel_index(np.argmax(bad), entries.shape)
        index = (y.tocoo().row[at], y.tocoo().col[at]) if is_sparse else at
        raise ValueError(
            f"'y_true' must hold binary targets in [0, 1], or nan where missing, got {entries[at]} "
            f"at index {shown_index(index)}; labels of -1 and 1 become (y + 1) / 2, and "
            "predictions come second."
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
    if np.ndim(weight) == 0:
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
