"""Validation rows without early stopping: their loss is recorded, and scores by a callback."""

import pickle
import re

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn._estimator import validation_monitor
from xentlearn._estimator.early_stopping import Validation
from xentlearn.callbacks import Checkpoint, ValidationMonitor
from xentlearn.losses import GeneralizedCrossentropy
from xentlearn.solvers import Adam

N = 400


@pytest.fixture
def data(rng):
    """Training rows and validation rows."""
    X = rng.normal(size=(2 * N, 12))
    y = (X[:, :4] + rng.gumbel(size=(2 * N, 4))).argmax(axis=1)
    return {"X": X[:N], "y": y[:N], "X_val": X[N:], "y_val": y[N:]}


def of_training(data):
    return data["X"], data["y"]


FITS = {
    "default": {},
    "lbfgs": {"solver": "lbfgs"},
    "newton-cg": {"solver": "newton-cg"},
    "adam": {"solver": Adam(batch_size=50), "max_iter": 5, "random_state": 0},
    "sgd": {"solver": "sgd", "max_iter": 5, "random_state": 0},
    "not convex": {"loss": GeneralizedCrossentropy()},
    "no penalty": {"C": np.inf},
}


@pytest.mark.parametrize("name", FITS)
def test_validation_rows_change_nothing_else(name, data):
    plain = SoftmaxClassifier(**FITS[name]).fit(*of_training(data))
    clf = SoftmaxClassifier(**FITS[name]).fit(**data)
    losses = clf.history_.pop("validation_loss")
    assert losses.shape == (clf.n_iter_[0] + 1,)
    assert clf.history_.keys() == plain.history_.keys()
    for name in ("coef_", "intercept_", "objective_", "optimality_gap_", "n_iter_"):
        np.testing.assert_array_equal(getattr(clf, name), getattr(plain, name), err_msg=name)
    np.testing.assert_array_equal(clf.history_["objective"], plain.history_["objective"])
    assert clf.stop_reason_ == plain.stop_reason_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_each_loss_is_that_of_a_fit_that_stops_there(solver, data):
    parameters = {"solver": solver, "random_state": 0, "tol": 1e-10}
    losses = SoftmaxClassifier(**parameters, max_iter=4).fit(**data).history_["validation_loss"]
    for n, loss in enumerate(losses):
        clf = SoftmaxClassifier(**parameters, max_iter=n).fit(*of_training(data))
        proba = clf.predict_proba(data["X_val"])
        assert loss == pytest.approx(log_loss(data["y_val"], proba), rel=1e-9)


def test_groups_of_labels(rng, set_rules):
    """The losses of labels are added, and a group that is done keeps its last one."""
    X = sparse.random(300, 30, density=0.3, format="csr", rng=rng)
    Y = 1.0 * (X @ rng.normal(size=(30, 40)) + rng.logistic(size=(300, 40)) > 0)
    set_rules(small_work=0, grouped=0, group_numbers=16 * 30)
    plain = SoftmaxClassifier(solver="lbfgs").fit(X[::2], Y[::2])
    assert len(plain.plan_.outline.groups) > 1
    clf = SoftmaxClassifier(solver="lbfgs").fit(X[::2], Y[::2], X_val=X[1::2], y_val=Y[1::2])
    np.testing.assert_array_equal(clf.coef_, plain.coef_)
    p = clf.predict_proba(X[1::2])
    last = -(np.log(p) * Y[1::2] + np.log1p(-p) * (1 - Y[1::2])).sum(axis=1).mean()
    losses = clf.history_["validation_loss"]
    assert losses[-1] == pytest.approx(last, rel=1e-6)
    share = Y[::2].mean(axis=0)
    start = -(np.log(share) * Y[1::2] + np.log1p(-share) * (1 - Y[1::2])).sum(axis=1).mean()
    assert losses[0] == pytest.approx(start, rel=1e-6)
    assert len(losses) == len(clf.history_["objective"])


