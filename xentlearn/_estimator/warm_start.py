"""Coefficients of the last fit as the start of the next one."""

import numpy as np

from .._utils.messages import listed
from .._utils.numerics import CERTAIN


def warm_start(estimator, y, n_features):
    """(coef, intercept) of a fitted estimator in float64, to start from.

    Parameters
    ----------
    estimator : SoftmaxClassifier
    y : EncodedY
        Of the fit to come.
    n_features : int

    Raises
    ------
    ValueError
        If the last fit had other classes or features, or another kind of loss.
    """
    advice = "Set warm_start=False, or fit a clone."
    if not np.array_equal(estimator.classes_, y.classes):
        last, now = list(estimator.classes_), list(y.classes)
        gone = [label for label in last if label not in set(now)]
        new = [label for label in now if label not in set(last)]
        sides = [f"the last fit had {listed(gone)}, which y does not have"] if gone else []
        if new:
            sides.append(
                f"y has {listed(new)}, which {'it' if gone else 'the last fit'} did not have"
            )
        raise ValueError(
            f"'warm_start' continues a fit with the same classes; {', and '.join(sides)}. {advice}"
        )
    coef, intercept = estimator._model()
    if coef.shape != (y.n_outputs, n_features):
        raise ValueError(
            "'warm_start' continues a fit with the same features and kind of loss; the last "
            f"fit has coefficients of shape {coef.shape}, this one needs "
            f"{(y.n_outputs, n_features)}. {advice}"
        )
    return np.array(coef, np.float64), finite_intercept(intercept)


def finite_intercept(intercept):
    """Intercepts in float64, 0 for those that stand for a constant: solvers need a finite start."""
    intercept = np.array(intercept, dtype=np.float64)
    # CERTAIN or inf; in float32 the former is a little less
    intercept[np.abs(intercept) > CERTAIN / 2] = 0.0
    return intercept
