"""Mapped files that are read ahead of use and guarded against shrinking (``_kernels/mapped.c``)."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdint cimport uintptr_t

import os

cdef extern from "_kernels/mapped.h" nogil:
    void* xent_map(int fd, size_t n_bytes)
    void xent_unmap(void* begin, size_t n_bytes)
    void xent_read_ahead(const void* begin, size_t n_bytes)
    int xent_guard(const void* begin, size_t n_bytes, int writable)
    int xent_unguard(int number)


cdef class Mapping:
    """The first bytes of a file as a read-only buffer.

    Unlike ``mmap.mmap``, it keeps no file open, since a directory may have more shards than a
    process may have open files.

    Parameters
    ----------
    fd : int
        Descriptor of an open file.
    n_bytes : int
        Size of the mapping, from 1 to the size of the file.
    """

    cdef void* begin
    cdef size_t n_bytes

    def __cinit__(self, int fd, size_t n_bytes):
        self.n_bytes = n_bytes
        self.begin = xent_map(fd, n_bytes)
        if self.begin == NULL:
            raise OSError(f"A file of {n_bytes:,} bytes could not be mapped into memory.")

    def __dealloc__(self):
        if self.begin != NULL:
            xent_unmap(self.begin, self.n_bytes)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        PyBuffer_FillInfo(buffer, self, self.begin, self.n_bytes, 1, flags)


cdef class Guard:
    """Makes a range of a mapping safe to read until its release, even if the file shrinks.

    Parameters
    ----------
    begin, end : int
        Addresses of the range.
    writable : bool
        Whether the owner of the mapping may write to it.
    """

    cdef int number

    def __cinit__(self, uintptr_t begin, uintptr_t end, bint writable):
        self.number = xent_guard(<const void*> begin, end - begin, writable)
        if self.number < 0:
            raise RuntimeError("Too many fits read mapped files at the same time.")

    def __dealloc__(self):
        if self.number >= 0:
            xent_unguard(self.number)

    def release(self):
        """End the guard; whether a part of the file was missing, so that zeros were read."""
        cdef int number = self.number
        self.number = -1
        return number >= 0 and xent_unguard(number) != 0


def read_ahead(uintptr_t begin, Py_ssize_t n_bytes, Py_ssize_t n_pieces=1, Py_ssize_t stride=0):
    """Ask the system to read pieces of a mapped file whose begins are ``stride`` bytes apart."""
    cdef Py_ssize_t i
    with nogil:
        for i in range(n_pieces):
            xent_read_ahead(<const void*> (<Py_ssize_t> begin + i * stride), n_bytes)


MAPS = os.name != "nt"  # whether Mapping is available; on Windows NumPy maps files
