"""
Which loss reads handwritten digits best?
=========================================

GridSearchCV chooses among losses, their label smoothing and C, on scikit-learn's digits of 8 x 8
pixels: softmax with cross-entropy, the same with label smoothing, and one binary cross-entropy per
class (one-vs-rest).
"""

import pandas as pd
from _figures import NEUTRAL, THEIRS, label_lines, new_figure, save_and_show
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split

from xentlearn import SoftmaxClassifier
from xentlearn.losses import BinaryCrossentropy, SparseCategoricalCrossentropy

# %%
# A loss object brings its parameters to the search: ``loss__label_smoothing`` here. The setting
# with the least log loss in five-fold cross-validation is fitted to all training digits.

CS = [0.001, 0.01, 0.1, 1.0, 10.0]
PARAM_GRID = [
    {
        "loss": [SparseCategoricalCrossentropy()],
        "loss__label_smoothing": [0.0, 0.02, 0.1, 0.2],
        "C": CS,
    },
    {"loss": [BinaryCrossentropy()], "C": CS},
]

X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, test_size=500, stratify=y, random_state=0)
search = GridSearchCV(
    SoftmaxClassifier(),
    PARAM_GRID,
    scoring=["accuracy", "neg_log_loss"],
    refit="neg_log_loss",
    cv=StratifiedKFold(5, shuffle=True, random_state=0),
    n_jobs=-1,
).fit(X, y)

# %%
# The table has each loss at the C with the least log loss; "±" are standard errors over the folds.


def name(params):
    """What the figure calls a setting."""
    if isinstance(params["loss"], BinaryCrossentropy):
        return "one-vs-rest"
    smoothing = params["loss__label_smoothing"]
    return f"smoothing {smoothing:g}" if smoothing else "softmax"


results = pd.DataFrame(search.cv_results_)
results["name"] = [name(params) for params in results["params"]]
results["log_loss"] = -results["mean_test_neg_log_loss"]
best = results.loc[results.groupby("name")["log_loss"].idxmin()].sort_values("log_loss")
print(f"{'':16}{'C':>6}{'log loss':>20}{'accuracy':>20}")
for _, row in best.iterrows():
    print(
        f"{row['name']:16}{row['param_C']:>6g}"
        f"{row['log_loss']:>10.4f} ± {row['std_test_neg_log_loss'] / 2:.4f}"
        f"{row['mean_test_accuracy']:>10.4f} ± {row['std_test_accuracy'] / 2:.4f}"
    )
print(
    f"\nChosen: {name(search.best_params_)}, C = {search.best_params_['C']:g}. On {len(y_test)} "
    f"digits kept aside its log loss is {log_loss(y_test, search.predict_proba(X_test)):.4f}, its "
    f"accuracy {search.best_estimator_.score(X_test, y_test):.4f}."
)

# %%
# Softmax without smoothing is drawn as a broad grey line, so that what coincides with it is seen.

STYLES = {
    "softmax": {"color": NEUTRAL, "linewidth": 5, "alpha": 0.5},
    "smoothing 0.02": {"color": "#123f6d"},
    "smoothing 0.1": {"color": "#3a7cb8"},
    "smoothing 0.2": {"color": "#7fb2dd"},
    "one-vs-rest": {"color": THEIRS},
}

figure = new_figure(8, 3.8)
axes = figure.subplots(1, 2)
for ax, title, column in zip(
    axes, ("Accuracy", "Log loss"), ("mean_test_accuracy", "log_loss"), strict=True
):
    curves = results.pivot(index="param_C", columns="name", values=column)
    for setting, style in STYLES.items():
        ax.plot(CS, curves[setting], "o-", markersize=4, label=setting, **style)
    ax.set(title=f"{title}, cross-validated", xlabel="C", ylabel=title.lower(), xscale="log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
label_lines(axes[1])
# one for all points of the left panel, which would be hidden behind 25 of them
error = results["std_test_accuracy"].mean() / 2
axes[0].errorbar(10, axes[0].get_ylim()[1], error, color="black", capsize=3)
axes[0].annotate(
    "standard error\nof a point, on average",
    (10, axes[0].get_ylim()[1] - error),
    (-8, 0),
    textcoords="offset points",
    ha="right",
)
save_and_show(figure, "grid_search_losses.png")
