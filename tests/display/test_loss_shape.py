"""LossShapeDisplay: the curves are the losses and their derivatives."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.special import expit

from xentlearn.display import LossShapeDisplay
from xentlearn.losses import (
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

MARGIN = np.array([-30.0, -2.0, 0.0, 0.5, 30.0])
EVERY_LOSS = [
    SparseCategoricalCrossentropy(label_smoothing=0.1, ignore_class=1, logit_adjustment=2.0),
    CategoricalCrossentropy(label_smoothing=0.3),
    CategoricalFocalCrossentropy(alpha=[0.2, 0.7]),
    GeneralizedCrossentropy(),
    SymmetricCrossentropy(alpha=0.1),
    PolyCrossentropy(-0.5),
    BinaryCrossentropy(label_smoothing=0.1, pos_weight=3.0),
    BinaryFocalCrossentropy(alpha=0.3),
    AsymmetricBinaryCrossentropy(),
    HybridLoss([("softmax", CategoricalCrossentropy()), ("ovr", BinaryCrossentropy())]),
]


def line_is(line, x, y):
    np.testing.assert_array_equal(line.get_xdata(), x)
    np.testing.assert_array_equal(line.get_ydata(), y)


# --- The numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("y_true", [0, 1])
def test_cross_entropy_by_hand(y_true):
    names = [
        "binary_crossentropy",
        "categorical_crossentropy",
        "sparse_categorical_crossentropy",
    ]
    display = LossShapeDisplay.from_losses(names, y_true=y_true, margin=MARGIN)
    for loss, gradient in zip(display.loss, display.gradient, strict=True):
        np.testing.assert_allclose(loss, np.log1p(np.exp(-MARGIN)), rtol=1e-12)
        np.testing.assert_allclose(gradient, -expit(-MARGIN), rtol=1e-12)
    assert display.names == names


def test_outcomes_differ_where_the_parameters_do():
    losses = [BinaryCrossentropy(pos_weight=3.0), AsymmetricBinaryCrossentropy(clip=0.0)]
    of_1 = LossShapeDisplay.from_losses(losses, margin=MARGIN, y_true=1).loss
    of_0 = LossShapeDisplay.from_losses(losses, margin=MARGIN, y_true=0).loss
    plain = np.log1p(np.exp(-MARGIN))
    np.testing.assert_allclose(of_1, [3 * plain, plain], rtol=1e-12)
    np.testing.assert_allclose(of_0, [plain, expit(-MARGIN) ** 4 * plain], rtol=1e-12)


@pytest.mark.parametrize("y_true", [0, 1])
@pytest.mark.parametrize("loss", EVERY_LOSS, ids=lambda loss: type(loss).__name__)
def test_the_gradient_is_the_slope_of_the_curve(loss, y_true):
    if loss == EVERY_LOSS[-2]:  # its derivative has a step at p = clip
        loss = AsymmetricBinaryCrossentropy(clip=0.0)
    margin, step = np.linspace(-5.0, 5.0, 21), 1e-5
    display = LossShapeDisplay.from_losses([loss], y_true=y_true, margin=margin)
    upper, lower = (
        LossShapeDisplay.from_losses([loss], y_true=y_true, margin=margin + h).loss[0]
        for h in (step, -step)
    )
    np.testing.assert_allclose(display.gradient[0], (upper - lower) / (2 * step), atol=1e-8)
    assert (display.loss > 0).all()


# --- The drawing ----------------------------------------------------------------------------------


def test_what_is_drawn():
    focal = BinaryFocalCrossentropy(gamma=1.5)
    display = LossShapeDisplay.from_losses(
        ["binary_crossentropy", focal, ("mine", focal)], margin=MARGIN
    )
    assert display.names == ["binary_crossentropy", "BinaryFocalCrossentropy(gamma=1.5)", "mine"]
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == display.names
    assert display.figure_ is display.ax_.figure
    for line, loss in zip(display.lines_, display.loss, strict=True):
        line_is(line, MARGIN, loss)
    assert len({line.get_color() for line in display.lines_}) == 3
    assert display.ax_.get_xlabel() == "margin of the true class"
    assert display.ax_.get_ylabel() == "loss"


def test_gradients_against_probabilities():
    _, ax = plt.subplots()
    display = LossShapeDisplay.from_losses(
        "binary_crossentropy", margin=MARGIN, ax=ax, quantity="gradient", x="proba"
    )
    assert display.ax_ is ax
    line_is(display.lines_[0], expit(MARGIN), display.gradient[0])
    assert ax.get_xlabel() == "probability of the true class"
    assert ax.get_ylabel() == "derivative of the loss"
    # another picture of the same numbers
    assert display.plot() is display
    assert display.ax_ is not ax
    line_is(display.lines_[0], MARGIN, display.loss[0])


def test_a_second_call_goes_on_with_the_colours():
    loss = AsymmetricBinaryCrossentropy()
    first = LossShapeDisplay.from_losses([("of a 0", loss)], y_true=0)
    second = LossShapeDisplay.from_losses([("of a 1", loss)], y_true=1, ax=first.ax_)
    assert first.ax_ is second.ax_
    assert first.lines_[0].get_color() != second.lines_[0].get_color()
    assert [text.get_text() for text in first.ax_.get_legend().get_texts()] == ["of a 0", "of a 1"]


def test_styles():
    losses = ["binary_crossentropy", BinaryFocalCrossentropy()]
    both = LossShapeDisplay.from_losses(losses, line_kw={"ls": ":", "lw": 3})
    assert {(line.get_linestyle(), line.get_linewidth()) for line in both.lines_} == {(":", 3)}
    each = both.plot(line_kw=[{"c": "gray"}, {"color": "red", "label": "other"}])
    assert [line.get_color() for line in each.lines_] == ["gray", "red"]
    assert each.lines_[1].get_label() == "other"


def test_colours_of_a_style_sheet_are_kept():
    with mpl.rc_context({"axes.prop_cycle": mpl.cycler(color=["red", "blue"])}):
        display = LossShapeDisplay.from_losses("binary_crossentropy")
    assert display.lines_[0].get_color() == "red"


FOUR_LOSSES = [
    ("cross-entropy", "categorical_crossentropy"),
    ("smoothed by 0.3", CategoricalCrossentropy(label_smoothing=0.3)),
    ("focal, gamma = 2", CategoricalFocalCrossentropy(gamma=2.0)),
    ("generalised, q = 0.7", GeneralizedCrossentropy(0.7)),
]


@pytest.mark.parametrize("size", [(6.4, 4.8), (3.0, 2.8)])
@pytest.mark.parametrize("x", ["margin", "proba"])
@pytest.mark.parametrize("quantity", ["loss", "gradient"])
def test_the_legend_covers_no_curve(quantity, x, size):
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    for losses in (FOUR_LOSSES[:1], FOUR_LOSSES[1:]):
        display = LossShapeDisplay.from_losses(losses, quantity=quantity, x=x, ax=ax)
    figure.draw_without_rendering()
    box = ax.get_legend().get_window_extent()
    lower, upper = ax.get_ylim()
    assert len(ax.lines) == 4
    for line in ax.lines:
        path = line.get_transform().transform_path(line.get_path())
        assert not path.intersects_bbox(box, filled=False)
        assert lower <= line.get_ydata().min() <= line.get_ydata().max() <= upper
    assert box.x0 >= ax.bbox.x0
    assert box.y0 >= ax.bbox.y0
    assert display.ax_ is ax


def test_numbers_of_ones_own():
    display = LossShapeDisplay([-1.0, 1.0], [[2.0, 1.0]]).plot()
    line_is(display.lines_[0], [-1.0, 1.0], [2.0, 1.0])
    assert display.ax_.get_legend() is None


# --- Wrong arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "arguments", "message"),
    [
        (["crossentropy"], {}, "'losses' must be a list of names from .*'binary_crossentropy'"),
        ([("a", "b", "c")], {}, "pairs of a name .* got \\('a', 'b', 'c'\\)"),
        ("auto", {}, "got 'auto'"),
        ([BinaryCrossentropy(label_smoothing=2.0)], {}, "'label_smoothing' must be"),
        (["binary_crossentropy"], {"y_true": 2}, "'y_true' must be 0 or 1, .* got 2"),
        (["binary_crossentropy"], {"margin": 3.0}, r"'margin' must have shape \(n_points,\), got"),
        ([HybridLoss("softmax")], {}, r"'losses' must be a list of \(name, setting\) pairs"),
        (["binary_crossentropy"], {"x": "logit"}, "'x' must be 'margin' or 'proba', got 'logit'"),
        (["binary_crossentropy"], {"quantity": "hessian"}, "'quantity' must be 'loss' or 'gradie"),
        (["binary_crossentropy"], {"line_kw": [{}, {}]}, "'line_kw' must be .* per loss, 1, got"),
    ],
)
def test_errors(losses, arguments, message):
    with pytest.raises(ValueError, match=message):
        LossShapeDisplay.from_losses(losses, **arguments)


def test_integers_of_numpy():
    LossShapeDisplay.from_losses("binary_crossentropy", y_true=np.int64(0))


def test_no_gradient_to_draw():
    with pytest.raises(ValueError, match="must be 'loss' for .*, got 'gradient'; make it by"):
        LossShapeDisplay([0.0], [[1.0]]).plot(quantity="gradient")
