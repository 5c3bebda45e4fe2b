"""Cross-entropy of rows of logits: losses, gradients, curvature, probabilities.

This module knows rows of logits and their targets, nothing else. The arithmetic on vectors is in
``_kernels/rows_body.h``; the loops over rows, and what is done once per row, are here.

Notation, for one row of logits z with target t (sum T, usually 1) and row weight w:

    m   = max_k z_k
    e_k = exp(z_k - m), with the rounding error of the difference put back
    s   = sum_k e_k - 1, summed without the one entry that is exactly 1
    l   = log1p(s)                        the log of the softmax's denominator
    p_k = e_k / (1 + s)

    loss     = w (sum_k t_k (m - z_k) + T l)            terms >= 0 only: nothing cancels
    gradient = w (T p_k - t_k);   for the label y of an unsmoothed integer target, p_y - 1 is taken
               as -(s + (1 - e_y)) / (1 + s), minus the sum of the others
    Hessian  = w T (diag(p) - p p^T)

Binary cross-entropy adds one loss per entry; see ``binary_step`` in ``rows_body.h``.

Rows are worked on in blocks that stay in the first-level cache. A block of few classes is turned
so that vectors run across rows; a block of many classes keeps vectors along the row. What a row
gives does not depend on the block it is in, so results have the same bits for any number of
threads.
"""

from cython cimport floating
from cython.parallel cimport prange, threadid

from libc.stdint cimport int32_t
from libc.string cimport memset

import numpy as np


cdef extern from "_kernels/targets.h" nogil:
    int XENT_N_TARGETS
    const char* xent_target_names[]
    int xent_best_target()


cdef extern from "_kernels/rows.h" nogil:
    int XENT_MAX_LANES

    ctypedef struct xent_block:
        Py_ssize_t n_rows, n_classes, stride
        int across

    ctypedef struct xent_rows:
        int lanes
        void (*softmax)(
            xent_block, const void* z, void* e, void* max, void* s) noexcept nogil
        void (*cross)(
            xent_block, const void* z, const void* max, const void* values,
            double scale, double shift, void* cross, void* total) noexcept nogil
        void (*residual)(
            xent_block, const void* e, const void* factor, const void* values,
            double scale, double shift, const void* weight, void* out) noexcept nogil
        void (*hessian_product)(
            xent_block, const void* e, const void* inverse, const void* direction,
            const void* weight, void* out) noexcept nogil
        void (*hessian_diagonal)(
            xent_block, const void* e, const void* s, const void* inverse,
            const void* weight, void* out) noexcept nogil
        void (*log_proba)(
            xent_block, const void* z, const void* max, const void* log_sum,
            void* out) noexcept nogil
        void (*log1p)(Py_ssize_t, const void* u, void* out) noexcept nogil
        void (*exp)(Py_ssize_t, const void* x, void* out) noexcept nogil
        void (*binary)(
            Py_ssize_t, const void* z, const void* y, double scale, double shift,
            const void* positive, const void* weight, void* loss, void* gradient
        ) noexcept nogil
        void (*binary_curvature)(
            Py_ssize_t, const void* z, const void* y, double scale, double shift,
            const void* positive, const void* weight, const void* direction, void* out
        ) noexcept nogil
        void (*sigmoid)(Py_ssize_t, const void* z, int logarithm, void* out) noexcept nogil

    const xent_rows* xent_rows_f32(int target)
    const xent_rows* xent_rows_f64(int target)


# ---- CPU target ------------------------------------------------------------------------------

cdef int _target = xent_best_target()
cdef const xent_rows* _rows_f32 = xent_rows_f32(_target)
cdef const xent_rows* _rows_f64 = xent_rows_f64(_target)


def available_targets():
    """Names of the CPU targets that this build has and this machine runs, narrowest first."""
    return [xent_target_names[i].decode() for i in range(xent_best_target() + 1)
            if xent_rows_f32(i) != NULL]


