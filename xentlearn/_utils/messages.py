"""How messages show labels, and which line of the user's code a warning names."""

import sys
import warnings

import numpy as np

# Packages whose frames may lie between the user's line and a warning: meta-estimators and callbacks
# call ``fit``.
INTERNAL = {"xentlearn", "sklearn", "joblib"}


def shown(label):
    """A label as it would be typed: 3, not np.int64(3); cut off after 60 characters."""
    if isinstance(label, np.generic) and label.dtype.kind not in "mM":  # dates become integers
        label = label.item()
    text = str(label) if isinstance(label, np.generic) else repr(label)
    return text if len(text) <= 60 else text[:60] + "..."


def listed(labels):
    """Labels for a message: ['a', 'b'], or the first ten and how many there are in all."""
    texts = [shown(label) for label in labels[:10]]
    more = f", ... ({len(labels)} in all)" if len(labels) > 10 else ""
    return f"[{', '.join(texts)}{more}]"


def warn(message, category):
    """Warn at the innermost line that is outside this package, scikit-learn and joblib.

    A constant ``stacklevel`` would not do, because the number of frames in between depends on the
    caller, for example on scikit-learn's wrapper of ``fit``. ``skip_file_prefixes`` needs Python
    3.12.
    """
    frame, level = sys._getframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in INTERNAL:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=2 if frame is None else level)
