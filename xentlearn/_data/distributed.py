"""Rows of X that are spread over the workers of a Dask cluster.

A fit takes four rounds of communication before the solver begins. Partitions are read where their
data is, and return the few rows of y that decide its kind; they encode their own y and return its
sums; they are surveyed; and the rows of the survey's sample, from which the preconditioner is
computed, are sent to the client. After that, each evaluation is one round: coefficients are
broadcast, and sums over rows are returned.

Partitions never move. Partial sums are added in a tree whose shape depends only on the number of
partitions, so that a fit has the same bits on any number of workers.
"""

import functools
import threading
import uuid
import warnings
from dataclasses import dataclass, replace

import dask.array
import dask.dataframe
import distributed
import numpy as np
from dask.sizeof import sizeof
from scipy import sparse

from .._utils.threads import FAN_IN, sequential_blas
from .dataset import MemoryRows
from .encoding import warn_of_column
from .readers import naming
from .shards import ShardedData, ShardedRows, Survey, combined, sample_spacing, survey
from .target_batches import digest, encode_like
from .targets import TargetSums, encode_y, stacked

# ---- Blocks of the input -------------------------------------------------------------------------


def as_blocks(X, y, sample_weight=None):
    """Corresponding partitions of the input.

    Parameters
    ----------
    X : dask array or dataframe of shape (n_samples, n_features)
    y : dask array, series or dataframe of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : dask array, series or dataframe like ``y``, number or None, default=None

    Returns
    -------
    list of (X, y, sample_weight)
        One entry per partition; members that come from a collection are delayed.

    Raises
    ------
    TypeError
        If one of them is not a Dask collection.
    ValueError
        If their numbers of rows or partitions differ, as far as Dask knows these.
    """
    require_2d(X)
    _require_collection("y", y)
    others = {"y": y}
    if dask.is_dask_collection(sample_weight) or np.ndim(sample_weight):
        _require_collection("sample_weight", sample_weight, ", a number or None")
        others["sample_weight"] = sample_weight
    X, lengths = whole_rows(X), _lengths(X)
    blocks = [_delayed(X)]
    for name, other in others.items():
        other = whole_rows(_as_vector(other) if name == "y" else other)
        if lengths is not None and _lengths(other) is not None:
            if sum(lengths) != sum(_lengths(other)):
                raise ValueError(
                    f"'X' and '{name}' must have the same number of rows, got {sum(lengths)} and "
                    f"{sum(_lengths(other))}."
                )
            other = other.rechunk({0: lengths})
        blocks.append(_delayed(other))
        if len(blocks[-1]) != len(blocks[0]):
            raise ValueError(
                f"'X' and '{name}' must have partitions that correspond one to one; got "
                f"{len(blocks[0])} and {len(blocks[-1])}, of sizes that are not known. Make both "
                "from one dataframe, or call compute_chunk_sizes() on both arrays."
            )
    if len(others) == 1:
        blocks.append([sample_weight] * len(blocks[0]))
    return list(zip(*blocks, strict=True))


def whole_rows(collection):
    """The collection, rechunked so that every row lies in one chunk."""
    if _is_array(collection) and collection.ndim == 2:
        return collection.rechunk({1: -1})
    return collection


def _as_vector(y):
    """y, or its only column with the warning that y in memory gets."""
    if y.ndim == 2 and y.shape[1] == 1:
        warn_of_column()
        return y[:, 0] if _is_array(y) else y[y.columns[0]]
    return y


def require_2d(X):
    """Raise an error unless X is a dask array or dataframe with rows and columns."""
    _require_collection("X", X)
    if X.ndim != 2:
        raise ValueError(f"'X' must have shape (n_samples, n_features), got {X.shape}.")


def _is_array(collection):
    return isinstance(collection, dask.array.Array)


def _require_collection(name, got, more=""):
    types = dask.array.Array, dask.dataframe.DataFrame, dask.dataframe.Series
    if not isinstance(got, types):
        raise TypeError(
            f"'{name}' must be a dask array or dataframe{more}, got {type(got).__name__}; wrap it "
            "by dask.array.from_array, or fit xentlearn.SoftmaxClassifier to data in memory."
        )


def _lengths(collection):
    """Rows of each partition, or None where they are not known."""
    if not _is_array(collection) or np.isnan(collection.chunks[0]).any():
        return None
    return collection.chunks[0]


def _delayed(collection):
    """Its partitions, in order."""
    # An optimised graph would give X and y a copy each of the source that they share.
    delayed = collection.to_delayed(optimize_graph=False)
    return delayed.ravel().tolist() if _is_array(collection) else delayed


# ---- On a worker ---------------------------------------------------------------------------------


@dataclass
class Facts:
    """Facts about a partition that are known before y is encoded.

    ``digest`` is the one of ``target_batches.digest``, or None for a partition without rows.
    """

    n_features: int
    is_sparse: bool
    dtype: np.dtype
    names: np.ndarray | None
    digest: tuple | None


