"""How many threads are used, which CPU target runs, the report of both, and the missing core."""

import os
import shutil
import sys
import time
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

import xentlearn
from scripts import output_of, run_python
from xentlearn import SoftmaxClassifier, _loss
from xentlearn._utils import _openmp, threads
from xentlearn._utils.threads import ThreadChoice, effective_n_threads
from xentlearn.losses import SparseCategoricalCrossentropy, sparse_categorical_crossentropy

PACKAGE = Path(xentlearn.__file__).resolve().parent
TARGETS = _loss.available_cpu_targets()

needs_openmp = pytest.mark.skipif(_openmp.version() == 0, reason="built without OpenMP")


@pytest.fixture
def restore_target():
    before = _loss.current_cpu_target()
    yield
    xentlearn.use_cpu_target(before)


# --- Number of threads ----------------------------------------------------------------------------

PRINT_N_THREADS = """
from xentlearn._utils.threads import effective_n_threads
print(effective_n_threads(), effective_n_threads(1), effective_n_threads(3))
"""


@cache
def counts(**environment):
    """``effective_n_threads`` of None, 1 and 3 in a new process."""
    return output_of(PRINT_N_THREADS, **environment).split()


@needs_openmp
@pytest.mark.parametrize("n_threads", [1, 2, 3, 16, np.int32(2), np.uint8(3)])
def test_explicit_number(n_threads):
    got = effective_n_threads(n_threads)
    assert got == n_threads
    assert type(got) is int


@pytest.mark.parametrize("n_threads", [0, -1, 1.0, 1.5, np.nan, "1", True, False, [1]])
def test_invalid_number(n_threads):
    for call in (
        effective_n_threads,
        lambda n: sparse_categorical_crossentropy([0], [[0.5, 0.5]], n_threads=n),
        lambda n: SparseCategoricalCrossentropy().loss([0], [[0.5, 0.5]], n_threads=n),
        lambda n: SparseCategoricalCrossentropy().predict_proba([[0.5, 0.5]], n_threads=n),
    ):
        with pytest.raises(ValueError, match="'n_threads' must be a positive integer or None") as e:
            call(n_threads)
        assert repr(n_threads) in str(e.value)


def test_none_takes_no_more_than_the_cores():
    assert 1 <= int(counts()[0]) <= joblib.cpu_count()
    assert counts()[1:] == (["1", "3"] if _openmp.version() else ["1", "1"])


@needs_openmp
def test_none_takes_all_the_physical_cores():
    assert counts()[0] == str(joblib.cpu_count(only_physical_cores=True))


@needs_openmp
def test_none_takes_no_more_than_joblib_leaves(monkeypatch):
    monkeypatch.setattr(threads, "_is_chosen", False)
    monkeypatch.setattr(joblib, "cpu_count", lambda only_physical_cores: 1)
    monkeypatch.setattr(threads, "_physical_cores", threads._physical_cores.__wrapped__)
    assert effective_n_threads() == 1
    assert effective_n_threads(2) == 2
    # OpenMP has been loaded and does not read it any more, so it lifts no limit either
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert effective_n_threads() == 1


@needs_openmp
@pytest.mark.parametrize("n_threads", [1, 2])
def test_omp_num_threads(n_threads):
    """Up to the number of cores: one on any machine."""
    n_threads = min(n_threads, joblib.cpu_count(only_physical_cores=True))
    got = counts(OMP_NUM_THREADS=str(n_threads))
    assert got == [str(n_threads), "1", "3"]  # an explicit number is taken as it is


def test_empty_omp_num_threads_is_none():
    result = run_python(PRINT_N_THREADS, OMP_NUM_THREADS="")  # GNU's runtime complains of it
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.split() == counts()


@needs_openmp
def test_threadpoolctl_limits():
    unlimited = effective_n_threads()
    with threadpool_limits(limits=1, user_api="openmp"):
        assert effective_n_threads() == 1
        assert effective_n_threads(2) == 2
    assert effective_n_threads() == unlimited


@needs_openmp
def test_joblib_workers_share_the_cores():
    def in_worker():
        return effective_n_threads()

    n_workers = max(2, joblib.cpu_count())
    counts = joblib.Parallel(n_jobs=n_workers)(
        joblib.delayed(in_worker)() for _ in range(n_workers)
    )
    assert set(counts) == {1}


def test_without_openmp_there_is_one_thread(monkeypatch):
    monkeypatch.setattr(_openmp, "version", lambda: 0)
    assert effective_n_threads() == effective_n_threads(5) == 1
    with pytest.raises(ValueError, match="n_threads"):
        effective_n_threads(0)


