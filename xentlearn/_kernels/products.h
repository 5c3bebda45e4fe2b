/* Interface of the products of the fused pass: one table of functions per dtype and CPU target. */
#ifndef XENT_PRODUCTS_H
#define XENT_PRODUCTS_H

#include <stddef.h>
#include <stdint.h>

#define XENT_MOST_DEEP 256 /* most rows that are summed in the dtype itself before float64 */
#define XENT_ROWS_KNOWN 8  /* rows beyond the last one whose addresses are known */

/* A "number" is a float or a double, depending on the table. All sizes and distances are counted in
 * numbers; totals are float64. Matrices [m, n] are C-contiguous unless a distance between rows is
 * given. */

/* Coefficients as their owner has them: those of feature j and class k are at
 * numbers[j * feature_step + k * class_step]. */
typedef struct {
    const void *numbers;
    int is_float; /* or double */
    ptrdiff_t n_features;
    ptrdiff_t feature_step;
    ptrdiff_t class_step;
} xent_coef;

/* Sparse coefficients. For dense X, the entries of class k are those from indptr[k] to
 * indptr[k + 1], and entry e belongs to the feature used[minor[e]]; `used` increases. For CSR X
 * they are ordered by features, minor[e] is a class, and `used` is NULL. */
typedef struct {
    const void *numbers;
    const int64_t *indptr;
    const int32_t *minor;
    ptrdiff_t n_used;
    const int32_t *used;
} xent_entries;

typedef struct {
    int lanes; /* numbers in a vector */

    /* Dense X with at least `lanes` contiguous features; row i begins at rows[i]. The table of
     * pointers continues with at least XENT_ROWS_KNOWN rows that may be prefetched.
     * packed = coefficients, followed by zeros for features up to `depth`: n_classes * (depth
     * rounded up to lanes) numbers, in the order in which they are read. */
    void (*pack)(ptrdiff_t n_classes, ptrdiff_t depth, const xent_coef *coef, void *packed);
    /* logits[m, :n_classes] += X coefficients. Rows are `width` apart. Vectors may extend beyond
     * the last one, and leave the numbers there unchanged. Without packed coefficients, which is
     * NULL then, a part of `coef` after the other is packed: for products that are needed once. */
    void (*product)(ptrdiff_t m, ptrdiff_t n_classes, ptrdiff_t depth, const void *const *rows,
                    const void *packed, const xent_coef *coef, void *logits, ptrdiff_t width);
    /* total[n_classes, :depth] += residual^T X[:, begin:begin + depth], for at most XENT_MOST_DEEP
     * rows. rows[i + ahead] is prefetched with row i; ahead = 0 means no prefetch. */
    void (*product_to_total)(ptrdiff_t m, ptrdiff_t n_classes, ptrdiff_t depth,
                             const void *const *rows, ptrdiff_t begin, ptrdiff_t ahead,
                             const void *residual, ptrdiff_t width, double *total,
                             ptrdiff_t total_row);

    /* Dense X with any number of features, for a tile of `width` classes, a multiple of lanes. All
     * matrices have rows of `width` numbers.
     * logits[m, width] = intercept + X coef */
    void (*many_product)(ptrdiff_t m, ptrdiff_t width, ptrdiff_t n_features,
                         const void *const *rows, const void *coef, const void *intercept,
                         void *logits);
    /* total[n_features, width] += X^T residual and intercept_total[width] += 1^T residual, for at
     * most XENT_MOST_DEEP rows */
    void (*many_product_to_total)(ptrdiff_t m, ptrdiff_t width, ptrdiff_t n_features,
                                  const void *const *rows, const void *residual, double *total,
                                  double *intercept_total);

    /* One sparse row. width is a multiple of lanes; rows of coefficients and of totals are `row`
     * apart. n_known >= n_entries indices may be read, to prefetch what comes next.
     * logits[:width] += sum_j data[j] coef[indices[j], :width] */
    void (*sparse_product)(ptrdiff_t width, ptrdiff_t n_entries, ptrdiff_t n_known,
                           const void *data, const int32_t *indices, const void *coef,
                           ptrdiff_t row, void *logits);
    /* total[indices[j], :width] += data[j] residual[:width] for all j */
    void (*sparse_product_to_total)(ptrdiff_t width, ptrdiff_t n_entries, ptrdiff_t n_known,
                                    const void *data, const int32_t *indices,
                                    const void *residual, double *total, ptrdiff_t row);

    /* Dense X with sparse coefficients; `room` is for coef->n_used * lanes numbers.
     * logits[m, :n_classes] = intercept + X coefficients
     * Returns whether all numbers of X are finite, also those of features without an entry. */
    int (*entries_product)(ptrdiff_t m, ptrdiff_t n_classes, ptrdiff_t n_features,
                           const void *const *rows, const xent_entries *coef,
                           const void *intercept, void *logits, ptrdiff_t width, void *room);
} xent_products;

/* Tables for a CPU target of targets.h, or NULL if this build does not have it. */
const xent_products *xent_products_f32(int target);
const xent_products *xent_products_f64(int target);

#endif
