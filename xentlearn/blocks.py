"""X on disk, or wherever it is, in blocks of rows: for data that memory does not hold.

``SoftmaxClassifier`` takes any object that gives its rows block by block, which is what
``RowBlocks`` says. ``NpyBlocks`` reads NumPy's files, ``ParquetBlocks`` Parquet's. A
``numpy.memmap`` needs nothing of this module: it is taken as it is.
"""

import contextlib
import functools
import mmap
import os
import weakref
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import sparse

from ._data import _mapped
from ._data._design_matrix import DTYPES
from ._utils.messages import listed

__all__ = ["BlockError", "NpyBlocks", "ParquetBlocks", "RowBlocks"]

# Of a block, by default. Starting its pass and the next read takes 0.4 ms, a tenth of the pass over
# 64 MB at the speed of memory; with half as much a pass took a fifth longer than in one piece.
# Mapped blocks take no memory of the process, and are twice as large.
BLOCK_BYTES = 64 * 2**20
MAPPED_BYTES = 2 * BLOCK_BYTES


class BlockError(OSError):
    """A block could not be read, or has changed while it was being read.

    The message names the block, its rows, and the file if there is one.
    """


class RowBlocks:
    """X as blocks of rows that are read when they are needed: a protocol, and a base class for it.

    Any object with these members is taken for X by ``SoftmaxClassifier``; it need not inherit.
    Blocks are read in order, over and over, each by ``read(i)`` and then ``release(i)``. While one
    is being used, a second thread reads the next: at most two are held at a time.

    Parameters
    ----------
    shape : tuple (n_samples, n_features)
        Of all rows together.
    dtype : dtype
        Of every block.
    lengths : sequence of int
        Rows of each block, at least 1; they add up to n_samples.
    feature_names : list of str or None, default=None
        Becomes ``feature_names_in_``.

    Examples
    --------
    Squares that are made rather than read:

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

    def read(self, i):
        """Block i, the same numbers whenever it is called. Called from another thread.

        Parameters
        ----------
        i : int
            From 0.

        Returns
        -------
        ndarray or CSR of shape (lengths[i], n_features)
            In ``dtype``.
        """
        raise NotImplementedError

    def release(self, i):
        """The block has been used; raise an error if it changed since it was read.

        Called once for each ``read(i)`` that returned. By default nothing happens.

        Parameters
        ----------
        i : int
            From 0.
        """


# ---- Files that must stay as they are ------------------------------------------------------------


# Of users, that hold zeros where their file was gone for a moment: they look sound, and are not.
_LOST = weakref.WeakSet()


class _File:
    """A file, and what it was like when it was opened.

    Parameters
    ----------
    path : str, path or None
    mapping : mmap.mmap or None, default=None
        A user's, which outlives the name of its file.
    n_bytes : int, default=0
        That the file must have had when it was mapped.
    """

    def __init__(self, path, mapping=None, n_bytes=0):
        # which file that is must not depend on the present directory later on
        self.path = "a file without a name" if path is None else os.path.abspath(path)
        self.mapping = mapping
        self.is_lost = mapping is not None and mapping in _LOST
        size, *rest = self._stamp()
        self.before = [size if size is None else max(size, n_bytes), *rest]

    def _stamp(self):
        """[size, nanoseconds, inode, device] as they are now: what changes when the file does."""
        stamp = [None] * 4
        with contextlib.suppress(OSError):
            stat = os.stat(self.path)
            stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev]
        if self.mapping is not None:
            stamp[0] = self.mapping.size()
        return stamp

    def lose(self):
        """Some of it was gone when it was used."""
        self.is_lost = True
        if self.mapping is not None:
            _LOST.add(self.mapping)

    def check(self):
        """Raise BlockError unless the file is what it was."""
        now = self._stamp()
        if now == self.before and not self.is_lost:
            return
        if now == self.before:
            what = "could not be read to its end (a failing disk, or it was shorter for a moment)"
        elif now[0] != self.before[0] and None not in (now[0], self.before[0]):
            what = f"had {self.before[0]:,} bytes and has {now[0]:,} now"
        elif now[1] is None:
            what = "is gone"
        else:
            what = "is not what it was: it was written to, or replaced"
        raise BlockError(
            f"'{self.path}' has changed while it was being read: it {what}. Leave files alone "
            "until the fit is over, and open changed ones anew."
        )


def _equal_lengths(n_rows, row_bytes, block_bytes):
    """Rows of blocks of about that size."""
    most = max(1, block_bytes // row_bytes)
    n_blocks = -(-n_rows // most)
    cuts = [n_rows * i // n_blocks for i in range(n_blocks + 1)]
    return [end - begin for begin, end in pairwise(cuts)]


def _address_range(X):
    """(first address, address behind the last) of a dense array."""
    begin = end = X.__array_interface__["data"][0]
    for length, stride in zip(X.shape, X.strides, strict=True):
        begin += min(0, (length - 1) * stride)
        end += max(0, (length - 1) * stride)
    return begin, end + X.itemsize


class _MappedBlocks(RowBlocks):
    """Blocks of mapped arrays, used where they lie.

    Parameters
    ----------
    arrays : list of ndarray of shape (n_rows, n_features)
        Of one dtype and number of features.
    files : list of _File
        Where each of them lies.
    block_bytes : int
    """

    def __init__(self, arrays, files, block_bytes):
        first = arrays[0]
        row_bytes = first.shape[1] * first.itemsize
        self._arrays, self._files = arrays, files
        self._places = []  # (array, begin, end) of each block
        for k, X in enumerate(arrays):
            begin = 0
            for length in _equal_lengths(len(X), row_bytes, block_bytes):
                self._places.append((k, begin, begin + length))
                begin += length
        self._guards = {}
        super().__init__(
            (sum(map(len, arrays)), first.shape[1]),
            first.dtype,
            [end - begin for _, begin, end in self._places],
        )

    def read(self, i):
        """A view of the file, which the system is asked to read ahead.

        Parameters
        ----------
        i : int
            From 0.

        Returns
        -------
        ndarray of shape (lengths[i], n_features)
        """
        self.ask_for(i)
        return self.take(i)

    def ask_for(self, i):
        """Have the system read block i, which may be used in the meantime.

        Parameters
        ----------
        i : int
            From 0.
        """
        X = self._view(i)
        first, last = _address_range(X)
        if abs(X.strides[0]) >= abs(X.strides[1]):
            _mapped.read_ahead(first, last - first)
        else:  # column after column in the file
            n_bytes = (len(X) - 1) * abs(X.strides[0]) + X.itemsize
            _mapped.read_ahead(first, n_bytes, X.shape[1], abs(X.strides[1]))

    def take(self, i):
        """A view of the file, guarded until the release.

        Parameters
        ----------
        i : int
            From 0.

        Returns
        -------
        ndarray of shape (lengths[i], n_features)
        """
        self._files[self._places[i][0]].check()
        X = self._view(i)
        # several fits may read at the same time
        guard = _mapped.Guard(*_address_range(X), X.flags.writeable)
        self._guards.setdefault(i, []).append(guard)
        return X

    def _view(self, i):
        k, begin, end = self._places[i]
        return self._arrays[k][begin:end]

    def release(self, i):
        """Raise BlockError if the file changed, or was not all there.

        Parameters
        ----------
        i : int
            From 0.
        """
        file = self._files[self._places[i][0]]
        if self._guards[i].pop().release():
            file.lose()
        file.check()


class MemmapBlocks(_MappedBlocks):
    """Blocks of a user's memory-mapped array."""

    def __init__(self, X, block_bytes=MAPPED_BYTES):
        mapping = X
        while not (mapping is None or isinstance(mapping, mmap.mmap)):
            mapping = getattr(mapping, "base", None)
        begin = X.offset - X.offset % mmap.ALLOCATIONGRANULARITY  # as numpy.memmap maps it
        n_bytes = 0 if mapping is None else begin + len(mapping)
        file = _File(X.filename, mapping, n_bytes)
        super().__init__([X.view(np.ndarray)], [file], block_bytes)


