"""Suggestions for names that don't exist."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

__all__ = ["list_names", "or_near", "or_others", "unknown"]

_MAX_NAMES = 20


def or_near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" with the similar names, in any case; empty if none is similar."""
    lowered = {one.lower(): one for one in sorted(known)}
    near = [lowered[one] for one in get_close_matches(name.lower(), lowered)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def or_others(name: str, known: Iterable[str]) -> str:
    """Return the similar names to append to a message, or else all that exist."""
    names = sorted(known)
    return or_near(name, names) or f"; it has: {list_names(names)}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that doesn't exist: the similar names, or else all.

    Args:
        kind: What the name would stand for, such as "option of cuda".
        name: The name.
        known: The names that exist.
    """
    names = sorted(known)
    return f"no {kind} {name!r}" + (or_near(name, names) or f"; there are: {', '.join(names)}")


def list_names(names: Sequence[str]) -> str:
    """Return names as a list for a message, the last ones if there are many."""
    more = len(names) - _MAX_NAMES
    return ", ".join(names[-_MAX_NAMES:]) + (f" and {more} more" if more > 0 else "") or "none"
