"""Checkpoints: a fit that was stopped goes on with the same bits; files are whole or refused."""

import errno
import io
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from scipy import sparse

from xentlearn import SoftmaxClassifier
from xentlearn._data.dataset import MemoryData
from xentlearn._data.targets import encode_y
from xentlearn._estimator.callbacks import FitCallbacks
from xentlearn._utils import archive
from xentlearn.callbacks import Checkpoint
from xentlearn.losses import GeneralizedCrossentropy
from xentlearn.solvers import LBFGS, SGD, Adam

pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")

ATTRIBUTES = ("coef_", "intercept_", "objective_", "optimality_gap_", "n_iter_")


def refused(path):
    """Context in which the checkpoint at a path has to be refused, as one of another fit."""
    begin = re.escape(f"The checkpoint {str(path)!r} is of another fit: ")
    end = "; delete it to start anew, or use another path, such as that of a directory, .+"
    return pytest.raises(ValueError, match=f"^{begin}.+{end}$")


class StopAt(Checkpoint):
    """Writes after every iteration, and raises in one of them before that."""

    def __init__(self, path, n_writes, error=KeyboardInterrupt):
        super().__init__(path, seconds=0)
        self.n_left, self.error = n_writes, error

    def on_fit_task_end(self, estimator, context):
        self.n_left -= 1
        if self.n_left < 0:
            raise self.error
        super().on_fit_task_end(estimator, context)


def make_data(rng, n=400, n_features=12, n_classes=4):
    X = rng.normal(size=(n, n_features)) * np.geomspace(0.01, 100, n_features)
    z = X[:, :n_classes] / X[:, :n_classes].std(axis=0) + rng.gumbel(size=(n, n_classes))
    return X, z.argmax(axis=1)


def assert_same(one, two):
    for name in ATTRIBUTES:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert one.history_.keys() == two.history_.keys()
    for name in one.history_:
        if name != "seconds":
            np.testing.assert_array_equal(one.history_[name], two.history_[name], err_msg=name)
    assert (np.diff(two.history_["seconds"]) >= 0).all()
    assert one.stop_reason_ == two.stop_reason_


