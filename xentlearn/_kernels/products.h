/* The products of the fused pass, seen from outside: a table per dtype and CPU target. */
#ifndef XENT_PRODUCTS_H
#define XENT_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

/* "number" is float or double, by the table. Widths are counted in numbers and are multiples of
 * `lanes`; matrices of that width are C-contiguous with that many columns. */
typedef struct {
    int lanes;
    /* c[m, width] += a[m, depth] b[depth, width]; a[i, l] is at a + i * a_row + l * a_column */
    void (*product)(ptrdiff_t m, ptrdiff_t width, ptrdiff_t depth, const void *a, ptrdiff_t a_row,
                    ptrdiff_t a_column, const void *b, void *c);
    /* the same, added to float64 totals */
    void (*product_to_total)(ptrdiff_t m, ptrdiff_t width, ptrdiff_t depth, const void *a,
                             ptrdiff_t a_row, ptrdiff_t a_column, const void *b, double *total);
    /* one sparse row: c[width] += sum_j data[j] b[indices[j], :] */
    void (*sparse_product)(ptrdiff_t width, ptrdiff_t n_entries, const void *data,
                           const int32_t *indices, const void *b, void *c);
    /* its transpose: total[indices[j], :] += data[j] r[:] for all j */
    void (*sparse_product_to_total)(ptrdiff_t width, ptrdiff_t n_entries, const void *data,
                                    const int32_t *indices, const void *r, double *total);
} xent_products;

/* Tables for a target of targets.h, or NULL where this build has none of it. */
const xent_products *xent_products_f32(int target);
const xent_products *xent_products_f64(int target);

#endif
