"""scikit-learn's callbacks (1.9 and newer): a fit is a task, and each iteration a task within it.

Two names that begin with an underscore are scikit-learn's protocol for authors of estimators, and
have no public counterpart. Its documentation describes ``_init_callback_context``, which each
``fit`` with callbacks must call. ``_skl_callbacks`` is where ``set_callbacks`` of the mixin keeps
its arguments and where ``clone`` copies them from. It is read here for two purposes: without
callbacks, a fit must not pay for contexts; and a checkpoint has to be read before the first
iteration, and told what to write, for which the protocol has no hook.
"""

import contextlib
import copy
import numbers
import os
import tempfile
import time
from math import inf
from pathlib import Path

from .._plan.report import PlanReport
from .._utils import archive
from .._utils.messages import warn
from .._utils.parameters import Rule

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # older than 1.9

    class CallbackSupportMixin:
        """A mixin without methods: there are no callbacks to support."""

    def with_callbacks(method):
        """Return the method as it is."""
        return method


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
        Rule("a number >= 0", numbers.Real, 0, ends=(0, inf)).check("seconds", seconds)
        self.path, self.seconds = Path(path).expanduser(), seconds
        # what returns the state of a fit at work, as a tree; ``FitCallbacks`` sets it
        self._get_tree = None
        self._last_write, self._has_warned = None, False

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


class FitCallbacks:
    """What a solver calls at the start and after each iteration.

    A fit needs one only if ``verbose`` is set or the estimator has callbacks.

    Parameters
    ----------
    estimator : SoftmaxClassifier
    X : {ndarray, CSR} of shape (n_samples, n_features)
    y : array-like
        As passed to ``fit``.
    sample_weight : array-like or None
    verbose : bool
        Whether to print a line per iteration.
    random_state : RandomState instance
        In its state at the beginning of the fit.

    Attributes
    ----------
    random_state : RandomState instance
        The same one; or, if a checkpoint was read, a copy of it in the state in which the fit began
        that wrote the checkpoint.
    resume : tree or None
        The state to continue from.
    attributes_of : callable
        ``attributes_of(coef, intercept)``, the attributes of an estimator fitted to these; to be
        set before the fit begins.
    outline : callable or None
        ``outline(moments)``, what the plan of the fit is reported from, given the moments of the
        features; to be set as well if ``verbose`` is.

    Raises
    ------
    ValueError, OSError
        If there is a checkpoint that cannot be read.
    """

    def __init__(self, estimator, X, y, sample_weight, verbose, random_state):
        self.estimator, self.verbose, self.random_state = estimator, verbose, random_state
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data = {"X": X, "y": y, "metadata": metadata}
        self.context = self.iteration = self.resume = self._resumed_path = None
        self.attributes_of = self.outline = None
        callbacks = getattr(estimator, "_skl_callbacks", ())
        self.checkpoints = [c for c in callbacks if isinstance(c, Checkpoint)]
        if callbacks:
            # One more than `max_iter`: an iteration begins before it is known whether it will run.
            self.context = estimator._init_callback_context(max_subtasks=estimator.max_iter + 1)
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)
        for checkpoint in self.checkpoints:
            tree = checkpoint.read()
            if tree is None:
                continue
            self._resumed_path = checkpoint.path
            # a copy, as without a `random_state` it is NumPy's global one
            self.random_state = copy.deepcopy(random_state)
            with self.resuming():
                try:
                    self.random_state.set_state(tree["random_state"])
                    self.resume = tree["fit"]
                except (LookupError, TypeError, ValueError) as error:
                    reason = "its 'random_state' is missing or of another kind"
                    raise archive.AnotherFit(reason) from error
        self._first_random_state = self.random_state.get_state(legacy=False)

    @contextlib.contextmanager
    def resuming(self):
        """Context in which an ``AnotherFit`` becomes a ValueError with the name of the file."""
        try:
            yield
        except archive.AnotherFit as error:
            path = str(self._resumed_path)
            raise ValueError(
                f"The checkpoint {path!r} is of another fit: {error}; {ADVICE}."
            ) from error

    def __call__(self, result, fit):
        """Report an iteration.

        Parameters
        ----------
        result : Result
            After the iteration.
        fit : Fit
            At work: ``model()`` is what it has found so far, ``dump()`` what to continue from.

        Returns
        -------
        bool
            Whether a callback asks the fit to stop.
        """
        if self.verbose:
            if self.outline is not None:
                moments = fit.data.undo_moments(fit.objective.moments)
                seconds, n_outputs = fit.objective.pass_seconds, len(fit.group.outputs)
                report = PlanReport(self.outline(moments)).timed(seconds, n_outputs)
                print(report, flush=True)
                self.outline = None
            estimate = f"   estimated gap {result.gap:.1e}" if result.gap < inf else ""
            print(
                f"iteration {result.n_iter:4d}   objective {result.objective:.8f}{estimate}"
                f"   {result.seconds[-1]:.2f} s",
                flush=True,
            )
        if self.context is None:
            return False

        def fitted():
            return self.attributes_of(*fit.model())

        for checkpoint in self.checkpoints:
            checkpoint._get_tree = lambda: {
                "random_state": self._first_random_state,
                "fit": fit.dump(),
            }
        stop = self.iteration is not None and self._end(self.iteration, fitted)
        self.iteration = self.context.subcontext(task_name="iteration")
        self.iteration.call_on_fit_task_begin(
            estimator=self.estimator, reconstruction_attributes=fitted, **self.data
        )
        return stop

    def close(self):
        """End the iteration that did not run, and the fit; the estimator has its attributes."""
        if self.context is not None:
            for checkpoint in self.checkpoints:
                checkpoint._get_tree = None  # the fit is over: it is not to be continued
            if self.iteration is not None:
                self.iteration.call_on_fit_task_end(estimator=self.estimator)
            self._end(self.context, dict)

    def _end(self, context, attributes):
        return context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.data
        )