PROBLEMS = {
    "polished": {},
    "lbfgs": {"solver": "lbfgs"},
    "history of one step": {"solver": "lbfgs", "tol": 1e-9},
    "newton-cg": {"solver": "newton-cg"},
    "newton-cholesky": {"solver": "newton-cholesky"},
    "separable": {"C": np.inf, "solver": "lbfgs"},
    "adam": {"solver": Adam(batch_size=50), "max_iter": 30, "tol": 0, "random_state": 0},
    "sgd": {
        "solver": SGD(schedule="adaptive", batch_size=50),
        "n_iter_no_change": 2,
        "random_state": 0,
    },
    "early stopping": {"early_stopping": True, "C": 100.0, "random_state": 3},
    "not convex": {"loss": GeneralizedCrossentropy(), "C": 10.0},
    "l1": {"l1_ratio": 1.0},
    "elastic net": {"l1_ratio": 0.5, "tol": 1e-9},
    "grouped": {"l1_ratio": 1.0, "grouped": True},
    "bounds": {"coef_bounds": (0.0, 0.5), "penalty_factor": [0.0, 1.0, np.inf] * 4},
    "l1, early stopping": {"l1_ratio": 1.0, "early_stopping": True, "random_state": 3},
    "l1, not convex": {"l1_ratio": 1.0, "loss": GeneralizedCrossentropy(), "C": 10.0},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("polish", [True, False])
@pytest.mark.parametrize("name", PROBLEMS)
def test_resumes_with_the_same_bits(name, polish, rng, tmp_path, set_rules):
    if not polish:  # paths, blocks and certificates of large problems, on a small one
        set_rules(polished_work=0, small_work=0, hessian_work=0, tiny_hessian=0)
    if name == "history of one step":
        set_rules(many_classes=2, many_coefficients=0)
    X, y = make_data(rng)
    clf = SoftmaxClassifier(**PROBLEMS[name])
    whole = SoftmaxClassifier(**PROBLEMS[name]).fit(X, y)
    n_iter = int(whole.n_iter_[0])
    assert n_iter >= 2
    for stop in sorted({1, 2, n_iter // 2, n_iter - 1}):
        path = tmp_path / f"{stop}.checkpoint"
        with pytest.raises(KeyboardInterrupt):
            clf.set_callbacks(StopAt(path, stop)).fit(X, y)
        assert path.exists()
        clf.set_callbacks(Checkpoint(path)).fit(X, y)
        assert_same(whole, clf)


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "adam"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_more_iterations(solver, rng, tmp_path):
    X, y = make_data(rng)
    setting = Adam(shuffle=False) if solver == "adam" else solver
    whole = SoftmaxClassifier(solver=setting, max_iter=6, tol=0).fit(X, y)
    clf = SoftmaxClassifier(solver=setting, max_iter=3, tol=0)
    clf.set_callbacks(Checkpoint(tmp_path / "file", seconds=0)).fit(X, y)
    assert clf.n_iter_[0] == 3
    clf.set_params(max_iter=6).fit(X, y)
    assert_same(whole, clf)


def test_groups_of_outputs(rng, tmp_path, set_rules):
    set_rules(small_work=0, grouped=0, group_numbers=16 * 30)
    X = sparse.random(300, 30, density=0.3, format="csr", rng=rng)
    Y = 1.0 * (X @ rng.normal(size=(30, 40)) + rng.logistic(size=(300, 40)) > 0)
    whole = SoftmaxClassifier(solver="lbfgs").fit(X, Y)
    for stop in (1, 3, len(whole.history_["objective"]) + 2):
        path = tmp_path / str(stop)
        clf = SoftmaxClassifier(solver="lbfgs").set_callbacks(StopAt(path, stop))
        with pytest.raises(KeyboardInterrupt):
            clf.fit(X, Y)
        clf.set_callbacks(Checkpoint(path)).fit(X, Y)
        assert_same(whole, clf)


def test_a_fit_that_was_done(rng, tmp_path):
    X, y = make_data(rng)
    clf = SoftmaxClassifier().set_callbacks(Checkpoint(tmp_path / "file", 0)).fit(X, y)
    assert (tmp_path / "file").exists()
    before = {name: getattr(clf, name) for name in ATTRIBUTES}
    clf.fit(X, y)
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(clf, name), value)


def test_a_killed_process(tmp_path, rng):
    """Killed without a word, many times; what is there at the end is what one fit gives."""
    X, y = make_data(rng, n=3000, n_features=30)
    np.savez(tmp_path / "data.npz", X=X, y=y)
    script = textwrap.dedent(
        """
        import sys
        import numpy as np
        from xentlearn import SoftmaxClassifier
        from xentlearn.callbacks import Checkpoint

        class Loud(Checkpoint):
            def on_fit_task_end(self, estimator, context):
                super().on_fit_task_end(estimator, context)
                print("iteration", flush=True)

        data = np.load(sys.argv[1])
        clf = SoftmaxClassifier(solver="adam", max_iter=12, tol=0, random_state=0)
        clf.set_callbacks(Loud(sys.argv[2], seconds=0)).fit(data["X"], data["y"])
        np.savez(sys.argv[3], coef=clf.coef_)
        """
    )
    command = [sys.executable, "-W", "ignore", "-c", script]
    command += [str(tmp_path / name) for name in ("data.npz", "file", "result.npz")]
    for n_seen in (2, 4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for _ in range(n_seen):
                assert process.stdout.readline() == "iteration\n"
            os.kill(process.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    subprocess.run(command, check=True, capture_output=True)
    clf = SoftmaxClassifier(solver="adam", max_iter=12, tol=1e-300, random_state=0).fit(X, y)
    np.testing.assert_array_equal(np.load(tmp_path / "result.npz")["coef"], clf.coef_)


@pytest.mark.parametrize(
    "change",
    [
        lambda X, y: {"X": X + 1.0, "y": y},
        lambda X, y: {"X": X, "y": np.where(y == 1, 2, y)},
        lambda X, y: {"X": X, "y": y, "sample_weight": np.linspace(1, 2, len(y))},
        lambda X, y: {"X": X[:, 1:], "y": y},
        lambda X, y: {"X": X, "y": np.minimum(y, 2)},
    ],
)
def test_another_fit_is_refused(change, rng, tmp_path):
    X, y = make_data(rng)
    clf = SoftmaxClassifier(solver="lbfgs").set_callbacks(Checkpoint(tmp_path / "file", 0))
    clf.fit(X, y)
    with refused(tmp_path / "file"):
        clf.fit(**change(X, y))
    for parameter in (
        {"C": 2.0},
        {"solver": "newton-cg"},
        {"solver": LBFGS(history_size=5)},
        {"loss": GeneralizedCrossentropy()},
        {"fit_intercept": False},
    ):
        other = SoftmaxClassifier(**{"solver": "lbfgs", **parameter})
        with refused(tmp_path / "file"):
            other.set_callbacks(Checkpoint(tmp_path / "file")).fit(X, y)


OF_PENALTY = {"l1_ratio": 1.0, "penalty_factor": [1.0, 2.0] * 6, "coef_bounds": (-1.0, 1.0)}


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"l1_ratio": 0.5}, "l1_ratio"),
        ({"grouped": True}, "grouped"),
        ({"penalty_factor": [2.0, 1.0] * 6}, "checksum of penalty_factor"),
        ({"penalty_factor": None}, "checksum of penalty_factor"),
        ({"coef_bounds": (-1.0, 0.5)}, "checksum of coef_bounds"),
        ({"coef_bounds": (-0.5, np.full(12, 1.0))}, "checksum of coef_bounds"),
        ({"coef_bounds": None}, "checksum of coef_bounds"),
        ({"l1_ratio": 0.0, "penalty_factor": None, "coef_bounds": None}, "l1_ratio"),
    ],
)
def test_another_penalty_is_refused_by_name(change, name, rng, tmp_path):
    X, y = make_data(rng)
    path = tmp_path / "file"
    clf = SoftmaxClassifier(**OF_PENALTY).set_callbacks(Checkpoint(path, 0)).fit(X, y)
    other = SoftmaxClassifier(**{**OF_PENALTY, **change}).set_callbacks(Checkpoint(path))
    with pytest.raises(ValueError, match=f"of another fit: its {name} is "):
        other.fit(X, y)
    # the same penalty, in other words
    same = {**OF_PENALTY, "penalty_factor": np.tile([1, 2], 6), "coef_bounds": [-np.ones(12), 1]}
    again = SoftmaxClassifier(**same).set_callbacks(Checkpoint(path)).fit(X, y)
    assert_same(clf, again)


