"""Every loss times every kind of target: the registry that tests and documentation go by.

A cell says how y is taken under a loss, or that it is refused. ``objective`` writes down what a fit
minimises, in plain NumPy and without a word from the library; it takes complex coefficients, so
that its gradient can be had by complex steps, exact to the last digit.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse

from reference import training_objective
from xentlearn.losses import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    HybridLoss,
    PolyCrossentropy,
    SparseCategoricalCrossentropy,
    SymmetricCrossentropy,
)

LOSSES = {
    "SparseCategoricalCrossentropy": SparseCategoricalCrossentropy(label_smoothing=0.1),
    "CategoricalCrossentropy": CategoricalCrossentropy(label_smoothing=0.05),
    "CategoricalFocalCrossentropy": CategoricalFocalCrossentropy(gamma=1.5, alpha=0.8),
    "GeneralizedCrossentropy": GeneralizedCrossentropy(q=0.5),
    "SymmetricCrossentropy": SymmetricCrossentropy(alpha=0.5, beta=0.7),
    "PolyCrossentropy": PolyCrossentropy(epsilon=2.0),
    "BinaryCrossentropy": BinaryCrossentropy(label_smoothing=0.1, pos_weight=1.5),
    "BinaryFocalCrossentropy": BinaryFocalCrossentropy(gamma=1.5, alpha=0.4),
    "AsymmetricBinaryCrossentropy": AsymmetricBinaryCrossentropy(gamma_neg=2.0, gamma_pos=0.5),
    "HybridLoss, softmax first": HybridLoss(
        [("softmax", CategoricalCrossentropy()), ("binary", BinaryCrossentropy())], [1.0, 0.5]
    ),
    "HybridLoss, binary first": HybridLoss(
        [("binary", BinaryCrossentropy()), ("focal", BinaryFocalCrossentropy())], [0.5, 1.0]
    ),
}
SOFTMAX, TWO, ONE, REST, LABELS = (
    "softmax",
    "softmax of 2 logits",
    "1 logit",
    "one-vs-rest",
    "each label",
)
N, N_FEATURES, N_CLASSES = 60, 3, 3


@dataclass
class Target:
    """A kind of y.

    Attributes
    ----------
    make : callable
        ``make(rng, X)``: the arguments of ``fit`` beside X.
    taken : dict
        How a "softmax" and a "binary" loss take it; not there: refused.
    parameters : dict
        Of ``SoftmaxClassifier``.
    sparse_loss : bool
        Whether SparseCategoricalCrossentropy takes it: one label per row.
    """

    make: object
    taken: dict
    parameters: dict
    sparse_loss: bool = True


def _labels(rng, X, n_classes):
    z = X[:, :n_classes] + rng.gumbel(size=(len(X), n_classes))
    return np.array(["ant", "bee", "cat"])[z.argmax(axis=1)]


def _soft(rng, X):
    z = np.exp(X + rng.gumbel(size=X.shape))
    z[z < 0.2] = 0
    return z / z.sum(axis=1, keepdims=True)


def _indicator(rng, X):
    return (X + rng.logistic(size=X.shape) > 0).astype(float)


def _missing(rng, X):
    return np.where(rng.random(X.shape) < 0.2, np.nan, _indicator(rng, X))


TARGETS = {
    "labels, 2 classes": Target(
        lambda rng, X: {"y": _labels(rng, X, 2)}, {"softmax": TWO, "binary": ONE}, {}
    ),
    "labels, 3 classes": Target(
        lambda rng, X: {"y": _labels(rng, X, 3)}, {"softmax": SOFTMAX, "binary": REST}, {}
    ),
    "labels, row weights": Target(
        lambda rng, X: {"y": _labels(rng, X, 3), "sample_weight": rng.integers(3, size=len(X))},
        {"softmax": SOFTMAX, "binary": REST},
        {},
    ),
    "labels, class weights": Target(
        lambda rng, X: {"y": _labels(rng, X, 3)},
        {"softmax": SOFTMAX, "binary": REST},
        {"class_weight": "balanced"},
    ),
    "one-hot or soft rows": Target(
        lambda rng, X: {"y": _soft(rng, X)}, {"softmax": SOFTMAX}, {}, sparse_loss=False
    ),
    "soft rows as CSR": Target(
        lambda rng, X: {"y": sparse.csr_matrix(_soft(rng, X))},
        {"softmax": SOFTMAX},
        {},
        sparse_loss=False,
    ),
    "indicator": Target(lambda rng, X: {"y": _indicator(rng, X)}, {"binary": LABELS}, {}),
    "indicator as CSR": Target(
        lambda rng, X: {"y": sparse.csr_matrix(_indicator(rng, X))}, {"binary": LABELS}, {}
    ),
    "indicator, missing (nan)": Target(
        lambda rng, X: {"y": _missing(rng, X)}, {"binary": LABELS}, {}
    ),
    "indicator, entry weights": Target(
        lambda rng, X: {"y": _indicator(rng, X), "sample_weight": rng.random(X.shape)},
        {"binary": LABELS},
        {},
    ),
}


def kind_of(name):
    """Whether a loss of LOSSES is a "softmax" or a "binary" one."""
    return "binary" if "Binary" in name or "binary first" in name else "softmax"


def taken(loss_name, target_name):
    """How y is taken, or None where it is refused."""
    target = TARGETS[target_name]
    if loss_name == "SparseCategoricalCrossentropy" and not target.sparse_loss:
        return None
    return target.taken.get(kind_of(loss_name))


def table():
    """The registry as a table in Markdown."""
    lines = ["| | " + " | ".join(TARGETS) + " |", "|---" * (len(TARGETS) + 1) + "|"]
    for loss in LOSSES:
        cells = [taken(loss, target) or "refused" for target in TARGETS]
        lines.append(f"| {loss} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


# --- What is minimised, written down --------------------------------------------------------------


def softmax_losses(setting, z, t):
    """Losses of rows of logits z with target rows t."""
    if isinstance(setting, HybridLoss):
        return hybrid_losses(setting, z, t)
    if isinstance(setting, BinaryCrossentropy):
        return binary_losses(setting, z, t)
    z = z - z.real.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    p = np.exp(log_p)
    smoothing = getattr(setting, "label_smoothing", 0.0)
    t = (1 - smoothing) * t + smoothing / t.shape[1]
    if isinstance(setting, CategoricalFocalCrossentropy):
        terms = -setting.alpha * t * (1 - p) ** setting.gamma * log_p
    elif isinstance(setting, GeneralizedCrossentropy):
        terms = t * (1 - np.exp(setting.q * log_p)) / setting.q
    elif isinstance(setting, SymmetricCrossentropy):
        log_t = np.full(t.shape, setting.log_zero)
        log_t[t > 0] = np.maximum(np.log(t[t > 0]), setting.log_zero)
        terms = -setting.alpha * t * log_p - setting.beta * p * log_t
    elif isinstance(setting, PolyCrossentropy):
        terms = t * (-log_p + setting.epsilon * (1 - p))
    else:
        terms = -t * log_p
    return terms.sum(axis=1)


def binary_entries(setting, z, y):
    """Losses of entries; y without nan."""
    p = 1 / (1 + np.exp(-z))
    if isinstance(setting, AsymmetricBinaryCrossentropy):
        shifted = np.where(p.real > setting.clip, p - setting.clip, 0)
        of_0 = -(shifted**setting.gamma_neg) * np.log(1 - shifted)
        return -y * (1 - p) ** setting.gamma_pos * np.log(p) + (1 - y) * of_0
    y = (1 - setting.label_smoothing) * y + setting.label_smoothing / 2
    if isinstance(setting, BinaryFocalCrossentropy):
        alpha = 1.0
        if setting.alpha is not None:
            alpha = setting.alpha * y + (1 - setting.alpha) * (1 - y)
        miss = y * (1 - p) + (1 - y) * p
        return -alpha * miss**setting.gamma * (y * np.log(p) + (1 - y) * np.log(1 - p))
    positive = 1.0 if setting.pos_weight is None else setting.pos_weight
    return -positive * y * np.log(p) - (1 - y) * np.log(1 - p)


def binary_losses(setting, z, y, weight=1.0):
    """Losses of rows: the sum over the entries that are there."""
    if isinstance(setting, HybridLoss):
        return hybrid_losses(setting, z, y, weight)
    present = ~np.isnan(y)
    entries = binary_entries(setting, z, np.where(present, y, 0.0))
    return np.where(present, weight * entries, 0).sum(axis=1)


def hybrid_losses(setting, z, t, weight=1.0):
    """Weighted sum of the losses of the parts."""
    total = 0.0
    for factor, (_, part) in zip(setting.weights, setting.losses, strict=True):
        if part._proba_kind == "softmax":
            total = total + factor * softmax_losses(part, z, t)
        else:
            total = total + factor * binary_losses(part, z, t, weight)
    return total


def rows_of_losses(setting, how, X, y, classes, sample_weight=None, class_weight=None):
    """(function from logits to losses of rows, weights of rows, S, number of outputs)."""
    y = y.toarray() if sparse.issparse(y) else y
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    entry_weight = 1.0
    if weight.ndim == 2:
        entry_weight, weight = weight, np.ones(len(X))
        total = entry_weight.mean(axis=1).sum()
    elif class_weight == "balanced":
        counts = np.array([weight[y == c].sum() for c in classes])
        by_class = counts.sum() / (len(classes) * counts)
        weight = weight * by_class[np.searchsorted(classes, y)]
        total = weight.sum()
    else:
        total = weight.sum()
    if y.ndim == 1:
        y = (y[:, np.newaxis] == classes).astype(float)
    if how == ONE:
        y = y[:, 1:]
    losses = softmax_losses if how in (SOFTMAX, TWO) else binary_losses
    options = (entry_weight,) if losses is binary_losses else ()
    return lambda z: losses(setting, z, y, *options), weight, total, y.shape[1]


def objective(setting, how, X, y, classes, sample_weight=None, class_weight=None, C=1.0):
    """(function of flat coefficients and intercepts, number of outputs)."""
    losses, weight, total, n_outputs = rows_of_losses(
        setting, how, X, y, classes, sample_weight, class_weight
    )
    shape = (X.shape[1] + 1, n_outputs)

    def value(vector):
        W = vector.reshape(shape)
        return training_objective(losses(X @ W[:-1] + W[-1]), W[:-1], C, weight, total)

    return value, n_outputs


def minimum(value, start):
    """Least value near ``start``, by BFGS with gradients from complex steps."""
    steps = 1e-30j * np.eye(len(start))

    def gradient(vector):
        return np.array([value(vector + step).imag for step in steps]) / 1e-30

    def real(vector):
        return value(vector.astype(complex)).real

    found = optimize.minimize(real, start, jac=gradient, method="BFGS", options={"gtol": 1e-8})
    return found.fun, found.x
