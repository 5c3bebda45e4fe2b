/* exp, log and powers of vectors.
 *
 * Each reduces the argument and evaluates one polynomial. The polynomials are weighted minimax
 * approximations (Remez, computed with 60 digits). `doc/accuracy.md` states the errors, which
 * tests/kernels/test_kernels.py checks for each CPU target:
 *
 *   exp    at most 1.1 ulp (2 spacings among subnormals), any argument: half an ulp for the last
 *          sum, and below 1, where r is as large as ln2/2, a quarter each for r and r + r^2 P(r)
 *   log1p  at most 2 ulp for arguments >= 0
 *   power  x^y for x in [0, 1]: at most 2 + 2 y ulp
 */

#if IS_FLOAT
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define ROUND_MAGIC 0x1.8p23f   /* adding it rounds to an integer, kept in the low bits */
#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e4p-1f   /* 15 bits: its product with an exponent is exact */
#define LN2_LOW 0x1.7f7d1cp-20f
#define EXP_LOWEST -130.0f      /* exp is 0 below -103.98; here even 2^31 of them sum to 0 */
#define EXP_HIGHEST 89.0f       /* and inf above 88.73 */
#define EXP_SHIFT 64            /* results < 1 have exponents >= -188, shifted >= -124 */
#define UNSHIFT 0x1p-64f
#define SQRT_HALF_BITS 0x3f3504f3
#define LARGEST 0x1.fffffep+127f
#define SMALLEST 0x1p-126f      /* normal number */
#define UPPER_HALF (~(INT)0xfff)
#define LEAST_EXPONENT -250.0f  /* 2^-250 is 0 */
#define NUMBER(x) x##f
#else
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define ROUND_MAGIC 0x1.8p52
#define LOG2_E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefa3p-1 /* 41 bits */
#define LN2_LOW 0x1.3de6af278ece6p-42
#define EXP_LOWEST -800.0       /* exp is 0 below -745.13; here even 2^31 of them sum to 0 */
#define EXP_HIGHEST 710.0       /* and inf above 709.78 */
#define EXP_SHIFT 960           /* below 1, exponents of exp reach -1155: no less than -195 */
#define UNSHIFT 0x1p-960
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcd
#define LARGEST 0x1.fffffffffffffp+1023
#define SMALLEST 0x1p-1022
#define UPPER_HALF (~(INT)0x7ffffff)
#define LEAST_EXPONENT -2040.0
#define NUMBER(x) x
#endif
#define BIASED_MAGIC (ROUND_MAGIC + (REAL)(EXP_SHIFT + EXPONENT_BIAS))

/* r + r^2 P(r) = exp(r) - 1 for |r| <= ln2/2. */
XENT_INLINE V NAME(expm1_polynomial)(V r)
{
#if IS_FLOAT
    V p = SPLAT(0x1.6a2352p-10f);
    p = p * r + 0x1.123a6cp-7f;
    p = p * r + 0x1.5558f4p-5f;
    p = p * r + 0x1.555490p-3f;
    p = p * r + 0x1.fffffcp-2f;
#else
    V p = SPLAT(0x1.ad7f02ab63935p-26);
    p = p * r + 0x1.28adce7339679p-22;
    p = p * r + 0x1.71df262c451e1p-19;
    p = p * r + 0x1.a01999adcb23bp-16;
    p = p * r + 0x1.a01a0129b4612p-13;
    p = p * r + 0x1.6c16c1844b01cp-10;
    p = p * r + 0x1.1111111127e83p-7;
    p = p * r + 0x1.55555555507f1p-5;
    p = p * r + 0x1.55555555554f9p-3;
    p = p * r + 0x1.000000000000ap-1;
#endif
    return p * (r * r) + r;
}

XENT_INLINE V NAME(exp_polynomial)(V r)
{
    return NAME(expm1_polynomial)(r) + NUMBER(1.0);
}

/* 2^n, where the low bits of `biased` hold n + EXPONENT_BIAS: all bits above the exponent's leave
 * by the shift, so `biased` may be a number to which ROUND_MAGIC was added. */
XENT_INLINE V NAME(power_of_two)(VI biased)
{
    return AS_REAL(SHIFT_LEFT(biased, MANTISSA_BITS));
}

/* exp(x): x = n ln2 + r, |r| <= ln2/2. 2^n is applied in two halves, so that subnormal results and
 * the overflow to inf come out right. */
XENT_INLINE V NAME(exp)(V x)
{
    /* in this order of arguments MAX, and the minimum as -MAX, propagate a nan in x */
    x = MAX(SPLAT(EXP_LOWEST), -MAX(SPLAT(-EXP_HIGHEST), -x));
    V shifted = x * LOG2_E + ROUND_MAGIC;
    VI n = AS_INT(shifted) - AS_INT(SPLAT(ROUND_MAGIC));
    V n_real = shifted - ROUND_MAGIC;
    V p = NAME(exp_polynomial)((x - n_real * LN2_HIGH) - n_real * LN2_LOW);
    VI half = n >> 1;
    return p * NAME(power_of_two)(half + EXPONENT_BIAS) *
           NAME(power_of_two)(n - half + EXPONENT_BIAS);
}
#define EXP NAME(exp)

