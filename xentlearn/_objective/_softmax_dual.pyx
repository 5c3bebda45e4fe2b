"""Sweeps of dual coordinate ascent for a softmax over sparse X (``_kernels/softmax_dual_body.h``).

Threads share rows and features by blocks that do not depend on the number of threads, or without an
effect on sums, so that results have the same bits for any number of them.
"""

from cython.parallel cimport prange

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t

import numpy as np
from scipy import sparse

from .._utils.arrays import centred_squares, kernel_array
from .._loss import cpu_target_number


cdef extern from "_kernels/targets.h" nogil:
    int xent_best_target()


cdef extern from "_kernels/softmax_dual.h" nogil:
    enum:
        XENT_SOFTMAX_LINE

    ctypedef struct xent_softmax_rows:
        Py_ssize_t n_rows
        const void* data
        const int32_t* indices
        const int64_t* indptr
        const void* feature_data
        const int32_t* feature_rows
        const int64_t* feature_indptr
        const void* along
        const void* square
        const double* mean
        double mean_square

    ctypedef struct xent_softmax_point:
        Py_ssize_t n_outputs
        Py_ssize_t width
        double scale
        const double* weight
        const int32_t* labels
        double base
        double share
        const void* values
        void* logs
        int32_t* top
        void* others
        void* coef
        void* shift
        void* along
        const void* intercept
        const void* feedback

    ctypedef struct xent_softmax_dual:
        void (*solve)(const xent_softmax_rows*, const xent_softmax_point*, const int32_t*,
                      Py_ssize_t, Py_ssize_t, Py_ssize_t, double, void*, uint8_t*, double*,
                      double*, void*) noexcept nogil
        void (*apply)(const xent_softmax_rows*, const xent_softmax_point*, const int32_t*,
                      Py_ssize_t, const void*, const uint8_t*, int32_t, int32_t) noexcept nogil
        void (*tilt)(const xent_softmax_point*, Py_ssize_t, Py_ssize_t, const void*, int, double*,
                     void*) noexcept nogil
        void (*remake)(const xent_softmax_rows*, const xent_softmax_point*, const double*,
                       Py_ssize_t, Py_ssize_t, const double*, double*, double*, double*,
                       ) noexcept nogil
        void (*look)(const xent_softmax_rows*, const xent_softmax_point*, Py_ssize_t, Py_ssize_t,
                     double*, void*) noexcept nogil

    const xent_softmax_dual* xent_softmax_dual_for(int target, int is_float)


LINE = XENT_SOFTMAX_LINE

cdef enum:
    N_BLOCKS = 64
    BATCH_BLOCK = 32  # rows of a batch that one thread solves in one go

cdef int _cpu_target = xent_best_target()


def use_cpu_target(str name):
    """Use the sweeps for this CPU target, one of ``_loss.available_cpu_targets()``."""
    global _cpu_target
    _cpu_target = cpu_target_number(name)


cdef void* address(array):
    """Address of the first number; NULL if there is none."""
    if array is None or array.size == 0:
        return NULL
    return <void*> <size_t> array.ctypes.data


