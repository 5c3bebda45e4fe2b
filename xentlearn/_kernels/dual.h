/* Dual coordinate ascent for binary outputs over sparse X: a sweep over the rows, and what it is
 * worth. A function of each per target. */
#ifndef XENT_DUAL_H
#define XENT_DUAL_H

#include <stddef.h>
#include <stdint.h>

/* Side by side, in two cache lines: a row waits for the p of the one before, and while one vector of
 * outputs waits for its exponential, another has work. */
#define XENT_DUAL_OUTPUTS 16

/* CSR rows x, in thought less the mean of all rows. */
typedef struct {
    ptrdiff_t n_rows;
    const double *data;
    const int32_t *indices;
    const int64_t *indptr;
    const double *along;  /* x . mean, by row */
    const double *square; /* ||x - mean||^2, by row */
    double mean_square;   /* ||mean||^2 */
} xent_dual_rows;

/* XENT_DUAL_OUTPUTS outputs. With alpha = weight (p - t), t the targets, of every row and output,
 *
 *     W = -scale sum alpha (x - mean) = coef - shift mean,     shift = -scale sum alpha,
 *
 * and the logits of a row are W (x - mean) + intercept. */
typedef struct {
    double scale;
    const double *weight; /* (n_rows, XENT_DUAL_OUTPUTS), or by row alone */
    int by_row;
    double *p;     /* (n_rows, XENT_DUAL_OUTPUTS) */
    double *coef;  /* (n_features, XENT_DUAL_OUTPUTS) */
    double *shift; /* these and all below: (XENT_DUAL_OUTPUTS,) */
    double *along; /* coef . mean */
    const double *intercept;
    double *gain;      /* of a sweep: about what the dual's value has risen by */
    double *curvature; /* sum of weight p (1 - p) */
    const double *share, *constant; /* of a look: q = (1 - share) p + share constant */
    double *entropy;                /* sum of weight H(q), H(q) = -q log q - (1 - q) log(1 - q) */
    double *distance;               /* sum of weight (log(1 + exp(z)) - p z - H(q)), z the logit */
} xent_dual_outputs;

typedef struct {
    /* For each row in turn the p that is best while all others stay. */
    void (*sweep)(const xent_dual_rows *, const xent_dual_outputs *);
    /* Entropies, and distances of predictions from those of the coefficients. */
    void (*look)(const xent_dual_rows *, const xent_dual_outputs *);
} xent_dual;

/* For a target of targets.h; NULL: not built. */
const xent_dual *xent_dual_for(int target);

#endif
