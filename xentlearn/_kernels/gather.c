/* Numbers of X side by side, compiled for every target. The loops are plain C: compilers vectorise
 * them for the target at hand, and there is no sum whose order could differ. */
#include "gather.h"

#include <stdint.h>
#include <string.h>

#define XENT_BODY "gather_body.h"
#include "each_target.h"

#define ALL_OF(target)                                                              \
    {gather_float64_f64_##target, gather_float32_f32_##target,                      \
     gather_float16_f32_##target, gather_uint8_f32_##target, gather_int8_f32_##target}
#define NONE {NULL, NULL, NULL, NULL, NULL}

static const xent_gather functions[XENT_N_TARGETS][XENT_N_STORED] = {
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

xent_gather xent_gather_for(enum xent_stored dtype, int target)
{
    return functions[target][dtype];
}
