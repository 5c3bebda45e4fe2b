"""The model of a Newton step with the columns of X and the curvature of each row.

A sweep costs the entries of the columns in use, which suits sparse X.
"""

import math
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import sparse

from .._data._design_matrix import computing_dtype
from .._data.active_hessian import raise_curvatures
from . import _coordinate_descent as kernels
from .newton_models import NewtonModel, conjugate_gradients, factorised
from .preconditioners import solve


class RowsModel(NewtonModel):
    """The model with the columns of X and the curvatures of the rows.

    Columns of a sparse X are not centred, so that they remain sparse. Curvatures of rows are those
    at the point, raised to what they may become nearby, because a step moves logits far: by a
    factor exp(r) at most for a change of r, and to a quarter of the weight at most. r is what the
    last step has moved them.
    """

    def __init__(self, *arguments):
        self.is_centred = not arguments[0].moments.is_sparse
        super().__init__(*arguments)
        objective, sample = self.objective, self.objective.rows.sample
        # threads work on one output each, and wait for each other
        self.n_threads = min(objective.n_threads, objective.n_outputs)
        self._take_columns(sample)
        at, n_threads = objective.at(self.vector), objective.n_threads
        diagonal, coupling = sample.row_curvatures(*at, n_threads)
        if self.is_plain:
            moved = self.settings.moved if self.state["moved"] is None else self.state["moved"]
            change = self.state["raised"] * moved
            raise_curvatures(sample, diagonal, coupling, change, n_threads)
        total, dtype = sample.weight.sum(), np.dtype(computing_dtype(sample.X))
        diagonal = np.asarray(diagonal, dtype=dtype) / dtype.type(total)
        if coupling is not None:
            coupling = np.asarray(coupling, dtype=dtype) / np.sqrt(dtype.type(total))
        if sample is not objective.rows:
            diagonal, coupling = self._completed(sample.weight / total, diagonal, coupling)
        self._hold(diagonal, coupling)

    def _hold(self, diagonal, coupling):
        """Keep the curvatures of the rows, and find those of the coordinates."""
        self.diagonal = own = np.ascontiguousarray(diagonal.T)
        self.coupling = np.zeros((0, 0), diagonal.dtype)
        if coupling is not None:
            self.coupling = np.ascontiguousarray(coupling.T)
            own = self.diagonal - self.coupling**2
        self.moved = np.zeros_like(self.diagonal)
        self.along = np.zeros(len(diagonal), diagonal.dtype)
        self._blocks = None
        of_columns = self.starts, self.column, *self.columns
        self.curvature = kernels.column_curvatures(*of_columns, own, self.n_threads)
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
            ends = np.arange(len(of_features) + 1, dtype=np.intp)
            indptr, data = n_rows * ends, chosen.ravel()
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

    def _completed(self, weight, diagonal, coupling):
        """Add a row for each column of which the sample lacks more than half the mean square.

        A feature that few rows have may have no entry in the sample of the rows. Then it would have
        no curvature, and no step would change its coefficients. The mean square of all rows is
        known; the rest of it gets the mean curvature of each output, by a row of that feature
        alone.

        Parameters
        ----------
        weight : ndarray of shape (n_rows,)
            Of the rows of the sample, with the sum 1.
        diagonal, coupling : ndarray of shape (n_rows, n_outputs)
            Curvatures of the rows; the latter may be None.

        Returns
        -------
        diagonal, coupling
            With further rows, which ``columns`` has then, too.
        """
        indptr, indices, data = self.columns
        wanted = np.append(self.objective.variance, 0.0)[np.unique(self.feature)]
        of_entries = np.repeat(np.arange(len(wanted)), np.diff(indptr))
        found = np.bincount(of_entries, weight[indices] * np.square(data, dtype=float), len(wanted))
        is_short = found < 0.5 * wanted
        short, n_rows = np.flatnonzero(is_short), len(diagonal)
        if not len(short):
            return diagonal, coupling
        ends = indptr[short + 1]
        self.columns = (
            indptr + np.append(0, np.cumsum(is_short)),
            np.insert(indices, ends, n_rows + np.arange(len(short), dtype=np.int32)),
            np.insert(data, ends, 1.0),
        )
        own = diagonal if coupling is None else diagonal - coupling**2
        more = np.outer((wanted - found)[short], own.sum(axis=0)).astype(diagonal.dtype)
        diagonal = np.concatenate([diagonal, more])
        if coupling is not None:
            coupling = np.concatenate([coupling, np.zeros_like(more)])
        return diagonal, coupling

    def remember(self, step):
        """Note how far a share of the step has moved each row."""
        rows = slice(self.objective.rows.sample.n_rows)
        moved, coupling = (self._by_output(a)[:, rows] for a in (self.moved, self.coupling))
        if len(self.coupling):  # the same change of all logits does not change a softmax
            sums = coupling.sum(axis=0)
            mean = self.along[rows] / np.maximum(sums, np.finfo(coupling.dtype).tiny)
            moved = moved - mean
        self.state["moved"] = np.minimum(step * np.abs(moved.T), self.settings.moved)

    def _by_output(self, of_rows):
        """Return an array of rows and outputs with the shape (n_outputs, n_rows)."""
        return of_rows

    def accuracy(self, predicted):
        """As in ``NewtonModel``; the greater, the farther away the minimum is.

        Making such a model is cheap, so that it pays to minimise it roughly at first.
        """
        first, last = self.settings.first_accuracy, self.settings.accuracy
        return first if self.is_far else min(first, max(last, math.sqrt(predicted)))

    def sweep(self, n_sweeps):
        """Sweep over the coordinates."""
        kernels.sweep_rows(
            self.starts,
            self.column,
            *self.columns,
            self.diagonal,
            self.coupling,
            self.g,
            self.curvature,
            self.l1,
            self.l2,
            self.lower,
            self.upper,
            self.w,
            self.moved,
            self.along,
            n_sweeps,
            self.n_threads,
        )

    def _product(self, moved):
        """Return the Hessian times the step that moves the rows so, in the coordinates."""
        of_rows = np.empty_like(moved)
        kernels.curved_rows(self.diagonal, self.coupling, moved, of_rows, self.n_threads)
        of_columns = self.starts, self.column, *self.columns
        return kernels.column_products(*of_columns, of_rows, self.n_threads)

    def _moved_by(self, d):
        """Return X d, of the shape of ``moved``."""
        result = np.empty((self.objective.n_outputs, len(self.along)), self.diagonal.dtype)
        of_columns = self.starts, self.column, *self.columns
        kernels.row_products(*of_columns, d, result, self.n_threads)
        return result

    def slope(self):
        """Return the gradient of the loss of the model at the present point."""
        return self.g + self._product(self.moved)

    def keep(self):
        """Return what ``move`` needs to come back."""
        return self.moved, self.along

    def move(self, w, kept=None):
        """Move to w."""
        self.w = w
        if kept is None:
            moved = self._moved_by(w - self.w0)
            kept = moved, self._along(moved)
        self.moved, self.along = kept

    def _along(self, moved):
        """Return coupling . moved of each row."""
        if not len(self.coupling):
            return np.zeros_like(self.along)
        return np.einsum("ij,ij->j", self._by_output(self.coupling), self._by_output(moved))

    def _solved(self, free, right):
        """Solve for the Newton step of the free coordinates by conjugate gradients."""
        full = np.zeros(self.n)

        def product(d):
            full[free] = d
            return (self._product(self._moved_by(full)) + self.l2 * full)[free]

        precondition = self._output_preconditioner(free)
        return conjugate_gradients(product, precondition, right, self.settings)

    def curvature_along(self, direction):
        """Return the second derivative of the smooth part along a direction."""
        product = self._product(self._moved_by(direction)) + self.l2 * direction
        return float(direction @ product)

    def _output_preconditioner(self, free):
        """Return a function that solves with the Hessian of the free coordinates of each output.

        It solves with the diagonal alone if these blocks would cost more than they can save.
        """
        inverse = self.curvature[free] + self.l2[free]
        inverse = 1.0 / np.where(inverse > 0, inverse, 1.0)
        if not self._blocks_pay:
            return lambda residual: inverse * residual
        if self._blocks is None:
            self._blocks = self._made_blocks()
        factors, ends = [], np.searchsorted(free, self.starts)
        for k, (begin, end) in enumerate(pairwise(ends)):
            at = free[begin:end] - self.starts[k]
            matrix = np.ascontiguousarray(self._blocks[k][np.ix_(at, at)].T)
            found = factorised(matrix) if begin < end else None
            if found is not None:
                factors.append((slice(begin, end), *found))

        def solve_all(residual):
            result = inverse * residual
            for part, factor, scale in factors:
                result[part] = solve(factor, scale, residual[part])
            return result

        return solve_all

    @cached_property
    def _blocks_pay(self):
        """Whether blocks fit, and cost less than the products of conjugate gradients.

        An entry that is visited takes the time of 25 multiply-adds of a factorisation.
        """
        sizes, entries = np.diff(self.starts), np.diff(self.columns[0])[self.column]
        ends = np.append(0.0, np.cumsum(entries, dtype=float))[self.starts]
        to_make = np.square(np.diff(ends)).sum() / len(self.along)
        to_factorise = (sizes**3.0).sum() / 3 / 25
        fits = (sizes**2).sum() <= self.settings.most_coefficients**2
        return fits and to_make + to_factorise < self.settings.most_cg_iter * entries.sum()

    def _made_blocks(self):
        """Return the Hessian of the coordinates of each output; lower triangles."""
        indptr, indices, data = self.columns
        X = sparse.csc_matrix((data, indices, indptr), (len(self.along), len(indptr) - 1))
        blocks = []
        for k, (begin, end) in enumerate(pairwise(self.starts)):
            own = self.diagonal[k]
            if len(self.coupling):  # where p is next to 1, rounding errors can make it negative
                own = np.maximum(own - self.coupling[k] ** 2, 0)
            part = X[:, self.column[begin:end]].tocsr()
            at = part.indptr.astype(np.int32, copy=False), part.indices.astype(np.int32, copy=False)
            block = kernels.weighted_gram(*at, part.data, own, end - begin)
            block.reshape(-1)[:: end - begin + 1] += self.l2[begin:end]
            blocks.append(block)
        return blocks

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
