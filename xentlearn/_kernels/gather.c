/* Copies of X with contiguous rows, compiled for each CPU target. The loops are plain C, which
 * compilers vectorise for the CPU target; they contain no sums whose order could differ. */
#include "gather.h"

#include <stdint.h>
#include <string.h>

#define XENT_BODY "gather_body.h"
#include "each_target.h"

#define NARROWER(dtype, target)                                                     \
    gather_float32_##dtype##_##target, gather_float16_##dtype##_##target,           \
        gather_uint8_##dtype##_##target, gather_int8_##dtype##_##target
#define ALL_OF(target)                                                              \
    {{NULL, NARROWER(f32, target)}, {gather_float64_f64_##target, NARROWER(f64, target)}}
#define NONE {{NULL}, {NULL}}

static const xent_gather functions[XENT_N_TARGETS][2][XENT_N_STORED] = {
    ALL_OF(scalar),
#if XENT_VECTORS
    ALL_OF(baseline),
#else
    NONE,
#endif
#if XENT_X86
    ALL_OF(avx2),
    ALL_OF(avx512),
#else
    NONE,
    NONE,
#endif
};

xent_gather xent_gather_for(enum xent_stored dtype, int as_double, int target)
{
    return functions[target][as_double != 0][dtype];
}
