"""Quadratic models of the mean loss at a point, with the penalty: the steps of proximal Newton.

A model knows the coordinates that a step may change, ordered by output. ``MatrixModel`` computes
the Hessian of these coefficients, in passes over X that are worth it if there are more rows than
coefficients. ``RowsModel`` has the columns of X instead, and the curvature of each row: a sweep then
costs the entries of the columns, which suits sparse X.

Both are improved by coordinate descent (``_coordinate_descent.pyx``), which finds out which
coefficients are 0, and by Newton steps of the others with their signs kept, which converge where
coordinate descent is slow because features are correlated. Such a step ends at 0 for coefficients
whose sign it would change.
"""

import numpy as np
from scipy import sparse

from .._data._design_matrix import computing_dtype
from .._utils.numerics import EPS
from . import _coordinate_descent as kernels
from .preconditioners import cholesky_factor, solve


# Rounding errors of values, relative to them.
NOISE = 16 * EPS[np.dtype(float)]


class _Model:
    """What both models share.

    Parameters
    ----------
    objective : CompositeObjective
    vector, gradient : ndarray of shape (size,)
        The point, and the gradient of the mean loss there.
    strengthened : float
        Number by which the L1 penalty is multiplied for now.
    active : ndarray of shape (n_features + fit_intercept, n_outputs), bool
        The coefficients that may change.
    settings : settings.ProximalNewton
    state : dict
        What is known from earlier steps: "bound", the largest change of a logit by one coefficient,
        "moved", by how much the last step has changed the logits of the rows, "raised", the share
        of it for which curvatures are raised, and "far", whether the minimum is so far away that a
        coarse Hessian is enough.

    Attributes
    ----------
    w : ndarray of shape (n,)
        The present point, in the coordinates of the model.
    """

    def __init__(self, objective, vector, gradient, strengthened, active, settings, state):
        terms, self.is_far = objective.terms.times(strengthened), state["far"]
        self.objective, self.vector, self.settings = objective, vector, settings
        self.grouped, self.state = terms.grouped, state
        n_features, n_outputs = objective.n_features, objective.n_outputs
        self.active = [np.flatnonzero(active[:, k]) for k in range(n_outputs)]
        self.starts = np.cumsum([0, *map(len, self.active)], dtype=np.intp)
        self.feature = np.concatenate(self.active)
        self.output = np.repeat(np.arange(n_outputs), np.diff(self.starts))
        coef, gradient = vector.reshape(objective.shape), gradient.reshape(objective.shape)
        coef, gradient = self._units(coef, gradient)
        self.w0 = coef[self.feature, self.output]
        self.g = gradient[self.feature, self.output]
        self.w = self.w0.copy()
        of_intercept = [0.0, 0.0, -np.inf, np.inf]
        arrays = []
        for array, other in zip(
            (terms.l1, terms.l2, terms.lower, terms.upper), of_intercept, strict=True
        ):
            arrays.append(np.append(array, [other] * objective.fit_intercept)[self.feature])
        self.l1, self.l2, lower, upper = arrays
        with np.errstate(divide="ignore"):
            reach = state["bound"] / np.append(objective.reach, 0.0)[self.feature]
        self.lower = np.maximum(lower, np.minimum(self.w0, 0.0) - reach)
        self.upper = np.minimum(upper, np.maximum(self.w0, 0.0) + reach)
        # the coordinates by feature, in which sweeps visit them and groups are formed
        self.order = np.argsort(self.feature, kind="stable").astype(np.intp)
        self.n_grouped = 0
        if self.grouped:  # the intercepts come last, and are no group
            self.n_grouped = int(np.count_nonzero(self.feature < n_features)) // n_outputs

    def _units(self, coef, gradient):
        return coef, gradient

    @property
    def n(self):
        """Number of coordinates."""
        return len(self.w)

    def of_groups(self, values):
        """Return values of the coordinates as (n_groups, n_outputs) arrays, without intercepts."""
        n_outputs = self.objective.n_outputs
        return values[self.order[: self.n_grouped * n_outputs]].reshape(-1, n_outputs)

    def penalty(self, w):
        """Return the penalty at w."""
        square = 0.5 * float(self.l2 @ (w * w))
        if not self.grouped:
            return square + float(self.l1 @ np.abs(w))
        sizes = np.sqrt(np.square(self.of_groups(w)).sum(axis=1))
        return square + float(self.of_groups(self.l1)[:, 0] @ sizes)

    def _penalty_slope(self, w):
        """Return the gradient of the penalty where it has one."""
        if not self.grouped:
            return self.l1 * np.sign(w) + self.l2 * w
        result, groups = self.l2 * w, self.of_groups(w)
        sizes = np.sqrt(np.square(groups).sum(axis=1, keepdims=True))
        at = self.order[: groups.size]
        slope = self.of_groups(self.l1) * groups / np.where(sizes > 0, sizes, 1.0)
        result[at] += slope.ravel()
        return result

    def _free(self, w):
        """Return the coordinates of a Newton step: neither 0 by the penalty nor at a bound."""
        used = w != 0
        if self.grouped:
            groups = self.of_groups(w).any(axis=1, keepdims=True)
            at = self.order[: groups.size * self.objective.n_outputs]
            used[at] = np.broadcast_to(groups, (len(groups), self.objective.n_outputs)).ravel()
        inside = (self.lower < w) & (w < self.upper)
        return np.flatnonzero((used | (self.l1 == 0)) & inside)

    def _group_curvature(self, w, direction):
        """Return the Hessian of the sizes of groups at w times a direction."""
        groups, along = self.of_groups(w), self.of_groups(direction)
        sizes = np.sqrt(np.square(groups).sum(axis=1, keepdims=True))
        sizes[sizes == 0] = np.inf
        unit = groups / np.where(sizes < np.inf, sizes, 1.0)
        along = along - unit * (unit * along).sum(axis=1, keepdims=True)
        result = np.zeros(len(w))
        at = self.order[: groups.size]
        result[at] = (self.of_groups(self.l1) / sizes * along).ravel()
        return result

    def improve(self):
        """Take a Newton step of the free coordinates; return whether that is progress.

        Near the minimum rounding errors hide the decrease of the model, but not that of its
        gradient.
        """
        w, free = self.w, self._free(self.w)
        if not len(free):
            return False
        slope = self.slope()
        right = -(slope + self._penalty_slope(w))[free]
        direction = self._solved(free, right)
        if direction is None:
            return False
        value, left, step = self.value(w, slope), self.violation(w, slope), 1.0
        noise = NOISE * (abs(value) + self.penalty(w))
        kept = self.keep()
        for n_halved in range(self.settings.most_halvings + 1):
            if n_halved == self.settings.most_halvings:
                step = self._first_end(free, direction)
            moved = w[free] + step * direction
            if not self.grouped:
                ends = (moved * w[free] < 0) | (np.abs(moved) < NOISE * np.abs(w[free]))
                moved[ends & (self.l1[free] > 0)] = 0.0
            new = w.copy()
            new[free] = np.clip(moved, self.lower[free], self.upper[free])
            self.move(new)
            slope = self.slope()
            gained = value - self.value(new, slope)
            if gained > noise or (gained >= -noise and self.violation(new, slope) < left):
                return True
            step *= 0.5
        self.move(w, kept)
        return False

    def _first_end(self, free, direction):
        """Return the step to the first coordinate that changes its sign or reaches a bound."""
        w, ends = self.w[free], [np.ones(1)]
        with np.errstate(divide="ignore", invalid="ignore"):
            if not self.grouped:
                ends.append(np.where(self.l1[free] > 0, -w / direction, np.inf))
            ends += [(bound[free] - w) / direction for bound in (self.lower, self.upper)]
        ends = np.concatenate(ends)
        return float(ends[ends > 0].min())

    def violation(self, w, slope):
        """Return how much single coordinates could still gain, with ``slope`` as for ``value``."""
        least, l1 = slope + self.l2 * w, self.l1
        if self.grouped:
            size = np.sqrt(np.square(self.of_groups(w)).sum(axis=1, keepdims=True))
            steep = np.sqrt(np.square(self.of_groups(least)).sum(axis=1, keepdims=True))
            share = np.where(size > 0, 0.0, 1.0 / np.maximum(steep, np.finfo(float).tiny))
            at = self.order[: self.n_grouped * self.objective.n_outputs]
            shrunk = np.maximum(1.0 - self.of_groups(l1) * share, 0.0) * self.of_groups(least)
            result = least + self._penalty_slope(w) - self.l2 * w
            result[at] = np.where(size > 0, self.of_groups(result), shrunk).ravel()
        else:
            shrunk = np.sign(least) * np.maximum(np.abs(least) - l1, 0.0)
            result = np.where(w != 0, least + l1 * np.sign(w), shrunk)
        result[(w <= self.lower) & (result > 0)] = 0.0
        result[(w >= self.upper) & (result < 0)] = 0.0
        curvature = self.diagonal_of_coordinates + self.l2
        return float(np.sum(result**2 / np.where(curvature > 0, curvature, np.inf)))

    def value(self, w, slope):
        """Return the model at w, less the loss at the point, where its gradient is ``slope``."""
        return 0.5 * float((self.g + slope) @ (w - self.w0)) + self.penalty(w)

    def minimise(self, accuracy):
        """Minimise the model by sweeps and Newton steps.

        Parameters
        ----------
        accuracy : float
            Share of its violation at the start that may be left.

        Returns
        -------
        float
            The decrease of the model.
        """
        first = last = self.violation(self.w, self.slope())
        start = before = self.penalty(self.w0)
        n_failed = 0
        for _ in range(self.settings.most_rounds):
            self.sweep(self.n_sweeps)
            self.improve()
            slope = self.slope()
            left, value = self.violation(self.w, slope), self.value(self.w, slope)
            gained = before - value > self.settings.little * (start - value)
            n_failed = 0 if gained or left < 0.5 * last else n_failed + 1
            last, before = min(left, last), value
            if left <= accuracy * first or n_failed > self.settings.most_failed:
                break
        return start - value

    def point(self):
        """Return the vector at the present point."""
        matrix = self.vector.reshape(self.objective.shape).copy()
        matrix[self.feature, self.output] = self.w
        return matrix.ravel()

    def remember(self, step):
        """Note how far a share of the step has moved the rows; matrices do not know it."""


