/* Dual coordinate ascent for softmax cross-entropy, for one CPU target and dtype.
 *
 * Shalev-Shwartz and Zhang, JMLR 14 (2013). The dual objective, times the sum of the weights s, is
 *
 *     sum_i s_i H(q_i) - ||sum_i alpha_i (x_i - mean)||^2 scale / 2,     alpha_i = s_i (q_i - t_i),
 *
 * with H(q) = -sum_k q_k log q_k. With all other rows fixed, the best q of a row with logits z and
 * old q0 maximises
 *
 *     H(q) + z . (q - q0) - sum_k c_k (q_k - q0_k)^2 / 2     over the simplex,
 *
 * c = scale s ||x - mean||^2. With a multiplier nu of the constraint sum q = 1, and u = log q, it
 * solves
 *
 *     r_k + nu = 0,     r_k = u_k + c_k (q_k - q0_k) - z_k,     q_k = exp(u_k).
 *
 * These are K equations of one unknown each, which only nu couples. A step of Newton's method for
 * all of them and the constraint is
 *
 *     u_k -= (r_k + nu) / (1 + c_k q_k),     nu = (sum q - 1 - sum w r) / sum w,
 *
 * with w_k = q_k / (1 + c_k q_k). Without the quadratic term, u = z - log sum exp(z) after one step
 * from anywhere; in u, nearly flat for small q and nearly linear for large q, two steps from the old
 * point leave so little that the next sweep corrects it. A step changes a log by at most MOST_STEP,
 * as the exponential is not linear beyond that. Where the two steps lower the objective, which takes
 * rows that pull hard and are far from their solution, the change of q is halved until they do not.
 *
 * An intercept that is not penalised demands sum alpha = 0. It is treated as in a method of
 * multipliers: the coefficient of a constant feature, of which `intercept` is the value that is not
 * penalised. That feature's square, `feedback`, is chosen by class, so that sum alpha is corrected
 * within a fraction of a sweep; it adds scale s feedback to c, and feedback shift to the logits.
 *
 * A sweep goes through the rows in batches. First the rows of a batch are solved with the
 * coefficients as they were before it; each thread solves some of the rows. Then their changes are
 * added to the coefficients; each thread adds to some of the features, in the order of the rows, so
 * that the sums do not depend on the number of threads. If the rows of a batch are nearly orthogonal
 * to each other, the ascent is as fast as with one row after the other.
 *
 * As rows come in a random order, which makes the ascent several times as fast, the lines of rows to
 * come have to be prefetched.
 *
 * Class k of the padding has a low intercept and no coefficients: its q is exp(LEAST), next to
 * nothing, and stays there. The same lower bound of logs keeps all q normal numbers.
 */
#include <math.h>
#include "exp_log.h"

#define LEAST NUMBER(-80.0)
#define NOTHING NUMBER(-160.0) /* exp of it is 0 beside that of LEAST */
#define STEPS 2
#define MOST_STEP NUMBER(4.0)
#define HALVINGS 10
#define ROUNDING (IS_FLOAT ? NUMBER(1e-5) : NUMBER(1e-14)) /* of a gain, per change of q */
#define AHEAD_ROWS 8  /* distance, in rows, at which entries and logs are prefetched, */
#define AHEAD_LINES 4 /* and coefficients: so many rows, */
#define MOST_LINES 4  /* and so many lines of each; the processor foresees the rest */
#define AHEAD_LOGS 8  /* distance, in entries of a feature */
#define CHUNK 4       /* vectors that are kept in registers */
#define EACH(k) for (ptrdiff_t k = 0; k < width; k += LANES)
#define LINE_REALS (XENT_SOFTMAX_LINE / (ptrdiff_t)sizeof(REAL))

/* For the features of row i that are `part` in the bits of `mask`. */
XENT_INLINE void NAME(prefetch_coef)(const xent_softmax_rows *X, const xent_softmax_point *of,
                                     ptrdiff_t i, int32_t part, int32_t mask)
{
    const REAL *coef = of->coef;
    const ptrdiff_t most = MOST_LINES * LINE_REALS, n = of->width < most ? of->width : most;
    for (int64_t j = X->indptr[i]; j < X->indptr[i + 1]; j++)
        if ((X->indices[j] & mask) == part)
            for (ptrdiff_t k = 0; k < n; k += LINE_REALS)
                XENT_PREFETCH(coef + X->indices[j] * of->width + k);
}

