"""Hints for names of attributes that users guess."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NoReturn

__all__ = ["GuessedNames"]


class GuessedNames:
    """Names the right attribute in the error about one that doesn't exist.

    A class states the names that its users guess in `_GUESSES`, with what they may mean.
    """

    __slots__ = ()
    _GUESSES: ClassVar[Mapping[str, str]] = {}

    if not TYPE_CHECKING:  # otherwise a type checker accepts every name

        def __getattr__(self, name: str) -> NoReturn:
            meant = self._GUESSES.get(name)
            hint = f"; you may mean {meant}" if meant else ""
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")
