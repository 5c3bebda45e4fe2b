"""Approximate inverses of the Hessian: from the features alone, or the one of a point, whichever is
in force.

The Hessian of softmax cross-entropy in the coefficients of class k is close to a multiple of the
weighted covariance of X: the multiple is the mean of p_k (1 - p_k). Dividing by

    curvature * (X - mean)^T S (X - mean) / sum(S) + l2_reg I

takes out what the features alone decide (scales, offsets, correlations). The diagonal serves where
X is too wide for a matrix of n_features squared. The multiples of the outputs change on the way.
"""

import contextlib
from dataclasses import dataclass

import numpy as np
from scipy.linalg import blas, lapack

from .._data._design_matrix import computing_dtype
from .._data.statistics import covariance
from .._plan.settings import Preconditioning
from .._utils._sweeps import divide
from .._utils.numerics import LEAST_CURVATURE, SLACK
from .hessian_blocks import HessianBlocks, leverages


def cholesky_factor(matrix, scale, slack=None, dtype=None):
    """L of ``L L^T = scale matrix scale``, in Fortran order.

    The matrix, in C order, is overwritten; only its upper triangle is looked at. ``scale`` makes
    the diagonal about 1, so that the factorisation does not see units of features. The diagonal
    gets what rounding takes away, ``SLACK`` of ``slack`` rows in ``dtype``, by default its own.
    """
    slack = len(matrix) if slack is None else slack
    dtype = matrix.dtype if dtype is None else dtype
    scale = scale.astype(matrix.dtype, copy=False)
    matrix *= scale[:, np.newaxis]
    matrix *= scale
    matrix.flat[:: len(matrix) + 1] += SLACK[np.dtype(dtype)] * slack
    # LAPACK itself: for a matrix of forty rows scipy.linalg.cholesky takes five times as long, and
    # for one of 784 in float32 numpy.linalg.cholesky three times
    factorise = lapack.dpotrf if matrix.dtype == np.float64 else lapack.spotrf
    factor, info = factorise(matrix.T, lower=True, overwrite_a=True)
    if info != 0:
        raise np.linalg.LinAlgError(f"The leading minor of order {info} is not positive definite.")
    return factor


def solve(factor, scale, right):
    """``scale * (L L^T)^-1 (scale * right)`` for a vector, in the dtype of the factor."""
    substitute = blas.dtrsv if factor.dtype == np.float64 else blas.strsv
    solved = substitute(factor, (scale * right).astype(factor.dtype, copy=False), lower=True)
    return scale * substitute(factor, solved, lower=True, trans=True, overwrite_x=True)


