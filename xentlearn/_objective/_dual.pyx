"""Sweeps of dual coordinate ascent for binary outputs over sparse X (``_kernels/dual_body.h``).

Outputs are processed in lots of OUTPUTS. Each lot is processed by a single thread, so that results
have the same bits for any number of threads.
"""

from cython.parallel cimport prange

from libc.stdint cimport int32_t, int64_t

import numpy as np

from .._utils.arrays import centred_squares, kernel_array
from .._loss import cpu_target_number


cdef extern from "_kernels/targets.h" nogil:
    int xent_best_target()


cdef extern from "_kernels/dual.h" nogil:
    enum:
        XENT_DUAL_OUTPUTS

    ctypedef struct xent_dual_rows:
        Py_ssize_t n_rows
        const void* data
        const int32_t* indices
        const int64_t* indptr
        const double* along
        const double* square
        double mean_square

    ctypedef struct xent_dual_outputs:
        double scale
        const double* weight
        int by_row
        void* logits
        void* coef
        double* exact
        double* shift
        double* along
        const double* intercept
        const double* feedback
        double* response
        double* total
        const double* share
        const double* constant
        double* entropy
        double* distance

    ctypedef struct xent_dual:
        double (*sweep)(const xent_dual_rows*, const xent_dual_outputs*, const int32_t*, double,
                        ) noexcept nogil
        void (*remake)(const xent_dual_rows*, const xent_dual_outputs*, int) noexcept nogil
        void (*look)(const xent_dual_rows*, const xent_dual_outputs*, int) noexcept nogil

    const xent_dual* xent_dual_for(int target, int is_float)


OUTPUTS = XENT_DUAL_OUTPUTS

cdef int _cpu_target = xent_best_target()


def use_cpu_target(str name):
    """Use the sweeps for this CPU target, one of ``_loss.available_cpu_targets()``."""
    global _cpu_target
    _cpu_target = cpu_target_number(name)


cdef class DualRows:
    """CSR rows from which a vector, usually their mean, is subtracted implicitly.

    Parameters
    ----------
    X : CSR of shape (n_rows, n_features)
    mean : ndarray of shape (n_features,)
        Any vector; zeros if there is no intercept.
    dtype : dtype, float32 or float64
        Dtype of sweeps.

    Attributes
    ----------
    square : ndarray of shape (n_rows,)
        ||x - mean||^2.
    """

    cdef xent_dual_rows rows
    cdef readonly object dtype, square
    cdef object kept        # keeps alive what `rows` points to

    def __init__(self, X, mean, dtype):
        cdef:
            const int32_t[::1] indices = kernel_array(X.indices, np.int32)
            const int64_t[::1] indptr = kernel_array(X.indptr, np.int64)
            double mean_square = mean @ mean
            const double[::1] along, square
        along, self.square = centred_squares(X, mean)
        square = self.square
        self.dtype = np.dtype(dtype)
        data = kernel_array(X.data, dtype)
        self.kept = data, indices, indptr, along, square
        self.rows = xent_dual_rows(
            along.shape[0], address(data), NULL, &indptr[0], NULL, NULL, mean_square)
        if along.shape[0]:
            self.rows.along, self.rows.square = &along[0], &square[0]
        if indices.shape[0]:
            self.rows.indices = &indices[0]


cdef void* address(array):
    """Address of the first number; NULL if there is none."""
    return <void*> <size_t> array.ctypes.data if array.size else NULL


