/* Dual coordinate ascent for one CPU target and dtype: LINE outputs, VECTORS vectors at a time.
 *
 * Shalev-Shwartz and Zhang, JMLR 14 (2013); Yu, Huang and Lin, Machine Learning 85 (2011). With all
 * other rows fixed, the best p of a row with logit z and old p0 solves
 *
 *     logit(p) = z - k (p - p0),      k = scale weight ||x - mean||^2,
 *
 * one equation per output. It is solved in l = logit(p): f(l) = l - z + k (sigmoid(l) - p0)
 * increases with a slope from 1 to 1 + k / 4, and its zero lies between z - k (1 - p0) and z + k
 * p0. If k is small, or f(z) and the slope of k sigmoid are, one step of Newton's method from l = z
 * is accurate to some percent, and the next sweep corrects the rest. Of a rare label nearly all
 * rows are such, however large k is. Otherwise, sigmoid(l) is about p0 + z / k: STEPS steps of
 * Newton's method are taken from there, or from z if |f| is smaller there, and bisection replaces
 * those that leave the interval in which the zero is known to be.
 *
 * Nearly all pairs of row and output are as good as solved after a sweep or two. The state of a
 * pair is l, so that it takes no exponential to see that: the gap is about p (1 - p) (z - l)^2 / 2,
 * where p (1 - p) is at most exp(-|l|), and a power of two is close enough to that.
 *
 * An intercept that is not penalised is treated as in softmax_dual_body.h: `feedback` is the square
 * of a constant feature, by which sum alpha is corrected within a fraction of a sweep. It adds
 * scale weight feedback to k, and feedback shift to the logits.
 *
 * The coefficients are updated as soon as the p of a row has changed, while the cache lines from
 * which its logit was computed are still in the first-level cache: a sweep reads and writes each
 * line once, where computing a gradient does so twice. As rows come in a random order, the lines of
 * rows to come have to be prefetched.
 */
#include "exp_log.h"

#define LINE XENT_DUAL_OUTPUTS
#define VECTORS (LINE / LANES)
#define STEPS 3
#define EASY NUMBER(2.0)     /* k up to which one step is enough */
#define NEAR NUMBER(0.5)     /* |f(z)| and twice k min(q, 1 - q), q = sigmoid(z), up to which too */
#define MOST_LOGIT (IS_FLOAT ? NUMBER(80.0) : NUMBER(500.0)) /* exponentials are normal numbers */
#define AHEAD_ROWS 8  /* distance, in rows, at which entries and logits are prefetched, */
#define AHEAD_LINES 3 /* and coefficients */
#define LINE_BYTES 64

XENT_INLINE V NAME(sigmoid_of)(V z)
{
    return NUMBER(1.0) / (NUMBER(1.0) + EXP(-z));
}

XENT_INLINE V NAME(size_of)(V x)
{
    return MAX(x, -x);
}

XENT_INLINE V NAME(dual_weight)(const xent_dual_outputs *of, ptrdiff_t i, int v)
{
    REAL lanes[LANES];
    if (of->by_row)
        return SPLAT((REAL)of->weight[i]);
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = (REAL)of->weight[i * LINE + v * LANES + lane];
    return LOAD(lanes);
}

/* VECTORS vectors from LINE doubles, and back. */
XENT_INLINE void NAME(take_line)(const double *from, V *to)
{
    REAL line[LINE];
    for (int k = 0; k < LINE; k++)
        line[k] = (REAL)from[k];
    for (int v = 0; v < VECTORS; v++)
        to[v] = LOAD(line + v * LANES);
}

XENT_INLINE void NAME(put_line)(double *to, const V *from)
{
    REAL line[LINE];
    for (int v = 0; v < VECTORS; v++)
        STORE(line + v * LANES, from[v]);
    for (int k = 0; k < LINE; k++)
        to[k] = (double)line[k];
}

