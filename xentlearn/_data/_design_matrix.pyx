"""The fused pass: blocks of X -> logits -> losses and residuals of rows -> X^T residual.

X is read once per evaluation, in blocks of rows that stay in the second-level cache; logits and
residuals exist for one block at a time. The products are implemented for dense X and for CSR
(``_kernels/products_body.h``), each in float32 and float64 for every CPU target. Those of dense X
read rows whose numbers are contiguous; X of another dtype, or with other strides, is copied block
by block (``_kernels/gather_body.h``). Losses are evaluated by ``_loss``, so that a new loss needs
no change here.

Gradients are summed in float64, in one of two ways. If the gradient is small, the rows are divided
into at most N_SLOTS ranges, each with a sum of its own, and each thread takes one range at a time.
If it is large, all threads share one sum: they compute the residuals of some thousands of rows
together, and then each thread adds the products with them to its own section of the gradient. The
ranges depend on the shape of the problem alone, and the terms of each entry of a sum are added in
the order of the rows, so that results have the same bits for any number of threads.
"""

from cpython.buffer cimport PyBUF_FULL_RO, PyBuffer_Release, PyObject_GetBuffer
from cython cimport floating
from cython.parallel cimport prange, threadid

from libc.float cimport DBL_MAX, DBL_MIN, FLT_MAX, FLT_MIN
from libc.math cimport INFINITY, fabs
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from .._loss cimport (
    BINARY,
    HESSIAN_DIAGONAL,
    HESSIAN_PRODUCT,
    LOG_PROBA,
    LOSS_GRADIENT,
    PROBA,
    SPARSE_CATEGORICAL,
    EncodedTarget,
    Layout,
    Product,
    RowSums,
    TargetRows,
    TILE_VECTORS,
    Tile,
    XENT_MAX_LANES,
    add_tile,
    end_tiles,
    layout_of,
    process_rows,
    scratch_bytes,
    tile_residual,
    tiles_target,
)

import math

import numpy as np
from scipy import sparse

from .._utils.arrays import has_whole_strides, kernel_array
from .._utils.threads import effective_n_threads
from .._loss import cpu_target_number


cdef extern from "_kernels/targets.h" nogil:
    int xent_best_target()


cdef extern from "_kernels/products.h" nogil:
    enum:
        XENT_MOST_DEEP
        XENT_ROWS_KNOWN

    ctypedef struct xent_coef:
        const void* numbers
        bint is_float
        Py_ssize_t n_features
        Py_ssize_t feature_step
        Py_ssize_t class_step

    ctypedef struct xent_entries:
        const void* numbers
        const int64_t* indptr
        const int32_t* minor
        Py_ssize_t n_used
        const int32_t* used

    ctypedef struct xent_products:
        int lanes
        void (*pack)(
            Py_ssize_t n_classes, Py_ssize_t depth, const xent_coef* coef,
            void* packed) noexcept nogil
        void (*product)(
            Py_ssize_t m, Py_ssize_t n_classes, Py_ssize_t depth,
            const void* const* rows, const void* packed, const xent_coef* coef,
            void* logits, Py_ssize_t width) noexcept nogil
        void (*product_to_total)(
            Py_ssize_t m, Py_ssize_t n_classes, Py_ssize_t depth,
            const void* const* rows, Py_ssize_t begin, Py_ssize_t ahead,
            const void* residual, Py_ssize_t width,
            double* total, Py_ssize_t total_row) noexcept nogil
        void (*many_product)(
            Py_ssize_t m, Py_ssize_t width, Py_ssize_t n_features, const void* const* rows,
            const void* coef, const void* intercept, void* logits) noexcept nogil
        void (*many_product_to_total)(
            Py_ssize_t m, Py_ssize_t width, Py_ssize_t n_features, const void* const* rows,
            const void* residual, double* total, double* intercept_total) noexcept nogil
        void (*sparse_product)(
            Py_ssize_t width, Py_ssize_t n_entries, Py_ssize_t n_known,
            const void* data, const int32_t* indices,
            const void* coef, Py_ssize_t row, void* logits) noexcept nogil
        void (*sparse_product_to_total)(
            Py_ssize_t width, Py_ssize_t n_entries, Py_ssize_t n_known,
            const void* data, const int32_t* indices,
            const void* residual, double* total, Py_ssize_t row) noexcept nogil
        int (*entries_product)(
            Py_ssize_t m, Py_ssize_t n_classes, Py_ssize_t n_features, const void* const* rows,
            const xent_entries* coef, const void* intercept, void* logits, Py_ssize_t width,
            void* room) noexcept nogil

    const xent_products* xent_products_f32(int target)
    const xent_products* xent_products_f64(int target)


cdef extern from "_kernels/gather.h" nogil:
    cdef enum xent_stored:
        XENT_FLOAT64
        XENT_FLOAT32
        XENT_FLOAT16
        XENT_UINT8
        XENT_INT8

    ctypedef void (*xent_gather)(
        Py_ssize_t n_rows, Py_ssize_t n_columns, const void* source,
        Py_ssize_t row, Py_ssize_t column, void* to, Py_ssize_t to_row) noexcept nogil

    xent_gather xent_gather_for(xent_stored dtype, int as_double, int target)


cdef dict STORED = {
    np.dtype(np.float64): XENT_FLOAT64,
    np.dtype(np.float32): XENT_FLOAT32,
    np.dtype(np.float16): XENT_FLOAT16,
    np.dtype(np.uint8): XENT_UINT8,
    np.dtype(np.int8): XENT_INT8,
}
DTYPES = tuple(STORED)      # of X that is used without a copy

cdef int _cpu_target = xent_best_target()


def use_cpu_target(str name):
    """Use the products for this CPU target, one of ``_loss.available_cpu_targets()``."""
    global _cpu_target
    _cpu_target = cpu_target_number(name)


cdef enum:
    N_SLOTS = 16                    # most ranges of rows: enough to keep 8 threads evenly busy
    SLOT_BYTES = 64 * 1024 * 1024   # most memory for the sums of all ranges together
    BLOCK_BYTES = 256 * 1024        # of X in a block, which stays in the second-level cache
    LOGIT_BYTES = 1024 * 1024       # of logits in a block, most of which stay in that cache
    SHARED_BYTES = 2 * 1024 * 1024  # of residuals at a time, if all threads share one sum
    MOST_ENTRIES = 4096             # of CSR that are converted at a time
    ENTRIES_KNOWN = 16              # entries beyond the end of a row that the products may prefetch
    LEAST_WORK = 10_000_000         # multiply-adds that are worth a second thread; batches: a 20th
    SHARED_ROWS = 64                # least rows of a batch for two ranges; four times as many: four
    UNPACKED_BLOCKS = 3             # packing all reads, writes and reads what each block would read
    SCATTERED = 4                   # a row of coefficients from anywhere costs as many in order
    ALIGNMENT = 64                  # bytes in the widest vector
    # Classes from which on a pass works on tiles of them, if X has at least MANY_ROWS rows; with
    # fewer, packing the tiles takes most of the time. In tiles, logits are computed twice: with
    # narrow vectors or many features, where products take most of the time, it pays off later.
    MANY = 4096
    VERY_MANY = 16384
    MANY_FEATURES = 128
    WIDE_VECTOR = 32                # bytes
    MANY_ROWS = 256
    MOST_TILED = 192                # classes of a tile, and at least
    LEAST_TILED = 48
    TILE_BYTES = 512 * 1024         # of the coefficients and the gradient of a tile
    TILE_ROWS = 16                  # rows of a tile, whose logits stay in the first-level cache


# ---- X -------------------------------------------------------------------------------------------

cdef struct Matrix:
    Py_ssize_t n_rows
    Py_ssize_t n_features
    Py_ssize_t itemsize         # of the numbers as they are stored
    xent_stored stored
    const void* data
    Py_ssize_t row              # dense: strides, counted in numbers
    Py_ssize_t column
    const int64_t* indptr       # CSR; NULL for a dense X
    const void* indices
    bint long_indices           # 64-bit ones
    Py_ssize_t n_entries
    const Py_ssize_t* order     # indices of the rows to read; NULL: all of them in order
    Py_ssize_t n_known          # n_rows; of a batch also the rows after it, which may be prefetched
    const void** rows           # of a dense block: the address of each row
    # The rest depends on the CPU target in use.
    Py_ssize_t depth            # dense: features, or the lanes of a vector if there are fewer
    Py_ssize_t room_itemsize    # of the dtype in which sums are computed
    xent_gather gather          # copies and converts numbers; NULL: X can be used without a copy


