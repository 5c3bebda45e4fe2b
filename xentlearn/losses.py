"""Cross-entropy losses: functions on predictions, and settings for training on logits.

Functions such as ``sparse_categorical_crossentropy`` evaluate given predictions, with the names and
the order of arguments of Keras. Settings such as ``SparseCategoricalCrossentropy`` are training
objectives on logits, whose parameters can be searched: for ``SoftmaxClassifier(loss=...)``, or for
solvers of your own. ``make_loss_scorer`` makes scorers of fitted classifiers from settings.
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

# the module in which documentation and pickles refer to them
for _name in __all__:
    globals()[_name].__module__ = __name__
