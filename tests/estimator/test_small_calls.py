"""Small calls skip the checks of scikit-learn that would find nothing, and take one thread."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.datasets import load_iris
from sklearn.utils.validation import check_is_fitted

from xentlearn import SoftmaxClassifier
from xentlearn._data import _design_matrix
from xentlearn._estimator import inputs, predicting

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
NAMES = ["a", "b", "c", "d"]
ROWS = np.array([[5.1, 3.5, 1.4, 0.2], [0.0, -2.5, 0.0, 1e3]])


# --- The X of a call ------------------------------------------------------------------------------


class Subclass(np.ndarray):
    pass


class OnlyArray:
    """What only ``__array__`` tells about."""

    def __init__(self, array=ROWS):
        self._array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype=dtype)


def with_value(value, dtype=np.float64, at=(1, 2)):
    rows = ROWS.astype(dtype)
    rows[at] = value
    return rows


def strided():
    return np.repeat(ROWS, 2, axis=1)[:, ::2]


def unaligned():
    rows = np.zeros(ROWS.nbytes + 1, dtype=np.uint8)[1:].view(np.float64).reshape(ROWS.shape)
    rows[:] = ROWS
    return rows


def read_only():
    rows = ROWS.copy()
    rows.flags.writeable = False
    return rows


def csr(
    data=None, indices=(0, 3), indptr=(0, 1, 2), shape=(2, 4), dtype=np.float64, index=np.int32
):
    """CSR of these arrays as they are, sound or not."""
    matrix = sp.csr_array(shape, dtype=dtype)
    data = np.arange(1, len(indices) + 1) if data is None else data
    matrix.data, matrix.indices = np.array(data, dtype), np.array(indices, index)
    matrix.indptr = np.array(indptr, index)
    return matrix


QUICK = {  # for which the checks are skipped
    "float64": ROWS.copy,
    "F order": lambda: np.asfortranarray(ROWS),
    "reversed": lambda: ROWS[::-1, ::-1],
    "strided": strided,
    "unaligned": unaligned,
    "read-only": read_only,
    "float32": lambda: ROWS.astype(np.float32),
    "float16": lambda: ROWS.astype(np.float16),
    "long double": lambda: ROWS.astype(np.longdouble),
    "other byte order": lambda: ROWS.astype(ROWS.dtype.newbyteorder()),
    **{dtype: lambda dtype=dtype: ROWS.astype(dtype) for dtype in ("int64", "int8", "bool")},
    "uint8": lambda: np.abs(ROWS).clip(0, 255).astype(np.uint8),
    "list of lists": ROWS.tolist,
    "list of tuples": lambda: [tuple(row) for row in ROWS],
    "list of arrays": lambda: list(ROWS),
    "list of bool": lambda: (ROWS > 0).tolist(),
    **{
        f"sparse {form}": lambda form=form: sp.coo_array(ROWS).asformat(form)
        for form in ("csr", "csc", "coo", "bsr", "dok", "lil", "dia")
    },
    "csr_matrix": lambda: sp.csr_matrix(ROWS.astype(np.float32)),
    "CSR, int64 indices": lambda: csr(index=np.int64),
    "CSR of bool": lambda: sp.csr_array(ROWS > 0),
    "CSR without entries": lambda: sp.csr_array(ROWS.shape),
    "CSR, repeated": lambda: csr(indices=[1, 1, 0], indptr=[0, 2, 3]),
    "CSR, unsorted": lambda: csr(indices=[3, 0, 1], indptr=[0, 2, 3]),
    "CSR, nan beyond its rows": lambda: csr(data=[1, 2, np.nan], indices=[0, 3, 99]),
}
OTHER = {
    "CSR, nan": lambda: csr(data=[1, np.nan]),
    "sum overflows": lambda: with_value(1e308) + with_value(1e308, at=(0, 1)),
    "inf, float32": lambda: with_value(np.inf, np.float32),
    "nan": lambda: with_value(np.nan),
    "inf, float16": lambda: with_value(np.inf, np.float16),
    "nan, long double": lambda: with_value(np.nan, np.longdouble),
    "inf and -inf, long double": lambda: (
        with_value(np.inf, np.longdouble) + with_value(-np.inf, np.longdouble, (0, 0))
    ),
    "complex": lambda: ROWS + 1j,
    "numbers as objects": lambda: ROWS.astype(object),
    "None among objects": lambda: with_value(None, object),
    "strings as objects": lambda: with_value("x", object),
    "strings": lambda: ROWS.astype(str),
    "dates": lambda: ROWS.astype("datetime64[s]"),
    "structured": lambda: np.zeros((2, 4), dtype=[("a", float)]),
    "one row, 1-D": lambda: ROWS[0],
    "3-D": lambda: ROWS[None],
    "0-D": lambda: np.array(1.0),
    "no rows": lambda: ROWS[:0],
    "no features": lambda: ROWS[:, :0],
    "too few features": lambda: ROWS[:, :3],
    "too many features, nan": lambda: np.hstack([with_value(np.nan), ROWS]),
    "np.matrix": lambda: np.matrix(ROWS),
    "subclass": lambda: ROWS.view(Subclass),
    "masked array": lambda: np.ma.masked_greater(ROWS, 100),
    "masked row of a list": lambda: [np.ma.masked_greater(ROWS[1], 100)],
    "list of np.matrix": lambda: [np.matrix(ROWS)],
    "tuple of lists": lambda: tuple(ROWS.tolist()),
    "list of numbers": lambda: ROWS[0].tolist(),
    "list with nan": with_value(np.nan).tolist,
    "list with None": with_value(None, object).tolist,
    "list with NA": with_value(pd.NA, object).tolist,
    "list with a string": with_value("x", object).tolist,
    "list of strings": lambda: ROWS.astype(str).tolist(),
    "list of complex": lambda: (ROWS + 1j).tolist(),
    "list with a huge integer": with_value(2**70, object).tolist,
    "list with a list": with_value([1.0], object).tolist,
    "list of lists of lists": lambda: [ROWS.tolist()],
    "list of unequal rows": lambda: [[1.0, 2.0, 3.0, 4.0], [1.0]],
    "list of short rows": ROWS[:, :3].tolist,
    "list of Series": lambda: [pd.Series(row) for row in ROWS],
    "list of dicts": lambda: [{"a": 1.0}],
    "list of str and lists": lambda: [[1.0, 2.0, 3.0, 4.0], "abcd"],
    "empty list": list,
    "list of an empty list": lambda: [[]],
    "only __array__": OnlyArray,
    "list of only __array__": lambda: [OnlyArray()],
    "list of rows with only __array__": lambda: [OnlyArray(row) for row in ROWS],
    "DataFrame": lambda: pd.DataFrame(ROWS, columns=NAMES),
    "DataFrame, another order": lambda: pd.DataFrame(ROWS, columns=NAMES)[NAMES[::-1]],
    "DataFrame, other names": lambda: pd.DataFrame(ROWS, columns=[*NAMES[:3], "x"]),
    "DataFrame without names": lambda: pd.DataFrame(ROWS),
    "DataFrame, mixed names": lambda: pd.DataFrame(ROWS, columns=["a", "b", 2, 3]),
    "DataFrame, NA": lambda: pd.DataFrame(with_value(pd.NA, object)).convert_dtypes(),
    "Series": lambda: pd.Series(ROWS[0]),
    "CSR of complex": lambda: sp.csr_array(ROWS + 1j),
    "CSR, too wide": lambda: sp.csr_array(np.hstack([ROWS, ROWS])),
    "CSR, a column too far": lambda: csr(indices=[0, 4]),
    "CSR, a negative column": lambda: csr(indices=[0, -1]),
    "CSR, rows beyond the entries": lambda: csr(indptr=[0, 1, 9]),
    "CSR, rows that go back": lambda: csr(indptr=[0, 2, 1]),
    "CSR, too few rows": lambda: csr(indptr=[0, 1]),
    "CSR, no rows": lambda: sp.csr_array((0, 4)),
    "COO, 1-D": lambda: sp.coo_array(ROWS[0]),
    "None": lambda: None,
    "string": lambda: "text",
    "dict": lambda: {"a": [1.0]},
}
KINDS_OF_X = QUICK | OTHER


# --- The classifiers ------------------------------------------------------------------------------


class NeverFitted(SoftmaxClassifier):
    def __sklearn_is_fitted__(self):
        return False


class AllowsNan(SoftmaxClassifier):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan, tags.requires_fit = True, False
        return tags


def fitted(kind=SoftmaxClassifier, names=False):
    X, y = load_iris(return_X_y=True)
    return kind().fit(pd.DataFrame(X, columns=NAMES) if names else X, y)


def multilabel():
    X, y = load_iris(return_X_y=True)
    return SoftmaxClassifier().fit(X, np.stack([y > 0, y > 1], axis=1).astype(int))


def by_hand(n_features=4):
    clf = SoftmaxClassifier()
    clf.coef_, clf.intercept_ = np.ones((1, n_features)), np.zeros(1)
    clf.classes_ = np.array(["no", "yes"])
    return clf


def with_wrong_coef():
    clf = fitted()
    clf.coef_ = clf.coef_[:, :3]
    return clf


CLASSIFIERS = {
    "fitted": fitted,
    "fitted with names": lambda: fitted(names=True),
    "multi-label": multilabel,
    "coefficients by hand": by_hand,
    "coefficients of other features": with_wrong_coef,
    "not fitted": SoftmaxClassifier,
    "__sklearn_is_fitted__": lambda: fitted(NeverFitted),
    "tags": lambda: fitted(AllowsNan),
    "tags, not fitted": AllowsNan,
}


# --- Tests ----------------------------------------------------------------------------------------


def outcome(function, *make_arguments):
    """What a call returns, or its error, and its warnings: to be compared with ==."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(*[make() for make in make_arguments])
            found = result.dtype, result.shape, result.tobytes()
        except Exception as error:
            found = type(error), str(error)
    return found, [(warning.category, str(warning.message)) for warning in caught]


