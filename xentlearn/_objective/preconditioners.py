"""Preconditioners: approximate inverses of the Hessian.

There are two kinds: one from the features alone, and one from the Hessian at a point.

The Hessian of a cross-entropy in the coefficients of output k is close to a multiple of the
weighted covariance of X, with the mean of p_k (1 - p_k) as the factor. The inverse of

    curvature * (X - mean)^T S (X - mean) / sum(S) + l2_reg I,

with S the diagonal matrix of the weights, therefore removes the effects of the scales, offsets and
correlations of the features. Only the diagonal is used if X is too wide for a matrix of
n_features^2. The curvatures of the outputs are adapted during the fit.
"""

import contextlib
from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack

from .._data._design_matrix import computing_dtype
from .._data._factors import factorise_scaled, solve_scaled
from .._data.statistics import covariance
from .._plan.settings import Preconditioning
from .._utils._sweeps import divide
from .._utils.numerics import LEAST_CURVATURE, SLACK
from .._utils.threads import OUTPUT_BLOCK
from .hessian_blocks import HessianBlocks, leverages


def cholesky_factor(matrix, scale, slack=None, dtype=None):
    """Return L, in Fortran order, with ``L L^T = scale matrix scale + slack``.

    Parameters
    ----------
    matrix : ndarray of shape (n, n), in C order
        Overwritten; only its upper triangle is read.
    scale : ndarray of shape (n,)
        Makes the diagonal about 1, so that the factorisation does not depend on the units of the
        features.
    slack : float or None, default=None
        What is added to the diagonal against rounding errors, in units of ``SLACK[dtype]``; None
        means n.
    dtype : dtype or None, default=None
        Dtype whose rounding errors the matrix has; None means its own.

    Returns
    -------
    ndarray of shape (n, n)

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not positive definite.
    """
    slack = len(matrix) if slack is None else slack
    dtype = matrix.dtype if dtype is None else dtype
    # LAPACK is called directly: scipy.linalg.cholesky takes five times as long for a matrix of 40
    # rows, and numpy.linalg.cholesky three times as long for one of 784 rows in float32.
    info = factorise_scaled(matrix, scale, SLACK[np.dtype(dtype)] * slack)
    if info != 0:
        raise np.linalg.LinAlgError(f"The leading minor of order {info} is not positive definite.")
    return matrix.T


def solve(factor, scale, right):
    """Return ``scale * (L L^T)^-1 (scale * right)`` for a vector, in the dtype of the factor L."""
    return solve_scaled(np.ascontiguousarray(factor.T), scale, right)


def covariance_of(objective, settings):
    """Return the covariance of the sample of an objective's rows; it is kept with the rows."""
    derived = objective.rows.derived
    if "covariance" not in derived:
        sample, n_threads = objective.rows.sample, objective.n_threads
        derived["covariance"] = covariance(
            sample.X, sample.weight, objective.mean, settings, n_threads
        )
    return derived["covariance"]


