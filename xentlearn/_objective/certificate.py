"""Certified upper bounds of the optimality gap, from the dual problem.

The minimum of a penalised cross-entropy is at least the value of the dual objective at any dual
feasible point (Shalev-Shwartz and Zhang, JMLR 14, 2013). The predictions at a vector of
coefficients provide such a point.
"""

from dataclasses import dataclass

import numpy as np

from .._plan import settings as defaults
from .._utils._sweeps import bound_sums, give_back_memory
from .._utils.numerics import EPS, LEAST_CURVATURE
from .._utils.state import Stateful
from .preconditioners import cholesky_factor, solve


@dataclass
class Certificate(Stateful):
    """Lower bounds of an objective's minimum; the best one is remembered.

    The objective is passed to each call instead of being stored: a cycle of references would keep X
    in memory until the garbage collector runs.

    Attributes
    ----------
    settings : settings.Certificate
    least : float
        The largest lower bound of the minimum found so far.
    excess : float
        Bound of the gap over the one that was wanted, as far as is known from the last call of
        ``gap_if_at_most``.
    """

    CHANGES = ("least", "excess", "_looseness")

    settings: defaults.Certificate = defaults.Certificate()
    least: float = -np.inf
    excess: float = np.inf
    _looseness: float = 2.0  # ratio of the last bound to the one that holds without an intercept

    def gap(self, objective, vector, value, gradient):
        """Return an upper bound of (value at ``vector``) - minimum; inf if there is none."""
        if not objective.certifiable:
            return np.inf
        gap = max(value - self.least, 0.0)  # two values of one point may differ by rounding
        natural = _natural_gap(objective, gradient)
        if not gap <= self.settings.enough * natural:  # else a new bound would hardly be tighter
            tiny = self.settings.tiny * value
            gap = min(gap, self._certified(objective, vector, value, gradient, tiny))
        return gap

    def gap_if_at_most(self, objective, vector, value, gradient, wanted):
        """Return an upper bound of (value at ``vector``) - minimum, or inf if above ``wanted``.

        In most cases the norm of the gradient shows that the bound would be above ``wanted``: the
        ratio of the last bound to the squared norm is known. Otherwise two passes over X are made.
        """
        if not objective.certifiable or (objective.penalty_curvature != objective.l2_reg).any():
            return np.inf
        natural, wanted = _natural_gap(objective, gradient), max(wanted, np.finfo(float).tiny)
        with np.errstate(over="ignore"):  # with tol=0
            self.excess = natural * self._looseness / wanted
        if not self.excess <= 1:
            return np.inf
        gap = self._certified(objective, vector, value, gradient, wanted)
        self._looseness = max(1.0, gap / max(natural, np.finfo(float).tiny))
        self.excess = gap / wanted
        return gap if gap <= wanted else np.inf

    def _certified(self, objective, vector, value, gradient, enough):
        """Return an upper bound of (value at ``vector``) - minimum; inf if there is none.

        The bound is computed at the vector. If it is above ``enough``, and there are not too many
        classes, it is also computed after a Newton step of the intercept alone, and the smaller one
        is taken. As the intercept is not penalised, the bound is of first order in the gradient
        with respect to it. On MNIST the step takes the relative bound after a default fit from 0.15
        to 0.005, on sparse text from 0.006 to 0.00002.
        """
        if not np.isfinite(value):
            return np.inf
        gap, at = self._duality_gap(objective, vector, value, gradient), vector
        rounding = self._rounding(objective, value, at)
        few = objective.is_binary or objective.n_outputs <= self.settings.most_coupled
        if objective.fit_intercept and few and gap > enough - rounding:
            at = vector.copy()
            of_intercept = slice(-objective.n_outputs, None)
            at[of_intercept] -= self._intercept_step(objective, vector, gradient[of_intercept])
            value_at, gradient_at = objective.value_gradient(at)
            if value_at <= value:  # otherwise the step was too long
                there = self._duality_gap(objective, at, value_at, gradient_at)
                gap = min(gap, value - value_at + there)
        gap = max(0.0, gap) + self._rounding(objective, value, at)
        self.least = max(self.least, value - gap)
        return gap

    @staticmethod
    def _rounding(objective, value, vector):
        """Return what to allow for rounding errors of a bound that is computed at a vector.

        The terms of the bound are sums of residuals, which are about as large as the loss, times b.
        Rows that are alike have the same errors, and those of a few rows may be most of the sum: no
        mean makes them smaller.
        """
        of_rows = max(objective.rounding, EPS[np.dtype(objective.rows.dtype)])
        b = vector[objective.n_features * objective.n_outputs :]
        return of_rows * value * (1.0 + np.abs(b).max(initial=0.0))

    def _intercept_step(self, objective, vector, gradient):
        """Return the Newton step of the intercept for fixed W, of shape (n_outputs,).

        The Hessian is computed from a subset of the rows if there are many.
        """
        n_outputs, coupled = objective.n_outputs, not objective.is_binary
        sample, settings = objective.rows.sample, self.settings
        of_pass = 2 * sample.n_entries * n_outputs
        hessian, total = sample.intercept_hessian(
            *objective.at(vector),
            coupled,
            max(settings.step_work, settings.step_passes * of_pass),
            objective.n_threads,
        )
        hessian *= (objective.sums.sum() if coupled else objective.sums.sum(axis=1)) / total
        if not coupled:
            return gradient / np.maximum(hessian, LEAST_CURVATURE)
        # The same change of all logits has no curvature, and the gradient has no component along
        # it: adding curvature there makes the matrix definite and does not change the step.
        hessian += hessian.diagonal().mean() / n_outputs
        scale = 1 / np.sqrt(np.maximum(hessian.diagonal(), LEAST_CURVATURE))
        try:
            return solve(cholesky_factor(hessian, scale), scale, gradient)
        except np.linalg.LinAlgError:
            return np.zeros(n_outputs)

    def _duality_gap(self, objective, vector, value, gradient):
        """Return an upper bound of (value at ``vector``) - minimum, apart from rounding errors.

        The minimum is at least the value of the dual objective at any feasible point
        (Shalev-Shwartz and Zhang, JMLR 14, 2013). With an intercept, which is not penalised,
        alpha_i = q_i - t_i is feasible if its weighted sum over the rows i is 0; t_i is the target
        of the row and q_i any distribution. The value of the dual objective is

            -mean(sum_k q_k log q_k) - ||mean(alpha x)||^2 / (2 l2_reg).

        Here q is a mixture of three distributions,

            q = (1 - tau) t + tau ((1 - epsilon) p + epsilon r):

        the prediction p at ``vector``; a distribution r that is the same for all rows, with epsilon
        just large enough to make the weighted sum 0; and the target t, which scales alpha down. The
        negative entropy of a mixture is bounded by convexity, and that of t by 0. Near the optimum
        tau = 1 is best; further away, a smaller tau keeps the bound useful. The result is inf if no
        mixture makes the sum 0.
        """
        n_features, l2_reg = objective.n_features, objective.l2_reg
        W = vector.reshape(objective.shape)[:n_features]
        dW = gradient.reshape(objective.shape)[:n_features]
        constant, linear, epsilon, r = self._balance(objective, vector, gradient)
        if not epsilon < 1:  # this includes nan
            return np.inf
        of_constant = self.constant_gradient(objective, r) if epsilon > 0 else None

        square, along_g, along_shift, of_change, of_rest = bound_sums(
            W, dW, of_constant, l2_reg, epsilon, objective.n_threads
        )
        mean_loss = value - 0.5 * l2_reg * square
        # mean of sum_k p_k log p_k: the loss is -sum_k t_k log p_k
        negative_entropy = along_g + constant + linear - mean_loss
        excess = self._entropy_excess(objective, epsilon, r, negative_entropy)

        # For tau = 1, in a form in which every term vanishes at the optimum: no cancellation.
        gap = constant + excess + of_change / (2 * l2_reg) - along_shift
        # For the best tau: the dual objective is -tau entropy - tau^2 of_rest / (2 l2_reg).
        entropy = negative_entropy + excess - linear
        of_rest /= 2 * l2_reg
        if of_rest > 0 and -entropy < 2 * of_rest:
            gap = min(gap, value - max(0.0, -entropy) ** 2 / (4 * of_rest))
        return gap

    @staticmethod
    def _balance(objective, vector, gradient):
        """Return what makes the weighted sum of the dual point 0, if there is an intercept.

        Returns
        -------
        constant : float
            mean(alpha) times what is added to the logits of every row.
        linear : float
            In the dual objective the offset is a linear term, which vanishes if an intercept makes
            mean(alpha) 0.
        epsilon : float
            The share of ``r``: the largest that one of the outputs needs; at least 1, or nan, if
            none is enough.
        r : ndarray or None
            As ``constant_shares`` returns it.
        """
        b = vector.reshape(objective.shape)[objective.n_features :]
        g_b = gradient.reshape(objective.shape)[objective.n_features :]
        constant, linear = np.vdot(g_b, b + objective.offset), 0.0
        if not objective.fit_intercept:
            if objective.offset.any():
                _, _, sums = objective.rows.loss_gradient(
                    *objective.at(vector), objective.n_threads
                )
                linear = sums @ objective.offset / objective.total_weight
            return constant, linear, 0.0, None
        epsilons, r = constant_shares(objective.sums, g_b[0])
        epsilon = float(epsilons.max())
        if epsilon < 1 and len(r) > 1:
            r = constant_shares(objective.sums, g_b[0], epsilon)[1]
        return constant, linear, epsilon, r

    @staticmethod
    def _entropy_excess(objective, epsilon, r, negative_entropy):
        """Return by how much the share of ``r`` raises the bound of the negative entropy."""
        if not epsilon > 0:
            return 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(r > 0, r * np.log(r), 0.0).sum(axis=1)
        return epsilon * (np.sum(objective.sums.sum(axis=-1) * terms) - negative_entropy)

    def constant_gradient(self, objective, r):
        """Return the gradient with respect to W of the mean loss if every row is predicted as r.

        It is linear in ``r``. For a centred X it does not depend on r at all, unless the weights of
        a row differ between its outputs: every output then has its own mean of X.

        Parameters
        ----------
        objective : LinearObjective
        r : ndarray of shape (n_distributions, n_outcomes)
            As ``constant_shares`` returns it.

        Returns
        -------
        ndarray of shape (n_features, n_outputs)
        """
        constant = objective.rows.derived.get("constant_gradients")
        if constant is None:
            constant = self._find_constant_gradients(objective)
            if objective.is_binary or objective.n_outputs <= self.settings.most_kept:
                objective.rows.derived["constant_gradients"] = constant
            else:  # each certificate computes them again
                give_back_memory()
        shares, at_shares, slope = constant
        return at_shares if slope is None else at_shares + slope * (r[:, 1] - shares)

    def _find_constant_gradients(self, objective):
        """Return (shares of the 1s, gradient in W there, its derivative in the shares).

        If the gradient does not depend on the shares (for a softmax loss, or if all entries of a
        row have the same weight), return (None, gradient in W, None).
        """
        shape = objective.shape
        matrix = objective.start().reshape(shape)
        at_start = objective.rows.derived.get("start_gradient")
        if at_start is None:
            at_start = objective.value_gradient(matrix.ravel())[1].reshape(shape)
        at_shares = at_start[:-1]
        if not objective.is_binary:
            return None, at_shares, None
        shares = objective.sums[:, 1] / objective.sums.sum(axis=1)
        if objective.rows.sample.y.weighs_rows:  # X is centred by the mean of every output
            return None, at_shares, None
        # A second point gives the derivative. It is at logit 0 where the logit of the shares is
        # large: the shares one logit further may round to the same number.
        matrix[-1] = np.where(np.abs(matrix[-1]) > 1.0, 0.0, matrix[-1] + 1.0)
        shifted = 1 / (1 + np.exp(-matrix[-1]))
        there = objective.value_gradient(matrix.ravel())[1].reshape(shape)[:-1]
        return shares, at_shares, (there - at_shares) / (shifted - shares)


