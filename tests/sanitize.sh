#!/usr/bin/env bash
# Build a copy of the working tree with AddressSanitizer and UndefinedBehaviorSanitizer, OpenMP
# included, and run the tests of the kernels and some random fits with it. The first report of a
# sanitizer ends the process that it is about, and this script with an error.
#
#     tests/sanitize.sh [python]        GCC; python (default: python3) has the "test" extra, Cython,
#                                       SciPy and setuptools >= 77
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v "${1:-python3}")
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$source_dir"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work"
cd "$work"
XENTLEARN_SANITIZE=address,undefined "$python" setup.py -q build_ext --inplace >build.log 2>&1 ||
    { cat build.log; exit 1; }

# The sanitizers' libraries come first, since Python itself is built without them; Python's own
# allocator would hide what lies next to a small array, and it leaks what it keeps until the end.
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
export ASAN_OPTIONS="detect_leaks=0:halt_on_error=1:allocator_may_return_null=1"
export UBSAN_OPTIONS="halt_on_error=1:print_stacktrace=1"
export PYTHONMALLOC=malloc PYTHONPATH="$work" OMP_NUM_THREADS=2

run() { "$python" -m pytest -q -x -n 2 -p no:cacheprovider "$@"; }

"$python" -c "import xentlearn; assert xentlearn.__file__.startswith('$work'), xentlearn.__file__"
run tests/utils/test_memory_safety.py tests/losses/test_loss.py tests/losses/test_losses.py tests/kernels/test_kernels.py \
    tests/kernels/test_design_matrix.py tests/kernels/test_random_fits.py \
    tests/objective/test_dual.py tests/objective/test_softmax_dual.py
# the oracles of the other forms take minutes: rows below and above the width of turned blocks
run tests/losses/test_forms.py -k "not test_accuracy or 7-float or 33-float"
for target in scalar baseline avx2; do
    XENTLEARN_CPU_TARGET=$target run tests/kernels/test_random_fits.py
done
echo "Nothing to report."
