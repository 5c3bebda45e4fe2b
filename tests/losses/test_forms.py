"""Focal, generalised, symmetric, Poly-1 and asymmetric losses on logits, against 50-digit oracles.

The rule is that of ``test_loss``: 8 eps, relative to the entry where the formula has one sign, to
the sum of the magnitudes of its terms where they cancel. A power magnifies the rounding of what is
raised to it, so that focal losses of gamma > 2 are allowed gamma / 2 times as much.
"""

import itertools
import pickle
from functools import lru_cache

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

import reference as ref
from reference import mp
from rows import (
    assert_same_bits,
    binary_data,
    everything,
    labels_of,
    nearly_one_hot,
    soft_targets_of,
    softmax_data,
)
from xentlearn._loss import available_cpu_targets, current_cpu_target, use_cpu_target
from xentlearn.losses import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    HybridLoss,
    PolyCrossentropy,
    SparseCategoricalCrossentropy,
    SymmetricCrossentropy,
)

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

SOFTMAX_FORMS = [
    CategoricalFocalCrossentropy(),
    CategoricalFocalCrossentropy(gamma=0.5),
    CategoricalFocalCrossentropy(gamma=1),
    CategoricalFocalCrossentropy(gamma=5),
    CategoricalFocalCrossentropy(gamma=2.5, label_smoothing=0.1),
    CategoricalFocalCrossentropy(gamma=0, alpha=0.25),
    CategoricalFocalCrossentropy(gamma=2, alpha=0.25),
    GeneralizedCrossentropy(),
    GeneralizedCrossentropy(q=1),
    GeneralizedCrossentropy(q=0.01),
    SymmetricCrossentropy(),
    SymmetricCrossentropy(alpha=0.1, beta=2.5, log_zero=-6.0),
    SymmetricCrossentropy(alpha=0, beta=1.0),
    PolyCrossentropy(),
    PolyCrossentropy(epsilon=-1),
    PolyCrossentropy(epsilon=7.5),
]
BINARY_FORMS = [
    BinaryFocalCrossentropy(),
    BinaryFocalCrossentropy(gamma=0.5),
    BinaryFocalCrossentropy(gamma=5, alpha=0.25),
    BinaryFocalCrossentropy(gamma=0, alpha=0.9),
    BinaryFocalCrossentropy(gamma=1.5, alpha=0.25, label_smoothing=0.1),
    AsymmetricBinaryCrossentropy(),
    AsymmetricBinaryCrossentropy(gamma_neg=2, gamma_pos=1, clip=0.0),
    AsymmetricBinaryCrossentropy(gamma_neg=0.5, gamma_pos=0.5, clip=0.3),
    AsymmetricBinaryCrossentropy(gamma_neg=0, gamma_pos=0, clip=0.05),
]
each_target = pytest.mark.parametrize("target", available_cpu_targets())


@pytest.fixture
def on_target(target):
    """The CPU target of the test, for its time."""
    before = current_cpu_target()
    use_cpu_target(target)
    yield
    use_cpu_target(before)


# --- Oracles --------------------------------------------------------------------------------------


def cost_and_slope(setting, row, k):
    """What class k costs per unit of its target, and the derivative of that in l = -log p."""
    p, miss, cost = row.p[k], row.one_minus_p[k], row.cost[k]
    if isinstance(setting, PolyCrossentropy):
        epsilon = ref.exact(setting.epsilon)
        return cost + epsilon * miss, (1 + epsilon) - epsilon * miss  # 1 + epsilon p
    if isinstance(setting, GeneralizedCrossentropy):
        q = ref.exact(setting.q)
        power = mp.exp(-q * cost)
        return -mp.expm1(-q * cost) / q, power
    if isinstance(setting, CategoricalFocalCrossentropy):
        gamma = ref.exact(setting.gamma)
        power = miss**gamma
        product = p * cost if p != 0 else mp.zero  # l may be infinite
        ratio = product / miss if miss != 0 else p
        return (power * cost if power != 0 else mp.zero), power + gamma * power * ratio
    raise TypeError(setting)


