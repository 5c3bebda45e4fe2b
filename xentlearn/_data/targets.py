"""y in all its kinds -> one encoded target: kind, loss, classes, labels or values, weights."""

import datetime
import functools
import numbers
import zlib
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length

from .._losses.base import LossSetting
from .._losses.registry import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
    known_names,
)
from .._losses.softmax import class_weight_sums
from .._utils.messages import listed, shown, warn
from .._utils.units import weight_exponent
from .._utils.validation import (
    as_csr,
    as_floating,
    as_numpy,
    as_sound_csr,
    check_soft_rows,
    check_weight,
    check_weights,
    missing_among,
)

AUTO_NAMES = ("auto", "log_loss")
# Kinds of dtype whose values are classes whatever they are: scikit-learn's checks find nothing in
# them, but take a tenth of the time of a small fit.
WHOLE = "biu"
KINDS = {"multilabel": "a multi-label indicator", "soft": "soft or one-hot rows"}
# What ``decision_function`` gives where the logit is infinite, a label or class that is constant in
# training: scikit-learn's metrics accept finite scores only. Logits of data are far below it, and
# sums of squares over 1e8 rows are finite in float32 as well (a calibrator or a stacked model may
# take them).
CERTAIN = 1e15
LISTS_OF_LABELS = (
    "'y' must hold one label per row, or columns; got lists or sets of labels, which become an "
    "indicator by sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
)
# Of a value that can be equal to labels; bytes are so only where labels are bytes.
LABEL_TYPES = (numbers.Real, str, np.generic, datetime.date, datetime.timedelta)
ARRAYS = ("labels", "values", "weight", "entry_weight")  # of EncodedY, by row


def resolve_loss(loss):
    """A loss setting for ``SoftmaxClassifier(loss=...)``; None where y decides ("auto")."""
    if isinstance(loss, LossSetting):
        return loss
    if isinstance(loss, str):
        if loss in AUTO_NAMES:
            return None
        settings = known_names()
        if loss in settings:
            return settings[loss]()
    raise ValueError(
        f"'loss' must be one of {[*AUTO_NAMES, *known_names()]} or a setting from "
        "xentlearn.losses, such as SparseCategoricalCrossentropy(label_smoothing=0.1); "
        f"got {loss!r}."
    )


