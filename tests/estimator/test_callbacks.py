"""scikit-learn's callbacks (1.9 and newer) see a fit and each of its iterations."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier, callbacks
from xentlearn.callbacks import Checkpoint

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")

X, y = load_iris(return_X_y=True)


class Recorder:
    """Notes every hook, and what the estimator of the moment predicts."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def on_fit_task_begin(self, estimator, context, *, X, y):
        assert len(X) == len(y)
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.events.append(f"end {context.task_name}")
        if fitted_estimator is not None:
            self.last = fitted_estimator.predict_proba(X)
        return context.task_name == "iteration" and context.task_id + 1 == self.stop_at

    def teardown(self, estimator, context):
        self.events.append("teardown")


SOLVERS = ["lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd"]


@pytest.mark.parametrize(
    "parameters", [*({"solver": name} for name in SOLVERS), {"l1_ratio": 1.0}], ids=str
)
def test_hooks(parameters):
    recorder = Recorder()
    clf = SoftmaxClassifier(**parameters, max_iter=100).set_callbacks(recorder).fit(X, y)
    events = recorder.events
    assert events[:2] == ["setup", "begin fit"]
    assert events[-2:] == ["end fit", "teardown"]
    # one more than ran: each begins before it is known whether there is another
    assert events.count("begin iteration") == events.count("end iteration") == clf.n_iter_[0] + 1
    np.testing.assert_array_equal(recorder.last, clf.predict_proba(X))


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_a_callback_changes_nothing(l1_ratio):
    plain = SoftmaxClassifier(l1_ratio=l1_ratio).fit(X, y)
    watched = SoftmaxClassifier(l1_ratio=l1_ratio).set_callbacks(Recorder()).fit(X, y)
    np.testing.assert_array_equal(plain.coef_, watched.coef_)


def test_checkpoints_are_callbacks_like_others(tmp_path):
    """In any order with others; clones and pickles of the estimator keep them."""
    recorder, checkpoint = Recorder(), Checkpoint(tmp_path / "file", seconds=0)
    clf = SoftmaxClassifier().set_callbacks(recorder, checkpoint).fit(X, y)
    n_events = len(recorder.events)
    for copy in (clone(clf), pickle.loads(pickle.dumps(clf))):
        (tmp_path / "file").unlink()
        np.testing.assert_array_equal(copy.fit(X, y).coef_, clf.coef_)
        assert (tmp_path / "file").exists()
    assert len(recorder.events) > n_events


def test_a_callback_stops_the_fit(recwarn):
    clf = SoftmaxClassifier().set_callbacks(Recorder(stop_at=2)).fit(X, y)
    assert clf.n_iter_[0] == 2
    assert not recwarn.list


def test_hooks_end_when_fit_fails():
    recorder = Recorder()
    clf = SoftmaxClassifier(C=-1.0).set_callbacks(recorder)
    with pytest.raises(ValueError, match="'C'"):
        clf.fit(X, y)
    assert "begin iteration" not in recorder.events
    clone(clf).set_params(C=1.0).fit(X, y)


def test_scoring_monitor():
    monitor = callback.ScoringMonitor(scoring="neg_log_loss")
    clf = SoftmaxClassifier().set_callbacks(monitor)
    clf.fit(X, y, sample_weight=np.ones(len(y)))
    frame = monitor.get_logs().data_as_pandas
    scores = frame["score" if "score" in frame else "neg_log_loss"].dropna()
    assert len(scores) >= clf.n_iter_[0]
    assert scores.iloc[-1] > -0.2


def test_progress_bar_in_a_search():
    pytest.importorskip("rich")
    search = GridSearchCV(
        make_pipeline(StandardScaler(), SoftmaxClassifier()),
        {"softmaxclassifier__C": [0.1, 1.0]},
        cv=2,
    )
    if not hasattr(search, "set_callbacks"):
        pytest.skip("GridSearchCV takes no callbacks here")
    search.set_callbacks(callback.ProgressBar()).fit(X, y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize("name", ["Checkpoint", "ProgressBar", "ValidationMonitor"])
@pytest.mark.parametrize("kind", [LogisticRegression, lambda: make_pipeline(SoftmaxClassifier())])
def test_callbacks_that_others_would_leave_without_work(name, kind, tmp_path):
    pytest.importorskip("rich")
    arguments = {"Checkpoint": {"path": tmp_path}, "ValidationMonitor": {"scoring": "accuracy"}}
    made = getattr(callbacks, name)(**arguments.get(name, {}))
    other = kind()
    if not hasattr(other, "set_callbacks"):
        pytest.skip("it has no callbacks in this version of scikit-learn")
    with pytest.raises(TypeError, match=f"{name} must be set on a SoftmaxClassifier.*; got"):
        other.set_callbacks(made).fit([[0.0], [1.0]], [0, 1])
