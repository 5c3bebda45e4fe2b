"""How long does one pass over X take, and how much memory, beside peers and the machine's limit?

Value and gradient of the loss of a linear model, and predict_proba, on MNIST, on a linear probe
(50,000 x 384, 500 classes) and on sparse text (60,000 x 45,000, 12 entries a row that are frequent
as words are, 58 classes). Peers: scikit-learn's LinearModelLoss, torch, NumPy's two products alone.
Medians over several rounds in one process; within a round each runs by itself, after a pause, since
the thread pools of BLAS and OpenMP would slow each other down. Extra memory is the peak of what a
call allocates (tracemalloc; torch's is not seen).

The roofline of a dense pass is measured in the same run: the larger of the time to read X at the
speed of a threaded maximum, and that of its multiply-adds (features padded to whole vectors, not
classes) at the speed of a loop that works on registers alone, compiled if there is a C compiler.
"""

import argparse
import ctypes
import gzip
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn._loss.loss import HalfMultinomialLoss
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model._linear_loss import LinearModelLoss

from xentlearn import SoftmaxClassifier
from xentlearn._data._design_matrix import DesignMatrix
from xentlearn.losses import SparseCategoricalCrossentropy

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

try:
    import torch
except ImportError:
    torch = None

ROUNDS = 3
PEAK = """
typedef float vector __attribute__((vector_size(
#ifdef __AVX512F__
    64
#else
    32
#endif
)));
int multiply_adds(long steps, float *out)  /* in one step; the results go to 16 numbers */
{
    enum { LANES = sizeof(vector) / sizeof(float), SUMS = 10 };
    vector sums[SUMS] = {{0}}, factor = {0}, total = {0};
    for (int j = 0; j < LANES; j++) factor[j] = out[j] + 0.5f;
    for (long i = 0; i < steps; i++)
        for (int j = 0; j < SUMS; j++) sums[j] = sums[j] * factor + factor;
    for (int j = 0; j < SUMS; j++) total += sums[j];
    for (int j = 0; j < LANES; j++) out[j] = total[j];
    return LANES * SUMS;
}
"""


# ---- Data ----------------------------------------------------------------------------------------


def idx_items(path, header, shape):
    """Items of a gzipped IDX file."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(), np.uint8, offset=header).reshape(-1, *shape)


def digits(folder):
    """(X in 0..255, y) of the MNIST training files in a folder; without one, numbers like them."""
    if folder is None:
        rng = np.random.default_rng(0)
        X = rng.integers(256, size=(60_000, 784)).astype(np.uint8)
        return X, rng.integers(10, size=len(X)).astype(np.int32)
    X = idx_items(Path(folder, "train-images-idx3-ubyte.gz"), 16, (784,))
    y = idx_items(Path(folder, "train-labels-idx1-ubyte.gz"), 8, ())
    return X, y.astype(np.int32)


def probe(n=50_000, d=384, k=500):
    """Features and labels of a linear probe."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, d), dtype=np.float32), rng.integers(k, size=n).astype(np.int32)


def text(n=60_000, d=45_000, k=58, per_row=12):
    """CSR whose columns are drawn with frequency 1 / rank."""
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, d + 1)
    columns = rng.choice(d, size=(n, per_row), p=frequency / frequency.sum())
    starts = np.arange(0, n * per_row + 1, per_row)
    X = sparse.csr_array((np.ones(n * per_row, np.float32), columns.ravel(), starts), shape=(n, d))
    X.sum_duplicates()
    return X, rng.integers(k, size=n).astype(np.int32)


# ---- Contenders ----------------------------------------------------------------------------------


def value_and_gradient(X, y, n_threads):
    """{name: one evaluation} at small random coefficients."""
    n_classes = int(y.max()) + 1
    rng = np.random.default_rng(0)
    coef = 0.01 * rng.standard_normal((X.shape[1], n_classes))
    intercept = np.zeros(n_classes)
    design = DesignMatrix(X)
    setting = SparseCategoricalCrossentropy()
    target = setting._kernel_target((X.shape[0], n_classes), design.dtype, labels=y)
    found = {
        "xentlearn": lambda: design.loss_gradient(target, coef, intercept, n_threads),
        "xentlearn, one thread": lambda: design.loss_gradient(target, coef, intercept, 1),
    }
    if X.dtype != design.dtype:
        return found
    theirs = LinearModelLoss(HalfMultinomialLoss(n_classes=n_classes), fit_intercept=True)
    their_coef = np.asfortranarray(np.c_[coef.T, intercept].astype(X.dtype))
    their_y = y.astype(X.dtype)
    found["scikit-learn"] = lambda: theirs.loss_gradient(
        their_coef, X, their_y, n_threads=n_threads
    )
    narrow = np.ascontiguousarray(coef.astype(X.dtype))
    residual = rng.standard_normal((X.shape[0], n_classes)).astype(X.dtype)
    found["NumPy's two products"] = lambda: (X @ narrow, X.T @ residual)
    if torch is not None and not sparse.issparse(X):
        torch_X, torch_y = torch.from_numpy(X), torch.from_numpy(y.astype(np.int64))
        weight = torch.from_numpy(narrow.T.copy()).requires_grad_()
        bias = torch.zeros(n_classes, requires_grad=True)

        def by_torch():
            weight.grad = bias.grad = None
            logits = torch.nn.functional.linear(torch_X, weight, bias)
            torch.nn.functional.cross_entropy(logits, torch_y, reduction="sum").backward()

        found["torch"] = by_torch
    return found


