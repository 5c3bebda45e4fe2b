"""What users of other libraries try with the classifier, and the answers that they get."""

import copy
import importlib.util
import inspect
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from xentlearn import SoftmaxClassifier
from xentlearn._estimator.parameters import ADVICE
from xentlearn.blocks import NpyBlocks
from xentlearn.losses import BinaryCrossentropy, HybridLoss, SparseCategoricalCrossentropy
from xentlearn.solvers import LBFGS, SGD, Adam

# an argument of other libraries, and what its answer has to name
ANSWERS = {
    "penalty": "C=inf",
    "n_jobs": "OMP_NUM_THREADS",
    "dual": "solver='auto'",
    "multi_class": "loss='binary_crossentropy'",
    "intercept_scaling": "fit_intercept=False",
    "alpha": r"C = 1 / \(alpha \* n\)",
    "optimizer": "'solver'",
    "epochs": "'max_iter'",
    "batch_size": r"solver=Adam\(batch_size",
    "learning_rate": r"solver=Adam\(learning_rate",
    "lr": r"solver=Adam\(learning_rate",
    "eta0": r"solver=Adam\(learning_rate",
    "momentum": r"solver=SGD\(momentum",
    "label_smoothing": r"loss=SparseCategoricalCrossentropy\(label_smoothing",
    "gamma": r"loss=CategoricalFocalCrossentropy\(gamma",
    "pos_weight": r"loss=BinaryCrossentropy\(pos_weight",
    "ignore_class": r"loss=SparseCategoricalCrossentropy\(ignore_class",
    "ignore_index": r"loss=SparseCategoricalCrossentropy\(ignore_class",
    "from_logits": r"functions of xentlearn\.losses",
    "class_weights": "Did you mean 'class_weight'",
    "max_itr": "Did you mean 'max_iter'",
    "c": "Did you mean 'C'",
    "callbacks": "set_callbacks",
    "zzz": r"It has \['C', 'class_weight'",
}

SMALL = [[0], [0], [1], [1]], [0, 0, 1, 1]

each_answer = pytest.mark.parametrize(("name", "answer"), ANSWERS.items(), ids=ANSWERS)


CLASSIFIERS = [SoftmaxClassifier]
if importlib.util.find_spec("distributed"):
    from xentlearn import dask

    CLASSIFIERS.append(dask.SoftmaxClassifier)


@each_answer
def test_arguments(name, answer):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'. .*{answer}"):
        SoftmaxClassifier(**{name: 1})


@each_answer
def test_set_params(name, answer):
    with pytest.raises(ValueError, match=rf"Invalid parameter '{name}' for .*\(\). .*{answer}"):
        SoftmaxClassifier().set_params(**{name: 1})


def test_on_a_cluster():
    dask = pytest.importorskip("xentlearn.dask", exc_type=ImportError)
    with pytest.raises(TypeError, match="C=inf"):
        dask.SoftmaxClassifier(penalty="l2")
    with pytest.raises(TypeError, match="those of the cluster"):
        dask.SoftmaxClassifier(n_jobs=2)
    with pytest.raises(ValueError, match="those of the cluster"):
        dask.SoftmaxClassifier().set_params(n_jobs=2)
    with pytest.raises(TypeError, match="Did you mean 'client'"):
        dask.SoftmaxClassifier(clients=None)


def test_grid():
    search = GridSearchCV(SoftmaxClassifier(), {"penalty": ["l2"]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="C=inf"):
        search.fit(*SMALL)


def test_advice_is_never_on_a_parameter():
    for kind in CLASSIFIERS:
        assert not ADVICE.keys() & inspect.signature(kind).parameters.keys()
    for kind in (Adam, SGD, LBFGS, SparseCategoricalCrossentropy, BinaryCrossentropy, HybridLoss):
        assert kind._advice


@pytest.mark.parametrize("name", ADVICE)
def test_advice_is_in_sentences(name):
    assert ADVICE[name][0].isupper() or ADVICE[name].startswith(("'", "fit "))
    assert ADVICE[name].endswith(".")


def hybrid():
    return HybridLoss([("a", BinaryCrossentropy())])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SoftmaxClassifier("auto", 1.0), r"takes \['loss'\] by position, got 2.*C=\.\.\."),
        (lambda: Adam(0.1), r"takes nothing by position, got 1.*learning_rate=\.\.\."),
        (lambda: BinaryCrossentropy(0.1, None, 3), "there are no others"),
        (lambda: Adam(lr=0.1), "'learning_rate'"),
        (lambda: SGD(eta0=0.1), "'learning_rate'"),
        (lambda: Adam(weight_decay=0.1), r"SoftmaxClassifier\(C="),
        (lambda: LBFGS(memory=3), "'history_size'"),
        (lambda: Adam().set_params(lr=1), "'learning_rate'"),
        (lambda: SoftmaxClassifier(solver=Adam()).set_params(solver__lr=1), "'learning_rate'"),
        (lambda: BinaryCrossentropy(reduction="mean"), r"setting\(y_true, logits\)"),
        (lambda: SparseCategoricalCrossentropy(ignore_index=-100), "'ignore_class'"),
        (lambda: SparseCategoricalCrossentropy().set_params(ignore_index=1), "'ignore_class'"),
        (lambda: SoftmaxClassifier().set_params(C__x=1), "'C' is 1.0, which has no parameter 'x'"),
        (lambda: hybrid().set_params(a__smoothing=1), "'label_smoothing'"),
        (lambda: hybrid().set_params(b__label_smoothing=1), r"It has \['a', 'losses', 'weights'\]"),
        (lambda: hybrid().set_params(weightss=[1]), "Did you mean 'weights'"),
        (lambda: HybridLoss(label_smoothing=0.1), r"It has \['losses', 'weights'\]"),
    ],
)
def test_settings_and_positions(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    ("loss", "hint"),
    [
        ("binary_cross_entropy", r"\. Did you mean 'binary_crossentropy'\?$"),
        ("SparseCategoricalCrossEntropy", r"got 'SparseCategoricalCrossEntropy'\.$"),
        ("cross_entropy", r"got 'cross_entropy'\.$"),
        ("l2", "The first argument is the loss; the L2 penalty is set by 'C'"),
        (
            SparseCategoricalCrossentropy,
            r"object of the class: Sparse\w+\(\)",
        ),
        (3.0, r"got 3\.0\.$"),
    ],
)
def test_losses_that_do_not_exist(loss, hint):
    with pytest.raises(ValueError, match=f"'loss' must be one of .*{hint}"):
        SoftmaxClassifier(loss).fit(*SMALL)


