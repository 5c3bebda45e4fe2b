"""Parameters of estimators and settings: what each may be, and objects that are sets of them."""

import numbers
from dataclasses import dataclass, field, fields
from math import inf

import numpy as np
from sklearn.base import BaseEstimator

from .arguments import AdvisedMixin
from .notebook import NotebookMixin


@dataclass(frozen=True)
class Rule:
    """What a parameter may be: a number in an interval, a bool, or one of some other values.

    Attributes
    ----------
    words : str
        The rule in words, which follow "must be" in a message; with a way out where it is not
        plain.
    kind : type or ()
        ``numbers.Real``, ``numbers.Integral`` or ``bool``; () where only ``names`` are allowed.
    above, below : float
        The interval, without its ends.
    ends : tuple of float
        Ends of the interval that are allowed.
    names : tuple of str or None
        Strings that are allowed, and None if it is.
    """

    words: str
    kind: type | tuple = ()
    above: float = -inf
    below: float = inf
    ends: tuple = ()
    names: tuple = ()

    def check(self, name, value):
        """Raise the ValueError of a value that the parameter ``name`` must not have."""
        if value is None or isinstance(value, str):
            allowed = value in self.names
        elif isinstance(value, (bool, np.bool_)):
            allowed = self.kind is bool
        else:
            allowed = isinstance(value, self.kind) and (
                self.above < value < self.below or value in self.ends
            )
        if not allowed:
            raise ValueError(f"'{name}' must be {self.words}, got {value!r}.")


FLAG = Rule("True or False", bool)
POSITIVE_INTEGER = Rule("an integer >= 1", numbers.Integral, 0)
NON_NEGATIVE = Rule("a finite number >= 0", numbers.Real, 0, ends=(0,))


def number_in(interval, remark="", optional=False):
    """The rule of a number in an interval, such as "[0, 1)", or, if it is optional, None."""
    words = f"{'None or ' if optional else ''}a number in {interval}"
    above, below = map(float, interval[1:-1].split(","))
    return Rule(
        f"{words} ({remark})" if remark else words,
        numbers.Real,
        above,
        below,
        ends=(above,) * (interval[0] == "[") + (below,) * (interval[-1] == "]"),
        names=(None,) if optional else (),
    )


def parameter(default, rule):
    """A parameter of a setting: its default, and what else it may be."""
    return field(default=default, metadata={"rule": rule})


class Setting(AdvisedMixin, NotebookMixin, BaseEstimator):
    """Parameters that make up a value: two settings are equal if their parameters are.

    Subclasses declare the parameters as fields of a dataclass (made with ``eq=False, repr=False``),
    by ``parameter`` where a rule says what they may be.
    """

    def __eq__(self, other):
        """Whether the other is a setting of the same class with equal parameters."""
        if type(self) is not type(other):
            return NotImplemented
        mine, theirs = self.get_params(), other.get_params()
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self):
        return hash(type(self))  # parameters may change

    def _check_parameters(self):
        """Raise the ValueError of the first parameter that is out of its range."""
        for declared in fields(self):
            if "rule" in declared.metadata:
                declared.metadata["rule"].check(declared.name, getattr(self, declared.name))