class FeaturePreconditioner:
    """Approximates (c_k M + l2_reg I)^-1 for output k, and 1 / c_k for its intercept.

    M is the covariance of X or, if X is too wide for it, its diagonal. The curvatures c_k may
    change: a class that is a thousand times rarer has a thousandth of the curvature, and all
    curvatures decrease as the predictions improve. With 500 unbalanced classes, a fit takes 16
    evaluations; with the same curvature for all classes it takes 26.

    The matrix is factorised once, for the mean c of the first curvatures: c M + l2_reg I = L L^T.
    For another curvature,

        c_k M + l2_reg I = L (I + (c_k - c) S) L^T,    S = L^-1 M L^-T = (I - l2_reg L^-1 L^-T) / c,

    and S is approximated by its diagonal. That is exact in the limits of a weak and of a strong
    penalty, and its eigenvectors would not save an iteration.

    For a softmax loss, the mean over the outputs is treated separately; see ``on_balanced``.

    Parameters
    ----------
    objective : LinearObjective
        Its sample of the rows, the mean and the variance of the features (the mean square for a
        sparse X, or without an intercept), the curvatures at the class shares, and the strength of
        its penalty are used; it is not kept.
    settings : Preconditioning
    """

    def __init__(self, objective, settings):
        sample, l2_reg = objective.rows.sample, objective.l2_reg
        curvatures = objective.curvatures_at_shares
        self._least_relative = settings.least_relative
        self.shift_invariant = objective.shift_invariant
        self.curvature = curvature = curvatures.mean()
        diagonal = curvature * objective.variance + l2_reg
        # without a penalty, a constant feature has no curvature: its scale stays 1
        diagonal[diagonal == 0] = 1.0
        self.scale = 1.0 / np.sqrt(diagonal)
        self.inverse_factor = self.covariance = None
        penalty_share = l2_reg * self.scale**2
        if settings.covariance:
            self.covariance = covariance_of(objective, settings)
            dtype, factor = computing_dtype(sample.X), None
            # The covariance of a sparse X is a difference of sums over all rows: for constant
            # features, its error may be larger than the rounding error of a matrix.
            for more in (1, 1e3, 1e6):
                matrix = curvature * self.covariance
                matrix.flat[:: len(matrix) + 1] += l2_reg
                with contextlib.suppress(np.linalg.LinAlgError):
                    factor = cholesky_factor(matrix, self.scale, more * len(matrix), dtype)
                    break
            if factor is None:  # use the diagonal alone
                factor = np.asfortranarray(np.eye(len(self.scale)))
            # products with L^-1 and its transpose are positive definite whatever its rounding error
            self.inverse_factor = lapack.dtrtri(factor, lower=True, overwrite_c=True)[0]
            squares = np.tril(self.inverse_factor) ** 2
            penalty_share = squares @ penalty_share
        self.loss_share = np.clip(1.0 - penalty_share, 0.0, 1.0)
        # inverse for the mean curvature: a diagonal, in the coordinates of the factor if there is
        # one
        self.for_mean = self.scale**2 if self.inverse_factor is None else np.ones(len(diagonal))
        self.follow(curvatures)

    def follow(self, curvatures):
        """Adapt to other curvatures of the outputs, of shape (n_outputs,)."""
        self.curvatures = curvatures
        self.relative = np.maximum(curvatures / self.curvature, self._least_relative)

    def apply(self, gradient, has_intercept, n_threads=1, overwrite=False):
        """Return the preconditioner times a gradient of shape (n_features [+ 1], n_outputs).

        With ``overwrite``, the result is in ``gradient``.
        """
        result = gradient if overwrite else np.empty_like(gradient)
        n_features, scale = len(self.scale), self.scale[:, np.newaxis]
        of_coef, common = result[:n_features], self.shift_invariant
        # `divide` divides by the curvatures; for a softmax loss (`common`), the mean over the
        # outputs is multiplied by `for_mean` instead
        inverse = self.for_mean, 1.0, self.loss_share, self.relative - 1.0, self.for_mean, common
        if self.inverse_factor is None:
            divide(gradient[:n_features], *inverse, of_coef, n_threads)
        else:
            # L^-T diagonal L^-1 times the scaled gradient. BLAS uses one thread, as those of OpenMP
            # may be busy waiting.
            factor, n_outputs = self.inverse_factor, gradient.shape[1]
            width = OUTPUT_BLOCK if common else n_outputs
            blocks = [slice(at, at + width) for at in range(0, n_outputs, width)]
            for block in blocks:
                right = np.multiply(gradient[:n_features, block], scale, order="F")
                of_coef[:, block] = blas.dtrmm(1.0, factor, right, lower=True, overwrite_b=True)
            divide(of_coef, *inverse, of_coef, n_threads)
            for block in blocks:
                right = np.asfortranarray(of_coef[:, block])
                right = blas.dtrmm(1.0, factor, right, lower=True, trans_a=True, overwrite_b=True)
                np.multiply(right, scale, out=of_coef[:, block])
        if has_intercept:
            last, curvature = slice(n_features, None), np.full(1, self.curvature)
            divide(
                gradient[last],
                np.ones(1),
                0.0,
                curvature,
                self.relative,
                1.0 / curvature,
                common,
                result[last],
                n_threads,
            )
        return result


