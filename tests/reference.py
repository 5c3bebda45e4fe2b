"""Slow, obvious oracles: what the losses are, to 50 digits, and in plain NumPy.

The first part works on one row (or one binary logit) with mpmath. Inputs are taken exactly as the
floats they are, so what comes out is the true value for those floats. The second part repeats the
three public functions on predictions, one row at a time, in float64.
"""

from dataclasses import dataclass

import mpmath
import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

mp = mpmath.MPContext()  # a context of our own: nobody else's precision, and nobody else gets ours
mp.dps = 50

BUDGET_IN_EPS = 8  # what the library promises for every loss and every gradient entry


def exact(x):
    """The number that a float16, float32, float64 or int is, without rounding."""
    return mp.mpf(float(x))


# --- Comparing with an oracle ---------------------------------------------------------------------


def error_in_eps(got, want_mp, dtype, scale=None):
    """Return the largest ``|got - want| / scale`` in units of eps of `dtype`.

    `scale` defaults to ``|want|``. An error of at most two spacings of the subnormal numbers counts
    as 0. Where an infinity or nan is wanted or found, the two must be the same, else the error is
    inf. A wrong shape or dtype raises, because no number could describe it.
    """
    got = np.asarray(got)
    want = np.asarray(want_mp, dtype=object)
    if got.dtype != np.dtype(dtype):
        raise ValueError(f"expected dtype {np.dtype(dtype)}, got {got.dtype}")
    if got.shape != want.shape:
        raise ValueError(f"expected shape {want.shape}, got {got.shape}")
    scale = want if scale is None else np.broadcast_to(np.asarray(scale, dtype=object), want.shape)
    eps = exact(np.finfo(dtype).eps)
    spacing = exact(np.finfo(dtype).tiny) * eps
    worst = mp.zero
    for g, w, s in zip(got.ravel(), want.ravel(), scale.ravel(), strict=True):
        g = exact(g)
        if mp.isnan(w):
            error = mp.zero if mp.isnan(g) else mp.inf
        elif mp.isfinite(g) and mp.isfinite(w):
            error = abs(g - w)
            if error <= 2 * spacing:
                error = mp.zero
            else:
                error = error / (abs(s) * eps) if s != 0 else mp.inf
        else:  # also a nan that is not wanted: it equals nothing
            error = mp.zero if g == w else mp.inf
        worst = max(worst, error)
    return float(worst)


def assert_accurate(got, want_mp, dtype, scale=None, limit=BUDGET_IN_EPS):
    """Raise AssertionError unless `got` is right to `limit` eps; see `error_in_eps`."""
    error = error_in_eps(got, want_mp, dtype, scale)
    assert error <= limit, f"error of {error:.3g} eps of {np.dtype(dtype)}, allowed {limit}"


# --- Softmax losses of one row, 50 digits ---------------------------------------------------------


class SoftmaxRow:
    """``p``, ``1 - p`` and ``-log p`` of the softmax of one row of logits, none by cancellation.

    A row with a nan, or whose largest logit is infinite, has no softmax: all three are nan.
    """

    def __init__(self, logits):
        z = [exact(x) for x in logits]
        self.n_classes = len(z)
        if any(mp.isnan(x) for x in z) or not mp.isfinite(max(z)):
            self.p = self.one_minus_p = self.cost = [mp.nan] * self.n_classes
            return
        top = z.index(max(z))
        e = [mp.exp(x - z[top]) for x in z]
        rest = mp.fsum(e[:top] + e[top + 1 :])  # the sum is 1 + rest; rest may be far below eps
        total = 1 + rest
        self.p = [x / total for x in e]
        self.one_minus_p = [(total - x) / total for x in e]
        self.one_minus_p[top] = rest / total
        self.cost = [z[top] - x + mp.log1p(rest) for x in z]


def softmax_target(y, n_classes, label_smoothing=0.0):
    """Target row of a class index or of a row of target probabilities, after smoothing."""
    if np.ndim(y) == 0:
        target = [mp.mpf(k == int(y)) for k in range(n_classes)]
    else:
        target = [exact(t) for t in y]
    smoothing = exact(label_smoothing)
    return [(1 - smoothing) * t + smoothing / n_classes for t in target]


