"""``regularization_path``: fitted classifiers for one C after the other."""

import copy

import numpy as np

from .._estimator.classifier import DEFAULTS, SoftmaxClassifier
from .._estimator.outcome import warn_of_outcome
from .._estimator.path import Path
from .._utils.messages import shown
from .parameters import checked_Cs


def regularization_path(X, y, Cs, *, estimator=None, sample_weight=None):
    """Fit a classifier for one C after the other, and return all of them.

    X and y are read and checked once, and each fit starts near its minimum, which the two before it
    point to. All fits end by the criteria of single fits.

    Parameters
    ----------
    X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
        Training data, as ``SoftmaxClassifier.fit`` takes it.
    y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
        Targets, as ``SoftmaxClassifier.fit`` takes them.
    Cs : array-like of shape (n_Cs,)
        Values of C, > 0 and different. They are fitted in increasing order, whatever theirs is.
    estimator : SoftmaxClassifier or None, default=None
        Its parameters other than ``C`` are used, but for ``verbose``, and no callbacks; it is not
        changed. None means the defaults.
    sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
        Weights >= 0 of the rows, or of single labels.

    Returns
    -------
    list of SoftmaxClassifier
        In the order of ``Cs``, each with its certificate ``optimality_gap_``. They share what they
        know of X and of the classes.

    Raises
    ------
    ValueError
        If ``Cs`` are not such values, and as in ``SoftmaxClassifier.fit``.
    TypeError
        If ``estimator`` is something else.

    Warns
    -----
    ConvergenceWarning, UserWarning
        As in ``SoftmaxClassifier.fit``.

    See Also
    --------
    SoftmaxClassifierCV : Chooses a value of C.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import regularization_path
    >>> X, y = load_iris(return_X_y=True)
    >>> for clf in regularization_path(X, y, [0.01, 1, 100]):
    ...     print(f"C={clf.C:g}: objective {clf.objective_:.3f}, gap below 1e-6: "
    ...           f"{clf.optimality_gap_ < 1e-6}")
    C=0.01: objective 0.750, gap below 1e-6: True
    C=1: objective 0.193, gap below 1e-6: True
    C=100: objective 0.049, gap below 1e-6: True
    """
    estimator = SoftmaxClassifier() if estimator is None else estimator
    if not isinstance(estimator, SoftmaxClassifier):
        raise TypeError(
            f"'estimator' must be a SoftmaxClassifier or None, got {shown(estimator)}; of a "
            "Pipeline pass its last step, and X as the others transform it."
        )
    estimator, Cs = copy.copy(estimator), checked_Cs(Cs, may_be_number=False)
    estimator._check_parameters()
    epochs_asked = estimator.max_iter not in (0, DEFAULTS["max_iter"])
    path, result = Path(estimator, *estimator._read(X, y, sample_weight)), [None] * len(Cs)
    for i in np.argsort(Cs, kind="stable"):
        training = path.fit(float(Cs[i]))
        result[i] = copy.copy(path.classifier)
        vars(result[i]).update(path.attributes(training))
        warn_of_outcome(training, estimator.tol, epochs_asked)
    return result
