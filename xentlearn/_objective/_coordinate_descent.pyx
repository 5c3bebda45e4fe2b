"""Coordinate descent on the quadratic model of a Newton step plus a penalty.

The model, for the coordinates that may change, is

    g . d + d^T B d / 2 + penalty(w0 + d),        d = w - w0.

``sweep_matrix`` has B as a matrix and keeps its product with d: a coordinate that changes costs one
row of B. ``sweep_rows`` has the columns of X and the curvature of each row of X,

    diag(curvature) - coupling coupling^T    (the second part for a softmax alone),

and keeps X d: a coordinate costs the entries of its column twice. While the coordinates of one
output change, the others stay, so that the kept numbers of that output and its own curvature are
enough: it is a problem of its own. Outputs are swept two at a time, whatever the number of threads.
For two blocks of a positive definite matrix this always converges: with the sign of the coupling
changed, the matrix stays positive definite.

Without groups the coordinates are ordered by output. With them all outputs of a feature change at
once, along the gradient divided by one number that is at least the largest curvature of the group.
"""

from cython cimport floating
from cython.parallel cimport prange
from libc.float cimport DBL_EPSILON
from libc.math cimport INFINITY, fabs, fmax, fmin, sqrt
from libc.stdint cimport int32_t

import numpy as np

from scipy.linalg.cython_blas cimport daxpy


cdef enum:
    AT_ONCE = 2             # outputs that are swept at the same time
    MOST_STEPS = 200        # towards the norm of a group; it takes less than ten
    MOST_HALVINGS = 80      # of the share of a step
    ROWS = 1024             # of a block that stays in the cache while all outputs are visited


# ---- One coordinate, one group -------------------------------------------------------------------

cdef double scale_of_group(
    Py_ssize_t n, const double* z, double c, double l1, const double* lower, const double* upper,
) noexcept nogil:
    """Return u with which w = clip(u z) minimises c |w|^2 / 2 - z . w + l1 |w| within the bounds.

    Where w is not 0, it is clip(z / (c + l1 / |w|)): so u = 1 / (c + l1 / |w|) is the only unknown,
    and |clip(u z)| / u = sqrt(inside + at_bounds / u^2) falls with u, where ``inside`` is the sum
    of the z_k^2 within the bounds and ``at_bounds`` that of the squared bounds reached. Newton
    steps find the root of

        sqrt(inside + at_bounds / u^2) (1 - c u) - l1;

    they are kept between two numbers around it, whose middle takes the place of every third step,
    as there are kinks. With c = 0 it is inf if there is no largest w.
    """
    cdef:
        Py_ssize_t k, n_steps
        double inside = 0.0, at_bounds = 0.0, low = 0.0, high = 0.0, u, new, bound, size, over
    for k in range(n):
        bound = upper[k] if z[k] > 0.0 else lower[k]
        if z[k] != 0.0 and bound != 0.0:
            inside += z[k] * z[k]
    if sqrt(inside) <= l1:
        return 0.0
    if c > 0.0:
        high = (1.0 - l1 / sqrt(inside)) / c  # without bounds
    else:
        inside = 0.0
        for k in range(n):
            bound = upper[k] if z[k] > 0.0 else lower[k]
            if z[k] != 0.0 and fabs(bound) == INFINITY:
                inside += z[k] * z[k]
            elif z[k] != 0.0:
                at_bounds += bound * bound
                high = fmax(high, bound / z[k])
        over = l1 * l1 - inside
        high = fmax(high, sqrt(at_bounds / over)) if over > 0.0 else INFINITY
        if high == INFINITY:
            return high
    u = high
    for n_steps in range(1, MOST_STEPS):
        inside = at_bounds = 0.0
        for k in range(n):
            bound = upper[k] if z[k] > 0.0 else lower[k]
            if fabs(u * z[k]) < fabs(bound):
                inside += z[k] * z[k]
            else:
                at_bounds += bound * bound
        if at_bounds == 0.0 and n_steps == 1:
            return u
        size = sqrt(inside + at_bounds / (u * u))
        over = size * (1.0 - c * u) - l1
        if over > 0.0:
            low = u
        else:
            high = u
        new = u + over / (c * size + (1.0 - c * u) * (at_bounds / (u * u)) / (u * size))
        if not low <= new <= high or n_steps % 3 == 0:
            new = 0.5 * (low + high)
        if fabs(new - u) <= 2.0 * DBL_EPSILON * u:
            return new
        u = new
    return u


