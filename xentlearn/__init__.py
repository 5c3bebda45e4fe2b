"""Cross-entropy losses and a softmax classifier: exact, and fast on CPUs."""

__version__ = "0.1.0.dev0"

try:
    from . import _csr, _linear, _loss, _mapped, _openmp, _proba_loss  # noqa: F401
except ImportError as error:
    raise ImportError(
        "The compiled core of xentlearn could not be imported "
        f"({error}). In a source checkout, build it with: pip install -e . "
        "(this needs a C compiler and the Python headers)."
    ) from error

from . import blocks, losses
from ._classifier import SoftmaxClassifier
from ._threads import show_versions, use_cpu_target

__all__ = ["SoftmaxClassifier", "blocks", "losses", "show_versions", "use_cpu_target"]
