"""Loss settings on logits: against 50-digit oracles, and against themselves.

Every loss and every gradient entry must be right to 8 eps of its dtype, relative. Gradients of soft
or smoothed targets are relative to max(p, t), and to max(1 - p, 1 - t) at the largest target,
Hessian products to the sum of the magnitudes of their terms; among the subnormal numbers two
spacings are allowed (see `reference.error_in_eps`).
"""

import itertools
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import reference as ref
from rows import (
    assert_same_bits,
    binary_data,
    everything,
    labels_of,
    nearly_one_hot,
    signed_powers,
    soft_rows,
    soft_targets_of,
    softmax_data,
)
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)

SETTINGS = [SparseCategoricalCrossentropy, CategoricalCrossentropy, BinaryCrossentropy]
SOFTMAX_SETTINGS = SETTINGS[:2]
DTYPES = [np.float32, np.float64]
CLASS_COUNTS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 1003]  # around the widths of vectors
SMOOTHINGS = [0.0, 1e-9, 0.1, 1.0]  # 1e-9 is lost where 1 - smoothing is rounded to float32


def smoothings_of(n_classes):
    """The oracle of long rows takes seconds: two ways of them, and all ways of shorter ones."""
    return SMOOTHINGS if n_classes < 1000 else [0.0, 0.1]


