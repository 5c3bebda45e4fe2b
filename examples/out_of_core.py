"""More rows than memory has room for: what changes when X stays on disk?

Noisy pictures of digits (scikit-learn's 8 x 8 ones, enlarged and shifted) are written to .npy
shards, which are all that there ever is of X. SoftmaxClassifier reads them block by block in every
pass. Beside it, what is done otherwise where memory is short: a fit of as many rows as it holds. At
the end the last shard is cut in the middle of a fit, to see what is left.

The data are small by default; --rows makes them as large as the disk allows.
"""

import shutil
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
from sklearn.datasets import load_digits

from xentlearn import SoftmaxClassifier
from xentlearn.blocks import BlockError, NpyBlocks

SIDE = 16
N_TEST = 5_000
N_SHARDS = 4
NOISE = 4.0  # of pixels from 0 to 16
SHARES = [0.003, 0.01, 0.03, 0.1, 0.3]  # of the rows, that may be in memory


@dataclass
class Fit:
    """A fit and what is told of it."""

    n_rows: int
    accuracy: float
    seconds: float
    n_iter: int


# ---- The data ------------------------------------------------------------------------------------


def make_digits(rng, n_rows):
    """(X in float32, y): digits of the data set, shifted and with noise."""
    images, labels = load_digits(return_X_y=True)
    images = np.kron(images.reshape(-1, 8, 8), np.ones((1, 2, 2)))
    chosen = rng.integers(len(images), size=n_rows)
    X = rng.normal(scale=NOISE, size=(n_rows, SIDE, SIDE)).astype(np.float32)
    shift = rng.integers(-2, 3, size=(n_rows, 2))
    for across in range(-2, 3):
        for down in range(-2, 3):
            these = np.flatnonzero((shift == (across, down)).all(axis=1))
            X[these] += np.roll(images[chosen[these]], (across, down), axis=(1, 2))
    return X.reshape(n_rows, -1), labels[chosen]


def write_shards(folder, n_rows):
    """The labels; X is in the shards."""
    labels = []
    for i in range(N_SHARDS):
        n = n_rows * (i + 1) // N_SHARDS - n_rows * i // N_SHARDS
        shape = n, SIDE * SIDE
        X = np.lib.format.open_memmap(folder / f"{i}.npy", "w+", np.float32, shape)
        for begin in range(0, n, 20_000):
            rows = slice(begin, min(begin + 20_000, n))
            rng = np.random.default_rng([i, begin])
            X[rows], y = make_digits(rng, rows.stop - rows.start)
            labels.append(y)
    return np.concatenate(labels)


# ---- The fits ------------------------------------------------------------------------------------


def measured(X, y, X_test, y_test):
    """(classifier, Fit)."""
    began = time.perf_counter()
    clf = SoftmaxClassifier(C=0.1).fit(X, y)
    took = time.perf_counter() - began
    return clf, Fit(X.shape[0], clf.score(X_test, y_test), took, int(clf.n_iter_[0]))


def first_rows(folder, n_rows):
    """So many rows, taken from all shards alike, and where they are."""
    parts, at, before = [], [], 0
    for path in sorted(folder.glob("*.npy")):
        shard = np.load(path, mmap_mode="r")
        n = n_rows // N_SHARDS
        parts.append(np.array(shard[:n]))
        at.append(before + np.arange(n))
        before += len(shard)
    return np.concatenate(parts), np.concatenate(at)


