"""Scorers by loss: the mean loss of a classifier's logits, whatever its labels are called."""

import pickle

import numpy as np
import pytest
import sklearn
from scipy import sparse
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SelectKBest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import check_scoring, get_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    cross_val_score,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from xentlearn import SoftmaxClassifier
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    HybridLoss,
    SparseCategoricalCrossentropy,
    make_loss_scorer,
)

NAMES = np.array(["setosa", "versicolor", "virginica"])


@pytest.fixture
def iris():
    return load_iris(return_X_y=True)


def fitted(X, y, **settings):
    return SoftmaxClassifier(**settings).fit(X, y)


def costs(clf, X, indices):
    """Log losses of rows from the probabilities."""
    return -clf.predict_log_proba(X)[np.arange(len(X)), indices]


@pytest.mark.parametrize("labels", [np.arange(3), NAMES, np.array([30, 10, 20])])
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_of_any_kind(labels, weighted, iris, rng):
    X, y = iris
    weight = rng.uniform(0, 2, len(y)) if weighted else None
    clf = fitted(X, labels[y])
    indices = np.searchsorted(clf.classes_, labels[y])
    want = -np.average(costs(clf, X, indices), weights=weight)
    for loss in ("auto", "sparse_categorical_crossentropy", SparseCategoricalCrossentropy()):
        got = make_loss_scorer(loss)(clf, X, labels[y], sample_weight=weight)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        assert isinstance(got, float)


@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy", "categorical_crossentropy"])
def test_two_classes(loss):
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    names = np.array(["no", "yes"])[y]
    clf = fitted(X, names)
    want = -costs(clf, X, y).mean()
    np.testing.assert_allclose(make_loss_scorer(loss)(clf, X, names), want, rtol=1e-9)


def test_one_vs_rest_adds_the_losses_of_a_row(iris):
    X, y = iris
    clf = fitted(X, NAMES[y], loss="binary_crossentropy")
    logits = clf.decision_function(X)
    want = -BinaryCrossentropy()(np.eye(3)[y], logits)
    np.testing.assert_allclose(make_loss_scorer()(clf, X, NAMES[y]), want, rtol=1e-12)


def test_multilabel_with_missing_labels(rng):
    X = rng.normal(size=(60, 4))
    Y = (X[:, :3] + rng.normal(size=(60, 3)) > 0).astype(float)
    clf = fitted(X, Y)
    whole = make_loss_scorer()(clf, X, sparse.csr_array(Y))
    np.testing.assert_allclose(whole, -BinaryCrossentropy()(Y, clf.decision_function(X)))
    Y[rng.random(Y.shape) < 0.3] = np.nan
    got = make_loss_scorer()(clf, X, Y)
    np.testing.assert_allclose(got, -BinaryCrossentropy()(Y, clf.decision_function(X)))
    assert got > whole


def test_soft_rows(iris, rng):
    X, _ = iris
    T = rng.dirichlet(np.ones(3), size=len(X))
    clf = fitted(X, T)
    want = (T * log_softmax(clf.decision_function(X), axis=1)).sum(axis=1).mean()
    np.testing.assert_allclose(make_loss_scorer()(clf, X, T), want)


def test_ignored_rows_do_not_count(iris):
    X, y = iris
    names = NAMES[y].astype(object)
    names[::5] = "unknown"
    loss = SparseCategoricalCrossentropy(ignore_class="unknown")
    clf = fitted(X, names, loss=loss)
    kept = np.arange(len(y)) % 5 != 0
    want = -costs(clf, X, y)[kept].mean()
    for scorer in (make_loss_scorer(), make_loss_scorer(loss)):
        np.testing.assert_allclose(scorer(clf, X, names), want, rtol=1e-12)
    assert loss.ignore_class == "unknown"


def test_smoothing_counts_but_adjustment_does_not(iris):
    X, y = iris
    loss = SparseCategoricalCrossentropy(label_smoothing=0.1, logit_adjustment=1.0)
    clf = fitted(X, y, loss=loss)
    want = -SparseCategoricalCrossentropy(label_smoothing=0.1)(y, clf.decision_function(X))
    np.testing.assert_allclose(make_loss_scorer()(clf, X, y), want)
    assert loss.logit_adjustment == 1.0


