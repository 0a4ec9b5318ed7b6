"""The small JSON files of a model's directory: read with a bound, replaced whole or not at all."""

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["locked", "read_object", "replace_object"]

LOCK = ".lock"
MAX_BYTES = 2**20


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; without a file, an empty one.

    Raises:
        OSError: The file can't be read.
        ValueError: It isn't an object, or no plain file of a sensible size.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return {}
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        raise ValueError(f"{path.name} is no plain file of at most {MAX_BYTES:,} bytes")
    try:
        value = json.loads(path.read_bytes())
    except RecursionError as error:
        raise ValueError(f"{path.name} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} is no JSON object")
    return value


def replace_object(path: Path, value: Mapping[str, object]) -> None:
    """Put a JSON object in a file's place, so that readers see the old one or the new one.

    Raises:
        OSError: The directory can't be written to; the old file is as it was.
    """
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}", delete=False
    ) as file:
        file.write(json.dumps(value, indent=1, sort_keys=True) + "\n")
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o644)  # others may read the repository too
    try:
        Path(file.name).replace(path)
    except OSError:
        Path(file.name).unlink()
        raise


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep out others who write the same files, `convscope-exporter promote` among them."""
    with (directory / LOCK).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
