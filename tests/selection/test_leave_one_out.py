"""Leave-one-out losses from a single fit against one fit for each row that is left out."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from small_problems import (
    binary_data,
    ignoring,
    multiclass_data,
    multilabel_data,
    multilabel_data_with_missing,
    positive_weights,
    real_data,
    soft_data,
)
from xentlearn import SoftmaxClassifier, losses
from xentlearn._data.dataset import MemoryData
from xentlearn._data.targets import encode_y
from xentlearn._objective.composite import CompositeObjective
from xentlearn._objective.leave_one_out import leave_one_out
from xentlearn._objective.linear import L2, LinearObjective
from xentlearn._objective.penalties import FeaturePenalty
from xentlearn._plan.leave_one_out_settings import LeavingOut
from xentlearn._solvers.registry import SETTINGS, SOLVERS
from xentlearn.losses import make_loss_scorer

MEAN = 0.01  # what users are promised
BLOCKS = LeavingOut(most_whole_work=0.0)

# --- The reference: a fit without each row --------------------------------------------------------


def minimum(
    X,
    y,
    sample_weight=None,
    *,
    C=1.0,
    l1_ratio=0.0,
    of_features=None,
    loss="auto",
    class_weight=None,
    tol=1e-10,
):
    """(objective, vector): the minimum for all rows, as ``SoftmaxClassifier.fit`` finds it."""
    encoded = encode_y(y, X.shape[0], loss, class_weight, sample_weight)
    kept, encoded = encoded.with_weight()
    rows = MemoryData(X[kept]).rows(encoded, np.arange(encoded.n_outputs))
    units = encoded.total_weight, encoded.weight_exponent
    if l1_ratio > 0 or of_features is not None:
        terms = FeaturePenalty(C, l1_ratio, **(of_features or {})).terms(X.shape[1], *units)
        objective, solver = CompositeObjective(rows, terms, True), "proximal-newton"
    else:
        objective = LinearObjective(rows, L2(C).strength(*units), True)
        solver = "newton-cholesky"
        if not encoded.loss._plain or not encoded.loss._convex:
            solver = "lbfgs"
    settings = {"tol": tol, "max_iter": 10_000, "polish": 1e-18, "settings": SETTINGS[solver]}
    result = SOLVERS[solver](objective, objective.start(), **settings)
    return objective, result.vector


def of_one_fit(X, y, sample_weight=None, *, thorough=True, settings=None, **params):
    objective, vector = minimum(X, y, sample_weight, **params)
    return leave_one_out(objective, vector, thorough=thorough, settings=settings)


def exact(X, y, sample_weight=None, rows=None, **params):
    """Losses of rows by fits to all other rows; of a row's weight at most 1 is left out."""
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    found = []
    for i in range(len(y)) if rows is None else rows:
        without = weight.astype(float)
        without[i] -= np.minimum(without[i], 1.0)
        kept = without > 0 if without.ndim == 1 else without.max(axis=1) > 0
        model = SoftmaxClassifier(tol=1e-10, max_iter=10_000, **params)
        with ignoring(ConvergenceWarning):
            model.fit(X[kept], y[kept], without[kept])
        score = make_loss_scorer(params.get("loss", "auto"))
        row_weight = None
        if weight.ndim == 2:
            row_weight = weight[i : i + 1]
        found.append(-score(model, X[i : i + 1], y[i : i + 1], row_weight))
    return np.array(found)


def assert_agrees(result, expected):
    assert result.unsure == 0
    assert np.mean(result.losses) == pytest.approx(np.mean(expected), rel=MEAN)
    error = np.abs(result.losses - expected)
    assert error.sum() <= MEAN * expected.sum()


# --- Real data, from strong penalties to next to none ---------------------------------------------


@functools.cache
def data_of(name):
    if name == "wide":
        rng = np.random.default_rng(0)
        X, W = rng.normal(size=(60, 200)), np.zeros((200, 3))
        W[:8] = rng.normal(size=(8, 3))
        return X, np.argmax(X @ W + rng.gumbel(size=(60, 3)), axis=1)
    name, _, standardised = name.partition(" ")
    X, y = real_data(name, bool(standardised))
    return (X[:500], y[:500]) if name == "digits" else (X, y)


@pytest.mark.parametrize("C", [1e-2, 1.0, 100.0, 1e4])
@pytest.mark.parametrize("name", ["iris", "wine", "wine standardised", "wide"])
def test_small_data(name, C):
    X, y = data_of(name)
    assert_agrees(of_one_fit(X, y, C=C), exact(X, y, C=C))


@pytest.mark.slow
@pytest.mark.parametrize("C", [1.0, 1e4])
@pytest.mark.parametrize("name", ["breast_cancer", "breast_cancer standardised", "digits"])
def test_larger_data(name, C):
    X, y = data_of(name)
    assert_agrees(of_one_fit(X, y, C=C), exact(X, y, C=C))


