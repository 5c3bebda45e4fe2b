"""CoefficientDisplay: the weights of a classifier, as images or as bars of the top features."""

import numpy as np
from scipy import sparse
from sklearn.pipeline import Pipeline

from .._utils.messages import listed, shown
from .._utils.parameters import POSITIVE_INTEGER
from .axes import axes_for_panels, require_matplotlib
from .estimators import fitted_classifier

POSITIVE, NEGATIVE = "#B2182B", "#2166AC"  # as at the ends of the colours of images


class CoefficientDisplay:
    """Coefficients of a linear classifier: an image, or bars of the top features, per class.

    ``from_estimator`` is the usual way to make one.

    Parameters
    ----------
    coef : {array-like, sparse matrix} of shape (n_outputs, n_features)
        Coefficients, such as ``coef_`` of a ``SoftmaxClassifier``.
    class_names : sequence of n_outputs labels or None, default=None
        Names of the rows of ``coef``, or of both classes of a model of two classes that has a
        single row; None means 0, 1, ...
    feature_names : sequence of n_features str or None, default=None
        Names of the features; None means x0, x1, ...

    Attributes
    ----------
    images_ : list of matplotlib.image.AxesImage
        The images, if ``image_shape`` was given; otherwise it is empty.
    bars_ : list of matplotlib.container.BarContainer
        The bars, if ``image_shape`` was not given; otherwise it is empty.
    ax_ : matplotlib.axes.Axes or ndarray of them
        The axes of each class that was drawn; not an array if there is a single one.
    figure_ : matplotlib.figure.Figure
        The figure that contains the axes.

    See Also
    --------
    sklearn.inspection.permutation_importance : How much the score depends on each feature.

    Notes
    -----
    A coefficient is the change of a logit per unit of its feature: coefficients of features in
    other units do not compare. Standardise the features first (``StandardScaler`` in a pipeline)
    to compare their influence.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.display import CoefficientDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = SoftmaxClassifier().fit(X, y)
    >>> display = CoefficientDisplay.from_estimator(clf, image_shape=(8, 8))
    >>> len(display.images_)
    10
    >>> CoefficientDisplay.from_estimator(clf, classes=[3, 8], n_features=5)  # bars
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(self, coef, *, class_names=None, feature_names=None):
        self.coef = coef
        self.class_names = class_names
        self.feature_names = feature_names

    def plot(
        self,
        ax=None,
        *,
        classes=None,
        image_shape=None,
        n_features=10,
        same_scale=True,
        im_kw=None,
        bar_kw=None,
    ):
        """Draw a panel per class.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, array-like of them or None, default=None
            Axes, one per class; those of a new figure if None.
        classes : label, sequence of labels or None, default=None
            The classes to draw, by their names (``class_names``), in this order. None means all, of
            which there may be 30.
        image_shape : tuple (height, width) or None, default=None
            Draw the coefficients of a class as an image of this shape, in which blue is negative
            and red positive. None means bars.
        n_features : int, default=10
            Number of bars: the features whose coefficients are largest in absolute value.
        same_scale : bool, default=True
            Whether all classes share a scale, of colours or of bars.
        im_kw : dict or None, default=None
            Keyword arguments of ``Axes.imshow``.
        bar_kw : dict or None, default=None
            Keyword arguments of ``Axes.barh``.

        Returns
        -------
        display : CoefficientDisplay
            This display, with the attributes ``images_``, ``bars_``, ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If ``classes`` are unknown, or needed because there are more than 30; if names, axes or
            the shape of an image do not fit the coefficients.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        is_sparse = sparse.issparse(self.coef)
        coef = self.coef.tocsr() if is_sparse else np.atleast_2d(self.coef)
        panels = self._panels(coef.shape[0], classes)
        rows = coef[[row for row, _ in panels]]  # those of the classes that are drawn
        rows = rows.toarray() if is_sparse else rows
        title_width = _width_of(title for _, title in panels)
        if image_shape is None:
            POSITIVE_INTEGER.check("n_features", n_features)
            style = bar_kw or {}
            axes = self._draw_bars(ax, rows, title_width, n_features, same_scale, style)
        else:
            style = im_kw or {}
            axes = self._draw_images(ax, rows, title_width, image_shape, same_scale, style)
        for each, (_, title) in zip(axes, panels, strict=True):
            each.set_title(title, fontsize="medium", parse_math=False)  # "$" is a character
        self.ax_ = axes if len(axes) > 1 else axes[0]
        self.figure_ = axes[0].figure
        return self

    def _draw_images(self, ax, rows, title_width, shape, same_scale, style):
        """Return the axes, with an image on each."""
        height, width = _checked_shape(shape, len(rows[0]))
        size = max(1.25 if same_scale else 1.9, title_width), 0.25 + 1.15 * height / width
        axes = axes_for_panels(ax, len(rows), size)
        limits = [np.abs(row).max() or 1.0 for row in rows]  # all may be 0
        if same_scale:
            limits = [max(limits)] * len(rows)
        self.images_, self.bars_ = [], []
        for each, row, limit in zip(axes, rows, limits, strict=True):
            default = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
            self.images_.append(each.imshow(row.reshape(shape), **{**default, **style}))
            each.set(xticks=[], yticks=[])
            if not same_scale:
                each.figure.colorbar(self.images_[-1], ax=each)
        if same_scale:
            each.figure.colorbar(self.images_[0], ax=list(axes), label="coefficient")
        return axes

    def _draw_bars(self, ax, rows, title_width, n_features, same_scale, style):
        """Return the axes, with the bars of the top features on each."""
        names = self._feature_names(len(rows[0]))
        values, labels = [], []
        for row in rows:
            top = np.argsort(-np.abs(row), kind="stable")[:n_features]
            top = top[np.argsort(row[top], kind="stable")]
            values.append(row[top])
            labels.append([_short(names[j]) for j in top])
        at = np.arange(len(top))
        label_width = _width_of(label for texts in labels for label in texts)
        size = label_width + max(1.5, title_width), 0.7 + 0.19 * len(top)
        axes = axes_for_panels(ax, len(rows), size)
        self.images_, self.bars_ = [], []
        for each, value, texts in zip(axes, values, labels, strict=True):
            default = {"color": [NEGATIVE if v < 0 else POSITIVE for v in value]}
            self.bars_.append(each.barh(at, value, **{**default, **style}))
            each.set_yticks(at, texts, parse_math=False)
            each.set_xlabel("coefficient")
            each.axvline(0, color="black", linewidth=0.8)
        if same_scale:
            lower, upper = min(0, np.min(values)), max(0, np.max(values))
            margin = 0.05 * (upper - lower) or 1.0
            for each in axes:
                each.set_xlim(lower - margin, upper + margin)
        return axes

    def _feature_names(self, n_features):
        if self.feature_names is None:
            return [f"x{j}" for j in range(n_features)]
        if len(self.feature_names) != n_features:
            raise ValueError(
                f"'feature_names' must have a name per feature, {n_features}, got "
                f"{len(self.feature_names)}; get_feature_names_out() of a transformer gives them."
            )
        return self.feature_names

    def _panels(self, n_outputs, classes):
        """Return (row of ``coef``, title) of each panel."""
        names = list(range(n_outputs) if self.class_names is None else self.class_names)
        if n_outputs == 1 and len(names) == 2:
            if classes is not None:
                raise ValueError(
                    "'classes' must be None for a model of two classes with a single row of "
                    f"coefficients, which are those of {shown(names[1])}; got {classes!r}."
                )
            return [(0, f"{_short(names[1])} (+) or {_short(names[0])} (-)")]
        if len(names) != n_outputs:
            raise ValueError(
                f"'class_names' must have one name per row of coefficients, {n_outputs}"
                f"{', or two' * (n_outputs == 1)}, got {len(names)}."
            )
        if classes is None:
            if n_outputs > 30:
                raise ValueError(
                    "'classes' must say which classes to draw if there are more than 30, got None "
                    f"for {n_outputs}; for example classes={listed(names[:3])}."
                )
            classes = names
        rows = {name: row for row, name in enumerate(names)}
        classes = [classes] if np.ndim(classes) == 0 else list(classes)
        unknown = [label for label in classes if label not in rows]
        if unknown or not classes:
            raise ValueError(
                f"'classes' must be among {listed(names)}, got {listed(unknown)}; the names are "
                "those of 'class_names' if that was given, otherwise 'classes_'."
            )
        return [(rows[label], _short(label)) for label in classes]

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        classes=None,
        class_names=None,
        feature_names=None,
        image_shape=None,
        n_features=10,
        same_scale=True,
        ax=None,
        im_kw=None,
        bar_kw=None,
    ):
        """Draw the coefficients of a fitted linear classifier.

        Parameters
        ----------
        estimator : estimator
            A fitted ``SoftmaxClassifier`` or another classifier with ``coef_``, a pipeline that
            ends in one, or a search (``GridSearchCV``) whose best estimator is one.
        classes : label, sequence of labels or None, default=None
            The classes to draw, in this order, as in ``plot``: labels in ``classes_``, or, if
            ``class_names`` are given, these names.
        class_names : sequence of n_classes str or None, default=None
            Names for the classes or labels; None means ``classes_``.
        feature_names : sequence of n_features str or None, default=None
            Names of the features that the classifier sees. None means those that come out of the
            steps of a pipeline before it, or ``feature_names_in_``, or x0, x1, ... if there are
            none.
        image_shape : tuple (height, width) or None, default=None
            The shape of images, as in ``plot``; None means bars.
        n_features : int, default=10
            Number of bars per class, as in ``plot``.
        same_scale : bool, default=True
            Whether all classes share a scale, of colours or of bars.
        ax : matplotlib.axes.Axes, array-like of them or None, default=None
            Axes, one per class; those of a new figure if None.
        im_kw : dict or None, default=None
            Keyword arguments of ``Axes.imshow``.
        bar_kw : dict or None, default=None
            Keyword arguments of ``Axes.barh``.

        Returns
        -------
        display : CoefficientDisplay
            A display with the coefficients and the names.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it has no coefficients, and as in ``plot``.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        advice = "classifiers that are not linear have none"
        classifier, steps = fitted_classifier(estimator, "coef_", advice)
        if class_names is None:
            fitted_classifier(estimator, "classes_", "for others pass 'class_names'")
        display = cls(
            classifier.coef_,
            class_names=classifier.classes_ if class_names is None else class_names,
            feature_names=(
                _names_of_features(classifier, steps) if feature_names is None else feature_names
            ),
        )
        return display.plot(
            ax,
            classes=classes,
            image_shape=image_shape,
            n_features=n_features,
            same_scale=same_scale,
            im_kw=im_kw,
            bar_kw=bar_kw,
        )


def _short(name):
    """Return a name as a text of at most 30 letters."""
    text = str(name)
    return text if len(text) <= 30 else f"{text[:29]}…"


def _width_of(texts):
    """Estimate the width of the longest text, in inches, from that of a letter of usual size."""
    return 0.085 * max(map(len, texts))


def _names_of_features(classifier, steps):
    """Return the names of what comes out of the steps, or else of what went into the classifier."""
    if steps:
        try:
            return Pipeline(steps).get_feature_names_out()
        except (AttributeError, ValueError):  # a step does not know them
            pass
    return getattr(classifier, "feature_names_in_", None)


def _checked_shape(shape, n_features):
    """Return the height and the width of an image that has a pixel per feature."""
    whole = np.shape(shape) == (2,) and np.asarray(shape).dtype.kind in "iu"
    if not (whole and np.prod(shape) == n_features and min(shape) > 0):
        raise ValueError(
            "'image_shape' must be a height and a width whose product is the number of features, "
            f"{n_features}, got {shape!r}; None draws the top features as bars."
        )
    return shape
