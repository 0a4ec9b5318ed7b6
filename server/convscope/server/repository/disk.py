"""What lies in a repository's directories, and whether it changed."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from convscope.server.repository.aliases import read_aliases
from convscope.server.repository.bundle import MODEL_NAME
from convscope.server.repository.traffic import Traffic, read_traffic

__all__ = ["ModelOnDisk", "Signature", "scan"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

Signature = tuple[tuple[str, int, int, int, int], ...]
"""Each file's name, number, size and times of change: another one means another bundle."""


@dataclass(frozen=True, slots=True)
class ModelOnDisk:
    """The versions of one model.

    Args:
        versions: The signature of each version's directory.
        aliases: The version of each alias; None if they can't be read now.
        traffic: The trials; None if they can't be read now.
        problems: Why they can't.
    """

    versions: Mapping[int, Signature] = field(default_factory=dict)
    aliases: Mapping[str, int] | None = field(default_factory=dict)
    traffic: Traffic | None = field(default_factory=Traffic)
    problems: tuple[str, ...] = ()


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
    problems: list[str] = []
    aliases = _readable(read_aliases, directory, problems)
    traffic = _readable(read_traffic, directory, problems)
    return ModelOnDisk(versions, aliases, traffic, tuple(problems))


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


def _readable(read: Callable[[Path], T], directory: Path, problems: list[str]) -> T | None:
    try:
        return read(directory)
    except OSError as error:
        name = Path(error.filename).name if error.filename else directory.name
        problems.append(f"{name} can't be read: {error.strerror}")
    except ValueError as error:
        problems.append(str(error)[:200])
    return None