@pytest.mark.parametrize("C", [0.1, 1.0, 100.0, 1000.0])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
@pytest.mark.parametrize("name", ["iris", "wine standardised", "wide"])
def test_l1(name, l1_ratio, C):
    X, y = data_of(name)
    params = {"C": C, "l1_ratio": l1_ratio}
    assert_agrees(of_one_fit(X, y, **params), exact(X, y, **params))


# --- Every kind of loss ---------------------------------------------------------------------------

HYBRID = losses.HybridLoss(
    [
        ("softmax", losses.CategoricalCrossentropy()),
        ("sigmoid", losses.BinaryCrossentropy()),
    ]
)
KINDS = {
    "multiclass": (multiclass_data, "auto"),
    "smoothed": (multiclass_data, losses.SparseCategoricalCrossentropy(label_smoothing=0.1)),
    "adjusted": (multiclass_data, losses.SparseCategoricalCrossentropy(logit_adjustment=1.0)),
    "poly": (multiclass_data, losses.PolyCrossentropy(epsilon=1.0)),
    "one vs rest": (multiclass_data, "binary_crossentropy"),
    "soft": (soft_data, "auto"),
    "binary": (binary_data, "auto"),
    "two logits": (binary_data, "sparse_categorical_crossentropy"),
    "binary smoothed": (binary_data, losses.BinaryCrossentropy(label_smoothing=0.2)),
    "pos_weight": (binary_data, losses.BinaryCrossentropy(pos_weight=3.0)),
    "alpha": (binary_data, losses.BinaryFocalCrossentropy(gamma=0.0, alpha=0.3)),
    "multilabel": (multilabel_data, "auto"),
    "missing": (multilabel_data_with_missing, "auto"),
    "hybrid": (soft_data, HYBRID),
}


@pytest.mark.parametrize("C", [0.1, 100.0])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_losses(kind, C):
    make, loss = KINDS[kind]
    X, y = make(n_samples=40)
    if kind == "hybrid":
        y = np.eye(y.shape[1])[y.argmax(axis=1)]
    assert_agrees(of_one_fit(X, y, C=C, loss=loss), exact(X, y, C=C, loss=loss))


def test_a_loss_that_is_not_convex_is_refused():
    X, y = binary_data(40)
    with pytest.raises(ValueError, match=r"convex loss.*BinaryFocal.*folds"):
        of_one_fit(X, y, loss=losses.BinaryFocalCrossentropy(gamma=2.0), tol=1e-3)


# --- Weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("C", [0.1, 100.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0])
def test_weights(scale, C):
    X, y = multiclass_data(60)
    weight = scale * positive_weights(60)
    assert_agrees(of_one_fit(X, y, weight, C=C), exact(X, y, weight, C=C))


@pytest.mark.parametrize("make", [multiclass_data, binary_data, multilabel_data])
def test_integer_weights_are_repeated_rows(make):
    X, y = make(50)
    counts = np.random.default_rng(0).integers(1, 4, size=50)
    exactly = LeavingOut(accuracy=0.0, own=1e-6, of_mean=1e-6)
    weighted = of_one_fit(X, y, counts, settings=exactly).losses
    repeated = of_one_fit(X.repeat(counts, axis=0), y.repeat(counts, axis=0), settings=exactly)
    np.testing.assert_allclose(weighted.repeat(counts), repeated.losses, rtol=1e-5)


def test_weights_of_any_size():
    X, y = multiclass_data(50)
    weight = 1e-30 * positive_weights(50)
    result = of_one_fit(X, y, weight, C=1e30)
    expected = exact(X, y, weight, C=1e30)
    assert_agrees(result, expected)


def test_the_class_weight_goes_with_its_row():
    X, y = multiclass_data(60)
    class_weight, weight = {0: 10.0, 1: 0.2, 2: 1.0}, np.where(np.arange(60) % 3, 1.0, 2.5)
    params = {"class_weight": class_weight}
    assert_agrees(of_one_fit(X, y, weight, **params), exact(X, y, weight, **params))


def test_the_class_weight_of_binary_labels_and_soft_rows():
    for make in (binary_data, soft_data):
        X, y = make(50)
        params = {"class_weight": {0: 5.0, 1: 0.5, 2: 1.0} if y.ndim == 2 else {0: 5.0, 1: 0.5}}
        assert_agrees(of_one_fit(X, y, **params), exact(X, y, **params))


def test_weights_of_entries():
    X, Y = multilabel_data(50)
    weight = np.random.default_rng(0).uniform(0.0, 3.0, size=Y.shape)
    result, expected = of_one_fit(X, Y, weight), exact(X, Y, weight)
    assert_agrees(result, expected)


# --- Rows that nothing replaces -------------------------------------------------------------------


def test_the_only_row_of_a_class_has_an_infinite_loss():
    X, y = multiclass_data(40)
    y[y == 2] = 1
    y[7] = 2
    result = of_one_fit(X, y)
    assert np.flatnonzero(np.isinf(result.losses)).tolist() == [7]
    kept = np.arange(40) != 7
    expected = exact(X, y, rows=np.flatnonzero(kept))
    assert_agrees(replace(result, losses=result.losses[kept]), expected)