def test_a_smooth_penalty_is_another_fit_than_a_sparse_one(rng, tmp_path):
    X, y = make_data(rng)
    path = tmp_path / "file"
    SoftmaxClassifier().set_callbacks(Checkpoint(path, 0)).fit(X, y)
    with pytest.raises(ValueError, match="of another fit: its l1_ratio is 0.0, and that of this"):
        SoftmaxClassifier(l1_ratio=0.5).set_callbacks(Checkpoint(path)).fit(X, y)


def test_other_rows_to_stop_by_are_another_fit(rng, tmp_path):
    X, y = make_data(rng)
    judges = {"X_val": X[:50], "y_val": y[:50]}

    def fit(early_stopping=True, **judges):
        clf = SoftmaxClassifier(solver="lbfgs", early_stopping=early_stopping)
        return clf.set_callbacks(Checkpoint(tmp_path / "file", 0)).fit(X, y, **judges)

    fit(**judges)
    for other in (
        {**judges, "y_val": np.roll(y[:50], 1)},
        {**judges, "X_val": X[:50] + 1},
        {"early_stopping": False},
    ):
        with refused(tmp_path / "file"):
            fit(**other)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_a_random_state(solver, rng, tmp_path):
    """What was drawn when the fit began is drawn again."""
    X, y = make_data(rng)
    parameters = {"solver": solver, "early_stopping": True, "tol": 1e-12, "max_iter": 60}
    clf = SoftmaxClassifier(**parameters)
    with pytest.raises(KeyboardInterrupt):
        clf.set_callbacks(StopAt(tmp_path / "file", 2)).fit(X, y)
    n_judged = len(clf.history_["validation_loss"])
    clf.set_callbacks(Checkpoint(tmp_path / "file")).fit(X, y)
    judged = clf.history_["validation_loss"]
    assert len(judged) == len(clf.history_["objective"]) > n_judged
    # a fit that was done by early stopping does not go on
    clf = SoftmaxClassifier(**parameters).set_callbacks(Checkpoint(tmp_path / "other", 0))
    first = clf.fit(X, y).history_["validation_loss"]
    np.testing.assert_array_equal(clf.fit(X, y).history_["validation_loss"], first)


