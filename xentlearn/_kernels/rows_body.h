/* Row primitives for one CPU target and one dtype: the functions in the tables of rows.h.
 *
 * One loop serves both layouts: a "group" is LANES rows (across) or a single row (along), and is
 * processed in steps of one vector. A value per row (its maximum, its sum) is a vector that holds
 * either one number per row or the same number in every lane. `across` is a constant in each of the
 * two copies that the compiler makes of a body, so testing it takes no time.
 *
 * Sums add at most SUM_STEPS vectors in the dtype itself, and are then added to a pair of numbers
 * without a rounding error (Knuth's two-sum), so that errors do not grow with the number of
 * classes.
 */
#include "forms_body.h"

#define SUM_STEPS 8
#define ONE NUMBER(1.0)

typedef struct {
    V part, high, low;
} NAME(sum);
#define SUM NAME(sum)

XENT_INLINE void NAME(sum_flush)(SUM *sum)
{
    V next = sum->high + sum->part;
    V back = next - sum->high;
    sum->low += (sum->high - (next - back)) + (sum->part - back);
    sum->high = next;
    sum->part = SPLAT(0);
}
#define SUM_FLUSH NAME(sum_flush)

XENT_INLINE V NAME(sum_total)(const int across, SUM *sum)
{
    SUM_FLUSH(sum);
    /* if the sum is inf, its rounding error is nan */
    V low = SELECT(AT_MOST(sum->high, SPLAT(LARGEST)), sum->low, SPLAT(0));
    return across ? sum->high + low : LANE_SUM(sum->high, low);
}
#define SUM_TOTAL NAME(sum_total)

/* The loop over a group: full steps, then (only along a row) the REST of the row. Rows in this
 * layout have at least LANES classes, so the rest is read as the last full vector of the row, of
 * which only the `fresh` lanes are new; the others have been processed and are masked out. If the
 * output may overlap the input, that vector is read before the full steps are written, since a load
 * that overlaps pending stores would have to wait for them. */
#define GROUPS(block, g) \
    for (ptrdiff_t g = 0; g < (block).n_rows; g += across ? LANES : 1)
#define GROUP_BEGIN(block, g) ((g) * (across ? 1 : (block).stride))
#define STEP(block) (across ? (block).stride : LANES)
#define FULL_STEPS(block) (across ? (block).n_classes : (block).n_classes / LANES)
#define REST(block) (across ? 0 : (block).n_classes % LANES)
#define TAIL(block) ((block).n_classes - LANES)
#define LOAD_TAIL(from, fill) SELECT(fresh, LOAD(from), SPLAT(fill))
#define STORE_TAIL(to, x) STORE_WHERE(fresh, to, x)
#define ROW_LOAD(from, g) (across ? LOAD((from) + (g)) : SPLAT((from)[g]))
#define ROW_STORE(to, g, x) \
    do {                    \
        if (across)         \
            STORE((to) + (g), x); \
        else                \
            (to)[g] = FIRST_LANE(x); \
    } while (0)

/* Two copies of a body, one per layout. */
#define BOTH_LAYOUTS(call_across, call_along) \
    do {                                      \
        if (block.across)                     \
            call_across;                      \
        else                                  \
            call_along;                       \
    } while (0)

/* ---- softmax: maximum, exponentials, their sum -------------------------------------------- */

/* The maxima are computed first, for all rows, so that their reductions over lanes overlap in
 * time. */
XENT_INLINE void NAME(max_body)(const int across, xent_block block, const REAL *z, REAL *max_out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block);
    GROUPS(block, g)
    {
        const REAL *zg = z + GROUP_BEGIN(block, g);
        V max = SPLAT(-INFINITY), other = max; /* two chains, to hide the latency */
        ptrdiff_t j = 0;
        for (; j + 2 <= steps; j += 2) {
            max = MAX(LOAD(zg + j * step), max);
            other = MAX(LOAD(zg + (j + 1) * step), other);
        }
        if (j < steps)
            max = MAX(LOAD(zg + j * step), max);
        if (REST(block))
            other = MAX(LOAD(zg + TAIL(block)), other);
        max = MAX(max, other);
        ROW_STORE(max_out, g, across ? max : LANE_MAX(max));
    }
}

/* The largest entry has e = 1 exactly. s is the sum of all e except one such entry, so that 1 + s
 * is the denominator of the softmax, and s keeps its digits if it is tiny: log1p(s) and s / (1 + s)
 * are then accurate, where log(1 + s) and 1 - 1 / (1 + s) would suffer from cancellation. */
XENT_INLINE V NAME(softmax_step)(V z, V max, SUM *sum, V *n_others)
{
    const V e = EXP_DIFFERENCE(z, max);
    const M other = ~EQUAL(z, max);
    *n_others = ADD_WHERE(other, *n_others, SPLAT(ONE));
    sum->part = ADD_WHERE(other, sum->part, e);
    return e * UNSHIFT;
}

