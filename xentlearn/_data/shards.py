"""X in several shards: blocks of rows on disk, or partitions on the workers of a cluster.

The shards of X are used as they are, without presolve.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np

from .._plan import plan
from .dataset import Data, MemoryRows, spaced
from .statistics import Moments, moments_of
from .targets import checksum, concatenated, stacked


@dataclass
class Survey:
    """Moments and a sample of rows, from one pass over them.

    The sum of two surveys is the survey of the rows of both.

    Attributes
    ----------
    moments : Moments
    sample : list of (ndarray or CSR, EncodedY)
        Pieces of the sample, in the order of the shards: rows of X, and their targets.
    """

    moments: Moments
    sample: list

    def __add__(self, other):
        return Survey(self.moments + other.moments, self.sample + other.sample)


def survey(X, y, before, spacing, n_threads=1):
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
    n_threads : int, default=1

    Returns
    -------
    Survey
    """
    sample = spaced(X, y, spacing, before) if spacing > 0 else (X, y)
    return Survey(moments_of(X, y.weight, n_threads), [sample])


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
    _known = None  # (y, outputs, dtype, derived) of the last rows

    @property
    def is_sparse(self):
        """Whether the shards are sparse."""
        return self.survey.moments.is_sparse

    def rows(self, y, outputs, n_threads=1, dtype=None):
        """Rows with the chosen outputs of ``y`` (``EncodedY``); ``dtype`` as in ``MemoryData``."""
        return self.rows_type(self, y, outputs, dtype)

    def derived(self, y, outputs, dtype):
        """Return ``MemoryRows.derived`` of such rows; it is kept for the last ones."""
        known = self._known
        if known is None or known[0] is not y or known[2] != dtype:
            known = None
        if known is None or not np.array_equal(known[1], outputs):
            self._known = known = y, outputs, dtype, {}
        return known[3]

    @property
    def n_sampled(self):
        """Number of rows of the sample."""
        return sum(X.shape[0] for X, _ in self.survey.sample)

    def moments(self, y, n_threads=1):
        """Return the ``Moments`` of X."""
        return self.survey.moments

    def checksum(self):
        """Return a checksum of the moments with the shape, to compare X with other X."""
        moments = self.survey.moments
        return checksum(moments.mean, moments.variance), self.shape


def _summed(method):
    """The method of ``MemoryRows``, summed over all shards."""

    @functools.wraps(method)
    def summed(self, *arguments, out=None):
        return self.total(method.__name__, *arguments)

    return summed


class ShardedRows:
    """Rows in several shards; a subclass implements ``total``, which sums over the shards.

    Its ``total(method, *arguments)`` returns the sum over all shards of what ``method`` of their
    rows returns.

    Parameters
    ----------
    data : ShardedData
    y : EncodedY
        Loss and weights of all rows; on a cluster, the targets themselves stay with the shards.
    outputs : ndarray of int
        Indices of the outputs to use.
    dtype : dtype or None, default=None
        Dtype of computations; None leaves it to the moments of X.

    Attributes
    ----------
    sample : MemoryRows
        The sample of the survey, with its targets.
    derived : dict
        As in ``MemoryRows``.
    """

    def __init__(self, data, y, outputs, dtype=None):
        Xs, ys = zip(*data.survey.sample, strict=True)
        of_sample = replace(concatenated(ys), loss=y.loss)
        dtype = dtype or data.survey.moments.fit_dtype
        self.sample = sample = MemoryRows(stacked(Xs), of_sample, outputs, dtype=dtype)
        self.n_rows, self.n_features = data.shape
        self.dtype, self.target = sample.dtype, sample.target
        self.y, self.outputs, self._data = y, outputs, data
        self.derived = data.derived(y, outputs, self.dtype)

    loss_gradient = _summed(MemoryRows.loss_gradient)
    hessian_product = _summed(MemoryRows.hessian_product)
    hessian = _summed(MemoryRows.hessian)
    active_hessian = _summed(MemoryRows.active_hessian)
    extremes = _summed(MemoryRows.extremes)

    def batches(self, order, size, offset):
        """Raise ValueError: a batch would need rows from all shards."""
        raise ValueError(
            "'solver' must be 'auto', 'lbfgs', 'newton-cg' or 'newton-cholesky' for X in blocks or "
            "partitions; 'adam' and 'sgd' take X in memory, or block after block by partial_fit."
        )

    def moments(self, n_threads):
        """As in ``MemoryRows``."""
        return self._data.survey.moments
