"""matplotlib is imported when something is drawn, and not before."""

import sys

import pytest

from scripts import output_of
from xentlearn import SoftmaxClassifier
from xentlearn.display import CoefficientDisplay, LossCurveDisplay, LossShapeDisplay

CLF = SoftmaxClassifier().fit([[0.0], [1.0]], [0, 1])


def test_displays_are_made_without_matplotlib():
    code = """
import sys
from xentlearn.display import CoefficientDisplay, LossCurveDisplay, LossShapeDisplay
CoefficientDisplay([[1.0]]), LossCurveDisplay({}), LossShapeDisplay([0.0], [[1.0]])
print("matplotlib" in sys.modules)
"""
    assert output_of(code) == "False"


@pytest.mark.parametrize(
    ("draw", "caller"),
    [
        (lambda: CoefficientDisplay.from_estimator(CLF), "CoefficientDisplay.from_estimator"),
        (lambda: LossCurveDisplay.from_estimator(CLF), "LossCurveDisplay.from_estimator"),
        (lambda: LossShapeDisplay.from_losses([]), "LossShapeDisplay.from_losses"),
        (lambda: CoefficientDisplay([[1.0]]).plot(), "CoefficientDisplay.plot"),
        (lambda: LossCurveDisplay({}).plot(), "LossCurveDisplay.plot"),
        (lambda: LossShapeDisplay([0.0], [[1.0]]).plot(), "LossShapeDisplay.plot"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_matplotlib(draw, caller, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # cannot be imported
    with pytest.raises(ImportError, match=f"{caller} needs matplotlib.*: pip install matplotlib$"):
        draw()
