"""Count what a reader of the source has to follow: functions and files of a default fit, lines.

    python benchmarks/structure.py          # a report
    python benchmarks/structure.py --json   # the same numbers for a program

The default fit is ``SoftmaxClassifier().fit(X, y)`` with X dense float32 of shape (20000, 100) and
y of ten classes. The Python functions that it runs in the caller's thread are counted with
`sys.setprofile`; lambdas, comprehensions and generator expressions count where this version of
Python makes functions of them (all of them up to 3.11). The frames between ``fit`` and the sum over
rows are those on the stack between ``SoftmaxClassifier.fit`` and ``DesignMatrix.loss_gradient``,
neither of the two counted.
A code line is one that has a token of Python or Cython other than a comment or a docstring.
"""

import argparse
import collections
import inspect
import io
import json
import re
import sys
import tokenize
from pathlib import Path

import numpy as np

import xentlearn
from xentlearn._data import _design_matrix

ROOT = Path(xentlearn.__file__).parent
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


# --- What runs ------------------------------------------------------------------------------------


def default_fit():
    """Run it and return (calls by (file, function, line), frames of the deepest sum over rows)."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, 100)).astype(np.float32)
    y = (X @ rng.standard_normal((100, 10)) + rng.gumbel(size=(20_000, 10))).argmax(axis=1)
    calls, deepest = collections.Counter(), []

    def profile(frame, event, argument):
        code = frame.f_code
        if event == "call" and Path(code.co_filename).is_relative_to(ROOT):
            name = getattr(code, "co_qualname", code.co_name)  # the former since Python 3.11
            file = Path(code.co_filename).relative_to(ROOT).as_posix()
            calls[file, name, code.co_firstlineno] += 1

    class WatchedMatrix(_design_matrix.DesignMatrix):
        """A design matrix that looks at the stack when it is asked for a sum over its rows."""

        def loss_gradient(self, *args, **kwargs):
            nonlocal deepest
            frames, frame = [], sys._getframe(1)
            while frame.f_code is not fit_code:
                frames.append(getattr(frame.f_code, "co_qualname", frame.f_code.co_name))
                frame = frame.f_back
            deepest = max(deepest, frames[::-1], key=len)
            return super().loss_gradient(*args, **kwargs)

    fit_code = inspect.unwrap(xentlearn.SoftmaxClassifier.fit).__code__
    originals = [
        module
        for name, module in sys.modules.items()
        if name.startswith("xentlearn.")
        and getattr(module, "DesignMatrix", None) is _design_matrix.DesignMatrix
    ]
    clf = xentlearn.SoftmaxClassifier()
    for module in originals:
        module.DesignMatrix = WatchedMatrix
    sys.setprofile(profile)
    try:
        clf.fit(X, y)
    finally:
        sys.setprofile(None)
        for module in originals:
            module.DesignMatrix = _design_matrix.DesignMatrix
    if not deepest:
        raise RuntimeError("The fit never called DesignMatrix.loss_gradient; adapt this script.")
    return calls, deepest


# --- What is written ------------------------------------------------------------------------------


def code_lines(text):
    """Return the number of lines of code in the text of a Python or Cython file."""
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    lines, begins_statement = set(), True
    for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type in NOT_CODE:
            begins_statement |= token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
            continue
        # a string that is a whole statement is a docstring
        alone = token.type == tokenize.STRING and begins_statement
        if not (alone and after.type in (tokenize.NEWLINE, tokenize.COMMENT)):
            lines.update(range(token.start[0], token.end[0] + 1))
        begins_statement = False
    return len(lines)


def c_code_lines(text):
    """Return the number of lines of code in the text of a C file."""
    without_comments = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    return sum(bool(line.strip()) for line in without_comments.splitlines())


def source_files():
    """Yield every file of the source as (path relative to the package, lines of code)."""
    for path in sorted(ROOT.rglob("*")):
        generated = path.suffix == ".c" and path.with_suffix(".pyx").exists()
        if path.suffix in (".py", ".pyx", ".pxd"):
            yield path.relative_to(ROOT), code_lines(path.read_text())
        elif path.suffix in (".c", ".h") and not generated:
            yield path.relative_to(ROOT), c_code_lines(path.read_text())


def lines_by_folder():
    """Return {folder: {kind of file: lines of code}}; "." has the files at the top."""
    folders = collections.defaultdict(collections.Counter)
    for path, lines in source_files():
        kind = {".py": "Python", ".pyx": "Cython", ".pxd": "Cython"}.get(path.suffix, "C")
        folders[path.parent.as_posix()][kind] += lines
    return {folder: dict(kinds) for folder, kinds in sorted(folders.items())}


# --- Report ---------------------------------------------------------------------------------------


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    calls, deepest = default_fit()
    files = collections.defaultdict(list)
    for file, name, line in sorted(calls):
        files[file].append((line, name))
    lines = lines_by_folder()
    if as_json:
        report = {
            "functions": len(calls),
            "files": sorted(files),
            "frames": deepest,
            "lines": lines,
            "python": sys.version_info[:2],
        }
        print(json.dumps(report))
        return

    print(f"A default fit runs {len(calls)} Python functions in {len(files)} files.\n")
    for file, functions in files.items():
        print(f"{file}: {', '.join(name for _, name in sorted(functions))}")
    print(f"\nBetween fit and the sum over rows there are {len(deepest)} frames:")
    print(" > ".join(deepest))
    kinds = ["Python", "Cython", "C"]
    print(f"\n{'Lines of code':<16}" + "".join(f"{kind:>8}" for kind in kinds))
    for folder, counts in lines.items():
        print(f"{folder:<16}" + "".join(f"{counts.get(kind, 0):>8}" for kind in kinds))
    totals = [sum(counts.get(kind, 0) for counts in lines.values()) for kind in kinds]
    print(f"{'total':<16}" + "".join(f"{total:>8}" for total in totals))


if __name__ == "__main__":
    main()
