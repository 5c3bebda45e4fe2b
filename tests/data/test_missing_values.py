"""Missing values of y in every container: no label for one label per row, unanswered in columns."""

import numpy as np
import pytest
from scipy import sparse

from xentlearn import SoftmaxClassifier, losses
from xentlearn._data.target_batches import digest, encode_like
from xentlearn._data.targets import encode_y
from xentlearn.solvers import Adam

N = 40
LABELS = ["Int64", "boolean", "Float64", "string", "category", "object", "str"]
ARROW = ["int64[pyarrow]", "bool[pyarrow]", "double[pyarrow]", "string[pyarrow]"]
NUMBERS = ["Int64", "boolean", "Float64", "object", "int64[pyarrow]", "bool[pyarrow]"]


column_vector = pytest.mark.filterwarnings("ignore:A column-vector y")


@pytest.fixture
def pd():
    return pytest.importorskip("pandas")


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, 3))


def series(pd, dtype, values):
    """0s, 1s and None in a Series of a dtype."""
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    if "bool" in dtype:
        values = [value if value is None else bool(value) for value in values]
    elif dtype.startswith("str") or dtype in ("category", "object"):
        values = [value if value is None else "ab"[value] for value in values]
    return pd.Series(values, dtype=object).astype(dtype)


def labels(missing):
    values = [0, 1] * (N // 2)
    return [*values[:-1], None] if missing else values


# ---- One label per row ---------------------------------------------------------------------------


@column_vector
@pytest.mark.parametrize("dtype", LABELS + ARROW)
def test_labels_of_pandas(dtype, pd, X):
    if dtype == "str" and series(pd, dtype, labels(True)).notna().all():
        pytest.skip("older versions of pandas make 'None' of None")
    y = series(pd, dtype, labels(False))
    for whole in (y, y.to_frame()):
        clf = SoftmaxClassifier().fit(X, np.ravel(whole))
        assert (clf.predict(X) == np.asarray(y)).mean() == clf.score(X, y)
    holed = series(pd, dtype, labels(True))
    known = encode_y(y, N, "auto")
    for y in (holed, holed.to_numpy(), holed.to_numpy()[:, np.newaxis]):
        for encode in (
            lambda y: encode_y(y, N, "auto"),
            lambda y: encode_like(known, y, N),
            lambda y: digest(y, N),
            lambda y: SoftmaxClassifier().partial_fit(X, y, classes=[0, 1]),
            lambda y: SoftmaxClassifier(early_stopping=True).fit(
                X, np.asarray(known.classes)[[0, 1] * (N // 2)], X_val=X, y_val=y
            ),
        ):
            with pytest.raises(ValueError, match="Input y contains NaN"):
                encode(y)


@column_vector
@pytest.mark.parametrize("kind", ["None", "nan", "NA", "NaT"])
@pytest.mark.parametrize("value", ["a", 1, 1.5])
def test_objects_name_the_first_missing_row(kind, value, pd):
    missing = {"None": None, "nan": np.nan, "NA": pd.NA, "NaT": pd.NaT}[kind]
    y = np.array([value, value, missing, value, missing], dtype=object)
    for shape in ((5,), (5, 1)):
        with pytest.raises(ValueError, match="Input y contains NaN.*row 2; drop these rows"):
            encode_y(y.reshape(shape), 5, "auto")


def test_times_that_are_missing(pd, X):
    y = np.array(["2020-01-01", "2020-01-02"] * (N // 2), dtype="datetime64[D]")
    assert len(SoftmaxClassifier().fit(X, y).classes_) == 2
    y[5] = "NaT"
    for times in (y, pd.Series(y), y - y[0]):
        with pytest.raises(ValueError, match="Input y contains NaN.*row 5"):
            SoftmaxClassifier().fit(X, times)


@column_vector
@pytest.mark.parametrize("missing", [False, True])
def test_labels_of_polars(missing, X):
    pl = pytest.importorskip("polars")
    for values in (
        labels(missing),
        [None if v is None else bool(v) for v in labels(missing)],
        [None if v is None else "ab"[v] for v in labels(missing)],
    ):
        for y in (pl.Series("y", values), pl.DataFrame({"y": values})):
            if missing:
                with pytest.raises(ValueError, match="Input y contains NaN"):
                    SoftmaxClassifier().fit(X, y)
            else:
                assert len(SoftmaxClassifier().fit(X, y).classes_) == 2


def test_integers_that_an_array_has_as_objects(X):
    """As older versions of pandas give those of its nullable dtypes."""

    class Integers:
        dtype = np.dtype(int)

        def __array__(self, dtype=None, copy=None):
            return np.array([0, 1] * (N // 2), dtype=object)

        def __len__(self):
            return N

    assert SoftmaxClassifier().fit(X, Integers()).classes_.dtype == int


# ---- Columns -------------------------------------------------------------------------------------


def indicator(rng):
    return np.where(rng.random((N, 3)) < 0.2, np.nan, 1.0 * (rng.random((N, 3)) < 0.5))


def containers(pd, Y):
    """Y with missing values in every way that a frame or array may hold it."""
    values = np.where(np.isnan(Y), None, (np.nan_to_num(Y) == 1).astype(object))
    for dtype in NUMBERS:
        if "pyarrow" in dtype:
            pytest.importorskip("pyarrow")
        frame = pd.DataFrame(values).map(lambda value: value if value is None else float(value))
        if "bool" in dtype:
            frame = pd.DataFrame(values)
        yield dtype, frame.astype(object if dtype == "object" else dtype)
    for missing in (None, pd.NA, np.nan):
        objects = np.where(np.isnan(Y), missing, values)
        yield f"array of {missing}", objects
        yield f"frame of {missing}", pd.DataFrame(objects)
        yield f"lists of {missing}", objects.tolist()
    mixed = pd.DataFrame(Y).astype({0: "Int64", 1: "Float64"})
    yield "mixed", mixed
    yield "category", pd.DataFrame(Y).astype({0: "category"})
    yield "sparse frame", pd.DataFrame(Y).astype(pd.SparseDtype(float, 0.0))
    yield "csr", sparse.csr_array(Y)


def test_columns_in_every_container(pd, X, rng):
    Y = indicator(rng)
    want = SoftmaxClassifier().fit(X, Y)
    stream = SoftmaxClassifier(solver=Adam(shuffle=False)).partial_fit(X, Y)
    for name, y in containers(pd, Y):
        clf = SoftmaxClassifier().fit(X, y)
        np.testing.assert_array_equal(clf.coef_, want.coef_, err_msg=name)
        clf = SoftmaxClassifier(solver=Adam(shuffle=False)).partial_fit(X, y)
        np.testing.assert_array_equal(clf.coef_, stream.coef_, err_msg=name)
        clf = SoftmaxClassifier(early_stopping=True).fit(X, Y, X_val=X, y_val=y)
        np.testing.assert_array_equal(
            encode_like(clf._known_y, y, N).entry_mass(), encode_y(Y, N, "auto").entry_mass()
        )
        assert clf.score(X, y) == clf.score(X, Y)


def test_columns_of_polars(X, rng):
    pl = pytest.importorskip("polars")
    Y = indicator(rng)
    want = SoftmaxClassifier().fit(X, Y)
    for convert in (int, bool, float):
        columns = {
            str(k): [None if np.isnan(value) else convert(value) for value in Y[:, k]]
            for k in range(3)
        }
        clf = SoftmaxClassifier().fit(X, pl.DataFrame(columns))
        np.testing.assert_array_equal(clf.coef_, want.coef_)


def test_given_arrays_are_not_changed(pd, X):
    y = np.array([[0, 1], [pd.NA, 1], [1, None], [1, 0]] * (N // 4), dtype=object)
    before = y.copy()
    SoftmaxClassifier().fit(X, y)
    assert all(a is b for a, b in zip(y.flat, before.flat, strict=True))


# ---- Rounded rows of probabilities ---------------------------------------------------------------


def halves(rng, n_classes=40):
    """float16 rows that sum to 1 as closely as that dtype allows, which is not 1e-4."""
    rows = rng.dirichlet(np.ones(n_classes), size=N).astype(np.float16)
    assert np.abs(rows.sum(axis=1, dtype=float) - 1).max() > 1e-4
    return rows


def test_soft_rows_of_float16(pd, X, rng):
    P = halves(rng)
    whole = P.astype(float) / P.sum(axis=1, keepdims=True, dtype=float)
    want = SoftmaxClassifier().fit(X, whole)
    for y in (P, pd.DataFrame(P), P.astype(np.dtype(">f2"))):
        clf = SoftmaxClassifier().fit(X, y)
        assert clf._kind == "soft"
        np.testing.assert_allclose(clf.predict_proba(X), want.predict_proba(X), atol=1e-3)
        stream = SoftmaxClassifier().partial_fit(X, y).partial_fit(X, y)
        assert stream._kind == "soft"
        SoftmaxClassifier(early_stopping=True, max_iter=3).fit(X, y, X_val=X, y_val=y)
        assert clf.score(X, y) == clf.score(X, whole)
    for rows in (P.astype(np.float32), P.astype(float)):
        with pytest.raises(ValueError, match=r"within 0.0001\); row"):
            SoftmaxClassifier().fit(X, rows)
        with pytest.raises(ValueError, match=r"within 0.0001\); row"):
            SoftmaxClassifier().partial_fit(X, rows)
    P[7] *= np.float16(0.9)
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=r"within 0.005\); row 7 sums to (0.9|0.89)"):
            getattr(SoftmaxClassifier(), method)(X, P)


def test_digests_of_soft_rows_of_float16(rng):
    P = halves(rng)
    y, weight = digest(P, N)
    assert encode_y(y, len(weight), "auto", None, weight).kind == "soft"
    P[3] *= np.float16(1.1)
    y, weight = digest(P, N)
    with pytest.raises(ValueError, match=r"row 1 sums to 1\.09|row 1 sums to 1\.1"):
        encode_y(y, len(weight), "auto", None, weight)


def test_an_indicator_of_float16(X, rng):
    Y = indicator(rng)
    np.testing.assert_array_equal(
        SoftmaxClassifier().fit(X, Y.astype(np.float16)).coef_, SoftmaxClassifier().fit(X, Y).coef_
    )


# ---- Losses, weights and X -----------------------------------------------------------------------


def test_losses_in_every_container(pd, rng):
    """Missing targets cost nothing, whatever stands for them."""
    Y, logits = indicator(rng), rng.normal(size=(N, 3))
    proba = 1 / (1 + np.exp(-logits))
    settings = [losses.BinaryCrossentropy(), losses.AsymmetricBinaryCrossentropy()]
    functions = [losses.binary_crossentropy, losses.binary_focal_crossentropy]
    for name, y in containers(pd, Y):
        for setting in settings:
            want = setting.loss_gradient(Y, logits)
            for got, wanted in zip(setting.loss_gradient(y, logits), want, strict=True):
                np.testing.assert_array_equal(got, wanted, err_msg=name)
            assert setting(y, logits) == setting(Y, logits)
        if name == "csr":
            continue  # functions take arrays
        for function in functions:
            np.testing.assert_array_equal(function(y, proba), function(Y, proba), err_msg=name)
            if isinstance(y, pd.DataFrame):
                got = function(y[0], proba[:, 0])
                np.testing.assert_array_equal(got, function(Y[:, 0], proba[:, 0]), err_msg=name)


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "boolean", "object", "int64[pyarrow]"])
def test_integer_labels_may_not_be_missing_in_losses(dtype, pd):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    values = [True, False, None] if dtype == "boolean" else [1, 0, None]
    y, rows = pd.Series(values, dtype=object).astype(dtype), np.full((3, 2), 0.5)
    for function in (
        losses.sparse_categorical_crossentropy,
        losses.SparseCategoricalCrossentropy().loss,
        losses.CategoricalCrossentropy().loss,
    ):
        for labels in (y, y.to_numpy(dtype=object, na_value=pd.NA), y.array):
            with pytest.raises(ValueError, match="'y_true' must hold integer.* at index 2; "):
                function(labels, rows)
    with pytest.raises(ValueError, match="Rows of 'y_true' must be prob.* row 1 holds nan"):
        losses.categorical_crossentropy(np.array([[1, 0], [pd.NA, 1], [0, 1]]), rows)


@pytest.mark.parametrize("dtype", ["boolean", "Int64", "Float64", "object"])
def test_weights_may_not_be_missing(dtype, pd, X):
    values = [dtype != "Float64" or 1.0] * (N - 1) + [None]
    weight = pd.Series(values, dtype=object).astype(dtype)
    y, logits = np.arange(N) % 2, X[:, :2]
    clf = SoftmaxClassifier().fit(X, y)
    for given in (weight, weight.to_numpy(dtype=object, na_value=pd.NA)):
        for call in (
            lambda weight: clf.fit(X, y, weight),
            lambda weight: clf.score(X, y, weight),
            lambda weight: losses.make_loss_scorer()(clf, X, y, sample_weight=weight),
            lambda weight: losses.SparseCategoricalCrossentropy()(y, logits, weight),
            lambda weight: losses.binary_crossentropy(y, y, sample_weight=weight),
        ):
            with pytest.raises(ValueError, match=f"'sample_weight' must be fin.*nan at.*{N - 1};"):
                call(given)


@pytest.mark.parametrize("weight", ["NA", "NaT", None, np.nan, "text", 1j, [1.0], -1, np.inf])
def test_class_weights_are_numbers(weight, pd, X):
    weight = getattr(pd, weight) if weight in ("NA", "NaT") else weight
    y = np.arange(N) % 2
    words = r"'class_weight\[1\]' must "
    with pytest.raises(ValueError, match=words):
        SoftmaxClassifier(class_weight={0: 1, 1: weight}).fit(X, y)
    with pytest.raises(ValueError, match=words):
        SoftmaxClassifier(class_weight={0: 1, 1: weight}).partial_fit(X, y, classes=[0, 1])
    with pytest.raises(ValueError, match="class_weight"):
        losses.sparse_categorical_crossentropy(
            [0, 1], np.full((2, 2), 0.5), class_weight={0: 1, 1: weight}
        )


def test_missing_values_of_X(pd, X):
    clf = SoftmaxClassifier().fit(X, np.arange(N) % 2)
    for missing in (pd.NA, None, np.nan):
        objects = X.astype(object)
        objects[3, 1] = missing
        frame = pd.DataFrame(X).astype("Float64")
        frame.iloc[3, 1] = missing
        for given in (objects, objects.tolist(), pd.DataFrame(objects), frame):
            for call in (clf.predict, clf.predict_proba, lambda X: clf.fit(X, np.arange(N) % 2)):
                with pytest.raises(ValueError, match="Input X contains NaN"):
                    call(given)
