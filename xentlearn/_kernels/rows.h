/* What the row primitives of rows_body.h look like from outside: a block of rows, and one table
 * of functions per dtype and CPU target. */
#ifndef XENT_ROWS_H
#define XENT_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "forms.h"

/* Layout of n_rows x n_classes numbers.
 *
 * across = 0: a row is contiguous, vectors run along its classes; row i begins at i * stride.
 * across = 1: a class is contiguous, vectors run across the rows; class k begins at k * stride.
 *             This is for at most XENT_FEW_CLASSES classes. Buffers have room for n_rows rounded up to whole vectors.
 *
 * next_in, next_out: numbers that will be read and written soon; softmax, which computes long
 * enough, asks the memory for as many of each as it works on. An address that does not exist does
 * no harm.
 *
 * Every n_rows x n_classes argument of a call has this layout; every per-row argument has n_rows
 * numbers (and room for whole vectors). */
typedef struct {
    ptrdiff_t n_rows, n_classes, stride;
    int across;
    const void *next_in, *next_out;
} xent_block;

/* Most lanes a vector has on any target: what "room for whole vectors" means. */
#define XENT_MAX_LANES 16

/* Rows of so few classes are worked on across: along them, much of each vector would be empty and
 * each reduction over lanes would cost as much as the row. */
#define XENT_FEW_CLASSES 32

/* "number" below is float or double, by the table: one type of table serves both. */
typedef struct {
    int lanes;
    /* e = exp(z - max), s = (sum of e) - 1 without cancellation; e may be NULL */
    void (*softmax)(xent_block, const void *z, void *e, void *max, void *s);
    /* cross = sum_k t (max - z) and total = sum_k t, with t = scale * values + shift
       (values NULL: t = shift); 0 * inf counts as 0 */
    void (*cross)(xent_block, const void *z, const void *max, const void *values, double scale,
                  double shift, void *cross, void *total);
    /* another form's cost and slope of each class with target t: cost and slope are their sums over
       the row, slopes the slopes themselves; slopes may be targets */
    void (*class_terms)(xent_block, const xent_form *form, const void *z, const void *max,
                        const void *e, const void *s, const void *targets, void *slopes,
                        void *cost, void *slope);
    /* out = e * factor - (scale * values + shift) * weight; values may be NULL (shift alone is
       the target), weight too (1), out may be e. Unless labels is NULL, out = at_labels there (at
       any class for a negative label; labels have room for whole vectors) */
    void (*residual)(xent_block, const void *e, const void *factor, const void *values,
                     double scale, double shift, const void *weight, const int32_t *labels,
                     const void *at_labels, void *out);
    /* out = weight p (direction - sum_k p direction), p = e * inverse; out may be e */
    void (*hessian_product)(xent_block, const void *e, const void *inverse, const void *direction,
                            const void *weight, void *out);
    /* out = weight p (1 - p); out may be e */
    void (*hessian_diagonal)(xent_block, const void *e, const void *s, const void *inverse,
                             const void *weight, void *out);
    /* out = (z - max) - log_sum; out may be z */
    void (*log_proba)(xent_block, const void *z, const void *max, const void *log_sum, void *out);

    /* out = sum_k values, which are at least 0 */
    void (*row_sums)(xent_block, const void *values, void *out);

    /* Rows, contiguous and `stride` apart <-> the layout across. On the side of the rows there is room for n_rows rounded up to whole vectors, each followed by
       16 bytes that may be read, and written before the next row is */
    void (*turn)(xent_block, const void *rows, ptrdiff_t stride, void *across);
    void (*turn_back)(xent_block, const void *across, void *rows, ptrdiff_t stride);
    /* distance = max - z, what its rounding lost (NULL: not wanted) and e_out = e (NULL) at the
       labels; a negative label, of which nothing will be used, stands for any class. Labels have
       room for whole vectors */
    void (*at_labels)(xent_block, const int32_t *labels, const void *z, const void *max,
                      const void *e, void *distance, void *lost, void *e_out);

    /* The next ones take `count` contiguous numbers. */
    /* What rows owe: factor = weight total / (1 + s) and, unless loss is NULL,
       loss = weight (scale distance + cross + total log1p(s)). weight and total may be NULL (1),
       distance and cross too (0); a weight or a scale of 0 leaves nothing of what it multiplies */
    void (*row_terms)(ptrdiff_t count, const void *s, const void *weight, const void *total,
                      const void *distance, const void *cross, double scale, void *loss,
                      void *factor);
    /* The gradient at the labels, from e there: rest weight - (s + (1 - e)) factor, with rest the
       sum of the other targets (all >= 0); where they are no less than the label's own target,
       e factor - target weight. weight may be NULL (1) */
    void (*label_gradient)(ptrdiff_t count, const void *s, const void *e, const void *factor,
                           const void *weight, double target, double rest, void *out);
    /* another form's weighted cost (NULL: not wanted) and slope of the labels */
    void (*label_terms)(ptrdiff_t count, const xent_form *form, const void *s,
                        const void *distance, const void *lost, const void *e, const void *weight,
                        void *cost, void *slope);
    void (*log1p)(ptrdiff_t count, const void *u, void *out);
    void (*exp)(ptrdiff_t count, const void *x, void *out);
    /* binary loss of logits z, targets y in [0, 1] or nan (missing: 0), t = scale * y + shift;
       positive and weight may be NULL (1); loss or gradient may be NULL */
    void (*binary)(ptrdiff_t count, const xent_form *form, const void *z, const void *y,
                   double scale, double shift, const void *positive, const void *weight,
                   void *loss, void *gradient);
    /* its second derivative in z, or what stands for it, times direction (NULL: 1) */
    void (*binary_curvature)(ptrdiff_t count, const xent_form *form, const void *z, const void *y,
                             double scale, double shift, const void *positive, const void *weight,
                             const void *direction, void *out);
    /* 1 / (1 + exp(-z)), or its logarithm */
    void (*sigmoid)(ptrdiff_t count, const void *z, int logarithm, void *out);
} xent_rows;

/* Tables for a target of targets.h, or NULL where this build has none of it. */
const xent_rows *xent_rows_f32(int target);
const xent_rows *xent_rows_f64(int target);

#endif