class MatrixModel(_Model):
    """The model with the Hessian of the active coefficients as a matrix."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        objective = self.objective
        mean = objective.mean if objective.fit_intercept else None
        at, n_threads = objective.at(self.vector), objective.n_threads
        rows, total, neglected = objective.rows, objective.total_weight, self.settings.neglected
        if self.is_far:
            rows = rows.sample.sampled(self.settings.rows_per_coefficient * self.n)
            total, neglected = rows.weight.sum(), self.settings.first_neglected
        H = rows.active_hessian(*at, mean, self.active, neglected, n_threads)
        H /= total
        if objective.fit_intercept and objective.shift_invariant:
            # the same change of all intercepts has no curvature, and the gradient no part along it
            last = np.flatnonzero(self.feature == objective.n_features)
            H[np.ix_(last, last)] += H[last, last].mean() / len(last)
        self.matrix, self._slope = H, self.g.copy()
        diagonal = self.diagonal_of_coordinates = H.diagonal().copy()
        n_outputs, grouped = objective.n_outputs, self.n_grouped
        at = self.order[: grouped * n_outputs].reshape(grouped, n_outputs)
        # of a group an upper bound of the eigenvalues of its block (Gershgorin)
        of_groups = np.abs(H[at[:, :, np.newaxis], at[:, np.newaxis]]).sum(axis=2).max(
            axis=1, initial=0.0
        )
        rest = self.order[grouped * n_outputs :]
        self.curvature = np.append(of_groups, diagonal[rest])
        groups = np.arange(grouped) * n_outputs
        self.groups = np.append(
            groups, grouped * n_outputs + np.arange(len(rest) + 1)
        ).astype(np.intp)

    @property
    def n_sweeps(self):
        """Number of sweeps between two Newton steps: as many as cost less than one."""
        return max(self.settings.sweeps, min(self.n // 3, self.settings.most_sweeps))

    def sweep(self, n_sweeps):
        """Sweep over the coordinates."""
        kernels.sweep_matrix(
            self.matrix,
            self.order,
            self.groups,
            self.curvature,
            self.l1,
            self.l2,
            self.lower,
            self.upper,
            self.w,
            self._slope,
            n_sweeps,
        )

    def slope(self):
        """Return the gradient of the loss of the model at the present point."""
        return self._slope

    def keep(self):
        """Return what ``move`` needs to come back."""
        return self._slope

    def move(self, w, kept=None):
        """Move to w."""
        self.w = w
        self._slope = self.g + self.matrix @ (w - self.w0) if kept is None else kept

    def _solved(self, free, right):
        """Solve for the Newton step of the free coordinates; None if that is not possible."""
        everything = len(free) == self.n
        matrix = self.matrix.copy() if everything else self.matrix[np.ix_(free, free)]
        matrix.reshape(-1)[:: len(free) + 1] += self.l2[free]
        if self.grouped:
            matrix += self._group_hessian(free)
        diagonal = matrix.diagonal()
        scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        for more in (1.0, 1e3, 1e6):
            try:
                return solve(cholesky_factor(matrix.copy(), scale, more * len(free)), scale, right)
            except np.linalg.LinAlgError:
                continue
        return None

    def _group_hessian(self, free):
        result = np.zeros((self.n, self.n))
        groups, l1 = self.of_groups(self.w), self.of_groups(self.l1)[:, 0]
        sizes = np.sqrt(np.square(groups).sum(axis=1))
        at = self.order[: groups.size].reshape(groups.shape)
        for row, w, size, strength in zip(at, groups, sizes, l1, strict=True):
            if size > 0:
                unit = w / size
                block = np.eye(len(w)) - np.outer(unit, unit)
                result[np.ix_(row, row)] = strength / size * block
        return result[np.ix_(free, free)]


class RowsModel(_Model):
    """The model with the columns of X and the curvatures of the rows.

    Columns of a sparse X are not centred, so that they remain sparse. Curvatures of rows are those
    of the point at first raised to what they may become nearby, as a step moves logits far: by a
    factor exp(r) at most for a change of r, and to a quarter of the weight at most. r is what the
    last step has moved them.
    """

    def __init__(self, *arguments):
        self.is_centred = not arguments[0].moments.is_sparse
        super().__init__(*arguments)
        objective, sample = self.objective, self.objective.rows.sample
        self._take_columns(sample)
        at, n_threads = objective.at(self.vector), objective.n_threads
        diagonal, coupling = sample.row_curvatures(*at, n_threads)
        diagonal = self._raised(sample, diagonal, coupling)
        total, dtype = sample.weight.sum(), np.dtype(computing_dtype(sample.X))
        by_output = not self.grouped
        diagonal = diagonal.T if by_output else diagonal
        self.diagonal = np.ascontiguousarray(diagonal, dtype=dtype)
        self.diagonal /= dtype.type(total)
        self.coupling = np.zeros((0, 0), dtype)
        if coupling is not None:
            coupling = coupling.T if by_output else coupling
            self.coupling = np.ascontiguousarray(coupling, dtype=dtype)
            self.coupling /= np.sqrt(dtype.type(total))
        self.moved = np.zeros_like(self.diagonal)
        self.along = np.zeros(sample.n_rows, dtype)
        of_rows = self.diagonal.T.copy() if self.grouped else self.diagonal
        if self.grouped:  # diag(d) is at least diag(d) - u u^T
            own = of_rows
        else:
            own = of_rows - self.coupling**2 if coupling is not None else of_rows
        of_columns = self.starts, self.column, *self.columns
        self.curvature = kernels.column_curvatures(*of_columns, own, n_threads)
        self.diagonal_of_coordinates = self.curvature

    n_sweeps = 2

    def _units(self, coef, gradient):
        if self.is_centred or not self.objective.fit_intercept:
            return coef, gradient
        coef, gradient, mean = coef.copy(), gradient.copy(), self.objective.mean
        coef[-1] -= mean @ coef[:-1]
        gradient[:-1] += np.outer(mean, gradient[-1])
        return coef, gradient

    def _take_columns(self, sample):
        """Make the columns of the active features, with one of ones for the intercept."""
        objective, dtype = self.objective, computing_dtype(sample.X)
        used = np.unique(self.feature)
        self.column = np.searchsorted(used, self.feature).astype(np.intp)
        of_features = used[used < objective.n_features]
        if sparse.issparse(sample.X):
            if objective._columns is None:
                objective._columns = sample.X.tocsc()
            chosen = objective._columns[:, of_features]
            indptr, indices, data = chosen.indptr, chosen.indices, chosen.data
        else:
            chosen = np.asarray(sample.X[:, of_features].T, dtype=dtype)
            chosen = chosen - objective.mean[of_features].astype(dtype)[:, np.newaxis]
            n_rows = sample.n_rows
            indptr, data = n_rows * np.arange(len(of_features) + 1), chosen.ravel()
            indices = np.tile(np.arange(n_rows, dtype=np.int32), len(of_features))
        if len(used) > len(of_features):
            ones = np.arange(sample.n_rows, dtype=np.int32)
            indptr = np.append(indptr, indptr[-1] + sample.n_rows)
            indices, data = np.append(indices, ones), np.append(data, np.ones(sample.n_rows))
        self.columns = (
            np.asarray(indptr, dtype=np.intp),
            np.asarray(indices, dtype=np.int32),
            np.asarray(data, dtype=dtype),
        )

    def _raised(self, sample, diagonal, coupling):
        """Return the diagonal with curvatures as large as they may become nearby."""
        if not self.objective.exact_hessian:
            return diagonal
        moved, own = self.state["moved"], diagonal
        moved = self.state["raised"] * (self.settings.moved if moved is None else moved)
        weight = sample.weight
        if coupling is not None:
            own = diagonal - coupling**2
        elif sample.y.entry_weight is not None:
            weight = sample.entry_weight(self.objective.n_threads)
        weight = 0.25 * (weight[:, np.newaxis] if weight.ndim == 1 else weight)
        raised = np.minimum(own * np.exp(moved), np.maximum(own, weight))
        return raised if coupling is None else raised + coupling**2

    def remember(self, step):
        """Note how far a share of the step has moved each row."""
        moved, coupling = self.moved, self.coupling
        if len(coupling):  # the same change of all logits does not change a softmax
            axis = 1 if self.grouped else 0
            mean = self.along / np.maximum(coupling.sum(axis=axis), np.finfo(coupling.dtype).tiny)
            moved = moved - (mean[:, np.newaxis] if self.grouped else mean)
        moved = np.abs(moved if self.grouped else moved.T)
        self.state["moved"] = np.minimum(step * moved, self.settings.moved)

    def sweep(self, n_sweeps):
        """Sweep over the coordinates."""
        penalty = self.l1, self.l2, self.lower, self.upper
        if not self.grouped:
            kernels.sweep_rows(
                self.starts,
                self.column,
                *self.columns,
                self.diagonal,
                self.coupling,
                self.g,
                self.curvature,
                *penalty,
                self.w,
                self.moved,
                self.along,
                n_sweeps,
                self.objective.n_threads,
            )
            return
        by_column = [self._by_column(a) for a in (self.g, self.curvature, *penalty, self.w)]
        g, curvature, l1, l2, lower, upper, w = by_column
        kernels.sweep_groups(
            *self.columns,
            self.diagonal,
            self.coupling,
            g,
            curvature.max(axis=1),
            l1[:, 0].copy(),
            l2[:, 0].copy(),
            lower,
            upper,
            w,
            self.moved,
            self.along,
            n_sweeps,
        )
        self.w[self.order] = w.ravel()

    def _by_column(self, values):
        """Return values of the coordinates as an array of shape (n_columns, n_outputs)."""
        return np.ascontiguousarray(values[self.order].reshape(-1, self.objective.n_outputs))

    def _product(self, moved):
        """Return the Hessian times the step that moves the rows so, in the coordinates."""
        diagonal, coupling = self.diagonal, self.coupling
        of_rows = diagonal * moved
        if len(coupling):
            axis = 1 if self.grouped else 0
            along = np.einsum("ij,ij->i" if axis == 1 else "ij,ij->j", coupling, moved)
            of_rows -= coupling * (along[:, np.newaxis] if axis == 1 else along)
        if self.grouped:
            of_rows = np.ascontiguousarray(of_rows.T)
        of_columns = self.starts, self.column, *self.columns
        return kernels.column_products(*of_columns, of_rows, self.objective.n_threads)

    def _moved_by(self, d):
        """Return X d, of the shape of ``moved``."""
        result = np.empty((self.objective.n_outputs, len(self.along)), self.diagonal.dtype)
        of_columns = self.starts, self.column, *self.columns
        kernels.row_products(*of_columns, d, result, self.objective.n_threads)
        return np.ascontiguousarray(result.T) if self.grouped else result

    def slope(self):
        """Return the gradient of the loss of the model at the present point."""
        return self.g + self._product(self.moved)

    def keep(self):
        """Return what ``move`` needs to come back."""
        return self.moved, self.along

    def move(self, w, kept=None):
        """Move to w."""
        self.w = w
        if kept is not None:
            self.moved, self.along = kept
            return
        self.moved = self._moved_by(w - self.w0)
        self.along = np.zeros_like(self.along)
        if len(self.coupling):
            subscripts = "ij,ij->i" if self.grouped else "ij,ij->j"
            self.along = np.einsum(subscripts, self.coupling, self.moved)

    def _solved(self, free, right):
        """Solve for the Newton step of the free coordinates by conjugate gradients."""
        inverse = self.curvature[free] + self.l2[free]
        inverse = 1.0 / np.where(inverse > 0, inverse, 1.0)
        x, residual = np.zeros(len(free)), right.copy()
        solved = inverse * residual
        direction, product = solved.copy(), residual @ solved
        wanted = self.settings.cg_left * product
        full = np.zeros(self.n)
        for _ in range(self.settings.most_cg_iter):
            full[free] = direction
            along = self._product(self._moved_by(full)) + self.l2 * full
            if self.grouped:
                along += self._group_curvature(self.w, full)
            curvature = direction @ along[free]
            if not curvature > 0:
                break
            x += product / curvature * direction
            residual -= product / curvature * along[free]
            solved = inverse * residual
            before, product = product, residual @ solved
            if not product > wanted:
                break
            direction = solved + product / before * direction
        return x

    def point(self):
        """Return the vector at the present point."""
        if self.is_centred or not self.objective.fit_intercept:
            return super().point()
        matrix = self.vector.reshape(self.objective.shape).copy()
        mean = self.objective.mean
        matrix[-1] -= mean @ matrix[:-1]
        matrix[self.feature, self.output] = self.w
        matrix[-1] += mean @ matrix[:-1]
        return matrix.ravel()
