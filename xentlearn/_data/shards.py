"""X in several shards: blocks of rows on disk, or partitions on the workers of a cluster.

The shards of X are used as they are, without presolve.
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
    """Moments and a sample of rows, from one pass over them.

    The sum of two surveys is the survey of the rows of both.

    Attributes
    ----------
    moments : Moments
    sample : list of (int, ndarray or CSR, EncodedY)
        Pieces of the sample: number of the shard, rows of X, and their targets.
    """

    moments: Moments
    sample: list

    def __add__(self, other):
        return Survey(self.moments + other.moments, self.sample + other.sample)


def survey(X, y, before, spacing, origin=0, n_threads=1):
    """Compute the survey of rows of X.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_rows, n_features)
    y : EncodedY
        Targets of the same rows.
    before : float
        Sum of the weights of the rows before these, in earlier shards.
    spacing : float
        Weight that each row of the sample represents; 0 takes all rows.
    origin : int, default=0
        Number of the shard.
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
    """Return the weight that each row of the sample represents; 0 means to take all rows."""
    n_rows, n_features = shape
    rules = plan.RULES
    wanted = max(1, min(rules.sample_rows, rules.sample_numbers // max(1, n_features)))
    return 0.0 if n_rows <= wanted else total_weight / wanted


def combined(one, two):
    """Add two results of the same function of rows: numbers, arrays, or tuples of these."""
    if isinstance(one, tuple):
        return tuple(a + b for a, b in zip(one, two, strict=True))
    return one + two


class ShardedData:
    """X in shards; subclasses set the attributes ``shape`` and ``survey``.

    Attributes
    ----------
    shape : (int, int)
    survey : Survey
        The survey of all rows.
    """

    in_memory = False
    unit = 1.0
    steps = ()

    @property
    def is_sparse(self):
        """Whether the shards are sparse."""
        return self.survey.moments.is_sparse

    @property
    def n_sampled(self):
        """Number of rows of the sample."""
        return sum(X.shape[0] for _, X, _ in self.survey.sample)

    def presolved(self, plan, weight, fit_intercept, l2_reg):
        """Return itself, as shards have no presolve."""
        return self

    def apply(self, coef, intercept):
        """Return (coef, intercept) as they are, as shards have no presolve."""
        return coef, intercept

    def undo(self, coef, intercept):
        """Return (coef, intercept) as they are, as shards have no presolve."""
        return coef, intercept

    def undo_moments(self, moments, but_for=()):
        """Return the moments as they are, as shards have no presolve."""
        return moments

    def moments(self, y, n_threads=1):
        """Return the ``Moments`` of X."""
        return self.survey.moments

    def checksum(self):
        """Return a checksum of the moments with the shape, to compare X with other X."""
        moments = self.survey.moments
        return zlib.crc32(moments.variance, zlib.crc32(moments.mean)), self.shape


class ShardedRows:
    """Rows in several shards; a subclass implements ``total``, which sums over the shards.

    Parameters
    ----------
    n_rows : int
    survey : Survey
        The survey of all rows.
    y : EncodedY
        Loss and weights of all rows; on a cluster, the targets themselves stay with the shards.
    outputs : ndarray of int
        Indices of the outputs to use.

    Attributes
    ----------
    sample : MemoryRows
        The sample of the survey, with its targets.
    in_memory : bool
        False: only the methods below are available.
    """

    in_memory = False

    def __init__(self, n_rows, survey, y, outputs):
        self.sample = sample = sampled_rows(survey, y, outputs)
        self.n_rows, self.n_features = n_rows, sample.n_features
        self.dtype, self.target = sample.dtype, sample.target
        self.y, self.outputs, self._survey = y, outputs, survey

    def total(self, method, *arguments):
        """Return the sum over all shards of what this method of their ``MemoryRows`` returns."""
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
        """Raise ValueError: a batch would need rows from all shards."""
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
    """Return the sample of a survey as ``MemoryRows``, with the loss of ``y``."""
    pieces = sorted(survey.sample, key=lambda piece: piece[0])
    X = pieces[0][1]
    if len(pieces) > 1:
        stack = sparse.vstack if survey.moments.is_sparse else np.concatenate
        X = stack([X for _, X, _ in pieces])
    X = sparse.csr_array(X) if survey.moments.is_sparse else X
    of_sample = replace(concatenated([piece for _, _, piece in pieces]), loss=y.loss)
    return MemoryRows(X, of_sample, outputs, dtype=survey.moments.fit_dtype)
