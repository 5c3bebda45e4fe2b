"""y of a fit as one encoded target: kind, loss, classes, labels or values, weights.

What every fit runs is here. ``encoding.py`` has the checks of whatever else a user may pass,
``target_batches.py`` encodes y that comes in batches or partitions, and prepares y for a score.
"""

import difflib
import zlib
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets

from .._losses.base import LossSetting
from .._losses.registry import BinaryCrossentropy, SparseCategoricalCrossentropy, known_names
from .._utils.messages import listed, shown
from .._utils.numerics import weight_exponent
from .._utils.threads import SPARSE_ROWS
from . import encoding

AUTO_NAMES = ("auto", "log_loss")
ARRAYS = ("labels", "values", "weight", "entry_weight")  # attributes of EncodedY with a row each


def resolve_loss(loss):
    """A loss setting for ``SoftmaxClassifier(loss=...)``; None where y decides ("auto")."""
    if isinstance(loss, LossSetting):
        return loss
    if isinstance(loss, str) and loss in AUTO_NAMES:
        return None
    if isinstance(loss, str) and loss in known_names():
        return known_names()[loss]()
    raise ValueError(
        f"'loss' must be one of {[*AUTO_NAMES, *known_names()]} or a setting from "
        "xentlearn.losses, such as SparseCategoricalCrossentropy(label_smoothing=0.1); "
        f"got {loss!r}.{_hint(loss)}"
    )


def _hint(loss):
    """What was probably meant by a loss that does not exist."""
    if isinstance(loss, type) and issubclass(loss, LossSetting):
        return f" Make an object of the class: {loss.__name__}()."
    if isinstance(loss, str) and loss in ("l1", "l2", "elasticnet"):
        return " The first argument is the loss; the L2 penalty is set by 'C'."
    # a high cutoff, as "cross_entropy" is not "poly_crossentropy"
    nearest = difflib.get_close_matches(str(loss), known_names(), 1, 0.9)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


