"""The registry of measurements by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.context import Bench
from bench.sampling import Figure

__all__ = ["MEASUREMENTS", "Measured", "measurement"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a measurement.

    Args:
        figures: The figures by key of the table.
        details: The data from which the figures were computed.
    """

    figures: Mapping[str, Figure]
    details: Mapping[str, Any] = field(default_factory=dict)


MEASUREMENTS: dict[str, Callable[[Bench], Measured]] = {}


def measurement(
    name: str,
) -> Callable[[Callable[[Bench], Measured]], Callable[[Bench], Measured]]:
    """Register a function under the name that `--only` accepts."""

    def register(function: Callable[[Bench], Measured]) -> Callable[[Bench], Measured]:
        MEASUREMENTS[name] = function
        return function

    return register
