/* The forms a cross-entropy takes: which function of the probability an entry costs.
 *
 * With l = -log p the cost of a probability, and t the target of its class,
 *
 * XENT_CROSS_ENTROPY  t l
 * XENT_POLY           t (log_weight l + miss_weight (1 - p)): Poly-1, and symmetric cross-entropy of labels
 * XENT_GENERALIZED    t (1 - p^q) / q
 * XENT_FOCAL          t (1 - p)^gamma l
 * XENT_SYMMETRIC      log_weight t l - miss_weight p max(log t, floor): of soft rows
 * XENT_ASYMMETRIC     binary alone: gamma of the 1s, gamma_of_0 and clip of the 0s
 *
 * Binary forms have two such entries, the positive outcome's and the negative one's. */
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
