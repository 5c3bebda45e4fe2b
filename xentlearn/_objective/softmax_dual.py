"""The dual problem of softmax cross-entropy over sparse X, and the coefficients of a dual point.

The primal problem is

    minimise (1/S) sum_i s_i loss(t_i, W (x_i - mean) + c) + (l2_reg / 2) ||W||^2

with s the weights of the rows, S their sum, and t the targets. A point of the dual problem is a
distribution q_i over the classes for every row i. With the residuals alpha = s (q - t), its
coefficients are W = -sum_i alpha_i (x_i - mean) / (S l2_reg). A sweep over the rows
(``_softmax_dual.pyx``) changes one q after the other, and updates W at once. The intercept c is not
penalised, so at the minimum the alphas of a class sum to 0; sweeps only come close to that.
"""

import time
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from .._plan.settings import SoftmaxSweeps
from .._utils.arrays import centred_squares
from .._utils.numerics import EPS, LEAST_CURVATURE
from .._utils.threads import ThreadChoice
from ._softmax_dual import LINE, SoftmaxKernel, SoftmaxRows, aligned, order_of, zeros
from .preconditioners import cholesky_factor, solve

SETTINGS = SoftmaxSweeps()
LOW = -SETTINGS.low


class SoftmaxDual:
    """The dual problem of an objective with plain softmax cross-entropy over sparse X.

    Parameters
    ----------
    objective : LinearObjective

    Attributes
    ----------
    scale : float
        1 / (S l2_reg).
    mean_square : float
        Weighted mean of ||x - mean||^2.
    pull : float
        Mean of scale s ||x - mean||^2, of how hard rows pull at each other.
    batch : int
        Number of rows that are solved at once, see ``batch_size``.
    """

    def __init__(self, objective):
        self.objective, rows = objective, objective.rows
        self.scale = 1 / (objective.total_weight * objective.l2_reg)
        self.weight = np.ascontiguousarray(rows.weight, dtype=np.float64)
        self.threads = ThreadChoice(objective.threads.most)
        if "softmax dual" not in rows.shared:
            of_rows = SoftmaxRows(rows.X, objective.mean, rows.dtype)
            targets = _Targets(rows.y, rows.outputs, rows.dtype)
            batch = batch_size(rows.X, objective.mean, self.weight)
            rows.shared["softmax dual"] = of_rows, targets, batch
        self.rows, self.targets, self.batch = rows.shared["softmax dual"]
        of_all = self.weight @ self.rows.square
        self.mean_square = of_all / objective.total_weight
        self.pull = self.scale * of_all / max(1, len(self.weight))

    def point(self, vector):
        """Return (value at a vector, a ``SoftmaxPoint`` that is close to it).

        Its q are the predictions of the vector. Without coefficients, they are a mixture of these
        with the targets: where rows pull hard, the residuals at the minimum are small.
        """
        objective = self.objective
        n_features, n_outputs, rows = objective.n_features, objective.n_outputs, objective.rows
        matrix = vector.reshape(objective.shape)
        c = matrix[-1] if objective.fit_intercept else np.zeros(n_outputs)
        width = width_of(n_outputs, rows.dtype)
        if matrix[:n_features].any():
            value = objective.value(vector)
            p = rows.scores("softmax", *objective.at(vector), objective.n_threads)
            share, constant = 1.0, None
        else:
            total = logsumexp(c)
            value = float(objective.sums.sum() * total - objective.sums @ c)
            share = 0.5 / max(1.0, self.pull)
            p = np.exp(c - total)
            constant = np.zeros(width)
            constant[:n_outputs] = p
        point = SoftmaxPoint.at(n_outputs, c, len(self.weight), n_features, rows.dtype)
        self.targets.mix(p, share, point.logs)
        point.response[:n_outputs] = objective.total_weight * objective.curvatures_at_shares
        self._remake(point, self._normalised(point), None, share, constant)
        return value, point

    def load_point(self, tree):
        """Return the point that ``SoftmaxPoint.dump`` returned as a tree."""
        arrays = {name: aligned(tree[name]) for name in ("logs", "coef")}
        return SoftmaxPoint(**{**tree, **arrays})

    def _kernel(self, point, scale=None):
        targets = self.targets
        return SoftmaxKernel(
            self.rows,
            self.objective.n_outputs,
            self.scale if scale is None else scale,
            self.weight,
            targets.labels,
            targets.base,
            targets.share,
            targets.values,
            *(point.logs, point.top, point.others, point.coef, point.shift, point.along),
            *(point.intercept, point.feedback),
        )

    def _normalised(self, point):
        """Normalise all q; return the sums of weight q by class."""
        nothing = np.zeros(len(point.shift))
        return self._kernel(point).tilt(nothing, True, self.objective.n_threads)

    def sweep(self, point, lots):
        """Sweep over all rows in a new random order.

        Returns
        -------
        ndarray of shape (1,)
            The mean gap that the rows had when they were reached.
        """
        n_outputs = self.objective.n_outputs
        if self.objective.fit_intercept:
            point.intercept += point.feedback * point.shift
            response = np.maximum(point.response[:n_outputs], LEAST_CURVATURE)
            feedback = SETTINGS.feedback / (self.scale * response)
            point.feedback[:n_outputs] = np.minimum(feedback, self.mean_square)
        order = order_of(len(self.weight), point.n_sweeps)
        least = SETTINGS.negligible * point.met if point.n_sweeps else -1.0
        kernel, met, point.response = self._kernel(point), np.zeros(3), np.zeros(len(point.shift))
        piece = SETTINGS.piece // self.batch * self.batch
        for at in range(0, len(order), piece):
            rows, began = order[at : at + piece], (time.perf_counter(), time.thread_time())
            of_rows = kernel.sweep(rows, self.batch, least, self.threads.n_threads)
            met, point.response = met + of_rows[0], point.response + of_rows[1]
            self.threads.after(began, len(rows))
        distance, entropy, loss = met / self.objective.total_weight
        # l2_reg ||W||^2 is distance + entropy - loss
        point.met, point.value = distance, 0.5 * (distance + entropy + loss)
        point.n_sweeps += 1
        return np.array([distance])

    def left(self, met, rate):
        """Estimate the gap after a sweep from the mean gap ``met`` that rows had in it.

        ``met`` is the mean over the sweep of a gap that falls by ``rate`` in it, exponentially.
        """
        return met * rate * np.log(1 / rate) / (1 - rate)

    def expected_value(self, point, value):
        """Return the value at the coefficients of a point, as estimated by the last sweep."""
        return min(value, point.value)

    def aimed_at(self, settings):
        """Return the share of the gap wanted at which an estimate of it ends sweeps."""
        return settings.softmax_aimed_at

    def most_sweeps(self, settings):
        """Return the number of sweeps beyond which L-BFGS is expected to take less time.

        Its iterations grow with the root of the condition number, which is at most about 1 plus the
        mean pull C ||x - mean||^2 of a row, and sweeps with the pull itself.
        """
        return settings.most_sweeps * np.sqrt(1.0 + self.pull)

    def look(self, point):
        """Return (vector, value there, certified bounds of value - minimum) of a point.

        The vector has the coefficients W of the dual point, which are computed anew: in float32,
        those of the sweeps drift from them. The difference between its value and the dual objective
        is the mean Kullback-Leibler divergence of q from the predictions of W, plus c times the
        mean of alpha. With an intercept, q is first made feasible (see ``_balance``).
        """
        objective, n_outputs, began = self.objective, self.objective.n_outputs, time.perf_counter()
        vector = np.empty(objective.shape)
        if objective.fit_intercept:
            point.intercept += point.feedback * point.shift
            point.feedback[:] = 0.0
            sums = self._balance(point)
        else:
            sums = self._normalised(point)
        excess, squares = self._remake(point, sums, vector[: objective.n_features])
        entropy, distance = (
            part / objective.total_weight for part in self._kernel(point).look(objective.n_threads)
        )
        gap, c = distance, point.intercept[:n_outputs].astype(np.float64)
        if objective.fit_intercept:
            vector[-1] = c
            distance += c @ excess / objective.total_weight
            gap = distance + self._cost_of(excess, squares)
        value = float(entropy + distance - 0.5 * objective.l2_reg * squares.sum())
        rounding = max(objective.rounding, 4 * EPS[np.dtype(objective.rows.dtype)])
        rounding *= 1.0 + np.abs(c).max()
        gap = max(gap, 0.0) + rounding * abs(value)
        objective.certificate.least = max(objective.certificate.least, value - gap)
        objective.pass_seconds = min(objective.pass_seconds, time.perf_counter() - began)
        return vector.ravel(), value, np.array([gap])

    def _remake(self, point, sums, W, share=1.0, constant=None):
        """Compute the coefficients of a point anew from its q.

        Parameters
        ----------
        point : SoftmaxPoint
        sums : ndarray of shape (width,)
            The sums of weight q by class. They are of no interest without an intercept, where
            nothing has to be feasible and no mean is subtracted.
        W : ndarray of shape (n_features, n_outputs) or None
            Filled with the coefficients.
        share : float, default=1.0
        constant : ndarray of shape (width,) or None, default=None
            If not None, q is known to be a mixture of the targets with ``share`` of this.

        Returns
        -------
        excess, squares : ndarray of shape (n_outputs,)
            The sums of alpha, and W . W, by class.
        """
        objective, n_outputs = self.objective, self.objective.n_outputs
        excess, shift = np.zeros(n_outputs), np.zeros(len(point.shift))
        if objective.fit_intercept:
            excess = sums[:n_outputs] - self.wanted
            shift[:n_outputs] = -self.scale * excess
        kernel = self._kernel(point, share * self.scale)
        along, squares = kernel.remake(shift, W, constant, objective.n_threads)
        point.shift[:], point.along[:], point.squares = shift, along, squares[:n_outputs]
        return excess, point.squares

    @property
    def wanted(self):
        """The sums of weight q at feasible points: those of the targets."""
        return self.objective.sums * self.objective.total_weight

    def _cost_of(self, excess, squares):
        """Return an upper bound of what it takes off the dual objective to make alpha sum to 0.

        For that, the q of classes whose sum is too large are multiplied by a number below 1, and
        what is taken off, half of the sum of |excess|, is given to the other classes. The entropy
        falls by at most -log q times that where it is taken off, and by that where it is given. The
        coefficients of a class move by at most scale |excess| times the length of the longest row.
        """
        excess, longest = np.abs(excess), np.sqrt(self.rows.square.max(initial=0.0))
        moved = self.scale * longest * excess
        of_penalty = longest * np.sqrt(squares) + 0.5 * longest * moved
        of_entropy = 0.5 * (1.0 + SETTINGS.most_log)
        return excess @ (of_entropy + of_penalty) / self.objective.total_weight

    def _balance(self, point):
        """Multiply all q by the same factors by class, and normalise them, so that alpha sums to 0.

        The intercept c changes by the logarithms of the factors: so do the predictions of the
        coefficients, and the gap hardly changes. These are the factors at which an intercept alone
        minimises the mean loss with the logarithms of q as logits. They are found by Newton's
        method, with the Hessian of a sample of the rows.
        """
        objective, n_outputs = self.objective, self.objective.n_outputs
        kernel, n_threads = self._kernel(point), objective.n_threads
        delta, wanted = np.zeros(len(point.shift)), self.wanted
        enough = SETTINGS.balanced * point.met
        factor = least = None
        best = delta
        for _ in range(SETTINGS.most_steps):
            sums = kernel.tilt(delta, False, n_threads)[:n_outputs]
            excess = sums - wanted
            size = np.abs(excess).sum() / objective.total_weight
            if least is not None and not size < least:  # as good as it gets
                break
            best, least = delta, size
            if self._cost_of(excess, point.squares) <= enough:
                break
            if factor is None:
                hessian = self._hessian(point, sums)
                scale = 1 / np.sqrt(np.maximum(hessian.diagonal(), LEAST_CURVATURE))
                try:
                    factor = cholesky_factor(hessian, scale, dtype=point.logs.dtype)
                except np.linalg.LinAlgError:  # hardly a row has any curvature left
                    break
            delta = delta.copy()
            delta[:n_outputs] -= np.clip(solve(factor, scale, excess), -2.0, 2.0)
        point.intercept += best
        point.intercept[:n_outputs] -= point.intercept[:n_outputs].mean()
        return kernel.tilt(best, True, n_threads)

    def _hessian(self, point, sums):
        """Estimate the Hessian of ``_balance`` for given sums of weight q, without its null space.

        It is taken from as many rows as take no more than a product of X with the coefficients.
        """
        n_outputs = self.objective.n_outputs
        stride = max(1, len(self.weight) * n_outputs // max(1, self.objective.rows.n_entries))
        weight = self.weight[::stride].astype(point.logs.dtype)
        q = np.exp(point.logs[::stride, :n_outputs])
        sampled = weight @ q
        q *= np.sqrt(weight)[:, np.newaxis]
        hessian = (q.T @ q).astype(np.float64)
        np.negative(hessian, out=hessian)
        hessian.flat[:: n_outputs + 1] += sampled
        ratio = np.sqrt(sums / np.maximum(sampled, LEAST_CURVATURE))
        hessian *= ratio[:, np.newaxis] * ratio
        # The same change of all logits has no curvature, nor has the gradient a component along it.
        hessian += hessian.diagonal().mean() / n_outputs
        return hessian


@dataclass
class SoftmaxPoint:
    """A point of the dual problem; classes are padded to whole cache lines.

    Attributes
    ----------
    logs : ndarray of shape (n_rows, width)
        log q.
    top, others : ndarray of shape (n_rows,)
        A class whose q is above 1/2 and taken to be 1 less the others, and their sum, when q was
        last normalised: in float32, q itself has few digits of 1 - q. -1 if there is none.
    coef : ndarray of shape (n_features, width)
        W + shift mean. When the q of a row changes, this changes only where the row has entries.
    shift, along, intercept, feedback : ndarray of shape (width,)
        -scale times the sums of alpha; coef . mean; the intercepts; and what ``shift`` is
        multiplied by for intercepts during sweeps (``_kernels/softmax_dual_body.h``).
    response : ndarray of shape (width,)
        By how much the sums of weight q change with the intercepts during a sweep.
    squares : ndarray of shape (n_outputs,)
        W . W when the coefficients were last computed anew.
    met, value : float
        Mean gap of the rows when the last sweep reached them; estimate of the value.
    n_sweeps : int
    """

    logs: np.ndarray
    top: np.ndarray
    others: np.ndarray
    coef: np.ndarray
    shift: np.ndarray
    along: np.ndarray
    intercept: np.ndarray
    feedback: np.ndarray
    response: np.ndarray
    squares: np.ndarray
    met: float = np.inf
    value: float = np.inf
    n_sweeps: int = 0

    n_lots = 1  # classes depend on each other

    @classmethod
    def at(cls, n_outputs, c, n_rows, n_features, dtype):
        """Make a point with these intercepts whose q and coefficients are not computed yet."""
        width = width_of(n_outputs, dtype)
        logs, intercept = zeros((n_rows, width), dtype), np.full(width, LOW, dtype)
        logs[:, n_outputs:] = LOW
        intercept[:n_outputs] = c
        shift, along, feedback = np.zeros((3, width), dtype)
        return cls(
            *(logs, np.full(n_rows, -1, np.int32), zeros(n_rows, dtype)),
            zeros((n_features, width), dtype),
            *(shift, along, intercept, feedback),
            np.zeros(width),
            np.zeros(n_outputs),
        )

    def dump(self):
        """Return all attributes as a tree (``_utils/archive.py``)."""
        return dict(vars(self))

    def by_lot(self, gaps):
        """Return the gaps as they are: all classes are one lot."""
        return gaps


class _Targets:
    """The targets of the rows, as the kernels read them.

    Attributes
    ----------
    labels : ndarray of shape (n_rows,), int32, or None
    base, share : float
        The target of a row is ``base`` for every class, plus ``share`` for its label.
    values : ndarray of shape (n_rows, width) or None
        The targets of the rows, if there are no labels.
    """

    def __init__(self, y, outputs, dtype):
        n_outputs, smoothing = len(outputs), y.loss.label_smoothing
        self.n_outputs, self.labels, self.values = n_outputs, None, None
        self.base, self.share = smoothing / n_outputs, 1.0 - smoothing
        if y.labels is not None:
            new = np.zeros(y.n_outputs + 1, dtype=np.int32)  # rows of other classes have no weight
            new[outputs] = np.arange(n_outputs)
            self.labels = new[y.labels]
            return
        values = y.values[:, outputs]
        values = values.toarray() if sparse.issparse(values) else values
        self.values = zeros((len(values), width_of(n_outputs, dtype)), dtype)
        self.values[:, :n_outputs] = self.base + self.share * values

    def mix(self, p, share, logs_out):
        """Fill ``logs_out`` with the logarithms of (1 - share) targets + share p, by row."""
        logs_out = logs_out[:, : self.n_outputs]
        with np.errstate(divide="ignore"):  # the kernels have a lower bound of logarithms
            if self.labels is None:
                np.log((1 - share) * self.values[:, : self.n_outputs] + share * p, out=logs_out)
                return
            others = (1 - share) * self.base + share * p
            logs_out[...] = np.log(others)
            if share < 1:
                own = np.log(others + (1 - share) * self.share)
                logs_out[np.arange(len(logs_out)), self.labels] = own[self.labels]


def batch_size(X, mean, weight):
    """Return how many random rows may be solved at once, each as if it was alone.

    The overlap of two rows is the square of the cosine between them, times the ratio of their
    weighted lengths: 1 for two copies of a row. If a batch has m copies of a row and the penalty
    decides, they move m times as far as they should, and further away from m = 2 on. The sum of the
    overlaps of a row with the others of a batch should be less than that for nearly all rows. So
    should what the rows of a batch do to the intercepts, which ``feedback`` corrects so many times
    over in a sweep.

    Parameters
    ----------
    X : CSR of shape (n_rows, n_features)
    mean : ndarray of shape (n_features,)
        It is subtracted from the rows implicitly.
    weight : ndarray of shape (n_rows,)

    Returns
    -------
    int
        At least 1.
    """
    n_sampled = min(SETTINGS.sampled_rows, X.shape[0] // 2)
    if not n_sampled:
        return 1
    some, others = order_of(X.shape[0], 0)[: 2 * n_sampled].reshape(2, n_sampled)
    products = (X[some] @ X[others].T).toarray().astype(np.float64)
    along, squares = centred_squares(X[some], mean)
    products -= np.add.outer(along, X[others] @ mean) - mean @ mean
    overlaps = (products**2) @ weight[others] / n_sampled
    of_row = squares * (weight[some] @ squares / n_sampled)
    overlaps = np.append(overlaps[of_row > 0] / of_row[of_row > 0], 0.0)
    overlap = max(np.quantile(overlaps, SETTINGS.nearly_all), SETTINGS.feedback / X.shape[0])
    return int(np.clip(SETTINGS.most_overlap / overlap, 1, SETTINGS.most_batch))


def width_of(n_outputs, dtype):
    """Return the number of classes with those that fill the last cache line."""
    per_line = LINE // np.dtype(dtype).itemsize
    return -(-n_outputs // per_line) * per_line
