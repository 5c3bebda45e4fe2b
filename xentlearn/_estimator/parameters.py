"""What the parameters of a classifier may be."""

import numbers
from math import inf

from .._losses.base import LossSetting
from .._solvers.settings import SolverSetting
from .._utils.parameters import FLAG, NON_NEGATIVE, POSITIVE_INTEGER, Rule, number_in

RULES = {
    "C": Rule("a number > 0 (inf: no penalty)", numbers.Real, 0, ends=(inf,)),
    "l1_ratio": number_in("[0, 1]"),
    "fit_intercept": FLAG,
    "max_iter": Rule("an integer >= 0", numbers.Integral, 0, ends=(0,)),
    "tol": NON_NEGATIVE,
    "warm_start": FLAG,
    "early_stopping": FLAG,
    "validation_fraction": number_in("(0, 1)"),
    "n_iter_no_change": POSITIVE_INTEGER,
}

# Parameters that may be settings: their class, and an example.
SETTINGS = {
    "loss": (LossSetting, "SparseCategoricalCrossentropy()"),
    "solver": (SolverSetting, "Adam()"),
}


def require_settings(estimator, params):
    """Raise the ValueError of ``loss__name`` or ``solver__name`` where there is no setting."""
    for parent, (kind, example) in SETTINGS.items():
        nested = [name for name in params if name.startswith(f"{parent}__")]
        value = params.get(parent, getattr(estimator, parent))
        if nested and not isinstance(value, kind):
            raise ValueError(
                f"{nested[0]!r} needs a {parent} setting, but {parent!r} is "
                f"{'the string ' if isinstance(value, str) else ''}{value!r}; pass a setting "
                f"object, for example {parent}={example}."
            )
