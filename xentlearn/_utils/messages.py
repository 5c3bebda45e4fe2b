"""How messages show labels, and which line a warning points at."""

import sys
import warnings

import numpy as np

MOST_LISTED = 10  # labels in a message: enough to see what kind they are
MOST_CHARACTERS = 60  # of a single one
# Packages that stand between the user's line and a warning: meta-estimators and callbacks call fit.
INTERNAL = {"xentlearn", "sklearn", "joblib"}


def shown(label):
    """A label as it would be typed: 3, not np.int64(3); a long one is cut off."""
    if isinstance(label, np.generic) and label.dtype.kind not in "mM":  # these become numbers
        label = label.item()
    text = str(label) if isinstance(label, np.generic) else repr(label)
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "..."


def listed(labels):
    """Labels for a message: ['a', 'b'], or the first few and how many there are in all."""
    texts = [shown(label) for label in labels[:MOST_LISTED]]
    more = f", ... ({len(labels)} in all)" if len(labels) > MOST_LISTED else ""
    return f"[{', '.join(texts)}{more}]"


def warn(message, category):
    """Warn at the innermost line that is outside this package, scikit-learn and joblib.

    Not by a constant ``stacklevel``: the number of frames in between depends on the caller, for
    example on scikit-learn's wrapper of ``fit``. ``skip_file_prefixes`` needs Python 3.12.
    """
    frame, level = sys._getframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] in INTERNAL:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=2 if frame is None else level)
