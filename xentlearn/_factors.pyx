"""Hessians from weighted products of rows: all of one, or a block per output, factorised.

The work is that of BLAS and LAPACK, called without Python's lock, a block per thread of OpenMP:
Python's threads would be in the way of OpenMP's, which wait for the next pass. The bits do not
depend on the number of threads.
"""

import numpy as np

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.math cimport sqrt
from scipy.linalg.cython_blas cimport dgemm, dsyrk, dtrsv, sgemm, ssyrk, strsv
from scipy.linalg.cython_lapack cimport dpotrf, spotrf


cdef enum:
    BLOCK_ROWS = 512        # of X at a time for a product with itself: second-level cache
    MOST_NUMBERS = 1000000  # in rows that are weighted for all outputs at a time
    THREADED = 10000000     # multiply-adds that pay for a second thread


# ---- BLAS and LAPACK, of matrices in C order: their lower half is the upper one here -------------

cdef void add_products(
    int n, int n_rows, floating* rows, floating* matrix, int width
) noexcept nogil:
    """matrix (n, n of ``width``) += rows^T rows, the upper half."""
    cdef:
        char* lower = b"L"
        char* plain = b"N"
        floating one = 1
    if floating is double:
        dsyrk(lower, plain, &n, &n_rows, &one, rows, &n, &one, matrix, &width)
    else:
        ssyrk(lower, plain, &n, &n_rows, &one, rows, &n, &one, matrix, &width)


cdef void subtract_products(
    int n, int n_rows, floating* rows, floating* others, floating* matrix, int width
) noexcept nogil:
    """matrix (n, n) -= rows^T others, all of them ``width`` numbers wide."""
    cdef:
        char* plain = b"N"
        char* transposed = b"T"
        floating one = 1, minus = -1
    if floating is double:
        dgemm(
            plain, transposed, &n, &n, &n_rows, &minus, others, &width, rows, &width, &one,
            matrix, &width)
    else:
        sgemm(
            plain, transposed, &n, &n, &n_rows, &minus, others, &width, rows, &width, &one,
            matrix, &width)


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


# ---- All of the Hessian --------------------------------------------------------------------------

cdef void add_own_products(
    Py_ssize_t n, Py_ssize_t n_rows, const floating* Z, const floating* curvature,
    Py_ssize_t n_outputs, floating* buffer, floating* matrix, Py_ssize_t width,
) noexcept nogil:
    """matrix (n, n of ``width``) += Z^T diag(curvature) Z for one output, the upper half."""
    cdef:
        Py_ssize_t i, j
        floating root
    for i in range(n_rows):
        root = <floating> sqrt(curvature[i * n_outputs])
        for j in range(n):
            buffer[i * n + j] = root * Z[i * n + j]
    add_products(<int> n, <int> n_rows, buffer, matrix, <int> width)


def hessian_sum(
    const floating[:, ::1] Z, const floating[:, ::1] curvature, const floating[:, ::1] coupling,
    int n_threads,
):
    """The Hessian of a sum of losses, output by output: its upper half.

    Block (k, l) is Z^T diag(c_kl) Z, with c_kl = w p_k ([k = l] - p_l) for the softmax. Binary
    outputs do not see each other.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_rows)
        The centred X with a column of ones (if there is an intercept); in float64, or in float32
        where a few digits are enough: half the time.
    curvature : ndarray of shape (n_samples, n_outputs)
        w p (1 - p).
    coupling : ndarray of shape (n_samples, n_outputs) or None
        sqrt(w) p for the softmax; None for binary outputs.
    n_threads : int

    Returns
    -------
    ndarray of shape (n_outputs n_rows, n_outputs n_rows)
        Below the diagonal blocks there are zeros.
    """
    cdef:
        Py_ssize_t n = Z.shape[1], n_outputs = curvature.shape[1]
        Py_ssize_t size = n * n_outputs
        dtype = np.float64 if floating is double else np.float32
        floating[:, ::1] matrix = np.zeros((size, size), dtype)
        bint coupled = coupling is not None and n_outputs > 1
        Py_ssize_t begin = 0, n_abreast = max(1, MOST_NUMBERS // max(1, size)), i, j, k, other, pair
        floating[:, ::1] weighted
        floating[:, :, ::1] own
        Py_ssize_t[:, ::1] blocks
        bint threaded = n_threads > 1 and <double> Z.shape[0] * size * size > THREADED
    if size == 0 or Z.shape[0] == 0:
        return np.asarray(matrix)
    n_abreast = min(n_abreast, Z.shape[0])
    n_threads = n_threads if threaded else 1
    # those of the diagonal alone, or all of the upper half
    blocks = np.empty((n_outputs * (n_outputs + 1) // 2 if coupled else n_outputs, 2), np.intp)
    pair = 0
    for k in range(n_outputs):
        for other in range(k, n_outputs if coupled else k + 1):
            blocks[pair, 0], blocks[pair, 1] = k, other
            pair += 1
    weighted = np.empty((n_abreast if coupled else 0, size), dtype)
    own = np.empty((n_threads, n_abreast, n), dtype)
    while begin < Z.shape[0]:
        n_abreast = min(n_abreast, Z.shape[0] - begin)
        if coupled:
            for i in prange(n_abreast, nogil=True, num_threads=n_threads, use_threads_if=threaded):
                for k in range(n_outputs):
                    for j in range(n):
                        weighted[i, k * n + j] = coupling[begin + i, k] * Z[begin + i, j]
        for pair in prange(
            blocks.shape[0], nogil=True, schedule="dynamic", num_threads=n_threads,
            use_threads_if=threaded,
        ):
            k, other = blocks[pair, 0], blocks[pair, 1]
            if k < other:
                subtract_products(
                    <int> n, <int> n_abreast, &weighted[0, k * n], &weighted[0, other * n],
                    &matrix[k * n, other * n], <int> size)
            else:  # not by p - p^2, which cancels
                add_own_products(
                    n, n_abreast, &Z[begin, 0], &curvature[begin, k], n_outputs,
                    &own[threadid(), 0, 0], &matrix[k * n, k * n], size)
        begin += n_abreast
    return np.asarray(matrix)


# ---- A block per output --------------------------------------------------------------------------

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
        add_products(<int> n, <int> n_abreast, buffer, matrix, <int> n)
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
        for j in range(i, n):  # one after the other: their product might overflow
            matrix[i * n + j] = (matrix[i * n + j] * scale[i]) * scale[j]
        matrix[i * n + i] += <floating> slack
    return factorise(<int> n, matrix)


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
        bint any_drawn = rows.shape[0] > 0
        const Py_ssize_t* row = &rows[0] if any_drawn else NULL
        const double* weight_of_row = &weight[0] if any_drawn else NULL
    for k in prange(
        n_outputs, nogil=True, schedule="dynamic", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        for i in range(n):
            for j in range(n):
                factors[k, i, j] = <floating> share[k] * common[i, j]
        add_rows(
            n, &X[0, 0], &mean[0], row + bounds[k], weight_of_row + bounds[k],
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
    for k in prange(
        factors.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        for j in range(n):
            x[k, j] = scale[k, j] * <floating> right[j, k]
        substitute(<int> n, &factors[k, 0, 0], &x[k, 0])
        for j in range(n):
            result[j, k] = scale[k, j] * x[k, j]
