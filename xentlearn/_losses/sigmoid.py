"""Losses of independent labels: one sigmoid per logit, summed over the logits of a row."""

from collections.abc import Sequence

import numpy as np

from .._loss import EncodedTarget
from .._utils.parameters import number_in, parameter
from .base import (
    FOCUS,
    LABEL_SMOOTHING,
    FocalSetting,
    LossSetting,
    of_parameter,
    with_parameters,
)
from .validation import check_binary_targets, check_output_weight


class BinarySetting(LossSetting):
    """What the binary settings share: their targets, and weights of single entries."""

    _proba_kind = "sigmoid"
    _couples = _shift_invariant = False

    def _kernel_target(self, shape, dtype, *, outputs=None, n_outputs=None, **given):
        """Encode checked targets for the kernels, as ``LossSetting._kernel_target`` describes."""
        return EncodedTarget(
            "binary",
            *shape,
            dtype,
            positive=self._encoded_output_weight(dtype, outputs, n_outputs or shape[1]),
            label_smoothing=self._label_smoothing,
            **({} if self._plain else self._form()),
            **given,
        )

    def _check_targets(self, y_true, shape, dtype):
        """Return {"values": entries in [0, 1], nan where missing}."""
        if y_true.ndim == 1 and shape[1] == 1:
            y_true = y_true[:, np.newaxis]
        return {"values": check_binary_targets(y_true, shape, dtype)}

    def _fitted_weight_sums(self, sums, n_outputs):
        """Return the sums of weights of the targets that the loss fits, by output and outcome.

        Parameters
        ----------
        sums : ndarray of shape (n_outputs, 2)
            Sums of the weights of the 0s and of the 1s in the training data.
        n_outputs : int

        Returns
        -------
        ndarray of shape (n_outputs, 2)
            The same of the smoothed targets, multiplied by the weights of the outcomes.
        """
        sums = (1 - self._label_smoothing) * sums + (
            self._label_smoothing / 2 * sums.sum(axis=1, keepdims=True)
        )
        return sums * self._outcome_weight(n_outputs)

    def _outcome_weight(self, n_outputs):
        """Return the weights of the 0s and of the 1s, to be broadcast to shape (n_outputs, 2)."""
        return 1.0

    def _alphas(self):
        """Return the weights of the 1s and of the 0s in a focal loss."""
        return 1.0, 1.0


@with_parameters
class BinaryCrossentropy(BinarySetting):
    """Training objective on logits: binary cross-entropy, summed over the labels of a row.

    For a logit z and target y, ``loss = w y log(1 + exp(-z)) + (1 - y) log(1 + exp(z))`` with w the
    ``pos_weight`` and y smoothed to ``(1 - label_smoothing) y + label_smoothing / 2``; its gradient
    is ``(1 - y) sigmoid(z) - w y sigmoid(-z)``. Both are 0 where the target is missing (nan).

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each target that is spread evenly over 0 and 1.
    pos_weight : float, sequence of n_outputs floats or None, default=None
        Weights of the positives, each 0 or from 1e-15 to 1e15; None means 1.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` of the methods: targets in [0, 1] or nan, of the shape of the logits, (n_samples,) or
    (n_samples, n_outputs). ``sample_weight`` may have either shape as well. The L losses of a row
    are *summed*, so that a fit with L labels is equivalent to L separate fits.

    Examples
    --------
    >>> from xentlearn.losses import BinaryCrossentropy
    >>> BinaryCrossentropy().loss([1, 0], [40.0, 0.0])
    array([4.24835426e-18, 6.93147181e-01])
    """

    name = "binary_crossentropy"

    label_smoothing: float = parameter(0.0, LABEL_SMOOTHING)
    pos_weight: float | Sequence[float] | None = None
    _label_smoothing = of_parameter("label_smoothing")

    def _output_weight(self, n_outputs, dtype):
        return check_output_weight(self.pos_weight, "pos_weight", n_outputs, dtype)

    def _outcome_weight(self, n_outputs):
        positive = self._output_weight(n_outputs, np.float64)
        return 1.0 if positive is None else np.stack([np.ones(n_outputs), positive], axis=1)


