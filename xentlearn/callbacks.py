"""Callbacks of fits, for ``set_callbacks`` of scikit-learn 1.9 and newer."""

from ._estimator.checkpoint import Checkpoint
from ._estimator.progress import ProgressBar
from ._estimator.validation_monitor import ValidationMonitor

__all__ = ["Checkpoint", "ProgressBar", "ValidationMonitor"]

for _callback in (Checkpoint, ProgressBar, ValidationMonitor):
    _callback.__module__ = __name__  # where users find it
