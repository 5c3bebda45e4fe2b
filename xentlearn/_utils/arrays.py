"""What every array must be before a kernel gets its address."""

import numpy as np


def kernel_array(array, dtype=None):
    """The array as kernels read it, a copy only where it is not so already.

    Its numbers lie in the machine's byte order, at multiples of their size, one after the other
    (C order). An array that is so comes back as the object it is.
    """
    array = np.ascontiguousarray(
        array, dtype=array.dtype.newbyteorder("=") if dtype is None else dtype
    )
    return array if array.flags.aligned else array.copy()


def has_whole_strides(array):
    """Whether numbers lie at multiples of their size, for kernels that count strides in numbers."""
    return array.flags.aligned and not any(
        stride % array.itemsize
        for stride, size in zip(array.strides, array.shape, strict=True)
        if size > 1
    )
