"""Arrays that would make kernels read or write where nothing of theirs lies."""

import numpy as np
import pytest
from scipy import sparse

from xentlearn import SoftmaxClassifier
from xentlearn._utils import csr
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    HybridLoss,
    SparseCategoricalCrossentropy,
    binary_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    sparse_categorical_crossentropy,
)

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
    assert csr.require_sound(matrix, "X", n_threads) is False
    for array in ("indptr", "indices", "data"):
        np.testing.assert_array_equal(getattr(matrix, array), getattr(before, array))
    row = int(rng.choice(np.flatnonzero(np.diff(matrix.indptr) >= 2)))
    begin, end = matrix.indptr[row : row + 2]
    matrix.indices[end - 1] = matrix.indices[begin]
    assert csr.require_sound(matrix, "X", n_threads) is True
    matrix.has_canonical_format = True  # what SciPy remembers may be wrong
    assert csr.require_sound(matrix, "X", n_threads) is True


@each_index_dtype
def test_the_same_column_in_neighbouring_rows_is_no_repeat(index):
    for n_rows in (1, 2, 5000):
        matrix = sparse.csr_array(np.ones((n_rows, 1)))
        matrix.indptr, matrix.indices = matrix.indptr.astype(index), matrix.indices.astype(index)
        assert csr.require_sound(matrix, "X") is False
    matrix = sparse.csr_array((7, 0))
    assert csr.require_sound(matrix, "X") is False
    assert csr.require_sound(sparse.csr_array((0, 7)), "X") is False


def test_a_long_row_is_looked_at_to_its_end(rng):
    columns = np.sort(rng.choice(10**6, 50_000, replace=False))
    matrix = sparse.csr_array((np.ones(50_000), columns, [0, 50_000]), shape=(1, 10**6))
    assert csr.require_sound(matrix, "X") is False
    for at in (1, 4096, 4097, 49_999):
        broken = matrix.copy()
        broken.indices[at] = broken.indices[at - 1]
        assert csr.require_sound(broken, "X") is True
        broken.indices[at] = 10**6
        with pytest.raises(ValueError, match="'X' must be a sparse matrix"):
            csr.require_sound(broken, "X")


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
            csr.require_sound(broken, "X", 2)
        if row is not None:
            assert f"row {row} " in str(caught.value)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("format", ["csc", "bsr"])
def test_unsound_matrices_are_not_converted(how, format, rng):
    matrix = random_csr(rng, 60, 30)
    kwargs = {"blocksize": (3, 5)} if format == "bsr" else {}
    matrix = getattr(matrix, f"to{format}")(**kwargs)
    want, repeats = csr.as_sound_csr(matrix, "y")
    assert not repeats
    assert want.format == "csr"
    np.testing.assert_array_equal(want.toarray(), matrix.toarray())
    broken, row = unsound(matrix, how, rng)
    with pytest.raises(ValueError, match="'y' must be a sparse matrix") as caught:
        csr.as_sound_csr(broken, "y")
    if row is not None:
        assert f"{'column' if format == 'csc' else 'block row'} {row} " in str(caught.value)


@pytest.mark.parametrize("bad", [-1, 30, 2**31 - 1])
def test_unsound_coo_is_not_converted(bad, rng):
    matrix = random_csr(rng, 30, 30).tocoo()
    for name in ("row", "col"):
        broken = matrix.copy()
        getattr(broken, name)[3] = bad
        with pytest.raises(ValueError, match=f"{'row' if name == 'row' else 'column'} {bad}"):
            csr.as_sound_csr(broken, "y")


@pytest.mark.parametrize("format", ["coo", "csc", "csr", "bsr", "dia", "dok", "lil"])
def test_any_sound_format_becomes_csr(format, rng):
    dense = random_csr(rng, 12, 6).toarray()
    for kind in (sparse.csr_array, sparse.csr_matrix):
        matrix, repeats = csr.as_sound_csr(kind(dense).asformat(format), "X")
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


# --- Arrays at odd addresses ----------------------------------------------------------------------


def misplaced(array):
    """The same numbers, one after the other, at addresses that are no multiple of their size."""
    raw = np.zeros(array.nbytes + 1, dtype=np.uint8)
    placed = raw[1:].view(array.dtype).reshape(array.shape)
    placed[...] = array
    assert not placed.flags.aligned
    return placed


def packed(shape, dtype, fill=7.5):
    """(all records, a field of them): numbers every itemsize + 3 bytes, with neighbours."""
    size = np.dtype(dtype).itemsize
    records = np.zeros(
        shape, dtype={"names": ["a", "b"], "formats": [dtype, "u1"], "offsets": [0, size + 2]}
    )
    records["a"], records["b"] = fill, 99
    assert records["a"].strides[-1] % size
    return records, records["a"]