cdef void best_group(
    Py_ssize_t n, double* z, double h, double l1, double l2,
    const double* lower, const double* upper,
) noexcept nogil:
    """Minimise (h + l2) |w|^2 / 2 - z . w + l1 |w| within the bounds; z is replaced by w."""
    cdef:
        Py_ssize_t k
        double u = scale_of_group(n, z, h + l2, l1, lower, upper)
    for k in range(n):
        z[k] = fmin(fmax(u * z[k], lower[k]), upper[k])


def group_conjugates(
    double tau,
    const double[:, ::1] Z,
    const double[::1] l1,
    const double[::1] l2,
    const double[:, ::1] lower,
    const double[:, ::1] upper,
):
    """Return the sum of the conjugates of groups at tau Z, and its derivative in tau.

    The conjugate of a group is the largest z . w - l1 |w| - l2 |w|^2 / 2 within the bounds, with
    z = tau Z. With u as above it is, from the condition for u,

        sum of the |z_k w_k| at bounds - at_bounds / u + l2 |w|^2 / 2,

    in which nothing cancels if u is large. Its derivative is Z . w.

    Parameters
    ----------
    tau : float
    Z, lower, upper : array of shape (n_groups, n_outputs)
    l1, l2 : array of shape (n_groups,)

    Returns
    -------
    value, derivative : float
        The latter may be inf at the largest tau at which the former is finite.
    """
    cdef:
        Py_ssize_t n_groups = Z.shape[0], n_outputs = Z.shape[1], g, k
        double value = 0.0, derivative = 0.0, u, w, at_bounds, square
        double[::1] z = np.empty(max(1, n_outputs))
    with nogil:
        for g in range(n_groups):
            for k in range(n_outputs):
                z[k] = tau * Z[g, k]
            u = scale_of_group(n_outputs, &z[0], l2[g], l1[g], &lower[g, 0], &upper[g, 0])
            if u == 0.0:
                continue
            at_bounds = square = 0.0
            for k in range(n_outputs):
                if z[k] == 0.0:
                    continue
                w = upper[g, k] if z[k] > 0.0 else lower[g, k]
                if fabs(w) == INFINITY or fabs(u * z[k]) < fabs(w):
                    w = u * z[k]
                else:
                    at_bounds += w * w
                    value += z[k] * w
                square += w * w
                derivative += Z[g, k] * w
            value -= at_bounds / u
            if l2[g] > 0.0:
                value += 0.5 * l2[g] * square
    return value, derivative


# ---- Along a line ----------------------------------------------------------------------------

cdef double slope_at(
    double t, Py_ssize_t n_groups, const Py_ssize_t* groups, const double* w, const double* d,
    const double* l1, double slope, double curvature,
) noexcept nogil:
    """Return the right-hand derivative in t of what ``share_of_step`` minimises."""
    cdef:
        Py_ssize_t f, i
        double square, along, new, result = slope + t * curvature
    for f in range(n_groups):
        if groups == NULL:
            new = w[f] + t * d[f]
            if d[f] != 0.0:
                result += l1[f] * (d[f] if new > 0.0 or (new == 0.0 and d[f] > 0.0) else -d[f])
            continue
        square = along = 0.0
        for i in range(groups[f], groups[f + 1]):
            new = w[i] + t * d[i]
            square += new * new
            along += new * d[i]
        if square > 0.0:
            result += l1[f] * along / sqrt(square)
    return result


cdef double share_of_step(
    Py_ssize_t n_groups, const Py_ssize_t* groups, const double* w, const double* d,
    const double* l1, double slope, double curvature, double most,
) noexcept nogil:
    """Minimise slope t + curvature t^2 / 2 + sum_f l1_f |w_f + t d_f| over 0 <= t <= most.

    ``groups`` says where each group f begins in w; NULL means that each coordinate is one. The
    function is convex. Its derivative jumps where a coordinate changes its sign, and often the
    minimum is there: then the number returned lies just behind.
    """
    cdef:
        double low = 0.0, high = most, middle
        Py_ssize_t _n_halved
    if slope_at(most, n_groups, groups, w, d, l1, slope, curvature) > 0.0:
        for _n_halved in range(MOST_HALVINGS):
            middle = 0.5 * (low + high)
            if middle <= low or middle >= high:
                break
            if slope_at(middle, n_groups, groups, w, d, l1, slope, curvature) > 0.0:
                high = middle
            else:
                low = middle
    return high


