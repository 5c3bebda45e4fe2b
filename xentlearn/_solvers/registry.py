"""Solvers by name, and the settings that they run with by default."""

from .._plan import settings as defaults
from .dual_ascent import dual_ascent
from .lbfgs import lbfgs
from .newton import newton_cg, newton_cholesky
from .settings import SGD, Adam
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
SETTINGS = {
    "lbfgs": defaults.LBFGS(),
    "newton-cg": defaults.NewtonCG(),
    "newton-cholesky": defaults.NewtonCholesky(),
    "dual-ascent": defaults.DualAscent(),
    "adam": Adam(),
    "sgd": SGD(),
}
