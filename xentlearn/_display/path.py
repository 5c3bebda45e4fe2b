"""PathDisplay: scores of a search, or coefficients, along C."""

import numpy as np
from scipy import sparse

from .._selection.choice import choose
from .._utils.messages import listed, shown
from .._utils.parameters import POSITIVE_INTEGER, Rule
from .axes import COLORS, add_legend, axes_for_curves, label_axes, line_style, require_matplotlib
from .coefficients import _names_of_features, _short
from .estimators import fitted_classifier

KIND = Rule("'scores' or 'coefficients'", names=("scores", "coefficients"))
LINE_STYLES = ("-", "--", ":", "-.")  # of features; the next one where the colours begin anew


class PathDisplay:
    """Mean scores of a search along C, or the coefficients of a path.

    ``from_estimator`` is the usual way to make one. To compare searches, draw each of them on the
    ``ax_`` of the first.

    Parameters
    ----------
    Cs : array-like of shape (n_Cs,)
        Values of C, in any order; inf means no penalty.
    scores : array-like of shape (n_curves, n_Cs) or None, default=None
        Mean scores, higher is better, with a curve per ``l1_ratio`` and loss.
    standard_errors : array-like of shape (n_curves, n_Cs) or None, default=None
        Standard errors of the mean scores, nan where none is known. None means no error bars.
    names : sequence of n_curves str or None, default=None
        Names of the curves for the legend; None means none.
    score_name : str, default="score"
        What the score is, for the label of the axis.
    coefs : array-like of shape (n_Cs, n_outputs, n_features) or None, default=None
        Coefficients for each C.
    class_names : sequence of labels or None, default=None
        Names of the outputs, or of both classes of a model of two classes that has a single output;
        None means 0, 1, ...
    feature_names : sequence of n_features str or None, default=None
        Names of the features; None means x0, x1, ...
    chosen : tuple (curve, C) of int or None, default=None
        Indices of the chosen setting, which is marked.
    best : tuple (curve, C) of int or None, default=None
        Indices of the setting with the best score, where another one may have been chosen: it is
        marked with the band of one standard error around its score.

    Attributes
    ----------
    lines_ : list of matplotlib.lines.Line2D
        The curves of the scores, or of the features with a name, the strongest first.
    errorbar_ : list of matplotlib.container.ErrorbarContainer
        The curves of scores with their error bars; of coefficients it is empty.
    others_ : matplotlib.collections.LineCollection or None
        The curves of the features without a name, if there are any.
    chosen_ : matplotlib.lines.Line2D or None
        The mark of the chosen setting: a star, or a vertical line among coefficients.
    best_ : matplotlib.lines.Line2D or None
        The mark of the best score, a circle, if ``best`` was given and scores are drawn.
    band_ : matplotlib.patches.Rectangle or None
        The band of one standard error around the best score, if there is one.
    ax_ : matplotlib.axes.Axes
        The axes with the curves.
    figure_ : matplotlib.figure.Figure
        The figure that contains the axes.

    See Also
    --------
    xentlearn.SoftmaxClassifierCV : Chooses C, and records the scores.
    xentlearn.regularization_path : Fits a classifier for one C after the other.
    CoefficientDisplay : The coefficients of a single classifier.

    Notes
    -----
    C = inf, which has no place on a logarithmic axis, is drawn a power of ten to the right of the
    largest other value. The axis says so.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import SoftmaxClassifierCV, regularization_path
    >>> from xentlearn.display import PathDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> search = SoftmaxClassifierCV(Cs=[0.01, 0.1, 1, 10], l1_ratios=(0, 1), cv=3).fit(X, y)
    >>> display = PathDisplay.from_estimator(search)
    >>> display.names
    ['l1_ratio=0', 'l1_ratio=1']
    >>> path = regularization_path(X, y, [0.01, 0.1, 1, 10])
    >>> PathDisplay.from_estimator(path, kind="coefficients", class_of_interest=2)
    <...>
    >>> plt.show()  # doctest: +SKIP
    """

    def __init__(
        self,
        Cs,
        *,
        scores=None,
        standard_errors=None,
        names=None,
        score_name="score",
        coefs=None,
        class_names=None,
        feature_names=None,
        chosen=None,
        best=None,
    ):
        self.Cs = Cs
        self.scores = scores
        self.standard_errors = standard_errors
        self.names = names
        self.score_name = score_name
        self.coefs = coefs
        self.class_names = class_names
        self.feature_names = feature_names
        self.chosen = chosen
        self.best = best

    def plot(self, ax=None, *, kind="scores", class_of_interest=None, max_features=7, line_kw=None):
        """Draw scores with their errors, or coefficients, along log C.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            The axes to draw on; new ones in a new figure if None. Axes that have curves already get
            these as well, in the next colours, and a legend of them all.
        kind : {"scores", "coefficients"}, default="scores"
            What to draw. Error bars of scores are one standard error long to either side.
        class_of_interest : label or None, default=None
            The class or the label whose coefficients are drawn, by its name (``class_names``). None
            means the Euclidean norm of the coefficients of each feature over all outputs; for a
            model with a single output it means the coefficients themselves. Scores ignore it.
        max_features : int, default=7
            Number of features with a colour and a name in the legend: those whose coefficients are
            largest in absolute value at the chosen C, or anywhere if none was chosen. Others are
            grey; those that are 0 everywhere are left out.
        line_kw : dict, list of n_curves dicts or None, default=None
            Keyword arguments of ``Axes.plot``, for all curves or for each curve of the scores.

        Returns
        -------
        display : PathDisplay
            This display, with the attributes ``lines_``, ``errorbar_``, ``others_``, ``chosen_``,
            ``best_``, ``band_``, ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If the display does not hold what shall be drawn, if there is no such class, or if names
            do not fit.
        """
        require_matplotlib(f"{type(self).__name__}.plot")
        KIND.check("kind", kind)
        if kind == "scores" and self.scores is None:
            raise ValueError(
                "'kind' must be 'coefficients' for a path without scores, got 'scores'; a "
                "SoftmaxClassifierCV has scores."
            )
        if kind == "coefficients" and self.coefs is None:
            raise ValueError(
                "'kind' must be 'scores' for a search that has not kept its coefficients, got "
                "'coefficients'; fit SoftmaxClassifierCV with store_paths=True, or pass what "
                "regularization_path returns."
            )
        order = np.argsort(self.Cs, kind="stable")
        at, x_label = _places(np.asarray(self.Cs, dtype=float))
        self.errorbar_, self.others_ = [], None
        self.chosen_ = self.best_ = self.band_ = None
        if kind == "scores":
            self._draw_scores(ax, at, order, x_label, line_kw)
        else:
            POSITIVE_INTEGER.check("max_features", max_features)
            curves, y_label = self._curves(class_of_interest)
            self._draw_coefs(ax, at, order, curves, (x_label, y_label), max_features, line_kw)
        self.figure_ = self.ax_.figure
        self.ax_.set_xscale("log")
        add_legend(self.ax_)
        return self

    # ---- Scores ----------------------------------------------------------------------------------

    def _draw_scores(self, ax, at, order, x_label, line_kw):
        """Draw a curve with error bars per row of ``scores``, and the marks."""
        scores = np.atleast_2d(np.asarray(self.scores, dtype=float))
        errors = [None] * len(scores)
        if self.standard_errors is not None:
            errors = np.atleast_2d(np.asarray(self.standard_errors, dtype=float))
        names = [None] * len(scores) if self.names is None else self.names
        styles = line_kw if isinstance(line_kw, list) else [line_kw] * len(scores)
        for parameter, values in (("names", names), ("line_kw", styles)):
            if len(values) != len(scores):
                raise ValueError(
                    f"'{parameter}' must have an entry per curve of 'scores', {len(scores)}, got "
                    f"{len(values)}; None is for all of them."
                )
        self.ax_ = ax = axes_for_curves(ax)
        label_axes(ax, x_label, self.score_name)
        for curve, error, name, style in zip(scores, errors, names, styles, strict=True):
            default = {"label": name, "marker": ".", "capsize": 2, "elinewidth": 0.8}
            y_error = None if error is None else error[order]
            style = line_style(default, style)
            self.errorbar_.append(ax.errorbar(at[order], curve[order], y_error, **style))
        self.lines_ = [bars.lines[0] for bars in self.errorbar_]
        if self.best is not None:
            score = scores[self.best]
            error = np.nan if errors[self.best[0]] is None else errors[self.best[0]][self.best[1]]
            style = {"marker": "o", "markersize": 11, "fillstyle": "none"}
            self.best_ = self._mark(at, scores, self.best, "best", style)
            if np.isfinite(error):
                style = {"color": "silver", "alpha": 0.4, "linewidth": 0, "zorder": 0.5}
                label = "within one standard error of the best"
                self.band_ = ax.axhspan(score - error, score + error, label=label, **style)
        if self.chosen is not None:
            style = {"marker": "*", "markersize": 11}
            self.chosen_ = self._mark(at, scores, self.chosen, "chosen", style)

    def _mark(self, at, scores, where, word, style):
        """Mark a setting on its curve."""
        name = None if self.names is None else self.names[where[0]]
        label = f"{word}: {', '.join(filter(None, [name, _in_words(self.Cs[where[1]])]))}"
        color = self.lines_[where[0]].get_color()
        style = {"color": color, "linestyle": "none", "zorder": 3, **style}
        (mark,) = self.ax_.plot([at[where[1]]], [scores[where]], label=label, **style)
        return mark

    # ---- Coefficients ----------------------------------------------------------------------------

    def _curves(self, class_of_interest):
        """Return the curves of all features, of shape (n_features, n_Cs), and what they are."""
        coefs = np.asarray(self.coefs, dtype=float)
        n_outputs = coefs.shape[1]
        names = list(range(n_outputs) if self.class_names is None else self.class_names)
        if n_outputs == 1 and len(names) == 2:
            if class_of_interest is not None:
                raise ValueError(
                    "'class_of_interest' must be None for a model of two classes with a single row "
                    f"of coefficients, which are those of {shown(names[1])}; got "
                    f"{shown(class_of_interest)}."
                )
            return coefs[:, 0].T, f"coefficient for {_label(names[1])}"
        if len(names) != n_outputs:
            raise ValueError(
                f"'class_names' must have one name per output of 'coefs', {n_outputs}"
                f"{', or two' * (n_outputs == 1)}, got {len(names)}."
            )
        if class_of_interest is None:
            if n_outputs == 1:
                return coefs[:, 0].T, "coefficient"
            return np.linalg.norm(coefs, axis=1).T, "norm of coefficients over classes"
        rows = [row for row, name in enumerate(names) if name == class_of_interest]
        if not rows:
            raise ValueError(
                f"'class_of_interest' must be None or one of {listed(names)}, got "
                f"{shown(class_of_interest)}."
            )
        return coefs[:, rows[0]].T, f"coefficient for {_label(class_of_interest)}"

    def _draw_coefs(self, ax, at, order, curves, labels, max_features, line_kw):
        """Draw a line per feature, with names for the strongest."""
        from matplotlib.collections import LineCollection

        names = self.feature_names
        if names is None:
            names = [f"x{j}" for j in range(len(curves))]
        if len(names) != len(curves):
            raise ValueError(
                f"'feature_names' must have a name per feature, {len(curves)}, got {len(names)}."
            )
        sizes = np.nan_to_num(np.abs(curves))
        sizes = sizes.max(axis=1) if self.chosen is None else sizes[:, self.chosen[1]]
        ranked = np.argsort(-sizes, kind="stable")
        ranked = ranked[np.nan_to_num(curves[ranked]).any(axis=1)]
        self.ax_ = ax = axes_for_curves(ax)
        label_axes(ax, *labels)
        others = ranked[max_features:]
        if len(others):
            segments = [np.column_stack([at[order], curves[j, order]]) for j in others]
            style = {"colors": "silver", "linewidths": 0.8, "zorder": 1, "label": "others"}
            self.others_ = ax.add_collection(LineCollection(segments, **style))
        self.lines_ = []
        for i, j in enumerate(ranked[:max_features]):
            linestyle = LINE_STYLES[i // len(COLORS) % len(LINE_STYLES)]
            default = {"label": _label(names[j]), "linestyle": linestyle}
            self.lines_ += ax.plot(at[order], curves[j, order], **line_style(default, line_kw))
        ax.axhline(0, color="black", linewidth=0.8, zorder=0.5)
        if self.chosen is not None:
            C = self.Cs[self.chosen[1]]
            style = {"color": "black", "linestyle": ":", "label": f"chosen: {_in_words(C)}"}
            self.chosen_ = ax.axvline(at[self.chosen[1]], **style)

    # ---- From estimators -------------------------------------------------------------------------

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        kind="scores",
        scoring=None,
        class_of_interest=None,
        feature_names=None,
        max_features=7,
        name=None,
        ax=None,
        line_kw=None,
    ):
        """Draw the scores of a fitted search along C, or coefficients.

        Parameters
        ----------
        estimator : estimator or list of classifiers
            A fitted ``SoftmaxClassifierCV``, a pipeline that ends in one, or a search
            (``GridSearchCV``) whose best estimator is one. For coefficients also the list that
            ``regularization_path`` returns.
        kind : {"scores", "coefficients"}, default="scores"
            "scores" are mean scores over the folds, with error bars of one standard error, a curve
            per ``l1_ratio`` and loss. The chosen C is marked; with ``select="1se"`` also the best
            one, with the band of one standard error around its score.

            "coefficients" are those of a list, or, for a search that was fitted with
            ``store_paths=True``, means over the folds at the chosen ``l1_ratio`` and loss.
        scoring : str or None, default=None
            Which score of a search with several. None means the one that ``refit`` names.
        class_of_interest : label or None, default=None
            The class whose coefficients are drawn, as in ``plot``: a label in ``classes_``.
        feature_names : sequence of n_features str or None, default=None
            Names of the features that the classifier sees. None means those that come out of the
            steps of a pipeline before it, or ``feature_names_in_``, or x0, x1, ... if there are
            none.
        max_features : int, default=7
            Number of features with a colour and a name, as in ``plot``.
        name : str or None, default=None
            Name of the search for the legend of scores.
        ax : matplotlib.axes.Axes or None, default=None
            The axes to draw on; new ones in a new figure if None.
        line_kw : dict, list of n_curves dicts or None, default=None
            Keyword arguments of ``Axes.plot``, as in ``plot``.

        Returns
        -------
        display : PathDisplay
            A display with the scores and the coefficients that there are.

        Raises
        ------
        NotFittedError
            If the estimator has not been fitted.
        ValueError
            If it is no such search or list, if ``scoring`` is not among its scores, and as in
            ``plot``.
        """
        require_matplotlib(f"{cls.__name__}.from_estimator")
        if isinstance(estimator, (list, tuple)):
            found, classifier, steps = _of_list(estimator), estimator[0], []
        else:
            classifier, steps = estimator, []
            if not hasattr(estimator, "standard_errors_"):  # without a refit, it cannot predict
                advice = "SoftmaxClassifierCV has scores along C"
                classifier, steps = fitted_classifier(estimator, "standard_errors_", advice)
            found = _of_search(classifier, scoring, name)
        if feature_names is None:
            feature_names = _names_of_features(classifier, steps)
        class_names = getattr(classifier, "classes_", None)  # without a refit there are none
        display = cls(**found, class_names=class_names, feature_names=feature_names)
        return display.plot(
            ax,
            kind=kind,
            class_of_interest=class_of_interest,
            max_features=max_features,
            line_kw=line_kw,
        )