def _natural_gap(objective, gradient):
    """Return |gradient|^2 / (2 l2_reg), the upper bound of the gap if there is no intercept."""
    of_coef = gradient[: objective.n_features * objective.n_outputs]
    return np.vdot(of_coef, of_coef) / (2 * objective.l2_reg)


def constant_shares(sums, g_b, least=0.0):
    """Solve (1 - epsilon) mean(p) + epsilon r = mean(t) for the smallest epsilon and its r.

    Each distribution is solved for separately: a softmax has one, over its classes; every binary
    output has one, over the outcomes 0 and 1.

    Parameters
    ----------
    sums : ndarray of shape (n_classes,) or (n_outputs, 2)
        Class weight sums, over the sum of the weights.
    g_b : ndarray of shape (n_outputs,)
        Gradient with respect to the intercept, mean(p) - mean(t).
    least : float, default=0.0
        Lower bound of every epsilon.

    Returns
    -------
    epsilon : ndarray of shape (n_distributions,)
        At least 1, or nan, if there is no such r.
    r : ndarray of shape (n_distributions, n_outcomes)
        Distributions: entries in [0, 1] that sum to 1.
    """
    if sums.ndim == 2:
        total = sums.sum(axis=1, keepdims=True)
        wanted, excess = sums / total, g_b[:, np.newaxis] * [-1.0, 1.0] / total
    else:
        wanted, excess = sums[np.newaxis] / sums.sum(), g_b[np.newaxis] / sums.sum()
    predicted = wanted + excess  # to which the smallest excesses do not add: no differences of it
    with np.errstate(divide="ignore", invalid="ignore"):
        epsilon = np.fmax(least, np.fmax.reduce(excess / predicted, axis=1))
        r = predicted - excess / epsilon[:, np.newaxis]
    return epsilon, np.where(epsilon[:, np.newaxis] > 0, np.clip(r, 0.0, 1.0), wanted)
