"""y as scores compare it with predictions."""

import numpy as np
from scipy import sparse

from .encoding import as_columns, as_target, check_length, counted_rows
from .targets import unique


def encode_for_score(y, kind, shape, ignore_class=None):
    """y as ``score`` compares it with ``predict``, and which of its rows are judged.

    ``shape`` is (n_samples, n_outputs). Where ``kind`` is None, y itself decides whether it holds
    labels or rows of numbers.

    Returns
    -------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Labels, the argmax of soft rows, or an indicator with nan.
    judged : ndarray of shape (n_samples,), bool
        False where the label is ``ignore_class``, or all labels of a row are missing.
    """
    y = as_target(y)
    check_length(y, shape[0])
    y = y.toarray() if sparse.issparse(y) else y  # as large as the predictions
    if kind == "multilabel":
        y = as_columns(y.reshape(len(y), -1))
        if y.shape[1] != shape[1]:
            raise ValueError(f"'y' must have {shape[1]} columns, got {y.shape[1]}.")
        return y, ~np.isnan(y).all(axis=1)
    if kind == "soft" and y.ndim == 2:
        y = as_columns(y).argmax(axis=1)
    if kind is None and y.ndim == 2:
        return as_columns(y), np.ones(len(y), dtype=bool)
    if y.ndim == 2:
        raise ValueError(
            f"'y' must have shape (n_samples,) as in fit, got {y.shape}: bad input shape."
        )
    return y, counted_rows(y, ignore_class)


def class_indices(y, classes):
    """Index of each label of y in ``classes``, -1 where it is none of them."""
    found, inverse = unique(y)
    index = {label: i for i, label in enumerate(classes.tolist())}
    return np.array([index.get(label, -1) for label in found.tolist()], dtype=np.intp)[inverse]
