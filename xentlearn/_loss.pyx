"""Cross-entropy of rows of logits: losses, gradients, curvature, probabilities.

This module deals with rows of logits and their targets alone. The arithmetic on vectors is in
``_kernels/rows_body.h``; the loops over rows, and computations by row, are here.

Notation, for one row of logits z with target t (sum T, usually 1) and row weight w:

    m   = max_k z_k
    e_k = exp(z_k - m), corrected for the rounding error of the difference
    s   = sum_k e_k - 1, the sum without one entry that is exactly 1
    l   = log1p(s)                        the log of the softmax's denominator
    p_k = e_k / (1 + s)

    loss     = w (sum_k t_k (m - z_k) + T l)            a sum of terms >= 0, without cancellation
    gradient = w (T p_k - t_k);   for a class y whose target exceeds the sum r of all others it is
               computed as w (r - T (1 - p_y)) with 1 - p_y = (s + (1 - e_y)) / (1 + s), which keeps
               its digits if p_y is close to t_y; for a label, r is 0
    Hessian  = w T (diag(p) - p p^T)

Binary cross-entropy is a sum with one term per entry; see ``binary_body`` in ``rows_body.h``. Other
forms of both (focal, generalised, ...) are in ``forms_body.h``; the terms of a sum of losses are
evaluated one after the other.

Rows are processed in blocks that stay in the first-level cache. A block of few classes is
transposed, so that vectors run across the rows; in a block of many classes they run along them. The
results of a row do not depend on its block, and have the same bits for any number of threads.
"""

from cython cimport floating
from cython.parallel cimport prange, threadid

from libc.float cimport DBL_MIN, FLT_MIN
from libc.math cimport exp, fabs
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

import numpy as np
from scipy import sparse

from ._utils.arrays import kernel_array


cdef extern from "_kernels/targets.h" nogil:
    int XENT_N_TARGETS
    const char* xent_target_names[]
    int xent_best_target()


cdef extern from "_kernels/rows.h" nogil:
    int XENT_FEW_CLASSES

    ctypedef struct xent_block:
        Py_ssize_t n_rows, n_classes, stride
        int across
        const void* next_in
        const void* next_out

    ctypedef struct xent_rows:
        int lanes
        void (*softmax)(
            xent_block, const void* z, void* e, void* max, void* s) noexcept nogil
        void (*cross)(
            xent_block, const void* z, const void* max, const void* values,
            double scale, double shift, void* cross, void* total) noexcept nogil
        void (*class_terms)(
            xent_block, const xent_form*, const void* z, const void* max, const void* e,
            const void* s, const void* targets, void* slopes, void* cost, void* slope
        ) noexcept nogil
        void (*residual)(
            xent_block, const void* e, const void* factor, const void* values,
            double scale, double shift, const void* weight, const int32_t* labels,
            const void* at_labels, void* out) noexcept nogil
        void (*hessian_product)(
            xent_block, const void* e, const void* inverse, const void* direction,
            const void* weight, void* out) noexcept nogil
        void (*hessian_diagonal)(
            xent_block, const void* e, const void* s, const void* inverse,
            const void* weight, void* out) noexcept nogil
        void (*log_proba)(
            xent_block, const void* z, const void* max, const void* log_sum,
            void* out) noexcept nogil
        void (*row_sums)(
            xent_block, const void* values, const void* times, void* out) noexcept nogil
        void (*tile_residual)(
            xent_block, const void* z, const void* max, const void* factor, double shift,
            const void* weight, const void* direction, const void* mean, void* out
        ) noexcept nogil
        void (*turn)(
            xent_block, const void* rows, Py_ssize_t stride, void* across) noexcept nogil
        void (*turn_back)(
            xent_block, const void* across, void* rows, Py_ssize_t stride) noexcept nogil
        void (*at_labels)(
            xent_block, const int32_t* labels, const void* z, const void* max, const void* e,
            void* distance, void* lost, void* e_out) noexcept nogil
        void (*row_terms)(
            Py_ssize_t, const void* s, const void* weight, const void* total,
            const void* distance, const void* cross, double scale, void* loss, void* factor
        ) noexcept nogil
        void (*label_gradient)(
            Py_ssize_t, const void* s, const void* e, const void* factor, const void* weight,
            double target, double rest, void* out) noexcept nogil
        void (*label_terms)(
            Py_ssize_t, const xent_form*, const void* s, const void* distance, const void* lost,
            const void* e, const void* weight, void* cost, void* slope) noexcept nogil
        void (*log1p)(Py_ssize_t, const void* u, void* out) noexcept nogil
        void (*exp)(Py_ssize_t, const void* x, void* out) noexcept nogil
        void (*binary)(
            Py_ssize_t, const xent_form*, const void* z, const void* y, double scale, double shift,
            const void* positive, const void* weight, void* loss, void* gradient
        ) noexcept nogil
        void (*binary_curvature)(
            Py_ssize_t, const xent_form*, const void* z, const void* y, double scale, double shift,
            const void* positive, const void* weight, const void* direction, void* out
        ) noexcept nogil
        void (*sigmoid)(Py_ssize_t, const void* z, int logarithm, void* out) noexcept nogil

    const xent_rows* xent_rows_f32(int target)
    const xent_rows* xent_rows_f64(int target)


# ---- CPU target ------------------------------------------------------------------------------

cdef int _cpu_target = xent_best_target()
cdef const xent_rows* _rows_f32 = xent_rows_f32(_cpu_target)
cdef const xent_rows* _rows_f64 = xent_rows_f64(_cpu_target)


def available_cpu_targets():
    """Return the names of the CPU targets of this build and machine, from the narrowest on."""
    return [xent_target_names[i].decode() for i in range(xent_best_target() + 1)
            if xent_rows_f32(i) != NULL]


def cpu_target_number(str name):
    """Return the number of a CPU target in ``enum xent_target`` (``_kernels/targets.h``)."""
    return [xent_target_names[i].decode() for i in range(XENT_N_TARGETS)].index(name)


def use_cpu_target(str name):
    """Use the row primitives for this CPU target, one of ``available_cpu_targets()``."""
    global _cpu_target, _rows_f32, _rows_f64
    _cpu_target = cpu_target_number(name)
    _rows_f32 = xent_rows_f32(_cpu_target)
    _rows_f64 = xent_rows_f64(_cpu_target)


def current_cpu_target():
    """Return the name of the CPU target in use."""
    return xent_target_names[_cpu_target].decode()


cdef inline const xent_rows* primitives(const floating* dtype) noexcept nogil:
    """The table of functions for the dtype of the argument."""
    return _rows_f32 if floating is float else _rows_f64