def softmax_loss(row, y, label_smoothing=0.0):
    """``sum_k t_k (-log p_k)``; a target of 0 costs 0, whatever its logit."""
    target = softmax_target(y, row.n_classes, label_smoothing)
    if mp.isnan(row.p[0]):
        return mp.nan
    return mp.fsum(t * c for t, c in zip(target, row.cost, strict=True) if t != 0)


def softmax_gradient(row, y, label_smoothing=0.0):
    """Gradient ``(sum_k t_k) p - t``, and the scale its errors are relative to.

    For a class index without smoothing the scale is the entry itself, for all else max(p, t), and
    no more than max(1 - p, 1 - t) at the largest target. In a row of a single 1 these are the
    entries themselves again.
    """
    target = softmax_target(y, row.n_classes, label_smoothing)
    if np.ndim(y) == 0 and label_smoothing == 0:
        gradient = list(row.p)
        gradient[int(y)] = -row.one_minus_p[int(y)]
        return gradient, [abs(g) for g in gradient]
    scale = [max(p, t) for p, t in zip(row.p, target, strict=True)]
    gradient = gradient_of_slopes(row, target, target, scale, target)
    return gradient, scale


def gradient_of_slopes(row, slopes, terms, scale, target):
    """``p sum_k g_k - g`` of slopes g; at the largest target also (sum of others) - (1 - p) sum g.

    The scale there becomes the larger term of the second way, where that is less. ``terms`` are the
    slopes, or the magnitudes of what they are sums of.
    """
    top = target.index(max(target))
    rest, rest_of_terms = (mp.fsum(x[:top] + x[top + 1 :]) for x in (slopes, terms))
    total = rest + slopes[top]
    gradient = [total * p - g for p, g in zip(row.p, slopes, strict=True)]
    if row.p[top] > 0.5:  # 50 digits are not enough to compute it in the other way, either
        gradient[top] = rest - total * row.one_minus_p[top]
    largest = max((rest_of_terms + terms[top]) * row.one_minus_p[top], rest_of_terms)
    scale[top] = min(scale[top], largest)
    return gradient


def softmax_hessian_product(row, direction, smallest=0):
    """``p_j (v_j - sum_k p_k v_k)``; scale ``max(p_j, smallest) (|v_j| + sum_k p_k |v_k|)``.

    `smallest` is the smallest normal number of the dtype: the rounding of a p_j below it is not
    relative to p_j, and v magnifies it.
    """
    v = [exact(x) for x in direction]
    mean = mp.fsum(p * x for p, x in zip(row.p, v, strict=True))
    mean_abs = mp.fsum(p * abs(x) for p, x in zip(row.p, v, strict=True))
    product = [p * (x - mean) for p, x in zip(row.p, v, strict=True)]
    smallest = exact(smallest)
    scale = [max(p, smallest) * (abs(x) + mean_abs) for p, x in zip(row.p, v, strict=True)]
    return product, scale


def softmax_hessian_diagonal(row):
    """``p (1 - p)``."""
    return [p * q for p, q in zip(row.p, row.one_minus_p, strict=True)]


def softmax_log_proba(row):
    """``log p``."""
    return [-c for c in row.cost]


# --- Binary loss of one logit, 50 digits ----------------------------------------------------------


class BinaryLogit:
    """``p``, ``1 - p``, ``-log p`` and ``-log(1 - p)`` of the sigmoid of one logit."""

    def __init__(self, logit):
        z = exact(logit)
        up, down = mp.exp(z), mp.exp(-z)
        self.p, self.one_minus_p = 1 / (1 + down), 1 / (1 + up)
        self.cost_of_1, self.cost_of_0 = mp.log1p(down), mp.log1p(up)


def binary_target(y, label_smoothing=0.0, pos_weight=1.0):
    """Weights of the costs of 1 and of 0: ``w t`` and ``1 - t`` with t the smoothed target."""
    smoothing = exact(label_smoothing)
    target = (1 - smoothing) * exact(y) + smoothing / 2
    return exact(pos_weight) * target, 1 - target


