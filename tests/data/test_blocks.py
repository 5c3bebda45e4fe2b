"""X in blocks: the fit in memory, whatever holds the rows; and every way in which files fail."""

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import xentlearn
from xentlearn import SoftmaxClassifier, losses
from xentlearn._data.dataset import MemoryData
from xentlearn._data.out_of_core import BlockData
from xentlearn._data.readers import MemmapBlocks, blocks_of, each_block
from xentlearn._data.targets import encode_y
from xentlearn.blocks import BlockError, NpyBlocks, ParquetBlocks, RowBlocks

N_ROWS, N_FEATURES, N_CLASSES = 3000, 40, 4  # above what is polished, and copied, in memory
ROW_BYTES = 4 * N_FEATURES

posix = pytest.mark.skipif(os.name == "nt", reason="a mapped file cannot be truncated on Windows")
linux = pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")


class ArrayBlocks(RowBlocks):
    """Rows of an array that is there; notes what is done with it."""

    def __init__(self, X, lengths, copies=False):
        super().__init__(X.shape, X.dtype, lengths)
        self.X, self.ends = X, np.cumsum(lengths)
        self.calls = []

    def read(self, i):
        self.calls.append(("read", i, threading.get_ident()))
        return self.X[self.ends[i] - self.lengths[i] : self.ends[i]]

    def release(self, i):
        self.calls.append(("release", i, threading.get_ident()))


@pytest.fixture
def problem(rng):
    """X in float32 and y of several classes."""
    X = rng.standard_normal((N_ROWS, N_FEATURES)).astype(np.float32)
    X = X * rng.uniform(0.5, 2, N_FEATURES).astype(np.float32) + np.float32(0.5)
    logits = X @ rng.standard_normal((N_FEATURES, N_CLASSES)) / 4
    y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return X, y


def save(path, X):
    np.save(path, X)
    return path


