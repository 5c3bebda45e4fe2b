"""The example scripts, run as a user runs them."""

import ast
import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import xentlearn

pytest.importorskip("distributed")
pytest.importorskip("mlxtend")
# Its font cache, too, is built here: that prints a line, and stderr is looked at below.
pytest.importorskip("matplotlib.font_manager")
from matplotlib.image import imread

pytestmark = pytest.mark.slow
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PACKAGE_PARENT = Path(xentlearn.__file__).resolve().parents[1]
TIMEOUT = 900  # seconds; each script takes far less

IDX_NAMES = {
    "train images": "train-images-idx3-ubyte",
    "train labels": "train-labels-idx1-ubyte",
    "test images": "t10k-images-idx3-ubyte",
    "test labels": "t10k-labels-idx1-ubyte",
}


def run_example(name, *arguments, cwd):
    """Run examples/<name> from another folder, with the xentlearn that is tested here."""
    paths = [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "MPLBACKEND": "Agg",
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def assert_success(result):
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Traceback" not in result.stderr


def assert_has_picture(folder):
    """At least one PNG of some size that is not of one colour."""
    pictures = [path for path in folder.rglob("*.png") if path.stat().st_size > 10_000]
    assert pictures, f"no PNG of more than 10 kB among {sorted(folder.rglob('*'))}"
    for path in pictures:
        image = imread(path)
        assert min(image.shape[:2]) >= 200
        assert np.std(image[..., :3]) > 0.01


def assert_one_clear_line(result, *words):
    """It failed with one line on stderr, which has each of the words."""
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert str(word) in lines[0]
    # A way out: an option to give, or a thing to do with the files.
    remedies = ["--data", "--full", "download", "again", "replace", "copy", "put"]
    assert any(remedy in lines[0].lower() for remedy in remedies), lines[0]


def idx_bytes(a):
    """The IDX format: zero, zero, 8 for uint8, the rank, the sizes (big endian), the data."""
    header = struct.pack(">BBBB", 0, 0, 8, a.ndim) + struct.pack(f">{a.ndim}I", *a.shape)
    return header + a.astype(np.uint8).tobytes()


def tiny_mnist():
    """File name -> content: 300 and 60 digits of 8 x 8 pixels, enlarged to 28 x 28."""
    digits = load_digits()
    images = np.kron(digits.images * (255 / 16), np.ones((1, 3, 3)))
    images = np.pad(images, ((0, 0), (2, 2), (2, 2))).round()
    parts = {
        "train images": images[:300],
        "train labels": digits.target[:300],
        "test images": images[300:360],
        "test labels": digits.target[300:360],
    }
    return {IDX_NAMES[part]: idx_bytes(a) for part, a in parts.items()}


def write_mnist(folder, compressed):
    folder.mkdir()
    for name, content in tiny_mnist().items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


COMPRESSED = pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzipped"])


def test_the_tiny_digits_are_what_they_should_be():
    files = tiny_mnist()
    assert len(files[IDX_NAMES["train images"]]) == 16 + 300 * 28 * 28
    assert len(files[IDX_NAMES["test labels"]]) == 8 + 60
    assert files[IDX_NAMES["train images"]][:16] == struct.pack(">4I", 2051, 300, 28, 28)
    assert files[IDX_NAMES["test labels"]][:8] == struct.pack(">2I", 2049, 60)


NAMES = sorted(path.name for path in EXAMPLES.glob("[!_]*.py"))
WITH_OPTIONS = ["dask_cluster.py", "mnist.py", "out_of_core.py"]


@pytest.mark.parametrize("name", NAMES)
def test_example(name, tmp_path):
    result = run_example(name, cwd=tmp_path)
    assert_success(result)
    assert_has_picture(tmp_path / "output")
    assert [path.name for path in tmp_path.iterdir()] == ["output"]  # no other traces
    assert f"Picture: {Path('output', Path(name).stem)}" in result.stdout


@pytest.mark.parametrize("name", NAMES)
def test_title_for_the_gallery(name):
    """The docstring begins with a title of reST, which is a question."""
    docstring = ast.get_docstring(ast.parse((EXAMPLES / name).read_text(encoding="utf-8")))
    title, line, blank = docstring.splitlines()[:3]
    assert title.endswith("?")
    assert line == "=" * len(title)
    assert not blank


@COMPRESSED
def test_mnist_from_files(compressed, tmp_path):
    data = write_mnist(tmp_path / "data", compressed)
    output = tmp_path / "pictures"
    result = run_example("mnist.py", "--data", data, "--output", output, cwd=tmp_path)
    assert_success(result)
    assert_has_picture(output)
    for word in ["accuracy", "objective", "memory", "logisticregression"]:
        assert word in result.stdout.lower()


def test_mnist_from_a_mixture_of_files(tmp_path):
    data = write_mnist(tmp_path / "data", compressed=False)
    labels = data / IDX_NAMES["train labels"]
    labels.with_name(labels.name + ".gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert_success(run_example("mnist.py", "--data", data, "--output", tmp_path, cwd=tmp_path))


def test_mnist_without_the_folder(tmp_path):
    data = tmp_path / "nowhere"
    result = run_example("mnist.py", "--data", data, "--output", tmp_path, cwd=tmp_path)
    assert_one_clear_line(result, data)


@COMPRESSED
@pytest.mark.parametrize("part", IDX_NAMES)
def test_mnist_without_a_file(part, compressed, tmp_path):
    data = write_mnist(tmp_path / "data", compressed)
    name = IDX_NAMES[part]
    (data / (f"{name}.gz" if compressed else name)).unlink()
    result = run_example("mnist.py", "--data", data, "--output", tmp_path, cwd=tmp_path)
    assert_one_clear_line(result, name, data)


@COMPRESSED
@pytest.mark.parametrize("part", ["train images", "test labels"])
@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5], ids=["nothing", "part of it", "half"])
def test_mnist_with_a_truncated_file(part, keep, compressed, tmp_path):
    data = write_mnist(tmp_path / "data", compressed)
    name = IDX_NAMES[part] + (".gz" if compressed else "")
    content = (data / name).read_bytes()
    (data / name).write_bytes(content[: int(keep * len(content))])
    result = run_example("mnist.py", "--data", data, "--output", tmp_path, cwd=tmp_path)
    assert_one_clear_line(result, name)


def test_mnist_with_a_file_of_something_else(tmp_path):
    data = write_mnist(tmp_path / "data", compressed=False)
    name = IDX_NAMES["train images"]
    (data / name).write_bytes(b"<html>Not found</html>" * 10_000)
    result = run_example("mnist.py", "--data", data, "--output", tmp_path, cwd=tmp_path)
    assert_one_clear_line(result, name)


def test_mnist_with_a_gzip_file_of_something_else(tmp_path):
    data = write_mnist(tmp_path / "data", compressed=True)
    name = IDX_NAMES["test labels"] + ".gz"
    (data / name).write_bytes(b"<html>Not found</html>")
    result = run_example("mnist.py", "--data", data, "--output", tmp_path, cwd=tmp_path)
    assert_one_clear_line(result, name)


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_output_folder_that_cannot_be_made(name, tmp_path):
    """It is an error at once, not after the work."""
    (tmp_path / "file").touch()
    result = run_example(name, "--output", tmp_path / "file" / "pictures", cwd=tmp_path)
    assert result.returncode == 2
    assert "cannot be made" in result.stderr


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_help(name, tmp_path):
    result = run_example(name, "--help", cwd=tmp_path)
    assert_success(result)
    assert "--output" in result.stdout
