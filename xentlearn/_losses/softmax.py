"""Softmax losses of integer labels and of one-hot or soft rows: plain, focal and robust ones."""

import numbers
from collections.abc import Sequence

from .._loss import EncodedTarget
from .._utils.parameters import NON_NEGATIVE, Rule, number_in, parameter
from .base import (
    FOCUS,
    LABEL_SMOOTHING,
    FocalSetting,
    LossSetting,
    of_parameter,
    with_parameters,
)
from .validation import check_labels, check_output_weight, check_soft_rows

_ADJUSTMENT = Rule(
    "a finite number >= 0 (factor of the log class shares)", numbers.Real, 0, ends=(0,)
)


class CategoricalSetting(LossSetting):
    """What the categorical settings share: their targets, and the sums of these."""

    _logit_adjustment = of_parameter("logit_adjustment")

    def __new__(cls, *args, **parameters):
        """As in ``AdvisedMixin``, which a default fit, that passes nothing, need not run."""
        if args or parameters:
            return super().__new__(cls, *args, **parameters)
        return object.__new__(cls)

    def _kernel_target(
        self, shape, dtype, *, labels=None, values=None, outputs=None, n_outputs=None, **others
    ):
        """Encode checked targets for the kernels, as ``LossSetting._kernel_target`` describes."""
        form = {}
        if not self._plain:
            form = self._form(labels is not None)
            form["positive"] = self._encoded_output_weight(dtype, outputs, n_outputs or shape[1])
        return EncodedTarget(
            "categorical" if labels is None else "sparse_categorical",
            *shape,
            dtype,
            labels=labels,
            values=values,
            label_smoothing=self._label_smoothing,
            **form,
            **others,
        )

    def _check_targets(self, y_true, shape, dtype):
        """Return {"labels": class indices} or {"values": soft rows}."""
        if y_true.ndim == 1:
            return {"labels": check_labels(y_true, shape[:1], shape[1])}
        return {"values": check_soft_rows(y_true, "y_true", shape, dtype)}

    def _fitted_weight_sums(self, sums, n_outputs):
        """Return the class weight sums of the targets that the loss fits, which are smoothed.

        They are not multiplied by ``alpha``: rows of a class that has an ``alpha`` of 0 may still
        have a smoothed target of another class.

        Parameters
        ----------
        sums : ndarray of shape (n_outputs,)
            Sum of the weights of each class in the training data.
        n_outputs : int

        Returns
        -------
        ndarray of shape (n_outputs,)
        """
        return (1 - self._label_smoothing) * sums + self._label_smoothing * sums.sum() / n_outputs

    def _convex_start(self):
        return CategoricalCrossentropy(logit_adjustment=self.logit_adjustment)


@with_parameters
class SparseCategoricalCrossentropy(CategoricalSetting):
    """Training objective on logits: softmax cross-entropy of integer labels.

    For logits z and label y, ``loss = log(sum_k exp(z_k)) - sum_k t_k z_k`` with
    ``t_k = (1 - label_smoothing) [k = y] + label_smoothing / K``; its gradient is ``p_k - t_k``
    with p the softmax of z.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each target that is spread evenly over all classes.
    ignore_class : label or None, default=None
        Rows with this label have no loss and no weight. In ``SoftmaxClassifier`` it is a label of
        y, which then gets no logit; in the methods here it is a class index, which may be out of
        range.
    logit_adjustment : float, default=0.0
        At least 0; for data with many rare classes (arXiv 2007.07314). The logit of each class is
        increased by ``logit_adjustment`` times the logarithm of the class's weighted share of the
        training data. Predictions leave this term out, so that a value of 1 makes them as if all
        classes were equally frequent.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` of the methods: class indices of shape (n_samples,).

    Examples
    --------
    >>> import numpy as np
    >>> from xentlearn.losses import SparseCategoricalCrossentropy
    >>> loss = SparseCategoricalCrossentropy()
    >>> loss.loss([0], np.array([[20.0, 0.0]], dtype=np.float32))
    array([2.0611537e-09], dtype=float32)
    >>> loss.gradient([0], np.array([[20.0, 0.0]], dtype=np.float32))
    array([[-2.0611537e-09,  2.0611537e-09]], dtype=float32)
    """

    name = "sparse_categorical_crossentropy"
    _takes_rows = False

    label_smoothing: float = parameter(0.0, LABEL_SMOOTHING)
    ignore_class: object = None
    logit_adjustment: float = parameter(0.0, _ADJUSTMENT)
    _label_smoothing = of_parameter("label_smoothing")
    _ignore_class = of_parameter("ignore_class")

    def _check_targets(self, y_true, shape, dtype):
        return {"labels": check_labels(y_true, shape[:1], shape[1], self.ignore_class)}


