"""Penalties beyond L2, for X of every kind: the fit of float64 in memory."""

import numpy as np
import pytest
from scipy import sparse
from threadpoolctl import threadpool_limits

from small_problems import X_KINDS, assert_same_bits, counts_data, no_warning
from xentlearn import SoftmaxClassifier
from xentlearn.blocks import NpyBlocks, RowBlocks

PENALTIES = {
    "l1": {"l1_ratio": 1.0, "C": 0.1},
    "elastic net": {"l1_ratio": 0.5, "C": 0.1},
    "grouped": {"l1_ratio": 1.0, "grouped": True, "C": 0.1, "penalty_factor": [1, 2, 1, 0.5, 1]},
    "bounds": {"coef_bounds": (-0.2, [0.1, np.inf, 0.3, 0.2, 0.0])},
}
each_penalty = pytest.mark.parametrize("penalty", PENALTIES)


@each_penalty
@pytest.mark.parametrize("kind", [*X_KINDS, "int8"])
@pytest.mark.parametrize("polish", [True, False])
def test_kinds_of_X(kind, penalty, polish, set_rules):
    if not polish:
        set_rules(polished_work=0, small_work=0)
    X, y = counts_data(largest=1 if "bool" in kind else 5)
    X_kind = X.astype(np.int8) if kind == "int8" else X_KINDS[kind](X)
    options = {**PENALTIES[penalty], "tol": 1e-10 if polish else 1e-6}
    with no_warning():
        expected = SoftmaxClassifier(**PENALTIES[penalty], tol=1e-12).fit(X.astype(float), y)
        clf = SoftmaxClassifier(**options).fit(X_kind, y)
    double = not any(name in kind for name in ("float32", "float16", "int8"))
    assert clf.coef_.dtype == (np.float64 if double else np.float32)
    assert clf.solver_ == "proximal-newton"
    assert clf.objective_ <= expected.objective_ * (1 + clf.tol + 1e-6 * (not double))
    atol = (1e-6 if double else 1e-4) if polish else 5e-3
    np.testing.assert_allclose(clf.coef_, expected.coef_, atol=atol)
    np.testing.assert_allclose(
        clf.predict_proba(X_kind), expected.predict_proba(X.astype(float)), atol=atol
    )
    if polish:
        np.testing.assert_array_equal(clf.coef_ == 0, expected.coef_ == 0)


@pytest.fixture
def problem(rng):
    """(X, y): 3,000 rows, of which few features matter."""
    X = rng.standard_normal((3000, 25)).astype(np.float32) * np.float32(2) + np.float32(1)
    z = X[:, :5] @ rng.standard_normal((5, 4)) / 2 + 1.5 * rng.gumbel(size=(3000, 4))
    return X, z.argmax(axis=1)


LARGER = {
    "l1": {"l1_ratio": 1.0, "C": 0.02},
    "elastic net": {"l1_ratio": 0.5, "C": 0.02},
    "grouped": {"l1_ratio": 1.0, "grouped": True, "C": 0.02},
    "bounds": {"coef_bounds": (0.0, 0.3), "C": 0.1},
}
each_larger = pytest.mark.parametrize("penalty", LARGER)


class Pieces(RowBlocks):
    """Blocks of rows of an array."""

    def __init__(self, X, lengths):
        super().__init__(X.shape, X.dtype, lengths)
        self.X, self.ends = X, np.cumsum(lengths)

    def read(self, i):
        return self.X[self.ends[i] - self.lengths[i] : self.ends[i]]


@pytest.mark.parametrize("penalty", ["l1", "elastic net", "grouped"])
@pytest.mark.parametrize("is_sparse", [True, False])
def test_features_that_the_sample_of_the_blocks_lacks(is_sparse, penalty, rng, set_rules):
    """A word of six rows has no entry in the sample, and is selected all the same."""
    set_rules(sample_rows=300)
    X = rng.uniform(size=(6000, 80)) * (rng.uniform(size=(6000, 80)) < 0.05)
    y = rng.integers(0, 3, 6000)
    X[:6, 7], y[:6] = 5.0, 1  # rows of the sample are 10, 30, 50, ...
    X[:, 8] = 0.0
    X[::700, 8], y[::700] = -4.0, 2
    X = sparse.csr_array(X) if is_sparse else X
    options = {**LARGER[penalty], "C": 0.5}
    with no_warning():
        expected = SoftmaxClassifier(**options, tol=1e-10).fit(X, y)
        clf = SoftmaxClassifier(**options).fit(Pieces(X, [2000, 4000]), y)
    assert clf.optimality_gap_ <= clf.tol
    assert expected.coef_[:, 7].any()
    assert expected.coef_[:, 8].any()
    np.testing.assert_allclose(clf.coef_, expected.coef_, atol=0.05)


@each_larger
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("source", ["npy", "memmap", "pieces", "csr pieces"])
def test_rows_in_blocks(source, dtype, penalty, problem, tmp_path, monkeypatch):
    from xentlearn._data.readers import MemmapBlocks

    X, y = problem
    X = X.astype(dtype)
    if source == "csr pieces":
        X = np.where(np.abs(X) > 1.5, X, 0).astype(dtype)
        blocks = Pieces(sparse.csr_array(X), [1000, 1, 1999])
    elif source == "pieces":
        blocks = Pieces(X, [1000, 1, 1999])
    else:
        np.save(tmp_path / "X.npy", X)
        blocks = NpyBlocks(tmp_path / "X.npy", X.nbytes // 5)
        if source == "memmap":
            monkeypatch.setattr(MemmapBlocks.__init__, "__defaults__", (X.nbytes // 5,))
            blocks = np.load(tmp_path / "X.npy", mmap_mode="r")
    options = {**LARGER[penalty], "tol": 1e-10 if dtype == np.float64 else 1e-6}
    expected = SoftmaxClassifier(**LARGER[penalty], tol=1e-12).fit(X.astype(float), y)
    with no_warning():
        clf = SoftmaxClassifier(**options).fit(blocks, y)
    assert clf.objective_ <= expected.objective_ * (1 + 2 * clf.tol)
    assert clf.optimality_gap_ <= clf.tol
    atol = 1e-5 if dtype == np.float64 else 2e-3
    np.testing.assert_allclose(clf.coef_, expected.coef_, atol=atol)
    np.testing.assert_allclose(clf.intercept_, expected.intercept_, atol=3 * atol)
    assert 0.05 < (clf.coef_ == 0).mean() < 0.95
    if dtype == np.float64:
        np.testing.assert_array_equal(clf.coef_ == 0, expected.coef_ == 0)
    np.testing.assert_array_equal(clf.predict(blocks), clf.predict(X))


@each_larger
@pytest.mark.parametrize("kind", ["dense", "csr", "blocks"])
def test_the_same_bits_for_any_number_of_threads(kind, penalty, problem):
    from scipy import sparse

    X, y = problem
    X = np.tile(X, (3, 1))
    y = np.tile(y, 3)
    y[::13] = 0
    X = sparse.csr_matrix(np.where(X > 2, X, 0)) if kind == "csr" else X
    X = Pieces(X, [4000, 1000, 4000]) if kind == "blocks" else X
    fits = []
    for limit in (1, 2, 3, 2):
        with threadpool_limits(limit):
            fits.append(SoftmaxClassifier(**LARGER[penalty]).fit(X, y))
    for other in fits[1:]:
        assert_same_bits(other, fits[0])
        np.testing.assert_array_equal(other.history_["objective"], fits[0].history_["objective"])
        assert other.optimality_gap_ == fits[0].optimality_gap_
