"""Thresholds of searches along C."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Which values of C a search tries if it is not told.

    Attributes
    ----------
    least_learnt : float
        At the first value, about this share of the loss of the class shares is learnt.
    little_left : float
        At the last value, 10 times that C would lower the loss by less than this share of the loss
        of the class shares.
    tol : float
        Relative gap of the fits that find the last value: a tenth of that share.
    most_decades : int
        Most powers of 10 between the first value and the last one.
    """

    least_learnt: float = 0.01
    little_left: float = 0.01
    tol: float = 1e-3
    most_decades: int = 16