XENT_INLINE void NAME(softmax_body)(const int across, xent_block block, const REAL *z, REAL *e,
                                    REAL *max_in, REAL *s_out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block), rest = REST(block);
    const M fresh = LAST_LANES(rest);
    const V n_steps = SPLAT((REAL)(steps + (rest > 0)));
    GROUPS(block, g)
    {
        const REAL *zg = z + GROUP_BEGIN(block, g);
        REAL *eg = e ? e + GROUP_BEGIN(block, g) : NULL;
        const V max = ROW_LOAD(max_in, g);
        const ptrdiff_t seen = g * (across ? block.n_classes : block.stride);
        const REAL *next_in = (const REAL *)block.next_in + seen;
        const REAL *next_out = (const REAL *)block.next_out + seen;
        SUM sum = {0};
        V n_others = SPLAT(0);
        for (ptrdiff_t begin = 0; begin < steps; begin += SUM_STEPS) {
            const ptrdiff_t end = begin + SUM_STEPS < steps ? begin + SUM_STEPS : steps;
            for (ptrdiff_t j = begin; j < end; j++) {
                V x = NAME(softmax_step)(LOAD(zg + j * step), max, &sum, &n_others);
                XENT_PREFETCH(next_in + j * LANES);
                XENT_PREFETCH(next_out + j * LANES);
                if (eg)
                    STORE(eg + j * step, x);
            }
            SUM_FLUSH(&sum);
        }
        if (rest) {
            V x = NAME(softmax_step)(LOAD_TAIL(zg + TAIL(block), -INFINITY), max, &sum,
                                     &n_others);
            if (eg)
                STORE_TAIL(eg + TAIL(block), x);
        }
        V n_largest = n_steps - n_others;
        if (!across)
            n_largest = LANE_SUM(n_largest, SPLAT(0));
        V s = SUM_TOTAL(across, &sum) * UNSHIFT + (n_largest - ONE);
        /* a row whose largest logit is inf or nan has no softmax: max - max makes s nan */
        ROW_STORE(s_out, g, s + (max - max));
    }
}

static void NAME(softmax)(xent_block block, const void *z, void *e, void *max, void *s)
{
    BOTH_LAYOUTS(NAME(max_body)(1, block, z, max), NAME(max_body)(0, block, z, max));
    BOTH_LAYOUTS(NAME(softmax_body)(1, block, z, e, max, s),
                 NAME(softmax_body)(0, block, z, e, max, s));
}

/* ---- cross term of soft targets: sum_k t (max - z), all terms >= 0 -------------------------- */

XENT_INLINE void NAME(cross_step)(V z, V max, V t, SUM *cross, SUM *total)
{
    cross->part += SELECT(EQUAL(t, SPLAT(0)), SPLAT(0), t * (max - z));
    total->part += t;
}

XENT_INLINE void NAME(cross_body)(const int across, xent_block block, const REAL *z,
                                  const REAL *max, const REAL *values, REAL scale, REAL shift,
                                  REAL *cross_out, REAL *total_out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block), rest = REST(block);
    const M fresh = LAST_LANES(rest);
    GROUPS(block, g)
    {
        const ptrdiff_t at = GROUP_BEGIN(block, g);
        const V m = ROW_LOAD(max, g);
        SUM cross = {0}, total = {0};
        for (ptrdiff_t begin = 0; begin < steps; begin += SUM_STEPS) {
            const ptrdiff_t end = begin + SUM_STEPS < steps ? begin + SUM_STEPS : steps;
            for (ptrdiff_t j = begin; j < end; j++) {
                V t = SPLAT(shift);
                if (values)
                    t += scale * LOAD(values + at + j * step);
                NAME(cross_step)(LOAD(z + at + j * step), m, t, &cross, &total);
            }
            SUM_FLUSH(&cross);
            SUM_FLUSH(&total);
        }
        if (rest) {
            const ptrdiff_t tail = at + TAIL(block);
            V t = SPLAT(shift);
            if (values)
                t += scale * LOAD(values + tail);
            t = SELECT(fresh, t, SPLAT(0));
            NAME(cross_step)(LOAD(z + tail), m, t, &cross, &total);
        }
        ROW_STORE(cross_out, g, SUM_TOTAL(across, &cross));
        ROW_STORE(total_out, g, SUM_TOTAL(across, &total));
    }
}

static void NAME(cross)(xent_block block, const void *z, const void *max, const void *values,
                        double scale, double shift, void *cross, void *total)
{
    BOTH_LAYOUTS(NAME(cross_body)(1, block, z, max, values, scale, shift, cross, total),
                 NAME(cross_body)(0, block, z, max, values, scale, shift, cross, total));
}

/* ---- other forms: costs and slopes of all classes ------------------------------------------- */

