"""Softmax classifier on dask arrays and dataframes, trained where their partitions are."""

import copy
import inspect

import numpy as np
from sklearn.utils.validation import check_is_fitted

try:
    import dask
    import distributed
    from dask.dataframe.utils import meta_nonempty

    from ._data.distributed import as_blocks, read, require_2d, whole_rows
except ImportError as error:
    raise ImportError(
        f'xentlearn.dask needs Dask ({error}); install it with: pip install "xentlearn[dask]"'
    ) from error

from ._estimator import classifier as _classifier
from ._estimator.inputs import validated
from ._losses.base import mean_of
from ._utils.arguments import advice_table

__all__ = ["SoftmaxClassifier"]


_OF_A_CLUSTER = advice_table(
    (
        "n_jobs n_threads num_threads nthread n_workers num_workers",
        "Workers and their threads are those of the cluster, for example of 'client' = "
        "dask.distributed.Client(n_workers=2, threads_per_worker=4).",
    ),
)


def _with_client(init):
    """The signature of a constructor with one more keyword, ``client=None``."""
    signature = inspect.signature(init)
    client = inspect.Parameter("client", inspect.Parameter.KEYWORD_ONLY, default=None)
    return signature.replace(parameters=[*signature.parameters.values(), client])


class SoftmaxClassifier(_classifier.SoftmaxClassifier):
    """Linear classifier trained by cross-entropy on a Dask cluster.

    The estimator of ``xentlearn.SoftmaxClassifier`` for dask arrays and dataframes: it minimises
    the same objective, with s_i the sample weight times the class weight of row i and S their sum::

        (1/S) sum_i s_i loss(y_i, W x_i + b)
            + (1/(C S)) * ((1 - l1_ratio)/2 ||W||_2^2 + l1_ratio ||W||_1)

    by the same solvers. Partitions stay on the workers that have them; in each round coefficients
    are broadcast and sums over rows are reduced.

    All parameters of ``xentlearn.SoftmaxClassifier`` are parameters here, with the same defaults.
    Listed below are ``client`` and those that mean something else on a cluster.

    Parameters
    ----------
    solver : str or solver setting, default="auto"
        Not "adam" or "sgd", or a setting of one of them: in ``fit`` these need rows in memory
        (``partial_fit``, which takes data in memory, uses them). "newton-cholesky" sends the
        Hessian of each partition, of up to 288 MB, over the network; "auto" takes it for some
        hundred coefficients only.
    early_stopping : bool, default=False
        Whether ``fit`` stops when the loss of ``X_val`` stops falling. No rows are held out on a
        cluster, so ``X_val`` and ``y_val`` are needed, in memory.
    client : distributed.Client or None, default=None
        The cluster to train on; None takes the current client. It can be set at any time. Clones
        share it, copies and pickles have None.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; 0..L-1 for multi-label and soft y.
    coef_ : ndarray of shape (1, n_features) or (n_outputs, n_features)
        W: one row for two classes, otherwise one per class or label. float64 for float64 X,
        otherwise float32. ``sparsify`` makes it sparse, and ``densify`` an array again.
    intercept_ : ndarray of shape (1,) or (n_outputs,)
        b; softmax intercepts sum to 0. Infinite or 0 for constant labels and classes, as in the
        local estimator.
    n_iter_ : ndarray of shape (1,)
        Iterations of the solver.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X was a dataframe with names that are all strings.
    loss_ : loss setting
        The loss that was minimised.
    solver_ : str
        The solver that was used.
    stop_reason_ : str
        Why the solver stopped, in one word, as in the local estimator.
    objective_ : float
        The objective above, at the stored coefficients.
    optimality_gap_ : float
        A certified upper bound of (``objective_`` - minimum) / minimum; inf where none is known.
    history_ : dict
        Arrays "objective", "gap" (the solver's estimate) and "seconds", one entry per iteration,
        including the start; with ``X_val`` or early stopping also "validation_loss".
    plan_ : PlanReport
        What ``fit`` did and why, as in the local estimator.

    Raises
    ------
    ValueError
        In ``fit``: if there is no client, for parameters out of range, a y that does not fit the
        loss, partitions of X, y and weights that do not correspond, and bad values in them.
    TypeError
        In ``fit``: for data in memory instead of a dask array or dataframe.
    distributed.KilledWorker
        In ``fit``: if several workers died while they worked on the same partition.

    Warns
    -----
    ConvergenceWarning
        If the solver stopped before ``tol`` was reached.

    See Also
    --------
    xentlearn.SoftmaxClassifier : The same for data in memory; ``to_local`` gives one.

    Notes
    -----
    A fit survives the loss of workers: others read their partitions again and repeat their share of
    the round. The result has the same bits then, and for any number of workers; its last digits
    depend on how the rows are divided into partitions.

    Unlike small X in memory, X is neither centred nor, if it has more features than rows, rotated
    into the space of its rows: subtract the mean of a feature beforehand if it is 1e6 times the
    spread or more.

    Examples
    --------
    >>> import dask.array as da  # doctest: +SKIP
    >>> from dask.distributed import Client  # doctest: +SKIP
    >>> from xentlearn.dask import SoftmaxClassifier  # doctest: +SKIP
    >>> client = Client()  # doctest: +SKIP
    >>> X = da.random.random((1_000_000, 20), chunks=(100_000, 20))  # doctest: +SKIP
    >>> clf = SoftmaxClassifier().fit(X, X[:, 0] > X[:, 1])  # doctest: +SKIP
    >>> clf.predict_proba(X)  # doctest: +SKIP
    dask.array<predicted, shape=(1000000, 2), dtype=float64, chunksize=(100000, 2), ...>
    >>> clf.to_local()  # doctest: +SKIP
    SoftmaxClassifier()
    """

    _advice = {**_classifier.SoftmaxClassifier._advice, **_OF_A_CLUSTER}  # noqa: RUF012

    def __init__(self, loss="auto", *, client=None, **parameters):
        super().__init__(loss, **parameters)
        self.client = client

    # scikit-learn reads the parameters of an estimator from the signature of its constructor
    __init__.__signature__ = _with_client(_classifier.SoftmaxClassifier.__init__)

    def __sklearn_clone__(self):
        # scikit-learn copies parameters, and a client cannot be copied: a copy is without one
        cloned = _classifier.SoftmaxClassifier.__sklearn_clone__(copy.copy(self))
        cloned.client = self.client
        return cloned

    def __getstate__(self):
        return {**super().__getstate__(), "client": None}

    # ---- Fitting -------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        """Fit the model to all of the data.

        Parameters
        ----------
        X : dask array or dataframe of shape (n_samples, n_features)
            Training data; chunks are arrays or CSR matrices, of sizes known or not. It is computed
            once and stays on the workers during the fit.
        y : dask array, series or dataframe of shape (n_samples,) or (n_samples, n_outputs)
            As in the local estimator, in partitions that correspond to those of X. An array with
            other chunks is rechunked where sizes are known.
        sample_weight : dask array, series or dataframe like y, number or None, default=None
            Weights >= 0 of the rows; for multi-label y also of single labels.
        X_val : {array-like, sparse matrix} of shape (n_rows, n_features), default=None
            Rows in memory whose loss is recorded, and by which ``early_stopping`` stops.
        y_val : {array-like, sparse matrix} of shape (n_rows,) or (n_rows, n_outputs), default=None
            Their targets, like y.

        Returns
        -------
        self : SoftmaxClassifier
            The fitted estimator.
        """
        return super().fit(X, y, sample_weight, X_val, y_val)

    def _read(self, X, y, sample_weight, report=None):
        """(data, encoded y) to train from."""
        blocks = as_blocks(X, y, sample_weight)
        data, y, facts = read(
            self._client(), blocks, _validated, self.loss, self.class_weight, report
        )
        self._X_dtype, self.n_features_in_ = facts.dtype, facts.n_features
        vars(self).pop("feature_names_in_", None)
        if facts.names is not None:
            self.feature_names_in_ = facts.names
        return data, y

    def _client(self):
        if self.client is not None:
            return self.client
        try:
            return distributed.default_client()
        except ValueError:
            raise ValueError(
                "'client' must be a Dask client, or None for the current one, and there is none. "
                "Start one first: client = dask.distributed.Client() for a cluster on this "
                "machine, or Client(address of a scheduler)."
            ) from None

    def to_local(self):
        """The same estimator for data in memory, without a client.

        Returns
        -------
        xentlearn.SoftmaxClassifier
            With the same parameters, fitted if this one is.
        """
        local = _classifier.SoftmaxClassifier()
        state = self.__getstate__()
        local.__setstate__({name: state[name] for name in state if name != "client"})
        return local

    # ---- Predicting ----------------------------------------------------------------------------

    def decision_function(self, X):
        """Logits; for two classes their difference, positive where the second class is likelier.

        All are finite, as those of the local estimator.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dask array of shape (n_samples,) for two classes, else (n_samples, n_outputs)
            Lazy; an ndarray for samples in memory.
        """
        return self._lazily("decision_function", X)

    def predict(self, X):
        """Likeliest class of each row; for multi-label y the indicator.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dask array of shape (n_samples,), of the labels' dtype; multi-label (n_samples, n_labels)
            Lazy; an ndarray for samples in memory.
        """
        return self._lazily("predict", X)

    def predict_proba(self, X):
        """Probabilities of the classes; for multi-label y the probability that each label is 1.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dask array of shape (n_samples, n_classes), or (n_samples, n_labels)
            Lazy; an ndarray for samples in memory.
        """
        return self._lazily("predict_proba", X)

    def predict_log_proba(self, X):
        """Logarithms of ``predict_proba``, exact also where a probability underflows.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like} of shape (n_samples, n_features)
            Samples.

        Returns
        -------
        dask array of shape (n_samples, n_classes), or (n_samples, n_labels)
            Lazy; an ndarray for samples in memory.
        """
        return self._lazily("predict_log_proba", X)

    def _logits(self, X):
        return self._lazily("_logits", X)

    def _lazily(self, method, X):
        """The result of a method of the local estimator, chunk by chunk."""
        check_is_fitted(self)
        local = self.to_local()
        if not dask.is_dask_collection(X):
            return getattr(local, method)(X)
        require_2d(X)
        X = whole_rows(X)
        is_array = hasattr(X, "chunks")
        one_row = np.zeros((1, X.shape[1]), X.dtype) if is_array else meta_nonempty(X._meta)
        example = getattr(local, method)(one_row)[:0]
        # delayed: one object in the graph, whatever the number of chunks
        rest = {"local": dask.delayed(local), "method": method, "empty": example}
        if not is_array:
            return X.map_partitions(predicted, meta=example, **rest)
        return X.map_blocks(
            predicted,
            dtype=example.dtype,
            chunks=(X.chunks[0], *((size,) for size in example.shape[1:])),
            drop_axis=[1][example.ndim - 1 :],
            meta=example,
            **rest,
        )

    def score(self, X, y, sample_weight=None):
        """Accuracy: the share of rows that are predicted correctly, computed at once.

        Parameters
        ----------
        X : {dask array, dask dataframe, array-like} of shape (n_samples, n_features)
            Samples.
        y : of shape (n_samples,) or (n_samples, n_outputs), lazy if X is
            True labels, as in ``fit``.
        sample_weight : of shape (n_samples,), lazy if X is, default=None
            Weights of the rows.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        local = self.to_local()
        if not dask.is_dask_collection(X):
            return local.score(X, y, sample_weight)
        model, client = dask.delayed(local), self._client()
        parts = [dask.delayed(right)(model, *block) for block in as_blocks(X, y, sample_weight)]
        of_right, total, exponent = np.transpose(client.gather(client.compute(parts)))
        # weights of a partition are divided by a power of 2 of its own: now the same for all
        exponent = (exponent - exponent.max()).astype(int)
        return mean_of(np.ldexp(of_right, exponent), np.ldexp(total, exponent).sum())


def _validated(X):
    """(X as the local estimator keeps it, the dtype it had, its feature names or None)."""
    local = _classifier.SoftmaxClassifier()
    X = validated(local, X, reset=True)
    return X, local._X_dtype, getattr(local, "feature_names_in_", None)


def predicted(X, local, method, empty):
    """The result of a method of a local estimator for a chunk; ``empty`` if that has no rows."""
    return getattr(local, method)(X) if X.shape[0] else empty


def right(local, X, y, sample_weight):
    """(weight of the correct rows, weight of all that count, exponent) of a partition."""
    return local._weight_of_right(X, y, sample_weight) if X.shape[0] else (0.0, 0.0, 0)