def probabilities(X, y):
    """{name: one predict_proba} of models with the same coefficients."""
    n_classes = int(y.max()) + 1
    coef = 0.01 * np.random.default_rng(0).standard_normal((n_classes, X.shape[1]))
    first = [int(np.flatnonzero(y == k)[0]) for k in range(n_classes)]
    ours = SoftmaxClassifier(max_iter=1, tol=1e300).fit(X[first], y[first])
    theirs = LogisticRegression(max_iter=1, tol=1e300).fit(X[first], y[first])
    for model in (ours, theirs):
        model.coef_ = coef.astype(X.dtype)
        model.intercept_ = np.zeros(n_classes, dtype=X.dtype)
    return {
        "xentlearn": lambda: ours.predict_proba(X),
        "scikit-learn": lambda: theirs.predict_proba(X),
    }


# ---- Measuring -----------------------------------------------------------------------------------


def medians(functions, repeats):
    """Median milliseconds of each."""
    times = {name: [] for name in functions}
    for _ in range(ROUNDS):
        for name, function in functions.items():
            time.sleep(0.3)  # the threads of the last one stop spinning
            function()
            for _ in range(repeats):
                begin = time.perf_counter()
                function()
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def extra_megabytes(function):
    """Peak of what a call allocates."""
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def peak_rate(n_threads):
    """Multiply-adds per millisecond from registers, or nan without a C compiler."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "peak.so")
        source = Path(folder, "peak.c")
        source.write_text(PEAK)
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        try:
            subprocess.run(["cc", *flags, source, "-o", library], check=True)
        except (OSError, subprocess.CalledProcessError):
            return np.nan
        peak = ctypes.CDLL(str(library)).multiply_adds
    peak.argtypes = [ctypes.c_long, ctypes.POINTER(ctypes.c_float)]
    steps = 10_000_000

    def work(_):
        return peak(steps, (ctypes.c_float * 16)())

    best = 0.0
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            done = sum(pool.map(work, range(n_threads))) * steps
            best = max(best, done / (1e3 * (time.perf_counter() - begin)))
    return best


def roofline(X, n_classes, n_threads, rate):
    """(milliseconds to read X, milliseconds of its multiply-adds)."""
    cuts = np.linspace(0, len(X), n_threads + 1).astype(int)
    bits = X.view(f"u{X.itemsize}")  # whose maximum needs nothing but reading
    parts = [bits[a:b] for a, b in pairwise(cuts)]
    lanes = 16  # of the widest vectors: what the features are padded to
    work = 2 * len(X) * -(-X.shape[1] // lanes) * lanes * n_classes
    with ThreadPoolExecutor(n_threads) as pool:
        reading = medians({"max": lambda: list(pool.map(np.max, parts))}, 5)["max"]
    return reading, work / rate


def print_case(name, X, y, args, rate):
    """Lines of the table for one X."""
    ms = medians(value_and_gradient(X, y, args.threads), args.repeats)
    functions = value_and_gradient(X, y, args.threads)
    ours = ms["xentlearn"]
    limits = dict.fromkeys(ms, " | | ")
    if not sparse.issparse(X):
        reading, computing = roofline(X, int(y.max()) + 1, args.threads, rate)
        share = 100 * max(reading, computing) / ours
        limits["xentlearn"] = f"{reading:.1f} | {computing:.1f} | {share:.0f} %"
    for peer, value in ms.items():
        print(
            f"| {name} | {peer} | {value:.1f} | {value / ours:.1f} | "
            f"{extra_megabytes(functions[peer]):.1f} | {limits[peer]} |",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with the MNIST training files, gzipped")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5, help="in each of three rounds")
    args = parser.parse_args()
    if torch is not None:
        torch.set_num_threads(args.threads)
    rate = peak_rate(args.threads)
    print_about("torch", n_threads=args.threads)
    print(
        "Value and gradient of the loss of a linear model. The limit of the machine is the larger "
        "of two times: to read X once, and to do the multiply-adds of the two products at the "
        f"speed of registers ({rate / 1e6:.0f} billion per second, measured in the same run). "
        '"NumPy\'s two products" are `X @ coef` and `X.T @ residual` without any loss.\n\n'
        "| data | | ms | time, as a multiple of xentlearn's | memory beside X, MB "
        "| limit: reading X, ms | limit: multiply-adds, ms | speed, of the limit |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    images, labels = digits(args.data)
    scaled = images.astype(np.float32) / 255
    print_case("MNIST float32", scaled, labels, args, rate)
    print_case("MNIST uint8", images, labels, args, rate)
    print_case("MNIST float16", scaled.astype(np.float16), labels, args, rate)
    print_case("50,000 x 384, 500 classes", *probe(), args, rate)
    print_case("text 60,000 x 45,000, 58 classes", *text(), args, rate)
    print(
        "\n`predict_proba`:\n\n"
        "| data | | ms | time, as a multiple of xentlearn's | memory beside X, MB |\n"
        "|---|---|---|---|---|"
    )
    for name, (X, y) in {"MNIST": (scaled, labels), "500 classes": probe()}.items():
        functions = probabilities(X, y)
        ms = medians(functions, args.repeats)
        for peer, value in ms.items():
            print(
                f"| {name} | {peer} | {value:.1f} | {value / ms['xentlearn']:.1f} | "
                f"{extra_megabytes(functions[peer]):.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
