/* Copies of X with contiguous rows, for one CPU target.
 *
 * Contiguous numbers are converted in a loop that compilers vectorise; `restrict` is needed for
 * that, since a pointer to bytes might otherwise alias the results. With other strides (contiguous
 * columns, every second column), the copy proceeds in strips of as many columns as a cache line has
 * numbers, so that each line is used completely while it is in the first-level cache.
 */
#define STRIP 16

#define GATHER(dtype, type, convert)                                                            \
    static void NAME(gather_##dtype)(ptrdiff_t n_rows, ptrdiff_t n_columns, const void *from_in, \
                                     ptrdiff_t row, ptrdiff_t column, void *to_out,             \
                                     ptrdiff_t to_row)                                          \
    {                                                                                           \
        for (ptrdiff_t strip = 0; strip < n_columns; strip += column == 1 ? n_columns : STRIP)  \
            for (ptrdiff_t i = 0; i < n_rows; i++) {                                            \
                const type *restrict from = (const type *)from_in + i * row + strip * column;   \
                REAL *restrict to = (REAL *)to_out + i * to_row + strip;                        \
                const ptrdiff_t left = n_columns - strip;                                       \
                if (column == 1)                                                                \
                    for (ptrdiff_t j = 0; j < n_columns; j++)                                   \
                        to[j] = convert(from[j]);                                               \
                else                                                                            \
                    for (ptrdiff_t j = 0; j < (left < STRIP ? left : STRIP); j++)               \
                        to[j] = convert(from[j * column]);                                      \
            }                                                                                   \
    }

/* IEEE half precision: exponent and mantissa are shifted into place, and an exact product corrects
 * the bias of the exponent, also of subnormal numbers. inf and nan would become finite, but X has
 * been checked for them before. */
XENT_INLINE float NAME(half_to_float)(uint16_t bits)
{
    const uint32_t shifted = (uint32_t)(bits & 0x7fff) << 13, sign = (uint32_t)(bits & 0x8000) << 16;
    float magnitude;
    uint32_t result;
    memcpy(&magnitude, &shifted, sizeof magnitude);
    magnitude *= 0x1p112f;
    memcpy(&result, &magnitude, sizeof result);
    result |= sign;
    memcpy(&magnitude, &result, sizeof magnitude);
    return magnitude;
}

GATHER(float32, float, (REAL))
GATHER(float16, uint16_t, NAME(half_to_float))
GATHER(uint8, uint8_t, (REAL))
GATHER(int8, int8_t, (REAL))
#if !IS_FLOAT
GATHER(float64, double, )
#endif

#undef GATHER
#undef STRIP
