"""What a parameter may be."""

import numbers
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from xentlearn._utils.parameters import FLAG, POSITIVE_INTEGER, Rule

HALF_OPEN = Rule("a number in [0, 1)", numbers.Real, 0, 1, ends=(0,))


def allows(rule, value):
    try:
        rule.check("name", value)
    except ValueError:
        return False
    return True


def test_the_message():
    with pytest.raises(ValueError, match=r"^'share' must be a number in \[0, 1\), got 2\.$"):
        HALF_OPEN.check("share", 2)


@pytest.mark.parametrize("value", [0, 0.0, 0.5, np.float32(0.5), Fraction(1, 3), np.int64(0)])
def test_in_the_interval(value):
    assert allows(HALF_OPEN, value)


@pytest.mark.parametrize(
    "value",
    [
        *(-1e-300, 1, 1.0, np.float32(1), np.nan, np.inf, 0.5j, Decimal("0.5"), True, np.True_),
        *("0.5", None, np.array(0.5), np.array([0.5, 0.2]), [0.5], ()),
    ],
    ids=repr,
)
def test_out_of_the_interval(value):
    assert not allows(HALF_OPEN, value)


def test_integers_flags_and_names():
    assert allows(POSITIVE_INTEGER, 10**400)
    assert allows(POSITIVE_INTEGER, np.uint8(1))
    assert not allows(POSITIVE_INTEGER, 0)
    assert not allows(POSITIVE_INTEGER, 1.0)
    assert not allows(POSITIVE_INTEGER, True)
    assert allows(FLAG, True)
    assert allows(FLAG, np.False_)
    assert not allows(FLAG, 1)
    assert not allows(FLAG, "True")
    named = Rule("'a' or 'b'", names=("a", "b"))
    assert allows(named, "a")
    assert allows(named, np.str_("b"))
    assert not allows(named, "c")
    assert not allows(named, 1)
    assert not allows(named, False)
