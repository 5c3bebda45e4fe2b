/* Dual coordinate ascent for binary outputs over sparse X: a sweep over the rows, and an evaluation
 * of the result; one function of each per CPU target. */
#ifndef XENT_DUAL_H
#define XENT_DUAL_H

#include <stddef.h>
#include <stdint.h>

/* Outputs that are updated together, in two cache lines. A row has to wait for the p of the row
 * before it, and while one vector of outputs waits for its exponential, another one can proceed. */
#define XENT_DUAL_OUTPUTS 16

/* CSR rows x, from which the mean of all rows is subtracted implicitly. */
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
    const double *weight; /* (n_rows, XENT_DUAL_OUTPUTS); by_row: (n_rows,) */
    int by_row;
    double *p;     /* (n_rows, XENT_DUAL_OUTPUTS) */
    double *coef;  /* (n_features, XENT_DUAL_OUTPUTS) */
    double *shift; /* this and all that follow: (XENT_DUAL_OUTPUTS,) */
    double *along; /* coef . mean */
    const double *intercept;
    double *gain;      /* result of a sweep: estimate of the increase of the dual objective */
    double *curvature; /* sum of weight p (1 - p) */
    const double *share, *constant; /* for look: q = (1 - share) p + share constant */
    double *entropy;                /* sum of weight H(q), H(q) = -q log q - (1 - q) log(1 - q) */
    double *distance;               /* sum of weight (log(1 + exp(z)) - p z - H(q)), z the logit */
} xent_dual_outputs;

typedef struct {
    /* Maximise the dual objective over the p of each row in turn, the others being fixed. */
    void (*sweep)(const xent_dual_rows *, const xent_dual_outputs *);
    /* Compute entropies of p, and distances of p from the predictions of the coefficients. */
    void (*look)(const xent_dual_rows *, const xent_dual_outputs *);
} xent_dual;

/* The functions for a CPU target of targets.h, or NULL if this build does not have it. */
const xent_dual *xent_dual_for(int target);

#endif
