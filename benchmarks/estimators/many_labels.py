"""What do many sparse labels cost: time, memory, and the time until Ctrl-C takes effect?

Two problems, each in a process of its own: 20,000 rare labels (20,000 x 5,000, 25 entries and three
labels per row), and 600 labels of text, from common to rare (``text`` of ``multilabel.py``). Time
and growth of the peak resident memory are those of a default fit; the growth is 0 where making the
data took more. ``max_iter=1`` shows what a fit costs apart from its iterations. Ctrl-C is a SIGINT
after a share of the time of the whole fit; the time until ``fit`` has ended is the longest of
several.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
from multilabel import text
from scipy import sparse

from xentlearn import SoftmaxClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

TITLES = {
    "rare": "20,000 x 5,000, 25 entries per row; 20,000 labels, 3 per row",
    "text": "30,000 x 45,000, 12 words per row; 600 labels",
}


def rare(rng, n=20_000, n_features=5_000, n_labels=20_000):
    """(X, Y): nothing but chance."""

    def chosen(n_columns, n_each):
        columns = np.concatenate([rng.choice(n_columns, n_each, replace=False) for _ in range(n)])
        return columns, np.arange(0, n_each * n + 1, n_each)

    X = sparse.csr_array((rng.random(25 * n, np.float32), *chosen(n_features, 25)), (n, n_features))
    return X, sparse.csr_array((np.ones(3 * n), *chosen(n_labels, 3)), (n, n_labels))


def peak_megabytes():
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds(X, Y, **parameters):
    begin = time.perf_counter()
    SoftmaxClassifier(**parameters).fit(X, Y)
    return time.perf_counter() - begin


def answered_after(X, Y, delay):
    """Seconds from SIGINT to the end of ``fit``; 0 if the fit has ended before."""
    sent = []

    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(delay, send)
    timer.start()
    try:
        SoftmaxClassifier().fit(X, Y)
        timer.cancel()
        timer.join()  # a signal that comes now ends no fit
    except KeyboardInterrupt:
        return time.perf_counter() - sent[0]
    return 0.0


def print_line(name):
    """One line of the table, in this process."""
    rng = np.random.default_rng(0)
    X, Y = rare(rng) if name == "rare" else text(12, rng)
    SoftmaxClassifier().fit(X[:2000, :100], Y[:2000, :3].toarray())  # imports, thread pools
    before = peak_megabytes()
    whole = seconds(X, Y)
    memory = peak_megabytes() - before
    one = seconds(X, Y, max_iter=1)
    answered = max(answered_after(X, Y, share * whole) for share in (0.01, 0.1, 0.3, 0.6))
    print(f"| {TITLES[name]} | {whole:.1f} s | {memory:.0f} MB | {one:.1f} s | {answered:.2f} s |")


def main():
    if len(sys.argv) > 1:
        warnings.simplefilter("ignore")
        print_line(sys.argv[1])
        return
    print_about()
    print(
        "| problem | fit | memory beside the data | fit with `max_iter=1` "
        "| time until Ctrl-C ends a fit, at most |\n|---|---|---|---|---|",
        flush=True,
    )
    for name in TITLES:
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main()
