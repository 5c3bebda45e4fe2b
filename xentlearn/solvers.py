"""Solver settings: the parameters of a solver as an object.

``SoftmaxClassifier(solver="adam")`` takes a solver with its defaults, and
``SoftmaxClassifier(solver=Adam(learning_rate=0.1))`` with other parameters. A grid search reaches
them as ``solver__learning_rate``.
"""

from ._solvers.settings import LBFGS, SGD, Adam, NewtonCG, NewtonCholesky

__all__ = ["Adam", "LBFGS", "NewtonCG", "NewtonCholesky", "SGD"]  # noqa: RUF022

# where users find them, and what their pickles say
for _name in __all__:
    globals()[_name].__module__ = __name__