def form_row(setting, row, y):
    """(loss, its scale, gradient, its scales, diagonal, its scales) of one row, to 50 digits.

    Scales are what errors are relative to. The diagonal is of the generalised Gauss-Newton matrix.
    """
    target = ref.softmax_target(y, row.n_classes, setting._label_smoothing)
    labelled = np.ndim(y) == 0 and setting._label_smoothing == 0
    p, k = row.p, int(y) if labelled else None
    if isinstance(setting, SymmetricCrossentropy):
        a, b, floor = (ref.exact(x) for x in (setting.alpha, setting.beta, setting.log_zero))
        logs = [max(mp.log(t), floor) if t > 0 else floor for t in target]
        mirrored = [
            -b * x * log if t != 1 else mp.zero for x, log, t in zip(p, logs, target, strict=True)
        ]
        if labelled:  # sum_k p_k (-log_zero) over the others
            mirrored = [-b * floor * row.one_minus_p[k]]
        costs = [a * t * c for t, c in zip(target, row.cost, strict=True) if a * t != 0] + mirrored
        slopes = [a * t + b * x * (log - floor) for t, x, log in zip(target, p, logs, strict=True)]
        terms = slopes
        if not labelled:  # log_t - log_zero cancels, unless the one is the other
            terms = [
                a * t + (b * x * abs(log + floor) if log > floor else 0)
                for t, x, log in zip(target, p, logs, strict=True)
            ]
    else:
        alpha = getattr(setting, "alpha", None)
        target = [t * (1 if alpha is None else ref.exact(alpha)) for t in target]
        pairs = [cost_and_slope(setting, row, k) for k in range(row.n_classes)]
        costs = [t * cost for t, (cost, _) in zip(target, pairs, strict=True) if t != 0]
        terms = slopes = [t * slope for t, (_, slope) in zip(target, pairs, strict=True)]
    loss_scale = mp.fsum(abs(cost) for cost in costs)
    if isinstance(setting, PolyCrossentropy) and setting.epsilon < 0:  # two terms that cancel
        both = [c + m for c, m in zip(row.cost, row.one_minus_p, strict=True)]
        loss_scale = mp.fsum(t * c for t, c in zip(target, both, strict=True) if t != 0)
    factor, total = mp.fsum(slopes), mp.fsum(terms)
    scale = [max(x * total, g) for x, g in zip(p, terms, strict=True)]
    if not labelled:
        gradient = ref.gradient_of_slopes(row, slopes, terms, scale, target)
    else:
        gradient = [x * factor for x in p]
        gradient[k] = -row.one_minus_p[k] * factor
        scale = [x * total for x in p]
        scale[k] = row.one_minus_p[k] * total
    curvature = ref.softmax_hessian_diagonal(row)
    diagonal, diagonal_scale = ([x * c for c in curvature] for x in (factor, total))
    return mp.fsum(costs), loss_scale, gradient, scale, diagonal, diagonal_scale


def at_least(scales, setting, dtype):
    """Scales, but no smaller than what a weight makes of the smallest normal number.

    Below it p and l have a fixed spacing, which a weight magnifies.
    """
    weights = [getattr(setting, name, 0) for name in ("alpha", "epsilon")]
    weight = 1 + sum(abs(w) for w in weights if w is not None)
    if isinstance(setting, SymmetricCrossentropy):
        weight += setting.beta * abs(setting.log_zero)
    least = ref.exact(np.finfo(dtype).tiny) * weight
    return np.vectorize(lambda scale: max(scale, least), otypes=[object])(np.array(scales, object))


def asymmetric_costs(setting, unit):
    """Cost of a negative, p_m^gamma (-log(1 - p_m)), and its derivative in z."""
    gamma, clip = ref.exact(setting.gamma_neg), ref.exact(setting.clip)
    shifted = unit.p - clip
    if shifted <= 0:
        return mp.zero, mp.zero
    others = unit.one_minus_p + clip
    log = -mp.log(others) if shifted > 0.5 else mp.log1p(shifted / others)
    power = shifted**gamma
    slope = gamma * power / shifted * log + power / others
    return power * log, slope * unit.p * unit.one_minus_p


