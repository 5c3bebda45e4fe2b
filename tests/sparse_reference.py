"""Penalties beyond the plain L2, written down; a slow minimiser, KKT conditions and a dual bound.

The objective, with r = ``l1_ratio``, v_j = ``penalty_factor`` and W_j the coefficients of feature j
of all outputs::

    (1/S) sum_i s_i loss_i + (1/(C S)) sum_j v_j ((1-r)/2 ||W_j||_2^2 + r ||W_j||_1)

``||W_j||_2`` takes the place of ``||W_j||_1`` if ``grouped``; every coefficient of feature j lies
within its bounds. All is float64, dense and NumPy alone; the library is not used.
"""

from dataclasses import dataclass

import numpy as np

MOST_ITERATIONS = 200_000


# --- Losses of rows of logits, with their slopes --------------------------------------------------


def softmax_rows(targets):
    """Function from logits of shape (n, K) to the losses of rows and their slopes p - t."""
    targets = np.asarray(targets, dtype=np.float64)

    def loss(z):
        z = z - z.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1, keepdims=True)
        rows = targets.sum(axis=1) * np.log(total[:, 0]) - (targets * z).sum(axis=1)
        return rows, targets.sum(axis=1, keepdims=True) * e / total - targets

    return loss


def binary_rows(targets):
    """The same for a binary cross-entropy of every output."""
    targets = np.asarray(targets, dtype=np.float64)

    def loss(z):
        cost_of_1, cost_of_0 = np.logaddexp(0, -z), np.logaddexp(0, z)
        rows = (targets * cost_of_1 + (1 - targets) * cost_of_0).sum(axis=1)
        return rows, np.exp(-cost_of_1) - targets

    return loss


def rows_by_complex_steps(losses):
    """The same for any function of complex logits to losses of rows, each of its own row alone."""

    def loss(z):
        z = z.astype(complex)
        slopes = np.empty(z.shape)
        for k in range(z.shape[1]):
            z[:, k] += 1e-30j
            rows = losses(z)
            slopes[:, k] = rows.imag / 1e-30
            z[:, k] = z[:, k].real
        return rows.real, slopes

    return loss


# --- The objective --------------------------------------------------------------------------------