XENT_INLINE void NAME(prefetch_row)(const xent_softmax_rows *X, const xent_softmax_point *of,
                                    ptrdiff_t i)
{
    const REAL *data = X->data, *logs = of->logs;
    for (int64_t j = X->indptr[i]; j < X->indptr[i + 1]; j += LINE_REALS) {
        XENT_PREFETCH(data + j);
        XENT_PREFETCH(X->indices + j);
    }
    for (ptrdiff_t k = 0; k < of->width && k < MOST_LINES * LINE_REALS; k += LINE_REALS)
        XENT_PREFETCH(logs + i * of->width + k);
}

/* n vectors of logits += x coef for row i. */
XENT_INLINE void NAME(gather_chunk)(const xent_softmax_rows *X, const REAL *coef, ptrdiff_t width,
                                    ptrdiff_t i, REAL *z, const int n)
{
    const REAL *data = X->data;
    V sum[CHUNK];
    for (int v = 0; v < n; v++)
        sum[v] = LOAD(z + v * LANES);
    for (int64_t j = X->indptr[i]; j < X->indptr[i + 1]; j++) {
        const REAL *from = coef + X->indices[j] * width;
        for (int v = 0; v < n; v++)
            sum[v] += data[j] * LOAD(from + v * LANES);
    }
    for (int v = 0; v < n; v++)
        STORE(z + v * LANES, sum[v]);
}

/* n vectors of coef += x change, for the features of row i that are `part` in the bits of `mask`. */
XENT_INLINE void NAME(scatter_chunk)(const xent_softmax_rows *X, REAL *coef, ptrdiff_t width,
                                     ptrdiff_t i, const REAL *change, int32_t part, int32_t mask,
                                     const int n)
{
    const REAL *data = X->data;
    V moved[CHUNK];
    for (int v = 0; v < n; v++)
        moved[v] = LOAD(change + v * LANES);
    for (int64_t j = X->indptr[i]; j < X->indptr[i + 1]; j++) {
        if ((X->indices[j] & mask) != part)
            continue;
        REAL *to = coef + X->indices[j] * width;
        for (int v = 0; v < n; v++)
            STORE(to + v * LANES, LOAD(to + v * LANES) + data[j] * moved[v]);
    }
}

/* Call `what` with the number of vectors as a constant, chunk by chunk. */
#define IN_CHUNKS(what, coef, ...)                                             \
    for (ptrdiff_t k = 0; k < width; k += CHUNK * LANES)                       \
        switch ((width - k) / LANES) {                                         \
        case 1: what(X, coef + k, width, i, __VA_ARGS__, 1); break;            \
        case 2: what(X, coef + k, width, i, __VA_ARGS__, 2); break;            \
        case 3: what(X, coef + k, width, i, __VA_ARGS__, 3); break;            \
        default: what(X, coef + k, width, i, __VA_ARGS__, CHUNK);              \
        }

/* z = the logits of row i. */
XENT_INLINE void NAME(softmax_logits)(const xent_softmax_rows *X, const xent_softmax_point *of,
                                      ptrdiff_t i, REAL *z)
{
    const REAL *intercept = of->intercept, *along = of->along, *shift = of->shift;
    const REAL *feedback = of->feedback, *coef = of->coef;
    const REAL from_mean = (REAL)X->mean_square - ((const REAL *)X->along)[i];
    const ptrdiff_t width = of->width;
    EACH(k) STORE(z + k, LOAD(intercept + k) - LOAD(along + k) +
                             LOAD(shift + k) * (LOAD(feedback + k) + from_mean));
    IN_CHUNKS(NAME(gather_chunk), coef, z + k)
}

/* log sum exp(z), in every lane. */
XENT_INLINE V NAME(log_sum)(const REAL *z, ptrdiff_t width)
{
    V top = LOAD(z), total = SPLAT(0);
    EACH(k) top = MAX(top, LOAD(z + k));
    top = LANE_MAX(top);
    EACH(k) total += EXP(LOAD(z + k) - top);
    return top + LOG(LANE_SUM(total, SPLAT(0)));
}

