"""Checks shared by the loss functions, the loss settings and the estimator.

Each returns its argument as the array that the kernels want, or raises an error that says the
rule, what came, and a way out.
"""

import itertools
import numbers

import numpy as np
from scipy import sparse

from .._data import _csr
from .._losses import _proba_loss
from .arrays import has_whole_strides, kernel_array
from .threads import effective_n_threads

# A row of probabilities sums to 1 within this much, by its dtype as given.
_SUM_TOLERANCE = {np.dtype(np.float16): 5e-3}
_DEFAULT_SUM_TOLERANCE = 1e-4
THREADED_ENTRIES = 1_000_000  # of sparse X, which two threads look through in half the time
OUTPUT_WEIGHTS = 1e-15, 1e15  # beside 1, of the other class or output
# Types of objects that are never missing: arrays of them need no look at each value.
_PLAIN_TYPES = {str, bytes, int, bool}


def missing_among(array):
    """Where an array of objects holds nan, None, NaT or pandas' NA; None where it holds none."""
    if array.dtype.kind != "O" or set(map(type, array.flat)) <= _PLAIN_TYPES:
        return None
    values = map(_is_missing, array.flat)
    missing = np.fromiter(values, dtype=bool, count=array.size).reshape(array.shape)
    return missing if missing.any() else None


def _is_missing(value):
    # pandas, whose NA equals nothing and is no truth value, may not be there to be asked
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _as_float64(array):
    """Numbers as float64; nan for what is missing among objects."""
    missing = missing_among(array)
    return kernel_array(array if missing is None else np.where(missing, np.nan, array), np.float64)


def as_floating(array, name):
    """Array of float32 or float64, and how far its rows' sums may be from 1.

    float32 and float64 stay; float16 becomes float32; integers and booleans become float64, and so
    do numbers among objects, where None and pandas' NA become nan.
    """
    array = np.asarray(array)
    tolerance = _SUM_TOLERANCE.get(array.dtype, _DEFAULT_SUM_TOLERANCE)
    if array.dtype.kind == "O":
        try:
            array = _as_float64(array).reshape(array.shape)
        except (TypeError, ValueError) as error:
            raise ValueError(f"'{name}' must hold numbers, got objects: {error}.") from None
    if array.dtype.kind not in "fiub":
        raise ValueError(
            f"'{name}' must hold real numbers, got dtype {array.dtype}; convert it to float first."
        )
    if array.ndim == 0:
        raise ValueError(
            f"'{name}' must have at least 1 dimension, got the single number {array}; "
            "put it into a list."
        )
    if array.dtype == np.float16:
        return array.astype(np.float32), tolerance
    if array.dtype not in (np.float32, np.float64):
        return array.astype(np.float64), tolerance
    # kernels count strides in numbers, in the machine's byte order
    if not array.dtype.isnative or not has_whole_strides(array):
        array = array.astype(array.dtype.newbyteorder("="), order="C", copy=True)
    return array, tolerance


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
                f"'{name}' must hold integer class indices, got {y[at]} at index {_index(at)}; "
                "drop these rows, or give them an integer of their own and name it by "
                "'ignore_class'."
            )
        raise ValueError(
            f"'{name}' must hold integer class indices, got dtype {y.dtype}; encode labels "
            "first, for example with sklearn.preprocessing.LabelEncoder."
        )
    fractional = ~(y == np.floor(y)) | np.isinf(y)
    if fractional.any():
        at = np.unravel_index(np.argmax(fractional), y.shape)
        raise ValueError(
            f"'{name}' must hold integer class indices, got {y[at]} at index {_index(at)}; "
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
            f"got {y[at]} at index {_index(at)}; rows to leave out can be named by 'ignore_class'."
        )
    labels = kernel_array(y, np.int32)
    if ignored is not None:
        labels = np.where(ignored, np.int32(-1), labels)
    return labels


