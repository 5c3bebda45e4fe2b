"""Steps of stochastic descent, from the gradient of a batch to the next coefficients in one loop.

Steps are taken in units in which each feature has mean 0 and standard deviation 1, so that the
effect of a learning rate does not depend on the scales and offsets of the features: they are the
steps that Adam, or momentum, would take on X from a StandardScaler. The penalty is that of the
original coefficients.
"""

from cython cimport floating
from cython.parallel cimport prange

import numpy as np

from libc.math cimport expm1
from libc.stdint cimport int32_t

from .._loss import cpu_target_number


cdef extern from "_kernels/targets.h" nogil:
    int xent_best_target()
    void XENT_PREFETCH(const void* address)


cdef extern from "_kernels/steps.h" nogil:
    ctypedef struct xent_step:
        double inverse_weight
        double l2_reg
        double rate
        double beta_1
        double beta_2
        double epsilon
        int nesterov
        double share

    ctypedef void (*xent_step_line)(
        Py_ssize_t n, int of_output, const xent_step* step, const double* total,
        const double* mean, const double* inverse_spread, const double* intercept,
        void* first, void* second, double* coef, double* average) noexcept nogil

    cdef enum xent_rule:
        XENT_ADAM
        XENT_SGD

    xent_step_line xent_step_line_for(xent_rule rule, int float32, int target)


cdef int _cpu_target = xent_best_target()


def use_cpu_target(str name):
    """Use the steps for this CPU target, one of ``_loss.available_cpu_targets()``."""
    global _cpu_target
    _cpu_target = cpu_target_number(name)


cdef enum:
    THREADED = 4000     # coefficients that are worth a second thread, if that is still awake
    AHEAD = 16          # rows of coefficients in no order that are asked for before they are needed


cdef inline void feature_line(
    xent_step_line line, Py_ssize_t n, xent_step parts, double l2_reg, double rate, double epsilon,
    const double* total, const double* mean, const double* inverse_spread, const double* intercept,
    void* first, void* second, double* coef, double* average,
) noexcept nogil:
    """Take the step of one feature, some of whose parameters are its own."""
    parts.l2_reg, parts.rate, parts.epsilon = l2_reg, rate, epsilon
    line(
        n, False, &parts, total, mean, inverse_spread, intercept, first, second, coef, average)


cdef double[::1] logits_at_mean(
    const int32_t[::1] features, const double[::1] mean, const double[:, ::1] coef,
):
    """Return the sum over ``features`` of mean times coefficient; one thread, so one order."""
    cdef double[::1] logits = np.zeros(coef.shape[1])
    cdef Py_ssize_t i, k
    for i in range(features.shape[0]):
        for k in range(coef.shape[1]):
            logits[k] += mean[features[i]] * coef[features[i], k]
    return logits


