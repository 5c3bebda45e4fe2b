"""Archives: what is read is what was written, bit by bit; anything else is one kind of error."""

import hashlib
import io
import json
import pickle
import struct
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from xentlearn._utils import archive
from xentlearn._utils.archive import DamagedArchive

DTYPES = [np.dtype(code) for code in "?bBhHiIlLqQefdg"]
DTYPES += [dtype.newbyteorder(">") for dtype in DTYPES]


def pack(tree):
    """The archive of a tree as bytes."""
    pieces = []
    archive.dump(tree, SimpleNamespace(writelines=pieces.extend))
    return b"".join(pieces)


def unpack(data):
    return archive.load(io.BytesIO(data))


def random_array(rng):
    dtype = DTYPES[rng.integers(len(DTYPES))]
    shape = tuple(rng.integers(0, 5, size=rng.integers(0, 4)))
    if dtype.char == "g":  # not all bits are those of a number, and some are not copied
        values = rng.normal(size=shape).astype(dtype)
    else:  # any bits: nan with a payload, infinities, subnormal numbers
        n_bytes = int(np.prod(shape)) * dtype.itemsize
        values = np.frombuffer(rng.bytes(n_bytes) or b"", np.uint8)
        values = (values & 1 if dtype.kind == "b" else values).view(dtype).reshape(shape)
    values = np.array(values, order="CF"[rng.integers(2)])
    return values[..., ::2] if values.ndim and rng.random() < 0.2 else values


def random_value(rng, depth=0):
    kind = rng.integers(10 if depth < 4 else 7)
    if kind == 0:
        return (None, True, False)[rng.integers(3)]
    if kind == 1:
        return int(rng.integers(-(2**62), 2**62)) ** int(rng.integers(1, 4))
    if kind == 2:
        return (0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 5e-324, 1e308)[rng.integers(8)]
    if kind == 3:
        return struct.unpack("<d", rng.bytes(8))[0]
    if kind == 4:
        return "".join(map(chr, rng.integers(0, 0x10FFFF, size=rng.integers(6))))
    if kind in (5, 6):
        return random_array(rng)
    size = rng.integers(5)
    values = [random_value(rng, depth + 1) for _ in range(size)]
    if kind == 7:
        return values
    return tuple(values) if kind == 8 else random_tree(rng, depth + 1)


def random_tree(rng, depth=0):
    keys = ["", "a", "array", "float", "list", "ä\n", "\ud800", *map(str, range(9))]
    size = rng.integers(5)
    return {key: random_value(rng, depth) for key in rng.choice(keys, size, replace=False).tolist()}


def assert_identical(one, two):
    assert type(one) is type(two)
    if isinstance(one, np.ndarray):
        assert one.dtype == two.dtype
        assert one.dtype.byteorder == two.dtype.byteorder
        assert one.shape == two.shape
        if one.flags.c_contiguous or one.flags.f_contiguous:
            assert one.flags.c_contiguous == two.flags.c_contiguous
            assert one.flags.f_contiguous == two.flags.f_contiguous
        assert two.flags.writeable
        assert two.flags.aligned
        if one.dtype.char == "g":
            np.testing.assert_array_equal(one, two)
        else:
            assert one.tobytes() == two.tobytes()
    elif isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            assert_identical(one[key], two[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(two)
        for pair in zip(one, two, strict=True):
            assert_identical(*pair)
    elif isinstance(one, float):
        assert struct.pack("<d", one) == struct.pack("<d", two)
    else:
        assert one == two


@pytest.mark.parametrize("seed", range(300))
def test_random_trees(seed):
    tree = random_tree(np.random.default_rng(seed))
    assert_identical(tree, unpack(pack(tree)))
    assert pack(tree) == pack(tree)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.str)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 4), (3, 0, 2), (2, 3, 4)])
