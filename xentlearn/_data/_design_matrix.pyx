"""The fused pass: blocks of X -> logits -> rows of the loss -> X^T residual.

X is read once per evaluation, in blocks of rows that stay in the second-level cache; logits and
residuals exist for one block at a time. Two bodies of products exist, dense and CSR
(``_kernels/products_body.h``), each for float32 and float64 on every CPU target. They read dense
rows that lie in one piece; other dtypes and strides are copied block by block
(``_kernels/gather_body.h``). What a row costs is the business of ``_loss``: a new loss adds nothing
here.

A gradient is added up in float64, in one of two ways. Where it is small, rows are cut into at most
N_SLOTS ranges, each with totals of its own, and a thread takes a range at a time. Where it is
large, all threads share one total: they make the residuals of some thousands of rows, then each
adds them to its own part of the gradient. Ranges depend on the shape of the problem alone, and
each number of a total is added to in the order of the rows: the same bits for any number of
threads.
"""

from cpython.buffer cimport PyBUF_FULL_RO, PyBuffer_Release, PyObject_GetBuffer
from cython cimport floating
from cython.parallel cimport prange, threadid

from libc.float cimport DBL_MAX, DBL_MIN, FLT_MAX, FLT_MIN
from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from .._loss cimport (
    BINARY,
    HESSIAN_PRODUCT,
    LOG_PROBA,
    LOSS_GRADIENT,
    PROBA,
    SPARSE_CATEGORICAL,
    EncodedTarget,
    Layout,
    Product,
    TargetRows,
    XENT_MAX_LANES,
    layout_of,
    process_rows,
    scratch_bytes,
)

import numpy as np
from scipy import sparse

from .._utils.arrays import has_whole_strides, kernel_array
from .._loss import target_number


cdef extern from "_kernels/targets.h" nogil:
    int xent_best_target()


cdef extern from "_kernels/products.h" nogil:
    enum:
        XENT_MOST_DEEP
        XENT_ROWS_KNOWN

    ctypedef struct xent_products:
        int lanes
        void (*pack)(
            Py_ssize_t n_classes, Py_ssize_t n_features, Py_ssize_t depth,
            const double* coef, Py_ssize_t feature_step, Py_ssize_t class_step,
            void* packed) noexcept nogil
        void (*product)(
            Py_ssize_t m, Py_ssize_t n_classes, Py_ssize_t depth,
            const void* const* rows, const void* packed,
            void* logits, Py_ssize_t width) noexcept nogil
        void (*product_to_total)(
            Py_ssize_t m, Py_ssize_t n_classes, Py_ssize_t depth,
            const void* const* rows, Py_ssize_t begin, Py_ssize_t ahead,
            const void* residual, Py_ssize_t width,
            double* total, Py_ssize_t total_row) noexcept nogil
        void (*sparse_product)(
            Py_ssize_t width, Py_ssize_t n_entries, Py_ssize_t n_known,
            const void* data, const int32_t* indices,
            const void* coef, Py_ssize_t row, void* logits) noexcept nogil
        void (*sparse_product_to_total)(
            Py_ssize_t width, Py_ssize_t n_entries, Py_ssize_t n_known,
            const void* data, const int32_t* indices,
            const void* residual, double* total, Py_ssize_t row) noexcept nogil

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
DTYPES = tuple(STORED)      # of X, used where it lies

cdef int _target = xent_best_target()


def use_target(str name):
    """Use the products of one CPU target (``_loss.available_targets()``) from now on."""
    global _target
    _target = target_number(name)