def test_a_shuffled_y_is_another_fit(rng, tmp_path):
    """Its class weight sums are the same."""
    X, y = make_data(rng)
    clf = SoftmaxClassifier().set_callbacks(Checkpoint(tmp_path / "file", 0)).fit(X, y)
    with refused(tmp_path / "file"):
        clf.fit(X, rng.permutation(y))


@pytest.mark.parametrize(
    "parameter", [{"tol": 1e-6}, {"tol": 0.1}, {"max_iter": 200}, {"verbose": 1}]
)
def test_parameters_that_may_change(parameter, rng, tmp_path):
    X, y = make_data(rng)
    clf = SoftmaxClassifier(solver="lbfgs", tol=1e-3).set_callbacks(StopAt(tmp_path / "file", 4))
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)
    clf.set_params(**parameter).set_callbacks(Checkpoint(tmp_path / "file")).fit(X, y)
    assert clf.n_iter_[0] >= 4


def callbacks_of(path, random_state):
    X, y = np.eye(2), [0, 1]
    clf = SoftmaxClassifier().set_callbacks(Checkpoint(path))
    callbacks = FitCallbacks(clf, X, y, None, (None, None), False, False)
    callbacks.begin(MemoryData(X), encode_y(y, 2, "auto"), random_state)
    return callbacks


def test_the_error_of_another_fit_names_the_file(rng, tmp_path):
    X, y = make_data(rng)
    path = tmp_path / "file"
    SoftmaxClassifier().set_callbacks(Checkpoint(path, 0)).fit(X, y)
    callbacks = callbacks_of(path, np.random.RandomState(0))
    with refused(path) as caught, callbacks.resuming():
        raise archive.AnotherFit("its 'C' is 2.0, and that of this fit is 1.0")
    message = (
        f"{str(path)!r} is of another fit: its 'C' is 2.0, and that of this fit is 1.0; delete it"
    )
    assert message in str(caught.value)


def test_random_states_of_other_kinds(rng, tmp_path):
    """A checkpoint goes on with numbers of the same bit generator, and with no other."""
    X, y = make_data(rng)
    path = tmp_path / "file"
    parameters = {"solver": "adam", "max_iter": 5, "tol": 1e-300}

    def fit(callback, bit_generator):
        clf = SoftmaxClassifier(**parameters, random_state=np.random.RandomState(bit_generator))
        return clf.set_callbacks(callback).fit(X, y)

    whole = fit(Checkpoint(tmp_path / "other"), np.random.PCG64(3))
    with pytest.raises(KeyboardInterrupt):
        SoftmaxClassifier(
            **parameters, random_state=np.random.RandomState(np.random.PCG64(3))
        ).set_callbacks(StopAt(path, 2)).fit(X, y)
    assert_same(whole, fit(Checkpoint(path), np.random.PCG64(4)))
    with refused(path):
        SoftmaxClassifier(**parameters).set_callbacks(Checkpoint(path)).fit(X, y)


def test_the_global_random_numbers_are_left_alone(rng, tmp_path):
    """A fit that goes on puts back its own random state, not the one that the program shares."""
    X, y = make_data(rng)
    clf = SoftmaxClassifier(early_stopping=True).set_callbacks(Checkpoint(tmp_path / "file", 0))
    clf.fit(X, y)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    clf.fit(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# --- Damaged files --------------------------------------------------------------------------------


def assert_refused(path, match="must be a checkpoint of a fit, and .*delete it to start anew"):
    """By an error that names the file."""
    with pytest.raises(ValueError, match=match) as caught:
        Checkpoint(path).read()
    assert repr(str(path)) in str(caught.value)


ARCHIVE = io.BytesIO()
archive.dump({"a": 1}, ARCHIVE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint",
        pickle.dumps({"a": 1}),
        pickle.dumps({"xentlearn": 1, "snapshot": b""}),
        ARCHIVE.getvalue()[:-1],
    ],
)
def test_a_bad_file_is_refused(content, rng, tmp_path):
    X, y = make_data(rng)
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="must be a checkpoint.*delete it to start anew"):
        SoftmaxClassifier().set_callbacks(Checkpoint(path)).fit(X, y)
    assert_refused(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "adam"])
