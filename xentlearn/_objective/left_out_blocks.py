"""Approximate logits of rows by models without them, from diagonal blocks of the Hessian.

Where the Hessian in all coefficients takes too long, only its blocks of single outputs are used:
for output k, the left-out leverage of row i is h_ik = x_i^T M_k^-1 x_i with M_k the block without
row i, and the row's logits change by about

    P diag(h_i) P r_i,

with r_i the gradient of its loss, and P subtracting the mean over the outputs for a softmax. For
uncoupled outputs this is the single Newton step. For coupled ones it neglects the couplings both
in the inverse, which is smaller with them, and where the row is taken out, which makes the step
larger. The two errors have opposite signs; what is left is stated in the documentation.
"""

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from .._data._factors import weighted_factors
from .._data.active_hessian import row_curvatures
from .._data.statistics import row_blocks, row_loop
from .._utils.numerics import LEAST_CURVATURE, SLACK
from .._utils.threads import LOGIT_BLOCK, SPARSE_ROWS
from .composite import CompositeObjective
from .hessian_blocks import computable, draw_rows, leverages


def steps_by_blocks(objective, vector, share, settings):
    """Return the changes of the logits of all rows if each of them is left out.

    Parameters
    ----------
    objective : LinearObjective or CompositeObjective
    vector : ndarray of shape (size,)
    share : ndarray of shape (n, 1) or (n, n_outputs)
        Share of each row, or entry, that is left out.
    settings : LeavingOut

    Returns
    -------
    logits, change : ndarray of shape (n, n_outputs), float64
        Logits of the model of all rows, and their changes.
    """
    rows, n_threads = objective.rows, objective.n_threads
    at = objective.at(vector)
    logits = rows.scores("logits", *at, n_threads)
    slopes = np.empty_like(logits)
    rows.target.loss_gradient(logits, None, slopes, n_threads)
    curvature, coupling = row_curvatures(rows, *at, n_threads)
    if coupling is not None:
        curvature = curvature - coupling**2
    curvature = np.maximum(curvature, 0.0)
    total = objective.total_weight
    penalty = objective.terms.l2 if isinstance(objective, CompositeObjective) else None
    penalty = np.full(objective.n_features, objective.l2_reg) if penalty is None else penalty
    penalty = penalty * total
    is_wide = rows.moments(n_threads).is_sparse or not objective.preconditioners.settings.covariance
    if is_wide or isinstance(objective, CompositeObjective):
        leverage = _of_diagonals(objective, vector, curvature, penalty, share)
    else:
        leverage = _of_blocks(objective, curvature, penalty, share, settings)
    if objective.fit_intercept:
        of_intercept = curvature.sum(axis=0, dtype=np.float64) - share * curvature
        leverage += 1.0 / np.maximum(of_intercept, LEAST_CURVATURE)
    change = share * slopes.astype(np.float64)
    if objective.shift_invariant:
        change -= change.mean(axis=1, keepdims=True)
    change *= leverage
    if objective.shift_invariant:
        change -= change.mean(axis=1, keepdims=True)
    return logits.astype(np.float64), change


def _of_blocks(objective, curvature, penalty, share, settings):
    """Return left-out leverages by the blocks, from rows drawn for each of them."""
    rows, (n, n_outputs) = objective.rows, curvature.shape
    n_features, n_threads = objective.n_features, objective.n_threads
    odds_of = leverages(objective, objective.preconditioners.of_features(objective), settings.first_projections)
    odds_of += odds_of.mean()
    drawn, weight = [], []
    for of_output in curvature.T:
        of_output = of_output.astype(np.float64)
        chosen, odds = draw_rows(of_output * odds_of, settings.drawn_per_feature * n_features)
        drawn.append(chosen)
        weight.append(of_output[chosen] / odds)
    X, at = computable(rows.X, np.concatenate(drawn))
    nothing = np.zeros((n_features, n_features), dtype=X.dtype)
    factors, scale = weighted_factors(
        X,
        objective.mean.astype(X.dtype),
        at,
        np.concatenate(weight),
        np.cumsum([0, *map(len, drawn)], dtype=np.intp),
        nothing,
        np.zeros(n_outputs),
        penalty,
        LEAST_CURVATURE,
        SLACK[X.dtype] * n_features,
        n_threads,
    )
    del X
    exact = n * float(n_features) ** 2 * n_outputs <= settings.most_block_work
    n_columns = n_features if exact else settings.projections
    result = np.empty((n, n_outputs))
    mean, rng = objective.mean.astype(scale.dtype), np.random.default_rng(0)
    projections = np.eye(n_features, dtype=scale.dtype)
    if not exact:
        signs = rng.choice([-1.0, 1.0], size=(n_features, n_columns))
        projections = (signs / np.sqrt(n_columns)).astype(scale.dtype)
    solve = lapack.dtrtrs if scale.dtype == np.float64 else lapack.strtrs
    for k in range(n_outputs):
        solved = scale[k][:, np.newaxis] * solve(factors[k].T, projections, lower=1, trans=1)[0]

        def project(part, solved=np.ascontiguousarray(solved), k=k):
            for block in row_blocks(rows.X, part):
                centred = rows.X[block].astype(solved.dtype, copy=False) - mean
                projected = centred @ solved
                result[block, k] = np.einsum("ij,ij->i", projected, projected)

        row_loop(n, n_threads).each(project)
    own = share * curvature * result
    return result / (1.0 - np.minimum(own, settings.most_leverage))


def _of_diagonals(objective, vector, curvature, penalty, share):
    """Return left-out leverages by the diagonal of the Hessian, in the coefficients in use."""
    X, n_outputs = objective.rows.X, curvature.shape[1]
    is_sparse, left_out = sparse.issparse(X), share * curvature
    mean = 0.0 if is_sparse else objective.mean

    def squares_of(block):
        if is_sparse:
            squares = X[block].astype(np.float64)
            squares.data **= 2
            return squares
        return (X[block].astype(np.float64, copy=False) - mean) ** 2

    size = SPARSE_ROWS if is_sparse else max(1, LOGIT_BLOCK // X.shape[1])
    blocks = [slice(at, at + size) for at in range(0, X.shape[0], size)]
    diagonal = np.repeat(penalty[:, np.newaxis], n_outputs, axis=1)
    for block in blocks:
        diagonal += squares_of(block).T @ curvature[block].astype(np.float64)
    used = np.ones(diagonal.shape, dtype=bool)
    if isinstance(objective, CompositeObjective) and objective.terms.l1.any():
        W = objective.coefficients(vector)
        used = (W != 0) | (objective.terms.l1 == 0)[:, np.newaxis]
    result = np.zeros(curvature.shape)
    for block in blocks:
        squares = squares_of(block)
        if not is_sparse:
            squares = sparse.csr_array(squares)
        of_row = np.repeat(np.arange(squares.shape[0]), np.diff(squares.indptr))
        for k in range(n_outputs):
            own = squares.data * left_out[block, k][of_row]
            rest = np.maximum(diagonal[squares.indices, k] - own, LEAST_CURVATURE)
            terms = np.where(used[squares.indices, k], squares.data / rest, 0.0)
            result[block, k] = np.bincount(of_row, terms, squares.shape[0])
    return result
