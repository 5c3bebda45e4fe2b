"""
How much does a fit gain from rows that do not fit in memory?
=============================================================

Noisy pictures of digits (scikit-learn's of 8 x 8 pixels, enlarged and shifted) are written to .npy
files, and X is never in memory as a whole: SoftmaxClassifier reads the files block by block in
every pass. The alternative where memory is short is a fit to as many rows as it holds. In the end a
file is truncated in the middle of a fit, to see what is left.

The data are small by default; ``--rows`` makes them as large as the disk allows.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
from sklearn.datasets import load_digits

from xentlearn import SoftmaxClassifier
from xentlearn.blocks import BlockError, NpyBlocks
from xentlearn.display import LossCurveDisplay

SIDE = 16
N_TEST = 5_000
N_SHARDS = 4
NOISE = 4.0  # of pixels from 0 to 16
SHARES = [0.003, 0.01, 0.03, 0.1, 0.3]  # of the rows, that may be in memory
REPEATS = 5
# With a weaker penalty (C=0.1), up to about 2,000 of these noisy rows are fitted without a mistake,
# and more of them do not improve the accuracy on new ones.
STRENGTH = 1e-4


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


def some_rows(folder, y, n_rows, rng):
    """(X, y) in memory: so many rows, from a random place of each shard."""
    parts, labels, before = [], [], 0
    for path in sorted(folder.glob("*.npy")):
        shard = np.load(path, mmap_mode="r")
        n = n_rows // N_SHARDS
        begin = rng.integers(len(shard) - n + 1)
        parts.append(np.array(shard[begin : begin + n]))
        labels.append(y[before + begin : before + begin + n])
        before += len(shard)
    return np.concatenate(parts), np.concatenate(labels)


def truncated(folder, y):
    """(the error, the classifier) of a fit whose last shard is truncated after some passes."""
    paths = sorted(folder.glob("*.npy"))
    source = NpyBlocks(paths)

    class Truncating:
        """The shards, until somebody truncates one."""

        shape, dtype, lengths, release = source.shape, source.dtype, source.lengths, source.release
        n_read = 0

        def read(self, i):
            self.n_read += 1
            if self.n_read == 9 * len(self.lengths):
                with open(paths[-1], "r+b") as file:
                    file.truncate(paths[-1].stat().st_size // 2)
            return source.read(i)

    clf = SoftmaxClassifier(C=STRENGTH)
    try:
        clf.fit(Truncating(), y)
    except BlockError as error:
        return str(error).replace(str(folder), "."), clf
    raise AssertionError("a truncated file is an error")


def accuracies(folder, y, X_test, y_test):
    """Accuracies of fits to a part of the rows, of shape (len(SHARES), REPEATS)."""
    found = np.empty((len(SHARES), REPEATS))
    for i, share in enumerate(SHARES):
        for repeat in range(REPEATS):
            rng = np.random.default_rng([2, repeat])
            rows = some_rows(folder, y, int(share * len(y)), rng)
            found[i, repeat] = SoftmaxClassifier(C=STRENGTH).fit(*rows).score(X_test, y_test)
    return found


# ---- The picture ---------------------------------------------------------------------------------


def draw(n_rows, found, whole, broken, X_test, y_test):
    """Some rows; accuracy against the number of rows; objectives of the fit that is broken off."""
    figure = new_figure(8, 5.2)
    top, bottom = figure.subfigures(2, 1, height_ratios=[0.28, 1])
    top.suptitle("Eight of the rows", x=0.01, ha="left", fontsize="medium")
    for ax, row in zip(top.subplots(1, 8), X_test, strict=False):
        ax.imshow(row.reshape(SIDE, SIDE), cmap="gray_r", vmin=0, vmax=16)
        ax.set_axis_off()

    left, right = bottom.subplots(1, 2)
    rows = [share * n_rows for share in SHARES]
    median = np.median(found, axis=1)
    left.fill_between(rows, found.min(axis=1), found.max(axis=1), color=THEIRS, alpha=0.15)
    left.plot(rows, median, "o-", markersize=4, color=THEIRS)
    left.annotate(
        "as many as memory holds",
        (rows[2], median[2]),
        (8, -12),
        textcoords="offset points",
        color=THEIRS,
    )
    level = whole.score(X_test, y_test)
    left.plot(n_rows, level, "o", color=OURS)
    left.annotate(
        "all, on disk", (n_rows, level), (-8, 0), textcoords="offset points", color=OURS, ha="right"
    )
    left.set(
        title=f"Accuracy on {N_TEST:,} new digits",
        xscale="log",
        xlabel="rows that are fitted",
        ylabel=f"accuracy (median and range of {REPEATS} draws)",
    )

    for clf, name, style in (
        (whole, "undisturbed", {"color": NEUTRAL}),
        (broken, "until the file was truncated", {"color": OURS, "linewidth": 3}),
    ):
        LossCurveDisplay.from_estimator(clf, name=name, ax=right, line_kw=style)
    kept = broken.n_iter_[0], broken.history_["objective"][-1]
    right.plot(*kept, "X", color=THEIRS, label="coefficients that are kept")
    right.set(title="A file is truncated during a fit")
    right.legend()
    return figure


# ---- The command ---------------------------------------------------------------------------------


def main():
    parser = parser_with_output(__doc__)
    parser.add_argument("--rows", type=int, default=40_000, help="default: %(default)s (1 KB each)")
    parser.add_argument("--scratch", help="where the shards go (default: the system's for such)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        folder = Path(name)
        y = write_shards(folder, arguments.rows)
        X_test, y_test = make_digits(np.random.default_rng(1), N_TEST)
        shards = NpyBlocks(folder)
        size = shards.shape[0] * shards.shape[1] * shards.dtype.itemsize / 1e6
        print(
            f"{shards.shape[0]:,} rows of {shards.shape[1]} features on disk, {size:,.0f} MB in "
            f"{N_SHARDS} files and {len(shards.lengths)} blocks\n"
        )
        found = accuracies(folder, y, X_test, y_test)
        began = time.perf_counter()
        whole = SoftmaxClassifier(C=STRENGTH).fit(shards, y)
        seconds = time.perf_counter() - began
        error, broken = truncated(folder, y)
    print(f"{'rows':>16}{'accuracy, median':>20}{'range':>20}")
    for share, values in zip(SHARES, found, strict=True):
        ends = f"{values.min():.4f} to {values.max():.4f}"
        print(f"{share * len(y):>16,.0f}{np.median(values):>20.4f}{ends:>20}")
    print(
        f"{len(y):>8,} on disk{whole.score(X_test, y_test):>20.4f}"
        f"    fitted in {seconds:.2f} s, {whole.n_iter_[0]} iterations"
        f"\n\nThe last file was truncated in the middle of another fit:\n  {error}"
        f"\nThe coefficients after {broken.n_iter_[0]} iterations are kept; their accuracy is "
        f"{broken.score(X_test, y_test):.4f}."
    )
    figure = draw(len(y), found, whole, broken, X_test, y_test)
    save_and_show(figure, "out_of_core.png", arguments.output)


if __name__ == "__main__":
    main()
