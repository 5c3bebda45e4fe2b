"""What messages show of labels, and which line a warning points at."""

import pickle
import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline

import xentlearn
from xentlearn import SoftmaxClassifier, losses
from xentlearn._utils.messages import listed, shown, warn
from xentlearn.solvers import SGD, Adam

N = 60


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, 3))


# ---- Labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ([], "[]"),
        (np.arange(2), "[0, 1]"),
        ([np.int64(0), np.str_("a"), np.float32(0.5), np.True_], "[0, 'a', 0.5, True]"),
        (np.array(["a", "b"]), "['a', 'b']"),
        (np.array(["a", 1, None], dtype=object), "['a', 1, None]"),
        (np.array(["2020-01-02"], dtype="M8[ns]"), "[2020-01-02T00:00:00.000000000]"),
        (np.arange(10), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
        (np.arange(1000), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (1000 in all)]"),
    ],
)
def test_lists(labels, text):
    assert listed(labels) == text


def test_long_labels_are_cut_off():
    assert shown("a" * 1000) == "'" + "a" * 59 + "..."
    assert len(listed(["a" * 1000] * 1000)) < 1000


def messages_of_many_classes(X, n_classes=1000):
    """(where, call) of every error and warning that tells classes, of which there are many."""
    rng = np.random.default_rng(0)
    names = np.array([f"the class of number {k}" for k in range(n_classes)])
    X_many, few = rng.normal(size=(n_classes, 1)), names[: len(X)]
    clf = SoftmaxClassifier("binary_crossentropy", solver="sgd")
    stream = clone(clf).partial_fit(X_many, names, classes=names)
    yield "another class", lambda: stream.partial_fit(X_many[:1], ["z"])
    yield "other classes", lambda: stream.partial_fit(X_many, names, classes=names[1:])
    yield "no columns", lambda: stream.partial_fit(X_many, np.eye(n_classes, 2))
    yield "warm start", lambda: stream.set_params(warm_start=True).fit(X, few)
    weights = dict.fromkeys(names[1:], 1.0) | {"z": 1.0}
    yield (
        "class_weight",
        lambda: SoftmaxClassifier(class_weight=weights).fit(X_many, names),
    )
    yield (
        "class_weight of others",
        lambda: SoftmaxClassifier(class_weight={name + "!": 1.0 for name in names}).fit(
            X_many, names
        ),
    )
    yield (
        "class_weight of 0",
        lambda: SoftmaxClassifier(class_weight=dict.fromkeys(names, 0.0)).fit(X_many, names),
    )
    judge = losses.make_loss_scorer("categorical_crossentropy")
    yield "scorer", lambda: judge(stream, X_many, np.append(names[1:], "z"))
    yield (
        "no weight",
        lambda: warned(
            SoftmaxClassifier(solver="sgd", max_iter=1).fit, X_many, names, np.arange(n_classes) < 3
        ),
    )
    yield (
        "no positive weight",
        lambda: SoftmaxClassifier(losses.BinaryCrossentropy(pos_weight=0.0)).fit(
            X_many[:2], names[:2], [0, 1]
        ),
    )
    Y = np.zeros((N, n_classes))
    Y[::2, :2] = 1
    yield "constant labels", lambda: warned(SoftmaxClassifier(max_iter=1).fit, X, Y)
    yield (
        "unanswered labels",
        lambda: warned(
            SoftmaxClassifier(max_iter=1).fit,
            X,
            np.where(Y > 0, 1, np.where(Y[:, :1] > 0, np.nan, 0)),
        ),
    )