/* slopes and targets may be the same array */
XENT_INLINE void NAME(class_terms_body)(const int across, xent_block block, const FORM *form,
                                        const REAL *z, const REAL *max, const REAL *e,
                                        const REAL *s, const REAL *targets, REAL *slopes,
                                        REAL *cost_out, REAL *slope_out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block), rest = REST(block);
    const M fresh = LAST_LANES(rest);
    GROUPS(block, g)
    {
        const ptrdiff_t at = GROUP_BEGIN(block, g), tail = at + TAIL(block);
        const V m = ROW_LOAD(max, g), others = ROW_LOAD(s, g);
        const V inverse = ONE / (ONE + others), log_sum = LOG1P(others);
        V t_tail = SPLAT(0); /* slopes may overwrite it */
        if (rest)
            t_tail = LOAD_TAIL(targets + tail, 0);
        SUM costs = {0}, slopes_sum = {0};
        V cost, slope;
#define TERMS(from, t)                                                                        \
    do {                                                                                      \
        V lost;                                                                               \
        const V distance = DIFFERENCE(m, LOAD(z + (from)), &lost);                            \
        const V exponential = LOAD(e + (from));                                               \
        NAME(class_entry)(form, t, distance, lost, log_sum, exponential * inverse,            \
                          (others + (ONE - exponential)) * inverse, &cost, &slope);           \
    } while (0)
        for (ptrdiff_t begin = 0; begin < steps; begin += SUM_STEPS) {
            const ptrdiff_t end = begin + SUM_STEPS < steps ? begin + SUM_STEPS : steps;
            for (ptrdiff_t j = begin; j < end; j++) {
                TERMS(at + j * step, LOAD(targets + at + j * step));
                STORE(slopes + at + j * step, slope);
                costs.part += cost;
                slopes_sum.part += slope;
            }
            SUM_FLUSH(&costs);
            SUM_FLUSH(&slopes_sum);
        }
        if (rest) {
            TERMS(tail, t_tail);
            STORE_TAIL(slopes + tail, slope);
            costs.part += SELECT(fresh, cost, ZERO);
            slopes_sum.part += SELECT(fresh, slope, ZERO);
        }
#undef TERMS
        ROW_STORE(cost_out, g, SUM_TOTAL(across, &costs));
        ROW_STORE(slope_out, g, SUM_TOTAL(across, &slopes_sum));
    }
}

static void NAME(class_terms)(xent_block block, const xent_form *form_in, const void *z,
                              const void *max, const void *e, const void *s, const void *targets,
                              void *slopes, void *cost, void *slope)
{
    const FORM form = FORM_OF(form_in);
    BOTH_LAYOUTS(
        NAME(class_terms_body)(1, block, &form, z, max, e, s, targets, slopes, cost, slope),
        NAME(class_terms_body)(0, block, &form, z, max, e, s, targets, slopes, cost, slope));
}

/* ---- p - t ---------------------------------------------------------------------------------- */

/* LANES labels as numbers of type REAL, which is exact for few classes. */
XENT_INLINE V NAME(load_labels)(const int32_t *from)
{
#if VECTOR_BYTES
    typedef int32_t integers __attribute__((vector_size(LANES * sizeof(int32_t))));
    integers labels;
    memcpy(&labels, from, sizeof labels);
    return __builtin_convertvector(labels, V);
#else
    return (REAL)*from;
#endif
}

XENT_INLINE void NAME(residual_body)(const int across, const int labelled, xent_block block,
                                     const REAL *e, const REAL *factor, const REAL *values,
                                     REAL scale, REAL shift, const REAL *weight,
                                     const int32_t *labels, const REAL *at_labels, REAL *out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block), rest = REST(block);
    const M fresh = LAST_LANES(rest);
    GROUPS(block, g)
    {
        const ptrdiff_t at = GROUP_BEGIN(block, g);
        const V f = ROW_LOAD(factor, g), w = weight ? ROW_LOAD(weight, g) : SPLAT(ONE);
        const V constant = shift * w, slope = scale * w;
        const V e_tail = rest ? LOAD(e + at + TAIL(block)) : SPLAT(0);
        const V label = across && labelled ? NAME(load_labels)(labels + g) : SPLAT(0);
        const V at_label = across && labelled ? LOAD(at_labels + g) : SPLAT(0);
        for (ptrdiff_t j = 0; j < steps; j++) {
            V x = LOAD(e + at + j * step) * f - constant;
            if (values)
                x -= LOAD(values + at + j * step) * slope;
            if (across && labelled)
                x = SELECT(EQUAL(label, SPLAT((REAL)j)), at_label, x);
            STORE(out + at + j * step, x);
        }
        if (rest) {
            const ptrdiff_t tail = at + TAIL(block);
            V x = e_tail * f - constant;
            if (values)
                x -= LOAD(values + tail) * slope;
            STORE_TAIL(out + tail, x);
        }
        if (!across && labelled)
            out[at + (labels[g] < 0 ? 0 : labels[g])] = at_labels[g];
    }
}

