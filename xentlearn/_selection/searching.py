"""The course of a search: all fits of its folds, the choice, and the fit to all rows."""

import itertools
import os
import warnings

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed

from .._estimator.classifier import DEFAULTS
from .._estimator.outcome import warn_of_outcome
from .._estimator.path import Path
from .._estimator.start import finite_intercept
from .._utils.messages import warn
from .choice import choose
from .found import paths_of, scores_of
from .outcome import warn_of_edge, warn_of_shortfalls
from .parameters import chosen_score, require_choice


class SearchingMixin:
    """Mixin that runs a ``Search`` and sets the attributes that it leads to."""

    def _search(self, search, progress, found):
        """Add all ``FoldFit`` objects of a search to ``found``, which stay if it is interrupted."""
        n_folds = len(search.folds)
        try:
            if effective_n_jobs(self.n_jobs) == 1 or n_folds == 1:
                by_fold = map(search.fits, range(n_folds))
            else:
                by_fold = _side_by_side(search, self.n_jobs)
            for fit in itertools.chain.from_iterable(by_fold):
                require_choice(chosen_score(fit.score, self.refit), self.store_probabilities)
                found.append(fit)
                if progress.after(self._in_words(fit)):
                    break
        finally:
            shape = n_folds, *search.shape
            self.scores_ = scores_of(found, shape)
            self.standard_errors_ = search.errors(self.scores_)
            if self.store_paths and found:
                self.coefs_paths_ = paths_of(found, shape, self.fit_intercept)

    def _in_words(self, fit):
        """Return which fit it is and its score, for a line of ``verbose``."""
        loss, l1, i = fit.at
        parts = [f"fold {fit.fold + 1}"]
        if len(self.losses_) > 1:
            parts.append(f"loss {loss + 1}")
        if len(self.l1_ratios_) > 1:
            parts.append(f"l1_ratio={self.l1_ratios_[l1]:g}")
        score = fit.score
        scores = score.items() if isinstance(score, dict) else [("score", score)]
        parts += [f"C={self.Cs_[i]:.3g}", *(f"{name} {value:.4f}" for name, value in scores)]
        return ", ".join(parts)

    def _choose(self, search, found, progress):
        """Set the attributes of the chosen setting, and fit it to all rows if that is asked for."""
        warn_of_shortfalls(found, self.Cs_, self.tol)
        scores = chosen_score(self.scores_, self.refit)
        if scores is None:
            return
        if len(found) < scores.size:  # a callback has ended the search
            n_folds = np.zeros(search.shape, dtype=int)
            np.add.at(n_folds, tuple(zip(*(fit.at for fit in found), strict=True)), 1)
            scores = np.where(n_folds == n_folds.max(), scores, np.nan)[: n_folds.max()]
        while True:
            means, errors = scores.mean(axis=0), search.errors(scores)
            at = choose(means, errors, self.Cs_, self.select)
            confirmed = search.confirmed(at)
            if confirmed is None:
                break
            scores[(confirmed.fold, *at)] = confirmed.score
            self.scores_[(confirmed.fold, *at)] = confirmed.score
            self.standard_errors_ = search.errors(scores)
        self.C_, self.l1_ratio_ = float(self.Cs_[at[2]]), float(self.l1_ratios_[at[1]])
        self.loss_ = search.encoded[at[0]].loss
        warn_of_edge(means[at[:2]], self.Cs_)
        chosen = [fit for fit in found if fit.at == at]
        if self.store_probabilities:
            self.out_of_fold_proba_ = search.probabilities(chosen)
        if self.refit:
            self._refit(search, at, chosen)
            progress.after(f"all rows, C={self.C_:.3g}")

    def _refit(self, search, at, chosen):
        """Fit the chosen setting to all rows, from the mean of what its folds have found."""
        path = Path(search.classifier(*at), *search.rows.taken(search.encoded[at[0]]))
        start = None
        if all(fit.coef is not None for fit in chosen):
            coefs = [fit.coef for fit in chosen]
            intercepts = [finite_intercept(fit.intercept) for fit in chosen]
            start = np.mean(coefs, axis=0, dtype=np.float64), np.mean(intercepts, axis=0)
        training = path.fit(self.C_, start)
        vars(self).update(path.attributes(training))
        warn_of_outcome(training, self.tol, self.max_iter not in (0, DEFAULTS["max_iter"]))


def _side_by_side(search, n_jobs):
    """Yield the list of fits of each fold, and repeat the warnings of its process in this one."""
    process = os.getpid()
    try:
        parallel = Parallel(n_jobs=n_jobs, return_as="generator")
    except ValueError:  # of a backend that has no generators, such as "multiprocessing"
        parallel = Parallel(n_jobs=n_jobs)
    calls = (delayed(_listed)(search, fold, process) for fold in range(len(search.folds)))
    for fits, caught in parallel(calls):
        for message, category in caught:
            warn(message, category)
        yield fits


def _listed(search, fold, process):
    """Return the fits of a fold, and its warnings if this is another process than the caller's.

    Threads share the filters of warnings, which must not be changed there; a warning in a thread
    reaches the user by itself.
    """
    if os.getpid() == process:
        return list(search.fits(fold)), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fits = list(search.fits(fold))
    return fits, [(str(warning.message), warning.category) for warning in caught]
