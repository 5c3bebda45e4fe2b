"""Fixtures shared by all tests."""

import os

import numpy as np
import pytest


@pytest.fixture(scope="session")
def seed():
    """Seed of all random test data; set XENTLEARN_TEST_SEED to sweep it."""
    return int(os.environ.get("XENTLEARN_TEST_SEED", "0"))


@pytest.fixture
def rng(seed):
    """A fresh random generator for every test."""
    return np.random.default_rng(seed)