XENT_INLINE REAL NAME(sum_of)(V x)
{
    return FIRST_LANE(LANE_SUM(x, SPLAT(0)));
}

/* By how much the objective of the row above rises from q0 = exp(logs) to q = exp(u), for logits z
 * less log sum exp(z). All terms are small if the change is. */
XENT_INLINE REAL NAME(gain)(const REAL *logs, const REAL *q0, const REAL *u, const REAL *q,
                            const REAL *z, const REAL *c, ptrdiff_t width)
{
    V total = SPLAT(0);
    EACH(k) {
        const V moved = LOAD(q + k) - LOAD(q0 + k), old = LOAD(logs + k);
        total += moved * (LOAD(z + k) - old - NUMBER(0.5) * LOAD(c + k) * moved) -
                 LOAD(q + k) * (LOAD(u + k) - old);
    }
    return NAME(sum_of)(total);
}

/* Halve the change of q until the objective does not fall; leave q as it was if it always does. */
static void NAME(step_back)(const REAL *logs, const REAL *q0, REAL *u, REAL *q, const REAL *z,
                            const REAL *c, ptrdiff_t width)
{
    for (int halving = 0; halving < HALVINGS; halving++) {
        EACH(k) {
            const V half = NUMBER(0.5) * (LOAD(q + k) + LOAD(q0 + k));
            STORE(u + k, MAX(LOG(MAX(half, SPLAT(SMALLEST))), SPLAT(LEAST)));
            STORE(q + k, EXP(LOAD(u + k)));
        }
        if (NAME(gain)(logs, q0, u, q, z, c, width) >= 0)
            return;
    }
    EACH(k) {
        STORE(q + k, LOAD(q0 + k));
        STORE(u + k, LOAD(logs + k));
    }
}

/* The loss of row i, z being logits less log sum exp. */
XENT_INLINE double NAME(loss_of)(const xent_softmax_point *of, ptrdiff_t i, const REAL *z)
{
    double likelihood = 0;
    if (of->labels == NULL) {
        const REAL *values = (const REAL *)of->values + i * of->width;
        for (ptrdiff_t k = 0; k < of->n_outputs; k++)
            likelihood += (double)values[k] * z[k];
        return -likelihood;
    }
    if (of->base > 0)
        for (ptrdiff_t k = 0; k < of->n_outputs; k++)
            likelihood += z[k];
    return -(of->base * likelihood + of->share * z[of->labels[i]]);
}

