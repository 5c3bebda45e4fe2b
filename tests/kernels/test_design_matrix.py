"""The fused pass over X against plain NumPy in float64, on every CPU target that this machine has.

Errors are judged against what rounding alone can do (`Bounds`): logits are sums of n_features
products, rows are right to 8 eps for the logits they get, gradients are sums over the rows.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy import sparse

import reference as ref
import xentlearn
from xentlearn import _loss
from xentlearn._data._design_matrix import DesignMatrix
from xentlearn._loss import EncodedTarget

TARGETS = _loss.available_cpu_targets()
DTYPES = [np.float32, np.float64]
KINDS = ["sparse_categorical", "categorical", "binary"]
# around the heights of tiles (up to 8 rows) and of blocks (256 rows; fewer where X is wide)
SAMPLE_COUNTS = [1, 7, 8, 9, 255, 256, 257]
FEATURE_COUNTS = [0, 1, 2, 7, 8, 9, 100]
OUTPUT_COUNTS = [1, 2, 3, 8, 15, 16, 17, 33, 100]  # around the widths of vectors and of two
THREAD_COUNTS = [1, 2, 3, 8]
SCORES = ["logits", "softmax", "log_softmax", "sigmoid", "log_sigmoid"]

# From so many classes and rows on, a pass over a dense X may work on tiles of classes, of 192 for
# few features; of the last tile and of its vectors, some are full and others are not.
MANY, MANY_ROWS = 4096, 256

# In units of the bounds below, which leave out how many terms a sum has: roundings of random sign
# add up like a random walk. The largest error seen is half of this, in sums of 100 products.
SLACK = 8

each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_output_count = pytest.mark.parametrize("n_outputs", OUTPUT_COUNTS)


@pytest.fixture
def each_target():
    """Iterator over the CPU targets, each in use while it is the current one."""

    def switch():
        for name in TARGETS:
            xentlearn.use_cpu_target(name)
            yield name

    before = _loss.current_cpu_target()
    yield switch
    xentlearn.use_cpu_target(before)


# --- Problems, and what is right ------------------------------------------------------------------


@dataclass
class Problem:
    """X, coefficients that are exact in its dtype, and targets with their options."""

    kind: str
    X: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    coef_direction: np.ndarray
    intercept_direction: np.ndarray
    labels: np.ndarray | None = None
    values: np.ndarray | None = None
    options: dict = field(default_factory=dict)

    @property
    def encoded(self):
        shape = self.X.shape[0], self.coef.shape[1]
        return EncodedTarget(
            self.kind, *shape, self.X.dtype, labels=self.labels, values=self.values, **self.options
        )

    @property
    def at(self):
        return self.coef, self.intercept

    @property
    def direction(self):
        return self.coef_direction, self.intercept_direction


def make_problem(kind, n, n_features, n_outputs, dtype, rng, **options):
    """A random problem; `labels=True` gives a binary one labels (one-vs-rest)."""

    def numbers(*shape, scale=1.0):
        return (scale * rng.normal(size=shape)).astype(dtype).astype(np.float64)

    labels = values = None
    if kind == "sparse_categorical" or options.pop("labels", False):
        labels = rng.integers(n_outputs, size=n).astype(np.int32)
        labels[3::11] = -1  # ignored
    elif kind == "categorical":
        values = rng.dirichlet(np.full(n_outputs, 0.5), size=n).astype(dtype)
    else:
        values = rng.choice([0, 1, 0.25, np.nan], (n, n_outputs), p=[0.4, 0.4, 0.1, 0.1])
        values = values.astype(dtype)
    scale = 2 / np.sqrt(max(1, n_features))
    return Problem(
        kind,
        numbers(n, n_features).astype(dtype),
        numbers(n_features, n_outputs, scale=scale),
        numbers(n_outputs),
        numbers(n_features, n_outputs, scale=scale),
        numbers(n_outputs),
        labels,
        values,
        options,
    )


@dataclass
class Bounds:
    """What is right, and how far rounding may lead away from it; in float64."""

    loss: tuple
    gradient: tuple
    product: tuple
    scores: dict


def plain(problem):
    """Everything that a pass computes, in plain NumPy."""
    X = problem.X.astype(np.float64)
    n, n_outputs = X.shape[0], problem.coef.shape[1]
    smoothing = problem.options.get("label_smoothing", 0.0)
    weight = problem.options.get("weight")
    weight = np.ones((n, 1)) if weight is None else weight[:, np.newaxis]

    logits = X @ problem.coef + problem.intercept
    change = X @ problem.coef_direction + problem.intercept_direction
    # what rounding may do to them, in eps
    of_logits = np.abs(X) @ np.abs(problem.coef) + np.abs(problem.intercept)
    of_change = np.abs(X) @ np.abs(problem.coef_direction) + np.abs(problem.intercept_direction)
    budget = ref.BUDGET_IN_EPS

    if problem.labels is not None:
        weight = np.where(problem.labels[:, np.newaxis] >= 0, weight, 0)
        targets = np.eye(n_outputs)[problem.labels]
    else:
        targets = problem.values.astype(np.float64)
    if problem.kind == "binary":
        weight = weight * np.where(np.isnan(targets), 0, 1)
        targets = (1 - smoothing) * np.nan_to_num(targets) + smoothing / 2
        if problem.options.get("entry_weight") is not None:
            weight = weight * problem.options["entry_weight"]
        positive = problem.options.get("positive")
        ones = targets * (1 if positive is None else positive)
        mass = ones + 1 - targets
        p = ref.sigmoid(logits)
        losses = ones * np.logaddexp(0, -logits) + (1 - targets) * np.logaddexp(0, logits)
        residual, size = mass * p - ones, np.maximum(mass * p, ones)
        product, size_product = mass * p * (1 - p) * change, mass * p * np.abs(change)
        sensitivity, of_change = of_logits, mass * p * of_change
    else:
        targets = (1 - smoothing) * targets + smoothing / n_outputs
        mass = targets.sum(axis=1, keepdims=True)
        p = ref.softmax(logits)
        largest = logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
        losses = targets * (largest + log_sum - logits)
        residual, size = mass * p - targets, np.maximum(p, targets)
        mean = (p * change).sum(axis=1, keepdims=True)
        product = mass * p * (change - mean)
        size_product = p * (np.abs(change) + (p * np.abs(change)).sum(axis=1, keepdims=True))
        sensitivity = of_logits.max(axis=1, keepdims=True)
        of_change = p * (of_change + (p * of_change).sum(axis=1, keepdims=True))

    def totals(rows, errors):
        """Gradients in coef and intercept, each with its bound."""
        rows, errors = weight * rows, weight * errors
        return (
            (X.T @ rows, np.abs(X).T @ errors),
            (np.array([math.fsum(column) for column in rows.T]), errors.sum(axis=0)),
        )

    relative = budget + 2 * sensitivity
    largest = logits.max(axis=1, keepdims=True)
    log_softmax = logits - largest
    log_softmax -= np.log(np.exp(log_softmax).sum(axis=1, keepdims=True))
    log_sigmoid = -np.logaddexp(0, -logits)
    of_row = of_logits.max(axis=1, keepdims=True)
    return Bounds(
        (
            math.fsum((weight * losses).ravel()),
            (weight * (budget * losses + 2 * sensitivity * size)).sum(),
        ),
        totals(residual, relative * size),
        totals(product, relative * size_product + of_change),
        {
            "logits": (logits, of_logits),
            "softmax": (np.exp(log_softmax), np.exp(log_softmax) * (budget + 2 * of_row)),
            "log_softmax": (log_softmax, budget * np.abs(log_softmax) + 2 * of_row),
            "sigmoid": (np.exp(log_sigmoid), np.exp(log_sigmoid) * (budget + of_logits)),
            "log_sigmoid": (log_sigmoid, budget * np.abs(log_sigmoid) + of_logits),
        },
    )


def assert_within(got, wanted, dtype, what):
    """Raise AssertionError unless `got` is within its bound of what is wanted."""
    want, bound = wanted
    assert np.shape(got) == np.shape(want), what
    limit = SLACK * np.finfo(dtype).eps * np.asarray(bound) + np.finfo(dtype).tiny
    error = np.abs(got - want)
    assert (error <= limit).all(), f"{what}: {np.max(error / limit):.3g} times the bound"


def evaluate(problem, n_threads=1, X=None, scores=SCORES):
    """Everything that a pass computes, as a dict of arrays.

    Without scores, MANY classes are worked on in tiles on every CPU target.
    """
    design = DesignMatrix(problem.X if X is None else X)
    if not scores:
        design.least_tiled = MANY
    encoded = problem.encoded
    loss, *gradient = design.loss_gradient(encoded, *problem.at, n_threads)
    product = design.hessian_product(encoded, *problem.at, *problem.direction, n_threads)
    results = {
        "loss": np.asarray(loss),
        "gradient of coef": gradient[0],
        "gradient of intercept": gradient[1],
        "product of coef": product[0],
        "product of intercept": product[1],
    }
    for kind in scores:
        results[kind] = np.full(
            (problem.X.shape[0], problem.coef.shape[1]), np.nan, problem.X.dtype
        )
        design.scores(*problem.at, results[kind], kind, n_threads)
    return results


def assert_matches_plain(problem, right, what, X=None, scores=SCORES):
    """Compare a pass with `right`, the answer of `plain`."""
    dtype = problem.X.dtype
    got = evaluate(problem, X=X, scores=scores)
    for name, wanted in [
        ("loss", right.loss),
        ("gradient of coef", right.gradient[0]),
        ("gradient of intercept", right.gradient[1]),
        ("product of coef", right.product[0]),
        ("product of intercept", right.product[1]),
        *((kind, right.scores[kind]) for kind in scores),
    ]:
        if name not in right.scores:
            assert got[name].dtype == np.float64, name
        assert_within(got[name], wanted, dtype, f"{name} ({what})")


def assert_same_bits(got, want):
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].dtype == want[name].dtype, name
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


# --- Shapes ---------------------------------------------------------------------------------------


@each_dtype
@each_kind
@each_output_count
def test_dense_shapes(kind, n_outputs, dtype, each_target, rng):
    for n_features in FEATURE_COUNTS:
        for n in SAMPLE_COUNTS:
            problem = make_problem(kind, n, n_features, n_outputs, dtype, rng)
            right = plain(problem)
            for name in each_target():
                assert_matches_plain(problem, right, f"n={n}, n_features={n_features}, {name}")


@each_dtype
@each_kind
@pytest.mark.parametrize(
    ("n", "n_features", "n_outputs"),
    [
        (3000, 0, 3),
        (3000, 7, 2),
        (3000, 9, 17),
        (3000, 100, 8),
        (3000, 100, 100),
        (70, 3001, 3),  # blocks of fewer rows
        (20, 40_000, 2),  # blocks of 8 rows, which are all that fit
    ],
)
def test_many_blocks(n, n_features, n_outputs, kind, dtype, each_target, rng):
    problem = make_problem(kind, n, n_features, n_outputs, dtype, rng)
    right = plain(problem)
    for name in each_target():
        assert_matches_plain(problem, right, name)


@each_dtype
@pytest.mark.parametrize("n_outputs", range(1, 23))
def test_every_tile_of_classes(n_outputs, dtype, each_target, rng):
    """Features that fill vectors or not, and that fit the first-level cache or not."""
    for n_features in (15, 16, 33, 150, 1700):
        problem = make_problem("sparse_categorical", 21, n_features, n_outputs, dtype, rng)
        right = plain(problem)
        for name in each_target():
            assert_matches_plain(problem, right, f"n_features={n_features}, {name}")


@each_dtype
@pytest.mark.parametrize("kind", ["sparse_categorical", "binary"])
@pytest.mark.parametrize(
    ("container", "n", "n_features", "n_outputs"),
    [("dense", 133, 8200, 70), ("csr", 4200, 9000, 64)],
)
@pytest.mark.slow
def test_large_gradients_that_threads_share(container, n, n_features, n_outputs, kind, dtype, rng):
    assert 16 * 8 * n_features * n_outputs > 64 * 1024**2  # too much for a total per range of rows
    problem = make_problem(kind, n, n_features, n_outputs, dtype, rng)
    if container == "csr":
        problem.X = sparsify(problem, rng, density=0.003)
    assert_matches_plain(problem, plain(problem), container)
    one, *others = (evaluate(problem, n_threads) for n_threads in THREAD_COUNTS)
    for other in others:
        assert_same_bits(other, one)


@each_dtype
@each_kind
@pytest.mark.parametrize("container", ["dense", "csr"])
def test_no_rows(container, kind, dtype, rng):
    problem = make_problem(kind, 0, 5, 3, dtype, rng)
    X = sparse.csr_matrix(problem.X) if container == "csr" else problem.X
    for n_threads in (1, 2):
        got = evaluate(problem, n_threads, X)
        for name, shape in [("loss", ()), ("gradient of coef", (5, 3)), ("softmax", (0, 3))]:
            np.testing.assert_array_equal(got[name], np.zeros(shape))


@each_dtype
@each_kind
@pytest.mark.parametrize("container", ["dense", "csr"])
def test_the_bounds_are_tight_enough_to_fail(container, kind, dtype, rng):
    """20 rows of 3000 left out, or one row of X changed by a thousandth of itself."""
    problem = make_problem(kind, 3000, 9, 3, dtype, rng)
    right = plain(problem)
    make = sparse.csr_matrix if container == "csr" else np.asarray
    assert_matches_plain(problem, right, "as it is", make(problem.X))
    changed = problem.X.copy()
    changed[1234] *= 1.001
    with pytest.raises(AssertionError, match="logits .* times the bound"):
        assert_within(
            evaluate(problem, X=make(changed))["logits"],
            right.scores["logits"],
            dtype,
            "logits (x)",
        )
    weight = np.ones(3000)
    weight[1234:1254] = 0.0
    problem.options["weight"] = weight
    got = evaluate(problem, X=make(problem.X))
    for name, wanted in [
        ("loss", right.loss),
        ("gradient of coef", right.gradient[0]),
        ("gradient of intercept", right.gradient[1]),
        ("product of coef", right.product[0]),
        ("product of intercept", right.product[1]),
    ]:
        with pytest.raises(AssertionError, match="times the bound"):
            assert_within(got[name], wanted, dtype, name)


def test_float32_gradients_do_not_lose_digits_with_the_number_of_rows(target, rng):
    """Sums over rows go on in float64: the error stays that of single rows."""
    n = 300_007
    problem = make_problem("sparse_categorical", n, 2, 3, np.float32, rng)
    problem.X[:] = np.abs(problem.X)
    problem.labels[:] = 0  # all residuals of a class have the same sign: nothing cancels
    right = plain(problem)
    got = evaluate(problem, n_threads=2)
    for name, (want, _) in [
        ("loss", right.loss),
        ("gradient of coef", right.gradient[0]),
        ("gradient of intercept", right.gradient[1]),
    ]:
        eps = np.finfo(np.float32).eps
        np.testing.assert_allclose(got[name], want, rtol=4 * eps, atol=0, err_msg=name)


@pytest.mark.parametrize("container", ["dense", "csr"])
@pytest.mark.skipif("avx2" not in TARGETS, reason="needs a target with FMA and one without")
def test_the_target_in_use_makes_the_products(container, each_target, rng):
    """Fused multiply-add rounds once where the scalar target rounds twice."""
    problem = make_problem("binary", 200, 50, 9, np.float64, rng)
    X = sparse.csr_matrix(problem.X) if container == "csr" else problem.X
    logits = {name: evaluate(problem, X=X)["logits"] for name in each_target()}
    assert (logits["avx2"] != logits["scalar"]).any()


# --- Weights and parameters of the losses ---------------------------------------------------------


def options_for(case, n, n_outputs, dtype, rng):
    """Keyword arguments of EncodedTarget (and of `make_problem`)."""
    weight = np.where(rng.random(n) < 0.2, 0, rng.uniform(0.5, 2, n))
    of_entries = rng.uniform(0.5, 2, (n, n_outputs)).astype(dtype)
    of_entries[rng.random((n, n_outputs)) < 0.2] = 0
    positive = rng.uniform(0.2, 5, n_outputs).astype(dtype)
    return {
        "weight": {"weight": weight},
        "smoothing": {"label_smoothing": 0.25},
        "weight and smoothing": {"weight": weight, "label_smoothing": 0.25},
        "entry weight": {"entry_weight": of_entries},
        "positive": {"positive": positive},
        "one-vs-rest": {"labels": True},
        "all": {
            "labels": True,
            "weight": weight,
            "entry_weight": of_entries,
            "positive": positive,
            "label_smoothing": 0.25,
        },
    }[case]


@each_dtype
@pytest.mark.parametrize(
    ("kind", "case"),
    [
        *((kind, case) for kind in KINDS for case in ("weight", "smoothing")),
        *((kind, "weight and smoothing") for kind in KINDS),
        *(("binary", case) for case in ("entry weight", "positive", "one-vs-rest", "all")),
    ],
)
@pytest.mark.parametrize("container", ["dense", "csr"])
def test_weights_and_parameters(container, kind, case, dtype, each_target, rng):
    for n, n_outputs in [(9, 3), (300, 8), (300, 17), (600, 33)]:
        options = options_for(case, n, n_outputs, dtype, rng)
        problem = make_problem(kind, n, 9, n_outputs, dtype, rng, **options)
        right = plain(problem)
        X = sparse.csr_matrix(problem.X) if container == "csr" else problem.X
        for name in each_target():
            assert_matches_plain(problem, right, f"n={n}, n_outputs={n_outputs}, {name}", X)


@each_kind
@pytest.mark.parametrize("container", ["dense", "csr"])
def test_rows_without_weight_add_exact_zeros(container, kind, each_target, rng):
    """Also where their logits overflow."""
    weight = np.where(rng.random(40) < 0.5, 0.0, 1.5)
    problem = make_problem(kind, 40, 5, 3, np.float32, rng, weight=weight)
    make = sparse.csr_matrix if container == "csr" else np.asarray
    for _ in each_target():
        overflowing = problem.X.copy()
        overflowing[weight == 0] = 3e38
        want = evaluate(problem, X=make(problem.X))
        got = evaluate(problem, X=make(overflowing))
        assert not np.isfinite(got["logits"]).all()
        for name in SCORES:
            del got[name], want[name]
        assert_same_bits(got, want)


# --- Memory layouts -------------------------------------------------------------------------------


def laid_out(X, layout):
    """The same numbers in another memory layout."""
    n, n_features = X.shape
    if layout == "fortran":
        return np.asfortranarray(X)
    if layout == "every other column":
        view = np.full((n, 2 * n_features), 7, X.dtype)[:, ::2]
    elif layout == "every third row":
        view = np.full((3 * n, n_features), 7, X.dtype)[1::3]
    elif layout == "reversed rows":
        view = np.empty_like(X)[::-1]
    elif layout == "reversed columns":
        view = np.empty_like(X)[:, ::-1]
    elif layout == "reversed fortran":
        view = np.empty((n_features, n), X.dtype)[::-1, ::-1].T
    elif layout == "unaligned":
        view = np.zeros(X.shape, dtype=[("byte", "u1"), ("value", X.dtype)])["value"]
    elif layout == "read-only":
        view = np.empty_like(X)
    view[...] = X
    if layout == "read-only":
        view.flags.writeable = False
    return view


@each_dtype
@each_kind
@pytest.mark.parametrize(
    "layout",
    [
        "fortran",
        "every other column",
        "every third row",
        "reversed rows",
        "reversed columns",
        "reversed fortran",
        "unaligned",
        "read-only",
    ],
)
def test_the_layout_of_dense_X_changes_no_bit(layout, kind, dtype, each_target, rng):
    for n, n_features, n_outputs in [(1, 1, 1), (9, 7, 3), (300, 9, 17), (300, 1, 3)]:
        problem = make_problem(kind, n, n_features, n_outputs, dtype, rng)
        X = laid_out(problem.X, layout)
        before = X.copy()
        for _ in each_target():
            assert_same_bits(evaluate(problem, X=X), evaluate(problem))
        np.testing.assert_array_equal(X, before)


def test_the_layout_of_coefficients_changes_no_bit(target, rng):
    problem = make_problem("sparse_categorical", 50, 9, 5, np.float64, rng)
    want = evaluate(problem)
    for name in ("coef", "coef_direction"):
        moved = np.asfortranarray(getattr(problem, name))
        moved.flags.writeable = False
        setattr(problem, name, moved)
    assert_same_bits(evaluate(problem), want)


@pytest.mark.parametrize("n_outputs", [1, 3, 40])
def test_subnormal_products_count_as_zeros_during_the_pass_alone(n_outputs, each_target, rng):
    """A feature of 1e-33 changes nothing, and the thread's own subnormal numbers stay."""
    problem = make_problem("binary", 300, 20, n_outputs, np.float32, rng)
    tiny = problem.X.copy()
    tiny[:, 5], problem.X[:, 5] = 1e-33, 0
    for _ in each_target():
        want, got = evaluate(problem, scores=()), evaluate(problem, X=tiny, scores=())
        smallest = np.array([1e-40], dtype=np.float32)
        assert smallest * np.float32(0.5) > 0
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-6, atol=1e-30, err_msg=name)


