"""The fits of a cross-validation, fold by fold along C, and their scores."""

import copy
import math
from dataclasses import dataclass

import numpy as np
from sklearn.utils import _safe_indexing

from .._estimator.classifier import DEFAULTS
from .._estimator.path import Path
from .._plan.settings import STOCHASTIC
from .._solvers.contract import StopReason
from .choice import standard_errors
from .scores import PLAIN, ByScorer, MinusLogLoss, MinusLoss


@dataclass
class FoldFit:
    """A fit to the training rows of a fold, with its score on the test rows.

    Attributes
    ----------
    fold : int
    at : (int, int, int)
        Indices of the loss, of the l1_ratio and of C.
    score : float or dict
        Higher is better; by name if there are several scorers.
    coef : ndarray of shape (n_outputs, n_features) or None
    intercept : ndarray of shape (n_outputs,) or None
        None if those of all fits would take too much memory.
    shortfall : str
        "" if the fit has converged; otherwise how far it is from ``tol``, in words.
    error : float, default=nan
        Standard error of the score, if it does not follow from several folds.
    """

    fold: int
    at: tuple
    score: object
    coef: np.ndarray
    intercept: np.ndarray
    shortfall: str
    error: float = np.nan


class Search:
    """The fits of a cross-validation.

    Parameters
    ----------
    classifiers : list of SoftmaxClassifier
        One for each loss, with the parameters that all fits share and what they know of X.
    rows : Rows
    encoded : list of EncodedY
        y of all rows for each loss.
    l1_ratios, Cs : ndarray
    folds : list of (ndarray of int, ndarray of int)
        Training rows and test rows of each fold.
    scorer : callable, ``scores.PLAIN`` or None
        ``scorer(classifier, X, y, **params)``; None means minus the mean loss, and PLAIN minus the
        mean plain cross-entropy.
    raw : (X, y, dict)
        X and y as they were passed to ``fit``, for the scorer, and its further arrays by name, with
        an entry per row.
    keeps : bool
        Whether coefficients are kept even if those of all fits take more memory than X.
    """

    def __init__(self, classifiers, rows, encoded, l1_ratios, Cs, folds, scorer, raw, keeps):
        self.classifiers, self.rows, self.encoded = classifiers, rows, encoded
        self.folds, self.l1_ratios, self.Cs = folds, l1_ratios, Cs
        self.scorer, self.raw, self.keeps = scorer, raw, keeps
        self.scored = encoded
        if scorer == PLAIN:
            self.scored = [rows.encoded_plainly(y) for y in encoded]
        self.epochs_asked = classifiers[0].max_iter not in (0, DEFAULTS["max_iter"])

    @property
    def shape(self):
        """Numbers of losses, of values of l1_ratio and of values of C."""
        return len(self.classifiers), len(self.l1_ratios), len(self.Cs)

    def fits(self, fold):
        """Yield the ``FoldFit`` of each setting of a fold, those of a path in the order of C."""
        train, test = self.folds[fold]
        for loss, y in enumerate(self.encoded):
            data, of_train = self.rows.taken(y, train)
            score = self._scorer(fold, data, self.scored[loss], test)
            for l1 in range(len(self.l1_ratios)):
                path = Path(self.classifier(loss, l1), data, of_train, only_predicts=True)
                for i in np.argsort(self.Cs, kind="stable"):
                    training = path.fit(float(self.Cs[i]))
                    found = score(path, training)
                    model = training.coef, training.intercept
                    if not (self.keeps or self._are_small(training.coef)):
                        model = None, None
                    shortfall = shortfall_of(training, self.epochs_asked)
                    yield FoldFit(fold, (loss, l1, int(i)), found, *model, shortfall)

    def classifier(self, loss, l1, i=0):
        """Return the classifier of a setting, which knows the features of X."""
        result = copy.copy(self.classifiers[loss])
        result.l1_ratio, result.C = float(self.l1_ratios[l1]), float(self.Cs[i])
        return result

    def errors(self, scores):
        """Return the standard errors of mean scores; a dict by name if there are several scores."""
        return standard_errors(scores)

    def confirmed(self, at):
        """Return None: the scores of folds are not approximate."""

    def _are_small(self, coef):
        """Whether the coefficients of all fits take no more memory than X."""
        X = self.rows.X
        n_bytes = X.data.nbytes if self.rows.in_memory else math.prod(X.shape) * X.dtype.itemsize
        return len(self.folds) * math.prod(self.shape) * coef.nbytes <= n_bytes

    def _scorer(self, fold, data, y, test):
        """Return the function of (Path, Training) that scores a fit on the test rows of a fold."""
        if self.scorer == PLAIN and y.kind == "one_vs_rest":
            return MinusLogLoss(_safe_indexing(self.raw[0], test), y.taken(test), fold)
        if callable(self.scorer):
            return ByScorer(self.scorer, *self.raw, test)
        if self.rows.in_memory:
            return MinusLoss(*self.rows.taken(y, test), fold)
        # what rows have derived is kept for one y: the scores need an object of their own
        return MinusLoss(copy.copy(data), self.rows.masked(y, test), fold)

    def probabilities(self, fits):
        """Return the probabilities of the rows in the fold in which each is a test row.

        Parameters
        ----------
        fits : list of FoldFit
            Of the same setting, one for each fold.

        Returns
        -------
        ndarray of shape (n_rows, n_classes)
            nan in rows that are a test row nowhere.
        """
        result = None
        for fit in fits:
            test = self.folds[fit.fold][1]
            classifier, y = self.classifier(*fit.at), self.encoded[fit.at[0]]
            vars(classifier).update(classifier._fitted(y, fit.coef, fit.intercept))
            found = classifier.predict_proba(_safe_indexing(self.raw[0], test))
            if result is None:
                result = np.full((self.rows.X.shape[0], found.shape[1]), np.nan, found.dtype)
            result[test] = found
        return result


def shortfall_of(training, epochs_asked):
    """Return how far a fit that has not converged is from ``tol``, in words; "" if it has.

    ``epochs_asked`` as in ``warn_of_outcome``.
    """
    if epochs_asked and training.solver in STOCHASTIC and training.reason == StopReason.MAX_ITER:
        return ""
    if training.separable:
        return "the classes are separable, so that there is no minimum without a penalty"
    if training.failed:
        gap = max(result.gap for result in training.failed)
        return f"estimated relative optimality gap {gap:.2g} after {training.n_iter} iterations"
    if training.lost > 0:
        return f"storing the coefficients changed the objective by {training.lost:.2g} of its value"
    return ""
