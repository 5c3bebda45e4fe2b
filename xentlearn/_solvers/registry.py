"""Solvers by name, and their default settings."""

from .._plan import settings as defaults
from .._plan.composite_settings import ProximalNewton
from .dual_ascent import dual_ascent
from .lbfgs import lbfgs
from .newton import newton_cg, newton_cholesky
from .proximal_newton import proximal_newton
from .settings import SGD, Adam
from .stochastic import stochastic

# "dual-ascent" and "proximal-newton" are chosen by "auto", and users cannot ask for them.
SOLVERS = {
    "lbfgs": lbfgs,
    "newton-cg": newton_cg,
    "newton-cholesky": newton_cholesky,
    "dual-ascent": dual_ascent,
    "proximal-newton": proximal_newton,
    "adam": stochastic,
    "sgd": stochastic,
}
SETTINGS = {
    "lbfgs": defaults.LBFGS(),
    "newton-cg": defaults.NewtonCG(),
    "newton-cholesky": defaults.NewtonCholesky(),
    "dual-ascent": defaults.DualAscent(),
    "proximal-newton": ProximalNewton(),
    "adam": Adam(),
    "sgd": SGD(),
}