static void NAME(softmax_solve)(const xent_softmax_rows *X, const xent_softmax_point *of,
                                const int32_t *order, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t n,
                                double least, void *all_changes, uint8_t *moves, double *met,
                                double *response, void *scratch)
{
    const ptrdiff_t width = of->width;
    const REAL *feedback = of->feedback;
    REAL *all_logs = of->logs;
    REAL *z = scratch, *c = z + width, *q0 = c + width, *q = q0 + width, *u = q + width;
    REAL *r = u + width;
    for (ptrdiff_t t = begin; t < begin + AHEAD_ROWS && t < n; t++)
        NAME(prefetch_row)(X, of, order[t]);
    for (ptrdiff_t t = begin; t < begin + AHEAD_LINES && t < n; t++)
        NAME(prefetch_coef)(X, of, order[t], 0, 0);
    for (ptrdiff_t t = begin; t < end; t++) {
        if (t + AHEAD_ROWS < n)
            NAME(prefetch_row)(X, of, order[t + AHEAD_ROWS]);
        if (t + AHEAD_LINES < n)
            NAME(prefetch_coef)(X, of, order[t + AHEAD_LINES], 0, 0);
        const ptrdiff_t i = order[t];
        REAL *logs = all_logs + i * width, *change = (REAL *)all_changes + t * width;
        const REAL weight = (REAL)of->weight[i], s = (REAL)(of->scale * of->weight[i]);
        NAME(softmax_logits)(X, of, i, z);
        const V of_all = NAME(log_sum)(z, width);
        V distance = SPLAT(0), entropy = SPLAT(0);
        EACH(k) {
            const V old = LOAD(logs + k), old_q = EXP(old), logit = LOAD(z + k) - of_all;
            distance += old_q * (old - logit);
            entropy -= old_q * old;
            STORE(z + k, logit);
            STORE(c + k, s * (((const REAL *)X->square)[i] + LOAD(feedback + k)));
            STORE(q0 + k, old_q);
            STORE(u + k, old);
            STORE(q + k, old_q);
        }
        const double gap = NAME(sum_of)(distance);
        met[0] += of->weight[i] * gap;
        met[1] += of->weight[i] * (double)NAME(sum_of)(entropy);
        met[2] += of->weight[i] * NAME(loss_of)(of, i, z);
        moves[t] = !(gap < least);
        if (!moves[t])
            continue;

        V weights = SPLAT(1);
        for (int step = 0; step < STEPS; step++) {
            V total = SPLAT(0), of_residuals = SPLAT(0);
            weights = SPLAT(0);
            EACH(k) {
                const V now = LOAD(q + k), residual = LOAD(u + k) - LOAD(z + k) +
                                                      LOAD(c + k) * (now - LOAD(q0 + k));
                const V w = now / (NUMBER(1.0) + LOAD(c + k) * now);
                total += now;
                weights += w;
                of_residuals += w * residual;
                STORE(r + k, residual);
            }
            weights = LANE_SUM(weights, SPLAT(0));
            const V nu = (LANE_SUM(total - of_residuals, SPLAT(0)) - NUMBER(1.0)) / weights;
            EACH(k) {
                const V w = NUMBER(1.0) / (NUMBER(1.0) + LOAD(c + k) * LOAD(q + k));
                V change = (LOAD(r + k) + nu) * w;
                change = MAX(-MAX(-change, SPLAT(-MOST_STEP)), SPLAT(-MOST_STEP));
                const V next = LOAD(u + k) - change;
                if (step == STEPS - 1)
                    STORE(r + k, w * LOAD(q + k)); /* the response */
                STORE(u + k, next);
                STORE(q + k, EXP(next));
            }
        }
        V total = SPLAT(0), size = SPLAT(0);
        EACH(k) total += LOAD(q + k);
        total = LANE_SUM(total, SPLAT(0));
        const V log_total = LOG(total);
        EACH(k) {
            /* q of the rounded logarithm: else coef would drift from what the logs say */
            const V log_now = MAX(LOAD(u + k) - log_total, SPLAT(LEAST)), now = EXP(log_now);
            const V moved = now - LOAD(q0 + k);
            STORE(u + k, log_now);
            STORE(q + k, now);
            size += MAX(moved, -moved);
        }
        if (!(NAME(gain)(logs, q0, u, q, z, c, width) >= -ROUNDING * NAME(sum_of)(size)))
            NAME(step_back)(logs, q0, u, q, z, c, width);

        EACH(k) {
            const V w = LOAD(r + k);
            ADD_TO_TOTAL(response + k, weight * (w - w * w / weights));
            STORE(logs + k, LOAD(u + k));
            STORE(change + k, -s * (LOAD(q + k) - LOAD(q0 + k)));
        }
    }
}

static void NAME(softmax_apply)(const xent_softmax_rows *X, const xent_softmax_point *of,
                                const int32_t *order, ptrdiff_t n, const void *all_changes,
                                const uint8_t *moves, int32_t part, int32_t n_parts)
{
    const ptrdiff_t width = of->width;
    const int32_t mask = n_parts - 1;
    REAL *coef = of->coef, *shift = of->shift, *along = of->along;
    for (ptrdiff_t t = 0; t < n; t++) {
        if (t + AHEAD_LINES < n && moves[t + AHEAD_LINES])
            NAME(prefetch_coef)(X, of, order[t + AHEAD_LINES], part, mask);
        if (!moves[t])
            continue;
        const ptrdiff_t i = order[t];
        const REAL *change = (const REAL *)all_changes + t * width;
        if (part == 0) {
            const REAL on_mean = ((const REAL *)X->along)[i];
            EACH(k) {
                STORE(shift + k, LOAD(shift + k) + LOAD(change + k));
                STORE(along + k, LOAD(along + k) + LOAD(change + k) * on_mean);
            }
        }
        IN_CHUNKS(NAME(scatter_chunk), coef, change + k, part, mask)
    }
}