def small(path, n_blocks=7):
    """NpyBlocks of a file of the problem, in so many blocks."""
    return NpyBlocks(path, N_ROWS * ROW_BYTES // n_blocks)


def assert_same_fit(X, blocks, y, tol=None, atol=1e-6, sample_weight=None, **parameters):
    """The fit of blocks is that of X, and predicts the same from either."""
    if tol is None:
        tol = 1e-12 if atol <= 1e-6 else 1e-8  # float32 has no digits for more
    clf = SoftmaxClassifier(tol=tol, **parameters)
    expected = clf.fit(X, y, sample_weight)
    found = SoftmaxClassifier(tol=tol, **parameters).fit(blocks, y, sample_weight)
    for name in ("coef_", "intercept_"):
        of_X = getattr(expected, name)
        np.testing.assert_allclose(
            getattr(found, name), of_X, rtol=0, atol=atol * np.abs(of_X).max()
        )
    assert found.coef_.dtype == expected.coef_.dtype
    assert found.n_features_in_ == X.shape[1]
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        of_blocks, of_X = getattr(found, method)(blocks), getattr(found, method)(X)
        assert of_blocks.dtype == of_X.dtype
        np.testing.assert_array_equal(of_blocks, of_X)
    assert found.score(blocks, y) == found.score(X, y)
    return expected, found


# ---- Equal to the fit in memory ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "order", "atol"),
    [
        (np.float64, "C", 1e-6),
        (np.float64, "F", 1e-6),
        (np.float32, "C", 3e-4),
        (np.float32, "F", 3e-4),
        (np.float16, "C", 3e-4),
        (np.uint8, "C", 1e-3),  # of the root of a rounding error, about 2.5e-4, times its condition
        (np.int32, "C", 3e-4),  # converted to float64, stored in float32
        (">f8", "C", 1e-6),
    ],
)
def test_npy_file(problem, dtype, order, atol, tmp_path):
    X, y = problem
    X = np.round(20 * (X + 6)) if np.dtype(dtype).kind in "iu" else X
    X = np.asarray(X.clip(0, 255) if dtype == np.uint8 else X, dtype=dtype, order=order)
    blocks = NpyBlocks(save(tmp_path / "X.npy", X), X.nbytes // 7)
    assert (blocks.shape, blocks.dtype) == (X.shape, X.dtype)
    assert 7 <= len(blocks.lengths) <= 8
    assert max(blocks.lengths) - min(blocks.lengths) <= 1
    assert_same_fit(X, blocks, y, atol=atol)


def test_nothing_is_copied(problem, tmp_path):
    X, _ = problem
    blocks = small(save(tmp_path / "X.npy", X))
    first, again = blocks.read(2), blocks.read(2)
    assert np.shares_memory(first, again)
    assert not first.flags.writeable
    blocks.release(2)
    blocks.release(2)


def test_shards_in_the_order_of_their_names(problem, tmp_path):
    X, y = problem
    cuts = [0, 1, 700, 2990, N_ROWS]
    for name, begin, end in zip("dbca", cuts, cuts[1:], strict=False):
        np.save(tmp_path / f"{name}.npy", X[begin:end])
    (tmp_path / "notes.txt").write_text("not a shard")
    by_list = NpyBlocks([tmp_path / f"{name}.npy" for name in "dbca"], 1000 * ROW_BYTES)
    assert by_list.lengths == [1, 699, 763, 763, 764, 10]
    assert_same_fit(X, by_list, y, atol=3e-4)
    by_name = NpyBlocks(str(tmp_path), 1000 * ROW_BYTES)
    order = np.r_[2990:N_ROWS, 1:700, 700:2990, 0:1]
    np.testing.assert_array_equal(np.concatenate([by_name.read(i) for i in range(6)]), X[order])


@pytest.mark.parametrize("convert", [sparse.csr_array, sparse.csr_matrix])
def test_csr_blocks(problem, convert):
    X, y = problem
    X = convert(np.where(X > 1, X, 0).astype(np.float64))
    assert_same_fit(X, ArrayBlocks(X, [500, 1, 2000, 499]), y, atol=1e-6)


def binary(X, y):
    return y > 1, {}


def strings(X, y):
    return np.array(["none", "some", "many", "all"])[y], {}


def multilabel(X, y):
    Y = np.stack([y > 0, y == 1, y % 2], axis=1).astype(float)
    Y[::7, 1] = np.nan
    return Y, {}


def sparse_multilabel(X, y):
    return sparse.csr_array(np.nan_to_num(multilabel(X, y)[0])), {}


def soft(X, y):
    return np.eye(N_CLASSES)[y] * 0.7 + 0.3 / N_CLASSES, {}


def one_vs_rest(X, y):
    return y, {"loss": "binary_crossentropy"}


def no_intercept(X, y):
    return y, {"fit_intercept": False, "class_weight": "balanced"}


def newton(X, y):
    return y, {"solver": "newton-cholesky"}


def newton_cg(X, y):
    return y, {"solver": "newton-cg"}


def ignored(X, y):
    return y, {"loss": losses.SparseCategoricalCrossentropy(ignore_class=1)}


def adjusted(X, y):
    return y, {"loss": losses.CategoricalCrossentropy(logit_adjustment=0.5)}


@pytest.mark.parametrize(
    "kind",
    [
        binary,
        strings,
        multilabel,
        sparse_multilabel,
        soft,
        one_vs_rest,
        no_intercept,
        newton,
        newton_cg,
        ignored,
        adjusted,
    ],
)
def test_kinds_of_y(problem, kind, tmp_path):
    X, y = problem
    X = X.astype(np.float64)
    y, parameters = kind(X, y)
    blocks = NpyBlocks(save(tmp_path / "X.npy", X), X.nbytes // 5)
    assert_same_fit(X, blocks, y, atol=1e-6, **parameters)


def test_loss_that_is_not_convex(problem, tmp_path):
    X, y = problem
    X = X.astype(np.float64)
    blocks = NpyBlocks(save(tmp_path / "X.npy", X), X.nbytes // 5)
    assert_same_fit(X, blocks, y, atol=1e-4, loss=losses.CategoricalFocalCrossentropy(gamma=2))


def test_rows_of_weight_zero(problem, rng, tmp_path):
    X, y = problem
    X = X.astype(np.float64)
    weight = rng.integers(0, 3, N_ROWS).astype(float)
    weight[:1000] = 0.0  # whole blocks
    blocks = NpyBlocks(save(tmp_path / "X.npy", X), X.nbytes // 9)
    assert_same_fit(X, blocks, y, atol=1e-6, sample_weight=weight)


def test_weights_of_single_labels(problem, rng, tmp_path):
    X, y = problem
    X = X.astype(np.float64)
    Y = np.stack([y > 0, y == 1], axis=1).astype(float)
    blocks = NpyBlocks(save(tmp_path / "X.npy", X), X.nbytes // 5)
    assert_same_fit(X, blocks, Y, atol=1e-6, sample_weight=rng.uniform(0, 1, Y.shape))


def test_more_rows_than_the_sample_has(problem, tmp_path, set_rules):
    set_rules(sample_rows=500)
    X, y = problem
    X = X.astype(np.float64)
    blocks = NpyBlocks(save(tmp_path / "X.npy", X), X.nbytes // 5)
    encoded = encode_y(y, N_ROWS, "auto")
    rows = BlockData(blocks, encoded, lambda X, finite: X).rows(encoded, np.arange(N_CLASSES))
    assert rows.sample.n_rows == 500
    assert_same_fit(X, blocks, y, atol=1e-6)


def test_warm_start(problem, tmp_path):
    X, y = problem
    blocks = small(save(tmp_path / "X.npy", X))
    clf = SoftmaxClassifier(warm_start=True).fit(blocks, y)
    assert clf.n_iter_[0] > 6
    assert clf.fit(blocks, y).n_iter_[0] <= 3  # an estimate by progress takes as many


def test_the_hessian_is_made_in_pieces(problem, tmp_path, monkeypatch):
    X, y = problem
    X = X.astype(np.float64)
    encoded, outputs = encode_y(y, N_ROWS, "auto"), np.arange(N_CLASSES)
    blocks = NpyBlocks(save(tmp_path / "X.npy", X), X.nbytes // 3)
    coef, intercept = np.zeros((N_FEATURES, N_CLASSES)), np.zeros(N_CLASSES)
    at = coef, intercept, X.mean(axis=0), np.float64, 0.05, 1
    expected = MemoryData(X).rows(encoded, outputs).hessian(*at)
    monkeypatch.setattr(
        "xentlearn._data.out_of_core.HESSIAN_NUMBERS", 300 * (N_FEATURES + N_CLASSES)
    )
    found = BlockData(blocks, encoded, lambda X, finite: X).rows(encoded, outputs).hessian(*at)
    np.testing.assert_allclose(np.triu(found), np.triu(expected), rtol=0, atol=1e-9)


def test_the_same_bits_on_every_run_and_for_any_number_of_threads(problem, tmp_path):
    from threadpoolctl import threadpool_limits

    X, y = problem
    blocks = small(save(tmp_path / "X.npy", np.tile(X, (20, 1))))
    y = np.tile(y, 20)
    fits = []
    for limit in (1, 2, 3, 2):
        with threadpool_limits(limit):
            fits.append(SoftmaxClassifier().fit(blocks, y))
    for other in fits[1:]:
        np.testing.assert_array_equal(other.coef_, fits[0].coef_)
        np.testing.assert_array_equal(other.history_["objective"], fits[0].history_["objective"])


# ---- Memory-mapped arrays ------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize(
    "part", [np.s_[:], np.s_[100:2900], np.s_[::2], np.s_[::-1], np.s_[:, 3:30]]
)
def test_memmap(problem, mode, part, tmp_path, monkeypatch):
    monkeypatch.setattr(MemmapBlocks.__init__, "__defaults__", (100_000,))
    X, y = problem
    mapped = np.load(save(tmp_path / "X.npy", X), mmap_mode=mode)[part]
    source = blocks_of(mapped)
    assert len(source.lengths) > 1
    rows = part if not isinstance(part, tuple) else part[0]
    assert_same_fit(np.array(mapped), mapped, y[rows], atol=3e-4)


def test_small_memmap_is_the_fit_in_memory(problem, tmp_path):
    X, y = problem
    mapped = np.load(save(tmp_path / "X.npy", X), mmap_mode="r")
    expected, found = SoftmaxClassifier().fit(X, y), SoftmaxClassifier().fit(mapped, y)
    np.testing.assert_array_equal(found.coef_, expected.coef_)


def test_memmap_of_one_dimension_is_the_usual_error(problem, tmp_path):
    X, y = problem
    mapped = np.load(save(tmp_path / "X.npy", X[:, 0]), mmap_mode="r")
    with pytest.raises(ValueError, match="Expected 2D array"):
        SoftmaxClassifier().fit(mapped, y)


def test_results_of_functions_of_a_memmap_are_arrays(problem, tmp_path):
    X, _ = problem
    mapped = np.load(save(tmp_path / "X.npy", X), mmap_mode="r")
    assert blocks_of(mapped[[1, 2, 3]]) is None
    assert blocks_of(X) is None
    assert blocks_of(mapped[1:4]) is not None


# ---- The protocol --------------------------------------------------------------------------------


def test_reading_goes_ahead_in_another_thread(problem):
    X, _ = problem
    blocks = ArrayBlocks(X, [1000] * 3)
    started = threading.Event()
    order = []

    def read(i):
        order.append(f"read {i}")
        started.set()
        return ArrayBlocks.read(blocks, i)

    def use(i, rows, X):
        if i < 2:
            assert started.wait(10), "the next block is not read while this one is used"
        started.clear()
        order.append(f"used {i}")

    blocks.read = read
    started.clear()
    each_block(blocks, use)
    assert order[0] == "read 0"
    assert order.index("read 2") < order.index("used 2")
    assert order.index("used 0") < order.index("read 2")  # and not further than one block
    readers = {thread for what, _, thread in blocks.calls if what == "read"}
    assert threading.get_ident() not in readers
    assert [i for what, i, _ in blocks.calls if what == "release"] == [0, 1, 2]


def test_every_read_is_released_when_a_pass_is_broken_off(problem):
    X, _ = problem
    blocks = ArrayBlocks(X, [1000] * 3)

    def interrupt(i, rows, X):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each_block(blocks, interrupt)
    for what in ("read", "release"):
        assert sorted(i for name, i, _ in blocks.calls if name == what) == [0, 1]


def test_an_object_that_inherits_nothing(problem):
    X, y = problem

    class Plain:
        shape, dtype, lengths = X.shape, X.dtype, (2000, 1000)

        def read(self, i):
            return X[:2000] if i == 0 else X[2000:]

    assert_same_fit(X, Plain(), y, atol=3e-4)


@pytest.mark.parametrize("lengths", [[], [N_ROWS - 1], [N_ROWS, 0], [N_ROWS + 1, -1]])
def test_lengths_must_add_up(problem, lengths):
    X, y = problem
    with pytest.raises(ValueError, match="add up to n_samples"):
        SoftmaxClassifier().fit(ArrayBlocks(X, lengths), y)


def with_block(X, i, value):
    """Three blocks, of which number i is something else."""

    class Odd(ArrayBlocks):
        def read(self, j):
            return value if i == j else super().read(j)

    return Odd(X, [1000] * 3)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((999, N_FEATURES), np.float32), "promise an array of shape (1000, 40)"),
        (np.zeros((1000, N_FEATURES + 1), np.float32), "promise an array of shape (1000, 40)"),
        (np.zeros((1000, N_FEATURES)), "and float64"),
        ([[0.0]], "must return an ndarray or CSR, got list"),
        (sparse.csc_array((1000, N_FEATURES), dtype=np.float32), "of format csc"),
        (sparse.csr_array((1000, N_FEATURES), dtype=np.float32), "these are mixed"),
    ],
)
def test_a_block_that_is_not_what_was_promised(problem, value, words):
    X, y = problem
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        SoftmaxClassifier().fit(with_block(X, 1, value), y)
    assert "Block 1 of 'X' (rows 1000 to 1999)" in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_numbers_name_their_block(problem, bad, tmp_path):
    X, y = problem
    clf = SoftmaxClassifier().fit(X, y)
    X[1600, 3] = bad
    blocks = NpyBlocks(save(tmp_path / "X.npy", X), 500 * ROW_BYTES)
    for call in (lambda: clf.predict(blocks), lambda: SoftmaxClassifier().fit(blocks, y)):
        with pytest.raises(ValueError, match=r"Block 3 of 'X' \(rows 1500 to 1999\).*(NaN|inf)"):
            call()


def test_squares_that_overflow_name_their_block(problem, tmp_path):
    X, y = problem
    X[1600, 3] = 1e30
    with pytest.raises(ValueError, match=r"Block 3 of 'X' .*must be finite"):
        SoftmaxClassifier().fit(NpyBlocks(save(tmp_path / "X.npy", X), 500 * ROW_BYTES), y)


def test_rows_of_y_and_features(problem, tmp_path):
    X, y = problem
    blocks = small(save(tmp_path / "X.npy", X))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SoftmaxClassifier().fit(blocks, y[1:])
    clf = SoftmaxClassifier().fit(blocks, y)
    with pytest.raises(
        ValueError, match="X has 39 features, but SoftmaxClassifier is expecting 40"
    ):
        clf.predict(NpyBlocks(save(tmp_path / "Z.npy", X[:, 1:])))


def test_an_error_of_read_names_the_block_and_keeps_the_point(problem):
    X, y = problem
    blocks = ArrayBlocks(X, [1000] * 3)
    passes = []

    def read(i):
        passes.append(i)
        if len(passes) > 40:
            raise ConnectionError("the store does not answer")
        return ArrayBlocks.read(blocks, i)

    blocks.read = read
    clf = SoftmaxClassifier(tol=1e-8)
    with pytest.raises(BlockError, match=r"Block \d of 'X' .*ConnectionError: the store") as caught:
        clf.fit(blocks, y)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert clf.n_iter_[0] > 2
    assert clf.score(X, y) > 0.5
    passes.clear()
    passes.extend([0] * 40)
    with pytest.raises(BlockError, match="Block 0"):  # in the first pass: nothing is kept
        clf.fit(blocks, y)
    assert clf.score(X, y) > 0.5


@pytest.mark.parametrize(
    ("convert", "solver", "bad"),
    [
        (np.asarray, "lbfgs", np.nan),
        (np.asarray, "newton-cg", np.nan),
        (np.asarray, "newton-cholesky", np.nan),
        (np.asarray, "auto", -np.inf),
        (sparse.csr_array, "auto", np.nan),
    ],
)
@pytest.mark.slow
def test_numbers_that_are_lost_later_name_their_block(problem, convert, solver, bad):
    """Blocks that hold nan or inf in any later pass, in place of what was there at first."""
    X, y = problem
    spoiled = X.copy()
    spoiled[1700, 2] = bad
    sound = ArrayBlocks(convert(X), [1000] * 3)
    SoftmaxClassifier(solver=solver).fit(sound, y)
    n_passes = sum(call[:2] == ("read", 1) for call in sound.calls)
    for last_sound in range(1, min(n_passes, 25)):
        blocks, passes = ArrayBlocks(convert(X), [1000] * 3), []

        def read(i, blocks=blocks, passes=passes, last_sound=last_sound):
            passes.append(i)
            blocks.X = convert(X if passes.count(1) <= last_sound else spoiled)
            return ArrayBlocks.read(blocks, i)

        blocks.read = read
        with pytest.raises(BlockError, match=r"Block 1 of 'X' \(rows 1000 to 1999\) has changed"):
            SoftmaxClassifier(solver=solver).fit(blocks, y)


def test_sparse_blocks_whose_indices_are_spoiled_later(problem):
    X, y = problem
    blocks, passes = ArrayBlocks(sparse.csr_array(X), [1000] * 3), []

    def read(i):
        passes.append(i)
        block = ArrayBlocks.read(blocks, i).copy()
        if len(passes) > 9 and i == 2:
            block.indices[17] = 10**6
        return block

    blocks.read = read
    with pytest.raises(ValueError, match="Block 2 of 'X' .*indices are within its shape"):
        SoftmaxClassifier().fit(blocks, y)


# ---- Files that are not what they should be ------------------------------------------------------


def test_no_files(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"'{tmp_path}' must have at least one .npy")):
        NpyBlocks(tmp_path)
    with pytest.raises(ValueError, match="list of files must have at least one"):
        NpyBlocks([])
    with pytest.raises(FileNotFoundError):
        NpyBlocks(tmp_path / "X.npy")


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros(3), "must hold a 2-D array of real numbers, got shape (3,)"),
        (np.zeros((3, 2, 2)), "must hold a 2-D array"),
        (np.array([["a"]]), "real numbers"),
        (np.array([[None]]), "got shape (1, 1) of object"),
        (np.zeros((2, 2), complex), "real numbers"),
        (np.zeros((2, 2), [("a", float)]), "real numbers"),
        (np.zeros((0, 2)), "at least 1 row and 1 feature"),
        (np.zeros((2, 0)), "at least 1 row and 1 feature"),
    ],
)
def test_arrays_that_are_no_X(X, words, tmp_path):
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        NpyBlocks(save(tmp_path / "X.npy", X))
    assert str(tmp_path / "X.npy") in str(caught.value)