def test_design_matrix_keeps_X_alive(rng):
    problem = make_problem("sparse_categorical", 500, 9, 5, np.float64, rng)
    want = evaluate(problem)["gradient of coef"]
    for make in (np.array, sparse.csr_matrix):
        design = DesignMatrix(make(problem.X))
        noise = [np.full(problem.X.shape, np.nan) for _ in range(10)]  # reuses what was freed
        _, got, _ = design.loss_gradient(problem.encoded, *problem.at, 1)
        assert len(noise) == 10
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


def test_attributes(rng):
    design = DesignMatrix(np.zeros((4, 3), dtype=np.float32))
    assert (design.n_rows, design.n_features, design.dtype) == (4, 3, np.float32)


# --- CSR ------------------------------------------------------------------------------------------


def sparsify(problem, rng, density=0.3):
    """Make X mostly zero, some of its rows and columns completely, and return it as CSR."""
    problem.X[rng.random(problem.X.shape) > density] = 0
    problem.X[::4] = 0
    problem.X[:, 2::5] = 0
    return sparse.csr_matrix(problem.X)


def csr_variant(X, variant, rng):
    """The same matrix, stored in another way."""
    X = X.copy()
    if variant == "64-bit indices":
        X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    elif variant == "unsorted":
        for begin, end in zip(X.indptr[:-1], X.indptr[1:], strict=True):
            order = begin + rng.permutation(end - begin)
            X.indices[begin:end], X.data[begin:end] = X.indices[order], X.data[order]
        X.has_sorted_indices = False
    elif variant == "duplicates":  # x = x/2 + x/2, exactly
        doubled = np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr
        X = sparse.csr_matrix(doubled, shape=X.shape)
        X.has_canonical_format = False
    elif variant == "stored zeros":
        stored = np.zeros(X.shape, dtype=bool)
        stored[:, : X.shape[1] // 2] = True
        rows, columns = np.nonzero(stored | (X.toarray() != 0))
        data = X.toarray()[rows, columns]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=X.shape[0]))])
        X = sparse.csr_matrix((data, columns, indptr), shape=X.shape)
    elif variant == "read-only":
        for array in (X.data, X.indices, X.indptr):
            array.flags.writeable = False
    elif variant == "strided":
        for name in ("data", "indices", "indptr"):
            array = getattr(X, name)
            setattr(X, name, np.repeat(array, 2)[::2])
    elif variant == "array":
        X = sparse.csr_array(X)
    return X


