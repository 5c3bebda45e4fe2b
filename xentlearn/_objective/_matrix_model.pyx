"""The minimum of the quadratic model of a Newton step, of a few coordinates, plus a penalty.

This is ``NewtonModel.minimise`` for a matrix and a penalty of single coordinates, without an object
of Python: most models are so small that these would take most of the time.
"""

from libc.math cimport fabs, fmax, fmin, sqrt
from libc.string cimport memcpy, memset

import numpy as np

from scipy.linalg.cython_blas cimport daxpy, dgemv
from scipy.linalg.cython_lapack cimport dpotrf, dpotrs

from ._coordinate_descent cimport best_value, share_of_step


cdef enum:
    N_SLACKS = 4            # as SLACK_MULTIPLES
    SLACK_GROWTH = 1000


cdef struct Model:
    Py_ssize_t n
    const double* matrix
    const Py_ssize_t* order
    const double* g
    const double* l1
    const double* l2
    const double* lower
    const double* upper
    const double* w0
    double* w
    double* slope
    # room
    double* direction
    double* scale
    double* kept_w
    double* kept_slope
    double* other_w
    double* other_slope
    double* factor
    Py_ssize_t* free


cdef void sweep(const Model* m, Py_ssize_t n_sweeps) noexcept nogil:
    """Sweep over the coordinates."""
    cdef:
        Py_ssize_t a, i, _n_done
        int n = <int> m.n, one = 1
        double h, new, change
    for _n_done in range(n_sweeps):
        for a in range(m.n):
            i = m.order[a]
            h = m.matrix[i * m.n + i]
            if not h + m.l2[i] > 0.0:
                continue
            new = best_value(
                h * m.w[i] - m.slope[i], h, m.l1[i], m.l2[i], m.lower[i], m.upper[i])
            change = new - m.w[i]
            if change != 0.0:
                m.w[i] = new
                daxpy(&n, &change, &m.matrix[i * m.n], &one, m.slope, &one)


cdef double gain(const Model* m, double* size) noexcept nogil:
    """Return the decrease of the model so far; ``size`` is what its rounding errors depend on.

    The terms of a coordinate are added up first: near the minimum they nearly cancel.
    """
    cdef:
        Py_ssize_t i
        double d, of_loss, of_penalty, total = 0.0
    size[0] = 0.0
    for i in range(m.n):
        d = m.w[i] - m.w0[i]
        if d != 0.0:
            of_loss = 0.5 * (m.g[i] + m.slope[i]) * d
            of_penalty = m.l1[i] * (fabs(m.w[i]) - fabs(m.w0[i]))
            of_penalty += 0.5 * m.l2[i] * d * (m.w[i] + m.w0[i])
            total += of_loss + of_penalty
            size[0] += fabs(of_loss) + fabs(of_penalty)
    return -total


cdef double violation(const Model* m) noexcept nogil:
    """Return how much single coordinates could still gain."""
    cdef:
        Py_ssize_t i
        double h, least, total = 0.0
    for i in range(m.n):
        h = m.matrix[i * m.n + i] + m.l2[i]
        least = m.slope[i] + m.l2[i] * m.w[i]
        if m.w[i] > 0.0:
            least += m.l1[i]
        elif m.w[i] < 0.0:
            least -= m.l1[i]
        elif least > 0.0:
            least = fmax(least - m.l1[i], 0.0)
        else:
            least = fmin(least + m.l1[i], 0.0)
        if (m.w[i] <= m.lower[i] and least > 0.0) or (m.w[i] >= m.upper[i] and least < 0.0):
            continue
        if h > 0.0:
            total += least * least / h
    return total


cdef Py_ssize_t find_free(const Model* m) noexcept nogil:
    """Find the coordinates of a Newton step: neither 0 by the penalty nor at a bound."""
    cdef Py_ssize_t i, n_free = 0
    for i in range(m.n):
        if (m.w[i] != 0.0 or m.l1[i] == 0.0) and m.lower[i] < m.w[i] < m.upper[i]:
            m.free[n_free] = i
            n_free += 1
    return n_free


