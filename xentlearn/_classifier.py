"""SoftmaxClassifier: parameters, validation, encoding; calls a solver and stores its result."""

import functools
import numbers
import warnings

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ._block_rows import BlockData, converted, in_memory
from ._callbacks import CallbackSupportMixin, FitCallbacks, with_callbacks
from ._linear import DesignMatrix
from ._loss import proba
from ._loss_setting import LossSetting
from ._rows import MemoryData
from ._solvers import SOLVERS
from ._targets import encode_for_score, encode_y, resolve_loss
from ._threads import effective_n_threads
from ._training import train
from ._validation import check_weights
from .blocks import MemmapBlocks, blocks_of, each_block


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
    solver : {"auto", "lbfgs", "newton-cg", "newton-cholesky"}, default="auto"
        "auto" takes what was found fastest: "newton-cholesky" where the Hessian costs next to
        nothing (some hundred coefficients), else "lbfgs". All are preconditioned and do not mind
        unscaled features. "newton-cholesky" takes at most 6,000 coefficients in all (counted in
        the space of the rows, where there are more features than rows).
    max_iter : int, default=3000
        Most iterations of the solver, >= 1.
    tol : float, default=1e-4
        Stop at this relative optimality gap, by the solver's estimate: (objective - minimum) over
        the larger of the objective and 1e-6 of the objective at zero coefficients. >= 0.
        Problems of at most 300,000 numbers in X times classes are solved to machine precision.
    warm_start : bool, default=False
        Whether ``fit`` starts from the coefficients of the previous fit.
    random_state : int, RandomState instance or None, default=None
        For solvers that draw random numbers; none of the present ones does.
    verbose : int, default=0
        If > 0, print a line per iteration. Callbacks of scikit-learn 1.9 and newer see each
        iteration as a task within the fit: ``clf.set_callbacks(ProgressBar())``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; 0..L-1 for multi-label and soft y.
    coef_ : ndarray of shape (1, n_features) or (n_outputs, n_features)
        W: one row for two classes, else one per class or label. float64 for float64 X, else
        float32.
    intercept_ : ndarray of shape (1,) or (n_outputs,)
        b; softmax intercepts sum to 0. A label that is constant in training has +-inf, a class
        without weight -inf.
    n_iter_ : ndarray of shape (1,)
        Iterations of the solver; of a loss that is not convex, from its convex start on.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X had names that are all strings.
    loss_ : loss setting
        The loss that was minimised.
    solver_ : str
        The solver that was used.
    objective_ : float
        The objective above, at the stored coefficients.
    optimality_gap_ : float
        A certified upper bound of (objective_ - minimum) / minimum; inf where none can be given:
        ``C=inf``, and every loss but plain cross-entropy (smoothed and weighted ones included). The
        last entry of ``history_["gap"]`` is an estimate in any case.
    history_ : dict
        Arrays "objective", "gap" (the solver's estimate) and "seconds", one entry per iteration,
        the start included.

    Raises
    ------
    ValueError
        In ``fit``: parameters out of range, a y that does not fit the loss, bad X or weights.

    Warns
    -----
    ConvergenceWarning
        If the solver stopped before ``tol`` was reached.

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
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Training data. float64, float32, float16, uint8 and int8 are used where they lie,
            whatever their strides; other dtypes are converted to float64. Row blocks
            (``xentlearn.blocks``) and memory-mapped arrays are read block by block in every pass.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Integers or strings, one per row; or columns: a multi-label indicator of 0, 1 and (where
            missing) nan, or one-hot or soft rows for a categorical loss.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Weights >= 0 of the rows; for multi-label y also of single labels. Integer weights give
            the same result as repeated rows.

        Returns
        -------
        self : SoftmaxClassifier
            The fitted estimator.
        """
        self._check_parameters()
        labels = y
        data, y = self._read(X, y, sample_weight)
        callbacks = FitCallbacks(self, X, labels, sample_weight, self.verbose > 0)
        mass = y.mass()
        outputs = self._fitted_outputs(y, mass)
        double = self._X_dtype.kind == "f" and self._X_dtype.itemsize >= 8

        def fitted(coef, intercept):
            """The attributes that predictions need."""
            return {
                "coef_": coef,
                "intercept_": intercept,
                "classes_": y.classes,
                "loss_": y.loss,
                "_kind": y.kind,
            }

        training = train(
            data,
            y,
            mass,
            outputs,
            self._warm_start_coef(y, data.shape[1]),
            self._constant,
            np.float64 if double else np.float32,
            {
                "C": self.C,
                "fit_intercept": bool(self.fit_intercept),
                "solver": self.solver,
                "tol": self.tol,
                "max_iter": self.max_iter,
            },
            lambda result, found: callbacks(result, lambda: fitted(*found())),
        )
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
            return BlockData(source, y, lambda X: self._validate_X(X, reset=None)), y
        X = self._validate_X(X, reset=True)
        y = encode_y(y, X.shape[0], self.loss, self.class_weight, sample_weight)
        kept, y = y.with_weight()
        return MemoryData(X[kept]), y

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
        solvers = ["auto", *SOLVERS]
        require(
            isinstance(self.solver, str) and self.solver in solvers,
            "solver",
            f"one of {solvers} ('auto' takes what is fastest)",
        )
        require(is_integer(self.max_iter) and self.max_iter >= 1, "max_iter", "an integer >= 1")
        require(is_number(self.tol) and 0 <= self.tol < np.inf, "tol", "a finite number >= 0")
        require(isinstance(self.warm_start, (bool, np.bool_)), "warm_start", "True or False")

    def _validate_X(self, X, reset, finite=True):
        """X as an array or CSR of a dtype that the fused pass reads; remembers the one it had.

        ``reset`` is None for a block of rows, whose features have been looked at. ``finite``:
        whether to look through it for nan and inf.
        """
        if reset is None:
            check = functools.partial(check_array, estimator=self, input_name="X")
        else:
            check = functools.partial(validate_data, self, reset=reset)
        X = check(
            X,
            accept_sparse="csr",
            accept_large_sparse=True,
            dtype=None if _is_real_number_array(X) else "numeric",
            ensure_all_finite=finite,
        )
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
                    f"{list(self.feature_names_in_)}; got {list(names)}. Choose them by 'columns'."
                )
            return
        like_a_block = np.empty((1, source.shape[1]))
        validate_data(self, like_a_block, reset=reset, skip_check_array=True)
        if reset and names is not None:
            self.feature_names_in_ = np.array(names, dtype=object)

    def _fitted_outputs(self, y, mass):
        """Outputs that have something to fit; warns of those that have not."""
        if mass.ndim == 1:
            varies = mass > 0
            what = "have no weight in the training data and get probability 0"
            names = "Classes"
        else:
            varies = (mass > 0).all(axis=1)
            what = "do not vary in the training data and are predicted as the constant they are"
            names = "Classes" if y.kind == "one_vs_rest" else "Labels"
        if (y.kind == "binary" and not varies.all()) or (mass.ndim == 1 and varies.sum() < 2):
            raise ValueError(
                "At least 2 classes must have a positive weight; of "
                f"{y.classes.tolist()} fewer have one. Look at 'class_weight', 'pos_weight' and "
                "'sample_weight'."
            )
        if not varies.all():
            warnings.warn(
                f"{names} {y.classes[~varies].tolist()} {what}.", UserWarning, stacklevel=3
            )
        self._constant = np.full(y.n_outputs, -np.inf)
        if mass.ndim == 2:
            self._constant[(mass[:, 1] > 0) & (mass[:, 0] == 0)] = np.inf
        return np.flatnonzero(varies)

    def _warm_start_coef(self, y, n_features):
        """(coef, intercept) of the last fit, or None."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        if self.coef_.shape != (y.n_outputs, n_features) or not np.array_equal(
            self.classes_, y.classes
        ):
            raise ValueError(
                "'warm_start' continues a fit with the same classes and features; the last fit has "
                f"coefficients of shape {self.coef_.shape}, this one needs "
                f"{(y.n_outputs, n_features)} (or the classes differ). Set warm_start=False."
            )
        return self.coef_.astype(np.float64), self.intercept_.astype(np.float64)

    def _store(self, training):
        """What the fit tells of itself: attributes and warnings."""
        self.objective_, self.optimality_gap_ = training.objective, training.gap
        self.solver_ = training.solver
        self.n_iter_ = np.array([training.n_iter], dtype=np.int32)
        self.history_ = {name: np.array(values) for name, values in training.history.items()}
        if training.stopped_by is not None:
            raise training.stopped_by
        if training.separable:
            warnings.warn(
                "The classes are separable and nothing is penalised (C=inf): the objective goes to "
                f"0 as the coefficients grow without bound. {training.solver} stopped at objective "
                f"{training.objective:.2g}; choose a finite 'C' for a minimum that exists.",
                ConvergenceWarning,
                stacklevel=3,
            )
        elif training.failed:
            result = max(training.failed, key=lambda result: result.gap)
            warnings.warn(
                f"{training.solver} stopped after {result.n_iter} iterations ({result.message}): "
                f"estimated relative optimality gap {result.gap:.2g}, wanted {self.tol:.2g}. "
                "Increase 'max_iter' or 'tol', or lower 'C'"
                + (", or pass X as float64." if self.coef_.dtype == np.float32 else "."),
                ConvergenceWarning,
                stacklevel=3,
            )

    # ---- Predicting ----------------------------------------------------------------------------

    def _scores(self, X, kind):
        """(n_samples, n_outputs) scores of one kind; see DesignMatrix.scores."""

        def scores(design):
            scores = np.empty((design.n_rows, len(self.intercept_)), dtype=design.dtype)
            design.scores(self.coef_.T, self.intercept_, scores, kind, effective_n_threads())
            return scores

        return self._of_rows(X, scores)

    def _of_rows(self, X, function):
        """``function(design)``, an entry or row for each row of X; of row blocks one by one."""
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
        design = DesignMatrix(self._validate_X(X, reset=reset, finite=finite))
        result = function(design)
        if not design.finite_logits:
            self._validate_X(X, reset=reset)
        return result

    def decision_function(self, X):
        """Logits; for two classes their difference, positive where the second class is likelier.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_outputs)
        """
        logits = self._scores(X, "logits")
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
            return self.classes_[(self.decision_function(X) > 0).astype(np.intp)]

        def likeliest(design):
            return design.likeliest(self.coef_.T, self.intercept_, effective_n_threads())

        return self.classes_[self._of_rows(X, likeliest)]

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
        prefix = "log_" if logarithm else ""
        if self._kind == "binary":
            logits = self._scores(X, "logits")
            both = np.concatenate([-logits, logits], axis=1)
            result = np.empty_like(both)
            proba("sigmoid", both, result, logarithm, effective_n_threads())
            return result
        if self._kind == "one_vs_rest":
            # dividing p_k by their sum is the softmax of log p_k, and cannot be 0 / 0
            logs = self._scores(X, "log_sigmoid")
            result = np.empty_like(logs)
            proba("softmax", logs, result, logarithm, effective_n_threads())
            return result
        return self._scores(X, prefix + self.loss_.proba_kind)

    def score(self, X, y, sample_weight=None):
        """Accuracy: the share of rows that are predicted right.

        Soft rows are right where their argmax is predicted. A multi-label row is right if all its
        labels that are not missing are.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            True labels, as in ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        float
        """
        predicted = self.predict(X)
        y = encode_for_score(y, self._kind, len(self.intercept_))
        if self._kind != "multilabel":
            return float(accuracy_score(y, predicted, sample_weight=sample_weight))
        if len(y) != len(predicted):
            raise ValueError(
                f"'X' and 'y' must have the same number of rows, got {len(predicted)} and {len(y)}."
            )
        right = ((predicted == y) | np.isnan(y)).all(axis=1)
        weight = check_weights(sample_weight, "sample_weight", (len(y),))
        return float(np.average(right, weights=weight))


def _is_real_number_array(X):
    """Whether X has a dtype that is kept (or converted here) rather than made numeric."""
    dtype = getattr(X, "dtype", None)
    return (
        isinstance(dtype, np.dtype)
        and dtype.kind in "fiub"
        and (isinstance(X, np.ndarray) or sparse.issparse(X))
    )
