"""Rows of X in several shards, in blocks on disk or on the workers of a cluster.

X stays as it is where shards are: nothing is centred or rotated.
"""

import functools
from dataclasses import dataclass, replace

from .._plan import plan
from .dataset import Data, MemoryRows, spaced
from .statistics import Moments, moments_of
from .targets import checksum, concatenated, stacked


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
    sample = spaced(X, y, spacing, before) if spacing > 0 else (X, y)
    return Survey(moments_of(X, y.weight, n_threads), [(origin, *sample)])


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


class ShardedData(Data):
    """X in shards, from which objectives get their rows. No plan takes steps with it.

    Attributes
    ----------
    shape : (int, int)
    survey : Survey
        Of all rows.
    rows_type : type
        The subclass of ``ShardedRows``. Subclasses have these three.
    """

    in_memory, unit = False, 1.0

    @property
    def is_sparse(self):
        """Whether shards are sparse."""
        return self.survey.moments.is_sparse

    def rows(self, y, outputs, n_threads=1):
        """Rows with the chosen outputs of ``y`` (``EncodedY``)."""
        return self.rows_type(self, y, outputs)

    @property
    def n_sampled(self):
        """Rows of the sample."""
        return sum(X.shape[0] for _, X, _ in self.survey.sample)

    def moments(self, y, n_threads=1):
        """``Moments`` of X."""
        return self.survey.moments

    def checksum(self):
        """By which other X are told from this one."""
        moments = self.survey.moments
        return checksum(moments.mean, moments.variance), self.shape


def _summed(method):
    """The method of ``MemoryRows``, summed over all shards."""

    @functools.wraps(method)
    def summed(self, *arguments, out=None):
        return self.total(method.__name__, *arguments)

    return summed


class ShardedRows:
    """Rows in several shards. A subclass says how a method of ``MemoryRows`` is summed over them.

    Its ``total(method, *arguments)`` returns the sum over all shards of what ``method`` of their
    rows returns.

    Parameters
    ----------
    data : ShardedData
    y : EncodedY
        Of all rows, whatever it knows of them.
    outputs : ndarray of int
        The ones that are fitted.

    Attributes
    ----------
    sample : MemoryRows
        The rows of the survey's sample, with their targets.
    """

    def __init__(self, data, y, outputs):
        _, Xs, ys = zip(*sorted(data.survey.sample, key=lambda piece: piece[0]), strict=True)
        of_sample = replace(concatenated(ys), loss=y.loss)
        dtype = data.survey.moments.fit_dtype
        self.sample = sample = MemoryRows(stacked(Xs), of_sample, outputs, dtype=dtype)
        self.n_rows, self.n_features = data.shape
        self.dtype, self.target = sample.dtype, sample.target
        self.y, self.outputs, self._data = y, outputs, data

    loss_gradient = _summed(MemoryRows.loss_gradient)
    hessian_product = _summed(MemoryRows.hessian_product)
    hessian = _summed(MemoryRows.hessian)
    extremes = _summed(MemoryRows.extremes)

    def batches(self, order, size, offset):
        """Shards have no batches of rows from everywhere: a ValueError."""
        raise ValueError(
            "'solver' must be 'auto', 'lbfgs', 'newton-cg' or 'newton-cholesky' for X in blocks or "
            "partitions; 'adam' and 'sgd' take X in memory, or block after block by partial_fit."
        )

    def moments(self, n_threads):
        """As in ``MemoryRows``."""
        return self._data.survey.moments