def binary_loss(unit, y, label_smoothing=0.0, pos_weight=1.0):
    """``-w t log p - (1 - t) log(1 - p)``; a term of weight 0 costs 0; a missing y (nan) too."""
    if np.isnan(y):
        return mp.zero
    ones, zeros = binary_target(y, label_smoothing, pos_weight)
    loss = ones * unit.cost_of_1 if ones != 0 else mp.zero
    return loss + (zeros * unit.cost_of_0 if zeros != 0 else mp.zero)


def binary_gradient(unit, y, label_smoothing=0.0, pos_weight=1.0):
    """Derivative ``(1 - t) p - w t (1 - p)``, and the scale its errors are relative to.

    Of a 0 or 1 without smoothing there is one term, and the scale is the entry itself. Otherwise it
    is the larger term of ``(1 - t + w t) p - w t``, which without `pos_weight` is max(p, t).
    """
    if np.isnan(y):
        return mp.zero, mp.zero
    ones, zeros = binary_target(y, label_smoothing, pos_weight)
    gradient = zeros * unit.p - ones * unit.one_minus_p
    if label_smoothing == 0 and y in (0, 1):
        return gradient, abs(gradient)
    return gradient, max((ones + zeros) * unit.p, ones)


def binary_hessian(unit, y, label_smoothing=0.0, pos_weight=1.0):
    """Second derivative ``(1 - t + w t) p (1 - p)``."""
    if np.isnan(y):
        return mp.zero
    ones, zeros = binary_target(y, label_smoothing, pos_weight)
    return (ones + zeros) * unit.p * unit.one_minus_p


# --- The public functions on predictions, plain NumPy in float64 ----------------------------------


def sparse_categorical_crossentropy(
    y_true,
    y_pred,
    *,
    from_logits=False,
    ignore_class=None,
    label_smoothing=0.0,
    class_weight=None,
    sample_weight=None,
    axis=-1,
    reduction="none",
):
    """Oracle of the public function of this name, for valid input."""
    y_pred = np.moveaxis(np.asarray(y_pred, dtype=np.float64), axis, -1)
    labels = np.asarray(y_true).reshape(y_pred.shape[:-1])
    counts = np.ones(labels.shape, dtype=bool)
    targets = np.zeros(y_pred.shape)
    for i in np.ndindex(labels.shape):
        if ignore_class is not None and labels[i] == ignore_class:
            counts[i] = False
        else:
            targets[i][int(labels[i])] = 1.0
    return _categorical_rows(
        targets,
        y_pred,
        counts,
        from_logits,
        label_smoothing,
        class_weight,
        sample_weight,
        reduction,
    )


def categorical_crossentropy(
    y_true,
    y_pred,
    *,
    from_logits=False,
    label_smoothing=0.0,
    class_weight=None,
    sample_weight=None,
    axis=-1,
    reduction="none",
):
    """Oracle of the public function of this name, for valid input."""
    y_pred = np.moveaxis(np.asarray(y_pred, dtype=np.float64), axis, -1)
    targets = np.moveaxis(np.asarray(y_true, dtype=np.float64), axis, -1)
    counts = np.ones(y_pred.shape[:-1], dtype=bool)
    return _categorical_rows(
        targets,
        y_pred,
        counts,
        from_logits,
        label_smoothing,
        class_weight,
        sample_weight,
        reduction,
    )