def binary_form(setting, unit, y):
    """(loss, its scale, gradient, its scale, curvature, its scale) of one logit, to 50 digits.

    The curvature is up (1 - p) + down p of the gradient up - down.
    """
    if np.isnan(y):
        return (mp.zero,) * 6
    t = (1 - ref.exact(setting._label_smoothing)) * exact_y(y) + ref.exact(
        setting._label_smoothing
    ) / 2
    c, p, miss = 1 - t, unit.p, unit.one_minus_p
    if isinstance(setting, BinaryFocalCrossentropy):
        gamma = ref.exact(setting.gamma)
        alpha = None if setting.alpha is None else ref.exact(setting.alpha)
        share = mp.one if alpha is None else alpha * t + (1 - alpha) * c
        costs = t * unit.cost_of_1 + c * unit.cost_of_0
        wrong = t * miss + c * p
        power = wrong**gamma
        bent = gamma * p * miss / wrong * costs
        loss = loss_scale = share * power * costs
        up, down = share * power * c * (p + bent), share * power * t * (miss + bent)
    else:
        gamma = ref.exact(setting.gamma_pos)
        of_0, slope_of_0 = asymmetric_costs(setting, unit)
        power = miss**gamma
        loss = t * power * unit.cost_of_1 + c * of_0
        up = c * slope_of_0
        down = t * power * (miss + gamma * p * unit.cost_of_1)
    gradient, curvature = up - down, up * miss + down * p
    if isinstance(setting, AsymmetricBinaryCrossentropy):  # p - clip cancels
        clip = ref.exact(setting.clip)
        lost = (p + clip) / (p - clip) if p > clip else mp.one
        loss_scale, up = t * power * unit.cost_of_1 + c * of_0 * lost, up * lost
        return loss, loss_scale, gradient, max(up, down), curvature, up * miss + down * p
    return loss, loss_scale, gradient, max(up, down), curvature, curvature


def exact_y(y):
    return ref.exact(float(y))


def limit(setting):
    """Eps that a result may be off."""
    gammas = [getattr(setting, name, 0) for name in ("gamma", "gamma_neg", "gamma_pos")]
    return ref.BUDGET_IN_EPS * max(1.0, max(gammas) / 2)


def test_the_oracles_slopes_are_derivatives():
    class Row:  # of one class whose probability is given
        def __init__(self, cost):
            self.p, self.cost = [mp.exp(-cost)], [cost]
            self.one_minus_p = [-mp.expm1(-cost)]

    settings = [s for s in SOFTMAX_FORMS if not isinstance(s, SymmetricCrossentropy)]
    for setting, cost in itertools.product(settings, ["0.01", "0.7", "5", "40"]):
        cost = mp.mpf(cost)
        slope = cost_and_slope(setting, Row(cost), 0)[1]
        found = mp.diff(lambda x, s=setting: cost_and_slope(s, Row(x), 0)[0], cost)
        assert abs(slope - found) <= 1e-15 * abs(found), (setting, cost)
    for setting, y, z in itertools.product(BINARY_FORMS, [0, 1, 0.25], ["-9", "-0.3", "2", "30"]):
        slope = binary_form(setting, Logit(mp.mpf(z)), y)[2]
        found = mp.diff(lambda x, s=setting, y=y: binary_form(s, Logit(x), y)[0], mp.mpf(z))
        assert abs(slope - found) <= 1e-15 * max(abs(found), mp.mpf("1e-10")), (setting, y, z)


class Logit:
    """``ref.BinaryLogit`` of a number that need not be a float."""

    def __init__(self, z):
        self.p, self.one_minus_p = 1 / (1 + mp.exp(-z)), 1 / (1 + mp.exp(z))
        self.cost_of_1, self.cost_of_0 = mp.log1p(mp.exp(-z)), mp.log1p(mp.exp(z))


def test_the_oracles_gradient_of_soft_rows_is_a_derivative(rng):
    target = np.array([0.5, 0.001, 0.0, 0.499])
    z = [mp.mpf(x) for x in ("0.3", "-1", "2", "0")]

    def loss(setting, z):
        total = mp.fsum(mp.exp(x) for x in z)
        row = ref.SoftmaxRow([0.0] * 4)
        row.p = [mp.exp(x) / total for x in z]
        row.one_minus_p = [1 - p for p in row.p]
        row.cost = [-mp.log(p) for p in row.p]
        return form_row(setting, row, target)

    step = mp.mpf("1e-15")
    for setting in SOFTMAX_FORMS:
        gradient = loss(setting, z)[2]
        for k in range(4):
            ends = [loss(setting, [*z[:k], z[k] + h, *z[k + 1 :]])[0] for h in (step, -step)]
            assert abs((ends[0] - ends[1]) / (2 * step) - gradient[k]) < 1e-20, (setting, k)


