"""Hints for names of attributes that users guess or misspell."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NoReturn

from convscope._suggestions import similar

__all__ = ["GuessedNames"]


class GuessedNames:
    """Names the right attribute in the error about one that doesn't exist.

    A class states the names that its users guess in `_GUESSES`, with what they may mean.
    """

    __slots__ = ()
    _GUESSES: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:  # otherwise a type checker accepts every name

        def __getattr__(self, name: str) -> NoReturn:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            # Without obj: Python would add a suggestion of its own, which knows no guesses.
            raise AttributeError(message + _hint(type(self), name), name=name)


def _hint(kind: type[GuessedNames], name: str) -> str:
    if name.startswith("_"):  # libraries look for such names
        return ""
    guesses = kind._GUESSES
    near = name
    if name not in guesses:
        near = similar(name, [*guesses, *(each for each in dir(kind) if each[0] != "_")]) or ""
    if near in guesses:
        return f"; you may mean {guesses[near]}"
    return f"; did you mean {near!r}?" if near else ""
