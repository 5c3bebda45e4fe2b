"""Before a fit: outputs that have nothing to fit, and the last fit's coefficients as a start."""

import numpy as np

from .._utils.messages import listed, shown, warn
from .._utils.numerics import CERTAIN


def constant_outputs(y, sums):
    """Which outputs are fitted, and the intercepts of those that are constant instead.

    Parameters
    ----------
    y : EncodedY
    sums : ndarray of shape (n_outputs,) or (n_outputs, 2)
        ``y.fitted_weight_sums()``: class weight sums, or those of the 0s and of the 1s of each
        output.

    Returns
    -------
    outputs : ndarray of int
        Those that vary.
    constant : ndarray of shape (n_outputs,)
        Intercepts of the others.

    Raises
    ------
    ValueError
        If nothing has a positive weight.

    Warns
    -----
    UserWarning
        For outputs that are not fitted.
    """
    seen = sums > 0
    # one-vs-rest: if every class has probability 0, their sum cannot be divided by
    all_zero = y.kind == "one_vs_rest" and (seen[:, 0] & ~seen[:, 1]).all()
    if all_zero or not (seen.any() or y.kind == "multilabel"):
        raise ValueError(
            f"A class must have a positive weight; of {listed(y.classes)} none has. Look at "
            "'class_weight', 'pos_weight' and 'sample_weight'."
        )
    constant = np.full(y.n_outputs, -np.inf)
    alone = _class_alone(y, sums)
    if sums.ndim == 1:
        varies = seen & (alone is None)
        reasons = {"have no weight in the training data and get probability 0": ~seen}
        if alone is not None:
            # The softmax of one finite logit among logits of -inf is 1 whatever its value. A binary
            # part of a hybrid loss needs it large, but no loss takes inf.
            constant[alone] = 0.0 if y.loss._shift_invariant else CERTAIN
    else:
        varies, unanswered = seen.all(axis=1), ~seen.any(axis=1)
        constant[seen[:, 1]] = np.inf
        constant[unanswered] = 0.0
        reasons = {
            "do not vary in the training data and are predicted as the constant they are": (
                ~varies & ~unanswered
            ),
            "have no answers in the training data (all are missing or without weight) and get "
            "logit 0, probability 0.5": unanswered,
        }
    if alone is not None:
        warn(
            f"Class {shown(y.classes[alone][0])} alone has weight in the training data: it is "
            "predicted for all rows, with probability 1.",
            UserWarning,
        )
        reasons = {}
    names = "Labels" if y.kind == "multilabel" else "Classes"
    for what, which in reasons.items():
        if which.any():
            warn(f"{names} {listed(y.classes[which])} {what}.", UserWarning)
    return np.flatnonzero(varies), constant


def _class_alone(y, sums):
    """Index (of shape (1,)) of the class that alone has weight, or None if there are several."""
    if y.kind == "multilabel":
        return None
    weights = sums if sums.ndim == 1 else sums[:, 1]
    if y.kind == "binary":
        weights = sums[0]
    alone = np.flatnonzero(weights)
    has_others = y.kind == "one_vs_rest" and sums[alone, 0].any()
    return alone if len(alone) == 1 and not has_others else None


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
        differences = {
            "the last fit had {}, which y does not have": [x for x in last if x not in now],
            "y has {}, which the last fit did not have": [x for x in now if x not in last],
        }
        sides = [text.format(listed(labels)) for text, labels in differences.items() if labels]
        raise ValueError(
            f"'warm_start' continues a fit with the same classes; {', and '.join(sides)}. {advice}"
        )
    coef, intercept = estimator._dense_model()
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