@each_dtype
@each_kind
@each_output_count
def test_csr_shapes(kind, n_outputs, dtype, each_target, rng):
    for n, n_features in [(1, 0), (1, 1), (7, 2), (9, 8), (256, 9), (257, 100), (700, 30)]:
        problem = make_problem(kind, n, n_features, n_outputs, dtype, rng)
        X = sparsify(problem, rng)
        right = plain(problem)
        for name in each_target():
            assert_matches_plain(problem, right, f"n={n}, n_features={n_features}, {name}", X)


@each_dtype
@each_kind
@pytest.mark.parametrize(
    "variant",
    [
        "64-bit indices",
        "unsorted",
        "duplicates",
        "stored zeros",
        "read-only",
        "strided",
        "array",
    ],
)
def test_csr_variants(variant, kind, dtype, each_target, rng):
    problem = make_problem(kind, 300, 12, 5, dtype, rng)
    X = sparsify(problem, rng)
    other = csr_variant(X, variant, rng)
    if variant == "64-bit indices":
        assert other.indices.dtype == other.indptr.dtype == np.int64
    if variant == "stored zeros":
        assert other.nnz > X.nnz
    if variant == "unsorted":
        assert (other.indices != X.indices).any()
    before = other.data.copy(), other.indices.copy(), other.indptr.copy()
    right = plain(problem)
    for name in each_target():
        assert_matches_plain(problem, right, name, other)
        if variant not in ("unsorted", "duplicates", "stored zeros"):  # the same sums
            assert_same_bits(evaluate(problem, X=other), evaluate(problem, X=X))
    for now, then in zip((other.data, other.indices, other.indptr), before, strict=True):
        np.testing.assert_array_equal(now, then)


