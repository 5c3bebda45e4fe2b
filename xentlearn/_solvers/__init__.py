"""Solvers by name. Each minimises an objective (``_base.py``) and knows nothing of its data."""

from .contract import Result
from .dual_ascent import dual_ascent
from .lbfgs import lbfgs
from .newton import newton_cg, newton_cholesky
from .settings import resolve_solver
from .stochastic import StochasticDescent, stochastic

SOLVERS = {"lbfgs": lbfgs, "newton-cg": newton_cg, "newton-cholesky": newton_cholesky}
# What "auto" may choose: dual-ascent suits some problems alone, and cannot be asked for
AUTO_SOLVERS = {**SOLVERS, "dual-ascent": dual_ascent}
STOCHASTIC_SOLVERS = {"adam": stochastic, "sgd": stochastic}

__all__ = [
    "AUTO_SOLVERS",
    "SOLVERS",
    "STOCHASTIC_SOLVERS",
    "Result",
    "StochasticDescent",
    "resolve_solver",
]
