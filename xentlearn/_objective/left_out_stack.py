"""Parts of ``LeftOutModels``: stacks of models at a point, and their preconditioner."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Evaluated:
    """A stack of models without a row, evaluated at W.

    Attributes
    ----------
    W : ndarray of shape (m, n_outputs, n_columns)
    value : ndarray of shape (m,)
        The objective without the row.
    gradient : ndarray of the shape of W
        That of all but the part of the penalty with ``l1``.
    logits : ndarray of shape (m, n_outputs, n)
    own_logits, own_slope : ndarray of shape (m, n_outputs)
        Logits of the row left out, and the gradient of its loss in them.
    own_loss : ndarray of shape (m,)
    """

    W: np.ndarray
    value: np.ndarray
    gradient: np.ndarray
    logits: np.ndarray
    own_logits: np.ndarray
    own_loss: np.ndarray
    own_slope: np.ndarray

    def taken(self, kept):
        """Return some of the models."""
        return Evaluated(*(array[kept] for array in vars(self).values()))

    def put(self, at, others):
        """Replace some of the models."""
        for mine, new in zip(vars(self).values(), vars(others).values(), strict=True):
            mine[at] = new


class Downdate:
    """Multiplies by inverses of the Hessian at the minimum for all rows less that of one row.

    With U = H^-1 X_i, the inverse is H^-1 + U (I - f S G)^-1 f S U^T in the active coefficients;
    of others the diagonal alone is inverted.
    """

    def __init__(self, models, left, share):
        self.models, n_active = models, len(models.active)
        self.of_row = np.empty((len(left), n_active, models.n_outputs))
        for k, (columns, part) in enumerate(zip(models.columns, models.parts, strict=True)):
            self.of_row[:, :, k] = models.X[left][:, columns] @ models.inverse[part]
        self.factor = models.downdate(left, share) @ models.curvature[left]

    def taken(self, kept):
        """Return that of some of the models."""
        new = object.__new__(Downdate)
        new.models, new.of_row, new.factor = self.models, self.of_row[kept], self.factor[kept]
        return new

    def apply(self, V):
        """Return the product with a stack of shape (m, n_outputs, n_columns)."""
        models, given = self.models, V.reshape(len(V), -1)
        part = given if models.is_smooth else given[:, models.active]
        solved = part @ models.inverse
        of_row = np.matmul(part[:, np.newaxis], self.of_row)
        of_row = np.matmul(self.factor, of_row.transpose(0, 2, 1))
        solved += np.matmul(self.of_row, of_row)[:, :, 0]
        if models.is_smooth:
            return solved.reshape(V.shape)
        result = given * models.inverse_diagonal.ravel()
        result[:, models.active] = solved
        return result.reshape(V.shape)
