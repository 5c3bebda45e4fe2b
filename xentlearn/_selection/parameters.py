"""What the parameters of a SoftmaxClassifierCV may be, and what they amount to."""

import difflib
import inspect
import numbers
from collections.abc import Iterator, Set

import numpy as np
from sklearn.metrics import check_scoring, get_scorer_names

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

MANY = list, tuple, set, dict  # what 'scoring' is if there are several scores

# Parameters of SoftmaxClassifier that the search has as well, under the same names.
SHARED = [
    name
    for name in inspect.signature(SoftmaxClassifier).parameters
    if name not in ("loss", "C", "l1_ratio")
]


def checked_Cs(Cs, may_be_number=True):
    """Return ``Cs`` as a number of values, or as an array of shape (n_Cs,), float64."""
    rule = "'Cs' must be a list or array of values > 0 (inf: no penalty)"
    if may_be_number:
        rule = f"{rule}, or their number, an integer >= 1"
        if isinstance(Cs, numbers.Integral) and not isinstance(Cs, (bool, np.bool_)) and Cs >= 1:
            return int(Cs)
    return _values(Cs, "Cs", rule, lambda values: values > 0)


def checked_l1_ratios(l1_ratios):
    """Return ``l1_ratios`` as an array of shape (n_l1_ratios,), float64."""
    rule = "'l1_ratios' must be a list or array of values in [0, 1], such as (0.0, 0.5, 1.0)"
    return _values(l1_ratios, "l1_ratios", rule, lambda values: (values >= 0) & (values <= 1))


def _values(given, name, rule, holds):
    """Return different numbers that a rule holds of, as an array of shape (n,), float64."""
    try:
        values = np.array(given, dtype=np.float64)
        is_list = values.ndim == 1 and values.size > 0 and not isinstance(given, (str, bytes))
    except (TypeError, ValueError, OverflowError):  # the last one: of an integer
        is_list = False
    if not is_list:
        way_out = ""
        is_number = isinstance(given, numbers.Real) and not isinstance(given, (bool, np.bool_))
        if is_number and holds(np.array([given], dtype=np.float64)).all():
            way_out = f"; pass {name}=[{given}] for that value alone"
        elif isinstance(given, (Set, Iterator)):
            way_out = f"; pass {name}=list(...) of it"
        raise ValueError(f"{rule}; got {shown(given)}{way_out}.")
    wrong = ~holds(values)  # also of nan
    if wrong.any():
        raise ValueError(f"{rule}; got {shown(values[wrong][0])} among them.")
    found, counts = np.unique(values, return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"The values of '{name}' must be different, got {shown(found[counts > 1][0])} "
            f"{counts.max()} times; leave the repetitions out."
        )
    return values


def checked_losses(losses, loss):
    """Return the losses to try: those of ``losses``, or ``loss`` alone."""
    if losses is None:
        resolve_loss(loss)
        return [loss]
    rule = "'losses' must be None or a list of losses"
    if isinstance(losses, (str, LossSetting)):
        raise ValueError(f"{rule}, got {losses!r}; put it into a list, or pass it as 'loss'.")
    if not isinstance(losses, (list, tuple)):
        raise ValueError(f"{rule}, got {losses!r}.")
    if not losses:
        raise ValueError(f"{rule}, got an empty one; None tries 'loss' alone.")
    for one in losses:
        try:
            resolve_loss(one)
        except ValueError as error:
            raise ValueError(f"In 'losses': {error}") from None
    return list(losses)


def checked_scoring(estimator):
    """Return the scorer, or None for minus the mean loss; check ``refit`` and what needs a choice.

    ``estimator`` is the SoftmaxClassifierCV, whose ``scoring`` and ``refit`` are used.
    """
    scoring, refit = estimator.scoring, estimator.refit
    is_flag, is_several = isinstance(refit, (bool, np.bool_)), isinstance(scoring, MANY)
    given = scoring.values() if isinstance(scoring, dict) else scoring if is_several else [scoring]
    for one in given or [scoring]:
        is_name = isinstance(one, str)
        if one is scoring is None or callable(one) or (is_name and one in get_scorer_names()):
            continue
        near = difflib.get_close_matches(one, get_scorer_names(), 1) if is_name else []
        raise ValueError(
            "'scoring' must be None, a name of sklearn.metrics.get_scorer_names(), a scorer, or a "
            f"list or dict of several; got {one!r}."
            + (f" Did you mean {near[0]!r}?" if near else "")
        )
    if is_several:
        names = sorted(scoring) if isinstance(scoring, set) else list(scoring)
        is_off = is_flag and not refit
        if not (is_off or (isinstance(refit, str) and refit in names)):
            raise ValueError(
                f"'refit' must be the name of the score that chooses, one of {names}, or False if "
                f"there are several scores; got {refit!r}."
            )
    elif not (is_flag or (callable(scoring) and isinstance(refit, str))):
        raise ValueError(
            f"'refit' must be True or False with a single score, got {refit!r}; names are for "
            "several scores, in a list or dict 'scoring' or a dict that a function returns."
        )
    if scoring is None:
        return None
    return check_scoring(estimator, scoring=scoring)


def chosen_score(scores, refit):
    """Return the score that chooses, of one score or a dict of them; None if nothing is chosen."""
    if not isinstance(scores, dict):
        if isinstance(refit, str):
            raise ValueError(
                f"'refit' must be True or False with a single score, got {refit!r}; names of "
                "scores are for several in 'scoring'."
            )
        return scores
    if not refit:
        return None
    if refit not in scores:
        raise ValueError(
            f"'refit' must be the name of the score that chooses, one of {list(scores)}, or False "
            f"if there are several scores; got {refit!r}."
        )
    return scores[refit]


def require_choice(score, store_probabilities):
    """Raise the ValueError of ``store_probabilities`` if no score chooses: ``score`` is None."""
    if score is None and store_probabilities:
        raise ValueError(
            "'store_probabilities' needs a choice, which refit=False does not make of several "
            "scores; set 'refit' to the name of one, or 'store_probabilities' to False."
        )


def check_jobs(n_jobs):
    """Raise the ValueError of an ``n_jobs`` that joblib does not take."""
    is_integer = isinstance(n_jobs, numbers.Integral) and not isinstance(n_jobs, (bool, np.bool_))
    if n_jobs is not None and not (is_integer and n_jobs != 0):
        raise ValueError(
            f"'n_jobs' must be None or an integer other than 0 (-1: all cores), got {n_jobs!r}."
        )
