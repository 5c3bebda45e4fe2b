"""Checks of arrays, numbers and weights that all parts of the library share.

Each function returns its argument in the form that kernels need, or raises an error that states the
rule, what was passed, and a way out.
"""

import itertools

import numpy as np
from scipy import sparse

from .arrays import has_whole_strides, kernel_array
from .numerics import DEFAULT_SUM_TOLERANCE, SUM_TOLERANCE

# Types of objects that are never missing, so that arrays of them need not be searched.
_PLAIN_TYPES = {str, bytes, int, bool}


def missing_among(array):
    """Mask of nan, None, NaT and pandas' NA in an array of objects; None if there are none."""
    if array.dtype.kind != "O" or set(map(type, array.flat)) <= _PLAIN_TYPES:
        return None
    values = map(_is_missing, array.flat)
    missing = np.fromiter(values, dtype=bool, count=array.size).reshape(array.shape)
    return missing if missing.any() else None


def _is_missing(value):
    # pandas' NA has no truth value, and is recognised by name since pandas may not be installed
    return value is None or type(value).__name__ == "NAType" or bool(value != value)


def _as_float64(array):
    """Numbers as float64, with nan for missing values among objects."""
    missing = missing_among(array)
    return kernel_array(array if missing is None else np.where(missing, np.nan, array), np.float64)


def as_floating(array, name):
    """Array of float32 or float64, and how far its rows' sums may be from 1.

    float32 and float64 are kept and float16 becomes float32. Integers, booleans and numbers among
    objects become float64, and None and pandas' NA become nan. The tolerance matters for rows of
    probabilities only; it depends on the dtype that was passed.
    """
    array = np.asarray(array)
    tolerance = SUM_TOLERANCE.get(array.dtype, DEFAULT_SUM_TOLERANCE)
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
    dtype = np.float32 if array.dtype.kind == "f" and array.itemsize <= 4 else np.float64
    # kernels need the machine's byte order, and count strides in numbers
    if array.dtype != dtype or not has_whole_strides(array):
        array = array.astype(dtype)
    return array, tolerance


def check_weights(weight, name, *shapes):
    """Finite weights >= 0 of one of the shapes, as float64 in C order; None stays None."""
    if weight is None:
        return None
    allowed = " or ".join(map(str, shapes))
    if sparse.issparse(weight):
        raise ValueError(
            f"'{name}' must be an array of shape {allowed}, got a sparse matrix of shape "
            f"{weight.shape}; pass {name}.toarray()"
            + (".ravel()." if weight.shape not in shapes else ".")
        )
    weight = np.asarray(as_numpy(weight, name))
    if weight.dtype.kind == "c":
        raise ValueError(f"'{name}' must hold real numbers, got dtype {weight.dtype}.")
    try:
        weight = _as_float64(weight).reshape(weight.shape)
    except (TypeError, ValueError):
        raise ValueError(f"'{name}' must hold numbers, got dtype {weight.dtype}.") from None
    if weight.shape not in shapes:
        rule = f"have shape {allowed}" if shapes != ((),) else "be a single number"
        raise ValueError(f"'{name}' must {rule}, got an array of shape {weight.shape}.")
    bad = ~((weight >= 0) & (weight < np.inf))
    if bad.any():
        at = np.unravel_index(np.argmax(bad), weight.shape)
        where = f" at index {shown_index(at)}" if at else ""
        raise ValueError(
            f"'{name}' must be finite and at least 0, got {weight[at]}{where}; leave rows out by "
            "a weight of 0."
        )
    return weight


def check_weight(weight, name):
    """A single finite weight >= 0 as a float."""
    return check_weights(np.asarray(weight), name, ()).item()


def check_out(out, name, shape, dtype):
    """The given buffer if it has the right shape, dtype and layout; a new array for None."""
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
    """Whether elements may overlap, because a stride is smaller than the extent of inner axes."""
    extent = array.itemsize
    for stride, size in sorted(zip(map(abs, array.strides), array.shape, strict=True)):
        if size > 1 and stride < extent:
            return True
        extent += stride * max(size - 1, 0)
    return False


def require_apart(**outs):
    """Raise ValueError if two outputs, given by name, share memory."""
    for (name, out), (other_name, other) in itertools.combinations(outs.items(), 2):
        if np.shares_memory(out, other):
            raise ValueError(
                f"'{name}' and '{other_name}' must not share memory, but they overlap; "
                "pass an array for each."
            )


def apart(array, *outs):
    """The array, or a copy of it if it may overlap with one of the outputs.

    Kernels write outputs before they have read all inputs. ``array`` may also be a sparse matrix,
    or None.
    """
    parts = [array]
    if sparse.issparse(array):  # each format has some of these
        parts = [getattr(array, name, None) for name in ("data", "indices", "indptr", "row", "col")]
    overlap = any(np.may_share_memory(part, out) for part in parts for out in outs)
    return array.copy() if overlap else array


def shown_index(at):
    """An index for a message: 3 or (3, 1)."""
    return int(at[0]) if len(at) == 1 else tuple(int(i) for i in at)


def as_numpy(array, name):
    """Tensors and arrays of other libraries (PyTorch, JAX, ...) as NumPy arrays.

    Memory is shared where NumPy can read it. Everything else, such as lists and data frames, is
    returned unchanged. It is called wherever data enters the library, because scikit-learn's checks
    leave such an array in its own library under ``array_api_dispatch``, where kernels cannot read
    it.
    """
    if isinstance(array, np.ndarray) or not hasattr(array, "__dlpack__"):
        return array
    if str(array.dtype) == "torch.bfloat16":  # NumPy has no such dtype; float32 has all its values
        array = array.float()
    try:
        return np.asarray(array) if hasattr(array, "__array__") else np.from_dlpack(array)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise TypeError(
            f"'{name}' must be an array that NumPy can read: in the memory of the CPU, without "
            f"gradients and of a dtype that NumPy has; got {type(array).__module__}."
            f"{type(array).__qualname__}: {error} Of a PyTorch tensor pass "
            "tensor.detach().cpu().numpy()."
        ) from None
