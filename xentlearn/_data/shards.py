"""Rows of X in several shards, in blocks on disk or on the workers of a cluster.

X stays as it is where shards are: nothing is centred or rotated.
"""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from .._plan import plan
from .dataset import MemoryRows, spaced
from .statistics import Moments, moments_of
from .targets import concatenated


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
    weight = y.weight
    moments = moments_of(X, weight, n_threads)
    sample = spaced(X, y, spacing, before) if spacing > 0 else (X, y)
    return Survey(moments, [(origin, *sample)])


def sample_spacing(shape, total_weight):
    """Weight that each row of a sample stands for; 0 where all rows are few enough."""
    n_rows, n_features = shape
    rules = plan.RULES
    wanted = max(1, min(rules.sample_rows, rules.sample_numbers // max(1, n_features)))
    return 0.0 if n_rows <= wanted else total_weight / wanted


def combined(one, two):
    """The sum of two results of the same function of rows: numbers, arrays, or tuples of these."""
    if isinstance(one, tuple):
        return tuple(a + b for a, b in zip(one, two, strict=True))
    return one + two


class ShardedData:
    """X in shards, from which objectives get their rows.

    Attributes
    ----------
    shape : (int, int)
    survey : Survey
        Of all rows. Subclasses have these two.
    """

    in_memory = False
    unit = 1.0
    steps = ()

    @property
    def is_sparse(self):
        """Whether shards are sparse."""
        return self.survey.moments.is_sparse

    @property
    def n_sampled(self):
        """Rows of the sample."""
        return sum(X.shape[0] for _, X, _ in self.survey.sample)

    def presolved(self, plan, weight, fit_intercept, l2_reg):
        """Nothing is centred or rotated."""
        return self

    def apply(self, coef, intercept):
        """(coef, intercept) for the rows: the same."""
        return coef, intercept

    def undo(self, coef, intercept):
        """(coef, intercept) for the features of the original: the same."""
        return coef, intercept

    def undo_moments(self, moments, but_for=()):
        """Moments of the features of the original: the same."""
        return moments

    def moments(self, y, n_threads=1):
        """``Moments`` of X."""
        return self.survey.moments

    def checksum(self):
        """By which other X are told from this one."""
        moments = self.survey.moments
        return zlib.crc32(moments.variance, zlib.crc32(moments.mean)), self.shape


class ShardedRows:
    """Rows in several shards. A subclass says how a method of ``MemoryRows`` is summed over them.

    Parameters
    ----------
    n_rows : int
    survey : Survey
        Of all rows.
    y : EncodedY
        Of all rows, whatever it knows of them.
    outputs : ndarray of int
        The ones that are fitted.

    Attributes
    ----------
    sample : MemoryRows
        The rows of the survey's sample, with their targets.
    """

    in_memory = False

    def __init__(self, n_rows, survey, y, outputs):
        self.sample = sample = sampled_rows(survey, y, outputs)
        self.n_rows, self.n_features = n_rows, sample.n_features
        self.dtype, self.target = sample.dtype, sample.target
        self.y, self.outputs, self._survey = y, outputs, survey

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

    def hessian(self, coef, intercept, mean, dtype, neglected, n_threads):
        """As in ``MemoryRows``."""
        return self.total("hessian", coef, intercept, mean, dtype, neglected, n_threads)

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
    return MemoryRows(X, of_sample, outputs, dtype=survey.moments.fit_dtype)
