"""How much sooner is one multi-label fit than one binary fit per label?

Sparse: what 82,115 nouns of WordNet are kinds of (964 labels), from the words of their glosses; and
30,000 x 45,000, tf-idf of words drawn as in a language, 600 labels from common to rare. Both beside
OneVsRestClassifier(LogisticRegression(solver="liblinear")), which penalises the intercept. Dense:
20,000 x 500, 100 labels, beside the same with lbfgs, with one or with two BLAS threads, whichever
is faster.
scikit-learn fits a sample of the labels, evenly spaced, and its time is scaled up to all labels,
which it would fit one after the other. Objectives are those of the sample, without a penalty of the
intercept, computed here in float64.
"""

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier

sys.path.insert(0, str(Path(__file__).parents[1] / "versus"))
sys.path.insert(0, str(Path(__file__).parents[1]))
import wordnet
from machine import print_about

TITLE_OF_REAL = "WordNet nouns, 82,115 x 27,056, 11 words per row; 964 labels, C = {C:.0f}"


def text(n_words_in_row, rng, n=30_000, n_features=45_000, n_labels=600):
    """(X, Y): rows of words by Zipf's law, weighed and normalised; labels that depend on words."""
    odds = 1 / np.arange(1, n_features + 1)
    words = rng.choice(n_features, size=n * n_words_in_row, p=odds / odds.sum())
    rows = np.repeat(np.arange(n), n_words_in_row)
    X = sparse.csr_array((np.ones(len(rows)), (rows, words)), shape=(n, n_features))
    X.data[:] = 1
    frequency = np.bincount(X.indices, minlength=n_features)
    X = X @ sparse.diags_array(np.log(n / (1 + frequency)) + 1)
    norms = np.sqrt(X.multiply(X).sum(axis=1))
    X = sparse.csr_array(sparse.diags_array(1 / norms) @ X)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)  # for liblinear
    W = rng.normal(size=(n_features, n_labels)) * (rng.random((n_features, n_labels)) < 0.02)
    return X, labels_of(X @ W, 0.0005 + np.minimum(0.2, 1 / (2 + np.arange(n_labels))), rng)


def images(rng, n=20_000, n_features=500, n_labels=100):
    """(X, Y): features that hang together, labels of a tenth of the rows."""
    X = rng.normal(size=(n, n_features)) @ rng.normal(size=(n_features, n_features))
    X *= 2 / np.sqrt(n_features)
    return X, labels_of(X @ rng.normal(size=(n_features, n_labels)), np.full(n_labels, 0.1), rng)


def labels_of(scores, shares, rng):
    """Indicator of the rows with the largest scores, with some noise; CSR."""
    scores = 3 * scores / scores.std() + rng.logistic(size=scores.shape) / 2
    least = [np.quantile(column, 1 - share) for column, share in zip(scores.T, shares, strict=True)]
    return sparse.csr_array((scores > least).astype(float))


def objective(X, Y, coef, intercept, C):
    """What both minimise."""
    coef = coef.astype(np.float64)
    z = X @ coef.T + intercept
    losses = np.logaddexp(0, z) - Y.toarray() * z
    return (losses.sum() + 0.5 / C * (coef**2).sum()) / X.shape[0]


def seconds(fit):
    begin = time.perf_counter()
    model = fit()
    return time.perf_counter() - begin, model


def compare(title, X, Y, solver, n_fitted, repeats, C=1.0):
    """One line of the table."""
    n_labels = Y.shape[1]
    chosen = np.linspace(0, n_labels - 1, n_fitted).astype(int)
    ours, theirs = [], []
    for _ in range(repeats):
        took, model = seconds(lambda: SoftmaxClassifier(C=C).fit(X, Y))
        ours.append(took)
        for n_threads in (1, 2) if solver == "lbfgs" else (1,):
            with threadpool_limits(n_threads, "blas"):
                peer = OneVsRestClassifier(LogisticRegression(solver=solver, C=C))
                took, peer = seconds(lambda peer=peer: peer.fit(X, Y[:, chosen]))
            theirs.append(took * n_labels / n_fitted)
    of_peer = objective(
        X,
        Y[:, chosen],
        np.vstack([one.coef_ for one in peer.estimators_]),
        np.array([one.intercept_[0] for one in peer.estimators_]),
        C,
    )
    of_ours = objective(X, Y[:, chosen], model.coef_[chosen], model.intercept_[chosen], C)
    print(
        f"| {title} | {solver} | {min(ours):.2f} s | {min(theirs):.0f} s | "
        f"{min(theirs) / min(ours):.1f} | "
        f"{of_ours / of_peer - 1:+.1e} |",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["real", "made", "dense"], help="one kind of data")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print_about()
    print(
        "`SoftmaxClassifier().fit(X, Y)` beside `OneVsRestClassifier(LogisticRegression(solver))`, "
        "whose time is scaled up from a sample of the labels. Fastest of "
        f"{args.repeats}.\n"
    )
    print(
        "| data | scikit-learn's solver | xentlearn, all labels at once "
        "| scikit-learn, one fit per label | times faster | objective, relative to scikit-learn's |"
    )
    print("|---|---|---|---|---|---|")
    if args.only in (None, "real"):
        X, Y = wordnet.ancestors()
        for C in (1.0, 10.0):
            compare(TITLE_OF_REAL.format(C=C), X, Y, "liblinear", 40, args.repeats, C)
    if args.only in (None, "made"):
        for n_words in (12, 30):
            X, Y = text(n_words, np.random.default_rng(0))
            title = f"sparse 30,000 x 45,000, {n_words} words per row; 600 labels"
            compare(title, X, Y, "liblinear", 20, args.repeats)
    if args.only in (None, "dense"):
        for dtype in (np.float64, np.float32):
            X, Y = images(np.random.default_rng(0))
            title = f"dense 20,000 x 500, {np.dtype(dtype)}; 100 labels"
            compare(title, X.astype(dtype), Y, "lbfgs", 5, args.repeats)


if __name__ == "__main__":
    main()
