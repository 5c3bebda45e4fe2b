"""Early stopping by the loss on validation rows, which are not trained on."""

import numpy as np
from sklearn.model_selection import train_test_split

from .._utils.state import Stateful


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


class EarlyStopping(Stateful):
    """Computes the validation loss after each iteration, and keeps the best coefficients.

    Parameters
    ----------
    data : MemoryData
        X of the validation rows.
    y : EncodedY
        Targets of the validation rows.
    patience : int
        Number of iterations without a better loss after which to stop.
    tol : float
        A loss counts as better if it is below the best one by more than this share of it.

    Attributes
    ----------
    losses : list of float
        Mean loss at the start and after each iteration.
    best : (coef, intercept) or None
        Coefficients with the lowest loss; None before the first call of ``stop``.

    Raises
    ------
    ValueError
        If all weights are 0.
    """

    CHANGES = ("losses", "best", "_least", "_unchanged")

    def __init__(self, data, y, patience, tol):
        if not y.total_weight > 0:
            raise ValueError(
                "The validation rows must have a positive weight; all their weights are 0. Pass "
                "other rows as 'X_val' and 'y_val', or set early_stopping=False."
            )
        self.data, self.y, self.patience, self.tol = data, y, patience, tol
        self.losses, self.best = [], None
        self._least, self._unchanged, self._rows = np.inf, 0, None

    @property
    def checksum(self):
        """Checksums of X and of the targets, to compare them with other validation rows."""
        return self.data.checksum(), self.y.fingerprint()

    @property
    def has_ended(self):
        """Whether the loss has not improved for ``patience`` iterations."""
        return self._unchanged >= self.patience

    def stop(self, outputs, coef, intercept, n_threads):
        """Compute the validation loss; return whether to stop.

        Parameters
        ----------
        outputs : ndarray of int
            Indices of the outputs, the same in each call.
        coef : ndarray of shape (len(outputs), n_features)
        intercept : ndarray of shape (len(outputs),)
            Coefficients and intercepts of these outputs, in float64 or as they are stored.
        n_threads : int

        Returns
        -------
        bool
        """
        if self._rows is None:
            self._rows = self.data.rows(self.y, outputs)
        total, _, _ = self._rows.loss_gradient(
            coef.T.astype(np.float64), intercept.astype(np.float64), n_threads
        )
        loss = float(total / self.y.total_weight)
        self.losses.append(loss)
        better = loss < self._least - self.tol * self._least if self.best is not None else True
        self._unchanged = 0 if better else self._unchanged + 1
        if loss < self._least or self.best is None:
            self._least, self.best = loss, (coef.copy(), intercept.copy())
        return self.has_ended
