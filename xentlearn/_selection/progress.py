"""How far a search is: lines of ``verbose``, and scikit-learn's callbacks."""

import time

from .._estimator.checkpoint import Checkpoint
from .._estimator.progress import ProgressBar
from .._estimator.validation_monitor import ValidationMonitor


class Progress:
    """Tells of each fit of a search, which is a task within that of the search.

    Parameters
    ----------
    estimator : SoftmaxClassifierCV
    n_fits : int
        Fits that there will be, the last one included.
    data : dict
        X, y and the metadata of ``fit``, for callbacks.

    Raises
    ------
    TypeError
        If a callback watches the iterations of a single fit.
    """

    def __init__(self, estimator, n_fits, data):
        self.estimator, self.n_fits, self.data = estimator, n_fits, data
        self.began, self.n_done, self.context, self.bars = time.perf_counter(), 0, None, []
        callbacks = getattr(estimator, "_skl_callbacks", ())
        for callback in callbacks:
            if isinstance(callback, (Checkpoint, ValidationMonitor)):
                raise TypeError(
                    f"{type(callback).__name__} must be set on a SoftmaxClassifier, whose "
                    f"iterations it watches; got {type(estimator).__name__}. Set it on "
                    "SoftmaxClassifier(C=...) with the C that the search has chosen."
                )
        if callbacks:
            self.context = estimator._init_callback_context(max_subtasks=n_fits)
            self.bars = [c._begin(estimator) for c in callbacks if isinstance(c, ProgressBar)]
            self.context.call_on_fit_task_begin(estimator=estimator, **self.data)

    def after(self, text):
        """Tell that a fit has ended; ``text`` says which and with what result.

        Returns
        -------
        bool
            Whether a callback asks the search to stop.
        """
        self.n_done += 1
        of_all = f"fit {self.n_done} of {self.n_fits}"
        if self.estimator.verbose > 0:
            seconds = time.perf_counter() - self.began
            left = seconds * (self.n_fits - self.n_done) / self.n_done
            print(f"{of_all}: {text}   {seconds:.2f} s, about {left:.0f} s left", flush=True)
        for bar in self.bars:
            bar.show(of_all, self.n_done / self.n_fits)
        if self.context is None:
            return False
        fit = self.context.subcontext(task_name="fit")
        fit.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return bool(fit.call_on_fit_task_end(estimator=self.estimator, **self.data))

    def close(self):
        """Tell that the search has ended; the estimator has its attributes."""
        for bar in self.bars:
            bar.show(f"{self.n_done} fits", 1.0)
        if self.context is None:
            return
        fitted = dict if "coef_" in vars(self.estimator) else None
        self.context.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=fitted, **self.data
        )
