"""Value, gradient and Hessian of a small dense problem with a single binary output.

Each of them takes one call. For some hundred rows, the products of a pass over X take less time
than the preparations of the general pass (``_design_matrix.pyx``), which are for any number of
outputs, dtypes, strides and threads. With a few thousand rows, the products with a single vector
still take half of its time, since BLAS then works on several rows at once.
"""

import numpy as np

from libc.float cimport DBL_MIN
from libc.math cimport fabs
from libc.string cimport memcmp, memcpy
from scipy.linalg.cython_blas cimport dgemv

from .._loss cimport (
    EncodedTarget,
    HESSIAN_DIAGONAL,
    LOSS_GRADIENT,
    Layout,
    layout_of,
    process_rows,
    scratch_bytes,
)
from ._factors cimport add_weighted_products


cdef enum:
    # Rows of a block. They stay in the second-level cache, and sums of blocks are as accurate as
    # those of the general pass.
    BLOCK_ROWS = 256
    BUFFER_ROWS = 512       # rows that the buffer of weighted products holds


cdef class SmallBinary:
    """Rows of X, centred and dense, with one binary output.

    Parameters
    ----------
    Z : ndarray of shape (n_rows, n), float64
        X, whose features have a mean of 0, with a column of ones if there is an intercept. Not
        empty.
    n_features : int
        Number of features without that column.
    target : EncodedTarget
        Of the same rows, in float64.
    total : float
        Sum of the weights of the rows.
    """

    cdef:
        const double[:, ::1] Z
        Py_ssize_t n_features
        EncodedTarget target
        double total
        double[::1] logits, losses, residuals, buffer
        double[::1] of_block    # the gradient of a block
        double[::1] at          # the vector that the logits are of
        bint is_known           # whether there is one
        char[::1] scratch

    def __init__(self, Z, Py_ssize_t n_features, EncodedTarget target, double total):
        n_rows, n = Z.shape
        assert n_rows == target.n_rows and target.n_outputs == 1 and target.dtype == np.float64
        self.Z, self.n_features, self.target, self.total = Z, n_features, target, total
        self.logits, self.losses, self.residuals = np.empty((3, n_rows))
        self.at, self.of_block = np.empty((2, n))
        self.is_known, self.buffer = False, None
        self.scratch = np.empty(scratch_bytes(1, sizeof(double)), dtype=np.int8)

    def value_gradient(self, const double[::1] vector, const double[::1] strength):
        """Return the value and the gradient of the objective at a vector.

        Parameters
        ----------
        vector : ndarray of shape (n,)
        strength : ndarray of shape (n_features,)
            Strengths of the penalty ``strength / 2 * coef^2`` by feature.

        Returns
        -------
        value : float
        gradient : ndarray of shape (n,)
        """
        cdef:
            int n = <int> self.Z.shape[1], count, step = 1
            Py_ssize_t n_rows = self.Z.shape[0], block, begin, i
            double[::1] gradient = np.zeros(n)
            double loss = 0, of_block, penalty = 0, one = 1, zero = 0
            char* plain = b"N"
            Layout layout = layout_of(1, 1)
        with nogil:
            self.is_known = False
            memcpy(&self.at[0], &vector[0], n * sizeof(double))
            for block in range((n_rows + BLOCK_ROWS - 1) // BLOCK_ROWS):
                begin = block * BLOCK_ROWS
                count = <int> min(<Py_ssize_t> BLOCK_ROWS, n_rows - begin)
                self.find_logits(begin, count)
                process_rows[double](
                    &self.target.rows, LOSS_GRADIENT, begin, count, &self.logits[begin], layout,
                    NULL, layout, &self.losses[begin], 1, &self.residuals[begin], layout,
                    &self.scratch[0])
                of_block = 0
                for i in range(begin, begin + count):
                    of_block += self.losses[i]
                    # as in the general pass: a product with a subnormal number is slow
                    if fabs(self.residuals[i]) < DBL_MIN:
                        self.residuals[i] = 0
                loss += of_block
                dgemv(plain, &n, &count, &one, <double*> &self.Z[begin, 0], &n,
                      &self.residuals[begin], &step, &zero, &self.of_block[0], &step)
                for i in range(n):
                    gradient[i] += self.of_block[i]
            self.is_known = True
            for i in range(n):
                gradient[i] /= self.total
            for i in range(self.n_features):
                gradient[i] += strength[i] * vector[i]
                penalty += strength[i] * vector[i] * vector[i]
        return loss / self.total + 0.5 * penalty, np.asarray(gradient)

    def hessian(self, const double[::1] vector):
        """Return the upper half of the Hessian of the mean loss at a vector.

        Numbers below the diagonal have no meaning. If the value at the vector was the last that was
        asked for, its logits are known.
        """
        cdef:
            Py_ssize_t n = self.Z.shape[1], n_rows = self.Z.shape[0], i
            double[:, ::1] matrix = np.zeros((n, n))
            Layout layout = layout_of(1, 1)
        if self.buffer is None:
            self.buffer = np.empty(min(n_rows, <Py_ssize_t> BUFFER_ROWS) * n)
        with nogil:
            if not self.is_known or memcmp(&self.at[0], &vector[0], n * sizeof(double)):
                memcpy(&self.at[0], &vector[0], n * sizeof(double))
                self.find_logits(0, <int> n_rows)
                self.is_known = True
            process_rows[double](
                &self.target.rows, HESSIAN_DIAGONAL, 0, n_rows, &self.logits[0], layout, NULL,
                layout, NULL, 0, &self.residuals[0], layout, &self.scratch[0])
            add_weighted_products[double](
                n, n_rows, &self.Z[0, 0], &self.residuals[0], NULL, 0, &self.buffer[0],
                &matrix[0, 0], n)
            for i in range(n * n):
                (&matrix[0, 0])[i] /= self.total
        return np.asarray(matrix)

    cdef void find_logits(self, Py_ssize_t begin, int count) noexcept nogil:
        """Compute the logits of some rows at the vector."""
        cdef:
            int n = <int> self.Z.shape[1], step = 1
            double one = 1, zero = 0
            char* transposed = b"T"
        dgemv(transposed, &n, &count, &one, <double*> &self.Z[begin, 0], &n, &self.at[0], &step,
              &zero, &self.logits[begin], &step)