def best_share(
    const double[::1] w, const double[::1] d, const double[::1] l1, double slope,
    double curvature, double most, const Py_ssize_t[::1] groups=None,
):
    """Return ``share_of_step`` of arrays; without ``groups`` each coordinate is one."""
    cdef:
        const double* strength = &l1[0] if l1.shape[0] > 0 else NULL
        const Py_ssize_t* begin = NULL if groups is None else &groups[0]
    return share_of_step(l1.shape[0], begin, &w[0], &d[0], strength, slope, curvature, most)


# ---- B as a matrix -------------------------------------------------------------------------------

def sweep_matrix(
    const double[:, ::1] matrix,
    const Py_ssize_t[::1] order,
    const Py_ssize_t[::1] groups,
    const double[::1] curvature,
    const double[::1] l1,
    const double[::1] l2,
    const double[::1] lower,
    const double[::1] upper,
    double[::1] w,
    double[::1] slope,
    Py_ssize_t n_sweeps,
):
    """Sweep over the coordinates, in place.

    Parameters
    ----------
    matrix : array of shape (n, n)
        B.
    order : array of shape (n,)
        The coordinates in the order in which they are visited.
    groups : array of shape (n_groups + 1,)
        Where each group begins in ``order``; an intercept is a group of its own.
    curvature : array of shape (n_groups,)
        Of a group the upper bound of its curvature; of a single coordinate the curvature.
    l1, l2, lower, upper : array of shape (n,)
        The penalty of each coordinate; in a group l1 and l2 are the same for all.
    w, slope : array of shape (n,)
        The point and g + B d. Both change.
    n_sweeps : int
    """
    cdef:
        Py_ssize_t n_groups = groups.shape[0] - 1, of_group, i, f, k, _n_done
        int n = w.shape[0], one = 1
        double h, change
        double[::1] room = np.empty(max(1, n))
        double[::1] low = np.empty(max(1, n)), high = np.empty(max(1, n))
    with nogil:
        for _n_done in range(n_sweeps):
            for f in range(n_groups):
                h, of_group = curvature[f], groups[f + 1] - groups[f]
                i = order[groups[f]]
                if not h + l2[i] > 0.0:
                    continue
                if of_group == 1:
                    room[0] = best_value(
                        h * w[i] - slope[i], h, l1[i], l2[i], lower[i], upper[i])
                else:
                    for k in range(of_group):
                        i = order[groups[f] + k]
                        room[k], low[k], high[k] = h * w[i] - slope[i], lower[i], upper[i]
                    best_group(of_group, &room[0], h, l1[i], l2[i], &low[0], &high[0])
                for k in range(of_group):
                    i = order[groups[f] + k]
                    change = room[k] - w[i]
                    if change != 0.0:
                        w[i] = room[k]
                        daxpy(&n, &change, &matrix[i, 0], &one, &slope[0], &one)


# ---- Columns of X --------------------------------------------------------------------------------

cdef void sweep_output(
    Py_ssize_t n, const Py_ssize_t* column, const double* slope, const double* curvature,
    const double* l1, const double* l2, const double* lower, const double* upper,
    const Py_ssize_t* indptr, const int32_t* indices, const floating* data,
    const floating* of_rows, double* w, floating* residual, floating* change_of_rows,
    Py_ssize_t n_sweeps,
) noexcept nogil:
    """Sweep over the coordinates of one output; ``of_rows`` is its own curvature in each row."""
    cdef:
        Py_ssize_t a, e, i, _n_done
        double gradient, new
        floating change
    for _n_done in range(n_sweeps):
        for a in range(n):
            if not curvature[a] + l2[a] > 0.0:
                continue
            gradient = slope[a]
            for e in range(indptr[column[a]], indptr[column[a] + 1]):
                gradient += data[e] * residual[indices[e]]
            new = best_value(
                curvature[a] * w[a] - gradient, curvature[a], l1[a], l2[a], lower[a], upper[a])
            change = <floating> (new - w[a])
            if change != 0.0:
                w[a] = new
                for e in range(indptr[column[a]], indptr[column[a] + 1]):
                    i = indices[e]
                    residual[i] += data[e] * change * of_rows[i]
                    change_of_rows[i] += data[e] * change


