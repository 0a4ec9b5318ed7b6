"""Messages about unknown names: the known names that are close, or all of them."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["or_near", "unknown"]


def or_near(name: str, known: Iterable[str]) -> str:
    """Return the question whether a similar name was meant; empty if none is similar."""
    near = get_close_matches(name.lower(), sorted(known))
    return f"; did you mean {' or '.join(near)}?" if near else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return the message that a name is unknown, with the similar names, or else all names.

    Args:
        kind: What the name should denote, such as "option of cuda".
        name: The unknown name.
        known: The known names.
    """
    names = sorted(known)
    return f"no {kind} {name!r}" + (or_near(name, names) or f"; there are: {', '.join(names)}")