cdef class DualKernel:
    """The kernel's functions for a point; its arrays are changed in place.

    Parameters
    ----------
    X : DualRows
    scale : float
        Factor of the coefficients: W = -scale sum alpha (x - mean).
    weight : ndarray of shape (n_lots, n_rows, OUTPUTS), or (1, n_rows, 1)
        Weights of the entries; of the second shape if all entries of a row have the same weight.
    logits : ndarray of shape (n_lots, n_rows, OUTPUTS)
        Logits of the predicted probabilities.
    coef : ndarray of shape (n_lots, n_features, OUTPUTS)
        W + shift mean. Like ``logits``, it has the dtype of X.
    shift, along, intercept, feedback : ndarray of shape (n_lots, OUTPUTS)
        -scale sum alpha; coef . mean; the intercepts; and what shift is multiplied by for
        intercepts during sweeps.
    """

    cdef DualRows X
    cdef double scale
    cdef const double[:, :, ::1] weight
    cdef object logits, coef
    cdef double[:, ::1] shift, along
    cdef const double[:, ::1] intercept, feedback

    def __init__(
        self, DualRows X, scale, weight, logits, coef, shift, along, intercept, feedback,
    ):
        for array in (logits, coef):
            assert array.dtype == X.dtype and array.flags.c_contiguous
        self.X, self.scale, self.weight, self.logits, self.coef = X, scale, weight, logits, coef
        self.shift, self.along, self.intercept = shift, along, intercept
        self.feedback = feedback

    cdef xent_dual_outputs lot(self, Py_ssize_t k) noexcept nogil:
        """What all functions need of a lot, without addresses of numbers of the dtype of X."""
        cdef bint by_row = self.weight.shape[2] == 1
        return xent_dual_outputs(
            self.scale, &self.weight[0 if by_row else k, 0, 0], by_row, NULL, NULL, NULL,
            &self.shift[k, 0], &self.along[k, 0], &self.intercept[k, 0],
            &self.feedback[k, 0], NULL, NULL, NULL, NULL, NULL, NULL)

    def sweep(
        self, const int64_t[::1] lots, const int32_t[::1] order, const double[::1] least,
        int n_threads,
    ):
        """Sweep over the rows in this order, for the chosen lots of outputs.

        Parameters
        ----------
        lots : ndarray of int64
            Indices of the lots.
        order : ndarray of int32
            A permutation of the rows.
        least : ndarray of shape (len(lots),)
            Rows with a smaller gap are left as they are.
        n_threads : int

        Returns
        -------
        met : ndarray of shape (len(lots),)
            The sum of the gaps that rows had when the sweep reached them.
        response : ndarray of shape (len(lots), OUTPUTS)
            By about how much the sums of A p change with the intercepts.
        """
        cdef:
            bint is_float = self.X.dtype == np.float32
            const xent_dual* of_target = xent_dual_for(_cpu_target, is_float)
            double[::1] met = np.zeros(lots.shape[0])
            double[:, ::1] response = np.zeros((lots.shape[0], XENT_DUAL_OUTPUTS))
            char* logits = <char*> address(self.logits)
            char* coef = <char*> address(self.coef)
            Py_ssize_t of_logits = self.logits[:1].nbytes, of_coef = self.coef[:1].nbytes
            Py_ssize_t n = lots.shape[0] if logits != NULL and coef != NULL else 0, i
            xent_dual_outputs of
        for i in prange(
            n, nogil=True, schedule="dynamic", num_threads=n_threads, use_threads_if=n_threads > 1,
        ):
            of = self.lot(lots[i])
            of.logits, of.coef = logits + lots[i] * of_logits, coef + lots[i] * of_coef
            of.response = &response[i, 0]
            met[i] = of_target.sweep(&self.X.rows, &of, &order[0], least[i])
        return np.asarray(met), np.asarray(response)

    def remake(self, double[:, :, ::1] exact, int n_threads):
        """Subtract scale sum A p x from ``exact``, of the shape of coef; return sums of A p."""
        cdef:
            bint is_float = self.X.dtype == np.float32
            const xent_dual* of_target = xent_dual_for(_cpu_target, False)
            double[:, ::1] total = np.zeros((exact.shape[0], XENT_DUAL_OUTPUTS))
            char* logits = <char*> address(self.logits)
            Py_ssize_t of_logits = self.logits[:1].nbytes
            Py_ssize_t n = exact.shape[0] if logits != NULL and exact.shape[1] else 0, k
            xent_dual_outputs of
        for k in prange(
            n, nogil=True, schedule="dynamic", num_threads=n_threads, use_threads_if=n_threads > 1,
        ):
            of = self.lot(k)
            of.logits, of.exact, of.total = logits + k * of_logits, &exact[k, 0, 0], &total[k, 0]
            of_target.remake(&self.X.rows, &of, is_float)
        return np.asarray(total)

    def look(
        self, double[:, :, ::1] exact, const double[:, ::1] share, const double[:, ::1] constant,
        int n_threads,
    ):
        """Compare the predictions with those of the coefficients, in one pass over the rows.

        Parameters
        ----------
        exact : ndarray of shape (n_lots, n_features, OUTPUTS)
            W + shift mean in float64.
        share, constant : ndarray of shape (n_lots, OUTPUTS)
            They define the mixture q = (1 - share) p + share constant.
        n_threads : int

        Returns
        -------
        entropy : ndarray of shape (n_lots, OUTPUTS)
            Sum over the rows of A H(q), with H(q) = -q log q - (1 - q) log(1 - q).
        distance : ndarray of shape (n_lots, OUTPUTS)
            Sum over the rows of A (log(1 + exp(z)) - p z - H(q)), with z the logit. If q = p, this
            is the sum of A KL(p, sigmoid(z)).
        """
        cdef:
            bint is_float = self.X.dtype == np.float32
            const xent_dual* of_target = xent_dual_for(_cpu_target, False)
            double[:, ::1] entropy = np.zeros((exact.shape[0], XENT_DUAL_OUTPUTS))
            double[:, ::1] distance = np.zeros((exact.shape[0], XENT_DUAL_OUTPUTS))
            char* logits = <char*> address(self.logits)
            Py_ssize_t of_logits = self.logits[:1].nbytes
            Py_ssize_t n = exact.shape[0] if logits != NULL and exact.shape[1] else 0, k
            xent_dual_outputs of
        for k in prange(
            n, nogil=True, schedule="dynamic", num_threads=n_threads, use_threads_if=n_threads > 1,
        ):
            of = self.lot(k)
            of.logits, of.exact = logits + k * of_logits, &exact[k, 0, 0]
            of.share, of.constant = &share[k, 0], &constant[k, 0]
            of.entropy, of.distance = &entropy[k, 0], &distance[k, 0]
            of_target.look(&self.X.rows, &of, is_float)
        return np.asarray(entropy), np.asarray(distance)


