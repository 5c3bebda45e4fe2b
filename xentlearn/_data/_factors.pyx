"""Hessians from weighted products of rows: the whole matrix, or one factorised block per output.

BLAS and LAPACK are called without Python's lock, with one block per OpenMP thread: threads of
Python would compete with those of OpenMP, which wait actively for the next pass. Results have the
same bits for any number of threads.
"""

import numpy as np

from cython cimport floating
from cython.parallel cimport prange, threadid
from libc.float cimport DBL_EPSILON, DBL_MIN, FLT_EPSILON, FLT_MIN
from libc.math cimport fabs, sqrt
from scipy.linalg.cython_blas cimport dgemm, dsyrk, dtrsv, sgemm, ssyrk, strsv
from scipy.linalg.cython_lapack cimport dpotrf, spotrf


cdef enum:
    BLOCK_ROWS = 512        # of X in a product with itself, which stay in the second-level cache
    NARROW = 48             # below this width, BLAS computes the full product faster than one half
    THREADED = 10000000     # multiply-adds that are worth a second thread


# ---- BLAS and LAPACK: the lower half of their matrices is the upper half in C order --------------

cdef void add_products(
    int n, int n_rows, floating* rows, floating* matrix, int width
) noexcept nogil:
    """Add rows^T rows to the upper half of matrix (n, n of ``width``), or to all if faster."""
    cdef:
        char* lower = b"L"
        char* plain = b"N"
        char* transposed = b"T"
        floating one = 1
    if floating is double:
        if n < NARROW:
            dgemm(plain, transposed, &n, &n, &n_rows, &one, rows, &n, rows, &n, &one, matrix,
                  &width)
        else:
            dsyrk(lower, plain, &n, &n_rows, &one, rows, &n, &one, matrix, &width)
    else:
        if n < NARROW:
            sgemm(plain, transposed, &n, &n, &n_rows, &one, rows, &n, rows, &n, &one, matrix,
                  &width)
        else:
            ssyrk(lower, plain, &n, &n_rows, &one, rows, &n, &one, matrix, &width)


cdef int factorise(int n, floating* matrix) noexcept nogil:
    """Replace the upper half by its Cholesky factor; returns 0, or not 0 if there is none."""
    cdef:
        char* lower = b"L"
        int info = 0
    if floating is double:
        dpotrf(lower, &n, matrix, &n, &info)
    else:
        spotrf(lower, &n, matrix, &n, &info)
    return info


cdef void substitute(int n, floating* factor, floating* x) noexcept nogil:
    """Replace x by the solution y of factor^T factor y = x."""
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


def factorise_scaled(floating[:, ::1] matrix, const double[::1] scale, double slack):
    """Replace a matrix by U with ``U^T U = scale matrix scale + slack I``.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
        Only its upper triangle is read; the numbers below the diagonal become 0.
    scale : ndarray of shape (n,)
        Rounded to the dtype of the matrix.
    slack : float

    Returns
    -------
    int
        0, or the order of a leading minor that is not positive: there is no such U then.
    """
    cdef:
        Py_ssize_t n = matrix.shape[0], i, j
        int info = 0
        floating of_row
    if n == 0:
        return info
    with nogil:
        for i in range(n):
            of_row = <floating> scale[i]
            for j in range(i):
                matrix[i, j] = 0
            for j in range(i, n):  # the product of both scales might overflow
                matrix[i, j] = (matrix[i, j] * of_row) * <floating> scale[j]
            matrix[i, i] += <floating> slack
        info = factorise(<int> n, &matrix[0, 0])
    return info


def solve_scaled(floating[:, ::1] factor, const double[::1] scale, const double[::1] right):
    """Return ``scale * (U^T U)^-1 (scale * right)``, in float64.

    Parameters
    ----------
    factor : ndarray of shape (n, n)
        U, as ``factorise_scaled`` leaves it, in whose dtype the system is solved.
    scale, right : ndarray of shape (n,)

    Returns
    -------
    ndarray of shape (n,)
    """
    cdef:
        Py_ssize_t n = factor.shape[0], i
        floating[::1] x = np.empty(n, np.float64 if floating is double else np.float32)
        double[::1] result
    if n == 0:
        return np.empty(0)
    with nogil:
        for i in range(n):
            x[i] = <floating> (scale[i] * right[i])
        substitute(<int> n, &factor[0, 0], &x[0])
    if floating is double:
        result = x
    else:
        result = np.empty(n)
    for i in range(n):
        result[i] = scale[i] * x[i]
    return np.asarray(result)


# ---- The whole Hessian ---------------------------------------------------------------------------