/* Add weight q of row i to `sums`. If q of a class is nearly 1, it has no more digits than 1 has, and
 * the residuals of many rows are smaller than that. Such a q is taken to be 1 less the others, whose
 * sum is put into `others`; its place in `q` is cleared, and its class is returned. If there is none
 * above 1/2, or not that of the label, -1 is returned. */
XENT_INLINE int32_t NAME(add_distribution)(const xent_softmax_point *of, ptrdiff_t i, REAL *q,
                                           double *sums, REAL *others)
{
    const ptrdiff_t width = of->width;
    const REAL weight = (REAL)of->weight[i];
    int32_t top = 0;
    if (of->labels != NULL)
        top = of->labels[i];
    else
        for (ptrdiff_t k = 1; k < of->n_outputs; k++)
            if (q[k] > q[top])
                top = (int32_t)k;
    if (q[top] > NUMBER(0.5)) {
        V total = SPLAT(0);
        q[top] = 0;
        EACH(k) total += LOAD(q + k);
        *others = NAME(sum_of)(total);
        sums[top] += of->weight[i] * (1.0 - (double)*others);
    } else {
        top = -1;
    }
    EACH(k) ADD_TO_TOTAL(sums + k, weight * LOAD(q + k));
    return top;
}

static void NAME(softmax_tilt)(const xent_softmax_point *of, ptrdiff_t begin, ptrdiff_t end,
                               const void *delta, int commit, double *sums, void *scratch)
{
    const ptrdiff_t width = of->width;
    const REAL *by = delta;
    REAL *u = scratch;
    for (ptrdiff_t i = begin; i < end; i++) {
        REAL *logs = (REAL *)of->logs + i * width;
        if (commit) {
            EACH(k) STORE(u + k, LOAD(logs + k) + LOAD(by + k));
            const V of_all = NAME(log_sum)(u, width);
            EACH(k) {
                const V now = MAX(LOAD(u + k) - of_all, SPLAT(LEAST));
                STORE(logs + k, now);
                STORE(u + k, EXP(now));
            }
        } else { /* with one exponential each, q is the same but for rounding */
            V total = SPLAT(0);
            EACH(k) {
                const V q = EXP(LOAD(logs + k) + LOAD(by + k));
                STORE(u + k, q);
                total += q;
            }
            const V factor = NUMBER(1.0) / LANE_SUM(total, SPLAT(0));
            EACH(k) STORE(u + k, factor * LOAD(u + k));
        }
        REAL others = 0;
        const int32_t top = NAME(add_distribution)(of, i, u, sums, &others);
        if (commit) {
            of->top[i] = top;
            ((REAL *)of->others)[i] = others;
        }
    }
}

static void NAME(softmax_remake)(const xent_softmax_rows *X, const xent_softmax_point *of,
                                 const double *constant, ptrdiff_t begin, ptrdiff_t end,
                                 const double *shift, double *W, double *sums, double *scratch)
{
    const ptrdiff_t width = of->width, n_outputs = of->n_outputs;
    const REAL *data = X->feature_data, *logs = of->logs, *values = of->values;
    const REAL *all_others = of->others;
    double *total = scratch;
    REAL *products = (REAL *)(scratch + width);
    const double base = of->labels == NULL ? 0.0 : of->base;
    for (ptrdiff_t j = begin; j < end; j++) {
        REAL *coef = (REAL *)of->coef + j * width;
        double of_rows = 0;
        memset(total, 0, (size_t)width * sizeof *total);
        for (int64_t e = X->feature_indptr[j]; e < X->feature_indptr[j + 1]; e++) {
            const ptrdiff_t i = X->feature_rows[e];
            const double weighted = (double)data[e] * of->weight[i];
            const REAL x = (REAL)weighted;
            of_rows += weighted;
            if (constant == NULL) {
                if (e + AHEAD_LOGS < X->feature_indptr[end]) {
                    const ptrdiff_t next = X->feature_rows[e + AHEAD_LOGS] * width;
                    for (ptrdiff_t k = 0; k < width && k < MOST_LINES * LINE_REALS; k += LINE_REALS)
                        XENT_PREFETCH(logs + next + k);
                }
                EACH(k) STORE(products + k, x * EXP(LOAD(logs + i * width + k)));
                const int32_t top = of->top[i];
                if (top >= 0) { /* see add_distribution */
                    products[top] = 0;
                    total[top] += weighted * (1.0 - (double)all_others[i]);
                }
                EACH(k) ADD_TO_TOTAL(total + k, LOAD(products + k));
            }
            if (of->labels != NULL) {
                total[of->labels[i]] -= of->share * weighted;
                continue;
            }
            const REAL *t = values + i * width;
            for (ptrdiff_t k = 0; k < n_outputs; k++)
                total[k] -= weighted * (double)t[k];
        }
        for (ptrdiff_t k = 0; k < width; k++) {
            const double same = (constant == NULL ? 0.0 : constant[k]) - base;
            const double now = k < n_outputs ? -of->scale * (total[k] + same * of_rows) : 0.0;
            coef[k] = (REAL)now;
            if (k < n_outputs) {
                const double w = now - shift[k] * X->mean[j];
                if (W != NULL)
                    W[j * n_outputs + k] = w;
                sums[k] += now * X->mean[j];
                sums[width + k] += w * w;
            }
        }
    }
}

