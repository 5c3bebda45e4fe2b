"""Models that are fitted to all rows but one, from the model that is fitted to all of them.

With the objective multiplied by the sum of the weights, the model without row i minimises

    F(W) - f_i loss_i(W),      F(W) = sum_j loss_j(W) + penalty(W),

where loss_j includes the weight of row j and f_i is the share of row i that is left out. Let z_i be
the logits of row i at the minimum W of F, r_i and S_i the gradient and the Hessian of loss_i in
them, H the Hessian of F, and G_i = X_i^T H^-1 X_i, where X_i maps coefficients to the logits of row
i. A Newton step from W, with the inverse of H - f_i X_i S_i X_i^T by Woodbury's identity, gives

    z_i + G_i (I - f_i S_i G_i)^-1 f_i r_i

as the logits of row i without it: Wang et al., arXiv 1807.02694; Rahnama Rad and Maleki, arXiv
1801.10243; for several outputs Burn, arXiv 1711.05420. Where the curvature of the other rows
changes along this step, further Newton steps follow.
"""

import numpy as np
from scipy.linalg import lapack

from .._plan.leave_one_out_settings import LeavingOut
from .._utils.numerics import EPS, LEAST_CURVATURE, SLACK_MULTIPLES
from .penalties import least_subgradient
from .preconditioners import cholesky_factor


