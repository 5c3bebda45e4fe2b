"""Losses of independent labels: one sigmoid per logit, added over the logits of a row."""

import numpy as np
from sklearn.base import clone

from .._utils.validation import check_number
from .base import LossSetting
from .validation import check_binary_targets, check_focusing, check_output_weight


class BinarySetting(LossSetting):
    """What the binary settings share: their targets, and weights of single entries."""

    proba_kind = "sigmoid"

    def _kind(self, labels):
        return "binary"

    def _check_targets(self, y_true, shape, dtype):
        """{"values": entries in [0, 1], nan where missing}."""
        if y_true.ndim == 1 and shape[1] == 1:
            y_true = y_true[:, np.newaxis]
        return {"values": check_binary_targets(y_true, shape, dtype)}

    def _weight_shapes(self, shape):
        return [shape[:1], shape]

    def _fitted_mass(self, mass, n_outputs):
        """Masses of the 0s and of the 1s of each output as the loss sees them.

        Parameters
        ----------
        mass : ndarray of shape (n_outputs, 2)
            Sum of the weights of the 0s and of the 1s.
        n_outputs : int

        Returns
        -------
        ndarray of shape (n_outputs, 2)
            Smoothed, and weighed by outcome.
        """
        mass = (1 - self.label_smoothing) * mass + (
            self.label_smoothing / 2 * mass.sum(axis=1, keepdims=True)
        )
        return mass * self._outcome_weight(n_outputs)

    def _outcome_weight(self, n_outputs):
        """Weights of the 0s and of the 1s, for a shape (n_outputs, 2)."""
        return 1.0

    def _alphas(self):
        """Weights of the 1s and of the 0s of a focal loss."""
        return 1.0, 1.0


class BinaryCrossentropy(BinarySetting):
    """Training objective on logits: binary cross-entropy, added over the labels of a row.

    For a logit z and target y, ``loss = w y log(1 + exp(-z)) + (1 - y) log(1 + exp(z))`` with w the
    ``pos_weight`` and y smoothed to ``(1 - label_smoothing) y + label_smoothing / 2``; its gradient
    is ``(1 - y) sigmoid(z) - w y sigmoid(-z)``. A missing target (nan) has neither.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        In [0, 1]: the share of the target that is spread evenly.
    pos_weight : float, sequence of n_outputs floats or None, default=None
        Weights of the positives: 0, or from 1e-15 to 1e15.

    Raises
    ------
    TypeError
        For a parameter it does not have; ``from_logits`` is told what to use instead.

    Notes
    -----
    ``y_true`` of the methods: targets in [0, 1] or nan, of the shape of the logits, (n_samples,) or
    (n_samples, n_outputs). ``sample_weight`` may have either shape too. The L losses of a row are
    *added*: a fit with L labels is L separate fits.

    Examples
    --------
    >>> from xentlearn.losses import BinaryCrossentropy
    >>> BinaryCrossentropy().loss([1, 0], [40.0, 0.0])
    array([4.24835426e-18, 6.93147181e-01])
    """

    name = "binary_crossentropy"
    function = True

    def __init__(self, label_smoothing=0.0, pos_weight=None, **unknown):
        self.label_smoothing = label_smoothing
        self.pos_weight = pos_weight
        self._refuse(unknown)

    def _output_weight(self, n_outputs, dtype):
        return check_output_weight(self.pos_weight, "pos_weight", n_outputs, dtype)

    def _outcome_weight(self, n_outputs):
        positive = self._output_weight(n_outputs, np.float64)
        return 1.0 if positive is None else np.stack([np.ones(n_outputs), positive], axis=1)


