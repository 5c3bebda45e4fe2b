"""``l1_min_C``: nothing is selected at it and below, and something above, whatever the problem."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.svm import l1_min_c

from small_problems import (
    DENSE_AND_CSR,
    binary_data,
    multiclass_data,
    multilabel_data,
    multilabel_data_with_missing,
    no_warning,
    one_hot,
    positive_weights,
    real_data,
    soft_data,
)
from xentlearn import SoftmaxClassifier, l1_min_C, losses
from xentlearn.blocks import NpyBlocks

NEAR = 1e-6
DATA = {
    "binary": binary_data,
    "classes": multiclass_data,
    "soft": soft_data,
    "labels": multilabel_data,
    "missing labels": multilabel_data_with_missing,
}
each_data = pytest.mark.parametrize("data", DATA)
each_intercept = pytest.mark.parametrize("fit_intercept", [True, False])
PENALTIES = {
    "l1": {},
    "elastic net": {"l1_ratio": 0.3},
    "grouped": {"grouped": True},
    "grouped elastic net": {"l1_ratio": 0.5, "grouped": True},
    "factors": {"penalty_factor": [1.0, 3.0, 0.5, np.inf]},
    "a factor of 0": {"penalty_factor": [1.0, 0.0, 2.0, 1.0]},
    "grouped, factors of 0": {"penalty_factor": [0.0, 0.0, 2.0, 1.0], "grouped": True},
    "not negative": {"coef_bounds": (0, np.inf)},
    "bounds by feature": {"coef_bounds": ([0, -1, -np.inf, 0], [0, 0, 1, np.inf])},
    "grouped, bounds": {"coef_bounds": (-np.inf, 0), "grouped": True},
    "bounds where the factor is 0": {
        "coef_bounds": (-0.01, 0.02),
        "penalty_factor": [1.0, 0.0, 2.0, 1.0],
    },
}
each_penalty = pytest.mark.parametrize("penalty", PENALTIES)
LOSSES = {
    "smoothed": losses.SparseCategoricalCrossentropy(label_smoothing=0.2),
    "adjusted": losses.SparseCategoricalCrossentropy(logit_adjustment=1.0),
    "poly": losses.PolyCrossentropy(epsilon=2.0),
    "hybrid": losses.HybridLoss(
        [
            ("softmax", losses.SparseCategoricalCrossentropy()),
            ("sigmoid", losses.BinaryCrossentropy()),
        ],
        weights=[1.0, 0.5],
    ),
    "one-vs-rest": losses.BinaryCrossentropy(label_smoothing=0.1, pos_weight=3.0),
}


def n_selected(clf, penalty_factor=None):
    """Number of coefficients that have a penalty and are not 0."""
    penalised = slice(None) if penalty_factor is None else np.asarray(penalty_factor) > 0
    return np.count_nonzero(clf.coef_[:, penalised])


def assert_least(C, X, y, sample_weight=None, **parameters):
    """A fit selects nothing at C (1 - 1e-6) and at half of C, and something at C (1 + 1e-6)."""
    parameters = {"l1_ratio": 1.0, **parameters}
    for factor, selects in ((0.5, False), (1 - NEAR, False), (1 + NEAR, True)):
        clf = SoftmaxClassifier(C=factor * C, tol=0, **parameters).fit(X, y, sample_weight)
        assert (n_selected(clf, parameters.get("penalty_factor")) > 0) == selects, factor


# --- Fits on either side --------------------------------------------------------------------------


@each_data
@each_penalty
@each_intercept
def test_on_either_side(fit_intercept, penalty, data):
    X, y = DATA[data]()
    options = {**PENALTIES[penalty], "fit_intercept": fit_intercept}
    with no_warning():
        C = l1_min_C(X, y, **options)
    assert type(C) is float
    assert_least(C, X, y, **options)


@each_data
@pytest.mark.parametrize("penalty", ["l1", "elastic net", "grouped", "not negative"])
def test_nothing_is_selected_at_it(penalty, data):
    X, y = DATA[data]()
    options = {"l1_ratio": 1.0, **PENALTIES[penalty]}
    clf = SoftmaxClassifier(C=l1_min_C(X, y, **options), tol=1e-12, **options)
    assert not clf.fit(X, y).coef_.any()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("penalty", ["l1", "grouped", "a factor of 0", "not negative"])
def test_losses(penalty, loss):
    X, y = multiclass_data()
    options, weight = {**PENALTIES[penalty], "loss": LOSSES[loss]}, positive_weights(len(y))
    assert_least(l1_min_C(X, y, sample_weight=weight, **options), X, y, weight, **options)


@pytest.mark.parametrize("data", ["classes", "binary"])
@pytest.mark.parametrize("penalty", ["l1", "a factor of 0"])
def test_weights(penalty, data):
    X, y = DATA[data]()
    weight = positive_weights(len(y))
    weight[::3] = 0
    for class_weight in ({0: 0.3, 1: 2.0, 2: 1.0}, "balanced"):
        options = {**PENALTIES[penalty], "class_weight": class_weight}
        C = l1_min_C(X, y, sample_weight=weight, **options)
        assert_least(C, X, y, weight, **options)


@pytest.mark.parametrize("penalty", ["l1", "elastic net", "a factor of 0"])
@pytest.mark.parametrize(
    ("of_weight", "of_X"), [(990, 0), (-990, 0), (0, 300), (0, -300), (600, 300), (-600, -300)]
)
def test_units_of_any_size(of_weight, of_X, penalty):
    """C is in units of one over those of the weights and of X."""
    X, y = multiclass_data()
    expected = l1_min_C(X, y, **PENALTIES[penalty])
    weight = np.full(len(y), 2.0**of_weight)
    C = l1_min_C(X * 2.0**of_X, y, sample_weight=weight, **PENALTIES[penalty])
    relative = 1e-6 if penalty == "a factor of 0" else 1e-12
    assert np.ldexp(C, of_weight + of_X) == pytest.approx(expected, rel=relative)


def test_weights_of_labels(rng):
    X, y = multilabel_data()
    weight = rng.uniform(size=y.shape)
    assert_least(l1_min_C(X, y, sample_weight=weight), X, y, weight)


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_features_as_they_are(l1_ratio, name):
    X, y = real_data(name, standardised=False)
    C = l1_min_C(X, y, l1_ratio=l1_ratio)
    assert_least(C, X, y, l1_ratio=l1_ratio)


# --- The formula ----------------------------------------------------------------------------------


@pytest.mark.parametrize("l1_ratio", [0.2, 1.0])
@pytest.mark.parametrize("data", [multiclass_data, soft_data])
def test_formula_for_a_softmax(data, l1_ratio):
    """With class shares p and targets t, it is r / max |sum_i s_i (p - t_i) x_i|."""
    X, y = data()
    targets, weight = one_hot(y) if y.ndim == 1 else y, positive_weights(len(y))
    share = weight @ targets / weight.sum()
    slopes = (weight[:, np.newaxis] * (share - targets)).T @ X
    C = l1_min_C(X, y, l1_ratio=l1_ratio, sample_weight=weight)
    assert C == pytest.approx(l1_ratio / np.abs(slopes).max(), rel=1e-12)
    C = l1_min_C(X, y, l1_ratio=l1_ratio, sample_weight=weight, grouped=True)
    assert C == pytest.approx(l1_ratio / np.sqrt((slopes**2).sum(axis=0)).max(), rel=1e-12)
    factor = np.array([1.0, 4.0, 0.1, np.inf])
    C = l1_min_C(X, y, l1_ratio=l1_ratio, sample_weight=weight, penalty_factor=factor)
    expected = (l1_ratio * factor[:3] / np.abs(slopes[:, :3]).max(axis=0)).min()
    assert C == pytest.approx(expected, rel=1e-12)
    C = l1_min_C(X, y, l1_ratio=l1_ratio, sample_weight=weight, coef_bounds=(0, np.inf))
    assert C == pytest.approx(l1_ratio / -slopes.min(), rel=1e-12)


@DENSE_AND_CSR
@pytest.mark.parametrize("name", ["breast_cancer", "made"])
def test_scikit_learn_for_two_classes_without_intercept(name, container):
    X, y = binary_data() if name == "made" else real_data(name, standardised=False)
    expected = l1_min_c(container(X), y, loss="log", fit_intercept=False)
    assert l1_min_C(container(X), y, fit_intercept=False) == pytest.approx(expected, rel=1e-11)


def test_glmnet_on_iris():
    """The first lambda of its path is 1 / (n l1_min_C).

    glmnet 4.1.6: glmnet(as.matrix(iris[, 1:4]), iris$Species, family = "multinomial",
    standardize = FALSE), also with type.multinomial = "grouped"; and with family = "binomial",
    y = iris$Species == "setosa" and alpha = 0.5.
    """
    X, y = real_data("iris", standardised=False)
    lambdas = {
        0.765333333333: l1_min_C(X, y),
        0.985565601853: l1_min_C(X, y, grouped=True),
        1.53066666667: l1_min_C(X, y == 0, l1_ratio=0.5),
    }
    for expected, C in lambdas.items():
        assert 1 / (len(y) * C) == pytest.approx(expected, rel=1e-11)


@each_data
def test_below_it_the_model_stays_the_same(data):
    """What has no penalty does not depend on C."""
    X, y = DATA[data]()
    options = {"l1_ratio": 1.0, "penalty_factor": [1.0, 0.0, 2.0, 1.0]}
    C = l1_min_C(X, y, **options)
    at, below = (
        SoftmaxClassifier(C=C * factor, tol=1e-12, **options).fit(X, y)
        for factor in (1 - NEAR, 1e-3)
    )
    np.testing.assert_allclose(at.coef_, below.coef_, atol=1e-6)
    np.testing.assert_allclose(at.intercept_, below.intercept_, atol=1e-6)


def test_a_share_of_the_penalty_is_a_factor():
    X, y = multiclass_data()
    assert l1_min_C(X, y, l1_ratio=0.25) == pytest.approx(0.25 * l1_min_C(X, y), rel=1e-14)


def test_integer_weights_repeat_rows(rng):
    X, y = multiclass_data()
    weight = rng.integers(1, 4, size=len(y))
    repeated = l1_min_C(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert l1_min_C(X, y, sample_weight=weight) == pytest.approx(repeated, rel=1e-12)


# --- Forms of X, and units ------------------------------------------------------------------------


@each_penalty
def test_forms_of_X(penalty, tmp_path):
    X, y = multiclass_data(n_samples=400)
    X[np.abs(X) < 0.5] = 0.0
    options = PENALTIES[penalty]
    expected = l1_min_C(X, y, **options)
    for name, rows in (("a", X[:150]), ("b", X[150:])):
        np.save(tmp_path / f"{name}.npy", rows)
    blocks = NpyBlocks([tmp_path / "a.npy", tmp_path / "b.npy"])
    for other in (sparse.csr_array(X), np.asfortranarray(X), X.tolist(), blocks):
        assert l1_min_C(other, y, **options) == pytest.approx(expected, rel=1e-7)


def test_blocks_on_either_side(tmp_path):
    X, y = multiclass_data(n_samples=400)
    np.save(tmp_path / "X.npy", X)
    blocks = NpyBlocks(tmp_path / "X.npy")
    assert_least(l1_min_C(blocks, y), blocks, y)


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_dtypes(dtype, rng):
    X, y = rng.integers(0, 9, size=(200, 5)).astype(dtype), rng.integers(3, size=200)
    assert l1_min_C(X, y) == pytest.approx(l1_min_C(X.astype(float), y), rel=1e-12)
    assert_least(l1_min_C(X, y), X, y)


@pytest.mark.parametrize("unit", [1e-30, 1e-3, 1e30])
def test_units_of_X_and_of_weights(unit):
    X, y = multiclass_data()
    assert l1_min_C(unit * X, y) == pytest.approx(l1_min_C(X, y) / unit, rel=1e-11)
    scaled = l1_min_C(X, y, sample_weight=np.full(len(y), unit))
    assert scaled == pytest.approx(l1_min_C(X, y) / unit, rel=1e-11)


def test_an_offset_of_features_changes_nothing_with_an_intercept():
    X, y = multiclass_data()
    assert l1_min_C(X + 1000, y) == pytest.approx(l1_min_C(X, y), rel=1e-9)


def test_groups_of_outputs(rng, set_rules):
    """Labels over sparse X that are fitted in groups: it is that of all of them."""
    X = sparse.random(300, 40, density=0.2, format="csr", rng=rng)
    y = (rng.random((300, 23)) < 0.3).astype(float)
    together = l1_min_C(X, y)
    set_rules(small_work=0, grouped=0, group_numbers=16 * 40)
    assert l1_min_C(X, y) == pytest.approx(together, rel=1e-12)
    assert together == pytest.approx(min(l1_min_C(X, y[:, k]) for k in range(23)), rel=1e-12)


# --- Ends of the range, and errors ----------------------------------------------------------------


def test_nothing_can_be_selected():
    X, y = multiclass_data()
    assert l1_min_C(np.ones((len(y), 2)), y) == np.inf
    assert l1_min_C(X, y, coef_bounds=(0, 0)) == np.inf
    assert l1_min_C(X, y, penalty_factor=np.full(4, np.inf)) == np.inf
    assert l1_min_C(X, y, penalty_factor=np.zeros(4)) == np.inf


def test_features_without_penalty_that_separate_the_classes():
    X, y = binary_data()
    X = np.column_stack([X, 2.0 * y - 1.0])
    assert l1_min_C(X, y, penalty_factor=[1, 1, 1, 1, 0]) == np.inf


def test_one_of_the_labels_is_separated(rng, set_rules):
    """In groups of outputs, of which one has nothing to gain: it is that of the others."""
    X = np.where(rng.random((300, 40)) < 0.2, rng.normal(size=(300, 40)), 0.0)
    y = (rng.random((300, 32)) < 0.3).astype(float)
    y[:, :16] = (X[:, :1] > 0) * np.ones(16)  # the same label 16 times: a group
    X[:, 0] = y[:, 0]
    factor = np.r_[0.0, np.ones(39)]
    set_rules(small_work=0, grouped=0, group_numbers=16 * 40)
    C = l1_min_C(sparse.csr_array(X), y, penalty_factor=factor)
    assert C == pytest.approx(l1_min_C(X, y[:, 16:], penalty_factor=factor), rel=1e-6)
    assert l1_min_C(sparse.csr_array(X), y[:, :16], penalty_factor=factor) == np.inf


@pytest.mark.parametrize("loss", ["generalized_crossentropy", "categorical_focal_crossentropy"])
def test_a_loss_that_is_not_convex_has_a_stationary_point_at_0(loss):
    """A fit that starts there stays below, and leaves it above."""
    X, y = multiclass_data()
    C = l1_min_C(X, y, loss=loss)
    clf = SoftmaxClassifier(loss, l1_ratio=1.0, C=C / 1000, tol=1e-12, warm_start=True).fit(X, y)
    assert not clf.coef_.any()
    assert not clf.set_params(C=C * (1 - NEAR)).fit(X, y).coef_.any()
    assert clf.set_params(C=C * (1 + NEAR)).fit(X, y).coef_.any()


def test_without_an_l1_penalty():
    X, y = multiclass_data()
    with pytest.raises(ValueError, match=r"'l1_ratio' must be > 0 .* got 0"):
        l1_min_C(X, y, l1_ratio=0)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"l1_ratio": 1.5}, "l1_ratio"),
        ({"l1_ratio": "l1"}, "l1_ratio"),
        ({"grouped": "yes"}, "grouped"),
        ({"penalty_factor": [1, 2]}, "penalty_factor"),
        ({"coef_bounds": (1, 2)}, "coef_bounds"),
        ({"loss": "log"}, "loss"),
        ({"class_weight": "even"}, "class_weight"),
        ({"sample_weight": [1, 2]}, "sample_weight"),
    ],
)
def test_bad_parameters(parameters, named):
    X, y = multiclass_data()
    with pytest.raises(ValueError, match=named):
        l1_min_C(X, y, **parameters)


def test_bad_data():
    X, y = multiclass_data()
    with pytest.raises(ValueError, match="NaN"):
        l1_min_C(np.where(X > 1, np.nan, X), y)
    with pytest.raises(ValueError, match="2 classes"):
        l1_min_C(X, np.zeros(len(y)))