static void NAME(residual)(xent_block block, const void *e, const void *factor, const void *values,
                           double scale, double shift, const void *weight, const int32_t *labels,
                           const void *at_labels, void *out)
{
#define BODY(across, labelled)                                                              \
    NAME(residual_body)(across, labelled, block, e, factor, values, scale, shift, weight, \
                        labels, at_labels, out)
    if (labels)
        BOTH_LAYOUTS(BODY(1, 1), BODY(0, 1));
    else
        BOTH_LAYOUTS(BODY(1, 0), BODY(0, 0));
#undef BODY
}

/* ---- curvature of the softmax: diag(p) - p p^T ---------------------------------------------- */

XENT_INLINE void NAME(hessian_product_body)(const int across, xent_block block, const REAL *e,
                                            const REAL *inverse, const REAL *direction,
                                            const REAL *weight, REAL *out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block), rest = REST(block);
    const M fresh = LAST_LANES(rest);
    GROUPS(block, g)
    {
        const ptrdiff_t at = GROUP_BEGIN(block, g), tail = at + TAIL(block);
        const V inv = ROW_LOAD(inverse, g);
        SUM sum = {0};
        for (ptrdiff_t begin = 0; begin < steps; begin += SUM_STEPS) {
            const ptrdiff_t end = begin + SUM_STEPS < steps ? begin + SUM_STEPS : steps;
            for (ptrdiff_t j = begin; j < end; j++)
                sum.part += LOAD(e + at + j * step) * LOAD(direction + at + j * step);
            SUM_FLUSH(&sum);
        }
        if (rest)
            sum.part += LOAD_TAIL(e + tail, 0) * LOAD_TAIL(direction + tail, 0);
        const V mean = SUM_TOTAL(across, &sum) * inv;
        const V factor = ROW_LOAD(weight, g) * inv;
        const V e_tail = rest ? LOAD(e + tail) : SPLAT(0);
        for (ptrdiff_t j = 0; j < steps; j++) {
            V d = LOAD(direction + at + j * step);
            STORE(out + at + j * step, LOAD(e + at + j * step) * factor * (d - mean));
        }
        if (rest) {
            V d = LOAD(direction + tail);
            STORE_TAIL(out + tail, e_tail * factor * (d - mean));
        }
    }
}

static void NAME(hessian_product)(xent_block block, const void *e, const void *inverse,
                                  const void *direction, const void *weight, void *out)
{
    BOTH_LAYOUTS(NAME(hessian_product_body)(1, block, e, inverse, direction, weight, out),
                 NAME(hessian_product_body)(0, block, e, inverse, direction, weight, out));
}

/* 1 - p of a class is the sum of e over the other classes, over the sum of all. The former is
 * s + (1 - e), without cancellation: if e is near 1 but not 1, it is a term of s. */
XENT_INLINE void NAME(hessian_diagonal_body)(const int across, xent_block block, const REAL *e,
                                             const REAL *s, const REAL *inverse,
                                             const REAL *weight, REAL *out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block), rest = REST(block);
    const M fresh = LAST_LANES(rest);
    GROUPS(block, g)
    {
        const ptrdiff_t at = GROUP_BEGIN(block, g), tail = at + TAIL(block);
        const V inv = ROW_LOAD(inverse, g), others = ROW_LOAD(s, g);
        const V factor = ROW_LOAD(weight, g) * inv;
        const V e_tail = rest ? LOAD(e + tail) : SPLAT(0);
        for (ptrdiff_t j = 0; j < steps; j++) {
            V x = LOAD(e + at + j * step);
            STORE(out + at + j * step, (x * factor) * ((others + (ONE - x)) * inv));
        }
        if (rest) {
            V x = e_tail;
            STORE_TAIL(out + tail, (x * factor) * ((others + (ONE - x)) * inv));
        }
    }
}

static void NAME(hessian_diagonal)(xent_block block, const void *e, const void *s,
                                   const void *inverse, const void *weight, void *out)
{
    BOTH_LAYOUTS(NAME(hessian_diagonal_body)(1, block, e, s, inverse, weight, out),
                 NAME(hessian_diagonal_body)(0, block, e, s, inverse, weight, out));
}

/* ---- log-probabilities: minus a sum of two terms >= 0 --------------------------------------- */

XENT_INLINE void NAME(log_proba_body)(const int across, xent_block block, const REAL *z,
                                      const REAL *max, const REAL *log_sum, REAL *out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block), rest = REST(block);
    const M fresh = LAST_LANES(rest);
    GROUPS(block, g)
    {
        const ptrdiff_t at = GROUP_BEGIN(block, g), tail = at + TAIL(block);
        const V m = ROW_LOAD(max, g), l = ROW_LOAD(log_sum, g);
        for (ptrdiff_t j = 0; j < steps; j++)
            STORE(out + at + j * step, (LOAD(z + at + j * step) - m) - l);
        if (rest)
            STORE_TAIL(out + tail, (LOAD(z + tail) - m) - l);
    }
}

