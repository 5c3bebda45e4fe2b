"""Callbacks of fits, for ``set_callbacks`` of scikit-learn 1.9 and newer."""

import numbers
import os
import pickle
import tempfile
import time
from pathlib import Path

__all__ = ["Checkpoint"]

VERSION = 1  # of what is in the file


class Checkpoint:
    """Writes a long fit to a file, from which the same fit goes on after it was stopped.

    A fit that is started again with the same data and parameters, and a checkpoint of the same
    path, reads the file and ends with the same bits as if it had never been stopped. ``max_iter``
    may be larger; a ``random_state`` of None draws what it drew then. Whatever stops a fit, at most
    the iterations of the last ``seconds`` are lost. The file stays when the fit is done: remove it
    before fitting something else, or the same once more with ``warm_start``. ``partial_fit`` writes
    none: pickle the estimator.

    Parameters
    ----------
    path : str or path-like
        The file. Its folder exists. It is a pickle: read only files that you trust.
    seconds : float, default=60.0
        At least so much time between two writes, >= 0; 0 writes after every iteration. Of small
        problems an iteration takes less time than writing its file.

    Notes
    -----
    A file is written beside the old one and then takes its place: it is whole at every moment. It
    holds what the solver remembers, most of it 40 vectors of the size of the coefficients for
    "lbfgs" (400 once it is slow) and the preconditioner.

    One path is for one fit: a grid search with it is an error in its second fit.

    Examples
    --------
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.callbacks import Checkpoint
    >>> clf = SoftmaxClassifier()
    >>> clf = clf.set_callbacks(Checkpoint("fit.checkpoint"))  # doctest: +SKIP
    """

    def __init__(self, path, seconds=60.0):
        is_number = isinstance(seconds, numbers.Real) and not isinstance(seconds, bool)
        if not (is_number and seconds >= 0):
            raise ValueError(f"'seconds' must be a number >= 0, got {seconds!r}.")
        self.path, self.seconds = Path(path).expanduser(), seconds
        self.snapshot = self._written = None  # what to write, and when that was done last

    def setup(self, estimator, context):
        """Called by scikit-learn before a fit."""
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(
                f"The folder of the checkpoint {str(self.path)!r} does not exist; make it first."
            )
        if self.path.is_dir():
            raise IsADirectoryError(
                f"'path' must be a file, and {str(self.path)!r} is a folder; name a file in it."
            )
        self._written = time.monotonic()

    def teardown(self, estimator, context):
        """Called by scikit-learn after a fit, however it ends."""
        self.snapshot = None

    def on_fit_task_begin(self, estimator, context):
        """Called by scikit-learn before a fit and before each iteration."""

    def on_fit_task_end(self, estimator, context):
        """Called by scikit-learn after a fit and after each iteration: writes if it is time."""
        if context.task_name != "iteration" or self.snapshot is None:
            return
        if time.monotonic() - self._written >= self.seconds:
            self._write(self.snapshot())
            self._written = time.monotonic()

    def _write(self, data):
        handle, name = tempfile.mkstemp(dir=self.path.absolute().parent, prefix=self.path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                pickle.dump({"xentlearn": VERSION, "snapshot": data}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise

    def read(self):
        """What the file holds for a fit to go on from; None where there is no file.

        Raises
        ------
        ValueError
            If it is no checkpoint, or one of another version.
        """
        try:
            with open(self.path, "rb") as file:
                held = pickle.load(file)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise ValueError(
                f"{str(self.path)!r} must be a checkpoint of a fit, and cannot be read as one "
                f"({type(error).__name__}: {error}); use another path, or delete it to start anew."
            ) from error
        if not (isinstance(held, dict) and held.get("xentlearn") == VERSION):
            raise ValueError(
                f"{str(self.path)!r} must be a checkpoint of version {VERSION}; use another path, "
                "or delete it to start anew."
            )
        return held["snapshot"]
