"""Checks of what users pass as y and as its weights, and of y with several columns."""

import datetime
import numbers

import numpy as np
from scipy import sparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import check_array, check_consistent_length, compute_class_weight

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
LABEL_TYPES = (numbers.Real, str, np.bool_, np.datetime64, datetime.date, datetime.timedelta)

# ---- y as an array -------------------------------------------------------------------------------


def as_target(y):
    """y as an array of 1 or 2 dimensions; missing values are nan, and an error where y is 1-D."""
    if y is None:
        raise ValueError(
            "This SoftmaxClassifier estimator requires y to be passed, but the target y is None."
        )
    is_sparse, kind = sparse.issparse(y), type(y).__name__
    y = sparse.csr_array(as_sound_csr(y, "y")[0]) if is_sparse else _as_array(as_numpy(y, "y"))
    if y.ndim not in (1, 2):
        raise ValueError(
            "'y' must have shape (n_samples,) or (n_samples, n_outputs), got "
            f"{y.shape}{'' if y.ndim else f' ({kind})'}; bad input shape."
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
        y = (y.toarray() if is_sparse else y).ravel()
        warn_of_column()
    missing = missing_among(y)
    if y.ndim == 2:
        return y if missing is None else np.where(missing, np.nan, y)
    if y.dtype.kind in "mM":
        missing = np.isnat(y)
    if missing is not None and missing.any():
        raise ValueError(
            f"Input y contains NaN or None, first at row {np.argmax(missing)}; drop these rows, or "
            "give them a label of their own and name it by 'ignore_class'."
        )
    if y.dtype.kind not in WHOLE + "O":
        check_array(y, dtype=None, ensure_2d=False, ensure_min_samples=0, input_name="y")
    return y


def _as_array(y):
    """y as an array: of numbers, if it is a series of numbers without missing values."""
    try:
        array = np.asarray(y)
    except ValueError:
        if isinstance(y, (list, tuple)):  # of different lengths
            raise ValueError(LISTS_OF_LABELS) from None
        raise
    if array.dtype.kind != "O":
        return array
    collections = list, tuple, set, frozenset, np.ndarray
    if any(issubclass(one, collections) for one in set(map(type, array.flat))):
        raise ValueError(LISTS_OF_LABELS)
    # older versions of pandas return its integers and booleans as objects
    are_numbers = getattr(getattr(y, "dtype", None), "kind", "O") in WHOLE + "f"
    return np.array(array.tolist()) if are_numbers and missing_among(array) is None else array


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
    if ignore_class is None:
        return np.ones(len(y), dtype=bool)
    is_bytes = isinstance(ignore_class, bytes) and bytes in map(type, y.tolist())
    is_label = is_bytes or isinstance(ignore_class, LABEL_TYPES)
    if not is_label or ignore_class != ignore_class:  # nan and NaT are not
        raise ValueError(
            "'ignore_class' must be a single label, such as an integer or a string, or None; got "
            f"{shown(ignore_class)}. To leave out several labels, or rows without any, give all of "
            "them one label that no class has, and name that."
        )
    counted = np.asarray(y != ignore_class)
    # of another shape where a string was compared with numbers
    return counted if counted.shape == y.shape else np.ones(len(y), dtype=bool)


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
    return {key: check_weight(w, f"class_weight[{shown(key)}]") for key, w in class_weight.items()}


def class_weights(class_weight, classes, sums):
    """Weight of each class; "balanced" makes their weight sums equal, which are ``sums`` so far."""
    if isinstance(class_weight, str):
        seen, balanced = sums > 0, np.ones(len(sums))
        return np.divide(sums.sum(), np.count_nonzero(seen) * sums, out=balanced, where=seen)
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
    if setting is None:
        entries = y.data if sparse.issparse(y) else y
        if _is_indicator(entries):
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
    y = check_rows(y, setting, weight)
    if setting._proba_kind == "sigmoid":
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


def check_rows(y, setting, weight):
    """Rows of several columns as float64, if they fit the loss and the weights fit them."""
    entries, name = y.data if sparse.issparse(y) else y, type(setting).__name__
    is_indicator, is_multilabel = _is_indicator(entries), setting._proba_kind == "sigmoid"
    if is_multilabel and not is_indicator:
        raise ValueError(f"{_rule_for_columns(entries)} {name} takes the first of these.")
    if not is_multilabel and not setting._takes_rows:
        raise ValueError(
            f"{name} takes a 1-D y, one integer or string label per row; got "
            f'shape {y.shape}. For several labels per row pass loss="binary_crossentropy", for '
            'one-hot or soft rows loss="categorical_crossentropy", or y.argmax(axis=1) as y.'
        )
    if not is_multilabel and np.isnan(entries).any():
        raise ValueError(
            f"{name} takes rows of probabilities; missing labels (nan) belong to a multi-label y "
            'and loss="binary_crossentropy".'
        )
    sums = y.sum(axis=1)
    if not is_multilabel and is_indicator and (sums != 1).any():
        raise ValueError(
            f"{name} takes rows of probabilities, such as one 1 per row; row "
            f"{np.argmax(sums != 1)} of y has {sums[sums != 1][0]:.0f}. An indicator of several "
            'labels per row belongs to loss="binary_crossentropy".'
        )
    if weight is not None and weight.ndim == 2 and setting._couples:
        raise ValueError(
            f"'sample_weight' must have shape {y.shape[:1]} for a loss with a softmax part and for "
            f"soft rows, got {weight.shape}."
        )
    if is_multilabel:
        return y.astype(np.float64, copy=False)
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


def _is_indicator(entries):
    """Whether rows hold only 0, 1 and nan."""
    return bool(np.all((entries == 0) | (entries == 1) | np.isnan(entries)))


def _rule_for_columns(entries):
    outside = entries[(entries < 0) | (entries > 1)]
    others = "nan" if np.isnan(entries).any() else "soft rows"
    return (
        "A y with several columns must hold 0, 1 and (where missing) nan: multi-label; or "
        "probabilities that sum to 1 in each row: soft labels. Got "
        f"{outside[0] if len(outside) else others}; a missing label is nan, not -1."
    )
