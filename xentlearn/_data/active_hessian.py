"""The Hessian of a sum of losses in those coefficients that a sparse model may use."""

import numpy as np
from scipy import sparse

from .._loss import proba
from .._utils import threads


def row_curvatures(rows, coef, intercept, n_threads):
    """Compute the Hessian of the loss of each row in its logits, diag(d) - u u^T.

    Parameters
    ----------
    rows : MemoryRows
    coef : ndarray of shape (n_features, n_outputs)
    intercept : ndarray of shape (n_outputs,)
    n_threads : int

    Returns
    -------
    diagonal : ndarray of shape (n_rows, n_outputs)
        d; the weights of the rows are in it.
    coupling : ndarray of shape (n_rows, n_outputs) or None
        u, if the loss couples the outputs (softmax).
    """
    logits = rows.scores("logits", coef, intercept, n_threads)
    if not rows.target.couples:
        diagonal = np.empty_like(logits)
        rows.target.hessian_diagonal(logits, diagonal, n_threads)
        return diagonal, None
    coupling, factor = np.empty_like(logits), np.empty(len(logits), dtype=logits.dtype)
    proba("softmax", logits, coupling, False, n_threads)
    rows.target.softmax_factor(logits, factor, n_threads)
    root = np.sqrt(factor)[:, np.newaxis]
    coupling *= root
    diagonal = coupling * root
    uncoupled = rows._uncoupled_curvature(logits, n_threads)
    if uncoupled is not None:
        diagonal += uncoupled
    return diagonal, coupling


def active_hessian(rows, coef, intercept, mean, active, n_threads):
    """Compute the Hessian of the sum of the weighted losses in some of the coefficients.

    With Y the matrix of all (x_ij - mean_j) u_ik, one column per coefficient (j, k), it is a block
    X^T diag(d_k) X for each output k, less Y^T Y. Rows are read in blocks: no copy of X is made.

    Parameters
    ----------
    rows : MemoryRows
    coef : ndarray of shape (n_features, n_outputs)
    intercept : ndarray of shape (n_outputs,)
    mean : ndarray of shape (n_features,) or None
        None means that there is no intercept.
    active : list of ndarray of int
        For each output the features of its coefficients, ascending; n_features is the intercept.
    n_threads : int

    Returns
    -------
    ndarray of shape (n, n), float64
        In the order of ``active``, one output after the other. Numbers below the diagonal have no
        meaning.
    """
    n_features = rows.n_features
    used = np.unique(np.concatenate(active)) if active else np.zeros(0, dtype=np.intp)
    of_features = used[used < n_features]
    columns = [np.searchsorted(used, features) for features in active]
    starts = np.cumsum([0, *map(len, active)])
    n = int(starts[-1])
    outputs = np.repeat(np.arange(len(active)), np.diff(starts))
    column = np.concatenate(columns) if columns else np.zeros(0, dtype=np.intp)
    diagonal, coupling = row_curvatures(rows, coef, intercept, n_threads)
    result, dtype = np.zeros((n, n)), rows.dtype
    panels = threads.ParallelLoop(n, max(1, -(-n // threads.ROW_BLOCKS)), n_threads)
    if n * n * rows.n_rows < threads.THREADED_WORK:
        panels = threads.ParallelLoop(n, max(1, n), 1)
    blocks = threads.ParallelLoop(len(active), 1, n_threads if len(panels.blocks) > 1 else 1)
    for begin in range(0, rows.n_rows, threads.PRODUCT_ROWS):
        part = slice(begin, begin + threads.PRODUCT_ROWS)
        X = rows.X[part]
        if len(of_features) < n_features:
            X = X[:, of_features]
        X = np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=dtype)
        if mean is not None:
            X = X - mean[of_features].astype(dtype)
        if len(used) > len(of_features):
            X = np.concatenate([X, np.ones((len(X), 1), dtype)], axis=1)
        of_rows = np.sqrt(diagonal[part])

        def add_block(block, X=X, of_rows=of_rows):
            k = block.start
            own = slice(starts[k], starts[k + 1])
            Y = X[:, columns[k]] * of_rows[:, k : k + 1]
            result[own, own] += Y.T @ Y

        blocks.each(add_block)
        if coupling is None:
            continue
        Y = X[:, column]
        Y *= coupling[part][:, outputs]

        def subtract(panel, Y=Y):
            result[panel, panel.start :] -= Y[:, panel].T @ Y[:, panel.start :]

        panels.each(subtract)
    return result
