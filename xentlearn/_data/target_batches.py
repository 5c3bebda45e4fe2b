"""y that comes in pieces: batches of ``partial_fit``, validation rows, partitions of a cluster.

What a first piece, or a digest of all pieces, tells of y is an ``EncodedY`` by which every other
piece is encoded. ``encode_for_score`` prepares y for a score.
"""

import numpy as np
from scipy import sparse

from .._utils.messages import listed, shown
from .._utils.numerics import weight_exponent
from .._utils.validation import as_floating
from . import encoding
from .targets import encode_y, unique

KINDS = {"multilabel": "a multi-label indicator", "soft": "soft or one-hot rows"}


def _checked(y, n_samples, sample_weight):
    """(y as an array, checked weights)."""
    y = encoding.as_target(y)
    encoding.check_length(y, n_samples)
    return y, encoding.check_sample_weight(1.0 if sample_weight is None else sample_weight, y)


def encode_like(known, y, n_samples, sample_weight=None):
    """Encode more rows of y with the kind, loss, classes and class weights of ``known``.

    Parameters
    ----------
    known : EncodedY
    y, n_samples, sample_weight
        As in ``encode_y``.

    Returns
    -------
    EncodedY

    Raises
    ------
    ValueError
        If y is of another kind, or has a label that is not among the classes of ``known``.
    """
    known.loss._check_parameters()  # they may have changed between calls of partial_fit
    y, weight = _checked(y, n_samples, sample_weight)
    most = weight.max(initial=0.0)
    of_classes = 1.0 if known.class_weight is None else known.class_weight.max()
    with np.errstate(over="ignore"):
        weight = np.ldexp(weight, -known.weight_exponent)
        most_used = weight.max(initial=0.0) * of_classes
    if not np.isfinite(most_used):
        raise ValueError(
            "'sample_weight' must have a size that can be added to that of earlier weights, about "
            f"1e{round(known.weight_exponent * np.log10(2))}; got a largest weight of {most:.3g}. "
            "Multiply all weights of all batches by the same number, and divide 'C' by it."
        )
    if known.kind in KINDS:
        if y.ndim == 1 and known.n_outputs == 1:
            y = y[:, np.newaxis]
        if y.shape[1:] != (known.n_outputs,):
            shape = f"(n_samples, {known.n_outputs})"
            raise ValueError(f"'y' must have shape {shape} like earlier rows, got {y.shape}.")
        try:
            y = encoding.check_rows(encoding.as_columns(y), known.loss, weight)
        except ValueError as error:
            raise ValueError(f"{error} The first rows were {KINDS[known.kind]}.") from None
        return known.with_columns(y, weight)
    if y.ndim != 1:
        raise ValueError(f"'y' must have shape (n_samples,) like earlier rows, got {y.shape}.")
    counted = encoding.counted_rows(y, known.loss._ignore_class)
    found, inverse = unique(y[counted])
    at = np.minimum(np.searchsorted(known.classes, found), len(known.classes) - 1)
    new = known.classes[at] != found
    if np.any(new):
        got = shown(found[new][0])
        raise ValueError(
            f"'y' must hold only the classes {listed(known.classes)} of earlier rows; got {got}."
        )
    return known.with_labels(n_samples, counted, at[inverse], weight)


def encode_first(y, n_samples, loss, class_weight=None, classes=None, sample_weight=None):
    """Resolve kind, loss and classes of all batches from the first one and the list of classes.

    Parameters
    ----------
    y, n_samples, loss
        As in ``encode_y``.
    class_weight : dict or None, default=None
    classes : array-like of shape (n_classes,) or None, default=None
        Not needed where y has columns.
    sample_weight : array-like, number or None, default=None
        Weights of the batch, which decide how all later weights are scaled.

    Returns
    -------
    EncodedY
        Encoding of a few rows that represent all of y.

    Raises
    ------
    ValueError
        If ``classes`` are missing or do not fit, or the class weights depend on all of y.
    """
    if isinstance(class_weight, str):
        raise ValueError(
            "'class_weight' must be a dict by class label or None where y comes in batches, got "
            f"{class_weight!r}, which needs all of y; "
            "sklearn.utils.class_weight.compute_class_weight makes one from labels that you expect."
        )
    y, of_batch = _checked(y, n_samples, sample_weight)
    if y.ndim == 1:
        if classes is None:
            raise ValueError(
                "'classes' must be passed on the first call to partial_fit: all labels that y will "
                "ever hold, for example np.unique(y)."
            )
        few, weight = _as_classes(classes), None
    else:
        few, weight = digest(y, n_samples)
        weight[-y.shape[1] :] = 1.0  # a column may be empty in the first batch
        if classes is not None and len(_as_classes(classes)) != y.shape[1]:
            raise ValueError(
                f"'classes' must be the {y.shape[1]} columns of y or None, got {len(classes)}."
            )
    try:
        known = encode_y(few, few.shape[0], loss, class_weight, weight)
    except ValueError:
        if y.ndim == 2:
            encode_y(y, n_samples, loss, class_weight)  # this error names a row of y
        raise
    known.weight_exponent += weight_exponent(of_batch)
    return known


