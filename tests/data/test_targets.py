"""Encoding y in pieces: a digest is encoded as the whole is, and more of the same is alike."""

import numpy as np
import pytest
from scipy import sparse

from xentlearn import losses
from xentlearn._data.target_batches import digest, encode_like
from xentlearn._data.targets import concatenated, encode_y

N = 60


def labels(rng):
    return rng.choice(["a", "b", "c", "d"], size=N)


CASES = {
    "strings": (labels, "auto", None),
    "balanced": (labels, "auto", "balanced"),
    "weighted": (labels, "auto", {"a": 2.0, "d": 0.5}),
    "ignored": (labels, losses.SparseCategoricalCrossentropy(ignore_class="b"), "balanced"),
    "two classes": (lambda rng: rng.integers(2, size=N), "auto", "balanced"),
    "two logits": (
        lambda rng: rng.integers(2, size=N),
        "sparse_categorical_crossentropy",
        "balanced",
    ),
    "one-vs-rest": (labels, "binary_crossentropy", None),
    "multi-label": (lambda rng: 1.0 * (rng.random((N, 3)) < 0.3), "auto", None),
    "missing": (
        lambda rng: np.where(rng.random((N, 3)) < 0.2, np.nan, rng.random((N, 3)) < 0.3),
        "auto",
        None,
    ),
    "sparse multi-label": (
        lambda rng: sparse.csr_array(1.0 * (rng.random((N, 3)) < 0.3)),
        "auto",
        None,
    ),
    "soft": (lambda rng: rng.dirichlet(np.ones(3), size=N), "auto", "balanced"),
    "one-hot": (lambda rng: np.eye(3)[rng.integers(3, size=N)], "categorical_crossentropy", None),
}


def dense(values):
    return values.toarray() if sparse.issparse(values) else values


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_pieces_are_encoded_as_the_whole(name, weighted, rng):
    make, loss, class_weight = CASES[name]
    y = make(rng)
    weight = rng.choice([0.0, 0.5, 2.0], size=N) if weighted else None
    pieces = [slice(0, 7), slice(7, 40), slice(40, N)]
    whole = encode_y(y, N, loss, class_weight, weight)

    digests = [
        digest(y[piece], piece.stop - piece.start, None if weight is None else weight[piece])
        for piece in pieces
    ]
    stack = sparse.vstack if sparse.issparse(digests[0][0]) else np.concatenate
    y_small, weight_small = stack([a for a, _ in digests]), np.concatenate([b for _, b in digests])
    known = encode_y(y_small, len(weight_small), loss, class_weight, weight_small)
    assert (known.kind, known.loss, known.n_outputs) == (whole.kind, whole.loss, whole.n_outputs)
    np.testing.assert_array_equal(known.classes, whole.classes)
    if class_weight is not None:
        np.testing.assert_allclose(known.class_weight, whole.class_weight)

    encoded = [
        encode_like(known, y[p], p.stop - p.start, None if weight is None else weight[p])
        for p in pieces
    ]
    together = concatenated(encoded)
    np.testing.assert_allclose(together.weight, whole.weight)
    for got, want in ((together.labels, whole.labels), (together.values, whole.values)):
        assert (got is None) == (want is None)
        if got is not None:
            np.testing.assert_array_equal(dense(got), dense(want))
    np.testing.assert_allclose(
        sum(part.fitted_weight_sums() for part in encoded), whole.fitted_weight_sums()
    )


def test_entry_weights_of_pieces(rng):
    Y, weight = 1.0 * (rng.random((N, 3)) < 0.3), rng.uniform(size=(N, 3))
    whole = encode_y(Y, N, "auto", None, weight)
    halves = [encode_like(whole, Y[p], N // 2, weight[p]) for p in np.split(np.arange(N), 2)]
    np.testing.assert_array_equal(concatenated(halves).entry_weight, weight)


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("strings", ["a", "z"], r"only the classes \['a', 'b', 'c', 'd'\].*got 'z'"),
        ("strings", np.eye(4)[:2], "must have shape \\(n_samples,\\) like earlier rows"),
        ("multi-label", [0, 1], "must have shape \\(n_samples, 3\\) like earlier rows"),
        ("multi-label", np.full((2, 3), 0.4), "0, 1 and"),
        ("soft", np.ones((2, 3)), "probabilities"),
        ("soft", np.ones((2, 4)) / 4, "must have shape"),
    ],
)
def test_what_is_not_alike(name, y, message, rng):
    make, loss, class_weight = CASES[name]
    known = encode_y(make(rng), N, loss, class_weight)
    with pytest.raises(ValueError, match=message):
        encode_like(known, y, 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1, -1]], "must hold 0, 1 and"),
        ([[0.5, 0.2, 0.2]], "sums to 0.9"),
        ([[0.5, np.nan, 0.5]], "must hold 0, 1 and"),
    ],
)
def test_bad_rows_are_in_the_digest(rows, message, rng):
    y = np.concatenate([np.eye(3)[rng.integers(3, size=N)], rows])
    small, _ = digest(y, N + 1)
    for rows_of_y in (y, small):
        with pytest.raises(ValueError, match=message):
            encode_y(rows_of_y, rows_of_y.shape[0], "auto")


@pytest.mark.parametrize("n_samples", [6, 600])
def test_labels_that_cannot_be_sorted(n_samples):
    y = np.array([0, "a", 1] * (n_samples // 3), dtype=object)
    with pytest.raises(ValueError, match="'y' must hold labels of one kind"):
        encode_y(y, n_samples, "auto")