@pytest.mark.parametrize("n_bytes", [0, 5, 8, 60])
def test_truncated_header(n_bytes, tmp_path):
    path = save(tmp_path / "X.npy", np.zeros((10, 2)))
    os.truncate(path, n_bytes)
    with pytest.raises(ValueError, match="must be a .npy file"):
        NpyBlocks(path)


def test_truncated_before_it_is_opened(tmp_path):
    path = save(tmp_path / "X.npy", np.zeros((10, 2)))
    os.truncate(path, 200)
    with pytest.raises(ValueError, match="must have 288 bytes for its shape .10, 2., it has 200"):
        NpyBlocks(path)


def test_something_else(tmp_path):
    path = tmp_path / "X.npy"
    path.write_bytes(b"<html>Not found</html>" * 100)
    with pytest.raises(ValueError, match="must be a .npy file"):
        NpyBlocks(path)


@pytest.mark.parametrize("other", [np.zeros((3, 2)), np.zeros((3, 4), np.float32)])
def test_shards_that_differ(other, tmp_path):
    paths = [save(tmp_path / "a.npy", np.zeros((3, 4))), save(tmp_path / "b.npy", other)]
    with pytest.raises(ValueError, match="must agree in dtype and number of features") as caught:
        NpyBlocks(tmp_path)
    assert all(str(path) in str(caught.value) for path in paths)


