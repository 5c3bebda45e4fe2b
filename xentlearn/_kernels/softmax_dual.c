/* Dual coordinate ascent for a softmax, compiled for each CPU target and dtype. */
#include "softmax_dual.h"

#define XENT_BODY "softmax_dual_body.h"
#include "each_target.h"

static const xent_softmax_dual *const of_float[XENT_N_TARGETS] = XENT_TABLES(softmax_dual_f32);
static const xent_softmax_dual *const of_double[XENT_N_TARGETS] = XENT_TABLES(softmax_dual_f64);

const xent_softmax_dual *xent_softmax_dual_for(int target, int is_float)
{
    return is_float ? of_float[target] : of_double[target];
}