def test_other_classifiers_and_pipelines(iris):
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, NAMES[y])
    want = -costs(pipeline, X, y).mean()
    np.testing.assert_allclose(make_loss_scorer()(pipeline, X, NAMES[y]), want, rtol=1e-9)
    pipeline = make_pipeline(
        StandardScaler(), SoftmaxClassifier(SparseCategoricalCrossentropy(label_smoothing=0.5))
    ).fit(X, NAMES[y])
    want = -SparseCategoricalCrossentropy(label_smoothing=0.5)(y, pipeline.decision_function(X))
    np.testing.assert_allclose(make_loss_scorer()(pipeline, X, NAMES[y]), want, rtol=1e-9)


def test_grid_search(iris):
    X, y = iris
    search = GridSearchCV(
        SoftmaxClassifier(), {"C": [0.01, 1.0, 100.0]}, scoring=make_loss_scorer(), cv=3
    ).fit(X, NAMES[y])
    plain = GridSearchCV(
        SoftmaxClassifier(), {"C": [0.01, 1.0, 100.0]}, scoring="neg_log_loss", cv=3
    ).fit(X, NAMES[y])
    got, want = (s.cv_results_["mean_test_score"] for s in (search, plain))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_grid_search_with_missing_labels(rng):
    X = rng.normal(size=(90, 4))
    Y = (X[:, :3] + rng.normal(size=(90, 3)) > 0).astype(float)
    Y[rng.random(Y.shape) < 0.2] = np.nan
    search = GridSearchCV(
        SoftmaxClassifier(), {"C": [1e-3, 1.0]}, scoring=make_loss_scorer(), cv=KFold(3)
    ).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_params_ == {"C": 1.0}


def test_labels_that_were_not_seen_are_named(iris):
    X, y = iris
    clf = fitted(X[:100], NAMES[y[:100]])
    with pytest.raises(ValueError, match="has seen.*'virginica'.*Stratify"):
        make_loss_scorer()(clf, X, NAMES[y])


def test_bad_losses_are_refused_at_once():
    with pytest.raises(ValueError, match="'loss' must be one of"):
        make_loss_scorer("hinge")
    assert repr(make_loss_scorer("log_loss")) == "make_loss_scorer('log_loss')"
    assert "CategoricalCrossentropy()" in repr(make_loss_scorer(CategoricalCrossentropy()))


def test_rows_must_be_as_many(rng):
    X = rng.normal(size=(30, 3))
    y = np.arange(30) % 3
    for loss in ("auto", "binary_crossentropy"):
        clf = SoftmaxClassifier(loss).fit(X, y)
        for rows, labels in ((X, y[:5]), (X[:5], y)):
            counts = rf"inconsistent numbers of samples: \[{len(rows)}, {len(labels)}\]"
            with pytest.raises(ValueError, match=counts):
                make_loss_scorer()(clf, rows, labels)


def test_y_of_another_kind(rng):
    X = rng.normal(size=(30, 3))
    labels = SoftmaxClassifier().fit(X, (X > 0) * 1)
    with pytest.raises(ValueError, match="'y' must have 3 columns, got 1"):
        make_loss_scorer()(labels, X, np.arange(30) % 3)
    two = SoftmaxClassifier().fit(X, X[:, 0] > 0)
    with pytest.raises(ValueError, match=r"'y' must have shape \(30,\) for a classifier of two"):
        make_loss_scorer()(two, X, np.ones((30, 2)))


def test_one_vs_rest_without_weight(rng):
    X, y = rng.normal(size=(30, 3)), np.arange(30) % 3
    clf = SoftmaxClassifier("binary_crossentropy").fit(X, y)
    with pytest.warns(RuntimeWarning, match="mean of no rows"):
        assert np.isnan(make_loss_scorer()(clf, X, y, np.zeros(30)))


# ---- Around the classifier -----------------------------------------------------------------------

