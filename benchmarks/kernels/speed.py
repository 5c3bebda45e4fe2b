"""How fast are the kernels beside scikit-learn's and torch's, and beside a plain copy?

Loss and gradient from logits, two threads by default. Every cell is the median of alternating runs
in this process, so that drift of the machine hits all alike. "copy" reads and writes arrays of the
same size as logits and gradient, in as many threads.
"""

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from sklearn._loss import loss as sklearn_loss

import xentlearn
from xentlearn import _loss
from xentlearn._validation import check_labels
from xentlearn.losses import BinaryCrossentropy, SparseCategoricalCrossentropy

try:
    import torch
except ImportError:
    torch = None

SHAPES = ((1_000_000, 3), (1_000_000, 10), (100_000, 100), (10_000, 1000), (1000, 50_000))
N_BINARY = 5_000_000


def copier(source, target, n_threads, pool):
    """A copy of ``source`` to ``target`` in parallel slices."""
    cuts = np.linspace(0, len(source), n_threads + 1).astype(int)
    slices = [slice(a, b) for a, b in pairwise(cuts)]
    return lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), slices))


def of_torch(logits, y, binary):
    """torch's loss, forward and backward."""
    z = torch.from_numpy(logits.copy()).requires_grad_()
    target = torch.from_numpy(y)
    function = (
        torch.nn.functional.binary_cross_entropy_with_logits
        if binary
        else torch.nn.functional.cross_entropy
    )

    def run():
        z.grad = None
        function(z, target, reduction="sum").backward()

    return run


def contenders(shape, dtype, n_threads, pool):
    """{name: function} for one shape; (n,) is binary."""
    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal(shape)).astype(dtype)
    gradient, loss = np.empty_like(logits), np.empty(len(logits), dtype)
    binary = len(shape) == 1
    if binary:
        y = rng.integers(2, size=shape).astype(dtype)
        setting, matrix = BinaryCrossentropy(), logits[:, np.newaxis]
        target = setting.kernel_target(matrix.shape, dtype, values=y[:, np.newaxis])
        theirs = sklearn_loss.HalfBinomialLoss()
        torch_y = y
    else:
        labels = rng.integers(shape[1], size=len(logits))
        y = labels.astype(dtype)
        setting, matrix = SparseCategoricalCrossentropy(), logits
        target = setting.kernel_target(
            shape, dtype, labels=check_labels(labels, shape[:1], shape[1])
        )
        theirs = sklearn_loss.HalfMultinomialLoss(n_classes=shape[1])
        torch_y = labels
    filled = gradient.reshape(matrix.shape)
    proba_kind = setting.proba_kind
    found = {
        "loss and gradient": lambda: target.loss_gradient(matrix, loss, filled, n_threads),
        "loss": lambda: target.loss_gradient(matrix, loss, None, n_threads),
        "gradient": lambda: target.loss_gradient(matrix, None, filled, n_threads),
        "proba": lambda: _loss.proba(proba_kind, matrix, filled, False, n_threads),
        "copy": copier(logits, gradient, n_threads, pool),
        "scikit-learn": lambda: theirs.loss_gradient(
            y, logits, loss_out=loss, gradient_out=gradient, n_threads=n_threads
        ),
    }
    if torch is not None:
        found["torch"] = of_torch(logits, torch_y, binary)
    return found


def medians(functions, repeats):
    """Median milliseconds of each, in alternating runs after one warm-up."""
    for function in functions.values():
        function()
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    args = parser.parse_args()
    if torch is not None:
        torch.set_num_threads(args.threads)
    print(
        f"xentlearn {xentlearn.__version__}, target {_loss.current_target()}, {args.dtype}, "
        f"{args.threads} threads, torch {torch.__version__ if torch else 'not installed'}; "
        "milliseconds\n"
    )
    print(
        "| shape | loss and gradient | loss | gradient | proba | copy | scikit-learn | torch "
        "| x the better peer | share of the copy's speed |"
    )
    print("|---|" + "---|" * 9)
    with ThreadPoolExecutor(args.threads) as pool:
        for shape in (*SHAPES, (N_BINARY,)):
            ms = medians(contenders(shape, np.dtype(args.dtype), args.threads, pool), args.repeats)
            ours = ms["loss and gradient"]
            peers = min(ms["scikit-learn"], ms.get("torch", np.inf))
            cells = [f"{ms[name]:.1f}" for name in ("loss and gradient", "loss", "gradient")]
            cells += [f"{ms[name]:.1f}" for name in ("proba", "copy", "scikit-learn")]
            cells.append(f"{ms['torch']:.1f}" if "torch" in ms else "")
            name = " x ".join(f"{size:,}" for size in shape) if len(shape) > 1 else "binary, 5M"
            print(
                f"| {name} | " + " | ".join(cells) + f" | {peers / ours:.1f} | "
                f"{100 * ms['copy'] / ours:.0f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
