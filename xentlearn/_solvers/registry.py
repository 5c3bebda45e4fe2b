"""Solvers by name, and their settings."""

from dataclasses import replace

from .._plan import settings as defaults
from . import settings as public
from .dual_ascent import dual_ascent
from .lbfgs import lbfgs
from .newton import newton_cg, newton_cholesky
from .stochastic import stochastic

# "dual-ascent" suits some problems alone: "auto" may choose it, and it cannot be asked for.
SOLVERS = {
    "lbfgs": lbfgs,
    "newton-cg": newton_cg,
    "newton-cholesky": newton_cholesky,
    "dual-ascent": dual_ascent,
    "adam": stochastic,
    "sgd": stochastic,
}
