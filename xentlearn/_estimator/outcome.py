"""Warnings about the outcome of a fit."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._plan.settings import STOCHASTIC
from .._solvers.contract import MESSAGES, StopReason
from .._utils.messages import warn

WORDS = {
    **MESSAGES,
    StopReason.CONSTANT: "there was nothing to fit",
    StopReason.EARLY_STOPPING: "the validation loss stopped falling",
    StopReason.SEPARABLE: "the objective goes to 0 without a penalty",
}


def in_words(training):
    """Return why a fit has stopped, in words."""
    if training.solver in STOCHASTIC and training.reason == StopReason.ESTIMATED:
        return "the objective stopped falling"
    return WORDS[training.reason]


def warn_of_outcome(training, tol, epochs_asked):
    """Warn if a solver did not converge, or if storing the coefficients lost too many digits.

    Parameters
    ----------
    training : Training
    tol : float
        The classifier's tolerance.
    epochs_asked : bool
        Whether ``max_iter`` is the number of epochs that was asked for, rather than a limit.
    """
    is_stochastic = training.solver in STOCHASTIC
    as_asked = is_stochastic and epochs_asked and training.reason == StopReason.MAX_ITER
    dtype = training.coef.dtype
    if training.separable:
        warn(
            "The classes are separable by features that are not penalised (C=inf, or a "
            "'penalty_factor' of 0): there is no minimum, as the objective goes to 0 while their "
            "coefficients grow without bound. Choose a finite 'C' and factors > 0, or bounds; "
            f"{training.solver} stopped at objective {training.objective:.2g}.",
            ConvergenceWarning,
        )
    elif training.failed and not as_asked:
        result = max(training.failed, key=lambda result: result.gap)
        if is_stochastic:
            found = f"epochs ({result.message})."
            advice = (
                "Increase 'max_iter' or 'tol', change the solver's 'learning_rate', or use "
                "solver='auto', which has no learning rate."
            )
        else:
            found = (
                f"iterations ({result.message}): estimated relative optimality gap "
                f"{result.gap:.2g}, wanted {tol:.2g}."
            )
            advice = "Increase 'max_iter' or 'tol', or lower 'C'."
            if result.reason in (StopReason.ROUNDING, StopReason.LINE_SEARCH):
                advice = "Increase 'tol', or lower 'C'."  # more iterations would be in vain
                if dtype == np.float32:
                    advice = "Pass X as float64, increase 'tol', or lower 'C'."
        message = f"{training.solver} stopped after {result.n_iter} {found} {advice}"
        warn(message, ConvergenceWarning)
    if training.lost > 0:
        warn(
            f"Storing the coefficients in {dtype} changed the objective by {training.lost:.2g} of "
            f"its value, which is more than tol={tol:.2g}: logits are small sums of huge terms, so "
            f"that {dtype} has too few digits for them. Standardise the features before fit and "
            "predict (sklearn.preprocessing.StandardScaler), or lower 'C'.",
            ConvergenceWarning,
        )
