"""Sweeps over coefficients against the same in plain NumPy, in few parts and in many."""

import numpy as np
import pytest

from xentlearn._objective.hessian_blocks import on_balanced
from xentlearn._utils._sweeps import centre, difference, divide

each_shape = pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (700, 3), (90, 2000)])
each_n_threads = pytest.mark.parametrize("n_threads", [1, 3])


@each_shape
@each_n_threads
@pytest.mark.parametrize("in_place", [False, True])
def test_centre(shape, n_threads, in_place, rng):
    sums, coef = rng.normal(size=(2, *shape))
    mean, intercept = rng.normal(size=shape[0]), rng.normal(size=shape[1])
    strength = rng.uniform(0, 2, shape[0])
    want = sums / 7.0 - np.outer(mean, intercept) + strength[:, np.newaxis] * coef
    gradient = sums if in_place else np.empty(shape)
    penalty = centre(sums, 7.0, intercept, mean, strength, coef, gradient, n_threads)
    np.testing.assert_allclose(gradient, want, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(penalty, 0.5 * np.sum(strength[:, np.newaxis] * coef**2), rtol=1e-12)


@each_shape
@each_n_threads
@pytest.mark.parametrize("in_place", [False, True])
def test_divide(shape, n_threads, in_place, rng):
    values, relative = rng.normal(size=shape), rng.uniform(0.1, 10, shape[1])
    numerator, share, for_mean = rng.uniform(0.1, 10, (3, shape[0]))
    inverse = numerator[:, np.newaxis] / (np.outer(share, relative) + 0.5)
    factors = numerator, 0.5, share, relative, for_mean
    plain, balanced = np.empty(shape), values.copy() if in_place else np.empty(shape)
    divide(values, *factors, False, plain, n_threads)
    np.testing.assert_allclose(plain, values * inverse, rtol=1e-15)
    given = balanced if in_place else values
    divide(given, *factors, True, balanced, n_threads)
    if values.size:
        want = on_balanced(lambda values: values * inverse, values, for_mean[:, np.newaxis])
        np.testing.assert_allclose(balanced, want, rtol=1e-11, atol=1e-12)


@each_n_threads
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [0, 1, 150_000])
def test_difference(size, dtype, n_threads, rng):
    minuend, subtrahend = rng.normal(size=(2, size))
    out = np.empty(size, dtype)
    difference(minuend, subtrahend, out, n_threads)
    np.testing.assert_array_equal(out, (minuend - subtrahend).astype(dtype))


def test_the_same_bits_for_any_number_of_threads(rng):
    sums, coef = rng.normal(size=(2, 50_000, 3)) * 10.0 ** rng.integers(-8, 8, size=(50_000, 3))
    mean, strength = rng.uniform(0, 2, (2, len(coef)))
    found = []
    for n_threads in (1, 2, 5):
        gradient, balanced = np.empty((2, *coef.shape))
        penalty = centre(sums, 3.0, np.ones(3), mean, strength, coef, gradient, n_threads)
        divide(sums, mean, 1.0, mean, coef[0] ** 2, mean, True, balanced, n_threads)
        found.append((penalty, gradient, balanced))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(one, other)
