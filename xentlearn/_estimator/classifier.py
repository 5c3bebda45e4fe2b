"""SoftmaxClassifier: parameters, validation, encoding; calls a solver and stores its result."""

import functools
import numbers
from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils.multiclass import unique_labels
from sklearn.utils.validation import check_is_fitted, validate_data

from .._data._design_matrix import DTYPES, DesignMatrix, computing_dtype
from .._data.dataset import MemoryData
from .._data.out_of_core import BlockData, converted, in_memory
from .._data.readers import MemmapBlocks, blocks_of, each_block
from .._data.scored_targets import encode_for_score
from .._data.target_batches import check_classes, encode_first, encode_like
from .._data.targets import encode_y, is_certain, resolve_loss, unique
from .._loss import proba
from .._losses.base import LossSetting, mean_of
from .._solvers import SOLVERS, STOCHASTIC_SOLVERS
from .._utils.csr import as_csr, as_sound_X
from .._utils.messages import listed, shown, warn
from .._utils.numerics import CERTAIN
from .._utils.threads import effective_n_threads
from .._utils.units import in_unit
from .._utils.validation import as_floating, as_numpy, check_weights, missing_among
from .callbacks import CallbackSupportMixin, FitCallbacks, with_callbacks
from .early_stopping import EarlyStopping, split_rows
from .partial_fit import Stream
from .training import train

FITTED = (np.float64, np.float32)  # dtypes of coefficients
BATCH_SIZE = 200  # as scikit-learn's MLPClassifier has it
# Of Adam: in its first steps epsilon is multiplied by the root of 1 - beta_2 ** t, at least 1e-8;
# what float32 rounds to 0 may be divided by 0.
EPSILONS = 1e-30, 1e30


class SoftmaxClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """Linear classifier trained by cross-entropy: softmax, binary, multi-label, soft labels.

    Minimises, with s_i the sample weight times the class weight of row i and S their sum,

        (1/S) sum_i s_i loss(y_i, W x_i + b)
            + (1/(C S)) * ((1 - l1_ratio)/2 ||W||_2^2 + l1_ratio ||W||_1)

    The intercept b is not penalised. With the default loss this is the objective of scikit-learn's
    ``LogisticRegression``, divided by C S: the same ``C`` gives the same coefficients.

    Parameters
    ----------
    loss : str or loss setting, default="auto"
        "auto" (or "log_loss") goes by y: binary cross-entropy for two classes and for multi-label
        y, sparse categorical cross-entropy for more classes, categorical cross-entropy for soft
        rows. Otherwise the Keras name of a loss ("sparse_categorical_crossentropy",
        "categorical_crossentropy", "binary_crossentropy") or a setting from ``xentlearn.losses``,
        whose parameters a grid search reaches as ``loss__label_smoothing`` and so on.
    C : float, default=1.0
        Inverse of the strength of the penalty, > 0; ``inf`` means no penalty.
    l1_ratio : float, default=0.0
        Share of the L1 penalty, in [0, 1]. Only 0 is implemented.
    fit_intercept : bool, default=True
        Whether to fit the intercept b.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes by label. "balanced" gives every class the same total weight. Not for
        multi-label y; see ``pos_weight`` of ``BinaryCrossentropy``.
    solver : {"auto", "lbfgs", "newton-cg", "newton-cholesky", "adam", "sgd"}, default="auto"
        "auto" takes what was found fastest: "newton-cholesky" where the Hessian costs next to
        nothing (some hundred coefficients); for ten or more rare labels over sparse X sweeps over
        the rows of the dual problem (``solver_`` is then "dual-ascent"); else "lbfgs". All
        named ones are preconditioned and do not mind unscaled features. "newton-cholesky" takes at
        most 6,000 coefficients in all (counted in the space of the rows, where there are more
        features than rows). "adam" and "sgd" go batch by batch; their steps are taken in units in
        which features have mean 0 and spread 1.
    max_iter : int, default=3000
        Most iterations of the solver, >= 0; of "adam" and "sgd" epochs. 0 gives the start, with a
        ConvergenceWarning.
    tol : float, default=1e-4
        Stop at this relative optimality gap, by the solver's estimate: (objective - minimum) over
        the larger of the objective and 1e-6 of the objective at zero coefficients. >= 0.
        Problems of at most 300,000 numbers in X times classes are solved to machine precision.
        "adam" and "sgd" stop when ``n_iter_no_change`` epochs in a row have not lowered the
        objective by this share of it.
    warm_start : bool, default=False
        Whether ``fit`` starts from the coefficients of the previous fit.
    batch_size : int or "auto", default="auto"
        Rows per step of "adam", "sgd" and ``partial_fit``, >= 1; "auto": 200, or all if they are
        fewer.
    shuffle : bool, default=True
        Whether these take the rows in a new random order in each epoch.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Of "sgd": ``learning_rate_init``; that over t ** ``power_t`` in step t; or a fifth of it
        each time that ``n_iter_no_change`` epochs in a row have not lowered the objective.
    learning_rate_init : float, default=0.01
        Of "adam" and "sgd", > 0.
    power_t : float, default=0.5
        Of "invscaling", >= 0.
    momentum : float, default=0.9
        Of "sgd", in [0, 1).
    nesterovs_momentum : bool, default=True
        Whether it is Nesterov's.
    beta_1 : float, default=0.9
        Decay of Adam's mean of gradients, in [0, 1).
    beta_2 : float, default=0.999
        Decay of Adam's mean of their squares, in [0, 1).
    epsilon : float, default=1e-8
        What Adam adds to the root of that, from 1e-30 to 1e30.
    average : bool, default=True
        Whether "adam", "sgd" and ``partial_fit`` give the average of all points, that of step t
        with weight t, in place of the last one.
    early_stopping : bool, default=False
        Whether ``fit`` stops when the loss of rows that are not trained on has not become lower by
        ``tol`` of it for ``n_iter_no_change`` iterations, and gives the coefficients that were best
        for them. With any solver.
    validation_fraction : float, default=0.1
        Share of the rows that are held out for that, in (0, 1), unless ``fit`` gets ``X_val`` and
        ``y_val``. They are drawn by ``random_state``, in each class the same share.
    n_iter_no_change : int, default=10
        See ``tol`` and ``early_stopping``; >= 1.
    random_state : int, RandomState instance or None, default=None
        Of the order of rows in "adam", "sgd" and ``partial_fit``, and of the rows held out.
    verbose : int, default=0
        If > 0, print a line per iteration. Callbacks of scikit-learn 1.9 and newer see each
        iteration as a task within the fit: ``clf.set_callbacks(ProgressBar())``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; 0..L-1 for multi-label and soft y.
    coef_ : ndarray of shape (1, n_features) or (n_outputs, n_features)
        W: one row for two classes, else one per class or label. float32 for float32, float16,
        uint8 and int8 X, unless logits are such small sums of huge terms (of a feature in millions
        that hardly varies) that float32 loses more than ``tol`` of the objective; else float64.
    intercept_ : ndarray of shape (1,) or (n_outputs,)
        b; softmax intercepts sum to 0. A label that is constant in training has +-inf, one without
        any answer 0; a class without weight has -inf, beside which a class that alone has weight
        has a finite one.
    n_iter_ : ndarray of shape (1,)
        Iterations of the solver; of a loss that is not convex, from its convex start on.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had names that are all strings.
    loss_ : loss setting
        The loss that was minimised.
    solver_ : str
        The solver that was used; one of ``solver``, or "dual-ascent". Of many labels over sparse X,
        which are fitted in groups, that of the last group.
    objective_ : float
        The objective above, at the stored coefficients.
    optimality_gap_ : float
        A certified upper bound of (objective_ - minimum) / minimum; inf where none can be given:
        ``C=inf``, and every loss but plain cross-entropy (smoothed and weighted ones included). The
        last entry of ``history_["gap"]`` is an estimate in any case.
    history_ : dict
        Arrays "objective", "gap" (the solver's estimate) and "seconds", one entry per iteration,
        the start included; with early stopping also "validation_loss". Of "adam" and "sgd" an entry
        per epoch, of ``partial_fit`` per call: the mean objective of the batches, each before its
        step, and no estimate (inf).

    Raises
    ------
    ValueError
        In ``fit``: parameters out of range, a y that does not fit the loss, bad X or weights.

    Warns
    -----
    ConvergenceWarning
        If the solver stopped before ``tol`` was reached, or if the stored model, as predictions
        compute it, is not within ``tol`` of what the solver reached.
    UserWarning
        If labels or classes are not fitted but predicted as constants: they do not vary, have no
        weight or no answers.

    Notes
    -----
    With L labels, the losses of a row are added: a multi-label fit equals L separate ones.

    Results have the same bits on every run and for any number of threads (of OpenMP; limited by
    ``OMP_NUM_THREADS``, threadpoolctl and joblib).

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

    def __init__(
        self,
        loss="auto",
        *,
        C=1.0,
        l1_ratio=0.0,
        fit_intercept=True,
        class_weight=None,
        solver="auto",
        max_iter=3000,
        tol=1e-4,
        warm_start=False,
        batch_size="auto",
        shuffle=True,
        learning_rate="constant",
        learning_rate_init=0.01,
        power_t=0.5,
        momentum=0.9,
        nesterovs_momentum=True,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        average=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        random_state=None,
        verbose=0,
    ):
        self.loss = loss
        self.C = C
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.average = average
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.verbose = verbose

    def set_params(self, **params):
        """Set parameters, those of the loss setting included (``loss__label_smoothing=0.1``).

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : SoftmaxClassifier
        """
        nested = [name for name in params if name.startswith("loss__")]
        loss = params.get("loss", self.loss)
        if nested and not isinstance(loss, LossSetting):
            raise ValueError(
                f"{nested[0]!r} needs a loss setting, but 'loss' is "
                f"{'the string ' if isinstance(loss, str) else ''}{loss!r}; pass a setting object, "
                "for example loss=SparseCategoricalCrossentropy()."
            )
        return super().set_params(**params)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        # decided by the parameter alone and without complaint: a bad loss is fit's to report
        try:
            setting = resolve_loss(self.loss)
            multilabel = setting is None or setting.proba_kind == "sigmoid"
        except ValueError:
            multilabel = False
        tags.classifier_tags.multi_label = multilabel
        tags.target_tags.multi_output = multilabel
        return tags

    # ---- Fitting -------------------------------------------------------------------------------

    @with_callbacks
    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Training data. float64, float32, float16, uint8 and int8 are used where they lie,
            whatever their strides; other dtypes are converted to float64. Row blocks
            (``xentlearn.blocks``) and memory-mapped arrays are read block by block in every pass.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Integers or strings, one per row; or columns: a multi-label indicator of 0, 1 and (where
            missing) nan, None or pandas' NA, or one-hot or soft rows for a categorical loss, which
            sum to 1 within 1e-4 (float16: 5e-3). A sample in which one class alone has weight is
            fitted as a constant, with a warning.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Weights >= 0 of the rows; for multi-label y also of single labels. Integer weights give
            the same result as repeated rows.
        X_val : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
            Rows for ``early_stopping`` to judge by; without them a share of X is held out.
        y_val : {array-like, sparse matrix} of shape (n_rows,) or (n_rows, n_outputs), default=None
            Their targets, like y.

        Returns
        -------
        self : SoftmaxClassifier
            The fitted estimator.
        """
        self._check_parameters()
        if (X_val is None) != (y_val is None) or (X_val is not None and not self.early_stopping):
            raise ValueError(
                "'X_val' and 'y_val' must come together, and with early_stopping=True; got "
                f"{'' if X_val is None else 'X_val'}{'' if y_val is None else ' y_val'} and "
                f"early_stopping={self.early_stopping!r}."
            )
        labels, random_state = y, check_random_state(self.random_state)
        data, y = self._read(X, y, sample_weight)
        callbacks = FitCallbacks(self, X, labels, sample_weight, self.verbose > 0, random_state)
        random_state = callbacks.random_state
        stopping = None
        if self.early_stopping:
            data, y, judges = self._split(data, y, X_val, y_val, random_state)
            stopping = EarlyStopping(*judges, self.n_iter_no_change, self.tol)
        mass = y.mass()
        outputs = self._fitted_outputs(y, mass)

        def fitted(coef, intercept):
            return self._fitted(y, coef, intercept)

        training = train(
            data,
            y,
            mass,
            outputs,
            {
                "C": self.C,
                "fit_intercept": bool(self.fit_intercept),
                "solver": self.solver,
                "tol": self.tol,
                "max_iter": self.max_iter,
                "stochastic": {
                    **self._stochastic_options(),
                    "batch_size": self._rows_per_batch(data.shape[0]),
                    "shuffle": bool(self.shuffle),
                    "n_iter_no_change": self.n_iter_no_change,
                    "random_state": random_state,
                },
            },
            self._coef_dtype(),
            self._constant,
            self._warm_start_coef(y, data.shape[1]),
            lambda result, found, snapshot: callbacks(result, lambda: fitted(*found()), snapshot),
            stopping,
            callbacks.resume,
        )
        self._stream, self._seen = None, training.moments
        for name, value in fitted(training.coef, training.intercept).items():
            setattr(self, name, value)
        self._store(training)
        callbacks.close()
        return self

    def _read(self, X, y, sample_weight):
        """(data, encoded y) to train from."""
        source = blocks_of(X)
        if isinstance(source, MemmapBlocks) and len(source.lengths) == 1:
            X, source = in_memory(source), None  # its file may shrink; a copy does not
        if source is not None:
            self._check_features(source, reset=True)
            self._X_dtype = np.dtype(source.dtype)
            y = encode_y(y, source.shape[0], self.loss, self.class_weight, sample_weight)

            def check(X, finite):
                return self._validate_X(X, reset=None, finite=finite)

            return BlockData(source, y, check), y
        X = self._validate_X(X, reset=True)
        y = encode_y(y, X.shape[0], self.loss, self.class_weight, sample_weight)
        kept, y = y.with_weight()
        return MemoryData(X[kept]), y

    def _split(self, data, y, X_val, y_val, random_state):
        """(data, y, what early stopping judges by): as given, or held out."""
        if X_val is not None:
            _require_memory(X_val, "X_val", "read some of them")
            X_val = self._validate_X(X_val, reset=False)
            try:
                y_val = encode_like(y.without_rows(), y_val, X_val.shape[0])
            except ValueError as error:
                raise ValueError(f"In 'y_val': {error}") from None
            return data, y, (MemoryData(X_val), y_val)
        if not hasattr(data, "taken"):
            raise ValueError(
                "'early_stopping' holds out rows of X in memory only; for X in blocks or in "
                "partitions pass 'X_val' and 'y_val', which are in memory, to fit."
            )
        kept, held_out = split_rows(y, self.validation_fraction, random_state)
        judges = data.taken(held_out), y.taken(held_out)
        return data.taken(kept), y.taken(kept), judges

    def _coef_dtype(self):
        """In which coefficients are stored, if it is enough: what X is computed in."""
        return np.float32 if self._X_dtype in DTYPES and self._X_dtype != np.float64 else np.float64

    @staticmethod
    def _fitted(y, coef, intercept):
        """The attributes that predictions need."""
        return {
            "coef_": coef,
            "intercept_": intercept,
            "classes_": y.classes,
            "loss_": y.loss,
            "_fitted_kind": y.kind,
            "_known_y": y.without_rows(),
        }

    def _stochastic_options(self):
        """Of ``StochasticDescent``."""
        names = ("learning_rate", "learning_rate_init", "power_t", "momentum", "beta_1", "beta_2")
        flags = ("nesterovs_momentum", "average")
        return {
            **{name: getattr(self, name) for name in (*names, "epsilon")},
            **{name: bool(getattr(self, name)) for name in flags},
        }

    def _rows_per_batch(self, n_samples):
        return min(BATCH_SIZE if self.batch_size == "auto" else self.batch_size, n_samples)

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Go on fitting, with one epoch on a batch of the data.

        Adam, or SGD with momentum if ``solver="sgd"``, in steps of ``batch_size`` rows. What
        solvers know of all data beforehand is what has been seen so far: the penalty weighs
        1 / (C times the weight of all rows seen), features are scaled by the mean and the variance
        of all rows seen. After ``fit`` it starts from its coefficients. The average of the points
        (``average``) is over the last 100 steps or so, as a stream may change; without it changes
        are followed faster still. Parameters may change between calls, but for ``class_weight`` and
        the kind of loss.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Their targets. The first call decides for all others what kind they are.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come. Needed in the first call, unless y has columns (of which
            it may give the number, 0..L-1) or ``fit`` came before; then the same or None.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Weights >= 0, as in ``fit``.

        Returns
        -------
        self : SoftmaxClassifier
            The estimator; ``objective_`` is the mean over the batches of this call, each before its
            step, ``n_iter_`` the number of calls.

        Raises
        ------
        ValueError
            As in ``fit``; if ``classes`` are missing, or are not those of earlier calls; if y has
            others.
        """
        self._check_parameters()
        _require_memory(X, "X", "give partial_fit block after block, X.read(i), with its rows of y")
        before = dict(vars(self))
        try:
            return self._partial_fit(X, y, classes, sample_weight)
        except Exception:
            vars(self).clear()  # a call that is refused leaves no trace
            vars(self).update(before)
            raise

    def _partial_fit(self, X, y, classes, sample_weight):
        stream = getattr(self, "_stream", None)
        X = self._validate_X(X, reset=not hasattr(self, "n_features_in_"))
        if stream is None:
            stream = self._begin_stream(X, y, classes, sample_weight)
        elif classes is not None:
            check_classes(stream.known, classes)
        setting, known = resolve_loss(self.loss), stream.known
        if setting is not None and setting != known.loss:
            if type(setting) is not type(known.loss):
                raise ValueError(
                    f"'loss' must stay a {type(known.loss).__name__} for partial_fit (its "
                    f"parameters may change), got {type(setting).__name__}; start anew, with a "
                    "clone."
                )
            known = replace(known, loss=setting)
        y = encode_like(known, y, X.shape[0], sample_weight)
        stream.known = known
        rule = "sgd" if self.solver == "sgd" else "adam"
        went_well = stream.update(
            X,
            y,
            rule,
            self._stochastic_options(),
            self.C,
            bool(self.fit_intercept),
            self._rows_per_batch(X.shape[0]),
            bool(self.shuffle),
            effective_n_threads(),
        )
        if not went_well:
            warn(
                "Training diverged; the coefficients from before this call were restored: "
                "'learning_rate_init' is too large. Lower it.",
                ConvergenceWarning,
            )
        coef, intercept = stream.found()
        if y.loss.shift_invariant and self.fit_intercept:
            intercept -= intercept.mean()
        dtype = np.result_type(self._coef_dtype(), stream.dtype)
        for name, value in self._fitted(y, coef.astype(dtype), intercept.astype(dtype)).items():
            setattr(self, name, value)
        self.history_ = {name: np.array(values) for name, values in stream.history.items()}
        self.objective_, self.optimality_gap_ = float(self.history_["objective"][-1]), np.inf
        self.n_iter_ = np.array([len(self.history_["objective"])], dtype=np.int32)
        self.solver_, self._stream = rule, stream
        return self

    def _begin_stream(self, X, y, classes, sample_weight):
        """What is known before the first batch: from ``classes``, from ``fit``, or from y."""
        seen, known = getattr(self, "_seen", None), getattr(self, "_known_y", None)
        start = None
        if hasattr(self, "coef_"):
            coef, intercept = self._model()
            start = coef, _to_go_on_from(intercept)
            if known is None and classes is None and self._kind != "multilabel":  # set by hand
                classes = self.classes_
        if known is None:
            known = encode_first(
                y, X.shape[0], self.loss, self.class_weight, classes, sample_weight
            )
        if start is None:
            start = np.zeros((known.n_outputs, X.shape[1])), np.zeros(known.n_outputs)
        if start[0].shape != (known.n_outputs, X.shape[1]):
            raise ValueError(
                f"'coef_' must have shape {(known.n_outputs, X.shape[1])} for this 'X' and 'y', "
                f"got {start[0].shape}. To start anew take a clone."
            )
        return Stream(known, *start, check_random_state(self.random_state), seen)

    def _check_parameters(self):
        """Ranges of the parameters, each with a message of its own."""

        def require(condition, name, rule):
            if not condition:
                raise ValueError(f"'{name}' must be {rule}, got {getattr(self, name)!r}.")

        def is_number(value):
            return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))

        def is_integer(value):
            return isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_))

        resolve_loss(self.loss)
        require(is_number(self.C) and self.C > 0, "C", "a number > 0 (inf: no penalty)")
        require(
            is_number(self.l1_ratio) and 0 <= self.l1_ratio <= 1, "l1_ratio", "a number in [0, 1]"
        )
        require(
            self.l1_ratio == 0,
            "l1_ratio",
            "0 for now: no solver here handles the L1 penalty yet (LogisticRegression's saga does)",
        )
        require(isinstance(self.fit_intercept, (bool, np.bool_)), "fit_intercept", "True or False")
        solvers = ["auto", *SOLVERS, *STOCHASTIC_SOLVERS]
        require(
            isinstance(self.solver, str) and self.solver in solvers,
            "solver",
            f"one of {solvers} ('auto' takes what is fastest)",
        )
        require(is_integer(self.max_iter) and self.max_iter >= 0, "max_iter", "an integer >= 0")
        require(is_number(self.tol) and 0 <= self.tol < np.inf, "tol", "a finite number >= 0")
        flags = ("warm_start", "shuffle", "nesterovs_momentum", "average", "early_stopping")
        for name in flags:
            require(isinstance(getattr(self, name), (bool, np.bool_)), name, "True or False")
        require(
            (isinstance(self.batch_size, str) and self.batch_size == "auto")
            or (is_integer(self.batch_size) and self.batch_size >= 1),
            "batch_size",
            "an integer >= 1 or 'auto'",
        )
        schedules = ["constant", "invscaling", "adaptive"]
        require(
            isinstance(self.learning_rate, str) and self.learning_rate in schedules,
            "learning_rate",
            f"one of {schedules} (the number is 'learning_rate_init')",
        )
        require(
            is_number(self.learning_rate_init) and 0 < self.learning_rate_init < np.inf,
            "learning_rate_init",
            "a finite number > 0",
        )
        least, most = EPSILONS
        require(
            is_number(self.epsilon) and least <= self.epsilon <= most,
            "epsilon",
            f"a number from {least} to {most}, as float32 holds its products",
        )
        require(
            is_number(self.power_t) and 0 <= self.power_t < np.inf,
            "power_t",
            "a finite number >= 0",
        )
        for name in ("momentum", "beta_1", "beta_2"):
            value = getattr(self, name)
            require(is_number(value) and 0 <= value < 1, name, "a number in [0, 1)")
        require(
            is_number(self.validation_fraction) and 0 < self.validation_fraction < 1,
            "validation_fraction",
            "a number in (0, 1)",
        )
        require(
            is_integer(self.n_iter_no_change) and self.n_iter_no_change >= 1,
            "n_iter_no_change",
            "an integer >= 1",
        )

    def _validate_X(self, X, reset, finite=True):
        """X as an array or CSR of a dtype that the fused pass reads; remembers the one it had.

        ``reset`` is None for a block of rows, whose features have been looked at. ``finite``:
        whether to look through it for nan and inf.
        """
        X = as_numpy(X, "X")
        if reset is None:
            check = functools.partial(check_array, estimator=self, input_name="X")
        else:
            check = functools.partial(validate_data, self, reset=reset)
        try:
            X = check(
                as_sound_X(X),
                accept_sparse="csr",
                accept_large_sparse=True,
                dtype=None if _is_real_number_array(X) else "numeric",
                ensure_all_finite=finite,
            )
            if X.dtype.kind == "O":  # lists with None, which is no nan before it is a float
                X = check_array(X, dtype=np.float64, estimator=self, input_name="X")
        except TypeError:  # pandas' NA among objects is no number for scikit-learn
            missing = None if sparse.issparse(X) else missing_among(np.asarray(X))
            if missing is None:
                raise
            raise ValueError(
                "Input X contains NaN or NA, first in row "
                f"{np.argmax(missing.reshape(len(missing), -1).any(axis=1))}. SoftmaxClassifier "
                "does not accept missing values encoded as NaN natively; fill them, for example by "
                "sklearn.impute.SimpleImputer."
            ) from None
        if reset:
            self._X_dtype = X.dtype
        if X.dtype.kind == "c":
            raise ValueError("Complex data not supported: 'X' must hold real numbers.")
        return converted(X)

    def _check_features(self, source, reset):
        """Number and names of the features of row blocks."""
        names = getattr(source, "feature_names", None)
        if not reset and names is not None and hasattr(self, "feature_names_in_"):
            if list(names) != list(self.feature_names_in_):
                raise ValueError(
                    "'X' must have the features that the fit had, in that order: "
                    f"{listed(self.feature_names_in_)}; got {listed(names)}. Choose them by "
                    "'columns'."
                )
            return
        like_a_block = np.empty((1, source.shape[1]))
        validate_data(self, like_a_block, reset=reset, skip_check_array=True)
        if reset and names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)

    def _fitted_outputs(self, y, mass):
        """Outputs that have something to fit; warns of those that have not."""
        seen = mass > 0
        # one-vs-rest: probability 0 for each class by itself cannot be divided by their sum
        all_zero = y.kind == "one_vs_rest" and (seen[:, 0] & ~seen[:, 1]).all()
        if all_zero or not (seen.any() or y.kind == "multilabel"):
            raise ValueError(
                f"A class must have a positive weight; of {listed(y.classes)} none has. Look at "
                "'class_weight', 'pos_weight' and 'sample_weight'."
            )
        self._constant = np.full(y.n_outputs, -np.inf)
        names = "Labels" if y.kind == "multilabel" else "Classes"
        if mass.ndim == 1:
            alone = np.flatnonzero(seen) if np.count_nonzero(seen) == 1 else None
            varies = seen if alone is None else np.zeros_like(seen)
            told = {"have no weight in the training data and get probability 0": ~seen}
            if alone is not None:
                # A softmax of one logit and others of -inf is 1 whatever the one; a binary part of
                # a hybrid loss wants it large, and none takes inf.
                self._constant[alone] = 0.0 if y.loss.shift_invariant else CERTAIN
        else:
            varies = seen.all(axis=1)
            unanswered = ~seen.any(axis=1)
            self._constant[seen[:, 1]] = np.inf
            self._constant[unanswered] = 0.0
            alone = _class_alone(y, mass)
            told = {
                "do not vary in the training data and are predicted as the constant they are": (
                    ~varies & ~unanswered
                ),
                "have no answers in the training data (all are missing or without weight) and get "
                "logit 0, probability 0.5": unanswered,
            }
        if alone is not None:
            warn(
                f"Class {shown(y.classes[alone][0])} alone has weight in the training data: it is "
                "predicted for all rows, with probability 1.",
                UserWarning,
            )
        else:
            for what, which in told.items():
                if which.any():
                    warn(f"{names} {listed(y.classes[which])} {what}.", UserWarning)
        return np.flatnonzero(varies)

    def _warm_start_coef(self, y, n_features):
        """(coef, intercept) of the last fit, or None."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        advice = "Set warm_start=False, or fit a clone."
        if not np.array_equal(self.classes_, y.classes):
            last, now = list(self.classes_), list(y.classes)
            gone = [label for label in last if label not in set(now)]
            new = [label for label in now if label not in set(last)]
            sides = [f"the last fit had {listed(gone)}, which y has not"] if gone else []
            if new:
                sides.append(
                    f"y has {listed(new)}, which {'it' if gone else 'the last fit'} had not"
                )
            raise ValueError(
                "'warm_start' continues a fit with the same classes; "
                f"{', and '.join(sides)}. {advice}"
            )
        coef, intercept = self._model()
        if coef.shape != (y.n_outputs, n_features):
            raise ValueError(
                "'warm_start' continues a fit with the same features and kind of loss; the last "
                f"fit has coefficients of shape {coef.shape}, this one needs "
                f"{(y.n_outputs, n_features)}. {advice}"
            )
        return np.array(coef, np.float64), _to_go_on_from(intercept)

    def _store(self, training):
        """What the fit tells of itself: attributes and warnings."""
        self.objective_, self.optimality_gap_ = training.objective, training.gap
        self.solver_ = training.solver
        self.n_iter_ = np.array([training.n_iter], dtype=np.int32)
        self.history_ = {name: np.array(values) for name, values in training.history.items()}
        if training.stopped_by is not None:
            raise training.stopped_by
        if training.separable:
            warn(
                "The classes are separable and nothing is penalised (C=inf): the objective goes to "
                f"0 as the coefficients grow without bound. {training.solver} stopped at objective "
                f"{training.objective:.2g}; choose a finite 'C' for a minimum that exists.",
                ConvergenceWarning,
            )
        elif training.failed and training.solver in STOCHASTIC_SOLVERS:
            result = training.failed[0]
            warn(
                f"{training.solver} stopped after {result.n_iter} epochs ({result.message}). "
                "Increase 'max_iter' or 'tol', change 'learning_rate_init', or take solver='auto', "
                "which needs no learning rate.",
                ConvergenceWarning,
            )
        elif training.failed:
            result = max(training.failed, key=lambda result: result.gap)
            warn(
                f"{training.solver} stopped after {result.n_iter} iterations ({result.message}): "
                f"estimated relative optimality gap {result.gap:.2g}, wanted {self.tol:.2g}. "
                "Increase 'max_iter' or 'tol', or lower 'C'"
                + (", or pass X as float64." if self.coef_.dtype == np.float32 else "."),
                ConvergenceWarning,
            )
        if training.lost > 0:
            warn(
                f"Storing the coefficients changed the objective by {training.lost:.2g} of itself, "
                f"which is more than tol={self.tol:.2g}: logits are small sums of huge terms, of "
                f"which {self.coef_.dtype} keeps too few digits. Subtract their means from the "
                "features before fit and predict (sklearn.preprocessing.StandardScaler), or lower "
                "'C'.",
                ConvergenceWarning,
            )

    # ---- Predicting ----------------------------------------------------------------------------

    @property
    def _kind(self):
        """Kind of y (``EncodedY``) that ``coef_`` and ``classes_`` predict.

        That of the fit, if they are of its shape. They may have been set by hand: then as in
        ``LogisticRegression``, a single row of ``coef_`` for two classes, several for as many.
        """
        kind, n_outputs = vars(self).get("_fitted_kind"), np.shape(self.coef_)[0]
        fits = {"binary": n_outputs == 1, "two_logits": n_outputs == 2}
        if kind is not None and fits.get(kind, n_outputs == len(self.classes_)):
            return kind
        if n_outputs == 1:
            return "binary"
        setting = resolve_loss(self.loss)
        if setting is not None and setting.proba_kind == "sigmoid":
            return "one_vs_rest"
        return "two_logits" if n_outputs == 2 else "multiclass"

    def _model(self):
        """(coef (n_outputs, n_features), intercept (n_outputs,)), which may be set by hand."""
        coef, intercept = self.coef_, self.intercept_
        as_fitted = type(coef) is np.ndarray and type(intercept) is np.ndarray
        if not (
            as_fitted
            and coef.dtype in FITTED
            and coef.dtype == intercept.dtype
            and coef.flags.aligned
            and coef.ndim == 2
            and intercept.shape == coef.shape[:1]
        ):
            # As LogisticRegression.sparsify makes it. A path that keeps it sparse in predictions
            # comes with sparse models.
            if sparse.issparse(coef):
                coef = as_csr(coef, "coef_")[0].toarray()
            coef, _ = as_floating(coef, "coef_")
            intercept, _ = as_floating(np.atleast_1d(intercept), "intercept_")
            if coef.ndim != 2 or intercept.shape not in ((1,), coef.shape[:1]):
                raise ValueError(
                    "'coef_' must have shape (n_outputs, n_features) and 'intercept_' "
                    f"(n_outputs,), got {coef.shape} and {intercept.shape}."
                )
            intercept = np.broadcast_to(intercept, coef.shape[:1])
        kind = self._kind
        n_classes = 2 if kind == "binary" else len(coef)
        if len(self.classes_) != n_classes and kind != "multilabel":
            raise ValueError(
                f"'classes_' must have {n_classes} labels for 'coef_' of shape {coef.shape}, got "
                f"{len(self.classes_)}."
            )
        return coef, intercept

    def _scores(self, X, kind):
        """(n_samples, n_outputs) scores of one kind; see DesignMatrix.scores."""

        def scores(design, coef, intercept):
            scores = np.empty((design.n_rows, len(intercept)), dtype=design.dtype)
            design.scores(coef.T, intercept, scores, kind, effective_n_threads())
            return scores

        return self._of_rows(X, scores)

    def _of_rows(self, X, function):
        """``function(design, coef, intercept)``, an entry or row for each row of X.

        Of row blocks one by one.
        """
        check_is_fitted(self)
        source, result = blocks_of(X), None
        if source is None:
            return self._of_checked(X, function, reset=False)
        self._check_features(source, reset=False)

        def add(i, rows, block):
            nonlocal result
            found = self._of_checked(block, function, reset=None)
            if result is None:
                result = np.empty((source.shape[0], *found.shape[1:]), dtype=found.dtype)
            result[rows] = found

        each_block(source, add)
        return result

    def _of_checked(self, X, function, reset):
        """``function`` of X, which is not looked through for nan and inf: that takes the time.

        They show in the logits, except float16 ones. Not every logit that is not finite has them
        for a reason: then X is looked through after all, for the usual error.
        """
        finite = str(getattr(X, "dtype", "")) not in ("float32", "float64")
        checked, (coef, intercept) = self._validate_X(X, reset=reset, finite=finite), self._model()
        if checked.shape[1] != coef.shape[1]:
            raise ValueError(
                f"'X' must have the {coef.shape[1]} features of 'coef_', got {checked.shape[1]}."
            )
        # a model of float64 may need all of its digits, whatever it is to predict
        design = DesignMatrix(checked, np.result_type(computing_dtype(checked), coef))
        result = function(design, coef, intercept)
        if not design.finite_logits:
            self._validate_X(X, reset=reset)
        return result

    def decision_function(self, X):
        """Logits; for two classes their difference, positive where the second class is likelier.

        They are finite: in place of an infinite ``intercept_`` stands one of 1e15, below or above
        all others.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_outputs)
        """
        logits = self._scores(X, "logits")
        intercept = self._model()[1]
        infinite = np.isinf(intercept)
        if infinite.any():
            logits[:, infinite] = np.copysign(CERTAIN, intercept[infinite])
        if self._kind == "binary":
            return logits[:, 0]
        if self._kind == "two_logits":
            return logits[:, 1] - logits[:, 0]
        return logits

    def predict(self, X):
        """Likeliest class of each row; for multi-label y the indicator.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,), of the labels' dtype; multi-label (n_samples, n_labels), int
        """
        check_is_fitted(self)
        if self._kind == "multilabel":
            return (self.decision_function(X) > 0).astype(np.int64)
        if self._kind == "binary":
            return np.asarray(self.classes_)[(self.decision_function(X) > 0).astype(np.intp)]

        def likeliest(design, coef, intercept):
            return design.likeliest(coef.T, intercept, effective_n_threads())

        return np.asarray(self.classes_)[self._of_rows(X, likeliest)]

    def predict_proba(self, X):
        """Probabilities of the classes; for multi-label y of each label being 1.

        One-vs-rest probabilities are divided by their sum.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples, n_labels)
        """
        return self._probabilities(X, logarithm=False)

    def predict_log_proba(self, X):
        """Logarithms of ``predict_proba``, exact also where a probability underflows.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or (n_samples, n_labels)
        """
        return self._probabilities(X, logarithm=True)

    def _probabilities(self, X, logarithm):
        check_is_fitted(self)
        kind, prefix = self._kind, "log_" if logarithm else ""
        if kind == "binary":
            logits = self._scores(X, "logits")
            both = np.concatenate([-logits, logits], axis=1)
            result = np.empty_like(both)
            proba("sigmoid", both, result, logarithm, effective_n_threads())
            return result
        if kind == "one_vs_rest":
            # dividing p_k by their sum is the softmax of log p_k, and cannot be 0 / 0
            logs = self._scores(X, "log_sigmoid")
            result = np.empty_like(logs)
            proba("softmax", logs, result, logarithm, effective_n_threads())
            return result
        return self._scores(X, prefix + ("sigmoid" if kind == "multilabel" else "softmax"))

    def _logits(self, X):
        """Logits of every output, +-inf where ``intercept_`` is: what scorers judge."""
        return self._scores(X, "logits")

    def score(self, X, y, sample_weight=None):
        """Accuracy: the share of rows that are predicted right.

        Soft rows are right where their argmax is predicted. A multi-label row is right if all its
        labels that are not missing are. Rows without any label, those of ``ignore_class`` among
        them, do not count; a label that was not in training is wrong.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            True labels, as in ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0 of the rows.

        Returns
        -------
        float
            nan, with a RuntimeWarning, where no row counts.
        """
        right, total, _ = self._weight_of_right(X, y, sample_weight)
        return mean_of(right, total)

    def _weight_of_right(self, X, y, sample_weight):
        """(weight of the rows that are predicted right, of all that count, their exponent).

        Both weights are over 2 ** the exponent.
        """
        predicted = self.predict(X)
        setting = vars(self).get("loss_", resolve_loss(self.loss))
        ignore_class = None if setting is None else setting.ignore_class
        y, judged = encode_for_score(y, self._kind, len(self._model()[1]), ignore_class)
        if len(y) != len(predicted):
            raise ValueError(
                f"'X' and 'y' must have the same number of rows, got {len(predicted)} and {len(y)}."
            )
        weight = check_weights(sample_weight, "sample_weight", (len(y),))
        weight = np.where(judged, 1.0 if weight is None else weight, 0.0)
        if y.ndim == 2:
            right = ((predicted == y) | np.isnan(y)).all(axis=1)
        else:
            if judged.any():  # labels of another type are a mistake, not wrong predictions
                unique_labels(self.classes_, unique(y[judged])[0])
            right = predicted == y
        weight, exponent = in_unit(weight)
        return weight[right].sum(), weight.sum(), exponent


