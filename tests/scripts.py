"""Python code that runs in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import xentlearn

PACKAGE = Path(xentlearn.__file__).resolve().parent
TIMEOUT = 120  # seconds for a script that takes one or two


def run_python(code, *arguments, path=PACKAGE.parent, cwd=None, **environment):
    """Run code in a new process, by default with the xentlearn that is tested here."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "XENTLEARN_"))}
    paths = [str(path), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**inherited, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def output_of(code, *arguments, **environment):
    """What a script prints; it must succeed and stay silent on stderr."""
    result = run_python(code, *arguments, **environment)
    assert result.returncode == 0, result.stderr[-3000:]
    assert not result.stderr
    return result.stdout.strip()
