"""``stop_reason_`` says in one word why a fit stopped; of groups of outputs, the worst reason."""

import itertools
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from reference import penalty, softmax
from xentlearn import SoftmaxClassifier
from xentlearn._estimator import classifier
from xentlearn._objective.linear import LinearObjective
from xentlearn._solvers.contract import MESSAGES, StopReason
from xentlearn._solvers.stopping import Stopping
from xentlearn.solvers import SGD, Adam


@pytest.fixture
def problem(rng):
    X = rng.normal(size=(400, 12))
    return X, (X[:, :4] + rng.gumbel(size=(400, 4))).argmax(axis=1)


def reason_of(X, y, warning=None, **parameters):
    """Of a fit that warns if, and only if, there is the pattern of a ``warning``."""
    clf = SoftmaxClassifier(**parameters)
    if warning is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return clf.fit(X, y).stop_reason_
    with pytest.warns(ConvergenceWarning, match=warning):
        return clf.fit(X, y).stop_reason_


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "adam"])
def test_estimated(solver, problem, set_rules):
    set_rules(polished_work=0, small_work=0)
    tol = 0.01 if solver == "adam" else 1e-4
    C = 1.0 if solver == "adam" else np.inf  # without a penalty there is no certificate
    assert reason_of(*problem, solver=solver, tol=tol, C=C) == "estimated"


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
def test_certified_by_each_solver(solver, problem, set_rules):
    assert reason_of(*problem, solver=solver) == "certified"  # polished
    set_rules(polished_work=0, small_work=0)
    for X in (problem[0], problem[0].astype(np.float32)):
        clf = SoftmaxClassifier(solver=solver).fit(X, problem[1])
        assert clf.stop_reason_ == "certified"
        assert 0 <= clf.optimality_gap_ <= clf.tol


def test_certified(problem, set_rules):
    """At a start that is the minimum, and along the way."""
    set_rules(polished_work=0, small_work=0)
    X, y = problem
    for parameters in ({"C": 1e-7}, {"solver": "newton-cg", "tol": 1e-10}):
        clf = SoftmaxClassifier(**parameters).fit(X, y)
        assert clf.stop_reason_ == "certified"
        assert 0 <= clf.optimality_gap_ <= clf.tol


@pytest.mark.parametrize("C", [0.01, 100.0])
def test_certified_is_what_the_gap_says(C, rng, set_rules):
    """Of all groups of labels together, whatever ended each."""
    X = sparse.random(400, 60, density=0.2, format="csr", rng=rng)
    Y = 1 * (X @ rng.normal(size=(60, 48)) + rng.logistic(size=(400, 48)) > 0)
    set_rules(polished_work=0, small_work=0, grouped=0, group_numbers=0, fewest_ascended=1000)
    for tol in (1e-2, 1e-4, 1e-6):
        clf = SoftmaxClassifier(C=C, tol=tol).fit(X, Y)
        assert (clf.stop_reason_ == "certified") == (clf.optimality_gap_ <= tol)
        assert clf.stop_reason_ in ("certified", "estimated", "rounding")


def test_certified_by_the_dual(rng, set_rules):
    X = sparse.random(300, 30, density=0.3, format="csr", rng=rng)
    Y = 1.0 * (X @ rng.normal(size=(30, 40)) + rng.logistic(size=(300, 40)) > 0)
    set_rules(polished_work=0, small_work=0, tiny_hessian=0)
    clf = SoftmaxClassifier(C=0.01, tol=1e-8).fit(X, Y)
    assert (clf.solver_, clf.stop_reason_) == ("dual-ascent", "certified")
    assert 0 <= clf.optimality_gap_ <= 1e-8


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
def test_rounding(solver, problem):
    assert reason_of(*problem, solver=solver, tol=0) == "rounding"


def texts(seed, n_samples, n_features, n_classes, n_words, noise):
    """Counts of words in float32, and topics."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, n_features + 1)
    words = rng.choice(n_features, (n_samples, n_words), p=share / share.sum())
    parts = np.ones(words.size, np.float32), words.ravel(), n_words * np.arange(n_samples + 1)
    X = sparse.csr_array(parts, (n_samples, n_features))
    X.sum_duplicates()
    scores = X @ rng.normal(size=(n_features, n_classes))
    return X, (scores + noise * rng.gumbel(size=scores.shape)).argmax(axis=1)


@pytest.mark.parametrize("unit", [1.0, 100.0])
@pytest.mark.parametrize("make", [(0, 2000, 1500, 5, 20, 1.0), (0, 4000, 2000, 3, 40, 3.0)])
def test_rounding_in_float32(make, unit):
    """Newton's decrement tells how far the minimum is where values do not show it any more."""
    X, y = texts(*make)
    X = X * np.float32(unit)
    clf = SoftmaxClassifier(C=100.0, tol=1e-7)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clf.fit(X, y)
    # which of the two is a matter of rounding errors, which differ between CPU targets
    assert clf.stop_reason_ in ("rounding", "estimated")
    least = SoftmaxClassifier(C=100.0, tol=1e-9).fit(X.astype(np.float64), y)
    assert least.stop_reason_ == "certified"
    loss = log_loss(y, softmax(X.astype(np.float64) @ clf.coef_.T + clf.intercept_))
    gap = (loss + penalty(clf.coef_, 0.01 / len(y))) / least.objective_ - 1
    assert gap <= clf.history_["gap"][-1]
    if clf.history_["gap"][-1] <= clf.tol:
        assert not caught
    else:
        (warning,) = caught
        assert str(warning.message).endswith("Pass X as float64, increase 'tol', or lower 'C'.")


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
def test_max_iter(solver, problem):
    warning = r"1 iterations \(reached 'max_iter'\)"
    reason = reason_of(*problem, warning, solver=solver, max_iter=1, tol=1e-9)
    assert reason == "max_iter"


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", ["adam", "sgd", Adam(batch_size=10)])
def test_epochs_that_were_asked_for(solver, early_stopping, problem):
    """They end without a warning; none, which are the start, with one."""
    options = {"solver": solver, "early_stopping": early_stopping, "tol": 1e-9}
    assert reason_of(*problem, max_iter=1, **options) == "max_iter"
    warning = r"0 epochs \(reached 'max_iter'\)"
    assert reason_of(*problem, warning, max_iter=0, **options) == "max_iter"


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_epochs_that_nobody_asked_for(solver, problem, monkeypatch):
    """The default is a limit."""
    monkeypatch.setitem(classifier.DEFAULTS, "max_iter", 2)
    warning = r"2 epochs \(reached 'max_iter'\)"
    assert reason_of(*problem, warning, solver=solver, max_iter=2, tol=0) == "max_iter"


