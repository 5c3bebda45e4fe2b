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

from itertools import pairwise

import numpy as np
from scipy.linalg import lapack

from .._data._factors import mirror
from .._utils.numerics import EPS, LEAST_CURVATURE, SLACK, SLACK_MULTIPLES
from .._utils.threads import THREADED_WORK, ParallelLoop
from .left_out_stack import Downdate, Evaluated
from .penalties import least_subgradient
from .preconditioners import cholesky_factor


class LeftOutModels:
    """The models of some outputs: of all that one loss couples, or of a single one.

    Coefficients are matrices of shape (n_outputs, n_columns), the transpose of the matrix of an
    objective's vector: a stack of them has one row per output and model, so that the logits of many
    models are a single product with X.

    Parameters
    ----------
    X : ndarray of shape (n, n_columns), float64
        Rows less the mean, and a column of ones for the intercept.
    target : EncodedTarget
        Targets of the rows for these outputs, in float64.
    W : ndarray of shape (n_outputs, n_columns)
        The minimum for all rows, or a point near it.
    penalty : tuple of four ndarrays of shape (n_columns,)
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
    logits : ndarray of shape (n, n_outputs)
    losses : ndarray of shape (n,)
        Logits and weighted losses of all rows at the minimum for all of them.
    typical_loss : float
        Mean of the weighted losses of rows that are left out, as far as it is known.
    unfinished : ndarray of shape (n,), bool
        Rows whose models have not been found in the largest number of steps.
    """

    def __init__(
        self, X, target, W, penalty, share, offset, exact, shift_invariant, n_threads, settings
    ):
        self.X, self.target, self.W, self.share = X, target, W, share
        self.l1, self.l2, self.lower, self.upper = penalty
        self.is_smooth = not self.l1.any() and np.all(self.lower == -np.inf)
        self.is_smooth &= np.all(self.upper == np.inf)
        self.offset, self.exact, self.shift_invariant = offset, exact, shift_invariant
        self.n_threads, self.settings = n_threads, settings
        self.n_outputs, self.unfinished = len(W), np.zeros(len(X), dtype=bool)
        self._find_minimum()

    # ---- Sums over rows ------------------------------------------------------------------------

    def losses_at(self, logits):
        """Return the weighted losses of all rows at some logits, of shape (n,)."""
        losses = np.empty(len(logits))
        self.target.loss_gradient(logits, losses, None, self.n_threads)
        return losses

    def _hessian_product(self, logits, direction, out):
        """Fill ``out`` with the Hessian of the loss of each row times a direction of its logits."""
        if self.exact:
            self.target.hessian_product(logits, direction, out, 1)
            return
        size = max(direction.max(initial=0.0), -direction.min(initial=0.0))
        width = self.settings.difference / size if size > 0 else 1.0
        down = np.empty_like(out)
        self.target.loss_gradient(logits + width * direction, None, out, 1)
        self.target.loss_gradient(logits - width * direction, None, down, 1)
        out -= down
        out /= 2.0 * width

    def _logits(self, W):
        """Return the logits of all rows by a stack of models, of shape (m, n_outputs, n)."""
        return (W.reshape(-1, W.shape[2]) @ self.X.T).reshape(*W.shape[:2], len(self.X))

    def _gradient(self, slopes):
        """Return the sums over the rows of X times slopes of the shape of ``_logits``."""
        sums = slopes.reshape(-1, slopes.shape[2]) @ self.X
        return sums.reshape(*slopes.shape[:2], self.X.shape[1])

    def _evaluate(self, W, left, share):
        """Evaluate a stack of models, each without a row.

        Parameters
        ----------
        W : ndarray of shape (m, n_outputs, n_columns)
        left : ndarray of shape (m,)
            Row that each model is without.
        share : ndarray of shape (m,)
            Share of it that is left out.

        Returns
        -------
        Evaluated
        """
        logits = self._logits(W)
        logits += self.offset[:, np.newaxis]
        slopes, losses = np.empty_like(logits), np.empty((len(W), len(self.X)))
        for z, loss, slope in zip(logits, losses, slopes, strict=True):
            self.target.loss_gradient(z.T, loss, slope.T, 1)
        at = np.arange(len(W))
        own_logits, own_slope = logits[at, :, left], slopes[at, :, left]
        own_loss = losses[at, left]
        slopes[at, :, left] *= 1.0 - share[:, np.newaxis]
        value = losses.sum(axis=1) - share * own_loss
        value += (0.5 * self.l2 * W**2 + self.l1 * np.abs(W)).sum(axis=(1, 2))
        gradient = self._gradient(slopes)
        gradient += self.l2 * W
        return Evaluated(W, value, gradient, logits, own_logits, own_loss, own_slope)

    # ---- The minimum for all rows, and steps from it -------------------------------------------

    def _find_minimum(self):
        """Polish W, and compute what single steps need there."""
        row = np.zeros(1, dtype=np.intp), np.zeros(1)  # of which nothing is left out
        for _ in range(self.settings.most_polishing):
            self._look()
            self._find_curvature()
            self._factorise()
            W, gap, _ = self._minimised(self.W[np.newaxis], *row)
            self.W = W[0]
            is_near = gap[0] <= self.settings.near_minimum * self.losses.sum()
            if is_near and np.array_equal(np.flatnonzero(self._is_active(self.W)), self.active):
                break
        self._look()

    def _look(self):
        """Evaluate all rows at W."""
        self.logits = self.X @ self.W.T + self.offset
        self.losses, self.slopes = np.empty(len(self.logits)), np.empty_like(self.logits)
        self.target.loss_gradient(self.logits, self.losses, self.slopes, self.n_threads)
        self.typical_loss = self.losses.mean()

    def _find_curvature(self):
        """Compute the Hessians of the losses of all rows at W.

        They stay those at the point of the factor: with others, leverages might exceed 1.
        """
        self.curvature = np.empty((*self.logits.shape, self.n_outputs))
        unit = np.zeros_like(self.logits)
        for k in range(self.n_outputs):
            unit[:, k] = 1.0
            self._hessian_product(self.logits, unit, self.curvature[:, k])
            unit[:, k] = 0.0

    def _factorise(self):
        """Compute the inverse Hessian in the active coefficients, and G_i of all rows."""
        X, n_outputs, W = self.X, self.n_outputs, self.W
        active = self._is_active(W)
        self.active = np.flatnonzero(active)
        columns = [np.flatnonzero(of_output) for of_output in active]
        starts = np.cumsum([0, *map(len, columns)])
        self.parts = [slice(*pair) for pair in pairwise(starts)]
        self.columns = [slice(None) if len(c) == X.shape[1] else c for c in columns]
        Xs = [X if isinstance(c, slice) else np.ascontiguousarray(X[:, c]) for c in self.columns]
        matrix = np.zeros((starts[-1], starts[-1]))
        is_large = len(X) * float(starts[-1]) ** 2 > THREADED_WORK
        loop = ParallelLoop(n_outputs, 1, self.n_threads if is_large else 1)

        def add_products(outputs):
            for k in range(outputs.start, outputs.stop):
                for other in range(k, n_outputs):
                    weighted = Xs[k] * self.curvature[:, k, other, np.newaxis]
                    matrix[self.parts[k], self.parts[other]] = weighted.T @ Xs[other]

        loop.each(add_products)
        diagonal = matrix.diagonal() + np.concatenate([self.l2[c] for c in self.columns])
        diagonal[~(diagonal > LEAST_CURVATURE)] = 1.0
        matrix.flat[:: len(matrix) + 1] = diagonal
        if self.shift_invariant:
            # The same change of all logits has no curvature but that of the penalty, and gradients
            # have no component along it: a curvature like that of the outputs changes nothing.
            for j in np.flatnonzero(active.all(axis=0) & (self.l1 == 0)):
                at = starts[:-1] + [np.searchsorted(c, j) for c in columns]
                matrix[np.ix_(at, at)] += diagonal[at].sum() / n_outputs**2
        scale = 1.0 / np.sqrt(matrix.diagonal())
        for slack in SLACK_MULTIPLES:  # rounding errors of nearly singular ones need a larger one
            try:
                factor = cholesky_factor(matrix.copy(), scale, slack)
                break
            except np.linalg.LinAlgError:
                if slack == SLACK_MULTIPLES[-1]:
                    raise
        inverse = lapack.dpotri(factor, lower=True, overwrite_c=True)[0].T  # in C order
        inverse *= scale[:, np.newaxis]
        inverse *= scale
        mirror(inverse)
        self.inverse, self.leverage = inverse, np.empty((len(X), n_outputs, n_outputs))

        def project(outputs):
            for k in range(outputs.start, outputs.stop):
                projected = Xs[k] @ inverse[self.parts[k], starts[k] :]
                for other in range(k, n_outputs):
                    part = projected[:, starts[other] - starts[k] : starts[other + 1] - starts[k]]
                    product = np.matmul(part[:, np.newaxis], Xs[other][:, :, np.newaxis])[:, 0, 0]
                    self.leverage[:, k, other] = self.leverage[:, other, k] = product

        loop.each(project)
        if not self.is_smooth:
            curvature = np.einsum("ikk->ki", self.curvature)
            self.inverse_diagonal = 1.0 / np.maximum(curvature @ X**2 + self.l2, LEAST_CURVATURE)

    def downdate(self, left, share):
        """Return (I - f S G)^-1 f of some rows, of shape (m, n_outputs, n_outputs)."""
        f, unit = share[:, np.newaxis, np.newaxis], np.eye(self.n_outputs)
        # a row that alone determines a coefficient without a penalty has a leverage of 1
        f = f * (1.0 - SLACK[unit.dtype])
        return np.linalg.solve(unit - f * (self.curvature[left] @ self.leverage[left]), f * unit)

    def single_steps(self):
        """Return the changes of the logits of all rows by single Newton steps.

        Returns
        -------
        ndarray of shape (n, n_outputs)
        """
        downdate = self.downdate(np.arange(len(self.X)), self.share)
        self.directions = (downdate @ self.slopes[:, :, np.newaxis])[:, :, 0]
        return (self.leverage @ self.directions[:, :, np.newaxis])[:, :, 0]

    # ---- More steps ----------------------------------------------------------------------------

    def _stepped(self, left):
        """Return the coefficients of models without some rows after their single steps."""
        step = np.zeros((len(left), self.W.size))
        of_rows = self.directions[left][:, :, np.newaxis] * self.X[left][:, np.newaxis]
        step[:, self.active] = of_rows.reshape(step.shape)[:, self.active] @ self.inverse
        step = step.reshape(-1, *self.W.shape)
        return self._moved(self.W, step, np.zeros(1))

    def found(self, left):
        """Return the logits of some rows by the models without them, of shape (m, n_outputs)."""
        return self._minimised(self._stepped(left), left, self.share[left])[2]

    def second_changes(self, left):
        """Return about how much second steps change the losses of some rows, of shape (m,).

        Unlike single steps, they change coefficients that are 0 at the minimum for all rows.
        """
        share = self.share[left]
        here = self._evaluate(self._stepped(left), left, share)
        slope, free = self._slope(here)
        step = Downdate(self, left, share).apply(-slope)
        end = self._moved(here.W, step if free is None else step * free, slope)
        change = ((end - here.W) @ self.X[left][:, :, np.newaxis])[:, :, 0]
        return np.abs(np.einsum("mk,mk->m", change, here.own_slope))

    def _minimised(self, W, left, share):
        """Minimise a stack of models by Newton's method with conjugate gradients.

        Parameters
        ----------
        W : ndarray of shape (m, n_outputs, n_columns)
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
        settings, total, gaps = self.settings, self.losses.sum(), None
        minima, found = W.copy(), np.empty((len(W), self.n_outputs))
        models, downdate = np.arange(len(W)), Downdate(self, left, share)
        here, before = self._evaluate(W, left, share), np.full(len(W), np.inf)
        if (share > 0).any():  # the start may be worse than the minimum for all rows
            penalty = 0.5 * self.l2 * self.W**2 + self.l1 * np.abs(self.W)
            at_minimum = total + penalty.sum() - share * self.losses[left]
            worse = np.flatnonzero(~(here.value <= at_minimum))
            if len(worse):
                again = np.repeat(self.W[np.newaxis], len(worse), axis=0)
                here.put(worse, self._evaluate(again, left[worse], share[worse]))
        for _ in range(settings.most_steps):
            slope, free = self._slope(here)
            step = self._step(here, slope, free, left, share, downdate)
            decrement = -np.einsum("mkd,mkd->m", slope, step)
            gaps = decrement if gaps is None else gaps
            end = self._moved(here.W, step, slope)
            ahead = (end @ self.X[left][:, :, np.newaxis])[:, :, 0] + self.offset
            moved = ahead - here.own_logits
            change = np.abs(np.einsum("mk,mk->m", moved, here.own_slope))
            # the slope holds for a short way alone
            change[np.abs(moved).max(axis=1) > settings.short] = np.inf
            limit = settings.own * here.own_loss + settings.of_mean * self.typical_loss
            with np.errstate(divide="ignore", invalid="ignore"):
                to_go = change / (1.0 - change / before)  # with steps to come that shrink alike
            to_go[~(change < before)] = np.inf
            is_last = np.where(share > 0, to_go <= limit, decrement <= settings.minimum * total)
            is_last &= (decrement > 0) | ~slope.any(axis=(1, 2))  # else rounding errors decided
            if free is not None:  # once other coefficients are active, steps have another length
                is_same = self._is_active(end) == self._is_active(here.W)
                is_last &= is_same.all(axis=(1, 2)) | (share == 0)
            minima[models[is_last]], found[models[is_last]] = end[is_last], ahead[is_last]
            kept = np.flatnonzero(~is_last)
            if len(kept) == 0:
                return minima, gaps, found
            if len(kept) < len(models):
                models, left, share = models[kept], left[kept], share[kept]
                downdate, here = downdate.taken(kept), here.taken(kept)
                change = change[kept]
                slope, step, end = slope[kept], step[kept], end[kept]
            here, before = self._searched(here, slope, step, end, left, share), change
            minima[models], found[models] = here.W, here.own_logits
        self.unfinished[left[share > 0]] = True
        return minima, gaps, found

    def _slope(self, here):
        """Return the least subgradient, and which coefficients a step may change (None: all)."""
        if self.is_smooth:
            return here.gradient, None
        W, lower, upper = here.W, self.lower, self.upper
        slope = least_subgradient(W, here.gradient, self.l1, lower, upper, False)
        return slope, self._is_active(W) | (slope != 0)

    def _is_active(self, W):
        """Return which coefficients have a smooth objective around their values, as a mask."""
        return (W > self.lower) & (W < self.upper) & ((W != 0) | (self.l1 == 0))

    def _moved(self, W, step, slope):
        """Return W + step, where coefficients end at 0 and at bounds instead of crossing them."""
        end = W + step
        if self.is_smooth:
            return end
        sign = np.where(W != 0, np.sign(W), -np.sign(slope))
        end[(self.l1 > 0) & (end * sign < 0)] = 0.0
        return np.clip(end, self.lower, self.upper, out=end)

    def _step(self, here, slope, free, left, share, downdate):
        """Return Newton steps of a stack of models.

        Where coefficients would cross 0 or a bound, they go that far and no further, and the others
        are solved for anew.
        """
        stack, known = (here.logits, left, share, downdate), np.zeros_like(slope)
        first = None
        for _ in range(self.settings.most_rounds):
            residual = -slope
            if known.any():
                residual -= self._product(known, *stack[:3])
            step = known + self._solved(residual, free, *stack)
            if free is None:
                return step
            first = step if first is None else first
            blocked = free & (self._moved(here.W, step, slope) != here.W + step)
            if not blocked.any():
                break
            free = free & ~blocked
            known = np.where(free, 0.0, self._moved(here.W, step, slope) - here.W)
        if step is not first:  # the way to the limits may lead upwards
            gain = np.einsum("mkd,mkd->m", step, slope + 0.5 * self._product(step, *stack[:3]))
            step = np.where(gain[:, np.newaxis, np.newaxis] < 0, step, first)
        return step

    def _product(self, direction, logits, left, share):
        """Return the Hessians of a stack of models times a direction for each."""
        curved = np.empty_like(logits)
        for z, of_model, out in zip(logits, self._logits(direction), curved, strict=True):
            self._hessian_product(z.T, of_model.T, out.T)
        curved[np.arange(len(left)), :, left] *= 1.0 - share[:, np.newaxis]
        product = self._gradient(curved)
        product += self.l2 * direction
        return product

    def _solved(self, residual, free, logits, left, share, downdate):
        """Solve the Newton equations of a stack of models in their free coefficients."""
        settings = self.settings
        if free is not None:
            residual *= free
        result, direction, size = np.zeros_like(residual), None, None
        for _ in range(settings.most_cg_iter):
            solved = downdate.apply(residual)
            if free is not None:
                solved *= free
            new = np.einsum("mkd,mkd->m", residual, solved)
            if direction is None:
                first, direction = new, solved
            else:
                ratio = np.divide(new, size, out=np.zeros_like(new), where=size > 0)
                direction *= ratio[:, np.newaxis, np.newaxis]
                direction += solved
            size = np.where(new > settings.cg_left**2 * first, new, 0.0)
            if not size.any():
                break
            product = self._product(direction, logits, left, share)
            if free is not None:
                product *= free
            curvature = np.einsum("mkd,mkd->m", direction, product)
            size = np.where(curvature > 0, size, 0.0)
            factor = np.divide(size, curvature, out=np.zeros_like(size), where=size > 0)
            result += factor[:, np.newaxis, np.newaxis] * direction
            residual -= factor[:, np.newaxis, np.newaxis] * product
        return result

    def _searched(self, here, slope, step, end, left, share):
        """Return what is known at the ends of line searches; ``end`` is that of whole steps."""
        settings, rounding = self.settings, 8 * EPS[np.dtype(float)]
        length, at, result = np.ones(len(left)), np.arange(len(left)), None
        for _ in range(settings.most_trials):
            there = self._evaluate(end, left[at], share[at])
            change, value = end - here.W[at], here.value[at]
            before = np.einsum("mkd,mkd->m", slope[at], change)
            after = there.gradient
            if not self.is_smooth:  # at a coefficient that has come to 0 as on the way there
                after = after + self.l1 * np.sign(np.where(end != 0, end, here.W[at]))
            after = np.einsum("mkd,mkd->m", after, change)
            noise = rounding * np.abs(value)
            good = there.value <= value + settings.sufficient_decrease * before + noise
            good &= (after <= -settings.steepest_end * before) | (np.abs(before) <= noise)
            if result is None:
                result = there
            else:
                result.put(at, there)
            if good.all():
                break
            before, after, at = before[~good], after[~good], at[~good]
            ratio = np.abs(before) / np.maximum(np.abs(before) + after, np.abs(before))
            length[at] *= np.clip(ratio, 0.1, 0.5)
            shorter = length[at, np.newaxis, np.newaxis] * step[at]
            end = self._moved(here.W[at], shorter, slope[at])
        return result