cdef enum:
    N_SLOTS = 16                    # ranges of rows: enough to keep 8 threads evenly busy
    SLOT_BYTES = 64 * 1024 * 1024   # most that the totals of all ranges together may take
    BLOCK_BYTES = 256 * 1024        # of X at a time: a block stays in the second-level cache
    LOGIT_BYTES = 1024 * 1024       # and so does most of its logits
    SHARED_BYTES = 2 * 1024 * 1024  # of residuals, where all threads share one total
    MOST_ENTRIES = 4096             # of CSR that are converted at a time
    ENTRIES_KNOWN = 16              # of the next rows, which the products may look at
    LEAST_WORK = 10_000_000         # multiply-adds for a second thread; batches time it themselves
    SHARED_ROWS = 64                # of a batch in two ranges; in four if it has four times as many
    ALIGNMENT = 64                  # bytes in the widest vector


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
    const Py_ssize_t* order     # which rows; NULL: as they are
    Py_ssize_t n_known          # n_rows, and of a batch how many come after it
    const void** rows           # of a dense block: where each row is
    # what depends on the CPU target in use:
    Py_ssize_t depth            # dense: features, or the lanes of a vector if there are fewer
    Py_ssize_t room_itemsize    # of the dtype that is computed in
    xent_gather gather          # what copies numbers into shape; NULL: they are used where they lie


cdef const xent_products* products_of(Py_ssize_t n_outputs, bint for_sparse, dtype) noexcept:
    """The products of the target in use; for CSR of a narrower one if all outputs fit a vector."""
    cdef int target = _target
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
    """What ``block_of`` and ``entries_of`` need, per thread."""
    if X.indptr != NULL:
        return MOST_ENTRIES * (itemsize + sizeof(int32_t))
    return TABLE_BYTES + (n_at_once * X.depth * itemsize if X.gather != NULL else 0)


cdef inline const char* stored_at(const Matrix* X, Py_ssize_t i) noexcept nogil:
    """Where row i of a dense X begins; behind the last known one it is that."""
    i = min(i, X.n_known - 1)
    return <const char*> X.data + (i if X.order == NULL else X.order[i]) * X.row * X.itemsize


cdef Matrix block_of(
    const Matrix* X, Py_ssize_t first, Py_ssize_t n_rows, Py_ssize_t following, char* room,
) noexcept nogil:
    """Rows of X as a matrix of their own; dense ones as the products read them.

    As many rows from ``following`` on, those of the next block, are in its table, too. ``room`` is
    zero behind the features.
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
    """Where row i of a CSR block is."""
    return i if X.order == NULL else X.order[i]


cdef struct Entries:
    Py_ssize_t count
    Py_ssize_t known        # at least count: indices that may be looked at
    const void* data
    const int32_t* indices


cdef Entries entries_of(
    const Matrix* X, Py_ssize_t begin, Py_ssize_t end, char* room,
) noexcept nogil:
    """The CSR entries from ``begin`` on: to ``end``, or as many as fit."""
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

# What is evaluated. Coefficients and intercepts have the dtype computed in. Dense: coefficients are
# packed for the products, totals are [n_outputs, depth]. CSR: both are [n_features, width].
cdef struct Pass:
    const Matrix* X
    const TargetRows* target
    Product product
    const xent_products* products
    Py_ssize_t n_outputs
    Py_ssize_t width                    # of a row of logits: n_outputs, padded to whole vectors
    Py_ssize_t n_at_once                # rows per block
    Py_ssize_t first                    # which row of the target the first row of X has
    Py_ssize_t most_slots               # ranges of rows with totals of their own
    Py_ssize_t total_row                # distance between the rows of a total
    bint by_output                      # dense: both are [n_outputs, n_features]
    const void* coef
    const void* intercept
    const void* coef_direction          # NULL unless the product has a direction
    const void* intercept_direction


cdef void block_logits(
    const Pass* task, const Matrix* X, const void* coef, const floating* intercept,
    floating* logits, char* room,
) noexcept nogil:
    """logits = X coef + intercept."""
    cdef:
        Py_ssize_t width = task.width
        Py_ssize_t i, at, end
        Entries entries
    for i in range(X.n_rows):
        memcpy(logits + i * width, intercept, width * sizeof(floating))
    if X.indptr == NULL:
        task.products.product(
            X.n_rows, task.n_outputs, X.depth, X.rows, coef, logits, width)
        return
    for i in range(X.n_rows):
        at, end = X.indptr[stored_row(X, i)], X.indptr[stored_row(X, i) + 1]
        while at < end:
            entries = entries_of(X, at, end, room)
            task.products.sparse_product(
                width, entries.count, entries.known, entries.data, entries.indices, coef, width,
                logits + i * width)
            at += entries.count


cdef double block_residual(
    const Pass* task, const Matrix* X, Py_ssize_t first, floating* buffer,
    floating* residual, bint padded, double* intercept_total, char* scratch, char* room,
) noexcept nogil:
    """Residuals of the rows of ``X``, the first of which is ``first``; returns their loss.

    ``buffer`` holds n_at_once losses and two blocks (n_at_once, width), with room for
    XENT_MAX_LANES rows more; ``residual`` as well if it is ``padded``. Adds 1^T residual.

    Subnormal residuals, of rows that are all but certain, are set to 0: each of their products
    would take a processor a hundred times as long, and no sum of theirs reaches a rounding error of
    a gradient that matters.
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
    """total += X^T residual, a part of it: dense features, or for CSR outputs, [begin, end)."""
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
    """Every range of rows adds to totals of its own."""
    cdef:
        const Matrix* X = task.X
        Py_ssize_t n_at_once = task.n_at_once
        Py_ssize_t n_blocks = (X.n_rows + n_at_once - 1) // n_at_once
        Py_ssize_t n_slots = totals.shape[0]
        Py_ssize_t blocks_per_slot = (n_blocks + n_slots - 1) // n_slots
        Py_ssize_t at_residual = buffers.shape[1] - (n_at_once + XENT_MAX_LANES) * task.width
        Py_ssize_t parts = X.depth if X.indptr == NULL else task.width
        # what comes next is asked for early, unless it is copied anyway
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
            # after the last block of a range comes that range of the next batch
            following = (
                begin + n_at_once if b < last else X.n_rows + slot * blocks_per_slot * n_at_once)
            block = block_of(
                X, begin, min(n_at_once, X.n_rows - begin), following, &rooms[thread, 0])
            intercept_totals[slot, task.width] += block_residual[floating](
                task, &block, begin, &buffers[thread, 0], &buffers[thread, at_residual], True,
                &intercept_totals[slot, 0], &scratches[thread, 0], &rooms[thread, 0])
            block_gradient[floating](
                task, &block, block.n_rows if asks else 0, &buffers[thread, at_residual], 0, parts,
                &totals[slot, 0], &rooms[thread, 0])
    for slot in range(n_slots):
        loss += intercept_totals[slot, task.width]
    return loss


