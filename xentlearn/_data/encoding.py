"""Checks of what users pass as y and as its weights, and of y with several columns."""

import datetime
import numbers

import numpy as np
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_consistent_length

from .._losses.registry import BinaryCrossentropy, CategoricalCrossentropy
from .._losses.validation import check_soft_rows
from .._utils.csr import as_csr, as_sound_csr
from .._utils.messages import listed, shown, warn
from .._utils.numerics import weight_exponent
from .._utils.validation import as_numpy, check_weight, check_weights, missing_among

# Kinds of dtype of which every value is a valid label. scikit-learn's checks can find nothing in
# them, but take a tenth of the time of a small fit.
WHOLE = "biu"
LISTS_OF_LABELS = (
    "'y' must hold one label per row, or columns; got lists or sets of labels, which become an "
    "indicator by sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)."
)
# Types of values that can be equal to labels; bytes only equal labels that are bytes.
LABEL_TYPES = (numbers.Real, str, np.generic, datetime.date, datetime.timedelta)

# ---- y as an array -------------------------------------------------------------------------------


def as_target(y):
    """y as an array of 1 or 2 dimensions; missing values are nan, and an error where y is 1-D."""
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
            f"Complex data not supported: 'y' must hold labels or real numbers, got {y.dtype}."
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
    """(y as an array, mask of missing values among its objects or None)."""
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
    # older versions of pandas return its integers and booleans as objects
    kind = getattr(getattr(y, "dtype", None), "kind", "O")
    return (np.array(array.tolist()) if kind in WHOLE + "f" else array), None


def warn_of_column():
    """scikit-learn's warning about a y of shape (n_samples, 1)."""
    warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y "
        "to (n_samples, ), for example using ravel().",
        DataConversionWarning,
    )


def check_length(y, n_samples):
    """Raise scikit-learn's error unless y has ``n_samples`` rows."""
    check_consistent_length(np.empty((n_samples, 0)), y)


def counted_rows(y, ignore_class):
    """Mask of the rows whose label is not ``ignore_class``; None ignores no row."""
    if ignore_class is not None:
        _check_ignore_class(y, ignore_class)
        counted = np.asarray(y != ignore_class)
        if counted.shape == y.shape:  # otherwise a string was compared with numbers
            return counted
    return np.ones(len(y), dtype=bool)


def _check_ignore_class(y, ignore_class):
    """Raise ValueError unless it is a single value that a label can have."""
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


# ---- Weights -------------------------------------------------------------------------------------


def check_sample_weight(sample_weight, y):
    """Weights of rows, or of the entries of a 2-D y, from an array or a number; None stays None."""
    if isinstance(sample_weight, numbers.Real):
        sample_weight = np.full(y.shape[0], sample_weight)
    shapes = [y.shape[:1], y.shape][: y.ndim]
    return check_weights(sample_weight, "sample_weight", *shapes)


def weights_in_range(y, sample_weight, class_weight):
    """Checked sample weights, divided by a power of 2 so that products with them are finite.

    Returns
    -------
    weight : ndarray of shape (n_samples,) or of the shape of y, or None
    exponent : int
        The weights have been divided by 2 ** ``exponent``.
    """
    weight = check_sample_weight(sample_weight, y)
    if weight is not None and not weight.any():
        raise ValueError(
            "'sample_weight' must leave a row with a positive weight; all weights are zero."
        )
    exponent = weight_exponent(weight)
    if isinstance(class_weight, dict) and class_weight:
        exponent += max(0, weight_exponent(np.array(list(class_weight.values()))))
        weight = np.ones(y.shape[0]) if exponent and weight is None else weight
    return np.ldexp(weight, -exponent) if exponent else weight, exponent


def check_class_weight(class_weight):
    """A dict of finite floats >= 0 from a dict; "balanced" is returned unchanged."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        return class_weight
    if not isinstance(class_weight, dict):
        raise ValueError(
            "'class_weight' must be a dict by class label, 'balanced' or None, got "
            f"{shown(class_weight)}."
        )
    return {
        label: check_weight(weight, f"class_weight[{shown(label)}]")
        for label, weight in class_weight.items()
    }


def class_weights(class_weight, classes, sums):
    """Weight of each class; "balanced" makes their weight sums equal, which are ``sums`` so far."""
    if isinstance(class_weight, str):
        seen = sums > 0
        balanced = np.ones(len(classes))
        balanced[seen] = sums.sum() / (np.count_nonzero(seen) * sums[seen])
        return balanced
    try:
        return compute_class_weight(class_weight, classes=classes, y=classes)
    except ValueError:  # its message lists all classes
        known = set(classes)
        strange = [label for label in class_weight if label not in known]
        raise ValueError(
            f"'class_weight' must name classes of y, {listed(classes)}; got {listed(strange)}."
        ) from None


def require_weight(sums, class_weight):
    """Raise ValueError unless a class has a positive weight sum."""
    if not np.any(sums if class_weight is None else sums * class_weight):
        raise ValueError(
            "A class must have a positive weight; all rows that count have weight 0. Look at "
            "'sample_weight' and 'class_weight'."
        )


# ---- Several columns -----------------------------------------------------------------------------


def check_columns(y, setting, class_weight, weight):
    """Resolve the kind and the loss of a y with several columns.

    Parameters
    ----------
    y : ndarray or CSR of shape (n_samples, n_outputs)
    setting : loss setting or None
        None chooses one from the values of y.
    class_weight : dict, "balanced" or None
    weight : ndarray of shape (n_samples,) or (n_samples, n_outputs), or None

    Returns
    -------
    kind : {"multilabel", "soft"}
    setting : loss setting
    y : ndarray or CSR of shape (n_samples, n_outputs), float64
        Soft rows, or binary entries with nan where missing.
    class_weight : ndarray of shape (n_outputs,) or None
    """
    y = as_columns(y)
    indicator = _is_indicator(y)
    if setting is None:
        entries = _entries(y)
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
    y = check_rows(y, setting, weight, indicator)
    if setting.proba_kind == "sigmoid":
        if class_weight is not None:
            raise ValueError(
                "'class_weight' does not apply to multi-label y; weigh the positives of each label "
                "by loss=BinaryCrossentropy(pos_weight=[...]), or entries by a 2-D 'sample_weight'."
            )
        return "multilabel", setting, y, None
    sums = np.ones(y.shape[0]) @ y if weight is None else weight @ y
    if class_weight is not None:
        class_weight = class_weights(class_weight, np.arange(y.shape[1]), sums)
    require_weight(sums, class_weight)
    return "soft", setting, y, class_weight


def check_rows(y, setting, weight, indicator=None):
    """Rows of several columns as float64, if they fit the loss and the weights fit them."""
    entries = _entries(y)
    indicator = _is_indicator(y) if indicator is None else indicator
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


def as_columns(y):
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


def _entries(y):
    """The stored values of a dense or sparse y; the others are 0."""
    return y.data if sparse.issparse(y) else y


def _is_indicator(y):
    """Whether rows hold only 0, 1 and nan."""
    entries = _entries(y)
    return bool(np.all((entries == 0) | (entries == 1) | np.isnan(entries)))


def _rule_for_columns(entries):
    missing = np.isnan(entries)
    with np.errstate(invalid="ignore"):
        bad = ~((entries >= 0) & (entries <= 1)) & ~missing
    got = entries[bad][0] if bad.any() else entries[missing][0] if missing.any() else "soft rows"
    return (
        "A y with several columns must hold 0, 1 and (where missing) nan: multi-label; or "
        f"probabilities that sum to 1 in each row: soft labels. Got {got}; a missing label is nan, "
        "not -1."
    )
