"""The model of a Newton step with the Hessian of the coefficients in use as a matrix.

It takes passes over X that are worth it if there are more rows than such coefficients.
"""

from itertools import pairwise

import numpy as np

from .._data._factors import mirror
from .._utils.numerics import SLACK
from . import _coordinate_descent as kernels
from ._matrix_model import minimise as minimise_single
from .newton_models import NOISE, NewtonModel, factorised
from .preconditioners import solve


class MatrixModel(NewtonModel):
    """The model with the Hessian of the active coefficients as a matrix.

    All methods but ``minimise`` and ``is_newton`` are for groups; ``_matrix_model.pyx`` minimises a
    model of single coordinates.
    """

    @property
    def is_newton(self):
        """As in ``NewtonModel``; not for groups: with doubled steps fits of MNIST were slower."""
        return not self.grouped

    def __init__(self, *arguments):
        super().__init__(*arguments)
        objective, self._is_kept = self.objective, False
        if objective.small is not None:
            H = objective.small.hessian(self.vector)[self.feature[:, np.newaxis], self.feature]
            mirror(H)
        elif self.grouped and not self.is_far:
            H = self._kept_hessian()
        else:
            H = self._hessian(self.vector, self._of_outputs())
        self.matrix = H
        if self.grouped:
            self._find_groups(H)

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

    def _of_outputs(self):
        """Return the features of the coefficients of each output."""
        return [self.feature[begin:end] for begin, end in pairwise(self.starts)]

    def _hessian(self, vector, active):
        """Return the Hessian of the mean loss at a vector, in active coefficients."""
        objective, settings = self.objective, self.settings
        rows, n, neglected = objective.rows, sum(map(len, active)), settings.neglected
        if self.is_far:
            rows, neglected = rows.sample, settings.first_neglected
        if rows.n_rows * n**2 <= settings.quick_work:
            neglected = 0.0
        elif self.is_far:
            on_path = self.grouped and self.is_on_path
            wanted = settings.first_group_rows if on_path else settings.rows_per_coefficient
            rows = rows.sampled(wanted * n)
        total = objective.total_weight if rows is objective.rows else rows.weight.sum()
        mean = objective.mean if objective.fit_intercept else None
        at = objective.at(vector)
        H = rows.active_hessian(*at, mean, active, neglected, objective.n_threads)
        H /= total
        if objective.fit_intercept and objective.shift_invariant:
            # the same change of all intercepts has no curvature, and the gradient no part along it
            last = np.cumsum([len(features) for features in active]) - 1
            H[np.ix_(last, last)] += H[last, last].mean() / len(last)
        return H

    def _kept_hessian(self):
        """Return the Hessian of an earlier step if it has hardly changed since, or a new one.

        A matrix of groups has no zeros: it costs as much as many steps. It has hardly changed if
        the curvatures of the rows have not, and each step then leaves about as large a share of the
        distance from the minimum as that of the change. ``state["hessian_at"]`` has the point and
        the coefficients of the matrix, from which it follows.
        """
        objective, state = self.objective, self.state
        sample, n_threads, known = objective.rows.sample, objective.n_threads, state["hessian_at"]
        if known is not None and np.isin(self.feature, known["feature"]).all():
            now, before = (
                sample.row_curvatures(*objective.at(vector), n_threads)[0]
                for vector in (self.vector, known["vector"])
            )
            if np.abs(now - before).sum() > self.settings.changed * before.sum():
                known = None
        else:
            known = None
        self._is_kept = known is not None
        if known is None:
            known = {"vector": self.vector.copy(), "feature": self.feature[: self.starts[1]]}
            state["hessian_at"], objective.kept_hessian = known, None
        feature, n_outputs = known["feature"], objective.n_outputs
        if objective.kept_hessian is None:
            objective.kept_hessian = self._hessian(known["vector"], [feature] * n_outputs)
        if len(feature) * n_outputs == self.n:
            return objective.kept_hessian
        at = np.searchsorted(feature, self.feature) + len(feature) * self.output
        return objective.kept_hessian[np.ix_(at, at)]

    def renew(self):
        """As in ``NewtonModel``."""
        is_kept, self._is_kept = self._is_kept, False
        if is_kept:
            self.state["hessian_at"] = None
        return is_kept

    @property
    def n_sweeps(self):
        """Number of sweeps between two Newton steps: as many as cost less than one."""
        if self.grouped:  # which finds out which groups are 0 long before that
            return 2 * self.settings.sweeps
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
        self._add_hessian_of_sizes(matrix, free)
        found = factorised(matrix)
        return None if found is None else solve(*found, right)

    def _add_hessian_of_sizes(self, matrix, free):
        """Add it to the matrix of the free coordinates, in place."""
        ratio, unit = self._hessian_of_sizes(self.w)
        blocks = ratio[:, :, np.newaxis] * (
            np.eye(unit.shape[1]) - unit[:, :, np.newaxis] * unit[:, np.newaxis]
        )
        place = np.full(self.n, -1)
        place[free] = np.arange(len(free))
        rows, columns = np.broadcast_arrays(
            self.of_groups(place)[:, :, np.newaxis], self.of_groups(place)[:, np.newaxis]
        )
        kept = (rows >= 0) & (columns >= 0)
        matrix[rows[kept], columns[kept]] += blocks[kept]