# --- Busy cores -----------------------------------------------------------------------------------


class Clock:
    """The clocks of a machine on which calls take the seconds that a test says."""

    def __init__(self):
        self.wall = self.own = 0.0

    def perf_counter(self):
        return self.wall

    def thread_time(self):
        return self.own


def numbers_used(monkeypatch, n_calls, seconds_of, crowded=False):
    """Numbers of threads for calls, where ``seconds_of(n_threads, call)`` is (seconds, own)."""
    clock, used = Clock(), []
    monkeypatch.setattr(threads, "time", clock)
    monkeypatch.setattr(threads, "_is_crowded", lambda: crowded)
    choice = ThreadChoice(4)
    for call in range(n_calls):
        began = clock.wall, clock.own
        seconds, own = seconds_of(choice.n_threads, call)
        clock.wall, clock.own = clock.wall + seconds, clock.own + own
        used.append(choice.n_threads)
        assert choice.after(began) == choice.n_threads
        assert choice.seconds == pytest.approx(seconds)
    return used


def free(n_threads, call):
    return (0.002, 0.002) if n_threads == 4 else (0.006, 0.006)


def busy(n_threads, call):
    return (0.1, 0.05) if n_threads == 4 else (0.012, 0.006)


def test_all_threads_on_a_free_machine(monkeypatch):
    assert set(numbers_used(monkeypatch, 1000, free)) == {4}


def test_one_thread_on_a_busy_machine(monkeypatch):
    assert numbers_used(monkeypatch, 1000, busy) == [4] + 999 * [1]
    assert set(numbers_used(monkeypatch, 1000, busy, crowded=True)) == {1}


def test_a_machine_that_seemed_busy_gets_all_threads_within_a_moment(monkeypatch):
    used = numbers_used(monkeypatch, 1000, free, crowded=True)
    first = used.index(4)
    assert 0 < first * 0.006 <= 2 * threads.SEEN_SECONDS
    assert set(used[first:]) == {4}


def test_the_load_comes_and_goes(monkeypatch):
    def seconds_of(n_threads, call):
        return busy(n_threads, call) if 300 <= call < 600 else free(n_threads, call)

    used = numbers_used(monkeypatch, 1200, seconds_of)
    assert set(used[:300]) == {4}
    assert set(used[310:600]) == {1}
    assert set(used[900:]) == {4}


def test_the_core_of_another_thread_is_busy(monkeypatch):
    """The calling thread runs all the time, and waits for the other ones in most calls."""

    def seconds_of(n_threads, call):
        return (0.006, 0.006) if n_threads == 1 else (0.002, 0.002) if call < 9 else (0.03, 0.03)

    used = numbers_used(monkeypatch, 1000, seconds_of)
    assert used[:9] == 9 * [4]
    seconds = sum(seconds_of(n, 9)[0] for n in used[9:])
    assert seconds < 1.2 * 991 * 0.006


def test_one_slow_call_on_a_free_machine_costs_little(monkeypatch):
    def seconds_of(n_threads, call):
        return (0.05, 0.01) if call == 500 else free(n_threads, call)

    used = numbers_used(monkeypatch, 1000, seconds_of)
    assert used.count(1) <= threads.SEEN_SECONDS / 0.006 + 1


def test_one_thread_of_one_is_kept():
    choice = ThreadChoice(1)
    began = time.perf_counter() - 1.0, time.thread_time()
    assert choice.after(began) == choice.n_threads == 1
    fixed = ThreadChoice(3, fixed=True)
    assert fixed.after(began) == 3


def test_a_busy_machine_does_not_change_bits(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20_000, 30)), rng.integers(5, size=20_000)
    want = SoftmaxClassifier(tol=1e-10).fit(X, y)
    chosen = iter(range(10**6))

    def in_turn(choice, began, work=1.0):
        choice.seconds = 0.0
        choice.n_threads = 1 + next(chosen) % 3
        return choice.n_threads

    monkeypatch.setattr(ThreadChoice, "after", in_turn)
    got = SoftmaxClassifier(tol=1e-10).fit(X, y)
    np.testing.assert_array_equal(got.coef_, want.coef_)
    assert next(chosen) > 5


# --- Processes ------------------------------------------------------------------------------------