class LeftOutModels:
    """The models of some outputs, all that one loss couples or a single one.

    Coefficients W are matrices like the vector of the objective: of shape (n_rows_of_W, n_outputs).

    Parameters
    ----------
    X : ndarray of shape (n, n_rows_of_W), float64
        Rows less the mean, and a column of ones for the intercept.
    target : EncodedTarget
        Targets of the rows for these outputs, in float64.
    W : ndarray of shape (n_rows_of_W, n_outputs)
        The minimum for all rows, or a point near it.
    penalty : tuple of four ndarrays of shape (n_rows_of_W,)
        Factors ``l1`` and ``l2`` of the penalty of the sum of the losses, and the bounds ``lower``
        and ``upper`` of the coefficients.
    share : ndarray of shape (n,)
        f_i above, in (0, 1].
    offset : ndarray of shape (n_outputs,)
        What is added to the logits.
    exact : bool
        Whether the kernels compute the exact Hessian of the loss.
    shift_invariant : bool
        Whether the same change of all logits of a row does not change its loss.
    n_threads : int
    settings : LeavingOut

    Attributes
    ----------
    logits, losses : ndarray of shape (n, n_outputs) and (n,)
        Those of all rows at the minimum for all rows; ``losses`` include weights.
    products : int
        Number of products with X and its transpose so far, in units of one model.
    """

    def __init__(
        self, X, target, W, penalty, share, offset, exact, shift_invariant, n_threads, settings
    ):
        self.X, self.target, self.W, self.share = X, target, W, share
        l1, l2, lower, upper = (a[:, np.newaxis] for a in penalty)
        self.l1, self.l2, self.bounds = l1, l2, (lower, upper)
        self.is_free = not l1.any() and np.all(lower == -np.inf) and np.all(upper == np.inf)
        self.offset, self.exact, self.shift_invariant = offset, exact, shift_invariant
        self.n_threads, self.settings = n_threads, settings
        self.products = self.unfinished = 0
        self.rounding = 8 * EPS[np.dtype(float)]
        self.n_outputs = W.shape[1]
        self._find_minimum()

    # ---- Sums over rows ------------------------------------------------------------------------

    def _hessian_product(self, logits, direction, out):
        """Fill ``out`` with the Hessian of the loss of each row times a direction of its logits."""
        if self.exact:
            self.target.hessian_product(logits, direction, out, 1)
            return
        size = np.abs(direction).max(initial=0.0)
        width = self.settings.difference / size if size > 0 else 1.0
        down = np.empty_like(out)
        self.target.loss_gradient(logits + width * direction, None, out, 1)
        self.target.loss_gradient(logits - width * direction, None, down, 1)
        out -= down
        out /= 2.0 * width

    def _evaluate(self, W, left, share):
        """Evaluate a stack of models, each without a row.

        Parameters
        ----------
        W : ndarray of shape (m, n_rows_of_W, n_outputs)
        left : ndarray of shape (m,)
            Row that each model is without.
        share : ndarray of shape (m,)
            Share of it that is left out.

        Returns
        -------
        value : ndarray of shape (m,)
            The objective without the row.
        own : (ndarray of shape (m, n_outputs), ndarray of shape (m,), ndarray of the first shape)
            Logits of the row left out, its loss, and the gradient of that in the logits.
        logits : ndarray of shape (m, n, n_outputs)
        gradient : ndarray of the shape of W
            That of all but the part of the penalty with ``l1``.
        """
        self.products += len(W)
        logits = np.matmul(self.X, W)
        logits += self.offset
        slopes, losses = np.empty_like(logits), np.empty(logits.shape[:2])
        for z, loss, slope in zip(logits, losses, slopes, strict=True):
            self.target.loss_gradient(z, loss, slope, 1)
        at = np.arange(len(W)), left
        own = logits[at], losses[at], slopes[at]
        slopes[at] *= 1.0 - share[:, np.newaxis]
        value = losses.sum(axis=1) - share * own[1]
        value += (0.5 * self.l2 * W**2 + self.l1 * np.abs(W)).sum(axis=(1, 2))
        gradient = np.matmul(self.X.T, slopes)
        gradient += self.l2 * W
        return value, own, logits, gradient

    # ---- The minimum for all rows, and steps from it -------------------------------------------

    def _find_minimum(self):
        """Polish W, and compute what single steps need there."""
        settings = self.settings
        nothing = np.zeros(1, dtype=np.intp), np.zeros(1)
        for _ in range(settings.most_polishing):
            self.logits = self.X @ self.W + self.offset
            self.losses, self.slopes = np.empty(len(self.logits)), np.empty_like(self.logits)
            self.target.loss_gradient(self.logits, self.losses, self.slopes, 1)
            self.typical_loss = self.losses.mean()
            self._factorise()
            W, gap = self._minimised(self.W[np.newaxis], *nothing)[:2]
            moved = gap[0] > settings.near_minimum * self.losses.sum()
            self.W = W[0]
            if not moved:
                break

    def _factorise(self):
        """Compute the inverse Hessian of the active coefficients, and G_i and S_i of all rows."""
        X, (n, n_outputs) = self.X, self.logits.shape
        self.curvature = np.empty((n_outputs, n, n_outputs))
        for k, of_output in enumerate(self.curvature):
            unit = np.zeros((n, n_outputs))
            unit[:, k] = 1.0
            self._hessian_product(self.logits, unit, of_output)
        self.curvature = self.curvature.transpose(1, 0, 2)
        lower, upper = self.bounds
        active = (self.W > lower) & (self.W < upper) & ((self.W != 0) | (self.l1 == 0))
        self.active = np.flatnonzero(active)
        columns = [np.flatnonzero(of_output) for of_output in active.T]
        starts = np.cumsum([0, *map(len, columns)])
        parts = [slice(*pair) for pair in zip(starts[:-1], starts[1:], strict=True)]
        Xs = [X if len(c) == X.shape[1] else np.ascontiguousarray(X[:, c]) for c in columns]
        matrix = np.empty((starts[-1], starts[-1]))
        for k in range(n_outputs):
            for other in range(k, n_outputs):
                weighted = Xs[k] * self.curvature[:, k, other, np.newaxis]
                matrix[parts[k], parts[other]] = weighted.T @ Xs[other]
        at_k = np.concatenate(columns)
        diagonal = matrix.diagonal() + self.l2[at_k, 0]
        diagonal[~(diagonal > LEAST_CURVATURE)] = 1.0
        matrix.flat[:: len(matrix) + 1] = diagonal
        if self.shift_invariant:
            # The same change of all logits has no curvature but that of the penalty, and gradients
            # have no component along it: a curvature like that of the outputs changes nothing.
            for j in np.flatnonzero(active.all(axis=1) & (self.l1[:, 0] == 0)):
                at = [part.start + np.searchsorted(c, j) for part, c in zip(parts, columns)]
                matrix[np.ix_(at, at)] += diagonal[at].sum() / n_outputs**2
        scale = 1.0 / np.sqrt(matrix.diagonal())
        for slack in SLACK_MULTIPLES:
            try:
                factor = cholesky_factor(matrix.copy(), scale, slack)
                break
            except np.linalg.LinAlgError:
                continue
        inverse = lapack.dpotri(factor, lower=True, overwrite_c=True)[0]
        inverse *= scale[:, np.newaxis]
        inverse *= scale
        inverse += np.tril(inverse, -1).T
        leverage = np.empty((n, n_outputs, n_outputs))
        for k in range(n_outputs):
            projected = Xs[k] @ inverse[parts[k], starts[k] :]
            for other in range(k, n_outputs):
                part = slice(starts[other] - starts[k], starts[other + 1] - starts[k])
                product = np.einsum("ij,ij->i", projected[:, part], Xs[other])
                leverage[:, k, other] = leverage[:, other, k] = product
        self.leverage = leverage
        if not self.is_free:
            curvature = np.einsum("ikk->ik", self.curvature)
            self.inverse_diagonal = 1.0 / np.maximum(
                np.einsum("ij,ij,ik->jk", X, X, curvature, optimize=True) + self.l2,
                LEAST_CURVATURE,
            ).ravel()
        # in the order of W: first by its rows
        order = np.argsort(at_k * n_outputs + np.repeat(np.arange(n_outputs), np.diff(starts)))
        self.inverse = np.ascontiguousarray(inverse[np.ix_(order, order)])

    def _downdate(self, left, share):
        """Return (I - f S G)^-1 f of some rows, of shape (m, n_outputs, n_outputs)."""
        f = share[:, np.newaxis, np.newaxis]
        unit = np.eye(self.n_outputs)
        return np.linalg.solve(unit - f * self.curvature[left] @ self.leverage[left], f * unit)

    def single_steps(self):
        """Return the changes of the logits of all rows by single Newton steps.

        Returns
        -------
        ndarray of shape (n, n_outputs)
        """
        rows = np.arange(len(self.X))
        self.directions = np.einsum("ikl,il->ik", self._downdate(rows, self.share), self.slopes)
        return np.einsum("ikl,il->ik", self.leverage, self.directions)

    # ---- More steps ----------------------------------------------------------------------------

    def found(self, left):
        """Return the logits of some rows by the models without them, of shape (m, n_outputs)."""
        step = np.zeros((len(left), self.W.size))
        of_rows = self.X[left][:, :, np.newaxis] * self.directions[left][:, np.newaxis]
        step[:, self.active] = of_rows.reshape(step.shape)[:, self.active] @ self.inverse
        start = self.W + step.reshape(-1, *self.W.shape)
        return self._minimised(start, left, self.share[left])[2]

    def _minimised(self, W, left, share):
        """Minimise a stack of models by Newton's method with conjugate gradients.

        Parameters
        ----------
        W : ndarray of shape (m, n_rows_of_W, n_outputs)
            Where to start.
        left, share : ndarray of shape (m,)
            As for ``_evaluate``; a model with a share of 0 is that of all rows.

        Returns
        -------
        W : ndarray of the same shape
        gap : ndarray of shape (m,)
            Newton's decrement at the start.
        logits : ndarray of shape (m, n_outputs)
            Those of the rows left out.
        """
        settings, total = self.settings, self.losses.sum()
        minima, gaps, found = W.copy(), np.zeros(len(W)), np.empty((len(W), self.n_outputs))
        models, downdate = np.arange(len(W)), _Downdate(self, left, share)
        value, own, logits, gradient = self._evaluate(W, left, share)
        for number in range(settings.most_steps):
            slope, free = self._slope(W, gradient)
            step = self._newton_step(logits, slope, free, left, share, downdate)
            decrement = -(slope * step).sum(axis=(1, 2))
            if number == 0:
                gaps = decrement
            end = self._moved(W, step, slope)
            ahead = np.einsum("md,mdk->mk", self.X[left], end) + self.offset
            change = np.abs(((ahead - own[0]) * own[2]).sum(axis=1))
            is_last = change <= settings.own * own[1] + settings.of_mean * self.typical_loss
            is_last = np.where(share > 0, is_last, decrement <= settings.minimum * total)
            minima[models[is_last]], found[models[is_last]] = end[is_last], ahead[is_last]
            kept = np.flatnonzero(~is_last)
            if len(kept) == 0:
                return minima, gaps, found
            if len(kept) < len(models):
                models, left, share, downdate = (
                    models[kept],
                    left[kept],
                    share[kept],
                    downdate.taken(kept),
                )
                W, value, slope, step, end = (
                    W[kept],
                    value[kept],
                    slope[kept],
                    step[kept],
                    end[kept],
                )
            W, value, own, logits, gradient = self._searched(
                W, value, slope, step, end, left, share
            )
            minima[models], found[models] = W, own[0]
        self.unfinished += len(models)
        return minima, gaps, found

    def _slope(self, W, gradient):
        """Return the least subgradient, and which coefficients a step may change (None: all)."""
        if self.is_free:
            return gradient, None
        lower, upper = self.bounds
        slope = least_subgradient(W, gradient, self.l1, lower, upper, False)
        inside = (W > lower) & (W < upper) & ((W != 0) | (self.l1 == 0))
        return slope, inside | (slope != 0)

    def _moved(self, W, step, slope):
        """Return W + step, where coefficients end at 0 and at bounds instead of crossing them."""
        end = W + step
        if self.is_free:
            return end
        sign = np.where(W != 0, np.sign(W), -np.sign(slope))
        end[(self.l1 > 0) & (end * sign < 0)] = 0.0
        return np.clip(end, *self.bounds, out=end)

    def _newton_step(self, logits, slope, free, left, share, downdate):
        """Solve the Newton equations of a stack of models in their free coefficients."""
        settings, at = self.settings, (np.arange(len(left)), left)
        residual = -slope if free is None else np.where(free, -slope, 0.0)
        result, direction = np.zeros_like(slope), None
        curved = np.empty_like(logits)
        size = first = None
        for _ in range(settings.most_cg_iter):
            solved = downdate.apply(residual)
            if free is not None:
                solved *= free
            new = np.einsum("mdk,mdk->m", residual, solved)
            if direction is None:
                first, direction = new, solved
            else:
                direction *= (new / np.where(size > 0, size, 1.0))[:, np.newaxis, np.newaxis]
                direction += solved
            size = np.where(new > settings.cg_left**2 * first, new, 0.0)
            if not size.any():
                break
            self.products += len(left)
            along = np.matmul(self.X, direction)
            for z, of_model, out in zip(logits, along, curved, strict=True):
                self._hessian_product(z, of_model, out)
            curved[at] *= 1.0 - share[:, np.newaxis]
            product = np.matmul(self.X.T, curved)
            product += self.l2 * direction
            if free is not None:
                product *= free
            curvature = np.einsum("mdk,mdk->m", direction, product)
            going = (size > 0) & (curvature > 0)
            factor = np.where(going, size / np.where(going, curvature, 1.0), 0.0)
            factor = factor[:, np.newaxis, np.newaxis]
            result += factor * direction
            residual -= factor * product
        return result

    def _searched(self, W, value, slope, step, end, left, share):
        """Return the results of line searches, with what ``_evaluate`` returns there."""
        settings, length = self.settings, np.ones(len(W))
        moved, at = W.copy(), np.arange(len(W))
        results = None
        for trial in range(settings.most_trials):
            result = self._evaluate(end, left[at], share[at])
            change = end - W[at]
            before = np.einsum("mdk,mdk->m", slope[at], change)
            slope_there = result[3] + self.l1 * np.sign(end)
            after = np.einsum("mdk,mdk->m", slope_there, change)
            noise = self.rounding * np.abs(value[at])
            good = result[0] <= value[at] + settings.sufficient_decrease * before + noise
            good &= (after <= -settings.steepest_end * before) | (np.abs(before) <= noise)
            if trial == settings.most_trials - 1:
                good[:] = True
            if results is None:
                results = result
            else:
                for old, new in zip(_flat(results), _flat(result), strict=True):
                    old[at] = new
            moved[at] = end
            bad = ~good
            if not bad.any():
                break
            ratio = before[bad] / np.minimum(before[bad] - after[bad], before[bad])
            at = at[bad]
            length[at] *= np.clip(ratio, 0.1, 0.5)
            end = self._moved(W[at], length[at, np.newaxis, np.newaxis] * step[at], slope[at])
        return moved, *results


