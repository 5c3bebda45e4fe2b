"""Sparse X as it comes: entries that are there twice, indices out of range, formats and dtypes."""

import warnings

import numpy as np
import pytest
from scipy import sparse

from xentlearn import SoftmaxClassifier
from xentlearn.blocks import RowBlocks

N_ROWS, N_WORDS = 400, 30


def tokens(rng, dtype=np.float64):
    """(a bag of words with an entry per token, the same as an array, labels)."""
    lengths = rng.integers(5, 40, N_ROWS)
    y = rng.integers(0, 3, N_ROWS)
    # a word of one class is in each of its rows once: its squares, entry by entry, do not vary
    indices = np.concatenate(
        [np.sort(rng.integers(0, N_WORDS // 3, n)) * 3 + k for n, k in zip(lengths, y, strict=True)]
    )
    noise = rng.random(len(indices)) < 0.7
    indices[noise] = rng.integers(0, N_WORDS, noise.sum())
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    X = sparse.csr_array((np.ones(len(indices), dtype), indices, indptr), shape=(N_ROWS, N_WORDS))
    assert not X.has_canonical_format
    return X, X.toarray(), y


def fit(X, y, **params):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SoftmaxClassifier(random_state=0, **params).fit(X, y)


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.uint8])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_duplicates_count_as_their_sum(fit_intercept, dtype, solver):
    X, dense, y = tokens(np.random.default_rng(0), dtype)
    before = X.indices.copy()
    params = {"solver": solver, "fit_intercept": fit_intercept, "max_iter": 20}
    clf = fit(X, y, **params)
    other = fit(sparse.csr_array(dense), y, **params)
    np.testing.assert_allclose(clf.coef_, other.coef_, rtol=1e-4, atol=1e-6)
    assert np.abs(clf.coef_).min(axis=0).max() > 0
    np.testing.assert_allclose(clf.predict_proba(X), clf.predict_proba(dense), rtol=1e-4)
    np.testing.assert_array_equal(X.indices, before)  # the user's matrix stays as it is


def test_counts_that_exceed_a_byte():
    """300 tokens of one word: uint8 holds up to 255."""
    X = sparse.csr_array(
        (np.ones(604, np.uint8), np.repeat([0, 1, 0, 1], [300, 1, 1, 302]), [0, 301, 604]),
        shape=(2, 2),
    )
    clf = fit(sparse.vstack([X] * 20, format="csr"), [0, 1] * 20)
    other = fit(np.tile([[300.0, 1.0], [1.0, 302.0]], (20, 1)).astype(np.float32), [0, 1] * 20)
    np.testing.assert_allclose(clf.coef_, other.coef_, rtol=1e-4)


@pytest.mark.parametrize("solver", ["auto", "adam", "sgd"])
def test_duplicates_in_batches(solver):
    X, dense, y = tokens(np.random.default_rng(1))
    models = []
    for rows in (X, sparse.csr_array(dense)):
        clf = SoftmaxClassifier(solver=solver, random_state=0)
        for begin in range(0, N_ROWS, 100):
            clf.partial_fit(rows[begin : begin + 100], y[begin : begin + 100], classes=[0, 1, 2])
        models.append(clf)
    np.testing.assert_allclose(models[0].coef_, models[1].coef_, rtol=1e-8, atol=1e-10)
    assert np.abs(models[0].coef_).min(axis=0).max() > 0


def test_duplicates_of_many_labels():
    """Dual ascent goes by the norms of the rows."""
    rng = np.random.default_rng(2)
    X, dense, _ = tokens(rng)
    X = sparse.vstack([X] * 40, format="csr")
    dense = np.tile(dense, (40, 1))
    Y = (rng.random((len(dense), 20)) < 0.02 + 0.03 * (dense[:, :20] > 2)).astype(int)
    for C in (0.001, 0.1, 1.0):
        clf, other = (fit(kind, Y, C=C, tol=1e-6) for kind in (X, sparse.csr_array(dense)))
        assert clf.solver_ == other.solver_
        assert clf.objective_ == pytest.approx(other.objective_, rel=1e-5)
    assert fit(X, Y, C=0.001).solver_ == "dual-ascent"


def test_duplicates_in_blocks():
    X, dense, y = tokens(np.random.default_rng(3))

    class Blocks(RowBlocks):
        def read(self, i):
            return X[100 * i : 100 * i + 100]

    clf = fit(Blocks(X.shape, X.dtype, [100] * 4), y, tol=1e-8)
    np.testing.assert_allclose(clf.coef_, fit(dense, y, tol=1e-8).coef_, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", ["csr", "csc", "bsr"])
@pytest.mark.parametrize("index", [N_WORDS, -1, 10**8, -(10**8)])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "predict_proba", "score"])
def test_indices_out_of_range_are_an_error_that_says_so(method, index, form):
    X, dense, y = tokens(np.random.default_rng(4))
    clf = fit(dense, y)
    bad = X.asformat(form)
    assert bad.format == form
    bad = bad.copy()
    bad.indices[len(bad.indices) // 2] = index if form != "csc" else index * 100
    arguments = (bad,) if method.startswith("predict") else (bad, y)
    with pytest.raises(ValueError, match="'X' must be a sparse matrix whose indices are within"):
        getattr(clf, method)(*arguments)


@pytest.mark.parametrize("spoil", ["beyond the end", "falls", "begins late"])
def test_row_pointers_that_lie(spoil):
    X, _, y = tokens(np.random.default_rng(5))
    X = X.copy()
    if spoil == "beyond the end":
        X.indptr[-1] += 1000
    elif spoil == "falls":
        X.indptr[50] = X.indptr[60]
    else:
        X.indptr[0] = 3
    with pytest.raises(ValueError, match="'X' must be a sparse matrix"):
        SoftmaxClassifier().fit(X, y)
