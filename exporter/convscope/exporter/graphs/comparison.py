"""Compares the outputs of a graph with those of its reference."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.errors import ParityError

__all__ = [
    "BATCHES",
    "TOLERANCE",
    "OutputDifference",
    "check_tolerance",
    "compare",
    "worst",
]

TOLERANCE = 1e-3
BATCHES = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """The difference between one output and its reference.

    Args:
        name: The output's name.
        shape: The output's shape without the batch.
        difference: The largest absolute difference divided by the reference's
            largest magnitude.
    """

    name: str
    shape: tuple[int, ...]
    difference: float


def compare(name: str, ours: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference of two arrays, divided by the second's largest magnitude.

    Raises:
        ParityError: The arrays differ in shape.
    """
    if ours.shape != expected.shape:
        raise ParityError(
            f"{name!r} has the shape {list(ours.shape)} instead of {list(expected.shape)}"
        )
    magnitude = float(np.abs(expected).max()) or 1.0
    return float(np.abs(ours - expected).max()) / magnitude


def worst(differences: Iterable[OutputDifference]) -> list[OutputDifference]:
    """Return the largest difference of each output; NaN counts as larger than any number."""
    largest: dict[str, OutputDifference] = {}
    for one in differences:
        known = largest.get(one.name)
        if known is None or not one.difference <= known.difference:
            largest[one.name] = one
    return list(largest.values())


def check_tolerance(outputs: Sequence[OutputDifference], ours: str, theirs: str) -> None:
    """Check that every difference is within the tolerance.

    Args:
        outputs: The differences.
        ours: What was compared, for the message.
        theirs: The reference, for the message.

    Raises:
        ParityError: A difference is above the tolerance; the message names the outputs.
    """
    # Not `> TOLERANCE`, which is false for NaN.
    failed = [output for output in outputs if not output.difference <= TOLERANCE]
    if failed:
        named = ", ".join(f"{output.name!r} by {output.difference:.2e}" for output in failed)
        raise ParityError(
            f"{ours} differs from {theirs} in {named} of the largest magnitude; "
            f"at most {TOLERANCE:.0e} is allowed"
        )
