"""Sweeps of dual coordinate ascent for binary outputs over sparse X (``_kernels/dual_body.h``).

Outputs are processed in lots of OUTPUTS. Each lot is processed by a single thread, so that results
have the same bits for any number of threads.
"""

from cython.parallel cimport prange

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

import numpy as np
from sklearn.utils.extmath import row_norms

from .._utils.arrays import kernel_array
from .._loss import cpu_target_number


cdef extern from "_kernels/targets.h" nogil:
    int xent_best_target()


cdef extern from "_kernels/dual.h" nogil:
    enum:
        XENT_DUAL_OUTPUTS

    ctypedef struct xent_dual_rows:
        Py_ssize_t n_rows
        const double* data
        const int32_t* indices
        const int64_t* indptr
        const double* along
        const double* square
        double mean_square

    ctypedef struct xent_dual_outputs:
        double scale
        const double* weight
        int by_row
        double* p
        double* coef
        double* shift
        double* along
        const double* intercept
        double* gain
        double* curvature
        const double* share
        const double* constant
        double* entropy
        double* distance

    ctypedef struct xent_dual:
        void (*sweep)(const xent_dual_rows*, const xent_dual_outputs*) noexcept nogil
        void (*look)(const xent_dual_rows*, const xent_dual_outputs*) noexcept nogil

    const xent_dual* xent_dual_for(int target)


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
    """

    cdef xent_dual_rows rows
    cdef object kept        # keeps alive what `rows` points to

    def __init__(self, X, mean):
        cdef:
            const double[::1] data = kernel_array(X.data, np.float64)
            const int32_t[::1] indices = kernel_array(X.indices, np.int32)
            const int64_t[::1] indptr = kernel_array(X.indptr, np.int64)
            const double[::1] along = np.ascontiguousarray(X @ mean, dtype=np.float64)
            double mean_square = mean @ mean
            # rounding errors may make it negative
            const double[::1] square = np.maximum(
                row_norms(X, squared=True) - 2.0 * np.asarray(along) + mean_square, 0.0)
        self.kept = data, indices, indptr, along, square
        self.rows = xent_dual_rows(
            along.shape[0], NULL, NULL, &indptr[0], NULL, NULL, mean_square)
        if along.shape[0]:
            self.rows.along, self.rows.square = &along[0], &square[0]
        if data.shape[0]:
            self.rows.data, self.rows.indices = &data[0], &indices[0]


def run(
    str what, DualRows X, const int64_t[::1] lots, double scale, const double[:, :, ::1] weight,
    double[:, :, ::1] p, double[:, :, ::1] coef, double[:, ::1] shift, double[:, ::1] along,
    const double[:, ::1] intercept, double[:, ::1] gain, double[:, ::1] curvature,
    const double[:, ::1] share, const double[:, ::1] constant, double[:, ::1] entropy,
    double[:, ::1] distance, int n_threads,
):
    """Run a sweep over the rows, or evaluate them ("look"), for the chosen lots of outputs.

    Parameters
    ----------
    what : {"sweep", "look"}
    X : DualRows
    lots : ndarray of int64
        Indices of the lots to process.
    scale : float
        Factor of the coefficients: W = -scale sum alpha (x - mean).
    weight : ndarray of shape (n_lots, n_rows, OUTPUTS), or (1, n_rows, 1)
        Weights of the entries; of the second shape if all entries of a row have the same weight.
    p : ndarray of shape (n_lots, n_rows, OUTPUTS)
        Predicted probabilities; changed by a sweep, together with coef, shift and along.
    coef : ndarray of shape (n_lots, n_features, OUTPUTS)
        W + shift mean.
    shift, along, intercept : ndarray of shape (n_lots, OUTPUTS)
        -scale sum alpha; coef . mean; and the intercepts.
    share, constant : ndarray of shape (n_lots, OUTPUTS)
        For "look", the mixture q = (1 - share) p + share constant.
    gain, curvature, entropy, distance : ndarray of shape (n_lots, OUTPUTS)
        Results: "sweep" fills the first two, "look" the others (``_kernels/dual.h``).
    n_threads : int
    """
    cdef:
        const xent_dual* of_target = xent_dual_for(_cpu_target)
        bint sweeps = what == "sweep", by_row = weight.shape[2] == 1
        Py_ssize_t n = lots.shape[0] if X.rows.n_rows and coef.shape[1] else 0
        Py_ssize_t i
        int64_t k
        xent_dual_outputs of
    for i in prange(
        n, nogil=True, schedule="dynamic", num_threads=n_threads, use_threads_if=n_threads > 1,
    ):
        k = lots[i]
        of = xent_dual_outputs(
            scale, &weight[0 if by_row else k, 0, 0], by_row, &p[k, 0, 0], &coef[k, 0, 0],
            &shift[k, 0], &along[k, 0], &intercept[k, 0], &gain[k, 0], &curvature[k, 0],
            &share[k, 0], &constant[k, 0], &entropy[k, 0], &distance[k, 0])
        if sweeps:
            of_target.sweep(&X.rows, &of)
        else:
            of_target.look(&X.rows, &of)


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
    for lot in prange(
        coef.shape[0] if n_features else 0, nogil=True, schedule="dynamic",
        num_threads=n_threads, use_threads_if=n_threads > 1,
    ):
        n = min(<Py_ssize_t> XENT_DUAL_OUTPUTS, outputs.shape[0] - lot * XENT_DUAL_OUTPUTS)
        constant_lot(
            &X.rows, n_features, n, &weight[0], &indptr[0], &indices[0],
            &outputs[lot * XENT_DUAL_OUTPUTS], factor, &each[lot, 0], &mean[0], &coef[lot, 0, 0])


cdef void constant_lot(
    const xent_dual_rows* X, Py_ssize_t n_features, Py_ssize_t n, const double* weight,
    const int64_t* indptr, const int32_t* indices, const int64_t* outputs, double factor,
    const double* each, const double* mean, double* coef,
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
                coef[X.indices[entry] * XENT_DUAL_OUTPUTS + k] += w * X.data[entry]


def fill_rows(const double[:, ::1] of_lots, double[:, :, ::1] out, int n_threads):
    """Fill every row of a lot, ``out[lot, i]``, with the same numbers, ``of_lots[lot]``."""
    cdef:
        Py_ssize_t n_lots = out.shape[0], lot, i
    for lot in prange(
        n_lots if out.shape[1] else 0, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        for i in range(out.shape[1]):
            memcpy(&out[lot, i, 0], &of_lots[lot, 0], XENT_DUAL_OUTPUTS * sizeof(double))


def weights(
    const double[:, :, ::1] coef, const double[:, ::1] shift, const double[::1] mean,
    const double[:, ::1] other, double factor, double[:, ::1] out, double[:, ::1] sums,
    int n_threads,
):
    """Compute the coefficients w = coef - shift mean of all outputs, and sums of their squares.

    Parameters
    ----------
    coef : ndarray of shape (n_lots, n_features, OUTPUTS)
    shift : ndarray of shape (n_lots, OUTPUTS)
    mean : ndarray of shape (n_features,)
    other : ndarray of shape (n_features, n_outputs)
        Other coefficients, when multiplied by ``factor``.
    factor : float
    out : ndarray of shape (n_features, n_outputs)
        Filled with w.
    sums : ndarray of shape (3, n_outputs)
        Filled with w . w, w . change and change . change, where change = factor other - w.
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
            &other[0, lot * XENT_DUAL_OUTPUTS], factor, &out[0, lot * XENT_DUAL_OUTPUTS],
            &sums[0, lot * XENT_DUAL_OUTPUTS])


cdef void weights_of_lot(
    Py_ssize_t n_features, Py_ssize_t n, Py_ssize_t n_outputs, const double* coef,
    const double* shift, const double* mean, const double* other, double factor, double* out,
    double* sums,
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
            change = factor * other[j * n_outputs + k] - w
            out[j * n_outputs + k] = w
            square[k] += w * w
            along[k] += w * change
            of_change[k] += change * change
    for k in range(n):
        sums[k] = square[k]
        sums[n_outputs + k] = along[k]
        sums[2 * n_outputs + k] = of_change[k]
