"""``partial_fit``, and what it remembers from one part of the data to the next."""

import copy
import time
from dataclasses import replace

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if

from .._data.dataset import MemoryRows
from .._data.statistics import moments_of
from .._data.target_batches import check_classes, encode_first, encode_like
from .._data.targets import resolve_loss
from .._objective.linear import L2
from .._solvers.batch_descent import SETTINGS, BatchDescent, SparseDescent, Terms
from .._solvers.settings import Adam, StochasticSetting
from .._utils.messages import warn
from .._utils.threads import FEW_PRODUCTS, effective_n_threads, sequential_blas
from .inputs import require_memory, validated
from .penalty import has_plain_penalty
from .start import finite_intercept

# Attributes that the validation of X sets
SET_BY_VALIDATION = ("n_features_in_", "feature_names_in_", "_X_dtype")
# What ``history_`` records of each call
RECORDED = ("objective", "gap", "seconds", "learning_rate")


class Stream:
    """A fit to data that come part by part; it can be pickled.

    Parameters
    ----------
    known : EncodedY
        Kind, loss, classes and class weights, for all y to come.
    start : (coef (n_outputs, n_features), intercept (n_outputs,))
        Where to begin.
    random_state : RandomState instance
    moments : Moments or None, default=None
        Of the features, over the rows that were seen before.

    Attributes
    ----------
    n_calls : int
        Of ``update``.
    history : ndarray of shape (4, n)
        Objective, gap, seconds and learning rate after each of the last calls.
    dtype : dtype
        What the last call computed in: float64 if float32 would lose the variation of a feature of
        this call or of an earlier one, so that ``coef_`` does not lose digits that it had.
    """

    def __init__(self, known, start, random_state, moments=None):
        self.known, self.random_state, self.dtype = known, random_state, np.dtype(np.float32)
        self.n_calls, self.history = 0, np.zeros((4, 0))
        self._start, self._descent = start, None
        self._moments, self._class_weight_sums = moments, 1.0

    def update(self, X, y, setting, C, fit_intercept, n_threads):
        """Take the steps of one epoch on more rows.

        Features are scaled, and the penalty is weighed, by all rows that have been seen.

        Parameters
        ----------
        X : ndarray or CSR of shape (n_samples, n_features)
        y : EncodedY
            Like ``known``.
        setting : Adam or SGD
            May differ from call to call. After a change of the class, the new rule starts from the
            coefficients that the last one found.
        C : float
        fit_intercept : bool
        n_threads : int

        Returns
        -------
        bool
            Whether the coefficients are finite; if not, those from before the call are restored.
        """
        began = time.perf_counter()
        X = self._prepare(X, setting)
        descent, value, went_well = self._descent, np.nan, True
        moments = moments_of(X, y.weight, n_threads)
        before = self._moments
        if before is not None and len(before.mean) < X.shape[1]:  # of features that are new
            before = before.spread(slice(len(before.mean)), X.shape[1])
        self._moments = moments if before is None else before + moments
        offset = None
        if y.loss._proba_kind == "softmax":
            # each class counts once more, so that classes yet to come have a share
            self._class_weight_sums = self._class_weight_sums + y.class_weight_sums()
            offset = y.loss._logit_offset(self._class_weight_sums)
        offset = np.zeros(y.n_outputs) if offset is None else offset
        if moments.weight > 0:
            features = descent.features_of(X)
            seen = self._moments.taken(features)
            self.dtype = np.result_type(self.dtype, seen.fit_dtype)
            rows = MemoryRows(X, y, np.arange(y.n_outputs), dtype=self.dtype)
            size = setting._rows_per_batch(rows.n_rows)
            order = self.random_state.permutation(rows.n_rows) if setting.shuffle else None
            l2_reg = L2(C).strength(self._moments.weight, y.weight_exponent)
            mean = self._moments.mean if fit_intercept else np.zeros(X.shape[1])
            inverse_spread = np.zeros(X.shape[1])
            inverse_spread[features] = seen.inverse_spread(fit_intercept, l2_reg, rows.dtype)
            kept = descent.keep(features)
            try:
                # the rate may be too large
                with sequential_blas, np.errstate(over="ignore", invalid="ignore"):
                    value = descent.epoch(
                        rows.batches(order, size, offset),
                        Terms(l2_reg, mean, inverse_spread, fit_intercept),
                        n_threads,
                    )
                # the value contains the norm of the coefficients
                went_well = bool(np.isfinite(value) and np.isfinite(descent.point[1]).all())
            except BaseException:
                went_well = False
                raise
            finally:
                if not went_well:
                    descent.put_back(kept)
        seconds_before = self.history[2, -1] if self.n_calls else 0.0
        seconds = seconds_before + time.perf_counter() - began
        entry = value, np.inf, seconds, descent.learning_rate
        self.n_calls += 1
        self.history = np.column_stack([self.history[:, 1 - SETTINGS.most_history :], entry])
        return went_well

    def _prepare(self, X, setting):
        """Begin a descent for the setting if there is none yet; return X in the form it takes."""
        setting = copy.copy(setting)  # the caller may change it before the next call
        if self._descent is None or type(self._descent.setting) is not type(setting):
            start = (*self.found(), np.float64 if X.dtype == np.float64 else np.float32)
            moments = self._moments
            if self._descent is not None:
                moments = self._descent.of_all(moments)
            if sparse.issparse(X):
                descent = SparseDescent(setting, *start)
            else:
                descent = BatchDescent(setting, True, *start, follows_changes=True)
            self._descent, self._moments, self._start = descent, moments, None
        elif self._descent.by_output == sparse.issparse(X):  # dense if the first rows were
            X = sparse.csr_array(X) if isinstance(X, np.ndarray) else X.toarray()
        self._descent.setting = setting
        return self._descent.numbered(X)

    def found(self, dtype=np.float64):
        """Return (coef (n_outputs, n_features), intercept (n_outputs,))."""
        return self._start if self._descent is None else self._descent.found(dtype)