def warned(function, *arguments):
    """Raise the first UserWarning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            function(*arguments)
        except UserWarning as warning:
            raise ValueError(str(warning)) from None


@pytest.mark.filterwarnings("ignore:The number of unique classes")
def test_messages_are_short(X):
    for where, call in messages_of_many_classes(X):
        with pytest.raises(ValueError, match=".") as caught:
            call()
        message = str(caught.value)
        assert len(message) < 2500, where
        assert not re.search(r"np\.|array\(|dtype", message), (where, message)


def test_labels_are_shown_plainly(X):
    y = np.arange(N) % 3
    clf = SoftmaxClassifier().partial_fit(X, y, classes=np.arange(3))
    with pytest.raises(ValueError, match=re.escape("only the classes [0, 1, 2] of earlier rows")):
        clf.partial_fit(X, y + 1)
    score = losses.make_loss_scorer("auto")
    with pytest.raises(ValueError, match=re.escape("has seen, [0, 1, 2]; got 3.")):
        score(clf, X, y + 1)
    with pytest.raises(ValueError, match=re.escape("classes of y, [0, 1, 2]; got [4, 5].")):
        SoftmaxClassifier(class_weight={4: 1, 1: 2, 5: 3}).fit(X, y)


def test_a_warm_start_tells_which_classes_differ(X):
    y = np.array(["a", "b", "c"])[np.arange(N) % 3]
    clf = SoftmaxClassifier(warm_start=True).fit(X, y)
    other = np.where(y == "c", "d", y)
    with pytest.raises(ValueError, match=r"had \['c'\], which y does not have, and y has \['d'\]"):
        clf.fit(X, other)
    with pytest.raises(ValueError, match=r"the last fit had \['c'\], which y does not have\. Set"):
        clf.fit(X, np.where(y == "c", "a", y))
    two = SoftmaxClassifier(warm_start=True).fit(X, np.where(y == "c", "a", y))
    with pytest.raises(
        ValueError, match=r"classes; y has \['c'\], which the last fit did not have\. Set"
    ):
        two.fit(X, y)
    with pytest.raises(ValueError, match=r"same features.*\(3, 3\), this one needs \(3, 2\)"):
        clf.fit(X[:, :2], y)
    with pytest.raises(ValueError, match=r"kind of loss.*\(1, 3\), this one needs \(2, 3\)"):
        SoftmaxClassifier(warm_start=True).fit(X, y == "a").set_params(
            loss="categorical_crossentropy"
        ).fit(X, y == "a")


@pytest.mark.parametrize(
    "y",
    [
        [[0], [1, 2], []],
        [["a"], ["b", "c"], ["d"]],
        [("a",), ("b", "c"), ()],
        [{"a"}, {"b", "c"}, {"a"}],
        [frozenset("a"), frozenset("bc"), frozenset("a")],
        [np.array([0]), np.array([1, 2]), np.array([])],
    ],
    ids=["integers", "lists", "tuples", "sets", "frozensets", "arrays"],
)
def test_lists_of_labels(y, X):
    pd = pytest.importorskip("pandas")
    y = y * (N // 3)
    objects = np.empty(N, dtype=object)
    objects[:] = y
    clf = SoftmaxClassifier().fit(X, np.eye(4)[np.arange(N) % 4][:, :3])
    for labels in (y, objects, pd.Series(y), objects[:, np.newaxis]):
        for call in (
            lambda labels: SoftmaxClassifier().fit(X, labels),
            lambda labels: SoftmaxClassifier().partial_fit(X, labels, classes=[0, 1]),
            lambda labels: (
                clone(clf)
                .set_params(early_stopping=True)
                .fit(X, np.arange(N) % 2, X_val=X, y_val=labels)
            ),
            lambda labels: clf.score(X, labels),
        ):
            with pytest.raises(ValueError, match="MultiLabelBinarizer"):
                call(labels)


# ---- Lines ---------------------------------------------------------------------------------------


def assert_points_here(call, category):
    """The warnings of a lambda point at one of its lines."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        call()
    places = {(w.filename, w.lineno) for w in record if issubclass(w.category, category)}
    first = call.__code__.co_firstlineno
    lines = {(call.__code__.co_filename, line) for line in range(first, first + 4)}
    assert places, first
    assert places <= lines, (first, places)


