"""Checks whether the arrays of a compressed sparse matrix fit together, in one sweep.

SciPy's constructors check the lengths of the arrays but not the values of ``indices``, and its
conversions use them as addresses to write to.

Names are those of CSR, where rows hold column indices. For CSC, rows and columns are exchanged.
"""

from cython.parallel cimport prange

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

import numpy as np


ctypedef fused pointer:
    int32_t
    int64_t

# Unsigned, so that negative indices become large ones and arithmetic wraps around: see rows_state.
ctypedef fused index:
    uint32_t
    uint64_t


cdef enum:
    CHUNK_ROWS = 1024       # rows that a thread takes at a time
    STRIP = 4096            # indices of which flags are counted in an integer of the index size

cdef enum State:
    INCREASING = 0          # the columns of each row strictly increase
    UNORDERED = 1           # in at least one row they do not
    UNSOUND = 2             # entries or columns are out of bounds


cdef State rows_state(
    const pointer* indptr, const index* indices, Py_ssize_t begin, Py_ssize_t end,
    uint64_t n_columns, Py_ssize_t n_stored,
) noexcept nogil:
    """State of the rows [begin, end).

    The indices are swept as if they were one long row. There, a column that is not larger than the
    one before it must be the first column of its row. The sweep uses sums and shifts of the top
    bit, which compilers vectorise even for instruction sets without vector comparisons.
    """
    cdef:
        int top = 8 * sizeof(index) - 1
        index largest = <index> min(n_columns - 1, (<uint64_t> 1 << top) - 1)
        index outside = 0, steps_back, before
        Py_ssize_t first, last, at, i, strip, strip_begin, n_back = 0
    for i in range(begin, end):
        if not 0 <= indptr[i] <= indptr[i + 1] <= n_stored:
            return UNSOUND
    first, last = indptr[begin], indptr[end]
    if first == last:
        return INCREASING
    if n_columns == 0:
        return UNSOUND
    outside = indices[first] | (largest - indices[first])
    for strip in range((last - first - 1 + STRIP - 1) // STRIP):
        strip_begin = first + 1 + strip * STRIP
        steps_back = 0
        for at in range(strip_begin, min(strip_begin + STRIP, last)):
            outside |= indices[at] | (largest - indices[at])
            before = indices[at] - indices[at - 1] - 1
            steps_back += before >> top
        n_back += <Py_ssize_t> steps_back
    if outside >> top:
        return UNSOUND
    if n_back == 0:
        return INCREASING
    for i in range(begin + 1, end):
        at = indptr[i]
        if first < at < indptr[i + 1]:
            n_back -= indices[at] <= indices[at - 1]
    return UNORDERED if n_back else INCREASING


cdef bint row_repeats(
    const index* indices, Py_ssize_t begin, Py_ssize_t end, int32_t* seen_in, int32_t row,
) noexcept nogil:
    """Whether a row has a column twice; ``seen_in`` holds the last row that had each column."""
    cdef Py_ssize_t at
    for at in range(begin, end):
        if seen_in[indices[at]] == row:
            return True
        seen_in[indices[at]] = row
    return False


def sweep(
    const pointer[::1] indptr, const index[::1] indices, Py_ssize_t n_columns, Py_ssize_t n_stored,
    int n_threads,
):
    """Check all rows.

    Parameters
    ----------
    indptr : ndarray of shape (n_rows + 1,), int32 or int64
        Row i has the entries from ``indptr[i]`` to ``indptr[i + 1]``; the values may be invalid.
    indices : ndarray of shape (at least n_stored,), viewed as uint32 or uint64
        Columns of the entries.
    n_columns, n_stored : int
        Numbers of columns and of entries.
    n_threads : int

    Returns
    -------
    bad_row : int
        First row whose entries or columns are out of bounds, or -1.
    repeats : bool
        Whether a row has a column more than once; False if there is a bad row.
    """
    cdef:
        Py_ssize_t n_rows = indptr.shape[0] - 1
        Py_ssize_t n_chunks = (n_rows + CHUNK_ROWS - 1) // CHUNK_ROWS
        Py_ssize_t c, i, begin, end
        const pointer* rows = &indptr[0]
        const index* columns = NULL
        unsigned char[::1] states = bytearray(max(1, n_chunks))
        int32_t n_looked_at = 0
        bint unordered = False
    if indices.shape[0]:
        columns = &indices[0]
    for c in prange(
        n_chunks, nogil=True, schedule="static", num_threads=n_threads,
        use_threads_if=n_threads > 1,
    ):
        states[c] = rows_state(
            rows, columns, c * CHUNK_ROWS, min(n_rows, (c + 1) * CHUNK_ROWS), n_columns, n_stored)
    for c in range(n_chunks):
        unordered = unordered or states[c] == UNORDERED
        if states[c] == UNSOUND:
            for i in range(c * CHUNK_ROWS, min(n_rows, (c + 1) * CHUNK_ROWS)):
                if rows_state(rows, columns, i, i + 1, n_columns, n_stored) == UNSOUND:
                    return i, False
    if not unordered:
        return -1, False

    cdef int32_t[::1] seen_in = np.zeros(n_columns, dtype=np.int32)
    for c in range(n_chunks):
        if states[c] != UNORDERED:
            continue
        for i in range(c * CHUNK_ROWS, min(n_rows, (c + 1) * CHUNK_ROWS)):
            begin, end = rows[i], rows[i + 1]
            if rows_state(rows, columns, i, i + 1, n_columns, n_stored) == UNORDERED:
                n_looked_at += 1
                if row_repeats(columns, begin, end, &seen_in[0], n_looked_at):
                    return -1, True
    return -1, False
