"""partial_fit on sparse X: lazy steps against the same steps written densely; what they cost."""

import pickle
import tracemalloc

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import Batches
from xentlearn._estimator.partial_fit import Stream
from xentlearn.solvers import SGD, Adam

N, N_FEATURES, N_CLASSES = 90, 12, 3
PIECES = [slice(0, 40), slice(40, 41), slice(41, N)]
BATCH = 8


def rare_features(rng, dtype=np.float64):
    """(X, y), dense; features are from 1 to 3 in size, and absent from more rows the later."""
    X = rng.choice([-1.0, 1.0, 1.0], size=(N, N_FEATURES)) * rng.uniform(1, 3, (N, N_FEATURES))
    X[rng.random(X.shape) > 0.7 ** np.arange(N_FEATURES)] = 0.0
    return X.astype(dtype), rng.integers(N_CLASSES, size=N)


def stream(X, y, pieces=PIECES, clf=None, **parameters):
    if clf is None:
        clf = SoftmaxClassifier(**parameters)
    for rows in pieces:
        clf.partial_fit(sparse.csr_array(X[rows]), y[rows], classes=range(N_CLASSES))
    return clf


def interrupt_in_fourth_step(clf, X, y, monkeypatch):
    """Call partial_fit, which a KeyboardInterrupt ends before its fourth step."""
    step, n_steps = Batches.loss_gradient, 0

    def interrupted(self, i, *arguments):
        nonlocal n_steps
        n_steps += 1
        if n_steps == 4:
            raise KeyboardInterrupt
        return step(self, i, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "loss_gradient", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clf.partial_fit(X, y)


def dense_steps(X, y, rule, C=1.0, rate=0.01, fit_intercept=True, average=True):
    """The steps on present features; all arrays are dense, and nothing waits but the penalty."""
    W, b = np.zeros((N_FEATURES, N_CLASSES)), np.zeros(N_CLASSES)
    first, second = np.zeros_like(W), np.zeros_like(W)
    first_b, second_b = np.zeros_like(b), np.zeros_like(b)
    mean_W, mean_b, t = W, b, 0
    waited, n_present = np.zeros((N_FEATURES, 1)), np.zeros((N_FEATURES, 1))
    for rows in PIECES:
        seen = X[: rows.stop]
        l2_reg = 1 / (C * rows.stop)
        mean = seen.mean(axis=0) if fit_intercept else np.zeros(N_FEATURES)
        scale = np.sqrt(((seen - mean) ** 2).mean(axis=0) + 4 * l2_reg)[:, np.newaxis]
        scale[(seen == 0).all(axis=0)] = np.inf
        for begin in range(rows.start, rows.stop, BATCH):
            at = slice(begin, min(begin + BATCH, rows.stop))
            present = (X[at] != 0).any(axis=0)[:, np.newaxis]
            z = X[at] @ W + b
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            r = (p - np.eye(N_CLASSES)[y[at]]) / len(p)
            t += 1
            due = waited
            if rule == "sgd":
                due = waited / (1 + waited * rate / (1 - 0.9) / scale**2)
            gradient = ((X[at] - mean).T @ r + (l2_reg + due) * W) / scale
            gradient_b = r.sum(axis=0) * fit_intercept
            waited = np.where(present, 0.0, waited + l2_reg)
            if rule == "adam":
                first = np.where(present, 0.9 * first + 0.1 * gradient, first)
                second = np.where(present, 0.999 * second + 0.001 * gradient**2, second)
                first_b = 0.9 * first_b + 0.1 * gradient_b
                second_b = 0.999 * second_b + 0.001 * gradient_b**2
                n_present = n_present + present
                n = np.maximum(n_present, 1)
                change, change_b = (
                    -rate * one / (1 - 0.9**k) / (np.sqrt(two / (1 - 0.999**k)) + 1e-8)
                    for one, two, k in ((first, second, n), (first_b, second_b, t))
                )
            else:
                first = np.where(present, 0.9 * first - rate * gradient, first)
                first_b = 0.9 * first_b - rate * gradient_b
                change, change_b = 0.9 * first - rate * gradient, 0.9 * first_b - rate * gradient_b
            dW = np.where(present, change / scale, 0.0)
            W, b = W + dW, b + change_b - mean @ dW
            share = 2 / (t + 1) if average else 1.0
            mean_W, mean_b = mean_W + share * (W - mean_W), mean_b + share * (b - mean_b)
    return mean_W.T, mean_b


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"C": 0.01},
        {"C": 1e-4, "rate": 0.2},  # without a limit for what has waited, sgd would diverge
        {"fit_intercept": False},
        {"average": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_steps(rule, parameters, dtype, rng, monkeypatch):
    monkeypatch.setattr(
        "xentlearn._solvers.batch_descent.BatchDescent._is_outdated", lambda self, excess: False
    )
    X, y = rare_features(rng, dtype)
    parameters = {"average": True, "rate": 0.01, "C": 1.0, "fit_intercept": True, **parameters}
    coef, intercept = dense_steps(X.astype(np.float64), y, rule, **parameters)
    setting = (Adam if rule == "adam" else SGD)(
        batch_size=BATCH,
        shuffle=False,
        average=parameters["average"],
        learning_rate=parameters["rate"],
    )
    clf = stream(X, y, solver=setting, C=parameters["C"], fit_intercept=parameters["fit_intercept"])
    rtol = 1e-7 if dtype == np.float64 else 1e-3
    np.testing.assert_allclose(clf.coef_, coef, rtol=rtol, atol=rtol * np.abs(coef).max())
    intercept -= intercept.mean()  # softmax intercepts sum to 0
    atol = rtol * max(np.abs(intercept).max(), np.abs(coef).max())
    np.testing.assert_allclose(clf.intercept_, intercept, rtol=rtol, atol=atol)


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_absent_features_stay(rule, rng):
    X, y = rare_features(rng)
    X[:, 3] = 0.0
    clf = stream(X, y, solver=rule)
    assert (clf.coef_[:, 3] == 0).all()
    later = X.copy()
    later[:, 3] = rng.normal(size=N)
    stream(later, y, clf=clf)
    assert (clf.coef_[:, 3] != 0).all()
    descent = clf._stream._descent
    kept = [array[0].copy() for array in (descent.point, descent.first, descent.second)]
    stream(X, y, clf=clf)
    descent = clf._stream._descent
    row, other = (list(descent.known).index(feature) for feature in (3, 0))
    for before, now in zip(kept, (descent.point, descent.first, descent.second), strict=True):
        np.testing.assert_array_equal(now[0][row], before[row])
        assert (now[0][other] != before[other]).any()


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_pickled_between_batches(rule, rng, tmp_path):
    X, y = rare_features(rng)
    setting = (Adam if rule == "adam" else SGD)(batch_size=BATCH)
    whole = stream(X, y, solver=setting, random_state=0)
    half = stream(X, y, PIECES[:1], solver=setting, random_state=0)
    joblib.dump(half, tmp_path / "half")
    for resumed in (
        pickle.loads(pickle.dumps(half)),
        joblib.load(tmp_path / "half", mmap_mode="r"),
    ):
        stream(X, y, PIECES[1:], clf=resumed)
        np.testing.assert_array_equal(resumed.coef_, whole.coef_)
        np.testing.assert_array_equal(resumed.intercept_, whole.intercept_)


def test_the_same_bits_for_any_number_of_threads(rng):
    X = sparse.random(600, 5000, density=0.01, format="csr", random_state=0, dtype=np.float32)
    y = rng.integers(4, size=600)
    found = []
    for n_threads in (1, 2, 5):
        with threadpool_limits(limits=n_threads):
            clf = SoftmaxClassifier(random_state=0)
            for _ in range(3):
                clf.partial_fit(X, y, classes=range(4))
        found.append((clf.coef_, clf.intercept_, clf.history_["objective"]))
    for other in found[1:]:
        for got, want in zip(other, found[0], strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("first", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_an_interrupt_takes_nothing_away(rule, first, rng, monkeypatch):
    X, y = rare_features(rng)
    setting = (Adam if rule == "adam" else SGD)(batch_size=BATCH, shuffle=False)
    clf = SoftmaxClassifier(solver=setting)
    clf.partial_fit(first(X), y, classes=range(N_CLASSES))
    before, known = clf.coef_.copy(), pickle.loads(pickle.dumps(clf._stream._descent))
    interrupt_in_fourth_step(clf, first(X), y, monkeypatch)
    np.testing.assert_array_equal(clf.coef_, before)
    for got, want in zip(clf._stream._descent.dump().items(), known.dump().items(), strict=True):
        np.testing.assert_equal(got, want)
    for other in (sparse.csr_array, np.asarray):
        clf.partial_fit(other(X), y)
        assert (clf.coef_ != before).any()
        assert np.isfinite(clf.coef_).all()


def test_an_interrupted_first_call_leaves_no_trace(rng, monkeypatch):
    X, y = rare_features(rng)
    clf = SoftmaxClassifier()
    before = dict(vars(clf))

    def interrupted(self, i, *arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "loss_gradient", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clf.partial_fit(X, y, classes=range(N_CLASSES))
    assert vars(clf) == before
    clf.partial_fit(X[:, :3], y, classes=range(N_CLASSES))


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_an_interrupt_takes_new_features_back(rule, rng, monkeypatch):
    """Of features of which some were met before, and some had no entry."""
    X, y = rare_features(rng)
    known = X.copy()
    known[:, 4:] = 0.0
    setting = (Adam if rule == "adam" else SGD)(batch_size=BATCH, shuffle=False)
    clf, other = (stream(known, y, solver=setting) for _ in range(2))
    before = clf._stream._descent.dump()
    before = pickle.loads(pickle.dumps(before))
    interrupt_in_fourth_step(clf, sparse.csr_array(X), y, monkeypatch)
    for got, want in zip(clf._stream._descent.dump().items(), before.items(), strict=True):
        np.testing.assert_equal(got, want)
    clf._stream._moments = other._stream._moments  # rows were seen, if not learnt from
    clf._stream._class_weight_sums = other._stream._class_weight_sums
    for one in (clf, other):
        one.partial_fit(sparse.csr_array(X), y)
    np.testing.assert_array_equal(clf.coef_, other.coef_)


def test_an_interrupt_at_the_end_leaves_an_estimator_that_predicts(rng, monkeypatch):
    X, y = rare_features(rng)
    clf, other = (stream(X, y, random_state=0) for _ in range(2))
    found, n_calls = Stream.found, 0

    def interrupted(self, *arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 1:
            raise KeyboardInterrupt
        return found(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Stream, "found", interrupted)
        with pytest.raises(KeyboardInterrupt):
            clf.partial_fit(sparse.csr_array(X), y)
    other.partial_fit(sparse.csr_array(X), y)
    np.testing.assert_array_equal(clf.predict_proba(X), other.predict_proba(X))
    for one in (clf, other):
        one.partial_fit(sparse.csr_array(X), y)
    np.testing.assert_array_equal(clf.coef_, other.coef_)


def test_features_that_come_later(rng):
    """The order in which features are met makes no difference."""
    X, y = rare_features(rng)
    X[:41, :8] = 0.0
    for order in (np.arange(N_FEATURES), rng.permutation(N_FEATURES)):
        clf = stream(X[:, order], y, random_state=0)
        coef = np.empty_like(clf.coef_)
        coef[:, order] = clf.coef_
        if order[0] == 0 and (np.diff(order) == 1).all():
            want = coef
    np.testing.assert_allclose(coef, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("later", [np.asarray, sparse.csr_array])
def test_another_rule_goes_on_with_all_features(later, rng):
    X, y = rare_features(rng)
    clf = stream(X, y, PIECES[:2], solver=Adam(batch_size=BATCH, shuffle=False))
    before = clf._stream._moments
    assert len(before.mean) < N_FEATURES
    clf.set_params(solver=SGD(batch_size=BATCH, learning_rate=1e-12)).partial_fit(
        later(X[PIECES[2]]), y[PIECES[2]]
    )
    mean, square = clf._stream._moments.mean, clf._stream._moments.mean_squares()
    np.testing.assert_allclose(mean, X.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(square, (X**2).mean(axis=0), rtol=1e-12)
    want = stream(X, y, PIECES[:2], solver=Adam(batch_size=BATCH, shuffle=False)).coef_
    np.testing.assert_allclose(clf.coef_, want, rtol=1e-6, atol=1e-9)


def test_a_dtype_that_does_not_go_back(rng):
    """A feature that needs float64 is absent from later rows."""
    X = rng.normal(size=(N, 4)).astype(np.float32)
    y = rng.integers(N_CLASSES, size=N)
    clf = stream(X, y)
    assert clf.coef_.dtype == np.float32
    X[:, 0] = 1e5 + X[:, 0]
    clf = stream(X, y)
    assert clf.coef_.dtype == clf.intercept_.dtype == np.float64
    X[:, 0] = 0.0
    stream(X, y, clf=clf)
    assert clf.coef_.dtype == clf.intercept_.dtype == np.float64


def test_a_rate_that_is_too_large_keeps_what_was_there(rng):
    X, y = rare_features(rng)
    clf = stream(X, y, solver=SGD(batch_size=BATCH, average=False))
    before, known = clf.coef_.copy(), pickle.loads(pickle.dumps(clf._stream._descent))
    clf.set_params(solver__learning_rate=1e300)
    with pytest.warns(ConvergenceWarning, match="'learning_rate' is too large"):
        stream(X, y, clf=clf)
    np.testing.assert_array_equal(clf.coef_, before)
    for got, want in zip(clf._stream._descent.dump().items(), known.dump().items(), strict=True):
        np.testing.assert_equal(got, want)
    clf.set_params(solver__learning_rate=0.01)
    assert np.isfinite(stream(X, y, clf=clf).coef_).all()


def test_rows_and_batches_without_entries(rng):
    X, y = rare_features(rng)
    X[:20] = 0.0
    clf = stream(X, y, solver=Adam(batch_size=BATCH, shuffle=False))
    assert np.isfinite(clf.coef_).all()
    empty = SoftmaxClassifier().partial_fit(sparse.csr_array((5, 4)), y[:5], classes=range(3))
    np.testing.assert_array_equal(empty.coef_, 0)


def test_one_dense_copy_of_the_coefficients(rng):
    """That of the result; the rest is as large as the entries, or a few numbers per feature."""
    n_features, n_classes = 50_000, 40
    clf = SoftmaxClassifier(random_state=0)
    y = rng.integers(n_classes, size=100)
    for is_warm in (False, True):
        X = sparse.random(100, n_features, density=1e-4, format="csr", random_state=0)
        tracemalloc.start()
        clf.partial_fit(X, y, classes=range(n_classes))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        if is_warm:
            assert clf.coef_.dtype == np.float64
            assert peak < 1.5 * clf.coef_.nbytes
