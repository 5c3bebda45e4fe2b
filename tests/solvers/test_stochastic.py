"""Adam and SGD: each step against a slow reference on standardised features; fits by them."""

import itertools
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import cells
from rows import N_CLASSES, N_FEATURES, N, three_classes
from xentlearn import SoftmaxClassifier, losses
from xentlearn._data._design_matrix import DesignMatrix
from xentlearn._data.dataset import Batches
from xentlearn._data.targets import encode_y
from xentlearn.solvers import SGD, Adam

SETTINGS = {"adam": Adam, "sgd": SGD}


def reference(
    X,
    y,
    orders,
    weight=None,
    *,
    rule="adam",
    batch_size=20,
    C=1.0,
    fit_intercept=True,
    rate=0.01,
    momentum=0.9,
    nesterov=True,
    power=None,
    average=True,
):
    """Points of textbook Adam or SGD, batch by batch, on features that are standardised first."""
    n, weight = len(y), np.ones(len(y)) if weight is None else weight
    l2_reg = 1 / (C * weight.sum())
    mean = weight @ X / weight.sum() if fit_intercept else np.zeros(N_FEATURES)
    scale = np.sqrt(weight @ (X - mean) ** 2 / weight.sum() + 4 * l2_reg)
    Z = (X - mean) / scale
    share = np.bincount(y, weight) / weight.sum()
    point = np.zeros((N_FEATURES + 1, N_CLASSES))
    if fit_intercept:
        point[-1] = np.log(share) - np.log(share).mean()
    first, second, mean_point, t = np.zeros_like(point), np.zeros_like(point), 0.0, 0
    for order in orders:
        for begin in range(0, n, batch_size):
            rows = order[begin : begin + batch_size]
            total = weight[rows].sum()
            if total == 0:
                continue
            logits = Z[rows] @ point[:-1] + point[-1]
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            residual = weight[rows, np.newaxis] * (p - np.eye(N_CLASSES)[y[rows]]) / total
            # the penalty is that of W = V / scale
            gradient = np.vstack(
                [
                    Z[rows].T @ residual + l2_reg * point[:-1] / scale[:, np.newaxis] ** 2,
                    residual.sum(axis=0) * fit_intercept,
                ]
            )
            t += 1
            if rule == "adam":
                first = 0.9 * first + 0.1 * gradient
                second = 0.999 * second + 0.001 * gradient**2
                corrected = first / (1 - 0.9**t), second / (1 - 0.999**t)
                point = point - rate * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
            else:
                now = rate if power is None else rate / t**power
                first = momentum * first - now * gradient
                point = point + (momentum * first - now * gradient if nesterov else first)
            mean_point = mean_point + 2 / (t + 1) * (point - mean_point)
    point = mean_point if average else point
    coef = (point[:-1] / scale[:, np.newaxis]).T
    return coef, point[-1] - coef @ mean


