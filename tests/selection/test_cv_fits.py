"""Each of the fits of a search and of a path is as good as an independent fit to the same rows.

The oracle is ``SoftmaxClassifier`` itself, which has tests of its own: fitted alone to a far
smaller tolerance it gives the minimum, and with ``max_iter=0`` it tells the objective of given
coefficients and its certificate.
"""

import numpy as np
import pytest
from scipy import sparse
from sklearn.model_selection import KFold, StratifiedKFold

from small_problems import (
    binary_data,
    multiclass_data,
    multilabel_data,
    multilabel_data_with_missing,
    positive_weights,
    soft_data,
)
from xentlearn import SoftmaxClassifier, SoftmaxClassifierCV
from xentlearn.losses import (
    BinaryCrossentropy,
    SparseCategoricalCrossentropy,
)

CS = [10.0, 0.01, 0.3]  # in no order
TOL = 1e-4


def weighted(data):
    X, y = data
    return X, y, positive_weights(len(X))


def wide(n_features=400):
    X, y = multiclass_data(60)
    rng = np.random.default_rng(1)
    return np.hstack([X, rng.normal(size=(60, n_features))]), y


def nearly_dependent():
    X, y = multiclass_data(120)
    rng = np.random.default_rng(2)
    return np.hstack([X, X[:, :2] + 1e-7 * rng.normal(size=(120, 2))]), y


def with_constants():
    X, y = multiclass_data(120)
    return np.insert(X, [0, 2], [3.0, 1e6], axis=1), y


def partly_constant():
    """A feature that varies in a few rows, and not at all in some folds; another one in none."""
    X, y = with_constants()
    X[:3, 0] += 1.0
    return X, y


def counts(dtype):
    rng = np.random.default_rng(3)
    X = rng.integers(0, 9, size=(150, 5)).astype(dtype)
    return X, np.argmax(X @ rng.normal(size=(5, 3)) + 3 * rng.gumbel(size=(150, 3)), axis=1)


def with_ignored():
    X, y = multiclass_data()
    return X, np.where(np.arange(len(y)) % 7 == 3, -1, y)


def sparse_rows(n_features=30, n_samples=200, dtype=np.float64):
    rng = np.random.default_rng(4)
    X = sparse.random(n_samples, n_features, density=0.2, format="csr", rng=rng, dtype=dtype)
    z = X @ rng.normal(size=(n_features, 3)) + rng.gumbel(size=(n_samples, 3))
    return X, z.argmax(axis=1)


def label_weights():
    X, Y = multilabel_data_with_missing()
    return X, Y, positive_weights(Y.size).reshape(Y.shape)


ELASTIC = {"l1_ratios": (0.5, 1.0)}
FACTORS = np.array([0.0, 1.0, 2.0, np.inf])
CASES = {
    "softmax": (multiclass_data, {}),
    "binary": (binary_data, {}),
    "two logits": (binary_data, {"loss": "sparse_categorical_crossentropy"}),
    "one-vs-rest": (multiclass_data, {"loss": "binary_crossentropy"}),
    "multi-label": (multilabel_data, {}),
    "missing labels": (multilabel_data_with_missing, {}),
    "weights of labels": (label_weights, {}),
    "soft": (soft_data, {}),
    "ignored": (with_ignored, {"loss": SparseCategoricalCrossentropy(ignore_class=-1)}),
    "smoothed": (multiclass_data, {"loss": SparseCategoricalCrossentropy(label_smoothing=0.1)}),
    "pos_weight": (binary_data, {"loss": BinaryCrossentropy(pos_weight=3.0)}),
    "adjusted": (multiclass_data, {"loss": SparseCategoricalCrossentropy(logit_adjustment=1.0)}),
    "weights": (lambda: weighted(multiclass_data()), {}),
    "weights of two": (lambda: weighted(binary_data()), {}),
    "class weights": (multiclass_data, {"class_weight": {0: 1.0, 1: 5.0, 2: 0.5}}),
    "balanced": (lambda: weighted(multiclass_data()), {"class_weight": "balanced"}),
    "no intercept": (multiclass_data, {"fit_intercept": False}),
    "CSR": (sparse_rows, {}),
    "CSR float32": (lambda: sparse_rows(dtype=np.float32), {}),
    "wide CSR": (lambda: sparse_rows(2500, 80), {}),
    "float32": (lambda: counts(np.float32), {}),
    "float16": (lambda: counts(np.float16), {}),
    "uint8": (lambda: counts(np.uint8), {}),
    "int64": (lambda: counts(np.int64), {}),
    "wide": (wide, {}),
    "wide binary": (lambda: (wide()[0], wide()[1] > 0), {}),
    "constants": (with_constants, {}),
    "partly constant": (partly_constant, {}),
    "nearly dependent": (nearly_dependent, {"Cs": [1.0, 1e12, 1e6, 1e9]}),
    "L1": (multiclass_data, ELASTIC),
    "L1, binary": (binary_data, ELASTIC),
    "L1, wide": (wide, {**ELASTIC, "Cs": [0.1, 1.0]}),
    "L1, CSR": (sparse_rows, ELASTIC),
    "groups": (multiclass_data, {**ELASTIC, "grouped": True}),
    "bounds": (multiclass_data, {"coef_bounds": (0, np.inf)}),
    "factors": (multiclass_data, {"penalty_factor": FACTORS, "l1_ratios": (0.0, 0.5)}),
    "lbfgs": (multiclass_data, {"solver": "lbfgs"}),
    "newton-cg": (multiclass_data, {"solver": "newton-cg"}),
    "losses": (multiclass_data, {"losses": ["auto", "binary_crossentropy"]}),
}