@dataclass
class EncodedY:
    """What a fit needs to know of y.

    Attributes
    ----------
    kind : {"binary", "multiclass", "two_logits", "one_vs_rest", "multilabel", "soft"}
    loss : loss setting
        The resolved one.
    classes : ndarray of shape (n_classes,)
        Original labels; 0..K-1 for "soft" and "multilabel".
    n_outputs : int
        Logits per row.
    labels : ndarray of shape (n_samples,), int32, or None
        Index into ``classes``, -1 where the row is ignored.
    values : ndarray or CSR of shape (n_samples, n_outputs), float64, or None
        Soft rows, or binary entries with nan where missing.
    weight : ndarray of shape (n_samples,), float64
        Sample weight times class weight; 0 for an ignored row.
    entry_weight : ndarray of shape (n_samples, n_outputs), float64, or None
        Sample weights of single labels.
    class_weight : ndarray of shape (n_classes,) or None
        What ``weight`` has been multiplied by.
    weight_exponent : int
        The power of 2 that all weights have been divided by (``_units.py``).
    """

    kind: str
    loss: object
    classes: np.ndarray
    n_outputs: int
    labels: np.ndarray | None
    values: np.ndarray | None
    weight: np.ndarray
    entry_weight: np.ndarray | None = None
    class_weight: np.ndarray | None = None
    weight_exponent: int = 0

    @property
    def total_weight(self):
        """S of the objective: the sum of the weights of the rows, as they are here."""
        return self.row_weight.sum()

    @property
    def row_weight(self):
        """Weights of the rows; of entries the mean."""
        return self.weight if self.entry_weight is None else self.entry_weight.mean(axis=1)

    @functools.cached_property
    def has_equal_weights(self):
        """Whether all rows have the same weight."""
        return self.entry_weight is None and bool((self.weight == self.weight[:1]).all())

    @functools.cached_property
    def weighs_rows(self):
        """Whether all entries of a row of plain binary outputs have the same weight."""
        values = self.values.data if sparse.issparse(self.values) else self.values
        return (
            self.entry_weight is None
            and (values is None or not np.isnan(values).any())
            and bool(np.all(self.loss._outcome_weight(self.n_outputs) == 1.0))
        )

    def taken(self, rows, factor=None):
        """Self with the chosen rows alone, whose weights are multiplied by ``factor``."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        arrays = {name: array[rows] for name, array in arrays.items() if array is not None}
        if factor is not None:
            arrays["weight"] = arrays["weight"] * factor
            if self.entry_weight is not None:
                arrays["entry_weight"] = arrays["entry_weight"] * factor[:, np.newaxis]
        return replace(self, **arrays)

    def fingerprint(self):
        """What tells other rows, weights or losses from these."""
        check = 0
        for name in ARRAYS:
            array = getattr(self, name)
            if sparse.issparse(array):
                array = np.concatenate([array.indptr, array.indices, array.data])
            if array is not None:
                check = zlib.crc32(np.ascontiguousarray(array), check)
        return repr(self.loss), check

    def without_rows(self):
        """What is known of rows still to come."""
        nothing = dict.fromkeys(ARRAYS)
        return replace(self, **{**nothing, "weight": np.zeros(0)})

    def with_weight(self):
        """(rows that have a weight, self restricted to them)."""
        weight = self.weight if self.entry_weight is None else self.entry_weight.max(axis=1)
        kept = weight > 0
        return (slice(None), self) if kept.all() else (kept, self.taken(kept))

    def mass(self):
        """Sums of weights times targets, as the loss sees them: smoothed and weighed.

        Returns
        -------
        ndarray of shape (n_outputs,), by class; of shape (n_outputs, 2) for a binary loss: of the
        0s and of the 1s of each output.
        """
        if self.loss.proba_kind == "softmax":
            mass = self.class_mass()
        elif self.kind == "one_vs_rest":
            ones = self.class_mass()
            # added up on both sides: where there is any, a difference from the sum might be 0
            before, after = np.cumsum(ones[:-1]), np.cumsum(ones[:0:-1])[::-1]
            mass = np.stack([np.append(0.0, before) + np.append(after, 0.0), ones], axis=1)
        else:
            mass = np.stack(self.entry_mass(), axis=1)
        return self.loss._fitted_weight_sums(mass, self.n_outputs)

    def entry_mass(self):
        """(weights of the 0s, of the 1s) of each output, without the missing ones."""
        weight = self.weight if self.entry_weight is None else self.entry_weight
        total = np.full(self.n_outputs, weight.sum()) if weight.ndim == 1 else weight.sum(axis=0)
        if not sparse.issparse(self.values):
            weight = weight if weight.ndim == 2 else weight[:, np.newaxis]
            ones = (weight * np.nan_to_num(self.values)).sum(axis=0)
            return (weight * np.nan_to_num(1 - self.values)).sum(axis=0), ones
        entries = self.values.tocoo()
        n_rows = np.count_nonzero(weight, axis=0)
        least = np.min(weight, initial=np.inf, where=weight > 0)
        weight = weight[entries.row] if weight.ndim == 1 else weight[entries.row, entries.col]
        missing = np.isnan(entries.data)
        held = weight * np.where(missing, 0.0, entries.data)
        ones = np.bincount(entries.col, held, self.n_outputs)
        of_missing = np.bincount(entries.col[missing], weight[missing], self.n_outputs)
        # whether there are 0s is counted: the difference of sums may be a rounding error
        others = (weight > 0) & (missing | (entries.data == 1))
        zeros = np.bincount(entries.col[others], minlength=self.n_outputs) < n_rows
        return np.where(zeros, np.maximum(total - ones - of_missing, least), 0.0), ones

    def class_mass(self):
        """Sums of the weights of the rows by class, before smoothing."""
        return class_weight_sums(self.labels, self.values, self.weight, self.n_outputs)

    def logit_offset(self, outputs):
        """What ``logit_adjustment`` adds to the training logits of the chosen outputs, or None.

        Raises
        ------
        ValueError
            If smoothed targets want a class that has no weight, whose logit would be -inf.
        """
        if self.loss.proba_kind == "sigmoid":
            return None
        offset = self.loss.logit_offset(self.class_mass()[outputs])
        if offset is not None and not np.isfinite(offset).all():
            without = self.classes[outputs][~np.isfinite(offset)]
            raise ValueError(
                "'logit_adjustment' needs a positive weight for every class where "
                f"'label_smoothing' is > 0; {listed(without)} have none. Leave their rows out, or "
                "set one of the two to 0."
            )
        return offset

    def convex_start(self):
        """The same targets with the convex loss that a fit begins with, or None."""
        return None if self.loss.convex else replace(self, loss=self.loss._convex_start())

    def kernel_target(self, dtype, outputs):
        """Targets of the chosen outputs, ready for the kernels.

        Parameters
        ----------
        dtype : dtype
            float32 or float64.
        outputs : ndarray of int
            The outputs that are fitted.

        Returns
        -------
        EncodedTarget
        """
        n_samples = len(self.weight)
        labels = values = entry_weight = None
        if self.labels is not None:
            # A class that is not fitted has no weight, its rows do not count; one-vs-rest it may
            # be fitted elsewhere, and its rows are the rest.
            others = len(outputs) if self.kind == "one_vs_rest" else -1
            new = np.full(self.n_outputs + 1, others, dtype=np.int32)
            new[-1] = -1
            new[outputs] = np.arange(len(outputs), dtype=np.int32)
            labels = new[self.labels]
        else:
            values = self.values[:, outputs]
            is_sparse = sparse.issparse(values)
            values = values.astype(dtype) if is_sparse else np.ascontiguousarray(values, dtype)
        if self.entry_weight is not None:
            entry_weight = np.ascontiguousarray(self.entry_weight[:, outputs], dtype=dtype)
        return self.loss._kernel_target(
            (n_samples, len(outputs)),
            dtype,
            outputs=outputs,
            n_outputs=self.n_outputs,
            labels=labels,
            values=values,
            weight=self.weight if (self.weight != 1).any() else None,
            entry_weight=entry_weight,
        )


def is_certain(logits):
    """Where logits are ``CERTAIN`` or inf; in float32 the former is a little less."""
    return logits > CERTAIN / 2


def concatenated(parts):
    """One EncodedY of the rows of several that are otherwise alike."""
    arrays = {}
    for name in ARRAYS:
        pieces = [getattr(part, name) for part in parts]
        if pieces[0] is not None:
            is_sparse = sparse.issparse(pieces[0])
            arrays[name] = (
                sparse.csr_array(sparse.vstack(pieces)) if is_sparse else (np.concatenate(pieces))
            )
    return replace(parts[0], **arrays)


def encode_y(y, n_samples, loss, class_weight=None, sample_weight=None):
    """Encode y for training.

    Parameters
    ----------
    y : array-like or sparse matrix
        As ``SoftmaxClassifier.fit`` takes it.
    n_samples : int
        Rows of X.
    loss : str or loss setting
        As ``SoftmaxClassifier(loss=...)`` takes it.
    class_weight : dict, "balanced" or None, default=None
    sample_weight : array-like, number or None, default=None

    Returns
    -------
    EncodedY

    Raises
    ------
    ValueError
        If y is not a target, does not fit the loss, or the weights do not fit y.
    """
    setting = resolve_loss(loss)
    if setting is not None:
        setting._check_parameters()
    class_weight = _checked_class_weight(class_weight)
    y, weight = _with_weight(y, n_samples, sample_weight)
    if weight is not None and not weight.any():
        raise ValueError(
            "'sample_weight' must leave a row with a positive weight; all weights are zero."
        )
    exponent = weight_exponent(weight)
    if isinstance(class_weight, dict) and class_weight:
        # what they are multiplied by is made so small that no product overflows
        exponent += max(0, weight_exponent(np.array(list(class_weight.values()))))
        weight = np.ones(n_samples) if exponent and weight is None else weight
    if exponent:
        weight = np.ldexp(weight, -exponent)
    encode = _encode_labels if y.ndim == 1 else _encode_rows
    found = encode(y, setting, class_weight, weight)
    found.weight_exponent = exponent
    if class_weight is not None:  # they may be anything, too
        of_classes = weight_exponent(found.weight)
        found.weight = np.ldexp(found.weight, -of_classes)
        found.weight_exponent += of_classes
    return found


def encode_like(known, y, n_samples, sample_weight=None):
    """Encode more of the same: y with the kind, loss, classes and class weights of ``known``.

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
        If y is not like that, or has labels that ``known`` has not.
    """
    known.loss._check_parameters()  # they may have changed between calls of partial_fit
    y, weight = _with_weight(y, n_samples, sample_weight)
    if known.weight_exponent:
        weight = np.ones(n_samples) if weight is None else weight
    most = 0.0 if weight is None else weight.max(initial=0.0)
    with np.errstate(over="ignore"):
        if known.weight_exponent:
            weight = np.ldexp(weight, -known.weight_exponent)
        of_classes = 1.0 if known.class_weight is None else known.class_weight.max()
        in_range = weight is None or np.isfinite(weight.max(initial=0.0) * of_classes)
    if not in_range:
        raise ValueError(
            "'sample_weight' must be of a size that can be added to that of earlier weights, "
            f"about 1e{round(known.weight_exponent * np.log10(2))}; got a largest weight of "
            f"{most:.3g}. Multiply all weights of all batches by the same number, and divide 'C' "
            "by it."
        )
    if known.kind in KINDS:
        if y.ndim == 1 and known.n_outputs == 1:
            y = y[:, np.newaxis]
        if y.ndim != 2 or y.shape[1] != known.n_outputs:
            raise ValueError(
                f"'y' must have shape (n_samples, {known.n_outputs}) like what came before, got "
                f"{y.shape}."
            )
        try:
            y = _numbers(y)
            y = _check_rows(y, known.loss, weight, _is_indicator(y))
        except ValueError as error:
            raise ValueError(f"{error} The first batch contained {KINDS[known.kind]}.") from None
        return _rows_like(known, y, weight)
    if y.ndim != 1:
        raise ValueError(f"'y' must have shape (n_samples,) like what came before, got {y.shape}.")
    counted = _counted(y, known.loss.ignore_class)
    found, inverse = unique(y[counted])
    at = np.minimum(np.searchsorted(known.classes, found), len(known.classes) - 1)
    new = known.classes[at] != found
    if np.any(new):
        raise ValueError(
            f"'y' must hold only the classes {listed(known.classes)}, which came first; got "
            f"{shown(found[new][0])}."
        )
    return _labels_like(known, counted, at[inverse], weight)


def encode_first(y, n_samples, loss, class_weight=None, classes=None, sample_weight=None):
    """What is known of all y to come from a first batch of it, and from all its classes.

    Parameters
    ----------
    y, n_samples, loss
        As in ``encode_y``.
    class_weight : dict or None, default=None
    classes : array-like of shape (n_classes,) or None, default=None
        Not needed where y has columns.
    sample_weight : array-like, number or None, default=None
        Of the batch, by which all weights to come are scaled.

    Returns
    -------
    EncodedY
        Of a few rows that stand for all.

    Raises
    ------
    ValueError
        If ``classes`` are missing or do not fit, or the weights need to know all of y.
    """
    if isinstance(class_weight, str):
        raise ValueError(
            "'class_weight' must be a dict by class label or None where y comes in batches, got "
            f"{class_weight!r}, which needs all of y; "
            "sklearn.utils.class_weight.compute_class_weight makes one from what you expect."
        )
    y, of_batch = _with_weight(y, n_samples, sample_weight)
    if y.ndim == 1:
        if classes is None:
            raise ValueError(
                "'classes' must be passed on the first call to partial_fit: all labels that y will "
                "ever have, for example np.unique(y)."
            )
        classes = _as_classes(classes)
        known = encode_y(classes, len(classes), loss, class_weight)
        known.weight_exponent += weight_exponent(of_batch)
        return known
    few, weight = digest(y, n_samples)
    weight[-y.shape[1] :] = 1.0  # a column may be still to come
    if classes is not None and len(_as_classes(classes)) != y.shape[1]:
        raise ValueError(
            f"'classes' must be the {y.shape[1]} columns of y or None, got {len(classes)}."
        )
    try:
        known = encode_y(few, len(weight), loss, class_weight, weight)
    except ValueError:
        encode_y(y, n_samples, loss, class_weight)  # its error names a row of y
        raise
    known.weight_exponent += weight_exponent(of_batch)
    return known


def check_classes(known, classes):
    """Raise ValueError unless ``classes`` are those of ``known``, in any order."""
    classes, ignored = _as_classes(classes), known.loss.ignore_class
    if known.kind in KINDS:
        same = len(classes) == known.n_outputs
    else:
        same = np.array_equal(unique(classes[_counted(classes, ignored)])[0], known.classes)
    if not same:
        raise ValueError(
            f"'classes' must be those of earlier calls, {listed(known.classes)}, or None; got "
            f"{listed(classes)}. For other classes start anew, with a clone."
        )


def _as_classes(classes):
    """Classes as an array."""
    classes = np.asarray(sorted(classes) if isinstance(classes, (set, frozenset)) else classes)
    if classes.ndim != 1:
        raise ValueError(f"'classes' must be a list of labels, got {classes.ndim} dimensions.")
    return classes


def digest(y, n_samples, sample_weight=None):
    """A few weighted rows of y by which all of it is encoded.

    ``encode_y`` finds in them the same kind, classes and class weights as in y. The rows of several
    digests, one after the other, are a digest of all that they are of.

    Returns
    -------
    y : ndarray of shape (n,) or CSR of shape (n, n_outputs)
    weight : ndarray of shape (n,)
    """
    y, weight = _with_weight(y, n_samples, sample_weight)
    weight = np.ones(n_samples) if weight is None else weight
    if weight.ndim == 2:
        weight = weight.mean(axis=1)
    if y.ndim == 1:
        labels, inverse = unique(y)
        return labels, np.bincount(inverse, weight, minlength=len(labels))
    y = _numbers(y)
    tolerance = as_floating(y.data[:0] if sparse.issparse(y) else y[:0], "y")[1]
    y = sparse.csr_array(y.astype(np.float64))
    sums = y.sum(axis=1)
    near = (sums != 1) & (np.abs(sums - 1) <= tolerance)
    # soft rows of a coarser dtype than the digest's are as good as others
    y.data /= np.repeat(np.where(near, sums, 1.0), np.diff(y.indptr))
    row = np.repeat(np.arange(n_samples), np.diff(y.indptr))
    with np.errstate(invalid="ignore"):
        sorts = [
            np.arange(n_samples)[:1],
            row[~((y.data == 0) | (y.data == 1) | np.isnan(y.data))],  # no indicator
            row[(y.data < 0) | (y.data > 1)],
            row[np.isnan(y.data)],
            np.flatnonzero((sums != 1) & ~near),
        ]
    chosen = np.unique([rows[0] for rows in sorts if len(rows)])
    known = np.where(y.data > 0, y.data, 0.0)
    mass = np.bincount(y.indices, known * weight[row], minlength=y.shape[1])
    rows = sparse.vstack([y[chosen], sparse.eye_array(y.shape[1])])
    return sparse.csr_array(rows), np.concatenate([np.zeros(len(chosen)), mass])


def _with_weight(y, n_samples, sample_weight):
    """(y as an array, checked weights or None)."""
    y = _as_array(y)
    check_consistent_length_with(y, n_samples)
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(n_samples, sample_weight)
    shapes = [(n_samples,), *([y.shape] if y.ndim == 2 else [])]
    return y, check_weights(sample_weight, "sample_weight", *shapes)


def _as_array(y):
    """y as an array of 1 or 2 dimensions without nan where nan has no meaning."""
    if y is None:
        raise ValueError(
            "This SoftmaxClassifier estimator requires y to be passed, but the target y is None."
        )
    if sparse.issparse(y):
        y, missing = sparse.csr_array(as_sound_csr(y, "y")[0]), None
    else:
        y, missing = _with_missing(as_numpy(y, "y"))
    if y.ndim not in (1, 2):
        raise ValueError(
            "'y' must have shape (n_samples,) or (n_samples, n_outputs), got "
            f"{y.shape}; bad input shape."
        )
    if y.ndim == 2 and y.shape[1] == 0:
        raise ValueError(
            f"'y' must have a label in each row, or at least 1 column; got shape {y.shape}, which "
            "is bad input shape for a target: pass labels of shape (n_samples,), or an indicator."
        )
    if y.dtype.kind == "c":
        raise ValueError(
            f"Complex data not supported: 'y' must hold labels or real numbers, got dtype "
            f"{y.dtype}."
        )
    if y.ndim == 2 and y.shape[1] == 1:
        y = (y.toarray() if sparse.issparse(y) else y).ravel()
        missing = None if missing is None else missing.ravel()
        warn_of_column()
    if y.ndim == 2 and missing is not None:
        y = np.where(missing, np.nan, y)
    if y.ndim == 1:
        if y.dtype.kind in "mM" and np.isnat(y).any():
            missing = np.isnat(y)
        if missing is not None:
            raise ValueError(
                f"Input y contains NaN or None, first at row {np.argmax(missing)}; drop these "
                "rows, or give them a label of their own and name it by 'ignore_class'."
            )
        if y.dtype.kind not in WHOLE + "O":
            check_array(y, dtype=None, ensure_2d=False, ensure_min_samples=0, input_name="y")
    return y


def _with_missing(y):
    """(y as an array, where it is missing or None): nan, None, NaT and pandas' NA among objects."""
    try:
        array = np.asarray(y)
    except ValueError:
        if isinstance(y, (list, tuple)):  # of different lengths
            raise ValueError(LISTS_OF_LABELS) from None
        raise
    if array.dtype.kind != "O":
        return array, None
    types = set(map(type, array.flat))
    if any(issubclass(one, (list, tuple, set, frozenset, np.ndarray)) for one in types):
        raise ValueError(LISTS_OF_LABELS)
    missing = missing_among(array)
    if missing is not None:
        return array, missing
    # older versions of pandas give its integers and booleans as objects
    kind = getattr(getattr(y, "dtype", None), "kind", "O")
    return (np.array(array.tolist()) if kind in WHOLE + "f" else array), None


