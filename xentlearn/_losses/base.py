"""What all loss settings share: their declared capabilities, and the products on logits."""

import operator
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.base import clone

from .._loss import proba
from .._utils.arguments import advice_table
from .._utils.arrays import kernel_array
from .._utils.messages import warn
from .._utils.numerics import in_unit
from .._utils.parameters import Setting, number_in
from .._utils.threads import effective_n_threads
from .._utils.validation import apart, as_floating, check_out, check_weights, require_apart
from .validation import check_logits

# Makes an __init__ that stores the parameters; equality and representation are those of Setting.
with_parameters = dataclass(eq=False, repr=False)

LABEL_SMOOTHING = number_in("[0, 1]", "the share of the target that is spread evenly")
# The power of the miss 1 - p by which an entry's loss is multiplied.
FOCUS = number_in("[0, 100]", "0: no focus")

# Names that users of Keras and PyTorch try.
ADVICE = advice_table(
    (
        "from_logits",
        "A setting always acts on logits; for probabilities use a function of xentlearn.losses, "
        "for example categorical_crossentropy(y_true, y_pred, from_logits=False).",
    ),
    (
        "ignore_index",
        "It is called 'ignore_class' here, a parameter of SparseCategoricalCrossentropy, and "
        "None by default.",
    ),
    (
        "reduction size_average reduce",
        "The method 'loss' gives the losses of the rows, and a call of the setting, "
        "setting(y_true, logits), their mean.",
    ),
    (
        "weight weights class_weight",
        "Weights of classes are 'class_weight' of SoftmaxClassifier; weights of rows are "
        "'sample_weight' of its fit, and of the methods of a setting.",
    ),
    ("axis dim", "Logits have one row per sample; the last axis holds the outputs."),
    ("smoothing", "It is called 'label_smoothing' here."),
    ("apply_class_balancing", "Classes are balanced exactly if 'alpha' is not None."),
)


def of_parameter(name):
    """A property with the value of a parameter of the setting."""
    return property(operator.attrgetter(name))


