"""All loss settings, by class and by name: the one list that others go by."""

from ._binary_settings import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
)
from ._categorical_settings import (
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    PolyCrossentropy,
    SparseCategoricalCrossentropy,
    SymmetricCrossentropy,
)
from ._hybrid_loss import HybridLoss

SETTINGS = (
    SparseCategoricalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    SymmetricCrossentropy,
    PolyCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    AsymmetricBinaryCrossentropy,
    HybridLoss,
)


def known_names():
    """Settings by name: what ``SoftmaxClassifier(loss=...)`` takes as a string."""
    return {setting.name: setting for setting in SETTINGS if setting.name}
