/* Interface of the row primitives of rows_body.h: a block of rows, and one table of functions per
 * dtype and CPU target. */
#ifndef XENT_ROWS_H
#define XENT_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "forms.h"

/* Layout of n_rows x n_classes numbers.
 *
 * across = 0: rows are contiguous, vectors run along the classes; row i begins at i * stride.
 * across = 1: classes are contiguous, vectors run across the rows; class k begins at k * stride.
 *             Used for at most XENT_FEW_CLASSES classes. Buffers have room for n_rows rounded up to
 *             whole vectors.
 *
 * next_in, next_out: numbers that will be read and written soon. softmax, whose computation takes
 * long enough, prefetches as many of each as it processes. Invalid addresses do no harm.
 *
 * All n_rows x n_classes arguments of a call have this layout; arguments by row have n_rows numbers
 * and room for whole vectors. */
typedef struct {
    ptrdiff_t n_rows, n_classes, stride;
    int across;
    const void *next_in, *next_out;
} xent_block;

/* Largest number of lanes on any CPU target, which is what "room for whole vectors" refers to. */
#define XENT_MAX_LANES 16

/* Up to this number of classes, vectors run across the rows: along a row, much of each vector would
 * be empty, and a reduction over lanes would take as long as the rest of the row. */
#define XENT_FEW_CLASSES 32

/* Numbers are float or double, depending on the table: both use the same type of table. */
typedef struct {
    int lanes;
    /* e = exp(z - max), s = (sum of e) - 1 without cancellation; e may be NULL */
    void (*softmax)(xent_block, const void *z, void *e, void *max, void *s);
    /* cross = sum_k t (max - z) and total = sum_k t, with t = scale * values + shift
       (values NULL: t = shift); 0 * inf counts as 0 */
    void (*cross)(xent_block, const void *z, const void *max, const void *values, double scale,
                  double shift, void *cross, void *total);
    /* costs and slopes of the classes in forms other than cross-entropy: cost and slope are their
       sums over the row, slopes the slopes of the classes; slopes may be targets */
    void (*class_terms)(xent_block, const xent_form *form, const void *z, const void *max,
                        const void *e, const void *s, const void *targets, void *slopes,
                        void *cost, void *slope);
    /* out = e * factor - (scale * values + shift) * weight; values may be NULL (the target is then
       shift), weight may be NULL (1), out may be e. Unless labels is NULL, out = at_labels at the
       labels (at an arbitrary class if a label is negative); labels have room for whole vectors */
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

    /* out = sum_k values * times; times may be NULL (1) */
    void (*row_sums)(xent_block, const void *values, const void *times, void *out);
    /* For a tile of the classes of rows whose largest logit is max, along, with n_classes a multiple
       of lanes: out = e * factor - shift * weight, e = exp(z - max) and weight NULL for 1; or, unless
       direction is NULL, e * factor * (direction - mean). Subnormal results are set to 0; out may
       be z */
    void (*tile_residual)(xent_block, const void *z, const void *max, const void *factor,
                          double shift, const void *weight, const void *direction,
                          const void *mean, void *out);

    /* Transpose contiguous rows that are `stride` apart to the layout across, and back. The array
       of rows has room for n_rows rounded up to whole vectors; each row is followed by 16 bytes
       that may be read, and that may be written before the next row is */
    void (*turn)(xent_block, const void *rows, ptrdiff_t stride, void *across);
    void (*turn_back)(xent_block, const void *across, void *rows, ptrdiff_t stride);
    /* distance = max - z at the labels, its rounding error `lost` (may be NULL) and e_out = e (may
       be NULL). A negative label stands for an arbitrary class, since its row is ignored. Labels
       have room for whole vectors */
    void (*at_labels)(xent_block, const int32_t *labels, const void *z, const void *max,
                      const void *e, void *distance, void *lost, void *e_out);

    /* The following functions take `count` contiguous numbers. */
    /* factor = weight total / (1 + s) and, unless loss is NULL,
       loss = weight (scale distance + cross + total log1p(s)). weight and total may be NULL (1),
       distance and cross too (0); a weight or scale of 0 gives 0 even if the other factor is inf */
    void (*row_terms)(ptrdiff_t count, const void *s, const void *weight, const void *total,
                      const void *distance, const void *cross, double scale, void *loss,
                      void *factor);
    /* The gradient at the labels, from e at the labels: rest weight - (s + (1 - e)) factor, where
       rest is the sum of the other targets, all >= 0. If rest is not less than the target of the
       label: e factor - target weight. weight may be NULL (1) */
    void (*label_gradient)(ptrdiff_t count, const void *s, const void *e, const void *factor,
                           const void *weight, double target, double rest, void *out);
    /* weighted cost (may be NULL) and slope of the labels in forms other than cross-entropy */
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
    /* its second derivative in z, or the Gauss-Newton approximation of that, times direction (NULL:
       1) */
    void (*binary_curvature)(ptrdiff_t count, const xent_form *form, const void *z, const void *y,
                             double scale, double shift, const void *positive, const void *weight,
                             const void *direction, void *out);
    /* 1 / (1 + exp(-z)), or its logarithm */
    void (*sigmoid)(ptrdiff_t count, const void *z, int logarithm, void *out);
} xent_rows;

/* Tables for a CPU target of targets.h, or NULL if this build does not have it. */
const xent_rows *xent_rows_f32(int target);
const xent_rows *xent_rows_f64(int target);

#endif
