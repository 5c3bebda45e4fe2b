"""Settings of the solvers: their parameters as objects, for ``SoftmaxClassifier(solver=...)``."""

import numbers
from dataclasses import dataclass, replace

from .._utils.arguments import advice_table
from .._utils.parameters import FLAG, POSITIVE_INTEGER, Rule, Setting, number_in, parameter

# Makes an __init__ that stores the parameters; equality and representation are those of Setting.
with_parameters = dataclass(kw_only=True, eq=False, repr=False)

# Names that users of scikit-learn, Keras and PyTorch try.
ADVICE = advice_table(
    (
        "lr eta0 learning_rate_init",
        "It is called 'learning_rate' here, a parameter of Adam and SGD.",
    ),
    ("betas", "They are 'beta_1' and 'beta_2' of Adam here."),
    ("eps", "It is called 'epsilon' here, a parameter of Adam."),
    ("nesterovs_momentum", "It is called 'nesterov' here, a parameter of SGD."),
    (
        "weight_decay alpha",
        "The penalty belongs to the classifier: SoftmaxClassifier(C=1 / (alpha * n)) for n rows "
        "and a mean loss plus (alpha / 2) ||W||^2.",
    ),
    (
        "max_iter epochs n_epochs",
        "It belongs to the classifier: SoftmaxClassifier(max_iter=...), which counts epochs of "
        "Adam and SGD.",
    ),
    ("tol", "It belongs to the classifier: SoftmaxClassifier(tol=...)."),
    ("memory memory_size m", "The memory of L-BFGS is its 'history_size' here."),
)


class SolverSetting(Setting):
    """A solver by its ``name``, and its parameters, which subclasses declare."""

    name = None  # by which ``SoftmaxClassifier(solver=...)`` knows it
    _advice = ADVICE

    def _applied(self, defaults):
        """What a solver runs with: its defaults (``_plan/settings.py``) with these parameters."""
        given = {name: value for name, value in self.get_params().items() if value is not None}
        return replace(defaults, **given)


_BATCH_SIZE = Rule("an integer >= 1 or 'auto'", numbers.Integral, 0, names=("auto",))
_OPTIONAL_INTEGER = Rule("None or an integer >= 1", numbers.Integral, 0, names=(None,))
_DECAY = number_in("[0, 1)")
# In the first steps epsilon is multiplied by the root of 1 - beta_2 ** t, at least 1e-8; a product
# that float32 rounds to 0 would be a divisor of 0.
_EPSILON = number_in("[1e-30, 1e30]", "as float32 holds its products")
_SCHEDULES = ("constant", "invscaling", "adaptive")


@with_parameters
class StochasticSetting(SolverSetting):
    """What Adam and SGD share: steps, batches, their order, and the average of the points."""

    learning_rate: float = parameter(0.01, Rule("a finite number > 0", numbers.Real, 0))
    batch_size: int | str = parameter("auto", _BATCH_SIZE)
    shuffle: bool = parameter(True, FLAG)
    average: bool = parameter(True, FLAG)

    def _rows_per_batch(self, n_rows):
        """Rows in a batch: ``batch_size``, or all rows if they are fewer.

        Parameters
        ----------
        n_rows : int
            Rows in all.

        Returns
        -------
        int
        """
        # 200 as in scikit-learn's MLPClassifier
        return min(200 if self.batch_size == "auto" else self.batch_size, n_rows)


@with_parameters
class Adam(StochasticSetting):
    """Adam: steps on batches of rows, scaled by running means of gradients and of their squares.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Size of a step, > 0, in units in which features have mean 0 and spread 1.
    batch_size : int or "auto", default="auto"
        Rows per step, >= 1; "auto" takes 200, or all rows if there are fewer.
    shuffle : bool, default=True
        Whether each epoch takes the rows in a new random order (``random_state`` of the
        classifier).
    average : bool, default=True
        Whether the result is the average of the points of all steps, in which the point of step t
        has weight t, rather than the last point. ``partial_fit`` averages over about 400 steps, or
        over those since the data last changed.
    beta_1 : float, default=0.9
        Decay of the running mean of the gradients, in [0, 1).
    beta_2 : float, default=0.999
        Decay of the running mean of their squares, in [0, 1).
    epsilon : float, default=1e-8
        Added to the root of the mean of squares, from 1e-30 to 1e30.

    Raises
    ------
    ValueError
        When a classifier uses it, if a parameter is out of its range.

    See Also
    --------
    SGD : Plain gradient steps with momentum.

    References
    ----------
    D. P. Kingma and J. Ba, Adam: a method for stochastic optimization, arXiv:1412.6980, 2014.

    S. Lacoste-Julien, M. Schmidt and F. Bach, A simpler approach to obtaining an O(1/t) convergence
    rate for the projected stochastic subgradient method, arXiv:1212.2002, 2012: the average.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.solvers import Adam
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxClassifier(solver=Adam(batch_size=16), random_state=0).fit(X, y)
    >>> clf.set_params(solver__learning_rate=0.1).solver
    Adam(batch_size=16, learning_rate=0.1)
    """

    name = "adam"
    beta_1: float = parameter(0.9, _DECAY)
    beta_2: float = parameter(0.999, _DECAY)
    epsilon: float = parameter(1e-8, _EPSILON)


