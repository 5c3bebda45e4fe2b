"""Solvers by name, and their default settings."""

from .._plan import settings as defaults
from .dual_ascent import dual_ascent
from .lbfgs import lbfgs
from .newton import newton_cg, newton_cholesky
from .settings import SGD, Adam
from .stochastic import stochastic

# "dual-ascent" is chosen by "auto" where it is suitable, and users cannot ask for it.
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
