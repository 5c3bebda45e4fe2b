"""The fused pass: blocks of X -> logits -> rows of the loss -> X^T residual.

X is read once per evaluation, in blocks of rows that stay in the second-level cache; logits and
residuals exist for one block at a time. Two bodies of products exist, dense and CSR
(``_kernels/products_body.h``), each for float32 and float64 on every CPU target. What a row costs
is the business of ``_loss``: a new loss adds nothing here.

The rows are cut into at most N_SLOTS ranges that depend on the shape of the problem alone. A thread
takes a range at a time and adds its gradient up in the range's own float64 totals, which are summed
in order at the end: the same bits for any number of threads.

Coefficients are packed feature by feature, (n_features, width), with the classes padded to whole
vectors; the padding is zero and stays zero.
"""

from cython cimport floating
from cython.parallel cimport prange, threadid

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


cdef const xent_products* _products_f32 = xent_products_f32(xent_best_target())
cdef const xent_products* _products_f64 = xent_products_f64(xent_best_target())


def use_target(str name):
    """Use the products of one CPU target (``_loss.available_targets()``) from now on."""
    global _products_f32, _products_f64
    target = [xent_target_names[i].decode() for i in range(XENT_N_TARGETS)].index(name)
    _products_f32 = xent_products_f32(target)
    _products_f64 = xent_products_f64(target)


cdef enum:
    N_SLOTS = 16                    # ranges of rows: enough to keep 8 threads evenly busy
    SLOT_BYTES = 64 * 1024 * 1024   # totals of all slots together take no more, if 2 slots fit
    BLOCK_BYTES = 256 * 1024        # of X at a time: a block stays in the second-level cache
    MOST_ROWS = 256                 # and its float32 sums stay short


cdef struct Matrix:
    Py_ssize_t n_rows
    Py_ssize_t n_features
    Py_ssize_t row              # strides of a dense X, counted in numbers
    Py_ssize_t column
    const void* data
    const int32_t* indices      # CSR; NULL for a dense X
    const int64_t* indptr


cdef inline const xent_products* products_for(const floating* dtype) noexcept nogil:
    return _products_f32 if floating is float else _products_f64


cdef void product_block(
    const Matrix* X, Py_ssize_t first, Py_ssize_t n_rows, Py_ssize_t width,
    const floating* coef, const floating* intercept, floating* logits,
) noexcept nogil:
    """logits = X[first : first + n_rows] coef + intercept."""
    cdef:
        const xent_products* products = products_for(coef)
        const floating* data = <const floating*> X.data
        Py_ssize_t i
    for i in range(n_rows):
        memcpy(logits + i * width, intercept, width * sizeof(floating))
    if X.indices == NULL:
        products.product(
            n_rows, width, X.n_features, data + first * X.row, X.row, X.column, coef, logits)
    else:
        for i in range(n_rows):
            products.sparse_product(
                width, X.indptr[first + i + 1] - X.indptr[first + i],
                data + X.indptr[first + i], X.indices + X.indptr[first + i],
                coef, logits + i * width)


cdef void transposed_product_block(
    const Matrix* X, Py_ssize_t first, Py_ssize_t n_rows, Py_ssize_t width,
    const floating* residual, double* coef_total, double* intercept_total,
) noexcept nogil:
    """coef_total += X[first : first + n_rows]^T residual; intercept_total += 1^T residual."""
    cdef:
        const xent_products* products = products_for(residual)
        const floating* data = <const floating*> X.data
        Py_ssize_t i, k
    for i in range(n_rows):
        for k in range(width):
            intercept_total[k] += residual[i * width + k]
    if X.indices == NULL:
        products.product_to_total(
            X.n_features, width, n_rows, data + first * X.row, X.column, X.row,
            residual, coef_total)
    else:
        for i in range(n_rows):
            products.sparse_product_to_total(
                width, X.indptr[first + i + 1] - X.indptr[first + i],
                data + X.indptr[first + i], X.indices + X.indptr[first + i],
                residual + i * width, coef_total)