def use_target(str name):
    """Use the row primitives of one of ``available_targets()`` from now on."""
    global _target, _rows_f32, _rows_f64
    _target = [xent_target_names[i].decode() for i in range(XENT_N_TARGETS)].index(name)
    _rows_f32 = xent_rows_f32(_target)
    _rows_f64 = xent_rows_f64(_target)


def current_target():
    """Name of the CPU target in use."""
    return xent_target_names[_target].decode()


cdef inline const xent_rows* primitives(const floating* dtype) noexcept nogil:
    """The table for the dtype of the argument."""
    return _rows_f32 if floating is float else _rows_f64


def vector_function(str name, const floating[::1] x):
    """"exp" or "log1p" of contiguous numbers on the CPU target in use, to test their errors."""
    out = np.empty(x.shape[0], dtype=np.float32 if floating is float else np.float64)
    cdef floating[::1] values = out
    if x.shape[0]:
        if name == "exp":
            primitives(&x[0]).exp(x.shape[0], &x[0], &values[0])
        else:
            primitives(&x[0]).log1p(x.shape[0], &x[0], &values[0])
    return out


# ---- Blocks and scratch memory ---------------------------------------------------------------

# At most so many rows, or so many numbers, are worked on at a time: each of the few matrices of a
# block then takes at most 16 kB (float32) of the first-level cache.
cdef enum:
    BLOCK_ROWS = 128
    BLOCK_NUMBERS = 4096
    N_MATRICES = 7      # logits, direction, out, values; binary: entries, positive, weight
    N_ROW_VECTORS = 8


cdef Py_ssize_t block_rows(Py_ssize_t n_outputs) noexcept nogil:
    """Rows per block; a full BLOCK_ROWS (whole vectors) where rows may be turned."""
    if n_outputs <= XENT_MAX_LANES:
        return BLOCK_ROWS
    return max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // n_outputs))


cdef Py_ssize_t scratch_bytes(Py_ssize_t n_outputs, Py_ssize_t itemsize) noexcept nogil:
    """Scratch memory that process_rows needs, per thread."""
    return itemsize * (
        N_MATRICES * block_rows(n_outputs) * n_outputs + N_ROW_VECTORS * BLOCK_ROWS
    )


cdef void copy_block(
    Py_ssize_t n_rows, Py_ssize_t n_columns,
    const floating* source, Strides source_strides, floating* to, Strides to_strides,
) noexcept nogil:
    cdef Py_ssize_t i, k
    for i in range(n_rows):
        for k in range(n_columns):
            to[i * to_strides.row + k * to_strides.column] = (
                source[i * source_strides.row + k * source_strides.column]
            )


# ---- Softmax losses --------------------------------------------------------------------------

cdef inline double row_weight(const TargetRows* target, Py_ssize_t row) noexcept nogil:
    """Weight of a row; 0 for an ignored one."""
    if target.labels != NULL and target.labels[row] < 0:
        return 0.0
    return target.weight[row] if target.weight != NULL else 1.0


cdef void clear_weightless_rows(
    const TargetRows* target, Py_ssize_t first, xent_block block, floating* out,
) noexcept nogil:
    """Rows that do not count give zeros, whatever their logits are (nan included)."""
    cdef Py_ssize_t i, k
    if target.weight == NULL and target.labels == NULL:
        return
    for i in range(block.n_rows):
        if row_weight(target, first + i) == 0.0:
            for k in range(block.n_classes):
                out[i + k * block.stride if block.across else i * block.stride + k] = 0


