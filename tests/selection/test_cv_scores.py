"""Scores on test rows: those of scikit-learn's scorers, and the mean loss, by independent fits."""

import inspect

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import brier_score_loss, get_scorer, log_loss, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from small_problems import (
    binary_data,
    binary_rows,
    multiclass_data,
    multilabel_data,
    multilabel_data_with_missing,
    no_warning,
    one_hot,
    positive_weights,
    soft_data,
    softmax_rows,
)
from xentlearn import SoftmaxClassifier, SoftmaxClassifierCV
from xentlearn.blocks import NpyBlocks
from xentlearn.losses import SparseCategoricalCrossentropy, make_loss_scorer

pytestmark = pytest.mark.filterwarnings("ignore:The best C")

TIGHT = {"tol": 1e-10, "max_iter": 10_000}
CS = [0.1, 3.0]
X, y = multiclass_data()
FOLDS = list(StratifiedKFold(3, shuffle=True, random_state=0).split(X, y))


def alone(fold, C, X=X, y=y, weight=None, folds=FOLDS, **params):
    train, _ = folds[fold]
    weight = None if weight is None else weight[train]
    return SoftmaxClassifier(C=C, **TIGHT, **params).fit(X[train], y[train], weight)


def search(X=X, y=y, weight=None, folds=FOLDS, **params):
    clf = SoftmaxClassifierCV(**{"Cs": CS, **TIGHT, **params}, cv=folds)
    return clf.fit(X, y, sample_weight=weight)


def expected(score, folds=FOLDS, **data):
    """Scores by ``score(classifier, test rows)`` of independent fits, as a search has them."""
    of_all = [[score(alone(i, C, folds=folds, **data), folds[i][1]) for C in CS] for i in range(3)]
    return np.array(of_all)[:, np.newaxis, np.newaxis]


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


# --- The default: minus the mean loss -------------------------------------------------------------


def test_minus_the_mean_loss_of_a_softmax():
    def score(clf, test):
        return -softmax_rows(X[test] @ clf.coef_.T + clf.intercept_, one_hot(y[test])).mean()

    close(search().scores_, expected(score))


def test_weights_of_rows_and_classes():
    weight = positive_weights(len(X))
    weight[::5] = 0.0
    of_class = {0: 3.0, 1: 1.0, 2: 0.2}

    def score(clf, test):
        rows = softmax_rows(X[test] @ clf.coef_.T + clf.intercept_, one_hot(y[test]))
        return -np.average(rows, weights=weight[test] * np.vectorize(of_class.get)(y[test]))

    found = search(weight=weight, class_weight=of_class).scores_
    close(found, expected(score, weight=weight, class_weight=of_class))


def test_balanced_weights_are_those_of_all_rows():
    y = np.where(np.arange(len(X)) % 4 > 0, 0, 1)
    counts = np.bincount(y)
    of_class = {0: len(y) / (2 * counts[0]), 1: len(y) / (2 * counts[1])}
    folds = list(KFold(3).split(X))
    balanced = search(y=y, folds=folds, class_weight="balanced")
    close(balanced.scores_, search(y=y, folds=folds, class_weight=of_class).scores_)


def test_multilabel_rows_with_missing_labels():
    X, Y = multilabel_data_with_missing()
    folds = list(KFold(3).split(X))

    def score(clf, test):
        return -binary_rows(X[test] @ clf.coef_.T + clf.intercept_, Y[test]).mean()

    close(search(X, Y, folds=folds).scores_, expected(score, folds, X=X, y=Y))


def test_soft_rows():
    X, T = soft_data()
    folds = list(KFold(3).split(X))

    def score(clf, test):
        return -softmax_rows(X[test] @ clf.coef_.T + clf.intercept_, T[test]).mean()

    close(search(X, T, folds=folds).scores_, expected(score, folds, X=X, y=T))


