"""The fused pass: blocks of X -> logits -> rows of the loss -> X^T residual.

X is read once per evaluation, in blocks of rows that stay in the second-level cache; logits and
residuals exist for one block at a time. Two bodies of products exist, dense and CSR
(``_kernels/products_body.h``), each for float32 and float64 on every CPU target; narrower dtypes
are converted to float32 when their block is read. What a row costs is the business of ``_loss``: a
new loss adds nothing here.

The rows are cut into at most N_SLOTS ranges that depend on the shape of the problem alone. A thread
takes a range at a time and adds its gradient up in the range's own float64 totals, which are summed
in order at the end: the same bits for any number of threads.

Coefficients are packed feature by feature, (n_features, width), with the classes padded to whole
vectors; the padding is zero and stays zero.
"""

from cython cimport floating
from cython.parallel cimport prange, threadid

from libc.float cimport DBL_MIN, FLT_MIN
from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy, memset

from ._loss cimport (
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


cdef extern from "_kernels/targets.h" nogil:
    int XENT_N_TARGETS
    const char* xent_target_names[]
    int xent_best_target()


cdef extern from "_kernels/products.h" nogil:
    ctypedef struct xent_products:
        int lanes
        void (*product)(
            Py_ssize_t m, Py_ssize_t width, Py_ssize_t depth,
            const void* a, Py_ssize_t a_row, Py_ssize_t a_column,
            const void* b, void* c) noexcept nogil
        void (*product_to_total)(
            Py_ssize_t m, Py_ssize_t width, Py_ssize_t depth,
            const void* a, Py_ssize_t a_row, Py_ssize_t a_column,
            const void* b, double* total) noexcept nogil
        void (*sparse_product)(
            Py_ssize_t width, Py_ssize_t n_entries, const void* data, const int32_t* indices,
            const void* b, void* c) noexcept nogil
        void (*sparse_product_to_total)(
            Py_ssize_t width, Py_ssize_t n_entries, const void* data, const int32_t* indices,
            const void* r, double* total) noexcept nogil

    const xent_products* xent_products_f32(int target)
    const xent_products* xent_products_f64(int target)


cdef extern from "_kernels/widen.h" nogil:
    cdef enum xent_narrow:
        XENT_UINT8
        XENT_INT8
        XENT_FLOAT16

    ctypedef void (*xent_widen)(
        Py_ssize_t count, const void* source, Py_ssize_t stride, float* to) noexcept nogil

    xent_widen xent_widen_to_f32(xent_narrow dtype, int target)


cdef dict NARROW = {
    np.dtype(np.uint8): XENT_UINT8,
    np.dtype(np.int8): XENT_INT8,
    np.dtype(np.float16): XENT_FLOAT16,
}
DTYPES = (np.dtype(np.float64), np.dtype(np.float32), *NARROW)    # of X, used where it lies

cdef int _target = xent_best_target()
cdef const xent_products* _products_f32 = xent_products_f32(xent_best_target())
cdef const xent_products* _products_f64 = xent_products_f64(xent_best_target())


def use_target(str name):
    """Use the products of one CPU target (``_loss.available_targets()``) from now on."""
    global _target, _products_f32, _products_f64
    _target = [xent_target_names[i].decode() for i in range(XENT_N_TARGETS)].index(name)
    _products_f32 = xent_products_f32(_target)
    _products_f64 = xent_products_f64(_target)


cdef enum:
    N_SLOTS = 16                    # ranges of rows: enough to keep 8 threads evenly busy
    SLOT_BYTES = 64 * 1024 * 1024   # totals of all slots together take no more, if 2 slots fit
    BLOCK_BYTES = 256 * 1024        # of X at a time: a block stays in the second-level cache
    MOST_ROWS = 256                 # and its float32 sums stay short
    MOST_ENTRIES = 4096             # of CSR that are converted at a time


cdef struct Matrix:
    Py_ssize_t n_rows
    Py_ssize_t n_features
    Py_ssize_t itemsize         # of the numbers as they are stored
    xent_widen widen            # what makes float32 of them; NULL: nothing to convert
    const void* data
    Py_ssize_t row              # dense: strides, counted in numbers
    Py_ssize_t column
    const int64_t* indptr       # CSR; NULL for a dense X
    const void* indices
    bint long_indices           # 64-bit ones


cdef inline const xent_products* products_for(const floating* dtype) noexcept nogil:
    return _products_f32 if floating is float else _products_f64


cdef Py_ssize_t room_to_convert(const Matrix* X, Py_ssize_t n_at_once) noexcept nogil:
    """Numbers of 4 bytes that ``block_of`` and ``entries_of`` need, per thread."""
    if X.indptr != NULL:
        return 2 * MOST_ENTRIES if X.widen != NULL or X.long_indices else 0
    return n_at_once * X.n_features if X.widen != NULL else 0


cdef Matrix block_of(
    const Matrix* X, Py_ssize_t first, Py_ssize_t n_rows, float* room,
) noexcept nogil:
    """Rows of X as a matrix of their own; dense ones in a dtype that the products read."""
    cdef:
        Matrix block = X[0]
        const char* data = <const char*> X.data + first * X.row * X.itemsize
        Py_ssize_t i
    block.n_rows = n_rows
    if X.indptr != NULL:
        block.indptr = X.indptr + first
        return block
    block.data = data
    if X.widen == NULL:
        return block
    block.data = room
    block.widen = NULL
    if X.column <= X.row:       # along what lies closer together
        block.row, block.column = X.n_features, 1
        for i in range(n_rows):
            X.widen(
                X.n_features, data + i * X.row * X.itemsize, X.column, room + i * X.n_features)
    else:
        block.row, block.column = 1, n_rows
        for i in range(X.n_features):
            X.widen(n_rows, data + i * X.column * X.itemsize, X.row, room + i * n_rows)
    return block


cdef Py_ssize_t entries_of(
    const Matrix* X, Py_ssize_t begin, Py_ssize_t end, float* room,
    const void** data, const int32_t** indices,
) noexcept nogil:
    """Point to the CSR entries from ``begin`` on; how many: to ``end``, or as many as fit."""
    cdef:
        Py_ssize_t count = end - begin
        int32_t* short_indices = <int32_t*> room + MOST_ENTRIES
        Py_ssize_t i
    if X.widen != NULL or X.long_indices:
        count = min(count, <Py_ssize_t> MOST_ENTRIES)
    data[0] = <const char*> X.data + begin * X.itemsize
    indices[0] = <const int32_t*> X.indices + begin
    if X.widen != NULL:
        X.widen(count, data[0], 1, room)
        data[0] = room
    if X.long_indices:
        for i in range(count):
            short_indices[i] = <int32_t> (<const int64_t*> X.indices)[begin + i]
        indices[0] = short_indices
    return count


cdef void product_block(
    const Matrix* X, Py_ssize_t width, const floating* coef, const floating* intercept,
    floating* logits, float* room,
) noexcept nogil:
    """logits = X coef + intercept."""
    cdef:
        const xent_products* products = products_for(coef)
        const void* data = NULL
        const int32_t* indices = NULL
        Py_ssize_t i, at, count
    for i in range(X.n_rows):
        memcpy(logits + i * width, intercept, width * sizeof(floating))
    if X.indptr == NULL:
        products.product(X.n_rows, width, X.n_features, X.data, X.row, X.column, coef, logits)
        return
    for i in range(X.n_rows):
        at = X.indptr[i]
        while at < X.indptr[i + 1]:
            count = entries_of(X, at, X.indptr[i + 1], room, &data, &indices)
            products.sparse_product(width, count, data, indices, coef, logits + i * width)
            at += count


cdef void transposed_product_block(
    const Matrix* X, Py_ssize_t width, floating* residual,
    double* coef_total, double* intercept_total, float* room,
) noexcept nogil:
    """coef_total += X^T residual; intercept_total += 1^T residual.

    Subnormal residuals, of rows that are all but certain, are set to 0: each of their products
    would take a processor a hundred times as long, and no sum of theirs reaches a rounding error of
    a gradient that matters.
    """
    cdef:
        const xent_products* products = products_for(residual)
        const void* data = NULL
        const int32_t* indices = NULL
        floating tiny = FLT_MIN if floating is float else DBL_MIN
        Py_ssize_t i, k, at, count
    for i in range(X.n_rows * width):
        residual[i] = residual[i] if fabs(residual[i]) >= tiny else 0
    for i in range(X.n_rows):
        for k in range(width):
            intercept_total[k] += residual[i * width + k]
    if X.indptr == NULL:
        products.product_to_total(
            X.n_features, width, X.n_rows, X.data, X.column, X.row, residual, coef_total)
        return
    for i in range(X.n_rows):
        at = X.indptr[i]
        while at < X.indptr[i + 1]:
            count = entries_of(X, at, X.indptr[i + 1], room, &data, &indices)
            products.sparse_product_to_total(
                width, count, data, indices, residual + i * width, coef_total)
            at += count


cdef double pass_over_rows(
    const Matrix* X, const TargetRows* target, Product product,
    Py_ssize_t first, Py_ssize_t n_rows, Py_ssize_t n_at_once, Py_ssize_t width,
    const floating* coef, const floating* intercept,
    const floating* coef_direction, const floating* intercept_direction,
    double* coef_total, double* intercept_total, floating* buffer, char* row_scratch, float* room,
) noexcept nogil:
    """One range of rows, block by block; returns the sum of their losses.

    ``buffer`` holds n_at_once losses and three blocks (n_at_once, width), with room for
    XENT_MAX_LANES rows more; its padding is zero.
    """
    cdef:
        floating* loss = buffer
        floating* logits = buffer + n_at_once
        floating* direction = logits + n_at_once * width
        floating* residual = direction + n_at_once * width
        bint second_order = product == HESSIAN_PRODUCT
        double total = 0.0
        Py_ssize_t b, begin, n, i
        Matrix block
        Layout padded = layout_of(width, 1)
    padded.padded = True
    for b in range((n_rows + n_at_once - 1) // n_at_once):
        begin = first + b * n_at_once
        n = min(n_at_once, first + n_rows - begin)
        block = block_of(X, begin, n, room)
        product_block(&block, width, coef, intercept, logits, room)
        if second_order:
            product_block(&block, width, coef_direction, intercept_direction, direction, room)
        process_rows(
            target, product, begin, n, logits, padded,
            direction if second_order else NULL, padded,
            NULL if second_order else loss, 1, residual, padded, row_scratch)
        if not second_order:
            for i in range(n):
                total += loss[i]
        transposed_product_block(&block, width, residual, coef_total, intercept_total, room)
    return total


cdef class DesignMatrix:
    """X as the pass reads it.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
        float32, float64, or narrower: uint8, int8, float16. Used where it lies: dense of any
        strides that are multiples of the item size, CSR with 32- or 64-bit indices. Finite.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : dtype
        What is computed in: float64 for float64, else float32.
    """

    cdef Matrix matrix
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_features
    cdef readonly object dtype
    cdef tuple _arrays      # keeps alive what `matrix` points to

    def __init__(self, X):
        self.n_rows, self.n_features = X.shape
        self.dtype = np.dtype(np.float64 if X.dtype == np.float64 else np.float32)
        assert X.dtype in DTYPES
        memset(&self.matrix, 0, sizeof(self.matrix))
        self.matrix.n_rows, self.matrix.n_features = X.shape
        self.matrix.itemsize = X.dtype.itemsize
        if X.dtype in NARROW:
            self.matrix.widen = xent_widen_to_f32(<xent_narrow> <int> NARROW[X.dtype], _target)
        if sparse.issparse(X):
            arrays = (
                np.ascontiguousarray(X.data),
                np.ascontiguousarray(X.indices),
                np.ascontiguousarray(X.indptr, dtype=np.int64),
            )
            self.matrix.indices = address(arrays[1])
            self.matrix.long_indices = arrays[1].dtype.itemsize == 8
            self.matrix.indptr = <const int64_t*> address(arrays[2])
        else:
            if any(stride % X.itemsize for stride in X.strides) or not X.flags.aligned:
                X = np.ascontiguousarray(X)
            arrays = (X,)
            self.matrix.row, self.matrix.column = [s // X.itemsize for s in X.strides]
        self.matrix.data = address(arrays[0])
        self._arrays = arrays

    def loss_gradient(self, EncodedTarget target, coef, intercept, int n_threads):
        """Sum of the weighted losses of all rows, and its gradient.

        Parameters
        ----------
        target : EncodedTarget
            Of the same rows, in the dtype of X.
        coef : ndarray of shape (n_features, n_outputs), float64
        intercept : ndarray of shape (n_outputs,), float64
        n_threads : int

        Returns
        -------
        loss : float
        coef_gradient : ndarray of shape (n_features, n_outputs), float64
        intercept_gradient : ndarray of shape (n_outputs,), float64
        """
        return self.evaluate(target, LOSS_GRADIENT, coef, intercept, None, None, n_threads)

    def hessian_product(
        self, EncodedTarget target, coef, intercept, coef_direction, intercept_direction,
        int n_threads,
    ):
        """Hessian of the sum of losses at ``coef``, ``intercept`` times a direction.

        Shapes as in ``loss_gradient``; returns (coef_product, intercept_product).
        """
        return self.evaluate(
            target, HESSIAN_PRODUCT, coef, intercept, coef_direction, intercept_direction,
            n_threads)[1:]

    cdef evaluate(
        self, EncodedTarget target, Product product, coef, intercept, coef_direction,
        intercept_direction, int n_threads,
    ):
        assert target.n_rows == self.n_rows and target.dtype == self.dtype
        if self.dtype == np.float32:
            return evaluate_slots[float](
                &self.matrix, &target.rows, product, pack(coef, np.float32),
                pack(intercept, np.float32), pack(coef_direction, np.float32),
                pack(intercept_direction, np.float32), n_threads)
        return evaluate_slots[double](
            &self.matrix, &target.rows, product, pack(coef, np.float64),
            pack(intercept, np.float64), pack(coef_direction, np.float64),
            pack(intercept_direction, np.float64), n_threads)

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
        if self.dtype == np.float32:
            fill_scores[float](
                &self.matrix, pack(coef, np.float32), pack(intercept, np.float32),
                coef.shape[1], scores, indices, kind, n_threads)
        else:
            fill_scores[double](
                &self.matrix, pack(coef, np.float64), pack(intercept, np.float64),
                coef.shape[1], scores, indices, kind, n_threads)


cdef const void* address(array):
    return <const void*> <size_t> array.__array_interface__["data"][0]


cdef pack(array, dtype):
    """Coefficients in the dtype of the pass, columns padded with zeros to whole vectors."""
    if array is None:
        return None
    lanes = _products_f32.lanes if dtype == np.float32 else _products_f64.lanes
    *leading, n_outputs = array.shape
    packed = np.zeros((*leading, -(-n_outputs // lanes) * lanes), dtype=dtype)
    packed[..., :n_outputs] = array
    return packed


cdef Py_ssize_t rows_at_once(const Matrix* X, Py_ssize_t itemsize) noexcept nogil:
    """Rows per block: whole panels of 8 rows."""
    if X.indptr != NULL:
        return MOST_ROWS
    return max(8, min(MOST_ROWS, BLOCK_BYTES // (itemsize * max(1, X.n_features)) // 8 * 8))


cdef int useful_threads(
    const Matrix* X, Py_ssize_t width, Py_ssize_t n_parts, int n_threads,
) noexcept nogil:
    """Threads that are worth starting for a pass of ``n_parts`` parts.

    A dense pass of few multiply-adds is over before a second thread has started; where the cores
    are busy otherwise, waiting for it costs many times the pass.
    """
    if X.indptr == NULL and <double> X.n_rows * X.n_features * width < 1e7:
        return 1
    return <int> max(1, min(<Py_ssize_t> n_threads, n_parts))


cdef evaluate_slots(
    const Matrix* X, const TargetRows* target, Product product,
    const floating[:, ::1] coef, const floating[::1] intercept,
    const floating[:, ::1] coef_direction, const floating[::1] intercept_direction,
    int n_threads,
):
    """(loss, coef result, intercept result), summed over the slots in order."""
    cdef:
        Py_ssize_t n_features = X.n_features, width = intercept.shape[0]
        Py_ssize_t n_at_once = rows_at_once(X, sizeof(floating))
        Py_ssize_t n_blocks = (X.n_rows + n_at_once - 1) // n_at_once
        Py_ssize_t most_slots = max(2, SLOT_BYTES // (8 * max(1, n_features * width)))
        Py_ssize_t n_slots = max(1, min(n_blocks, min(<Py_ssize_t> N_SLOTS, most_slots)))
        Py_ssize_t blocks_per_slot = (n_blocks + n_slots - 1) // n_slots
        Py_ssize_t per_buffer = (3 * width + 1) * n_at_once + XENT_MAX_LANES * width
        Py_ssize_t per_scratch = scratch_bytes(target.n_outputs, sizeof(floating))
        Py_ssize_t slot, first, last, thread
        double[:, :, ::1] coef_totals
        double[:, ::1] intercept_totals = np.zeros((n_slots, width))
        double[::1] losses = np.zeros(n_slots)
        const floating* coef_at = NULL
        const floating* coef_direction_at = NULL
        const floating* intercept_direction_at = NULL
        Py_ssize_t per_room = room_to_convert(X, n_at_once)
        floating[:, ::1] buffers
        char[:, ::1] scratches
        float[:, ::1] rooms

    n_threads = useful_threads(X, width, n_slots, n_threads)
    dtype = np.float32 if floating is float else np.float64
    # one number more than there are keeps the addresses below valid when there are no features
    coef_totals = np.zeros((n_slots, max(1, n_features), width))
    buffers = np.zeros((n_threads, per_buffer), dtype=dtype)
    scratches = np.zeros((n_threads, per_scratch), dtype="S1")
    rooms = np.empty((n_threads, max(1, per_room)), dtype=np.float32)
    if n_features:
        coef_at = &coef[0, 0]
    if coef_direction is not None:
        coef_direction_at = &coef_direction[0, 0] if n_features else NULL
        intercept_direction_at = &intercept_direction[0]

    for slot in prange(
        n_slots, nogil=True, schedule="dynamic", chunksize=1, num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        first = slot * blocks_per_slot * n_at_once
        last = min(X.n_rows, first + blocks_per_slot * n_at_once)
        thread = threadid()
        if first < last:
            losses[slot] = pass_over_rows[floating](
                X, target, product, first, last - first, n_at_once, width,
                coef_at, &intercept[0], coef_direction_at, intercept_direction_at,
                &coef_totals[slot, 0, 0], &intercept_totals[slot, 0],
                &buffers[thread, 0], &scratches[thread, 0], &rooms[thread, 0])

    loss = 0.0
    for slot in range(n_slots):
        loss += losses[slot]
    coef_total, intercept_total = np.asarray(coef_totals), np.asarray(intercept_totals)
    for slot in range(1, n_slots):
        coef_total[0] += coef_total[slot]
        intercept_total[0] += intercept_total[slot]
    n_outputs = target.n_outputs
    return (
        loss,
        np.ascontiguousarray(coef_total[0, :n_features, :n_outputs]),
        intercept_total[0, :n_outputs].copy(),
    )


cdef inline Py_ssize_t index_of_largest(Py_ssize_t n, const floating* values) noexcept nogil:
    cdef Py_ssize_t k, largest = 0
    for k in range(1, n):
        if values[k] > values[largest]:
            largest = k
    return largest


cdef fill_scores(
    const Matrix* X, const floating[:, ::1] coef, const floating[::1] intercept,
    Py_ssize_t n_outputs, floating[:, ::1] scores, Py_ssize_t[::1] indices, str kind,
    int n_threads,
):
    """Scores of all rows, or the indices of their largest logits: whichever is not None."""
    cdef:
        Py_ssize_t width = intercept.shape[0]
        Py_ssize_t n_at_once = rows_at_once(X, sizeof(floating))
        Py_ssize_t n_blocks = (X.n_rows + n_at_once - 1) // n_at_once
        Py_ssize_t per_scratch = scratch_bytes(n_outputs, sizeof(floating))
        Py_ssize_t b, begin, n, i
        bint as_indices = indices is not None, as_logits = kind == "logits"
        Product product = LOG_PROBA if kind.startswith("log_") else PROBA
        const floating* coef_at = NULL
        Py_ssize_t per_room = room_to_convert(X, n_at_once)
        floating[:, ::1] buffers
        char[:, ::1] scratches
        float[:, ::1] rooms
        floating* logits
        float* room
        Matrix block
        TargetRows target
        Layout padded = layout_of(width, 1), compact = layout_of(n_outputs, 1)

    if X.n_rows == 0 or n_outputs == 0:
        return
    memset(&target, 0, sizeof(target))
    target.kind = BINARY if kind.endswith("sigmoid") else SPARSE_CATEGORICAL
    target.n_outputs = n_outputs
    padded.padded = True
    n_threads = useful_threads(X, width, n_blocks, n_threads)
    buffers = np.empty(
        (n_threads, (n_at_once + XENT_MAX_LANES) * width),
        np.float32 if floating is float else float)
    scratches = np.zeros((n_threads, per_scratch), dtype="S1")
    rooms = np.empty((n_threads, max(1, per_room)), dtype=np.float32)
    if X.n_features:
        coef_at = &coef[0, 0]
    for b in prange(
        n_blocks, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        begin = b * n_at_once
        n = min(n_at_once, X.n_rows - begin)
        logits = &buffers[threadid(), 0]
        room = &rooms[threadid(), 0]
        block = block_of(X, begin, n, room)
        product_block[floating](&block, width, coef_at, &intercept[0], logits, room)
        if as_indices:
            for i in range(n):
                indices[begin + i] = index_of_largest(n_outputs, logits + i * width)
        elif as_logits:
            for i in range(n):
                memcpy(&scores[begin + i, 0], logits + i * width, n_outputs * sizeof(floating))
        else:
            process_rows[floating](
                &target, product, begin, n, logits, padded, NULL, padded, NULL, 0,
                &scores[begin, 0], compact, &scratches[threadid(), 0])