static void NAME(softmax_look)(const xent_softmax_rows *X, const xent_softmax_point *of,
                               ptrdiff_t begin, ptrdiff_t end, double *sums, void *scratch)
{
    const ptrdiff_t width = of->width;
    REAL *z = scratch, *u = z + width;
    for (ptrdiff_t i = begin; i < end; i++) {
        if (i + AHEAD_LINES < end)
            NAME(prefetch_coef)(X, of, i + AHEAD_LINES, 0, 0);
        const REAL *logs = (const REAL *)of->logs + i * width;
        const int32_t top = of->top[i];
        V entropy = SPLAT(0), distance = SPLAT(0);
        NAME(softmax_logits)(X, of, i, z);
        if (top >= 0) {
            /* see add_distribution; the logarithms of what is nearly 1 follow from the others */
            const V of_top = SPLAT(z[top]);
            V odds = SPLAT(0);
            EACH(k) {
                STORE(u + k, LOAD(logs + k));
                STORE(z + k, LOAD(z + k) - of_top);
            }
            u[top] = z[top] = NOTHING;
            EACH(k) odds += EXP(LOAD(z + k));
            const double sum = (double)NAME(sum_of)(odds);
            if (sum <= 1) {
                const double others = (double)((const REAL *)of->others)[i];
                const double log_p = -log1p(sum), log_q = log1p(-others);
                EACH(k) {
                    const V q = EXP(LOAD(u + k));
                    entropy -= q * LOAD(u + k);
                    distance += q * (LOAD(u + k) - LOAD(z + k));
                }
                sums[0] += of->weight[i] *
                           ((double)NAME(sum_of)(entropy) - (1.0 - others) * log_q);
                sums[1] += of->weight[i] * ((double)NAME(sum_of)(distance) - others * log_p +
                                            (1.0 - others) * (log_q - log_p));
                continue;
            }
            z[top] = 0;
        }
        const V of_all = NAME(log_sum)(z, width);
        EACH(k) {
            const V log_q = LOAD(logs + k), q = EXP(log_q);
            entropy -= q * log_q;
            distance += q * (log_q - (LOAD(z + k) - of_all));
        }
        sums[0] += of->weight[i] * (double)NAME(sum_of)(entropy);
        sums[1] += of->weight[i] * (double)NAME(sum_of)(distance);
    }
}

static const xent_softmax_dual NAME(softmax_dual) = {
    NAME(softmax_solve), NAME(softmax_apply), NAME(softmax_tilt), NAME(softmax_remake), NAME(softmax_look)};

#undef LEAST
#undef NOTHING
#undef STEPS
#undef MOST_STEP
#undef HALVINGS
#undef ROUNDING
#undef AHEAD_ROWS
#undef AHEAD_LINES
#undef MOST_LINES
#undef AHEAD_LOGS
#undef CHUNK
#undef EACH
#undef LINE_REALS
#undef IN_CHUNKS