def binary_crossentropy(
    y_true,
    y_pred,
    *,
    from_logits=False,
    label_smoothing=0.0,
    pos_weight=None,
    sample_weight=None,
    reduction="none",
):
    """Oracle of the public function of this name, for valid input."""
    y_true = np.asarray(y_true, dtype=np.float64)
    y_pred = np.asarray(y_pred, dtype=np.float64)
    of_elements = np.shape(sample_weight) == y_pred.shape
    if y_pred.ndim == 1:  # n rows of one output each
        y_true, y_pred = y_true[:, None], y_pred[:, None]
    rows, n_labels = y_pred.shape[:-1], y_pred.shape[-1]
    pos_weights = np.broadcast_to(1.0 if pos_weight is None else pos_weight, n_labels)
    if sample_weight is None:
        weights = np.ones(y_pred.shape)
    elif of_elements:
        weights = np.reshape(sample_weight, y_pred.shape)
    else:
        weights = np.broadcast_to(np.reshape(sample_weight, (*rows, 1)), y_pred.shape)

    loss = np.zeros(rows)
    counts = np.zeros(rows, dtype=bool)
    sum_of_elements = sum_of_element_weights = sum_of_row_weights = 0.0
    for i in np.ndindex(rows):
        total, n_present = 0.0, 0
        for k in range(n_labels):
            if np.isnan(y_true[i][k]):
                continue  # a missing label
            target = (1 - label_smoothing) * y_true[i][k] + label_smoothing / 2
            cost_of_1, cost_of_0 = _binary_costs(y_pred[i][k], from_logits)
            element = 0.0
            if target * pos_weights[k] != 0:
                element += pos_weights[k] * target * cost_of_1
            if target != 1:
                element += (1 - target) * cost_of_0
            total += weights[i][k] * element
            sum_of_element_weights += weights[i][k]
            n_present += 1
        if n_present:
            counts[i] = True
            loss[i] = total / n_present
            sum_of_elements += total
            sum_of_row_weights += weights[i][0]
    if reduction == "weighted_mean" and of_elements:
        return _divide(sum_of_elements, sum_of_element_weights)
    return _reduce(loss, counts, sum_of_row_weights, reduction)


def softmax(logits):
    """Probabilities of a float64 array of finite logits, classes on the last axis."""
    e = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def sigmoid(logits):
    """Probabilities of 1 of a float64 array of logits of moderate size."""
    return 1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64)))


def _categorical_rows(
    targets, y_pred, counts, from_logits, label_smoothing, class_weight, sample_weight, reduction
):
    n_classes = y_pred.shape[-1]
    if class_weight is None:
        class_weight = np.ones(n_classes)
    elif isinstance(class_weight, dict):
        class_weight = [class_weight.get(k, 1.0) for k in range(n_classes)]
    loss = np.zeros(counts.shape)
    sum_of_weights = 0.0
    for i in np.ndindex(counts.shape):
        if not counts[i]:
            continue
        weight = 1.0 if sample_weight is None else float(np.asarray(sample_weight)[i])
        weight *= sum(t * w for t, w in zip(targets[i], class_weight, strict=True))
        smoothed = (1 - label_smoothing) * targets[i] + label_smoothing / n_classes
        costs = _categorical_costs(y_pred[i], from_logits)
        loss[i] = weight * sum(t * c for t, c in zip(smoothed, costs, strict=True) if t != 0)
        sum_of_weights += weight
    return _reduce(loss, counts, sum_of_weights, reduction)


def _categorical_costs(row, from_logits):
    with np.errstate(divide="ignore"):
        if not from_logits:
            return -np.log(row)
        if np.isnan(row).any() or np.isinf(row.max()):
            return np.full(row.shape, np.nan)
        top = np.argmax(row)
        rest = np.exp(np.delete(row, top) - row[top]).sum()
        return row[top] - row + np.log1p(rest)


def _binary_costs(prediction, from_logits):
    with np.errstate(divide="ignore", invalid="ignore"):
        if from_logits:
            return np.logaddexp(0, -prediction), np.logaddexp(0, prediction)
        return -np.log(prediction), -np.log1p(-prediction)


def _reduce(loss, counts, sum_of_weights, reduction):
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction == "mean":
        return _divide(loss.sum(), counts.sum())
    return _divide(loss.sum(), sum_of_weights)


def _divide(total, by):
    return np.nan if by == 0 else total / by


# --- The minimum of a training objective, float64 -------------------------------------------------

QR_WORK = 1e9  # up to so many multiply-adds, Newton's equations are solved by QR
RELATIVE_BOUND = 1e-14  # of the minimum: where Newton's method stops, unless rounding stops it
ORACLE_ITERATIONS = 200