GRID = {"C": [1.0]}
NESTED = {
    "search": lambda clf: GridSearchCV(clf, GRID, cv=3),
    "random search": lambda clf: RandomizedSearchCV(clf, GRID, n_iter=1, cv=3),
    "halving search": lambda clf: HalvingGridSearchCV(clf, GRID, cv=3, min_resources="smallest"),
    "pipeline": lambda clf: make_pipeline(StandardScaler(), "passthrough", clf),
    "pipeline of one step": lambda clf: make_pipeline(clf),
    "search in pipeline": lambda clf: make_pipeline(StandardScaler(), NESTED["search"](clf)),
    "pipeline in search in pipeline": lambda clf: Pipeline(
        [
            ("scale", StandardScaler()),
            ("none", None),
            (
                "search",
                GridSearchCV(
                    Pipeline([("select", SelectKBest(k=3)), ("clf", clf)]),
                    {"clf__C": [1.0]},
                    cv=3,
                ),
            ),
        ]
    ),
    "RFE": lambda clf: RFE(clf, n_features_to_select=2),
    "RFECV": lambda clf: RFECV(clf, cv=3),
    "RFE in search": lambda clf: GridSearchCV(RFE(clf), {"n_features_to_select": [2]}, cv=3),
    "RFE of a pipeline": lambda clf: RFE(
        Pipeline([("scale", StandardScaler()), ("clf", clf)]),
        importance_getter="named_steps.clf.coef_",
    ),
    "selection before": lambda clf: make_pipeline(SelectFromModel(DecisionTreeClassifier()), clf),
    "self-training": lambda clf: SelfTrainingClassifier(clf),  # refuses strings
}
OF_TWO_CLASSES = {
    "threshold": lambda clf: FixedThresholdClassifier(clf, threshold=0.9),
    "tuned threshold": lambda clf: TunedThresholdClassifierCV(clf, cv=3),
}
HYBRID = HybridLoss(
    [("softmax", SparseCategoricalCrossentropy()), ("ovr", BinaryCrossentropy())], weights=[1, 0.5]
)


def logits_of(clf, X):
    """All logits: those of two classes, too."""
    return X @ clf.coef_.T + clf.intercept_


def by_hand(estimator, X, y):
    """Minus the mean loss, step by step from scikit-learn's public attributes."""
    while not isinstance(estimator, SoftmaxClassifier):
        if isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            estimator = estimator[-1]
        elif isinstance(estimator, RFE):
            X, estimator = estimator.transform(X), estimator.estimator_
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            estimator = estimator.estimator_
    return -estimator.loss_(np.searchsorted(estimator.classes_, y), logits_of(estimator, X))


def labels_for(name, y):
    """(labels to fit, labels to judge): self-training wants integers, some of them unknown."""
    if name != "self-training":
        return NAMES[y], NAMES[y]
    return np.where(np.arange(len(y)) % 7, y, -1), y


@pytest.mark.parametrize("loss", [SparseCategoricalCrossentropy(label_smoothing=0.3), HYBRID])
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        *((name, classes) for name in NESTED for classes in (2, 3)),
        *((n, 2) for n in OF_TWO_CLASSES),
    ],
)
def test_estimators_around_the_classifier(name, classes, loss, iris):
    X, y = iris
    X, y = X[y >= 3 - classes], y[y >= 3 - classes]
    known, names = labels_for(name, y)
    make = {**NESTED, **OF_TWO_CLASSES}[name]
    estimator = make(SoftmaxClassifier(clone(loss))).fit(X, known)
    want = by_hand(estimator, X, names)
    assert make_loss_scorer()(estimator, X, names) == pytest.approx(want, rel=1e-9)
    assert make_loss_scorer(loss)(estimator, X, names) == pytest.approx(want, rel=1e-9)
    frozen = FrozenEstimator(estimator)
    assert make_loss_scorer()(frozen, X, names) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("name", NESTED)
def test_estimators_around_another_classifier(name, iris):
    X, y = iris
    X = StandardScaler().fit_transform(X)
    known, names = labels_for(name, y)
    estimator = NESTED[name](LogisticRegression(max_iter=1000)).fit(X, known)
    want = -costs(estimator, X, y).mean()  # by the estimator's own predict_log_proba
    assert make_loss_scorer()(estimator, X, names) == pytest.approx(want, rel=1e-9)


