/* Include the body XENT_BODY once per CPU target and dtype.
 *
 * Bodies are compiled for two dtypes, float and double (X of other dtypes is converted block by
 * block), and for each CPU target of targets.h. Whatever a body defines is called NAME(something),
 * which becomes something_f32_avx2 and so on.
 */
#include "targets.h"

#define TARGET scalar
#define VECTOR_BYTES 0
#include "each_dtype.h"
#undef TARGET
#undef VECTOR_BYTES

#if XENT_VECTORS

#define TARGET baseline
#define VECTOR_BYTES 16
#include "each_dtype.h"
#undef TARGET
#undef VECTOR_BYTES

#endif

#if XENT_X86

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define TARGET avx2
#define VECTOR_BYTES 32
#include "each_dtype.h"
#undef TARGET
#undef VECTOR_BYTES
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,prefer-vector-width=512")
#endif
#define TARGET avx512
#define VECTOR_BYTES 64
#include "each_dtype.h"
#undef TARGET
#undef VECTOR_BYTES
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#endif

/* The tables name_scalar, name_baseline, ... in the order of enum xent_target, or NULL. */
#if XENT_X86
#define XENT_TABLES(name) {&name##_scalar, &name##_baseline, &name##_avx2, &name##_avx512}
#elif XENT_VECTORS
#define XENT_TABLES(name) {&name##_scalar, &name##_baseline, NULL, NULL}
#else
#define XENT_TABLES(name) {&name##_scalar, NULL, NULL, NULL}
#endif
