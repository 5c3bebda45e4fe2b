"""scikit-learn's own checks of an estimator, for each loss and solver; nothing is expected to fail.

The pairs are those of `parametrize_with_checks`, as a list: pytest does not want the iterator
that old versions of scikit-learn give it.
"""

import pytest
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from xentlearn import SoftmaxClassifier
from xentlearn._solvers import SOLVERS

LOSSES = [
    "auto",
    "sparse_categorical_crossentropy",
    "categorical_crossentropy",
    "binary_crossentropy",
]


def name_of(check):
    """The name of a check, with its own arguments where it has some."""
    function = getattr(check, "func", check)
    keywords = getattr(check, "keywords", {})
    return "-".join([function.__name__, *(f"{key}={value}" for key, value in keywords.items())])


def every_check():
    settings = [{"loss": loss} for loss in LOSSES] + [{"solver": solver} for solver in SOLVERS]
    return [
        pytest.param(estimator, check, id=f"{next(iter(setting.values()))}-{name_of(check)}")
        for setting in settings
        for estimator, check in estimator_checks_generator(SoftmaxClassifier(**setting))
    ]


@pytest.mark.parametrize(("estimator", "check"), every_check())
def test_sklearn_check(estimator, check):
    check(estimator)


class Forgetful(SoftmaxClassifier):
    """Its fit changes a parameter, which is forbidden."""

    def fit(self, X, y, sample_weight=None):
        self.C = 2.0
        return super().fit(X, y, sample_weight=sample_weight)


def test_the_checks_can_fail():
    with pytest.raises(AssertionError, match="Forgetful.*C"):
        check_estimator(Forgetful())
