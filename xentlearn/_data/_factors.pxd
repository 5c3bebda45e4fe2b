"""Declarations of products that other sums over rows use."""

from cython cimport floating


cdef double add_weighted_products(
    Py_ssize_t n, Py_ssize_t n_rows, const floating* Z, const floating* one, const floating* other,
    double least, floating* buffer, floating* matrix, Py_ssize_t width,
) noexcept nogil