each_setting = pytest.mark.parametrize("cls", SETTINGS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_class_count = pytest.mark.parametrize("n_classes", CLASS_COUNTS)


# --- Test data ------------------------------------------------------------------------------------

CASES = [
    "sparse",
    "sparse_smoothed",
    "sparse_ignore",
    "categorical",
    "categorical_smoothed",
    "categorical_indices",
    "binary",
    "binary_soft_smoothed",
    "binary_pos_weight",
    "binary_missing",
    "binary_1d",
]
each_case = pytest.mark.parametrize("case", CASES)


def make_case(case, rng, *, n=12, n_outputs=5, dtype=np.float64):
    """Return (setting, y_true, logits) with logits of moderate size."""
    logits = rng.normal(scale=3, size=(n, n_outputs)).astype(dtype)
    labels = rng.integers(n_outputs, size=n)
    soft = soft_rows(rng, n, n_outputs, dtype)
    zeros_ones = rng.integers(2, size=(n, n_outputs))
    fractions = rng.random((n, n_outputs)).astype(dtype)
    missing = np.where(rng.random((n, n_outputs)) < 0.3, np.nan, zeros_ones).astype(dtype)
    with_ignored = np.where(np.arange(n) % 3 == 1, -1, labels)
    pos_weight = 2.0 ** rng.integers(-2, 3, size=n_outputs)
    return {
        "sparse": (SparseCategoricalCrossentropy(), labels, logits),
        "sparse_smoothed": (SparseCategoricalCrossentropy(label_smoothing=0.2), labels, logits),
        "sparse_ignore": (SparseCategoricalCrossentropy(ignore_class=-1), with_ignored, logits),
        "categorical": (CategoricalCrossentropy(), soft, logits),
        "categorical_smoothed": (CategoricalCrossentropy(label_smoothing=0.2), soft, logits),
        "categorical_indices": (CategoricalCrossentropy(), labels, logits),
        "binary": (BinaryCrossentropy(), zeros_ones, logits),
        "binary_soft_smoothed": (BinaryCrossentropy(label_smoothing=0.2), fractions, logits),
        "binary_pos_weight": (BinaryCrossentropy(pos_weight=pos_weight), zeros_ones, logits),
        "binary_missing": (BinaryCrossentropy(), missing, logits),
        "binary_1d": (BinaryCrossentropy(), zeros_ones[:, 0].copy(), logits[:, 0].copy()),
    }[case]


# --- The comparison itself ------------------------------------------------------------------------


@each_dtype
def test_error_in_eps_can_fail(dtype):
    def error(got, want, **kwargs):
        return ref.error_in_eps(np.array([got], dtype=dtype), [ref.mp.mpf(want)], dtype, **kwargs)

    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
    assert error(1 + 8 * eps, 1.0) == 8
    assert error(1 + 8 * eps, 1.0, scale=[ref.mp.mpf(4)]) == 2
    assert error(2 * tiny * eps, 0.0) == 0
    assert error(3 * tiny * eps, 0.0) == np.inf
    assert error(0.0, 3 * float(tiny)) > 1000
    assert error(np.nan, 1.0) == np.inf
    assert error(1.0, np.nan) == np.inf
    assert error(np.nan, np.nan) == 0
    assert error(np.inf, 1.0) == np.inf
    assert error(-np.inf, np.inf) == np.inf
    assert error(np.inf, np.inf) == 0
    with pytest.raises(AssertionError, match="9 eps"):
        ref.assert_accurate(np.array([1 + 9 * eps], dtype=dtype), [ref.mp.mpf(1)], dtype)
    with pytest.raises(ValueError, match="dtype"):
        ref.error_in_eps(np.array([1.0], dtype=np.float16), [ref.mp.mpf(1)], dtype)
    with pytest.raises(ValueError, match="shape"):
        ref.error_in_eps(np.ones(2, dtype=dtype), [ref.mp.mpf(1)], dtype)


# --- Accuracy -------------------------------------------------------------------------------------


@each_dtype
@each_class_count
def test_softmax_accuracy_of_class_indices(n_classes, dtype, seed, rng):
    logits, rows = softmax_data(n_classes, dtype, seed)
    labels = labels_of(logits, rng)
    for smoothing in smoothings_of(n_classes):
        setting = SparseCategoricalCrossentropy(label_smoothing=smoothing)
        want = [ref.softmax_loss(r, y, smoothing) for r, y in zip(rows, labels, strict=True)]
        ref.assert_accurate(setting.loss(labels, logits), want, dtype)
        pairs = [ref.softmax_gradient(r, y, smoothing) for r, y in zip(rows, labels, strict=True)]
        want, scale = zip(*pairs, strict=True)
        ref.assert_accurate(setting.gradient(labels, logits), want, dtype, scale)


@each_dtype
@each_class_count
@pytest.mark.slow
def test_softmax_accuracy_of_soft_targets(n_classes, dtype, seed, rng):
    logits, rows = softmax_data(n_classes, dtype, seed)
    hard = nearly_one_hot(labels_of(logits, rng), n_classes, rng).astype(dtype)
    both = soft_targets_of(logits, rng), hard
    for smoothing, targets in itertools.product(smoothings_of(n_classes), both):
        setting = CategoricalCrossentropy(label_smoothing=smoothing)
        want = [ref.softmax_loss(r, t, smoothing) for r, t in zip(rows, targets, strict=True)]
        ref.assert_accurate(setting.loss(targets, logits), want, dtype)
        pairs = [ref.softmax_gradient(r, t, smoothing) for r, t in zip(rows, targets, strict=True)]
        want, scale = zip(*pairs, strict=True)
        ref.assert_accurate(setting.gradient(targets, logits), want, dtype, scale)


@each_dtype
@each_class_count
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_softmax_accuracy_of_one_hot_rows(n_classes, smoothing, dtype, seed, rng):
    """Entry by entry that of the label, for dense rows and CSR."""
    logits, rows = softmax_data(n_classes, dtype, seed)
    labels = labels_of(logits, rng)
    one_hot = np.eye(n_classes, dtype=dtype)[labels]
    want = [ref.softmax_loss(r, y, smoothing) for r, y in zip(rows, labels, strict=True)]
    pairs = [ref.softmax_gradient(r, y, smoothing) for r, y in zip(rows, labels, strict=True)]
    gradient, scale = zip(*pairs, strict=True)
    for y in (labels, one_hot, sparse.csr_array(one_hot)):
        got = CategoricalCrossentropy(label_smoothing=smoothing).loss_gradient(y, logits)
        ref.assert_accurate(got[0], want, dtype)
        ref.assert_accurate(got[1], gradient, dtype, scale)


@each_dtype
@each_class_count
def test_softmax_accuracy_of_curvature(n_classes, dtype, seed, rng):
    logits, rows = softmax_data(n_classes, dtype, seed)
    labels = labels_of(logits, rng)
    targets = soft_targets_of(logits, rng)
    direction = signed_powers(rng, -3, 3, logits.shape).astype(dtype)
    tiny = np.finfo(dtype).tiny
    pairs = [ref.softmax_hessian_product(r, v, tiny) for r, v in zip(rows, direction, strict=True)]
    product, scale = zip(*pairs, strict=True)
    diagonal = [ref.softmax_hessian_diagonal(r) for r in rows]
    for setting, y in [
        (SparseCategoricalCrossentropy(), labels),
        (SparseCategoricalCrossentropy(label_smoothing=0.1), labels),
        (CategoricalCrossentropy(), targets),
    ]:
        ref.assert_accurate(setting.hessian_product(y, logits, direction), product, dtype, scale)
        ref.assert_accurate(setting.hessian_diagonal(y, logits), diagonal, dtype)


@each_dtype
@each_class_count
def test_softmax_accuracy_of_probabilities(n_classes, dtype, seed):
    logits, rows = softmax_data(n_classes, dtype, seed)
    for setting in (SparseCategoricalCrossentropy(), CategoricalCrossentropy()):
        proba = setting.predict_proba(logits)
        ref.assert_accurate(proba, [r.p for r in rows], dtype)
        log_proba = setting.predict_log_proba(logits)
        ref.assert_accurate(log_proba, [ref.softmax_log_proba(r) for r in rows], dtype)
        np.testing.assert_allclose(
            proba.sum(axis=1, dtype=np.float64), 1.0, rtol=0, atol=8 * np.finfo(dtype).eps
        )


@each_dtype
@each_class_count
@pytest.mark.parametrize(
    "kind", ["hard", "soft", "smoothed", "smoothed_a_little", "pos_weight", "pos_weight_per_label"]
)
def test_binary_accuracy(kind, n_classes, dtype, seed, rng):
    logits, units = binary_data(n_classes, dtype, seed)
    y_true = rng.integers(2, size=logits.shape).astype(dtype)
    smoothing = {"smoothed": 0.1, "smoothed_a_little": 1e-9}.get(kind, 0.0)
    pos_weight = None
    if kind in ("soft", "pos_weight_per_label"):
        tiny = 10 ** rng.uniform(-30, 0, logits.shape)
        y_true = np.where(rng.random(logits.shape) < 0.5, tiny, y_true).astype(dtype)
    if kind == "pos_weight":
        pos_weight = 3.5
    if kind == "pos_weight_per_label":
        pos_weight = (10 ** rng.uniform(-3, 3, n_classes)).astype(np.float32).astype(np.float64)
    setting = BinaryCrossentropy(label_smoothing=smoothing, pos_weight=pos_weight)
    weights = np.broadcast_to(1.0 if pos_weight is None else pos_weight, n_classes)

    def oracle(function):
        return [
            [function(u, y, smoothing, w) for u, y, w in zip(us, ys, weights, strict=True)]
            for us, ys in zip(units, y_true, strict=True)
        ]

    # weights above 1 magnify the rounding of numbers below the smallest normal one, and so does v
    tiny = ref.exact(np.finfo(dtype).tiny)
    smallest = [tiny * ref.exact(w) if w > 1 else ref.mp.zero for w in weights]
    losses = [ref.mp.fsum(row) for row in oracle(ref.binary_loss)]
    scale = np.maximum(losses, max(smallest))
    ref.assert_accurate(setting.loss(y_true, logits), losses, dtype, scale)

    pairs = oracle(ref.binary_gradient)
    gradient = [[g for g, _ in row] for row in pairs]
    scale = np.maximum([[s for _, s in row] for row in pairs], smallest)
    ref.assert_accurate(setting.gradient(y_true, logits), gradient, dtype, scale)

    hessian = oracle(ref.binary_hessian)
    scale = np.maximum(hessian, smallest)
    ref.assert_accurate(setting.hessian_diagonal(y_true, logits), hessian, dtype, scale)
    direction = signed_powers(rng, -3, 3, logits.shape).astype(dtype)
    exact_direction = np.array([[ref.exact(v) for v in vs] for vs in direction], dtype=object)
    product = np.array(hessian, dtype=object) * exact_direction
    scale = np.maximum(scale, tiny) * abs(exact_direction)
    ref.assert_accurate(setting.hessian_product(y_true, logits, direction), product, dtype, scale)


@each_dtype
def test_binary_accuracy_of_probabilities(dtype, seed):
    logits, units = binary_data(17, dtype, seed)
    setting = BinaryCrossentropy()
    ref.assert_accurate(setting.predict_proba(logits), [[u.p for u in r] for r in units], dtype)
    want = [[-u.cost_of_1 for u in r] for r in units]
    ref.assert_accurate(setting.predict_log_proba(logits), want, dtype)


@each_dtype
def test_weighted_accuracy(dtype, seed, rng):
    logits, rows = softmax_data(9, dtype, seed)
    labels = labels_of(logits, rng)
    # at most 1: a larger weight would magnify the rounding of a subnormal loss
    weight = rng.uniform(0.1, 1, len(logits)).astype(np.float32).astype(dtype)
    exact_weight = [ref.exact(w) for w in weight]
    setting = SparseCategoricalCrossentropy()
    loss, gradient = setting.loss_gradient(labels, logits, sample_weight=weight)
    triples = list(zip(rows, labels, exact_weight, strict=True))
    ref.assert_accurate(loss, [w * ref.softmax_loss(r, y) for r, y, w in triples], dtype)
    want = [[w * g for g in ref.softmax_gradient(r, y)[0]] for r, y, w in triples]
    ref.assert_accurate(gradient, want, dtype)


@pytest.mark.parametrize(
    ("dtype", "top", "want"),
    [(np.float32, 20, 2.061153620314381e-09), (np.float64, 40, 4.248354255291589e-18)],
)
def test_small_losses_are_not_rounded_to_zero(dtype, top, want):
    eps = np.finfo(dtype).eps
    logits = np.array([[top, 0]], dtype=dtype)
    rtol = 8 * eps
    loss = SparseCategoricalCrossentropy().loss([0], logits)
    np.testing.assert_allclose(loss, [want], rtol=rtol)
    loss = CategoricalCrossentropy().loss(np.array([[1.0, 0.0]]), logits)
    np.testing.assert_allclose(loss, [want], rtol=rtol)
    loss = BinaryCrossentropy().loss([1, 0], np.array([top, -top], dtype=dtype))
    np.testing.assert_allclose(loss, [want, want], rtol=rtol)


@each_dtype
def test_gradient_of_true_class_is_minus_the_sum_of_the_others(dtype):
    """Also where p of the true class rounds to 1, and 1 - p computed from it would be 0."""
    logits = np.array([[50, 0, 1, -3], [3, 9000, 8950, -9000], [-9.5, 60, 2, 3]], dtype=dtype)
    labels = np.array([0, 1, 1])
    proba = SparseCategoricalCrossentropy().predict_proba(logits)
    np.testing.assert_array_equal(proba[np.arange(3), labels], 1.0)
    gradient = SparseCategoricalCrossentropy().gradient(labels, logits)
    of_true_class = gradient[np.arange(3), labels]
    others = gradient.sum(axis=1, where=np.arange(4) != labels[:, None], dtype=np.float64)
    assert (of_true_class < 0).all()
    np.testing.assert_allclose(of_true_class, -others, rtol=16 * np.finfo(dtype).eps)


# --- Infinities and nan ---------------------------------------------------------------------------


@each_dtype
def test_zero_target_against_minus_infinity_costs_nothing(dtype):
    logits = np.array([[-np.inf, 1, 1], [-np.inf, 5, -np.inf]], dtype=dtype)
    targets = np.array([[0, 0.5, 0.5], [0, 1, 0]], dtype=dtype)
    setting = CategoricalCrossentropy()
    np.testing.assert_allclose(setting.loss(targets, logits), [np.log(2), 0], rtol=1e-6, atol=0)
    np.testing.assert_array_equal(setting.gradient(targets, logits), np.zeros((2, 3)))
    direction = np.ones((2, 3), dtype=dtype)
    np.testing.assert_array_equal(setting.hessian_product(targets, logits, direction), 0.0)
    np.testing.assert_array_equal(setting.predict_proba(logits), [[0, 0.5, 0.5], [0, 1, 0]])
    np.testing.assert_array_equal(setting.predict_log_proba(logits)[1], [-np.inf, 0, -np.inf])
    loss = SparseCategoricalCrossentropy().loss([1, 1], logits)
    np.testing.assert_allclose(loss, [np.log(2), 0], rtol=1e-6, atol=0)
    loss = BinaryCrossentropy().loss([0, 1, 0], np.array([-np.inf, np.inf, -1], dtype=dtype))
    np.testing.assert_allclose(loss, [0, 0, np.log1p(np.exp(-1))], rtol=1e-6, atol=0)


@each_dtype
def test_a_target_of_probability_zero_costs_infinity(dtype):
    logits = np.array([[-np.inf, 0, 0]], dtype=dtype)
    soft = np.array([[0.5, 0.5, 0]], dtype=dtype)
    for setting, y, gradient in [
        (SparseCategoricalCrossentropy(), [0], [[-1, 0.5, 0.5]]),
        (CategoricalCrossentropy(), soft, [[-0.5, 0, 0.5]]),
    ]:
        np.testing.assert_array_equal(setting.loss(y, logits), [np.inf])
        np.testing.assert_array_equal(setting.gradient(y, logits), gradient)
    logits = np.array([-np.inf, np.inf], dtype=dtype)
    loss, gradient = BinaryCrossentropy().loss_gradient([1, 0], logits)
    np.testing.assert_array_equal(loss, [np.inf, np.inf])
    np.testing.assert_array_equal(gradient, [-1, 1])


@each_dtype
@pytest.mark.parametrize("row", [[np.inf, 0, 0], [np.inf, np.inf, 0], [-np.inf] * 3])
def test_softmax_of_an_infinite_largest_logit_is_nan(row, dtype):
    logits = np.array([row, [1, 2, 3]], dtype=dtype)
    loss, gradient = SparseCategoricalCrossentropy().loss_gradient([0, 0], logits)
    np.testing.assert_array_equal(np.isnan(loss), [True, False])
    np.testing.assert_array_equal(np.isnan(gradient), [[True] * 3, [False] * 3])
    assert np.isnan(CategoricalCrossentropy().predict_proba(logits)[0]).all()


@each_dtype
@each_case
@pytest.mark.parametrize("column", [0, 10, 18])
def test_nan_stays_in_its_own_row(case, column, dtype, rng):
    setting, y, logits = make_case(case, rng, n=9, n_outputs=19, dtype=dtype)
    row = 3  # not an ignored one
    if case == "binary_missing":
        y[row] = 1
    direction = rng.normal(size=logits.shape).astype(dtype)
    clean = everything(setting, y, logits, direction)
    at = (row,) if logits.ndim == 1 else (row, column)
    logits[at] = np.nan
    others = np.arange(9) != row
    for name, got in everything(setting, y, logits, direction).items():
        np.testing.assert_array_equal(got[others], clean[name][others], err_msg=name)
        assert not np.isnan(got[others]).any(), name
        if isinstance(setting, BinaryCrossentropy) and "loss" not in name:
            want = np.isnan(logits)[row]  # the other labels of the row do not see it
        else:
            want = True
        np.testing.assert_array_equal(np.isnan(got[row]), np.full(got[row].shape, want), name)


# --- Derivatives, by differences ------------------------------------------------------------------


def difference(function, logits, direction, step=2.0**-9):
    """Fourth-order central difference of `function` at `logits` along `direction`."""

    def at(t):
        return function(logits + t * step * direction)

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)


