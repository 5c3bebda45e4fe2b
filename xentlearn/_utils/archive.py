"""Trees of arrays and plain values as bytes: a format which runs no code when it is read.

A *tree* is a dict with string keys. Its values are None, bool, int, float, str, numpy arrays and
scalars of bools, integers and floats, and lists, tuples and dicts of such values. What is read
equals what was written, bit by bit (-0.0 and the bits of a nan included); arrays keep their dtype,
byte order, shape, and C or Fortran order, and are writable. A numpy scalar comes back as the equal
Python number, a tuple as a tuple.

Layout::

    8 bytes    MAGIC
    32 bytes   BLAKE2b of all that follows
    4 bytes    version, little-endian
    8 bytes    size of the JSON text, little-endian
    ...        the tree as JSON; arrays and non-finite floats are lists that begin with their kind
    ...        the bytes of the arrays

The first two lines are the same in every version, so that a damaged file is never mistaken for one
of another version. Nothing is interpreted before the checksum was verified, and no array is larger
than what the file holds. NumPy's .npz has neither a checksum of the whole nor a place for the tree.
"""

import hashlib
import json
import math
import struct

import numpy as np

MAGIC = b"\x93xentfit"  # not ASCII, so that no text file begins with it
# Raise it when the layout changes, or what fits put into their checkpoints. Version 1 was a pickle.
VERSION = 3
DIGEST_SIZE = 32
HEADER = struct.Struct("<IQ")
ARRAY_KINDS = "biuf"  # of dtypes: bool, signed and unsigned integers, floats
# What decoding raises if the checksum is right and `dump` did not write what it is of.
MALFORMED = struct.error, ArithmeticError, LookupError, RecursionError, TypeError, ValueError


class DamagedArchive(Exception):
    """Data are not an archive, are incomplete or changed, or have another version."""


class AnotherFit(ValueError):
    """An archive is whole, but holds the state of a fit of other data or parameters.

    The message is a clause that says what differs, as in "its 'C' is 2.0, and that of this fit is
    1.0". Who knows the name of the file adds it (``FitCallbacks.resuming``).
    """


def dump(tree, file):
    """Write an archive.

    Parameters
    ----------
    tree : dict
    file : binary file
        Arrays are written from where they lie: only those which are neither in C nor in Fortran
        order are copied.

    Raises
    ------
    TypeError
        If the tree holds something else than the values listed above.
    """
    arrays = []
    text = json.dumps(_encoded(tree, "tree", arrays), allow_nan=False).encode("ascii")
    body = [HEADER.pack(VERSION, len(text)), text, *arrays]
    file.writelines([MAGIC, _digest(body), *body])


def load(file):
    """Read an archive.

    Parameters
    ----------
    file : binary file
        It is read to its end, but not beyond the first bytes if they are not those of an archive.

    Returns
    -------
    dict
        The tree, in memory of its own.

    Raises
    ------
    DamagedArchive
        With a message that is a clause without a subject, for example "is incomplete or damaged".
    """
    if file.read(len(MAGIC)) != MAGIC:
        raise DamagedArchive(f"does not begin as files of version {VERSION} do")
    digest, body = file.read(DIGEST_SIZE), file.read()
    if _digest([body]) != digest:
        raise DamagedArchive("is incomplete or damaged: its checksum is not that of its content")
    try:
        version, size = HEADER.unpack_from(body)
        if version != VERSION:
            raise DamagedArchive(f"has version {version}, and this xentlearn reads {VERSION} alone")
        begin = HEADER.size + size
        return _decoded(json.loads(body[HEADER.size : begin]), body, begin)
    except MALFORMED as error:
        raise DamagedArchive("is no archive, though its checksum is right") from error


def _digest(pieces):
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def _encoded(value, name, arrays):
    """A value of the tree for JSON; the bytes of arrays are appended to ``arrays``.

    The name is that in the message of an error.
    """
    if isinstance(value, np.generic):
        value = value.item()
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:  # JSON has decimal digits, which are exact, but no nan and no inf
        return value if math.isfinite(value) else ["float", struct.pack("<d", value).hex()]
    if kind in (list, tuple):
        items = (_encoded(item, f"{name}[{i}]", arrays) for i, item in enumerate(value))
        return [kind.__name__, *items]
    if kind is dict and all(type(key) is str for key in value):
        return {key: _encoded(item, f"{name}[{key!r}]", arrays) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.dtype.kind in ARRAY_KINDS:
        order, offset = "F" if value.flags.fnc else "C", sum(array.nbytes for array in arrays)
        arrays.append(np.asarray(value).ravel(order).view(np.uint8))
        return ["array", value.dtype.str, value.shape, order, offset]
    raise TypeError(f"An archive cannot hold {name}, of type {kind.__name__}.")


def _decoded(value, body, begin):
    """A value of the tree from JSON, with arrays from ``begin`` on in ``body``."""
    if isinstance(value, dict):
        return {key: _decoded(item, body, begin) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    kind, *items = value
    if kind == "float":
        return struct.unpack("<d", bytes.fromhex(items[0]))[0]
    if kind == "array":
        name, shape, order, offset = items
        dtype = np.dtype(name)
        if dtype.kind not in ARRAY_KINDS:
            raise ValueError(f"Arrays cannot have the dtype {name!r}.")
        array = np.frombuffer(body, dtype, math.prod(shape), begin + offset)
        return array.reshape(shape, order=order).copy(order="K")
    items = [_decoded(item, body, begin) for item in items]
    return tuple(items) if kind == "tuple" else items