class StopAtTheSecond:
    """A callback of scikit-learn that asks for a stop."""

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "iteration" and context.task_id == 1

    def teardown(self, estimator, context):
        pass


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "adam"])
def test_callback(solver, problem):
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")
    clf = SoftmaxClassifier(solver=solver).set_callbacks(StopAtTheSecond()).fit(*problem)
    assert clf.stop_reason_ == "callback"


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "adam"])
def test_early_stopping(solver, problem, rng):
    X, _ = problem
    noise = rng.integers(4, size=len(X))  # nothing to learn: the loss of other rows soon rises
    parameters = {"early_stopping": True, "n_iter_no_change": 1, "random_state": 0, "C": 1e6}
    assert reason_of(X, noise, solver=solver, **parameters) == "early_stopping"


@pytest.mark.parametrize("setting", [Adam(learning_rate=1e300), SGD(learning_rate=1e30)])
def test_diverged(setting, problem):
    assert reason_of(*problem, "'learning_rate' is too large", solver=setting) == "diverged"


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
@pytest.mark.parametrize("polished", [True, False])
def test_separable(polished, solver, problem, set_rules):
    if not polished:
        set_rules(polished_work=0, small_work=0)
    X, _ = problem
    y = X[:, 0] > 0
    assert reason_of(X, y, "are separable", solver=solver, C=np.inf) == "separable"


@pytest.mark.parametrize("solver", ["auto", "adam"])
def test_constant(solver, problem):
    X, _ = problem
    clf = SoftmaxClassifier(solver=solver)
    with pytest.warns(UserWarning, match="constant"):
        clf.fit(X, np.zeros((len(X), 3)))
    assert clf.stop_reason_ == "constant"


def test_line_search(problem, monkeypatch):
    """After the start the objective does not fall along any direction."""
    value_gradient, values = LinearObjective.value_gradient, itertools.count(10.0)

    def rising(self, vector):
        return next(values), value_gradient(self, vector)[1]

    monkeypatch.setattr(LinearObjective, "value_gradient", rising)
    monkeypatch.setattr(LinearObjective, "regularise", lambda self: False)
    warning = "the line search found no decrease"
    assert reason_of(*problem, warning, solver="lbfgs") == "line_search"


@pytest.mark.parametrize(("C", "reason"), [(1.0, "certified"), (np.inf, "rounding")])
def test_a_proof_counts_more_than_an_estimate(C, reason, problem, monkeypatch):
    """Rounding errors end a descent at the minimum, whose estimate is far too large."""

    def end(self, descent, tol, max_iter):
        if descent.result.n_iter < 5:
            return None
        descent.result.gap = 1.0
        descent.result.stop(StopReason.ROUNDING, False)
        return StopReason.ROUNDING

    monkeypatch.setattr(Stopping, "reason", end)
    warning = None if C == 1.0 else "no further progress"
    assert reason_of(*problem, warning, solver="newton-cholesky", C=C) == reason


def test_of_groups_the_worst(rng, set_rules):
    """One label that needs more iterations than there are, in one of three groups."""
    set_rules(polished_work=0, small_work=0, grouped=0, group_numbers=16 * 30)
    X = sparse.random(300, 30, density=0.3, format="csr", rng=rng)
    Y = 1.0 * (rng.random((300, 40)) < 0.5)
    parameters = {"solver": "lbfgs", "max_iter": 3, "C": 1e-4}
    assert reason_of(X, Y, **parameters) in ("certified", "estimated")
    X = X.multiply(np.geomspace(1e-4, 1e4, 30)).tocsr()
    Y[:, 7] = X @ rng.normal(size=30) + rng.logistic(size=300) > 0
    easy = reason_of(X, np.delete(Y, 7, axis=1), **parameters)
    assert easy in ("certified", "estimated")
    assert reason_of(X, Y, "reached 'max_iter'", **parameters) == "max_iter"


def test_every_reason_of_a_solver_has_its_words():
    """The others are found after it has stopped; what broke it off has words of its own."""
    of_fits = {StopReason.CONSTANT, StopReason.EARLY_STOPPING, StopReason.SEPARABLE}
    assert MESSAGES.keys() == set(StopReason) - of_fits - {StopReason.INTERRUPTED}