def unit_directions(logits):
    """One array of the shape of `logits` for each output: 1 there, 0 elsewhere."""
    if logits.ndim == 1:
        return [np.ones_like(logits)]
    return [np.tile(row, (len(logits), 1)) for row in np.eye(logits.shape[1])]


@each_case
def test_gradient_is_the_difference_of_the_loss(case, rng):
    setting, y, logits = make_case(case, rng)
    weight = rng.uniform(0.5, 2, len(logits))
    gradient = setting.gradient(y, logits, sample_weight=weight)
    for direction in unit_directions(logits):
        got = difference(lambda z: setting.loss(y, z, sample_weight=weight), logits, direction)
        along = gradient * direction
        want = along if along.ndim == 1 else along.sum(axis=1)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)


@each_case
def test_hessian_product_is_the_difference_of_the_gradient(case, rng):
    setting, y, logits = make_case(case, rng)
    weight = rng.uniform(0.5, 2, len(logits))
    for direction in [*unit_directions(logits), rng.normal(size=logits.shape)]:
        want = difference(lambda z: setting.gradient(y, z, sample_weight=weight), logits, direction)
        got = setting.hessian_product(y, logits, direction, sample_weight=weight)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)


@each_case
def test_hessian_diagonal_is_that_of_the_hessian(case, rng):
    setting, y, logits = make_case(case, rng)
    weight = rng.uniform(0.5, 2, len(logits))
    want = sum(
        direction * setting.hessian_product(y, logits, direction, sample_weight=weight)
        for direction in unit_directions(logits)
    )
    got = setting.hessian_diagonal(y, logits, sample_weight=weight)
    np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-15)  # v - sum(p v) may cancel


