"""Progress bars and ``verbose``: how far a fit is, what they print and where."""

import itertools
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from xentlearn import SoftmaxClassifier
from xentlearn._estimator import progress
from xentlearn._estimator.progress import Share
from xentlearn._solvers.stopping import Result
from xentlearn.blocks import NpyBlocks
from xentlearn.callbacks import ProgressBar
from xentlearn.solvers import Adam


@pytest.fixture
def problem(rng):
    X = rng.normal(size=(400, 12)) * np.geomspace(0.1, 10, 12)
    z = X[:, :4] / X[:, :4].std(axis=0) + rng.gumbel(size=(400, 4))
    return X, z.argmax(axis=1)


# --- How much is done -----------------------------------------------------------------------------


def shares(gaps, tol=1e-4, sizes=(1,), n_epochs=None, group=0):
    """Of a solver that records these gaps."""
    share, result, found = Share(list(sizes), tol, n_epochs), Result(None, 1.0), []
    for n_iter, gap in enumerate(gaps):
        result.n_iter, result.gap = n_iter, gap
        result.record(0.0)
        found.append(share.after(group, result))
    return found


def test_digits_of_the_gap():
    np.testing.assert_allclose(shares([1.0, 0.1, 0.01, 1e-3]), [0, 0.25, 0.5, 0.75])
    np.testing.assert_allclose(shares([0.1, 1e-2], tol=1e-5), [0, 0.25])


def test_never_backwards_and_never_done():
    found = shares([1.0, 0.01, 5.0, np.inf, 0.1, 1e-9, 1.0])
    np.testing.assert_allclose(found, [0, 0.5, 0.5, 0.5, 0.5, 0.99, 0.99])


def test_what_is_not_known():
    assert shares([np.inf, np.inf]) == [None, None]
    assert shares([np.inf, 1.0, 0.01]) == [None, 0.0, 0.5]
    assert shares([1e-6, 1e-7]) == [None, None]  # it begins within the tolerance
    assert shares([np.inf] * 3, n_epochs=4) == [0.0, 0.25, 0.5]
    assert np.all(np.array(shares([1.0, 1e-10], tol=0)) < 1)


def test_groups():
    sizes = (32, 16, 16)
    np.testing.assert_allclose(shares([1.0, 0.01], sizes=sizes), [0, 0.25])
    np.testing.assert_allclose(shares([np.inf, 1.0, 0.01], sizes=sizes, group=1), [0.5, 0.5, 0.625])


def test_the_time_that_is_left(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: 130.0)
    assert progress._time(100.0, 0.01) == ""
    assert progress._time(100.0, 0.25) == "about 0:01:30 left"
    assert progress._time(100.0, 0.99) == "about 0:00:01 left"
    assert progress._time(100.0, 1.0) == "0:00:30"


# --- What a fit shows -----------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch):
    """A list of what is drawn: ("read", n_done, n_all) or (text, share)."""
    pytest.importorskip("rich")
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")
    found, show, read = [], progress._Drawing.show, progress._Drawing.read

    def note(self, text, share):
        found.append((text, share))
        show(self, text, share)

    def note_reading(self, n_done, n_all):
        found.append(("read", n_done, n_all))
        read(self, n_done, n_all)

    monkeypatch.setattr(progress._Drawing, "show", note)
    monkeypatch.setattr(progress._Drawing, "read", note_reading)
    return found


def assert_forwards(shown):
    assert shown[0] == ("preparing", None)
    assert shown[-1][1] == 1.0
    known = [share for _, share in shown if share is not None]
    assert all(one <= two for one, two in itertools.pairwise(known))
    assert all(share < 1 for share in known[:-1])


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky"])
def test_iterations(solver, problem, shown, set_rules):
    set_rules(polished_work=0, small_work=0)
    clf = SoftmaxClassifier(solver=solver, C=10.0).set_callbacks(ProgressBar()).fit(*problem)
    assert_forwards(shown)
    assert [text for text, _ in shown] == [
        "preparing",
        *[f"{solver}, iteration {n}" for n in range(clf.n_iter_[0] + 1)],
        f"{solver}, {clf.n_iter_[0]} iterations",
    ]
    assert shown[-2][1] > 0.5  # the gap has nearly reached `tol`
    np.testing.assert_array_equal(
        clf.coef_, SoftmaxClassifier(solver=solver, C=10.0).fit(*problem).coef_
    )


def test_epochs(problem, shown):
    clf = SoftmaxClassifier(solver=Adam(batch_size=50), max_iter=4, random_state=0)
    clf.set_callbacks(ProgressBar()).fit(*problem)
    assert_forwards(shown)
    found = [(f"adam, epoch {n} of 4", min(n / 4, 0.99)) for n in range(5)]
    assert shown[1:] == [*found, ("adam, 4 epochs", 1.0)]