# --- Accuracy -------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def problems(setting, n_outputs, dtype, seed=11):
    """Return tuples (kinds of y with the same result, logits, exact values, scales of errors).

    The values are losses, gradients and diagonals. A softmax loss has labels, their one-hot rows,
    soft and nearly one-hot rows; a binary one has hard and soft entries. CPU targets share them.
    """
    rng = np.random.default_rng(seed)
    if setting._proba_kind == "softmax":
        logits, rows = softmax_data(n_outputs, dtype, 11)
        labels = labels_of(logits, rng)
        one_hot = np.eye(n_outputs, dtype=dtype)[labels]
        found = []
        for y_true, same in (
            (labels, [one_hot, sparse.csr_array(one_hot)]),
            (soft_targets_of(logits, rng), []),
            (nearly_one_hot(labels, n_outputs, rng).astype(dtype), []),
        ):
            want = [form_row(setting, row, y) for row, y in zip(rows, y_true, strict=True)]
            columns = list(zip(*want, strict=True))
            scales = [at_least(scale, setting, dtype) for scale in columns[1::2]]
            found.append(([y_true, *same], logits, columns[::2], scales))
        return found
    logits, units = binary_data(n_outputs, dtype, 5)
    hard = rng.integers(2, size=logits.shape).astype(dtype)
    soft = rng.random(logits.shape).astype(dtype)
    soft[rng.random(logits.shape) < 0.2] = np.nan
    # among the subnormal p the spacing is fixed, and the cost of the rest magnifies it
    magnified = 2 + max(getattr(setting, "gamma", 0), 1) * np.abs(logits.astype(object))
    least = magnified * ref.exact(np.finfo(dtype).tiny)
    found = []
    for y_true in (hard, soft):
        rows = [
            [binary_form(setting, unit, y) for unit, y in zip(*pair, strict=True)]
            for pair in zip(units, y_true, strict=True)
        ]
        want = np.moveaxis(np.array(rows, dtype=object), 2, 0)
        exact = [want[0].sum(axis=1), want[2], want[4]]
        scales = [want[1].sum(axis=1), *(np.maximum(want[i], least) for i in (3, 5))]
        found.append(([y_true], logits, exact, scales))
    return found


def compared(setting, n_outputs, dtype, seed=11):
    """Yield (results, exact values, what errors are relative to) for each y of `problems`."""
    for kinds, logits, exact, scales in problems(setting, n_outputs, dtype, seed):
        for y in kinds:
            yield results_of(setting, y, logits), exact, scales


def results_of(setting, y_true, logits):
    """Losses, gradients and the diagonal of what stands for the Hessian."""
    return *setting.loss_gradient(y_true, logits), setting.hessian_diagonal(y_true, logits)


def hard_rows(setting, n_outputs):
    """One case of `test_accuracy`; the oracle of long rows takes its time."""
    marks = [pytest.mark.slow] if n_outputs > 7 else []
    return pytest.param(setting, n_outputs, marks=marks, id=f"{setting!r}-{n_outputs}")


# A softmax of one class is constant, and the long rows of a binary loss would be slow.
HARD_ROWS = [hard_rows(s, n) for s in SOFTMAX_FORMS for n in (2, 3, 5, 7, 16, 17, 33, 100)]
HARD_ROWS += [hard_rows(s, n) for s in BINARY_FORMS for n in (1, 2, 3, 5, 7, 16, 17, 33)]


@each_target
@each_dtype
@pytest.mark.parametrize(("setting", "n_outputs"), HARD_ROWS)
def test_accuracy(setting, n_outputs, dtype, target, on_target, seed):
    for results in compared(setting, n_outputs, dtype, seed):
        for got, exact, scale in zip(*results, strict=True):
            ref.assert_accurate(got, exact, dtype, scale, limit(setting))


# --- All of them, plain ones included, against themselves -----------------------------------------

HYBRID = HybridLoss(
    [("softmax", SparseCategoricalCrossentropy()), ("ovr", BinaryCrossentropy())],
    weights=[1.0, 0.5],
)
LABELLED = [*SOFTMAX_FORMS, HYBRID]
ALL = [*LABELLED, *BINARY_FORMS]
each_setting = pytest.mark.parametrize("setting", ALL, ids=repr)
each_labelled = pytest.mark.parametrize("setting", LABELLED, ids=repr)


def targets_of(setting, logits, rng):
    """Labels for a softmax, else an indicator with missing entries."""
    if setting._proba_kind == "softmax":
        return rng.integers(logits.shape[1], size=len(logits))
    values = rng.integers(2, size=logits.shape).astype(logits.dtype)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