@each_dtype
@each_kind
def test_csr_without_entries(kind, dtype, target, rng):
    problem = make_problem(kind, 30, 4, 3, dtype, rng)
    problem.X[:] = 0
    X = sparse.csr_matrix(problem.X)
    assert X.nnz == 0
    assert_matches_plain(problem, plain(problem), target, X)


# --- Threads --------------------------------------------------------------------------------------


@each_dtype
@each_kind
@pytest.mark.parametrize(
    ("container", "n", "n_features", "n_outputs"),
    [
        # ten million multiply-adds: smaller dense passes use one thread
        ("dense", 3000, 100, 35),
        ("dense", 40_003, 32, 8),
        ("fortran", 3000, 100, 35),
        ("csr", 3000, 100, 8),
        ("csr", 700, 64, 33),
        ("csr", 10_003, 10, 3),
    ],
)
@pytest.mark.slow
def test_threads_change_no_bit(container, n, n_features, n_outputs, kind, dtype, each_target, rng):
    assert container == "csr" or n * n_features * n_outputs >= 1e7
    problem = make_problem(kind, n, n_features, n_outputs, dtype, rng)
    X = problem.X
    if container == "fortran":
        X = np.asfortranarray(X)
    elif container == "csr":
        X = sparsify(problem, rng, density=0.1)
    for _ in each_target():
        one, *others = (evaluate(problem, n_threads, X) for n_threads in THREAD_COUNTS)
        for other in others:
            assert_same_bits(other, one)