# --- What must not change the answer --------------------------------------------------------------


@each_dtype
@each_case
@pytest.mark.parametrize("n_outputs", [1, 3, 8, 17, 1003])
def test_fused_equals_separate(case, n_outputs, dtype, rng):
    setting, y, logits = make_case(case, rng, n_outputs=n_outputs, dtype=dtype)
    for weight in (None, rng.uniform(0.5, 2, len(logits)).astype(dtype)):
        loss, gradient = setting.loss_gradient(y, logits, sample_weight=weight)
        np.testing.assert_array_equal(loss, setting.loss(y, logits, sample_weight=weight))
        np.testing.assert_array_equal(gradient, setting.gradient(y, logits, sample_weight=weight))


@each_dtype
@pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("binary")])
@pytest.mark.parametrize("shift", [-4096.0, 64.0, 8192.0])
def test_constant_shift_changes_nothing(case, shift, dtype, rng):
    """Multiples of 1/64 below 1e4 are exact in float32, and so are their shifts."""
    setting, y, logits = make_case(case, rng, n_outputs=17, dtype=dtype)
    logits = (np.round(logits * 64) / 64).astype(dtype)
    direction = rng.normal(size=logits.shape).astype(dtype)
    shifted = logits + dtype(shift)
    np.testing.assert_array_equal(shifted - dtype(shift), logits)
    assert_same_bits(
        everything(setting, y, shifted, direction), everything(setting, y, logits, direction)
    )


@each_dtype
@each_class_count
def test_gradient_rows_sum_to_zero(n_classes, dtype, seed, rng):
    logits, _ = softmax_data(n_classes, dtype, seed)
    labels = labels_of(logits, rng)
    targets = soft_targets_of(logits, rng)
    eps = np.finfo(dtype).eps
    for setting, y in [
        (SparseCategoricalCrossentropy(), labels),
        (SparseCategoricalCrossentropy(label_smoothing=0.1), labels),
        (CategoricalCrossentropy(), targets),
    ]:
        gradient = setting.gradient(y, logits).astype(np.float64)
        # errors are relative to max(p, t), whose row sum is at most 2
        limit = 16 * eps
        if not isinstance(setting, CategoricalCrossentropy) and setting.label_smoothing == 0:
            limit = 8 * eps * np.abs(gradient).sum(axis=1) + n_classes * np.finfo(dtype).tiny
        assert (np.abs(gradient.sum(axis=1)) <= limit).all()


@each_dtype
@each_class_count
def test_permuting_the_classes_permutes_the_result(n_classes, dtype, rng):
    eps = np.finfo(dtype).eps
    permutation = rng.permutation(n_classes)
    for case in ("sparse", "sparse_smoothed", "categorical", "binary"):
        setting, y, logits = make_case(case, rng, n_outputs=n_classes, dtype=dtype)
        permuted = y[:, permutation] if y.ndim == 2 else np.argsort(permutation)[y]
        loss, gradient = setting.loss_gradient(y, logits)
        moved_loss, moved = setting.loss_gradient(permuted, logits[:, permutation])
        np.testing.assert_allclose(moved_loss, loss, rtol=16 * eps)
        np.testing.assert_allclose(moved, gradient[:, permutation], rtol=16 * eps, atol=16 * eps)


