"""LossCurveDisplay: the curves are what the fit recorded."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn.display import LossCurveDisplay

X, Y = load_iris(return_X_y=True)
from_estimator = LossCurveDisplay.from_estimator


@pytest.fixture(scope="module")
def fit():
    return SoftmaxClassifier(solver="lbfgs").fit(X, Y)


@pytest.fixture(scope="module")
def adam():
    return SoftmaxClassifier(solver="adam", tol=1e-2, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def stopped():
    clf = SoftmaxClassifier(solver="lbfgs", early_stopping=True, random_state=0)
    return clf.fit(X, Y)


def legend_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def rendered(display):
    """Draw the figure; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display.figure_.canvas.draw()


# --- One fit --------------------------------------------------------------------------------------


def test_the_objective(fit):
    display = from_estimator(fit)
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), np.arange(fit.n_iter_[0] + 1))
    np.testing.assert_array_equal(line.get_ydata(), fit.history_["objective"])
    assert display.ax_.get_xlabel() == "iteration"
    assert display.ax_.get_ylabel() == "objective (mean loss + penalty)"
    assert display.ax_.get_yscale() == "linear"
    assert legend_of(display) == ["lbfgs"]
    assert display.figure_ is display.ax_.figure
    assert display.certificate_ is None


def test_the_gap_against_seconds(fit):
    display = from_estimator(fit, quantity="gap", x="seconds", name="mine")
    (line,), mark = display.lines_, display.certificate_
    np.testing.assert_array_equal(line.get_xdata(), fit.history_["seconds"])
    np.testing.assert_array_equal(line.get_ydata(), fit.history_["gap"])
    assert display.ax_.get_yscale() == "log"
    assert display.ax_.get_xlabel() == "seconds"
    assert mark.get_xdata() == fit.history_["seconds"][-1]
    assert mark.get_ydata() == fit.optimality_gap_
    assert mark.get_color() == line.get_color()
    assert legend_of(display) == [f"mine (certified gap = {fit.optimality_gap_:.2g})"]
    rendered(display)


def test_objective_and_validation_loss(stopped):
    display = from_estimator(stopped, quantity=["objective", "validation_loss"])
    for line, name in zip(display.lines_, ("objective", "validation_loss"), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), stopped.history_[name])
    first, second = display.lines_
    assert first.get_color() == second.get_color()
    assert first.get_linestyle() != second.get_linestyle()
    assert legend_of(display) == ["lbfgs, objective", "lbfgs, validation loss"]
    assert display.ax_.get_ylabel() == "objective (mean loss + penalty) or validation loss"
    assert display.plot(quantity="validation_loss").ax_.get_ylabel() == "validation loss"


def test_early_stopping_has_no_certificate_at_its_end(stopped):
    assert np.isfinite(stopped.optimality_gap_)
    assert from_estimator(stopped, quantity="gap").certificate_ is None


def test_epochs(adam):
    display = from_estimator(adam)
    assert display.ax_.get_xlabel() == "epoch"
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), adam.history_["objective"])
    assert display.lines_[0].get_xdata()[-1] == adam.n_iter_[0]


def test_the_last_calls_of_partial_fit():
    clf = SoftmaxClassifier(random_state=0)
    for _ in range(103):
        clf.partial_fit(X, Y, classes=[0, 1, 2])
    display = from_estimator(clf)
    (line,) = display.lines_
    assert display.ax_.get_xlabel() == "call of partial_fit"
    np.testing.assert_array_equal(line.get_ydata(), clf.history_["objective"])
    np.testing.assert_array_equal(line.get_xdata()[-3:], [101, 102, 103])


def test_ticks_of_few_iterations_are_whole_numbers():
    display = LossCurveDisplay({"objective": [3.0, 2.0, 1.0]}).plot()
    assert all(tick == round(tick) for tick in display.ax_.get_xticks())


def test_other_records():
    history = {"objective": [2.0, 1.0], "learning_rate": [0.1, 0.01]}
    display = LossCurveDisplay(history, unit="epoch").plot(quantity="learning_rate")
    assert display.ax_.get_ylabel() == "learning rate"
    assert display.ax_.get_legend() is None
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), [0.1, 0.01])


# --- Gaps of 0 and inf ----------------------------------------------------------------------------


@pytest.mark.parametrize("optimality_gap", [None, 0.0, np.inf, 1e-9])
@pytest.mark.parametrize(
    "gap",
    [[np.inf, 1.0, 1e-3, 0.0], [np.inf, 1.0, np.inf, 1e-3], [0.0, 0.0], [np.nan, 1e-3, -1e-20]],
)
def test_gaps_that_a_logarithm_does_not_take(gap, optimality_gap):
    display = LossCurveDisplay({"gap": gap}, optimality_gap=optimality_gap, name="fit")
    display.plot(quantity="gap")
    drawn, gap = display.lines_[0].get_ydata(), np.array(gap)
    np.testing.assert_array_equal(drawn, np.where(np.isfinite(gap), gap, np.nan))
    assert (display.certificate_ is not None) == (optimality_gap == 1e-9)
    rendered(display)
    lower, upper = display.ax_.get_ylim()
    assert np.isfinite([lower, upper]).all()
    for value in gap[np.isfinite(gap) & (gap > 0)]:
        assert lower <= value <= upper


