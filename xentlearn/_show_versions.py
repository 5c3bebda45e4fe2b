"""A report of what was built and what it runs on."""

import platform
import sys

from threadpoolctl import threadpool_info

from . import _loss
from ._utils import _openmp
from ._utils.threads import effective_n_threads

# All of them have been imported with this package.
PACKAGES = "xentlearn", "sklearn", "numpy", "scipy", "joblib", "threadpoolctl"


def show_versions():
    """Print what was built and what it runs on, for bug reports.

    Versions, CPU targets, threads, and the OpenMP and BLAS libraries that are loaded.

    Examples
    --------
    >>> import xentlearn
    >>> xentlearn.show_versions()  # doctest: +ELLIPSIS
    System
        python: ...
    """
    openmp = _openmp.version()
    sections = {
        "System": [("python", sys.version.replace("\n", " ")), ("machine", platform.platform())],
        "Packages": [(name, sys.modules[name].__version__) for name in PACKAGES],
        "Build": [
            ("OpenMP", f"yes, specification of {openmp}" if openmp else "no (one thread)"),
            ("CPU targets", ", ".join(_loss.available_cpu_targets())),
            ("CPU target in use", _loss.current_cpu_target()),
            ("threads", effective_n_threads()),
        ],
        "Thread pools": [
            (
                f"{pool['user_api']} {pool['internal_api']}",
                f"{pool['num_threads']} threads, version {pool['version']}, {pool['filepath']}",
            )
            for pool in threadpool_info()
        ],
    }
    for title, rows in sections.items():
        print(title)
        for name, value in rows:
            print(f"    {name}: {value}")