cdef bint find_direction(const Model* m, Py_ssize_t n_free, double slack) noexcept nogil:
    """Solve for the Newton step of the free coordinates; return whether that is possible."""
    cdef:
        char* lower = b"L"
        Py_ssize_t a, b, i, j
        int n = <int> n_free, one = 1, info = 0
        double x, h
    for a in range(n_free):
        i = m.free[a]
        h = m.matrix[i * m.n + i] + m.l2[i]
        m.scale[a] = 1.0 / sqrt(h) if h > 0.0 else 1.0
    for a in range(n_free):  # the upper half, which is the lower one in Fortran's order
        i = m.free[a]
        for b in range(a, n_free):
            j = m.free[b]
            m.factor[a * n_free + b] = (m.matrix[i * m.n + j] * m.scale[a]) * m.scale[b]
        x = (m.l2[i] * m.scale[a]) * m.scale[a]
        m.factor[a * n_free + a] += x + slack * n_free
    dpotrf(lower, &n, m.factor, &n, &info)
    if info != 0:
        return False
    for a in range(n_free):
        i = m.free[a]
        x = m.slope[i] + m.l2[i] * m.w[i]
        if m.w[i] != 0.0:
            x += m.l1[i] if m.w[i] > 0.0 else -m.l1[i]
        m.direction[a] = -m.scale[a] * x
    dpotrs(lower, &n, &one, m.factor, &n, m.direction, &n, &info)
    for a in range(n_free):
        m.direction[a] *= m.scale[a]
    return True


cdef double best_share(const Model* m, Py_ssize_t n_free) noexcept nogil:
    """Return the share of a step, at most 1, that minimises the model on the way."""
    cdef:
        char* plain = b"N"
        Py_ssize_t a, i
        int n = <int> m.n, one = 1
        double d, least = 1.0, slope = 0.0, curvature = 0.0, zero = 0.0, unit = 1.0
        double* step = m.other_w
        double* product = m.other_slope
    memset(step, 0, m.n * sizeof(double))
    for a in range(n_free):
        i, d = m.free[a], m.direction[a]
        step[i] = d
        if d != 0.0:
            least = fmin(least, ((m.upper[i] if d > 0.0 else m.lower[i]) - m.w[i]) / d)
    dgemv(plain, &n, &n, &unit, <double*> m.matrix, &n, step, &one, &zero, product, &one)
    for a in range(n_free):
        i, d = m.free[a], m.direction[a]
        slope += (m.slope[i] + m.l2[i] * m.w[i]) * d
        curvature += (product[i] + m.l2[i] * d) * d
    return share_of_step(m.n, NULL, m.w, step, m.l1, slope, curvature, least)


cdef void move_along(const Model* m, Py_ssize_t n_free, double step, double noise) noexcept nogil:
    """Move from the kept point; coordinates that would change their sign end at 0."""
    cdef:
        char* plain = b"N"
        Py_ssize_t a, i
        int n = <int> m.n, one = 1
        double before, w, of_g = 1.0, of_product = 1.0
    memcpy(m.w, m.kept_w, m.n * sizeof(double))
    for a in range(n_free):
        i = m.free[a]
        before = m.kept_w[i]
        w = before + step * m.direction[a]
        if m.l1[i] > 0.0 and (w * before < 0.0 or fabs(w) < noise * fabs(before)):
            w = 0.0
        m.w[i] = fmin(fmax(w, m.lower[i]), m.upper[i])
    memcpy(m.slope, m.g, m.n * sizeof(double))
    for i in range(m.n):
        m.scale[i] = m.w[i] - m.w0[i]
    dgemv(plain, &n, &n, &of_product, <double*> m.matrix, &n, m.scale, &one, &of_g, m.slope, &one)


