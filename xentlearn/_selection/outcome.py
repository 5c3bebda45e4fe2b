"""Warnings about the outcome of a search."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .._utils.messages import warn


def warn_of_edge(means, Cs):
    """Warn if the best C is the smallest or the largest one, so that a better one may be outside.

    Parameters
    ----------
    means : ndarray of shape (n_Cs,)
        Mean scores at the best loss and l1_ratio.
    Cs : ndarray of shape (n_Cs,)
    """
    if len(Cs) < 2:
        return
    order = np.argsort(Cs)
    best = int(np.nanargmax(means[order]))
    if 0 < best < len(Cs) - 1:
        return
    least, most = Cs.min(), Cs.max()
    if best == 0:
        end, where, other = f"{least:.3g}, is the smallest", "smaller", (least / 100, most)
    else:
        end, where, other = f"{most:.3g}, is the largest", "larger", (least, 100 * most)
    warn(
        f"The best C, {end} one that was tried: a {where} one may be better. Try others by "
        f"Cs=np.geomspace({other[0]:.2g}, {other[1]:.2g}, {len(Cs) + 4}).",
        UserWarning,
    )


def warn_of_shortfalls(fits, tol):
    """Warn once of all fits that have not converged.

    Parameters
    ----------
    fits : list of FoldFit
    tol : float
        The tolerance that was asked for.
    """
    short = [fit for fit in fits if fit.shortfall]
    if short:
        first = short[0]
        warn(
            f"{len(short)} of {len(fits)} fits stopped before tol={tol:.2g} was reached; of fold "
            f"{first.fold + 1} at the C with index {first.at[2]}: {first.shortfall}. Increase "
            "'max_iter' or 'tol', or leave the largest Cs out.",
            ConvergenceWarning,
        )