# ---- NumPy's files -------------------------------------------------------------------------------


class NpyBlocks(_MappedBlocks):
    """Rows of one or several .npy files, mapped into memory and read where they lie.

    Nothing is copied: what is read stays in the system's page cache, which gives it up where memory
    is short. If a file is truncated or changed while it is read, that is an error, and no crash. In
    Fortran order a block is scattered over its file: as good where the page cache holds it, slower
    from the disk.

    Parameters
    ----------
    path : str, path, or list of these
        A file; a directory, whose ``*.npy`` files are taken in the order of their names; or files
        in the order wanted. Each holds an array of shape (n_rows, n_features), all of one dtype.
    block_bytes : int, default=134217728
        Size of a block, about. A block never crosses from one file to the next.

    Raises
    ------
    ValueError
        If a file is not a 2-D array of numbers, is shorter than its header says, or differs from
        the first in dtype or number of features; or if there is none.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.blocks import NpyBlocks
    >>> X, y = load_digits(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for i in range(3):
    ...         np.save(f"{folder}/part-{i}.npy", X[600 * i : 600 * (i + 1)])
    ...     shards = NpyBlocks(folder)
    ...     clf = SoftmaxClassifier(C=0.1).fit(shards, y)
    >>> shards.shape, clf.score(X, y) > 0.98
    ((1797, 64), True)
    """

    def __init__(self, path, block_bytes=MAPPED_BYTES):
        paths = _paths(path, ".npy")
        found = [_mapped_npy(path) for path in paths]
        first = found[0][0]
        for path, (X, _) in zip(paths, found, strict=True):
            if X.dtype != first.dtype or X.shape[1] != first.shape[1]:
                raise ValueError(
                    "Files must agree in dtype and number of features; "
                    f"'{paths[0]}' has {first.dtype} and {first.shape[1]}, "
                    f"'{path}' {X.dtype} and {X.shape[1]}. Convert one of them."
                )
        arrays, files = zip(*found, strict=True)
        super().__init__(arrays, files, _checked_size(block_bytes))