def test_damaged_files_are_refused(solver, rng, tmp_path):
    """Changed bits, bytes, disk sectors and sizes, of the header and of the rest."""
    X, y = make_data(rng)
    path = tmp_path / "file"
    with pytest.raises(KeyboardInterrupt):
        SoftmaxClassifier(solver=solver).set_callbacks(StopAt(path, 2)).fit(X, y)
    content = path.read_bytes()
    size = len(content)
    for i in range(120):
        position = i if i < 60 else rng.integers(size)
        changed = bytearray(content)
        changed[position] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        assert_refused(path)
        path.write_bytes(content[:position])
        assert_refused(path)
        path.write_bytes(content[:position] + rng.bytes(512) + content[position + 512 :])
        assert_refused(path)
    path.write_bytes(content + b"\0")
    assert_refused(path)
    path.write_bytes(content)
    assert Checkpoint(path).read() is not None


def test_another_version_is_refused(rng, tmp_path, monkeypatch):
    X, y = make_data(rng)
    path = tmp_path / "file"
    clf = SoftmaxClassifier().set_callbacks(Checkpoint(path, 0)).fit(X, y)
    version = archive.VERSION
    monkeypatch.setattr(archive, "VERSION", version + 1)
    message = f"has version {version}, and this xentlearn reads {version + 1} alone; delete it"
    with pytest.raises(ValueError, match=message):
        clf.fit(X, y)
    assert_refused(path, message)


def test_an_archive_of_something_else(rng, tmp_path):
    X, y = make_data(rng)
    (tmp_path / "file").write_bytes(ARCHIVE.getvalue())
    with refused(tmp_path / "file"):
        SoftmaxClassifier().set_callbacks(Checkpoint(tmp_path / "file")).fit(X, y)


class Exploit:
    def __reduce__(self):
        return pytest.fail, ("code was run",)


def test_no_code_is_run(tmp_path):
    (tmp_path / "file").write_bytes(pickle.dumps({"xentlearn": 1, "snapshot": Exploit()}))
    assert_refused(tmp_path / "file")


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need a privilege on Windows")
def test_a_file_that_cannot_be_read(rng, tmp_path):
    X, y = make_data(rng)
    path = tmp_path / "file"
    path.symlink_to(path)  # unlike missing permissions, this stops an administrator as well
    with pytest.raises(OSError, match="checkpoint cannot be read.*use another path") as caught:
        SoftmaxClassifier().set_callbacks(Checkpoint(path)).fit(X, y)
    assert repr(str(path)) in str(caught.value)


# --- Writes that fail -----------------------------------------------------------------------------


def full_on_fsync(monkeypatch, tmp_path):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)


def full_on_replace(monkeypatch, tmp_path):
    def full(source, target):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "replace", full)


