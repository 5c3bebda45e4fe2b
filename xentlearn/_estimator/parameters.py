"""What the parameters of a classifier may be."""

import numbers
from dataclasses import fields
from math import inf

from .._losses.base import LossSetting
from .._losses.registry import SETTINGS as LOSSES
from .._solvers.settings import SETTINGS as SOLVERS
from .._solvers.settings import SolverSetting
from .._utils.arguments import advice_table
from .._utils.parameters import FLAG, NON_NEGATIVE, POSITIVE_INTEGER, Rule, number_in

RULES = {
    "C": Rule("a number > 0 (inf: no penalty)", numbers.Real, 0, ends=(inf,)),
    "l1_ratio": number_in("[0, 1]"),
    "grouped": FLAG,
    "fit_intercept": FLAG,
    "max_iter": Rule("an integer >= 0", numbers.Integral, 0, ends=(0,)),
    "tol": NON_NEGATIVE,
    "warm_start": FLAG,
    "early_stopping": FLAG,
    "validation_fraction": number_in("(0, 1)"),
    "n_iter_no_change": POSITIVE_INTEGER,
}

# Parameters that may be settings: their class, and an example.
SETTINGS = {
    "loss": (LossSetting, "SparseCategoricalCrossentropy()"),
    "solver": (SolverSetting, "Adam()"),
}


def require_settings(estimator, params):
    """Raise the ValueError of ``loss__name`` or ``solver__name`` where there is no setting."""
    for parent, (kind, example) in SETTINGS.items():
        nested = [name for name in params if name.startswith(f"{parent}__")]
        value = params.get(parent, getattr(estimator, parent))
        if nested and not isinstance(value, kind):
            raise ValueError(
                f"{nested[0]!r} needs a {parent} setting, but {parent!r} is "
                f"{'the string ' if isinstance(value, str) else ''}{value!r}; pass a setting "
                f"object, for example {parent}={example}."
            )


# ---- Names that are no parameters ----------------------------------------------------------------


def _of_settings(kinds, parent):
    """Advice on the parameters of settings: which of them have it, and how it is passed."""
    owners = {}
    for kind in kinds:
        for declared in fields(kind):
            owners.setdefault(declared.name, []).append(kind.__name__)
    return {
        name: f"It is a parameter of {' and '.join(', '.join(having).rsplit(', ', 1))}, from "
        f"xentlearn.{'losses' if parent == 'loss' else 'solvers'}: pass for example "
        f"{parent}={having[0]}({name}=...)."
        for name, having in owners.items()
    }


