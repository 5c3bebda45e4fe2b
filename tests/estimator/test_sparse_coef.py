"""``sparsify``, ``densify``, and predictions with a sparse ``coef_``, which is never expanded."""

import copy
import math
import pickle
import tracemalloc
import warnings

import numpy as np
import pytest
import sklearn
from scipy import sparse
from scipy.special import expit, log_softmax, softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from xentlearn import SoftmaxClassifier
from xentlearn.blocks import NpyBlocks
from xentlearn.callbacks import Checkpoint
from xentlearn.losses import make_loss_scorer

METHODS = ["decision_function", "predict", "predict_proba", "predict_log_proba"]
FORMATS = ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"]


# --- Models, and what they predict ----------------------------------------------------------------


def assert_same_bits(got, want):
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)


def by_hand(coef, intercept, **parameters):
    clf = SoftmaxClassifier(**parameters)
    clf.coef_, clf.intercept_ = coef, intercept
    clf.classes_ = np.arange(max(2, len(intercept)))
    return clf


def random_coef(n_outputs, n_features, density, rng):
    """Dense coefficients of which a share is not 0; some features and outputs have none."""
    coef = rng.normal(size=(n_outputs, n_features))
    return np.where(rng.random(coef.shape) < density, coef, 0.0)


def model(n_outputs=5, n_features=37, n_rows=23, density=0.15, seed=0):
    """(X, dense coef, intercept); the numbers of X are small integers, which every dtype has."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 9, size=(n_rows, n_features)).astype(float)
    return X, random_coef(n_outputs, n_features, density, rng), rng.normal(size=n_outputs)


def slow_logits(X, coef, intercept):
    """Logits one by one, from the entries of the coefficients alone, with a single rounding."""
    coef = sparse.coo_array(coef)
    terms = {(i, k): [b] for i in range(len(X)) for k, b in enumerate(np.ravel(intercept))}
    for k, j, w in zip(*coef.coords, coef.data, strict=True):
        for i in range(len(X)):
            terms[i, k].append(float(X[i, j]) * float(w))
    shape = len(X), coef.shape[0]
    return np.array([math.fsum(terms[at]) for at in np.ndindex(shape)]).reshape(shape)


def expected(method, logits):
    """What a method gives for logits of a softmax, or of a single output."""
    if logits.shape[1] == 1:
        if method == "decision_function":
            return logits[:, 0]
        p = np.concatenate([expit(-logits), expit(logits)], axis=1)
        if method == "predict":
            return (logits[:, 0] > 0).astype(int)
        return p if method == "predict_proba" else np.log(p)
    functions = {
        "decision_function": lambda z: z,
        "predict": lambda z: z.argmax(axis=1),
        "predict_proba": lambda z: softmax(z, axis=1),
        "predict_log_proba": lambda z: log_softmax(z, axis=1),
    }
    return functions[method](logits)


@pytest.fixture
def never_expanded(monkeypatch):
    """An error of every expansion of a sparse array."""

    def refuse(self, *_, **__):
        raise AssertionError("a sparse array was expanded")

    for kind in ("csr", "csc", "coo"):
        for suffix in ("array", "matrix"):
            cls = getattr(sparse, f"{kind}_{suffix}")
            for name in ("toarray", "todense"):
                monkeypatch.setattr(cls, name, refuse)


# --- Predictions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["array", "matrix"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("n_outputs", [1, 5])
def test_any_sparse_format(n_outputs, form, kind):
    X, coef, intercept = model(n_outputs)
    coef = getattr(sparse, f"{form}_{kind}")(coef)
    clf, logits = by_hand(coef, intercept), slow_logits(X, coef, intercept)
    for method in METHODS:
        for rows in (X, sparse.csr_array(X)):
            got = getattr(clf, method)(rows)
            np.testing.assert_allclose(got, expected(method, logits), rtol=1e-11, atol=1e-11)
    assert clf.coef_ is coef


def strided(X):
    wide = np.zeros((2 * X.shape[0], 3 * X.shape[1]), X.dtype)
    wide[::2, ::3] = X
    return wide[::2, ::3]


def csr_of_long_indices(X):
    X = sparse.csr_array(X)
    arrays = X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return sparse.csr_array(arrays, shape=X.shape)


CONTAINERS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "strided": strided,
    "backwards": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "long": csr_of_long_indices,
}


DTYPES = [np.float64, np.float32, np.float16, np.uint8, np.int8, np.int32, bool]
SPARSE = {"csr", "csc", "long"}


@pytest.mark.parametrize("coef_dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize(
    ("container", "dtype"),
    [
        (container, dtype)
        for container in CONTAINERS
        for dtype in DTYPES
        if not (container in SPARSE and dtype == np.float16)  # which SciPy does not have
    ],
)
def test_any_X(container, dtype, coef_dtype):
    X, coef, intercept = model()
    if dtype is bool:
        X = X % 2
    coef, intercept = (4 * coef).astype(coef_dtype), intercept.astype(np.float32)
    rows = CONTAINERS[container](X.astype(dtype))
    got, want = by_hand(sparse.csr_array(coef), intercept), by_hand(coef, intercept)
    logits = slow_logits(X, coef, intercept)
    for method in METHODS:
        found, of_dense = getattr(got, method)(rows), getattr(want, method)(rows)
        assert found.dtype == of_dense.dtype
        exact = found.dtype != np.float32
        tolerance = 1e-11 if exact else 2e-5
        np.testing.assert_allclose(found, expected(method, logits), rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(found, of_dense, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 4, 5, 8, 9, 191, 193])
@pytest.mark.parametrize(("n_outputs", "n_features"), [(1, 1), (1, 300), (3, 7), (17, 65)])
def test_any_size(n_outputs, n_features, n_rows):
    X, coef, intercept = model(n_outputs, n_features, max(1, n_rows), density=0.3)
    X = X[:n_rows]
    clf = by_hand(sparse.csr_array(coef), intercept)
    for dtype in (np.float64, np.uint8):
        for make in (np.asarray, sparse.csr_array):
            rows = make(X.astype(dtype))
            if n_rows == 0:
                with pytest.raises(ValueError, match="0 sample"):
                    clf.predict(rows)
                continue
            tolerance = 1e-11 if dtype == np.float64 else 1e-4
            got, want = clf.decision_function(rows), slow_logits(X, coef, intercept)
            np.testing.assert_allclose(
                got, want[:, 0] if n_outputs == 1 else want, rtol=tolerance, atol=tolerance
            )


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_features_in_float64_as_with_dense_coefficients(make):
    """A feature of float32 with a large mean needs the digits of float64 coefficients."""
    X, coef, _ = model()
    X = (X + 1e6).astype(np.float32)
    intercept = -coef.sum(axis=1) * 1e6
    got = by_hand(sparse.csr_array(coef), intercept).decision_function(make(X))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, slow_logits(X, coef, intercept), atol=1e-7)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_without_any_coefficient(make):
    X, coef, intercept = model()
    clf = by_hand(sparse.csr_array(coef.shape), intercept)
    np.testing.assert_array_equal(clf.decision_function(make(X)), np.tile(intercept, (len(X), 1)))


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_explicit_zeros_repeated_and_unsorted_entries(make):
    X, coef, intercept = model()
    entries = sparse.coo_array(coef)
    k, j = (np.concatenate([3 * [2], at[::-1], at]) for at in entries.coords)
    values = np.concatenate([np.zeros(3), entries.data[::-1], entries.data])
    twice = sparse.coo_array((values, (k, j)), shape=coef.shape)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(k, minlength=len(coef)))])
    order = np.argsort(k, kind="stable")
    raw = sparse.csr_array((values[order], j[order], indptr), shape=coef.shape)
    want = slow_logits(X, 2 * coef, intercept)
    for given in (twice, raw):
        before = given.data.copy()
        got = by_hand(given, intercept).decision_function(make(X))
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-11)
        np.testing.assert_array_equal(given.data, before)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("binary", "auto"),
        ("two_logits", "sparse_categorical_crossentropy"),
        ("multiclass", "auto"),
        ("one_vs_rest", "binary_crossentropy"),
        ("multilabel", "auto"),
    ],
)
def test_every_kind_of_y(kind, loss, make):
    rng = np.random.default_rng(3)
    X = np.where(rng.random((90, 12)) < 0.4, rng.normal(size=(90, 12)), 0.0)
    y = rng.integers(0, 2 if kind in ("binary", "two_logits") else 3, size=90)
    if kind == "multilabel":
        y = (rng.random((90, 4)) < 0.4).astype(int)
        y[:, 1] = 1  # its intercept is infinite
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dense = SoftmaxClassifier(loss).fit(X, y)
    dense.coef_[np.abs(dense.coef_) < np.median(np.abs(dense.coef_))] = 0.0
    clf = copy.deepcopy(dense).sparsify()
    assert clf._kind == kind
    for method in METHODS:
        got, want = getattr(clf, method)(make(X)), getattr(dense, method)(make(X))
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)
    assert clf.score(X, y) == dense.score(X, y)
    scorer = make_loss_scorer()
    assert scorer(clf, make(X), y) == pytest.approx(scorer(dense, make(X), y), rel=1e-11)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_any_number_of_threads_gives_the_same_bits(make, monkeypatch):
    X, coef, intercept = model(11, 400, 3000)
    clf, found = by_hand(sparse.csr_array(coef), intercept), []
    for n_threads in (1, 2, 3):
        monkeypatch.setattr(
            "xentlearn._data._design_matrix.effective_n_threads", lambda n=n_threads: n
        )
        found.append(clf.decision_function(make(X)))
    for other in found[1:]:
        assert_same_bits(other, found[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("make", "dtype"),
    [
        (make, dtype)
        for make in (np.asarray, np.asfortranarray, sparse.csr_array)
        for dtype in (np.float64, np.float32, np.float16)
        if not (make is sparse.csr_array and dtype == np.float16)  # which SciPy does not have
    ],
)
@pytest.mark.parametrize("row", [0, 4, 22])
@pytest.mark.parametrize("is_used", [True, False])
def test_nan_and_inf_in_X_are_refused(is_used, row, make, dtype, bad):
    """Also in a feature that no output uses, as with dense coefficients."""
    X, coef, intercept = model()
    used = np.flatnonzero(coef.any(axis=0) == is_used)
    X[row, used[-1]] = bad
    clf = by_hand(sparse.csr_array(coef), intercept)
    for method in METHODS:
        with pytest.raises(ValueError, match="NaN" if np.isnan(bad) else "infinity"):
            getattr(clf, method)(make(X.astype(dtype)))


def test_coefficients_of_nan_as_dense_ones():
    X, coef, intercept = model()
    coef[2, 0] = np.nan
    got = by_hand(sparse.csr_array(coef), intercept).decision_function(X)
    want = by_hand(coef, intercept).decision_function(X)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"coef_": sparse.csr_array((5, 36))}, "'X' must have the 36 features of 'coef_', got 37"),
        ({"coef_": sparse.coo_array(np.ones(37))}, "'coef_' must have 2 dimensions"),
        ({"coef_": sparse.csr_array((4, 37))}, "'coef_' must have shape"),
        ({"classes_": np.arange(4)}, "'classes_' must have 5 labels"),
        ({"coef_": sparse.csr_array((5, 37), dtype=complex)}, "'coef_' must hold real numbers"),
    ],
)
def test_what_does_not_fit_is_an_error(change, words):
    X, coef, intercept = model()
    clf = by_hand(sparse.csr_array(coef), intercept)
    vars(clf).update(change)
    for method in METHODS:
        with pytest.raises(ValueError, match=words):
            getattr(clf, method)(X)


# --- Memory ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("never_expanded")
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_predictions_expand_nothing(make):
    X, coef, intercept = model()
    clf = by_hand(coef, intercept).sparsify()
    for method in METHODS:
        getattr(clf, method)(make(X))


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_memory_follows_the_entries(make):
    """43 million numbers as a dense array, 43 thousand entries."""
    rng = np.random.default_rng(0)
    n_outputs, n_features, n_entries = 964, 45_000, 43_000
    at = rng.integers(0, n_outputs, n_entries), rng.integers(0, n_features, n_entries)
    coef = sparse.coo_array((rng.normal(size=n_entries), at), shape=(n_outputs, n_features))
    X = np.zeros((8, n_features), np.float32)
    X[:, ::97] = 1.0
    clf, rows = by_hand(coef.tocsr().astype(np.float32), np.zeros(n_outputs)), make(X)
    clf.predict(rows)
    tracemalloc.start()
    got = clf.decision_function(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6  # dense: 173 MB
    np.testing.assert_allclose(got, (coef @ X.T).T, atol=1e-4)


# --- sparsify and densify -------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_there_and_back(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    clf = SoftmaxClassifier().fit(X, y)
    clf.coef_[np.abs(clf.coef_) < 0.5] = 0.0
    before = clf.coef_.copy()
    assert clf.sparsify() is clf
    assert clf.coef_.format == "csr"
    assert clf.coef_.nnz == np.count_nonzero(before) < before.size
    assert isinstance(clf.intercept_, np.ndarray)
    clf.sparsify()
    assert clf.coef_.format == "csr"
    assert clf.densify() is clf
    assert_same_bits(clf.coef_, before)
    dense = clf.coef_
    assert clf.densify().coef_ is dense


def test_the_kind_of_sparse_array_is_that_of_scikit_learn():
    X, y = load_iris(return_X_y=True)
    ours, theirs = SoftmaxClassifier().fit(X, y), LogisticRegression(max_iter=1000).fit(X, y)
    assert type(ours.sparsify().coef_) is type(theirs.sparsify().coef_)
    if "sparse_interface" in sklearn.get_config():  # since 1.9
        with sklearn.config_context(sparse_interface="sparray"):
            ours.densify()
            assert type(ours.sparsify().coef_) is sparse.csr_array


def test_in_place_of_coefficients_of_any_format():
    _, coef, intercept = model()
    for form in FORMATS:
        clf = by_hand(getattr(sparse, f"{form}_array")(coef), intercept)
        assert_same_bits(clf.densify().coef_, coef)
        clf = by_hand(getattr(sparse, f"{form}_array")(coef), intercept).sparsify()
        assert clf.coef_.format == "csr"
    lists = by_hand(coef.tolist(), intercept).sparsify()
    assert_same_bits(lists.densify().coef_, coef)


def test_arrays_that_do_not_fit_together_are_refused():
    _, coef, intercept = model()
    unsound = sparse.csr_array(coef)
    unsound.indices[0] = 1000
    for name in ("sparsify", "densify"):
        with pytest.raises(ValueError, match="'coef_' must be a sparse matrix whose indices"):
            getattr(by_hand(unsound, intercept), name)()


def test_not_fitted():
    for name in ("sparsify", "densify"):
        with pytest.raises(NotFittedError):
            getattr(SoftmaxClassifier(), name)()


# --- What else uses coef_ -------------------------------------------------------------------------


def sparsified_iris(**parameters):
    """(X, y, a model with dense coefficients, the same with sparse ones)."""
    X, y = load_iris(return_X_y=True)
    dense = SoftmaxClassifier(random_state=0, **parameters).fit(X, y)
    dense.coef_[np.abs(dense.coef_) < 0.5] = 0.0
    return X, y, dense, copy.deepcopy(dense).sparsify()


def test_fits_start_from_sparse_coefficients():
    X, y, dense, clf = sparsified_iris(warm_start=True)
    for each in (dense, clf):
        each.set_params(max_iter=1)
        with pytest.warns(ConvergenceWarning):
            each.fit(X, y)
    assert_same_bits(clf.coef_, dense.coef_)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_partial_fit_goes_on(make):
    X, y, dense, clf = sparsified_iris()
    for each in (dense, clf):
        each.partial_fit(make(X), y)
    assert_same_bits(clf.coef_, dense.coef_)
    clf.sparsify()
    for each in (dense, clf):
        each.partial_fit(make(X), y)
    assert_same_bits(clf.coef_, dense.coef_)


def test_partial_fit_from_coefficients_set_by_hand():
    X, coef, intercept = model()
    y = np.arange(len(X)) % 5
    found = [
        by_hand(make(coef), intercept, random_state=0).partial_fit(X, y).coef_
        for make in (np.asarray, sparse.csc_array)
    ]
    assert_same_bits(*found)


def test_copies_pickles_and_clones():
    X, y, dense, clf = sparsified_iris()
    want = clf.predict_proba(X)
    for each in (copy.copy(clf), copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        assert sparse.issparse(each.coef_)
        assert_same_bits(each.predict_proba(X), want)
    assert not hasattr(clone(clf), "coef_")
    assert isinstance(clf.fit(X, y).coef_, np.ndarray)
    big = by_hand(random_coef(50, 2000, 0.01, np.random.default_rng(0)), np.zeros(50))
    size = len(pickle.dumps(big))
    assert len(pickle.dumps(big.sparsify())) < size / 20
    assert len(cross_val_score(dense, X, y, scoring=make_loss_scorer(), cv=3)) == 3


def test_blocks_on_disk(tmp_path):
    X, coef, intercept = model(n_rows=1000)
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    blocks = NpyBlocks(tmp_path / "X.npy", block_bytes=300 * 37 * 4)
    clf = by_hand(sparse.csr_array(coef), intercept)
    for method in METHODS:
        want = getattr(clf, method)(X.astype(np.float32))
        np.testing.assert_allclose(getattr(clf, method)(blocks), want, rtol=1e-12)


def test_equal_starts_have_one_checkpoint(tmp_path):
    X, y, _, clf = sparsified_iris(warm_start=True)
    for looked_at in (False, True):
        each = copy.deepcopy(clf)
        if looked_at:  # SciPy remembers in an array what it has found out about its entries
            assert each.coef_.has_canonical_format
        each.set_params(max_iter=1).set_callbacks(Checkpoint(tmp_path, seconds=0))
        with pytest.warns(ConvergenceWarning):
            each.fit(X, y)
    assert len(list(tmp_path.iterdir())) == 1
