"""Vector functions and row primitives on every CPU target that this machine has.

exp may be wrong by 1.1 ulp (2 spacings among the subnormals), log1p by 2: the budgets stated at the
top of `xentlearn/_kernels/exp_log.h`. Losses, gradients and curvature keep to 8 eps on every
target, as `test_loss.py` demands of the widest one.
"""

from functools import cache

import numpy as np
import pytest

import reference as ref
import xentlearn
from xentlearn import _loss
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)

TARGETS = _loss.available_cpu_targets()
DTYPES = [np.float32, np.float64]
CLASS_COUNTS = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33]  # around the widths of vectors
LENGTHS = range(1, 36)  # up to two of the widest vectors and a tail
SMOOTHING = 0.1

# In ulp of the true value, as stated at the top of exp_log.h.
BUDGET = {"exp": 1.1, "subnormal exp": 2, "log1p": 2}

# Where the errors were found to be largest: of all float32 numbers, and of 24 million float64 ones.
HARDEST = {
    ("exp", np.float32): [-27.378984451293945, -27.377992630004883],
    ("exp", np.float64): [-163.91529193401652, -269.9714489226536, 50.26727117373707],
    ("log1p", np.float32): [0.44041457772254944, 0.4422873556613922],
    ("log1p", np.float64): [0.4186288067569009, 0.4472454216105633],
}

# Two targets that are both within the budget of the true value are within twice the budget of each
# other.
AGREEMENT_IN_EPS = 2 * ref.BUDGET_IN_EPS

mp = ref.mp
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_class_count = pytest.mark.parametrize("n_classes", CLASS_COUNTS)


# --- exp and log1p --------------------------------------------------------------------------------


def spacing(value, dtype):
    """Distance of the numbers of a dtype around a real number: 1 ulp."""
    info = np.finfo(dtype)
    _, exponent = mp.frexp(value)  # value = m 2^exponent, 1/2 <= m < 1
    return mp.ldexp(1, max(exponent - 1, int(info.minexp)) - info.nmant)


def error_in_ulps(got, want, dtype):
    """``|got - want|`` in spacings at `want`; inf where only one is nan or out of range.

    An infinity that is found stands for the number that would follow the largest one.
    """
    if np.isnan(got) or mp.isnan(want):
        return 0.0 if np.isnan(got) and mp.isnan(want) else np.inf
    after_largest = mp.ldexp(1, int(np.finfo(dtype).maxexp))
    if abs(want) >= after_largest:
        return 0.0 if np.isinf(got) and (got > 0) == (want > 0) else np.inf
    if np.isinf(got):
        got = after_largest if got > 0 else -after_largest
    else:
        got = ref.exact(got)
    return float(abs(got - want) / spacing(want, dtype))


def neighbours(values, dtype):
    """The numbers of a dtype nearest to `values`, and two more on each side."""
    x = np.asarray(values, dtype=dtype)
    below, above = np.nextafter(x, dtype(-np.inf)), np.nextafter(x, dtype(np.inf))
    further = np.nextafter(below, dtype(-np.inf)), np.nextafter(above, dtype(np.inf))
    return np.concatenate([x, below, above, *further])


def points_of_exp(dtype, rng):
    info = np.finfo(dtype)
    ends = info.smallest_subnormal, info.tiny, info.max
    least, tiny, most = (float(mp.log(ref.exact(x))) for x in ends)
    ln2 = float(mp.log(2))
    edges = [
        *[least + k * ln2 for k in (-1, 0, 1, 2, 3)],  # where results become 0, and their spacing
        *[tiny + k * ln2 for k in (-1, 0, 1)],
        *[most, least - 5, least - 6.1, most + 0.3],
        *[0.0, -0.0, 1.0, -1.0, ln2, -ln2],
    ]
    halves = (np.arange(int(least / ln2) - 2, int(most / ln2) + 2) + 0.5) * ln2
    halves = rng.choice(halves, 60)  # the ends of the reduced argument
    return np.concatenate(
        [
            neighbours(edges, dtype),
            neighbours(halves, dtype),
            rng.uniform(least - 3, most + 1, 500).astype(dtype),
            rng.uniform(least - 1, tiny + 1, 300).astype(dtype),  # subnormal results
            rng.uniform(-1, 1, 200).astype(dtype),
            powers(rng, dtype, np.log10(info.smallest_subnormal), 2, 300, signs=True),
            np.array([1e4, -1e4, 3e38, -3e38, info.max, info.min, info.tiny], dtype=dtype),
            np.array([np.inf, -np.inf, np.nan], dtype=dtype),
        ]
    )


