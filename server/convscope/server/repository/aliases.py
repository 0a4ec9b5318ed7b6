"""A model's aliases: `aliases.json`, replaced whole or not at all."""

import fcntl
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convscope.server.errors import InvalidInputError, UnavailableError

__all__ = ["check_alias", "read_aliases", "write_alias"]

ALIASES = "aliases.json"
LOCK = ".lock"
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
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
            raise ValueError(f"{ALIASES} is no plain file of at most {MAX_BYTES:,} bytes")
        aliases = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except RecursionError as error:
        raise ValueError(f"{ALIASES} is nested too deeply") from error
    if not isinstance(aliases, dict) or not all(map(_is_entry, aliases.items())):
        raise ValueError(f"{ALIASES} must be an object such as " + '{"champion": 3}')
    return aliases


def write_alias(directory: Path, alias: str, version: int | None) -> None:
    """Make an alias name a version, or drop it.

    Raises:
        UnavailableError: The file can't be read or replaced.
    """
    try:
        with _locked(directory):
            aliases = read_aliases(directory)
            aliases.pop(alias, None)
            if version is not None:
                aliases[alias] = version
            _replace(directory, json.dumps(dict(sorted(aliases.items())), indent=1) + "\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UnavailableError(
            f"the aliases of {directory.name} can't be written: {reason}; use "
            "convscope-exporter promote where the repository is written"
        ) from error


def _replace(directory: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile(
        "w", dir=directory, prefix=f".{ALIASES}", delete=False
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o644)  # others may read the repository too
    try:
        Path(file.name).replace(directory / ALIASES)
    except OSError:
        Path(file.name).unlink()
        raise


def _is_entry(entry: tuple[str, object]) -> bool:
    alias, version = entry
    number = isinstance(version, int) and not isinstance(version, bool)
    return bool(_ALIAS.fullmatch(alias)) and number and 0 < int(str(version)) < 2**63


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep out others who write the same aliases, `convscope-exporter promote` among them."""
    with (directory / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
