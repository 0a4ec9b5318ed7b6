"""Which classes to explain, and how."""

from collections.abc import Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Literal, SupportsIndex, TypeAlias

import numpy as np

from convscope.client._inputs.checks import INT32_MAX, check_integer
from convscope.client._inputs.methods import METHODS
from convscope.client.errors import InvalidInputError

__all__ = [
    "ClassLike",
    "Explain",
    "ExplainLike",
    "ExplanationDType",
    "ExplanationMethod",
    "Rank",
    "to_explain",
]

ExplanationMethod: TypeAlias = Literal["grad-cam", "cam", "eigen-cam", "occlusion"]
"""How an explanation is computed; `Explain` describes the methods."""

ExplanationDType: TypeAlias = Literal["float32", "float16", "uint8"]

_DTYPES = ("float32", "float16", "uint8")
# A server allows far fewer. Without a limit, a mistake would fill the memory first.
_MAX_RANK = 1000
_ACCEPTED = (
    "how many of the best classes to explain, such as 3, or a list of classes, such as "
    "['tiger cat', 281]"
)


@dataclass(frozen=True, slots=True)
class Rank:
    """The class at a position in the order of the probabilities: 1 is the most probable class.

    Raises:
        InvalidInputError: The position isn't a positive integer.

    Example:
        >>> result = client.classify(
        ...     "coffee.png", model="efficientnet_lite0", explain=Rank(1), against=Rank(2)
        ... )
        >>> result.explanations[0].label, result.explanations[0].against.label
        ('espresso', 'cup')
    """

    position: int

    def __post_init__(self) -> None:
        position = check_integer("the position of a rank", self.position, 1, _MAX_RANK)
        object.__setattr__(self, "position", position)


ClassLike: TypeAlias = str | int | Rank
"""A class, by its label, by its index in the model's labels, or by its rank."""


@dataclass(frozen=True, slots=True)
class Explain:
    """A class to explain: which parts of the image speak for it.

    Args:
        target: The class, by its label, index or `Rank`; by default the most probable one.
        against: A class to contrast it with. The explanation then shows what speaks for
            the target rather than for this class. If both turn out to be the same class, for
            example a label and the best rank, the heat is zero.
        method: "grad-cam" takes about as long as a request without explanations. "cam"
            has the same values, for networks that end with a global mean and one linear
            layer. "eigen-cam" shows what the network looks at, for whichever class.
            "occlusion" covers one square of the image after the other with gray, and needs
            a run of the network for each.
        dtype: The type in which the server sends the heat.
        cells: The number of cells along each side, for occlusion; by default 7.
        window: The side of the covered square in cells, for occlusion; by default 1.5.

    Raises:
        InvalidInputError: An argument has a wrong type or range, or the method has no such
            option.

    Example:
        >>> occlusion = Explain("cup", method="occlusion", cells=3)
        >>> result = client.classify("coffee.png", model="efficientnet_lite0", explain=occlusion)
        >>> result.explanations[0].array.shape
        (3, 3)
    """

    target: ClassLike = Rank(1)
    _: KW_ONLY
    against: ClassLike | None = None
    method: ExplanationMethod = "grad-cam"
    dtype: ExplanationDType = "float32"
    cells: int | None = None
    window: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", _check_class(self.target))
        if self.against is not None:
            object.__setattr__(self, "against", _check_class(self.against))
        if self.method not in METHODS:
            raise InvalidInputError(
                f"no explanation method {self.method!r}; there are: {', '.join(METHODS)}"
            )
        if self.dtype not in _DTYPES:
            raise InvalidInputError(
                f"no dtype {self.dtype!r} for an explanation; there are: {', '.join(_DTYPES)}"
            )
        if self.method == "eigen-cam" and self.against is not None:
            raise InvalidInputError(
                "the heat of eigen-cam is the same for all classes, so it has no contrast; "
                "leave out against, or choose another method"
            )
        self._check_grid()

    def _check_grid(self) -> None:
        if self.method != "occlusion" and not (self.cells is None and self.window is None):
            raise InvalidInputError(
                f"cells and window are options of occlusion, not of {self.method}"
            )
        if self.cells is not None:
            object.__setattr__(self, "cells", check_integer("cells", self.cells, 2, INT32_MAX))
        if self.window is not None:
            is_number = isinstance(self.window, int | float | np.number)
            if not (is_number and 1 <= self.window <= INT32_MAX):
                raise InvalidInputError(f"window is {self.window!r}; it must be at least 1")
            object.__setattr__(self, "window", float(self.window))


ExplainLike: TypeAlias = int | ClassLike | Explain | Iterable[ClassLike | Explain] | None
"""The number of the best classes to explain, or one or several classes."""


def to_explain(explain: ExplainLike, against: ClassLike | None = None) -> tuple[Explain, ...]:
    """Return the explanations that the arguments of a call select.

    Raises:
        InvalidInputError: An argument has a wrong type or range.
    """
    if explain is None or explain is False:
        if against is not None:
            raise InvalidInputError(
                f"against is {against!r} without explain; give what to explain, {_ACCEPTED}"
            )
        return ()
    selected = tuple(_each(explain))
    if not selected:
        raise InvalidInputError(f"explain is empty; give {_ACCEPTED}")
    return selected if against is None else tuple(_contrast(one, against) for one in selected)


def _each(explain: Any) -> Iterator[Explain]:
    if isinstance(explain, str | Rank | Explain):
        explain = (explain,)
    elif not isinstance(explain, Iterable):
        if not isinstance(explain, SupportsIndex):
            raise InvalidInputError(f"explain is {explain!r}; give {_ACCEPTED}")
        count = check_integer("explain", explain, 1, _MAX_RANK)
        explain = map(Rank, range(1, count + 1))
    for one in explain:
        yield one if isinstance(one, Explain) else Explain(one)


def _contrast(one: Explain, against: ClassLike) -> Explain:
    if one.against is not None:
        raise InvalidInputError(
            f"the class {one.target!r} is contrasted twice, with {one.against!r} and with "
            f"{against!r}; give only one"
        )
    return replace(one, against=against)


def _check_class(value: Any) -> ClassLike:
    if isinstance(value, str | Rank):
        return value
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise InvalidInputError(f"a class can't be {value!r}; give its label, index or Rank")
    return check_integer("the index of a class", value, 0, INT32_MAX)