@each_dtype
def test_binary_equals_two_class_softmax(dtype, seed, rng):
    eps = np.finfo(dtype).eps
    tiny = np.finfo(dtype).tiny
    logits = binary_data(33, dtype, seed)[0].ravel()
    labels = rng.integers(2, size=logits.size)
    pairs = np.column_stack([np.zeros_like(logits), logits])
    loss, gradient = BinaryCrossentropy().loss_gradient(labels, logits)
    pair_loss, pair_gradient = SparseCategoricalCrossentropy().loss_gradient(labels, pairs)
    close = {"rtol": 16 * eps, "atol": 4 * tiny * eps}
    np.testing.assert_allclose(pair_loss, loss, **close)
    np.testing.assert_allclose(pair_gradient[:, 1], gradient, **close)
    np.testing.assert_allclose(pair_gradient[:, 0], -gradient, **close)
    proba = BinaryCrossentropy().predict_proba(logits)
    np.testing.assert_allclose(
        SparseCategoricalCrossentropy().predict_proba(pairs)[:, 1], proba, **close
    )
    diagonal = BinaryCrossentropy().hessian_diagonal(labels, logits)
    pair_diagonal = SparseCategoricalCrossentropy().hessian_diagonal(labels, pairs)
    np.testing.assert_allclose(pair_diagonal[:, 1], diagonal, **close)


@each_dtype
@each_class_count
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_indices_equal_one_hot(smoothing, n_classes, dtype, seed, rng):
    logits, _ = softmax_data(n_classes, dtype, seed)
    labels = labels_of(logits, rng)
    one_hot = np.eye(n_classes, dtype=dtype)[labels]
    eps, tiny = np.finfo(dtype).eps, np.finfo(dtype).tiny
    by_label = SparseCategoricalCrossentropy(label_smoothing=smoothing)
    categorical = CategoricalCrossentropy(label_smoothing=smoothing)
    loss, gradient = by_label.loss_gradient(labels, logits)
    for y in (labels, one_hot, one_hot.astype(np.int64)):
        other_loss, other_gradient = categorical.loss_gradient(y, logits)
        np.testing.assert_allclose(other_loss, loss, rtol=16 * eps, atol=4 * tiny * eps)
        # a smoothed gradient is right relative to max(p, t), which is at most 1
        atol = 16 * eps if smoothing else 4 * tiny * eps
        np.testing.assert_allclose(other_gradient, gradient, rtol=16 * eps, atol=atol)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "float32", "float64"])
def test_any_number_type_of_labels(dtype, rng):
    for case in ("sparse", "categorical_indices", "binary"):
        setting, y, logits = make_case(case, rng)
        want = setting.gradient(y, logits)
        np.testing.assert_array_equal(setting.gradient(y.astype(dtype), logits), want)
        np.testing.assert_array_equal(setting.gradient(y.tolist(), logits.tolist()), want)


# --- Weights and ignored rows ---------------------------------------------------------------------


@each_dtype
@each_case
def test_sample_weight_multiplies(case, dtype, rng):
    setting, y, logits = make_case(case, rng, dtype=dtype)
    direction = rng.normal(size=logits.shape).astype(dtype)
    weight = np.append(rng.uniform(0.1, 10, len(logits) - 1), 0.0)
    plain = everything(setting, y, logits, direction)
    weighted = everything(setting, y, logits, direction, sample_weight=weight)
    tolerance = 32 * np.finfo(dtype).eps
    for name, got in weighted.items():
        factor = 1.0 if "proba" in name else weight.reshape(-1, *[1] * (got.ndim - 1))
        np.testing.assert_allclose(
            got, factor * plain[name], rtol=tolerance, atol=10 * tolerance, err_msg=name
        )
        assert got.dtype == dtype, name
        if "proba" not in name:
            np.testing.assert_array_equal(got[-1], 0.0, err_msg=name)


@each_case
def test_unit_weights_are_no_weights(case, rng):
    setting, y, logits = make_case(case, rng)
    direction = rng.normal(size=logits.shape)
    assert_same_bits(
        everything(setting, y, logits, direction, sample_weight=np.ones(len(logits))),
        everything(setting, y, logits, direction),
    )


@each_case
def test_call_is_the_weighted_mean(case, rng):
    setting, y, logits = make_case(case, rng)
    weight = rng.integers(1, 4, size=len(logits)).astype(np.float64)
    counts = np.ones(len(logits), dtype=bool)
    if case == "sparse_ignore":
        counts = y != -1
    loss = setting.loss(y, logits)
    got = setting(y, logits)
    assert np.ndim(got) == 0
    np.testing.assert_allclose(got, loss.sum() / counts.sum(), rtol=1e-14)
    got = setting(y, logits, sample_weight=weight)
    np.testing.assert_allclose(got, (weight * loss).sum() / weight[counts].sum(), rtol=1e-14)
    np.testing.assert_array_equal(setting(y, logits, weight), got)
    repeats = weight.astype(int)
    repeated = setting(np.repeat(y, repeats, axis=0), np.repeat(logits, repeats, axis=0))
    np.testing.assert_allclose(repeated, got, rtol=1e-14)


@each_dtype
@pytest.mark.parametrize("ignored", [-1, 2, 255])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_ignored_rows_are_zero(smoothing, ignored, dtype, rng):
    """Whether the ignored class is one of the logits' classes or not, and whatever its logits."""
    labels = rng.integers(2, size=10)
    logits = rng.normal(size=(10, 4)).astype(dtype)
    direction = rng.normal(size=(10, 4)).astype(dtype)
    weight = rng.uniform(0.5, 2, size=10)
    plain = SparseCategoricalCrossentropy(label_smoothing=smoothing)
    want = everything(plain, labels, logits, direction, sample_weight=weight)
    rows = [0, 4, 5, 9]
    labels[rows] = ignored
    logits[4, 1] = np.nan
    logits[5] = -np.inf
    setting = SparseCategoricalCrossentropy(label_smoothing=smoothing, ignore_class=ignored)
    got = everything(setting, labels, logits, direction, sample_weight=weight)
    for name in want:
        if "proba" not in name:
            want[name][rows] = 0.0
            np.testing.assert_array_equal(got[name], want[name], err_msg=name)


