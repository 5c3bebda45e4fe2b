"""X of every kind: containers, dtypes and memory orders give one answer; X is used in place."""

import tracemalloc
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from small_problems import X_KINDS, counts_data, fit, logits_of, multiclass_data
from xentlearn import SoftmaxClassifier


@pytest.mark.parametrize("kind", X_KINDS)
def test_kinds_of_X_give_one_answer(kind):
    X, y = counts_data(largest=1 if "bool" in kind else 3)
    X_kind = X_KINDS[kind](X)
    expected = fit(X.astype(np.float64), y, tol=1e-8)
    clf = fit(X_kind, y, tol=1e-8)

    assert clf.n_features_in_ == 5
    dtype = np.asarray(X_kind).dtype if not sp.issparse(X_kind) else X_kind.dtype
    double = dtype not in (np.float32, np.float16, np.uint8, np.int8)
    assert clf.coef_.dtype == (np.float64 if double else np.float32)
    atol = 1e-6 if double else 1e-3
    np.testing.assert_allclose(
        clf.predict_proba(X_kind), expected.predict_proba(X.astype(np.float64)), atol=atol
    )
    np.testing.assert_array_equal(clf.predict(X_kind), clf.predict(X.astype(np.float64)))


@pytest.mark.parametrize("kind", ["float32", "uint8", "F-order", "list", "csr", "csr float32"])
def test_kinds_of_X_in_prediction(kind):
    X, y = counts_data(largest=3)
    clf = fit(X.astype(np.float64), y)
    expected = logits_of(clf, X)
    np.testing.assert_allclose(clf.decision_function(X_KINDS[kind](X)), expected, atol=1e-4)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_matrix], ids=["dense", "csr"])
@pytest.mark.parametrize("unit", [2.0**700, 2.0**-700, 2.0**90, 2.0**-90])
def test_X_whose_squares_overflow_or_vanish(container, unit):
    """In other units it is the same problem: coefficients, and C, change with them."""
    X, y = multiclass_data()
    clf = SoftmaxClassifier(C=np.inf, tol=1e-8).fit(container(unit * X), y)
    expected = SoftmaxClassifier(C=np.inf, tol=1e-8).fit(container(X), y)
    np.testing.assert_allclose(clf.coef_ * unit, expected.coef_, rtol=1e-4, atol=1e-6)
    assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-8)
    if abs(np.log2(unit)) < 500:  # else C itself is out of range
        clf = SoftmaxClassifier(C=2.0 / unit**2, tol=1e-8).fit(container(unit * X), y)
        expected = SoftmaxClassifier(C=2.0, tol=1e-8).fit(container(X), y)
        assert clf.objective_ == pytest.approx(expected.objective_, rel=1e-8)


def test_float64_of_the_other_byte_order():
    X, y = multiclass_data()
    swapped = SoftmaxClassifier().fit(X.astype(X.dtype.newbyteorder()), y)
    assert swapped.coef_.dtype == np.float64
    np.testing.assert_array_equal(swapped.coef_, SoftmaxClassifier().fit(X, y).coef_)


def pixels(n_samples=4000, n_features=150, n_classes=8, seed=0):
    """uint8 images, some pixels always 0, too many numbers to be a "small" problem."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 200, size=(n_classes, n_features))
    y = rng.integers(n_classes, size=n_samples)
    X = np.clip(centres[y] + rng.normal(0, 120, size=(n_samples, n_features)), 0, 255)
    X[:, ::10] = 0
    return X.astype(np.uint8), y


@pytest.mark.parametrize("kind", ["uint8", "float16", "memory-mapped", "CSR uint8", "float32"])
def test_X_is_used_where_it_lies(kind, tmp_path):
    X, y = pixels()
    expected = SoftmaxClassifier(tol=1e-8).fit(X.astype(np.float64), y)
    if kind == "memory-mapped":
        np.save(tmp_path / "X.npy", X)
        X_kind = np.load(tmp_path / "X.npy", mmap_mode="r")
    else:
        X_kind = sp.csr_array(X) if "CSR" in kind else X.astype(kind)
    before = X_kind.copy()
    clf = SoftmaxClassifier(tol=1e-5).fit(X_kind, y)
    assert clf.coef_.dtype == np.float32
    assert clf.objective_ <= expected.objective_ * (1 + 2e-5)
    proba = clf.predict_proba(X_kind)
    np.testing.assert_allclose(proba, expected.predict_proba(X.astype(np.float64)), atol=0.01)
    np.testing.assert_array_equal(clf.predict(X_kind), clf.classes_[proba.argmax(axis=1)])
    assert (before != X_kind).sum() == 0


def peak_extra_memory(function):
    """Bytes that ``function`` had allocated at its peak, beyond what there was before."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_predicting_and_fitting_do_not_copy_X():
    X, y = pixels(n_samples=40_000)
    clf = SoftmaxClassifier(max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # as float32, X alone would take 24 MB; labels, weights and blocks of rows are allowed
        assert peak_extra_memory(lambda: clf.fit(X, y)) < 10e6
    assert peak_extra_memory(lambda: clf.predict(X)) < 3e6
    assert peak_extra_memory(lambda: clf.predict_proba(X)) < 4e6


@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
def test_an_array_has_no_names(bad):
    """A fit of a plain array forgets the names of an earlier fit; if it is refused, it says why."""
    pd = pytest.importorskip("pandas")
    X, y = counts_data(largest=3)
    X = X.astype(np.float64)
    clf = fit(pd.DataFrame(X).rename(columns=str), y)
    assert len(clf.feature_names_in_) == 5
    if bad is not None:
        X[3, 1] = bad
        with pytest.raises(ValueError, match="Input X contains (NaN|infinity)"):
            clf.fit(X, y)
        return
    clf.fit(X[:, :4], y)
    assert not hasattr(clf, "feature_names_in_")
    assert clf.n_features_in_ == 4
    # a sum of finite numbers may overflow
    assert clf.fit(np.where(X > 1, 1e308, 0.0), y).n_features_in_ == 5
