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

_MODEL_NAMES = "models have names of a-z, 0-9, _ and -, up to 63"
_VERSIONS = "versions are 1, 2, 3 and so on, without leading zeros"

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


def scan(
    root: Path, on_skipped: Callable[[str, str], None] = lambda path, reason: None
) -> dict[str, ModelOnDisk | None]:
    """Scan every model of a repository. Call it in a thread, as disks may be slow.

    Args:
        root: The repository.
        on_skipped: Called with the path in the repository of each directory whose name
            is neither a model's nor a version's, and with what such names look like.

    Returns:
        The versions of each model; None for a model that can't be read now.

    Raises:
        OSError: The repository itself can't be read.
    """
    with os.scandir(root) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith("."))
    directories = [name for name in names if not (root / name).is_file()]
    for name in directories:
        if not is_model_name(name):
            on_skipped(name, _MODEL_NAMES)
    models = filter(is_model_name, directories)
    return {name: _scan_model(root / name, on_skipped) for name in models}


def _scan_model(directory: Path, on_skipped: Callable[[str, str], None]) -> ModelOnDisk | None:
    try:
        with os.scandir(directory) as found:
            entries = {e.name: e for e in found}
        folders = [name for name, e in entries.items() if name[0] != "." and e.is_dir()]
    except FileNotFoundError:  # removed meanwhile
        return ModelOnDisk()
    except OSError as error:
        log.error("model can't be read", model=directory.name, reason=error.strerror)
        return None
    for name in folders:
        if not is_version(name):
            on_skipped(f"{directory.name}/{name}", _VERSIONS)
    versions = {int(n): _signature(entries[n].path) for n in folders if is_version(n)}
    problems: list[str] = []
    aliases = _readable(entries.get(ALIASES), parse_aliases, problems)
    traffic = _readable(entries.get(TRAFFIC), parse_traffic, problems)
    return ModelOnDisk(versions, aliases, traffic, tuple(problems))


def _signature(directory: str) -> Signature:
    try:
        with os.scandir(directory) as entries:
            files = [(e.name, _stat(e)) for e in entries if not e.name.startswith(".")]
    except OSError:  # removed meanwhile, or not readable: the load reports it
        return ()
    return tuple(
        sorted((name, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in files)
    )


def _stat(entry: "os.DirEntry[str]") -> os.stat_result:
    """Return the status of a file or of a link's target, which a ConfigMap replaces."""
    try:
        return entry.stat()
    except OSError:  # a link to nothing, which the load reports
        return entry.stat(follow_symlinks=False)


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
