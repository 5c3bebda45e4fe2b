/* Products with a narrow right-hand side, on one target, in one dtype.
 *
 * One kernel serves both products of the fused pass, because it reads the left matrix through two
 * strides: logits[i, :] = sum_f X[i, f] W[f, :] walks along a row of X, the gradient
 * G[f, :] += sum_i X[i, f] R[i, :] walks down a column. C order, Fortran order and any slice of X
 * are then the same code.
 *
 * A panel of accumulators stays in registers: PANEL_ROWS x 2 vectors, PANEL_ROWS x 1, or twice as
 * many rows x 1 where the rows of a are neighbours. Each step of the depth loads its vectors of b and broadcasts its numbers of a. Around it,
 * from the outside in: two vectors of the width; DEPTH steps, so that what is read of b stays in the
 * first-level cache (packed, if its rows lie apart: rows a power of two apart would share few places
 * there); then all rows. Every result is one chain of sums over the depth, in order, whatever panel
 * it falls into: the same bits for any blocking of rows.
 */

#if VECTOR_BYTES == 64
#define PANEL_ROWS 8 /* 16 of 32 registers hold sums */
#elif VECTOR_BYTES
#define PANEL_ROWS 4 /* 8 of 16, 2 for b, 1 for a */
#else
#define PANEL_ROWS 4
#endif
#define DEPTH 256 /* two vectors of 64 bytes: 32 kB */

/* Steps [begin, end) of the depth. */
XENT_INLINE void NAME(panel_steps)(const int n_rows, const int n_vectors, ptrdiff_t begin,
                                   ptrdiff_t end, const REAL *a, ptrdiff_t a_row,
                                   ptrdiff_t a_column, const REAL *b, V sums[][2])
{
    for (ptrdiff_t l = begin; l < end; l++) {
        V right[2];
        XENT_UNROLL
        for (int v = 0; v < n_vectors; v++)
            right[v] = LOAD(b + (l * n_vectors + v) * LANES);
        XENT_UNROLL
        for (int i = 0; i < n_rows; i++) {
            V left = SPLAT(a[i * a_row + l * a_column]);
            XENT_UNROLL
            for (int v = 0; v < n_vectors; v++)
                sums[i][v] += left * right[v];
        }
    }
}

/* The rows of a panel are as many streams from memory, each too short for the processor to foresee
 * the next: while one panel is worked on, the lines of the next are asked for. On MNIST that makes
 * the product with X from memory 2.3 times faster (39 -> 17 ms, one thread). */
XENT_INLINE void NAME(panel)(const int n_rows, const int n_vectors, ptrdiff_t depth, const REAL *a,
                             ptrdiff_t a_row, ptrdiff_t a_column, const REAL *b, V sums[][2])
{
    enum { LINE = 64 / sizeof(REAL) };
    ptrdiff_t l = 0;
    if (a_column == 1 && n_rows > 1)
        for (; l + LINE <= depth; l += LINE) {
            XENT_UNROLL
            for (int i = 0; i < n_rows; i++)
                XENT_PREFETCH(a + (n_rows + i) * a_row + l);
            NAME(panel_steps)(n_rows, n_vectors, l, l + LINE, a, a_row, 1, b, sums);
        }
    NAME(panel_steps)(n_rows, n_vectors, l, depth, a, a_row, a_column, b, sums);
}

/* What becomes of the sums of a panel: c += sums in the dtype itself, or total += sums in float64
 * (the other one is NULL). For c, the chain of sums begins with what it holds. */
XENT_INLINE void NAME(panel_product)(const int n_rows, const int n_vectors, const int to_total,
                                     ptrdiff_t depth, const REAL *a, ptrdiff_t a_row,
                                     ptrdiff_t a_column, const REAL *b, ptrdiff_t width, REAL *c,
                                     double *total)
{
    V sums[2 * PANEL_ROWS][2];
    XENT_UNROLL
    for (int i = 0; i < n_rows; i++)
        XENT_UNROLL
        for (int v = 0; v < n_vectors; v++)
            sums[i][v] = to_total ? SPLAT(0) : LOAD(c + i * width + v * LANES);
    NAME(panel)(n_rows, n_vectors, depth, a, a_row, a_column, b, sums);
    XENT_UNROLL
    for (int i = 0; i < n_rows; i++)
        XENT_UNROLL
        for (int v = 0; v < n_vectors; v++)
            if (to_total)
                ADD_TO_TOTAL(total + i * width + v * LANES, sums[i][v]);
            else
                STORE(c + i * width + v * LANES, sums[i][v]);
}