def sweep_rows(
    const Py_ssize_t[::1] starts,
    const Py_ssize_t[::1] column,
    const Py_ssize_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const floating[:, ::1] diagonal,
    const floating[:, ::1] coupling,
    const double[::1] slope,
    const double[::1] curvature,
    const double[::1] l1,
    const double[::1] l2,
    const double[::1] lower,
    const double[::1] upper,
    double[::1] w,
    floating[:, ::1] moved,
    floating[::1] along,
    Py_ssize_t n_sweeps,
    int n_threads,
):
    """Sweep over all outputs, ``n_sweeps`` times over the coordinates of each before the next.

    Parameters
    ----------
    starts : array of shape (n_outputs + 1,)
        Where the coordinates of each output begin.
    column : array of shape (n,)
        Column of each coordinate.
    indptr, indices, data
        The columns, as those of a CSC matrix.
    diagonal, coupling : array of shape (n_outputs, n_rows)
        Curvatures of the rows; ``coupling`` has no output if there is none.
    slope, curvature : array of shape (n,)
        g, and the diagonal of B.
    l1, l2, lower, upper : array of shape (n,)
    w : array of shape (n,)
        The point; changed.
    moved : array of shape (n_outputs, n_rows)
        X d; changed.
    along : array of shape (n_rows,)
        coupling . X d; changed.
    n_sweeps, n_threads : int
    """
    cdef:
        Py_ssize_t n_outputs = starts.shape[0] - 1, n_rows = moved.shape[1], first, k, lane, i
        bint coupled = coupling.shape[0] > 0
        floating[:, :, ::1] room = np.empty(
            (AT_ONCE, 3, n_rows), dtype=np.float32 if floating is float else np.float64)
        Py_ssize_t pair
    with nogil:
        for pair in range((n_outputs + AT_ONCE - 1) // AT_ONCE):
            first = pair * AT_ONCE
            for lane in prange(AT_ONCE, num_threads=n_threads, schedule="static", chunksize=1):
                k = first + lane
                if k < n_outputs and starts[k] < starts[k + 1]:
                    for i in range(n_rows):
                        room[lane, 0, i] = diagonal[k, i] * moved[k, i]
                        room[lane, 1, i] = diagonal[k, i]
                        room[lane, 2, i] = 0.0
                    if coupled:
                        for i in range(n_rows):
                            room[lane, 0, i] -= coupling[k, i] * along[i]
                            room[lane, 1, i] -= coupling[k, i] * coupling[k, i]
                    sweep_output(
                        starts[k + 1] - starts[k], &column[starts[k]], &slope[starts[k]],
                        &curvature[starts[k]], &l1[starts[k]], &l2[starts[k]], &lower[starts[k]],
                        &upper[starts[k]], &indptr[0], &indices[0], &data[0], &room[lane, 1, 0],
                        &w[starts[k]], &room[lane, 0, 0], &room[lane, 2, 0], n_sweeps)
                    for i in range(n_rows):
                        moved[k, i] += room[lane, 2, i]
            if coupled:
                for k in range(first, min(first + AT_ONCE, n_outputs)):
                    if starts[k] < starts[k + 1]:
                        for i in range(n_rows):
                            along[i] += coupling[k, i] * room[k - first, 2, i]


def sweep_groups(
    const Py_ssize_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const floating[:, ::1] diagonal,
    const floating[:, ::1] coupling,
    const double[:, ::1] slope,
    const double[::1] curvature,
    const double[::1] l1,
    const double[::1] l2,
    const double[:, ::1] lower,
    const double[:, ::1] upper,
    double[:, ::1] w,
    floating[:, ::1] moved,
    floating[::1] along,
    Py_ssize_t n_sweeps,
):
    """``sweep_rows`` for a grouped penalty: all outputs of a column change at once.

    Here arrays of columns and outputs have the shape (n_columns, n_outputs), those of rows and
    outputs the shape (n_rows, n_outputs), and the penalty and the bound of the curvature are by
    column.
    """
    cdef:
        Py_ssize_t n_columns = w.shape[0], n_outputs = w.shape[1], _n_done, j, k, e, i
        bint coupled = coupling.shape[0] > 0
        double h
        floating change, x
        double[::1] room = np.empty(n_outputs)
    with nogil:
        for _n_done in range(n_sweeps):
            for j in range(n_columns):
                h = curvature[j]
                if not h + l2[j] > 0.0:
                    continue
                for k in range(n_outputs):
                    room[k] = slope[j, k]
                for e in range(indptr[j], indptr[j + 1]):
                    i, x = indices[e], data[e]
                    for k in range(n_outputs):
                        room[k] += x * diagonal[i, k] * moved[i, k]
                    if coupled:
                        for k in range(n_outputs):
                            room[k] -= x * coupling[i, k] * along[i]
                for k in range(n_outputs):
                    room[k] = h * w[j, k] - room[k]
                best_group(n_outputs, &room[0], h, l1[j], l2[j], &lower[j, 0], &upper[j, 0])
                for k in range(n_outputs):
                    change = <floating> (room[k] - w[j, k])
                    if change != 0.0:
                        w[j, k] = room[k]
                        for e in range(indptr[j], indptr[j + 1]):
                            i = indices[e]
                            moved[i, k] += data[e] * change
                            if coupled:
                                along[i] += coupling[i, k] * data[e] * change


def curved_rows(
    const floating[:, ::1] diagonal,
    const floating[:, ::1] coupling,
    const floating[:, ::1] moved,
    floating[:, ::1] result,
    int n_threads,
):
    """Fill ``result`` with the curvature of each row times what a step moves it.

    All arrays have the shape (n_outputs, n_rows); ``coupling`` has no output if there is none.
    """
    cdef:
        Py_ssize_t n_outputs = moved.shape[0], n_rows = moved.shape[1]
        Py_ssize_t block, first, k, i, n
        bint coupled = coupling.shape[0] > 0
        floating[:, ::1] along = np.zeros(
            ((n_rows + ROWS - 1) // ROWS, ROWS), dtype=np.asarray(moved).dtype)
    for block in prange(along.shape[0], nogil=True, num_threads=n_threads, schedule="static"):
        first = block * ROWS
        n = min(ROWS, n_rows - first)
        if coupled:
            for k in range(n_outputs):
                for i in range(n):
                    along[block, i] += coupling[k, first + i] * moved[k, first + i]
        for k in range(n_outputs):
            for i in range(n):
                result[k, first + i] = diagonal[k, first + i] * moved[k, first + i]
            if coupled:
                for i in range(n):
                    result[k, first + i] -= coupling[k, first + i] * along[block, i]


def column_curvatures(
    const Py_ssize_t[::1] starts,
    const Py_ssize_t[::1] column,
    const Py_ssize_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const floating[:, ::1] of_rows,
    int n_threads,
):
    """Return the sums of curvature times squared entry of each coordinate, of shape (n,).

    ``of_rows`` has the shape (n_outputs, n_rows).
    """
    cdef:
        Py_ssize_t k, a, e
        double total
        double[::1] result = np.zeros(column.shape[0])
    for k in prange(starts.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic"):
        for a in range(starts[k], starts[k + 1]):
            total = 0.0
            for e in range(indptr[column[a]], indptr[column[a] + 1]):
                total = total + <double> data[e] * data[e] * of_rows[k, indices[e]]
            result[a] = total
    return np.asarray(result)


def weighted_gram(
    const int32_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const floating[::1] of_rows,
    Py_ssize_t n_columns,
):
    """Return X^T diag(``of_rows``) X for a matrix X in CSR; its lower triangle."""
    cdef:
        Py_ssize_t i, e, f
        double value
        double[:, ::1] result = np.zeros((n_columns, n_columns))
    with nogil:
        for i in range(of_rows.shape[0]):
            for e in range(indptr[i], indptr[i + 1]):
                value = <double> of_rows[i] * data[e]
                for f in range(indptr[i], e + 1):
                    result[indices[e], indices[f]] += value * data[f]
    return np.asarray(result)


def column_products(
    const Py_ssize_t[::1] starts,
    const Py_ssize_t[::1] column,
    const Py_ssize_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const floating[:, ::1] of_rows,
    int n_threads,
):
    """Return X^T ``of_rows`` at each coordinate, of shape (n,)."""
    cdef:
        Py_ssize_t k, a, e
        double total
        double[::1] result = np.zeros(column.shape[0])
    for k in prange(starts.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic"):
        for a in range(starts[k], starts[k + 1]):
            total = 0.0
            for e in range(indptr[column[a]], indptr[column[a] + 1]):
                total = total + data[e] * of_rows[k, indices[e]]
            result[a] = total
    return np.asarray(result)


def row_products(
    const Py_ssize_t[::1] starts,
    const Py_ssize_t[::1] column,
    const Py_ssize_t[::1] indptr,
    const int32_t[::1] indices,
    const floating[::1] data,
    const double[::1] d,
    floating[:, ::1] result,
    int n_threads,
):
    """Fill ``result``, of shape (n_outputs, n_rows), with X d."""
    cdef:
        Py_ssize_t k, a, e, i
        floating x
    for k in prange(starts.shape[0] - 1, nogil=True, num_threads=n_threads, schedule="dynamic"):
        for i in range(result.shape[1]):
            result[k, i] = 0.0
        for a in range(starts[k], starts[k + 1]):
            x = <floating> d[a]
            if x != 0.0:
                for e in range(indptr[column[a]], indptr[column[a] + 1]):
                    result[k, indices[e]] += x * data[e]
