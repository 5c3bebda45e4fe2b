"""Rows of X with their targets: the sums over rows that an objective is made of.

An objective (``_objective.py``) asks for these sums and for a sample of rows to precondition with.
``MemoryRows`` has its rows in memory; ``ShardedRows`` adds up what several of them give, wherever
they are.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .._loss import proba
from .._objective._dual import DualRows
from .._utils.units import XInUnits, unit_of
from ._design_matrix import DesignMatrix, computing_dtype
from ._factors import hessian_sum
from .presolve import CentredX, is_wide
from .statistics import (
    Extremes,
    Moments,
    clear_constants,
    fit_dtype,
    mean_extremes,
    moments_of,
    rows_by_weight,
)
from .targets import concatenated
from .varying import VaryingX, varying_features

# X of a fit of at most so many multiply-adds per pass is copied: to float64, and centred.
SMALL_WORK = 4_000_000
# Of the intercept's own Newton step: multiply-adds, or so many passes over X if that is more, and
# numbers at a time. With 500 classes a sixth of the rows left a fifth of the gradient, and a bound
# ten times as large.
STEP_WORK, STEP_PASSES = 2e9, 1
STEP_NUMBERS = 1_000_000
# Rows that mean curvatures of outputs are estimated from: an eighth of the weight, within bounds.
FEW_OF_WEIGHT, LEAST_FEW, MOST_FEW = 8, 300, 1_500
NEGLECTED = 0.05  # share of the coupling of two outputs, in a Hessian to precondition with
# Of the rows that stand for all of them where those are in shards: numbers (128 MB in float32) and
# rows. MNIST, from 30,000 of its 60,000 rows, takes as many iterations as from all of them.
SAMPLE_NUMBERS = 32_000_000
SAMPLE_ROWS = 100_000


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
    known : dict or None, default=None
        What was found of the same X with the same weights; more is put there.
    dtype : dtype or None, default=None
        What is computed in, float32 or float64, where there is no ``design``; None: float64 for
        float64, else float32.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : dtype
        What is computed in.
    target : EncodedTarget
    weight : ndarray of shape (n_rows,)
        Weights of the rows, for the moments of X.
    sample : MemoryRows
        Rows in memory that stand for all: here all of them.
    """

    def __init__(self, X, y, outputs, design=None, target=None, known=None, dtype=None):
        self.X, self.y, self.outputs = X, y, outputs
        self.design = DesignMatrix(X, dtype) if design is None else design
        self.n_rows, self.n_features = X.shape
        self.dtype = self.design.dtype
        self.target = y.kernel_target(self.dtype, outputs) if target is None else target
        self.weight = y.row_weight
        self._known = {} if known is None else known
        self._centred_Xs = {}

    @property
    def sample(self):
        """As told above; kept in an attribute, rows of a moment would wait for the collector."""
        return self

    def loss_gradient(self, coef, intercept, n_threads, out=None):
        """(loss, coef gradient, intercept gradient) of the sum of the weighted losses.

        ``coef`` has shape (n_features, n_outputs), as its gradient, which may be put into ``out``.
        """
        return self.design.loss_gradient(self.target, coef, intercept, n_threads, out)

    def hessian_product(
        self, coef, intercept, coef_direction, intercept_direction, n_threads, out=None
    ):
        """(coef product, intercept product) of the Hessian of that sum with a direction."""
        return self.design.hessian_product(
            self.target, coef, intercept, coef_direction, intercept_direction, n_threads, out
        )

    def moments(self, n_threads):
        """``Moments`` of the features."""
        if "moments" not in self._known:
            self._known["moments"] = moments_of(self.X, self.weight, n_threads)
        return self._known["moments"]

    def dual_rows(self, mean):
        """CSR rows less ``mean``, of the moments or 0, for sweeps."""
        name = "centred rows" if mean.any() else "rows"
        if name not in self._known:
            self._known[name] = DualRows(self.X, mean)
        return self._known[name]

    def extremes(self, mean, n_threads):
        """``Extremes`` of the features among the rows with weight, ``mean`` included."""
        return Extremes(*mean_extremes(self.X, self.weight, mean, n_threads))

    def logits(self, coef, intercept, n_threads):
        """Logits of all rows."""
        logits = np.empty((self.n_rows, len(intercept)), dtype=self.dtype)
        self.design.scores(coef, intercept, logits, "logits", n_threads)
        return logits

    def curvature(self, coef, intercept, n_threads):
        """w p (1 - p) of all rows: the diagonal of the Hessian in their logits."""
        logits = self.logits(coef, intercept, n_threads)
        curvature = np.empty_like(logits)
        self.target.hessian_diagonal(logits, curvature, n_threads)
        return curvature

    def mean_curvature(self, coef, intercept, n_threads):
        """(weighted mean of p (1 - p) by output, from how many rows)."""
        total, n_rows = np.zeros(len(intercept)), 0
        for rows in self._few:
            curvature = rows.curvature(coef, intercept, n_threads)
            total += curvature.sum(axis=0, dtype=np.float64)
            n_rows += rows.n_rows
        return total / self.weight.sum(), n_rows

    @functools.cached_property
    def _few(self):
        """Some rows that stand for all, in pieces with few logits."""
        X, y = self.X, self.y
        total = self.weight.sum()
        n_few = min(max(total // FEW_OF_WEIGHT, LEAST_FEW), MOST_FEW)
        if n_few < self.n_rows:
            X, y = spaced(X, y, total / n_few)
        width = max(1, STEP_NUMBERS // len(self.outputs))
        pieces = [slice(at, at + width) for at in range(0, X.shape[0], width)]
        return [
            MemoryRows(X[rows], y.taken(rows), self.outputs, dtype=self.dtype) for rows in pieces
        ]

    def proba(self, coef, intercept, n_threads):
        """Probabilities of binary outputs: (n_rows, n_outputs)."""
        p = np.empty((self.n_rows, len(intercept)), dtype=self.dtype)
        self.design.scores(coef, intercept, p, "sigmoid", n_threads)
        return p

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

    def hessian(self, coef, intercept, mean, dtype, n_threads):
        """Hessian of the sum of losses, output by output: (n_outputs n, n_outputs n), upper half.

        In X - mean and a column of ones; without an intercept (``mean`` is None) in X alone. In
        float32 it is good enough for a preconditioner.
        """
        curvature = coupling = None
        if self.target.couples:
            logits = self.logits(coef, intercept, n_threads)
            coupling = self._coupling(logits, n_threads)
            coupling = coupling.T.astype(dtype, order="C", copy=False)
            curvature = self._uncoupled_curvature(logits, n_threads)
        else:
            curvature = self.curvature(coef, intercept, n_threads)
        if curvature is not None:
            curvature = curvature.T.astype(dtype, order="C", copy=False)
        return hessian_sum(
            self._centred_X(mean, dtype),
            curvature,
            coupling,
            self.weight,
            NEGLECTED if dtype == np.float32 else 0.0,
            n_threads,
        )

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
                known = self._known.get("moments")
                if known is None or known.is_sparse:
                    clear_constants(centred, mean)
                else:
                    centred[:, known.variance == 0.0] = 0.0
                X = np.concatenate([centred, np.ones((len(X), 1))], axis=1)
            self._centred_Xs[dtype] = np.ascontiguousarray(X, dtype=dtype)
        return self._centred_Xs[dtype]

    def intercept_hessian(self, coef, intercept, coupled, n_threads):
        """(Hessian in the intercept alone, weight of the rows it is from), of some rows if many.

        Shape (n_outputs, n_outputs), or (n_outputs,) where outputs do not see each other.
        """
        n_outputs = len(intercept)
        hessian, total = np.zeros((n_outputs, n_outputs) if coupled else n_outputs), 0.0
        entries = self.X.nnz if sparse.issparse(self.X) else self.X.size
        most = max(STEP_WORK, STEP_PASSES * 2 * entries * n_outputs)
        stride = max(1, round(self.n_rows * hessian.size / most))
        n_abreast = max(1, STEP_NUMBERS // n_outputs)
        for begin in range(0, self.n_rows, stride * n_abreast):
            rows = slice(begin, begin + stride * n_abreast, stride)
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
        # equal weights, the most common ones, take no sums
        self._each = float(y.weight[:1].sum()) if rows.y.has_equal_weights else None
        if self._each is None:
            self._cumulated = np.concatenate([[0.0], np.cumsum(y.row_weight)])
        self.size, self._n_rows = size, rows.n_rows

    def __len__(self):
        return -(-self._n_rows // self.size)

    def _bounds(self, i):
        return i * self.size, min((i + 1) * self.size, self._n_rows)

    def weight(self, i):
        """Sum of the weights of batch ``i``."""
        begin, end = self._bounds(i)
        if self._each is not None:
            return (end - begin) * self._each
        return float(self._cumulated[end] - self._cumulated[begin])

    def loss_gradient(self, i, coef, intercept, n_threads):
        """As ``DesignMatrix.batch_loss_gradient``, of batch ``i``."""
        return self._design.batch_loss_gradient(
            self._target,
            self._order,
            *self._bounds(i),
            coef,
            intercept + self._offset,
            n_threads,
        )


class MemoryData:
    """X in memory, from which objectives get their rows.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_rows, n_features)
        The rows that have a weight.

    Attributes
    ----------
    unit : float
        What X has been divided by, and the coefficients multiplied by: 1 but for tiny and huge X.
    """

    def __init__(self, X):
        self.X, self._original, self.shape = X, X, X.shape
        self._design, self._weights, self._known = None, None, {}
        self._changes = []  # of X, one after the other
        self.unit = unit_of(X)
        if self.unit != 1.0:
            self._change(XInUnits(X, self.unit))

    @property
    def in_groups(self):
        """Whether outputs that do not see each other share little work; known once prepared."""
        return sparse.issparse(self.X)

    def taken(self, rows):
        """The chosen rows, copied."""
        return MemoryData(self.X[rows])

    def prepare(self, y, fit_intercept, work, l2_reg=np.inf):
        """Leave constant features out, centre small X, and rotate wide or hardly penalised X.

        ``work`` is the multiply-adds of a pass.
        """
        kept = varying_features(self.X, fit_intercept)
        if kept is not None:
            self._change(VaryingX(self.X, kept))
        if work <= SMALL_WORK or is_wide(self.X):
            self._change(CentredX(self.X, y.row_weight, fit_intercept, l2_reg))

    @property
    def is_changed(self):
        """Whether X is not the original any more."""
        return self.X is not self._original

    def _change(self, change):
        self._changes.append(change)
        self.X, self._design, self._weights = change.X, None, None

    def to_fit(self, coef, intercept):
        """(coef, intercept) for the rows, from those for the features of the original."""
        for change in self._changes:
            coef, intercept = change.to_fit(coef, intercept)
        return coef, intercept

    def from_fit(self, coef, intercept):
        """(coef, intercept) for the features of the original, from those for the rows."""
        for change in reversed(self._changes):
            coef, intercept = change.from_fit(coef, intercept)
        return coef, intercept

    def moments(self, of_rows, in_units=False):
        """Moments of the features of the original, from those of the rows.

        ``in_units``: of the original over ``unit``, whose squares are finite.
        """
        for change in reversed(self._changes):
            if not (in_units and isinstance(change, XInUnits)):
                of_rows = change.moments(of_rows)
        return of_rows

    def rows(self, y, outputs, n_threads=1):
        """Rows with the chosen outputs of ``y`` (``EncodedY``)."""
        weights = y.weight, y.entry_weight
        if self._weights is None or any(
            one is not other for one, other in zip(weights, self._weights, strict=True)
        ):
            self._weights, self._known = weights, {}
        if "moments" not in self._known:
            self._known["moments"] = moments_of(self.X, y.row_weight, n_threads)
        if self._design is None:
            self._design = DesignMatrix(self.X, fit_dtype(self.X, self._known["moments"]))
        return MemoryRows(self.X, y, outputs, self._design, known=self._known)

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
        design = DesignMatrix(
            self._original, np.result_type(computing_dtype(self._original), dtype)
        )
        target = y.kernel_target(design.dtype, outputs)
        return design.loss_gradient(target, coef.T, intercept, n_threads)[0]


# ---- In shards -----------------------------------------------------------------------------------


@dataclass
class Survey:
    """What one look at the rows of X finds; the sum of two is the survey of both.

    Attributes
    ----------
    moments : Moments
    sample : list
        Of pieces of the rows that stand for all: (number of the shard, X, EncodedY).
    """

    moments: Moments
    sample: list

    def __add__(self, other):
        return Survey(self.moments + other.moments, self.sample + other.sample)


def survey(X, y, before, spacing, origin=0, n_threads=1):
    """Look at rows of X.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_rows, n_features)
    y : EncodedY
        Of the same rows.
    before : float
        Weight of the rows that come before these.
    spacing : float
        Weight that a row of the sample stands for; 0 takes all rows.
    origin : int, default=0
        Number of the shard that they are.
    n_threads : int, default=1

    Returns
    -------
    Survey
    """
    weight = y.row_weight
    moments = moments_of(X, weight, n_threads)
    sample = spaced(X, y, spacing, before) if spacing > 0 else (X, y)
    return Survey(moments, [(origin, *sample)])


def sample_spacing(shape, total_weight):
    """Weight that each row of a sample stands for; 0 where all rows are few enough."""
    n_rows, n_features = shape
    wanted = max(1, min(SAMPLE_ROWS, SAMPLE_NUMBERS // max(1, n_features)))
    return 0.0 if n_rows <= wanted else total_weight / wanted


def spaced(X, y, spacing, before=0.0):
    """(X, EncodedY) of rows that stand for all, each for a weight of ``spacing`` or a multiple."""
    weight = y.row_weight
    chosen, counts = rows_by_weight(weight, spacing, before)
    return X[chosen], y.taken(chosen, counts * spacing / weight[chosen])


def combined(one, two):
    """The sum of two results of the same function of rows: numbers, arrays, or tuples of these."""
    if isinstance(one, tuple):
        return tuple(a + b for a, b in zip(one, two, strict=True))
    return one + two


class ShardedData:
    """X in shards, from which objectives get their rows: it stays as it is."""

    in_groups = False  # outputs share the reading, or the rounds
    is_changed = False
    unit = 1.0

    def prepare(self, y, fit_intercept, work, l2_reg=np.inf):
        """Nothing is centred or rotated."""

    def to_fit(self, coef, intercept):
        """(coef, intercept) for the rows: the same."""
        return coef, intercept

    def from_fit(self, coef, intercept):
        """(coef, intercept) for the features of the original: the same."""
        return coef, intercept

    def moments(self, of_rows, in_units=False):
        """Moments of the features of the original: the same."""
        return of_rows


class ShardedRows:
    """Rows in several shards. A subclass says how a method of ``MemoryRows`` is summed over them.

    Parameters
    ----------
    n_rows : int
    survey : Survey
        Of all rows.
    sample : MemoryRows
        The rows of its sample, with their targets.
    """

    def __init__(self, n_rows, survey, sample):
        self.n_rows, self.n_features = n_rows, sample.n_features
        self.dtype, self.target, self.sample = sample.dtype, sample.target, sample
        self._survey = survey

    def total(self, method, *arguments):
        """Sum over all shards of what ``method`` of their rows returns."""
        raise NotImplementedError

    def loss_gradient(self, coef, intercept, n_threads, out=None):
        """As in ``MemoryRows``."""
        return self.total("loss_gradient", coef, intercept, n_threads)

    def hessian_product(
        self, coef, intercept, coef_direction, intercept_direction, n_threads, out=None
    ):
        """As in ``MemoryRows``."""
        return self.total(
            "hessian_product", coef, intercept, coef_direction, intercept_direction, n_threads
        )

    def hessian(self, coef, intercept, mean, dtype, n_threads):
        """As in ``MemoryRows``."""
        return self.total("hessian", coef, intercept, mean, dtype, n_threads)

    def batches(self, order, size, offset):
        """Shards have no batches of rows from everywhere: a ValueError."""
        raise ValueError(
            "'solver' must be 'auto', 'lbfgs', 'newton-cg' or 'newton-cholesky' for X in blocks or "
            "partitions; 'adam' and 'sgd' take X in memory, or block after block by partial_fit."
        )

    def moments(self, n_threads):
        """As in ``MemoryRows``."""
        return self._survey.moments

    def extremes(self, mean, n_threads):
        """As in ``MemoryRows``."""
        return self.total("extremes", mean, n_threads)


def sampled_rows(survey, y, outputs):
    """The rows of a survey's sample, as ``MemoryRows`` with the loss of ``y``."""
    pieces = sorted(survey.sample, key=lambda piece: piece[0])
    X = pieces[0][1]
    if len(pieces) > 1:
        stack = sparse.vstack if survey.moments.is_sparse else np.concatenate
        X = stack([X for _, X, _ in pieces])
    X = sparse.csr_array(X) if survey.moments.is_sparse else X
    of_sample = replace(concatenated([piece for _, _, piece in pieces]), loss=y.loss)
    return MemoryRows(X, of_sample, outputs, dtype=fit_dtype(X, survey.moments))
