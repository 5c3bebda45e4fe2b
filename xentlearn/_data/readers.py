"""X as blocks of rows: the protocol, mapped files, and one pass over all blocks.

While one block is used, a second thread reads the next. Readers of files are in
``file_readers.py``; users find all of them in ``xentlearn.blocks``.
"""

import contextlib
import functools
import itertools
import mmap
import os
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse

from .._utils.threads import MAPPED_BYTES
from . import _mapped


class RowBlocks:
    """X as blocks of rows that are read when they are needed: a protocol and its base class.

    ``SoftmaxClassifier`` takes any object with the members of this class as X; inheriting from it
    is not necessary. Every pass over X reads the blocks in order, each by ``read(i)`` followed by
    ``release(i)``. While one block is used, a second thread reads the next, so at most two blocks
    are held at a time.

    Parameters
    ----------
    shape : tuple (n_samples, n_features)
        Shape of all blocks together.
    dtype : dtype
        Data type of every block.
    lengths : sequence of int
        Number of rows of each block, at least 1; they add up to n_samples.
    feature_names : list of str or None, default=None
        Names of the features, which become ``feature_names_in_`` of a fitted classifier.

    Examples
    --------
    Blocks that are computed rather than read:

    >>> import numpy as np
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.blocks import RowBlocks
    >>> class Squares(RowBlocks):
    ...     def read(self, i):
    ...         x = np.arange(100 * i, 100 * (i + 1)) / 100
    ...         return np.stack([x, x**2], axis=1)
    >>> X = Squares((500, 2), np.float64, [100] * 5)
    >>> y = np.arange(500) >= 250
    >>> SoftmaxClassifier().fit(X, y).score(X, y)
    1.0
    """

    def __init__(self, shape, dtype, lengths, feature_names=None):
        self.shape, self.dtype, self.lengths = tuple(shape), np.dtype(dtype), list(lengths)
        self.feature_names = feature_names

    _paths = ()  # of the files, if there are any

    def __repr__(self):
        words = [f"shape {tuple(self.shape)}", str(np.dtype(self.dtype))]
        for things, name in (self.lengths, "block"), (self._paths, "file"):
            if len(things):
                words.append(f"{len(things):,} {name}{'s' * (len(things) > 1)}")
        files = f": '{self._paths[0]}'" + ", ..." * (len(self._paths) > 1) if self._paths else ""
        return f"<{type(self).__name__}: {', '.join(words)}{files}>"

    def __array__(self, *args, **kwargs):
        """Refuse to become one array, which scikit-learn's transformers and splits ask for."""
        raise TypeError(
            f"Row blocks are read one by one and do not become an array; got {self!r}. Pass them "
            "to the methods of SoftmaxClassifier itself. Transformers of a Pipeline, "
            "cross-validation and grid searches need rows in memory, such as numpy.load(path)."
        )

    def read(self, i):
        """Read block i; every call must return the same values. Called from another thread.

        Parameters
        ----------
        i : int
            Number of the block, from 0.

        Returns
        -------
        ndarray or CSR of shape (lengths[i], n_features)
            The rows, in ``dtype``.
        """
        raise NotImplementedError

    def release(self, i):
        """Let go of block i, and raise an error if it has changed since it was read.

        Called once for each ``read(i)`` that returned. The default implementation does nothing.

        Parameters
        ----------
        i : int
            Number of the block, from 0.
        """


# ---- Mapped files --------------------------------------------------------------------------------


class BlockError(OSError):
    """A block could not be read, or has changed while it was being read.

    The message names the block, its rows, and the file if there is one.
    """


# Mappings of users in which a guard had to put zeros where the file ended too early. The values
# look sound and are not, so every later use of such a mapping is an error.
_DAMAGED = weakref.WeakSet()


class StampedFile:
    """A file, with its size, time and inode as they were when it was opened.

    Parameters
    ----------
    path : str, path or None
        None for a mapping whose file has no name.
    mapping : mmap.mmap or None, default=None
        A user's mapping; it stays valid after its file has been deleted.
    n_bytes : int, default=0
        Size that the file must have had when it was mapped.
    """

    def __init__(self, path, mapping=None, n_bytes=0):
        # an absolute path still means the same file after the working directory has changed
        self.path = "a file without a name" if path is None else os.path.abspath(path)
        self.mapping = mapping
        self.is_damaged = mapping is not None and mapping in _DAMAGED
        size, *rest = self._stamp()
        self.before = [size if size is None else max(size, n_bytes), *rest]

    def _stamp(self):
        """[size, time in nanoseconds, inode, device] at present; None where there is no file."""
        stamp = [None] * 4
        with contextlib.suppress(OSError):
            stat = os.stat(self.path)
            stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev]
        if self.mapping is not None:
            stamp[0] = self.mapping.size()
        return stamp

    def mark_damaged(self):
        """Note that a part of the file was missing when it was used."""
        self.is_damaged = True
        if self.mapping is not None:
            _DAMAGED.add(self.mapping)

    def check(self):
        """Raise BlockError if the file has changed since it was opened."""
        now, before = self._stamp(), self.before
        if now == before and not self.is_damaged:
            return
        if now == before:
            what = "could not be read to its end (a failing disk, or it was shorter for a moment)"
        elif now[0] != before[0] and None not in (now[0], before[0]):
            what = f"had {before[0]:,} bytes and has {now[0]:,} now"
        elif now[1] is None:
            what = "no longer exists"
        else:
            what = "was written to, or replaced by another file"
        raise BlockError(
            f"'{self.path}' has changed while it was being read: it {what}. Do not write to files "
            "during a fit, and open changed files anew."
        )