def warn_of_column():
    """scikit-learn's warning of a y of shape (n_samples, 1)."""
    warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y "
        "to (n_samples, ), for example using ravel().",
        DataConversionWarning,
    )


def check_consistent_length_with(y, n_samples):
    """Raise scikit-learn's error if y has not one row per row of X."""
    check_consistent_length(np.empty((n_samples, 0)), y)


# ---- One label per row -------------------------------------------------------------------------


def _encode_labels(y, setting, class_weight, weight):
    if y.dtype.kind not in WHOLE:
        check_classification_targets(y)
    counted = _counted(y, None if setting is None else setting.ignore_class)
    classes, inverse = unique(y[counted])
    of_counted = None if weight is None else weight[counted]
    mass = np.bincount(inverse, of_counted, minlength=len(classes))
    if len(classes) < 2:
        got = f"1 class ({shown(classes[0])})" if len(classes) else "0 classes"
        raise ValueError(f"'y' must have at least 2 classes whose rows count; got {got}.")
    n_outputs = n_classes = len(classes)
    if setting is None:
        setting = BinaryCrossentropy() if n_classes == 2 else SparseCategoricalCrossentropy()
    if setting.proba_kind == "softmax":
        kind = "two_logits" if n_classes == 2 else "multiclass"
    elif n_classes > 2:
        kind = "one_vs_rest"
    else:
        kind, n_outputs = "binary", 1
    if class_weight is not None:
        class_weight = _class_weights(class_weight, classes, mass)
    _require_weight(mass, class_weight)
    known = EncodedY(
        kind, setting, classes, n_outputs, None, None, np.zeros(0), class_weight=class_weight
    )
    return _labels_like(known, counted, inverse, weight)