class TargetSums(NamedTuple):
    """Sums over rows of an encoded target.

    Attributes
    ----------
    n_rows : int
    weight : float
        Sum of the weights of the rows.
    targets : ndarray of shape (n_outputs,) or (2, n_outputs)
        Weights times targets by class, before smoothing; for binary targets of the 0s and of the
        1s.
    """

    n_rows: int
    weight: float
    targets: np.ndarray


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
    weight : ndarray of shape (n_samples,), float64, or None
        Sample weight times class weight; 0 for an ignored row. With weights of entries, their mean
        in each row.
    entry_weight : ndarray of shape (n_samples, n_outputs), float64, or None
        Sample weights of single labels.
    class_weight : ndarray of shape (n_classes,) or None
        The class weights that ``weight`` includes.
    weight_exponent : int
        All weights have been divided by this power of 2 (``_utils/numerics.py``).
    sums : TargetSums or None
        The sums over rows, where the rows themselves are on other machines.
    """

    kind: str
    loss: object
    classes: np.ndarray
    n_outputs: int
    labels: np.ndarray | None = None
    values: np.ndarray | None = None
    weight: np.ndarray | None = None
    entry_weight: np.ndarray | None = None
    class_weight: np.ndarray | None = None
    weight_exponent: int = 0
    sums: TargetSums | None = None
    _weighs_rows: bool | None = field(default=None, init=False, repr=False)
    _fitted_sums: np.ndarray | None = field(default=None, init=False, repr=False)

    @property
    def total_weight(self):
        """S of the objective: the sum of ``weight``."""
        return self.weight.sum() if self.sums is None else self.sums.weight

    @property
    def weighs_rows(self):
        """Whether all entries of a row of plain binary outputs have the same weight."""
        if self._weighs_rows is None:
            values = self.values.data if sparse.issparse(self.values) else self.values
            differ = self.entry_weight is not None or (
                values is not None and np.isnan(values).any()
            )
            of_outcomes = self.loss._outcome_weight(self.n_outputs)
            self._weighs_rows = not differ and bool(np.all(of_outcomes == 1.0))
        return self._weighs_rows

    def arrays(self):
        """The arrays that have a row for each sample, by the names of their attributes."""
        return {name: getattr(self, name) for name in ARRAYS if getattr(self, name) is not None}

    def taken(self, rows, factor=None):
        """The chosen rows alone, with their weights multiplied by ``factor``."""
        arrays = {}
        for name in ARRAYS:
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)[rows]
        if factor is not None:
            arrays["weight"] = arrays["weight"] * factor
            if self.entry_weight is not None:
                arrays["entry_weight"] = arrays["entry_weight"] * factor[:, np.newaxis]
        return replace(self, **arrays)

    def fingerprint(self):
        """A value that differs for other rows, weights or losses."""
        return repr(self.loss), checksum(*self.arrays().values())

    def without_rows(self):
        """What is known of y apart from its rows, by which more rows can be encoded."""
        nothing = {**dict.fromkeys(ARRAYS), "weight": np.zeros(0)}
        return replace(self, **nothing, sums=None)

    def with_labels(self, n_samples, counted, inverse, weight):
        """Labelled rows that are encoded alike.

        Parameters
        ----------
        n_samples : int
        counted : ndarray of shape (n_samples,), bool, or slice
            False for ignored rows; ``slice(None)`` counts all rows.
        inverse : ndarray of int
            Class index of each counted row.
        weight : ndarray of shape (n_samples,) or None
            Sample weights; None: 1.
        """
        labels, of_rows = np.full(n_samples, -1, dtype=np.int32), np.zeros(n_samples)
        labels[counted] = inverse
        of_rows[counted] = 1.0 if weight is None else weight[counted]
        if self.class_weight is not None:
            of_rows[counted] *= self.class_weight[inverse]
        if self.kind == "binary":
            # ignored rows have a weight of 0, so that their value does not matter
            values = (labels == 1).astype(np.float64)[:, np.newaxis]
            return replace(self, values=values, weight=of_rows)
        return replace(self, labels=labels, weight=of_rows)

    def with_columns(self, y, weight):
        """Rows of several columns, checked, that are encoded alike; ``weight`` as passed to fit."""
        entry_weight = None
        if weight is not None and weight.ndim == 2:
            entry_weight, weight = weight, weight.mean(axis=1)
        weight = np.ones(y.shape[0]) if weight is None else weight.copy()
        if self.class_weight is not None:
            weight *= y @ self.class_weight
        return replace(self, values=y, weight=weight, entry_weight=entry_weight)

    def with_weight(self):
        """(rows that have a weight, self restricted to them)."""
        weight = self.weight if self.entry_weight is None else self.entry_weight.max(axis=1)
        kept = weight > 0
        return (slice(None), self) if kept.all() else (kept, self.taken(kept))

    def fitted_weight_sums(self):
        """Sums of weights times targets, as the loss sees them: smoothed and weighted.

        They are kept: a fit in groups of outputs needs them for every group.

        Returns
        -------
        ndarray of shape (n_outputs,), by class; of shape (n_outputs, 2) for a binary loss: of the
        0s and of the 1s of each output.
        """
        if self._fitted_sums is not None:
            return self._fitted_sums
        if self.loss._proba_kind == "softmax":
            sums = self.class_weight_sums()
        elif self.kind == "one_vs_rest":
            ones = self.class_weight_sums()
            # Sums of the other classes, added up from both sides: a difference from the total
            # might be 0 although there are such rows.
            before, after = np.cumsum(ones[:-1]), np.cumsum(ones[:0:-1])[::-1]
            sums = np.stack([np.append(0.0, before) + np.append(after, 0.0), ones], axis=1)
        else:
            sums = np.stack(self.entry_weight_sums(), axis=1)
        self._fitted_sums = self.loss._fitted_weight_sums(sums, self.n_outputs)
        return self._fitted_sums

    def class_weight_sums(self):
        """Sums of the weights of the rows by class, before smoothing."""
        if self.sums is not None:
            return self.sums.targets
        if self.labels is None:
            return self.weight @ self.values
        return np.bincount(self.labels + 1, self.weight, minlength=self.n_outputs + 1)[1:]

    def entry_weight_sums(self):
        """(weights of the 0s, of the 1s) of each output, without the missing ones."""
        if self.sums is not None:
            return tuple(self.sums.targets)
        weight = self.weight if self.entry_weight is None else self.entry_weight
        if not sparse.issparse(self.values):
            if self.kind == "binary":  # no entry is missing
                return weight @ (1 - self.values), weight @ self.values
            weight = weight if weight.ndim == 2 else weight[:, np.newaxis]
            ones = (weight * np.nan_to_num(self.values)).sum(axis=0)
            return (weight * np.nan_to_num(1 - self.values)).sum(axis=0), ones
        total = np.full(self.n_outputs, weight.sum()) if weight.ndim == 1 else weight.sum(axis=0)
        entries = self.values.tocoo()
        n_rows = np.count_nonzero(weight, axis=0)
        least = np.min(weight, initial=np.inf, where=weight > 0)
        weight = weight[entries.row] if weight.ndim == 1 else weight[entries.row, entries.col]
        missing = np.isnan(entries.data)
        held = weight * np.where(missing, 0.0, entries.data)
        ones = np.bincount(entries.col, held, self.n_outputs)
        of_missing = np.bincount(entries.col[missing], weight[missing], self.n_outputs)
        # Whether an output has 0s is counted: the difference of sums may be a rounding error.
        others = (weight > 0) & (missing | (entries.data == 1))
        zeros = np.bincount(entries.col[others], minlength=self.n_outputs) < n_rows
        return np.where(zeros, np.maximum(total - ones - of_missing, least), 0.0), ones

    def rows_of_ones(self):
        """Return (indptr, indices) of the rows in which an output is 1, by output.

        Those of output k are ``indices[indptr[k] : indptr[k + 1]]``, in their order.
        """
        if self.labels is None:
            ones = sparse.csc_array(self.values)
            if not ones.data.all():
                ones = ones.copy()
                ones.eliminate_zeros()
        else:
            rows = np.flatnonzero(self.labels >= 0)
            shape = len(self.labels), self.n_outputs
            ones = sparse.csc_array((np.ones(len(rows)), (rows, self.labels[rows])), shape)
        return ones.indptr.astype(np.int64), ones.indices.astype(np.int32)

    def target_sums(self):
        """``TargetSums`` of the rows, which represent them on other machines."""
        binary = self.kind in ("binary", "multilabel")
        targets = np.stack(self.entry_weight_sums()) if binary else self.class_weight_sums()
        return TargetSums(len(self.weight), float(self.total_weight), targets)

    def logit_offset(self, outputs):
        """What ``logit_adjustment`` adds to the training logits of the chosen outputs, or None.

        Raises
        ------
        ValueError
            If label smoothing gives a share to a class without weight, whose logit would be -inf.
        """
        if self.loss._logit_adjustment == 0:
            return None
        offset = self.loss._logit_offset(self.class_weight_sums()[outputs])
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
        return None if self.loss._convex else replace(self, loss=self.loss._convex_start())

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
        arrays = {}
        if self.labels is not None:
            # A class that is not fitted has no weight, so its rows do not count. One-vs-rest it may
            # be fitted elsewhere, and its rows belong to the rest.
            others = len(outputs) if self.kind == "one_vs_rest" else -1
            new = np.full(self.n_outputs + 1, others, dtype=np.int32)
            new[-1] = -1
            new[outputs] = np.arange(len(outputs), dtype=np.int32)
            arrays["labels"] = new[self.labels]
        elif sparse.issparse(self.values):
            arrays["values"] = self.values[:, outputs].astype(dtype)
        else:
            arrays["values"] = np.ascontiguousarray(self.values[:, outputs], dtype)
        if self.entry_weight is not None:
            arrays["entry_weight"] = np.ascontiguousarray(self.entry_weight[:, outputs], dtype)
        elif (self.weight != 1).any():
            arrays["weight"] = self.weight
        shape = len(self.weight), len(outputs)
        return self.loss._kernel_target(
            shape, dtype, outputs=outputs, n_outputs=self.n_outputs, **arrays
        )


def concatenated(parts):
    """One ``EncodedY`` of the rows of several that are otherwise alike."""
    arrays = {name: stacked([getattr(part, name) for part in parts]) for name in parts[0].arrays()}
    return replace(parts[0], **arrays)


def stacked(pieces):
    """Rows of several arrays, or several CSR, in one; a single array is not copied."""
    if sparse.issparse(pieces[0]):
        return sparse.csr_array(sparse.vstack(pieces) if len(pieces) > 1 else pieces[0])
    return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]


def checksum(*arrays):
    """By which other arrays, or CSR, are told from these."""
    check = 0
    for array in arrays:
        is_sparse = sparse.issparse(array)
        for part in (array.data, array.indices, array.indptr) if is_sparse else (array,):
            for begin in range(0, len(part), SPARSE_ROWS):
                piece = np.ascontiguousarray(part[begin : begin + SPARSE_ROWS])
                check = zlib.crc32(piece, check)
    return check


def encode_y(y, n_samples, loss, class_weight=None, sample_weight=None):
    """Encode y for training.

    Parameters
    ----------
    y : array-like or sparse matrix
        As ``SoftmaxClassifier.fit`` takes it.
    n_samples : int
        Number of rows of X.
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
    if class_weight is not None:
        class_weight = encoding.check_class_weight(class_weight)
    if not (type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in encoding.WHOLE):
        y = encoding.as_target(y)
    if y.shape[0] != n_samples:
        encoding.check_length(y, n_samples)
    weight, exponent = None, 0
    if sample_weight is not None or class_weight is not None:
        weight, exponent = encoding.weights_in_range(y, sample_weight, class_weight)
    if y.ndim == 1:
        found = _encode_labels(y, setting, class_weight, weight)
    else:
        kind, setting, y, by_class = encoding.check_columns(y, setting, class_weight, weight)
        known = EncodedY(kind, setting, np.arange(y.shape[1]), y.shape[1], class_weight=by_class)
        found = known.with_columns(y, weight)
    if class_weight is not None:  # products with class weights may leave the range
        of_classes = weight_exponent(found.weight)
        found.weight = np.ldexp(found.weight, -of_classes)
        exponent += of_classes
    found.weight_exponent = exponent
    return found


