/* The row primitives, compiled for each CPU target, and the tables of their functions. */
#include "rows.h"

#define XENT_BODY "rows_body.h"
#include "each_target.h"

static const xent_rows *const f32_tables[XENT_N_TARGETS] = XENT_TABLES(rows_f32);
static const xent_rows *const f64_tables[XENT_N_TARGETS] = XENT_TABLES(rows_f64);

const xent_rows *xent_rows_f32(int target) { return f32_tables[target]; }
const xent_rows *xent_rows_f64(int target) { return f64_tables[target]; }
