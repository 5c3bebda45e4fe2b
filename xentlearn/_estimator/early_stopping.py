"""Early stopping: the loss of rows that are not trained on, and the coefficients that were best."""

import functools

import numpy as np
from sklearn.model_selection import train_test_split

from .._utils.state import Stateful


def split_rows(y, fraction, random_state):
    """(rows to train on, rows to judge by), both sorted.

    Stratified where each class has two rows, and each side has room for one of every class.

    Parameters
    ----------
    y : EncodedY
    fraction : float
        Share of the rows to judge by, in (0, 1).
    random_state : RandomState instance

    Returns
    -------
    ndarray, ndarray

    Raises
    ------
    ValueError
        If there are too few rows for two sets.
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
        error = "one class alone is trained on"
    except ValueError as caught:
        error = caught
    raise ValueError(
        f"'validation_fraction'={fraction} of {n_rows} rows leaves too few on one side ({error}); "
        "pass 'X_val' and 'y_val' to fit, or set early_stopping=False."
    )


class EarlyStopping(Stateful):
    """Judges coefficients after each iteration, and remembers the best.

    Parameters
    ----------
    data : MemoryData
        X to judge by.
    y : EncodedY
        Of the same rows.
    patience : int
        Iterations without a better loss after which to stop.
    tol : float
        By which share of the best loss a better one must be lower.

    Attributes
    ----------
    losses : list of float
        Mean loss after each iteration.
    best : (coef, intercept)
        Of the lowest loss.

    Raises
    ------
    ValueError
        If no row has a weight.
    """

    CHANGES = ("losses", "best", "_least", "_unchanged")

    def __init__(self, data, y, patience, tol):
        if not y.total_weight > 0:
            raise ValueError(
                "The rows to judge by must have a positive weight; all of theirs are zero."
            )
        self.data, self.y, self.patience, self.tol = data, y, patience, tol
        self.losses, self.best = [], None
        self._least, self._unchanged, self._rows = np.inf, 0, None

    @functools.cached_property
    def checksum(self):
        """By which other rows to judge by are told from these."""
        return self.data.checksum(), self.y.fingerprint()

    @property
    def has_ended(self):
        """Whether it has said so already."""
        return self._unchanged >= self.patience

    def stop(self, outputs, coef, intercept, n_threads):
        """Whether to stop here; of the chosen outputs, float64 or as they are stored.

        Parameters
        ----------
        outputs : ndarray of int
            The same ones each time.
        coef : ndarray of shape (len(outputs), n_features)
        intercept : ndarray of shape (len(outputs),)
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