def _of_list(classifiers):
    """Return what a display holds of the classifiers of a path, by name."""
    rule = "a list of 'estimator' must hold the fitted classifiers of regularization_path"
    if not classifiers:
        raise ValueError(f"{rule}, got an empty one.")
    for one in classifiers:
        if not (hasattr(one, "C") and hasattr(one, "coef_")):
            raise ValueError(f"{rule}, got {shown(one)}, which has no 'C' or no 'coef_'.")
    shapes = sorted({one.coef_.shape for one in classifiers})
    if len(shapes) > 1:
        raise ValueError(
            f"{rule}, got coefficients of the shapes {shapes}; pass one path at a time."
        )
    coefs = [one.coef_ for one in classifiers]
    coefs = [coef.toarray() if sparse.issparse(coef) else coef for coef in coefs]
    return {"Cs": np.array([one.C for one in classifiers]), "coefs": np.array(coefs)}


def _of_search(search, scoring, name):
    """Return what a display holds of a ``SoftmaxClassifierCV``, by name."""
    ruling, drawn = _which_scores(search, scoring)
    means, errors = _means_and_errors(search, drawn)
    n_losses, n_l1_ratios, n_Cs = means.shape
    losses = map(str, search.losses_) if n_losses > 1 else [""]
    l1_ratios = [f"l1_ratio={ratio:g}" for ratio in search.l1_ratios_] if n_l1_ratios > 1 else [""]
    names = [
        ", ".join(filter(None, [name, loss, l1_ratio])) for loss in losses for l1_ratio in l1_ratios
    ]
    loss, l1, best_C = choose(*_means_and_errors(search, ruling), search.Cs_, "best")
    curve = loss * n_l1_ratios + l1
    found = {
        "Cs": search.Cs_,
        "scores": means.reshape(-1, n_Cs),
        "standard_errors": errors.reshape(-1, n_Cs),
        "names": names if any(names) else None,
        "score_name": _name_of_score(search) if drawn is None else drawn,
    }
    if hasattr(search, "C_"):  # something was chosen
        found["chosen"] = curve, int(np.flatnonzero(search.Cs_ == search.C_)[0])
        if search.select == "1se" and drawn == ruling:
            found["best"] = curve, best_C
    if hasattr(search, "coefs_paths_"):
        of_setting = search.coefs_paths_[:, loss, l1, :, :, : search.n_features_in_]
        found["coefs"] = of_setting.mean(axis=0, dtype=float)
    return found