def test_epochs_of_which_nobody_knows_how_many(problem, shown):
    clf = SoftmaxClassifier(solver="adam", tol=0.1, n_iter_no_change=2, random_state=0)
    clf.set_callbacks(ProgressBar()).fit(*problem)
    assert clf.stop_reason_ == "estimated"
    assert {share for _, share in shown[:-1]} == {None}
    assert shown[2][0] == "adam, epoch 1"
    assert shown[-1] == (f"adam, {clf.n_iter_[0]} epochs", 1.0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_groups_of_labels(rng, shown, set_rules):
    """Also if all of them together take more iterations than one may."""
    set_rules(polished_work=0, small_work=0, grouped=0, group_numbers=16 * 30)
    X = sparse.random(300, 30, density=0.3, format="csr", rng=rng)
    Y = 1.0 * (X @ rng.normal(size=(30, 40)) + rng.logistic(size=(300, 40)) > 0)
    clf = SoftmaxClassifier(solver="lbfgs", max_iter=3).set_callbacks(ProgressBar()).fit(X, Y)
    n_groups = len(clf.plan_.outline.groups)
    assert n_groups > 1
    assert_forwards(shown)
    for i, group in enumerate(clf.plan_.outline.groups):
        texts = [text for text, _ in shown if text.startswith(f"group {i + 1} of {n_groups}, ")]
        assert texts[0] == f"group {i + 1} of {n_groups}, {group.solver}, iteration 0"
        first = next(share for text, share in shown if text == texts[0])
        assert first >= sum(g.n_outputs for g in clf.plan_.outline.groups[:i]) / 40


def test_reading_of_blocks(problem, shown, tmp_path):
    X, y = problem
    for i in range(5):
        np.save(tmp_path / f"{i}.npy", X[80 * i : 80 * (i + 1)])
    SoftmaxClassifier().set_callbacks(ProgressBar()).fit(NpyBlocks(tmp_path), y)
    assert shown[:5] == [("read", n, 5) for n in range(1, 6)]
    assert_forwards(shown[5:])


def test_of_another_kind_of_end(problem, shown):
    """A fit of constants, and one that a callback stops."""
    X, _ = problem
    with pytest.warns(UserWarning, match="constant"):
        SoftmaxClassifier().set_callbacks(ProgressBar()).fit(X, np.zeros((400, 3)))
    assert_forwards(shown)


def test_bars_end_when_a_fit_fails(problem, shown):
    X, y = problem
    bar, n_threads = ProgressBar(), threading.active_count()
    clf = SoftmaxClassifier().set_callbacks(bar)
    with pytest.raises(ValueError, match="NaN"):
        clf.fit(np.full_like(X, np.nan), y)
    assert not bar._of_fits
    until = time.monotonic() + 10
    while threading.active_count() > n_threads:  # rich does not wait for its thread
        assert time.monotonic() < until
        time.sleep(0.01)
    clf.fit(X, y)
    assert shown[-1][1] == 1.0


def test_copies(problem, shown):
    clf = SoftmaxClassifier().set_callbacks(ProgressBar()).fit(*problem)
    for copy in (clone(clf), pickle.loads(pickle.dumps(clf))):
        shown.clear()
        copy.fit(*problem)
        assert_forwards(shown)


def test_rich_is_needed(monkeypatch):
    monkeypatch.setattr(progress, "progress", None)
    with pytest.raises(ImportError, match=r"needs 'rich'.*pip install rich"):
        ProgressBar()


SCRIPT = """
import sys
import numpy as np
from xentlearn import SoftmaxClassifier
from xentlearn.callbacks import ProgressBar
rng = np.random.default_rng(0)
X = rng.normal(size=(2000, 30))
y = (X[:, :4] + rng.gumbel(size=(2000, 4))).argmax(axis=1)
clf = SoftmaxClassifier(solver="lbfgs", verbose=int(sys.argv[1])).set_callbacks(ProgressBar())
clf.fit(X, y)
print("END", clf.n_iter_[0])
"""


def test_piped():
    """One line of plain text, and the lines of ``verbose`` as without a bar."""
    pytest.importorskip("rich")
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")
    for verbose in (0, 1):
        command = [sys.executable, "-c", SCRIPT, str(verbose)]
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(command, capture_output=True, env=environment, check=True)
        text = done.stdout.decode()
        assert not done.stderr
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text.replace("\r\n", "\n"))
        *before, bar, end = text.splitlines()
        assert re.fullmatch(r"lbfgs, \d+ iterations .*100% 0:00:\d\d *", bar)
        assert end == f"END {re.search(r'[0-9]+', bar)[0]}"
        assert bool(before) == bool(verbose)


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of its own needs POSIX")
def test_on_a_terminal():
    """The bar is drawn over itself."""
    pytest.importorskip("rich")
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", SCRIPT, "0"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        text = b""
        while True:
            try:
                part = os.read(ours, 10_000)
            except OSError:  # the end, on Linux
                break
            if not part:
                break
            text += part
    os.close(ours)
    assert process.returncode == 0
    lines = text.decode()
    assert "100%" in lines
    assert "\x1b[2K" in lines  # a line that is erased and drawn again
    assert re.search(r"\r?\n[^\n]*END \d+\s*$", lines)  # on a line of its own


