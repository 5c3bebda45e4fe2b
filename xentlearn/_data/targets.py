"""y of a fit as one encoded target: kind, loss, classes, labels or values, weights.

What every fit runs is here. ``encoding.py`` has the checks of whatever else a user may pass,
``target_batches.py`` encodes y that comes in batches or partitions, ``scored_targets.py`` prepares
y for a score.
"""

import functools
import zlib
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets

from .._losses.base import LossSetting
from .._losses.registry import BinaryCrossentropy, SparseCategoricalCrossentropy, known_names
from .._utils.messages import listed, shown
from .._utils.numerics import CERTAIN, weight_exponent
from . import encoding

AUTO_NAMES = ("auto", "log_loss")
# What they take for labels. All fits share these settings, which an encoded target never changes.
LOSS_OF_TWO_CLASSES, LOSS_OF_CLASSES = BinaryCrossentropy(), SparseCategoricalCrossentropy()
ARRAYS = ("labels", "values", "weight", "entry_weight")  # attributes of EncodedY with a row each


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
        All weights have been divided by this power of 2 (``_utils/units.py``).
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

    @property
    def total_weight(self):
        """S of the objective: the sum of ``weight``."""
        return self.weight.sum() if self.sums is None else self.sums.weight

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
        """The chosen rows alone, with their weights multiplied by ``factor``."""
        weight, entry_weight = self.weight[rows], self.entry_weight
        if entry_weight is not None:
            entry_weight = entry_weight[rows]
        if factor is not None:
            weight = weight * factor
            if entry_weight is not None:
                entry_weight = entry_weight * factor[:, np.newaxis]
        return replace(
            self,
            labels=None if self.labels is None else self.labels[rows],
            values=None if self.values is None else self.values[rows],
            weight=weight,
            entry_weight=entry_weight,
        )

    def fingerprint(self):
        """A value that differs for other rows, weights or losses."""
        check = 0
        for name in ARRAYS:
            array = getattr(self, name)
            if sparse.issparse(array):
                array = np.concatenate([array.indptr, array.indices, array.data])
            if array is not None:
                check = zlib.crc32(np.ascontiguousarray(array), check)
        return repr(self.loss), check

    def without_rows(self):
        """What is known of y apart from its rows, by which more rows can be encoded."""
        return replace(
            self, labels=None, values=None, weight=np.zeros(0), entry_weight=None, sums=None
        )

    def with_labels(self, counted, inverse, weight):
        """Labelled rows that are encoded alike.

        Parameters
        ----------
        counted : ndarray of shape (n_samples,), bool, or None
            False for ignored rows; None counts all rows.
        inverse : ndarray of int
            Class index of each counted row.
        weight : ndarray of shape (n_samples,) or None
            Sample weights; None: 1.
        """
        n_samples = len(inverse) if counted is None else len(counted)
        chosen = slice(None) if counted is None else counted
        labels = np.full(n_samples, -1, dtype=np.int32)
        labels[chosen] = inverse
        weight = np.ones(n_samples) if weight is None else weight.copy()
        if counted is not None:
            weight[~counted] = 0.0
        if self.class_weight is not None:
            weight[chosen] *= self.class_weight[inverse]
        values = None
        if self.kind == "binary":
            # ignored rows have a weight of 0, so that their value does not matter
            labels, values = None, (labels == 1).astype(np.float64)[:, np.newaxis]
        return replace(self, labels=labels, values=values, weight=weight)

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

        Returns
        -------
        ndarray of shape (n_outputs,), by class; of shape (n_outputs, 2) for a binary loss: of the
        0s and of the 1s of each output.
        """
        if self.loss.proba_kind == "softmax":
            sums = self.class_weight_sums()
        elif self.kind == "one_vs_rest":
            ones = self.class_weight_sums()
            # Sums of the other classes, added up from both sides: a difference from the total
            # might be 0 although there are such rows.
            before, after = np.cumsum(ones[:-1]), np.cumsum(ones[:0:-1])[::-1]
            sums = np.stack([np.append(0.0, before) + np.append(after, 0.0), ones], axis=1)
        else:
            sums = np.stack(self.entry_weight_sums(), axis=1)
        return self.loss._fitted_weight_sums(sums, self.n_outputs)

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
        if self.loss.logit_adjustment == 0:
            return None
        offset = self.loss.logit_offset(self.class_weight_sums()[outputs])
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
        labels = values = weight = entry_weight = None
        if self.labels is not None:
            # A class that is not fitted has no weight, so its rows do not count. One-vs-rest it may
            # be fitted elsewhere, and its rows belong to the rest.
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
        elif (self.weight != 1).any():
            weight = self.weight
        return self.loss._kernel_target(
            (len(self.weight), len(outputs)),
            dtype,
            outputs=outputs,
            n_outputs=self.n_outputs,
            labels=labels,
            values=values,
            weight=weight,
            entry_weight=entry_weight,
        )


def concatenated(parts):
    """One ``EncodedY`` of the rows of several that are otherwise alike."""
    arrays = {}
    for name in ARRAYS:
        pieces = [getattr(part, name) for part in parts]
        if sparse.issparse(pieces[0]):
            arrays[name] = sparse.csr_array(sparse.vstack(pieces))
        elif pieces[0] is not None:
            arrays[name] = np.concatenate(pieces)
    return replace(parts[0], **arrays)


def is_certain(logits):
    """Where logits are ``CERTAIN`` or inf; in float32 the former is a little less."""
    return logits > CERTAIN / 2


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
    if y.dtype.kind not in encoding.WHOLE:
        check_classification_targets(y)
    counted = None
    if setting is not None and setting.ignore_class is not None:
        counted = encoding.counted_rows(y, setting.ignore_class)
    classes, inverse = unique(y if counted is None else y[counted])
    n_outputs = n_classes = len(classes)
    if n_classes < 2:
        got = f"1 class ({shown(classes[0])})" if n_classes else "0 classes"
        raise ValueError(f"'y' must have at least 2 classes whose rows count; got {got}.")
    if weight is not None or class_weight is not None:
        of_counted = weight if weight is None or counted is None else weight[counted]
        sums = np.bincount(inverse, of_counted, minlength=n_classes)
        if class_weight is not None:
            class_weight = encoding.class_weights(class_weight, classes, sums)
        encoding.require_weight(sums, class_weight)
    if setting is None:
        setting = LOSS_OF_TWO_CLASSES if n_classes == 2 else LOSS_OF_CLASSES
    if setting.proba_kind == "softmax":
        kind = "two_logits" if n_classes == 2 else "multiclass"
    elif n_classes > 2:
        kind = "one_vs_rest"
    else:
        kind, n_outputs = "binary", 1
    known = EncodedY(kind, setting, classes, n_outputs, class_weight=class_weight)
    return known.with_labels(counted, inverse, weight)


def unique(y):
    """Sorted labels, and the index of each entry of y among them."""
    try:
        return np.unique(y, return_inverse=True)
    except TypeError:
        raise ValueError(
            "'y' must hold labels of one kind; it mixes types that cannot be sorted. "
            "Convert all of them to strings."
        ) from None
