"""Callbacks of fits, for ``set_callbacks`` of scikit-learn 1.9 and newer."""

from ._estimator.callbacks import Checkpoint

__all__ = ["Checkpoint"]

Checkpoint.__module__ = __name__  # where users find it
