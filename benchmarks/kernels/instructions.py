"""How many instructions does a logit cost? Counted by callgrind, so the machine's noise is out.

Only what happens inside the loop over rows is counted, for loss and gradient of integer labels.
Valgrind has no AVX-512: the widest target it can run is "avx2". The count does not tell the time,
which depends on memory and on divisions as well, but a change that adds instructions shows here on
any machine. Takes minutes: Python and scikit-learn are imported under valgrind once per shape.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import print_about

SHAPES = ((1024, 3), (1024, 10), (320, 100), (32, 1000), (2, 50_000))
COUNTED = "*process_rows*"


def work(n_rows, n_classes, dtype):
    """What callgrind watches."""
    import numpy as np

    from xentlearn._losses.validation import check_labels
    from xentlearn.losses import SparseCategoricalCrossentropy

    rng = np.random.default_rng(0)
    shape = n_rows, n_classes
    logits = (3 * rng.standard_normal(shape)).astype(dtype)
    labels = check_labels(rng.integers(n_classes, size=n_rows), (n_rows,), n_classes)
    target = SparseCategoricalCrossentropy()._kernel_target(shape, logits.dtype, labels=labels)
    target.loss_gradient(logits, np.empty(n_rows, logits.dtype), np.empty_like(logits), 1)


def instructions(shape, args):
    """Instructions per logit."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        command = [
            *("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"),
            *("--collect-atstart=no", f"--toggle-collect={COUNTED}"),
            *(sys.executable, __file__, "--dtype", args.dtype, "--work", *map(str, shape)),
        ]
        environment = {**os.environ, "XENTLEARN_CPU_TARGET": args.target}
        subprocess.run(command, check=True, env=environment, capture_output=True)
        total = re.search(r"^(?:summary|totals): (\d+)", out.read_text(), re.MULTILINE)
    return int(total[1]) / (shape[0] * shape[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--target", choices=["scalar", "baseline", "avx2"], default="avx2")
    parser.add_argument("--work", nargs=2, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(*args.work, args.dtype)
        return
    print_about(n_threads=1)
    print(
        f"Instructions per logit for loss and gradient of integer labels in {args.dtype}, CPU "
        f"target {args.target} (callgrind has no AVX-512):\n"
    )
    with ThreadPoolExecutor(2) as pool:
        counts = pool.map(lambda shape: instructions(shape, args), SHAPES)
        print("| classes | instructions per logit |\n|---|---|")
        for (_, n_classes), count in zip(SHAPES, counts, strict=True):
            print(f"| {n_classes:,} | {count:.1f} |", flush=True)


if __name__ == "__main__":
    main()