XENT_INLINE void NAME(prefetch_line)(const void *line, size_t n_bytes)
{
    for (size_t at = 0; at < n_bytes; at += LINE_BYTES)
        XENT_PREFETCH((const char *)line + at);
}

/* The logit of the p that solves the equation above. */
XENT_INLINE V NAME(best_logit)(V z, V p, V k)
{
    V l = z, q = NAME(sigmoid_of)(l);
    const V off = k * (q - p), least = -MAX(-q, q - NUMBER(1.0));
    if (FIRST_LANE(LANE_MAX(k)) <= EASY ||
        FIRST_LANE(LANE_MAX(MAX(NAME(size_of)(off), NUMBER(2.0) * k * least))) <= NEAR)
        return l - off / (k * q * (NUMBER(1.0) - q) + NUMBER(1.0));
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
        if (step < STEPS - 1)
            q = NAME(sigmoid_of)(l);
    }
    return l;
}

static double NAME(dual_sweep)(const xent_dual_rows *X, const xent_dual_outputs *of,
                               const int32_t *order, double least)
{
    const REAL *data = X->data;
    REAL *coef = of->coef, *all_logits = of->logits;
    const REAL scale = (REAL)of->scale, mean_square = (REAL)X->mean_square;
    V shift[VECTORS], along[VECTORS], intercept[VECTORS], feedback[VECTORS], response[VECTORS];
    double met = 0;
    NAME(take_line)(of->shift, shift);
    NAME(take_line)(of->along, along);
    NAME(take_line)(of->intercept, intercept);
    NAME(take_line)(of->feedback, feedback);
    for (int v = 0; v < VECTORS; v++)
        response[v] = SPLAT(0);
    for (ptrdiff_t t = 0; t < X->n_rows; t++) {
        if (t + AHEAD_ROWS < X->n_rows) {
            const ptrdiff_t next = order[t + AHEAD_ROWS];
            const size_t n = (size_t)(X->indptr[next + 1] - X->indptr[next]);
            NAME(prefetch_line)(data + X->indptr[next], n * sizeof *data);
            NAME(prefetch_line)(X->indices + X->indptr[next], n * sizeof *X->indices);
            NAME(prefetch_line)(all_logits + next * LINE, LINE * sizeof *all_logits);
            XENT_PREFETCH(X->along + next);
            XENT_PREFETCH(X->square + next);
            XENT_PREFETCH(of->weight + next * (of->by_row ? 1 : LINE));
        }
        if (t + AHEAD_LINES < X->n_rows) {
            const ptrdiff_t next = order[t + AHEAD_LINES];
            for (int64_t j = X->indptr[next]; j < X->indptr[next + 1]; j++)
                NAME(prefetch_line)(coef + (ptrdiff_t)X->indices[j] * LINE, LINE * sizeof *coef);
        }
        const ptrdiff_t i = order[t];
        const int64_t begin = X->indptr[i], end = X->indptr[i + 1];
        const REAL on_mean = (REAL)X->along[i], square = (REAL)X->square[i];
        REAL *logits = all_logits + i * LINE;
        V z[VECTORS], odd[VECTORS], total = SPLAT(0), slope[VECTORS];
        int64_t j = begin;
        for (int v = 0; v < VECTORS; v++) {
            z[v] = intercept[v] - along[v] + shift[v] * (feedback[v] + mean_square - on_mean);
            odd[v] = SPLAT(0);
        }
        for (; j + 1 < end; j += 2) {
            const REAL *from = coef + (ptrdiff_t)X->indices[j] * LINE;
            const REAL *other = coef + (ptrdiff_t)X->indices[j + 1] * LINE;
            for (int v = 0; v < VECTORS; v++) {
                z[v] += data[j] * LOAD(from + v * LANES);
                odd[v] += data[j + 1] * LOAD(other + v * LANES);
            }
        }
        if (j < end)
            for (int v = 0; v < VECTORS; v++)
                z[v] += data[j] * LOAD(coef + (ptrdiff_t)X->indices[j] * LINE + v * LANES);
        for (int v = 0; v < VECTORS; v++) {
            z[v] += odd[v];
            const V l = LOAD(logits + v * LANES), off = z[v] - l;
            const V small = MAX(-NAME(size_of)(z[v]), -NAME(size_of)(l));
            const V shifted = small * LOG2_E + (REAL)(ROUND_MAGIC + EXPONENT_BIAS);
            slope[v] = NAME(dual_weight)(of, i, v) * NAME(power_of_two)(AS_INT(shifted));
            total += slope[v] * off * off;
        }
        const double rough = 0.5 * (double)FIRST_LANE(LANE_SUM(total, SPLAT(0)));
        if (rough < least) {
            met += rough;
            for (int v = 0; v < VECTORS; v++)
                response[v] += slope[v] / (NUMBER(1.0) + scale * square * slope[v]);
            continue;
        }
        V change[VECTORS];
        total = SPLAT(0);
        for (int v = 0; v < VECTORS; v++) {
            const V weight = NAME(dual_weight)(of, i, v), l = LOAD(logits + v * LANES);
            const V p = NAME(sigmoid_of)(l), off = z[v] - l;
            const V k = scale * weight * (square + feedback[v]);
            const V best = NAME(best_logit)(z[v], p, k);
            const V now = MAX(-MAX(-best, SPLAT(-MOST_LOGIT)), SPLAT(-MOST_LOGIT));
            const V q = NAME(sigmoid_of)(now), now_slope = q * (NUMBER(1.0) - q);
            STORE(logits + v * LANES, now);
            change[v] = -scale * weight * (q - p);
            total += weight * off * off * MAX(now_slope, p * (NUMBER(1.0) - p));
            response[v] += weight * now_slope / (NUMBER(1.0) + scale * weight * square * now_slope);
            shift[v] += change[v];
            along[v] += change[v] * on_mean;
        }
        met += 0.5 * (double)FIRST_LANE(LANE_SUM(total, SPLAT(0)));
        for (j = begin; j < end; j++) {
            REAL *to = coef + (ptrdiff_t)X->indices[j] * LINE;
            for (int v = 0; v < VECTORS; v++)
                STORE(to + v * LANES, LOAD(to + v * LANES) + data[j] * change[v]);
        }
    }
    NAME(put_line)(of->shift, shift);
    NAME(put_line)(of->along, along);
    NAME(put_line)(of->response, response);
    return met;
}