@each_dtype
def test_missing_binary_labels_are_zero(dtype, rng):
    _, y, logits = make_case("binary_missing", rng, dtype=dtype)
    y[2] = np.nan
    setting = BinaryCrossentropy(label_smoothing=0.1, pos_weight=3.0)
    missing = np.isnan(y)
    assert missing.any(axis=0).all()
    loss, gradient = setting.loss_gradient(y, logits)
    want = setting.gradient(np.nan_to_num(y), logits)
    np.testing.assert_array_equal(gradient, np.where(missing, 0.0, want))
    np.testing.assert_array_equal(setting.hessian_diagonal(y, logits)[missing], 0.0)
    assert loss[2] == 0
    by_label = [
        np.where(missing[:, k], 0.0, setting.loss(np.nan_to_num(y[:, k]), logits[:, k]))
        for k in range(y.shape[1])
    ]
    np.testing.assert_allclose(loss, sum(by_label), rtol=16 * np.finfo(dtype).eps)


# --- Memory layout, threads, buffers --------------------------------------------------------------


def laid_out(array, layout):
    """The same numbers in another memory layout."""
    array = np.asarray(array)
    everywhere = (slice(None, None, -1),) * array.ndim
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "every_other":
        wide = np.full([2 * size for size in array.shape], 7, dtype=array.dtype)
        view = wide[(slice(None, None, 2),) * array.ndim]
    elif layout == "other_rows":
        view = np.full((3 * len(array), *array.shape[1:]), 7, dtype=array.dtype)[1::3]
    elif layout == "reversed":
        view = np.empty_like(array)[everywhere]
    elif layout == "unaligned":
        packed = np.zeros(array.shape, dtype=[("byte", "u1"), ("value", array.dtype)])
        view = packed["value"]
    elif layout == "read_only":
        view = np.empty_like(array)
    view[...] = array
    if layout == "read_only":
        view.flags.writeable = False
    return view


@each_dtype
@each_case
@pytest.mark.parametrize(
    "layout", ["fortran", "every_other", "other_rows", "reversed", "unaligned", "read_only"]
)
@pytest.mark.parametrize("n_outputs", [4, 19])
def test_layout_changes_nothing(case, layout, n_outputs, dtype, rng):
    setting, y, logits = make_case(case, rng, n_outputs=n_outputs, dtype=dtype)
    direction = rng.normal(size=logits.shape).astype(dtype)
    weight = rng.uniform(0.5, 2, len(logits)).astype(dtype)
    arrays = [y, logits, direction, weight]
    moved = [laid_out(array, layout) for array in arrays]
    before = [array.copy() for array in moved]
    assert_same_bits(everything(setting, *moved), everything(setting, *arrays))
    for array, copy in zip(moved, before, strict=True):
        np.testing.assert_array_equal(array, copy)  # inputs are not written to


@each_dtype
@each_case
@pytest.mark.parametrize(("n", "n_outputs"), [(20011, 3), (501, 203)])
def test_threads_change_nothing(case, n, n_outputs, dtype, rng):
    setting, y, logits = make_case(case, rng, n=n, n_outputs=n_outputs, dtype=dtype)
    direction = rng.normal(size=logits.shape).astype(dtype)
    weight = rng.uniform(0.5, 2, n).astype(dtype)
    one = everything(setting, y, logits, direction, weight, n_threads=1)
    two = everything(setting, y, logits, direction, weight, n_threads=2)
    assert_same_bits(two, one)


@each_dtype
@each_case
def test_rows_do_not_depend_on_their_neighbours(case, dtype, rng):
    setting, y, logits = make_case(case, rng, n=23, n_outputs=7, dtype=dtype)
    direction = rng.normal(size=logits.shape).astype(dtype)
    together = everything(setting, y, logits, direction)
    for i in range(23):
        alone = everything(setting, y[i : i + 1], logits[i : i + 1], direction[i : i + 1])
        assert_same_bits(alone, {name: value[i : i + 1] for name, value in together.items()})


@each_dtype
@each_case
def test_no_rows(case, dtype, rng):
    setting, y, logits = make_case(case, rng, dtype=dtype)
    for n_threads in (1, 2):
        for name, got in everything(
            setting, y[:0], logits[:0], logits[:0], np.ones(0), n_threads
        ).items():
            assert got.shape == ((0,) if "loss" in name else logits[:0].shape), name
            assert got.dtype == dtype, name


OUT_BUFFERS = [
    ("loss", "loss_out", False, False),
    ("gradient", "gradient_out", True, False),
    ("hessian_product", "product_out", True, True),
    ("hessian_diagonal", "diagonal_out", True, False),
    ("predict_proba", "proba_out", True, None),
    ("predict_log_proba", "log_proba_out", True, None),
]


def call_method(setting, method, y, logits, takes_direction, **kwargs):
    """Call a method that takes y or not (`takes_direction` None), and a direction or not."""
    if takes_direction is None:
        return getattr(setting, method)(logits, **kwargs)
    arrays = (y, logits, logits) if takes_direction else (y, logits)
    return getattr(setting, method)(*arrays, **kwargs)


@each_dtype
@each_case
@pytest.mark.parametrize(("method", "name", "of_logits", "takes_direction"), OUT_BUFFERS)
def test_out_buffers(case, method, name, of_logits, takes_direction, dtype, rng):
    setting, y, logits = make_case(case, rng, dtype=dtype)
    shape = logits.shape if of_logits else (len(logits),)
    want = call_method(setting, method, y, logits, takes_direction)
    assert want.shape == shape
    assert want.dtype == dtype
    out = np.full(shape, np.nan, dtype=dtype)
    got = call_method(setting, method, y, logits, takes_direction, **{name: out})
    assert got is out
    np.testing.assert_array_equal(out, want)

    wrong_dtype = np.zeros(shape, dtype=np.float64 if dtype is np.float32 else np.float32)
    too_long = np.zeros((shape[0] + 1, *shape[1:]), dtype=dtype)
    one_more_axis = np.zeros((*shape, 1), dtype=dtype)
    for bad in (wrong_dtype, too_long, one_more_axis):
        with pytest.raises((ValueError, TypeError), match=name):
            call_method(setting, method, y, logits, takes_direction, **{name: bad})
        np.testing.assert_array_equal(bad, 0.0)


