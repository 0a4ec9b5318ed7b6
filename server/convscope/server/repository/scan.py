"""Scans a repository's directories for versions, aliases and traffic splits."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import structlog

from convscope.bundle.aliases import parse_aliases
from convscope.bundle.errors import InvalidValueError
from convscope.bundle.layout import ALIASES, TRAFFIC, is_model_name, is_version
from convscope.bundle.local import read_small_file
from convscope.bundle.traffic import Traffic, parse_traffic

__all__ = ["ModelOnDisk", "Signature", "scan"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

Signature = tuple[tuple[str, int, int, int, int], ...]
"""Each file's name, inode, size and times of change: a different one means a different bundle."""


@dataclass(frozen=True, slots=True)
class ModelOnDisk:
    """The versions of one model.

    Args:
        versions: The signature of each version's directory.
        aliases: The version of each alias; None if they can't be read now.
        traffic: The traffic splits; None if they can't be read now.
        problems: Why they can't be read.
    """

    versions: Mapping[int, Signature] = field(default_factory=dict)
    aliases: Mapping[str, int] | None = field(default_factory=dict)
    traffic: Traffic | None = field(default_factory=Traffic)
    problems: tuple[str, ...] = ()


def scan(root: Path) -> dict[str, ModelOnDisk | None]:
    """Scan every model of a repository. Call it in a thread, as disks may be slow.

    Returns:
        The versions of each model; None for a model that can't be read now.

    Raises:
        OSError: The repository itself can't be read.
    """
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries if is_model_name(e.name))
    return {name: _scan_model(root / name) for name in names if not (root / name).is_file()}


def _scan_model(directory: Path) -> ModelOnDisk | None:
    try:
        with os.scandir(directory) as found:
            entries = {e.name: e for e in found}
        names = [name for name, e in entries.items() if is_version(name) and e.is_dir()]
    except FileNotFoundError:  # removed meanwhile
        return ModelOnDisk()
    except OSError as error:
        log.error("model can't be read", model=directory.name, reason=error.strerror)
        return None
    versions = {int(name): _signature(entries[name].path) for name in names}
    problems: list[str] = []
    aliases = _readable(entries.get(ALIASES), parse_aliases, problems)
    traffic = _readable(entries.get(TRAFFIC), parse_traffic, problems)
    return ModelOnDisk(versions, aliases, traffic, tuple(problems))


def _signature(directory: str) -> Signature:
    try:
        with os.scandir(directory) as entries:
            files = [(e.name, e.stat(follow_symlinks=False)) for e in entries]
    except OSError:  # removed meanwhile, or not readable: the load reports it
        return ()
    return tuple(
        sorted((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in files)
    )


def _readable(
    entry: "os.DirEntry[str] | None", parse: Callable[[bytes | None], T], problems: list[str]
) -> T | None:
    if entry is None:
        return parse(None)
    try:
        return parse(read_small_file(Path(entry.path)))
    except OSError as error:
        problems.append(f"{entry.name} can't be read: {error.strerror}")
    except InvalidValueError as error:
        problems.append(str(error)[:200])
    return None