FORK = """
import os, signal, sys
import numpy as np
from xentlearn import SoftmaxClassifier
from xentlearn._utils.threads import effective_n_threads
from xentlearn.losses import SparseCategoricalCrossentropy

rng = np.random.default_rng(0)
X = rng.normal(size=(100_000, 20))  # large enough for threads
y = rng.integers(5, size=len(X))
loss = SparseCategoricalCrossentropy()

def work():
    clf = SoftmaxClassifier(max_iter=3, tol=1.0).fit(X, y)
    logits = clf.decision_function(X)
    return clf.coef_, loss.loss(y, logits, n_threads=2), loss.predict_proba(logits, n_threads=None)

want = work()
assert effective_n_threads(2) == int(sys.argv[1])
child = os.fork()
if child == 0:
    signal.alarm(60)  # ends the child if it waits for ever
    same = all(np.array_equal(a, b) for a, b in zip(work(), want))
    alone = effective_n_threads() == effective_n_threads(2) == 1
    os._exit(0 if same and alone else 3)
_, status = os.waitpid(child, 0)
if os.WIFSIGNALED(status):
    sys.exit(f"the child was ended by signal {os.WTERMSIG(status)}")
assert os.WEXITSTATUS(status) == 0, os.WEXITSTATUS(status)
assert effective_n_threads(2) == int(sys.argv[1])
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_fits_after_a_threaded_fit_in_its_parent():
    """With the same bits, on one thread: GNU's OpenMP would wait for ever with more."""
    n_threads = 2 if _openmp.version() else 1
    result = run_python(FORK, n_threads, PYTHONWARNINGS="ignore", OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.strip() == "done"


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
def test_grid_search_in_parallel(backend):
    X, y = load_iris(return_X_y=True)
    settings = [SparseCategoricalCrossentropy(0.0), SparseCategoricalCrossentropy(0.1)]
    grid = {"C": [0.1, 1.0], "loss": settings}
    results = []
    for n_jobs in (1, 2):
        with joblib.parallel_config(backend=backend):
            search = GridSearchCV(SoftmaxClassifier(), grid, n_jobs=n_jobs, cv=3).fit(X, y)
        assert not np.isnan(search.cv_results_["mean_test_score"]).any()
        results.append(search)
    one, two = results
    np.testing.assert_array_equal(
        one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(one.best_estimator_.coef_, two.best_estimator_.coef_)


def test_fits_in_threads_do_not_disturb_each_other():
    """Compiled parts release the GIL and keep nothing between calls."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 10))
    ys = [rng.integers(k, size=len(X)) for k in (2, 3, 5, 9)]
    want = [SoftmaxClassifier().fit(X, y).coef_ for y in ys]
    fit = joblib.delayed(lambda y: SoftmaxClassifier().fit(X, y).coef_)
    for _ in range(3):
        got = joblib.Parallel(n_jobs=4, backend="threading")(fit(y) for y in ys)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a, b)


# --- CPU targets ----------------------------------------------------------------------------------

PRINT_TARGET = """
import xentlearn
from xentlearn import _loss
print(_loss.current_cpu_target(), *_loss.available_cpu_targets())
"""


def test_available_targets():
    known = ["scalar", "baseline", "avx2", "avx512"]
    assert TARGETS[0] == "scalar"
    assert [name for name in known if name in TARGETS] == TARGETS  # narrowest first


@pytest.mark.parametrize("name", TARGETS)
def test_use_cpu_target(name, restore_target):
    assert xentlearn.use_cpu_target(name) is None
    assert _loss.current_cpu_target() == name
    xentlearn.use_cpu_target()
    assert _loss.current_cpu_target() == TARGETS[-1]


@pytest.mark.parametrize("name", ["avx1024", "AVX2", "", 2, b"scalar"])
def test_use_cpu_target_says_what_is_available(name, restore_target):
    before = _loss.current_cpu_target()
    with pytest.raises(ValueError, match="CPU target") as info:
        xentlearn.use_cpu_target(name)
    assert repr(name) in str(info.value)
    for available in TARGETS:
        assert repr(available) in str(info.value)
    assert _loss.current_cpu_target() == before


def test_a_target_that_the_build_does_not_have(restore_target, monkeypatch):
    monkeypatch.setattr(_loss, "available_cpu_targets", lambda: ["scalar", "baseline"])
    with pytest.raises(ValueError, match=r"\['scalar', 'baseline'\].*'avx512'"):
        xentlearn.use_cpu_target("avx512")


@pytest.mark.parametrize("name", TARGETS[:2])
def test_environment_variable_chooses_the_target(name):
    current, *available = output_of(PRINT_TARGET, XENTLEARN_CPU_TARGET=name).split()
    assert current == name
    assert available == TARGETS


def test_without_the_environment_variable_the_widest_target_runs():
    """An empty one counts as none."""
    assert output_of(PRINT_TARGET, XENTLEARN_CPU_TARGET="").split()[0] == TARGETS[-1]


def test_environment_variable_with_an_unknown_target():
    result = run_python(PRINT_TARGET, XENTLEARN_CPU_TARGET="avx1024")
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError")
    for part in ("'avx1024'", "XENTLEARN_CPU_TARGET", *map(repr, TARGETS)):
        assert part in last


def test_targets_run_all_of_a_fit(restore_target):
    """The pass over X as well as the rows: a fit agrees to rounding, whatever the target."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 7))
    y = (X @ rng.normal(size=(7, 5)) + rng.gumbel(size=(300, 5))).argmax(axis=1)
    coefs = []
    for name in TARGETS:
        xentlearn.use_cpu_target(name)
        coefs.append(SoftmaxClassifier().fit(X, y).coef_)
    for coef in coefs[1:]:
        np.testing.assert_allclose(coef, coefs[0], rtol=1e-8, atol=1e-9)


# --- Report ---------------------------------------------------------------------------------------


def report_of(code="import xentlearn; xentlearn.show_versions()", **environment):
    """The report as {section: {name: value}} (a name that comes twice keeps the last value)."""
    sections, rows = {}, {}
    for line in output_of(code, **environment).splitlines():
        if line.startswith("    "):
            name, _, value = line.strip().partition(": ")
            rows[name] = value
        else:
            rows = sections[line] = {}
    return sections


def test_show_versions():
    report = report_of(XENTLEARN_CPU_TARGET="scalar", OMP_NUM_THREADS="1")
    assert list(report) == ["System", "Packages", "Build", "Thread pools"]
    assert report["System"]["python"] == sys.version.replace("\n", " ")
    assert report["System"]["machine"]
    assert report["Packages"]["numpy"] == np.__version__
    assert {"xentlearn", "sklearn", "scipy", "joblib"} <= set(report["Packages"])
    build = report["Build"]
    assert build["CPU targets"] == ", ".join(TARGETS)
    assert build["CPU target in use"] == "scalar"
    assert build["threads"] == "1"
    if _openmp.version():
        assert build["OpenMP"] == f"yes, specification of {_openmp.version()}"
    else:
        assert build["OpenMP"].startswith("no")
    pools = report["Thread pools"]
    assert any(name.startswith("blas") for name in pools)
    if _openmp.version():
        assert any(name.startswith("openmp") for name in pools)
    for value in pools.values():
        assert "threads, version" in value


def test_show_versions_prints_and_returns_nothing(capsys):
    assert xentlearn.show_versions() is None
    printed = capsys.readouterr()
    assert f"CPU target in use: {_loss.current_cpu_target()}\n" in printed.out
    assert f"threads: {effective_n_threads()}\n" in printed.out
    assert not printed.err


# --- Without the compiled core --------------------------------------------------------------------


def copy_of_the_sources(folder, leave_out=(".so", ".pyd", ".c")):
    """The package in `folder`, without what was compiled."""
    copy = folder / "xentlearn"
    shutil.copytree(
        PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", *(f"*{s}" for s in leave_out))
    )
    return copy


# The finder of an editable install would find in the checkout what is missing in a copy.
IMPORT_THE_COPY = """
import sys
sys.meta_path[:] = [
    finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "")
]
import xentlearn
"""


def test_import_without_the_compiled_core_says_how_to_build_it(tmp_path):
    copy = copy_of_the_sources(tmp_path)
    result = run_python(IMPORT_THE_COPY, path=tmp_path, cwd=tmp_path)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError")
    for part in ("compiled core of xentlearn", "pip install -e .", "C compiler"):
        assert part in last
    assert str(copy) in result.stderr  # it was this copy that was imported


def test_import_names_the_part_that_is_missing(tmp_path):
    copy = copy_of_the_sources(tmp_path, leave_out=(".c",))
    compiled = [path for path in copy.rglob("_proba_loss.*") if path.suffix in (".so", ".pyd")]
    assert compiled
    for path in compiled:
        path.unlink()
    result = run_python(IMPORT_THE_COPY, path=tmp_path, cwd=tmp_path)
    assert result.returncode != 0
    assert "_proba_loss" in result.stderr.strip().splitlines()[-1]


def test_import_is_silent():
    assert output_of("import xentlearn, xentlearn.losses") == ""