def check_classes(known, classes):
    """Raise ValueError unless ``classes`` are those of ``known``, in any order."""
    classes = _as_classes(classes)
    same = len(classes) == known.n_outputs
    if known.kind not in KINDS:
        counted = encoding.counted_rows(classes, known.loss._ignore_class)
        same = np.array_equal(unique(classes[counted])[0], known.classes)
    if not same:
        raise ValueError(
            f"'classes' must be those of earlier calls, {listed(known.classes)}, or None; got "
            f"{listed(classes)}. For other classes begin with a new estimator, for example a clone."
        )


def _as_classes(classes):
    """Classes as an array."""
    classes = np.asarray(sorted(classes) if isinstance(classes, (set, frozenset)) else classes)
    if classes.ndim != 1:
        raise ValueError(f"'classes' must be a list of labels, got {classes.ndim} dimensions.")
    return classes


def digest(y, n_samples, sample_weight=None):
    """A few weighted rows that represent y.

    ``encode_y`` finds the same kind, classes and class weights in them as in y. The concatenated
    rows of the digests of several pieces are a digest of all pieces together.

    Returns
    -------
    y : ndarray of shape (n,) or CSR of shape (n, n_outputs)
    weight : ndarray of shape (n,)
    """
    y, weight = _checked(y, n_samples, sample_weight)
    if weight.ndim == 2:
        weight = weight.mean(axis=1)
    if y.ndim == 1:
        labels, inverse = unique(y)
        return labels, np.bincount(inverse, weight, minlength=len(labels))
    y = encoding.as_columns(y)
    tolerance = as_floating(y.data[:0] if sparse.issparse(y) else y[:0], "y")[1]
    y = sparse.csr_array(y.astype(np.float64))
    row, row_sums = np.repeat(np.arange(n_samples), np.diff(y.indptr)), y.sum(axis=1)
    near = (row_sums != 1) & (np.abs(row_sums - 1) <= tolerance)
    # the digest is float64: rows whose sums are rounded to a coarser dtype must not fail there
    y.data /= np.where(near, row_sums, 1.0)[row]
    # the first row of each property that ``encode_y`` looks for
    candidates = [
        np.arange(n_samples)[:1],
        row[~((y.data == 0) | (y.data == 1) | np.isnan(y.data))],  # not an indicator
        row[(y.data < 0) | (y.data > 1)],
        row[np.isnan(y.data)],
        np.flatnonzero((row_sums != 1) & ~near),
    ]
    chosen = np.unique([rows[0] for rows in candidates if len(rows)])
    known = np.where(y.data > 0, y.data, 0.0)
    sums = np.bincount(y.indices, known * weight[row], minlength=y.shape[1])
    rows = sparse.vstack([y[chosen], sparse.eye_array(y.shape[1])])
    return sparse.csr_array(rows), np.concatenate([np.zeros(len(chosen)), sums])


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
    y = encoding.as_target(y)
    encoding.check_length(y, shape[0])
    y = y.toarray() if sparse.issparse(y) else y  # as large as the predictions
    if kind == "multilabel":
        y = encoding.as_columns(y.reshape(len(y), -1))
        if y.shape[1] != shape[1]:
            raise ValueError(f"'y' must have {shape[1]} columns, got {y.shape[1]}.")
        return y, ~np.isnan(y).all(axis=1)
    if kind == "soft" and y.ndim == 2:
        y = encoding.as_columns(y).argmax(axis=1)
    if kind is None and y.ndim == 2:
        return encoding.as_columns(y), np.ones(len(y), dtype=bool)
    if y.ndim == 2:
        raise ValueError(
            f"'y' must have shape (n_samples,) as in fit, got {y.shape}: bad input shape."
        )
    return y, encoding.counted_rows(y, ignore_class)


def class_indices(y, classes):
    """Index of each label of y in ``classes``, -1 where it is none of them."""
    found, inverse = unique(y)
    index = {label: i for i, label in enumerate(classes.tolist())}
    return np.array([index.get(label, -1) for label in found.tolist()], dtype=np.intp)[inverse]
