"""Softmax classifier on dask arrays and dataframes, trained where their partitions are."""

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
from ._losses.base import mean_of

__all__ = ["SoftmaxClassifier"]


class SoftmaxClassifier(_classifier.SoftmaxClassifier):
    """Linear classifier trained by cross-entropy on a Dask cluster.

    The estimator of ``xentlearn.SoftmaxClassifier`` for dask arrays and dataframes: it minimises
    the same objective, with s_i the sample weight times the class weight of row i and S their sum,

        (1/S) sum_i s_i loss(y_i, W x_i + b)
            + (1/(C S)) * ((1 - l1_ratio)/2 ||W||_2^2 + l1_ratio ||W||_1)

    by the same solvers. Partitions stay on the workers that have them; in each round coefficients
    are broadcast and sums over rows are reduced.

    Parameters
    ----------
    loss : str or loss setting, default="auto"
        As in ``xentlearn.SoftmaxClassifier``, like all parameters but ``client``.
    C : float, default=1.0
        Inverse of the strength of the penalty, > 0; ``inf`` means no penalty.
    l1_ratio : float, default=0.0
        Share of the L1 penalty, in [0, 1]. Only 0 is implemented.
    fit_intercept : bool, default=True
        Whether to fit the intercept b.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes by label. "balanced" gives every class the same total weight.
    solver : {"auto", "lbfgs", "newton-cg", "newton-cholesky"}, default="auto"
        "newton-cholesky" sends the Hessian of each partition, of up to 288 MB, over the network;
        "auto" takes it for some hundred coefficients only.
    max_iter : int, default=3000
        Most iterations of the solver, >= 1.
    tol : float, default=1e-4
        Stop at this relative optimality gap, by the solver's estimate. >= 0.
    warm_start : bool, default=False
        Whether ``fit`` starts from the coefficients of the previous fit.
    batch_size : int or "auto", default="auto"
        Of ``partial_fit``, which takes data in memory; so are the next ten.
    shuffle : bool, default=True
        See ``batch_size``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        See ``batch_size``.
    learning_rate_init : float, default=0.01
        See ``batch_size``.
    power_t : float, default=0.5
        See ``batch_size``.
    momentum : float, default=0.9
        See ``batch_size``.
    nesterovs_momentum : bool, default=True
        See ``batch_size``.
    beta_1 : float, default=0.9
        See ``batch_size``.
    beta_2 : float, default=0.999
        See ``batch_size``.
    epsilon : float, default=1e-8
        See ``batch_size``.
    average : bool, default=True
        See ``batch_size``.
    early_stopping : bool, default=False
        Whether ``fit`` stops when the loss of ``X_val``, which is in memory, gets no better.
    validation_fraction : float, default=0.1
        Nothing is held out on a cluster.
    n_iter_no_change : int, default=10
        Of ``early_stopping``.
    random_state : int, RandomState instance or None, default=None
        Of the order of rows in ``partial_fit``.
    verbose : int, default=0
        If > 0, print a line per iteration.
    client : distributed.Client or None, default=None
        The cluster to train on; None takes the current client. It can be set at any time. Clones
        share it, copies and pickles have None.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels; 0..L-1 for multi-label and soft y.
    coef_ : ndarray of shape (1, n_features) or (n_outputs, n_features)
        W: one row for two classes, else one per class or label. float64 for float64 X, else
        float32.
    intercept_ : ndarray of shape (1,) or (n_outputs,)
        b; softmax intercepts sum to 0; infinite and 0 as in the local estimator for what is
        constant.
    n_iter_ : ndarray of shape (1,)
        Iterations of the solver.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, if X was a dataframe with names that are all strings.
    loss_ : loss setting
        The loss that was minimised.
    solver_ : str
        The solver that was used.
    objective_ : float
        The objective above, at the stored coefficients.
    optimality_gap_ : float
        A certified upper bound of (objective_ - minimum) / minimum; inf where none can be given.
    history_ : dict
        Arrays "objective", "gap" (the solver's estimate) and "seconds", one entry per iteration,
        the start included.

    Raises
    ------
    ValueError
        In ``fit``: no client, parameters out of range, a y that does not fit the loss, partitions
        of X, y and weights that do not correspond, bad values in them.
    TypeError
        In ``fit``: data in memory in place of a dask array or dataframe.
    distributed.KilledWorker
        In ``fit``: the same partition was too much for several workers, each of which died.

    Warns
    -----
    ConvergenceWarning
        If the solver stopped before ``tol`` was reached.

    See Also
    --------
    xentlearn.SoftmaxClassifier : The same for data in memory; ``to_local`` gives one.

    Notes
    -----
    A fit survives the death of workers: others read their partitions again and repeat what is lost
    of a round. The result has the same bits then, and for any number of workers; in its last digits
    it depends on how rows are divided into partitions.

    X is not centred, nor rotated if it has more features than rows, as small X in memory is: from a
    feature whose mean is 1e6 times its spread or more, subtract the mean beforehand.

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

    def __init__(
        self,
        loss="auto",
        *,
        C=1.0,
        l1_ratio=0.0,
        fit_intercept=True,
        class_weight=None,
        solver="auto",
        max_iter=3000,
        tol=1e-4,
        warm_start=False,
        batch_size="auto",
        shuffle=True,
        learning_rate="constant",
        learning_rate_init=0.01,
        power_t=0.5,
        momentum=0.9,
        nesterovs_momentum=True,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        average=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        random_state=None,
        verbose=0,
        client=None,
    ):
        super().__init__(
            loss,
            C=C,
            l1_ratio=l1_ratio,
            fit_intercept=fit_intercept,
            class_weight=class_weight,
            solver=solver,
            max_iter=max_iter,
            tol=tol,
            warm_start=warm_start,
            batch_size=batch_size,
            shuffle=shuffle,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            average=average,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            random_state=random_state,
            verbose=verbose,
        )
        self.client = client

    def __sklearn_clone__(self):
        # scikit-learn copies parameters, and a client cannot be copied
        client, self.client = self.client, None
        try:
            cloned = super().__sklearn_clone__()
        finally:
            self.client = client
        cloned.client = client
        return cloned

    def __getstate__(self):
        return {**super().__getstate__(), "client": None}

    # ---- Fitting -------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        """Fit the model.

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
            Rows in memory for ``early_stopping`` to judge by.
        y_val : {array-like, sparse matrix} of shape (n_rows,) or (n_rows, n_outputs), default=None
            Their targets, like y.

        Returns
        -------
        self : SoftmaxClassifier
            The fitted estimator.
        """
        return super().fit(X, y, sample_weight, X_val, y_val)

    def _read(self, X, y, sample_weight):
        """(data, encoded y) to train from."""
        blocks = as_blocks(X, y, sample_weight)
        data, y, facts = read(self._client(), blocks, _validated, self.loss, self.class_weight)
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
                "Start one before: client = dask.distributed.Client(), which makes a cluster of "
                "this machine, or Client(address of a scheduler)."
            ) from None

    def to_local(self):
        """The same estimator for data in memory, without a client.

        Returns
        -------
        xentlearn.SoftmaxClassifier
            With the same parameters, fitted if this one is.
        """
        local = _classifier.SoftmaxClassifier()
        vars(local).update(vars(self))
        del local.client
        return local

    # ---- Predicting ----------------------------------------------------------------------------

    def decision_function(self, X):
        """Logits; for two classes their difference, positive where the second class is likelier.

        They are finite, as those of the local estimator.

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
        """Probabilities of the classes; for multi-label y of each label being 1.

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
        """What a method of the local estimator gives, chunk by chunk."""
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
        """Accuracy: the share of rows that are predicted right, computed at once.

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
        exponent = (exponent - exponent.max()).astype(int)  # from now on that of all partitions
        return mean_of(np.ldexp(of_right, exponent), np.ldexp(total, exponent).sum())


def _validated(X):
    """(X as the local estimator keeps it, the dtype it had, its feature names or None)."""
    local = _classifier.SoftmaxClassifier()
    X = local._validate_X(X, reset=True)
    return X, local._X_dtype, getattr(local, "feature_names_in_", None)


def predicted(X, local, method, empty):
    """What a method of a local estimator gives for a chunk; ``empty`` where that has no rows."""
    return getattr(local, method)(X) if X.shape[0] else empty


def right(local, X, y, sample_weight):
    """(weight of the rows that are predicted right, of all that count, exponent) of a partition."""
    return local._weight_of_right(X, y, sample_weight) if X.shape[0] else (0.0, 0.0, 0)
