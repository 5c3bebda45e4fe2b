"""The model of a Newton step with columns of X, for penalties of groups.

All coefficients of a feature are in use or none is, so that arrays of the coordinates are matrices
(n_columns, n_outputs), and a product with the Hessian is two products of matrices.
"""

import numpy as np
from scipy import sparse

from . import _coordinate_descent as kernels
from .newton_models import conjugate_gradients
from .rows_model import RowsModel


class GroupsModel(RowsModel):
    """``RowsModel`` with the coordinates, and all that belongs to rows, ordered by output last."""

    by_feature = True
    n_sweeps = 4

    def _hold(self, diagonal, coupling):
        """Keep the curvatures of the rows, and find those of the coordinates."""
        self.diagonal = np.ascontiguousarray(diagonal)
        self.coupling = np.zeros((0, 0), diagonal.dtype)
        if coupling is not None:
            self.coupling = np.ascontiguousarray(coupling)
        self.moved, self.along = np.zeros_like(diagonal), np.zeros(len(diagonal), diagonal.dtype)
        indptr, indices, data = self.columns
        shape = len(indptr) - 1, len(diagonal)
        if len(data) == shape[0] * shape[1]:
            self.transposed = data.reshape(shape)
            squares, self.X = self.transposed**2, self.transposed.T
        else:
            self.transposed = sparse.csr_array((data, indices, indptr), shape=shape)
            squares, self.X = self.transposed.power(2), self.transposed.T.tocsr()
        # diag(d), which is at least diag(d) - u u^T
        self.curvature = np.asarray(squares @ self.diagonal, dtype=np.float64).ravel()
        self.diagonal_of_coordinates = self.curvature
        self.largest = self._by_column(self.curvature).max(axis=1)

    def _by_output(self, of_rows):
        """Return an array of rows and outputs with the shape (n_outputs, n_rows)."""
        return of_rows.T

    def sweep(self, n_sweeps):
        """Sweep over the columns."""
        kernels.sweep_groups(
            *self.columns,
            self.diagonal,
            self.coupling,
            self._by_column(self.g),
            self.largest,
            self._by_column(self.l1)[:, 0].copy(),
            self._by_column(self.l2)[:, 0].copy(),
            self._by_column(self.lower),
            self._by_column(self.upper),
            self._by_column(self.w),
            self.moved,
            self.along,
            n_sweeps,
        )

    def _by_column(self, values):
        """Return values of the coordinates as an array of shape (n_columns, n_outputs)."""
        return values.reshape(-1, self.objective.n_outputs)

    def _product(self, moved):
        """Return the Hessian times the step that moves the rows so, in the coordinates."""
        of_rows = self.diagonal * moved
        if len(self.coupling):
            of_rows -= self.coupling * self._along(moved)[:, np.newaxis]
        return np.asarray(self.transposed @ of_rows, dtype=np.float64).ravel()

    def _moved_by(self, d):
        """Return X d, of the shape of ``moved``."""
        return self.X @ self._by_column(d.astype(self.moved.dtype, copy=False))

    def _solved(self, free, right):
        """Solve for the Newton step of the free coordinates by conjugate gradients."""
        of_sizes, of_free = self._hessian_of_sizes(self.w), np.zeros(self.n)
        of_free[free] = 1.0

        def product(d):
            along = self._product(self._moved_by(d)) + self.penalty_product(d, of_sizes)
            return of_free * along

        residual = np.zeros(self.n)
        residual[free] = right
        solve = self._preconditioner(free, *of_sizes)
        return conjugate_gradients(product, solve, residual, self.settings)[free]

    def _preconditioner(self, free, ratio, unit):
        """Return a function that solves with the curvatures of coordinates and those of groups.

        A group's block is D + ratio (I - unit unit^T), of which only the free coordinates count;
        it is inverted by the formula of Sherman and Morrison.
        """
        inverse, curvature = np.zeros(self.n), self.curvature + self.l2
        inverse[free] = 1.0 / np.where(curvature > 0, curvature, 1.0)[free]
        share = 1.0 / (1.0 + ratio * self.of_groups(inverse))
        of_groups = share * self.of_groups(inverse)
        along = of_groups * unit
        # 1 - ratio unit . along, which is 0 but for D and what is not free, without cancellation
        rest = (unit * unit * share).sum(axis=1, keepdims=True)
        factor = np.divide(ratio, rest, out=np.zeros_like(ratio), where=rest > 0)

        def solve(residual):
            result = inverse * residual
            groups = self.of_groups(residual)
            shared = factor * (along * groups).sum(axis=1, keepdims=True)
            result[self.in_groups] = (of_groups * groups + along * shared).ravel()
            return result

        return solve