@pytest.mark.parametrize("block_bytes", [0, -1, 1.5, None])
def test_block_bytes(block_bytes, tmp_path):
    with pytest.raises(ValueError, match="'block_bytes' must be a positive integer"):
        NpyBlocks(save(tmp_path / "a.npy", np.zeros((3, 4))), block_bytes)


# ---- Files that change while they are read -------------------------------------------------------


class At:
    """Blocks, with something done before the n-th is read."""

    def __init__(self, blocks, n, action):
        self.blocks, self.n, self.action = blocks, n, action
        self.shape, self.dtype, self.lengths = blocks.shape, blocks.dtype, blocks.lengths
        self.count = 0

    def read(self, i):
        self.count += 1
        if self.count == self.n:
            self.action()
        return self.blocks.read(i)

    def release(self, i):
        self.blocks.release(i)


def touch(path):
    with open(path, "r+b") as file:
        file.seek(200)
        file.write(b"\0")
    stat = os.stat(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # coarse clocks


def replace(path):
    np.save(path.with_name("other.npy"), np.zeros((N_ROWS, N_FEATURES), np.float32))
    os.replace(path.with_name("other.npy"), path)


@posix
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: os.truncate(path, 300_000), "had 480,128 bytes and has 300,000 now"),
        (lambda path: os.truncate(path, 0), "has 0 now"),
        (lambda path: os.truncate(path, 480_127), "has 480,127 now"),
        (touch, "was written to, or replaced"),
        (replace, "was written to, or replaced"),
        (os.unlink, "no longer exists"),
    ],
    ids=["half", "empty", "one byte", "written to", "replaced", "removed"],
)
def test_a_changed_file_is_an_error_and_the_last_point_is_kept(problem, change, words, tmp_path):
    X, y = problem
    path = save(tmp_path / "X.npy", X)
    blocks = At(small(path), 7 * 9 + 3, lambda: change(path))
    clf = SoftmaxClassifier(tol=1e-10)
    with pytest.raises(BlockError, match=re.escape(words)) as caught:
        clf.fit(blocks, y)
    message = str(caught.value)
    assert re.search(r"Block \d of 'X' \(rows \d+ to \d+\)", message)
    assert str(path) in message
    expected = SoftmaxClassifier(tol=1e-10, max_iter=int(clf.n_iter_[0]))
    assert 3 <= clf.n_iter_[0] < 9
    with pytest.warns(Warning, match="max_iter"):
        expected.fit(small(save(tmp_path / "again.npy", X)), y)
    np.testing.assert_array_equal(clf.coef_, expected.coef_)
    np.testing.assert_array_equal(clf.history_["objective"], expected.history_["objective"])
    with pytest.raises(BlockError):
        clf.predict(blocks)