cdef double add_weighted_products(
    Py_ssize_t n, Py_ssize_t n_rows, const floating* Z, const floating* one, const floating* other,
    double least, floating* buffer, floating* matrix, Py_ssize_t width,
) noexcept nogil:
    """Add Z^T diag(c) Z, where c = one other, to the upper half of matrix (n, n of ``width``).

    ``other`` may be NULL, for c = one. Rows whose c is at most ``least`` are left out; the sum of
    their c is returned.
    """
    cdef:
        Py_ssize_t i, j, n_buffered = 0
        double left_out = 0, weight
        floating root
    for i in range(n_rows):
        weight = <double> one[i] * <double> other[i] if other else one[i]
        if not weight > least:
            left_out += weight
            continue
        root = <floating> sqrt(weight)
        for j in range(n):
            buffer[n_buffered * n + j] = root * Z[i * n + j]
        n_buffered += 1
        if n_buffered == BLOCK_ROWS:
            add_products(<int> n, BLOCK_ROWS, buffer, matrix, <int> width)
            n_buffered = 0
    if n_buffered:
        add_products(<int> n, <int> n_buffered, buffer, matrix, <int> width)
    return left_out


cdef void add_upper(
    Py_ssize_t n, floating factor, const floating* matrix, Py_ssize_t width, floating* to,
    Py_ssize_t width_to,
) noexcept nogil:
    """Add factor matrix to the upper half of ``to`` (n, n of ``width_to``)."""
    cdef Py_ssize_t i, j
    for i in range(n):
        for j in range(i, n):
            to[i * width_to + j] += factor * matrix[i * width + j]


def least_couplings(coupling, neglected):
    """Return thresholds by pair of outputs, below which ``hessian_sum`` neglects w p_k p_l."""
    n_outputs, n_samples = coupling.shape
    sums = np.matmul(coupling, np.transpose(coupling)).astype(np.float64)
    np.fill_diagonal(sums, 0)
    curvature = np.sum(sums, axis=0)
    return neglected * np.minimum.outer(curvature, curvature) / (n_samples * max(1, n_outputs - 1))


def hessian_sum(
    const floating[:, ::1] Z, const floating[:, ::1] curvature, const floating[:, ::1] coupling,
    const double[::1] typical, double neglected, int n_threads,
):
    """Compute the upper half of the Hessian of a sum of losses, block by block of outputs.

    A softmax couples all pairs of its outputs: block (k, l) is -B_kl, where B_kl =
    Z^T diag(w p_k p_l) Z, and block (k, k) is the sum of B_kl over l. If rows are predicted well,
    most of B_kl comes from a few rows, since each row has non-negligible probabilities on two or
    three classes only, and some B_kl are close to 0. The remaining rows may be neglected: in block
    (k, k) they are replaced by typical rows of the same total weight, so that the matrix stays
    positive definite in spite of rounding errors.

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_rows)
        The centred X, with a column of ones if there is an intercept; in float64, or in float32,
        which takes half the time, if a few digits are enough.
    curvature : ndarray of shape (n_outputs, n_samples) or None
        Second derivatives with respect to the logits, of losses that do not couple outputs.
    coupling : ndarray of shape (n_outputs, n_samples) or None
        sqrt(w) p of a softmax.
    typical : ndarray of shape (n_samples,)
        Weights of the rows in the average that replaces neglected rows.
    neglected : float
        Largest share of the curvature w p_k (1 - p_k) of all rows of an output to neglect.
    n_threads : int

    Returns
    -------
    ndarray of shape (n_outputs n_rows, n_outputs n_rows)
        Numbers below the diagonal have no meaning.
    """
    cdef:
        bint coupled = coupling is not None
        Py_ssize_t n = Z.shape[1], n_samples = Z.shape[0]
        Py_ssize_t n_outputs = coupling.shape[0] if coupled else curvature.shape[0]
        Py_ssize_t size = n * n_outputs
        dtype = np.float64 if floating is double else np.float32
        floating[:, ::1] matrix = np.zeros((size, size), dtype)
        floating[:, ::1] common
        floating[::1] weight
        Py_ssize_t i, j, k, other, pair
        floating* block
        floating[:, :, ::1] buffers
        double[:, ::1] left_out = np.zeros((n_outputs, n_outputs)), least = left_out
        double total = 1, share
        bint threaded = n_threads > 1 and <double> n_samples * size * size > THREADED
    if size == 0 or n_samples == 0:
        return np.asarray(matrix)
    n_threads = n_threads if threaded else 1
    buffers = np.empty((n_threads, BLOCK_ROWS, n), dtype)
    if coupled and neglected > 0:
        least, total = least_couplings(coupling, neglected), np.sum(typical)
        common, weight = np.zeros((n, n), dtype), np.asarray(typical, dtype)
        add_weighted_products(
            n, n_samples, &Z[0, 0], &weight[0], <const floating*> NULL, 0, &buffers[0, 0, 0],
            &common[0, 0], n)
    for pair in prange(
        n_outputs * n_outputs if coupled else 0, nogil=True, schedule="dynamic",
        num_threads=n_threads, use_threads_if=threaded,
    ):
        k, other = pair // n_outputs, pair % n_outputs
        if k < other:
            block = &matrix[k * n, other * n]
            left_out[k, other] = left_out[other, k] = add_weighted_products(
                n, n_samples, &Z[0, 0], &coupling[k, 0], &coupling[other, 0], least[k, other],
                &buffers[threadid(), 0, 0], block, size)
            for i in range(n):
                for j in range(i, n):
                    block[i * size + j] = block[j * size + i] = -block[i * size + j]
    for k in prange(
        n_outputs, nogil=True, schedule="dynamic", num_threads=n_threads, use_threads_if=threaded,
    ):
        block = &matrix[k * n, k * n]
        if curvature is not None:
            add_weighted_products(
                n, n_samples, &Z[0, 0], &curvature[k, 0], <const floating*> NULL, 0,
                &buffers[threadid(), 0, 0], block, size)
        for other in range(n_outputs if coupled else 0):
            if k < other:
                add_upper(n, -1, &matrix[k * n, other * n], size, block, size)
            elif other < k:
                add_upper(n, -1, &matrix[other * n, k * n], size, block, size)
            share = left_out[k, other] / total
            if share > 0:
                add_upper(n, <floating> share, &common[0, 0], n, block, size)
    return np.asarray(matrix)


