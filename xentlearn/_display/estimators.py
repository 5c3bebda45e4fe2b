"""The classifier in what a display is given: it may be in a pipeline or in a search."""

from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def fitted_classifier(estimator, needed, remedy):
    """Return the last step of pipelines and the best estimator of searches, and what comes before.

    Parameters
    ----------
    estimator : estimator
    needed : str
        Attribute that the classifier must have.
    remedy : str
        What to do if it has not, for the message.

    Returns
    -------
    classifier : estimator
    steps : list of (str, transformer) pairs
        Steps of pipelines before the classifier.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    ValueError
        If the classifier lacks the attribute.
    """
    check_is_fitted(estimator)
    classifier, steps = estimator, []
    while True:
        if hasattr(classifier, "best_estimator_"):
            classifier = classifier.best_estimator_
        elif isinstance(classifier, Pipeline):
            steps += classifier.steps[:-1]
            classifier = classifier.steps[-1][1]
        else:
            break
    if not hasattr(classifier, needed):
        inside = "" if classifier is estimator else f" in a {type(estimator).__name__}"
        raise ValueError(
            f"'estimator' must have the attribute '{needed}', or be a pipeline or a search that "
            f"ends in an estimator that has, got a {type(classifier).__name__}{inside}; {remedy}."
        )
    return classifier, steps
