"""All rows of the registry, and the search by name."""

from collections.abc import Iterable

from convscope.bundle.suggestions import or_near
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
    """Return the row of a name in the registry, or of `timm/NAME`.

    Raises:
        UnknownNameError: No network has that name; the message lists similar names.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if not name.startswith(timm_rows.PREFIX):
        raise _unknown(name, ARCHITECTURES)
    if not timm_rows.is_known(name):
        raise _unknown(name, timm_rows.names())
    return timm_rows.row(name)


def _unknown(name: str, known: Iterable[str]) -> UnknownNameError:
    hint = or_near(name, known) or "; list them with: convscope-exporter list"
    return UnknownNameError(f"no architecture {name!r}{hint}")
