"""The three public functions on predictions, against plain NumPy, torch and scikit-learn."""

import inspect
import warnings

import numpy as np
import pytest
from sklearn.metrics import log_loss

import reference as ref
from xentlearn import losses
from xentlearn.losses import (
    binary_crossentropy,
    categorical_crossentropy,
    sparse_categorical_crossentropy,
)

FUNCTIONS = [sparse_categorical_crossentropy, categorical_crossentropy, binary_crossentropy]
SOFTMAX_FUNCTIONS = FUNCTIONS[:2]
DTYPES = [np.float32, np.float64]
REDUCTIONS = ["none", "sum", "mean", "weighted_mean"]
# Twice the budget of a row in float32, for weights and sums; in float64 the oracle rounds as well.
RTOL = {np.float32: 16 * np.finfo(np.float32).eps, np.float64: 64 * np.finfo(np.float64).eps}

each_function = pytest.mark.parametrize("function", FUNCTIONS)
each_softmax_function = pytest.mark.parametrize("function", SOFTMAX_FUNCTIONS)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_reduction = pytest.mark.parametrize("reduction", REDUCTIONS)
each_from_logits = pytest.mark.parametrize("from_logits", [False, True])


# --- Test data ------------------------------------------------------------------------------------


def make_predictions(rng, shape, axis=-1, *, from_logits=False, dtype=np.float64):
    """Logits, or softmax probabilities along `axis`."""
    logits = rng.normal(scale=3, size=shape)
    if from_logits:
        return logits.astype(dtype)
    proba = ref.softmax(np.moveaxis(logits, axis, -1))
    return np.moveaxis(proba, -1, axis).astype(dtype)


def make_binary_predictions(rng, shape, *, from_logits=False, dtype=np.float64):
    """Logits, or independent probabilities."""
    logits = rng.normal(scale=3, size=shape)
    return (logits if from_logits else ref.sigmoid(logits)).astype(dtype)


def make_labels(rng, shape, axis=-1):
    """Class indices for predictions of this shape."""
    rows = np.delete(shape, axis)
    return rng.integers(shape[axis], size=tuple(rows))


def make_targets(rng, shape, axis=-1, dtype=np.float64):
    """Soft target rows along `axis`, some entries zero."""
    rows = rng.dirichlet(np.full(shape[axis], 0.5), size=tuple(np.delete(shape, axis)))
    rows[..., -1] = 0.0
    rows /= rows.sum(axis=-1, keepdims=True)
    return np.moveaxis(rows, -1, axis).astype(dtype)


def assert_matches(function, *args, dtype=np.float64, **kwargs):
    """Raise AssertionError unless `function` equals the oracle of its name, in value and dtype."""
    got = function(*args, **kwargs)
    want = getattr(ref, function.__name__)(*args, **kwargs)
    assert np.asarray(got).dtype == dtype
    assert np.shape(got) == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=RTOL[dtype], atol=0)


SHAPES = [((5, 4), -1), ((5, 4), 0), ((2, 6, 3), -1), ((2, 3, 6), 1), ((2, 3, 2, 4), -2)]


# --- Shapes, options and reductions against the oracle --------------------------------------------


@each_dtype
@each_from_logits
@each_reduction
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_sparse_matches_oracle(weighted, shape, axis, reduction, from_logits, dtype, rng):
    y_pred = make_predictions(rng, shape, axis, from_logits=from_logits, dtype=dtype)
    labels = make_labels(rng, shape, axis)
    n_classes = shape[axis]
    kwargs = {"from_logits": from_logits, "axis": axis, "reduction": reduction}
    if weighted:
        kwargs["sample_weight"] = rng.uniform(0.1, 3, size=labels.shape)
        kwargs["class_weight"] = rng.uniform(0.1, 3, size=n_classes)
    for smoothing in (0.0, 0.1, 1.0):
        assert_matches(
            sparse_categorical_crossentropy,
            labels,
            y_pred,
            label_smoothing=smoothing,
            dtype=dtype,
            **kwargs,
        )


@each_dtype
@each_from_logits
@each_reduction
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_categorical_matches_oracle(weighted, shape, axis, reduction, from_logits, dtype, rng):
    y_pred = make_predictions(rng, shape, axis, from_logits=from_logits, dtype=dtype)
    targets = make_targets(rng, shape, axis, dtype)
    kwargs = {"from_logits": from_logits, "axis": axis, "reduction": reduction}
    if weighted:
        kwargs["sample_weight"] = rng.uniform(0.1, 3, size=np.delete(shape, axis))
        kwargs["class_weight"] = rng.uniform(0.1, 3, size=shape[axis])
    for smoothing in (0.0, 0.1, 1.0):
        assert_matches(
            categorical_crossentropy,
            targets,
            y_pred,
            label_smoothing=smoothing,
            dtype=dtype,
            **kwargs,
        )


