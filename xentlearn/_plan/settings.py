"""Settings of the solvers and of what they work with: one frozen dataclass for each.

Every number says where it comes from, and what other values did. Tests replace single fields
(``dataclasses.replace``) to reach large problems' code with small data. The rules of "auto" have
theirs in ``plan.py``.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LineSearch:
    """The weak Wolfe conditions (``_solvers/descent.py``).

    Attributes
    ----------
    sufficient_decrease : float
        Share of the decrease that the slope promises which a step must bring.
    most_trials : int
        Evaluations; a healthy search needs one or two.
    least_slope : float
        Share of the slope that a direction keeps within the step bound, else the bound is ignored.
    """

    sufficient_decrease: float = 1e-4
    most_trials: int = 30
    least_slope: float = 0.1


@dataclass(frozen=True)
class Stopping:
    """Estimates of the gap, and criteria to stop (``_solvers/stopping.py``).

    Attributes
    ----------
    polished : float
        Relative gap of a polished problem: coefficients are right to about 9 digits.
    polish_iterations : int
        Iterations after which a polished problem stops at ``tol``, like others.
    rounding : float
        Times the rounding of a value: less of a decrease cannot be found for sure.
    flat : int
        Iterations over which values that do not fall any more are noticed.
    quadratic : float
        Share of the last slope that a Newton step leaves near the minimum.
    minute : float
        Relative gap below which Newton's convergence is quadratic in any case.
    window : int
        Iterations over which progress is judged.
    slow, most_fall : int, float
        Iterations that make a descent slow, and how much the estimate of a slow one may fall in an
        iteration. Its progress comes in bursts, and dies away more slowly than at any fixed rate:
        windows of 5 iterations promised 1e-4 on raw MNIST where 1.5e-3 was left.
    share_of_slow, caution : int, float
        One over the share of a slow descent's iterations that a window has; how much less than it
        shows is believed.
    recheck : int
        Iterations until a slow descent whose end was not confirmed is looked at again.
    trusted, metric : float
        Of a fast descent, with 500 classes say, the bounds of the rate promise a hundredth of what
        they should. A third of the decrease in logarithms is believed, and the decrement in the
        metric of L-BFGS, which on MNIST is up to 10 times too small.
    least_rate, most_rate : float
        Convergence per iteration that an estimate may assume. With 1/2 per 10 iterations as the
        least, the true gap of a default fit of MNIST was 1.2e-4 where 1e-4 was asked for.
    settled : int
        Iterations after a change of the penalty before an estimate is believed.
    """

    polished: float = 1e-18
    polish_iterations: int = 200
    rounding: float = 100.0
    flat: int = 10
    quadratic: float = 0.1
    minute: float = 1e-12
    window: int = 5
    slow: int = 100
    most_fall: float = 0.7
    share_of_slow: int = 5
    caution: float = 2.5
    recheck: int = 10
    trusted: float = 1 / 3
    metric: float = 10.0
    least_rate: float = 0.96
    most_rate: float = 0.998
    settled: int = 5


@dataclass(frozen=True)
class Refresh:
    """When a descent asks for a new preconditioner (``_solvers/descent.py``).

    Attributes
    ----------
    polished : int
        Iterations after which a polished problem gets its Hessian, and gets it anew.
    often_after, often : int
        A problem that three Hessians have not finished gets them more often.
    nearly : float
        Times ``tol``: so near the end a new one comes too late,
    soon, seen : int
        or where so many iterations are left, if it goes on as in the last ``seen``.
    """

    polished: int = 20
    often_after: int = 60
    often: int = 4
    nearly: float = 5.0
    soon: int = 10
    seen: int = 10


@dataclass(frozen=True)
class Continuation:
    """A sequence of falling extra penalties for hard problems (``_objective/continuation.py``).

    Attributes
    ----------
    first, step, most : float, float, int
        The first strength, times the sum of the weights; the ratio of one to the next; how many.
    largest : float
        Bound of the first one, where weights are tiny.
    last : float
        Times the penalty that was asked for, at a typical feature: below it there are no more.
    separated : float
        Share of the objective at zero coefficients below which rows are all but separated: their
        losses then fall together, and continuation only costs time.
    step_bound : float
        Most change of a row's logit by one feature in a step.
    tol, iterations : float, int
        Relative gap at which the next penalty is taken, or after so many iterations.
    """

    first: float = 0.03
    step: float = 0.1
    most: int = 5
    largest: float = 1e-4
    last: float = 3.0
    separated: float = 0.03
    step_bound: float = 3.0
    tol: float = 3e-3
    iterations: int = 50


@dataclass(frozen=True)
class LBFGS:
    """L-BFGS (``_solvers/lbfgs.py``).

    Attributes
    ----------
    first_refresh, patience : int
        Iterations after which a problem is hard and gets a new preconditioner; until the next.
    slope_left : float
        Share of the slope that may be left after a step.
    history : int
        Differences kept; 10 take a third more evaluations on MNIST, 50 save a few at most.
    rescale : int
        Steps after which the preconditioner follows the curvature, and its scale is made anew.
    large, large_history : int
        Numbers in a vector from which differences are kept in float32, half the time and memory,
        and fewer of them: 20 save no iteration on sparse text or with 500 classes, and take a third
        of the time.
    long_history, long_numbers : int
        Differences that are kept once a descent has been slow, of so many numbers at most: a third
        fewer iterations on raw MNIST. From the start so many cost more than they save: on the 8 x 8
        digits old ones mislead.
    """

    first_refresh: int = 25
    patience: int = 25
    slope_left: float = 0.9
    history: int = 20
    rescale: int = 4
    large: int = 100_000
    large_history: int = 5
    long_history: int = 200
    long_numbers: int = 4_000_000


@dataclass(frozen=True)
class NewtonCholesky:
    """Newton's method with the whole Hessian (``_solvers/newton.py``).

    Attributes
    ----------
    first_refresh, patience, slope_left
        As in ``LBFGS``. A Hessian takes as long as some trials of a line search: 0.9 of the slope
        left needs one or two more of them.
    hardly_changed : float
        Share of the decrement that a step leaves where the Hessian before it is good enough.
    """

    first_refresh: int = 15
    patience: int = 15
    slope_left: float = 0.2
    hardly_changed: float = 1e-3


@dataclass(frozen=True)
class NewtonCG:
    """Newton's method by conjugate gradients (``_solvers/newton.py``).

    Attributes
    ----------
    first_refresh, patience, slope_left
        As in ``LBFGS``.
    least_products, most_products : int
        Hessian products in an iteration.
    little : float
        Share of the mean gain per product so far at which they end.
    """

    first_refresh: int = 8
    patience: int = 4
    slope_left: float = 0.9
    least_products: int = 3
    most_products: int = 100
    little: float = 0.3


@dataclass(frozen=True)
class DualAscent:
    """Sweeps over the rows of the dual problem (``_solvers/dual_ascent.py``).

    Attributes
    ----------
    sweeps, least_sweeps : int
        At most in an iteration; before their rate is known.
    most_sweeps : int
        In all: L-BFGS takes less time than more of them.
    least_rate, most_rate : float
        Of convergence that is believed.
    aimed_at : float
        Share of the gap wanted.
    """

    sweeps: int = 12
    least_sweeps: int = 2
    most_sweeps: int = 30
    least_rate: float = 0.02
    most_rate: float = 0.98
    aimed_at: float = 0.3


@dataclass(frozen=True)
class Preconditioning:
    """Approximate inverse Hessians (``_objective/preconditioners.py``, ``hessians.py``).

    Attributes
    ----------
    covariance : bool
        Of the features, or their variances alone.
    local : {"whole", "sample", "blocks"} or None
        The Hessian at a point: of all rows, of the rows that stand for all, its diagonal blocks, or
        none. The plan chooses both.
    least_rows, rows_per_feature : int
        Rows that the covariance is made from, which is needed to a few percent, not exactly.
    few_of_weight, least_few, most_few : int
        Rows from which mean curvatures of outputs are estimated: one in so many, by weight, within
        bounds.
    few_seen : float
        Rows' worth of p (1 - p): curvatures that fewer show are hardly believed.
    least_relative : float
        Least curvature, to the mean of the first: no step need be longer.
    least_drawn, drawn_per_feature, drawn_of_rows : int
        Rows that are drawn for the matrix of one output: so many at least, per feature, and one of
        so many of all at most.
    sketch : int
        Random projections that leverages are estimated from.
    share_of_all : float
        Of an output's curvature that all rows get alike; 0.002 and 0.3 were slower.
    neglected : float
        Share of the coupling of two outputs, in a Hessian to precondition with.
    more_slack, most_slack : float
        Steps, and the largest, of what is added to the diagonal of a Hessian that rounding spoils,
        in units of its rounding.
    """

    covariance: bool = True
    local: str | None = "whole"
    least_rows: int = 5_000
    rows_per_feature: int = 10
    few_of_weight: int = 8
    least_few: int = 300
    most_few: int = 1_500
    few_seen: float = 5.0
    least_relative: float = 1e-6
    least_drawn: int = 500
    drawn_per_feature: int = 4
    drawn_of_rows: int = 5
    sketch: int = 16
    share_of_all: float = 0.02
    neglected: float = 0.05
    more_slack: float = 1e3
    most_slack: float = 1e9


@dataclass(frozen=True)
class Certificate:
    """The certified bound of the gap (``_objective/certificate.py``).

    Attributes
    ----------
    tiny : float
        Relative gap below which a bound is good enough as it is.
    enough : float
        Times the bound without an intercept: a bound so tight is not made again.
    most_coupled : int
        Classes, for a Newton step of the intercept.
    step_work, step_passes : float
        Multiply-adds of that step, or so many passes over X if that is more. With 500 classes a
        sixth of the rows left a fifth of the gradient, and a bound ten times as large.
    """

    tiny: float = 1e-9
    enough: float = 4.0
    most_coupled: int = 2000
    step_work: float = 2e9
    step_passes: float = 1.0


@dataclass(frozen=True)
class Stochastic:
    """Adam and SGD (``_solvers/stochastic.py``).

    Attributes
    ----------
    tried, tried_again : int
        Steps that are timed with one thread and with all of them, and after how many again. Two
        halve a step of 200 rows of MNIST, 160 us; on cores that are busy otherwise they take 10 ms.
    least_rate, slower : float
        Learning rate at which "adaptive" ends, as scikit-learn's MLPClassifier has it, and what it
        divides a rate by.
    """

    tried: int = 3
    tried_again: int = 2000
    least_rate: float = 1e-6
    slower: float = 5.0
