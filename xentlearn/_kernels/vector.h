/* Vectors of LANES numbers of type REAL for one CPU target: the operations that the bodies use.
 *
 * V    vector of REAL            VI   vector of integers of the same width (exponents)
 * M    mask with one bit or lane of bits per lane of V
 *
 * On the scalar CPU target, LANES is 1 and V is REAL itself, so that the same body compiles with
 * any C compiler. Arithmetic is written with + - * /; operations that differ between a number and a
 * vector (comparisons, bit casts, conversions) are defined here and nowhere else. Intrinsics are
 * used where compilers do not find the right instruction by themselves: masks of AVX-512, and max.
 * Contraction to FMA cannot break the two-sum of exp_log.h, which has no products.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "shuffle.h"

#ifndef NAME
#define XENT_PASTE_(a, b, c) a##_##b##_##c
#define XENT_PASTE(a, b, c) XENT_PASTE_(a, b, c)
#define XENT_PASTE2_(a, b) a##b
#define XENT_PASTE2(a, b) XENT_PASTE2_(a, b)
#define NAME(name) XENT_PASTE(name, DTYPE, TARGET)
#endif

#define V NAME(v)
#define VI NAME(vi)
#define M NAME(mask)

/* LANE_COUNT is LANES as a plain number, for names; DOUBLE_COUNT that of a vector of doubles. */
#if VECTOR_BYTES == 64
#define DOUBLE_COUNT 8
#elif VECTOR_BYTES == 32
#define DOUBLE_COUNT 4
#else
#define DOUBLE_COUNT 2
#endif
#if !IS_FLOAT
#define LANE_COUNT DOUBLE_COUNT
#elif VECTOR_BYTES == 64
#define LANE_COUNT 16
#elif VECTOR_BYTES == 32
#define LANE_COUNT 8
#else
#define LANE_COUNT 4
#endif

#if VECTOR_BYTES
#define LANES (VECTOR_BYTES / (int)sizeof(REAL))
typedef REAL V __attribute__((vector_size(VECTOR_BYTES)));
typedef INT VI __attribute__((vector_size(VECTOR_BYTES)));
typedef UINT NAME(vu) __attribute__((vector_size(VECTOR_BYTES)));
typedef double NAME(d) __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t NAME(di) __attribute__((vector_size(VECTOR_BYTES)));
#define FIRST_LANE(x) ((x)[0])
#else
#define LANES 1
typedef REAL V;
typedef INT VI;
typedef UINT NAME(vu);
#define FIRST_LANE(x) (x)
#endif

XENT_INLINE V NAME(load)(const REAL *from)
{
    V x;
    memcpy(&x, from, sizeof x);
    return x;
}
#define LOAD NAME(load)

XENT_INLINE void NAME(store)(REAL *to, V x)
{
    memcpy(to, &x, sizeof x);
}
#define STORE NAME(store)

/* `count` numbers, fewer than LANES, in the first lanes; `fill` in the others. */
XENT_INLINE V NAME(load_part)(const REAL *from, ptrdiff_t count, REAL fill)
{
    REAL lanes[LANES];
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = fill;
    for (ptrdiff_t lane = 0; lane < count; lane++)
        lanes[lane] = from[lane];
    return LOAD(lanes);
}
#define LOAD_PART NAME(load_part)

XENT_INLINE void NAME(store_part)(REAL *to, V x, ptrdiff_t count)
{
    REAL lanes[LANES];
    STORE(lanes, x);
    for (ptrdiff_t lane = 0; lane < count; lane++)
        to[lane] = lanes[lane];
}
#define STORE_PART NAME(store_part)

/* The same number in every lane (x - 0 is x, also for -0, so compilers omit the subtraction). */
XENT_INLINE V NAME(splat)(REAL x)
{
#if VECTOR_BYTES
    return x - (V){0};
#else
    return x;
#endif
}
#define SPLAT NAME(splat)

