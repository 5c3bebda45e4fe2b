"""SoftmaxClassifier: its parameters, and ``fit``; predictions and ``partial_fit`` are mixins."""

import functools
import inspect

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from .._data._design_matrix import DTYPES
from .._data.dataset import MemoryData
from .._data.out_of_core import BlockData, in_memory
from .._data.readers import MemmapBlocks, blocks_of
from .._data.statistics import is_filled
from .._data.targets import encode_y, resolve_loss
from .._objective.linear import L2
from .._objective.problem import Problem
from .._plan.outline import outlined
from .._plan.plan import make_plan
from .._plan.report import PlanReport
from .._plan.settings import STOCHASTIC
from .._solvers.settings import resolve_solver
from .._utils.arguments import AdvisedMixin
from .._utils.notebook import NotebookMixin
from .callbacks import CallbackSupportMixin, FitCallbacks, with_callbacks
from .early_stopping import with_validation
from .fit_state import FitState
from .inputs import check_features, validated
from .outcome import warn_of_outcome
from .parameters import ADVICE, RULES, require_settings
from .partial_fit import PartialFitMixin
from .penalty import penalty_of
from .pickling import VersionedPickleMixin
from .planning import PlanningMixin
from .predicting import PredictingMixin
from .start import constant_outputs, warm_start
from .training import train


