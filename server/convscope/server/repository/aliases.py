"""A model's aliases: `aliases.json`, replaced whole or not at all."""

import json
import os
import re
import tempfile
from pathlib import Path

from convscope.server.errors import InvalidInputError, UnavailableError

__all__ = ["check_alias", "read_aliases", "write_alias"]

ALIASES = "aliases.json"
MAX_BYTES = 2**20
_ALIAS = re.compile(r"(?!\d+$)[a-z0-9][a-z0-9_-]{0,62}")


def check_alias(alias: str) -> None:
    """Check what is to become an alias.

    Raises:
        InvalidInputError: It can't be one.
    """
    if not _ALIAS.fullmatch(alias):
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
    path = directory / ALIASES
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{ALIASES} is larger than {MAX_BYTES:,} bytes")
        aliases = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    if not isinstance(aliases, dict) or not all(map(_is_number, aliases.values())):
        raise ValueError(f"{ALIASES} must be an object such as " + '{"champion": 3}')
    return aliases


def write_alias(directory: Path, alias: str, version: int | None) -> None:
    """Make an alias name a version, or drop it.

    Raises:
        UnavailableError: The file can't be read or replaced.
    """
    try:
        aliases = read_aliases(directory)
        aliases.pop(alias, None)
        if version is not None:
            aliases[alias] = version
        with tempfile.NamedTemporaryFile(
            "w", dir=directory, prefix=f".{ALIASES}", delete=False
        ) as file:
            file.write(json.dumps(dict(sorted(aliases.items())), indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)  # others may read the repository too
        Path(file.name).replace(directory / ALIASES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnavailableError(
            f"the aliases of {directory.name} can't be written: {reason}; use "
            "convscope-exporter promote where the repository is written"
        ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
