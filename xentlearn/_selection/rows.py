"""The rows that a search divides into folds: X, read and checked once, and y, encoded by loss."""

import functools

import numpy as np

from .._data.dataset import MemoryData
from .._data.out_of_core import BlockData
from .._data.targets import encode_y
from .._estimator.inputs import validated
from .scores import plain_loss


class Rows:
    """All rows of X, of which a search takes folds.

    Parameters
    ----------
    classifier : SoftmaxClassifier
        Reads X; it gets the attributes that this sets.
    X, y, sample_weight
        As for its ``fit``.

    Attributes
    ----------
    X : ndarray, CSR or RowBlocks
        As the kernels read it.
    in_memory : bool
    """

    def __init__(self, classifier, X, y, sample_weight):
        self.X = classifier._checked(X)
        self.in_memory = not hasattr(self.X, "lengths")
        self.classifier, self.y, self.sample_weight = classifier, y, sample_weight

    def encoded(self, loss):
        """Return y of all rows for a loss (``EncodedY``)."""
        classifier = self.classifier
        return encode_y(self.y, self.X.shape[0], loss, classifier.class_weight, self.sample_weight)

    def encoded_plainly(self, y):
        """Return y of all rows for the plain cross-entropy of its kind, without class weights."""
        return encode_y(self.y, self.X.shape[0], plain_loss(y), None, self.sample_weight)

    def taken(self, y, chosen=None):
        """Return (data, y) of the chosen rows that have a weight.

        X in blocks is not copied: the other rows keep their place and get a weight of 0, and rows
        that are chosen twice get twice their weight.

        Parameters
        ----------
        y : EncodedY
            Of all rows.
        chosen : ndarray of int or None, default=None
            Indices of the rows; None means all.

        Returns
        -------
        MemoryData or BlockData, EncodedY
        """
        if not self.in_memory:
            y = self.masked(y, chosen)
            check = functools.partial(validated, self.classifier, reset=None)
            return BlockData(self.X, y, check), y
        at = np.arange(self.X.shape[0]) if chosen is None else chosen
        kept, y = (y if chosen is None else y.taken(chosen)).with_weight()
        if chosen is None and type(kept) is slice:
            return MemoryData(self.X), y  # SciPy copies a matrix of which all rows are taken
        return MemoryData(self.X[at[kept]]), y

    def masked(self, y, chosen):
        """Return y of all rows, with weights times how often each is chosen."""
        if chosen is None:
            return y
        factor = np.bincount(chosen, minlength=self.X.shape[0]).astype(np.float64)
        return y.taken(slice(None), factor)
