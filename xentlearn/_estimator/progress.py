"""A progress bar that knows how far a fit is: by its gap or its epochs, not by ``max_iter``."""

import importlib.util
import math
import time
from datetime import timedelta

import numpy as np

from .._utils.numerics import EPS
from .classifier_callback import ClassifierCallback

try:
    from rich import console, progress
except ImportError:
    progress = None


class ProgressBar(ClassifierCallback):
    """Show how far a fit is, and how long it will still take.

    For ``clf.set_callbacks(ProgressBar())`` of scikit-learn 1.9 and newer. How much of a fit is
    done is estimated

    - with "adam" and "sgd", by the epochs of ``max_iter``, if that was set; otherwise it is not
      known when the objective will have stopped falling, and the bar shows epochs alone;
    - with the other solvers, by the logarithm of the estimated optimality gap, on its way from
      where it started to ``tol``. scikit-learn's ``ProgressBar`` counts iterations, of which nobody
      knows how many there will be;
    - with many labels, which are fitted in groups, also by the groups that are done.

    The first pass over X in blocks or on a Dask cluster, which may take minutes, has a bar of its
    own: blocks or partitions that were read, of all. A bar never goes backwards. The time that is
    left is shown when a twentieth is done, and is estimated from the time so far: of epochs and
    blocks well, of a gap within a factor of two or three, since it does not fall at the same rate
    all the time. At the end the bar shows the time that ``fit`` has taken.

    Raises
    ------
    ImportError
        If ``rich``, which draws the bar, is not installed.

    Notes
    -----
    If the output is not a terminal, or in a notebook without ``ipywidgets``, the bar is printed
    once, as plain text at the end of the fit. In a search or a pipeline set it on the classifier,
    where it shows each fit in turn; scikit-learn's own bar, on the search, counts the fits.

    Examples
    --------
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.callbacks import ProgressBar
    >>> clf = SoftmaxClassifier()
    >>> clf = clf.set_callbacks(ProgressBar())  # doctest: +SKIP
    """

    def __init__(self):
        if progress is None:
            raise ImportError(
                "ProgressBar needs 'rich' to draw, which is not installed. Install it by "
                'pip install rich, or with xentlearn: pip install "xentlearn[progress]".'
            )
        super().__init__()  # of a fit: a ``_Drawing``

    def teardown(self, estimator, context):
        """End the bar, however the fit ended; scikit-learn calls it. Parameters as in ``setup``."""
        drawing = self._of_fits.get(estimator)
        super().teardown(estimator, context)
        if drawing is not None:
            drawing.stop()

    def _begin(self, estimator):
        """Return what draws the bars of a fit."""
        self._of_fits[estimator] = _Drawing()
        return self._of_fits[estimator]


class _Drawing:
    """The bars of one fit: one for the first reading of X in blocks, and one for the rest."""

    def __init__(self):
        screen = console.Console()
        if screen.is_jupyter and importlib.util.find_spec("ipywidgets") is None:
            # rich cannot draw here, and would warn at every change
            screen = console.Console(force_jupyter=False, force_terminal=False)
        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(30),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[time]}"),
            console=screen,
        )
        self._began = time.monotonic()
        self._reading = self._fitting = self._fitting_from = None
        self._progress.start()

    def read(self, n_done, n_all):
        """Show that ``n_done`` of ``n_all`` blocks have been read."""
        text, left = f"reading block {n_done} of {n_all}", _time(self._began, n_done / n_all)
        if self._reading is None:
            self._reading = self._progress.add_task(text, total=n_all, time="")
        self._progress.update(self._reading, description=text, completed=n_done, time=left)

    def show(self, text, share):
        """Show what the fit is at, and the share that is done, from 0 to 1; None: not known."""
        if self._fitting is None:
            self._fitting_from = time.monotonic()
            self._fitting = self._progress.add_task(text, total=None, time="")
        known = {}
        if share is not None:
            began = self._fitting_from if share < 1 else self._began
            known = {"total": 1.0, "completed": share, "time": _time(began, share)}
        self._progress.update(self._fitting, description=text, **known)

    def stop(self):
        """Leave the bars as they are."""
        self._progress.stop()


def _time(began, share):
    """Return the time that is left in words, if enough is done; at the end the time it has taken.

    Where the gap stands still for some iterations, the estimate from the time since the beginning
    grows, as it should. Of ten fits of dense and sparse data, it was off by a factor of 2.4 in the
    median one, mostly too long, as the last digits of the gap come fast; the speed of rich's own
    estimate, which leaves out the first step, by 3.
    """
    seconds = time.monotonic() - began
    if share < 0.05:
        return ""
    if share < 1:
        return f"about {timedelta(seconds=math.ceil(seconds * (1 - share) / share))} left"
    return str(timedelta(seconds=round(seconds)))


class Share:
    """Estimates how much of a fit is done.

    Parameters
    ----------
    sizes : list of int
        Number of outputs of each group.
    tol : float
        Gap at which a descent stops.
    n_epochs : int or None
        Number of epochs that was asked for; None if iterations are no epochs, or if nobody knows.
    """

    def __init__(self, sizes, tol, n_epochs):
        self.sizes, self.n_epochs = sizes, n_epochs
        # with tol=0, rounding ends the fit
        self.wanted = max(tol, EPS[np.dtype(np.float64)])
        self.most = None

    def after(self, i, result):
        """Return the share after an iteration of group ``i``, which never falls; None: not known.

        It stays below 1, because the end of the fit is not an iteration.
        """
        share = self._of_group(result)
        if len(self.sizes) > 1:
            done = sum(self.sizes[:i]) + self.sizes[i] * (share or 0.0)
            share = done / sum(self.sizes)
        if share is not None:
            self.most = min(max(share, self.most or 0.0), 0.99)
        return self.most

    def _of_group(self, result):
        if self.n_epochs is not None:
            return result.n_iter / self.n_epochs
        first = next((gap for gap in result.gaps if 0 < gap < math.inf), 0.0)
        if not (first > self.wanted and result.gap < math.inf):
            return None
        now = max(result.gap, self.wanted)
        return math.log(first / now) / math.log(first / self.wanted)