# What users of scikit-learn, Keras, PyTorch and boosting libraries try.
ADVICE = {
    **_of_settings(LOSSES, "loss"),
    **_of_settings(SOLVERS.values(), "solver"),
    **advice_table(
        (
            "penalty",
            "'C' is the inverse of its strength, and 'l1_ratio' the share of L1: penalty='l2' is "
            "the default, penalty='l1' is l1_ratio=1, and penalty=None is C=inf.",
        ),
        (
            "alpha",
            "The strength of the penalty is set by C = 1 / (alpha * n), with n rows (or the sum "
            "of their weights), for a mean loss plus (alpha / 2) ||W||^2. The 'alpha' of a focal "
            "loss belongs to it: loss=CategoricalFocalCrossentropy(alpha=...).",
        ),
        (
            "weight_decay",
            "The strength of the penalty is set by C = 1 / (weight_decay * n), with n rows (or the "
            "sum of their weights). The intercept is not penalised, whereas PyTorch's optimizers "
            "decay biases, too.",
        ),
        (
            "kernel_regularizer regularizer",
            "The strength of the penalty is set by 'C': keras.regularizers.L2(l2) is "
            "C = 1 / (2 * l2 * n), with n rows.",
        ),
        (
            "l2 l2_reg l2_regularization reg_lambda lambda_l2 reg regularization lam",
            "The strength of the L2 penalty is set by 'C', its inverse, as in LogisticRegression.",
        ),
        (
            "l1 l1_reg reg_alpha lambda_l1",
            "The L1 penalty is set by l1_ratio=1 and C, the inverse of its strength.",
        ),
        (
            "n_jobs n_threads num_threads nthread n_workers num_workers",
            "All cores are used, with the same results for any number; fewer by the environment "
            "variable OMP_NUM_THREADS or by threadpoolctl.threadpool_limits(1).",
        ),
        (
            "dual",
            "There is nothing to choose: solver='auto' works on the dual problem where that was "
            "found faster.",
        ),
        (
            "multi_class",
            "One softmax over all classes is the default for three and more of them; one-vs-rest "
            "is loss='binary_crossentropy'.",
        ),
        (
            "intercept_scaling",
            "The intercept is not penalised, so there is nothing to scale; fit_intercept=False "
            "leaves it out.",
        ),
        ("bias use_bias fit_bias", "It is called 'fit_intercept' here."),
        (
            "optimizer optim",
            "It is called 'solver' here: 'auto', 'adam', 'sgd' and others, or a setting from "
            "xentlearn.solvers, such as Adam(learning_rate=0.01).",
        ),
        (
            "learning_rate lr eta0 learning_rate_init",
            "It belongs to Adam and SGD, from xentlearn.solvers: pass for example "
            "solver=Adam(learning_rate=0.01); a schedule is SGD(schedule='invscaling').",
        ),
        ("nesterovs_momentum", "It is called 'nesterov' here: pass solver=SGD(nesterov=True)."),
        (
            "epsilon",
            "It belongs to Adam, solver=Adam(epsilon=...), and to PolyCrossentropy, "
            "loss=PolyCrossentropy(epsilon=...).",
        ),
        (
            "epochs n_epochs num_epochs nb_epoch max_epochs n_iter n_estimators iterations",
            "'max_iter' counts epochs of solver='adam' and 'sgd', and iterations of the others, "
            "which end at 'tol'.",
        ),
        ("patience", "It is called 'n_iter_no_change' here, with early_stopping=True."),
        ("min_delta", "It is called 'tol' here, a share of the objective."),
        (
            "validation_split",
            "It is called 'validation_fraction' here, with early_stopping=True.",
        ),
        (
            "validation_data eval_set X_val y_val",
            "Rows to validate on are arguments of fit: clf.fit(X, y, X_val=..., y_val=...).",
        ),
        ("sample_weight", "Weights of rows are an argument of fit."),
        ("weight weights", "Weights of classes are 'class_weight', a dict or 'balanced'."),
        (
            "ignore_index",
            "It is called 'ignore_class' here, a label of y: "
            "loss=SparseCategoricalCrossentropy(ignore_class=...).",
        ),
        (
            "from_logits",
            "fit takes features and computes the logits itself; for given logits there are the "
            "functions of xentlearn.losses.",
        ),
        (
            "reduction",
            "The objective is always the weighted mean of the losses of the rows, plus the "
            "penalty.",
        ),
        (
            "callbacks",
            "Callbacks are set by clf.set_callbacks(...), with scikit-learn 1.9 or newer.",
        ),
        (
            "classes n_classes num_classes n_labels num_labels in_features out_features input_dim "
            "n_features",
            "fit finds the numbers of classes and of features in y and X.",
        ),
        ("seed random_seed", "It is called 'random_state' here."),
        (
            "Cs cv scoring",
            "SoftmaxClassifierCV(Cs=[0.1, 1, 10], cv=5) chooses C by cross-validation.",
        ),
        (
            "activation units hidden_layer_sizes",
            "It is a linear classifier; its probabilities are those of the loss, a softmax or a "
            "sigmoid.",
        ),
        ("normalize standardize", "Features need no scaling here."),
        ("device", "It runs on the CPU."),
    ),
}
