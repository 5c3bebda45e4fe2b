"""Settings of the solver for penalties that are not smooth, and of its models."""

from dataclasses import dataclass

from .settings import NewtonCholesky


@dataclass(frozen=True)
class ProximalNewton:
    """Proximal Newton (``_solvers/proximal_newton.py``) and its models.

    Attributes
    ----------
    path : float
        Ratio of the first strength of the L1 penalty to the one that keeps all coefficients at 0,
        and of each strength to the one before.
    least_new : int
        Coefficients that a step may add in any case; otherwise at most as many as are in use. If
        there are no more in all, no step has a stronger penalty.
    accuracy, first_accuracy : float
        A model is minimised until this share of what single coefficients could gain is left; the
        latter as long as the minimum is far.
    bound, most_bound : float
        Largest change of a row's logit that one coefficient of a model may make at first. It is
        doubled after each step with the penalty as asked for that brings what was predicted, up to
        ``most_bound``.
    moved : float
        Largest change of a logit for which curvatures are raised.
    as_predicted : float
        Share of the decrease of a model that a step has to bring if curvatures are to be raised
        less in the next one.
    hardly : float
        Share of the decrease of a model below which a whole step halves ``bound``, as trust-region
        methods do: the model does not hold that far. Otherwise coefficients may jump back and
        forth, with hardly any gain.
    left : float
        Where rounding errors hide the decrease of the objective, steps are taken as long as each
        leaves at most this share of what single coefficients could gain.
    sweeps, most_sweeps : int
        Least and largest number of sweeps between two Newton steps of a matrix.
    most_rounds, most_failed : int
        Largest number of these steps, and of those in a row that bring little.
    little : float
        A step brings little if that is at most this share of the decrease of the model so far, and
        it does not halve what single coefficients could gain.
    cg_left, most_cg_iter : float, int
        Conjugate gradients end when this share of the squared residual is left, or after so many
        iterations.
    most_coefficients : int
        Largest number of coefficients of a model with a matrix: 288 MB. Blocks that precondition a
        model of rows have at most as many entries.
    near : float
        The minimum is far as long as a step is predicted to gain more than this share of the
        objective, or the penalty is stronger than asked for.
    neglected, first_neglected : float
        Share of the curvature that a matrix may neglect (``_data/active_hessian.py``); the latter
        as long as the minimum is far.
    rows_per_coefficient, quick_work : int, float
        As long as the minimum is far, a matrix is made from so many rows per coefficient, unless
        all of them take at most ``quick_work`` multiply-adds, and then nothing is neglected. Coarse
        matrices cost further steps, above all where a few rows decide; they pay if they are large.
    first_group_rows : int
        ``rows_per_coefficient`` of groups with a penalty that is stronger than asked for: all
        outputs of a feature are in use together, so that their matrices cost most.
    changed : float
        Share by which the curvatures of rows may change until a matrix for groups is made anew.
    slow : float
        Where a step is predicted to gain more than this share of the one before, such a matrix has
        changed too much. Gains fall with the square of the distance: more than half of it is left.
    bisections : int
        Steps towards the scale of a dual point, whose last digits matter where a bound is reached.
    most_trials : int
        Largest number of trials of a line search.
    sufficient_decrease : float
        Least share of the decrease that a line predicts.
    steep, most_step : float
        A step of single coefficients with a matrix is doubled where its end has more than this
        share of the slope at its start, up to so many times its length.
    """

    path: float = 0.2
    least_new: int = 200
    accuracy: float = 1e-3
    first_accuracy: float = 0.05
    bound: float = 3.0
    most_bound: float = 1e30
    moved: float = 2.0
    as_predicted: float = 0.8
    hardly: float = 0.25
    left: float = 0.95
    sweeps: int = 5
    most_sweeps: int = 60
    most_rounds: int = 100
    most_failed: int = 3
    little: float = 0.01
    cg_left: float = 1e-3
    most_cg_iter: int = 20
    most_coefficients: int = NewtonCholesky.max_coefficients
    near: float = 0.03
    neglected: float = 0.01
    first_neglected: float = 0.05
    rows_per_coefficient: int = 10
    quick_work: float = 1e8
    first_group_rows: int = 2
    changed: float = 0.1
    slow: float = 0.25
    bisections: int = 50
    most_trials: int = 20
    sufficient_decrease: float = 1e-4
    steep: float = 0.15
    most_step: float = 8.0