@each_dtype
@pytest.mark.parametrize("n_outputs", [2, 5, 40])
@each_setting
def test_bits_depend_on_nothing(setting, n_outputs, dtype, rng):
    """Not on threads, on strides, on other rows, nor on whether loss and gradient come together."""
    logits = rng.normal(scale=3, size=(1500, n_outputs)).astype(dtype)
    y = targets_of(setting, logits, rng)
    weight = rng.integers(3, size=len(logits)).astype(float)
    direction = rng.normal(size=logits.shape).astype(dtype)
    want = everything(setting, y, logits, direction, weight)
    np.testing.assert_array_equal(want["loss"], want["fused loss"])
    np.testing.assert_array_equal(want["gradient"], want["fused gradient"])
    assert_same_bits(everything(setting, y, logits, direction, weight, n_threads=2), want)
    wide = np.zeros((len(logits), 2 * n_outputs + 1), dtype=dtype)
    wide[:, ::2][:, :n_outputs] = logits
    strided = everything(setting, y, wide[:, ::2][:, :n_outputs], direction, weight)
    assert_same_bits(strided, want)
    fortran = everything(
        setting, y, np.asfortranarray(logits), np.asfortranarray(direction), weight
    )
    assert_same_bits(fortran, want)
    few = everything(setting, y[700:713], logits[700:713], direction[700:713], weight[700:713])
    assert_same_bits(few, {name: values[700:713] for name, values in want.items()})


@each_dtype
@each_labelled
def test_labels_are_one_hot_rows(setting, dtype, rng):
    logits = rng.normal(scale=20, size=(50, 6)).astype(dtype)
    labels = labels_of(logits, rng)
    by_label = setting.loss_gradient(labels, logits)
    if isinstance(setting, HybridLoss):
        setting = HybridLoss(
            [("softmax", CategoricalCrossentropy()), ("ovr", BinaryCrossentropy())], [1.0, 0.5]
        )
    info = np.finfo(dtype)
    for rows in (np.eye(6)[labels], sparse.csr_array(np.eye(6)[labels])):
        by_row = setting.loss_gradient(rows, logits)
        for got, want in zip(by_row, by_label, strict=True):
            atol = 60 * info.eps if setting._label_smoothing else 8 * info.tiny
            np.testing.assert_allclose(got, want, rtol=60 * info.eps, atol=atol)


@each_dtype
@pytest.mark.parametrize("n_outputs", [3, 40])
@pytest.mark.parametrize("setting", [CategoricalCrossentropy(), *SOFTMAX_FORMS], ids=repr)
def test_what_passes_share_changes_no_bit(setting, n_outputs, dtype, rng):
    """Targets of a fit know the majority classes beforehand; those of one pass find them in it."""
    logits = rng.normal(scale=9, size=(700, n_outputs)).astype(dtype)
    rows = nearly_one_hot(labels_of(logits, rng), n_outputs, rng)
    rows[::2] = rng.dirichlet(np.full(n_outputs, 0.2), size=350)
    rows = rows.astype(dtype)
    want = setting.gradient(rows, logits)
    for values in (rows, sparse.csr_array(rows)):
        gradient = np.empty_like(logits)
        target = setting._kernel_target(logits.shape, logits.dtype, values=values)
        target.loss_gradient(logits, None, gradient, 2)
        np.testing.assert_array_equal(gradient, want)


@each_setting
def test_hessians_are_symmetric_and_positive(setting, rng):
    n_outputs = 4
    logits = rng.normal(scale=4, size=(30, n_outputs))
    y = targets_of(setting, logits, rng)
    columns = [setting.hessian_product(y, logits, np.tile(e, (30, 1))) for e in np.eye(n_outputs)]
    hessians = np.stack(columns, axis=2)
    np.testing.assert_allclose(hessians, hessians.transpose(0, 2, 1), atol=1e-14)
    diagonal = np.einsum("ikk->ik", hessians)
    np.testing.assert_allclose(diagonal, setting.hessian_diagonal(y, logits), atol=1e-14)
    assert np.linalg.eigvalsh(hessians).min() > -1e-13
    if setting._plain:
        step = 1e-6
        for k, e in enumerate(np.eye(n_outputs)):
            ends = [setting.gradient(y, logits + h * e) for h in (step, -step)]
            np.testing.assert_allclose(
                hessians[:, :, k], (ends[0] - ends[1]) / (2 * step), atol=1e-7
            )


@each_dtype
@each_setting
def test_nothing_is_nan_at_the_ends(setting, dtype):
    """Logits of -inf, far apart, or all but certain: losses may be inf, gradients are numbers."""
    far = 1e4
    rows = [[30, 0, 0], [0, 30, 0], [far, -far, 0], [-far, far, 0], [0, -np.inf, 0], [88, 0, 0]]
    rows += [[-np.inf, 0, -np.inf], [0, -np.inf, -np.inf], [745, 0, 0], [1e-300, 0, 0], [0, 0, 0]]
    logits = np.array(rows, dtype=dtype)
    for k in range(3):
        if setting._proba_kind == "softmax":
            y = np.full(len(logits), k)
        else:
            logits = np.where(logits == -np.inf, dtype(-far), logits)
            y = np.tile(np.eye(3)[k], (len(logits), 1))
        loss, gradient = setting.loss_gradient(y, logits)
        assert not np.isnan(loss).any()
        assert np.isfinite(gradient).all()
        assert np.isfinite(setting.hessian_diagonal(y, logits)).all()
        if setting._proba_kind == "softmax" and setting._label_smoothing == 0:
            assert (gradient[:, k] <= 0).all()
            assert (np.delete(gradient, k, axis=1) >= 0).all()