class LossSetting(Setting):
    """A training objective on rows of logits.

    A subclass declares its parameters as ``Setting`` says, its capabilities in the class attributes
    below (as properties where they depend on parameters), checks its targets (``_check_targets``)
    and encodes them for the kernels (``_kernel_target``). The methods on logits follow from these.

    Names without an underscore are what users may use: ``dir()`` of a setting shows its parameters,
    ``name`` and the methods on logits. Those with an underscore are for all of this package.
    """

    name = None  # the string by which ``SoftmaxClassifier(loss=...)`` knows it
    _advice = ADVICE

    # ---- Capabilities --------------------------------------------------------------------------

    _proba_kind = "softmax"  # or "sigmoid": which probabilities belong to the logits
    _couples = True  # whether the loss of a row is more than a sum over its logits
    _shift_invariant = True  # whether adding a constant to all logits of a row keeps its loss
    _takes_rows = True  # whether targets may be soft rows or an indicator, and not labels alone
    _plain = True  # whether it is plain cross-entropy, whose exact Hessian the kernels compute
    _certifiable = True  # whether its dual bounds how far a fit is from the optimum
    _convex = True  # if not, a fit starts at the solution of ``_convex_start()``

    # ---- Parameters that some settings have (``of_parameter``), and their values in the others -

    _label_smoothing = 0.0
    _logit_adjustment = 0.0
    _ignore_class = None
    _gamma = 0.0

    # ---- What a fit asks for -------------------------------------------------------------------

    def _kernel_target(self, shape, dtype, *, outputs=None, n_outputs=None, **given):
        """Encode checked targets for the kernels, with the parameters of the loss.

        The parameters must have been checked as well (``_check_parameters``).

        Parameters
        ----------
        shape : tuple (n_samples, n_outputs)
            Shape of the logits.
        dtype : dtype
            Dtype of the logits, float32 or float64.
        outputs : ndarray of int or None, default=None
            The outputs that the logits belong to, as indices into parameters that have a value per
            output; None means all of them.
        n_outputs : int or None, default=None
            Number of values of such parameters; None means as many as there are logits in a row.
        **given : dict
            What ``EncodedTarget`` takes by name: ``labels`` (-1 where ignored) or ``values`` (soft
            rows or binary entries), ``weight`` (of rows) or ``entry_weight``, and ``once``.

        Returns
        -------
        EncodedTarget
        """
        raise NotImplementedError

    def _logit_offset(self, sums):
        """Return what ``logit_adjustment`` adds to the logits in training.

        Parameters
        ----------
        sums : ndarray of shape (n_outputs,)
            Sum of the weights of each class in the training data.

        Returns
        -------
        ndarray of shape (n_outputs,) or None
            ``logit_adjustment`` times the logarithms of the class shares, -inf for a class without
            weight; None if there is no adjustment.
        """
        if self._logit_adjustment == 0 or not np.any(sums):
            return None
        with np.errstate(divide="ignore"):
            return float(self._logit_adjustment) * np.log(sums / np.sum(sums))

    def _for_evaluation(self):
        """Return a copy without the parameters that concern training alone."""
        setting = clone(self)
        for name, value in ("logit_adjustment", 0.0), ("ignore_class", None):
            if hasattr(setting, name):
                setattr(setting, name, value)
        return setting

    def _output_weight(self, n_outputs, dtype):
        """Return the weights of the targets by output, or None if all are 1."""
        return None

    def _encoded_output_weight(self, dtype, outputs, n_outputs):
        """Return ``_output_weight`` of the chosen outputs, as the kernels read it."""
        weight = self._output_weight(n_outputs, dtype)
        return weight if weight is None or outputs is None else kernel_array(weight[outputs])

    def _convex_start(self):
        """Return the convex setting at whose solution a fit starts, of one that is not convex."""
        raise NotImplementedError

    # ---- On logits -----------------------------------------------------------------------------

    def _checked(self, y_true, logits, sample_weight, *outs):
        """Return (logits, logits as a matrix, checked targets, weights).

        What shares memory with an output is copied.
        """
        self._check_parameters()
        logits = apart(check_logits(logits, binary=self._proba_kind == "sigmoid"), *outs)
        matrix = logits[:, np.newaxis] if logits.ndim == 1 else logits
        y_true = apart(y_true if sparse.issparse(y_true) else np.asarray(y_true), *outs)
        given = self._check_targets(y_true, matrix.shape, logits.dtype)
        shapes = [matrix.shape[:1]] if self._couples else [matrix.shape[:1], matrix.shape]
        weight = check_weights(sample_weight, "sample_weight", *shapes)
        return logits, matrix, given, apart(weight, *outs)

    def _adjusted(self, matrix, labels=None, values=None, weight=None):
        """Return the logits plus what training adds to them."""
        if self._logit_adjustment == 0:
            return matrix  # counting classes takes as long as the losses of a few classes
        # shares do not depend on the unit of the weights, but their sums might overflow
        weight = np.ones(len(matrix)) if weight is None else in_unit(weight)[0]
        if labels is None:
            sums = weight @ values
        else:
            counted = labels >= 0
            sums = np.bincount(labels[counted], weight[counted], minlength=matrix.shape[1])
        offset = self._logit_offset(sums)
        return matrix if offset is None else matrix + offset.astype(matrix.dtype)

    def _encoded(self, matrix, given, weight):
        """Return checked targets and weights, encoded for the kernels."""
        if weight is not None and weight.ndim == 2:
            given["entry_weight"] = weight.astype(matrix.dtype)
        else:
            given["weight"] = weight
        return self._kernel_target(matrix.shape, matrix.dtype, once=True, **given)

    def _prepare(self, y_true, logits, sample_weight, **outs):
        """Return (logits as a matrix, encoded targets, output arrays)."""
        logits, matrix, given, weight = self._checked(y_true, logits, sample_weight, *outs.values())
        matrix = self._adjusted(matrix, weight=weight, **given)
        target = self._encoded(matrix, given, weight)
        for name, out in outs.items():
            shape = logits.shape[:1] if name == "loss_out" else logits.shape
            outs[name] = check_out(out, name, shape, logits.dtype)
        require_apart(**outs)
        return matrix, target, outs.values()

    def loss(self, y_true, logits, *, sample_weight=None, loss_out=None, n_threads=1):
        """Compute the weighted loss of each row.

        Parameters
        ----------
        y_true : array-like
            Targets, in the form that the notes of the class describe.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are used without a copy, whatever the strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0.
        loss_out : ndarray of shape (n_samples,) or None, default=None
            Output array, of the dtype of the logits; a new one if None.
        n_threads : int or None, default=1
            Number of OpenMP threads; None means as many as OpenMP allows.

        Returns
        -------
        loss : ndarray of shape (n_samples,)
        """
        matrix, target, (loss_out,) = self._prepare(
            y_true, logits, sample_weight, loss_out=loss_out
        )
        target.loss_gradient(matrix, loss_out, None, effective_n_threads(n_threads))
        return loss_out

    def gradient(self, y_true, logits, *, sample_weight=None, gradient_out=None, n_threads=1):
        """Compute the gradient of each row's weighted loss with respect to its logits.

        Parameters
        ----------
        y_true : array-like
            Targets, in the form that the notes of the class describe.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are used without a copy, whatever the strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0.
        gradient_out : ndarray of the shape of the logits or None, default=None
            Output array, of the dtype of the logits; a new one if None.
        n_threads : int or None, default=1
            Number of OpenMP threads; None means as many as OpenMP allows.

        Returns
        -------
        gradient : ndarray of the shape of the logits
        """
        matrix, target, (gradient_out,) = self._prepare(
            y_true, logits, sample_weight, gradient_out=gradient_out
        )
        target.loss_gradient(
            matrix, None, gradient_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return gradient_out

    def loss_gradient(
        self, y_true, logits, *, sample_weight=None, loss_out=None, gradient_out=None, n_threads=1
    ):
        """Compute ``loss`` and ``gradient`` in one pass, with the same results.

        Parameters
        ----------
        y_true : array-like
            Targets, in the form that the notes of the class describe.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are used without a copy, whatever the strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0.
        loss_out : ndarray of shape (n_samples,) or None, default=None
            Output array, of the dtype of the logits; a new one if None.
        gradient_out : ndarray of the shape of the logits or None, default=None
            Output array, of the dtype of the logits; a new one if None.
        n_threads : int or None, default=1
            Number of OpenMP threads; None means as many as OpenMP allows.

        Returns
        -------
        loss : ndarray of shape (n_samples,)
        gradient : ndarray of the shape of the logits
        """
        matrix, target, (loss_out, gradient_out) = self._prepare(
            y_true, logits, sample_weight, loss_out=loss_out, gradient_out=gradient_out
        )
        target.loss_gradient(
            matrix, loss_out, gradient_out.reshape(matrix.shape), effective_n_threads(n_threads)
        )
        return loss_out, gradient_out

    def hessian_product(
        self, y_true, logits, direction, *, sample_weight=None, product_out=None, n_threads=1
    ):
        """Multiply the Hessian of each row's weighted loss with that row of ``direction``.

        Parameters
        ----------
        y_true : array-like
            Targets, in the form that the notes of the class describe.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are used without a copy, whatever the strides.
        direction : array-like of the shape of the logits
            The vectors that the Hessians are multiplied with.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0.
        product_out : ndarray of the shape of the logits or None, default=None
            Output array, of the dtype of the logits; a new one if None.
        n_threads : int or None, default=1
            Number of OpenMP threads; None means as many as OpenMP allows.

        Returns
        -------
        product : ndarray of the shape of the logits
        """
        matrix, target, (product_out,) = self._prepare(
            y_true, logits, sample_weight, product_out=product_out
        )
        direction, _ = as_floating(direction, "direction")
        if direction.shape != product_out.shape:
            raise ValueError(
                f"'direction' must have the shape of the logits, {product_out.shape}, got "
                f"{direction.shape}."
            )
        direction = apart(direction.astype(matrix.dtype, copy=False), product_out)
        direction, product = direction.reshape(matrix.shape), product_out.reshape(matrix.shape)
        target.hessian_product(matrix, direction, product, effective_n_threads(n_threads))
        return product_out

    def hessian_diagonal(
        self, y_true, logits, *, sample_weight=None, diagonal_out=None, n_threads=1
    ):
        """Compute the diagonal of the Hessian of each row's weighted loss.

        Parameters
        ----------
        y_true : array-like
            Targets, in the form that the notes of the class describe.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are used without a copy, whatever the strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0.
        diagonal_out : ndarray of the shape of the logits or None, default=None
            Output array, of the dtype of the logits; a new one if None.
        n_threads : int or None, default=1
            Number of OpenMP threads; None means as many as OpenMP allows.

        Returns
        -------
        diagonal : ndarray of the shape of the logits
        """
        matrix, target, (diagonal_out,) = self._prepare(
            y_true, logits, sample_weight, diagonal_out=diagonal_out
        )
        diagonal = diagonal_out.reshape(matrix.shape)
        target.hessian_diagonal(matrix, diagonal, effective_n_threads(n_threads))
        return diagonal_out

    def predict_proba(self, logits, *, proba_out=None, n_threads=1):
        """Compute the probabilities: the softmax of rows of logits, or the sigmoid of entries.

        Parameters
        ----------
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are used without a copy, whatever the strides.
        proba_out : ndarray of the shape of the logits or None, default=None
            Output array, of the dtype of the logits; a new one if None.
        n_threads : int or None, default=1
            Number of OpenMP threads; None means as many as OpenMP allows.

        Returns
        -------
        proba : ndarray of the shape of the logits
        """
        return self._proba(logits, proba_out, "proba_out", False, n_threads)

    def predict_log_proba(self, logits, *, log_proba_out=None, n_threads=1):
        """Compute the logarithms of the probabilities, accurately even where these underflow.

        Parameters
        ----------
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are used without a copy, whatever the strides.
        log_proba_out : ndarray of the shape of the logits or None, default=None
            Output array, of the dtype of the logits; a new one if None.
        n_threads : int or None, default=1
            Number of OpenMP threads; None means as many as OpenMP allows.

        Returns
        -------
        log_proba : ndarray of the shape of the logits
        """
        return self._proba(logits, log_proba_out, "log_proba_out", True, n_threads)

    def _proba(self, logits, out, name, logarithm, n_threads):
        logits = apart(check_logits(logits, binary=self._proba_kind == "sigmoid"), out)
        out = check_out(out, name, logits.shape, logits.dtype)
        matrix = logits[:, np.newaxis] if logits.ndim == 1 else logits
        n_threads = effective_n_threads(n_threads)
        proba(self._proba_kind, matrix, out.reshape(matrix.shape), logarithm, n_threads)
        return out

    def __call__(self, y_true, logits, sample_weight=None):
        """Divide the sum of the weighted losses of all rows by the sum of their weights.

        Multiplying all weights by the same number does not change the result, even where they are
        outside the range of the logits' dtype.

        Parameters
        ----------
        y_true : array-like
            Targets, in the form that the notes of the class describe.
        logits : array-like of shape (n_samples, n_outputs)
            float32 and float64 are used without a copy, whatever the strides.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, at least 0.

        Returns
        -------
        float
            nan, with a RuntimeWarning, if no row counts.
        """
        _, matrix, given, weight = self._checked(y_true, logits, sample_weight)
        labels = given.get("labels")
        if labels is not None and (labels < 0).any():  # ignored rows do not affect the unit
            weight = np.where(labels < 0, 0.0, 1.0 if weight is None else weight)
        matrix = self._adjusted(matrix, weight=weight, **given)
        by_entry = in_unit(weight)[0] if weight is not None and weight.ndim == 2 else None
        loss = np.empty(len(matrix), dtype=matrix.dtype)
        self._encoded(matrix, given, by_entry).loss_gradient(matrix, loss, None, 1)
        if by_entry is not None:
            return mean_of(loss, by_entry.mean(axis=1).sum())
        return weighted_mean(loss, np.ones(len(matrix)) if weight is None else weight)


class FocalSetting:
    """What the focal losses share, which are plain cross-entropy without a focus or ``alpha``."""

    _gamma = of_parameter("gamma")

    @property
    def _convex(self):
        """Whether it is convex."""
        return self.gamma == 0

    @property
    def _plain(self):
        """Whether it is plain cross-entropy."""
        return self.gamma == 0 and self.alpha is None

    _certifiable = _plain

    def _convex_start(self):
        return clone(self).set_params(gamma=0.0)


def weighted_mean(loss, weight):
    """Return the weighted mean of the losses of rows, in float64.

    A row of weight 0 contributes nothing, even if its loss is inf.

    Parameters
    ----------
    loss : ndarray of shape (n_samples,)
    weight : ndarray of shape (n_samples,), float64
        Weights of the rows, at least 0, of any size.

    Returns
    -------
    float
        nan, with a RuntimeWarning, if no row counts.
    """
    weight, _ = in_unit(weight)
    counts = weight > 0
    return mean_of(loss[counts] * weight[counts], weight.sum())


def mean_of(loss, divisor):
    """Divide the sum of losses by the sum of weights; nan, with a warning, if no row counts."""
    if divisor == 0:
        warn(
            "The mean of no rows is nan: all rows are ignored or missing, or have weight 0.",
            RuntimeWarning,
        )
        return np.nan
    return float(loss.sum(dtype=np.float64) / divisor)