def points_of_log1p(dtype, rng):
    """All of them at least 0."""
    info = np.finfo(dtype)
    exponents = np.arange(-info.nmant - 3, info.maxexp - 1)
    with np.errstate(over="ignore"):
        ends = 2.0 ** (exponents + 0.5) - 1  # where the reduced argument jumps
        powers_of_two = 2.0**exponents
    ends = ends[ends > 0]
    return np.concatenate(
        [
            neighbours(rng.choice(ends, 60), dtype),
            neighbours(rng.choice(powers_of_two, 60), dtype),
            neighbours([1.0, 0.5, np.sqrt(2) - 1, 2 * np.sqrt(2) - 1, info.eps, info.tiny], dtype),
            rng.uniform(0, 3, 500).astype(dtype),
            powers(rng, dtype, -2 * info.precision, 4, 500),
            powers(rng, dtype, np.log10(info.smallest_subnormal), np.log10(info.max), 400),
            np.array([0.0, -0.0, info.smallest_subnormal, info.max, np.inf, np.nan], dtype=dtype),
        ]
    )


def powers(rng, dtype, low, high, size, signs=False):
    """Numbers from 10**low to 10**high, evenly on a log scale."""
    magnitudes = (10 ** rng.uniform(float(low), float(high), size)).astype(dtype)
    return magnitudes * rng.choice([-1, 1], size).astype(dtype) if signs else magnitudes


def true_value(name, x):
    x = ref.exact(x)
    if name == "exp":
        return mp.exp(x)
    return x if mp.isnan(x) or mp.isinf(x) else mp.log1p(x)


@cache
def vector_case(name, dtype, seed):
    """(points, their exact values), made once for all targets."""
    rng = np.random.default_rng([seed, len(name)])
    points = (points_of_exp if name == "exp" else points_of_log1p)(dtype, rng)
    points = np.concatenate([points, np.array(HARDEST[name, dtype], dtype=dtype)])
    return points, [true_value(name, x) for x in points]


def bits(array):
    return array.view(np.int32 if array.dtype == np.float32 else np.int64)


@each_dtype
def test_error_in_ulps_can_fail(dtype):
    info = np.finfo(dtype)
    one, largest = mp.mpf(1), ref.exact(info.max)
    assert error_in_ulps(dtype(1), one, dtype) == 0
    assert error_in_ulps(dtype(1 + 3 * info.eps), one, dtype) == 3
    assert error_in_ulps(dtype(1 - info.eps), 1 - ref.exact(info.eps) / 2, dtype) == 1
    assert error_in_ulps(dtype(0), 3 * ref.exact(info.smallest_subnormal), dtype) == 3
    assert error_in_ulps(info.max, 2 * largest, dtype) == np.inf
    assert error_in_ulps(dtype(np.inf), 2 * largest, dtype) == 0
    assert error_in_ulps(dtype(np.inf), largest, dtype) == 1
    assert error_in_ulps(dtype(-np.inf), 2 * largest, dtype) == np.inf
    assert error_in_ulps(dtype(np.inf), one, dtype) > 1e6
    assert error_in_ulps(dtype(np.nan), one, dtype) == np.inf
    assert error_in_ulps(dtype(1), mp.nan, dtype) == np.inf
    assert error_in_ulps(dtype(np.nan), mp.nan, dtype) == 0


@each_dtype
@pytest.mark.parametrize("name", ["exp", "log1p"])
def test_vector_function_keeps_its_budget(name, dtype, target, seed):
    points, want = vector_case(name, dtype, seed)
    got = _loss.vector_function(name, points)
    assert got.dtype == dtype
    tiny = ref.exact(np.finfo(dtype).tiny)
    for x, g, w in zip(points, got, want, strict=True):
        budget = BUDGET["subnormal exp" if name == "exp" and abs(w) < tiny else name]
        error = error_in_ulps(g, w, dtype)
        assert error <= budget, f"{name}({x!r}) = {g!r}, wrong by {error:.3g} ulp"


