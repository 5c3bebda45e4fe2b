"""Which instruction set the kernels run: one choice for all of them."""

import os

from . import _loss
from ._data import _design_matrix
from ._objective import _dual, _softmax_dual
from ._solvers import _steps

_VARIABLE = "XENTLEARN_CPU_TARGET"


def use_cpu_target(name=None):
    """Choose the instruction set of the kernels, for tests and bug reports.

    Parameters
    ----------
    name : {"scalar", "baseline", "avx2", "avx512"} or None, default=None
        None takes the widest that this machine runs.

    Raises
    ------
    ValueError
        If this build or this machine does not have the target.
    """
    available = _loss.available_cpu_targets()
    name = available[-1] if name is None else name
    if name not in available:
        raise ValueError(
            f"The CPU target must be one of {available} on this machine, got {name!r}; "
            f"unset {_VARIABLE} to take the widest."
        )
    for kernels in (_loss, _design_matrix, _dual, _softmax_dual, _steps):
        kernels.use_cpu_target(name)


if os.environ.get(_VARIABLE):
    use_cpu_target(os.environ[_VARIABLE])
