"""Readers of NumPy's and Parquet's files as blocks of rows."""

import os
from pathlib import Path

import numpy as np

from .._utils.messages import listed
from .._utils.threads import BLOCK_BYTES, MAPPED_BYTES
from . import _mapped
from ._design_matrix import DTYPES
from .readers import BlockError, MappedBlocks, RowBlocks, StampedFile


class NpyBlocks(MappedBlocks):
    """Rows of one or several .npy files, which are mapped into memory and used in place.

    Nothing is copied: the files stay in the system's page cache, which shrinks where memory is
    short. A file that is truncated or changed while it is read is an error, not a crash. In Fortran
    order a block is scattered over its file, which is as fast as C order from the page cache, and
    slower from the disk.

    Parameters
    ----------
    path : str, path, or list of these
        A file; a directory, whose ``*.npy`` files are taken in the order of their names; or a list
        of files in the order of their rows. Each file holds an array of shape
        (n_rows, n_features), all of the same dtype.
    block_bytes : int, default=134217728
        Approximate size of a block. A block never spans two files.

    Raises
    ------
    ValueError
        If a file is not a 2-D array of numbers, is shorter than its header says, or differs from
        the first in dtype or number of features; or if there is no file.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
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
        paths = paths_of(path, ".npy")
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
        super().__init__(arrays, files, check_block_bytes(block_bytes))


def _mapped_npy(path):
    """(mapped array, StampedFile) of a .npy file."""
    file_of = StampedFile(path)
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version not in ((1, 0), (2, 0)):  # version 3.0 is for structured arrays
                raise ValueError(f"version {version} of the format is not for plain numbers")
            read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            shape, is_fortran, dtype = read_header(file)
        except ValueError as error:
            raise ValueError(
                f"'{path}' must be a .npy file, as numpy.save writes it: {error}. Save it again."
            ) from None
        if len(shape) != 2 or dtype.kind not in "fiub":
            raise ValueError(
                f"'{path}' must hold a 2-D array of real numbers, got shape {shape} of {dtype}. "
                "Reshape or convert it, and save it again."
            )
        if 0 in shape:
            raise ValueError(
                f"'{path}' must hold at least 1 row and 1 feature, got {shape}. Leave it out."
            )
        offset, (n_rows, n_features) = file.tell(), shape
        n_bytes = offset + n_rows * n_features * dtype.itemsize
        n_there = os.fstat(file.fileno()).st_size
        if n_there < n_bytes:
            raise ValueError(
                f"'{path}' must have {n_bytes:,} bytes for its shape {shape}, it has {n_there:,}: "
                "it is truncated, or still being written. Save it again."
            )
        order = "F" if is_fortran else "C"
        if not _mapped.MAPS:
            return np.memmap(path, dtype, "r", offset, shape, order).view(np.ndarray), file_of
        mapping = _mapped.Mapping(file.fileno(), n_bytes)
        return np.ndarray(shape, dtype, mapping, offset, order=order), file_of


class ParquetBlocks(RowBlocks):
    """Columns of one or several Parquet files. Needs pyarrow.

    A block is one row group or several, so a file with huge row groups needs memory for two of
    them. Columns are decoded again in every pass; .npy files are several times as fast.

    Parameters
    ----------
    path : str, path, or list of these
        A file; a directory, whose ``*.parquet`` files are taken in the order of their names; or a
        list of files in the order of their rows. All files have the same columns.
    columns : list of str or None, default=None
        Names of the features, in the order wanted; None takes all columns. They must hold numbers.
    exclude : list of str, default=()
        Names of columns that are not features, such as the label.
    dtype : dtype or None, default=None
        Data type of the blocks. None chooses the type among float32, float16, uint8 and int8 that
        holds all columns, or else float64.
    block_bytes : int, default=67108864
        Approximate size of a block, up to which row groups are combined.

    Raises
    ------
    ImportError
        If pyarrow is not installed.
    ValueError
        If there is no file, if a column is missing or does not hold numbers, or if the files have
        different columns. ``read`` raises it if a value is missing.

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
        parquet, paths = _pyarrow_parquet(), paths_of(path, ".parquet")
        self._files = []  # (file, its metadata)
        for path in paths:
            try:
                self._files.append((StampedFile(path), parquet.read_metadata(path)))
            except FileNotFoundError:
                raise
            except (OSError, ValueError) as error:
                raise ValueError(f"'{path}' must be a Parquet file: {error}.") from None
        schema = self._schema = self._files[0][1].schema.to_arrow_schema()
        if isinstance(columns, str) or isinstance(exclude, str):
            raise ValueError(
                "'columns' and 'exclude' must be lists of names, got a string; put it into a list."
            )
        self._check_known([*(columns or ()), *exclude])
        names = [name for name in columns or schema.names if name not in set(exclude)]
        if not names:
            raise ValueError(f"There must be at least 1 feature; '{paths[0]}' has none left.")
        found = np.result_type(*(_number_dtype(schema.field(name), paths[0]) for name in names))
        for path, (_, metadata) in zip(paths, self._files, strict=True):
            other = metadata.schema.to_arrow_schema()
            for name in names:
                if name not in other.names or other.field(name).type != schema.field(name).type:
                    raise ValueError(
                        f"Files must agree in their columns; {name!r} of '{paths[0]}' is missing "
                        f"or of another type in '{path}'."
                    )
        if dtype is None:
            dtype = found if found in DTYPES else np.uint8 if found.kind == "b" else np.float64
        self._groups, lengths = [], []  # (number of the file, row groups) of each block, its rows
        row_bytes = len(names) * np.dtype(dtype).itemsize
        most = max(1, check_block_bytes(block_bytes) // row_bytes)
        for k, (_, metadata) in enumerate(self._files):
            for group in range(metadata.num_row_groups):
                n_rows = metadata.row_group(group).num_rows
                if n_rows == 0:
                    continue
                if self._groups and self._groups[-1][0] == k and lengths[-1] + n_rows <= most:
                    self._groups[-1][1].append(group)
                    lengths[-1] += n_rows
                else:
                    self._groups.append((k, [group]))
                    lengths.append(n_rows)
        super().__init__((sum(lengths), len(names)), dtype, lengths, names)
        self._paths = [file.path for file, _ in self._files]

    def read(self, i):
        """Decode the row groups of block i.

        Parameters
        ----------
        i : int
            Number of the block, from 0.

        Returns
        -------
        ndarray of shape (lengths[i], n_features)
        """
        columns = self._columns(*self._groups[i], self.feature_names)
        # In Fortran order, since columns arrive one by one. Filling C order took six times as long,
        # which doubled the time of a block, the pass over it included.
        X = np.empty((self.lengths[i], self.shape[1]), self.dtype, order="F")
        for j, values in enumerate(columns):
            X[:, j] = values
        return X

    def column(self, name):
        """Read one column of all files, for ``y`` or ``sample_weight``.

        Parameters
        ----------
        name : str
            Name of a feature or of another column, such as the label.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        ValueError
            If there is no such column, or if it has missing values.
        """
        self._check_known([name])
        pieces = []
        for k, (_, metadata) in enumerate(self._files):
            pieces += self._columns(k, list(range(metadata.num_row_groups)), [name])
        return np.concatenate(pieces)

    def _check_known(self, names):
        missing = [name for name in names if name not in self._schema.names]
        if missing:
            known = listed(self._schema.names)
            raise ValueError(
                f"Columns must be among {known}, got {missing[0]!r}; check its spelling."
            )

    def _columns(self, k, groups, names):
        """Values of columns in row groups of file ``k``, which must not have changed."""
        file, metadata = self._files[k]
        file.check()
        try:
            with _pyarrow_parquet().ParquetFile(file.path, metadata=metadata) as reader:
                table = reader.read_row_groups(groups, columns=names)
        except (OSError, ValueError) as error:
            file.check()  # a changed file is the more likely reason
            raise BlockError(f"'{file.path}' could not be decoded: {error}") from error
        file.check()  # the table is a copy: later changes of the file do not matter
        for name in names:
            column = table.column(name)
            if column.null_count:
                raise ValueError(
                    f"column {name!r} of '{file.path}' must have a value in every row; "
                    f"{column.null_count} are missing (null). Fill them, or leave the column out."
                )
            yield column.to_numpy()


def _pyarrow_parquet():
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            'ParquetBlocks needs pyarrow, which is not installed: pip install "xentlearn[parquet]".'
        ) from error
    return parquet


def _number_dtype(field, path):
    """NumPy's dtype of a column, which must hold numbers."""
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


def paths_of(path, suffix):
    """Paths of the files that a user names: one file, a directory, or a list of files."""
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


def check_block_bytes(block_bytes):
    """A block size as an int, if it is a positive integer."""
    if not hasattr(block_bytes, "__index__") or block_bytes < 1:
        raise ValueError(f"'block_bytes' must be a positive integer, got {block_bytes!r}.")
    return int(block_bytes)