/* All rows, for n_vectors of the width and at most DEPTH steps. */
XENT_INLINE void NAME(product_columns)(const int n_vectors, const int to_total, ptrdiff_t m,
                                       ptrdiff_t width, ptrdiff_t depth, const REAL *a,
                                       ptrdiff_t a_row, ptrdiff_t a_column, const REAL *b, REAL *c,
                                       double *total)
{
    enum { HIGH = 2 * PANEL_ROWS };
    REAL packed[DEPTH * 2 * LANES];
    ptrdiff_t i = 0;
    if (width > n_vectors * LANES) {
        for (ptrdiff_t l = 0; l < depth; l++)
            for (int v = 0; v < n_vectors; v++)
                STORE(packed + (l * n_vectors + v) * LANES, LOAD(b + l * width + v * LANES));
        b = packed;
    }
#define ROWS(n_rows, a_row)                                                                      \
    for (; i + (n_rows) <= m; i += (n_rows))                                                     \
        NAME(panel_product)(n_rows, n_vectors, to_total, depth, a + i * a_row, a_row, a_column,  \
                            b, width, to_total ? NULL : c + i * width,                           \
                            to_total ? total + i * width : NULL)
    if (a_row == 1) { /* constant distances need no registers, which a high panel has not */
        if (n_vectors == 1)
            ROWS(HIGH, 1);
        ROWS(PANEL_ROWS, 1);
    }
    ROWS(PANEL_ROWS, a_row);
    ROWS(1, a_row);
#undef ROWS
}

XENT_INLINE void NAME(product_any)(const int to_total, ptrdiff_t m, ptrdiff_t width,
                                   ptrdiff_t depth, const REAL *a, ptrdiff_t a_row,
                                   ptrdiff_t a_column, const REAL *b, REAL *c, double *total)
{
    for (ptrdiff_t k = 0; k < width; k += 2 * LANES)
        for (ptrdiff_t l = 0; l < depth; l += DEPTH) {
            const ptrdiff_t steps = l + DEPTH <= depth ? DEPTH : depth - l;
            const REAL *a_from = a + l * a_column, *b_from = b + l * width + k;
            REAL *c_to = to_total ? NULL : c + k;
            double *total_to = to_total ? total + k : NULL;
            if (k + 2 * LANES <= width)
                NAME(product_columns)(2, to_total, m, width, steps, a_from, a_row, a_column,
                                      b_from, c_to, total_to);
            else
                NAME(product_columns)(1, to_total, m, width, steps, a_from, a_row, a_column,
                                      b_from, c_to, total_to);
        }
}

static void NAME(product)(ptrdiff_t m, ptrdiff_t width, ptrdiff_t depth, const void *a,
                          ptrdiff_t a_row, ptrdiff_t a_column, const void *b, void *c)
{
    NAME(product_any)(0, m, width, depth, a, a_row, a_column, b, c, NULL);
}

static void NAME(product_to_total)(ptrdiff_t m, ptrdiff_t width, ptrdiff_t depth, const void *a,
                                   ptrdiff_t a_row, ptrdiff_t a_column, const void *b,
                                   double *total)
{
    NAME(product_any)(1, m, width, depth, a, a_row, a_column, b, NULL, total);
}

static void NAME(sparse_product)(ptrdiff_t width, ptrdiff_t n_entries, const void *data_in,
                                 const int32_t *indices, const void *b_in, void *c_in)
{
    const REAL *data = data_in, *b = b_in;
    REAL *c = c_in;
    for (ptrdiff_t k = 0; k < width; k += LANES) {
        V sum = LOAD(c + k);
        for (ptrdiff_t j = 0; j < n_entries; j++)
            sum += data[j] * LOAD(b + indices[j] * width + k);
        STORE(c + k, sum);
    }
}

static void NAME(sparse_product_to_total)(ptrdiff_t width, ptrdiff_t n_entries,
                                          const void *data_in, const int32_t *indices,
                                          const void *r_in, double *total)
{
    const REAL *data = data_in, *r = r_in;
    for (ptrdiff_t j = 0; j < n_entries; j++)
        for (ptrdiff_t k = 0; k < width; k += LANES)
            ADD_TO_TOTAL(total + indices[j] * width + k, data[j] * LOAD(r + k));
}

static const xent_products NAME(products) = {
    LANES,
    NAME(product),
    NAME(product_to_total),
    NAME(sparse_product),
    NAME(sparse_product_to_total),
};

#undef PANEL_ROWS
#undef DEPTH
