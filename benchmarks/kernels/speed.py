"""How fast are the kernels beside their peers, and beside a plain copy?

Two threads by default. Every cell is the median of runs that alternate with the others in this
process, so that drift of the machine affects all alike. First table: loss and gradient from logits
beside scikit-learn's ``_loss``, torch's forward and backward, scipy's log_softmax (which has one
thread) and JAX's compiled value_and_grad, those that are installed; "copy" reads and writes arrays
of the same size as logits and gradient, with as many threads. The other tables: how much more time
weights, soft rows, missing entries and other loss functions take, as ratios.
"""

import argparse
import functools
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from scipy.special import log_softmax
from sklearn._loss import loss as sklearn_loss

from xentlearn import _loss
from xentlearn._losses.validation import check_labels
from xentlearn.losses import (
    AsymmetricBinaryCrossentropy,
    BinaryCrossentropy,
    BinaryFocalCrossentropy,
    CategoricalCrossentropy,
    CategoricalFocalCrossentropy,
    GeneralizedCrossentropy,
    PolyCrossentropy,
    SparseCategoricalCrossentropy,
    SymmetricCrossentropy,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

try:
    import torch
except ImportError:
    torch = None
try:
    import jax
except ImportError:
    jax = None

SHAPES = ((1_000_000, 3), (1_000_000, 10), (100_000, 100), (10_000, 1000), (1000, 50_000))
N_BINARY = 5_000_000
INTEGER, HARD = "integer labels, no weights", "targets 0 and 1, no weights"
RUNS = 5  # of one function after the other
FORMS = {
    "focal": CategoricalFocalCrossentropy(),
    "generalised": GeneralizedCrossentropy(),
    "symmetric": SymmetricCrossentropy(),
    "Poly-1": PolyCrossentropy(),
}


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


def of_scipy(logits, labels, gradient):
    """Loss and gradient by log_softmax."""
    rows = np.arange(len(logits))

    def run():
        log_proba = log_softmax(logits, axis=1)
        np.exp(log_proba, out=gradient)
        gradient[rows, labels] -= 1
        return -log_proba[rows, labels]

    return run


def of_jax(logits, y, binary):
    """JAX's value_and_grad, compiled."""

    def loss(z):
        if binary:
            return (jax.nn.softplus(z) - y * z).sum()
        return -jax.nn.log_softmax(z)[np.arange(len(y)), y].sum()

    compiled, z = jax.jit(jax.value_and_grad(loss)), jax.numpy.asarray(logits)
    return lambda: compiled(z)[1].block_until_ready()


def contenders(shape, dtype, n_threads, pool):
    """{name: function} for one shape; (n,) is binary."""
    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal(shape)).astype(dtype)
    gradient, loss = np.empty_like(logits), np.empty(len(logits), dtype)
    binary = len(shape) == 1
    if binary:
        y = rng.integers(2, size=shape).astype(dtype)
        setting, matrix = BinaryCrossentropy(), logits[:, np.newaxis]
        target = setting._kernel_target(matrix.shape, dtype, values=y[:, np.newaxis])
        theirs = sklearn_loss.HalfBinomialLoss()
        torch_y = y
    else:
        labels = rng.integers(shape[1], size=len(logits))
        y = labels.astype(dtype)
        setting, matrix = SparseCategoricalCrossentropy(), logits
        target = setting._kernel_target(
            shape, dtype, labels=check_labels(labels, shape[:1], shape[1])
        )
        theirs = sklearn_loss.HalfMultinomialLoss(n_classes=shape[1])
        torch_y = labels
    filled = gradient.reshape(matrix.shape)
    proba_kind = setting._proba_kind
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
    if jax is not None:
        found["JAX"] = of_jax(logits, torch_y, binary)
    if not binary:
        found["scipy"] = of_scipy(logits, labels, gradient)
    return found


def softmax_variants(shape, dtype, n_threads):
    """{name: (function, name of what it is compared with)} beside INTEGER."""
    rng = np.random.default_rng(0)
    n_rows, n_classes = shape
    logits = (3 * rng.standard_normal(shape)).astype(dtype)
    labels = check_labels(rng.integers(n_classes, size=n_rows), (n_rows,), n_classes)
    some_ignored = np.where(rng.random(n_rows) < 0.1, np.int32(-1), labels)
    soft = rng.dirichlet(np.ones(n_classes), n_rows).astype(dtype)
    wider = np.empty((n_rows, n_classes + 3), dtype)[:, :n_classes]
    wider[:] = logits
    columns, copy = np.asfortranarray(logits), np.empty_like(logits)

    def of(setting=None, z=logits, first=None, **target):
        encoded = (setting or SparseCategoricalCrossentropy())._kernel_target(
            shape, z.dtype, **(target or {"labels": labels})
        )
        loss, gradient = np.empty(n_rows, z.dtype), np.empty(shape, z.dtype)

        def run():
            if first is not None:
                np.copyto(z, first)
            encoded.loss_gradient(z, loss, gradient, n_threads)

        return run

    smoothed = SparseCategoricalCrossentropy(label_smoothing=0.1)
    return {
        INTEGER: (of(), None),
        "weights": (of(labels=labels, weight=rng.uniform(0.5, 2, n_rows)), INTEGER),
        "smoothing": (of(smoothed), INTEGER),
        "a tenth of the rows ignored": (of(labels=some_ignored), INTEGER),
        "soft rows": (of(CategoricalCrossentropy(), values=soft), INTEGER),
        **{name: (of(setting), INTEGER) for name, setting in FORMS.items()},
        **{
            f"soft rows, {name}": (of(setting, values=soft), "soft rows")
            for name, setting in FORMS.items()
        },
        "float64": (of(z=logits.astype(np.float64)), INTEGER),
        "copying them first, then C order": (of(z=copy, first=columns), None),
        "logits in Fortran order": (of(z=columns), "copying them first, then C order"),
        "copying it first": (of(z=copy, first=wider), None),
        "logits that are a slice of wider rows": (of(z=wider), "copying it first"),
    }


