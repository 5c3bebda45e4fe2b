"""Fixtures shared by all tests, and how many threads tests take."""

import os
from dataclasses import replace

# Workers of pytest-xdist share the cores. Threads that spin while they wait for a core cost half of
# the time of scikit-learn's fits (BLAS) and a sixth of the time of ours (OpenMP). Libraries read
# these variables when they are loaded, so that this comes before the imports. What the environment
# says goes first, and processes that tests start inherit both.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    n_threads = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(max(1, n_threads)))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest

import xentlearn
from xentlearn import _loss
from xentlearn._plan import plan


@pytest.fixture(scope="session")
def seed():
    """Seed of all random test data; set XENTLEARN_TEST_SEED to sweep it."""
    return int(os.environ.get("XENTLEARN_TEST_SEED", "0"))


@pytest.fixture
def rng(seed):
    """A fresh random generator for every test."""
    return np.random.default_rng(seed)


@pytest.fixture(params=_loss.available_cpu_targets())
def target(request):
    """Run on this CPU target, then go back to the one that was in use."""
    before = _loss.current_cpu_target()
    xentlearn.use_cpu_target(request.param)
    assert _loss.current_cpu_target() == request.param
    yield request.param
    xentlearn.use_cpu_target(before)


@pytest.fixture
def set_rules(monkeypatch):
    """Function that changes rules of the plan, to take with small data the ways of large data."""

    def set_rules(**changes):
        monkeypatch.setattr(plan, "RULES", replace(plan.RULES, **changes))

    return set_rules


def pytest_collection_modifyitems(items):
    """Mark the tests that choose their CPU targets themselves."""
    for item in items:
        if {"target", "each_target"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("chooses_target")