cdef void sparse_categorical_block(
    const TargetRows* target, Py_ssize_t first, xent_block block,
    const floating* z, floating* loss, floating* out, floating* vectors,
) noexcept nogil:
    """Loss and gradient for integer labels, smoothed or not."""
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* log_sum = vectors + 2 * BLOCK_ROWS
        floating* cross = vectors + 3 * BLOCK_ROWS
        floating* factor = vectors + 4 * BLOCK_ROWS
        floating* weight = vectors + 5 * BLOCK_ROWS
        floating* at_label = vectors + 6 * BLOCK_ROWS
        bint smoothed = target.shift != 0.0
        Py_ssize_t i, at
        double w, e_label, total, distance

    rows.softmax(block, z, out, m, s)
    if loss != NULL:
        rows.log1p(block.n_rows, s, log_sum)
        if smoothed:
            rows.cross(block, z, m, NULL, 0.0, target.shift, cross, at_label)

    for i in range(block.n_rows):
        w = row_weight(target, first + i)
        weight[i] = <floating> w
        factor[i] = 0
        if w == 0.0:
            if loss != NULL:
                loss[i] = 0
            continue
        at = target.labels[first + i]
        at = i + at * block.stride if block.across else i * block.stride + at
        total = 1.0 + s[i]
        factor[i] = <floating> (w / total)
        if loss != NULL:
            distance = <double> m[i] - <double> z[at]
            # full smoothing leaves nothing of the label's own term, not even 0 * inf
            loss[i] = <floating> (w * (
                (target.scale * distance if target.scale != 0.0 else 0.0)
                + log_sum[i] + (cross[i] if smoothed else 0.0)
            ))
        if out != NULL:
            e_label = out[at]
            if smoothed:
                at_label[i] = <floating> (
                    w * (e_label / total - (target.scale + target.shift)))
            else:
                at_label[i] = <floating> (-w * ((s[i] + (1.0 - e_label)) / total))

    if out != NULL:
        rows.residual(block, out, factor, NULL, 0.0, target.shift, weight, out)
        for i in range(block.n_rows):
            at = target.labels[first + i]
            if at >= 0:
                out[i + at * block.stride if block.across else i * block.stride + at] = at_label[i]
        clear_weightless_rows(target, first, block, out)


cdef void categorical_block(
    const TargetRows* target, Py_ssize_t first, xent_block block,
    const floating* z, const floating* values, floating* loss, floating* out, floating* vectors,
) noexcept nogil:
    """Loss and gradient for soft rows, smoothed or not."""
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* log_sum = vectors + 2 * BLOCK_ROWS
        floating* cross = vectors + 3 * BLOCK_ROWS
        floating* total = vectors + 4 * BLOCK_ROWS
        floating* weight = vectors + 5 * BLOCK_ROWS
        floating* factor = vectors + 6 * BLOCK_ROWS
        Py_ssize_t i
        double w

    rows.softmax(block, z, out, m, s)
    rows.cross(block, z, m, values, target.scale, target.shift, cross, total)
    if loss != NULL:
        rows.log1p(block.n_rows, s, log_sum)
    for i in range(block.n_rows):
        w = row_weight(target, first + i)
        weight[i] = <floating> w
        factor[i] = <floating> (w * total[i] / (1.0 + s[i]))
        if loss != NULL:
            loss[i] = <floating> (
                w * (cross[i] + <double> total[i] * log_sum[i]) if w != 0.0 else 0.0)
    if out != NULL:
        rows.residual(
            block, out, factor, values, target.scale, target.shift, weight, out)
        clear_weightless_rows(target, first, block, out)


cdef void softmax_curvature_block(
    const TargetRows* target, Product product, Py_ssize_t first, xent_block block,
    const floating* z, const floating* values, const floating* direction, floating* out,
    floating* vectors,
) noexcept nogil:
    """Hessian times direction, or the diagonal of the Hessian; T = 1 for integer labels."""
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* inverse = vectors + 2 * BLOCK_ROWS
        floating* cross = vectors + 3 * BLOCK_ROWS
        floating* total = vectors + 4 * BLOCK_ROWS
        floating* weight = vectors + 5 * BLOCK_ROWS
        Py_ssize_t i

    rows.softmax(block, z, out, m, s)
    if values != NULL:
        rows.cross(block, z, m, values, target.scale, target.shift, cross, total)
    for i in range(block.n_rows):
        inverse[i] = <floating> (1.0 / (1.0 + s[i]))
        weight[i] = <floating> (
            row_weight(target, first + i) * (total[i] if values != NULL else 1.0))
    if product == HESSIAN_PRODUCT:
        rows.hessian_product(block, out, inverse, direction, weight, out)
    else:
        rows.hessian_diagonal(block, out, s, inverse, weight, out)
    clear_weightless_rows(target, first, block, out)


