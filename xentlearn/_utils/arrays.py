"""Arrays as kernels need them: memory layouts, and numbers by row that kernels are given."""

import math
import mmap

import numpy as np
from sklearn.utils.extmath import row_norms


def kernel_array(array, dtype=None):
    """The array in the layout that kernels read, copied only if necessary.

    The layout is C order in the machine's byte order, aligned to the size of the numbers. An array
    that already has it is returned itself.
    """
    array = np.ascontiguousarray(
        array, dtype=array.dtype.newbyteorder("=") if dtype is None else dtype
    )
    return array if array.flags.aligned else array.copy()


def has_whole_strides(array):
    """Whether strides are multiples of the item size, since kernels count strides in numbers."""
    if array.flags.forc or not array.flags.aligned:
        return array.flags.aligned
    strides = (stride for stride, size in zip(array.strides, array.shape, strict=True) if size > 1)
    return not any(stride % array.itemsize for stride in strides)


def untouched_zeros(shape):
    """Zeros in float64 that take no memory until they are written to.

    ``np.zeros`` may take memory that was used before, and write to it.
    """
    private = {}
    if hasattr(mmap, "MAP_PRIVATE"):
        private["flags"] = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return np.frombuffer(mmap.mmap(-1, 8 * math.prod(shape), **private)).reshape(shape)


def centred_squares(X, mean):
    """Return (x . mean, ||x - mean||^2) of the rows x of CSR X, in float64."""
    along = np.ascontiguousarray(X @ mean, dtype=np.float64)
    square = row_norms(X, squared=True).astype(np.float64) - 2.0 * along + mean @ mean
    return along, np.maximum(square, 0.0)  # rounding errors may make it negative
