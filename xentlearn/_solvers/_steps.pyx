"""Steps of stochastic descent, from the gradient of a batch to the next coefficients in one loop.

Steps are taken in units in which each feature has mean 0 and standard deviation 1, so that the
effect of a learning rate does not depend on the scales and offsets of the features: they are the
steps that Adam, or momentum, would take on X from a StandardScaler. The penalty is that of the
original coefficients.
"""

from cython cimport floating
from cython.parallel cimport prange

from .._loss import cpu_target_number


cdef extern from "_kernels/targets.h" nogil:
    int xent_best_target()


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


def step(
    str rule, bint by_output, dict parameters, const double[:, :] total,
    const double[::1] intercept_total, const double[::1] mean, const double[::1] inverse_spread,
    floating[:, ::1] first, floating[:, ::1] second, double[:, ::1] coef, double[:, ::1] average,
    floating[::1] intercept_first, floating[::1] intercept_second, double[::1] intercept,
    double[::1] intercept_average, bint fit_intercept, int n_threads,
):
    """Take one step.

    Parameters
    ----------
    rule : {"adam", "sgd"}
    by_output : bool
        Whether a row of ``coef`` is an output, not a feature.
    parameters : dict
        The fields of ``xent_step`` by name (``_kernels/steps.h``).
    total : ndarray of the shape of ``coef``
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
    """
    cdef:
        xent_step parts = parameters
        xent_step_line line = xent_step_line_for(
            XENT_ADAM if rule == "adam" else XENT_SGD, floating is float, _cpu_target)
        Py_ssize_t n = coef.shape[1]
        Py_ssize_t i
        const double* of_intercept = &intercept_total[0]
        double no_mean = 0.0, no_spread = 1.0
    for i in prange(
        coef.shape[0] if n else 0, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1 and coef.shape[0] * n > THREADED,
    ):
        if by_output:
            line(
                n, True, &parts, &total[i, 0], &mean[0], &inverse_spread[0], of_intercept + i,
                &first[i, 0], &second[i, 0], &coef[i, 0], &average[i, 0])
        else:
            line(
                n, False, &parts, &total[i, 0], &mean[i], &inverse_spread[i], of_intercept,
                &first[i, 0], &second[i, 0], &coef[i, 0], &average[i, 0])
    if fit_intercept:  # like coefficients of a feature that is always 1, without a penalty
        parts.l2_reg = 0.0
        line(
            intercept.shape[0], False, &parts, of_intercept, &no_mean, &no_spread, of_intercept,
            &intercept_first[0], &intercept_second[0], &intercept[0], &intercept_average[0])
