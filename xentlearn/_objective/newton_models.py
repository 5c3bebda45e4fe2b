"""Quadratic models of the mean loss at a point, with the penalty: the steps of proximal Newton.

A model knows the coordinates that a step may change. ``MatrixModel`` computes the Hessian of these
coefficients (``matrix_model.py``), ``RowsModel`` works with the columns of X (``rows_model.py``),
and ``GroupsModel`` does so for groups (``groups_model.py``).

All are improved by coordinate descent (``_coordinate_descent.pyx``), which finds out which
coefficients are 0, and by Newton steps of the others with their signs kept, which converge where
coordinate descent is slow because features are correlated. For a matrix and single coordinates
both are in ``_matrix_model.pyx``.
"""

import numpy as np

from .._utils.numerics import EPS, SLACK_MULTIPLES
from . import _coordinate_descent as kernels
from .penalties import least_subgradient
from .preconditioners import cholesky_factor

# Rounding errors of values, relative to them.
NOISE = 16 * EPS[np.dtype(float)]


def conjugate_gradients(product, precondition, right, settings):
    """Solve a positive definite system.

    Parameters
    ----------
    product, precondition : callable
        Multiply a vector by the matrix, and by about its inverse.
    right : ndarray of shape (n,)
    settings : composite_settings.ProximalNewton

    Returns
    -------
    ndarray of shape (n,)
    """
    x, residual = np.zeros(len(right)), right.copy()
    direction = precondition(residual)
    left = residual @ direction
    wanted = settings.cg_left * left
    for _ in range(settings.most_cg_iter):
        along = product(direction)
        curvature = direction @ along
        if not curvature > 0:
            break
        x += left / curvature * direction
        residual -= left / curvature * along
        solved = precondition(residual)
        before, left = left, residual @ solved
        if not left > wanted:
            break
        direction = solved + left / before * direction
    return x


def factorised(matrix):
    """Return L and the scale of ``cholesky_factor``, of a matrix that may be nearly singular.

    The least of ``SLACK_MULTIPLES`` that is enough is added to its diagonal.

    Parameters
    ----------
    matrix : ndarray of shape (n, n), in C order
        Only its upper triangle is read.

    Returns
    -------
    (ndarray of shape (n, n), ndarray of shape (n,)) or None
        None if the matrix is far from positive definite.
    """
    diagonal = matrix.diagonal()
    scale = 1.0 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    for more in SLACK_MULTIPLES:
        try:
            return cholesky_factor(matrix.copy(), scale, more * len(matrix)), scale
        except np.linalg.LinAlgError:
            continue
    return None