SPECIAL = {  # (logit of the label, of another class, of the rest): whether the row has a softmax
    (np.inf, 0, 0): False,
    (0, np.inf, 0): False,
    (np.inf, np.inf, 0): False,
    (-np.inf, np.inf, 0): False,
    (np.inf, 0, -np.inf): False,
    (0, np.inf, -np.inf): False,
    (np.nan, 0, 0): False,
    (0, np.nan, 0): False,
    (-np.inf, np.nan, -np.inf): False,
    (np.nan, np.inf, 0): False,
    (-np.inf, -np.inf, -np.inf): False,
    (-np.inf, 0, 0): True,
    (-np.inf, 0, -np.inf): True,
    (0, -np.inf, 0): True,
    (0, -np.inf, -np.inf): True,
    (0, 1e4, -1e4): True,
    (1, 2, 3): True,
}
ONE_HOT_FORMS = [
    SparseCategoricalCrossentropy(),
    SparseCategoricalCrossentropy(label_smoothing=0.1),
    CategoricalCrossentropy(),
    CategoricalCrossentropy(label_smoothing=0.1),
    CategoricalFocalCrossentropy(alpha=[0.5, 0.0, 2.0] * 20),
    *LABELLED,
    HybridLoss(
        [("softmax", CategoricalCrossentropy()), ("none", GeneralizedCrossentropy())], [1, 0]
    ),
    HybridLoss(
        [("none", SparseCategoricalCrossentropy()), ("gce", GeneralizedCrossentropy())], [0, 1]
    ),
]


def taking_rows(setting):
    """The same loss, for rows of a single 1."""
    if isinstance(setting, HybridLoss):
        parts = [(name, taking_rows(part)) for name, part in setting.losses]
        return HybridLoss(parts, setting.weights)
    if isinstance(setting, SparseCategoricalCrossentropy):
        return CategoricalCrossentropy(setting._label_smoothing)
    return setting