def constant_predictions(
    DualRows X, const double[::1] weight, const int64_t[::1] indptr, const int32_t[::1] indices,
    const int64_t[::1] outputs, double factor, const double[:, ::1] each, const double[::1] mean,
    double[:, :, ::1] coef, int n_threads,
):
    """Compute the coefficients that belong to predictions which are the same for all rows.

    ``coef[:, j, k] = factor * sum w x_j - each[:, k] mean_j``, with a sum over the rows in which
    the output is 1: that takes a small share of the time of a pass over all rows.

    Parameters
    ----------
    X : DualRows
    weight : ndarray of shape (n_rows,)
    indptr : ndarray of shape (n_all_outputs + 1,)
    indices : ndarray of int32
        The rows in which output k is 1 are ``indices[indptr[k] : indptr[k + 1]]``.
    outputs : ndarray of int64
        The outputs, as numbers of ``indptr``.
    factor : float
    each : ndarray of shape (n_lots, OUTPUTS)
    mean : ndarray of shape (n_features,)
    coef : ndarray of shape (n_lots, n_features, OUTPUTS)
        Overwritten.
    n_threads : int
    """
    cdef:
        Py_ssize_t n_features = coef.shape[1], lot, n
        bint is_float = X.dtype == np.float32
    for lot in prange(
        coef.shape[0] if n_features else 0, nogil=True, schedule="dynamic",
        num_threads=n_threads, use_threads_if=n_threads > 1,
    ):
        n = min(<Py_ssize_t> XENT_DUAL_OUTPUTS, outputs.shape[0] - lot * XENT_DUAL_OUTPUTS)
        constant_lot(
            &X.rows, n_features, n, &weight[0], &indptr[0], &indices[0],
            &outputs[lot * XENT_DUAL_OUTPUTS], factor, &each[lot, 0], &mean[0], &coef[lot, 0, 0],
            is_float)