@dataclass(frozen=True)
class LocalHessian:
    """Inverse of the whole Hessian at a point, for problems in which it is cheap to compute.

    Here and below, n_rows is the number of rows of the vector as a matrix: n_features, or
    n_features + 1 with an intercept.

    Attributes
    ----------
    factor : ndarray of shape (n_outputs n_rows, n_outputs n_rows)
        As ``cholesky_factor`` returns it.
    scale : ndarray of shape (n_outputs n_rows,)
    """

    factor: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, matrix, objective, slack=1.0):
        """Factorise a Hessian.

        Parameters
        ----------
        matrix : ndarray of shape (n_outputs n_rows, n_outputs n_rows)
            Hessian of the mean loss: ``_factors.hessian_sum`` over the sum of the weights.
            Overwritten.
        objective : LinearObjective
            Whose Hessian it is; its penalty is added here.
        slack : float, default=1.0
            Slack of ``cholesky_factor`` for a matrix in float64, if it is positive definite with
            it; otherwise, and in float32, it is the default of ``cholesky_factor``.

        Returns
        -------
        LocalHessian

        Raises
        ------
        numpy.linalg.LinAlgError
            If the matrix is not positive definite.
        """
        n_outputs, penalty = objective.n_outputs, objective.penalty_curvature
        n_rows, dtype = len(matrix) // n_outputs, matrix.dtype
        diagonal = matrix.reshape(-1)[:: len(matrix) + 1].reshape(n_outputs, n_rows)  # a view
        diagonal[:, : len(penalty)] += penalty.astype(dtype, copy=False)
        diagonal = diagonal.ravel().astype(np.float64, copy=False)
        # if every row is predicted with certainty, the inverse of the curvature would overflow
        diagonal[~(diagonal > LEAST_CURVATURE)] = 1.0
        if n_outputs > 1 and objective.shift_invariant:
            # Without a penalty, the same change of all logits has no curvature, and the gradient
            # has no component along it. Adding a curvature like that of the outputs makes the
            # matrix definite and does not change other directions.
            sums = np.add.reduce(diagonal.reshape(n_outputs, n_rows))
            penalised = np.zeros(n_rows, dtype=bool)
            # a penalty below the rounding error of the loss has no effect
            rounding = SLACK[np.dtype(np.float64)] * len(matrix) / n_outputs * sums
            penalised[: len(penalty)] = penalty > rounding[: len(penalty)]
            of_rows = matrix.reshape(n_outputs, n_rows, n_outputs, n_rows)
            for j in np.flatnonzero(~penalised):  # most often the intercept alone
                like = float(sums[j]) / n_outputs**2
                of_rows[:, j, :, j] += like
                diagonal[j::n_rows] += like
        scale = 1.0 / np.sqrt(diagonal)
        if dtype == np.float64:  # flat directions need all digits: try a small slack first
            with contextlib.suppress(np.linalg.LinAlgError):
                return cls(cholesky_factor(matrix.copy(), scale, slack), scale)
        return cls(cholesky_factor(matrix, scale), scale)

    def apply(self, gradient, has_intercept, n_threads=1, overwrite=False):
        """Return the inverse times a gradient of shape (n_rows, n_outputs)."""
        solved = solve(self.factor, self.scale, gradient.T.ravel())
        return np.ascontiguousarray(solved.reshape(gradient.shape[::-1]).T)