@pytest.mark.filterwarnings("error")
def test_in_a_notebook_without_widgets(problem, monkeypatch, capsys):
    """It is plain text, without rich's warnings that ipywidgets are missing."""
    console = pytest.importorskip("rich.console")
    pytest.importorskip("sklearn.callback", reason="scikit-learn is older than 1.9")
    monkeypatch.setattr(console, "_is_jupyter", lambda: True)
    monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)  # as ipykernel has it
    SoftmaxClassifier().set_callbacks(ProgressBar()).fit(*problem)
    [line] = capsys.readouterr().out.splitlines()
    assert "100%" in line
    assert "\x1b" not in line


# --- verbose --------------------------------------------------------------------------------------


def printed(capsys, *arguments, **parameters):
    """Lines of ``verbose=1`` after those of the plan, and the estimator."""
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf = SoftmaxClassifier(verbose=1, **parameters).fit(*arguments[:2], None, *arguments[2:])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Plan: ")
    return [line for line in lines[1:] if not line.startswith("- ")], clf


NUMBER = r"[0-9.e+-]+"


def test_lines_of_iterations(problem, capsys):
    lines, clf = printed(capsys, *problem, solver="lbfgs")
    assert len(lines) == clf.n_iter_[0] + 2
    for n, line in enumerate(lines[:-1]):
        pattern = rf"iteration +{n}   objective {NUMBER}   (estimated gap {NUMBER}   )?{NUMBER} s"
        assert re.fullmatch(pattern, line)
    reasons = "the gap reached 'tol'|no further progress at floating-point precision"
    pattern = (
        rf"Stopped after {clf.n_iter_[0]} iterations: ({reasons})   certified gap {NUMBER}   "
        rf"{NUMBER} s in all"
    )
    assert re.fullmatch(pattern, lines[-1])


def test_lines_of_epochs(problem, capsys):
    X, y = problem
    lines, clf = printed(capsys, X, y, X[:50], y[:50], solver="adam", max_iter=3)
    losses = clf.history_["validation_loss"]
    for n, line in enumerate(lines[:-1]):
        pattern = rf"epoch +{n}   objective {NUMBER}   validation loss {losses[n]:.6f}   {NUMBER} s"
        assert re.fullmatch(pattern, line)
    assert lines[-1].startswith("Stopped after 3 epochs: reached 'max_iter'   certified gap ")


def test_lines_of_groups(rng, capsys, set_rules):
    set_rules(polished_work=0, small_work=0, grouped=0, group_numbers=16 * 30)
    X = sparse.random(300, 30, density=0.3, format="csr", rng=rng)
    Y = 1.0 * (X @ rng.normal(size=(30, 40)) + rng.logistic(size=(300, 40)) > 0)
    lines, clf = printed(capsys, X, Y, solver="lbfgs")
    n_groups = len(clf.plan_.outline.groups)
    for i in range(n_groups):
        begin = f"group {i + 1} of {n_groups}   iteration    0   "
        assert sum(line.startswith(begin) for line in lines) == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"early_stopping": True, "n_iter_no_change": 1, "C": 1e6}, "validation loss stopped"),
        ({"solver": "adam", "tol": 0.5, "n_iter_no_change": 1}, "the objective stopped falling"),
        ({"solver": "lbfgs", "max_iter": 1, "C": np.inf}, "reached 'max_iter'   no certified gap"),
    ],
)
def test_why_it_stopped(parameters, words, problem, capsys):
    lines, _ = printed(capsys, *problem, **parameters, random_state=0)
    assert words in lines[-1]


def test_seconds_include_the_reading_of_X(problem, capsys):
    X, y = problem

    class Slow:
        shape, dtype, lengths = X.shape, X.dtype, [len(X)]

        def read(self, i):
            time.sleep(0.2)
            return X

    lines, clf = printed(capsys, Slow(), y, solver="lbfgs")
    first, last = (float(re.search(rf"({NUMBER}) s", line)[1]) for line in (lines[0], lines[-1]))
    assert first >= 0.2
    assert last > clf.history_["seconds"][-1] + 0.2
