/* Copies of X with contiguous rows, in the dtype of the computation: one function per dtype and CPU
 * target. */
#ifndef XENT_GATHER_H
#define XENT_GATHER_H

#include <stddef.h>

/* Dtypes of X. Computations with float64 are in float64. Those with the others are in float32,
 * which represents all their numbers exactly, or in float64 if sums of products need more
 * digits. */
enum xent_stored {
    XENT_FLOAT64,
    XENT_FLOAT32,
    XENT_FLOAT16,
    XENT_UINT8,
    XENT_INT8,
    XENT_N_STORED
};

/* to[i * to_row + j] = from[i * row + j * column]; strides in numbers. */
typedef void (*xent_gather)(ptrdiff_t n_rows, ptrdiff_t n_columns, const void *from, ptrdiff_t row,
                            ptrdiff_t column, void *to, ptrdiff_t to_row);

/* The function that converts a dtype to float or double, for a CPU target of targets.h. */
xent_gather xent_gather_for(enum xent_stored dtype, int as_double, int target);

#endif
