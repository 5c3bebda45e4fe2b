"""The penalty that a classifier's parameters ask for."""

import numpy as np

from .._objective.penalties import FeaturePenalty
from .._utils.messages import shown
from .._utils.validation import as_floating


def penalty_of(estimator, n_features, solver=None):
    """Return the penalty of a fit that asks for more than L2.

    Parameters
    ----------
    estimator : SoftmaxClassifier
        Its ``C``, ``l1_ratio``, ``penalty_factor``, ``grouped`` and ``coef_bounds`` are used, of
        which the rules of ``parameters.py`` have been checked.
    n_features : int
    solver : str or None, default=None
        Name of the solver that was asked for; None if that is "auto".

    Returns
    -------
    FeaturePenalty

    Raises
    ------
    ValueError
        If the factors or the bounds are not what they must be, or if the solver does not know them.
    """
    factor, bounds = estimator.penalty_factor, estimator.coef_bounds
    if solver is not None:
        raise ValueError(
            f"'solver' must be 'auto' with {_names(estimator)}, got {estimator.solver!r}. Other "
            "solvers know neither L1 penalties nor factors and bounds of features."
        )
    lower, upper = (-np.inf, np.inf) if bounds is None else _bounds(bounds, n_features)
    return FeaturePenalty(
        estimator.C,
        float(estimator.l1_ratio),
        1.0 if factor is None else _factor(factor, n_features),
        bool(estimator.grouped),
        lower,
        upper,
    )


def has_plain_penalty(estimator):
    """Return True if a classifier asks for L2 alone, as ``partial_fit`` needs.

    Raises
    ------
    AttributeError
        Otherwise: the method then does not exist.
    """
    names = _names(estimator)
    if names:
        raise AttributeError(
            f"partial_fit takes no {names}: steps on batches of rows know neither L1 penalties nor "
            "factors and bounds of features. Use fit, which takes X in blocks as well "
            "(xentlearn.blocks)."
        )
    return True


def _names(estimator):
    """Return the names of the parameters that ask for more than L2; "" if none does."""
    asked = {
        "l1_ratio": estimator.l1_ratio > 0,
        "penalty_factor": estimator.penalty_factor is not None,
        "coef_bounds": estimator.coef_bounds is not None,
    }
    return " and ".join(repr(name) for name, is_asked in asked.items() if is_asked)


def _factor(factor, n_features):
    """Return the factors as an array of shape (n_features,)."""
    factor = _by_feature(factor, "penalty_factor", n_features, numbers=False)
    wrong = np.flatnonzero(~(factor >= 0))
    if len(wrong):
        raise ValueError(
            "'penalty_factor' must be >= 0 (0: not penalised, inf: left out), got "
            f"{shown(factor[wrong[0]])} for feature {wrong[0]}."
        )
    return factor


def _bounds(bounds, n_features):
    """Return (lower, upper) as arrays of shape (n_features,)."""
    rule = (
        "'coef_bounds' must be a pair (lower, upper) of numbers or of arrays of shape "
        "(n_features,), with lower <= 0 <= upper"
    )
    try:
        lower, upper = bounds
    except (TypeError, ValueError):
        raise ValueError(f"{rule}, got {shown(bounds)}.") from None
    if lower is None or upper is None:
        raise ValueError(f"{rule}, got {shown(bounds)}. Use -inf or inf for no bound.")
    lower = _by_feature(lower, "coef_bounds", n_features)
    upper = _by_feature(upper, "coef_bounds", n_features)
    wrong = np.flatnonzero(~((lower <= 0) & (upper >= 0)))
    if len(wrong):
        pair = f"({shown(lower[wrong[0]])}, {shown(upper[wrong[0]])})"
        raise ValueError(
            f"{rule}, got {pair} for feature {wrong[0]}. Use -inf or inf for no bound."
        )
    return lower, upper


def _by_feature(values, name, n_features, numbers=True):
    """Return numbers by feature in float64; a single number is for all if ``numbers``."""
    rule = f"{name!r} must have shape ({n_features},), one number per feature of X"
    if np.ndim(values) == 0:
        if not numbers:
            raise ValueError(f"{rule}, got {shown(values)}; to penalise all more, lower 'C'.")
        return np.full(n_features, as_floating([values], name)[0].astype(np.float64)[0])
    array = as_floating(values, name)[0].astype(np.float64)
    if array.shape != (n_features,):
        raise ValueError(f"{rule}, got an array of shape {array.shape}.")
    return array
