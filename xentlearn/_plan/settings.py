"""Settings of the solvers and of the parts they work with, one frozen dataclass each.

Every number comes with its source and with what other values did. Tests replace single fields
(``dataclasses.replace``) so that small data reach the code for large problems. The thresholds of
the "auto" rules are in ``plan.py``.
"""

from dataclasses import dataclass

import numpy as np

STOCHASTIC = ("adam", "sgd")  # solvers that take steps on batches of rows


@dataclass(frozen=True)
class LineSearch:
    """The weak Wolfe conditions and the step bound (``_solvers/descent.py``).

    Attributes
    ----------
    sufficient_decrease : float
        Constant of the sufficient-decrease condition: the value must fall by at least this share of
        what the slope predicts.
    most_trials : int
        Largest number of evaluations in a line search; a healthy one needs one or two.
    least_slope : float
        A step bound is applied only if the bounded direction keeps at least this share of the
        slope.
    """

    sufficient_decrease: float = 1e-4
    most_trials: int = 30
    least_slope: float = 0.1


@dataclass(frozen=True)
class Stopping:
    """Estimates of the optimality gap and stopping criteria (``_solvers/stopping.py``).

    Gaps are relative: (value - minimum) / max(value, value_scale).

    Attributes
    ----------
    polish_iterations : int
        Number of iterations after which a polished problem stops at ``tol`` as others do.
    rounding : float
        In units of the rounding error of a value: a predicted decrease below this cannot be
        measured reliably.
    flat : int
        Number of iterations without a measurable decrease after which a descent has stalled.
    quadratic : float
        Newton's method is taken to converge quadratically once a step leaves at most this share of
        the previous slope.
    minute : float
        Relative slope below which Newton's method is taken to converge quadratically in any case.
    window : int
        Number of iterations over which progress is measured.
    slow : int
        Number of iterations after which a descent counts as slow.
    most_fall : float
        Least ratio of the estimate of a slow descent to that of the iteration before. Slow descents
        progress in bursts, and their progress dies away more slowly than at any fixed rate: windows
        of 5 iterations estimated a gap of 1e-4 on raw MNIST where it was 1.5e-3.
    share_of_slow : int
        For a slow descent, progress is also measured over windows of one in ``share_of_slow`` of
        all iterations.
    caution : float
        Factor of the estimate from these long windows.
    certifying, least_certifying : float, int
        Once the estimate is within the tolerance, a descent goes on for its certificate as long as
        that seems near: for ``certifying`` times the iterations it took until then at most, or
        ``least_certifying`` if that is more. The certificate falls with the squared norm of the
        gradient, and may be thousands of times as large as the gap. Of 26 default fits of tables
        that ended without it, 22 lacked 1 to 8 iterations.
    approach : int
        Number of iterations between two preconditioners that are made for the certificate.
    fewest_products, most_products : int
        Least and largest number of Hessian products from which an estimate is confirmed: 3 were too
        few, see ``Stopping._confirmed``.
    surprise : float
        Largest ratio of a step's decrease to the one that the quadratic model predicts, for a
        Newton's decrement that is believed.
    recheck : int
        Number of iterations until a descent whose estimate was not confirmed is checked again.
    trusted, metric : float
        For a fast descent, with 500 classes for example, the bounds of the rate make the estimate
        about a hundred times too large. The estimate may therefore fall to the larger of two
        others: one from the observed rate to the power of ``trusted``, and one of ``metric`` times
        half the squared Newton decrement in the metric of the L-BFGS matrix, which is up to 10
        times too small on MNIST.
    least_rate, most_rate : float
        Bounds of the convergence rate per iteration that an estimate may assume. With 1/2 per 10
        iterations as the lower bound, the true gap of a default fit of MNIST was 1.2e-4 where 1e-4
        was asked for.
    settled : int
        Number of iterations after a change of the extra penalty during which estimates are ignored.
    """

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
    certifying: float = 1 / 6
    least_certifying: int = 4
    approach: int = 3
    fewest_products: int = 8
    most_products: int = 16
    surprise: float = 1.5
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
        Number of iterations after which a polished problem gets its first Hessian, and between that
        one and the next.
    often_after, often : int
        From iteration ``often_after`` on, when three Hessians have not been enough, a polished
        problem gets a new one every ``often`` iterations.
    nearly : float
        In units of ``tol``: a gap at which a new preconditioner would come too late to pay off.
    soon, seen : int
        No new preconditioner is made either if at most ``soon`` iterations are left, at the rate of
        the last ``seen`` iterations.
    """

    polished: int = 20
    often_after: int = 60
    often: int = 4
    nearly: float = 5.0
    soon: int = 10
    seen: int = 10


@dataclass(frozen=True)
class Continuation:
    """A sequence of decreasing extra penalties for hard problems (``_objective/continuation.py``).

    Attributes
    ----------
    first : float
        First strength times the sum of the weights.
    step : float
        Ratio of each strength to the one before.
    most : int
        Largest number of strengths.
    largest : float
        Upper bound of the first strength, for tiny weights.
    last : float
        The sequence ends where the extra penalty of a typical feature is less than this many times
        the penalty that was asked for.
    separated : float
        Rows whose objective is below this share of the objective at zero coefficients count as
        nearly separated: their losses then fall together, and continuation only costs time.
    step_bound : float
        Largest change of a row's logit that the coefficient of one feature may make in a step.
    tol : float
        Relative gap at which the next strength is taken.
    iterations : int
        Number of iterations after which it is taken in any case.
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
    first_refresh : int
        Number of iterations after which a problem counts as hard and gets a preconditioner made at
        the present point.
    patience : int
        Number of iterations until the next preconditioner.
    slope_left : float
        Constant of the second Wolfe condition: the largest share of the slope that a step may
        leave.
    history_size : int
        Differences in the history; 10 take a third more evaluations on MNIST, 50 save a few at
        most.
    rescale : int
        Number of steps after which the preconditioner is adapted to the present curvature, and the
        scale of the initial matrix is computed anew.
    large, large_history : int
        From ``large`` coefficients on, the history has ``large_history`` differences, in float32,
        for half the time and memory: 20 save no iteration on sparse text or with 500 classes, and
        take a third of the time.
    long_history, long_numbers : int
        Once a descent has been slow, its history grows to ``long_history`` differences, or to
        ``long_numbers`` numbers if that is less: a third fewer iterations on raw MNIST. A long
        history from the start costs more than it saves: on the 8 x 8 digits old differences
        mislead.
    """

    first_refresh: int = 25
    patience: int = 25
    slope_left: float = 0.9
    history_size: int = 20
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
        As in ``LBFGS``. The slope has to fall further than in L-BFGS, because a Hessian takes as
        long as several trials of a line search: with 0.9 of the slope left, one or two more
        Hessians are needed.
    hardly_changed : float
        Largest ratio of the squared Newton decrement to that of the step before at which the
        Hessian of that step is used again.
    max_coefficients : int
        Largest number of coefficients for which a whole Hessian is formed: 288 MB. The plan checks
        it.
    """

    first_refresh: int = 15
    patience: int = 15
    slope_left: float = 0.2
    hardly_changed: float = 1e-3
    max_coefficients: int = 6000