def penalty(coef, l2_reg):
    """``(l2_reg / 2) ||W||^2``, also of complex coefficients, for complex steps."""
    coef = np.asarray(coef)
    coef = coef.astype(np.result_type(coef, np.float64))
    return 0.5 * l2_reg * (coef * coef).sum()


def training_objective(row_losses, coef, C=1.0, weight=None, total=None):
    """``(1/S) sum_i s_i loss_i + ||W||^2 / (2 C S)``: what a fit minimises.

    Parameters
    ----------
    row_losses : array of shape (n,)
    coef : array
    C : float, default=1.0
    weight : array of shape (n,) or None, default=None
        The weights s; None: all 1.
    total : float or None, default=None
        S, where that is not the sum of s: with weights of entries, which losses of rows have in
        them already, it is the sum of their means by row.
    """
    weight = np.ones(len(row_losses)) if weight is None else np.asarray(weight, dtype=np.float64)
    total = weight.sum() if total is None else total
    return weight @ row_losses / total + penalty(coef, 1.0 / (C * total))


class TrainingObjective:
    """``sum_i s_i loss(t_i, W x_i + b) / S + ||W||^2 / (2 C S)``, S the sum of the weights s.

    All is float64 and dense. X is centred once; the intercept takes up the difference, so that
    logits do not lose their digits to offsets of the features.

    Parameters
    ----------
    X : array or sparse matrix of shape (n, d)
    targets : array of shape (n, K)
        Rows that sum to 1 for the softmax; entries in [0, 1], each with a loss of its own, if
        ``binary``.
    C : float
    weight : array of shape (n,) or None
    binary : bool
    """

    def __init__(self, X, targets, C, weight=None, binary=False):
        X = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
        weight = np.ones(len(X)) if weight is None else np.asarray(weight, dtype=np.float64)
        self.targets, self.binary = np.asarray(targets, dtype=np.float64), binary
        self.share = weight / weight.sum()
        self.l2_reg = 1.0 / (C * weight.sum())
        self.mean = self.share @ X
        self.Z = X - self.mean
        self.at_zero = self.value(np.zeros((self.targets.shape[1], X.shape[1])), 0.0)

    def value(self, coef, intercept):
        """Value at coefficients as a classifier stores them, shapes (K, d) and (K,)."""
        coef = np.asarray(coef, dtype=np.float64)
        matrix = np.concatenate([coef.T, [np.asarray(intercept) + coef @ self.mean]])
        return self._rows(self.Z, matrix)[0] + penalty(coef, self.l2_reg)

    def _rows(self, features, matrix):
        """Mean loss; residuals and probabilities p, 1 - p of every row, none by cancellation."""
        z, t = features @ matrix[:-1] + matrix[-1], self.targets
        if self.binary:
            cost_of_1, cost_of_0 = np.logaddexp(0, -z), np.logaddexp(0, z)
            p, one_minus_p = np.exp(-cost_of_1), np.exp(-cost_of_0)
            loss = (t * cost_of_1 + (1 - t) * cost_of_0).sum(axis=1)
        else:
            rows, top = np.arange(len(z)), z.argmax(axis=1)
            below = z - z[rows, top][:, np.newaxis]
            e = np.exp(below)
            e[rows, top] = 0.0
            rest = e.sum(axis=1, keepdims=True)
            e[rows, top] = 1.0
            p, one_minus_p = e / (1 + rest), (1 + rest - e) / (1 + rest)
            one_minus_p[rows, top] = (rest / (1 + rest))[:, 0]
            loss = (t * (np.log1p(rest) - below)).sum(axis=1)
        residual = np.where(t == 1, -one_minus_p, p - t)
        return self.share @ loss, residual, p, one_minus_p


