"""Rows of X with their targets: the sums over rows that an objective is made of.

An objective (``_objective/linear.py``) asks for these sums, and for a sample of rows to make a
preconditioner from. ``MemoryRows`` has its rows in memory; ``ShardedRows`` (``shards.py``) adds
up what several of them give, wherever they are.
"""

import functools

import numpy as np
from scipy import sparse

from .._loss import proba
from .._utils.threads import LOGIT_BLOCK
from . import statistics
from ._design_matrix import DesignMatrix, computing_dtype
from ._factors import hessian_sum
from .presolve import presolved
from .targets import checksum


class MemoryRows:
    """Rows that lie in memory in one piece.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_rows, n_features)
    y : EncodedY
    outputs : ndarray of int
        Which of its outputs.
    design : DesignMatrix or None, default=None
        X as the fused pass reads it, where it is at hand.
    target : EncodedTarget or None, default=None
        What the kernels need of ``y``, where it is at hand.
    moments : Moments or None, default=None
        Of X with the weights of ``y``, where they are at hand.
    dtype : dtype or None, default=None
        What is computed in, float32 or float64, where there is no ``design``; None: float64 for
        float64, else float32.

    Attributes
    ----------
    n_rows, n_features : int
    n_entries : int
        Numbers of X that are stored.
    dtype : dtype
        What is computed in.
    target : EncodedTarget
    weight : ndarray of shape (n_rows,)
        Weights of the rows, for the moments of X.
    """

    def __init__(self, X, y, outputs, design=None, target=None, moments=None, dtype=None):
        self.X, self.y, self.outputs = X, y, outputs
        self.design = DesignMatrix(X, dtype) if design is None else design
        self.n_rows, self.n_features = X.shape
        self.n_entries = X.nnz if sparse.issparse(X) else X.size
        self.dtype = self.design.dtype
        self.target = y.kernel_target(self.dtype, outputs) if target is None else target
        self.weight, self._moments = y.weight, moments
        self._centred_Xs = {}

    @property
    def sample(self):
        """Rows in memory that stand for all: here all of them.

        Kept in an attribute, rows of a moment would wait for the collector.
        """
        return self

    def loss_gradient(self, coef, intercept, n_threads, out=None):
        """(loss, coef gradient, intercept gradient) of the sum of the weighted losses.

        ``coef`` has shape (n_features, n_outputs), as its gradient, which may be put into ``out``.
        """
        return self.design.loss_gradient(self.target, coef, intercept, n_threads, out)

    def hessian_product(self, coef, intercept, direction, n_threads, out=None):
        """(coef product, intercept product) of the Hessian of that sum with a direction.

        ``direction`` is a pair of (coef, intercept), too.
        """
        return self.design.hessian_product(self.target, coef, intercept, *direction, n_threads, out)

    def moments(self, n_threads):
        """``Moments`` of the features."""
        if self._moments is None:
            self._moments = statistics.moments_of(self.X, self.weight, n_threads)
        return self._moments

    def extremes(self, mean, n_threads):
        """``Extremes`` of the features among the rows with weight, ``mean`` included."""
        return statistics.extremes_of(self.X, self.weight, mean, n_threads)

    def scores(self, kind, coef, intercept, n_threads):
        """Scores of all rows, (n_rows, n_outputs); see ``DesignMatrix.scores``."""
        scores = np.empty((self.n_rows, len(intercept)), dtype=self.dtype)
        self.design.scores(coef, intercept, scores, kind, n_threads)
        return scores

    def curvature(self, coef, intercept, n_threads):
        """w p (1 - p) of all rows: the diagonal of the Hessian in their logits."""
        logits = self.scores("logits", coef, intercept, n_threads)
        curvature = np.empty_like(logits)
        self.target.hessian_diagonal(logits, curvature, n_threads)
        return curvature

    def few(self, n_wanted):
        """About so many rows that stand for all, in pieces with few logits.

        Returns
        -------
        list of MemoryRows
        """
        X, y = self.X, self.y
        if n_wanted < self.n_rows:
            X, y = spaced(X, y, self.weight.sum() / n_wanted)
        width = max(1, LOGIT_BLOCK // len(self.outputs))
        found = []
        for at in range(0, X.shape[0], width):
            rows = slice(at, at + width)
            found.append(MemoryRows(X[rows], y.taken(rows), self.outputs, dtype=self.dtype))
        return found

    def entry_weight(self, n_threads):
        """Weights of the entries of plain binary outputs, (n_rows, n_outputs).

        (n_rows,) where all entries of a row have one; ``pos_weight`` and missing entries count.
        """
        if self.y.weighs_rows:
            return self.weight
        logits = np.zeros((self.n_rows, self.target.n_outputs), dtype=self.dtype)
        curvature = np.empty_like(logits)
        self.target.hessian_diagonal(logits, curvature, n_threads)
        return 4.0 * curvature  # w p (1 - p) with p = 1/2

    def hessian(self, coef, intercept, mean, dtype, neglected, n_threads):
        """Hessian of the sum of losses, output by output: (n_outputs n, n_outputs n), upper half.

        In X - mean and a column of ones; without an intercept (``mean`` is None) in X alone.
        Couplings of two outputs of which ``neglected`` is a larger share may be left out.
        """
        curvature = coupling = None
        if self.target.couples:
            logits = self.scores("logits", coef, intercept, n_threads)
            coupling = self._coupling(logits, n_threads).T.astype(dtype, order="C", copy=False)
            curvature = self._uncoupled_curvature(logits, n_threads)
        else:
            curvature = self.curvature(coef, intercept, n_threads)
        if curvature is not None:
            curvature = curvature.T.astype(dtype, order="C", copy=False)
        X = self._centred_X(mean, dtype)
        return hessian_sum(X, curvature, coupling, self.weight, neglected, n_threads)

    def _coupling(self, logits, n_threads):
        """sqrt(w) p, with w the weight of each row's diag(p) - p p^T."""
        p, factor = np.empty_like(logits), np.empty(len(logits), dtype=logits.dtype)
        proba("softmax", logits, p, False, n_threads)
        self.target.softmax_factor(logits, factor, n_threads)
        p *= np.sqrt(factor)[:, np.newaxis]
        return p

    def _uncoupled_curvature(self, logits, n_threads):
        """Second derivatives of the binary parts of the loss; None without any."""
        total = None
        for share, part in self.target.parts:
            if not part.couples:
                diagonal = np.empty_like(logits)
                part.hessian_diagonal(logits, diagonal, n_threads)
                diagonal *= share
                total = diagonal if total is None else total + diagonal
        return total

    def _centred_X(self, mean, dtype):
        """X - mean with a column of ones for the intercept, kept for the next Hessian."""
        if dtype not in self._centred_Xs:
            X = self.X.toarray() if sparse.issparse(self.X) else self.X
            if mean is not None:
                centred = X - mean
                if self._moments is None or self._moments.is_sparse:
                    statistics.clear_constants(centred, mean)
                else:
                    centred[:, self._moments.variance == 0.0] = 0.0
                X = np.concatenate([centred, np.ones((len(X), 1))], axis=1)
            self._centred_Xs[dtype] = np.ascontiguousarray(X, dtype=dtype)
        return self._centred_Xs[dtype]

    def intercept_hessian(self, coef, intercept, coupled, most_work, n_threads):
        """(Hessian in the intercept alone, weight of the rows it is from).

        Shape (n_outputs, n_outputs), or (n_outputs,) where outputs do not see each other. Of every
        k-th row, if all of them take more than ``most_work`` multiply-adds.
        """
        n_outputs = len(intercept)
        hessian, total = np.zeros((n_outputs, n_outputs) if coupled else n_outputs), 0.0
        stride = max(1, round(self.n_rows * hessian.size / most_work))
        n_at_once = max(1, LOGIT_BLOCK // n_outputs)
        for begin in range(0, self.n_rows, stride * n_at_once):
            rows = slice(begin, begin + stride * n_at_once, stride)
            weight = self.weight[rows]
            p = np.empty((len(weight), n_outputs), dtype=self.dtype)
            design = DesignMatrix(self.X[rows], self.dtype)
            design.scores(coef, intercept, p, "softmax" if coupled else "sigmoid", n_threads)
            total += weight.sum()
            if coupled:
                hessian.flat[:: n_outputs + 1] += weight.astype(p.dtype) @ p
                p *= np.sqrt(weight).astype(p.dtype)[:, np.newaxis]
                hessian -= p.T @ p  # of one matrix: half the work
            else:
                hessian += weight @ (p * (1 - p))
        return hessian, total

    def batches(self, order, size, offset):
        """The rows in batches; see ``Batches``."""
        return Batches(self, order, size, offset)


class Batches:
    """Rows in some order, and batch by batch the gradient of the sum of their losses.

    Parameters
    ----------
    rows : MemoryRows
    order : ndarray of shape (n_rows,), intp, or None
        None: as they are.
    size : int
        Rows in a batch; the last one may have fewer.
    offset : ndarray of shape (n_outputs,)
        Added to the logits of every row.
    """

    def __init__(self, rows, order, size, offset):
        self._design, self._order, self._offset = rows.design, order, offset
        # targets are shuffled once; X, which is wider, is gathered batch by batch
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
        """Sum of the weights of batch ``i``."""
        return self._weights[i]

    def loss_gradient(self, i, coef, intercept, n_threads):
        """As ``DesignMatrix.batch_loss_gradient``, of batch ``i``."""
        begin, end = self._bounds[i : i + 2]
        return self._design.batch_loss_gradient(
            self._target, self._order, begin, end, coef, intercept + self._offset, n_threads
        )


class Data:
    """X after the steps of a presolve, which can be undone; ``steps`` lists them."""

    steps = ()

    def presolved(self, plan, weight, fit_intercept, l2_reg):
        """The same after the steps of a plan; itself, if there are none."""
        if plan.unit == 1.0 and plan.kept is None and not plan.centre:
            return self
        return MemoryData(self.X, presolved(self.X, plan, weight, fit_intercept, l2_reg))

    def apply(self, coef, intercept):
        """(coef, intercept) for the rows, from those for the features of the original."""
        for step in self.steps:
            coef, intercept = step.apply(coef, intercept)
        return coef, intercept

    def undo(self, coef, intercept):
        """(coef, intercept) for the features of the original, from those for the rows."""
        for step in reversed(self.steps):
            coef, intercept = step.undo(coef, intercept)
        return coef, intercept

    def undo_moments(self, moments, but_for=()):
        """Moments of the features of the original, from those of the rows.

        ``but_for``: steps, by type, that are not undone.
        """
        for step in reversed(self.steps):
            if not isinstance(step, but_for):
                moments = step.undo_moments(moments)
        return moments


class MemoryData(Data):
    """X in memory, from which objectives get their rows.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_rows, n_features)
        The rows that have a weight.

    Attributes
    ----------
    shape : (int, int)
    is_sparse : bool
    in_memory : bool
    steps : list
        What has been done to X, one after the other; see ``presolve.py``.
    unit : float
        What X is to be divided by: 1 but for tiny and huge X.
    """

    in_memory = True

    def __init__(self, X, steps=()):
        self.X = steps[-1].X if steps else X
        self.shape, self.is_sparse = self.X.shape, sparse.issparse(self.X)
        self.n_sampled = self.shape[0]
        self.steps, self._original = steps, X
        self._design = self._moments = self._moments_y = None

    @functools.cached_property
    def unit(self):
        """See above; found when it is asked for."""
        return statistics.unit_of(self.X)

    def varying_features(self, fit_intercept, most):
        """As ``statistics.varying_features``."""
        return statistics.varying_features(self.X, fit_intercept, most)

    def taken(self, rows):
        """The chosen rows, copied."""
        return MemoryData(self.X[rows])

    def checksum(self):
        """By which other X are told from this one."""
        return checksum(self.X), self.X.dtype.str, self.shape

    def moments(self, y, n_threads=1):
        """``Moments`` of X with the weights of y."""
        known = self._moments_y
        if known is None or not (known.weight is y.weight and known.entry_weight is y.entry_weight):
            self._moments_y, self._design = y, None
            self._moments = statistics.moments_of(self.X, y.weight, n_threads)
        return self._moments

    def rows(self, y, outputs, n_threads=1):
        """Rows with the chosen outputs of ``y`` (``EncodedY``)."""
        moments = self.moments(y, n_threads)
        if self._design is None:
            self._design = DesignMatrix(self.X, moments.fit_dtype)
        return MemoryRows(self.X, y, outputs, self._design, moments=moments)

    def predicted_loss(self, y, outputs, coef, intercept, dtype, n_threads):
        """Sum of the weighted losses as predictions of stored coefficients compute them.

        In the units of the original X, which may be neither centred nor rotated.

        Parameters
        ----------
        y : EncodedY
        outputs : ndarray of int
            The chosen outputs of ``y``.
        coef : ndarray of shape (len(outputs), n_features), float64
        intercept : ndarray of shape (len(outputs),), float64
            What is added to the logits.
        dtype : dtype
            Of the stored coefficients.
        n_threads : int

        Returns
        -------
        float
        """
        dtype = np.result_type(computing_dtype(self._original), dtype)
        design = DesignMatrix(self._original, dtype)
        target = y.kernel_target(design.dtype, outputs)
        return design.loss_gradient(target, coef.T, intercept, n_threads)[0]


def spaced(X, y, spacing, before=0.0):
    """(X, EncodedY) of rows that stand for all, each for a weight of ``spacing`` or a multiple."""
    weight = y.weight
    chosen, counts = statistics.rows_by_weight(weight, spacing, before)
    return X[chosen], y.taken(chosen, counts * spacing / weight[chosen])
