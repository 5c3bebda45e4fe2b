"""Continuation: a sequence of falling extra penalties that leads to a hard minimum.

Data that can nearly be separated, with hardly a penalty, are approached through easier problems.
Without that a few rows are overshot early, their losses grow long straight tails without curvature,
and steps stay short for hundreds of iterations.
"""

import numpy as np

from .._plan import settings as defaults


class Continuation:
    """The reach of the features, and what follows from it.

    The reach is the largest distance of a value from the mean: unlike the variance it is as large
    for a feature that few rows have, and those are what a hard problem overshoots.

    Parameters
    ----------
    settings : Continuation, default=Continuation()

    Attributes
    ----------
    reach : ndarray of shape (n_features,) or None
        None until a problem has been found hard.
    """

    def __init__(self, settings=defaults.Continuation()):
        self.settings, self.reach = settings, None

    def find_reach(self, objective):
        """A pass over X, once."""
        if self.reach is None:
            found = objective.rows.extremes(objective.mean, objective.n_threads)
            self.reach = np.maximum(found.most - objective.mean, objective.mean - found.least)

    def strengths(self, objective, value):
        """Falling strengths of the extra penalty, from one that keeps most logits moderate.

        None where the penalty asked for is as strong already, or where the rows are all but
        separated. At a strength of 1 / S it costs half a row's share of the objective to move the
        logit of a single row by 1.

        Parameters
        ----------
        objective : LinearObjective
        value : float
            At the point where they are asked for.

        Returns
        -------
        list of float
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
        """Curvature of strength / 2 * sum_j (r_j ||W_j||)^2 by feature, with r_j the reach."""
        return strength * self.reach**2 if strength else np.zeros(n_features)

    def bounded(self, direction, shape):
        """A direction of which no feature alone moves a row's logit by more than the step bound.

        In a hard problem the model of the curvature is valid for a few units of a logit only:
        without this, whole steps shrink to a tenth or less because of features that few rows have.
        """
        least = np.finfo(float).tiny
        most = self.settings.step_bound / np.maximum(self.reach, least)[:, np.newaxis]
        bounded = direction.copy()
        W = bounded.reshape(shape)[: len(self.reach)]
        np.clip(W, -most, most, out=W)
        return bounded
