"""Fits agree with R's glmnet, whose coefficients are stored: see ``glmnet_cases.py``.

Each of them is checked to be the minimum of our objective by an oracle first; where glmnet stopped
too early for 1e-5, ``LOOSE`` says how far it is off.
"""

import numpy as np
import pytest

from glmnet_cases import CASES, FILE, data_of, found
from small_problems import no_warning, one_hot
from sparse_reference import (
    SparseObjective,
    binary_rows,
    least_norm_shift,
    softmax_rows,
    sparse_minimum,
)
from xentlearn import SoftmaxClassifier

# Largest difference of coefficients that is allowed, relative to the largest coefficient or 1.
CLOSE = 1e-5
# Groups converge slowly in glmnet, and for digits a smaller threshold took it too long.
LOOSE = {
    "digits_0.5_grouped": 3e-5,
    "digits_1_grouped": 3e-5,
    "digits_1_grouped_factors": 3e-5,
}
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def objective_of(case):
    X, y = data_of(case.data)
    binary = len(np.unique(y)) == 2
    targets = y[:, np.newaxis] if binary else one_hot(y)
    loss = (binary_rows if binary else softmax_rows)(targets)
    return SparseObjective(X, loss, targets.shape[1], **case.parameters)


def canonical(case, coef):
    """Without the shift of a feature by class that the objective cannot see."""
    if len(coef) == 1 or case.grouped:
        return coef
    bounds = case.parameters["coef_bounds"]
    coef = least_norm_shift(coef, 1.0, bounds) if case.l1_ratio == 1 else coef.copy()
    free = case.factor == 0
    coef[:, free] -= coef[:, free].mean(axis=0)
    return coef


def difference(case, coef, intercept):
    """From glmnet's coefficients, as ``CLOSE`` has it."""
    of_glmnet, intercept_of_glmnet = found(case.name)
    ours, theirs = canonical(case, coef), canonical(case, of_glmnet)
    largest = max(np.abs(theirs).max(), np.abs(intercept_of_glmnet).max(), 1.0)
    if len(coef) > 1:
        intercept = intercept - intercept.mean()
        intercept_of_glmnet = intercept_of_glmnet - intercept_of_glmnet.mean()
    off = np.abs(ours - theirs).max(), np.abs(intercept - intercept_of_glmnet).max()
    return max(off) / largest


def test_the_file_says_where_it_is_from():
    with np.load(FILE) as file:
        assert file["about"][0].startswith("R version 4.2.2")
        assert file["about"][1] == "glmnet 4.1.6"
        for case in CASES:
            assert file[case.name].shape[1] == len(case.factor) + 1
            assert 1e-18 <= file[f"thresh {case.name}"] <= 1e-14


@each_case
def test_glmnet_is_at_the_minimum_of_our_objective(case):
    objective = objective_of(case)
    coef, intercept = found(case.name)
    least = sparse_minimum(objective, (coef, intercept), violation=1e-7)
    assert difference(case, least.coef, least.intercept) <= LOOSE.get(case.name, CLOSE)
    assert objective.value(coef, intercept) == pytest.approx(least.value, rel=1e-9)


@each_case
def test_fit(case):
    X, y = data_of(case.data)
    objective = objective_of(case)
    with no_warning():
        clf = SoftmaxClassifier(**case.parameters, tol=1e-10).fit(X, y)
    assert clf.solver_ == "proximal-newton"
    value = objective.value(clf.coef_, clf.intercept_)
    assert value <= objective.value(*found(case.name)) * (1 + 1e-8)
    assert clf.objective_ == pytest.approx(value, rel=1e-12)
    clf.set_params(tol=1e-12).fit(X, y)  # coefficients are less determined than the objective
    assert difference(case, clf.coef_, clf.intercept_) <= LOOSE.get(case.name, CLOSE)
    # what is out here is out there
    threshold = 1e-3 * np.abs(found(case.name)[0]).max()
    assert not (np.abs(canonical(case, found(case.name)[0]))[clf.coef_ == 0] > threshold).any()


# --- statsmodels' results of glmnet ---------------------------------------------------------------

# statsmodels 0.15, genmod/tests/results/glmnet_r_results.py, rslt_binomial_0 to _8: alpha, lambda
# and coefficients of glmnet(exog, endog, family="binomial", intercept=FALSE, standardize=FALSE,
# alpha=alpha) in elastic_net.R there. Its data are those of enet_binomial.csv without the first
# row, which R took for names; features are centred and divided by their deviation (n - 1). The
# threshold was glmnet's default, 1e-7, which leaves the fifth digit open.
STATSMODELS = [
    (0, 6.618737, 0.004032037, 0.01433665, 0.01265635, 0.006173346, 0.01067706),
    (0, 1.029661, 0.02180239, 0.07769613, 0.06756466, 0.03156418, 0.05851878),
    (0, 0.1601819, 0.07111087, 0.2544921, 0.2110318, 0.08577924, 0.1984383),
    (0.5, 0.05343991, 0.004990061, 0.2838563, 0.2167881, 0.02370156, 0.2096612),
    (0.5, 0.02313286, 0.0708914, 0.3791042, 0.2938332, 0.07506391, 0.2982251),
    (0.5, 0.009124078, 0.106681, 0.4327268, 0.3362166, 0.1019452, 0.3479955),
    (1, 0.02932512, 0, 0.3085764, 0.2300801, 0.01143652, 0.2291531),
    (1, 0.01269414, 0.07022348, 0.396642, 0.3044255, 0.07151663, 0.31301),
    (1, 0.005494992, 0.1049623, 0.4385186, 0.3391729, 0.09907393, 0.3527401),
]


@pytest.mark.parametrize("row", STATSMODELS)
def test_numbers_of_statsmodels(row):
    l1_ratio, strength, *expected = row
    data = np.loadtxt(FILE.parent / "enet_binomial.csv", delimiter=",")[1:]
    X = (data[:, 1:] - data[:, 1:].mean(axis=0)) / data[:, 1:].std(axis=0, ddof=1)
    options = {"C": 1 / (strength * len(X)), "l1_ratio": l1_ratio, "fit_intercept": False}
    least = sparse_minimum(SparseObjective(X, binary_rows(data[:, :1]), 1, **options))
    np.testing.assert_allclose(least.coef[0], expected, rtol=0, atol=2e-5)
    clf = SoftmaxClassifier(**options, tol=1e-10).fit(X, data[:, 0])
    np.testing.assert_allclose(clf.coef_[0], expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(clf.coef_, least.coef, rtol=0, atol=1e-7)
