"""What Keras 3 and PyTorch do with the same losses: each row of the table in ``doc/losses.md``.

Optional: skipped where they are not installed (``pip install -e ".[others]"``); Keras runs on its
torch backend. The last column of the table names the tests.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest

from xentlearn import losses

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
keras = pytest.importorskip("keras")

DOCUMENT = Path(__file__).parents[2] / "doc" / "losses.md"
functional = torch.nn.functional


@pytest.fixture
def data(rng):
    """(labels, soft rows, indicator, logits, probabilities)."""
    logits = rng.normal(scale=2, size=(40, 5))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = rng.integers(5, size=40)
    return labels, rng.dirichlet(np.ones(5), 40), rng.integers(2, size=(40, 5)) * 1.0, logits, p


def close(ours, theirs, **tolerance):
    theirs = theirs.detach().cpu().numpy() if hasattr(theirs, "detach") else np.asarray(theirs)
    np.testing.assert_allclose(ours, theirs, **{"rtol": 1e-6, "atol": 1e-9, **tolerance})


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def test_every_row_of_the_table_is_tested():
    named = set(re.findall(r"\| `(test_\w+)` \|", DOCUMENT.read_text()))
    here = {name for name in globals() if name.startswith("test_")}
    assert named == here - {"test_every_row_of_the_table_is_tested"}


def test_plain_losses(data):
    labels, soft, indicator, logits, p = data
    close(
        losses.sparse_categorical_crossentropy(labels, p),
        keras.losses.sparse_categorical_crossentropy(labels, p),
    )
    close(losses.categorical_crossentropy(soft, p), keras.losses.categorical_crossentropy(soft, p))
    close(losses.binary_crossentropy(indicator, p), keras.losses.binary_crossentropy(indicator, p))
    close(
        losses.sparse_categorical_crossentropy(labels, logits, from_logits=True),
        functional.cross_entropy(tensor(logits), tensor(labels), reduction="none"),
    )
    close(
        losses.categorical_crossentropy(soft, logits, from_logits=True),
        functional.cross_entropy(tensor(logits), tensor(soft), reduction="none"),
    )
    entries = functional.binary_cross_entropy_with_logits(
        tensor(logits), tensor(indicator), reduction="none"
    )
    close(losses.binary_crossentropy(indicator, logits, from_logits=True), entries.mean(dim=1))
    close(losses.BinaryCrossentropy().loss(indicator, logits), entries.sum(dim=1))


def test_probability_zero():
    assert losses.sparse_categorical_crossentropy([0], [[0.0, 1.0]]) == np.inf
    close(
        -np.log(1e-7),
        keras.losses.sparse_categorical_crossentropy(np.zeros(1), np.array([[0.0, 1.0]]))[0],
    )
    close(100.0, functional.binary_cross_entropy(torch.zeros(1), torch.ones(1)))


def test_rows_that_do_not_sum_to_one():
    with pytest.raises(ValueError, match="row 0 sums to 0.8"):
        losses.categorical_crossentropy([[1.0, 0.0]], [[0.2, 0.6]])
    theirs = keras.losses.categorical_crossentropy(np.array([[1.0, 0.0]]), np.array([[0.2, 0.6]]))
    close(-np.log([0.25]), theirs)


def test_certain_rows():
    z = np.array([[20.0, 0.0]], dtype=np.float32)
    ours = losses.sparse_categorical_crossentropy([0], z, from_logits=True)
    close(ours, [2.061153622438558e-09], rtol=1e-6, atol=0)
    assert functional.cross_entropy(tensor(z), torch.tensor([0])) == 0
    theirs = keras.losses.sparse_categorical_crossentropy(np.array([0]), z, from_logits=True)
    assert float(theirs[0]) == 0


def test_label_smoothing(data):
    labels, _, indicator, logits, p = data
    one_hot = np.eye(5)[labels]
    ours = losses.sparse_categorical_crossentropy(labels, p, label_smoothing=0.1)
    close(ours, keras.losses.categorical_crossentropy(one_hot, p, label_smoothing=0.1))
    close(
        ours,
        functional.cross_entropy(
            tensor(logits), tensor(labels), label_smoothing=0.1, reduction="none"
        ),
    )
    close(
        losses.binary_crossentropy(indicator, p, label_smoothing=0.1),
        keras.losses.binary_crossentropy(indicator, p, label_smoothing=0.1),
    )


def test_class_weights_and_smoothing(data):
    """PyTorch weighs the terms of a smoothed row one by one."""
    labels, _, _, logits, p = data
    w = np.array([1.0, 2, 3, 4, 5])
    theirs = functional.cross_entropy(
        tensor(logits), tensor(labels), tensor(w), label_smoothing=0.1, reduction="none"
    )
    smoothed = 0.9 * np.eye(5)[labels] + 0.1 / 5
    close(-(w * smoothed * np.log(p)).sum(axis=1), theirs)
    ours = losses.sparse_categorical_crossentropy(labels, p, label_smoothing=0.1, class_weight=w)
    close(ours, -w[labels] * (smoothed * np.log(p)).sum(axis=1))
    assert not np.allclose(ours, theirs.numpy())


def test_weighted_means(data):
    labels, _, _, logits, p = data
    w = np.array([1.0, 2, 3, 4, 5])
    options = {"class_weight": w, "from_logits": True}
    torch_mean = functional.cross_entropy(tensor(logits), tensor(labels), tensor(w))
    weighted = losses.sparse_categorical_crossentropy(
        labels, logits, reduction="weighted_mean", **options
    )
    close(weighted, torch_mean)
    keras_mean = keras.losses.SparseCategoricalCrossentropy()(labels, p, sample_weight=w[labels])
    mean = losses.sparse_categorical_crossentropy(labels, logits, reduction="mean", **options)
    close(mean, keras_mean)


def test_ignored_labels(data):
    labels, _, _, logits, p = data
    options = {"ignore_class": 3, "reduction": "mean"}
    ours = losses.sparse_categorical_crossentropy(labels, p, **options)
    close(ours, functional.cross_entropy(tensor(logits), tensor(labels), ignore_index=3))
    rows = losses.sparse_categorical_crossentropy(labels, p, ignore_class=3)
    close(rows, keras.losses.sparse_categorical_crossentropy(labels, p, ignore_class=3))


def test_nothing_left():
    with pytest.warns(RuntimeWarning, match="of no rows is nan"):
        ours = losses.sparse_categorical_crossentropy(
            [0], [[0.5, 0.5]], ignore_class=0, reduction="mean"
        )
    theirs = functional.cross_entropy(torch.zeros(1, 2), torch.tensor([0]), ignore_index=0)
    assert np.isnan(ours)
    assert np.isnan(float(theirs))


def test_weights_of_positives(data):
    _, _, indicator, logits, _ = data
    w = np.array([1.0, 2, 3, 4, 5])
    theirs = functional.binary_cross_entropy_with_logits(
        tensor(logits), tensor(indicator), pos_weight=tensor(w), reduction="none"
    )
    ours = losses.binary_crossentropy(indicator, logits, from_logits=True, pos_weight=w)
    close(ours, theirs.mean(dim=1))


def test_focal_alpha(data):
    """Off by default; in Keras 0.25 by default, and for binary targets only if asked for."""
    labels, soft, indicator, _, p = data
    one_hot = np.eye(5)[labels]
    for y in (one_hot, soft):
        close(
            losses.categorical_focal_crossentropy(y, p, alpha=0.25),
            keras.losses.categorical_focal_crossentropy(y, p),
        )
    by_class = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    close(
        losses.categorical_focal_crossentropy(one_hot, p, alpha=by_class, gamma=1.5),
        keras.losses.categorical_focal_crossentropy(one_hot, p, alpha=by_class, gamma=1.5),
    )
    close(
        losses.binary_focal_crossentropy(indicator, p),
        keras.losses.binary_focal_crossentropy(indicator, p),
    )
    close(
        losses.binary_focal_crossentropy(indicator, p, alpha=0.25),
        keras.losses.binary_focal_crossentropy(indicator, p, apply_class_balancing=True),
    )


def test_focal_smoothing(data):
    """alpha weighs smoothed targets, in Keras too."""
    labels, _, indicator, _, p = data
    one_hot = np.eye(5)[labels]
    close(
        losses.categorical_focal_crossentropy(one_hot, p, alpha=0.25, label_smoothing=0.1),
        keras.losses.categorical_focal_crossentropy(one_hot, p, label_smoothing=0.1),
    )
    close(
        losses.binary_focal_crossentropy(indicator, p, alpha=0.3, label_smoothing=0.1),
        keras.losses.binary_focal_crossentropy(
            indicator, p, apply_class_balancing=True, alpha=0.3, label_smoothing=0.1
        ),
    )


def test_binary_rows(data):
    """A function's row is the mean over its entries; a setting's row is their sum."""
    _, _, indicator, logits, p = data
    rows = losses.binary_crossentropy(indicator, p)
    close(rows, keras.losses.binary_crossentropy(indicator, p))
    close(losses.BinaryCrossentropy().loss(indicator, logits).shape, rows.shape)


def test_missing_targets(data):
    """nan: missing here, nan in the result there."""
    _, _, indicator, logits, _ = data
    indicator[0, 0] = np.nan
    ours = losses.binary_crossentropy(indicator, logits, from_logits=True)
    assert np.isfinite(ours).all()
    theirs = functional.binary_cross_entropy_with_logits(
        tensor(logits), tensor(indicator), reduction="none"
    )
    assert np.isnan(theirs.numpy()).any()
