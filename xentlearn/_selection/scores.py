"""Scores of fits on the test rows of a fold; higher is better."""

import contextlib
import copy
import inspect
import numbers

import numpy as np
from sklearn import get_config
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params

from .._losses.registry import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from .._utils.messages import listed, warn
from .._utils.threads import effective_n_threads

# The scorer of fits of several losses, whose values cannot be compared: minus the plain
# cross-entropy of their probabilities.
PLAIN = "plain"


def plain_loss(y):
    """Return the plain cross-entropy of the kind of an ``EncodedY``."""
    return {
        "binary": BinaryCrossentropy(),
        "one_vs_rest": BinaryCrossentropy(),
        "multilabel": BinaryCrossentropy(),
        "soft": CategoricalCrossentropy(),
    }.get(y.kind, SparseCategoricalCrossentropy(ignore_class=y.loss._ignore_class))


def takes_weights(scorer):
    """Whether a scorer, or one of several, and its metric have a parameter ``sample_weight``."""
    if isinstance(scorer, _MultimetricScorer):
        return any(takes_weights(one) for one in scorer._scorers.values())
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


def scored(scorer, classifier, X, y, params):
    """Return the score, or the scores by name, of a classifier.

    Without metadata routing, each of several scorers gets the weights if it takes them.
    """
    by_itself = get_config()["enable_metadata_routing"] or "sample_weight" not in params
    if by_itself or not isinstance(scorer, _MultimetricScorer):
        return scorer(classifier, X, y, **params)
    rest = {name: value for name, value in params.items() if name != "sample_weight"}
    return {
        name: one(classifier, X, y, **(params if takes_weights(one) else rest))
        for name, one in scorer._scorers.items()
    }


def counted_weights(path, y, fold, rows_alone=False):
    """Return the weights with which test rows count; warn of classes that are left out.

    The loss of a class that the training rows have not is infinite. Rows of such a class do not
    count, nor does the share of a soft row that is of such classes. Binary outputs that do not vary
    in training are left out themselves, with their entries.

    Parameters
    ----------
    path : Path
        Of the training rows.
    y : EncodedY
        Targets of the test rows; in blocks those of all rows, with a weight of 0 for the others.
    fold : int
        Index of the fold, for messages.
    rows_alone : bool, default=False
        Whether whole rows are left out for one-vs-rest, too.

    Returns
    -------
    ndarray of shape (n_rows,)
    """
    sums, weight = path.y.fitted_weight_sums(), y.weight
    if y.kind == "multilabel":
        # predicted with certainty, and not always right
        ones, in_test = sums[:, 1] > 0, y.fitted_weight_sums() > 0
        left_out = np.where(ones, in_test[:, 0], in_test[:, 1]) & ~(sums > 0).all(axis=1)
    else:
        of_classes = sums if sums.ndim == 1 else sums[0] if y.kind == "binary" else sums[:, 1]
        unseen = of_classes == 0
        if y.kind == "soft":
            in_test = y.class_weight_sums()
            weight = weight * np.asarray(y.values[:, ~unseen].sum(axis=1)).ravel()
        else:
            labels = y.labels if y.kind != "binary" else y.values[:, 0].astype(np.intp)
            in_test = np.bincount(labels + 1, weight, minlength=len(unseen) + 1)[1:]
            if rows_alone or y.kind != "one_vs_rest":
                weight = np.where(unseen[labels], 0.0, weight)
        left_out = unseen & (in_test > 0)
    if not weight.sum() > 0:
        raise ValueError(
            "The test rows of each fold must have a positive weight, and some of their classes "
            f"must be among those of the training rows; not so in fold {fold + 1}. "
            "Stratify the folds, use fewer of them, or leave rows without weight out."
        )
    if left_out.any():
        what = "classes out which its test rows have and its training rows have not"
        if y.kind == "multilabel":
            what = "labels out which are the same in all training rows and not in all test rows"
        warn(
            f"The score of fold {fold + 1} leaves {what}: {listed(y.classes[left_out])}. Stratify "
            "the folds, use fewer of them, or leave rare classes out.",
            UserWarning,
        )
    return weight


class MinusLoss:
    """Scores fits by minus the mean loss of test rows, in a pass over them.

    What the training rows do not have does not count (``counted_weights``).

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
            self.total = counted_weights(path, self.y, self.fold).sum()
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


class MinusLogLoss:
    """Scores one-vs-rest fits by minus the mean of -log p of the labels of test rows.

    The probabilities p are those that the classifier predicts: shares of a sum over the classes.

    Parameters
    ----------
    X : array-like
        The test rows, as they were passed to ``fit``.
    y : EncodedY
        Their targets.
    fold : int
        Index of the fold, for messages.
    """

    def __init__(self, X, y, fold):
        self.X, self.y, self.fold, self.weight = X, y, fold, None

    def __call__(self, path, training):
        """Return the score of the last fit of a ``Path``."""
        if self.weight is None:
            self.weight = counted_weights(path, self.y, self.fold, rows_alone=True)
        kept = np.flatnonzero(self.weight > 0)
        log_p = path.fitted(training).predict_log_proba(self.X)[kept, self.y.labels[kept]]
        return float(self.weight[kept] @ log_p.astype(np.float64) / self.weight.sum())


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
        found = scored(scorer, classifier, self.X, self.y, self.params)
        if isinstance(found, dict):
            return {name: _number(score) for name, score in found.items()}
        return _number(found)


def _number(score):
    """Return a score as a number: it may come as an array without axes."""
    number = score
    if hasattr(score, "item"):
        with contextlib.suppress(ValueError, RuntimeError):
            number = score.item()
    if not isinstance(number, numbers.Number):
        raise ValueError(
            f"'scoring' must return a number, or a dict of numbers by name, got {score!r}."
        )
    return number
