"""SoftmaxClassifierCV: its parameters, and ``fit``."""

import copy
import itertools
import math

import numpy as np
from joblib import effective_n_jobs
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import indexable
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
from .._utils.validation import as_numpy
from .choice import choose, standard_errors
from .folds import checked_folds
from .found import paths_of, scores_of
from .grid import automatic_Cs
from .outcome import warn_of_edge, warn_of_shortfalls
from .parameters import (
    CV_ADVICE,
    MANY,
    RULES,
    SHARED,
    check_jobs,
    checked_Cs,
    checked_l1_ratios,
    checked_losses,
    checked_scoring,
    chosen_score,
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
        tags = super().__sklearn_tags__()
        losses = self.losses if isinstance(self.losses, (list, tuple)) else [self.loss]
        of_losses = [SoftmaxClassifier(loss).__sklearn_tags__() for loss in losses or [self.loss]]
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = all(t.classifier_tags.multi_label for t in of_losses)
        tags.target_tags.multi_output = tags.classifier_tags.multi_label
        return tags

    def __sklearn_is_fitted__(self):
        if "coef_" in vars(self):
            return True
        if "scores_" in vars(self):
            raise NotFittedError(
                "Predictions need a fit to all rows, which this SoftmaxClassifierCV has not: "
                "'refit' was False, or the search was interrupted. Call fit with refit=True, or "
                "fit SoftmaxClassifier with a C of your choice."
            )
        return False

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
        losses, scorer = checked_losses(self.losses, self.loss), checked_scoring(self)
        for name, rule in RULES.items():
            rule.check(name, getattr(self, name))
        check_jobs(self.n_jobs)
        if scorer is None and self.losses is not None:
            scorer = neg_log_loss
        to_split, to_score = self._routed(sample_weight, params, scorer)
        classifiers = self._classifiers(losses)
        rows = Rows(classifiers[0], X, y, sample_weight)
        encoded = [rows.encoded(loss) for loss in losses]
        self._require_possible(rows, encoded, scorer)
        if rows.in_memory:
            X, y = indexable(as_numpy(X, "X"), as_numpy(y, "y"))
        folds = checked_folds(self.cv, X, y, encoded[0], rows.in_memory, to_split)
        if self.select == "1se" and len(folds) < 2:
            raise ValueError(
                "select='1se' needs at least two folds for the standard error of their scores, got "
                "one; use more folds, or select='best'."
            )
        for classifier in classifiers[1:]:
            _share(OF_X, classifiers[0], classifier)
        if isinstance(Cs, int):
            grid = [copy.copy(classifiers[0]) for _ in l1_ratios]
            for classifier, l1_ratio in zip(grid, l1_ratios, strict=True):
                classifier.l1_ratio = float(l1_ratio)
            Cs = automatic_Cs(Cs, grid, *rows.taken(encoded[0]))
        keeps = self.store_paths or self.store_probabilities
        raw = X, y, to_score
        search = Search(classifiers, rows, encoded, l1_ratios, Cs, folds, scorer, raw, keeps)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        n_fits = len(folds) * math.prod(search.shape) + bool(self.refit)
        progress = Progress(self, n_fits, {"X": X, "y": y, "metadata": metadata})
        self._forget()
        _share(OF_X, classifiers[0], self)
        self.Cs_, self.l1_ratios_, self.losses_ = Cs, l1_ratios, losses
        self._choose(search, self._search(search, progress), progress)
        progress.close()
        return self

    # ---- Before the search -----------------------------------------------------------------------

    def _classifiers(self, losses):
        """Return a SoftmaxClassifier for each loss, with the parameters that this shares."""
        shared = {name: getattr(self, name) for name in SHARED}
        if isinstance(self.random_state, np.random.RandomState):
            # all fits begin with the same state, in this process and in others
            shared["random_state"] = int(self.random_state.randint(np.iinfo(np.int32).max))
        classifiers = [SoftmaxClassifier(loss, **shared) for loss in losses]
        for classifier in classifiers:
            classifier._check_parameters()
            if self.warm_start and "coef_" in vars(self):
                _share(("coef_", "intercept_", "classes_", "_fitted_kind"), self, classifier)
        return classifiers

    def _require_possible(self, rows, encoded, scorer):
        """Raise the ValueError of what X in row blocks, or losses of several kinds, cannot have."""
        rule = None
        if not rows.in_memory and self.store_probabilities:
            rule = "'store_probabilities' must be False"
        elif not rows.in_memory and scorer is not None:
            rule = f"'{'losses' if self.scoring is None else 'scoring'}' must be None"
        if rule is not None:
            raise ValueError(
                f"{rule} for X in row blocks: predictions of single rows would take a pass for "
                "each fold. Use the default score of a single loss, or X in memory."
            )
        n_outputs = [y.n_outputs for y in encoded]
        if self.store_paths and len(set(n_outputs)) > 1:
            raise ValueError(
                "With 'store_paths', all 'losses' must have the same number of outputs, got "
                f"{n_outputs}; set it to False, or leave some of 'losses' out."
            )
        if self.store_probabilities and self.refit is False and isinstance(self.scoring, MANY):
            raise ValueError(
                "'store_probabilities' needs a choice, which refit=False does not make of several "
                "scores; set 'refit' to the name of one, or 'store_probabilities' to False."
            )

    def _forget(self):
        """Delete the attributes of an earlier fit."""
        for name in list(vars(self)):
            if name in OF_FIT or (name.endswith("_") and not name.startswith("_")):
                delattr(self, name)

    def _routed(self, sample_weight, params, scorer):
        """Return what the splitter's ``split`` and the scorer get besides X and y, by name."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", **weights, **params)
            if self.scoring is not None:
                weights = routed.scorer.score
            return routed.splitter.split, weights
        if params:
            raise ValueError(
                f"fit() takes {sorted(params)} only with metadata routing: call "
                "sklearn.set_config(enable_metadata_routing=True), or pass folds as 'cv', such as "
                "cv=list(GroupKFold().split(X, y, groups))."
            )
        return {}, weights if scorer is not None and takes_weights(scorer) else {}

    # ---- The search, and after it ----------------------------------------------------------------

    def _search(self, search, progress):
        """Return all ``FoldFit`` objects of a search; what was found stays if it is interrupted."""
        n_folds, found = len(search.folds), []
        try:
            if effective_n_jobs(self.n_jobs) == 1 or n_folds == 1:
                by_fold = map(search.fits, range(n_folds))
            else:
                parallel = Parallel(n_jobs=self.n_jobs, return_as="generator")
                by_fold = parallel(delayed(_fits)(search, i) for i in range(n_folds))
            for fit in itertools.chain.from_iterable(by_fold):
                found.append(fit)
                chosen_score(fit.score, self.refit)
                if progress.after(self._in_words(fit)):
                    break
        finally:
            shape = n_folds, *search.shape
            self.scores_ = scores_of(found, shape)
            self.standard_errors_ = standard_errors(self.scores_)
            if self.store_paths and found:
                self.coefs_paths_ = paths_of(found, shape, self.fit_intercept)
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

    def _choose(self, search, found, progress):
        """Set the attributes of the chosen setting, and fit it to all rows if that is asked for."""
        warn_of_shortfalls(found, self.Cs_, self.tol)
        scores = chosen_score(self.scores_, self.refit)
        if scores is None:
            return
        if len(found) < scores.size:  # a callback has ended the search
            n_folds = np.zeros(search.shape, dtype=int)
            np.add.at(n_folds, tuple(zip(*(fit.at for fit in found), strict=True)), 1)
            scores = np.where(n_folds == n_folds.max(), scores, np.nan)[: n_folds.max()]
        means, errors = scores.mean(axis=0), standard_errors(scores)
        at = choose(means, errors, self.Cs_, self.select)
        self.C_, self.l1_ratio_ = float(self.Cs_[at[2]]), float(self.l1_ratios_[at[1]])
        self.loss_ = search.encoded[at[0]].loss
        warn_of_edge(means[at[:2]], self.Cs_)
        chosen = [fit for fit in found if fit.at == at]
        if self.store_probabilities:
            self.out_of_fold_proba_ = search.probabilities(chosen)
        if self.refit:
            self._refit(search, at, chosen)
            progress.after(f"all rows, C={self.C_:.3g}")

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
        scorer = checked_scoring(self)
        if get_config()["enable_metadata_routing"]:
            if sample_weight is not None:
                params["sample_weight"] = sample_weight
            params = process_routing(self, "score", **params).scorer.score
        elif params:
            raise ValueError(
                f"score() takes {sorted(params)} only with metadata routing: call "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        elif sample_weight is not None:
            params = {"sample_weight": sample_weight}
        return chosen_score(scorer(self, X, y, **params), self.refit)

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
            router.add(scorer=checked_scoring(self), method_mapping=both)
        return router


def _fits(search, fold):
    """Return the fits of a fold; for another process."""
    return list(search.fits(fold))


def _share(names, source, target):
    """Set attributes of one estimator on another, if it has them."""
    for name in names:
        if name in vars(source):
            setattr(target, name, getattr(source, name))


# Attributes of a fit, apart from those whose names say so by their last character.
OF_FIT = {*OF_X, "_stream", "_seen", "_fitted_kind", "_known_y"}
