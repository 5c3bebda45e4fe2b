"""Hessians and their factors against the same in plain NumPy."""

import numpy as np
import pytest

from xentlearn._data._factors import hessian_sum, solve_factors, weighted_factors

each_dtype = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def tolerance(dtype):
    return 1e-11 if dtype == np.float64 else 2e-4


def drawn_rows(rng, dtype, n=1500, n_features=7, counts=(700, 0, 3)):
    """A problem for ``weighted_factors``: more rows than a block of them, few, and none."""
    rows = np.concatenate([rng.choice(n, count, replace=False) for count in counts])
    return {
        "X": (rng.normal(size=(n, n_features)) + 5).astype(dtype),
        "mean": np.full(n_features, 5, dtype=dtype),
        "rows": rows,
        "weight": rng.uniform(0, 2, len(rows)),
        "bounds": np.cumsum([0, *counts]),
        "common": np.cov(rng.normal(size=(n_features, 50))).astype(dtype),
        "share": np.array([0.1, 0.2, 0.3]),
        "penalty": rng.uniform(0.1, 1, n_features),
    }


def matrices(problem):
    """What is factorised, written down."""
    found = []
    for k, share in enumerate(problem["share"]):
        at = slice(problem["bounds"][k], problem["bounds"][k + 1])
        Z = problem["X"][problem["rows"][at]].astype(np.float64) - problem["mean"]
        found.append(share * problem["common"] + (Z.T * problem["weight"][at]) @ Z)
        found[-1][np.diag_indices(Z.shape[1])] += problem["penalty"]
    return np.array(found)


@each_dtype
def test_weighted_factors_solve(dtype, rng):
    problem = drawn_rows(rng, dtype)
    factors, scale = weighted_factors(**problem, least=1e-100, slack=0.0, n_threads=1)
    assert factors.dtype == scale.dtype == dtype
    want = matrices(problem)
    np.testing.assert_allclose(scale, want.diagonal(axis1=1, axis2=2) ** -0.5, rtol=1e-5)
    right = rng.normal(size=(7, 3))
    result = np.empty((7, 3))
    solve_factors(factors, scale, right, result, 2)
    solved = np.linalg.solve(want, right.T[:, :, np.newaxis])[:, :, 0].T
    np.testing.assert_allclose(result, solved, rtol=0, atol=tolerance(dtype) * abs(solved).max())


@each_dtype
def test_slack_is_of_the_scaled_matrix(dtype, rng):
    problem = drawn_rows(rng, dtype)
    problem["X"] *= dtype(1e3)
    problem["mean"] *= dtype(1e3)
    factors, scale = weighted_factors(**problem, least=1e-100, slack=0.5, n_threads=1)
    upper = np.triu(factors[0].astype(np.float64))
    unit = matrices(problem)[0] * np.outer(scale[0], scale[0])
    np.testing.assert_allclose(upper.T @ upper, unit + 0.5 * np.eye(7), atol=tolerance(dtype))


def test_no_curvature_and_no_penalty(rng):
    """A matrix of zeros is left alone, but for the slack."""
    problem = drawn_rows(rng, np.float64, counts=(0, 0, 0))
    problem["share"][:], problem["penalty"][:] = 0, 0
    factors, scale = weighted_factors(**problem, least=1e-100, slack=0.25, n_threads=1)
    np.testing.assert_array_equal(scale, 1)
    np.testing.assert_array_equal(np.triu(factors), np.broadcast_to(0.5 * np.eye(7), (3, 7, 7)))


def test_features_of_any_scale(rng):
    """In float32, where the product of two scales would overflow."""
    problem = drawn_rows(rng, np.float32, counts=(700, 700, 700))
    units = np.full(7, 1.0)
    units[:2] = 1e-18
    for name in ("X", "mean"):
        problem[name] = (problem[name] * units).astype(np.float32)
    problem["common"] = (problem["common"] * np.outer(units, units)).astype(np.float32)
    problem["penalty"][:] = 0
    factors, scale = weighted_factors(**problem, least=1e-100, slack=1e-5, n_threads=1)
    unit = matrices(problem)[1] * np.outer(scale[1].astype(float), scale[1])
    upper = np.triu(factors[1].astype(np.float64))
    np.testing.assert_allclose(upper.T @ upper, unit, atol=1e-3)


def test_tiny_features_cost_no_time(rng):
    """A feature that is 1e-33 in all rows counts as 0: its products would be subnormal."""
    problem = drawn_rows(rng, np.float32, counts=(700, 700, 700))
    problem["X"][:, 3] = 1e-33
    problem["mean"][3] = 0
    factors, scale = weighted_factors(**problem, least=1e-100, slack=0.0, n_threads=1)
    problem["X"][:, 3] = 0
    without = weighted_factors(**problem, least=1e-100, slack=0.0, n_threads=1)
    np.testing.assert_array_equal(factors, without[0])
    np.testing.assert_array_equal(scale, without[1])