SETTINGS = [
    SparseCategoricalCrossentropy(),
    CategoricalCrossentropy(),
    CategoricalFocalCrossentropy(),
    BinaryCrossentropy(),
    HybridLoss([("softmax", CategoricalCrossentropy()), ("ovr", BinaryCrossentropy())]),
]
OUTPUTS = [  # method, its outputs
    ("loss", ["loss_out"]),
    ("gradient", ["gradient_out"]),
    ("loss_gradient", ["loss_out", "gradient_out"]),
    ("hessian_product", ["product_out"]),
    ("hessian_diagonal", ["diagonal_out"]),
    ("predict_proba", ["proba_out"]),
    ("predict_log_proba", ["log_proba_out"]),
]
each_setting = pytest.mark.parametrize("setting", SETTINGS, ids=repr)
each_output = pytest.mark.parametrize(
    ("method", "name"), [(method, name) for method, names in OUTPUTS for name in names]
)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def data_of(setting, rng, dtype=np.float64, n=40, n_outputs=5):
    """(y, logits) for a setting."""
    logits = rng.normal(size=(n, n_outputs)).astype(dtype)
    labels = rng.integers(n_outputs, size=n)
    if isinstance(setting, SparseCategoricalCrossentropy):
        return labels, logits
    return np.eye(n_outputs, dtype=dtype)[labels], logits


def call(setting, method, y, logits, **outs):
    """A product by the name of its method."""
    arguments = [] if method.startswith("predict") else [y]
    arguments.append(logits)
    if method == "hessian_product":
        arguments.append(np.ones_like(logits))
    return getattr(setting, method)(*arguments, **outs)


@each_dtype
@each_output
@each_setting
def test_outputs_at_odd_strides_are_refused(setting, method, name, dtype, rng):
    y, logits = data_of(setting, rng, dtype)
    shape = logits.shape[:1] if name == "loss_out" else logits.shape
    records, field = packed(shape, dtype)
    before = records.copy()
    for out in (field, misplaced(np.zeros(shape, dtype))):
        with pytest.raises(ValueError, match=f"'{name}' must hold each number in a place of its"):
            call(setting, method, y, logits, **{name: out})
    np.testing.assert_array_equal(records, before)


@each_output
def test_outputs_of_one_logit_at_odd_strides_are_refused(method, name, rng):
    logits = rng.normal(size=20)
    y = rng.integers(2, size=20)
    records, field = packed(20, np.float64)
    before = records.copy()
    with pytest.raises(ValueError, match=f"'{name}' must hold each number in a place of its own"):
        call(BinaryCrossentropy(), method, y, logits, **{name: field})
    np.testing.assert_array_equal(records, before)


@each_output
def test_outputs_that_overlap_themselves_are_refused(method, name, rng):
    y, logits = data_of(CategoricalCrossentropy(), rng)
    n, n_outputs = logits.shape
    buffer = np.zeros(n * n_outputs)
    shape, strides = logits.shape, [(0, 8), (8, 0), (8, 8), (8 * n_outputs - 8, 8), (0, 0)]
    if name == "loss_out":
        shape, strides = (n,), [(0,)]
    for stride in strides:
        out = np.lib.stride_tricks.as_strided(buffer, shape, stride)
        with pytest.raises(ValueError, match=f"'{name}' must hold each number in a place of its"):
            call(CategoricalCrossentropy(), method, y, logits, **{name: out})


@each_output
@each_setting
def test_outputs_of_any_whole_strides_are_filled(setting, method, name, rng):
    y, logits = data_of(setting, rng)
    n, n_outputs = logits.shape
    want = call(setting, method, y, logits)
    if method == "loss_gradient":
        want = want[name == "gradient_out"]
    shapes = [np.zeros((2 * n, 3 * n_outputs))[::2, ::3], np.zeros((n, n_outputs))[::-1, ::-1]]
    shapes += [np.zeros((n_outputs, n)).T, np.zeros((n, n_outputs + 1))[:, :-1]]
    for out in shapes:
        out = out[:, 0] if name == "loss_out" else out
        call(setting, method, y, logits, **{name: out})
        np.testing.assert_array_equal(out, want)