@posix
def test_truncated_between_fits_and_read_again(problem, tmp_path):
    X, y = problem
    path = save(tmp_path / "X.npy", X)
    blocks = small(path)
    clf = SoftmaxClassifier().fit(blocks, y)
    before = clf.coef_.copy()
    os.truncate(path, 1000)
    with pytest.raises(BlockError, match="Block 0"):
        clf.fit(blocks, y)
    np.testing.assert_array_equal(clf.coef_, before)


@posix
@pytest.mark.parametrize("offset", [0, 1_000_000])
def test_a_truncated_memmap_stays_an_error(problem, offset, tmp_path, monkeypatch):
    X, y = problem
    path = tmp_path / "X.bin"
    path.write_bytes(bytes(offset) + X.tobytes())
    mapped = np.memmap(path, np.float32, "r", offset, X.shape)
    monkeypatch.setattr(MemmapBlocks.__init__, "__defaults__", (100_000,))
    clf = SoftmaxClassifier().fit(mapped, y)
    os.truncate(path, offset + X.nbytes - 20_000)  # within the last block
    for _ in range(2):
        for call in (lambda: clf.fit(mapped, y), lambda: clf.predict(mapped)):
            with pytest.raises(BlockError, match=f"had {offset + 480_000:,} bytes and has"):
                call()


