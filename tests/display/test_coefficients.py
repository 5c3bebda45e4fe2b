"""CoefficientDisplay: images and bars are the coefficients."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn.display import CoefficientDisplay

COEF = np.array([[0.5, -3.0, 0.0, 1.0, 2.0, -0.1], [4.0, 0.1, 0.2, 0.3, -0.4, -0.5]])
from_estimator = CoefficientDisplay.from_estimator


def labels_of(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def widths_of(bars):
    return [bar.get_width() for bar in bars]


def titles_of(display):
    return [ax.get_title() for ax in np.ravel(display.ax_)]


def rendered(display):
    """Draw the figure; a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        display.figure_.canvas.draw()


@pytest.fixture
def data(rng):
    X = rng.normal(size=(60, 6))
    return X, np.array(["ant", "bee", "cat"])[
        np.argmax(X[:, :3] + rng.normal(size=(60, 3)), axis=1)
    ]


# --- Images ---------------------------------------------------------------------------------------


def test_images():
    display = CoefficientDisplay(COEF).plot(image_shape=(2, 3))
    for image, row in zip(display.images_, COEF, strict=True):
        np.testing.assert_array_equal(image.get_array(), row.reshape(2, 3))
        assert image.get_clim() == (-4.0, 4.0)  # of all classes, and 0 is in the middle
    assert titles_of(display) == ["0", "1"]
    assert display.bars_ == []
    assert display.figure_ is display.ax_[0].figure
    assert len(display.figure_.axes) == 3  # with the colours
    rendered(display)


def test_scales_of_their_own():
    display = CoefficientDisplay(COEF).plot(image_shape=(2, 3), same_scale=False)
    assert [image.get_clim() for image in display.images_] == [(-3.0, 3.0), (-4.0, 4.0)]
    assert all(image.colorbar is not None for image in display.images_)
    rendered(display)


def test_one_scale_is_that_of_what_is_drawn():
    display = CoefficientDisplay(COEF).plot(image_shape=(2, 3), classes=0)
    assert display.images_[0].get_clim() == (-3.0, 3.0)
    assert display.ax_.get_title() == "0"


def test_coefficients_of_0():
    for same_scale in (False, True):
        display = CoefficientDisplay(np.zeros((2, 6))).plot(
            image_shape=(2, 3), same_scale=same_scale
        )
        assert display.images_[0].get_clim() == (-1.0, 1.0)
        rendered(display)
        rendered(display.plot(same_scale=same_scale))


def test_styles():
    display = CoefficientDisplay(COEF)
    display.plot(image_shape=(2, 3), im_kw={"cmap": "PuOr", "vmax": 1.0})
    assert display.images_[0].get_cmap().name == "PuOr"
    assert display.images_[0].get_clim() == (-4.0, 1.0)
    display.plot(bar_kw={"color": "gray"})
    assert {to_hex(bar.get_facecolor()) for bar in display.bars_[0]} == {to_hex("gray")}


# --- Bars -----------------------------------------------------------------------------------------


def test_bars():
    names = ["a", "b", "c", "d", "e", "f"]
    display = CoefficientDisplay(COEF, class_names=["left", "right"], feature_names=names)
    display.plot(n_features=3)
    left, right = display.ax_
    # from the bottom to the top
    assert labels_of(left) == ["b", "d", "e"]
    assert widths_of(display.bars_[0]) == [-3.0, 1.0, 2.0]
    assert labels_of(right) == ["f", "e", "a"]
    assert widths_of(display.bars_[1]) == [-0.5, -0.4, 4.0]
    colors = [to_hex(bar.get_facecolor()) for bar in display.bars_[1]]
    assert colors[0] == colors[1] != colors[2]
    assert left.get_xlim() == right.get_xlim()
    assert left.get_xlim()[0] < -3.0
    assert right.get_xlim()[1] > 4.0
    assert titles_of(display) == ["left", "right"]
    assert display.images_ == []
    rendered(display)
    display.plot(n_features=3, same_scale=False)
    assert display.ax_[0].get_xlim() != display.ax_[1].get_xlim()


def test_all_features_if_there_are_few():
    display = CoefficientDisplay(COEF).plot()
    assert labels_of(display.ax_[0]) == ["x1", "x5", "x2", "x0", "x3", "x4"]


