"""The Hessian of a sum of losses in those coefficients that a sparse model may use."""

from itertools import accumulate

import numpy as np
from scipy import sparse

from .._loss import proba
from .._utils import threads
from ._design_matrix import computing_dtype
from ._factors import add_active_products, mirror


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
    if not rows.target.couples:
        return rows.curvature(coef, intercept, n_threads), None
    logits = rows.scores("logits", coef, intercept, n_threads)
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


def raise_curvatures(rows, diagonal, coupling, change, n_threads):
    """Raise the diagonals d to what they may become nearby, in place, for plain cross-entropies.

    p (1 - p) grows by a factor exp(r) at most if its logit changes by r, and to 1/4 at most.

    Parameters
    ----------
    rows : MemoryRows
    diagonal, coupling : ndarray of shape (n_rows, n_outputs)
        As from ``row_curvatures``.
    change : float or ndarray of shape (n_rows, n_outputs)
        r, >= 0.
    n_threads : int
    """
    weight = rows.weight[:, np.newaxis]
    if rows.y.entry_weight is not None and not rows.target.couples:
        weight = rows.entry_weight(n_threads)
    change = np.broadcast_to(change, diagonal.shape)
    size = max(1, threads.X_BLOCK // diagonal.shape[1])
    for begin in range(0, len(diagonal), size):  # blocks stay in the cache
        part = slice(begin, begin + size)
        shared = 0.0 if coupling is None else coupling[part] ** 2
        own = diagonal[part] - shared
        most = np.maximum(own, 0.25 * weight[part])
        diagonal[part] = np.minimum(own * np.exp(change[part]), most) + shared


def active_hessian(rows, coef, intercept, mean, active, neglected, n_threads):
    """Compute the Hessian of the sum of the weighted losses in some of the coefficients.

    A softmax has the block (k, l) -X^T diag(w p_k p_l) X for each pair of outputs, and in block
    (k, k) p_k (1 - p_k) in its place. Most rows have two or three classes of a probability that is
    not next to 0. The others are left out of a block as far as all of them together have at most
    the share ``neglected`` of the curvature of both outputs. Rows that count in a block off the
    diagonal then count on the diagonal too, so the matrix stays positive semidefinite.

    X is read in blocks of rows. Only if it is small, a centred copy is kept with the rows.

    Parameters
    ----------
    rows : MemoryRows
    coef : ndarray of shape (n_features, n_outputs)
    intercept : ndarray of shape (n_outputs,)
    mean : ndarray of shape (n_features,) or None
        None means that there is no intercept.
    active : list of ndarray of int
        For each output the features of its coefficients, ascending; n_features is the intercept.
    neglected : float
    n_threads : int

    Returns
    -------
    ndarray of shape (n, n), float64
        In the order of ``active``, one output after the other.
    """
    n_outputs, dtype = len(active), np.dtype(computing_dtype(rows.X))
    columns, is_small = np.concatenate(active), rows.n_rows * rows.n_features <= threads.X_BLOCK
    starts = np.array([0, *accumulate(map(len, active))], dtype=np.intp)
    if not is_small:
        is_used = np.zeros(rows.n_features + 1, dtype=bool)
        is_used[columns] = True
        of_features, uses_ones = np.flatnonzero(is_used[:-1]), is_used[-1]
        columns = (np.cumsum(is_used, dtype=np.intp) - 1)[columns]
    diagonal, coupling = row_curvatures(rows, coef, intercept, n_threads)
    least = np.zeros((n_outputs, n_outputs))
    if coupling is None:
        coupling = np.zeros((0, 0), dtype)
    else:
        diagonal -= coupling**2
        if neglected > 0:
            total = diagonal.sum(axis=0, dtype=np.float64)
            least = neglected * np.minimum.outer(total, total) / (rows.n_rows * n_outputs)
            np.fill_diagonal(least, least.min(axis=1))
        coupling = np.ascontiguousarray(coupling.T, dtype=dtype)
    diagonal = np.ascontiguousarray(diagonal.T, dtype=dtype)
    result = np.zeros((starts[-1], starts[-1]), dtype)
    if rows.n_rows * float(starts[-1]) ** 2 < threads.THREADED_WORK:
        n_threads = 1
    for begin in range(0, rows.n_rows, threads.PRODUCT_ROWS):
        part = slice(begin, begin + threads.PRODUCT_ROWS)
        if is_small:  # a copy is kept
            X = rows._centred_X(mean, dtype)[part]
        else:
            X = rows.X[part]
            if len(of_features) < rows.n_features:
                X = X[:, of_features]
            X = np.asarray(X.toarray() if sparse.issparse(X) else X, dtype=dtype)
            if mean is not None:
                X = X - mean[of_features].astype(dtype)
            if uses_ones:
                X = np.concatenate([X, np.ones((len(X), 1), dtype)], axis=1)
        add_active_products(
            np.ascontiguousarray(X),
            np.ascontiguousarray(diagonal[:, part]),
            np.ascontiguousarray(coupling[:, part]),
            least,
            columns,
            starts,
            result,
            n_threads,
        )
    result = result.astype(np.float64, copy=False)
    mirror(result)
    return result
