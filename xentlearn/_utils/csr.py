"""Sparse matrices of users as CSR whose arrays fit together; SciPy does not check its indices."""

import numpy as np
from scipy import sparse

from . import _csr
from .arrays import kernel_array
from .threads import CHECKED_ENTRIES, effective_n_threads
from .validation import as_floating

# Names of the axes of ``indptr`` and of ``indices``, by format.
_AXES = {"csr": ("row", "column"), "csc": ("column", "row"), "bsr": ("block row", "block column")}


def as_csr(values, name):
    """CSR of float32 or float64 without duplicates, and the tolerance of its rows' sums.

    The tolerance applies to rows of probabilities; see ``as_floating``.
    """
    values, repeats = as_sound_csr(values, name)
    data, tolerance = as_floating(values.data, name)
    n_stored = values.indptr[-1]  # the arrays may be longer
    arrays = kernel_array(data)[:n_stored], values.indices[:n_stored], values.indptr
    values = sparse.csr_array(arrays, shape=values.shape, copy=repeats)
    if repeats:
        values.sum_duplicates()
    return values, tolerance


def as_sound_X(X, name="X"):
    """Sparse X as sound CSR without duplicates; anything else is returned unchanged.

    A bag of words that is built token by token has an entry for every token. Its products with
    coefficients are right without summing duplicates, but its squares and counts are not.
    """
    if not sparse.issparse(X):
        return X
    # finding the number of threads takes as long as a sweep over few entries
    n_threads = effective_n_threads() if X.nnz >= CHECKED_ENTRIES else 1
    X, repeats = as_sound_csr(X, name, n_threads)
    if repeats:
        narrow = X.dtype.kind in "iu" and X.dtype.itemsize == 1  # sums may exceed one byte
        data = X.data.astype(np.float32 if narrow else X.dtype)
        X = sparse.csr_array((data, X.indices, X.indptr), shape=X.shape, copy=True)
        X.sum_duplicates()
    return X


def as_sound_csr(matrix, name, n_threads=1):
    """CSR of a sparse matrix of any format, converted without out-of-bounds access.

    Parameters
    ----------
    matrix : sparse array or matrix of shape (n_rows, n_columns)
        A CSR matrix is returned itself if its arrays have the layout that kernels read.
    name : str
        Name of the argument, for the message.
    n_threads : int, default=1
        Number of OpenMP threads.

    Returns
    -------
    matrix : CSR array or matrix of shape (n_rows, n_columns)
    repeats : bool
        Whether a row has a column more than once; ``matrix.sum_duplicates()`` then adds up such
        entries in place.

    Raises
    ------
    ValueError
        If the arrays of the matrix do not fit together, or it does not have 2 dimensions.
    """
    if matrix.ndim != 2:
        raise ValueError(
            f"'{name}' must have 2 dimensions where it is sparse, got shape {matrix.shape}; "
            "call its .toarray() first."
        )
    if matrix.format in ("csc", "bsr"):
        require_sound(matrix, name, n_threads)
    elif matrix.format == "coo":
        n_rows, n_columns = matrix.shape
        for index, size, axis in ((matrix.row, n_rows, "row"), (matrix.col, n_columns, "column")):
            if len(index) != len(matrix.data):
                _refuse_sparse(matrix, name, f"{len(index)} {axis}s for {len(matrix.data)} entries")
            if len(index) and not 0 <= index.min() <= index.max() < size:
                bad = index[(index < 0) | (index >= size)][0]
                _refuse_sparse(matrix, name, f"{axis} {bad}")
    matrix = matrix.tocsr()
    repeats = require_sound(matrix, name, n_threads)
    arrays = matrix.data, matrix.indices, matrix.indptr
    regular = tuple(map(kernel_array, arrays))
    if any(new is not old for new, old in zip(regular, arrays, strict=True)):
        matrix = type(matrix)(regular, shape=matrix.shape)
    return matrix, repeats


def require_sound(matrix, name, n_threads=1):
    """Raise ValueError unless the arrays of a compressed matrix fit together.

    SciPy does not check the values of ``indices``. This is one sweep over ``indptr`` and
    ``indices``. It ignores the flags that SciPy keeps, which may be outdated where arrays were
    changed in place, and changes nothing.

    Parameters
    ----------
    matrix : CSR, CSC or BSR array or matrix of shape (n_rows, n_columns)
        Rows need not be sorted. For CSC read column for row and row for column, for BSR the same
        of blocks.
    name : str
        Name of the argument, for the message.
    n_threads : int, default=1
        Number of OpenMP threads.

    Returns
    -------
    repeats : bool
        Whether a row has a column more than once.

    Raises
    ------
    ValueError
        If a row's entries are outside of ``indices`` or ``data``, or a column is not in
        [0, n_columns). The message names the first such row.
    """
    major, minor = _AXES[matrix.format]
    n_major, n_minor = matrix.shape if matrix.format != "csc" else matrix.shape[::-1]
    if matrix.format == "bsr":
        n_major, n_minor = np.floor_divide(matrix.shape, matrix.data.shape[1:])
    n_stored = min(len(matrix.indices), len(matrix.data))
    for what in ("indptr", "indices"):
        array = getattr(matrix, what)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            _refuse_sparse(matrix, name, f"{what!r} of dtype {array.dtype}, shape {array.shape}")
    indptr, indices = (
        kernel_array(array, np.int32 if array.dtype == np.int32 else np.int64)
        for array in (matrix.indptr, matrix.indices)
    )
    if len(indptr) != n_major + 1 or indptr[0] != 0:
        _refuse_sparse(
            matrix, name, f"'indptr' of {len(indptr)} numbers, beginning with {indptr[:1]}"
        )
    unsigned = indices.view(f"u{indices.itemsize}")
    bad, repeats = _csr.sweep(indptr, unsigned, n_minor, n_stored, n_threads)
    if bad >= 0:
        begin, end = indptr[bad], indptr[bad + 1]
        what = f"from entry {begin} to entry {end} of {n_stored}"
        if 0 <= begin <= end <= n_stored:
            row = indices[begin:end]
            what = f"with an entry in {minor} {row[(row < 0) | (row >= n_minor)][0]} of {n_minor}"
        _refuse_sparse(matrix, name, f"{major} {bad} {what}")
    return repeats


def _refuse_sparse(matrix, name, got):
    raise ValueError(
        f"'{name}' must be a sparse matrix whose indices are within its shape {matrix.shape} and "
        f"whose 'indptr' goes from 0 upwards within its entries; got {got}. SciPy's constructors "
        "do not check that; scipy.sparse.coo_array, made from rows and columns, does."
    )