def test_names_are_no_mathematics_and_are_cut():
    names = ["$5", "$\\frac$", "x" * 200, "d", "e", "f"]
    display = CoefficientDisplay(COEF, class_names=["$a$", "$\\b$"], feature_names=names).plot()
    assert labels_of(display.ax_[0])[0] == "$\\frac$"
    assert labels_of(display.ax_[0])[2] == "x" * 29 + "…"
    rendered(display)


# --- Classes --------------------------------------------------------------------------------------


def test_chosen_classes(data):
    clf = SoftmaxClassifier().fit(*data)
    display = from_estimator(clf, classes=["cat", "ant"], n_features=6)
    assert titles_of(display) == ["cat", "ant"]
    np.testing.assert_array_equal(widths_of(display.bars_[0]), np.sort(clf.coef_[2]))
    named = from_estimator(clf, class_names=["A", "B", "C"], classes="B", image_shape=[3, 2])
    assert named.ax_.get_title() == "B"
    np.testing.assert_array_equal(named.images_[0].get_array(), clf.coef_[1].reshape(3, 2))
    numbers = SoftmaxClassifier().fit(data[0], np.unique(data[1], return_inverse=True)[1] + 5)
    assert titles_of(from_estimator(numbers, classes=[7, 5])) == ["7", "5"]


def test_two_classes(data):
    X, y = data
    clf = SoftmaxClassifier().fit(X, y == "ant")
    display = from_estimator(clf, class_names=["other", "ant"], n_features=6)
    assert titles_of(display) == ["ant (+) or other (-)"]
    np.testing.assert_array_equal(widths_of(display.bars_[0]), np.sort(clf.coef_[0]))
    assert titles_of(from_estimator(clf)) == ["True (+) or False (-)"]
    with pytest.raises(ValueError, match="'classes' must be None .* those of True; got"):
        from_estimator(clf, classes=[True])


def test_labels(data):
    X, y = data
    clf = SoftmaxClassifier().fit(X, np.stack([y == "ant", y == "bee"], axis=1).astype(int))
    assert titles_of(from_estimator(clf)) == ["0", "1"]
    assert titles_of(from_estimator(clf, class_names=["ant", "bee"])) == ["ant", "bee"]
    assert titles_of(CoefficientDisplay(COEF[:1]).plot()) == ["0"]


def test_many_classes():
    coef = np.arange(964.0 * 6).reshape(964, 6)
    display = CoefficientDisplay(coef)
    message = "more than 30, got None for 964; for example classes=\\[0, 1, 2\\]"
    with pytest.raises(ValueError, match=message):
        display.plot()
    assert plt.get_fignums() == []
    np.testing.assert_array_equal(
        display.plot(classes=[963], image_shape=(2, 3)).images_[0].get_array().ravel(), coef[963]
    )
    assert len(display.plot(classes=range(31), n_features=1).bars_) == 31  # as asked for
    assert len(CoefficientDisplay(coef[:30]).plot(n_features=1).bars_) == 30


# --- Where names come from ------------------------------------------------------------------------


def test_names_of_a_dataframe(data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcdef"))
    clf = SoftmaxClassifier().fit(frame, y)
    assert set(labels_of(from_estimator(clf, classes="ant").ax_)) == set("abcdef")
    other = from_estimator(clf, classes="ant", feature_names=list("ABCDEF"))
    assert set(labels_of(other.ax_)) == set("ABCDEF")
    scaled = make_pipeline(StandardScaler(), SoftmaxClassifier()).fit(frame, y)
    assert set(labels_of(from_estimator(scaled, classes="ant").ax_)) == set("abcdef")


def test_words_of_a_text():
    texts = ["good fine", "good great", "bad poor", "bad awful"] * 3
    y = ["praise", "praise", "blame", "blame"] * 3
    text = make_pipeline(CountVectorizer(), SoftmaxClassifier())
    search = GridSearchCV(text, {"softmaxclassifier__C": [1.0]}, cv=3)
    for estimator in (text.fit(texts, y), search.fit(texts, y)):
        display = from_estimator(estimator, n_features=2)
        assert labels_of(display.ax_) == ["bad", "good"]
        assert titles_of(display) == ["praise (+) or blame (-)"]


def test_steps_that_know_no_names(data):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(), SoftmaxClassifier()).fit(X, y)
    assert set(labels_of(from_estimator(pipeline, classes="ant").ax_)) == {
        f"x{j}" for j in range(6)
    }


