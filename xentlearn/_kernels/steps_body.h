/* Steps of stochastic descent for one CPU target and one dtype.
 *
 * Adam: Kingma and Ba, ICLR 2015 (arXiv:1412.6980), algorithm 1. sgd: momentum as in scikit-learn's
 * MLPClassifier, velocity = momentum velocity - rate gradient; Nesterov momentum applies the
 * momentum once more to look ahead (Sutskever et al., ICML 2013). The average moves towards each
 * new point.
 *
 * The loops are plain C, which compilers vectorise. Gradients, coefficients and averages are
 * float64, moments and velocities have the dtype of X. Everything is done in one loop: for ten
 * classes a second one would take as long as computing the logits of a batch.
 */
#define LINE_OF(rule)                                                                               \
    static void NAME(rule##_line)(ptrdiff_t n, int of_output, const xent_step *step,                \
                                  const double *total, const double *mean,                          \
                                  const double *inverse_spread, const double *intercept,            \
                                  void *first, void *second, double *coef, double *average)         \
    {                                                                                               \
        if (of_output)                                                                              \
            NAME(rule)(n, 1, 0, *step, total, mean, inverse_spread, intercept, first, second, coef, \
                       average);                                                                    \
        else                                                                                        \
            NAME(rule)(n, 0, 1, *step, total, mean, inverse_spread, intercept, first, second, coef, \
                       average);                                                                    \
    }

/* The gradient with respect to coefficient i, for a row of features of one output or the
 * reverse. */
#define GRADIENT_AT(i)                                                                       \
    (REAL)(((total[i] - mean[(i) * of_feature] * intercept[(i) * of_output]) *               \
                step.inverse_weight +                                                        \
            step.l2_reg * coef[i]) *                                                         \
           inverse_spread[(i) * of_feature])

XENT_INLINE void NAME(adam)(ptrdiff_t n, const int of_feature, const int of_output,
                            const xent_step step, const double *restrict total,
                            const double *restrict mean, const double *restrict inverse_spread,
                            const double *restrict intercept, void *first_in, void *second_in,
                            double *restrict coef, double *restrict average)
{
    REAL *restrict first = first_in, *restrict second = second_in;
    const REAL keep_1 = (REAL)step.beta_1, keep_2 = (REAL)step.beta_2;
    const REAL rate = (REAL)step.rate, epsilon = (REAL)step.epsilon;
    const REAL add_1 = (REAL)(1 - step.beta_1), add_2 = (REAL)(1 - step.beta_2);
    for (ptrdiff_t i = 0; i < n; i++) {
        const REAL gradient = GRADIENT_AT(i);
        first[i] = keep_1 * first[i] + add_1 * gradient;
        second[i] = keep_2 * second[i] + add_2 * gradient * gradient;
        const REAL change = rate * first[i] / (XENT_SQRT(second[i]) + epsilon);
        coef[i] -= (double)change * inverse_spread[i * of_feature];
        average[i] += step.share * (coef[i] - average[i]);
    }
}

XENT_INLINE void NAME(sgd)(ptrdiff_t n, const int of_feature, const int of_output,
                           const xent_step step, const double *restrict total,
                           const double *restrict mean, const double *restrict inverse_spread,
                           const double *restrict intercept, void *first_in, void *second_in,
                           double *restrict coef, double *restrict average)
{
    REAL *restrict velocity = first_in;
    const REAL momentum = (REAL)step.beta_1, rate = (REAL)step.rate;
    const REAL ahead = step.nesterov ? momentum : 1, own = step.nesterov ? rate : 0;
    (void)second_in;
    for (ptrdiff_t i = 0; i < n; i++) {
        const REAL gradient = GRADIENT_AT(i);
        velocity[i] = momentum * velocity[i] - rate * gradient;
        const REAL change = ahead * velocity[i] - own * gradient;
        coef[i] += (double)change * inverse_spread[i * of_feature];
        average[i] += step.share * (coef[i] - average[i]);
    }
}

LINE_OF(adam)
LINE_OF(sgd)

#undef LINE_OF
#undef GRADIENT_AT