def _checked_size(block_bytes):
    if not hasattr(block_bytes, "__index__") or block_bytes < 1:
        raise ValueError(f"'block_bytes' must be a positive integer, got {block_bytes!r}.")
    return int(block_bytes)


def _paths(path, suffix):
    """The files that a user means by a path, or by several."""
    if not isinstance(path, (str, os.PathLike)):
        paths = [Path(one) for one in path]
        where = "The list of files"
    elif Path(path).is_dir():
        paths = sorted(Path(path).glob(f"*{suffix}"))
        where = f"The directory '{path}'"
    else:
        return [Path(path)]
    if not paths:
        raise ValueError(f"{where} must have at least one {suffix} file, it has none.")
    return paths


def _mapped_npy(path):
    """(array, _File) of a .npy file."""
    file_of = _File(path)
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read_header is None:  # 3.0 is for the names of fields
                raise ValueError(f"version {version} of the format is not for plain numbers")
            shape, is_fortran, dtype = read_header(file)
        except ValueError as error:
            raise ValueError(
                f"'{path}' must be a .npy file, as numpy.save writes it: {error}. Save it again."
            ) from None
        if len(shape) != 2 or dtype.kind not in "fiub":
            raise ValueError(
                f"'{path}' must hold a 2-D array of real numbers, got shape {shape} of {dtype}. "
                "Reshape or convert it and save it again."
            )
        if 0 in shape:
            raise ValueError(
                f"'{path}' must hold at least 1 row and 1 feature, got shape {shape}. Leave it out."
            )
        offset, (n_rows, n_features) = file.tell(), shape
        n_bytes = offset + n_rows * n_features * dtype.itemsize
        n_there = os.fstat(file.fileno()).st_size
        if n_there < n_bytes:
            raise ValueError(
                f"'{path}' must have {n_bytes:,} bytes for its shape {shape}, it has {n_there:,}: "
                "it is truncated, or not yet written to its end."
            )
        mapping = _mapped.Mapping(file.fileno(), n_bytes) if _mapped.MAPS else None
    order = "F" if is_fortran else "C"
    if mapping is None:
        X = np.memmap(path, dtype, "r", offset, shape, order).view(np.ndarray)
    else:
        X = np.ndarray(shape, dtype, mapping, offset, order=order)
    return X, file_of