def vector_function(str name, const floating[::1] x):
    """Compute "exp" or "log1p" of contiguous numbers on the CPU target in use, for tests."""
    out = np.empty(x.shape[0], dtype=np.float32 if floating is float else np.float64)
    cdef floating[::1] values = out
    if x.shape[0]:
        if name == "exp":
            primitives(&x[0]).exp(x.shape[0], &x[0], &values[0])
        else:
            primitives(&x[0]).log1p(x.shape[0], &x[0], &values[0])
    return out


# ---- Blocks and scratch memory ---------------------------------------------------------------

# Most rows and most numbers per block. Each of the few matrices of a block then takes at most 16 kB
# (float32) of the first-level cache; half of that if it is transposed, which takes two matrices.
cdef enum:
    BLOCK_ROWS = 256
    BLOCK_NUMBERS = 4096
    NUMBERS_AHEAD = 1024    # distance of prefetches, but at least one row
    # logits, direction, out, values; binary: entries, positive, weight; rows of CSR targets
    N_MATRICES = 8
    N_WORK_VECTORS = 9  # intermediate results by row; in addition, N_ROW_VECTORS has room for
    N_ROW_VECTORS = 12  # losses, for labels padded to whole vectors, and for losses of a part


cdef Py_ssize_t block_rows(Py_ssize_t n_outputs) noexcept nogil:
    """Number of rows per block; a multiple of a vector's lanes if blocks may be transposed."""
    if n_outputs <= XENT_FEW_CLASSES:
        return min(BLOCK_ROWS, BLOCK_NUMBERS // 2 // n_outputs // XENT_MAX_LANES * XENT_MAX_LANES)
    return max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // n_outputs))


cdef inline Py_ssize_t matrix_numbers(Py_ssize_t n_outputs) noexcept nogil:
    """Size of one matrix of a block, with room for a whole vector beyond its end."""
    return block_rows(n_outputs) * n_outputs + XENT_MAX_LANES


cdef Py_ssize_t scratch_bytes(Py_ssize_t n_outputs, Py_ssize_t itemsize) noexcept nogil:
    """Bytes of scratch memory that process_rows needs per thread."""
    return itemsize * (
        (N_MATRICES + 1) * matrix_numbers(n_outputs) + N_ROW_VECTORS * BLOCK_ROWS
    )


cdef void copy_block(
    Py_ssize_t n_rows, Py_ssize_t n_columns,
    const floating* source, Layout source_layout, floating* to, Layout to_layout,
) noexcept nogil:
    cdef Py_ssize_t i, k
    if source_layout.column == 1 and to_layout.column == 1:
        if source_layout.row == n_columns and to_layout.row == n_columns:
            memcpy(to, source, n_rows * n_columns * sizeof(floating))
            return
        for i in range(n_rows):
            memcpy(to + i * to_layout.row, source + i * source_layout.row,
                   n_columns * sizeof(floating))
        return
    for i in range(n_rows):
        for k in range(n_columns):
            to[i * to_layout.row + k * to_layout.column] = (
                source[i * source_layout.row + k * source_layout.column]
            )


cdef void expand_rows(
    const TargetRows* target, Py_ssize_t first, Py_ssize_t n_rows, floating* rows,
) noexcept nogil:
    """Expand rows of CSR targets to a matrix."""
    cdef Py_ssize_t i, at
    memset(rows, 0, n_rows * target.n_outputs * sizeof(floating))
    for i in range(n_rows):
        for at in range(target.indptr[first + i], target.indptr[first + i + 1]):
            rows[i * target.n_outputs + target.indices[at]] = (
                <const floating*> target.values)[at]


# ---- Softmax losses --------------------------------------------------------------------------

cdef const floating* row_weights(
    const TargetRows* target, Py_ssize_t first, Py_ssize_t n_rows, floating* weight,
) noexcept nogil:
    """Fill in and return the weights of the rows of a block; NULL if all are 1."""
    cdef Py_ssize_t i
    if not target.weighted:
        return NULL
    for i in range(n_rows):
        weight[i] = <floating> target.weight[first + i] if target.weight != NULL else 1
    if target.labels != NULL:
        for i in range(n_rows):     # an ignored row's label is negative
            weight[i] = 0 if target.labels[first + i] < 0 else weight[i]
    return weight


cdef inline Py_ssize_t place(xent_block block, Py_ssize_t i, Py_ssize_t k) noexcept nogil:
    """Offset in a block of the number of row i and class k."""
    return i + k * block.stride if block.across else i * block.stride + k


cdef void clear_weightless_rows(
    const floating* weight, xent_block block, floating* out,
) noexcept nogil:
    """Set rows of weight 0 to 0, whatever their logits are (nan included)."""
    cdef Py_ssize_t i, k
    if weight == NULL:
        return
    for i in range(block.n_rows):
        if weight[i] == 0:
            for k in range(block.n_classes):
                out[place(block, i, k)] = 0


cdef void find_majority(
    const TargetRows* target, Py_ssize_t first, Py_ssize_t n_rows,
    int32_t* majority, floating* rest,
) noexcept nogil:
    """Find the majority classes of soft rows, and the sums of their other targets; see TargetRows.

    For forms other than plain cross-entropy, ``majority`` is the class with the largest target,
    whatever its share: their gradients are made of slopes, which ``majority_slopes`` compares.
    """
    cdef:
        const floating* values = <const floating*> target.values
        Py_ssize_t i, at, begin, end, n_outputs = target.n_outputs
        double of_others = (n_outputs - 1) * target.shift
        double value, largest, others
        bint other_form = target.form.name != XENT_CROSS_ENTROPY
    for i in range(n_rows):
        begin, end = (first + i) * n_outputs, (first + i + 1) * n_outputs
        if target.indptr != NULL:
            begin, end = target.indptr[first + i], target.indptr[first + i + 1]
        largest = others = 0.0
        for at in range(begin, end):    # a sum without the largest has no cancellation
            value = values[at]
            others += min(value, largest)
            largest = max(value, largest)
        others = target.scale * others + of_others
        rest[i] = <floating> others
        majority[i] = -1
        if other_form or target.scale * largest + target.shift > others:
            for at in range(begin, end):
                if values[at] == largest:
                    majority[i] = <int32_t> (
                        at - begin if target.indptr == NULL else target.indices[at])
                    break


cdef void majority_gradient(
    xent_block block, const int32_t* majority, const floating* rest, const floating* s,
    const floating* e, const floating* factor, const floating* weight, floating* at_majority,
) noexcept nogil:
    """Compute the gradient at majority classes; see ``label_gradient`` in ``_kernels/rows.h``."""
    cdef Py_ssize_t i
    for i in range(block.n_rows):
        if majority[i] >= 0:
            at_majority[i] = rest[i] * (weight[i] if weight != NULL else 1) - (
                s[i] + (1 - e[place(block, i, majority[i])])) * factor[i]


cdef void put_at(
    xent_block block, const int32_t* classes, const floating* values, floating* out,
) noexcept nogil:
    """Set one number in each row whose class is not negative."""
    cdef Py_ssize_t i
    for i in range(block.n_rows):
        if classes[i] >= 0:
            out[place(block, i, classes[i])] = values[i]


cdef void sparse_categorical_block(
    const TargetRows* target, Py_ssize_t first, xent_block block,
    const floating* z, floating* loss, floating* out, floating* vectors,
) noexcept nogil:
    """Compute loss and gradient for integer labels, smoothed or not."""
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* distance = vectors + 2 * BLOCK_ROWS   # of the label's logit from the largest
        floating* cross = vectors + 3 * BLOCK_ROWS
        floating* at_label = vectors + 4 * BLOCK_ROWS
        floating* factor = vectors + 5 * BLOCK_ROWS
        const floating* weight = row_weights(
            target, first, block.n_rows, vectors + 6 * BLOCK_ROWS)
        const int32_t* labels = target.labels + first
        int32_t* with_room = <int32_t*> (vectors + (N_WORK_VECTORS + 1) * BLOCK_ROWS)
        bint smoothed = target.shift != 0.0

    if block.across:
        memcpy(with_room, labels, block.n_rows * sizeof(int32_t))
        labels = with_room
    rows.softmax(block, z, out, m, s)
    if loss != NULL and smoothed:
        rows.cross(block, z, m, NULL, 0.0, target.shift, cross, distance)
    rows.at_labels(block, labels, z, m, out, distance, NULL, at_label)
    rows.row_terms(
        block.n_rows, s, weight, NULL, distance, cross if smoothed else NULL, target.scale,
        loss, factor)
    if out == NULL:
        return
    rows.label_gradient(
        block.n_rows, s, at_label, factor, weight, target.scale + target.shift,
        (block.n_classes - 1) * target.shift, at_label)
    rows.residual(
        block, out, factor, NULL, 0.0, target.shift, weight, labels, at_label, out)
    clear_weightless_rows(weight, block, out)


cdef void categorical_block(
    const TargetRows* target, Py_ssize_t first, xent_block block,
    const floating* z, const floating* values, floating* loss, floating* out, floating* vectors,
) noexcept nogil:
    """Compute loss and gradient for soft rows, smoothed or not."""
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* cross = vectors + 2 * BLOCK_ROWS
        floating* total = vectors + 3 * BLOCK_ROWS
        floating* factor = vectors + 4 * BLOCK_ROWS
        const floating* weight = row_weights(
            target, first, block.n_rows, vectors + 5 * BLOCK_ROWS)
        floating* at_majority = vectors + 6 * BLOCK_ROWS
        floating* rest = vectors + 7 * BLOCK_ROWS
        int32_t* majority = <int32_t*> (vectors + (N_WORK_VECTORS + 1) * BLOCK_ROWS)

    rows.softmax(block, z, out, m, s)
    rows.cross(block, z, m, values, target.scale, target.shift, cross, total)
    rows.row_terms(block.n_rows, s, weight, total, NULL, cross, 1.0, loss, factor)
    if out == NULL:
        return
    if target.majority != NULL:
        memcpy(majority, target.majority + first, block.n_rows * sizeof(int32_t))
        memcpy(rest, <const floating*> target.rest + first, block.n_rows * sizeof(floating))
    else:
        find_majority(target, first, block.n_rows, majority, rest)
    majority_gradient(block, majority, rest, s, out, factor, weight, at_majority)
    rows.residual(
        block, out, factor, values, target.scale, target.shift, weight, NULL, NULL, out)
    put_at(block, majority, at_majority, out)
    clear_weightless_rows(weight, block, out)


cdef void softmax_curvature_block(
    const TargetRows* target, Product product, Py_ssize_t first, xent_block block,
    const floating* z, const floating* values, const floating* direction, floating* out,
    floating* loss, floating* vectors,
) noexcept nogil:
    """Compute the Hessian times direction, its diagonal, or w T as ``loss`` (labels: T = 1)."""
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* inverse = vectors + 2 * BLOCK_ROWS
        floating* cross = vectors + 3 * BLOCK_ROWS
        floating* total = vectors + 4 * BLOCK_ROWS
        const floating* weight = row_weights(
            target, first, block.n_rows, vectors + 5 * BLOCK_ROWS)
        Py_ssize_t i

    rows.softmax(block, z, out, m, s)
    rows.row_terms(block.n_rows, s, NULL, NULL, NULL, NULL, 0.0, NULL, inverse)
    for i in range(block.n_rows):
        total[i] = 1
    if values != NULL:
        rows.cross(block, z, m, values, target.scale, target.shift, cross, total)
    if weight != NULL:
        for i in range(block.n_rows):
            total[i] *= weight[i]
    if product == SOFTMAX_FACTOR:
        memcpy(loss, total, block.n_rows * sizeof(floating))
        return
    if product == HESSIAN_PRODUCT:
        rows.hessian_product(block, out, inverse, direction, total, out)
    else:
        rows.hessian_diagonal(block, out, s, inverse, total, out)
    clear_weightless_rows(weight, block, out)


cdef void fill_targets(
    const TargetRows* target, Py_ssize_t first, xent_block block, const floating* values,
    floating* targets, floating* on_the_way, floating* weight,
) noexcept nogil:
    """Fill in smoothed targets times weights of their classes, in the layout of the block.

    ``values`` are the soft rows of the block, contiguous; NULL means that targets are given by
    labels. A row whose classes all have a weight of 0 gets a weight of 0, like a label of such a
    class.
    """
    cdef:
        Py_ssize_t i, k, n_outputs = block.n_classes
        floating* rows_first = on_the_way if block.across else targets
        floating scale = <floating> target.scale, shift = <floating> target.shift
        floating total

    for i in range(block.n_rows):
        for k in range(n_outputs):
            rows_first[i * n_outputs + k] = shift + (
                scale * values[i * n_outputs + k] if values != NULL
                else scale if target.labels[first + i] == k else 0)
    if target.positive != NULL:
        for i in range(block.n_rows):
            total = 0
            for k in range(n_outputs):
                rows_first[i * n_outputs + k] *= (<const floating*> target.positive)[k]
                total += rows_first[i * n_outputs + k]
            if total == 0:
                weight[i] = 0
    if block.across:
        primitives(targets).turn(block, on_the_way, n_outputs, targets)


cdef void majority_slopes(
    xent_block block, floating* slopes, int32_t* majority, floating* own, floating* rest,
) noexcept nogil:
    """Fill ``rest`` with the sum of the slopes of each row without that of its majority class.

    A majority class whose slope is not larger than that sum is replaced by -1; the slopes of the
    remaining majority classes are set to 0. ``own`` is scratch memory.
    """
    cdef Py_ssize_t i, at
    for i in range(block.n_rows):
        if majority[i] >= 0:
            at = place(block, i, majority[i])
            own[i] = slopes[at]
            slopes[at] = 0
    primitives(slopes).row_sums(block, slopes, NULL, rest)
    for i in range(block.n_rows):
        if majority[i] >= 0 and not own[i] > rest[i]:
            slopes[place(block, i, majority[i])] = own[i]
            majority[i] = -1


cdef void other_form_block(
    const TargetRows* target, Product product, Py_ssize_t first, xent_block block,
    const floating* z, const floating* values, const floating* direction, floating* loss,
    floating* out, floating* targets, floating* on_the_way, floating* vectors,
) noexcept nogil:
    """Compute any product of a softmax loss whose form is not plain cross-entropy.

    The loss of a label that is not smoothed is that of its own class. Otherwise each class has a
    target and a slope, both of which are in ``targets``.
    """
    cdef:
        const xent_rows* rows = primitives(z)
        const xent_form* form = &target.form
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* distance = vectors + 2 * BLOCK_ROWS
        floating* lost = vectors + 3 * BLOCK_ROWS
        floating* at_label = vectors + 4 * BLOCK_ROWS
        floating* slope = vectors + 5 * BLOCK_ROWS      # sum of the slopes, weighted
        floating* factor = vectors + 6 * BLOCK_ROWS
        floating* weight = vectors + 7 * BLOCK_ROWS
        floating* rest = vectors + 8 * BLOCK_ROWS
        int32_t* labels = <int32_t*> (vectors + (N_WORK_VECTORS + 1) * BLOCK_ROWS)
        bint by_label = values == NULL and target.shift == 0.0
        const int32_t* majority = target.labels if values == NULL else target.majority
        Py_ssize_t i, n = block.n_rows

    if row_weights(target, first, n, weight) == NULL:
        for i in range(n):
            weight[i] = 1
    rows.softmax(block, z, out, m, s)
    if by_label:
        memcpy(labels, target.labels + first, n * sizeof(int32_t))
        if target.positive != NULL:
            for i in range(n):
                weight[i] *= (<const floating*> target.positive)[max(0, labels[i])]
        rows.at_labels(block, labels, z, m, out, distance, lost, at_label)
        rows.label_terms(n, form, s, distance, lost, at_label, weight, loss, slope)
    else:
        fill_targets(target, first, block, values, targets, on_the_way, weight)
        # `distance` has room for the cost
        rows.class_terms(block, form, z, m, out, s, targets, targets, distance, slope)
        for i in range(n):
            slope[i] = weight[i] * slope[i] if weight[i] != 0 else 0
            if loss != NULL:
                loss[i] = weight[i] * distance[i] if weight[i] != 0 else 0
    if product == SOFTMAX_FACTOR:
        memcpy(loss, slope, n * sizeof(floating))
        return
    if product == HESSIAN_PRODUCT or product == HESSIAN_DIAGONAL:
        rows.row_terms(n, s, NULL, NULL, NULL, NULL, 0.0, NULL, factor)
        if product == HESSIAN_PRODUCT:
            rows.hessian_product(block, out, factor, direction, slope, out)
        else:
            rows.hessian_diagonal(block, out, s, factor, slope, out)
    else:
        rows.row_terms(n, s, slope, NULL, NULL, NULL, 0.0, NULL, factor)
        if by_label:
            rows.label_gradient(n, s, at_label, factor, weight, 1.0, 0.0, at_label)
            rows.residual(
                block, out, factor, NULL, 0.0, 0.0, weight, labels, at_label, out)
        else:
            if majority != NULL:
                memcpy(labels, majority + first, n * sizeof(int32_t))
            else:
                find_majority(target, first, n, labels, rest)
            majority_slopes(block, targets, labels, at_label, rest)
            majority_gradient(block, labels, rest, s, out, factor, weight, at_label)
            rows.residual(block, out, factor, targets, 1.0, 0.0, weight, NULL, NULL, out)
            put_at(block, labels, at_label, out)
    clear_weightless_rows(<const floating*> weight, block, out)


cdef void softmax_proba_block(
    bint logarithm, xent_block block, const floating* z, floating* out, floating* vectors,
) noexcept nogil:
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + BLOCK_ROWS
        floating* other = vectors + 2 * BLOCK_ROWS

    rows.softmax(block, z, NULL if logarithm else out, m, s)
    if logarithm:
        rows.log1p(block.n_rows, s, other)
        rows.log_proba(block, z, m, other, out)
    else:
        rows.row_terms(block.n_rows, s, NULL, NULL, NULL, NULL, 0.0, NULL, other)
        rows.residual(block, out, other, NULL, 0.0, 0.0, NULL, NULL, NULL, out)


# ---- Binary loss -----------------------------------------------------------------------------

cdef void binary_block(
    const TargetRows* target, Product product, Py_ssize_t first, xent_block block,
    const floating* z, const floating* y, const floating* direction, floating* loss, floating* out,
    floating* entries, floating* values, floating* positive, floating* weight, floating* vectors,
) noexcept nogil:
    """Compute any product of a binary loss; a block is n_rows * n_outputs contiguous entries.

    ``y`` are their targets. ``entries``, ``values``, ``positive`` and ``weight`` are scratch memory
    with one number per entry. Labels are expanded to one-vs-rest entries here, block by block.
    """
    cdef:
        const xent_rows* rows = primitives(z)
        Py_ssize_t n = block.n_rows, n_outputs = block.n_classes, count = n * n_outputs
        const floating* per_row = row_weights(target, first, n, vectors)
        const floating* per_entry = <const floating*> target.entry_weight
        const floating* entry_weight = NULL
        const floating* positives = NULL
        Py_ssize_t i, k

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
    if per_entry != NULL:
        per_entry += first * n_outputs
    if per_row == NULL:
        entry_weight = per_entry
    elif n_outputs == 1 and per_entry == NULL:
        entry_weight = per_row
    else:
        for i in range(n):
            for k in range(n_outputs):
                weight[i * n_outputs + k] = per_row[i] * (
                    per_entry[i * n_outputs + k] if per_entry != NULL else 1)
        entry_weight = weight

    if product == SOFTMAX_FACTOR:
        memset(loss, 0, n * sizeof(floating))
        return
    if product == HESSIAN_PRODUCT or product == HESSIAN_DIAGONAL:
        rows.binary_curvature(
            count, &target.form, z, y, target.scale, target.shift, positives, entry_weight,
            direction if product == HESSIAN_PRODUCT else NULL, out)
    elif product == ENTRY_LOSS:
        rows.binary(
            count, &target.form, z, y, target.scale, target.shift, positives, entry_weight,
            out, NULL)
    else:
        rows.binary(
            count, &target.form, z, y, target.scale, target.shift, positives, entry_weight,
            NULL if loss == NULL else loss if n_outputs == 1 else entries, out)
    if product == LOSS_GRADIENT and loss != NULL and n_outputs > 1:
        if n_outputs <= XENT_FEW_CLASSES:
            block.across = True
            block.stride = block_rows(n_outputs)
            rows.turn(block, entries, n_outputs, values)
            entries = values
        rows.row_sums(block, entries, NULL, vectors)
        memcpy(loss, vectors, n * sizeof(floating))     # loss has no room for whole vectors


# ---- Any rows, any strides -------------------------------------------------------------------

cdef inline bint lies_as(Layout layout, Py_ssize_t stride, Py_ssize_t n_rows) noexcept nogil:
    """Whether rows are contiguous and ``stride`` apart (which a single row always is)."""
    return layout.column == 1 and (layout.row == stride or n_rows == 1)


cdef inline bint has_room(Layout layout, xent_block block, bint last) noexcept nogil:
    """Whether rows may be read and written beyond their end, in whole pieces of vectors."""
    return layout.padded or (
        not last and layout.column == 1 and layout.row == block.n_classes)


cdef void bring_block(
    xent_block block, const floating* source, Layout layout, Layout compact, bint last,
    floating* to, floating* on_the_way,
) noexcept nogil:
    """Copy rows from their own layout to that of the block."""
    if not block.across:
        copy_block(block.n_rows, block.n_classes, source, layout, to, compact)
    elif has_room(layout, block, last):
        primitives(source).turn(block, source, layout.row, to)
    else:
        copy_block(block.n_rows, block.n_classes, source, layout, on_the_way, compact)
        primitives(source).turn(block, on_the_way, compact.row, to)


cdef void take_block_back(
    xent_block block, const floating* source, Layout compact, bint last,
    floating* to, Layout layout, floating* on_the_way,
) noexcept nogil:
    """Copy rows from the layout of the block to their own."""
    if not block.across:
        copy_block(block.n_rows, block.n_classes, source, compact, to, layout)
    elif has_room(layout, block, last):
        primitives(source).turn_back(block, source, to, layout.row)
    else:
        primitives(source).turn_back(block, source, on_the_way, compact.row)
        copy_block(block.n_rows, block.n_classes, on_the_way, compact, to, layout)


cdef void process_one(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows,
    const floating* logits, Layout logits_layout,
    const floating* direction, Layout direction_layout,
    floating* loss, Py_ssize_t loss_stride,
    floating* out, Layout out_layout,
    char* scratch,
) noexcept nogil:
    """``process_rows`` for a single loss."""
    cdef:
        Py_ssize_t n_outputs = target.n_outputs
        Py_ssize_t n_at_once = block_rows(n_outputs)
        Py_ssize_t n_ahead = max(1, NUMBERS_AHEAD // n_outputs)
        bint binary = target.kind == BINARY
        bint other_form = (
            not binary and target.form.name != XENT_CROSS_ENTROPY
            and product != PROBA and product != LOG_PROBA)
        bint logarithm = product == LOG_PROBA
        xent_block block
        Layout compact = layout_of(n_outputs, 1)
        Py_ssize_t b, begin, n, i
        bint in_place, last
        const floating* z
        floating* loss_block
        const floating* v
        const floating* values
        floating* o
        Py_ssize_t size = matrix_numbers(n_outputs)
        floating* z_scratch = <floating*> scratch
        floating* v_scratch = z_scratch + size
        floating* out_scratch = z_scratch + 2 * size
        floating* values_scratch = z_scratch + 3 * size
        floating* entries_scratch = z_scratch + 4 * size    # softmax: rows to be transposed
        floating* positive_scratch = z_scratch + 5 * size
        floating* weight_scratch = z_scratch + 6 * size
        floating* rows_scratch = z_scratch + 7 * size
        floating* vectors = z_scratch + (N_MATRICES + 1) * size     # after the out of a part
        floating* loss_scratch = vectors + N_WORK_VECTORS * BLOCK_ROWS

    block.n_classes = n_outputs
    block.across = not binary and n_outputs <= XENT_FEW_CLASSES
    if n_outputs == 1:      # the stride of a single column has no meaning
        logits_layout.column = direction_layout.column = out_layout.column = 1

    for b in range((n_rows + n_at_once - 1) // n_at_once):
        begin = b * n_at_once
        n = min(n_at_once, n_rows - begin)
        # False: at least a whole block of this call follows, which vectors may extend into
        last = begin + 2 * n_at_once > n_rows
        block.n_rows = n
        # a transposed block is read and written as a whole, others are row by row
        block.next_in = logits + (begin + (n if block.across else n_ahead)) * logits_layout.row
        block.next_out = block.next_in
        if out != NULL:
            block.next_out = out + (begin + (0 if block.across else n_ahead)) * out_layout.row
        loss_block = NULL if loss == NULL else (
            loss + begin if loss_stride == 1 else loss_scratch)
        z = logits + begin * logits_layout.row
        v = direction + begin * direction_layout.row if direction != NULL else NULL
        o = out + begin * out_layout.row if out != NULL else NULL
        values = <const floating*> NULL
        if target.indptr != NULL:
            expand_rows(target, first + begin, n, rows_scratch)
            values = rows_scratch
        elif target.values != NULL:
            values = <const floating*> target.values + (first + begin) * n_outputs

        # A block is processed in place if all its matrices have the same layout.
        block.stride = (
            n_outputs if binary or other_form or values != NULL else logits_layout.row)
        in_place = (
            not block.across
            and lies_as(logits_layout, block.stride, n)
            and (v == NULL or lies_as(direction_layout, block.stride, n))
            and (o == NULL or lies_as(out_layout, block.stride, n))
        )
        if not in_place:
            block.stride = n_at_once if block.across else n_outputs
            bring_block(
                block, z, logits_layout, compact, last, z_scratch, entries_scratch)
            z = z_scratch
            if v != NULL:
                bring_block(
                    block, v, direction_layout, compact, last, v_scratch, entries_scratch)
                v = v_scratch
            if values != NULL and block.across and not other_form:
                bring_block(
                    block, values, compact, compact, last, values_scratch, entries_scratch)
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
                target, product, first + begin, block, z, values, v,
                loss_block, o, entries_scratch, values_scratch, positive_scratch, weight_scratch,
                vectors)
        elif other_form:
            other_form_block(
                target, product, first + begin, block, z, values, v, loss_block,
                o if o != NULL else out_scratch, values_scratch, positive_scratch, vectors)
        elif product != LOSS_GRADIENT:
            softmax_curvature_block(
                target, product, first + begin, block, z, values, v,
                o if o != NULL else out_scratch, loss_block, vectors)
        elif target.kind == SPARSE_CATEGORICAL:
            sparse_categorical_block(
                target, first + begin, block, z, loss_block, o, vectors)
        else:
            categorical_block(
                target, first + begin, block, z, values, loss_block, o, vectors)

        if loss != NULL and loss_stride != 1:
            for i in range(n):
                loss[(begin + i) * loss_stride] = loss_scratch[i]
        if o != NULL and not in_place:
            take_block_back(
                block, o, compact, last, out + begin * out_layout.row, out_layout,
                entries_scratch)


cdef void process_rows(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows,
    const floating* logits, Layout logits_layout,
    const floating* direction, Layout direction_layout,
    floating* loss, Py_ssize_t loss_stride,
    floating* out, Layout out_layout,
    char* scratch,
) noexcept nogil:
    """Compute a product for ``n_rows`` rows, the first of which is row ``first`` of the target.

    Pointers are those of the first row. ``loss`` and ``out`` may be NULL; ``logits`` and ``out``
    must not overlap.
    """
    cdef:
        Py_ssize_t n_outputs = target.n_outputs
        Py_ssize_t n_at_once = block_rows(n_outputs)
        Py_ssize_t size = matrix_numbers(n_outputs)
        Layout compact = layout_of(n_outputs, 1)
        floating* part_out = <floating*> scratch + N_MATRICES * size
        floating* part_loss = part_out + size + (N_ROW_VECTORS - 1) * BLOCK_ROWS
        Py_ssize_t b, part, i, k, begin, n
        floating factor
        floating* to
        bint begun

    if target.n_parts == 0:
        process_one(
            target, product, first, n_rows, logits, logits_layout, direction, direction_layout,
            loss, loss_stride, out, out_layout, scratch)
        return
    for b in range((n_rows + n_at_once - 1) // n_at_once):
        begin = b * n_at_once
        n = min(n_at_once, n_rows - begin)
        begun = False
        for part in range(target.n_parts):
            if target.factors[part] == 0:   # 0 even if the loss is infinite
                continue
            factor = <floating> target.factors[part]
            process_one(
                &target.parts[part], product, first + begin, n,
                logits + begin * logits_layout.row, logits_layout,
                direction + begin * direction_layout.row if direction != NULL else NULL,
                direction_layout,
                part_loss if loss != NULL else NULL, 1,
                part_out if out != NULL else NULL, compact, scratch)
            if loss != NULL:
                for i in range(n):
                    to = loss + (begin + i) * loss_stride
                    to[0] = factor * part_loss[i] + (to[0] if begun else 0)
            if out != NULL:
                for i in range(n):
                    for k in range(n_outputs):
                        to = out + (begin + i) * out_layout.row + k * out_layout.column
                        to[0] = factor * part_out[i * n_outputs + k] + (to[0] if begun else 0)
            begun = True


# ---- Tiles of classes ------------------------------------------------------------------------
#
# If there are very many classes, the rows of a block are evaluated in tiles of the classes, in two
# sweeps. The first one, `add_tile`, finds m and s: a tile with maximum m' and sum s' of its own
# adds (1 + s') exp(m' - m) to s, or if m' > m, takes the place of the sums so far, which are added
# to its own in the same way. All terms are at least 0, so s keeps its digits. `end_tiles` computes
# all that takes whole rows, and the second sweep, `tile_residual`, the residuals. Logits are not
# kept in between, but are computed in both sweeps.

cdef bint tiles_target(const TargetRows* target) noexcept nogil:
    """Return whether tiles are implemented for a loss: for plain cross-entropy of labels."""
    return (
        target.kind == SPARSE_CATEGORICAL and target.n_parts == 0
        and target.form.name == XENT_CROSS_ENTROPY)


cdef inline double exp_difference(double a, double b) noexcept nogil:
    """Return exp(a - b) for a <= b, with the rounding error of the difference (two-sum)."""
    cdef double d = a - b, back = d - a
    return exp(d) * (1.0 + ((a - (d - back)) - (b + back))) if d >= -750.0 else exp(d)


cdef inline xent_block block_of_tile(Tile tile, Py_ssize_t n_rows, const void* z) noexcept nogil:
    cdef xent_block block
    block.n_rows, block.n_classes, block.stride = n_rows, tile.width, tile.width
    block.across = False
    block.next_in = block.next_out = z      # nothing to prefetch
    return block


cdef void add_tile(
    const TargetRows* target, Py_ssize_t first, Py_ssize_t n_rows, Tile tile, const floating* z,
    const floating* direction, floating* e, RowSums* sums, floating* vectors,
) noexcept nogil:
    """Add a tile of logits, the next one in the order of the classes, to the sums of its rows.

    The first row is row ``first`` of the target. ``direction`` and ``e``, which has room for a
    tile, are NULL unless a Hessian is multiplied with a direction.
    """
    cdef:
        const xent_rows* rows = primitives(z)
        floating* m = vectors
        floating* s = vectors + n_rows
        floating* other = vectors + 2 * n_rows
        floating* total = vectors + 3 * n_rows
        bint has_other = direction != NULL or target.shift != 0.0
        double shift = target.shift if direction == NULL else 0.0, here, share
        xent_block block = block_of_tile(tile, n_rows, z)
        RowSums* row
        Py_ssize_t i, label
    rows.softmax(block, z, e, m, s)
    if direction != NULL:
        rows.row_sums(block, e, direction, other)
    elif has_other:
        block.n_classes = tile.n_classes
        rows.cross(block, z, m, NULL, 0.0, shift, other, total)
    for i in range(n_rows):
        row = &sums[i]
        here = other[i] if has_other else 0.0
        if tile.begin == 0:
            row.max, row.s, row.other, row.at_label = m[i], s[i], here, m[i]
        elif m[i] <= row.max:
            share = exp_difference(m[i], row.max)
            row.s += (1 + s[i]) * share
            row.other += (
                here * share if direction != NULL
                else here + tile.n_classes * shift * (row.max - m[i]))
        else:
            share = exp_difference(row.max, m[i])
            row.s = s[i] + (1 + row.s) * share
            row.other = here + (
                row.other * share if direction != NULL
                else row.other + tile.begin * shift * (m[i] - row.max))
            row.max = m[i]
        label = target.labels[first + i] - tile.begin
        if 0 <= label < tile.n_classes:
            row.at_label = z[i * tile.width + label]


cdef double end_tiles(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows,
    const RowSums* sums, floating* m, floating* factor, floating* other, floating* vectors,
) noexcept nogil:
    """Compute what ``tile_residual`` needs of each row; return the sum of the losses.

    ``m`` is the largest logit, ``factor`` what e is multiplied by; ``other`` is the gradient at the
    label, for a Hessian product the mean of the direction.
    """
    cdef:
        const xent_rows* rows = primitives(m)
        floating* s = vectors
        floating* distance = vectors + n_rows
        floating* cross = vectors + 2 * n_rows
        floating* e = vectors + 3 * n_rows
        floating* loss = vectors + 4 * n_rows
        const floating* weight = row_weights(target, first, n_rows, vectors + 5 * n_rows)
        floating tiny = FLT_MIN if floating is float else DBL_MIN
        double total = 0.0
        Py_ssize_t i
    for i in range(n_rows):
        m[i], s[i], cross[i] = sums[i].max, sums[i].s, sums[i].other
        distance[i] = m[i] - <floating> sums[i].at_label
        e[i] = exp_difference(sums[i].at_label, sums[i].max)
    if product == HESSIAN_PRODUCT:
        rows.row_terms(n_rows, s, weight, NULL, NULL, NULL, 0.0, NULL, factor)
        for i in range(n_rows):
            other[i] = sums[i].other / (1 + sums[i].s)
        return 0.0
    rows.row_terms(
        n_rows, s, weight, NULL, distance, cross if target.shift != 0.0 else NULL, target.scale,
        loss, factor)
    rows.label_gradient(
        n_rows, s, e, factor, weight, target.scale + target.shift,
        (target.n_outputs - 1) * target.shift, other)
    for i in range(n_rows):
        other[i] = other[i] if fabs(other[i]) >= tiny else 0
        total += loss[i]
    return total


cdef void tile_residual(
    const TargetRows* target, Product product, Py_ssize_t first, Py_ssize_t n_rows, Tile tile,
    const floating* direction, const floating* m, const floating* factor, const floating* other,
    floating* z, floating* vectors,
) noexcept nogil:
    """Replace a tile of logits by residuals; subnormal ones are 0 (see ``_design_matrix``).

    For HESSIAN_DIAGONAL they become w p (1 - p), to rounding errors of w p.
    """
    cdef:
        const floating* weight = row_weights(target, first, n_rows, vectors)
        xent_block block = block_of_tile(tile, n_rows, z)
        double shift = target.shift if product == LOSS_GRADIENT else 0.0
        Py_ssize_t i, k, label
        floating inverse
    primitives(m).tile_residual(block, z, m, factor, shift, weight, direction, other, z)
    if product == HESSIAN_DIAGONAL:
        for i in range(n_rows):
            inverse = 1 if weight == NULL else 1 / weight[i]
            for k in range(i * tile.width, (i + 1) * tile.width):
                z[k] *= 1 - z[k] * inverse
    elif product == LOSS_GRADIENT:
        for i in range(n_rows):
            label = target.labels[first + i] - tile.begin
            if 0 <= label < tile.n_classes:
                z[i * tile.width + label] = other[i]
    clear_weightless_rows(weight, block, z)


# ---- From Python -----------------------------------------------------------------------------

cdef const void* address(array):
    """Address of the first number of a C-contiguous array; NULL for None."""
    if array is None:
        return NULL
    return <const void*> <size_t> array.__array_interface__["data"][0]


cdef xent_form form_of(str name, dict parameters) except *:
    """The form with that name, with neutral values of parameters that are not given."""
    cdef xent_form form
    memset(&form, 0, sizeof(form))
    form.name = {
        "cross_entropy": XENT_CROSS_ENTROPY, "poly": XENT_POLY, "generalized": XENT_GENERALIZED,
        "focal": XENT_FOCAL, "symmetric": XENT_SYMMETRIC, "asymmetric": XENT_ASYMMETRIC,
    }[name]
    form.log_weight = parameters.get("log_weight", 1.0)
    form.miss_weight = parameters.get("miss_weight", 0.0)
    form.floor = parameters.get("floor", 0.0)
    form.q = parameters.get("q", 1.0)
    form.gamma = parameters.get("gamma", 0.0)
    form.gamma_of_0 = parameters.get("gamma_of_0", 0.0)
    form.clip = parameters.get("clip", 0.0)
    form.alpha = parameters.get("alpha", 1.0)
    form.alpha_of_0 = parameters.get("alpha_of_0", 1.0)
    return form


cdef class EncodedTarget:
    """Targets of n rows for one loss, as the kernels read them; the caller has checked them.

    Parameters
    ----------
    kind : {"sparse_categorical", "categorical", "binary"}
        The loss.
    n_rows, n_outputs : int
        Shape of the logits.
    dtype : dtype, float32 or float64
        Dtype of the logits, and of ``values``, ``entry_weight`` and ``positive``.
    labels : ndarray of shape (n_rows,), int32, or None
        Class of each row, -1 for an ignored row. For "binary" they are one-vs-rest targets.
    values : ndarray or CSR of shape (n_rows, n_outputs), or None
        Soft rows ("categorical"), or entries in [0, 1], nan where missing ("binary").
    weight : ndarray of shape (n_rows,), float64, or None
        Weights of rows, at least 0.
    entry_weight : ndarray of shape (n_rows, n_outputs), or None
        Weights of entries ("binary").
    positive : ndarray of shape (n_outputs,), or None
        Weights of the positives ("binary"), or of the classes of a form.
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each target that is spread evenly.
    once : bool, default=False
        Whether it is used for a single pass, so that it does not pay to prepare what passes share.
    form : str, default="cross_entropy"
        Or "poly", "generalized", "focal", "symmetric", "asymmetric"; see ``_kernels/forms.h``.
    **parameters : float
        Parameters of the form, by their names in ``xent_form``.

    Notes
    -----
    All arrays are as ``kernel_array`` returns them. CSR must not have duplicate entries.
    """

    def __init__(
        self, str kind, Py_ssize_t n_rows, Py_ssize_t n_outputs, dtype, *,
        labels=None, values=None, weight=None, entry_weight=None, positive=None,
        double label_smoothing=0.0, bint once=False, str form="cross_entropy", **parameters,
    ):
        self.n_rows = n_rows
        self.n_outputs = n_outputs
        self.dtype = np.dtype(dtype)
        indptr = indices = None
        if sparse.issparse(values):
            indptr = kernel_array(values.indptr, np.int64)
            indices = kernel_array(values.indices, np.int32)
            values = values.data
        self._arrays = (labels, values, weight, entry_weight, positive, indptr, indices)
        for array in self._arrays:
            assert array is None or (array.flags.c_contiguous and array.flags.aligned)
        self.rows.kind = {
            "sparse_categorical": SPARSE_CATEGORICAL, "categorical": CATEGORICAL, "binary": BINARY,
        }[kind]
        self.rows.n_outputs = n_outputs
        self.rows.labels = <const int32_t*> address(labels)
        self.rows.values = address(values)
        self.rows.indptr = <const int64_t*> address(indptr)
        self.rows.indices = <const int32_t*> address(indices)
        self.rows.weight = <const double*> address(weight)
        self.rows.entry_weight = address(entry_weight)
        self.rows.positive = address(positive)
        self.rows.weighted = weight is not None or (
            labels is not None and bool((labels < 0).any()))
        self.rows.scale = 1.0 - label_smoothing
        self.rows.shift = label_smoothing / (2 if kind == "binary" else n_outputs)
        self.rows.form = form_of(form, parameters)
        self.parts = ((1.0, self),)
        if kind == "categorical" and not once:
            majority = np.empty(n_rows, dtype=np.int32)
            rest = np.empty(n_rows, dtype=self.dtype)
            if self.dtype == np.float32:
                find_majority(
                    &self.rows, 0, n_rows, <int32_t*> address(majority), <float*> address(rest))
            else:
                find_majority(
                    &self.rows, 0, n_rows, <int32_t*> address(majority), <double*> address(rest))
            self.rows.majority = <const int32_t*> address(majority)
            self.rows.rest = address(rest)
            self._arrays += (majority, rest)

    @staticmethod
    def sum_of(parts):
        """Return the encoded target of a sum of losses on the same logits.

        Parameters
        ----------
        parts : sequence of (float, EncodedTarget)
            Factor and encoded target of each loss.

        Returns
        -------
        EncodedTarget
        """
        cdef EncodedTarget first = parts[0][1], one, total
        total = EncodedTarget.__new__(EncodedTarget)
        total.n_rows, total.n_outputs, total.dtype = first.n_rows, first.n_outputs, first.dtype
        memset(&total.rows, 0, sizeof(total.rows))
        total.rows.kind = first.rows.kind
        total.rows.n_outputs = first.n_outputs
        factors = np.array([factor for factor, _ in parts], dtype=np.float64)
        rows = np.empty(len(parts) * sizeof(TargetRows), dtype=np.uint8)
        cdef TargetRows* to = <TargetRows*> address(rows)
        for i, (_, one) in enumerate(parts):
            to[i] = one.rows
        total.rows.parts = to
        total.rows.factors = <const double*> address(factors)
        total.rows.n_parts = len(parts)
        total.parts = tuple(parts)
        total._arrays = (rows, factors)
        return total

    @property
    def couples(self):
        """Whether the Hessian couples the logits of a row, since some part is a softmax."""
        cdef EncodedTarget part
        for _, part in self.parts:
            if part.rows.kind != BINARY:
                return True
        return False

    def loss_gradient(
        self, const floating[:, :] logits, floating[:] loss_out, floating[:, :] gradient_out,
        int n_threads,
    ):
        """Fill the arrays with the loss of each row and its gradient; either may be None."""
        run[floating](&self.rows, LOSS_GRADIENT, logits, None, loss_out, gradient_out, n_threads)

    def hessian_product(
        self, const floating[:, :] logits, const floating[:, :] direction,
        floating[:, :] product_out, int n_threads,
    ):
        """Fill ``product_out`` with the Hessian of each row times that row of ``direction``."""
        run[floating](&self.rows, HESSIAN_PRODUCT, logits, direction, None, product_out, n_threads)

    def hessian_diagonal(
        self, const floating[:, :] logits, floating[:, :] diagonal_out, int n_threads,
    ):
        """Fill ``diagonal_out`` with the diagonal of the Hessian of each row."""
        run[floating](&self.rows, HESSIAN_DIAGONAL, logits, None, None, diagonal_out, n_threads)

    def softmax_factor(
        self, const floating[:, :] logits, floating[:] factor_out, int n_threads,
    ):
        """Fill ``factor_out`` with f where the Hessian of a row is f (diag(p) - p p^T)."""
        run[floating](&self.rows, SOFTMAX_FACTOR, logits, None, factor_out, None, n_threads)

    def entry_loss(
        self, const floating[:, :] logits, floating[:, :] loss_out, int n_threads,
    ):
        """Fill ``loss_out`` with the loss of each entry; "binary" only."""
        run[floating](&self.rows, ENTRY_LOSS, logits, None, None, loss_out, n_threads)


def proba(
    str kind, const floating[:, :] logits, floating[:, :] proba_out, bint logarithm, int n_threads,
):
    """Fill ``proba_out`` with the "softmax" of rows or "sigmoid" of entries, or its logarithm."""
    cdef TargetRows target
    memset(&target, 0, sizeof(target))
    target.kind = {"softmax": SPARSE_CATEGORICAL, "sigmoid": BINARY}[kind]
    target.n_outputs = logits.shape[1]
    run[floating](
        &target, LOG_PROBA if logarithm else PROBA, logits, None, None, proba_out, n_threads)


cdef inline Layout memory_layout(const floating[:, :] array) noexcept nogil:
    return layout_of(
        array.strides[0] // <Py_ssize_t> sizeof(floating),
        array.strides[1] // <Py_ssize_t> sizeof(floating))


cdef run(
    const TargetRows* target, Product product, const floating[:, :] logits,
    const floating[:, :] direction, floating[:] loss, floating[:, :] out, int n_threads,
):
    """Call process_rows for chunks of rows, in parallel."""
    cdef:
        Py_ssize_t n_rows = logits.shape[0], n_outputs = logits.shape[1]
        Layout logits_layout, direction_layout, out_layout
        Py_ssize_t loss_stride = 0
        const floating* direction_at = NULL
        floating* loss_at = NULL
        floating* out_at = NULL

    if n_rows == 0 or n_outputs == 0:
        return
    logits_layout = memory_layout(logits)
    direction_layout = out_layout = logits_layout
    if direction is not None:
        direction_at = &direction[0, 0]
        direction_layout = memory_layout(direction)
    if loss is not None:
        loss_at = &loss[0]
        loss_stride = loss.strides[0] // <Py_ssize_t> sizeof(floating)
    if out is not None:
        out_at = &out[0, 0]
        out_layout = memory_layout(out)

    # with several blocks per chunk, the time to schedule it is negligible
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
            logits_at + begin * logits_layout.row, logits_layout,
            direction_at + begin * direction_layout.row if direction_at != NULL else NULL,
            direction_layout,
            loss_at + begin * loss_stride if loss_at != NULL else NULL, loss_stride,
            out_at + begin * out_layout.row if out_at != NULL else NULL, out_layout,
            &scratch[0] + threadid() * per_thread,
        )
