"""The memory layout that arrays need before their addresses are passed to kernels."""

import math
import mmap

import numpy as np


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
