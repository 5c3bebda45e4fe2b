"""Scorers that evaluate fitted classifiers by a loss, for grid searches and cross-validation."""

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.frozen import FrozenEstimator

# A private name of scikit-learn, unchanged from version 1.6 to 1.9. Sample weights that are routed
# (``set_score_request``), and those of searches and of several metrics at once, reach only scorers
# of this class. The public ``make_scorer`` does not pass the estimator and X to its function, which
# needs ``classes_``, ``loss_`` and both logits of two classes.
from sklearn.metrics._scorer import _BaseScorer
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from .._data.target_batches import class_indices, encode_for_score
from .._data.targets import resolve_loss
from .._losses.base import weighted_mean
from .._losses.registry import BinaryCrossentropy, SparseCategoricalCrossentropy
from .._utils.messages import listed, shown
from .._utils.threads import effective_n_threads
from .._utils.validation import as_numpy, check_weights
from .classifier import SoftmaxClassifier


def make_loss_scorer(loss="auto"):
    """Make a scorer that returns minus the mean loss of a classifier's logits; higher is better.

    It can be used as ``scoring`` of ``GridSearchCV``, ``cross_val_score`` and similar functions. A
    scorer from ``sklearn.metrics.make_scorer`` would call a loss with original labels, which may be
    strings, and with the wrong columns if a class is missing. This one looks up labels in the
    ``classes_`` of the classifier.

    Parameters
    ----------
    loss : str or loss setting, default="auto"
        As in ``SoftmaxClassifier(loss=...)``. "auto" is the loss that the classifier was fitted
        with (``loss_``); for other classifiers, binary cross-entropy of one logit or sparse
        categorical cross-entropy of several. ``OneVsRestClassifier`` needs the name of a loss.
        ``logit_adjustment``, which concerns training, is not applied.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)`` returns a float. The estimator is a
        ``SoftmaxClassifier``, or another classifier with ``classes_`` and ``decision_function``,
        whose values are used as logits; or a pipeline, a search (``GridSearchCV``), a feature
        selection (``RFE``) or another estimator that delegates its predictions to one such
        classifier, in any nesting. y is as in ``fit``; rows of ``ignore_class`` and labels of nan
        are left out. Weights are routed as for scikit-learn's scorers (``set_score_request``).

    Raises
    ------
    ValueError
        If ``loss`` is unknown. The scorer raises it if y does not fit the loss or has a label that
        the classifier has not seen, and if predictions do not come from a single classifier
        (calibration, voting, stacking, bagging, ``AdaBoostClassifier``).

    Warns
    -----
    RuntimeWarning
        The scorer warns if no row counts; the mean is then nan.

    Notes
    -----
    The loss of a row is inf if the predicted probability of its target is 0. This can happen for a
    label that is constant in the training data, which is predicted with certainty.

    If labels are missing (nan), pass ``cv=KFold()`` to a search, since scikit-learn does not accept
    nan in y if it stratifies the folds.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.losses import make_loss_scorer
    >>> iris = load_iris()
    >>> names = iris.target_names[iris.target]
    >>> cross_val_score(
    ...     SoftmaxClassifier(), iris.data, names, scoring=make_loss_scorer(), cv=3
    ... ).round(2)
    array([-0.14, -0.15, -0.16])
    """
    resolve_loss(loss)
    return LossScorer(loss)


def predicting(estimator, X):
    """Return the classifier that makes the predictions of an estimator, and X as passed to it.

    Parameters
    ----------
    estimator : fitted estimator
        A classifier, or an estimator that delegates its predictions to one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)

    Returns
    -------
    classifier : estimator
    X : {array-like, sparse matrix}
        Transformed by all steps before the classifier.

    Raises
    ------
    ValueError
        If predictions do not come from a single classifier.
    """
    if isinstance(estimator, FrozenEstimator):
        return predicting(estimator.estimator, X)
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps[:-1]:
            if hasattr(step, "transform"):  # else "passthrough", or a sampler for fit
                X = step.transform(X)
        return predicting(estimator.steps[-1][1], X)
    params = estimator.get_params(deep=False) if hasattr(estimator, "get_params") else {}
    if not {"estimator", "base_estimator", "estimators"}.intersection(params) or isinstance(
        estimator, OneVsRestClassifier
    ):  # whose scores are logits, one column per classifier
        return estimator, X
    inner = getattr(estimator, "best_estimator_", getattr(estimator, "estimator_", None))
    if inner is None and params.get("refit") is False:
        raise ValueError(
            f"'refit' of {type(estimator).__name__} must not be False if a scorer evaluates it, "
            "since no classifier is then fitted to all rows; leave it at its default."
        )
    check_is_fitted(estimator)
    if inner is None or hasattr(estimator, "estimators_"):
        raise ValueError(
            "A loss evaluates the logits of a single classifier, but the predictions of "
            f"{type(estimator).__name__} are combined from several or calibrated. Evaluate its "
            "inner classifiers, or use scoring='neg_log_loss', which evaluates 'predict_proba'."
        )
    if not hasattr(estimator, "decision_function"):
        return estimator, X  # SelectFromModel, or RFE of a tree, has no logits
    if isinstance(estimator, TransformerMixin):  # RFE, which selects columns
        X = estimator.transform(X)
    return predicting(inner, X)


def _no_function_of_predictions(y_true, y_pred, sample_weight=None):
    """Raise a TypeError: the base class wants a function, whose signature shows sample weights."""
    raise TypeError(
        "make_loss_scorer makes a scorer of fitted classifiers, which evaluates their logits and "
        "does not depend on a decision threshold. Choose thresholds by another 'scoring'."
    )


