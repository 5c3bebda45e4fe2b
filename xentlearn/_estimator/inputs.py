"""X as a classifier gets it: checked, and in a form that the kernels read."""

import functools
import os

import numpy as np
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from .._data.out_of_core import converted
from .._data.readers import blocks_of
from .._data.statistics import is_filled
from .._utils.csr import as_sound_X
from .._utils.messages import listed
from .._utils.validation import as_numpy, missing_among


def validated(estimator, X, finite=True, *, reset):
    """X as an array or CSR of a dtype that the kernels read.

    Parameters
    ----------
    estimator : SoftmaxClassifier
        Gets the number and names of the features, and ``_X_dtype``, if ``reset``.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    finite : bool, default=True
        Whether to search X for nan and inf.
    reset : bool or None
        Whether to set the features of the estimator or to compare with them; None does neither, for
        a block of rows whose features have been checked.

    Returns
    -------
    {ndarray, CSR} of shape (n_samples, n_features)
    """
    if not hasattr(X, "shape"):
        require_rows(X)
    X = as_sound_X(as_numpy(X, "X"))
    if not reset:
        known = known_to_pass(estimator, X, finite)
        if known is not None:
            return converted(known)
    # numbers keep their dtype, or are converted here rather than by scikit-learn
    plain = (isinstance(X, np.ndarray) or sparse.issparse(X)) and X.dtype.kind in "fiub"
    check = functools.partial(check_array, estimator=estimator, input_name="X")
    if reset is not None:
        check = functools.partial(validate_data, estimator, reset=reset)
    try:
        X = check(
            X,
            accept_sparse="csr",
            accept_large_sparse=True,
            dtype=None if plain else "numeric",
            ensure_all_finite=finite,
        )
        if X.dtype.kind == "O":  # lists with None, which becomes nan only in an array of floats
            X = check_array(X, dtype=np.float64, estimator=estimator, input_name="X")
    except TypeError:  # scikit-learn takes pandas' NA among objects for no number
        missing = None if sparse.issparse(X) else missing_among(np.asarray(X))
        if missing is None:
            raise
        raise ValueError(
            "Input X contains NaN or NA, first in row "
            f"{np.argmax(missing.reshape(len(missing), -1).any(axis=1))}. SoftmaxClassifier "
            "does not accept missing values encoded as NaN natively; fill them, for example by "
            "sklearn.impute.SimpleImputer."
        ) from None
    if reset:
        estimator._X_dtype = X.dtype
    return converted(X)


def require_rows(X):
    """Raise the TypeError of what users pass in place of rows: files, dicts, streams of batches."""
    kind, some = type(X).__name__, X[0] if isinstance(X, (list, tuple)) and X else X
    if isinstance(some, (str, os.PathLike)):
        kind = kind if some is X else f"{kind} of {type(some).__name__}"
        remedy = (
            "for .npy or Parquet files pass xentlearn.blocks.NpyBlocks(paths) or "
            "ParquetBlocks(paths); read other files first, and turn texts into numbers, for "
            "example by TfidfVectorizer"
        )
    elif isinstance(X, dict):
        remedy = "if it holds columns, pass pandas.DataFrame(X)"
    elif kind == "LazyFrame":  # of polars
        remedy = "pass X.collect()"
    elif _is_stream(X):
        remedy = (
            "pass its batches one by one, to partial_fit in place of fit, or return them as the "
            "blocks of a subclass of xentlearn.blocks.RowBlocks"
        )
    else:
        return
    raise TypeError(
        "'X' must be rows: an array, a dataframe or a sparse matrix of shape (n_samples, "
        f"n_features), or row blocks; got {kind}; {remedy}."
    )


def _is_stream(X):
    """Whether X yields batches: an iterator, or PyTorch's or TensorFlow's loaders and data sets."""
    if any(c.__name__ == "Dataset" and c.__module__.startswith("torch.") for c in type(X).__mro__):
        return True
    rows = "__getitem__", "__array__", "__dataframe__"
    return hasattr(X, "__iter__") and not any(hasattr(X, name) for name in rows)


def known_to_pass(estimator, X, finite):
    """X as an array or CSR that scikit-learn would return as it is, silently; None if in doubt.

    Its checks take 60 us, more than the rest of a prediction for one row. ``finite`` is whether nan
    and inf count as doubt. Sparse X has to be sound CSR.
    """
    if getattr(estimator, "feature_names_in_", None) is not None:
        return None
    if type(X) is list and X and isinstance(X[0], (list, tuple, np.ndarray)):
        X = np.asarray(X)
    if type(X) is not np.ndarray and not sparse.issparse(X):  # subclasses may refuse, or warn
        return None
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        return None
    if X.shape[1] != getattr(estimator, "n_features_in_", X.shape[1]):
        return None
    return X if is_filled(X, finite) else None


def require_fitted(estimator):
    """scikit-learn's ``check_is_fitted`` (10 us), called only where it may find something."""
    if "coef_" not in vars(estimator) or hasattr(estimator, "__sklearn_is_fitted__"):
        check_is_fitted(estimator)


def check_features(estimator, source, reset):
    """Set the number and names of the features by row blocks, or compare with them."""
    names = getattr(source, "feature_names", None)
    fitted = None if reset else getattr(estimator, "feature_names_in_", None)
    if names is None or fitted is None:
        like_a_block = np.empty((1, source.shape[1]))
        validate_data(estimator, like_a_block, reset=reset, skip_check_array=True)
        if reset and names is not None:
            estimator.feature_names_in_ = np.array(names, dtype=object)
    elif list(names) != list(fitted):
        raise ValueError(
            f"'X' must have the features that the fit had, in that order: {listed(fitted)}; got "
            f"{listed(names)}. Choose them by 'columns'."
        )


def require_memory(X, name, remedy):
    """Raise the ValueError of row blocks where rows in memory are needed."""
    if blocks_of(X) is not None and not isinstance(X, np.memmap):
        raise ValueError(f"'{name}' must be rows in memory, got row blocks; {remedy}.")