class FeaturePreconditioner:
    """(c_k M + l2_reg I)^-1 for output k, about, and 1 / c_k for its intercept.

    M is the covariance of X or, where X is too wide for it, its diagonal. The curvatures c_k
    may change: a class that is a thousand times as rare has a thousandth of the curvature, and all
    fall as rows are predicted better. With 500 unbalanced classes a fit takes 16 evaluations where
    one curvature for all takes 26.

    For the mean c of the first curvatures L L^T = c M + l2_reg I is factorised, and for another

        c_k M + l2_reg I = L (I + (c_k - c) S) L^T,    S = L^-1 M L^-T = (I - l2_reg L^-1 L^-T) / c,

    of which the diagonal of S is kept: all that matters where the penalty is weak or strong, and
    the eigenvectors of S save no iteration.

    For a softmax see ``on_balanced``.

    Parameters
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    weight : ndarray of shape (n_samples,)
        Weights of rows, >= 0.
    mean, variance : ndarray of shape (n_features,)
        Of the features, weighted; for a sparse X zero and the mean square.
    curvatures : ndarray of shape (n_outputs,)
        Typical second derivatives of the loss in the logits.
    l2_reg : float
        Weight of ||W||^2 / 2.
    shift_invariant : bool, default=False
        Whether the same change of all logits of a row changes nothing.
    settings : Preconditioning, default=Preconditioning()
    n_threads : int, default=1
    """

    def __init__(
        self,
        X,
        weight,
        mean,
        variance,
        curvatures,
        l2_reg,
        shift_invariant=False,
        settings=Preconditioning(),
        n_threads=1,
    ):
        self._least_relative = settings.least_relative
        self.shift_invariant = shift_invariant
        self.curvature = curvature = curvatures.mean()
        diagonal = curvature * variance + l2_reg
        # a constant feature without a penalty has no curvature at all: leave its scale alone
        diagonal[diagonal == 0] = 1.0
        self.scale = 1.0 / np.sqrt(diagonal)
        self.inverse_factor = self.covariance = None
        penalty_share = l2_reg * self.scale**2
        if settings.covariance:
            self.covariance = covariance(X, weight, mean, settings, n_threads)
            factor = self._factor(curvature, l2_reg, computing_dtype(X))
            # two products with L^-1 are positive definite whatever the rounding
            self.inverse_factor = lapack.dtrtri(factor, lower=True, overwrite_c=True)[0]
            squares = np.tril(self.inverse_factor) ** 2
            penalty_share = squares @ penalty_share
        self.loss_share = np.clip(1.0 - penalty_share, 0.0, 1.0)
        # the inverse for the mean of the curvatures, in the factor's coordinates if there is one
        self.for_mean = self.scale**2 if self.inverse_factor is None else np.ones(len(diagonal))
        self.inverse = np.empty((len(diagonal), len(curvatures)))  # of sparse text 21 MB: reused
        self.follow(curvatures)

    def _factor(self, curvature, l2_reg, dtype):
        """L of curvature * covariance + l2_reg I.

        The covariance of sparse X is a difference of sums over all rows: where features are
        constant, more may be left of it than the rounding of a matrix.
        """
        for more in (1, 1e3, 1e6):
            matrix = curvature * self.covariance
            matrix.flat[:: len(matrix) + 1] += l2_reg
            with contextlib.suppress(np.linalg.LinAlgError):
                return cholesky_factor(matrix, self.scale, more * len(matrix), dtype)
        return np.asfortranarray(np.eye(len(self.scale)))  # of the diagonal alone

    def follow(self, curvatures):
        """Take other curvatures of the outputs, shape (n_outputs,)."""
        self.curvatures = curvatures
        relative = np.maximum(curvatures / self.curvature, self._least_relative)
        np.multiply.outer(self.loss_share, relative - 1.0, out=self.inverse)
        self.inverse += 1.0
        np.divide(self.for_mean[:, np.newaxis], self.inverse, out=self.inverse)
        self.intercept_inverse = 1.0 / (self.curvature * relative[np.newaxis])

    def whiten(self, right, transposed=False):
        """L^-1 right, or its transpose times that; by one thread, as OpenMP's may be waiting."""
        right = np.asfortranarray(right)
        return blas.dtrmm(1.0, self.inverse_factor, right, lower=True, trans_a=transposed)

    def apply(self, gradient, has_intercept, n_threads=1):
        """Times a gradient of shape (n_features [+ 1], n_outputs)."""
        result = np.empty_like(gradient)
        n_features, scale = len(self.scale), self.scale[:, np.newaxis]
        of_coef, common = result[:n_features], self.shift_invariant
        # rows of a gradient times an inverse diagonal; what is common to all outputs by itself
        if self.inverse_factor is None:
            divide(gradient[:n_features], self.inverse, self.for_mean, common, of_coef, n_threads)
        else:
            half = np.ascontiguousarray(self.whiten(gradient[:n_features] * scale))
            divide(half, self.inverse, self.for_mean, common, half, n_threads)
            np.multiply(self.whiten(half, transposed=True), scale, out=of_coef)
        if has_intercept:
            for_mean, last = np.array([1.0 / self.curvature]), slice(n_features, None)
            divide(
                gradient[last], self.intercept_inverse, for_mean, common, result[last], n_threads
            )
        return result


