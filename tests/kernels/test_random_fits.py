"""Fits of any shape, dtype, loss and solver: they end, with numbers, and judge what they see.

What they find is tested elsewhere; these are for the sanitizers (``tests/sanitize.sh``), which look
at every address on the way.
"""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from xentlearn import SoftmaxClassifier
from xentlearn.losses import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    HybridLoss,
    PolyCrossentropy,
    SymmetricCrossentropy,
)

SOLVERS = ["auto", "lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd"]
DENSE = [np.float64, np.float32, np.float16, np.uint8, np.int8]
SOFTMAX = [
    "auto",
    CategoricalCrossentropy(label_smoothing=0.1),
    CategoricalFocalCrossentropy(),
    GeneralizedCrossentropy(),
    SymmetricCrossentropy(),
    PolyCrossentropy(),
    HybridLoss([("softmax", CategoricalCrossentropy()), ("ovr", BinaryCrossentropy())]),
]
BINARY = ["auto", BinaryCrossentropy(pos_weight=2.0), AsymmetricBinaryCrossentropy()]
N_FITS = 80


def features(rng, n_samples, n_features):
    """X of any kind that is used where it lies."""
    X = rng.normal(scale=2, size=(n_samples, n_features))
    kind = rng.integers(4)
    if kind == 0:
        X[rng.random(X.shape) < 0.8] = 0
        index = rng.choice([np.int32, np.int64])
        matrix = sparse.csr_array(X.astype(rng.choice([np.float32, np.float64])))
        matrix.indices, matrix.indptr = matrix.indices.astype(index), matrix.indptr.astype(index)
        return matrix
    dtype = DENSE[rng.integers(len(DENSE))]
    X = (np.abs(X) if dtype == np.uint8 else X).astype(dtype)
    if kind == 1:
        return np.asfortranarray(X)
    if kind == 2:
        return np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    return X


def targets(rng, n_samples, kind):
    """(y, losses that take it)."""
    n_outputs = int(rng.choice([2, 3, 7, 17, 40]))
    labels = np.concatenate([np.arange(n_outputs), rng.integers(n_outputs, size=n_samples)])
    labels = labels[:n_samples] % n_outputs
    if kind == "labels":
        return labels, SOFTMAX
    if kind == "one-hot":
        one_hot = np.eye(n_outputs)[labels]
        return (one_hot if rng.random() < 0.5 else sparse.csr_array(one_hot)), SOFTMAX[1:]
    if kind == "soft":
        rows = 0.7 * np.eye(n_outputs)[labels] + 0.3 * rng.dirichlet(np.ones(n_outputs), n_samples)
        return rows, SOFTMAX[1:]
    indicator = (np.eye(n_outputs)[labels] + (rng.random((n_samples, n_outputs)) < 0.3) > 0) * 1.0
    indicator[:2] = [[0.0], [1.0]]
    if kind == "sparse indicator":
        return sparse.csr_array(indicator), BINARY
    indicator[rng.random(indicator.shape) < 0.1] = np.nan
    return indicator, BINARY


@pytest.mark.parametrize("number", range(N_FITS))
@pytest.mark.slow
def test_random_fit(number, seed):
    rng = np.random.default_rng([seed, number])
    n_samples, n_features = int(rng.choice([60, 333, 2100])), int(rng.choice([1, 5, 16, 33, 130]))
    kind = ["labels", "one-hot", "soft", "indicator", "sparse indicator"][number % 5]
    X = features(rng, n_samples, n_features)
    y, losses = targets(rng, n_samples, kind)
    setting = losses[rng.integers(len(losses))]
    if kind in ("one-hot", "soft") and isinstance(setting, HybridLoss):
        setting = losses[0]
    weight = rng.choice([None, "some"])
    weight = None if weight is None else rng.integers(1, 4, n_samples) * 0.5
    model = SoftmaxClassifier(
        setting,
        C=10.0 ** rng.integers(-2, 3),
        solver=SOLVERS[rng.integers(len(SOLVERS))],
        max_iter=25,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        model.fit(X, y, sample_weight=weight)
    proba = model.predict_proba(X)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.objective_)
    assert proba.shape[0] == n_samples
    assert ((proba >= 0) & (proba <= 1)).all()
    model.predict_log_proba(X[:7])
    model.predict(X[-9:])
    assert model.decision_function(X).shape[0] == n_samples