def test_every_dtype(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    tree = {
        "C": np.array(array, order="C"),
        "F": np.array(array, order="F"),
        "odd": array.T[::2] if shape else array,
    }
    assert_identical(tree, unpack(pack(tree)))


def test_views_of_any_strides(rng):
    array = rng.normal(size=(6, 5, 4))
    views = [array[::2], array[:, ::-1], array.T[1:], array.transpose(1, 0, 2), array[0, :, 1]]
    for view, again in zip(views, unpack(pack({"views": views}))["views"], strict=True):
        np.testing.assert_array_equal(view, again)


def test_scalars_become_numbers():
    tree = {"a": np.float32(0.1), "b": np.int8(-3), "c": np.bool_(True), "d": np.float64("nan")}
    again = unpack(pack(tree))
    assert again["a"] == float(np.float32(0.1))
    assert again["b"] == -3
    assert again["c"] is True
    assert np.isnan(again["d"])
    assert [type(value) for value in again.values()] == [float, int, bool, float]


def test_a_memory_map(rng, tmp_path):
    array = np.memmap(tmp_path / "array", dtype=np.float32, shape=(3, 4), mode="w+")
    array[:] = rng.normal(size=(3, 4))
    again = unpack(pack({"a": array}))["a"]
    assert type(again) is np.ndarray
    np.testing.assert_array_equal(array, again)


class Exploit:
    def __reduce__(self):
        return pytest.fail, ("code was run",)


@pytest.mark.parametrize(
    "value",
    [
        np.array([None, "x"]),
        np.array(["text"]),
        np.array([1j]),
        np.zeros(2, dtype="M8[s]"),
        np.zeros(2, dtype=[("a", "f8")]),
        np.longdouble(1),
        1j,
        b"bytes",
        {1, 2},
        {1: 2},
        Exploit(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_refused(value):
    with pytest.raises(TypeError, match=r"cannot hold tree\['a'\]\[1\]\['b'\], of type"):
        pack({"a": [0, {"b": value}]})


# --- Damage ---------------------------------------------------------------------------------------


@pytest.fixture
def data(rng):
    tree = {"a": rng.normal(size=(3, 4)), "n": 3, "x": [0.25, np.inf], "s": "text", "e": {}}
    return pack(tree)


def assert_damaged(data, match="incomplete or damaged|does not begin"):
    with pytest.raises(DamagedArchive, match=match):
        unpack(data)


def test_every_flipped_bit(data):
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            assert_damaged(bytes(changed))


def test_every_truncation(data):
    for size in range(len(data)):
        assert_damaged(data[:size])


def test_other_damage(data, rng):
    for position in range(0, len(data), 7):
        assert_damaged(data[:position] + b"\0" + data[position:])  # inserted
        assert_damaged(data[:position] + data[position + 1 :])  # lost
        assert_damaged(data[:position] + bytes(16) + data[position + 16 :] + b"\1")
    for more in (b"\0", b"\n", data, rng.bytes(100)):
        assert_damaged(data + more)
    assert_damaged(data.replace(b"\n", b"\r\n") + b"\r\n")
    other = pack({"b": rng.normal(size=(3, 4))})
    assert_damaged(other[: len(other) // 2] + data[len(other) // 2 :])


def test_other_files(rng, tmp_path):
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    others = [b"", b"text", file.getvalue(), pickle.dumps(Exploit()), rng.bytes(1000), bytes(1000)]
    for other in others:
        assert_damaged(other, "does not begin as files of version 3 do")


def test_another_version(data, monkeypatch):
    monkeypatch.setattr(archive, "VERSION", 4)
    assert_damaged(data, "has version 3, and this xentlearn reads 4 alone")


def test_a_damaged_version_is_not_taken_for_another_version(data):
    begin = len(archive.MAGIC) + archive.DIGEST_SIZE
    assert data[begin] == archive.VERSION
    assert_damaged(data[:begin] + b"\1" + data[begin + 1 :], "incomplete or damaged")


def forged(text, arrays=b"", size=None):
    """What has the right checksum and was not written by this package."""
    body = archive.HEADER.pack(archive.VERSION, len(text) if size is None else size) + text + arrays
    return archive.MAGIC + hashlib.blake2b(body, digest_size=archive.DIGEST_SIZE).digest() + body


def of_array(*description):
    return json.dumps({"a": ["array", *description]}).encode()


FORGED = {
    "JSON cut off": forged(b"{"),
    "no UTF-8": forged(b"\xff"),
    "size of JSON": forged(b"{}", size=1),
    "deep": forged(b"[" * 100_000 + b"]" * 100_000),
    "empty list": forged(b'{"a": []}'),
    "no float": forged(b'{"a": ["float"]}'),
    "float": forged(b'{"a": ["float", "xyz"]}'),
    "objects": forged(of_array("|O", [1], "C", 0), bytes(8)),
    "objects of a size": forged(of_array("O8", [1], "C", 0), bytes(8)),
    "strings": forged(of_array("<U2", [1], "C", 0), bytes(8)),
    "fields": forged(of_array("f8,O", [1], "C", 0), bytes(16)),
    "absurd size": forged(of_array("<f8", [2**40, 2**40], "C", 0), bytes(8)),
    "large size": forged(of_array("<f8", [2**50], "C", 0), bytes(8)),
    "size": forged(of_array("<f8", [2], "C", 0), bytes(8)),
    "offset": forged(of_array("<f8", [1], "C", 1), bytes(8)),
    "negative offset": forged(of_array("<f8", [1], "C", -(10**6)), bytes(8)),
    "negative size": forged(of_array("<f8", [-2, -1], "C", 0), bytes(16)),
    "order": forged(of_array("<f8", [1], "X", 0), bytes(8)),
    "shape": forged(of_array("<f8", "x", "C", 0), bytes(8)),
    "no order": forged(of_array("<f8", [1]), bytes(8)),
    "no header": archive.MAGIC + hashlib.blake2b(b"x", digest_size=32).digest() + b"x",
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_archives(name):
    """The checksum is no signature; what it vouches for is still checked, and is never run."""
    assert_damaged(FORGED[name], "is no archive, though its checksum is right")


# --- Memory ---------------------------------------------------------------------------------------


def peak(function, *args):
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory(tmp_path):
    """Nothing is copied for a write; a read holds the file and the arrays."""
    size = 2**20
    tree = {str(i): np.zeros((2, size // 16), order="CF"[i % 2]) for i in range(8)}
    with open(tmp_path / "file", "wb") as file:
        assert peak(archive.dump, tree, file) < size // 2
    assert peak(pack, tree) < 8.5 * size
    with open(tmp_path / "file", "rb") as file:
        assert peak(archive.load, file) < 16.5 * size


def test_another_file_is_not_read_whole():
    """It may be one of a terabyte that was named by mistake."""
    file = io.BytesIO(bytes(1000))
    with pytest.raises(DamagedArchive):
        archive.load(file)
    assert file.tell() == len(archive.MAGIC)