static void NAME(log_proba)(xent_block block, const void *z, const void *max, const void *log_sum,
                            void *out)
{
    BOTH_LAYOUTS(NAME(log_proba_body)(1, block, z, max, log_sum, out),
                 NAME(log_proba_body)(0, block, z, max, log_sum, out));
}

/* ---- sums of rows --------------------------------------------------------------------------- */

XENT_INLINE void NAME(row_sums_body)(const int across, xent_block block, const REAL *values,
                                     const REAL *times, REAL *out)
{
    const ptrdiff_t steps = FULL_STEPS(block), step = STEP(block), rest = REST(block);
    const M fresh = LAST_LANES(rest);
    GROUPS(block, g)
    {
        const ptrdiff_t at = GROUP_BEGIN(block, g), tail = at + TAIL(block);
        SUM sum = {0};
        for (ptrdiff_t begin = 0; begin < steps; begin += SUM_STEPS) {
            const ptrdiff_t end = begin + SUM_STEPS < steps ? begin + SUM_STEPS : steps;
            for (ptrdiff_t j = begin; j < end; j++) {
                V x = LOAD(values + at + j * step);
                sum.part += times ? x * LOAD(times + at + j * step) : x;
            }
            SUM_FLUSH(&sum);
        }
        if (rest) {
            V x = LOAD_TAIL(values + tail, 0);
            sum.part += times ? x * LOAD_TAIL(times + tail, 0) : x;
        }
        ROW_STORE(out, g, SUM_TOTAL(across, &sum));
    }
}

static void NAME(row_sums)(xent_block block, const void *values, const void *times, void *out)
{
    if (times)
        BOTH_LAYOUTS(NAME(row_sums_body)(1, block, values, times, out),
                     NAME(row_sums_body)(0, block, values, times, out));
    else
        BOTH_LAYOUTS(NAME(row_sums_body)(1, block, values, NULL, out),
                     NAME(row_sums_body)(0, block, values, NULL, out));
}

/* ---- A tile of the classes of a softmax ----------------------------------------------------- */

static void NAME(tile_residual)(xent_block block, const void *z_in, const void *max_in,
                                const void *factor_in, double shift_in, const void *weight_in,
                                const void *direction_in, const void *mean_in, void *out_in)
{
    const REAL *z = z_in, *max = max_in, *factor = factor_in, *weight = weight_in;
    const REAL *direction = direction_in, *mean = mean_in, shift = (REAL)shift_in;
    REAL *out = out_in;
    for (ptrdiff_t i = 0; i < block.n_rows; i++) {
        const V m = SPLAT(max[i]), f = SPLAT(factor[i]);
        const V constant = SPLAT(weight ? shift * weight[i] : shift);
        const V average = SPLAT(direction ? mean[i] : 0);
        for (ptrdiff_t k = 0; k < block.n_classes; k += LANES) {
            const ptrdiff_t at = i * block.stride + k;
            const V e = EXP_DIFFERENCE(LOAD(z + at), m) * UNSHIFT;
            V x = direction ? e * f * (LOAD(direction + at) - average) : e * f - constant;
            const M tiny = LESS(x, SPLAT(SMALLEST)) & LESS(SPLAT(-SMALLEST), x);
            STORE(out + at, SELECT(tiny, SPLAT(0), x));
        }
    }
}

/* ---- Turning a block ------------------------------------------------------------------------ */

/* LANES rows are read as vectors whose pieces of 16 bytes come from rows PIECE apart. Transposing
 * the PIECE x PIECE squares in PIECE such vectors collects each class in one vector, with the rows
 * in order. Each stage of the transposition is a perfect shuffle, which moves one bit of the lane
 * index to the index of the register. */
XENT_INLINE void NAME(transpose_pieces)(V square[PIECE])
{
#if VECTOR_BYTES
#define ZIP(which, a, b) XENT_SHUFFLE(VI, a, b, XENT_PASTE(which, DTYPE, LANE_COUNT))
    V next[PIECE];
    XENT_UNROLL
    for (int stage = 1; stage < PIECE; stage *= 2) {
        XENT_UNROLL
        for (int i = 0; i < PIECE / 2; i++) {
            next[2 * i] = ZIP(XENT_ZIP_LOW, square[i], square[i + PIECE / 2]);
            next[2 * i + 1] = ZIP(XENT_ZIP_HIGH, square[i], square[i + PIECE / 2]);
        }
        XENT_UNROLL
        for (int i = 0; i < PIECE; i++)
            square[i] = next[i];
    }
#undef ZIP
#else
    (void)square;
#endif
}

