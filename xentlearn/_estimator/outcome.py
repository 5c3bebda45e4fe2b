"""Warnings about how a fit ended."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._plan.plan import STOCHASTIC
from .._utils.messages import warn


def warn_of_outcome(training, tol):
    """Warn if a solver stopped early, or if the stored coefficients lost too many digits.

    Parameters
    ----------
    training : Training
    tol : float
        Of the classifier.
    """
    dtype = training.coef.dtype
    if training.separable:
        warn(
            "The classes are separable and nothing is penalised (C=inf): the objective goes to "
            f"0 as the coefficients grow without bound. {training.solver} stopped at objective "
            f"{training.objective:.2g}; choose a finite 'C' for a minimum that exists.",
            ConvergenceWarning,
        )
    elif training.failed:
        result = max(training.failed, key=lambda result: result.gap)
        if training.solver in STOCHASTIC:
            found = f"epochs ({result.message})."
            advice = (
                "change the solver's 'learning_rate', or use solver='auto', which has no learning "
                "rate."
            )
        else:
            found = (
                f"iterations ({result.message}): estimated relative optimality gap "
                f"{result.gap:.2g}, wanted {tol:.2g}."
            )
            advice = f"or lower 'C'{', or pass X as float64' if dtype == np.float32 else ''}."
        warn(
            f"{training.solver} stopped after {result.n_iter} {found} Increase 'max_iter' or "
            f"'tol', {advice}",
            ConvergenceWarning,
        )
    if training.lost > 0:
        warn(
            f"Storing the coefficients changed the objective by {training.lost:.2g} of itself, "
            f"which is more than tol={tol:.2g}: logits are small sums of huge terms, of "
            f"which {dtype} keeps too few digits. Subtract their means from the "
            "features before fit and predict (sklearn.preprocessing.StandardScaler), or lower "
            "'C'.",
            ConvergenceWarning,
        )
