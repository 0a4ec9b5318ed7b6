"""A model's aliases: `aliases.json`."""

import re
from pathlib import Path

from convscope.server.errors import InvalidInputError, UnavailableError
from convscope.server.repository.json_files import locked, read_object, replace_object

__all__ = ["check_alias", "is_alias", "read_aliases", "write_alias"]

ALIASES = "aliases.json"
_ALIAS = re.compile(r"(?!\d+$)[a-z0-9][a-z0-9_-]{0,62}")


def is_alias(name: object) -> bool:
    """Whether a name can be an alias."""
    return isinstance(name, str) and bool(_ALIAS.fullmatch(name))


def check_alias(alias: str) -> None:
    """Check what is to become an alias.

    Raises:
        InvalidInputError: It can't be one.
    """
    if not is_alias(alias):
        raise InvalidInputError(
            f"{alias[:80]!r} can't be an alias; use up to 63 of a-z, 0-9, _ and -, "
            "the first a letter or digit, and no number"
        )


def read_aliases(directory: Path) -> dict[str, int]:
    """Read the aliases of a model's directory; none without a file.

    Raises:
        OSError: The file can't be read.
        ValueError: It isn't an object of version numbers.
    """
    aliases = read_object(directory / ALIASES)
    if not all(map(_is_entry, aliases.items())):
        raise ValueError(f"{ALIASES} must be an object such as " + '{"champion": 3}')
    return aliases


def write_alias(directory: Path, alias: str, version: int | None) -> None:
    """Make an alias name a version, or drop it.

    Raises:
        UnavailableError: The file can't be read or replaced.
    """
    try:
        with locked(directory):
            aliases = read_aliases(directory)
            aliases.pop(alias, None)
            if version is not None:
                aliases[alias] = version
            replace_object(directory / ALIASES, aliases)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnavailableError(
            f"the aliases of {directory.name} can't be written: {reason}; use "
            "convscope-exporter promote where the repository is written"
        ) from error


def _is_entry(entry: tuple[str, object]) -> bool:
    alias, version = entry
    number = isinstance(version, int) and not isinstance(version, bool)
    return is_alias(alias) and number and 0 < int(str(version)) < 2**63
