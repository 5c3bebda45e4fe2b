"""Batches of rows, for stochastic solvers."""

import numpy as np


class Batches:
    """Batches of rows in a given order, and the gradients of the sums of their losses.

    Parameters
    ----------
    rows : MemoryRows
    order : ndarray of shape (n_rows,), intp, or None
        Indices of the rows; None keeps their order.
    size : int
        Rows per batch; the last batch may have fewer.
    offset : ndarray of shape (n_outputs,)
        Added to the logits of every row.
    """

    def __init__(self, rows, order, size, offset):
        self._design, self._order, self._offset = rows.design, order, offset
        # The targets are copied in their order at once; X, which is wider, is read batch by batch.
        y = rows.y if order is None else rows.y.taken(order)
        self._target = y.kernel_target(rows.dtype, rows.outputs)
        self.size, self._bounds = size, [*range(0, rows.n_rows, size), rows.n_rows]
        # equal weights, the most common ones, take no sums
        if y.entry_weight is None and (y.weight == y.weight[:1]).all():
            weights = np.diff(self._bounds) * y.weight[:1].sum()
        else:
            weights = np.diff(np.append(0.0, np.cumsum(y.weight))[self._bounds])
        self._weights = weights.tolist()

    def __len__(self):
        return len(self._weights)

    def weight(self, i):
        """Return the sum of the weights of batch ``i``."""
        return self._weights[i]

    def features(self, i):
        """Return the result of ``DesignMatrix.batch_features`` for batch ``i`` of a sparse X."""
        return self._design.batch_features(self._order, *self._bounds[i : i + 2])

    def loss(self, i, coef, intercept, n_threads, features=None):
        """Return the result of ``DesignMatrix.batch_loss`` for batch ``i``."""
        rows = self._target, self._order, *self._bounds[i : i + 2]
        return self._design.batch_loss(*rows, coef, intercept + self._offset, n_threads, features)

    def loss_gradient(self, i, coef, intercept, n_threads, features=None):
        """Return the result of ``DesignMatrix.batch_loss_gradient`` for batch ``i``."""
        rows = self._target, self._order, *self._bounds[i : i + 2]
        arguments = coef, intercept + self._offset, n_threads, features
        return self._design.batch_loss_gradient(*rows, *arguments)