def test_searches_in_cross_validation(rng):
    """Each fold's search is judged as its classifier alone."""
    X = rng.normal(size=(90, 4))
    Y = (X[:, :3] + rng.normal(size=(90, 3)) > 0).astype(float)
    soft = rng.dirichlet(np.ones(3), 90)
    labels = NAMES[Y.sum(axis=1).astype(int).clip(max=2)].astype(object)
    labels[::4] = "unknown"
    ignoring = SparseCategoricalCrossentropy(ignore_class="unknown")
    for loss, y in (
        ("auto", Y),
        ("auto", soft),
        ("auto", labels),
        (ignoring, labels),
        ("binary_crossentropy", labels),
        (HYBRID, labels == "unknown"),
    ):
        clf = SoftmaxClassifier(loss)
        search = GridSearchCV(clf, GRID, scoring=make_loss_scorer(), cv=KFold(3))
        got, want = (
            cross_val_score(
                model, X, y, scoring=make_loss_scorer(), cv=KFold(3), error_score="raise"
            )
            for model in (search, clf)
        )
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda clf: CalibratedClassifierCV(clf, cv=2),
        lambda clf: VotingClassifier([("a", clf), ("b", clf)], voting="soft"),
        lambda clf: StackingClassifier([("a", clf)], final_estimator=clf, cv=2),
        lambda clf: BaggingClassifier(clf, n_estimators=2),
        lambda clf: AdaBoostClassifier(clf, n_estimators=2),
    ],
)
def test_several_classifiers_are_refused(make, iris):
    X, y = iris
    for model in (make(SoftmaxClassifier()), make_pipeline(make(SoftmaxClassifier()))):
        fitted = model.fit(X, y)
        inner = fitted[-1] if isinstance(fitted, Pipeline) else fitted
        for scorer in (
            make_loss_scorer(),
            check_scoring(fitted, {"loss": make_loss_scorer(), "accuracy": "accuracy"}),
        ):
            with pytest.raises(ValueError, match=f"{type(inner).__name__}.*neg_log_loss"):
                scorer(fitted, X, y)


def test_no_logits_are_refused(iris):
    X, y = iris
    for model in (DecisionTreeClassifier(), make_pipeline(DecisionTreeClassifier())):
        with pytest.raises(ValueError, match="DecisionTreeClassifier has none"):
            make_loss_scorer()(model.fit(X, y), X, y)
    for model, name in (
        (SelectFromModel(SoftmaxClassifier()), "SelectFromModel"),
        (RFE(DecisionTreeClassifier()), "RFE"),
    ):
        with pytest.raises(ValueError, match=f"{name} has none"):
            make_loss_scorer()(model.fit(X, y), X, y)
    with pytest.raises(ValueError, match="passthrough has none"):
        make_loss_scorer()(make_pipeline(StandardScaler(), "passthrough").fit(X, y), X, y)
    search = GridSearchCV(SoftmaxClassifier(), GRID, refit=False).fit(X, y)
    with pytest.raises(ValueError, match="'refit' of GridSearchCV must not be False"):
        make_loss_scorer()(search, X, y)
    for model in (SoftmaxClassifier(), GridSearchCV(SoftmaxClassifier(), GRID)):
        with pytest.raises(NotFittedError):
            make_loss_scorer()(model, X, y)


def test_one_vs_rest_of_other_classifiers(iris):
    X, y = iris
    model = OneVsRestClassifier(LogisticRegression()).fit(X, NAMES[y])
    want = -BinaryCrossentropy()(np.eye(3)[y], model.decision_function(X))
    got = make_loss_scorer("binary_crossentropy")(model, X, NAMES[y])
    assert got == pytest.approx(want, rel=1e-12)
    with pytest.raises(ValueError, match="'loss' must be named for OneVsRestClassifier"):
        make_loss_scorer()(model, X, NAMES[y])
    Y = X > X.mean(axis=0)
    model = OneVsRestClassifier(LinearSVC()).fit(X, Y)
    want = -BinaryCrossentropy()(Y, model.decision_function(X))
    assert make_loss_scorer("binary_crossentropy")(model, X, Y) == pytest.approx(want, rel=1e-12)


def test_a_column_for_each_class(iris):
    X, y = iris
    model = LinearSVC().fit(X, y)
    model.classes_ = np.arange(4)
    with pytest.raises(ValueError, match="one column for each of the 4 classes, got 3"):
        make_loss_scorer()(model, X, y)


