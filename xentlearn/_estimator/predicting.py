"""What a fitted classifier predicts: scores, labels, probabilities, accuracy."""

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.utils.multiclass import unique_labels

from .._data._design_matrix import DesignMatrix, computing_dtype
from .._data.readers import blocks_of, each_block
from .._data.target_batches import encode_for_score
from .._data.targets import resolve_loss, unique
from .._loss import proba
from .._losses.base import mean_of
from .._utils.csr import as_csr
from .._utils.numerics import CERTAIN, in_unit
from .._utils.threads import FEW_PROBABILITIES, effective_n_threads
from .._utils.validation import as_floating, check_weights
from .inputs import check_features, require_fitted, validated


class PredictingMixin:
    """Predictions from ``coef_``, ``intercept_`` and ``classes_``, fitted or set by hand."""

    @property
    def _kind(self):
        """Kind of y (``EncodedY``) that ``coef_`` and ``classes_`` predict.

        It is the kind of the fit if they have its shape. If they were set by hand it follows from
        them as in ``LogisticRegression``: one row of ``coef_`` is for two classes, several rows are
        for as many classes.
        """
        kind, n_outputs = vars(self).get("_fitted_kind"), np.shape(self.coef_)[0]
        fits = {"binary": n_outputs == 1, "two_logits": n_outputs == 2}
        if kind is not None and fits.get(kind, n_outputs == len(self.classes_)):
            return kind
        if n_outputs == 1:
            return "binary"
        setting = resolve_loss(self.loss)
        if setting is not None and setting._proba_kind == "sigmoid":
            return "one_vs_rest"
        return "two_logits" if n_outputs == 2 else "multiclass"

    def _model(self):
        """(coef (n_outputs, n_features), intercept (n_outputs,)), which may be set by hand.

        ``coef`` is an array or, if ``coef_`` is sparse, CSR.
        """
        as_numbers = as_csr if sparse.issparse(self.coef_) else as_floating
        coef = as_numbers(self.coef_, "coef_")[0]
        intercept, _ = as_floating(np.atleast_1d(self.intercept_), "intercept_")
        if coef.ndim != 2 or intercept.shape not in ((1,), coef.shape[:1]):
            raise ValueError(
                "'coef_' must have shape (n_outputs, n_features) and 'intercept_' "
                f"(n_outputs,), got {coef.shape} and {intercept.shape}."
            )
        n_outputs = coef.shape[0]
        if len(intercept) != n_outputs:
            intercept = np.broadcast_to(intercept, n_outputs)
        kind = self._kind
        n_classes = 2 if kind == "binary" else n_outputs
        if len(self.classes_) != n_classes and kind != "multilabel":
            raise ValueError(
                f"'classes_' must have {n_classes} labels for 'coef_' of shape {coef.shape}, got "
                f"{len(self.classes_)}."
            )
        return coef, intercept

    def _dense_model(self):
        """What ``_model`` returns, with ``coef`` as an array: where a fit starts from."""
        coef, intercept = self._model()
        return (coef.toarray() if sparse.issparse(coef) else coef), intercept

    def sparsify(self):
        """Convert ``coef_`` to a sparse matrix (CSR), of which only the nonzeros take memory.

        ``intercept_`` is not converted. As in ``LogisticRegression``, the result is a SciPy matrix,
        or a SciPy array if scikit-learn's setting ``sparse_interface`` (1.9) is "sparray".

        Returns
        -------
        self : SoftmaxClassifier
            The fitted estimator.

        Notes
        -----
        Predictions read the nonzeros alone, and equal those of dense coefficients up to rounding.
        ``coef_`` may also be set to another sparse format; entries of 0 are allowed, and entries of
        the same place are added. ``partial_fit``, and ``fit`` with ``warm_start``, continue from
        sparse coefficients; every fit makes ``coef_`` an array again.

        A nonzero takes 8 bytes in float32 and 12 bytes in float64, so it saves memory if more than
        half (float32) or a third (float64) of the coefficients are 0.
        """
        require_fitted(self)
        as_numbers = as_csr if sparse.issparse(self.coef_) else as_floating
        as_array = get_config().get("sparse_interface") == "sparray"
        csr = sparse.csr_array if as_array else sparse.csr_matrix
        self.coef_ = csr(as_numbers(self.coef_, "coef_")[0])
        return self

    def densify(self):
        """Convert ``coef_`` to an array, as it is after a fit; an array is left as it is.

        Returns
        -------
        self : SoftmaxClassifier
            The fitted estimator.
        """
        require_fitted(self)
        if sparse.issparse(self.coef_):
            self.coef_ = as_csr(self.coef_, "coef_")[0].toarray()
        return self

    def _scores(self, X, kind):
        """(n_samples, n_outputs) scores of one kind; see DesignMatrix.scores."""

        def scores(design, coef, intercept):
            scores = np.empty((design.n_rows, len(intercept)), dtype=design.dtype)
            design.scores(coef.T, intercept, scores, kind)
            return scores

        return self._of_rows(X, scores)

    def _of_rows(self, X, function):
        """``function(design, coef, intercept)``: an entry or row for each row of X.

        Row blocks are read one after the other.
        """
        require_fitted(self)
        source, result = blocks_of(X), None
        if source is None:
            return self._of_checked(X, function, reset=False)
        check_features(self, source, reset=False)

        def add(i, rows, block):
            nonlocal result
            found = self._of_checked(block, function, reset=None)
            if result is None:
                result = np.empty((source.shape[0], *found.shape[1:]), dtype=found.dtype)
            result[rows] = found

        each_block(source, add)
        return result

    def _of_checked(self, X, function, reset):
        """``function`` of X, without a search through X for nan and inf, which would take longer.

        In float32 and float64 X they show in the logits. Logits can also overflow for other
        reasons, so X is searched only then, for scikit-learn's usual error.
        """
        finite = str(getattr(X, "dtype", "")) not in ("float32", "float64")
        checked = validated(self, X, reset=reset, finite=finite)
        coef, intercept = self._model()
        if checked.shape[1] != coef.shape[1]:
            raise ValueError(
                f"'X' must have the {coef.shape[1]} features of 'coef_', got {checked.shape[1]}."
            )
        # a float64 model may need all of its digits, whatever the dtype of X
        design = DesignMatrix(checked, np.result_type(computing_dtype(checked), coef.dtype))
        result = function(design, coef, intercept)
        if not design.finite_logits:
            validated(self, X, reset=reset)
        return result

    def decision_function(self, X):
        """Logits; for two classes their difference, positive where the second class is likelier.

        All are finite: an infinite ``intercept_`` is replaced by one of +-1e15, which is beyond all
        others.

        Parameters
        ----------
        X : {array-like, sparse matrix, row blocks} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        ndarray of shape (n_samples,) for two classes, else (n_samples, n_outputs)
        """
        logits, intercept = self._logits(X), self._model()[1]
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
        require_fitted(self)
        if self._kind in ("binary", "multilabel"):
            found = (self.decision_function(X) > 0).astype(np.int64)
            return found if self._kind == "multilabel" else np.asarray(self.classes_)[found]

        def likeliest(design, coef, intercept):
            return design.likeliest(coef.T, intercept)

        return np.asarray(self.classes_)[self._of_rows(X, likeliest)]

    def predict_proba(self, X):
        """Probabilities of the classes; for multi-label y the probability that each label is 1.

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
        require_fitted(self)
        if self._kind == "binary":
            logits = self._logits(X)
            activation, scores = "sigmoid", np.concatenate([-logits, logits], axis=1)
        elif self._kind == "one_vs_rest":
            # dividing p_k by their sum is the softmax of log p_k, and cannot be 0 / 0
            activation, scores = "softmax", self._scores(X, "log_sigmoid")
        else:
            activation = "sigmoid" if self._kind == "multilabel" else "softmax"
            return self._scores(X, f"log_{activation}" if logarithm else activation)
        result = np.empty_like(scores)
        n_threads = 1 if scores.size <= FEW_PROBABILITIES else effective_n_threads()
        proba(activation, scores, result, logarithm, n_threads)
        return result

    def _logits(self, X):
        """Logits of every output, +-inf where ``intercept_`` is: for scorers."""
        return self._scores(X, "logits")

    def score(self, X, y, sample_weight=None):
        """Accuracy: the share of rows that are predicted correctly.

        The label of a soft row is its argmax. A multi-label row is correct if all its labels that
        are not missing are. Rows without a label, including those of ``ignore_class``, do not
        count; a label that did not occur in training counts as wrong.

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
            nan, with a RuntimeWarning, if no row counts.
        """
        right, total, _ = self._weight_of_right(X, y, sample_weight)
        return mean_of(right, total)

    def _weight_of_right(self, X, y, sample_weight):
        """(weight of the correct rows, weight of all that count, exponent).

        Both weights are divided by 2 ** exponent.
        """
        predicted = self.predict(X)
        setting = vars(self).get("loss_", resolve_loss(self.loss))
        ignore_class = None if setting is None else setting._ignore_class
        shape = len(predicted), len(self._model()[1])
        y, judged = encode_for_score(y, self._kind, shape, ignore_class)
        weight = check_weights(sample_weight, "sample_weight", (len(y),))
        weight = np.where(judged, 1.0 if weight is None else weight, 0.0)
        if y.ndim == 2:
            right = ((predicted == y) | np.isnan(y)).all(axis=1)
        else:
            # labels of another type are an error, not wrong predictions
            kinds = {y.dtype.kind, np.asarray(self.classes_).dtype.kind}
            if judged.any() and kinds not in ({"i"}, {"U"}):
                unique_labels(self.classes_, unique(y[judged])[0])
            right = predicted == y
        weight, exponent = in_unit(weight)
        return weight[right].sum(), weight.sum(), exponent
