"""All loss settings by class and by name: the list to which a new loss is added."""

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
    """Return the settings by the strings that ``SoftmaxClassifier(loss=...)`` accepts."""
    return {setting.name: setting for setting in SETTINGS if setting.name}
