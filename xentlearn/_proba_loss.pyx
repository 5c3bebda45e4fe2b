"""Cross-entropy of rows of probabilities: the losses, and the check that they are probabilities.

Probabilities are taken as they are, neither clipped nor rescaled: loss = -sum_k t_k log p_k, where
a target of 0 costs nothing and a probability of 0 under a target costs inf. Logarithms and sums
are in float64, also for float32 input. A row that is no distribution is reported, not priced.
"""

from cython cimport floating
from cython.parallel cimport prange

from libc.math cimport fabs, log, log1p
from libc.stdint cimport int32_t


cdef enum:
    CHUNK = 1024    # rows or entries a thread takes at a time


cdef inline double cost(double target, double proba) noexcept nogil:
    return 0.0 - target * log(proba) if target != 0.0 else 0.0      # 0 - 0 is +0


cdef bint is_distribution(
    const floating[:, :] proba, Py_ssize_t i, double tolerance,
) noexcept nogil:
    """Whether row i has entries in [0, 1] whose sum is within ``tolerance`` of 1 (nan: no)."""
    cdef double total = 0.0
    cdef Py_ssize_t k
    for k in range(proba.shape[1]):
        if not 0 <= proba[i, k] <= 1:
            return False
        total += proba[i, k]
    return fabs(total - 1.0) <= tolerance


cdef inline double categorical_row(
    const floating[:, :] values, const floating[:, :] proba, Py_ssize_t i, double smoothing,
) noexcept nogil:
    cdef Py_ssize_t k, n_classes = proba.shape[1]
    cdef double total = 0.0
    for k in range(n_classes):
        total += cost((1.0 - smoothing) * values[i, k] + smoothing / n_classes, proba[i, k])
    return total


cdef inline double sparse_categorical_row(
    Py_ssize_t label, const floating[:, :] proba, Py_ssize_t i, double smoothing,
) noexcept nogil:
    cdef Py_ssize_t k, n_classes = proba.shape[1]
    cdef double total = cost(1.0 - smoothing, proba[i, label])
    if smoothing != 0.0:
        for k in range(n_classes):
            total += cost(smoothing / n_classes, proba[i, k])
    return total


def first_bad_row(
    const floating[:, :] proba, const int32_t[:] labels, double tolerance, int n_threads,
):
    """Index of the first row that is no distribution, or -1; rows labelled -1 are not looked at.

    ``labels`` may be None.
    """
    cdef:
        Py_ssize_t i, c, n_rows = proba.shape[0]
        Py_ssize_t n_chunks = (n_rows + CHUNK - 1) // CHUNK
        bint labelled = labels is not None
        unsigned char[::1] bad = bytearray(max(1, n_chunks))
    for c in prange(
        n_chunks, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        for i in range(c * CHUNK, min(n_rows, (c + 1) * CHUNK)):
            if labelled and labels[i] < 0:
                continue
            if not is_distribution(proba, i, tolerance):
                bad[c] = 1
                break
    for c in range(n_chunks):
        if bad[c]:
            for i in range(c * CHUNK, min(n_rows, (c + 1) * CHUNK)):
                if not (labelled and labels[i] < 0) and not is_distribution(proba, i, tolerance):
                    return i
    return -1


def sparse_categorical(
    const floating[:, :] proba, const int32_t[:] labels, double smoothing, floating[:] loss_out,
    int n_threads,
):
    """Fill the loss of each row; 0 where the label is -1."""
    cdef Py_ssize_t i
    for i in prange(
        proba.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        if labels[i] < 0:
            loss_out[i] = 0
        else:
            loss_out[i] = <floating> sparse_categorical_row(labels[i], proba, i, smoothing)


def categorical(
    const floating[:, :] proba, const floating[:, :] values, double smoothing,
    floating[:] loss_out, int n_threads,
):
    """Fill the loss of each row for soft targets ``values``."""
    cdef Py_ssize_t i
    for i in prange(
        proba.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        loss_out[i] = <floating> categorical_row(values, proba, i, smoothing)


def binary(
    const floating[:, :] proba, const floating[:, :] values, const double[:] positive,
    double smoothing, floating[:, :] loss_out, int n_threads,
):
    """Fill the loss of each entry; 0 where the target is nan.

    ``positive`` weighs the positives of each column. 1 - t is taken from 1 - y, so that it keeps
    its digits.
    """
    cdef Py_ssize_t i, k
    cdef double y
    for i in prange(
        proba.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        for k in range(proba.shape[1]):
            y = values[i, k]
            if y != y:
                loss_out[i, k] = 0
            else:
                loss_out[i, k] = <floating> (
                    positive[k] * cost((1.0 - smoothing) * y + smoothing / 2, proba[i, k])
                    + negative_cost((1.0 - smoothing) * (1.0 - y) + smoothing / 2, proba[i, k])
                )


cdef inline double negative_cost(double target, double proba) noexcept nogil:
    return 0.0 - target * log1p(-proba) if target != 0.0 else 0.0
