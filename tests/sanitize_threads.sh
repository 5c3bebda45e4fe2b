#!/usr/bin/env bash
# Build a copy of the working tree with ThreadSanitizer, and look for data races in the kernels: with
# several OpenMP threads in a call, and with several Python threads that call at the same time.
#
#     tests/sanitize_threads.sh [python]    Clang with its OpenMP runtime and libarcher, through which
#                                           ThreadSanitizer knows what that runtime synchronises
#                                           (Debian: clang-14 libomp-14-dev libclang-rt-14-dev); python
#                                           (default: python3) as for tests/sanitize.sh, with its
#                                           headers and shared library
#
# CLANG names the compiler (default: clang-14). Ends with an error at the first report, and if a race
# that is made on purpose is not reported.
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
clang=${CLANG:-clang-14}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

config() { "$python" -c "import sysconfig; print(sysconfig.$1)"; }

cd "$source_dir"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work"
cd "$work"
CC="$clang" LDSHARED="$clang -shared" XENTLEARN_SANITIZE=thread \
    "$python" setup.py -q build_ext --inplace >build.log 2>&1 || { cat build.log; exit 1; }

# ThreadSanitizer has to be part of the program, so Python's own is replaced by one of three lines.
cat >main.c <<'EOF'
#include <Python.h>
int main(int argc, char **argv) { return Py_BytesMain(argc, argv); }
EOF
libraries=$(config "get_config_var('LIBDIR')")
"$clang" -fsanitize=thread main.c -I"$(config "get_path('include')")" -o sanitized -rdynamic \
    -L"$libraries" -Wl,-rpath,"$libraries" -lpython"$(config "get_config_var('LDVERSION')")"

archer=$("$clang" -print-resource-dir)/../../libarcher.so
[ -e "$archer" ] || { echo "There is no $archer."; exit 1; }
export OMP_TOOL_LIBRARIES="$archer" OMP_NUM_THREADS=4 PYTHONMALLOC=malloc
export PYTHONPATH="$work:$(config "get_path('purelib')")"
# Python and NumPy are built without it; what they do to memory is not looked at
export TSAN_OPTIONS="ignore_noninstrumented_modules=1 history_size=4 halt_on_error=1 exitcode=66"

# addresses as ThreadSanitizer expects them
run() { setarch -R ./sanitized "$@"; }

run -c "import xentlearn; assert xentlearn.__file__.startswith('$work'), xentlearn.__file__"

status=0
run - >made_on_purpose.log 2>&1 <<'EOF' || status=$?
import threading
import numpy as np
from xentlearn.losses import SparseCategoricalCrossentropy

logits = np.zeros((200_000, 5))
labels, shared = np.zeros(len(logits), dtype=int), np.empty_like(logits)
begin = threading.Barrier(2)

def write():
    begin.wait()
    SparseCategoricalCrossentropy().loss_gradient(labels, logits, gradient_out=shared)

threads = [threading.Thread(target=write) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
EOF
[ "$status" -eq 66 ] || { cat made_on_purpose.log; echo "A race was not reported."; exit 1; }

for target in scalar avx2; do
    XENTLEARN_CPU_TARGET=$target run -m pytest -q -x -p no:cacheprovider tests/utils/test_races.py
done
run -m pytest -q -x -p no:cacheprovider tests/utils/test_races.py tests/utils/test_parts.py \
    tests/kernels/test_design_matrix.py tests/kernels/test_random_fits.py tests/objective tests/solvers
echo "Nothing to report."
