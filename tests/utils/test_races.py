"""Python threads that share a fitted estimator, an X or nothing get what one thread alone gets.

On a free-threaded Python they run at the same time, elsewhere wherever the GIL is released.
``tests/sanitize_threads.sh`` runs this with ThreadSanitizer.
"""

import threading

import numpy as np
import pytest
from scipy import sparse

from xentlearn import SoftmaxClassifier, losses

N_THREADS, N_CALLS = 4, 10
N_ROWS, N_FEATURES = 3000, 12
SOLVERS = ("auto", "lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd")


def problem(seed=0, kind="dense"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N_ROWS, N_FEATURES))
    y = (X @ rng.normal(size=(N_FEATURES, 4)) + rng.gumbel(size=(N_ROWS, 4))).argmax(axis=1)
    if kind == "sparse":
        X = sparse.csr_array(X * (np.abs(X) > 1))
    elif kind == "multi-label":
        y = np.stack([y == 0, y > 1, y == 3], axis=1).astype(int)
    return X, y


def in_threads(function):
    """Call ``function(i)`` in threads that begin together; return the results in their order."""
    results, errors = [None] * N_THREADS, []
    begin = threading.Barrier(N_THREADS, timeout=60)

    def run(i):
        try:
            begin.wait()
            results[i] = function(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(N_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def assert_same(got, want):
    for one, other in zip(got, want, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["dense", "sparse", "multi-label"])
def test_a_shared_estimator_predicts(kind):
    X, y = problem(kind=kind)
    model = SoftmaxClassifier().fit(X, y)
    methods = ("predict", "predict_proba", "predict_log_proba", "decision_function")
    # rows of several sizes: memory that calls might share would have to grow
    parts = [X[: N_ROWS // (i + 1)] for i in range(N_THREADS)]

    def predictions(i):
        return [getattr(model, method)(parts[i]) for method in methods] + [model.score(X, y)]

    want = [predictions(i) for i in range(N_THREADS)]
    for _ in range(N_CALLS):
        assert_same(in_threads(predictions), want)


@pytest.mark.parametrize("kind", ["dense", "sparse", "multi-label"])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_independent_fits_of_one_X(solver, kind):
    X, y = problem(kind=kind)

    def fit(i):
        model = SoftmaxClassifier(C=10.0**-i, solver=solver, max_iter=5, random_state=0)
        model.fit(X, y)
        return model.coef_, model.intercept_, model.objective_

    want = [fit(i) for i in range(N_THREADS)]
    assert_same(in_threads(fit), want)


def test_independent_streams():
    problems = [problem(seed, "sparse" if seed % 2 else "dense") for seed in range(N_THREADS)]

    def stream(i):
        X, y = problems[i]
        model = SoftmaxClassifier(solver="adam", random_state=0)
        for at in range(0, 1000, 100):
            model.partial_fit(X[at : at + 100], y[at : at + 100], classes=np.arange(4))
        return model.coef_, model.intercept_

    want = [stream(i) for i in range(N_THREADS)]
    assert_same(in_threads(stream), want)


def test_one_loss_for_all():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(N_THREADS, N_ROWS, 5))
    labels = rng.integers(5, size=(N_THREADS, N_ROWS))
    loss = losses.SparseCategoricalCrossentropy(label_smoothing=0.1)

    def gradient(i):
        return loss.loss_gradient(labels[i], logits[i])

    want = [gradient(i) for i in range(N_THREADS)]
    for _ in range(N_CALLS):
        assert_same(in_threads(gradient), want)
