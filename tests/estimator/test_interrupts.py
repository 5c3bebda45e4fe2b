"""Interrupts at any moment: what was found so far or nothing at all, and no further pass."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import xentlearn
from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryRows
from xentlearn._objective.dual import Dual
from xentlearn._objective.softmax_dual import SoftmaxDual
from xentlearn.losses import AsymmetricBinaryCrossentropy

PACKAGE = str(Path(xentlearn.__file__).parent)
N, N_FEATURES, N_LABELS, WIDTH = 120, 30, 44, 16


class Interrupt:
    """Raises KeyboardInterrupt at line number ``at`` of the package that a fit runs.

    After that, ``passes`` counts the sums over all rows that are begun.
    """

    def __init__(self, at, monkeypatch):
        self.at, self.n_lines, self.raised, self.passes = at, 0, False, 0
        for owner, name in (
            *((MemoryRows, name) for name in ("loss_gradient", "loss", "intercept_hessian")),
            *((owner, name) for owner in (Dual, SoftmaxDual) for name in ("sweep", "look")),
            (Dual, "_sums_of_ones"),
        ):
            monkeypatch.setattr(owner, name, self.counted(getattr(owner, name)))

    def counted(self, function):
        def call(*args, **kwargs):
            self.passes += self.raised
            return function(*args, **kwargs)

        return call

    def trace(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self.n_lines += 1
            if self.n_lines == self.at:
                self.raised = True
                raise KeyboardInterrupt
        return self.trace

    def fit(self, clf, X, Y):
        before = sys.gettrace()
        sys.settrace(self.trace)
        try:
            return clf.fit(X, Y)
        finally:
            sys.settrace(before)


@pytest.fixture
def data(rng):
    X = sparse.random(N, N_FEATURES, density=0.2, format="csr", rng=rng, dtype=np.float32)
    z = X @ rng.normal(size=(N_FEATURES, N_LABELS))
    Y = (z + rng.logistic(size=z.shape) > 2 + np.linspace(0, 1, N_LABELS)).astype(float)
    return X, sparse.csr_array(Y)


@pytest.mark.parametrize("fitted_before", [False, True])
def test_softmax_sweeps_interrupted_anywhere(fitted_before, data, set_rules, monkeypatch):
    """At every 40th of the lines that are run."""
    X, Y = data
    X, y = X.astype(np.float64), Y.toarray()[:, :7].argmax(axis=1)
    set_rules(small_work=0, polished_work=0, most_covariance=0, tiny_hessian=0)
    set_rules(most_pull=np.inf, most_row_state=np.inf)
    whole, watched = SoftmaxClassifier(C=300, tol=1e-8), Interrupt(None, monkeypatch)
    watched.fit(whole, X, y)
    assert whole.solver_ == "dual-ascent"
    kept = set()
    for at in np.linspace(1, watched.n_lines, 41).astype(int):
        clf = SoftmaxClassifier(C=300, tol=1e-8)
        if fitted_before:
            clf.fit(X[:, 1:], np.arange(N) % 2)
        before, interrupt = dict(vars(clf)), Interrupt(at, monkeypatch)
        try:
            interrupt.fit(clf, X, y)
        except KeyboardInterrupt:
            pass
        assert interrupt.raised or at == watched.n_lines
        if clf.__dict__.get("coef_") is before.get("coef_"):
            assert all(vars(clf)[key] is before[key] for key in before)
            kept.add("nothing")
            continue
        assert vars(clf).keys() == vars(whole).keys()
        assert interrupt.passes == 0
        assert np.isfinite(clf.coef_).all()
        assert {len(values) for values in clf.history_.values()} == {clf.n_iter_[0] + 1}
        kept.add(clf.stop_reason_)
    assert kept >= {"nothing", "interrupted"}


CASES = {
    "dual ascent": ("dual-ascent", {}),
    "lbfgs": ("lbfgs", {"solver": "lbfgs", "C": 10}),
    "not convex": ("lbfgs", {"loss": AsymmetricBinaryCrossentropy()}),
}


@pytest.mark.parametrize("fitted_before", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_interrupted_anywhere(name, fitted_before, data, rng, set_rules, monkeypatch):
    """At every 40th of the lines that are run."""
    X, Y = data
    solver, parameters = CASES[name]
    set_rules(small_work=0, polished_work=0, grouped=0, group_numbers=WIDTH * N_FEATURES)
    set_rules(most_pull=np.inf)
    whole, watched = SoftmaxClassifier(**parameters), Interrupt(None, monkeypatch)
    watched.fit(whole, X, Y)
    assert whole.solver_ == solver
    ones = np.asarray(Y.sum(axis=0))
    order, starts = np.argsort(ones, kind="stable"), np.log(ones / (N - ones))
    n_kept, n_nothing = set(), 0
    for at in np.linspace(1, watched.n_lines, 41).astype(int):
        clf = SoftmaxClassifier(**parameters)
        if fitted_before:
            clf.fit(X[:, 1:], np.arange(N) % 2)
        before = dict(vars(clf))
        interrupt = Interrupt(at, monkeypatch)
        try:
            interrupt.fit(clf, X, Y)
        except KeyboardInterrupt:
            pass
        assert interrupt.raised or at == watched.n_lines
        if clf.__dict__.get("coef_") is before.get("coef_"):
            assert vars(clf).keys() == before.keys()
            assert all(vars(clf)[key] is before[key] for key in before)
            n_nothing += 1
            continue
        assert vars(clf).keys() == vars(whole).keys()
        if (
            name != "not convex"
        ):  # else the value of this loss is computed, once, after a convex start
            assert interrupt.passes == 0
        assert clf.predict(X).shape == Y.shape
        assert np.isfinite(clf.coef_).all()
        assert 0 < clf.objective_ < N_LABELS
        assert {len(values) for values in clf.history_.values()} == {clf.n_iter_[0] + 1}
        if clf.stop_reason_ != "interrupted":  # after the last group
            np.testing.assert_array_equal(clf.coef_, whole.coef_)
            continue
        assert clf.optimality_gap_ == np.inf
        same = (clf.coef_ == whole.coef_).all(axis=1)[order]
        groups = [same[begin : begin + WIDTH].all() for begin in range(0, N_LABELS, WIDTH)]
        n_kept.add(sum(groups))
        assert groups == sorted(groups, reverse=True)  # those before the interrupt
        for k in order[(sum(groups) + 1) * WIDTH :]:
            assert not clf.coef_[k].any()
            np.testing.assert_allclose(clf.intercept_[k], starts[k], rtol=1e-5, atol=1e-6)
    assert n_nothing >= 1
    assert n_kept >= {0, 1, 2}


def test_interrupted_warm_start_keeps_bounds(data, set_rules, monkeypatch):
    """Labels that the interrupt leaves out keep their coefficients, moved to the bounds."""
    X, Y = data
    set_rules(grouped=0, group_numbers=WIDTH * N_FEATURES)
    first = SoftmaxClassifier(warm_start=True, C=10.0).fit(X, Y)
    assert first.coef_.max() > 0.3
    bounds, n_moved = {"coef_bounds": (-0.1, 0.3)}, set()
    watched = Interrupt(None, monkeypatch)
    watched.fit(copy.deepcopy(first).set_params(**bounds), X, Y)
    for at in np.linspace(1, watched.n_lines, 41).astype(int):
        clf, interrupt = copy.deepcopy(first).set_params(**bounds), Interrupt(at, monkeypatch)
        try:
            interrupt.fit(clf, X, Y)
        except KeyboardInterrupt:
            pass
        if (clf.coef_ == first.coef_).all():  # nothing was found
            continue
        # float32 has neither of these bounds
        assert -0.1 <= float(clf.coef_.min()) < float(clf.coef_.max()) <= 0.3
        clipped = np.clip(first.coef_, clf.coef_.min(), clf.coef_.max())
        n_moved.add(int((clf.coef_ == clipped).all(axis=1).sum()))
    assert max(n_moved) > N_LABELS / 2  # most groups were left out, and none at the end
    assert min(n_moved) == 0
