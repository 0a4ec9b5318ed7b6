"""The gate for finite results: NaN and infinity are no classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.exporter.errors import ExporterError
from convscope.exporter.graphs.sessions import Arrays
from convscope.exporter.outputs.probes import is_constant

__all__ = ["Finiteness", "check_finite"]

_MAX_NAMED = 3


@dataclass(frozen=True, slots=True)
class Finiteness:
    """The check inputs with finite results, and those without.

    Args:
        compared: The inputs whose results can be compared, [n]: all, or those with
            finite results. If some aren't finite, constant images are left out:
            next to a division by zero, rounding decides the result.
        nonfinite: What the inputs with NaN or infinity are.
    """

    compared: NDArray[np.bool_]
    nonfinite: tuple[str, ...] = ()


def check_finite(outputs: Arrays, descriptions: Sequence[str], *, allow: bool) -> Finiteness:
    """Check that every output is finite for every input.

    Args:
        outputs: The outputs by name, [n, ...].
        descriptions: What each input is, n texts.
        allow: Whether the user accepts non-finite results.

    Raises:
        ExporterError: A result isn't finite, and the user doesn't accept it; or
            none is.
    """
    finite = {name: _finite_rows(values) for name, values in outputs.items()}
    rows: NDArray[np.bool_] = np.logical_and.reduce(list(finite.values()))
    if rows.all():
        return Finiteness(rows)
    if not rows.any():
        raise ExporterError(
            "the network returns NaN or infinity for every image; check its weights and its "
            "preprocessing"
        )
    if not allow:
        name = next(name for name, kept in finite.items() if not kept.all())
        failed = _failed(descriptions, finite[name])
        more = f" and {len(failed) - _MAX_NAMED} more" if len(failed) > _MAX_NAMED else ""
        raise ExporterError(
            f"the output {name!r} is NaN or infinite for {', '.join(failed[:_MAX_NAMED])}{more}; "
            "the usual cause is a division by the standard deviation of a constant image, so add "
            "a small epsilon to the divisor, or publish the network with --allow-nonfinite"
        )
    if not any(rows[index] for index, text in enumerate(descriptions) if not is_constant(text)):
        raise ExporterError(
            "the network returns NaN or infinity for every image but constant ones; check its "
            "weights and its preprocessing"
        )
    constant = np.array([is_constant(text) for text in descriptions])
    return Finiteness(rows & ~constant, _failed(descriptions, rows))


def _failed(descriptions: Sequence[str], rows: NDArray[np.bool_]) -> tuple[str, ...]:
    return tuple(text for text, finite in zip(descriptions, rows, strict=True) if not finite)


def _finite_rows(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    rows: NDArray[np.bool_] = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    return rows
