"""SoftmaxClassifier inside scikit-learn, and with pandas, polars, pickle and joblib."""

import pickle

import joblib
import numpy as np
import pytest
from sklearn import config_context
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from small_problems import (
    TIGHT,
    assert_close,
    assert_same_bits,
    assert_same_fit,
    binary_data,
    fit_default,
    multiclass_data,
    multilabel_data,
    multilabel_data_with_missing,
    no_warning,
    positive_weights,
    real_data,
    real_reference,
    soft_data,
)
from xentlearn import SoftmaxClassifier
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)


def pickled(clf, path):
    return pickle.loads(pickle.dumps(clf))


def dumped(clf, path):
    joblib.dump(clf, path / "clf.joblib")
    return joblib.load(path / "clf.joblib")


def memory_mapped(clf, path):
    joblib.dump(clf, path / "clf.joblib")
    return joblib.load(path / "clf.joblib", mmap_mode="r")


@pytest.mark.parametrize("copy", [pickled, dumped, memory_mapped])
@pytest.mark.parametrize("data", [binary_data, multiclass_data, soft_data, multilabel_data])
def test_persistence(copy, data, tmp_path):
    X, y = data()
    clf = fit_default(X, y)
    again = copy(clf, tmp_path)
    assert_same_bits(again, clf)
    np.testing.assert_array_equal(again.predict_proba(X), clf.predict_proba(X))
    np.testing.assert_array_equal(again.predict(X), clf.predict(X))
    assert type(again.loss_) is type(clf.loss_)
    assert again.loss_.get_params() == clf.loss_.get_params()


def test_models_that_another_version_pickled():
    clf = fit_default(*multiclass_data())
    state = clf.__getstate__()
    restored = SoftmaxClassifier()
    restored.__setstate__(state)
    assert_same_bits(restored, clf)
    assert vars(restored).keys() == vars(clf).keys()
    for version in (None, 1, 3):
        other = {**state, "_state_version": version}
        with pytest.raises(ValueError, match=r"must be of format 2.*Fit the model again; or load"):
            SoftmaxClassifier().__setstate__(other)
    with pytest.raises(ValueError, match="got one without a format"):
        SoftmaxClassifier().__setstate__(vars(clf))
    # before formats, the class was in another module
    with pytest.raises(ImportError, match=r"got one of an earlier version\. Fit the model again"):
        pickle.loads(b"cxentlearn._classifier\nSoftmaxClassifier\n.")


def test_pipeline():
    X, y = real_data("wine", False)
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier(**TIGHT)).fit(X, y)
    assert_close(pipeline[-1].coef_, real_reference("wine", True).coef_, rtol=1e-4)
    assert pipeline.score(X, y) == pytest.approx(1.0)
    pipeline.set_params(softmaxclassifier__C=0.1)
    assert pipeline[-1].C == 0.1


def test_cross_val_score():
    X, y = real_data("wine", True)
    scores = cross_val_score(SoftmaxClassifier(), X, y, cv=3)
    expected = cross_val_score(LogisticRegression(max_iter=1000), X, y, cv=3)
    np.testing.assert_allclose(scores, expected, atol=0.02)


def test_cross_val_score_of_probabilities():
    X, y = real_data("iris", True)
    scores = cross_val_score(SoftmaxClassifier(**TIGHT), X, y, cv=3, scoring="neg_log_loss")
    reference = LogisticRegression(solver="newton-cholesky", tol=1e-12)
    expected = cross_val_score(reference, X, y, cv=3, scoring="neg_log_loss")
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_grid_search_over_losses():
    X, y = real_data("iris", True)
    setting = SparseCategoricalCrossentropy()
    grid = [
        {"loss": [setting], "loss__label_smoothing": [0.0, 0.2], "C": [0.1, 10.0]},
        {"loss": [BinaryCrossentropy(), CategoricalCrossentropy(label_smoothing=0.1)]},
        {"loss": ["auto"], "class_weight": [None, "balanced"]},
    ]
    search = GridSearchCV(
        SoftmaxClassifier(**TIGHT), grid, scoring="neg_log_loss", cv=3, error_score="raise"
    ).fit(X, y)

    results = search.cv_results_
    scores = dict(zip(map(repr, results["params"]), results["mean_test_score"], strict=True))
    assert len(scores) == 8
    assert np.all(np.isfinite(results["mean_test_score"]))
    assert setting.label_smoothing == 0.0  # the grid's own setting is left alone
    texts = [repr(params) for params in results["params"]] + list(map(str, results["param_loss"]))
    assert not any(" object at 0x" in text for text in texts)
    assert "CategoricalCrossentropy(label_smoothing=0.1)" in list(map(repr, results["param_loss"]))

    # The grid's settings reach the fit: the score of one candidate, computed by hand.
    candidate = {"C": 10.0, "loss": setting, "loss__label_smoothing": 0.2}
    by_hand = cross_val_score(
        SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.2), C=10.0, **TIGHT),
        X,
        y,
        scoring="neg_log_loss",
        cv=3,
    )
    assert scores[repr(candidate)] == pytest.approx(by_hand.mean(), rel=1e-10)
    assert search.best_estimator_.score(X, y) > 0.9