# What the numbers in ``indptr`` and ``indices`` count, by format.
_AXES = {"csr": ("row", "column"), "csc": ("column", "row"), "bsr": ("block row", "block column")}


def require_sound_csr(matrix, name, n_threads=1):
    """Raise unless the arrays of a CSR matrix fit together; SciPy does not look at its indices.

    One sweep over ``indptr`` and ``indices``, which changes nothing and trusts no flag that SciPy
    remembers, so arrays that were changed in place are seen as they are now.

    Parameters
    ----------
    matrix : CSR array or matrix of shape (n_rows, n_columns)
        Rows need not be sorted.
    name : str
        Of the argument, for the message.
    n_threads : int, default=1
        OpenMP threads.

    Returns
    -------
    repeats : bool
        Whether a row holds a column more than once.

    Raises
    ------
    ValueError
        If a row's entries are not in ``indices`` and ``data``, or a column is not in
        [0, n_columns); it names the first such row.
    """
    return _require_sound(matrix, name, *matrix.shape, n_threads)


def as_sound_csr(matrix, name, n_threads=1):
    """CSR of a sparse matrix of any format, without reading or writing out of bounds.

    Parameters
    ----------
    matrix : sparse array or matrix of shape (n_rows, n_columns)
        CSR is returned as it is, if its arrays are as kernels read them.
    name : str
        Of the argument, for the message.
    n_threads : int, default=1
        OpenMP threads.

    Returns
    -------
    matrix : CSR array or matrix of shape (n_rows, n_columns)
    repeats : bool
        Whether a row holds a column more than once; ``matrix.sum_duplicates()`` then adds them, in
        place.

    Raises
    ------
    ValueError
        If the arrays of the matrix do not fit together, or it does not have 2 dimensions.
    """
    if matrix.ndim != 2:
        raise ValueError(
            f"'{name}' must have 2 dimensions where it is sparse, got shape {matrix.shape}; "
            "call its .toarray() first."
        )
    n_rows, n_columns = matrix.shape
    if matrix.format == "csc":
        _require_sound(matrix, name, n_columns, n_rows, n_threads)
    elif matrix.format == "bsr":
        height, width = matrix.data.shape[1:]
        _require_sound(matrix, name, n_rows // height, n_columns // width, n_threads)
    elif matrix.format == "coo":
        for index, size, axis in ((matrix.row, n_rows, "row"), (matrix.col, n_columns, "column")):
            if len(index) != len(matrix.data):
                _refuse_sparse(matrix, name, f"{len(index)} {axis}s for {len(matrix.data)} entries")
            if len(index) and not 0 <= index.min() <= index.max() < size:
                bad = index[(index < 0) | (index >= size)][0]
                _refuse_sparse(matrix, name, f"{axis} {bad}")
    matrix = matrix.tocsr()
    repeats = require_sound_csr(matrix, name, n_threads)
    arrays = matrix.data, matrix.indices, matrix.indptr
    regular = tuple(kernel_array(array) for array in arrays)
    if any(new is not old for new, old in zip(regular, arrays, strict=True)):
        matrix = type(matrix)(regular, shape=matrix.shape)
    return matrix, repeats


def _require_sound(matrix, name, n_major, n_minor, n_threads):
    """``require_sound_csr`` of CSR, or of what CSC and BSR have in its place."""
    major, minor = _AXES[matrix.format]
    n_stored = min(len(matrix.indices), len(matrix.data))
    for what in ("indptr", "indices"):
        array = getattr(matrix, what)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            _refuse_sparse(matrix, name, f"{what!r} of dtype {array.dtype}, shape {array.shape}")
    indptr, indices = _as_index(matrix.indptr), _as_index(matrix.indices)
    if len(indptr) != n_major + 1 or indptr[0] != 0:
        _refuse_sparse(
            matrix, name, f"'indptr' of {len(indptr)} numbers, beginning with {indptr[:1]}"
        )
    bad, repeats = _csr.sweep(
        indptr, indices.view(f"u{indices.itemsize}"), n_minor, n_stored, n_threads
    )
    if bad >= 0:
        begin, end = indptr[bad], indptr[bad + 1]
        if not 0 <= begin <= end <= n_stored:
            what = f"from entry {begin} to entry {end} of {n_stored}"
        else:
            row = indices[begin:end]
            what = f"with an entry in {minor} {row[(row < 0) | (row >= n_minor)][0]} of {n_minor}"
        _refuse_sparse(matrix, name, f"{major} {bad} {what}")
    return repeats


def _as_index(array):
    """Indices of a sparse matrix as int32 or int64, one after the other."""
    return kernel_array(array, np.int32 if array.dtype == np.int32 else np.int64)


def _refuse_sparse(matrix, name, got):
    raise ValueError(
        f"'{name}' must be a sparse matrix whose indices are within its shape {matrix.shape} and "
        f"whose 'indptr' goes from 0 upwards within its entries; got {got}. SciPy's constructors "
        "do not look at that; scipy.sparse.coo_array, made from rows and columns, does."
    )


def as_csr(values, name):
    """CSR of float32 or float64 without duplicates, and how far its rows' sums may be from 1."""
    values, repeats = as_sound_csr(values, name)
    data, tolerance = as_floating(values.data, name)
    data = kernel_array(data)
    n_stored = values.indptr[-1]  # arrays may be longer
    values = sparse.csr_array(
        (data[:n_stored], values.indices[:n_stored], values.indptr),
        shape=values.shape,
        copy=repeats,
    )
    if repeats:
        values.sum_duplicates()
    return values, tolerance


def as_sound_X(X, name="X"):
    """Sparse X as CSR whose arrays fit together, duplicates summed; anything else as it is.

    A bag of words that is built token by token holds an entry per token. Its products with
    coefficients are right as they are; its squares, and what is counted of it, are not.
    """
    if not sparse.issparse(X):
        return X
    # asking how many threads there are takes as long as a sweep over few entries
    n_threads = effective_n_threads() if X.nnz >= THREADED_ENTRIES else 1
    X, repeats = as_sound_csr(X, name, n_threads)
    if repeats:
        narrow = X.dtype.kind in "iu" and X.dtype.itemsize == 1  # a sum of counts may exceed it
        data = X.data.astype(np.float32 if narrow else X.dtype)
        X = sparse.csr_array((data, X.indices, X.indptr), shape=X.shape, copy=True)
        X.sum_duplicates()
    return X


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
        at = _index(np.unravel_index(bad, shape[:-1])) if len(shape) > 2 else first + bad
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
            f"{entries[bad][0]} at index {_index(at)}; labels of -1 and 1 become (y + 1) / 2."
        )
    return y.astype(dtype, copy=False) if is_sparse else kernel_array(y, dtype)


