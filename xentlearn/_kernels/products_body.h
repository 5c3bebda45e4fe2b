/* All products for one CPU target and one dtype: the table of products.h. */
#include "dense_body.h"
#include "entries_body.h"
#include "many_body.h"
#include "sparse_body.h"

static const xent_products NAME(products) = {
    LANES,
    NAME(pack),
    NAME(product),
    NAME(product_to_total),
    NAME(many_product),
    NAME(many_product_to_total),
    NAME(sparse_product),
    NAME(sparse_product_to_total),
    NAME(entries_product),
};
