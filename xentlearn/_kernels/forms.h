/* The forms of cross-entropy: the contribution of one class to the loss, as a function of its
 * probability.
 *
 * With l = -log p of the probability p, and t the target of the class, it is
 *
 * XENT_CROSS_ENTROPY  t l
 * XENT_POLY           t (log_weight l + miss_weight (1 - p)): Poly-1, symmetric for labels
 * XENT_GENERALIZED    t (1 - p^q) / q
 * XENT_FOCAL          t (1 - p)^gamma l
 * XENT_SYMMETRIC      log_weight t l - miss_weight p max(log t, floor), for soft rows
 * XENT_ASYMMETRIC     binary only: with gamma for the 1s, gamma_of_0 and clip for the 0s
 *
 * A binary loss is the sum of two such terms, of the positive and of the negative outcome. */
#ifndef XENT_FORMS_H
#define XENT_FORMS_H

enum xent_form_name {
    XENT_CROSS_ENTROPY,
    XENT_POLY,
    XENT_GENERALIZED,
    XENT_FOCAL,
    XENT_SYMMETRIC,
    XENT_ASYMMETRIC
};

typedef struct {
    int name;           /* of enum xent_form_name */
    double log_weight, miss_weight, floor;
    double q;           /* in (0, 1] */
    double gamma, gamma_of_0; /* in [0, 100] */
    double clip;        /* in [0, 1) */
    double alpha, alpha_of_0; /* binary focal: weights of the 1s and of the 0s */
} xent_form;

#endif
