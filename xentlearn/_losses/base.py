"""What all loss settings share: products on logits, with outputs made or filled."""

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone

from .._loss import EncodedTarget, proba
from .._utils.arrays import kernel_array
from .._utils.messages import warn
from .._utils.threads import effective_n_threads
from .._utils.units import in_unit
from .._utils.validation import apart, as_floating, check_out, check_weights, require_apart
from .validation import check_label_smoothing, check_logits


class LossSetting(BaseEstimator):
    """A training objective on rows of logits.

    A setting checks its targets (``_check_targets``) and names its kernel (``_kind``, ``_form``,
    ``_output_weight``) and its probabilities (``proba_kind``); the products are then the same for
    all.
    """

    name = None  # by which ``SoftmaxClassifier(loss=...)`` knows it
    function = False  # whether ``xentlearn.losses`` has a function of that name
    proba_kind = "softmax"
    takes_rows = True  # soft rows, or an indicator
    label_smoothing = 0.0  # where it is no parameter
    ignore_class = None

    def __eq__(self, other):
        """Whether the other is a setting of the same kind with equal parameters."""
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = self.get_params(), other.get_params()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self):
        return hash(type(self))  # parameters may change

    def _refuse(self, unknown):
        """Parameters are named one by one in __init__; anything else comes here."""
        if "from_logits" in unknown:
            known = self.name if self.function else "categorical_crossentropy"
            raise TypeError(
                f"{type(self).__name__} always acts on logits and has no 'from_logits'; for "
                f"probabilities use the function xentlearn.losses.{known}(..., from_logits=False)."
            )
        if unknown:
            raise TypeError(
                f"{type(self).__name__} has no parameter {next(iter(unknown))!r}; it has "
                f"{sorted(self.get_params())}."
            )

    def kernel_target(
        self,
        shape,
        dtype,
        *,
        labels=None,
        values=None,
        weight=None,
        entry_weight=None,
        outputs=None,
        n_outputs=None,
        once=False,
    ):
        """Checked targets, handed to the kernels with the parameters of the loss.

        Parameters
        ----------
        shape : tuple (n_samples, n_outputs)
            Shape of the logits.
        dtype : dtype
            Dtype of the logits, float32 or float64.
        labels : ndarray of shape (n_samples,), int32, or None, default=None
            Class indices, -1 where ignored.
        values : ndarray of shape (n_samples, n_outputs) or None, default=None
            Soft rows or binary entries, in ``dtype``.
        weight : ndarray of shape (n_samples,), float64, or None, default=None
            Weights of rows.
        entry_weight : ndarray of shape (n_samples, n_outputs) or None, default=None
            Weights of binary entries, in ``dtype``.
        outputs : ndarray of int or None, default=None
            Which of the ``n_outputs`` outputs the logits are, for parameters by output; None: all.
        n_outputs : int or None, default=None
            Outputs that the parameters are for; None: as many as there are logits.
        once : bool, default=False
            Whether it is for one pass alone.

        Returns
        -------
        EncodedTarget
        """
        given = {
            "labels": labels,
            "values": values,
            "weight": weight,
            "entry_weight": entry_weight,
            "once": once,
        }
        return self._kernel_target(shape, dtype, outputs, n_outputs or shape[1], given)

    def _kernel_target(self, shape, dtype, outputs, n_outputs, given):
        by_output = self._output_weight(n_outputs, dtype)
        if by_output is not None and outputs is not None:
            by_output = kernel_array(by_output[outputs])
        return EncodedTarget(
            self._kind(given["labels"]),
            *shape,
            dtype,
            positive=by_output,
            label_smoothing=check_label_smoothing(self.label_smoothing),
            **given,
            **self._form(given["labels"] is not None),
        )

    def logit_offset(self, mass):
        """What is added to training logits alone; see ``logit_adjustment`` of those that have it.

        Parameters
        ----------
        mass : ndarray of shape (n_outputs,)
            Sum of the weights of each class in the training data.

        Returns
        -------
        ndarray of shape (n_outputs,) or None
            None where there is no adjustment.
        """
        return None

    def _check_parameters(self):
        """Raise the ValueError of a parameter that is out of range."""
        check_label_smoothing(self.label_smoothing)
        self._form(labelled=True)

    def _for_judging(self):
        """A copy for predictions, without what is for training alone."""
        setting = clone(self)
        for name, neutral in (("logit_adjustment", 0.0), ("ignore_class", None)):
            if name in setting.get_params():
                setattr(setting, name, neutral)
        return setting

    def _form(self, labelled):
        """Form and parameters of it (``_kernels/forms.h``); empty for plain cross-entropy."""
        return {}

    def _output_weight(self, n_outputs, dtype):
        """Weights of the targets by output, or None."""
        return None

    def _convex_start(self):
        """The convex setting whose solution a fit begins with; None where this one is convex."""
        return None

    @property
    def plain(self):
        """Whether it is plain cross-entropy, so that its Hessian is the Hessian."""
        return not self._form(labelled=True)

    @property
    def certifiable(self):
        """Whether the gap of a fit has a certified bound."""
        return self.plain

    @property
    def couples(self):
        """Whether the logits of a row see each other: any part is a softmax."""
        return self.proba_kind == "softmax"

    @property
    def shift_invariant(self):
        """Whether the same change of all logits of a row changes nothing."""
        return self.proba_kind == "softmax"

    def _checked(self, y_true, logits, sample_weight, *outs):
        """(logits, logits as a matrix, checked targets, weights), none of them under an output."""
        logits = apart(check_logits(logits, binary=self.proba_kind == "sigmoid"), *outs)
        matrix = logits[:, np.newaxis] if logits.ndim == 1 else logits
        y_true = apart(y_true if sparse.issparse(y_true) else np.asarray(y_true), *outs)
        given = self._check_targets(y_true, matrix.shape, logits.dtype)
        weight = check_weights(sample_weight, "sample_weight", *self._weight_shapes(matrix.shape))
        return logits, matrix, given, apart(weight, *outs)

    def _adjusted(self, matrix, given, weight):
        """The logits with what a training adds to them."""
        offset = self._offset(given, weight, matrix.shape[1])
        return matrix if offset is None else matrix + offset.astype(matrix.dtype)

    def _encoded(self, matrix, given, weight):
        """Checked targets and weights for the kernels."""
        if weight is not None and weight.ndim == 2:
            given = {**given, "entry_weight": weight.astype(matrix.dtype)}
        else:
            given = {**given, "weight": weight}
        return self.kernel_target(matrix.shape, matrix.dtype, once=True, **given)

    def _prepare(self, y_true, logits, sample_weight, *outs):
        """(logits, logits as a matrix, encoded targets), none of them under an output."""
        logits, matrix, given, weight = self._checked(y_true, logits, sample_weight, *outs)
        matrix = self._adjusted(matrix, given, weight)
        return logits, matrix, self._encoded(matrix, given, weight)

    def _weight_shapes(self, shape):
        """Shapes that sample weights may have."""
        return [shape[:1]]

    def _offset(self, given, weight, n_outputs):
        """What is added to the logits of every row, or None."""
        return None

    def loss(self, y_true, logits, *, sample_weight=None, loss_out=None, n_threads=1):
        """Weighted loss of each row.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        loss_out : ndarray of shape (n_samples,) or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        loss : ndarray of shape (n_samples,)
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight, loss_out)
        loss_out = check_out(loss_out, "loss_out", (len(matrix),), matrix.dtype)
        target.loss_gradient(matrix, loss_out, None, effective_n_threads(n_threads))
        return loss_out

    def gradient(self, y_true, logits, *, sample_weight=None, gradient_out=None, n_threads=1):
        """Gradient of each row's weighted loss with respect to its logits.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        gradient_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        gradient : ndarray of the shape of the logits
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight, gradient_out)
        gradient_out = check_out(gradient_out, "gradient_out", logits.shape, logits.dtype)
        target.loss_gradient(
            matrix, None, gradient_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return gradient_out

    def loss_gradient(
        self, y_true, logits, *, sample_weight=None, loss_out=None, gradient_out=None, n_threads=1
    ):
        """Both in one pass: the same numbers as ``loss`` and ``gradient``.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        loss_out : ndarray of shape (n_samples,) or None, default=None
            Filled and returned if given; of the dtype of the logits.
        gradient_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        loss : ndarray of shape (n_samples,)
        gradient : ndarray of the shape of the logits
        """
        logits, matrix, target = self._prepare(
            y_true, logits, sample_weight, loss_out, gradient_out
        )
        loss_out = check_out(loss_out, "loss_out", (len(matrix),), matrix.dtype)
        gradient_out = check_out(gradient_out, "gradient_out", logits.shape, logits.dtype)
        require_apart(loss_out=loss_out, gradient_out=gradient_out)
        target.loss_gradient(
            matrix, loss_out, gradient_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return loss_out, gradient_out

    def hessian_product(
        self, y_true, logits, direction, *, sample_weight=None, product_out=None, n_threads=1
    ):
        """Hessian of each row's weighted loss times that row of ``direction``.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        direction : array-like of the shape of the logits
            What each Hessian is multiplied by.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        product_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        product : ndarray of the shape of the logits
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight, product_out)
        direction, _ = as_floating(direction, "direction")
        if direction.shape != logits.shape:
            raise ValueError(
                f"'direction' must have the shape of the logits, {logits.shape}, got "
                f"{direction.shape}."
            )
        direction = apart(direction.astype(logits.dtype, copy=False), product_out)
        direction = direction.reshape(matrix.shape)
        product_out = check_out(product_out, "product_out", logits.shape, logits.dtype)
        target.hessian_product(
            matrix, direction, product_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return product_out

    def hessian_diagonal(
        self, y_true, logits, *, sample_weight=None, diagonal_out=None, n_threads=1
    ):
        """Diagonal of the Hessian of each row's weighted loss.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.
        diagonal_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        diagonal : ndarray of the shape of the logits
        """
        logits, matrix, target = self._prepare(y_true, logits, sample_weight, diagonal_out)
        diagonal_out = check_out(diagonal_out, "diagonal_out", logits.shape, logits.dtype)
        target.hessian_diagonal(
            matrix, diagonal_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return diagonal_out

    def predict_proba(self, logits, *, proba_out=None, n_threads=1):
        """Probabilities that belong to logits: softmax of the rows, or sigmoid of the entries.

        Parameters
        ----------
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        proba_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        proba : ndarray of the shape of the logits
        """
        return self._proba(logits, proba_out, "proba_out", False, n_threads)

    def predict_log_proba(self, logits, *, log_proba_out=None, n_threads=1):
        """Logarithms of the probabilities, exact also where a probability underflows.

        Parameters
        ----------
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        log_proba_out : ndarray of the shape of the logits or None, default=None
            Filled and returned if given; of the dtype of the logits.
        n_threads : int or None, default=1
            OpenMP threads; None takes as many as OpenMP allows.

        Returns
        -------
        log_proba : ndarray of the shape of the logits
        """
        return self._proba(logits, log_proba_out, "log_proba_out", True, n_threads)

    def _proba(self, logits, out, name, logarithm, n_threads):
        logits = apart(check_logits(logits, binary=self.proba_kind == "sigmoid"), out)
        out = check_out(out, name, logits.shape, logits.dtype)
        matrix, filled = logits, out
        if logits.ndim == 1:
            matrix, filled = logits[:, np.newaxis], out[:, np.newaxis]
        proba(self.proba_kind, matrix, filled, logarithm, effective_n_threads(n_threads))
        return out

    def __call__(self, y_true, logits, sample_weight=None):
        """Sum of the weighted losses of the rows over the sum of their weights.

        Multiplying all weights by the same number changes nothing, also where they are out of
        the range of the logits' dtype.

        Parameters
        ----------
        y_true : array-like
            Encoded targets, as the class docstring says.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are taken as they are, with any strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights >= 0.

        Returns
        -------
        float
            nan, with a RuntimeWarning, where no row counts.
        """
        _, matrix, given, weight = self._checked(y_true, logits, sample_weight)
        labels = given.get("labels")
        if labels is not None and (labels < 0).any():  # what is ignored sets no unit
            weight = np.where(labels < 0, 0.0, 1.0 if weight is None else weight)
        of_rows, of_entries = weight, None
        if weight is None:
            of_rows = np.ones(len(matrix))
        elif weight.ndim == 2:
            of_rows, of_entries = None, in_unit(weight)[0]
        matrix = self._adjusted(matrix, given, weight)
        target = self._encoded(matrix, given, of_entries)
        loss = np.empty(len(matrix), dtype=matrix.dtype)
        target.loss_gradient(matrix, loss, None, effective_n_threads(1))
        if of_entries is not None:
            return mean_of(loss, of_entries.mean(axis=1).sum())
        return weighted_mean(loss, of_rows)


def weighted_mean(loss, weight):
    """Mean of the losses of rows by weights, in float64; a weight of 0 leaves nothing, also of inf.

    Parameters
    ----------
    loss : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,), float64
        Weights >= 0 of any size.

    Returns
    -------
    float
        nan, with a RuntimeWarning, where no row counts.
    """
    weight, _ = in_unit(weight)
    counts = weight > 0
    return mean_of(loss[counts] * weight[counts], weight.sum())


def mean_of(loss, divisor):
    """Sum of losses over the sum of weights; nan, with a warning, where no row counts."""
    if divisor == 0:
        warn("The mean of no rows (none counts, or all weights are 0) is nan.", RuntimeWarning)
        return np.nan
    return float(loss.sum(dtype=np.float64) / divisor)
