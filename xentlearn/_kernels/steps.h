/* Steps of stochastic descent, a line of coefficients at a time: a function per rule, dtype and
 * target. */
#ifndef XENT_STEPS_H
#define XENT_STEPS_H

#include <stddef.h>

/* What is the same for all coefficients of a step. The gradient of the objective in a coefficient w
 * of feature j and output k is
 *
 *     total / weight - mean_j intercept_k / weight + l2_reg w,       over spread_j,
 *
 * in units in which every feature has mean 0 and spread 1; the step of w is over spread_j again. */
typedef struct {
    double inverse_weight, l2_reg; /* 1 / weight of the batch; of the penalty ||W||^2 / 2 */
    double rate;                   /* learning rate; Adam's includes the correction of its means */
    double beta_1, beta_2;         /* of Adam; of sgd beta_1 is the momentum */
    double epsilon;                /* of Adam, where its second mean is not corrected either */
    int nesterov;                  /* of sgd */
    double share;                  /* of this step in the average; 0: no average */
} xent_step;

/* One line of n coefficients: of one output (`of_output`: means and inverse spreads of the features
 * are lines, the intercept's gradient is a number), or of one feature (the other way round).
 * `first` and `second` are what the rule remembers; sgd has no second. */
typedef void (*xent_step_line)(ptrdiff_t n, int of_output, const xent_step *step,
                               const double *total, const double *mean,
                               const double *inverse_spread, const double *intercept,
                               void *first, void *second, double *coef, double *average);

enum xent_rule { XENT_ADAM, XENT_SGD, XENT_N_RULES };

/* float32: whether `first` and `second` are; the function for a target of targets.h. */
xent_step_line xent_step_line_for(enum xent_rule rule, int float32, int target);

#endif