def check_weights(weight, name, *shapes):
    """Weights >= 0 as float64 in C order, of one of the shapes; None stays None."""
    if weight is None:
        return None
    if sparse.issparse(weight):
        raise ValueError(
            f"'{name}' must be an array of shape {' or '.join(str(shape) for shape in shapes)}, "
            f"got a sparse matrix of shape {weight.shape}; pass {name}.toarray()"
            + (".ravel()." if all(len(shape) == 1 for shape in shapes) else ".")
        )
    weight = np.asarray(as_numpy(weight, name))
    if weight.dtype.kind == "c":
        raise ValueError(f"'{name}' must hold real numbers, got dtype {weight.dtype}.")
    try:
        weight = _as_float64(weight).reshape(weight.shape)
    except (TypeError, ValueError):
        raise ValueError(f"'{name}' must hold numbers, got dtype {weight.dtype}.") from None
    if weight.shape not in shapes:
        raise ValueError(
            f"'{name}' must have shape {' or '.join(str(shape) for shape in shapes)}, "
            f"got {weight.shape}."
            if shapes != ((),)
            else f"'{name}' must be a single number, got an array of shape {weight.shape}."
        )
    bad = ~((weight >= 0) & (weight < np.inf))
    if bad.any():
        at = np.unravel_index(np.argmax(bad), weight.shape)
        raise ValueError(
            f"'{name}' must be finite and at least 0, got {weight[at]}"
            + (f" at index {_index(at)}" if at else "")
            + "; leave rows out by a weight of 0."
        )
    return weight