@dataclass(frozen=True)
class NewtonCG:
    """Newton's method by conjugate gradients (``_solvers/newton.py``).

    Attributes
    ----------
    first_refresh, patience, slope_left
        As in ``LBFGS``.
    least_products, max_cg_iter : int
        Least and largest number of Hessian products in an iteration.
    little : float
        Conjugate gradients stop when a product adds at most this share of the mean gain per product
        to the decrease that the quadratic model predicts.
    """

    first_refresh: int = 8
    patience: int = 4
    slope_left: float = 0.9
    least_products: int = 3
    max_cg_iter: int = 100
    little: float = 0.3


@dataclass(frozen=True)
class DualAscent:
    """Dual coordinate ascent: sweeps over the rows (``_solvers/dual_ascent.py``).

    Attributes
    ----------
    sweeps : int
        Largest number of sweeps in an iteration.
    least_sweeps : int
        Number of sweeps after which their convergence rate is known.
    most_sweeps : float
        Largest number of sweeps in all, over the root of 1 + the mean pull C ||x - mean||^2 of a
        row: beyond it L-BFGS takes less time. That takes about 15 times this root iterations
        (glosses: 20, 47, 113, 198 and 405 at pulls of 1, 10, 100, 300 and 1000), and an iteration
        the time of 2.5 sweeps, if rows have 40 entries, to 5, if they have 18, as vectors of
        coefficients then are large beside X; with labels, of 3 sweeps.
    least_rate, most_rate : float
        Bounds of the convergence rate per sweep that an estimate may assume.
    aimed_at : float
        Sweeps go on until the estimated gap is this share of the gap wanted; it leaves room for
        sums of residuals that are not 0.
    softmax_aimed_at : float
        The same of a softmax, where certificates correct these sums.
    """

    sweeps: int = 12
    least_sweeps: int = 2
    most_sweeps: float = 40.0
    least_rate: float = 0.02
    most_rate: float = 0.98
    aimed_at: float = 0.3
    softmax_aimed_at: float = 0.8