cdef void softmax_proba_block(
    bint logarithm, xent_block block, const floating* z, floating* out, floating* vectors,
) noexcept nogil:
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* other = vectors + 2 * BLOCK_ROWS
        Py_ssize_t i

    rows.softmax(block, z, NULL if logarithm else out, m, s)
    if logarithm:
        rows.log1p(block.n_rows, s, other)
        rows.log_proba(block, z, m, other, out)
    else:
        for i in range(block.n_rows):
            other[i] = <floating> (1.0 / (1.0 + s[i]))
        rows.residual(block, out, other, NULL, 0.0, 0.0, other, out)


# ---- Binary loss -----------------------------------------------------------------------------

cdef void binary_block(
    const TargetRows* target, Product product, Py_ssize_t first, xent_block block,
    const floating* z, const floating* direction, floating* loss, floating* out,
    floating* entries, floating* values, floating* positive, floating* weight,
) noexcept nogil:
    """Everything binary: a block is n_rows * n_outputs entries in a row.

    ``entries``, ``values``, ``positive`` and ``weight`` are scratch of one entry each. Labels
    stand for one-vs-rest entries, which are made here, block by block.
    """
    cdef:
        const xent_rows* rows = primitives(z)
        Py_ssize_t n = block.n_rows, n_outputs = block.n_classes, count = n * n_outputs
        const floating* y = <const floating*> target.values + first * n_outputs
        const floating* entry_weight = NULL
        const floating* positives = NULL
        Py_ssize_t i, k, at = 0
        double w, total, lost, new_total
        bint weighted = target.weight != NULL or target.labels != NULL

    if target.labels != NULL:
        for i in range(n):
            for k in range(n_outputs):
                values[i * n_outputs + k] = 1 if target.labels[first + i] == k else 0
        y = values
    if target.positive != NULL:
        for i in range(n):
            for k in range(n_outputs):
                positive[i * n_outputs + k] = (<const floating*> target.positive)[k]
        positives = positive
    if weighted or target.entry_weight != NULL:
        for i in range(n):
            w = row_weight(target, first + i)
            for k in range(n_outputs):
                at = i * n_outputs + k
                weight[at] = <floating> w
                if target.entry_weight != NULL:
                    weight[at] = <floating> (
                        w * (<const floating*> target.entry_weight)[first * n_outputs + at])
        entry_weight = weight

    if product == HESSIAN_PRODUCT or product == HESSIAN_DIAGONAL:
        rows.binary_curvature(
            count, z, y, target.scale, target.shift, positives, entry_weight,
            direction if product == HESSIAN_PRODUCT else NULL, out)
    elif product == ENTRY_LOSS:
        rows.binary(
            count, z, y, target.scale, target.shift, positives, entry_weight, out, NULL)
    else:
        rows.binary(
            count, z, y, target.scale, target.shift, positives, entry_weight,
            entries if loss != NULL else NULL, out)
    if product == LOSS_GRADIENT and loss != NULL:
        for i in range(n):
            total = lost = 0.0      # compensated (Neumaier): a row may have many labels
            for k in range(n_outputs):
                at = i * n_outputs + k
                if entry_weight == NULL or entry_weight[at] != 0:
                    new_total = total + entries[at]
                    if total >= entries[at]:
                        lost += (total - new_total) + entries[at]
                    else:
                        lost += (entries[at] - new_total) + total
                    total = new_total
            # of an infinite total, what was lost is nan
            loss[i] = <floating> (total + lost if lost == lost else total)
    if out != NULL and entry_weight != NULL:
        for at in range(count):
            if entry_weight[at] == 0:   # 0 * inf and 0 * nan count for nothing
                out[at] = 0


