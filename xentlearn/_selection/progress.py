"""How far a search is: lines of ``verbose``, and scikit-learn's callbacks."""

import time


class Progress:
    """Tells of each fit of a search.

    Parameters
    ----------
    estimator : SoftmaxClassifierCV
    n_fits : int
        Fits that there will be, the last one included.
    data : dict
        X, y and the metadata of ``fit``, for callbacks.
    """

    def __init__(self, estimator, n_fits, data):
        self.estimator, self.n_fits, self.data = estimator, n_fits, data
        self.began, self.n_done, self.context = time.perf_counter(), 0, None
        if getattr(estimator, "_skl_callbacks", None):
            self.context = estimator._init_callback_context(max_subtasks=n_fits)
            self.context.call_on_fit_task_begin(estimator=estimator, **data)

    def after(self, text):
        """Tell that a fit has ended; ``text`` says which and with what result.

        Returns
        -------
        bool
            Whether a callback asks the search to stop.
        """
        self.n_done += 1
        if self.estimator.verbose > 0:
            seconds = time.perf_counter() - self.began
            left = seconds * (self.n_fits - self.n_done) / self.n_done
            print(
                f"fit {self.n_done} of {self.n_fits}: {text}   {seconds:.2f} s, about {left:.0f} s "
                "left",
                flush=True,
            )
        if self.context is None:
            return False
        fit = self.context.subcontext(task_name="fit", task_id=self.n_done)
        fit.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return bool(fit.call_on_fit_task_end(estimator=self.estimator, **self.data))

    def close(self):
        """Tell that the search has ended."""
        if self.context is not None:
            self.context.call_on_fit_task_end(estimator=self.estimator, **self.data)