@dataclass
class Minimum:
    """What `minimum` found.

    Attributes
    ----------
    value : float
        The least value found.
    coef, intercept : ndarray of shape (K, d) and (K,)
        Where.
    error : float
        How far ``value`` is above the true minimum by Newton's estimate, half his squared
        decrement.
    bound : float
        How far it may be at most, wherever the search began: by strong convexity in W,
        ``||gradient in W||^2 / (2 l2_reg)`` where the gradient in b is 0; ``error`` is added for
        that being so up to rounding only. Features of very different scales magnify rounding in it.
    n_iter : int
    """

    value: float
    coef: np.ndarray
    intercept: np.ndarray
    error: float
    bound: float
    n_iter: int


@threadpool_limits.wrap(limits=1)  # threads that spin for small products slow down all others
def minimum(objective, start=None):
    """Minimise a `TrainingObjective` by Newton's method, to the last digits.

    Parameters
    ----------
    objective : TrainingObjective
    start : (coef, intercept) or None
        Where to begin. It saves time, and cannot make a wrong minimum pass for one.

    Returns
    -------
    Minimum
    """
    Z, l2_reg, share = objective.Z, objective.l2_reg, objective.share[:, np.newaxis]
    varying = np.flatnonzero(Z.any(axis=0))  # the others get no coefficient
    Z = Z[:, varying]
    n_samples, n_features = Z.shape
    n_outputs = objective.targets.shape[1]
    # W lies in the row space of Z: with few rows, look there alone. Sorted and pivoted, Householder
    # QR is accurate for each feature relative to its own scale (Cox and Higham, BIT 38, 1998).
    basis = None
    if n_features > n_samples:
        order = np.argsort(-np.abs(Z).max(axis=0))
        basis = np.empty((n_features, n_samples))
        basis[order] = linalg.qr(Z.T[order], mode="economic", pivoting=True)[0]
    features = Z if basis is None else Z @ basis
    with_ones = np.concatenate([features, np.ones((n_samples, 1))], axis=1)
    shape = with_ones.shape[1], n_outputs

    def evaluate(matrix):
        loss, residual, p, one_minus_p = objective._rows(features, matrix)
        value = loss + penalty(matrix[:-1], l2_reg)
        gradient = with_ones.T @ (share * residual)
        gradient[:-1] += l2_reg * matrix[:-1]
        return value, gradient, p, one_minus_p

    matrix = np.zeros(shape)
    if start is not None:
        coef, intercept = (np.asarray(part, dtype=np.float64) for part in start)
        known = coef.T[varying]
        matrix[:-1] = known if basis is None else basis.T @ known
        matrix[-1] = intercept + coef @ objective.mean
    point = evaluate(matrix)
    best, least, stalled = (np.inf, matrix), np.inf, 0
    n_iter = 0
    while n_iter < ORACLE_ITERATIONS:
        n_iter += 1
        value, gradient, p, one_minus_p = point
        step = -_newton_step(objective, with_ones, p, one_minus_p, gradient)
        slope = np.vdot(gradient, step)
        bound = _bound(gradient[:-1], l2_reg, slope)
        # far away the bound may grow while the value falls; in the end rounding stops both
        stalled = 0 if bound < 0.5 * best[0] or value < (1 - 1e-9) * least else stalled + 1
        least = min(least, value)
        if bound < best[0]:
            best = bound, matrix, slope
        if bound <= RELATIVE_BOUND * value or stalled >= 5:
            break
        length = 1.0
        while length > 1e-10:
            point = evaluate(matrix + length * step)
            # the last steps change the value by less than its rounding
            if point[0] <= value + 1e-4 * length * slope + 1e-13 * value:
                break
            length /= 2
        matrix = matrix + length * step
    _, matrix, slope = best
    coef = np.zeros((n_outputs, objective.Z.shape[1]))
    coef[:, varying] = matrix[:-1].T if basis is None else matrix[:-1].T @ basis.T
    intercept = matrix[-1] - coef @ objective.mean
    # once more in the features themselves: what a basis lost would show here
    _, residual, _, _ = objective._rows(objective.Z, np.concatenate([coef.T, matrix[-1:]]))
    coef_gradient = objective.Z.T @ (share * residual) + l2_reg * coef.T
    return Minimum(
        objective.value(coef, intercept),
        coef,
        intercept,
        -0.5 * slope,
        _bound(coef_gradient, l2_reg, slope),
        n_iter,
    )