@each_kind
def test_more_threads_than_rows(kind, rng):
    problem = make_problem(kind, 2, 3, 3, np.float64, rng)
    for X in (problem.X, sparse.csr_matrix(problem.X)):
        assert_same_bits(evaluate(problem, 8, X), evaluate(problem, 1, X))


# --- Narrow dtypes --------------------------------------------------------------------------------

NARROW = [np.uint8, np.int8, np.float16]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "slice": lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, 1::3],
    "reversed": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "one column": lambda X: X[:, :1],
    "CSR": sparse.csr_array,
    "CSR, 64-bit indices": lambda X: with_long_indices(sparse.csr_array(X)),
}


def with_long_indices(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def narrow_numbers(dtype, shape, rng):
    """Numbers over the whole range of a dtype, a third of them 0."""
    if dtype == np.float16:
        bits = rng.integers(0x7C00, size=shape).astype(np.uint16)  # finite, subnormal too
        bits |= rng.integers(2, size=shape).astype(np.uint16) << 15
        X = bits.view(np.float16)
    else:
        info = np.iinfo(dtype)
        X = rng.integers(info.min, info.max + 1, size=shape).astype(dtype)
    return np.where(rng.random(shape) < 1 / 3, dtype(0), X)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_X_gives_the_bits_of_float32(dtype, layout, target, rng):
    if dtype == np.float16 and "CSR" in layout:
        pytest.skip("scipy has no float16 CSR")
    n, n_features, n_outputs = 300, 37, 3
    X = LAYOUTS[layout](narrow_numbers(dtype, (n, n_features), rng))
    assert X.dtype == dtype
    labels = rng.integers(n_outputs, size=n).astype(np.int32)
    coef, intercept = 1e-3 * rng.normal(size=(X.shape[1], n_outputs)), rng.normal(size=n_outputs)
    encoded = EncodedTarget("sparse_categorical", n, n_outputs, np.float32, labels=labels)
    scores = []
    results = []
    for kind_of_X in (X, X.astype(np.float32)):
        design = DesignMatrix(kind_of_X)
        assert design.dtype == np.float32
        results.append(design.loss_gradient(encoded, coef, intercept, 2))
        scores.append(np.empty((n, n_outputs), dtype=np.float32))
        design.scores(coef, intercept, scores[-1], "logits", 2)
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_csr_rows_longer_than_what_is_converted_at_a_time(dtype, rng):
    n, n_features, n_outputs = 5, 9000, 4
    dense = rng.integers(1, 5, size=(n, n_features)).astype(dtype)
    X = with_long_indices(sparse.csr_array(dense))
    coef, intercept = 1e-3 * rng.normal(size=(n_features, n_outputs)), np.zeros(n_outputs)
    wide = np.float64 if dtype == np.float64 else np.float32
    labels = rng.integers(n_outputs, size=n).astype(np.int32)
    encoded = EncodedTarget("sparse_categorical", n, n_outputs, wide, labels=labels)
    got = DesignMatrix(X).loss_gradient(encoded, coef, intercept, 1)
    want = DesignMatrix(dense.astype(wide)).loss_gradient(encoded, coef, intercept, 1)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4 if wide == np.float32 else 1e-11, atol=1e-4)


