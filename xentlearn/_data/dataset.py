"""Rows of X with their targets, and the sums over rows that an objective needs.

An objective (``_objective/linear.py``) needs sums over the rows, and a sample of rows from which to
compute a preconditioner. ``MemoryRows`` provides them for rows in memory; ``ShardedRows``
(``shards.py``) adds up the sums of several shards, which may be elsewhere.
"""

import numpy as np
from scipy import sparse

from .._loss import proba
from .._utils.threads import LOGIT_BLOCK
from . import statistics
from ._design_matrix import DesignMatrix, computing_dtype
from ._factors import hessian_sum
from ._small_binary import SmallBinary
from .active_hessian import active_hessian, row_curvatures
from .batches import Batches
from .presolve import presolved
from .targets import checksum


class MemoryRows:
    """Rows of X in memory, with their targets.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_rows, n_features)
    y : EncodedY
        Targets of the same rows, with the loss and the weights.
    outputs : ndarray of int
        Indices of the outputs of ``y`` to use.
    design : DesignMatrix or None, default=None
        X in the form that the fused pass reads, if it is known already.
    target : EncodedTarget or None, default=None
        The targets in the form that the kernels read, if it is known already.
    moments : Moments or None, default=None
        Moments of X with the weights of ``y``, if they are known already.
    shared : dict or None, default=None
        What objectives of other outputs of these rows have derived from X and ``y``, by name.
    dtype : dtype or None, default=None
        Dtype of computations, float32 or float64, if there is no ``design``. None means float64 for
        X in float64, and float32 otherwise.

    Attributes
    ----------
    n_rows, n_features : int
    n_entries : int
        Number of entries of X that are stored.
    dtype : dtype
        Dtype of computations.
    target : EncodedTarget
    weight : ndarray of shape (n_rows,)
        Weights of the rows, for the moments of X.
    derived : dict
        What an objective has derived from the rows and outputs alone, by name, for the next one.
    """

    def __init__(
        self, X, y, outputs, design=None, target=None, moments=None, shared=None, dtype=None
    ):
        self.X, self.y, self.outputs = X, y, outputs
        self.shared = {} if shared is None else shared
        self.design = DesignMatrix(X, dtype) if design is None else design
        self.n_rows, self.n_features = X.shape
        self.n_entries = X.nnz if sparse.issparse(X) else X.size
        self.dtype = self.design.dtype
        self.target = y.kernel_target(self.dtype, outputs) if target is None else target
        self.weight, self._moments = y.weight, moments
        self._centred_Xs, self.derived = {}, {}

    @property
    def sample(self):
        """A representative sample of the rows, in memory: here all of them.

        This is a property because, as an attribute, it would be a cycle of references, which keeps
        temporary rows in memory until the garbage collector runs.
        """
        return self

    def loss_gradient(self, coef, intercept, n_threads, out=None):
        """Compute the sum of the weighted losses and its gradient.

        Parameters
        ----------
        coef : ndarray of shape (n_features, n_outputs)
        intercept : ndarray of shape (n_outputs,)
        n_threads : int
        out : ndarray of shape (n_features, n_outputs) or None, default=None
            Array that may be used for the gradient with respect to ``coef``.

        Returns
        -------
        loss : float
        coef_gradient : ndarray of shape (n_features, n_outputs)
        intercept_gradient : ndarray of shape (n_outputs,)
        """
        return self.design.loss_gradient(self.target, coef, intercept, n_threads, out)

    def loss(self, coef, intercept, n_threads):
        """Return the sum of the weighted losses."""
        return self.design.loss(self.target, coef, intercept, n_threads)

    def hessian_product(self, coef, intercept, direction, n_threads, out=None):
        """(coef product, intercept product) of the Hessian of that sum with a direction.

        ``direction`` is a pair of (coef, intercept), too.
        """
        return self.design.hessian_product(self.target, coef, intercept, *direction, n_threads, out)

    def moments(self, n_threads):
        """Return the ``Moments`` of the features."""
        if self._moments is None:
            self._moments = statistics.moments_of(self.X, self.weight, n_threads)
        return self._moments

    def extremes(self, mean, n_threads):
        """Return the ``Extremes`` of the features over ``mean`` and the rows with weight."""
        return statistics.extremes_of(self.X, self.weight, mean, n_threads)

    def scores(self, kind, coef, intercept, n_threads):
        """Return scores of all rows, of shape (n_rows, n_outputs); see ``DesignMatrix.scores``."""
        scores = np.empty((self.n_rows, len(intercept)), dtype=self.dtype)
        self.design.scores(coef, intercept, scores, kind, n_threads)
        return scores

    def curvature(self, coef, intercept, n_threads):
        """Return w p (1 - p) of all rows, the second derivatives of the loss in their logits.

        The shape is (n_rows, n_outputs).
        """
        logits = self.scores("logits", coef, intercept, n_threads)
        curvature = np.empty_like(logits)
        self.target.hessian_diagonal(logits, curvature, n_threads)
        return curvature

    def sampled(self, n_wanted):
        """Return a representative sample of about ``n_wanted`` rows; all of them if that is more.

        Returns
        -------
        MemoryRows
        """
        if n_wanted >= self.n_rows:
            return self
        X, y = spaced(self.X, self.y, self.weight.sum() / n_wanted)
        return MemoryRows(X, y, self.outputs, dtype=self.dtype)

    def few(self, n_wanted):
        """Return a representative sample of about ``n_wanted`` rows, in pieces with few logits.

        Where a pass works on tiles of classes, there is a single piece.

        Returns
        -------
        list of MemoryRows
        """
        rows = self.sampled(n_wanted)
        X, y = rows.X, rows.y
        width = max(1, LOGIT_BLOCK // len(self.outputs))
        if self.design.in_tiles(self.target, X.shape[0]):
            width = X.shape[0]
        found = []
        for at in range(0, X.shape[0], width):
            rows = slice(at, at + width)
            found.append(MemoryRows(X[rows], y.taken(rows), self.outputs, dtype=self.dtype))
        return found

    def entry_weight(self, n_threads):
        """Return the weights of the entries of binary outputs with plain cross-entropy.

        They include ``pos_weight``, and are 0 for missing entries.

        Returns
        -------
        ndarray of shape (n_rows, n_outputs), or (n_rows,)
            The latter if all entries of a row have the same weight.
        """
        if self.y.weighs_rows:
            return self.weight
        logits = np.zeros((self.n_rows, self.target.n_outputs), dtype=self.dtype)
        curvature = np.empty_like(logits)
        self.target.hessian_diagonal(logits, curvature, n_threads)
        return 4.0 * curvature  # w p (1 - p) with p = 1/2

    def hessian(self, coef, intercept, mean, dtype, neglected, n_threads):
        """Compute the Hessian of the sum of the weighted losses.

        Its features are those of X - mean and a column of ones for the intercept, or those of X if
        there is no intercept.

        Parameters
        ----------
        coef : ndarray of shape (n_features, n_outputs)
        intercept : ndarray of shape (n_outputs,)
        mean : ndarray of shape (n_features,) or None
            None means that there is no intercept.
        dtype : dtype
            Dtype of the Hessian and of the products that it is computed from.
        neglected : float
            Share of the curvature of an output that may be neglected in its couplings with others.
        n_threads : int

        Returns
        -------
        ndarray of shape (n_outputs n, n_outputs n), with n = n_features or n_features + 1
            One block per pair of outputs. Numbers below the diagonal have no meaning.
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

    def active_hessian(self, *arguments):
        """Return the Hessian of that sum in some coefficients; see ``active_hessian``."""
        return active_hessian(self, *arguments)

    def row_curvatures(self, coef, intercept, n_threads):
        """Return the Hessian of the loss of each row in its logits; see ``row_curvatures``."""
        return row_curvatures(self, coef, intercept, n_threads)

    def small_binary(self, fit_intercept):
        """Return ``SmallBinary`` of these rows, whose features have a mean of 0 or none is fitted.

        There is a single binary output.
        """
        mean = self.moments(1).mean if fit_intercept else None
        assert mean is None or not mean.any()
        Z = self._centred_X(mean, np.float64)
        return SmallBinary(Z, self.n_features, self.target, self.y.total_weight)

    def _coupling(self, logits, n_threads):
        """Return sqrt(w) p of all rows, with w the factor of diag(p) - p p^T in their Hessian."""
        p, factor = np.empty_like(logits), np.empty(len(logits), dtype=logits.dtype)
        proba("softmax", logits, p, False, n_threads)
        self.target.softmax_factor(logits, factor, n_threads)
        p *= np.sqrt(factor)[:, np.newaxis]
        return p

    def _uncoupled_curvature(self, logits, n_threads):
        """Return the second derivatives of the binary parts of the loss; None if it has none."""
        total = None
        for share, part in self.target.parts:
            if not part.couples:
                diagonal = np.empty_like(logits)
                part.hessian_diagonal(logits, diagonal, n_threads)
                diagonal *= share
                total = diagonal if total is None else total + diagonal
        return total

    def _centred_X(self, mean, dtype):
        """Return X - mean with a column of ones for the intercept; kept for later Hessians."""
        if dtype not in self._centred_Xs:
            X = self.X.toarray() if sparse.issparse(self.X) else self.X
            if mean is not None:
                with_ones = np.ones((len(X), X.shape[1] + 1), dtype)
                if self._moments is None or self._moments.is_sparse:
                    centred = X - mean
                    statistics.clear_constants(centred, mean)
                    with_ones[:, :-1] = centred
                else:
                    np.subtract(X, mean, out=with_ones[:, :-1], casting="same_kind")
                    constant = self._moments.variance == 0.0
                    if constant.any():
                        with_ones[:, :-1][:, constant] = 0.0
                X = with_ones
            self._centred_Xs[dtype] = np.ascontiguousarray(X, dtype=dtype)
        return self._centred_Xs[dtype]

    def intercept_hessian(self, coef, intercept, coupled, most_work, n_threads):
        """Compute the Hessian of the sum of the weighted losses in the intercept alone.

        Parameters
        ----------
        coef : ndarray of shape (n_features, n_outputs)
        intercept : ndarray of shape (n_outputs,)
        coupled : bool
            Whether the loss couples outputs (softmax); otherwise the Hessian is diagonal.
        most_work : float
            Largest number of multiply-adds; if all rows would take more, every k-th row is used.
        n_threads : int

        Returns
        -------
        hessian : ndarray of shape (n_outputs, n_outputs), or (n_outputs,) if not ``coupled``
        total : float
            Sum of the weights of the rows used.
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
                hessian -= p.T @ p  # a matrix times its own transpose: half the work
            else:
                hessian += weight @ (p * (1 - p))
        return hessian, total

    def batches(self, order, size, offset):
        """Return the rows in batches; see ``Batches``."""
        return Batches(self, order, size, offset)


class Data:
    """X after the steps of a presolve, which can be undone; ``steps`` lists them."""

    steps = ()

    def presolved(self, plan, weight, fit_intercept, l2_reg):
        """Apply the steps of a plan (``Presolve``), of which there are none for X in shards."""
        return self

    def apply(self, coef, intercept):
        """Return (coef, intercept) for X after the steps from those for the original features."""
        for step in self.steps:
            coef, intercept = step.apply(coef, intercept)
        return coef, intercept

    def undo(self, coef, intercept):
        """Return (coef, intercept) for the original features from those for X after the steps."""
        for step in reversed(self.steps):
            coef, intercept = step.undo(coef, intercept)
        return coef, intercept

    def undo_moments(self, moments, but_for=()):
        """Return the moments of the original features from those of X after the steps.

        Steps of the types in ``but_for`` are not undone.
        """
        for step in reversed(self.steps):
            if not isinstance(step, but_for):
                moments = step.undo_moments(moments)
        return moments


class MemoryData(Data):
    """X in memory, with the presolve steps that have been applied to it.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_rows, n_features)
        The rows that have a weight, as they were before the steps.
    steps : list, default=()
        Presolve steps (``presolve.py``), in the order in which they were applied.

    Attributes
    ----------
    X : ndarray or CSR of shape (n_rows, n_kept)
        The rows after the steps.
    shape : (int, int)
        Shape of this X.
    is_sparse : bool
    in_memory : bool
        True.
    n_sampled : int
        Rows of the sample that preconditioners are computed from: all of them.
    unit : float
        Power of 2 that X should be divided by; 1 unless X is tiny or huge.
    """

    in_memory = True

    def __init__(self, X, steps=()):
        self.X = steps[-1].X if steps else X
        self.shape, self.is_sparse = self.X.shape, sparse.issparse(self.X)
        self.n_sampled = self.shape[0]
        self.steps, self._original = steps, X
        self._design = self._moments = self._weight = self._unit = None
        # the last results, for fits of the same rows with another penalty
        self._varying = self._presolved = self._rows = None

    @property
    def unit(self):
        """The unit of X, computed when it is first needed."""
        if self._unit is None:
            self._unit = statistics.unit_of(self.X)
        return self._unit

    def varying_features(self, fit_intercept, most):
        """Return the result of ``statistics.varying_features``; the last one is kept."""
        if self._varying is None or self._varying[0] != (fit_intercept, most):
            found = statistics.varying_features(self.X, fit_intercept, most)
            self._varying = (fit_intercept, most), found
        return self._varying[1]

    def presolved(self, plan, weight, fit_intercept, l2_reg):
        """Apply the steps of a plan (``Presolve``); return itself if there are none.

        The last result is kept, and returned again for the same plan and weights, if a penalty of
        the strength ``l2_reg`` asks for nothing else.
        """
        if plan.unit == 1.0 and plan.kept is None and not plan.centre:
            return self
        known, key = self._presolved, (plan, weight, fit_intercept)
        serves = known is not None and _is_same(known[0], key)
        if serves and plan.centre:  # the last step, which alone depends on the penalty
            serves = known[1].steps[-1].serves(l2_reg)
        if not serves:
            self._presolved = known = None  # its memory is used again
            steps = presolved(self.X, plan, weight, fit_intercept, l2_reg)
            self._presolved = known = key, MemoryData(self.X, steps)
        return known[1]

    def taken(self, rows):
        """Return a copy of the chosen rows, as ``MemoryData``."""
        return MemoryData(self.X[rows])

    def checksum(self):
        """Return a checksum of X with its dtype and shape, to compare it with other X."""
        return checksum(self.X), self.X.dtype.str, self.shape

    def moments(self, y, n_threads=1):
        """Return the ``Moments`` of X with the weights of ``y``; kept for the same weights."""
        if self._weight is not y.weight:
            self._weight, self._design, self._shared, self._rows = y.weight, None, {}, None
            is_centred = bool(self.steps) and getattr(self.steps[-1], "is_centred", False)
            self._moments = statistics.moments_of(self.X, y.weight, n_threads, is_centred)
        return self._moments

    def rows(self, y, outputs, n_threads=1, dtype=None):
        """Return ``MemoryRows`` with the chosen outputs of ``y`` (``EncodedY``).

        ``dtype`` is that of computations; None leaves it to the moments of X. The last ones are
        kept, with what they have derived from X.
        """
        moments, known = self.moments(y, n_threads), self._rows
        dtype = np.dtype(dtype or moments.fit_dtype)
        if known is not None and known.y is y and known.dtype == dtype:
            if np.array_equal(known.outputs, outputs):
                return known
        self._rows = known = None  # its memory is used again
        if self._design is None or self._design.dtype != dtype:
            self._design = DesignMatrix(self.X, dtype)
        rows = MemoryRows(self.X, y, outputs, self._design, moments=moments, shared=self._shared)
        self._rows = rows
        return rows

    def predicted_loss(self, y, outputs, coef, intercept, dtype, n_threads):
        """Return the sum of the weighted losses of predictions by stored coefficients.

        Predictions are computed from the original X, without presolve, and so have its rounding
        errors.

        Parameters
        ----------
        y : EncodedY
        outputs : ndarray of int
            Indices of the outputs of ``y``.
        coef : ndarray of shape (len(outputs), n_features), float64
        intercept : ndarray of shape (len(outputs),), float64
            Intercept and offset: what is added to the logits.
        dtype : dtype
            Dtype of the stored coefficients.
        n_threads : int

        Returns
        -------
        float
        """
        dtype = np.result_type(computing_dtype(self._original), dtype)
        design = DesignMatrix(self._original, dtype)
        target = y.kernel_target(design.dtype, outputs)
        return design.loss_gradient(target, coef.T, intercept, n_threads)[0]


def _is_same(one, other):
    """Whether two triples (plan, weight, fit_intercept) ask for the same, both of one X."""
    plan, weight, fit_intercept = one
    if weight is not other[1] or fit_intercept != other[2] or plan.kept is not other[0].kept:
        return False
    other = other[0]
    return (plan.unit, plan.centre, plan.rotate) == (other.unit, other.centre, other.rotate)


def spaced(X, y, spacing, before=0.0):
    """Sample rows systematically by weight; return their (X, EncodedY).

    Each sampled row represents, and has, a weight of ``spacing`` or a multiple of it. ``before`` is
    the weight of the rows that come before these; see ``rows_by_weight``.
    """
    weight = y.weight
    chosen, counts = statistics.rows_by_weight(weight, spacing, before)
    return X[chosen], y.taken(chosen, counts * spacing / weight[chosen])