class PartialFitMixin:
    """``partial_fit`` of ``SoftmaxClassifier``."""

    @available_if(has_plain_penalty)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Continue to fit, with one epoch on a part of the data.

        The steps are those of ``solver`` if it is "adam", "sgd" or a setting of one of them, and
        otherwise those of ``Adam()``. Where ``fit`` uses facts about all data, ``partial_fit`` uses
        those of the rows seen so far: the penalty weighs 1 / (C times the weight of all rows seen),
        and features are scaled by their mean and variance over all rows seen. After ``fit`` it
        starts from the coefficients of the fit. All parameters but ``class_weight`` and the kind of
        loss may change between calls.

        The average of the points (``average`` of the setting) is over the last 400 steps or so. It
        starts anew when its losses show that the data have changed: when on about ten batches,
        each before its step, they are larger than those of the last point. ``Adam(average=False)``
        follows a few batches sooner, and is less accurate where nothing changes.

        Of a sparse X, a step changes the coefficients of features that have an entry in its batch.
        The moments of Adam of the others stay as they are, and their penalty is added when they
        occur again. If the first rows are sparse, later ones are made so.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_outputs)
            Their targets. Those of the first call determine the kind for all later calls.
        classes : array-like of shape (n_classes,), default=None
            All labels that can occur. Needed in the first call, unless y has columns (which it may
            number, 0..L-1) or ``fit`` came before; in later calls the same, or None.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Weights >= 0, as in ``fit``.

        Returns
        -------
        self : SoftmaxClassifier
            The estimator. ``objective_`` is the mean over the batches of this call, each before its
            step, and ``n_iter_`` the number of calls.

        Raises
        ------
        ValueError
            As in ``fit``; if ``classes`` are missing or are not those of earlier calls, or if y has
            other classes.

        Warns
        -----
        ConvergenceWarning
            If the steps diverged; the coefficients from before the call are restored.
        """
        setting = self._check_parameters()
        require_memory(X, "X", "give partial_fit block after block, X.read(i), with its rows of y")
        is_first = not hasattr(self, "n_features_in_")
        try:
            return self._partial_fit(X, y, classes, sample_weight, setting, is_first)
        except BaseException:
            if is_first:  # a call that is refused or interrupted leaves no trace
                for name in SET_BY_VALIDATION:
                    vars(self).pop(name, None)
            raise

    def _partial_fit(self, X, y, classes, sample_weight, setting, is_first):
        stream = getattr(self, "_stream", None)
        X = validated(self, X, reset=is_first)
        if stream is None:
            stream = self._begin_stream(X, y, classes, sample_weight)
        elif classes is not None:
            check_classes(stream.known, classes)
        loss, known = resolve_loss(self.loss), stream.known
        if loss is not None and loss != known.loss:
            if type(loss) is not type(known.loss):
                raise ValueError(
                    f"'loss' must stay a {type(known.loss).__name__} for partial_fit (its "
                    f"parameters may change), got {type(loss).__name__}; fit a clone instead."
                )
            known = replace(known, loss=loss)
        y = encode_like(known, y, X.shape[0], sample_weight)
        stream.known = known
        setting = setting if isinstance(setting, StochasticSetting) else Adam()
        is_small = (X.size + X.shape[1]) * known.n_outputs <= FEW_PRODUCTS
        n_threads = 1 if is_small else effective_n_threads()
        if not stream.update(X, y, setting, self.C, bool(self.fit_intercept), n_threads):
            warn(
                "Training diverged; the coefficients from before this call were restored: "
                "'learning_rate' is too large. Lower it.",
                ConvergenceWarning,
            )
        had_coef = "coef_" in vars(self)
        try:
            self._show(stream, y)
        except BaseException:
            if had_coef:
                self._show(stream, y)
            raise
        self.history_ = dict(zip(RECORDED, stream.history, strict=True))
        self.objective_, self.optimality_gap_ = float(stream.history[0, -1]), np.inf
        self.n_iter_ = np.array([stream.n_calls], dtype=np.int32)
        self.solver_, self._stream = setting.name, stream
        for name in ("stop_reason_", "plan_"):  # of the last fit: not true any more
            vars(self).pop(name, None)
        return self

    def _show(self, stream, y):
        """Set the attributes that predictions need.

        The coefficients from before are let go first, as memory that is new to the process takes
        longer than the steps: 84 MB up to 200 ms, and 30 ms where these had been.
        """
        vars(self).pop("coef_", None)
        dtype = np.result_type(self._coef_dtype(), stream.dtype)
        coef, intercept = stream.found(dtype)
        if y.loss._shift_invariant and self.fit_intercept:
            intercept -= intercept.mean()
        for name, value in self._fitted(y, coef, intercept.astype(dtype)).items():
            setattr(self, name, value)

    def _begin_stream(self, X, y, classes, sample_weight):
        """A stream that starts from what ``classes``, ``fit`` or y tell."""
        known, coef = getattr(self, "_known_y", None), None
        if hasattr(self, "coef_"):
            coef, intercept = self._dense_model()
            if known is None and classes is None and self._kind != "multilabel":  # set by hand
                classes = self.classes_
        seen = None if coef is None else getattr(self, "_seen", None)
        if known is None:
            known = encode_first(
                y, X.shape[0], self.loss, self.class_weight, classes, sample_weight
            )
        shape = known.n_outputs, X.shape[1]
        if coef is None:
            coef, intercept = np.broadcast_to(0.0, shape), np.zeros(known.n_outputs)
        if coef.shape != shape:
            raise ValueError(
                f"'coef_' must have shape {shape} for this 'X' and 'y', got {coef.shape}. "
                "Fit a clone to start anew."
            )
        start = coef, finite_intercept(intercept)
        random_state = check_random_state(self.random_state)
        return Stream(known, start, random_state, seen)