def _encode_labels(y, setting, class_weight, weight):
    """``EncodedY`` of one label per row."""
    counted = slice(None)
    if setting is not None and setting._ignore_class is not None:
        counted = encoding.counted_rows(y, setting._ignore_class)
    classes, inverse = unique(y[counted])
    if y.dtype.kind not in encoding.WHOLE:
        check_classification_targets(y)
    n_classes = len(classes)
    if n_classes < 2:
        got = f"1 class ({shown(classes[0])})" if n_classes else "0 classes"
        raise ValueError(f"'y' must have at least 2 classes whose rows count; got {got}.")
    if weight is not None or class_weight is not None:
        of_counted = None if weight is None else weight[counted]
        sums = np.bincount(inverse, of_counted, minlength=n_classes)
        if class_weight is not None:
            class_weight = encoding.class_weights(class_weight, classes, sums)
        encoding.require_weight(sums, class_weight)
    if setting is None:
        setting = BinaryCrossentropy() if n_classes == 2 else SparseCategoricalCrossentropy()
    if setting._proba_kind == "softmax":
        kind = "two_logits" if n_classes == 2 else "multiclass"
    else:
        kind = "binary" if n_classes == 2 else "one_vs_rest"
    n_outputs = 1 if kind == "binary" else n_classes
    known = EncodedY(kind, setting, classes, n_outputs, class_weight=class_weight)
    return known.with_labels(len(y), counted, inverse, weight)


def unique(y):
    """Sorted labels, and the index of each entry of y among them."""
    try:
        return np.unique(y, return_inverse=True)
    except TypeError:
        raise ValueError(
            "'y' must hold labels of one kind that can be sorted; convert all of them to strings."
        ) from None