static void NAME(turn)(xent_block block, const void *rows_in, ptrdiff_t stride, void *across_in)
{
    const REAL *rows = rows_in;
    REAL *across = across_in;
    for (ptrdiff_t g = 0; g < block.n_rows; g += LANES)
        for (ptrdiff_t k = 0; k < block.n_classes; k += PIECE) {
            V square[PIECE];
            XENT_UNROLL
            for (int i = 0; i < PIECE; i++)
                square[i] = LOAD_PIECES(rows + (g + i) * stride + k, PIECE * stride);
            NAME(transpose_pieces)(square);
            XENT_UNROLL
            for (int i = 0; i < PIECE; i++)
                if (k + i < block.n_classes)
                    STORE(across + (k + i) * block.stride + g, square[i]);
        }
}

/* The last piece of a row may extend into the first piece of the next row. Therefore the last
 * pieces of all rows are stored first, with the rows in order. */
static void NAME(turn_back)(xent_block block, const void *across_in, void *rows_in,
                            ptrdiff_t stride)
{
    const REAL *across = across_in;
    REAL *rows = rows_in;
    for (ptrdiff_t g = 0; g < block.n_rows; g += LANES)
        for (ptrdiff_t k = (block.n_classes - 1) / PIECE * PIECE; k >= 0; k -= PIECE) {
            V square[PIECE];
            XENT_UNROLL
            for (int i = 0; i < PIECE; i++)
                square[i] = k + i < block.n_classes ? LOAD(across + (k + i) * block.stride + g)
                                                    : SPLAT(0);
            NAME(transpose_pieces)(square);
            XENT_UNROLL
            for (int j = 0; j < PIECES; j++)
                XENT_UNROLL
                for (int i = 0; i < PIECE; i++)
                    STORE_PIECE(rows + (g + j * PIECE + i) * stride + k, square[i], j);
        }
}

/* ---- Numbers at the labels ------------------------------------------------------------------ */

static void NAME(at_labels)(xent_block block, const int32_t *labels, const void *z_in,
                            const void *max_in, const void *e_in, void *distance_out,
                            void *lost_out, void *e_out)
{
    const REAL *z = z_in, *max = max_in, *e = e_in;
    REAL *distance = distance_out, *lost = lost_out, *e_label = e_out;
    V low;
    if (!block.across) {
        for (ptrdiff_t i = 0; i < block.n_rows; i++) {
            const ptrdiff_t at = i * block.stride + (labels[i] < 0 ? 0 : labels[i]);
            distance[i] = max[i] - z[at];
            if (lost) {
                DIFFERENCE(SPLAT(max[i]), SPLAT(z[at]), &low);
                lost[i] = FIRST_LANE(low);
            }
            if (e)
                e_label[i] = e[at];
        }
        return;
    }
    for (ptrdiff_t g = 0; g < block.n_rows; g += LANES) {
        const V label = NAME(load_labels)(labels + g);
        V z_there = LOAD(z + g), e_there = e ? LOAD(e + g) : SPLAT(0);
        for (ptrdiff_t k = 1; k < block.n_classes; k++) {
            const M there = EQUAL(label, SPLAT((REAL)k));
            z_there = SELECT(there, LOAD(z + k * block.stride + g), z_there);
            if (e)
                e_there = SELECT(there, LOAD(e + k * block.stride + g), e_there);
        }
        STORE(distance + g, DIFFERENCE(LOAD(max + g), z_there, &low));
        if (lost)
            STORE(lost + g, low);
        if (e)
            STORE(e_label + g, e_there);
    }
}

/* ---- `count` contiguous numbers -------------------------------------------------------------- */

/* Full vectors first, then the remaining numbers, with `part` the number of lanes in use. READ and
 * WRITE handle both cases. */
#define ELEMENTWISE(count, ...)                                     \
    do {                                                            \
        ptrdiff_t at = 0;                                           \
        for (; at + LANES <= (count); at += LANES) {                \
            const int part = 0;                                     \
            __VA_ARGS__;                                            \
        }                                                           \
        if (at < (count)) {                                         \
            const ptrdiff_t part = (count) - at;                    \
            __VA_ARGS__;                                            \
        }                                                           \
    } while (0)
#define READ(from) \
    (part ? LOAD_PART((const REAL *)(from) + at, part, 0) : LOAD((const REAL *)(from) + at))
#define READ_OR_ONE(from) ((from) ? READ(from) : SPLAT(ONE))
#define WRITE(to, x)                                      \
    do {                                                  \
        if (part)                                         \
            STORE_PART((REAL *)(to) + at, x, part);       \
        else                                              \
            STORE((REAL *)(to) + at, x);                  \
    } while (0)