class Block:
    """A partition of the input that has been read.

    Parameters
    ----------
    number : int
    X, y, sample_weight
        Rows of the partition; there may be none, and the weight may be a number or None.
    validate : callable
        ``validate(X)`` returns (X that can be trained from, its dtype before, names of its
        features or None).
    """

    def __init__(self, number, X, y, sample_weight, validate):
        self.number, self.y, self.sample_weight = number, y, sample_weight
        no_rows = X, np.dtype(np.uint8), None  # without effect on what is known of all partitions
        with naming(f"In partition {number}"):
            self.X, self.dtype, self.names = validate(X) if X.shape[0] > 0 else no_rows

    def __sizeof__(self):
        return sizeof(self.X) + sizeof(self.y)

    def facts(self):
        """``Facts`` for the client."""
        with naming(f"In partition {self.number}"):
            found = digest(self.y, self.X.shape[0], self.sample_weight)
        found = found if self.X.shape[0] > 0 else None
        return Facts(self.X.shape[1], sparse.issparse(self.X), self.dtype, self.names, found)

    def encoded(self, known):
        """``Partition`` of the rows that have a weight, with y encoded like ``known``."""
        with naming(f"In partition {self.number}"):
            y = encode_like(known, self.y, self.X.shape[0], self.sample_weight)
        kept, y = y.with_weight()
        return Partition(self.number, self.X[kept], y)


@dataclass
class Round:
    """A broadcast: the method of ``MemoryRows`` to evaluate, and its arguments.

    Attributes
    ----------
    name : str
        Identifies the combination of ``loss``, ``outputs`` and ``dtype``.
    loss : loss setting
    outputs : ndarray of int
        The outputs that are fitted.
    dtype : dtype
        Data type of the computation.
    method : str
    arguments : tuple
        All arguments but the number of threads.
    """

    name: str
    loss: object
    outputs: np.ndarray
    dtype: np.dtype
    method: str
    arguments: tuple


class Partition:
    """Rows of X with their encoded targets, on the worker that evaluates them.

    Parameters
    ----------
    number : int
    X : ndarray or CSR of shape (n_rows, n_features)
    y : EncodedY
    """

    def __init__(self, number, X, y):
        self.number, self.X, self.y = number, X, y
        self._rows, self._name = None, None
        # All evaluations share the workspace of the rows, and a round that was abandoned may still
        # be running when the next one begins.
        self._lock = threading.Lock()

    def __reduce__(self):
        # without what is computed on demand: objects of the kernels cannot be pickled
        return Partition, (self.number, self.X, self.y)

    def __sizeof__(self):
        return sum(map(sizeof, [self.X, *self.y.arrays().values()]))

    def sums(self):
        """``TargetSums`` of the rows."""
        return self.y.target_sums()

    def survey(self, spacing, before, n_threads):
        """A ``Survey``; ``before`` is the weight of the partitions with lower numbers."""
        with naming(f"In partition {self.number}"), sequential_blas:
            return survey(self.X, self.y, before, spacing, n_threads)

    def evaluate(self, task, n_threads):
        """Result of a round for these rows."""
        with self._lock, sequential_blas:
            if self._name != task.name:
                y = replace(self.y, loss=task.loss)
                self._rows = MemoryRows(self.X, y, task.outputs, dtype=task.dtype)
                self._name = task.name
            return getattr(self._rows, task.method)(*task.arguments, n_threads)


# ---- On the client -------------------------------------------------------------------------------


