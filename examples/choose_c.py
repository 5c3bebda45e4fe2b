"""
How strong should the penalty be?
=================================

SoftmaxClassifierCV tries values of C on the measurements of 569 tumours. It chooses the one with
the best score, or the strongest penalty whose score is within one standard error of the best. The
scores are those of five folds, or of leaving out one tumour at a time. LogisticRegressionCV tries
the same values on the same folds.
"""

import time

import numpy as np
from _figures import new_figure, save_and_show
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from xentlearn import SoftmaxClassifier, SoftmaxClassifierCV
from xentlearn.display import PathDisplay

data = load_breast_cancer(as_frame=True)
y = data.target_names[data.target]
X = StandardScaler().set_output(transform="pandas").fit_transform(data.data)

# %%
# All searches try the same values of C, and score by the log loss of tumours that a fit has not
# seen. The smaller C, the smaller are the coefficients.

CS = np.geomspace(1e-4, 100, 19)
folds = StratifiedKFold(5, shuffle=True, random_state=0)
searches = {
    "5 folds, best": SoftmaxClassifierCV(Cs=CS, cv=folds),
    "5 folds, one standard error": SoftmaxClassifierCV(
        Cs=CS, cv=folds, select="1se", store_paths=True
    ),
    "leave-one-out, best": SoftmaxClassifierCV(Cs=CS, cv="loo"),
    "LogisticRegressionCV": LogisticRegressionCV(
        Cs=CS,
        l1_ratios=(0,),
        cv=folds,
        scoring="neg_log_loss",
        max_iter=10_000,  # fits with a large C stop early at the default of 100
        use_legacy_attributes=False,
    ),
}
SoftmaxClassifierCV(Cs=3, cv=folds).fit(X, y)  # a first call takes longer

print(f"{'':29}{'C':>7}{'log loss':>10}{'largest coefficient':>21}{'time':>9}")
for name, search in searches.items():
    began = time.perf_counter()
    # scikit-learn is faster with one thread of BLAS here; SoftmaxClassifierCV has its own
    with threadpool_limits(1 if name == "LogisticRegressionCV" else None, user_api="blas"):
        search.fit(X, y)
    seconds = time.perf_counter() - began
    log_loss = -search.scores_[..., search.C_ == CS].mean()
    largest = np.abs(search.coef_).max()
    print(f"{name:29}{search.C_:7.3g}{log_loss:10.4f}{largest:21.2f}{seconds:7.2f} s")

# %%
# Here the means and deviations that standardise the features are those of all tumours, so that the
# folds are not quite apart. A pipeline, which standardises within each fold, shows that this makes
# no difference to these data: two numbers for each feature say next to nothing about the labels.

pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier())
grid = {"softmaxclassifier__C": CS}
strict = GridSearchCV(pipeline, grid, cv=folds, scoring="neg_log_loss").fit(data.data, y)
(C,) = strict.best_params_.values()
print(f"\nStandardised within each fold: C = {C:.3g}, log loss {-strict.best_score_:.4f}")

# %%
# From the chosen C to the best one, the score is flat in view of its error bars, while the
# coefficients grow. Further right, models learn what is particular to their training rows.

figure = new_figure(8, 6.8)
of_scores, of_coefficients = figure.subplots(2, 1, sharex=True)
chosen = searches["5 folds, one standard error"]
PathDisplay.from_estimator(searches["leave-one-out, best"], name="leave-one-out", ax=of_scores)
PathDisplay.from_estimator(chosen, name="5 folds", ax=of_scores)
of_scores.set(title="Scores: minus the log loss of tumours unseen by the fits", xlabel=None)
PathDisplay.from_estimator(chosen, kind="coefficients", max_features=5, ax=of_coefficients)
of_coefficients.set_title("Coefficients: the five largest ones at the chosen C have a colour")
of_coefficients.autoscale(axis="y")
of_coefficients.legend(loc="upper left", ncols=2)
save_and_show(figure, "choose_c.png")