@with_parameters
class CategoricalCrossentropy(CategoricalSetting):
    """Training objective on logits: softmax cross-entropy of one-hot or soft rows.

    For logits z and target row t, ``loss = sum_k t_k (log(sum_j exp(z_j)) - z_k)`` with t smoothed
    to ``(1 - label_smoothing) t_k + label_smoothing / K``; its gradient is ``p_k sum_j t_j - t_k``.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each target that is spread evenly over all classes.
    logit_adjustment : float, default=0.0
        As in ``SparseCategoricalCrossentropy``; the share of a class is that of its targets in all
        rows.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` of the methods: rows of shape (n_samples, n_outputs) that sum to 1, as an array or
    CSR, or class indices of shape (n_samples,), which cost the same as their one-hot rows.

    Examples
    --------
    >>> from xentlearn.losses import CategoricalCrossentropy
    >>> CategoricalCrossentropy().loss([[0.25, 0.75]], [[0.0, 1.0]]).round(4)
    array([0.5633])
    """

    name = "categorical_crossentropy"

    label_smoothing: float = parameter(0.0, LABEL_SMOOTHING)
    logit_adjustment: float = parameter(0.0, _ADJUSTMENT)
    _label_smoothing = of_parameter("label_smoothing")


@with_parameters
class CategoricalFocalCrossentropy(FocalSetting, CategoricalSetting):
    """Training objective on logits: focal loss, which puts more weight on badly predicted rows.

    For the softmax p of the logits and a target row t, ``loss = sum_k a_k t_k (1 - p_k)^gamma
    (-log p_k)`` with a the ``alpha`` (or 1) and t smoothed to ``(1 - label_smoothing) t_k +
    label_smoothing / K``; arXiv 1708.02002, equations 4 and 5, with the definition of Keras.

    Parameters
    ----------
    gamma : float, default=2.0
        In [0, 100]: the larger, the less well predicted classes count; 0 is plain cross-entropy.
    alpha : float, sequence of n_outputs floats or None, default=None
        Weights of the classes, each 0 or from 1e-15 to 1e15; None means 1. The divisor of a mean
        does not depend on them.
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each target that is spread evenly over all classes.
    logit_adjustment : float, default=0.0
        As in ``SparseCategoricalCrossentropy``.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` of the methods: class indices of shape (n_samples,), or rows of shape (n_samples,
    n_outputs) that sum to 1. Not convex: a fit starts at the solution for ``gamma=0``.
    ``hessian_product`` and ``hessian_diagonal`` give the generalised Gauss-Newton matrix, which is
    positive semi-definite, in place of the Hessian.

    Examples
    --------
    >>> from xentlearn.losses import CategoricalFocalCrossentropy
    >>> CategoricalFocalCrossentropy(gamma=2.0).loss([0, 1], [[2.0, 0.0], [2.0, 0.0]]).round(4)
    array([0.0018, 1.6501])
    """

    name = "categorical_focal_crossentropy"

    gamma: float = parameter(2.0, FOCUS)
    alpha: float | Sequence[float] | None = None
    label_smoothing: float = parameter(0.0, LABEL_SMOOTHING)
    logit_adjustment: float = parameter(0.0, _ADJUSTMENT)
    _label_smoothing = of_parameter("label_smoothing")

    def _form(self, labelled):
        return dict(form="focal", gamma=self.gamma)

    def _output_weight(self, n_outputs, dtype):
        return check_output_weight(self.alpha, "alpha", n_outputs, dtype)


@with_parameters
class GeneralizedCrossentropy(CategoricalSetting):
    """Training objective on logits: generalised cross-entropy, robust to wrong labels.

    For the softmax p of the logits and a target row t, ``loss = sum_k t_k (1 - p_k^q) / q``:
    between cross-entropy (q near 0) and the mean absolute error (q = 1). A wrong label costs at
    most 1 / q; arXiv 1805.07836, equation 6.

    Parameters
    ----------
    q : float, default=0.7
        In (0, 1].
    logit_adjustment : float, default=0.0
        As in ``SparseCategoricalCrossentropy``.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` of the methods: class indices of shape (n_samples,), or rows of shape (n_samples,
    n_outputs) that sum to 1. Not convex: a fit starts at the solution of plain cross-entropy.
    ``hessian_product`` and ``hessian_diagonal`` give the generalised Gauss-Newton matrix, which is
    positive semi-definite, in place of the Hessian.

    Examples
    --------
    >>> from xentlearn.losses import GeneralizedCrossentropy
    >>> GeneralizedCrossentropy(q=0.7).loss([0, 1], [[20.0, 0.0], [20.0, 0.0]]).round(4)
    array([0.    , 1.4286])
    """

    name = "generalized_crossentropy"
    _plain = _certifiable = _convex = False

    q: float = parameter(0.7, number_in("(0, 1]", "its limit at 0 is CategoricalCrossentropy"))
    logit_adjustment: float = parameter(0.0, _ADJUSTMENT)

    def _form(self, labelled):
        return dict(form="generalized", q=self.q)