def context_of(setting):
    return sklearn.config_context(**({} if setting is None else {setting: True}))


def take_the_full_way(monkeypatch):
    monkeypatch.setattr(inputs, "known_to_pass", lambda estimator, X, finite: None)
    monkeypatch.setattr(predicting, "require_fitted", check_is_fitted)


@pytest.mark.parametrize("setting", [None, "assume_finite", "array_api_dispatch"])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_skipped_checks_would_have_found_nothing(classifier, setting, monkeypatch):
    """Results have the same bits; errors and warnings the same type and text."""
    clf = CLASSIFIERS[classifier]()
    try:
        with context_of(setting):
            pass
    except RuntimeError as error:
        pytest.skip(str(error))  # SciPy has to be told before it is imported

    def outcomes():
        with context_of(setting):
            return {
                (kind, method): outcome(getattr(clf, method), make_X)
                for kind, make_X in KINDS_OF_X.items()
                for method in METHODS
            }

    quick = outcomes()
    take_the_full_way(monkeypatch)
    full = outcomes()
    for key, want in full.items():
        assert quick[key] == want, key


@pytest.mark.parametrize("kind", KINDS_OF_X)
def test_partial_fit_skips_only_checks_that_find_nothing(kind, monkeypatch):
    X, y = load_iris(return_X_y=True)

    def learn():
        clf = SoftmaxClassifier(random_state=0).partial_fit(X, y)
        return clf.partial_fit(KINDS_OF_X[kind](), [0, 1]).coef_

    quick = outcome(learn)
    take_the_full_way(monkeypatch)
    assert quick == outcome(learn)


@pytest.mark.parametrize("kind", QUICK)
def test_checks_are_skipped(kind, monkeypatch):
    """So that the comparisons above compare two ways."""

    def refuse(*args, **kwargs):
        raise AssertionError("a check was not skipped")

    clf = fitted()
    want = outcome(clf.predict_proba, KINDS_OF_X[kind])
    for name in ("validate_data", "check_array", "check_is_fitted"):
        monkeypatch.setattr(inputs, name, refuse)
    assert outcome(clf.predict_proba, KINDS_OF_X[kind]) == want


@pytest.mark.parametrize("kind", ["float64", "F order", "float32", "list of lists", "sparse csr"])
@pytest.mark.parametrize("classifier", ["fitted", "multi-label", "coefficients by hand"])
def test_few_rows_take_one_thread(classifier, kind, monkeypatch):
    """Finding out how many there are would take a fifth of the call."""

    def refuse():
        raise AssertionError("asked for the number of threads")

    clf = CLASSIFIERS[classifier]()
    monkeypatch.setattr(_design_matrix, "effective_n_threads", refuse)
    monkeypatch.setattr(predicting, "effective_n_threads", refuse)
    for method in METHODS:
        getattr(clf, method)(KINDS_OF_X[kind]())
