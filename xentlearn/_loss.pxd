"""Rows of logits and targets: what the fused pass over X needs of the loss core."""

from cython cimport floating

from libc.stdint cimport int32_t, int64_t


cdef extern from "_kernels/forms.h" nogil:
    ctypedef struct xent_form:
        int name
        double log_weight, miss_weight, floor, q, gamma, gamma_of_0, clip, alpha, alpha_of_0
    int XENT_CROSS_ENTROPY, XENT_POLY, XENT_GENERALIZED, XENT_FOCAL, XENT_SYMMETRIC
    int XENT_ASYMMETRIC


cdef enum Kind:
    SPARSE_CATEGORICAL
    CATEGORICAL
    BINARY


# What is asked for each row.
cdef enum Product:
    LOSS_GRADIENT       # out = gradient (NULL: not wanted); loss as well unless NULL
    HESSIAN_PRODUCT     # out = Hessian, or what stands for it, times direction
    HESSIAN_DIAGONAL
    SOFTMAX_FACTOR      # loss = f where that is f (diag(p) - p p^T); 0 of binary losses
    ENTRY_LOSS          # binary only: out = the loss of each entry
    PROBA
    LOG_PROBA


# Encoded targets of all rows. Arrays of void* have the dtype of the logits and C order.
cdef struct TargetRows:
    Kind kind
    xent_form form
    Py_ssize_t n_outputs
    const int32_t* labels       # (n_rows,), -1 for an ignored row; or NULL
    const void* values          # (n_rows, n_outputs) soft rows or 0/1/nan entries; or NULL
    const int64_t* indptr       # of CSR: values are its data; or NULL
    const int32_t* indices
    const double* weight        # (n_rows,) or NULL
    const void* entry_weight    # binary: (n_rows, n_outputs) or NULL
    const void* positive        # (n_outputs,) weights of positives, or classes of a form; or NULL
    # Of soft rows: the class whose smoothed target is larger than those of all others together, or
    # -1; and their sum. NULL: found when they are needed.
    const int32_t* majority
    const void* rest
    double scale                # smoothed target = scale * target + shift
    double shift
    bint weighted               # whether some row's weight is not 1 (0: ignored)
    const TargetRows* parts     # of a sum of losses on the same logits, with their factors; or NULL
    const double* factors
    Py_ssize_t n_parts


# Where the numbers of a matrix are, strides counted in numbers.
cdef struct Layout:
    Py_ssize_t row
    Py_ssize_t column
    bint padded         # what lies between rows, and XENT_MAX_LANES rows more, is free to use


cdef inline Layout layout_of(Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    cdef Layout layout
    layout.row = row
    layout.column = column
    layout.padded = False
    return layout


cdef class EncodedTarget:
    cdef TargetRows rows
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_outputs
    cdef readonly object dtype
    cdef readonly tuple parts   # (factor, EncodedTarget) of each loss that is added
    cdef tuple _arrays          # keeps alive what `rows` points to


cdef extern from "_kernels/rows.h" nogil:
    int XENT_MAX_LANES

cdef Py_ssize_t scratch_bytes(Py_ssize_t n_outputs, Py_ssize_t itemsize) noexcept nogil

cdef void process_rows(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows,
    const floating* logits, Layout logits_layout,
    const floating* direction, Layout direction_layout,
    floating* loss, Py_ssize_t loss_stride,
    floating* out, Layout out_layout,
    char* scratch,
) noexcept nogil
