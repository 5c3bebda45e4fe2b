"""What was measured, when, and on which machine: the first paragraph that benchmarks print."""

import datetime
import os
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import xentlearn
from xentlearn import _loss
from xentlearn._utils.threads import effective_n_threads

ALWAYS = ("numpy", "scipy", "scikit-learn")


def about(*packages, n_threads=None):
    """List of sentences: command and date, machine and threads, versions.

    ``packages`` are those whose versions matter beside NumPy, SciPy and scikit-learn, and
    ``n_threads`` is the number of threads in use if it is not the default.
    """
    n_threads = n_threads or effective_n_threads()
    versions = [f"xentlearn {xentlearn.__version__}", f"Python {platform.python_version()}"]
    versions += [version_of(package) for package in (*ALWAYS, *packages)]
    return [
        f"Measured by `{command()}` on {datetime.date.today()}.",
        f"Machine: {cpu_model()}, {os.cpu_count()} cores; {n_threads} "
        f"{'thread' if n_threads == 1 else 'threads'}, CPU target {_loss.current_cpu_target()}.",
        f"Versions: {', '.join(versions)}.",
    ]


def print_about(*packages, n_threads=None):
    """Print these sentences as a paragraph."""
    print(*about(*packages, n_threads=n_threads), sep="\n", end="\n\n", flush=True)


def command():
    """What was typed, with "PATH" for absolute paths, which mean nothing to a reader."""
    script = Path(sys.argv[0]).resolve().relative_to(Path(__file__).resolve().parents[1])
    arguments = ["PATH" if os.path.isabs(argument) else argument for argument in sys.argv[1:]]
    return shlex.join(["python", script.as_posix(), *arguments])


def cpu_model():
    """As Linux tells it, or whatever Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version_of(package):
    """Its name and version."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"