def rows_of(array, chosen):
    return None if array is None else array[chosen]


def judged(X, y, weight, coef, intercept, **params):
    """Return the classifier with given coefficients: it knows their objective and certificate."""
    clf = SoftmaxClassifier(warm_start=True, max_iter=0, **params)
    clf.classes_ = np.unique(y) if np.ndim(y) == 1 else np.arange(y.shape[1])
    ignored = getattr(params.get("loss"), "ignore_class", None)
    clf.classes_ = clf.classes_[clf.classes_ != ignored] if ignored is not None else clf.classes_
    clf.coef_, clf.intercept_ = coef, intercept
    return clf.fit(X, y, sample_weight=weight)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:The best C")
@pytest.mark.parametrize("large", [False, True], ids=["small", "as if large"])
@pytest.mark.parametrize("name", CASES)
def test_each_fit_of_a_search(name, large, set_rules):
    """Fits of small problems end at machine precision; the others at their tolerance."""
    if large:
        set_rules(polished_work=0, small_work=0)
    make, params = CASES[name]
    X, y, *weight = make()
    weight = weight[0] if weight else None
    params = {"Cs": CS, "tol": TOL, **params}
    cv = (StratifiedKFold if np.ndim(y) == 1 else KFold)(2, shuffle=True, random_state=0)
    folds = list(cv.split(X, y))
    clf = SoftmaxClassifierCV(cv=folds, store_paths=True, **params).fit(X, y, sample_weight=weight)
    if params.get("class_weight") == "balanced":
        by_class = np.bincount(y, weight)
        params["class_weight"] = dict(enumerate(weight.sum() / (len(by_class) * by_class)))
    losses = params.pop("losses", [params.pop("loss", "auto")])
    Cs, l1_ratios = params.pop("Cs"), params.pop("l1_ratios", (0.0,))
    settings = [(a, b, c) for a in enumerate(losses) for b in enumerate(l1_ratios) for c in Cs]
    for (a, loss), (b, l1_ratio), C in settings:
        shared = {**params, "loss": loss, "l1_ratio": l1_ratio, "C": C}
        for i, (train, _) in enumerate(folds):
            given = X[train], y[train], rows_of(weight, train)
            found = clf.coefs_paths_[i, a, b, Cs.index(C)]
            coef, intercept = found, np.zeros(len(found))
            if params.get("fit_intercept", True):
                coef, intercept = found[:, :-1], found[:, -1]
            alone = SoftmaxClassifier(**shared).fit(*given)
            exact = SoftmaxClassifier(**{**shared, "tol": 1e-10}).fit(*given)
            stored = judged(*given, coef.astype(alone.coef_.dtype), intercept, **shared)
            assert stored.objective_ <= exact.objective_ * (1 + TOL)
            if alone.stop_reason_ == "certified":
                assert stored.optimality_gap_ <= TOL
    chosen = {**params, "loss": clf.loss_, "l1_ratio": clf.l1_ratio_, "C": clf.C_}
    alone = SoftmaxClassifier(**{**chosen, "tol": 1e-10}).fit(X, y, weight)
    assert clf.objective_ <= alone.objective_ * (1 + TOL)
    assert clf.optimality_gap_ <= TOL or alone.optimality_gap_ > TOL