def full_device(monkeypatch, tmp_path):
    """Each write to the temporary file fails, as Linux has a device for that."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")

    def make(suffix, prefix, directory):
        name = os.path.join(directory, prefix + "x" + suffix)
        open(name, "wb").close()
        return os.open("/dev/full", os.O_WRONLY), name

    monkeypatch.setattr("tempfile.mkstemp", make)


def no_permission(monkeypatch, tmp_path):
    def refuse(suffix, prefix, directory):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(directory))

    monkeypatch.setattr("tempfile.mkstemp", refuse)


@pytest.mark.parametrize("fail", [full_on_fsync, full_on_replace, full_device, no_permission])
def test_a_write_that_fails_warns_and_the_fit_goes_on(fail, rng, tmp_path, monkeypatch):
    X, y = make_data(rng)
    path = tmp_path / "file"
    whole = SoftmaxClassifier().fit(X, y)
    with pytest.raises(KeyboardInterrupt):
        SoftmaxClassifier().set_callbacks(StopAt(path, 2)).fit(X, y)
    before = path.read_bytes()

    with monkeypatch.context() as patch:
        fail(patch, tmp_path)
        clf = SoftmaxClassifier().set_callbacks(Checkpoint(path, seconds=0))
        with pytest.warns(RuntimeWarning, match="could not be written.*The fit goes on") as caught:
            clf.fit(X, y)
    assert len(caught) == 1
    assert repr(str(path)) in str(caught[0].message)
    assert caught[0].filename == __file__
    assert_same(whole, clf)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]
    clf.fit(X, y)  # once more, with space: without a warning, and the file is a new one
    assert_same(whole, clf)
    assert path.read_bytes() != before


def test_writes_are_tried_again(rng, tmp_path, monkeypatch):
    X, y = make_data(rng)
    path, n_syncs, sync = tmp_path / "file", 0, os.fsync

    def full_at_first(descriptor):
        nonlocal n_syncs
        n_syncs += 1
        if n_syncs <= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full_at_first)
    clf = SoftmaxClassifier(solver="lbfgs").set_callbacks(Checkpoint(path, seconds=0))
    with pytest.warns(RuntimeWarning, match="No space left") as caught:
        clf.fit(X, y)
    assert len(caught) == 1
    assert n_syncs == clf.n_iter_[0] > 3
    assert Checkpoint(path).read() is not None
    path.unlink()
    n_syncs = 0  # another fit with the same callback warns again
    with pytest.warns(RuntimeWarning, match="No space left") as caught:
        clf.fit(X, y)
    assert len(caught) == 1


def test_a_directory_that_is_removed(rng, tmp_path):
    X, y = make_data(rng)

    class Remove(Checkpoint):
        def on_fit_task_end(self, estimator, context):
            if self.path.parent.exists() and self.path.exists():
                shutil.rmtree(self.path.parent)
            super().on_fit_task_end(estimator, context)

    directory = tmp_path / "directory"
    directory.mkdir()
    clf = SoftmaxClassifier(solver="lbfgs").set_callbacks(Remove(directory / "file", 0))
    with pytest.warns(RuntimeWarning, match="could not be written") as caught:
        clf.fit(X, y)
    assert len(caught) == 1
    np.testing.assert_array_equal(SoftmaxClassifier(solver="lbfgs").fit(X, y).coef_, clf.coef_)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_write_keeps_the_old_file(error, rng, tmp_path, monkeypatch):
    X, y = make_data(rng)
    path = tmp_path / "file"
    with pytest.raises(KeyboardInterrupt):
        SoftmaxClassifier().set_callbacks(StopAt(path, 2)).fit(X, y)
    before = path.read_bytes()

    def interrupt(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(error):
        SoftmaxClassifier().set_callbacks(Checkpoint(path, seconds=0)).fit(X, y)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file"]


def test_time_between_writes(rng, tmp_path, monkeypatch):
    X, y = make_data(rng)
    times = iter(range(10_000))
    monkeypatch.setattr("time.monotonic", lambda: 10.0 * next(times))
    writes = []
    monkeypatch.setattr(Checkpoint, "write", lambda self, tree: writes.append(tree))
    clf = SoftmaxClassifier(solver="lbfgs").set_callbacks(Checkpoint(tmp_path / "file", 35))
    clf.fit(X, y)
    assert clf.n_iter_[0] / 5 <= len(writes) <= clf.n_iter_[0] / 2


@pytest.mark.parametrize("seconds", [-1, "often", True, np.nan])
def test_parameters(seconds, tmp_path):
    with pytest.raises(ValueError, match="'seconds' must be"):
        Checkpoint(tmp_path / "file", seconds)


def test_a_folder_that_does_not_exist(rng, tmp_path):
    X, y = make_data(rng)
    with pytest.raises(FileNotFoundError, match="does not exist; make it first"):
        SoftmaxClassifier().set_callbacks(Checkpoint(tmp_path / "no" / "file")).fit(X, y)


# --- A file for each fit of a directory -----------------------------------------------------------


def files_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_each_fit_has_a_file_of_its_own(rng, tmp_path):
    """Whatever differs, parameters that a file alone may change included."""
    X, y = make_data(rng)
    checkpoint = Checkpoint(tmp_path, np.float32(0))

    def files_after(X=X, y=y, sample_weight=None, **parameters):
        clf = SoftmaxClassifier(**{"solver": "lbfgs", **parameters}).set_callbacks(checkpoint)
        clf.fit(X, y, sample_weight)
        return files_in(tmp_path)

    [first] = files_after()
    assert re.fullmatch(r"[0-9a-f]+\.checkpoint", first)
    assert files_after(verbose=1) == [first]
    others = [
        {"X": X + 1},
        {"y": np.roll(y, 1)},
        {"sample_weight": np.linspace(1, 2, len(y))},
        {"C": 2.0},
        {"tol": 1e-3},
        {"max_iter": 2000},
        {"solver": "newton-cg"},
        {"solver": LBFGS(history_size=5)},
        {"loss": GeneralizedCrossentropy()},
        {"loss": GeneralizedCrossentropy(q=0.6)},
        {"class_weight": {0: 2.0}},
        {"random_state": 0},
        {"random_state": 1},
    ]
    for n, other in enumerate(others):
        assert len(files_after(**other)) == n + 2, other
        assert len(files_after(**other)) == n + 2, other


@pytest.mark.parametrize("name", ["lbfgs", "adam", "early stopping", "not convex"])
def test_a_fit_of_a_directory_continues(name, rng, tmp_path):
    X, y = make_data(rng)
    clf = SoftmaxClassifier(**PROBLEMS[name])
    whole = SoftmaxClassifier(**PROBLEMS[name]).fit(X, y)
    with pytest.raises(KeyboardInterrupt):
        clf.set_callbacks(StopAt(tmp_path, 3)).fit(X, y)
    counted = CountIterations()
    clf.set_callbacks(Checkpoint(tmp_path), counted).fit(X, y)
    assert counted.n_iterations < whole.n_iter_[0] + 1
    assert_same(whole, clf)


def test_a_fit_of_a_directory_without_a_random_state(rng, tmp_path):
    """Draws again what it had drawn."""
    X, y = make_data(rng)
    clf = SoftmaxClassifier(solver="adam", early_stopping=True, max_iter=9)
    with pytest.raises(KeyboardInterrupt):
        clf.set_callbacks(StopAt(tmp_path, 4)).fit(X, y)
    before = clf.history_["validation_loss"]
    clf.set_callbacks(Checkpoint(tmp_path)).fit(X, y)
    np.testing.assert_array_equal(clf.history_["validation_loss"][: len(before)], before)
    assert len(files_in(tmp_path)) == 1


def test_a_warm_start_does_not_read_the_file_of_the_first_fit(rng, tmp_path):
    X, y = make_data(rng)
    clf = SoftmaxClassifier(solver="lbfgs", warm_start=True)
    n_iter = clf.set_callbacks(Checkpoint(tmp_path, 0)).fit(X, y).n_iter_[0]
    assert clf.fit(X, y).n_iter_[0] < n_iter / 2


class CountIterations:
    """Counts the iterations that end."""

    def __init__(self):
        self.n_iterations = 0

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        self.n_iterations += context.task_name == "iteration"

    def teardown(self, estimator, context):
        pass


SEARCH = """
import sys
import time
import numpy as np
from sklearn.model_selection import GridSearchCV
from xentlearn import SoftmaxClassifier
from xentlearn.callbacks import Checkpoint

