"""What a search has found, as arrays with axes of folds, losses, values of l1_ratio and of C."""

import numpy as np


def scores_of(fits, shape):
    """Return the scores of fits; nan where there is none.

    Parameters
    ----------
    fits : list of FoldFit
    shape : (int, int, int, int)
        Numbers of folds, of losses, of values of l1_ratio and of C.

    Returns
    -------
    ndarray of that shape, or dict of them
        By name if there are several scores.
    """
    scores = {} if fits and isinstance(fits[0].score, dict) else {None: np.full(shape, np.nan)}
    for fit in fits:
        by_name = fit.score if isinstance(fit.score, dict) else {None: fit.score}
        for name, score in by_name.items():
            scores.setdefault(name, np.full(shape, np.nan))[(fit.fold, *fit.at)] = score
    return scores.get(None, scores)


def paths_of(fits, shape, fit_intercept):
    """Return the coefficients of fits, intercepts last; nan where there is no fit.

    Parameters
    ----------
    fits : list of FoldFit
        With coefficients, of equal shapes.
    shape : (int, int, int, int)
        As in ``scores_of``.
    fit_intercept : bool
        Whether there are intercepts.

    Returns
    -------
    ndarray of shape (*shape, n_outputs, n_features [+ 1])
    """
    n_outputs, n_features = fits[0].coef.shape
    paths = np.full((*shape, n_outputs, n_features + bool(fit_intercept)), np.nan)
    for fit in fits:
        of_fit = paths[(fit.fold, *fit.at)]
        of_fit[:, :n_features] = fit.coef
        if fit_intercept:
            of_fit[:, -1] = fit.intercept
    return paths