def test_a_weight_of_two_replaces_the_only_row_of_a_class():
    X, y = multiclass_data(40)
    y[y == 2] = 1
    y[7] = 2
    weight = np.ones(40)
    weight[7] = 2.0
    assert_agrees(of_one_fit(X, y, weight), exact(X, y, weight))


def test_the_only_one_of_a_label_has_an_infinite_loss():
    X, Y = multilabel_data(40)
    Y[:, 1], Y[5, 1] = 0, 1
    Y[:, 2], Y[6, 2] = 1, 0
    result = of_one_fit(X, Y)
    assert np.flatnonzero(np.isinf(result.losses)).tolist() == [5, 6]


# --- Work -----------------------------------------------------------------------------------------


def test_rows_without_enough_work_are_counted():
    X, y = data_of("wine")
    result = of_one_fit(X, y, C=1e4, thorough=False, settings=LeavingOut(most_models=2))
    assert result.n_found == 2
    assert result.unsure > 0


def test_a_start_near_the_minimum_is_polished():
    X, y = data_of("wine")
    near, at = of_one_fit(X, y, C=1e3, tol=1e-2), of_one_fit(X, y, C=1e3)
    assert np.mean(near.losses) == pytest.approx(np.mean(at.losses), rel=MEAN)


def test_results_do_not_depend_on_threads():
    X, y = data_of("digits")
    objective, vector = minimum(X, y)
    one = leave_one_out(objective, vector, thorough=False)
    objective.n_threads = 2
    two = leave_one_out(objective, vector, thorough=False)
    assert np.array_equal(one.losses, two.losses)


# --- Blocks of the Hessian ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "loss"),
    [
        (binary_data, "binary_crossentropy"),
        (binary_data, "sparse_categorical_crossentropy"),
        (multiclass_data, "binary_crossentropy"),
        (multilabel_data, "binary_crossentropy"),
    ],
)
def test_blocks_without_couplings_give_single_newton_steps(make, loss):
    X, y = make(60)
    weight = positive_weights(60)
    settings = LeavingOut(first_ratio=0.0)  # single steps alone
    expected = of_one_fit(X, y, weight, loss=loss, settings=settings)
    assert expected.n_found == 0
    all_rows = replace(BLOCKS, drawn_per_feature=100)
    result = of_one_fit(X, y, weight, loss=loss, settings=all_rows)
    np.testing.assert_allclose(result.losses, expected.losses, rtol=1e-6)


@pytest.mark.parametrize("C", [1e-2, 1.0])
def test_blocks_of_a_softmax(C):
    X, y = data_of("digits")
    expected = of_one_fit(X / 16, y, C=C).losses.mean()
    result = of_one_fit(X / 16, y, C=C, settings=BLOCKS)
    assert result.losses.mean() == pytest.approx(expected, rel=0.1)
    assert result.n_found == 0


@pytest.mark.parametrize("settings", [BLOCKS, None], ids=["blocks", "whole"])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_features_that_do_not_move(l1_ratio, settings):
    """Features that are left out, and coefficients at a bound, leave all losses as they are."""
    X, y = binary_data()
    options = {"l1_ratio": l1_ratio, "settings": settings}
    expected = of_one_fit(X, y, of_features={}, **options).losses
    n, rest = X.shape[1], np.random.default_rng(0).normal(size=(len(X), 40))
    factor = np.repeat([1.0, np.inf], [n, 40])
    found = of_one_fit(np.hstack([X, rest]), y, of_features={"factor": factor}, **options)
    np.testing.assert_allclose(found.losses, expected, rtol=MEAN)
    # negative coefficients alone could use these
    both = np.hstack([X, 0.1 * rest - 3.0 * y[:, np.newaxis]])
    bounds = {"lower": np.repeat([-np.inf, 0.0], [n, 40]), "upper": np.full(n + 40, np.inf)}
    found = of_one_fit(both, y, of_features=bounds, **options)
    np.testing.assert_allclose(found.losses, expected, rtol=MEAN)


def test_random_projections_of_blocks():
    X, y = data_of("digits")
    exact = of_one_fit(X / 16, y, settings=BLOCKS)
    estimated = of_one_fit(X / 16, y, settings=replace(BLOCKS, most_block_work=0.0))
    assert estimated.losses.mean() == pytest.approx(exact.losses.mean(), rel=0.05)


def test_sparse_rows():
    rng = np.random.default_rng(0)
    X = sparse.random_array((200, 50), density=0.1, rng=rng, format="csr")
    y = np.argmax(X @ (4 * rng.normal(size=(50, 3))) + rng.gumbel(size=(200, 3)), axis=1)
    objective, vector = minimum(X, y)
    expected = leave_one_out(objective, vector, thorough=True).losses.mean()
    result = leave_one_out(objective, vector, thorough=True, settings=BLOCKS)
    assert result.losses.mean() == pytest.approx(expected, rel=0.1)
