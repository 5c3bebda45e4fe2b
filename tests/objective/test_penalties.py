"""Conjugates of penalties: the largest Z . W - penalty(W) within the bounds."""

import numpy as np
import pytest
from scipy.optimize import minimize

from xentlearn._objective.penalties import FeatureTerms

BOUNDS = {
    "none": (-np.inf, np.inf),
    "signs": (0.0, np.inf),
    "below": (-0.3, np.inf),
    "above": (-np.inf, 0.2),
    "both": (-0.2, 0.3),
    "one sign": (0.0, 0.3),
}


def terms_of(l1, l2, bounds):
    """FeatureTerms of one feature, whose coefficients are a group."""
    arrays = (np.array([a], dtype=float) for a in (l1, l2, *BOUNDS[bounds]))
    return FeatureTerms(*arrays, True)


def largest(z, terms):
    """(value, W) by a general minimiser, from a few starts."""
    best, at = 0.0, np.zeros_like(z)
    bounds = [(terms.lower[0], terms.upper[0])] * len(z)

    def negative(w):
        slope = (terms.l1[0] / max(np.sqrt(w @ w), 1e-300) + terms.l2[0]) * w
        return terms.value(w[np.newaxis]) - z @ w, slope - z

    for scale in (1e-3, 0.1):
        start = np.clip(scale * z, terms.lower, terms.upper)
        if start.any():
            options = {"ftol": 1e-15, "gtol": 1e-10, "maxiter": 200}
            found = minimize(negative, start, jac=True, bounds=bounds, options=options)
            if -found.fun > best:
                best, at = -found.fun, found.x
    return best, at


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("l2", [0.0, 0.02, 3.0])
@pytest.mark.parametrize("l1", [0.0, 1e-3, 0.4])
def test_conjugate_of_a_group(l1, l2, bounds, rng):
    terms, n_beyond = terms_of(l1, l2, bounds), 0
    for _ in range(3):
        Z = rng.normal(size=(1, rng.integers(1, 6))) * 10 ** rng.uniform(-1.5, 1)
        at, limit = terms.conjugate(Z)
        if l1 > 0 and (l2 > 0 or bounds in ("both", "one sign")):
            assert limit == 1.0
        if l1 == 0 and l2 == 0 and limit == 0:
            continue
        for tau in (0.3 * limit, 0.8 * limit):
            value, slope = at(tau)
            expected, W = largest(tau * Z[0], terms)
            n_beyond += expected > 0
            assert value == pytest.approx(expected, rel=1e-7, abs=1e-14)
            assert slope == pytest.approx(Z[0] @ W, rel=1e-4, abs=1e-8)
    assert n_beyond > 0 or l2 == 0


@pytest.mark.parametrize("bounds", ["none", "below", "above", "signs"])
def test_limit_of_a_group(bounds, rng):
    """Beyond it the conjugate is inf: Z . W - penalty(W) grows along a ray within the bounds."""
    terms = terms_of(0.4, 0.0, bounds)
    for _ in range(20):
        Z = rng.normal(size=(1, 4))
        limit = terms.conjugate(Z)[1]
        lower, upper = BOUNDS[bounds]
        ray = np.where(np.where(Z > 0, upper, -lower) == np.inf, Z, 0.0)
        excess = [
            tau * np.vdot(Z, ray) - terms.value(ray) for tau in ((1 - 1e-9) * limit, 1 + 1e-9)
        ]
        assert excess[0] < 0 or not ray.any()
        assert limit == 1.0 or excess[1] > 0
        value, slope = terms.conjugate(Z)[0](limit)
        assert 0 <= value < np.inf
        assert slope >= 0
        below = terms.conjugate(Z)[0]((1 - 1e-12) * limit)[0]
        assert value == pytest.approx(below, abs=1e-5)


def test_conjugate_of_several_features(rng):
    """It is the sum over them; bounds and strengths differ. Without groups, over coefficients."""
    n = 30
    l1, l2 = rng.uniform(0.1, 1, n), rng.uniform(0, 1, n) * (rng.random(n) < 0.7)
    kinds = [list(BOUNDS.values())[k] for k in rng.integers(len(BOUNDS), size=n)]
    of_groups = FeatureTerms(l1, l2, *np.transpose(kinds), True)
    of_coefficients = FeatureTerms(l1, l2, *np.transpose(kinds), False)
    Z = rng.normal(size=(n, 3))
    for terms, size in ((of_groups, 3), (of_coefficients, 1)):
        at, limit = terms.conjugate(Z)
        parts = [
            of_groups.taken([j]).conjugate(Z[[j], k : k + size])
            for j in range(n)
            for k in range(0, 3, size)
        ]
        assert limit == min(part[1] for part in parts)
        for tau in (0.2 * limit, 0.9 * limit):
            expected = np.sum([part[0](tau) for part in parts], axis=0)
            np.testing.assert_allclose(at(tau), expected, rtol=1e-12)