cdef const xent_products* products_of(Py_ssize_t n_outputs, bint for_sparse, dtype) noexcept:
    """The products for the CPU target in use.

    For CSR, those of the narrowest CPU target of which a vector holds all outputs.
    """
    cdef int target = _cpu_target
    cdef const xent_products* products = NULL
    cdef const xent_products* narrower
    while target >= 0:
        narrower = (
            xent_products_f32(target) if dtype == np.float32 else xent_products_f64(target))
        if products == NULL or (narrower != NULL and narrower.lanes >= n_outputs):
            products = narrower
        target = target - 1 if for_sparse else -1
    return products


cdef enum:
    TABLE_BYTES = (2 * XENT_MOST_DEEP + XENT_ROWS_KNOWN) * sizeof(void*)


cdef Py_ssize_t room_bytes(
    const Matrix* X, Py_ssize_t n_at_once, Py_ssize_t itemsize,
) noexcept nogil:
    """Bytes of memory that ``block_of`` and ``entries_of`` need per thread."""
    if X.indptr != NULL:
        return MOST_ENTRIES * (itemsize + sizeof(int32_t))
    return TABLE_BYTES + (n_at_once * X.depth * itemsize if X.gather != NULL else 0)


cdef inline const char* stored_at(const Matrix* X, Py_ssize_t i) noexcept nogil:
    """Address of row i of a dense X; of the last known row if i is beyond it."""
    i = min(i, X.n_known - 1)
    return <const char*> X.data + (i if X.order == NULL else X.order[i]) * X.row * X.itemsize


cdef Matrix block_of(
    const Matrix* X, Py_ssize_t first, Py_ssize_t n_rows, Py_ssize_t following, char* room,
) noexcept nogil:
    """The matrix of a block of rows of X; a dense one is laid out as the products read it.

    Its table of row addresses also has as many rows from ``following`` on, those of the next block,
    for the products to prefetch. ``room`` holds zeros beyond the last feature.
    """
    cdef Matrix block = X[0]
    cdef Py_ssize_t i, size = X.depth * X.room_itemsize
    cdef char* copies = room + TABLE_BYTES
    block.n_rows = n_rows
    if X.indptr != NULL:
        if X.order != NULL:
            block.order = X.order + first
        else:
            block.indptr = X.indptr + first
        return block
    block.rows = <const void**> room
    if X.gather == NULL:
        for i in range(n_rows):
            block.rows[i] = stored_at(X, first + i)
        for i in range(n_rows + XENT_ROWS_KNOWN):
            block.rows[n_rows + i] = stored_at(X, following + i)
        return block
    if X.order == NULL:
        X.gather(n_rows, X.n_features, stored_at(X, first), X.row, X.column, copies, X.depth)
    else:
        for i in range(n_rows):
            X.gather(1, X.n_features, stored_at(X, first + i), 0, X.column, copies + i * size, 0)
    for i in range(2 * n_rows + XENT_ROWS_KNOWN):
        block.rows[i] = copies + min(i, n_rows - 1) * size
    return block


cdef inline Py_ssize_t stored_row(const Matrix* X, Py_ssize_t i) noexcept nogil:
    """Index of row i of a CSR block in ``indptr``."""
    return i if X.order == NULL else X.order[i]


cdef struct Entries:
    Py_ssize_t count
    Py_ssize_t known        # at least count: number of indices that may be read to prefetch
    const void* data
    const int32_t* indices


cdef Entries entries_of(
    const Matrix* X, Py_ssize_t begin, Py_ssize_t end, char* room,
) noexcept nogil:
    """The CSR entries from ``begin`` to ``end``, or as many of them as fit into ``room``."""
    cdef:
        Entries entries
        int32_t* short_indices = <int32_t*> room
        char* data = room + MOST_ENTRIES * sizeof(int32_t)
        Py_ssize_t i
    entries.count = end - begin
    if X.gather != NULL or X.long_indices:
        entries.count = min(entries.count, <Py_ssize_t> MOST_ENTRIES)
    entries.data = <const char*> X.data + begin * X.itemsize
    entries.indices = <const int32_t*> X.indices + begin
    entries.known = min(end + ENTRIES_KNOWN, X.n_entries) - begin
    if X.gather != NULL:
        X.gather(1, entries.count, entries.data, 0, 1, data, 0)
        entries.data = data
    if X.long_indices:
        for i in range(entries.count):
            short_indices[i] = <int32_t> (<const int64_t*> X.indices)[begin + i]
        entries.indices = short_indices
        entries.known = entries.count
    return entries


# ---- One block -----------------------------------------------------------------------------------

# What is evaluated. Coefficients and intercepts have the dtype in which sums are computed. Dense:
# coefficients are packed for the products, sums are [n_outputs, depth]. CSR: both are [n_features,
# width].
cdef struct Pass:
    const Matrix* X
    const TargetRows* target
    Product product
    const xent_products* products
    Py_ssize_t n_outputs
    # Of a row of logits: n_outputs, padded to whole vectors; dense with a single output: 1
    Py_ssize_t width
    Py_ssize_t n_at_once                # rows per block
    Py_ssize_t first                    # row of the encoded target that belongs to row 0 of X
    Py_ssize_t most_slots               # most ranges of rows, each with a sum of its own
    Py_ssize_t total_row                # distance between the rows of a sum
    bint by_output                      # dense: coefficients and sums are [n_outputs, n_features]
    bint in_place                       # sums are returned where they were computed
    bint loss_only
    const void* coef                    # NULL if `unpacked` takes its place
    xent_coef unpacked
    const void* intercept
    const void* coef_direction          # NULL unless the product has a direction
    const void* intercept_direction
    xent_entries entries                # in the place of `coef` if `indptr` is not NULL


cdef void block_logits(
    const Pass* task, const Matrix* X, const void* coef, const floating* intercept,
    floating* logits, char* room,
) noexcept nogil:
    """logits = X coef + intercept."""
    cdef:
        Py_ssize_t width = task.width
        Py_ssize_t i, at, end
        Entries entries
    for i in range(X.n_rows if width > 1 else 0):
        memcpy(logits + i * width, intercept, width * sizeof(floating))
    for i in range(X.n_rows if width == 1 else 0):
        logits[i] = intercept[0]
    if X.indptr == NULL:
        task.products.product(
            X.n_rows, task.n_outputs, X.depth, X.rows, coef, &task.unpacked, logits, width)
        return
    for i in range(X.n_rows):
        at, end = X.indptr[stored_row(X, i)], X.indptr[stored_row(X, i) + 1]
        while at < end:
            entries = entries_of(X, at, end, room)
            task.products.sparse_product(
                width, entries.count, entries.known, entries.data, entries.indices, coef, width,
                logits + i * width)
            at += entries.count


cdef bint block_logits_of_entries(
    const Pass* task, const Matrix* X, const floating* intercept, floating* logits, char* room,
) noexcept nogil:
    """logits = X coef + intercept from the entries of sparse coefficients.

    Returns whether all numbers of X are finite, since logits do not show those of features without
    coefficients.
    """
    cdef:
        Py_ssize_t width = task.width
        Py_ssize_t i, j, at, end, e
        const floating* coef = <const floating*> task.entries.numbers
        const floating* x
        bint finite = True
        Entries entries
    for i in range(X.n_rows):
        memcpy(logits + i * width, intercept, width * sizeof(floating))
    if X.indptr == NULL:
        return task.products.entries_product(
            X.n_rows, task.n_outputs, X.n_features, X.rows, &task.entries, intercept, logits,
            width, room + room_bytes(X, task.n_at_once, sizeof(floating)))
    for i in range(X.n_rows):
        at, end = X.indptr[i], X.indptr[i + 1]
        while at < end:
            entries = entries_of(X, at, end, room)
            x = <const floating*> entries.data
            finite &= all_finite(entries.count, x)
            for j in range(entries.count):
                for e in range(
                    task.entries.indptr[entries.indices[j]],
                    task.entries.indptr[entries.indices[j] + 1],
                ):
                    logits[i * width + task.entries.minor[e]] += x[j] * coef[e]
            at += entries.count
    return finite


