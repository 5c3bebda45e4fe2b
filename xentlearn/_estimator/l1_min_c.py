"""``l1_min_C``: up to which C an L1 penalty keeps all coefficients at 0."""

import sys
from dataclasses import replace

import numpy as np

from .._data.presolve import ScaledX
from .._plan.plan import make_plan
from .._utils.numerics import EPS
from .._utils.threads import sequential_blas
from .classifier import SoftmaxClassifier
from .fit_state import FitState
from .outcome import warn_of_outcome
from .training import Fit, train


def l1_min_C(
    X,
    y,
    *,
    loss="auto",
    l1_ratio=1.0,
    fit_intercept=True,
    class_weight=None,
    sample_weight=None,
    penalty_factor=None,
    grouped=False,
    coef_bounds=None,
):
    """Compute the C at and below which an L1 penalty keeps all coefficients at 0.

    It is the lower end of a useful grid for the ``C`` of a ``SoftmaxClassifier`` with the same
    parameters: a larger C selects at least one feature. Features with factor 0 have no penalty, so
    they are in the model for every C. With G_jk the derivatives of the mean loss with respect to
    the coefficients of feature j, at the best intercept and the best coefficients of the features
    with factor 0, and with v_j, r and S as in the objective of ``SoftmaxClassifier``::

        l1_min_C = min_j  r v_j / (S max_k |G_jk|)

    over the features with 0 < v_j < inf. If ``grouped``, ``||G_j||_2`` takes the place of
    ``max_k |G_jk|``. Derivatives that point out of the bounds do not count.

    Parameters
    ----------
    X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
        Data, as ``SoftmaxClassifier.fit`` takes it.
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
        Targets, as ``SoftmaxClassifier.fit`` takes them.
    loss : str or loss setting, default="auto"
        As for ``SoftmaxClassifier``, like all parameters that follow.
    l1_ratio : float, default=1.0
        Share of the L1 penalty, in (0, 1]: without one no coefficient is exactly 0.
    fit_intercept : bool, default=True
        Whether there is an intercept.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.
    sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
        Weights of the rows, or of single labels.
    penalty_factor : array-like of shape (n_features,), default=None
        Factors of the penalty of each feature.
    grouped : bool, default=False
        Whether a feature is in or out for all outputs.
    coef_bounds : (lower, upper), default=None
        Bounds of the coefficients.

    Returns
    -------
    float
        It is inf if no C selects anything: all features with a penalty are constant, or the
        bounds keep them at 0, or the features with factor 0 separate the classes.

    Raises
    ------
    ValueError
        If ``l1_ratio`` is 0, and as in ``SoftmaxClassifier.fit``.

    Warns
    -----
    ConvergenceWarning
        If the fit of the intercept and of the features with factor 0 has not converged.
    UserWarning
        As in ``SoftmaxClassifier.fit``, if labels or classes are constant.

    See Also
    --------
    SoftmaxClassifier : The classifier whose ``C`` it bounds.
    sklearn.svm.l1_min_c : For two classes without an intercept it returns the same number.

    Notes
    -----
    If the loss is convex, a fit at this C, or a smaller one, has no other minimum. If it is not,
    the coefficients 0 are a stationary point up to this C: no small change of coefficients is an
    improvement, but a fit may find a lower minimum far away from it.

    For cross-entropies the best intercept is known, so that a single gradient is computed. For
    other losses, and with factors of 0, the best model without penalty is fitted first, and the
    result then has a relative error of up to about 1e-8.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import SoftmaxClassifier, l1_min_C
    >>> X, y = load_iris(return_X_y=True)
    >>> least = l1_min_C(X, y)
    >>> for C in (least, 1.01 * least, 10 * least):
    ...     clf = SoftmaxClassifier(C=C, l1_ratio=1).fit(X, y)
    ...     print(f"{C:.4f}: {(clf.coef_ != 0).sum()} coefficients")
    0.0087: 0 coefficients
    0.0088: 1 coefficients
    0.0871: 2 coefficients
    """
    asked = SoftmaxClassifier(
        loss,
        l1_ratio=l1_ratio,
        penalty_factor=penalty_factor,
        grouped=grouped,
        coef_bounds=coef_bounds,
        fit_intercept=fit_intercept,
        class_weight=class_weight,
        tol=0.0,
    )
    asked._check_parameters()
    if l1_ratio == 0:
        raise ValueError(
            "'l1_ratio' must be > 0 for l1_min_C, got 0: without an L1 penalty no coefficient is "
            "exactly 0."
        )
    data, encoded = asked._read(X, y, sample_weight)
    problem = asked._pose(None, data, encoded, None, None, None)[0]
    C = problem.reference_C
    of_groups = (least_C(C, objective, gradient) for objective, _, gradient in at_0(problem, C))
    return min(of_groups, default=np.inf)


def least_C(C, objective, gradient):
    """Return ``l1_min_C`` of a group of outputs, from what ``at_0`` yields for a C."""
    strongest = objective.strongest(gradient)
    # less by a few units in the last place: a fit rounds, and must not select anything at this C
    C *= 1.0 - 32 * EPS[np.dtype(np.float64)]
    return min(C / strongest, sys.float_info.max) if strongest > 0 else np.inf


def at_0(problem, C):
    """Yield the objective for a C, its value and its gradient where all that has a penalty is 0.

    They are those of one group of outputs after the other, without groups whose loss is 0 there.
    Whatever has no penalty is at its minimum, except that with a plain L2 penalty and a loss other
    than plain cross-entropy the intercept is that of the class shares.
    """
    problem = replace(
        problem, dtype=np.dtype(np.float64), penalty=replace(problem.penalty, C=C), tol=0.0
    )
    plan, start = make_plan(problem), None
    groups = plan.groups
    if not _starts_at_minimum(problem):
        start, separable = _unpenalised(problem)
        groups = [g for g, is_separable in zip(groups, separable, strict=True) if not is_separable]
    with sequential_blas:
        fit = Fit(problem, plan, FitState(), None)
    for group in groups:
        with sequential_blas:
            objective = fit.objective_of(problem.y, group)
            in_unit = fit.data.undo_moments(objective.moments, but_for=(ScaledX,))
            in_unit.require_comparable(objective.rows.dtype, fit.l2_reg)
            vector = objective.start()
            if start is not None:
                coef, intercept = (part[group.outputs] for part in start)
                vector = objective.pack(*fit.data.apply(coef, intercept))
            value, gradient = objective.value_gradient(vector)
        yield objective, value, gradient


def _starts_at_minimum(problem):
    """Whether the start of a fit is the minimum over what has no penalty."""
    if not problem.penalty.is_composite:
        return True
    if np.any(problem.penalty.factor == 0):
        return False
    return problem.y.loss._certifiable or not problem.fit_intercept


def _unpenalised(problem):
    """Fit what has no penalty, and leave all other features out.

    Returns
    -------
    start : (coef, intercept)
    separable : list of bool
        For each group of outputs, whether its loss is 0 without any other feature.
    """
    factor = np.where(np.equal(problem.penalty.factor, 0), 0.0, np.inf)
    factor = np.broadcast_to(factor, problem.data.shape[1])
    problem = replace(problem, penalty=replace(problem.penalty, C=np.inf, factor=factor))
    state = FitState()
    found = train(problem, make_plan(problem), state)
    if found.stopped_by is not None:
        raise found.stopped_by
    separable = [solved.separable for solved in state.solved]
    if not found.separable:
        warn_of_outcome(found, problem.tol, False)
    return (found.coef, found.intercept), separable
