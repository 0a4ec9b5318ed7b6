"""Fast construction of results.

The `__init__` of a frozen dataclass assigns each field by `object.__setattr__`, which takes most of
the time that a small reply takes to decode.
"""

from collections.abc import Callable
from dataclasses import fields, make_dataclass
from typing import Any, TypeVar

__all__ = ["constructor"]

T = TypeVar("T")


def constructor(kind: type[T]) -> Callable[..., T]:
    """Return a function that makes instances of a frozen dataclass with slots.

    It takes all fields by position. It assigns them to an object that isn't frozen and has the same
    bases and slots, and then makes that object an instance of the class.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    thawed: Callable[..., Any] = make_dataclass(
        kind.__name__, names, bases=kind.__bases__, eq=False, repr=False, slots=True
    )

    def construct(*values: Any) -> T:
        one = thawed(*values)
        one.__class__ = kind
        return one  # type: ignore[no-any-return]

    return construct
