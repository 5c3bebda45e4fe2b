"""Thresholds of fits along C, and of searches."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AlongC:
    """How a fit along C begins.

    Attributes
    ----------
    few_iterations : int
        If the last fit took at most as many iterations, its preconditioner is kept, and otherwise
        the Hessian is computed at the start. For 4,000 digits of MNIST, it costs as much as 8 to 14
        iterations; 8 was as good as 12 or better there, and for the 8 x 8 digits.
    step : float
        Factor between two values of C, where no whole Hessian shows the way; larger ones are
        divided into steps. 13,000 digits of MNIST and C = 1e-4, 1e-2, ..., 1e4 took 499 iterations
        in single steps, 370 in steps of 10 and 239 in steps of the root of 10.
    step_tol : float
        Relative gap at which such a step ends.
    """

    few_iterations: int = 8
    step: float = 10**0.5
    step_tol: float = 1e-2


@dataclass(frozen=True)
class Range:
    """Which values of C a search tries if it is not told.

    Attributes
    ----------
    least_learnt : float
        At the first value, about this share of the loss of the class shares is learnt.
    little_left : float
        Beyond the last value, larger ones would lower the loss by less than this share of the loss
        of the class shares.
    growing : float
        A coefficient still grows if ten times the C makes it larger by more than this factor. It
        stays the same where the penalty no longer matters, and becomes ten times as large where
        the penalty alone holds it back.
    tol : float
        Relative gap of the fits that find the last value: a tenth of that share.
    most_decades : int
        Most values of C that are tried, each ten times the one before.
    """

    least_learnt: float = 0.01
    little_left: float = 0.001
    growing: float = 1.5
    tol: float = 1e-4
    most_decades: int = 20