def _class_alone(y, mass):
    """Index (of shape (1,)) of the only one of several classes that has weight, or None.

    ``mass`` is of a binary loss: of the 0s and of the 1s of each output.
    """
    if y.kind == "multilabel":
        return None
    weights = mass[0] if y.kind == "binary" else mass[:, 1]
    alone = np.flatnonzero(weights)
    without_others = y.kind == "binary" or mass[alone, 0].sum() == 0
    return alone if len(alone) == 1 and without_others else None


def _to_go_on_from(intercept):
    """Intercepts as float64, 0 where they stand for a constant: solvers start from finite ones."""
    intercept = np.array(intercept, dtype=np.float64)
    intercept[is_certain(np.abs(intercept))] = 0.0
    return intercept


def _require_memory(X, name, remedy):
    """Raise ValueError for row blocks, where rows in memory are wanted."""
    if blocks_of(X) is not None and not isinstance(X, np.memmap):
        raise ValueError(f"'{name}' must be rows in memory, got row blocks; {remedy}.")


def _is_real_number_array(X):
    """Whether X has a dtype that is kept (or converted here) rather than made numeric."""
    dtype = getattr(X, "dtype", None)
    return (
        isinstance(dtype, np.dtype)
        and dtype.kind in "fiub"
        and (isinstance(X, np.ndarray) or sparse.issparse(X))
    )
