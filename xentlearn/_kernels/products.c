/* The products, compiled for each CPU target, and the tables of their functions. */
#include "products.h"

#define XENT_BODY "products_body.h"
#include "each_target.h"

static const xent_products *const f32_tables[XENT_N_TARGETS] = XENT_TABLES(products_f32);
static const xent_products *const f64_tables[XENT_N_TARGETS] = XENT_TABLES(products_f64);

const xent_products *xent_products_f32(int target) { return f32_tables[target]; }
const xent_products *xent_products_f64(int target) { return f64_tables[target]; }
