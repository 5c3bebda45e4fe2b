/* Fixed permutations of the lanes of one or two vectors, for GCC and Clang. */
#ifndef XENT_SHUFFLE_H
#define XENT_SHUFFLE_H

/* XENT_SHUFFLE(mask, a, b, indices...): lane i of the result is lane indices[i] of a followed by
 * b; `mask` is the integer vector of the same shape (GCC before version 12 takes the indices in
 * it). */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define XENT_SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef XENT_SHUFFLE
#define XENT_SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

/* Swap lanes i and i ^ distance. */
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

/* Within every 16 bytes: the lower (upper) halves of two vectors, number by number in turn. */
#define XENT_ZIP_LOW_f32_4 0, 4, 1, 5
#define XENT_ZIP_HIGH_f32_4 2, 6, 3, 7
#define XENT_ZIP_LOW_f32_8 0, 8, 1, 9, 4, 12, 5, 13
#define XENT_ZIP_HIGH_f32_8 2, 10, 3, 11, 6, 14, 7, 15
#define XENT_ZIP_LOW_f32_16 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define XENT_ZIP_HIGH_f32_16 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define XENT_ZIP_LOW_f64_2 0, 2
#define XENT_ZIP_HIGH_f64_2 1, 3
#define XENT_ZIP_LOW_f64_4 0, 4, 2, 6
#define XENT_ZIP_HIGH_f64_4 1, 5, 3, 7
#define XENT_ZIP_LOW_f64_8 0, 8, 2, 10, 4, 12, 6, 14
#define XENT_ZIP_HIGH_f64_8 1, 9, 3, 11, 5, 13, 7, 15

/* The even (odd) pieces of 16 bytes of two vectors of doubles. */
#define XENT_EVEN_PIECES_4 0, 1, 4, 5
#define XENT_ODD_PIECES_4 2, 3, 6, 7
#define XENT_EVEN_PIECES_8 0, 1, 4, 5, 8, 9, 12, 13
#define XENT_ODD_PIECES_8 2, 3, 6, 7, 10, 11, 14, 15

/* Combine all lanes into every lane, halves with halves, in a fixed order. */
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