def binary_variants(dtype, n_threads):
    """The same for binary cross-entropy of N_BINARY entries."""
    rng = np.random.default_rng(0)
    logits = (3 * rng.standard_normal(N_BINARY)).astype(dtype)
    y = rng.integers(2, size=N_BINARY).astype(dtype)
    missing = np.where(rng.random(N_BINARY) < 0.1, dtype.type(np.nan), y)

    def of(n_outputs, values, setting=None, **target):
        z = logits.reshape(-1, n_outputs)
        encoded = (setting or BinaryCrossentropy())._kernel_target(
            z.shape, dtype, values=values.reshape(z.shape), **target
        )
        loss, gradient = np.empty(len(z), dtype), np.empty_like(z)
        return lambda: encoded.loss_gradient(z, loss, gradient, n_threads)

    doubled = BinaryCrossentropy(pos_weight=np.full(10, 2.0))
    return {
        HARD: (of(1, y), None),
        "weights": (of(1, y, weight=rng.uniform(0.5, 2, N_BINARY)), HARD),
        "focal": (of(1, y, BinaryFocalCrossentropy()), HARD),
        "asymmetric": (of(1, y, AsymmetricBinaryCrossentropy()), HARD),
        "a tenth of the entries missing": (of(1, missing), HARD),
        "10 outputs": (of(10, y), HARD),
        "10 outputs, a tenth of the entries missing": (of(10, missing), HARD),
        "10 outputs, weights": (of(10, y, weight=rng.uniform(0.5, 2, N_BINARY // 10)), HARD),
        "10 outputs, pos_weight": (of(10, y, doubled), HARD),
    }


def print_variants(columns, repeats):
    """A table of ratios: variants in lines, shapes in columns."""
    units, cells = {}, {}
    for variants in columns.values():
        variants = variants()  # only now, so that one shape is in memory at a time
        ms = medians({name: function for name, (function, _) in variants.items()}, repeats)
        for name, (_, unit) in variants.items():
            if unit:
                units[name] = unit
                cells.setdefault(name, []).append(f"{ms[name] / ms[unit]:.2f}")
    print("| variant | compared with | " + " | ".join(columns) + " |")
    print("|---|---|" + "---|" * len(columns))
    for name, unit in units.items():
        print(f"| {name} | {unit} | " + " | ".join(cells[name]) + " |")


def medians(functions, repeats):
    """Median milliseconds of each, in rounds of a few runs after a pause and a warm-up.

    The pause lets the threads of the last library stop spinning, which would take a core from the
    next one.
    """
    times = {name: [] for name in functions}
    for _ in range(-(-repeats // RUNS)):
        for name, function in functions.items():
            time.sleep(0.2)
            function()
            for _ in range(RUNS):
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
    print_about("torch", "jax", n_threads=args.threads)
    print(
        f"Milliseconds, logits in {args.dtype}. The columns named after other libraries are their "
        "loss and gradient; a copy reads and writes arrays of the size of logits and gradient.\n"
    )
    print(
        "| logits | loss and gradient | loss alone | gradient alone | probabilities | copy "
        "| scikit-learn | torch | JAX | scipy | times faster than the better of scikit-learn and "
        "torch | speed, of that of the copy |"
    )
    print("|---|" + "---|" * 11)
    with ThreadPoolExecutor(args.threads) as pool:
        for shape in (*SHAPES, (N_BINARY,)):
            ms = medians(contenders(shape, np.dtype(args.dtype), args.threads, pool), args.repeats)
            ours = ms["loss and gradient"]
            peers = min(ms["scikit-learn"], ms.get("torch", np.inf))
            cells = [f"{ms[name]:.1f}" for name in ("loss and gradient", "loss", "gradient")]
            cells += [f"{ms[name]:.1f}" for name in ("proba", "copy", "scikit-learn")]
            cells += [f"{ms[name]:.1f}" if name in ms else "" for name in ("torch", "JAX", "scipy")]
            name = " x ".join(f"{size:,}" for size in shape)
            name = f"{name} (softmax)" if len(shape) > 1 else f"{name} (sigmoid)"
            print(
                f"| {name} | " + " | ".join(cells) + f" | {peers / ours:.1f} | "
                f"{100 * ms['copy'] / ours:.0f} % |",
                flush=True,
            )
    print(
        "\nTime of loss and gradient, as a multiple of the time of the case in the second column, "
        "for softmax losses of integer labels where nothing else is said:\n"
    )
    dtype = np.dtype(args.dtype)
    columns = {
        f"{n:,} x {k:,}": functools.partial(softmax_variants, (n, k), dtype, args.threads)
        for n, k in SHAPES[:-1]
    }
    print_variants(columns, args.repeats)
    print("\nThe same for sigmoid losses:\n")
    columns = {f"{N_BINARY:,}": functools.partial(binary_variants, dtype, args.threads)}
    print_variants(columns, args.repeats)


if __name__ == "__main__":
    main()