def fit(X, y, weight=None, max_iter=2, setting=Adam, random_state=None, C=1.0, **parameters):
    """A fit of so many epochs, by a setting with these parameters."""
    fit_intercept = parameters.pop("fit_intercept", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = SoftmaxClassifier(
            losses.SparseCategoricalCrossentropy(),
            max_iter=max_iter,
            tol=0,
            n_iter_no_change=1000,
            C=C,
            fit_intercept=fit_intercept,
            random_state=random_state,
            solver=setting(**{"batch_size": 20, "shuffle": False, **parameters}),
        )
        return clf.fit(X, y, sample_weight=weight)


def assert_found(clf, coef, intercept, scale, rtol):
    np.testing.assert_allclose(clf.coef_ * scale, coef * scale, rtol=rtol, atol=rtol)
    shift = intercept - intercept.mean()  # softmax intercepts sum to 0
    np.testing.assert_allclose(clf.intercept_, shift, rtol=rtol, atol=rtol * np.abs(shift).max())


VARIANTS = {
    "adam": ({"setting": Adam}, {}),
    "adam, last point": ({"setting": Adam, "average": False}, {"average": False}),
    "adam, no intercept": ({"setting": Adam, "fit_intercept": False}, {"fit_intercept": False}),
    "adam, strong penalty": ({"setting": Adam, "C": 1e-3}, {"C": 1e-3}),
    "sgd": ({"setting": SGD}, {"rule": "sgd"}),
    "sgd, heavy ball": (
        {"setting": SGD, "nesterov": False, "momentum": 0.5},
        {"rule": "sgd", "nesterov": False, "momentum": 0.5},
    ),
    "sgd, invscaling": (
        {"setting": SGD, "schedule": "invscaling", "power_t": 0.25, "average": False},
        {"rule": "sgd", "power": 0.25, "average": False},
    ),
    "sgd, rate": (
        {"setting": SGD, "learning_rate": 0.1, "batch_size": 7},
        {"rule": "sgd", "rate": 0.1, "batch_size": 7},
    ),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("name", VARIANTS)
def test_steps(name, container, weighted, rng):
    X, y = three_classes(rng)
    weight = rng.choice([0.0, 0.5, 3.0], size=N) if weighted else None
    parameters, of_reference = VARIANTS[name]
    clf = fit(container(X), y, weight, **parameters)
    # rows without weight are left out, and batches are of the others
    kept = np.arange(N) if weight is None else np.flatnonzero(weight)
    coef, intercept = reference(
        X[kept],
        y[kept],
        [np.arange(len(kept))] * 2,
        None if weight is None else weight[kept],
        **of_reference,
    )
    assert_found(clf, coef, intercept, X.std(axis=0), rtol=1e-6)


def test_shuffled_epochs(rng):
    X, y = three_classes(rng)
    clf = fit(X, y, shuffle=True, random_state=7)
    state = np.random.RandomState(7)
    coef, intercept = reference(X, y, [state.permutation(N) for _ in range(2)])
    assert_found(clf, coef, intercept, X.std(axis=0), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("container", [np.asarray, np.asfortranarray, sparse.csr_matrix])
def test_steps_on_narrow_dtypes(dtype, container, rng):
    X, y = three_classes(rng)
    X = np.clip(40 * (X - X.mean(axis=0)) / X.std(axis=0) + 128, 0, 255).astype(dtype)
    if container is sparse.csr_matrix and dtype == np.float16:
        pytest.skip("SciPy has no sparse float16")
    clf = fit(container(X), y, shuffle=True, random_state=0)
    state = np.random.RandomState(0)
    X = X.astype(np.float64)
    coef, intercept = reference(X, y, [state.permutation(N) for _ in range(2)])
    assert_found(clf, coef, intercept, X.std(axis=0), rtol=2e-4)


@pytest.mark.parametrize("target", ["order", "as it is"])
@pytest.mark.parametrize("stored", ["dense", "strided", "fortran", "csr", "csr, 64-bit"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
@pytest.mark.parametrize("span", [(0, N), (3, 40), (129, 130)])
def test_batch_gradient(target, stored, dtype, span, rng):
    """That of the chosen rows alone."""
    X = rng.integers(0, 9, size=(N, 24)).astype(dtype)
    y = encode_y(rng.integers(4, size=N), N, "auto", None, rng.uniform(size=N))
    order = rng.permutation(N) if target == "order" else None
    rows = (np.arange(N) if order is None else order)[slice(*span)]
    held = {
        "dense": lambda: X,
        "strided": lambda: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
        "fortran": lambda: np.asfortranarray(X),
        "csr": lambda: sparse.csr_array(X),
        "csr, 64-bit": lambda: long_indices(sparse.csr_array(X)),
    }[stored]()
    computed = np.float64 if dtype == np.float64 else np.float32
    coef, intercept = rng.normal(size=(24, 4)) * 0.1, rng.normal(size=4)
    outputs = np.arange(4)
    alone = DesignMatrix(X[rows]).loss_gradient(
        y.taken(rows).kernel_target(computed, outputs), coef, intercept, 1
    )
    by_output = "csr" not in stored
    targets = (y if order is None else y.taken(order)).kernel_target(computed, outputs)
    design = DesignMatrix(held)
    results = []
    for n_threads, present_alone in itertools.product((1, 2, 5), (False, True)):
        present_alone = present_alone and not by_output
        features = design.batch_features(order, *span) if present_alone else None
        arguments = targets, order, *span, coef.T if by_output else coef, intercept, n_threads
        of_batch = design.batch_loss(*arguments, features)
        loss, found, intercept_gradient = design.batch_loss_gradient(*arguments, features)
        assert of_batch == loss
        coef_gradient = np.zeros_like(coef)
        coef_gradient[slice(None) if features is None else features] = (
            found.T if by_output else found
        )
        results.append((loss, coef_gradient, intercept_gradient))
    eps = 50 * np.finfo(computed).eps
    for got, want in zip(results[0], alone, strict=True):
        np.testing.assert_allclose(got, want, rtol=eps, atol=eps * np.abs(want).max())
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(got, want)


def long_indices(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


# --- Fits -----------------------------------------------------------------------------------------


TAKEN = [
    (loss, target) for loss in cells.LOSSES for target in cells.TARGETS if cells.taken(loss, target)
]


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize(("loss", "target"), TAKEN)
def test_every_loss_and_target(loss, target, solver, rng):
    """Near the minimum that lbfgs finds, or below it where there are several."""
    X = rng.normal(size=(cells.N, cells.N_FEATURES))
    kind = cells.TARGETS[target]
    arguments = kind.make(rng, X)
    parameters = {"loss": clone(cells.LOSSES[loss]), **kind.parameters}
    want = SoftmaxClassifier(**parameters).fit(X, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = SoftmaxClassifier(
            **parameters,
            solver=SETTINGS[solver](batch_size=16),
            max_iter=200,
            random_state=0,
        ).fit(X, **arguments)
    assert clf.solver_ == solver
    assert clf.objective_ <= 1.02 * want.objective_


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_same_bits_on_every_run(solver, rng):
    X, y = three_classes(rng)
    one, two = (fit(X, y, setting=SETTINGS[solver], shuffle=True, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.coef_, two.coef_)
    other = fit(X, y, setting=SETTINGS[solver], shuffle=True, random_state=4)
    assert (other.coef_ != one.coef_).any()


def test_scales_of_features_do_not_matter(rng):
    X, y = three_classes(rng)
    factor, offset = 10.0 ** np.arange(-2, 3), np.arange(5) * 100.0
    one = fit(X, y, C=np.inf, max_iter=5)
    two = fit(X * factor + offset, y, C=np.inf, max_iter=5)
    np.testing.assert_allclose(two.coef_ * factor, one.coef_, rtol=1e-6)


def test_constant_features_are_left_alone(rng):
    X, y = three_classes(rng, np.float32)
    X = np.column_stack([X, np.full(N, 1e9, dtype=np.float32)])
    clf = fit(X, y, max_iter=20)
    assert (clf.coef_[:, -1] == 0).all()
    assert clf.score(X, y) > 0.6


def test_stops_when_the_objective_does_not_fall(rng):
    X, y = three_classes(rng)
    clf = SoftmaxClassifier(solver="adam", tol=0.01, n_iter_no_change=3, random_state=0).fit(X, y)
    objective = clf.history_["objective"]
    assert 4 < clf.n_iter_[0] == len(objective) - 1 < 3000
    of_epochs = objective[1:]
    lower = of_epochs[1:] <= np.minimum.accumulate(of_epochs)[:-1] * 0.99
    assert not lower[-3:].any()
    assert lower[-4]
    assert np.isinf(clf.history_["gap"]).all()
    assert clf.optimality_gap_ < np.inf  # certified at the end
    assert (np.diff(clf.history_["seconds"]) > 0).all()


def test_adaptive_rate_goes_on_more_slowly(rng):
    X, y = three_classes(rng)
    parameters = {"tol": 1e-3, "n_iter_no_change": 2, "random_state": 0}
    setting = SGD(learning_rate=0.5, average=False, batch_size=10)
    constant = SoftmaxClassifier(solver=setting, **parameters).fit(X, y)
    adaptive = clone(constant).set_params(solver__schedule="adaptive").fit(X, y)
    assert adaptive.n_iter_[0] > constant.n_iter_[0]
    assert adaptive.objective_ < constant.objective_
    n_before = constant.n_iter_[0] + 1
    np.testing.assert_array_equal(
        adaptive.history_["objective"][:n_before], constant.history_["objective"]
    )
    rates = adaptive.history_["learning_rate"]
    np.testing.assert_allclose(rates[: n_before + 1], [0.5] * n_before + [0.1])
    assert (np.diff(rates) <= 0).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_start_is_recorded(weighted, rng):
    """With the objective of all rows; of a warm start as well."""
    X, y = three_classes(rng)
    weight = rng.uniform(size=N) if weighted else None
    clf = SoftmaxClassifier(solver="lbfgs", max_iter=2, warm_start=True, tol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(X, y, weight)
    start = clf.objective_
    clf.set_params(solver=Adam(batch_size=20)).fit(X, y, weight)
    history = clf.history_
    assert {len(values) for values in history.values()} == {3}
    assert history["objective"][0] == pytest.approx(start, rel=1e-9)
    cold = SoftmaxClassifier(solver="sgd", max_iter=0)
    with pytest.warns(ConvergenceWarning):
        cold.fit(X, y, weight)
    share = np.bincount(y, weight) / (N if weight is None else weight.sum())
    assert cold.history_["objective"] == pytest.approx([-share @ np.log(share)], rel=1e-9)


def test_learning_rates(rng):
    """Those of the last steps of epochs, of 7 batches each."""
    X, y = three_classes(rng)
    assert -(-N // 20) == 7
    np.testing.assert_array_equal(fit(X, y).history_["learning_rate"], [0.01] * 3)
    falling = {"schedule": "invscaling", "power_t": 0.25, "learning_rate": 0.1}
    rates = fit(X, y, setting=SGD, **falling).history_["learning_rate"]
    np.testing.assert_allclose(rates, 0.1 / np.array([1, 7, 14]) ** 0.25)
    clf = SoftmaxClassifier(solver=SGD(**falling, batch_size=20))
    for n_steps in (7, 14):
        rates = clf.partial_fit(X, y, range(3)).history_["learning_rate"]
        assert rates[-1] == pytest.approx(0.1 / n_steps**0.25)


def test_a_rate_that_is_too_large(rng):
    X, y = three_classes(rng)
    with pytest.warns(ConvergenceWarning, match="'learning_rate' is too large"):
        clf = SoftmaxClassifier(solver=SGD(learning_rate=1e300, batch_size=10, average=False)).fit(
            X, y
        )
    assert np.isfinite(clf.coef_).all()


def test_interrupted(rng, monkeypatch):
    X, y = three_classes(rng)
    whole = fit(X, y, max_iter=3)
    step, n_steps = Batches.loss_gradient, 0

    def interrupted(self, i, *arguments):
        nonlocal n_steps
        n_steps += 1
        if n_steps == 3 * 7 + 2:
            raise KeyboardInterrupt
        return step(self, i, *arguments)

    monkeypatch.setattr(Batches, "loss_gradient", interrupted)
    clf = SoftmaxClassifier(
        losses.SparseCategoricalCrossentropy(), solver=Adam(batch_size=20, shuffle=False)
    )
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    np.testing.assert_array_equal(clf.coef_, whole.coef_)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("batch_size", 0, "an integer >= 1 or 'auto'"),
        ("batch_size", "all", "an integer >= 1 or 'auto'"),
        ("shuffle", "yes", "True or False"),
        ("schedule", 0.01, "one of"),
        ("learning_rate", 0.0, "a finite number > 0"),
        ("power_t", -1, "a finite number >= 0"),
        ("momentum", 1.0, "a number in \\[0, 1\\)"),
        ("beta_1", 1.0, "a number in \\[0, 1\\)"),
        ("beta_2", -0.1, "a number in \\[0, 1\\)"),
        ("epsilon", 0, r"a number in \[1e-30, 1e30\]"),
        ("average", 10, "True or False"),
        ("early_stopping", "auto", "True or False"),
        ("validation_fraction", 1.0, "a number in \\(0, 1\\)"),
        ("n_iter_no_change", 0, "an integer >= 1"),
    ],
)
def test_parameters(name, value, rule, rng):
    X, y = three_classes(rng)
    n_owners = 0
    for owner in (SoftmaxClassifier, Adam, SGD):
        if name in owner().get_params():
            n_owners += 1
            parameter = owner(**{name: value})
            clf = parameter if owner is SoftmaxClassifier else SoftmaxClassifier(solver=parameter)
            for method in (clf.fit, clf.partial_fit):
                with pytest.raises(ValueError, match=f"'{name}' must be {rule}"):
                    method(X, y)
    assert n_owners >= 1
