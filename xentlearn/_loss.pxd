"""Rows of logits and targets: what the fused pass over X needs of the loss core."""

from cython cimport floating

from libc.stdint cimport int32_t


cdef enum Kind:
    SPARSE_CATEGORICAL
    CATEGORICAL
    BINARY


# What is asked for each row.
cdef enum Product:
    LOSS_GRADIENT       # out = gradient (NULL: not wanted); loss as well unless NULL
    HESSIAN_PRODUCT     # out = Hessian times direction
    HESSIAN_DIAGONAL
    ENTRY_LOSS          # binary only: out = the loss of each entry
    PROBA
    LOG_PROBA


# Encoded targets of all rows. Arrays of void* have the dtype of the logits and C order.
cdef struct TargetRows:
    Kind kind
    Py_ssize_t n_outputs
    const int32_t* labels       # (n_rows,), -1 for an ignored row; or NULL
    const void* values          # (n_rows, n_outputs) soft rows or 0/1/nan entries; or NULL
    const double* weight        # (n_rows,) or NULL
    const void* entry_weight    # binary: (n_rows, n_outputs) or NULL
    const void* positive        # binary: (n_outputs,) weights of the positives, or NULL
    double scale                # smoothed target = scale * target + shift
    double shift
    bint weighted               # whether some row's weight is not 1 (0: ignored)


# Where the numbers of a matrix are, counted in numbers.
cdef struct Strides:
    Py_ssize_t row
    Py_ssize_t column


cdef class EncodedTarget:
    cdef TargetRows rows
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_outputs
    cdef readonly object dtype
    cdef tuple _arrays          # keeps alive what `rows` points to


cdef Py_ssize_t scratch_bytes(Py_ssize_t n_outputs, Py_ssize_t itemsize) noexcept nogil

cdef void process_rows(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows,
    const floating* logits, Strides logits_strides,
    const floating* direction, Strides direction_strides,
    floating* loss, Py_ssize_t loss_stride,
    floating* out, Strides out_strides,
    char* scratch,
) noexcept nogil