def _counted(y, ignore_class):
    """Which rows are not ignored."""
    if ignore_class is not None:
        _check_ignore_class(y, ignore_class)
        counted = np.asarray(y != ignore_class)
        if counted.shape == y.shape:  # else a string against numbers: nothing is equal
            return counted
    return np.ones(len(y), dtype=bool)


def _check_ignore_class(y, ignore_class):
    """Raise ValueError unless it is a single value that labels may have."""
    if isinstance(ignore_class, bytes):
        is_label = y.dtype.kind == "S" or bytes in set(map(type, y.tolist()))
    else:
        is_label = isinstance(ignore_class, LABEL_TYPES) and not isinstance(
            ignore_class, (np.complexfloating, np.void)
        )
    if not is_label or ignore_class != ignore_class:  # nan and NaT are not
        raise ValueError(
            "'ignore_class' must be a single label, such as an integer or a string, or None; got "
            f"{shown(ignore_class)}. To leave out several labels, or rows without any, give all of "
            "them one label that no class has, and name that."
        )


def unique(y):
    """Sorted labels, and where each of y is among them."""
    try:
        return np.unique(y, return_inverse=True)
    except TypeError:
        raise ValueError(
            "'y' must hold labels of one kind; it mixes types that cannot be sorted. "
            "Convert all of them to strings."
        ) from None