/* d = a - b and its rounding error (Knuth's two-sum): a - b = d + lost if all are finite. */
XENT_INLINE V NAME(difference)(V a, V b, V *lost)
{
    const V d = a - b, back = d - a;
    *lost = (a - (d - back)) - (b + back);
    return d;
}
#define DIFFERENCE NAME(difference)

/* exp(a - b) * 2^EXP_SHIFT for a <= b: exactly 2^EXP_SHIFT where a = b. The rounding error of the
 * difference (Knuth's two-sum) is added to r: without it, the relative error would grow with b - a.
 * The factor keeps results normal where exp itself would be subnormal, so that a sum of many of
 * them is rounded to the spacing of the subnormals once, not term by term. On AVX-512 this reaches
 * four fifths of the rate at which the processor's two units can issue; interleaving several
 * vectors was not faster. */
XENT_INLINE V NAME(exp_difference)(V a, V b)
{
    V low;
    V d = DIFFERENCE(a, b, &low);
    V shifted = d * LOG2_E + BIASED_MAGIC;
    V n_real = shifted - BIASED_MAGIC;
    V p = NAME(exp_polynomial)(((d - n_real * LN2_HIGH) - n_real * LN2_LOW) + low);
    V e = p * NAME(power_of_two)(AS_INT(shifted));
    /* below the least argument, -inf included, e is meaningless; a nan is not below */
    return SELECT(LESS(d, SPLAT(EXP_LOWEST)), SPLAT(0), e);
}
#define EXP_DIFFERENCE NAME(exp_difference)

/* 1 - e for e = exp(-x), x >= 0, to 3 ulp. */
XENT_INLINE V NAME(one_minus_exp)(V x, V e)
{
    return SELECT(LESS(x, SPLAT(NUMBER(0.34))), -NAME(expm1_polynomial)(-x), NUMBER(1.0) - e);
}
#define ONE_MINUS_EXP NAME(one_minus_exp)

/* log(1 + x) + low for 1 + x in [sqrt(1/2), sqrt(2)). */
XENT_INLINE V NAME(log_polynomial)(V x, V low)
{
#if IS_FLOAT
    V q = SPLAT(-0x1.38b46cp-4f);
    q = q * x + 0x1.056f9cp-3f;
    q = q * x - 0x1.0d8eccp-3f;
    q = q * x + 0x1.22d812p-3f;
    q = q * x - 0x1.547128p-3f;
    q = q * x + 0x1.99a014p-3f;
    q = q * x - 0x1.00022ap-2f;
    q = q * x + 0x1.555554p-2f;
    /* x - x^2/2 + x^3 Q(x) */
    return low + x * x * (x * q - 0.5f) + x;
#else
    /* 2 atanh(s), s = x / (2 + x); 2 s = x - s x, and s^2 Q(s^2) is the rest of the series over s,
     * as in fdlibm's log: x - (x^2/2 - s (x^2/2 + Q)) has the smallest rounding */
    V s = x / (x + 2.0);
    V z = s * s;
    V q = SPLAT(0x1.2f0d8ef234f70p-3);
    q = q * z + 0x1.39a0f4f5f828fp-3;
    q = q * z + 0x1.7466462d33713p-3;
    q = q * z + 0x1.c71c51e7f3125p-3;
    q = q * z + 0x1.2492494217a8bp-2;
    q = q * z + 0x1.999999997fb31p-2;
    q = q * z + 0x1.5555555555593p-1;
    V half_square = 0.5 * x * x;
    return x - (half_square - (s * (half_square + q * z) + low));
#endif
}

/* A small integer as a number. */
XENT_INLINE V NAME(as_number)(VI k)
{
    return AS_REAL(k + AS_INT(SPLAT(ROUND_MAGIC))) - ROUND_MAGIC;
}

/* log(1 + u) for u >= 0. The rounding error of w = 1 + u is added back, so that a tiny u keeps its
 * digits. w = 2^k f with f in [sqrt(1/2), sqrt(2)); x = f - 1 plus that error, over 2^k;
 * log = k ln2 + log1p(x). For k = 0, x is u itself. */