@each_setting
def test_outputs_must_not_share_memory(setting, rng):
    y, logits = data_of(setting, rng)
    n, n_outputs = logits.shape
    want = setting.loss_gradient(y, logits)
    both = np.zeros((n, n_outputs + 1))
    for loss in (both[:, 1], both.ravel()[: 2 * n : 2]):
        with pytest.raises(ValueError, match="'loss_out' and 'gradient_out' must not share memory"):
            setting.loss_gradient(y, logits, loss_out=loss, gradient_out=both[:, 1:])
    setting.loss_gradient(y, logits, loss_out=both[:, 0], gradient_out=both[:, 1:])
    np.testing.assert_array_equal(both[:, 0], want[0])
    np.testing.assert_array_equal(both[:, 1:], want[1])


@each_setting
def test_inputs_under_an_output_are_read_before_it_is_written(setting, rng):
    y, logits = data_of(setting, rng)
    weight = rng.integers(3, size=len(logits)).astype(float)
    want = setting.loss_gradient(y, logits, sample_weight=weight)
    loss = weight.copy()
    setting.loss_gradient(y, logits, sample_weight=loss, loss_out=loss)
    np.testing.assert_array_equal(loss, want[0])
    if y.ndim == 2:
        gradient = y.copy()
        setting.loss_gradient(gradient, logits, sample_weight=weight, gradient_out=gradient)
        np.testing.assert_array_equal(gradient, want[1])
        buffer = np.zeros(logits.shape)
        matrix = sparse.csr_array(y)
        matrix.data = buffer.ravel()[: matrix.nnz]
        matrix.data[:] = 1
        setting.loss_gradient(matrix, logits, sample_weight=weight, gradient_out=buffer)
        np.testing.assert_array_equal(buffer, want[1])


@each_dtype
@each_setting
def test_inputs_at_odd_addresses(setting, dtype, rng):
    y, logits = data_of(setting, rng, dtype)
    weight = rng.random(len(logits))
    want = setting.loss_gradient(y, logits, sample_weight=weight)
    y = y.astype(np.int32) if y.ndim == 1 else y
    targets = [misplaced(y), y.astype(y.dtype.newbyteorder())]
    if y.ndim == 2:
        matrix = sparse.csr_array(y)
        matrix.data, matrix.indices = misplaced(matrix.data), misplaced(matrix.indices)
        matrix.indptr = misplaced(matrix.indptr)
        targets.append(matrix)
    for target in targets:
        got = setting.loss_gradient(target, misplaced(logits), sample_weight=misplaced(weight))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


def test_functions_take_arrays_at_odd_addresses(rng):
    proba = rng.dirichlet(np.ones(4), size=30)
    labels = rng.integers(4, size=30).astype(np.int32)
    soft, weight, by_class = rng.dirichlet(np.ones(4), size=30), rng.random(30), rng.random(4)
    for function, y, options in [
        (sparse_categorical_crossentropy, labels, {"class_weight": by_class}),
        (categorical_crossentropy, soft, {"class_weight": by_class}),
        (categorical_focal_crossentropy, soft, {"alpha": by_class}),
        (binary_crossentropy, soft, {"pos_weight": by_class}),
    ]:
        for from_logits in (False, True):
            want = function(y, proba, from_logits=from_logits, sample_weight=weight, **options)
            odd = {name: misplaced(value) for name, value in options.items()}
            got = function(
                misplaced(y),
                misplaced(proba),
                from_logits=from_logits,
                sample_weight=misplaced(weight),
                **odd,
            )
            np.testing.assert_array_equal(got, want)


def test_sparse_features_at_odd_addresses(rng):
    matrix = random_csr(rng, 200, 30)
    matrix.data = matrix.data.astype(np.float32)
    y = rng.integers(3, size=200)
    want = SoftmaxClassifier().fit(matrix, y).coef_
    matrix.data, matrix.indices = misplaced(matrix.data), misplaced(matrix.indices)
    matrix.indptr = misplaced(matrix.indptr)
    sound, _ = csr.as_sound_csr(matrix, "X")
    for array in (sound.data, sound.indices, sound.indptr):
        assert array.flags.aligned
    np.testing.assert_array_equal(SoftmaxClassifier().fit(matrix, y).coef_, want)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_dense_features_at_odd_addresses(dtype, rng):
    X = rng.normal(size=(300, 9)).astype(dtype)
    y = rng.integers(3, size=300)
    want = SoftmaxClassifier().fit(X, y)
    _, field = packed(X.shape, dtype)
    field[...] = X
    for odd in (misplaced(X), field):
        got = SoftmaxClassifier().fit(odd, y)
        np.testing.assert_array_equal(got.coef_, want.coef_)
        np.testing.assert_array_equal(got.predict_proba(odd), want.predict_proba(X))
