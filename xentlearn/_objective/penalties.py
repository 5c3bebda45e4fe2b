"""Penalties of the coefficients: what a user asks for, and the same in the units of a solver.

``L2`` (``linear.py``) is the plain one, for smooth solvers. ``FeaturePenalty`` is the general one,
with r the ``l1_ratio``, v_j a factor of each feature, and bounds:

    (1/(C S)) sum_j v_j ((1 - r)/2 ||W_j||^2 + r ||W_j||_1),       lower_j <= W_j <= upper_j,

or with ||W_j||_2 in place of ||W_j||_1 if it is grouped; W_j are the coefficients of feature j, one
per output. Its ``terms`` are a ``FeatureTerms``, which solvers work with.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._utils.numerics import STRENGTHS
from . import _coordinate_descent as kernels
from . import _penalties as sums
from .linear import L2


def least_subgradient(W, slope, l1, lower, upper, grouped):
    """Return the least subgradient of an objective, 0 where no coefficient can be improved.

    Parameters
    ----------
    W : ndarray
        Of any shape, or with a group in each row.
    slope : ndarray
        The gradient of all but the part of the penalty with ``l1``, of the same shape.
    l1, lower, upper : ndarray
        Of shapes that are broadcast to it.
    grouped : bool

    Returns
    -------
    ndarray
    """
    if grouped:
        size = np.sqrt(np.einsum("jk,jk->j", W, W))[:, np.newaxis]
        closed = ((slope > 0) & (W <= lower)) | ((slope < 0) & (W >= upper))
        open_slope = np.where(closed, 0.0, slope)
        steep = np.sqrt(np.einsum("jk,jk->j", open_slope, open_slope))[:, np.newaxis]
        with np.errstate(divide="ignore", invalid="ignore"):
            shrunk = open_slope * np.maximum(1.0 - l1 / steep, 0.0)
            result = np.where(size > 0, slope + l1 * W / size, np.where(steep > 0, shrunk, 0.0))
    else:
        shrunk = np.sign(slope) * np.maximum(np.abs(slope) - l1, 0.0)
        result = np.where(W != 0, slope + l1 * np.sign(W), shrunk)
    result[(W <= lower) & (result > 0)] = 0.0
    result[(W >= upper) & (result < 0)] = 0.0
    return result


@dataclass(frozen=True)
class FeaturePenalty(L2):
    """The penalty above.

    Attributes
    ----------
    C : float
    l1_ratio : float
        r, in [0, 1].
    factor : ndarray of shape (n_features,) or float
        v_j, >= 0; inf leaves a feature out.
    grouped : bool
    lower, upper : ndarray of shape (n_features,) or float
        Bounds of the coefficients of each feature, with 0 between them.
    """

    l1_ratio: float = 0.0
    factor: object = 1.0
    grouped: bool = False
    lower: object = -np.inf
    upper: object = np.inf
    is_composite = True

    def terms(self, n_features, total_weight, exponent=0, unit=1.0):
        """Return the ``FeatureTerms`` for the units of ``strength``."""
        units = total_weight, exponent, unit
        factor = np.broadcast_to(self.factor, n_features).astype(float)
        factor[factor == np.inf] = 0.0
        lower, upper = (np.broadcast_to(a, n_features) for a in self._bounds)
        with np.errstate(over="ignore"):
            l1 = self.strength(*units, degree=1) * self.l1_ratio * factor
            l2 = self.strength(*units) * (1.0 - self.l1_ratio) * factor
            l1, l2 = np.minimum(l1, STRENGTHS[1]), np.minimum(l2, STRENGTHS[1])
            return FeatureTerms(l1, l2, lower * unit, upper * unit, self.grouped)

    @property
    def _bounds(self):
        """Lower and upper bounds; those of features that are left out are 0."""
        is_out = np.equal(self.factor, np.inf)
        return np.where(is_out, 0.0, self.lower), np.where(is_out, 0.0, self.upper)

    def allowed(self, coef):
        """Return coefficients of shape (n_outputs, n_features), moved to a bound that they exceed.

        A bound that their dtype does not have is rounded towards 0.
        """
        rounded = []
        for bound in self._bounds:
            near = bound.astype(coef.dtype)
            inner = np.nextafter(near, coef.dtype.type(0))
            rounded.append(np.where(np.abs(near) > np.abs(bound), inner, near))
        return np.clip(coef, *rounded)


@dataclass(frozen=True)
class FeatureTerms:
    """The penalty as a sum over features, for coefficients W of shape (n_features, n_outputs).

    Attributes
    ----------
    l1, l2 : ndarray of shape (n_features,)
        Factors of ||W_j||_1 (grouped: of ||W_j||_2) and of ||W_j||^2 / 2.
    lower, upper : ndarray of shape (n_features,)
    grouped : bool
    """

    l1: np.ndarray
    l2: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    grouped: bool

    def taken(self, features):
        """Return the terms of some of the features."""
        arrays = (a[features] for a in (self.l1, self.l2, self.lower, self.upper))
        return FeatureTerms(*arrays, self.grouped)

    def times(self, factor):
        """Return the terms with ``l1`` multiplied by a number."""
        if factor == 1.0:
            return self
        return FeatureTerms(self.l1 * factor, self.l2, self.lower, self.upper, self.grouped)

    @cached_property
    def with_intercept(self):
        """The arrays ``l1``, ``l2``, ``lower`` and ``upper``, with an entry for the intercept."""
        of_intercept = (0.0, 0.0, -np.inf, np.inf)
        arrays = self.l1, self.l2, self.lower, self.upper
        return [np.append(array, x) for array, x in zip(arrays, of_intercept, strict=True)]

    @cached_property
    def is_out(self):
        """Which features have the coefficient 0 in any case, of shape (n_features,)."""
        return (self.lower == 0) & (self.upper == 0)

    @cached_property
    def _closed(self):
        """Features that have a bound of 0, and the sign of a gradient that leads out of it."""
        sides = (np.flatnonzero(self.lower == 0), 1.0), (np.flatnonzero(self.upper == 0), -1.0)
        return [side for side in sides if len(side[0])]

    @property
    def bounds_all(self):
        """Whether each feature has a penalty, so that the dual problem has lower bounds."""
        return bool((((self.l1 > 0) | (self.l2 > 0)) | self.is_out).all())

    def value(self, W):
        """Return the penalty of coefficients W."""
        return sums.penalty(W, self.l1, self.l2, self.grouped)

    def is_free(self, W):
        """Return which coefficients a small change of the loss would change, of the shape of W.

        Neither those that the penalty keeps at 0 nor those at a bound.
        """
        l1, lower, upper = (a[:, np.newaxis] for a in (self.l1, self.lower, self.upper))
        used = W.any(axis=1, keepdims=True) if self.grouped else W != 0
        return (used | (l1 == 0)) & (lower < W) & (W < upper)

    def grows(self, W):
        """Return whether a coefficient that is not 0 could grow without bound at no cost."""
        is_open = np.where(W > 0, self.upper[:, np.newaxis], -self.lower[:, np.newaxis]) == np.inf
        costs = (self.l1 > 0) | (self.l2 > 0)
        return bool(((W != 0) & is_open)[~costs].any())

    def excess(self, gradient):
        """Return by how much the size of a gradient exceeds l1 where W = 0, by coefficient.

        Directions that leave the bounds do not count. The shape is that of the gradient, or
        (n_features,) if grouped. Negative numbers mean that the coefficient stays 0.
        """
        size = np.abs(gradient)
        for closed, sign in self._closed:
            size[closed] = np.where(sign * gradient[closed] > 0, 0.0, size[closed])
        if self.grouped:
            return np.sqrt(np.einsum("jk,jk->j", size, size)) - self.l1
        return size - self.l1[:, np.newaxis]

    def above(self, gradient):
        """Return where ``excess`` is positive, of the shape of ``excess``."""
        if self.grouped:
            return self.excess(gradient) > 0
        l1 = self.l1[:, np.newaxis]
        down, up = gradient > l1, gradient < -l1
        for moved, bound in ((down, self.lower), (up, self.upper)):
            closed = np.flatnonzero(bound == 0)
            if len(closed):
                moved[closed] = False
        return down | up

    def residual(self, W, gradient):
        """Return the least subgradient of the objective at W, of the shape of W.

        It is 0 where no coefficient can be improved; ``gradient`` is that of the loss.
        """
        l1, l2, lower, upper = (
            a[:, np.newaxis] for a in (self.l1, self.l2, self.lower, self.upper)
        )
        return least_subgradient(W, gradient + l2 * W, l1, lower, upper, self.grouped)

    def shift(self, W):
        """Change all outputs of each feature so that the penalty is least, in place.

        The same change of all outputs does not change a softmax.
        """
        sums.shift(W, self.l1, self.l2, self.lower, self.upper, self.grouped)

    def conjugate(self, Z):
        """Return the penalty's conjugate at tau Z, as a function of tau in [0, 1].

        The conjugate at Z is the largest Z . W - penalty(W). Terms that are 0 for all tau in [0, 1]
        are left out.

        Parameters
        ----------
        Z : ndarray of shape (n_features, n_outputs)

        Returns
        -------
        conjugate : callable
            Returns its value at tau, and its derivative in tau.
        limit : float
            The largest tau, at most 1, at which it is finite.
        """
        above = self.above(-Z)
        if self.grouped:
            return self._conjugate_of_groups(Z, np.flatnonzero(above))
        features, outputs = np.nonzero(above)
        part, z = self.taken(features), Z[features, outputs]
        size, l1, l2 = np.abs(z), part.l1, part.l2
        reach = np.where(z > 0, part.upper, -part.lower)
        free = (l2 == 0) & (reach == np.inf)
        limit = float((l1[free] / size[free]).min(initial=1.0))
        bounded = np.flatnonzero(~free)
        size, l1, l2, reach = size[bounded], l1[bounded], l2[bounded], reach[bounded]
        inverse = np.divide(1.0, l2, out=np.full(len(l2), np.inf), where=l2 > 0)

        def at(tau):
            over = np.maximum(tau * size - l1, 0.0)
            best = np.where(over > 0, np.minimum(np.maximum(over, 1e-300) * inverse, reach), 0.0)
            return float(best @ over - 0.5 * (l2 @ (best * best))), float(best @ size)

        return at, limit

    def _conjugate_of_groups(self, Z, features):
        """Return the same, of some features with a grouped penalty."""
        part, Z = self.taken(features), Z[features]
        lower, upper = (np.repeat(a, Z.shape[1]).reshape(Z.shape) for a in (part.lower, part.upper))
        bound = np.where(Z > 0, upper, -lower)
        # without l2, nothing but l1 limits the outputs that have no bound in the direction of Z
        size = np.sqrt(np.square(np.where(bound == np.inf, Z, 0.0)).sum(axis=1))
        free = (part.l2 == 0) & (size > 0)
        limit = float((part.l1[free] / size[free]).min(initial=1.0))
        kept = np.flatnonzero(~free | ((bound > 0) & (bound < np.inf) & (Z != 0)).any(axis=1))
        arrays = Z[kept], part.l1[kept], part.l2[kept], lower[kept], upper[kept]
        return lambda tau: kernels.group_conjugates(tau, *arrays), limit
