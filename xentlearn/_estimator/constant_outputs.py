"""Outputs that have nothing to fit: classes without weight, labels that do not vary."""

import numpy as np

from .._utils.messages import listed, shown, warn
from .._utils.numerics import CERTAIN


def constant_outputs(y, mass):
    """Which outputs are fitted, and the intercepts of those that are constant instead.

    Parameters
    ----------
    y : EncodedY
    mass : ndarray of shape (n_outputs,) or (n_outputs, 2)
        ``y.mass()``: class weight sums, or those of the 0s and of the 1s of each output.

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
    seen = mass > 0
    # one-vs-rest: if every class has probability 0, their sum cannot be divided by
    all_zero = y.kind == "one_vs_rest" and (seen[:, 0] & ~seen[:, 1]).all()
    if all_zero or not (seen.any() or y.kind == "multilabel"):
        raise ValueError(
            f"A class must have a positive weight; of {listed(y.classes)} none has. Look at "
            "'class_weight', 'pos_weight' and 'sample_weight'."
        )
    constant = np.full(y.n_outputs, -np.inf)
    names = "Labels" if y.kind == "multilabel" else "Classes"
    if mass.ndim == 1:
        alone = np.flatnonzero(seen) if np.count_nonzero(seen) == 1 else None
        varies = seen if alone is None else np.zeros_like(seen)
        reasons = {"have no weight in the training data and get probability 0": ~seen}
        if alone is not None:
            # The softmax of one finite logit among logits of -inf is 1 whatever its value. A
            # binary part of a hybrid loss needs it large, but no loss takes inf.
            constant[alone] = 0.0 if y.loss.shift_invariant else CERTAIN
    else:
        varies = seen.all(axis=1)
        unanswered = ~seen.any(axis=1)
        constant[seen[:, 1]] = np.inf
        constant[unanswered] = 0.0
        alone = _class_alone(y, mass)
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
    else:
        for what, which in reasons.items():
            if which.any():
                warn(f"{names} {listed(y.classes[which])} {what}.", UserWarning)
    return np.flatnonzero(varies), constant


def _class_alone(y, mass):
    """Index (of shape (1,)) of the class that alone has weight, or None if there are several.

    ``mass`` is that of a binary loss: the weights of the 0s and of the 1s of each output.
    """
    if y.kind == "multilabel":
        return None
    weights = mass[0] if y.kind == "binary" else mass[:, 1]
    alone = np.flatnonzero(weights)
    without_others = y.kind == "binary" or mass[alone, 0].sum() == 0
    return alone if len(alone) == 1 and without_others else None