# ---- Any rows, any strides -------------------------------------------------------------------

cdef inline bint lies_as(Strides strides, Py_ssize_t stride, Py_ssize_t n_rows) noexcept nogil:
    """Whether rows are contiguous and ``stride`` apart (one row has no distance to another)."""
    return strides.column == 1 and (strides.row == stride or n_rows == 1)


cdef void process_rows(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows,
    const floating* logits, Strides logits_strides,
    const floating* direction, Strides direction_strides,
    floating* loss, Py_ssize_t loss_stride,
    floating* out, Strides out_strides,
    char* scratch,
) noexcept nogil:
    """One product for ``n_rows`` rows, the first of which is row ``first`` of the target.

    Pointers are those of the first row. ``loss`` and ``out`` may be NULL where not wanted;
    ``logits`` and ``out`` must not overlap.
    """
    cdef:
        Py_ssize_t n_outputs = target.n_outputs
        Py_ssize_t n_at_once = block_rows(n_outputs)
        bint binary = target.kind == BINARY
        bint logarithm = product == LOG_PROBA
        xent_block block
        Strides layout
        Py_ssize_t b, begin, n, i
        bint in_place
        const floating* z
        const floating* v
        const floating* values
        floating* o
        Py_ssize_t size = n_at_once * n_outputs
        floating* z_scratch = <floating*> scratch
        floating* v_scratch = z_scratch + size
        floating* out_scratch = z_scratch + 2 * size
        floating* values_scratch = z_scratch + 3 * size
        floating* entries_scratch = z_scratch + 4 * size
        floating* positive_scratch = z_scratch + 5 * size
        floating* weight_scratch = z_scratch + 6 * size
        floating* vectors = z_scratch + N_MATRICES * size
        floating* loss_scratch = vectors + 7 * BLOCK_ROWS
        Strides values_strides

    layout = logits_strides
    values_strides.row = n_outputs
    values_strides.column = 1
    block.n_classes = n_outputs
    block.across = not binary and n_outputs <= primitives(logits).lanes
    if n_outputs == 1:      # the distance between columns means nothing
        logits_strides.column = direction_strides.column = out_strides.column = 1

    for b in range((n_rows + n_at_once - 1) // n_at_once):
        begin = b * n_at_once
        n = min(n_at_once, n_rows - begin)
        block.n_rows = n
        z = logits + begin * logits_strides.row
        v = direction + begin * direction_strides.row if direction != NULL else NULL
        o = out + begin * out_strides.row if out != NULL else NULL
        values = <const floating*> NULL
        if target.values != NULL and not binary:
            values = <const floating*> target.values + (first + begin) * n_outputs

        # A block is worked on where it lies if everything in it has one and the same layout.
        block.stride = n_outputs if binary or values != NULL else logits_strides.row
        in_place = (
            not block.across
            and lies_as(logits_strides, block.stride, n)
            and (v == NULL or lies_as(direction_strides, block.stride, n))
            and (o == NULL or lies_as(out_strides, block.stride, n))
        )
        if not in_place:
            block.stride = BLOCK_ROWS if block.across else n_outputs
            layout.row = 1 if block.across else block.stride
            layout.column = block.stride if block.across else 1
            copy_block(n, n_outputs, z, logits_strides, z_scratch, layout)
            z = z_scratch
            if v != NULL:
                copy_block(n, n_outputs, v, direction_strides, v_scratch, layout)
                v = v_scratch
            if values != NULL and block.across:
                copy_block(n, n_outputs, values, values_strides, values_scratch, layout)
                values = values_scratch
            if o != NULL:
                o = out_scratch

        if product == PROBA or product == LOG_PROBA:
            if binary:
                primitives(z).sigmoid(n * n_outputs, z, logarithm, o)
            else:
                softmax_proba_block(logarithm, block, z, o, vectors)
        elif binary:
            binary_block(
                target, product, first + begin, block, z, v,
                loss_scratch if loss != NULL else NULL, o,
                entries_scratch, values_scratch, positive_scratch, weight_scratch)
        elif product != LOSS_GRADIENT:
            softmax_curvature_block(
                target, product, first + begin, block, z, values, v, o, vectors)
        elif target.kind == SPARSE_CATEGORICAL:
            sparse_categorical_block(
                target, first + begin, block, z, loss_scratch if loss != NULL else NULL, o,
                vectors)
        else:
            categorical_block(
                target, first + begin, block, z, values,
                loss_scratch if loss != NULL else NULL, o, vectors)

        if loss != NULL:
            for i in range(n):
                loss[(begin + i) * loss_stride] = loss_scratch[i]
        if o != NULL and not in_place:
            copy_block(
                n, n_outputs, o, layout,
                out + begin * out_strides.row, out_strides)


# ---- From Python -----------------------------------------------------------------------------

cdef const void* address(array):
    """Where the numbers of a C-contiguous array begin; NULL for None."""
    if array is None:
        return NULL
    return <const void*> <size_t> array.__array_interface__["data"][0]


cdef class EncodedTarget:
    """Targets of n rows for one loss, checked by the caller and ready for the kernels.

    Parameters
    ----------
    kind : {"sparse_categorical", "categorical", "binary"}
        The loss.
    n_rows, n_outputs : int
        Shape of the logits.
    dtype : dtype, float32 or float64
        Dtype of the logits, and of ``values``, ``entry_weight`` and ``positive``.
    labels : ndarray of shape (n_rows,), int32, or None
        Class of each row; -1 for a row that is ignored. For "binary": one-vs-rest.
    values : ndarray of shape (n_rows, n_outputs), or None
        Soft rows ("categorical"), or entries in [0, 1], nan where missing ("binary").
    weight : ndarray of shape (n_rows,), float64, or None
        Weights of rows, at least 0.
    entry_weight : ndarray of shape (n_rows, n_outputs), or None
        Weights of entries ("binary").
    positive : ndarray of shape (n_outputs,), or None
        Weights of the positives ("binary").
    label_smoothing : float, default=0.0
        In [0, 1]: the share of the target that is spread evenly.

    Notes
    -----
    All arrays are C-contiguous.
    """

    def __init__(
        self, str kind, Py_ssize_t n_rows, Py_ssize_t n_outputs, dtype, *,
        labels=None, values=None, weight=None, entry_weight=None, positive=None,
        double label_smoothing=0.0,
    ):
        self.n_rows = n_rows
        self.n_outputs = n_outputs
        self.dtype = np.dtype(dtype)
        self._arrays = (labels, values, weight, entry_weight, positive)
        for array in self._arrays:
            assert array is None or array.flags.c_contiguous
        self.rows.kind = {
            "sparse_categorical": SPARSE_CATEGORICAL, "categorical": CATEGORICAL, "binary": BINARY,
        }[kind]
        self.rows.n_outputs = n_outputs
        self.rows.labels = <const int32_t*> address(labels)
        self.rows.values = address(values)
        self.rows.weight = <const double*> address(weight)
        self.rows.entry_weight = address(entry_weight)
        self.rows.positive = address(positive)
        self.rows.scale = 1.0 - label_smoothing
        self.rows.shift = label_smoothing / (2 if kind == "binary" else n_outputs)

    def loss_gradient(
        self, const floating[:, :] logits, floating[:] loss_out, floating[:, :] gradient_out,
        int n_threads,
    ):
        """Fill the loss of each row and its gradient; either output may be None."""
        run[floating](&self.rows, LOSS_GRADIENT, logits, None, loss_out, gradient_out, n_threads)

    def hessian_product(
        self, const floating[:, :] logits, const floating[:, :] direction,
        floating[:, :] product_out, int n_threads,
    ):
        """Fill the product of each row's Hessian with that row of ``direction``."""
        run[floating](&self.rows, HESSIAN_PRODUCT, logits, direction, None, product_out, n_threads)

    def hessian_diagonal(
        self, const floating[:, :] logits, floating[:, :] diagonal_out, int n_threads,
    ):
        """Fill the diagonal of each row's Hessian."""
        run[floating](&self.rows, HESSIAN_DIAGONAL, logits, None, None, diagonal_out, n_threads)

    def entry_loss(
        self, const floating[:, :] logits, floating[:, :] loss_out, int n_threads,
    ):
        """Fill the loss of each entry ("binary")."""
        run[floating](&self.rows, ENTRY_LOSS, logits, None, None, loss_out, n_threads)


def proba(
    str kind, const floating[:, :] logits, floating[:, :] proba_out, bint logarithm, int n_threads,
):
    """Fill probabilities, or their logarithms: "softmax" of rows or "sigmoid" of entries."""
    cdef TargetRows target
    memset(&target, 0, sizeof(target))
    target.kind = {"softmax": SPARSE_CATEGORICAL, "sigmoid": BINARY}[kind]
    target.n_outputs = logits.shape[1]
    run[floating](
        &target, LOG_PROBA if logarithm else PROBA, logits, None, None, proba_out, n_threads)


cdef run(
    const TargetRows* target, Product product, const floating[:, :] logits,
    const floating[:, :] direction, floating[:] loss, floating[:, :] out, int n_threads,
):
    """process_rows over chunks of rows, in parallel."""
    cdef:
        Py_ssize_t n_rows = logits.shape[0], n_outputs = logits.shape[1]
        Strides logits_strides, direction_strides, out_strides
        Py_ssize_t loss_stride = 0
        const floating* direction_at = NULL
        floating* loss_at = NULL
        floating* out_at = NULL

    if n_rows == 0 or n_outputs == 0:
        return
    logits_strides.row = logits.strides[0] // <Py_ssize_t> sizeof(floating)
    logits_strides.column = logits.strides[1] // <Py_ssize_t> sizeof(floating)
    direction_strides = out_strides = logits_strides
    if direction is not None:
        direction_at = &direction[0, 0]
        direction_strides.row = direction.strides[0] // <Py_ssize_t> sizeof(floating)
        direction_strides.column = direction.strides[1] // <Py_ssize_t> sizeof(floating)
    if loss is not None:
        loss_at = &loss[0]
        loss_stride = loss.strides[0] // <Py_ssize_t> sizeof(floating)
    if out is not None:
        out_at = &out[0, 0]
        out_strides.row = out.strides[0] // <Py_ssize_t> sizeof(floating)
        out_strides.column = out.strides[1] // <Py_ssize_t> sizeof(floating)

    # enough blocks per chunk that handing it to a thread costs nothing beside it
    cdef:
        Py_ssize_t chunk = 8 * block_rows(n_outputs)
        Py_ssize_t n_chunks = (n_rows + chunk - 1) // chunk
        Py_ssize_t per_thread = scratch_bytes(n_outputs, sizeof(floating))
        const floating* logits_at = &logits[0, 0]
        Py_ssize_t c, begin
    n_threads = <int> max(1, min(<Py_ssize_t> n_threads, n_chunks))
    cdef char[::1] scratch = np.zeros(n_threads * per_thread, dtype=np.int8).view("c")
    for c in prange(
        n_chunks, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        begin = c * chunk
        process_rows[floating](
            target, product, begin, min(chunk, n_rows - begin),
            logits_at + begin * logits_strides.row, logits_strides,
            direction_at + begin * direction_strides.row if direction_at != NULL else NULL,
            direction_strides,
            loss_at + begin * loss_stride if loss_at != NULL else NULL, loss_stride,
            out_at + begin * out_strides.row if out_at != NULL else NULL, out_strides,
            &scratch[0] + threadid() * per_thread,
        )
