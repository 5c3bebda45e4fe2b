"""Which estimators the callbacks of this package may be set on."""

from .predicting import PredictingMixin


def require_classifier(callback, estimator):
    """Raise the TypeError of a callback that another estimator would leave without work."""
    if not isinstance(estimator, PredictingMixin):
        raise TypeError(
            f"{type(callback).__name__} must be set on a SoftmaxClassifier, which tells it how far "
            f"its fit is; got {type(estimator).__name__}. Of a Pipeline or a search set it on the "
            "classifier inside."
        )