class NewtonModel:
    """What all models share.

    Parameters
    ----------
    objective : CompositeObjective
    vector, gradient : ndarray of shape (size,)
        The point, and the gradient of the mean loss there.
    terms : FeatureTerms
        The penalty for now.
    active : ndarray of shape (n_features + fit_intercept, n_outputs), bool
        The coefficients that may change.
    settings : composite_settings.ProximalNewton
    state : dict
        What is known from earlier steps: "bound", the largest change of a logit by one coefficient,
        "moved", by how much the last step has changed the logits of the rows, "raised", the share
        of it for which curvatures are raised, "far", whether the minimum is so far away that a
        coarse Hessian is enough, "partial", whether the gradient would move coefficients that may
        not change, and "hessian_at", where and of which coefficients a Hessian that
        serves several steps was computed.

    Attributes
    ----------
    w : ndarray of shape (n,)
        The present point, in the coordinates of the model.
    is_newton : bool
        Whether steps may be doubled: the curvature is that of the loss, and not raised.
    by_feature : bool
        Whether the coordinates are ordered by feature, and then by output.
    """

    is_newton = by_feature = False

    def __init__(self, objective, vector, gradient, terms, active, settings, state):
        self.objective, self.vector, self.settings = objective, vector, settings
        self.grouped, self.state, self.is_far = terms.grouped, state, state["far"]
        self.is_on_path = terms is not objective.terms
        self.is_plain = objective.rows.y.loss._certifiable  # curvatures are w p (1 - p)
        n_features, n_outputs = objective.n_features, objective.n_outputs
        if self.by_feature:
            self.feature, self.output = np.nonzero(active)
        else:
            self.output, self.feature = np.nonzero(active.T)
        self.starts = np.append(0, np.cumsum(np.count_nonzero(active, axis=0)))
        coef, gradient = vector.reshape(objective.shape), gradient.reshape(objective.shape)
        coef, gradient = self._units(coef, gradient)
        self.w0 = coef[self.feature, self.output]
        self.g = gradient[self.feature, self.output]
        self.w = self.w0.copy()
        self.l1, self.l2, lower, upper = (a[self.feature] for a in terms.with_intercept)
        most = state["bound"] * objective.inverse_reach[self.feature]
        self.lower = np.maximum(lower, np.minimum(self.w0, 0.0) - most)
        self.upper = np.minimum(upper, np.maximum(self.w0, 0.0) + most)
        # the coordinates by feature, in which sweeps visit them and groups are formed
        self.order = np.argsort(self.feature, kind="stable")
        self.n_grouped = 0
        if self.grouped:  # the intercepts come last, and are no group
            self.n_grouped = int(np.count_nonzero(self.feature < n_features)) // n_outputs
        self.in_groups = slice(0, self.n_grouped * n_outputs)
        if not self.by_feature:
            self.in_groups = self.order[self.in_groups]

    def _units(self, coef, gradient):
        return coef, gradient

    @property
    def n(self):
        """Number of coordinates."""
        return len(self.w)

    def of_groups(self, values):
        """Return values of the coordinates as (n_groups, n_outputs) arrays, without intercepts."""
        return values[self.in_groups].reshape(-1, self.objective.n_outputs)

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
        slope = self.of_groups(self.l1) * groups / np.where(sizes > 0, sizes, 1.0)
        result[self.in_groups] += slope.ravel()
        return result

    def _free(self, w):
        """Return the coordinates of a Newton step: neither 0 by the penalty nor at a bound."""
        used = w != 0
        if self.grouped:
            groups = self.of_groups(w).any(axis=1)
            used[self.in_groups] = np.repeat(groups, self.objective.n_outputs)
        inside = (self.lower < w) & (w < self.upper)
        return np.flatnonzero((used | (self.l1 == 0)) & inside)

    def _hessian_of_sizes(self, w):
        """Return the Hessians of l1 times the sizes of groups at w, ratio (I - unit unit^T).

        Arrays of shape (n_groups, 1) and (n_groups, n_outputs); both are 0 where w is.
        """
        groups = self.of_groups(w)
        sizes = np.sqrt(np.square(groups).sum(axis=1, keepdims=True))
        used = np.where(sizes > 0, sizes, 1.0)
        return np.where(sizes > 0, self.of_groups(self.l1)[:, :1] / used, 0.0), groups / used

    def penalty_product(self, d, of_sizes):
        """Return the Hessian of the penalty times d; ``of_sizes`` is ``_hessian_of_sizes``."""
        ratio, unit = of_sizes
        result, groups = self.l2 * d, self.of_groups(d)
        groups = ratio * (groups - unit * (unit * groups).sum(axis=1, keepdims=True))
        result[self.in_groups] += groups.ravel()
        return result

    def improve(self):
        """Take a Newton step of the free coordinates; return whether that is progress.

        Of two points the better one is taken: the end of the step, with 0 for coefficients whose
        sign it would change, and the minimum of the model on the way there. Where some direction
        has next to no curvature, steps are long, and the minimum is at the change of a sign.

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
        value, left, kept = self.value(w, slope), self.violation(w, slope), self.keep()
        noise = NOISE * (abs(value) + self.penalty(w))
        full = np.zeros(self.n)
        full[free] = direction
        points = [self._bounded(w + full)]
        share = self._best_share(full, slope)
        if share < 1.0:
            points.append(self._bounded(w + share * full))
        best = None
        for new in points:
            self.move(new)
            new_slope = self.slope()
            gained = value - self.value(new, new_slope)
            if best is None or gained > best[0]:
                best = gained, new, self.keep(), new_slope
        gained, new, now, new_slope = best
        if gained > noise or (gained >= -noise and self.violation(new, new_slope) < left):
            self.move(new, now)
            return True
        self.move(w, kept)
        return False

    def _bounded(self, new):
        """Return a point within the bounds, with 0 for coordinates that change their sign."""
        if not self.grouped:
            w = self.w
            ends = (new * w < 0) | (np.abs(new) < NOISE * np.abs(w))
            new[ends & (self.l1 > 0)] = 0.0
        return np.clip(new, self.lower, self.upper)

    def _best_share(self, direction, slope):
        """Return the share of a step, at most 1, that minimises the model on the way."""
        w, curvature = self.w, self.curvature_along(direction)
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = [(bound - w) / direction for bound in (self.lower, self.upper)]
        ends = np.concatenate(ends)
        most = float(ends[ends > 0].min(initial=1.0))
        first = slope @ direction + self.l2 @ (w * direction)
        if not self.grouped:
            return kernels.best_share(w, direction, self.l1, first, curvature, most)
        n_outputs, n_groups = self.objective.n_outputs, self.n_grouped
        at, groups = self.order, n_outputs * np.arange(n_groups + 1, dtype=np.intp)
        l1 = self.of_groups(self.l1)[:, 0].copy()
        return kernels.best_share(w[at], direction[at], l1, first, curvature, most, groups)

    def violation(self, w, slope):
        """Return how much single coordinates could still gain, with ``slope`` as for ``value``."""
        curvature = self.diagonal_of_coordinates + self.l2
        arrays = w, slope + self.l2 * w, self.l1, self.lower, self.upper, curvature
        if self.grouped:
            arrays = (a[self.order].reshape(-1, self.objective.n_outputs) for a in arrays)
        *arrays, curvature = arrays
        squares = np.square(least_subgradient(*arrays, self.grouped))
        return float(np.sum(squares / np.where(curvature > 0, curvature, np.inf)))

    def value(self, w, slope):
        """Return the model at w, less the loss at the point, where its gradient is ``slope``."""
        return 0.5 * float((self.g + slope) @ (w - self.w0)) + self.penalty(w)

    def accuracy(self, predicted):
        """Return the share of its violation that a model may leave.

        ``predicted`` is the share of the objective that the step before has gained by its model.
        """
        return self.settings.first_accuracy if self.is_far else self.settings.accuracy

    def minimise(self, accuracy):
        """Minimise the model by sweeps and Newton steps.

        Parameters
        ----------
        accuracy : float
            Share of its violation at the start that may be left.

        Returns
        -------
        gained : float
            The decrease of the model.
        left : float
            Share of its violation at the start that is left.
        """
        first = last = self.violation(self.w, self.slope())
        start = before = self.penalty(self.w0)
        n_failed = 0
        for _ in range(self.settings.most_rounds):
            self.sweep(self.n_sweeps)
            slope = self.slope()
            left = self.violation(self.w, slope)
            if left > accuracy * first and self._takes_long(left, accuracy * first, last):
                self.improve()
                slope = self.slope()
                left = self.violation(self.w, slope)
            value = self.value(self.w, slope)
            gained = before - value > self.settings.little * (start - value)
            n_failed = 0 if gained or left < 0.5 * last else n_failed + 1
            last, before = min(left, last), value
            if left <= accuracy * first or n_failed > self.settings.most_failed:
                break
        return start - value, last / first if first > 0 else 0.0

    def penalty_to(self, share):
        """Return how the penalty changes if a share of the step to the present point is taken."""
        w = self.w if share == 1.0 else self.w0 + share * (self.w - self.w0)
        return self.penalty(w) - self.penalty(self.w0)

    def slope_of_step(self):
        """Return how the objective would change by the step if the loss were linear."""
        return float(self.g @ (self.w - self.w0)) + self.penalty_to(1.0)

    def _takes_long(self, left, wanted, before):
        """Return whether sweeps that go on as the last ones would cost more than a Newton step."""
        if not (wanted > 0 and before / left > 1):
            return True
        rounds = np.log(left / wanted) / np.log(before / left)
        return rounds * (2 * self.n_sweeps + 1) > 2 * self.settings.most_cg_iter

    def point(self):
        """Return the vector at the present point."""
        matrix = self.vector.reshape(self.objective.shape).copy()
        matrix[self.feature, self.output] = self.w
        return matrix.ravel()

    def renew(self):
        """Have the next model made from scratch; return whether this one was not."""
        return False

    def remember(self, step):
        """Note how far a share of the step has moved the rows; matrices do not know it."""