def _equal_blocks(X, block_bytes):
    """Views of the rows of X of about ``block_bytes``, as equal as they can be."""
    n_blocks = -(-len(X) // max(1, block_bytes // (X.shape[1] * X.itemsize)))
    return np.split(X, [len(X) * i // n_blocks for i in range(1, n_blocks)])


def _address_range(X):
    """(first address, end address) of the memory of a dense array."""
    begin = end = X.__array_interface__["data"][0]
    for length, stride in zip(X.shape, X.strides, strict=True):
        begin += min(0, (length - 1) * stride)
        end += max(0, (length - 1) * stride)
    return begin, end + X.itemsize


class MappedBlocks(RowBlocks):
    """Blocks of memory-mapped arrays, which are used in place.

    Parameters
    ----------
    arrays : list of ndarray of shape (n_rows, n_features)
        All of the same dtype and number of features.
    files : list of StampedFile
        The file of each array.
    block_bytes : int
        Approximate size of a block.
    """

    def __init__(self, arrays, files, block_bytes):
        self._files, self._guards, self._blocks = files, {}, []
        for X, file in zip(arrays, files, strict=True):
            self._blocks += [(block, file) for block in _equal_blocks(X, block_bytes)]
        lengths = [len(block) for block, _ in self._blocks]
        super().__init__((sum(lengths), arrays[0].shape[1]), arrays[0].dtype, lengths)
        self._paths = [file.path for file in files]

    def read(self, i):
        """A view of the file, after the system has been asked to read it.

        Parameters
        ----------
        i : int
            Number of the block, from 0.

        Returns
        -------
        ndarray of shape (lengths[i], n_features)
        """
        self.prefetch(i)
        return self.view(i)

    def prefetch(self, i):
        """Ask the system to read block i into the page cache.

        Parameters
        ----------
        i : int
            Number of the block, from 0.
        """
        X, _ = self._blocks[i]
        first, last = _address_range(X)
        if abs(X.strides[0]) >= abs(X.strides[1]):
            _mapped.read_ahead(first, last - first)
        else:  # Fortran order: a piece of each column
            n_bytes = (len(X) - 1) * abs(X.strides[0]) + X.itemsize
            _mapped.read_ahead(first, n_bytes, X.shape[1], abs(X.strides[1]))

    def view(self, i):
        """A view of the file, which is guarded until block i is released.

        Parameters
        ----------
        i : int
            Number of the block, from 0.

        Returns
        -------
        ndarray of shape (lengths[i], n_features)
        """
        X, file = self._blocks[i]
        file.check()
        # a list, since several fits may read the same block at the same time
        guard = _mapped.Guard(*_address_range(X), X.flags.writeable)
        self._guards.setdefault(i, []).append(guard)
        return X

    def release(self, i):
        """Raise BlockError if the file has changed, or a part of it was missing.

        Parameters
        ----------
        i : int
            Number of the block, from 0.
        """
        _, file = self._blocks[i]
        if self._guards[i].pop().release():
            file.mark_damaged()
        file.check()


class MemmapBlocks(MappedBlocks):
    """Blocks of a user's memory-mapped array."""

    def __init__(self, X, block_bytes=MAPPED_BYTES):
        begin = X.offset - X.offset % mmap.ALLOCATIONGRANULARITY  # as numpy.memmap maps it
        file = StampedFile(X.filename, X._mmap, begin + len(X._mmap))
        super().__init__([X.view(np.ndarray)], [file], block_bytes)


# ---- A pass over all blocks ----------------------------------------------------------------------


def blocks_of(X):
    """X as an object with the members of ``RowBlocks``, or None if it has not got them.

    A memory-mapped array becomes such an object whatever its size, because whoever reads it must
    be guarded against changes of its file.
    """
    if isinstance(X, np.memmap) and X.ndim == 2 and X.size > 0 and X.dtype.kind in "fiub":
        # results of NumPy's functions have this class, too, but lie in memory
        return None if X._mmap is None else MemmapBlocks(X)
    members = [hasattr(X, name) for name in ("shape", "dtype", "lengths")]
    if not (all(members) and callable(getattr(type(X), "read", None))):
        return None
    lengths = [int(length) for length in X.lengths]
    if len(X.shape) != 2 or sum(lengths) != X.shape[0] or min(lengths, default=0) < 1:
        raise ValueError(
            "Row blocks must have a 'shape' (n_samples, n_features) and 'lengths' >= 1 that add up "
            f"to n_samples, got {tuple(X.shape)} and {sum(lengths)} rows in {len(lengths)} blocks."
        )
    return X


def each_block(source, use):
    """Call ``use`` with each block in turn, while another thread reads the next one.

    Parameters
    ----------
    source : object
        With the members of ``RowBlocks``.
    use : callable
        Called as ``use(i, rows, X)``, where ``rows`` is the slice of all rows that X holds. It must
        keep no reference to X.

    Raises
    ------
    BlockError
        If a block could not be read, or has changed.
    ValueError
        If a block is not what ``source`` declares, or ``use`` raises one about its values.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="xentlearn-read") as thread:
        reader = _Reader(source, thread)
        next_block = reader.start(0)
        try:
            for i, rows in enumerate(reader.places):
                X, next_block = next_block(), None
                if i + 1 < len(reader.places):
                    next_block = reader.start(i + 1)
                try:
                    with naming(block_name(i, rows)):
                        use(i, rows, X)
                finally:
                    del X
                    reader.release(i)
        finally:
            if next_block is not None:  # an error was raised: release what has been read
                with contextlib.suppress(Exception):
                    next_block()
                    reader.release(i + 1)


class _Reader:
    """Reads and releases blocks; errors name the block.

    Parameters
    ----------
    source : object
        With the members of ``RowBlocks``.
    thread : ThreadPoolExecutor
        Reads ahead.
    """

    def __init__(self, source, thread):
        self._source, self._thread = source, thread
        self._release = getattr(source, "release", None)  # optional for other classes
        self._is_mapped = isinstance(source, MappedBlocks)
        ends = itertools.accumulate(map(int, source.lengths), initial=0)
        self.places = [slice(begin, end) for begin, end in itertools.pairwise(ends)]
        self._kinds = set()  # of the blocks so far: whether they are sparse

    def start(self, i):
        """Begin to read block i; the function that is returned waits for it."""
        if self._is_mapped:
            # Nobody waits for the system's reading ahead. If the block itself were made by the
            # thread, a pass would wait until that thread gets a core; where other processes
            # wanted the cores as well, passes took twice as long.
            self._thread.submit(self._source.prefetch, i)
            return functools.partial(self._read, i)
        return self._thread.submit(self._read, i).result

    def _read(self, i):
        with naming(block_name(i, self.places[i]), Exception):
            X = self._source.view(i) if self._is_mapped else self._source.read(i)
        try:
            with naming(block_name(i, self.places[i])):
                self._check(i, X)
        except ValueError:
            self.release(i)
            raise
        return X

    def _check(self, i, X):
        """Raise ValueError unless X is what the source declares of block i."""
        is_sparse = sparse.issparse(X)
        self._kinds.add(is_sparse)
        if not (X.format == "csr" if is_sparse else isinstance(X, np.ndarray)):
            got = f"a sparse matrix of format {X.format}" if is_sparse else type(X).__name__
            raise ValueError(f"'read' must return an ndarray or CSR, got {got}.")
        if len(self._kinds) > 1:
            raise ValueError("blocks must be all dense or all sparse; these are mixed.")
        wanted = int(self._source.lengths[i]), self._source.shape[1]
        dtype = np.dtype(self._source.dtype)
        if X.shape != wanted or X.dtype != dtype:
            raise ValueError(
                f"'lengths', 'shape' and 'dtype' promise an array of shape {wanted} and {dtype}, "
                f"'read' returned one of shape {X.shape} and {X.dtype}."
            )

    def release(self, i):
        """Release block i."""
        if self._release is not None:
            with naming(block_name(i, self.places[i]), Exception):
                self._release(i)


def block_name(i, rows):
    """What messages call a block."""
    return f"Block {i} of 'X' (rows {rows.start} to {rows.stop - 1})"


@contextlib.contextmanager
def naming(name, reading=()):
    """Add the name of a block or a partition to errors.

    ValueErrors stay ValueErrors; other errors of the classes ``reading`` become a BlockError.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except reading as error:
        text = str(error) if isinstance(error, BlockError) else f"{type(error).__name__}: {error}"
        raise BlockError(f"{name} could not be read: {text}") from error
