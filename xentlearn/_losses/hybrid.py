"""A weighted sum of losses on the same logits."""

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _BaseComposition

from .._loss import EncodedTarget
from .._utils.validation import check_weights
from .base import LossSetting


class HybridLoss(LossSetting, _BaseComposition):
    """Training objective on logits: a weighted sum of losses on the same logits.

    For example softmax cross-entropy plus one-vs-rest binary cross-entropy. Probabilities, and the
    kind of y, are the first one's.

    Parameters
    ----------
    losses : list of (str, loss setting) pairs
        Names and settings of the parts. Their parameters are addressed by the names, as in a
        ``Pipeline``: ``loss__softmax__label_smoothing`` in a grid.
    weights : sequence of floats or None, default=None
        Weight >= 0 of each part; None adds them with weights 1.

    Raises
    ------
    TypeError
        For a parameter it does not have; ``from_logits`` is told what to use instead.
    ValueError
        When it is used, if the parts or weights do not fit together.

    Notes
    -----
    ``y_true`` of the methods: as the first part takes it. Labels stand for one-vs-rest targets in a
    binary part, soft rows for targets in [0, 1]; a binary first part passes its rows on to
    categorical parts only if they sum to 1. ``logit_adjustment`` must be 0 in all parts.

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

    def __init__(self, losses, weights=None, **unknown):
        self.losses = losses
        self.weights = weights
        self._refuse(unknown)

    def get_params(self, deep=True):
        """Parameters, with ``deep`` those of the parts too.

        Parameters
        ----------
        deep : bool, default=True
            Whether the parts (by name) and their parameters (name__parameter) are included.

        Returns
        -------
        dict
        """
        valid = isinstance(self.losses, (list, tuple)) and all(
            isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], LossSetting)
            for pair in self.losses
        )
        return self._get_params("losses", deep=deep and valid)  # what is wrong, fit will tell

    def set_params(self, **params):
        """Set parameters, those of the parts included (``softmax__label_smoothing=0.1``).

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : HybridLoss
        """
        self._set_params("losses", **params)
        return self

    # ---- What the first part decides -----------------------------------------------------------

    @property
    def _first(self):
        self._check_parts()
        return self.losses[0][1]

    @property
    def proba_kind(self):
        """Whether probabilities are those of a "softmax" or of a "sigmoid"."""
        return self._first.proba_kind

    @property
    def ignore_class(self):
        """Label whose rows do not count."""
        return self._first.ignore_class

    def _check_targets(self, y_true, shape, dtype):
        return self._first._check_targets(y_true, shape, dtype)

    def _weight_shapes(self, shape):
        binary = all(part.proba_kind == "sigmoid" for _, part in self.losses)
        return self._first._weight_shapes(shape)[: None if binary else 1]

    @property
    def takes_rows(self):
        """Whether all parts take soft rows or an indicator."""
        self._check_parts()
        return all(part.takes_rows for _, part in self.losses)

    def _check_parameters(self):
        self._check_parts()
        for _, part in self.losses:
            part._check_parameters()

    def _for_judging(self):
        setting = clone(self)
        setting.losses = [(name, part._for_judging()) for name, part in setting.losses]
        return setting

    def _fitted_mass(self, mass, n_outputs):
        """Masses as all parts together see them; of the shape of the first part's."""
        ones = mass if mass.ndim == 1 else mass[:, 1]
        both = mass if mass.ndim == 2 else np.stack([ones.sum() - ones, ones], axis=1)
        total = np.zeros((n_outputs, 2))
        for factor, (_, part) in zip(self._factors(), self.losses, strict=True):
            if part.proba_kind == "softmax":
                of_part = part._fitted_mass(ones, n_outputs)
                total += factor * np.stack([of_part.sum() - of_part, of_part], axis=1)
            else:
                total += factor * part._fitted_mass(both, n_outputs)
        return total[:, 1] if mass.ndim == 1 else total

    # ---- The sum -------------------------------------------------------------------------------

    def _kernel_target(self, shape, dtype, outputs, n_outputs, given):
        self._check_parts()
        values = given.get("values")
        parts = []
        for factor, (name, part) in zip(self._factors(), self.losses, strict=True):
            softmax = part.proba_kind == "softmax"
            if values is not None and not part.takes_rows:
                raise ValueError(
                    f"Part {name!r} of HybridLoss, {type(part).__name__}, takes labels, not rows; "
                    "use CategoricalCrossentropy in its place."
                )
            if softmax and shape[1] == 1:
                raise ValueError(
                    f"Part {name!r} of HybridLoss is a softmax, which needs a logit per class; "
                    "with two classes put a categorical loss first."
                )
            if softmax and values is not None and self.proba_kind == "sigmoid":
                with np.errstate(invalid="ignore"):
                    distributions = np.abs(values.sum(axis=1) - 1) <= 1e-4
                if not distributions.all():
                    raise ValueError(
                        f"Part {name!r} of HybridLoss takes rows that sum to 1, but row "
                        f"{np.argmin(distributions)} of 'y' does not; combine losses of several "
                        "labels with binary ones only."
                    )
            target = part._kernel_target(shape, dtype, outputs, n_outputs, given)
            parts.append((factor, target))
        return EncodedTarget.sum_of(parts)

    def _factors(self):
        if self.weights is None:
            return np.ones(len(self.losses))
        factors = check_weights(self.weights, "weights", (len(self.losses),))
        if not factors.any():
            raise ValueError("'weights' must leave at least one part; got only zeros.")
        return factors

    def _check_parts(self):
        """The rules for ``losses``, each with its error."""
        pairs = self.losses
        valid = isinstance(pairs, (list, tuple)) and all(
            isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)
            for pair in pairs
        )
        if not valid or not pairs:
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
            if getattr(part, "logit_adjustment", 0) != 0:
                raise ValueError(
                    f"'logit_adjustment' must be 0 in the parts of HybridLoss, which share their "
                    f"logits; part {name!r} has {part.logit_adjustment!r}."
                )
            if part.ignore_class is not None and part is not pairs[0][1]:
                raise ValueError(
                    "'ignore_class' belongs to the first part of HybridLoss, for all of them; part "
                    f"{name!r} has {part.ignore_class!r}."
                )

    @property
    def plain(self):
        """Whether all parts are plain cross-entropy."""
        self._check_parts()
        return all(part.plain for _, part in self.losses)

    @property
    def certifiable(self):
        """Whether the gap of a fit has a certified bound: no."""
        return False

    @property
    def couples(self):
        """Whether the logits of a row see each other: any part is a softmax."""
        self._check_parts()
        return any(part.couples for _, part in self.losses)

    @property
    def shift_invariant(self):
        """Whether the same change of all logits of a row changes nothing: all are softmaxes."""
        self._check_parts()
        return all(part.shift_invariant for _, part in self.losses)

    def _convex_start(self):
        """The sum of the parts' convex settings; None where all are convex."""
        self._check_parts()
        starts = [(name, part._convex_start()) for name, part in self.losses]
        if all(start is None for _, start in starts):
            return None
        parts = [
            (name, part if start is None else start)
            for (name, start), (_, part) in zip(starts, self.losses, strict=True)
        ]
        return HybridLoss(parts, self.weights)
