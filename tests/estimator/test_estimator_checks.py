"""scikit-learn's own checks of an estimator, for each loss and solver; nothing is expected to fail.

The pairs are those of `parametrize_with_checks`, as a list: pytest does not want the iterator
that old versions of scikit-learn give it.
"""

import pytest
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from xentlearn import SoftmaxClassifier
from xentlearn._losses.registry import known_names
from xentlearn._solvers.settings import SETTINGS as SOLVERS
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    HybridLoss,
)

HYBRID = HybridLoss([("softmax", CategoricalCrossentropy()), ("ovr", BinaryCrossentropy())])
# Where float32 rows are surer than 1 - 1e-7, log(predict_proba) is 0 and predict_log_proba is not:
# check_classifiers_train, which compares them, wants losses that pull harder to be held back.
SETTINGS = [
    {"loss": "auto"},
    *(
        {"loss": name, "C": 0.1 if name == "symmetric_crossentropy" else 1.0}
        for name in known_names()
    ),
    {"loss": HYBRID, "C": 0.1},
    *({"solver": solver} for solver in SOLVERS),
    {"l1_ratio": 1.0},
    {"l1_ratio": 0.5},
    {"grouped": True, "l1_ratio": 1.0},
    {"coef_bounds": (-1.0, 2.0)},
]


def name_of(check):
    """The name of a check, with its own arguments where it has some."""
    function = getattr(check, "func", check)
    keywords = getattr(check, "keywords", {})
    return "-".join([function.__name__, *(f"{key}={value}" for key, value in keywords.items())])


def every_check():
    return [
        pytest.param(estimator, check, id=f"{next(iter(setting.values()))}-{name_of(check)}")
        for setting in SETTINGS
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
