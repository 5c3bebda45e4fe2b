"""scikit-learn's callbacks (1.9 and newer): a fit is a task, and each iteration a task within it.

Two names that begin with an underscore are scikit-learn's protocol for authors of estimators, and
have no public counterpart. Its documentation describes ``_init_callback_context``, which each
``fit`` with callbacks must call. ``_skl_callbacks`` is where ``set_callbacks`` of the mixin keeps
its arguments and where ``clone`` copies them from. It is read here because a fit without callbacks
must not pay for contexts, and because the protocol has no hook for three things: a checkpoint is
read before the first iteration and told what to write, a progress bar is told how far the fit is,
and a monitor of validation rows is given these rows.
"""

import contextlib
import copy
import functools
import time
from math import inf

from .._plan.report import PlanReport
from .._utils import archive
from .checkpoint import ADVICE, Checkpoint, digest_of
from .outcome import in_words
from .progress import ProgressBar, Share
from .validation_monitor import ValidationMonitor

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # older than 1.9

    class CallbackSupportMixin:
        """A mixin without methods: there are no callbacks to support."""

    def with_callbacks(method):
        """Return the method as it is."""
        return method


class FitCallbacks:
    """What a fit tells while it is at work: lines of ``verbose``, callbacks, progress bars.

    A fit needs one only if ``verbose`` is set or the estimator has callbacks. It is made when
    ``fit`` begins; ``begin`` is called when X and y have been read, the object itself at the start
    of a solver and after each iteration, and ``close`` at the end.

    Parameters
    ----------
    estimator : SoftmaxClassifier
    X : {ndarray, CSR} of shape (n_samples, n_features)
    y : array-like
        As passed to ``fit``.
    sample_weight : array-like or None
    validation : (X_val, y_val)
        As passed to ``fit``.
    is_stochastic : bool
        Whether iterations are epochs.
    epochs_asked : bool
        Whether ``max_iter`` is the number of epochs that was asked for, rather than a limit.

    Attributes
    ----------
    resume : tree or None
        The state to continue from.
    attributes_of : callable
        ``attributes_of(coef, intercept)``, the attributes of an estimator fitted to these; to be
        set before the solver begins.
    outline : callable or None
        ``outline(moments)`` returns the ``Outline`` of the fit for the moments of its features; to
        be set before the solver begins if ``verbose`` is set.
    """

    def __init__(self, estimator, X, y, sample_weight, validation, is_stochastic, epochs_asked):
        self.began = time.perf_counter()
        self.estimator, self.verbose = estimator, estimator.verbose > 0
        self.unit = "epoch" if is_stochastic else "iteration"
        self.n_epochs = estimator.max_iter if is_stochastic and epochs_asked else None
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data = {"X": X, "y": y, "metadata": metadata}
        self.context = self.iteration = self.resume = self._resumed_path = None
        self.attributes_of = self.outline = self.share = None
        self.checkpoints, self.bars = [], []
        callbacks = getattr(estimator, "_skl_callbacks", ())
        if callbacks:
            # How many iterations there will be is not known, as `max_iter` is far more than a
            # descent needs, and outputs may be fitted in groups. An iteration more than there are
            # epochs begins before it is known whether it will run.
            most = estimator.max_iter + 1 if is_stochastic else None
            self.context = estimator._init_callback_context(max_subtasks=most)
            for callback in callbacks:
                if isinstance(callback, ValidationMonitor):
                    callback._begin(estimator, *validation)
                elif isinstance(callback, ProgressBar):
                    self.bars.append(callback._begin(estimator))
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def read(self, n_done, n_all):
        """Tell that so many of the blocks or partitions of X have been read for the first time."""
        for bar in self.bars:
            bar.read(n_done, n_all)

    def begin(self, data, y, random_state):
        """Read the checkpoint of the fit if there is one, into ``resume``.

        Parameters
        ----------
        data : MemoryData or ShardedData
        y : EncodedY
            X and y of all rows, before some are held out.
        random_state : RandomState instance
            In its state at the beginning of the fit.

        Returns
        -------
        RandomState instance
            The same one; or, if a checkpoint was read, a copy of it in the state in which the fit
            began that wrote the checkpoint.

        Raises
        ------
        ValueError, OSError
            If there is a checkpoint that cannot be read.
        """
        for bar in self.bars:
            bar.show("preparing", None)
        digest = functools.cache(
            functools.partial(digest_of, self.estimator, data, y, random_state)
        )
        for callback in getattr(self.estimator, "_skl_callbacks", ()):
            if not isinstance(callback, Checkpoint):
                continue
            checkpoint = callback._begin(self.estimator, digest)
            self.checkpoints.append(checkpoint)
            tree = checkpoint.read()
            if tree is None:
                continue
            self._resumed_path = checkpoint.path
            # a copy, as without a `random_state` it is NumPy's global one
            random_state = copy.deepcopy(random_state)
            with self.resuming():
                try:
                    random_state.set_state(tree["random_state"])
                    self.resume = tree["fit"]
                except (LookupError, TypeError, ValueError) as error:
                    reason = "its 'random_state' is missing or of another kind"
                    raise archive.AnotherFit(reason) from error
        self._first_random_state = random_state.get_state(legacy=False)
        return random_state

    @contextlib.contextmanager
    def resuming(self):
        """Context in which an ``AnotherFit`` becomes a ValueError with the name of the file."""
        try:
            yield
        except archive.AnotherFit as error:
            path = str(self._resumed_path)
            raise ValueError(
                f"The checkpoint {path!r} is of another fit: {error}; {ADVICE}, such as that of a "
                "directory, in which each fit has a file of its own."
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
            self._print(result, fit)
        if self.bars:
            self._show(result, fit)
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

    def _print(self, result, fit):
        """Print the plan, if it was not yet printed, and a line about the iteration."""
        if self.outline is not None:
            moments = fit.data.undo_moments(fit.objective.moments)
            seconds, n_outputs = fit.objective.pass_seconds, len(fit.group.outputs)
            report = PlanReport(self.outline(moments)).timed(seconds, n_outputs)
            print(report, flush=True)
            self.outline = None
        parts = [f"{self.unit} {result.n_iter:4d}", f"objective {result.objective:.8f}"]
        if len(fit.plan.groups) > 1:
            parts.insert(0, f"group {len(fit.state.solved) + 1} of {len(fit.plan.groups)}")
        if result.gap < inf:
            parts.append(f"estimated gap {result.gap:.1e}")
        if fit.state.validation is not None:
            parts.append(f"validation loss {fit.state.validation.losses[-1]:.6f}")
        print("   ".join([*parts, f"{self._seconds():.2f} s"]), flush=True)

    def _show(self, result, fit):
        """Show an iteration in the progress bars."""
        if self.share is None:
            sizes = [len(group.outputs) for group in fit.plan.groups]
            self.share = Share(sizes, fit.problem.tol, self.n_epochs)
        n_groups, i = len(fit.plan.groups), len(fit.state.solved)
        done = self.share.after(i, result)
        group = f"group {i + 1} of {n_groups}, " if n_groups > 1 else ""
        of = "" if self.n_epochs is None else f" of {self.n_epochs}"
        text = f"{group}{fit.group.solver}, {self.unit} {result.n_iter}{of}"
        for bar in self.bars:
            bar.show(text, done)

    def close(self, training):
        """End the iteration that did not run, and the fit; the estimator has its attributes."""
        counted = f"{training.n_iter} {self.unit}{'' if training.n_iter == 1 else 's'}"
        if self.verbose:
            gap = f"certified gap {training.gap:.1e}" if training.gap < inf else "no certified gap"
            parts = [f"Stopped after {counted}: {in_words(training)}", gap]
            print("   ".join([*parts, f"{self._seconds():.2f} s in all"]), flush=True)
        for bar in self.bars:
            bar.show(f"{training.solver}, {counted}", 1.0)
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

    def _seconds(self):
        """Seconds since ``fit`` began."""
        return time.perf_counter() - self.began
