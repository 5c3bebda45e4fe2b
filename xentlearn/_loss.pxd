"""Declarations of the loss core that the fused pass over X uses."""

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


# What is computed for each row.
cdef enum Product:
    LOSS_GRADIENT       # loss and out = gradient, each unless NULL
    HESSIAN_PRODUCT     # out = Hessian, or its Gauss-Newton approximation, times direction
    HESSIAN_DIAGONAL
    SOFTMAX_FACTOR      # loss = f where the Hessian is f (diag(p) - p p^T); 0 for binary losses
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
    const int64_t* indptr       # of CSR, whose data are values; or NULL
    const int32_t* indices
    const double* weight        # (n_rows,) or NULL
    const void* entry_weight    # binary: (n_rows, n_outputs) or NULL
    const void* positive        # (n_outputs,) weights of positives, or of the classes; or NULL
    # Of soft rows: the class whose smoothed target is larger than the sum of all others, or -1; and
    # that sum. NULL: they are computed in each pass.
    const int32_t* majority
    const void* rest
    double scale                # smoothed target = scale * target + shift
    double shift
    bint weighted               # whether rows have weights, or some row is ignored
    const TargetRows* parts     # the terms of a sum of losses on the same logits; or NULL
    const double* factors
    Py_ssize_t n_parts


# Strides of a matrix, counted in numbers.
cdef struct Layout:
    Py_ssize_t row
    Py_ssize_t column
    bint padded         # whether memory between rows, and of XENT_MAX_LANES more rows, may be used


cdef inline Layout layout_of(Py_ssize_t row, Py_ssize_t column) noexcept nogil:
    cdef Layout layout
    layout.row = row
    layout.column = column
    layout.padded = False
    return layout


# Some of the classes, whose logits are in rows of `width` numbers: whole vectors, with logits of
# -inf beyond the last class.
cdef struct Tile:
    Py_ssize_t begin
    Py_ssize_t n_classes
    Py_ssize_t width


# Sums over the tiles of a row so far.
cdef struct RowSums:
    double max          # the largest logit
    double s            # sum of e = exp(logit - max) without one that is 1
    double at_label     # the logit of the label
    double other        # smoothed labels: sum of target (max - logit); or the sum of e direction


cdef enum:
    TILE_VECTORS = 8    # numbers of scratch memory by row for the functions of tiles


cdef class EncodedTarget:
    cdef TargetRows rows
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_outputs
    cdef readonly object dtype
    cdef readonly tuple parts   # (factor, EncodedTarget) of each term of the loss
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

cdef bint tiles_target(const TargetRows* target) noexcept nogil

cdef void add_tile(
    const TargetRows* target, Py_ssize_t first, Py_ssize_t n_rows, Tile tile, const floating* z,
    const floating* direction, floating* e, RowSums* sums, floating* vectors,
) noexcept nogil

cdef double end_tiles(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows,
    const RowSums* sums, floating* m, floating* factor, floating* other, floating* vectors,
) noexcept nogil

cdef void tile_residual(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows, Tile tile,
    const floating* direction, const floating* m, const floating* factor, const floating* other,
    floating* z, floating* vectors,
) noexcept nogil