def _which_scores(search, scoring):
    """Return the names of the score that chooses and of the one to draw; None if it has no name."""
    scores = search.scores_
    if not isinstance(scores, dict):
        if scoring is not None:
            raise ValueError(
                f"'scoring' must be None for a search with a single score, got {scoring!r}."
            )
        return None, None
    drawn = search.refit or None if scoring is None else scoring
    if drawn not in list(scores):
        advice = "" if search.refit else "; with refit=False no score has chosen, so name one"
        raise ValueError(
            f"'scoring' must be among the scores of the search, {sorted(scores)}, got "
            f"{scoring!r}{advice}."
        )
    return search.refit or drawn, drawn


def _means_and_errors(search, name):
    """Return mean scores and standard errors, both of shape (n_losses, n_l1_ratios, n_Cs)."""
    scores, errors = search.scores_, search.standard_errors_
    if name is not None:
        scores, errors = scores[name], errors[name]
    means = scores.mean(axis=0)
    if np.isnan(means).all():  # no setting has all folds: the search was interrupted
        with np.errstate(invalid="ignore"):
            means = np.nansum(scores, axis=0) / np.isfinite(scores).sum(axis=0)
    return means, errors


def _name_of_score(search):
    """Return what a single score is, for the label of an axis."""
    if search.scoring is None:
        return "minus the mean loss" if search.losses is None else "neg_log_loss"
    return search.scoring if isinstance(search.scoring, str) else "score"


def _places(Cs):
    """Return where each C is on the axis, and the label of the axis."""
    finite = Cs[np.isfinite(Cs)]
    if len(finite) == len(Cs):
        return Cs, "C"
    end = 10.0 * finite.max() if len(finite) else 1.0
    return np.where(np.isfinite(Cs), Cs, end), "C (at the right end: no penalty, C = inf)"


def _in_words(C):
    return f"C = {C:.3g}"


def _label(name):
    """Return a name as a label: "$" is a character, and it is in the legend whatever it is."""
    text = _short(name).replace("$", r"\$")
    return f" {text}" if text[:1] == "_" else text  # matplotlib leaves out what begins with "_"
