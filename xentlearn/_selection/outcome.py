"""Warnings about the outcome of a search."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._utils.messages import warn


def warn_of_edge(means, Cs):
    """Warn if the best C is the smallest or the largest one, so that a better one may be outside.

    It is not if another C is as good, or if the largest one is inf.

    Parameters
    ----------
    means : ndarray of shape (n_Cs,)
        Mean scores at the best loss and l1_ratio.
    Cs : ndarray of shape (n_Cs,)
    """
    best = np.flatnonzero(means == np.nanmax(means))
    least, most = Cs.min(), Cs.max()
    C = Cs[best[0]]
    if len(Cs) < 2 or len(best) > 1 or not (C == least or C == most < np.inf):
        return
    if C == least:
        is_smallest, end = True, Cs[Cs < np.inf].max()
        others = f"np.geomspace({least / 100:.3g}, {end:.3g}, {len(Cs) + 4})"
    else:
        is_smallest = False
        others = f"np.geomspace({least:.3g}, {100 * most:.3g}, {len(Cs) + 4})"
    warn(
        f"The best C, {C:.3g}, is the {'smallest' if is_smallest else 'largest'} one that was "
        f"tried: a {'smaller' if is_smallest else 'larger'} one may be better. Try others, for "
        f"example by Cs={others}.",
        UserWarning,
    )


def warn_of_shortfalls(fits, Cs, tol):
    """Warn once of all fits that have not converged.

    Parameters
    ----------
    fits : list of FoldFit
    Cs : ndarray of shape (n_Cs,)
    tol : float
        The tolerance that was asked for.
    """
    short = [fit for fit in fits if fit.shortfall]
    if short:
        first = short[0]
        warn(
            f"{len(short)} of {len(fits)} fits stopped before tol={tol:.2g} was reached, such as "
            f"that of fold {first.fold + 1} at C={Cs[first.at[2]]:.3g}: {first.shortfall}. "
            "Increase 'max_iter' or 'tol', or leave the largest Cs out.",
            ConvergenceWarning,
        )
