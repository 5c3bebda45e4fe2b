"""Cross-entropy of rows of probabilities, and the check that they are probabilities.

Probabilities are neither clipped nor rescaled: loss = -sum_k t_k log p_k, where a target of 0
contributes 0, and a target above 0 contributes inf if its probability is 0. Focal losses multiply
the terms by (1 - p)^gamma (arXiv 1708.02002). Logarithms and sums are in float64, also for float32
input. Rows must have been checked to be distributions.
"""

from cython cimport floating
from cython.parallel cimport prange

from libc.math cimport fabs, log, log1p, pow
from libc.stdint cimport int32_t


cdef enum:
    CHUNK = 1024    # rows that a thread takes at a time


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
    double gamma, const double[:] alpha,
) noexcept nogil:
    cdef Py_ssize_t k, n_classes = proba.shape[1]
    cdef double total = 0.0, target
    for k in range(n_classes):
        target = alpha[k] * ((1.0 - smoothing) * values[i, k] + smoothing / n_classes)
        total += focused(cost(target, proba[i, k]), 1.0 - proba[i, k], gamma)
    return total


cdef inline double focused(double loss, double miss, double gamma) noexcept nogil:
    return loss if gamma == 0.0 or loss == 0.0 else pow(miss, gamma) * loss


cdef inline double sparse_categorical_row(
    Py_ssize_t label, const floating[:, :] proba, Py_ssize_t i, double smoothing,
    double gamma, const double[:] alpha,
) noexcept nogil:
    cdef Py_ssize_t k, n_classes = proba.shape[1]
    cdef double total = focused(
        cost(alpha[label] * (1.0 - smoothing), proba[i, label]), 1.0 - proba[i, label], gamma)
    if smoothing != 0.0:
        for k in range(n_classes):
            total += focused(
                cost(alpha[k] * (smoothing / n_classes), proba[i, k]), 1.0 - proba[i, k], gamma)
    return total


def first_bad_row(
    const floating[:, :] proba, const int32_t[:] labels, double tolerance, int n_threads,
):
    """Return the index of the first row that is not a probability distribution, or -1.

    Rows with a label of -1 are not checked; ``labels`` may be None.
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
    const floating[:, :] proba, const int32_t[:] labels, double smoothing, double gamma,
    const double[:] alpha, floating[:] loss_out, int n_threads,
):
    """Fill the loss of each row, with ``alpha`` by class; 0 where the label is -1."""
    cdef Py_ssize_t i
    for i in prange(
        proba.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        if labels[i] < 0:
            loss_out[i] = 0
        else:
            loss_out[i] = <floating> sparse_categorical_row(
                labels[i], proba, i, smoothing, gamma, alpha)


def categorical(
    const floating[:, :] proba, const floating[:, :] values, double smoothing, double gamma,
    const double[:] alpha, floating[:] loss_out, int n_threads,
):
    """Fill ``loss_out`` with the loss of each row for soft targets times ``alpha`` by class."""
    cdef Py_ssize_t i
    for i in prange(
        proba.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        loss_out[i] = <floating> categorical_row(values, proba, i, smoothing, gamma, alpha)


def binary(
    const floating[:, :] proba, const floating[:, :] values, const double[:] positive,
    double smoothing, double gamma, double alpha, double alpha_of_0, floating[:, :] loss_out,
    int n_threads,
):
    """Fill ``loss_out`` with the loss of each entry, 0 where the target is nan.

    ``positive`` are the weights of the positives by column, ``alpha`` and ``alpha_of_0`` those of
    the two outcomes in a focal loss. 1 - t is computed from 1 - y, so that it keeps its digits.
    """
    cdef Py_ssize_t i, k
    cdef double y, t, c, p
    for i in prange(
        proba.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        for k in range(proba.shape[1]):
            y = values[i, k]
            if y != y:
                loss_out[i, k] = 0
            else:
                p = proba[i, k]
                t = (1.0 - smoothing) * y + smoothing / 2
                c = (1.0 - smoothing) * (1.0 - y) + smoothing / 2
                loss_out[i, k] = <floating> (
                    (alpha * t + alpha_of_0 * c if alpha != alpha_of_0 else alpha)
                    * focused(
                        positive[k] * cost(t, p) + negative_cost(c, p),
                        t * (1.0 - p) + c * p, gamma))


cdef inline double negative_cost(double target, double proba) noexcept nogil:
    return 0.0 - target * log1p(-proba) if target != 0.0 else 0.0