def _labels_like(known, counted, inverse, weight):
    """Rows of which the ``counted`` ones have the classes ``inverse``."""
    labels = np.full(len(counted), -1, dtype=np.int32)
    labels[counted] = inverse
    weight = np.ones(len(counted)) if weight is None else weight.copy()
    weight[~counted] = 0.0
    if known.class_weight is not None:
        weight[counted] *= known.class_weight[inverse]
    values = None
    if known.kind == "binary":
        # the rows that are left out have weight 0: what they hold does not matter
        labels, values = None, (labels == 1).astype(np.float64)[:, np.newaxis]
    return replace(known, labels=labels, values=values, weight=weight)


def _class_weights(class_weight, classes, mass):
    """Weight of each class; "balanced" makes their masses equal."""
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(
                "'class_weight' must be a dict by class label, 'balanced' or None, got "
                f"{class_weight!r}."
            )
        seen = mass > 0
        balanced = np.ones(len(classes))
        balanced[seen] = mass.sum() / (np.count_nonzero(seen) * mass[seen])
        return balanced
    try:
        return compute_class_weight(class_weight, classes=classes, y=classes)
    except ValueError:  # it lists all classes
        known = set(classes)
        strange = [label for label in class_weight if label not in known]
        raise ValueError(
            f"'class_weight' must name classes of y, {listed(classes)}; got {listed(strange)}."
        ) from None