class SparseObjective:
    """Value, gradient and proximal steps of the objective above.

    Parameters
    ----------
    X : array or sparse matrix of shape (n, d)
    loss : callable
        From logits of shape (n, K) to the losses of rows, shape (n,), and slopes, shape (n, K).
    n_outputs : int
    C : float
    l1_ratio : float
    penalty_factor : array of shape (d,) or None
    grouped : bool
    coef_bounds : pair of numbers or arrays of shape (d,), or None
    fit_intercept : bool
    weight : array of shape (n,) or None
    total : float or None
        S where it is not the sum of the weights.
    """

    def __init__(
        self,
        X,
        loss,
        n_outputs,
        C=1.0,
        *,
        l1_ratio=0.0,
        penalty_factor=None,
        grouped=False,
        coef_bounds=None,
        fit_intercept=True,
        weight=None,
        total=None,
    ):
        X = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
        d = X.shape[1]
        weight = np.ones(len(X)) if weight is None else np.asarray(weight, dtype=np.float64)
        total = weight.sum() if total is None else total
        self.loss, self.n_outputs, self.grouped = loss, n_outputs, grouped
        self.fit_intercept, self.share = fit_intercept, weight / total
        # logits must not lose their digits to offsets of features; the intercept takes these up
        self.mean = weight @ X / weight.sum() if fit_intercept else np.zeros(d)
        self.Z = X - self.mean
        factor = np.ones(d) if penalty_factor is None else np.asarray(penalty_factor, float)
        self.unit = 1.0 / (C * total)
        self.out = np.isinf(factor)
        self.factor = np.where(self.out, 0.0, factor)
        self.l1, self.l2 = self.unit * self.factor * np.array([[l1_ratio], [1 - l1_ratio]])
        lower, upper = (-np.inf, np.inf) if coef_bounds is None else coef_bounds
        self.lower = np.where(self.out, 0.0, np.broadcast_to(np.asarray(lower, float), d))
        self.upper = np.where(self.out, 0.0, np.broadcast_to(np.asarray(upper, float), d))

    def value(self, coef, intercept):
        """The objective at coefficients as a classifier stores them; inf outside of the bounds."""
        coef, intercept = self._own(coef, intercept)
        inside = ((self.lower <= coef) & (coef <= self.upper)).all()
        return self.smooth(coef, intercept)[0] + self.penalty(coef) if inside else np.inf

    def penalty(self, coef):
        size = np.sqrt((coef**2).sum(axis=0)) if self.grouped else np.abs(coef).sum(axis=0)
        return self.l1 @ size + self.l2 @ (coef**2).sum(axis=0) / 2

    def smooth(self, coef, intercept):
        """(mean loss, its gradient in coef, in intercept), the intercept that of centred X."""
        rows, slopes = self.loss(self.Z @ coef.T + intercept)
        slopes = self.share[:, np.newaxis] * slopes
        return self.share @ rows, slopes.T @ self.Z, slopes.sum(axis=0) * self.fit_intercept

    def _own(self, coef, intercept):
        """Coefficients in float64 and the intercept of centred X."""
        coef = np.asarray(coef.toarray() if hasattr(coef, "toarray") else coef, dtype=np.float64)
        return coef, np.asarray(intercept, dtype=np.float64) + coef @ self.mean

    def proximal(self, coef, step):
        """The point nearest to ``coef``, in units 1 / step, for the price of the penalty.

        ``step`` has shape (d,).
        """
        l1, l2 = step * self.l1, 1 + step * self.l2
        if not self.grouped:
            shrunk = np.sign(coef) * np.maximum(np.abs(coef) - l1, 0) / l2
            return np.clip(shrunk, self.lower, self.upper)
        # Of what may leave 0 at all: w_k = clip(u_k / (l2 + l1 / size)), where size = ||w||. The
        # size of the right side by the size falls with the size, so that bisection finds it.
        pull = np.clip(
            coef, np.where(self.lower < 0, -np.inf, 0), np.where(self.upper > 0, np.inf, 0)
        )

        def at(size):
            with np.errstate(divide="ignore", invalid="ignore"):
                w = np.nan_to_num(pull * size / (l2 * size + l1))
            return np.clip(w, self.lower, self.upper)

        length = np.sqrt((pull**2).sum(axis=0))
        if np.isin([self.lower, self.upper], [0, -np.inf, np.inf]).all():  # signs alone
            size = np.maximum(length - l1, 0) / l2
        else:
            low, high = np.zeros_like(length), length
            for _ in range(200):
                size = (low + high) / 2
                larger = np.sqrt((at(size) ** 2).sum(axis=0)) > size
                low, high = np.where(larger, size, low), np.where(larger, high, size)
        return np.where(length > l1, at(size), 0.0)

    def violation(self, coef, intercept):
        """The largest violation of the KKT conditions, relative to the strength of the penalty.

        It is the distance of the loss's negative gradient from the subdifferential of the penalty,
        over v_j / (C S) for a feature, over 1 / (C S) for the intercept and where v_j is 0.
        """
        coef, intercept = self._own(coef, intercept)
        if not ((self.lower <= coef) & (coef <= self.upper)).all():
            return np.inf
        _, gradient, of_intercept = self.smooth(coef, intercept)
        gradient = gradient + self.l2 * coef
        at_lower, at_upper = coef == self.lower, coef == self.upper

        def admissible(slope):
            """The part of a slope that a step within the bounds can follow."""
            slope = np.where(at_lower, np.minimum(slope, 0), slope)
            return np.where(at_upper, np.maximum(slope, 0), slope)

        if self.grouped:
            size = np.sqrt((coef**2).sum(axis=0))
            direction = coef / np.where(size > 0, size, 1)
            at_zero = np.sqrt((admissible(gradient) ** 2).sum(axis=0)) - self.l1
            elsewhere = np.sqrt((admissible(gradient + self.l1 * direction) ** 2).sum(axis=0))
            distance = np.where(size > 0, elsewhere, np.maximum(at_zero, 0))
        else:
            at_zero = np.sign(gradient) * np.maximum(np.abs(gradient) - self.l1, 0)
            slope = np.where(coef == 0, at_zero, gradient + self.l1 * np.sign(coef))
            distance = np.abs(admissible(slope)).max(axis=0)
        strength = self.unit * np.where(self.factor > 0, self.factor, 1)
        return max(np.max(distance / strength), np.abs(of_intercept).max() / self.unit)

    def dual_bound(self, coef, intercept, targets, binary):
        """A number that the minimum of a plain cross-entropy is not below, from the dual problem.

        The dual point is the slopes p - t at these coefficients and the best intercept for them,
        times a number in [0, 1] with which it is feasible. Unpenalised features make it useless.
        """
        coef, intercept = self._own(coef, intercept)
        targets = np.asarray(targets, dtype=np.float64)
        logits, share = self.Z @ coef.T, self.share[:, np.newaxis]
        for _ in range(30 * self.fit_intercept):
            slopes = share * self.loss(logits + intercept)[1]
            p = self.loss(logits + intercept)[1] + targets
            curvature = np.diag((share * p).sum(axis=0)) - (share * p).T @ p
            curvature = curvature * np.eye(len(curvature)) if binary else curvature
            intercept = intercept - np.linalg.lstsq(curvature, slopes.sum(axis=0), rcond=None)[0]
        slopes = self.loss(logits + intercept)[1]
        pull = -(share * slopes).T @ self.Z
        pull = np.where(self.lower < 0, pull, np.maximum(pull, 0))
        pull = np.where(self.upper > 0, pull, np.minimum(pull, 0))
        size = np.sqrt((pull**2).sum(axis=0, keepdims=True)) if self.grouped else np.abs(pull)
        most = np.where(pull > 0, self.upper, -self.lower)  # of |w|; grouped: no bounds but signs
        most = np.full(size.shape, np.inf) if self.grouped else most
        with np.errstate(divide="ignore", invalid="ignore"):
            feasible = np.where((self.l2 == 0) & np.isinf(most) & (size > 0), self.l1 / size, 1.0)
            scale = min(1.0, feasible.min())
            beyond = np.maximum(scale * size - self.l1, 0)
            # the last ratio is rounding where the scale comes from
            beyond[(self.l2 == 0) & np.isinf(most)] = 0.0
            w = np.where(beyond > 0, np.minimum(beyond / self.l2, most), 0.0)
        p = np.clip(targets + scale * slopes, 0, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.where(p > 0, p * np.log(p), 0)
            if binary:
                entropy = entropy - np.where(p < 1, (1 - p) * np.log1p(-p), 0)
        return self.share @ entropy.sum(axis=1) - (beyond * w - self.l2 * w**2 / 2).sum()


def least_norm_shift(coef, l1_ratio=1.0, coef_bounds=None):
    """Softmax coefficients, each feature shifted by what neither loss nor L1 norm can see.

    Of the shifts that leave ``||W_j||_1`` least, and the bounds kept, it takes that of least L2
    norm. An even number of outputs leaves an interval of such shifts between the middle ones.
    """
    coef = np.asarray(coef, dtype=np.float64)
    if l1_ratio == 0:
        return coef - coef.mean(axis=0)
    ordered = np.sort(coef, axis=0)
    low, high = ordered[(len(coef) - 1) // 2], ordered[len(coef) // 2]
    if coef_bounds is not None:
        low = np.clip(low, ordered[-1] - coef_bounds[1], ordered[0] - coef_bounds[0])
        high = np.clip(high, ordered[-1] - coef_bounds[1], ordered[0] - coef_bounds[0])
    return coef - np.clip(coef.mean(axis=0), low, high)


# --- The minimiser --------------------------------------------------------------------------------


@dataclass
class SparseMinimum:
    """What `sparse_minimum` found.

    Attributes
    ----------
    value : float
    coef, intercept : ndarray of shape (K, d) and (K,)
    violation : float
        Of the KKT conditions.
    n_iter : int
    """

    value: float
    coef: np.ndarray
    intercept: np.ndarray
    violation: float
    n_iter: int


def sparse_minimum(objective, start=None, violation=1e-9, momentum=True):
    """Minimise by proximal gradient steps with momentum (FISTA), restarts and backtracking.

    Parameters
    ----------
    objective : SparseObjective
    start : (coef, intercept) or None
        Where to begin.
    violation : float
        The search ends when the KKT conditions are violated by no more than this.
    momentum : bool
        False for a loss that is not convex: the steps then go down from the start.

    Returns
    -------
    SparseMinimum

    Raises
    ------
    RuntimeError
        If it does not get there.
    """
    # a feature's own unit of length, the same for all of its coefficients: the proximal step stays
    # one feature after the other
    metric = objective.share @ objective.Z**2
    metric = np.append(np.where(metric > 0, metric, 1), objective.share.sum())
    shape = objective.n_outputs, objective.Z.shape[1] + 1
    point = np.zeros(shape)
    if start is not None:
        coef, intercept = objective._own(*start)
        point = np.column_stack([coef, intercept])

    def smooth(at):
        value, of_coef, of_intercept = objective.smooth(at[:, :-1], at[:, -1])
        return value, np.column_stack([of_coef, of_intercept])

    ahead, pace, curvature = point, 1.0, 1.0
    for n_iter in range(1, MOST_ITERATIONS):
        value, gradient = smooth(ahead)
        while True:
            step = 1 / (curvature * metric)
            new = ahead - step * gradient
            new[:, :-1] = objective.proximal(new[:, :-1], step[:-1])
            change = new - ahead
            length = np.vdot(change, change * metric)
            # a change of the value by less than its rounding tells nothing
            if length * curvature < 1e-9 * value:
                break
            model = value + np.vdot(gradient, change) + curvature * length / 2
            if objective.smooth(new[:, :-1], new[:, -1])[0] <= model + 1e-13 * value:
                curvature *= 0.98
                break
            curvature *= 1.5
        following = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        if not momentum or np.vdot((ahead - new) * metric, new - point) > 0:
            pace, ahead = 1.0, new
        else:
            ahead, pace = new + (pace - 1) / following * (new - point), following
        point = new
        if n_iter % 20 == 0:
            coef, intercept = point[:, :-1], point[:, -1] - point[:, :-1] @ objective.mean
            if (reached := objective.violation(coef, intercept)) <= violation:
                return SparseMinimum(
                    objective.value(coef, intercept), coef, intercept, reached, n_iter
                )
    raise RuntimeError(f"KKT conditions are still violated by {reached:.1e}")
