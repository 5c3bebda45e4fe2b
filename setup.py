"""The compiled extensions: sources, flags, the OpenMP probe. All other settings: pyproject.toml.

Environment
-----------
XENTLEARN_NO_OPENMP=1   build without OpenMP (one thread)
XENTLEARN_DEBUG=1       bounds checks in Cython, assertions and debug symbols in C
XENTLEARN_SANITIZE=...  GCC's or Clang's sanitizers of that name ("address,undefined", "thread");
                        see tests/sanitize.sh and tests/sanitize_threads.sh, which run them
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("XENTLEARN_DEBUG", "0") != "0"
SANITIZE = os.environ.get("XENTLEARN_SANITIZE", "")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": False,  # its errors cannot leave a parallel block
    "nonecheck": False,
    "cdivision": True,
    "freethreading_compatible": True,
    "embedsignature": True,
}

HEADERS = [str(path) for path in sorted(Path("xentlearn/_kernels").glob("*.h"))]


def extension(name, *c_sources):
    """One extension module from its .pyx file and C sources of _kernels."""
    return Extension(
        f"xentlearn.{name}",
        [
            f"xentlearn/{name.replace('.', '/')}.pyx",
            *(f"xentlearn/_kernels/{source}" for source in c_sources),
        ],
        include_dirs=["xentlearn"],
        depends=HEADERS,
    )


EXTENSIONS = [
    extension("_loss", "rows.c"),
    extension("_losses._proba_loss"),
    extension("_utils._csr"),
    extension("_data._mapped", "mapped.c"),
    extension("_data._design_matrix", "products.c", "gather.c"),
    extension("_data._factors"),
    extension("_data._small_binary"),
    extension("_objective._dual", "dual.c"),
    extension("_objective._softmax_dual", "softmax_dual.c"),
    extension("_objective._coordinate_descent"),
    extension("_objective._matrix_model"),
    extension("_objective._penalties"),
    extension("_solvers._steps", "steps.c"),
    extension("_utils._sweeps"),
    extension("_utils._blas"),
    extension("_utils._openmp"),
]

OPENMP_PROBE = """
#include <omp.h>
int main(void)
{
    int n = 0;
    #pragma omp parallel reduction(+:n)
    n += 1;
    return n == 0;
}
"""


def openmp_flags(compiler_type):
    """Candidate (compile, link) flags, the likeliest first."""
    if compiler_type == "msvc":
        return [(["/openmp"], [])]
    candidates = [(["-fopenmp"], ["-fopenmp"])]
    if sys.platform == "darwin":
        # Apple's clang has the front end only; the library is Homebrew's or conda's
        prefixes = [
            os.environ.get("CONDA_PREFIX"),
            "/opt/homebrew/opt/libomp",
            "/usr/local/opt/libomp",
        ]
        candidates.insert(0, (["-Xpreprocessor", "-fopenmp"], ["-lomp"]))
        candidates += [
            (
                ["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"],
                [f"-L{prefix}/lib", f"-Wl,-rpath,{prefix}/lib", "-lomp"],
            )
            for prefix in prefixes
            if prefix
        ]
    return candidates


class BuildExt(build_ext):
    """build_ext with flags that depend on the compiler."""

    def build_extensions(self):
        msvc = self.compiler.compiler_type == "msvc"
        if msvc:
            compile_flags, link_flags = (["/Od", "/Zi"] if DEBUG else ["/O2"]), []
        else:
            # -ffp-contract=fast is what GCC does anyway: products may be fused with sums where the
            # target has FMA. Nothing else about arithmetic is relaxed.
            compile_flags = ["-O2", "-g"] if DEBUG else ["-O3", "-g0"]
            # errno of sqrt is of no use, and keeps loops from becoming vectors
            compile_flags += ["-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden"]
            link_flags = []
        if SANITIZE:
            # Python's own flags have -fwrapv, which makes signed overflow and shifts defined
            sanitizers = [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all"]
            compile_flags += [*sanitizers, "-fno-wrapv", "-fno-omit-frame-pointer", "-O2", "-g"]
            link_flags += sanitizers
        openmp_compile, openmp_link = self.probe_openmp()
        for ext in self.extensions:
            ext.extra_compile_args = compile_flags + openmp_compile
            ext.extra_link_args = link_flags + openmp_link
            if not DEBUG:
                ext.define_macros = [("NDEBUG", None)]
        self.parallel = self.parallel or True  # one after the other they take a minute
        super().build_extensions()

    def probe_openmp(self):
        """Flags with which a small OpenMP program builds and runs, or none at all."""
        if os.environ.get("XENTLEARN_NO_OPENMP", "0") != "0":
            return [], []
        for compile_flags, link_flags in openmp_flags(self.compiler.compiler_type):
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder, "probe.c")
                source.write_text(OPENMP_PROBE)
                try:
                    objects = self.compiler.compile(
                        [str(source)], output_dir=folder, extra_postargs=compile_flags
                    )
                    program = str(Path(folder, "probe"))
                    self.compiler.link_executable(objects, program, extra_postargs=link_flags)
                    # a cross build cannot run it: linking has to be enough there
                    if not os.environ.get("_PYTHON_HOST_PLATFORM"):
                        subprocess.run([program], check=True, timeout=60)
                except Exception as error:  # any failure means the same: try the next flags
                    self.announce(f"OpenMP probe with {compile_flags}: {error}", level=2)
                else:
                    return compile_flags, link_flags
        self.warn("no OpenMP found: xentlearn will run on one thread (see README, 'Building')")
        return [], []


setup(
    ext_modules=cythonize(EXTENSIONS, compiler_directives=DIRECTIVES, annotate=DEBUG),
    cmdclass={"build_ext": BuildExt},
)
