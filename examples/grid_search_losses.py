"""Which loss setting reads handwritten digits best?

GridSearchCV over loss settings, their label smoothing and C on scikit-learn's 8 x 8 digits: plain
cross-entropy, label smoothing and one-vs-rest binary cross-entropy, by accuracy and by log loss.
"""

import numpy as np
from _figures import NEUTRAL, THEIRS, new_figure, parser_with_output, save_and_show
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split

from xentlearn import SoftmaxClassifier
from xentlearn.losses import BinaryCrossentropy, SparseCategoricalCrossentropy

CS = [0.001, 0.01, 0.1, 1.0, 10.0]
PARAM_GRID = [
    {"loss": ["sparse_categorical_crossentropy", BinaryCrossentropy()], "C": CS},
    {
        "loss": [SparseCategoricalCrossentropy()],
        "loss__label_smoothing": [0.02, 0.1, 0.2],
        "C": CS,
    },
]
COLOURS = {
    "softmax": "black",
    "softmax, label smoothing 0.02": "#1f5f99",
    "softmax, label smoothing 0.1": "#5f9fce",
    "softmax, label smoothing 0.2": "#a9cce6",
    "one-vs-rest": THEIRS,
}
SCORES = {"accuracy": "accuracy", "log loss": "neg_log_loss"}


def search(X, y):
    return GridSearchCV(
        SoftmaxClassifier(),
        PARAM_GRID,
        scoring=list(SCORES.values()),
        refit="neg_log_loss",
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
        n_jobs=-1,
    ).fit(X, y)


def title(params):
    """A setting in words."""
    if "loss__label_smoothing" in params:
        return f"softmax, label smoothing {params['loss__label_smoothing']:g}"
    return "one-vs-rest" if isinstance(params["loss"], BinaryCrossentropy) else "softmax"


def curves(results, score):
    """Per setting, (mean, standard error) over the folds for each C."""
    sign = -1 if score.startswith("neg_") else 1
    n_folds = sum(key.endswith(f"_test_{score}") and key.startswith("split") for key in results)
    mean = sign * results[f"mean_test_{score}"]
    error = results[f"std_test_{score}"] / np.sqrt(n_folds - 1)
    rows = {}
    for i, params in enumerate(results["params"]):
        rows.setdefault(title(params), {})[params["C"]] = (mean[i], error[i])
    return {name: np.array([row[C] for C in CS]).T for name, row in rows.items()}


def print_table(results):
    """Each setting at the C that gives it the smallest log loss."""
    accuracy, loss = (curves(results, score) for score in SCORES.values())
    print(f"{'setting':30}{'best C':>8}{'log loss':>20}{'accuracy':>20}")
    for name in sorted(loss, key=lambda name: loss[name][0].min()):
        best = loss[name][0].argmin()
        cells = [
            f"{mean[best]:.4f} ± {error[best]:.4f}" for mean, error in (loss[name], accuracy[name])
        ]
        print(f"{name:30}{CS[best]:>8g}" + "".join(f"{cell:>20}" for cell in cells))


def draw(results):
    """Both scores against C."""
    figure = new_figure(10, 4.3)
    axes = figure.subplots(1, 2)
    for ax, (what, score) in zip(axes, SCORES.items(), strict=True):
        for name, (mean, _) in curves(results, score).items():
            ax.plot(CS, mean, label=name, color=COLOURS[name], marker="o", markersize=4)
        ax.set(title=f"{what.capitalize()}, cross-validated", xlabel="C", xscale="log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
    # one for all: bars on every point would hide what they belong to
    error = np.mean([error for _, error in curves(results, "accuracy").values()])
    axes[0].errorbar(
        2 * CS[-1],
        axes[0].get_ylim()[1] - error,
        error,
        label="mean standard error",
        color=NEUTRAL,
        capsize=3,
        linestyle="none",
    )
    axes[0].legend(fontsize="small")
    return figure


def main(argv=None):
    arguments = parser_with_output(__doc__).parse_args(argv)
    X, y = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=500, stratify=y, random_state=0)
    found = search(X, y)
    print_table(found.cv_results_)
    print(
        f"\nChosen by log loss: {title(found.best_params_)}, C = {found.best_params_['C']:g}; on "
        f"{len(y_test)} digits kept aside its log loss is "
        f"{log_loss(y_test, found.predict_proba(X_test)):.4f}, its accuracy "
        f"{found.best_estimator_.score(X_test, y_test):.4f}."
    )
    save_and_show(draw(found.cv_results_), arguments.output / "grid_search_losses.png")


if __name__ == "__main__":
    main()
