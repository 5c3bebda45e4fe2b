"""Pictures of losses, fits and searches, after the conventions of scikit-learn's displays.

``from_estimator`` and its like compute and draw. The display that they return holds the numbers,
and its ``plot`` draws them again. matplotlib is imported when something is drawn.
"""

from ._display.coefficients import CoefficientDisplay
from ._display.loss_curve import LossCurveDisplay
from ._display.loss_shape import LossShapeDisplay
from ._display.path import PathDisplay

__all__ = ["CoefficientDisplay", "LossCurveDisplay", "LossShapeDisplay", "PathDisplay"]

for _name in __all__:
    globals()[_name].__module__ = __name__  # where users find it
