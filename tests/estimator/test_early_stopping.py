"""Early stopping: held-out rows or the user's own, and the best point of all."""

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from reference import training_objective
from xentlearn import SoftmaxClassifier
from xentlearn._data.targets import encode_y
from xentlearn._estimator.early_stopping import split_rows
from xentlearn.blocks import RowBlocks
from xentlearn.losses import SparseCategoricalCrossentropy
from xentlearn.solvers import SGD, Adam

N, N_FEATURES = 300, 40


@pytest.fixture
def data(rng):
    """Noisy labels and many features: without a penalty a fit gets worse on new rows."""
    X = rng.normal(size=(2 * N, N_FEATURES))
    z = X[:, :3] * 1.5 + rng.gumbel(size=(2 * N, 3))
    return X, z.argmax(axis=1)


def mean_loss(clf, X, y):
    return -clf.predict_log_proba(X)[np.arange(len(y)), y].mean()


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd"])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_the_best_point_is_kept(solver, container, data):
    X, y = data
    X = container(X)
    settings = {"adam": Adam, "sgd": SGD}
    if solver in settings:
        solver = settings[solver](learning_rate=0.1, batch_size=50)
    clf = SoftmaxClassifier(
        C=1e4,
        solver=solver,
        early_stopping=True,
        n_iter_no_change=3,
        tol=1e-12,
        random_state=0,
    )
    clf.fit(X[:N], y[:N], X_val=X[N:], y_val=y[N:])
    judged = clf.history_["validation_loss"]
    assert len(judged) == len(clf.history_["objective"])
    best = int(np.argmin(judged))
    assert len(judged) - 1 - best >= 1  # it went on, and came back
    assert mean_loss(clf, X[N:], y[N:]) == pytest.approx(judged[best], rel=1e-9)
    # objective and gap are those of the best point
    rows = -clf.predict_log_proba(X[:N])[np.arange(N), y[:N]]
    assert clf.objective_ == pytest.approx(training_objective(rows, clf.coef_, 1e4), rel=1e-9)


def test_what_is_certified_is_the_best_point(data, monkeypatch):
    """Also where the fit has ended by a certificate, which is of its end."""
    monkeypatch.setattr(
        "xentlearn._solvers.stopping.gap_by_progress", lambda values, *args, **kwargs: np.inf
    )
    X, y = data
    options = {"solver": "lbfgs", "C": 10.0, "tol": 1e-3}
    clf = SoftmaxClassifier(**options, early_stopping=True, n_iter_no_change=1000)
    clf.fit(X[:N], y[:N], X_val=X[N:], y_val=y[N:])
    assert np.argmin(clf.history_["validation_loss"]) < clf.n_iter_[0]
    least = SoftmaxClassifier(**options).fit(X[:N], y[:N])
    assert least.optimality_gap_ <= 1e-3
    rows = -clf.predict_log_proba(X[:N])[np.arange(N), y[:N]]
    objective = training_objective(rows, clf.coef_, 10.0)
    assert clf.objective_ == pytest.approx(objective, rel=1e-12)
    assert clf.optimality_gap_ >= objective / least.objective_ - 1 > 2e-3


def test_held_out_rows(data):
    X, y = data
    clf = SoftmaxClassifier(C=1e4, early_stopping=True, validation_fraction=0.3, random_state=5)
    clf.fit(X, y)
    encoded = encode_y(y, len(y), "auto")
    kept, held_out = split_rows(encoded, 0.3, np.random.RandomState(5))
    assert len(held_out) == 0.3 * len(y)
    own = SoftmaxClassifier(C=1e4, early_stopping=True)
    own.fit(X[kept], y[kept], X_val=X[held_out], y_val=y[held_out])
    np.testing.assert_array_equal(clf.coef_, own.coef_)
    shares = np.bincount(y[held_out]) / np.bincount(y)
    np.testing.assert_allclose(shares, 0.3, atol=0.01)