def cut_short(folder, y):
    """(the error, the classifier) of a fit whose last shard is cut after some passes."""
    paths = sorted(folder.glob("*.npy"))
    source = NpyBlocks(paths)

    class Cut:
        """The shards, until somebody truncates one."""

        shape, dtype, lengths, release = source.shape, source.dtype, source.lengths, source.release
        n_read = 0

        def read(self, i):
            self.n_read += 1
            if self.n_read == 9 * len(self.lengths):
                with open(paths[-1], "r+b") as file:
                    file.truncate(paths[-1].stat().st_size // 2)
            return source.read(i)

    clf = SoftmaxClassifier(C=0.1)
    try:
        clf.fit(Cut(), y)
    except BlockError as error:
        return str(error), clf
    raise AssertionError("a truncated file is an error")


# ---- What comes of it ----------------------------------------------------------------------------


def draw(fits, full, cut, X_test):
    """Accuracy against the rows that were seen, a few of them, and the way of the fit cut short."""
    figure = new_figure(12, 4)
    left, middle, right = figure.subfigures(1, 3, width_ratios=[1, 0.7, 1])
    ax = left.subplots()
    left.suptitle("As many rows as memory holds, or all")
    rows = [fit.n_rows for fit in fits]
    ax.plot(rows, [fit.accuracy for fit in fits], "o-", color=THEIRS, label="in memory, a part")
    ax.plot(full.n_rows, full.accuracy, "o", color=OURS, label="on disk, all")
    ax.axhline(full.accuracy, color=OURS, linestyle=":")
    ax.set(xscale="log", xlabel="rows that are fitted", ylabel="accuracy on new digits")
    ax.legend()

    middle.suptitle("What the rows look like")
    for ax, row in zip(middle.subplots(3, 3).flat, X_test, strict=False):
        ax.imshow(row.reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=16)
        ax.set_axis_off()

    right.suptitle("A fit whose file is cut")
    ax = right.subplots()
    whole, broken = cut
    ax.plot(whole.history_["objective"], color=NEUTRAL, label="undisturbed")
    kept = broken.history_["objective"]
    ax.plot(kept, color=OURS, linewidth=3, label="until the file was cut")
    ax.plot(len(kept) - 1, kept[-1], "X", color=THEIRS, label="the coefficients that are kept")
    ax.set(xlabel="iteration", ylabel="objective")
    ax.legend()
    return figure


def main(argv=None):
    parser = parser_with_output(__doc__)
    parser.add_argument("--rows", type=int, default=40_000, help="default: %(default)s (1 KB each)")
    parser.add_argument("--scratch", help="where the shards go (default: the system's for such)")
    arguments = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(dir=arguments.scratch))
    try:
        y = write_shards(folder, arguments.rows)
        X_test, y_test = make_digits(np.random.default_rng(1), N_TEST)
        shards = NpyBlocks(folder)
        size = shards.shape[0] * shards.shape[1] * shards.dtype.itemsize / 1e6
        print(
            f"{shards.shape[0]:,} rows of {shards.shape[1]} features on disk, {size:,.0f} MB in "
            f"{N_SHARDS} shards and {len(shards.lengths)} blocks\n"
        )
        fits = []
        for share in SHARES:
            X, at = first_rows(folder, int(share * len(y)))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fits.append(measured(X, y[at], X_test, y_test)[1])
        clf, full = measured(shards, y, X_test, y_test)
        print(f"{'X':>22}{'rows':>12}{'accuracy':>10}{'seconds':>10}{'iterations':>12}")
        names = [*["a part, in memory"] * len(fits), "all, on disk"]
        for name, fit in zip(names, [*fits, full], strict=True):
            print(
                f"{name:>22}{fit.n_rows:>12,}{fit.accuracy:>10.4f}{fit.seconds:>10.2f}"
                f"{fit.n_iter:>12}"
            )
        error, broken = cut_short(folder, y)
        print(
            f"\nThe last shard was cut in the middle of a fit:\n  {error.replace(str(folder), '.')}"
            f"\nand what the fit had found by then, after {broken.n_iter_[0]} iterations, is kept: "
            f"accuracy {broken.score(X_test, y_test):.4f}"
        )
    finally:
        shutil.rmtree(folder)
    figure = draw(fits, full, (clf, broken), X_test)
    save_and_show(figure, arguments.output / "out_of_core.png")


if __name__ == "__main__":
    main()