# ---- Parquet -------------------------------------------------------------------------------------


class ParquetBlocks(RowBlocks):
    """Columns of one or several Parquet files. Needs pyarrow.

    A block is one row group, or several: a file with huge row groups takes as much memory as two of
    them. Columns are decoded anew in every pass; .npy files are several times as fast.

    Parameters
    ----------
    path : str, path, or list of these
        A file; a directory, whose ``*.parquet`` files are taken in the order of their names; or
        files in the order wanted, all with the same columns.
    columns : list of str or None, default=None
        The features, in this order; None takes all columns. They must be numbers.
    exclude : list of str, default=()
        Columns that are no features, such as the label.
    dtype : dtype or None, default=None
        Of the blocks. None: what holds all columns among float32, float16, uint8 and int8, else
        float64.
    block_bytes : int, default=67108864
        Size of a block, about: row groups are put together up to it.

    Raises
    ------
    ImportError
        If there is no pyarrow.
    ValueError
        If there is no file, a column is missing or is not of numbers, or files differ. In ``read``:
        if a value is missing.

    Examples
    --------
    >>> import tempfile, pandas
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.blocks import ParquetBlocks
    >>> frame = load_iris(as_frame=True).frame
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     frame.to_parquet(f"{folder}/iris.parquet")
    ...     X = ParquetBlocks(f"{folder}/iris.parquet", exclude=["target"])
    ...     clf = SoftmaxClassifier().fit(X, X.column("target"))
    >>> clf.feature_names_in_[0]
    'sepal length (cm)'
    """

    def __init__(self, path, columns=None, *, exclude=(), dtype=None, block_bytes=BLOCK_BYTES):
        parquet, paths = _pyarrow_parquet(), _paths(path, ".parquet")
        self._files = [_File(path) for path in paths]
        self._metadata = []
        for path in paths:
            try:
                self._metadata.append(parquet.read_metadata(path))
            except FileNotFoundError:
                raise
            except (OSError, ValueError) as error:
                raise ValueError(f"'{path}' must be a Parquet file: {error}.") from None
        schema = self._schema = self._metadata[0].schema.to_arrow_schema()
        if isinstance(columns, str) or isinstance(exclude, str):
            raise ValueError("'columns' and 'exclude' must be lists of names; put it into a list.")
        self._check_known([*(columns or ()), *exclude])
        names = [name for name in columns or schema.names if name not in set(exclude)]
        if not names:
            raise ValueError(f"There must be at least 1 feature; '{paths[0]}' has none left.")
        dtypes = [_number_dtype(schema.field(name), paths[0]) for name in names]
        for path, metadata in zip(paths, self._metadata, strict=True):
            other = metadata.schema.to_arrow_schema()
            for name in names:
                if name not in other.names or other.field(name).type != schema.field(name).type:
                    raise ValueError(
                        f"Files must agree in their columns; {name!r} of '{paths[0]}' is missing "
                        f"or of another type in '{path}'."
                    )
        found = np.result_type(*dtypes)
        if dtype is None:
            dtype = found if found in DTYPES else np.uint8 if found.kind == "b" else np.float64
        self._groups = []  # (file, row groups) of each block
        lengths = []
        row_bytes = len(names) * np.dtype(dtype).itemsize
        most = max(1, _checked_size(block_bytes) // row_bytes)
        for k, metadata in enumerate(self._metadata):
            begins_file = True
            for group in range(metadata.num_row_groups):
                n_rows = metadata.row_group(group).num_rows
                if n_rows == 0:
                    continue
                if begins_file or lengths[-1] + n_rows > most:
                    self._groups.append((k, [group]))
                    lengths.append(n_rows)
                else:
                    self._groups[-1][1].append(group)
                    lengths[-1] += n_rows
                begins_file = False
        super().__init__((sum(lengths), len(names)), dtype, lengths, names)

    def read(self, i):
        """The numbers of the block's row groups.

        Parameters
        ----------
        i : int
            From 0.

        Returns
        -------
        ndarray of shape (lengths[i], n_features)
        """
        k, groups = self._groups[i]
        table = self._table(k, groups, self.feature_names)
        # column by column, as they come: filling rows took six times as long, and with that a block
        # twice as long as it does now, pass included
        X = np.empty((self.lengths[i], self.shape[1]), self.dtype, order="F")
        for j, name in enumerate(self.feature_names):
            X[:, j] = _numbers(table.column(name), name, self._files[k].path)
        return X

    def column(self, name):
        """One column of all rows, for y or sample_weight.

        Parameters
        ----------
        name : str
            Of a feature or of another column, such as the label.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If there is no such column, or a value of it is missing.
        """
        self._check_known([name])
        pieces = []
        for k, metadata in enumerate(self._metadata):
            table = self._table(k, list(range(metadata.num_row_groups)), [name])
            pieces.append(_numbers(table.column(name), name, self._files[k].path))
        return np.concatenate(pieces)

    def _check_known(self, names):
        missing = [name for name in names if name not in self._schema.names]
        if missing:
            raise ValueError(
                f"Columns must be among {listed(self._schema.names)}, got {missing[0]!r}. Look at "
                "its name."
            )

    def _table(self, k, groups, names):
        """Columns of row groups of a file, which must be as it was."""
        file = self._files[k]
        file.check()
        try:
            reader = _pyarrow_parquet().ParquetFile(file.path, metadata=self._metadata[k])
            with reader:
                table = reader.read_row_groups(groups, columns=names)
        except (OSError, ValueError) as error:
            file.check()  # the likelier reason
            raise BlockError(f"'{file.path}' could not be decoded: {error}") from error
        file.check()  # all that is used has been copied by now
        return table


def _pyarrow_parquet():
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            'ParquetBlocks needs pyarrow, which is not here: pip install "xentlearn[parquet]".'
        ) from error
    return parquet