def _checked_class_weight(class_weight):
    """A dict with weights that are finite floats >= 0, or what is no dict as it is."""
    if class_weight is None or isinstance(class_weight, str):
        return class_weight
    if not isinstance(class_weight, dict):
        raise ValueError(
            "'class_weight' must be a dict by class label, 'balanced' or None, got "
            f"{type(class_weight).__name__}."
        )
    return {
        label: check_weight(weight, f"class_weight[{shown(label)}]")
        for label, weight in class_weight.items()
    }


def _require_weight(mass, class_weight):
    """Raise ValueError if no row is left that counts."""
    if not np.any(mass if class_weight is None else mass * class_weight):
        raise ValueError(
            "A class must have a positive weight; all rows that count have weight 0. Look at "
            "'sample_weight' and 'class_weight'."
        )


# ---- Several columns ---------------------------------------------------------------------------


def _encode_rows(y, setting, class_weight, weight):
    y = _numbers(y)
    entries = y.data if sparse.issparse(y) else y  # zeros that are not held are no news
    indicator = _is_indicator(y)
    if setting is None:
        if indicator:
            setting = BinaryCrossentropy()
            if y.shape[0] and (y.sum(axis=1) == 1).all():  # nan is not 1
                warn(
                    "Every row of y has exactly one 1, and is taken as multi-label; if these are "
                    'one-hot rows, pass loss="categorical_crossentropy".',
                    UserWarning,
                )
        elif np.all((entries >= 0) & (entries <= 1)):
            setting = CategoricalCrossentropy()
        else:
            raise ValueError(_rule_for_columns(entries))
    y = _check_rows(y, setting, weight, indicator)
    kind = "multilabel" if setting.proba_kind == "sigmoid" else "soft"
    classes = np.arange(y.shape[1])
    if kind == "soft":
        mass = np.ones(y.shape[0]) @ y if weight is None else weight @ y
        if class_weight is not None:
            class_weight = _class_weights(class_weight, classes, mass)
        _require_weight(mass, class_weight)
    elif class_weight is not None:
        raise ValueError(
            "'class_weight' does not apply to multi-label y; weigh the positives of each label by "
            "loss=BinaryCrossentropy(pos_weight=[...]), or entries by a 2-D 'sample_weight'."
        )
    known = EncodedY(
        kind, setting, classes, y.shape[1], None, None, np.zeros(0), class_weight=class_weight
    )
    return _rows_like(known, y, weight)


