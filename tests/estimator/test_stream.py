"""partial_fit: the same steps whatever way the data are cut, and what it remembers and refuses."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

import cells
from rows import N_CLASSES, N_FEATURES, N, three_classes
from xentlearn import SoftmaxClassifier, losses
from xentlearn.blocks import RowBlocks
from xentlearn.solvers import SGD, Adam

SETTINGS = {"adam": Adam, "sgd": SGD}


def stream(X, y, pieces, weight=None, clf=None, **parameters):
    if clf is None:
        clf = SoftmaxClassifier(**{"solver": Adam(shuffle=False), **parameters})
    for rows in pieces:
        clf.partial_fit(
            X[rows],
            y[rows],
            classes=np.unique(y) if np.ndim(y) == 1 else None,
            sample_weight=None if weight is None else weight[rows],
        )
    return clf


PIECES = [slice(0, 50), slice(50, 51), slice(51, N)]


@pytest.mark.parametrize("rule", ["adam", "sgd"])
def test_steps(rule, rng):
    """The reference, with the moments and the penalty of what has been seen."""
    X, y = three_classes(rng)
    weight = rng.choice([0.0, 1.0, 2.5], size=N)
    weight[50] = 0.0  # a batch without any
    V = np.zeros((N_FEATURES, N_CLASSES)), np.zeros(N_CLASSES)
    W, b = V
    first = second = np.zeros((N_FEATURES + 1, N_CLASSES))
    average, t = (W, b), 0
    for rows in PIECES:
        seen = slice(0, rows.stop)
        l2_reg = 1 / (0.5 * weight[seen].sum())
        mean = np.average(X[seen], axis=0, weights=weight[seen])
        variance = np.average((X[seen] - mean) ** 2, axis=0, weights=weight[seen])
        scale = np.sqrt(variance + 4 * l2_reg)[:, np.newaxis]
        for begin in range(rows.start, rows.stop, 16):
            at = slice(begin, min(begin + 16, rows.stop))
            total = weight[at].sum()
            if total == 0:
                continue
            z = X[at] @ W + b
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            r = weight[at, np.newaxis] * (p - np.eye(N_CLASSES)[y[at]]) / total
            gradient = np.vstack([((X[at] - mean).T @ r + l2_reg * W) / scale, r.sum(axis=0)])
            t += 1
            if rule == "adam":
                first = 0.9 * first + 0.1 * gradient
                second = 0.999 * second + 0.001 * gradient**2
                root = np.sqrt(second / (1 - 0.999**t))
                change = -0.01 * first / (1 - 0.9**t) / (root + 1e-8)
            else:
                first = 0.9 * first - 0.01 * gradient
                change = 0.9 * first - 0.01 * gradient
            dW = change[:-1] / scale
            W, b = W + dW, b + change[-1] - mean @ dW
            share = max(2 / (t + 1), 0.02)
            average = tuple(a + share * (x - a) for a, x in zip(average, (W, b), strict=True))
    setting = SETTINGS[rule](batch_size=16, shuffle=False)
    clf = stream(X, y, PIECES, weight, solver=setting, C=0.5)
    np.testing.assert_allclose(clf.coef_.T * scale, average[0] * scale, rtol=1e-6, atol=1e-9)
    # softmax intercepts sum to 0
    np.testing.assert_allclose(clf.intercept_, average[1] - average[1].mean(), rtol=1e-6)
    assert clf.n_iter_[0] == len(clf.history_["objective"]) == 3
    assert np.isnan(clf.history_["objective"][1])
    assert clf.optimality_gap_ == np.inf
    assert clf.solver_ == rule


@pytest.mark.parametrize("target", cells.TARGETS)
@pytest.mark.parametrize("loss", cells.LOSSES)
def test_every_loss_and_target(loss, target, rng):
    """Many batches come near to what a fit finds."""
    if not cells.taken(loss, target):
        pytest.skip("refused by fit as well")
    X = rng.normal(size=(cells.N, cells.N_FEATURES))
    arguments = cells.TARGETS[target].make(rng, X)
    setting = clone(cells.LOSSES[loss])
    want = SoftmaxClassifier(setting).fit(X, **arguments)
    # 60 epochs weigh as much as 60 times the rows
    clf = SoftmaxClassifier(
        setting, solver=Adam(batch_size=16, learning_rate=0.05), C=1 / 60, random_state=0
    )
    y, weight = arguments["y"], arguments.get("sample_weight")
    for _ in range(60):
        for rows in (slice(0, 30), slice(30, 60)):
            clf.partial_fit(
                X[rows],
                y[rows],
                classes=np.unique(y) if np.ndim(y) == 1 else None,
                sample_weight=None if weight is None else weight[rows],
            )
    assert clf.loss_ == want.loss_
    assert clf.coef_.shape == want.coef_.shape
    if cells.TARGETS[target].parameters:
        return  # "balanced" needs all of y
    got, best = clf.predict_proba(X), want.predict_proba(X)
    assert np.abs(got - best).mean() < 0.05


def test_pickled_between_batches(rng):
    X, y = three_classes(rng)
    whole = stream(X, y, PIECES)
    half = stream(X, y, PIECES[:1])
    resumed = stream(X, y, PIECES[1:], clf=pickle.loads(pickle.dumps(half)))
    np.testing.assert_array_equal(resumed.coef_, whole.coef_)
    np.testing.assert_array_equal(resumed.intercept_, whole.intercept_)


def test_dense_after_sparse(rng):
    X, y = three_classes(rng)
    one = stream(sparse.csr_array(X), y, PIECES[:1])
    two = stream(X, y, PIECES[:1])
    for clf in (one, two):
        clf.partial_fit(X[60:], y[60:])
        clf.partial_fit(sparse.csr_matrix(X[60:]), y[60:])
    np.testing.assert_allclose(one.coef_, two.coef_, rtol=1e-7)


def test_goes_on_after_fit(rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier().fit(X, y)
    before = clf.coef_.copy()
    clf.partial_fit(X[:1], y[:1])
    assert 0 < np.abs((clf.coef_ - before) * X.std(axis=0)).max() < 0.1
    assert clf.n_iter_[0] == 1
    # and fit forgets what came in between
    np.testing.assert_allclose(clf.fit(X, y).coef_, before)
    clf.partial_fit(X, y)
    assert clf.n_iter_[0] == 1


def test_a_class_that_comes_late(rng):
    X, y = three_classes(rng)
    early = y < 2
    setting = losses.SparseCategoricalCrossentropy(logit_adjustment=1.0)
    clf = SoftmaxClassifier(setting, random_state=0)
    clf.partial_fit(X[early], y[early], classes=[0, 1, 2])
    assert np.isfinite(clf.predict_proba(X)).all()
    for _ in range(200):
        clf.partial_fit(X, y)
    assert clf.score(X, y) > 0.6
    assert (clf.predict(X) == 2).any()


def test_strings_and_class_weight(rng):
    X, y = three_classes(rng)
    names = np.array(["a", "b", "c"])[y]
    weights = {"a": 3.0, "c": 0.5}
    one = SoftmaxClassifier(solver=Adam(shuffle=False), class_weight=weights)
    one.partial_fit(X, names, classes=["c", "b", "a"])
    two = SoftmaxClassifier(solver=Adam(shuffle=False))
    two.partial_fit(X, y, classes=range(3), sample_weight=np.array([3.0, 1.0, 0.5])[y])
    np.testing.assert_array_equal(one.coef_, two.coef_)
    assert one.classes_.tolist() == ["a", "b", "c"]


def test_what_is_refused(rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier()
    with pytest.raises(ValueError, match="'classes' must be passed on the first call"):
        clf.partial_fit(X, y)
    assert not hasattr(clf, "coef_")
    with pytest.raises(ValueError, match=r"only the classes \[0, 1\].*got 2"):
        clone(clf).partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="'class_weight' must be a dict.*'balanced'"):
        SoftmaxClassifier(class_weight="balanced").partial_fit(X, y, classes=range(3))
    with pytest.raises(ValueError, match="'classes' must be the 3 columns"):
        clone(clf).partial_fit(X, np.eye(3)[y], classes=[0, 1])
    clf.partial_fit(X, y, classes=range(3))
    before = clf.coef_.copy()
    for bad, message in (
        ({"X": X, "y": y, "classes": [0, 1, 2, 3]}, "'classes' must be those of earlier calls"),
        ({"X": X[:, :2], "y": y}, "features"),
        ({"X": X, "y": np.eye(3)[y]}, "like earlier rows"),
        ({"X": X, "y": y + 1}, "got 3"),
        ({"X": RowBlocks((N, 5), np.float64, [N]), "y": y}, "block after block"),
        ({"X": np.full_like(X, np.nan), "y": y}, "NaN"),
        ({"X": X, "y": y[1:]}, "inconsistent"),
    ):
        with pytest.raises(ValueError, match=message):
            clf.partial_fit(**bad)
    np.testing.assert_array_equal(clf.coef_, before)  # nothing is lost


@pytest.mark.parametrize(
    "bad",
    [
        {"y": "other"},
        {"sample_weight": np.ones(3)},
        {"sample_weight": -np.ones(N)},
        {"classes": [0, 1]},
        {"classes": None},
        {"classes": [[0, 1, 2]]},
    ],
    ids=str,
)
def test_a_first_call_that_is_refused_leaves_no_trace(bad, rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier()
    arguments = {"X": X[:, :3], "y": y, "classes": range(3)} | bad
    arguments["y"] = np.full(N, 7) if "y" in bad else y
    before = dict(vars(clf))
    with pytest.raises(ValueError, match="."):
        clf.partial_fit(**arguments)
    assert vars(clf) == before
    clf.partial_fit(X, y + 5, classes={5, 6, 7})
    assert clf.n_features_in_ == N_FEATURES


def test_ignored_class_among_the_classes(rng):
    X, y = three_classes(rng)
    setting = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    with_ignored = np.where(np.arange(N) % 5 == 0, -1, y)
    clf = SoftmaxClassifier(setting, random_state=0)
    for _ in range(2):
        clf.partial_fit(X, with_ignored, classes=np.unique(with_ignored))
    assert clf.classes_.tolist() == [0, 1, 2]


def test_a_rate_that_is_too_large_keeps_what_was_there(rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier(solver=SGD(), random_state=0).partial_fit(X, y, classes=range(3))
    other = pickle.loads(pickle.dumps(clf))
    clf.set_params(solver__learning_rate=1e300, solver__average=False)
    for _ in range(2):
        with pytest.warns(ConvergenceWarning, match="'learning_rate' is too large"):
            clf.partial_fit(X, y)
    clf.set_params(solver__learning_rate=0.01, solver__average=True)
    assert clf.score(X, y) == other.score(X, y)
    np.testing.assert_allclose(clf.partial_fit(X, y).coef_, other.coef_, atol=0.5)


def test_parameters_may_change(rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier(losses.SparseCategoricalCrossentropy(), solver=Adam(shuffle=False))
    clf.partial_fit(X, y, classes=range(3))
    before = clf.coef_ * X.std(axis=0)
    clf.set_params(solver__learning_rate=1e-9).partial_fit(X, y)
    np.testing.assert_allclose(clf.coef_ * X.std(axis=0), before, atol=1e-3)
    setting = SGD(learning_rate=0.1, shuffle=False)
    clf.set_params(solver=setting, loss__label_smoothing=0.2)
    clf.partial_fit(X, y)
    assert np.abs(clf.coef_ * X.std(axis=0) - before).max() > 1e-2
    assert (clf.solver_, clf.loss_.label_smoothing) == ("sgd", 0.2)
    clf.set_params(fit_intercept=False).partial_fit(X, y)
    np.testing.assert_array_equal(clf.intercept_, 0)
    with pytest.raises(ValueError, match="'loss' must stay a SparseCategoricalCrossentropy"):
        clf.set_params(loss="categorical_crossentropy").partial_fit(X, y)


def test_softmax_intercepts_sum_to_zero(rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier()
    for _ in range(20):
        clf.partial_fit(X, y, classes=range(3))
    assert abs(clf.intercept_.sum()) < 1e-12


def test_column_y(rng):
    X, y = three_classes(rng)
    with pytest.warns(DataConversionWarning):
        SoftmaxClassifier().partial_fit(X, y[:, np.newaxis], classes=range(3))


def test_history_and_pickle_stop_growing(rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier(random_state=0)
    sizes = []
    for i in range(300):
        clf.partial_fit(X[i % N : i % N + 1], y[i % N : i % N + 1], classes=range(3))
        assert {name: len(column) for name, column in clf.history_.items()} == dict.fromkeys(
            ("objective", "gap", "seconds", "learning_rate"), min(i + 1, 100)
        )
        assert clf.n_iter_[0] == i + 1
        assert clf.objective_ == clf.history_["objective"][-1]
        sizes.append(len(pickle.dumps(clf)))
    assert (np.diff(clf.history_["seconds"]) > 0).all()
    assert abs(sizes[-1] - sizes[120]) < 16


@pytest.mark.parametrize("rows", [1, 20])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_a_change_is_followed(container, rows, rng):
    """The average of the old meaning of the labels does not outlive it by hundreds of steps."""
    centres = 2 * rng.normal(size=(3, 6))

    def arrive(turn):
        y = rng.integers(3, size=rows)
        return container(centres[y] + rng.normal(size=(rows, 6))), (y + turn) % 3

    clf = SoftmaxClassifier(random_state=0)
    for _ in range(1000):
        clf.partial_fit(*arrive(0), classes=range(3))
    for turn in (1, 2):
        scores = []
        for i in range(300):
            X, y = arrive(turn)
            if i >= 200:
                scores.append(clf.score(X, y))
            clf.partial_fit(X, y)
        assert np.mean(scores) > 0.8


def test_labels_that_are_wrong_once_are_not_a_change(rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier(random_state=0, solver=Adam(batch_size=N))
    for _ in range(200):
        clf.partial_fit(X, y, classes=range(3))
    before = clf._stream._descent.n_averaged
    clf.partial_fit(X, (y + 1) % 3)
    clf.partial_fit(X, y)
    assert clf._stream._descent.n_averaged == before + 2
