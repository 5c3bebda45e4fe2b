"""The loss on validation rows, which are not trained on; early stopping by it."""

import numpy as np
from sklearn.model_selection import train_test_split

from .._data.dataset import MemoryData
from .._data.target_batches import encode_like
from .._utils.state import Stateful
from .inputs import require_memory, validated


def split_rows(y, fraction, random_state):
    """Split rows into training rows and validation rows.

    The split is stratified by class if each class has at least two rows and both parts have room
    for a row of every class.

    Parameters
    ----------
    y : EncodedY
    fraction : float
        Share of the validation rows, in (0, 1).
    random_state : RandomState instance

    Returns
    -------
    train, held_out : ndarray of int
        Indices of the training rows and of the validation rows, both sorted.

    Raises
    ------
    ValueError
        If there are too few rows for two parts.
    """
    labels = strata = y.values[:, 0] if y.kind == "binary" else y.labels
    n_rows = len(y.weight)
    if strata is not None:
        counts = np.unique(strata, return_counts=True)[1]
        if counts.min() < 2 or n_rows * min(fraction, 1 - fraction) < len(counts):
            strata = None
    try:
        train, held_out = train_test_split(
            np.arange(n_rows),
            test_size=fraction,
            random_state=random_state,
            stratify=strata,
        )
        if labels is None or len(np.unique(labels[train])) > 1 or len(counts) == 1:
            return np.sort(train), np.sort(held_out)
        error = "the training rows have a single class"
    except ValueError as caught:
        error = caught
    raise ValueError(
        f"'validation_fraction'={fraction} of {n_rows} rows leaves too few on one side ({error}); "
        "pass 'X_val' and 'y_val' to fit, or set early_stopping=False."
    )


class Validation(Stateful):
    """Records the validation loss at the start and after each iteration.

    Parameters
    ----------
    data : MemoryData
        X of the validation rows.
    y : EncodedY
        Targets of the validation rows.

    Attributes
    ----------
    losses : list of float
        Mean loss at the start and after each iteration; of groups of outputs, which are fitted one
        after the other, the share of each group in turn.
    best : (coef, intercept) or None
        Coefficients that the fit has to end with; None means those of the solver.
    has_ended : bool
        Whether the fit has to end.

    Raises
    ------
    ValueError
        If all weights are 0, or all labels missing.
    """

    CHANGES = ("losses",)
    best, has_ended = None, False

    def __init__(self, data, y):
        if not (y.total_weight > 0 and y.fitted_weight_sums().sum() > 0):
            raise ValueError(
                "The validation rows must have a positive weight and labels that are known; all "
                "their weights are 0, or all labels missing. Pass other rows as 'X_val' and "
                "'y_val', or none, with early_stopping=False."
            )
        self.data, self.y = data, y
        self.losses, self._rows, self._outputs = [], None, None

    @property
    def checksum(self):
        """Checksums of X and of the targets, to compare them with other validation rows."""
        return self.data.checksum(), self.y.fingerprint()

    def stop(self, outputs, coef, intercept, n_threads):
        """Compute the validation loss; return whether to stop.

        Parameters
        ----------
        outputs : ndarray of int
            Indices of the outputs, the same object in each call for a group.
        coef : ndarray of shape (len(outputs), n_features)
        intercept : ndarray of shape (len(outputs),)
            Coefficients and intercepts of these outputs, in float64 or as they are stored.
        n_threads : int

        Returns
        -------
        bool
        """
        if self._outputs is not outputs:
            self._rows, self._outputs = self.data.rows(self.y, outputs), outputs
        total, _, _ = self._rows.loss_gradient(
            coef.T.astype(np.float64), intercept.astype(np.float64), n_threads
        )
        self.losses.append(float(total / self.y.total_weight))
        return False


class EarlyStopping(Validation):
    """Also keeps the coefficients with the lowest validation loss, and says when to stop.

    Parameters
    ----------
    data : MemoryData
    y : EncodedY
        As in ``Validation``.
    patience : int
        Number of iterations without a better loss after which to stop.
    tol : float
        A loss counts as better if it is below the best one by more than this share of it.

    Attributes
    ----------
    best : (coef, intercept) or None
        Coefficients with the lowest loss; None before the first call of ``stop``.
    """

    CHANGES = (*Validation.CHANGES, "best", "_least", "_unchanged")

    def __init__(self, data, y, patience, tol):
        super().__init__(data, y)
        self.patience, self.tol = patience, tol
        self._least, self._unchanged = np.inf, 0

    @property
    def has_ended(self):
        """Whether the loss has not improved for ``patience`` iterations."""
        return self._unchanged >= self.patience

    def stop(self, outputs, coef, intercept, n_threads):
        """Compute the validation loss; return whether to stop. Parameters as in ``Validation``."""
        super().stop(outputs, coef, intercept, n_threads)
        loss = self.losses[-1]
        better = loss < self._least - self.tol * self._least if self.best is not None else True
        self._unchanged = 0 if better else self._unchanged + 1
        if loss < self._least or self.best is None:
            self._least, self.best = loss, (coef.copy(), intercept.copy())
        return self.has_ended


# ---- Of a fit ----------------------------------------------------------------------------------


def with_validation(estimator, data, y, X_val, y_val, random_state):
    """Return the data to train from, and what watches the loss of the validation rows.

    Parameters
    ----------
    estimator : SoftmaxClassifier
        Its parameters say whether to stop early, and it knows the features of X.
    data : MemoryData or ShardedData
    y : EncodedY
        All rows of X and y.
    X_val, y_val
        As passed to ``fit``; without them, rows of X are held out.
    random_state : RandomState instance
        Draws these.

    Returns
    -------
    data, y
        The training rows.
    validation : Validation

    Raises
    ------
    ValueError
        If ``X_val`` and ``y_val`` are not like X and y, or if rows cannot be held out.
    """
    if X_val is not None:
        rows = _given_rows(estimator, y.without_rows(), X_val, y_val)
    elif isinstance(data, MemoryData):
        kept, held_out = split_rows(y, estimator.validation_fraction, random_state)
        rows = data.taken(held_out), y.taken(held_out)
        data, y = data.taken(kept), y.taken(kept)
    else:
        raise ValueError(
            "'early_stopping' holds out rows of X in memory only; for X in blocks or in "
            "partitions pass 'X_val' and 'y_val', which are in memory, to fit."
        )
    if estimator.early_stopping:
        return data, y, EarlyStopping(*rows, estimator.n_iter_no_change, estimator.tol)
    return data, y, Validation(*rows)


def _given_rows(estimator, known, X_val, y_val):
    """Return (MemoryData, EncodedY) of the user's validation rows; ``known`` is y without rows."""
    require_memory(X_val, "X_val", "read some of them")
    shape, n_features = getattr(X_val, "shape", ()), estimator.n_features_in_
    if len(shape) == 2 and shape[1] != n_features:
        raise ValueError(
            f"'X_val' must have the {n_features} features that the classifier gets as 'X', got "
            f"{shape[1]}. In a Pipeline, the earlier steps transform 'X_val' only if the pipeline "
            "has transform_input=['X_val'] and scikit-learn's metadata routing is enabled."
        )
    try:
        X_val = validated(estimator, X_val, reset=False)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"In 'X_val': {error}") from None
    try:
        y_val = encode_like(known, y_val, X_val.shape[0])
    except ValueError as error:
        raise ValueError(f"In 'y_val': {error}") from None
    return MemoryData(X_val), y_val