def test_an_interrupt_while_a_loss_is_computed(data, monkeypatch):
    """What is not known is nan; all arrays are equally long."""
    stop, n_calls = Validation.stop, 0

    def interrupted(self, *arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls == 4:
            raise KeyboardInterrupt
        return stop(self, *arguments)

    monkeypatch.setattr(Validation, "stop", interrupted)
    clf = SoftmaxClassifier(solver="lbfgs")
    with pytest.raises(KeyboardInterrupt):
        clf.fit(**data)
    assert {len(values) for values in clf.history_.values()} == {4}
    assert np.isnan(clf.history_["validation_loss"]).tolist() == [False, False, False, True]


def test_a_checkpoint_knows_the_validation_rows(data, tmp_path):
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")
    whole = SoftmaxClassifier(solver="lbfgs").fit(**data)
    first = clone(whole).set_params(max_iter=3).set_callbacks(Checkpoint(tmp_path / "file", 0))
    with pytest.warns(Warning, match="max_iter"):
        first.fit(**data)
    clf = clone(whole).set_callbacks(Checkpoint(tmp_path / "file"))
    clf.fit(**data)
    for name in ("objective", "validation_loss"):
        np.testing.assert_array_equal(clf.history_[name], whole.history_[name])
    with pytest.raises(ValueError, match="checksum of the validation rows"):
        clf.fit(**{**data, "X_val": data["X_val"] + 1})
    with pytest.raises(ValueError, match="checksum of the validation rows"):
        clf.fit(*of_training(data))
    with pytest.raises(ValueError, match="its early_stopping is False"):
        clf.set_params(early_stopping=True).fit(**data)


def test_errors(data):
    clf = SoftmaxClassifier()
    for name in ("X_val", "y_val"):
        with pytest.raises(ValueError, match=f"must come together, got '{name}' alone"):
            clf.fit(*of_training(data), **{name: data[name]})
    message = (
        r"'X_val' must have the 12 features .* got 3\. In a Pipeline, .*transform_input=\['X_val'\]"
    )
    with pytest.raises(ValueError, match=message):
        clf.fit(**{**data, "X_val": data["X_val"][:, :3]})
    with pytest.raises(ValueError, match="In 'X_val': .*NaN"):
        clf.fit(**{**data, "X_val": np.full_like(data["X_val"], np.nan)})
    with pytest.raises(TypeError, match="In 'X_val': .*got str"):
        clf.fit(**{**data, "X_val": "rows.npy"})
    with pytest.raises(ValueError, match="In 'y_val': .*only the classes"):
        clf.fit(**{**data, "y_val": data["y_val"] + 5})


@pytest.mark.parametrize("early_stopping", [False, True])
def test_labels_that_are_all_missing(early_stopping, data, rng):
    y = rng.integers(2, size=(N, 3)).astype(float)
    clf = SoftmaxClassifier("binary_crossentropy", early_stopping=early_stopping)
    with pytest.raises(ValueError, match="labels that are known"):
        clf.fit(data["X"], y, X_val=data["X_val"], y_val=np.full((N, 3), np.nan))


def test_of_a_fit_of_constants(data):
    Y = np.zeros((N, 3))
    with pytest.warns(UserWarning, match="constant"):
        clf = SoftmaxClassifier().fit(data["X"], Y, X_val=data["X_val"], y_val=Y)
    assert clf.history_["validation_loss"].shape == clf.history_["objective"].shape == (1,)


def test_in_a_pipeline_rows_are_transformed_with_routing_alone(data):
    """As the docstring of ``X_val`` says."""
    steps = [("scale", StandardScaler(with_mean=False)), ("clf", SoftmaxClassifier(C=0.01))]
    data = {**data, "X": data["X"] * 100, "X_val": data["X_val"] * 100}
    given = {"clf__X_val": data["X_val"], "clf__y_val": data["y_val"]}
    untouched = clone(Pipeline(steps)).fit(*of_training(data), **given)
    with sklearn.config_context(enable_metadata_routing=True):
        steps[-1][1].set_fit_request(X_val=True, y_val=True)
        pipe = Pipeline(steps, transform_input=["X_val"]).fit(**data)
    want = log_loss(data["y_val"], pipe.predict_proba(data["X_val"]))
    assert pipe[-1].history_["validation_loss"][-1] == pytest.approx(want, rel=1e-9)
    assert untouched[-1].history_["validation_loss"][-1] > 2 * want


# --- ValidationMonitor ----------------------------------------------------------------------------


@pytest.fixture
def monitor():
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")
    return ValidationMonitor(scoring=["accuracy", "neg_log_loss"])


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": Adam(batch_size=100), "max_iter": 6, "random_state": 0},
        {"early_stopping": True, "n_iter_no_change": 2, "C": 1e4},
    ],
)
def test_scores(parameters, monitor):
    """Of each iteration or epoch, on the validation rows; then those of the model."""
    X, y = load_digits(return_X_y=True)
    clf = SoftmaxClassifier(**parameters).set_callbacks(monitor)
    clf.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    logs = monitor.get_logs().data
    of_iterations = [log for log in logs if log["task_name"] == "iteration"]
    assert [log["task_id"] for log in of_iterations] == list(range(clf.n_iter_[0]))
    losses = clf.history_["validation_loss"]
    found = [-log["neg_log_loss"] for log in of_iterations]
    np.testing.assert_allclose(found, losses[1:], rtol=1e-7)
    [of_fit] = [log for log in logs if log["task_name"] == "fit"]
    assert of_fit["accuracy"] == accuracy_score(y[1::2], clf.predict(X[1::2]))
    assert -of_fit["neg_log_loss"] == pytest.approx(
        losses.min() if clf.early_stopping else losses[-1], rel=1e-7
    )
    plain = SoftmaxClassifier(**parameters)
    plain.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    np.testing.assert_array_equal(clf.coef_, plain.coef_)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_scores_in_a_search(n_jobs, data, monitor):
    search = GridSearchCV(SoftmaxClassifier(solver="lbfgs"), {"C": [0.1, 1.0]}, cv=2, n_jobs=n_jobs)
    search.estimator.set_callbacks(monitor)
    search.fit(*of_training(data), X_val=data["X_val"], y_val=data["y_val"])
    assert not monitor._rows
    logs = monitor.get_logs(select="all")
    of_fits = [log for run in logs for log in run.data if log["task_name"] == "fit"]
    assert len(of_fits) == 5


