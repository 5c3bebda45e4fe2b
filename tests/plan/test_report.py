"""``clf.plan(X, y)`` before a fit, and ``clf.plan_`` after it."""

import pickle
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier
from xentlearn._objective import preconditioners
from xentlearn.blocks import RowBlocks
from xentlearn.losses import CategoricalFocalCrossentropy
from xentlearn.solvers import LBFGS


def problem(n_rows=500, n_features=20, n_classes=3, dtype=np.float64):
    """Rows of normal numbers, and labels that depend on them."""
    rng = np.random.default_rng(n_rows + n_features)
    X = rng.standard_normal((n_rows, n_features))
    logits = X @ rng.standard_normal((n_features, n_classes)) + rng.gumbel(size=(n_rows, n_classes))
    return X.astype(dtype), logits.argmax(axis=1)


def labels_of_text():
    """Sparse X, and a label indicator of 20 columns."""
    X = sparse.random_array((3000, 3000), density=0.004, rng=np.random.default_rng(0), format="csr")
    Y = (np.random.default_rng(1).random((3000, 20)) < 0.02).astype(np.int64)
    return X, Y


def classes_of_text():
    X, Y = labels_of_text()
    return X, Y[:, :10].argmax(axis=1)


class Halves(RowBlocks):
    """X in two blocks."""

    def __init__(self, X):
        self.X, half = X, X.shape[0] // 2
        super().__init__(X.shape, X.dtype, [half, X.shape[0] - half])

    def read(self, i):
        half = self.lengths[0]
        return self.X[:half] if i == 0 else self.X[half:]


def with_constants():
    X, y = problem()
    return np.concatenate([X, np.ones((len(X), 10))], axis=1), y


CASES = {
    "iris": (SoftmaxClassifier(), load_iris(return_X_y=True)),
    "digits": (SoftmaxClassifier(), load_digits(return_X_y=True)),
    "float32": (SoftmaxClassifier(), problem(20_000, 60, 12, np.float32)),
    "integers": (SoftmaxClassifier(), (np.arange(4000).reshape(1000, 4) % 7, np.arange(1000) % 3)),
    "constants": (SoftmaxClassifier(), with_constants()),
    "wide": (SoftmaxClassifier(), problem(50, 300)),
    "sparse": (SoftmaxClassifier(), labels_of_text()),
    "text": (SoftmaxClassifier(), classes_of_text()),
    "newton-cg": (SoftmaxClassifier(solver="newton-cg"), problem()),
    "adam": (SoftmaxClassifier(solver="adam", max_iter=20, random_state=0), problem()),
    "focal": (SoftmaxClassifier(loss=CategoricalFocalCrossentropy()), None),
    "early": (SoftmaxClassifier(early_stopping=True, random_state=0), problem(3000)),
    "no penalty": (SoftmaxClassifier(C=np.inf, fit_intercept=False), problem(3000, 5)),
    "blocks": (SoftmaxClassifier(), (Halves(problem(2000)[0]), problem(2000)[1])),
    "l1": (SoftmaxClassifier(l1_ratio=1.0), load_iris(return_X_y=True)),
    "l1, digits": (SoftmaxClassifier(l1_ratio=0.5), load_digits(return_X_y=True)),
    "l1, many": (SoftmaxClassifier(l1_ratio=1.0, C=0.01), problem(3000, 650, 10)),
    "l1, sparse": (SoftmaxClassifier(l1_ratio=1.0), classes_of_text()),
    "l1, labels": (SoftmaxClassifier(l1_ratio=1.0), labels_of_text()),
    "l1, wide": (SoftmaxClassifier(l1_ratio=1.0), problem(50, 300)),
    "l1, focal": (SoftmaxClassifier(l1_ratio=1.0, loss=CategoricalFocalCrossentropy()), None),
    "l1, blocks": (
        SoftmaxClassifier(l1_ratio=1.0),
        (Halves(problem(2000)[0]), problem(2000)[1]),
    ),
    "l1, sparse blocks": (
        SoftmaxClassifier(l1_ratio=1.0),
        (Halves(classes_of_text()[0]), classes_of_text()[1]),
    ),
    "bounds": (SoftmaxClassifier(coef_bounds=(0, np.inf)), problem()),
    "factors": (SoftmaxClassifier(penalty_factor=np.arange(20.0)), problem()),
    "all of it": (
        SoftmaxClassifier(l1_ratio=1, penalty_factor=np.ones(20), coef_bounds=(-1, 1)),
        problem(),
    ),
}