# ---- Some coefficients of each output ------------------------------------------------------------

def add_active_products(
    const floating[:, ::1] X, const floating[:, ::1] own, const floating[:, ::1] coupling,
    const double[:, ::1] least, const Py_ssize_t[::1] columns, const Py_ssize_t[::1] starts,
    floating[:, ::1] matrix, int n_threads,
):
    """Add the products of rows to the Hessian in some coefficients of each output.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n)
        A block of rows, centred.
    own, coupling : ndarray of shape (n_outputs, n_rows)
        Curvature of each row in one output, and its square root without the other outputs, sqrt(w)
        p, of a softmax; ``coupling`` has no output if there is none.
    least : ndarray of shape (n_outputs, n_outputs)
        Rows of at most this curvature are left out.
    columns : ndarray of intp
        Columns of X of the coefficients, one output after the other.
    starts : ndarray of shape (n_outputs + 1,)
        Where each output begins in it.
    matrix : ndarray of shape (len(columns), len(columns))
        The upper blocks are added to. Numbers below the diagonal have no meaning.
    n_threads : int
    """
    cdef:
        char* plain = b"N"
        char* transposed = b"T"
        Py_ssize_t n_outputs = own.shape[0], n_rows = X.shape[0], pair, k, other, i, a, most = 1
        Py_ssize_t at
        int n_k, n_other, n_chosen, width = matrix.shape[0]
        bint coupled = coupling.shape[0] > 0
        floating one = 1, sign
        floating weight
        floating* of_k
        floating* of_other
        floating* block
        floating* packed
        const floating* row
        floating[:, :, ::1] buffers
        # the columns of each output side by side, which are read once for each of the others
        floating[::1] room = np.empty(
            max(1, n_rows * columns.shape[0]), np.float64 if floating is double else np.float32)
    packed = &room[0]
    for k in range(n_outputs):
        most = max(most, starts[k + 1] - starts[k])
    for k in prange(n_outputs, nogil=True, num_threads=n_threads, use_threads_if=n_threads > 1):
        at = n_rows * starts[k]
        for i in range(n_rows):
            for a in range(starts[k], starts[k + 1]):
                packed[at] = X[i, columns[a]]
                at = at + 1
    buffers = np.empty(
        (n_threads, 2, n_rows * most), np.float64 if floating is double else np.float32)
    for pair in prange(
        n_outputs * n_outputs if coupled else n_outputs, nogil=True, schedule="dynamic",
        num_threads=n_threads, use_threads_if=n_threads > 1,
    ):
        k = pair // n_outputs if coupled else pair
        other = pair % n_outputs if coupled else pair
        n_k = <int> (starts[k + 1] - starts[k])
        n_other = <int> (starts[other + 1] - starts[other])
        if k <= other and n_k > 0 and n_other > 0:
            of_k = &buffers[threadid(), 0, 0]
            of_other = &buffers[threadid(), 1, 0] if k < other else of_k
            n_chosen = 0
            for i in range(n_rows):
                weight = own[k, i] if k == other else coupling[k, i] * coupling[other, i]
                if weight > least[k, other]:
                    weight = sqrt(weight)
                    row = packed + n_rows * starts[k] + i * n_k
                    for a in range(n_k):
                        of_k[n_chosen * n_k + a] = weight * row[a]
                    if k < other:
                        row = packed + n_rows * starts[other] + i * n_other
                        for a in range(n_other):
                            of_other[n_chosen * n_other + a] = weight * row[a]
                    n_chosen = n_chosen + 1
            if n_chosen > 0:
                sign = 1 if k == other else -1
                block = &matrix[starts[k], starts[other]]
                if k == other:
                    add_products(n_k, n_chosen, of_k, block, width)
                elif floating is double:
                    dgemm(plain, transposed, &n_other, &n_k, &n_chosen, &sign, of_other, &n_other,
                          of_k, &n_k, &one, block, &width)
                else:
                    sgemm(plain, transposed, &n_other, &n_k, &n_chosen, &sign, of_other, &n_other,
                          of_k, &n_k, &one, block, &width)


