"""Continuation: a sequence of decreasing extra penalties on the way to a hard minimum.

If data are nearly separable and hardly penalised, easier problems with a larger penalty are solved
first. Without them, early steps make the logits of a few rows far too large, where their losses are
linear and have no curvature, and steps stay short for hundreds of iterations.
"""

import numpy as np

from .._plan import settings as defaults


class Continuation:
    """Extra penalties and the step bound of a hard problem, from the ranges of the features.

    The range of a feature is measured by the largest distance of a value from the mean, in the
    units of X. Unlike the standard deviation, it is not small for a feature that is nonzero in few
    rows, and the coefficients of such features are the ones that early steps make too large.

    Parameters
    ----------
    settings : settings.Continuation, default=Continuation()

    Attributes
    ----------
    reach : ndarray of shape (n_features,) or None
        Largest distance of a value of each feature from its mean; None until a problem has been
        found hard.
    """

    def __init__(self, settings=defaults.Continuation()):
        self.settings, self.reach = settings, None

    def find_reach(self, objective):
        """Compute ``reach`` by a pass over X, unless it is known."""
        derived, mean = objective.rows.derived, objective.mean
        if self.reach is None and "reach" not in derived:
            found = objective.rows.extremes(mean, objective.n_threads)
            derived["reach"] = np.maximum(found.most - mean, mean - found.least)
        if self.reach is None:
            self.reach = derived["reach"]

    def strengths(self, objective, value):
        """Return decreasing strengths of the extra penalty; the first keeps most logits moderate.

        At a strength of 1 / S, with S the sum of the weights, it costs half of a row's share of the
        objective to move the logit of that row alone by 1.

        Parameters
        ----------
        objective : LinearObjective
        value : float
            Value at the present point.

        Returns
        -------
        list of float
            Empty if the penalty that was asked for is as strong already, or if the value shows that
            the rows are nearly separated.
        """
        settings = self.settings
        if value < settings.separated * 1e6 * objective.value_scale:
            return []
        self.find_reach(objective)
        at = min(settings.first / objective.total_weight, settings.largest)
        typical = np.median(self.reach[self.reach > 0] ** 2) if self.reach.any() else 0.0
        strengths = []
        while at * typical > settings.last * objective.l2_reg and len(strengths) < settings.most:
            strengths.append(at)
            at *= settings.step
        return strengths

    def extra(self, strength, n_features):
        """Return the second derivatives of the extra penalty, of shape (n_features,).

        The extra penalty is strength / 2 * sum_j (r_j ||W_j||)^2, with r_j the ``reach`` of feature
        j and W_j its coefficients.
        """
        return strength * self.reach**2 if strength else np.zeros(n_features)

    def bounded(self, direction, shape):
        """Return the direction with each coefficient clipped to the step bound.

        No feature alone then changes a row's logit by more than ``settings.step_bound`` in a full
        step. In a hard problem the quadratic model is valid for changes of a few units of a logit
        only: without the bound, features that are nonzero in few rows make the line search shrink
        the whole step to a tenth or less.
        """
        least = np.finfo(float).tiny
        most = self.settings.step_bound / np.maximum(self.reach, least)[:, np.newaxis]
        bounded = direction.copy()
        W = bounded.reshape(shape)[: len(self.reach)]
        np.clip(W, -most, most, out=W)
        return bounded