cdef double sum_together(
    const Pass* task, floating[:, ::1] buffers, char[:, ::1] scratches,
    char[:, ::1] rooms, double[:, ::1] totals, double[:, ::1] intercept_totals,
    floating[:, ::1] residuals,
) noexcept:
    """All threads add to one total: each to a part of it, of features, or for CSR of outputs."""
    cdef:
        const Matrix* X = task.X
        Py_ssize_t n_at_once = task.n_at_once, width = task.width
        Py_ssize_t n_together = residuals.shape[0]
        Py_ssize_t n_threads = rooms.shape[0]
        Py_ssize_t lanes = task.products.lanes
        Py_ssize_t n_vectors = (X.depth if X.indptr == NULL else width) // lanes
        Py_ssize_t end = X.depth if X.indptr == NULL else width
        Py_ssize_t n_parts = min(n_threads, n_vectors)
        Py_ssize_t per_part = totals.shape[1] // n_threads + 1
        double loss = 0.0
        Py_ssize_t group, b, n_blocks, begin, part, thread, part_begin, part_end
        Matrix block

    for part in prange(n_threads, nogil=True, num_threads=n_threads, use_threads_if=n_threads > 1):
        begin = min(part * per_part, totals.shape[1])
        memset(
            &totals[0, 0] + begin, 0,
            min(per_part, totals.shape[1] - begin) * sizeof(double))
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
            for part in range(width):
                intercept_totals[0, part] += intercept_totals[b + 1, part]
        for part in prange(
            n_parts, nogil=True, schedule="static", num_threads=n_threads,
            use_threads_if=n_threads > 1,
        ):
            thread = threadid()
            part_begin = part * n_vectors // n_parts * lanes
            part_end = end if part == n_parts - 1 else (part + 1) * n_vectors // n_parts * lanes
            for b in range(n_blocks):
                begin = group * n_together + b * n_at_once
                block = block_of(
                    X, begin, min(n_at_once, X.n_rows - begin), begin + n_at_once,
                    &rooms[thread, 0])
                block_gradient[floating](
                    task, &block, 0, &residuals[b * n_at_once, 0], part_begin, part_end,
                    &totals[0, 0], &rooms[thread, 0])
    return loss