#if IS_FLOAT

static const xent_dual NAME(dual) = {NAME(dual_sweep), NULL, NULL};

#else

XENT_INLINE double NAME(entry)(const xent_dual_rows *X, int64_t j, const int is_float)
{
    return is_float ? (double)((const float *)X->data)[j] : ((const double *)X->data)[j];
}

XENT_INLINE V NAME(dual_logit)(const xent_dual_outputs *of, ptrdiff_t at, const int is_float)
{
    REAL lanes[LANES];
    if (!is_float)
        return LOAD((const REAL *)of->logits + at);
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = (REAL)((const float *)of->logits)[at + lane];
    return LOAD(lanes);
}

XENT_INLINE void NAME(prefetch_exact)(const xent_dual_rows *X, const xent_dual_outputs *of,
                                      ptrdiff_t i)
{
    if (i < X->n_rows)
        for (int64_t j = X->indptr[i]; j < X->indptr[i + 1]; j++)
            NAME(prefetch_line)(of->exact + (ptrdiff_t)X->indices[j] * LINE, LINE * sizeof(double));
}

XENT_INLINE void NAME(remake)(const xent_dual_rows *X, const xent_dual_outputs *of,
                              const int is_float)
{
    V total[VECTORS];
    for (int v = 0; v < VECTORS; v++)
        total[v] = SPLAT(0);
    for (ptrdiff_t i = 0; i < X->n_rows; i++) {
        V mass[VECTORS];
        NAME(prefetch_exact)(X, of, i + 1);
        for (int v = 0; v < VECTORS; v++) {
            const V p = NAME(sigmoid_of)(NAME(dual_logit)(of, i * LINE + v * LANES, is_float));
            mass[v] = NAME(dual_weight)(of, i, v) * p;
            total[v] += mass[v];
            mass[v] *= -of->scale;
        }
        for (int64_t j = X->indptr[i]; j < X->indptr[i + 1]; j++) {
            double *to = of->exact + (ptrdiff_t)X->indices[j] * LINE;
            const double x = NAME(entry)(X, j, is_float);
            for (int v = 0; v < VECTORS; v++)
                STORE(to + v * LANES, LOAD(to + v * LANES) + x * mass[v]);
        }
    }
    for (int v = 0; v < VECTORS; v++)
        STORE(of->total + v * LANES, total[v]);
}

