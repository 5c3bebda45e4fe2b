"""Arguments that do not exist: errors that name the right ones.

Users of other libraries try the names that they know. A table of such names, with a sentence on
each, belongs to a class (``AdvisedMixin``) or to a function (``advised``). Signatures stay as they
are, so nothing of it is seen by ``inspect.signature``, ``get_params``, type checkers or editors.
"""

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import ClassVar, TypeVar

Function = TypeVar("Function", bound=Callable)


@functools.cache
def _parameters_of(function):
    """(names that may be given by position, all names, whether any name is taken), no ``self``."""
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.name != "self" and p.kind != p.VAR_KEYWORD]
    by_position = [p.name for p in named if p.kind != p.KEYWORD_ONLY]
    return by_position, {p.name for p in named}, len(named) < len(parameters) - 1


def advice_table(*lines):
    """Sentences by name from pairs of names, separated by spaces, and the sentence on them."""
    return {name: sentence for names, sentence in lines for name in names.split()}


def way_out(name, known, advice):
    """Sentences that say what to use in place of a name that does not exist."""
    if name in advice:
        return advice[name]
    alike = {one.lower(): one for one in known}
    for nearest in difflib.get_close_matches(name.lower(), alike, 1):
        return f"Did you mean {alike[nearest]!r}?"
    return f"It has {sorted(known)}."


def require_arguments(callee, function, args, keywords, advice):
    """Raise the TypeError of arguments that a function, or a constructor, does not have."""
    by_position, known, takes_any = _parameters_of(function)
    if len(args) > len(by_position):
        others = ", ".join(f"{name}=..." for name in sorted(known - {*by_position}))
        raise TypeError(
            f"{callee}() takes {by_position or 'nothing'} by position, got {len(args)} arguments; "
            f"{f'pass the others by name: {others}' if others else 'there are no others'}."
        )
    if takes_any:
        return
    for name in keywords.keys() - known:
        raise TypeError(
            f"{callee}() got an unexpected keyword argument {name!r}. "
            f"{way_out(name, known, advice)}"
        )


def require_names(target, params, known):
    """Raise the ValueError of parameters that an object, or a part of it, does not have.

    Parameters
    ----------
    target : AdvisedMixin
    params : dict
        Values to set, by name.
    known : dict
        Present values by name.
    """
    for name in params:
        outer, nested, inner = name.partition("__")
        if outer not in known:
            names = [one for one in known if "__" not in one]
            raise ValueError(
                f"Invalid parameter {name!r} for estimator {target}. "
                f"{way_out(name, names, target._advice)}"
            )
        value = params.get(outer, known[outer])
        if nested and not hasattr(value, "set_params"):
            raise ValueError(
                f"Invalid parameter {name!r} for estimator {target}: {outer!r} is {value!r}, which "
                f"has no parameter {inner!r}; set {outer!r} itself, or first to an object that has."
            )


def advised(advice: dict) -> Callable[[Function], Function]:
    """Decorator of a function: unknown arguments are answered by ``advice``, sentences by name."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def checked(*args, **keywords):
            require_arguments(function.__name__, function, args, keywords, advice)
            return function(*args, **keywords)

        return checked

    return decorate


class AdvisedMixin:
    """Mixin of estimators and settings: unknown parameters are answered by ``_advice``."""

    _advice: ClassVar[dict[str, str]] = {}  # sentences by name

    def __new__(cls, *args, **parameters):
        """Refuse arguments that the constructor does not have."""
        if args or parameters:
            require_arguments(cls.__name__, cls.__init__, args, parameters, cls._advice)
        return super().__new__(cls)

    def set_params(self, **params):
        """Set parameters by name, those of nested objects as ``name__parameter``.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : object
            The object itself.
        """
        require_names(self, params, self.get_params(deep=False))
        return super().set_params(**params)