def _bound(coef_gradient, l2_reg, slope):
    """``Minimum.bound``; ``slope`` is minus the squared Newton decrement."""
    return np.vdot(coef_gradient, coef_gradient) / (2 * l2_reg) - 0.5 * slope


def _newton_step(objective, Z, p, one_minus_p, gradient):
    """Inverse Hessian times gradient, both of shape (columns of Z, outputs)."""
    n_rows, n_outputs = gradient.shape
    share = objective.share[:, np.newaxis]
    penalty = np.full(n_rows, objective.l2_reg)
    penalty[-1] = 0.0
    if objective.binary:
        curvature = share * p * one_minus_p
        columns = [
            _solve(Z, np.sqrt(c)[:, np.newaxis, np.newaxis], penalty, g)
            for c, g in zip(curvature.T, gradient.T, strict=True)
        ]
        return np.stack(columns, axis=1)
    # the curvature of the loss in the logits, diag(p) - p p^T, is R^T R with these rows
    root = -np.sqrt(p)[:, :, np.newaxis] * p[:, np.newaxis, :]
    k = np.arange(n_outputs)
    root[:, k, k] = np.sqrt(p) * one_minus_p
    root *= np.sqrt(share)[:, :, np.newaxis]
    return (
        _solve(Z, root, np.tile(penalty, n_outputs), gradient.T.ravel()).reshape(gradient.T.shape).T
    )


def _solve(Z, root, penalty, vector):
    """Solve ``(sum_i (root_i x z_i)^T (root_i x z_i) + diag(penalty)) s = vector``.

    ``root`` has shape (n, m, K): its rows times those of Z are the rows of a matrix J. QR of J, not
    Cholesky of J^T J, because that keeps directions whose curvature is 1e-16 of the largest.
    """
    n_outputs, size = root.shape[2], len(penalty)
    intercepts = np.arange(1, n_outputs + 1) * Z.shape[1] - 1
    # softmax intercepts may all move together for nothing: hold their sum
    hold = np.zeros(size)
    hold[intercepts] = 1.0 / n_outputs if n_outputs > 1 else 0.0
    if root.shape[0] * root.shape[1] * size**2 <= QR_WORK:
        J = (root[:, :, :, np.newaxis] * Z[:, np.newaxis, np.newaxis, :]).reshape(-1, size)
        J = np.concatenate([J, np.diag(np.sqrt(penalty)), hold[np.newaxis]])
        scale = _inverse(np.sqrt((J * J).sum(axis=0)))
        R = linalg.qr(J * scale, mode="r", overwrite_a=True, check_finite=False)[0][:size]
        # an intercept of rows that are all certain has no curvature that could be written down
        R[np.diag_indices(size)] += R.diagonal() == 0
        half = linalg.solve_triangular(R, scale * vector, trans="T")
        return scale * linalg.solve_triangular(R, half)

    hessian = np.outer(hold, hold)
    hessian[np.diag_indices(size)] += penalty
    for k in range(n_outputs):
        own = slice(k * Z.shape[1], (k + 1) * Z.shape[1])
        for other in range(k + 1):
            theirs = slice(other * Z.shape[1], (other + 1) * Z.shape[1])
            weight = (root[:, :, k] * root[:, :, other]).sum(axis=1)
            hessian[own, theirs] += Z.T @ (weight[:, np.newaxis] * Z)
    scale = _inverse(np.sqrt(hessian.diagonal()))
    hessian *= scale[:, np.newaxis] * scale  # of which only the lower triangle is read
    damping = 1e-15 * size
    while True:
        damped = hessian.copy()
        damped[np.diag_indices(size)] += damping
        try:
            factor = linalg.cho_factor(damped, lower=True, overwrite_a=True, check_finite=False)
        except linalg.LinAlgError:
            damping *= 100
            continue
        return scale * linalg.cho_solve(factor, scale * vector)


def _inverse(scale):
    return 1.0 / np.where(scale > 0, scale, 1.0)