cdef double block_residual(
    const Pass* task, const Matrix* X, Py_ssize_t first, floating* buffer,
    floating* residual, bint padded, double* intercept_total, char* scratch, char* room,
) noexcept nogil:
    """Compute the residuals of the rows of ``X``, and return the sum of their losses.

    ``first`` is the row of the task that the first row of ``X`` is. ``buffer`` holds n_at_once
    losses and two blocks (n_at_once, width) with room for XENT_MAX_LANES more rows; ``residual``
    has that room as well if it is ``padded``. Adds 1^T residual to ``intercept_total``.

    A ``residual`` of NULL asks for the losses alone.

    Subnormal residuals, which belong to rows whose prediction is almost certain, are set to 0: a
    processor takes a hundred times as long for each product with one, and even their sum is below
    the rounding error of any gradient that matters.
    """
    cdef:
        Py_ssize_t width = task.width
        floating* loss = buffer
        floating* logits = buffer + task.n_at_once
        floating* direction = NULL
        Layout layout = layout_of(width, 1), residual_layout = layout_of(width, 1)
        floating tiny = FLT_MIN if floating is float else DBL_MIN
        double total = 0.0
        Py_ssize_t i, k
    layout.padded, residual_layout.padded = True, padded
    block_logits(task, X, task.coef, <const floating*> task.intercept, logits, room)
    if task.product == HESSIAN_PRODUCT:
        loss = NULL
        direction = logits + (task.n_at_once + XENT_MAX_LANES) * width
        block_logits(
            task, X, task.coef_direction, <const floating*> task.intercept_direction, direction,
            room)
    process_rows(
        task.target, task.product, task.first + first, X.n_rows, logits, layout, direction, layout,
        loss, 1, residual, residual_layout, scratch)
    if loss != NULL:
        for i in range(X.n_rows):
            total += loss[i]
    if residual == NULL:
        return total
    for i in range(X.n_rows * width):
        residual[i] = residual[i] if fabs(residual[i]) >= tiny else 0
    for i in range(X.n_rows):
        for k in range(task.n_outputs):
            intercept_total[k] += residual[i * width + k]
    return total


cdef void block_gradient(
    const Pass* task, const Matrix* X, Py_ssize_t ahead, const floating* residual,
    Py_ssize_t begin, Py_ssize_t end, double* total, char* room,
) noexcept nogil:
    """Add X^T residual to ``total``, for dense X of the features, for CSR of the outputs,
    [begin, end).
    """
    cdef:
        Py_ssize_t width = task.width
        Py_ssize_t i, at, row_end
        Entries entries
    if X.indptr == NULL:
        task.products.product_to_total(
            X.n_rows, task.n_outputs, end - begin, X.rows, begin, ahead, residual, width,
            total + begin, task.total_row)
        return
    for i in range(X.n_rows):
        at, row_end = X.indptr[stored_row(X, i)], X.indptr[stored_row(X, i) + 1]
        while at < row_end:
            entries = entries_of(X, at, row_end, room)
            task.products.sparse_product_to_total(
                end - begin, entries.count, entries.known, entries.data, entries.indices,
                residual + i * width + begin, total + begin, task.total_row)
            at += entries.count


# ---- All rows ------------------------------------------------------------------------------------

cdef double sum_ranges(
    const Pass* task, floating[:, ::1] buffers, char[:, ::1] scratches,
    char[:, ::1] rooms, double[:, ::1] totals, double[:, ::1] intercept_totals,
) noexcept:
    """Sum over the rows of each range separately; ranges are distributed over the threads."""
    cdef:
        const Matrix* X = task.X
        Py_ssize_t n_at_once = task.n_at_once
        Py_ssize_t n_blocks = (X.n_rows + n_at_once - 1) // n_at_once
        Py_ssize_t n_slots = totals.shape[0]
        Py_ssize_t blocks_per_slot = (n_blocks + n_slots - 1) // n_slots
        Py_ssize_t at_residual = buffers.shape[1] - (n_at_once + XENT_MAX_LANES) * task.width
        Py_ssize_t end = X.depth if X.indptr == NULL else task.width
        # the next rows are prefetched, unless they are copied anyway
        bint asks = X.indptr == NULL and X.gather == NULL
        double loss = 0.0
        Py_ssize_t slot, b, begin, last, following, thread
        Matrix block

    for slot in prange(
        n_slots, nogil=True, schedule="dynamic", chunksize=1, num_threads=rooms.shape[0],
        use_threads_if=rooms.shape[0] > 1,
    ):
        thread = threadid()
        memset(&totals[slot, 0], 0, totals.shape[1] * sizeof(double))
        last = min(n_blocks, (slot + 1) * blocks_per_slot) - 1
        for b in range(slot * blocks_per_slot, last + 1):
            begin = b * n_at_once
            # the last block of a range is followed by the same range of the next batch
            following = (
                begin + n_at_once if b < last else X.n_rows + slot * blocks_per_slot * n_at_once)
            block = block_of(
                X, begin, min(n_at_once, X.n_rows - begin), following, &rooms[thread, 0])
            intercept_totals[slot, task.width] += block_residual[floating](
                task, &block, begin, &buffers[thread, 0], &buffers[thread, at_residual], True,
                &intercept_totals[slot, 0], &scratches[thread, 0], &rooms[thread, 0])
            block_gradient[floating](
                task, &block, block.n_rows if asks else 0, &buffers[thread, at_residual], 0, end,
                &totals[slot, 0], &rooms[thread, 0])
    for slot in range(n_slots):
        loss += intercept_totals[slot, task.width]
    return loss


