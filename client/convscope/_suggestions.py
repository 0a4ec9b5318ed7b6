"""Suggestions for names that do not exist.

All commands of all rooms use it. It needs only the standard library, and imports no room.
"""

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

__all__ = ["similar"]


def similar(name: str, known: Iterable[str]) -> str | None:
    """Return the most similar of the known names; None if the name is hardly a slip for one."""
    lowered = {one.lower(): one for one in known}
    asked = name.lower()
    near = (one for one in get_close_matches(asked, lowered) if _is_like(asked, one))
    return next((lowered[one] for one in near), None)


def _is_like(name: str, other: str) -> bool:
    """Report whether one letter in three differs at most, or one name is a part of the other."""
    if name in other or other in name:
        return True
    matcher = SequenceMatcher(None, name, other)
    letters = len(name) + len(other)
    differing = letters - 2 * sum(block.size for block in matcher.get_matching_blocks())
    return differing <= 2 * max(1, min(len(name), len(other)) // 3)
