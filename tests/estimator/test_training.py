"""Outputs that are fitted in groups: the same answer as together, in any order of events."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier
from xentlearn._plan.plan import output_groups, separate_groups
from xentlearn._solvers.registry import SOLVERS
from xentlearn.losses import AsymmetricBinaryCrossentropy, BinaryCrossentropy

N, N_FEATURES, N_LABELS = 300, 40, 23


@pytest.fixture
def X(rng):
    return sparse.random(N, N_FEATURES, density=0.2, format="csr", rng=rng)


@pytest.fixture
def grouped(set_rules):
    """Groups of 16 outputs, and of the 7 that are left; X stays sparse."""
    set_rules(small_work=0, grouped=0, group_numbers=16 * N_FEATURES)


def indicator(X, rng):
    z = X @ rng.normal(size=(N_FEATURES, N_LABELS)) * 3
    return (z + rng.logistic(size=z.shape) > 0).astype(float)


def test_groups(rng):
    shape, outputs = (1000, 100_000), np.arange(100)
    mass = rng.integers(50, size=(100, 2))
    groups = output_groups(shape, outputs, True, mass)
    assert [len(group) for group in groups] == [16] * 6 + [4]
    in_order = np.concatenate(groups)
    np.testing.assert_array_equal(np.sort(in_order), outputs)
    assert (np.diff(mass[in_order, 1]) >= 0).all()
    assert len(output_groups(shape, outputs, False, mass)) == 1
    assert output_groups(shape, outputs[:0], True, mass) == []
    assert len(output_groups((1000, 1000), outputs, True, mass)) == 1
    dense = output_groups((1000, 784), outputs, True, mass, is_sparse=False)
    assert [len(group) for group in dense] == [16] * 6 + [4]
    assert len(output_groups((1000, 100), outputs, True, mass, is_sparse=False)) == 1
    assert len(output_groups((0, 0), outputs, True, mass, is_sparse=False)) == 1
    many_rows = output_groups((1_000_000, 1000), outputs, True, mass)
    assert [len(group) for group in many_rows] == [16] * 6 + [4]


def test_separate_groups(rng):
    """Small ones where models are large; outputs of a softmax stay together."""
    outputs, mass = np.arange(20), rng.integers(50, size=(20, 2))

    def sizes(n_features, alone=True, is_sparse=False, outputs=outputs):
        groups = separate_groups(n_features, outputs, alone, mass, is_sparse)
        in_order = np.concatenate([*groups, []]).astype(int)
        np.testing.assert_array_equal(np.sort(in_order), outputs)
        assert not alone or (np.diff(mass[in_order, 1]) >= 0).all() or len(groups) < 2
        return [len(group) for group in groups]

    assert sizes(100_000, is_sparse=True) == sizes(5) == [7, 7, 6]
    assert sizes(100) == [2] * 10
    assert sizes(500) == [1] * 20
    assert sizes(500, alone=False) == [20]
    assert sizes(500, outputs=outputs[:0]) == []


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
def test_labels_with_l1_in_groups(container, rng):
    """Each label as in a fit of its own."""
    X = sparse.random(N, N_FEATURES, density=0.2, rng=rng).toarray()
    Y = indicator(X, rng)
    clf = SoftmaxClassifier(l1_ratio=1.0, C=0.5, tol=1e-10).fit(container(X), Y)
    assert clf.stop_reason_ == "certified"
    for k in range(N_LABELS):
        alone = SoftmaxClassifier(l1_ratio=1.0, C=0.5, tol=1e-10).fit(container(X), Y[:, k])
        np.testing.assert_allclose(clf.coef_[k], alone.coef_[0], atol=1e-5)
        np.testing.assert_array_equal(clf.coef_[k] == 0, alone.coef_[0] == 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_labels_of_dense_X_in_groups(dtype, rng, set_rules):
    """Groups of 16 with diagonal blocks: the minimum of all together, by any number of threads."""
    n, n_features = 4000, 30
    X = rng.integers(0, 9, size=(n, n_features)).astype(dtype)
    z = X @ rng.normal(size=(n_features, N_LABELS)) / 4
    Y = (z - z.mean(axis=0) + rng.logistic(size=z.shape) > 3).astype(float)
    # too large for whole Hessians, and for diagonal blocks of all labels together
    set_rules(polished_work=0, small_work=0, tiny_hessian=0, hessian_work=0)
    together = SoftmaxClassifier(tol=1e-7).fit(X, Y)
    set_rules(most_block_numbers=16 * n_features**2, least_refresh=2, passes_per_block=0)
    fits = []
    for n_threads in (1, 2):
        with threadpool_limits(limits=n_threads):
            fits.append(SoftmaxClassifier(tol=1e-7).fit(X, Y))
    np.testing.assert_array_equal(fits[0].coef_, fits[1].coef_)
    np.testing.assert_array_equal(fits[0].intercept_, fits[1].intercept_)
    assert "in 2 groups" in str(fits[0].plan_)
    assert fits[0].optimality_gap_ <= 1e-4
    np.testing.assert_allclose(fits[0].objective_, together.objective_, rtol=1e-6)
    np.testing.assert_allclose(fits[0].coef_, together.coef_, atol=2e-2)


@pytest.mark.parametrize("loss", ["auto", AsymmetricBinaryCrossentropy()], ids=str)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_labels_in_groups(loss, container, X, rng, request):
    Y = indicator(X, rng)
    Y[:, 5] = 1.0  # fits nothing
    if container is np.asarray:
        Y[rng.random(Y.shape) < 0.1] = np.nan
    clf = SoftmaxClassifier(loss, tol=1e-10)
    with pytest.warns(UserWarning, match="do not vary"):
        clf.fit(X, container(Y))
    together = clf.coef_, clf.intercept_, clf.objective_, clf.predict_proba(X)
    request.getfixturevalue("grouped")
    with pytest.warns(UserWarning, match="do not vary"):
        clf.fit(X, container(Y))
    apart = clf.coef_, clf.intercept_, clf.objective_, clf.predict_proba(X)
    for got, want in zip(apart, together, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    lengths = {name: len(values) for name, values in clf.history_.items()}
    assert set(lengths.values()) == {clf.n_iter_[0] + 1}
    assert clf.history_["objective"][-1] == pytest.approx(clf.objective_, rel=1e-12)
    assert (np.diff(clf.history_["objective"]) <= 1e-12).all()
    if clf.loss_._certifiable:
        assert 0 < clf.optimality_gap_ < 1e-6
    else:
        assert clf.optimality_gap_ == np.inf


def test_one_vs_rest_in_groups(X, rng, grouped):
    """The rows of classes of another group are negatives all the same."""
    y = rng.integers(N_LABELS, size=N)
    clf = SoftmaxClassifier("binary_crossentropy", tol=1e-10).fit(X, y)
    for k in (0, 15, 16, N_LABELS - 1):
        one = SoftmaxClassifier(tol=1e-10).fit(X, y == k)
        np.testing.assert_allclose(clf.coef_[k], one.coef_[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(clf.intercept_[k], one.intercept_[0], rtol=1e-4, atol=1e-5)


def test_weights_by_label_in_groups(X, rng, grouped):
    Y, pos_weight = indicator(X, rng), rng.uniform(0.5, 2, size=N_LABELS)
    weight = rng.random(Y.shape)
    clf = SoftmaxClassifier(BinaryCrossentropy(pos_weight=pos_weight), tol=1e-10).fit(X, Y, weight)
    for k in (3, 20):
        one = SoftmaxClassifier(BinaryCrossentropy(pos_weight=pos_weight[k]), tol=1e-10)
        # S is the mean weight of a row over all labels there, of the one label here
        one.fit(X, Y[:, k], weight[:, k])
        np.testing.assert_allclose(clf.coef_[k], one.coef_[0], rtol=1e-4, atol=1e-5)


def test_interrupted_in_the_second_group(X, rng, grouped, monkeypatch):
    """The first group stays as it was found, others are as good a guess as there is."""
    Y = indicator(X, rng)
    order = np.argsort(Y.sum(axis=0), kind="stable")
    first, second = order[:16], order[16:]
    whole = SoftmaxClassifier(solver="lbfgs").fit(X, Y)
    solve, n_begun = SOLVERS["lbfgs"], 0

    def interrupted(objective, start, *, callback, **options):
        nonlocal n_begun
        n_begun += 1

        def watch(result):
            if n_begun == 2 and result.n_iter == 1:
                raise KeyboardInterrupt
            return callback(result)

        return solve(objective, start, callback=watch, **options)

    monkeypatch.setitem(SOLVERS, "lbfgs", interrupted)
    clf = SoftmaxClassifier(solver="lbfgs")
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, Y)
    np.testing.assert_array_equal(clf.coef_[first], whole.coef_[first])
    assert clf.coef_[second].any()
    assert not np.array_equal(clf.coef_[second], whole.coef_[second])
    assert np.isfinite(clf.predict_proba(X)).all()


def test_max_iter_of_a_group_warns(X, rng, grouped):
    with pytest.warns(ConvergenceWarning, match=r"lbfgs stopped after 2 iterations"):
        SoftmaxClassifier(solver="lbfgs", max_iter=2, tol=1e-9).fit(X, indicator(X, rng))


def test_warm_start_in_groups(X, rng, grouped):
    Y = indicator(X, rng)
    clf = SoftmaxClassifier(solver="lbfgs", warm_start=True).fit(X, Y)
    before = clf.coef_.copy()
    clf.fit(X, Y)
    assert clf.n_iter_[0] <= 2
    np.testing.assert_allclose(clf.coef_, before, atol=1e-4)


def test_memory_of_many_groups(rng, set_rules):
    """Groups that are finished leave nothing behind but their coefficients."""
    n, n_features, n_labels = 400, 2000, 640
    set_rules(grouped=0, group_numbers=16 * n_features)
    X = sparse.random(n, n_features, density=0.01, format="csr", rng=rng)
    Y = sparse.random(n, n_labels, density=0.02, format="csr", rng=rng)
    Y.data[:] = 1.0
    clf = SoftmaxClassifier(C=0.1)
    clf.fit(X[:, :50], Y[:, :20])  # imports
    tracemalloc.start()
    try:
        clf.fit(X, Y)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert clf.solver_ == "dual-ascent"
    assert taken < 1.7 * clf.coef_.nbytes  # coefficients, and the arrays of one group of 40
