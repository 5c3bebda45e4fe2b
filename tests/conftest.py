"""Fixtures shared by all tests."""

import os
from dataclasses import replace

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
