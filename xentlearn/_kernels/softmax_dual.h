/* Dual coordinate ascent for softmax cross-entropy over sparse X (softmax_dual_body.h): a sweep over
 * the rows, and what a certified bound of its result is made of; one function of each per CPU target
 * and dtype. Numbers of type void are float or double. */
#ifndef XENT_SOFTMAX_DUAL_H
#define XENT_SOFTMAX_DUAL_H

#include <stddef.h>
#include <stdint.h>

/* Rows of logits are padded to a multiple of so many bytes, a cache line. */
#define XENT_SOFTMAX_LINE 64

/* Sparse rows x, from which the mean of all rows is subtracted implicitly, by row and by feature. */
typedef struct {
    ptrdiff_t n_rows;
    const void *data;
    const int32_t *indices;
    const int64_t *indptr;
    const void *feature_data; /* those of feature j: from feature_indptr[j] to .. [j + 1] */
    const int32_t *feature_rows;
    const int64_t *feature_indptr;
    const void *along;  /* x . mean, by row */
    const void *square; /* ||x - mean||^2, by row */
    const double *mean;
    double mean_square; /* ||mean||^2 */
} xent_softmax_rows;

/* A point of the dual problem: a distribution q over n_outputs classes for each row, as logarithms.
 * With alpha = weight (q - t), t the targets,
 *
 *     W = -scale sum alpha (x - mean) = coef - shift mean,     shift = -scale sum alpha,
 *
 * and the logits of a row are W (x - mean) + intercept + feedback shift. The target t of a row is
 * base for all classes, plus `share` for its label; or the row of `values`. */
typedef struct {
    ptrdiff_t n_outputs, width; /* `width` is n_outputs, padded; logs are the lowest in the padding */
    double scale;
    const double *weight;  /* (n_rows,) */
    const int32_t *labels; /* (n_rows,), or NULL */
    double base, share;
    const void *values;    /* (n_rows, width), if there are no labels */
    void *logs;            /* (n_rows, width): log q */
    int32_t *top;          /* (n_rows,): a class whose q is 1 less the others, or -1 */
    void *others;          /* (n_rows,): the sum of those, if there is such a class */
    void *coef;            /* (n_features, width) */
    void *shift;           /* this and all that follow: (width,) */
    void *along;           /* coef . mean */
    const void *intercept; /* low in the padding, which keeps q of the padding at 0 */
    const void *feedback;
} xent_softmax_point;

typedef struct {
    /* Maximise the dual objective over the q of each of the rows order[begin], .., order[end - 1] by
     * itself, with the coefficients as they are, apart from rows with KL(q, softmax of the logits)
     * < `least`. Sets their logs, and changes[t] (width,) = -scale weight (q - old q) of the row
     * order[t]; moves[t] is 0 for those that stay. Adds to `met` (3,), as they are before the change
     * of a row, weight KL(q, softmax of the logits), weight H(q) and weight loss; and to `response`
     * (width,) by how much sum weight q changes with the intercept. The rows from order[end] to
     * order[n - 1] are likely to come next. `scratch` has 6 * width numbers. */
    void (*solve)(const xent_softmax_rows *, const xent_softmax_point *, const int32_t *order,
                  ptrdiff_t begin, ptrdiff_t end, ptrdiff_t n, double least, void *changes,
                  uint8_t *moves, double *met, double *response, void *scratch);
    /* Add n changes to the coefficients of the features whose index is `part` modulo n_parts, a
     * power of two; and to shift and along if `part` is 0. */
    void (*apply)(const xent_softmax_rows *, const xent_softmax_point *, const int32_t *order,
                  ptrdiff_t n, const void *changes, const uint8_t *moves, int32_t part,
                  int32_t n_parts);
    /* Multiply the q of some rows by exp(delta), and normalise them; keep that, `top` and `others`
     * if `commit`. Adds weight q to `sums` (width,). `scratch` has width numbers. */
    void (*tilt)(const xent_softmax_point *, ptrdiff_t begin, ptrdiff_t end, const void *delta,
                 int commit, double *sums, void *scratch);
    /* Compute coef of some features from logs, `top` and `others`, or as if all q were `constant` (width,)
     * unless that is NULL, with sums in float64; and W (n_features, n_outputs), unless it is NULL,
     * for the given shift. Adds coef . mean and W . W of each output to `sums` (2, width).
     * `scratch` has 2 * width doubles. */
    void (*remake)(const xent_softmax_rows *, const xent_softmax_point *, const double *constant,
                   ptrdiff_t begin, ptrdiff_t end, const double *shift, double *W, double *sums,
                   double *scratch);
    /* Add to `sums` (2,), over some rows, weight H(q), with H(q) = -sum q log q, and
     * weight KL(q, softmax of the logits). `scratch` has 2 * width numbers. */
    void (*look)(const xent_softmax_rows *, const xent_softmax_point *, ptrdiff_t begin,
                 ptrdiff_t end, double *sums, void *scratch);
} xent_softmax_dual;

/* The functions for a CPU target of targets.h and a dtype, or NULL if this build does not have
 * it. */
const xent_softmax_dual *xent_softmax_dual_for(int target, int is_float);

#endif