XENT_INLINE VI NAME(as_int)(V x)
{
    VI bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
#define AS_INT NAME(as_int)

XENT_INLINE V NAME(as_real)(VI bits)
{
    V x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
#define AS_REAL NAME(as_real)

/* bits * 2^count, modulo 2 to the number of bits; the sign may change. */
XENT_INLINE VI NAME(shift_left)(VI bits, int count)
{
    return (VI)((NAME(vu))bits << count);
}
#define SHIFT_LEFT NAME(shift_left)

/* KEEP: compilers forget how x was computed, and have its value in a register. They neither load it
 * again for each use, nor fuse it into a later sum if it is a product. */
#if XENT_X86 && VECTOR_BYTES == 64
#define KEEP(x) __asm__("" : "+v"(x))
#elif XENT_X86
#define KEEP(x) __asm__("" : "+x"(x))
#elif defined(__aarch64__) && defined(__GNUC__)
#define KEEP(x) __asm__("" : "+w"(x))
#else
#define KEEP(x) (void)(x)
#endif

/* ---- Comparisons and choices ---------------------------------------------------------------- */

#if IS_FLOAT
#define X86(operation) XENT_PASTE2(operation, _ps)
#else
#define X86(operation) XENT_PASTE2(operation, _pd)
#endif

/* SELECT: yes where the mask is set, no elsewhere; the operand that is not selected has no effect,
 * even if it is nan. ADD_WHERE: x + y where the mask is set, x elsewhere. STORE_WHERE: to = x where
 * it is set. Masks can be combined with & | ~. */
#if XENT_X86 && VECTOR_BYTES == 64
#if IS_FLOAT
typedef __mmask16 M;
#define COMPARE(a, b, how) _mm512_cmp_ps_mask(a, b, how)
#else
typedef __mmask8 M;
#define COMPARE(a, b, how) _mm512_cmp_pd_mask(a, b, how)
#endif
#define LESS(a, b) ((M)COMPARE(a, b, _CMP_LT_OQ))
#define AT_MOST(a, b) ((M)COMPARE(a, b, _CMP_LE_OQ))
#define EQUAL(a, b) ((M)COMPARE(a, b, _CMP_EQ_OQ))
#define SELECT(mask, yes, no) X86(_mm512_mask_blend)((M)(mask), no, yes)
#define ADD_WHERE(mask, x, y) X86(_mm512_mask_add)(x, (M)(mask), x, y)
#define STORE_WHERE(mask, to, x) X86(_mm512_mask_storeu)(to, (M)(mask), x)
#else
typedef VI M;
#if VECTOR_BYTES
#define LESS(a, b) ((a) < (b))
#define AT_MOST(a, b) ((a) <= (b))
#define EQUAL(a, b) ((a) == (b))
#else
#define LESS(a, b) (-(INT)((a) < (b)))
#define AT_MOST(a, b) (-(INT)((a) <= (b)))
#define EQUAL(a, b) (-(INT)((a) == (b)))
#endif
XENT_INLINE V NAME(select)(M mask, V yes, V no)
{
    return AS_REAL((mask & AS_INT(yes)) | (~mask & AS_INT(no)));
}
#define SELECT NAME(select)
#define ADD_WHERE(mask, x, y) ((x) + SELECT(mask, y, SPLAT(0)))
#define STORE_WHERE(mask, to, x) STORE(to, SELECT(mask, x, LOAD(to)))
#endif

/* a where a > b, otherwise b, also if one of them is nan. */
#if XENT_X86 && VECTOR_BYTES == 64
#define MAX(a, b) X86(_mm512_max)(a, b)
#elif XENT_X86 && VECTOR_BYTES == 32
#define MAX(a, b) X86(_mm256_max)(a, b)
#elif XENT_X86 && VECTOR_BYTES == 16
#define MAX(a, b) X86(_mm_max)(a, b)
#else
XENT_INLINE V NAME(max)(V a, V b)
{
    return SELECT(LESS(b, a), a, b);
}
#define MAX NAME(max)
#endif

/* Mask of the last `count` lanes. */
XENT_INLINE M NAME(last_lanes)(ptrdiff_t count)
{
    REAL lanes[LANES];
    for (int lane = 0; lane < LANES; lane++)
        lanes[lane] = (REAL)(lane >= LANES - count);
    return EQUAL(LOAD(lanes), SPLAT(1));
}
#define LAST_LANES NAME(last_lanes)

/* ---- All lanes
 * -------------------------------------------------------------------------------- */

/* The largest of the lanes, in every lane; no lane may be nan. */
XENT_INLINE V NAME(lane_max)(V x)
{
#if VECTOR_BYTES
    XENT_PASTE2(XENT_ALL_LANES_, LANE_COUNT)(VI, x, MAX);
#endif
    return x;
}
#define LANE_MAX NAME(lane_max)

#define PLUS(a, b) ((a) + (b))

#if VECTOR_BYTES
#if IS_FLOAT
/* Half a vector in float64: the lower half (0) or the upper one (1). */
XENT_INLINE NAME(d) NAME(half)(V x, const int which)
{
#if XENT_X86 && VECTOR_BYTES == 64
    return _mm512_cvtps_pd(which ? _mm512_extractf32x8_ps(x, 1) : _mm512_castps512_ps256(x));
#elif XENT_X86 && VECTOR_BYTES == 32
    return _mm256_cvtps_pd(which ? _mm256_extractf128_ps(x, 1) : _mm256_castps256_ps128(x));
#elif XENT_X86
    return _mm_cvtps_pd(which ? (V)_mm_movehl_ps(x, x) : x);
#else
    typedef REAL half __attribute__((vector_size(VECTOR_BYTES / 2)));
    half part;
    memcpy(&part, (const char *)&x + which * sizeof part, sizeof part);
    return __builtin_convertvector(part, NAME(d));
#endif
}
#endif

XENT_INLINE double NAME(lane_sum_double)(NAME(d) sum)
{
    XENT_PASTE2(XENT_ALL_LANES_, DOUBLE_COUNT)(NAME(di), sum, PLUS);
    return sum[0];
}
#endif

/* The sum of the lanes of high and low, rounded to REAL once, in every lane. */
XENT_INLINE V NAME(lane_sum)(V high, V low)
{
#if VECTOR_BYTES && IS_FLOAT
    NAME(d) sum = (NAME(half)(high, 0) + NAME(half)(high, 1)) +
                  (NAME(half)(low, 0) + NAME(half)(low, 1));
    return SPLAT((REAL)NAME(lane_sum_double)(sum));
#elif VECTOR_BYTES
    return SPLAT(NAME(lane_sum_double)(high + low));
#else
    return high + low;
#endif
}
#define LANE_SUM NAME(lane_sum)

/* total += x, lane by lane, in float64 */
XENT_INLINE void NAME(add_to_total)(double *total, V x)
{
#if VECTOR_BYTES && IS_FLOAT
    NAME(d) low, high;
    memcpy(&low, total, sizeof low);
    memcpy(&high, total + LANES / 2, sizeof high);
    low += NAME(half)(x, 0);
    high += NAME(half)(x, 1);
    memcpy(total, &low, sizeof low);
    memcpy(total + LANES / 2, &high, sizeof high);
#elif VECTOR_BYTES
    STORE(total, LOAD(total) + x);
#else
    *total += x;
#endif
}
#define ADD_TO_TOTAL NAME(add_to_total)

/* ---- Pieces
 * ----------------------------------------------------------------------------------- */

/* A vector is PIECES pieces of 16 bytes, which hold PIECE numbers each. */
#if VECTOR_BYTES
#define PIECE (16 / (int)sizeof(REAL))
#define PIECES (VECTOR_BYTES / 16)
#else
#define PIECE 1
#define PIECES 1
#endif

/* A vector whose piece i is loaded from `from` + i * stride. */
XENT_INLINE V NAME(load_pieces)(const REAL *from, ptrdiff_t stride)
{
#if XENT_X86 && VECTOR_BYTES > 16
#define AT(i) _mm_loadu_ps((const float *)(from + (i) * stride))
    V x;
#if VECTOR_BYTES == 64
    __m512 all = _mm512_castps128_ps512(AT(0));
    all = _mm512_insertf32x4(all, AT(1), 1);
    all = _mm512_insertf32x4(all, AT(2), 2);
    all = _mm512_insertf32x4(all, AT(3), 3);
#else
    __m256 all = _mm256_insertf128_ps(_mm256_castps128_ps256(AT(0)), AT(1), 1);
#endif
#undef AT
    memcpy(&x, &all, sizeof x);
    return x;
#else
    (void)stride;
    return LOAD(from);
#endif
}
#define LOAD_PIECES NAME(load_pieces)

/* Store piece i, which must be a constant. */
XENT_INLINE void NAME(store_piece)(REAL *to, V x, const int i)
{
    memcpy(to, (const char *)&x + i * PIECE * sizeof *to, PIECE * sizeof *to);
}
#define STORE_PIECE NAME(store_piece)
