"""Files from which a fit that was interrupted continues."""

import contextlib
import numbers
import os
import tempfile
import time
from pathlib import Path

from .._utils import archive
from .._utils.messages import warn

ADVICE = "delete it to start anew, or use another path"


class Checkpoint:
    """Write the state of a long fit to a file, from which an interrupted fit continues.

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
        The file. Its directory must exist.
    seconds : float, default=60.0
        Least time between two writes, in seconds, >= 0; 0 writes after every iteration. For small
        problems, writing the file takes longer than an iteration.

    Attributes
    ----------
    path : Path
        The file, with the user's home directory in place of ``~``.
    seconds : float
        As given.

    Raises
    ------
    ValueError
        If ``seconds`` is not a number >= 0. By ``fit``, if the file is damaged, was written by
        another version, or belongs to a fit of other data or parameters.
    OSError
        By ``fit``, if the directory does not exist (FileNotFoundError), if the path is a directory
        (IsADirectoryError), or if the file cannot be read.

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

    A path is for one fit. A grid search would use it for each of its fits, the second of which
    raises an error.

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
        self._get_tree, self._last_write, self._has_warned = None, None, False

    def watch(self, get_tree):
        """Tell what to write when it is time; ``FitCallbacks`` does that.

        Parameters
        ----------
        get_tree : callable or None
            Returns the state of the fit as a tree (``_utils/archive.py``); None if there is no
            state to write.
        """
        self._get_tree = get_tree

    def setup(self, estimator, context):
        """Prepare for a fit; scikit-learn calls it.

        Parameters
        ----------
        estimator : SoftmaxClassifier
            Not used.
        context : CallbackContext
            Not used.
        """
        if not self.path.absolute().parent.is_dir():
            raise FileNotFoundError(
                f"The directory of the checkpoint {str(self.path)!r} does not exist; make it first."
            )
        if self.path.is_dir():
            raise IsADirectoryError(
                f"'path' must be a file, and {str(self.path)!r} is a directory; name a file in it."
            )
        self._last_write, self._has_warned = time.monotonic(), False

    def teardown(self, estimator, context):
        """Forget the fit, however it ended; scikit-learn calls it. Parameters as in ``setup``."""
        self._get_tree = None

    def on_fit_task_begin(self, estimator, context):
        """Do nothing before a task; scikit-learn requires it. Parameters as in ``setup``."""

    def on_fit_task_end(self, estimator, context):
        """Write the file if it is time; scikit-learn calls it after each iteration.

        Parameters
        ----------
        estimator : SoftmaxClassifier
            Not used.
        context : CallbackContext
            Of the task that ended: an iteration or the fit.
        """
        if context.task_name != "iteration" or self._get_tree is None:
            return
        if time.monotonic() - self._last_write >= self.seconds:
            tree = self._get_tree()
            try:
                self.write(tree)
            except OSError as error:
                self._warn(error)
            self._last_write = time.monotonic()

    def _warn(self, error):
        if not self._has_warned:
            self._has_warned = True  # first: a filter may turn the warning into an error
            warn(
                f"The checkpoint {str(self.path)!r} could not be written "
                f"({error.strerror or error}). The fit goes on without it and tries again "
                f"later, at least {self.seconds} s from now and without another warning; an older "
                "checkpoint stays as it is. Free some space or correct the permissions meanwhile.",
                RuntimeWarning,
            )

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
