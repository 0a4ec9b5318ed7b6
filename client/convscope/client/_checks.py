"""Checks of single arguments."""

import operator
from typing import Any

from convscope.client.errors import InvalidInputError

__all__ = ["INT32_MAX", "INT64_MAX", "check_integer", "check_name"]

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1


def check_integer(argument: str, value: Any, low: int, high: int) -> int:
    """Return an integer of any type as an `int`.

    Raises:
        InvalidInputError: It isn't an integer, or is out of range.
    """
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InvalidInputError(f"{argument} is {value!r}; give an integer") from error
    if not low <= number <= high:
        raise InvalidInputError(f"{argument} is {number}; it must be between {low} and {high:,}")
    return number


def check_name(argument: str, value: Any) -> None:
    """Check that a value is a `str`.

    Raises:
        InvalidInputError: It isn't.
    """
    if not isinstance(value, str):
        raise InvalidInputError(f"{argument} is {value!r}; give a name, a str")
