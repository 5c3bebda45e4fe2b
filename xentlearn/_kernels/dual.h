/* Dual coordinate ascent for binary outputs over sparse X: a sweep over the rows, the coefficients
 * of a dual point, and an evaluation of it; one function of each per CPU target. */
#ifndef XENT_DUAL_H
#define XENT_DUAL_H

#include <stddef.h>
#include <stdint.h>

/* Outputs that are updated together: in float32, a cache line and one vector of AVX-512. */
#define XENT_DUAL_OUTPUTS 16

/* CSR rows x, from which the mean of all rows is subtracted implicitly. */
typedef struct {
    ptrdiff_t n_rows;
    const void *data; /* float or double */
    const int32_t *indices;
    const int64_t *indptr;
    const double *along;  /* x . mean, by row */
    const double *square; /* ||x - mean||^2, by row */
    double mean_square;   /* ||mean||^2 */
} xent_dual_rows;

/* XENT_DUAL_OUTPUTS outputs. The state of a row is the logit l of its prediction p, for each
 * output. With alpha = weight (p - t), t the targets, of every row and output,
 *
 *     W = -scale sum alpha (x - mean) = coef - shift mean,     shift = -scale sum alpha,
 *
 * and the logits that W predicts for a row are z = W (x - mean) + intercept. Logits and the
 * coefficients of sweeps have the dtype of data. */
typedef struct {
    double scale;
    const double *weight; /* (n_rows, XENT_DUAL_OUTPUTS); by_row: (n_rows,) */
    int by_row;
    void *logits;         /* l; (n_rows, XENT_DUAL_OUTPUTS) */
    void *coef;           /* (n_features, XENT_DUAL_OUTPUTS) */
    double *exact;        /* for remake and look: coef in float64 */
    double *shift;        /* this and all that follow: (XENT_DUAL_OUTPUTS,) */
    double *along;        /* coef . mean */
    const double *intercept;
    const double *feedback; /* for sweeps: what shift is multiplied by for intercepts */
    double *response;       /* result of a sweep: by how much sum weight p follows the intercept */
    double *total;     /* result of remake: sum of weight p */
    const double *share, *constant; /* for look: q = (1 - share) p + share constant */
    double *entropy;                /* sum of weight H(q), H(q) = -q log q - (1 - q) log(1 - q) */
    double *distance;               /* sum of weight (log(1 + exp(z)) - p z - H(q)) */
} xent_dual_outputs;

typedef struct {
    /* Maximise the dual objective over the p of each row in turn, in this order, the others being
     * fixed. Rows whose gap, weight KL(p, sigmoid(z)) of all outputs, is below `least` are left as
     * they are. Returns the sum of the gaps that rows had when they were reached. */
    double (*sweep)(const xent_dual_rows *, const xent_dual_outputs *, const int32_t *, double);
    /* Subtract scale sum weight p x from `exact`, and sum weight p; float64 alone has this ... */
    void (*remake)(const xent_dual_rows *, const xent_dual_outputs *, int is_float);
    /* ... and this: entropies of p, and distances of p from what `exact` predicts. Data and logits
     * are float if is_float. */
    void (*look)(const xent_dual_rows *, const xent_dual_outputs *, int is_float);
} xent_dual;

/* The functions for a CPU target of targets.h, or NULL if this build does not have it. */
const xent_dual *xent_dual_for(int target, int is_float);

#endif
