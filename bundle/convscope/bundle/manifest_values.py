"""What the checks of a manifest share: a problem that it may have, and the names of enums."""

from typing import TypeAlias

from google.protobuf.descriptor import EnumDescriptor

__all__ = ["MAX_SHOWN_CHARACTERS", "Check", "enum_check", "enum_name"]

MAX_SHOWN_CHARACTERS = 200  # of a text in the manifest

Check: TypeAlias = tuple[str, bool]
"""A problem, and whether the manifest has it."""


def enum_check(field: str, value: int, enum: EnumDescriptor, allowed: tuple[int, ...]) -> Check:
    """Return the check that a field has one of the values that this release knows.

    Proto enums are open: a number of a later schema parses.
    """
    names = " or ".join(enum_name(enum, one) for one in allowed)
    return f"the {field} is {enum_name(enum, value)}; it must be {names}", value not in allowed


def enum_name(enum: EnumDescriptor, value: int) -> str:
    """Return the name of a value of an enum, or else its number."""
    known = enum.values_by_number.get(value)
    return str(value) if known is None else known.name
