/* Fixed permutations of the lanes of one or two vectors, for GCC and Clang. */
#ifndef XENT_SHUFFLE_H
#define XENT_SHUFFLE_H

/* XENT_SHUFFLE(mask, a, b, indices...): lane i of the result is lane indices[i] of a followed by b;
 * `mask` is the integer vector of the same shape (GCC before version 12 wants the indices in it). */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define XENT_SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef XENT_SHUFFLE
#define XENT_SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

/* Lane i and lane i ^ distance change places. */
#define XENT_SWAP_2_1 1, 0
#define XENT_SWAP_4_1 1, 0, 3, 2
#define XENT_SWAP_4_2 2, 3, 0, 1
#define XENT_SWAP_8_1 1, 0, 3, 2, 5, 4, 7, 6
#define XENT_SWAP_8_2 2, 3, 0, 1, 6, 7, 4, 5
#define XENT_SWAP_8_4 4, 5, 6, 7, 0, 1, 2, 3
#define XENT_SWAP_16_1 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14
#define XENT_SWAP_16_2 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13
#define XENT_SWAP_16_4 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11
#define XENT_SWAP_16_8 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7

/* The lower (upper) halves of two vectors, lane by lane in turn: a0 b0 a1 b1 ... */
#define XENT_ZIP_LOW_2 0, 2
#define XENT_ZIP_HIGH_2 1, 3
#define XENT_ZIP_LOW_4 0, 4, 1, 5
#define XENT_ZIP_HIGH_4 2, 6, 3, 7
#define XENT_ZIP_LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define XENT_ZIP_HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define XENT_ZIP_LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define XENT_ZIP_HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

/* All lanes get the combination of all lanes: halves onto halves, a fixed order. */
#define XENT_ALL_LANES_2(mask, x, combine) \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_2_1))
#define XENT_ALL_LANES_4(mask, x, combine)                   \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_4_2)); \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_4_1))
#define XENT_ALL_LANES_8(mask, x, combine)                   \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_8_4)); \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_8_2)); \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_8_1))
#define XENT_ALL_LANES_16(mask, x, combine)                   \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_16_8)); \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_16_4)); \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_16_2)); \
    x = combine(x, XENT_SHUFFLE(mask, x, x, XENT_SWAP_16_1))

#endif
