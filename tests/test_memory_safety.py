"""Arrays that would make kernels read or write where nothing of theirs lies."""

import numpy as np
import pytest
from scipy import sparse

from xentlearn import _validation as validation
from xentlearn.losses import BinaryCrossentropy, CategoricalCrossentropy

INDEX_DTYPES = [np.int32, np.int64]
each_index_dtype = pytest.mark.parametrize("index", INDEX_DTYPES)


# --- Sparse matrices ------------------------------------------------------------------------------


def random_csr(rng, n_rows=3000, n_columns=40, index=np.int32, shuffled=False):
    """CSR without a column twice in a row, some rows empty; rows in any order if shuffled."""
    rows = []
    for _ in range(n_rows):
        columns = np.flatnonzero(rng.random(n_columns) < rng.choice([0, 0.1, 0.5]))
        rows.append(rng.permutation(columns) if shuffled else columns)
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(index)
    matrix = sparse.csr_array((n_rows, n_columns))
    matrix.indptr, matrix.indices = indptr, np.concatenate(rows).astype(index)
    matrix.data = rng.random(len(matrix.indices))
    return matrix


@each_index_dtype
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_sound_csr_passes_and_tells_repeats(shuffled, index, n_threads, rng):
    matrix = random_csr(rng, index=index, shuffled=shuffled)
    before = matrix.copy()
    assert validation.require_sound_csr(matrix, "X", n_threads) is False
    for array in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(matrix, array), getattr(before, array))
    row = int(rng.choice(np.flatnonzero(np.diff(matrix.indptr) >= 2)))
    begin, end = matrix.indptr[row : row + 2]
    matrix.indices[end - 1] = matrix.indices[begin]
    assert validation.require_sound_csr(matrix, "X", n_threads) is True
    matrix.has_canonical_format = True  # what SciPy remembers may be wrong
    assert validation.require_sound_csr(matrix, "X", n_threads) is True


@each_index_dtype
def test_the_same_column_in_neighbouring_rows_is_no_repeat(index):
    for n_rows in (1, 2, 5000):
        matrix = sparse.csr_array(np.ones((n_rows, 1)))
        matrix.indptr, matrix.indices = matrix.indptr.astype(index), matrix.indices.astype(index)
        assert validation.require_sound_csr(matrix, "X") is False
    matrix = sparse.csr_array((7, 0))
    assert validation.require_sound_csr(matrix, "X") is False
    assert validation.require_sound_csr(sparse.csr_array((0, 7)), "X") is False


def test_a_long_row_is_looked_at_to_its_end(rng):
    columns = np.sort(rng.choice(10**6, 50_000, replace=False))
    matrix = sparse.csr_array((np.ones(50_000), columns, [0, 50_000]), shape=(1, 10**6))
    assert validation.require_sound_csr(matrix, "X") is False
    for at in (1, 4096, 4097, 49_999):
        broken = matrix.copy()
        broken.indices[at] = broken.indices[at - 1]
        assert validation.require_sound_csr(broken, "X") is True
        broken.indices[at] = 10**6
        with pytest.raises(ValueError, match="'X' must be a sparse matrix"):
            validation.require_sound_csr(broken, "X")


def unsound(matrix, how, rng):
    """(copy of a CSR, CSC or BSR matrix that is broken, number of the first bad row)."""
    matrix = matrix.copy()
    size = len(matrix.indptr) - 1
    row = int(rng.choice(np.flatnonzero(np.diff(matrix.indptr) > 0)))
    at = int(rng.integers(matrix.indptr[row], matrix.indptr[row + 1]))
    info = np.iinfo(matrix.indices.dtype)
    outside = {"csr": matrix.shape[1], "csc": matrix.shape[0]}.get(matrix.format, matrix.shape[1])
    if matrix.format == "bsr":
        outside //= matrix.blocksize[1]
    if how in ("negative", "one too large", "largest", "smallest"):
        values = {"negative": -1, "one too large": outside, "largest": info.max}
        matrix.indices[at] = values.get(how, info.min)
        return matrix, row
    if how == "decreasing":
        row = int(rng.integers(1, size))
        matrix.indptr[row] = matrix.indptr[row + 1] + 1
        return matrix, None
    if how == "beyond the end":
        matrix.indptr[-1] += 1
        return matrix, size - 1
    if how == "negative begin":
        matrix.indptr[0] = -1
    elif how == "late begin":
        matrix.indptr[0] = 1
    elif how == "short indptr":
        matrix.indptr = matrix.indptr[:-1]
    elif how == "short data":
        matrix.data = matrix.data[:-1]
        return matrix, None
    elif how == "fractions":
        matrix.indices = matrix.indices.astype(float)
    return matrix, None