@dataclass(frozen=True)
class LocalHessian:
    """Inverse of the Hessian at one point, for problems so small that it costs next to nothing.

    Attributes
    ----------
    factor : ndarray of shape (n_outputs n_rows, n_outputs n_rows)
        As ``cholesky_factor`` returns it.
    scale : ndarray of shape (n_outputs n_rows,)
    """

    factor: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, matrix, n_outputs, penalty, shift_invariant, slack=1.0):
        """The inverse of a matrix.

        Parameters
        ----------
        matrix : ndarray of shape (n_outputs n_rows, n_outputs n_rows)
            ``_factors.hessian_sum`` over the sum of the weights; overwritten.
        n_outputs : int
        penalty : ndarray of shape (n_features,)
            Second derivative of the penalty in the first rows of the vector.
        shift_invariant : bool
            Whether the same change of all logits of a row changes nothing.
        slack : float, default=1
            Of ``cholesky_factor``, in float64, if the matrix is definite with it.

        Raises
        ------
        numpy.linalg.LinAlgError
            If it is not definite.
        """
        n_rows, dtype = len(matrix) // n_outputs, matrix.dtype
        diagonal = matrix.reshape(-1)[:: len(matrix) + 1].reshape(n_outputs, n_rows)  # a view
        diagonal[:, : len(penalty)] += penalty.astype(dtype)
        diagonal = diagonal.ravel().astype(np.float64)
        # where every row is certain there is no curvature whose inverse could be written down
        diagonal[~(diagonal > LEAST_CURVATURE)] = 1.0
        if n_outputs > 1 and shift_invariant:
            # The same change of all logits costs nothing without a penalty, and no gradient points
            # there: a curvature like that of the outputs leaves all other directions as they are.
            sums = np.add.reduce(diagonal.reshape(n_outputs, n_rows))
            penalised = np.zeros(n_rows, dtype=bool)
            # a penalty that is rounding beside the loss holds nothing
            rounding = SLACK[np.dtype(np.float64)] * len(matrix) / n_outputs * sums
            penalised[: len(penalty)] = penalty > rounding[: len(penalty)]
            free = np.flatnonzero(~penalised)
            like = sums[free] / n_outputs**2
            of_rows = matrix.reshape(n_outputs, n_rows, n_outputs, n_rows)
            of_rows[:, free, :, free] += like.astype(dtype)[:, np.newaxis, np.newaxis]
            diagonal.reshape(n_outputs, n_rows)[:, free] += like
        scale = 1.0 / np.sqrt(diagonal)
        if dtype == np.float64:  # flat directions need every digit that there is
            with contextlib.suppress(np.linalg.LinAlgError):
                return cls(cholesky_factor(matrix.copy(), scale, slack), scale)
        return cls(cholesky_factor(matrix, scale), scale)

    def apply(self, gradient, has_intercept, n_threads=1):
        """Times a gradient of shape (n_rows, n_outputs)."""
        solved = solve(self.factor, self.scale, gradient.T.ravel())
        return np.ascontiguousarray(solved.reshape(gradient.shape[::-1]).T)


