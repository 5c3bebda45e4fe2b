/* Steps of stochastic descent on a row of coefficients: one function per rule, dtype and CPU
 * target. */
#ifndef XENT_STEPS_H
#define XENT_STEPS_H

#include <stddef.h>

/* Parameters that are the same for all coefficients of a step. In units in which each feature has
 * mean 0 and standard deviation 1, the gradient of the objective with respect to the coefficient w
 * of feature j and output k is
 *
 *     (total / weight - mean_j intercept_k / weight + l2_reg w) / spread_j.
 *
 * The step in these units is divided by spread_j again to give that of w. */
typedef struct {
    double inverse_weight, l2_reg; /* 1 / weight of the batch; factor of the penalty ||W||^2 / 2 */
    double rate;                   /* learning rate; for Adam with its bias correction */
    double beta_1, beta_2;         /* of Adam; for sgd, beta_1 is the momentum */
    double epsilon;                /* of Adam, relative to second moments without bias correction */
    int nesterov;                  /* of sgd */
    double share;                  /* weight of this step in the average; 0: no average */
} xent_step;

/* Take a step on n coefficients: those of one output (`of_output`: `mean` and `inverse_spread`
 * have n numbers, `intercept`, the gradient of the intercepts, has one), or those of one feature
 * (the other way round). `first` and `second` are the moments of Adam; sgd has its velocity in
 * `first`. */
typedef void (*xent_step_line)(ptrdiff_t n, int of_output, const xent_step *step,
                               const double *total, const double *mean,
                               const double *inverse_spread, const double *intercept,
                               void *first, void *second, double *coef, double *average);

enum xent_rule { XENT_ADAM, XENT_SGD, XENT_N_RULES };

/* The function for a CPU target of targets.h; float32 is the dtype of `first` and `second`. */
xent_step_line xent_step_line_for(enum xent_rule rule, int float32, int target);

#endif