@posix
def test_a_memmap_that_lost_pages_stays_an_error(problem, tmp_path):
    X, _ = problem
    mapped = np.load(save(tmp_path / "X.npy", X), mmap_mode="r")

    def use(i, rows, X):
        stat = os.stat(mapped.filename)
        os.truncate(mapped.filename, 1000)
        assert X[-1].sum() == 0
        os.truncate(mapped.filename, stat.st_size)
        os.utime(mapped.filename, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    for action in (use, lambda i, rows, X: None):
        with pytest.raises(BlockError, match="shorter for a moment"):
            each_block(blocks_of(mapped), action)


@posix
def test_a_memmap_without_a_file_name(problem, tmp_path):
    X, y = problem
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    os.unlink(tmp_path / "X.npy")
    clf = SoftmaxClassifier().fit(mapped, y)
    np.testing.assert_array_equal(clf.predict(mapped), clf.predict(X))


@pytest.mark.parametrize(
    "loss", ["auto", losses.CategoricalFocalCrossentropy()], ids=["convex", "not convex"]
)
def test_whenever_it_fails_a_point_is_kept(problem, loss):
    X, y = problem
    y = np.eye(N_CLASSES)[y] if loss != "auto" else y

    def fail():
        raise OSError("broken")

    n_blocks = 2
    whole = At(ArrayBlocks(X, [1500] * n_blocks), 0, fail)
    SoftmaxClassifier(loss).fit(whole, y)
    n_passes = whole.count // n_blocks
    assert n_passes > 10
    for n in range(1, n_passes + 1):
        blocks = At(ArrayBlocks(X, [1500] * n_blocks), n * n_blocks, fail)
        clf = SoftmaxClassifier(loss)
        with pytest.raises(BlockError, match="Block 1 .*broken"):
            clf.fit(blocks, y)
        assert hasattr(clf, "coef_") == (n > 2)  # the look at X, and the first evaluation
        if n > 6:
            assert clf.coef_.any()


def run(code, *arguments, timeout=300):
    """Run code in a process of its own, whose death would be seen."""
    parent = str(Path(xentlearn.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": parent}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert result.returncode == 0, f"{result.returncode}\n{result.stderr[-3000:]}"
    return result.stdout


MANY_TIMES = """
    import os, random, sys, threading, time
    import numpy as np
    from xentlearn import SoftmaxClassifier
    from xentlearn._data.readers import MemmapBlocks
    from xentlearn.blocks import BlockError, NpyBlocks

    path, kind = sys.argv[1:]
    MemmapBlocks.__init__.__defaults__ = (2_000_000,)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 100)).astype(np.float32)
    y = (X[:, :3] + rng.gumbel(size=(20_000, 3))).argmax(axis=1)
    failed = kept = 0
    for round in range(40):
        np.save(path, np.asfortranarray(X) if round % 4 == 3 else X)
        if kind == "memmap":
            data = np.load(path, mmap_mode="r" if round % 2 else "r+")
        else:
            data = NpyBlocks(path, 2_000_000)
        clf = SoftmaxClassifier(tol=0, max_iter=10_000)
        n_bytes = random.randrange(os.path.getsize(path))
        cut = threading.Timer(random.uniform(0, 0.06), lambda: os.truncate(path, n_bytes))
        cut.start()
        try:
            clf.fit(data, y)
        except BlockError as error:
            assert "Block" in str(error) and path in str(error)
            failed += 1
            if hasattr(clf, "coef_"):
                kept += 1
                assert np.isfinite(clf.coef_).all()
                assert (np.diff(clf.history_["objective"]) < 1e-6).all()
        cut.join()
        os.unlink(path)
    print(failed, kept)
"""


@posix
@pytest.mark.parametrize("kind", ["npy", "memmap"])
@pytest.mark.slow
def test_truncated_in_the_middle_of_passes_many_times(kind, tmp_path):
    failed, kept = map(int, run(MANY_TIMES, tmp_path / "X.npy", kind).split())
    assert failed >= 35
    assert kept >= 5


# What lies behind the end is touched for sure: after the file was looked at, before it is used.
HOLE = """
    import faulthandler, os, signal, sys
    import numpy as np
    from xentlearn import SoftmaxClassifier
    from xentlearn._data.readers import each_block
    from xentlearn.blocks import BlockError, NpyBlocks

    if sys.argv[2] == "faulthandler":
        faulthandler.enable()
    path = sys.argv[1]
    X = np.ones((30_000, 100), dtype=np.float32)
    np.save(path, X)
    blocks = NpyBlocks(path, 4_000_000)
    seen = []

    def use(i, rows, X):
        if i == 1:
            os.truncate(path, 5_000_000)
            if sys.argv[2] == "restored":
                with open(path, "r+b") as file:  # the size is right again, the time is set
                    assert X[-1].sum() == 0      # in the hole, now filled with zeros
                    file.truncate(blocks._files[0].before[0])
                before = blocks._files[0].before[1]
                os.utime(path, ns=(before, before))
        seen.append((i, float(X.sum())))

    for attempt in range(2):
        try:
            each_block(blocks, use)
        except BlockError as error:
            print(error)
    print(seen)
    if sys.argv[2] == "own":
        np.save(path, X)
        X = np.load(path, mmap_mode="r")
        os.truncate(path, 4096)
        X[-1].sum()  # nobody guards this one: the process ends as it always did
"""


@posix
@pytest.mark.parametrize("kind", ["plain", "faulthandler", "restored"])
@pytest.mark.slow
def test_pages_that_are_gone_read_as_zeros(kind, tmp_path):
    first, again, seen = run(HOLE, tmp_path / "X.npy", kind).strip().splitlines()
    assert "Block 1 of 'X' (rows 10000 to 19999)" in first
    assert ("shorter for a moment" if kind == "restored" else "5,000,000 now") in first
    assert "Block 0" in again or "Block 1" in again
    found = dict(eval(seen))
    assert found[0] == 1e6
    assert 0 < found[1] < 1e6


@posix
def test_a_signal_that_is_not_ours_ends_the_process(tmp_path):
    with pytest.raises(AssertionError, match="^-7|^-10"):
        run(HOLE, tmp_path / "X.npy", "own")


# ---- Parquet -------------------------------------------------------------------------------------


@pytest.fixture
def parquet():
    return pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def table(problem):
    """The problem as a table with a label column of strings."""
    import pyarrow as pa

    X, y = problem
    columns = {f"f{j}": X[:, j] for j in range(N_FEATURES)}
    return pa.table({**columns, "label": np.array(["a", "b", "c", "d"])[y]})


@pytest.mark.filterwarnings("error")
def test_parquet(problem, parquet, table, tmp_path):
    _, y = problem
    path = tmp_path / "X.parquet"
    parquet.write_table(table, path, row_group_size=250)
    blocks = ParquetBlocks(path, exclude=["label"], block_bytes=600 * ROW_BYTES)
    assert blocks.lengths == [500] * 6
    assert blocks.dtype == np.float32
    labels = blocks.column("label")
    np.testing.assert_array_equal(labels, np.array(["a", "b", "c", "d"])[y])
    assert_same_fit(table.drop(["label"]).to_pandas(), blocks, y, atol=3e-4)
    found = SoftmaxClassifier().fit(blocks, y)
    assert found.feature_names_in_.tolist() == [f"f{j}" for j in range(N_FEATURES)]
    np.testing.assert_array_equal(SoftmaxClassifier().fit(blocks, labels).classes_, list("abcd"))


def test_parquet_columns_and_dtype(problem, parquet, table, tmp_path):
    X, _ = problem
    parquet.write_table(table.slice(0, 1000), tmp_path / "a.parquet")
    parquet.write_table(table.slice(1000), tmp_path / "b.parquet")
    blocks = ParquetBlocks(tmp_path, ["f3", "f1"], dtype=np.float64)
    assert blocks.lengths == [1000, 2000]
    read = np.concatenate([blocks.read(0), blocks.read(1)])
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, X[:, [3, 1]])


def test_parquet_dtype_that_holds_all(parquet, tmp_path):
    import pyarrow as pa

    columns = {
        "yes": np.array([True, False]),
        "byte": np.array([1, 2], np.uint8),
        "int": np.array([1, 2]),
        "half": np.array([1, 2], np.float32),
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")

    def dtype(*names):
        return ParquetBlocks(tmp_path / "a.parquet", list(names)).dtype

    assert dtype("yes") == np.uint8
    assert dtype("yes", "byte") == np.uint8
    assert dtype("half", "byte") == np.float32
    assert dtype("int") == np.float64


def test_parquet_feature_names_must_agree(parquet, table, problem, tmp_path):
    _, y = problem
    parquet.write_table(table, tmp_path / "a.parquet")
    clf = SoftmaxClassifier().fit(ParquetBlocks(tmp_path, ["f1", "f2"]), y)
    with pytest.raises(ValueError, match="must have the features that the fit had"):
        clf.predict(ParquetBlocks(tmp_path, ["f2", "f1"]))


def test_parquet_errors(parquet, table, problem, tmp_path):
    import pyarrow as pa

    _, y = problem
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path, row_group_size=1000)
    with pytest.raises(ValueError, match="column 'label' of .* is string. Name it in 'exclude'"):
        ParquetBlocks(path)
    with pytest.raises(ValueError, match="Columns must be among .* got 'nothing'"):
        ParquetBlocks(path, exclude=["nothing"])
    with pytest.raises(ValueError, match="lists of names"):
        ParquetBlocks(path, exclude="label")
    with pytest.raises(ValueError, match="at least 1 feature"):
        ParquetBlocks(path, ["label"], exclude=["label"])
    with pytest.raises(ValueError, match="Columns must be among"):
        ParquetBlocks(path, exclude=["label"]).column("nothing")
    holes = table.column("f7").to_pylist()
    holes[2500] = None
    holed = table.set_column(7, "f7", pa.array(holes, pa.float32()))
    parquet.write_table(holed, path, row_group_size=1000)
    blocks = ParquetBlocks(path, exclude=["label"], block_bytes=1)
    with pytest.raises(ValueError, match="Block 2 of 'X' .* column 'f7' of .* 1 are missing"):
        SoftmaxClassifier().fit(blocks, y)
    with pytest.raises(ValueError, match="column 'f7'"):
        blocks.column("f7")
    parquet.write_table(table.drop(["f7"]), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="'f7' of .* is missing or of another type in"):
        ParquetBlocks(tmp_path, exclude=["label"])
    (tmp_path / "b.parquet").write_bytes(b"<html>Not found</html>")
    with pytest.raises(ValueError, match="b.parquet' must be a Parquet file"):
        ParquetBlocks(tmp_path, exclude=["label"])
    with pytest.raises(FileNotFoundError):
        ParquetBlocks(tmp_path / "c.parquet")


@pytest.mark.parametrize("n_bytes", [0, 100_000])
def test_parquet_truncated_keeps_the_point(parquet, table, problem, n_bytes, tmp_path):
    X, y = problem
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path, row_group_size=1000)
    blocks = ParquetBlocks(path, exclude=["label"], block_bytes=1)
    clf = SoftmaxClassifier(tol=1e-9)
    with pytest.raises(BlockError, match=f"Block . of 'X' .* has {n_bytes:,} now"):
        clf.fit(At(blocks, 3 * 9 + 2, lambda: os.truncate(path, n_bytes)), y)
    assert clf.n_iter_[0] > 2
    assert clf.score(X, y) > 0.5


def test_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=re.escape('pip install "xentlearn[parquet]"')):
        ParquetBlocks(tmp_path)