cdef inline void add_to(Py_ssize_t n, const double* values, double* totals) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        totals[i] += values[i]


cdef transposed_sums(
    const Pass* task, const double[:, ::1] totals, double[:, ::1] result, int n_threads,
):
    """The totals of all ranges together, as [n_features, n_outputs]."""
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
    """(loss, coef result, intercept result): float64, [n_features, n_outputs] and [n_outputs].

    The first of them is written to ``coef_result``, or to a new array where that is None. If the
    task is ``by_output`` it is [n_outputs, n_features]: dense X only, and where the next evaluation
    will write over it.
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
        # CSR of few outputs has nothing to share out
        bint together = n_slots > most_slots and (dense or task.width > task.products.lanes)
        Py_ssize_t slot
        double loss
        double[:, ::1] totals, intercept_totals
        double[::1] intercept_result = np.zeros(n_outputs)

    n_slots = 1 if together else min(n_slots, max(2, most_slots))
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

    if task.by_output:
        # in place: for a batch one more copy takes as long as its logits
        for slot in range(1, n_slots):
            add_to(per_total, &totals[slot, 0], &totals[0, 0])
        coef_result = memory["totals"][0].reshape(n_outputs, -1)[:, :X.n_features]
    else:
        if coef_result is None:
            coef_result = np.empty((X.n_features, n_outputs))
        transposed_sums(task, totals[:n_slots], coef_result, rooms.shape[0])
    for slot in range(intercept_totals.shape[0]):
        add_to(n_outputs, &intercept_totals[slot, 0], &intercept_result[0])
    return loss, coef_result, np.asarray(intercept_result)


# ---- From Python ---------------------------------------------------------------------------------

def computing_dtype(X):
    """What sums over X are computed in: float64 for float64, else float32."""
    return np.dtype(np.float64 if X.dtype == np.float64 else np.float32)


cdef class DesignMatrix:
    """X as the pass reads it.

    Evaluations of one DesignMatrix share their working memory: one at a time.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        float32, float64, or narrower: uint8, int8, float16. Used where it lies: dense of any
        strides that are multiples of the item size, CSR with 32- or 64-bit indices. Finite; for
        scores it may be anything.
    dtype : dtype or None, default=None
        What is computed in, float32 or float64; None: float64 for float64, else float32.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : dtype
        What is computed in.
    finite_logits : bool
        Whether all logits of the last ``scores`` or ``likeliest`` were finite. One number of X that
        is not (except float16) makes those of its row nan or inf.
    """

    cdef Matrix matrix
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_features
    cdef readonly object dtype
    cdef readonly bint finite_logits
    cdef tuple _arrays      # keeps alive what `matrix` points to
    cdef dict _memory       # arrays of earlier evaluations, by name: pages that need no zeroing

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
            if not has_whole_strides(X):
                X = kernel_array(X)
            arrays = (X,)
            self.matrix.row, self.matrix.column = [s // X.itemsize for s in X.strides]
        self.matrix.data = address(arrays[0])
        self._arrays = arrays
        self._memory = {}
        self.finite_logits = True

    def loss_gradient(self, EncodedTarget target, coef, intercept, int n_threads, out=None):
        """Sum of the weighted losses of all rows, and its gradient.

        Parameters
        ----------
        target : EncodedTarget
            Of the same rows, in the dtype of X.
        coef : ndarray of shape (n_features, n_outputs), float64
        intercept : ndarray of shape (n_outputs,), float64
        n_threads : int
        out : ndarray of shape (n_features, n_outputs), float64, C order, default=None
            For the coef gradient.

        Returns
        -------
        loss : float
        coef_gradient : ndarray of shape (n_features, n_outputs), float64
        intercept_gradient : ndarray of shape (n_outputs,), float64
        """
        return self.evaluate(target, LOSS_GRADIENT, coef, intercept, None, None, n_threads, out)

    def batch_loss_gradient(
        self, EncodedTarget target, const Py_ssize_t[::1] order, Py_ssize_t begin, Py_ssize_t end,
        coef, intercept, int n_threads,
    ):
        """As ``loss_gradient``, of the rows [begin, end) in the given order.

        Parameters
        ----------
        target : EncodedTarget
            Of the rows in that order.
        order : ndarray of shape (n_rows,), intp, or None
            Which row of X comes when; None: as they are.
        begin, end : int
        coef : ndarray of shape (n_outputs, n_features), for CSR (n_features, n_outputs), float64
        intercept : ndarray of shape (n_outputs,), float64
        n_threads : int

        Returns
        -------
        loss : float
        coef_gradient : ndarray of the shape of ``coef``, float64
            Of dense X where the next evaluation will write over it.
        intercept_gradient : ndarray of shape (n_outputs,), float64
        """
        assert target.n_rows == self.n_rows and target.dtype == self.dtype
        assert 0 <= begin < end <= self.n_rows
        cdef:
            Matrix X
            Pass task
            Py_ssize_t n_blocks, n_rows = end - begin
            bint dense = self.matrix.indptr == NULL
        self.prepare(&task, &X, len(intercept))
        task.target, task.product, task.first = &target.rows, LOSS_GRADIENT, begin
        task.by_output = dense
        X.n_known = (self.n_rows if order is None else order.shape[0]) - begin
        X.n_rows = n_rows
        if order is not None:
            X.order = &order[begin]
        elif dense:
            X.data = <const char*> X.data + begin * X.row * X.itemsize
        else:
            X.indptr += begin
        # as many ranges as pay for adding up their totals, and blocks of equal size in each
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
        """Hessian of the sum of losses at ``coef``, ``intercept`` times a direction.

        Shapes as in ``loss_gradient``; returns (coef_product, intercept_product).
        """
        return self.evaluate(
            target, HESSIAN_PRODUCT, coef, intercept, coef_direction, intercept_direction,
            n_threads, out)[1:]

    cdef evaluate(
        self, EncodedTarget target, Product product, coef, intercept, coef_direction,
        intercept_direction, int n_threads, out,
    ):
        assert target.n_rows == self.n_rows and target.dtype == self.dtype
        cdef:
            Matrix X
            Pass task
        self.prepare(&task, &X, coef.shape[1])
        task.target, task.product = &target.rows, product
        return self.sums(
            &task, coef, intercept, coef_direction, intercept_direction, n_threads, LEAST_WORK, out)

    cdef sums(
        self, Pass* task, coef, intercept, coef_direction, intercept_direction, int n_threads,
        double least_work, out,
    ):
        """``sum_rows`` of a task that lacks nothing but its coefficients."""
        cdef tuple arrays = (
            self.pack_coef("coef", task, coef, n_threads),
            self.pad_intercept("intercept", task, intercept),
            self.pack_coef("coef_direction", task, coef_direction, n_threads),
            self.pad_intercept("intercept_direction", task, intercept_direction),
        )
        task.coef, task.intercept = address(arrays[0]), address(arrays[1])
        task.coef_direction, task.intercept_direction = address(arrays[2]), address(arrays[3])
        buffers, scratches, rooms = self.desks(task, useful_threads(task, n_threads, least_work))
        if self.dtype == np.float32:
            return sum_rows[float](task, buffers, scratches, rooms, self._memory, out)
        return sum_rows[double](task, buffers, scratches, rooms, self._memory, out)

    def scores(self, coef, intercept, scores_out, str kind, int n_threads):
        """Fill (n_samples, n_outputs) scores: ``kind`` says which.

        "logits", "softmax", "log_softmax", "sigmoid" or "log_sigmoid". ``scores_out`` has the
        dtype of X and C order.
        """
        self.fill(coef, intercept, scores_out, None, kind, n_threads)

    def likeliest(self, coef, intercept, int n_threads):
        """Index of the largest logit of each row, (n_samples,): the first one of equals."""
        indices = np.empty(self.n_rows, dtype=np.intp)
        self.fill(coef, intercept, None, indices, "logits", n_threads)
        return indices

    cdef fill(self, coef, intercept, scores, indices, str kind, int n_threads):
        cdef:
            Matrix X
            Pass task
            TargetRows target
            tuple arrays
        if self.n_rows == 0 or coef.shape[1] == 0:
            return
        self.prepare(&task, &X, coef.shape[1])
        memset(&target, 0, sizeof(target))
        target.kind = BINARY if kind.endswith("sigmoid") else SPARSE_CATEGORICAL
        target.n_outputs = task.n_outputs
        task.target = &target
        task.product = LOG_PROBA if kind.startswith("log_") else PROBA
        arrays = (
            self.pack_coef("coef", &task, coef, n_threads),
            self.pad_intercept("intercept", &task, intercept),
        )
        task.coef, task.intercept = address(arrays[0]), address(arrays[1])
        buffers, scratches, rooms = self.desks(&task, useful_threads(&task, n_threads, LEAST_WORK))
        if self.dtype == np.float32:
            self.finite_logits = score_rows[float](
                &task, buffers, scratches, rooms, scores, indices, kind == "logits")
        else:
            self.finite_logits = score_rows[double](
                &task, buffers, scratches, rooms, scores, indices, kind == "logits")

    cdef void prepare(self, Pass* task, Matrix* X, Py_ssize_t n_outputs):
        """What depends on the number of outputs, and on the CPU target in use."""
        cdef Py_ssize_t lanes, rows
        X[0] = self.matrix
        memset(task, 0, sizeof(task[0]))
        task.X, task.n_outputs = X, n_outputs
        task.products = products_of(n_outputs, X.indptr != NULL, self.dtype)
        lanes = task.products.lanes
        task.width = padded_to(lanes, n_outputs)
        task.total_row = task.width
        task.n_at_once = XENT_MOST_DEEP
        task.first, task.most_slots, task.by_output = 0, N_SLOTS, False
        X.room_itemsize = self.dtype.itemsize
        if X.indptr == NULL:
            task.total_row = X.depth = max(X.n_features, lanes)
            rows = min(
                BLOCK_BYTES // (self.dtype.itemsize * X.depth),
                LOGIT_BYTES // (self.dtype.itemsize * task.width))
            # whole groups of 8 rows, and a few even where a row is long
            task.n_at_once = max(8, min(task.n_at_once, rows // 8 * 8))
        if X.itemsize != self.dtype.itemsize or (
            X.indptr == NULL and (X.column != 1 or X.depth != X.n_features)
        ):
            X.gather = xent_gather_for(X.stored, self.dtype == np.float64, _target)

    cdef pack_coef(self, str name, const Pass* task, coef, int n_threads):
        """Coefficients as the products read them; None for None."""
        cdef:
            const Matrix* X = task.X
            const double[:, ::1] values
        if coef is None:
            return None
        values = np.ascontiguousarray(coef, dtype=np.float64)
        if X.indptr != NULL:
            # one row more than there are keeps the address valid when there are no features
            rows = reused(self._memory, name, (X.n_features + 1, task.width), self.dtype)
            if self.dtype == np.float32:
                copy_rows[float](values, rows, n_threads)
            else:
                copy_rows[double](values, rows, n_threads)
            return rows
        tiles = reused(
            self._memory, name, (task.n_outputs, padded_to(task.products.lanes, X.depth)),
            self.dtype)
        task.products.pack(
            task.n_outputs, X.n_features, X.depth, <const double*> address(values.base),
            1 if task.by_output else task.n_outputs, X.n_features if task.by_output else 1,
            <void*> address(tiles))
        return tiles

    cdef pad_intercept(self, str name, const Pass* task, intercept):
        """Intercepts with zeros up to the width of a row; None for None."""
        if intercept is None:
            return None
        row = reused(self._memory, name, (task.width,), self.dtype)
        row[:task.n_outputs] = intercept
        return row

    cdef desks(self, const Pass* task, Py_ssize_t n_threads):
        """(buffers, scratches, rooms): what each thread works with, a row each."""
        cdef:
            Py_ssize_t itemsize = self.dtype.itemsize
            Py_ssize_t n_matrices = 3 if task.product == HESSIAN_PRODUCT else 2
            Py_ssize_t per_matrix = (task.n_at_once + XENT_MAX_LANES) * task.width
            Py_ssize_t n_numbers = padded_to(ALIGNMENT, task.n_at_once + n_matrices * per_matrix)
            Py_ssize_t n_scratch = padded_to(ALIGNMENT, scratch_bytes(task.n_outputs, itemsize))
            Py_ssize_t room = room_bytes(task.X, task.n_at_once, itemsize)
            Py_ssize_t n_room = padded_to(ALIGNMENT, 1 + room)
        return (
            reused(self._memory, "buffers", (n_threads, n_numbers), self.dtype),
            reused(self._memory, "scratches", (n_threads, n_scratch), np.int8),
            reused(self._memory, "rooms", (n_threads, n_room), np.int8),
        )


cdef copy_rows(const double[:, :] source, floating[:, ::1] to, int n_threads):
    """The first numbers of the first rows of ``to`` = ``source``."""
    cdef Py_ssize_t i, k
    for i in prange(
        source.shape[0], nogil=True, num_threads=n_threads, schedule="static",
        use_threads_if=n_threads > 1 and source.shape[0] * source.shape[1] > 100_000,
    ):
        for k in range(source.shape[1]):
            to[i, k] = <floating> source[i, k]


cdef reused(dict memory, str name, tuple shape, dtype):
    """An array of that shape, aligned, zero when it is new and as it was left when it is not."""
    if name not in memory or memory[name].shape != shape or memory[name].dtype != dtype:
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = np.zeros(n_bytes + ALIGNMENT, dtype=np.uint8)
        begin = padded_to(ALIGNMENT, <size_t> address(raw)) - <Py_ssize_t> <size_t> address(raw)
        memory[name] = raw[begin:begin + n_bytes].view(dtype).reshape(shape)
    return memory[name]


cdef const void* address(array) except? NULL:
    """Where the first number of an array is, NULL for None; of a batch it is asked for four times.
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
    """Threads that are worth starting.

    A dense pass of few multiply-adds is over before a second thread has started; where the cores
    are busy otherwise, waiting for it costs many times the pass.
    """
    cdef const Matrix* X = task.X
    if X.indptr == NULL and <double> X.n_rows * X.depth * task.width < least_work:
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
    for i in range(n):      # without branches, for the compiler to use vectors
        others |= 1 - ((values[i] <= most) & (values[i] >= -most))
    return others == 0


