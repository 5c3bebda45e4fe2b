"""What ``dir()`` of a setting shows: what its users may use, and nothing else."""

import pytest
from sklearn.base import BaseEstimator

from xentlearn import losses
from xentlearn._losses.registry import SETTINGS
from xentlearn._solvers import settings

METHODS = {
    "loss",
    "gradient",
    "loss_gradient",
    "hessian_product",
    "hessian_diagonal",
    "predict_proba",
    "predict_log_proba",
}
# scikit-learn makes these for every class with such methods
ROUTING = {"set_predict_proba_request", "set_predict_log_proba_request"}
PARAMETERS = {
    "SparseCategoricalCrossentropy": {"label_smoothing", "ignore_class", "logit_adjustment"},
    "CategoricalCrossentropy": {"label_smoothing", "logit_adjustment"},
    "CategoricalFocalCrossentropy": {"gamma", "alpha", "label_smoothing", "logit_adjustment"},
    "GeneralizedCrossentropy": {"q", "logit_adjustment"},
    "SymmetricCrossentropy": {"alpha", "beta", "log_zero", "logit_adjustment"},
    "PolyCrossentropy": {"epsilon", "logit_adjustment"},
    "BinaryCrossentropy": {"label_smoothing", "pos_weight"},
    "BinaryFocalCrossentropy": {"gamma", "alpha", "label_smoothing"},
    "AsymmetricBinaryCrossentropy": {"gamma_neg", "gamma_pos", "clip"},
    "HybridLoss": {"losses", "weights"},
    "Adam": {"learning_rate", "batch_size", "shuffle", "average", "beta_1", "beta_2", "epsilon"},
    "SGD": {"learning_rate", "batch_size", "shuffle", "average"}
    | {"schedule", "power_t", "momentum", "nesterov"},
    "LBFGS": {"history_size"},
    "NewtonCG": {"max_cg_iter"},
    "NewtonCholesky": {"max_coefficients"},
}


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_")}


def made(kind):
    parts = [("a", losses.CategoricalCrossentropy()), ("b", losses.BinaryCrossentropy())]
    return kind(parts) if kind is losses.HybridLoss else kind()


def test_all_settings_are_listed():
    kinds = {kind.__name__ for kind in (*SETTINGS, *settings.SETTINGS.values())}
    assert kinds == PARAMETERS.keys()


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_of_losses(kind):
    expected = PARAMETERS[kind.__name__] | METHODS | ROUTING | {"name"} | public(BaseEstimator())
    assert public(made(kind)) == expected


@pytest.mark.parametrize("kind", settings.SETTINGS.values(), ids=lambda kind: kind.__name__)
def test_of_solvers(kind):
    assert public(kind()) == PARAMETERS[kind.__name__] | {"name"} | public(BaseEstimator())


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_a_setting_has_only_its_own_parameters(kind):
    setting = made(kind)
    for name in set.union(*PARAMETERS.values()) - PARAMETERS[kind.__name__]:
        assert not hasattr(setting, name)


@pytest.mark.parametrize("kind", SETTINGS, ids=lambda kind: kind.__name__)
def test_evaluation_keeps_to_these_names(kind):
    assert public(made(kind)._for_evaluation()) == public(made(kind))
