"""The layout of the source: what imports what, sizes of files, and where tuning constants live.

Imports point one way, between folders as between files.
"""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xentlearn

PACKAGE = Path(xentlearn.__file__).parent
STRUCTURE = Path(__file__).resolve().parents[1] / "benchmarks" / "structure.py"

# Each may import from its own group and from those before it.
LAYERS = [
    {"_utils"},
    {"_plan"},
    {"_loss", "_losses"},
    {"_data"},
    {"_objective"},
    {"_solvers"},
    {"_estimator"},
    {"_selection"},
    {"_display"},
    {"_cpu_target", "_show_versions", "_classifier"},
]
MOST_LINES = 500  # of a Python file, docstrings and comments included
FILES_OF_CONSTANTS = {
    "_plan.plan",
    "_plan.settings",
    "_utils.numerics",
    "_utils.threads",
    "_plan.cost",
}
OF_A_FORMAT = {"VERSION", "DIGEST_SIZE"}  # of files: nobody tunes them


# --- Reading the source ---------------------------------------------------------------------------


def module_name(path):
    """Return ``_data.dataset`` for ``_data/dataset.py`` and ``_data`` for ``_data/__init__.py``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    module_name(path): path for suffix in ("py", "pyx") for path in PACKAGE.rglob(f"*.{suffix}")
}


def syntax_tree(name):
    """The tree of a Python file; of a Cython file its import statements alone."""
    text = SOURCES[name].read_text()
    if SOURCES[name].suffix == ".pyx":
        statement = r"^[ ]*((?:from[ ]+[\w.]+[ ]+)?c?import[ ]+(?:\([^)]*\)|[^(\n]*))"
        found = re.findall(statement, text, re.MULTILINE)
        text = "\n".join(line.replace("cimport", "import") for line in found)
    return ast.parse(text)


def imports_of(name):
    """Modules of the package that a module imports, at its top or inside of a function."""
    if SOURCES[name].name == "__init__.py":
        package = name.split(".") if name else []
    else:
        package = name.split(".")[:-1]
    found = set()
    for node in ast.walk(syntax_tree(name)):
        if isinstance(node, ast.Import):
            targets = [alias.name.split(".") for alias in node.names]
            found.update(".".join(path[1:]) for path in targets if path[0] == "xentlearn")
        elif isinstance(node, ast.ImportFrom):
            path = node.module.split(".") if node.module else []
            if node.level:
                base = [*package[: len(package) - node.level + 1], *path]
            elif path[0] == "xentlearn":
                base = path[1:]
            else:
                continue
            for alias in node.names:  # a module, or something in one
                target = ".".join([*base, alias.name])
                found.add(target if target in SOURCES else ".".join(base))
    assert found <= SOURCES.keys(), f"{name} imports {found - SOURCES.keys()}"
    return found - {name}


IMPORTS = {name: imports_of(name) for name in SOURCES}


def layer(name):
    """The number of a private module's group, or None of a public one."""
    top = name.split(".")[0]
    if not top.startswith("_"):
        return None
    return next(number for number, group in enumerate(LAYERS) if top in group)


def cycles(imports):
    """Sets of modules that can all be reached from each other."""

    def reached(name):
        seen, left = set(), [name]
        while left:
            new = imports[left.pop()] - seen
            seen |= new
            left += new
        return seen

    below = {name: reached(name) for name in imports}
    return {
        frozenset(other for other in below[name] if name in below[other])
        for name in imports
        if name in below[name]
    }


def is_number(node, numbers):
    """Whether an expression is made of numbers and of names of such constants, and has one."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and not isinstance(node.value, bool)
    if isinstance(node, ast.Name):
        return node.id in numbers
    if isinstance(node, ast.UnaryOp):
        return is_number(node.operand, numbers)
    if isinstance(node, ast.BinOp):
        return is_number(node.left, numbers) and is_number(node.right, numbers)
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return bool(node.elts) and all(is_number(item, numbers) for item in node.elts)
    if isinstance(node, ast.Dict):
        return bool(node.values) and all(is_number(item, numbers) for item in node.values)
    return False


def constants_of(tree):
    """Names of the numbers, or tuples or dicts of numbers, that stand at the top of a module."""
    numbers = []
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                name = target.id if isinstance(target, ast.Name) else ""
                if re.fullmatch(r"_?[A-Z][A-Z0-9_]*", name) and is_number(node.value, numbers):
                    numbers.append(name)
    return numbers


# --- What the reading sees ------------------------------------------------------------------------


def test_imports_are_found():
    assert "_data._design_matrix" in IMPORTS["_data.dataset"]  # from ._design_matrix import X
    assert "_loss" in IMPORTS["_data._design_matrix"]  # a cimport of several lines
    assert "_utils.arrays" in IMPORTS["_data._design_matrix"]
    assert "_loss" in IMPORTS["_cpu_target"]  # from . import _loss
    assert "_estimator.classifier" in IMPORTS[""]


def test_cycles_are_found():
    imports = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert cycles(imports) == {frozenset("bc")}


def test_constants_are_found():
    text = """
A, _B = 1, 2
ONE = 1
_LARGE = 64 * 2**20
PAIR = -1e-3, ONE
TABLE = {float: 1e-3}
RATE: float = 0.5
NAME = "x"
FLAG = True
EPS = finfo(float).eps
lower = 3
MIXED = (1, "x")
"""
    assert constants_of(ast.parse(text)) == ["ONE", "_LARGE", "PAIR", "TABLE", "RATE"]


def test_every_private_module_has_a_layer():
    for name in filter(None, SOURCES):
        layer(name)


# --- The layout -----------------------------------------------------------------------------------


def test_imports_between_folders_point_downwards():
    found = {
        f"{name} -> {target}"
        for name, targets in IMPORTS.items()
        for target in targets
        if None not in (layer(name), layer(target)) and layer(target) > layer(name)
    }
    assert not found


def test_private_modules_do_not_import_public_ones():
    found = {
        f"{name} -> {target or 'xentlearn'}"
        for name, targets in IMPORTS.items()
        for target in targets
        if layer(name) is not None and layer(target) is None
    }
    assert not found


def test_no_cycle_between_files():
    assert not {" - ".join(sorted(cycle)) for cycle in cycles(IMPORTS)}


def test_no_long_file():
    found = {
        name
        for name, path in SOURCES.items()
        if path.suffix == ".py" and len(path.read_text().splitlines()) > MOST_LINES
    }
    assert not found


def test_tuning_constants_live_in_few_files():
    found = {
        f"{name}.{constant}"
        for name, path in SOURCES.items()
        if path.suffix == ".py" and name not in FILES_OF_CONSTANTS
        for constant in constants_of(syntax_tree(name))
        if constant not in OF_A_FORMAT
    }
    assert not found
    assert SOURCES.keys() >= FILES_OF_CONSTANTS


# --- A default fit --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def default_fit():
    """What ``benchmarks/structure.py`` counts, in a process that has not fitted before."""
    command = [sys.executable, str(STRUCTURE), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("what", "most"), [("functions", 162), ("files", 17), ("frames", 13)])
def test_a_default_fit_runs_few_functions(what, most, default_fit):
    count = default_fit[what]
    assert (count if what == "functions" else len(count)) <= most