def _number_dtype(field, path):
    """NumPy's dtype of a column of numbers."""
    try:
        dtype = np.dtype(field.type.to_pandas_dtype())
    except (NotImplementedError, TypeError):
        dtype = np.dtype(object)
    if dtype.kind not in "fiub":
        raise ValueError(
            f"Features must be numbers; column {field.name!r} of '{path}' is {field.type}. Name it "
            "in 'exclude', or encode it before it is written."
        )
    return dtype


def _numbers(column, name, path):
    """Values of a column, none of them missing."""
    if column.null_count:
        raise ValueError(
            f"column {name!r} of '{path}' must have a value in every row; {column.null_count} are "
            "missing (null). Fill them before the file is written, or leave the column out."
        )
    return column.to_numpy()


# ---- Going through them --------------------------------------------------------------------------


def blocks_of(X):
    """X as an object with the members of ``RowBlocks``; None where it is something else.

    Memory-mapped arrays are such objects, small ones too: whoever reads them must be guarded.
    """
    if isinstance(X, np.memmap) and X.ndim == 2 and X.size > 0 and X.dtype.kind in "fiub":
        # results of NumPy's functions are of that class, too, but in memory
        return None if X._mmap is None else MemmapBlocks(X)
    if not callable(getattr(type(X), "read", None)):
        return None
    if not all(hasattr(X, name) for name in ("shape", "dtype", "lengths")):
        return None
    lengths = [int(length) for length in X.lengths]
    if len(X.shape) != 2 or sum(lengths) != X.shape[0] or min(lengths, default=0) < 1:
        raise ValueError(
            "Row blocks must have a 'shape' (n_samples, n_features) and 'lengths' of at least 1 "
            f"that add up to n_samples, got {tuple(X.shape)} and {sum(lengths)} rows in "
            f"{len(lengths)} blocks."
        )
    return X