def test_likeliest_is_the_argmax_of_the_logits(target, rng):
    """The first one of equals, as NumPy has it."""
    for n_outputs in (2, 3, 17, 100):
        X = rng.integers(-2, 3, size=(500, 4)).astype(np.float32)
        coef = rng.integers(-2, 3, size=(4, n_outputs)).astype(np.float64)  # many ties
        intercept = np.zeros(n_outputs)
        intercept[0] = -np.inf  # a class without weight
        want = (X @ coef + intercept).argmax(axis=1)
        got = DesignMatrix(X).likeliest(coef, intercept, 2)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("long_indices", [False, True])
def test_scores_of_few_entries_have_the_bits_of_many(dtype, long_indices, target, rng):
    """They are computed from copies of the coefficients that these entries need."""
    n_rows, n_features, n_outputs = 9, 500, 11
    many = sparse.random_array((300, n_features), density=0.02, format="csr", rng=rng)
    many.data = rng.integers(1, 100, size=many.nnz).astype(dtype)
    few, none = many[:n_rows], sparse.csr_array((n_rows, n_features), dtype=dtype)
    assert 0 < few.nnz < n_features / 4 < many.nnz
    few.indices = np.append(few.indices, 10 * n_features)  # longer than its rows are
    few.data = np.append(few.data, few.data[:1])
    if long_indices:
        few, none, many = map(with_long_indices, (few, none, many))
    coef, intercept = rng.normal(size=(n_outputs, n_features)).T, rng.normal(size=n_outputs)
    for kind in SCORES:
        found = []
        for X in (few, many, none):
            out = np.empty((X.shape[0], n_outputs), np.float64 if dtype == np.float64 else "f4")
            DesignMatrix(X).scores(coef, intercept, out, kind)
            found.append(out)
        np.testing.assert_array_equal(found[0], found[1][:n_rows])
        if kind == "logits":
            np.testing.assert_array_equal(
                found[2], np.tile(intercept.astype(out.dtype), (n_rows, 1))
            )
    likeliest = [DesignMatrix(X).likeliest(coef, intercept) for X in (few, many)]
    np.testing.assert_array_equal(likeliest[0], likeliest[1][:n_rows])