cdef bint improve(const Model* m, double slack, double noise) noexcept nogil:
    """Take a Newton step of the free coordinates; return whether that is progress."""
    cdef:
        Py_ssize_t n_free = find_free(m), _n_tried
        double size, before = gain(m, &size), left = violation(m), share, now, least
        double other, other_size
    if n_free == 0:
        return False
    for _n_tried in range(N_SLACKS):
        if find_direction(m, n_free, slack):
            break
        slack *= SLACK_GROWTH
    else:
        return False
    share = best_share(m, n_free)
    memcpy(m.kept_w, m.w, m.n * sizeof(double))
    memcpy(m.kept_slope, m.slope, m.n * sizeof(double))
    move_along(m, n_free, 1.0, noise)
    now = gain(m, &size)
    if share < 1.0:
        memcpy(m.other_w, m.w, m.n * sizeof(double))
        memcpy(m.other_slope, m.slope, m.n * sizeof(double))
        move_along(m, n_free, share, noise)
        other = gain(m, &other_size)
        if other < now:
            memcpy(m.w, m.other_w, m.n * sizeof(double))
            memcpy(m.slope, m.other_slope, m.n * sizeof(double))
        else:
            now, size = other, other_size
    now -= before
    least = noise * size
    if now > least or (now >= -least and violation(m) < left):
        return True
    memcpy(m.w, m.kept_w, m.n * sizeof(double))
    memcpy(m.slope, m.kept_slope, m.n * sizeof(double))
    return False


def minimise(
    const double[:, ::1] matrix,
    const Py_ssize_t[::1] order,
    const double[::1] g,
    const double[::1] l1,
    const double[::1] l2,
    const double[::1] lower,
    const double[::1] upper,
    double[::1] w,
    double accuracy,
    Py_ssize_t n_sweeps,
    settings,
    double slack,
    double noise,
):
    """Minimise the model by sweeps and Newton steps, from ``w``, which changes.

    Parameters
    ----------
    matrix : array of shape (n, n)
    order : array of shape (n,)
        The coordinates in the order in which sweeps visit them.
    g, l1, l2, lower, upper, w : array of shape (n,)
    accuracy : float
        As for ``NewtonModel.minimise``.
    n_sweeps : int
        Number of sweeps between two Newton steps.
    settings : composite_settings.ProximalNewton
    slack : float
        What is added to the diagonal of a scaled matrix for each of its rows.
    noise : float
        Relative rounding errors.

    Returns
    -------
    gained : float
        The decrease of the model.
    left : float
        Share of what single coordinates could gain at the start that is left.
    """
    cdef:
        Py_ssize_t n = w.shape[0], _n_round, n_failed = 0
        Py_ssize_t most_rounds = settings.most_rounds, most_failed = settings.most_failed
        double little = settings.little, first, last, left = 0.0, gained = 0.0, before = 0.0, size
        double[:, ::1] room = np.empty((8, n)), factor = np.empty((n, n))
        Py_ssize_t[::1] free = np.empty(n, np.intp)
        Model m
    if n == 0:
        return 0.0, 0.0
    m.n, m.matrix, m.order, m.g = n, &matrix[0, 0], &order[0], &g[0]
    m.l1, m.l2, m.lower, m.upper = &l1[0], &l2[0], &lower[0], &upper[0]
    m.w, m.w0, m.slope, m.direction = &w[0], &room[0, 0], &room[1, 0], &room[2, 0]
    m.scale, m.kept_w, m.kept_slope = &room[3, 0], &room[4, 0], &room[5, 0]
    m.other_w, m.other_slope = &room[6, 0], &room[7, 0]
    m.factor, m.free = &factor[0, 0], &free[0]
    with nogil:
        memcpy(<void*> m.w0, m.w, n * sizeof(double))
        memcpy(m.slope, m.g, n * sizeof(double))
        first = last = violation(&m)
        for _n_round in range(most_rounds):
            sweep(&m, n_sweeps)
            improve(&m, slack, noise)
            left, gained = violation(&m), gain(&m, &size)
            if gained - before > fmax(little * gained, noise * size) or left < 0.5 * last:
                n_failed = 0
            else:
                n_failed += 1
            last, before = fmin(left, last), gained
            if left <= accuracy * first or n_failed > most_failed:
                break
    return gained, left / first if first > 0.0 else 0.0