@each_dtype
@each_from_logits
@each_reduction
@pytest.mark.parametrize("shape", [(5,), (5, 4), (5, 1), (2, 3, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize("weights", ["none", "rows", "elements"])
@pytest.mark.parametrize("missing", [False, True])
def test_binary_matches_oracle(missing, weights, shape, reduction, from_logits, dtype, rng):
    y_pred = make_binary_predictions(rng, shape, from_logits=from_logits, dtype=dtype)
    y_true = rng.integers(2, size=shape).astype(np.float64)
    y_true.flat[::3] = rng.random(y_true.flat[::3].shape)
    if missing:
        y_true[0] = np.nan  # nothing in the first row(s)
        y_true.flat[-1] = np.nan
    kwargs = {"from_logits": from_logits, "reduction": reduction}
    if weights == "rows":
        kwargs["sample_weight"] = rng.uniform(0.1, 3, size=shape[:-1] or shape)
    elif weights == "elements":
        kwargs["sample_weight"] = rng.uniform(0.1, 3, size=shape)
    y_true = y_true.astype(dtype)
    for smoothing in (0.0, 0.1, 1.0):
        for pos_weight in (None, 2.5, rng.uniform(0.1, 3, size=shape[-1])):
            if len(shape) == 1 and np.ndim(pos_weight):
                continue
            assert_matches(
                binary_crossentropy,
                y_true,
                y_pred,
                label_smoothing=smoothing,
                pos_weight=pos_weight,
                dtype=dtype,
                **kwargs,
            )


@each_softmax_function
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_the_class_axis_can_be_any(function, axis, rng):
    proba = make_predictions(rng, (2, 3, 5))
    labels = make_labels(rng, proba.shape)
    y_true = np.eye(5)[labels] if function is categorical_crossentropy else labels
    want = function(y_true, proba)
    assert want.shape == (2, 3)
    if function is categorical_crossentropy:
        y_true = np.moveaxis(y_true, -1, axis)
    got = function(y_true, np.moveaxis(proba, -1, axis), axis=axis)
    np.testing.assert_array_equal(got, want)


def test_labels_over_time(rng):
    """(batch, class, time) predictions and (batch, time) labels, as PyTorch orders them."""
    logits = rng.normal(size=(2, 5, 7))
    labels = rng.integers(5, size=(2, 7))
    got = sparse_categorical_crossentropy(labels, logits, from_logits=True, axis=1)
    assert got.shape == (2, 7)
    for b in range(2):
        for t in range(7):
            row = logits[b, :, t]
            np.testing.assert_allclose(got[b, t], np.log(np.exp(row - row[labels[b, t]]).sum()))


@each_function
@each_reduction
def test_no_rows(function, reduction):
    y_true = np.zeros(0, int) if function is sparse_categorical_crossentropy else np.zeros((0, 3))
    y_pred = np.zeros((0, 3), dtype=np.float32)
    if reduction == "none":
        assert function(y_true, y_pred).shape == (0,)
    elif reduction == "sum":
        assert function(y_true, y_pred, reduction="sum") == 0
    else:
        with pytest.warns(RuntimeWarning):
            got = function(y_true, y_pred, reduction=reduction)
        assert np.isnan(got)


def test_integer_labels_in_one_column(rng):
    proba = make_predictions(rng, (6, 4))
    labels = make_labels(rng, proba.shape)
    np.testing.assert_array_equal(
        sparse_categorical_crossentropy(labels[:, None], proba),
        sparse_categorical_crossentropy(labels, proba),
    )


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64", "float32", "float64"])
def test_any_number_type_of_labels(dtype, rng):
    proba = make_predictions(rng, (6, 4))
    labels = make_labels(rng, proba.shape)
    want = sparse_categorical_crossentropy(labels, proba)
    np.testing.assert_array_equal(
        sparse_categorical_crossentropy(labels.astype(dtype), proba), want
    )
    np.testing.assert_array_equal(
        sparse_categorical_crossentropy(labels.tolist(), proba.tolist()), want
    )


@each_function
@each_from_logits
@pytest.mark.parametrize(
    ("dtype", "want"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64"), ("int8", "float64")],
)
def test_dtype_of_the_result(function, from_logits, dtype, want):
    """That of the predictions; y_true and the weights have no say."""
    y_pred = np.array([[1, 0], [0, 1], [0, 1]], dtype=dtype)
    y_true = [0, 1, 1] if function is sparse_categorical_crossentropy else [[1, 0], [0, 1], [0, 1]]
    for reduction in REDUCTIONS:
        got = function(
            np.array(y_true, dtype=np.float64),
            y_pred,
            from_logits=from_logits,
            sample_weight=np.ones(3),
            reduction=reduction,
        )
        assert np.asarray(got).dtype == want
        assert np.shape(got) == ((3,) if reduction == "none" else ())
        want_value = 0.0
        if from_logits:
            binary = function is binary_crossentropy
            want_value = (np.log1p(np.exp(-1)) + np.log(2)) / 2 if binary else np.log1p(np.exp(-1))
        n_added = 3 if reduction == "sum" else 1
        np.testing.assert_allclose(got, n_added * want_value, rtol=1e-6)


@each_function
def test_only_the_two_arrays_are_positional(function):
    parameters = inspect.signature(function).parameters
    positional = [n for n, p in parameters.items() if p.kind is not p.KEYWORD_ONLY]
    assert positional == ["y_true", "y_pred"]
    own = {"pos_weight"} if function is binary_crossentropy else {"class_weight", "axis"}
    common = {"from_logits", "label_smoothing", "sample_weight", "reduction", "n_threads"}
    assert own | common <= set(parameters)
    assert parameters["from_logits"].default is False
    assert parameters["reduction"].default == "none"
    assert parameters["n_threads"].default is None
    with pytest.raises(TypeError):
        function([[1.0, 0.0]], [[0.5, 0.5]], True)


def test_binary_has_no_classes():
    for name in ("class_weight", "ignore_class"):
        with pytest.raises(TypeError, match=name):
            binary_crossentropy([1.0], [0.5], **{name: None})


@each_function
@each_from_logits
def test_threads_and_layout_change_nothing(function, from_logits, rng):
    shape = (20011, 6)
    if function is binary_crossentropy:
        y_pred = make_binary_predictions(rng, shape, from_logits=from_logits)
        y_true = rng.random(shape)
    else:
        y_pred = make_predictions(rng, shape, from_logits=from_logits)
        y_true = make_targets(rng, shape)
        if function is sparse_categorical_crossentropy:
            y_true = make_labels(rng, shape)
    weight = rng.uniform(0.1, 2, size=len(y_pred))
    read_only = [np.asfortranarray(y_true), np.asfortranarray(y_pred)]
    for array in read_only:
        array.flags.writeable = False
    for reduction in REDUCTIONS:
        kwargs = {"from_logits": from_logits, "sample_weight": weight, "reduction": reduction}
        one = function(y_true, y_pred, n_threads=1, **kwargs)
        np.testing.assert_array_equal(function(y_true, y_pred, n_threads=2, **kwargs), one)
        np.testing.assert_array_equal(function(y_true, y_pred, **kwargs), one)
        np.testing.assert_array_equal(function(*read_only, n_threads=2, **kwargs), one)


# --- Hand values ----------------------------------------------------------------------------------

TEN_CLASSES = {
    0.16: [0.01, 0.02, 0.85, 0.02, 0.02, 0.02, 0.02, 0.02, 0.01, 0.01],
    3.00: [0.01, 0.02, 0.05, 0.80, 0.02, 0.02, 0.02, 0.02, 0.02, 0.02],
}


@each_dtype
@pytest.mark.parametrize(("cost", "row"), TEN_CLASSES.items())
def test_ten_classes(cost, row, dtype):
    y_pred = np.array([row], dtype=dtype)
    of_index = sparse_categorical_crossentropy([2], y_pred)
    np.testing.assert_allclose(of_index, [cost], atol=0.005)
    np.testing.assert_allclose(of_index, [-np.log(row[2])], rtol=1e-6)
    np.testing.assert_array_equal(categorical_crossentropy(np.eye(10)[[2]], y_pred), of_index)


@each_softmax_function
@pytest.mark.parametrize(
    ("proba", "cost"), [(1.0, 0.0), (0.5, 0.69), (0.1, 2.3), (0.01, 4.6), (0.0, np.inf)]
)
def test_cost_of_a_probability(function, proba, cost):
    y_true = [1] if function is sparse_categorical_crossentropy else [[0, 1]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = function(y_true, [[1 - proba, proba]])
    np.testing.assert_allclose(got, [cost], atol=0.01)
    got = binary_crossentropy([1, 0], [proba, 1 - proba])
    np.testing.assert_allclose(got, [cost, cost], atol=0.01)


def test_label_five_and_its_one_hot_row_cost_the_same(rng):
    proba = make_predictions(rng, (1, 10))
    np.testing.assert_array_equal(
        sparse_categorical_crossentropy([5], proba),
        categorical_crossentropy([[0, 0, 0, 0, 0, 1, 0, 0, 0, 0]], proba),
    )


def test_multi_label_row():
    got = binary_crossentropy([[0, 1, 0, 1, 0, 1]], [[0.1, 0.9, 0.2, 0.8, 0.5, 0.25]])
    want = -np.log([0.9, 0.9, 0.8, 0.8, 0.5, 0.25]).mean()
    np.testing.assert_allclose(got, [want], rtol=1e-14)


@each_dtype
def test_small_losses_from_logits(dtype):
    """Results of the functions keep what the settings promise."""
    top, want = {np.float32: (20, 2.061153620314381e-09), np.float64: (40, 4.248354255291589e-18)}[
        dtype
    ]
    close = {"rtol": 8 * np.finfo(dtype).eps}
    logits = np.array([[top, 0]], dtype=dtype)
    got = sparse_categorical_crossentropy([0], logits, from_logits=True)
    np.testing.assert_allclose(got, [want], **close)
    got = categorical_crossentropy([[1, 0]], logits, from_logits=True)
    np.testing.assert_allclose(got, [want], **close)
    got = binary_crossentropy([1], logits[0, :1], from_logits=True)
    np.testing.assert_allclose(got, [want], **close)


@each_dtype
def test_accuracy_of_logits_and_probabilities(dtype, rng):
    logits = (rng.normal(size=(40, 7)) * 10 ** rng.uniform(-2, 4, size=(40, 1))).astype(dtype)
    logits = np.clip(logits, -1e4, 1e4)
    labels = make_labels(rng, logits.shape)
    rows = [ref.SoftmaxRow(row) for row in logits]
    got = sparse_categorical_crossentropy(labels, logits, from_logits=True)
    want = [ref.softmax_loss(row, y) for row, y in zip(rows, labels, strict=True)]
    ref.assert_accurate(got, want, dtype)

    proba = np.column_stack([1 - (p := 10 ** rng.uniform(-7, -0.5, 50).astype(dtype)), p])
    cost = [[-ref.mp.log(ref.exact(p)) for p in row] for row in proba]
    for k in (0, 1):
        want = [row[k] for row in cost]
        got = sparse_categorical_crossentropy(np.full(50, k), proba)
        ref.assert_accurate(got, want, dtype)
        ref.assert_accurate(categorical_crossentropy(np.eye(2)[[k] * 50], proba), want, dtype)
    got = binary_crossentropy(np.ones(50), proba[:, 1])
    ref.assert_accurate(got, [row[1] for row in cost], dtype)
    got = binary_crossentropy(np.zeros(50), proba[:, 1])
    ref.assert_accurate(got, [-ref.mp.log1p(-ref.exact(p)) for p in proba[:, 1]], dtype)


@each_softmax_function
@each_reduction
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_cost_what_their_probabilities_cost(function, reduction, smoothing, rng):
    logits = rng.normal(scale=3, size=(20, 5))
    y_true = make_targets(rng, logits.shape)
    if function is sparse_categorical_crossentropy:
        y_true = make_labels(rng, logits.shape)
    kwargs = {"reduction": reduction, "label_smoothing": smoothing}
    of_logits = function(y_true, logits, from_logits=True, **kwargs)
    np.testing.assert_allclose(function(y_true, ref.softmax(logits), **kwargs), of_logits, 1e-12)


def test_binary_logits_cost_what_their_probabilities_cost(rng):
    logits = rng.normal(scale=3, size=(20, 5))
    y_true = rng.random((20, 5))
    of_logits = binary_crossentropy(y_true, logits, from_logits=True, pos_weight=3.0)
    got = binary_crossentropy(y_true, ref.sigmoid(logits), pos_weight=3.0)
    np.testing.assert_allclose(got, of_logits, 1e-12)


# --- Probability zero, infinities, nan ------------------------------------------------------------


@each_dtype
def test_probability_zero_is_not_clipped(dtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        proba = np.array([[0, 0.5, 0.5], [1, 0, 0]], dtype=dtype)
        got = sparse_categorical_crossentropy([0, 0], proba)
        np.testing.assert_array_equal(got, [np.inf, 0])
        targets = np.array([[0, 0.5, 0.5], [0.5, 0.5, 0]], dtype=dtype)
        got = categorical_crossentropy(targets, proba)
        np.testing.assert_allclose(got, [np.log(2), np.inf], rtol=1e-6)
        got = sparse_categorical_crossentropy([1, 0], proba, label_smoothing=0.1)
        np.testing.assert_array_equal(got, [np.inf, np.inf])  # smoothing puts mass on all classes
        got = binary_crossentropy([0, 1, 0, 1], np.array([0, 1, 1, 0], dtype=dtype))
        np.testing.assert_array_equal(got, [0, 0, np.inf, np.inf])


def test_infinite_and_nan_logits():
    logits = np.array([[-np.inf, 0, 0], [np.inf, 0, 0], [-np.inf] * 3, [np.nan, 0, 0], [0, 0, 0.0]])
    want = [np.log(2), np.nan, np.nan, np.nan, np.log(3)]
    got = sparse_categorical_crossentropy([1, 0, 0, 1, 1], logits, from_logits=True)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    got = categorical_crossentropy(np.eye(3)[[1, 0, 0, 1, 1]], logits, from_logits=True)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    np.testing.assert_array_equal(
        sparse_categorical_crossentropy([0], logits[:1], from_logits=True), [np.inf]
    )
    got = binary_crossentropy([0, 1, 1, 1], [-np.inf, np.inf, -np.inf, np.nan], from_logits=True)
    np.testing.assert_array_equal(got, [0, 0, np.inf, np.nan])


# --- Rules for probabilities ----------------------------------------------------------------------


BAD_ROWS = [
    [0.5, 0.6, 0.0],
    [0.5, 0.4, 0.0],
    [-0.1, 0.6, 0.5],
    [1.2, -0.1, -0.1],
    [0.5, 0.5, np.nan],
    [np.inf, 0.0, 0.0],
]


@each_dtype
@pytest.mark.parametrize("bad", BAD_ROWS)
def test_first_row_that_is_no_distribution_is_named(bad, dtype):
    proba = np.full((40, 3), [0.25, 0.25, 0.5], dtype=dtype)
    proba[[17, 29]] = bad
    labels = np.arange(40) % 3
    for function, y_true in [
        (sparse_categorical_crossentropy, labels),
        (categorical_crossentropy, np.eye(3)[labels]),
    ]:
        with pytest.raises(ValueError, match=r"\b17\b") as info:
            function(y_true, proba)
        assert "y_pred" in str(info.value)
        assert "29" not in str(info.value)
    with pytest.raises(ValueError, match=r"\b17\b") as info:
        categorical_crossentropy(proba, np.full((40, 3), 1 / 3))
    assert "y_true" in str(info.value)
    with pytest.raises(ValueError, match=r"(?s)\b17\b"):
        categorical_crossentropy(proba, np.zeros((40, 3)), from_logits=True)


def test_ignored_rows_are_not_looked_at():
    proba = np.full((40, 3), [0.25, 0.25, 0.5])
    proba[17] = [7, -3, np.nan]
    labels = np.arange(40) % 3
    labels[17] = -1
    got = sparse_categorical_crossentropy(labels, proba, ignore_class=-1)
    assert got[17] == 0
    assert np.isfinite(got).all()
    proba[29] = 2
    with pytest.raises(ValueError, match=r"\b29\b"):
        sparse_categorical_crossentropy(labels, proba, ignore_class=-1)
    logits = np.zeros((2, 3))
    logits[0] = np.nan
    for reduction in ("sum", "mean", "weighted_mean"):
        got = sparse_categorical_crossentropy(
            [255, 1], logits, from_logits=True, ignore_class=255, reduction=reduction
        )
        np.testing.assert_allclose(got, np.log(3))


@pytest.mark.parametrize(
    ("dtype", "off", "valid"),
    [
        (np.float16, 3e-3, True),
        (np.float16, 2e-2, False),
        (np.float32, 5e-5, True),
        (np.float32, 3e-4, False),
        (np.float64, 5e-5, True),
        (np.float64, 3e-4, False),
    ],
)
def test_tolerance_of_row_sums(dtype, off, valid):
    """Sums may be off by 1e-4 (float16: 5e-3), and are taken as they are."""
    for sign in (-1, 1):
        proba = np.array([[0.25, 0.25, 0.5 + sign * off]], dtype=dtype)
        target = np.array([[0.0, 0.0, 1.0]])
        if valid:
            want = [-np.log(np.float64(proba[0, 2]))]
            np.testing.assert_allclose(sparse_categorical_crossentropy([2], proba), want, 1e-6)
            np.testing.assert_allclose(categorical_crossentropy(target, proba), want, 1e-6)
        else:
            with pytest.raises(ValueError, match="y_pred"):
                sparse_categorical_crossentropy([2], proba)
            with pytest.raises(ValueError, match="y_pred"):
                categorical_crossentropy(target, proba)


@each_dtype
@pytest.mark.parametrize("bad", [-0.25, 1.25, np.nan, np.inf])
def test_first_row_with_no_binary_probability_is_named(bad, dtype):
    proba = np.full((40, 3), 0.25, dtype=dtype)
    proba[[17, 29], 1] = bad
    for y_pred in (proba, proba[:, 1]):
        with pytest.raises(ValueError, match=r"\b17\b") as info:
            binary_crossentropy(np.zeros(y_pred.shape), y_pred)
        assert "y_pred" in str(info.value)
        assert "29" not in str(info.value)


# --- Ignored rows, missing labels, weights, reductions by hand ------------------------------------

HALF, QUARTER, EIGHTH = np.log(2), np.log(4), np.log(8)
PROBA = np.array([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5], [0.125, 0.125, 0.75], [0.5, 0.5, 0.0]])


@pytest.mark.parametrize("ignored", [-1, 2, 255])
@pytest.mark.parametrize(
    ("reduction", "weight", "want"),
    [
        ("none", None, [HALF, QUARTER, EIGHTH, 0]),
        ("none", [1, 2, 3, 4], [HALF, 2 * QUARTER, 3 * EIGHTH, 0]),
        ("sum", None, HALF + QUARTER + EIGHTH),
        ("sum", [1, 2, 3, 4], HALF + 2 * QUARTER + 3 * EIGHTH),
        ("mean", None, (HALF + QUARTER + EIGHTH) / 3),
        ("mean", [1, 2, 3, 4], (HALF + 2 * QUARTER + 3 * EIGHTH) / 3),
        ("mean", [0, 2, 3, 4], (2 * QUARTER + 3 * EIGHTH) / 3),
        ("weighted_mean", None, (HALF + QUARTER + EIGHTH) / 3),
        ("weighted_mean", [1, 2, 3, 4], (HALF + 2 * QUARTER + 3 * EIGHTH) / 6),
        ("weighted_mean", [0, 2, 3, 4], (2 * QUARTER + 3 * EIGHTH) / 5),
    ],
)
def test_reductions_leave_ignored_rows_out(ignored, reduction, weight, want):
    labels = np.array([0, 1, 1, ignored])
    kwargs = {"ignore_class": ignored, "sample_weight": weight, "reduction": reduction}
    got = sparse_categorical_crossentropy(labels, PROBA, **kwargs)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    if weight is not None:
        kwargs["sample_weight"] = np.reshape(weight, (2, 2))
    got = sparse_categorical_crossentropy(labels.reshape(2, 2), PROBA.reshape(2, 2, 3), **kwargs)
    np.testing.assert_allclose(np.ravel(got), np.ravel(want), rtol=1e-14)


@pytest.mark.parametrize("class_weight", [[2.0, 3.0, 5.0], {0: 2.0, 1: 3.0, 2: 5.0}])
def test_class_weight_weighs_whole_rows(class_weight):
    labels = [0, 1, 2, 0]
    got = sparse_categorical_crossentropy(labels, PROBA, class_weight=class_weight)
    plain = sparse_categorical_crossentropy(labels, PROBA)
    np.testing.assert_allclose(got, plain * [2, 3, 5, 2], rtol=1e-14)
    got = categorical_crossentropy(np.eye(3)[labels], PROBA, class_weight=class_weight)
    np.testing.assert_allclose(got, plain * [2, 3, 5, 2], rtol=1e-14)
    got = sparse_categorical_crossentropy(
        labels[:3], PROBA[:3], class_weight=class_weight, label_smoothing=0.3
    )
    smoothed = sparse_categorical_crossentropy(labels[:3], PROBA[:3], label_smoothing=0.3)
    np.testing.assert_allclose(got, smoothed * [2, 3, 5], rtol=1e-14)
    got = sparse_categorical_crossentropy(
        labels,
        PROBA,
        class_weight=class_weight,
        sample_weight=[1, 2, 1, 1],
        reduction="weighted_mean",
    )
    np.testing.assert_allclose(got, (plain * [2, 6, 5, 2]).sum() / 15, rtol=1e-14)
    got = sparse_categorical_crossentropy(
        labels, PROBA, class_weight=class_weight, reduction="mean"
    )
    np.testing.assert_allclose(got, (plain * [2, 3, 5, 2]).sum() / 4, rtol=1e-14)


def test_class_weight_of_soft_rows_is_taken_before_smoothing():
    target = [[0.5, 0.25, 0.25]]
    plain = categorical_crossentropy(target, PROBA[:1], label_smoothing=0.6)
    got = categorical_crossentropy(
        target, PROBA[:1], label_smoothing=0.6, class_weight=[2.0, 3.0, 5.0]
    )
    np.testing.assert_allclose(got, 3 * plain, rtol=1e-14)


def test_classes_that_a_dict_leaves_out_weigh_1():
    got = sparse_categorical_crossentropy([0, 1, 2], PROBA[:3], class_weight={1: 4.0})
    plain = sparse_categorical_crossentropy([0, 1, 2], PROBA[:3])
    np.testing.assert_allclose(got, plain * [1, 4, 1], rtol=1e-14)


@pytest.mark.parametrize("ignored", [-1, 2])
def test_class_weight_with_ignored_rows(ignored):
    got = sparse_categorical_crossentropy(
        [0, 1, ignored, 0],
        PROBA,
        class_weight=[2.0, 3.0, 5.0],
        ignore_class=ignored,
        reduction="weighted_mean",
    )
    np.testing.assert_allclose(got, (2 * HALF + 3 * QUARTER + 2 * HALF) / 7, rtol=1e-14)


@each_from_logits
@each_reduction
def test_every_row_ignored(reduction, from_logits):
    kwargs = {"ignore_class": -1, "from_logits": from_logits, "reduction": reduction}
    y_pred = PROBA.astype(np.float32)
    if "mean" in reduction:
        with pytest.warns(RuntimeWarning):
            got = sparse_categorical_crossentropy([-1] * 4, y_pred, **kwargs)
        assert np.isnan(got)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = sparse_categorical_crossentropy([-1] * 4, y_pred, **kwargs)
        np.testing.assert_array_equal(got, [0] * 4 if reduction == "none" else 0)
    assert np.asarray(got).dtype == np.float32


@each_function
def test_weights_that_sum_to_zero(function):
    y_true = [[0, 1], [1, 0]]
    if function is sparse_categorical_crossentropy:
        y_true = [1, 0]
    y_pred = np.full((2, 2), 0.5)
    weight = [0.0, 0.0]
    np.testing.assert_array_equal(function(y_true, y_pred, sample_weight=weight), [0, 0])
    assert function(y_true, y_pred, sample_weight=weight, reduction="mean") == 0
    with pytest.warns(RuntimeWarning):
        got = function(y_true, y_pred, sample_weight=weight, reduction="weighted_mean")
    assert np.isnan(got)


UNITS = [5e-324 * 2**60, 1e-300, 1e-46, 1e-44, 1e-39, 1e39, 1e200, 1e300, 5e306]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("from_logits", [False, True])
@each_dtype
@each_function
def test_weighted_means_have_no_unit(function, dtype, from_logits, unit, rng):
    """Weights times any number are the same weights, of rows, of entries and of classes."""
    rows = make_predictions(rng, (30, 3), from_logits=from_logits, dtype=dtype)
    y = rng.integers(3, size=30) if function is sparse_categorical_crossentropy else None
    y = np.eye(3)[rng.integers(3, size=30)] if y is None else y
    options = {"from_logits": from_logits, "reduction": "weighted_mean"}
    weight = rng.integers(1, 30, 30).astype(float)
    tolerance = 4 * float(np.finfo(dtype).eps)

    def check(want, **weights):
        got = function(y, rows, **options, **weights)
        assert got.dtype == dtype
        assert got == pytest.approx(want, rel=tolerance)

    want = function(y, rows, sample_weight=weight, **options)
    check(want, sample_weight=weight * unit)
    if function is binary_crossentropy:
        entries = rng.integers(1, 30, (30, 3)).astype(float)
        want = function(y, rows, sample_weight=entries, **options)
        check(want, sample_weight=entries * unit)
    else:
        classes = np.array([1.0, 2.0, 5.0])
        want = function(y, rows, sample_weight=weight, class_weight=classes, **options)
        for of_rows, of_classes in [(1, unit), (unit, 1), (unit, unit), (unit, 1e-300)]:
            weights = {"sample_weight": weight * of_rows, "class_weight": classes * of_classes}
            check(want, **weights)


@pytest.mark.parametrize("weight", [[1e300, 1e-300], [1.0, 1e-60], [1.0, 5e-324], [1e-200, 1e-320]])
@each_dtype
def test_the_lightest_row_counts(dtype, weight):
    """An infinite loss is infinite by any weight, and what is beside losses of 0 is the mean."""
    proba = np.array([[1.0, 0.0], [1.0, 0.0]], dtype=dtype)
    options = {"sample_weight": weight, "reduction": "weighted_mean"}
    assert sparse_categorical_crossentropy([0, 1], proba, **options) == np.inf
    assert sparse_categorical_crossentropy([0, 0], proba, **options) == 0
    logits = np.array([[0.0, -np.inf], [0.0, -np.inf]], dtype=dtype)
    setting = losses.SparseCategoricalCrossentropy()
    assert setting([0, 1], logits, weight) == np.inf
    assert setting([0, 0], logits, weight) == 0
    logits[1, 1] = 0.0
    want = np.log(2) * (weight[1] / weight[0])  # the other loss is 0
    assert setting([0, 1], logits, weight) == pytest.approx(want, rel=1e-3, abs=1e-322)


def test_rows_that_do_not_count_set_no_unit():
    """However heavy they are."""
    y_pred = np.array([[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
    options = {"sample_weight": [1e-46, 1e-46, 1e300], "reduction": "weighted_mean"}
    want = pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
    assert sparse_categorical_crossentropy([0, 0, -1], y_pred, ignore_class=-1, **options) == want
    assert binary_crossentropy([0, 0, np.nan], 1 - y_pred[:, 0], **options) == want
    logits = np.log(y_pred)
    setting = losses.SparseCategoricalCrossentropy(ignore_class=-1)
    assert setting([0, 0, -1], logits, options["sample_weight"]) == want


@pytest.mark.parametrize("unit", UNITS)
@each_dtype
@pytest.mark.parametrize(
    "setting",
    [
        losses.SparseCategoricalCrossentropy(),
        losses.SparseCategoricalCrossentropy(ignore_class=2, logit_adjustment=1.0),
        losses.CategoricalFocalCrossentropy(logit_adjustment=0.5),
        losses.BinaryCrossentropy(pos_weight=3.0),
        losses.AsymmetricBinaryCrossentropy(),
        losses.HybridLoss(
            [
                ("softmax", losses.SparseCategoricalCrossentropy(ignore_class=2)),
                ("ovr", losses.BinaryCrossentropy()),
            ]
        ),
    ],
    ids=repr,
)
def test_means_of_settings_have_no_unit(setting, dtype, unit, rng):
    logits = rng.normal(size=(30, 3)).astype(dtype)
    y = rng.integers(3, size=30)
    weights = [rng.integers(1, 30, 30).astype(float)]
    if setting._proba_kind == "sigmoid":
        y = np.eye(3)[y]
        weights.append(rng.integers(1, 30, (30, 3)).astype(float))
    for weight in weights:
        want = setting(y, logits, weight)
        got = setting(y, logits, weight * unit)
        assert got == pytest.approx(want, rel=4 * float(np.finfo(dtype).eps))
        assert setting(y, logits, list(weight * unit)) == got


@pytest.mark.parametrize("unit", UNITS)
def test_class_shares_have_no_unit(unit, rng):
    """Those by which training logits are adjusted, also where each loss is wanted."""
    setting = losses.SparseCategoricalCrossentropy(logit_adjustment=1.0)
    y, logits, weight = rng.integers(3, size=30), rng.normal(size=(30, 3)), rng.random(30) + 0.1
    want = setting.loss(y, logits, sample_weight=weight)
    got = setting.loss(y, logits, sample_weight=weight * unit)
    np.testing.assert_allclose(got / unit, want, rtol=1e-6 if unit < 1e-305 else 1e-12)


MULTI = np.array([[1, 0], [np.nan, 1], [np.nan, np.nan], [0, 0]])
MULTI_PROBA = np.array([[0.5, 0.75], [0.9, 0.25], [0.5, 0.5], [0.5, 0.875]])
# element losses: [[HALF, QUARTER], [missing, QUARTER], [missing, missing], [HALF, EIGHTH]]
ROW_MEANS = np.array([(HALF + QUARTER) / 2, QUARTER, 0, (HALF + EIGHTH) / 2])
ELEMENT_WEIGHT = [[1, 2], [3, 4], [5, 6], [7, 8]]
WEIGHTED_SUMS = np.array([HALF + 2 * QUARTER, 4 * QUARTER, 0, 7 * HALF + 8 * EIGHTH])


@pytest.mark.parametrize(
    ("reduction", "weight", "want"),
    [
        ("none", None, ROW_MEANS),
        ("none", [1, 2, 3, 4], ROW_MEANS * [1, 2, 3, 4]),
        ("none", ELEMENT_WEIGHT, WEIGHTED_SUMS / [2, 1, 1, 2]),
        ("sum", None, ROW_MEANS.sum()),
        ("sum", ELEMENT_WEIGHT, (WEIGHTED_SUMS / [2, 1, 1, 2]).sum()),
        ("mean", None, ROW_MEANS.sum() / 3),
        ("mean", [1, 2, 3, 4], (ROW_MEANS * [1, 2, 3, 4]).sum() / 3),
        ("mean", ELEMENT_WEIGHT, (WEIGHTED_SUMS / [2, 1, 1, 2]).sum() / 3),
        ("weighted_mean", None, ROW_MEANS.sum() / 3),
        ("weighted_mean", [1, 2, 3, 4], (ROW_MEANS * [1, 2, 3, 4]).sum() / 7),
        ("weighted_mean", ELEMENT_WEIGHT, WEIGHTED_SUMS.sum() / (1 + 2 + 4 + 7 + 8)),
    ],
)
def test_missing_binary_labels(reduction, weight, want):
    kwargs = {"sample_weight": weight, "reduction": reduction}
    got = binary_crossentropy(MULTI, MULTI_PROBA, **kwargs)
    np.testing.assert_allclose(got, want, rtol=1e-14)
    unseen = np.where(np.isnan(MULTI), np.nan, MULTI_PROBA)  # not looked at
    np.testing.assert_array_equal(binary_crossentropy(MULTI, unseen, **kwargs), got)
    logits = np.log(MULTI_PROBA) - np.log1p(-MULTI_PROBA)
    logits[np.isnan(MULTI)] = np.nan
    got = binary_crossentropy(MULTI, logits, from_logits=True, **kwargs)
    np.testing.assert_allclose(got, want, rtol=1e-14)


def test_missing_labels_of_one_output():
    y_true, proba = [1, np.nan, 0], [0.5, 0.5, 0.75]
    np.testing.assert_allclose(binary_crossentropy(y_true, proba), [HALF, 0, QUARTER])
    got = binary_crossentropy(y_true, proba, reduction="mean")
    np.testing.assert_allclose(got, (HALF + QUARTER) / 2)
    got = binary_crossentropy(y_true, proba, reduction="weighted_mean", sample_weight=[1, 10, 3])
    np.testing.assert_allclose(got, (HALF + 3 * QUARTER) / 4)
    for reduction in ("mean", "weighted_mean"):
        with pytest.warns(RuntimeWarning):
            got = binary_crossentropy([np.nan] * 3, proba, reduction=reduction)
        assert np.isnan(got)
    assert binary_crossentropy([np.nan] * 3, proba, reduction="sum") == 0


@each_reduction
def test_pos_weight_is_in_no_denominator(reduction):
    y_true, proba = np.array([[1, 0], [0, 0.5]]), np.array([[0.5, 0.75], [0.5, 0.5]])
    want = np.array([[3 * HALF, QUARTER], [HALF, 5 / 2 * HALF + HALF / 2]]).mean(axis=1)
    got = binary_crossentropy(y_true, proba, pos_weight=[3.0, 5.0], reduction=reduction)
    want = {"none": want, "sum": want.sum()}.get(reduction, want.mean())
    np.testing.assert_allclose(got, want, rtol=1e-14)


def test_binary_label_smoothing_moves_towards_one_half():
    got = binary_crossentropy([1.0, 0.0], [0.25, 0.25], label_smoothing=0.2)
    want = -np.array([0.9, 0.1]) * np.log(0.25) - np.array([0.1, 0.9]) * np.log(0.75)
    np.testing.assert_allclose(got, want, rtol=1e-14)


# --- Other libraries ------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_sparse_equals_torch(reduction, smoothing, rng):
    torch = pytest.importorskip("torch")
    logits = rng.normal(scale=3, size=(4, 5, 7))
    labels = rng.integers(5, size=(4, 7))
    labels[0, :3] = -100
    want = torch.nn.functional.cross_entropy(
        torch.tensor(logits),
        torch.tensor(labels),
        ignore_index=-100,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    got = sparse_categorical_crossentropy(
        labels,
        logits,
        from_logits=True,
        axis=1,
        ignore_class=-100,
        label_smoothing=smoothing,
        reduction=reduction,
    )
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-12)


def test_class_weight_equals_torch(rng):
    """Torch's mean with class weights is the weighted mean."""
    torch = pytest.importorskip("torch")
    logits = rng.normal(scale=3, size=(30, 5))
    labels = rng.integers(5, size=30)
    labels[3] = -100
    weight = rng.uniform(0.1, 3, size=5)
    for theirs, ours in [("none", "none"), ("sum", "sum"), ("mean", "weighted_mean")]:
        want = torch.nn.functional.cross_entropy(
            torch.tensor(logits),
            torch.tensor(labels),
            weight=torch.tensor(weight),
            reduction=theirs,
        )
        got = sparse_categorical_crossentropy(
            labels,
            logits,
            from_logits=True,
            ignore_class=-100,
            class_weight=weight,
            reduction=ours,
        )
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_categorical_equals_torch(smoothing, rng):
    torch = pytest.importorskip("torch")
    logits = rng.normal(scale=3, size=(30, 5))
    targets = make_targets(rng, logits.shape)
    want = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(targets), label_smoothing=smoothing, reduction="none"
    )
    got = categorical_crossentropy(targets, logits, from_logits=True, label_smoothing=smoothing)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-12)


def test_binary_equals_torch(rng):
    torch = pytest.importorskip("torch")
    logits = rng.normal(scale=3, size=(30, 5))
    targets = rng.random((30, 5))
    pos_weight = rng.uniform(0.1, 3, size=5)
    weight = rng.uniform(0.1, 3, size=(30, 5))
    want = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(logits),
        torch.tensor(targets),
        weight=torch.tensor(weight),
        pos_weight=torch.tensor(pos_weight),
        reduction="none",
    )
    got = binary_crossentropy(
        targets, logits, from_logits=True, pos_weight=pos_weight, sample_weight=weight
    )
    np.testing.assert_allclose(got, want.numpy().mean(axis=1), rtol=1e-12)


def test_equals_log_loss_of_scikit_learn(rng):
    proba = make_predictions(rng, (50, 4))
    labels = np.append(np.arange(4), rng.integers(4, size=46))
    weight = rng.uniform(0.1, 3, size=50)
    got = sparse_categorical_crossentropy(
        labels, proba, sample_weight=weight, reduction="weighted_mean"
    )
    np.testing.assert_allclose(got, log_loss(labels, proba, sample_weight=weight), rtol=1e-12)
    labels = np.append([0, 1], rng.integers(2, size=48))
    got = binary_crossentropy(labels, proba[:, 1], reduction="mean")
    np.testing.assert_allclose(got, log_loss(labels, proba[:, 1]), rtol=1e-12)


# --- Bad input ------------------------------------------------------------------------------------

SPARSE, CATEGORICAL, BINARY = FUNCTIONS
THIRDS = np.full((4, 3), 1 / 3)
GOOD = {
    SPARSE: [0, 1, 2, 0],
    CATEGORICAL: [[0.5, 0.5, 0], [0, 1, 0], [0.2, 0.3, 0.5], [0, 0, 1]],
    BINARY: [[0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0]],
}


@each_from_logits
@pytest.mark.parametrize(
    ("function", "y_true", "came"),
    [
        (SPARSE, [0, 1, 3, 0], "3"),
        (SPARSE, [0, -1, 2, 0], "-1"),
        (SPARSE, [0, 0.5, 2, 0], "0.5"),
        (SPARSE, [0, np.nan, 2, 0], "nan"),
        (SPARSE, [0, 1, 2], "3"),
        (SPARSE, np.zeros((4, 3), int), "3"),
        (SPARSE, np.zeros((2, 2), int), "2"),
        (SPARSE, 0, ""),
        (SPARSE, ["a", "b", "c", "a"], ""),
        (CATEGORICAL, np.full((4, 2), 0.5), "2"),
        (CATEGORICAL, np.full((3, 3), 1 / 3), "3"),
        (CATEGORICAL, np.full((4, 3), 0.5), "1.5"),
        (CATEGORICAL, np.full((4, 3), np.nan), "nan"),
        (BINARY, np.full((4, 3), 2), "2"),
        (BINARY, np.full((4, 3), -1), "-1"),
        (BINARY, np.full((4, 3), np.inf), "inf"),
        (BINARY, np.full((4, 2), 1), "2"),
        (BINARY, [0, 1, 1, 0], "4"),
        (BINARY, np.full((4, 3), "a"), ""),
    ],
)
def test_bad_y_true(function, y_true, came, from_logits):
    with pytest.raises((ValueError, TypeError), match="(?i)y_true|label|target") as info:
        function(y_true, THIRDS, from_logits=from_logits)
    assert came in str(info.value)


@each_function
@each_from_logits
@pytest.mark.parametrize(
    "y_pred", [0.5, None, np.full((4, 3), "a"), THIRDS + 0j, np.zeros((4, 0)), THIRDS[:3]]
)
def test_bad_y_pred(function, y_pred, from_logits):
    with pytest.raises((ValueError, TypeError), match="y_pred|shape"):
        function(GOOD[function], y_pred, from_logits=from_logits)


@each_function
def test_no_dimensions(function):
    with pytest.raises(ValueError, match="y_pred|y_true|dimension"):
        function(1, 1.0)
    with pytest.raises(ValueError, match="y_pred|y_true|dimension"):
        function(np.array(0), np.array(0.5), from_logits=True)


def test_sparse_needs_rows_and_classes():
    with pytest.raises(ValueError, match="y_pred"):
        sparse_categorical_crossentropy([0], [0.5, 0.5])
    with pytest.raises(ValueError, match="y_pred"):
        sparse_categorical_crossentropy(0, [0.5, 0.5])


@pytest.mark.parametrize(
    ("function", "name", "value"),
    [
        *((f, "reduction", v) for f in FUNCTIONS for v in ("average", 1)),
        *((f, "label_smoothing", v) for f in FUNCTIONS for v in (-0.1, 1.5, np.nan, "a", None)),
        *((f, "sample_weight", v) for f in FUNCTIONS for v in ([1, 1, -1, 1], [1, 1, np.nan, 1])),
        *((f, "sample_weight", v) for f in FUNCTIONS for v in ([1, 1, np.inf, 1], [1, 1, 1], "a")),
        *((f, "sample_weight", np.ones((3, 4))) for f in FUNCTIONS),
        *((f, "sample_weight", np.ones((4, 3))) for f in SOFTMAX_FUNCTIONS),
        *((f, "axis", v) for f in SOFTMAX_FUNCTIONS for v in (2, -3, 0.5, None)),
        *((f, "class_weight", v) for f in SOFTMAX_FUNCTIONS for v in ([1, 2], [1, 2, 3, 4])),
        *((f, "class_weight", v) for f in SOFTMAX_FUNCTIONS for v in ([1, -2, 3], [1, np.nan, 3])),
        *((f, "class_weight", v) for f in SOFTMAX_FUNCTIONS for v in ({1: -2.0}, {3: 1.0})),
        *((f, "class_weight", {-1: 1.0}) for f in SOFTMAX_FUNCTIONS),
        *((f, "class_weight", v) for f in SOFTMAX_FUNCTIONS for v in ("balanced", {"a": 1.0}, 2.0)),
        *((BINARY, "pos_weight", v) for v in (-1.0, np.nan, np.inf, "a")),
        *((BINARY, "pos_weight", v) for v in ([1.0, 2.0], [1.0, -2.0, 3.0], np.ones((4, 3)))),
        *((SPARSE, "ignore_class", v) for v in ("a", 0.5)),
    ],
)
def test_bad_options(function, name, value):
    with pytest.raises((ValueError, TypeError), match=name) as info:
        function(GOOD[function], THIRDS, **{name: value})
    if name in ("label_smoothing", "pos_weight") and isinstance(value, float):
        assert str(value) in str(info.value)


@each_function
def test_unknown_keyword(function):
    with pytest.raises(TypeError, match="gamma"):
        function(GOOD[function], THIRDS, gamma=2.0)


# --- Settings as values ---------------------------------------------------------------------------


def test_settings_are_equal_by_their_parameters():
    sparse, soft = losses.SparseCategoricalCrossentropy, losses.CategoricalCrossentropy
    binary = losses.BinaryCrossentropy
    assert sparse() == sparse()
    assert hash(sparse()) == hash(sparse(label_smoothing=0.1))
    assert sparse(label_smoothing=0.1) == sparse(label_smoothing=0.1)
    assert sparse() != sparse(label_smoothing=0.1)
    assert sparse() != soft()
    assert sparse(ignore_class="a") != sparse(ignore_class=1)
    assert binary(pos_weight=[1, 2]) == binary(pos_weight=np.array([1.0, 2.0]))
    assert binary(pos_weight=[1, 2]) != binary(pos_weight=[1, 3])
    assert binary(pos_weight=[1, 2]) != binary()
    assert sparse() != "sparse_categorical_crossentropy"
