/* Steps of stochastic descent, compiled for each CPU target. */
#include "steps.h"

#include <math.h>

#define XENT_BODY "steps_body.h"
#define XENT_SQRT(x) (sizeof(x) == sizeof(float) ? sqrtf((float)(x)) : sqrt(x))
#include "each_target.h"

#define OF_TARGET(target)                          \
    {{adam_line_f64_##target, adam_line_f32_##target}, \
     {sgd_line_f64_##target, sgd_line_f32_##target}}
#define NONE {{NULL, NULL}, {NULL, NULL}}

static const xent_step_line lines[XENT_N_TARGETS][XENT_N_RULES][2] = {
    OF_TARGET(scalar),
#if XENT_VECTORS
    OF_TARGET(baseline),
#else
    NONE,
#endif
#if XENT_X86
    OF_TARGET(avx2),
    OF_TARGET(avx512),
#else
    NONE,
    NONE,
#endif
};

xent_step_line xent_step_line_for(enum xent_rule rule, int float32, int target)
{
    return lines[target][rule][float32];
}
