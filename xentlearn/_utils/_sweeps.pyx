"""Operations on matrices of coefficients in a single pass over memory, where NumPy needs several.

With 45,000 features and 58 classes such a matrix has 21 MB, and reading and writing it takes as
long as a pass over sparse text. Sums are formed in blocks of a fixed size, so that they have the
same bits for any number of threads.
"""

import numpy as np

from cython cimport floating
from cython.parallel cimport prange


cdef extern from *:
    """
    #if defined(__GLIBC__)
    #include <malloc.h>
    #define GIVE_BACK() malloc_trim(0)
    #else
    #define GIVE_BACK() 0
    #endif
    """
    int GIVE_BACK() nogil


cdef enum:
    BLOCK_NUMBERS = 8192    # numbers of a block, which one thread adds up
    THREADED = 100000       # numbers of a matrix from which on several threads are used


cdef double centre_row(
    Py_ssize_t n, const double* sums, double inverse_total, const double* intercept, double mean,
    double strength, const double* coef, double* gradient,
) noexcept nogil:
    cdef:
        Py_ssize_t k
        double penalty = 0
    for k in range(n):
        gradient[k] = sums[k] * inverse_total - mean * intercept[k] + strength * coef[k]
        penalty += coef[k] * coef[k]
    return 0.5 * strength * penalty