cdef void constant_lot(
    const xent_dual_rows* X, Py_ssize_t n_features, Py_ssize_t n, const double* weight,
    const int64_t* indptr, const int32_t* indices, const int64_t* outputs, double factor,
    const double* each, const double* mean, double* coef, bint is_float,
) noexcept nogil:
    cdef:
        Py_ssize_t j, k, at, entry, i
        double w
    for j in range(n_features):
        for k in range(XENT_DUAL_OUTPUTS):
            coef[j * XENT_DUAL_OUTPUTS + k] = -each[k] * mean[j]
    for k in range(n):
        for at in range(indptr[outputs[k]], indptr[outputs[k] + 1]):
            i = indices[at]
            w = factor * weight[i]
            for entry in range(X.indptr[i], X.indptr[i + 1]):
                coef[X.indices[entry] * XENT_DUAL_OUTPUTS + k] += w * (
                    (<const float*> X.data)[entry] if is_float
                    else (<const double*> X.data)[entry])


def weights(
    const double[:, :, ::1] coef, const double[:, ::1] shift, const double[::1] mean,
    const double[:, :, ::1] other, const double[:, ::1] other_shift, double[:, ::1] out,
    double[:, ::1] sums, int n_threads,
):
    """Compute the coefficients w = coef - shift mean of all outputs, and sums of their squares.

    Parameters
    ----------
    coef, other : ndarray of shape (n_lots, n_features, OUTPUTS)
    shift, other_shift : ndarray of shape (n_lots, OUTPUTS)
    mean : ndarray of shape (n_features,)
    out : ndarray of shape (n_features, n_outputs)
        Filled with w.
    sums : ndarray of shape (3, n_outputs)
        Filled with w . w, w . change and change . change, change = other - other_shift mean - w.
    n_threads : int
    """
    cdef:
        Py_ssize_t n_features = coef.shape[1], n_outputs = out.shape[1]
        Py_ssize_t lot, n
    for lot in prange(
        coef.shape[0] if n_features else 0, nogil=True, schedule="static",
        num_threads=n_threads, use_threads_if=n_threads > 1,
    ):
        n = min(<Py_ssize_t> XENT_DUAL_OUTPUTS, n_outputs - lot * XENT_DUAL_OUTPUTS)
        weights_of_lot(
            n_features, n, n_outputs, &coef[lot, 0, 0], &shift[lot, 0], &mean[0],
            &other[lot, 0, 0], &other_shift[lot, 0], &out[0, lot * XENT_DUAL_OUTPUTS],
            &sums[0, lot * XENT_DUAL_OUTPUTS])


cdef void weights_of_lot(
    Py_ssize_t n_features, Py_ssize_t n, Py_ssize_t n_outputs, const double* coef,
    const double* shift, const double* mean, const double* other, const double* other_shift,
    double* out, double* sums,
) noexcept nogil:
    cdef:
        double[XENT_DUAL_OUTPUTS] square, along, of_change
        double w, change
        Py_ssize_t j, k
    for k in range(n):
        square[k] = along[k] = of_change[k] = 0.0
    for j in range(n_features):
        for k in range(n):
            w = coef[j * XENT_DUAL_OUTPUTS + k] - mean[j] * shift[k]
            change = other[j * XENT_DUAL_OUTPUTS + k] - mean[j] * other_shift[k] - w
            out[j * n_outputs + k] = w
            square[k] += w * w
            along[k] += w * change
            of_change[k] += change * change
    for k in range(n):
        sums[k] = square[k]
        sums[n_outputs + k] = along[k]
        sums[2 * n_outputs + k] = of_change[k]
