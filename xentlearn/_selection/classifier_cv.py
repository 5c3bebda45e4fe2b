"""SoftmaxClassifierCV: its parameters, and ``fit``."""

import copy
import math

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import indexable

from .._estimator.callbacks import CallbackSupportMixin, with_callbacks
from .._estimator.classifier import OF_X, SoftmaxClassifier
from .._estimator.parameters import require_settings
from .._estimator.penalty import penalty_of
from .._estimator.pickling import VersionedPickleMixin
from .._estimator.predicting import PredictingMixin
from .._utils.arguments import AdvisedMixin
from .._utils.notebook import NotebookMixin
from .._utils.validation import as_numpy
from .folds import checked_folds
from .grid import automatic_Cs
from .leave_one_out import LeaveOneOutSearch, require_possible
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
    require_choice,
)
from .progress import Progress
from .rows import Rows
from .scores import PLAIN
from .scoring import ScoringMixin
from .search import Search
from .searching import SearchingMixin


class SoftmaxClassifierCV(
    AdvisedMixin,
    NotebookMixin,
    CallbackSupportMixin,
    ScoringMixin,
    SearchingMixin,
    PredictingMixin,
    VersionedPickleMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """SoftmaxClassifier that chooses C, l1_ratio and loss by cross-validation.

    For each fold, loss, ``l1_ratio`` and ``C`` it minimises the objective of ``SoftmaxClassifier``
    over the training rows of the fold, to the same ``tol`` as a single fit, and scores the result
    on its test rows. The setting with the best mean score is then fitted to all rows. The fits
    share what they can: X is read and checked once, what depends on the rows alone is computed once
    per fold, and along C each fit starts from an extrapolation of the two before it.

    Parameters
    ----------
    loss : str or loss setting, default="auto"
        The loss, as in ``SoftmaxClassifier``. ``losses`` take its place.
    Cs : int or array-like of shape (n_Cs,), default=10
        Values of C to try, > 0 and different, in any order; ``inf`` means no penalty. An integer is
        the number of values in equal steps of log C over a range that the data give: from where
        about 1 % of the loss of the class shares is learnt (with an L1 penalty: from ``l1_min_C``)
        to where larger ones lower the training loss by less than 0.1 % of it. Powers of 10 that
        bring nothing at the start are left out. All rows, ``l1_ratios`` and the first loss count.
    l1_ratios : array-like of shape (n_l1_ratios,), default=(0.0,)
        Values of l1_ratio to try, in [0, 1] and different.
    losses : list of (str or loss setting), default=None
        Losses to try; None means ``loss`` alone.
    cv : int, splitter, iterable, "loo" or None, default=None
        Folds as in ``GridSearchCV``: None is 5 folds and an integer their number, stratified where
        y has a label per row; otherwise a splitter, or an iterable of (training rows, test rows),
        each of them indices or a mask. "loo" is leave-one-out without folds: from the fit to all
        rows, the loss of each row by the model without it (see Notes).
    scoring : str, callable, list, tuple, set, dict or None, default=None
        Score on the test rows, higher is better. None is minus the mean loss, weighted by class
        weights and ``sample_weight`` and without the penalty; with ``losses``, which cannot be
        compared with each other, it is minus the plain cross-entropy, weighted by ``sample_weight``
        alone. Otherwise the name of a score, a scorer, or several as in ``GridSearchCV``. Scores of
        probabilities and decision functions are told all classes, which a fold may lack.
    select : {"best", "1se"}, default="best"
        "best" is the setting with the best mean score; of equal ones, the smallest C. "1se" is the
        smallest C, at the loss and l1_ratio of the best setting, whose mean score is within one
        standard error of the best mean score: a simpler model that the folds cannot tell from it.
    refit : bool or str, default=True
        Whether to fit the choice to all rows, which predictions need. With several scores the name
        of the one that chooses, or False: then nothing is chosen.
    n_jobs : int or None, default=None
        Number of joblib processes that share the folds and the cores; None means 1, and -1 all
        cores. The results have the same bits for any number. A fit uses several threads by itself,
        so that more processes pay for small fits only.
    store_paths : bool, default=False
        Whether to keep the coefficients of all fits as ``coefs_paths_``.
    store_probabilities : bool, default=False
        Whether to keep ``out_of_fold_proba_``. The coefficients of all fits are in memory until the
        choice is made.
    penalty_factor : array-like of shape (n_features,), default=None
        As in ``SoftmaxClassifier``.
    grouped : bool, default=False
        As in ``SoftmaxClassifier``.
    coef_bounds : (lower, upper), default=None
        As in ``SoftmaxClassifier``.
    fit_intercept : bool, default=True
        As in ``SoftmaxClassifier``.
    class_weight : dict, "balanced" or None, default=None
        As in ``SoftmaxClassifier``. "balanced" weights are those of all rows, in every fold.
    solver : str or solver setting, default="auto"
        As in ``SoftmaxClassifier``.
    max_iter : int, default=3000
        As in ``SoftmaxClassifier``, for each fit.
    tol : float, default=1e-4
        As in ``SoftmaxClassifier``, for each fit.
    warm_start : bool, default=False
        Whether the first fit along each path starts from the coefficients of the previous ``fit``;
        of losses that are not convex, and with early stopping, each fit does.
    early_stopping : bool, default=False
        As in ``SoftmaxClassifier``: each fit holds out a share of its own training rows.
    validation_fraction : float, default=0.1
        As in ``SoftmaxClassifier``.
    n_iter_no_change : int, default=10
        As in ``SoftmaxClassifier``.
    random_state : int, RandomState instance or None, default=None
        As in ``SoftmaxClassifier``; not for the folds. All fits begin with the same state.
    verbose : int, default=0
        If > 0, print a line per fit, with its score and about how many seconds are left.

    Attributes
    ----------
    C_ : float
        The chosen C.
    l1_ratio_ : float
        The chosen l1_ratio.
    loss_ : loss setting
        The chosen loss.
    Cs_ : ndarray of shape (n_Cs,)
        The values of C, in the order of ``Cs``.
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
        The values of l1_ratio.
    losses_ : list of (str or loss setting)
        The losses, as they were passed; one if ``losses`` is None.
    scores_ : ndarray of shape (n_folds, n_losses, n_l1_ratios, n_Cs), or dict of such
        Scores of all fits; by name if there are several scores. nan for fits that an interrupted
        search did not reach. These axes are those of LogisticRegressionCV with
        ``use_legacy_attributes=False``, and one of losses, which is always there.
    standard_errors_ : ndarray of shape (n_losses, n_l1_ratios, n_Cs), or dict of such
        Standard errors of the mean scores: the standard deviation of the scores of the folds (n - 1
        in the denominator) over the root of their number; nan for one fold, but see "loo" below.
    coefs_paths_ : ndarray of shape (n_folds, n_losses, n_l1_ratios, n_Cs, n_outputs, n_coefs)
        Coefficients of all fits in float64, those of the features and then, with ``fit_intercept``,
        the intercept; only with ``store_paths``.
    out_of_fold_proba_ : ndarray of shape (n_samples, n_classes) or (n_samples, n_labels)
        Probabilities of each row by the fit of the chosen setting for which it was a test row (the
        last one, if several); nan if there is none. Only with ``store_probabilities``.
    classes_ : ndarray of shape (n_classes,)
        As of ``SoftmaxClassifier``. This and all that follow are those of the fit to all rows, and
        missing without ``refit``, apart from the number and the names of the features.
    coef_ : ndarray of shape (1, n_features) or (n_outputs, n_features)
        Coefficients.
    intercept_ : ndarray of shape (1,) or (n_outputs,)
        Intercepts.
    n_iter_ : ndarray of shape (1,)
        Iterations of the solver.
    solver_ : str
        Name of the solver that was used.
    stop_reason_ : str
        Why the solver stopped.
    objective_ : float
        The objective.
    optimality_gap_ : float
        A certified upper bound of (``objective_`` - minimum) / minimum.
    history_ : dict
        Objective, gap and seconds by iteration.
    plan_ : PlanReport
        The steps of the fit and the reasons for them.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.

    Raises
    ------
    ValueError
        In ``fit``: parameters out of range, a y that does not fit the loss, bad X, weights or
        folds, ``select="1se"`` with one fold, and scores that are no numbers.
    TypeError
        In ``fit``: callbacks that watch the iterations of a single fit.
    KeyboardInterrupt
        In ``fit``, after an interrupt. ``scores_`` and, if asked for, ``coefs_paths_`` then have
        the fits that are complete (with ``n_jobs``: the folds), and there is no ``coef_``. If none
        is complete, all attributes stay as they were.

    Warns
    -----
    UserWarning
        If the best C is the smallest or the largest that was tried and finite, as a better one may
        lie outside; if the training rows of a fold lack classes that its test rows have, which the
        default score leaves out; and where ``SoftmaxClassifier`` warns.
    ConvergenceWarning
        If fits stopped before ``tol`` was reached: once for all folds, and again for the last fit.

    See Also
    --------
    SoftmaxClassifier : A single fit.
    regularization_path : Fits for one C after the other, without folds.
    l1_min_C : The C up to which an L1 penalty keeps all coefficients at 0.

    Notes
    -----
    A transformer that is fitted to all rows before this search lets the test rows of its folds leak
    into training. That does little harm if the transformer does not look at y, such as a scaler:
    this class may then be the last step of the Pipeline. If an earlier step looks at y, such as a
    selection of features, search over the whole pipeline instead, by
    ``GridSearchCV(make_pipeline(SelectKBest(), SoftmaxClassifier()), ...)``.

    With ``cv="loo"``, the loss of a row by the model that is fitted to all other rows, with the
    same C, follows from the fit to all rows by a Newton step [1]_, of which several are taken for
    rows that change the model much, until the mean loss is accurate to about 1 %. Where the time
    does not allow that, or an L1 penalty is too weak, a warning says so; for the chosen C the time
    is not limited, up to about a thousand coefficients. Larger problems, in which
    a row changes little, use blocks of the Hessian. ``scores_`` has a single fold, and
    ``standard_errors_`` are those of the mean over the rows. It takes convex losses, X in memory
    and the default score, and not ``losses``, ``grouped``, early stopping or stochastic solvers.

    The score of the choice is the best of many, and so somewhat too good; ``cross_val_score`` of
    this class (nested cross-validation) gives an honest one.

    ``score`` returns the score by ``scoring``, and the accuracy if that is None.

    Callbacks of scikit-learn see a task per fit; one that asks to stop ends the search, and the
    choice is among the settings that were fitted in most folds.

    With ``refit=False`` LogisticRegressionCV averages the coefficients of the folds; this class
    then has no ``coef_``.

    References
    ----------
    .. [1] A. Beirami, M. Razaviyayn, S. Shahrampour and V. Tarokh, "On optimal generalizability in
       parametric learning" (2017), arXiv:1711.05420.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from xentlearn import SoftmaxClassifierCV
    >>> X, y = load_wine(return_X_y=True)
    >>> clf = SoftmaxClassifierCV(Cs=[0.01, 0.1, 1, 10, 100]).fit(X, y)
    >>> clf.C_
    10.0
    >>> clf.scores_.shape
    (5, 1, 1, 5)
    >>> clf.scores_.mean(axis=0)[0, 0].round(3)
    array([-0.29 , -0.144, -0.093, -0.088, -0.104])
    >>> clf.set_params(select="1se").fit(X, y).C_
    1.0
    """

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
        to_split, to_score = self._routed(sample_weight, params, scorer)
        if scorer is None and self.losses is not None:
            scorer = PLAIN
        classifiers = self._classifiers(losses)
        rows = Rows(classifiers[0], X, y, sample_weight)
        encoded = [rows.encoded(loss) for loss in losses]
        self._require_possible(rows, encoded, scorer)
        if rows.in_memory:
            X, y = indexable(as_numpy(X, "X"), as_numpy(y, "y"))
        folds, kind = None, LeaveOneOutSearch
        if isinstance(self.cv, str) and self.cv == "loo":
            require_possible(self, rows, encoded)
        else:
            folds, kind = checked_folds(self.cv, X, y, encoded[0], rows.in_memory, to_split), Search
            if self.select == "1se" and len(folds) < 2:
                raise ValueError(
                    "select='1se' needs at least two folds for the standard error of their scores, "
                    "got one; use more folds, or select='best'."
                )
        of_X = self._prepare(classifiers, encoded, l1_ratios)
        if isinstance(Cs, int):
            grid = [copy.copy(classifiers[0]) for _ in l1_ratios]
            for classifier, l1_ratio in zip(grid, l1_ratios, strict=True):
                classifier.l1_ratio = float(l1_ratio)
            Cs = automatic_Cs(Cs, grid, *rows.taken(encoded[0]))
        keeps = self.store_paths or self.store_probabilities
        raw = X, y, to_score
        search = kind(classifiers, rows, encoded, l1_ratios, Cs, folds, scorer, raw, keeps)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        n_fits = len(search.folds) * math.prod(search.shape) + bool(self.refit)
        progress = Progress(self, n_fits, {"X": X, "y": y, "metadata": metadata})
        before, found = self.__dict__, []
        try:
            self._forget({**of_X, "Cs_": Cs, "l1_ratios_": l1_ratios, "losses_": losses})
            self._search(search, progress, found)
            self._choose(search, found, progress)
        except BaseException:
            if not found:  # as if it had not been called
                self.__dict__ = before
            raise
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
        return classifiers

    def _prepare(self, classifiers, encoded, l1_ratios):
        """Give the classifiers what they start from and know of X; check their penalties.

        Of several losses, those start from the coefficients of the last fit that have as many
        outputs.
        """
        of_X = {name: vars(classifiers[0])[name] for name in OF_X if name in vars(classifiers[0])}
        start = {}
        if self.warm_start and "coef_" in vars(self):
            start = {name: vars(self)[name] for name in OF_START if name in vars(self)}
        for classifier, y in zip(classifiers, encoded, strict=True):
            fits = len(classifiers) == 1 or not start or y.n_outputs == len(self.coef_)
            vars(classifier).update({**of_X, **(start if fits else {})})
        by_feature = self.penalty_factor is not None or self.coef_bounds is not None
        for l1_ratio in l1_ratios[(l1_ratios > 0) | by_feature]:
            one = copy.copy(classifiers[0])
            one.l1_ratio = float(l1_ratio)
            solver = one._check_parameters()
            penalty_of(one, of_X["n_features_in_"], None if solver is None else solver.name)
        return of_X

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
        if not self.refit and isinstance(self.scoring, MANY):
            require_choice(None, self.store_probabilities)
        if len({y.kind == "multilabel" for y in encoded}) > 1:
            raise ValueError(
                "All 'losses' must take y in the same way: some of them predict labels that are "
                "independent of each other, others a single class per row, and their scores "
                "cannot be compared. Search them one by one."
            )

    def _forget(self, new):
        """Replace the attributes of an earlier fit, at once: an interrupt comes before or after."""
        kept = {
            name: value
            for name, value in vars(self).items()
            if name not in OF_FIT and (name.startswith("_") or not name.endswith("_"))
        }
        self.__dict__ = {**kept, **new}


# What a warm start needs.
OF_START = "coef_", "intercept_", "classes_", "_fitted_kind"

# Attributes of a fit, apart from those whose names say so by their last character.
OF_FIT = {*OF_X, "_stream", "_seen", "_fitted_kind", "_known_y"}