@pytest.mark.parametrize("order", ["C", "F", "strided"])
@pytest.mark.parametrize("coef_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 2), (5, 37), (23, 4100)])
def test_scores_of_few_dense_rows_have_the_bits_of_many(
    shape, dtype, coef_dtype, order, target, rng
):
    """They are computed without a packed copy of all coefficients."""
    n_outputs, n_features = shape
    X = rng.normal(size=(1100, n_features)).astype(dtype)
    coef = rng.normal(size=(n_outputs, 2 * n_features)).astype(coef_dtype)
    coef = coef[:, ::2] if order == "strided" else np.array(coef[:, ::2], order=order)
    intercept = rng.normal(size=n_outputs)
    found = []
    for rows in (X, X[:5], X[:1]):
        out = np.empty((len(rows), n_outputs), dtype)
        DesignMatrix(rows).scores(coef.T, intercept, out, "logits")
        found.append(out)
    np.testing.assert_array_equal(found[1], found[0][:5])
    np.testing.assert_array_equal(found[2], found[0][:1])
    X, coef = X.astype(np.float64), coef.astype(np.float64)
    # the bound of a sum of n products in any order, for both sides of the comparison
    bound = 2 * (n_features + 2) * np.finfo(dtype).eps * (np.abs(X) @ np.abs(coef.T) + 10)
    assert (np.abs(found[0] - (X @ coef.T + intercept)) <= bound).all()


# --- Very many classes ----------------------------------------------------------------------------


def tiled(X):
    """A design matrix that works on tiles of MANY classes on every CPU target."""
    design = DesignMatrix(X)
    design.least_tiled = MANY
    return design


@each_dtype
@pytest.mark.parametrize(
    ("n", "n_features", "n_outputs"),
    [
        (MANY_ROWS, 0, MANY),
        (MANY_ROWS + 1, 1, MANY + 1),
        (2 * MANY_ROWS + 9, 7, MANY + 15),
        (MANY_ROWS + 8, 700, MANY + 32),  # tiles of 48 classes
    ],
)
@pytest.mark.parametrize("case", ["weight", "smoothing", "weight and smoothing"])
def test_tiles_of_classes(case, n, n_features, n_outputs, dtype, each_target, rng):
    options = options_for(case, n, n_outputs, dtype, rng)
    problem = make_problem("sparse_categorical", n, n_features, n_outputs, dtype, rng, **options)
    right = plain(problem)
    for name in each_target():
        assert_matches_plain(problem, right, name, scores=())


@each_dtype
def test_tiles_begin_and_end_where_the_pass_says(dtype, each_target, rng):
    """Just below the limits and at them, with the same answer."""
    for n in (MANY_ROWS - 1, MANY_ROWS):
        for n_outputs in (MANY - 1, MANY):
            problem = make_problem("sparse_categorical", n, 3, n_outputs, dtype, rng)
            right = plain(problem)
            for name in each_target():
                assert_matches_plain(
                    problem, right, f"n={n}, n_outputs={n_outputs}, {name}", None, ()
                )


def rows_of_logits(n_outputs, dtype, rng):
    """Rows of logits for which sums over tiles could lose digits, with a label for each."""
    common = rng.normal(size=(9, n_outputs))
    common[1] *= 30
    common[2] *= 3000  # about 1e4 apart
    common[3] = 0  # all equal
    common[4] = np.linspace(-1e4, 1e4, n_outputs)  # each tile takes the place of those before
    common[5] = common[4][::-1]
    common[6, 1000] = 40  # p is 1 but for 1e-15
    common[7, [0, -1]] = 1e4  # the same maximum in two tiles
    common[8] -= 1e4
    largest = common.argmax(axis=1)
    labels = np.concatenate([largest, rng.integers(n_outputs, size=9)])
    return np.tile(common, (2, 1)).astype(dtype), labels.astype(np.int32)


@each_dtype
@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_rows_of_tiles_are_as_accurate_as_rows(smoothing, dtype, each_target, rng):
    """Losses, gradients and Hessian products of single rows, to 8 eps of their 50 digits.

    X is the identity with rows of zeros, which have no weight, so that the coefficients are the
    logits and the gradients are residuals.
    """
    logits, labels = rows_of_logits(MANY + 5, dtype, rng)
    direction = rng.normal(size=logits.shape).astype(dtype).astype(np.float64)
    n = len(logits)
    X = np.eye(MANY_ROWS, n, dtype=dtype)
    no_intercept = np.zeros(logits.shape[1])
    rows = [ref.SoftmaxRow(z) for z in logits]
    seen = np.unique(np.concatenate([[0, 1000, MANY + 4], labels, np.arange(50, MANY, 97)]))
    pairs = [ref.softmax_gradient(r, y, smoothing) for r, y in zip(rows, labels, strict=True)]
    losses = [ref.softmax_loss(r, y, smoothing) for r, y in zip(rows, labels, strict=True)]
    gradient, scale = np.array(pairs)[:, :, seen].swapaxes(0, 1)
    pairs = [
        ref.softmax_hessian_product(r, v, np.finfo(dtype).tiny)
        for r, v in zip(rows, direction, strict=True)
    ]
    product, product_scale = np.array(pairs)[:, :, seen].swapaxes(0, 1)
    padded = np.concatenate([labels, np.zeros(MANY_ROWS - n, np.int32)])

    def encoded(weighed):
        weight = np.zeros(MANY_ROWS)
        weight[weighed] = 1
        shape = MANY_ROWS, logits.shape[1]
        return EncodedTarget(
            "sparse_categorical",
            *shape,
            dtype,
            labels=padded,
            weight=weight,
            label_smoothing=smoothing,
        )

    design, at = tiled(X), (logits.astype(np.float64), no_intercept)
    for _ in each_target():
        _, got, _ = design.loss_gradient(encoded(slice(n)), *at, 1)
        assert_no_worse_than_subnormal(got[:n, seen], gradient, scale, dtype)
        got, _ = design.hessian_product(encoded(slice(n)), *at, direction, no_intercept, 1)
        assert_no_worse_than_subnormal(got[:n, seen], product, product_scale, dtype)
        got = [design.loss_gradient(encoded([i]), *at, 1)[0] for i in range(n)]
        ref.assert_accurate(np.array(got).astype(dtype), losses, dtype)


def assert_no_worse_than_subnormal(got, want, scale, dtype):
    """`ref.assert_accurate`, but subnormal numbers may be 0, as the sums over rows take them."""
    tiny = np.finfo(dtype).tiny
    want = [
        [w if abs(w) >= tiny or g else w * 0 for g, w in zip(row, wanted, strict=True)]
        for row, wanted in zip(got, want, strict=True)
    ]
    ref.assert_accurate(got.astype(dtype), want, dtype, scale)


@each_dtype
def test_threads_and_layouts_change_no_bit_of_tiles(dtype, each_target, rng):
    n = 400  # 13 blocks of rows
    weight = np.where(rng.random(n) < 0.2, 0, rng.uniform(0.5, 2, n))
    problem = make_problem("sparse_categorical", n, 8, MANY + 3, dtype, rng, weight=weight)
    for _ in each_target():
        one, *others = (evaluate(problem, k, scores=()) for k in THREAD_COUNTS)
        for layout in ("fortran", "every third row", "reversed columns", "unaligned"):
            moved = laid_out(problem.X, layout)
            others.append(evaluate(problem, 2, moved, ()))
        for other in others:
            assert_same_bits(other, one)


@pytest.mark.parametrize("dtype", NARROW)
def test_tiles_of_narrow_X_give_the_bits_of_float32(dtype, target, rng):
    X = narrow_numbers(dtype, (MANY_ROWS, 5), rng)
    labels = rng.integers(MANY, size=len(X)).astype(np.int32)
    coef, intercept = 1e-3 * rng.normal(size=(5, MANY)), rng.normal(size=MANY)
    encoded = EncodedTarget("sparse_categorical", len(X), MANY, np.float32, labels=labels)
    got = tiled(X).loss_gradient(encoded, coef, intercept, 2)
    want = tiled(X.astype(np.float32)).loss_gradient(encoded, coef, intercept, 2)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_of_tiles_without_weight_add_exact_zeros(each_target, rng):
    """Also where their logits overflow."""
    weight = np.where(rng.random(MANY_ROWS) < 0.5, 0.0, 1.5)
    problem = make_problem("sparse_categorical", MANY_ROWS, 5, MANY, np.float32, rng, weight=weight)
    overflowing = problem.X.copy()
    overflowing[weight == 0] = 3e38
    for _ in each_target():
        got, want = evaluate(problem, X=overflowing, scores=()), evaluate(problem, scores=())
        assert_same_bits(got, want)


def test_logits_that_are_not_finite_make_the_loss_of_tiles_nan(target, rng):
    problem = make_problem("sparse_categorical", MANY_ROWS, 2, MANY, np.float64, rng)
    problem.labels[:] = 0
    for place, number in [(0, np.nan), (MANY - 1, np.nan), (1000, np.inf)]:
        coef = problem.coef.copy()
        coef[0, place] = number
        loss, *_ = tiled(problem.X).loss_gradient(problem.encoded, coef, problem.intercept, 1)
        assert np.isnan(loss)


@each_dtype
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_of_curvatures_in_tiles(weighted, dtype, each_target, rng):
    options = {"label_smoothing": 0.25}
    if weighted:
        options["weight"] = np.where(rng.random(300) < 0.2, 0, rng.uniform(0.5, 2, 300))
    problem = make_problem("sparse_categorical", 300, 5, MANY + 3, dtype, rng, **options)
    p = ref.softmax(problem.X.astype(np.float64) @ problem.coef + problem.intercept)
    weight = np.where(problem.labels >= 0, options.get("weight", 1.0), 0.0)
    for _ in each_target():
        got = tiled(problem.X).curvature_sum(problem.encoded, *problem.at, 2)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(got, weight @ (p * (1 - p)), rtol=100 * eps)


@pytest.mark.parametrize("density", [0.0, 0.05, 0.6])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("long_indices", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 7), (5, 9000), (19, 130)])
def test_scores_of_sparse_coefficients(shape, long_indices, dtype, density, target, rng):
    """As with the same coefficients in an array, on any number of rows."""
    n_outputs, n_features = shape
    X = rng.integers(0, 5, size=(70, n_features)).astype(dtype)
    coef = sparse.random_array(shape[::-1], density=density, format="csc", rng=rng)
    coef /= max(1.0, density * n_features)  # so that logits keep digits in float32
    intercept = rng.normal(size=n_outputs)
    csr = with_long_indices(sparse.csr_array(X)) if long_indices else sparse.csr_array(X)
    wide = np.float64 if dtype == np.float64 else np.float32
    tolerance = 1e-11 if wide == np.float64 else 1e-4
    for rows in (X, np.asfortranarray(X), csr):
        for kind in SCORES:
            want, got = (np.empty((70, n_outputs), wide) for _ in range(2))
            DesignMatrix(rows).scores(coef.toarray(), intercept, want, kind)
            DesignMatrix(rows).scores(coef, intercept, got, kind, 2)
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
            for n_rows in (1, 3, 17):
                few = np.empty((n_rows, n_outputs), wide)
                DesignMatrix(rows[:n_rows]).scores(coef, intercept, few, kind)
                np.testing.assert_array_equal(few, got[:n_rows])
        logits = np.empty((70, n_outputs), wide)
        DesignMatrix(rows).scores(coef, intercept, logits, "logits")
        likeliest = DesignMatrix(rows).likeliest(coef, intercept)
        np.testing.assert_array_equal(likeliest, logits.argmax(axis=1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_coefficients_do_not_hide_what_is_not_finite(dtype, bad, target, rng):
    n_rows, n_features = 37, 75
    X = rng.normal(size=(n_rows, n_features)).astype(dtype)
    coef = sparse.csc_array((np.ones(1), ([4], [1])), shape=(n_features, 3))
    out = np.empty((n_rows, 3), dtype)
    for make in (np.asarray, sparse.csr_array):
        design = DesignMatrix(make(X))
        design.scores(coef, np.zeros(3), out, "logits")
        assert design.finite_logits
        for at in [(0, 0), (36, 74), (17, 4), (16, 63), (31, 64)]:
            spoilt = X.copy()
            spoilt[at] = bad
            design = DesignMatrix(make(spoilt))
            design.scores(coef, np.zeros(3), out, "logits")
            assert not design.finite_logits