def test_grid_search_over_a_setting_in_the_estimator():
    X, y = real_data("iris", True)
    clf = SoftmaxClassifier(SparseCategoricalCrossentropy())
    search = GridSearchCV(clf, {"loss__label_smoothing": [0.0, 0.5]}, scoring="neg_log_loss", cv=3)
    search.fit(X, y)
    assert search.best_params_ == {"loss__label_smoothing": 0.0}
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0.1


def test_calibration():
    X, y = real_data("wine", True)
    calibrated = CalibratedClassifierCV(SoftmaxClassifier(), cv=3)
    calibrated.fit(X, y, sample_weight=positive_weights(len(y)))
    proba = calibrated.predict_proba(X)
    assert proba.shape == (len(y), 3)
    assert calibrated.score(X, y) > 0.95


def test_voting():
    X, y = real_data("wine", True)
    members = [("weak", SoftmaxClassifier(C=0.01)), ("strong", SoftmaxClassifier(C=10.0))]
    voting = VotingClassifier(members, voting="soft").fit(X, y)
    expected = np.mean([clf.fit(X, y).predict_proba(X) for _, clf in members], axis=0)
    np.testing.assert_allclose(voting.predict_proba(X), expected)
    assert VotingClassifier(members, voting="hard").fit(X, y).score(X, y) > 0.95


def test_sample_weight_is_routed_to_fit_and_score():
    X, y = multiclass_data()
    weights = np.where(y == 0, 20.0, 1.0)
    cv = KFold(3, shuffle=True, random_state=0)
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifier().set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=True)
        result = cross_validate(
            clf, X, y, cv=cv, params={"sample_weight": weights}, return_estimator=True
        )
    for fold, (train, test) in enumerate(cv.split(X)):
        by_hand = fit_default(X[train], y[train], weights[train])
        assert_same_bits(result["estimator"][fold], by_hand)
        score = by_hand.score(X[test], y[test], sample_weight=weights[test])
        assert result["test_score"][fold] == pytest.approx(score)


def test_sample_weight_is_routed_through_a_pipeline():
    X, y = multiclass_data()
    weights = np.where(y == 0, 20.0, 1.0)
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifier().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(MinMaxScaler(), clf).fit(X, y, sample_weight=weights)
    by_hand = fit_default(MinMaxScaler().fit_transform(X), y, weights)
    assert_same_bits(pipeline[-1], by_hand)


def test_sample_weight_that_was_not_requested_is_an_error():
    X, y = multiclass_data()
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(MinMaxScaler(), SoftmaxClassifier())
        with pytest.raises(ValueError, match="sample_weight"):
            pipeline.fit(X, y, sample_weight=np.ones(len(y)))


def test_pandas():
    pd = pytest.importorskip("pandas")
    X, y = multiclass_data()
    names = np.array(["a", "b", "c"])[y]
    frame = pd.DataFrame(X, columns=["one", "two", "three", "four"], index=np.arange(len(X)) * 3)
    with no_warning():
        clf = fit_default(frame, pd.Series(names, index=frame.index))
        np.testing.assert_array_equal(clf.feature_names_in_, frame.columns)
        np.testing.assert_array_equal(clf.predict(frame), fit_default(X, names).predict(X))
    np.testing.assert_array_equal(clf.classes_, ["a", "b", "c"])
    with pytest.raises(ValueError, match="feature names"):
        clf.predict(frame[["two", "one", "three", "four"]])
    with pytest.warns(UserWarning, match="feature names"):
        clf.predict(X)


def test_pandas_multilabel_and_weights():
    pd = pytest.importorskip("pandas")
    X, Y = multilabel_data_with_missing()
    weights = positive_weights(len(X))
    clf = fit_default(
        pd.DataFrame(X), pd.DataFrame(Y, columns=["x", "y", "z"]), sample_weight=pd.Series(weights)
    )
    assert_same_fit(clf, fit_default(X, Y, sample_weight=weights), rtol=1e-10)


def test_polars():
    pl = pytest.importorskip("polars")
    X, y = multiclass_data()
    names = np.array(["a", "b", "c"])[y]
    frame = pl.DataFrame({f"f{j}": X[:, j] for j in range(X.shape[1])})
    clf = fit_default(frame, pl.Series(names))
    np.testing.assert_array_equal(clf.predict(frame), fit_default(X, names).predict(X))
    # Old versions of scikit-learn do not read the column names of new versions of polars.
    reference = LogisticRegression().fit(frame, pl.Series(names))
    if hasattr(reference, "feature_names_in_"):
        np.testing.assert_array_equal(clf.feature_names_in_, frame.columns)
