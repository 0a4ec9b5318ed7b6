"""The measurements by name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.context import Bench

__all__ = ["MEASUREMENTS", "Measured", "measurement"]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a measurement found.

    Args:
        figures: The figures under their keys; a dict stands for the part
            after the dot.
        details: What they were made from.
    """

    figures: dict[str, Any]
    details: dict[str, Any] = field(default_factory=dict)


MEASUREMENTS: dict[str, Callable[[Bench], Measured]] = {}


def measurement(
    name: str,
) -> Callable[[Callable[[Bench], Measured]], Callable[[Bench], Measured]]:
    """Enter a function under the name that `--only` takes."""

    def enter(function: Callable[[Bench], Measured]) -> Callable[[Bench], Measured]:
        MEASUREMENTS[name] = function
        return function

    return enter