HOWS = [
    "negative",
    "one too large",
    "largest",
    "smallest",
    "decreasing",
    "beyond the end",
    "negative begin",
    "late begin",
    "short indptr",
    "short data",
    "fractions",
]


@each_index_dtype
@pytest.mark.parametrize("how", HOWS)
def test_unsound_csr_is_refused(how, index, rng):
    for matrix in (random_csr(rng, index=index), random_csr(rng, 5, 9, index, shuffled=True)):
        broken, row = unsound(matrix, how, rng)
        with pytest.raises(ValueError, match="'X' must be a sparse matrix") as caught:
            validation.require_sound_csr(broken, "X", 2)
        if row is not None:
            assert f"row {row} " in str(caught.value)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("format", ["csc", "bsr"])
def test_unsound_matrices_are_not_converted(how, format, rng):
    matrix = random_csr(rng, 60, 30)
    kwargs = {"blocksize": (3, 5)} if format == "bsr" else {}
    matrix = getattr(matrix, f"to{format}")(**kwargs)
    want, repeats = validation.as_sound_csr(matrix, "y")
    assert not repeats
    assert want.format == "csr"
    np.testing.assert_array_equal(want.toarray(), matrix.toarray())
    broken, row = unsound(matrix, how, rng)
    with pytest.raises(ValueError, match="'y' must be a sparse matrix") as caught:
        validation.as_sound_csr(broken, "y")
    if row is not None:
        assert f"{'column' if format == 'csc' else 'block row'} {row} " in str(caught.value)


@pytest.mark.parametrize("bad", [-1, 30, 2**31 - 1])
def test_unsound_coo_is_not_converted(bad, rng):
    matrix = random_csr(rng, 30, 30).tocoo()
    for name in ("row", "col"):
        broken = matrix.copy()
        getattr(broken, name)[3] = bad
        with pytest.raises(ValueError, match=f"{'row' if name == 'row' else 'column'} {bad}"):
            validation.as_sound_csr(broken, "y")


@pytest.mark.parametrize("format", ["coo", "csc", "csr", "bsr", "dia", "dok", "lil"])
def test_any_sound_format_becomes_csr(format, rng):
    dense = random_csr(rng, 12, 6).toarray()
    for kind in (sparse.csr_array, sparse.csr_matrix):
        matrix, repeats = validation.as_sound_csr(kind(dense).asformat(format), "X")
        assert matrix.format == "csr"
        assert not repeats
        np.testing.assert_array_equal(matrix.toarray(), dense)


@pytest.mark.parametrize("setting", [CategoricalCrossentropy(), BinaryCrossentropy()], ids=repr)
@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo"])
def test_losses_refuse_unsound_sparse_targets(setting, format, rng):
    labels = rng.integers(6, size=60)
    matrix = sparse.csr_array((np.ones(60), labels, np.arange(61)), shape=(60, 6))
    logits = rng.normal(size=(60, 6))
    want = setting.loss(matrix.toarray(), logits)
    matrix = matrix.asformat(format)
    np.testing.assert_array_equal(setting.loss(matrix, logits), want)
    indices = matrix.col if format == "coo" else matrix.indices
    indices[7] = 2**31 - 1
    with pytest.raises(ValueError, match="'y_true' must be a sparse matrix"):
        setting.loss(matrix, logits)


def test_repeated_entries_of_targets_are_added_and_the_matrix_is_left_alone(rng):
    matrix = sparse.csr_array(
        (np.array([0.25, 0.5, 0.25, 1.0]), np.array([1, 0, 1, 2]), np.array([0, 3, 4])),
        shape=(2, 3),
    )
    logits = rng.normal(size=(2, 3))
    want = CategoricalCrossentropy().loss([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], logits)
    np.testing.assert_array_equal(CategoricalCrossentropy().loss(matrix, logits), want)
    assert matrix.nnz == 4
