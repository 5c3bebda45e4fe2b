"""Data that several test modules share: rows of hard logits with their targets, a small X and y."""

from functools import lru_cache

import numpy as np

import reference as ref

# --- Rows of logits -------------------------------------------------------------------------------


def signed_powers(rng, low, high, size):
    """Numbers of both signs with magnitudes from 10**low to 10**high, evenly on a log scale."""
    return rng.choice([-1.0, 1.0], size) * 10 ** rng.uniform(low, high, size)


def soft_rows(rng, n, n_classes, dtype):
    """Target probabilities that sum to 1 up to rounding, many tiny and some zero."""
    rows = rng.dirichlet(np.full(n_classes, 0.3), size=n)
    rows[:, 1:][rng.random((n, n_classes - 1)) < 0.2] = 0.0
    return (rows / rows.sum(axis=1, keepdims=True)).astype(dtype)


@lru_cache(maxsize=2)
def softmax_data(n_classes, dtype, seed):
    """Rows of logits of magnitude up to 1e4 of many kinds, and their softmax to 50 digits."""
    rng = np.random.default_rng([seed, n_classes])
    per_kind = 4 if n_classes < 100 else 2
    largest = 80 if dtype is np.float32 else 700  # exp(-largest) is still a normal number
    kinds = []
    for i in range(per_kind):
        kinds.append(rng.normal(size=n_classes) * 10.0 ** rng.integers(-3, 4))  # one scale
        kinds.append(signed_powers(rng, -4, 4, n_classes))  # all scales in one row
        kinds.append(np.full(n_classes, [0.0, 9999.5, -1e4, 0.1][i]))  # equal
        dominant = rng.normal(size=n_classes)
        dominant[rng.integers(n_classes)] += [20, 100, 40, 9990][i]
        kinds.append(dominant)
        kinds.append(9990 + rng.uniform(0, 10, n_classes))  # far from 0, close to each other
        kinds.append(rng.uniform(0, 10, n_classes) - 9999)
        # small logits, whose differences to the one large logit are rounded
        unequal = signed_powers(rng, -6, -1, n_classes)
        unequal[rng.integers(n_classes)] = rng.choice([-1.0, 1.0]) * rng.uniform(15, largest)
        kinds.append(unequal)
        masked = rng.normal(size=n_classes) * 5
        masked[1:][rng.random(n_classes - 1) < 0.4] = -np.inf
        kinds.append(masked)
    logits = np.clip(np.array(kinds), -np.inf, 1e4).astype(dtype)
    return logits, [ref.SoftmaxRow(row) for row in logits]


def labels_of(logits, rng):
    """Class indices: the largest logit in half of the rows, any class in the others."""
    n, n_classes = logits.shape
    any_class = rng.integers(n_classes, size=n)
    return np.where(rng.random(n) < 0.5, logits.argmax(axis=1), any_class)


def soft_targets_of(logits, rng):
    """Soft rows; half of them have no mass on logits of -inf, and so a finite loss."""
    n, n_classes = logits.shape
    targets = soft_rows(rng, n, n_classes, np.float64)
    for row, z in zip(targets[::2], logits[::2], strict=True):
        row[z == -np.inf] = 0.0
        if row.sum() == 0:
            row[z.argmax()] = 1.0
    return (targets / targets.sum(axis=1, keepdims=True)).astype(logits.dtype)


def nearly_one_hot(labels, n_classes, rng):
    """Rows of which all but a share, of any size, is at the label."""
    share = 10.0 ** rng.uniform(-12, -1, (len(labels), 1))
    return (1 - share) * np.eye(n_classes)[labels] + share * rng.dirichlet(
        np.full(n_classes, 0.3), size=len(labels)
    )


@lru_cache(maxsize=2)
def binary_data(n_labels, dtype, seed):
    """Logits of magnitude up to 1e4, shape (n, n_labels), and the sigmoid of each to 50 digits."""
    rng = np.random.default_rng([seed, n_labels])
    n = 16 if n_labels < 100 else 2
    special = [0.0, -0.0, 1e-30, 17, 37, 40, 88, 90, 104, 709, 720, 746, 1e4]
    logits = signed_powers(rng, -4, 4, (n, n_labels))
    chosen = rng.random(logits.shape) < 0.5
    values = rng.choice(special, logits.shape) * rng.choice([-1.0, 1.0], logits.shape)
    logits = np.where(chosen, values, logits).astype(dtype)
    return logits, [[ref.BinaryLogit(z) for z in row] for row in logits]


# --- What a setting computes ----------------------------------------------------------------------


def everything(setting, y_true, logits, direction, sample_weight=None, n_threads=1):
    """All that a setting computes, by name."""
    options = {"sample_weight": sample_weight, "n_threads": n_threads}
    fused_loss, fused_gradient = setting.loss_gradient(y_true, logits, **options)
    return {
        "loss": setting.loss(y_true, logits, **options),
        "gradient": setting.gradient(y_true, logits, **options),
        "fused loss": fused_loss,
        "fused gradient": fused_gradient,
        "hessian_product": setting.hessian_product(y_true, logits, direction, **options),
        "hessian_diagonal": setting.hessian_diagonal(y_true, logits, **options),
        "proba": setting.predict_proba(logits, n_threads=n_threads),
        "log_proba": setting.predict_log_proba(logits, n_threads=n_threads),
    }


def assert_same_bits(got, want):
    """Raise AssertionError unless two results of `everything` are equal (nan equals nan)."""
    assert got.keys() == want.keys()
    for name in want:
        assert got[name].dtype == want[name].dtype, name
        np.testing.assert_array_equal(got[name], want[name], err_msg=name)


# --- Features of several scales with labels of three classes --------------------------------------

N, N_FEATURES, N_CLASSES = 130, 5, 3


def three_classes(rng, dtype=np.float64):
    """(X, y); the features have different scales and offsets."""
    X = rng.normal(size=(N, N_FEATURES)) * [1.0, 30.0, 0.01, 1.0, 2.0] + [0.0, 50.0, 3.0, -1.0, 0.0]
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(N_FEATURES, N_CLASSES))
    return X.astype(dtype), (z + rng.gumbel(size=z.shape)).argmax(axis=1)
