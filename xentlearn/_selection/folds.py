"""The folds of a cross-validation, as pairs of row numbers."""

import numpy as np
from sklearn.model_selection import check_cv

from .._utils.validation import as_numpy


def checked_folds(cv, X, y, encoded, in_memory, params):
    """Return the folds of ``cv``.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        As scikit-learn takes it: a number of folds, stratified where y has a label per row.
    X, y : array-like
        As they were passed to ``fit``. A splitter sees them; of X in row blocks it sees the number
        of rows alone, and in place of labels of which some are ignored their numbers.
    encoded : EncodedY
    in_memory : bool
        Whether X is in memory.
    params : dict
        What ``split`` gets besides, by name.

    Returns
    -------
    list of (ndarray of int, ndarray of int)
        Training rows and test rows of each fold.

    Raises
    ------
    ValueError
        If there is no fold, or if one has no training rows or no test rows, rows that X has not, or
        no weight in training.
    """
    if isinstance(cv, str):
        raise ValueError(
            "'cv' must be None, a number of folds, 'loo', a splitter such as StratifiedKFold(5) or "
            f"an iterable of (training rows, test rows), got {cv!r}."
        )
    n_rows = len(encoded.weight)
    labels = encoded.values[:, 0] if encoded.kind == "binary" else encoded.labels
    splitter = check_cv(cv, labels, classifier=labels is not None)
    has_other_labels = np.asarray(as_numpy(y, "y")).ndim != 1
    if labels is not None and (has_other_labels or encoded.loss._ignore_class is not None):
        y = labels
    X = X if in_memory else np.broadcast_to(0.0, (n_rows, 1))
    folds = [
        (_indices(train, n_rows, i, "training"), _indices(test, n_rows, i, "test"))
        for i, (train, test) in enumerate(splitter.split(X, y, **params), start=1)
    ]
    for i, (train, _) in enumerate(folds, start=1):
        if not encoded.weight[train].sum() > 0:
            raise ValueError(
                "The training rows of each fold must have a positive weight; those of fold "
                f"{i} have none. Use other folds, or leave rows without weight out."
            )
    if not folds:
        raise ValueError(
            "'cv' must give at least one fold, got none; an iterator gives its folds only once, so "
            "pass a list of them."
        )
    return folds


def _indices(rows, n_rows, fold, which):
    """Return rows as indices: they may also come as a mask of all rows."""
    rows = np.asarray(rows)
    if rows.dtype.kind == "b" and rows.shape == (n_rows,):
        rows = np.flatnonzero(rows)
    rule = f"Each fold of 'cv' must have {which} rows, which are indices from 0 to {n_rows - 1}"
    if rows.size == 0:
        raise ValueError(f"{rule}; fold {fold} has none.")
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n_rows:
        shown = np.array2string(rows, threshold=6, edgeitems=2)
        raise ValueError(f"{rule}; fold {fold} has {shown}.")
    return rows