class Cluster:
    """Objects on the workers of a cluster, one per partition, and sums over them.

    Parameters
    ----------
    client : distributed.Client
    futures : list of Future
        Futures of the objects. When a worker dies, the scheduler recomputes its objects from the
        input on another worker.
    """

    def __init__(self, client, futures):
        self.client, self.futures, self._n_threads = client, futures, None

    @property
    def n_threads(self):
        """Threads of each evaluation: Dask's threads per partition, at least 1."""
        if self._n_threads is None:
            n_all = sum(self.client.nthreads().values())
            self._n_threads = max(1, n_all // len(self.futures))
        return self._n_threads

    def map(self, function, **arguments):
        """Cluster of the results of ``function`` for each object."""
        how = {"key": function.__name__, "pure": False}
        return Cluster(self.client, self.client.map(function, self.futures, **how, **arguments))

    def gathered(self, function):
        """List of the results of ``function`` for each object."""
        return self.client.gather(self.map(function).futures)

    def total(self, function, shared, own):
        """Sum of the results of ``function`` for each object, added in a tree.

        Parameters
        ----------
        function : callable
            ``function(object, shared, *own, n_threads)``.
        shared : object
            Argument that is broadcast to the workers.
        own : iterable of tuple
            Further arguments for each object.

        Notes
        -----
        Everything that is sent is part of the graph, so the scheduler can recompute whatever is
        lost when a worker dies. Scattered data would be lost with the last worker that holds it,
        and ``scatter`` itself does not return if a worker dies during the call.
        """
        name = f"{function.__name__}-{uuid.uuid4().hex}"
        held = self.client.who_has(self.futures)
        graph, keys, where = {(name, "shared"): shared}, [], {}
        for number, (future, its_own) in enumerate(zip(self.futures, own, strict=True)):
            keys.append((name, 0, number))
            graph[keys[-1]] = (function, future, (name, "shared"), *its_own, self.n_threads)
            where[keys[-1]] = held[future.key]
        level = 0
        while len(keys) > 1:
            level += 1
            groups = [keys[begin : begin + FAN_IN] for begin in range(0, len(keys), FAN_IN)]
            keys = [(name, level, number) for number in range(len(groups))]
            for key, group in zip(keys, groups, strict=True):
                graph[key] = functools.reduce, combined, group
        # Evaluate where the partition is. Dask might choose the worker that holds the coefficients,
        # and move the partition there.
        places = dask.annotate(workers=lambda key: where.get(key, ()), allow_other_workers=True)
        # Dask warns of coefficients of 10 MB and advises to scatter them; see the Notes.
        silence = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"})
        with places, silence:
            root = self.client.get(graph, keys[0], sync=False)
        return root.result()


class DaskRows(ShardedRows):
    """Rows in partitions on the workers of a cluster.

    Parameters
    ----------
    data : DaskData
    y : EncodedY
        Without rows; its loss is evaluated.
    outputs : ndarray of int
        The outputs that are fitted.
    """

    def __init__(self, data, y, outputs, dtype=None):
        super().__init__(data, y, outputs, dtype)
        self._cluster = data.cluster
        self._round = functools.partial(Round, uuid.uuid4().hex, y.loss, outputs, self.dtype)

    def total(self, method, *arguments):
        """Sum over all partitions, in one round; workers use their own numbers of threads."""
        task = self._round(method, arguments[:-1])
        nothing = [()] * len(self._cluster.futures)
        return self._cluster.total(Partition.evaluate, task, nothing)


@dataclass
class DaskData(ShardedData):
    """X on a cluster, from which objectives get their rows, like ``MemoryData``.

    Parameters
    ----------
    cluster : Cluster
        Of ``Partition``.
    shape : tuple of int
    survey : Survey
    """

    cluster: Cluster
    shape: tuple
    survey: Survey

    rows_type = DaskRows


def read(client, blocks, validate, loss, class_weight, report=None):
    """Read partitions on the cluster, and encode their y.

    Parameters
    ----------
    client : distributed.Client
    blocks : list of (X, y, sample_weight)
        See ``as_blocks``.
    validate : callable
        See ``Block``.
    loss : str or loss setting
    class_weight : dict, "balanced" or None
    report : callable or None, default=None
        Called as ``report(n_done, n_all)`` with numbers of partitions after each was read.

    Returns
    -------
    data : DaskData
    y : EncodedY
        With ``sums`` in place of rows.
    facts : Facts
        Facts about X as a whole.

    Raises
    ------
    ValueError
        If partitions do not agree, or hold invalid data.
    """
    block = dask.delayed(Block, pure=False)
    made = [block(number, *members, validate) for number, members in enumerate(blocks)]
    read_blocks = Cluster(client, client.compute(made))
    if report is not None:
        for n_done, _ in enumerate(distributed.as_completed(read_blocks.futures), 1):
            report(n_done, len(made))
    facts = _agreed(read_blocks.gathered(Block.facts))
    y, weight = facts.digest
    with warnings.catch_warnings():
        # a digest has each class once or twice, which scikit-learn takes for a regression target
        warnings.filterwarnings("ignore", message="The number of unique classes")
        known = encode_y(y, y.shape[0], loss, class_weight, weight).without_rows()
    partitions = read_blocks.map(Block.encoded, known=known)
    sums = partitions.gathered(Partition.sums)
    with_rows = [pair for pair in zip(partitions.futures, sums, strict=True) if pair[1].n_rows]
    partitions.futures, sums = map(list, zip(*with_rows, strict=True))
    y = replace(known, sums=TargetSums(*functools.reduce(combined, sums)))
    shape = y.sums.n_rows, facts.n_features
    spacing = sample_spacing(shape, y.total_weight)
    before = np.cumsum([0.0] + [of_partition.weight for of_partition in sums[:-1]])
    found = partitions.total(Partition.survey, spacing, [(float(begin),) for begin in before])
    return DaskData(partitions, shape, found), y, facts


def _agreed(facts):
    """Facts about X as a whole, from those of the partitions that have rows."""
    kept = {number: found for number, found in enumerate(facts) if found.digest is not None}
    if not kept:
        raise ValueError("'X' must have at least one row, got none in any partition.")
    of_first, first = next(iter(kept.items()))
    for number, found in kept.items():
        for name in ("n_features", "is_sparse"):
            if getattr(found, name) != getattr(first, name):
                raise ValueError(
                    f"All partitions of 'X' must have the same features, dense or sparse alike; "
                    f"{name} is {getattr(found, name)} in partition {number}, "
                    f"{getattr(first, name)} in partition {of_first}."
                )
    ys, weights = zip(*(found.digest for found in kept.values()), strict=True)
    dtype = np.result_type(*(found.dtype for found in kept.values()))
    return replace(first, dtype=dtype, digest=(stacked(ys), np.concatenate(weights)))