# --- Axes -----------------------------------------------------------------------------------------


def test_axes_of_ones_own():
    _, axes = plt.subplots(2, 1)
    for arguments in ({"image_shape": (2, 3)}, {}):
        display = CoefficientDisplay(COEF).plot(axes, **arguments)
        assert list(display.ax_) == list(axes)
    figure, ax = plt.subplots()
    display = CoefficientDisplay(COEF).plot(ax, classes=[1])
    assert display.ax_ is ax
    assert display.figure_ is figure


# --- Other estimators, wrong arguments ------------------------------------------------------------


def test_other_linear_classifiers(data):
    clf = LogisticRegression().fit(*data)
    display = from_estimator(clf, classes="bee", image_shape=(3, 2))
    np.testing.assert_array_equal(display.images_[0].get_array().ravel(), clf.coef_[1])


def test_estimators_without_coefficients(data):
    with pytest.raises(NotFittedError):
        from_estimator(SoftmaxClassifier())
    with pytest.raises(ValueError, match="attribute 'coef_', .* got a GaussianNB; class"):
        from_estimator(GaussianNB().fit(*data))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_shape": (2, 2)}, r"'image_shape' must be .* 6, got \(2, 2\); None draws"),
        ({"image_shape": (1, 2, 3)}, r"'image_shape' must be .* 6, got \(1, 2, 3\)"),
        ({"image_shape": (-2, -3)}, r"'image_shape' must be"),
        ({"image_shape": 6}, r"'image_shape' must be .* got 6"),
        ({"image_shape": (2.0, 3.0)}, r"'image_shape' must be .* got \(2\.0, 3\.0\)"),
        ({"n_features": 0}, "'n_features' must be an integer >= 1, got 0"),
        ({"classes": ["dog"]}, r"'classes' must be among \['ant', 'bee'\], got \['dog'\]; the"),
        ({"classes": []}, r"'classes' must be among .*, got \[\]"),
    ],
)
def test_errors(arguments, message):
    display = CoefficientDisplay(COEF, class_names=["ant", "bee"])
    with pytest.raises(ValueError, match=message):
        display.plot(**arguments)


def test_regressors_need_names(data):
    ridge = Ridge().fit(data[0], np.eye(2)[np.arange(len(data[0])) % 2])
    with pytest.raises(ValueError, match="'classes_'.* got a Ridge; for others pass 'class_names'"):
        from_estimator(ridge)
    assert titles_of(from_estimator(ridge, class_names=["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
def test_sparse_coefficients(make):
    display = CoefficientDisplay(make(COEF)).plot(n_features=1)
    assert widths_of(display.bars_[0]) == [-3.0]
    images = CoefficientDisplay(make(COEF)).plot(image_shape=(1, COEF.shape[1])).images_
    for image, row in zip(images, COEF, strict=True):
        np.testing.assert_array_equal(image.get_array().ravel(), row)


def test_rows_that_are_not_drawn_are_not_expanded():
    coef = sparse.csr_array(([1.0, 2.0], ([3, 7], [5, 6])), shape=(2_000_000, 100_000))
    display = CoefficientDisplay(coef).plot(classes=[7], n_features=1)
    assert widths_of(display.bars_[0]) == [2.0]


def test_names_that_do_not_fit():
    with pytest.raises(ValueError, match="'class_names' must have one name per row .*, 2, got 3"):
        CoefficientDisplay(COEF, class_names=["a", "b", "c"]).plot()
    with pytest.raises(ValueError, match="'class_names' must have .*, 1, or two, got 3"):
        CoefficientDisplay(COEF[:1], class_names=["a", "b", "c"]).plot()
    with pytest.raises(ValueError, match="'feature_names' must have a name per feature, 6, got 1"):
        CoefficientDisplay(COEF, feature_names=["a"]).plot()
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="'ax' must be None or as many axes .*, 2, got 1; make"):
        CoefficientDisplay(COEF).plot(ax)
