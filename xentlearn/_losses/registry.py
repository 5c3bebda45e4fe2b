"""All loss settings, by class and by name: the one list that others go by."""

from .hybrid import HybridLoss
from .sigmoid import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
)
from .softmax import (
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    PolyCrossentropy,
    SparseCategoricalCrossentropy,
    SymmetricCrossentropy,
)

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