def test_exp_and_log1p_of_many_float32(target):
    """Against NumPy in float64, whose own error is below 1e-6 ulp of float32."""
    patterns = np.arange(0x3000_0000, 0x42DC_0000, 401, dtype=np.int32)  # 4.7e-10 to 110
    for name, x in [
        ("exp", np.concatenate([patterns.view(np.float32), -patterns.view(np.float32)])),
        ("log1p", np.arange(0, 0x7F80_0000, 2003, dtype=np.int32).view(np.float32)),
    ]:
        want = getattr(np, name)(x.astype(np.float64))
        got = _loss.vector_function(name, x).astype(np.float64)
        beyond = want >= 2.0**128
        np.testing.assert_array_equal(got[beyond], np.inf)
        got = np.where(np.isinf(got), 2.0**128, got)
        _, exponent = np.frexp(want)
        error = np.abs(got - want) / np.ldexp(1.0, np.maximum(exponent - 1, -126) - 23)
        subnormal = (name == "exp") & (want < 2.0**-126)
        budget = np.where(subnormal, BUDGET["subnormal exp"], BUDGET[name]) + 1e-6
        worst = np.argmax(np.where(beyond, 0, error / budget))
        assert error[worst] <= budget[worst], f"{name}({x[worst]!r}): {error[worst]:.3g} ulp"


@each_dtype
def test_special_values_of_exp_and_log1p(dtype, target):
    info = np.finfo(dtype)
    below_0 = -104 if dtype is np.float32 else -746
    above = 89 if dtype is np.float32 else 710
    x = np.array([0, -0.0, np.inf, -np.inf, np.nan, below_0, above, info.min, info.max], dtype)
    want = np.array([1, 1, np.inf, 0, np.nan, 0, np.inf, 0, np.inf], dtype)
    got = _loss.vector_function("exp", x)
    np.testing.assert_array_equal(got, want)
    assert not np.signbit(got[~np.isnan(got)]).any()

    x = np.array([0, -0.0, np.inf, np.nan, info.smallest_subnormal, info.tiny, info.eps / 8], dtype)
    got = _loss.vector_function("log1p", x)
    np.testing.assert_array_equal(got, x)