def case(name):
    clf, data = CASES[name]
    if data is None:
        X, y = problem()
        data = X, np.eye(3)[y]
    return clf, *data


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_plan_before_is_the_plan_of_the_fit(name):
    clf, X, y = case(name)
    before = clf.plan(X, y)
    after = clf.fit(X, y).plan_
    assert before.solver == after.solver == clf.solver_
    assert before.steps == after.steps
    assert before.reasons == after.reasons
    assert before.memory_bytes == after.memory_bytes > 0
    assert before.passes == after.passes
    assert 0 < before.pass_seconds < 10
    assert 0 < after.pass_seconds < 10
    least, most = after.passes
    assert 1 <= least < most
    assert len(before.steps) == len(before.reasons)


@pytest.mark.parametrize("name", CASES)
def test_planning_changes_nothing(name):
    clf, X, y = case(name)
    clf = SoftmaxClassifier(**clf.get_params(deep=False))
    state = np.random.RandomState(3)
    clf.random_state = state
    before, drawn = dict(vars(clf)), state.get_state()[1].copy()
    clf.plan(X, y)
    assert vars(clf) == before
    assert (state.get_state()[1] == drawn).all()


def test_a_fitted_estimator_stays_as_it_is():
    clf = SoftmaxClassifier(warm_start=True).fit(*load_iris(return_X_y=True))
    before = dict(vars(clf))
    X, y = problem(n_features=4)
    assert clf.plan(X, y).solver == "newton-cholesky"
    assert vars(clf).keys() == before.keys()
    assert all(vars(clf)[name] is value for name, value in before.items())


