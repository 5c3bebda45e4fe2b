"""Cross-entropy losses: functions on predictions, and settings that train on logits.

Functions (``sparse_categorical_crossentropy`` and its kin) judge predictions that exist, named and
ordered as in Keras. Settings (``SparseCategoricalCrossentropy`` and its kin) are training
objectives on logits with parameters: for ``SoftmaxClassifier(loss=...)``, for grid searches, or
for a solver of your own. ``make_loss_scorer`` judges fitted classifiers by any of them.
"""

from ._estimator.scorer import make_loss_scorer
from ._losses.binary_functions import binary_crossentropy, binary_focal_crossentropy
from ._losses.categorical_functions import (
    categorical_crossentropy,
    categorical_focal_crossentropy,
    sparse_categorical_crossentropy,
)
from ._losses.registry import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    HybridLoss,
    PolyCrossentropy,
    SparseCategoricalCrossentropy,
    SymmetricCrossentropy,
)

__all__ = [
    "AsymmetricBinaryCrossentropy",
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "GeneralizedCrossentropy",
    "HybridLoss",
    "PolyCrossentropy",
    "SparseCategoricalCrossentropy",
    "SymmetricCrossentropy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "make_loss_scorer",
    "sparse_categorical_crossentropy",
]

# where users find them, and what their pickles say
for _name in __all__:
    globals()[_name].__module__ = __name__
