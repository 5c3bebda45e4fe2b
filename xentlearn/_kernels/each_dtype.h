/* Include the body XENT_BODY for float and for double, for the current CPU target. */
#define DTYPE f32
#define REAL float
#define INT int32_t
#define UINT uint32_t
#define IS_FLOAT 1
#include "vector.h"
#include XENT_BODY
#include "vector_end.h"
#undef DTYPE
#undef REAL
#undef INT
#undef UINT
#undef IS_FLOAT

#define DTYPE f64
#define REAL double
#define INT int64_t
#define UINT uint64_t
#define IS_FLOAT 0
#include "vector.h"
#include XENT_BODY
#include "vector_end.h"
#undef DTYPE
#undef REAL
#undef INT
#undef UINT
#undef IS_FLOAT
