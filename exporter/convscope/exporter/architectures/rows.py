"""All rows, and how one is found."""

import difflib
from collections.abc import Iterable

from convscope.exporter.architectures import (
    filter_banks,
    lesson,
    tensors,
    timm_rows,
    torchvision_rows,
)
from convscope.exporter.architectures.registry import Architecture
from convscope.exporter.errors import UnknownNameError

__all__ = ["ARCHITECTURES", "find_architecture"]

ARCHITECTURES = {
    row.name: row
    for row in (
        *lesson.ROWS,
        *filter_banks.ROWS,
        *torchvision_rows.ROWS,
        *timm_rows.ROWS,
        *tensors.ROWS,
    )
}


def find_architecture(name: str) -> Architecture:
    """Find a row: one of the registry, or `timm/NAME`.

    Raises:
        UnknownNameError: There is none of that name; the message lists near ones.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if not name.startswith(timm_rows.PREFIX):
        raise _unknown(name, ARCHITECTURES)
    if not timm_rows.is_known(name):
        raise _unknown(name, timm_rows.names())
    return timm_rows.row(name)


def _unknown(name: str, known: Iterable[str]) -> UnknownNameError:
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    if near:
        return UnknownNameError(f"no architecture {name!r}; did you mean: {', '.join(near)}?")
    return UnknownNameError(f"no architecture {name!r}; see them all with: convscope-exporter list")
