/* CPU targets: the sets of instructions for which the kernels are compiled.
 *
 * "scalar"   plain C, one number at a time: the reference, always built, and the only one for MSVC
 * "baseline" 16-byte vectors: SSE2 on x86-64, NEON on Arm, elsewhere what the compiler makes of
 * them
 * "avx2"     32-byte vectors with FMA
 * "avx512"   64-byte vectors
 *
 * Function attributes enable the instructions of wider CPU targets (see each_target.h), so that no
 * file needs compiler flags of its own and one binary serves all machines. The vectors are those of
 * GCC and Clang (vector_size), which need no intrinsics: one body of code serves all CPU targets.
 */
#ifndef XENT_TARGETS_H
#define XENT_TARGETS_H

#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= 9)
#define XENT_VECTORS 1
#else
#define XENT_VECTORS 0
#endif

#if XENT_VECTORS && defined(__x86_64__)
#define XENT_X86 1
#include <immintrin.h>
#else
#define XENT_X86 0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define XENT_INLINE static inline __attribute__((always_inline, unused))
#define XENT_MAYBE_UNUSED __attribute__((unused))
#elif defined(_MSC_VER)
#define XENT_INLINE static __forceinline
#define XENT_MAYBE_UNUSED
#else
#define XENT_INLINE static inline
#define XENT_MAYBE_UNUSED
#endif

/* Unroll a loop of constant length completely, so that arrays it indexes can stay in registers. */
#if defined(__clang__)
#define XENT_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define XENT_UNROLL _Pragma("GCC unroll 16")
#else
#define XENT_UNROLL
#endif

/* Prefetch a cache line to all caches, or to the second level and beyond; an invalid address does
 * no harm. */
#if defined(__GNUC__) || defined(__clang__)
#define XENT_PREFETCH(address) __builtin_prefetch(address)
#define XENT_PREFETCH_L2(address) __builtin_prefetch(address, 0, 2)
#else
#define XENT_PREFETCH(address) (void)(address)
#define XENT_PREFETCH_L2(address) (void)(address)
#endif

/* Between these two, subnormal numbers count as 0 in the thread's vector operations on x86, where
 * each of them takes a hundred times as long as another number. A feature that is 1e-33 in all rows,
 * as some encoders make them, is enough: its products with small residuals are subnormal. */
#if XENT_X86
#define XENT_FLUSH_SUBNORMALS()                 \
    const unsigned int xent_mode = _mm_getcsr(); \
    _mm_setcsr(xent_mode | 0x8040)
#define XENT_KEEP_SUBNORMALS() _mm_setcsr(xent_mode)
#else
#define XENT_FLUSH_SUBNORMALS() (void)0
#define XENT_KEEP_SUBNORMALS() (void)0
#endif

enum xent_target { XENT_SCALAR, XENT_BASELINE, XENT_AVX2, XENT_AVX512, XENT_N_TARGETS };

static const char *const xent_target_names[XENT_N_TARGETS] XENT_MAYBE_UNUSED = {
    "scalar", "baseline", "avx2", "avx512"};

/* The widest CPU target that both the build and the machine (processor and operating system)
 * support. */
static inline int xent_best_target(void)
{
#if XENT_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
        return XENT_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return XENT_AVX2;
#endif
    return XENT_VECTORS ? XENT_BASELINE : XENT_SCALAR;
}

#endif