class Loud(Checkpoint):
    def on_fit_task_end(self, estimator, context):
        super().on_fit_task_end(estimator, context)
        with open(sys.argv[4], "a") as log:
            log.write("iteration\\n" if context.task_name == "iteration" else "fit\\n")
        time.sleep(0.01)  # so that a signal comes in time

data = np.load(sys.argv[1])
clf = SoftmaxClassifier(solver="lbfgs", tol=1e-6).set_callbacks(Loud(sys.argv[2], seconds=0))
search = GridSearchCV(clf, {"C": [0.1, 1.0, 10.0]}, cv=2, n_jobs=int(sys.argv[5]))
search.fit(data["X"], data["y"])
scores = search.cv_results_["mean_test_score"]
np.savez(sys.argv[3], scores=scores, coef=search.best_estimator_.coef_)
"""


@pytest.mark.slow
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_killed_grid_search(n_jobs, rng, tmp_path):
    """Started again, it does not repeat the iterations that it has done."""
    X, y = make_data(rng, n=500)
    np.savez(tmp_path / "data.npz", X=X, y=y)
    (tmp_path / "directory").mkdir()
    log = tmp_path / "log"

    def command(directory):
        names = [str(tmp_path / name) for name in ("data.npz", directory, f"{directory}.npz")]
        return [sys.executable, "-c", SEARCH, *names, str(log), str(n_jobs)]

    def n_iterations():
        return log.read_text().count("iteration") if log.exists() else 0

    (tmp_path / "whole").mkdir()
    subprocess.run(command("whole"), check=True, capture_output=True)
    n_whole = n_iterations()
    log.unlink()
    with subprocess.Popen(command("directory"), start_new_session=True) as process:
        while n_iterations() < n_whole // 2:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    n_before = n_iterations()
    log.unlink()
    subprocess.run(command("directory"), check=True, capture_output=True)
    assert n_before >= n_whole // 2
    assert 0 < n_iterations() < n_whole - n_before // 2
    whole, again = (np.load(tmp_path / f"{name}.npz") for name in ("whole", "directory"))
    for name in whole.files:
        np.testing.assert_array_equal(again[name], whole[name])
    assert len(files_in(tmp_path / "directory")) >= 7