def test_a_matrix_that_is_not_definite_is_named(rng):
    problem = drawn_rows(rng, np.float64)
    problem["common"][0, 1] = problem["common"][1, 0] = 100.0
    problem["share"][:] = 0, 0, 1
    with pytest.raises(np.linalg.LinAlgError, match="output 2"):
        weighted_factors(**problem, least=1e-100, slack=0.0, n_threads=1)


def hessian_problem(rng, dtype, n, n_rows, n_outputs, kind):
    """Z, and for a softmax, binary outputs or a mixture of both what ``hessian_sum`` wants."""
    weight = rng.uniform(0.5, 2, n)
    Z = rng.normal(size=(n, n_rows)).astype(dtype)
    coupling = curvature = None
    if kind != "binary":
        p = np.exp(rng.normal(0, 4, size=(n_outputs, n)))
        coupling = (np.sqrt(weight) * p / p.sum(axis=0)).astype(dtype)
    if kind != "softmax":
        curvature = rng.uniform(0, 0.25, (n_outputs, n)).astype(dtype)
    return Z, curvature, coupling, weight


def hessian_of(Z, curvature, coupling):
    """The same by the definition, in float64."""
    n_outputs = len(curvature if coupling is None else coupling)
    Z, n = Z.astype(np.float64), Z.shape[1]
    want = np.zeros((n_outputs, n, n_outputs, n))
    for k in range(n_outputs):
        if curvature is not None:
            want[k, :, k] += (Z.T * curvature[k]) @ Z
        for other in range(n_outputs if coupling is not None else 0):
            if other != k:
                pull = (Z.T * (coupling[k].astype(np.float64) * coupling[other])) @ Z
                want[k, :, k] += pull
                want[k, :, other] = -pull
    return want.reshape(n_outputs * n, n_outputs * n)


def symmetric(matrix):
    """From its upper half."""
    upper = np.triu(matrix).astype(np.float64)
    return upper + np.triu(upper, 1).T


each_kind = pytest.mark.parametrize("kind", ["softmax", "binary", "both"])


@each_dtype
@each_kind
@pytest.mark.parametrize(("n", "n_rows", "n_outputs"), [(40, 3, 1), (90, 1, 4), (1300, 20, 9)])
def test_hessian_sum(n, n_rows, n_outputs, kind, dtype, rng):
    """Also of more rows than are weighted at a time."""
    Z, curvature, coupling, weight = hessian_problem(rng, dtype, n, n_rows, n_outputs, kind)
    got = hessian_sum(Z, curvature, coupling, weight, 0.0, 1)
    assert got.dtype == dtype
    want = hessian_of(Z, curvature, coupling)
    np.testing.assert_allclose(
        symmetric(got), want, rtol=0, atol=tolerance(dtype) * abs(want).max()
    )


@each_dtype
@each_kind
@pytest.mark.parametrize("neglected", [0.01, 0.05, 0.5])
def test_hessian_with_neglected_rows(neglected, kind, dtype, rng):
    """The diagonal of each output in the logits stays; the rest moves by what is neglected."""
    n, n_rows, n_outputs = 3000, 5, 6
    Z, curvature, coupling, weight = hessian_problem(rng, dtype, n, n_rows, n_outputs, kind)
    Z[:, -1] = 1  # its products are the sums of what the rows weigh
    exact = symmetric(hessian_sum(Z, curvature, coupling, weight, 0.0, 1))
    got = symmetric(hessian_sum(Z, curvature, coupling, weight, neglected, 1))
    last = slice(n_rows - 1, None, n_rows)
    of_outputs = exact[last, last].diagonal()
    np.testing.assert_allclose(got[last, last].diagonal(), of_outputs, rtol=1e-4)
    change = abs(got - exact)[last, last] / of_outputs
    assert change.sum(axis=0).max() <= neglected + 1e-5
    if kind == "binary":
        np.testing.assert_array_equal(got, exact)
    else:
        assert change.max() > neglected / 1000
    # as a preconditioner it must be positive definite, but for the common change of a softmax
    balanced = np.eye(n_outputs)[:, 1:] - 1 / n_outputs
    onto = np.kron(balanced, np.eye(n_rows))
    assert np.linalg.eigvalsh(onto.T @ got @ onto).min() > 0


@each_dtype
def test_hessian_where_nothing_is_left(dtype):
    """Of rows that are certain, and of rows without weight."""
    Z, certain = np.ones((50, 2), dtype), np.zeros((3, 50), dtype)
    certain[0] = 1
    for coupling in (certain, np.zeros_like(certain)):
        got = hessian_sum(Z, None, coupling, np.ones(50), 0.05, 1)
        np.testing.assert_array_equal(np.triu(got), 0)


@each_dtype
def test_the_same_bits_for_any_number_of_threads(dtype, rng):
    problem = drawn_rows(rng, dtype)
    one, two = (
        weighted_factors(**problem, least=1e-100, slack=0.0, n_threads=n)[0] for n in (1, 3)
    )
    np.testing.assert_array_equal(np.triu(one), np.triu(two))
    given = hessian_problem(rng, dtype, 3000, 12, 10, "both")
    for neglected in (0.0, 0.05):
        np.testing.assert_array_equal(
            hessian_sum(*given, neglected, 1), hessian_sum(*given, neglected, 3)
        )
