/* Dual coordinate ascent, compiled for each CPU target. */
#include "dual.h"

#define XENT_BODY "dual_body.h"
#include "each_target.h"

static const xent_dual *const tables[XENT_N_TARGETS] = XENT_TABLES(dual_f64);

const xent_dual *xent_dual_for(int target)
{
    return tables[target];
}
