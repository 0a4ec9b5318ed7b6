"""Suggestions for names that don't exist."""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches

__all__ = ["it_has", "list_names", "or_near", "or_others", "shown", "unknown"]

_MAX_NAMES = 20
_MAX_SHOWN_CHARACTERS = 80


def or_near(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" with the similar names, in any case; empty if none is similar."""
    lowered = {one.lower(): one for one in sorted(known)}
    asked = name[:_MAX_SHOWN_CHARACTERS].lower()
    near = [lowered[one] for one in get_close_matches(asked, lowered) if _is_like(asked, one)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def or_others(name: str, known: Iterable[str]) -> str:
    """Return the similar names to append to a message, or else all that exist."""
    names = sorted(known)
    return or_near(name, names) or f"; {it_has(names)}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message for a name that doesn't exist: the similar names, or else all.

    Args:
        kind: What the name would stand for, such as "option of cuda".
        name: The name.
        known: The names that exist.
    """
    names = sorted(known)
    return f"no {kind} {shown(name)}" + (or_near(name, names) or f"; there are: {', '.join(names)}")


def shown(value: object) -> str:
    """Return a value as a message shows it: as in Python's code, and cut off if it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer with thousands of digits
        text = "a number of thousands of digits"
    return text if len(text) <= _MAX_SHOWN_CHARACTERS else f"{text[:_MAX_SHOWN_CHARACTERS]}…"


def it_has(names: Sequence[str]) -> str:
    """Return what there is instead, for the end of a message: "it has: a, b" or "it has none"."""
    return f"it has: {list_names(names)}" if names else "it has none"


def list_names(names: Sequence[str]) -> str:
    """Return names as a list for a message, the last ones if there are many."""
    more = len(names) - _MAX_NAMES
    return ", ".join(names[-_MAX_NAMES:]) + (f" and {more} more" if more > 0 else "")


def _is_like(name: str, other: str) -> bool:
    """Report whether a name may be a slip for another one: "rad" for "red", not "nope" for "moped".

    One letter in three may differ; or one name is a part of the other.
    """
    if name in other or other in name:
        return True
    matcher = SequenceMatcher(None, name, other)
    letters = len(name) + len(other)
    differing = letters - 2 * sum(block.size for block in matcher.get_matching_blocks())
    return differing <= 2 * max(1, min(len(name), len(other)) // 3)
