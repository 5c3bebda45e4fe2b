"""Solvers by name, and the settings that they run with."""

from dataclasses import replace

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
DEFAULTS = {
    "lbfgs": defaults.LBFGS(),
    "newton-cg": defaults.NewtonCG(),
    "newton-cholesky": defaults.NewtonCholesky(),
    "dual-ascent": defaults.DualAscent(),
    "adam": Adam(),
    "sgd": SGD(),
}


def solver_settings(name, setting):
    """What a solver runs with.

    Parameters
    ----------
    name : str
    setting : LBFGS, NewtonCG, NewtonCholesky, Adam, SGD or None
        What the user has set (``settings.py``), if anything.

    Returns
    -------
    object
        Of ``_plan/settings.py``; of stochastic solvers the setting itself.
    """
    known = DEFAULTS[name]
    if setting is None or setting.name != name:
        return known
    if name == "lbfgs":
        return replace(known, history=setting.history_size)
    if name == "newton-cg":
        return replace(known, most_products=setting.max_cg_iter)
    return known if name == "newton-cholesky" else setting
