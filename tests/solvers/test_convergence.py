"""A fit ends at the minimum, by itself, on raw data: 40 kinds of it and random mixtures.

The minimum comes from Newton's method in float64 (``reference.minimum``), with a proof of how far
off it can be. Gaps are measured at the stored coefficients, in float64, by code of the tests.

Set XENTLEARN_SOAK to fit more random mixtures than the usual 15: ``XENTLEARN_SOAK=500 pytest
tests/solvers/test_convergence.py -k mixture``.
"""

import functools
import os
import warnings
from dataclasses import dataclass

import numpy as np
import pytest

from raw_data import SETS, RawData, random_mixture
from reference import TrainingObjective, minimum
from xentlearn import SoftmaxClassifier

DEFAULT_TOL = SoftmaxClassifier().tol
TIGHT_TOL = 1e-8
STRENGTHS = [1.0, 100.0]
N_MIXTURES = int(os.environ.get("XENTLEARN_SOAK", "15"))
EPS = np.finfo(np.float64).eps
# What a gap is relative to, where the minimum itself is smaller (the classifier's docstring).
LEAST_SCALE = 1e-6

# --- A task, its minimum, and how a fit ended -----------------------------------------------------


class Task:
    """Raw data and C, with the minimum of the objective."""

    def __init__(self, data, C):
        self.data, self.C = data, C

    @functools.cached_property
    def X64(self):
        return self.data.X.astype(np.float64)

    def objective(self):
        """Not kept: a dense copy of X."""
        data = self.data
        return TrainingObjective(data.X, data.targets, self.C, data.sample_weight, data.binary)

    def fit(self, X, **params):
        """(classifier, messages of all its warnings)."""
        clf = SoftmaxClassifier(C=self.C, **params)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            clf.fit(X, self.data.y, sample_weight=self.data.sample_weight)
        return clf, [f"{w.category.__name__}: {w.message}" for w in caught]

    @functools.cached_property
    def tight(self):
        return self.fit(self.X64, tol=TIGHT_TOL)

    @functools.cached_property
    def minimum(self):
        # from a fit, because the long way from 0 is most of the time; the error is proved anyway
        clf, _ = self.tight
        objective = self.objective()
        least = minimum(objective, (clf.coef_, clf.intercept_))
        scale = max(least.value, LEAST_SCALE * objective.at_zero)
        assert least.error <= 0.1 * TIGHT_TOL * scale, "the oracle has not found the minimum"
        return least


@dataclass
class Ending:
    """How a fit ended; ``str`` of it is what a failed assertion shows."""

    tol: float
    gap: float  # relative to what tol is relative to
    true: float  # relative to the minimum
    certified: float
    slack: float  # rounding of the two
    n_iter: int
    warnings: list

    @classmethod
    def of(cls, task, fitted):
        clf, messages = fitted
        objective, least = task.objective(), task.minimum
        value = objective.value(clf.coef_, clf.intercept_)
        excess = value - least.value
        return cls(
            clf.tol,
            excess / max(least.value, LEAST_SCALE * objective.at_zero),
            excess / least.value,
            clf.optimality_gap_,
            64 * EPS + least.error / least.value,
            int(clf.n_iter_[0]),
            messages,
        )

    def check(self):
        assert self.warnings == [], self
        assert self.gap <= self.tol, self
        self.check_certificate()

    def check_certificate(self):
        assert self.certified >= max(0.0, self.true - self.slack), self


@functools.lru_cache(maxsize=1)
def data_of(name):
    return SETS[name]()


@functools.cache
def task_of(name, C):
    return Task(data_of(name), C)


@functools.cache
def mixture(seed):
    return Task(*random_mixture(seed))


each_set = pytest.mark.parametrize("name", SETS)
each_strength = pytest.mark.parametrize("C", STRENGTHS)

# --- The fits -------------------------------------------------------------------------------------


@each_set
@each_strength
@pytest.mark.slow
def test_default_fit(name, C):
    task = task_of(name, C)
    Ending.of(task, task.fit(task.data.X)).check()


@each_set
@each_strength
def test_tight_fit(name, C):
    task = task_of(name, C)
    Ending.of(task, task.tight).check()


@pytest.mark.parametrize("seed", range(N_MIXTURES))
def test_default_fit_of_a_mixture(seed):
    task = mixture(seed)
    Ending.of(task, task.fit(task.data.X)).check()


@pytest.mark.parametrize("seed", range(N_MIXTURES))
def test_tight_fit_of_a_mixture(seed):
    task = mixture(seed)
    Ending.of(task, task.tight).check()


def test_a_minimum_of_almost_nothing_in_float32():
    """Rounded coefficients: the intercept's gradient is 1e-20, and not nothing beside 1e-10."""
    data = SETS["separable_by_one_large_feature"]()
    X = data.X.astype(np.float32)
    task = Task(RawData(X, data.y), 100.0)
    Ending.of(task, task.fit(X)).check()