class BinaryFocalCrossentropy(BinarySetting):
    """Training objective on logits: binary focal loss, added over the labels of a row.

    For p = sigmoid(z) and a target y, ``loss = a (1 - p_t)^gamma (-y log p - (1 - y) log(1 - p))``
    with ``p_t = y p + (1 - y) (1 - p)``, ``a = alpha y + (1 - alpha) (1 - y)`` (or 1) and y
    smoothed to ``(1 - label_smoothing) y + label_smoothing / 2``; arXiv 1708.02002, equation 5,
    with the definition of Keras.

    Parameters
    ----------
    gamma : float, default=2.0
        In [0, 100]: how much less a well predicted label counts; 0 is plain cross-entropy.
    alpha : float or None, default=None
        In [0, 1]: weight of the positives, 1 - alpha being that of the negatives; None weighs both
        by 1.
    label_smoothing : float, default=0.0
        In [0, 1]: the share of the target that is spread evenly.

    Raises
    ------
    TypeError
        For a parameter it does not have; ``from_logits`` is told what to use instead.

    Notes
    -----
    ``y_true`` and ``sample_weight`` of the methods: as in ``BinaryCrossentropy``. Not convex: a fit
    begins at the solution for ``gamma=0``. ``hessian_product`` and ``hessian_diagonal`` give the
    generalised Gauss-Newton matrix, which is positive semi-definite, in place of the Hessian.

    Examples
    --------
    >>> from xentlearn.losses import BinaryFocalCrossentropy
    >>> BinaryFocalCrossentropy(gamma=2.0).loss([1, 0], [2.0, 2.0]).round(4)
    array([0.0018, 1.6501])
    """

    name = "binary_focal_crossentropy"
    function = True

    def __init__(self, gamma=2.0, alpha=None, label_smoothing=0.0, **unknown):
        self.gamma = gamma
        self.alpha = alpha
        self.label_smoothing = label_smoothing
        self._refuse(unknown)

    def _alphas(self):
        if self.alpha is None:
            return 1.0, 1.0
        alpha = check_number(
            self.alpha,
            "alpha",
            lambda x: 0 <= x <= 1,
            "None or a number in [0, 1], the weight of the positives",
        )
        return alpha, 1.0 - alpha

    def _form(self, labelled):
        gamma = check_focusing(self.gamma)
        alpha, alpha_of_0 = self._alphas()
        if gamma == 0 and self.alpha is None:
            return {}
        return {"form": "focal", "gamma": gamma, "alpha": alpha, "alpha_of_0": alpha_of_0}

    def _outcome_weight(self, n_outputs):
        return np.array(self._alphas()[::-1])

    def _convex_start(self):
        return None if self.gamma == 0 else clone(self).set_params(gamma=0.0)


class AsymmetricBinaryCrossentropy(BinarySetting):
    """Training objective on logits: asymmetric loss for many labels of which few are set.

    For p = sigmoid(z) and a target y, ``loss = y (1 - p)^gamma_pos (-log p) + (1 - y) p_m^gamma_neg
    (-log(1 - p_m))`` with ``p_m = max(p - clip, 0)``: easy negatives cost little and, below
    ``clip``, nothing; arXiv 2009.14119, equations 4 to 6.

    Parameters
    ----------
    gamma_neg : float, default=4.0
        In [0, 100]: how much less a well predicted negative counts.
    gamma_pos : float, default=0.0
        In [0, 100]: the same of a positive.
    clip : float, default=0.05
        In [0, 1): the probability up to which a negative costs nothing.

    Raises
    ------
    TypeError
        For a parameter it does not have; ``from_logits`` is told what to use instead.

    Notes
    -----
    ``y_true`` and ``sample_weight`` of the methods: as in ``BinaryCrossentropy``. Not convex: a fit
    begins at the solution of plain cross-entropy. ``hessian_product`` and ``hessian_diagonal`` give
    a positive semi-definite matrix in place of the Hessian.

    Examples
    --------
    >>> from xentlearn.losses import AsymmetricBinaryCrossentropy
    >>> AsymmetricBinaryCrossentropy().loss([1, 0, 0], [2.0, 2.0, -3.0]).round(4)
    array([0.1269, 0.8464, 0.    ])
    """

    name = "asymmetric_binary_crossentropy"

    def __init__(self, gamma_neg=4.0, gamma_pos=0.0, clip=0.05, **unknown):
        self.gamma_neg = gamma_neg
        self.gamma_pos = gamma_pos
        self.clip = clip
        self._refuse(unknown)

    def _form(self, labelled):
        return {
            "form": "asymmetric",
            "gamma": check_focusing(self.gamma_pos, "gamma_pos"),
            "gamma_of_0": check_focusing(self.gamma_neg, "gamma_neg"),
            "clip": check_number(
                self.clip,
                "clip",
                lambda x: 0 <= x < 1,
                "a number in [0, 1), the probability up to which a negative costs nothing",
            ),
        }

    def _convex_start(self):
        return BinaryCrossentropy()
