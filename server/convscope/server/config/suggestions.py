"""The names that somebody may have meant by one that doesn't exist."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["or_near", "unknown"]


def or_near(name: str, known: Iterable[str]) -> str:
    """Ask whether one of the near names was meant; empty when none is near."""
    near = get_close_matches(name.lower(), sorted(known))
    return f"; did you mean {' or '.join(near)}?" if near else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that there is no such name, and which there are: the near ones, or else all.

    Args:
        kind: What it would be a name of, such as "option of cuda".
        name: The name.
        known: The names that there are.
    """
    names = sorted(known)
    return f"no {kind} {name!r}" + (or_near(name, names) or f"; there are: {', '.join(names)}")
