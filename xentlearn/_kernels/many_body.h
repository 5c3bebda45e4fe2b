/* Products with rows of a dense X for a tile of many classes, for one CPU target and one dtype.
 *
 * Vectors run along the classes, which fill them whatever the number of features. Both products add
 * multiples of rows of one matrix, with all sums in registers:
 *
 *   logits      intercept + sum_j X[i, j] coef[j, :]
 *   gradient    sum_i X[i, j] residual[i, :]
 *
 * A tile is WIDE vectors of classes, of HIGH rows (logits) or HIGH features (gradient). A step loads
 * WIDE vectors and broadcasts HIGH numbers of X for their WIDE x HIGH multiply-adds.
 *
 * With 20 features and AVX-512, a logit takes one thread 0.2 ns, where the products of dense_body.h
 * take 1.2 ns: with so few features, adding up the lanes takes most of it.
 */
#if VECTOR_BYTES == 64
#define HIGH 8
#else
#define HIGH 4
#endif
#define WIDE 3
#define SUMMED 8 /* residuals of a class that are added in the dtype itself */

/* to[i, :] for `high` rows i of a tile: += X^T right if `gradient`, otherwise = start + X right. */
XENT_INLINE void NAME(many_tile)(const int high, const int wide, const int gradient,
                                 ptrdiff_t depth, const REAL *const *rows, ptrdiff_t first,
                                 const REAL *right, const REAL *start, ptrdiff_t width, void *to)
{
    V sums[HIGH][WIDE];
    const REAL *left[HIGH]; /* a copy of the table in registers */
    XENT_UNROLL
    for (int i = 0; i < high; i++) {
        left[i] = gradient ? NULL : rows[first + i];
        XENT_UNROLL
        for (int v = 0; v < wide; v++)
            sums[i][v] = gradient ? SPLAT(0) : LOAD(start + v * LANES);
    }
    for (ptrdiff_t k = 0; k < depth; k++) {
        const REAL *row = gradient ? rows[k] + first : NULL;
        V of_classes[WIDE];
        XENT_UNROLL
        for (int v = 0; v < wide; v++)
            of_classes[v] = LOAD(right + k * width + v * LANES);
        XENT_UNROLL
        for (int i = 0; i < high; i++) {
            const V x = SPLAT(gradient ? row[i] : left[i][k]);
            XENT_UNROLL
            for (int v = 0; v < wide; v++)
                sums[i][v] += x * of_classes[v];
        }
    }
    XENT_UNROLL
    for (int i = 0; i < high; i++)
        XENT_UNROLL
        for (int v = 0; v < wide; v++) {
            const ptrdiff_t at = (first + i) * width + v * LANES;
            if (gradient)
                ADD_TO_TOTAL((double *)to + at, sums[i][v]);
            else
                STORE((REAL *)to + at, sums[i][v]);
        }
}

/* All `count` rows of a tile. */
XENT_INLINE void NAME(many_tiles)(const int wide, const int gradient, ptrdiff_t count,
                                  ptrdiff_t depth, const REAL *const *rows, const REAL *right,
                                  const REAL *start, ptrdiff_t width, void *to)
{
    ptrdiff_t i = 0;
    for (; i + HIGH <= count; i += HIGH)
        NAME(many_tile)(HIGH, wide, gradient, depth, rows, i, right, start, width, to);
    for (; i + HIGH / 2 <= count; i += HIGH / 2)
        NAME(many_tile)(HIGH / 2, wide, gradient, depth, rows, i, right, start, width, to);
    for (; i < count; i++)
        NAME(many_tile)(1, wide, gradient, depth, rows, i, right, start, width, to);
}

/* Call `many_tiles` for each WIDE vectors of classes, and for the remaining ones. */
#define EACH_TILE(gradient, count, depth, right, start, to, TYPE)                             \
    do {                                                                                      \
        ptrdiff_t c = 0;                                                                      \
        for (; c + WIDE * LANES <= width; c += WIDE * LANES)                                  \
            NAME(many_tiles)(WIDE, gradient, count, depth, rows, (right) + c, (start) + c,    \
                             width, (TYPE *)(to) + c);                                        \
        for (; c < width; c += LANES)                                                         \
            NAME(many_tiles)(1, gradient, count, depth, rows, (right) + c, (start) + c,       \
                             width, (TYPE *)(to) + c);                                        \
    } while (0)

static void NAME(many_product)(ptrdiff_t m, ptrdiff_t width, ptrdiff_t n_features,
                               const void *const *rows_in, const void *coef_in,
                               const void *intercept_in, void *logits)
{
    const REAL *const *rows = (const REAL *const *)rows_in;
    const REAL *coef = coef_in, *intercept = intercept_in;
    EACH_TILE(0, m, n_features, coef, intercept, logits, REAL);
}

static void NAME(many_product_to_total)(ptrdiff_t m, ptrdiff_t width, ptrdiff_t n_features,
                                        const void *const *rows_in, const void *residual_in,
                                        double *total, double *intercept_total)
{
    const REAL *const *rows = (const REAL *const *)rows_in, *residual = residual_in;
    EACH_TILE(1, n_features, m, residual, residual, total, double);
    for (ptrdiff_t begin = 0; begin < m; begin += SUMMED) {
        const ptrdiff_t end = begin + SUMMED < m ? begin + SUMMED : m;
        for (ptrdiff_t c = 0; c < width; c += LANES) {
            V sum = SPLAT(0);
            for (ptrdiff_t i = begin; i < end; i++)
                sum += LOAD(residual + i * width + c);
            ADD_TO_TOTAL(intercept_total + c, sum);
        }
    }
}

#undef HIGH
#undef WIDE
#undef SUMMED
#undef EACH_TILE