SENTENCES = {
    "iris": ["150 x 4 float64, 3 outputs", "Centres a copy of X in float64 (4.8 kB)", "Polishes"],
    "digits": ["Solver: lbfgs, since the Hessian of 650 coefficients would take 217 million"],
    "float32": ["20,000 x 60 float32", "lbfgs", "covariance of 60 features", "gap of 0.0001"],
    "integers": ["Copies X (32 kB)"],
    "constants": ["Drops 10 of 30 features, which are constant"],
    "wide": ["Rotates a copy of X into the space of its 50 rows (120 kB)", "300"],
    "sparse": ["sparse float64", "20 outputs"],
    "text": ["Solver: dual-ascent, since rows of sparse X with many features hardly pull"],
    "newton-cg": ["Solver: newton-cg, as was asked for"],
    "adam": ["Epochs: ", "spreads", "adam"],
    "focal": ["Begins at the minimum of a convex loss"],
    "early": ["Copies X", "Stops early"],
    "blocks": ["block by block", "reading it included"],
    "l1": [
        "150 x 4 float64, 3 outputs, proximal-newton",
        "Solver: proximal-newton, since the penalty is not smooth.",
        "Hessian of the coefficients in use as a matrix, as X is dense, and they are at most 15.",
        "Polishes until a step gains at most 1e-18 of the objective",
        "Memory beside X and y: at most about ",
        "in all, models of the loss not included.",
    ],
    "l1, digits": [
        "at most 650.",
        "Takes the first steps with stronger L1 penalties, so that few coefficients are in use",
        "gap of 0.0001",
        "Passes: 8 to 60 in nine of ten cases",
    ],
    "l1, many": [
        "Minimises models with the Hessian of the coefficients in use as a matrix, as X is dense.",
        "columns of X and the curvatures of the rows in its place, if more than 6,000 are in use.",
    ],
    "l1, sparse": [
        "Minimises models with the columns of X and the curvatures of the rows, as X is sparse.",
    ],
    "l1, wide": ["Centres a copy of X in float64 (120 kB)", "they are at most 903."],
    "l1, focal": ["since the penalty is not smooth.", "Begins at the minimum of a convex loss"],
    "l1, blocks": ["block by block", "Hessian of the coefficients in use as a matrix"],
    "l1, sparse blocks": ["with the columns and the curvatures of 3,000 rows, as X is sparse."],
    "bounds": ["since the penalty has bounds."],
    "factors": ["since the penalty has factors by feature."],
    "all of it": ["since the penalty is not smooth, has factors by feature and has bounds."],
}
# What is said of smooth solvers, and only where it is done.
NOT_SAID = {
    **dict.fromkeys(
        (name for name, (clf, _) in CASES.items() if clf.l1_ratio > 0),
        ("would take", "Preconditions", "Adds the Hessian", "plain cross-entropy", "Rotates"),
    ),
    "bounds": ("stronger L1", "not smooth", "factors", "Preconditions"),
    "factors": ("stronger L1", "not smooth", "bounds", "Preconditions"),
    "iris": ("models", "at most about"),
    "l1": ("would take", "Preconditions", "Rotates", "stronger L1"),
    "l1, sparse": ("matrix",),
    "digits": ("models", "at most about"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_sentences(name):
    clf, X, y = case(name)
    text = str(clf.plan(X, y))
    for part in [
        *SENTENCES[name],
        "Memory beside X and y: ",
        " multiply-adds",
        "nine of ten",
    ]:
        assert part in text, text
    assert max(map(len, text.splitlines())) < 160
    assert not any(part in text for part in NOT_SAID.get(name, ())), text


def test_a_warm_start_begins_with_the_penalty_asked_for():
    X, y = problem(500, 80)
    clf = SoftmaxClassifier(l1_ratio=1.0, warm_start=True)
    assert "stronger L1" in str(clf.plan(X, y))
    clf.fit(X, y)
    assert "stronger L1" not in str(clf.plan(X, y))


def test_a_weak_penalty_takes_more_steps():
    X, y = problem()
    clf = SoftmaxClassifier(l1_ratio=1.0)
    assert clf.plan(X, y).passes == (8, 60)
    assert clf.plan(1e4 * X, y).passes == (20, 1500)
    assert clf.set_params(max_iter=5).plan(1e4 * X, y).passes == (6, 24)


def test_groups_of_labels():
    rng = np.random.default_rng(0)
    X = sparse.random_array((300, 20_000), density=0.02, rng=rng, format="csr")
    Y = (rng.random((300, 400)) < 0.3).astype(float)
    plan = SoftmaxClassifier().plan(X, Y)
    assert "400 outputs in " in str(plan)
    assert "groups of at most" in str(plan)
    plan = SoftmaxClassifier(l1_ratio=1).plan(X, Y)
    assert "400 outputs in 50 groups of at most 8, as steps of independent" in str(plan)


def test_nothing_to_fit():
    X, y = problem()
    with pytest.warns(UserWarning, match="alone has weight"):
        plan = SoftmaxClassifier().plan(X, y, sample_weight=(y == 1) * 1.0)
    assert plan.steps == ("Predicts constants",)
    assert plan.passes == (0, 0)
    assert "constants" in str(plan)


def test_a_plan_holds_no_rows():
    X, y = problem(20_000, 60, 12, np.float32)
    clf = SoftmaxClassifier().fit(X, y)
    assert len(pickle.dumps(clf.plan_)) < 3000
    assert str(pickle.loads(pickle.dumps(clf)).plan_) == str(clf.plan_)
    assert len(repr(clf.plan_)) < 80


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_verbose_begins_with_it(l1_ratio, capsys):
    X, y = load_iris(return_X_y=True)
    clf = SoftmaxClassifier(verbose=1, l1_ratio=l1_ratio).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    plan = str(clf.plan_).splitlines()
    assert lines[: len(plan) - 2] == plan[:-2]  # the time of a pass is that of the first one
    assert lines[len(plan) - 2].startswith("- A pass over X takes 3,600 multiply-adds, here about")
    assert lines[len(plan)].startswith("iteration    0")
    assert sum("Plan: " in line for line in lines) == 1


@pytest.mark.parametrize(
    ("X", "y", "parameters"),
    [
        (np.full((10, 2), np.nan), np.arange(10) % 2, {}),
        (np.ones((10, 2)), np.arange(9) % 2, {}),
        (np.ones((10, 2)), np.zeros(10), {}),
        (np.ones((10, 2)), np.arange(10) % 2, {"C": -1}),
        (np.ones((10, 2)), np.arange(10) % 2, {"solver": "saga"}),
        (np.ones((10, 2)), np.arange(10) % 2, {"loss": "hinge"}),
        (np.full((10, 2), 1e300) * [1.0, 1e-300], np.arange(10) % 2, {}),
        (np.ones((10, 7000)), np.arange(10) % 2, {"solver": "newton-cholesky", "C": 0}),
    ],
)
def test_errors_are_those_of_fit(X, y, parameters):
    messages = []
    for method in ("fit", "plan"):
        clf = SoftmaxClassifier(**parameters)
        with pytest.raises(ValueError, match=r"\w") as caught:
            getattr(clf, method)(X, y)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_memory_is_about_what_is_allocated():
    """Within a factor of 2 of what Python's tracemalloc sees."""
    for dtype, n_classes in ((np.float32, 4), (np.float64, 2)):
        X, y = problem(40_000, 50, n_classes, dtype)
        clf = SoftmaxClassifier()
        said = clf.plan(X, y).memory_bytes
        tracemalloc.start()
        clf.fit(X, y)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0.5 < said / taken < 2, (said, taken)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_dual_ascent(dtype, rng):
    """The logarithms of all predictions, and X by columns."""
    X = sparse.random_array((10_000, 10_000), density=0.002, rng=rng, format="csr", dtype=dtype)
    y, clf = rng.integers(20, size=10_000), SoftmaxClassifier()
    said = clf.plan(X, y).memory_bytes
    tracemalloc.start()
    clf.fit(X, y)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert clf.solver_ == "dual-ascent"
    assert 0.5 < said / taken < 2, (said, taken)


def said_and_taken(clf, X, y):
    """Memory as planned, and as tracemalloc sees it."""
    said = clf.plan(X, y).memory_bytes
    tracemalloc.start()
    clf.fit(X, y)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert clf.solver_ == "proximal-newton"
    return said, taken


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grouped", [False, True])
def test_memory_of_proximal_newton(grouped, dtype):
    """Above what is allocated, and less than twice that if most coefficients are in use."""
    X, y = problem(5000, 80, 8, dtype)
    with threadpool_limits(2):
        said, taken = said_and_taken(SoftmaxClassifier(l1_ratio=1.0, grouped=grouped), X, y)
        _, of_few = said_and_taken(SoftmaxClassifier(l1_ratio=1.0, C=1e-3, grouped=grouped), X, y)
    assert taken < said < 2 * taken, (said, taken)
    assert of_few < said


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_memory_of_proximal_newton_on_sparse_X(dtype, rng):
    """The curvatures of the rows, and X by column."""
    X = sparse.random_array((20_000, 3000), density=0.001, rng=rng, format="csr", dtype=dtype)
    said, taken = said_and_taken(SoftmaxClassifier(l1_ratio=1.0), X, rng.integers(8, size=20_000))
    assert taken < said < 2 * taken, (said, taken)


@pytest.mark.slow
def test_memory_of_very_many_classes(rng):
    """Few vectors of coefficients, and the short history in the plan's text."""
    n_features, n_classes = 61, 16_400
    X = rng.normal(size=(n_classes, n_features)).astype(np.float32)
    clf = SoftmaxClassifier(max_iter=1)
    report = clf.plan(X, np.arange(n_classes))
    tracemalloc.start()
    with pytest.warns(ConvergenceWarning):
        clf.fit(X, np.arange(n_classes))
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.5 < report.memory_bytes / taken < 2, (report.memory_bytes, taken)
    assert taken < 12 * 8 * (n_features + 1) * n_classes
    assert "Keeps a history of 1 step rather than 5" in str(report)


def test_vectors_of_very_many_classes(rng, set_rules, monkeypatch):
    """Four vectors, half of one for the coefficients, and arrays of classes and of rows."""
    monkeypatch.setattr(preconditioners, "OUTPUT_BLOCK", 256)
    n_features, n_classes = 60, 4100
    set_rules(many_coefficients=0)
    X, y = rng.normal(size=(n_classes, n_features)).astype(np.float32), np.arange(n_classes)
    vector = 8 * (n_features + 1) * n_classes
    for max_iter in (0, 6):
        clf = SoftmaxClassifier(max_iter=max_iter, tol=0)
        with pytest.warns(ConvergenceWarning):  # imports what the first fit of a process imports
            clf.fit(X, y)
        tracemalloc.start()
        # a second thread has a workspace of its own, large beside vectors as small as these
        with pytest.warns(ConvergenceWarning), threadpool_limits(1):
            clf.fit(X, y)
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert taken < 6 * vector
        assert 0.5 < clf.plan_.memory_bytes / taken < 2


def test_a_longer_history_takes_more_memory():
    X, y = problem(5000, 60, 12)
    few, many = (
        SoftmaxClassifier(solver=LBFGS(history_size=n)).plan(X, y).memory_bytes for n in (20, 520)
    )
    assert many - few == 500 * 2 * 8 * 61 * 12
