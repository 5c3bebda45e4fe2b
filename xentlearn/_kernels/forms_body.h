/* The cost of one entry in each form of forms.h, and the slope of that cost.
 *
 * Softmax. With l_k = -log p_k, each form is a sum over the classes of terms phi(p_k, t_k). With
 * the slopes g_k = -p_k dphi/dp_k, the chain rule through the softmax gives
 *
 *     gradient_k = p_k sum_j g_j - g_k
 *
 * which for plain cross-entropy is p_k T - t_k. Since the p_k sum to 1, a constant may be added to
 * all dphi/dp. It is chosen such that no g is negative; then (sum_j g_j)(diag(p) - p p^T) is
 * positive semi-definite. This is the Hessian without the curvature of phi as a function of l: the
 * generalised Gauss-Newton matrix (Schraudolph, Neural Computation 14, 2002).
 *
 * Binary. The gradient of an entry is `up` - `down`, both >= 0: the contributions of the negative
 * and of the positive outcome. The Gauss-Newton approximation of its second derivative is
 * up (1 - p) + down p, which for plain cross-entropy is the second derivative itself.
 *
 * Everything is expressed in p, 1 - p and l, each computed to full relative precision, so that
 * there is no cancellation beyond that of the formula itself. In the limits, p l is 0 for p = 0,
 * and l / (1 - p) is 1 for 1 - p = 0.
 */
#include "exp_log.h"

#define ZERO SPLAT(0)
#define HARDLY_ANY NUMBER(1e-30) /* below it, log1p(x) / x is 1 */

typedef struct {
    int name;
    REAL log_weight, miss_weight, both_weights, floor;
    SPLIT q, gamma, gamma_of_0;
    REAL clip, alpha, alpha_of_0;
} NAME(form);
#define FORM NAME(form)

XENT_INLINE FORM NAME(form_of)(const xent_form *form)
{
    FORM f;
    f.name = form->name;
    f.log_weight = (REAL)form->log_weight;
    f.miss_weight = (REAL)form->miss_weight;
    f.both_weights = (REAL)(form->log_weight + form->miss_weight);
    f.floor = (REAL)form->floor;
    f.q = NAME(split_of)(form->q);
    f.gamma = NAME(split_of)(form->gamma);
    f.gamma_of_0 = NAME(split_of)(form->gamma_of_0);
    f.clip = (REAL)form->clip;
    f.alpha = (REAL)form->alpha;
    f.alpha_of_0 = (REAL)form->alpha_of_0;
    return f;
}
#define FORM_OF NAME(form_of)

/* x y with 0 inf = 0. */
XENT_INLINE V NAME(times)(V x, V y)
{
    return SELECT(EQUAL(x, ZERO), ZERO, x * y);
}
#define TIMES NAME(times)

/* The cost and the slope of one class with target t. distance = m - z_k and its rounding error,
 * log_sum = log1p(s): together they are l. rest = 1 - p. */
XENT_INLINE void NAME(class_entry)(const FORM *form, V t, V distance, V distance_low, V log_sum,
                                   V p, V rest, V *cost, V *slope)
{
    const V l = distance + log_sum;
    switch (form->name) {
    case XENT_POLY:
        *cost = TIMES(t, TIMES(SPLAT(form->log_weight), l) + form->miss_weight * rest);
        /* 1 + epsilon p; for epsilon < 0 as (1 + epsilon) - epsilon (1 - p), without
         * cancellation */
        *slope = t * (form->miss_weight < 0 ? form->both_weights - form->miss_weight * rest
                                            : form->log_weight + form->miss_weight * p);
        break;
    case XENT_GENERALIZED: {
        const V power = EXP_PRODUCT(form->q, distance, distance_low, log_sum);
        const V share = ONE_MINUS_EXP(form->q.all * l, power) / form->q.all;
        *cost = t * SELECT(LESS(l, SPLAT(HARDLY_ANY)), l, share);
        *slope = t * power;
        break;
    }
    case XENT_FOCAL: {
        const V power = POWER(rest, form->gamma);
        const V ratio = SELECT(LESS(rest, SPLAT(HARDLY_ANY)), SPLAT(1), l / rest);
        *cost = TIMES(t, TIMES(power, l));
        *slope = t * (power * (NUMBER(1.0) + form->gamma.all * TIMES(p, ratio)));
        break;
    }
    default: { /* XENT_SYMMETRIC */
        const V known = SELECT(LESS(ZERO, t), t, SPLAT(1));
        const V log_t = SELECT(LESS(ZERO, t), MAX(LOG(known), SPLAT(form->floor)),
                               SPLAT(form->floor));
        *cost = TIMES(form->log_weight * t, l) - form->miss_weight * p * log_t;
        *slope = form->log_weight * t + form->miss_weight * p * (log_t - form->floor);
    }
    }
}

/* log(1 + exp(z)), the cost of a 0; that of a 1 is the same of -z. */
#define SOFTPLUS(z, log1p_e) (SELECT(LESS(ZERO, z), z, ZERO) + (log1p_e))

/* The cost of one binary entry with targets t of 1 and c of 0, and the two terms of its gradient:
 * `up`, which pulls the logit down towards 0, and `down`, which pulls it up towards 1.
 * log1p_e = log1p(exp(-|z|)). */
XENT_INLINE void NAME(binary_entry)(const FORM *form, V z, V t, V c, V p, V rest, V log1p_e,
                                    V *cost, V *up, V *down)
{
    const V cost_of_1 = SOFTPLUS(-z, log1p_e), cost_of_0 = SOFTPLUS(z, log1p_e);
    switch (form->name) {
    case XENT_FOCAL: {
        /* alpha_t (1 - p_t)^gamma (t l_1 + c l_0), 1 - p_t = t (1 - p) + c p */
        const V costs = TIMES(t, cost_of_1) + TIMES(c, cost_of_0);
        const V miss = t * rest + c * p;
        const V share = form->alpha * t + form->alpha_of_0 * c;
        const V power = POWER(miss, form->gamma);
        const V mixed = SELECT(EQUAL(t, ZERO), rest, SELECT(EQUAL(c, ZERO), p, p * rest / miss));
        const V bent = form->gamma.all * TIMES(mixed, costs);
        *cost = share * TIMES(power, costs);
        *up = share * power * (c * (p + bent));
        *down = share * power * (t * (rest + bent));
        break;
    }
    default: { /* XENT_ASYMMETRIC: t (1 - p)^gamma l_1 + c p_m^gamma_of_0 (-log(1 - p_m)) */
        const M clipped = LESS(ZERO, SPLAT(form->clip));
        const V shifted = MAX(ZERO, p - form->clip); /* p_m; propagates a nan */
        const V others = rest + form->clip;          /* 1 - p_m where p_m > 0 */
        const V log_others = SELECT(clipped, LOG1P(shifted / others), cost_of_0);
        const V kept = SELECT(clipped, rest / others, SPLAT(1));
        const V ratio = SELECT(LESS(shifted, SPLAT(HARDLY_ANY)), SPLAT(1), log_others / shifted);
        const V power_1 = POWER(rest, form->gamma), power_0 = POWER(shifted, form->gamma_of_0);
        const V inside = p * (kept + form->gamma_of_0.all * TIMES(rest, ratio));
        *cost = TIMES(t, TIMES(power_1, cost_of_1)) + TIMES(c, TIMES(power_0, log_others));
        *up = c * power_0 * SELECT(LESS(ZERO, shifted), inside, ZERO);
        *down = t * power_1 * (rest + form->gamma.all * TIMES(p, cost_of_1));
    }
    }
}