@each_dtype
@each_case
def test_fused_out_buffers(case, dtype, rng):
    setting, y, logits = make_case(case, rng, dtype=dtype)
    want_loss, want_gradient = setting.loss_gradient(y, logits)
    loss_out = np.full(len(logits), np.nan, dtype=dtype)
    gradient_out = np.full(logits.shape, np.nan, dtype=dtype)
    loss, gradient = setting.loss_gradient(y, logits, loss_out=loss_out, gradient_out=gradient_out)
    assert loss is loss_out
    assert gradient is gradient_out
    np.testing.assert_array_equal(loss, want_loss)
    np.testing.assert_array_equal(gradient, want_gradient)
    with pytest.raises(ValueError, match="loss_out"):
        setting.loss_gradient(y, logits, loss_out=loss_out[1:])
    with pytest.raises(ValueError, match="gradient_out"):
        setting.loss_gradient(y, logits, gradient_out=gradient_out[1:])


def test_binary_losses_of_a_row_are_added(rng):
    setting, y, logits = make_case("binary", rng)
    columns = [setting.loss(y[:, k], logits[:, k]) for k in range(y.shape[1])]
    np.testing.assert_allclose(setting.loss(y, logits), sum(columns), rtol=1e-15)
    gradients = [setting.gradient(y[:, k], logits[:, k]) for k in range(y.shape[1])]
    np.testing.assert_array_equal(setting.gradient(y, logits), np.column_stack(gradients))
    one_column = setting.gradient(y[:, :1], logits[:, :1])
    np.testing.assert_array_equal(one_column, gradients[0][:, None])


# --- Settings as objects --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "params"),
    [
        (
            SparseCategoricalCrossentropy,
            {"label_smoothing": 0.1, "ignore_class": 3, "logit_adjustment": 1.0},
        ),
        (CategoricalCrossentropy, {"label_smoothing": 0.25, "logit_adjustment": 0.5}),
        (BinaryCrossentropy, {"label_smoothing": 0.5, "pos_weight": [1.0, 2.0]}),
    ],
)
def test_params_clone_pickle_repr(cls, params):
    default = cls()
    assert set(default.get_params()) == set(params)
    assert default.get_params()["label_smoothing"] == 0.0
    setting = cls(**params)
    assert setting.get_params() == params
    assert default.set_params(**params) is default
    assert default.get_params() == params
    assert clone(setting) is not setting
    assert clone(setting).get_params() == params
    restored = pickle.loads(pickle.dumps(setting))
    assert type(restored) is cls
    assert restored.get_params() == params
    assert repr(cls()) == f"{cls.__name__}()"
    assert f"label_smoothing={params['label_smoothing']}" in repr(setting)
    assert eval(repr(setting)).get_params() == params
    with pytest.raises(ValueError, match="gamma"):
        setting.set_params(gamma=1)
    assert setting.get_params() == params


def test_set_params_changes_the_loss():
    setting = SparseCategoricalCrossentropy()
    logits = np.array([[4.0, 0.0]])
    before = setting.loss([0], logits)
    setting.set_params(label_smoothing=0.5)
    after = setting.loss([0], logits)
    np.testing.assert_allclose(after - before, [1.0])  # 0.25 of the mass moved over a gap of 4


@each_setting
def test_settings_say_that_they_act_on_logits(cls):
    first_line = cls.__doc__.strip().splitlines()[0]
    assert "logits" in first_line
    assert cls.__module__ == "xentlearn.losses"


@each_setting
@pytest.mark.parametrize("value", [True, False])
def test_from_logits_is_explained(cls, value):
    with pytest.raises(TypeError) as info:
        cls(from_logits=value)
    assert "from_logits" in str(info.value)
    assert "logits" in str(info.value).replace("from_logits", "")


@each_setting
def test_unknown_keyword(cls):
    with pytest.raises(TypeError, match="gamma"):
        cls(gamma=2.0)


@each_setting
def test_options_are_keyword_only(cls):
    logits = np.zeros((2, 2))
    y = np.array([0, 1]) if cls is SparseCategoricalCrossentropy else np.eye(2)
    with pytest.raises(TypeError):
        cls().loss(y, logits, np.ones(2))
    with pytest.raises(TypeError):
        cls().gradient(y, logits, np.ones(2))
    with pytest.raises(TypeError):
        cls().loss_gradient(y, logits, np.ones(2))


# --- Bad input ------------------------------------------------------------------------------------

SPARSE, CATEGORICAL, BINARY = SETTINGS
LABELS = [0, 1, 2, 0]
SOFT = [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]
MULTI = [[0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0]]
Y_OF = {SPARSE: LABELS, CATEGORICAL: SOFT, BINARY: MULTI}


def changed(y, row, value):
    """A copy of `y` as floats with one row changed."""
    y = np.array(y, dtype=np.float64)
    y[row] = value
    return y


