"""The solvers that know L1 penalties, each as one function that fits from scratch.

All are asked for the minimum of the same objective, `measure.objective`, in which the intercept is
not penalised. Where a solver penalises it, as liblinear and celer do, it is one more feature that
is INTERCEPT_FEATURE for every row, so that its penalty is small, and the solution is scored without
that penalty. Data come in the layout and dtype that a solver works with; the conversion is not
timed. What is compiled at the first call is compiled beforehand.

The setting is the number of iterations, or of digits of the tolerance where that is what stops a
solver: of glmnet half the digits of ``thresh``, of celer half those of ``tol``.

glmnet is called in R, which a process of its own runs, and timed there with the data loaded. It
gets LAMBDAS values of lambda from the least one for which all coefficients are 0 to the wanted one,
since its documentation advises against single values.
"""

import logging
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
from peers import TINY, Peer, Solution, has_two_classes, logistic, solution
from problems import Problem
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from xentlearn import SoftmaxClassifier

try:
    import cyanure.estimators as cyanure
except ImportError:
    cyanure = None
else:
    logging.getLogger("Cyanure").setLevel(logging.ERROR)
try:
    import skglm
except ImportError:
    skglm = None
try:
    import celer
except ImportError:
    celer = None

ALIKE = "xentlearn, best number of iterations"
INTERCEPT_FEATURE = 100.0
LAMBDAS = 10
RSCRIPT = "Rscript"
MOST_ITERATIONS = 1000  # of skglm, each of which may have many of its own
MOST_DIGITS = 28  # halves of them, of a tolerance that means something in float64


def is_lasso(problem):
    return is_elastic_net(problem) and problem.l1_ratio == 1


def is_elastic_net(problem):
    return problem.l1_ratio > 0 and not problem.grouped and problem.lower == -np.inf


def is_any(problem):
    return True


def is_not_grouped(problem):
    return not problem.grouped


def columns(X):
    """X by columns in float64."""
    if sparse.issparse(X):
        return sparse.csc_matrix(X, dtype=np.float64)
    return np.asfortranarray(X, dtype=np.float64)


# ---- xentlearn, timed as its peers are -----------------------------------------------------------


def xentlearn_alike():
    """Default settings; the setting is the number of iterations, as for peers."""

    def fit(X, problem, max_iter):
        model = SoftmaxClassifier(C=problem.C, max_iter=max_iter, **problem.penalty)
        return solution(model.fit(X, problem.y))

    return Peer(ALIKE, fit, first=4, blas=False)


# ---- glmnet --------------------------------------------------------------------------------------

FOLDER = tempfile.TemporaryDirectory(prefix="glmnet-")  # of the last X


def to_files(X):
    """Write X for R; its folder and its shape."""
    by_column = columns(X)
    parts = {"data": by_column.ravel(order="K")} if not sparse.issparse(X) else vars_of(by_column)
    for name, values in parts.items():
        values.tofile(Path(FOLDER.name, name))
    return by_column


def vars_of(X):
    return {"data": X.data, "indices": X.indices, "indptr": X.indptr}


def largest_lambda(X, problem):
    """The least lambda for which all coefficients are 0; for ridge, glmnet takes alpha as 0.001."""
    shares = np.bincount(problem.y) / len(problem.y)
    residuals = np.eye(len(shares))[problem.y] - shares
    if problem.n_outputs == 1:
        residuals = residuals[:, 1:]
    slopes = np.abs(X.T @ residuals) / len(problem.y)
    sizes = np.linalg.norm(slopes, axis=1) if problem.grouped else slopes
    return np.max(sizes) / max(problem.l1_ratio, 1e-3)


def glmnet(type_logistic, limit):
    """fit of glmnet; after ``limit`` seconds it is stopped, and there is no solution."""

    def fit(X, problem, half_digits):
        n, d = X.shape
        wanted = 1 / (problem.C * n)
        lambdas = np.geomspace(max(largest_lambda(X, problem), wanted), wanted, LAMBDAS)
        thresh = 10 ** (-half_digits / 2)
        task = {
            "n": f"{n}L",
            "d": f"{d}L",
            "entries": f"{X.nnz}L" if sparse.issparse(X) else "NA",
            "family": repr("binomial" if problem.n_outputs == 1 else "multinomial"),
            "alpha": repr(float(problem.l1_ratio)),
            "lambda": f"c({', '.join(repr(float(value)) for value in lambdas)})",
            "thresh": repr(thresh),
            "lower": "-Inf" if problem.lower == -np.inf else repr(float(problem.lower)),
            "type_logistic": repr(type_logistic),
            "type_multinomial": repr("grouped" if problem.grouped else "ungrouped"),
        }
        lines = [f"{name} <- {value}\n" for name, value in task.items()]
        Path(FOLDER.name, "task.R").write_text("".join(lines))
        problem.y.astype(np.int32).tofile(Path(FOLDER.name, "labels"))
        command = [RSCRIPT, Path(__file__).with_name("glmnet.R"), FOLDER.name]
        how = f"thresh={thresh:.0e}"
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=limit)
        except subprocess.TimeoutExpired:
            nothing = np.full((problem.n_outputs, d), np.nan)
            how += ", stopped without a solution"
            return Solution(nothing, nothing[:, 0], half_digits, how, limit)
        if ran.returncode:
            raise RuntimeError(ran.stderr)
        seconds, n_lambdas, n_passes = map(float, ran.stdout.split())
        found = np.fromfile(Path(FOLDER.name, "coef")).reshape(d + 1, -1).T
        if n_lambdas < LAMBDAS:
            how += f", converged for {n_lambdas:.0f} of {LAMBDAS} values of lambda only"
        else:
            how += f", {n_passes:,.0f} passes"
        if not len(found):
            found = np.full((problem.n_outputs, d + 1), np.nan)
        return Solution(found[:, 1:], found[:, 0], half_digits, how, seconds)

    return fit


