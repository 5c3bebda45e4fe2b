"""What cannot be fitted is predicted as it is: a class alone, a constant label, one unanswered."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import metrics
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, cross_val_score
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn._data.targets import encode_y
from xentlearn._utils.numerics import CERTAIN
from xentlearn.blocks import RowBlocks
from xentlearn.losses import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    HybridLoss,
    PolyCrossentropy,
    SparseCategoricalCrossentropy,
    SymmetricCrossentropy,
    make_loss_scorer,
)

N = 60
SOFTMAX_AND_OVR = HybridLoss(
    [("softmax", SparseCategoricalCrossentropy()), ("ovr", BinaryCrossentropy())]
)
OVR_AND_SOFTMAX = HybridLoss(
    [("ovr", BinaryCrossentropy()), ("softmax", SparseCategoricalCrossentropy())]
)
LOSSES = [
    "auto",
    "categorical_crossentropy",
    "binary_crossentropy",
    SparseCategoricalCrossentropy(logit_adjustment=1.0),
    CategoricalFocalCrossentropy(),
    GeneralizedCrossentropy(),
    SymmetricCrossentropy(),
    PolyCrossentropy(),
    BinaryFocalCrossentropy(),
    AsymmetricBinaryCrossentropy(),
    SOFTMAX_AND_OVR,
    OVR_AND_SOFTMAX,
]
SOLVERS = ["auto", "lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd"]
alone = pytest.mark.filterwarnings("ignore:Class .* alone has weight")


class Pieces(RowBlocks):
    """X in blocks of 25 rows."""

    def __init__(self, X):
        self.X, self.shape, self.dtype = X, X.shape, X.dtype
        self.lengths = [len(X[begin : begin + 25]) for begin in range(0, len(X), 25)]

    def read(self, i):
        return self.X[25 * i : 25 * (i + 1)]


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, 3))


def assert_constant(clf, X, c, n_classes):
    """All that tells of a fit to rows of class ``c`` alone."""
    np.testing.assert_array_equal(
        clf.predict_proba(X), np.tile(np.eye(n_classes)[c], (X.shape[0], 1))
    )
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(clf.predict_log_proba(X), np.log(clf.predict_proba(X)))
    np.testing.assert_array_equal(clf.predict(X), clf.classes_[c])
    scores = clf.decision_function(X)
    assert np.isfinite(scores).all()
    if n_classes == 2:
        assert (scores * (1 if c else -1) > 1e12).all()
    else:
        assert (np.delete(scores, c, axis=1) < scores[:, [c]] - 1e12).all()
    assert not clf.coef_.any()
    assert clf.objective_ == 0
    assert clf.optimality_gap_ == 0
    assert clf.n_iter_.tolist() == [0]
    assert {len(values) for values in clf.history_.values()} == {1}
    assert clf.history_["objective"] == [0]
    assert ("validation_loss" in clf.history_) == clf.early_stopping


# ---- A class that alone has weight ---------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_a_class_alone(loss, n_classes, X):
    if n_classes == 2 and loss is OVR_AND_SOFTMAX:
        pytest.skip("a softmax part needs a logit per class")
    y = np.array(["a", "b", "c"])[np.arange(N) % n_classes]
    for c in (0, n_classes - 1):
        weight = 2.0 * (y == "abc"[c])
        with pytest.warns(UserWarning, match=f"Class '{'abc'[c]}' alone has weight") as record:
            clf = SoftmaxClassifier(loss).fit(X, y, weight)
        assert len(record) == 1
        assert_constant(clf, X, c, n_classes)
        np.testing.assert_array_equal(clf.classes_, np.unique(y))


@alone
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "parameters",
    [{}, {"early_stopping": True}, {"fit_intercept": False}, {"C": np.inf}],
    ids=str,
)
@pytest.mark.parametrize("loss", ["auto", SOFTMAX_AND_OVR], ids=str)
def test_with_any_solver(solver, parameters, loss, X):
    y = np.arange(N) % 3
    clf = SoftmaxClassifier(loss, solver=solver, random_state=0, **parameters)
    clf.fit(X, y, y == 1)
    assert clf.solver_ == ("lbfgs" if solver == "auto" else solver)
    assert_constant(clf, X, 1, 3)


@alone
@pytest.mark.parametrize(
    "penalty",
    [{"l1_ratio": 1.0}, {"l1_ratio": 0.5, "grouped": True}, {"coef_bounds": (0, 1)}],
    ids=str,
)
def test_with_penalties_of_single_features(penalty, X):
    y = np.arange(N) % 3
    clf = SoftmaxClassifier(**penalty).fit(X, y, y == 1)
    assert clf.solver_ == clf.plan_.solver == "proximal-newton"
    assert_constant(clf, X, 1, 3)


@alone
@pytest.mark.parametrize("data", [sparse.csr_array, Pieces, np.float32], ids=lambda f: f.__name__)
@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy"])
def test_with_any_data(data, loss, X):
    y = np.arange(N) % 3
    clf = SoftmaxClassifier(loss).fit(data(X), y, y == 2)
    assert_constant(clf, X, 2, 3)


@alone
def test_what_leaves_a_class_alone(X):
    y = np.arange(N) % 3
    soft = np.eye(3)[y]
    fits = {
        "class_weight": SoftmaxClassifier(class_weight={0: 0.0, 1: 0.0}).fit(X, y),
        "soft rows": SoftmaxClassifier("categorical_crossentropy").fit(X, soft, y == 2),
        "soft rows, class_weight": SoftmaxClassifier(
            "categorical_crossentropy", class_weight={0: 0.0, 1: 0.0}
        ).fit(X, soft),
        "one column has all": SoftmaxClassifier("categorical_crossentropy").fit(
            X, np.tile([0.0, 0.0, 1.0], (N, 1))
        ),
        "balanced": SoftmaxClassifier(class_weight="balanced").fit(X, y, y == 2),
        "pos_weight": SoftmaxClassifier(BinaryCrossentropy(pos_weight=[0.0, 0.0, 1.0])).fit(
            X, y, y == 2
        ),
    }
    for clf in fits.values():
        assert_constant(clf, X, 2, 3)
    clf = SoftmaxClassifier(BinaryCrossentropy(pos_weight=0.0)).fit(X, y == 0)
    assert_constant(clf, X, 0, 2)


@alone
def test_an_ignored_class_beside_a_class_alone(X):
    y = np.arange(N) % 3
    loss = SparseCategoricalCrossentropy(ignore_class=0)
    clf = SoftmaxClassifier(loss).fit(X, y, y != 1)
    assert clf.classes_.tolist() == [1, 2]
    assert_constant(clf, X, 1, 2)


@pytest.mark.parametrize(
    ("parameters", "y", "weight", "message"),
    [
        ({}, np.zeros(N, int), None, r"at least 2 classes.*got 1 class \(0\)\.$"),
        ({}, ["a"] * N, None, r"at least 2 classes.*got 1 class \('a'\)\.$"),
        ({}, np.arange(N) % 3, 0.0, "all weights are zero"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, np.arange(N) % 3, None, "positive weight"),
        ({"class_weight": {0: 0, 1: 0}}, np.arange(N) % 3, np.arange(N) % 3 < 2, "positive weight"),
        (
            {"loss": BinaryCrossentropy(pos_weight=0.0)},
            np.arange(N) % 2,
            np.arange(N) % 2,
            r"of \[0, 1\] none has.*'pos_weight'",
        ),
        (
            {"loss": BinaryCrossentropy(pos_weight=0.0)},
            np.arange(N) % 3,
            None,
            r"of \[0, 1, 2\] none has.*'pos_weight'",
        ),
        (
            {"loss": SparseCategoricalCrossentropy(ignore_class=0)},
            np.arange(N) % 3,
            np.arange(N) % 3 == 0,
            "positive weight",
        ),
        (
            {"loss": "categorical_crossentropy", "class_weight": {0: 0, 1: 0, 2: 0}},
            np.eye(3)[np.arange(N) % 3],
            None,
            "positive weight",
        ),
    ],
)
def test_no_class_with_weight(parameters, y, weight, message, X):
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**parameters).fit(X, y, weight)


@alone
@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy", SOFTMAX_AND_OVR], ids=str)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_fits_that_go_on_from_a_constant(loss, n_classes, X):
    y = np.arange(N) % n_classes
    clf = SoftmaxClassifier(loss, warm_start=True, tol=1e-10).fit(X, y, y == 1)
    whole = SoftmaxClassifier(loss, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(
        clf.fit(X, y).predict_proba(X), whole.predict_proba(X), rtol=1e-4, atol=1e-5
    )
    assert_constant(clf.fit(X, y, y == 1), X, 1, n_classes)
    clf = pickle.loads(pickle.dumps(clf)).partial_fit(X, y)
    assert np.abs(clf.intercept_).max() < 10  # from 0, where nothing is certain
    assert 0 < clf.predict_proba(X).min()


@alone
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smoothed_targets_are_not_constant(dtype, X):
    """The intercepts are the logs of the smoothed shares, and the objective is their entropy."""
    y = np.arange(N) % 3
    X = X.astype(dtype)
    share = np.array([0.05, 0.9, 0.05])
    entropy = -(share * np.log(share)).sum()
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-7}
    soft = SparseCategoricalCrossentropy(label_smoothing=0.15)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clf = SoftmaxClassifier(soft).fit(X, y, y == 1)
        np.testing.assert_allclose(clf.predict_proba(X), np.tile(share, (N, 1)), **tolerance)
        assert clf.objective_ == pytest.approx(entropy, rel=1e-6)
        # the softmax part alone decides about the classes that have no weight
        both = HybridLoss([("a", soft), ("b", BinaryCrossentropy(label_smoothing=0.1))])
        hybrid = SoftmaxClassifier(both).fit(X, y, y == 1)
        part = HybridLoss([("a", soft), ("b", BinaryCrossentropy())])
        half = SoftmaxClassifier(part).fit(X, y, y == 1)
        ovr = SoftmaxClassifier(BinaryCrossentropy(label_smoothing=0.1)).fit(X, y, y == 1)
    p = 1 / (1 + np.exp(-ovr.decision_function(X)))
    np.testing.assert_allclose(p, np.tile([0.05, 0.95, 0.05], (N, 1)), **tolerance)
    for clf in (hybrid, half):  # no other constant is better
        assert np.isfinite(clf.intercept_).all()
        objective = clf.loss_(np.full(N, 1), clf.decision_function(X))
        assert clf.objective_ == pytest.approx(objective, rel=1e-6)
        for k in range(3):
            for step in (-0.01, 0.01):
                moved = clf.decision_function(X) + step * np.eye(3, dtype=dtype)[k]
                assert clf.loss_(np.full(N, 1), moved) > objective - 1e-6


@alone
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n_classes", [2, 3])
def test_ensembles_by_weights(seed, n_classes):
    """Samples of few rows, of which most have one class alone."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(12, 2)), np.zeros(12, dtype=int)
    y[: n_classes - 1] = np.arange(1, n_classes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Classes .* have no weight")
        bagging = BaggingClassifier(SoftmaxClassifier(), random_state=seed).fit(X, y)
        boosting = AdaBoostClassifier(SoftmaxClassifier(C=0.01), random_state=seed).fit(X, y)
    for clf in (bagging, boosting):
        np.testing.assert_allclose(clf.predict_proba(X).sum(axis=1), 1)


# ---- Labels that nobody answered -----------------------------------------------------------------


def unanswered(rng, how):
    """(loss, Y, sample_weight) of which column 1 has no answer that counts."""
    Y = 1.0 * (rng.random((N, 3)) < 0.4)
    weight = None
    loss = BinaryCrossentropy()
    if how == "missing":
        Y[:, 1] = np.nan
    elif how == "entry weights":
        weight = rng.uniform(0.5, 1, size=Y.shape)
        weight[:, 1] = 0
    elif how == "row weights":
        weight = rng.uniform(0.1, 1, size=N) * (np.arange(N) % 2)
        Y[weight > 0, 1] = np.nan
    else:
        loss = BinaryCrossentropy(pos_weight=[1.0, 0.0, 1.0])
        Y[:, 1] = 1
    return loss, Y, weight


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("how", ["missing", "entry weights", "row weights", "pos_weight"])
@pytest.mark.parametrize("data", [np.asarray, Pieces], ids=["memory", "blocks"])
def test_a_label_that_nobody_answered(data, how, container, X, rng):
    loss, Y, weight = unanswered(rng, how)
    with pytest.warns(UserWarning, match=r"^Labels \[1\] have no answers") as record:
        clf = SoftmaxClassifier(loss, tol=1e-8).fit(data(X), container(Y), weight)
    assert len(record) == 1
    assert (clf.predict_proba(X)[:, 1] == 0.5).all()
    assert (clf.decision_function(X)[:, 1] == 0).all()
    assert not clf.coef_[1].any()
    if how != "pos_weight":
        at = None if weight is None or weight.ndim == 1 else weight[:, [0, 2]]
        others = SoftmaxClassifier(tol=1e-8).fit(X, Y[:, [0, 2]], weight if at is None else at)
        rtol = 1e-2 if how == "entry weights" else 1e-5  # S is the mean of other columns
        np.testing.assert_allclose(clf.predict_proba(X)[:, [0, 2]], others.predict_proba(X), rtol)


def test_constant_and_unanswered_labels_have_warnings_of_their_own(X, rng):
    Y = 1.0 * (rng.random((N, 4)) < 0.4)
    Y[:, 0], Y[:, 2] = 1, np.nan
    with pytest.warns(UserWarning, match="Labels") as record:
        clf = SoftmaxClassifier().fit(X, Y)
    messages = [str(warning.message) for warning in record]
    assert [message[:10] for message in messages] == ["Labels [0]", "Labels [2]"]
    assert "do not vary" in messages[0]
    assert "no answers" in messages[1]
    np.testing.assert_array_equal(clf.intercept_[[0, 2]], [np.inf, 0])


def test_all_labels_unanswered(X):
    with pytest.warns(UserWarning, match=r"\[0, 1\] have no answers"):
        clf = SoftmaxClassifier().fit(X, np.full((N, 2), np.nan))
    assert (clf.predict_proba(X) == 0.5).all()
    assert clf.objective_ == 0


def test_constant_labels_of_sparse_y_by_any_weights(rng):
    """Sums in another order differ in rounding: whether there are 0s must not depend on it."""
    Y = 1.0 * (rng.random((200, 3)) < 0.5)
    Y[:, 0], Y[:, 1] = 1, np.nan
    for weight in (rng.uniform(size=200) ** 9, rng.uniform(size=(200, 3)) ** 9):
        dense = encode_y(Y, 200, "auto", None, weight).fitted_weight_sums()
        held = encode_y(sparse.csr_array(Y), 200, "auto", None, weight).fitted_weight_sums()
        np.testing.assert_array_equal(held[:2] == 0, [[True, False], [True, True]])
        np.testing.assert_allclose(held, dense, rtol=1e-9)
    weight = np.full(200, 1e-20)
    weight[0], Y[0, 2], Y[1:, 2] = 1.0, 1, 0
    held = encode_y(sparse.csr_array(Y), 200, "auto", None, weight).fitted_weight_sums()
    assert (held[2] > 0).all()


def test_a_class_of_next_to_no_weight_is_not_without(X):
    """One minus the share of the other class would be 0."""
    y = np.arange(N) % 3
    weight = np.array([1.0, 1e-25, 1e-22])[y]
    mass = encode_y(y, N, "binary_crossentropy", None, weight).fitted_weight_sums()
    n = N / 3
    np.testing.assert_allclose(mass[:, 0], [n * 1e-22, n, n], rtol=1e-2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = SoftmaxClassifier("binary_crossentropy").fit(X, y, weight)
    assert np.isfinite(clf.intercept_).all()


# ---- Scores are finite ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_constant_labels(dtype, X, rng):
    """Below or above all others, and fit for what takes scores; probabilities are 0 and 1."""
    X = X.astype(dtype)
    Y = (rng.random((N, 4)) < 0.4).astype(int)
    Y[:, 2], Y[:, 3] = 0, 1
    with pytest.warns(UserWarning, match="do not vary"):
        clf = SoftmaxClassifier().fit(X, Y)
    np.testing.assert_array_equal(clf.intercept_[2:], [-np.inf, np.inf])
    np.testing.assert_array_equal(clf.predict_proba(X)[:, 2:], np.tile([0, 1], (N, 1)))
    np.testing.assert_array_equal(clf.predict_log_proba(X)[:, 2:], np.tile([-np.inf, 0], (N, 1)))
    scores = clf.decision_function(1e6 * X)
    assert scores.dtype == dtype
    assert (scores[:, 2] < scores[:, :2].min()).all()
    assert (scores[:, 3] > scores[:, :2].max()).all()
    with np.errstate(all="raise"):
        derived = scores**2, scores.sum(), scores[:, 3] - scores[:, 2], np.linalg.norm(scores)
        assert all(np.isfinite(values).all() for values in derived)
        assert np.isfinite(StandardScaler().fit_transform(scores)).all()
    Y[::2, 2] = 1  # all metrics are defined
    Y[::2, 3] = 0
    Y[Y.sum(axis=1) == 0, 0] = 1
    Y[Y.sum(axis=1) == 4, 0] = 0
    scores = clf.decision_function(X)
    for average in ("macro", "micro", "weighted", "samples"):
        for metric in (metrics.roc_auc_score, metrics.average_precision_score):
            got = metric(Y, scores, average=average)
            ranks = np.argsort(np.argsort(scores, axis=None, kind="stable"), kind="stable")
            ranks = ranks.reshape(scores.shape).astype(float)
            ranks[:, 2:] = [-1, scores.size]
            assert got == pytest.approx(metric(Y, ranks, average=average))
    for metric in (
        metrics.label_ranking_average_precision_score,
        metrics.coverage_error,
        metrics.label_ranking_loss,
        metrics.dcg_score,
        metrics.ndcg_score,
    ):
        assert np.isfinite(metric(Y, scores))


@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy", SOFTMAX_AND_OVR], ids=str)
def test_scores_of_a_class_without_weight(loss, X):
    y = np.arange(N) % 4
    with pytest.warns(UserWarning, match=r"Classes \[2\]"):
        clf = SoftmaxClassifier(loss).fit(X, y, y != 2)
    assert clf.intercept_[2] == -np.inf
    scores = clf.decision_function(X)
    assert np.isfinite(scores).all()
    assert (scores[:, 2] < np.delete(scores, 2, axis=1).min()).all()
    assert (clf.predict_proba(X)[:, 2] == 0).all()
    assert (clf.predict_log_proba(X)[:, 2] == -np.inf).all()
    np.testing.assert_array_equal(clf.predict(X), clf.predict_proba(X).argmax(axis=1))


@alone
@pytest.mark.parametrize("loss", ["auto", "categorical_crossentropy", SOFTMAX_AND_OVR], ids=str)
def test_scores_of_two_classes_of_which_one_is_alone(loss, X):
    y = np.arange(N) % 2
    for c in (0, 1):
        clf = SoftmaxClassifier(loss).fit(X, y, y == c)
        scores = clf.decision_function(X)
        assert scores.shape == (N,)
        assert (scores * (1 if c else -1) >= CERTAIN).all()
        assert metrics.roc_auc_score(y, scores) == 0.5


@pytest.mark.parametrize(
    "scoring", ["roc_auc", "average_precision", make_loss_scorer("binary_crossentropy")], ids=str
)
def test_cross_validation_of_a_rare_label(scoring, rng):
    """The first training fold has no positive: its scores are those of a constant, not nan."""
    X = rng.normal(size=(N, 3))
    Y = (rng.random((N, 2)) < 0.4).astype(int)
    Y[:, 1] = 0
    Y[:5, 1] = 1  # in the first fold
    Y[5::10, 0] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the second test fold has no positive
        score = cross_val_score(
            SoftmaxClassifier(), X, Y, cv=KFold(2), scoring=scoring, error_score="raise"
        )[0]
    assert np.isfinite(score) or (score == -np.inf and not isinstance(scoring, str))


@pytest.mark.filterwarnings("ignore:Classes .* have no weight", "ignore:Classes .* do not vary")
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_loss_scorer_tells_inf_from_a_large_score(loss, X):
    y = np.arange(N) % 3
    clf = SoftmaxClassifier(loss).fit(X, y, y < 2)
    score = make_loss_scorer(loss)
    seen = score(clf, X[y < 2], y[y < 2])
    assert -10 < seen < 0
    assert score(clf, X, y, (y < 2) * 1.0) == pytest.approx(seen)
    bounded = isinstance(loss, GeneralizedCrossentropy)
    assert np.isfinite(score(clf, X, y)) if bounded else score(clf, X, y) == -np.inf


@alone
@pytest.mark.parametrize("loss", ["auto", "categorical_crossentropy"])
def test_the_loss_scorer_of_two_classes_of_which_one_is_alone(loss, X):
    y = np.arange(N) % 2
    for c in (0, 1):
        clf = SoftmaxClassifier(loss).fit(X, y, y == c)
        for judged in ("binary_crossentropy", "sparse_categorical_crossentropy"):
            score = make_loss_scorer(judged)
            assert score(clf, X, y) == -np.inf
            assert score(clf, X[y == c], y[y == c]) == 0