cdef double pass_over_rows(
    const Matrix* X, const TargetRows* target, Product product,
    Py_ssize_t first, Py_ssize_t n_rows, Py_ssize_t n_at_once, Py_ssize_t width,
    const floating* coef, const floating* intercept,
    const floating* coef_direction, const floating* intercept_direction,
    double* coef_total, double* intercept_total, floating* buffer, char* row_scratch,
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
        Layout padded = layout_of(width, 1)
    padded.padded = True
    for b in range((n_rows + n_at_once - 1) // n_at_once):
        begin = first + b * n_at_once
        n = min(n_at_once, first + n_rows - begin)
        product_block(X, begin, n, width, coef, intercept, logits)
        if second_order:
            product_block(
                X, begin, n, width, coef_direction, intercept_direction, direction)
        process_rows(
            target, product, begin, n, logits, padded,
            direction if second_order else NULL, padded,
            NULL if second_order else loss, 1, residual, padded, row_scratch)
        if not second_order:
            for i in range(n):
                total += loss[i]
        transposed_product_block(
            X, begin, n, width, residual, coef_total, intercept_total)
    return total


cdef class DesignMatrix:
    """X as the pass reads it.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features), float32 or float64
        Dense: any strides that are multiples of the item size. CSR: without further demands;
        64-bit column indices are copied to 32 bits.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : dtype
    """

    cdef Matrix matrix
    cdef readonly Py_ssize_t n_rows
    cdef readonly Py_ssize_t n_features
    cdef readonly object dtype
    cdef tuple _arrays      # keeps alive what `matrix` points to

    def __init__(self, X):
        self.n_rows, self.n_features = X.shape
        self.dtype = np.dtype(X.dtype)
        assert self.dtype in (np.float32, np.float64)
        self.matrix.n_rows, self.matrix.n_features = X.shape
        if sparse.issparse(X):
            arrays = (
                np.ascontiguousarray(X.data),
                np.ascontiguousarray(X.indices, dtype=np.int32),
                np.ascontiguousarray(X.indptr, dtype=np.int64),
            )
            self.matrix.indices = <const int32_t*> address(arrays[1])
            self.matrix.indptr = <const int64_t*> address(arrays[2])
        else:
            if any(stride % X.itemsize for stride in X.strides) or not X.flags.aligned:
                X = np.ascontiguousarray(X)
            arrays = (X,)
            self.matrix.indices = NULL
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
        if self.dtype == np.float32:
            fill_scores[float](
                &self.matrix, pack(coef, np.float32), pack(intercept, np.float32),
                scores_out, kind, n_threads)
        else:
            fill_scores[double](
                &self.matrix, pack(coef, np.float64), pack(intercept, np.float64),
                scores_out, kind, n_threads)


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
    if X.indices != NULL:
        return MOST_ROWS
    return max(8, min(MOST_ROWS, BLOCK_BYTES // (itemsize * max(1, X.n_features)) // 8 * 8))


cdef int useful_threads(
    const Matrix* X, Py_ssize_t width, Py_ssize_t n_parts, int n_threads,
) noexcept nogil:
    """Threads that are worth starting for a pass of ``n_parts`` parts.

    A dense pass of few multiply-adds is over before a second thread has started; where the cores
    are busy otherwise, waiting for it costs many times the pass.
    """
    if X.indices == NULL and <double> X.n_rows * X.n_features * width < 1e7:
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
        floating[:, ::1] buffers
        char[:, ::1] scratches

    n_threads = useful_threads(X, width, n_slots, n_threads)
    dtype = np.float32 if floating is float else np.float64
    # one number more than there are keeps the addresses below valid when there are no features
    coef_totals = np.zeros((n_slots, max(1, n_features), width))
    buffers = np.zeros((n_threads, per_buffer), dtype=dtype)
    scratches = np.zeros((n_threads, per_scratch), dtype="S1")
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
                &buffers[thread, 0], &scratches[thread, 0])

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


cdef fill_scores(
    const Matrix* X, const floating[:, ::1] coef, const floating[::1] intercept,
    floating[:, ::1] scores, str kind, int n_threads,
):
    cdef:
        Py_ssize_t n_outputs = scores.shape[1], width = intercept.shape[0]
        Py_ssize_t n_at_once = rows_at_once(X, sizeof(floating))
        Py_ssize_t n_blocks = (X.n_rows + n_at_once - 1) // n_at_once
        Py_ssize_t per_scratch = scratch_bytes(n_outputs, sizeof(floating))
        Py_ssize_t b, begin, n, i
        bint as_logits = kind == "logits"
        Product product = LOG_PROBA if kind.startswith("log_") else PROBA
        const floating* coef_at = NULL
        floating[:, ::1] buffers
        char[:, ::1] scratches
        floating* logits
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
    if X.n_features:
        coef_at = &coef[0, 0]
    for b in prange(
        n_blocks, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        begin = b * n_at_once
        n = min(n_at_once, X.n_rows - begin)
        logits = &buffers[threadid(), 0]
        product_block[floating](X, begin, n, width, coef_at, &intercept[0], logits)
        if as_logits:
            for i in range(n):
                memcpy(&scores[begin + i, 0], logits + i * width, n_outputs * sizeof(floating))
        else:
            process_rows[floating](
                &target, product, begin, n, logits, padded, NULL, padded, NULL, 0,
                &scores[begin, 0], compact, &scratches[threadid(), 0])