@pytest.mark.parametrize("kind", ["binary", "soft", "multi-label", "weights", "strings"])
def test_kinds_of_y(kind, data, rng):
    X, y = data
    y = {
        "binary": lambda: y > 0,
        "soft": lambda: 0.8 * np.eye(3)[y] + 0.2 * rng.dirichlet(np.ones(3), size=len(y)),
        "multi-label": lambda: 1.0 * (X[:, :4] + rng.logistic(size=(len(y), 4)) > 0),
        "weights": lambda: y,
        "strings": lambda: np.array(["a", "b", "c"])[y],
    }[kind]()
    weight = rng.uniform(size=len(y)) if kind == "weights" else None
    clf = SoftmaxClassifier(C=1e4, early_stopping=True, random_state=0).fit(X, y, weight)
    assert clf.history_["validation_loss"].min() < clf.history_["validation_loss"][0]


def test_a_class_of_one_row(data):
    X, y = data
    y = y.copy()
    y[0] = 3
    clf = SoftmaxClassifier(early_stopping=True, random_state=0).fit(X, y)
    assert clf.classes_.tolist() == [0, 1, 2, 3]


def test_routed_through_a_pipeline(data):
    X, y = data
    with sklearn.config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifier(C=1e4, early_stopping=True)
        clf.set_fit_request(X_val=True, y_val=True, sample_weight=False)
        pipe = Pipeline([("scale", StandardScaler()), ("clf", clf)], transform_input=["X_val"])
        pipe.fit(X[:N], y[:N], X_val=X[N:], y_val=y[N:])
        scaler = StandardScaler().fit(X[:N])
        own = SoftmaxClassifier(C=1e4, early_stopping=True).fit(
            scaler.transform(X[:N]), y[:N], X_val=scaler.transform(X[N:]), y_val=y[N:]
        )
        np.testing.assert_array_equal(pipe[-1].coef_, own.coef_)
        search = GridSearchCV(clf, {"C": [0.1, 1.0]}).fit(X[:N], y[:N], X_val=X[N:], y_val=y[N:])
        assert search.best_score_ > 0.5


@pytest.mark.parametrize(
    ("parameters", "arguments", "message"),
    [
        ({}, ("X_val",), "must come together"),
        ({"early_stopping": True}, ("X_val",), "must come together"),
        ({"early_stopping": True}, ("y_val",), "must come together"),
    ],
)
def test_arguments(parameters, arguments, message, data):
    X, y = data
    given = {name: {"X_val": X, "y_val": y}[name] for name in arguments}
    with pytest.raises(ValueError, match=message):
        SoftmaxClassifier(**parameters).fit(X, y, **given)


def test_what_cannot_be_judged(data):
    X, y = data
    clf = SoftmaxClassifier(early_stopping=True)
    with pytest.raises(ValueError, match="'validation_fraction'=0.9 of 2 rows leaves too few"):
        SoftmaxClassifier(early_stopping=True, validation_fraction=0.9).fit(X[:2], [0, 1])
    with pytest.raises(ValueError, match="the training rows have a single class"):
        SoftmaxClassifier(early_stopping=True, validation_fraction=0.5).fit(X[:2], [0, 1])
    with pytest.raises(ValueError, match="'X_val' must be rows in memory"):
        clf.fit(X, y, X_val=RowBlocks(X.shape, X.dtype, [len(X)]), y_val=y)
    setting = SparseCategoricalCrossentropy(ignore_class=9)
    with pytest.raises(ValueError, match="validation rows must have a positive weight"):
        clf.set_params(loss=setting).fit(X, y, X_val=X[:2], y_val=[9, 9])
    clf.set_params(loss="auto")
    with pytest.raises(ValueError, match="features"):
        clf.fit(X, y, X_val=X[:, :3], y_val=y)
    with pytest.raises(ValueError, match="In 'y_val': .*only the classes"):
        clf.fit(X, y, X_val=X, y_val=y + 5)


@pytest.mark.parametrize("unit", [1e-40, 1e40])
def test_rows_to_judge_by_in_any_unit(data, unit):
    """X is fitted in units of its own, and judged like X in usual ones."""
    X, y = data

    def fit(unit):
        clf = SoftmaxClassifier(early_stopping=True, C=1e3 / unit**2)
        return clf.fit(X[:N] * unit, y[:N], X_val=X[N:] * unit, y_val=y[N:])

    usual, other = fit(1.0), fit(unit)
    np.testing.assert_allclose(
        other.history_["validation_loss"], usual.history_["validation_loss"], rtol=1e-6
    )