def zeros(shape, dtype):
    """Zeros that begin at a cache line, as rows of a point have to for speed."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(n_bytes + LINE, dtype=np.uint8)
    begin = -memory.ctypes.data % LINE
    return memory[begin : begin + n_bytes].view(dtype).reshape(shape)


def aligned(array):
    """A copy of an array that begins at a cache line."""
    copy = zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


cdef class SoftmaxRows:
    """Sparse rows, by row and by feature, from which a mean is subtracted implicitly.

    Parameters
    ----------
    X : CSR of shape (n_rows, n_features)
    mean : ndarray of shape (n_features,)
        Any vector; zeros if there is no intercept.
    dtype : dtype, float32 or float64
        Dtype of computations.

    Attributes
    ----------
    square : ndarray of shape (n_rows,)
        ||x - mean||^2.
    """

    cdef xent_softmax_rows rows
    cdef readonly object square
    cdef object dtype, kept, row_blocks, feature_blocks

    def __init__(self, X, mean, dtype):
        by_feature = sparse.csc_array(X)
        mean = np.ascontiguousarray(mean, dtype=np.float64)
        mean_square = mean @ mean
        along, self.square = centred_squares(X, mean)
        self.dtype = np.dtype(dtype)
        self.kept = (
            kernel_array(X.data, dtype), kernel_array(X.indices, np.int32),
            kernel_array(X.indptr, np.int64), kernel_array(by_feature.data, dtype),
            kernel_array(by_feature.indices, np.int32), kernel_array(by_feature.indptr, np.int64),
            along.astype(dtype), self.square.astype(dtype), mean,
        )
        self.rows.n_rows, self.rows.mean_square = X.shape[0], mean_square
        self.rows.data = address(self.kept[0])
        self.rows.indices = <const int32_t*> address(self.kept[1])
        self.rows.indptr = <const int64_t*> address(self.kept[2])
        self.rows.feature_data = address(self.kept[3])
        self.rows.feature_rows = <const int32_t*> address(self.kept[4])
        self.rows.feature_indptr = <const int64_t*> address(self.kept[5])
        self.rows.along, self.rows.square = address(self.kept[6]), address(self.kept[7])
        self.rows.mean = <const double*> address(self.kept[8])
        self.row_blocks = np.linspace(0, X.shape[0], N_BLOCKS + 1).astype(np.int64)
        # about as many entries, and features, in each
        n_features = X.shape[1]
        load = self.kept[5] + np.arange(n_features + 1)
        self.feature_blocks = np.searchsorted(
            load, np.linspace(0, load[n_features], N_BLOCKS + 1))
        self.feature_blocks[N_BLOCKS] = n_features


def order_of(Py_ssize_t n_rows, uint64_t seed):
    """Return a permutation of the rows: a shuffle by splitmix64 (Steele et al., OOPSLA 2014)."""
    cdef:
        int32_t[::1] order = np.arange(n_rows, dtype=np.int32)
        uint64_t state = seed, z
        Py_ssize_t i, j
    with nogil:
        for i in range(n_rows - 1, 0, -1):
            state += <uint64_t> 0x9E3779B97F4A7C15
            z = state
            z = (z ^ (z >> 30)) * <uint64_t> 0xBF58476D1CE4E5B9
            z = (z ^ (z >> 27)) * <uint64_t> 0x94D049BB133111EB
            z = z ^ (z >> 31)
            j = <Py_ssize_t> (((z >> 32) * <uint64_t> (i + 1)) >> 32)  # i < 2^31
            order[i], order[j] = order[j], order[i]
    return np.asarray(order)


cdef class SoftmaxKernel:
    """The kernel's functions for one point; its arrays are changed in place.

    Parameters
    ----------
    X : SoftmaxRows
    n_outputs : int
    scale : float
        Factor of the coefficients: W = -scale sum alpha (x - mean).
    weight : ndarray of shape (n_rows,), float64
    labels : ndarray of shape (n_rows,), int32, or None
    base, share : float
        The target of a row is ``base`` for every class, plus ``share`` for its label.
    values : ndarray of shape (n_rows, width) or None
        The targets, if there are no labels.
    logs : ndarray of shape (n_rows, width)
    top : ndarray of shape (n_rows,), int32
    others : ndarray of shape (n_rows,)
    coef : ndarray of shape (n_features, width)
    shift, along, intercept, feedback : ndarray of shape (width,)
        See ``_kernels/softmax_dual.h``; all arrays without further notice have the dtype of X.
    """

    cdef xent_softmax_point of
    cdef SoftmaxRows X
    cdef object kept, dtype

    def __init__(
        self, SoftmaxRows X, n_outputs, scale, weight, labels, base, share, values, logs, top,
        others, coef, shift, along, intercept, feedback,
    ):
        self.X, self.dtype = X, X.dtype
        self.kept = (
            weight, labels, top, values, logs, others, coef, shift, along, intercept, feedback)
        for array in self.kept[3:]:
            assert array is None or (array.dtype == X.dtype and array.flags.c_contiguous)
        assert weight.dtype == np.float64 and top.dtype == np.int32
        assert labels is None or labels.dtype == np.int32
        self.of = xent_softmax_point(
            n_outputs, logs.shape[1], scale, <const double*> address(weight),
            <const int32_t*> address(labels), base, share, address(values), address(logs),
            <int32_t*> address(top), address(others), address(coef), address(shift),
            address(along), address(intercept), address(feedback))

    cdef const xent_softmax_dual* functions(self):
        return xent_softmax_dual_for(_cpu_target, self.dtype == np.float32)

    def sweep(self, const int32_t[::1] order, Py_ssize_t batch, double least=-1.0, int n_threads=1):
        """Sweep over these rows in this order, in batches (``softmax_dual_body.h``).

        Rows whose gap is less than ``least`` stay as they are.

        Returns
        -------
        met, response : ndarray of shape (3,), (width,)
            See ``softmax_dual.h``.
        """
        cdef:
            const xent_softmax_dual* functions = self.functions()
            Py_ssize_t n_rows = order.shape[0], size = self.of.width * self.dtype.itemsize
            Py_ssize_t n_blocks = (batch + BATCH_BLOCK - 1) // BATCH_BLOCK, n, at, b, begin
            double[:, ::1] response = np.zeros((n_blocks, self.of.width))
            double[:, ::1] met = np.zeros((n_blocks, 8))
            int n_parts = 1
            int32_t part
            uint8_t[::1] moves = np.zeros(batch, dtype=np.uint8)
            char* scratch
            void* changes
        if n_blocks == 1:
            n_threads = 1
        while n_parts < n_threads:
            n_parts *= 2
        # of each block, whole cache lines
        memory, of_batch = zeros((n_blocks, 6, self.of.width), self.dtype), zeros(
            (batch, self.of.width), self.dtype)
        scratch, changes = <char*> address(memory), address(of_batch)
        for at in range(0, n_rows, batch):
            n = min(batch, n_rows - at)
            n_blocks = (n + BATCH_BLOCK - 1) // BATCH_BLOCK
            for b in prange(
                n_blocks, nogil=True, schedule="static", num_threads=n_threads,
                use_threads_if=n_threads > 1,
            ):
                begin = b * BATCH_BLOCK
                functions.solve(
                    &self.X.rows, &self.of, &order[at], begin, min(begin + BATCH_BLOCK, n), n,
                    least, changes, &moves[0], &met[b, 0], &response[b, 0], scratch + 6 * b * size)
            for part in prange(
                n_parts, nogil=True, schedule="static", num_threads=n_threads,
                use_threads_if=n_threads > 1,
            ):
                functions.apply(
                    &self.X.rows, &self.of, &order[at], n, changes, &moves[0], part, n_parts)
        return np.asarray(met)[:, :3].sum(axis=0), np.asarray(response).sum(axis=0)

    def tilt(self, delta, bint commit, int n_threads):
        """Multiply all q by exp(delta) and normalise them; return the sums of weight q."""
        cdef:
            const xent_softmax_dual* functions = self.functions()
            const int64_t[::1] blocks = self.X.row_blocks
            double[:, ::1] sums = np.zeros((N_BLOCKS, self.of.width))
            Py_ssize_t b
            char* scratch
            const void* by
            Py_ssize_t size = self.of.width * self.dtype.itemsize
        memory, delta = zeros((N_BLOCKS, self.of.width), self.dtype), delta.astype(self.dtype)
        scratch, by = <char*> address(memory), address(delta)
        for b in prange(
            N_BLOCKS, nogil=True, schedule="dynamic", num_threads=n_threads,
            use_threads_if=n_threads > 1,
        ):
            functions.tilt(
                &self.of, blocks[b], blocks[b + 1], by, commit, &sums[b, 0], scratch + b * size)
        return np.asarray(sums).sum(axis=0)

    def remake(self, const double[::1] shift, double[:, ::1] W, constant, int n_threads):
        """Compute coef, and W unless that is None, as ``softmax_dual.h`` says.

        Returns coef . mean and W . W, both by class.
        """
        cdef:
            const xent_softmax_dual* functions = self.functions()
            const int64_t[::1] blocks = self.X.feature_blocks
            double[:, :, ::1] sums = np.zeros((N_BLOCKS, 2, self.of.width))
            double[:, ::1] scratch = zeros((N_BLOCKS, 2 * self.of.width), np.float64)
            Py_ssize_t b
            double* out = NULL
            const double* same = <const double*> address(constant)
        if W is not None and W.shape[0]:
            out = &W[0, 0]
        for b in prange(
            N_BLOCKS, nogil=True, schedule="dynamic", num_threads=n_threads,
            use_threads_if=n_threads > 1,
        ):
            functions.remake(
                &self.X.rows, &self.of, same, blocks[b], blocks[b + 1], &shift[0], out,
                &sums[b, 0, 0], &scratch[b, 0])
        return np.asarray(sums).sum(axis=0)

    def look(self, int n_threads):
        """Return the sums over all rows of (weight H(q), weight KL(q, softmax of the logits))."""
        cdef:
            const xent_softmax_dual* functions = self.functions()
            const int64_t[::1] blocks = self.X.row_blocks
            double[:, ::1] sums = np.zeros((N_BLOCKS, 8))
            Py_ssize_t b
            char* scratch
            Py_ssize_t size = 2 * self.of.width * self.dtype.itemsize
        memory = zeros((N_BLOCKS, 2 * self.of.width), self.dtype)
        scratch = <char*> address(memory)
        for b in prange(
            N_BLOCKS, nogil=True, schedule="dynamic", num_threads=n_threads,
            use_threads_if=n_threads > 1,
        ):
            functions.look(
                &self.X.rows, &self.of, blocks[b], blocks[b + 1], &sums[b, 0], scratch + b * size)
        return tuple(np.asarray(sums).sum(axis=0)[:2])
