"""Solvers by name. Each minimises an objective (``_base.py``) and knows nothing of its data."""

from ._base import Result
from ._lbfgs import lbfgs

SOLVERS = {"lbfgs": lbfgs}

__all__ = ["SOLVERS", "Result"]
