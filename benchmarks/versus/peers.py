"""The solvers, each as one function that fits from scratch with one setting.

All minimise the same objective: mean cross-entropy plus the penalty, ||W||^2 / (2 C n) unless the
problem says otherwise, the intercept free. (``sparse_peers`` has those for L1 penalties.) Who
cannot is left out: liblinear and SGD with more than two classes (theirs is one-vs-rest, another
task), scikit-learn-intelex on sparse X (it would hand over to scikit-learn, which is here already).
liblinear penalises the intercept, as one more feature; where that feature is 100 for every row, the
penalty is 1e-4 of the others and too small to see.

The setting of a peer is the number of iterations (of saga and SGD: passes over X); other reasons to
stop are switched off as far as there is a switch. The setting of xentlearn is its ``tol``.
"""

import logging
import math
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression, SGDClassifier

from xentlearn import SoftmaxClassifier

try:
    import torch
except ImportError:
    torch = None

# read by scikit-learn-intelex: without it, newton-cg is not accelerated
os.environ.setdefault("SKLEARNEX_PREVIEW", "1")
try:
    from sklearnex.linear_model import LogisticRegression as IntelLogisticRegression
except ImportError:
    IntelLogisticRegression = None

TINY = 1e-12  # tolerance that leaves the number of iterations to decide
MOST_COEF = 10_000  # of newton-cholesky, whose Hessian has the square of it as entries
TORCH_HISTORY = 20


class Solution(NamedTuple):
    """Where a solver stopped."""

    coef: np.ndarray
    intercept: np.ndarray
    n_iter: int
    how: str = ""  # what the setting means, where it is not the number of iterations
    seconds: float | None = None  # of solvers with a clock of their own


class Peer(NamedTuple):
    """A solver, and what it can be asked."""

    name: str
    fit: Callable  # (X, problem, setting) -> Solution
    first: int = 5  # the least number of iterations to try; 1 where an iteration is a Newton step
    takes: Callable = lambda problem: True
    dtypes: tuple = (np.float32, np.float64)
    prepare: Callable = lambda X: X  # into the layout that it likes, which is not timed
    blas: bool = True  # whether the number of BLAS threads may matter
    most: float = math.inf  # the largest setting that can make a difference

    def dtypes_for(self, X):
        """In which X comes, best first; float64 too, for those whom rounding stops early."""
        return self.dtypes if X.dtype.itemsize < 8 else (np.float64,)


def solution(model):
    """What a fitted estimator has found."""
    return Solution(model.coef_, model.intercept_, int(np.max(model.n_iter_)))


# ---- xentlearn -----------------------------------------------------------------------------------


def xentlearn(solver):
    """Default settings except for the solver; the setting is ``tol``."""

    def fit(X, problem, tol):
        model = SoftmaxClassifier(C=problem.C, solver=solver, tol=tol, **problem.penalty)
        return solution(model.fit(X, problem.y))

    return Peer("xentlearn" if solver == "auto" else f"xentlearn {solver}", fit)


# ---- scikit-learn and its accelerated twin -------------------------------------------------------


def logistic(estimator, solver, **parameters):
    """fit of LogisticRegression."""

    def fit(X, problem, max_iter):
        model = estimator(
            C=problem.C,
            l1_ratio=problem.l1_ratio,
            solver=solver,
            tol=TINY,
            max_iter=max_iter,
            **parameters,
        )
        return solution(model.fit(X, problem.y))

    return fit


def sgd(X, problem, max_iter):
    """Stochastic gradients; ``alpha`` is the weight of ||W||^2 / 2 beside the mean loss."""
    alpha = 1 / (problem.C * len(problem.y))
    model = SGDClassifier(loss="log_loss", alpha=alpha, tol=None, max_iter=max_iter, random_state=0)
    return solution(model.fit(X, problem.y))


def refuse_fallback(record):
    """Raise where scikit-learn-intelex says that it does not accelerate; keep its log quiet."""
    if "fallback" in record.getMessage():
        raise RuntimeError(f"scikit-learn-intelex does not accelerate this: {record.getMessage()}")
    return False


def accelerated(solver):
    """fit of scikit-learn-intelex, which must not fall back."""
    logger = logging.getLogger("sklearnex")
    logger.setLevel(logging.INFO)
    logger.addFilter(refuse_fallback)
    return logistic(IntelLogisticRegression, solver)


# ---- torch ---------------------------------------------------------------------------------------


def tensor(X):
    """X without a copy."""
    if not sparse.issparse(X):
        return torch.from_numpy(X)
    parts = (torch.from_numpy(part) for part in (X.indptr, X.indices, X.data))
    return torch.sparse_csr_tensor(*parts, size=X.shape)


def torch_lbfgs(X, problem, max_iter):
    """Full batches, strong Wolfe line search, from zero, in the dtype of X."""
    y, C = problem.y, problem.C
    n, d = X.shape
    n_classes = int(y.max()) + 1
    features, labels = tensor(X), torch.from_numpy(y)
    loss = torch.nn.functional.cross_entropy
    if n_classes == 2:
        labels = labels.to(features.dtype)[:, np.newaxis]
        loss = torch.nn.functional.binary_cross_entropy_with_logits
    n_outputs = 1 if n_classes == 2 else n_classes
    coef = torch.zeros((d, n_outputs), dtype=features.dtype, requires_grad=True)
    intercept = torch.zeros(n_outputs, dtype=features.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [coef, intercept],
        max_iter=max_iter,
        max_eval=25 * max_iter,  # the line search's own limit, so that iterations decide
        tolerance_grad=0,
        tolerance_change=0,
        history_size=TORCH_HISTORY,
        line_search_fn="strong_wolfe",
    )

    def closure():
        optimizer.zero_grad()
        logits = torch.addmm(intercept, features, coef)
        value = loss(logits, labels) + coef.square().sum() / (2 * C * n)
        value.backward()
        return value

    optimizer.step(closure)
    n_iter = optimizer.state[coef]["n_iter"]
    return Solution(coef.detach().numpy().T, intercept.detach().numpy(), n_iter)


# ---- All of them ---------------------------------------------------------------------------------


def is_dense(problem):
    return not sparse.issparse(problem.X)


def has_two_classes(problem):
    return problem.n_outputs == 1


def has_few_coef(problem):
    return problem.X.shape[1] * problem.n_outputs <= MOST_COEF


def installed_peers():
    """Every peer whose package can be imported."""
    lr = LogisticRegression
    found = [
        Peer("scikit-learn lbfgs", logistic(lr, "lbfgs")),
        Peer("scikit-learn newton-cg", logistic(lr, "newton-cg"), first=1),
        Peer("scikit-learn newton-cholesky", logistic(lr, "newton-cholesky"), 1, has_few_coef),
        Peer("scikit-learn saga", logistic(lr, "saga", random_state=0)),
        Peer(
            "scikit-learn liblinear",
            logistic(lr, "liblinear", intercept_scaling=100),
            first=1,
            takes=has_two_classes,
            dtypes=(np.float64,),
        ),
        Peer("scikit-learn SGD", sgd, takes=has_two_classes),
    ]
    if IntelLogisticRegression is not None:
        found += [
            Peer("scikit-learn-intelex lbfgs", accelerated("lbfgs"), takes=is_dense),
            Peer("scikit-learn-intelex newton-cg", accelerated("newton-cg"), 1, is_dense),
        ]
    if torch is not None:
        found.append(Peer("torch LBFGS", torch_lbfgs))
    return found
