"""Cross-entropy losses and a softmax classifier: exact, and fast on CPUs."""

import importlib

__version__ = "0.1.0.dev0"

_EXTENSIONS = (
    "_loss",
    "_losses._proba_loss",
    "_utils._csr",
    "_data._mapped",
    "_data._design_matrix",
    "_data._factors",
    "_objective._dual",
    "_objective._softmax_dual",
    "_solvers._steps",
    "_utils._sweeps",
    "_utils._blas",
    "_utils._openmp",
)


def _import_extensions():
    """Import every compiled module, or say which of them are missing and how to build them."""
    missing = {}
    for name in _EXTENSIONS:
        try:
            importlib.import_module(f"{__name__}.{name}")
        except ImportError as error:
            missing[name] = error
    if missing:
        raise ImportError(
            f"The compiled core of xentlearn could not be imported: {', '.join(missing)} "
            f"({next(iter(missing.values()))}). In a source checkout, build them with: "
            "pip install -e . (this needs a C compiler and the Python headers)."
        ) from next(iter(missing.values()))


_import_extensions()

from . import blocks, losses, solvers  # noqa: E402
from ._cpu_target import use_cpu_target  # noqa: E402
from ._estimator.classifier import SoftmaxClassifier  # noqa: E402
from ._estimator.l1_min_c import l1_min_C  # noqa: E402
from ._selection.classifier_cv import SoftmaxClassifierCV  # noqa: E402
from ._selection.regularization_path import regularization_path  # noqa: E402
from ._show_versions import show_versions  # noqa: E402

__all__ = [
    "SoftmaxClassifier",
    "SoftmaxClassifierCV",
    "blocks",
    "l1_min_C",
    "losses",
    "regularization_path",
    "show_versions",
    "solvers",
    "use_cpu_target",
]