def test_warnings_of_a_fit(X):
    """Directly, or through scikit-learn and joblib."""
    y = np.arange(N) % 3
    weight = (y < 2) * 1.0
    one_hot = np.eye(3)[y]
    constant = np.stack([y == 0, np.zeros(N)], axis=1)
    clf = SoftmaxClassifier()
    short = SoftmaxClassifier(max_iter=1, solver="lbfgs", tol=0)
    adam = SoftmaxClassifier(max_iter=0, solver="adam")
    wild = SoftmaxClassifier(solver=SGD(learning_rate=1e300, average=False))
    loose = SoftmaxClassifier(C=np.inf)
    for call in (
        lambda: clf.fit(X, y, weight),
        lambda: clf.fit(X, constant),
        lambda: clf.fit(X, one_hot),
        lambda: clf.fit(X, y == 1, y == 1),
    ):
        assert_points_here(call, UserWarning)
    for call in (
        lambda: clf.fit(X, y[:, np.newaxis]),
        lambda: clf.partial_fit(X, y[:, np.newaxis]),
        lambda: clf.score(X, y[:, np.newaxis]),
    ):
        assert_points_here(call, DataConversionWarning)
    for call in (
        lambda: short.fit(X, y),
        lambda: adam.fit(X, y),
        lambda: loose.fit(X, X[:, 0] > 0),
        lambda: wild.partial_fit(X, y, classes=[0, 1, 2]),
        lambda: make_pipeline(short).fit(X, y),
        lambda: cross_val_score(short, X, y),
        lambda: GridSearchCV(short, {"C": [1.0]}).fit(X, y),
        lambda: MultiOutputClassifier(short).fit(X, one_hot),
        lambda: Parallel(1)([delayed(short.fit)(X, y)]),
    ):
        assert_points_here(call, ConvergenceWarning)


def test_warnings_of_functions(X):
    cases = [
        lambda: losses.BinaryCrossentropy()([1], [0.0], [0.0]),
        lambda: losses.SparseCategoricalCrossentropy()([0], [[0.0, 1.0]], [0.0]),
        lambda: losses.binary_crossentropy([np.nan], [0.5], reduction="mean"),
        lambda: losses.sparse_categorical_crossentropy(
            [0], [[0.5, 0.5]], ignore_class=0, reduction="weighted_mean"
        ),
        lambda: losses.make_loss_scorer("auto")(
            SoftmaxClassifier().fit(X, X[:, 0] > 0), X, X[:, 0] > 0, np.zeros(N)
        ),
    ]
    for call in cases:
        assert_points_here(call, RuntimeWarning)


def test_a_warning_with_no_line_outside():
    """As of a process that joblib has started: it comes, wherever it points."""
    source = "def outer():\n    warn('here', UserWarning)\n"
    namespace = {"warn": warn, "__name__": "sklearn.elsewhere"}
    exec(source, namespace)
    with pytest.warns(UserWarning, match="here"):
        namespace["outer"]()
    seen = []
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        thread = threading.Thread(target=lambda: seen.append(namespace["outer"]()))
        thread.start()
        thread.join()
    assert seen == [None]
    assert len(record) == 1


def test_no_module_warns_by_itself():
    """Each warning goes through the helper that finds the line."""
    for path in Path(xentlearn.__file__).parent.rglob("*.py*"):
        if path.suffix in (".py", ".pyx") and path.name != "messages.py":
            assert "warnings.warn(" not in path.read_text(encoding="utf-8"), path


# ---- Models whose arrays are mapped --------------------------------------------------------------