def centre(
    const double[:, ::1] sums, double total, const double[::1] intercept, const double[::1] mean,
    const double[::1] strength, const double[:, ::1] coef, double[:, ::1] gradient, int n_threads,
):
    """Compute the gradient of a penalised mean loss from that of a sum of losses.

    ``gradient = sums / total - outer(mean, intercept) + strength * coef``, for vectors whose last
    row has the logits at the mean of X (``_objective/linear.py``).

    Parameters
    ----------
    sums : ndarray of shape (n_features, n_outputs)
        Gradient of the sum of the losses with respect to ``coef``; may be ``gradient`` itself.
    total : float
        Sum of the weights of the rows.
    intercept : ndarray of shape (n_outputs,)
        Gradient of the mean loss with respect to the intercept.
    mean : ndarray of shape (n_features,)
        Means of the features; zeros without an intercept.
    strength : ndarray of shape (n_features,)
        Strengths of the penalty ``strength / 2 * coef^2`` by feature.
    coef, gradient : ndarray of shape (n_features, n_outputs)
        ``gradient`` is overwritten.
    n_threads : int

    Returns
    -------
    penalty : float
        Value of the penalty at ``coef``.
    """
    cdef:
        Py_ssize_t n_features = coef.shape[0], n_outputs = coef.shape[1], block, j
        Py_ssize_t width = max(1, BLOCK_NUMBERS // max(1, n_outputs))
        Py_ssize_t n_blocks = (n_features + width - 1) // width
        double inverse_total = 1 / total, penalty = 0
        double[::1] penalties
    if n_outputs == 0:
        return 0.0
    if n_blocks == 1:
        for j in range(n_features):
            penalty += centre_row(
                n_outputs, &sums[j, 0], inverse_total, &intercept[0], mean[j], strength[j],
                &coef[j, 0], &gradient[j, 0])
        return penalty
    penalties = np.zeros(n_blocks)
    for block in prange(
        n_blocks, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1 and n_features * n_outputs > THREADED,
    ):
        for j in range(block * width, min((block + 1) * width, n_features)):
            penalties[block] += centre_row(
                n_outputs, &sums[j, 0], inverse_total, &intercept[0], mean[j], strength[j],
                &coef[j, 0], &gradient[j, 0])
    for block in range(n_blocks):
        penalty += penalties[block]
    return penalty


cdef void add_bound_sums(
    Py_ssize_t n, const double* W, const double* dW, const double* of_constant, double l2_reg,
    double epsilon, double* sums,
) noexcept nogil:
    cdef:
        Py_ssize_t i
        double g, penalty, change, shift
        double square = 0, along_g = 0, along_shift = 0, of_change = 0, of_rest = 0
    for i in range(n):
        penalty = l2_reg * W[i]
        change = dW[i]
        g = change - penalty
        square += W[i] * W[i]
        along_g += g * W[i]
        if of_constant:
            shift = (of_constant[i] - g) * epsilon
            along_shift += W[i] * shift
            change += shift
        of_change += change * change
        of_rest += (change - penalty) * (change - penalty)
    sums[0] = square
    sums[1] = along_g
    sums[2] = along_shift
    sums[3] = of_change
    sums[4] = of_rest


def bound_sums(
    const double[:, ::1] W, const double[:, ::1] dW, const double[:, ::1] of_constant,
    double l2_reg, double epsilon, int n_threads,
):
    """Compute the sums over all coefficients that a duality gap consists of.

    With ``g = dW - l2_reg W``, ``shift = epsilon (of_constant - g)``, or 0 if ``of_constant`` is
    None, and ``change = dW + shift``, they are the inner products

        W . W,  g . W,  shift . W,  change . change,  rest . rest  with  rest = change - l2_reg W.

    Parameters
    ----------
    W, dW : ndarray of shape (n_features, n_outputs)
    of_constant : ndarray of shape (n_features, n_outputs) or None
    l2_reg, epsilon : float
    n_threads : int

    Returns
    -------
    list of five floats
    """
    cdef:
        Py_ssize_t n_features = W.shape[0], n_outputs = W.shape[1], block, begin, n
        Py_ssize_t width = max(1, BLOCK_NUMBERS // max(1, n_outputs))
        Py_ssize_t n_blocks = (n_features + width - 1) // width
        double[:, ::1] sums = np.zeros((max(1, n_blocks), 5))
        const double* constant = NULL
    if n_features * n_outputs == 0:
        return [0.0] * 5
    if of_constant is not None:
        constant = &of_constant[0, 0]
    for block in prange(
        n_blocks, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1 and n_features * n_outputs > THREADED,
    ):
        begin = block * width
        n = (min(begin + width, n_features) - begin) * n_outputs
        add_bound_sums(
            n, &W[begin, 0], &dW[begin, 0],
            constant + begin * n_outputs if constant else NULL, l2_reg, epsilon, &sums[block, 0])
    return [float(total) for total in np.add.reduce(np.asarray(sums))]


cdef double average(Py_ssize_t n, const double* values) noexcept nogil:
    cdef:
        Py_ssize_t k
        double total = 0
    for k in range(n):
        total += values[k]
    return total / n


# The inverses of a row are numerator / (offset + share * relative). They are computed where they
# are used: a matrix of them would take as much memory as the gradient.

cdef void divide_row(
    Py_ssize_t n, const double* values, double numerator, double offset, double share,
    const double* relative, double* out
) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        out[k] = values[k] * (numerator / (share * relative[k] + offset))


cdef void divide_balanced_row(
    Py_ssize_t n, const double* values, double numerator, double offset, double share,
    const double* relative, double for_mean, double* out
) noexcept nogil:
    cdef:
        Py_ssize_t k
        double mean = average(n, values), shift
    for k in range(n):
        out[k] = (values[k] - mean) * (numerator / (share * relative[k] + offset))
    shift = for_mean * mean - average(n, out)
    for k in range(n):
        out[k] += shift


def divide(
    const double[:, ::1] values, const double[::1] numerator, double offset,
    const double[::1] share, const double[::1] relative, const double[::1] for_mean,
    bint balanced, double[:, ::1] out, int n_threads,
):
    """Divide a gradient by a diagonal: ``values * numerator / (offset + outer(share, relative))``.

    With ``balanced``, only the part of each row that sums to 0 is divided, and the mean of the
    row is multiplied by ``for_mean`` (see ``hessian_blocks.on_balanced``).

    Parameters
    ----------
    values, out : ndarray of shape (n_rows, n_outputs)
        ``out`` may be ``values`` itself.
    numerator, share : ndarray of shape (n_rows,)
    offset : float
    relative : ndarray of shape (n_outputs,)
    for_mean : ndarray of shape (n_rows,)
        Factors of the means over the outputs, if ``balanced``.
    balanced : bool
        Whether to treat the mean over the outputs separately.
    n_threads : int
    """
    cdef:
        Py_ssize_t n_rows = values.shape[0], n_outputs = values.shape[1], j
    if n_outputs == 0:
        return
    for j in prange(
        n_rows, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1 and n_rows * n_outputs > THREADED,
    ):
        if balanced:
            divide_balanced_row(
                n_outputs, &values[j, 0], numerator[j], offset, share[j], &relative[0],
                for_mean[j], &out[j, 0])
        else:
            divide_row(
                n_outputs, &values[j, 0], numerator[j], offset, share[j], &relative[0], &out[j, 0])


def difference(
    const double[::1] minuend, const double[::1] subtrahend, floating[::1] out, int n_threads
):
    """Compute ``out = minuend - subtrahend``, rounded to the dtype of ``out``."""
    cdef Py_ssize_t i
    for i in prange(
        out.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1 and out.shape[0] > THREADED,
    ):
        out[i] = <floating> (minuend[i] - subtrahend[i])


def give_back_memory():
    """Give memory that has been freed back to the system.

    glibc keeps freed blocks of up to 32 MB for later ones, which may not fit: with 100,000 classes
    and 20 features that is more than a vector.
    """
    with nogil:
        GIVE_BACK()
