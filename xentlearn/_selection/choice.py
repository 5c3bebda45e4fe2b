"""Which of the settings of a search is chosen."""

import numpy as np


def standard_errors(scores):
    """Return the standard errors of mean scores over folds, the first axis; nan for one fold.

    For a dict of scores, return a dict of their standard errors by name.
    """
    if isinstance(scores, dict):
        return {name: standard_errors(values) for name, values in scores.items()}
    n_folds = len(scores)
    if n_folds < 2:
        return np.full(scores.shape[1:], np.nan)
    return scores.std(axis=0, ddof=1) / np.sqrt(n_folds)


def choose(means, errors, Cs, select):
    """Return the index (loss, l1_ratio, C) of the chosen setting.

    Parameters
    ----------
    means, errors : ndarray of shape (n_losses, n_l1_ratios, n_Cs)
        Mean scores, higher is better, and their standard errors.
    Cs : ndarray of shape (n_Cs,)
    select : {"best", "1se"}
        "1se" is the strongest penalty, at the best loss and l1_ratio, whose score is within one
        standard error of the best score: see Breiman, Friedman, Olshen and Stone, "Classification
        and Regression Trees" (1984), section 3.4.3. The error is that of the best score.

    Returns
    -------
    tuple of int
        Of several settings with the best score the first loss, then the first l1_ratio, then the
        smallest C.

    Raises
    ------
    ValueError
        If no score is a number.
    """
    if np.isnan(means).all():
        raise ValueError(
            "A score must be a number for at least one setting, got nan for all of them; use "
            "another 'scoring', or folds with rows of every class."
        )
    best = np.unravel_index(np.nanargmax(means), means.shape)
    error = np.nan_to_num(errors[best]) if select == "1se" else 0.0
    good = np.flatnonzero(means[best[:2]] >= means[best] - error)
    return int(best[0]), int(best[1]), int(good[np.argmin(Cs[good])])
