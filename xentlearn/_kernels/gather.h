/* Numbers of X side by side, in the dtype that is computed in: a function per dtype and target. */
#ifndef XENT_GATHER_H
#define XENT_GATHER_H

#include <stddef.h>

/* float64 is computed in float64; all others in float32, where every number of theirs is exact, or in
 * float64 where sums of their products need more digits. */
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

/* The function from a dtype to float or double, on a target of targets.h. */
xent_gather xent_gather_for(enum xent_stored dtype, int as_double, int target);

#endif
