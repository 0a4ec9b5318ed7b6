"""What lies in a repository's directories, and whether it changed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from convscope.server.bundle import MODEL_NAME
from convscope.server.repository.aliases import read_aliases

__all__ = ["ModelOnDisk", "Signature", "scan"]

log = structlog.get_logger(__name__)

Signature = tuple[tuple[str, int, int, int, int], ...]
"""Each file's name, number, size and times of change: another one means another bundle."""


@dataclass(frozen=True, slots=True)
class ModelOnDisk:
    """The versions of one model.

    Args:
        versions: The signature of each version's directory.
        aliases: The version of each alias; None if they can't be read now.
    """

    versions: Mapping[int, Signature] = field(default_factory=dict)
    aliases: Mapping[str, int] | None = field(default_factory=dict)


def scan(root: Path) -> dict[str, ModelOnDisk | None]:
    """Look at every model of a repository; in a thread, for disks may be slow.

    Returns:
        What there is of each model; None of one that can't be read now.

    Raises:
        OSError: The repository itself can't be read.
    """
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries if MODEL_NAME.fullmatch(e.name))
    return {name: _scan_model(root / name) for name in names if not (root / name).is_file()}


def _scan_model(directory: Path) -> ModelOnDisk | None:
    try:
        with os.scandir(directory) as entries:
            numbers = [int(e.name) for e in entries if _is_version(e.name) and e.is_dir()]
    except FileNotFoundError:  # removed meanwhile
        return ModelOnDisk()
    except OSError as error:
        log.error("model can't be read", model=directory.name, reason=error.strerror)
        return None
    versions = {number: _signature(directory / str(number)) for number in numbers}
    return ModelOnDisk(versions, _aliases(directory))


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name[0] != "0"


def _signature(directory: Path) -> Signature:
    try:
        with os.scandir(directory) as entries:
            files = [(e.name, e.stat(follow_symlinks=False)) for e in entries]
    except OSError:  # removed meanwhile, or not readable: the load will say so
        return ()
    return tuple(
        sorted((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in files)
    )


def _aliases(directory: Path) -> dict[str, int] | None:
    try:
        return read_aliases(directory)
    except (OSError, ValueError) as error:
        log.error("aliases can't be read", model=directory.name, reason=str(error)[:200])
        return None
