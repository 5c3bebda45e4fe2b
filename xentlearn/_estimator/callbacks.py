"""scikit-learn's callbacks (1.9 and newer): a fit is one task, each iteration a task within it."""

import pickle

from ..callbacks import Checkpoint

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # an older scikit-learn has none

    class CallbackSupportMixin:
        """Nothing to support."""

    def with_callbacks(method):
        """The method as it is."""
        return method


class FitCallbacks:
    """What a solver calls at the start and after each iteration.

    Parameters
    ----------
    estimator : SoftmaxClassifier
    X : {ndarray, CSR} of shape (n_samples, n_features)
    y : array-like
        As ``fit`` got it.
    sample_weight : array-like or None
    verbose : bool
        Whether to print a line per iteration.
    random_state : RandomState instance
        As the fit begins with it.

    Attributes
    ----------
    random_state : RandomState instance
        That, or what the fit began with that a checkpoint goes on with.
    resume : bytes or None
        What to go on from.
    """

    def __init__(self, estimator, X, y, sample_weight, verbose, random_state):
        self.estimator, self.verbose, self.random_state = estimator, verbose, random_state
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self.data = {"X": X, "y": y, "metadata": metadata}
        self.context = self.iteration = self.resume = None
        if getattr(estimator, "_skl_callbacks", None):
            # one more: each iteration begins before it is known whether there is another
            self.context = estimator._init_callback_context(max_subtasks=estimator.max_iter + 1)
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)
            self.checkpoints = [c for c in estimator._skl_callbacks if isinstance(c, Checkpoint)]
            for checkpoint in self.checkpoints:
                held = checkpoint.read()
                if held is not None:
                    begun_with, self.resume = pickle.loads(held)
                    self.random_state = pickle.loads(begun_with)
            self._begun_with = pickle.dumps(self.random_state)

    def __call__(self, result, fitted, snapshot):
        """Whether a callback wants the fit to stop.

        Parameters
        ----------
        result : Result
            So far.
        fitted, snapshot : callable
            The attributes of the estimator so far, and bytes to go on from.
        """
        if self.verbose:
            estimate = f"   estimated gap {result.gap:.1e}" if result.gap < float("inf") else ""
            print(
                f"iteration {result.n_iter:4d}   objective {result.objective:.8f}{estimate}"
                f"   {result.history['seconds'][-1]:.2f} s",
                flush=True,
            )
        if self.context is None:
            return False
        stop = False
        for checkpoint in self.checkpoints:
            checkpoint.snapshot = lambda: pickle.dumps((self._begun_with, snapshot()))
        if self.iteration is not None:
            stop = self._end(self.iteration, fitted)
        self.iteration = self.context.subcontext(task_name="iteration")
        self.iteration.call_on_fit_task_begin(
            estimator=self.estimator, reconstruction_attributes=fitted, **self.data
        )
        return stop

    def close(self):
        """End the iteration that never ran, and the fit; the estimator has been fitted."""
        if self.context is not None:
            for checkpoint in self.checkpoints:
                checkpoint.snapshot = None  # what has been judged since is no part of the fit
            if self.iteration is not None:
                self.iteration.call_on_fit_task_end(estimator=self.estimator)
            self._end(self.context, dict)

    def _end(self, context, attributes):
        return context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=attributes, **self.data
        )