static void NAME(dual_remake)(const xent_dual_rows *X, const xent_dual_outputs *of, int is_float)
{
    if (is_float)
        NAME(remake)(X, of, 1);
    else
        NAME(remake)(X, of, 0);
}

/* x log x, 0 at 0. */
XENT_INLINE V NAME(times_log)(V x)
{
    return SELECT(LESS(SPLAT(0), x), x * LOG(MAX(x, SPLAT(SMALLEST))), SPLAT(0));
}

XENT_INLINE void NAME(compare)(const xent_dual_rows *X, const xent_dual_outputs *of,
                               const int is_float)
{
    V entropy[VECTORS], distance[VECTORS];
    for (int v = 0; v < VECTORS; v++)
        entropy[v] = distance[v] = SPLAT(0);
    for (ptrdiff_t i = 0; i < X->n_rows; i++) {
        V logits[VECTORS];
        NAME(prefetch_exact)(X, of, i + 1);
        for (int v = 0; v < VECTORS; v++)
            logits[v] = LOAD(of->intercept + v * LANES) - LOAD(of->along + v * LANES) +
                        LOAD(of->shift + v * LANES) * (X->mean_square - X->along[i]);
        for (int64_t j = X->indptr[i]; j < X->indptr[i + 1]; j++) {
            const double *from = of->exact + (ptrdiff_t)X->indices[j] * LINE;
            const double x = NAME(entry)(X, j, is_float);
            for (int v = 0; v < VECTORS; v++)
                logits[v] += x * LOAD(from + v * LANES);
        }
        for (int v = 0; v < VECTORS; v++) {
            const V z = logits[v], l = NAME(dual_logit)(of, i * LINE + v * LANES, is_float);
            const V weight = NAME(dual_weight)(of, i, v);
            /* p and 1 - p, none by cancellation */
            const V e = EXP(-NAME(size_of)(l)), large = NUMBER(1.0) / (NUMBER(1.0) + e);
            const M low = LESS(l, SPLAT(0));
            const V p = SELECT(low, e * large, large), other = SELECT(low, large, e * large);
            const V share = LOAD(of->share + v * LANES), to = LOAD(of->constant + v * LANES);
            const V of_p = -NAME(times_log)(p + share * (to - p)) -
                           NAME(times_log)(other + share * (NUMBER(1.0) - to - other));
            /* log(1 + exp(z)) - p z as a sum of two terms >= 0 */
            const V size = NAME(size_of)(z), wrong = SELECT(LESS(z, SPLAT(0)), p, other);
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

static void NAME(dual_look)(const xent_dual_rows *X, const xent_dual_outputs *of, int is_float)
{
    if (is_float)
        NAME(compare)(X, of, 1);
    else
        NAME(compare)(X, of, 0);
}

static const xent_dual NAME(dual) = {NAME(dual_sweep), NAME(dual_remake), NAME(dual_look)};

#endif

#undef LINE
#undef VECTORS
#undef STEPS
#undef EASY
#undef NEAR
#undef MOST_LOGIT
#undef AHEAD_ROWS
#undef AHEAD_LINES
#undef LINE_BYTES