def each_block(source, use):
    """Use all blocks in turn; the next one is read meanwhile, by another thread.

    Parameters
    ----------
    source : object
        With the members of ``RowBlocks``.
    use : callable
        ``use(i, rows, X)``, with ``rows`` the slice of all rows that X is. It keeps nothing of X.

    Raises
    ------
    BlockError
        If a block could not be read, or has changed.
    ValueError
        If a block is not what it should be, or ``use`` says that its values are not.
    """
    ends = np.cumsum([int(length) for length in source.lengths])
    places = [slice(int(end - n), int(end)) for end, n in zip(ends, source.lengths, strict=True)]
    release = getattr(source, "release", None)
    kinds = set()  # dense or sparse
    is_mapped = isinstance(source, _MappedBlocks)

    def finish(i):
        if release is not None:
            with _naming(i, places[i], Exception):
                release(i)

    def read(i):
        with _naming(i, places[i], Exception):
            X = source.take(i) if is_mapped else source.read(i)
        try:
            with _naming(i, places[i]):
                _check_block(source, i, X, kinds)
        except ValueError:
            finish(i)
            raise
        return X

    with ThreadPoolExecutor(1, thread_name_prefix="xentlearn-read") as reader:

        def begin(i):
            """Read block i from now on; what is returned waits for it."""
            if is_mapped:
                # nobody waits for advice: where other processes want the cores, too, the thread
                # gets its turn late, and with that passes took twice as long
                reader.submit(source.ask_for, i)
                return functools.partial(read, i)
            return reader.submit(read, i).result

        coming = begin(0)
        try:
            for i, rows in enumerate(places):
                X, coming = coming(), None
                if i + 1 < len(places):
                    coming = begin(i + 1)
                try:
                    with _naming(i, rows):
                        use(i, rows, X)
                finally:
                    del X
                    finish(i)
        finally:
            if coming is not None:  # something was raised: what has been read is let go
                with contextlib.suppress(Exception):
                    coming()
                    finish(i + 1)


@contextlib.contextmanager
def _naming(i, rows, reading=()):
    """Errors tell which block they are about; those of ``reading`` are about the block itself."""
    name = f"Block {i} of 'X' (rows {rows.start} to {rows.stop - 1})"
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except reading as error:
        text = str(error) if isinstance(error, BlockError) else f"{type(error).__name__}: {error}"
        raise BlockError(f"{name} could not be read: {text}") from error


def _check_block(source, i, X, kinds):
    """Raise ValueError unless X is what the source says of its block."""
    is_sparse = sparse.issparse(X)
    kinds.add(is_sparse)
    if not (X.format == "csr" if is_sparse else isinstance(X, np.ndarray)):
        got = f"a sparse matrix of format {X.format}" if is_sparse else type(X).__name__
        raise ValueError(f"'read' must return an ndarray or CSR, got {got}.")
    if len(kinds) > 1:
        raise ValueError("blocks must be all dense or all sparse; these are mixed.")
    wanted, dtype = (int(source.lengths[i]), source.shape[1]), np.dtype(source.dtype)
    if X.shape != wanted or X.dtype != dtype:
        raise ValueError(
            f"'lengths', 'shape' and 'dtype' promise an array of shape {wanted} and {dtype}, "
            f"'read' returned one of shape {X.shape} and {X.dtype}."
        )