@dataclass(frozen=True)
class Sweeps:
    """Sweeps over rows (``_objective/dual.py``, ``softmax_dual.py``).

    Attributes
    ----------
    negligible : float
        Rows whose gap is at most this share of the mean gap in the sweep before stay as they are,
        which saves writing to the coefficients: a third of the time on glosses with C=100. Sweeps
        converge as fast as without, and more slowly from 0.8 on.
    feedback : float
        How many times over a sweep corrects the sums of residuals by the intercept.
    most_log : float
        Upper bound of -log q of a class, and of logits of labels, as in the kernels.
    """

    negligible: float = 0.1
    feedback: float = 10.0
    most_log: float = 80.0


@dataclass(frozen=True)
class SoftmaxSweeps(Sweeps):
    """Sweeps of a softmax, and their certificates (``_objective/softmax_dual.py``).

    Attributes
    ----------
    balanced : float
        Share of the gap that the last sweep met which sums of residuals that are not 0 may add to a
        certificate.
    most_steps : int
        Largest number of steps towards such sums.
    most_batch : int
        Largest number of rows that are solved at once. Their coefficients, 1 MB on glosses, should
        stay in the second-level cache.
    most_overlap, nearly_all : float
        Largest sum of overlaps of a row with the others solved at once, and for which share of the
        rows it holds (``softmax_dual.batch_size``). On glosses of which one in 100 is the same,
        C=10 takes 8 sweeps up to 0.6, and 19 at 2.6.
    sampled_rows : int
        Number of rows from which that is estimated, and of others that they are compared with.
    piece : int
        Number of rows after which the number of threads is reconsidered.
    low : float
        Minus the intercept of the classes that rows are padded with.
    """

    balanced: float = 0.05
    most_steps: int = 12
    most_batch: int = 256
    most_overlap: float = 0.5
    nearly_all: float = 0.99
    sampled_rows: int = 512
    piece: int = 8192
    low: float = 1e4