def step(
    str rule, bint by_output, dict parameters, const double[:, :] total,
    const double[::1] intercept_total, const double[::1] mean, const double[::1] inverse_spread,
    floating[:, ::1] first, floating[:, ::1] second, double[:, ::1] coef, double[:, ::1] average,
    floating[::1] intercept_first, floating[::1] intercept_second, double[::1] intercept,
    double[::1] intercept_average, bint fit_intercept, int n_threads,
    const int32_t[::1] features=None, const double[:, ::1] own=None,
):
    """Take one step.

    Parameters
    ----------
    rule : {"adam", "sgd"}
    by_output : bool
        Whether a row of ``coef`` is an output, not a feature.
    parameters : dict
        The fields of ``xent_step`` by name (``_kernels/steps.h``).
    total : ndarray of the shape of ``coef``, or (len(features), n_outputs)
        Sum over the rows of the batch of the gradients with respect to the coefficients.
    intercept_total : ndarray of shape (n_outputs,)
        The same with respect to the logits.
    mean, inverse_spread : ndarray of shape (n_features,)
    first, second, coef, average : ndarray, changed
        The moments or the velocity of the rule, the coefficients, and their average.
    intercept_first, intercept_second, intercept, intercept_average : ndarray, changed
        The same for the logits at the mean of X, of shape (n_outputs,).
    fit_intercept : bool
        Whether to take a step on these as well.
    n_threads : int
    features : ndarray of int32, default=None
        If not ``by_output``, the features whose coefficients take the step; None: all of them. The
        intercepts are then the logits at 0, not at ``mean``.
    own : ndarray of shape (3, len(features)), default=None
        The parameters ``l2_reg``, ``rate`` and ``epsilon`` of each of them.
    """
    cdef:
        xent_step parts = parameters
        xent_step_line line = xent_step_line_for(
            XENT_ADAM if rule == "adam" else XENT_SGD, floating is float, _cpu_target)
        Py_ssize_t n = coef.shape[1]
        Py_ssize_t n_lines = total.shape[0] if n else 0
        Py_ssize_t i, j
        const double* of_intercept = &intercept_total[0]
        double no_mean = 0.0, no_spread = 1.0
        bint chosen = features is not None
        double[::1] before = logits_at_mean(features, mean, coef) if chosen else None
        double[::1] after
    for i in prange(
        n_lines, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1 and n_lines * n > THREADED,
    ):
        if by_output:
            line(
                n, True, &parts, &total[i, 0], &mean[0], &inverse_spread[0], of_intercept + i,
                &first[i, 0], &second[i, 0], &coef[i, 0], &average[i, 0])
        else:
            j = features[i] if chosen else i
            feature_line(
                line, n, parts, own[0, i] if chosen else parts.l2_reg,
                own[1, i] if chosen else parts.rate, own[2, i] if chosen else parts.epsilon,
                &total[i, 0], &mean[j], &inverse_spread[j], of_intercept, &first[j, 0],
                &second[j, 0], &coef[j, 0], &average[j, 0])
    if fit_intercept:  # like coefficients of a feature that is always 1, without a penalty
        parts.l2_reg = 0.0
        line(
            intercept.shape[0], False, &parts, of_intercept, &no_mean, &no_spread, of_intercept,
            &intercept_first[0], &intercept_second[0], &intercept[0], &intercept_average[0])
        if chosen:  # that was a step of the logits at the mean
            after = logits_at_mean(features, mean, coef)
            for i in range(n):
                intercept[i] -= after[i] - before[i]
                intercept_average[i] -= parts.share * (after[i] - before[i])


# ---- Averages that wait until their features are needed ------------------------------------------

cdef inline void move(
    Py_ssize_t n, double share, const double* coef, const double* average, floating* to,
) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        to[k] = <floating> (average[k] + share * (coef[k] - average[k]))


def follow(
    const int32_t[::1] features, double log_kept, double[::1] seen, const double[:, ::1] coef,
    double[:, ::1] average, int n_threads,
):
    """Move the averages of features as all steps since they last moved would have done.

    In these the coefficients have not changed, and the average of a coefficient keeps the product
    of the shares 1 - ``share`` of its distance from them.

    Parameters
    ----------
    features : ndarray of int32
    log_kept : float
        Sum of log(1 - ``share``) over all steps so far.
    seen : ndarray of shape (n_features,), changed
        What that sum was when the average of a feature last moved.
    coef : ndarray of shape (n_features, n_outputs)
    average : ndarray of shape (n_features, n_outputs), changed
    n_threads : int
    """
    cdef Py_ssize_t i, j
    for i in prange(
        features.shape[0], nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1 and features.shape[0] * coef.shape[1] > THREADED,
    ):
        j = features[i]
        if seen[j] != log_kept:
            move[double](
                coef.shape[1], -expm1(log_kept - seen[j]), &coef[j, 0], &average[j, 0],
                &average[j, 0])
            seen[j] = log_kept


def followed(
    const int32_t[::1] features, const double[::1] n_present, double log_kept,
    const double[::1] seen,
    const double[:, ::1] coef, const double[:, ::1] average, floating[:, ::1] to,
):
    """Write the averages of the first rows to ``to``, as ``follow`` would make them.

    ``features`` has the rows of ``to`` to write to. Rows for which ``n_present`` is 0 are left out.

    One thread: two that write to new memory wait for each other, and took up to five times as long.
    """
    cdef Py_ssize_t j, next
    for j in range(features.shape[0]):
        next = features[min(j + AHEAD, features.shape[0] - 1)]
        XENT_PREFETCH(&to[next, 0])
        XENT_PREFETCH(&to[next, to.shape[1] - 1])
        if n_present[j] > 0:
            move[floating](
                coef.shape[1], 0.0 if seen[j] == log_kept else -expm1(log_kept - seen[j]),
                &coef[j, 0], &average[j, 0], &to[features[j], 0])