# ---- cyanure -------------------------------------------------------------------------------------


def cyanure_auto(X, problem, max_iter):
    """The solver that it chooses; its mean loss has lambda_1 ||W||_1 + lambda_2 ||W||^2 / 2."""
    strength = 1 / (problem.C * len(problem.y))
    model = cyanure.LogisticRegression(
        penalty="l1l2" if problem.grouped else "elasticnet" if problem.l1_ratio < 1 else "l1",
        lambda_1=strength * problem.l1_ratio,
        lambda_2=strength * (1 - problem.l1_ratio),
        tol=TINY,
        max_iter=max_iter,
        duality_gap_interval=max_iter,  # it returns the last iterate whose gap it has computed
        safe=False,
    )
    model.fit(X, problem.y)
    coef = model.coef_.T.reshape(problem.n_outputs, -1)
    return Solution(coef, model.intercept_.ravel(), int(np.max(model.n_iter_, initial=0)))


def can_cyanure(problem):
    return is_elastic_net(problem) or (problem.grouped and problem.l1_ratio == 1)


# ---- skglm and celer -----------------------------------------------------------------------------


def compile_skglm():
    """Have numba compile what fits of dense and sparse data need."""
    X = np.asfortranarray(np.random.default_rng(0).standard_normal((20, 3)))
    y = np.arange(20) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for l1_ratio in (0.5, 1.0):
            problem = Problem("small", X, y, l1_ratio=l1_ratio)
            skglm_newton(X, problem, 5)
            skglm_newton(sparse.csc_matrix(X), problem, 5)


def skglm_newton(X, problem, max_iter):
    """Proximal Newton method with working sets."""
    model = skglm.SparseLogisticRegression(
        alpha=1 / (problem.C * len(problem.y)),
        l1_ratio=problem.l1_ratio,
        tol=TINY,
        max_iter=max_iter,
    )
    model.fit(X, problem.y)
    return Solution(model.coef_, np.ravel(model.intercept_), model.n_iter_)


def with_intercept_feature(X):
    """X by columns with one more column."""
    column = np.full((X.shape[0], 1), INTERCEPT_FEATURE)
    if sparse.issparse(X):
        return sparse.csc_matrix(sparse.hstack([X, column]), dtype=np.float64)
    return np.asfortranarray(np.hstack([X, column]), dtype=np.float64)


def celer_newton(X, problem, half_digits):
    """Working sets and a proximal Newton method."""
    tol = 10 ** (-half_digits / 2)
    model = celer.LogisticRegression(C=problem.C, tol=tol)
    coefs, _ = model.path(X, 2.0 * problem.y - 1, np.array([problem.C]), "celer-pn")
    *coef, last = coefs[:, 0]
    intercept = np.array([last * INTERCEPT_FEATURE])
    return Solution(np.array([coef]), intercept, half_digits, f"tol={tol:.0e}")


# ---- All of them ---------------------------------------------------------------------------------


def sparse_peers(limit):
    """Every peer whose package can be imported; ``limit`` is for glmnet."""
    found = [
        Peer(
            "scikit-learn saga",
            logistic(LogisticRegression, "saga", random_state=0),
            takes=is_elastic_net,
            blas=False,
        ),
        Peer(
            "scikit-learn liblinear",
            logistic(LogisticRegression, "liblinear", intercept_scaling=INTERCEPT_FEATURE),
            first=1,
            takes=lambda problem: has_two_classes(problem) and is_lasso(problem),
            dtypes=(np.float64,),
            blas=False,
        ),
    ]
    for type_logistic in ("Newton", "modified.Newton"):
        found.append(
            Peer(
                f"glmnet {type_logistic}",
                glmnet(type_logistic, limit),
                first=6,
                # of grouped outputs, there is one method
                takes=is_any if type_logistic == "Newton" else is_not_grouped,
                dtypes=(np.float64,),
                prepare=to_files,
                blas=False,
                most=MOST_DIGITS,
            )
        )
    if cyanure is not None:
        found.append(Peer("cyanure", cyanure_auto, first=2, takes=can_cyanure))
    if skglm is not None:
        compile_skglm()
        found.append(
            Peer(
                "skglm",
                skglm_newton,
                first=2,
                takes=lambda problem: has_two_classes(problem) and is_elastic_net(problem),
                dtypes=(np.float64,),
                prepare=columns,
                blas=False,
                most=MOST_ITERATIONS,
            )
        )
    if celer is not None:
        found.append(
            Peer(
                "celer",
                celer_newton,
                first=6,
                takes=lambda problem: has_two_classes(problem) and is_lasso(problem),
                dtypes=(np.float64,),
                prepare=with_intercept_feature,
                blas=False,
                most=MOST_DIGITS,
            )
        )
    return found
