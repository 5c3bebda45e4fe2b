/* Dual coordinate ascent, compiled for each CPU target and dtype. */
#include "dual.h"

#define XENT_BODY "dual_body.h"
#include "each_target.h"

static const xent_dual *const of_float[XENT_N_TARGETS] = XENT_TABLES(dual_f32);
static const xent_dual *const of_double[XENT_N_TARGETS] = XENT_TABLES(dual_f64);

const xent_dual *xent_dual_for(int target, int is_float)
{
    return is_float ? of_float[target] : of_double[target];
}