cdef bint score_rows(
    const Pass* task, floating[:, ::1] buffers, char[:, ::1] scratches, char[:, ::1] rooms,
    floating[:, ::1] scores, Py_ssize_t[::1] indices, bint as_logits,
):
    """Scores of all rows, or the indices of their largest logits: whichever is not None.

    Returns whether all logits are finite.
    """
    cdef:
        const Matrix* X = task.X
        Py_ssize_t width = task.width, n_outputs = task.n_outputs
        Py_ssize_t n_blocks = (X.n_rows + task.n_at_once - 1) // task.n_at_once
        Py_ssize_t b, begin, i
        bint as_indices = indices is not None
        Py_ssize_t n_others = 0     # blocks with a logit that is not finite
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
        block_logits[floating](
            task, &block, task.coef, <const floating*> task.intercept, logits, room)
        n_others += not all_finite(block.n_rows * width, logits)
        if as_indices:
            for i in range(block.n_rows):
                indices[begin + i] = index_of_largest(n_outputs, logits + i * width)
        elif as_logits:
            for i in range(block.n_rows):
                memcpy(&scores[begin + i, 0], logits + i * width, n_outputs * sizeof(floating))
        else:
            process_rows[floating](
                task.target, task.product, begin, block.n_rows, logits, padded, NULL, padded,
                NULL, 0, &scores[begin, 0], compact, &scratches[threadid(), 0])
    return n_others == 0
