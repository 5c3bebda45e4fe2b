"""What the callbacks of this package share: they are set on classifiers, and know fits at work."""

from .predicting import PredictingMixin


def require_classifier(callback, estimator):
    """Raise the TypeError of a callback that another estimator would leave without work."""
    if not isinstance(estimator, PredictingMixin):
        raise TypeError(
            f"{type(callback).__name__} must be set on a SoftmaxClassifier, which tells it how far "
            f"its fit is; got {type(estimator).__name__}. Of a Pipeline or a search set it on the "
            "classifier inside."
        )


class ClassifierCallback:
    """Base of callbacks that keep something of each fit at work.

    The public methods are those of scikit-learn's protocol. Clones share a callback, and may be
    fitted at the same time by several threads: ``_of_fits`` has by estimator what belongs to its
    fit. It is not pickled.
    """

    def __init__(self):
        self._of_fits = {}

    def __getstate__(self):
        return {**vars(self), "_of_fits": {}}

    def setup(self, estimator, context):
        """Check the estimator before its fit; scikit-learn calls it.

        Parameters
        ----------
        estimator : SoftmaxClassifier
            The estimator that is being fitted.
        context : CallbackContext
            Not used.
        """
        require_classifier(self, estimator)

    def teardown(self, estimator, context):
        """Forget the fit, however it ended; scikit-learn calls it. Parameters as in ``setup``."""
        self._of_fits.pop(estimator, None)

    def on_fit_task_begin(self, estimator, context):
        """Do nothing before a task; scikit-learn requires it. Parameters as in ``setup``."""

    def on_fit_task_end(self, estimator, context):
        """Do nothing after a task; scikit-learn requires it. Parameters as in ``setup``."""