@pytest.mark.parametrize(
    ("cls", "y", "came"),
    [
        (SPARSE, [0, 1, 7, 0], "7"),
        (SPARSE, [0, 1, 3, 0], "3"),
        (SPARSE, [0, -1, 2, 0], "-1"),
        (SPARSE, [0, 0.5, 2, 0], "0.5"),
        (SPARSE, [0, np.nan, 2, 0], "nan"),
        (SPARSE, [0, np.inf, 2, 0], "inf"),
        (SPARSE, np.array([0, 2**63, 2, 0], dtype=np.uint64), "9223372036854775808"),
        (SPARSE, LABELS[:3], "3"),
        (SPARSE, [LABELS, LABELS], "2"),
        (SPARSE, 0, ""),
        (SPARSE, SOFT, ""),
        (SPARSE, ["a", "b", "c", "a"], ""),
        (SPARSE, None, ""),
        (CATEGORICAL, [0, 1, 3, 0], "3"),
        (CATEGORICAL, [0, 1, -1, 0], "-1"),
        (CATEGORICAL, np.ones((4, 2)) / 2, "2"),
        (CATEGORICAL, SOFT[:3], "3"),
        (CATEGORICAL, changed(SOFT, 2, [0.5, np.nan, 0.5]), ""),
        (CATEGORICAL, changed(SOFT, 2, [-0.5, 1.0, 0.5]), ""),
        (CATEGORICAL, changed(SOFT, 2, [0.5, 1.0, 0.5]), ""),
        (BINARY, changed(MULTI, 1, 2), "2"),
        (BINARY, changed(MULTI, 1, -1), "-1"),
        (BINARY, changed(MULTI, 1, 1.25), "1.25"),
        (BINARY, changed(MULTI, 1, np.inf), "inf"),
        (BINARY, LABELS, ""),
        (BINARY, np.zeros((4, 2)), "2"),
        (BINARY, np.zeros((3, 3)), ""),
    ],
)
def test_bad_y(cls, y, came):
    logits = np.zeros((4, 3))
    for method in ("loss", "gradient", "loss_gradient", "hessian_diagonal"):
        with pytest.raises((ValueError, TypeError), match="(?i)y_true|label|target") as info:
            getattr(cls(), method)(y, logits)
        assert came in str(info.value)
    with pytest.raises((ValueError, TypeError), match="(?i)y_true|label|target"):
        cls().hessian_product(y, logits, logits)
    with pytest.raises((ValueError, TypeError), match="(?i)y_true|label|target"):
        cls()(y, logits)


@pytest.mark.parametrize(
    ("cls", "params", "name"),
    [
        *((cls, {"label_smoothing": -0.1}, "label_smoothing") for cls in SETTINGS),
        *((cls, {"label_smoothing": 1.5}, "label_smoothing") for cls in SETTINGS),
        *((cls, {"label_smoothing": np.nan}, "label_smoothing") for cls in SETTINGS),
        *((cls, {"label_smoothing": "a"}, "label_smoothing") for cls in SETTINGS),
        *((cls, {"label_smoothing": None}, "label_smoothing") for cls in SETTINGS),
        (BINARY, {"pos_weight": -1.0}, "pos_weight"),
        (BINARY, {"pos_weight": np.nan}, "pos_weight"),
        (BINARY, {"pos_weight": np.inf}, "pos_weight"),
        (BINARY, {"pos_weight": [1.0, -1.0, 1.0]}, "pos_weight"),
        (BINARY, {"pos_weight": [1.0, 1.0]}, "pos_weight"),
        (BINARY, {"pos_weight": np.ones((4, 3))}, "pos_weight"),
        (BINARY, {"pos_weight": "a"}, "pos_weight"),
        (SPARSE, {"ignore_class": "a"}, "ignore_class"),
        (SPARSE, {"ignore_class": 0.5}, "ignore_class"),
    ],
)
def test_bad_params(cls, params, name):
    with pytest.raises((ValueError, TypeError), match=name) as info:
        cls(**params).loss(Y_OF[cls], np.zeros((4, 3)))
    if name != "ignore_class" and isinstance(params[name], float):
        assert str(params[name]) in str(info.value)
        assert isinstance(info.value, ValueError)


@each_setting
@pytest.mark.parametrize(
    "weight",
    [[1, 1, -1, 1], [1, 1, np.nan, 1], [1, 1, np.inf, 1], [1, 1, 1], [[1], [1]], "a", [1j] * 4],
)
def test_bad_sample_weight(cls, weight):
    with pytest.raises((ValueError, TypeError), match="sample_weight"):
        cls().loss(Y_OF[cls], np.zeros((4, 3)), sample_weight=weight)
    with pytest.raises((ValueError, TypeError), match="sample_weight"):
        cls()(Y_OF[cls], np.zeros((4, 3)), sample_weight=weight)


@each_setting
@pytest.mark.parametrize(
    "logits",
    [0.0, np.zeros((4, 3, 1)), np.zeros((4, 3)) + 1j, np.full((4, 3), "a"), np.zeros((4, 0)), None],
)
def test_bad_logits(cls, logits):
    with pytest.raises((ValueError, TypeError), match="logits"):
        cls().predict_proba(logits)
    with pytest.raises((ValueError, TypeError), match="logits|y_true"):
        cls().loss(Y_OF[cls], logits)


@each_setting
def test_bad_direction(cls):
    logits = np.zeros((4, 3))
    for direction in (logits[:3], logits[:, :2], logits[0], 1.0):
        with pytest.raises(ValueError, match="direction"):
            cls().hessian_product(Y_OF[cls], logits, direction)


@pytest.mark.parametrize("cls", SOFTMAX_SETTINGS)
def test_softmax_needs_a_class_axis(cls):
    with pytest.raises(ValueError, match="logits"):
        cls().predict_proba(np.zeros(3))


@each_dtype
def test_many_classes_that_cannot_be_told_from_zero_add_up_to_zero(dtype):
    """Each is far below the smallest subnormal, and so is the sum of them."""
    logits = np.zeros((1, 50_000), dtype=dtype)
    logits[0, 7] = 1e4
    loss, gradient = SparseCategoricalCrossentropy().loss_gradient([7], logits)
    np.testing.assert_array_equal(loss, 0)
    np.testing.assert_array_equal(gradient, 0)


@each_case
@pytest.mark.parametrize("n_outputs", [5, 40])
def test_outputs_may_lie_over_inputs(case, n_outputs, rng):
    setting, y_true, logits = make_case(case, rng, n_outputs=n_outputs)
    direction = rng.normal(size=logits.shape)
    loss, gradient = setting.loss_gradient(y_true, logits)
    product = setting.hessian_product(y_true, logits, direction)
    proba = setting.predict_proba(logits)

    z = logits.copy()
    over = setting.loss_gradient(y_true, z, gradient_out=z)
    np.testing.assert_array_equal(over[0], loss)
    np.testing.assert_array_equal(over[1], gradient)
    v = direction.copy()
    np.testing.assert_array_equal(
        setting.hessian_product(y_true, logits, v, product_out=v), product
    )
    z = logits.copy()
    np.testing.assert_array_equal(setting.predict_proba(z, proba_out=z), proba)
    if y_true.dtype == logits.dtype and y_true.shape == logits.shape:
        y = y_true.copy()
        np.testing.assert_array_equal(setting.gradient(y, logits, gradient_out=y), gradient)
