/* The products of the fused pass, seen from outside: a table per dtype and CPU target. */
#ifndef XENT_PRODUCTS_H
#define XENT_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

#define XENT_MOST_DEEP 256 /* rows that are summed in the dtype itself before float64 takes over */
#define XENT_ROWS_KNOWN 8  /* rows behind the last whose place is looked up */

/* "number" is float or double, by the table. Everything is counted in numbers; totals are float64.
 * Matrices [m, n] are C-contiguous; with a distance of their own between rows, they say so. */
typedef struct {
    int lanes; /* numbers in a vector */

    /* Dense X, at least `lanes` neighbouring features: row i begins at rows[i]. The table of
     * pointers goes on, by XENT_ROWS_KNOWN at least, with rows that may be looked at.
     * packed = coefficients of n_features features, those from there to `depth` are 0;
     * n_classes * (depth rounded up to lanes) numbers, in the order in which they are read.
     * Steps lead from one feature to the next, and from one class. */
    void (*pack)(ptrdiff_t n_classes, ptrdiff_t n_features, ptrdiff_t depth, const double *coef,
                 ptrdiff_t feature_step, ptrdiff_t class_step, void *packed);
    /* logits[m, :n_classes] += X coefficients; rows are `width` apart and a vector may reach past
     * the last one: what it finds there stays the same */
    void (*product)(ptrdiff_t m, ptrdiff_t n_classes, ptrdiff_t depth, const void *const *rows,
                    const void *packed, void *logits, ptrdiff_t width);
    /* total[n_classes, :depth] += residual^T X[:, begin:begin + depth], at most XENT_MOST_DEEP rows;
     * rows[i + ahead] is what will be read after row i (0: nothing) */
    void (*product_to_total)(ptrdiff_t m, ptrdiff_t n_classes, ptrdiff_t depth,
                             const void *const *rows, ptrdiff_t begin, ptrdiff_t ahead,
                             const void *residual, ptrdiff_t width, double *total,
                             ptrdiff_t total_row);

    /* One sparse row; width is a multiple of lanes, rows of coefficients and totals are `row`
     * apart. Of the indices n_known may be looked at: those of what comes next, too.
     * logits[:width] += sum_j data[j] coef[indices[j], :width] */
    void (*sparse_product)(ptrdiff_t width, ptrdiff_t n_entries, ptrdiff_t n_known,
                           const void *data, const int32_t *indices, const void *coef,
                           ptrdiff_t row, void *logits);
    /* total[indices[j], :width] += data[j] residual[:width] for all j */
    void (*sparse_product_to_total)(ptrdiff_t width, ptrdiff_t n_entries, ptrdiff_t n_known,
                                    const void *data, const int32_t *indices,
                                    const void *residual, double *total, ptrdiff_t row);
} xent_products;

/* Tables for a target of targets.h, or NULL where this build has none of it. */
const xent_products *xent_products_f32(int target);
const xent_products *xent_products_f64(int target);

#endif
