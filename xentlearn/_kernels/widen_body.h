/* Narrow numbers -> float32, on one target. (Nothing to do for float64.) */
#if IS_FLOAT

/* IEEE half precision: exponent and mantissa move into place, and one exact product puts the
 * exponent's bias right, for subnormal numbers as well. inf and nan would come out finite: X is
 * checked for them before. */
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

/* A stride of 1 gets a loop of its own, which compilers turn into vectors: `restrict` tells them that
 * bytes, which may be anything, are not the results. */
#define WIDEN(dtype, type, convert)                                                           \
    static void NAME(widen_##dtype)(ptrdiff_t count, const void *from_in, ptrdiff_t stride,   \
                                    float *to_out)                                            \
    {                                                                                         \
        const type *restrict from = from_in;                                                  \
        float *restrict to = to_out;                                                          \
        if (stride == 1)                                                                      \
            for (ptrdiff_t i = 0; i < count; i++)                                             \
                to[i] = convert(from[i]);                                                     \
        else                                                                                  \
            for (ptrdiff_t i = 0; i < count; i++)                                             \
                to[i] = convert(from[i * stride]);                                            \
    }
WIDEN(uint8, uint8_t, (float))
WIDEN(int8, int8_t, (float))
WIDEN(float16, uint16_t, NAME(half_to_float))
#undef WIDEN

#endif
