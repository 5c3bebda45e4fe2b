"""scikit-learn's ``ScoringMonitor`` on the validation rows of a fit."""

import functools

from .classifier_callback import require_classifier

try:
    from sklearn.callback import ScoringMonitor
except ImportError:  # older than 1.9
    ScoringMonitor = None


def _by_name(scorer, *args, **kwargs):
    """Scores by name: those of the scorer, or its single one as "score"."""
    scores = scorer(*args, **kwargs)
    return scores if isinstance(scores, dict) else {"score": scores}


class ValidationMonitor(ScoringMonitor or object):
    """Record scores on ``X_val`` and ``y_val`` after each iteration or epoch of a fit.

    This is scikit-learn's ``ScoringMonitor``, which computes scores on the training rows, for the
    rows that ``fit`` gets as ``X_val`` and ``y_val``. ``get_logs().data_as_pandas`` has a row per
    iteration and one for the fit as a whole. The fit itself does not change; with
    ``early_stopping=True`` the last row is that of the best point, which the fit keeps.

    Parameters
    ----------
    scoring : str, callable, list, tuple, dict or None
        Name of a scorer ("accuracy", "neg_log_loss"), a scorer, a list of names, a dict of scorers
        by name, or None for the ``score`` of the estimator; as in ``ScoringMonitor``.

    Raises
    ------
    ImportError
        If scikit-learn is older than 1.9.
    ValueError
        By ``fit``, if it gets no ``X_val`` and ``y_val``.

    Notes
    -----
    Each row makes predictions for all of ``X_val``, for each kind of prediction that the scorers
    need once.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.callbacks import ValidationMonitor
    >>> X, y = load_iris(return_X_y=True)
    >>> monitor = ValidationMonitor(scoring=["accuracy", "neg_log_loss"])  # doctest: +SKIP
    >>> clf = SoftmaxClassifier().set_callbacks(monitor)  # doctest: +SKIP
    >>> clf = clf.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])  # doctest: +SKIP
    >>> scores = monitor.get_logs().data_as_pandas  # doctest: +SKIP
    """

    def __init__(self, *, scoring):
        if ScoringMonitor is None:
            raise ImportError(
                "ValidationMonitor needs the callbacks of scikit-learn 1.9 or newer; install it by "
                "pip install -U scikit-learn."
            )
        super().__init__(scoring=scoring)
        self._rows = {}  # (X_val, y_val) by estimator that is being fitted

    def __getstate__(self):
        return {**super().__getstate__(), "_rows": {}}

    def _begin(self, estimator, X_val, y_val):
        if X_val is None:
            raise ValueError(
                "ValidationMonitor needs the 'X_val' and 'y_val' of fit, got None; pass them, or "
                "use scikit-learn's ScoringMonitor for scores on the training rows."
            )
        self._rows[estimator] = X_val, y_val

    def setup(self, estimator, context):
        """Make the scorer; scikit-learn calls it.

        Parameters
        ----------
        estimator : SoftmaxClassifier
            The estimator that is being fitted.
        context : CallbackContext
            Of the fit.
        """
        require_classifier(self, estimator)
        super().setup(estimator, context)
        # scikit-learn 1.9 cannot log the number that ``None`` and plain functions give
        scorer = self._estimator_scorers[estimator]
        self._estimator_scorers[estimator] = functools.partial(_by_name, scorer)

    def teardown(self, estimator, context):
        """Forget the rows; scikit-learn calls it.

        Parameters
        ----------
        estimator : SoftmaxClassifier
            The estimator that was fitted.
        context : CallbackContext
            Of the fit.
        """
        self._rows.pop(estimator, None)
        super().teardown(estimator, context)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        """Compute the scores; scikit-learn calls it after each iteration.

        Parameters
        ----------
        estimator : SoftmaxClassifier
            The estimator that is being fitted.
        context : CallbackContext
            Of the task that ended: an iteration or the fit.
        fitted_estimator : SoftmaxClassifier or None
            A copy of it, with the coefficients found so far.
        """
        X_val, y_val = self._rows[estimator]
        super().on_fit_task_end(
            estimator, context, X=X_val, y=y_val, fitted_estimator=fitted_estimator
        )
