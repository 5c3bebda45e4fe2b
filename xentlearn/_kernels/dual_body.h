/* Dual coordinate ascent for one CPU target, in float64: LINE outputs, VECTORS vectors at a time.
 *
 * Shalev-Shwartz and Zhang, JMLR 14 (2013); Yu, Huang and Lin, Machine Learning 85 (2011). With all
 * other rows fixed, the best p of a row with logit z and old p0 solves
 *
 *     logit(p) = z - k (p - p0),      k = scale weight ||x - mean||^2,
 *
 * one equation per output. It is solved in l = logit(p): f(l) = l - z + k (sigmoid(l) - p0)
 * increases with a slope from 1 to 1 + k / 4, and its zero lies between z - k (1 - p0) and z + k
 * p0. If k is small, or f(z) and the slope of k sigmoid are, one step of Newton's method from l = z is
 * accurate to some percent, and the next sweep corrects the rest. Of a rare label nearly all rows
 * are such, however large k is. Otherwise, sigmoid(l) is about p0 + z / k: STEPS steps of
 * Newton's method are taken from there, or from z if |f| is smaller there, and bisection replaces
 * those that leave the interval in which the zero is known to be.
 *
 * The coefficients are updated as soon as the p of a row has changed, while the cache lines from
 * which its logit was computed are still in the first-level cache: a sweep reads and writes each
 * line once, where computing a gradient does so twice.
 */
#if !IS_FLOAT
#include "exp_log.h"

#define LINE XENT_DUAL_OUTPUTS
#define VECTORS (LINE / LANES)
#define STEPS 3
#define EASY 2.0     /* k up to which one step is enough */
#define NEAR 0.5     /* |f(z)| and twice k min(q, 1 - q), q = sigmoid(z), up to which it is, too */
#define LEAST_SLOPE 1e-100 /* of sigmoid: avoids a division by 0 where p is 0 or 1 */
#define AHEAD 8      /* distance, in rows, at which entries are prefetched; coefficients: one row */

XENT_INLINE V NAME(sigmoid_of)(V z)
{
    return NUMBER(1.0) / (NUMBER(1.0) + EXP(-z));
}

XENT_INLINE void NAME(ask_for_rows)(const xent_dual_rows *X, const xent_dual_outputs *of,
                                    ptrdiff_t i)
{
    if (i + AHEAD < X->n_rows) {
        XENT_PREFETCH(X->data + X->indptr[i + AHEAD]);
        XENT_PREFETCH(X->indices + X->indptr[i + AHEAD]);
    }
    if (i + 1 < X->n_rows)
        for (int64_t j = X->indptr[i + 1]; j < X->indptr[i + 2]; j++)
            for (int k = 0; k < LINE; k += 64 / (int)sizeof(double))
                XENT_PREFETCH(of->coef + (ptrdiff_t)X->indices[j] * LINE + k);
}

/* logits += x coef for row i. */
XENT_INLINE void NAME(add_logits)(const xent_dual_rows *X, const double *coef, ptrdiff_t i,
                                  V *logits)
{
    V even[VECTORS], odd[VECTORS];
    int64_t j = X->indptr[i];
    const int64_t end = X->indptr[i + 1];
    for (int v = 0; v < VECTORS; v++)
        even[v] = logits[v], odd[v] = SPLAT(0);
    for (; j + 1 < end; j += 2) {
        const double *from = coef + (ptrdiff_t)X->indices[j] * LINE;
        const double *other = coef + (ptrdiff_t)X->indices[j + 1] * LINE;
        for (int v = 0; v < VECTORS; v++) {
            even[v] += X->data[j] * LOAD(from + v * LANES);
            odd[v] += X->data[j + 1] * LOAD(other + v * LANES);
        }
    }
    for (; j < end; j++)
        for (int v = 0; v < VECTORS; v++)
            even[v] += X->data[j] * LOAD(coef + (ptrdiff_t)X->indices[j] * LINE + v * LANES);
    for (int v = 0; v < VECTORS; v++)
        logits[v] = even[v] + odd[v];
}

/* The p that solves the equation above. */
XENT_INLINE V NAME(best_p)(V z, V p, V k)
{
    V l = z, q = NAME(sigmoid_of)(l);
    const V off = k * (q - p), least = -MAX(-q, q - NUMBER(1.0));
    if (FIRST_LANE(LANE_MAX(k)) <= EASY ||
        FIRST_LANE(LANE_MAX(MAX(MAX(off, -off), NUMBER(2.0) * k * least))) <= NEAR) {
        l -= k * (q - p) / (k * q * (NUMBER(1.0) - q) + NUMBER(1.0));
        return NAME(sigmoid_of)(l);
    }
    V low = z - k * (NUMBER(1.0) - p), high = z + k * p;
    const V edge = NUMBER(1.0) / (k + NUMBER(2.0)); /* for k = 0 it is 1/2, whatever z / k is */
    const V share = -MAX(-MAX(p + z / k, edge), edge - NUMBER(1.0));
    const V guess = LOG(share) - LOG(NUMBER(1.0) - share), r = NAME(sigmoid_of)(guess);
    const V off_guess = guess - z + k * (r - p);
    const M better = LESS(off_guess * off_guess, off * off);
    l = SELECT(better, guess, l);
    q = SELECT(better, r, q);
    for (int step = 0; step < STEPS; step++) {
        const V f = l - z + k * (q - p);
        const M above = LESS(SPLAT(0), f);
        high = SELECT(above, l, high);
        low = SELECT(above, low, l);
        const V next = l - f / (k * q * (NUMBER(1.0) - q) + NUMBER(1.0));
        const M inside = AT_MOST(low, next) & AT_MOST(next, high);
        l = SELECT(inside, next, NUMBER(0.5) * (low + high));
        q = NAME(sigmoid_of)(l);
    }
    return q;
}

