"""Settings of leave-one-out losses from a single fit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LeavingOut:
    """Leave-one-out losses (``_objective/leave_one_out.py``, ``left_out_models.py``).

    Attributes
    ----------
    minimum : float
        Newton's decrement, as a share of the loss, up to which a point is the minimum for all rows.
        Its effect on the logits is the root of that.
    near_minimum : float
        The same for the point at which the Hessian is factorised.
    most_polishing : int
        Largest number of Newton steps to that minimum.
    accuracy : float
        Share of the sum of the losses that the errors of single steps may add up to, by estimate.
    first_ratio : float
        Error of a single step over its score, until models have been found that show it. On iris,
        wine, breast cancer, digits and a p > n problem, for C from 0.01 to 1e4, it was at most 1.3
        wherever the sum of the scores was small.
    safety : float
        Factor of the errors that are estimated from the last models found.
    first_models : int
        Number of models that are found first; later at most twice as many as so far.
    most_models : int
        Largest number of models if the work is limited.
    most_work, products_per_model : float, int
        Largest number of multiply-adds for them, if one model takes so many products with X and as
        many with its transpose.
    stack_numbers : int
        Numbers of a stack of logits: models are found together as long as these fit in a cache.
    cg_left : float
        Conjugate gradients end when this share of the norm of the residual is left.
    most_cg_iter : int
        Largest number of their iterations.
    most_rounds : int
        Largest number of times that the equations of a Newton step are solved, each time without
        the coefficients that would have crossed 0 or a bound the time before.
    most_steps : int
        Largest number of Newton steps for the model without a row.
    most_trials : int
        Largest number of trials of a line search.
    steepest_end : float
        A step is too long if the slope at its end exceeds this share of the one at its start.
    sufficient_decrease : float
        Least share of the decrease that the slope predicts.
    own, of_mean : float
        The model without a row is found once a Newton step changes the loss of the row by at most
        the share ``own`` of it, plus the share ``of_mean`` of the mean loss of all rows.
    short : float
        Largest change of the logits of the row by that step: the slope of the loss is taken to hold
        for it.
    most_whole_work, most_curvatures : float
        Largest number of multiply-adds for inverse Hessians in all coefficients that a loss
        couples, and largest number of second derivatives of the losses of all rows in their logits;
        beyond, blocks of single outputs are used.
    most_dense : float
        Largest number of entries of X as a dense matrix in float64.
    block_error : float
        Error of a loss by blocks, as a share of its difference from the loss of a fitted row:
        0.11 on 5,000 MNIST digits at C=1, 0.04 on 60,000.
    drawn_per_feature, first_projections : int
        Rows per feature that a block is computed from, by their curvatures and their leverages
        from so many random projections.
    projections, most_block_work : int, float
        Leverages by blocks are estimated from so many random projections, unless computing them
        takes at most so many multiply-adds.
    most_leverage : float
        Largest leverage by blocks: estimates may exceed 1.
    difference : float
        Largest change of a logit in differences of gradients, for losses whose exact Hessian the
        kernels do not compute.
    """

    minimum: float = 1e-8
    near_minimum: float = 1e-3
    most_polishing: int = 20
    accuracy: float = 0.004
    first_ratio: float = 1.0
    safety: float = 1.5
    first_models: int = 8
    most_models: int = 40
    most_work: float = 2e9
    products_per_model: int = 12
    stack_numbers: int = 50_000
    cg_left: float = 0.1
    most_cg_iter: int = 50
    most_rounds: int = 5
    most_steps: int = 60
    most_trials: int = 30
    steepest_end: float = 0.5
    sufficient_decrease: float = 1e-4
    own: float = 3e-3
    of_mean: float = 3e-4
    short: float = 1.0
    most_whole_work: float = 2e10
    most_curvatures: float = 2.5e7
    most_dense: float = 1.5e7
    block_error: float = 0.15
    drawn_per_feature: int = 10
    first_projections: int = 16
    projections: int = 64
    most_block_work: float = 5e10
    most_leverage: float = 0.95
    difference: float = 1e-4