@each_dtype
@pytest.mark.parametrize("name", ["exp", "log1p"])
def test_every_lane_and_every_length_give_the_same_bits(name, dtype, target, seed):
    points, _ = vector_case(name, dtype, seed)
    want = _loss.vector_function(name, points)
    at = 0
    for length in LENGTHS:
        for _ in range(length):  # other positions of the same numbers every time
            x = points[at : at + length].copy()
            got = _loss.vector_function(name, x)
            np.testing.assert_array_equal(bits(got), bits(want[at : at + length]))
            at = (at + 1) % (len(points) - length)
    for length in LENGTHS:
        for x in points[:: len(points) // 7]:
            got = _loss.vector_function(name, np.full(length, x))
            assert len(set(bits(got))) == 1, f"lanes of {name}({x!r}) differ"
    assert _loss.vector_function(name, points[:0]).shape == (0,)


# --- Rows of logits: hard ones, to 8 eps on every target ------------------------------------------


def hard_logits(n_classes, dtype, rng):
    """Rows in which something cancels, underflows, or is far from 0; magnitudes up to 1e4."""
    largest = 80 if dtype is np.float32 else 700
    rows = [np.zeros(n_classes), np.full(n_classes, -9999.5)]
    for lead in (20, 40, 100, 9990):  # one class dominates
        row = rng.normal(size=n_classes)
        row[rng.integers(n_classes)] += lead
        rows.append(row)
    rows.append(9990 + rng.uniform(0, 10, n_classes))
    rows.append(powers(rng, np.float64, -4, 4, n_classes, signs=True))
    rows.append(rng.uniform(-largest, 0, n_classes))
    small = powers(rng, np.float64, -6, -1, n_classes, signs=True)
    small[rng.integers(n_classes)] = -largest  # differences that are rounded
    rows.append(small)
    masked = 5 * rng.normal(size=n_classes)
    masked[1:][rng.random(n_classes - 1) < 0.4] = -np.inf
    rows.append(masked)
    return np.clip(rows, -np.inf, 1e4).astype(dtype)


@cache
def softmax_case(n_classes, dtype, seed):
    """Hard rows with labels, soft targets and directions, and the oracles' answers by name."""
    rng = np.random.default_rng([seed, n_classes])
    logits = hard_logits(n_classes, dtype, rng)
    n = len(logits)
    labels = np.where(rng.random(n) < 0.5, logits.argmax(axis=1), rng.integers(n_classes, size=n))
    soft = rng.dirichlet(np.full(n_classes, 0.3), size=n)
    soft[logits == -np.inf] = 0
    soft = (soft / soft.sum(axis=1, keepdims=True)).astype(dtype)
    one_hot = np.eye(n_classes, dtype=dtype)[labels]
    direction = powers(rng, dtype, -3, 3, n * n_classes, signs=True).reshape(n, n_classes)

    rows = [ref.SoftmaxRow(row) for row in logits]
    want = {}
    for name, y in [("labels", labels), ("soft", soft)]:  # one-hot rows are as the labels
        for smoothing in (0.0, SMOOTHING):
            pairs = [ref.softmax_gradient(r, t, smoothing) for r, t in zip(rows, y, strict=True)]
            gradient, scale = zip(*pairs, strict=True)
            losses = [ref.softmax_loss(r, t, smoothing) for r, t in zip(rows, y, strict=True)]
            want[name, smoothing] = losses, gradient, scale
    tiny = np.finfo(dtype).tiny
    pairs = [ref.softmax_hessian_product(r, v, tiny) for r, v in zip(rows, direction, strict=True)]
    want["hessian_product"] = tuple(zip(*pairs, strict=True))
    want["hessian_diagonal"] = [ref.softmax_hessian_diagonal(r) for r in rows]
    want["proba"] = [r.p for r in rows]
    want["log_proba"] = [ref.softmax_log_proba(r) for r in rows]
    return logits, {"labels": labels, "soft": soft, "one-hot": one_hot}, direction, want


@cache
def binary_case(n_labels, dtype, seed):
    """Hard entries with targets 0, 1 and missing, and the oracles' answers by smoothing."""
    rng = np.random.default_rng([seed, n_labels, 2])
    special = [0.0, 1e-30, 17, 37, 40, 88, 90, 104, 709, 720, 746, 1e4]
    shape = (5, n_labels)
    logits = rng.choice(special, shape) * rng.choice([-1.0, 1.0], shape)
    anything = powers(rng, np.float64, -4, 4, logits.size, signs=True).reshape(shape)
    logits = np.where(rng.random(shape) < 0.6, logits, anything).astype(dtype)
    y = rng.choice([0, 1, 1, np.nan], shape).astype(dtype)
    units = [[ref.BinaryLogit(z) for z in row] for row in logits]

    def oracle(function, *args):
        return [
            [function(u, t, *args) for u, t in zip(us, ts, strict=True)]
            for us, ts in zip(units, y, strict=True)
        ]

    want = {}
    for smoothing in (0.0, SMOOTHING):
        pairs = oracle(ref.binary_gradient, smoothing)
        want[smoothing] = (
            [mp.fsum(row) for row in oracle(ref.binary_loss, smoothing)],
            [[g for g, _ in row] for row in pairs],
            [[s for _, s in row] for row in pairs],
        )
    want["hessian_diagonal"] = oracle(ref.binary_hessian)
    want["proba"] = [[u.p for u in row] for row in units]
    want["log_proba"] = [[-u.cost_of_1 for u in row] for row in units]
    return logits, y, want


@each_dtype
@each_class_count
def test_softmax_settings_on_hard_rows(n_classes, dtype, target, seed):
    logits, targets, direction, want = softmax_case(n_classes, dtype, seed)
    for cls, y, name in [
        (SparseCategoricalCrossentropy, targets["labels"], "labels"),
        (CategoricalCrossentropy, targets["one-hot"], "labels"),
        (CategoricalCrossentropy, targets["soft"], "soft"),
    ]:
        for smoothing in (0.0, SMOOTHING):
            loss, gradient = cls(label_smoothing=smoothing).loss_gradient(y, logits)
            true_loss, true_gradient, scale = want[name, smoothing]
            ref.assert_accurate(loss, true_loss, dtype)
            ref.assert_accurate(gradient, true_gradient, dtype, scale)
        product, scale = want["hessian_product"]
        got = cls().hessian_product(y, logits, direction)
        # the Hessian is that of the target's mass, which for rounded soft rows is not quite 1
        ref.assert_accurate(got, product, dtype, scale)
        ref.assert_accurate(cls().hessian_diagonal(y, logits), want["hessian_diagonal"], dtype)
        ref.assert_accurate(cls().predict_proba(logits), want["proba"], dtype)
        ref.assert_accurate(cls().predict_log_proba(logits), want["log_proba"], dtype)


@each_dtype
@each_class_count
def test_binary_setting_on_hard_rows(n_classes, dtype, target, seed):
    logits, y, want = binary_case(n_classes, dtype, seed)
    for smoothing in (0.0, SMOOTHING):
        loss, gradient = BinaryCrossentropy(smoothing).loss_gradient(y, logits)
        true_loss, true_gradient, scale = want[smoothing]
        ref.assert_accurate(loss, true_loss, dtype)
        ref.assert_accurate(gradient, true_gradient, dtype, scale)
    setting = BinaryCrossentropy()
    ref.assert_accurate(setting.hessian_diagonal(y, logits), want["hessian_diagonal"], dtype)
    ref.assert_accurate(setting.predict_proba(logits), want["proba"], dtype)
    ref.assert_accurate(setting.predict_log_proba(logits), want["log_proba"], dtype)


# --- Targets against each other -------------------------------------------------------------------


def everything(logits, labels, soft, ones, direction, weight):
    """(result, what its errors are relative to) by name, on the CPU target in use."""
    n_classes = logits.shape[1]
    results = {}
    for cls, y, targets, share in [
        (SparseCategoricalCrossentropy, labels, np.eye(n_classes)[labels], 1 / n_classes),
        (CategoricalCrossentropy, soft, soft, 1 / n_classes),
        (BinaryCrossentropy, ones, ones, 1 / 2),
    ]:
        setting, name = cls(label_smoothing=SMOOTHING), cls.__name__
        targets = (1 - SMOOTHING) * targets + SMOOTHING * share
        loss, gradient = setting.loss_gradient(y, logits, sample_weight=weight)
        proba = setting.predict_proba(logits)
        log_proba = setting.predict_log_proba(logits)
        size = weight[:, np.newaxis] * np.maximum(proba, targets)
        product = setting.hessian_product(y, logits, direction, sample_weight=weight)
        magnitude = np.abs(direction)
        if cls is not BinaryCrossentropy:
            magnitude = magnitude + (proba * magnitude).sum(axis=1, keepdims=True)
        results[name, "loss"] = loss, loss
        results[name, "gradient"] = gradient, size
        results[name, "hessian_product"] = product, weight[:, np.newaxis] * proba * magnitude
        results[name, "proba"] = proba, proba
        results[name, "log_proba"] = log_proba, -log_proba
    return results


@each_dtype
@pytest.mark.parametrize("n_classes", [3, 16, 17, 100])
def test_targets_agree(n_classes, dtype, rng):
    n = 1003
    logits = (3 * rng.normal(size=(n, n_classes))).astype(dtype)
    labels = rng.integers(n_classes, size=n)
    soft = rng.dirichlet(np.ones(n_classes), size=n).astype(dtype)
    ones = rng.integers(2, size=(n, n_classes)).astype(dtype)
    direction = rng.normal(size=(n, n_classes)).astype(dtype)
    arguments = logits, labels, soft, ones, direction, rng.uniform(0.5, 2, n)
    before = _loss.current_cpu_target()
    try:
        by_target = {}
        for name in TARGETS:
            xentlearn.use_cpu_target(name)
            by_target[name] = everything(*arguments)
    finally:
        xentlearn.use_cpu_target(before)
    tolerance = AGREEMENT_IN_EPS * np.finfo(dtype).eps
    for name in TARGETS[1:]:
        for what, (want, scale) in by_target["scalar"].items():
            got, _ = by_target[name][what]
            assert (np.abs(got - want) <= tolerance * scale).all(), (name, *what)


# --- Memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [1, 7, 16, 127, 128, 129, 300])
@pytest.mark.parametrize("n_classes", [1, 2, 3, 16, 17, 32, 33, 100])
def test_nothing_is_written_outside_the_outputs(n_rows, n_classes, target, rng):
    """Vectors are wider than the rows that are left; what follows the outputs must survive."""
    before, after = 5, 40
    inside = slice(before, before + n_rows * n_classes)
    logits = rng.normal(size=(n_rows, n_classes)).astype(np.float32)
    for cls, y in [
        (SparseCategoricalCrossentropy, rng.integers(n_classes, size=n_rows)),
        (CategoricalCrossentropy, rng.dirichlet(np.ones(n_classes), n_rows).astype(np.float32)),
        (BinaryCrossentropy, rng.integers(2, size=logits.shape).astype(np.float32)),
    ]:
        setting = cls()
        want_loss, want_gradient = setting.loss_gradient(y, logits)
        losses = np.full(before + n_rows + after, 7.5, dtype=np.float32)
        gradients = np.full(before + logits.size + after, 7.5, dtype=np.float32)
        setting.loss_gradient(
            y,
            logits,
            loss_out=losses[before : before + n_rows],
            gradient_out=gradients[inside].reshape(logits.shape),
        )
        np.testing.assert_array_equal(losses[before : before + n_rows], want_loss)
        np.testing.assert_array_equal(gradients[inside].reshape(logits.shape), want_gradient)
        assert (np.delete(losses, np.s_[before : before + n_rows]) == 7.5).all()
        assert (np.delete(gradients, inside) == 7.5).all()