@with_parameters
class BinaryFocalCrossentropy(FocalSetting, BinarySetting):
    """Training objective on logits: binary focal loss, summed over the labels of a row.

    For p = sigmoid(z) and a target y, ``loss = a (1 - p_t)^gamma (-y log p - (1 - y) log(1 - p))``
    with ``p_t = y p + (1 - y) (1 - p)``, ``a = alpha y + (1 - alpha) (1 - y)`` (or 1) and y
    smoothed to ``(1 - label_smoothing) y + label_smoothing / 2``; arXiv 1708.02002, equation 5,
    with the definition of Keras.

    Parameters
    ----------
    gamma : float, default=2.0
        In [0, 100]: the larger, the less well predicted labels count; 0 is plain cross-entropy.
    alpha : float or None, default=None
        In [0, 1]: weight of the positives; that of the negatives is 1 - alpha. None gives both a
        weight of 1.
    label_smoothing : float, default=0.0
        In [0, 1]: the share of each target that is spread evenly over 0 and 1.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` and ``sample_weight`` of the methods: as in ``BinaryCrossentropy``. Not convex: a fit
    starts at the solution for ``gamma=0``. ``hessian_product`` and ``hessian_diagonal`` give the
    generalised Gauss-Newton matrix, which is positive semi-definite, in place of the Hessian.

    Examples
    --------
    >>> from xentlearn.losses import BinaryFocalCrossentropy
    >>> BinaryFocalCrossentropy(gamma=2.0).loss([1, 0], [2.0, 2.0]).round(4)
    array([0.0018, 1.6501])
    """

    name = "binary_focal_crossentropy"

    gamma: float = parameter(2.0, FOCUS)
    alpha: float | None = parameter(
        None, number_in("[0, 1]", "the weight of the positives", optional=True)
    )
    label_smoothing: float = parameter(0.0, LABEL_SMOOTHING)
    _label_smoothing = of_parameter("label_smoothing")

    def _alphas(self):
        return (1.0, 1.0) if self.alpha is None else (float(self.alpha), 1.0 - float(self.alpha))

    def _form(self):
        alpha, alpha_of_0 = self._alphas()
        return dict(form="focal", gamma=self.gamma, alpha=alpha, alpha_of_0=alpha_of_0)

    def _outcome_weight(self, n_outputs):
        return np.array(self._alphas()[::-1])


@with_parameters
class AsymmetricBinaryCrossentropy(BinarySetting):
    """Training objective on logits: asymmetric loss, for many labels of which few are positive.

    For p = sigmoid(z) and a target y, ``loss = y (1 - p)^gamma_pos (-log p) + (1 - y) p_m^gamma_neg
    (-log(1 - p_m))`` with ``p_m = max(p - clip, 0)``: negatives with a small p cost little and,
    below ``clip``, nothing; arXiv 2009.14119, equations 4 to 6.

    Parameters
    ----------
    gamma_neg : float, default=4.0
        In [0, 100]: the larger, the less well predicted negatives count.
    gamma_pos : float, default=0.0
        In [0, 100]: the same for positives.
    clip : float, default=0.05
        In [0, 1): the probability up to which a negative costs nothing.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.

    Notes
    -----
    ``y_true`` and ``sample_weight`` of the methods: as in ``BinaryCrossentropy``. Not convex: a fit
    starts at the solution of plain cross-entropy. ``hessian_product`` and ``hessian_diagonal`` give
    a positive semi-definite matrix in place of the Hessian.

    Examples
    --------
    >>> from xentlearn.losses import AsymmetricBinaryCrossentropy
    >>> AsymmetricBinaryCrossentropy().loss([1, 0, 0], [2.0, 2.0, -3.0]).round(4)
    array([0.1269, 0.8464, 0.    ])
    """

    name = "asymmetric_binary_crossentropy"
    _plain = _certifiable = _convex = False

    gamma_neg: float = parameter(4.0, FOCUS)
    gamma_pos: float = parameter(0.0, FOCUS)
    clip: float = parameter(
        0.05, number_in("[0, 1)", "the probability up to which a negative costs nothing")
    )

    def _form(self):
        return dict(
            form="asymmetric", gamma=self.gamma_pos, gamma_of_0=self.gamma_neg, clip=self.clip
        )

    def _convex_start(self):
        return BinaryCrossentropy()