class Preconditioners:
    """The preconditioner that is in force.

    Of the last point that one was made at, else of the features alone. Objectives are given to each
    call rather than kept: a cycle of references would keep X until the collector runs.

    Parameters
    ----------
    settings : Preconditioning
    """

    def __init__(self, settings):
        self.settings = settings
        self.local = None
        self.slack = 1.0  # of Hessians in float64
        self._of_features = self._leverage = None

    def of_features(self, objective):
        """Made when it is asked for: newton-cholesky never does."""
        if self._of_features is None:
            sample = objective.rows.sample
            self._of_features = FeaturePreconditioner(
                sample.X,
                sample.weight,
                objective.mean,
                objective.variance,
                objective.curvatures_at_shares,
                objective.l2_reg,
                objective.shift_invariant,
                self.settings,
                objective.n_threads,
            )
        return self._of_features

    def follow(self, objective, vector):
        """Precondition by the mean curvatures of the outputs at ``vector``, from some rows.

        Outputs of which these show next to nothing are taken to have lost as much of their
        curvature as the others. Nothing changes for a single output, whose scale solvers find
        themselves, nor once there is the Hessian of a point.
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
            curvature = rows.curvature(*objective.at(vector), objective.n_threads)
            seen += curvature.sum(axis=0, dtype=np.float64)
            n_rows += rows.n_rows
        seen /= weight
        known, believed = objective.curvatures_at_shares, settings.few_seen
        left = seen.sum() / known.sum()
        with np.errstate(divide="ignore"):
            unseen = believed / known
        self.of_features(objective).follow((n_rows * seen + believed * left) / (n_rows + unseen))

    def make_local(self, objective, vector, thorough):
        """Use the Hessian at ``vector`` from now on, or what of it the plan has chosen.

        A ``thorough`` one is made in float64, whatever the time.
        """
        kind, sample = self.settings.local, objective.rows.sample
        if kind == "blocks":
            self._make_blocks(objective, sample, vector)
        elif kind is not None:
            rows = objective.rows if kind == "whole" else sample
            self.make_hessian(objective, rows, vector, np.float64 if thorough else np.float32)

    def make_hessian(self, objective, rows, vector, dtype):
        """Use the Hessian at ``vector`` from now on, made from ``rows``."""
        neglected = 0.0
        if dtype == np.float32:
            # The one before goes first, and its memory is used again: to touch new memory takes a
            # third of the time. Should this one fail, that of the features is in force again.
            self.local, neglected = None, self.settings.neglected
        mean = objective.mean if objective.fit_intercept else None
        matrix = rows.hessian(*objective.at(vector), mean, dtype, neglected, objective.n_threads)
        matrix /= objective.total_weight
        # where it fails, the point is so flat that rounding has the last word
        with contextlib.suppress(np.linalg.LinAlgError):
            self.local = LocalHessian.of(
                matrix,
                objective.n_outputs,
                objective.penalty_curvature,
                objective.shift_invariant,
                self.slack,
            )

    def _make_blocks(self, objective, sample, vector):
        of_features = self.of_features(objective)
        if self._leverage is None:
            self._leverage = leverages(
                sample.X, objective.mean, of_features, self.settings.sketch, objective.n_threads
            )
        curvature = sample.curvature(*objective.at(vector), objective.n_threads)
        curvature /= objective.total_weight
        with contextlib.suppress(np.linalg.LinAlgError):
            self.local = HessianBlocks.of(
                sample.X,
                curvature,
                objective.mean,
                objective.penalty_curvature,
                self._leverage,
                of_features.covariance,
                objective.shift_invariant,
                self.settings,
                objective.n_threads,
            )

    def regularise(self):
        """Put more on the diagonal of Hessians to come; whether there are any, and more helps.

        Where a feature is all but a sum of others, the least eigenvalues of a Hessian are what
        rounding has left of them, and a step along their axes can be a million times too long.
        """
        if not isinstance(self.local, LocalHessian) or self.slack >= self.settings.most_slack:
            return False
        self.slack *= self.settings.more_slack
        return True

    def dump(self):
        """What has changed since it was made, as a tree."""
        local = self.local
        return {
            "slack": self.slack,
            "curvatures": None if self._of_features is None else self._of_features.curvatures,
            "kind": None if local is None else type(local).__name__,
            "local": None if local is None else dict(vars(local)),
        }

    def load(self, objective, tree):
        """Put a ``dump`` back."""
        self.slack = tree["slack"]
        if tree["curvatures"] is not None:
            self.of_features(objective).follow(tree["curvatures"])
        if tree["kind"] is not None:
            kind = LocalHessian if tree["kind"] == "LocalHessian" else HessianBlocks
            self.local = kind(**tree["local"])
