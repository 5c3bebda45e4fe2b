/* Products with a narrow right-hand side, on one target, in one dtype.
 *
 * One kernel serves both products of the fused pass, because it reads the left matrix through two
 * strides: logits[i, :] = sum_f X[i, f] W[f, :] walks along a row of X, the gradient
 * G[f, :] += sum_i X[i, f] R[i, :] walks down a column. C order, Fortran order and any slice of X
 * are then the same code.
 *
 * A panel of PANEL_ROWS x PANEL_VECTORS accumulators stays in registers; each step of the depth
 * loads PANEL_VECTORS vectors of b and broadcasts PANEL_ROWS numbers of a. Every result is one
 * chain of sums over the depth, in order, whatever panel it falls into: the same bits for any
 * blocking of rows.
 */

#if VECTOR_BYTES == 64
#define PANEL_ROWS 8
#define PANEL_VECTORS 2 /* 16 of 32 registers; 1 vector for the last odd one */
#elif VECTOR_BYTES
#define PANEL_ROWS 4
#define PANEL_VECTORS 2 /* 8 of 16 registers, 2 for b, 1 for a */
#else
#define PANEL_ROWS 4
#define PANEL_VECTORS 1
#endif

/* Steps [begin, end) of the depth. */
XENT_INLINE void NAME(panel_steps)(const int n_rows, const int n_vectors, ptrdiff_t begin,
                                   ptrdiff_t end, const REAL *a, ptrdiff_t a_row,
                                   ptrdiff_t a_column, const REAL *b, ptrdiff_t width,
                                   V sums[PANEL_ROWS][PANEL_VECTORS])
{
    for (ptrdiff_t l = begin; l < end; l++) {
        V right[PANEL_VECTORS];
        XENT_UNROLL
        for (int v = 0; v < n_vectors; v++)
            right[v] = LOAD(b + l * width + v * LANES);
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
                             ptrdiff_t a_row, ptrdiff_t a_column, const REAL *b, ptrdiff_t width,
                             V sums[PANEL_ROWS][PANEL_VECTORS])
{
    enum { LINE = 64 / sizeof(REAL) };
    ptrdiff_t l = 0;
    if (a_column == 1 && n_rows == PANEL_ROWS)
        for (; l + LINE <= depth; l += LINE) {
            XENT_UNROLL
            for (int i = 0; i < PANEL_ROWS; i++)
                XENT_PREFETCH(a + (PANEL_ROWS + i) * a_row + l);
            NAME(panel_steps)(n_rows, n_vectors, l, l + LINE, a, a_row, 1, b, width, sums);
        }
    NAME(panel_steps)(n_rows, n_vectors, l, depth, a, a_row, a_column, b, width, sums);
}

/* What becomes of the sums of a panel: c += sums in the dtype itself, or total += sums in float64
 * (the other one is NULL). For c, the chain of sums begins with what it holds: the intercept. */
XENT_INLINE void NAME(panel_product)(const int n_rows, const int n_vectors, const int to_total,
                                     ptrdiff_t depth, const REAL *a, ptrdiff_t a_row,
                                     ptrdiff_t a_column, const REAL *b, ptrdiff_t width, REAL *c,
                                     double *total)
{
    V sums[PANEL_ROWS][PANEL_VECTORS];
    XENT_UNROLL
    for (int i = 0; i < n_rows; i++)
        XENT_UNROLL
        for (int v = 0; v < n_vectors; v++)
            sums[i][v] = to_total ? SPLAT(0) : LOAD(c + i * width + v * LANES);
    NAME(panel)(n_rows, n_vectors, depth, a, a_row, a_column, b, width, sums);
    XENT_UNROLL
    for (int i = 0; i < n_rows; i++)
        XENT_UNROLL
        for (int v = 0; v < n_vectors; v++) {
            if (to_total)
                ADD_TO_TOTAL(total + i * width + v * LANES, sums[i][v]);
            else
                STORE(c + i * width + v * LANES, sums[i][v]);
        }
}

XENT_INLINE void NAME(product_rows)(const int n_rows, const int to_total, ptrdiff_t width,
                                    ptrdiff_t depth, const REAL *a, ptrdiff_t a_row,
                                    ptrdiff_t a_column, const REAL *b, REAL *c, double *total)
{
    ptrdiff_t k = 0;
    for (; k + PANEL_VECTORS * LANES <= width; k += PANEL_VECTORS * LANES)
        NAME(panel_product)(n_rows, PANEL_VECTORS, to_total, depth, a, a_row, a_column, b + k,
                            width, to_total ? NULL : c + k, to_total ? total + k : NULL);
    for (; k < width; k += LANES)
        NAME(panel_product)(n_rows, 1, to_total, depth, a, a_row, a_column, b + k, width,
                            to_total ? NULL : c + k, to_total ? total + k : NULL);
}

XENT_INLINE void NAME(product_any)(const int to_total, ptrdiff_t m, ptrdiff_t width,
                                   ptrdiff_t depth, const REAL *a, ptrdiff_t a_row,
                                   ptrdiff_t a_column, const REAL *b, REAL *c, double *total)
{
    ptrdiff_t i = 0;
    for (; i + PANEL_ROWS <= m; i += PANEL_ROWS)
        NAME(product_rows)(PANEL_ROWS, to_total, width, depth, a + i * a_row, a_row, a_column, b,
                           to_total ? NULL : c + i * width, to_total ? total + i * width : NULL);
    for (; i < m; i++)
        NAME(product_rows)(1, to_total, width, depth, a + i * a_row, a_row, a_column, b,
                           to_total ? NULL : c + i * width, to_total ? total + i * width : NULL);
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
#undef PANEL_VECTORS