# ---- Memory --------------------------------------------------------------------------------------

LIMITED = """
    import resource, sys
    import numpy as np
    from xentlearn import SoftmaxClassifier
    from xentlearn.blocks import NpyBlocks

    path, more = sys.argv[1], int(sys.argv[2])
    SoftmaxClassifier().fit(np.random.default_rng(0).random((1000, 50)), np.arange(1000) % 3)
    y = np.load(sys.argv[3])
    lines = open("/proc/self/status").read().splitlines()
    held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    limit = held + more  # threads' stacks and libraries
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        np.ones(2 * more, np.uint8)
    except MemoryError:
        print("limited")
    for X in (NpyBlocks(path), np.load(path, mmap_mode="r")):
        clf = SoftmaxClassifier(max_iter=100).fit(X, y)
        print(clf.score(X, y))
"""


@linux
@pytest.mark.slow
def test_much_more_on_disk_than_in_memory(rng, tmp_path):
    n_rows, n_features = 1_500_000, 100  # 600 MB
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (n_rows, n_features))
    piece = rng.standard_normal((150_000, n_features), dtype=np.float32)
    for begin in range(0, n_rows, len(piece)):
        X[begin : begin + len(piece)] = piece
    del X
    labels = (piece[:, :3] + rng.gumbel(size=(len(piece), 3))).argmax(axis=1)
    np.save(tmp_path / "y.npy", np.tile(labels, n_rows // len(piece)).astype(np.int8))
    out = run(LIMITED, tmp_path / "X.npy", 250_000_000, tmp_path / "y.npy").split()
    assert out[0] == "limited"
    assert all(0.4 < float(score) < 0.8 for score in out[1:])
    assert len(out) == 3


# ---- Representation ------------------------------------------------------------------------------


def test_repr(tmp_path):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.zeros((5, 3), dtype=np.float32))
    shards = NpyBlocks(tmp_path, block_bytes=24)
    first = tmp_path / "a.npy"
    want = f"<NpyBlocks: shape (10, 3), float32, 6 blocks, 2 files: '{first}', ...>"
    assert repr(shards) == want
    assert repr(NpyBlocks(first)) == (
        f"<NpyBlocks: shape (5, 3), float32, 1 block, 1 file: '{first}'>"
    )
    assert repr(RowBlocks((4, 2), float, [1, 3])) == "<RowBlocks: shape (4, 2), float64, 2 blocks>"


def test_repr_of_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "a.parquet"
    pandas.DataFrame({"a": [1, 2], "b": [3, 4]}).to_parquet(path)
    want = f"<ParquetBlocks: shape (2, 2), float64, 1 block, 1 file: '{path}'>"
    assert repr(ParquetBlocks(path)) == want
