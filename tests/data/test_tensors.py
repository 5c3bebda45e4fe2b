"""Tensors for X, y and weights: as the NumPy arrays that they share their memory with.

Those of PyTorch are skipped where it is not installed, and those under ``array_api_dispatch``
unless the environment has ``SCIPY_ARRAY_API=1`` from the start, as scikit-learn asks;
CONTRIBUTING.md has the command.
"""

import os

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn._utils.validation import as_numpy
from xentlearn.losses import (
    SparseCategoricalCrossentropy,
    make_loss_scorer,
    sparse_categorical_crossentropy,
)

PREDICTIONS = ["predict", "predict_proba", "predict_log_proba", "decision_function"]


class Tensor:
    """An array of another library that speaks of its memory by DLPack alone."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, f"other.{array.dtype}"

    def __len__(self):
        return len(self.array)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.fixture(params=["other", "torch", "torch, dispatched"])
def tensor(request):
    """A function that makes tensors."""
    if request.param == "other":
        yield Tensor
        return
    torch = pytest.importorskip("torch")
    dispatch = request.param == "torch, dispatched"
    if dispatch and os.environ.get("SCIPY_ARRAY_API") != "1":
        pytest.skip("needs SCIPY_ARRAY_API=1")
    with sklearn.config_context(array_api_dispatch=dispatch):
        yield lambda array: torch.from_numpy(np.ascontiguousarray(array))


@pytest.fixture
def data(rng):
    """(X, labels, weights)."""
    X = rng.normal(size=(90, 4))
    return X, (X[:, :3] + rng.gumbel(size=(90, 3))).argmax(axis=1), rng.uniform(0.1, 2, 90)


def assert_same_model(ours, theirs):
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    np.testing.assert_array_equal(ours.intercept_, theirs.intercept_)
    assert ours.coef_.dtype == theirs.coef_.dtype
    assert type(ours.coef_) is np.ndarray


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8, np.int64])
def test_memory_is_shared(dtype, tensor):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    found = as_numpy(tensor(array), "X")
    assert type(found) is np.ndarray
    assert found.dtype == dtype
    assert np.shares_memory(found, array)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("kind", ["labels", "multi-label", "soft"])
def test_fit_predict_and_score(kind, dtype, tensor, data, rng):
    X, y, weight = data
    X = (X * 10 + 100).astype(dtype)
    loss = "auto"
    if kind == "multi-label":
        y = (rng.random((90, 3)) < 0.4) * 1.0
    elif kind == "soft":
        y, loss = rng.dirichlet(np.ones(3), 90), "categorical_crossentropy"
    want = SoftmaxClassifier(loss).fit(X, y, weight)
    got = SoftmaxClassifier(loss).fit(tensor(X), tensor(y), tensor(weight))
    assert_same_model(got, want)
    for method in PREDICTIONS:
        found = getattr(got, method)(tensor(X))
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, getattr(want, method)(X))
    args = tensor(X), tensor(y), tensor(weight)
    assert got.score(*args) == want.score(X, y, weight)
    assert make_loss_scorer()(got, *args) == make_loss_scorer()(want, X, y, weight)


@pytest.mark.parametrize("which", range(3))
def test_one_tensor_among_arrays(which, tensor, data):
    args = list(data)
    want = SoftmaxClassifier().fit(*args)
    args[which] = tensor(args[which])
    assert_same_model(SoftmaxClassifier().fit(*args), want)
    assert want.score(*args) == want.score(*data)
    assert make_loss_scorer()(want, *args) == make_loss_scorer()(want, *data)


def test_partial_fit_and_early_stopping(tensor, data):
    X, y, weight = data
    clf = SoftmaxClassifier(random_state=0)
    want = sklearn.base.clone(clf).partial_fit(X, y, np.arange(3), weight)
    got = clf.partial_fit(tensor(X), tensor(y), np.arange(3), tensor(weight))
    assert_same_model(got, want)
    clf = SoftmaxClassifier(early_stopping=True, random_state=0)
    want = sklearn.base.clone(clf).fit(X, y, X_val=X[:30], y_val=y[:30])
    got = clf.fit(tensor(X), tensor(y), X_val=tensor(X[:30]), y_val=tensor(y[:30]))
    assert_same_model(got, want)


def test_ignored_labels(tensor, data):
    X, y, weight = data
    clf = SoftmaxClassifier(SparseCategoricalCrossentropy(ignore_class=2))
    want = sklearn.base.clone(clf).fit(X, y, weight)
    args = tensor(X), tensor(y), tensor(weight)
    assert_same_model(clf.fit(*args), want)
    assert clf.score(*args) == want.score(X, y, weight)
    assert make_loss_scorer()(clf, *args) == make_loss_scorer()(want, X, y, weight)


@pytest.mark.parametrize("tensor", ["torch", "torch, dispatched"], indirect=True)
def test_searches(tensor, data):
    X, y, _ = data
    for scoring in (None, make_loss_scorer()):
        for model in (
            GridSearchCV(SoftmaxClassifier(), {"C": [0.1, 1]}, scoring=scoring),
            make_pipeline(StandardScaler(), SoftmaxClassifier()),
        ):
            options = {"scoring": scoring, "error_score": "raise"}
            got = cross_val_score(model, tensor(X), tensor(y), **options)
            np.testing.assert_allclose(got, cross_val_score(model, X, y, **options), rtol=1e-6)


@pytest.mark.parametrize("tensor", ["torch", "torch, dispatched"], indirect=True)
@pytest.mark.parametrize("what", ["device", "gradient", "layout"])
@pytest.mark.parametrize("name", ["X", "y", "sample_weight"])
def test_tensors_that_numpy_cannot_read(name, what, tensor, data):
    args = dict(zip(("X", "y", "sample_weight"), data, strict=True))
    bad = tensor(args[name].astype(float))
    args[name] = {
        "device": lambda: bad.to("meta"),
        "gradient": lambda: bad.requires_grad_(),
        "layout": lambda: bad.to_sparse(),
    }[what]()
    clf = SoftmaxClassifier().fit(*data)
    for call in (
        SoftmaxClassifier().fit,
        clf.score,
        lambda **args: make_loss_scorer()(clf, **args),
    ):
        with pytest.raises(
            TypeError, match=rf"^'{name}' must be an array that NumPy can read.*cpu"
        ):
            call(**args)


@pytest.mark.parametrize("tensor", ["torch", "torch, dispatched"], indirect=True)
def test_bfloat16_is_float32(tensor, data):
    X, y, weight = data
    rough = tensor(X.astype(float)).bfloat16()
    X = rough.float()
    clf = SoftmaxClassifier().fit(rough, y, tensor(weight.astype(float)).bfloat16())
    same = SoftmaxClassifier().fit(X, y, tensor(weight.astype(float)).bfloat16().float())
    assert clf.coef_.dtype == np.float32
    np.testing.assert_array_equal(clf.coef_, same.coef_)
    np.testing.assert_array_equal(clf.predict_proba(rough), same.predict_proba(X))
    logits = rough[:, :2]
    for function in (
        lambda logits: SparseCategoricalCrossentropy().loss(y > 0, logits),
        lambda logits: sparse_categorical_crossentropy(y > 0, logits, from_logits=True),
    ):
        np.testing.assert_array_equal(function(logits), function(logits.float()))


def test_what_is_not_a_tensor_stays_as_it_is(tmp_path):
    mapped = np.memmap(tmp_path / "X", dtype=np.float32, shape=(3, 2), mode="w+")
    for thing in ([[1.0]], (1,), "ab", 1.5, None, np.ones(3), mapped, sparse.eye_array(3)):
        assert as_numpy(thing, "X") is thing
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 2.0]})
    assert as_numpy(frame, "X") is frame
    series = frame["a"]
    assert as_numpy(series, "y") is series