cdef double sum_together(
    const Pass* task, floating[:, ::1] buffers, char[:, ::1] scratches,
    char[:, ::1] rooms, double[:, ::1] totals, double[:, ::1] intercept_totals,
    floating[:, ::1] residuals,
) noexcept:
    """Sum over all rows into one total, of which each thread has a section to add to.

    A section is a range of features, for CSR a range of outputs.
    """
    cdef:
        const Matrix* X = task.X
        Py_ssize_t n_at_once = task.n_at_once, width = task.width
        Py_ssize_t n_together = residuals.shape[0]
        Py_ssize_t n_threads = rooms.shape[0]
        Py_ssize_t lanes = task.products.lanes
        Py_ssize_t n_vectors = (X.depth if X.indptr == NULL else width) // lanes
        Py_ssize_t end = X.depth if X.indptr == NULL else width
        Py_ssize_t n_sections = min(n_threads, n_vectors)
        Py_ssize_t per_section = totals.shape[1] // n_threads + 1
        double loss = 0.0
        Py_ssize_t group, b, k, n_blocks, begin, section, thread, section_begin, section_end
        Matrix block

    for section in prange(
        n_threads, nogil=True, num_threads=n_threads, use_threads_if=n_threads > 1,
    ):
        begin = min(section * per_section, totals.shape[1])
        memset(
            &totals[0, 0] + begin, 0,
            min(per_section, totals.shape[1] - begin) * sizeof(double))
    for group in range((X.n_rows + n_together - 1) // n_together):
        n_blocks = (min(n_together, X.n_rows - group * n_together) + n_at_once - 1) // n_at_once
        for b in prange(
            n_blocks, nogil=True, schedule="static", num_threads=n_threads,
            use_threads_if=n_threads > 1,
        ):
            thread = threadid()
            begin = group * n_together + b * n_at_once
            block = block_of(
                X, begin, min(n_at_once, X.n_rows - begin), begin + n_at_once, &rooms[thread, 0])
            memset(&intercept_totals[b + 1, 0], 0, (width + 1) * sizeof(double))
            intercept_totals[b + 1, width] = block_residual[floating](
                task, &block, begin, &buffers[thread, 0], &residuals[b * n_at_once, 0], False,
                &intercept_totals[b + 1, 0], &scratches[thread, 0], &rooms[thread, 0])
        for b in range(n_blocks):
            loss += intercept_totals[b + 1, width]
            for k in range(width):
                intercept_totals[0, k] += intercept_totals[b + 1, k]
        for section in prange(
            n_sections, nogil=True, schedule="static", num_threads=n_threads,
            use_threads_if=n_threads > 1,
        ):
            thread = threadid()
            section_begin = section * n_vectors // n_sections * lanes
            section_end = (section + 1) * n_vectors // n_sections * lanes
            if section == n_sections - 1:
                section_end = end
            for b in range(n_blocks):
                begin = group * n_together + b * n_at_once
                block = block_of(
                    X, begin, min(n_at_once, X.n_rows - begin), begin + n_at_once,
                    &rooms[thread, 0])
                block_gradient[floating](
                    task, &block, 0, &residuals[b * n_at_once, 0], section_begin, section_end,
                    &totals[0, 0], &rooms[thread, 0])
    return loss


cdef double sum_losses(
    const Pass* task, floating[:, ::1] buffers, char[:, ::1] scratches, char[:, ::1] rooms,
    double[::1] losses,
) noexcept:
    """Sum of the losses of all rows; ``losses`` has room for one number per block."""
    cdef:
        const Matrix* X = task.X
        Py_ssize_t n_at_once = task.n_at_once
        double loss = 0.0
        Py_ssize_t b, begin, thread
        Matrix block

    for b in prange(
        losses.shape[0], nogil=True, schedule="static", num_threads=rooms.shape[0],
        use_threads_if=rooms.shape[0] > 1,
    ):
        thread = threadid()
        begin = b * n_at_once
        block = block_of(
            X, begin, min(n_at_once, X.n_rows - begin), begin + n_at_once, &rooms[thread, 0])
        losses[b] = block_residual[floating](
            task, &block, begin, &buffers[thread, 0], NULL, False, NULL, &scratches[thread, 0],
            &rooms[thread, 0])
    for b in range(losses.shape[0]):
        loss += losses[b]
    return loss


cdef inline void add_to(Py_ssize_t n, const double* values, double* totals) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        totals[i] += values[i]


cdef transposed_sums(
    const Pass* task, const double[:, ::1] totals, double[:, ::1] result, int n_threads,
):
    """Fill ``result``, [n_features, n_outputs], with the sum of the totals of all ranges."""
    cdef:
        bint dense = task.X.indptr == NULL
        Py_ssize_t n_features = task.X.n_features, n_outputs = task.n_outputs
        Py_ssize_t n_totals = n_outputs if dense else n_features
        Py_ssize_t i, k, slot
        double total

    for i in prange(
        n_totals, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        for k in range(n_features if dense else n_outputs):
            total = totals[0, i * task.total_row + k]
            for slot in range(1, totals.shape[0]):
                total = total + totals[slot, i * task.total_row + k]
            if dense:
                result[k, i] = total
            else:
                result[i, k] = total


cdef sum_rows(
    const Pass* task, floating[:, ::1] buffers, char[:, ::1] scratches, char[:, ::1] rooms,
    dict memory, coef_result,
):
    """Return (loss, coef result, intercept result) in float64.

    The results have shapes [n_features, n_outputs] and [n_outputs]. The former is written to
    ``coef_result``, or to a new array if that is None. If the task is ``in_place``, it is a view of
    memory that the next evaluation overwrites, for a dense X of shape [n_outputs, n_features].
    """
    cdef:
        const Matrix* X = task.X
        bint dense = X.indptr == NULL
        Py_ssize_t n_outputs = task.n_outputs
        Py_ssize_t n_totals = n_outputs if dense else X.n_features
        Py_ssize_t per_total = max(1, n_totals * task.total_row)
        Py_ssize_t n_blocks = (X.n_rows + task.n_at_once - 1) // task.n_at_once
        Py_ssize_t n_slots = max(1, min(n_blocks, task.most_slots))
        Py_ssize_t most_slots = SLOT_BYTES // (8 * per_total)
        Py_ssize_t blocks_together = max(
            1, SHARED_BYTES // (task.n_at_once * task.width * <Py_ssize_t> sizeof(floating)))
        # CSR with outputs that fit a single vector cannot be divided into sections
        bint together = n_slots > most_slots and (dense or task.width > task.products.lanes)
        Py_ssize_t slot
        double loss
        double[:, ::1] totals, intercept_totals
        double[::1] intercept_result = np.zeros(n_outputs)

    n_slots = 1 if together else min(n_slots, max(2, most_slots))
    if task.in_place:
        shape = n_slots, per_total
        totals = room_for(memory, "batch_totals", n_slots * per_total, np.float64).reshape(shape)
    else:
        totals = reused(memory, "totals", (n_slots, per_total), np.float64)
    if together:
        intercept_totals = np.zeros((blocks_together + 1, task.width + 1))
        dtype = np.float32 if floating is float else np.float64
        residuals = reused(
            memory, "residuals", (blocks_together * task.n_at_once, task.width), dtype)
        loss = sum_together[floating](
            task, buffers, scratches, rooms, totals, intercept_totals, residuals)
        intercept_totals = intercept_totals[:1]
    else:
        intercept_totals = np.zeros((n_slots, task.width + 1))
        loss = sum_ranges[floating](task, buffers, scratches, rooms, totals, intercept_totals)

    if task.in_place:  # one more copy would take as long as computing the logits of a batch
        for slot in range(1, n_slots):
            add_to(per_total, &totals[slot, 0], &totals[0, 0])
        coef_result = np.asarray(totals)[0, :n_totals * task.total_row]
        coef_result = coef_result.reshape(n_totals, task.total_row)
        coef_result = coef_result[:, :X.n_features if dense else n_outputs]
    else:
        if coef_result is None:
            coef_result = np.empty((X.n_features, n_outputs))
        transposed_sums(task, totals[:n_slots], coef_result, rooms.shape[0])
    for slot in range(intercept_totals.shape[0]):
        add_to(n_outputs, &intercept_totals[slot, 0], &intercept_result[0])
    return loss, coef_result, np.asarray(intercept_result)


# ---- Tiles of classes ----------------------------------------------------------------------------

# A pass over X with very many classes. A thread's numbers are two tiles of coefficients with their
# intercepts, the second one of the direction; XENT_MOST_DEEP rows of logits and residuals;
# TILE_ROWS rows of the direction and of exponentials; and numbers by row. Its doubles are a tile of
# the gradient, and the sums of rows.
cdef struct Tiles:
    const Matrix* X
    const TargetRows* target
    Product product
    const xent_products* products
    Py_ssize_t n_outputs
    Py_ssize_t n_tiles
    Py_ssize_t width                    # of the widest tile
    Py_ssize_t n_at_once                # rows for which all tiles are packed in the first sweep
    const double* coef                  # [n_features, n_outputs]
    const double* intercept
    const double* coef_direction        # NULL unless the product has a direction
    const double* intercept_direction
    char* by_row                        # maximum, factor and `other` of all rows (``end_tiles``)
    Py_ssize_t at_logits                # where they begin in a thread's memory
    Py_ssize_t at_direction
    Py_ssize_t at_vectors
    Py_ssize_t at_sums


cdef inline Tile tile_at(const Tiles* task, Py_ssize_t t) noexcept nogil:
    cdef Tile tile
    tile.begin = t * task.n_outputs // task.n_tiles
    tile.n_classes = (t + 1) * task.n_outputs // task.n_tiles - tile.begin
    tile.width = padded_to(task.products.lanes, tile.n_classes)
    return tile


cdef void pack_tile(
    const Tiles* task, Tile tile, const double* coef, const double* intercept, floating beyond,
    floating* to,
) noexcept nogil:
    """Copy the coefficients of a tile, and after them its intercepts.

    ``beyond`` is the intercept in the place of classes beyond the last one.
    """
    cdef:
        Py_ssize_t n_features = task.X.n_features, j, k
        const double* row
    for j in range(n_features + 1):
        row = (coef + j * task.n_outputs if j < n_features else intercept) + tile.begin
        for k in range(tile.n_classes):
            to[k] = <floating> row[k]
        for k in range(tile.n_classes, tile.width):
            to[k] = 0 if j < n_features else beyond
        to += tile.width


cdef inline void pack_tiles(const Tiles* task, Tile tile, floating* numbers) noexcept nogil:
    """Copy a tile of the coefficients, and one of the direction if there is one."""
    pack_tile[floating](task, tile, task.coef, task.intercept, -INFINITY, numbers)
    if task.coef_direction != NULL:
        pack_tile[floating](
            task, tile, task.coef_direction, task.intercept_direction, 0,
            numbers + task.at_logits // 2)


cdef inline void tile_product(
    const Tiles* task, Tile tile, const Matrix* block, Py_ssize_t i, Py_ssize_t n_rows,
    const floating* coef, floating* to,
) noexcept nogil:
    """Compute the logits of rows i, i + 1, ... of a block for a tile of classes."""
    task.products.many_product(
        n_rows, tile.width, block.n_features, block.rows + i, coef,
        coef + block.n_features * tile.width, to)


cdef double sum_rows_of_tiles(
    const Tiles* task, Py_ssize_t begin, floating* numbers, double* doubles, char* room,
) noexcept nogil:
    """Compute what the residuals of a block of rows need; return the sum of their losses."""
    cdef:
        Matrix block = block_of(
            task.X, begin, min(task.n_at_once, task.X.n_rows - begin), begin, room)
        floating* logits = numbers + task.at_logits
        floating* direction = NULL
        floating* exponentials = NULL
        floating* vectors = numbers + task.at_vectors
        floating* by_row = <floating*> task.by_row + begin
        Py_ssize_t stride = task.X.n_rows + 1, t, piece, i, n
        RowSums* sums = <RowSums*> (doubles + task.at_sums)
        Tile tile
    if task.coef_direction != NULL:
        direction = numbers + task.at_direction
        exponentials = direction + TILE_ROWS * task.width
    for t in range(task.n_tiles):
        tile = tile_at(task, t)
        pack_tiles(task, tile, numbers)
        for piece in range((block.n_rows + TILE_ROWS - 1) // TILE_ROWS):
            i = piece * TILE_ROWS
            n = min(<Py_ssize_t> TILE_ROWS, block.n_rows - i)
            tile_product[floating](task, tile, &block, i, n, numbers, logits)
            if direction != NULL:
                tile_product[floating](
                    task, tile, &block, i, n, numbers + task.at_logits // 2, direction)
            add_tile(
                task.target, begin + i, n, tile, logits, direction, exponentials, sums + i,
                vectors)
    return end_tiles(
        task.target, task.product, begin, block.n_rows, sums, by_row, by_row + stride,
        by_row + 2 * stride, vectors)


cdef void gradient_of_tile(
    const Tiles* task, Py_ssize_t t, floating* numbers, double* total, char* room,
    double* coef_result, double* intercept_result,
) noexcept nogil:
    """Compute the gradient of one tile of classes from all rows.

    For HESSIAN_DIAGONAL it is the sum of the curvatures, in the place of that of the intercept.
    """
    cdef:
        floating* logits = numbers + task.at_logits
        floating* direction = (
            NULL if task.coef_direction == NULL else numbers + task.at_direction)
        floating* vectors = numbers + task.at_vectors
        floating* by_row
        floating* to
        Py_ssize_t n_features = task.X.n_features, stride = task.X.n_rows + 1
        Py_ssize_t n_summed = 0 if task.product == HESSIAN_DIAGONAL else n_features
        Py_ssize_t b, begin, piece, i, n, j, k
        Tile tile = tile_at(task, t)
        double* row
        Matrix block
    pack_tiles(task, tile, numbers)
    memset(total, 0, (n_summed + 1) * tile.width * sizeof(double))
    for b in range((task.X.n_rows + XENT_MOST_DEEP - 1) // XENT_MOST_DEEP):
        begin = b * XENT_MOST_DEEP
        block = block_of(
            task.X, begin, min(<Py_ssize_t> XENT_MOST_DEEP, task.X.n_rows - begin), begin, room)
        for piece in range((block.n_rows + TILE_ROWS - 1) // TILE_ROWS):
            i = piece * TILE_ROWS
            n = min(<Py_ssize_t> TILE_ROWS, block.n_rows - i)
            to = logits + i * tile.width
            by_row = <floating*> task.by_row + begin + i
            tile_product[floating](task, tile, &block, i, n, numbers, to)
            if direction != NULL:
                tile_product[floating](
                    task, tile, &block, i, n, numbers + task.at_logits // 2, direction)
            tile_residual(
                task.target, task.product, begin + i, n, tile, direction, by_row, by_row + stride,
                by_row + 2 * stride, to, vectors)
        task.products.many_product_to_total(
            block.n_rows, tile.width, n_summed, block.rows, logits, total,
            total + n_summed * tile.width)
    for j in range(n_summed + 1):
        row = coef_result + j * task.n_outputs if j < n_summed else intercept_result
        for k in range(tile.n_classes):
            row[tile.begin + k] = total[j * tile.width + k]


cdef double sum_tiles(
    const Tiles* task, double[::1] losses, floating[:, ::1] numbers, double[:, ::1] doubles,
    char[:, ::1] rooms, double[:, ::1] coef_result, double[::1] intercept_result,
):
    """Fill the results, and return the sum of the losses."""
    cdef:
        Py_ssize_t n_threads = rooms.shape[0], b, t
        double* coef_to = &coef_result[0, 0] if coef_result.size else NULL
        double loss = 0.0
    for b in prange(
        losses.shape[0], nogil=True, schedule="dynamic", chunksize=1, num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        losses[b] = sum_rows_of_tiles[floating](
            task, b * task.n_at_once, &numbers[threadid(), 0], &doubles[threadid(), 0],
            &rooms[threadid(), 0])
    for t in prange(
        task.n_tiles, nogil=True, schedule="dynamic", chunksize=1, num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        gradient_of_tile[floating](
            task, t, &numbers[threadid(), 0], &doubles[threadid(), 0], &rooms[threadid(), 0],
            coef_to, &intercept_result[0])
    for b in range(losses.shape[0]):
        loss += losses[b]
    return loss


# ---- From Python ---------------------------------------------------------------------------------

def computing_dtype(X):
    """Return the dtype in which sums over X are computed: float64 for float64, else float32."""
    return np.dtype(np.float64 if X.dtype == np.float64 else np.float32)


cdef class DesignMatrix:
    """X as the fused pass reads it.

    Evaluations of one DesignMatrix share a workspace, so only one may run at a time.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        Of dtype float64, float32, float16, uint8 or int8. Dense X whose strides are multiples of
        the item size, and CSR with 32- or 64-bit indices, are used without a copy. Values must be
        finite, except for scores.
    dtype : dtype or None, default=None
        In which sums are computed, float32 or float64; None means float64 for float64 X, otherwise
        float32.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : dtype
        In which sums are computed.
    finite_logits : bool
        Whether all logits of the last ``scores`` or ``likeliest`` were finite. An entry of X that
        is nan or inf makes the logits of its row nan or inf (except in float16).
    least_tiled : int
        Classes from which on a pass over a dense X works on tiles of the classes.
    """

    cdef Matrix matrix
    cdef Matrix batch       # of a CSR: the rows of the present batch, with their features alone
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_features
    cdef readonly object dtype
    cdef readonly bint finite_logits
    cdef public Py_ssize_t least_tiled
    cdef tuple _arrays      # keeps alive what `matrix` points to
    cdef dict _memory       # workspace by name, kept since mapped pages need no zeroing

    def __init__(self, X, dtype=None):
        self.n_rows, self.n_features = X.shape
        self.dtype = computing_dtype(X) if dtype is None else np.dtype(dtype)
        assert X.dtype in DTYPES and np.can_cast(X.dtype, self.dtype)
        memset(&self.matrix, 0, sizeof(self.matrix))
        self.matrix.n_rows, self.matrix.n_features = X.shape
        self.matrix.n_known = self.matrix.n_rows
        self.matrix.itemsize = X.dtype.itemsize
        self.matrix.stored = <xent_stored> <int> STORED[X.dtype]
        if sparse.issparse(X):
            arrays = (
                kernel_array(X.data),
                kernel_array(X.indices),
                kernel_array(X.indptr, np.int64),
            )
            self.matrix.indices = address(arrays[1])
            self.matrix.long_indices = arrays[1].dtype.itemsize == 8
            self.matrix.indptr = <const int64_t*> address(arrays[2])
            self.matrix.n_entries = arrays[0].size
        else:
            # the strides of a contiguous array need no closer look
            if not (X.flags.aligned and X.flags.forc) and not has_whole_strides(X):
                X = kernel_array(X)
            arrays = (X,)
            self.matrix.row, self.matrix.column = [s // X.itemsize for s in X.strides]
        self.matrix.data = address(arrays[0])
        self._arrays = arrays
        self._memory = {}
        self.finite_logits = True
        wide = products_of(1, False, self.dtype).lanes * self.dtype.itemsize >= WIDE_VECTOR
        self.least_tiled = MANY if wide and self.n_features <= MANY_FEATURES else VERY_MANY

    def loss_gradient(self, EncodedTarget target, coef, intercept, int n_threads, out=None):
        """Compute the sum of the weighted losses of all rows, and its gradient.

        Parameters
        ----------
        target : EncodedTarget
            Of the same rows, in the dtype of this matrix.
        coef : ndarray of shape (n_features, n_outputs), float64
        intercept : ndarray of shape (n_outputs,), float64
        n_threads : int
        out : ndarray of shape (n_features, n_outputs), float64, C order, default=None
            Array to write the gradient of the coefficients to; None means a new one.

        Returns
        -------
        loss : float
        coef_gradient : ndarray of shape (n_features, n_outputs), float64
        intercept_gradient : ndarray of shape (n_outputs,), float64
        """
        return self.evaluate(target, LOSS_GRADIENT, coef, intercept, None, None, n_threads, out)

    def loss(self, EncodedTarget target, coef, intercept, int n_threads):
        """Compute the loss of ``loss_gradient`` alone; never in tiles of the classes."""
        assert target.n_rows == self.n_rows and target.dtype == self.dtype
        cdef:
            Matrix X = self.matrix
            Pass task
        self.prepare(&task, &X, coef.shape[1])
        task.target, task.product, task.loss_only = &target.rows, LOSS_GRADIENT, True
        return self.sums(&task, coef, intercept, None, None, n_threads, LEAST_WORK, None)

    def batch_features(self, const Py_ssize_t[::1] order, Py_ssize_t begin, Py_ssize_t end):
        """Make the rows [begin, end) of a CSR, in the given order, the present batch.

        Parameters
        ----------
        order : ndarray of shape (n_rows,), intp, or None
            Indices of the rows of X; None means that they are read as they are stored.
        begin, end : int

        Returns
        -------
        ndarray of int32
            The features that have an entry in one of the rows, in the order of these. The next
            call overwrites it.
        """
        assert self.matrix.indptr != NULL and 0 <= begin < end <= self.n_rows
        cdef:
            const Matrix* X = &self.matrix
            Py_ssize_t i, row, n_entries = 0
        for i in range(begin, end):
            row = i if order is None else order[i]
            n_entries += X.indptr[row + 1] - X.indptr[row]
        places = reused(self._memory, "places", (self.n_features,), np.int32)
        features = room_for(self._memory, "features", n_entries, np.int32)
        indices = room_for(self._memory, "batch_indices", n_entries, np.int32)
        indptr = room_for(self._memory, "batch_indptr", end - begin + 1, np.int64)
        data = room_for(self._memory, "batch_data", n_entries * X.itemsize, np.int8)
        self.batch = X[0]
        self.batch.n_features = compact_rows(
            X, order, begin, end, places, features, indptr, indices, data)
        self.batch.n_rows, self.batch.n_entries = end - begin, n_entries
        self.batch.indptr = <const int64_t*> address(indptr)
        self.batch.indices, self.batch.long_indices = address(indices), False
        self.batch.data = address(data)
        return features[:self.batch.n_features]

    def batch_loss_gradient(
        self, EncodedTarget target, const Py_ssize_t[::1] order, Py_ssize_t begin, Py_ssize_t end,
        coef, intercept, int n_threads, features=None,
    ):
        """Compute ``loss_gradient`` of the rows [begin, end) in the given order.

        Parameters
        ----------
        target : EncodedTarget
            Of all rows, in the given order: its rows [begin, end) belong to these.
        order : ndarray of shape (n_rows,), intp, or None
            Indices of the rows of X; None means that they are read as they are stored.
        begin, end : int
        coef : ndarray of shape (n_outputs, n_features), for CSR (n_features, n_outputs), float64
        intercept : ndarray of shape (n_outputs,), float64
        n_threads : int
        features : ndarray of int32, default=None
            The result of the last ``batch_features``, which was for these rows.

        Returns
        -------
        loss : float
        coef_gradient : ndarray of the shape of ``coef``, float64
            With ``features``, its rows are those of these. If X is dense or there are
            ``features``, the next evaluation overwrites it.
        intercept_gradient : ndarray of shape (n_outputs,), float64
        """
        return self.evaluate_batch(
            target, order, begin, end, coef, intercept, n_threads, features is not None, False)

    def batch_loss(
        self, EncodedTarget target, const Py_ssize_t[::1] order, Py_ssize_t begin, Py_ssize_t end,
        coef, intercept, int n_threads, features=None,
    ):
        """Compute the loss that ``batch_loss_gradient`` returns, alone."""
        return self.evaluate_batch(
            target, order, begin, end, coef, intercept, n_threads, features is not None, True)

    cdef evaluate_batch(
        self, EncodedTarget target, const Py_ssize_t[::1] order, Py_ssize_t begin, Py_ssize_t end,
        coef, intercept, int n_threads, bint compact, bint loss_only,
    ):
        assert target.n_rows == self.n_rows and target.dtype == self.dtype
        assert 0 <= begin < end <= self.n_rows
        cdef:
            Matrix X
            Pass task
            Py_ssize_t n_blocks, n_rows = end - begin
            bint dense = self.matrix.indptr == NULL
        X = self.batch if compact else self.matrix
        self.prepare(&task, &X, len(intercept))
        task.target, task.product, task.first = &target.rows, LOSS_GRADIENT, begin
        task.by_output, task.in_place, task.loss_only = dense, dense or compact, loss_only
        if not compact:
            X.n_known = (self.n_rows if order is None else order.shape[0]) - begin
            X.n_rows = n_rows
            if order is not None:
                X.order = &order[begin]
            elif dense:
                X.data = <const char*> X.data + begin * X.row * X.itemsize
            else:
                X.indptr += begin
        assert X.n_rows == n_rows
        # as many ranges as are worth adding up their sums, and blocks of equal size in each
        task.most_slots = 1
        while task.most_slots < N_SLOTS and n_rows >= SHARED_ROWS * task.most_slots**2:
            task.most_slots *= 2
        n_blocks = (n_rows + task.n_at_once * task.most_slots - 1) // (
            task.n_at_once * task.most_slots) * task.most_slots
        task.n_at_once = min(task.n_at_once, padded_to(8, (n_rows + n_blocks - 1) // n_blocks))
        return self.sums(&task, coef, intercept, None, None, n_threads, LEAST_WORK / 20, None)

    def hessian_product(
        self, EncodedTarget target, coef, intercept, coef_direction, intercept_direction,
        int n_threads, out=None,
    ):
        """Multiply the Hessian of the sum of losses at ``coef``, ``intercept`` with a direction.

        Shapes are those of ``loss_gradient``. Returns (coef_product, intercept_product).
        """
        return self.evaluate(
            target, HESSIAN_PRODUCT, coef, intercept, coef_direction, intercept_direction,
            n_threads, out)[1:]

    def in_tiles(self, EncodedTarget target, Py_ssize_t n_rows):
        """Return whether a pass over ``n_rows`` of these rows works on tiles of the classes."""
        return (
            self.matrix.indptr == NULL and target.n_outputs >= self.least_tiled
            and n_rows >= MANY_ROWS
            and tiles_target(&target.rows))

    def curvature_sum(self, EncodedTarget target, coef, intercept, int n_threads):
        """Return the sum over the rows of the second derivatives of the loss in their logits.

        The shape is (n_outputs,).
        """
        if self.in_tiles(target, self.n_rows):
            return self.evaluate(
                target, HESSIAN_DIAGONAL, coef, intercept, None, None, n_threads,
                np.empty((0, target.n_outputs)))[2]
        logits = np.empty((self.n_rows, target.n_outputs), dtype=self.dtype)
        self.scores(coef, intercept, logits, "logits", n_threads)
        curvature = np.empty_like(logits)
        target.hessian_diagonal(logits, curvature, n_threads)
        return curvature.sum(axis=0, dtype=np.float64)

    cdef evaluate(
        self, EncodedTarget target, Product product, coef, intercept, coef_direction,
        intercept_direction, int n_threads, out,
    ):
        assert target.n_rows == self.n_rows and target.dtype == self.dtype
        cdef:
            Matrix X
            Pass task
        if self.in_tiles(target, self.n_rows):
            at = coef, intercept, coef_direction, intercept_direction
            if self.dtype == np.float32:
                return self.evaluate_tiles(target, product, at, n_threads, out, <float> 0)
            return self.evaluate_tiles(target, product, at, n_threads, out, <double> 0)
        X = self.matrix
        self.prepare(&task, &X, coef.shape[1])
        task.target, task.product = &target.rows, product
        return self.sums(
            &task, coef, intercept, coef_direction, intercept_direction, n_threads, LEAST_WORK, out)

    cdef evaluate_tiles(
        self, EncodedTarget target, Product product, tuple at, int n_threads, out, floating zero,
    ):
        """Evaluate a product of very many classes in tiles of them."""
        cdef:
            Matrix X = self.matrix
            Tiles task
            Py_ssize_t itemsize = sizeof(floating), n_blocks, width, n_numbers, n_doubles, n_room
            double[:, ::1] coef_result
            double[::1] intercept_result, losses
        if X.itemsize != itemsize or X.column != 1:
            X.gather = xent_gather_for(X.stored, itemsize == 8, _cpu_target)
        X.depth, X.room_itemsize = X.n_features, itemsize
        task.X, task.target, task.product, task.n_outputs = &X, &target.rows, product, at[1].size
        task.products = products_of(task.n_outputs, False, self.dtype)
        at = tuple([
            None if one is None else np.ascontiguousarray(one, dtype=np.float64) for one in at])
        task.coef, task.intercept = <const double*> address(at[0]), <const double*> address(at[1])
        task.coef_direction = <const double*> address(at[2])
        task.intercept_direction = <const double*> address(at[3])
        # tiles of about equal size, few of whose vectors are incomplete
        width = TILE_BYTES // ((itemsize + 8) * max(1, X.n_features))
        width = max(LEAST_TILED, min(MOST_TILED, width // LEAST_TILED * LEAST_TILED))
        task.n_tiles = (task.n_outputs + width - 1) // width
        task.width = padded_to(
            task.products.lanes, (task.n_outputs + task.n_tiles - 1) // task.n_tiles)
        task.n_at_once = min(<Py_ssize_t> XENT_MOST_DEEP, padded_to(8, X.n_rows // N_SLOTS + 1))
        n_blocks = (X.n_rows + task.n_at_once - 1) // task.n_at_once
        if <double> X.n_rows * max(X.n_features, task.products.lanes) * task.n_outputs < LEAST_WORK:
            n_threads = 1
        n_threads = min(n_threads, n_blocks)

        # a tile of coefficients, of logits and of the direction, and numbers by row
        task.at_logits = 2 * padded_to(ALIGNMENT, (X.n_features + 1) * task.width)
        task.at_direction = task.at_logits + XENT_MOST_DEEP * task.width
        task.at_vectors = task.at_direction + (
            0 if task.coef_direction == NULL else 2 * TILE_ROWS * task.width)
        n_numbers = padded_to(ALIGNMENT, task.at_vectors + TILE_VECTORS * XENT_MOST_DEEP)
        task.at_sums = (X.n_features + 1) * task.width
        n_doubles = padded_to(
            ALIGNMENT, task.at_sums + XENT_MOST_DEEP * sizeof(RowSums) // sizeof(double))
        n_room = padded_to(ALIGNMENT, 1 + room_bytes(&X, XENT_MOST_DEEP, itemsize))
        by_row = reused(self._memory, "by row", (3, X.n_rows + 1), self.dtype)
        task.by_row = <char*> address(by_row)
        losses, intercept_result = np.zeros(n_blocks), np.empty(task.n_outputs)
        coef_result = np.empty((X.n_features, task.n_outputs)) if out is None else out
        loss = sum_tiles[floating](
            &task, losses, reused(self._memory, "tiles", (n_threads, n_numbers), self.dtype),
            reused(self._memory, "tile sums", (n_threads, n_doubles), np.float64),
            reused(self._memory, "rooms", (n_threads, n_room), np.int8),
            coef_result, intercept_result)
        return loss, np.asarray(coef_result), np.asarray(intercept_result)

    cdef sums(
        self, Pass* task, coef, intercept, coef_direction, intercept_direction, int n_threads,
        double least_work, out,
    ):
        """Add the coefficients to a task that is otherwise complete, and run ``sum_rows``."""
        cdef tuple arrays = (
            self.pack_coef("coef", task, coef, n_threads),
            self.pad_intercept("intercept", task, intercept),
            self.pack_coef("coef_direction", task, coef_direction, n_threads),
            self.pad_intercept("intercept_direction", task, intercept_direction),
        )
        task.coef, task.intercept = address(arrays[0]), address(arrays[1])
        task.coef_direction, task.intercept_direction = address(arrays[2]), address(arrays[3])
        n_useful = useful_threads(task, n_threads, least_work)
        buffers, scratches, rooms = self.workspace(task, n_useful)
        if task.loss_only:
            losses = np.empty((task.X.n_rows + task.n_at_once - 1) // task.n_at_once)
            if self.dtype == np.float32:
                return sum_losses[float](task, buffers, scratches, rooms, losses)
            return sum_losses[double](task, buffers, scratches, rooms, losses)
        if self.dtype == np.float32:
            return sum_rows[float](task, buffers, scratches, rooms, self._memory, out)
        return sum_rows[double](task, buffers, scratches, rooms, self._memory, out)

    def scores(self, coef, intercept, scores_out, str kind, n_threads=None):
        """Fill ``scores_out`` of shape (n_samples, n_outputs) with scores of all rows.

        ``kind`` is "logits", "softmax", "log_softmax", "sigmoid" or "log_sigmoid". ``scores_out``
        has the dtype of this matrix and C order. None for ``n_threads`` means as many as
        ``effective_n_threads`` allows, which is not asked about few rows.
        """
        self.fill(coef, intercept, scores_out, None, kind, n_threads)

    def likeliest(self, coef, intercept, n_threads=None):
        """Return the index of the largest logit of each row, the first one in case of ties."""
        indices = np.empty(self.n_rows, dtype=np.intp)
        self.fill(coef, intercept, None, indices, "logits", n_threads)
        return indices

    cdef fill(self, coef, intercept, scores, indices, str kind, n_threads):
        cdef:
            Matrix X
            Pass task
            TargetRows target
        if self.n_rows == 0 or coef.shape[1] == 0:
            return
        X = self.matrix
        self.prepare(&task, &X, coef.shape[1])
        if sparse.issparse(coef):
            coef = self.set_entries(&task, coef)
        elif X.indptr != NULL and SCATTERED * X.indptr[X.n_rows] <= X.n_features:
            # each entry gets a row of coefficients of its own, rather than a copy of all of them
            X.n_features = X.n_entries = X.indptr[X.n_rows]
            numbers = np.arange(X.n_entries, dtype=np.int32)
            X.indices, X.long_indices = address(numbers), False
            coef = coef[self._arrays[1][:X.n_entries]]
        memset(&target, 0, sizeof(target))
        target.kind = BINARY if kind.endswith("sigmoid") else SPARSE_CATEGORICAL
        target.n_outputs = task.n_outputs
        task.target = &target
        task.product = LOG_PROBA if kind.startswith("log_") else PROBA
        if n_threads is None:
            n_threads = effective_n_threads() if useful_threads(&task, 2, LEAST_WORK) > 1 else 1
        if task.entries.indptr == NULL:
            if X.indptr == NULL and X.n_rows <= UNPACKED_BLOCKS * task.n_at_once:
                task.unpacked = coef_at(coef, 0)
            else:
                coef = self.pack_coef("coef", &task, coef, n_threads)
                task.coef = address(coef)
        intercept = self.pad_intercept("intercept", &task, intercept)
        task.intercept = address(intercept)
        n_useful = useful_threads(&task, n_threads, LEAST_WORK)
        buffers, scratches, rooms = self.workspace(&task, n_useful)
        if self.dtype == np.float32:
            self.finite_logits = score_rows[float](
                &task, buffers, scratches, rooms, scores, indices, kind == "logits")
        else:
            self.finite_logits = score_rows[double](
                &task, buffers, scratches, rooms, scores, indices, kind == "logits")

    cdef set_entries(self, Pass* task, coef):
        """Let a task read the entries of sparse coefficients, in the arrays that are returned."""
        cdef bint dense = task.X.indptr == NULL
        coef = coef.tocsc() if dense else coef.tocsr()
        numbers = kernel_array(coef.data, self.dtype)
        minor = kernel_array(coef.indices, np.int32)
        indptr = kernel_array(coef.indptr, np.int64)
        used = None
        if dense:
            places = np.zeros(self.n_features, dtype=np.int32)
            places[minor] = 1
            used = np.flatnonzero(places).astype(np.int32)
            places[used] = np.arange(len(used), dtype=np.int32)
            minor = places[minor]
            task.entries.n_used = len(used)
            task.n_at_once = padded_to(task.products.lanes, task.n_at_once)
        task.entries.numbers, task.entries.used = address(numbers), <const int32_t*> address(used)
        task.entries.indptr = <const int64_t*> address(indptr)
        task.entries.minor = <const int32_t*> address(minor)
        return numbers, minor, indptr, used

    cdef void prepare(self, Pass* task, Matrix* X, Py_ssize_t n_outputs):
        """Set what depends on the number of outputs, and on the CPU target in use."""
        cdef Py_ssize_t lanes, rows
        memset(task, 0, sizeof(task[0]))
        task.X, task.n_outputs = X, n_outputs
        task.products = products_of(n_outputs, X.indptr != NULL, self.dtype)
        lanes = task.products.lanes
        task.width = padded_to(lanes, n_outputs)
        if X.indptr == NULL and n_outputs == 1:
            task.width = 1
        task.total_row = task.width
        task.n_at_once = max(8, min(<Py_ssize_t> XENT_MOST_DEEP, padded_to(8, X.n_rows)))
        task.first, task.most_slots, task.by_output = 0, N_SLOTS, False
        X.room_itemsize = self.dtype.itemsize
        if X.indptr == NULL:
            task.total_row = X.depth = max(X.n_features, lanes)
            rows = min(
                BLOCK_BYTES // (self.dtype.itemsize * X.depth),
                LOGIT_BYTES // (self.dtype.itemsize * task.width))
            # a multiple of 8 rows, and at least 8 however long a row is
            task.n_at_once = max(8, min(task.n_at_once, rows // 8 * 8))
        if X.itemsize != self.dtype.itemsize or (
            X.indptr == NULL and (X.column != 1 or X.depth != X.n_features)
        ):
            X.gather = xent_gather_for(X.stored, self.dtype == np.float64, _cpu_target)

    cdef pack_coef(self, str name, const Pass* task, coef, int n_threads):
        """Return coefficients as the products read them; None for None."""
        cdef:
            const Matrix* X = task.X
            xent_coef unpacked
            const int32_t[::1] features = None
            Py_ssize_t most = X.n_features
        if coef is None:
            return None
        coef = np.asarray(coef, dtype=np.float64)
        if X.indptr != NULL:
            if task.in_place:
                features, most = self._memory["features"], len(self._memory["features"])
            # an additional row makes the address valid even without any feature
            rows = reused(self._memory, name, (most + 1, task.width), self.dtype)
            if self.dtype == np.float32:
                copy_rows[float](coef, features, rows, X.n_features, n_threads)
            else:
                copy_rows[double](coef, features, rows, X.n_features, n_threads)
            return rows
        tiles = reused(
            self._memory, name, (task.n_outputs, padded_to(task.products.lanes, X.depth)),
            self.dtype, np.empty)
        unpacked = coef_at(coef, 1 if task.by_output else 0)
        task.products.pack(task.n_outputs, X.depth, &unpacked, <void*> address(tiles))
        return tiles

    cdef pad_intercept(self, str name, const Pass* task, intercept):
        """Return intercepts, padded with zeros to the width of a row; None for None."""
        if intercept is None:
            return None
        row = reused(self._memory, name, (task.width,), self.dtype)
        row[:task.n_outputs] = intercept
        return row

    cdef workspace(self, const Pass* task, Py_ssize_t n_threads):
        """Return (buffers, scratches, rooms), each of which has a row for every thread."""
        cdef:
            Py_ssize_t itemsize = self.dtype.itemsize
            Py_ssize_t n_matrices = 3 if task.product == HESSIAN_PRODUCT else 2
            Py_ssize_t per_matrix = (task.n_at_once + XENT_MAX_LANES) * task.width
            Py_ssize_t n_numbers = padded_to(ALIGNMENT, task.n_at_once + n_matrices * per_matrix)
            Py_ssize_t n_scratch = padded_to(ALIGNMENT, scratch_bytes(task.n_outputs, itemsize))
            Py_ssize_t room = room_bytes(task.X, task.n_at_once, itemsize)
            Py_ssize_t n_used = task.entries.n_used * task.products.lanes * itemsize
            Py_ssize_t n_room = padded_to(ALIGNMENT, 1 + room + n_used)
        return (
            reused(self._memory, "buffers", (n_threads, n_numbers), self.dtype),
            reused(self._memory, "scratches", (n_threads, n_scratch), np.int8),
            reused(self._memory, "rooms", (n_threads, n_room), np.int8),
        )


cdef xent_coef coef_at(coef, int of_features) except *:
    """Return where coefficients are: float32 or float64, whose features are along that axis, with
    strides that are multiples of their size.
    """
    cdef xent_coef found
    found.numbers, found.is_float = address(coef), coef.dtype == np.float32
    found.n_features = coef.shape[of_features]
    found.feature_step = coef.strides[of_features] // coef.itemsize
    found.class_step = coef.strides[1 - of_features] // coef.itemsize
    return found


cdef copy_rows(
    const double[:, :] source, const int32_t[::1] features, floating[:, ::1] to, Py_ssize_t n,
    int n_threads,
):
    """Copy the rows of ``n`` features, None: the first ones, to the upper left corner of ``to``."""
    cdef Py_ssize_t i, j, k
    cdef bint all_rows = features is None
    for i in prange(
        n, nogil=True, num_threads=n_threads, schedule="static",
        use_threads_if=n_threads > 1 and n * source.shape[1] > 100_000,
    ):
        j = i if all_rows else features[i]
        for k in range(source.shape[1]):
            to[i, k] = <floating> source[j, k]


cdef Py_ssize_t compact_rows(
    const Matrix* X, const Py_ssize_t[::1] order, Py_ssize_t begin, Py_ssize_t end,
    int32_t[::1] places, int32_t[::1] features, int64_t[::1] indptr, int32_t[::1] indices,
    char[::1] data,
) noexcept:
    """Copy rows of a CSR to one of which the features are numbered in the order of their entries.

    ``features`` gets the features, and ``places`` has a 0 for every feature of X before and after.
    Returns the number of features.
    """
    cdef Py_ssize_t i, j, at, row, n_found = 0, n_entries = 0
    indptr[0] = 0
    for i in range(begin, end):
        row = i if order is None else order[i]
        at = X.indptr[row]
        memcpy(
            &data[0] + n_entries * X.itemsize, <const char*> X.data + at * X.itemsize,
            (X.indptr[row + 1] - at) * X.itemsize)
        for at in range(at, X.indptr[row + 1]):
            j = (<const int64_t*> X.indices)[at] if X.long_indices else (
                <const int32_t*> X.indices)[at]
            if places[j] == 0:
                features[n_found] = <int32_t> j
                n_found += 1
                places[j] = <int32_t> n_found
            indices[n_entries] = places[j] - 1
            n_entries += 1
        indptr[i - begin + 1] = n_entries
    for i in range(n_found):
        places[features[i]] = 0
    return n_found


cdef room_for(dict memory, str name, Py_ssize_t size, dtype):
    """Return a vector of the workspace, as it was left.

    The workspace has room for a larger one, as the sizes of batches differ.
    """
    cdef Py_ssize_t room = memory[name].size if name in memory else -1
    if room < size or memory[name].dtype != dtype:
        reused(memory, name, (size + size // 4,), dtype)
    return memory[name][:size]


cdef reused(dict memory, str name, tuple shape, dtype, new=np.zeros):
    """Return an aligned array of the workspace, made by ``new``, or as it was left."""
    if name not in memory or memory[name].shape != shape or memory[name].dtype != dtype:
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        raw = new(n_bytes + ALIGNMENT, dtype=np.uint8)
        begin = padded_to(ALIGNMENT, <size_t> address(raw)) - <Py_ssize_t> <size_t> address(raw)
        memory[name] = raw[begin:begin + n_bytes].view(dtype).reshape(shape)
    return memory[name]


cdef const void* address(array) except? NULL:
    """Address of the first number of an array; NULL for None.

    Read from the buffer, since a batch needs four addresses and ``__array_interface__`` is slow.
    """
    cdef Py_buffer view
    if array is None:
        return NULL
    PyObject_GetBuffer(array, &view, PyBUF_FULL_RO)
    cdef const void* begin = view.buf
    PyBuffer_Release(&view)
    return begin


cdef inline Py_ssize_t padded_to(Py_ssize_t unit, Py_ssize_t n) noexcept nogil:
    return (n + unit - 1) // unit * unit


cdef Py_ssize_t useful_threads(
    const Pass* task, Py_ssize_t n_threads, double least_work,
) noexcept:
    """Number of threads that are worth starting.

    A dense pass of few multiply-adds is over before a second thread has started. If other processes
    keep the cores busy, waiting for that thread takes many times as long as the pass.
    """
    cdef const Matrix* X = task.X
    cdef Py_ssize_t width = padded_to(task.products.lanes, task.n_outputs)
    if X.indptr == NULL and <double> X.n_rows * X.depth * width < least_work:
        return 1
    return max(1, min(n_threads, (X.n_rows + task.n_at_once - 1) // task.n_at_once))


# ---- Scores --------------------------------------------------------------------------------------

cdef inline Py_ssize_t index_of_largest(Py_ssize_t n, const floating* values) noexcept nogil:
    cdef Py_ssize_t k, largest = 0
    for k in range(1, n):
        if values[k] > values[largest]:
            largest = k
    return largest


cdef inline bint all_finite(Py_ssize_t n, const floating* values) noexcept nogil:
    cdef:
        floating most = FLT_MAX if floating is float else DBL_MAX
        int others = 0
        Py_ssize_t i
    for i in range(n):      # without branches, so that the compiler can vectorise it
        others |= 1 - ((values[i] <= most) & (values[i] >= -most))
    return others == 0


cdef bint score_rows(
    const Pass* task, floating[:, ::1] buffers, char[:, ::1] scratches, char[:, ::1] rooms,
    floating[:, ::1] scores, Py_ssize_t[::1] indices, bint as_logits,
):
    """Fill ``scores``, or ``indices`` of the largest logits of all rows: one of them is None.

    Returns whether all logits are finite.
    """
    cdef:
        const Matrix* X = task.X
        Py_ssize_t width = task.width, n_outputs = task.n_outputs
        Py_ssize_t n_blocks = (X.n_rows + task.n_at_once - 1) // task.n_at_once
        Py_ssize_t b, begin, i
        bint as_indices = indices is not None
        Py_ssize_t n_others = 0     # blocks with something that is not finite
        floating* logits
        char* room
        Matrix block
        Layout padded = layout_of(width, 1), compact = layout_of(n_outputs, 1)

    padded.padded = True
    for b in prange(
        n_blocks, nogil=True, schedule="static", num_threads=rooms.shape[0],
        use_threads_if=rooms.shape[0] > 1,
    ):
        begin = b * task.n_at_once
        logits = &buffers[threadid(), 0]
        room = &rooms[threadid(), 0]
        block = block_of(
            X, begin, min(task.n_at_once, X.n_rows - begin), begin + task.n_at_once, room)
        if task.entries.indptr != NULL:
            n_others += not block_logits_of_entries[floating](
                task, &block, <const floating*> task.intercept, logits, room)
        else:
            block_logits[floating](
                task, &block, task.coef, <const floating*> task.intercept, logits, room)
        n_others += not all_finite(block.n_rows * width, logits)
        if as_indices:
            for i in range(block.n_rows):
                indices[begin + i] = index_of_largest(n_outputs, logits + i * width)
        elif as_logits and width == n_outputs:
            memcpy(&scores[begin, 0], logits, block.n_rows * width * sizeof(floating))
        elif as_logits:
            for i in range(block.n_rows):
                memcpy(&scores[begin + i, 0], logits + i * width, n_outputs * sizeof(floating))
        else:
            process_rows[floating](
                task.target, task.product, begin, block.n_rows, logits, padded, NULL, padded,
                NULL, 0, &scores[begin, 0], compact, &scratches[threadid(), 0])
    return n_others == 0
