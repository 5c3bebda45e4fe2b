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

from .._utils.archive import AnotherFit
from .checkpoint import ADVICE, Checkpoint

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # older than 1.9

    class CallbackSupportMixin:
        """A mixin without methods: there are no callbacks to support."""

    def with_callbacks(method):
        """Return the method as it is."""
        return method


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
        self.attributes_of = None
        callbacks = getattr(estimator, "_skl_callbacks", ())
        self.checkpoints = [c for c in callbacks if isinstance(c, Checkpoint)]
        if callbacks:
            # One more than `max_iter`: an iteration begins before it is known whether it will run.
            self.context = estimator._init_callback_context(max_subtasks=estimator.max_iter + 1)
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)
        for checkpoint in self.checkpoints:
            tree = checkpoint.read()
            if tree is not None:
                self._continue_from(tree, checkpoint.path)
        self._first_random_state = self.random_state.get_state(legacy=False)

    def _continue_from(self, tree, path):
        self._resumed_path = path
        # a copy, as without a `random_state` it is NumPy's global one
        self.random_state = copy.deepcopy(self.random_state)
        with self.resuming():
            try:
                self.random_state.set_state(tree["random_state"])
                self.resume = tree["fit"]
            except (LookupError, TypeError, ValueError) as error:
                raise AnotherFit("its 'random_state' is missing or of another kind") from error

    @contextlib.contextmanager
    def resuming(self):
        """Context in which an ``AnotherFit`` becomes a ValueError with the name of the file."""
        try:
            yield
        except AnotherFit as error:
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
            estimate = f"   estimated gap {result.gap:.1e}" if result.gap < float("inf") else ""
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
            checkpoint.watch(lambda: {"random_state": self._first_random_state, "fit": fit.dump()})
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
                checkpoint.watch(None)  # the fit is over, so its state is not one to continue from
            if self.iteration is not None:
                self.iteration.call_on_fit_task_end(estimator=self.estimator)
            self._end(self.context, dict)

    def _end(self, context, attributes):
        return context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.data
        )
