/* Numbers of narrow dtypes -> float32, from outside: a table per CPU target. */
#ifndef XENT_WIDEN_H
#define XENT_WIDEN_H

#include <stddef.h>

enum xent_narrow { XENT_UINT8, XENT_INT8, XENT_FLOAT16, XENT_N_NARROW };

/* to[i] = from[i * stride] for i < count; every such number is exact in float32. */
typedef void (*xent_widen)(ptrdiff_t count, const void *from, ptrdiff_t stride, float *to);

/* The function for a dtype on a target of targets.h. */
xent_widen xent_widen_to_f32(enum xent_narrow dtype, int target);

#endif