class LossScorer(_BaseScorer):
    """A scorer from ``make_loss_scorer``.

    Parameters
    ----------
    loss : str or loss setting
    """

    def __init__(self, loss):
        # These methods only decide whether scorers share responses. Each classifier has one of
        # them, so that unsuitable ones get their error from ``_score``.
        methods = ("decision_function", "predict_proba", "predict")
        super().__init__(_no_function_of_predictions, 1, {}, methods)
        self.loss = loss

    def __repr__(self):
        return f"make_loss_scorer({self.loss!r})"

    def __call__(self, estimator, X, y, sample_weight=None, **kwargs):
        """Return minus the mean loss.

        Parameters
        ----------
        estimator : estimator
            As described for ``make_loss_scorer``.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,) or None, default=None
        **kwargs : dict
            Passed to the base class, which raises an error.

        Returns
        -------
        float
            nan, with a RuntimeWarning, if no row counts.
        """
        if sample_weight is not None:
            kwargs["sample_weight"] = sample_weight
        return super().__call__(estimator, X, y, **kwargs)

    def _score(self, method_caller, estimator, X, y_true, sample_weight=None):
        """Return minus the mean loss.

        ``method_caller`` caches responses of the estimator for several scorers. It is not used:
        ``decision_function`` of two classes returns the difference of the logits.
        """
        classifier, X = predicting(estimator, X)
        logits = _logits(classifier, X)
        setting = self._setting(classifier, logits)
        kind = getattr(classifier, "_kind", None)
        if kind == "two_logits" and setting._proba_kind == "sigmoid":
            logits = logits[:, 1] - logits[:, 0]
        y, counts = _targets(y_true, kind, logits, setting._ignore_class)
        setting, sample_weight = setting._for_evaluation(), as_numpy(sample_weight, "sample_weight")
        if y.ndim == 2:
            return -setting(y, logits, sample_weight)
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        weight = check_weights(weight, "sample_weight", y.shape)[counts]
        logits, indices = logits[counts], _indices(y[counts], classifier, logits)
        if setting._proba_kind == "sigmoid" and logits.ndim == 2:
            return -_one_vs_rest(setting, indices, logits, weight)
        if setting._proba_kind == "softmax" and logits.ndim == 1:
            if not setting._shift_invariant:
                raise ValueError(
                    f"{setting!r} needs both logits of two classes, but "
                    f"{type(classifier).__name__} gives their difference; use a categorical part "
                    "of the loss."
                )
            # logits with this difference; a softmax accepts -inf, but not inf
            logits = np.stack([-np.maximum(logits, 0), np.minimum(logits, 0)], axis=1)
        return -setting(indices, logits, weight)

    def _setting(self, classifier, logits):
        """Return the loss setting to evaluate with."""
        setting = resolve_loss(self.loss)
        if setting is not None:
            return setting
        if isinstance(classifier, OneVsRestClassifier):
            raise ValueError(
                "'loss' must be named for OneVsRestClassifier, whose columns are fitted one by "
                "one; got 'auto'. Use for example make_loss_scorer('binary_crossentropy')."
            )
        default = BinaryCrossentropy() if logits.ndim == 1 else SparseCategoricalCrossentropy()
        return getattr(classifier, "loss_", default)


def _logits(classifier, X):
    """Return logits of shape (n_samples, n_outputs), or (n_samples,): differences of two."""
    if isinstance(classifier, SoftmaxClassifier):
        logits = np.asarray(classifier._logits(X))
        return logits[:, 0] if classifier._kind == "binary" else logits
    if not hasattr(classifier, "decision_function"):
        name = classifier if isinstance(classifier, str) else type(classifier).__name__
        raise ValueError(
            f"A loss evaluates logits, which 'decision_function' returns, but {name} has none; use "
            "scoring='neg_log_loss', which evaluates 'predict_proba'."
        )
    return np.asarray(as_numpy(classifier.decision_function(X), "decision_function(X)"))


def _targets(y, kind, logits, ignore_class):
    """Return (y as labels or as rows of numbers, which of its rows count)."""
    kind = "multilabel" if kind == "multilabel" else None
    y, counts = encode_for_score(y, kind, (len(logits), logits.shape[-1]), ignore_class)
    if y.ndim == 2 and y.shape != logits.shape:
        two = " for a classifier of two classes" if logits.ndim == 1 else ""
        raise ValueError(f"'y' must have shape {logits.shape}{two}, got {y.shape}.")
    return y, counts


def _indices(y, classifier, logits):
    """Return the index of each label in the classes, which are the columns of the logits."""
    classes = np.asarray(classifier.classes_)
    if logits.ndim == 2 and logits.shape[1] != len(classes):
        raise ValueError(
            f"'decision_function' of {type(classifier).__name__} must give one column for each of "
            f"the {len(classes)} classes, got {logits.shape[1]}."
        )
    indices = class_indices(y, classes)
    if (indices < 0).any():
        raise ValueError(
            f"'y' must hold labels that the classifier has seen, {listed(classes)}; got "
            f"{shown(y[np.argmin(indices)])}. Stratify the split, or leave rare classes out."
        )
    return indices


def _one_vs_rest(setting, indices, logits, weight):
    """Return the mean loss of K binary logits per row, without expanding labels to K targets."""
    setting._check_parameters()
    logits = logits.astype(np.float32 if logits.dtype == np.float32 else np.float64, copy=False)
    target = setting._kernel_target(logits.shape, logits.dtype, labels=indices.astype(np.int32))
    loss = np.empty(len(logits), dtype=logits.dtype)
    target.loss_gradient(logits, loss, None, effective_n_threads())
    return weighted_mean(loss, weight)