@dataclass(frozen=True)
class Preconditioning:
    """Approximate inverse Hessians (``_objective/preconditioners.py``, ``hessian_blocks.py``).

    Attributes
    ----------
    covariance : bool
        Whether to use the covariance of the features; otherwise their variances alone.
    local : {"whole", "sample", "blocks"} or None
        What is made of the Hessian at a point: all of it from all rows, all of it from a sample of
        the rows, its diagonal blocks, or nothing. The plan chooses this and ``covariance``.
    local_rows, local_passes : float
        Rows of that sample, and the passes over X that the Hessian costs; inf means all rows of
        the objective's sample, and a cost that is not known.
    refresh_after : float
        Iterations after which a solver gets the next one at the latest; inf leaves it to the
        solver's settings.
    least_rows, rows_per_feature : int
        The covariance is computed from the larger of ``least_rows`` and ``rows_per_feature``
        times n_features rows: it is needed to a few percent, not exactly.
    few_of_weight, least_few, most_few : int
        The mean curvatures of the outputs are estimated from about ``weight / few_of_weight`` rows,
        with ``weight`` the sum of the weights; at least ``least_few`` and at most ``most_few``.
    few_seen : float
        Weight of the prior of such an estimate, as a sum of p (1 - p) over rows: a curvature that
        is estimated from less than that is dominated by the prior.
    least_relative : float
        Lower bound of the curvature of an output over the mean of the curvatures at the class
        shares. No step needs to be longer than it allows.
    least_drawn, drawn_per_feature, drawn_of_rows : int
        For the diagonal block of an output, ``drawn_per_feature`` times n_features rows are drawn,
        at most one in ``drawn_of_rows`` of all rows, and at least ``least_drawn``.
    sketch : int
        Number of random projections from which leverages are estimated.
    share_of_all : float
        Share of an output's curvature that is spread evenly over all rows; 0.002 and 0.3 were
        slower.
    neglected : float
        Share of the coupling of two outputs that may be neglected in a Hessian that only
        preconditions.
    more_slack, most_slack : float
        What is added to the diagonal of a Hessian, in units of its rounding error, is multiplied by
        ``more_slack`` each time that the Hessian has to be regularised, until it reaches
        ``most_slack``.
    """

    covariance: bool = True
    local: str | None = "whole"
    local_rows: float = np.inf
    local_passes: float = np.inf
    refresh_after: float = np.inf
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
    """The certified upper bound of the gap (``_objective/certificate.py``).

    Attributes
    ----------
    tiny : float
        A bound below this relative gap is not improved further.
    enough : float
        A known bound is not computed again if it is at most this many times the bound that holds
        without an intercept.
    most_coupled : int
        Largest number of classes for which the intercept takes a Newton step.
    most_kept : int
        Largest number of classes for which the gradient at the start is kept for certificates: with
        100,000 classes it would be a fifth of the memory of a fit, and another pass costs less.
    step_work, step_passes : float
        Largest work of that step: ``step_work`` multiply-adds, or ``step_passes`` passes over X if
        that is more. With 500 classes, a sixth of the rows left a fifth of the gradient, and a
        bound ten times as large.
    """

    tiny: float = 1e-9
    enough: float = 4.0
    most_coupled: int = 2000
    most_kept: int = 4095
    step_work: float = 2e9
    step_passes: float = 1.0


@dataclass(frozen=True)
class Stochastic:
    """Adam and SGD (``_solvers/batch_descent.py``, ``stochastic.py``).

    Attributes
    ----------
    least_rate : float
        Learning rate at which the "adaptive" schedule ends, as in scikit-learn's MLPClassifier.
    slower : float
        Number by which that schedule divides the learning rate.
    least_share : float
        Least share of a new point in the average of the points of ``partial_fit``: 0.005 is a
        memory of about 400 steps. MNIST, streamed once in batches of 200 rows: 92.4 % of new digits
        are right with 0.002 to 0.01, 92.2 % with 0.02.
    fade, errors : float
        The losses of the average and of the point are compared over about 1 / ``fade`` steps, and
        the average starts anew if it is worse by ``errors`` standard errors. If MNIST is turned by
        a quarter half-way, 75 % are right after 10 batches (without this 23 %), and 88 % after 50
        (83 %). With 1.5 errors some follow 5 batches sooner, and with a ``fade`` of 0.05 later. A
        single batch with wrong labels does not start a new average.
    most_history : int
        Calls of ``partial_fit`` that ``history_`` keeps.
    """

    least_rate: float = 1e-6
    slower: float = 5.0
    least_share: float = 0.005
    fade: float = 0.1
    errors: float = 2.0
    most_history: int = 100
