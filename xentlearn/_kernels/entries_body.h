/* Products of dense rows with the entries of sparse coefficients; see products.h.
 *
 * LANES rows are taken at a time, and transposed, so that a vector holds the same feature of all of
 * them: an entry costs one multiply-add for LANES rows. Only the features that have an entry are
 * transposed. Reading single numbers of four rows at a time instead took twice as long for 784
 * features and ten classes of which a tenth of the coefficients are entries.
 */
/* Whether all numbers are finite: 0 times a number is nan otherwise. */
XENT_INLINE int NAME(is_finite)(ptrdiff_t n, const REAL *numbers)
{
    V sum = SPLAT(0), other = SPLAT(0);
    REAL lanes[LANES], total = 0;
    ptrdiff_t j = 0;
    for (; j + 2 * LANES <= n; j += 2 * LANES) {
        sum += SPLAT(0) * LOAD(numbers + j);
        other += SPLAT(0) * LOAD(numbers + j + LANES);
    }
    for (; j < n; j++)
        total += 0 * numbers[j];
    STORE(lanes, sum + other);
    for (int lane = 0; lane < LANES; lane++)
        total += lanes[lane];
    return total == 0;
}

static int NAME(entries_product)(ptrdiff_t m, ptrdiff_t n_classes, ptrdiff_t n_features,
                                 const void *const *rows, const xent_entries *coef,
                                 const void *intercept, void *logits, ptrdiff_t width, void *room)
{
    const REAL *w = coef->numbers;
    const int32_t *place = coef->minor;
    REAL *x = room;
    int finite = 1;
    for (ptrdiff_t i = 0; i < m; i += LANES) {
        ptrdiff_t n_rows = m - i < LANES ? m - i : LANES;
        const REAL *row[LANES]; /* the last one again in lanes beyond it */
        for (int lane = 0; lane < LANES; lane++)
            row[lane] = rows[i + (lane < n_rows ? lane : n_rows - 1)];
        for (int lane = 0; lane < n_rows; lane++)
            finite &= NAME(is_finite)(n_features, row[lane]);
        for (ptrdiff_t u = 0; u < coef->n_used; u++)
            for (int lane = 0; lane < LANES; lane++)
                x[u * LANES + lane] = row[lane][coef->used[u]];
        for (ptrdiff_t k = 0; k < n_classes; k++) {
            /* four sums, which do not wait for each other */
            V a = SPLAT(((const REAL *)intercept)[k]), b = SPLAT(0), c = SPLAT(0), d = SPLAT(0);
            REAL lanes[LANES], *to = (REAL *)logits + i * width + k;
            int64_t e = coef->indptr[k], end = coef->indptr[k + 1];
            for (; e + 4 <= end; e += 4) {
                a += SPLAT(w[e]) * LOAD(x + (ptrdiff_t)place[e] * LANES);
                b += SPLAT(w[e + 1]) * LOAD(x + (ptrdiff_t)place[e + 1] * LANES);
                c += SPLAT(w[e + 2]) * LOAD(x + (ptrdiff_t)place[e + 2] * LANES);
                d += SPLAT(w[e + 3]) * LOAD(x + (ptrdiff_t)place[e + 3] * LANES);
            }
            for (; e < end; e++)
                a += SPLAT(w[e]) * LOAD(x + (ptrdiff_t)place[e] * LANES);
            STORE(lanes, (a + b) + (c + d));
            for (ptrdiff_t lane = 0; lane < n_rows; lane++)
                to[lane * width] = lanes[lane];
        }
    }
    return finite;
}
