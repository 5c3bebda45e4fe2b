"""Rows of X that are read block by block in every pass (``readers.py``)."""

import numpy as np
from scipy import sparse

from .._utils.csr import as_sound_X
from .._utils.threads import HESSIAN_NUMBERS, effective_n_threads, sequential_blas
from ._design_matrix import DTYPES
from .dataset import MemoryRows
from .readers import BlockError, block_name, each_block
from .shards import ShardedData, ShardedRows, Survey, combined, sample_spacing, survey
from .statistics import Extremes, moments_of
from .targets import concatenated, stacked


class BlockRows(ShardedRows):
    """Rows in blocks, which are read one after the other.

    Parameters
    ----------
    data : BlockData
    y : EncodedY
        The targets of all rows.
    outputs : ndarray of int
        The outputs that are fitted.
    """

    def __init__(self, data, y, outputs, dtype=None):
        super().__init__(data, y, outputs, dtype)
        # targets by slice; kept, since X is about n_features times larger
        self._encoded = self.derived.setdefault("encoded", {})

    def total(self, method, *arguments):
        """Sum over all blocks, in their order, of the results of ``method`` for their rows."""
        total = None
        most = self.n_rows
        if method in ("hessian", "active_hessian"):
            most = max(1, HESSIAN_NUMBERS // (self.n_features + self.target.n_outputs))

        def add(i, rows, X):
            nonlocal total
            X = converted(as_sound_X(X))
            for begin in range(rows.start, rows.stop, most):
                part = slice(begin, min(begin + most, rows.stop))
                within = X[part.start - rows.start : part.stop - rows.start]
                y, target = self._encode(part)
                of_part = MemoryRows(within, y, self.outputs, target=target, dtype=self.dtype)
                found = getattr(of_part, method)(*arguments)
                if not _is_finite(found):
                    self._require_finite(i, rows, X)
                total = found if total is None else combined(total, found)

        each_block(self._data.source, add)
        return total

    def _require_finite(self, i, rows, X):
        """Raise BlockError if values of a block, or their squares, are no longer finite."""
        try:
            moments_of(self._data.check(X, True), np.ones(X.shape[0]))
        except ValueError as error:
            name = block_name(i, rows)
            raise BlockError(f"{name} has changed since it was first read: {error}") from error

    def _encode(self, rows):
        """(EncodedY, EncodedTarget) of some rows; computed once."""
        key = rows.start, rows.stop
        if key not in self._encoded:
            y = self.y.taken(rows)
            self._encoded[key] = y, y.kernel_target(self.dtype, self.outputs)
        return self._encoded[key]


class BlockData(ShardedData):
    """X in blocks, from which objectives get their rows.

    The constructor reads all blocks once to survey them. Only a sample of X stays in memory.

    Parameters
    ----------
    source : object
        With the members of ``RowBlocks``.
    y : EncodedY
        The targets of its rows.
    check : callable
        ``check(X, finite)`` raises an error unless a block is valid as X, and returns it in a dtype
        that the fused pass reads; ``finite`` is whether to search it for nan and inf.
    report : callable or None, default=None
        Called as ``report(n_done, n_all)`` with numbers of blocks after each block.

    Attributes
    ----------
    shape : tuple (n_rows, n_features)
    survey : Survey
        Survey of all rows, whose sample is in one piece.
    """

    rows_type = BlockRows

    def __init__(self, source, y, check, report=None):
        self.source, self.shape, self.check = source, tuple(source.shape), check
        n_threads, total = effective_n_threads(), y.total_weight
        spacing = sample_spacing(self.shape, total)
        n_most = int(np.ceil(total / spacing)) + 1 if spacing else self.shape[0]
        found, room, Xs, ys = None, None, [], []

        def look(i, rows, X):
            nonlocal found, room
            before = 0.0 if found is None else found.moments.weight
            try:
                seen = survey(check(X, False), y.taken(rows), before, spacing, n_threads)
            except ValueError:
                check(X, True)  # nan and inf, which moments show too, have a clearer error here
                raise
            [(X, of_X)] = seen.sample
            ys.append(of_X)
            if sparse.issparse(X):
                Xs.append(X.copy())
            else:  # all samples are copied to one array as they arrive, to save memory
                room = np.empty((n_most, X.shape[1]), X.dtype) if room is None else room
                begin = sum(map(len, Xs))
                Xs.append(room[begin : begin + len(X)])
                Xs[-1][:] = X
            seen.sample = []
            found = seen if found is None else found + seen
            if report is not None:
                report(i + 1, len(source.lengths))

        with sequential_blas:
            each_block(source, look)
        X = stacked(Xs) if room is None else room[: sum(map(len, Xs))]
        self.survey = Survey(found.moments, [(X, concatenated(ys))])


def _is_finite(found):
    """Whether sums over rows (a number, an array, or a tuple of these) are finite."""
    if isinstance(found, Extremes):
        found = found.most, found.least
    parts = found if isinstance(found, tuple) else (found,)
    return all(np.isfinite(np.sum(part)) for part in parts)


def converted(X):
    """X in a dtype that the fused pass reads."""
    return X if X.dtype in DTYPES else X.astype(np.float64)


def in_memory(source):
    """All rows of a dense source, copied into one array."""
    X = np.empty(source.shape, source.dtype)

    def copy(i, rows, block):
        X[rows] = block

    each_block(source, copy)
    return X
