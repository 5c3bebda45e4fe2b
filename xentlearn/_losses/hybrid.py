"""A weighted sum of losses on the same logits."""

from collections.abc import Sequence

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _BaseComposition

from .._loss import EncodedTarget
from .._utils.arguments import require_names
from .._utils.numerics import DEFAULT_SUM_TOLERANCE
from .._utils.validation import check_weights
from .base import LossSetting, with_parameters


def _combined(combine, capability):
    """A capability of a sum: that of any of its parts, or of all."""
    return property(lambda self: combine(getattr(part, capability) for part in self._parts))


def _are_pairs(losses, kind=object):
    """Whether ``losses`` is a list of pairs of a name and an object of the given kind."""
    return isinstance(losses, (list, tuple)) and all(
        isinstance(pair, tuple)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], kind)
        for pair in losses
    )


def _outcomes(ones):
    """Class weight sums by class, as sums of the 0s and of the 1s: shape (n_outputs, 2)."""
    return np.stack([ones.sum() - ones, ones], axis=1)


@with_parameters
class HybridLoss(LossSetting, _BaseComposition):
    """Training objective on logits: a weighted sum of losses on the same logits.

    For example softmax cross-entropy plus one-vs-rest binary cross-entropy. The first loss decides
    which targets are accepted and how probabilities are computed.

    Parameters
    ----------
    losses : list of (str, loss setting) pairs
        Names and settings of the parts. The names are used to set parameters of the parts, as in a
        ``Pipeline``: ``loss__softmax__label_smoothing`` in a grid.
    weights : sequence of floats or None, default=None
        Weight >= 0 of each part; None means that all are 1.

    Raises
    ------
    TypeError
        If it is given a parameter that it does not have; for ``from_logits`` the message says what
        to use instead.
    ValueError
        When it is used, if the parts or weights do not fit together.

    Notes
    -----
    ``y_true`` of the methods: as the first part takes it. A binary part reads labels as one-vs-rest
    targets, and soft rows as targets in [0, 1]. If the first part is binary, categorical parts need
    its rows to sum to 1. ``logit_adjustment`` must be 0 in all parts.

    Examples
    --------
    >>> from xentlearn.losses import BinaryCrossentropy, HybridLoss, SparseCategoricalCrossentropy
    >>> loss = HybridLoss(
    ...     [("softmax", SparseCategoricalCrossentropy()), ("ovr", BinaryCrossentropy())],
    ...     weights=[1.0, 0.5],
    ... )
    >>> loss.loss([0], [[2.0, 0.0, 0.0]]).round(4)
    array([0.9962])
    >>> loss.set_params(softmax__label_smoothing=0.1).losses[0][1]
    SparseCategoricalCrossentropy(label_smoothing=0.1)
    """

    losses: list
    weights: Sequence[float] | None = None

    def get_params(self, deep=True):
        """Return the parameters, with ``deep`` also those of the parts.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the parts (by name) and their parameters (name__parameter).

        Returns
        -------
        dict
        """
        valid = _are_pairs(self.losses, LossSetting)
        return self._get_params("losses", deep=deep and valid)  # else an error of fit

    def set_params(self, **params):
        """Set parameters, including those of the parts (``softmax__label_smoothing=0.1``).

        Parameters
        ----------
        **params : dict
            Values by name of parameter.

        Returns
        -------
        self : HybridLoss
        """
        # `_set_params` passes over the method of the mixin, which does this
        require_names(self, params, self.get_params())
        self._set_params("losses", **params)
        return self

    # ---- What the first part decides -----------------------------------------------------------

    @property
    def _proba_kind(self):
        """Whether probabilities are those of a "softmax" or of a "sigmoid"."""
        return self._parts[0]._proba_kind

    @property
    def _ignore_class(self):
        """Label whose rows do not count."""
        return self._parts[0]._ignore_class

    def _check_targets(self, y_true, shape, dtype):
        return self._parts[0]._check_targets(y_true, shape, dtype)

    # ---- What all parts decide -----------------------------------------------------------------

    _certifiable = False

    _couples = _combined(any, "_couples")
    _shift_invariant = _combined(all, "_shift_invariant")
    _takes_rows = _combined(all, "_takes_rows")
    _plain = _combined(all, "_plain")
    _convex = _combined(all, "_convex")

    def _check_parameters(self):
        for part in self._parts:
            part._check_parameters()
        self._factors()

    def _for_evaluation(self):
        self._check_parameters()
        setting = clone(self)
        setting.losses = [(name, part._for_evaluation()) for name, part in setting.losses]
        return setting

    def _convex_start(self):
        """Return the sum of the parts, or of their convex settings."""
        parts = [
            (name, part if part._convex else part._convex_start()) for name, part in self.losses
        ]
        return HybridLoss(parts, self.weights)

    # ---- The sum -------------------------------------------------------------------------------

    def _kernel_target(self, shape, dtype, *, values=None, **others):
        """Encode checked targets for the kernels, as ``LossSetting._kernel_target`` describes."""
        parts = []
        for factor, part, (name, _) in zip(self._factors(), self._parts, self.losses, strict=True):
            if values is not None and not part._takes_rows:
                raise ValueError(
                    f"Part {name!r} of HybridLoss, {type(part).__name__}, takes labels, not rows; "
                    "use CategoricalCrossentropy in its place."
                )
            if part._couples and shape[1] == 1:
                raise ValueError(
                    f"Part {name!r} of HybridLoss is a softmax, which needs a logit per class; "
                    "with two classes put a categorical loss first."
                )
            if part._couples and values is not None and self._proba_kind == "sigmoid":
                with np.errstate(invalid="ignore"):
                    distributions = np.abs(values.sum(axis=1) - 1) <= DEFAULT_SUM_TOLERANCE
                if not distributions.all():
                    raise ValueError(
                        f"Part {name!r} of HybridLoss takes rows that sum to 1, but row "
                        f"{np.argmin(distributions)} of 'y' does not; combine losses of several "
                        "labels with binary ones only."
                    )
            parts.append((factor, part._kernel_target(shape, dtype, values=values, **others)))
        return EncodedTarget.sum_of(parts)

    def _fitted_weight_sums(self, sums, n_outputs):
        """Return the sums of weights of the targets that all parts together fit.

        Parameters
        ----------
        sums : ndarray of shape (n_outputs,) or (n_outputs, 2)
            By class if the first part is a softmax, otherwise by output and outcome.
        n_outputs : int

        Returns
        -------
        ndarray of the shape of ``sums``
        """
        by_class = self._proba_kind == "softmax"
        both = _outcomes(sums) if by_class else sums
        total = np.zeros((n_outputs, 2))
        for factor, part in zip(self._factors(), self._parts, strict=True):
            if part._couples:
                total += factor * _outcomes(part._fitted_weight_sums(both[:, 1], n_outputs))
            else:
                total += factor * part._fitted_weight_sums(both, n_outputs)
        return total[:, 1] if by_class else total

    def _factors(self):
        if self.weights is None:
            return np.ones(len(self.losses))
        factors = check_weights(self.weights, "weights", (len(self.losses),))
        if not factors.any():
            raise ValueError("'weights' must leave at least one part; got only zeros.")
        return factors

    @property
    def _parts(self):
        """The settings of the parts, once ``losses`` has been found to be valid."""
        pairs = self.losses
        if not _are_pairs(pairs) or not pairs:
            raise ValueError(
                "'losses' must be a list of (name, setting) pairs, such as [('softmax', "
                f"SparseCategoricalCrossentropy()), ('ovr', BinaryCrossentropy())]; got {pairs!r}."
            )
        self._validate_names([name for name, _ in pairs])
        for name, part in pairs:
            if not isinstance(part, LossSetting) or isinstance(part, HybridLoss):
                raise ValueError(
                    f"Part {name!r} of HybridLoss must be a setting from xentlearn.losses that is "
                    f"not a HybridLoss itself; got {part!r}."
                )
            if part._logit_adjustment != 0:
                raise ValueError(
                    f"'logit_adjustment' must be 0 in the parts of HybridLoss, which share their "
                    f"logits; part {name!r} has {part._logit_adjustment!r}."
                )
            if part._ignore_class is not None and part is not pairs[0][1]:
                raise ValueError(
                    "'ignore_class' belongs to the first part of HybridLoss, for all of them; part "
                    f"{name!r} has {part._ignore_class!r}."
                )
        return [part for _, part in pairs]