def test_copies_of_a_monitor(data, monitor):
    clf = clone(SoftmaxClassifier().set_callbacks(monitor))
    pickle.loads(pickle.dumps(clf.fit(**data))).fit(**data)
    pipe = make_pipeline(StandardScaler(), clf)
    pipe.fit(
        *of_training(data),
        softmaxclassifier__X_val=data["X_val"],
        softmaxclassifier__y_val=data["y_val"],
    )
    assert not monitor._rows


def _score(clf, X, y):
    return clf.score(X, y)


@pytest.mark.parametrize("scoring", [None, _score])
def test_a_single_score_without_a_name(scoring, data, monitor):
    monitor = type(monitor)(scoring=scoring)
    clf = SoftmaxClassifier(max_iter=3, tol=0.0).set_callbacks(monitor)
    with pytest.warns(ConvergenceWarning):
        clf.fit(**data)
    scores = monitor.get_logs().data_as_pandas
    want = clf.score(data["X_val"], data["y_val"])
    assert scores.loc[scores.task_name == "fit", "score"].tolist() == [want]


def test_a_monitor_needs_rows(data, monitor):
    clf = SoftmaxClassifier(early_stopping=True).set_callbacks(monitor)
    with pytest.raises(ValueError, match="needs the 'X_val' and 'y_val' of fit, got None; pass"):
        clf.fit(*of_training(data))
    clf.fit(**data)


def test_a_monitor_needs_scikit_learn_1_9(monkeypatch):
    monkeypatch.setattr(validation_monitor, "ScoringMonitor", None)
    with pytest.raises(ImportError, match=re.escape("needs the callbacks of scikit-learn 1.9")):
        ValidationMonitor(scoring="accuracy")
