"""Checks of the values of a policy file; each error names the key, its value and the repair."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from convscope.bundle.suggestions import shown, unknown

__all__ = [
    "PolicyError",
    "Table",
    "as_table",
    "check_keys",
    "read_number",
    "read_text",
    "read_texts",
    "read_whole",
    "wrong_value",
]

Table = Mapping[str, Any]

# Within these, no product or quotient of two numbers is infinite or zero.
MIN_NUMBER = 0.001
MAX_NUMBER = 1e15
MAX_KEY_CHARACTERS = 80  # in a message


class PolicyError(ValueError):
    """The file is wrong; the message names the key, its value and the repair."""


def read_texts(table: Table, key: str, where: str, default: Sequence[str] = ()) -> Sequence[str]:
    """Return a list of texts; a wrong value of `tokens` is not shown, because it may be a token."""
    value = table.get(key, default)
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) and v for v in value):
        found = "of another type" if key == "tokens" else shown(value)
        raise PolicyError(f"{where}.{key} is {found}, and must be a list of texts")
    return tuple(value)


def read_text(table: Table, key: str) -> str:
    """Return a text of the table jwt."""
    value = table[key]
    if not isinstance(value, str) or not value:
        raise wrong_value(f"jwt.{key}", value, "a text")
    return value


def read_number(table: Table, key: str, where: str, at_least: float = MIN_NUMBER) -> float | None:
    """Return a number that is at least a limit; None if it is left out."""
    value = table.get(key)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and value >= at_least):
        raise wrong_value(f"{where}.{key}", value, f"a number, {at_least:g} or more")
    if value == float("inf"):
        raise wrong_value(f"{where}.{key}", value, "finite; leave it out for no limit")
    _check_size(value, f"{where}.{key}")
    return float(value)


def read_whole(table: Table, key: str, where: str) -> int | None:
    """Return a whole number; None if it is left out."""
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise wrong_value(f"{where}.{key}", value, "a whole number, 1 or more")
    _check_size(value, f"{where}.{key}")
    return value


def _check_size(value: float, where: str) -> None:
    if value > MAX_NUMBER:
        raise PolicyError(f"{where} must be at most {MAX_NUMBER:g}")


def as_table(value: Any, where: str) -> Table:
    """Return a value that is a table."""
    if not isinstance(value, dict):
        raise PolicyError(f"{where} must be a table, written [{where}]")
    return value


def check_keys(table: Table, known: Collection[str], where: str) -> None:
    """Check that every key of a table is known."""
    for name in table:
        if name not in known:
            key = name[:MAX_KEY_CHARACTERS]
            place = f"{where}.{key}" if where else key
            raise PolicyError(f"{place}: {unknown('key', name, known)}")


def wrong_value(where: str, value: Any, expected: str) -> PolicyError:
    """Return the error of a value."""
    return PolicyError(f"{where} is {shown(value)}, and must be {expected}")