@with_parameters
class SGD(StochasticSetting):
    """Stochastic gradient descent: steps on batches of rows, with momentum.

    Parameters
    ----------
    learning_rate : float, default=0.01
        Size of the first step, > 0, in units in which features have mean 0 and spread 1.
    batch_size : int or "auto", default="auto"
        Rows per step, >= 1; "auto" takes 200, or all rows if there are fewer.
    shuffle : bool, default=True
        Whether each epoch takes the rows in a new random order (``random_state`` of the
        classifier).
    average : bool, default=True
        Whether the result is the average of the points of all steps, in which the point of step t
        has weight t, rather than the last point. ``partial_fit`` averages over about 400 steps, or
        over those since the data last changed.
    schedule : {"constant", "invscaling", "adaptive"}, default="constant"
        How the learning rate changes. "constant": not at all. "invscaling": in step t it is
        ``learning_rate`` / t ** ``power_t``. "adaptive": it is divided by 5 each time that
        ``n_iter_no_change`` epochs in a row have not lowered the objective, down to 1e-6.
    power_t : float, default=0.5
        Exponent of "invscaling", >= 0.
    momentum : float, default=0.9
        Share of the last step that is added to the next one, in [0, 1).
    nesterov : bool, default=True
        Whether the momentum is Nesterov's.

    Raises
    ------
    ValueError
        When a classifier uses it, if a parameter is out of its range.

    See Also
    --------
    Adam : Steps that are scaled coefficient by coefficient.

    References
    ----------
    I. Sutskever, J. Martens, G. Dahl and G. Hinton, On the importance of initialization and
    momentum in deep learning, ICML 2013.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.solvers import SGD
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxClassifier(solver=SGD(schedule="adaptive"), random_state=0).fit(X, y)
    >>> clf.solver_
    'sgd'
    """

    name = "sgd"
    schedule: str = parameter("constant", Rule(f"one of {[*_SCHEDULES]}", names=_SCHEDULES))
    power_t: float = parameter(0.5, Rule("a finite number >= 0", numbers.Real, 0, ends=(0,)))
    momentum: float = parameter(0.9, _DECAY)
    nesterov: bool = parameter(True, FLAG)


@with_parameters
class LBFGS(SolverSetting):
    """L-BFGS, preconditioned: a quasi-Newton method that keeps some differences of gradients.

    Parameters
    ----------
    history_size : int or None, default=None
        Differences of points and of gradients that are kept, >= 1; None means 20, and 5 for 100,000
        coefficients or more, but 1 for 4,096 classes or more with a million coefficients or more
        over a dense X, where each may take more memory than X. On MNIST 10 take a third more
        evaluations than 20, and 50 save hardly any. Memory: twice as many vectors of the size of
        the coefficients.

    Raises
    ------
    ValueError
        When a classifier uses it, if the parameter is out of its range.

    References
    ----------
    D. C. Liu and J. Nocedal, On the limited memory BFGS method for large scale optimization,
    Mathematical Programming 45, 1989, doi:10.1007/BF01589116.

    Examples
    --------
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.solvers import LBFGS
    >>> SoftmaxClassifier(solver=LBFGS(history_size=10))
    SoftmaxClassifier(solver=LBFGS(history_size=10))
    """

    name = "lbfgs"
    history_size: int | None = parameter(None, _OPTIONAL_INTEGER)

    def _applied(self, defaults):
        defaults = super()._applied(defaults)
        large = defaults.large_history if self.history_size is None else self.history_size
        return replace(defaults, large_history=large)


@with_parameters
class NewtonCG(SolverSetting):
    """Newton's method with truncated conjugate gradients: Hessian products, no Hessian.

    Parameters
    ----------
    max_cg_iter : int, default=100
        Most conjugate gradient iterations (products with the Hessian) in a Newton step, >= 1.

    Raises
    ------
    ValueError
        When a classifier uses it, if the parameter is out of its range.

    Examples
    --------
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.solvers import NewtonCG
    >>> SoftmaxClassifier(solver=NewtonCG(max_cg_iter=50))
    SoftmaxClassifier(solver=NewtonCG(max_cg_iter=50))
    """

    name = "newton-cg"
    max_cg_iter: int = parameter(100, POSITIVE_INTEGER)


@with_parameters
class NewtonCholesky(SolverSetting):
    """Newton's method with the Hessian and its Cholesky factor.

    Parameters
    ----------
    max_coefficients : int, default=6000
        Coefficients in all up to which a Hessian is formed, >= 1; more are an error. They are
        counted in the space of the rows where there are more features than rows. Memory:
        8 ``max_coefficients`` ** 2 bytes, for 6000 288 MB.

    Raises
    ------
    ValueError
        When a classifier uses it, if the parameter is out of its range.

    Examples
    --------
    >>> from xentlearn import SoftmaxClassifier
    >>> from xentlearn.solvers import NewtonCholesky
    >>> SoftmaxClassifier(solver=NewtonCholesky(max_coefficients=10_000))
    SoftmaxClassifier(solver=NewtonCholesky(max_coefficients=10000))
    """

    name = "newton-cholesky"
    max_coefficients: int = parameter(6000, POSITIVE_INTEGER)  # the plan sees to it


SETTINGS = {kind.name: kind for kind in (LBFGS, NewtonCG, NewtonCholesky, Adam, SGD)}


def resolve_solver(solver):
    """A checked solver setting for ``SoftmaxClassifier(solver=...)``; None for "auto".

    Raises
    ------
    ValueError
        If it is neither a known name nor a setting, or a parameter is out of its range.
    """
    if isinstance(solver, SolverSetting):
        solver._check_parameters()
        return solver
    if isinstance(solver, str) and solver in ("auto", *SETTINGS):
        return None if solver == "auto" else SETTINGS[solver]()
    raise ValueError(
        f"'solver' must be one of {['auto', *SETTINGS]} ('auto' takes what is fastest) or a "
        f"setting from xentlearn.solvers, such as Adam(learning_rate=0.1); got {solver!r}."
    )