def check_weight(weight, name):
    """A single weight >= 0 as a float."""
    return check_weights(np.asarray(weight), name, ()).item()


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


def check_number(value, name, valid, rule):
    """``value`` as a float, if it is a number for which ``valid`` holds; nan never does."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
    if not (is_number and valid(value)):
        raise ValueError(f"'{name}' must be {rule}; got {value!r}.")
    return float(value)


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


def check_out(out, name, shape, dtype):
    """The given buffer if it fits, a new array if it is None."""
    if out is None:
        return np.empty(shape, dtype=dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"'{name}' must be an array of {dtype} {shape}, got {got}.")
    if not out.flags.writeable:
        raise ValueError(f"'{name}' must be writeable, got a read-only array.")
    if not has_whole_strides(out) or _overlaps_itself(out):
        raise ValueError(
            f"'{name}' must hold each number in a place of its own, at a multiple of its size "
            f"({out.itemsize} bytes); got strides {out.strides}"
            + ("" if out.flags.aligned else ", unaligned")
            + f"; pass np.empty({shape}, {str(dtype)!r}) and copy from it."
        )
    return out


def _overlaps_itself(array):
    """Whether numbers may overlap: a stride is smaller than what the smaller ones span."""
    extent = array.itemsize
    for stride, size in sorted(zip(map(abs, array.strides), array.shape, strict=True)):
        if size > 1 and stride < extent:
            return True
        extent += stride * max(size - 1, 0)
    return False


def require_apart(**outs):
    """Raise if two outputs, given by name, share a number."""
    given = [(name, out) for name, out in outs.items() if out is not None]
    for (name, out), (other_name, other) in itertools.combinations(given, 2):
        if np.shares_memory(out, other):
            raise ValueError(
                f"'{name}' and '{other_name}' must not share memory, but one lies over the other; "
                "pass an array for each."
            )


def apart(array, *outs):
    """The array, or a copy if one of the outputs lies over it: kernels write before they read.

    ``array`` may also be a sparse matrix, or None.
    """
    outs = [out for out in outs if isinstance(out, np.ndarray)]
    if not outs or array is None:
        return array
    if sparse.issparse(array):
        names = ("data", "indices", "indptr", "row", "col")
        arrays = [getattr(array, name) for name in names if hasattr(array, name)]
    else:
        arrays = [array]
    over = any(np.may_share_memory(part, out) for part in arrays for out in outs)
    return array.copy() if over else array


def _index(at):
    """An index as a person writes it: 3 or (3, 1)."""
    return int(at[0]) if len(at) == 1 else tuple(int(i) for i in at)


def as_numpy(array, name):
    """Tensors and arrays of other libraries (PyTorch, JAX, ...) as NumPy arrays.

    Memory is shared where NumPy can read it. Everything else, lists and data frames among it, is
    returned as it is. Called where data enters the library: scikit-learn's own checks keep such an
    array in its library under ``array_api_dispatch``, where the kernels cannot read it.
    """
    if isinstance(array, np.ndarray) or not hasattr(array, "__dlpack__"):
        return array
    try:
        return np.asarray(array) if hasattr(array, "__array__") else np.from_dlpack(array)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TypeError(
            f"'{name}' must be an array that NumPy can read: in the memory of the CPU, without "
            f"gradients and of a dtype that NumPy has; got {type(array).__module__}."
            f"{type(array).__qualname__}: {error} Of a PyTorch tensor pass "
            "tensor.detach().cpu().numpy(), of a dtype that NumPy has not tensor.float() before."
        ) from None