def mapped(clf, folder):
    joblib = pytest.importorskip("joblib")
    joblib.dump(clf, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", mmap_mode="r")


def copied(clf, folder):
    return pickle.loads(pickle.dumps(clf))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("load", [mapped, copied])
@pytest.mark.parametrize("container", [np.asarray, np.float32, sparse.csr_matrix])
@pytest.mark.parametrize("average", [True, False])
@pytest.mark.parametrize("solver", ["auto", "adam", "sgd"])
@pytest.mark.parametrize("how", ["fit", "partial_fit", "both"])
def test_models_that_were_loaded_go_on(how, solver, average, container, load, X, tmp_path):
    """Read-only arrays are copied where they have to be written."""
    y, X = np.arange(N) % 3, container(X)
    of_stream = SGD(average=average) if solver == "sgd" else Adam(average=average)
    of_fit = "auto" if solver == "auto" else of_stream

    def fitted(clf):
        return clf.set_params(solver=of_fit).fit(X, y)

    def streamed(clf, classes=None):
        return clf.set_params(solver=of_stream).partial_fit(X, y, classes=classes)

    def made():
        clf = SoftmaxClassifier(random_state=0, max_iter=20)
        if how != "partial_fit":
            fitted(clf)
        if how != "fit":
            streamed(clf, classes=[0, 1, 2])
        return clf

    clf, want = load(made(), tmp_path), made()
    held = clf.coef_.copy()
    for _ in range(2):
        streamed(clf)
        streamed(want)
    np.testing.assert_array_equal(clf.coef_, want.coef_)
    np.testing.assert_array_equal(clf.intercept_, want.intercept_)
    assert type(clf.coef_) is np.ndarray
    assert clf.coef_.flags.writeable
    clf = load(made(), tmp_path)
    np.testing.assert_array_equal(clf.coef_, held)
    np.testing.assert_array_equal(clf.predict_proba(X), made().predict_proba(X))
    fitted(clf.set_params(warm_start=True))
    np.testing.assert_array_equal(clf.coef_, fitted(made().set_params(warm_start=True)).coef_)
    streamed(clf)
    clf = load(made(), tmp_path).set_params(solver=SGD(learning_rate=1e300))
    with pytest.warns(ConvergenceWarning, match="Training diverged; .* were restored"):
        clf.partial_fit(X, y)
    clf.set_params(solver__learning_rate=0.01).partial_fit(X, y)
    assert np.isfinite(clf.coef_).all()


# ---- What a target or a weight must be -----------------------------------------------------------


def judges(clf, X):
    """All that takes y after a fit."""
    return [
        lambda y: clone(clf).fit(X, y),
        lambda y: clone(clf).partial_fit(X, y, classes=clf.classes_),
        lambda y: clf.score(X, y),
        lambda y: losses.make_loss_scorer(clf.loss)(clf, X, y),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "NA",
        "NaT",
        np.nan,
        np.float32("nan"),
        np.datetime64("NaT"),
        [0, 1],
        (1, 2),
        {1},
        {},
        object(),
        1j,
        np.complex64(1),
        b"a",
        np.bytes_("a"),
        np.arange(N) % 3,
        np.array(1),
        int,
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
@pytest.mark.parametrize("names", [None, ["a", "b", "c"]])
@pytest.mark.parametrize("hybrid", [False, True])
def test_an_ignored_class_is_a_label(hybrid, names, bad, X):
    if isinstance(bad, str):
        bad = getattr(pytest.importorskip("pandas"), bad)
    y = np.arange(N) % 3 if names is None else np.array(names)[np.arange(N) % 3]
    loss = losses.SparseCategoricalCrossentropy()
    if hybrid:
        loss = losses.HybridLoss([("softmax", loss), ("ovr", losses.BinaryCrossentropy())])
    clf = SoftmaxClassifier(loss).fit(X, y)
    of_sparse = clf.loss.losses[0][1] if hybrid else clf.loss
    of_sparse.ignore_class = bad  # seen by the fitted estimator too, in ``loss_``
    for call in judges(clf, X):
        with pytest.raises(ValueError, match=r"'ignore_class' must be a single label.*got.*\. To"):
            call(y)


@pytest.mark.parametrize(
    ("ignored", "labels"),
    [
        (1, [0, 1, 2]),
        (1.0, [0, 1, 2]),
        (True, [0, 1, 2]),
        (np.int8(1), [0, 1, 2]),
        (2.0, [0.0, 1.0, 2.0]),
        ("b", ["a", "b", "c"]),
        (np.str_("b"), ["a", "b", "c"]),
        (np.datetime64("2020-01-02"), np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "M8")),
        (-1, [0, 1, 2]),
        ("b", [0, 1, 2]),
        (None, [0, 1, 2]),
    ],
    ids=repr,
)
def test_any_single_label_may_be_ignored(ignored, labels, X):
    y = np.array(labels)[np.arange(N) % 3]
    clf = SoftmaxClassifier(losses.SparseCategoricalCrossentropy(ignore_class=ignored)).fit(X, y)
    known = ignored is not None and ignored in list(y)
    assert len(clf.classes_) == 3 - known
    for call in judges(clf, X):
        call(y)


@pytest.mark.parametrize(
    "y",
    [[[]] * N, np.zeros((N, 0)), sparse.csr_array((N, 0)), np.zeros((N, 0), dtype=object)],
    ids=["lists", "array", "csr", "objects"],
)
def test_y_without_columns(y, X):
    clf = SoftmaxClassifier().fit(X, np.arange(N) % 2)
    for call in [*judges(clf, X), lambda y: SoftmaxClassifier().partial_fit(X, y)]:
        with pytest.raises(ValueError, match=re.escape("at least 1 column; got shape (60, 0)")):
            call(y)


@pytest.mark.parametrize("n_columns", [0, 1, 3])
def test_complex_y(n_columns, X):
    clf = SoftmaxClassifier().fit(X, np.arange(N) % 2)
    y = np.arange(N) % 2 * 1j
    y = y if n_columns == 0 else np.tile(y[:, np.newaxis], n_columns)
    for call in judges(clf, X):
        with pytest.raises(ValueError, match="Complex data not supported.*complex128") as info:
            call(y)
        assert len(str(info.value)) < 200


def test_score_of_what_cannot_be_sorted(X):
    clf = SoftmaxClassifier().fit(X, np.arange(N) % 2)
    for y in ([{"a": 1}] * N, [0, "a"] * (N // 2), [object(), object()] * (N // 2)):
        y = np.array(y, dtype=object)
        for call in judges(clf, X)[2:]:
            with pytest.raises(ValueError, match="'y' must hold labels of one kind"):
                call(y)


def test_sparse_weights(X):
    y, weight = np.arange(N) % 2, sparse.csr_array(np.ones((N, 1)))
    clf = SoftmaxClassifier().fit(X, y)
    for call in (
        lambda: clone(clf).fit(X, y, weight),
        lambda: clone(clf).partial_fit(X, y, [0, 1], weight),
        lambda: clf.score(X, y, weight),
        lambda: losses.make_loss_scorer()(clf, X, y, sample_weight=weight),
        lambda: losses.SparseCategoricalCrossentropy()(y, X, weight),
        lambda: losses.sparse_categorical_crossentropy(
            y, X, from_logits=True, sample_weight=weight
        ),
    ):
        with pytest.raises(ValueError, match=r"an array of shape \(60,\).*sparse.*\(60, 1\); pass"):
            call()
    of_entries = sparse.csr_array(np.ones((N, 3)))
    with pytest.raises(ValueError, match=r"shape \(60,\) or \(60, 3\), got a sparse"):
        losses.binary_crossentropy(X > 0, X, from_logits=True, sample_weight=of_entries)


def test_huge_class_weights(X):
    """Whose products with the weights of the rows are out of range."""
    y, weight = np.arange(N) % 3, np.random.default_rng(0).random(N) * 1e10
    soft = np.eye(3)[y] * 0.5 + 1 / 6
    want = SoftmaxClassifier(class_weight={0: 1, 1: 2, 2: 0.5}, C=1 / weight.sum())
    got = SoftmaxClassifier(
        class_weight={0: 8e307, 1: 1.6e308, 2: 4e307}, C=1 / weight.sum() / 8e307
    )
    for target, loss in ((y, "auto"), (soft, "categorical_crossentropy"), (y == 1, "auto")):
        of_classes = (1, 2) if target.dtype == bool else (1, 2, 0.5)
        want.set_params(loss=loss, class_weight=dict(enumerate(of_classes)))
        got.set_params(loss=loss, class_weight={k: w * 8e307 for k, w in enumerate(of_classes)})
        want.fit(X, target, weight)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got.fit(X, target, weight)
        np.testing.assert_allclose(got.coef_, want.coef_, rtol=1e-3, atol=1e-6)


def test_later_weights_out_of_range(X):
    """Times their class weights."""
    y = np.arange(N) % 2
    clf = SoftmaxClassifier(class_weight={0: 1, 1: 1e9}).partial_fit(X, y, [0, 1])
    with pytest.raises(ValueError, match=r"'sample_weight' must have a size.*weight of 1e\+304"):
        clf.partial_fit(X, y, sample_weight=np.full(N, 1e304))