static void NAME(row_terms)(ptrdiff_t count, const void *s_in, const void *weight,
                            const void *total_in, const void *distance, const void *cross,
                            double scale_in, void *loss, void *factor)
{
    const REAL scale = (REAL)scale_in;
    ELEMENTWISE(count, {
        const V s = READ(s_in), w = READ_OR_ONE(weight), total = READ_OR_ONE(total_in);
        const M none = EQUAL(w, SPLAT(0));
        WRITE(factor, SELECT(none, w, w * total / (ONE + s)));
        if (loss) {
            V x = total * LOG1P(s);
            if (distance && scale != 0)
                x += scale * READ(distance);
            if (cross)
                x += READ(cross);
            WRITE(loss, SELECT(none, w, w * x));
        }
    });
}

/* In a difference of two products, only one of them can be fused into the subtraction, and
 * compilers may choose a different one for whole vectors than for the remaining numbers, and for a
 * call with weights than for one without. The bits of a row would then depend on its position. KEEP
 * leaves only the product with the weight to fuse, which is exact if the weight is 1. */
static void NAME(label_gradient)(ptrdiff_t count, const void *s_in, const void *e_in,
                                 const void *factor, const void *weight, double target_in,
                                 double rest_in, void *out)
{
    const REAL target = (REAL)target_in, rest = (REAL)rest_in;
    ELEMENTWISE(count, {
        const V s = READ(s_in), e = READ(e_in), f = READ(factor), w = READ_OR_ONE(weight);
        const M none = EQUAL(w, ZERO);
        V pull = SELECT(none, ZERO, (rest < target ? s + (ONE - e) : e) * f);
        KEEP(pull);
        WRITE(out, rest < target ? rest * w - pull : pull - target * w);
    });
}

/* Cost and slope of the form at the labels, whose p is e / (1 + s). */
static void NAME(label_terms)(ptrdiff_t count, const xent_form *form_in, const void *s_in,
                              const void *distance, const void *lost, const void *e_in,
                              const void *weight, void *cost_out, void *slope_out)
{
    const FORM form = FORM_OF(form_in);
    ELEMENTWISE(count, {
        const V s = READ(s_in), e = READ(e_in), w = READ_OR_ONE(weight);
        const V inverse = ONE / (ONE + s);
        V cost, slope;
        NAME(class_entry)(&form, SPLAT(ONE), READ(distance), READ(lost), LOG1P(s), e * inverse,
                          (s + (ONE - e)) * inverse, &cost, &slope);
        const M none = EQUAL(w, ZERO);
        if (cost_out)
            WRITE(cost_out, SELECT(none, w, w * cost));
        WRITE(slope_out, SELECT(none, w, w * slope));
    });
}

static void NAME(log1p_all)(ptrdiff_t count, const void *u, void *out)
{
    ELEMENTWISE(count, WRITE(out, LOG1P(READ(u))));
}

static void NAME(exp_all)(ptrdiff_t count, const void *x, void *out)
{
    ELEMENTWISE(count, WRITE(out, EXP(READ(x))));
}

/* sigma(z) and sigma(-z), each to full relative precision (1 - sigma(z) would suffer from
 * cancellation), and exp(-|z|). */
XENT_INLINE void NAME(sigmoids)(V z, V *sigmoid, V *reverse, V *e)
{
    const M negative = LESS(z, SPLAT(0));
    *e = EXP(SELECT(negative, z, -z));
    V large = ONE / (ONE + *e), small = *e * large;
    *sigmoid = SELECT(negative, small, large);
    *reverse = SELECT(negative, large, small);
}

/* Which entries count: one that is missing or has a weight of 0 contributes 0, even of inf or
 * nan. */
XENT_INLINE M NAME(counting)(V y, const void *weight, V w)
{
    const M present = EQUAL(y, y);
    return weight ? present & ~EQUAL(w, SPLAT(0)) : present;
}

/* Plain: with a = positive * t and c = 1 - t, loss = a softplus(-z) + c softplus(z), where
 * softplus(z) = max(z, 0) + log1p(exp(-|z|)), a sum of terms >= 0. Its gradient is c sigma(z) -
 * a sigma(-z). A term with a = 0 or c = 0 is 0, also for an infinite logit. 1 - t is computed as
 * scale * (1 - y) + shift, which keeps its digits if y is 1. For other forms see binary_entry. */
