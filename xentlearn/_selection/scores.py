"""Scores of fits on the test rows of a fold; higher is better."""

import copy
import inspect
import numbers

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

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
        scorer = with_classes(get_scorer("neg_log_loss"), classifier.classes_)
        return scorer(classifier, X, y, sample_weight=sample_weight)
    plain = {
        "binary": BinaryCrossentropy(),
        "multilabel": BinaryCrossentropy(),
        "soft": CategoricalCrossentropy(),
    }.get(kind, SparseCategoricalCrossentropy(ignore_class=ignored))
    return make_loss_scorer(plain)(classifier, X, y, sample_weight=sample_weight)


def takes_weights(scorer):
    """Whether a scorer, or each of several, and its metric have a parameter ``sample_weight``."""
    if isinstance(scorer, _MultimetricScorer):
        return all(takes_weights(one) for one in scorer._scorers.values())
    parameters = inspect.signature(getattr(scorer, "_score_func", scorer)).parameters
    return "sample_weight" in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def with_classes(scorer, classes):
    """Return a scorer that is told all classes, of which the test rows of a fold may lack some.

    Scores of probabilities and of decision functions need them, such as "neg_log_loss"; so does
    LogisticRegressionCV tell them. Scores of predicted labels are left as they are.
    """
    if isinstance(scorer, _MultimetricScorer):
        told = {name: with_classes(one, classes) for name, one in scorer._scorers.items()}
        return _MultimetricScorer(scorers=told, raise_exc=scorer._raise_exc)
    function = getattr(scorer, "_score_func", None)
    if function is None or scorer._response_method == "predict":
        return scorer
    known, new = inspect.signature(function).parameters, {}
    if "labels" in known:
        new["labels"] = classes
        if "pos_label" in known and len(classes) == 2:
            new["pos_label"] = classes[1]
    told = copy.copy(scorer)
    told._kwargs = {**new, **scorer._kwargs}
    return told


class MinusLoss:
    """Scores fits by minus the mean loss of test rows, in a pass over them.

    Rows of classes that the training rows have not do not count: their loss is infinite.

    Parameters
    ----------
    data : MemoryData or BlockData
        The test rows; in blocks all rows.
    y : EncodedY
        Their targets; in blocks those of all rows, with a weight of 0 where they are not test rows.
    fold : int
        Index of the fold, for messages.
    """

    def __init__(self, data, y, fold):
        self.data, self.y, self.fold = data, y, fold
        self.n_threads, self.total = effective_n_threads(), None

    def __call__(self, path, training):
        """Return the score of the last fit of a ``Path``."""
        outputs = path.outputs
        if self.total is None:
            self.total = self._counted(path)
        if len(outputs) == 0:  # what is constant in training is predicted with certainty
            return 0.0
        coef = training.coef[outputs].T.astype(np.float64)
        intercept = training.intercept[outputs].astype(np.float64)
        rows = self.data.rows(self.y, outputs, self.n_threads)
        if self.data.in_memory:
            loss = rows.loss(coef, intercept, self.n_threads)
        else:
            loss = rows.loss_gradient(coef, intercept, self.n_threads)[0]
        return -float(loss / self.total)

    def _counted(self, path):
        """Return the weight of the rows that count; warn of classes that are left out."""
        y, unseen = self.y, np.zeros(self.y.n_outputs, dtype=bool)
        sums, weight = path.y.fitted_weight_sums(), y.weight
        if y.kind in ("binary", "two_logits", "multiclass"):
            labels = y.labels if y.kind != "binary" else y.values[:, 0].astype(np.intp)
            unseen = (sums[0] if y.kind == "binary" else sums) == 0
            in_test = np.bincount(labels + 1, weight, minlength=len(unseen) + 1)[1:]
            weight = np.where(unseen[labels], 0.0, weight)
            unseen &= in_test > 0
        elif y.kind != "soft":
            unseen = sums[:, 1] == 0
            unseen &= y.fitted_weight_sums()[:, 1] > 0
        if not weight.sum() > 0:
            raise ValueError(
                "The test rows of each fold must have a positive weight, and some of their classes "
                f"must be among those of the training rows; not so in fold {self.fold + 1}. "
                "Stratify the folds, use fewer of them, or leave rows without weight out."
            )
        if unseen.any():
            what = "labels that are 1" if y.kind == "multilabel" else "classes"
            warn(
                f"The score of fold {self.fold + 1} leaves {what} out which its test rows have and "
                f"its training rows have not: {listed(y.classes[unseen])}. Stratify the folds, use "
                "fewer of them, or leave rare classes out.",
                UserWarning,
            )
        return weight.sum()


class ByScorer:
    """Scores fits by a scorer of scikit-learn's kind on test rows.

    Parameters
    ----------
    scorer : callable
    X, y : array-like
        All rows, as they were passed to ``fit``.
    params : dict
        Further arguments of the scorer by name; arrays with an entry per row are divided as X is.
    test : ndarray of int
        The test rows.
    """

    def __init__(self, scorer, X, y, params, test):
        self.scorer = scorer
        self.X, self.y = _safe_indexing(X, test), _safe_indexing(y, test)
        self.params = _check_method_params(X, params, indices=test)

    def __call__(self, path, training):
        """Return the score, or the scores by name, of the last fit of a ``Path``."""
        scorer, classifier = self.scorer, path.fitted(training)
        if path.y.kind not in ("multilabel", "soft"):
            scorer = with_classes(scorer, classifier.classes_)
        found = scorer(classifier, self.X, self.y, **self.params)
        for score in found.values() if isinstance(found, dict) else [found]:
            if not isinstance(score, numbers.Number):
                raise ValueError(
                    f"'scoring' must return a number, or a dict of numbers by name, got {score!r}."
                )
        return found
