"""SoftmaxClassifierCV: its parameters, and ``fit``."""

import copy

import numpy as np
from joblib import effective_n_jobs
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel, delayed

from .._estimator.callbacks import CallbackSupportMixin, with_callbacks
from .._estimator.classifier import DEFAULTS, OF_X, SoftmaxClassifier
from .._estimator.outcome import warn_of_outcome
from .._estimator.parameters import require_settings
from .._estimator.path import Path
from .._estimator.pickling import VersionedPickleMixin
from .._estimator.predicting import PredictingMixin
from .._utils.arguments import AdvisedMixin
from .._utils.notebook import NotebookMixin
from .choice import choose, standard_errors
from .grid import automatic_Cs
from .outcome import warn_of_edge, warn_of_shortfalls
from .parameters import (
    CV_ADVICE,
    RULES,
    SHARED,
    checked_Cs,
    checked_l1_ratios,
    checked_losses,
    checked_scoring,
)
from .progress import Progress
from .rows import Rows
from .scores import neg_log_loss, takes_weights
from .search import Search


class SoftmaxClassifierCV(
    AdvisedMixin,
    NotebookMixin,
    CallbackSupportMixin,
    PredictingMixin,
    VersionedPickleMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """SoftmaxClassifier that chooses C, l1_ratio and loss by cross-validation."""

    _advice = CV_ADVICE

    def __init__(
        self,
        loss="auto",
        *,
        Cs=10,
        l1_ratios=(0.0,),
        losses=None,
        cv=None,
        scoring=None,
        select="best",
        refit=True,
        n_jobs=None,
        store_paths=False,
        store_probabilities=False,
        penalty_factor=None,
        grouped=False,
        coef_bounds=None,
        fit_intercept=True,
        class_weight=None,
        solver="auto",
        max_iter=3000,
        tol=1e-4,
        warm_start=False,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        random_state=None,
        verbose=0,
    ):
        self.loss = loss
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.losses = losses
        self.cv = cv
        self.scoring = scoring
        self.select = select
        self.refit = refit
        self.n_jobs = n_jobs
        self.store_paths = store_paths
        self.store_probabilities = store_probabilities
        self.penalty_factor = penalty_factor
        self.grouped = grouped
        self.coef_bounds = coef_bounds
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params):
        """Set parameters, including those of the settings (``loss__label_smoothing=0.1``).

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : SoftmaxClassifierCV
        """
        require_settings(self, params)
        return super().set_params(**params)

    def __sklearn_tags__(self):
        return self._classifier().__sklearn_tags__()

    @with_callbacks
    def fit(self, X, y, sample_weight=None, **params):
        """Choose C, l1_ratio and loss by cross-validation, and fit them to all rows.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Training data, as for ``SoftmaxClassifier.fit``. Row blocks are read in every pass; they
            take the default score, and splitters that do not look at X.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Targets, as for ``SoftmaxClassifier.fit``.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Weights >= 0 of the rows, in the fits and in the scores. With metadata routing, a scorer
            gets them if it asks for them; the default score is weighted in any case.
        **params : dict
            With metadata routing: further arrays with an entry per row, such as ``groups``, for the
            splitter or the scorer.

        Returns
        -------
        self : SoftmaxClassifierCV
            The fitted estimator.
        """
        Cs, l1_ratios = checked_Cs(self.Cs), checked_l1_ratios(self.l1_ratios)
        losses = checked_losses(self.losses, self.loss)
        for name, rule in RULES.items():
            rule.check(name, getattr(self, name))
        scorer, chooser = checked_scoring(self)
        if scorer is None and self.losses is not None:
            scorer = neg_log_loss
        to_split, to_score = self._routed(sample_weight, params, scorer)
        classifiers = [self._classifier(loss) for loss in losses]
        for classifier in classifiers:
            classifier._check_parameters()
        rows = self._rows(classifiers, X, y, sample_weight, scorer)
        encoded = [rows.encoded(loss) for loss in losses]
        folds = self._folds(X, y, encoded[0], rows.in_memory, to_split)
        if isinstance(Cs, int):
            grid = [copy.copy(classifiers[0]) for _ in l1_ratios]
            for classifier, l1_ratio in zip(grid, l1_ratios, strict=True):
                classifier.l1_ratio = float(l1_ratio)
            Cs = automatic_Cs(Cs, grid, *rows.taken(encoded[0]))
        raw = X, y, to_score
        keeps = self.store_paths or self.store_probabilities
        options = l1_ratios, Cs, folds, scorer, raw, keeps
        search = Search(classifiers, rows, encoded, *options)
        self.Cs_, self.l1_ratios_, self.losses_ = Cs, l1_ratios, losses
        n_fits = len(folds) * np.prod(search.shape) + bool(self.refit)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        progress = Progress(self, int(n_fits), {"X": X, "y": y, "metadata": metadata})
        found = self._search(search, progress)
        self._choose(search, found, chooser)
        progress.close()
        return self

    # ---- Before the search -----------------------------------------------------------------------

    def _classifier(self, loss=None):
        """Return a SoftmaxClassifier with the parameters that this shares, and a loss."""
        shared = {name: getattr(self, name) for name in SHARED}
        return SoftmaxClassifier(self.loss if loss is None else loss, **shared)

    def _rows(self, classifiers, X, y, sample_weight, scorer):
        """Return the rows; this and all classifiers learn what X looks like."""
        rows = Rows(classifiers[0], X, y, sample_weight)
        if not rows.in_memory and (scorer is not None or self.store_probabilities):
            what = "'scoring' must be None" if scorer is not None else "store_probabilities=True"
            raise ValueError(
                f"{what} {'with' if scorer is not None else 'needs X in memory, not'} X in row "
                "blocks: predictions of single rows would take a pass for each fold. Use the "
                "default score, or X in memory."
            )
        vars(self).pop("feature_names_in_", None)
        for estimator in (self, *classifiers[1:]):
            for name in OF_X:
                if name in vars(classifiers[0]):
                    setattr(estimator, name, getattr(classifiers[0], name))
        if self.warm_start and "coef_" in vars(self):
            for classifier in classifiers:
                for name in ("coef_", "intercept_", "classes_", "_fitted_kind"):
                    setattr(classifier, name, getattr(self, name))
        return rows

    def _folds(self, X, y, encoded, in_memory, params):
        """Return the folds, as pairs of row numbers."""
        labels = encoded.values[:, 0] if encoded.kind == "binary" else encoded.labels
        cv = check_cv(self.cv, labels, classifier=labels is not None)
        n_rows = len(encoded.weight)
        if labels is None or np.ndim(y) != 1:
            y = np.zeros(n_rows) if labels is None else labels
        X = X if in_memory else np.broadcast_to(0.0, (n_rows, 1))
        folds = [(np.asarray(train), np.asarray(test)) for train, test in cv.split(X, y, **params)]
        for name, rows in (("training", 0), ("test", 1)):
            empty = [i for i, fold in enumerate(folds) if len(fold[rows]) == 0]
            if empty:
                raise ValueError(
                    f"Each fold of 'cv' must have {name} rows; fold {empty[0]} has none."
                )
        if not folds:
            raise ValueError("'cv' must give at least one fold, got none.")
        return folds

    def _routed(self, sample_weight, params, scorer):
        """Return what the splitter's ``split`` and the scorer get besides X and y, by name."""
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
            return routed.splitter.split, routed.scorer.score
        if params:
            raise ValueError(
                f"fit() takes {sorted(params)} only with metadata routing: call "
                "sklearn.set_config(enable_metadata_routing=True), or pass folds as 'cv', such as "
                "cv=list(GroupKFold().split(X, y, groups))."
            )
        if sample_weight is None or scorer is None or not takes_weights(scorer):
            return {}, {}
        return {}, {"sample_weight": sample_weight}

    # ---- The search, and after it ----------------------------------------------------------------

    def _search(self, search, progress):
        """Return all ``FoldFit`` objects of a search; what was found stays if it is interrupted."""
        n_folds, found, stop = len(search.folds), [], False
        try:
            if effective_n_jobs(self.n_jobs) == 1 or n_folds == 1:
                by_fold = (search.fits(i) for i in range(n_folds))
            else:
                parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
                by_fold = parallel(delayed(_fits)(search, i) for i in range(n_folds))
            for fits in by_fold:
                for fit in fits:
                    found.append(fit)
                    stop = progress.after(self._in_words(fit)) or stop
                    if stop:
                        return found
        finally:
            self._record(search, found)
        return found

    def _in_words(self, fit):
        """Return which fit it is and its score, for a line of ``verbose``."""
        loss, l1, i = fit.at
        parts = [f"fold {fit.fold + 1}"]
        if len(self.losses_) > 1:
            parts.append(f"loss {loss + 1}")
        if len(self.l1_ratios_) > 1:
            parts.append(f"l1_ratio={self.l1_ratios_[l1]:g}")
        score = fit.score
        scores = score.items() if isinstance(score, dict) else [("score", score)]
        parts += [f"C={self.Cs_[i]:.3g}", *(f"{name} {value:.4f}" for name, value in scores)]
        return ", ".join(parts)

    def _record(self, search, found):
        """Set the attributes with scores and, where asked for, coefficients."""
        n_folds = len(search.folds)
        scores = {}
        for fit in found:
            by_name = fit.score if isinstance(fit.score, dict) else {None: fit.score}
            for name, score in by_name.items():
                if name not in scores:
                    scores[name] = np.full((n_folds, *search.shape), np.nan)
                scores[name][(fit.fold, *fit.at)] = score
        self.scores_ = scores.get(None, scores)
        errors = {name: standard_errors(values) for name, values in scores.items()}
        self.standard_errors_ = errors.get(None, errors)
        vars(self).pop("coefs_paths_", None)
        if self.store_paths and found:
            self.coefs_paths_ = _paths(found, (n_folds, *search.shape), self.fit_intercept)

    def _choose(self, search, found, chooser):
        """Set the attributes of the chosen setting, and fit it to all rows if that is asked for."""
        scores, errors = self.scores_, self.standard_errors_
        if isinstance(scores, dict):
            if not self.refit:
                return
            scores, errors = scores[chooser], errors[chooser]
        at = choose(scores.mean(axis=0), errors, self.Cs_, self.select)
        self.C_, self.l1_ratio_ = float(self.Cs_[at[2]]), float(self.l1_ratios_[at[1]])
        self.loss_ = search.encoded[at[0]].loss
        warn_of_edge(scores.mean(axis=0)[at[:2]], self.Cs_)
        warn_of_shortfalls(found, self.tol)
        chosen = [fit for fit in found if fit.at == at]
        vars(self).pop("out_of_fold_proba_", None)
        if self.store_probabilities:
            self.out_of_fold_proba_ = search.probabilities(chosen)
        if self.refit:
            self._refit(search, at, chosen)

    def _refit(self, search, at, chosen):
        """Fit the chosen setting to all rows, from the mean of what its folds have found."""
        path = Path(search.classifier(*at), *search.rows.taken(search.encoded[at[0]]))
        start = None
        if all(fit.coef is not None for fit in chosen):
            start = tuple(
                np.mean([getattr(fit, name) for fit in chosen], axis=0, dtype=np.float64)
                for name in ("coef", "intercept")
            )
        training = path.fit(self.C_, start)
        vars(self).update(path.attributes(training))
        if training.failed or training.separable or training.lost > 0:
            warn_of_outcome(training, self.tol, self.max_iter not in (0, DEFAULTS["max_iter"]))

    # ---- Scores and routing ----------------------------------------------------------------------

    def score(self, X, y, sample_weight=None, **params):
        """Return the score by ``scoring``, or the accuracy if that is None.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            True labels, as in ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0 of the rows.
        **params : dict
            With metadata routing: further arrays for the scorer.

        Returns
        -------
        float
            Of several scores the one that ``refit`` names.
        """
        if self.scoring is None:
            return super().score(X, y, sample_weight)
        scorer, chooser = checked_scoring(self)
        if get_config()["enable_metadata_routing"]:
            given = {"sample_weight": sample_weight, **params}
            params = process_routing(self, "score", **given).scorer.score
        elif params:
            raise ValueError(f"score() takes {sorted(params)} only with metadata routing.")
        elif sample_weight is not None:
            params = {"sample_weight": sample_weight}
        found = scorer(self, X, y, **params)
        return found[chooser] if isinstance(found, dict) else found

    def get_metadata_routing(self):
        """Return how metadata is routed to the splitter and the scorer.

        Returns
        -------
        MetadataRouter
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(
            splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split")
        )
        if self.scoring is not None:
            both = MethodMapping().add(caller="score", callee="score")
            both.add(caller="fit", callee="score")
            router.add(scorer=checked_scoring(self)[0], method_mapping=both)
        return router


def _fits(search, fold):
    """Return the fits of a fold; for another process."""
    return list(search.fits(fold))


def _paths(found, shape, fit_intercept):
    """Return the coefficients of all fits, with the intercept as the last column."""
    shapes = {fit.coef.shape for fit in found}
    if len(shapes) > 1:
        raise ValueError(
            "'store_paths' needs losses with the same number of outputs, got coefficients of "
            f"shapes {sorted(shapes)}; set it to False, or leave some of 'losses' out."
        )
    n_outputs, n_features = shapes.pop()
    paths = np.full((*shape, n_outputs, n_features + bool(fit_intercept)), np.nan)
    for fit in found:
        of_fit = paths[(fit.fold, *fit.at)]
        of_fit[:, :n_features] = fit.coef
        if fit_intercept:
            of_fit[:, -1] = fit.intercept
    return paths