XENT_INLINE V NAME(dual_weight)(const xent_dual_outputs *of, ptrdiff_t i, int v)
{
    return of->by_row ? SPLAT(of->weight[i]) : LOAD(of->weight + i * LINE + v * LANES);
}

static void NAME(dual_sweep)(const xent_dual_rows *X, const xent_dual_outputs *of)
{
    V shift[VECTORS], along[VECTORS], intercept[VECTORS], gain[VECTORS], curvature[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        shift[v] = LOAD(of->shift + v * LANES);
        along[v] = LOAD(of->along + v * LANES);
        intercept[v] = LOAD(of->intercept + v * LANES);
        gain[v] = curvature[v] = SPLAT(0);
    }
    for (ptrdiff_t i = 0; i < X->n_rows; i++) {
        V z[VECTORS], change[VECTORS];
        NAME(ask_for_rows)(X, of, i);
        for (int v = 0; v < VECTORS; v++)
            z[v] = intercept[v] - along[v] + shift[v] * (X->mean_square - X->along[i]);
        NAME(add_logits)(X, of->coef, i, z);
        for (int v = 0; v < VECTORS; v++) {
            const V weight = NAME(dual_weight)(of, i, v), p = LOAD(of->p + i * LINE + v * LANES);
            const V k = of->scale * X->square[i] * weight, q = NAME(best_p)(z[v], p, k);
            const V slope = q * (NUMBER(1.0) - q), moved = q - p;
            STORE(of->p + i * LINE + v * LANES, q);
            change[v] = -of->scale * weight * moved;
            curvature[v] += weight * slope;
            /* increase along a parabola from p to q, with the smaller curvature of its two ends */
            const V most = MAX(MAX(slope, p * (NUMBER(1.0) - p)), SPLAT(LEAST_SLOPE));
            gain[v] += NUMBER(0.5) * weight * moved * (moved / most + k * moved);
            shift[v] += change[v];
            along[v] += change[v] * X->along[i];
        }
        for (int64_t j = X->indptr[i]; j < X->indptr[i + 1]; j++) {
            double *to = of->coef + (ptrdiff_t)X->indices[j] * LINE;
            for (int v = 0; v < VECTORS; v++)
                STORE(to + v * LANES, LOAD(to + v * LANES) + X->data[j] * change[v]);
        }
    }
    for (int v = 0; v < VECTORS; v++) {
        STORE(of->shift + v * LANES, shift[v]);
        STORE(of->along + v * LANES, along[v]);
        STORE(of->gain + v * LANES, gain[v]);
        STORE(of->curvature + v * LANES, curvature[v]);
    }
}

/* x log x, 0 at 0. */
XENT_INLINE V NAME(times_log)(V x)
{
    return SELECT(LESS(SPLAT(0), x), x * LOG(MAX(x, SPLAT(SMALLEST))), SPLAT(0));
}

static void NAME(dual_look)(const xent_dual_rows *X, const xent_dual_outputs *of)
{
    V entropy[VECTORS], distance[VECTORS];
    for (int v = 0; v < VECTORS; v++)
        entropy[v] = distance[v] = SPLAT(0);
    for (ptrdiff_t i = 0; i < X->n_rows; i++) {
        V logits[VECTORS];
        NAME(ask_for_rows)(X, of, i);
        for (int v = 0; v < VECTORS; v++)
            logits[v] = LOAD(of->intercept + v * LANES) - LOAD(of->along + v * LANES) +
                        LOAD(of->shift + v * LANES) * (X->mean_square - X->along[i]);
        NAME(add_logits)(X, of->coef, i, logits);
        for (int v = 0; v < VECTORS; v++) {
            const V z = logits[v];
            const V weight = NAME(dual_weight)(of, i, v), p = LOAD(of->p + i * LINE + v * LANES);
            const V mixed = p + LOAD(of->share + v * LANES) * (LOAD(of->constant + v * LANES) - p);
            const V of_p = -NAME(times_log)(mixed) - NAME(times_log)(NUMBER(1.0) - mixed);
            /* log(1 + exp(z)) - p z as a sum of two terms >= 0 */
            const M negative = LESS(z, SPLAT(0));
            const V size = SELECT(negative, -z, z);
            const V wrong = SELECT(negative, p, NUMBER(1.0) - p);
            const V cross = LOG1P(EXP(-size)) + wrong * size;
            entropy[v] += weight * of_p;
            distance[v] += weight * (cross - of_p);
        }
    }
    for (int v = 0; v < VECTORS; v++) {
        STORE(of->entropy + v * LANES, entropy[v]);
        STORE(of->distance + v * LANES, distance[v]);
    }
}

static const xent_dual NAME(dual) = {NAME(dual_sweep), NAME(dual_look)};

#undef LINE
#undef VECTORS
#undef STEPS
#undef EASY
#undef NEAR
#undef LEAST_SLOPE
#undef AHEAD

#endif
