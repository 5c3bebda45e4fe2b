"""How far are losses and gradients from the exact values? Tables of the largest errors, in eps.

The exact values are those of the tests (mpmath, 50 digits). The rows are difficult on purpose:
logits between -1e4 and 1e4, all of them large and close to each other, one far above the others,
some -inf. Errors are relative; for soft or smoothed targets relative to the scales that
tests/reference.py describes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(1, str(Path(__file__).parents[2] / "tests" / "losses"))
sys.path.insert(2, str(Path(__file__).parents[1]))
import test_forms as forms
from machine import print_about

import reference as ref
import xentlearn
from xentlearn import _loss
from xentlearn.losses import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)

CLASS_COUNTS = (2, 3, 7, 10, 16, 17, 33, 100, 1003)
FORMS_OUTPUTS = (2, 7, 17, 33, 100)
LOSSES = {  # what is measured: its name in the table
    "sparse": "sparse categorical: integer labels",
    "sparse, smoothed": "sparse categorical, `label_smoothing=0.1`",
    "categorical": "categorical: soft rows",
    "categorical, one-hot": "categorical: one-hot rows",
    "binary": "binary: targets 0 and 1",
    "binary, soft": "binary: targets between 0 and 1",
}


def logits_of(rng, n_classes, dtype):
    """Hard rows, one of each kind per scale."""
    rows = []
    for scale in (1e-3, 1.0, 10.0, 100.0, 1e4):
        rows.append(rng.uniform(-scale, scale, n_classes))
        row = rng.normal(size=n_classes)
        row[rng.integers(n_classes)] += scale
        rows.append(row)
        rows.append(scale + rng.uniform(0, 10, n_classes))
    masked = rng.normal(size=n_classes)
    masked[1:][rng.random(n_classes - 1) < 0.4] = -np.inf
    rows.append(masked)
    return np.clip(rows, -np.inf, 1e4).astype(dtype)


def oracle_of(loss, logits, rng):
    """(setting, y, exact losses, exact gradients, scales of the gradients)."""
    n, n_classes = logits.shape
    if loss.startswith("binary"):
        logits[~np.isfinite(logits)] = -1e4
        y = rng.integers(2, size=logits.shape).astype(float)
        if "soft" in loss:
            y = rng.random(logits.shape).astype(logits.dtype).astype(float)
        pairs = [
            [(ref.BinaryLogit(z), t) for z, t in zip(*row, strict=True)]
            for row in zip(logits, y, strict=True)
        ]
        losses = [ref.mp.fsum(ref.binary_loss(*pair) for pair in row) for row in pairs]
        gradients = [[ref.binary_gradient(*pair) for pair in row] for row in pairs]
        setting = BinaryCrossentropy()
        split = [tuple(zip(*row, strict=True)) for row in gradients]
    else:
        smoothing = 0.1 if "smoothed" in loss else 0.0
        rows = [ref.SoftmaxRow(row) for row in logits]
        if loss == "categorical":
            y = rng.random(logits.shape) ** 3
            y[logits == -np.inf] = 0
            y = (y / y.sum(axis=1, keepdims=True)).astype(logits.dtype)
            setting = CategoricalCrossentropy()
        else:
            any_class = rng.integers(n_classes, size=n)
            y = np.where(rng.random(n) < 0.5, logits.argmax(axis=1), any_class)
            setting = SparseCategoricalCrossentropy(label_smoothing=smoothing)
        pairs = list(zip(rows, y, strict=True))
        if loss == "categorical, one-hot":
            setting, y = CategoricalCrossentropy(), np.eye(n_classes, dtype=logits.dtype)[y]
        losses = [ref.softmax_loss(*pair, smoothing) for pair in pairs]
        split = [ref.softmax_gradient(*pair, smoothing) for pair in pairs]
    return setting, y, losses, [pair[0] for pair in split], [pair[1] for pair in split]


def worst(dtype, seed):
    """{(loss, target): [largest error of a loss, of a gradient entry]} over all class counts."""
    errors = {}
    for n_classes in CLASS_COUNTS:
        for loss in LOSSES:
            rng = np.random.default_rng([seed, n_classes])
            logits = logits_of(rng, n_classes, dtype)
            setting, y, losses, gradients, scales = oracle_of(loss, logits, rng)
            for target in _loss.available_cpu_targets():
                xentlearn.use_cpu_target(target)
                got = setting.loss_gradient(y, logits)
                found = errors.setdefault((loss, target), [0.0, 0.0])
                found[0] = max(found[0], ref.error_in_eps(got[0], losses, dtype))
                found[1] = max(found[1], ref.error_in_eps(got[1], gradients, dtype, scales))
            xentlearn.use_cpu_target()
    return errors


def worst_of_forms(dtype):
    """{setting: [largest error of a loss, of a gradient entry]}: labels, soft rows, entries."""
    errors = {}
    for setting in (*forms.SOFTMAX_FORMS, *forms.BINARY_FORMS):
        worst = errors.setdefault(repr(setting), [0.0, 0.0])
        for n_outputs in FORMS_OUTPUTS:
            for got, exact, scales in forms.compared(setting, n_outputs, dtype):
                for i in (0, 1):
                    found = ref.error_in_eps(got[i], exact[i], dtype, scales[i])
                    worst[i] = max(worst[i], found)
    return errors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    targets = _loss.available_cpu_targets()
    print_about("mpmath")
    print(
        f"Errors in eps, the largest over rows of {', '.join(map(str, CLASS_COUNTS))} classes: "
        "of a loss / of an entry of its gradient. The bound is 8.\n"
    )
    print("| loss | dtype | " + " | ".join(targets) + " |")
    print("|---|---|" + "---|" * len(targets))
    for dtype in (np.float32, np.float64):
        errors = worst(dtype, args.seed)
        for loss, title in LOSSES.items():
            cells = ["{:.1f} / {:.1f}".format(*errors[loss, target]) for target in targets]
            print(f"| {title} | {np.dtype(dtype)} | " + " | ".join(cells) + " |")
    print(
        f"\nThe other losses, on rows of {', '.join(map(str, FORMS_OUTPUTS))} classes or labels, "
        f"with CPU target {_loss.current_cpu_target()}:"
    )
    print("\n| loss | float32 | float64 |\n|---|---|---|")
    both = [worst_of_forms(dtype) for dtype in (np.float32, np.float64)]
    for name in both[0]:
        cells = ["{:.1f} / {:.1f}".format(*errors[name]) for errors in both]
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
