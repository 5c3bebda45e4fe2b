"""One matrix per output: weighted products of rows, their Cholesky factors, and solves.

The work is that of BLAS and LAPACK, called without Python's lock: an output per thread of OpenMP.
Python's threads in its place would be in the way of OpenMP's, which wait for the next pass. The
bits do not depend on the number of threads.
"""

import numpy as np

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.math cimport sqrt
from scipy.linalg.cython_blas cimport dsyrk, dtrsv, ssyrk, strsv
from scipy.linalg.cython_lapack cimport dpotrf, spotrf


cdef enum:
    BLOCK_ROWS = 512    # of X at a time for a product with itself: a second-level cache holds them


# ---- BLAS and LAPACK, of matrices in C order: their lower half is the upper one here -------------

cdef void add_products(int n, int n_rows, floating* rows, floating* matrix) noexcept nogil:
    """matrix (n, n) += rows^T rows, the upper half."""
    cdef:
        char* lower = b"L"
        char* plain = b"N"
        floating one = 1
    if floating is double:
        dsyrk(lower, plain, &n, &n_rows, &one, rows, &n, &one, matrix, &n)
    else:
        ssyrk(lower, plain, &n, &n_rows, &one, rows, &n, &one, matrix, &n)


cdef int factorise(int n, floating* matrix) noexcept nogil:
    """Cholesky factor in place of the upper half; not 0 where there is none."""
    cdef:
        char* lower = b"L"
        int info = 0
    if floating is double:
        dpotrf(lower, &n, matrix, &n, &info)
    else:
        spotrf(lower, &n, matrix, &n, &info)
    return info


cdef void substitute(int n, floating* factor, floating* x) noexcept nogil:
    """x becomes the solution of factor^T factor x = x."""
    cdef:
        char* lower = b"L"
        char* plain = b"N"
        char* transposed = b"T"
        int one = 1
    if floating is double:
        dtrsv(lower, plain, plain, &n, factor, &n, x, &one)
        dtrsv(lower, transposed, plain, &n, factor, &n, x, &one)
    else:
        strsv(lower, plain, plain, &n, factor, &n, x, &one)
        strsv(lower, transposed, plain, &n, factor, &n, x, &one)


# ---- One output ----------------------------------------------------------------------------------

cdef void add_rows(
    Py_ssize_t n, const floating* X, const floating* mean, const Py_ssize_t* rows,
    const double* weight, Py_ssize_t n_rows, floating* buffer, floating* matrix,
) noexcept nogil:
    """matrix (n, n) += sum of weight (x - mean) (x - mean)^T over rows of X, the upper half."""
    cdef:
        Py_ssize_t begin = 0, i, j, n_abreast
        const floating* x
        floating root
    while begin < n_rows:
        n_abreast = min(<Py_ssize_t> BLOCK_ROWS, n_rows - begin)
        for i in range(n_abreast):
            x = X + rows[begin + i] * n
            root = <floating> sqrt(weight[begin + i])
            for j in range(n):
                buffer[i * n + j] = root * (x[j] - mean[j])
        add_products(<int> n, <int> n_abreast, buffer, matrix)
        begin += n_abreast


cdef int scaled_factor(
    Py_ssize_t n, floating* matrix, floating* scale, double least, double slack
) noexcept nogil:
    """Cholesky factor of scale matrix scale + slack I, whose diagonal is 1 without the slack."""
    cdef Py_ssize_t i, j
    for i in range(n):
        # a feature that is constant where there is curvature: leave its scale alone
        scale[i] = <floating> (1 / sqrt(matrix[i * n + i])) if matrix[i * n + i] > least else 1
    for i in range(n):
        for j in range(i, n):
            matrix[i * n + j] *= scale[i] * scale[j]
        matrix[i * n + i] += <floating> slack
    return factorise(<int> n, matrix)


# ---- All outputs ---------------------------------------------------------------------------------

def weighted_factors(
    const floating[:, ::1] X, const floating[::1] mean, const Py_ssize_t[::1] rows,
    const double[::1] weight, const Py_ssize_t[::1] bounds, const floating[:, ::1] common,
    const double[::1] share, const double[::1] penalty, double least, double slack, int n_threads,
):
    """Cholesky factors of ``share common + sum_i weight_i (x_i - mean) (x_i - mean)^T + penalty``.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    mean : ndarray of shape (n_features,)
    rows : ndarray of shape (n_drawn,), intp
        Of X: those of output k are in ``bounds[k]:bounds[k + 1]``.
    weight : ndarray of shape (n_drawn,)
        Of these, >= 0.
    bounds : ndarray of shape (n_outputs + 1,), intp
    common : ndarray of shape (n_features, n_features)
    share : ndarray of shape (n_outputs,)
    penalty : ndarray of shape (n_features,)
    least : float
        A diagonal element of at most this is not scaled.
    slack : float
        Added to the diagonal of the scaled matrices, against their rounding.
    n_threads : int

    Returns
    -------
    factors : ndarray of shape (n_outputs, n_features, n_features)
        U with U^T U = scale matrix scale; what is below its diagonal means nothing.
    scale : ndarray of shape (n_outputs, n_features)

    Raises
    ------
    numpy.linalg.LinAlgError
        If a matrix is not positive definite.
    """
    cdef:
        Py_ssize_t n = X.shape[1], n_outputs = bounds.shape[0] - 1
        Py_ssize_t i, j, k
        dtype = np.float64 if floating is double else np.float32
        floating[:, :, ::1] factors = np.empty((n_outputs, n, n), dtype)
        floating[:, ::1] scale = np.empty((n_outputs, n), dtype)
        floating[:, :, ::1] buffers = np.empty((n_threads, BLOCK_ROWS, n), dtype)
        int[::1] info = np.zeros(n_outputs, np.intc)
    for k in prange(n_outputs, nogil=True, schedule="dynamic", num_threads=n_threads):
        for i in range(n):
            for j in range(n):
                factors[k, i, j] = <floating> share[k] * common[i, j]
        add_rows(
            n, &X[0, 0], &mean[0], &rows[0] + bounds[k], &weight[0] + bounds[k],
            bounds[k + 1] - bounds[k], &buffers[threadid(), 0, 0], &factors[k, 0, 0])
        for i in range(n):
            factors[k, i, i] += <floating> penalty[i]
        info[k] = scaled_factor(n, &factors[k, 0, 0], &scale[k, 0], least, slack)
    failed = np.flatnonzero(info)
    if len(failed):
        raise np.linalg.LinAlgError(f"The matrix of output {failed[0]} is not positive definite.")
    return np.asarray(factors), np.asarray(scale)


def solve_factors(
    floating[:, :, ::1] factors, const floating[:, ::1] scale, const double[:, :] right,
    double[:, :] result, int n_threads,
):
    """``scale (U^T U)^-1 scale right`` for each output.

    Parameters
    ----------
    factors, scale : ndarray
        As ``weighted_factors`` gives them.
    right, result : ndarray of shape (n_features, n_outputs)
    n_threads : int
    """
    cdef:
        Py_ssize_t n = factors.shape[1], k, j
        floating[:, ::1] x = np.empty_like(scale)
    for k in prange(factors.shape[0], nogil=True, schedule="static", num_threads=n_threads):
        for j in range(n):
            x[k, j] = scale[k, j] * <floating> right[j, k]
        substitute(<int> n, &factors[k, 0, 0], &x[k, 0])
        for j in range(n):
            result[j, k] = scale[k, j] * x[k, j]