def test_what_is_certain_and_wrong_costs_inf(rng):
    X = rng.normal(size=(60, 3))
    Y = (X + rng.normal(size=X.shape) > 0).astype(float)
    Y[:, 1] = 1
    with pytest.warns(UserWarning, match="do not vary"):
        clf = SoftmaxClassifier().fit(X, Y)
    proba = clf.predict_proba(X)
    free = np.array([True, False, True])
    want = -(Y * np.log(proba) + (1 - Y) * np.log1p(-proba, where=free, out=np.zeros_like(proba)))
    got = make_loss_scorer()(clf, X, Y)
    assert got == pytest.approx(-want.sum(axis=1).mean(), rel=1e-9)
    Y[0, 1] = 0
    assert make_loss_scorer()(clf, X, Y) == -np.inf
    assert make_loss_scorer()(clf, X, Y, np.arange(60.0)) > -np.inf

    y = NAMES[rng.integers(3, size=60)]
    with pytest.warns(UserWarning, match="no weight"):
        clf = SoftmaxClassifier().fit(X, y, (y != "setosa") * 1.0)
    assert make_loss_scorer()(clf, X, y) == -np.inf
    assert make_loss_scorer()(make_pipeline(clf), X, y, (y != "setosa") * 1.0) > -np.inf


@pytest.mark.parametrize("ignored", ["setosa", -1])
def test_all_rows_ignored(ignored, iris):
    X, y = iris
    clf = fitted(X, NAMES[y])
    scorer = make_loss_scorer(SparseCategoricalCrossentropy(ignore_class=ignored))
    labels = np.full(len(y), ignored)
    with pytest.warns(RuntimeWarning, match="mean of no rows"):
        assert np.isnan(scorer(clf, X, labels))


def test_labels_of_another_type_are_not_seen(iris):
    X, y = iris
    for labels, others in ((y, NAMES[y]), (NAMES[y], y)):
        with pytest.raises(ValueError, match="has seen"):
            make_loss_scorer()(fitted(X, labels), X, others)


# ---- As one of scikit-learn's scorers ------------------------------------------------------------


def expected_by_fold(X, y, weight, score_weight, cv):
    """Minus the weighted mean losses of the folds."""
    scores = []
    for train, test in cv.split(X, y):
        clf = SoftmaxClassifier().fit(X[train], y[train], weight[train])
        of_rows = costs(clf, X[test], np.searchsorted(clf.classes_, y[test]))
        scores.append(-np.average(of_rows, weights=score_weight[test]))
    return scores


def test_routed_weights(iris, rng):
    X, y = iris
    y, weight, ones = NAMES[y], rng.uniform(0.1, 3, len(y)), np.ones(len(y))
    cv = StratifiedKFold(3)
    with sklearn.config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifier().set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=True)
        for asked, score_weight in ((True, weight), (False, ones)):
            scorer = make_loss_scorer().set_score_request(sample_weight=asked)
            want = expected_by_fold(X, y, weight, score_weight, cv)
            options = {"cv": cv, "params": {"sample_weight": weight}, "error_score": "raise"}
            got = cross_val_score(clf, X, y, scoring=scorer, **options)
            np.testing.assert_allclose(got, want, rtol=1e-9)
            several = {
                "loss": scorer,
                "other": make_loss_scorer().set_score_request(sample_weight=False),
            }
            got = cross_validate(clf, X, y, scoring=several, **options)
            np.testing.assert_allclose(got["test_loss"], want, rtol=1e-9)
            search = GridSearchCV(clf, GRID, scoring=several, refit="loss", cv=cv)
            search.fit(X, y, sample_weight=weight)
            np.testing.assert_allclose(search.cv_results_["mean_test_loss"], np.mean(want))
            got = search.score(X, y, **({"sample_weight": weight} if asked else {}))
            want = make_loss_scorer()(search.best_estimator_, X, y, score_weight)
            assert got == pytest.approx(want, rel=1e-12)
        renamed = make_loss_scorer().set_score_request(sample_weight="judging")
        got = cross_val_score(
            clf, X, y, scoring=renamed, cv=cv, params={"sample_weight": weight, "judging": ones}
        )
        np.testing.assert_allclose(got, expected_by_fold(X, y, weight, ones, cv), rtol=1e-9)


