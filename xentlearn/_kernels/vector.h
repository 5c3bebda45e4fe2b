/* Vectors of LANES numbers of type REAL on one target: the words the bodies are written in.
 *
 * V    vector of REAL            VI   vector of integers of the same width (masks, exponents)
 * VD   vector of as many doubles (for sums that must not lose digits)
 *
 * On the scalar target LANES is 1 and V is REAL itself, so the same body compiles with any C
 * compiler. Arithmetic is written with + - * /; what differs between a number and a vector
 * (masks, bit casts, conversions) is here and nowhere else. No contraction can break the two-sum
 * below: it has no products.
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
#define VD NAME(vd)

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
typedef double NAME(d) __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t NAME(di) __attribute__((vector_size(VECTOR_BYTES)));
typedef REAL V __attribute__((vector_size(VECTOR_BYTES)));
typedef INT VI __attribute__((vector_size(VECTOR_BYTES)));
typedef double VD __attribute__((vector_size(VECTOR_BYTES / sizeof(REAL) * sizeof(double))));
#define MASK(condition) (condition)
#define FIRST_LANE(x) ((x)[0])
#define WIDEN(x) __builtin_convertvector(x, VD)
#define NARROW(x) __builtin_convertvector(x, V)
#else
#define LANES 1
typedef REAL V;
typedef INT VI;
typedef double VD;
#define MASK(condition) (-(INT)(condition))
#define FIRST_LANE(x) (x)
#define WIDEN(x) ((double)(x))
#define NARROW(x) ((REAL)(x))
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

/* `count` numbers that do not fill a vector: the first lanes, the others `fill`. */
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

/* One number in every lane (x - 0 is x, also for -0, so the compiler drops the subtraction). */
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

/* yes where the mask is set, no elsewhere; the other operand's value never leaks, nan included */
XENT_INLINE V NAME(select)(VI mask, V yes, V no)
{
    return AS_REAL((mask & AS_INT(yes)) | (~mask & AS_INT(no)));
}
#define SELECT NAME(select)

/* Largest of the lanes, in every lane; lanes must not be nan. */
XENT_INLINE V NAME(lane_max)(V x)
{
#if VECTOR_BYTES
#define LARGER(a, b) SELECT((a) > (b), a, b)
    XENT_PASTE2(XENT_ALL_LANES_, LANE_COUNT)(VI, x, LARGER);
#undef LARGER
#endif
    return x;
}
#define LANE_MAX NAME(lane_max)

/* Sum of the lanes, in every lane and rounded to REAL once. */
XENT_INLINE V NAME(lane_sum)(const VD *x)
{
#if VECTOR_BYTES
#define PLUS(a, b) ((a) + (b))
    NAME(d) parts[sizeof(VD) / VECTOR_BYTES], sum;
    memcpy(parts, x, sizeof parts);
    sum = parts[0];
    if (sizeof parts > VECTOR_BYTES)
        sum += parts[sizeof(VD) / VECTOR_BYTES - 1];
    XENT_PASTE2(XENT_ALL_LANES_, DOUBLE_COUNT)(NAME(di), sum, PLUS);
#undef PLUS
    return SPLAT((REAL)sum[0]);
#else
    return (REAL)*x;
#endif
}
#define LANE_SUM NAME(lane_sum)