# ---- X and y -------------------------------------------------------------------------------------


def torch_data(kind):
    data = pytest.importorskip("torch.utils.data")
    rows = data.TensorDataset(pytest.importorskip("torch").zeros(4, 2))
    return rows if kind == "set" else data.DataLoader(rows)


@pytest.mark.parametrize(
    ("X", "got", "way_out"),
    [
        (lambda: "train.npy", "str", "NpyBlocks"),
        (lambda: Path("train.parquet"), r"\w*Path", "ParquetBlocks"),
        (lambda: ["a.npy", "b.npy"], "list of str", "NpyBlocks"),
        (lambda: ("a text", "another"), "tuple of str", "TfidfVectorizer"),
        (lambda: {"a": [1, 2, 3, 4], "b": [1, 2, 3, 4]}, "dict", r"pandas\.DataFrame\(X\)"),
        (lambda: iter([[1], [2]]), r"\w+", "partial_fit"),
        (lambda: (row for row in [[1], [2]]), "generator", "partial_fit"),
        (lambda: torch_data("loader"), "DataLoader", "partial_fit.*RowBlocks"),
        (lambda: torch_data("set"), "TensorDataset", "partial_fit.*RowBlocks"),
    ],
)
def test_what_is_not_rows(X, got, way_out):
    message = f"'X' must be rows.*got {got}; .*{way_out}"
    with pytest.raises(TypeError, match=message):
        SoftmaxClassifier().fit(X(), SMALL[1])
    with pytest.raises(TypeError, match=message):
        SoftmaxClassifier().partial_fit(X(), SMALL[1], classes=[0, 1])
    with pytest.raises(TypeError, match=message):
        SoftmaxClassifier().fit(*SMALL).predict(X())


def test_y_that_is_no_array():
    with pytest.raises(ValueError, match=r"got \(\) \(str\)"):
        SoftmaxClassifier().fit(SMALL[0], "y.npy")


def test_blocks_where_scikit_learn_wants_an_array(tmp_path):
    np.save(tmp_path / "a.npy", np.array(SMALL[0], dtype=float))
    X, y = NpyBlocks(tmp_path), SMALL[1]
    for use in (
        lambda: make_pipeline(StandardScaler(), SoftmaxClassifier()).fit(X, y),
        lambda: cross_validate(SoftmaxClassifier(), X, y, cv=2),
        lambda: GridSearchCV(SoftmaxClassifier(), {"C": [1, 2]}, cv=2).fit(X, y),
        lambda: train_test_split(X, y),
        lambda: np.asarray(X),
    ):
        with pytest.raises(TypeError, match="Row blocks are read .*NpyBlocks.*rows in memory"):
            use()
    alone = make_pipeline(SoftmaxClassifier()).fit(X, y)  # nothing before it wants an array
    assert alone.score(X, y) == 1.0


# ---- Nobody else notices -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSIFIERS, ids=lambda kind: kind.__module__)
def test_signature_and_parameters(kind):
    parameters = inspect.signature(kind).parameters
    assert list(parameters)[:2] == ["loss", "C"]
    assert not any(p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    clf = kind(C=2.0)
    assert sorted(clf.get_params()) == sorted(parameters)
    assert repr(clf) == "SoftmaxClassifier(C=2.0)"
    for other in (clone(clf), copy.deepcopy(clf), pickle.loads(pickle.dumps(clf))):
        assert other.get_params() == clf.get_params()


@pytest.mark.parametrize("kind", [BinaryCrossentropy, HybridLoss, Adam, LBFGS])
def test_signatures_of_settings(kind):
    assert sorted(inspect.signature(kind).parameters) == kind._get_param_names()


def test_subclasses_have_their_own_parameters():
    class Tagged(SoftmaxClassifier):
        def __init__(self, loss="auto", *, C=1.0, tag=None):
            super().__init__(loss, C=C)
            self.tag = tag

    assert Tagged(tag=3).tag == 3
    with pytest.raises(TypeError, match="C=inf"):
        Tagged(penalty="l2")

    class Passing(SoftmaxClassifier):
        def __init__(self, loss="auto", **others):
            super().__init__(loss, **others)

    assert Passing(C=3.0).C == 3.0
    with pytest.raises(TypeError, match="unexpected keyword argument 'penalty'"):
        Passing(penalty="l2")


# ---- X of other libraries ------------------------------------------------------------------------


def test_lazy_frames():
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"got LazyFrame; pass X\.collect\(\)"):
        SoftmaxClassifier().fit(polars.LazyFrame({"a": [1.0, 2.0]}), [0, 1])