def test_ignored_rows_do_not_count():
    y_ignored = np.where(np.arange(len(y)) % 7 == 3, -1, y)
    loss = SparseCategoricalCrossentropy(ignore_class=-1)

    def score(clf, test):
        test = test[y_ignored[test] >= 0]
        return -softmax_rows(X[test] @ clf.coef_.T + clf.intercept_, one_hot(y[test])).mean()

    close(search(y=y_ignored, loss=loss).scores_, expected(score, y=y_ignored, loss=loss))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_narrow_rows(dtype, rng):
    counts = rng.integers(0, 9, size=X.shape).astype(dtype)
    found = search(counts).scores_
    np.testing.assert_allclose(found, search(counts.astype(np.float64)).scores_, rtol=1e-3)


def test_narrow_rows_with_huge_offsets():
    """Logits are small sums of huge terms, for which float32 has too few digits."""
    times = np.round(X * 10 + 1e6).astype(np.float32)
    found = search(times).scores_
    np.testing.assert_allclose(found, search(times.astype(np.float64)).scores_, rtol=1e-3)


def test_the_loss_that_is_fitted_is_the_score():
    """Smoothed: it is not the plain cross-entropy."""
    loss = SparseCategoricalCrossentropy(label_smoothing=0.2)

    def score(clf, test):
        targets = 0.8 * one_hot(y[test]) + 0.2 / 3
        return -softmax_rows(X[test] @ clf.coef_.T + clf.intercept_, targets).mean()

    close(search(loss=loss).scores_, expected(score, loss=loss))


def test_losses_are_compared_by_the_plain_cross_entropy():
    losses = [
        "auto",
        SparseCategoricalCrossentropy(label_smoothing=0.2),
        "generalized_crossentropy",
        "binary_crossentropy",
    ]
    found = search(losses=losses)
    assert found.scores_.shape == (3, 4, 1, 2)
    for i, loss in enumerate(losses):
        convex = loss != "generalized_crossentropy"

        def score(clf, test):
            return -log_loss(y[test], clf.predict_proba(X[test]))

        wanted = expected(score, loss=loss)[:, 0]
        np.testing.assert_allclose(found.scores_[:, i], wanted, rtol=1e-4 if convex else 1e-3)
    best = np.unravel_index(found.scores_.mean(axis=0).argmax(), (4, 1, 2))
    assert found.losses_ == losses
    assert type(found.loss_).__name__ in repr(SoftmaxClassifier(losses[best[0]]).fit(X, y).loss_)


@pytest.mark.filterwarnings("ignore:Class")
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_class_that_training_rows_lack_is_left_out(n_jobs):
    """The warning comes from the process of the fold, if it has one of its own."""
    X, y = load_iris(return_X_y=True)
    test = np.r_[0:10, 50:60, 100:110]
    train = np.setdiff1d(np.arange(100), test)  # without the third class
    folds = [(train, test), (np.arange(150), test)]
    with pytest.warns(UserWarning, match=r"fold 1 leaves classes out .* \[2\]") as record:
        clf = SoftmaxClassifierCV(Cs=[1.0], cv=folds, n_jobs=n_jobs, **TIGHT).fit(X, y)
    assert len([w for w in record if "leaves classes" in str(w.message)]) == 1
    two = SoftmaxClassifier(loss="sparse_categorical_crossentropy", **TIGHT).fit(X[train], y[train])
    counted = test[y[test] < 2]
    close(clf.scores_[0].item(), -log_loss(y[counted], two.predict_proba(X[counted])))


