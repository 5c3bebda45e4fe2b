/* Products with one sparse row of X, for one CPU target and one dtype.
 *
 * Vectors run along the classes: each entry is multiplied with one row of coefficients, or added to
 * one row of the gradient. These rows are scattered over megabytes, so those of later entries are
 * prefetched. A chunk of the width stays in registers for all entries of the row.
 */
#define CHUNK 4  /* vectors */
#define EARLY 8  /* entries between a prefetch and its use */
#define LINE (64 / (int)sizeof(double))

static void NAME(sparse_product)(ptrdiff_t width, ptrdiff_t n_entries, ptrdiff_t n_known,
                                 const void *data_in, const int32_t *indices, const void *coef_in,
                                 ptrdiff_t row, void *logits_in)
{
    const REAL *data = data_in, *coef = coef_in;
    REAL *logits = logits_in;
    for (ptrdiff_t k = 0; k < width; k += CHUNK * LANES) {
        const int n = width - k < CHUNK * LANES ? (int)((width - k) / LANES) : CHUNK;
        V sums[CHUNK];
        for (int v = 0; v < n; v++)
            sums[v] = LOAD(logits + k + v * LANES);
        for (ptrdiff_t j = 0; j < n_entries; j++) {
            const REAL *from = coef + indices[j] * row + k;
            if (j + EARLY < n_known)
                for (int v = 0; v < n; v++)
                    XENT_PREFETCH(coef + indices[j + EARLY] * row + k + v * LANES);
            for (int v = 0; v < n; v++)
                sums[v] += data[j] * LOAD(from + v * LANES);
        }
        for (int v = 0; v < n; v++)
            STORE(logits + k + v * LANES, sums[v]);
    }
}

static void NAME(sparse_product_to_total)(ptrdiff_t width, ptrdiff_t n_entries, ptrdiff_t n_known,
                                          const void *data_in, const int32_t *indices,
                                          const void *residual_in, double *total, ptrdiff_t row)
{
    const REAL *data = data_in, *residual = residual_in;
    for (ptrdiff_t j = 0; j < n_entries; j++) {
        double *to = total + indices[j] * row;
        if (j + EARLY < n_known)
            for (ptrdiff_t k = 0; k < width; k += LINE)
                XENT_PREFETCH(total + indices[j + EARLY] * row + k);
        for (ptrdiff_t k = 0; k < width; k += LANES)
            ADD_TO_TOTAL(to + k, data[j] * LOAD(residual + k));
    }
}

#undef CHUNK
#undef EARLY
#undef LINE