def test_no_estimate_at_all(adam):
    assert np.isinf(adam.history_["gap"]).all()
    display = from_estimator(adam, quantity="gap")
    assert display.certificate_.get_ydata() == adam.optimality_gap_
    rendered(display)
    adam_without = LossCurveDisplay(adam.history_)
    with pytest.raises(ValueError, match="finite value, got 'gap': .* pass 'objective'"):
        adam_without.plot(quantity="gap")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_fits_without_a_step(solver):
    start = from_estimator(SoftmaxClassifier(solver=solver, max_iter=0).fit(X, Y))
    np.testing.assert_array_equal(start.lines_[0].get_xdata(), [0])


def test_nothing_finite():
    diverged = LossCurveDisplay({"objective": [np.inf, np.nan]})
    with pytest.raises(ValueError, match="got 'objective': the fit diverged"):
        diverged.plot()


def test_a_constant_fit():
    with pytest.warns(UserWarning, match="predicted"):
        clf = SoftmaxClassifier().fit(X, Y, sample_weight=(Y == 0).astype(float))
    for quantity in ("objective", "gap"):
        rendered(from_estimator(clf, quantity=quantity))


# --- Several fits ---------------------------------------------------------------------------------


def test_fits_in_one_picture(fit, adam):
    display = from_estimator(fit)
    other = from_estimator(adam, ax=display.ax_)
    third = from_estimator(fit, ax=display.ax_, name="again")
    assert display.ax_ is other.ax_ is third.ax_
    assert legend_of(display) == ["lbfgs", "adam", "again"]
    colors = [each.lines_[0].get_color() for each in (display, other, third)]
    assert len(set(colors)) == 3
    handles = display.ax_.get_legend().legend_handles
    assert [handle.get_color() for handle in handles] == colors
    assert display.ax_.get_xlabel() == "iteration or epoch"
    assert display.ax_.get_ylabel() == "objective (mean loss + penalty)"


def test_gaps_in_one_picture(fit):
    display = from_estimator(fit, quantity="gap")
    one = SoftmaxClassifier(solver="newton-cg").fit(X, Y)
    other = from_estimator(one, quantity="gap", ax=display.ax_)
    assert [text.split()[0] for text in legend_of(display)] == ["lbfgs", "newton-cg"]
    # the marks take no colour of their own
    alone = from_estimator(fit)
    assert from_estimator(one, ax=alone.ax_).lines_[0].get_color() == other.lines_[0].get_color()


def test_axes_of_ones_own(fit):
    _, ax = plt.subplots()
    ax.set(xlabel="mine", ylabel="mine too")
    display = from_estimator(fit, ax=ax, line_kw={"c": "gray", "ls": ":", "label": "label"})
    assert display.ax_ is ax
    assert (ax.get_xlabel(), ax.get_ylabel()) == (
        "iteration",
        "objective (mean loss + penalty)",
    )
    (line,) = display.lines_
    assert (line.get_color(), line.get_linestyle(), line.get_label()) == ("gray", ":", "label")


def test_axes_with_a_scale_of_their_own(fit):
    _, ax = plt.subplots()
    ax.set_xscale("log")
    rendered(from_estimator(fit, ax=ax))
    assert ax.get_xscale() == "log"


def test_another_plot_of_the_same_numbers(fit):
    display = from_estimator(fit)
    before = display.ax_
    assert display.plot(name="other") is display
    assert display.ax_ is not before
    assert legend_of(display) == ["other"]


# --- What is given --------------------------------------------------------------------------------


def test_pipelines_and_searches(fit):
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(solver="lbfgs"))
    search = GridSearchCV(pipeline, {"softmaxclassifier__C": [1.0]}).fit(X, Y)
    nested = make_pipeline(StandardScaler(), GridSearchCV(fit, {"C": [1.0]})).fit(X, Y)
    expected = pipeline.fit(X, Y)[-1].history_["objective"]
    for estimator in (pipeline, search, nested):
        (line,) = from_estimator(estimator).lines_
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-6)


def test_estimators_without_a_history():
    with pytest.raises(NotFittedError):
        from_estimator(SoftmaxClassifier())
    with pytest.raises(NotFittedError):
        from_estimator(make_pipeline(StandardScaler(), SoftmaxClassifier()))
    other = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="'history_'.* got a LogisticRegression in a Pipeline;"):
        from_estimator(other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantity": "loss"}, r"'quantity' must be among .*\['gap', 'obj.*\], got 'loss'\.$"),
        ({"quantity": "validation_loss"}, "got 'validation_loss'; pass X_val and y_val to fit"),
        ({"quantity": []}, r"'quantity' must name at least one of \['gap', .*\], got \[\]"),
        ({"quantity": None}, "'quantity' must be among .* got None"),
        ({"x": "epochs"}, "'x' must be 'iterations' or 'seconds', got 'epochs'"),
    ],
)
def test_errors(arguments, message, fit):
    with pytest.raises(ValueError, match=message):
        from_estimator(fit, **arguments)