def mirror(double[:, ::1] matrix):
    """Copy the upper half of a matrix to the lower one."""
    cdef Py_ssize_t i, j, first, n = matrix.shape[0]
    with nogil:
        for first in range((n + 63) // 64):  # in stripes, whose cache lines are used in full
            for i in range(first * 64, n):
                for j in range(first * 64, min(i, first * 64 + 64)):
                    matrix[i, j] = matrix[j, i]


# ---- One block per output ------------------------------------------------------------------------

cdef void add_rows(
    Py_ssize_t n, const floating* X, const floating* mean, const Py_ssize_t* rows,
    const double* weight, Py_ssize_t n_rows, floating* buffer, floating* matrix,
) noexcept nogil:
    """Add the sum of weight (x - mean) (x - mean)^T over rows of X to the upper half of matrix."""
    cdef:
        Py_ssize_t begin = 0, i, j, n_abreast
        const floating* x
        # Squares of smaller numbers are 0, and their products with others subnormal, which makes
        # BLAS six times as slow: a feature that is 1e-33 in all rows is enough for it.
        floating root, least = <floating> sqrt(
            FLT_MIN * FLT_EPSILON if floating is float else DBL_MIN * DBL_EPSILON)
        floating* to
    while begin < n_rows:
        n_abreast = min(<Py_ssize_t> BLOCK_ROWS, n_rows - begin)
        for i in range(n_abreast):
            x = X + rows[begin + i] * n
            root = <floating> sqrt(weight[begin + i])
            to = buffer + i * n
            for j in range(n):
                to[j] = root * (x[j] - mean[j])
                to[j] = to[j] if fabs(to[j]) >= least else 0
        add_products(<int> n, <int> n_abreast, buffer, matrix, <int> n)
        begin += n_abreast


cdef int scaled_factor(
    Py_ssize_t n, floating* matrix, floating* scale, double least, double slack
) noexcept nogil:
    """Factorise scale matrix scale + slack I, where the scaled matrix has a diagonal of 1."""
    cdef Py_ssize_t i, j
    for i in range(n):
        # the scale stays 1 for a feature that is constant in all rows with curvature
        scale[i] = <floating> (1 / sqrt(matrix[i * n + i])) if matrix[i * n + i] > least else 1
    for i in range(n):
        for j in range(i, n):  # scale[i] * scale[j] might overflow
            matrix[i * n + j] = (matrix[i * n + j] * scale[i]) * scale[j]
        matrix[i * n + i] += <floating> slack
    return factorise(<int> n, matrix)


def weighted_factors(
    const floating[:, ::1] X, const floating[::1] mean, const Py_ssize_t[::1] rows,
    const double[::1] weight, const Py_ssize_t[::1] bounds, const floating[:, ::1] common,
    const double[::1] share, const double[::1] penalty, double least, double slack, int n_threads,
):
    """Factorise ``share common + sum_i weight_i (x_i - mean) (x_i - mean)^T + penalty`` by output.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    mean : ndarray of shape (n_features,)
    rows : ndarray of shape (n_drawn,), intp
        Indices of rows of X; those of output k are ``rows[bounds[k]:bounds[k + 1]]``.
    weight : ndarray of shape (n_drawn,)
        Weights >= 0 of these rows.
    bounds : ndarray of shape (n_outputs + 1,), intp
    common : ndarray of shape (n_features, n_features)
    share : ndarray of shape (n_outputs,)
    penalty : ndarray of shape (n_features,)
    least : float
        Diagonal elements of at most this value are not scaled.
    slack : float
        Added to the diagonals of the scaled matrices, to allow for rounding errors.
    n_threads : int

    Returns
    -------
    factors : ndarray of shape (n_outputs, n_features, n_features)
        U with U^T U = scale matrix scale; numbers below its diagonal have no meaning.
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
    """Compute ``scale (U^T U)^-1 scale right`` for each output.

    Parameters
    ----------
    factors, scale : ndarray
        As ``weighted_factors`` returns them.
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
