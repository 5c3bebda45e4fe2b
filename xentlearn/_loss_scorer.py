"""Judging a fitted classifier by a loss setting, in grid searches and cross-validation."""

import numpy as np

from ._loss_setting import mean_of
from ._loss_settings import BinaryCrossentropy, SparseCategoricalCrossentropy
from ._messages import listed, shown
from ._targets import encode_for_score, is_certain, resolve_loss
from ._threads import effective_n_threads
from ._validation import check_weights


def make_loss_scorer(loss="auto"):
    """Scorer that is minus the mean loss of a classifier's logits: higher is better.

    For ``scoring=`` of ``GridSearchCV`` and its kin. ``sklearn.metrics.make_scorer`` would call a
    loss with original labels, which may be strings, and with the wrong columns where a class is
    missing; here labels are looked up in the classifier's ``classes_``.

    Parameters
    ----------
    loss : str or loss setting, default="auto"
        As ``SoftmaxClassifier(loss=...)`` takes it. "auto" is the loss that the classifier was
        fitted with (``loss_``), for other classifiers binary cross-entropy of one logit and sparse
        categorical cross-entropy of several. ``logit_adjustment`` is left out: it is for training.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)``, a float. The estimator needs
        ``decision_function``, whose values are taken as logits, and ``classes_``. y is as in
        ``fit``; rows of ``ignore_class`` and labels of nan do not count.

    Raises
    ------
    ValueError
        If ``loss`` is unknown; in the scorer, if y does not fit it or has a label that the
        classifier has not seen.

    Warns
    -----
    RuntimeWarning
        In the scorer, if no row counts: the mean is then nan.

    Notes
    -----
    With missing labels (nan) pass ``cv=KFold()`` to a search: scikit-learn refuses nan in y where
    it would choose the folds by it.

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


class LossScorer:
    """What ``make_loss_scorer`` makes.

    Parameters
    ----------
    loss : str or loss setting
    """

    def __init__(self, loss):
        self.loss = loss

    def __repr__(self):
        return f"make_loss_scorer({self.loss!r})"

    def __call__(self, estimator, X, y, sample_weight=None):
        """Minus the mean loss.

        Parameters
        ----------
        estimator : classifier
            With ``decision_function`` and ``classes_``.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,) or None, default=None

        Returns
        -------
        float
            nan, with a RuntimeWarning, where no row counts.
        """
        fitted = estimator[-1] if hasattr(estimator, "steps") else estimator
        logits = np.asarray(estimator.decision_function(X))
        setting = self._setting(fitted, logits)
        if hasattr(fitted, "_kind") and np.isinf(fitted.intercept_).any():
            # decision_function is finite for the sake of other metrics; to be wrong costs inf here
            logits = np.where(is_certain(-logits), -np.inf, logits)
            if setting.proba_kind == "sigmoid" or logits.ndim == 1:  # no softmax takes inf
                logits = np.where(is_certain(logits), np.inf, logits)
        shape = y.shape if hasattr(y, "shape") else np.shape(y)
        if shape[:1] != logits.shape[:1]:
            raise ValueError(
                "'X' and 'y' must have the same number of rows, got "
                f"{logits.shape[0]} and {shape[0] if shape else 1}."
            )
        columns = len(shape) == 2 and shape[1] > 1
        if columns and logits.ndim == 1:
            raise ValueError(
                f"'y' must have shape {logits.shape} for a classifier of two classes, got {shape}."
            )
        multilabel = columns or getattr(fitted, "_kind", None) == "multilabel"
        y = encode_for_score(y, "multilabel" if multilabel else "labels", logits.shape[-1])
        if multilabel:
            return -setting._for_judging()(y, logits, sample_weight)
        ignored, indices = self._indices(setting.ignore_class, estimator.classes_, y)
        setting = setting._for_judging()
        weight = check_weights(sample_weight, "sample_weight", y.shape)
        weight = np.ones(len(y)) if weight is None else weight
        if setting.proba_kind == "sigmoid":
            if logits.ndim == 1:
                return -setting(indices, logits, weight)
            return -self._one_vs_rest(setting, indices, logits, weight)
        if logits.ndim == 1:
            logits = self._two_logits(setting, estimator, fitted, X, logits)
        return -setting(indices[~ignored], logits[~ignored], weight[~ignored])

    def _setting(self, fitted, logits):
        """The loss to judge by."""
        setting = resolve_loss(self.loss)
        if setting is None:
            default = BinaryCrossentropy() if logits.ndim == 1 else SparseCategoricalCrossentropy()
            setting = getattr(fitted, "loss_", default)
        return setting

    def _two_logits(self, setting, estimator, fitted, X, difference):
        """Both logits of two classes, whose difference ``decision_function`` gives."""
        if setting.shift_invariant:
            zeros, certain = np.zeros_like(difference), difference == np.inf
            both = np.where(certain, -np.inf, zeros), np.where(certain, zeros, difference)
            return np.stack(both, axis=1)
        if getattr(fitted, "_kind", None) != "two_logits":
            raise ValueError(
                f"{setting!r} needs both logits of two classes, but {type(fitted).__name__} gives "
                "their difference; judge by a categorical part of it."
            )
        if estimator is not fitted:  # a pipeline
            X = estimator[:-1].transform(X)
        return fitted._scores(X, "logits")

    def _indices(self, ignore_class, classes, y):
        """(which rows are ignored, index into ``classes`` of the others)."""
        ignored = np.zeros(len(y), dtype=bool)
        if ignore_class is not None:
            ignored |= np.asarray(y == ignore_class)
        order = np.argsort(classes)
        at = np.searchsorted(classes, y, sorter=order).clip(max=len(classes) - 1)
        indices = order[at]
        unknown = (classes[indices] != y) & ~ignored
        if unknown.any():
            raise ValueError(
                f"'y' must hold labels that the classifier has seen, {listed(classes)}; got "
                f"{shown(y[np.argmax(unknown)])}. Stratify the split, or leave rare classes out."
            )
        return ignored, indices

    def _one_vs_rest(self, setting, indices, logits, weight):
        """Mean loss of K binary logits per row, without K targets per row."""
        logits = logits.astype(np.float32 if logits.dtype == np.float32 else np.float64, copy=False)
        target = setting.kernel_target(
            logits.shape, logits.dtype, labels=indices.astype(np.int32), weight=weight
        )
        loss = np.empty(len(logits), dtype=logits.dtype)
        target.loss_gradient(logits, loss, None, effective_n_threads())
        return mean_of(loss, weight.sum())
