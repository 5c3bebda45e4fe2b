"""Pictures are drawn into memory, and closed after each test."""

import matplotlib
import pytest


@pytest.fixture(autouse=True)
def in_memory():
    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    matplotlib.pyplot.close("all")
    matplotlib.use(before)