class SoftmaxClassifier(
    AdvisedMixin,
    NotebookMixin,
    CallbackSupportMixin,
    PlanningMixin,
    PartialFitMixin,
    PredictingMixin,
    VersionedPickleMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """Linear classifier trained by cross-entropy: softmax, binary, multi-label, soft labels.

    Minimises, with s_i the sample weight times the class weight of row i and S their sum::

        (1/S) sum_i s_i loss(y_i, W x_i + b)
            + (1/(C S)) * ((1 - l1_ratio)/2 ||W||_2^2 + l1_ratio ||W||_1)

    The intercept b is not penalised. With the default loss this is the objective of scikit-learn's
    ``LogisticRegression``, divided by C S: the same ``C`` gives the same coefficients.

    Parameters
    ----------
    loss : str or loss setting, default="auto"
        "auto" (or "log_loss") chooses by y: binary cross-entropy for two classes and for
        multi-label y, sparse categorical cross-entropy for more classes, categorical cross-entropy
        for soft rows. Otherwise the name of a loss with its default parameters:
        "sparse_categorical_crossentropy", "categorical_crossentropy",
        "categorical_focal_crossentropy", "generalized_crossentropy", "symmetric_crossentropy",
        "poly_crossentropy", "binary_crossentropy", "binary_focal_crossentropy",
        "asymmetric_binary_crossentropy"; or a setting from ``xentlearn.losses``, whose parameters
        a grid search reaches as ``loss__label_smoothing`` and so on.
    C : float, default=1.0
        Inverse of the strength of the penalty, > 0; ``inf`` means no penalty.
    l1_ratio : float, default=0.0
        Share of the L1 penalty, in [0, 1]; with more than 0, coefficients that do not pay are
        exactly 0: all of them up to a C that ``l1_min_C`` computes. With 1 and a softmax, the same
        change of all coefficients of a feature may leave the objective as it is: of all minima,
        this is the one of least sum of squares.
    penalty_factor : array-like of shape (n_features,), default=None
        Factors >= 0 of the penalty of each feature, used as they are (glmnet rescales them to a
        mean of 1). 0 does not penalise a feature, and inf leaves it out. None means 1 for all.
    grouped : bool, default=False
        Whether the L1 penalty is that of the Euclidean norm of the coefficients of a feature over
        all outputs, instead of the sum of their absolute values: a feature is then in or out for
        all outputs.
    coef_bounds : (lower, upper), default=None
        Bounds of the coefficients: numbers or arrays of shape (n_features,), lower <= 0 <= upper;
        ``(0, np.inf)`` makes all coefficients >= 0. None means no bounds.
    fit_intercept : bool, default=True
        Whether to fit the intercept b.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes by label. "balanced" gives every class the same total weight. Not for
        multi-label y; see ``pos_weight`` of ``BinaryCrossentropy``.
    solver : str or solver setting, default="auto"
        "auto", "lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd", or a setting from
        ``xentlearn.solvers``, whose parameters a grid search reaches as ``solver__learning_rate``
        and so on. "auto" takes the solver that was found fastest: "newton-cholesky" where the
        Hessian costs next to nothing (some hundred coefficients); ascent in the dual problem
        (``solver_`` is then "dual-ascent") for classes of sparse X with more than 2,000 features,
        such as text, and for ten or more labels over sparse X, unless ``C`` is very large;
        otherwise "lbfgs". All but "adam" and "sgd" are preconditioned, so features need no scaling.
        "newton-cholesky" takes at most 6,000 coefficients in all (counted in the space of the rows
        if there are more features than rows). "adam" and "sgd" take steps on batches of rows, in
        units in which features have mean 0 and spread 1.
    max_iter : int, default=3000
        Most iterations of the solver, of "adam" and "sgd" most epochs, >= 0. A fit that reaches it
        has not converged, and warns (``ConvergenceWarning``), except for one rule: a ``max_iter``
        other than the default is, for "adam" and "sgd", the number of epochs that you ask for, and
        a fit that ends with the last of them ends without a warning. 0 gives the start, with a
        warning for every solver.
    tol : float, default=1e-4
        Stop at this relative optimality gap, (objective - minimum) / minimum. >= 0. If the loss is
        a cross-entropy with a penalty, the fit ends when a certificate is within ``tol``, and
        otherwise, or where a certificate is too far away, when the solver's estimate is; see
        ``stop_reason_``. Estimates are relative to the objective, or to 1e-6 of the objective at
        zero coefficients if that is larger. Problems in which the numbers of rows, features and
        outputs multiply to at most 300,000 are solved to machine precision. "adam" and "sgd" stop
        when ``n_iter_no_change`` epochs in a row have not lowered the objective by this share.
    warm_start : bool, default=False
        Whether ``fit`` starts from the coefficients of the previous fit.
    early_stopping : bool, default=False
        Whether ``fit`` stops when the loss of rows that are not trained on has not fallen by the
        share ``tol`` for ``n_iter_no_change`` iterations, and keeps the coefficients with the
        lowest such loss. Works with every solver.
    validation_fraction : float, default=0.1
        Share of the rows that early stopping holds out, in (0, 1), unless ``fit`` gets ``X_val``
        and ``y_val``. They are drawn by ``random_state``, the same share of each class.
    n_iter_no_change : int, default=10
        Iterations or epochs without progress after which to stop; see ``tol`` and
        ``early_stopping``; >= 1.
    random_state : int, RandomState instance or None, default=None
        Determines the order of the rows in "adam", "sgd" and ``partial_fit``, and the rows that are
        held out.
    verbose : int, default=0
        If > 0, print the plan, a line per iteration or epoch (with the validation loss, if there
        are validation rows, and the seconds since ``fit`` began, reading included), and at the end
        why the fit has stopped, its certified gap and the seconds in all. For progress bars and
        scores, see ``xentlearn.callbacks``, which needs scikit-learn 1.9 or newer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; 0..L-1 for multi-label and soft y.
    coef_ : ndarray of shape (1, n_features) or (n_outputs, n_features)
        W: one row for two classes, otherwise one per class or label. float64 for float64 X and the
        dtypes that are converted to it, otherwise float32; but float64 for any X if logits are such
        small sums of huge terms (a feature in millions that hardly varies) that float32 would
        change the objective by more than ``tol``. ``sparsify`` makes it sparse, and ``densify`` an
        array again.
    intercept_ : ndarray of shape (1,) or (n_outputs,)
        b; softmax intercepts sum to 0. It is +-inf for a label that is constant in training, 0 for
        a label without any answer, and -inf for a class without weight; if a single class has
        weight, its intercept is finite.
    n_iter_ : ndarray of shape (1,)
        Iterations of the solver; for a loss that is not convex, those after its convex start.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.
    loss_ : loss setting
        The loss that was minimised.
    solver_ : str
        Name of the solver that was used (for the last group of labels): one of those of ``solver``,
        "dual-ascent", or "proximal-newton" for L1 penalties, factors and bounds of features.
    stop_reason_ : str
        Why the solver stopped: "certified" (``optimality_gap_`` is within ``tol``), "estimated"
        (it is not, but the estimated gap is; before a descent ends so, Newton's decrement has
        confirmed the estimate; of adam and sgd: the objective stopped falling), "rounding" (no
        further progress at floating-point precision), "early_stopping", "callback", "separable"
        (the objective goes to 0 without a penalty), "max_iter", "line_search" (no decrease was
        found), "diverged" (the objective was not finite) or "interrupted"; "constant" if there was
        nothing to fit. Of labels that are fitted in groups it is the worst reason; they are listed
        here from the best to the worst.
    objective_ : float
        The objective above, at the stored coefficients. After a KeyboardInterrupt: as the solver
        knew it; if labels are fitted in groups, the sum over those that were reached.
    optimality_gap_ : float
        A certified upper bound of (``objective_`` - minimum) / minimum; inf where none is known:
        with ``C=inf``, a ``penalty_factor`` of 0 or a loss that is no cross-entropy (smoothed and
        weighted ones are), and after a KeyboardInterrupt. There the last entry of
        ``history_["gap"]`` is an estimate. Rounding errors are allowed for, but not bounded.
    history_ : dict
        Arrays of equal length: "objective", "gap" (the solver's estimate) and "seconds" (since the
        solver began), one entry for the start and one per iteration; with ``X_val`` or
        early stopping also "validation_loss", the mean loss of the validation rows, without the
        penalty. For "adam" and "sgd" there is an entry for the start and one per epoch, for
        ``partial_fit`` one per call, of which the last 100 are kept: the mean objective of the
        batches, each before its step (at the start, of all rows), a gap of inf, as there is no
        estimate, and "learning_rate", that of the last step of the epoch (at the start, of the
        first step).
    plan_ : PlanReport
        The steps of the last ``fit`` and the reasons for them, the memory and the number of passes
        that were expected, and the time of a pass: see ``plan``, which tells them before a fit.

    Raises
    ------
    ValueError
        In ``fit``: parameters out of range, a y that does not fit the loss, bad X or weights.
    KeyboardInterrupt
        In ``fit``, after an interrupt. The model then has the best coefficients so far, or, if
        there are none yet, the attributes that it had before.

    Warns
    -----
    ConvergenceWarning
        If the solver stopped before ``tol`` was reached, or if the objective of the stored model,
        as predictions compute it, is not within ``tol`` of what the solver reached.
    UserWarning
        If labels or classes are not fitted but predicted as constants, because they do not vary,
        have no weight or no answers.

    Notes
    -----
    The losses of the labels of a row are added, so a multi-label fit equals separate fits of the
    labels.

    ``SelectFromModel`` takes the mean of the importances as its default threshold, also with an L1
    penalty; ``threshold=np.finfo(float).tiny`` selects the features whose coefficients are not 0.

    Results have the same bits on every run and for any number of OpenMP threads (which
    ``OMP_NUM_THREADS``, threadpoolctl and joblib limit).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxClassifier().fit(X, y)
    >>> clf.predict_proba(X[:1]).round(3)
    array([[0.982, 0.018, 0.   ]])
    >>> round(clf.score(X, y), 3)
    0.973
    >>> clf.optimality_gap_ < 1e-8
    True
    """

    _advice = ADVICE

    def __init__(
        self,
        loss="auto",
        *,
        C=1.0,
        l1_ratio=0.0,
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
        self.C = C
        self.l1_ratio = l1_ratio
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
        self : SoftmaxClassifier
        """
        require_settings(self, params)
        return super().set_params(**params)

    def _check_parameters(self):
        """The setting of the solver, None for "auto"; ValueError if a parameter is out of range."""
        for name, rule in RULES.items():
            value = getattr(self, name)
            if value is not DEFAULTS[name]:
                rule.check(name, value)
        resolve_loss(self.loss)
        return None if self.solver is DEFAULTS["solver"] else resolve_solver(self.solver)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        # decided by the parameter alone, and without an error: fit reports a bad loss
        try:
            setting = resolve_loss(self.loss)
            multilabel = setting is None or setting._proba_kind == "sigmoid"
        except ValueError:
            multilabel = False
        tags.classifier_tags.multi_label = multilabel
        tags.target_tags.multi_output = multilabel
        return tags

    @with_callbacks
    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        """Fit the model to all of the data.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Training data. float64, float32, float16, uint8 and int8 are used in place, whatever
            their strides; other dtypes are converted to float64. Row blocks (``xentlearn.blocks``)
            and memory-mapped arrays are read block by block in every pass.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Integers or strings, one per row; or columns: a multi-label indicator of 0, 1 and (where
            missing) nan, None or pandas' NA, or one-hot or soft rows for a categorical loss, which
            sum to 1 within 1e-4 (float16: 5e-3). If a single class has weight, it is predicted
            for all rows, with a warning.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Weights >= 0 of the rows; for multi-label y also of single labels. An integer weight has
            the same effect as repeating the row.
        X_val : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
            Validation rows. Their loss is recorded in ``history_["validation_loss"]``, and with
            ``early_stopping`` it ends the fit; otherwise they change nothing. Without them,
            early stopping holds out a share of X. ``X_val`` must be transformed as X is: in a
            Pipeline, ``clf__X_val=...`` reaches the classifier as it is given, past the scaler. Use
            ``Pipeline(steps, transform_input=["X_val"])`` with
            ``sklearn.set_config(enable_metadata_routing=True)`` and
            ``clf.set_fit_request(X_val=True, y_val=True)``, and pass ``X_val`` and ``y_val`` to
            the ``fit`` of the pipeline.
        y_val : {array-like, sparse matrix} of shape (n_rows,) or (n_rows, n_outputs), default=None
            Their targets, like y.

        Returns
        -------
        self : SoftmaxClassifier
            The fitted estimator.
        """
        setting = self._check_parameters()
        if (X_val is None) != (y_val is None):
            alone = "y_val" if X_val is None else "X_val"
            raise ValueError(
                f"'X_val' and 'y_val' must come together, got {alone!r} alone; pass both, or none."
            )
        random_state, callbacks = check_random_state(self.random_state), None
        epochs_asked = self.max_iter not in (0, DEFAULTS["max_iter"])
        before = vars(self).copy()
        try:
            if self.verbose > 0 or getattr(self, "_skl_callbacks", None):
                is_stochastic = setting is not None and setting.name in STOCHASTIC
                callbacks = FitCallbacks(
                    self, X, y, sample_weight, (X_val, y_val), is_stochastic, epochs_asked
                )
            data, y = self._read(X, y, sample_weight, None if callbacks is None else callbacks.read)
            if callbacks is not None:
                random_state = callbacks.begin(data, y, random_state)
            problem, validation, n_held_out = self._pose(
                setting, data, y, X_val, y_val, random_state
            )
            y = problem.y
            plan, state = make_plan(problem), FitState(validation=validation)
            if callbacks is None:
                training = train(problem, plan, state)
            else:
                callbacks.attributes_of = functools.partial(self._fitted, y)
                callbacks.outline = functools.partial(outlined, problem, plan, X, n_held_out)
                state.saved = callbacks.resume
                with callbacks.resuming():
                    training = train(problem, plan, state, callbacks)
            outline = outlined(problem, plan, X, n_held_out, training.moments)
            fitted = self._trained(y, training, PlanReport(outline, training.pass_seconds))
        except KeyboardInterrupt:  # nothing was found: forget what X looks like
            for name in OF_X:
                vars(self).pop(name, None)
                if name in before:
                    setattr(self, name, before[name])
            raise
        vars(self).update(fitted)  # all of them: an interrupt comes before it or after it
        if training.stopped_by is not None:
            raise training.stopped_by
        if training.failed or training.separable or training.lost > 0:
            warn_of_outcome(training, self.tol, epochs_asked)
        if callbacks is not None:
            callbacks.close(training)
        return self

    def _pose(self, setting, data, y, X_val, y_val, random_state):
        """Return (problem, Validation or None, number of rows held out) for data as read."""
        validation, n_rows = None, data.shape[0]
        if self.early_stopping or X_val is not None:
            data, y, validation = with_validation(self, data, y, X_val, y_val, random_state)
        sums = y.fitted_weight_sums()
        if sums.size > 1 and (sums > 0).all():  # every output has something to fit
            outputs, constant = np.arange(y.n_outputs), np.zeros(y.n_outputs)
        else:
            outputs, constant = constant_outputs(y, sums)
        start = None
        if self.warm_start and hasattr(self, "coef_"):
            start = warm_start(self, y, data.shape[1])
        penalty, name = L2(self.C), "auto" if setting is None else setting.name
        if self.l1_ratio > 0 or self.penalty_factor is not None or self.coef_bounds is not None:
            penalty = penalty_of(self, data.shape[1], None if setting is None else name)
        problem = Problem(
            data,
            y,
            outputs,
            constant,
            penalty,
            bool(self.fit_intercept),
            name,
            setting,
            self.tol,
            self.max_iter,
            self._coef_dtype(),
            start,
            early_stopping=bool(self.early_stopping),
            n_iter_no_change=self.n_iter_no_change,
            random_state=random_state,
        )
        return problem, validation, n_rows - data.shape[0]

    def _read(self, X, y, sample_weight, report=None):
        """(data, encoded y) to train from; ``report`` as in ``BlockData``."""
        X = self._checked(X)
        y = encode_y(y, X.shape[0], self.loss, self.class_weight, sample_weight)
        if isinstance(X, np.ndarray) or sparse.issparse(X):
            kept, y = y.with_weight()
            # SciPy copies a matrix of which all rows are taken
            return MemoryData(X if type(kept) is slice else X[kept]), y
        return BlockData(X, y, functools.partial(validated, self, reset=None), report), y

    def _checked(self, X):
        """X as the kernels read it, in memory or as row blocks; sets the attributes of ``OF_X``."""
        if type(X) is np.ndarray and X.dtype in DTYPES:
            if X.ndim == 2 and is_filled(X):  # what validate_data does, which takes 100 us
                self.n_features_in_ = X.shape[1]
                vars(self).pop("feature_names_in_", None)
            else:
                X = validate_data(self, X, dtype=None)
            self._X_dtype = X.dtype
            return X
        source = blocks_of(X)
        if isinstance(source, MemmapBlocks) and len(source.lengths) == 1:
            X, source = in_memory(source), None  # its file may shrink; a copy does not
        if source is None:
            return validated(self, X, reset=True)
        check_features(self, source, reset=True)
        self._X_dtype = np.dtype(source.dtype)
        return source

    def _coef_dtype(self):
        """The dtype that X is computed in: coefficients are stored in it if its digits suffice."""
        return np.float32 if self._X_dtype in DTYPES and self._X_dtype != np.float64 else np.float64

    def _trained(self, y, training, report):
        """The attributes of a fit, by name, from its ``Training`` and its ``PlanReport``."""
        return {
            "_stream": None,
            "_seen": training.moments,
            **self._fitted(y, training.coef, training.intercept),
            "objective_": training.objective,
            "optimality_gap_": training.gap,
            "solver_": training.solver,
            "stop_reason_": training.reason.name.lower(),
            "n_iter_": np.array([training.n_iter], dtype=np.int32),
            "history_": training.history,
            "plan_": report,
        }

    @staticmethod
    def _fitted(y, coef, intercept):
        """The attributes that predictions need, by name."""
        return {
            "coef_": coef,
            "intercept_": intercept,
            "classes_": y.classes,
            "loss_": y.loss,
            "_fitted_kind": y.kind,
            "_known_y": y.without_rows(),
        }


# Attributes that reading X sets.
OF_X = "_X_dtype", "n_features_in_", "feature_names_in_"

# Defaults by parameter; they need no check.
DEFAULTS = {p.name: p.default for p in inspect.signature(SoftmaxClassifier).parameters.values()}
