"""The sum of a penalty over the features, and its least value under shifts, in one call each.

Solvers of small problems need them so often that several calls of NumPy would take longer than all
that they compute. W has the shape (n_features, n_outputs) here.
"""

from libc.math cimport INFINITY, fabs, fmax, fmin, sqrt
from libc.stdlib cimport qsort

import numpy as np


def penalty(const double[:, :] W, const double[::1] l1, const double[::1] l2, bint grouped):
    """Return the penalty of coefficients W; see ``FeatureTerms``."""
    cdef:
        Py_ssize_t j, k
        double size, square, total = 0.0
    with nogil:
        for j in range(W.shape[0]):
            size = square = 0.0
            for k in range(W.shape[1]):
                size += fabs(W[j, k])
                square += W[j, k] * W[j, k]
            total += l1[j] * (sqrt(square) if grouped else size) + 0.5 * l2[j] * square
    return total


cdef int compare(const void* one, const void* other) noexcept nogil:
    cdef double a = (<const double*> one)[0], b = (<const double*> other)[0]
    return (a > b) - (a < b)


def shift(
    double[:, ::1] W, const double[::1] l1, const double[::1] l2, const double[::1] lower,
    const double[::1] upper, bint grouped,
):
    """Change all outputs of each feature by the number that lowers the penalty most, in place.

    With sorted coefficients w_1 <= ... <= w_K of a feature, the best change is their median with
    the K + 1 numbers mean + (K - 2 i) l1 / (K l2), i = 0..K; in groups it is their mean. Without
    ``l2`` the best change need not be unique; of the best ones, it is then the one nearest to the
    mean, which leaves the least sum of squares.
    """
    cdef:
        Py_ssize_t K = W.shape[1], j, k
        double total, least, most, best, steps
        bint any_used
        double[::1] numbers = np.empty(2 * K + 1)
    with nogil:
        for j in range(W.shape[0]):
            total, least, most, any_used = 0.0, INFINITY, -INFINITY, False
            for k in range(K):
                numbers[k] = W[j, k]
                total += W[j, k]
                least, most = fmin(least, W[j, k]), fmax(most, W[j, k])
                any_used = any_used or W[j, k] != 0.0
            if not any_used:
                continue
            best = total / K
            if not grouped:
                for k in range(K + 1):
                    steps = <double> (K - 2 * k)
                    if steps == 0.0 or l1[j] == 0.0:
                        steps = 0.0
                    elif l2[j] == 0.0:
                        steps = INFINITY if steps > 0.0 else -INFINITY
                    else:
                        steps = steps * (l1[j] / (K * l2[j]))
                    numbers[K + k] = best + steps
                qsort(&numbers[0], 2 * K + 1, sizeof(double), compare)
                best = numbers[K]
            best = fmin(fmax(best, most - upper[j]), least - lower[j])
            if best != 0.0:
                for k in range(K):
                    W[j, k] = fmin(fmax(W[j, k] - best, lower[j]), upper[j])