XENT_INLINE V NAME(log1p)(V u)
{
    V w = u + NUMBER(1.0);
    V back = w - u;
    V lost = (u - (w - back)) + (NUMBER(1.0) - back);
    VI bits = AS_INT(w);
    VI k = (bits - SQRT_HALF_BITS) >> MANTISSA_BITS;
    V f = AS_REAL(bits - SHIFT_LEFT(k, MANTISSA_BITS));
    /* a huge u has no such error, and 2^-k would not be a normal number */
    lost = SELECT(LESS(u, SPLAT(NUMBER(0x1p60))), lost * NAME(power_of_two)(EXPONENT_BIAS - k),
                  SPLAT(0));
    V x = (f - NUMBER(1.0)) + lost;
    V n = NAME(as_number)(k);
    V r = NAME(log_polynomial)(x, n * LN2_LOW) + n * LN2_HIGH;
    /* inf and nan are returned as they are */
    return SELECT(AT_MOST(u, SPLAT(LARGEST)), r, u);
}
#define LOG1P NAME(log1p)

/* x = 2^n (1 + fraction) for a finite x > 0, subnormal ones included. */
XENT_INLINE V NAME(fraction)(V x, V *n)
{
    const M subnormal = LESS(x, SPLAT(SMALLEST));
    x = SELECT(subnormal, x * NUMBER(0x1p64), x);
    const VI bits = AS_INT(x), k = (bits - SQRT_HALF_BITS) >> MANTISSA_BITS;
    *n = NAME(as_number)(k) - SELECT(subnormal, SPLAT(NUMBER(64.0)), SPLAT(0));
    return AS_REAL(bits - SHIFT_LEFT(k, MANTISSA_BITS)) - NUMBER(1.0);
}

/* log(x), 0 < x < inf. */
XENT_INLINE V NAME(log)(V x)
{
    V n;
    const V f = NAME(fraction)(x, &n);
    return NAME(log_polynomial)(f, n * LN2_LOW) + n * LN2_HIGH;
}
#define LOG NAME(log)

#define MOST_MULTIPLIED 4

/* A constant factor, with so few bits in `high` that its product with an exponent, or with the
 * upper half of another number, is exact. */
typedef struct {
    REAL all, high, low;
    int whole; /* the factor if it is an integer up to MOST_MULTIPLIED, otherwise -1 */
} NAME(split);
#define SPLIT NAME(split)

XENT_INLINE REAL NAME(upper_half_of)(REAL x)
{
    INT bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= UPPER_HALF;
    memcpy(&x, &bits, sizeof x);
    return x;
}

XENT_INLINE SPLIT NAME(split_of)(double x)
{
    SPLIT split;
    split.all = (REAL)x;
    split.high = NAME(upper_half_of)(split.all);
    split.low = (REAL)(x - (double)split.high);
    split.whole = x >= 0 && x <= MOST_MULTIPLIED && x == (int)x ? (int)x : -1;
    return split;
}

/* x^y, 0 <= x <= 1, 0 <= y <= 100: 2^(n y) exp(y log(1 + fraction)). The integer part of n y is
 * added to the exponent, and its fractional part is exact. Small integers y, which are the usual
 * choice, are evaluated by repeated multiplication: a focal loss then takes half the time. */
XENT_INLINE V NAME(power)(V x, SPLIT y)
{
    if (y.whole >= 0) {
        V product = SPLAT(1);
        for (int i = 0; i < y.whole; i++)
            product *= x;
        return product;
    }
    V n;
    const V f = NAME(fraction)(x, &n);
    const V exponent = MAX(n * y.high, SPLAT(LEAST_EXPONENT));
    const V shifted = exponent + ROUND_MAGIC;
    const VI whole = AS_INT(shifted) - AS_INT(SPLAT(ROUND_MAGIC)), half = whole >> 1;
    const V rest = (exponent - (shifted - ROUND_MAGIC)) + n * y.low;
    const V e = EXP(rest * (LN2_HIGH + LN2_LOW) + y.all * NAME(log_polynomial)(f, SPLAT(0)));
    const V r = e * NAME(power_of_two)(half + EXPONENT_BIAS) *
                NAME(power_of_two)(whole - half + EXPONENT_BIAS);
    return SELECT(EQUAL(x, SPLAT(0)), SPLAT(y.all == 0), r + (x - x)); /* x - x: nan for a nan */
}
#define POWER NAME(power)

/* exp(-(y (d + d_low + more))) for y in (0, 1], d >= 0 with a rounding error d_low, and more >= 0.
 * The product with d is computed exactly, since its rounding error would otherwise grow with d. */
XENT_INLINE V NAME(exp_product)(SPLIT y, V d, V d_low, V more)
{
    const V d_high = AS_REAL(AS_INT(d) & UPPER_HALF);
    const V d_rest = d - d_high;
    const V rest = (y.high * d_rest + y.low * d_high) + (y.low * d_rest + y.all * d_low);
    const V e = EXP_DIFFERENCE(-(y.high * d_high), rest + y.all * more) * UNSHIFT;
    /* more - more propagates a nan in `more`, of a row that has no softmax */
    return SELECT(EQUAL(d, SPLAT(INFINITY)), more - more, e);
}
#define EXP_PRODUCT NAME(exp_product)
