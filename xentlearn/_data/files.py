"""Files that must not change while they are read, and the paths that a user means."""

import contextlib
import os
import weakref
from pathlib import Path


class BlockError(OSError):
    """A block could not be read, or has changed while it was being read.

    The message names the block, its rows, and the file if there is one.
    """


# Mappings of users in which a guard had to put zeros where the file ended too early. The values
# look sound and are not, so every later use of such a mapping is an error.
_DAMAGED = weakref.WeakSet()


class StampedFile:
    """A file, with its size, time and inode as they were when it was opened.

    Parameters
    ----------
    path : str, path or None
        None for a mapping whose file has no name.
    mapping : mmap.mmap or None, default=None
        A user's mapping; it stays valid after its file has been deleted.
    n_bytes : int, default=0
        Size that the file must have had when it was mapped.
    """

    def __init__(self, path, mapping=None, n_bytes=0):
        # an absolute path still means the same file after the working directory has changed
        self.path = "a file without a name" if path is None else os.path.abspath(path)
        self.mapping = mapping
        self.is_damaged = mapping is not None and mapping in _DAMAGED
        size, *rest = self._stamp()
        self.before = [size if size is None else max(size, n_bytes), *rest]

    def _stamp(self):
        """[size, time in nanoseconds, inode, device] at present; None where there is no file."""
        stamp = [None] * 4
        with contextlib.suppress(OSError):
            stat = os.stat(self.path)
            stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_dev]
        if self.mapping is not None:
            stamp[0] = self.mapping.size()
        return stamp

    def mark_damaged(self):
        """Note that a part of the file was missing when it was used."""
        self.is_damaged = True
        if self.mapping is not None:
            _DAMAGED.add(self.mapping)

    def check(self):
        """Raise BlockError if the file has changed since it was opened."""
        now = self._stamp()
        if now == self.before and not self.is_damaged:
            return
        if now == self.before:
            what = "could not be read to its end (a failing disk, or it was shorter for a moment)"
        elif now[0] != self.before[0] and None not in (now[0], self.before[0]):
            what = f"had {self.before[0]:,} bytes and has {now[0]:,} now"
        elif now[1] is None:
            what = "no longer exists"
        else:
            what = "was written to, or replaced by another file"
        raise BlockError(
            f"'{self.path}' has changed while it was being read: it {what}. Do not write to files "
            "during a fit, and open changed files anew."
        )


def paths_of(path, suffix):
    """Paths of the files that a user names: one file, a directory, or a list of files."""
    if not isinstance(path, (str, os.PathLike)):
        paths = [Path(one) for one in path]
        where = "The list of files"
    elif Path(path).is_dir():
        paths = sorted(Path(path).glob(f"*{suffix}"))
        where = f"The directory '{path}'"
    else:
        return [Path(path)]
    if not paths:
        raise ValueError(f"{where} must have at least one {suffix} file, it has none.")
    return paths


def check_block_bytes(block_bytes):
    """A block size as an int, if it is a positive integer."""
    if not hasattr(block_bytes, "__index__") or block_bytes < 1:
        raise ValueError(f"'block_bytes' must be a positive integer, got {block_bytes!r}.")
    return int(block_bytes)
