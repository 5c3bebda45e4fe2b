"""Scores of fits on the test rows of a fold; higher is better."""

import inspect

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.metrics._scorer import _BaseScorer, _MultimetricScorer
from sklearn.utils import _safe_indexing

from .._estimator.scorer import make_loss_scorer
from .._losses.registry import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from .._utils.messages import listed, warn
from .._utils.threads import effective_n_threads


def neg_log_loss(classifier, X, y, sample_weight=None):
    """Return minus the mean plain cross-entropy of a classifier's probabilities.

    Unlike the losses that classifiers are fitted with, it can be compared between them. Parameters
    as of a scikit-learn scorer.
    """
    kind, ignored = classifier._kind, classifier.loss_._ignore_class
    if kind == "one_vs_rest":
        return get_scorer("neg_log_loss")(classifier, X, y, sample_weight=sample_weight)
    plain = {
        "binary": BinaryCrossentropy(),
        "multilabel": BinaryCrossentropy(),
        "soft": CategoricalCrossentropy(),
    }.get(kind, SparseCategoricalCrossentropy(ignore_class=ignored))
    return make_loss_scorer(plain)(classifier, X, y, sample_weight=sample_weight)


def takes_weights(scorer):
    """Whether a scorer has a parameter ``sample_weight``, as those of scikit-learn have."""
    if isinstance(scorer, (_BaseScorer, _MultimetricScorer)):
        return True
    return "sample_weight" in inspect.signature(scorer).parameters


class MinusLoss:
    """Scores fits by minus the mean loss of test rows, in a pass over them.

    Parameters
    ----------
    data : MemoryData or BlockData
        The test rows; in blocks all rows.
    y : EncodedY
        Their targets; in blocks those of all rows, with a weight of 0 where they are not test rows.
    fold : int
        For messages.
    """

    def __init__(self, data, y, fold):
        self.data, self.y, self.total = data, y, y.total_weight
        self.n_threads, self._is_new = effective_n_threads(), True
        if not self.total > 0:
            raise ValueError(
                f"The test rows of a fold must have a positive weight; those of fold {fold} have "
                "none. Use other folds, or leave rows without weight out."
            )

    def __call__(self, path, training):
        """Return the score of the last fit of a ``Path``."""
        outputs = path.outputs
        if self._is_new:
            self._warn_of_unseen(outputs)
            self._is_new = False
        coef = training.coef[outputs].T.astype(np.float64)
        intercept = training.intercept[outputs].astype(np.float64)
        rows = self.data.rows(self.y, outputs, self.n_threads)
        return -float(rows.loss_gradient(coef, intercept, self.n_threads)[0] / self.total)

    def _warn_of_unseen(self, outputs):
        """Warn of classes or labels that test rows have and training rows have not."""
        sums = self.y.fitted_weight_sums()
        if self.y.kind == "binary":
            return
        seen = sums > 0 if sums.ndim == 1 else sums[:, 1] > 0
        seen[outputs] = False
        if seen.any():
            warn(
                f"The score of a fold leaves {listed(self.y.classes[seen])} out, which its test "
                "rows have and its training rows have nowhere or everywhere. Stratify the folds, "
                "use fewer of them, or leave rare classes out.",
                UserWarning,
            )


class ByScorer:
    """Scores fits by a scorer of scikit-learn's kind on test rows.

    Parameters
    ----------
    scorer : callable
    X, y : array-like
        All rows, as they were passed to ``fit``.
    params : dict
        Further arguments of the scorer with an entry per row, by name.
    test : ndarray of int
        The test rows.
    """

    def __init__(self, scorer, X, y, params, test):
        self.scorer = scorer
        self.X, self.y = _safe_indexing(X, test), _safe_indexing(y, test)
        self.params = {name: _safe_indexing(values, test) for name, values in params.items()}

    def __call__(self, path, training):
        """Return the score, or the scores by name, of the last fit of a ``Path``."""
        classifier = path.fitted(training)
        return self.scorer(classifier, self.X, self.y, **self.params)
