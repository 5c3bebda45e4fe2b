"""What R's glmnet was asked to fit, and what it found: ``glmnet/reference.npz``.

``glmnet/make_reference.py`` made that file with the call in ``glmnet/fit.R``, in short::

    glmnet(x, as.factor(y), family, alpha=l1_ratio, lambda=..., penalty.factor, lower.limits,
           type.multinomial, intercept, standardize=FALSE, thresh=1e-14, maxit=1e7)

It minimises (1/n) sum_i loss_i + lambda sum_j f_j ((1-alpha)/2 ||W_j||^2 + alpha ||W_j||_1), with
factors f that it scales to a mean of 1: lambda = mean(v) / (C n). Grouped fits have a smaller
``thresh``, because they converge slowly; the file has that of each.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine

FILE = Path(__file__).parent / "glmnet" / "reference.npz"


@dataclass(frozen=True)
class Case:
    """A call of glmnet, in the terms of ``SoftmaxClassifier``."""

    data: str
    C: float
    l1_ratio: float
    grouped: bool = False
    factors: bool = False
    lower: float = -np.inf
    fit_intercept: bool = True

    @property
    def name(self):
        """As in the file."""
        parts = [self.data, f"{self.l1_ratio:g}"]
        parts += ["grouped"] * self.grouped + ["factors"] * self.factors
        parts += ["bounded"] * (self.lower == 0) + ["through_0"] * (not self.fit_intercept)
        return "_".join(parts)

    @property
    def factor(self):
        """Penalty factors: one in seven 0, one in seven inf, the others up to 2.

        None is 0 where single features nearly separate classes: glmnet does not end then.
        """
        d = data_of(self.data)[0].shape[1] if not self.data.endswith("_example") else 30
        if not self.factors:
            return np.ones(d)
        factor = 0.25 * (1 + np.arange(d) * 5 % 8)
        factor[2::7], factor[3::7] = np.inf, 0.25 * (self.data in ("digits", "iris", "sparse"))
        return factor

    @property
    def parameters(self):
        """Of ``SoftmaxClassifier``, and of ``SparseObjective``."""
        return {
            "C": self.C,
            "l1_ratio": self.l1_ratio,
            "grouped": self.grouped,
            "penalty_factor": self.factor if self.factors else None,
            "coef_bounds": (0.0, np.inf) if self.lower == 0 else None,
            "fit_intercept": self.fit_intercept,
        }


def _cases():
    for data, C in {
        "multinomial_example": 0.2,
        "iris": 1.0,
        "wine": 1.0,
        "digits": 0.5,
        "sparse": 2.0,
        "binomial_example": 1.0,
    }.items():
        for l1_ratio in (0.5, 1.0):
            yield Case(data, C, l1_ratio)
            yield Case(data, C, l1_ratio, factors=True)
            yield Case(data, C, l1_ratio, lower=0.0)
            if data != "binomial_example":
                yield Case(data, C, l1_ratio, grouped=True)
                yield Case(data, C, l1_ratio, grouped=True, factors=True)
        yield Case(data, C, 0.5, fit_intercept=False)
    # of several classes, glmnet does not end where neither penalty nor bounds hold a shift
    yield Case("binomial_example", 1.0, 1.0, factors=True, lower=0.0)


CASES = list(_cases())


@lru_cache
def data_of(name):
    """(X, y), X dense."""
    if name == "sparse":
        return _sparse()
    if name == "digits":
        X, y = load_digits(return_X_y=True)
        return X / 16, y
    if name in ("iris", "wine"):
        return {"iris": load_iris, "wine": load_wine}[name](return_X_y=True)
    with np.load(FILE) as file:
        return file[f"{name}_X"], file[f"{name}_y"].astype(int)


def _sparse():
    """Counts of 40 words in 240 texts of 4 classes, by arithmetic alone: nothing can change it."""
    i, j = np.indices((240, 40))
    noise = (i * 7919 + j * 104729 + (i * j) % 97 * 1299709) % 100003 / 100003
    y = np.arange(240) * 37 % 101 % 4
    often = np.where(j % 4 == y[:, np.newaxis], 0.22, 0.06) * (1 + (j < 12))
    return 1.0 * sum(noise < often**count for count in (1, 2, 3)), y


@lru_cache
def found(name):
    """(coef, intercept) as a classifier stores them."""
    with np.load(FILE) as file:
        return file[name][:, 1:], file[name][:, 0]
