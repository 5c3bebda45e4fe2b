"""PathDisplay: curves are the mean scores and coefficients of a search, marks what it chose."""

import copy
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier, SoftmaxClassifierCV, regularization_path
from xentlearn.display import PathDisplay

X, Y = load_iris(return_X_y=True, as_frame=True)
CS = [0.1, 0.001, 1.0, 100.0, 10.0]  # not in order
SORTED = np.sort(CS)
from_estimator = PathDisplay.from_estimator


def fitted(X=X, y=Y, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of edges
        return SoftmaxClassifierCV(**{"Cs": CS, "cv": 3, **parameters}).fit(X, y)


@pytest.fixture(scope="module")
def search():
    return fitted(l1_ratios=(0.0, 1.0), select="1se", store_paths=True)


@pytest.fixture(scope="module")
def several():
    scoring = ["accuracy", "neg_log_loss"]
    return fitted(scoring=scoring, refit="neg_log_loss", select="1se", l1_ratios=(0.0, 0.5))


@pytest.fixture(scope="module")
def path():
    return regularization_path(X, Y, CS)


def legend_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def error_bars_of(container):
    """Lower and upper ends of the bars, of shape (n_bars, 2)."""
    (bars,) = container.lines[2]
    return np.array([segment[:, 1] for segment in bars.get_segments()])


def rendered(display):
    """Draw the figure; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display.figure_.canvas.draw()


# --- Scores ---------------------------------------------------------------------------------------


def test_a_curve_of_scores_with_errors(search):
    display = from_estimator(search)
    assert len(display.lines_) == len(display.errorbar_) == 2
    order = np.argsort(CS)
    for l1, (line, bars) in enumerate(zip(display.lines_, display.errorbar_, strict=True)):
        np.testing.assert_array_equal(line.get_xdata(), SORTED)
        mean = np.array([np.mean(search.scores_[:, 0, l1, i]) for i in order])
        np.testing.assert_allclose(line.get_ydata(), mean, rtol=1e-14)
        error = search.standard_errors_[0, l1, order]
        ends = np.column_stack([mean - error, mean + error])
        np.testing.assert_allclose(error_bars_of(bars), ends, rtol=1e-12)
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlabel() == "C"
    assert display.ax_.get_ylabel() == "minus the mean loss"
    assert display.figure_ is display.ax_.figure
    assert display.others_ is None
    rendered(display)


def test_marks_of_one_standard_error(search):
    display = from_estimator(search)
    means = search.scores_.mean(axis=0)[0]
    l1, best = np.unravel_index(means.argmax(), means.shape)
    ratio = f"l1_ratio={search.l1_ratios_[l1]:g}"
    assert search.C_ < CS[best]  # this is what the picture shows
    (x,), (y,) = display.chosen_.get_data()
    assert x == search.C_
    assert y == means[l1, CS.index(search.C_)]
    assert display.chosen_.get_color() == display.lines_[l1].get_color()
    (x,), (y,) = display.best_.get_data()
    assert x == CS[best]
    assert y == means.max()
    error = search.standard_errors_[0, l1, best]
    lower, upper = display.band_.get_y(), display.band_.get_y() + display.band_.get_height()
    np.testing.assert_allclose([lower, upper], [y - error, y + error], rtol=1e-14)
    assert set(legend_of(display)) == {
        "l1_ratio=0",
        "l1_ratio=1",
        f"chosen: {ratio}, C = {search.C_:.3g}",
        f"best: {ratio}, C = {CS[best]:.3g}",
        "within one standard error of the best",
    }


def test_the_best_alone():
    best = fitted()
    display = from_estimator(best)
    assert display.best_ is display.band_ is None
    assert display.chosen_.get_xdata() == best.C_
    assert legend_of(display) == [f"chosen: C = {best.C_:.3g}"]


def test_losses_and_a_name():
    losses = ["sparse_categorical_crossentropy", "binary_crossentropy"]
    display = from_estimator(fitted(losses=losses, l1_ratios=(0.0, 0.5)), name="mine")
    assert display.names == [
        f"mine, {loss}, l1_ratio={ratio}" for loss in losses for ratio in ("0", "0.5")
    ]
    assert display.ax_.get_ylabel() == "neg_log_loss"


def test_one_of_several_scores(several):
    order = np.argsort(CS)
    for scoring, drawn in [(None, "neg_log_loss"), ("accuracy", "accuracy")]:
        display = from_estimator(several, scoring=scoring)
        assert display.ax_.get_ylabel() == drawn
        means = several.scores_[drawn].mean(axis=0)[0]
        for line, mean in zip(display.lines_, means, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), mean[order])
        # the mark is at what "neg_log_loss" has chosen; the best score is not that of accuracy
        assert display.chosen_.get_xdata() == several.C_
        assert (display.best_ is None) == (drawn == "accuracy")


def test_nothing_was_chosen():
    none = fitted(scoring=["accuracy", "neg_log_loss"], refit=False, store_paths=True)
    with pytest.raises(ValueError, match=r"'scoring' must be among .*\['accuracy', .* name one"):
        from_estimator(none)
    display = from_estimator(none, scoring="accuracy")
    assert display.chosen_ is None
    assert display.ax_.get_legend() is None
    display.plot(kind="coefficients")
    assert display.chosen_ is None


def test_without_a_refit():
    display = from_estimator(fitted(refit=False, store_paths=True), kind="coefficients")
    assert display.chosen_ is not None
    display.plot(kind="coefficients", class_of_interest=2)  # it knows no labels
    assert display.ax_.get_ylabel() == "coefficient for 2"


def test_errors_of_a_single_fold_are_unknown(search):
    one = fitted(cv=[(np.arange(0, 150, 2), np.arange(1, 150, 2))]).set_params(select="1se")
    assert np.isnan(one.standard_errors_).all()
    display = from_estimator(one)
    assert np.isfinite(display.lines_[0].get_ydata()).all()
    assert display.band_ is None
    rendered(display)


def test_standard_errors_are_those_of_the_search():
    """They may come from elsewhere than from the folds: from rows, with leave-one-out."""
    one = fitted(cv=[(np.arange(0, 150, 2), np.arange(1, 150, 2))]).set_params(select="1se")
    one.standard_errors_ = np.full((1, 1, len(CS)), 0.25)
    display = from_estimator(one)
    np.testing.assert_allclose(np.ptp(error_bars_of(display.errorbar_[0]), axis=1), 0.5)
    assert display.band_.get_height() == pytest.approx(0.5)


def test_no_penalty_is_at_the_right_end():
    display = PathDisplay([np.inf, 1.0, 10.0], scores=[[-3.0, -2.0, -1.0]], chosen=(0, 0)).plot()
    np.testing.assert_array_equal(display.lines_[0].get_xdata(), [1.0, 10.0, 100.0])
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), [-2.0, -1.0, -3.0])
    assert display.chosen_.get_xdata() == 100.0
    assert display.ax_.get_xlabel() == "C (at the right end: no penalty, C = inf)"
    assert legend_of(display) == ["chosen: C = inf"]
    rendered(PathDisplay([np.inf], scores=[[-3.0]], best=(0, 0)).plot())


def test_two_searches_on_the_same_axes(search):
    first = from_estimator(fitted(), name="first")
    second = from_estimator(fitted(select="1se", scoring="accuracy"), name="second", ax=first.ax_)
    assert second.ax_ is first.ax_
    assert first.lines_[0].get_color() != second.lines_[0].get_color()
    assert {"first", "second"} < set(legend_of(second))
    assert second.ax_.get_ylabel() == "minus the mean loss or accuracy"
    rendered(second)


def test_styles_of_curves(search):
    display = from_estimator(search, line_kw=[{"c": "red"}, {"ls": "--", "label": "mine"}])
    assert display.lines_[0].get_color() == "red"
    assert display.lines_[1].get_linestyle() == "--"
    assert "mine" in legend_of(display)
    assert all(
        line.get_linewidth() == 3 for line in from_estimator(search, line_kw={"lw": 3}).lines_
    )


def test_what_an_interrupted_search_has_found(search):
    """All of the first fold, and two values of C of the second one."""
    stopped = copy.deepcopy(search)
    stopped.scores_[2:] = stopped.scores_[1, :, 1:] = stopped.scores_[1, :, 0, 2:] = np.nan
    stopped.standard_errors_[:] = np.nan
    del stopped.C_, stopped.coef_
    display = from_estimator(stopped)
    expected = stopped.scores_[0, 0].copy()
    expected[0, :2] = (stopped.scores_[0, 0, 0, :2] + stopped.scores_[1, 0, 0, :2]) / 2
    for line, mean in zip(display.lines_, expected, strict=True):
        np.testing.assert_allclose(line.get_ydata(), mean[np.argsort(CS)], rtol=1e-14)
    assert display.chosen_ is display.best_ is None
    rendered(display)


# --- Coefficients ---------------------------------------------------------------------------------


def test_means_over_folds_of_the_chosen_setting(search):
    display = from_estimator(search, kind="coefficients", class_of_interest=1)
    l1 = list(search.l1_ratios_).index(search.l1_ratio_)
    order = np.argsort(CS)
    of_name = dict(zip(legend_of(display), display.lines_, strict=False))
    assert set(of_name) >= set(X.columns)
    for j, name in enumerate(X.columns):
        folds = [search.coefs_paths_[fold, 0, l1, order, 1, j] for fold in range(3)]
        np.testing.assert_allclose(of_name[name].get_ydata(), sum(folds) / 3, rtol=1e-12)
    assert display.ax_.get_ylabel() == "coefficient for 1"
    assert display.chosen_.get_xdata()[0] == search.C_
    assert display.errorbar_ == []
    rendered(display)


def test_the_norm_over_the_classes(search):
    display = from_estimator(search, kind="coefficients")
    l1 = list(search.l1_ratios_).index(search.l1_ratio_)
    coefs = search.coefs_paths_[:, 0, l1].mean(axis=0)[np.argsort(CS), :, :4]
    norms = np.sqrt(np.square(coefs).sum(axis=1))
    found = sorted(line.get_ydata().tolist() for line in display.lines_)
    np.testing.assert_allclose(found, sorted(norms.T.tolist()), rtol=1e-12)
    assert display.ax_.get_ylabel() == "norm of coefficients over classes"


def test_a_list_of_classifiers(path):
    strongest = np.argsort(-np.abs([clf.coef_[0] for clf in path]).max(axis=0))
    for given in (path, tuple(reversed(path))):
        display = from_estimator(given, kind="coefficients", class_of_interest=0)
        for j, line in zip(strongest, display.lines_, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), SORTED)
            in_order = sorted(path, key=lambda clf: clf.C)
            np.testing.assert_array_equal(line.get_ydata(), [c.coef_[0, j] for c in in_order])
            assert line.get_label() == X.columns[j]
        assert display.chosen_ is None
        rendered(display)


def test_sparse_coefficients():
    sparsified = [clf.sparsify() for clf in regularization_path(X, Y, CS)]
    dense = from_estimator(regularization_path(X, Y, CS), kind="coefficients")
    for one, other in zip(
        from_estimator(sparsified, kind="coefficients").lines_, dense.lines_, strict=True
    ):
        np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())


def test_two_classes():
    data = load_breast_cancer()
    X = data.data / data.data.std(axis=0)
    path = regularization_path(X, data.target_names[data.target], [0.01, 1.0])
    display = from_estimator(path, kind="coefficients", feature_names=data.feature_names)
    assert display.ax_.get_ylabel() == "coefficient for malignant"
    assert len(display.lines_) == 7
    assert len(display.others_.get_segments()) == 23
    with pytest.raises(ValueError, match="'class_of_interest' must be None .* of 'malignant'; got"):
        from_estimator(path, kind="coefficients", class_of_interest="benign")


def test_the_strongest_features_have_names():
    coefs = np.zeros((2, 1, 12))
    coefs[0, 0, :11] = np.arange(11)
    coefs[1, 0, :11] = -100.0 + np.arange(11)
    display = PathDisplay([1.0, 10.0], coefs=coefs, chosen=(0, 0))
    display.plot(kind="coefficients", max_features=9)
    names = [f"x{j}" for j in range(10, 1, -1)]  # the largest ones at the chosen C
    assert [line.get_label() for line in display.lines_] == names
    assert len(display.others_.get_segments()) == 2  # x11 is 0 everywhere
    looks = {(line.get_color(), line.get_linestyle()) for line in display.lines_}
    assert len(looks) == 9
    display = PathDisplay([1.0, 10.0], coefs=coefs).plot(kind="coefficients", max_features=1)
    assert display.lines_[0].get_label() == "x0"  # the largest one anywhere
    nothing = PathDisplay([1.0, 10.0], coefs=np.zeros((2, 1, 3))).plot(kind="coefficients")
    assert nothing.lines_ == []
    rendered(nothing)


def test_names_are_shown_as_they_are():
    names = ["$a$ and $b$", "_hidden", "x" * 50]
    coefs = np.arange(1.0, 7.0).reshape(2, 1, 3)
    display = PathDisplay(
        [1.0, 10.0], coefs=coefs, feature_names=names, class_names=["$0", "$1"]
    ).plot(kind="coefficients", max_features=3)
    labels = legend_of(display)
    assert len(labels) == 3
    assert "x" * 29 + "…" in labels
    rendered(display)


def test_names_from_the_steps_of_a_pipeline():
    inner = SoftmaxClassifierCV(Cs=[0.1, 1.0, 10.0], cv=3, store_paths=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline = make_pipeline(StandardScaler(), inner).fit(X, Y)
        outer = GridSearchCV(pipeline, {"softmaxclassifiercv__tol": [1e-4]}, cv=2).fit(X, Y)
    for estimator in (pipeline, outer):
        display = from_estimator(estimator, kind="coefficients")
        assert {line.get_label() for line in display.lines_} == set(X.columns)
        from_estimator(estimator)


def test_models_without_an_intercept():
    display = from_estimator(fitted(fit_intercept=False, store_paths=True), kind="coefficients")
    assert len(display.lines_) == 4


def test_several_labels():
    Y2 = pd.DataFrame({"setosa": Y == 0, "virginica": Y == 2}).astype(int).to_numpy()
    display = from_estimator(
        regularization_path(X, Y2, CS), kind="coefficients", class_of_interest=1
    )
    assert display.ax_.get_ylabel() == "coefficient for 1"


def test_both_pictures_of_one_display(search):
    display = from_estimator(search)
    display.plot(kind="coefficients", class_of_interest=0)
    assert display.ax_.get_ylabel() == "coefficient for 0"
    _, ax = plt.subplots()
    assert display.plot(ax).ax_ is ax
    assert display.others_ is None


# --- Wrong arguments ------------------------------------------------------------------------------


def test_other_estimators(path):
    with pytest.raises(NotFittedError):
        from_estimator(SoftmaxClassifierCV())
    with pytest.raises(ValueError, match="'standard_errors_'.* SoftmaxClassifier; SoftmaxClass"):
        from_estimator(path[0])
    peer = LogisticRegressionCV(
        Cs=[1.0], l1_ratios=(0,), use_legacy_attributes=False, max_iter=1000
    ).fit(X, Y)
    with pytest.raises(ValueError, match="'standard_errors_'.* LogisticRegressionCV; Softmax"):
        from_estimator(peer)


def test_lists_that_are_no_path(path):
    rule = "a list of 'estimator' must hold the fitted classifiers of regularization_path, got"
    with pytest.raises(ValueError, match=f"{rule} an empty one"):
        from_estimator([], kind="coefficients")
    with pytest.raises(ValueError, match=f"{rule} SoftmaxClassifier.*, which has no"):
        from_estimator([path[0], SoftmaxClassifier()], kind="coefficients")
    two = SoftmaxClassifier().fit(X, Y == 0)
    with pytest.raises(ValueError, match=rf"{rule} .* shapes \[\(1, 4\), \(3, 4\)\]; pass one"):
        from_estimator([path[0], two], kind="coefficients")
    with pytest.raises(ValueError, match="'kind' must be 'coefficients' for a path without scores"):
        from_estimator(path)


def test_errors(search, several):
    with pytest.raises(ValueError, match="'kind' must be 'scores' or 'coefficients', got 'both'"):
        from_estimator(search, kind="both")
    with pytest.raises(ValueError, match="'kind' must be 'scores' .* with store_paths=True"):
        from_estimator(several, kind="coefficients")
    with pytest.raises(ValueError, match="'scoring' must be None for .* single .* got 'accuracy'"):
        from_estimator(search, scoring="accuracy")
    with pytest.raises(ValueError, match=r"'scoring' must be among .*, got 'f1'\.$"):
        from_estimator(several, scoring="f1")
    with pytest.raises(ValueError, match=r"'class_of_interest' must be None or one of \[0, 1, 2\]"):
        from_estimator(search, kind="coefficients", class_of_interest="setosa")
    with pytest.raises(ValueError, match="'max_features' must be an integer >= 1, got 0"):
        from_estimator(search, kind="coefficients", max_features=0)
    with pytest.raises(ValueError, match="'feature_names' must have a name per feature, 4, got 1"):
        from_estimator(search, kind="coefficients", feature_names=["a"])
    with pytest.raises(ValueError, match="'line_kw' must have an entry per curve .*, 2, got 1"):
        from_estimator(search, line_kw=[{}])
    with pytest.raises(ValueError, match="'names' must have an entry per curve .*, 1, got 2"):
        PathDisplay([1.0], scores=[[0.0]], names=["a", "b"]).plot()
    with pytest.raises(ValueError, match="'class_names' must have one name per .*, 2, got 3"):
        PathDisplay([1.0], coefs=np.ones((1, 2, 1)), class_names="abc").plot(kind="coefficients")


def test_matplotlib_is_needed_to_draw(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"PathDisplay.from_estimator needs matplotlib.*: pip"):
        from_estimator(SoftmaxClassifierCV())
    with pytest.raises(ImportError, match=r"PathDisplay.plot needs matplotlib.*: pip"):
        PathDisplay([1.0], scores=[[0.0]]).plot()


def test_leave_one_out():
    loo = fitted(cv="loo", select="1se")
    display = from_estimator(loo)
    order = np.argsort(CS)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), loo.scores_[0, 0, 0, order])
    lengths = np.ptp(error_bars_of(display.errorbar_[0]), axis=1)
    np.testing.assert_allclose(lengths, 2 * loo.standard_errors_[0, 0, order], rtol=1e-10)
    assert display.band_ is not None