def _is_indicator(y):
    """Whether rows hold nothing but 0, 1 and nan."""
    entries = y.data if sparse.issparse(y) else y
    return bool(np.all((entries == 0) | (entries == 1) | np.isnan(entries)))


def _check_rows(y, setting, weight, indicator):
    """Rows that fit the loss, and weights that fit the rows."""
    entries = y.data if sparse.issparse(y) else y
    if setting.proba_kind == "sigmoid":
        if not indicator:
            raise ValueError(
                f"{_rule_for_columns(entries)} {type(setting).__name__} takes the first of these."
            )
        if weight is not None and weight.ndim == 2 and setting.couples:
            raise ValueError(
                f"'sample_weight' must have shape {y.shape[:1]} for a loss with a softmax part, "
                f"got {weight.shape}."
            )
        return y.astype(np.float64, copy=False)
    if not setting.takes_rows:
        raise ValueError(
            f"{type(setting).__name__} takes a 1-D y, one integer or string label per row; got "
            f'shape {y.shape}. For several labels per row pass loss="binary_crossentropy", for '
            'one-hot or soft rows loss="categorical_crossentropy", or y.argmax(axis=1) as y.'
        )
    if np.isnan(entries).any():
        raise ValueError(
            f"{type(setting).__name__} takes rows of probabilities; missing labels (nan) "
            'belong to a multi-label y and loss="binary_crossentropy".'
        )
    sums = y.sum(axis=1)
    if indicator and (sums != 1).any():
        raise ValueError(
            f"{type(setting).__name__} takes rows of probabilities, such as one 1 per row; row "
            f"{np.argmax(sums != 1)} of y has {sums[sums != 1][0]:.0f}. An indicator of several "
            'labels per row belongs to loss="binary_crossentropy".'
        )
    if weight is not None and weight.ndim == 2:
        raise ValueError(
            f"'sample_weight' must have shape {y.shape[:1]} for soft rows, got {weight.shape}."
        )
    return check_soft_rows(y, "y", y.shape, np.float64)


