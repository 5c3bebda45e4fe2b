"""The compiled parts of proximal Newton for small problems, beside the same written down."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.preprocessing import scale

from xentlearn import SoftmaxClassifier
from xentlearn._objective._matrix_model import minimise
from xentlearn._objective._penalties import penalty, shift
from xentlearn._plan.composite_settings import ProximalNewton
from xentlearn._utils.numerics import SLACK

LAYOUTS = {"lasso": (0.3, 0.0), "elastic net": (0.2, 0.1), "ridge": (0.0, 0.5)}
FEW_STEPS = 12  # with a gap of 1e-18 at their end


def quadratic(seed, n=12, rank=30):
    """A positive definite matrix, whose features differ in size, and a gradient."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((rank, n)) @ (np.eye(n) + rng.standard_normal((n, n)))
    Z *= np.geomspace(0.3, 3, n)
    return Z.T @ Z / rank, rng.standard_normal(n)


def residual(matrix, g, l1, l2, lower, upper, w, w0):
    """The least subgradient of the model at w; 0 at its minimum."""
    slope = g + matrix @ (w - w0) + l2 * w
    shrunk = np.sign(slope) * np.maximum(np.abs(slope) - l1, 0)
    slope = np.where(w == 0, shrunk, slope + l1 * np.sign(w))
    slope[(w <= lower) & (slope > 0)] = 0
    slope[(w >= upper) & (slope < 0)] = 0
    return slope


def value(matrix, g, l1, l2, w, w0):
    d = w - w0
    return g @ d + d @ matrix @ d / 2 + l1 @ np.abs(w) + l2 @ (w * w) / 2


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(5))
def test_minimum_of_a_model(seed, layout, bounded):
    matrix, g = quadratic(seed)
    n = len(g)
    rng = np.random.default_rng(seed)
    l1, l2 = (np.full(n, strength) for strength in LAYOUTS[layout])
    l1[-1] = 0.0  # an intercept
    lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
    if bounded:
        lower, upper = np.where(rng.random(n) < 0.5, 0.0, -0.1), np.full(n, 0.2)
    w0 = np.clip(rng.standard_normal(n) * (rng.random(n) < 0.5), lower, upper)
    w = w0.copy()
    terms = l1, l2, lower, upper
    slack, settings = SLACK[np.dtype(float)], ProximalNewton()
    order = rng.permutation(n)
    gained, left = minimise(matrix, order, g, *terms, w, 1e-24, 5, settings, slack, 1e-15)
    assert (lower <= w).all()
    assert (w <= upper).all()
    np.testing.assert_allclose(residual(matrix, g, *terms, w, w0), 0, atol=1e-10)
    decrease = value(matrix, g, l1, l2, w0, w0) - value(matrix, g, l1, l2, w, w0)
    assert gained == pytest.approx(decrease, rel=1e-12)
    assert gained > 0
    assert left < 1e-20


def test_a_singular_model_without_coordinates_and_one_with_two_alike():
    empty = np.empty(0)
    settings, options = ProximalNewton(), (1e-3, 5, ProximalNewton(), 1e-15, 1e-15)
    none = np.empty(0, dtype=np.intp)
    assert minimise(np.empty((0, 0)), none, *[empty] * 6, *options) == (0.0, 0.0)
    matrix, g, w = np.ones((2, 2)), np.array([-1.0, -1.0]), np.zeros(2)
    l1, l2 = np.full(2, 0.25), np.zeros(2)
    infinite = np.full(2, np.inf)
    gained, _ = minimise(
        matrix, np.arange(2), g, l1, l2, -infinite, infinite, w, 1e-20, 5, settings, 1e-15, 1e-15
    )
    assert w.sum() == pytest.approx(0.75)
    assert gained == pytest.approx(0.75**2 / 2)


@pytest.mark.parametrize("grouped", [False, True])
def test_penalty(grouped):
    rng = np.random.default_rng(0)
    W, l1, l2 = rng.standard_normal((5, 4)), rng.random(5), rng.random(5)
    W[2] = 0
    sizes = np.linalg.norm(W, axis=1) if grouped else np.abs(W).sum(axis=1)
    expected = l1 @ sizes + l2 @ (W**2).sum(axis=1) / 2
    assert penalty(W, l1, l2, grouped) == pytest.approx(expected, rel=1e-14)
    assert penalty(W[::2].T.copy().T, l1[::2].copy(), l2[::2].copy(), grouped) < expected


@pytest.mark.parametrize("n_outputs", [3, 4])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("strengths", [(0.5, 0.0), (0.3, 0.2), (0.0, 1.0), (2.0, 0.01)])
def test_shift(strengths, grouped, n_outputs):
    """No other shift has a lower penalty, and among equals it is the one nearest to the mean."""
    rng = np.random.default_rng(1)
    W = np.round(rng.standard_normal((8, n_outputs)), 1)
    W[0], W[1, 1:] = 0.0, 0.0
    l1, l2 = (np.full(len(W), strength) for strength in strengths)
    lower, upper = np.full(len(W), -np.inf), np.full(len(W), np.inf)
    upper[3] = W[3].max()
    found = W.copy()
    shift(found, l1, l2, lower, upper, grouped)
    moves = (found - W)[:, 0]
    np.testing.assert_allclose(found - W, np.repeat(moves[:, np.newaxis], n_outputs, axis=1))
    assert (found[3] <= upper[3] + 1e-15).all()
    for j in range(len(W)):
        one = slice(j, j + 1)
        least = penalty(found[one], l1[one], l2[one], grouped)
        for move in np.linspace(-3, 3, 601):
            other = W[one] + move
            if (other <= upper[j]).all():
                now = penalty(other, l1[one], l2[one], grouped)
                assert now >= least - 1e-12
                if now <= least + 1e-15:
                    assert np.square(other).sum() >= np.square(found[j]).sum() - 1e-12


@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("is_scaled", [False, True])
@pytest.mark.parametrize("load", [load_iris, load_wine, load_breast_cancer])
def test_small_tables_take_few_steps(load, is_scaled, l1_ratio):
    X, y = load(return_X_y=True)
    clf = SoftmaxClassifier(l1_ratio=l1_ratio).fit(scale(X) if is_scaled else X, y)
    assert clf.stop_reason_ == "certified"
    assert clf.n_iter_[0] <= FEW_STEPS
    history = clf.history_["gap"]
    assert all(after <= before for before, after in pairwise(history[:-1]))
    assert clf.optimality_gap_ <= 1e-4
    exact = SoftmaxClassifier(l1_ratio=l1_ratio, tol=1e-12).fit(scale(X) if is_scaled else X, y)
    np.testing.assert_allclose(clf.coef_, exact.coef_, rtol=1e-6, atol=1e-9)
