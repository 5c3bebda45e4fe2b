"""The model of a Newton step with the Hessian of the coefficients in use as a matrix.

It takes passes over X that are worth it if there are more rows than such coefficients.
"""

from itertools import pairwise

import numpy as np

from .._data._factors import mirror
from .._utils.numerics import SLACK
from . import _coordinate_descent as kernels
from ._matrix_model import minimise as minimise_single
from .newton_models import NOISE, NewtonModel
from .preconditioners import cholesky_factor, solve


class MatrixModel(NewtonModel):
    """The model with the Hessian of the active coefficients as a matrix."""

    is_newton = True

    def __init__(self, *arguments):
        super().__init__(*arguments)
        objective = self.objective
        if objective.small is None:
            H = self._hessian()
        else:
            H = objective.small.hessian(self.vector)[self.feature[:, np.newaxis], self.feature]
            mirror(H)
        if objective.fit_intercept and objective.shift_invariant:
            # the same change of all intercepts has no curvature, and the gradient no part along it
            last = np.flatnonzero(self.feature == objective.n_features)
            H[np.ix_(last, last)] += H[last, last].mean() / len(last)
        self.matrix = H
        if self.grouped:
            self._find_groups(H)

    def _hessian(self):
        objective, settings = self.objective, self.settings
        rows, total, neglected = objective.rows, objective.total_weight, settings.neglected
        if self.is_far:
            rows, neglected = rows.sample, settings.first_neglected
        if rows.n_rows * self.n**2 <= settings.quick_work:
            neglected = 0.0
        elif self.is_far:
            rows = rows.sampled(settings.rows_per_coefficient * self.n)
        if rows is not objective.rows:
            total = rows.weight.sum()
        mean = objective.mean if objective.fit_intercept else None
        active = [self.feature[begin:end] for begin, end in pairwise(self.starts)]
        at, n_threads = objective.at(self.vector), objective.n_threads
        H = rows.active_hessian(*at, mean, active, neglected, n_threads)
        H /= total
        return H

    def _find_groups(self, H):
        objective, self._slope = self.objective, self.g.copy()
        diagonal = self.diagonal_of_coordinates = H.diagonal().copy()
        n_outputs, grouped = objective.n_outputs, self.n_grouped
        at = self.order[: grouped * n_outputs].reshape(grouped, n_outputs)
        # of a group an upper bound of the eigenvalues of its block (Gershgorin)
        of_groups = (
            np.abs(H[at[:, :, np.newaxis], at[:, np.newaxis]]).sum(axis=2).max(axis=1, initial=0.0)
        )
        rest = self.order[grouped * n_outputs :]
        self.curvature = np.append(of_groups, diagonal[rest])
        groups = np.arange(grouped) * n_outputs
        self.groups = np.append(groups, grouped * n_outputs + np.arange(len(rest) + 1)).astype(
            np.intp
        )

    @property
    def n_sweeps(self):
        """Number of sweeps between two Newton steps: as many as cost less than one."""
        return max(self.settings.sweeps, min(self.n // 3, self.settings.most_sweeps))

    def minimise(self, accuracy):
        """Minimise the model as ``NewtonModel`` does; single coordinates in one call."""
        if self.grouped:
            return super().minimise(accuracy)
        penalty = self.l1, self.l2, self.lower, self.upper
        options = accuracy, self.n_sweeps, self.settings, SLACK[self.w.dtype], NOISE
        return minimise_single(self.matrix, self.order, self.g, *penalty, self.w, *options)

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

    def curvature_along(self, direction):
        """Return the second derivative of the smooth part along a direction."""
        return float(direction @ (self.matrix @ direction + self.l2 * direction))

    def _solved(self, free, right):
        """Solve for the Newton step of the free coordinates; None if that is not possible."""
        everything = len(free) == self.n
        matrix = self.matrix.copy() if everything else self.matrix[np.ix_(free, free)]
        matrix.reshape(-1)[:: len(free) + 1] += self.l2[free]
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
