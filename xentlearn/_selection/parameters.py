"""What the parameters of a SoftmaxClassifierCV may be, and what they amount to."""

import inspect
import numbers

import numpy as np
from sklearn.metrics import check_scoring

from .._data.targets import resolve_loss
from .._estimator.classifier import SoftmaxClassifier
from .._estimator.parameters import ADVICE
from .._losses.base import LossSetting
from .._utils.arguments import advice_table
from .._utils.messages import shown
from .._utils.parameters import FLAG, Rule

RULES = {
    "select": Rule("'best' or '1se'", names=("best", "1se")),
    "store_paths": FLAG,
    "store_probabilities": FLAG,
}

CV_ADVICE = {
    **ADVICE,
    **advice_table(
        ("C", "The values of C to try are 'Cs'; the one that was chosen is the attribute 'C_'."),
        ("l1_ratio", "The values to try are 'l1_ratios', such as l1_ratios=(0.5,)."),
        (
            "use_legacy_attributes",
            "Leave it out: the attributes are those of use_legacy_attributes=False, with an axis "
            "of losses after that of the folds.",
        ),
        ("param_grid", "The grid is made of 'Cs', 'l1_ratios' and 'losses'."),
        ("groups", "Groups are an argument of fit, with metadata routing."),
        ("store_cv_results", "It is called 'store_paths' and 'store_probabilities' here."),
    ),
}
for _name in ("n_jobs", "Cs", "cv", "scoring"):  # it has these
    CV_ADVICE.pop(_name)

# Parameters of SoftmaxClassifier that the search has as well, under the same names.
SHARED = [
    name
    for name in inspect.signature(SoftmaxClassifier).parameters
    if name not in ("loss", "C", "l1_ratio")
]


def checked_Cs(Cs, may_be_number=True):
    """Return ``Cs`` as a number of values, or as an array of shape (n_Cs,), float64."""
    rule = "'Cs' must be values > 0 (inf: no penalty)"
    if may_be_number:
        rule = "'Cs' must be a number of values >= 1 or values > 0 (inf: no penalty)"
    if may_be_number and isinstance(Cs, numbers.Integral) and not isinstance(Cs, (bool, np.bool_)):
        if Cs >= 1:
            return int(Cs)
        raise ValueError(f"{rule}, got {Cs}.")
    values = _numbers(Cs, rule)
    if not (values > 0).all():
        raise ValueError(f"{rule}, got {shown(values[~(values > 0)][0])}.")
    _require_different(values, "Cs")
    return values


def checked_l1_ratios(l1_ratios):
    """Return ``l1_ratios`` as an array of shape (n_l1_ratios,), float64."""
    rule = "'l1_ratios' must be values in [0, 1], such as (0.0, 0.5, 1.0)"
    values = _numbers(l1_ratios, rule)
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        raise ValueError(f"{rule}, got {shown(values[outside][0])}.")
    _require_different(values, "l1_ratios")
    return values


def checked_losses(losses, loss):
    """Return the losses to try: those of ``losses``, or ``loss`` alone."""
    if losses is None:
        resolve_loss(loss)
        return [loss]
    rule = "'losses' must be None or a list of losses"
    if isinstance(losses, (str, LossSetting)) or not np.iterable(losses):
        raise ValueError(f"{rule}, got {losses!r}; put it into a list, or pass it as 'loss'.")
    losses = list(losses)
    if not losses:
        raise ValueError(f"{rule}, got an empty one; None tries 'loss' alone.")
    for one in losses:
        resolve_loss(one)
    return losses


def checked_scoring(estimator):
    """Return (scorer or None, name of the score that chooses or None).

    ``estimator`` is the SoftmaxClassifierCV, whose ``scoring`` and ``refit`` are used. No scorer
    means minus the mean loss; no name that there is a single score, or that nothing is chosen.
    """
    scoring, refit = estimator.scoring, estimator.refit
    if scoring is None:
        if not isinstance(refit, (bool, np.bool_)):
            raise ValueError(
                f"'refit' must be True or False with a single score, got {refit!r}; names of "
                "scores are for several in 'scoring'."
            )
        return None, None
    scorer = check_scoring(estimator, scoring=scoring)
    if isinstance(scoring, str) or callable(scoring):
        if isinstance(refit, str) and isinstance(scoring, str):
            raise ValueError(
                f"'refit' must be True or False with a single score, got {refit!r}; names of "
                "scores are for several in 'scoring'."
            )
        return scorer, refit if isinstance(refit, str) else None
    names = list(scoring)
    if refit is not False and refit not in names:
        raise ValueError(
            f"'refit' must be the name of the score that chooses, one of {names}, or False if "
            f"there are several scores; got {refit!r}."
        )
    return scorer, refit or None


def _numbers(values, rule):
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{rule}, got {shown(values)}.") from None
    if isinstance(values, (str, bytes)) or array.ndim != 1 or array.size == 0:
        raise ValueError(f"{rule}, got {shown(values)}; pass them as a list.")
    if np.isnan(array).any():
        raise ValueError(f"{rule}, got nan.")
    return array


def _require_different(values, name):
    found, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"'{name}' must be different values, got {shown(found[counts > 1][0])} "
            f"{counts.max()} times; leave the repetitions out."
        )