@each_target
@each_dtype
@pytest.mark.parametrize("n_outputs", [3, 6, 39])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("setting", ONE_HOT_FORMS, ids=repr)
def test_logits_that_are_not_finite(setting, weighted, n_outputs, dtype, target, on_target, rng):
    """A row with nan or +inf, or of nothing but -inf, is nan, for a label and for its one-hot row.

    Classes of -inf have the probability 0. A row without weight is 0 whatever it holds.
    """
    if isinstance(setting, CategoricalFocalCrossentropy) and np.ndim(setting.alpha):
        setting = clone(setting).set_params(alpha=setting.alpha[:n_outputs])
    special = list(SPECIAL.items())
    n = len(special) * n_outputs
    labels = np.arange(n) % n_outputs
    logits = np.empty((n, n_outputs), dtype=dtype)
    for i, label in enumerate(labels):
        at_label, other, rest = special[i // n_outputs][0]
        logits[i] = rest
        logits[i, (label + rng.integers(1, n_outputs)) % n_outputs] = other
        logits[i, label] = at_label
    nan = ~np.repeat([sound for _, sound in special], n_outputs)
    weight = rng.choice([0, 0.5, 3], n) if weighted else None
    none = np.zeros(n, dtype=bool) if weight is None else weight == 0
    alpha = getattr(setting, "alpha", None)
    if np.ndim(alpha):  # the label's class has no weight
        none |= np.array(alpha)[labels] == 0

    direction = rng.normal(size=logits.shape).astype(dtype)
    by_label = everything(setting, labels, logits, direction, weight)
    one_hot = np.eye(n_outputs)[labels]
    for rows in (one_hot, sparse.csr_array(one_hot)):
        by_row = everything(taking_rows(setting), rows, logits, direction, weight)
        for name in ("loss", "gradient", "hessian_product", "hessian_diagonal"):
            for values in (by_label[name], by_row[name]):
                assert np.isnan(values[nan & ~none]).all(), name
                assert not np.isnan(values[~nan | none]).any(), name
                assert (values[none] == 0).all(), name
            tolerance = 60 * np.finfo(dtype).eps
            np.testing.assert_allclose(
                by_row[name], by_label[name], rtol=tolerance, atol=tolerance, err_msg=name
            )


@each_target
@each_dtype
@pytest.mark.parametrize("n_outputs", [1, 3, 40])
@pytest.mark.parametrize(
    "setting",
    [
        BinaryCrossentropy(),
        BinaryCrossentropy(label_smoothing=0.1, pos_weight=2.0),
        *BINARY_FORMS,
        HybridLoss([("bce", BinaryCrossentropy()), ("asl", AsymmetricBinaryCrossentropy())]),
    ],
    ids=repr,
)
def test_binary_logits_of_nan(setting, n_outputs, dtype, target, on_target, rng):
    """They make nan of everything, unless their target is missing or has no weight."""
    y = np.tile([[0.0], [0.5], [1.0], [np.nan]], (8, n_outputs))
    logits = rng.normal(scale=3, size=y.shape).astype(dtype)
    is_nan = rng.random(y.shape) < 0.5
    logits[is_nan] = np.nan
    weight = rng.choice([0.0, 0.5, 3.0], y.shape)
    direction = rng.normal(size=y.shape).astype(dtype)
    for given in (None, weight):
        wanted = is_nan & ~np.isnan(y)
        if given is not None:
            wanted &= given > 0
        found = everything(setting, y, logits, direction, given)
        for name in ("gradient", "hessian_product", "hessian_diagonal"):
            np.testing.assert_array_equal(np.isnan(found[name]), wanted, err_msg=name)
        np.testing.assert_array_equal(np.isnan(found["loss"]), wanted.any(axis=1))


@each_setting
def test_rows_that_do_not_count(setting, rng):
    logits = rng.normal(size=(6, 3))
    y = targets_of(setting, logits, rng)
    logits[2] = np.nan
    weight = np.array([1, 2, 0, 1, 1, 0.5])
    loss, gradient = setting.loss_gradient(y, logits, sample_weight=weight)
    assert loss[2] == 0
    assert (gradient[2] == 0).all()
    kept = weight > 0
    want = setting.loss_gradient(y[kept], logits[kept], sample_weight=weight[kept])
    np.testing.assert_array_equal(loss[kept], want[0])
    np.testing.assert_array_equal(gradient[kept], want[1])
    assert setting(y, logits, weight) == pytest.approx(loss.sum() / weight.sum(), rel=1e-14)


@each_setting
def test_settings_are_scikit_learns(setting):
    twin = clone(setting)
    assert twin is not setting
    assert twin == setting
    assert hash(twin) == hash(setting)
    assert pickle.loads(pickle.dumps(setting)) == setting
    assert type(setting).__name__ in repr(setting)
    assert type(setting).__name__ in setting._repr_html_()
    name, value = next(
        (name, value)
        for name, value in setting.get_params().items()
        if isinstance(value, float | int)
    )
    twin.set_params(**{name: value + 0.125})
    assert twin != setting
    with pytest.raises(ValueError, match="Invalid parameter 'gama'"):
        twin.set_params(gama=1)


# --- Limits that are other losses -----------------------------------------------------------------


def test_limits(rng):
    logits = rng.normal(scale=3, size=(40, 5))
    labels, entries = rng.integers(5, size=40), rng.integers(2, size=(40, 5))
    plain = SparseCategoricalCrossentropy().loss(labels, logits)
    close = {"rtol": 1e-12}
    for setting in (
        CategoricalFocalCrossentropy(gamma=0),
        CategoricalFocalCrossentropy(gamma=0, alpha=1.0),
        PolyCrossentropy(epsilon=0),
        SymmetricCrossentropy(beta=0),
        SymmetricCrossentropy(log_zero=0),
    ):
        np.testing.assert_allclose(setting.loss(labels, logits), plain, **close)
    p = setting.predict_proba(logits)[np.arange(40), labels]
    np.testing.assert_allclose(GeneralizedCrossentropy(q=1).loss(labels, logits), 1 - p, **close)
    np.testing.assert_allclose(
        GeneralizedCrossentropy(q=1e-9).loss(labels, logits), plain, rtol=1e-7
    )
    binary = BinaryCrossentropy().loss(entries, logits)
    for setting, factor in (
        (BinaryFocalCrossentropy(gamma=0), 1),
        (BinaryFocalCrossentropy(gamma=0, alpha=0.5), 0.5),
        (AsymmetricBinaryCrossentropy(gamma_neg=0, gamma_pos=0, clip=0), 1),
    ):
        np.testing.assert_allclose(setting.loss(entries, logits), factor * binary, **close)
    np.testing.assert_allclose(
        AsymmetricBinaryCrossentropy(gamma_neg=2, gamma_pos=2, clip=0).loss(entries, logits),
        BinaryFocalCrossentropy(gamma=2).loss(entries, logits),
        **close,
    )


def test_hybrid_is_the_weighted_sum(rng):
    logits = rng.normal(scale=3, size=(40, 5))
    labels = rng.integers(5, size=40)
    parts = [SparseCategoricalCrossentropy(), BinaryCrossentropy()]
    targets = [labels, np.eye(5)[labels]]
    for name in ("loss", "gradient", "hessian_diagonal"):
        one, other = (getattr(p, name)(t, logits) for p, t in zip(parts, targets, strict=True))
        np.testing.assert_allclose(getattr(HYBRID, name)(labels, logits), one + 0.5 * other)
    np.testing.assert_array_equal(HYBRID.predict_proba(logits), parts[0].predict_proba(logits))


# --- Bad parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (CategoricalFocalCrossentropy(gamma=-1), r"'gamma' must be a number in \[0, 100\]"),
        (CategoricalFocalCrossentropy(gamma=np.nan), "'gamma' must be a number"),
        (CategoricalFocalCrossentropy(alpha=[1, 2]), r"'alpha' must have shape \(3,\)"),
        (CategoricalFocalCrossentropy(alpha=-1), "'alpha' must be finite and at least 0"),
        (GeneralizedCrossentropy(q=0), "limit at 0 is CategoricalCrossentropy"),
        (GeneralizedCrossentropy(q=1.5), r"'q' must be a number in \(0, 1\]"),
        (SymmetricCrossentropy(alpha=-1), "'alpha' must be a finite number >= 0"),
        (SymmetricCrossentropy(alpha=0, beta=0), "which is no loss"),
        (SymmetricCrossentropy(log_zero=4), "'log_zero' must be a finite number <= 0"),
        (PolyCrossentropy(epsilon=-2), "'epsilon' must be a finite number >= -1"),
        (PolyCrossentropy(epsilon="1"), "'epsilon' must be a finite number"),
        (BinaryFocalCrossentropy(alpha=2), r"'alpha' must be None or a number in \[0, 1\]"),
        (AsymmetricBinaryCrossentropy(clip=1), r"'clip' must be a number in \[0, 1\)"),
        (AsymmetricBinaryCrossentropy(gamma_neg=True), "'gamma_neg' must be a number"),
        (HybridLoss([]), r"'losses' must be a list of \(name, setting\) pairs"),
        (HybridLoss([CategoricalCrossentropy()]), r"'losses' must be a list of \(name"),
        (HybridLoss([("a", "log_loss")]), "Part 'a' of HybridLoss must be a setting"),
        (HybridLoss([("a", HYBRID)]), "Part 'a' of HybridLoss must be a setting"),
        (HybridLoss([("a", PolyCrossentropy())] * 2), "not unique"),
        (HybridLoss([("a__b", PolyCrossentropy())]), "must not contain __"),
        (HybridLoss([("a", PolyCrossentropy())], [1, 2]), r"'weights' must have shape \(1,\)"),
        (HybridLoss([("a", PolyCrossentropy())], [0]), "at least one part"),
        (HybridLoss([("a", PolyCrossentropy(logit_adjustment=1))]), "'logit_adjustment' must be 0"),
    ],
    ids=str,
)
def test_bad_parameters(setting, message):
    y = (
        [[1.0, 0, 0]]
        if isinstance(setting, BinaryFocalCrossentropy | AsymmetricBinaryCrossentropy)
        else [0]
    )
    with pytest.raises(ValueError, match=message):
        setting.loss(y, [[1.0, 2.0, 3.0]])


@pytest.mark.parametrize("cls", [type(setting) for setting in ALL])
def test_from_logits_is_explained(cls):
    arguments = {"losses": []} if cls is HybridLoss else {}
    with pytest.raises(TypeError, match=r"always acts on logits.*xentlearn\.losses"):
        cls(from_logits=True, **arguments)
    with pytest.raises(TypeError, match="unexpected keyword argument 'gama'"):
        cls(gama=1, **arguments)


def test_hybrid_parts_by_name():
    setting = clone(HYBRID)
    setting.set_params(softmax__label_smoothing=0.1, ovr=BinaryFocalCrossentropy(), weights=None)
    assert setting.get_params()["ovr__gamma"] == 2.0
    assert setting.losses[0][1] == SparseCategoricalCrossentropy(label_smoothing=0.1)
    assert HYBRID.losses[0][1] == SparseCategoricalCrossentropy()
