/* Numbers of narrow dtypes -> float32, compiled for every target. The loops are plain C: compilers
 * vectorise them for the target at hand, and there is no sum whose order could differ. */
#include "widen.h"

#include <stdint.h>
#include <string.h>

#define XENT_BODY "widen_body.h"
#include "each_target.h"

#define ALL_OF(target)                                                                        \
    {widen_uint8_f32_##target, widen_int8_f32_##target, widen_float16_f32_##target}
#define NONE {NULL, NULL, NULL}

static const xent_widen functions[XENT_N_TARGETS][XENT_N_NARROW] = {
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

xent_widen xent_widen_to_f32(enum xent_narrow dtype, int target)
{
    return functions[target][dtype];
}