def _rows_like(known, y, weight):
    """Rows of several columns, checked."""
    entry_weight = None
    if weight is not None and weight.ndim == 2:
        entry_weight, weight = weight, None
    weight = np.ones(y.shape[0]) if weight is None else weight.copy()
    if known.class_weight is not None:
        weight *= y @ known.class_weight
    return replace(known, values=y, weight=weight, entry_weight=entry_weight)


def _numbers(y):
    """2-D y as float64, an array or CSR without duplicates; float16 stays, for its tolerance."""
    if y.dtype.kind not in "biuf":
        try:
            y = y.astype(np.float64)
        except (TypeError, ValueError):
            raise ValueError(
                f"'y' of shape {y.shape} must hold numbers, got dtype {y.dtype}; lists of label "
                "names become an indicator by sklearn.preprocessing.MultiLabelBinarizer."
            ) from None
    half = y.dtype.kind == "f" and y.dtype.itemsize == 2  # in any byte order
    y = y.astype(np.float16 if half else np.float64, copy=False)
    return as_csr(y, "y")[0] if sparse.issparse(y) else y


def _rule_for_columns(y):
    with np.errstate(invalid="ignore"):
        bad = ~((y >= 0) & (y <= 1)) & ~np.isnan(y)
    got = y[bad][0] if bad.any() else y[np.isnan(y)][0] if np.isnan(y).any() else "soft rows"
    return (
        "A y with several columns must hold 0, 1 and (where missing) nan: multi-label; or "
        f"probabilities that sum to 1 in each row: soft labels. Got {got}; a missing label is nan, "
        "not -1."
    )


# ---- Judging -----------------------------------------------------------------------------------


def encode_for_score(y, kind, n_outputs, ignore_class=None):
    """y as ``score`` compares it with ``predict``, and which of its rows are judged.

    Where ``kind`` is None, y says itself whether it is labels or rows of numbers.

    Returns
    -------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Labels, the argmax of soft rows, or an indicator with nan.
    judged : ndarray of shape (n_samples,), bool
        False where the label is ``ignore_class``, or all labels of a row are missing.
    """
    y = _as_array(y)
    y = y.toarray() if sparse.issparse(y) else y  # as large as the predictions
    if kind == "multilabel":
        y = _numbers(y.reshape(len(y), -1))
        if y.shape[1] != n_outputs:
            raise ValueError(f"'y' must have {n_outputs} columns, got {y.shape[1]}.")
        return y, ~np.isnan(y).all(axis=1)
    if kind == "soft" and y.ndim == 2:
        y = _numbers(y).argmax(axis=1)
    if kind is None and y.ndim == 2:
        return _numbers(y), np.ones(len(y), dtype=bool)
    if y.ndim == 2:
        raise ValueError(
            f"'y' must have shape (n_samples,) as in fit, got {y.shape}: bad input shape."
        )
    return y, _counted(y, ignore_class)


def class_indices(y, classes):
    """Index of each label of y in ``classes``, -1 where it is none of them."""
    found, inverse = unique(y)
    index = {label: i for i, label in enumerate(classes.tolist())}
    return np.array([index.get(label, -1) for label in found.tolist()], dtype=np.intp)[inverse]
