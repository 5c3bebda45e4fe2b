"""Checkpoints: the state of a fit in a file, from which an interrupted fit continues."""

import contextlib
import copy
import numbers
import os
import tempfile
import time
from math import inf
from pathlib import Path

import joblib

from .._utils import archive
from .._utils.messages import warn
from .._utils.parameters import Rule
from .classifier_callback import ClassifierCallback

ADVICE = "delete it to start anew, or use another path"
# Parameters that say how a fit is watched or where it runs, not what it computes
NOT_OF_THE_RESULT = {"verbose", "client", "random_state"}


class Checkpoint(ClassifierCallback):
    """Write the state of a long fit to a file, from which an interrupted fit continues.

    The path of a file is for one fit. With the path of a directory, each fit has a file of its own
    in it, so that an interrupted grid search continues as well: when it is started again, each fit
    goes on from what was last written. Fits that end within ``seconds`` write nothing, and are
    computed again.

    When a fit is started again with the same data and parameters, and with a checkpoint of the same
    path, it reads the file, continues from there, and ends with the same bits as if it had never
    been interrupted. ``max_iter`` and ``tol`` may differ from those of the first start; a
    ``random_state`` of None draws the same numbers again. At most the iterations of the last
    ``seconds`` are lost. The file stays after the fit: delete it before you fit something else, or
    the same once more with ``warm_start``. ``partial_fit`` writes no checkpoints; pickle the
    estimator instead.

    Parameters
    ----------
    path : str or path-like
        The file, whose directory must exist; or an existing directory, for any number of fits.
    seconds : float, default=60.0
        Least time between two writes, in seconds, >= 0; 0 writes after every iteration. For small
        problems, writing the file takes longer than an iteration.

    Attributes
    ----------
    path : Path
        The file or directory, with the user's home directory in place of ``~``.
    seconds : float
        As given.

    Raises
    ------
    ValueError
        If ``seconds`` is not a number >= 0. By ``fit``, if the file is damaged, was written by
        another version, or belongs to a fit of other data or parameters.
    OSError
        By ``fit``, if the directory does not exist (FileNotFoundError), or if the file cannot be
        read.

    Warns
    -----
    RuntimeWarning
        By ``fit``, once, if the file cannot be written, for example because the disk is full. The
        fit goes on, the file stays as it was, and the next write is tried when it is due.

    Notes
    -----
    The file holds arrays and JSON, with a checksum. Reading it runs no code that is in it, and any
    change of its content is noticed. It is written under a temporary name in the same directory and
    then renamed, so that a whole file is there at any moment. A process that is killed while it
    writes leaves the temporary file ("<name>.<random>.tmp") behind.

    The size of the file is that of what the solver keeps: most of it, for "lbfgs", 40 vectors of
    the size of the coefficients (400 if it converges slowly) and the preconditioner.

    In a directory, a file is named by a digest of X, y, weights and all parameters but ``verbose``
    (``random_state`` as the state of the generator when the fit begins, or as None), and ends in
    ".checkpoint". ``max_iter`` and ``tol`` are part of it, so that fits of a grid search over
    ``tol`` do not continue each other. ``X_val`` and ``y_val`` are not: with others, use another
    directory. Delete the directory when the search is done.

    Examples
    --------
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.callbacks import Checkpoint
    >>> clf = SoftmaxClassifier()
    >>> clf = clf.set_callbacks(Checkpoint("fit.checkpoint"))  # doctest: +SKIP

    A file for each fit of a grid search, which continues when it is started again:

    >>> from pathlib import Path
    >>> from sklearn.model_selection import GridSearchCV
    >>> Path("checkpoints").mkdir(exist_ok=True)  # doctest: +SKIP
    >>> clf = clf.set_callbacks(Checkpoint("checkpoints"))  # doctest: +SKIP
    >>> search = GridSearchCV(clf, {"C": [0.1, 1.0]})
    """

    def __init__(self, path, seconds=60.0):
        Rule("a number >= 0", numbers.Real, 0, ends=(0, inf)).check("seconds", seconds)
        super().__init__()  # of a fit: a copy of this callback, with the file of that fit
        self.path, self.seconds = Path(path).expanduser(), seconds
        # Of such a copy: what returns the state of the fit as a tree (set by ``FitCallbacks``).
        self._get_tree = None
        self._last_write, self._has_warned = None, False

    def __getstate__(self):
        return {**super().__getstate__(), "_get_tree": None}

    def setup(self, estimator, context):
        """Check the estimator and the directory before a fit; scikit-learn calls it.

        Parameters
        ----------
        estimator : SoftmaxClassifier
            The estimator that is being fitted.
        context : CallbackContext
            Not used.
        """
        super().setup(estimator, context)
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(
                f"The directory of the checkpoint {str(self.path)!r} does not exist; make it first."
            )

    def on_fit_task_end(self, estimator, context):
        """Write the file if it is time; scikit-learn calls it after each iteration.

        Parameters
        ----------
        estimator : SoftmaxClassifier
            The estimator that is being fitted.
        context : CallbackContext
            Of the task that ended: an iteration or the fit.
        """
        of_fit = self._of_fits.get(estimator)
        if context.task_name == "iteration" and of_fit is not None:
            of_fit._write_if_due()

    def _begin(self, estimator, digest):
        """Return a copy of this callback with the file of a fit; ``digest()`` identifies it."""
        of_fit = copy.copy(self)
        if self.path.is_dir():
            of_fit.path = self.path / f"{digest()}.checkpoint"
        of_fit._last_write, of_fit._has_warned = time.monotonic(), False
        self._of_fits[estimator] = of_fit
        return of_fit

    def _write_if_due(self):
        """Write the file, if the fit is at work and the last write is long enough ago."""
        if self._get_tree is None or time.monotonic() - self._last_write < self.seconds:
            return
        tree = self._get_tree()
        try:
            self.write(tree)
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True  # first: a filter may turn the warning into an error
                warn(
                    f"The checkpoint {str(self.path)!r} could not be written "
                    f"({error.strerror or error}). The fit goes on without it and tries again "
                    f"later, at least {self.seconds} s from now and without another warning; "
                    "an older checkpoint stays as it is. Free some space or correct the "
                    "permissions meanwhile.",
                    RuntimeWarning,
                )
        self._last_write = time.monotonic()

    def write(self, tree):
        """Replace the file by another one, at once or not at all.

        Parameters
        ----------
        tree : dict
            The state of a fit (``_utils/archive.py``).

        Raises
        ------
        OSError
            If the file cannot be written; then the old one is still there.
        """
        handle, temporary = tempfile.mkstemp(".tmp", f"{self.path.name}.", self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                archive.dump(tree, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:  # KeyboardInterrupt as well
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

    def read(self):
        """Read the state that the file holds.

        Returns
        -------
        dict or None
            The tree that was written; None if there is no file.

        Raises
        ------
        ValueError
            If the file is not a checkpoint, is damaged, or has another version.
        OSError
            If it exists and cannot be read.
        """
        try:
            with open(self.path, "rb") as file:
                return archive.load(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"The checkpoint cannot be read ({error.strerror}); use another path"
            raise OSError(error.errno, reason, str(self.path)) from error
        except archive.DamagedArchive as error:
            raise ValueError(
                f"'path' must be a checkpoint of a fit, and {str(self.path)!r} {error}; {ADVICE}."
            ) from error


def digest_of(estimator, data, y, random_state):
    """Return what identifies a fit among those of a directory, as a string for the name of a file.

    It does not depend on what ``random_state`` draws during the fit.

    Parameters
    ----------
    estimator : SoftmaxClassifier
    data : MemoryData or ShardedData
    y : EncodedY
        With the weights. X and y of all rows, before some are held out.
    random_state : RandomState instance
        In its state at the beginning of the fit.

    Returns
    -------
    str
    """
    parameters = estimator.get_params(deep=False)
    known = {name: parameters[name] for name in parameters.keys() - NOT_OF_THE_RESULT}
    drawn = None
    if parameters["random_state"] is not None:
        drawn = random_state.get_state(legacy=False)
    start = None
    if estimator.warm_start and hasattr(estimator, "coef_"):
        start = estimator._dense_model()
    return joblib.hash((known, drawn, start, data.checksum(), y.fingerprint()))