@dataclass
class Preconditioners:
    """The preconditioners of an objective, and which of them is in use.

    The one in use is from the Hessian at the last point where one was computed, or else from the
    features alone. The objective is passed to each call instead of being stored: a cycle of
    references would keep X in memory until the garbage collector runs.

    Attributes
    ----------
    settings : Preconditioning
    local : LocalHessian, HessianBlocks or None
        The preconditioner from the Hessian at a point.
    slack : float
        Slack of Hessians in float64; see ``cholesky_factor``.
    """

    settings: Preconditioning
    local: object = None
    slack: float = 1.0
    _of_features: FeaturePreconditioner | None = None

    def of_features(self, objective):
        """Return the ``FeaturePreconditioner``, made when it is first needed.

        newton-cholesky never needs it.
        """
        if self._of_features is None:
            self._of_features = FeaturePreconditioner(objective, self.settings)
        return self._of_features

    def follow(self, objective, vector):
        """Adapt to the mean curvatures of the outputs at ``vector``, from a sample of the rows.

        The curvature of an output that the sample hardly shows is taken to have decreased, since
        the start, by the same factor as that of all outputs together. Nothing is done for a single
        output, whose scale solvers find themselves, nor if the Hessian at a point is in use.
        """
        if objective.n_outputs == 1 or self.local is not None:
            return
        sample, settings = objective.rows.sample, self.settings
        weight = sample.weight.sum()
        n_wanted = max(weight // settings.few_of_weight, settings.least_few)
        if objective.few is None:
            objective.few = sample.few(min(n_wanted, settings.most_few))
        seen, n_rows = np.zeros(objective.n_outputs), 0
        for rows in objective.few:
            seen += rows.design.curvature_sum(
                rows.target, *objective.at(vector), objective.n_threads
            )
            n_rows += rows.n_rows
        seen /= weight
        known, believed = objective.curvatures_at_shares, settings.few_seen
        left = seen.sum() / known.sum()
        with np.errstate(divide="ignore"):
            unseen = believed / known
        self.of_features(objective).follow((n_rows * seen + believed * left) / (n_rows + unseen))

    def make_local(self, objective, vector, thorough):
        """Precondition by the Hessian at ``vector`` from now on, in the form that the plan chose.

        With ``thorough``, a whole Hessian is computed in float64 instead of float32.
        """
        kind, sample = self.settings.local, objective.rows.sample
        if kind == "blocks":
            self._make_blocks(objective, sample, vector)
        elif kind is not None:
            rows = objective.rows if kind == "whole" else sample.sampled(self.settings.local_rows)
            self.make_hessian(objective, rows, vector, np.float64 if thorough else np.float32)

    def make_hessian(self, objective, rows, vector, dtype):
        """Precondition by the whole Hessian at ``vector`` from now on, computed from ``rows``."""
        neglected = 0.0
        if dtype == np.float32:
            # The previous Hessian is freed first, so that its memory is used again: touching new
            # memory would take a third of the time. If the factorisation fails, the preconditioner
            # from the features is in use again.
            self.local, neglected = None, self.settings.neglected
        if objective.small is not None and rows is objective.rows and dtype == np.float64:
            matrix = objective.small.hessian(vector)
        else:
            mean = objective.mean if objective.fit_intercept else None
            at, n_threads = objective.at(vector), objective.n_threads
            matrix = rows.hessian(*at, mean, dtype, neglected, n_threads)
            matrix /= objective.total_weight
        # it fails only where the objective is so flat that rounding errors decide
        with contextlib.suppress(np.linalg.LinAlgError):
            self.local = LocalHessian.of(matrix, objective, self.slack)

    def _make_blocks(self, objective, sample, vector):
        derived = objective.rows.derived
        if "leverage" not in derived:  # odds of a sample, for which any penalty will do
            of_features = self.of_features(objective)
            derived["leverage"] = leverages(objective, of_features, self.settings.sketch)
        curvature = sample.curvature(*objective.at(vector), objective.n_threads)
        curvature /= objective.total_weight
        with contextlib.suppress(np.linalg.LinAlgError):
            self.local = HessianBlocks.of(
                objective,
                curvature,
                derived["leverage"],
                covariance_of(objective, self.settings),
                self.settings,
            )

    def regularise(self):
        """Regularise subsequent Hessians by a larger slack; return whether that changes anything.

        It changes nothing if no whole Hessian is in use, or if the slack is at its limit. If a
        feature is nearly a sum of others, the smallest eigenvalues of a Hessian are mostly rounding
        error, and a step along their eigenvectors can be a million times too long.
        """
        if not isinstance(self.local, LocalHessian) or self.slack >= self.settings.most_slack:
            return False
        self.slack *= self.settings.more_slack
        return True

    def dump(self):
        """Return what has changed since construction, as a tree (``_utils/archive.py``)."""
        local = self.local
        return {
            "slack": self.slack,
            "curvatures": None if self._of_features is None else self._of_features.curvatures,
            "kind": None if local is None else type(local).__name__,
            "local": None if local is None else dict(vars(local)),
        }

    def load(self, objective, tree):
        """Restore what ``dump`` returned."""
        self.slack = tree["slack"]
        if tree["curvatures"] is not None:
            self.of_features(objective).follow(tree["curvatures"])
        if tree["kind"] is not None:
            kind = LocalHessian if tree["kind"] == "LocalHessian" else HessianBlocks
            self.local = kind(**tree["local"])