@pytest.mark.filterwarnings("ignore:Class")
def test_a_class_that_training_rows_lack_when_losses_are_compared():
    """All kinds leave out the same rows, whatever the classes weigh."""
    X, y = load_iris(return_X_y=True)
    test, all_rows = np.r_[0:10, 50:60, 100:110], np.arange(150)
    folds = [(np.setdiff1d(np.arange(100), test), test), (all_rows, test)]
    sparse = SparseCategoricalCrossentropy(label_smoothing=0.0)
    losses = ["sparse_categorical_crossentropy", "binary_crossentropy", sparse]
    weights = {0: 1.0, 1: 5.0, 2: 1.0}
    with pytest.warns(UserWarning, match=r"fold 1 leaves classes out .* \[2\]"):
        clf = SoftmaxClassifierCV(
            Cs=[1.0, 10.0], losses=losses, cv=folds, class_weight=weights, **TIGHT
        ).fit(X, y)
    for fold, (train, _) in enumerate(folds):
        counted = test[y[test] < 2] if fold == 0 else test
        for i, loss in enumerate(losses):
            one = SoftmaxClassifier(loss, class_weight=weights, **TIGHT).fit(X[train], y[train])
            wanted = -log_loss(y[counted], one.predict_proba(X[counted]))
            close(clf.scores_[fold, i, 0, 0], wanted)
    close(clf.scores_[:, 0], clf.scores_[:, 2])
    by_two = clone(clf).set_params(n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(by_two.scores_, clf.scores_)


@pytest.mark.filterwarnings("ignore:Class")
def test_the_share_of_a_soft_row_that_training_rows_lack():
    X, targets = soft_data()
    targets[:60, 0], train = 0.0, np.arange(60)
    targets /= targets.sum(axis=1, keepdims=True)
    test = np.arange(60, len(X))
    parameters = {"loss": "categorical_crossentropy", **TIGHT}
    with pytest.warns(UserWarning, match=r"fold 1 leaves classes out .* \[0\]"):
        clf = SoftmaxClassifierCV(Cs=[1.0], cv=[(train, test)], **parameters).fit(X, targets)
    one = SoftmaxClassifier(**parameters).fit(X[train], targets[train])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.where(targets[test] == 0, 0.0, np.log(one.predict_proba(X[test])))
    rest = targets[test, 1:]
    close(clf.scores_.item(), (rest * log_p[:, 1:]).sum() / rest.sum())
    with pytest.raises(ValueError, match="classes must be among .* fold 1"):
        SoftmaxClassifierCV(cv=KFold(3), **parameters).fit(
            np.arange(9.0)[:, np.newaxis], np.repeat(np.eye(3), 3, axis=0)
        )


@pytest.mark.filterwarnings("ignore:Class")
@pytest.mark.parametrize("constant", [0, 1])
def test_a_label_that_does_not_vary_in_training_is_left_out(constant):
    X, Y = multilabel_data()
    half = len(X) // 2
    Y[:half, 0], Y[half:, 0] = constant, 1 - constant
    folds = [(np.arange(half), np.arange(half, len(X)))]
    with pytest.warns(UserWarning, match=r"fold 1 leaves labels out .* \[0\]"):
        clf = SoftmaxClassifierCV(Cs=[1.0], cv=folds, **TIGHT).fit(X, Y)
    one = SoftmaxClassifier(loss="binary_crossentropy", **TIGHT).fit(X[:half], Y[:half, 1:])
    wanted = -binary_rows(X[half:] @ one.coef_.T + one.intercept_, Y[half:, 1:]).mean()
    close(clf.scores_.item(), wanted)


@pytest.mark.filterwarnings("ignore:Class")
@pytest.mark.parametrize("n_classes", [2, 3])
def test_folds_without_a_class_in_common(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[: 50 * n_classes], y[: 50 * n_classes]
    clf = SoftmaxClassifierCV(cv=KFold(n_classes))
    with pytest.raises(ValueError, match="classes must be among .* fold 1"):
        clf.fit(X, y)


@pytest.mark.filterwarnings("ignore:Class")
def test_a_fold_of_one_class():
    """It is predicted with certainty, which is right in the rows that count."""
    X, y = binary_data()
    train = np.flatnonzero(y == 1)[10:]
    folds = [(train, np.arange(40)), *KFold(2).split(X)]
    with pytest.warns(UserWarning, match=r"leaves classes out .* \[0\]"):
        clf = SoftmaxClassifierCV(Cs=CS, cv=folds).fit(X, y)
    assert (clf.scores_[0] == 0).all()
    assert (clf.scores_[1:] < 0).all()


# --- Scorers --------------------------------------------------------------------------------------


SCORERS = ["accuracy", "neg_log_loss", "f1_macro", "roc_auc_ovr", "balanced_accuracy"]


@pytest.mark.parametrize("scoring", SCORERS)
def test_scorers_of_scikit_learn(scoring):
    def score(clf, test):
        return get_scorer(scoring)(clf, X[test], y[test])

    close(search(scoring=scoring).scores_, expected(score))


def test_the_choice_of_a_grid_search():
    grid = GridSearchCV(SoftmaxClassifier(), {"C": [0.01, 0.1, 10]}, cv=FOLDS)
    for scoring in SCORERS[:3]:
        clf = search(Cs=[0.01, 0.1, 10], scoring=scoring)
        assert clf.C_ == grid.set_params(scoring=scoring).fit(X, y).best_params_["C"]
        close(clf.scores_.mean(axis=0).ravel(), grid.cv_results_["mean_test_score"])


def test_several_scorers():
    names = ["accuracy", "neg_log_loss"]
    one_by_one = {name: search(scoring=name) for name in names}
    for scoring, refit in [
        (names, "accuracy"),
        (tuple(names), "neg_log_loss"),
        (set(names), "accuracy"),
        ({name: name for name in names}, "neg_log_loss"),
    ]:
        clf = search(scoring=scoring, refit=refit)
        assert set(clf.scores_) == set(clf.standard_errors_) == set(names)
        for name in names:
            close(clf.scores_[name], one_by_one[name].scores_)
            close(clf.standard_errors_[name], one_by_one[name].standard_errors_)
        assert clf.C_ == one_by_one[refit].C_
        assert clf.score(X, y) == get_scorer(refit)(clf, X, y)
    clf = search(scoring=names, refit=False)
    assert not {"C_", "coef_", "loss_", "l1_ratio_"} & vars(clf).keys()


def test_a_function_that_returns_several_scores():
    def scoring(clf, X, y):
        right = (clf.predict(X) == y).mean()
        return {"right": right, "wrong": right - 1}

    clf = search(scoring=scoring, refit="wrong")
    close(clf.scores_["right"], search(scoring="accuracy").scores_)
    with pytest.raises(ValueError, match=r"\['right', 'wrong'\].*True"):
        search(scoring=scoring)
    assert not hasattr(search(scoring=scoring, refit=False), "C_")


def test_scores_that_are_no_numbers():
    with pytest.raises(ValueError, match="'scoring' must return a number"):
        search(scoring=lambda clf, X, y: np.ones(2))
    with pytest.raises(ValueError, match="nan for all"):
        search(scoring=lambda clf, X, y: np.nan)


def test_a_loss_as_scorer():
    def score(clf, test):
        return -log_loss(y[test], clf.predict_proba(X[test]))

    scoring = make_loss_scorer("sparse_categorical_crossentropy")
    close(search(scoring=scoring).scores_, expected(score))


def test_scorers_know_classes_that_test_rows_lack():
    """As in LogisticRegressionCV."""
    X, y = load_iris(return_X_y=True)
    names = np.array(["c", "a", "b"])[y]
    folds = [(np.r_[10:150], np.r_[0:10]), (np.r_[0:90, 100:150], np.r_[90:100])]
    classes = ["a", "b", "c"]
    wanted = [
        [
            -log_loss(names[test], clf.predict_proba(X[test]), labels=classes)
            for clf in (alone(i, C, X, names, folds=folds) for C in CS)
        ]
        for i, (_, test) in enumerate(folds)
    ]
    close(search(X, names, folds=folds, scoring="neg_log_loss").scores_[:, 0, 0], wanted)
    several = search(
        X, names, folds=folds, scoring=["neg_log_loss", "accuracy"], refit="accuracy"
    ).scores_
    close(several["neg_log_loss"][:, 0, 0], wanted)
    if "labels" not in inspect.signature(brier_score_loss).parameters:
        return  # scikit-learn is older than 1.7
    two = np.where(y > 0, "yes", "no")  # the positive class is the second one
    found = search(X, two, folds=folds, scoring="neg_brier_score").scores_
    for i, (_, test) in enumerate(folds):
        proba = alone(i, CS[0], X, two, folds=folds).predict_proba(X[test])[:, 1]
        close(found[i, 0, 0, 0], -np.mean((proba - (two[test] == "yes")) ** 2))


def test_multilabel_scorer():
    X, Y = multilabel_data()
    folds = list(KFold(3).split(X))

    def score(clf, test):
        return get_scorer("f1_micro")(clf, X[test], Y[test])

    found = search(X, Y, folds=folds, scoring="f1_micro").scores_
    close(found, expected(score, folds, X=X, y=Y))


# --- Weights, groups, routing ---------------------------------------------------------------------


WEIGHT = positive_weights(len(X))


def test_scorers_get_the_weights_without_routing():
    """As in LogisticRegressionCV; functions only if they take them."""

    def score(clf, test):
        return clf.score(X[test], y[test], sample_weight=WEIGHT[test])

    close(search(weight=WEIGHT, scoring="accuracy").scores_, expected(score, weight=WEIGHT))

    def takes(clf, X, y, sample_weight):
        return clf.score(X, y, sample_weight=sample_weight)

    close(search(weight=WEIGHT, scoring=takes).scores_, expected(score, weight=WEIGHT))

    def takes_none(clf, X, y):
        return clf.score(X, y)

    def unweighted(clf, test):
        return clf.score(X[test], y[test])

    close(search(weight=WEIGHT, scoring=takes_none).scores_, expected(unweighted, weight=WEIGHT))


def test_each_of_several_scorers_gets_the_weights_if_it_takes_them():
    def takes(clf, X, y, sample_weight=None):
        return np.average(clf.predict(X) == y, weights=sample_weight)

    def takes_none(clf, X, y):
        return takes(clf, X, y)

    scoring = {"accuracy": "accuracy", "takes": takes, "takes_none": takes_none}
    clf = search(weight=WEIGHT, scoring=scoring, refit="takes")
    weighted = search(weight=WEIGHT, scoring="accuracy").scores_
    np.testing.assert_array_equal(clf.scores_["accuracy"], weighted)
    close(clf.scores_["takes"], weighted)
    unweighted = search(weight=WEIGHT, scoring=takes_none).scores_
    np.testing.assert_array_equal(clf.scores_["takes_none"], unweighted)
    assert clf.score(X, y, WEIGHT) == takes(clf, X, y, WEIGHT)


def test_scores_without_axes_are_numbers():
    found = search(scoring=lambda clf, X, y: np.asarray(clf.score(X, y))).scores_
    np.testing.assert_array_equal(found, search(scoring="accuracy").scores_)


def test_routing_of_weights():
    def weighted(clf, test):
        return clf.score(X[test], y[test], sample_weight=WEIGHT[test])

    def unweighted(clf, test):
        return clf.score(X[test], y[test])

    with config_context(enable_metadata_routing=True):
        scorer = get_scorer("accuracy").set_score_request(sample_weight=True)
        found = search(weight=WEIGHT, scoring=scorer).scores_
        close(found, expected(weighted, weight=WEIGHT))
        scorer = get_scorer("accuracy").set_score_request(sample_weight=False)
        found = search(weight=WEIGHT, scoring=scorer).scores_
        close(found, expected(unweighted, weight=WEIGHT))
        default = search(weight=WEIGHT).scores_
    close(default, search(weight=WEIGHT).scores_)


def test_groups_by_routing():
    groups = np.arange(len(X)) % 6
    wanted = search(folds=list(GroupKFold(3).split(X, y, groups)))
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifierCV(Cs=CS, cv=GroupKFold(3), **TIGHT).fit(X, y, groups=groups)
        with pytest.raises(TypeError, match="typo"):
            SoftmaxClassifierCV(Cs=CS, cv=GroupKFold(3)).fit(X, y, typo=groups)
        nested = cross_val_score(
            SoftmaxClassifierCV(Cs=CS, cv=LeaveOneGroupOut()),
            X,
            y,
            cv=GroupKFold(3),
            params={"groups": groups},
        )
        assert (nested > 0.4).all()
    np.testing.assert_array_equal(clf.scores_, wanted.scores_)
    with pytest.raises(ValueError, match="only with metadata routing.*set_config"):
        SoftmaxClassifierCV(cv=GroupKFold(3)).fit(X, y, groups=groups)


def test_weights_in_a_routed_nested_search():
    with config_context(enable_metadata_routing=True):
        clf = SoftmaxClassifierCV(Cs=CS).set_fit_request(sample_weight=True)
        clf.set_score_request(sample_weight=True)
        results = cross_validate(clf, X, y, params={"sample_weight": WEIGHT}, cv=FOLDS)
    for (train, test), found in zip(FOLDS, results["test_score"], strict=True):
        inner = SoftmaxClassifierCV(Cs=CS).fit(X[train], y[train], WEIGHT[train])
        assert found == inner.score(X[test], y[test], WEIGHT[test])


def test_a_scorer_with_a_parameter_of_its_own():
    cost = np.random.default_rng(0).uniform(size=len(X))

    def saved(y_true, y_pred, cost, factor):
        return factor * cost[y_true == y_pred].sum()

    with config_context(enable_metadata_routing=True):
        scorer = make_scorer(saved, factor=2.0).set_score_request(cost=True)
        clf = SoftmaxClassifierCV(Cs=CS, cv=FOLDS, scoring=scorer, **TIGHT).fit(X, y, cost=cost)
        assert clf.score(X, y, cost=cost) == scorer(clf, X, y, cost=cost)

    def score(one, test):
        return saved(y[test], one.predict(X[test]), cost[test], 2.0)

    close(clf.scores_, expected(score))


# --- Folds ----------------------------------------------------------------------------------------


def test_folds_are_those_of_scikit_learn():
    default = SoftmaxClassifierCV(Cs=CS).fit(X, y).scores_
    for cv in (5, StratifiedKFold(5), list(StratifiedKFold(5).split(X, y))):
        np.testing.assert_array_equal(SoftmaxClassifierCV(Cs=CS, cv=cv).fit(X, y).scores_, default)
    X_labels, Y = multilabel_data()
    default = SoftmaxClassifierCV(Cs=CS).fit(X_labels, Y).scores_
    unstratified = SoftmaxClassifierCV(Cs=CS, cv=KFold(5)).fit(X_labels, Y).scores_
    np.testing.assert_array_equal(unstratified, default)


def test_masks_are_folds():
    masks = [tuple(np.isin(np.arange(len(X)), rows) for rows in fold) for fold in FOLDS]
    np.testing.assert_array_equal(search(folds=masks).scores_, search().scores_)


def test_a_splitter_of_ones_own_sees_X_and_y():
    seen = []

    class Splitter:
        def split(self, X, y, groups=None):
            seen.append((X, y))
            yield from FOLDS

        def get_n_splits(self, X=None, y=None, groups=None):
            return 3

    names = np.array(["c", "a", "b"])[y]
    found = search(y=names, folds=Splitter())
    assert seen[0][0] is X
    assert seen[0][1] is names
    close(found.scores_, search().scores_)
    X_labels, Y = multilabel_data()
    search(X_labels, Y, folds=Splitter())
    assert seen[-1][1] is Y


def test_one_fold():
    clf = search(folds=ShuffleSplit(1, random_state=0))
    assert clf.scores_.shape == (1, 1, 1, 2)
    assert np.isnan(clf.standard_errors_).all()


# --- Probabilities of rows in the folds in which they were not trained on -------------------------


@pytest.mark.parametrize("keeps", [True, False])
def test_out_of_fold_probabilities(keeps):
    clf = search(store_probabilities=True, scoring="accuracy", store_paths=keeps)
    one = SoftmaxClassifier(C=clf.C_, **TIGHT)
    wanted = cross_val_predict(one, X, y, cv=FOLDS, method="predict_proba")
    np.testing.assert_allclose(clf.out_of_fold_proba_, wanted, atol=1e-5)


def test_out_of_fold_probabilities_of_labels_and_some_rows():
    X, Y = multilabel_data()
    folds = list(KFold(3).split(X))[:2]
    clf = search(X, Y, folds=folds, store_probabilities=True)
    assert clf.out_of_fold_proba_.shape == Y.shape
    tested = np.concatenate([test for _, test in folds])
    assert np.isfinite(clf.out_of_fold_proba_[tested]).all()
    assert np.isnan(np.delete(clf.out_of_fold_proba_, tested, axis=0)).all()


# --- Rows on disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
def test_row_blocks_choose_as_in_memory(weight, tmp_path):
    for i in range(5):
        np.save(tmp_path / f"{i}.npy", X[30 * i : 30 * (i + 1)])
    Cs = [0.01, 0.1, 1.0, 10.0, 100.0]
    in_memory = search(Cs=Cs, weight=weight)
    on_disk = search(NpyBlocks(tmp_path), Cs=Cs, weight=weight)
    close(on_disk.scores_, in_memory.scores_)
    assert on_disk.C_ == in_memory.C_
    np.testing.assert_allclose(on_disk.coef_, in_memory.coef_, atol=1e-5)
    default = search(NpyBlocks(tmp_path), Cs=4).Cs_
    np.testing.assert_allclose(default, search(Cs=4).Cs_, rtol=1e-6)


def test_rows_that_a_fold_repeats_count_twice_in_row_blocks(tmp_path):
    np.save(tmp_path / "X.npy", X)
    train, test = FOLDS[0]
    folds = [(np.append(train, train[::2]), np.append(test, test[::3]))]
    found = search(NpyBlocks(tmp_path / "X.npy"), folds=folds).scores_
    close(found, search(folds=folds).scores_)


def test_what_row_blocks_do_not_take(tmp_path):
    np.save(tmp_path / "a.npy", X)
    blocks = NpyBlocks(tmp_path)
    for name, params in {
        "scoring": {"scoring": "accuracy"},
        "losses": {"losses": ["auto"]},
        "store_probabilities": {"store_probabilities": True},
    }.items():
        with pytest.raises(ValueError, match=f"'{name}' must be .* row blocks"):
            search(blocks, **params)


# --- score ----------------------------------------------------------------------------------------


def test_score():
    clf = search()
    assert clf.score(X, y) == (clf.predict(X) == y).mean()
    clf = search(scoring="neg_log_loss")
    close(clf.score(X, y), -log_loss(y, clf.predict_proba(X)))
    weighted = -log_loss(y, clf.predict_proba(X), sample_weight=WEIGHT)
    close(clf.score(X, y, sample_weight=WEIGHT), weighted)
    with pytest.raises(ValueError, match="only with metadata routing"):
        clf.score(X, y, cost=WEIGHT)


def test_in_a_pipeline():
    """Its score and its choice are those of the search on transformed rows."""
    scaled = StandardScaler().fit_transform(X)
    pipe = make_pipeline(StandardScaler(), SoftmaxClassifierCV(Cs=CS, cv=FOLDS)).fit(X, y)
    np.testing.assert_array_equal(pipe[-1].scores_, search(scaled, tol=1e-4).scores_)


def test_no_needless_warning():
    with no_warning():
        search(Cs=[1e-3, 0.1, 1.0, 1e3], scoring=["accuracy", "neg_log_loss"], refit="neg_log_loss")
