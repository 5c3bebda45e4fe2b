"""A report of what was built and what it runs on."""

import importlib.metadata
import platform
import sys

from threadpoolctl import threadpool_info

from . import _loss
from ._utils import _openmp
from ._utils.threads import effective_n_threads


def _versions():
    """(name, version) of this package and of what it runs on; None where not installed."""
    for name in ("xentlearn", "scikit-learn", "numpy", "scipy", "joblib", "threadpoolctl"):
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield name, None


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
        "Packages": list(_versions()),
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
