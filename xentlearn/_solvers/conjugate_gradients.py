"""Preconditioned conjugate gradients on the Newton system at a point."""

import numpy as np


def newton_direction(objective, point, gradient, precondition, enough, most):
    """Solve ``H direction = -gradient`` approximately, with H the Hessian at a point.

    Parameters
    ----------
    objective : object
        See ``contract.py``; it has ``hessian_product``.
    point, gradient : ndarray of shape (size,)
    precondition : callable
        Returns an approximate inverse of H, positive definite and linear, times a vector.
    enough : callable
        ``enough(n, decrease, last)`` returns whether to stop after ``n`` products: ``decrease`` is
        what the quadratic model predicts for the direction so far, and ``last`` what the last
        product has added to it.
    most : int
        Largest number of products.

    Returns
    -------
    direction : ndarray of shape (size,)
        0 if the Hessian has no positive curvature along the first direction.
    n_products : int
    decrease : float
        The decrease that the quadratic model predicts for it. It grows with every product towards
        half the squared Newton decrement, in exact arithmetic.
    last : float
        What the last product has added; inf if rounding errors hid its curvature.
    """
    least, bounds_error = 0.0, "least_curvature" in getattr(objective, "OFFERS", ())
    residual = -gradient
    preconditioned = precondition(residual)
    conjugate, size = preconditioned.copy(), residual @ preconditioned
    direction, n, decrease, last = np.zeros_like(gradient), 0, 0.0, 0.0
    for n in range(1, most + 1):
        image = objective.hessian_product(point, conjugate)
        curvature = conjugate @ image
        # Stop where the curvature may be nothing but rounding error: if features are linearly
        # dependent, a step by it can be 1e16 times too long. Stop as well where it is negative,
        # which is possible where the function is not convex.
        if bounds_error:
            least = objective.least_curvature(conjugate)
        if not curvature > least:
            last = np.inf
            break
        step = size / curvature
        direction += step * conjugate
        residual -= step * image
        before, decrease = decrease, 0.5 * (direction @ (residual - gradient))
        last = decrease - before
        if enough(n, decrease, last):
            break
        preconditioned = precondition(residual)
        size_before, size = size, residual @ preconditioned
        if not size > 0:
            break
        conjugate = preconditioned + (size / size_before) * conjugate
    return direction, n, decrease, last