@with_parameters
class SymmetricCrossentropy(CategoricalSetting):
    """Training objective on logits: cross-entropy plus reverse cross-entropy, for wrong labels.

    For the softmax p of the logits and a target row t, ``loss = alpha sum_k t_k (-log p_k) + beta
    sum_k p_k (-log t_k)``, where the logarithm of a target below exp(``log_zero``) is taken to be
    ``log_zero``. For a label y the second term is ``-beta log_zero (1 - p_y)``; arXiv 1908.06112,
    equation 7.

    Parameters
    ----------
    alpha : float, default=1.0
        Weight >= 0 of the cross-entropy.
    beta : float, default=1.0
        Weight >= 0 of the reverse cross-entropy.
    log_zero : float, default=-4.0
        At most 0: the value that stands for log(0).
    logit_adjustment : float, default=0.0
        As in ``SparseCategoricalCrossentropy``.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` of the methods: class indices of shape (n_samples,), or rows of shape (n_samples,
    n_outputs) that sum to 1. Not convex: a fit starts at the solution of plain cross-entropy.
    ``hessian_product`` and ``hessian_diagonal`` give the generalised Gauss-Newton matrix, which is
    positive semi-definite, in place of the Hessian.

    Examples
    --------
    >>> from xentlearn.losses import SymmetricCrossentropy
    >>> SymmetricCrossentropy(alpha=0.1).loss([0, 1], [[2.0, 0.0], [2.0, 0.0]]).round(4)
    array([0.4895, 3.7359])
    """

    name = "symmetric_crossentropy"
    _plain = _certifiable = _convex = False

    alpha: float = parameter(1.0, NON_NEGATIVE)
    beta: float = parameter(1.0, NON_NEGATIVE)
    log_zero: float = parameter(
        -4.0, Rule("a finite number <= 0", numbers.Real, below=0, ends=(0,))
    )
    logit_adjustment: float = parameter(0.0, _ADJUSTMENT)

    def _check_parameters(self):
        super()._check_parameters()
        if self.alpha == 0 and self.beta * self.log_zero == 0:
            raise ValueError(
                "'alpha', or both 'beta' and -'log_zero', must be > 0; got "
                f"{self.alpha!r}, {self.beta!r} and {self.log_zero!r}, which is no loss."
            )

    def _form(self, labelled):
        if labelled:
            miss_weight = -float(self.beta) * float(self.log_zero)
            return dict(form="poly", log_weight=self.alpha, miss_weight=miss_weight)
        return dict(
            form="symmetric", log_weight=self.alpha, miss_weight=self.beta, floor=self.log_zero
        )


@with_parameters
class PolyCrossentropy(CategoricalSetting):
    """Training objective on logits: Poly-1 loss, cross-entropy with another first coefficient.

    For the softmax p of the logits and a target row t, ``loss = sum_k t_k (-log p_k + epsilon (1 -
    p_k))``; arXiv 2204.12511, equation 6.

    Parameters
    ----------
    epsilon : float, default=1.0
        At least -1; 0 is plain cross-entropy.
    logit_adjustment : float, default=0.0
        As in ``SparseCategoricalCrossentropy``.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` of the methods: class indices of shape (n_samples,), or rows of shape (n_samples,
    n_outputs) that sum to 1. Convex for epsilon <= 1; otherwise a fit starts at the solution of
    plain cross-entropy. ``hessian_product`` and ``hessian_diagonal`` give the generalised
    Gauss-Newton matrix, which is positive semi-definite, in place of the Hessian.

    Examples
    --------
    >>> from xentlearn.losses import PolyCrossentropy
    >>> PolyCrossentropy(epsilon=1.0).loss([0, 1], [[2.0, 0.0], [2.0, 0.0]]).round(4)
    array([0.2461, 3.0077])
    """

    name = "poly_crossentropy"

    epsilon: float = parameter(1.0, Rule("a finite number >= -1", numbers.Real, -1, ends=(-1,)))
    logit_adjustment: float = parameter(0.0, _ADJUSTMENT)

    @property
    def _convex(self):
        """Whether it is convex."""
        return self.epsilon <= 1

    @property
    def _plain(self):
        """Whether it is plain cross-entropy."""
        return self.epsilon == 0

    _certifiable = _plain

    def _form(self, labelled):
        return dict(form="poly", miss_weight=self.epsilon)