def test_weights_without_routing(iris, rng):
    """As scikit-learn's scorers: with several metrics and alone, in each version."""
    X, y = iris
    weight = rng.uniform(0.1, 3, len(y))
    clf = fitted(X, NAMES[y])
    scorers = {"loss": make_loss_scorer(), "neg_log_loss": "neg_log_loss"}
    got = check_scoring(clf, scorers)(clf, X, NAMES[y], sample_weight=weight)
    assert got["loss"] == pytest.approx(-np.average(costs(clf, X, y), weights=weight))
    assert got["loss"] == pytest.approx(got["neg_log_loss"], rel=1e-6)
    searches = [
        GridSearchCV(SoftmaxClassifier(), GRID, scoring=scoring, cv=3).fit(
            X, NAMES[y], sample_weight=weight
        )
        for scoring in (make_loss_scorer(), "neg_log_loss")
    ]
    ours, theirs = (search.cv_results_["mean_test_score"] for search in searches)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    with pytest.raises((ValueError, TypeError)):
        make_loss_scorer()(clf, X, NAMES[y], group=weight)


def test_several_metrics(iris):
    X, y = iris
    several = {
        "loss": make_loss_scorer(),
        "again": make_loss_scorer("sparse_categorical_crossentropy"),
        "neg_log_loss": "neg_log_loss",
        "auc": get_scorer("roc_auc_ovr"),
        "accuracy": "accuracy",
    }
    for model in (SoftmaxClassifier(), make_pipeline(StandardScaler(), LogisticRegression())):
        got = cross_validate(model, X, NAMES[y], scoring=several, cv=3, error_score="raise")
        np.testing.assert_allclose(got["test_loss"], got["test_neg_log_loss"], rtol=1e-6)
        np.testing.assert_array_equal(got["test_loss"], got["test_again"])
        assert (got["test_accuracy"] > 0.9).all()
    grid = {"C": [0.01, 1.0, 100.0]}
    search = GridSearchCV(
        SoftmaxClassifier(), grid, scoring=several, refit="loss", cv=3, error_score="raise"
    ).fit(X, NAMES[y])
    assert search.best_index_ == np.argmax(search.cv_results_["mean_test_loss"])
    assert search.score(X, NAMES[y]) == make_loss_scorer()(search, X, NAMES[y])


def test_scorers_are_objects(iris):
    X, y = iris
    clf = fitted(X, y)
    loss = SparseCategoricalCrossentropy(label_smoothing=0.1)
    scorer = make_loss_scorer(loss)
    want = scorer(clf, X, y)
    search = clone(GridSearchCV(clf, GRID, scoring=scorer))
    for other in (pickle.loads(pickle.dumps(scorer)), search.scoring, get_scorer(scorer)):
        assert repr(other) == repr(scorer) == f"make_loss_scorer({loss!r})"
        assert other(clf, X, y) == want
    assert check_scoring(clf, scorer) is scorer
    assert want == pytest.approx(-loss(y, clf.decision_function(X)))


def test_thresholds_are_not_chosen_by_a_loss():
    X, y = load_breast_cancer(return_X_y=True)
    model = TunedThresholdClassifierCV(LogisticRegression(), scoring=make_loss_scorer(), cv=2)
    with pytest.raises(TypeError, match="does not depend on a decision threshold"):
        model.fit(StandardScaler().fit_transform(X), y)


@pytest.mark.parametrize("unit", [1e-310, 1e-46, 1e-44, 1e39, 1e300, 2e306, 5e306])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["auto", "binary_crossentropy"])
def test_weights_have_no_unit(loss, dtype, unit, iris, rng):
    X, y = iris[0].astype(dtype), iris[1]
    clf, weight = fitted(X, y), rng.integers(1, 9, len(X)).astype(float)
    scorer = make_loss_scorer(loss)
    want = scorer(clf, X, y, sample_weight=weight)
    tolerance = 1e-6 if dtype == np.float32 or unit < 1e-300 else 1e-13
    assert scorer(clf, X, y, sample_weight=weight * unit) == pytest.approx(want, rel=tolerance)