def _flat(results):
    """Return the arrays that ``_evaluate`` returns, one after the other."""
    value, own, logits, gradient = results
    return value, *own, logits, gradient


class _Downdate:
    """Multiplies by inverses of the Hessian at the minimum for all rows less that of one row.

    With U = H^-1 X_i, the inverse is H^-1 + U (I - f S G)^-1 f S U^T in the active coefficients;
    others have their diagonal alone.
    """

    def __init__(self, models, left, share):
        self.models = models
        n_outputs, active = models.n_outputs, models.active
        self.of_logits = np.empty((len(left), len(active), n_outputs))
        for k in range(n_outputs):
            of_output = active % n_outputs == k
            features = active[of_output] // n_outputs
            self.of_logits[:, :, k] = models.X[np.ix_(left, features)] @ models.inverse[of_output]
        self.factor = models._downdate(left, share) @ models.curvature[left]

    def taken(self, kept):
        """Return that of some of the models."""
        new = object.__new__(_Downdate)
        new.models, new.of_logits, new.factor = self.models, self.of_logits[kept], self.factor[kept]
        return new

    def apply(self, V):
        """Return the product with a stack of shape (m, n_rows_of_W, n_outputs)."""
        models = self.models
        given = V.reshape(len(V), -1)
        result = given * models.inverse_diagonal if not models.is_free else np.empty_like(given)
        part = given if len(models.active) == given.shape[1] else given[:, models.active]
        solved = part @ models.inverse
        of_row = np.einsum("mak,ma->mk", self.of_logits, part)
        of_row = np.einsum("mkl,ml->mk", self.factor, of_row)
        solved += np.einsum("mak,mk->ma", self.of_logits, of_row)
        result[:, models.active] = solved
        return result.reshape(V.shape)