XENT_INLINE void NAME(binary_body)(const int want_loss, const int want_gradient, const int plain,
                                   ptrdiff_t count, const FORM *form, const REAL *z_in,
                                   const REAL *y_in, REAL scale, REAL shift, const REAL *positive,
                                   const REAL *weight, REAL *loss, REAL *gradient)
{
    ELEMENTWISE(count, {
        const V z = READ(z_in), y = READ(y_in), w = READ_OR_ONE(weight), zero = SPLAT(0);
        const V a = (scale * y + shift) * READ_OR_ONE(positive), c = scale * (ONE - y) + shift;
        const M counts = NAME(counting)(y, weight, w);
        V sigmoid, reverse, e, cost, slope;
        NAME(sigmoids)(z, &sigmoid, &reverse, &e);
        if (plain) {
            slope = c * sigmoid - a * reverse;
            if (want_loss) {
                const V towards_0 = SELECT(LESS(zero, z) & ~EQUAL(c, zero), c * z, zero);
                const V towards_1 = SELECT(LESS(z, zero) & ~EQUAL(a, zero), a * -z, zero);
                cost = (a + c) * LOG1P(e) + (towards_0 + towards_1);
            }
        } else {
            V up, down;
            NAME(binary_entry)(form, z, a, c, sigmoid, reverse, LOG1P(e), &cost, &up, &down);
            slope = up - down;
        }
        if (want_loss && (plain || loss))
            WRITE(loss, SELECT(counts, w * cost, zero));
        if (want_gradient && (plain || gradient))
            WRITE(gradient, SELECT(counts, w * slope, zero));
    });
}

static void NAME(binary)(ptrdiff_t count, const xent_form *form_in, const void *z, const void *y,
                         double scale, double shift, const void *positive, const void *weight,
                         void *loss, void *gradient)
{
    const FORM form = FORM_OF(form_in);
#define BODY(want_loss, want_gradient, plain)                                                 \
    NAME(binary_body)(want_loss, want_gradient, plain, count, &form, z, y, scale, shift, positive, \
                      weight, loss, gradient)
    if (form.name != XENT_CROSS_ENTROPY)
        BODY(1, 1, 0);
    else if (loss && gradient)
        BODY(1, 1, 1);
    else if (loss)
        BODY(1, 0, 1);
    else
        BODY(0, 1, 1);
#undef BODY
}

static void NAME(binary_curvature)(ptrdiff_t count, const xent_form *form_in, const void *z_in,
                                   const void *y_in, double scale_in, double shift_in,
                                   const void *positive, const void *weight, const void *direction,
                                   void *out)
{
    const REAL scale = (REAL)scale_in, shift = (REAL)shift_in;
    const FORM form = FORM_OF(form_in);
    ELEMENTWISE(count, {
        const V z = READ(z_in), y = READ(y_in), w = READ_OR_ONE(weight);
        const V a = (scale * y + shift) * READ_OR_ONE(positive), c = scale * (ONE - y) + shift;
        V sigmoid, reverse, e, cost, up, down, curvature;
        NAME(sigmoids)(z, &sigmoid, &reverse, &e);
        if (form.name == XENT_CROSS_ENTROPY)
            curvature = (w * (a + c)) * (sigmoid * reverse);
        else {
            NAME(binary_entry)(&form, z, a, c, sigmoid, reverse, LOG1P(e), &cost, &up, &down);
            curvature = w * (up * reverse + down * sigmoid);
        }
        WRITE(out, SELECT(NAME(counting)(y, weight, w), curvature * READ_OR_ONE(direction),
                          SPLAT(0)));
    });
}

static void NAME(sigmoid)(ptrdiff_t count, const void *z_in, int logarithm, void *out)
{
    ELEMENTWISE(count, {
        const V z = READ(z_in);
        V sigmoid, reverse, e;
        NAME(sigmoids)(z, &sigmoid, &reverse, &e);
        if (logarithm)
            WRITE(out, SELECT(LESS(z, SPLAT(0)), z, SPLAT(0)) - LOG1P(e));
        else
            WRITE(out, sigmoid);
    });
}

static const xent_rows NAME(rows) = {
    LANES,
    NAME(softmax),
    NAME(cross),
    NAME(class_terms),
    NAME(residual),
    NAME(hessian_product),
    NAME(hessian_diagonal),
    NAME(log_proba),
    NAME(row_sums),
    NAME(tile_residual),
    NAME(turn),
    NAME(turn_back),
    NAME(at_labels),
    NAME(row_terms),
    NAME(label_gradient),
    NAME(label_terms),
    NAME(log1p_all),
    NAME(exp_all),
    NAME(binary),
    NAME(binary_curvature),
    NAME(sigmoid),
};

#undef ZERO
#undef HARDLY_ANY
#undef FORM
#undef FORM_OF
#undef TIMES
#undef SOFTPLUS
#undef SUM_STEPS
#undef ONE
#undef SUM
#undef SUM_FLUSH
#undef SUM_TOTAL
#undef GROUPS
#undef GROUP_BEGIN
#undef STEP
#undef FULL_STEPS
#undef REST
#undef TAIL
#undef LOAD_TAIL
#undef STORE_TAIL
#undef ROW_LOAD
#undef ROW_STORE
#undef BOTH_LAYOUTS
#undef ELEMENTWISE
#undef READ
#undef READ_OR_ONE
#undef WRITE
